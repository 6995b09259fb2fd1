//! Connections that are tried at several addresses at once, without a thread for each.
//!
//! A plain attempt begins at its time and ends with what comes of it. One that is to be punched begins anew on a grid of
//! time when it has failed: both sides do so at once, and each first packet that leaves opens the way for those that come,
//! in a NAT or a firewall on the way. One that has not failed goes on, and the kernel repeats its first packet. A new socket
//! has another sequence number: an answer that is on its way to the old one would be lost, and a router that passes on
//! the other side's first packet before it has seen the new one lets the new one out no more.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, Socket, Type};

/// At what multiples of this time after the first one an attempt that is punched, and has failed, begins anew.
pub const GRID: Duration = Duration::from_millis(400);

/// Attempts that are under way.
#[derive(Debug)]
pub struct Race {
    tries: Vec<Try>,
    listener: Option<TcpListener>,
    until: Instant,
}

#[derive(Debug)]
struct Try {
    remote: SocketAddr,
    /// From where it is punched; `None` for a plain one.
    source: Option<SocketAddr>,
    state: State,
    /// What the last attempt came to.
    error: Option<io::Error>,
}

#[derive(Debug)]
enum State {
    /// Begins at this time.
    Due(Instant),
    /// Has begun at this time.
    Trying(Socket, Instant),
    Over,
}

/// What came of an attempt.
#[derive(Debug)]
pub enum Outcome {
    /// It stands: a plain one, or one that was punched, which the other side may have begun.
    Connected {
        remote: SocketAddr,
        punched: bool,
        stream: TcpStream,
    },
    Failed {
        remote: SocketAddr,
        punched: bool,
        error: io::Error,
    },
}

impl Race {
    /// A race that ends at `until`, whatever is under way then.
    pub fn until(until: Instant) -> Self {
        Self { tries: Vec::new(), listener: None, until }
    }

    /// Dials an address at this time.
    pub fn dial(&mut self, remote: SocketAddr, at: Instant) {
        self.tries.push(Try { remote, source: None, state: State::Due(at), error: None });
    }

