//! One datagram there, one back, with repetitions.

use std::io;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use super::Failure;

/// The longest that PCP allows, and one more to tell a longer one.
const LONGEST: usize = 1100 + 1;

/// What a datagram says to a question.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer<T> {
    /// Nothing: it is no answer to this one.
    Other,
    Refused(String),
    Granted(T),
}

/// Sends `question`, again after each of these `waits` but the last, until an answer to it has come. Others do not count, and
/// do not make it wait longer.
pub fn ask<T>(
    socket: &UdpSocket,
    question: &[u8],
    waits: &[Duration],
    read: impl Fn(&[u8]) -> Answer<T>,
) -> Result<T, Failure> {
    let mut buffer = [0; LONGEST];
    for wait in waits {
        socket.send(question)?;
        let until = Instant::now() + *wait;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            socket.set_read_timeout(Some(left))?;
            let read = match socket.recv(&mut buffer) {
                Ok(length) => read(buffer.get(..length).unwrap_or_default()),
                Err(error) if is_timeout(&error) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // That nothing listens there.
                Err(error) => return Err(error.into()),
            };
            match read {
                Answer::Other => {}
                Answer::Refused(why) => return Err(Failure::Refused(why)),
                Answer::Granted(granted) => return Ok(granted),
            }
        }
    }
    Err(Failure::Silent)
}

pub(super) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Takes numbers from the front of a datagram.
pub(super) struct Reader<'a>(pub &'a [u8]);

impl Reader<'_> {
    pub fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub fn byte(&mut self) -> Option<u8> {
        self.take().map(|[byte]| byte)
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }
}
