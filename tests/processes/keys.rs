//! A name is a key: no other key can be alice, and nothing is sent to a peer that only claims to be.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;

use crate::support::attached::socket;
use crate::support::client::{Client, command, linked_pair};
use crate::support::discovery::{DEADLINE, Discovery, scratch};
use peerchat::protocol::peer::{Hello, Kind, Message, Peer, Via};
use peerchat::protocol::{MAX_PEER_FRAME, PublicKey, VERSION, codec};
use peerchat::transport::noise::{self, HandshakeError, Keypair, Purpose};

#[test]
fn a_name_that_is_taken_is_refused_and_its_owner_unharmed() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut alice, mut bob) = linked_pair(directory.path(), discovery.address);
    let elsewhere = directory.path().join("elsewhere");
    let mut mallory = Client::start(&elsewhere, "alice", discovery.address);
    mallory.expect_error("name-taken");
    let (status, stderr) = mallory.ended();
    assert_eq!(status.code(), Some(1));
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains("alice") && stderr.contains("another key"), "{stderr}");
    alice.say("CHAT bob still me");
    bob.expect_message("alice", "still me");
}

/// Makes discovery believe that `name` has the key `key`, as a discovery that lies would.
fn rename_key(db: &Path, name: &str, key: &str) {
    let key: PublicKey = key.parse().unwrap();
    let database = rusqlite::Connection::open(db).unwrap();
    database.execute("DELETE FROM users WHERE key = ?1", [key.0]).unwrap();
    let changed = database
        .execute("UPDATE users SET key = ?1 WHERE name = ?2", rusqlite::params![key.0, name])
        .unwrap();
    assert_eq!(changed, 1);
}

#[test]
fn a_changed_key_is_refused_until_it_is_trusted() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let address = discovery.address;
    let (mut alice, bob) = linked_pair(directory.path(), address);
    let old_key = bob.fingerprint.clone();
    bob.log_out();
    alice.expect_unlink("bob");
    discovery.kill();
    alice.wait("discovery", |event| event["state"] == "down");

    // Another user's bob, on another machine.
    let elsewhere = directory.path().join("elsewhere");
    let mut other_bob = Client::start(&elsewhere, "bob", address);
    alice.say("CHAT bob for bob's eyes only");
    alice.wait("queued", |_| true);
    rename_key(&db, "bob", &other_bob.fingerprint);
    let _discovery = Discovery::start_at(&db, &[], &address.port().to_string());

    let error = alice.expect_error("key-changed");
    let words = error["message"].as_str().unwrap();
    assert!(words.contains(&old_key) && words.contains(&other_bob.fingerprint), "{words}");
    other_bob.expect_registered();
    // The impostor asks and dials; it is cut, and nothing is sent to it.
    other_bob.say("REQUEST alice");
    other_bob.wait("presence", |event| event["peer"] == "alice");
    alice.say("CONTACTS");
    let contacts = alice.wait("contacts", |_| true);
    let bob = &contacts["contacts"][0];
    assert_eq!(
        (&bob["fingerprint"], &bob["offered"]),
        (&old_key.into(), &other_bob.fingerprint.clone().into())
    );
    assert_eq!((&bob["linked"], &bob["waiting"]), (&false.into(), &1.into()));
    assert!(!other_bob.settle().iter().any(|event| event["event"] == "message" || event["event"] == "link"));

    // Neither a digit nor none is enough to take whatever key is named at this moment.
    for digits in ["", &other_bob.fingerprint[..1], &other_bob.fingerprint[..15]] {
        alice.say(&format!("TRUST bob {digits}"));
        alice.expect_error("key-changed");
    }
    alice.say(&format!("TRUST bob {}", &other_bob.fingerprint[..16]));
    alice.wait("contact", |event| event["fingerprint"] == other_bob.fingerprint);
    other_bob.expect_message("alice", "for bob's eyes only");
    alice.expect_delivered(1);
}

