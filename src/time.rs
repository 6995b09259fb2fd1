//! Time as the deciding code is told it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment on the program's own clock, which never goes back: for deadlines. Sums end at [`Instant::NEVER`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(Duration);

impl Instant {
    /// When the program started.
    pub const START: Self = Self(Duration::ZERO);
    /// Later than every other moment.
    pub const NEVER: Self = Self(Duration::MAX);

    pub const fn after_start(since: Duration) -> Self {
        Self(since)
    }

    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// How long it is after `earlier`; zero if it is not after it.
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::ops::Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// On the program's own clock: for deadlines.
    pub mono: Instant,
    /// Milliseconds since 1970, as the system believes. May jump: only to be stored and shown.
    pub wall: i64,
}

/// Where readings come from.
#[derive(Clone, Copy, Debug)]
pub struct Clock(std::time::Instant);

impl Clock {
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }

    pub fn now(&self) -> Now {
        let wall = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
        };
        Now { mono: Instant(self.0.elapsed()), wall }
    }

    /// A moment on the clock of the standard library; `None` if it lies beyond what that can tell.
    pub fn to_std(&self, at: Instant) -> Option<std::time::Instant> {
        self.0.checked_add(at.since_start())
    }
}

pub const fn millis(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1000).saturating_add(duration.subsec_millis() as u64)
}
