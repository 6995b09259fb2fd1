//! Accepting connections.

use std::io;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;

use super::admission::Permit;
use super::admission::{Admission, Caps};
use super::connection::{Connection, HANDSHAKE_STACK, Transport, spawn};
use super::noise::{self, HandshakeError, Purpose};
use super::route::Route;
use super::wire::{Deadline, DeadlineWire, Wire};
use crate::logging::LogLimit;
use crate::protocol::relay::RELAY_BYTE;
use crate::protocol::rendezvous::TOKEN;
use crate::protocol::{HANDSHAKE_DEADLINE, Refusal};

/// How long to wait when the system has no descriptors or memory for another connection.
const EXHAUSTED: Duration = Duration::from_millis(50);
/// How many refused connections may wait to be told why.
const REFUSALS: usize = 64;
/// How long after a logged refusal others are only counted. A flood is not to fill the log, nor to wait for it.
const REFUSED_AGAIN: Duration = Duration::from_secs(10);

/// How many connections came to nothing since the start, and why.
#[derive(Debug, Default)]
pub struct Rejected {
    pub full: AtomicU64,
    pub address_full: AtomicU64,
    pub failed_handshakes: AtomicU64,
}

/// A connection whose client wants it joined with another one, see [`relay`](crate::protocol::relay).
pub struct ToRelay {
    pub wire: Arc<TcpStream>,
    pub remote: SocketAddr,
    /// What the client has shown.
    pub ticket: [u8; TOKEN],
    /// For the connection, and for as long as it is not joined.
    pub permits: [Permit; 2],
}

/// Takes what is to be relayed, and does not keep its caller.
pub type Relaying = Arc<dyn Fn(ToRelay) + Send + Sync>;

/// Tells the other side in clear why not, and lets that arrive. Takes at most a second.
pub fn refuse(wire: &dyn Wire, refusal: Refusal) {
    noise::refuse(wire, refusal as u8);
}

impl Transport {
    /// Accepts connections for ever, none of them to relay. See [`Self::accept_all`].
    pub fn accept(
        &self,
        listener: TcpListener,
        caps: Caps,
        purpose: Purpose,
        done: impl Fn(Route, Result<Connection, HandshakeError>) + Clone + Send + 'static,
    ) -> io::Result<Arc<Rejected>> {
        self.accept_all(listener, caps, purpose, None, done)
    }

    /// Accepts connections for ever. Those that begin as such go to `relaying`, if that is there. Each other one that is let in does its handshake in a thread of its own, which gives
    /// what comes of it to `done`; the others are told why not, and counted.
    pub fn accept_all(
        &self,
        listener: TcpListener,
        caps: Caps,
        purpose: Purpose,
        relaying: Option<Relaying>,
        done: impl Fn(Route, Result<Connection, HandshakeError>) + Clone + Send + 'static,
    ) -> io::Result<Arc<Rejected>> {
        let (refuse, refused) = bounded::<(Arc<dyn Wire>, Refusal)>(REFUSALS);
        thread::Builder::new().name("refusals".into()).spawn(move || {
            for (wire, refusal) in refused {
                noise::refuse(&*wire, refusal as u8);
            }
        })?;
        let mut admission = Admission::new(caps);
        let mut log_limit = LogLimit::new(REFUSED_AGAIN);
        let rejected = Arc::new(Rejected::default());
        let counts = Arc::clone(&rejected);
        let transport = self.clone();
        let accepting = move || {
            loop {
                let (stream, remote) = match listener.accept() {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::warn!(%error, "could not accept a connection");
                        thread::sleep(EXHAUSTED);
                        continue;
                    }
                };
                let stream = Arc::new(stream);
                let wire: Arc<dyn Wire> = Arc::<TcpStream>::clone(&stream);
                let permits = match admission.admit(remote.ip(), &wire) {
                    Ok(permits) => permits,
                    Err(refusal) => {
                        let full = refusal == Refusal::Full;
                        let counter = if full { &counts.full } else { &counts.address_full };
                        counter.fetch_add(1, Ordering::Relaxed);
                        if let Some(suppressed) = log_limit.admit(Instant::now()) {
                            tracing::warn!(from = %remote, ?refusal, suppressed, "connection refused");
                        }
                        // A flood need not be told.
                        let _ = refuse.try_send((wire, refusal));
                        continue;
                    }
                };
                let (transport, counts, done) = (transport.clone(), Arc::clone(&counts), done.clone());
                let relaying = relaying.clone();
                let handshake = move || {
                    let route = Route::Direct { remote };
                    let ticket = relaying.as_ref().map_or(Ok(None), |_| ticket(&stream));
                    let outcome = match (ticket, relaying) {
                        (Ok(Some(ticket)), Some(relaying)) => {
                            return relaying(ToRelay { wire: stream, remote, ticket, permits });
                        }
                        (Err(error), _) => Err(error.into()),
                        _ => transport.respond(wire, route, purpose, permits),
                    };
                    if outcome.is_err() {
                        counts.failed_handshakes.fetch_add(1, Ordering::Relaxed);
                    }
                    done(route, outcome);
                };
                if let Err(error) = spawn("handshake", HANDSHAKE_STACK, handshake) {
                    tracing::warn!(%error, "no thread for another connection");
                }
            }
        };
        thread::Builder::new().name("accept".into()).spawn(accepting)?;
        Ok(rejected)
    }
}

/// The ticket that a connection begins with; `None` if it begins in another way, of which nothing is taken.
fn ticket(stream: &TcpStream) -> io::Result<Option<[u8; TOKEN]>> {
    let deadline = Deadline::of_handshake();
    stream.set_read_timeout(Some(HANDSHAKE_DEADLINE))?;
    let mut first = [0];
    if stream.peek(&mut first)? == 0 || first != [RELAY_BYTE] {
        return Ok(None);
    }
    let mut opening = [0; 1 + TOKEN];
    DeadlineWire { wire: stream, deadline }.read_exact(&mut opening)?;
    Ok(opening.last_chunk().copied())
}
