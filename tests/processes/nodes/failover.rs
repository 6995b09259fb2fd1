//! A PostgreSQL that is gone for good, and its standby in its place.

use super::faults::{Load, Staying, expect_all};
use super::*;
use crate::postgres::{Cluster, free_port};

#[test]
fn a_standby_that_is_promoted_has_all_that_was_acknowledged() {
    let Some(first) = Cluster::start(&[]) else { return };
    let primary: &'static Cluster = Box::leak(Box::new(first));
    let mut place = primary.place();
    let other = free_port();
    place.url = format!("postgres://peerchat@127.0.0.1:{},127.0.0.1:{other}/{}", primary.port, place.name);
    let standby = primary.standby(other);
    let nodes = Nodes::over(place, 3);
    let (mut alice, _) = Raw::synced(nodes.at(0), &keypair(), "alice", 1);
    let (mut bob, _) = Raw::synced(nodes.at(1), &keypair(), "bob", 1);
    connect((&mut alice, "alice"), (&mut bob, "bob"));

    for raw in [&mut alice, &mut bob] {
        raw.nothing_unheard();
    }
    let staying = Staying::start([alice, bob]);
    let load = Load::start(&nodes, 6);
    let fail_over = |primary: &Cluster, standby: &Cluster| {
        load.wait_for(20);
        primary.end();
        standby.promote();
        load.wait_for(20);
    };
    fail_over(primary, &standby);
    // There is nothing left of the first one: another one takes its place.
    let next = standby.standby(primary.port);
    fail_over(&standby, &next);
    let acknowledged = load.end();
    let [mut alice, bob] = staying.end();
    drop(bob);
    status_of(&mut alice, "bob", |status| status.online == Some(false));
    expect_all(&nodes, &acknowledged);
}
