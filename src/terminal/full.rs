//! A terminal that the program draws as a whole, on the screen that terminals have for that beside the usual one.
//!
//! A thread writes what is drawn, so that a slow line holds up nothing else: the program draws again once that is taken.

use std::io::{self, Write};
use std::panic;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use signal_hook::consts::SIGTSTP;

use super::pace::Pace;
use super::{Keyboard, Tty, watch_changes};

/// How long a terminal may take for what is on its way, before it is left.
const LAST: Duration = Duration::from_millis(500);

/// A terminal in raw mode with the other screen. Dropping it restores the terminal as it was.
pub struct Full {
    tty: Tty,
    pub keyboard: Keyboard,
    /// Each calls for [`refresh`](Self::refresh).
    pub changes: Receiver<()>,
    /// Each is to be given to [`took`](Self::took).
    pub taken: Receiver<io::Result<()>>,
    pace: Pace,
    frames: Sender<Vec<u8>>,
    /// Whether something is on its way to the terminal.
    busy: bool,
    /// What goes before the next frame.
    before: &'static [u8],
    open: bool,
}

impl Full {
    /// Takes the terminal over. A paste has up to `limit` bytes.
    pub fn start(tty: Tty, limit: usize) -> io::Result<Self> {
        let (frames, receive) = bounded::<Vec<u8>>(1);
        let (took, taken) = bounded(1);
        thread::Builder::new().name("screen".into()).spawn(move || {
            for frame in receive {
                let mut stdout = io::stdout();
                let written = stdout.write_all(&frame).and_then(|()| stdout.flush());
                if took.send(written).is_err() {
                    return;
                }
            }
        })?;
        let keyboard = Keyboard::new(limit);
        let changes = watch_changes()?;
        let mut full = Self {
            tty,
            keyboard,
            changes,
            taken,
            pace: Pace::default(),
            frames,
            busy: false,
            before: &[],
            open: false,
        };
        full.restore_in_panic();
        full.refresh()?;
        full.keyboard.start()?;
        Ok(full)
    }

    /// What a panic says is to be read on the usual screen.
    fn restore_in_panic(&self) {
        let (tty, usual) = (self.tty.clone(), panic::take_hook());
        let (owner, main) = (thread::current().id(), "main");
        panic::set_hook(Box::new(move |info| {
            let it = thread::current();
            if it.id() == owner || it.name() == Some(main) {
                tty.leave_full_screen();
            }
            usual(info);
        }));
    }

    /// Whether the terminal takes a frame.
    pub fn is_ready(&self) -> bool {
        !self.busy
    }

    /// Has a frame written, if the terminal [is ready](Self::is_ready); what it took is then in [`taken`](Self::taken).
    pub fn write(&mut self, frame: &[u8]) {
        let frame = [std::mem::take(&mut self.before), frame].concat();
        let bytes = frame.len();
        self.busy = bytes > 0 && self.frames.try_send(frame).is_ok();
        if self.busy {
            self.pace.begins(Instant::now(), bytes);
        }
    }

    /// When the terminal is likely to have shown what was written, but for what it shows within `slack`.
    pub fn shown(&self, slack: Duration) -> Option<Instant> {
        self.pace.shown().and_then(|at| at.checked_sub(slack))
    }

    /// A frame has been written, or could not be.
    pub fn took(&mut self, written: io::Result<()>) -> io::Result<()> {
        self.busy = false;
        self.pace.ends(Instant::now());
        written
    }

    /// Takes over a terminal that may have another size, or have been used by other programs: all is to be drawn anew.
    pub fn refresh(&mut self) -> io::Result<()> {
        self.before = self.tty.enter_full_screen()?;
        self.open = true;
        Ok(())
    }

    /// Leaves the terminal to other programs until the user comes back.
    pub fn suspend(&mut self) -> io::Result<()> {
        self.leave();
        signal_hook::low_level::raise(SIGTSTP)?;
        self.refresh()
    }

    /// Leaves the terminal as it was, as far as it takes that.
    pub fn leave(&mut self) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        // A slow line would show for seconds what is of no use any more, and nothing else meanwhile.
        if self.shown(Duration::ZERO).is_some_and(|at| at > Instant::now()) {
            self.tty.discard();
        }
        let give_up = Instant::now() + LAST;
        while self.busy && Instant::now() < give_up {
            match self.taken.recv_timeout(LAST / 10) {
                Ok(_) => self.busy = false,
                Err(_) => self.tty.discard(),
            }
        }
        self.tty.leave_full_screen();
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        self.leave();
    }
}
