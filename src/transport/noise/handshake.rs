//! The handshake, and the one byte in clear before it.

use std::io::{self, Read};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use snow::HandshakeState;

use super::frames::halves;
use super::{Keypair, Purpose, Session, TAG};
use crate::protocol::{HANDSHAKE_DEADLINE, PublicKey, Refusal, VERSION};
use crate::transport::wire::{DeadlineWire, Wire};

const LONGEST_HANDSHAKE: usize = 96;
/// How long a responder listens to a client that it has refused, so that the refusal arrives before
/// the connection is reset.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// How many bytes it then reads from it.
const MAX_UNREAD: u64 = 2048;

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    #[error("no answer within {} seconds", HANDSHAKE_DEADLINE.as_secs())]
    Deadline,
    #[error("the other side closed the connection during the handshake")]
    Closed,
    #[error("{}", version(*theirs))]
    Version { theirs: u8 },
    /// The other side said so in clear.
    #[error("{0}")]
    Refused(Refusal),
    #[error("its key is {found}, not {expected}")]
    WrongKey { expected: PublicKey, found: PublicKey },
    /// Or it means something else by this connection.
    #[error("the other side could not prove its key")]
    NotProved(#[source] snow::Error),
    #[error(transparent)]
    Io(io::Error),
}

/// Opens a session on a fresh connection until `deadline`, as the side that dialled.
///
/// For [`Purpose::Peer`] a `remote` key is needed. For [`Purpose::Rendezvous`] it is the key that was
/// pinned, if any: another one is refused before this side has shown its own.
pub fn initiate(
    wire: &dyn Wire,
    purpose: Purpose,
    own: &Keypair,
    remote: Option<PublicKey>,
    deadline: Instant,
) -> Result<Session, HandshakeError> {
    let mut noise = build(purpose, own, remote.filter(|_| purpose == Purpose::Peer), true)?;
    let mut wire = DeadlineWire { wire, deadline };
    let (_, _, [first, second, third]) = purpose.parameters();
    wire.send(&mut noise, &[VERSION], first)?;
    let theirs = wire.byte()?;
    if theirs != VERSION {
        let refusal = Refusal::from_byte(theirs).map(HandshakeError::Refused);
        return Err(refusal.unwrap_or(HandshakeError::Version { theirs }));
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

/// Opens a session on a connection just accepted, until `deadline`.
pub fn respond(
    wire: &dyn Wire,
    purpose: Purpose,
    own: &Keypair,
    deadline: Instant,
) -> Result<Session, HandshakeError> {
    let mut noise = build(purpose, own, None, false)?;
    let mut wire = DeadlineWire { wire, deadline };
    let (_, _, [first, second, third]) = purpose.parameters();
    let theirs = wire.byte()?;
    if theirs != VERSION {
        refuse(wire.wire, VERSION);
        return Err(HandshakeError::Version { theirs });
    }
    wire.receive(&mut noise, first)?;
    wire.send(&mut noise, &[VERSION], second)?;
    wire.receive(&mut noise, third)?;
    wire.finish(noise)
}

/// Says one byte in clear and lets it arrive. Takes at most a second.
pub(in crate::transport) fn refuse(wire: &dyn Wire, byte: u8) {
    let wire = DeadlineWire { wire, deadline: Instant::now() + REFUSAL_TIMEOUT };
    if wire.write_all(&[byte]).is_ok() {
        wire.wire.shutdown(Shutdown::Write);
        // Unread bytes would make the kernel reset the connection, and the byte could be lost.
        let _ = io::copy(&mut wire.take(MAX_UNREAD), &mut io::sink());
    }
}

fn build(
    purpose: Purpose,
    own: &Keypair,
    remote: Option<PublicKey>,
    initiator: bool,
) -> Result<HandshakeState, HandshakeError> {
    let (pattern, prologue, _) = purpose.parameters();
    let build = || {
        let builder =
            snow::Builder::new(pattern.parse()?).local_private_key(own.secret())?.prologue(prologue)?;
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

impl DeadlineWire<'_> {
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
        Ok(self.write_all(&message)?)
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
        // From here on silence is judged by the loop, which closes the connection.
        self.wire.set_timeout(None)?;
        let (opener, sealer) = halves(transport);
        Ok(Session { remote, opener, sealer })
    }
}

/// Versions are small numbers. A first byte that is a character comes from another kind of server.
fn version(theirs: u8) -> String {
    if theirs >= b' ' {
        return "the program that answers there does not speak peerchat".into();
    }
    format!("the other side speaks version {theirs} of the protocol, this program version {VERSION}")
}

/// Told apart as far as a user cares.
impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Self::Deadline,
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    use super::*;

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

    pub fn sessions() -> (Session, Session) {
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

        let (dialled, accepted) = sockets();
        accepted.write_all(&[7]).unwrap();
        let outcome = initiate(&dialled, Purpose::Rendezvous, &own, None, soon());
        assert!(matches!(outcome, Err(HandshakeError::Version { theirs: 7 })));
    }

    #[test]
    fn a_dripping_stranger_is_cut_at_the_deadline() {
        let (dialled, accepted) = sockets();
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
        assert!(matches!(responder.join().unwrap(), Err(HandshakeError::Deadline)));
    }
}
