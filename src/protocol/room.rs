//! What members of a room say to each other about it.
//!
//! A room has no server. Each member writes a chain of [entries](Entry) in each of its starts; the owner writes
//! [changes](Change) of who is in. Both are hashed and signed, so that any member can hand them on. What a member has
//! committed it says in [receipts](Receipt), which are signed too.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};

use super::key::{self, NotAFingerprint};
use super::peer::Kind;
use super::{Name, PublicKey};

pub mod hash;
pub mod lists;

pub use hash::{Hash, Signature};
use lists::{entries, items, texts};

/// The id of a room, the same for all members and for ever: the hash of its founding.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct RoomKey(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 32]);

impl fmt::Display for RoomKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        PublicKey(self.0).fmt(f)
    }
}

impl fmt::Debug for RoomKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RoomKey {
    type Err = NotAFingerprint;

    fn from_str(text: &str) -> Result<Self, NotAFingerprint> {
        text.parse::<PublicKey>().map(|key| Self(key.0))
    }
}

impl serde::Serialize for RoomKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The most members that a room may have, with those who are invited.
pub const MAX_MEMBERS: usize = 200;
/// The most rooms that an account may be in.
pub const MAX_ROOMS: usize = 100;
/// The most changes of one room.
pub const MAX_CHANGES: usize = 2048;
/// The longest topic, in bytes of UTF-8.
pub const MAX_TOPIC: usize = 400;
/// The most entries of one run, and so from one signed head to the next.
pub const MAX_RUN: usize = 256;
/// The most bytes of bodies of one run, unless a single one is longer; a run stands in one frame.
pub const MAX_RUN_BYTES: usize = 24 * 1024;
/// The most causes of one entry, and the most chains that a receipt speaks of.
pub const MAX_CAUSES: usize = 128;
/// The most chains that an invitation names, and the most entries that a founding does.
pub const MAX_HEADS: usize = 384;
/// The highest clock. An honest room would count to it for longer than there will be anyone to read it.
pub const MAX_CLOCK: u64 = 1 << 53;

/// The chain that a member writes in one start of its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(array)]
pub struct ChainName {
    #[cbor(n(0), decode_with = "key::decode_name")]
    pub author: PublicKey,
    /// The change by which its author is in.
    #[n(1)]
    pub grant: Hash,
    #[n(2)]
    pub epoch: u64,
}

/// A place in a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(array)]
pub struct Mark {
    #[n(0)]
    pub chain: ChainName,
    /// Entries count from 1.
    #[n(1)]
    pub number: u64,
    /// Of the entry that stands there.
    #[n(2)]
    pub hash: Hash,
}

/// A place in a chain, and the clock of the entry that stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Cause {
    #[n(0)]
    pub mark: Mark,
    #[n(1)]
    pub clock: u64,
}

/// The end of a chain that a newcomer does not get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Past {
    #[n(0)]
    pub mark: Mark,
    #[n(1)]
    pub clock: u64,
    /// Whether the author has left with that entry.
    #[n(2)]
    pub ended: bool,
}

/// What a member wrote, without where it stands: that is known from what is around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub clock: u64,
    pub kind: EntryKind,
    /// The writer's clock, in milliseconds since 1970. Shown, never relied on.
    pub sent: i64,
    /// For each other chain that has grown since the author's last entry, how far the author had it.
    pub causes: Vec<Cause>,
    pub body: Vec<u8>,
}

/// What the body of an entry is. A number on the wire, so that a later version can add one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct EntryKind(#[n(0)] pub u16);

impl EntryKind {
    /// Text, as in a direct message of [`Kind::TEXT`].
    pub const TEXT: Self = Self(Kind::TEXT.0);
    /// The author is in from here on. No body.
    pub const JOIN: Self = Self(2);
    /// The author is out. No body; the last entry of its chain.
    pub const LEAVE: Self = Self(3);
    /// The author, who owns the room, asks whether any member knows of a settlement that is not here: the body is the hash
    /// of the change by which it does.
    pub const OPEN: Self = Self(4);
    /// The author, who owns the room, says what is final: the body is a [`Settlement`].
    pub const SETTLE: Self = Self(5);
}

