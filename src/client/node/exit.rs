//! Whether the program is about to end, and with which status.

use std::time::Duration;

use crate::time::{Instant, Now};

/// The exit status when something failed for good.
pub const FAILED: u8 = 1;
/// The exit status when something still waits.
pub const STILL_WAITING: u8 = 3;

/// An exit status, with what standard error says about it.
pub type Status = (u8, Option<String>);

/// See the module.
#[derive(Debug, Clone)]
pub struct Exit {
    /// How long to stay after the last line of input; `None`: until all is delivered.
    linger: Option<Duration>,
    phase: Phase,
    /// How many commands were refused, or taken and given back later.
    refused: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// Ends when everything is delivered, or at this time.
    Lingering(Instant),
    Left,
}

impl Exit {
    pub fn new(linger: Option<Duration>) -> Self {
        Self { linger, phase: Phase::Running, refused: 0 }
    }

    /// There is no more input: stays until everything is delivered, or as long as it was told.
    pub fn linger(&mut self, now: Now) {
        self.phase = Phase::Lingering(self.linger.map_or(Instant::NEVER, |linger| now.mono + linger));
    }

    /// Ends the program. Returns whether that is news.
    pub fn leave(&mut self) -> bool {
        std::mem::replace(&mut self.phase, Phase::Left) != Phase::Left
    }

    pub fn is_lingering(&self) -> bool {
        matches!(self.phase, Phase::Lingering(_))
    }

    pub fn has_left(&self) -> bool {
        self.phase == Phase::Left
    }

    /// When there is no more time.
    pub fn deadline(&self) -> Instant {
        match self.phase {
            Phase::Lingering(until) => until,
            _ => Instant::NEVER,
        }
    }

    pub fn note_refused(&mut self) {
        self.refused += 1;
    }

    /// What the program ends with after its last line of input.
    pub fn status(&self, waits: bool) -> Status {
        match (waits, self.refused) {
            (true, _) => waiting(),
            (false, 0) => (0, None),
            (false, refused) => (FAILED, Some(format!("{refused} not done, see the errors in the output"))),
        }
    }
}

/// What the program ends with while something waits.
pub fn waiting() -> Status {
    (
        STILL_WAITING,
        Some("not everything is delivered; the rest is kept and goes out at a later start".into()),
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::support::at;
    use super::*;

    #[test]
    fn it_stays_as_long_as_it_was_told_and_leaves_once() {
        let longest = Some(Duration::MAX);
        for (linger, until) in [
            (Some(Duration::from_secs(2)), at(7_000).mono),
            (None, Instant::NEVER),
            (longest, Instant::NEVER),
        ] {
            let mut it = Exit::new(linger);
            assert_eq!((it.deadline(), it.is_lingering()), (Instant::NEVER, false));
            it.linger(at(5_000));
            assert_eq!((it.deadline(), it.is_lingering()), (until, true));
            assert!(!it.has_left() && it.leave() && !it.leave() && it.has_left() && !it.is_lingering());
        }
    }

    #[test]
    fn what_waits_counts_more_than_what_was_refused() {
        let mut it = Exit::new(None);
        assert_eq!((it.status(false), it.status(true).0), ((0, None), STILL_WAITING));
        it.note_refused();
        assert_eq!((it.status(false).0, it.status(true).0), (FAILED, STILL_WAITING));
        assert!(it.status(false).1.unwrap().starts_with("1 not done"));
    }
}
