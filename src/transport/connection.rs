//! From a handshake to a connection: one thread that reads, and a [`Writer`] for the loop.
//!
//! A thread that reads never writes to its socket: the kernel keeps 32 KiB for each thread that has sent,
//! and there may be ten thousand.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use minicbor::Decode;

use super::admission::Permit;
use super::meet;
use super::noise::{self, HandshakeError, Keypair, OpenError, Opener, Purpose, Session};
use super::route::Route;
use super::wire::{Deadline, Wire};
use super::writer::Writer;
use crate::protocol::codec::{self, CodecError};
use crate::protocol::rendezvous::TOKEN;
use crate::protocol::{HANDSHAKE_DEADLINE, PublicKey};

/// The stack of a thread that does a handshake, in bytes; it needs 80 KiB of it, half of that for ML-KEM. That takes four
/// times as much where it is not optimised, so `Cargo.toml` has it optimised in debug builds too.
///
/// Smaller than [`READER_STACK`], or the C library gives the used stacks of handshakes to the readers that
/// follow, and all that a handshake has touched stays resident for them: that was 8 KiB a session.
pub(super) const HANDSHAKE_STACK: usize = 160 * 1024;
/// The stack of a thread that reads one socket, in bytes; it needs 12 KiB of it. There may be ten thousand.
const READER_STACK: usize = 192 * 1024;
const _: () = assert!(HANDSHAKE_STACK < READER_STACK, "see there");

/// How often it is reported that a frame is on its way. A small part of [`crate::protocol::DEAD_AFTER`].
const ALIVE_EVERY: Duration = Duration::from_secs(1);

/// Names a connection. Never used again within a process.
pub type ConnectionId = u64;

/// What every connection of a program has in common. Cloned into each thread that makes one.
#[derive(Clone)]
pub struct Transport {
    keypair: Arc<Keypair>,
    ids: Arc<AtomicU64>,
}

impl Transport {
    pub fn new(keypair: Keypair) -> Self {
        Self { keypair: Arc::new(keypair), ids: Arc::default() }
    }

    /// Connects within a [`Deadline::of_handshake`]. For the key see [`noise::initiate`]; one that can't be an
    /// account's is not dialled.
    pub fn dial(
        &self,
        route: Route,
        purpose: Purpose,
        key: Option<PublicKey>,
    ) -> Result<Connection, HandshakeError> {
        if key.is_some_and(|key| !key.is_valid()) {
            return Err(HandshakeError::InvalidKey);
        }
        let deadline = Deadline::of_handshake();
        let wire = route.connect(HANDSHAKE_DEADLINE)?;
        let session = noise::initiate(&*wire, purpose, &self.keypair, key, deadline)?;
        self.proven(wire, route, session, None)
    }

    /// Connects to discovery within a [`Deadline::of_handshake`]. Its `key` must be this one, if one is known. Returns
    /// how long one round trip takes, too.
    pub fn dial_discovery(
        &self,
        remote: SocketAddr,
        key: Option<PublicKey>,
    ) -> Result<(Connection, Duration), HandshakeError> {
        let (stream, took) = meet::session(remote)?;
        let wire: Arc<dyn Wire> = Arc::new(stream);
        let deadline = Deadline::of_handshake();
        // The handshake waits for one round trip too. The first packet of all may have taken longer: the next router had
        // to be found, or the packet was lost and came again after a second.
        let begun = Instant::now();
        let session = noise::initiate(&*wire, Purpose::Rendezvous, &self.keypair, key, deadline)?;
        let round_trip = took.min(begun.elapsed());
        Ok((self.proven(wire, Route::Direct { remote }, session, None)?, round_trip))
    }

    /// Proves keys with another client over a wire that stands already.
    pub fn prove(&self, wire: Arc<dyn Wire>, route: Route, role: Role) -> Result<Connection, HandshakeError> {
        let deadline = Deadline::of_handshake();
        let session = match role {
            Role::Dialler(key) if !key.is_valid() => return Err(HandshakeError::InvalidKey),
            Role::Dialler(key) => noise::initiate(&*wire, Purpose::Peer, &self.keypair, Some(key), deadline)?,
            Role::Dialled => noise::respond(&*wire, Purpose::Peer, &self.keypair, deadline)?,
        };
        self.proven(wire, route, session, None)
    }

