//! What the operator of several nodes is told of them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;
use crate::operator::{metrics, scrape};

impl Nodes {
    pub(super) fn metrics(&self, number: usize) -> BTreeMap<String, f64> {
        scrape(metrics(self.node(number)))
    }

    /// Waits until the metrics of a node say this.
    pub(super) fn expect_metric(&self, number: usize, series: &str, value: f64) {
        let deadline = Instant::now() + 2 * DEADLINE;
        while self.metrics(number)[series] != value {
            assert!(Instant::now() < deadline, "{series} is not {value}: {:?}", self.metrics(number));
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// What the status of a node says of nodes.
    pub(super) fn standing(&self, number: usize) -> Value {
        let line = self.ask(&["--status", "--json", "--node", &format!("node-{number}")]);
        serde_json::from_str::<Value>(&line).unwrap()["node"].take()
    }
}

#[test]
fn status_and_metrics_tell_of_the_other_nodes() {
    let Some(mut nodes) = Nodes::start(2) else { return };
    nodes.expect_metric(0, "peerchat_other_nodes{state=\"up\"}", 1.0);
    let (alice, _) = Raw::synced(nodes.at(1), &keypair(), "alice", 1);
    nodes.expect_metric(0, "peerchat_users_online", 1.0);
    nodes.expect_metric(0, "peerchat_turns_behind", 0.0);
    let told = nodes.metrics(0);
    assert_eq!(told["peerchat_node_info{node=\"node-0\"}"], 1.0);
    // Each node has come in a turn, and alice in another one.
    assert!(told["peerchat_ledger_up"] == 1.0 && told["peerchat_turns_total"] >= 3.0, "{told:?}");
    let standing = nodes.standing(0);
    assert_eq!((&standing["name"], &standing["lag"]), (&"node-0".into(), &0.into()));
    assert!(standing["turns"].as_u64() >= Some(3) && standing["away"].is_null(), "{standing}");
    let other = &standing["others"][0];
    assert_eq!((&other["name"], &other["state"]), (&"node-1".into(), &"up".into()));
    assert_eq!(other["address"], nodes.at(1).to_string());
    assert_ne!(other["id"], standing["id"]);
    assert!(nodes.ask(&["--status", "--node", "node-0"]).contains("\nledger        works\n"));
    drop(alice);
    nodes.kill(1);
    nodes.expect_metric(0, "peerchat_other_nodes{state=\"lost\"}", 1.0);
    assert_eq!(nodes.metrics(0)["peerchat_other_nodes{state=\"up\"}"], 0.0);
}

#[test]
fn a_ledger_that_is_away_shows_at_each_node_and_so_does_its_return() {
    let Some(cluster) = postgres::Cluster::start(&[]) else { return };
    let cluster: &'static postgres::Cluster = Box::leak(Box::new(cluster));
    let nodes = Nodes::over(cluster.place(), 2);
    nodes.expect_metric(0, "peerchat_other_nodes{state=\"up\"}", 1.0);
    cluster.end();
    for number in 0..2 {
        nodes.expect_metric(number, "peerchat_ledger_up", 0.0);
    }
    nodes.expect_metric(0, "peerchat_other_nodes{state=\"unknown\"}", 1.0);
    let standing = nodes.standing(0);
    assert!(standing["away"].is_u64() && standing["others"][0]["state"] == "unknown", "{standing}");
    let text = nodes.ask(&["--status", "--node", "node-1"]);
    assert!(text.contains("\nledger        away or full for "), "{text}");
    cluster.restart();
    for number in 0..2 {
        nodes.expect_metric(number, "peerchat_ledger_up", 1.0);
    }
    nodes.expect_metric(0, "peerchat_other_nodes{state=\"up\"}", 1.0);
    assert_eq!(nodes.standing(0)["away"], Value::Null);
}
