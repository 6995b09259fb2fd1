//! The real discovery against hostile clients.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::discovery::*;
use peerchat::accounts::{ALONE, Account, Change, Presence, Registration};
use peerchat::discovery::registry::MAX_CONTACTS;
use peerchat::protocol::relay::RELAY_BYTE;
use peerchat::protocol::rendezvous::{Strangers, ToClient, ToDiscovery};
use peerchat::protocol::{DEAD_AFTER, HANDSHAKE_DEADLINE, MAX_RENDEZVOUS_FRAME, Refusal, VERSION, codec};
use peerchat::store::directory::Directory;
use peerchat::transport::noise::Purpose;

/// What stands before message 1: the version chosen, and that it is the only one.
const OFFER: [u8; 3] = [VERSION, 1, VERSION];

fn plain(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// What the other side says until it closes or resets the connection.
fn last_words(mut stream: TcpStream) -> Vec<u8> {
    let (mut said, mut some) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut some) {
            Ok(0) => return said,
            Ok(read) => said.extend(&some[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("not closed"),
            Err(_) => return said,
        }
    }
}

/// Everything in the database that a client could have changed.
fn content(db: &Path) -> Vec<String> {
    let connection = rusqlite::Connection::open(db).unwrap();
    let mut all = Vec::new();
    for sql in [
        "SELECT name || sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name",
        "SELECT name || hex(key) || address || observed || strangers FROM users ORDER BY id",
        "SELECT a || ' ' || b FROM connections",
        "SELECT asker || ' ' || target || ' ' || typed FROM requests",
        "SELECT refuser || ' ' || refused FROM refusals",
    ] {
        let mut statement = connection.prepare(sql).unwrap();
        all.extend(statement.query_map([], |row| row.get::<_, String>(0)).unwrap().map(Result::unwrap));
    }
    all
}

/// CBOR text, byte string or header of it.
fn text(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[0x79], &length[..], content].concat()
}

fn message(kind: u8, fields: &[u8]) -> Vec<u8> {
    [&[0x82, kind, 0x81], fields].concat()
}

fn named(kind: u8, name: &[u8]) -> Vec<u8> {
    message(kind, &[&[0xa1, 0x00], &text(name)[..]].concat())
}

/// A request as a user types it.
fn asked(name: &[u8]) -> Vec<u8> {
    message(1, &[&[0xa2, 0x00], &text(name)[..], &[0x01, 0xf5]].concat())
}

