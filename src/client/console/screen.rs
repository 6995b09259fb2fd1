//! The front end that has a whole terminal: a list of conversations, one of them open, and a line that is being typed.
//!
//! - `model`: what is on the screen and what keys do; `list`, `view` with `lines`, and `log` are its parts, `asking` is what the line
//!   editor is told;
//! - `draw`: the screen as cells, and what is written for them; `last`: which conversation was open;
//! - `keymap`, `colours`, `preferences`: what a user may want otherwise.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{at, bounded, never, select};

use super::Channels;
use super::output::First;
use crate::client::command::{Aliases, MAX_LINE};
use crate::client::event::Input;
use crate::client::notice::{Look, Notice};
use crate::terminal::{Editor, Full, History, Tty};
use crate::time::Clock;
use asking::Asking;
use draw::Drawn;
use last::Last;
use model::{Change, Effect, Model, Now};
pub use preferences::Preferences;

mod asking;
pub mod colours;
mod draw;
pub mod keymap;
mod last;
mod lines;
mod list;
mod log;
mod model;
mod preferences;
mod view;

/// How wide and high a terminal must be for this to be its front end by itself.
pub(super) const ROOM: (usize, usize) = (60, 12);
/// How long after a frame what arrives is drawn at the earliest.
const PACE: Duration = Duration::from_millis(33);
/// How long before what was written is shown the next frame is drawn for a key.
const SLACK: Duration = Duration::from_millis(300);
/// How many commands may wait for the client before no key is looked at.
const MAX_WAITING: usize = 1000;

/// How it is set up.
pub(super) struct Setup {
    pub tty: Tty,
    pub history: std::path::PathBuf,
    pub data_dir: std::path::PathBuf,
    pub user: String,
    pub first: First,
    pub bell: bool,
    pub preferences: Preferences,
    pub aliases: Arc<Aliases>,
}

pub(super) fn run(setup: Setup, channels: &Channels) -> io::Result<()> {
    let Setup { tty, history, data_dir, user, first, bell, mut preferences, aliases } = setup;
    if std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        preferences.colours = preferences.colours.without();
    }
    let last = Last::new(&data_dir, &user);
    let clock = Clock::start();
    let editor = Editor::<Asking>::new(History::open(Some(history)), MAX_LINE);
    let zone = jiff::tz::TimeZone::system();
    let setup = model::Setup { preferences, aliases, zone, first, bell, last: last.read() };
    let model = Model::new(setup, editor, now(&clock));
    let full = Full::start(tty, MAX_LINE)?;
    let mut session = Session {
        channels,
        full,
        model,
        clock,
        last,
        drawn: Drawn::default(),
        size: (0, 0),
        next: Instant::now(),
    };
    let ended = session.run();
    let words = session.model.ended().map(last_words).unwrap_or_default();
    // Before the client itself goes on, the terminal is as it was.
    drop(session);
    if ended.is_ok() {
        use std::io::Write;
        let mut stdout = io::stdout();
        stdout.write_all(&words).and_then(|()| stdout.flush())?;
    }
    ended
}

/// What is still to be read once the screen is gone.
fn last_words(notice: &Notice) -> Vec<u8> {
    let mut out = Vec::new();
    notice.write_text(&Look::default(), &mut out);
    out
}

fn now(clock: &Clock) -> Now {
    Now { mono: Instant::now(), wall: clock.now().wall }
}

struct Session<'a> {
    channels: &'a Channels,
    full: Full,
    model: Model,
    clock: Clock,
    last: Last,
    drawn: Drawn,
    size: (usize, usize),
    /// When what arrives is drawn at the earliest.
    next: Instant,
}

