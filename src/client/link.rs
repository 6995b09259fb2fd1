//! Sockets and their threads: one short-lived one for each dial and handshake, then one that reads.
//!
//! Readers never write: the loop holds the other half of each connection, a [`Writer`].

use std::io;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use crossbeam_channel::Sender;
use minicbor::{Decode, Encode};

use super::event::{Input, LinkId, Problem};
use crate::net::{self, Caps, Place};
use crate::noise::{self, HandshakeError, Keypair, Opener, Purpose, Sealer};
use crate::protocol::rendezvous::ToClient;
use crate::protocol::{HANDSHAKE_DEADLINE, MAX_PEER_FRAME, PublicKey, codec};
use crate::store::journal::ContactId;

/// How many bytes a reader takes from its socket at a time.
const READ_AHEAD: usize = 64 * 1024;
/// The stack of a thread that dials, in bytes: looking up a name takes a lot of it.
const DIAL_STACK: usize = 512 * 1024;
/// How many connections are let in: in all, from one address, and before they have proved a key.
const CAPS: Caps = Caps { total: 4096, per_address: Some(64), per_loopback: None, handshakes: 256 };

/// Something for the loop.
pub struct Event {
    /// A connection that the loop writes to from now on.
    pub opened: Option<(LinkId, Writer)>,
    /// What happened.
    pub input: Input,
}

impl From<Input> for Event {
    fn from(input: Input) -> Self {
        Self { opened: None, input }
    }
}

/// The loop's half of a connection.
pub struct Writer {
    stream: Arc<TcpStream>,
    sealer: Sealer,
}

impl Writer {
    /// Sends messages in one frame, or closes the connection if it does not take them at once: then
    /// the other side does not read, or is not there.
    pub fn send<T: Encode<()>>(&mut self, messages: &[T], plain: &mut Vec<u8>, wire: &mut Vec<u8>) {
        plain.clear();
        wire.clear();
        messages.iter().for_each(|message| codec::encode(message, plain));
        let sent = match self.sealer.seal(plain, wire) {
            Ok(()) => net::send_now(&self.stream, wire),
            Err(error) => Err(io::Error::other(error)),
        };
        if let Err(error) = sent {
            tracing::info!(%error, "a connection did not take a frame and is closed");
            self.close();
        }
    }

    /// This machine's address of the connection.
    pub fn local_ip(&self) -> Option<IpAddr> {
        self.stream.local_addr().ok().map(|address| address.ip())
    }

