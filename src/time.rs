//! Time as the deciding code is told it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since the program started. Never goes back: for deadlines.
    pub mono: u64,
    /// Milliseconds since 1970, as the system believes. May jump: only to be stored and shown.
    pub wall: i64,
}

/// Where readings come from.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Reads both clocks.
    #[must_use]
    pub fn now(&self) -> Now {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let wall = match since {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
        };
        Now { mono: millis(self.0.elapsed()), wall }
    }

    /// The instant at which [`Now::mono`] will be `mono`; `None` if it lies beyond what can be told.
    #[must_use]
    pub fn instant(&self, mono: u64) -> Option<Instant> {
        self.0.checked_add(Duration::from_millis(mono))
    }
}

/// A duration in milliseconds.
#[must_use]
pub const fn millis(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1000).saturating_add(duration.subsec_millis() as u64)
}
