//! A client dials only those whom its user knows, and none of them can hold up the others.

use std::net::{Ipv4Addr, SocketAddr};

use peerchat::protocol::rendezvous::Strangers;

use super::{meeting, said};
use crate::support::client::Client;
use crate::support::discovery::{Discovery, keypair, scratch};
use crate::support::raw::{Account, Lure, registration};

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// Waits until a contact is dialled again and again, with longer and longer pauses between: whatever was asked for before
/// would have been dialled by now.
fn expect_control(alice: &mut Client, discovery: SocketAddr, name: &str) {
    let mut control = Account::new(discovery, name);
    control.request("alice");
    alice.say(&format!("REQUEST {name}"));
    for _ in 0..5 {
        drop(control.lure.dialled());
    }
}

#[test]
fn an_address_that_is_another_s_is_not_dialled() {
    for strangers in ["open", "ask", "closed"] {
        let (directory, db) = scratch();
        let discovery = Discovery::start(&db);
        let mut alice = meeting(strangers, directory.path(), "alice", discovery.address);
        // A host that has nothing to do with it, and many ports of it.
        let victims: Vec<_> = (0..20).map(|_| Lure::at(Ipv4Addr::new(127, 0, 0, 2))).collect();
        let mut mallory =
            Account::with(discovery.address, "mallory", keypair(), HERE, Lure::here(), Strangers::Open);
        for victim in &victims {
            mallory.session.say(&[registration("mallory", victim.address, Strangers::Open)]).unwrap();
            mallory.request("alice");
            let _ = mallory.link(&alice);
        }
        mallory.settle();
        expect_control(&mut alice, discovery.address, "control");
        let dials: usize = victims.iter().chain([&mallory.lure]).map(Lure::dials).sum();
        assert_eq!(dials, 0, "{strangers}");
        // What it says of itself in a link is no better.
        let hello = peerchat::protocol::peer::Hello { port: victims[0].address.port(), ..mallory.hello() };
        drop(crate::support::raw::RawPeer::link_from(
            Ipv4Addr::new(127, 0, 0, 2),
            &alice,
            &mallory.key,
            hello,
        ));
        expect_control(&mut alice, discovery.address, "another");
        assert_eq!(victims.iter().map(Lure::dials).sum::<usize>(), 0, "{strangers}");
    }
}

/// Even a contact makes alice dial few ports of a host that it is not seen to be at.
#[test]
fn a_contact_can_t_scan_another_host() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut alice = meeting("open", directory.path(), "alice", discovery.address);
    let mut mallory = Account::new(discovery.address, "mallory");
    mallory.request("alice");
    alice.say("REQUEST mallory");
    drop(mallory.lure.dialled());
    let victims: Vec<_> = (0..30).map(|_| Lure::at(Ipv4Addr::new(127, 0, 0, 2))).collect();
    for (number, victim) in victims.iter().enumerate() {
        mallory.session.say(&[registration("mallory", victim.address, Strangers::Open)]).unwrap();
        mallory.settle();
        if number % 10 == 9 {
            expect_control(&mut alice, discovery.address, &format!("control-{number}"));
        }
    }
    let dialled = victims.iter().filter(|victim| victim.dials() > 0).count();
    assert!(dialled <= 4, "{dialled} ports of another host");
}

#[test]
fn tar_pits_do_not_delay_a_friend() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut alice = meeting("open", directory.path(), "alice", discovery.address);
    // They take connections, and say nothing.
    let pits: Vec<_> = (0..200)
        .map(|number| {
            let name = format!("pit-{number}");
            let mut pit = Account::new(discovery.address, &name);
            pit.request("alice");
            alice.say(&format!("REQUEST {name}"));
            pit
        })
        .collect();
    // As soon as some are being dialled.
    pits[0].lure.dialled();
    // A friend who can't dial her.
    let mut bob = Account::new(discovery.address, "bob");
    bob.request("alice");
    let asked = std::time::Instant::now();
    alice.say("REQUEST bob");
    let _peer = bob.lure.accept(&bob.key).greet(bob.hello()).hello();
    alice.expect_link("bob");
    println!("linked after {:?}", asked.elapsed());
    // Only one who waits for none of them is that fast: three rounds of dials took 25 s.
    assert!(asked.elapsed() < std::time::Duration::from_secs(10), "{:?}", asked.elapsed());
    // And the other way round, with one who dials while alice's hands are full.
    let mut carol = Client::online(directory.path(), "carol", discovery.address);
    carol.say("REQUEST alice");
    carol.say("CHAT alice hi");
    alice.wait("message", |event| event["from"] == "carol");
    // They are tried again and again, and none of it is worth a line.
    assert!(said(&mut alice, "error") < 10, "{:#?}", alice.log());
}
