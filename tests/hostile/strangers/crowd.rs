//! Many at once: names that ask, links that come and go, keys that never register, questions.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use peerchat::protocol::peer::Peer;
use peerchat::protocol::rendezvous::{RefusedCode, Strangers, ToClient};
use peerchat::transport::noise::Purpose;

use super::{contacts, lines, meeting, said, shown, told};
use crate::support::client::Client;
use crate::support::cost::{memory, threads};
use crate::support::discovery::{DEADLINE, Discovery, Raw, identify, keypair, request, scratch};
use crate::support::raw::{Account, Wire, connect_from, session};

const CROWD: usize = 1000;
/// How many strangers a client keeps.
const MAX_STRANGERS: usize = 100;

/// One of many addresses of this machine.
fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, u8::try_from(1 + number / 200).unwrap(), u8::try_from(1 + number % 200).unwrap())
}

/// The door still works for others, and for alice herself, in spite of the crowd.
fn expect_an_open_door(alice: &mut Client, directory: &std::path::Path, discovery: SocketAddr) {
    let kept = contacts(alice).len();
    println!("{kept} strangers are kept");
    assert!(kept <= MAX_STRANGERS, "{kept}");
    let requests = said(alice, "request");
    println!("{requests} requests were told, {} lines in all", told(alice));
    assert!(told(alice) < 4 * MAX_STRANGERS, "{:?}", lines(alice));
    let mut honest = meeting("closed", directory, "honest", discovery);
    honest.say("REQUEST alice");
    honest.say("CHAT alice hello");
    // Where very many ask she is not told of each, but can look.
    let deadline = Instant::now() + DEADLINE;
    while !contacts(alice).iter().any(|it| it["peer"] == "honest") {
        assert!(Instant::now() < deadline, "the honest one is not shown");
        alice.next(Duration::from_millis(100));
    }
    alice.say("ACCEPT honest");
    while said(&mut honest, "link") == 0 {
        honest.wait("link", |_| true);
    }
    while said(&mut honest, "delivered") == 0 {
        honest.wait("delivered", |_| true);
    }
    // She asks for a friend, who asks for none.
    let mut friend = meeting("open", directory, "friend", discovery);
    alice.say("REQUEST friend");
    alice.expect_link("friend");
    friend.expect_link("alice");
    // And gets rid of one of the crowd.
    if let Some(one) = contacts(alice).iter().find(|it| it["peer"].as_str().unwrap().starts_with("crowd")) {
        let name = one["peer"].as_str().unwrap();
        alice.say(&format!("FORGET {name}"));
        assert!(!contacts(alice).iter().any(|it| it["peer"] == name));
    }
    assert!(contacts(alice).len() <= MAX_STRANGERS + 2);
}

#[test]
fn a_crowd_that_asks_keeps_no_one_out() {
    for (strangers, crowd) in [("open", CROWD), ("ask", CROWD / 4)] {
        let (directory, db) = scratch();
        let discovery = Discovery::start(&db);
        let mut alice = meeting(strangers, directory.path(), "alice", discovery.address);
        let before = memory(&alice.pid());
        for number in 0..crowd {
            let mut one = Account::from(discovery.address, &format!("crowd-{number}"), address(number));
            one.request("alice");
            one.settle();
        }
        expect_an_open_door(&mut alice, directory.path(), discovery.address);
        let after = memory(&alice.pid());
        assert!(after < before + 32 * 1024 * 1024, "{before} {after}");
        // It stays so over a restart, when discovery tells of all of them at once.
        alice.log_out();
        let mut alice = meeting(strangers, directory.path(), "alice", discovery.address);
        let kept = contacts(&mut alice);
        assert!(kept.len() <= MAX_STRANGERS + 2, "{}", kept.len());
        assert!(kept.iter().any(|it| it["peer"] == "honest"), "a contact is not displaced");
    }
}

