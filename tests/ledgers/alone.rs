//! SQLite, which no other node shares.

use peerchat::accounts::ALONE;
use peerchat::accounts::Change;
use peerchat::accounts::ledger::{Given, Ledger, Trouble};
use peerchat::store::directory::Directory;
use peerchat::transport::noise::Keypair;

use super::changes::{added, node};

#[test]
fn there_is_nothing_to_hear_of_others() {
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = Directory::open(&directory.path().join("discovery.db")).unwrap();
    assert_eq!(ledger.join().unwrap(), ALONE);
    assert_eq!(ledger.take().unwrap(), []);
    assert!(matches!(ledger.give(&[added(1), Change::AddNode { node: node(1) }]), Given::Saved));
    assert_eq!(ledger.read().unwrap(), []);
    let kept = Ledger::load(&mut ledger).unwrap();
    assert_eq!((kept.accounts.len(), kept.nodes.len(), kept.presences.len()), (1, 0, 0));
}

#[test]
fn a_full_disk_refuses_all_and_it_goes_on_when_there_is_room() {
    let mut ledger = Directory::in_memory(&Keypair::generate().unwrap()).unwrap();
    ledger.execute_batch("PRAGMA max_page_count = 1").unwrap();
    let many: Vec<_> = (1..100).map(added).collect();
    assert!(matches!(ledger.give(&many), Given::Refused(Trouble::Down(_))));
    assert_eq!(Ledger::load(&mut ledger).unwrap().accounts, []);
    ledger.execute_batch("PRAGMA max_page_count = 100000").unwrap();
    assert!(matches!(ledger.give(&many), Given::Saved));
    assert_eq!(Ledger::load(&mut ledger).unwrap().accounts.len(), 99);
}
