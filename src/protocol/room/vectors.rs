//! The test vectors of `docs/protocol.md` for rooms, computed anew.

use std::fmt::Write;

use super::*;
use crate::protocol::codec;
use crate::protocol::peer::Peer;
use crate::transport::noise::Keypair;

const DOCUMENT: &str = include_str!("../../../docs/protocol.md");

/// The seeds of alice and of bob: the first bytes that make keys of the right sign.
const SEEDS: [[u8; 32]; 2] = [[0x01; 32], [0x04; 32]];
const EPOCHS: [u64; 2] = [0x1122_3344_5566_7788, 0x0102_0304_0506_0708];
const NONCE: [u8; 32] = [0x33; 32];
/// When what they say was written.
const SENT: i64 = 1_700_000_000_000;
const UNSIGNED: Signature = Signature([0; 64]);

/// A line, or more of them where it would be too long for the document.
fn row(text: &mut String, name: &str, bytes: &[u8]) {
    write!(text, "{name:23} ").unwrap();
    for (number, line) in bytes.chunks(48).enumerate() {
        if number > 0 {
            write!(text, "{:23} ", "").unwrap();
        }
        line.iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
        text.push('\n');
    }
}

/// What the text shows of something that is hashed and signed.
fn signed(text: &mut String, name: &str, hash: Hash, signature: &Signature) {
    row(text, name, &hash.0);
    row(text, "  signature", &signature.0);
}

/// What is said of the room, as it stands in a frame.
fn said(text: &mut String, name: &str, room: RoomKey, says: RoomSays) {
    let said = Peer::Room(Box::new(AboutRoom { room, says }));
    let mut frame = Vec::new();
    codec::encode(&said, &mut frame);
    assert_eq!(codec::decode::<Peer>(&frame).unwrap(), [said]);
    row(text, name, &frame);
}

/// A change by alice.
fn change(
    text: &mut String,
    name: &str,
    room: RoomKey,
    number: u64,
    after: Vec<Hash>,
    deed: Deed,
) -> (Hash, Change) {
    let alice = Keypair::from_secret(&SEEDS[0]).unwrap();
    let (author, epoch) = (alice.public(), EPOCHS[0]);
    let mut change = Change { author, epoch, number, after, deed, signature: UNSIGNED };
    let hash = hash::change(room, &change);
    change.signature = alice.sign(&hash.0);
    assert!(change.is_signed(room));
    signed(text, name, hash, &change.signature);
    (hash, change)
}

/// The entries of a chain, one by one, of which each is signed.
struct Chain {
    room: RoomKey,
    name: ChainName,
    seed: [u8; 32],
    number: u64,
    hash: Hash,
    /// Of the last entry; before the first, that of the grant.
    clock: u64,
}

impl Chain {
    /// Returns a run of this entry alone.
    fn write(
        &mut self,
        text: &mut String,
        what: &str,
        kind: EntryKind,
        causes: Vec<Cause>,
        body: &[u8],
    ) -> Run {
        let author = Keypair::from_secret(&self.seed).unwrap();
        let previous = self.hash;
        self.number += 1;
        self.clock = clock_after(self.clock, &causes).unwrap();
        let entry = Entry { clock: self.clock, kind, sent: SENT, causes, body: body.to_vec() };
        self.hash = hash::entry(self.room, &self.name, self.number, previous, &entry.header());
        let signature = author.sign(&hash::head(self.hash));
        assert!(self.name.author.has_signed(&hash::head(self.hash), &signature));
        signed(text, what, self.hash, &signature);
        Run { chain: self.name, first: self.number, previous, entries: vec![entry], signature }
    }

    fn mark(&self) -> Mark {
        Mark { chain: self.name, number: self.number, hash: self.hash }
    }
}

fn vectors() -> String {
    let [alice, bob] = SEEDS.map(|seed| Keypair::from_secret(&seed).unwrap());
    let mut text = String::new();
    for (name, keypair) in [("alice", &alice), ("bob", &bob)] {
        row(&mut text, &format!("{name} key"), &keypair.public().0);
    }
    let name = |name: &str| name.parse().unwrap();
    let found = Deed::Found(Found { nonce: NONCE, room: name("lab"), owner: name("alice"), past: None });
    let (founding, founded) = change(&mut text, "founding", RoomKey([0; 32]), 1, Vec::new(), found);
    let room = RoomKey(founding.0);

    let chain = |seed, author, grant, epoch, clock| Chain {
        room,
        name: ChainName { author, grant, epoch },
        seed,
        number: 0,
        hash: Hash::default(),
        clock,
    };
    row(&mut text, "body of hello", &hash::of_body(b"hello").0);
    let mut of_alice = chain(SEEDS[0], alice.public(), founding, EPOCHS[0], 0);
    of_alice.write(&mut text, "hello", EntryKind::TEXT, Vec::new(), b"hello");

    let past = Past { mark: of_alice.mark(), clock: 1, ended: false };
    let add =
        Deed::Add(Add { name: name("bob"), key: bob.public(), past: vec![past], clock: 1, settled: None });
    let (grant, added) = change(&mut text, "add", room, 2, vec![founding], add);

    let mut of_bob = chain(SEEDS[1], bob.public(), grant, EPOCHS[1], 1);
    of_bob.write(&mut text, "join", EntryKind::JOIN, Vec::new(), b"");
    let cause = Cause { mark: of_bob.mark(), clock: of_bob.clock };
    let welcome = of_alice.write(&mut text, "welcome", EntryKind::TEXT, vec![cause], b"welcome");

    // What all have is final: alice's first entry and bob's.
    let settlement = Settlement { reign: founding, place: 2, after: None };
    let mut body = Vec::new();
    codec::encode(&settlement, &mut body);
    row(&mut text, "settlement", &body);
    of_alice.write(&mut text, "settle", EntryKind::SETTLE, vec![cause], &body);
    let settled = of_alice.mark();

    let receipt_name = ReceiptName { member: bob.public(), epoch: EPOCHS[1], counter: 1 };
    let covers = vec![of_alice.mark(), of_bob.mark()];
    let mut receipt = Receipt {
        name: receipt_name,
        covers,
        tips: vec![grant],
        signature: UNSIGNED,
        settled: Some(settled),
    };
    let hash = hash::receipt(room, &receipt);
    receipt.signature = bob.sign(&hash.0);
    assert!(receipt.is_signed(room));
    signed(&mut text, "receipt", hash, &receipt.signature);

    let past = Some(Origin { room, ends: vec![of_alice.hash, of_bob.hash] });
    let found = Deed::Found(Found { nonce: NONCE, room: name("lab2"), owner: name("alice"), past });
    let (next, goes_on) = change(&mut text, "founding of lab2", RoomKey([0; 32]), 1, Vec::new(), found);

    said(&mut text, "Changes", room, RoomSays::Changes(vec![founded, added]));
    said(&mut text, "Changes of lab2", RoomKey(next.0), RoomSays::Changes(vec![goes_on]));
    said(&mut text, "Run of welcome", room, RoomSays::Run(welcome));
    said(&mut text, "Receipts", room, RoomSays::Receipts(vec![receipt]));
    text
}

#[test]
fn the_vectors_of_the_document_are_right() {
    let block = vectors();
    assert!(DOCUMENT.contains(&format!("```\n{block}```\n")), "they must be:\n{block}");
}
