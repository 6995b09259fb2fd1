//! Schemas that another version has made or changed.

use std::thread;

use peerchat::accounts::ledger::{Given, Ledger, Trouble};
use peerchat::accounts::{Change, Node};
use peerchat::protocol::PublicKey;
use peerchat::store::postgres::error::Problem;
use peerchat::store::postgres::{Options, Postgres};
use peerchat::transport::noise::Keypair;

use super::changes::{added, node};
use super::server::{Place, place};

fn open(url: &str) -> Postgres {
    Postgres::open(url, Options::default()).unwrap()
}

fn joined(url: &str) -> Postgres {
    let mut it = open(url);
    let id = it.join().unwrap();
    it.load().unwrap();
    give(&mut it, &[Change::AddNode { node: node(id) }]);
    it
}

fn give(it: &mut Postgres, changes: &[Change]) {
    it.take().unwrap();
    let given = it.give(changes);
    assert!(matches!(given, Given::Saved), "{given:?}");
}

/// Makes the first schema that there was, with a user and a node. Returns discovery's key.
fn first_format(place: &Place) -> PublicKey {
    let [own, user] = [(); 2].map(|()| Keypair::generate().unwrap());
    let secret: String = own.secret().iter().map(|byte| format!("{byte:02x}")).collect();
    let key = user.public();
    let tables = include_str!("schema_1.sql");
    place.admin().run(&format!(
        "BEGIN;
         SET LOCAL ROLE peerchat;
         DROP SCHEMA IF EXISTS peerchat CASCADE;
         CREATE SCHEMA peerchat;
         SET LOCAL search_path = peerchat;
         {tables}
         INSERT INTO ledger VALUES (true, 1, decode('{secret}', 'hex'), 5);
         INSERT INTO turns VALUES (0, decode(repeat('01', 16), 'hex'), decode(repeat('00', 16), 'hex'), 0, now(), '\\x80');
         INSERT INTO users VALUES (5, 'alice', decode('{key}', 'hex'), '192.0.2.1:4000', '192.0.2.1', 1, 1, 2);
         INSERT INTO nodes VALUES (nextval('node_ids'), 'old', '192.0.2.7:4000', false, 3);
         COMMIT"
    ));
    own.public()
}

fn columns(place: &Place) -> String {
    let sql = "
        SELECT string_agg(concat_ws(' ', table_name, column_name, data_type, is_nullable, column_default), E'\n'
                          ORDER BY table_name, ordinal_position)
               || (SELECT count(*) FROM pg_class WHERE relkind = 'S') || ' sequences'
        FROM information_schema.columns WHERE table_schema = 'peerchat'";
    place.admin().ask(sql).unwrap()
}

fn reconnect(place: &Place) {
    place.admin().run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE usename = 'peerchat' AND datname = current_database()",
    );
}

#[test]
fn an_older_schema_is_brought_up_to_date_once() {
    let (Some(place), Some(fresh)) = (place(), place()) else { return };
    let key = first_format(&place);
    let url = &place.url;
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| assert_eq!(open(url).keypair().unwrap().public(), key));
        }
    });
    drop(open(&fresh.url));
    assert_eq!(columns(&place), columns(&fresh));
    let format = "SELECT format || ' ' || least FROM peerchat.ledger";
    assert_eq!(place.admin().ask(format), fresh.admin().ask(format));
    let kept = open(url).load().unwrap();
    assert_eq!((kept.accounts.len(), kept.accounts[0].name.as_str(), kept.last_id), (1, "alice", 5));
    let old = Node { name: "old".into(), reads: Change::READ_BY_ALL, ..node(1) };
    assert_eq!(kept.nodes, [old]);
    give(&mut joined(url), &[added(6)]);
}

#[test]
fn a_newer_schema_is_used_if_it_says_that_it_may_be() {
    let Some(place) = place() else { return };
    let mut one = joined(&place.url);
    let admin = place.admin();
    let known: i32 = admin.ask("SELECT format FROM peerchat.ledger").unwrap().parse().unwrap();
    let later = known + 1;
    admin.run(&format!("UPDATE peerchat.ledger SET format = {later}, least = {known}"));
    reconnect(&place);
    assert!(matches!(one.read(), Err(Trouble::Down(_))));
    give(&mut one, &[added(1)]);
    give(&mut joined(&place.url), &[added(2)]);
    let format = admin.ask("SELECT format FROM peerchat.ledger").unwrap();
    assert_eq!(format, later.to_string(), "it is left as it is");

    admin.run(&format!("UPDATE peerchat.ledger SET least = {later}"));
    let error = Postgres::open(&place.url, Options::default()).err().unwrap();
    let wanted = format!(
        "is of a newer version of peerchat (format {later}, for versions that know format {later} or later; this one knows {known})"
    );
    assert!(error.to_string().contains(&wanted), "{error}");
    reconnect(&place);
    let news: Vec<_> = (0..2).map(|_| one.read()).collect();
    assert!(matches!(news[..], [Err(Trouble::Down(_)), Err(Trouble::Unusable(_))]), "{news:?}");
}

#[test]
fn a_node_under_which_an_older_schema_is_restored_ends_and_starts_again() {
    let Some(place) = place() else { return };
    let mut one = joined(&place.url);
    first_format(&place);
    assert!(matches!(one.read(), Err(Trouble::Broken(_))));
    assert!(matches!(one.load(), Err(Trouble::Down(_))));
    let Err(Trouble::Unusable(error)) = one.load() else { panic!("it goes on") };
    assert!(matches!(error.problem, Problem::OlderSchema { found: 1, .. }), "{error}");
    drop(one);
    assert_eq!(joined(&place.url).load().unwrap().accounts.len(), 1);
}
