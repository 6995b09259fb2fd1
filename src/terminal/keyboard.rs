//! What is typed, as it comes from standard input.

use std::io::{self, Read};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded, never};
use rustix::io::ioctl_fionread;

use super::keys::{Decoder, Key};

const CHUNKS: usize = 16;
const CHUNK: usize = 4096;
/// How long the rest of what begins with an Escape may take: a slow line cuts it, and a person does not type so fast.
const ESCAPE_WAIT: Duration = Duration::from_millis(50);

/// The keys of a terminal.
pub struct Keyboard {
    decoder: Decoder,
    undecided: Option<Instant>,
    /// Chunks for [`decode`](Self::decode); disconnected once the terminal is gone.
    pub typed: Receiver<Vec<u8>>,
}

impl Keyboard {
    /// Nothing is read before [`start`](Self::start). Pastes have up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { decoder: Decoder::new(limit), undecided: None, typed: never() }
    }

    pub fn start(&mut self) -> io::Result<()> {
        self.typed = read_typed()?;
        Ok(())
    }

    /// The keys that a chunk completes.
    pub fn decode(&mut self, chunk: &[u8]) -> Vec<Key> {
        let keys = self.decoder.keys(chunk);
        self.undecided = self.decoder.is_undecided().then(|| Instant::now() + ESCAPE_WAIT);
        keys
    }

    /// When [`tick`](Self::tick) is due, if [`decode`](Self::decode) is given nothing before.
    pub fn deadline(&self) -> Option<Instant> {
        self.undecided
    }

    /// The key that is known by the time.
    pub fn tick(&mut self) -> Option<Key> {
        let now = Instant::now();
        if self.undecided.is_none_or(|at| at > now) {
            return None;
        }
        // A machine that is busy may be late in reading what has come in time.
        if self.typed.is_empty() && !ioctl_fionread(io::stdin()).is_ok_and(|bytes| bytes > 0) {
            self.undecided = None;
            self.decoder.silence()
        } else {
            self.undecided = Some(now + ESCAPE_WAIT);
            None
        }
    }
}

fn read_typed() -> io::Result<Receiver<Vec<u8>>> {
    let (send, typed) = bounded(CHUNKS);
    thread::Builder::new().name("keys".into()).spawn(move || {
        let mut stdin = io::stdin().lock();
        let mut chunk = [0; CHUNK];
        loop {
            let read = match stdin.read(&mut chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(read) if read > 0 => chunk.get(..read).unwrap_or_default().to_vec(),
                _ => return,
            };
            if send.send(read).is_err() {
                return;
            }
        }
    })?;
    Ok(typed)
}
