//! From the sockets to the loop: a thread for each handshake, then one that reads.
//!
//! A thread that reads never writes to its socket: the kernel keeps 32 KiB for each thread that has sent,
//! and there may be ten thousand.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::sessions::SessionId;
use crate::net::{self, Place, READER_STACK};
use crate::noise::{self, Keypair, OpenError, Opener, Purpose, Sealer};
use crate::protocol::codec::{self, CodecError};
use crate::protocol::rendezvous::ToDiscovery;
use crate::protocol::{HANDSHAKE_DEADLINE, MAX_RENDEZVOUS_FRAME, PublicKey};

/// How many bytes a reader takes from its socket at a time. Its messages are small.
const READ_AHEAD: usize = 512;
/// What one message costs its session. In the long run it can't send more than one in this time: more than
/// anybody sends who waits for each answer, and a small part of what the loop can do. Those that have to
/// be saved need not cost more: there are only as many as an account may have contacts.
const MESSAGE_COST: Duration = Duration::from_micros(100);
/// What a registration costs until the loop knows better: everybody concerned may have to be told, a thousand of them.
const REGISTER_COST: Duration = Duration::from_millis(100);
/// What it costs at least: each may have to be saved.
const REGISTER_LEAST: Duration = Duration::from_millis(1);
/// What each message costs that it has led to.
const TOLD_COST: Duration = Duration::from_micros(100);
/// How much a session may spend at once, and saves up again while it is quiet. Enough to ask for every
/// contact and to report every link after a login; all others wait while the loop deals with it.
const BURST: Duration = Duration::from_millis(400);

/// What arrives for the loop.
pub enum Inbound {
    /// A handshake is done.
    Opened {
        /// A number that no other session has had.
        session: SessionId,
        /// The key that was proved.
        key: PublicKey,
        /// The other end.
        from: SocketAddr,
        /// To write to.
        stream: Arc<TcpStream>,
        /// To seal with what is written.
        sealer: Sealer,
        /// To give back what a registration did not cost.
        refunds: Refunds,
    },
    /// One frame's messages.
    Messages {
        /// Whose.
        session: SessionId,
        /// In order.
        messages: Vec<ToDiscovery>,
    },
    /// Nothing more will come.
    Closed {
        /// From whom.
        session: SessionId,
    },
}

/// What the loop gives back to a session, in microseconds, until its reader takes it.
#[derive(Clone, Default)]
pub struct Refunds(Arc<AtomicU64>);

impl Refunds {
    /// A registration has led to so many messages.
    pub fn registered(&self, told: usize) {
        let told = TOLD_COST.saturating_mul(u32::try_from(told).unwrap_or(u32::MAX));
        let back = REGISTER_COST.saturating_sub(REGISTER_LEAST + told);
        // It is less than a tenth of a second each time.
        self.0.fetch_add(u64::try_from(back.as_micros()).unwrap_or_default(), Ordering::Relaxed);
    }

    fn take(&self) -> Duration {
        Duration::from_micros(self.0.swap(0, Ordering::Relaxed))
    }
}

/// Receives connections: one for all of them, cloned into each one's thread.
#[derive(Clone)]
pub struct Reception {
    keypair: Arc<Keypair>,
    events: Sender<Inbound>,
    sessions: Arc<AtomicU64>,
    failures: Arc<AtomicU64>,
}

impl Reception {
    /// Proves `keypair` and reports to `events`.
    pub fn new(keypair: Keypair, events: Sender<Inbound>) -> Self {
        Self { keypair: Arc::new(keypair), events, sessions: Arc::default(), failures: Arc::default() }
    }

    /// How many handshakes have failed so far.
    pub fn failures(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.failures)
    }

    /// Does the handshake and leaves the connection to a thread that reads.
    pub fn welcome(&self, stream: Arc<TcpStream>, from: SocketAddr, place: Place, handshake: Place) {
        let deadline = Instant::now() + HANDSHAKE_DEADLINE;
        let proved = noise::respond(&stream, Purpose::Rendezvous, &self.keypair, deadline);
        drop(handshake);
        let proved = match proved.map_err(noise::HandshakeError::classified) {
            Ok(proved) => proved,
            Err(error) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                return tracing::debug!(%from, %error, "no handshake");
            }
        };
        if let Err(error) = net::prepare(&stream) {
            return tracing::debug!(%from, %error, "gone after the handshake");
        }
        let session = self.sessions.fetch_add(1, Ordering::Relaxed);
        let (key, sealer) = (proved.remote, proved.sealer);
        let refunds = Refunds::default();
        let opened = Inbound::Opened {
            session,
            key,
            from,
            stream: Arc::clone(&stream),
            sealer,
            refunds: refunds.clone(),
        };
        if self.events.send(opened).is_err() {
            return;
        }
        let reader = Reader { session, from, stream, refunds, events: self.events.clone(), _place: place };
        let reading = thread::Builder::new()
            .name("reader".into())
            .stack_size(READER_STACK)
            .spawn(move || reader.run(proved.opener));
        if let Err(error) = reading {
            tracing::warn!(%from, %error, "no thread for another session");
            let _ = self.events.send(Inbound::Closed { session });
        }
    }
}

