//! From SQLite to PostgreSQL.

use peerchat::accounts::ledger::{Given, Ledger};
use peerchat::accounts::{Change, Snapshot};
use peerchat::store::directory::Directory;
use peerchat::store::postgres::copy::{CopyError, copy};
use peerchat::store::postgres::error::Problem;
use peerchat::store::postgres::{Options, Postgres};
use peerchat::transport::noise::Keypair;

use super::changes::{Changes, added, node, sorted};
use super::server::place;

#[test]
fn all_of_one_machine_s_is_copied_once() {
    let Some(place) = place() else { return };
    let keypair = Keypair::generate().unwrap();
    let mut from = Directory::in_memory(&keypair).unwrap();
    let mut changes = Changes::new(3);
    // Until there is something in each table.
    loop {
        assert!(matches!(from.give(&changes.some(40)), Given::Saved));
        let Snapshot { connections, requests, refusals, released, .. } = Directory::load(&from).unwrap();
        if !(connections.is_empty() || requests.is_empty() || refusals.is_empty() || released.is_empty()) {
            break;
        }
    }
    let mut to = Postgres::open(&place.url, Options::default()).unwrap();
    assert_ne!(to.keypair().unwrap().public(), keypair.public());
    let wanted = sorted(Directory::load(&from).unwrap());
    assert_eq!(copy(&from, &mut to).unwrap(), wanted.accounts.len() as i64);
    assert_eq!(to.keypair().unwrap().public(), keypair.public());
    let last_id = wanted.accounts.last().unwrap().id;
    assert_eq!(sorted(to.load().unwrap()), Snapshot { last_id, ..wanted.clone() });
    let admin = place.admin();
    let times = admin.ask("SELECT min(registered) > 0 AND min(seen) >= min(registered) FROM peerchat.users");
    assert_eq!(times.as_deref(), Some("t"));

    let error = copy(&from, &mut to).unwrap_err();
    assert!(matches!(&error, CopyError::To(error) if matches!(error.problem, Problem::NotEmpty)), "{error}");
    assert_eq!(sorted(to.load().unwrap()), Snapshot { last_id, ..wanted });
}

#[test]
fn nothing_is_copied_to_where_a_node_is() {
    let Some(place) = place() else { return };
    let from = Directory::in_memory(&Keypair::generate().unwrap()).unwrap();
    from.save(&[added(1)]).unwrap();
    let mut to = Postgres::open(&place.url, Options::default()).unwrap();
    let id = to.join().unwrap();
    to.load().unwrap();
    to.take().unwrap();
    assert!(matches!(to.give(&[Change::AddNode { node: node(id) }]), Given::Saved));
    assert!(matches!(copy(&from, &mut to), Err(CopyError::To(_))));
    assert_eq!(to.load().unwrap().accounts, []);
    assert_eq!(to.take().unwrap(), []);
}
