//! What only a server of its own does.

use std::thread;

use peerchat::accounts::ledger::{Given, Ledger, Trouble};
use peerchat::accounts::{Change, NodeId};
use peerchat::store::postgres::error::Problem;
use peerchat::store::postgres::watch::Watch;
use peerchat::store::postgres::{Options, Postgres};

use super::changes::{added, node};
use super::server::{Cluster, place};

fn open(url: &str) -> Postgres {
    Postgres::open(url, Options::default()).unwrap()
}

fn joined(url: &str) -> (Postgres, NodeId) {
    let mut it = open(url);
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

#[test]
fn all_nodes_have_the_key_that_the_first_one_made() {
    let Some(place) = place() else { return };
    let url = place.url.clone();
    let keys: Vec<_> = thread::scope(|scope| {
        let nodes: Vec<_> = (0..4).map(|_| scope.spawn(|| open(&url).keypair().unwrap().public())).collect();
        nodes.into_iter().map(|node| node.join().unwrap()).collect()
    });
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
}

#[test]
fn a_kind_of_change_that_is_not_known_makes_it_unusable() {
    let Some(place) = place() else { return };
    let (mut one, _) = joined(&place.url);
    // A list of one change, of kind 99, without fields.
    place.admin().run(
        "INSERT INTO peerchat.turns SELECT n + 1, decode(repeat('ab', 16), 'hex'), id, node, now(), '\\x818218638100'
         FROM peerchat.turns ORDER BY n DESC LIMIT 1",
    );
    for news in [one.read(), one.take()] {
        let Err(Trouble::Unusable(error)) = news else { panic!("{news:?}") };
        assert!(matches!(error.problem, Problem::Unknown { turn: 2, .. }), "{error}");
    }
    // The turn that was not taken holds up no other node.
    give(&mut joined(&place.url).0, &[added(1)]);
}

#[test]
fn a_role_that_may_make_no_schema_is_told() {
    let Some(place) = place() else { return };
    let admin = place.admin();
    admin.run(&format!("ALTER DATABASE {} OWNER TO postgres", place.name));
    let error = Postgres::open(&place.url, Options::default()).err().unwrap();
    assert!(matches!(error.problem, Problem::NoSchema(_)), "{error}");
    admin.run("CREATE SCHEMA peerchat AUTHORIZATION peerchat");
    drop(open(&place.url));
}

#[test]
fn turns_of_many_nodes_follow_each_other() {
    const NODES: i64 = 3;
    const TURNS: i64 = 40;
    let Some(place) = place() else { return };
    let (mut watcher, _) = joined(&place.url);
    let url = place.url.clone();
    thread::scope(|scope| {
        for number in 0..NODES {
            let url = &url;
            scope.spawn(move || {
                let (mut it, _) = joined(url);
                for turn in 0..TURNS {
                    give(&mut it, &[added(1 + number + NODES * turn)]);
                }
            });
        }
    });
    let turns = watcher.read().unwrap();
    let numbers: Vec<_> = turns.iter().map(|turn| turn.number).collect();
    assert_eq!(numbers, (2..=1 + NODES + NODES * TURNS).collect::<Vec<_>>());
    assert_eq!(watcher.load().unwrap().accounts.len() as i64, NODES * TURNS);
}

#[test]
fn old_turns_are_removed_and_the_last_one_never() {
    let Some(place) = place() else { return };
    let (mut one, _) = joined(&place.url);
    let admin = place.admin();
    for id in 2..70 {
        if id == 60 {
            admin.run("UPDATE peerchat.turns SET at = at - interval '11 minutes'");
        }
        give(&mut one, &[added(id)]);
    }
    assert_eq!(admin.ask("SELECT min(n) || ' ' || max(n) FROM peerchat.turns").as_deref(), Some("60 69"));
    admin.run("UPDATE peerchat.turns SET at = at - interval '11 minutes'");
    assert_eq!(one.read().unwrap(), []);
    open(&place.url).load().unwrap();
}

#[test]
fn a_server_that_is_started_again_is_found_again() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let url = cluster.url(&cluster.database());
    let (mut one, id) = joined(&url);
    give(&mut one, &[added(1)]);
    one.take().unwrap();
    cluster.restart();
    let given = one.give(&[added(2)]);
    assert!(matches!(given, Given::Refused(Trouble::Down(_)) | Given::Unsure(Trouble::Down(_))), "{given:?}");
    assert_eq!(one.read().unwrap(), []);
    give(&mut one, &[added(2)]);
    let seen = Watch::open(&url).unwrap().look(id).unwrap();
    assert!(seen.nodes[0].leased);
}

#[test]
fn a_server_that_is_not_there_is_told() {
    let line = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://peerchat@{}/db", line.local_addr().unwrap());
    // It takes the connection, and says nothing.
    let error = Postgres::open(&url, Options::default()).err().unwrap();
    assert!(matches!(error.problem, Problem::Slow), "{error}");
    drop(line);
    let error = Postgres::open(&url, Options::default()).err().unwrap();
    assert!(error.to_string().starts_with(&format!("{url}: can't connect (")), "{error}");
}
