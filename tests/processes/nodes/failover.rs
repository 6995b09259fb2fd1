//! A PostgreSQL that is gone for good, and its standby in its place.

use super::faults::{Load, expect_all};
use super::*;
use crate::postgres::{Cluster, free_port};

/// None of what they were told until now is that a user has gone. It also shows that they are there.
fn expect_not_offline(sessions: [&mut Raw; 2]) {
    for raw in sessions {
        raw.say(&ToDiscovery::Ping);
        loop {
            match raw.hear().expect("the session stands") {
                ToClient::Pong => break,
                said => assert!(
                    !matches!(&said, ToClient::Status(told) if told.online == Some(false)),
                    "{said:?}"
                ),
            }
        }
    }
}

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

    let load = Load::start(&nodes, 6);
    let mut fail_over = |primary: &Cluster, standby: &Cluster| {
        load.wait_for(20);
        primary.end();
        standby.promote();
        expect_not_offline([&mut alice, &mut bob]);
        load.wait_for(20);
    };
    fail_over(primary, &standby);
    // There is nothing left of the first one: another one takes its place.
    let next = standby.standby(primary.port);
    fail_over(&standby, &next);
    let acknowledged = load.end();
    expect_not_offline([&mut alice, &mut bob]);
    drop(bob);
    status_of(&mut alice, "bob", |status| status.online == Some(false));
    expect_all(&nodes, &acknowledged);
}
