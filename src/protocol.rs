//! Everything that crosses a wire, and every limit that a stranger meets.
//!
//! `docs/protocol.md` describes the same for the author of another client.

use std::time::Duration;

pub mod codec;
pub mod key;
pub mod name;
pub mod peer;
pub mod relay;
pub mod rendezvous;
pub mod room;

pub use key::PublicKey;
pub use name::{Name, NameError};

/// The version of the wire. A dialler names it in clear in its first byte. Always below [`FIRST_REFUSAL`].
pub const VERSION: u8 = 2;

/// A responder that refuses answers with this byte or a higher one, see [`Refusal`].
pub const FIRST_REFUSAL: u8 = 0x80;

/// The port on which discovery listens unless told otherwise.
pub const DISCOVERY_PORT: u16 = 7667;

/// The longest text of a message, in bytes of UTF-8.
pub const MAX_TEXT: usize = 32 * 1024;

/// The longest plaintext of one sealed frame between peers, in bytes: what one Noise message can carry.
pub const MAX_PEER_FRAME: usize = 65_519;

/// The longest plaintext of one sealed frame to discovery, in bytes. Its messages are small, and it
/// holds thousands of connections.
pub const MAX_RENDEZVOUS_FRAME: usize = 2048;

/// Connecting and the handshake end when no byte has come from the other side for this long.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);

/// How long connecting and the handshake may take together while bytes arrive. A handshake moves 2.5 KB: two at once
/// take 5 s at 1 kB/s.
pub const HANDSHAKE_LIMIT: Duration = Duration::from_secs(15);

/// A side that has sent nothing for this long sends a ping.
pub const PING_AFTER: Duration = Duration::from_secs(4);

/// A side that has heard nothing for this long takes the connection for dead.
pub const DEAD_AFTER: Duration = Duration::from_secs(12);

/// What a responder may answer in clear instead of its version. Not authenticated: it is only shown to a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Refusal {
    Full = 0x81,
    AddressFull = 0x82,
    /// A ticket for a relayed link that is not known, was used already, or is too old.
    Ticket = 0x83,
    /// The other side of a relayed link did not come.
    Alone = 0x84,
    /// Any other of its bytes: a reason that only a later version knows. Never sent.
    Unknown = FIRST_REFUSAL,
}

impl Refusal {
    pub fn from_byte(byte: u8) -> Option<Self> {
        let known = [Self::Full, Self::AddressFull, Self::Ticket, Self::Alone];
        let known = known.into_iter().find(|refusal| *refusal as u8 == byte);
        known.or((byte >= FIRST_REFUSAL).then_some(Self::Unknown))
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Full => "it has no room for another connection; try again later",
            Self::AddressFull => "it has too many connections from this address; try again later",
            Self::Ticket => "it does not know the ticket for a relayed link, or not any more",
            Self::Alone => "the other side did not come to be joined",
            Self::Unknown => "it refuses the connection for a reason that this version does not know",
        })
    }
}