    /// Punches towards these addresses from `at` on, out of the port of a session that stands at `session`; who comes to
    /// that port meanwhile is let in too.
    ///
    /// # Errors
    /// Another program has the port.
    pub fn punch(&mut self, session: SocketAddr, remotes: &[SocketAddr], at: Instant) -> io::Result<()> {
        let socket = shared(session)?;
        socket.listen(8)?;
        socket.set_nonblocking(true)?;
        self.listener = Some(socket.into());
        for remote in remotes {
            let source = if remote.is_ipv4() == session.is_ipv4() {
                session
            } else {
                SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), session.port())
            };
            let state = State::Due(at);
            self.tries.push(Try { remote: *remote, source: Some(source), state, error: None });
        }
        Ok(())
    }

    /// Whether nothing more can come of it.
    pub fn is_over(&self) -> bool {
        self.tries.iter().all(|attempt| matches!(attempt.state, State::Over))
            && (self.listener.is_none() || Instant::now() >= self.until)
    }

    /// Goes on until something has come of an attempt, at most for so long.
    ///
    /// # Errors
    /// The kernel has no memory for it.
    pub fn next(&mut self, within: Duration) -> io::Result<Option<Outcome>> {
        let wake = Instant::now() + within;
        loop {
            let now = Instant::now();
            if let Some(failed) = self.begin(now) {
                return Ok(Some(failed));
            }
            if self.is_over() {
                return Ok(None);
            }
            if let Some(outcome) = self.wait(wake.min(self.deadline()))? {
                return Ok(Some(outcome));
            }
            if Instant::now() >= wake {
                return Ok(None);
            }
        }
    }

    fn deadline(&self) -> Instant {
        let due = self.tries.iter().filter_map(|attempt| match attempt.state {
            State::Due(at) => Some(at),
            State::Trying(..) | State::Over => None,
        });
        due.fold(self.until, Instant::min)
    }

    /// Begins what is due. Returns an attempt that has failed by that.
    fn begin(&mut self, now: Instant) -> Option<Outcome> {
        for attempt in &mut self.tries {
            if now >= self.until {
                if let Some(failed) = attempt.end() {
                    return Some(failed);
                }
                continue;
            }
            let began = match attempt.state {
                State::Due(at) if now >= at => at,
                _ => continue,
            };
            match connect(attempt.remote, attempt.source) {
                Ok(socket) => attempt.state = State::Trying(socket, began),
                Err(error) => {
                    if let Some(failed) = attempt.fail(error, began) {
                        return Some(failed);
                    }
                }
            }
        }
        None
    }

    /// Waits until an attempt has come to something, or a connection comes in.
    fn wait(&mut self, until: Instant) -> io::Result<Option<Outcome>> {
        let (mut waited, mut polled) = (Vec::new(), Vec::new());
        for (place, attempt) in self.tries.iter().enumerate() {
            if let State::Trying(socket, _) = &attempt.state {
                waited.push(place);
                polled.push(PollFd::new(socket, PollFlags::OUT));
            }
        }
        if let Some(listener) = &self.listener {
            polled.push(PollFd::new(listener, PollFlags::IN));
        }
        let timeout = until.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
        match poll(&mut polled, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => return Ok(None),
            other => other?,
        };
        let ready: Vec<bool> = polled.iter().map(|it| !it.revents().is_empty()).collect();
        drop(polled);
        for place in waited.into_iter().zip(&ready).filter(|(_, ready)| **ready).map(|(place, _)| place) {
            if let Some(outcome) = self.tries.get_mut(place).and_then(Try::settle) {
                return Ok(Some(outcome));
            }
        }
        let Some(listener) = self.listener.as_ref().filter(|_| ready.last() == Some(&true)) else {
            return Ok(None);
        };
        match listener.accept() {
            Ok((stream, remote)) => {
                stream.set_nonblocking(false)?;
                Ok(Some(Outcome::Connected { remote, punched: true, stream }))
            }
            // It has gone again.
            Err(_) => Ok(None),
        }
    }
}

impl Try {
    /// The attempt stands, or has failed.
    fn settle(&mut self) -> Option<Outcome> {
        let State::Trying(socket, since) = std::mem::replace(&mut self.state, State::Over) else {
            return None;
        };
        let error = match socket.take_error() {
            Ok(None) => match socket.set_nonblocking(false) {
                Ok(()) => {
                    let (remote, punched) = (self.remote, self.source.is_some());
                    return Some(Outcome::Connected { remote, punched, stream: socket.into() });
                }
                Err(error) => error,
            },
            Ok(Some(error)) | Err(error) => error,
        };
        self.fail(error, since)
    }

    /// The attempt that began at this time has failed: a plain one for good.
    fn fail(&mut self, error: io::Error, began: Instant) -> Option<Outcome> {
        self.error = Some(error);
        if self.source.is_none() {
            return self.end();
        }
        self.state = State::Due(next_moment(began, Instant::now()));
        None
    }

    /// Nothing becomes of it any more.
    fn end(&mut self) -> Option<Outcome> {
        let over = matches!(std::mem::replace(&mut self.state, State::Over), State::Over);
        let error = self.error.take();
        if over && error.is_none() {
            return None;
        }
        let error = error.unwrap_or_else(|| io::ErrorKind::TimedOut.into());
        Some(Outcome::Failed { remote: self.remote, punched: self.source.is_some(), error })
    }
}

/// The next moment of the grid on which `began` is.
fn next_moment(began: Instant, now: Instant) -> Instant {
    let passed = now.saturating_duration_since(began).as_millis() / GRID.as_millis();
    began + GRID.saturating_mul(u32::try_from(passed).unwrap_or(u32::MAX).saturating_add(1))
}