#[test]
fn what_an_old_key_was_sent_is_not_sent_to_the_new_one() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let address = discovery.address;
    let (mut alice, mut bob) = linked_pair(directory.path(), address);
    alice.say("CHAT bob a secret");
    bob.expect_message("alice", "a secret");
    alice.expect_delivered(1);
    bob.log_out();
    discovery.kill();
    let elsewhere = directory.path().join("elsewhere");
    let mut other_bob = Client::start(&elsewhere, "bob", address);
    rename_key(&db, "bob", &other_bob.fingerprint);
    let _discovery = Discovery::start_at(&db, &[], &address.port().to_string());
    alice.expect_error("key-changed");
    alice.say(&format!("TRUST bob {}", other_bob.fingerprint));
    alice.expect_link("bob");
    alice.say("CHAT bob hello, new bob");
    other_bob.expect_message("alice", "hello, new bob");
}

#[test]
fn another_discovery_at_the_same_place_is_refused() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let address = discovery.address;
    let key = discovery.line.trim().rsplit(' ').next().unwrap().to_owned();
    Client::online(directory.path(), "alice", address).log_out();
    discovery.kill();
    let impostor = Discovery::start_at(&directory.path().join("other.db"), &[], &address.port().to_string());
    let other_key = impostor.line.trim().rsplit(' ').next().unwrap().to_owned();

    let mut alice = Client::start(directory.path(), "alice", address);
    let error = alice.expect_error("key-changed");
    let words = error["message"].as_str().unwrap();
    assert!(words.contains(&key) && words.contains(&other_key), "{words}");
    alice.log_out();

    // The user says that it is right.
    let options = ["--discovery-key", other_key.as_str()];
    let mut alice = Client::start_with(directory.path(), "alice", 0, address, &options);
    alice.expect_registered();
    alice.log_out();
    Client::online(directory.path(), "alice", address).log_out();
    // And that the first one would be wrong.
    let options = ["--discovery-key", key.as_str()];
    let mut alice = Client::start_with(directory.path(), "alice", 0, address, &options);
    alice.expect_error("key-changed");
}

#[test]
fn a_discovery_that_is_rebuilt_is_trusted_by_its_digits_without_a_restart() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let address = discovery.address;
    let mut alice = Client::online(directory.path(), "alice", address);
    let mut bob = Client::online(directory.path(), "bob", address);
    discovery.kill();
    let rebuilt = Discovery::start_at(&directory.path().join("other.db"), &[], &address.port().to_string());
    let key = rebuilt.line.trim().rsplit(' ').next().unwrap();
    for client in [&mut alice, &mut bob] {
        client.expect_error("key-changed");
        // Without digits, and with too few, it only tells what it would be.
        for digits in ["", &key[..1], &key[..15]] {
            client.say(&format!("TRUST discovery {digits}"));
            let refused = client.expect_error("key-changed");
            assert!(refused["message"].as_str().unwrap().starts_with("nothing was changed"), "{refused}");
        }
        client.say(&format!("TRUST discovery {}", key[..16].to_uppercase()));
        client.wait("trusted", |event| event["fingerprint"] == key);
        client.expect_registered();
    }
    alice.say("REQUEST bob");
    bob.expect_link("alice");
    alice.log_out();
    Client::online(directory.path(), "alice", address).log_out();
}

#[test]
fn somebody_else_at_a_contacts_address_is_found_out() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let address = discovery.address;
    let (mut alice, bob) = linked_pair(directory.path(), address);
    let port = bob.address.port();
    bob.log_out();
    discovery.kill();
    alice.wait("discovery", |event| event["state"] == "down");
    alice.say("CHAT bob secret");
    let mut mallory = Client::start_with(directory.path(), "mallory", port, address, &[]);
    let error = alice.expect_error("impostor");
    assert_eq!(error["peer"], "bob");
    assert!(!mallory.settle().iter().any(|event| event["event"] == "message"));
    drop(mallory);
    let mut bob = Client::start_with(directory.path(), "bob", port, address, &[]);
    bob.expect_message("alice", "secret");
}

