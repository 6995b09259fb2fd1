//! Noise over a TCP stream: who is there is proved, and all that follows is sealed.
//!
//! The framework and its patterns are those of <https://noiseprotocol.org/noise.html>, revision 34.
//! Two clients use `XK`: who dials knows whose key it dials, so that an impostor fails at the first
//! message and a stranger who probes a port learns nothing. Client and discovery use `XX`, for
//! either key may be new to the other.
//!
//! A connection starts with one byte in clear, the version, so that a mismatch is an error that a person
//! can read. Then come the three handshake messages, without payload and so of fixed length, then
//! frames: two bytes of length (big endian), then that many bytes of ciphertext.
//!
//! A reader owns the [`Opener`], the writer the [`Sealer`]. Both share one stateful transport, locked around
//! the cipher call only. Its counters make a replayed, reordered or changed frame fail by itself.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use snow::params::DHChoice;
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::{HandshakeState, TransportState};
use zeroize::Zeroizing;

use crate::protocol::{HANDSHAKE_DEADLINE, PublicKey, Refusal, VERSION};

/// The length of the authentication tag that each frame carries.
const TAG: usize = 16;
/// The length of what stands before each frame.
const PREFIX: usize = 2;
/// The longest handshake message, in bytes.
const LONGEST_HANDSHAKE: usize = 96;
/// How long a responder listens to somebody whom it has refused, so that the refusal arrives before
/// the connection is reset.
const LAST_WORD: Duration = Duration::from_secs(1);

/// A private key and its public half. Wiped from memory when dropped.
#[derive(Clone)]
pub struct Keypair {
    secret: Zeroizing<[u8; 32]>,
    public: PublicKey,
}

impl Keypair {
    /// A new key from the system's random source.
    ///
    /// # Errors
    /// If the system has no randomness to give.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut secret = Zeroizing::new([0; 32]);
        getrandom::fill(secret.as_mut())?;
        Ok(Self::from_secret(secret))
    }

    /// The pair whose private half is `secret`.
    pub fn from_secret(secret: Zeroizing<[u8; 32]>) -> Self {
        let mut public = [0; 32];
        if let Some(mut dh) = DefaultResolver.resolve_dh(&DHChoice::Curve25519) {
            dh.set(secret.as_ref());
            public.copy_from_slice(dh.pubkey());
        }
        Self { secret, public: PublicKey(public) }
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// The private half, to be stored.
    pub fn secret(&self) -> &[u8; 32] {
        &self.secret
    }
}

/// What a connection is for. Both sides must mean the same, or the handshake fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A client, with discovery.
    Rendezvous,
    /// A client, with another one.
    Peer,
}

impl Purpose {
    fn pattern(self) -> &'static str {
        match self {
            Self::Rendezvous => "Noise_XX_25519_ChaChaPoly_BLAKE2s",
            Self::Peer => "Noise_XK_25519_ChaChaPoly_BLAKE2s",
        }
    }

    /// Bound into the handshake, so that a session of one purpose or version can't be passed off as another.
    fn prologue(self) -> &'static [u8] {
        match self {
            Self::Rendezvous => b"peerchat/1 rendezvous",
            Self::Peer => b"peerchat/1 peer",
        }
    }

    /// The lengths of the three handshake messages, which follow from the pattern.
    fn lengths(self) -> [usize; 3] {
        match self {
            Self::Rendezvous => [32, 96, 64],
            Self::Peer => [48, 48, 64],
        }
    }
}

