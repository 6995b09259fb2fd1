//! What a stranger may do before there is an answer, under each policy, and what ends it.

use std::net::SocketAddr;
use std::path::Path;

use peerchat::protocol::peer::{ByeReason, Hold, HoldReason, Kind, Peer};
use peerchat::protocol::rendezvous::{RefusedCode, ToClient};

use super::{contacts, lines, meeting, numbered, said, shown, told};
use crate::support::client::Client;
use crate::support::cost::{disk, memory};
use crate::support::discovery::{DEADLINE, Discovery, request_again, scratch};
use crate::support::raw::{Account, Met, RawPeer, epoch, message, text, texts};

/// How many messages a stranger may have here until answered.
const MESSAGES: usize = 20;
/// The longest body that a frame holds.
const LONGEST: usize = 65_400;
const UNKNOWN: Kind = Kind(999);

const MIB: u64 = 1024 * 1024;

/// alice, who meets strangers in this way, and mallory, whom she does not know.
fn two(strangers: &str) -> (tempfile::TempDir, Discovery, Client, Account) {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let alice = meeting(strangers, directory.path(), "alice", discovery.address);
    let mallory = Account::new(discovery.address, "mallory");
    (directory, discovery, alice, mallory)
}

/// The hold that a flood meets.
fn hold(peer: &mut RawPeer) -> Hold {
    peer.wait("a hold", |said| match said {
        Peer::Hold(hold) => Some(hold.clone()),
        _ => None,
    })
}

/// Sends these bodies until the other side ends it; how many it took.
fn flood(peer: &mut RawPeer, epoch: u64, from: u64, count: u64, body: &[u8]) -> u64 {
    (from..from + count).take_while(|n| peer.say(&[message(epoch, *n, UNKNOWN, body)]).is_ok()).count() as u64
}

#[test]
fn a_new_name_does_not_fill_the_disk() {
    let (directory, _discovery, mut alice, mallory) = two("open");
    let data = directory.path();
    let before = (disk(data), memory(&alice.pid()));

    let (mut peer, _) = mallory.link(&alice).hello();
    let body = vec![b'x'; LONGEST];
    let own = epoch();
    let sent = flood(&mut peer, own, 1, 100, &body);
    let held = hold(&mut peer);
    assert_eq!(held.reason, HoldReason::NOT_ANSWERED);
    assert!(held.cursor.is_none_or(|cursor| cursor.epoch == own && cursor.number <= MESSAGES as u64));
    // It goes on all the same, without a word of the rewind that was asked for.
    let sent = sent + flood(&mut peer, own, 101, 2000, &body);
    // Then it says that it has rewound, and sends the same again.
    let _ = peer.say(&[Peer::Rewound]);
    flood(&mut peer, own, 1, 500, &body);
    println!("{} MB were sent", sent * LONGEST as u64 / 1_000_000);
    peer.close();
    // Or comes again, each time as another start.
    for _ in 0..10 {
        if let Met::Hello(mut peer, theirs) = mallory.link(&alice) {
            assert_eq!(theirs.hold, Some(HoldReason::NOT_ANSWERED));
            flood(&mut peer, epoch(), 1, 100, &body);
        }
    }
    assert!(said(&mut alice, "message") <= MESSAGES);
    let after = (disk(data), memory(&alice.pid()));
    println!("from {before:?} to {after:?} bytes of disk and memory");
    assert!(after.0 < before.0 + 2 * MIB, "{before:?} {after:?}");
    assert!(after.1 < before.1 + 64 * MIB, "{before:?} {after:?}");
    assert!(told(&mut alice) < 200, "{:?}", lines(&mut alice));
}

#[test]
fn all_strangers_together_do_not_fill_the_disk() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let alice = meeting("open", directory.path(), "alice", discovery.address);
    let before = disk(directory.path());
    let body = vec![b'x'; 30_000];
    for number in 0..300 {
        let stranger = Account::new(discovery.address, &format!("stranger-{number}"));
        if let Met::Hello(mut peer, theirs) = stranger.link(&alice)
            && theirs.hold.is_none()
        {
            let own = epoch();
            for number in 1..=3 {
                let _ = peer.say(&[message(own, number, Kind::TEXT, &body)]);
            }
            // Until it is taken or not.
            peer.wait_or_end(|said| matches!(said, Peer::Hold(_) | Peer::Bye(_)));
        }
    }
    let grown = disk(directory.path()) - before;
    println!("{grown} bytes of 300 strangers");
    // 8 MiB of messages, the index of their words, and the log of the database.
    assert!(grown < 24 * MIB, "{grown}");
}

