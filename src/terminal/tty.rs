//! The modes of the terminal: raw, as an editor needs them, and as they were.

use std::io::{self, IsTerminal, Write};

use rustix::termios::{OptionalActions, OutputModes, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// Bracketed paste: the terminal puts a mark before and after what is pasted.
const PASTE_ON: &[u8] = b"\x1b[?2004h";
const PASTE_OFF: &[u8] = b"\x1b[?2004l";

/// The terminal that standard input and output are.
#[derive(Debug, Clone)]
pub struct Tty {
    original: Termios,
}

impl Tty {
    /// The terminal, if there is one that can move its cursor.
    pub fn open() -> Option<Self> {
        let capable = std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let both = io::stdin().is_terminal() && io::stdout().is_terminal();
        let original = (capable && both).then(|| tcgetattr(io::stdin()).ok()).flatten()?;
        Some(Self { original })
    }

    /// Keys come one by one and have no effect of their own from now on.
    pub fn enter_raw_mode(&self) -> io::Result<()> {
        let mut modes = self.original.clone();
        modes.make_raw();
        // Logs and panics stay readable.
        modes.output_modes |= OutputModes::OPOST | OutputModes::ONLCR;
        tcsetattr(io::stdin(), OptionalActions::Now, &modes)?;
        let mut stdout = io::stdout();
        stdout.write_all(PASTE_ON).and_then(|()| stdout.flush())
    }

    /// Restores the terminal as it was. Waits until it has taken what is written.
    pub fn leave_raw_mode(&self) {
        let mut stdout = io::stdout();
        let _ = stdout.write_all(PASTE_OFF).and_then(|()| stdout.flush());
        self.restore_modes();
    }

    /// Restores what can be restored without waiting.
    pub fn restore_modes(&self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.original);
    }

    /// Its width and height; zero where the system does not know.
    pub fn size() -> (usize, usize) {
        tcgetwinsize(io::stdout()).map_or((0, 0), |size| (size.ws_col.into(), size.ws_row.into()))
    }
}