#[test]
fn a_stranger_without_a_handshake_gets_nowhere() {
    let (_directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut honest = Raw::synced(discovery.address, &keypair(), "alice", 1).0;
    let before = content(&db);

    let versions = [0, 1, 9, 0x16, b'G', 0x81].map(|theirs| (theirs, VERSION));
    for (theirs, answer) in versions.into_iter().chain([(RELAY_BYTE, Refusal::Ticket as u8)]) {
        let mut stream = plain(discovery.address);
        stream.write_all(&[theirs; 33]).unwrap();
        assert_eq!(last_words(stream), [answer], "version {theirs}");
    }
    let mut random = fastrand::Rng::with_seed(3);
    let [first, _, third] = Purpose::Rendezvous.lengths();
    for length in [33, first, first + third, 5000, 100_000] {
        let mut stream = plain(discovery.address);
        let mut garbage = OFFER.to_vec();
        garbage.extend((0..length).map(|_| random.u8(..)));
        // Discovery may close before it has taken all.
        let _ = stream.write_all(&garbage);
        last_words(stream);
    }
    for said in
        [&[][..], &[VERSION], &OFFER, &[VERSION, 0], &[VERSION, 1, 9], &[VERSION, 200], &[VERSION; 20]]
    {
        let mut stream = plain(discovery.address);
        stream.write_all(said).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(last_words(stream).is_empty());
    }
    honest.nothing_unheard();
    assert_eq!(content(&db), before);
}

/// How long one may live who drips, a test of `noise::exchange` tells, which need not wait for it.
#[test]
fn who_is_silent_is_cut_at_the_deadline_and_who_drips_delays_nobody() {
    let (_directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let key = keypair();
    let silent: Vec<_> = (0..200).map(|_| plain(discovery.address)).collect();
    let mut dripping = plain(discovery.address);
    let started = Instant::now();
    dripping.write_all(&OFFER).unwrap();
    Raw::synced(discovery.address, &key, "alice", 1).0.nothing_unheard();
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    let drips = thread::spawn(move || {
        while dripping.write_all(&[0]).is_ok() && started.elapsed() < HANDSHAKE_DEADLINE {
            thread::sleep(Duration::from_millis(250));
        }
        started.elapsed()
    });
    for stream in silent {
        assert!(last_words(stream).is_empty());
    }
    assert!(started.elapsed() >= HANDSHAKE_DEADLINE);
    assert!(started.elapsed() < HANDSHAKE_DEADLINE + Duration::from_secs(5));
    assert!(drips.join().unwrap() >= HANDSHAKE_DEADLINE, "each byte puts off the end of the silence");
    Raw::synced(discovery.address, &key, "alice", 2).0.nothing_unheard();
}

#[test]
fn malformed_messages_end_their_own_session_only() {
    let (_directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut honest = Raw::synced(discovery.address, &keypair(), "alice", 1).0;
    let before = content(&db);
    let address = [&[0x46, 127, 0, 0, 1][..], &[0, 9]].concat();
    let hostile: Vec<(&str, Vec<u8>)> = vec![
        ("garbage", vec![0xff; 100]),
        ("not a message", vec![0x00]),
        ("truncated", asked(b"alice")[..8].to_vec()),
        ("text of 4 GiB", message(1, &[0xa1, 0x00, 0x7a, 0xff, 0xff, 0xff, 0xff])),
        ("array of 2^64", vec![0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ("map of 2^64", message(1, &[0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])),
        ("nested", vec![0x81; MAX_RENDEZVOUS_FRAME]),
        ("nested maps", [0xa1, 0x00].repeat(1000)),
        ("tags", vec![0xc1; MAX_RENDEZVOUS_FRAME]),
        ("indefinite", [&[0x9f][..], &asked(b"alice"), &[0xff]].concat()),
        ("a key twice", {
            let fields = [&[0xa3, 0x00][..], &text(b"alice"), &[0x00], &text(b"bob"), &[0x01, 0xf5]].concat();
            message(1, &fields)
        }),
        ("bytes for a name", message(1, &[0xa2, 0x00, 0x43, 1, 2, 3, 0x01, 0xf5])),
        ("not UTF-8", asked(&[0xff, 0xfe])),
        ("no name", message(1, &[0xa1, 0x01, 0xf5])),
        ("neither typed nor not", message(1, &[&[0xa2, 0x00][..], &text(b"alice"), &[0x01, 0x02]].concat())),
        ("a short key", message(3, &[0xa1, 0x00, 0x43, 1, 2, 3])),
        ("a short address", {
            let fields = [&[0xa3, 0x00][..], &text(b"mallory"), &[0x01, 0x43, 1, 2, 3, 0x03, 0x00]].concat();
            message(0, &fields)
        }),
        ("good, then bad", [&asked(b"nobody")[..], &[0xff]].concat()),
        ("a good name under a wrong key", {
            message(0, &[&[0xa3, 0x01][..], &address, &[0x00], &text(b"mallory"), &[0x03, 0x00]].concat())
        }),
    ];
    for (number, (what, frame)) in hostile.iter().enumerate() {
        for registered in [false, true] {
            let mut raw = if registered {
                Raw::synced(discovery.address, &keypair(), &format!("hostile-{number}"), 1).0
            } else {
                Raw::connect(discovery.address, &keypair())
            };
            raw.frame(frame);
            assert!(raw.hear().is_none(), "{what}");
            honest.nothing_unheard();
        }
    }
    let after = content(&db);
    assert_eq!(after.len(), before.len() + hostile.len(), "but for the honest registrations");
    assert!(!after.iter().any(|row| row.contains("mallory")));
}

#[test]
fn names_that_are_none_change_nothing() {
    let (_directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut honest = Raw::synced(discovery.address, &keypair(), "alice", 1).0;
    let before = content(&db);
    let long = "x".repeat(1500);
    for name in [
        "alice'; DROP TABLE users;--",
        "'; DELETE FROM users WHERE '1'='1",
        "\" OR 1=1 --",
        "Alice",
        "al ice",
        "alice\0",
        "аlice",
        "alice\u{202e}",
        "\u{1b}]0;x\u{7}",
        "",
        "../alice",
        &long,
    ] {
        let listen = [0x01, 0x46, 127, 0, 0, 1, 0, 9, 0x03, 0x00];
        let register = message(0, &[&[0xa3, 0x00][..], &text(name.as_bytes()), &listen].concat());
        for frame in [register, asked(name.as_bytes()), named(2, name.as_bytes())] {
            let mut raw = Raw::connect(discovery.address, &keypair());
            raw.frame(&frame);
            assert!(raw.hear().is_none(), "{name:?}");
        }
    }
    assert_eq!(content(&db), before);
    honest.nothing_unheard();
}

#[test]
fn bad_frames_end_the_session() {
    let (_directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut ping = Vec::new();
    codec::encode(&ToDiscovery::Ping, &mut ping);
    type Attack<'a> = (&'a str, &'a dyn Fn(&mut Raw) -> Vec<u8>);
    let seal = |raw: &mut Raw, plain: &[u8]| {
        let mut wire = Vec::new();
        raw.sealer.seal(plain, &mut wire).unwrap();
        wire
    };
    let attacks: [Attack<'_>; 6] = [
        ("huge", &|_| vec![0xff; 10]),
        ("empty", &|_| vec![0, 0]),
        ("longer than allowed here", &|raw| seal(raw, &vec![0; MAX_RENDEZVOUS_FRAME + 1])),
        ("forged", &|_| [&[0, 30][..], &[7; 30]].concat()),
        ("replayed", &|raw| seal(raw, &ping).repeat(2)),
        ("changed", &|raw| {
            let mut wire = seal(raw, &ping);
            wire[4] ^= 1;
            wire
        }),
    ];
    for (what, attack) in attacks {
        let mut raw = Raw::connect(discovery.address, &keypair());
        let wire = attack(&mut raw);
        raw.stream.write_all(&wire).unwrap();
        match raw.hear() {
            Some(ToClient::Pong) if what == "replayed" => assert!(raw.hear().is_none(), "{what}"),
            None => {}
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[test]
fn kinds_that_a_later_version_may_add_are_passed_over() {
    let (_directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut raw = Raw::synced(discovery.address, &keypair(), "alice", 1).0;
    raw.frame(&message(23, &[0xa1, 0x00, 0x01]));
    raw.nothing_unheard();
    // And so the frames that are made by hand here are right where they are meant to be.
    raw.frame(&asked(b"nobody"));
    assert!(matches!(raw.hear(), Some(ToClient::NoSuchUser(_))));
}

/// Gives the first user as many connections as one can have.
fn connect_to_a_crowd(db: &Path) {
    let observed = [192, 0, 2, 1].into();
    let registration = Registration { address: (observed, 1).into(), observed, strangers: Strangers::Open };
    let join = |id: i64| {
        let name = name(&format!("a-user-of-the-crowd-{id}"));
        let account = Account { id, name, key: keypair().public(), registration };
        let presence = Presence::new(ALONE, 0, registration.address);
        [Change::AddUser { account, presence, now: 0 }, Change::AddConnection { one: 1, other: id, now: 0 }]
    };
    let crowd: Vec<_> = (2..).take(MAX_CONTACTS).flat_map(join).collect();
    Directory::open(db).unwrap().save(&crowd).unwrap();
}

#[test]
fn who_does_not_read_is_cut_and_delays_nobody() {
    let (_directory, db) = scratch();
    let key = keypair();
    let discovery = Discovery::start(&db);
    drop(Raw::synced(discovery.address, &key, "stalled", 1));
    discovery.signal("-TERM");
    discovery.ended(DEADLINE);
    connect_to_a_crowd(&db);

    let discovery = Discovery::start(&db);
    let mut stalled = Raw::connect(discovery.address, &key);
    let mut honest = Raw::synced(discovery.address, &keypair(), "honest", 1).0;
    // Each of these is answered with a thousand statuses, of which it never reads any.
    let started = Instant::now();
    for _ in 0..60 {
        stalled.say(&register("stalled", 1));
    }
    let flood = thread::spawn(move || {
        while stalled.try_say(&ToDiscovery::Ping).is_ok() {
            assert!(started.elapsed() < DEAD_AFTER, "never cut");
            thread::sleep(Duration::from_millis(20));
        }
    });
    let mut slowest = Duration::ZERO;
    while !flood.is_finished() {
        let asked = Instant::now();
        honest.nothing_unheard();
        slowest = slowest.max(asked.elapsed());
        thread::sleep(Duration::from_millis(5));
    }
    flood.join().unwrap();
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    let (_stalled, contacts) = Raw::synced(discovery.address, &key, "stalled", 1);
    assert_eq!(contacts.len(), MAX_CONTACTS, "who reads gets all");
}
