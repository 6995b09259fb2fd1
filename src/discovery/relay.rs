//! Links between clients that reach each other in no other way: discovery copies their bytes, of which it can read none.
//!
//! [`rules`] decides who may be joined and how fast; here are the threads. Each side of a link has one, which takes
//! from its own socket and gives to the other's, and waits for nothing else: so a side that is slow or silent keeps only
//! its own link.

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use socket2::{SockRef, TcpKeepalive};

use super::registry::Side;
use crate::protocol::relay::{JOINED, RELAY_IDLE};
use crate::protocol::rendezvous::{RefusedCode, TOKEN};
use crate::protocol::{DEAD_AFTER, Refusal};
use crate::time::{Clock, Instant, millis};
use crate::transport::{Permit, ToRelay, Wire, refuse};
use rules::{Bounds, Figures, Full, LinkId, Rules, Shown, Ticket};

pub mod rules;

/// The stack of a thread that copies, in bytes, of which it needs 10 KiB. As large as that of a thread that reads: the C
/// library would give a smaller one the used stack of a handshake, and all that was touched of that stays resident.
const STACK: usize = 192 * 1024;
/// How much is taken at a time, in bytes: little, until a side sends more.
const SMALL: usize = 2 * 1024;
const LARGEST: usize = 32 * 1024;
/// What is asked of the kernel for each buffer of a socket, in bytes. It grants twice as much, and is asked because it
/// would else keep megabytes for a side that does not read.
const SOCKET_BUFFER: usize = 256 * 1024;
/// A shorter pause stays owed until more has come together: to wake up from it would take longer than it lasts.
const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
/// How often the first of two looks whether its connection still stands.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// How long a side may take to close after the other one has. A connection that is closed while a side still sends would
/// be reset, and the last messages could be lost.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// All that is relayed. Shared by the loop and the threads that copy.
#[derive(Clone)]
pub struct Relay(Arc<Shared>);

struct Shared {
    clock: Clock,
    /// How much is taken at a time at most, in bytes: no more than a slow link passes on in half a second.
    largest: usize,
    desk: Mutex<Desk>,
}

struct Desk {
    rules: Rules,
    /// The first ones of the pairs of which one side is there.
    waiting: HashMap<LinkId, Waiting>,
}

struct Waiting {
    wire: Arc<TcpStream>,
    join: Sender<Half>,
}

/// One direction of a link.
struct Half {
    link: Arc<Link>,
    side: usize,
    from: Arc<TcpStream>,
    to: Arc<TcpStream>,
    /// Held until this direction has ended.
    _ended: Sender<()>,
    other_ends: Receiver<()>,
}

/// What both directions have in common.
struct Link {
    relay: Relay,
    id: LinkId,
    /// When something was last copied, in milliseconds since the start.
    copied: AtomicU64,
    /// Whether one direction has ended.
    ending: AtomicBool,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.relay.desk().rules.ended(self.id);
    }
}

impl Relay {
    pub fn new(clock: Clock, bounds: Bounds) -> Self {
        let largest = usize::try_from(bounds.rate / 2).unwrap_or(LARGEST).clamp(SMALL, LARGEST);
        let desk = Desk { rules: Rules::new(bounds), waiting: HashMap::new() };
        Self(Arc::new(Shared { clock, largest, desk: Mutex::new(desk) }))
    }

    pub fn figures(&self) -> Figures {
        self.desk().rules.figures()
    }

    /// The first user asks to be joined with the second. Returns the ticket of each; none if both have theirs already.
    pub fn ask(&self, [asker, other]: &[Side; 2]) -> Result<Option<[Ticket; 2]>, RefusedCode> {
        let mut tickets = [[0; TOKEN]; 2];
        if let Err(error) = getrandom::fill(tickets.as_flattened_mut()) {
            tracing::error!(%error, "no random bytes for a relayed link");
            return Err(RefusedCode::RELAY_FULL);
        }
        let parties = [(asker.user, asker.from), (other.user, other.from)];
        let asked = self.desk().rules.ask(parties, tickets, self.0.clock.now().mono);
        match asked {
            Ok(new) => Ok(new.then_some(tickets)),
            Err(Full) => Err(RefusedCode::RELAY_FULL),
        }
    }

    /// Takes a connection that has shown a ticket, in a thread of its own.
    pub fn take(&self, came: ToRelay) {
        let relay = self.clone();
        let serve = move || relay.serve(came);
        if let Err(error) = thread::Builder::new().name("relay".into()).stack_size(STACK).spawn(serve) {
            tracing::warn!(%error, "no thread for a relayed link");
        }
    }

    fn serve(&self, ToRelay { wire, remote, ticket, permits }: ToRelay) {
        let [_connection, handshake] = permits;
        match self.joined(&wire, &ticket, handshake) {
            Ok(half) => half.copy(),
            Err(refusal) => {
                tracing::debug!(from = %remote, ?refusal, "not relayed");
                refuse(&*wire, refusal);
            }
        }
    }

