//! As much as a peer can say, as fast as it can: what it costs in memory, disk, lines and dials.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use peerchat::protocol::peer::{Bye, ByeReason, Hello, Hold, HoldReason, Message, Peer};
use peerchat::protocol::rendezvous::{About, Strangers, ToDiscovery};

use super::{contacts, lines, meeting, said, told};
use crate::support::client::Client;
use crate::support::cost::{disk, memory};
use crate::support::discovery::{Discovery, name, request, request_again, scratch};
use crate::support::raw::{Account, Met, RawPeer, cursor, epoch, hello, message, registration, text};

const MIB: u64 = 1024 * 1024;
/// How long each flood lasts.
const FLOOD: Duration = Duration::from_secs(1);

/// What a victim has cost before and after.
struct Bill {
    disk: u64,
    memory: u64,
    lines: usize,
}

impl Bill {
    fn of(client: &mut Client, directory: &Path) -> Self {
        let lines = told(client);
        Self { disk: disk(directory), memory: memory(&client.pid()), lines }
    }

    /// Asserts that what was bought since is cheap.
    #[track_caller]
    fn assert_cheap(&self, what: &str, client: &mut Client, directory: &Path) {
        let now = Self::of(client, directory);
        let (disk, memory) = (now.disk.saturating_sub(self.disk), now.memory.saturating_sub(self.memory));
        let told = now.lines - self.lines;
        println!("{what}: {disk} bytes of disk, {memory} of memory, {told} lines");
        assert!(disk < 4 * MIB, "{what}: {disk} bytes of disk");
        assert!(memory < 48 * MIB, "{what}: {memory} bytes of memory");
        assert!(told < 100, "{what}: {told} lines: {:?}", lines(client));
    }
}

/// A contact of alice's, who can do more than a stranger.
fn contact(alice: &mut Client, discovery: std::net::SocketAddr, friend: &str) -> Account {
    let mut mallory = Account::new(discovery, friend);
    mallory.request("alice");
    alice.say(&format!("REQUEST {friend}"));
    drop(mallory.lure.dialled());
    mallory
}

#[test]
fn a_flapping_link_is_paced() {
    for known in [false, true] {
        let (directory, db) = scratch();
        let discovery = Discovery::start(&db);
        let mut alice = meeting("open", directory.path(), "alice", discovery.address);
        let mallory = if known {
            contact(&mut alice, discovery.address, "mallory")
        } else {
            Account::new(discovery.address, "mallory")
        };
        let bill = Bill::of(&mut alice, directory.path());
        let (mut tries, mut links, end) = (0, 0, Instant::now() + 3 * FLOOD);
        while Instant::now() < end {
            tries += 1;
            match mallory.link(&alice) {
                Met::Hello(mut peer, _) => {
                    links += 1;
                    // Some go with a word, some without.
                    if tries % 2 == 0 {
                        let _ = peer.say(&[Peer::Bye(Bye { reason: ByeReason::LOGOUT })]);
                    }
                    peer.close();
                }
                Met::Bye(_) | Met::Closed => {}
            }
        }
        println!("known: {known}: {links} links of {tries} tries");
        assert!(links <= 60, "{links} links in 3 s");
        assert!(said(&mut alice, "link") <= 2 * (links + 2), "{:?}", lines(&mut alice));
        bill.assert_cheap("flapping", &mut alice, directory.path());
        // One who comes back after all that is let in.
        let deadline = Instant::now() + Duration::from_secs(60);
        while !matches!(mallory.link(&alice), Met::Hello(..)) {
            assert!(Instant::now() < deadline, "never let in again");
        }
        // And no one else was kept waiting.
        let mut bob = Client::online(directory.path(), "bob", discovery.address);
        alice.say("REQUEST bob");
        alice.expect_link("bob");
        bob.expect_link("alice");
    }
}

/// Links that are up at the same time and displace one another.
#[test]
fn links_that_displace_one_another_are_paced() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut alice = meeting("open", directory.path(), "alice", discovery.address);
    let mallory = contact(&mut alice, discovery.address, "mallory");
    let bill = Bill::of(&mut alice, directory.path());
    let end = Instant::now() + FLOOD;
    let mut held = Vec::new();
    while Instant::now() < end {
        if let Met::Hello(peer, _) = mallory.link(&alice) {
            held.push(peer);
        }
    }
    println!("{} links", held.len());
    bill.assert_cheap("displacing", &mut alice, directory.path());
}

