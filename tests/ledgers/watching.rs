//! What a node sees of the others.

use std::time::Duration;

use peerchat::accounts::ledger::{Given, Ledger, Trouble};
use peerchat::accounts::{Change, NodeId};
use peerchat::store::postgres::watch::{NodeSeen, Seen, Watch};
use peerchat::store::postgres::{Options, Postgres};

use super::changes::{added, node};
use super::server::{Place, place};

/// Longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(20);

fn joined(place: &Place) -> (Postgres, NodeId) {
    let mut it = Postgres::open(&place.url, Options::default()).unwrap();
    let id = it.join().unwrap();
    it.load().unwrap();
    give(&mut it, &[Change::AddNode { node: node(id) }]);
    (it, id)
}

fn give(it: &mut Postgres, changes: &[Change]) {
    it.take().unwrap();
    let given = it.give(changes);
    assert!(matches!(given, Given::Saved), "{given:?}");
}

fn of(seen: &Seen, id: NodeId) -> &NodeSeen {
    seen.nodes.iter().find(|it| it.id == id).unwrap()
}

#[test]
fn a_turn_wakes_the_others_and_not_its_own_node() {
    let Some(place) = place() else { return };
    let ((mut one, first), (mut other, second)) = (joined(&place), joined(&place));
    let [mut ones, mut others] = [(); 2].map(|()| Watch::open(&place.url).unwrap());
    give(&mut one, &[added(1)]);
    assert!(others.wait(second, DEADLINE).unwrap());
    give(&mut other, &[added(2)]);
    assert!(ones.wait(first, DEADLINE).unwrap());
    // Both are told of by now, and only one of them is another node's.
    assert!(!others.wait(second, Duration::ZERO).unwrap());
    place.admin().run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%LISTEN%' AND pid <> pg_backend_pid()");
    assert!(others.wait(second, DEADLINE).is_err());
    assert!(others.wait(second, DEADLINE).unwrap(), "meanwhile nothing was heard");
}

#[test]
fn beats_and_leases_are_seen() {
    let Some(place) = place() else { return };
    let ((mut one, first), (other, second)) = (joined(&place), joined(&place));
    let mut watch = Watch::open(&place.url).unwrap();
    let seen = watch.look(first).unwrap();
    assert_eq!((seen.turns, seen.nodes.len()), (2, 2));
    for (id, beat) in [(first, 1), (second, 0)] {
        let it = of(&seen, id);
        assert_eq!((it.beat, it.leased, it.lost, &it.name), (beat, true, false, &node(id).name));
    }
    drop(other);
    give(&mut one, &[Change::LoseNode { node: second }]);
    let seen = loop {
        // The server notices that the connection is closed as soon as it looks.
        let seen = watch.look(first).unwrap();
        if !of(&seen, second).leased {
            break seen;
        }
    };
    assert_eq!((seen.turns, of(&seen, second).lost), (3, true));
    assert!(of(&seen, first).beat > 1);
    assert!(!watch.terminate(second).unwrap());
}

#[test]
fn a_node_that_hangs_in_its_turn_is_ended() {
    let Some(place) = place() else { return };
    let ((mut one, first), (mut other, second)) = (joined(&place), joined(&place));
    let mut watch = Watch::open(&place.url).unwrap();
    other.take().unwrap();
    assert!(watch.terminate(second).unwrap());
    give(&mut one, &[Change::LoseNode { node: second }]);
    let given = other.give(&[added(9)]);
    assert!(matches!(given, Given::Refused(Trouble::Down(_)) | Given::Unsure(Trouble::Down(_))), "{given:?}");
    assert!(matches!(other.take(), Err(Trouble::Fenced(_))));
    let seen = watch.look(first).unwrap();
    assert!(of(&seen, second).leased, "it has come back, and may change nothing");
    let again = other.join().unwrap();
    other.load().unwrap();
    give(&mut other, &[Change::AddNode { node: node(again) }]);
    let seen = watch.look(first).unwrap();
    let leased = [first, second, again].map(|id| of(&seen, id).leased);
    assert_eq!((leased, seen.nodes.len()), ([true, false, true], 3));
}
