//! A discovery that lies, though its key is the one that the client has pinned.

use std::net::SocketAddr;

use peerchat::protocol::PublicKey;
use peerchat::protocol::rendezvous::{About, Asks, Status, ToClient};

use super::{contacts, lines, meeting, said, told};
use crate::support::client::Client;
use crate::support::cost::{disk, memory};
use crate::support::discovery::{DEADLINE, keypair, name, scratch};
use crate::support::liar::{Liar, Session, asking, connected};
use crate::support::raw::{Lure, Met, RawPeer, hello};

const MAX_STRANGERS: usize = 100;
const INVENTED: usize = 10_000;

fn meet(strangers: &str) -> (tempfile::TempDir, Liar, Client, Session) {
    let (directory, _) = scratch();
    let liar = Liar::start();
    let alice = meeting(strangers, directory.path(), "alice", liar.address);
    let session = liar.session();
    (directory, liar, alice, session)
}

/// alice asks for bob, and the discovery tells the truth.
fn introduce(alice: &mut Client, session: &Session, friend: &str, key: PublicKey, at: SocketAddr) {
    alice.say(&format!("REQUEST {friend}"));
    session.wait("a request", |said| {
        matches!(said, peerchat::protocol::rendezvous::ToDiscovery::Request(it) if it.name.as_str() == friend)
    });
    session.tell(vec![ToClient::Status(connected(friend, key, at))]);
}

fn invented(number: usize, at: SocketAddr) -> Status {
    let key = keypair().public();
    let name = format!("invented-{number}");
    match number % 3 {
        0 => connected(&name, key, at),
        1 => asking(&name, key, Asks::Typed),
        // Fits together in no way.
        _ => Status { connected: true, asks: Asks::Typed, ..connected(&name, key, at) },
    }
}

#[test]
fn invented_contacts_are_bounded_and_not_dialled() {
    for strangers in ["open", "ask", "closed"] {
        let (directory, _liar, mut alice, session) = meet(strangers);
        let before = (disk(directory.path()), memory(&alice.pid()));
        let victim = Lure::here();
        for from in (0..INVENTED).step_by(100) {
            session.tell(
                (from..from + 100).map(|number| ToClient::Status(invented(number, victim.address))).collect(),
            );
        }
        // All of it has been taken in once the one who comes last is dialled.
        let (friend, control) = (keypair(), Lure::here());
        introduce(&mut alice, &session, "friend", friend.public(), control.address);
        let (mut peer, _) = control.accept(&friend).greet(hello("friend")).hello();
        alice.expect_link("friend");
        assert_eq!(victim.dials(), 0, "{strangers}");
        let kept = contacts(&mut alice);
        println!("{strangers}: {} kept, {} lines", kept.len(), alice.log().len());
        assert!(kept.len() <= MAX_STRANGERS + 1, "{}", kept.len());
        let after = (disk(directory.path()), memory(&alice.pid()));
        println!("{before:?} {after:?}");
        assert!(after.0 < before.0 + 4 * 1024 * 1024, "{before:?} {after:?}");
        assert!(after.1 < before.1 + 32 * 1024 * 1024, "{before:?} {after:?}");
        assert!(said(&mut alice, "request") <= 2 * MAX_STRANGERS, "{}", said(&mut alice, "request"));
        // Each can be forgotten, and the liar can't bring one back but as a stranger who asks anew.
        let strangers: Vec<_> = kept
            .iter()
            .map(|it| it["peer"].as_str().unwrap().to_owned())
            .filter(|it| it != "friend")
            .collect();
        strangers.iter().for_each(|it| alice.say(&format!("FORGET {it}")));
        assert_eq!(contacts(&mut alice).len(), 1);
        alice.say("CHAT friend hello");
        assert!(matches!(peer.wait("hello", |said| match said {
            peerchat::protocol::peer::Peer::Message(message) => Some(message.body.clone()),
            _ => None,
        }), body if body == b"hello"));
        if let Some(one) = strangers.first() {
            let (key, at) = (keypair().public(), victim.address);
            session.tell(vec![ToClient::Status(connected(one, key, at))]);
            session.tell(vec![ToClient::Status(asking(one, key, Asks::Again))]);
            introduce(&mut alice, &session, "another", friend.public(), control.address);
            alice.settle();
            assert_eq!(victim.dials(), 0);
        }
    }
}

/// Ends of contacts that were never asked for, and of those who are friends.
#[test]
fn a_storm_of_ends_costs_little_and_ends_no_link() {
    let (_directory, _liar, mut alice, session) = meet("open");
    let (friend, control) = (keypair(), Lure::here());
    introduce(&mut alice, &session, "friend", friend.public(), control.address);
    let (mut peer, _) = control.accept(&friend).greet(hello("friend")).hello();
    alice.expect_link("friend");
    let before = memory(&alice.pid());
    let about = |text: &str| About { name: name(text) };
    for round in 0..200 {
        session.tell(
            (0..50)
                .flat_map(|number| {
                    let one = format!("name-{}", round * 50 + number);
                    [
                        ToClient::Dropped(about(&one)),
                        ToClient::NoSuchUser(about(&one)),
                        ToClient::Dropped(about("friend")),
                        ToClient::Synced,
                    ]
                })
                .collect(),
        );
    }
    alice.say("CHAT friend still here");
    peer.up_to("still here");
    // All told is taken in once this is.
    let (other, lure) = (keypair(), Lure::here());
    introduce(&mut alice, &session, "other", other.public(), lure.address);
    lure.dialled();
    let after = memory(&alice.pid());
    println!("{before} {after}, {} lines", alice.log().len());
    assert!(after < before + 32 * 1024 * 1024);
    assert!(told(&mut alice) < 100, "{:?}", lines(&mut alice));
}