/// A proven connection.
pub struct Session {
    /// Whose key the other side proved to hold.
    pub remote: PublicKey,
    /// The reader's half.
    pub opener: Opener,
    /// The writer's half.
    pub sealer: Sealer,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The deadline passed.
    #[error("no answer within {} seconds", HANDSHAKE_DEADLINE.as_secs())]
    Deadline,
    /// The other side closed the connection in the middle.
    #[error("the other side closed the connection during the handshake")]
    Closed,
    /// The other side speaks another version.
    #[error("{}", version(*theirs))]
    Version {
        /// What it said.
        theirs: u8,
    },
    /// The other side refused in clear.
    #[error("{0}")]
    Refused(Refusal),
    /// The other side holds another key than expected.
    #[error("its key is {found}, not {expected}")]
    WrongKey {
        /// Whose key it should have been.
        expected: PublicKey,
        /// Whose it is.
        found: PublicKey,
    },
    /// The other side could not prove its key, or means something else by this connection.
    #[error("the other side could not prove who it is")]
    NotProved(#[source] snow::Error),
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Opens a session on a fresh connection, as the one who dialled.
///
/// For [`Purpose::Peer`] a `remote` key is needed. For [`Purpose::Rendezvous`] it is the key that was
/// pinned, if any: another one is refused before this side has shown its own.
///
/// # Errors
/// Why there is no session, at the latest when `deadline` has passed.
pub fn initiate(
    stream: &TcpStream,
    purpose: Purpose,
    own: &Keypair,
    remote: Option<PublicKey>,
    deadline: Instant,
) -> Result<Session, HandshakeError> {
    let mut noise = build(purpose, own, remote.filter(|_| purpose == Purpose::Peer), true)?;
    let mut wire = Deadlined { stream, deadline };
    let [first, second, third] = purpose.lengths();
    wire.send(&mut noise, &[VERSION], first)?;
    match wire.byte()? {
        VERSION => {}
        byte => {
            return Err(match Refusal::from_byte(byte) {
                Some(refusal) => HandshakeError::Refused(refusal),
                None => HandshakeError::Version { theirs: byte },
            });
        }
    }
    wire.receive(&mut noise, second)?;
    if let (Some(expected), Some(found)) = (remote, remote_key(&noise))
        && expected != found
    {
        return Err(HandshakeError::WrongKey { expected, found });
    }
    wire.send(&mut noise, &[], third)?;
    wire.finish(noise)
}

/// Opens a session on a connection just accepted.
///
/// # Errors
/// Why there is no session, at the latest when `deadline` has passed.
pub fn respond(
    stream: &TcpStream,
    purpose: Purpose,
    own: &Keypair,
    deadline: Instant,
) -> Result<Session, HandshakeError> {
    let mut noise = build(purpose, own, None, false)?;
    let mut wire = Deadlined { stream, deadline };
    let [first, second, third] = purpose.lengths();
    let theirs = wire.byte()?;
    if theirs != VERSION {
        refuse(stream, VERSION);
        return Err(HandshakeError::Version { theirs });
    }
    wire.receive(&mut noise, first)?;
    wire.send(&mut noise, &[VERSION], second)?;
    wire.receive(&mut noise, third)?;
    wire.finish(noise)
}

/// Says one byte in clear and lets it arrive. Takes at most a second.
pub fn refuse(mut stream: &TcpStream, byte: u8) {
    let deadline = Instant::now() + LAST_WORD;
    let said = stream
        .set_write_timeout(Some(LAST_WORD))
        .and_then(|()| stream.write_all(&[byte]))
        .and_then(|()| stream.shutdown(Shutdown::Write));
    // Unread bytes would make the kernel reset the connection, and the byte could be lost.
    let mut wire = Deadlined { stream, deadline };
    let mut unread = [0; 256];
    let mut patience = 8;
    while said.is_ok() && patience > 0 && matches!(wire.read(&mut unread), Ok(1..)) {
        patience -= 1;
    }
}

fn build(
    purpose: Purpose,
    own: &Keypair,
    remote: Option<PublicKey>,
    initiator: bool,
) -> Result<HandshakeState, HandshakeError> {
    let build = || {
        let builder = snow::Builder::new(purpose.pattern().parse()?)
            .local_private_key(own.secret())?
            .prologue(purpose.prologue())?;
        match (&remote, initiator) {
            (Some(key), true) => builder.remote_public_key(&key.0)?.build_initiator(),
            (None, true) => builder.build_initiator(),
            (_, false) => builder.build_responder(),
        }
    };
    build().map_err(HandshakeError::NotProved)
}

fn remote_key(noise: &HandshakeState) -> Option<PublicKey> {
    noise.get_remote_static().and_then(PublicKey::from_slice)
}

/// A stream whose every operation ends at the deadline, however slowly bytes drip.
struct Deadlined<'s> {
    stream: &'s TcpStream,
    deadline: Instant,
}

impl Deadlined<'_> {
    fn remaining(&self) -> io::Result<Duration> {
        let remaining = self.deadline.saturating_duration_since(Instant::now());
        if remaining.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(remaining) }
    }

    fn byte(&mut self) -> Result<u8, HandshakeError> {
        let mut byte = [0];
        self.read_exact(&mut byte)?;
        let [byte] = byte;
        Ok(byte)
    }

    fn send(&mut self, noise: &mut HandshakeState, before: &[u8], len: usize) -> Result<(), HandshakeError> {
        // snow wants room for a tag also where the pattern has none.
        let mut room = [0; LONGEST_HANDSHAKE + TAG];
        let written = noise.write_message(&[], &mut room).map_err(HandshakeError::NotProved)?;
        debug_assert_eq!(written, len, "the lengths follow from the pattern");
        let message = [before, room.get(..written).unwrap_or_default()].concat();
        self.stream.set_write_timeout(Some(self.remaining()?))?;
        Ok(self.stream.write_all(&message)?)
    }

    fn receive(&mut self, noise: &mut HandshakeState, len: usize) -> Result<(), HandshakeError> {
        let mut message = vec![0; len];
        self.read_exact(&mut message)?;
        let payload =
            noise.read_message(&message, &mut [0; LONGEST_HANDSHAKE]).map_err(HandshakeError::NotProved)?;
        debug_assert_eq!(payload, 0, "the length leaves no room for a payload");
        Ok(())
    }

    fn finish(self, noise: HandshakeState) -> Result<Session, HandshakeError> {
        let remote = remote_key(&noise).ok_or(HandshakeError::NotProved(snow::Error::Dh))?;
        let transport = noise.into_transport_mode().map_err(HandshakeError::NotProved)?;
        // From here on silence is judged by the loop, which closes the socket.
        self.stream.set_read_timeout(None)?;
        self.stream.set_write_timeout(None)?;
        let transport = Arc::new(Mutex::new(transport));
        Ok(Session { remote, opener: Opener::new(Arc::clone(&transport)), sealer: Sealer { transport } })
    }
}