/// "What stands up to `place` is final": of all that the entry which says so comes after. All else stands behind that place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Settlement {
    /// The change by which the author owns the room: its founding, or the author's [`Deed::Accept`].
    #[n(0)]
    pub reign: Hash,
    /// Below the clock of the entry that says so.
    #[n(1)]
    pub place: u64,
    /// The settlement before this one.
    #[n(2)]
    pub after: Option<Mark>,
}

/// A settlement, for those who do not get it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Settled {
    #[n(0)]
    pub mark: Mark,
    #[n(1)]
    pub place: u64,
}

/// Entries of one chain, one after the other, up to a signed one.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Run {
    #[n(0)]
    pub chain: ChainName,
    /// The number of the first entry.
    #[n(1)]
    pub first: u64,
    /// The hash of the entry before the first; all zero before number 1.
    #[n(2)]
    pub previous: Hash,
    #[cbor(n(3), with = "entries")]
    pub entries: Vec<Entry>,
    /// The author's, over the hash of the last entry: see [`hash::head`].
    #[n(4)]
    pub signature: Signature,
}

/// What a member has committed of others since its last receipt.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Receipt {
    #[n(0)]
    pub name: ReceiptName,
    /// Up to where, of the chains that have grown.
    #[cbor(n(1), with = "items", has_nil)]
    pub covers: Vec<Mark>,
    /// The changes that the member has and that no other one comes after.
    #[cbor(n(2), with = "items", has_nil)]
    pub tips: Vec<Hash>,
    #[n(3)]
    pub signature: Signature,
    /// The last settlement that the member knows.
    #[n(4)]
    pub settled: Option<Mark>,
}

/// Which receipt it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(array)]
pub struct ReceiptName {
    #[cbor(n(0), decode_with = "key::decode_name")]
    pub member: PublicKey,
    /// Which start of the member's client signed it.
    #[n(1)]
    pub epoch: u64,
    /// Counts from 1 within that start.
    #[n(2)]
    pub counter: u64,
}