    /// The same over a connection that was punched, with the token that both sides have from discovery.
    pub fn prove_punched(
        &self,
        wire: Arc<dyn Wire>,
        route: Route,
        token: &[u8; TOKEN],
        role: Role,
    ) -> Result<Connection, HandshakeError> {
        meet::know(&*wire, token, Deadline::of_handshake())?;
        self.prove(wire, route, role)
    }

    /// Has discovery join this side with the one that has the other ticket, and proves keys with it.
    pub fn join(
        &self,
        through: SocketAddr,
        ticket: &[u8; TOKEN],
        role: Role,
    ) -> Result<Connection, HandshakeError> {
        let stream = meet::join(through, ticket)?;
        self.prove(Arc::new(stream), Route::Relayed { through }, role)
    }

    pub(super) fn respond(
        &self,
        wire: Arc<dyn Wire>,
        route: Route,
        purpose: Purpose,
        permits: [Permit; 2],
    ) -> Result<Connection, HandshakeError> {
        let session = noise::respond(&*wire, purpose, &self.keypair, Deadline::of_handshake());
        self.proven(wire, route, session?, Some(permits))
    }

    fn proven(
        &self,
        wire: Arc<dyn Wire>,
        route: Route,
        session: Session,
        permits: Option<[Permit; 2]>,
    ) -> Result<Connection, HandshakeError> {
        let budget = wire.prepare()?;
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        Ok(Connection { id, route, budget, wire, session, permits })
    }
}

/// Which part a side has in a handshake with another client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It begins, and the other side must have this key.
    Dialler(PublicKey),
    Dialled,
}

/// How a program frames what it reads and sends, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Framing {
    /// The longest plaintext of a frame that is accepted.
    pub longest: usize,
    /// How much a reader takes from its wire at a time.
    pub read_ahead: usize,
    /// How much plaintext goes into one frame that is sent, unless a single message is longer.
    pub fill: usize,
}

/// What happens to a connection: it is opened first and closed last, each once.
pub enum Event<M> {
    /// The loop writes to it from now on. Boxed, for events pass through the stacks of ten thousand readers.
    Opened(Box<Opened>),
    /// The messages of one frame, in order.
    Messages(ConnectionId, Vec<M>),
    /// Something of a frame has arrived, which is not yet whole. At most once in `ALIVE_EVERY`, and on a line on which
    /// frames arrive whole never.
    Alive(ConnectionId),
    /// Nothing more will come, for this reason if it was broken.
    Closed(ConnectionId, Result<(), ReadError>),
}

