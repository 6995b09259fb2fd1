//! What is on the screen, and what keys do: takes what is told, keys and the time, and says what is to be told to the client and
//! when to draw. Does no input or output, and has no clock.
//!
//! - `told`: what the client says; `typed`: what the user enters; `frame`: what the screen shows.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;

use super::Preferences;
use super::asking::Asking;
use super::lines::Event;
use super::list::List;
use super::log::{Log, Notes, Panel, Said};
use super::view::{self, View};
use crate::client::addressee::Addressee;
use crate::client::command::{Aliases, Beside, Command, CommandError, Reference};
use crate::client::console::attention::Attention;
use crate::client::console::flaps::Flaps;
use crate::client::console::output::First;
use crate::client::console::prompt::Shown;
use crate::client::event::{Input, Prompt};
use crate::client::notice::{Notice, UpDown};
use crate::protocol::Name;
use crate::store::journal::Seq;
use crate::terminal::Editor;
pub use frame::{Body, Frame, rule};
pub use typed::Effect;

mod frame;
mod told;
mod typed;

/// For how long after a key the user counts as there, where the terminal has not said whether it has the focus.
const THERE: Duration = Duration::from_secs(60);
/// How many conversations are kept in memory.
const MAX_VIEWS: usize = 8;
/// How many answers may be awaited.
const MAX_ASKED: usize = 1000;
/// How many events are kept of a room.
const MAX_EVENTS: usize = 50;
/// How long after the last time what is told of all contacts or rooms is asked for again.
const REFRESH: Duration = Duration::from_secs(1);

/// One reading of both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    pub mono: Instant,
    /// Milliseconds since 1970, to be shown.
    pub wall: i64,
}

/// What is asked of the client.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    Contacts,
    Rooms,
    Page(Addressee),
    /// What is unread in a room since before the start, to see whether the user is mentioned.
    Mentions(Addressee),
    Read(Addressee),
    /// A message for that user or room.
    Chat(Addressee),
    /// Anything else that the user has typed.
    Typed,
}

/// Something that is asked for again once it may have changed, but not too often.
#[derive(Debug, Default)]
struct Stale {
    stale: bool,
    asked: Option<Instant>,
}

impl Stale {
    fn due(&self) -> Option<Instant> {
        let at = self.asked.map(|asked| asked + REFRESH);
        self.stale.then_some(at).flatten()
    }

    fn take(&mut self, now: Instant) -> bool {
        let ready = self.stale && self.asked.is_none_or(|asked| now >= asked + REFRESH);
        if ready {
            *self = Self { stale: false, asked: Some(now) };
        }
        ready
    }
}

/// How soon the screen is to be drawn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    #[default]
    None,
    /// Something has arrived.
    Arrived,
    /// A key was pressed.
    Pressed,
}

/// How the screen is set up.
#[derive(Debug)]
pub struct Setup {
    pub preferences: Preferences,
    pub aliases: Arc<Aliases>,
    pub zone: TimeZone,
    pub first: First,
    pub bell: bool,
    /// The conversation that was open last.
    pub last: Option<Addressee>,
}

/// See the module.
pub struct Model {
    preferences: Preferences,
    zone: TimeZone,
    first: First,
    own: Option<Name>,
    list: List,
    /// The conversation that is open; `None` for the client's own.
    open: Option<Addressee>,
    before: Option<Addressee>,
    /// Opened once it is known, if nothing else was before.
    last: Option<Addressee>,
    /// What is to be kept as the last conversation.
    keep: bool,
    views: BTreeMap<Addressee, View>,
    opened: u64,
    /// What was being typed elsewhere.
    drafts: BTreeMap<Option<Addressee>, String>,
    /// What has happened in rooms, and is no message.
    events: BTreeMap<Addressee, VecDeque<Event>>,
    log: Log,
    panel: Option<Panel>,
    notes: Notes,
    /// A word on what was just done, until the next key.
    flash: String,
    editor: Editor<Asking>,
    discovery: Option<(UpDown, String)>,
    last_asked: i64,
    asked: BTreeMap<i64, Asked>,
    outgoing: Vec<Input>,
    contacts: Stale,
    rooms: Stale,
    /// Whether it is known which conversations there are.
    prompted: bool,
    size: (usize, usize),
    /// How many rows the conversation has on the screen.
    height: usize,
    list_hidden: bool,
    change: Change,
    bell: Option<Attention>,
    rings: bool,
    flaps: Flaps,
    focus: Option<bool>,
    pressed: Option<Instant>,
    /// Whether a key was pressed since the start.
    has_pressed: bool,
    ended: Option<Notice>,
}