#[test]
fn neither_a_new_link_nor_a_new_start_gives_a_stranger_more() {
    let (directory, discovery, mut alice, mallory) = two("open");
    let mut next = 1;
    let own = epoch();
    let mut taken = 0;
    for round in 0..8 {
        if round == 4 {
            alice.kill();
            alice = meeting("open", directory.path(), "alice", discovery.address);
        }
        let Met::Hello(mut peer, theirs) = mallory.link(&alice) else { continue };
        if theirs.hold.is_some() {
            assert!(taken >= MESSAGES as u64, "held after {taken}");
        }
        for _ in 0..6 {
            // It may be cut, for it was told that nothing is taken.
            let _ = peer.say(&[text(own, next, &format!("text {next}"))]);
            next += 1;
        }
        peer.wait_or_end(|said| match said {
            Peer::Ack(ack) => {
                taken = taken.max(ack.number);
                ack.number == next - 1
            }
            Peer::Hold(Hold { cursor, .. }) => {
                taken = taken.max(cursor.map_or(0, |cursor| cursor.number));
                true
            }
            _ => false,
        });
        assert!(taken <= MESSAGES as u64, "{taken}");
    }
    assert_eq!(taken, MESSAGES as u64);
    alice.say("HISTORY mallory 1000");
    let history = alice.wait("history", |_| true);
    assert_eq!(history["messages"].as_array().unwrap().len(), MESSAGES);
}

/// Real clients: bob writes much more than a stranger may.
fn held(strangers: &str) -> (tempfile::TempDir, Discovery, Client, Client) {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut alice = meeting(strangers, directory.path(), "alice", discovery.address);
    let mut bob = Client::online(directory.path(), "bob", discovery.address);
    bob.say("REQUEST alice");
    numbered("text", 0..50).iter().for_each(|text| bob.say(&format!("CHAT alice {text}")));
    let request = alice.wait("request", |event| event["from"] == "bob");
    assert_eq!(
        (&request["stranger"], &request["fingerprint"]),
        (&true.into(), &bob.fingerprint.clone().into())
    );
    (directory, discovery, alice, bob)
}

/// Each once, in order.
fn expect_all(alice: &mut Client, bob: &mut Client, count: usize) {
    let last = format!("text {}", count - 1);
    while !shown(alice, "bob").contains(&last) {
        alice.wait("message", |_| true);
    }
    assert_eq!(shown(alice, "bob"), numbered("text", 0..count));
    while said(bob, "delivered") < count {
        bob.wait("delivered", |_| true);
    }
    assert_eq!(said(bob, "delivered"), count);
}

#[test]
fn what_was_held_arrives_once_and_in_order_after_an_answer() {
    for answer in ["ACCEPT bob", "CHAT bob hello", "REQUEST bob"] {
        let (_directory, _discovery, mut alice, mut bob) = held("open");
        let told = bob.wait("held", |event| event["to"] == "alice" && event["waiting"] == 50 - MESSAGES);
        assert_eq!(told["reason"], "not-answered");
        assert_eq!(shown(&mut alice, "bob"), numbered("text", 0..MESSAGES), "{answer}");
        alice.say(answer);
        expect_all(&mut alice, &mut bob, 50);
    }
}

/// So much that a window is on its way when the stranger is told to stop.
#[test]
fn much_that_was_held_is_no_breach_and_arrives_once() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut alice = meeting("open", directory.path(), "alice", discovery.address);
    let mut bob = Client::online(directory.path(), "bob", discovery.address);
    bob.say("REQUEST alice");
    let long = "x".repeat(30_000);
    let texts: Vec<_> = (0..80).map(|number| format!("{number} {long}")).collect();
    texts.iter().for_each(|text| bob.say(&format!("CHAT alice {text}")));
    bob.wait("held", |event| event["waiting"] == 78);
    assert_eq!(shown(&mut alice, "bob"), texts[..2]);
    assert_eq!(said(&mut bob, "link"), 1, "it is not cut: {:?}", bob.log().last());
    assert_eq!(said(&mut alice, "error"), 0);
    alice.say("ACCEPT bob");
    while shown(&mut alice, "bob").len() < 80 {
        alice.wait("message", |_| true);
    }
    assert_eq!(shown(&mut alice, "bob"), texts);
    while said(&mut bob, "delivered") < 80 {
        bob.wait("delivered", |_| true);
    }
}