/// One who has asked before the crowd came is not lost in it.
#[test]
fn who_asked_before_the_crowd_can_still_be_answered() {
    for strangers in ["open", "ask"] {
        let (directory, db) = scratch();
        let discovery = Discovery::start(&db);
        let mut alice = meeting(strangers, directory.path(), "alice", discovery.address);
        let mut honest = meeting("closed", directory.path(), "honest", discovery.address);
        honest.say("REQUEST alice");
        honest.say("CHAT alice hello");
        alice.wait("request", |event| event["from"] == "honest");
        for number in 0..2 * MAX_STRANGERS {
            let mut one = Account::from(discovery.address, &format!("crowd-{number}"), address(number));
            one.request("alice");
            one.settle();
        }
        alice.settle();
        // The line that told of the one who asked first is still to be seen. Where there was no room to keep that request,
        // discovery has it.
        let kept = contacts(&mut alice).iter().any(|it| it["peer"] == "honest");
        println!("{strangers}: kept: {kept}");
        alice.say(if kept { "ACCEPT honest" } else { "REQUEST honest" });
        while said(&mut honest, "delivered") == 0 {
            honest.wait("delivered", |_| true);
        }
        assert_eq!(shown(&mut alice, "honest"), ["hello"]);
    }
}

#[test]
fn a_crowd_that_links_keeps_no_one_out() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut alice = meeting("open", directory.path(), "alice", discovery.address);
    let before = memory(&alice.pid());
    for number in 0..CROWD {
        let one = Account::from(discovery.address, &format!("crowd-{number}"), address(number));
        drop(crate::support::raw::RawPeer::link_from(address(number), &alice, &one.key, one.hello()));
    }
    expect_an_open_door(&mut alice, directory.path(), discovery.address);
    let after = memory(&alice.pid());
    assert!(after < before + 32 * 1024 * 1024, "{before} {after}");
}

/// Strangers who stay: no more than a few links are theirs, and the rest of the client's are free.
#[test]
fn links_of_strangers_are_few() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut alice = meeting("open", directory.path(), "alice", discovery.address);
    let before = threads(&alice.pid());
    let mut held = Vec::new();
    for number in 0..60 {
        let one = Account::from(discovery.address, &format!("crowd-{number}"), address(number));
        held.push((
            crate::support::raw::RawPeer::link_from(address(number), &alice, &one.key, one.hello()),
            one,
        ));
    }
    alice.settle();
    let after = threads(&alice.pid());
    println!("{before} threads, then {after}");
    assert!(after <= before + 24, "{before} {after}");
    let mut honest = meeting("closed", directory.path(), "honest", discovery.address);
    honest.say("REQUEST alice");
    honest.expect_link("alice");
    drop(held);
}

#[test]
fn keys_that_never_register_keep_no_one_out() {
    let (directory, db) = scratch();
    let discovery = Discovery::start_with(&db, &["--max-connections", "100"]);
    let mut held: Vec<_> = Vec::new();
    // From 47 addresses, more than there is room for; who is cut comes again.
    let fill = |held: &mut Vec<_>| {
        for number in 0..150 {
            held.extend(session(address(number % 47), discovery.address, &keypair()));
        }
    };
    fill(&mut held);
    let mut honest = Vec::new();
    for number in 0..25 {
        let name = format!("honest-{number}");
        // Raw, for a client would try again by itself.
        let mut one = session(Ipv4Addr::LOCALHOST, discovery.address, &keypair())
            .unwrap_or_else(|why| panic!("{name}: {why}"));
        let listen = ([127, 0, 0, 1], 1).into();
        one.say(&[crate::support::raw::registration(&name, listen, Strangers::Open)]).unwrap();
        one.wait(&name, |said| matches!(said, ToClient::Registered(_)).then_some(()));
        honest.push(one);
        if number % 5 == 4 {
            fill(&mut held);
        }
    }
    // Those who have registered are not displaced.
    for one in &mut honest {
        one.say(&[peerchat::protocol::rendezvous::ToDiscovery::Ping]).unwrap();
        one.wait("a pong", |said| matches!(said, ToClient::Pong).then_some(()));
    }
    // Neither by handshakes that are never finished.
    let silent: Vec<_> =
        (0..300).map(|number| connect_from(address(number % 47), discovery.address)).collect();
    drop(Client::online(directory.path(), "alice", discovery.address));
    drop(silent);
}

