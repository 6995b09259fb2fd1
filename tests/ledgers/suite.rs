//! The suite. Each test runs on every ledger that nodes can share, and on SQLite too where it makes do without others.

use peerchat::accounts::ledger::{Given, Ledger, Trouble, Turn};
use peerchat::accounts::{Change, Node, NodeId, Snapshot};
use proptest::prelude::*;

use super::changes::{Changes, OTHERS, added, node, sorted};
use super::lab::{Faulty, InMemory, Lab, OnPostgres, OnSqlite, Shared};
use super::ledger::{Fate, Rows};

macro_rules! on_each {
    (all { $($any:ident)* } shared { $($test:ident)* }) => {
        mod model {
            use super::*;
            $(#[test] fn $any() { super::$any::<InMemory>(); })*
            $(#[test] fn $test() { super::$test::<InMemory>(); })*
        }
        mod postgres {
            use super::*;
            $(#[test] fn $any() { super::$any::<OnPostgres>(); })*
            $(#[test] fn $test() { super::$test::<OnPostgres>(); })*
        }
        mod sqlite {
            use super::*;
            $(#[test] fn $any() { super::$any::<OnSqlite>(); })*
        }
    };
}

on_each! {
    all {
        nothing_of_what_is_refused_is_kept
        a_turn_without_changes_leaves_no_trace
        a_turn_that_is_rolled_back_leaves_no_trace
        a_release_takes_all_of_an_account
        later_changes_are_about_what_earlier_ones_add
    }
    shared {
        turns_are_told_to_others_once
        a_wake_up_may_be_lost_or_doubled
        what_was_unsure_is_told_if_it_was_saved
        what_was_unsure_and_lost_is_not_there
        a_read_waits_for_no_turn
        a_node_that_was_away_for_too_long_loads_anew
        a_node_that_saw_what_was_lost_loads_anew
        a_node_that_is_lost_can_not_write
        nodes_say_what_they_read
        who_holds_a_session_at_a_lost_node_is_offline
    }
}

/// A node that has joined, loaded and said that it is there.
fn joined<L: Lab>(lab: &L) -> (L::Node, NodeId) {
    let mut it = lab.node();
    let id = it.join().unwrap();
    it.load().unwrap();
    give(&mut it, &[Change::AddNode { node: node(id) }]);
    (it, id)
}

fn give<L: Faulty>(it: &mut L, changes: &[Change]) -> Vec<Turn> {
    let news = it.take().unwrap();
    let given = it.give(changes);
    assert!(matches!(given, Given::Saved), "{given:?}");
    news
}

fn changes(turns: &[Turn]) -> Vec<Change> {
    turns.iter().flat_map(|turn| turn.changes.clone()).collect()
}

/// Another node that has joined, where there can be one.
fn another<L: Lab>(lab: &L) -> Option<L::Node> {
    L::IS_SHARED.then(|| joined(lab).0)
}

fn kept<L: Lab>(lab: &L) -> Snapshot {
    sorted(lab.node().load().unwrap())
}

fn turns_are_told_to_others_once<L: Shared>() {
    let Some(lab) = L::new() else { return };
    let ((mut one, first), (mut other, second)) = (joined(&lab), joined(&lab));
    assert_ne!(second, first);
    let news = give(&mut one, &[added(1), added(2)]);
    assert_eq!(changes(&news), [Change::AddNode { node: node(second) }]);
    let news = give(&mut other, &[added(3)]);
    assert_eq!(changes(&news), [added(1), added(2)]);
    assert_eq!(news.iter().map(|turn| turn.node).collect::<Vec<_>>(), [first]);
    let news = one.read().unwrap();
    assert_eq!((changes(&news), news[0].node), (vec![added(3)], second));
    for it in [&mut one, &mut other] {
        assert_eq!(it.read().unwrap(), [], "its own are known to it");
        assert_eq!(it.take().unwrap(), []);
        it.roll_back();
    }
}

fn a_wake_up_may_be_lost_or_doubled<L: Shared>() {
    let Some(lab) = L::new() else { return };
    let ((mut one, _), (mut other, _)) = (joined(&lab), joined(&lab));
    one.read().unwrap();
    for id in 1..=3 {
        give(&mut one, &[added(id)]);
    }
    let news = other.read().unwrap();
    assert_eq!(changes(&news), [added(1), added(2), added(3)]);
    let numbers: Vec<_> = news.iter().map(|turn| turn.number).collect();
    assert_eq!(numbers, [3, 4, 5]);
    assert_eq!(other.read().unwrap(), []);
}

fn nothing_of_what_is_refused_is_kept<L: Lab>() {
    let Some(lab) = L::new() else { return };
    let ((mut one, _), mut other) = (joined(&lab), another(&lab));
    give(&mut one, &[added(1)]);
    let before = kept(&lab);
    one.meet(Fate::Refused);
    one.take().unwrap();
    let request = peerchat::accounts::Request { typed: true, asked: 1, told: None };
    let some = [added(2), Change::SetRequest { asker: 1, target: 2, request }];
    assert!(matches!(one.give(&some), Given::Refused(Trouble::Down(_))));
    assert_eq!(kept(&lab), before);
    if let Some(other) = &mut other {
        assert_eq!(changes(&other.read().unwrap()), [added(1)]);
    }
    give(&mut one, &some);
    assert_eq!((kept(&lab).accounts.len(), kept(&lab).requests.len()), (2, 1));
    if let Some(other) = &mut other {
        assert_eq!(changes(&other.read().unwrap()), some);
    }
}

fn what_was_unsure_is_told_if_it_was_saved<L: Shared>() {
    let Some(lab) = L::new() else { return };
    let ((mut one, id), (mut other, _)) = (joined(&lab), joined(&lab));
    for (user, by_turn) in [(1, false), (3, true)] {
        give(&mut one, &[added(user + 1)]);
        other.read().unwrap();
        one.meet(Fate::UnsureAndSaved);
        one.take().unwrap();
        let given = one.give(&[added(user)]);
        assert!(matches!(given, Given::Unsure(Trouble::Down(_))), "{given:?}");
        let news = if by_turn { one.take().unwrap() } else { one.read().unwrap() };
        one.roll_back();
        assert_eq!((changes(&news), news[0].node), (vec![added(user)], id));
        assert_eq!(one.read().unwrap(), []);
        assert_eq!(changes(&other.read().unwrap()), [added(user)]);
    }
    give(&mut one, &[added(5)]);
}

fn what_was_unsure_and_lost_is_not_there<L: Shared>() {
    let Some(lab) = L::new() else { return };
    let ((mut one, _), (mut other, _)) = (joined(&lab), joined(&lab));
    give(&mut one, &[added(1)]);
    other.read().unwrap();
    one.meet(Fate::UnsureAndLost);
    one.take().unwrap();
    assert!(matches!(one.give(&[added(2)]), Given::Unsure(Trouble::Down(_))));
    assert_eq!(one.read().unwrap(), []);
    assert_eq!(give(&mut other, &[added(2)]), []);
    assert_eq!(changes(&one.take().unwrap()), [added(2)]);
    one.roll_back();
}

fn a_turn_without_changes_leaves_no_trace<L: Lab>() {
    let Some(lab) = L::new() else { return };
    let ((mut one, _), mut other) = (joined(&lab), another(&lab));
    let before = kept(&lab);
    give(&mut one, &[]);
    assert_eq!(kept(&lab), before);
    if let Some(other) = &mut other {
        assert_eq!(other.read().unwrap(), []);
    }
    give(&mut one, &[added(1)]);
    if let Some(other) = &mut other {
        let numbers: Vec<_> = other.read().unwrap().iter().map(|turn| turn.number).collect();
        assert_eq!(numbers, [3]);
    }
}

fn a_turn_that_is_rolled_back_leaves_no_trace<L: Lab>() {
    let Some(lab) = L::new() else { return };
    let ((mut one, _), mut other) = (joined(&lab), another(&lab));
    let before = kept(&lab);
    one.take().unwrap();
    one.roll_back();
    if let Some(other) = &mut other {
        assert_eq!(other.take().unwrap(), []);
        other.roll_back();
    }
    assert_eq!(kept(&lab), before);
    give(&mut one, &[added(1)]);
    assert_eq!(kept(&lab).accounts.len(), 1);
}

fn a_read_waits_for_no_turn<L: Shared>() {
    let Some(lab) = L::new() else { return };
    let ((mut one, _), (mut other, _)) = (joined(&lab), joined(&lab));
    give(&mut one, &[added(1)]);
    one.take().unwrap();
    assert_eq!(changes(&other.read().unwrap()), [added(1)]);
    assert_eq!(other.read().unwrap(), []);
    assert!(matches!(one.give(&[added(2)]), Given::Saved));
    assert_eq!(changes(&other.read().unwrap()), [added(2)], "what is saved is read at once");
}

fn a_node_that_was_away_for_too_long_loads_anew<L: Shared>() {
    let Some(lab) = L::new() else { return };
    let ((mut one, _), (mut other, _)) = (joined(&lab), joined(&lab));
    give(&mut one, &[added(1)]);
    give(&mut one, &[added(2)]);
    lab.cut();
    assert!(matches!(other.read(), Err(Trouble::Broken(_))));
    assert!(matches!(other.take(), Err(Trouble::Broken(_))));
    assert_eq!(give(&mut one, &[added(3)]), [], "a node that knows the last turn goes on");
    assert_eq!(sorted(other.load().unwrap()), kept(&lab));
    assert_eq!(give(&mut other, &[added(4)]), []);
    assert_eq!(changes(&one.read().unwrap()), [added(4)]);
}

fn a_node_that_saw_what_was_lost_loads_anew<L: Shared>() {
    let Some(lab) = L::new() else { return };
    let ((mut one, _), (mut other, _)) = (joined(&lab), joined(&lab));
    let log_in = |session| match added(1) {
        Change::AddUser { account, presence, now } => Change::LogIn {
            user: account.id,
            registration: account.registration,
            presence: peerchat::accounts::Presence { session, ..presence },
            anew: true,
            now,
        },
        _ => unreachable!(),
    };
    give(&mut one, &[added(1)]);
    give(&mut one, &[log_in(8)]);
    other.read().unwrap();
    lab.fail_over(3);
    assert!(matches!(other.read(), Err(Trouble::Broken(_))));
    assert!(matches!(one.take(), Err(Trouble::Broken(_))));
    one.load().unwrap();
    assert_eq!(give(&mut one, &[log_in(9)]), []);
    // There is a turn of that number again, and it is another one.
    assert!(matches!(other.read(), Err(Trouble::Broken(_))));
    assert!(matches!(other.take(), Err(Trouble::Broken(_))));
    assert_eq!(sorted(other.load().unwrap()), kept(&lab));
    assert_eq!(other.read().unwrap(), []);
}

fn a_node_that_is_lost_can_not_write<L: Shared>() {
    let Some(lab) = L::new() else { return };
    let ((mut one, first), (mut other, _)) = (joined(&lab), joined(&lab));
    give(&mut other, &[Change::LoseNode { node: first }]);
    assert!(matches!(one.take(), Err(Trouble::Fenced(_))));
    assert!(matches!(one.read(), Err(Trouble::Fenced(_))), "nor answer what depends on others");
    give(&mut other, &[Change::ForgetNode { node: first, now: 1 }]);
    assert!(matches!(one.take(), Err(Trouble::Fenced(_))));
    assert!(matches!(one.take(), Err(Trouble::Fenced(_))));
    let again = one.join().unwrap();
    assert_ne!(again, first);
    one.load().unwrap();
    give(&mut one, &[Change::AddNode { node: node(again) }, added(1)]);
    give(&mut one, &[added(2)]);
    assert_eq!(changes(&other.read().unwrap()).len(), 3);
}

fn nodes_say_what_they_read<L: Shared>() {
    let Some(lab) = L::new() else { return };
    let ((mut one, first), (mut other, second)) = (joined(&lab), joined(&lab));
    let older = Node { reads: Change::READ_BY_ALL, ..node(OTHERS[0]) };
    let newer = Node { reads: Change::READS + 1, ..node(OTHERS[1]) };
    let added = [&older, &newer].map(|node| Change::AddNode { node: node.clone() });
    one.read().unwrap();
    give(&mut one, &added);
    assert_eq!(changes(&other.read().unwrap()), added);
    let mut nodes = vec![node(first), node(second), older.clone(), newer];
    nodes.sort_by_key(|node| node.id);
    assert_eq!(kept(&lab).nodes, nodes);
    // It was replaced by a newer one under the same id: no real one does, but what was said last holds.
    let again = Node { reads: Change::READS, ..older };
    give(&mut other, &[Change::AddNode { node: again.clone() }]);
    assert!(kept(&lab).nodes.contains(&again));
}

fn a_release_takes_all_of_an_account<L: Lab>() {
    let Some(lab) = L::new() else { return };
    let (mut one, _) = joined(&lab);
    let nodes = kept(&lab).nodes;
    let request = peerchat::accounts::Request { typed: true, asked: 1, told: None };
    let (Change::AddUser { account, .. }, Change::AddUser { account: other, .. }) = (added(1), added(2))
    else {
        unreachable!()
    };
    let between = [
        added(1),
        added(2),
        Change::AddConnection { one: 2, other: 1, now: 1 },
        Change::SetRequest { asker: 1, target: 2, request },
        Change::SetRequest { asker: 2, target: 1, request },
        Change::AddRefusal { by: 1, of: 2, now: 1 },
        Change::AddRefusal { by: 2, of: 1, now: 1 },
        Change::SetMate { user: 1, key: other.key, shares: true },
    ];
    give(&mut one, &between);
    let (name, key) = (account.name.clone(), account.key);
    give(&mut one, &[Change::ReleaseName { account: account.clone(), now: 9 }]);
    let mut wanted = Snapshot { released: vec![(name, key)], nodes, last_id: 2, ..Snapshot::default() };
    let Change::AddUser { account: second, presence, .. } = added(2) else { unreachable!() };
    wanted.accounts.push(second);
    wanted.presences.push((2, presence.clone()));
    assert_eq!(kept(&lab), L::kept(wanted.clone()));
    // The name goes to another key, and is taken from that one as well, in one turn.
    let Change::AddUser { account: third, .. } = added(3) else { unreachable!() };
    let third = peerchat::accounts::Account { name: account.name.clone(), ..third };
    let taken = Change::AddUser { account: third.clone(), presence, now: 10 };
    give(&mut one, &[taken, Change::ReleaseName { account: third.clone(), now: 11 }]);
    wanted.released = vec![(account.name, third.key)];
    wanted.last_id = 3;
    assert_eq!(kept(&lab), L::kept(wanted));
}

fn who_holds_a_session_at_a_lost_node_is_offline<L: Shared>() {
    let Some(lab) = L::new() else { return };
    let (mut one, _) = joined(&lab);
    let Change::AddUser { account, .. } = added(1) else { unreachable!() };
    let mate = |user| Change::SetMate { user, key: account.key, shares: true };
    give(&mut one, &[Change::AddNode { node: node(OTHERS[0]) }, added(1), added(2), mate(1), mate(2)]);
    let Change::AddUser { presence, account, now } = added(2) else { unreachable!() };
    let presence = peerchat::accounts::Presence { node: OTHERS[1], ..presence };
    let (user, registration) = (account.id, account.registration);
    give(&mut one, &[Change::LogIn { user, registration, presence, anew: true, now }, mate(2)]);
    give(&mut one, &[Change::LoseNode { node: OTHERS[0] }]);
    assert_eq!(kept(&lab).presences.len(), 2);
    give(&mut one, &[Change::ForgetNode { node: OTHERS[0], now: 3 }]);
    let kept = kept(&lab);
    assert_eq!(kept.presences.iter().map(|(user, _)| *user).collect::<Vec<_>>(), [2]);
    assert_eq!(kept.mates.iter().map(|(user, _)| *user).collect::<Vec<_>>(), [2]);
    assert!(kept.nodes.iter().all(|node| node.id != OTHERS[0]));
}

fn later_changes_are_about_what_earlier_ones_add<L: Lab>() {
    for seed in 0..3 {
        applied_equals_reloaded::<L>(seed, 60, 10);
    }
}

/// What a node has heard comes to what another one loads, which is what all changes come to.
fn applied_equals_reloaded<L: Lab>(seed: u64, most: usize, turns: usize) {
    let Some(lab) = L::new() else { return };
    let mut changes = Changes::new(seed);
    let all = [Some(joined(&lab).0), another(&lab)];
    let mut all: Vec<_> = all.into_iter().flatten().map(|it| (it, Rows::default())).collect();
    all[0].0.read().unwrap();
    let nodes = kept(&lab).nodes;
    for turn in 0..turns {
        let some = changes.some(most);
        let writer = if turn % 3 == 0 { all.last_mut() } else { all.first_mut() };
        let (writer, rows) = writer.unwrap();
        let news = give(writer, &some);
        news.iter().flat_map(|turn| &turn.changes).chain(&some).for_each(|change| rows.apply(change));
    }
    for (it, rows) in &mut all {
        it.read().unwrap().iter().flat_map(|turn| &turn.changes).for_each(|change| rows.apply(change));
        assert_eq!(rows.snapshot(), changes.rows().snapshot(), "seed {seed}");
    }
    let mut wanted = changes.rows().snapshot();
    wanted.nodes.splice(0..0, nodes);
    assert_eq!(kept(&lab), L::kept(sorted(wanted)), "seed {seed}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, max_shrink_iters: 20, ..ProptestConfig::with_cases(6) })]

    #[test]
    fn postgres_keeps_what_changes_come_to(seed: u64, most in 1_usize..80) {
        applied_equals_reloaded::<OnPostgres>(seed, most, 8);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sqlite_keeps_what_changes_come_to(seed: u64, most in 1_usize..80) {
        applied_equals_reloaded::<OnSqlite>(seed, most, 8);
    }
}