/// A contact can't fill the disk to the brim. More is to be kept free than there is.
#[test]
fn a_full_disk_takes_nothing_even_of_a_contact() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let options = ["--strangers", "open", "--keep-free", "1000000000"];
    let mut alice = Client::start_with(directory.path(), "alice", 0, discovery.address, &options);
    alice.expect_registered();
    let mut mallory = Account::new(discovery.address, "mallory");
    mallory.request("alice");
    alice.say("REQUEST mallory");
    let (mut peer, theirs) = mallory.lure.accept(&mallory.key).greet(mallory.hello()).hello();
    alice.expect_link("mallory");
    let own = epoch();
    if theirs.hold.is_none() {
        flood(&mut peer, own, 1, 500, &vec![b'x'; LONGEST]);
        assert_eq!(hold(&mut peer).reason, HoldReason::DISK_FULL);
    } else {
        assert_eq!(theirs.hold, Some(HoldReason::DISK_FULL));
    }
    let before = disk(directory.path());
    for _ in 0..10 {
        if let Met::Hello(mut peer, theirs) = mallory.link(&alice) {
            assert_eq!(theirs.hold, Some(HoldReason::DISK_FULL));
            flood(&mut peer, epoch(), 1, 100, &vec![b'x'; LONGEST]);
        }
    }
    let grown = disk(directory.path()).saturating_sub(before);
    assert!(grown < MIB, "{grown}");
    // Her own words still go.
    let (mut peer, _) = RawPeer::insist(&alice, &mallory.key, &mallory.hello());
    alice.say("CHAT mallory no more");
    peer.up_to("no more");
}

#[test]
fn what_was_held_arrives_once_though_both_are_killed() {
    let (directory, discovery, mut alice, mut bob) = held("open");
    bob.wait("held", |event| event["waiting"] == 50 - MESSAGES);
    alice.kill();
    bob.kill();
    let mut alice = meeting("open", directory.path(), "alice", discovery.address);
    let mut bob = Client::online(directory.path(), "bob", discovery.address);
    bob.say("CHAT alice text 50");
    bob.wait("held", |event| event["waiting"] == 51 - MESSAGES);
    alice.say("ACCEPT bob");
    alice.wait("message", |message| message["text"] == "text 50");
    alice.say("HISTORY bob 1000");
    let history = alice.wait("history", |_| true);
    let all: Vec<_> = history["messages"].as_array().unwrap().iter().map(|it| it["text"].clone()).collect();
    assert_eq!(all, numbered("text", 0..51));
    bob.say("OUTBOX");
    while bob.wait("outbox", |_| true)["waiting"] != 0 {
        bob.wait("delivered", |_| true);
        bob.say("OUTBOX");
    }
}

#[test]
fn one_who_only_asks_is_shown_and_no_more() {
    let (_directory, discovery, mut alice, mut mallory) = two("ask");
    mallory.request("alice");
    let status = mallory.session.wait("a status", |said| match said {
        ToClient::Status(status) if status.name.as_str() == "alice" => Some(status.clone()),
        _ => None,
    });
    assert_eq!((status.online, status.address, status.connected), (None, None, false));
    assert_eq!(status.key.to_string(), alice.fingerprint);
    let request = alice.wait("request", |event| event["from"] == "mallory");
    assert_eq!(request["stranger"], true);
    // A stranger who links all the same is told why not.
    for _ in 0..3 {
        match mallory.link(&alice) {
            Met::Bye(bye) => assert_eq!(bye.reason, ByeReason::NOT_ANSWERED),
            other => panic!("{other:?}"),
        }
    }
    // What a stranger has said meanwhile counts for nothing.
    let mut impatient = RawPeer::dial(
        [127, 0, 0, 1].into(),
        alice.address,
        peerchat::transport::noise::Purpose::Peer,
        &mallory.key,
        Some(status.key),
    )
    .unwrap();
    let _ = impatient.say(&[Peer::Hello(mallory.hello()), text(1, 1, "taken?")]);
    impatient.until_closed();
    assert_eq!(said(&mut alice, "message"), 0);
    // She goes and comes: mallory is told nothing of it.
    mallory.settle();
    alice.log_out();
    let (_, _) = (mallory.settle(), &discovery);
    assert!(!mallory.settle().iter().any(|it| matches!(it, ToClient::Status(s) if s.online.is_some())));
}

#[test]
fn an_answer_opens_the_door_of_one_who_asks() {
    for answer in ["ACCEPT bob", "CHAT bob hello", "REQUEST bob"] {
        let (_directory, _discovery, mut alice, mut bob) = held("ask");
        assert_eq!(shown(&mut alice, "bob"), Vec::<String>::new());
        assert_eq!(said(&mut bob, "link"), 0);
        alice.say(answer);
        expect_all(&mut alice, &mut bob, 50);
    }
}