    /// Closes the connection after what has been sent; its reader says so.
    pub fn close(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// What every socket thread needs.
#[derive(Clone)]
pub struct Network {
    keypair: Arc<Keypair>,
    ids: Arc<AtomicU64>,
    events: Sender<Event>,
    /// It listens on every IPv4 address, and on none of IPv6.
    ipv4_only: bool,
}

impl Network {
    /// A network that listens at `listen`, and whose connections prove `keypair` and report to `events`.
    #[must_use]
    pub fn new(keypair: Keypair, listen: SocketAddr, events: Sender<Event>) -> Self {
        let ipv4_only = listen.ip() == Ipv4Addr::UNSPECIFIED;
        Self { keypair: Arc::new(keypair), ids: Arc::default(), events, ipv4_only }
    }

    /// Lets peers in.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub fn accept(&self, listener: TcpListener) -> io::Result<()> {
        let network = self.clone();
        net::accept(listener, CAPS, move |stream, from, place, _handshake| {
            let deadline = Instant::now() + HANDSHAKE_DEADLINE;
            let opened = net::prepare(&stream).map_err(HandshakeError::from).and_then(|budget| {
                Ok((noise::respond(&stream, Purpose::Peer, &network.keypair, deadline)?, budget))
            });
            match opened {
                Ok((session, budget)) => {
                    let key = session.remote;
                    network.open(stream, session, Some(place), Input::LinkSays, Input::LinkClosed, |link| {
                        Input::LinkUp { link, key, dialled: None, remote: from, budget }
                    });
                }
                Err(error) => tracing::info!(%from, error = %error.classified(), "no link"),
            }
        })
        .map(drop)
    }

    /// Dials a contact at one address after the other. Returns what came of it if there is no thread to be had.
    pub fn dial(&self, contact: ContactId, key: PublicKey, addresses: Vec<SocketAddr>) -> Option<Input> {
        let network = self.clone();
        let dialling = move || {
            let mut problems = Vec::new();
            for address in addresses {
                match network.connect(address, Purpose::Peer, Some(key)) {
                    Ok((stream, session, budget)) => {
                        network.open(stream, session, None, Input::LinkSays, Input::LinkClosed, |link| {
                            Input::LinkUp { link, key, dialled: Some(contact), remote: address, budget }
                        });
                        return;
                    }
                    Err(error) => problems.push((address, peer_problem(error, key))),
                }
            }
            network.report(Input::DialFailed { contact, problems });
        };
        let failed = || Input::DialFailed { contact, problems: Vec::new() };
        spawn("dial", DIAL_STACK, dialling).err().map(|_| failed())
    }

    /// Dials discovery at `endpoint`, `HOST:PORT`. Returns what came of it if there is no thread to be had.
    pub fn dial_rendezvous(&self, endpoint: String, expected: Option<PublicKey>) -> Option<Input> {
        let network = self.clone();
        let dialling = move || {
            let mut problem = Problem::Other(format!("{endpoint} has no address"));
            let addresses = endpoint.to_socket_addrs().unwrap_or_else(|error| {
                problem = Problem::Other(format!("{endpoint}: {error}"));
                Vec::new().into_iter()
            });
            // Whoever listens on every IPv4 address gives out the one that discovery sees, which must be one.
            let (reach, other): (Vec<_>, Vec<_>) =
                addresses.partition(|address| address.is_ipv4() || !network.ipv4_only);
            if reach.is_empty() && !other.is_empty() {
                let why = format!(
                    "{endpoint} is on IPv6 and this client listens on IPv4 only; start it with :: as IP"
                );
                problem = Problem::Other(why);
            }
            for address in reach {
                match network.connect(address, Purpose::Rendezvous, expected) {
                    Ok((stream, session, _)) => {
                        let key = session.remote;
                        let says = |session, said: Vec<ToClient>| Input::RendezvousSays(session, said);
                        network.open(stream, session, None, says, Input::RendezvousClosed, |session| {
                            Input::RendezvousUp { session, key }
                        });
                        return;
                    }
                    Err(HandshakeError::WrongKey { expected, found }) => {
                        problem = Problem::WrongKey { expected, found: Some(found) };
                    }
                    Err(error) => problem = Problem::Other(format!("{address}: {error}")),
                }
            }
            network.report(Input::RendezvousFailed(problem));
        };
        let failed = |error: io::Error| Input::RendezvousFailed(Problem::Other(error.to_string()));
        spawn("dial", DIAL_STACK, dialling).err().map(failed)
    }

    fn connect(
        &self,
        address: SocketAddr,
        purpose: Purpose,
        key: Option<PublicKey>,
    ) -> Result<(Arc<TcpStream>, noise::Session, usize), HandshakeError> {
        let deadline = Instant::now() + HANDSHAKE_DEADLINE;
        let connect = || {
            let stream = TcpStream::connect_timeout(&address, HANDSHAKE_DEADLINE)?;
            let budget = net::prepare(&stream)?;
            let session = noise::initiate(&stream, purpose, &self.keypair, key, deadline)?;
            Ok((Arc::new(stream), session, budget))
        };
        connect().map_err(HandshakeError::classified)
    }

    /// Hands the writing half to the loop and starts the reader.
    fn open<T: for<'b> Decode<'b, ()> + 'static>(
        &self,
        stream: Arc<TcpStream>,
        session: noise::Session,
        place: Option<Place>,
        says: impl Fn(LinkId, Vec<T>) -> Input + Send + 'static,
        closed: fn(LinkId) -> Input,
        up: impl FnOnce(LinkId) -> Input,
    ) {
        let link = self.ids.fetch_add(1, Ordering::Relaxed);
        let reading = Arc::clone(&stream);
        let opened = Some((link, Writer { stream, sealer: session.sealer }));
        if self.events.send(Event { opened, input: up(link) }).is_err() {
            return;
        }
        let network = self.clone();
        let opener = session.opener;
        let reader = move || {
            let _place = place;
            if let Err(error) = network.read(&reading, opener, |messages| says(link, messages)) {
                tracing::info!(link, %error, "a connection was broken");
            }
            network.report(closed(link));
        };
        if spawn("reader", net::READER_STACK, reader).is_err() {
            self.report(closed(link));
        }
    }

    /// Reads until the connection ends.
    fn read<T: for<'b> Decode<'b, ()>>(
        &self,
        mut stream: &TcpStream,
        mut opener: Opener,
        says: impl Fn(Vec<T>) -> Input,
    ) -> anyhow::Result<()> {
        let result = loop {
            let messages = match opener.read(&mut stream, MAX_PEER_FRAME, READ_AHEAD) {
                Ok(Some(frame)) => codec::decode(frame),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error.into()),
            };
            match messages {
                Ok(messages) => {
                    if self.events.send(says(messages).into()).is_err() {
                        break Ok(());
                    }
                }
                Err(error) => break Err(error.into()),
            }
        };
        // The loop still holds the other half.
        let _ = stream.shutdown(Shutdown::Both);
        result
    }

    fn report(&self, input: Input) {
        // Fails only when the loop has ended, and the program with it.
        let _ = self.events.send(input.into());
    }
}

fn spawn(name: &str, stack: usize, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let spawned = thread::Builder::new().name(name.into()).stack_size(stack).spawn(run);
    spawned.map(drop).inspect_err(|error| tracing::warn!(%error, name, "no thread"))
}

/// Who does not hold the key that was dialled can't open the first message, and closes.
fn peer_problem(error: HandshakeError, expected: PublicKey) -> Problem {
    match error {
        HandshakeError::NotProved(_) => Problem::WrongKey { expected, found: None },
        HandshakeError::Closed => Problem::Closed,
        other => Problem::Other(other.to_string()),
    }
}
