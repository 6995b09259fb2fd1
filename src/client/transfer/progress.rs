//! How far an export or import has come. A user at a terminal sees it in one line, which goes when it is done.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use crate::client::notice::size;

/// How long it may take without a word.
const SILENCE: Duration = Duration::from_secs(1);
/// How often the line is written anew.
const EVERY: Duration = Duration::from_millis(200);
const ERASE: &[u8] = b"\r\x1b[K";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    Copying,
    /// What makes each guess at a passphrase cost a second.
    Stretching,
    Encrypting,
    Decrypting,
    Checking,
}

/// What is being done, and how many bytes of it are done, of how many; 0 of 0 where that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub doing: Doing,
    pub done: u64,
    pub of: u64,
}

impl Step {
    /// One whose extent is not known.
    pub fn whole(doing: Doing) -> Self {
        Self { doing, done: 0, of: 0 }
    }

    fn sentence(&self) -> String {
        let doing = match self.doing {
            Doing::Copying => "copying the journal",
            Doing::Stretching => "making a key of the passphrase",
            Doing::Encrypting => "encrypting it",
            Doing::Decrypting => "decrypting the file",
            Doing::Checking => "checking that the journal is whole",
        };
        match self.of {
            0 => format!("{doing} …"),
            of => format!("{doing}: {} of {} …", size(self.done.min(of)), size(of)),
        }
    }
}

/// What stands in the line. It gets the time as an argument.
#[derive(Debug)]
struct Line {
    begun: Instant,
    shown: Option<Step>,
}

impl Line {
    /// What is to be written now.
    fn draw(&mut self, now: Instant, step: Step) -> Option<Vec<u8>> {
        let silent = now.saturating_duration_since(self.begun) < SILENCE;
        if silent || self.shown.replace(step) == Some(step) {
            return None;
        }
        Some([ERASE, step.sentence().as_bytes()].concat())
    }

    /// What is to be written at the end.
    fn erase(self) -> Option<&'static [u8]> {
        self.shown.map(|_| ERASE)
    }
}

/// Shows steps at a terminal, until it is dropped. A thread draws, for some steps tell nothing until they are done.
pub struct Meter {
    step: Arc<Mutex<Step>>,
    drawing: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Meter {
    /// Begins with this step. Elsewhere than at a terminal that can erase a line nothing is shown.
    pub fn start(step: Step) -> Self {
        let step = Arc::new(Mutex::new(step));
        let shows = io::stderr().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb");
        let (end, ended) = bounded(0);
        let latest = Arc::clone(&step);
        let draw = move || {
            let mut line = Line { begun: Instant::now(), shown: None };
            let mut out = io::stderr();
            // What can't be shown is not missed.
            while ended.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                let step = *latest.lock().unwrap_or_else(PoisonError::into_inner);
                let drawn = line.draw(Instant::now(), step);
                drawn.into_iter().for_each(|drawn| _ = out.write_all(&drawn));
            }
            line.erase().into_iter().for_each(|erased| _ = out.write_all(erased));
        };
        let thread = shows.then(|| thread::Builder::new().name("progress".into()).spawn(draw).ok());
        Self { step, drawing: thread.flatten().map(|thread| (end, thread)) }
    }

    pub fn step(&self, step: Step) {
        *self.step.lock().unwrap_or_else(PoisonError::into_inner) = step;
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.drawing.take() {
            drop(end);
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_comes_after_a_second_and_goes_at_the_end() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let step = |done| Step { doing: Doing::Encrypting, done, of: 3 << 30 };
        let mut line = Line { begun, shown: None };
        assert_eq!(line.draw(at(999), step(5)), None);
        let drawn = |text: &str| Some(format!("\r\x1b[K{text}").into_bytes());
        assert_eq!(line.draw(at(1000), step(1 << 20)), drawn("encrypting it: 1 MiB of 3 GiB …"));
        assert_eq!(line.draw(at(1200), step(1 << 20)), None);
        assert_eq!(line.draw(at(1400), step(5 << 30)), drawn("encrypting it: 3 GiB of 3 GiB …"));
        let checking = Step::whole(Doing::Checking);
        assert_eq!(line.draw(at(1600), checking), drawn("checking that the journal is whole …"));
        assert_eq!(line.erase(), Some(ERASE));
        let mut short = Line { begun, shown: None };
        assert_eq!((short.draw(at(900), step(1)), short.erase()), (None, None));
    }
}
