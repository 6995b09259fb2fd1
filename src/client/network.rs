//! The client's connections: peers let in, and a short-lived thread for each dial.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crossbeam_channel::Sender;
use minicbor::Decode;

use super::event::{ConnectionId, Input, Problem};
use crate::protocol::{MAX_PEER_FRAME, PublicKey};
use crate::store::journal::ContactId;
use crate::transport::noise::{HandshakeError, Keypair, Purpose};
use crate::transport::{self, Caps, Connection, Framing, Opened, Route, Transport, Writer};

pub mod mapping;
mod scope;

const FRAMING: Framing = Framing { longest: MAX_PEER_FRAME, read_ahead: 64 * 1024, fill: MAX_PEER_FRAME };
/// The stack of a thread that dials, in bytes: looking up a name takes a lot of it.
const DIAL_STACK: usize = 512 * 1024;
/// How many connections are let in: in all, from one address, and before they have proved a key.
const CAPS: Caps = Caps { total: 4096, per_address: Some(64), per_loopback: None, handshakes: 256 };

pub struct Event {
    /// A connection that the loop writes to from now on.
    pub opened: Option<(ConnectionId, Writer)>,
    pub input: Input,
}

impl From<Input> for Event {
    fn from(input: Input) -> Self {
        Self { opened: None, input }
    }
}

#[derive(Clone)]
pub struct Network {
    transport: Transport,
    events: Sender<Event>,
    /// It listens on every IPv4 address, and on none of IPv6.
    ipv4_only: bool,
    /// Whether the users whom discovery knows may be on this machine: it is there itself, or, while it has not been
    /// reached, this client listens only there.
    on_loopback: Arc<AtomicBool>,
}

impl Network {
    /// A network that listens at `listen`, and whose connections prove `keypair` and report to `events`.
    pub fn new(keypair: Keypair, listen: SocketAddr, events: Sender<Event>) -> Self {
        let ipv4_only = listen.ip() == Ipv4Addr::UNSPECIFIED;
        let on_loopback = Arc::new(AtomicBool::new(is_loopback(listen)));
        Self { transport: Transport::new(keypair), events, ipv4_only, on_loopback }
    }