#[test]
fn names_can_t_be_asked_for_by_the_thousand() {
    let (_directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let key = keypair();
    let mut unknown = 0;
    let mut refused = 0;
    // As one account in one session, then in sessions of its own for each hundred.
    for round in 0..40 {
        let mut mallory = Raw::synced(discovery.address, &key, "mallory", 1).0;
        for number in 0..100 {
            let question = if number % 2 == 0 {
                request(&format!("user-{round}-{number}"))
            } else {
                identify(keypair().public())
            };
            match mallory.ask(&question) {
                ToClient::NoSuchUser(_) => unknown += 1,
                ToClient::Identity(identity) => {
                    assert_eq!(identity.name, None);
                    unknown += 1;
                }
                ToClient::Refused(refusal) => {
                    assert_eq!(refusal.code, RefusedCode::TOO_MANY_QUESTIONS);
                    refused += 1;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    println!("{unknown} answers of 4000, {refused} refusals");
    assert!(unknown <= 400, "{unknown}");
    // The honest go on asking.
    let mut honest = Raw::synced(discovery.address, &keypair(), "honest", 1).0;
    assert!(matches!(honest.ask(&request("mallory")), ToClient::Status(_)));
}

/// An account has few unanswered requests of its own, and so can't learn many names that exist by asking.
#[test]
fn unanswered_requests_are_few() {
    let (_directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let users: Vec<_> = (0..80)
        .map(|number| {
            let (name, strangers) = (format!("user-{number}"), Strangers::Ask);
            Account::with(
                discovery.address,
                &name,
                keypair(),
                Ipv4Addr::LOCALHOST,
                crate::support::raw::Lure::here(),
                strangers,
            )
        })
        .collect();
    let mut mallory = Raw::synced(discovery.address, &keypair(), "mallory", 1).0;
    let mut told = 0;
    for user in &users {
        match mallory.ask(&request(&user.name)) {
            ToClient::Status(status) => {
                assert_eq!((status.online, status.address), (None, None), "{}", user.name);
                told += 1;
            }
            ToClient::Refused(refused) => assert_eq!(refused.code, RefusedCode::TOO_MANY_REQUESTS),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(told, 50);
    drop(users);
}

/// Keys that no account has, as many as can dial at once: each makes the client ask discovery whose it is.
#[test]
fn keys_that_no_one_has_keep_no_one_out() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut alice = meeting("open", directory.path(), "alice", discovery.address);
    let before = (memory(&alice.pid()), threads(&alice.pid()));
    let (key, to) = (alice.fingerprint.parse().unwrap(), alice.address);
    let over = Arc::<AtomicBool>::default();
    let dialled = Arc::<AtomicUsize>::default();
    let crowd: Vec<_> = (0..2)
        .map(|half| {
            let (over, dialled) = (Arc::clone(&over), Arc::clone(&dialled));
            thread::spawn(move || {
                let mut held = VecDeque::new();
                while !over.load(Ordering::SeqCst) {
                    let number = dialled.fetch_add(1, Ordering::SeqCst);
                    let from = address(half * 450 + number % 450);
                    held.push_back(Wire::<Peer>::dial(from, to, Purpose::Peer, &keypair(), Some(key)));
                    if held.len() > 400 {
                        held.pop_front();
                    }
                }
            })
        })
        .collect();
    while dialled.load(Ordering::SeqCst) < 1000 {
        alice.settle();
    }
    let mut honest = meeting("closed", directory.path(), "honest", discovery.address);
    honest.say("REQUEST alice");
    honest.say("CHAT alice hello");
    alice.wait("message", |event| event["from"] == "honest");
    alice.say("REQUEST nobody-here");
    let refused = alice.wait("error", |event| event["peer"] == "nobody-here");
    assert_eq!(refused["code"], "no-such-user", "{refused}");
    let after = (memory(&alice.pid()), threads(&alice.pid()));
    over.store(true, Ordering::SeqCst);
    crowd.into_iter().for_each(|half| half.join().unwrap());
    println!("{} dials: {before:?} {after:?}, {} lines", dialled.load(Ordering::SeqCst), alice.log().len());
    assert!(told(&mut alice) < 100, "{:?}", lines(&mut alice));
}
