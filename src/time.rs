//! Time as an argument: who decides is told the time and never asks for it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One moment, on two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since the program started. Never goes back: deadlines are on this clock.
    pub mono: u64,
    /// Milliseconds since 1970. May jump: it is stored and shown, and nothing is decided by it.
    pub wall: i64,
}

impl Now {
    /// This moment, in a program that started at `start`.
    pub fn read(start: Instant) -> Self {
        let wall = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(_) => 0,
        };
        Self { mono: millis(start.elapsed()), wall }
    }
}

/// A duration in milliseconds.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
