//! What a connection is made of.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use crate::protocol::{HANDSHAKE_DEADLINE, HANDSHAKE_LIMIT};

/// Bytes both ways between two programs, in order. Shared by the thread that reads and the loop that writes.
pub trait Wire: Send + Sync {
    /// Waits for bytes and takes some of them; none at the end.
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Waits until all of `bytes` are taken: for handshakes, never for the loop.
    fn write_all(&self, bytes: &[u8]) -> io::Result<()>;

    /// How long one [`Self::read`], and one step of [`Self::write_all`], waits; without a limit if `None`.
    fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()>;

    /// Makes the wire ready for frames, and returns how many bytes it takes without waiting.
    fn prepare(&self) -> io::Result<usize>;

    /// Sends all of `bytes` at once, and never waits. Fails with [`io::ErrorKind::WouldBlock`] if the other side does
    /// not read and no more can wait for it; part of `bytes` may have gone then, so the connection is of no more use.
    fn send_now(&self, bytes: &[u8]) -> io::Result<()>;

    /// Ends one or both directions, after what has been sent. The reader notices.
    fn shutdown(&self, how: Shutdown);

    /// This machine's address of the connection, if the connection depends on it.
    fn local(&self) -> Option<SocketAddr>;
}

impl io::Read for &dyn Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Wire::read(*self, buffer)
    }
}

/// Until when a handshake may take. It ends after a silence, or at a moment that no byte puts off.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    next: Instant,
    silence: Duration,
    last: Instant,
}

impl Deadline {
    /// From now on, as both sides of a handshake have it: see [`HANDSHAKE_DEADLINE`] and [`HANDSHAKE_LIMIT`].
    pub fn of_handshake() -> Self {
        Self::new(HANDSHAKE_DEADLINE, HANDSHAKE_LIMIT)
    }

    /// From now on, after so much silence, or so long after all.
    pub fn new(silence: Duration, limit: Duration) -> Self {
        let now = Instant::now();
        Self { next: now + silence, silence, last: now + limit }
    }

    /// From now on, whatever arrives.
    pub fn within(limit: Duration) -> Self {
        Self::new(limit, limit)
    }

    fn remaining(&self) -> io::Result<Duration> {
        match self.next.min(self.last).saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            remaining => Ok(remaining),
        }
    }
}

/// A wire whose every operation ends at the deadline, however slowly bytes drip.
pub(super) struct DeadlineWire<'w> {
    pub wire: &'w dyn Wire,
    pub deadline: Deadline,
}

impl DeadlineWire<'_> {
    fn arm(&self) -> io::Result<()> {
        self.wire.set_timeout(Some(self.deadline.remaining()?))
    }

    pub fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        self.arm()?;
        self.wire.write_all(bytes)
    }
}

impl io::Read for DeadlineWire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.arm()?;
        let read = self.wire.read(buffer)?;
        if read > 0 {
            self.deadline.next = Instant::now() + self.deadline.silence;
        }
        Ok(read)
    }
}
