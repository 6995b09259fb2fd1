//! Contacts whose ports accept connections and say nothing, while discovery is away: they do not keep others waiting.
//!
//! ```text
//! cargo test --test processes silent:: -- --include-ignored --nocapture     # also with 300, and with the times
//! ```

use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::support::client::Client;
use crate::support::discovery::{Raw, keypair, scratch};
use crate::support::proxy::Rendezvous;

/// What is promised is 3 s; a machine that is busy with other tests may take longer.
const REACHED: Duration = Duration::from_secs(10);

/// So many silent contacts, beside bob, with whom there was a link, and carol, with whom there never was. Both were asked
/// for first, which is the longest ago.
fn others_are_reached_past(silent: usize) {
    let (directory, _) = scratch();
    let rendezvous = Rendezvous::start();
    let mut bob = Client::online(directory.path(), "bob", rendezvous.address);
    let carol = Client::online(directory.path(), "carol", rendezvous.address);
    rendezvous.send_to("bob", bob.address);
    rendezvous.send_to("carol", carol.address);
    let at = carol.address;
    carol.log_out();
    // Not where carol was, whose port they might get.
    let listeners: Vec<_> = (0..silent).map(|_| TcpListener::bind("127.0.0.4:0").unwrap()).collect();
    let name = |number| format!("silent{number}");
    for (number, listener) in listeners.iter().enumerate() {
        let address = listener.local_addr().unwrap();
        rendezvous.send_to(&name(number), address);
        Raw::log_in(rendezvous.address, &keypair(), &name(number), address.port());
    }

    let mut alice = Client::online(directory.path(), "alice", rendezvous.address);
    alice.say("REQUEST carol");
    alice.say("REQUEST bob");
    alice.expect_link("bob");
    for number in 0..silent {
        alice.say(&format!("REQUEST {}", name(number)));
        alice.wait("presence", |event| event["peer"] == name(number));
    }
    alice.log_out();
    bob.expect_unlink("alice");
    let _carol = Client::start_with(directory.path(), "carol", at.port(), rendezvous.address, &[]);

    let away = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut alice = Client::start(directory.path(), "alice", away);
    let started = Instant::now();
    for name in ["bob", "carol"] {
        let linked = |it: &Client| it.log().iter().any(|it| it["event"] == "link" && it["peer"] == name);
        while !linked(&alice) {
            let left = REACHED.saturating_sub(started.elapsed());
            assert!(alice.next(left).is_some(), "{name} was not reached: {:#?}", alice.log());
        }
        println!("{name} is reached past {silent} after {:?}", started.elapsed());
    }
}

#[test]
fn a_hundred_silent_contacts_do_not_keep_others_from_being_reached() {
    others_are_reached_past(100);
}

#[test]
#[ignore = "three times the other"]
fn three_hundred_silent_contacts_do_not_keep_others_from_being_reached() {
    others_are_reached_past(300);
}
