//! Noise over a wire: who is there is proved, and all that follows is sealed.
//!
//! The framework and its patterns are those of <https://noiseprotocol.org/noise.html>, revision 34.
//! Two clients use `XK`: the dialler knows the key that it dials, so that an impostor fails at the first
//! message and a stranger who probes a port learns nothing. Client and discovery use `XX`, for
//! either key may be new to the other.
//!
//! A connection starts with one byte in clear, the version, so that a mismatch is an error that a user
//! can read. Then come the three handshake messages, without payload and so of fixed length, then
//! frames: two bytes of length (big endian), then that many bytes of ciphertext.
//!
//! A reader owns the [`Opener`], the writer the [`Sealer`]. Both share one stateful transport, locked around
//! the cipher call only. Its counters make a replayed, reordered or changed frame fail by itself.

use snow::params::DHChoice;
use snow::resolvers::{CryptoResolver, DefaultResolver};
use zeroize::Zeroizing;

use crate::protocol::PublicKey;

mod frames;
mod handshake;

pub use frames::{OpenError, Opener, SealError, Sealer};
pub(super) use handshake::refuse;
pub use handshake::{HandshakeError, initiate, respond};

/// The length of the authentication tag that each frame carries.
const TAG: usize = 16;

/// A private key and its public half. Wiped from memory when dropped.
#[derive(Clone)]
pub struct Keypair {
    secret: Zeroizing<[u8; 32]>,
    public: PublicKey,
}

impl Keypair {
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut secret = Zeroizing::new([0; 32]);
        getrandom::fill(secret.as_mut())?;
        Ok(Self::from_secret(secret))
    }

    pub fn from_secret(secret: Zeroizing<[u8; 32]>) -> Self {
        let mut public = [0; 32];
        if let Some(mut dh) = DefaultResolver.resolve_dh(&DHChoice::Curve25519) {
            dh.set(secret.as_ref());
            public.copy_from_slice(dh.pubkey());
        }
        Self { secret, public: PublicKey(public) }
    }

    pub fn public(&self) -> PublicKey {
        self.public
    }

    pub fn secret(&self) -> &[u8; 32] {
        &self.secret
    }
}

/// What a connection is for. Both sides must mean the same, or the handshake fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A client with discovery.
    Rendezvous,
    /// A client with another one.
    Peer,
}

impl Purpose {
    /// The pattern; the prologue, which binds purpose and version into the handshake, so that its session can't be passed
    /// off as another; and the lengths of the three handshake messages, which follow from the pattern.
    fn parameters(self) -> (&'static str, &'static [u8], [usize; 3]) {
        match self {
            Self::Rendezvous => ("Noise_XX_25519_ChaChaPoly_BLAKE2s", b"peerchat/1 rendezvous", [32, 96, 64]),
            Self::Peer => ("Noise_XK_25519_ChaChaPoly_BLAKE2s", b"peerchat/1 peer", [48, 48, 64]),
        }
    }
}

/// A proven connection.
pub struct Session {
    /// The key that the other side has proved.
    pub remote: PublicKey,
    pub opener: Opener,
    pub sealer: Sealer,
}
