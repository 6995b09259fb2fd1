//! Before anything is proved: what stands between the two, and keys that prove nothing.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use peerchat::protocol::rendezvous::{ToClient, ToDiscovery};
use peerchat::protocol::{PublicKey, VERSION};
use peerchat::transport::noise::{Keypair, Purpose, kem};
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};

use super::{contacts, meeting, said};
use crate::support::client::{Client, linked_pair};
use crate::support::discovery::{DEADLINE, Discovery, keypair, scratch};
use crate::support::liar::{Liar, connected};
use crate::support::raw::{Account, Lure, Met, RawPeer, connect_from, hello, stolen};

type Change = fn(&mut Vec<u8>);

/// Passes everything on, but for what the dialler says in clear.
struct Between {
    address: SocketAddr,
    change: Arc<Mutex<Change>>,
    ended: Arc<AtomicUsize>,
}

impl Between {
    fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let change = Arc::new(Mutex::new((|_| ()) as Change));
        let ended = Arc::<AtomicUsize>::default();
        let (changing, ending) = (Arc::clone(&change), Arc::clone(&ended));
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let change = *changing.lock().unwrap();
                let ended = Arc::clone(&ending);
                thread::spawn(move || {
                    let _ = pass(&near, to, change);
                    ended.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, change, ended }
    }

    fn change(&self, change: Change) {
        *self.change.lock().unwrap() = change;
    }

    /// Waits until so many connections that begin from now on have come to nothing.
    fn expect_ends(&self, count: usize) {
        let (until, deadline) = (self.ended.load(Ordering::SeqCst) + count, Instant::now() + DEADLINE * 2);
        while self.ended.load(Ordering::SeqCst) < until {
            assert!(Instant::now() < deadline, "the connections stand");
            thread::yield_now();
        }
    }
}

fn pass(mut near: &TcpStream, to: SocketAddr, change: Change) -> std::io::Result<()> {
    let mut far = TcpStream::connect(to)?;
    let mut offer = vec![0; 2];
    near.read_exact(&mut offer)?;
    offer.resize(2 + usize::from(offer[1]), 0);
    near.read_exact(&mut offer[2..])?;
    change(&mut offer);
    far.write_all(&offer)?;
    let (mut back, mut from) = (near.try_clone()?, far.try_clone()?);
    let answers = thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut back);
        let _ = back.shutdown(Shutdown::Both);
    });
    let _ = std::io::copy(&mut near, &mut far);
    let _ = far.shutdown(Shutdown::Both);
    let _ = answers.join();
    Ok(())
}

const CHANGES: [(&str, Change); 6] = [
    ("a version is put before", |offer| *offer = vec![VERSION, 2, VERSION - 1, VERSION]),
    ("a version is put behind", |offer| *offer = vec![VERSION, 2, VERSION, VERSION + 1]),
    ("a lower one is chosen", |offer| *offer = vec![VERSION - 1, 2, VERSION - 1, VERSION]),
    ("a higher one is chosen", |offer| *offer = vec![VERSION + 1, 2, VERSION, VERSION + 1]),
    ("none is left", |offer| *offer = vec![VERSION, 0]),
    ("one that is not chosen is left", |offer| *offer = vec![VERSION, 1, VERSION + 1]),
];

#[test]
fn a_version_list_changed_on_the_way_makes_no_link() {
    let (directory, _) = scratch();
    let liar = Liar::start();
    let mut bob = meeting("all", directory.path(), "bob", liar.address);
    let between = Between::start(bob.address);
    let about_bob = liar.session();
    let mut alice = meeting("all", directory.path(), "alice", liar.address);
    let about_alice = liar.session();
    let key = |client: &Client| client.fingerprint.parse::<PublicKey>().unwrap();
    // bob can't dial her, so that all goes through the one between.
    let nowhere = Lure::here();
    let first = CHANGES[0];
    between.change(first.1);
    alice.say("REQUEST bob");
    bob.say("REQUEST alice");
    let told = |status| vec![ToClient::Status(status)];
    about_bob.tell(told(connected("alice", key(&alice), nowhere.address)));
    about_alice.tell(told(connected("bob", key(&bob), between.address)));
    for (what, change) in CHANGES {
        between.change(change);
        between.expect_ends(1);
        assert_eq!(said(&mut alice, "link") + said(&mut bob, "link"), 0, "{what}: {:#?}", alice.log());
        alice.say("WHY bob");
        println!("{what}: {}", alice.wait("why", |_| true)["addresses"]);
        // What is not understood is not believed: she goes on trying.
        alice.say("REQUEST bob");
        about_alice.tell(told(connected("bob", key(&bob), between.address)));
    }
    between.change(|_| ());
    alice.expect_link("bob");
}

