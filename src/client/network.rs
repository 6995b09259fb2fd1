//! The client's connections: peers let in, and a short-lived thread for each dial.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, unbounded};
use minicbor::Decode;

use super::event::{ConnectionId, Input, Problem, Punching};
use crate::protocol::rendezvous::{MAX_PUNCHED, TOKEN};
use crate::protocol::{HANDSHAKE_DEADLINE, MAX_PEER_FRAME, PublicKey};
use crate::store::journal::ContactId;
use crate::transport::noise::{HandshakeError, Keypair, Purpose};
use crate::transport::{
    self, Caps, Connection, Framing, Opened, Outcome, Race, Role, Route, Transport, Writer,
};
use mapping::{Mapper, Report};

pub mod mapping;
mod rendezvous;
mod round;
mod scope;

const FRAMING: Framing = Framing { longest: MAX_PEER_FRAME, read_ahead: 64 * 1024, fill: MAX_PEER_FRAME };
/// The stack of a thread that dials, in bytes: looking up a name takes a lot of it.
const DIAL_STACK: usize = 512 * 1024;
/// How long after one address of a contact the next one is dialled, if the first has not answered.
const STAGGER: Duration = Duration::from_millis(250);
/// How long a way is punched.
const PUNCH_FOR: Duration = Duration::from_secs(3);
/// The longest that discovery may have a client wait before.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// How often a race is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How many connections are let in: in all, from one address, and before they have proved a key.
const CAPS: Caps = Caps { total: 4096, per_address: Some(64), per_loopback: None, handshakes: 256 };

/// Who is to be met in a race.
struct Meeting {
    contact: ContactId,
    key: PublicKey,
    routes: Vec<Route>,
    /// The token of what is punched, and whether this side begins there.
    punch: Option<([u8; TOKEN], bool)>,
}

impl Meeting {
    /// Which route a connection with this address is.
    fn route(&self, remote: SocketAddr, punched: bool) -> Route {
        let named = self.routes.iter().find(|route| !punched && route.remote() == Some(remote));
        named.copied().unwrap_or(if punched { Route::Punched { remote } } else { Route::Direct { remote } })
    }
}

pub struct Event {
    /// A connection that the loop writes to from now on.
    pub opened: Option<(ConnectionId, Writer)>,
    pub input: Input,
    /// When it came. The loop may take it in much later, when the disk is slow.
    pub at: Instant,
}

impl From<Input> for Event {
    fn from(input: Input) -> Self {
        Self { opened: None, input, at: Instant::now() }
    }
}

#[derive(Clone)]
pub struct Network {
    transport: Transport,
    events: Sender<Event>,
    listen: SocketAddr,
    /// Whether the users whom discovery knows may be on this machine: it is there itself, or, while it has not been
    /// reached, this client listens only there.
    on_loopback: Arc<AtomicBool>,
}