#[test]
fn the_newest_of_two_clients_with_one_key_holds_the_account() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let address = discovery.address;
    let mut bob = Client::online(directory.path(), "bob", address);
    Client::online(directory.path(), "alice", address).log_out();
    let elsewhere = directory.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::copy(directory.path().join("alice.journal"), elsewhere.join("alice.journal")).unwrap();

    let mut older = Client::online(directory.path(), "alice", address);
    older.say("REQUEST bob");
    bob.expect_link("alice");
    let mut newer = Client::online(&elsewhere, "alice", address);
    older.expect_error("superseded");
    older.wait("discovery", |event| event["state"] == "down");
    newer.say("REQUEST bob");
    newer.expect_link("bob");
    bob.say("CHAT alice which one?");
    newer.expect_message("bob", "which one?");
    assert!(!older.settle().iter().any(|event| event["event"] == "message"));
    let flaps = |client: &mut Client| {
        client
            .settle()
            .iter()
            .filter(|event| event["event"] == "discovery" && event["state"] == "down")
            .count()
    };
    assert_eq!((flaps(&mut older), flaps(&mut newer)), (1, 0));
}

/// A peer that does exactly what it is told.
struct Stranger {
    stream: TcpStream,
    session: noise::Session,
    /// Whether it has the lower key, and so says which link stays.
    decides: bool,
}

impl Stranger {
    fn connect(to: SocketAddr, own: &Keypair, key: &str) -> Result<Self, HandshakeError> {
        let stream = TcpStream::connect(to)?;
        let deadline = noise::Deadline::of_handshake();
        let key = Some(key.parse().unwrap());
        let session = noise::initiate(&stream, Purpose::Peer, own, key, deadline)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        let decides = own.public() < session.remote;
        Ok(Self { stream, session, decides })
    }

    fn send(&mut self, plain: &[u8]) {
        let mut wire = Vec::new();
        self.session.sealer.seal(plain, &mut wire).unwrap();
        let _ = self.stream.write_all(&wire);
    }

    fn say(&mut self, messages: &[Peer]) {
        let mut plain = Vec::new();
        for message in messages {
            codec::encode(message, &mut plain);
            if self.decides && matches!(message, Peer::Hello(_)) {
                codec::encode(&Peer::Keep(1), &mut plain);
            }
        }
        self.send(&plain);
    }

    /// Everything the other side says until it closes the connection.
    fn hear_all(mut self) -> Vec<Peer> {
        let mut heard = Vec::new();
        while let Ok(Some(frame)) = self.session.opener.read(&mut &self.stream, MAX_PEER_FRAME, 4096) {
            heard.extend(codec::decode::<Peer>(frame).unwrap());
        }
        heard
    }
}

fn hello(name: &str) -> Peer {
    Peer::Hello(Hello {
        name: name.parse().unwrap(),
        epoch: 1,
        port: 1,
        window: 1 << 20,
        cursors: Vec::new(),
        hold: None,
        via: Via::Direct,
        linked: true,
        room: false,
    })
}

fn message(number: u64, text: &str) -> Peer {
    Peer::Message(Message { epoch: 1, number, kind: Kind::TEXT, sent: 0, body: text.into(), original: None })
}

#[test]
fn a_key_that_nobody_has_registered_is_cut_before_a_word_is_shown() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut alice = Client::online(directory.path(), "alice", discovery.address);
    let stranger = Keypair::generate().unwrap();
    for down in [false, true] {
        if down {
            discovery.signal("-KILL");
            alice.wait("discovery", |event| event["state"] == "down");
        }
        let mut stranger = Stranger::connect(alice.address, &stranger, &alice.fingerprint).unwrap();
        stranger.say(&[hello("bob"), message(1, "let me in")]);
        let heard = stranger.hear_all();
        assert!(heard.iter().all(|said| matches!(said, Peer::Bye(_))), "{heard:?}");
        if !down {
            // Said once, and not at every attempt of a stranger.
            alice.wait("error", |error| error["code"] == "unknown-peer" || error["code"] == "bad-peer");
        }
    }
    assert!(!alice.settle().iter().any(|event| event["event"] == "message" || event["event"] == "request"));
}