impl Read for Deadlined<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.remaining()?))?;
        let mut stream = self.stream;
        stream.read(buffer)
    }
}

/// Versions are small numbers. A first byte that is a character comes from another kind of server.
fn version(theirs: u8) -> String {
    if theirs >= b' ' {
        return "whatever answers there does not speak peerchat".into();
    }
    format!("the other side speaks version {theirs} of the protocol, this program version {VERSION}")
}

impl From<io::ErrorKind> for HandshakeError {
    fn from(kind: io::ErrorKind) -> Self {
        Self::Io(kind.into())
    }
}

impl HandshakeError {
    /// The same error, told apart as far as a person cares.
    #[must_use]
    pub fn classified(self) -> Self {
        match self {
            Self::Io(error) => match error.kind() {
                io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Self::Deadline,
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe => Self::Closed,
                _ => Self::Io(error),
            },
            other => other,
        }
    }
}

/// The reader's half of a session.
pub struct Opener {
    transport: Arc<Mutex<TransportState>>,
    /// What has been read and not yet opened stands at `start..end`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    plain: Vec<u8>,
}

/// A frame that can't be opened: the connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The socket failed, or ended inside a frame.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The length is shorter than a tag or longer than allowed.
    #[error("a frame of {0} bytes, which is not allowed here")]
    Length(usize),
    /// The frame was changed, replayed or out of order.
    #[error("a frame that was not sealed by the other side")]
    Forged,
}

impl Opener {
    fn new(transport: Arc<Mutex<TransportState>>) -> Self {
        Self { transport, buffer: Vec::new(), start: 0, end: 0, plain: Vec::new() }
    }

    /// Reads one frame of at most `max_plain` bytes and opens it, taking up to `read_ahead` bytes from
    /// the stream at a time. `Ok(None)` is an end between two frames.
    ///
    /// # Errors
    /// Whatever makes the connection useless, see [`OpenError`].
    pub fn read(
        &mut self,
        stream: &mut impl Read,
        max_plain: usize,
        read_ahead: usize,
    ) -> Result<Option<&[u8]>, OpenError> {
        if !self.fill(stream, PREFIX, read_ahead)? {
            return Ok(None);
        }
        let unread = self.buffer.get(self.start..self.end).unwrap_or_default();
        let Some(prefix) = unread.first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes(*prefix));
        if !(TAG..=max_plain + TAG).contains(&length) {
            return Err(OpenError::Length(length));
        }
        if !self.fill(stream, PREFIX + length, read_ahead)? {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let sealed = self.start + PREFIX..self.start + PREFIX + length;
        self.start = sealed.end;
        self.plain.resize(length, 0);
        let sealed = self.buffer.get(sealed).unwrap_or_default();
        let opened =
            lock(&self.transport).read_message(sealed, &mut self.plain).map_err(|_| OpenError::Forged)?;
        Ok(self.plain.get(..opened))
    }