/// A change of who is in a room, by its owner.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Change {
    #[n(0)]
    pub author: PublicKey,
    /// Which start of the author's client wrote it.
    #[n(1)]
    pub epoch: u64,
    /// Counts from 1 within that start.
    #[n(2)]
    pub number: u64,
    /// The changes that the author had and that no other one came after. Empty for the founding alone.
    #[cbor(n(3), with = "items", has_nil)]
    pub after: Vec<Hash>,
    #[n(4)]
    pub deed: Deed,
    #[n(5)]
    pub signature: Signature,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Deed {
    /// The author founds the room and owns it.
    #[n(0)]
    Found(#[n(0)] Found),
    #[n(1)]
    Add(#[n(0)] Add),
    #[n(2)]
    Remove(#[n(0)] Remove),
    /// A member is to own the room.
    #[n(3)]
    Transfer(#[n(0)] PublicKey),
    /// That member, who writes this, does from here on.
    #[n(4)]
    Accept,
    #[n(5)]
    Topic(#[cbor(n(0), with = "texts")] String),
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Found {
    /// Drawn at random, so that no two rooms have the same id.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub nonce: [u8; 32],
    /// What the owner calls the room.
    #[n(1)]
    pub room: Name,
    #[n(2)]
    pub owner: Name,
    /// From which other room it goes on, if it does.
    #[n(3)]
    pub past: Option<Origin>,
}

/// A room that another one goes on from, and what its founder has of it. It is named by hashes alone: those who were not in
/// it learn nothing of who was, or of what was said.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Origin {
    #[n(0)]
    pub room: RoomKey,
    /// The last entry of each chain. Each hash covers all before it.
    #[cbor(n(1), with = "items", has_nil)]
    pub ends: Vec<Hash>,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Add {
    #[n(0)]
    pub name: Name,
    #[n(1)]
    pub key: PublicKey,
    /// What was written before, as far as the owner has it: the newcomer does not get it. Empty if it does.
    #[cbor(n(2), with = "items", has_nil)]
    pub past: Vec<Past>,
    /// The highest place of what the owner has: the newcomer's clock begins after it.
    #[n(3)]
    pub clock: u64,
    /// The last settlement that the owner has. None for one who gets what was written before.
    #[n(4)]
    pub settled: Option<Settled>,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Remove {
    #[n(0)]
    pub key: PublicKey,
    /// Up to which number each of the member's chains is kept; of others, nothing.
    #[cbor(n(1), with = "items", has_nil)]
    pub kept: Vec<Kept>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Kept {
    #[n(0)]
    pub epoch: u64,
    #[n(1)]
    pub number: u64,
    /// Of the last entry that is kept: so the owner's word stands for its author's signature.
    #[n(2)]
    pub hash: Hash,
}

/// What one member says to another about one room.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AboutRoom {
    #[n(0)]
    pub room: RoomKey,
    #[n(1)]
    pub says: RoomSays,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum RoomSays {
    /// Said first over each link, and again of what is new: what the sender has. Several of them together say all.
    #[n(0)]
    Have(#[n(0)] Have),
    /// Asks for what the sender lacks.
    #[n(1)]
    Pull(#[n(0)] Pull),
    #[n(2)]
    Changes(#[cbor(n(0), with = "items")] Vec<Change>),
    #[n(3)]
    Run(#[n(0)] Run),
    #[n(4)]
    Receipts(#[cbor(n(0), with = "items")] Vec<Receipt>),
    /// Runs of so many bytes have been taken in: as many more may follow.
    #[n(5)]
    Got(#[n(0)] u32),
    /// An author has broken the rules, as anyone can see.
    #[n(6)]
    Proof(#[n(0)] Box<Proof>),
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Have {
    #[cbor(n(0), with = "items", has_nil)]
    pub tips: Vec<Hash>,
    /// The signed end of each chain that the sender has.
    #[cbor(n(1), with = "items", has_nil)]
    pub heads: Vec<Mark>,
    #[cbor(n(2), with = "items", has_nil)]
    pub receipts: Vec<ReceiptName>,
    /// The sender has joined: so it is served before its first entry is here.
    #[n(3)]
    pub joined: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Pull {
    /// Whether all changes are wanted.
    #[n(0)]
    pub changes: bool,
    #[cbor(n(1), with = "items", has_nil)]
    pub chains: Vec<Wanted>,
    #[cbor(n(2), with = "items", has_nil)]
    pub receipts: Vec<ReceiptName>,
}

/// The entries of a chain after a number, up to a mark that the one who is asked has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Wanted {
    #[n(0)]
    pub after: u64,
    #[n(1)]
    pub up_to: Mark,
}

/// Two stretches of one chain that can't both be honest, or one that can't be.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Proof {
    #[n(0)]
    pub chain: ChainName,
    #[n(1)]
    pub one: Stretch,
    /// With an entry of the same number as the first of the other stretch, and another hash. Without it the first entry
    /// of the only stretch has a clock that does not follow from its causes and from the entry before it.
    #[n(2)]
    pub other: Option<Stretch>,
}

/// Entries of a chain without their bodies, up to a signed one.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Stretch {
    #[n(0)]
    pub first: u64,
    #[n(1)]
    pub previous: Hash,
    #[cbor(n(2), with = "items")]
    pub headers: Vec<Header>,
    #[n(3)]
    pub signature: Signature,
}

/// An entry without its body.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Header {
    #[n(0)]
    pub clock: u64,
    #[n(1)]
    pub kind: EntryKind,
    #[n(2)]
    pub sent: i64,
    #[cbor(n(3), with = "items", has_nil)]
    pub causes: Vec<Cause>,
    /// Of the body.
    #[n(4)]
    pub body: Hash,
}

impl Entry {
    pub fn header(&self) -> Header {
        let Self { clock, kind, sent, causes, body } = self;
        let body = hash::of_body(body);
        Header { clock: *clock, kind: *kind, sent: *sent, causes: causes.clone(), body }
    }
}

/// The clock that an entry has whose predecessor and causes have these; `None` where it would be too high.
pub fn clock_after(previous: u64, causes: &[Cause]) -> Option<u64> {
    let highest = causes.iter().map(|cause| cause.clock).fold(previous, u64::max);
    highest.checked_add(1).filter(|clock| *clock <= MAX_CLOCK)
}

impl RoomSays {
    /// Whether the receiver has to save what follows from it.
    pub const fn must_be_saved(&self) -> bool {
        match self {
            Self::Changes(_) | Self::Run(_) | Self::Receipts(_) | Self::Proof(_) => true,
            Self::Have(_) | Self::Pull(_) | Self::Got(_) => false,
        }
    }

    /// How much work it is, in messages.
    pub fn weight(&self) -> usize {
        match self {
            Self::Run(run) => run.entries.len(),
            Self::Changes(changes) => changes.len(),
            Self::Receipts(receipts) => receipts.len(),
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;