/// What a liar says of a friend's key changes nothing until the user says so, with the digits of that key.
#[test]
fn a_new_key_needs_sixteen_digits() {
    let (_directory, _liar, mut alice, session) = meet("open");
    let (bob, mallory, lure, trap) = (keypair(), keypair(), Lure::here(), Lure::here());
    introduce(&mut alice, &session, "bob", bob.public(), lure.address);
    let (peer, _) = lure.accept(&bob).greet(hello("bob")).hello();
    alice.expect_link("bob");
    peer.close();
    alice.expect_unlink("bob");
    session.tell(vec![ToClient::Status(connected("bob", mallory.public(), trap.address))]);
    alice.wait("error", |event| event["code"] == "key-changed");
    let digits = mallory.public().to_string();
    for few in [0, 1, 2, 8, 15] {
        alice.say(&format!("TRUST bob {}", &digits[..few]));
        alice.wait("error", |_| true);
        alice.say(&format!(r#"{{"command": "trust", "peer": "bob", "key": "{}"}}"#, &digits[..few]));
        alice.wait("error", |_| true);
    }
    alice.say(r#"{"command": "trust", "peer": "bob"}"#);
    alice.wait("error", |_| true);
    // Digits of another key, as many as you like.
    let other = keypair().public().to_string();
    for wrong in [&other[..16], &other[..], &format!("{}{}", &digits[..15], flipped(&digits[15..16]))] {
        alice.say(&format!("TRUST bob {wrong}"));
        alice.wait("error", |_| true);
    }
    assert_eq!(trap.dials(), 0);
    let still = contacts(&mut alice);
    assert_eq!(still[0]["fingerprint"], bob.public().to_string());
    // The liar changes the offer while the digits of the one before are typed.
    let third = keypair();
    session.tell(vec![ToClient::Status(connected("bob", third.public(), trap.address))]);
    let deadline = std::time::Instant::now() + DEADLINE;
    while contacts(&mut alice)[0]["offered"] != third.public().to_string() {
        assert!(std::time::Instant::now() < deadline);
    }
    alice.say(&format!("TRUST bob {}", &digits[..16]));
    alice.wait("error", |_| true);
    // Sixteen digits of the key that is offered are enough.
    alice.say(&format!("TRUST bob {}", &third.public().to_string()[..16]));
    let trusted = alice.wait("contact", |event| event["peer"] == "bob");
    assert_eq!(trusted["fingerprint"], third.public().to_string());
}

fn flipped(digit: &str) -> &'static str {
    if digit == "0" { "1" } else { "0" }
}

/// Discovery's own key is no better.
#[test]
fn a_new_key_of_discovery_needs_sixteen_digits() {
    let (directory, liar, alice, session) = meet("open");
    drop((alice, session));
    let port = liar.address;
    // Another key behind the same address: a proxy that answers itself.
    let other = Liar::start();
    let pinned = other.key.public().to_string();
    let journal = directory.path().join("alice.journal");
    {
        // The pin is made as if the other discovery had been at this one's place.
        let name = name("alice");
        let journal = peerchat::store::journal::Journal::open(&journal, &name).unwrap();
        journal.pin_rendezvous(&format!("127.0.0.1:{}", port.port()), other.key.public()).unwrap();
    }
    let mut alice = Client::start_with(directory.path(), "alice", 0, port, &[]);
    alice.wait("discovery", |event| event["state"] == "down");
    let offered = liar.key.public().to_string();
    for few in ["", &offered[..1], &offered[..15], &pinned[..16], &pinned] {
        alice.say(&format!("TRUST discovery {few}"));
        alice.wait("error", |_| true);
    }
    alice.say("HELP");
    alice.say(&format!("TRUST discovery {}", &offered[..16]));
    alice.expect_registered();
}

/// The liar says of a stranger's key that it is a friend's, and of a friend's that it is another's.
#[test]
fn a_name_for_a_key_makes_no_friend() {
    let (_directory, liar, mut alice, session) = meet("open");
    let (bob, mallory, lure) = (keypair(), keypair(), Lure::here());
    introduce(&mut alice, &session, "bob", bob.public(), lure.address);
    let (peer, _) = lure.accept(&bob).greet(hello("bob")).hello();
    alice.expect_link("bob");
    liar.name(mallory.public(), "bob");
    assert!(!matches!(RawPeer::link(&alice, &mallory, hello("bob")), Met::Hello(..)));
    liar.name(mallory.public(), "alice");
    assert!(!matches!(RawPeer::link(&alice, &mallory, hello("alice")), Met::Hello(..)));
    // As another name the key is a stranger's, who keeps that name.
    liar.name(mallory.public(), "carol");
    let (mut carol, _) = RawPeer::link(&alice, &mallory, hello("carol")).hello();
    carol.say(&[crate::support::raw::text(1, 1, "hi")]).unwrap();
    alice.expect_message("carol", "hi");
    carol.close();
    // What was pinned stays, whatever name the key comes with and is said to have.
    liar.name(mallory.public(), "dave");
    if let Met::Hello(mut dave, _) = RawPeer::link(&alice, &mallory, hello("dave")) {
        let _ = dave.say(&[crate::support::raw::text(1, 2, "hi from dave")]);
        dave.until_closed();
    }
    assert!(!contacts(&mut alice).iter().any(|it| it["peer"] == "dave"));
    assert!(!alice.log().iter().any(|it| it["text"] == "hi from dave"));
    drop(peer);
}
