//! Decides everything that the client does, and does none of it.
//!
//! A [`Node`] is told what happened ([`Input`]) and what time it is, reads and writes the journal inside the caller's
//! transaction, and says what is to be done ([`Action`]). The caller acts only after the transaction is on the disk: so
//! nothing is promised, shown or acknowledged before it is kept.
//!
//! The node is a conductor: it routes what happens to small machines, each of which owns its fields, and holds no rules of
//! its own. In reading order:
//!
//! - `roster`: who is who, and whose key is pinned; `trust`: which new key the user means;
//! - `rendezvous`: the session with discovery;
//! - `dialer`: where contacts are, and when to dial them; `reach`: which other way is tried to those who can't be dialled;
//!   `outside`: what is between this machine and discovery;
//! - `links`: from a proven key to a link that both sides keep, with `parts` of long messages;
//! - `mates`: who is linked for the sake of a common room; `rooms`: what becomes of rooms;
//! - `delivery`: messages out and in, with `log` (their order) and `send_window` (what is on its way);
//! - `conversations`: what the user has seen;
//! - `intake`: what is taken from strangers, and from all while the disk is nearly full;
//! - `held`: what the user is told of messages that wait because of a bound of the other side;
//! - `withdrawals`: what is given back of users who do not exist;
//! - `output`: what is told, and what each front end has not written yet; `boxes`: how those on the socket come and go;
//! - `search`, `diagnosis`, `one_shot`, `exit`: as they say.
//!
//! `discovery_says`, `greetings`, `peers_say` and `rooms_say` are the rest of the conductor; `acquaintance` is how users
//! become contacts; `commands` and `room_commands` carry out what the user types; `unsaved` is what becomes of a
//! transaction that fails; `leaving` is how the program ends.

use std::sync::Arc;
use std::time::Duration;

use super::addressee::{Addressee, RoomLabel};
use super::event::{Action, BoxId, Input, OWN};
use super::notice::{Code, Notice};
use crate::protocol::peer::Peer;
use crate::protocol::{Name, PublicKey};
use crate::store::Result;
use crate::store::journal::Journal;
use crate::time::{Instant, Now};
use crate::undo::{Transactional, Value, transactional};

mod acquaintance;
mod boxes;
mod commands;
mod conversations;
mod delivery;
mod diagnosis;
mod dialer;
mod discovery_says;
mod effects;
mod exit;
mod greetings;
mod held;
mod intake;
mod leaving;
mod links;
mod log;
mod mates;
mod one_shot;
mod output;
mod outside;
mod parts;
mod peers_say;
mod progress;
mod reach;
mod rendezvous;
mod room_commands;
mod room_view;
pub mod rooms;
mod rooms_say;
mod roster;
mod search;
mod send_window;
mod setup;
mod trust;
mod unsaved;
mod ways;
mod withdrawals;

pub use boxes::ForBox;
use conversations::Conversations;
use delivery::Delivery;
use diagnosis::View;
use dialer::Dialer;
use effects::Effects;
use exit::Exit;
pub use exit::{FAILED, STILL_WAITING};
use held::Held;
use intake::Intake;
use links::Links;
use mates::Mates;
use one_shot::OneShot;
pub use output::BATCHES as OUTPUT_BATCHES;
use output::{Asked, Output};
use outside::Outside;
pub use outside::{Between, Reachable};
use progress::Progress;
use reach::Reach;
use rendezvous::{Due, Keys, Rendezvous};
use rooms::Rooms;
use roster::Roster;
use search::Search;
pub use setup::Setup;
use withdrawals::Withdrawals;

/// How long what may be lost without harm (up to where messages were shown) waits for another reason to write to the
/// disk.
const LAZY_SAVE: Duration = Duration::from_millis(500);
/// The state of a client, owned by its loop.
pub struct Node {
    setup: Setup,
    fx: Effects,
    roster: Roster,
    rendezvous: Value<Rendezvous>,
    dialer: Dialer,
    reach: Reach,
    outside: Outside,
    links: Links,
    mates: Mates,
    rooms: Rooms,
    noted: rooms_say::Noted,
    delivery: Delivery,
    conversations: Conversations,
    withdrawals: Value<Withdrawals>,
    search: Value<Search>,
    progress: Progress,
    one_shot: Value<Option<OneShot>>,
    exit: Value<Exit>,
    intake: Intake,
    held: Held,
    /// When what can wait is saved.
    save_at: Option<Instant>,
    /// Until when the disk is left alone, for a write has failed.
    rests_until: Instant,
}

