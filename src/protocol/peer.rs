//! What two clients say to each other, inside their Noise session.
//!
//! Each sends one [`Peer::Hello`] first, the one who was dialled only after it knows whose key the
//! handshake proved. Then each streams what the other has not yet committed, oldest first.

use std::fmt;

use minicbor::{Decode, Encode};

use super::Name;
use super::room::AboutRoom;

/// From one client to the other.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Peer {
    #[n(0)]
    Hello(#[n(0)] Hello),
    #[n(1)]
    Message(#[n(0)] Message),
    /// Everything up to here is committed.
    #[n(2)]
    Ack(#[n(0)] Cursor),
    /// A sign of life after [`super::PING_AFTER`] of silence.
    #[n(3)]
    Ping,
    /// The sender closes the link.
    #[n(4)]
    Bye(#[n(0)] Bye),
    /// Everything after a cursor was not taken: send it, and what follows, after a [`Self::Resume`]. Answered by
    /// [`Self::Rewound`]; every message before that answer is dropped.
    #[n(5)]
    Hold(#[n(0)] Hold),
    /// The reason for a [`Self::Hold`] is gone.
    #[n(6)]
    Resume,
    /// The answer to a [`Self::Hold`]: what follows begins after its cursor.
    #[n(7)]
    Rewound,
    /// Up to here, in this epoch, the sender sends nothing that it takes for delivered, although the receiver's hello did
    /// not count it: it was lost there.
    #[n(8)]
    Skipped(#[n(0)] Cursor),
    /// The beginning, or what follows it, of the body of the next message: on a thin line a long one goes piece by piece,
    /// so that acknowledgements and pings find their way between. The message itself has the rest of its body.
    #[n(9)]
    Part(#[n(0)] Part),
    /// The answer to a [`Self::Part`], at once.
    #[n(10)]
    PartAck,
    /// Of the links between these two clients this one stays. Said by the side with the lower key, after both hellos and
    /// before anything else; the other side says nothing more than its hello, and closes no other link, before it has
    /// heard that. The number is higher than in any `Keep` that this start of the sender has said before: what is said over
    /// one link may overtake what is said over another.
    #[n(11)]
    Keep(#[n(0)] u64),
    /// About a room that both are in, or one that the receiver is to be in.
    #[n(12)]
    Room(#[n(0)] Box<AboutRoom>),
}

impl Peer {
    /// Whether the receiver has to save what follows from it.
    pub const fn must_be_saved(&self) -> bool {
        match self {
            Self::Hello(_) | Self::Message(_) | Self::Ack(_) | Self::Hold(_) | Self::Skipped(_) => true,
            // What the hello said of messages counts from here on.
            Self::Keep(_) => true,
            Self::Room(about) => about.says.must_be_saved(),
            Self::Ping | Self::Bye(_) | Self::Resume | Self::Rewound | Self::Part(_) | Self::PartAck => false,
        }
    }
}

/// A place in a client's stream of messages.
///
/// The epoch is a random number drawn at every start of a client; within it numbers rise, with gaps.
/// Together with the sender's key they name a message for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Cursor {
    #[n(0)]
    pub epoch: u64,
    #[n(1)]
    pub number: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.epoch, self.number)
    }
}

impl serde::Serialize for Cursor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Hello {
    /// The sender's name. Who the sender is, only the key proves; a name that differs from the one pinned
    /// for the key is an error.
    #[n(0)]
    pub name: Name,
    /// The epoch of this start of the sender: tells a client that dials again from a second one with
    /// the same key.
    #[n(1)]
    pub epoch: u64,
    #[n(2)]
    pub port: u16,
    /// How many bytes of messages the sender takes unacknowledged (see `docs/protocol.md`).
    #[n(3)]
    pub window: u32,
    /// How far the sender has committed what the receiver of this hello wrote: the highest number in
    /// each epoch, the most recent epochs last, at most [`MAX_CURSORS`].
    #[n(4)]
    pub cursors: Vec<Cursor>,
    /// Why the sender takes no messages beyond those cursors, if it does not.
    #[n(5)]
    pub hold: Option<HoldReason>,
    /// Which way the dialler took; from the other side it is not heeded.
    #[n(6)]
    pub via: Via,
    /// Whether the sender has another link with the receiver that is up.
    #[n(7)]
    pub linked: bool,
    /// Whether the sender wants the link for the sake of a common room alone. A receiver that knows of none makes no stranger
    /// of the sender.
    #[n(8)]
    pub room: bool,
}

/// The way that a link takes.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Encode,
    Decode,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[cbor(index_only)]
pub enum Via {
    /// To an address of the other side's machine.
    #[n(0)]
    #[default]
    Direct,
    /// To a port that the other side's router maps to it.
    #[n(1)]
    Mapped,
    /// Through routers that both sides have opened from inside.
    #[n(2)]
    Punched,
    /// Through discovery, which copies what it can't read.
    #[n(3)]
    Relayed,
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "direct",
            Self::Mapped => "mapped",
            Self::Punched => "punched",
            Self::Relayed => "relayed",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Hold {
    #[n(0)]
    pub reason: HoldReason,
    /// Up to where messages were taken; `None` if none were that came over this link.
    #[n(1)]
    pub cursor: Option<Cursor>,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Part {
    /// Of which message. What was kept of another one is dropped.
    #[n(0)]
    pub message: Cursor,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub body: Vec<u8>,
}

/// Why messages are not taken for now. A number on the wire, so that a later version can add one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct HoldReason(#[n(0)] pub u16);

impl HoldReason {
    /// The sender of the messages is a stranger, who has had what a stranger may have until answered.
    pub const NOT_ANSWERED: Self = Self(1);
    /// The disk of the receiver is nearly full.
    pub const DISK_FULL: Self = Self(2);
}

/// How many messages are taken from a stranger until answered: enough to say who one is and what one wants.
pub const STRANGER_MESSAGES: u64 = 20;
/// How many bytes those have at most: two of the longest texts.
pub const STRANGER_BYTES: u64 = 2 * super::MAX_TEXT as u64;

/// The most epochs that a [`Hello`] speaks of.
pub const MAX_CURSORS: u32 = 32;

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Message {
    /// The sender's epoch when it was written.
    #[n(0)]
    pub epoch: u64,
    #[n(1)]
    pub number: u64,
    #[n(2)]
    pub kind: Kind,
    /// The sender's clock when it was written, in milliseconds since 1970. Shown, never relied on.
    #[n(3)]
    pub sent: i64,
    #[cbor(n(4), with = "minicbor::bytes")]
    pub body: Vec<u8>,
    /// The identity under which it was sent first, if the receiver has lost it since and its writer sends it again.
    #[n(5)]
    pub original: Option<Cursor>,
}

impl Message {
    /// Where it stands in the stream of messages.
    pub fn cursor(&self) -> Cursor {
        Cursor { epoch: self.epoch, number: self.number }
    }

    /// Its name for ever, also when it is sent again.
    pub fn id(&self) -> Cursor {
        self.original.unwrap_or_else(|| self.cursor())
    }
}

/// What the body of a message is. A receiver acknowledges kinds that it does not know, and keeps what is
/// short, so that a later version of it can show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Kind(#[n(0)] pub u16);

impl Kind {
    /// Text in UTF-8, at most [`super::MAX_TEXT`] bytes.
    pub const TEXT: Self = Self(1);

    /// Whether this version can show it.
    pub fn is_known(self) -> bool {
        self == Self::TEXT
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Bye {
    #[n(0)]
    pub reason: ByeReason,
}

/// Why a link is closed. A number on the wire, so that a later version can add one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct ByeReason(#[n(0)] pub u16);

impl ByeReason {
    /// The sender's user logs out.
    pub const LOGOUT: Self = Self(1);
    /// Another client with the receiver's key has connected since: the receiver is the older one.
    pub const SUPERSEDED: Self = Self(2);
    /// The sender does not take links from the receiver.
    pub const NOT_ACCEPTED: Self = Self(3);
    /// The sender can't find out at the moment who the receiver is, or knows of no common room.
    pub const TRY_LATER: Self = Self(4);
    /// The sender's user has not answered the receiver's request.
    pub const NOT_ANSWERED: Self = Self(5);
}

#[cfg(test)]
mod tests {
    use super::super::codec::{self, CodecError};
    use super::*;
    use proptest::prelude::*;

    fn any_peer() -> impl Strategy<Value = Peer> {
        let cursor = || (any::<u64>(), any::<u64>()).prop_map(|(epoch, number)| Cursor { epoch, number });
        let reason = || any::<u16>().prop_map(HoldReason);
        let hello = (
            "[a-z0-9][a-z0-9._-]{0,31}",
            any::<(u64, u16, u32)>(),
            prop::collection::vec(cursor(), 0..MAX_CURSORS as usize),
            prop::option::of(reason()),
            prop::sample::select(vec![Via::Direct, Via::Mapped, Via::Punched, Via::Relayed]),
            any::<(bool, bool)>(),
        )
            .prop_map(|(name, (epoch, port, window), cursors, hold, via, (linked, room))| {
                let name = name.parse().unwrap();
                Peer::Hello(Hello { name, epoch, port, window, cursors, hold, via, linked, room })
            });
        let body = prop::collection::vec(any::<u8>(), 0..300);
        let message = (any::<(u64, u64, u16, i64)>(), body, prop::option::of(cursor())).prop_map(
            |((epoch, number, kind, sent), body, original)| {
                Peer::Message(Message { epoch, number, kind: Kind(kind), sent, body, original })
            },
        );
        let hold = (reason(), prop::option::of(cursor()));
        prop_oneof![
            hello,
            message,
            cursor().prop_map(Peer::Ack),
            Just(Peer::Ping),
            hold.prop_map(|(reason, cursor)| Peer::Hold(Hold { reason, cursor })),
            Just(Peer::Resume),
            Just(Peer::Rewound),
            cursor().prop_map(Peer::Skipped),
            (cursor(), prop::collection::vec(any::<u8>(), 0..300))
                .prop_map(|(message, body)| Peer::Part(Part { message, body })),
            Just(Peer::PartAck),
            any::<u64>().prop_map(Peer::Keep),
            any::<u16>().prop_map(|reason| Peer::Bye(Bye { reason: ByeReason(reason) })),
        ]
    }

    proptest! {
        #[test]
        fn a_frame_reads_back(messages in prop::collection::vec(any_peer(), 0..8)) {
            let mut frame = Vec::new();
            messages.iter().for_each(|message| codec::encode(message, &mut frame));
            prop_assert_eq!(codec::decode::<Peer>(&frame).unwrap(), messages);
        }

        #[test]
        fn garbage_is_refused_without_a_panic(frame in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = codec::decode::<Peer>(&frame);
        }

        #[test]
        fn a_damaged_frame_is_refused_or_reads_back_as_it_is(
            message in any_peer(), at in any::<prop::sample::Index>(), bit in 0u8..8,
        ) {
            let mut frame = Vec::new();
            codec::encode(&message, &mut frame);
            let at = at.index(frame.len());
            frame[at] ^= 1 << bit;
            if let Ok(messages) = codec::decode::<Peer>(&frame) {
                let mut again = Vec::new();
                messages.iter().for_each(|message| codec::encode(message, &mut again));
                prop_assert_eq!(codec::decode::<Peer>(&again).unwrap(), messages);
            }
        }

        #[test]
        fn a_frame_cut_short_is_refused(message in any_peer(), at in any::<prop::sample::Index>()) {
            let mut frame = Vec::new();
            codec::encode(&message, &mut frame);
            let cut = at.index(frame.len());
            prop_assert_eq!(codec::decode::<Peer>(&frame[..cut]).is_err(), cut > 0);
        }
    }

    #[test]
    fn an_old_reader_skips_what_a_new_writer_adds() {
        // An ack [2, [{0: 7, 1: 9, 5: "new"}]], then a message of the unknown kind 99.
        let frame = [
            &[0x82, 2, 0x81, 0xa3, 0, 7, 1, 9, 5, 0x63, b'n', b'e', b'w'][..],
            &[0x82, 0x18, 99, 0x81, 0xa0],
        ]
        .concat();
        assert_eq!(codec::decode::<Peer>(&frame).unwrap(), [Peer::Ack(Cursor { epoch: 7, number: 9 })]);
    }

    #[test]
    fn what_cbor_allows_and_we_do_not() {
        for (frame, why) in [
            (&[0x82, 2, 0x81, 0xa3, 0, 7, 0, 8, 1, 9][..], "a key twice"),
            (&[0x82, 2, 0x81, 0xa2, 1, 9, 0, 7], "keys falling"),
            (&[0x9f, 2, 0x81, 0xa2, 0, 7, 1, 9, 0xff], "indefinite array"),
            (&[0x82, 2, 0x81, 0xbf, 0, 7, 1, 9, 0xff], "indefinite map"),
            (&[0xc1, 0x82, 2, 0x81, 0xa2, 0, 7, 1, 9], "tag"),
            (&[&[0x82, 2, 0x81, 0xa3, 0, 7, 1, 9, 2][..], &[0x81; 14], &[0x80]].concat(), "deep nesting"),
            (&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "an array of 2^64 items"),
            (&[0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0], "a string of 2^63 bytes"),
        ] {
            assert!(codec::decode::<Peer>(frame).is_err(), "{why}");
        }
        let deep = vec![0x81; 100_000];
        assert!(matches!(codec::decode::<Peer>(&deep), Err(CodecError::Forbidden("nested too deeply"))));
    }
}
