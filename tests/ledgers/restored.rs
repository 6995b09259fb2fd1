//! A ledger that is not what it was: an old back-up was restored, while nodes ran.

use std::process::Stdio;

use peerchat::accounts::ledger::{Given, Ledger, Trouble};
use peerchat::accounts::{Change, NodeId};
use peerchat::store::postgres::{Options, Postgres};

use super::changes::{added, node};
use super::server::{Place, place};

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

/// Takes a back-up of what nodes share.
fn dump(place: &Place) -> std::path::PathBuf {
    let file = place.cluster.folder("dumps").join(&place.name);
    let mut dump = place.cluster.program("pg_dump");
    dump.args(["--schema=peerchat", "--clean", "--if-exists", "-d", &place.url, "-f"]).arg(&file);
    assert!(dump.status().unwrap().success());
    file
}

fn restore(place: &Place, file: &std::path::Path) {
    let mut restore = place.cluster.program("psql");
    restore.args(["-q", "-v", "ON_ERROR_STOP=1", "-d", &place.url, "-f"]).arg(file).stdout(Stdio::null());
    assert!(restore.status().unwrap().success());
}

#[test]
fn no_node_has_the_id_of_one_that_hung_while_an_old_ledger_was_restored() {
    let Some(place) = place() else { return };
    let (before, first) = joined(&place);
    let old = dump(&place);
    drop(before);
    // Later than the back-up, and it hangs meanwhile.
    let (mut hung, second) = joined(&place);
    restore(&place, &old);
    let (mut one, third) = joined(&place);
    let (_other, fourth) = joined(&place);
    let mut ids = vec![first, second, third, fourth];
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4, "{ids:?}");
    // It finds that it is not there any more, and takes no other one's lease.
    assert!(matches!(hung.read(), Err(Trouble::Broken(_))));
    hung.load().unwrap();
    assert!(matches!(hung.take(), Err(Trouble::Fenced(_))));
    let again = hung.join().unwrap();
    assert!(!ids.contains(&again));
    hung.load().unwrap();
    give(&mut hung, &[Change::AddNode { node: node(again) }]);
    give(&mut one, &[added(1)]);
    assert_eq!(hung.read().unwrap().len(), 1);
}