impl Node {
    /// A node with what its journal holds, and the first things to be done.
    ///
    /// # Errors
    /// The journal can't be read.
    pub fn new(setup: Setup, now: Now, journal: &Journal) -> Result<Self> {
        let rows = journal.contacts()?;
        let keys = Keys::new(Arc::clone(&setup.endpoints), setup.pinned(journal)?, setup.discovery_key);
        let delivery = Delivery::load(journal, &rows, setup.epoch, setup.segment)?;
        let mut node = Self {
            fx: Effects::new(now, Output::new(setup.silent)),
            roster: Roster::load(&rows),
            rendezvous: Value::new(Rendezvous::new(now, keys, setup.seed)),
            dialer: Dialer::load(now, &rows, setup.seed.wrapping_add(1)),
            reach: Reach::default(),
            outside: Outside::default(),
            links: Links::new(setup.key()),
            mates: Mates::load(&rows),
            rooms: Rooms::load(journal, setup.key())?,
            noted: rooms_say::Noted::default(),
            conversations: Conversations::load(journal, setup.key(), &rows, delivery.last_seq())?,
            delivery,
            withdrawals: Value::default(),
            search: Value::new(Search::load(now, journal)?),
            progress: Progress::default(),
            one_shot: Value::default(),
            exit: Value::new(Exit::new(setup.linger)),
            intake: Intake::load(journal, &rows, setup.strangers, now)?,
            held: Held::new(),
            save_at: None,
            rests_until: now.mono,
            setup,
        };
        if !node.fx.output.is_silent() {
            node.conversations.attach(OWN);
        }
        node.note_place();
        boxes::greet(&mut node, OWN);
        node.dial_given_up();
        node.note_rooms(journal)?;
        // An earlier start may have ended before it had said so.
        for row in rows.iter().filter(|row| row.is_withdrawn()) {
            node.withdrawals.add(row.id, row.outgoing.delivered);
            node.tell_withdrawn(row.id);
        }
        for row in &rows {
            if let Some(messages) = node.delivery.count_lost(journal, row.id)? {
                node.fx.tell(Notice::Lost { peer: row.name.clone(), messages });
            }
        }
        // All of this holds, whatever becomes of the first transaction.
        node.commit();
        Ok(node)
    }

    /// Takes in what happened. Call [`Self::finish`] after the last input of a transaction.
    ///
    /// # Errors
    /// The journal fails; then roll back and call [`Self::failed`].
    pub fn handle(&mut self, now: Now, journal: &Journal, input: &Input) -> Result<()> {
        self.fx.now = now;
        if self.exit.has_left() && !matches!(input, Input::Printed | Input::Written(_)) {
            return Ok(());
        }
        self.note_place();
        match input {
            Input::Command { command, reference } => {
                return self.command(journal, command, Asked { by: OWN, reference: reference.clone() });
            }
            Input::Said { from, command, reference } => {
                return self.command(journal, command, Asked { by: *from, reference: reference.clone() });
            }
            Input::Attached(front_end) => boxes::attached(self, *front_end, false),
            Input::AttachedQuietly(front_end) => boxes::attached(self, *front_end, true),
            Input::Detached(front_end) => boxes::detached(self, *front_end),
            Input::Written(front_end) => self.written(*front_end),
            Input::Writing(front_end) => self.fx.output.writing(*front_end, now),
            Input::Send { to, text } => return commands::send_one_shot(self, journal, to, text),
            Input::RendezvousUp { session, key, path, reached } => {
                return self.session_up(journal, *session, *key, (path, reached));
            }
            Input::RendezvousSays(session, messages) => {
                if self.rendezvous.is_session(*session) {
                    self.rendezvous.received(now);
                }
                return messages.iter().try_for_each(|said| self.discovery_says(journal, *session, said));
            }
            Input::LinkUp { link, key, version, dialled, route, budget } => {
                self.links.add(&self.fx, *link, *key, dialled.is_some(), *route, *budget);
                return self.link_proved(journal, *link, *version, *dialled);
            }
            Input::LinkSays(link, messages) => {
                self.links.received(&self.fx, *link);
                let mut incoming = journal.incoming()?;
                return messages
                    .iter()
                    .try_for_each(|said| self.peer_says(journal, &mut incoming, *link, said));
            }
            Input::InputEnded => self.exit.linger(now),
            Input::Signal => leaving::leave_or(self, (0, None)),
            Input::OutputClosed(error) => leaving::output_closed(self, error.as_ref()),
            Input::Printed => self.written(OWN),
            Input::Disk(space) => self.disk(*space),
            Input::RendezvousFailed(missed) => {
                self.rendezvous.failed(&mut self.fx, missed);
                self.forget_presence();
            }
            Input::RendezvousClosed(session) => {
                if self.rendezvous.closed(&mut self.fx, *session) {
                    self.forget_presence();
                }
            }
            Input::DialFailed { contact, problems } => self.dial_failed(*contact, problems),
            Input::NotMet { contact, problems } => ways::not_met(self, *contact, problems),
            Input::Mapped(outer) => ways::mapped(self, *outer),
            Input::LinkClosed(link) => self.close_link(*link, None),
            Input::Alive(connection) if self.rendezvous.is_session(*connection) => {
                self.rendezvous.received(now)
            }
            Input::Alive(connection) => self.links.received(&self.fx, *connection),
        }
        Ok(())
    }

