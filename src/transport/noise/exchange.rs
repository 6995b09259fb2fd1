//! The handshake over a wire, within its deadline.

use std::io::{self, Read};
use std::net::Shutdown;
use std::time::Duration;

use super::offer::{Offer, byte};
use super::{HandshakeError, Initiator, Keypair, Purpose, Responder, Session};
use crate::protocol::{PublicKey, VERSION};
use crate::transport::wire::{Deadline, DeadlineWire, Wire};

/// The versions of the protocol that this program speaks, rising.
const VERSIONS: &[u8] = &[VERSION];
/// How long a responder listens to a client that it has refused, so that the refusal arrives before
/// the connection is reset.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// How many bytes it then reads from it.
const MAX_UNREAD: u64 = 2048;

/// Opens a session on a fresh connection until `deadline`, as the side that dialled.
///
/// For [`Purpose::Peer`] a `remote` key is needed. For [`Purpose::Rendezvous`] it is the key that was
/// pinned, if any: another one is refused before this side has shown its own.
pub fn initiate(
    wire: &dyn Wire,
    purpose: Purpose,
    own: &Keypair,
    remote: Option<PublicKey>,
    deadline: Deadline,
) -> Result<Session, HandshakeError> {
    offer(wire, purpose, own, remote, &Offer::highest(VERSIONS), deadline)
}

fn offer(
    wire: &dyn Wire,
    purpose: Purpose,
    own: &Keypair,
    remote: Option<PublicKey>,
    offer: &Offer,
    deadline: Deadline,
) -> Result<Session, HandshakeError> {
    let (initiator, first) = Initiator::start(purpose, own, remote, offer)?;
    let mut wire = DeadlineWire { wire, deadline };
    let [_, second, _] = purpose.lengths();
    wire.write_all(&first)?;
    offer.answered(byte(&mut wire)?)?;
    let (third, session) = initiator.finish(&message(&mut wire, second)?)?;
    wire.write_all(&third)?;
    // From here on silence is judged by the loop, which closes the connection.
    wire.wire.set_timeout(None)?;
    Ok(session)
}

/// Opens a session on a connection just accepted, until `deadline`.
pub fn respond(
    wire: &dyn Wire,
    purpose: Purpose,
    own: &Keypair,
    deadline: Deadline,
) -> Result<Session, HandshakeError> {
    answer(wire, purpose, own, VERSIONS, deadline)
}

fn answer(
    wire: &dyn Wire,
    purpose: Purpose,
    own: &Keypair,
    spoken: &[u8],
    deadline: Deadline,
) -> Result<Session, HandshakeError> {
    let mut wire = DeadlineWire { wire, deadline };
    let offer = Offer::read(&mut wire, spoken).inspect_err(|error| {
        if let (HandshakeError::Version { .. } | HandshakeError::Downgrade, Some(highest)) =
            (error, spoken.last())
        {
            refuse(wire.wire, *highest);
        }
    })?;
    let [first, _, third] = purpose.lengths();
    let (responder, second) = Responder::answer(purpose, own, &offer, &message(&mut wire, first)?)?;
    wire.write_all(&second)?;
    let session = responder.finish(&message(&mut wire, third)?)?;
    wire.wire.set_timeout(None)?;
    Ok(session)
}

/// Says one byte in clear and lets it arrive. Takes at most a second.
pub(in crate::transport) fn refuse(wire: &dyn Wire, byte: u8) {
    let wire = DeadlineWire { wire, deadline: Deadline::within(REFUSAL_TIMEOUT) };
    if wire.write_all(&[byte]).is_ok() {
        wire.wire.shutdown(Shutdown::Write);
        // Unread bytes would make the kernel reset the connection, and the byte could be lost.
        let _ = io::copy(&mut wire.take(MAX_UNREAD), &mut io::sink());
    }
}