/// What both sides agree on is zero with these, whatever the secrets are: zero, one, minus one, and a point of order 8.
const WEAK: [[u8; 32]; 6] = {
    let (mut one, mut minus_one, mut prime) = ([0; 32], [0xff; 32], [0xff; 32]);
    one[0] = 1;
    [minus_one[0], minus_one[31]] = [0xec, 0x7f];
    [prime[0], prime[31]] = [0xed, 0x7f];
    let eight = [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda,
        0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ];
    // Zero once more, with the highest bit, which X25519 does not look at.
    let mut zero = [0; 32];
    zero[31] = 0x80;
    [[0; 32], one, minus_one, eight, prime, zero]
};

/// Which of a side's keys is a weak one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weak {
    Nothing,
    Static([u8; 32]),
    Ephemeral([u8; 32]),
}

struct WeakDh {
    honest: Box<dyn Dh>,
    weak: Weak,
    told: Option<[u8; 32]>,
}

impl Dh for WeakDh {
    fn name(&self) -> &'static str {
        self.honest.name()
    }
    fn pub_len(&self) -> usize {
        self.honest.pub_len()
    }
    fn priv_len(&self) -> usize {
        self.honest.priv_len()
    }
    fn set(&mut self, secret: &[u8]) {
        self.honest.set(secret);
        if let Weak::Static(point) = self.weak {
            self.told = Some(point);
        }
    }
    fn generate(&mut self, random: &mut dyn Random) -> Result<(), snow::Error> {
        if let Weak::Ephemeral(point) = self.weak {
            self.told = Some(point);
        }
        self.honest.generate(random)
    }
    fn pubkey(&self) -> &[u8] {
        self.told.as_ref().map_or(self.honest.pubkey(), |told| told)
    }
    fn privkey(&self) -> &[u8] {
        self.honest.privkey()
    }
    fn dh(&self, other: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        if self.told.is_some() {
            out.fill(0);
            return Ok(());
        }
        self.honest.dh(other, out)
    }
}

struct Resolver(Weak);

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        DefaultResolver.resolve_rng()
    }
    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        let honest = DefaultResolver.resolve_dh(choice)?;
        Some(Box::new(WeakDh { honest, weak: self.0, told: None }))
    }
    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }
    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

/// A side that keeps to `docs/protocol.md` and is otherwise written anew, without the checks of the real one.
struct Side {
    stream: TcpStream,
    purpose: Purpose,
    own: Keypair,
    weak: Weak,
    offer: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// The other side has sent a frame, which can be opened: it takes the handshake for a good one.
    Session,
    /// It has closed the connection.
    Closed,
    /// It has answered with another byte than the version chosen.
    Answered(u8),
}

const OFFER: [u8; 3] = [VERSION, 1, VERSION];