    /// Reads until `needed` bytes are there. `false` if the stream ended before the first of them.
    fn fill(&mut self, stream: &mut impl Read, needed: usize, read_ahead: usize) -> io::Result<bool> {
        if self.end - self.start >= needed {
            return Ok(true);
        }
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.buffer.len() < needed.max(read_ahead) {
            self.buffer.resize(needed.max(read_ahead), 0);
        }
        while self.end < needed {
            match stream.read(self.buffer.get_mut(self.end..).unwrap_or_default()) {
                Ok(0) if self.end == 0 => return Ok(false),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// The writer's half of a session.
pub struct Sealer {
    transport: Arc<Mutex<TransportState>>,
}

/// A plaintext that is too long for a frame.
#[derive(Debug, thiserror::Error)]
#[error("a frame of {0} bytes can't be sealed")]
pub struct SealError(usize);

impl Sealer {
    /// Appends `plain`, sealed and with its length before it, to `wire`.
    ///
    /// # Errors
    /// If `plain` is longer than [`crate::protocol::MAX_PEER_FRAME`].
    pub fn seal(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result<(), SealError> {
        let failed = || SealError(plain.len());
        let length = plain.len() + TAG;
        let prefix = u16::try_from(length).map_err(|_| failed())?.to_be_bytes();
        let start = wire.len();
        wire.extend_from_slice(&prefix);
        wire.resize(start + PREFIX + length, 0);
        let room = wire.get_mut(start + PREFIX..).unwrap_or_default();
        lock(&self.transport).write_message(plain, room).map_err(|_| failed())?;
        Ok(())
    }
}

/// A panic in another thread can't leave the cipher half done in a way that matters: its connection is over.
fn lock(transport: &Mutex<TransportState>) -> std::sync::MutexGuard<'_, TransportState> {
    transport.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::MAX_PEER_FRAME;
    use std::net::TcpListener;
    use std::thread;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    fn sockets() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let dialled = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (dialled, listener.accept().unwrap().0)
    }

    type Outcome = Result<Session, HandshakeError>;

    fn shake(
        purposes: [Purpose; 2],
        dialler: &Keypair,
        remote: Option<PublicKey>,
        other: &Keypair,
    ) -> (Outcome, Outcome) {
        let (dialled, accepted) = sockets();
        let other = other.clone();
        let responder = thread::spawn(move || respond(&accepted, purposes[1], &other, soon()));
        let initiated = initiate(&dialled, purposes[0], dialler, remote, soon());
        drop(dialled);
        (initiated, responder.join().unwrap())
    }

    fn sessions() -> (Session, Session) {
        let (alice, bob) = (Keypair::generate().unwrap(), Keypair::generate().unwrap());
        let (a, b) = shake([Purpose::Peer; 2], &alice, Some(bob.public()), &bob);
        (a.unwrap(), b.unwrap())
    }

    #[test]
    fn both_learn_the_other_key() {
        let (alice, bob) = (Keypair::generate().unwrap(), Keypair::generate().unwrap());
        for (purpose, remote) in [
            (Purpose::Peer, Some(bob.public())),
            (Purpose::Rendezvous, None),
            (Purpose::Rendezvous, Some(bob.public())),
        ] {
            let (a, b) = shake([purpose; 2], &alice, remote, &bob);
            assert_eq!(a.unwrap().remote, bob.public());
            assert_eq!(b.unwrap().remote, alice.public());
        }
    }

    #[test]
    fn an_impostor_fails_before_a_word_is_said() {
        let [alice, bob, mallory] = [(); 3].map(|()| Keypair::generate().unwrap());
        let (a, m) = shake([Purpose::Peer; 2], &alice, Some(bob.public()), &mallory);
        assert!(a.is_err());
        assert!(matches!(m, Err(HandshakeError::NotProved(_))));
        let (a, _) = shake([Purpose::Rendezvous; 2], &alice, Some(bob.public()), &mallory);
        assert!(matches!(a, Err(HandshakeError::WrongKey { expected, found })
            if expected == bob.public() && found == mallory.public()));
    }

    #[test]
    fn a_session_of_one_purpose_is_none_of_the_other() {
        let (alice, bob) = (Keypair::generate().unwrap(), Keypair::generate().unwrap());
        let (a, b) = shake([Purpose::Rendezvous, Purpose::Peer], &alice, None, &bob);
        assert!(a.is_err() && b.is_err());
        let (a, b) = shake([Purpose::Peer, Purpose::Rendezvous], &alice, Some(bob.public()), &bob);
        assert!(a.is_err() && b.is_err());
    }

    #[test]
    fn versions_are_named_on_both_sides() {
        let own = Keypair::generate().unwrap();
        let (mut dialled, accepted) = sockets();
        let responder = {
            let own = own.clone();
            thread::spawn(move || respond(&accepted, Purpose::Peer, &own, soon()))
        };
        dialled.write_all(&[9; 49]).unwrap();
        let mut answer = Vec::new();
        dialled.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, [VERSION]);
        drop(dialled);
        assert!(matches!(responder.join().unwrap(), Err(HandshakeError::Version { theirs: 9 })));

        let (dialled, mut accepted) = sockets();
        accepted.write_all(&[7]).unwrap();
        let outcome = initiate(&dialled, Purpose::Rendezvous, &own, None, soon());
        assert!(matches!(outcome, Err(HandshakeError::Version { theirs: 7 })));
    }

    #[test]
    fn a_dripping_stranger_is_cut_at_the_deadline() {
        let (mut dialled, accepted) = sockets();
        let own = Keypair::generate().unwrap();
        let deadline = Instant::now() + Duration::from_millis(300);
        let responder = thread::spawn(move || respond(&accepted, Purpose::Peer, &own, deadline));
        dialled.write_all(&[VERSION]).unwrap();
        while !responder.is_finished() {
            // Ends when the other side is gone; each byte renews a timeout that is not a deadline.
            if dialled.write_all(&[0]).is_err() || Instant::now() > deadline + Duration::from_secs(5) {
                break;
            }
            thread::park_timeout(Duration::from_millis(20));
        }
        assert!(matches!(
            responder.join().unwrap().map_err(HandshakeError::classified),
            Err(HandshakeError::Deadline)
        ));
    }

    #[test]
    fn frames_arrive_whole_however_they_are_cut() {
        let (mut a, mut b) = sessions();
        let frames: Vec<Vec<u8>> =
            [0, 1, 100, MAX_PEER_FRAME].iter().map(|len| vec![*len as u8; *len]).collect();
        let mut wire = Vec::new();
        frames.iter().for_each(|frame| a.sealer.seal(frame, &mut wire).unwrap());
        assert!(a.sealer.seal(&vec![0; MAX_PEER_FRAME + 1], &mut wire.clone()).is_err());

        struct Dripping<'a>(&'a [u8], usize);
        impl Read for Dripping<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.1 = self.1 % 7 + 1;
                let room = buffer.len().min(self.1);
                self.0.read(&mut buffer[..room])
            }
        }
        let mut dripping = Dripping(&wire, 0);
        for frame in &frames {
            assert_eq!(b.opener.read(&mut dripping, MAX_PEER_FRAME, 512).unwrap().unwrap(), frame);
        }
        assert!(b.opener.read(&mut dripping, MAX_PEER_FRAME, 512).unwrap().is_none());
    }

    #[test]
    fn what_was_tampered_with_does_not_open() {
        let sealed = |session: &mut Session, texts: &[&[u8]]| {
            let seal = |text: &&[u8]| {
                let mut wire = Vec::new();
                session.sealer.seal(text, &mut wire).unwrap();
                wire
            };
            texts.iter().map(seal).collect::<Vec<_>>()
        };
        let opens = |session: &mut Session, wire: &[u8]| {
            session.opener.read(&mut &*wire, 100, 16).map(|plain| plain.map(<[u8]>::to_vec))
        };

        let (mut a, mut b) = sessions();
        let one = sealed(&mut a, &[b"one"]).remove(0);
        assert_eq!(opens(&mut b, &one).unwrap().unwrap(), b"one");
        assert!(matches!(opens(&mut b, &one), Err(OpenError::Forged)), "replayed");

        let (mut a, mut b) = sessions();
        let both = sealed(&mut a, &[b"one", b"two"]);
        assert!(matches!(opens(&mut b, &both[1]), Err(OpenError::Forged)), "reordered");

        let (mut a, mut b) = sessions();
        let mut changed = sealed(&mut a, &[b"one"]).remove(0);
        changed[5] ^= 1;
        assert!(matches!(opens(&mut b, &changed), Err(OpenError::Forged)), "changed");

        let (mut a, mut b) = sessions();
        let cut = sealed(&mut a, &[b"one"]).remove(0);
        assert!(matches!(opens(&mut b, &cut[..cut.len() - 1]), Err(OpenError::Io(_))), "cut");
        let (_, mut b) = sessions();
        assert!(matches!(opens(&mut b, &[0xff, 0xff, 0]), Err(OpenError::Length(0xffff))), "huge");
        assert!(matches!(opens(&mut b, &[0, 3, 1, 2, 3]), Err(OpenError::Length(_))), "too short");
    }
}