impl Session<'_> {
    fn run(&mut self) -> io::Result<()> {
        let channels = self.channels;
        let mut waiting: Vec<Input> = Vec::new();
        let (changes, taken) = (self.full.changes.clone(), self.full.taken.clone());
        // Nothing is ever taken from it.
        let (nowhere, _receiver) = bounded(0);
        loop {
            self.draw();
            if let Some(open) = self.model.take_last() {
                self.last.write(open.as_ref());
            }
            waiting.extend(self.model.take_outgoing());
            let keys = if waiting.len() < MAX_WAITING { self.full.keyboard.typed.clone() } else { never() };
            let commands = if waiting.is_empty() { &nowhere } else { &channels.commands };
            let frame = self.due().filter(|_| self.full.is_ready());
            let deadlines = [frame, self.model.deadline(), self.full.keyboard.deadline()];
            let tick = deadlines.into_iter().flatten().min().map_or_else(never, at);
            select! {
                recv(channels.batches) -> notices => match notices {
                    Ok(notices) => self.heard(notices),
                    Err(_) => break,
                },
                recv(channels.prompts) -> prompt => prompt.into_iter().for_each(|it| self.model.prompt(it, now(&self.clock))),
                recv(keys) -> chunk => match chunk {
                    Ok(chunk) => {
                        let keys = self.full.keyboard.decode(&chunk);
                        self.press(keys)?;
                    }
                    // The terminal is gone.
                    Err(_) => {
                        self.full.keyboard.typed = never();
                        channels.tell(Input::Signal);
                    }
                },
                recv(tick) -> _ => {
                    let keys = self.full.keyboard.tick();
                    self.press(keys)?;
                    self.model.tick(now(&self.clock));
                }
                recv(taken) -> written => written.map_or(Ok(()), |written| self.full.took(written))?,
                recv(changes) -> _ => self.redraw()?,
                send(commands, std::mem::take(&mut waiting)) -> _ => {}
            }
        }
        Ok(())
    }

    /// What is told is confirmed at once: it is in the model, and what is unread stays so until it was on the screen.
    fn heard(&mut self, first: Vec<crate::client::notice::Told>) {
        let now = now(&self.clock);
        let more = self.channels.batches.try_iter().take(super::super::node::OUTPUT_BATCHES);
        for batch in [first].into_iter().chain(more) {
            self.model.heard(batch, now);
            // A loop that is gone needs no answer.
            self.channels.tell(Input::Printed);
        }
    }

    fn press(&mut self, keys: impl IntoIterator<Item = crate::terminal::Key>) -> io::Result<()> {
        for key in keys {
            match self.model.key(key, now(&self.clock)) {
                Effect::None => {}
                Effect::Redraw => self.redraw()?,
                Effect::Interrupt => _ = self.channels.tell(Input::Signal),
                Effect::Suspend => {
                    self.full.suspend()?;
                    self.redraw()?;
                }
            }
        }
        Ok(())
    }

    fn redraw(&mut self) -> io::Result<()> {
        self.full.refresh()?;
        self.drawn.forget();
        self.size = (0, 0);
        Ok(())
    }

    /// When the next frame is drawn, if there is something to draw: at once where a key was pressed, but not long before a slow line
    /// shows it.
    fn due(&self) -> Option<Instant> {
        let now = Instant::now();
        match self.model.change() {
            _ if self.model.ended().is_some() => None,
            Change::None => None,
            Change::Arrived => {
                Some(self.full.shown(Duration::ZERO).map_or(self.next, |at| at.max(self.next)))
            }
            Change::Pressed => Some(self.full.shown(SLACK).map_or(now, |at| at.max(now))),
        }
    }

    /// Draws if there is something to draw, and the terminal takes it. What the terminal does not take is not queued: it is shown
    /// the latest once it does.
    fn draw(&mut self) {
        let size = Tty::size();
        if self.size != size && size.0 > 0 && size.1 > 0 {
            self.size = size;
            self.model.resize(size);
        }
        let due = self.due().is_some_and(|at| at <= Instant::now());
        if !due || !self.full.is_ready() {
            return;
        }
        let frame = self.model.frame(now(&self.clock));
        let buffer = draw::draw(&frame, self.model.colours());
        let mut out = Vec::new();
        self.drawn.update(buffer, draw::cursor(&frame), &mut out);
        if self.model.take_bell() {
            out.push(0x07);
        }
        self.full.write(&out);
        self.next = Instant::now() + PACE;
    }
}