    /// Completes a transaction with everything that follows from the inputs taken in. Commit then and call
    /// [`Self::committed`], or [`Self::failed`] if it can't be committed.
    ///
    /// # Errors
    /// The journal fails; then roll back and call [`Self::failed`].
    pub fn finish(&mut self, now: Now, journal: &Journal) -> Result<()> {
        self.fx.now = now;
        self.note_place();
        self.finish_rooms(journal)?;
        self.follow_up(now, journal)?;
        acquaintance::expire(self, journal)?;
        self.remove_withdrawn(journal)?;
        while let Some(query) = self.search.next_ready(|front_end| self.fx.output.has_room(front_end)) {
            commands::answer_search(self, journal, query)?;
        }
        self.search.follow(now, journal)?;
        let Self { search, rooms, conversations, roster, .. } = self;
        self.progress.tick(now, search, rooms, conversations, roster);
        self.delivery.seal(journal)?;
        leaving::leave_when_done(self);
        mates::settle(self, journal)?;
        self.save(now, journal)
    }

    /// The transaction is on the disk: now, and not before, this is to be done.
    pub fn committed(&mut self) -> Vec<Action> {
        self.commit();
        let now = self.fx.now;
        if let Some(batch) = self.fx.output.take_batch(OWN, now) {
            self.fx.act(Action::Print(batch));
        }
        if let Some((prompt, _)) = boxes::prompt(self, OWN) {
            self.fx.act(Action::Prompt(prompt));
        }
        self.fx.take_actions()
    }

    /// When [`Self::finish`] must be called, whatever happens, on the clock of [`Now::mono`].
    pub fn deadline(&self) -> Instant {
        let searched = self.search.deadline(|front_end| self.fx.output.has_room(front_end));
        [
            self.rendezvous.deadline(),
            self.dialer.deadline(),
            self.reach.deadline(),
            self.links.deadline(),
            self.intake.deadline(),
            self.held.deadline(),
            searched,
            self.fx.output.deadline(),
            self.progress.deadline(),
            self.exit.deadline(),
            self.save_at.unwrap_or(Instant::NEVER),
            if self.mates.is_stale() { self.rests_until } else { Instant::NEVER },
            self.rooms.deadline().max(self.rests_until),
        ]
        .into_iter()
        .fold(Instant::NEVER, Instant::min)
    }

    /// Whether commands are welcome. While the console can't keep up they wait, unless its output is unread.
    pub fn takes_commands(&self, now: Now) -> bool {
        self.box_takes_commands(OWN, now)
    }

    /// The same of a box.
    pub fn box_takes_commands(&self, front_end: BoxId, now: Now) -> bool {
        self.fx.output.takes_commands(front_end, now)
    }

    /// What boxes are to be given, once the transaction is on the disk.
    pub fn for_boxes(&mut self) -> Vec<(BoxId, ForBox)> {
        boxes::take(self)
    }