    pub fn accept(&self, listener: TcpListener) -> io::Result<()> {
        // Each connection, and each dial, needs a descriptor; most systems allow few unless asked.
        if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
            tracing::warn!(%error, "the limit of open files can't be raised");
        }
        let network = self.clone();
        let done = move |from, outcome| match outcome {
            Ok(connection) => network.open_link(connection, None),
            Err(error) => tracing::info!(%from, %error, "no link"),
        };
        self.transport.accept(listener, CAPS, Purpose::Peer, done).map(drop)
    }

    /// Dials a contact by one route after the other; by that on which one has `worked` before, whatever its address.
    /// Returns what came of it if there is no thread to be had.
    pub fn dial(
        &self,
        contact: ContactId,
        key: PublicKey,
        routes: Vec<Route>,
        worked: Option<SocketAddr>,
    ) -> Option<Input> {
        let network = self.clone();
        let dialling = move || {
            let mut problems = Vec::new();
            for route in routes {
                let told = route.remote().filter(|remote| Some(*remote) != worked);
                let on_loopback = network.on_loopback.load(Ordering::Relaxed);
                if let Some(Err(why)) = told.map(|told| scope::check(told.ip(), on_loopback)) {
                    problems.push((route, Problem::Other(why)));
                    continue;
                }
                match network.transport.dial(route, Purpose::Peer, Some(key)) {
                    Ok(connection) => return network.open_link(connection, Some(contact)),
                    Err(error) => problems.push((route, peer_problem(error, key))),
                }
            }
            network.report(Input::DialFailed { contact, problems });
        };
        let failed = |_| Input::DialFailed { contact, problems: Vec::new() };
        spawn(dialling).err().map(failed)
    }

    /// Dials discovery at `endpoint`, `HOST:PORT`. Returns what came of it if there is no thread to be had.
    pub fn dial_rendezvous(&self, endpoint: String, expected: Option<PublicKey>) -> Option<Input> {
        let network = self.clone();
        let dialling = move || {
            if let Err(problem) = network.reach_rendezvous(&endpoint, expected) {
                network.report(Input::RendezvousFailed(problem));
            }
        };
        let failed = |error: io::Error| Input::RendezvousFailed(Problem::Other(error.to_string()));
        spawn(dialling).err().map(failed)
    }

    fn reach_rendezvous(&self, endpoint: &str, expected: Option<PublicKey>) -> Result<(), Problem> {
        let addresses =
            endpoint.to_socket_addrs().map_err(|error| Problem::Other(format!("{endpoint}: {error}")))?;
        // A client that listens on every IPv4 address gives out the one that discovery sees, which must be one.
        let (reach, other): (Vec<_>, Vec<_>) =
            addresses.partition(|address| address.is_ipv4() || !self.ipv4_only);
        let mut problem = Problem::Other(if other.is_empty() {
            format!("{endpoint} has no address")
        } else {
            format!("{endpoint} is on IPv6 and this client listens on IPv4 only; start it with :: as IP")
        });
        for remote in reach {
            problem = match self.transport.dial(Route::Direct { remote }, Purpose::Rendezvous, expected) {
                Ok(connection) => {
                    self.on_loopback.store(is_loopback(remote), Ordering::Relaxed);
                    let up = |opened: &Opened| Input::RendezvousUp { session: opened.id, key: opened.key };
                    self.open(connection, up, Input::RendezvousSays, Input::RendezvousClosed);
                    return Ok(());
                }
                Err(HandshakeError::WrongKey { expected, found }) => {
                    Problem::WrongKey { expected, found: Some(found) }
                }
                Err(error) => Problem::Other(format!("{remote}: {error}")),
            };
        }
        Err(problem)
    }

    fn open_link(&self, connection: Connection, dialled: Option<ContactId>) {
        let up = move |opened: &Opened| {
            let &Opened { id: link, key, version, route, budget, .. } = opened;
            Input::LinkUp { link, key, version, dialled, route, budget }
        };
        self.open(connection, up, Input::LinkSays, Input::LinkClosed);
    }

    fn open<T: for<'b> Decode<'b, ()> + 'static>(
        &self,
        connection: Connection,
        up: impl Fn(&Opened) -> Input + Send + 'static,
        says: fn(ConnectionId, Vec<T>) -> Input,
        closed: fn(ConnectionId) -> Input,
    ) {
        let events = self.events.clone();
        connection.open(FRAMING, move |event| {
            let event = match event {
                transport::Event::Opened(opened) => {
                    Event { input: up(&opened), opened: Some((opened.id, opened.writer)) }
                }
                transport::Event::Messages(link, messages) => says(link, messages).into(),
                transport::Event::Alive(connection) => Input::Alive(connection).into(),
                transport::Event::Closed(link, end) => {
                    if let Err(error) = end {
                        tracing::info!(link, %error, "a connection was broken");
                    }
                    closed(link).into()
                }
            };
            events.send(event).is_ok()
        });
    }

    fn report(&self, input: Input) {
        // Fails only when the loop has ended, and the program with it.
        let _ = self.events.send(input.into());
    }
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

fn spawn(run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let spawned = thread::Builder::new().name("dial".into()).stack_size(DIAL_STACK).spawn(run);
    spawned.map(drop).inspect_err(|error| tracing::warn!(%error, "no thread to dial"))
}

/// A program that does not hold the key that was dialled can't open the first message, and closes.
fn peer_problem(error: HandshakeError, expected: PublicKey) -> Problem {
    match error {
        HandshakeError::NotProved(_) => Problem::WrongKey { expected, found: None },
        HandshakeError::Closed => Problem::Closed,
        other => Problem::Other(other.to_string()),
    }
}