#[test]
fn who_does_not_know_the_key_learns_nothing_from_the_port() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut alice = Client::online(directory.path(), "alice", discovery.address);
    let [stranger, other] = [(); 2].map(|()| Keypair::generate().unwrap());
    let outcome = Stranger::connect(alice.address, &stranger, &other.public().to_string());
    assert!(matches!(outcome, Err(HandshakeError::Closed)));

    // Another version is answered with the version that is spoken here, and nothing else.
    let mut stream = TcpStream::connect(alice.address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(&[VERSION + 1; 100]).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, [VERSION]);

    // Garbage that starts like a connection gets no answer at all.
    let mut stream = TcpStream::connect(alice.address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(&[[VERSION; 1].as_slice(), &[0xaa; 200]].concat()).unwrap();
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty());
    alice.say("HELP");
    alice.wait("help", |_| true);
}

/// A peer that alice knows: it has registered and asked for her.
fn known_peer(discovery: &Discovery, alice: &mut Client, name: &str) -> (Keypair, Stranger) {
    use crate::support::discovery::{Raw, request};
    let keypair = Keypair::generate().unwrap();
    let (mut raw, _) = Raw::synced(discovery.address, &keypair, name, 9);
    raw.say(&request("alice"));
    alice.wait("request", |event| event["from"] == name);
    let stranger = Stranger::connect(alice.address, &keypair, &alice.fingerprint).unwrap();
    (keypair, stranger)
}

#[test]
fn a_contact_who_breaks_the_rules_is_cut_and_nothing_of_it_is_shown() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut alice = Client::online(directory.path(), "alice", discovery.address);
    let (mallory, first) = known_peer(&discovery, &mut alice, "mallory");
    drop(first);
    let deep = vec![0x81; 60_000];
    let twice = [0x82, 2, 0x81, 0xa3, 0, 7, 0, 8, 1, 9];
    let mut cut = Vec::new();
    codec::encode(&message(1, "cut short"), &mut cut);
    cut.pop();
    for (what, frame) in [
        ("garbage", b"\xff\x00 not CBOR at all".as_slice()),
        ("deep", deep.as_slice()),
        ("a key twice", &twice),
        ("cut short", &cut),
    ] {
        let mut link = Stranger::connect(alice.address, &mallory, &alice.fingerprint).unwrap();
        link.say(&[hello("mallory")]);
        link.send(frame);
        link.hear_all();
        assert!(!alice.settle().iter().any(|event| event["event"] == "message"), "{what}");
    }

    // Another's name, a message before the hello, a hello twice, a frame that was tampered with.
    let mut link = Stranger::connect(alice.address, &mallory, &alice.fingerprint).unwrap();
    link.say(&[hello("bob"), message(1, "I am bob")]);
    link.hear_all();
    alice.expect_error("bad-peer");
    let mut link = Stranger::connect(alice.address, &mallory, &alice.fingerprint).unwrap();
    link.say(&[message(1, "no hello")]);
    link.hear_all();
    alice.expect_error("bad-peer");
    let mut link = Stranger::connect(alice.address, &mallory, &alice.fingerprint).unwrap();
    link.say(&[hello("mallory"), hello("mallory")]);
    link.hear_all();
    alice.expect_error("bad-peer");
    let mut link = Stranger::connect(alice.address, &mallory, &alice.fingerprint).unwrap();
    link.say(&[hello("mallory")]);
    let mut wire = Vec::new();
    link.session.sealer.seal(b"anything", &mut wire).unwrap();
    wire[5] ^= 1;
    link.stream.write_all(&wire).unwrap();
    link.hear_all();
    assert!(!alice.settle().iter().any(|event| event["event"] == "message"));

    // She still takes what is right, once.
    let mut link = Stranger::connect(alice.address, &mallory, &alice.fingerprint).unwrap();
    link.say(&[hello("mallory"), message(1, "one"), message(1, "one"), message(2, "two"), message(1, "one")]);
    alice.expect_message("mallory", "one");
    alice.expect_message("mallory", "two");
    link.say(&[message(1, "one again"), message(3, "three")]);
    alice.expect_message("mallory", "three");
    let shown = alice.settle().iter().filter(|event| event["event"] == "message").count();
    assert_eq!(shown, 3);
}