/// Says the same again and again for some seconds, or until the link is cut, and then over a new one.
fn storm(alice: &mut Client, account: &Account, mut say: impl FnMut(u64) -> Vec<Peer>) -> (u64, u64) {
    let (mut frames, mut links, end) = (0, 0, Instant::now() + FLOOD);
    while Instant::now() < end {
        let Met::Hello(mut peer, _) = account.link(alice) else { continue };
        links += 1;
        while Instant::now() < end && peer.say(&say(frames)).is_ok() {
            frames += 1;
        }
    }
    (frames, links)
}

type Storm = (&'static str, fn(u64) -> Vec<Peer>);

const STORMS: [Storm; 14] = [
    ("holds", |_| vec![Peer::Hold(Hold { reason: HoldReason::DISK_FULL, cursor: None }); 100]),
    ("holds at what was never sent", |n| {
        let at = |i| Some(cursor(n ^ i, u64::MAX - i));
        (0..100).map(|i| Peer::Hold(Hold { reason: HoldReason(u16::MAX), cursor: at(i) })).collect()
    }),
    ("holds and resumes", |_| {
        vec![Peer::Hold(Hold { reason: HoldReason::NOT_ANSWERED, cursor: None }), Peer::Resume]
    }),
    ("resumes", |_| vec![Peer::Resume; 200]),
    ("rewounds", |_| vec![Peer::Rewound; 200]),
    ("skips", |n| (0..100).map(|i| Peer::Skipped(cursor(n * 100 + i, i))).collect()),
    ("skips to the end of one epoch", |n| vec![Peer::Skipped(cursor(1, u64::MAX - n)); 100]),
    ("acknowledgements", |n| (0..100).map(|i| Peer::Ack(cursor(n, i))).collect()),
    ("pings", |_| vec![Peer::Ping; 200]),
    ("messages of the unknown", |n| {
        (0..100).map(|i| message(1, n * 100 + i + 1, peerchat::protocol::peer::Kind(7), b"")).collect()
    }),
    ("messages of as many epochs", |n| (0..50).map(|i| text(n * 50 + i, 1, "")).collect()),
    ("old messages sent again", |n| {
        let original = |i| Some(cursor(n * 50 + i, 1));
        let again = |i| Message { original: original(i), ..plain(2, n * 50 + i + 1) };
        (0..50).map(|i| Peer::Message(again(i))).collect()
    }),
    ("hellos", |n| vec![Peer::Hello(Hello { epoch: n, window: 0, ..hello("mallory") })]),
    ("long texts", |n| vec![text(3, n + 1, &"x".repeat(32_000))]),
];

fn plain(epoch: u64, number: u64) -> Message {
    let kind = peerchat::protocol::peer::Kind::TEXT;
    Message { epoch, number, kind, sent: i64::MIN, body: b"again".to_vec(), original: None }
}

#[test]
fn no_storm_of_a_stranger_costs_much() {
    for (what, say) in STORMS {
        let (directory, db) = scratch();
        let discovery = Discovery::start(&db);
        let mut alice = meeting("open", directory.path(), "alice", discovery.address);
        let mallory = Account::new(discovery.address, "mallory");
        let bill = Bill::of(&mut alice, directory.path());
        let (frames, links) = storm(&mut alice, &mallory, say);
        println!("{what}: {frames} frames over {links} links");
        bill.assert_cheap(what, &mut alice, directory.path());
        assert!(said(&mut alice, "message") <= 20, "{what}");
        let mut bob = Client::online(directory.path(), "bob", discovery.address);
        alice.say("REQUEST bob");
        alice.expect_link("bob");
        bob.expect_link("alice");
    }
}

/// A contact may write as much as fits on the disk; all else that it says costs as little as a stranger's words.
#[test]
fn no_storm_of_a_contact_costs_much() {
    let writes =
        ["messages of the unknown", "messages of as many epochs", "old messages sent again", "long texts"];
    for (what, say) in STORMS.into_iter().filter(|(what, _)| !writes.contains(what)) {
        let (directory, db) = scratch();
        let discovery = Discovery::start(&db);
        let mut alice = meeting("open", directory.path(), "alice", discovery.address);
        let mallory = contact(&mut alice, discovery.address, "mallory");
        // Something for it to hold.
        for number in 0..20 {
            alice.say(&format!("CHAT mallory {number}"));
        }
        let bill = Bill::of(&mut alice, directory.path());
        let (frames, links) = storm(&mut alice, &mallory, say);
        println!("{what}: {frames} frames over {links} links");
        bill.assert_cheap(what, &mut alice, directory.path());
        assert!(contacts(&mut alice).iter().all(|it| it["peer"] == "mallory"));
    }
}

/// Bodies that no version knows are kept as stubs: a contact can't use them to fill a disk.
#[test]
fn unknown_kinds_of_a_contact_are_kept_as_stubs() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut alice = meeting("open", directory.path(), "alice", discovery.address);
    let mallory = contact(&mut alice, discovery.address, "mallory");
    let before = disk(directory.path());
    let (mut peer, _) = mallory.link(&alice).hello();
    let (own, body) = (epoch(), vec![b'x'; 65_400]);
    for number in 1..=500 {
        peer.say(&[message(own, number, peerchat::protocol::peer::Kind(9), &body)]).unwrap();
    }
    peer.wait("the last", |said| matches!(said, Peer::Ack(ack) if ack.number == 500).then_some(()));
    let grown = disk(directory.path()) - before;
    println!("{grown} bytes for 500 bodies of 65 KB");
    assert!(grown < 6 * MIB, "{grown}");
}

