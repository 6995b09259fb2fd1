//! Noise over a wire: who is there is proved, and all that follows is sealed.
//!
//! The framework and its patterns are those of <https://noiseprotocol.org/noise.html>, revision 34.
//! Two clients use `XK`: the dialler knows the key that it dials, so that an impostor fails at the first
//! message and a stranger who probes a port learns nothing. Client and discovery use `XX`, for
//! either key may be new to the other.
//!
//! Both are hybrid: the first two messages carry a key of [ML-KEM-768](kem) and its ciphertext, and the third mixes in
//! what these agree on (`psk3`). So who records a session has to break both to read it. Who is there, and the
//! dialler's key, are protected by X25519 alone.
//!
//! A connection starts with an [`Offer`] in clear, so that versions which do not fit are an error that a user can read.
//! Then come the three handshake messages, each of fixed length, then frames: two bytes of length (big endian), then
//! that many bytes of ciphertext.
//!
//! A reader owns the [`Opener`], the writer the [`Sealer`]. Both share one stateful transport, locked around
//! the cipher call only. Its counters make a replayed, reordered or changed frame fail by itself.

use crate::protocol::PublicKey;

mod dh;
mod error;
mod exchange;
mod frames;
mod handshake;
pub mod kem;
mod keypair;
mod offer;

pub use error::HandshakeError;
pub(super) use exchange::refuse;
pub use exchange::{initiate, respond};
pub use frames::{OpenError, Opener, SealError, Sealer};
pub use handshake::{Initiator, Responder};
pub use keypair::Keypair;
pub use offer::{MAX_VERSIONS, Offer};

pub use super::wire::Deadline;

/// The length of the authentication tag that each message and each frame carries.
const TAG: usize = 16;

/// What a connection is for. Both sides must mean the same, or the handshake fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A client with discovery.
    Rendezvous,
    /// A client with another one.
    Peer,
}

impl Purpose {
    fn pattern(self) -> &'static str {
        match self {
            Self::Rendezvous => "Noise_XXpsk3_25519_ChaChaPoly_BLAKE2s",
            Self::Peer => "Noise_XKpsk3_25519_ChaChaPoly_BLAKE2s",
        }
    }

    /// What the prologue begins with.
    fn label(self) -> &'static [u8] {
        match self {
            Self::Rendezvous => b"peerchat rendezvous",
            Self::Peer => b"peerchat peer",
        }
    }

    /// How long the three handshake messages are, in bytes, which follows from the pattern and the payloads.
    pub const fn lengths(self) -> [usize; 3] {
        let (key, sealed_key) = (32, 32 + TAG);
        let answer = match self {
            Self::Rendezvous => key + sealed_key,
            Self::Peer => key,
        };
        [key + kem::KEY + TAG, answer + kem::CIPHERTEXT + TAG, sealed_key + TAG]
    }
}

/// A proven connection.
pub struct Session {
    /// The key that the other side has proved.
    pub remote: PublicKey,
    /// The version of the protocol that both sides speak.
    pub version: u8,
    pub opener: Opener,
    pub sealer: Sealer,
}