/// Registered and a contact of alice's, with a key in the test's hands, so that it can hold back its hello.
#[test]
fn a_hello_that_was_held_back_does_not_get_around_a_block() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut alice = Client::online(directory.path(), "alice", discovery.address);
    let (_, mut link) = known_peer(&discovery, &mut alice, "mallory");
    let first = link.session.opener.read(&mut &link.stream, MAX_PEER_FRAME, 4096).unwrap().unwrap();
    assert!(matches!(codec::decode::<Peer>(first).unwrap()[..], [Peer::Hello(_)]));
    alice.say("BLOCK mallory");
    alice.wait("contact", |event| event["blocked"] == true);
    link.say(&[hello("mallory"), message(1, "still here")]);
    link.hear_all();
    assert!(!alice.settle().iter().any(|event| event["event"] == "message" || event["event"] == "link"));
}

#[test]
fn a_frame_of_very_many_messages_is_refused() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut alice = Client::online(directory.path(), "alice", discovery.address);
    let (_, mut link) = known_peer(&discovery, &mut alice, "mallory");
    link.say(&[hello("mallory")]);
    link.say(&vec![Peer::Ping; 1025]);
    link.hear_all();
    alice.expect_unlink("mallory");
}

#[test]
fn a_later_kind_of_message_is_kept_and_acknowledged() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut alice = Client::online(directory.path(), "alice", discovery.address);
    let (_, mut link) = known_peer(&discovery, &mut alice, "robot");
    let later =
        Message { epoch: 1, number: 7, kind: Kind(900), sent: 0, body: vec![0xff; 10], original: None };
    // Of a long one only the length is kept.
    let long = Message { number: 8, body: vec![0xff; 65_000], ..later.clone() };
    link.say(&[hello("robot"), Peer::Message(later)]);
    let shown = alice.wait("message", |_| true);
    assert_eq!((&shown["from"], &shown["text"]), (&"robot".into(), &serde_json::Value::Null));
    link.say(&[Peer::Message(long.clone())]);
    alice.wait("message", |_| true);
    let mut heard = Vec::new();
    while !heard.contains(&Peer::Ack(long.cursor())) {
        let frame = link.session.opener.read(&mut &link.stream, MAX_PEER_FRAME, 4096).unwrap().unwrap();
        heard.extend(codec::decode::<Peer>(frame).unwrap());
    }
    alice.say("CONTACTS");
    assert_eq!(alice.wait("contacts", |_| true)["contacts"][0]["bytes"], 10);
    alice.log_out();
    let journal = std::fs::read(directory.path().join("alice.journal")).unwrap();
    let kept = journal.windows(5000).filter(|bytes| bytes.iter().all(|byte| *byte == 0xff)).count();
    assert_eq!(kept, 0);
    let mut plain = command(directory.path(), "alice", 0, discovery.address, &[]).spawn().unwrap();
    plain.stdin.take().unwrap().write_all(b"HISTORY robot\n").unwrap();
    let said = String::from_utf8(plain.wait_with_output().unwrap().stdout).unwrap();
    for line in [
        "(a message of kind 900, which this version can't show)",
        "(a message of kind 900, 65,000 bytes, which this version can't show and did not keep)",
    ] {
        assert!(said.contains(line), "{said}");
    }
}

#[test]
fn a_client_can_not_be_started_twice() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let alice = Client::online(directory.path(), "alice", discovery.address);
    // Where its socket is gone there is no box either, also on the port that the first one has, as a user starts it.
    std::fs::remove_file(socket(directory.path(), "alice")).unwrap();
    for (port, options) in [(0, &[][..]), (alice.address.port(), &[]), (alice.address.port(), &["--json"])] {
        let second = command(directory.path(), "alice", port, discovery.address, options).output().unwrap();
        assert_eq!(second.status.code(), Some(1));
        let stderr = String::from_utf8(second.stderr).unwrap();
        assert!(stderr.contains("alice is already running") && stderr.lines().count() == 1, "{stderr}");
    }
}
