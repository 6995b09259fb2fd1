//! What is hashed and signed of rooms, byte for byte. Numbers are unsigned, of 8 bytes unless said otherwise, the most
//! significant byte first. Hashes are BLAKE2s-256 (RFC 7693), signatures Ed25519 (RFC 8032).

use blake2::{Blake2s256, Digest};
use minicbor::{Decode, Encode};

use super::{ChainName, Change, Deed, Header, Mark, Receipt, ReceiptName, RoomKey};
use crate::protocol::PublicKey;

/// What each hash begins with, so that none of one thing is that of another.
const BODY: &[u8] = b"peerchat room body";
const ENTRY: &[u8] = b"peerchat room entry";
const CHANGE: &[u8] = b"peerchat room change";
const RECEIPT: &[u8] = b"peerchat room receipt";
/// What each signature of the end of a chain begins with.
const HEAD: &[u8] = b"peerchat room head";

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode, Default)]
#[cbor(transparent)]
pub struct Hash(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 32]);

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Signature(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 64]);

impl std::fmt::Debug for Signature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("signature")
    }
}

struct Hasher(Blake2s256);

impl Hasher {
    fn new(what: &[u8]) -> Self {
        Self(Blake2s256::new_with_prefix(what))
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.update(bytes);
        self
    }

    fn number(self, number: u64) -> Self {
        self.bytes(&number.to_be_bytes())
    }

    /// The length, of 8 bytes, and then the text.
    fn text(self, text: &str) -> Self {
        self.number(text.len() as u64).bytes(text.as_bytes())
    }

    fn chain(self, chain: &ChainName) -> Self {
        self.bytes(&chain.author.0).bytes(&chain.grant.0).number(chain.epoch)
    }

    fn mark(self, mark: &Mark) -> Self {
        self.chain(&mark.chain).number(mark.number).bytes(&mark.hash.0)
    }

    /// How many there are, and then each.
    fn each<T>(self, all: &[T], one: impl Fn(Self, &T) -> Self) -> Self {
        all.iter().fold(self.number(all.len() as u64), one)
    }

    fn finish(self) -> Hash {
        Hash(self.0.finalize().into())
    }
}

pub fn of_body(body: &[u8]) -> Hash {
    Hasher::new(BODY).bytes(body).finish()
}

/// The hash of the entry with this header that stands at `number` of `chain`, after one with the hash `previous`: room,
/// chain, number, previous, clock, kind (2 bytes), sent (two's complement), hash of the body,
/// causes.
pub fn entry(room: RoomKey, chain: &ChainName, number: u64, previous: Hash, header: &Header) -> Hash {
    Hasher::new(ENTRY)
        .bytes(&room.0)
        .chain(chain)
        .number(number)
        .bytes(&previous.0)
        .number(header.clock)
        .bytes(&header.kind.0.to_be_bytes())
        .number(header.sent.cast_unsigned())
        .bytes(&header.body.0)
        .each(&header.causes, |it, cause| it.mark(&cause.mark).number(cause.clock))
        .finish()
}

/// What an author signs: the end of a chain, by the hash of its last entry, and so all before it.
pub fn head(last: Hash) -> Vec<u8> {
    [HEAD, &last.0].concat()
}

/// The hash of a change, which its author signs: room (zeros in its founding), author, epoch, number, the changes
/// before it, and a byte for the deed with what belongs to it.
pub fn change(room: RoomKey, change: &Change) -> Hash {
    let Change { author, epoch, number, after, deed, .. } = change;
    let room = if matches!(deed, Deed::Found(_)) { [0; 32] } else { room.0 };
    let it = Hasher::new(CHANGE)
        .bytes(&room)
        .bytes(&author.0)
        .number(*epoch)
        .number(*number)
        .each(after, |it, hash| it.bytes(&hash.0));
    match deed {
        Deed::Found(found) => {
            let it = it.bytes(&[0]).bytes(&found.nonce).text(found.room.as_str()).text(found.owner.as_str());
            found
                .past
                .iter()
                .fold(it, |it, past| it.bytes(&past.room.0).each(&past.ends, |it, hash| it.bytes(&hash.0)))
        }
        Deed::Add(add) => it
            .bytes(&[1])
            .text(add.name.as_str())
            .bytes(&add.key.0)
            .each(&add.past, |it, past| it.mark(&past.mark).number(past.clock).bytes(&[past.ended.into()]))
            .number(add.clock)
            .each(add.settled.as_slice(), |it, settled| it.mark(&settled.mark).number(settled.place)),
        Deed::Remove(remove) => it
            .bytes(&[2])
            .bytes(&remove.key.0)
            .each(&remove.kept, |it, kept| it.number(kept.epoch).number(kept.number).bytes(&kept.hash.0)),
        Deed::Transfer(key) => it.bytes(&[3]).bytes(&key.0),
        Deed::Accept => it.bytes(&[4]),
        Deed::Topic(topic) => it.bytes(&[5]).text(topic),
    }
    .finish()
}

/// The hash of a receipt, which its member signs: room, member, epoch, counter, what it covers, the last changes, the last
/// settlement.
pub fn receipt(room: RoomKey, receipt: &Receipt) -> Hash {
    let Receipt { name: ReceiptName { member, epoch, counter }, covers, tips, settled, .. } = receipt;
    Hasher::new(RECEIPT)
        .bytes(&room.0)
        .bytes(&member.0)
        .number(*epoch)
        .number(*counter)
        .each(covers, Hasher::mark)
        .each(tips, |it, hash| it.bytes(&hash.0))
        .each(settled.as_slice(), Hasher::mark)
        .finish()
}

impl Change {
    /// Whether its author has signed it.
    pub fn is_signed(&self, room: RoomKey) -> bool {
        self.author.has_signed(&change(room, self).0, &self.signature)
    }
}

impl Receipt {
    /// Whether its member has signed it.
    pub fn is_signed(&self, room: RoomKey) -> bool {
        self.name.member.has_signed(&receipt(room, self).0, &self.signature)
    }
}

impl PublicKey {
    /// Whether the account with this key has signed these bytes. Strict: small-order points prove nothing.
    pub fn has_signed(&self, bytes: &[u8], signature: &Signature) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        ed25519_dalek::VerifyingKey::from_bytes(&self.0)
            .is_ok_and(|key| key.verify_strict(bytes, &signature).is_ok())
    }
}
