//! What a connection is made of.

use std::io;
use std::net::{IpAddr, Shutdown};
use std::time::{Duration, Instant};

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
    fn local_ip(&self) -> Option<IpAddr>;
}

impl io::Read for &dyn Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Wire::read(*self, buffer)
    }
}

/// A wire whose every operation ends at the deadline, however slowly bytes drip.
pub(super) struct DeadlineWire<'w> {
    pub wire: &'w dyn Wire,
    pub deadline: Instant,
}

impl DeadlineWire<'_> {
    fn arm(&self) -> io::Result<()> {
        match self.deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            remaining => self.wire.set_timeout(Some(remaining)),
        }
    }

    pub fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        self.arm()?;
        self.wire.write_all(bytes)
    }
}

impl io::Read for DeadlineWire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.arm()?;
        self.wire.read(buffer)
    }
}