impl Model {
    pub fn new(setup: Setup, mut editor: Editor<Asking>, now: Now) -> Self {
        let Setup { preferences, aliases, zone, first, bell, last } = setup;
        let rules = Arc::clone(&preferences.rules);
        editor.prompt = Asking(Shown::new(aliases, Arc::clone(&rules)));
        Self {
            preferences,
            zone,
            first,
            own: None,
            list: List::default(),
            open: None,
            before: None,
            last,
            keep: false,
            views: BTreeMap::new(),
            opened: 0,
            drafts: BTreeMap::new(),
            events: BTreeMap::new(),
            log: Log::default(),
            panel: None,
            notes: Notes::default(),
            flash: String::new(),
            editor,
            discovery: None,
            last_asked: 0,
            asked: BTreeMap::new(),
            outgoing: Vec::new(),
            contacts: Stale::default(),
            rooms: Stale::default(),
            prompted: false,
            size: (0, 0),
            height: 1,
            list_hidden: false,
            change: Change::Pressed,
            bell: bell.then(|| Attention::new(rules)),
            rings: false,
            flaps: Flaps::default(),
            focus: None,
            // Who starts a program has pressed a key.
            pressed: Some(now.mono),
            has_pressed: false,
            ended: None,
        }
    }

    /// How soon the screen is to be drawn.
    pub fn change(&self) -> Change {
        self.change
    }

    fn changed(&mut self, change: Change) {
        self.change = self.change.max(change);
    }

    /// What is to be told to the client, in this order.
    pub fn take_outgoing(&mut self) -> Vec<Input> {
        std::mem::take(&mut self.outgoing)
    }

    /// Whether the bell is to ring.
    pub fn take_bell(&mut self) -> bool {
        std::mem::take(&mut self.rings)
    }

    /// The conversation that is to be open again after a restart, if it is another one than before.
    pub fn take_last(&mut self) -> Option<Option<Addressee>> {
        std::mem::take(&mut self.keep).then(|| self.open.clone())
    }

    /// What was told as the last thing, if it was.
    pub fn ended(&self) -> Option<&Notice> {
        self.ended.as_ref()
    }

