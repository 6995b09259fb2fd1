//! The modes of the terminal: raw, as an editor needs them, and as they were.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{
    Action, OptionalActions, OutputModes, QueueSelector, Termios, tcflow, tcflush, tcgetattr, tcgetwinsize,
    tcsetattr,
};

/// Bracketed paste: the terminal puts a mark before and after what is pasted.
const PASTE_ON: &[u8] = b"\x1b[?2004h";
const PASTE_OFF: &[u8] = b"\x1b[?2004l";

/// The other screen, which the terminal does not wrap; pastes marked; the focus and the wheel told.
const FULL_ON: &[u8] = b"\x1b[?1049h\x1b[?7l\x1b[?2004h\x1b[?1004h\x1b[?1000h\x1b[?1006h\x1b[m\x1b[2J";
const FULL_OFF: &[u8] =
    b"\x1b[?1006l\x1b[?1000l\x1b[?1004l\x1b[?2004l\x1b[?7h\x1b[m\x1b[2J\x1b[?25h\x1b[?1049l";

/// The terminal that standard input and output are.
#[derive(Debug, Clone)]
pub struct Tty {
    original: Termios,
    /// Whether the other screen is shown.
    full: Arc<AtomicBool>,
}

impl Tty {
    /// The terminal, if there is one that can move its cursor.
    pub fn open() -> Option<Self> {
        let capable = std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let both = io::stdin().is_terminal() && io::stdout().is_terminal();
        let original = (capable && both).then(|| tcgetattr(io::stdin()).ok()).flatten()?;
        Some(Self { original, full: Arc::default() })
    }

    /// Whether it says what it is, and has room for a screen of this size.
    pub fn has_room(&self, (width, height): (usize, usize)) -> bool {
        let size = Self::size();
        std::env::var_os("TERM").is_some_and(|term| !term.is_empty()) && size.0 >= width && size.1 >= height
    }

    fn make_raw(&self) -> io::Result<()> {
        let mut modes = self.original.clone();
        modes.make_raw();
        // Logs and panics stay readable.
        modes.output_modes |= OutputModes::OPOST | OutputModes::ONLCR;
        Ok(tcsetattr(io::stdin(), OptionalActions::Now, &modes)?)
    }

    /// Keys come one by one and have no effect of their own from now on.
    pub fn enter_raw_mode(&self) -> io::Result<()> {
        self.make_raw()?;
        let mut stdout = io::stdout();
        stdout.write_all(PASTE_ON).and_then(|()| stdout.flush())
    }

    /// Restores the terminal as it was. Waits until it has taken what is written.
    pub fn leave_raw_mode(&self) {
        let mut stdout = io::stdout();
        let _ = stdout.write_all(PASTE_OFF).and_then(|()| stdout.flush());
        self.restore_modes();
    }

    /// The same for the other screen; returns what is to be written for that.
    pub fn enter_full_screen(&self) -> io::Result<&'static [u8]> {
        self.make_raw()?;
        self.full.store(true, Ordering::Relaxed);
        Ok(FULL_ON)
    }

    /// Restores the terminal as it was, but writes only to one that takes something.
    pub fn leave_full_screen(&self) {
        if self.full.swap(false, Ordering::Relaxed) {
            let stdout = io::stdout();
            let mut ready = [PollFd::new(&stdout, PollFlags::OUT)];
            if poll(&mut ready, Some(&Timespec::default())).is_ok_and(|ready| ready > 0) {
                // By itself, for the writer that waits for the terminal may have the lock.
                let _ = rustix::io::write(&stdout, FULL_OFF);
            }
        }
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.original);
    }

    /// Throws away what the terminal has not yet taken. A writer that waits for it goes on.
    pub fn discard(&self) {
        let stdout = io::stdout();
        let _ = tcflow(&stdout, Action::OOff).and_then(|()| tcflush(&stdout, QueueSelector::OFlush));
        // This is what wakes the writer.
        let _ = tcflow(&stdout, Action::OOn);
    }

    /// Restores what can be restored without waiting.
    pub fn restore_modes(&self) {
        self.leave_full_screen();
    }

    /// Its width and height; zero where the system does not know.
    pub fn size() -> (usize, usize) {
        tcgetwinsize(io::stdout()).map_or((0, 0), |size| (size.ws_col.into(), size.ws_row.into()))
    }
}