/// A connection whose other side has proved a key.
pub struct Opened {
    pub id: ConnectionId,
    pub key: PublicKey,
    /// See [`Session::version`].
    pub version: u8,
    pub route: Route,
    /// How many bytes the wire takes without waiting.
    pub budget: usize,
    pub writer: Writer,
    /// Of a connection that was let in: dropped once it is established.
    pub handshake: Option<Permit>,
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Frame(#[from] OpenError),
    #[error(transparent)]
    Message(#[from] CodecError),
}

/// A proven connection that nothing reads yet.
pub struct Connection {
    id: ConnectionId,
    route: Route,
    budget: usize,
    wire: Arc<dyn Wire>,
    session: Session,
    permits: Option<[Permit; 2]>,
}

impl Connection {
    /// This side's socket, if it has one.
    pub fn local(&self) -> Option<SocketAddr> {
        self.wire.local()
    }

    /// Hands the connection over: `deliver` gets all its events, the first one here and the others in a thread that
    /// reads. It may wait, so that the other side is read more slowly; it returns `false` once the program has
    /// ended.
    pub fn open<M: for<'b> Decode<'b, ()> + 'static>(
        self,
        framing: Framing,
        mut deliver: impl FnMut(Event<M>) -> bool + Send + 'static,
    ) {
        let Self { id, route, budget, wire, session, permits } = self;
        let (permit, handshake) = permits.map(|[connection, handshake]| (connection, handshake)).unzip();
        let Session { remote: key, version, opener, sealer } = session;
        let writer = Writer { wire: Arc::clone(&wire), sealer, fill: framing.fill };
        if !deliver(Event::Opened(Box::new(Opened { id, key, version, route, budget, writer, handshake }))) {
            return;
        }
        // Boxed, or it would stand on its thread's stack several times, which was 4 KiB a session.
        let deliver = Box::new(deliver);
        let mut reader =
            Box::new(Reader { id, wire, opener, framing, end: Ok(()), deliver, _permit: permit });
        // Without a thread the reader is dropped, and so reports the end.
        if let Err(error) = spawn("reader", READER_STACK, move || reader.end = reader.read()) {
            tracing::warn!(%route, %error, "no thread to read a connection");
        }
    }
}

/// Takes events; `false` once the program has ended.
type Deliver<M> = Box<dyn FnMut(Event<M>) -> bool + Send>;

/// Reads one connection, and reports its end when dropped: exactly once, whatever ends it.
struct Reader<M> {
    id: ConnectionId,
    wire: Arc<dyn Wire>,
    opener: Opener,
    framing: Framing,
    end: Result<(), ReadError>,
    deliver: Deliver<M>,
    _permit: Option<Permit>,
}

impl<M: for<'b> Decode<'b, ()>> Reader<M> {
    fn read(&mut self) -> Result<(), ReadError> {
        let Framing { longest, read_ahead, .. } = self.framing;
        loop {
            let (id, wire, deliver) = (self.id, &*self.wire, &mut self.deliver);
            let mut wire = Arriving { id, wire, deliver, reported: Instant::now(), begun: false };
            let Some(frame) = self.opener.read(&mut wire, longest, read_ahead)? else {
                return Ok(());
            };
            let messages = codec::decode(frame)?;
            if !(self.deliver)(Event::Messages(self.id, messages)) {
                return Ok(());
            }
        }
    }
}

/// A wire from which a frame is read, which may take long: what arrives of it is a sign of life.
struct Arriving<'r, M> {
    id: ConnectionId,
    wire: &'r dyn Wire,
    deliver: &'r mut Deliver<M>,
    /// When such a sign, or a frame, was last reported.
    reported: Instant,
    /// Whether something has arrived that was not enough.
    begun: bool,
}

impl<M> io::Read for Arriving<'_, M> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.begun && self.reported.elapsed() >= ALIVE_EVERY {
            self.reported = Instant::now();
            if !(self.deliver)(Event::Alive(self.id)) {
                return Ok(0);
            }
        }
        let read = self.wire.read(buffer)?;
        self.begun |= read > 0;
        Ok(read)
    }
}

impl<M> Drop for Reader<M> {
    fn drop(&mut self) {
        let end = std::mem::replace(&mut self.end, Ok(()));
        (self.deliver)(Event::Closed(self.id, end));
    }
}