impl Network {
    /// A network that listens at `listen`, and whose connections prove `keypair` and report to `events`.
    pub fn new(keypair: Keypair, listen: SocketAddr, events: Sender<Event>) -> Self {
        let on_loopback = Arc::new(AtomicBool::new(is_loopback(listen)));
        Self { transport: Transport::new(keypair), events, listen, on_loopback }
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

    /// Dials a contact by all routes, each a moment after the one before; by that on which one has `worked` before,
    /// whatever its address. Returns what came of it if there is no thread to be had.
    pub fn dial(
        &self,
        contact: ContactId,
        key: PublicKey,
        routes: Vec<Route>,
        worked: Option<SocketAddr>,
    ) -> Option<Input> {
        let network = self.clone();
        let dialling = move || {
            let (routes, mut problems) = network.allowed(routes, worked);
            if let Err(more) = network.reach(contact, key, &routes) {
                problems.extend(more);
                network.report(Input::DialFailed { contact, problems });
            }
        };
        let failed = |_| Input::DialFailed { contact, problems: Vec::new() };
        spawn(dialling).err().map(failed)
    }

    /// Dials all routes, and reports the link.
    fn reach(
        &self,
        contact: ContactId,
        key: PublicKey,
        routes: &[Route],
    ) -> Result<(), Vec<(Route, Problem)>> {
        // The usual case needs no other threads.
        if let [route] = routes {
            let connection = self.transport.dial(*route, Purpose::Peer, Some(key));
            self.open_link(
                connection.map_err(|error| vec![(*route, peer_problem(error, key))])?,
                Some(contact),
            );
            return Ok(());
        }
        let now = Instant::now();
        let mut race = Race::until(now + HANDSHAKE_DEADLINE);
        for (at, remote) in routes.iter().filter_map(Route::remote).enumerate() {
            race.dial(remote, now + STAGGER.saturating_mul(u32::try_from(at).unwrap_or(u32::MAX)));
        }
        self.run(race, Meeting { contact, key, routes: routes.to_vec(), punch: None })
    }

    /// Opens a way to a contact through the routers of both, see [`Race::punch`], and dials the routes anew meanwhile.
    /// Discovery was heard to say so at `heard`. Returns what came of it if there is no thread to be had.
    pub fn punch(
        &self,
        contact: ContactId,
        key: PublicKey,
        punch: Punching,
        heard: Instant,
    ) -> Option<Input> {
        let network = self.clone();
        let punching = move || {
            let Punching { session, token, begins, wait, remotes, routes } = punch;
            let (routes, mut problems) = network.allowed(routes, None);
            let remotes: Vec<SocketAddr> = remotes
                .into_iter()
                .filter(|remote| network.check(remote.ip()).is_ok())
                .take(MAX_PUNCHED)
                .collect();
            let begin = heard + wait.min(LONGEST_WAIT);
            let mut race = Race::until(begin + PUNCH_FOR);
            routes.iter().filter_map(Route::remote).for_each(|remote| race.dial(remote, begin));
            if let Err(error) = race.punch(session, &remotes, begin) {
                problems.push((Route::Punched { remote: session }, Problem::Other(error.to_string())));
            }
            let punch = Some((token, begins));
            if let Err(more) = network.run(race, Meeting { contact, key, routes, punch }) {
                problems.extend(more);
                network.report(Input::NotMet { contact, problems });
            }
        };
        let failed = |_| Input::NotMet { contact, problems: Vec::new() };
        spawn(punching).err().map(failed)
    }

    /// Has discovery, which is at `through`, join this side with a contact, whose key is needed where this side begins.
    /// `told` is whether only discovery says so. Returns what came of it if there is no thread to be had.
    pub fn relay(
        &self,
        contact: ContactId,
        key: Option<PublicKey>,
        (through, told): (SocketAddr, bool),
        ticket: [u8; TOKEN],
    ) -> Option<Input> {
        let network = self.clone();
        let joining = move || {
            let role = key.map_or(Role::Dialled, Role::Dialler);
            let allowed = if told { network.check(through.ip()) } else { Ok(()) };
            let joined = allowed.and_then(|()| {
                let joined = network.transport.join(through, &ticket, role);
                joined.map_err(|error| error.to_string())
            });
            match joined {
                Ok(connection) => network.open_link(connection, key.map(|_| contact)),
                Err(why) => {
                    let problems = vec![(Route::Relayed { through }, Problem::Other(why))];
                    network.report(Input::NotMet { contact, problems });
                }
            }
        };
        let failed = |_| Input::NotMet { contact, problems: Vec::new() };
        spawn(joining).err().map(failed)
    }

    /// Has a router pass on what comes for this client's listener, and reports where.
    pub fn map_port(&self) -> Option<Mapper> {
        let network = self.clone();
        let report = move |report| {
            let outer = match report {
                Report::Mapped { outer, .. } => Some(outer),
                Report::Unmapped(_) => None,
            };
            network.report(Input::Mapped(outer));
        };
        let failed = |error: &io::Error| tracing::warn!(%error, "the router can't be asked for a port");
        mapping::spawn(self.listen.port(), report).inspect_err(failed).ok()
    }

    /// The routes that may be dialled, and why the others may not.
    fn allowed(&self, routes: Vec<Route>, worked: Option<SocketAddr>) -> (Vec<Route>, Vec<(Route, Problem)>) {
        let (mut allowed, mut problems) = (Vec::new(), Vec::new());
        for route in routes {
            let told = route.remote().filter(|remote| Some(*remote) != worked);
            match told.map_or(Ok(()), |told| self.check(told.ip())) {
                Ok(()) => allowed.push(route),
                Err(why) => problems.push((route, Problem::Other(why))),
            }
        }
        (allowed, problems)
    }

    fn check(&self, ip: IpAddr) -> Result<(), String> {
        scope::check(ip, self.on_loopback.load(Ordering::Relaxed))
    }

    /// Runs a race until a key is proved over one of its connections, and reports the link.
    fn run(&self, mut race: Race, meeting: Meeting) -> Result<(), Vec<(Route, Problem)>> {
        let meeting = Arc::new(meeting);
        let won = Arc::new(AtomicBool::new(false));
        let (sender, results) = unbounded();
        let (mut problems, mut proving) = (Vec::new(), 0);
        while !(race.is_over() && proving == 0) {
            match race.next(LOOK) {
                Ok(Some(Outcome::Connected { remote, punched, stream })) => {
                    proving += 1;
                    let (network, meeting, won, sender) =
                        (self.clone(), Arc::clone(&meeting), Arc::clone(&won), sender.clone());
                    let prove = move || {
                        let _ = sender.send(network.prove(
                            &meeting,
                            &won,
                            meeting.route(remote, punched),
                            stream,
                        ));
                    };
                    proving -= usize::from(spawn(prove).is_err());
                }
                Ok(Some(Outcome::Failed { remote, punched, error })) => {
                    problems.push((meeting.route(remote, punched), Problem::Other(error.to_string())));
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "connections can't be waited for"),
            }
            if race.is_over() && proving > 0 {
                problems.extend(results.recv().ok().and_then(Result::err));
                proving -= 1;
            }
            while let Ok(result) = results.try_recv() {
                proving -= 1;
                problems.extend(result.err());
            }
            if won.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
        Err(problems)
    }

    /// Proves keys over a connection, and reports the link if it is the first.
    fn prove(
        &self,
        meeting: &Meeting,
        won: &AtomicBool,
        route: Route,
        stream: TcpStream,
    ) -> Result<(), (Route, Problem)> {
        let Meeting { contact, key, punch, .. } = meeting;
        let (wire, dialler) = (Arc::new(stream), Role::Dialler(*key));
        let (proved, dialled) = match punch.as_ref().filter(|_| matches!(route, Route::Punched { .. })) {
            Some((token, begins)) => {
                let role = if *begins { dialler } else { Role::Dialled };
                (self.transport.prove_punched(wire, route, token, role), begins.then_some(*contact))
            }
            None => (self.transport.prove(wire, route, dialler), Some(*contact)),
        };
        let connection = proved.map_err(|error| (route, peer_problem(error, *key)))?;
        // Of several, the others are closed.
        if !won.swap(true, Ordering::Relaxed) {
            self.open_link(connection, dialled);
        }
        Ok(())
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
                    let input = up(&opened);
                    Event { opened: Some((opened.id, opened.writer)), ..input.into() }
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