    /// When [`tick`](Self::tick) has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        [self.contacts.due(), self.rooms.due(), self.flaps.deadline()].into_iter().flatten().min()
    }

    pub fn tick(&mut self, now: Now) {
        for (peer, state) in self.flaps.quiet(now.mono) {
            let notice = Notice::Link { peer, state, route: None, stranger: false };
            self.log.add(Said::notice(now.wall, notice));
            self.changed(Change::Arrived);
        }
        self.refresh(now.mono);
    }

    /// Asks again for what may have changed.
    fn refresh(&mut self, now: Instant) {
        if self.own.is_none() || !self.prompted {
            return;
        }
        if self.contacts.take(now) {
            self.ask(Command::Contacts, Asked::Contacts);
        }
        if self.rooms.take(now) {
            self.ask(Command::Rooms, Asked::Rooms);
        }
    }

    /// The terminal has this size now.
    pub fn resize(&mut self, size: (usize, usize)) {
        self.size = size;
        self.changed(Change::Pressed);
    }

    /// What the prompt shows: the conversations there are, and what is unread.
    pub fn prompt(&mut self, prompt: Prompt, now: Now) {
        let same = self.editor.prompt.0.knows_the_same(&prompt);
        self.list.set_unread(&prompt.unread);
        for who in if same { Vec::new() } else { self.list.update(&prompt) } {
            self.views.remove(&who);
            self.drafts.remove(&Some(who.clone()));
            self.notes.settle(&who);
            self.events.remove(&who);
            if self.open.as_ref() == Some(&who) {
                self.show(None);
            }
        }
        if !std::mem::replace(&mut self.prompted, true) {
            self.ask_mentions();
        }
        if self.list.has_unknown() {
            (self.contacts.stale, self.rooms.stale) = (true, true);
        }
        self.refresh(now.mono);
        let conversation = self.open.clone();
        self.editor.prompt.0.set(Prompt { conversation, ..prompt });
        if let Some(last) = self.last.take_if(|last| self.list.get(last).is_some()) {
            self.show(Some(last));
        }
        self.changed(Change::Arrived);
    }

    /// Whether the user is there: the terminal has the focus, or a key was pressed a moment ago.
    fn is_there(&self, now: Instant) -> bool {
        self.focus == Some(true) || self.pressed.is_some_and(|at| now.saturating_duration_since(at) < THERE)
    }

    fn ask(&mut self, command: Command, asked: Asked) {
        self.ask_for(Ok(command), asked);
    }

    fn ask_for(&mut self, command: Result<Command, CommandError>, asked: Asked) {
        self.last_asked += 1;
        self.asked.insert(self.last_asked, asked);
        if self.asked.len() > MAX_ASKED {
            self.asked.pop_first();
        }
        let reference = Some(Reference::Number(self.last_asked));
        self.outgoing.push(Input::Command { command, reference });
    }

    fn ask_page(&mut self, who: &Addressee, page: Option<(Beside, u32)>) {
        if let Some((beside, count)) = page {
            let command = Command::Page { peer: who.clone(), count, beside };
            self.ask(command, Asked::Page(who.clone()));
        }
    }

    /// Asks for what is unread in rooms: it was not told here.
    fn ask_mentions(&mut self) {
        let unread =
            self.list.entries().iter().filter(|entry| entry.unread > 0 && entry.who.room().is_some());
        let unread: Vec<_> = unread.map(|entry| (entry.who.clone(), entry.unread)).collect();
        for (peer, unread) in unread {
            let count = u32::try_from(unread).unwrap_or(u32::MAX).min(view::PAGE);
            let command = Command::Page { peer: peer.clone(), count, beside: Beside::Before(Seq::MAX) };
            self.ask(command, Asked::Mentions(peer));
        }
    }

    /// Asks for how far a conversation is read, which changes nothing.
    fn ask_read(&mut self, who: &Addressee, up_to: Seq) {
        self.ask(Command::Read(who.clone(), up_to), Asked::Read(who.clone()));
    }

    /// Opens a conversation, or with `None` the client's own.
    fn show(&mut self, who: Option<Addressee>) {
        self.panel = None;
        self.last = None;
        if who == self.open {
            return;
        }
        if let Some(old) = &self.open
            && let Some(view) = self.views.get_mut(old)
        {
            view.close();
        }
        let draft = self.drafts.remove(&who).unwrap_or_default();
        let typed = self.editor.exchange(&draft);
        if !typed.is_empty() {
            self.drafts.insert(self.open.clone(), typed);
        }
        self.before = std::mem::replace(&mut self.open, who.clone());
        self.editor.prompt.0.enter(who.clone());
        self.keep = true;
        self.changed(Change::Pressed);
        if let Some(who) = who {
            let unread = self.list.get(&who).map_or(0, |entry| entry.unread);
            self.opened += 1;
            let view = self.views.entry(who.clone()).or_default();
            view.opened = self.opened;
            let page = view.open(unread);
            self.ask_page(&who, page);
            self.ask_read(&who, 0);
            self.forget_views();
        } else {
            self.log.scroll_to_newest();
        }
    }

    /// Keeps in memory only what was open last.
    fn forget_views(&mut self) {
        while self.views.len() > MAX_VIEWS {
            let oldest = self.views.iter().min_by_key(|(_, view)| view.opened).map(|(who, _)| who.clone());
            oldest.into_iter().for_each(|who| _ = self.views.remove(&who));
        }
    }

    fn view(&mut self) -> Option<&mut View> {
        self.views.get_mut(self.open.as_ref()?)
    }

    /// A conversation with this number: 0 is the client's own.
    fn numbered(&self, number: usize) -> Option<Option<Addressee>> {
        let index = number.checked_sub(1);
        index.map_or(Some(None), |index| self.list.entries().get(index).map(|entry| Some(entry.who.clone())))
    }

    /// The number of the one that is open.
    fn number(&self) -> usize {
        self.open.as_ref().and_then(|who| self.list.number(who)).unwrap_or(0)
    }

    fn is_muted(&self, who: &Addressee) -> bool {
        self.preferences.rules.is_muted(who)
    }
}

#[cfg(test)]
mod tests;