impl Side {
    fn new(stream: TcpStream, purpose: Purpose, own: &Keypair, weak: Weak) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { stream, purpose, own: own.clone(), weak, offer: OFFER.to_vec() }
    }

    fn dialling(to: SocketAddr, purpose: Purpose, weak: Weak) -> Self {
        let stream = connect_from(Ipv4Addr::LOCALHOST, to).unwrap();
        Self::new(stream, purpose, &keypair(), weak)
    }

    fn noise(&self, remote: Option<PublicKey>, dials: bool) -> snow::HandshakeState {
        let (pattern, label) = match self.purpose {
            Purpose::Rendezvous => ("Noise_XXpsk3_25519_ChaChaPoly_BLAKE2s", "peerchat rendezvous"),
            Purpose::Peer => ("Noise_XKpsk3_25519_ChaChaPoly_BLAKE2s", "peerchat peer"),
        };
        let prologue = [label.as_bytes(), &self.offer].concat();
        let secret = ed25519_dalek::SigningKey::from_bytes(self.own.secret()).to_scalar_bytes();
        let remote = remote.map(|key| key.x25519().unwrap());
        let mut builder =
            snow::Builder::with_resolver(pattern.parse().unwrap(), Box::new(Resolver(self.weak)))
                .local_private_key(&secret)
                .unwrap()
                .prologue(&prologue)
                .unwrap();
        if let Some(key) = &remote {
            builder = builder.remote_public_key(key).unwrap();
        }
        if dials { builder.build_initiator() } else { builder.build_responder() }.unwrap()
    }

    fn read(&mut self, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).ok()?;
        Some(bytes)
    }

    fn session(&mut self, noise: snow::HandshakeState) -> Outcome {
        let mut noise = noise.into_transport_mode().unwrap();
        // A ping, in the number that it has for clients and for discovery.
        let ping: &[u8] = if self.purpose == Purpose::Peer { &[0x82, 3, 0x80] } else { &[0x82, 4, 0x80] };
        let mut sealed = vec![0; ping.len() + 16];
        noise.write_message(ping, &mut sealed).unwrap();
        let _ = self.stream.write_all(&[&[0, sealed.len() as u8][..], &sealed].concat());
        let Some(length) = self.read(2) else { return Outcome::Closed };
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        let Some(frame) = self.read(length) else { return Outcome::Closed };
        noise.read_message(&frame, &mut vec![0; length]).unwrap();
        Outcome::Session
    }

    fn dial(mut self, remote: Option<PublicKey>, spoil: fn(&mut [u8])) -> Outcome {
        let mut noise = self.noise(remote, true);
        let (secret, mut key) = kem::Decapsulation::generate(&[7; 64]);
        spoil(&mut key);
        let mut message = vec![0; 4096];
        let length = noise.write_message(&key, &mut message).unwrap();
        let _ = self.stream.write_all(&[&self.offer, &message[..length]].concat());
        match self.read(1) {
            None => return Outcome::Closed,
            Some(answer) if answer[0] != self.offer[0] => return Outcome::Answered(answer[0]),
            Some(_) => {}
        }
        let Some(second) = self.read(self.purpose.lengths()[1]) else { return Outcome::Closed };
        let mut ciphertext = vec![0; second.len()];
        let Ok(length) = noise.read_message(&second, &mut ciphertext) else { return Outcome::Closed };
        let shared = secret.decapsulate(&ciphertext[..length]).unwrap();
        noise.set_psk(3, shared.as_ref()).unwrap();
        let length = noise.write_message(&[], &mut message).unwrap();
        let _ = self.stream.write_all(&message[..length]);
        self.session(noise)
    }

    fn answer(mut self) -> Outcome {
        let Some(_offer) = self.read(self.offer.len()) else { return Outcome::Closed };
        let mut noise = self.noise(None, false);
        let Some(first) = self.read(self.purpose.lengths()[0]) else { return Outcome::Closed };
        let mut key = vec![0; first.len()];
        let Ok(length) = noise.read_message(&first, &mut key) else { return Outcome::Closed };
        let (ciphertext, shared) = kem::encapsulate(&key[..length], &[9; 32]).unwrap();
        let mut message = vec![0; 4096];
        let length = noise.write_message(&ciphertext, &mut message).unwrap();
        let _ = self.stream.write_all(&[&[self.offer[0]], &message[..length]].concat());
        noise.set_psk(3, shared.as_ref()).unwrap();
        let Some(third) = self.read(self.purpose.lengths()[2]) else { return Outcome::Closed };
        if noise.read_message(&third, &mut vec![0; third.len()]).is_err() {
            return Outcome::Closed;
        }
        self.session(noise)
    }
}

/// A dialler of the future, whose higher version the network takes out: it notices, for the prologue holds what it said.
#[test]
fn a_later_version_is_not_stripped_unnoticed() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let alice = meeting("open", directory.path(), "alice", discovery.address);
    let key = Some(alice.fingerprint.parse().unwrap());
    let between = Between::start(alice.address);
    between.change(|offer| *offer = vec![VERSION, 1, VERSION]);
    let mut dialler = Side::dialling(between.address, Purpose::Peer, Weak::Nothing);
    dialler.offer = vec![VERSION, 2, VERSION, VERSION + 1];
    assert_eq!(dialler.dial(key, |_| ()), Outcome::Closed);
    // Without the one between, the choice of a version that is not spoken is answered with the one that is.
    let mut dialler = Side::dialling(alice.address, Purpose::Peer, Weak::Nothing);
    dialler.offer = vec![VERSION + 1, 2, VERSION, VERSION + 1];
    assert_eq!(dialler.dial(key, |_| ()), Outcome::Answered(VERSION));
    // And one that could speak the later one is served, if it chooses this one.
    let mut dialler = Side::dialling(alice.address, Purpose::Peer, Weak::Nothing);
    dialler.offer = vec![VERSION, 2, VERSION, VERSION + 1];
    assert_eq!(dialler.dial(key, |_| ()), Outcome::Session);
    for to in [alice.address, discovery.address] {
        for first in [0, 1, 3, 9] {
            let mut stream = connect_from(Ipv4Addr::LOCALHOST, to).unwrap();
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            stream.write_all(&[&[first][..], &[7; 40]].concat()).unwrap();
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            assert_eq!(answer, [VERSION], "version {first}");
        }
    }
}