    fn view(&self) -> View<'_> {
        View {
            roster: &self.roster,
            rendezvous: &self.rendezvous,
            dialer: &self.dialer,
            reach: &self.reach,
            outside: &self.outside,
            links: &self.links,
            delivery: &self.delivery,
            held: &self.held,
            conversations: &self.conversations,
        }
    }

    /// What follows from the inputs and the time and needs nothing to be written.
    fn follow_up(&mut self, now: Now, journal: &Journal) -> Result<()> {
        self.fx.now = now;
        self.fx.output.tick(now);
        self.tick();
        // On a thin line a frame takes long.
        for (link, cursor) in self.delivery.acknowledgements() {
            self.links.say(&mut self.fx, link, vec![Peer::Ack(cursor)]);
        }
        for (link, frame) in self.delivery.frames(now.mono, journal)? {
            self.links.say(&mut self.fx, link, frame);
        }
        self.say_of_rooms();
        let delivered = |id| self.delivery.delivered(id);
        let writer =
            |room, key: &PublicKey| room_view::writer(&self.setup, &self.roster, &self.rooms, room, key);
        self.conversations.catch_up(&mut self.fx, journal, &self.roster, delivered, writer)?;
        self.give_back(journal)?;
        boxes::tell_read(self, journal)
    }

    /// Everything that happens by the clock.
    fn tick(&mut self) {
        if self.fx.now.mono >= self.rendezvous.deadline() {
            let Due { lost, ask_again } = self.rendezvous.tick(&mut self.fx);
            if lost {
                self.forget_presence();
            }
            if ask_again {
                self.ask_unconfirmed();
            }
        }
        for link in self.links.tick(&mut self.fx) {
            tracing::info!(link, "nothing received for too long");
            self.close_link(link, None);
        }
        ways::tick(self);
        let Self { fx, roster, rendezvous, dialer, links, mates, held, .. } = self;
        held.tick(fx, |id| roster.name(id));
        dialer.tick(fx, |id| {
            let person = roster.get(id).filter(|person| person.is_dialled() || mates.has(id))?;
            let free = links.of(id).is_none() && !rendezvous.is_out();
            Some((&person.name, person.identity.key.filter(|_| free)?))
        });
    }

    /// Saves what has changed about contacts. Nothing is written for what can wait.
    fn save(&mut self, now: Now, journal: &Journal) -> Result<()> {
        let written = self.noted.has_written()
            | self.roster.save(journal)?
            | self.dialer.save(journal)?
            | self.delivery.save(journal)?;
        let due = self.save_at.is_some_and(|at| now.mono >= at) || self.exit.has_left();
        if written || due {
            self.dialer.save_sightings(journal)?;
            self.conversations.save(journal)?;
            self.save_at = None;
        } else if self.dialer.is_behind() || self.conversations.is_behind() {
            self.save_at.get_or_insert(now.mono + LAZY_SAVE);
        }
        Ok(())
    }

    /// Gives back what was written to users who do not exist, as far as there is room.
    fn give_back(&mut self, journal: &Journal) -> Result<()> {
        if self.withdrawals.is_empty() || self.fx.output.is_silent() {
            return Ok(());
        }
        for id in self.withdrawals.ids() {
            if let Some(name) = self.roster.name(id) {
                let count = self.withdrawals.give_back(&mut self.fx, journal, id, name)?;
                self.delivery.gave_back(id, count);
            }
        }
        Ok(())
    }

    /// Removes the users who do not exist, once all that was written to them has been given back.
    fn remove_withdrawn(&mut self, journal: &Journal) -> Result<()> {
        if self.withdrawals.is_empty() || self.fx.now.mono < self.rests_until {
            return Ok(());
        }
        for id in self.withdrawals.ids() {
            // In silence the exit status says what came of a single text, and the rest is for the next start.
            let name = self.roster.name(id).cloned();
            let one_shot = self.one_shot.as_ref().is_some_and(|it| it.to().user() == name.as_ref());
            if self.withdrawals.is_over(id) || (self.fx.output.is_silent() && one_shot) {
                let exists = self.withdrawals.remove(id);
                acquaintance::remove(self, journal, id)?;
                if let Some(name) = name.filter(|_| exists) {
                    // It was said while nothing could come of it.
                    self.ask_for(&name, false);
                }
            }
        }
        Ok(())
    }

    /// A command was not done.
    fn refuse(&mut self, code: Code, peer: Option<&Name>, message: String) {
        self.note_refused();
        if let Some(one_shot) = &mut *self.one_shot {
            one_shot.note_refused(peer.cloned().map(Addressee::User).as_ref(), &message);
        }
        self.fx.error(code, peer, message);
    }

    /// A command about a room, and perhaps a user in it, was not done.
    fn refuse_room(&mut self, code: Code, room: &RoomLabel, peer: Option<&Name>, message: String) {
        self.note_refused();
        if let Some(one_shot) = &mut *self.one_shot {
            one_shot.note_refused(Some(&Addressee::Room(room.clone())), &message);
        }
        let room_id = self.conversations.room_key(room);
        self.fx.room_error(code, (room, room_id), peer, message);
    }
}

transactional!(Node {
    fx,
    roster,
    rendezvous,
    dialer,
    reach,
    outside,
    links,
    mates,
    noted,
    delivery,
    conversations,
    withdrawals,
    search,
    one_shot,
    exit,
    intake,
    held,
});

#[cfg(test)]
mod tests;
