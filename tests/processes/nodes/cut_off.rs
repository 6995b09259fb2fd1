//! One node alone that does not reach PostgreSQL, while its clients and the other nodes are reached.

use peerchat::protocol::rendezvous::Asks;

use super::faults::Staying;
use super::*;

/// What a node does that can't save anything. `session` is that of `user` there, who is connected with `known`.
fn expect_only_what_is_known(at: SocketAddr, session: &mut Raw, user: &str, known: &str) {
    session.say(&request(known));
    assert_eq!(session.status().online, Some(true));
    let newcomer = Raw::connect(at, &keypair()).refused(&register("newcomer", 1));
    let refused = [request("newcomer"), register(user, 9), identify(keypair().public()), drop_user(known)];
    let refused = refused.map(|message| session.refused(&message));
    assert_eq!((newcomer, refused), (RefusedCode::NOT_SAVED, [RefusedCode::NOT_SAVED; 4]));
}

#[test]
fn a_node_that_is_cut_off_alone_keeps_its_users_and_comes_back_as_another_run() {
    let Some(nodes) = Nodes::start_with_line(2) else { return };
    nodes.expect_metric(0, "peerchat_other_nodes{state=\"up\"}", 1.0);
    let [alice_key, carol_key] = [keypair(), keypair()];
    let (mut alice, _) = Raw::synced(nodes.at(0), &alice_key, "alice", 1);
    let (mut bob, _) = Raw::synced(nodes.at(1), &keypair(), "bob", 2);
    let (mut carol, _) = Raw::synced(nodes.at(0), &carol_key, "carol", 3);
    connect((&mut alice, "alice"), (&mut bob, "bob"));
    connect((&mut carol, "carol"), (&mut bob, "bob"));
    [&mut alice, &mut bob, &mut carol].into_iter().for_each(Raw::nothing_unheard);
    let before = nodes.standing(0)["id"].clone();

    nodes.line().cut();
    nodes.expect_metric(0, "peerchat_ledger_up", 0.0);
    let standing = nodes.standing(0);
    assert!(standing["away"].is_u64() && standing["others"][0]["state"] == "unknown", "{standing}");
    assert!(nodes.ask(&["--status", "--node", "node-0"]).contains("\nledger        away or full for "));
    expect_only_what_is_known(nodes.at(0), &mut alice, "alice", "bob");
    drop(carol);
    let (carol, contacts) = Raw::synced(nodes.at(0), &carol_key, "carol", 3);
    assert!(contacts.iter().any(|status| status.name == name("bob") && status.online == Some(true)));
    // The other one takes it for lost, and goes on.
    let [staying, others] = [vec![alice, carol], vec![bob]].map(Staying::start);
    nodes.expect_metric(1, "peerchat_other_nodes{state=\"lost\"}", 1.0);
    assert_eq!(nodes.metrics(1)["peerchat_ledger_up"], 1.0);
    let (mut zoe, _) = Raw::synced(nodes.at(1), &keypair(), "zoe", 4);
    zoe.say(&request("alice"));
    status_of(&mut zoe, "alice", |_| true);
    let [alice, carol] = staying.end();

    // Once it can know what was done meanwhile, its users have to come anew.
    nodes.line().heal();
    alice.expect_end();
    carol.expect_end();
    let (mut alice, contacts) = Raw::synced(nodes.at(0), &alice_key, "alice", 1);
    let asks = |status: &Status| status.name == name("zoe") && status.asks == Asks::Typed;
    assert!(contacts.iter().any(asks), "{contacts:?}");
    nodes.expect_metric(0, "peerchat_ledger_up", 1.0);
    assert_ne!(nodes.standing(0)["id"], before);
    let [bob] = others.end();
    alice.say(&request("zoe"));
    status_of(&mut zoe, "alice", |status| status.connected);
    drop(bob);
    status_of(&mut alice, "bob", |status| status.online == Some(false));
}

#[test]
fn a_node_that_hears_nothing_of_postgresql_is_ended_and_its_users_are_not() {
    let Some(nodes) = Nodes::start_with_line(2) else { return };
    nodes.expect_metric(0, "peerchat_other_nodes{state=\"up\"}", 1.0);
    let alice_key = keypair();
    let (mut alice, _) = Raw::synced(nodes.at(0), &alice_key, "alice", 1);
    let (mut bob, _) = Raw::synced(nodes.at(1), &keypair(), "bob", 2);
    connect((&mut alice, "alice"), (&mut bob, "bob"));
    [&mut alice, &mut bob].into_iter().for_each(Raw::nothing_unheard);
    nodes.line().silence();
    // Before the node can have noticed.
    alice.say(&request("bob"));
    assert_eq!(alice.status().online, Some(true));
    let staying = Staying::start([alice, bob]);
    nodes.expect_logged_once(1, "it hangs: its connection to the ledger was ended", "node=\"node-0\"");
    nodes.expect_logged_once(1, "another node is lost", "node=\"node-0\"");
    drop(Raw::synced(nodes.at(1), &keypair(), "zoe", 3));
    nodes.expect_metric(0, "peerchat_ledger_up", 0.0);
    let [mut alice, bob] = staying.end();
    expect_only_what_is_known(nodes.at(0), &mut alice, "alice", "bob");
    nodes.line().heal();
    alice.expect_end();
    let (mut alice, _) = Raw::synced(nodes.at(0), &alice_key, "alice", 1);
    drop(bob);
    status_of(&mut alice, "bob", |status| status.online == Some(false));
}

#[test]
fn what_was_done_while_a_node_was_cut_off_is_told_when_it_hears_of_it() {
    let Some(nodes) = Nodes::start_with_line(1) else { return };
    let (mut alice, _) = Raw::synced(nodes.at(0), &keypair(), "alice", 1);
    let (mut bob, _) = Raw::synced(nodes.at(0), &keypair(), "bob", 2);
    connect((&mut alice, "alice"), (&mut bob, "bob"));
    nodes.line().cut();
    nodes.expect_metric(0, "peerchat_ledger_up", 0.0);
    // The operator reaches PostgreSQL by another way. There is no other node that could take this one for lost.
    assert!(nodes.ask(&["--release", "bob"]).contains("bob is free"));
    [&mut alice, &mut bob].into_iter().for_each(Raw::nothing_unheard);
    nodes.line().heal();
    status_of(&mut alice, "bob", |status| status.online == Some(false));
    bob.expect_end();
    nodes.expect_metric(0, "peerchat_ledger_up", 1.0);
    assert_eq!(alice.ask(&request("bob")), ToClient::NoSuchUser(About { name: name("bob") }));
}
