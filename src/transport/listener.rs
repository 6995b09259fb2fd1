//! Accepting connections.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;

use super::admission::{Admission, Caps};
use super::connection::{Connection, HANDSHAKE_STACK, Transport, spawn};
use super::noise::{self, HandshakeError, Purpose};
use super::route::Route;
use super::wire::Wire;
use crate::logging::LogLimit;
use crate::protocol::Refusal;

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

impl Transport {
    /// Accepts connections for ever. Each that is let in does its handshake in a thread of its own, which gives
    /// what comes of it to `done`; the others are told why not, and counted.
    pub fn accept(
        &self,
        listener: TcpListener,
        caps: Caps,
        purpose: Purpose,
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
                let wire: Arc<dyn Wire> = Arc::new(stream);
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
                let handshake = move || {
                    let route = Route::Direct { remote };
                    let outcome = transport.respond(wire, route, purpose, permits);
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