#[test]
fn a_closed_door_says_so() {
    let (directory, discovery, mut alice, mut mallory) = two("closed");
    mallory.request("alice");
    let refused = mallory.session.wait("a refusal", |said| match said {
        ToClient::Refused(refused) => Some(refused.clone()),
        ToClient::Status(status) => panic!("{status:?}"),
        _ => None,
    });
    assert_eq!(refused.code, RefusedCode::CLOSED);
    assert!(!matches!(mallory.link(&alice), Met::Hello(..)));
    let mut bob = Client::online(directory.path(), "bob", discovery.address);
    bob.say("REQUEST alice");
    bob.expect_error("refused");
    assert_eq!((said(&mut alice, "request"), said(&mut alice, "message")), (0, 0));
    // Her own request is answered as ever.
    alice.say("REQUEST bob");
    alice.expect_link("bob");
    bob.expect_link("alice");
}

#[test]
fn all_are_answered_where_the_user_wants_it() {
    let (_directory, _discovery, mut alice, mut bob) = {
        let (directory, db) = scratch();
        let discovery = Discovery::start(&db);
        let alice = meeting("all", directory.path(), "alice", discovery.address);
        let bob = meeting("closed", directory.path(), "bob", discovery.address);
        (directory, discovery, alice, bob)
    };
    bob.say("REQUEST alice");
    numbered("text", 0..50).iter().for_each(|text| bob.say(&format!("CHAT alice {text}")));
    expect_all(&mut alice, &mut bob, 50);
    assert_eq!(said(&mut bob, "held"), 0);
}

#[test]
fn a_block_holds_until_the_user_says_otherwise() {
    for lifted in ["UNBLOCK mallory", "REQUEST mallory"] {
        let (_directory, _discovery, mut alice, mut mallory) = two("open");
        let (mut peer, _) = mallory.link(&alice).hello();
        peer.say(&[text(epoch(), 1, "before")]).unwrap();
        alice.expect_message("mallory", "before");
        alice.say("BLOCK mallory");
        alice.wait("contact", |event| event["blocked"] == true);
        peer.until_closed();
        mallory.request("alice");
        mallory.settle();
        for _ in 0..20 {
            assert!(!matches!(mallory.link(&alice), Met::Hello(..)));
        }
        assert!(said(&mut alice, "request") <= 1, "{:#?}", alice.log());
        assert!(told(&mut alice) < 30, "{:?}", lines(&mut alice));
        alice.say(lifted);
        // The link may come before the block is lifted on the disk.
        let deadline = std::time::Instant::now() + DEADLINE;
        let mut peer = loop {
            assert!(std::time::Instant::now() < deadline, "{lifted}: never let in again");
            if let Met::Hello(peer, _) = mallory.link(&alice) {
                break peer;
            }
        };
        peer.say(&[text(epoch(), 1, "after")]).unwrap();
        alice.expect_message("mallory", "after");
    }
}

/// alice has asked for mallory, who has answered; they have talked.
fn friends(directory: &Path, discovery: SocketAddr) -> (Client, Account, RawPeer) {
    let mut alice = meeting("open", directory, "alice", discovery);
    let mut mallory = Account::new(discovery, "mallory");
    mallory.request("alice");
    alice.say("REQUEST mallory");
    let (mut peer, _) = mallory.lure.accept(&mallory.key).greet(mallory.hello()).hello();
    alice.expect_link("mallory");
    peer.say(&[text(7, 1, "hello")]).unwrap();
    alice.expect_message("mallory", "hello");
    (alice, mallory, peer)
}

