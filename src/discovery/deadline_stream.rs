//! The operator's connections, each with a deadline.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use socket2::Socket;

/// How many bytes are read after the answer, so that it arrives before the connection is reset.
const MAX_UNREAD: u64 = 64 * 1024;
/// The pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A stream whose operations all end at its deadline, however slowly the bytes come.
pub struct DeadlineStream {
    socket: Socket,
    deadline: Instant,
}

impl DeadlineStream {
    pub fn new(socket: Socket, within: Duration) -> Self {
        Self { socket, deadline: Instant::now() + within }
    }

    /// Accepts connections for ever, in a thread of its own, and answers one after the other within the time given.
    pub fn serve(
        what: &'static str,
        listener: Socket,
        within: Duration,
        answer: impl Fn(Self) -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let accepting = move || {
            loop {
                match listener.accept() {
                    Ok((socket, from)) => {
                        if let Err(error) = answer(Self::new(socket, within)) {
                            let from = from.as_socket();
                            tracing::debug!(what, ?from, %error, "answer not delivered");
                        }
                    }
                    Err(error) => {
                        tracing::warn!(what, %error, "can't accept a connection");
                        thread::sleep(ACCEPT_PAUSE);
                    }
                }
            }
        };
        thread::Builder::new().name(what.into()).spawn(accepting).map(drop)
    }

    /// Lines up to the first for which `last` holds, at most `most` bytes of them. `None` if they end before.
    pub fn lines(&mut self, most: u64, last: impl Fn(&[u8]) -> bool) -> io::Result<Option<Vec<Vec<u8>>>> {
        let mut input = BufReader::new(self.take(most));
        let mut lines = Vec::new();
        loop {
            let mut line = Vec::new();
            input.read_until(b'\n', &mut line)?;
            if line.pop() != Some(b'\n') {
                return Ok(None);
            }
            line.pop_if(|end| *end == b'\r');
            let done = last(&line);
            lines.push(line);
            if done {
                return Ok(Some(lines));
            }
        }
    }

    /// Sends the last bytes and waits until the other side has closed.
    pub fn finish(mut self, answer: &[u8]) -> io::Result<()> {
        self.write_all(answer)?;
        self.socket.shutdown(Shutdown::Write)?;
        io::copy(&mut self.take(MAX_UNREAD), &mut io::sink()).map(drop)
    }

    fn remaining(&self) -> io::Result<Duration> {
        let remaining = self.deadline.saturating_duration_since(Instant::now());
        if remaining.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(remaining) }
    }
}

impl Read for DeadlineStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(Some(self.remaining()?))?;
        (&self.socket).read(buffer)
    }
}

impl Write for DeadlineStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(self.remaining()?))?;
        (&self.socket).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
