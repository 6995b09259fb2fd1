//! A line editor at the bottom of a terminal; the program's output stands above it. It does not know what the lines
//! mean: the program supplies a [`Prompt`] and takes [`Event`]s.
//!
//! - `keys`: what bytes mean; `editor`: what keys do, with `line` and `history`; `prompt`: what the program tells it;
//! - `screen`: what is drawn; `tty`: the terminal's modes; `printable`: text made safe to write;
//! - `wrap`: lines in rows that fit the terminal.

use std::io::{self, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded, never};
use rustix::io::ioctl_fionread;
use signal_hook::consts::{SIGCONT, SIGTSTP, SIGWINCH};
use signal_hook::iterator::Signals;

use editor::{Editor, Outcome};
use keys::Decoder;
use screen::Screen;

pub use editor::Event;
pub use history::History;
pub use keys::Key;
pub use printable::{is_invisible, is_unsafe, printable};
pub use prompt::{Completion, Prompt};
pub use screen::echo;
pub use tty::Tty;
pub use wrap::{columns, wrap};

mod editor;
mod history;
mod keys;
mod line;
mod printable;
mod prompt;
mod screen;
mod tty;
mod wrap;

const CHUNKS: usize = 16;
const CHUNK: usize = 4096;
/// How long the rest of what begins with an Escape may take: a slow line cuts it, and a person does not type so fast.
const ESCAPE_WAIT: Duration = Duration::from_millis(50);

/// A terminal in raw mode. Dropping it restores the terminal as it was.
pub struct Terminal<P> {
    tty: Tty,
    editor: Editor<P>,
    screen: Screen,
    decoder: Decoder,
    undecided: Option<Instant>,
    out: Vec<u8>,
    /// Whether the line is not drawn.
    pub hidden: bool,
    /// Chunks for [`decode`](Self::decode); disconnected once the terminal is gone.
    pub typed: Receiver<Vec<u8>>,
    /// Each calls for [`refresh`](Self::refresh).
    pub changes: Receiver<()>,
}

impl<P> Drop for Terminal<P> {
    fn drop(&mut self) {
        self.tty.leave_raw_mode();
    }
}

impl<P: Prompt> Terminal<P> {
    /// Takes the terminal over. A line has up to `limit` bytes.
    pub fn start(tty: Tty, history: History, limit: usize, colour: bool) -> io::Result<Self> {
        let mut terminal = Self {
            tty,
            editor: Editor::new(history, limit),
            screen: Screen::new(colour),
            decoder: Decoder::new(limit),
            undecided: None,
            out: Vec::new(),
            hidden: false,
            typed: never(),
            changes: watch_changes()?,
        };
        terminal.refresh()?;
        terminal.typed = read_typed()?;
        Ok(terminal)
    }

    pub fn prompt(&mut self) -> &mut P {
        &mut self.editor.prompt
    }

    /// The keys that a chunk completes.
    pub fn decode(&mut self, chunk: &[u8]) -> Vec<Key> {
        let keys = self.decoder.keys(chunk);
        self.undecided = self.decoder.is_undecided().then(|| Instant::now() + ESCAPE_WAIT);
        keys
    }

    /// When [`silence`](Self::silence) is due, if [`decode`](Self::decode) is given nothing before.
    pub fn undecided(&self) -> Option<Instant> {
        self.undecided
    }

    /// The key that an Escape was, if what would make another one of it is not on its way.
    pub fn silence(&mut self) -> Option<Key> {
        // A machine that is busy may be late in reading what has come in time.
        if !self.typed.is_empty() || ioctl_fionread(io::stdin()).is_ok_and(|bytes| bytes > 0) {
            self.undecided = Some(Instant::now() + ESCAPE_WAIT);
            return None;
        }
        self.undecided = None;
        self.decoder.silence()
    }

    pub fn press(&mut self, key: Key) -> io::Result<Option<Event>> {
        match self.editor.key(key) {
            Outcome::Nothing => {}
            Outcome::Event(event) => return Ok(Some(event)),
            Outcome::Suspend => self.suspend()?,
            Outcome::Clear => self.screen.clear(&mut self.out),
        }
        Ok(None)
    }

    /// Where to append output; [`flush`](Self::flush) writes it.
    pub fn output(&mut self) -> &mut Vec<u8> {
        self.screen.erase(&mut self.out);
        &mut self.out
    }

    /// Writes the output and the line below it, in one piece.
    pub fn flush(&mut self) -> io::Result<()> {
        self.screen.erase(&mut self.out);
        if !self.hidden {
            self.screen.draw(&self.editor.view(), &mut self.out);
        }
        let mut stdout = io::stdout().lock();
        stdout.write_all(&self.out).and_then(|()| stdout.flush())?;
        self.out.clear();
        Ok(())
    }

    fn suspend(&mut self) -> io::Result<()> {
        let hidden = std::mem::replace(&mut self.hidden, true);
        self.flush()?;
        self.hidden = hidden;
        self.tty.leave_raw_mode();
        signal_hook::low_level::raise(SIGTSTP)?;
        self.refresh()
    }

    /// Adapts to a terminal that may have another size, or have been used by other programs.
    pub fn refresh(&mut self) -> io::Result<()> {
        self.tty.enter_raw_mode()?;
        self.screen.resize(Tty::size());
        Ok(())
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

/// Starts the thread that waits for a new size, and for the program to be continued.
fn watch_changes() -> io::Result<Receiver<()>> {
    let mut signals = Signals::new([SIGWINCH, SIGCONT])?;
    let (send, changes) = bounded(1);
    thread::Builder::new().name("signals".into()).spawn(move || {
        for _ in signals.forever() {
            // One that waits stands for all.
            let _ = send.try_send(());
        }
    })?;
    Ok(changes)
}