pub(super) fn spawn(name: &str, stack: usize, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.into()).stack_size(stack).spawn(run).map(drop)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use crossbeam_channel::{Receiver, unbounded};

    use super::*;
    use crate::protocol::peer::Peer;
    use crate::transport::{Buffers, Caps};

    const FRAMING: Framing = Framing { longest: 100, read_ahead: 512, fill: 100 };

    #[test]
    fn a_connection_is_opened_first_and_closed_once_and_a_failure_is_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let remote = listener.local_addr().unwrap();
        let keypair = Keypair::generate().unwrap();
        let (key, bob) = (keypair.public(), Transport::new(keypair));
        let caps = Caps { total: 10, per_address: None, per_loopback: None, handshakes: 10 };
        let (send, events) = unbounded::<Event<Peer>>();
        let (failed, failures) = unbounded();
        let rejected = bob
            .accept(listener, caps, Purpose::Peer, move |_, outcome| match outcome {
                Ok(connection) => {
                    let send = send.clone();
                    connection.open(FRAMING, move |event| send.send(event).is_ok());
                }
                Err(error) => failed.send(error).unwrap(),
            })
            .unwrap();

        let alice = Transport::new(Keypair::generate().unwrap());
        let dialled = alice.dial(Route::Direct { remote }, Purpose::Peer, Some(key)).unwrap();
        let (send, own) = unbounded::<Event<Peer>>();
        dialled.open(FRAMING, move |event| send.send(event).is_ok());
        let next = |events: &Receiver<_>| events.recv_timeout(Duration::from_secs(5)).unwrap();
        let (Event::Opened(mut near), Event::Opened(far)) = (next(&own), next(&events)) else {
            panic!("not opened first");
        };
        near.writer.send(&[Peer::Ping, Peer::Ping], &mut Buffers::default()).unwrap();
        assert!(matches!(next(&events), Event::Messages(id, said) if id == far.id && said.len() == 2));
        drop(near.writer);
        assert!(matches!(next(&own), Event::Closed(id, Ok(())) if id == near.id));
        assert!(matches!(next(&events), Event::Closed(id, Ok(())) if id == far.id));
        assert!(own.recv_timeout(Duration::from_secs(5)).is_err(), "the reader has ended, and said so once");

        drop(TcpStream::connect(remote).unwrap());
        failures.recv_timeout(Duration::from_secs(5)).unwrap();
        assert_eq!(rejected.failed_handshakes.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn what_arrives_of_a_frame_is_reported_now_and_then() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let near = listener.accept().unwrap().0;
        let (send, events) = unbounded::<Event<Peer>>();
        let mut deliver: Deliver<Peer> = Box::new(move |event| send.send(event).is_ok());
        let long_ago = Instant::now().checked_sub(ALIVE_EVERY).unwrap();
        let (wire, deliver) = (&near, &mut deliver);
        let mut wire = Arriving { id: 7, wire, deliver, reported: long_ago, begun: false };
        // The first bytes may be the whole frame.
        for reported in [0, 1, 0, 0] {
            io::Write::write_all(&mut far, b"x").unwrap();
            assert_eq!(io::Read::read(&mut wire, &mut [0; 8]).unwrap(), 1);
            let signs: Vec<_> = events.try_iter().collect();
            assert_eq!(signs.len(), reported);
            assert!(signs.iter().all(|sign| matches!(sign, Event::Alive(7))));
        }
    }

    /// How long a client takes to get to a discovery that answers after that time, and how much of it for the round trip.
    /// Its first packet may get lost, and come again after a second.
    #[cfg(target_os = "linux")]
    fn round_trip(lost: bool, answers_after: Duration) -> (Duration, Duration) {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket.listen(0).unwrap();
        let listener = TcpListener::from(socket);
        let remote = listener.local_addr().unwrap();
        // While one connection waits to be accepted, the first packets of others are dropped.
        let waiting = lost.then(|| TcpStream::connect(remote).unwrap());
        thread::scope(|scope| {
            let dialling = scope.spawn(move || {
                let begun = Instant::now();
                let alice = Transport::new(Keypair::generate().unwrap());
                let (_, round_trip) = alice.dial_discovery(remote, None).unwrap();
                (begun.elapsed(), round_trip)
            });
            if waiting.is_some() {
                // The kernel's table has the remote address and then the state: 2, once the first packet was sent.
                let sent = format!(":{:04X} 02 ", remote.port());
                let deadline = Instant::now() + Duration::from_secs(20);
                while !std::fs::read_to_string("/proc/self/net/tcp").unwrap().contains(&sent) {
                    assert!(Instant::now() < deadline, "nothing was sent");
                    thread::yield_now();
                }
                listener.accept().unwrap();
            }
            let (keypair, stream) = (Keypair::generate().unwrap(), listener.accept().unwrap().0);
            crossbeam_channel::after(answers_after).recv().unwrap();
            noise::respond(&stream, Purpose::Rendezvous, &keypair, Deadline::of_handshake()).unwrap();
            dialling.join().unwrap()
        })
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn neither_a_lost_packet_nor_a_slow_answer_counts_as_distance() {
        let half = Duration::from_millis(500);
        let (took, round_trip_took) = round_trip(false, 2 * half);
        assert!(took > round_trip_took + half, "{round_trip_took:?} of {took:?}");
        // The packet is not always lost: it may be seen in the table a moment before it is sent.
        let (took, round_trip_took) = std::iter::repeat_with(|| round_trip(true, Duration::ZERO))
            .find(|(took, _)| *took > half)
            .unwrap();
        assert!(took > round_trip_took + half, "{round_trip_took:?} of {took:?}");
    }
}