/// Once a contact has used a later version, it is not spoken with in an earlier one, whoever says so.
#[test]
fn a_contact_s_highest_version_is_remembered() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (alice, bob) = linked_pair(directory.path(), discovery.address);
    bob.log_out();
    alice.log_out();
    let sql = "UPDATE contact SET version = ?1 WHERE name = 'bob'";
    let journal = rusqlite::Connection::open(directory.path().join("alice.journal")).unwrap();
    assert_eq!(journal.execute(sql, [VERSION + 1]).unwrap(), 1);
    drop(journal);
    let mut alice = Client::online(directory.path(), "alice", discovery.address);
    let thief = stolen(directory.path(), "bob");
    for _ in 0..5 {
        assert!(!matches!(RawPeer::link(&alice, &thief, hello("bob")), Met::Hello(..)));
    }
    assert_eq!(said(&mut alice, "link"), 0);
}

#[test]
fn keys_of_small_order_are_refused() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut alice = meeting("all", directory.path(), "alice", discovery.address);
    let key = alice.fingerprint.parse().unwrap();
    let mallory = Account::new(discovery.address, "mallory");
    let to = [(discovery.address, Purpose::Rendezvous, None), (alice.address, Purpose::Peer, Some(key))];
    for (to, purpose, remote) in to {
        // An attacker who does all else right is one to whom the others would listen.
        let honest = Side::dialling(to, purpose, Weak::Nothing);
        assert_eq!(honest.dial(remote, |_| ()), Outcome::Session, "{purpose:?}");
        for point in WEAK {
            for weak in [Weak::Static(point), Weak::Ephemeral(point)] {
                let outcome = Side::dialling(to, purpose, weak).dial(remote, |_| ());
                assert_eq!(outcome, Outcome::Closed, "{purpose:?} {weak:?}");
            }
        }
        // Numbers that are not below the modulus.
        let spoiled = Side::dialling(to, purpose, Weak::Nothing);
        assert_eq!(spoiled.dial(remote, |key| key[..300].fill(0xff)), Outcome::Closed, "{purpose:?}");
    }
    drop(mallory);
    assert_eq!(said(&mut alice, "link") + said(&mut alice, "request"), 0, "{:#?}", alice.log());

    // One whom alice dials: only the second key of a link is not known before.
    let mut bob = Account::new(discovery.address, "bob");
    bob.request("alice");
    alice.say("REQUEST bob");
    for point in WEAK {
        let dialled = Side::new(bob.lure.dialled(), Purpose::Peer, &bob.key, Weak::Ephemeral(point));
        assert_eq!(dialled.answer(), Outcome::Closed, "{point:?}");
    }
    // As one who does all else right.
    let honest = Side::new(bob.lure.dialled(), Purpose::Peer, &bob.key, Weak::Nothing);
    assert_eq!(honest.answer(), Outcome::Session);
}

/// A discovery that uses such a key, or names one for a user.
#[test]
fn a_discovery_s_weak_keys_are_refused() {
    let (directory, _) = scratch();
    let lure = Lure::here();
    let mut alice = Client::start_with(directory.path(), "alice", 0, lure.address, &[]);
    for weak in [Weak::Static(WEAK[0]), Weak::Ephemeral(WEAK[0]), Weak::Static(WEAK[3])] {
        let dialled = Side::new(lure.dialled(), Purpose::Rendezvous, &keypair(), weak);
        assert_eq!(dialled.answer(), Outcome::Closed, "{weak:?}");
    }
    assert!(!alice.settle().iter().any(|it| it["event"] == "discovery" && it["state"] == "up"));
    drop(alice);

    let liar = Liar::start();
    let mut alice = meeting("all", directory.path(), "alice", liar.address);
    let trap = Lure::here();
    for point in WEAK {
        let session = liar.session();
        alice.say("REQUEST bob");
        session.wait("a request", |said| matches!(said, ToDiscovery::Request(_)));
        session.tell(vec![ToClient::Status(connected("bob", PublicKey(point), trap.address))]);
        // It is no message that an honest discovery sends.
        alice.wait("discovery", |event| event["state"] == "down");
        alice.expect_registered();
        assert_eq!(contacts(&mut alice)[0]["fingerprint"], serde_json::Value::Null, "{point:?}");
    }
    assert_eq!(trap.dials(), 0);
}
