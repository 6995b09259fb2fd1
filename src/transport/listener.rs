//! Accepting connections.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{TrySendError, bounded};

use super::admission::{Admission, Caps};
use super::connection::{Connection, HANDSHAKE_STACK, Transport, spawn};
use super::noise::{self, HandshakeError, Purpose};
use super::route::Route;
use super::wire::Wire;
use crate::protocol::Refusal;

/// How long to wait when the system has no descriptors or memory for another connection.
const EXHAUSTED: Duration = Duration::from_millis(50);
/// How many refused connections may wait to be told why.
const REFUSALS: usize = 64;
/// How long after a logged refusal others are only counted. A flood is not to fill the log, nor to wait for it.
const REFUSED_AGAIN: Duration = Duration::from_secs(10);

/// Limits how often refusals are logged.
#[derive(Default)]
struct LogLimit {
    logged: Option<Instant>,
    suppressed: u64,
}

impl LogLimit {
    /// Whether to log this one: how many were suppressed since the last that was.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.logged.is_some_and(|logged| now.saturating_duration_since(logged) < REFUSED_AGAIN) {
            self.suppressed += 1;
            return None;
        }
        self.logged = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

/// How many connections came to nothing since the start.
#[derive(Debug, Default)]
pub struct Rejected {
    full: AtomicU64,
    address_full: AtomicU64,
    handshakes: AtomicU64,
}

impl Rejected {
    fn count(&self, refusal: Refusal) {
        match refusal {
            Refusal::Full => _ = self.full.fetch_add(1, Ordering::Relaxed),
            Refusal::AddressFull => _ = self.address_full.fetch_add(1, Ordering::Relaxed),
            Refusal::Unknown => {}
        }
    }

    /// For want of room.
    pub fn full(&self) -> u64 {
        self.full.load(Ordering::Relaxed)
    }

    /// Because their address had too many.
    pub fn address_full(&self) -> u64 {
        self.address_full.load(Ordering::Relaxed)
    }

    /// Because their handshake failed.
    pub fn handshakes(&self) -> u64 {
        self.handshakes.load(Ordering::Relaxed)
    }
}

impl Transport {
    /// Accepts connections for ever. Each that is let in does its handshake in a thread of its own, which gives
    /// what comes of it to `done`; the others are told why not, and counted.
    ///
    /// # Errors
    /// If a thread that is needed from the start can't be had.
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
        let mut log_limit = LogLimit::default();
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
                        counts.count(refusal);
                        if let Some(suppressed) = log_limit.admit(Instant::now()) {
                            tracing::warn!(from = %remote, ?refusal, suppressed, "connection refused");
                        }
                        match refuse.try_send((wire, refusal)) {
                            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => continue,
                        }
                    }
                };
                let (transport, counts, done) = (transport.clone(), Arc::clone(&counts), done.clone());
                let handshake = move || {
                    let route = Route::Direct { remote };
                    let outcome = transport.respond(wire, route, purpose, permits);
                    if outcome.is_err() {
                        counts.handshakes.fetch_add(1, Ordering::Relaxed);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_is_counted_and_logged_now_and_then() {
        let (start, mut limit) = (Instant::now(), LogLimit::default());
        assert_eq!(limit.admit(start), Some(0));
        (0..1000).for_each(|_| assert_eq!(limit.admit(start), None));
        assert_eq!(limit.admit(start + REFUSED_AGAIN), Some(1000));
        assert_eq!(limit.admit(start + REFUSED_AGAIN), None);
    }
}