fn message(wire: &mut DeadlineWire<'_>, length: usize) -> io::Result<Vec<u8>> {
    let mut message = vec![0; length];
    wire.read_exact(&mut message)?;
    Ok(message)
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::thread;
    use std::time::Instant;

    use super::*;

    pub fn soon() -> Deadline {
        Deadline::within(Duration::from_secs(5))
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
            let (a, b) = (a.unwrap(), b.unwrap());
            assert_eq!((a.remote, a.version), (bob.public(), VERSION));
            assert_eq!((b.remote, b.version), (alice.public(), VERSION));
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
        // 1 is what programs before the first release spoke: their byte was followed by 48 of the handshake.
        for theirs in [1, 9] {
            let (mut dialled, accepted) = sockets();
            let responder = {
                let own = own.clone();
                thread::spawn(move || respond(&accepted, Purpose::Peer, &own, soon()))
            };
            dialled.write_all(&[theirs; 49]).unwrap();
            let mut answer = Vec::new();
            dialled.read_to_end(&mut answer).unwrap();
            assert_eq!(answer, [VERSION]);
            drop(dialled);
            let outcome = responder.join().unwrap();
            assert!(matches!(outcome, Err(HandshakeError::Version { theirs: other }) if other == theirs));

            let (dialled, accepted) = sockets();
            accepted.write_all(&[theirs]).unwrap();
            let outcome = initiate(&dialled, Purpose::Rendezvous, &own, None, soon());
            assert!(matches!(outcome, Err(HandshakeError::Version { theirs: other }) if other == theirs));
        }
    }

    /// A network in the middle, which may replace what the dialler says first; what both sides come to.
    fn between(
        offered: &Offer,
        spoken: &'static [u8],
        replaced: impl FnOnce(Vec<u8>) -> Vec<u8>,
    ) -> (Outcome, Outcome) {
        let (alice, bob) = (Keypair::generate().unwrap(), Keypair::generate().unwrap());
        let (dialled, near) = sockets();
        let (far, accepted) = sockets();
        let key = Some(bob.public());
        thread::scope(|scope| {
            let responder = scope.spawn(move || {
                let outcome = answer(&accepted, Purpose::Peer, &bob, spoken, soon());
                drop(accepted);
                outcome
            });
            let initiator = scope.spawn(move || {
                let outcome = offer(&dialled, Purpose::Peer, &alice, key, offered, soon());
                drop(dialled);
                outcome
            });
            let [first, ..] = Purpose::Peer.lengths();
            let mut said = vec![0; offered.encoded().len() + first];
            (&near).read_exact(&mut said).unwrap();
            // A side that has refused may be gone.
            let _ = far.write_all(&replaced(said));
            let back = {
                let (mut from, mut to) = (far.try_clone().unwrap(), near.try_clone().unwrap());
                scope.spawn(move || {
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                })
            };
            let _ = io::copy(&mut &near, &mut &far);
            let _ = far.shutdown(Shutdown::Write);
            back.join().unwrap();
            (initiator.join().unwrap(), responder.join().unwrap())
        })
    }

    #[test]
    fn a_version_can_not_be_stripped_on_the_way() {
        let both = Offer::highest(&[2, 3]);
        let (a, b) = between(&both, &[2, 3], |said| said);
        assert_eq!((a.unwrap().version, b.unwrap().version), (3, 3));

        // The choice alone is changed: the list betrays it.
        let (a, b) = between(&both, &[2, 3], |mut said| {
            said[0] = 2;
            said
        });
        assert!(matches!(b, Err(HandshakeError::Downgrade)), "{:?}", b.err());
        assert!(a.is_err());
        // Choice and list are changed: message 1 was made for another prologue.
        let (a, b) = between(&both, &[2, 3], |said| [&[2, 1, 2], &said[4..]].concat());
        assert!(matches!(b, Err(HandshakeError::NotProved(_))), "{:?}", b.err());
        assert!(a.is_err());
        // The list alone is changed.
        for list in [&[3, 1, 3][..], &[3, 3, 1, 2, 3]] {
            let (a, b) = between(&both, &[2, 3], |said| [list, &said[4..]].concat());
            assert!(matches!(b, Err(HandshakeError::NotProved(_))), "{:?}", b.err());
            assert!(a.is_err());
        }

        // Who speaks 2 alone says so, in clear; a dialler that believes it has to dial again, with the whole list.
        let (a, b) = between(&both, &[2], |said| said);
        assert!(matches!(b, Err(HandshakeError::Version { theirs: 3 })));
        assert!(matches!(a, Err(HandshakeError::Version { theirs: 2 })));
        // It is a lie of the network if the other side speaks 3.
        let lower = Offer::read(&mut &[2, 2, 2, 3][..], &[2]).unwrap();
        let (a, b) = between(&lower, &[2], |said| said);
        assert_eq!((a.unwrap().version, b.unwrap().version), (2, 2));
        let (a, b) = between(&lower, &[2, 3], |said| said);
        assert!(matches!(b, Err(HandshakeError::Downgrade)));
        assert!(matches!(a, Err(HandshakeError::Downgrade)));
    }

    #[test]
    fn a_dripping_stranger_is_cut_at_the_deadline() {
        let (dialled, accepted) = sockets();
        let own = Keypair::generate().unwrap();
        let (start, silence, limit) =
            (Instant::now(), Duration::from_millis(400), Duration::from_millis(900));
        let deadline = Deadline::new(silence, limit);
        let responder = thread::spawn(move || respond(&accepted, Purpose::Peer, &own, deadline));
        dialled.write_all(&[VERSION, 1, VERSION]).unwrap();
        while !responder.is_finished() {
            // Ends when the other side is gone; each byte puts off the end of the silence, and none the limit.
            if dialled.write_all(&[0]).is_err() || start.elapsed() > limit + Duration::from_secs(5) {
                break;
            }
            thread::park_timeout(Duration::from_millis(20));
        }
        assert!(matches!(responder.join().unwrap(), Err(HandshakeError::Deadline)));
        assert!(start.elapsed() >= limit, "{:?}", start.elapsed());
    }

    #[test]
    fn a_thin_line_has_time_for_a_handshake() {
        /// So many bytes in so much time: each of the first two messages takes 0.6 s, which are silence for its sender.
        const LINE: (usize, Duration) = (40, Duration::from_millis(20));
        let (alice, bob) = (Keypair::generate().unwrap(), Keypair::generate().unwrap());
        let ((dialled, near), (far, accepted)) = (sockets(), sockets());
        let (key, silence) = (Some(bob.public()), Duration::from_secs(1));
        let deadline = Deadline::new(silence, Duration::from_secs(60));
        let start = Instant::now();
        let responder = thread::spawn(move || respond(&accepted, Purpose::Peer, &bob, deadline));
        for (mut from, mut to) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
            thread::spawn(move || {
                let (mut some, mut free) = ([0; LINE.0], Instant::now());
                while let Ok(read @ 1..) = io::Read::read(&mut from, &mut some) {
                    free = free.max(Instant::now() - 2 * LINE.1) + LINE.1;
                    thread::park_timeout(free.saturating_duration_since(Instant::now()));
                    io::Write::write_all(&mut to, &some[..read])?;
                }
                io::Result::Ok(())
            });
        }
        assert!(initiate(&dialled, Purpose::Peer, &alice, key, deadline).is_ok());
        assert!(responder.join().unwrap().is_ok());
        assert!(start.elapsed() > silence, "the line was too fast: {:?}", start.elapsed());
    }

    #[test]
    fn a_silent_stranger_is_cut_before_one_who_says_something() {
        let (dialled, accepted) = sockets();
        let own = Keypair::generate().unwrap();
        let deadline = Deadline::new(Duration::from_millis(100), Duration::from_secs(60));
        dialled.write_all(&[VERSION]).unwrap();
        assert!(matches!(respond(&accepted, Purpose::Peer, &own, deadline), Err(HandshakeError::Deadline)));
    }
}
