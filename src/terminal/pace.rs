//! How fast a terminal takes what is written. The system takes some kilobytes for it in advance, which a slow line works off for
//! seconds: what is drawn meanwhile would be shown long after it was so. It gets the time as an argument.

use std::time::{Duration, Instant};

/// A write that takes no longer has not waited for the line.
const AT_ONCE: Duration = Duration::from_millis(50);
/// How many bytes the system takes in advance, as long as nothing better is known.
const IN_ADVANCE: f64 = 8192.0;
/// A write that waits so long has waited until a pseudo-terminal was empty, which holds about so many bytes.
const LONG: Duration = Duration::from_secs(1);
const PSEUDO_TERMINAL: f64 = 16_384.0;
/// How much faster the line may have become with each write that did not wait, and slower with one that did.
const FASTER: f64 = 1.02;
const SLOWER: f64 = 0.5;
/// How many bytes are written without a wait before the line is taken to have become faster.
const STEADY: usize = 32 * 1024;
/// No line is slower, and where a single write had to wait, that may have been an accident: it counts for so long.
const SLOWEST: f64 = 600.0;
const TENTATIVE: Duration = Duration::from_secs(10);
/// Within how long a second one makes it certain.
const RECENT: Duration = Duration::from_secs(60);
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
    /// When the system last had as much as it takes, and how many bytes were written since.
    full: Option<(Instant, usize)>,
    /// Until when the rate counts, if it is a guess.
    tentative: Option<Instant>,
}

impl Pace {
    pub fn begins(&mut self, now: Instant, bytes: usize) {
        self.begun = Some((now, bytes));
        if self.tentative.take_if(|until| *until <= now).is_some() {
            (self.rate, self.shown) = (None, None);
        }
        self.full =
            self.full.filter(|(at, _)| now.saturating_duration_since(*at) < RECENT || self.rate.is_some());
        if let Some((_, since)) = &mut self.full {
            *since += bytes;
        }
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
        if took <= AT_ONCE {
            if self.rate.is_none() {
                return;
            }
            if self.full.is_some_and(|(_, written)| written >= STEADY) {
                self.rate = self.rate.map(|rate| rate * FASTER).filter(|rate| *rate < FAST);
            }
            if self.rate.is_none() {
                (self.shown, self.full) = (None, None);
            }
            return;
        }
        // As much has left as has come since a write had to wait before, unless the line had nothing to do for a while.
        let left = self.full.map(|(before, written)| {
            written as f64 / now.saturating_duration_since(before).as_secs_f64().max(0.001)
        });
        let rate = match (left, self.rate) {
            (Some(left), rate) => Some(left.max(rate.unwrap_or_default() * SLOWER)),
            (None, _) => (took >= LONG).then(|| PSEUDO_TERMINAL / took.as_secs_f64()),
        };
        self.tentative = left.is_none().then(|| now + TENTATIVE);
        self.rate = rate.map(|rate| rate.max(SLOWEST));
        self.full = Some((now, 0));
        self.shown = self.rate.and_then(|rate| {
            let queued = (IN_ADVANCE + bytes as f64 - rate * took.as_secs_f64()).max(0.0);
            now.checked_add(Duration::from_secs_f64(queued / rate))
        });
    }

    pub fn shown(&self) -> Option<Instant> {
        self.shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes as often as is allowed to a line of that many bytes a second, for two minutes. The system takes `room` bytes in
    /// advance, and lets a write that waits go on once `least` bytes have left. How far what was written was behind in the second minute, in seconds on average, and how many frames
    /// that were.
    fn behind(rate: f64, bytes: usize, (room, least): (f64, f64)) -> (f64, u32) {
        let (start, mut pace) = (Instant::now(), Pace::default());
        let (mut at, mut queued, mut frames, mut all) = (0.0_f64, 0.0_f64, 0, 0.0_f64);
        let instant = |at: f64| start + Duration::from_secs_f64(at);
        while at < 120.0 {
            let shown = pace.shown().filter(|shown| *shown > instant(at));
            let wait =
                shown.map_or(0.033, |shown| shown.duration_since(instant(at)).as_secs_f64().max(0.033));
            at += wait;
            queued = (queued - wait * rate).max(0.0);
            pace.begins(instant(at), bytes);
            // It waits until the system takes all of it.
            let surplus = queued + bytes as f64 - room;
            let waits = if surplus > 0.0 { surplus.max(least) / rate } else { 0.0 };
            at += waits;
            queued = (queued - waits * rate).max(0.0) + bytes as f64;
            pace.ends(instant(at));
            if at > 60.0 {
                frames += 1;
                all += queued / rate;
            }
        }
        (all / f64::from(frames), frames)
    }

    #[test]
    fn on_a_slow_line_frames_do_not_queue_and_on_a_fast_one_none_waits() {
        for line in [(8192.0, 1.0), (19_000.0, 17_000.0)] {
            for (rate, bytes) in [(1200.0, 1000), (1200.0, 200), (10_000.0, 1000)] {
                let (seconds, frames) = behind(rate, bytes, line);
                let possible = 60.0 * rate / bytes as f64;
                assert!(
                    f64::from(frames) > possible / 3.0,
                    "{rate} {bytes} {line:?}: {frames} of {possible}"
                );
                assert!(seconds < line.0 / rate * 0.6, "{rate} {bytes} {line:?}: {seconds}");
            }
        }
        // One that had to wait by accident is fast again soon.
        let (now, mut pace) = (Instant::now(), Pace::default());
        pace.begins(now, 1000);
        pace.ends(now + Duration::from_secs(3600));
        assert!(pace.shown().is_some());
        pace.begins(now + Duration::from_secs(3611), 1000);
        assert_eq!(pace.shown(), None);
        let (seconds, frames) = behind(10_000_000.0, 1000, (8192.0, 1.0));
        assert!(seconds < 0.001 && frames > 1700, "{seconds} {frames}");
    }
}