#[test]
fn one_who_is_forgotten_comes_back_only_as_a_stranger_who_asks() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut alice, mut mallory, mut peer) = friends(directory.path(), discovery.address);
    alice.say(r#"{"command": "forget", "peer": "mallory", "ref": "f"}"#);
    let mut answered = false;
    while !answered {
        let event = alice.next(DEADLINE).expect("an answer");
        answered = event["ref"] == "f";
        assert_ne!(event["event"], "error", "{event}");
    }
    peer.until_closed();
    mallory.session.wait("the end", |said| matches!(said, ToClient::Dropped(_)).then_some(()));
    assert_eq!(contacts(&mut alice), Vec::<serde_json::Value>::new());
    let requests = said(&mut alice, "request");

    // Neither a redial, nor a request that only the client repeats, nor a new session.
    for round in 0..3 {
        assert!(!matches!(mallory.link(&alice), Met::Hello(..)), "round {round}");
        mallory.session.say(&[request_again("alice")]).unwrap();
        for said in mallory.settle() {
            if let ToClient::Status(status) = said {
                assert!(!status.connected, "{status:?}");
            }
        }
        let (key, lure) = (mallory.key.clone(), crate::support::raw::Lure::here());
        mallory.session.close();
        mallory = Account::with(
            discovery.address,
            "mallory",
            key,
            [127, 0, 0, 1].into(),
            lure,
            peerchat::protocol::rendezvous::Strangers::Open,
        );
    }
    assert_eq!(said(&mut alice, "request"), requests);
    assert_eq!(contacts(&mut alice), Vec::<serde_json::Value>::new());
    assert_eq!(mallory.lure.dials(), 0);
    mallory.settle();
    // Nor after a restart of hers.
    alice.log_out();
    let mut alice = meeting("open", directory.path(), "alice", discovery.address);
    assert!(!matches!(mallory.link(&alice), Met::Hello(..)));
    assert_eq!(contacts(&mut alice), Vec::<serde_json::Value>::new());
    // Of whose coming and going nothing is told any more.
    let of_alice = |said: &ToClient| matches!(said, ToClient::Status(it) if it.online.is_some());
    assert!(!mallory.settle().iter().any(of_alice));

    // A person who asks is a stranger, and what came before does not come again.
    mallory.request("alice");
    let request = alice.wait("request", |event| event["from"] == "mallory");
    assert_eq!(request["stranger"], true);
    let (mut peer, theirs) = mallory.link(&alice).hello();
    assert!(theirs.cursors.iter().any(|it| it.epoch == 7), "{theirs:?}");
    peer.say(&[text(7, 1, "hello"), text(7, 2, "again")]).unwrap();
    alice.expect_message("mallory", "again");
    assert_eq!(mallory.lure.dials(), 0);
}

/// A rewind is asked for once, and a stranger who obeys is acknowledged only what was taken.
#[test]
fn nothing_beyond_the_hold_is_acknowledged() {
    let (_directory, _discovery, mut alice, mallory) = two("open");
    let (mut peer, _) = mallory.link(&alice).hello();
    let own = epoch();
    let all: Vec<_> = (1..=40).map(|number| text(own, number, &format!("text {number}"))).collect();
    peer.say(&all).unwrap();
    let mut acknowledged = 0;
    let held = peer.wait("a hold", |said| match said {
        Peer::Ack(ack) => {
            acknowledged = ack.number;
            None
        }
        Peer::Hold(hold) => Some(hold.clone()),
        _ => None,
    });
    assert_eq!(held.cursor.map(|cursor| cursor.number), Some(MESSAGES as u64));
    assert!(acknowledged <= MESSAGES as u64);
    peer.say(&[Peer::Rewound]).unwrap();
    alice.say("ACCEPT mallory");
    peer.wait("a resume", |said| {
        assert!(!matches!(said, Peer::Ack(ack) if ack.number > MESSAGES as u64), "{said:?}");
        matches!(said, Peer::Resume).then_some(())
    });
    peer.say(&all[MESSAGES..]).unwrap();
    peer.wait("the last", |said| matches!(said, Peer::Ack(ack) if ack.number == 40).then_some(()));
    assert_eq!(shown(&mut alice, "mallory").len(), 40);
    // What she has written herself goes to a stranger only as an answer, and then at once.
    alice.say("CHAT mallory welcome");
    assert_eq!(texts(&peer.up_to("welcome")), ["welcome"]);
}

/// As the asker: alice asks for a liar who holds her messages for a reason that no one knows.
#[test]
fn a_hold_of_a_later_version_is_kept_to() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut alice, mallory, mut peer) = friends(directory.path(), discovery.address);
    peer.say(&[Peer::Hold(Hold { reason: HoldReason(4711), cursor: None })]).unwrap();
    peer.wait("a rewind", |said| matches!(said, Peer::Rewound).then_some(()));
    alice.say("CHAT mallory one");
    alice.wait("queued", |_| true);
    peer.say(&[Peer::Resume]).unwrap();
    assert_eq!(peer.message().body, b"one");
    peer.close();
    let held = peerchat::protocol::peer::Hello { hold: Some(HoldReason(4711)), ..mallory.hello() };
    let (mut peer, _) = RawPeer::link(&alice, &mallory.key, held).hello();
    alice.say("CHAT mallory two");
    alice.wait("queued", |_| true);
    alice.settle();
    assert_eq!(texts(&peer.unheard()), Vec::<String>::new());
    peer.say(&[Peer::Resume]).unwrap();
    assert_eq!(texts(&peer.up_to("two")), ["one", "two"]);
}