/// Begins to connect.
fn connect(remote: SocketAddr, source: Option<SocketAddr>) -> io::Result<Socket> {
    let socket = match source {
        Some(source) => shared(source)?,
        None => Socket::new(Domain::for_address(remote), Type::STREAM, Some(Protocol::TCP))?,
    };
    socket.set_nonblocking(true)?;
    match socket.connect(&remote.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

/// A socket at an address that others of this program have too.
pub(super) fn shared(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn free() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    fn outcome(race: &mut Race) -> Outcome {
        race.next(LONG).unwrap().unwrap()
    }

    #[test]
    fn the_address_that_answers_wins_and_the_others_are_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (good, bad) = (listener.local_addr().unwrap(), free());
        let now = Instant::now();
        let mut race = Race::until(now + LONG);
        race.dial(bad, now);
        race.dial(good, now);
        let (mut connected, mut failed) = (None, None);
        for outcome in [outcome(&mut race), outcome(&mut race)] {
            match outcome {
                Outcome::Connected { remote, punched: false, stream } => connected = Some((remote, stream)),
                Outcome::Failed { remote, punched: false, error } => failed = Some((remote, error.kind())),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(failed, Some((bad, io::ErrorKind::ConnectionRefused)));
        let (remote, mut stream) = connected.unwrap();
        assert_eq!(remote, good);
        stream.write_all(b"x").unwrap();
        listener.accept().unwrap().0.read_exact(&mut [0]).unwrap();
        assert!(race.is_over() && race.next(LONG).unwrap().is_none());
    }

    #[test]
    fn two_sides_that_punch_meet() {
        let (one, other) = (free(), free());
        let now = Instant::now();
        let sides = [(one, other), (other, one)].map(|(own, remote)| {
            std::thread::spawn(move || {
                let mut race = Race::until(now + LONG);
                race.punch(own, &[remote], now).unwrap();
                loop {
                    match outcome(&mut race) {
                        Outcome::Connected { punched: true, stream, .. } => return stream,
                        other => drop(other),
                    }
                }
            })
        });
        let [mut one, mut other] = sides.map(|side| side.join().unwrap());
        // Each may have another one of two connections first; then both are whole all the same.
        if one.local_addr().unwrap() == other.peer_addr().unwrap() {
            one.write_all(b"x").unwrap();
            other.read_exact(&mut [0]).unwrap();
        }
    }

    // Elsewhere such a queue is longer.
    #[cfg(target_os = "linux")]
    #[test]
    fn what_has_not_failed_is_not_begun_anew() {
        // Nothing answers there: the queue of the listener is full, and the kernel drops first packets.
        let full = shared("127.0.0.1:0".parse().unwrap()).unwrap();
        full.listen(0).unwrap();
        let remote = full.local_addr().unwrap().as_socket().unwrap();
        let _first = TcpStream::connect(remote).unwrap();
        let (own, now) = (free(), Instant::now());
        let mut race = Race::until(now + LONG);
        race.punch(own, &[remote], now).unwrap();
        let mut socket = || {
            assert!(race.next(GRID * 3 / 2).unwrap().is_none());
            let [Try { state: State::Trying(socket, _), .. }] = race.tries.as_slice() else {
                panic!("{race:?}");
            };
            rustix::fs::fstat(socket).unwrap().st_ino
        };
        assert_eq!(socket(), socket());
    }

    #[test]
    fn what_has_failed_begins_anew_on_the_grid_however_late_it_is() {
        let began = Instant::now();
        let next = |late| next_moment(began, began + late) - began;
        assert_eq!(next(Duration::ZERO), GRID);
        assert_eq!(next(GRID - Duration::from_millis(1)), GRID);
        assert_eq!(next(GRID), GRID * 2);
        assert_eq!(next(GRID * 5 / 2), GRID * 3);
    }

    #[test]
    fn what_leads_to_nothing_ends() {
        let (own, closed) = (free(), free());
        let now = Instant::now();
        let mut race = Race::until(now + GRID * 2);
        race.punch(own, &[closed], now).unwrap();
        let Outcome::Failed { remote, punched: true, error } = outcome(&mut race) else {
            panic!("nothing listens there");
        };
        assert_eq!((remote, error.kind()), (closed, io::ErrorKind::ConnectionRefused));
        assert!(race.is_over());
    }
}
