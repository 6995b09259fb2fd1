//! How fast a terminal takes what is written. The system takes some kilobytes for it in advance, which a slow line works off for
//! seconds: what is drawn meanwhile would be shown long after it was so. It gets the time as an argument.

use std::time::{Duration, Instant};

/// A write that takes no longer has not waited for the line.
const AT_ONCE: Duration = Duration::from_millis(50);
/// How much faster the line may have become with each write that did not wait.
const FASTER: f64 = 1.02;
/// How many bytes the system takes in advance: all of that is on its way where a write had to wait.
const IN_ADVANCE: f64 = 8192.0;
/// A line of so many bytes a second is not slow.
const FAST: f64 = 200_000.0;

/// See the module.
#[derive(Debug, Default)]
pub struct Pace {
    /// Bytes a second; `None` if the line is not known to be slow.
    rate: Option<f64>,
    /// When everything that was written is likely to be shown.
    shown: Option<Instant>,
    /// What is being written, and since when.
    begun: Option<(Instant, usize)>,
}

impl Pace {
    pub fn begins(&mut self, now: Instant, bytes: usize) {
        self.begun = Some((now, bytes));
        if let Some(rate) = self.rate {
            let start = self.shown.map_or(now, |shown| shown.max(now));
            self.shown = start.checked_add(Duration::from_secs_f64(bytes as f64 / rate));
        }
    }

    /// What was begun is written, or is in the hands of the system.
    pub fn ends(&mut self, now: Instant) {
        let Some((since, bytes)) = self.begun.take() else {
            return;
        };
        let took = now.saturating_duration_since(since);
        if took > AT_ONCE {
            // As much has left as there was room for.
            let rate = (bytes as f64 / took.as_secs_f64()).max(1.0);
            self.rate = Some(rate);
            self.shown = now.checked_add(Duration::from_secs_f64(IN_ADVANCE / rate));
        } else if let Some(rate) = self.rate {
            let faster = rate * FASTER;
            self.rate = (faster < FAST).then_some(faster);
            if self.rate.is_none() {
                self.shown = None;
            }
        }
    }

    pub fn shown(&self) -> Option<Instant> {
        self.shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes as often as is allowed to a line of that many bytes a second, for a minute: how far what was shown last was behind
    /// at the end, in seconds, and how many frames were written.
    fn behind(rate: f64, bytes: usize) -> (f64, u32) {
        let (start, mut pace) = (Instant::now(), Pace::default());
        let (mut at, mut queued, mut frames) = (0.0_f64, 0.0_f64, 0);
        let instant = |at: f64| start + Duration::from_secs_f64(at);
        while at < 60.0 {
            let shown = pace.shown().filter(|shown| *shown > instant(at));
            let wait =
                shown.map_or(0.033, |shown| shown.duration_since(instant(at)).as_secs_f64().max(0.033));
            at += wait;
            queued = (queued - wait * rate).max(0.0);
            pace.begins(instant(at), bytes);
            // It waits until the system takes all of it.
            let waits = ((queued + bytes as f64 - IN_ADVANCE) / rate).max(0.0);
            at += waits;
            queued = (queued - waits * rate).max(0.0) + bytes as f64;
            pace.ends(instant(at));
            frames += 1;
        }
        (queued / rate, frames)
    }

    #[test]
    fn on_a_slow_line_frames_do_not_queue_and_on_a_fast_one_none_waits() {
        let (seconds, frames) = behind(1200.0, 1000);
        assert!(seconds < 3.0 && frames > 30, "{seconds} {frames}");
        let (seconds, frames) = behind(10_000.0, 1000);
        assert!(seconds < 0.6 && frames > 300, "{seconds} {frames}");
        let (seconds, frames) = behind(10_000_000.0, 1000);
        assert!(seconds < 0.001 && frames > 1700, "{seconds} {frames}");
    }
}
