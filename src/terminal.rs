//! A line editor at the bottom of a terminal; the program's output stands above it. It does not know what the lines
//! mean: the program supplies a [`Prompt`] and takes [`Event`]s.
//!
//! - `keyboard`: what is typed; `keys`: what bytes mean; `editor`: what keys do, with `line` and `history`; `prompt`: what the program tells it;
//! - `screen`: what is drawn; `tty`: the terminal's modes; `printable`: text made safe to write;
//! - `wrap`: lines in rows that fit the terminal;
//! - `full`: a terminal that the program draws as a whole; `pace`: how fast it takes that.

use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use signal_hook::consts::{SIGCONT, SIGTSTP, SIGWINCH};
use signal_hook::iterator::Signals;

use screen::Screen;

pub use editor::{Editor, Event, Outcome};
pub use full::Full;
pub use history::History;
pub use keyboard::Keyboard;
pub use keys::Key;
pub use printable::{is_invisible, is_unsafe, printable};
pub use prompt::{Completion, Prompt};
pub use screen::{echo, shown};
pub use tty::Tty;
pub use wrap::{columns, wrap};

mod editor;
mod full;
mod history;
mod keyboard;
mod keys;
mod line;
mod pace;
mod printable;
mod prompt;
mod screen;
mod tty;
mod wrap;

/// How long a terminal may take to say where its cursor is. Some never do.
const ANSWER_WAIT: Duration = Duration::from_millis(300);
const ASK_POSITION: &[u8] = b"\x1b[6n";
const ASK_KIND: &[u8] = b"\x1b[>c";

/// The terminal has been asked where its cursor is.
#[derive(Debug, Clone, Copy)]
struct Asked {
    /// How many answers are awaited.
    questions: u32,
    until: Instant,
}

/// A terminal in raw mode. Dropping it restores the terminal as it was.
pub struct Terminal<P> {
    tty: Tty,
    editor: Editor<P>,
    screen: Screen,
    /// What the screen is drawn for.
    size: (usize, usize),
    pub keyboard: Keyboard,
    asked: Option<Asked>,
    /// Keys that are not yet given out.
    held: Vec<Key>,
    out: Vec<u8>,
    /// Whether the line is not drawn.
    pub hidden: bool,
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
            size: (0, 0),
            keyboard: Keyboard::new(limit),
            asked: None,
            held: Vec::new(),
            out: Vec::new(),
            hidden: false,
            changes: watch_changes()?,
        };
        terminal.refresh()?;
        terminal.keyboard.start()?;
        Ok(terminal)
    }

    pub fn prompt(&mut self) -> &mut P {
        &mut self.editor.prompt
    }

    /// The keys that a chunk completes. While the terminal is [asked](Self::is_asked) something, they are held back.
    pub fn decode(&mut self, chunk: &[u8]) -> Vec<Key> {
        for key in self.keyboard.decode(chunk) {
            match key {
                Key::Column(column) => self.answered(column),
                Key::Kind(kind, version) => self.screen.set_kind(kind, version),
                key => self.held.push(key),
            }
        }
        self.take_held()
    }

    /// When [`tick`](Self::tick) is due, if [`decode`](Self::decode) is given nothing before.
    pub fn deadline(&self) -> Option<Instant> {
        self.asked.map(|asked| asked.until).into_iter().chain(self.keyboard.deadline()).min()
    }

    /// The keys that are known by the time.
    pub fn tick(&mut self) -> Vec<Key> {
        let now = Instant::now();
        self.held.extend(self.keyboard.tick());
        if self.asked.is_some_and(|asked| asked.until <= now) {
            self.asked = None;
            self.screen.settle(None);
        }
        self.take_held()
    }

    fn take_held(&mut self) -> Vec<Key> {
        if self.is_asked() { Vec::new() } else { std::mem::take(&mut self.held) }
    }

    /// Whether the terminal has been asked where its cursor is: until that is known, nothing may be written.
    pub fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    fn answered(&mut self, column: u16) {
        if let Some(asked) = &mut self.asked {
            asked.questions -= 1;
            // An earlier answer is about another width.
            if asked.questions == 0 {
                self.asked = None;
                self.screen.settle(Some(usize::from(column).saturating_sub(1)));
            }
        }
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
        &mut self.out
    }

    /// Writes the output and the line below it, in one piece. Does nothing while the terminal [is asked](Self::is_asked)
    /// something.
    pub fn flush(&mut self) -> io::Result<()> {
        // The signal that says so may be late.
        if self.size != Tty::size() {
            self.refresh()?;
        }
        if self.is_asked() {
            return Ok(());
        }
        let mut erased = Vec::new();
        self.screen.erase(&mut erased);
        self.out.splice(0..0, erased);
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
        let size = Tty::size();
        if std::mem::replace(&mut self.size, size) != size && self.screen.resize(size) {
            let question = if self.screen.wants_kind() {
                [ASK_KIND, ASK_POSITION].concat()
            } else {
                ASK_POSITION.to_vec()
            };
            let mut stdout = io::stdout();
            stdout.write_all(&question).and_then(|()| stdout.flush())?;
            let questions = self.asked.map_or(1, |asked| asked.questions + 1);
            self.asked = Some(Asked { questions, until: Instant::now() + ANSWER_WAIT });
        }
        Ok(())
    }
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