/// Why a session's messages end before its connection does.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Frame(#[from] OpenError),
    #[error(transparent)]
    Message(#[from] CodecError),
}

struct Reader {
    session: SessionId,
    from: SocketAddr,
    stream: Arc<TcpStream>,
    refunds: Refunds,
    events: Sender<Inbound>,
    _place: Place,
}

impl Reader {
    fn run(self, opener: Opener) {
        let from = self.from;
        match self.read(opener) {
            Ok(()) => tracing::debug!(%from, "connection closed"),
            Err(ReadError::Frame(OpenError::Io(error))) => tracing::debug!(%from, %error, "connection lost"),
            Err(error) => tracing::info!(%from, %error, "connection cut"),
        }
        // Fails only if the loop is gone, and with it the program.
        let _ = self.events.send(Inbound::Closed { session: self.session });
    }

    fn read(&self, mut opener: Opener) -> Result<(), ReadError> {
        let mut stream = &*self.stream;
        let mut pace = Pace::new(Instant::now());
        while let Some(frame) = opener.read(&mut stream, MAX_RENDEZVOUS_FRAME, READ_AHEAD)? {
            let messages: Vec<ToDiscovery> = codec::decode(frame)?;
            // A frame with nothing in it that is known here has to be opened and heard too.
            let cost = messages.iter().map(cost).sum::<Duration>().max(MESSAGE_COST);
            pace.give_back(self.refunds.take());
            thread::sleep(pace.spend(cost, Instant::now()));
            if self.events.send(Inbound::Messages { session: self.session, messages }).is_err() {
                break;
            }
        }
        Ok(())
    }
}

fn cost(message: &ToDiscovery) -> Duration {
    if matches!(message, ToDiscovery::Register(_)) { REGISTER_COST } else { MESSAGE_COST }
}

/// How fast one session may send. Who is faster is read more slowly.
struct Pace {
    credit: Duration,
    /// Up to when credit has been counted; in the future while a debt is being paid.
    counted: Instant,
}

impl Pace {
    fn new(now: Instant) -> Self {
        Self { credit: BURST, counted: now }
    }

    fn give_back(&mut self, cost: Duration) {
        self.credit = BURST.min(self.credit + cost);
    }

    /// How long to wait before something of this cost is passed on.
    fn spend(&mut self, cost: Duration, now: Instant) -> Duration {
        self.credit = BURST.min(self.credit + now.saturating_duration_since(self.counted));
        let debt = cost.saturating_sub(self.credit);
        self.credit = self.credit.saturating_sub(cost);
        self.counted = now + debt;
        debt
    }
}

#[cfg(test)]
mod tests {
    use super::super::registry::MAX_CONTACTS;
    use super::*;

    #[test]
    fn a_burst_is_free_and_then_each_message_waits_its_time() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        assert_eq!(pace.spend(BURST, start), Duration::ZERO);
        assert_eq!(pace.spend(MESSAGE_COST, start), MESSAGE_COST);
        let paid = start + MESSAGE_COST;
        assert_eq!(pace.spend(MESSAGE_COST, paid), MESSAGE_COST);
        let later = paid + MESSAGE_COST * 3;
        assert_eq!(pace.spend(MESSAGE_COST * 2, later), Duration::ZERO);
        let rested = later + BURST * 10;
        assert_eq!(pace.spend(BURST + MESSAGE_COST, rested), MESSAGE_COST);
    }

    #[test]
    fn who_waits_for_each_answer_is_never_made_to_wait() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let waited = (1..20_000).map(|n| pace.spend(MESSAGE_COST, start + MESSAGE_COST * n));
        assert_eq!(waited.sum::<Duration>(), Duration::ZERO);
    }

    #[test]
    fn a_registration_costs_what_it_leads_to() {
        let start = Instant::now();
        let refunds = Refunds::default();
        let registrations = |told: usize| {
            let mut pace = Pace::new(start);
            let mut waited = Duration::ZERO;
            for _ in 0..1000 {
                waited += pace.spend(REGISTER_COST, start + waited);
                refunds.registered(told);
                pace.give_back(refunds.take());
            }
            waited
        };
        assert!(registrations(2) < Duration::from_secs(2));
        let all = registrations(MAX_CONTACTS);
        assert!((Duration::from_secs(99)..Duration::from_secs(101)).contains(&all), "{all:?}");
    }

    #[test]
    fn every_contact_can_be_asked_for_and_reported_at_once() {
        let start = Instant::now();
        let login = REGISTER_COST + MESSAGE_COST * (2 * MAX_CONTACTS as u32);
        assert_eq!(Pace::new(start).spend(login, start), Duration::ZERO);
    }
}
