//! A node that is stopped, as by SIGSTOP, and goes on later without knowing of it.

use serde_json::Value;

use super::faults::Staying;
use super::*;

/// The lock of all turns.
const TURN_LOCK: i64 = i64::from_be_bytes(*b"peerchat");

impl Nodes {
    /// The process of the server that holds the lease of a run of a node.
    fn lease(&self, run: &Value) -> Option<String> {
        let held = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND granted";
        self.place.admin().ask(&format!("{held} AND objid = {run}"))
    }
}

#[test]
fn a_node_that_hangs_is_ended_and_its_users_are_taken_elsewhere() {
    let Some(nodes) = Nodes::start(3) else { return };
    let [alice_key, carol_key] = [keypair(), keypair()];
    let (mut alice, _) = Raw::synced(nodes.at(2), &alice_key, "alice", 1);
    let (mut bob, _) = Raw::synced(nodes.at(0), &keypair(), "bob", 2);
    let (mut carol, _) = Raw::synced(nodes.at(2), &carol_key, "carol", 3);
    connect((&mut alice, "alice"), (&mut bob, "bob"));
    connect((&mut carol, "carol"), (&mut bob, "bob"));
    bob.nothing_unheard();
    let run = nodes.standing(2)["id"].clone();
    let load = Load::start(&nodes, 6);
    load.wait_for(5);

    nodes.node(2).signal("-STOP");
    let (again, contacts) = Raw::synced(nodes.at(1), &alice_key, "alice", 1);
    assert!(contacts.iter().any(|status| status.name == name("bob") && status.online == Some(true)));
    let staying = Staying::start([again, bob]);
    load.wait_for(5);
    until("its connection is ended", || nodes.lease(&run).is_none());
    for number in 0..2 {
        nodes.expect_logged_once(number, "another node is lost", "node=\"node-2\"");
    }

    nodes.node(2).signal("-CONT");
    alice.expect_end();
    carol.expect_end();
    nodes.expect_logged_once(2, "all sessions end, and this node joins anew", "");
    nodes.expect_metric(0, "peerchat_other_nodes{state=\"up\"}", 2.0);
    assert_ne!(nodes.standing(2)["id"], run);
    nodes.expect_metric(2, "peerchat_ledger_up", 1.0);
    let acknowledged = load.end();
    let [mut again, mut bob] = staying.end();
    expect_offline_only(&mut bob, "carol", &mut again);
    for number in 0..2 {
        nodes.expect_logged_once(number, "a lost node is forgotten", &format!("run={run}"));
    }
    expect_all(&nodes, &acknowledged);
}

#[test]
fn a_node_that_is_stopped_in_its_turn_gives_it_up_and_saves_nothing_later() {
    let Some(nodes) = Nodes::start(3) else { return };
    let admin = nodes.place.admin();
    let pid = nodes.lease(&nodes.standing(2)["id"]).expect("it has one");
    let has_turn = |granted: bool| {
        let lock = format!(
            "SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND pid = {pid} AND granted = {granted}"
        );
        admin.ask(&format!("SELECT EXISTS ({lock})")).as_deref() == Some("t")
    };
    admin.run(&format!("SELECT pg_advisory_lock({TURN_LOCK})"));
    let mut late = Raw::connect(nodes.at(2), &keypair());
    late.say(&register("star", 1));
    until("it waits for its turn", || has_turn(false));
    nodes.node(2).signal("-STOP");
    admin.run(&format!("SELECT pg_advisory_unlock({TURN_LOCK})"));
    until("it has its turn", || has_turn(true));

    let own = keypair();
    drop(Raw::log_in(nodes.at(0), &own, "star", 2));
    nodes.node(2).signal("-CONT");
    let said = late.hear();
    assert!(!matches!(said, Some(ToClient::Registered(_))), "{said:?}");
    expect_all(&nodes, &[("star".into(), own.public())]);
}