    /// Waits for the other side, unless that is there. The connection counts as established from then on.
    fn joined(&self, wire: &Arc<TcpStream>, ticket: &Ticket, _handshake: Permit) -> Result<Half, Refusal> {
        // A wire that fails here fails again at once.
        let _ = prepare(wire);
        let mut desk = self.desk();
        match desk.rules.show(ticket, self.0.clock.now().mono) {
            Ok(Shown::First(link, until)) => {
                let (join, halves) = bounded(1);
                desk.waiting.insert(link, Waiting { wire: Arc::clone(wire), join });
                drop(desk);
                self.wait(wire, link, until, &halves)
            }
            Ok(Shown::Second(link)) => {
                let first = desk.waiting.remove(&link);
                drop(desk);
                self.join(wire, link, first)
            }
            Ok(Shown::NoRoom(link)) => {
                // The first one notices.
                desk.waiting.remove(&link);
                Err(Refusal::Full)
            }
            Err(refusal) => Err(refusal),
        }
    }

    fn wait(
        &self,
        wire: &TcpStream,
        link: LinkId,
        until: Instant,
        halves: &Receiver<Half>,
    ) -> Result<Half, Refusal> {
        loop {
            match halves.recv_timeout(LOOK_AGAIN) {
                Ok(half) => return Ok(half),
                Err(RecvTimeoutError::Disconnected) => return Err(Refusal::Full),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let over = self.0.clock.now().mono >= until || is_gone(wire);
            // If the second one has come meanwhile, it is about to say so.
            if over && self.desk().leave(link) {
                return Err(Refusal::Alone);
            }
        }
    }

    /// The second one begins the link, for both.
    fn join(&self, wire: &Arc<TcpStream>, id: LinkId, first: Option<Waiting>) -> Result<Half, Refusal> {
        let copied = AtomicU64::new(self.now());
        let link = Arc::new(Link { relay: self.clone(), id, copied, ending: AtomicBool::new(false) });
        let first = first.ok_or(Refusal::Alone)?;
        let ends = [bounded(0), bounded(0)];
        let wires = [Arc::clone(&first.wire), Arc::clone(wire)];
        let half =
            |side: usize, [from, to]: [&Arc<TcpStream>; 2], own: &Sender<()>, other: &Receiver<()>| Half {
                link: Arc::clone(&link),
                side,
                from: Arc::clone(from),
                to: Arc::clone(to),
                _ended: own.clone(),
                other_ends: other.clone(),
            };
        let [one, other] = &wires;
        let [(first_ended, first_ends), (second_ended, second_ends)] = &ends;
        let halves = [
            half(0, [one, other], first_ended, second_ends),
            half(1, [other, one], second_ended, first_ends),
        ];
        // Before any byte of the other side; nothing has been sent that these could wait behind.
        for wire in &wires {
            wire.write_all(&[JOINED]).map_err(|_| Refusal::Alone)?;
        }
        let [theirs, own] = halves;
        first.join.send(theirs).map_err(|_| Refusal::Alone)?;
        Ok(own)
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.0.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        millis(self.0.clock.now().mono.since_start())
    }
}

impl Desk {
    /// The first one of a pair waits no more. Returns whether the second one has not come.
    fn leave(&mut self, link: LinkId) -> bool {
        let left = self.waiting.remove(&link).is_some();
        if left {
            self.rules.leave(link);
        }
        left
    }
}

impl Half {
    fn copy(self) {
        let idle = match self.copy_all() {
            Ok(()) => false,
            Err(error) => is_timeout(&error),
        };
        if !self.link.ending.swap(true, Ordering::AcqRel) && !idle {
            Wire::shutdown(&*self.to, Shutdown::Write);
            // Nothing is ever sent there: it is over when the other direction has ended.
            let _ = self.other_ends.recv_timeout(CLOSE_TIMEOUT);
        }
        for wire in [&self.from, &self.to] {
            Wire::shutdown(&**wire, Shutdown::Both);
        }
    }

    /// Until one of the two closes, or nothing has come over the link for too long.
    fn copy_all(&self) -> io::Result<()> {
        let mut buffer = vec![0; SMALL];
        loop {
            let count = match Wire::read(&*self.from, &mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if is_timeout(&error) && !self.is_idle() => continue,
                Err(error) => return Err(error),
            };
            self.to.write_all(buffer.get(..count).unwrap_or_default())?;
            self.link.copied.store(self.link.relay.now(), Ordering::Relaxed);
            let now = self.link.relay.0.clock.now().mono;
            let pause = self.link.relay.desk().rules.copied(self.link.id, self.side, count as u64, now);
            if pause >= SHORTEST_PAUSE {
                thread::sleep(pause);
            }
            let wanted = if count == buffer.len() {
                self.link.relay.0.largest
            } else if count <= SMALL {
                SMALL
            } else {
                buffer.len()
            };
            if wanted != buffer.len() {
                buffer = vec![0; wanted];
            }
        }
    }

    fn is_idle(&self) -> bool {
        let copied = self.link.copied.load(Ordering::Relaxed);
        self.link.relay.now().saturating_sub(copied) >= millis(RELAY_IDLE)
    }
}

/// Makes a socket ready for copying.
fn prepare(wire: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(wire);
    socket.set_tcp_nodelay(true)?;
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(DEAD_AFTER))?;
    wire.set_read_timeout(Some(RELAY_IDLE / 4))?;
    wire.set_write_timeout(Some(RELAY_IDLE))
}

/// Whether the other side has closed, although it is its turn to wait.
fn is_gone(wire: &TcpStream) -> bool {
    let flags = libc::MSG_DONTWAIT | libc::MSG_PEEK;
    match SockRef::from(wire).recv_with_flags(&mut [std::mem::MaybeUninit::uninit()], flags) {
        Ok(count) => count == 0,
        Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}