/// A hello claims whatever it likes.
#[test]
fn a_hello_may_claim_anything() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut alice = meeting("open", directory.path(), "alice", discovery.address);
    let mallory = contact(&mut alice, discovery.address, "mallory");
    let own = epoch();
    let ends = [0, 1, i64::MAX as u64, u64::MAX];
    let cursors: Vec<_> = ends.iter().flat_map(|e| ends.iter().map(|n| cursor(*e, *n))).collect();
    for hold in [None, Some(HoldReason(0)), Some(HoldReason::NOT_ANSWERED), Some(HoldReason(u16::MAX))] {
        for window in [0, 1, u32::MAX] {
            for port in [0, 1, u16::MAX] {
                let cursors = cursors.clone();
                let hello = Hello { epoch: own, port, window, cursors, hold, ..mallory.hello() };
                drop(RawPeer::link(&alice, &mallory.key, hello));
            }
        }
    }
    let many = (0..33).map(|n| cursor(n, n)).collect();
    drop(RawPeer::link(&alice, &mallory.key, Hello { cursors: many, ..mallory.hello() }));
    let (mut peer, _) = loop {
        if let Met::Hello(peer, hello) = mallory.link(&alice) {
            break (peer, hello);
        }
    };
    alice.say("CHAT mallory sound");
    peer.up_to("sound");
}

/// Discovery is asked for alice and left again as fast as it takes it, by one who changes the mind and the policy.
#[test]
fn a_storm_at_discovery_reaches_no_one() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut alice = meeting("open", directory.path(), "alice", discovery.address);
    let mut mallory = Account::new(discovery.address, "mallory");
    let bill = Bill::of(&mut alice, directory.path());
    let drop_alice = || ToDiscovery::Drop(About { name: name("alice") });
    for _ in 0..2000 {
        mallory.session.say(&[request("alice"), drop_alice(), request_again("alice")]).unwrap();
    }
    mallory.settle();
    bill.assert_cheap("requests and ends", &mut alice, directory.path());
    // The answer to the last request stands against the next end.
    mallory.request("alice");
    alice.say("ACCEPT mallory");
    let (_peer, _) = loop {
        if let Met::Hello(peer, hello) = mallory.link(&alice) {
            break (peer, hello);
        }
    };
    let bill = Bill::of(&mut alice, directory.path());
    for _ in 0..1000 {
        mallory.session.say(&[drop_alice(), request("alice")]).unwrap();
    }
    mallory.settle();
    bill.assert_cheap("ends and requests of a contact", &mut alice, directory.path());
    // Each costs a session the tenth of a second.
    for round in 0..100 {
        let policy = [Strangers::Open, Strangers::Ask, Strangers::Closed, Strangers::All][round % 4];
        mallory
            .session
            .say(&[registration("mallory", ([127, 0, 0, 1], 1 + round as u16).into(), policy)])
            .unwrap();
    }
    mallory.settle();
    bill.assert_cheap("policies and addresses of a contact", &mut alice, directory.path());
    let mut bob = Client::online(directory.path(), "bob", discovery.address);
    alice.say("REQUEST bob");
    alice.expect_link("bob");
    bob.expect_link("alice");
    assert_eq!(mallory.lure.address.ip(), Ipv4Addr::LOCALHOST);
}
