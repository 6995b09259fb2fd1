//! The two sides of a handshake: messages in, messages out, and a session in the end. Without a wire or a clock.

use snow::{Builder, HandshakeState};
use zeroize::Zeroizing;

use super::dh::Resolver;
use super::frames::halves;
use super::{HandshakeError, Keypair, Offer, Purpose, Session, TAG, kem};
use crate::protocol::PublicKey;
use crate::protocol::key::is_contributory;

/// The place of the shared secret in the pattern: at the end of message 3.
const PSK: usize = 3;

/// The side that dials.
pub struct Initiator {
    noise: HandshakeState,
    secret: kem::Decapsulation,
    purpose: Purpose,
    version: u8,
    /// The key that the other side must prove, if it is known.
    expected: Option<PublicKey>,
}

/// The side that was dialled.
pub struct Responder {
    noise: HandshakeState,
    version: u8,
}

impl Initiator {
    /// Begins a handshake; returns what is sent first: the offer, then message 1. For the key see
    /// [`initiate`](super::initiate).
    pub fn start(
        purpose: Purpose,
        own: &Keypair,
        remote: Option<PublicKey>,
        offer: &Offer,
    ) -> Result<(Self, Vec<u8>), HandshakeError> {
        Self::start_with(purpose, own, remote, offer, random()?, None)
    }

    fn start_with(
        purpose: Purpose,
        own: &Keypair,
        remote: Option<PublicKey>,
        offer: &Offer,
        random: Zeroizing<[u8; 64]>,
        ephemeral: Option<&[u8; 32]>,
    ) -> Result<(Self, Vec<u8>), HandshakeError> {
        let dialled = remote.filter(|_| purpose == Purpose::Peer);
        let dialled = dialled.map(|key| key.x25519().ok_or(HandshakeError::InvalidKey)).transpose()?;
        let prologue = offer.prologue(purpose);
        let mut builder = builder(purpose, own, &prologue, ephemeral)?;
        if let Some(key) = &dialled {
            builder = builder.remote_public_key(key)?;
        }
        let mut noise = builder.build_initiator()?;
        let (secret, key) = kem::Decapsulation::generate(&random);
        let mut first = offer.encoded();
        write(&mut noise, &key, &mut first)?;
        Ok((Self { noise, secret, purpose, version: offer.chosen(), expected: remote }, first))
    }

    /// Takes message 2, which has the second of [`Purpose::lengths`]; returns message 3, and the session in which the
    /// other side has proved its key.
    pub fn finish(mut self, second: &[u8]) -> Result<(Vec<u8>, Session), HandshakeError> {
        let (third, remote) = self.prove(second)?;
        Ok((third, session(self.noise, remote, self.version)?))
    }

    fn prove(&mut self, second: &[u8]) -> Result<(Vec<u8>, PublicKey), HandshakeError> {
        let ciphertext = read_with_ephemeral(&mut self.noise, second)?;
        let shared = self.secret.decapsulate(&ciphertext).ok_or(HandshakeError::Malformed("ciphertext"))?;
        // Of a link the key was known and has served already: an impostor could not read message 1.
        let remote = match self.expected.filter(|_| self.purpose == Purpose::Peer) {
            Some(expected) => expected,
            None => proved(&self.noise)?,
        };
        if let Some(expected) = self.expected.filter(|expected| *expected != remote) {
            return Err(HandshakeError::WrongKey { expected, found: remote });
        }
        self.noise.set_psk(PSK, shared.as_ref())?;
        let mut third = Vec::new();
        write(&mut self.noise, &[], &mut third)?;
        Ok((third, remote))
    }
}

impl Responder {
    /// Takes what the dialler offers and message 1, which has the first of [`Purpose::lengths`]; returns what is
    /// answered: the version, then message 2.
    pub fn answer(
        purpose: Purpose,
        own: &Keypair,
        offer: &Offer,
        first: &[u8],
    ) -> Result<(Self, Vec<u8>), HandshakeError> {
        Self::answer_with(purpose, own, offer, first, random()?, None)
    }

    fn answer_with(
        purpose: Purpose,
        own: &Keypair,
        offer: &Offer,
        first: &[u8],
        random: Zeroizing<[u8; 32]>,
        ephemeral: Option<&[u8; 32]>,
    ) -> Result<(Self, Vec<u8>), HandshakeError> {
        let prologue = offer.prologue(purpose);
        let mut noise = builder(purpose, own, &prologue, ephemeral)?.build_responder()?;
        let key = read_with_ephemeral(&mut noise, first)?;
        let (ciphertext, shared) =
            kem::encapsulate(&key, &random).ok_or(HandshakeError::Malformed("encapsulation key"))?;
        noise.set_psk(PSK, shared.as_ref())?;
        let version = offer.chosen();
        let mut second = vec![version];
        write(&mut noise, &ciphertext, &mut second)?;
        Ok((Self { noise, version }, second))
    }

    /// Takes message 3, which has the last of [`Purpose::lengths`]: the dialler has proved its key.
    pub fn finish(mut self, third: &[u8]) -> Result<Session, HandshakeError> {
        read(&mut self.noise, third)?;
        let remote = proved(&self.noise)?;
        session(self.noise, remote, self.version)
    }
}

fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, getrandom::Error> {
    let mut random = Zeroizing::new([0; N]);
    getrandom::fill(random.as_mut())?;
    Ok(random)
}

fn builder<'b>(
    purpose: Purpose,
    own: &'b Keypair,
    prologue: &'b [u8],
    ephemeral: Option<&'b [u8; 32]>,
) -> Result<Builder<'b>, snow::Error> {
    let builder = Builder::with_resolver(purpose.pattern().parse()?, Box::new(Resolver(own.clone())))
        .local_private_key(own.x25519())?
        .prologue(prologue)?;
    Ok(match ephemeral {
        Some(secret) => builder.fixed_ephemeral_key_for_testing_only(secret),
        None => builder,
    })
}

/// Appends a message.
fn write(noise: &mut HandshakeState, payload: &[u8], message: &mut Vec<u8>) -> Result<(), snow::Error> {
    let before = message.len();
    // Room for two keys and three tags, which is what a message can have at most.
    message.resize(before + payload.len() + 2 * 32 + 3 * TAG, 0);
    let written = noise.write_message(payload, message.get_mut(before..).unwrap_or_default())?;
    message.truncate(before + written);
    Ok(())
}

/// The payload of a message.
fn read(noise: &mut HandshakeState, message: &[u8]) -> Result<Vec<u8>, snow::Error> {
    let mut payload = vec![0; message.len()];
    let read = noise.read_message(message, &mut payload)?;
    payload.truncate(read);
    Ok(payload)
}

/// The payload of message 1 or 2, which starts with the other side's ephemeral key.
fn read_with_ephemeral(noise: &mut HandshakeState, message: &[u8]) -> Result<Vec<u8>, HandshakeError> {
    if !message.first_chunk().is_some_and(is_contributory) {
        return Err(HandshakeError::InvalidKey);
    }
    Ok(read(noise, message)?)
}

/// The other side's static key.
fn proved(noise: &HandshakeState) -> Result<PublicKey, HandshakeError> {
    let proved = noise.get_remote_static().and_then(<[u8]>::first_chunk);
    proved.and_then(PublicKey::from_x25519).ok_or(HandshakeError::InvalidKey)
}

fn session(noise: HandshakeState, remote: PublicKey, version: u8) -> Result<Session, HandshakeError> {
    let (opener, sealer) = halves(noise.into_transport_mode()?);
    Ok(Session { remote, version, opener, sealer })
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;
