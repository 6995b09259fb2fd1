//! Decides everything that the client does, and does none of it.
//!
//! A [`Node`] is told what happened ([`Input`]) and what time it is, reads and writes the journal inside the caller's
//! transaction, and says what is to be done ([`Action`]). The caller acts only after the transaction is on the disk: so
//! nothing is promised, shown or acknowledged before it is kept.
//!
//! The node is a conductor: it routes what happens to small machines, each of which owns its fields, and holds no rules of
//! its own. In reading order:
//!
//! - [`roster`]: who is who, and whose key is pinned;
//! - [`rendezvous`]: the session with discovery;
//! - [`dialer`]: where contacts are, and when to dial them;
//! - [`links`]: from a proven key to a link that both sides keep;
//! - [`delivery`]: messages out and in, with [`log`] (their order) and [`send_window`] (what is on its way);
//! - [`conversations`]: what the user has seen;
//! - [`withdrawals`]: what is given back of users who do not exist;
//! - [`output`]: what is told, and what the console has not written yet;
//! - [`search`], [`diagnosis`], [`one_shot`], [`exit`]: as they say.
//!
//! `node/commands.rs` is the rest of the conductor: what the user types.

use std::net::SocketAddr;
use std::time::Duration;

use super::event::{Action, ConnectionId, Input, Problem};
use super::notice::{Code, Notice, UpDown};
use crate::protocol::peer::{ByeReason, Hello, Peer};
use crate::protocol::rendezvous::{About, Identify, RefusedCode, Register, Status, ToClient, ToDiscovery};
use crate::protocol::{Name, PublicKey};
use crate::store::Result;
use crate::store::journal::{ContactId, Incoming, Journal, Request, Seq};
use crate::time::{Instant, Now};
use crate::undo::{Transactional, Value};

mod commands;
mod conversations;
mod delivery;
mod diagnosis;
mod dialer;
mod effects;
mod exit;
mod links;
mod log;
mod one_shot;
mod output;
mod rendezvous;
mod roster;
mod search;
mod send_window;
mod withdrawals;

use conversations::Conversations;
use delivery::{Delivered, Delivery};
use diagnosis::View;
use dialer::Dialer;
use effects::Effects;
use exit::Exit;
pub use exit::{FAILED, STILL_WAITING};
use links::{Greeting, Heard, Links, Unknown, WINDOW};
use one_shot::OneShot;
pub use output::BATCHES as OUTPUT_BATCHES;
use output::Output;
use rendezvous::{Due, Rendezvous};
use roster::{Learned, Roster};
use search::Search;
use withdrawals::Withdrawals;

/// How long what may be lost without harm (up to where messages were shown) waits for another reason to write to the
/// disk.
const LAZY_SAVE: Duration = Duration::from_millis(500);
/// How long after a failed write the disk is left alone.
const AFTER_FAILURE: Duration = Duration::from_secs(2);
/// Why a session with discovery is given up when a transaction fails.
const NOT_SAVED: &str = "the disk is full or fails";

/// What a node is from the start.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The account's name.
    pub name: Name,
    /// The account's public key.
    pub key: PublicKey,
    /// Where the client takes links: what is given out.
    pub listen: SocketAddr,
    /// Which discovery, `HOST:PORT`: what its key is pinned under.
    pub endpoint: String,
    /// The key that discovery must have, if the user said so.
    pub discovery_key: Option<PublicKey>,
    /// How long to stay after the last line of input; `None`: until all is delivered.
    pub linger: Option<Duration>,
    /// Whether the output is never read: nothing is told then, and no message counts as shown.
    pub silent: bool,
    /// How many messages make a segment of the journal.
    pub segment: Seq,
    /// A random number that no start of this client has had.
    pub epoch: u64,
    /// Where the jitter of back-offs comes from.
    pub seed: u64,
}

/// The state of a client, owned by its loop.
pub struct Node {
    setup: Setup,
    fx: Effects,
    roster: Roster,
    rendezvous: Value<Rendezvous>,
    dialer: Dialer,
    links: Links,
    delivery: Delivery,
    conversations: Conversations,
    withdrawals: Value<Withdrawals>,
    search: Value<Search>,
    one_shot: Value<Option<OneShot>>,
    exit: Value<Exit>,
    /// When what can wait is saved.
    save_at: Option<Instant>,
}

impl Node {
    /// A node with what its journal holds, and the first things to be done.
    ///
    /// # Errors
    /// The journal can't be read.
    pub fn new(setup: Setup, now: Now, journal: &Journal) -> Result<Self> {
        let rows = journal.contacts()?;
        let pinned = journal.rendezvous(&setup.endpoint)?.map(|(key, _)| key);
        let delivery = Delivery::load(journal, &rows, setup.epoch, setup.segment)?;
        let mut node = Self {
            fx: Effects::new(now, Output::new(setup.silent)),
            roster: Roster::load(&rows),
            rendezvous: Value::new(Rendezvous::new(
                now,
                setup.endpoint.clone(),
                pinned,
                setup.discovery_key,
                setup.seed,
            )),
            dialer: Dialer::load(now, &rows, setup.seed.wrapping_add(1)),
            links: Links::new(setup.key),
            conversations: Conversations::load(journal, &rows, delivery.last_seq())?,
            delivery,
            withdrawals: Value::default(),
            search: Value::new(Search::load(now, journal)?),
            one_shot: Value::default(),
            exit: Value::new(Exit::new(setup.linger)),
            save_at: None,
            setup,
        };
        node.fx.tell(Notice::Ready {
            user: node.setup.name.clone(),
            address: node.setup.listen,
            fingerprint: node.setup.key,
        });
        node.dial_given_up();
        // An earlier start may have ended before it had said so.
        for row in rows.iter().filter(|row| row.is_withdrawn()) {
            node.withdrawals.add(row.id, row.outgoing.delivered);
            node.tell_withdrawn(row.id);
        }
        Ok(node)
    }

    /// Takes in what happened. Call [`Self::finish`] after the last input of a transaction.
    ///
    /// # Errors
    /// The journal fails; then roll back and call [`Self::failed`].
    pub fn handle(&mut self, now: Now, journal: &Journal, input: &Input) -> Result<()> {
        self.fx.now = now;
        if self.exit.has_left() && !matches!(input, Input::Printed) {
            return Ok(());
        }
        match input {
            Input::Command { command, reference } => {
                self.fx.output.answer(reference.clone());
                let done = match command {
                    Ok(command) => self.command(journal, command),
                    Err(error) => {
                        self.refuse_line(error);
                        Ok(())
                    }
                };
                self.fx.output.answer(None);
                return done;
            }
            Input::Send { to, text } => return self.send_one_shot(journal, to, text),
            Input::RendezvousUp { session, key } => return self.session_up(journal, *session, *key),
            Input::RendezvousSays(session, messages) => {
                self.rendezvous.received(now);
                return messages.iter().try_for_each(|said| self.discovery_says(journal, *session, said));
            }
            Input::LinkUp { link, key, dialled, route, budget } => {
                self.links.add(&self.fx, *link, *key, dialled.is_some(), *route, *budget);
                return self.link_proved(journal, *link, *dialled);
            }
            Input::LinkSays(link, messages) => {
                self.links.received(&self.fx, *link);
                let mut incoming = journal.incoming()?;
                return messages
                    .iter()
                    .try_for_each(|said| self.peer_says(journal, &mut incoming, *link, said));
            }
            Input::InputEnded => self.exit.linger(now),
            Input::Signal => self.leave_or((0, None)),
            Input::OutputClosed(error) => self.output_closed(error.as_ref()),
            Input::Printed => self.printed(),
            Input::RendezvousFailed(problem) => {
                self.rendezvous.failed(&mut self.fx, problem);
                self.forget_presence();
            }
            Input::RendezvousClosed(session) => {
                if self.rendezvous.closed(&mut self.fx, *session) {
                    self.forget_presence();
                }
            }
            Input::DialFailed { contact, problems } => self.dial_failed(*contact, problems),
            Input::LinkClosed(link) => self.close_link(*link, None),
        }
        Ok(())
    }

    /// Completes a transaction with everything that follows from the inputs taken in. Commit then and call
    /// [`Self::committed`], or [`Self::failed`] if it can't be committed.
    ///
    /// # Errors
    /// The journal fails; then roll back and call [`Self::failed`].
    pub fn finish(&mut self, now: Now, journal: &Journal) -> Result<()> {
        self.follow_up(now, journal)?;
        self.remove_withdrawn(journal)?;
        while self.fx.output.has_room()
            && let Some(query) = self.search.next_ready()
        {
            self.answer_search(journal, query)?;
        }
        self.search.follow(now, journal)?;
        self.delivery.seal(journal)?;
        self.leave_when_done();
        self.save(now, journal)
    }

    /// The transaction is on the disk: now, and not before, this is to be done.
    pub fn committed(&mut self) -> Vec<Action> {
        self.machines().into_iter().for_each(|machine| machine.commit());
        let now = self.fx.now;
        if let Some(batch) = self.fx.output.take_batch(now) {
            self.fx.act(Action::Print(batch));
        }
        let unlinked = self.conversations.current().filter(|id| self.links.of(*id).is_none());
        let waiting = unlinked.map_or(0, |id| self.delivery.waiting(id));
        if let Some(prompt) = self.conversations.prompt(&self.roster, waiting) {
            self.fx.act(Action::Prompt(prompt));
        }
        self.fx.take_actions()
    }

    /// The disk did not take the transaction: takes back everything since the last commit, and decides on `inputs`, which
    /// were those of the transaction, once more without a disk. What had to be saved is refused; connections over which
    /// something was said that had to be saved are closed, for both sides then find out anew where they are. `epoch` is
    /// a fresh random number.
    ///
    /// # Errors
    /// The journal can't even be read.
    pub fn failed(
        &mut self,
        now: Now,
        journal: &Journal,
        inputs: &[Input],
        epoch: u64,
    ) -> Result<Vec<Action>> {
        self.machines().into_iter().for_each(|machine| machine.rollback());
        self.fx.now = now;
        self.delivery.renew_epoch(epoch);
        self.refuse_searches(Code::NotSaved, "the disk is full or fails, and so the index can't be updated");
        self.search.postpone(now, AFTER_FAILURE);
        inputs.iter().try_for_each(|input| self.handle_unsaved(now, journal, input))?;
        self.follow_up(now, journal)?;
        self.leave_when_done();
        self.save_at = Some(now.mono + AFTER_FAILURE);
        Ok(self.committed())
    }

    /// When [`Self::finish`] must be called, whatever happens, on the clock of [`Now::mono`].
    #[must_use]
    pub fn deadline(&self) -> Instant {
        let room = self.fx.output.has_room();
        [
            self.rendezvous.deadline(),
            self.dialer.deadline(),
            self.links.deadline(),
            self.search.deadline(room),
            self.fx.output.deadline(),
            self.exit.deadline(),
            self.save_at.unwrap_or(Instant::NEVER),
        ]
        .into_iter()
        .fold(Instant::NEVER, Instant::min)
    }

    /// Whether commands are welcome. While the console can't keep up they wait, unless its output is unread.
    #[must_use]
    pub fn takes_commands(&self, now: Now) -> bool {
        self.fx.output.has_room() || self.fx.output.is_stuck(now)
    }

    fn machines(&mut self) -> [&mut dyn Transactional; 11] {
        [
            &mut self.fx,
            &mut self.roster,
            &mut self.rendezvous,
            &mut self.dialer,
            &mut self.links,
            &mut self.delivery,
            &mut self.conversations,
            &mut self.withdrawals,
            &mut self.search,
            &mut self.one_shot,
            &mut self.exit,
        ]
    }

    fn view(&self) -> View<'_> {
        View {
            roster: &self.roster,
            rendezvous: &self.rendezvous,
            dialer: &self.dialer,
            links: &self.links,
            delivery: &self.delivery,
            conversations: &self.conversations,
        }
    }

    /// What follows from the inputs and the time and needs nothing to be written.
    fn follow_up(&mut self, now: Now, journal: &Journal) -> Result<()> {
        self.fx.now = now;
        self.fx.output.tick(now);
        self.tick();
        for (link, frame) in self.delivery.frames(journal)? {
            self.links.say(&mut self.fx, link, frame);
        }
        for (link, cursor) in self.delivery.acknowledgements() {
            self.links.say(&mut self.fx, link, vec![Peer::Ack(cursor)]);
        }
        let delivered = |id| self.delivery.delivered(id);
        self.conversations.catch_up(&mut self.fx, journal, &self.roster, delivered)?;
        self.give_back(journal)?;
        self.conversations.recount(journal, &self.roster)
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
        let Self { fx, roster, rendezvous, dialer, links, .. } = self;
        dialer.tick(fx, |id| {
            let person = roster.get(id).filter(|person| !person.identity.blocked)?;
            let free = links.of(id).is_none() && !rendezvous.is_out();
            Some((&person.name, person.identity.key.filter(|_| free)?))
        });
    }

    /// Saves what has changed about contacts. Nothing is written for what can wait.
    fn save(&mut self, now: Now, journal: &Journal) -> Result<()> {
        let urgent = self.roster.is_unsaved() || self.dialer.is_unsaved() || self.delivery.is_unsaved();
        let due = self.save_at.is_some_and(|at| now.mono >= at) || self.exit.has_left();
        if urgent || due {
            self.roster.save(journal)?;
            self.dialer.save(journal)?;
            self.delivery.save(journal)?;
            self.conversations.save(journal)?;
            self.save_at = None;
        } else if self.dialer.is_behind() || self.conversations.is_behind() {
            self.save_at.get_or_insert(now.mono + LAZY_SAVE);
        }
        Ok(())
    }

    /// Decides on an input of a transaction that has failed, with nothing saved.
    fn handle_unsaved(&mut self, now: Now, journal: &Journal, input: &Input) -> Result<()> {
        if self.exit.has_left() {
            return self.handle(now, journal, input);
        }
        match input {
            Input::Command { command: Ok(command), reference } => {
                return match self.meaning(command) {
                    Ok(command) if command.is_written() => {
                        self.refuse_unsaved(&command, reference.clone());
                        Ok(())
                    }
                    _ => self.handle(now, journal, input),
                };
            }
            Input::Send { .. } => {
                self.leave((FAILED, Some("not saved, and not sent: the disk is full or fails".into())));
            }
            Input::RendezvousUp { session, .. } => {
                self.fx.close(*session, None);
                self.rendezvous.not_connected(&mut self.fx, NOT_SAVED);
            }
            Input::RendezvousSays(session, messages) if self.rendezvous.is_session(*session) => {
                let newer = messages.iter().find(|said| matches!(said, ToClient::Superseded(_)));
                if let Some(newer) = newer {
                    return self.discovery_says(journal, *session, newer);
                }
                if !messages.iter().all(|said| matches!(said, ToClient::Pong)) {
                    self.rendezvous.give_up(&mut self.fx, NOT_SAVED);
                    self.forget_presence();
                }
            }
            Input::LinkUp { link, dialled, .. } => {
                self.fx.close(*link, None);
                if let Some(contact) = *dialled {
                    self.dialer.dialled(now, contact);
                    self.dialer.dial_later(now, contact, false);
                }
            }
            Input::LinkSays(link, messages) => {
                if !messages.iter().all(|said| matches!(said, Peer::Ping)) {
                    self.close_link(*link, None);
                }
            }
            other => return self.handle(now, journal, other),
        }
        Ok(())
    }

    /// The console has written its oldest batch.
    fn printed(&mut self) {
        for (contact, seq) in self.fx.output.written(self.fx.now) {
            if self.withdrawals.is_empty() || !self.withdrawals.written(contact) {
                self.conversations.written(contact, seq);
            }
        }
        if let Some(dropped) = self.fx.output.take_dropped() {
            let message = format!(
                "the output was not read, and {dropped} notices were dropped (no messages); CONTACTS and OUTBOX say how things are"
            );
            self.fx.error(Code::OutputBehind, None, message);
        }
    }

    fn session_up(&mut self, journal: &Journal, session: ConnectionId, key: PublicKey) -> Result<()> {
        let Setup { name, listen, epoch, .. } = &self.setup;
        let register = Register { name: name.clone(), listen: *listen, start: Some(*epoch) };
        if self.rendezvous.connected(&mut self.fx, session, key, register) {
            journal.pin_rendezvous(&self.setup.endpoint, key)?;
        }
        Ok(())
    }

    fn discovery_says(&mut self, journal: &Journal, session: ConnectionId, said: &ToClient) -> Result<()> {
        if !self.rendezvous.is_session(session) {
            return Ok(());
        }
        match said {
            ToClient::Pong => {}
            ToClient::Registered(registered) => {
                journal.set_registered(&self.setup.endpoint)?;
                let detail = format!("registered as {} at {}", self.setup.name, registered.address);
                self.rendezvous.registered(&mut self.fx, detail);
            }
            ToClient::Refused(refused) => {
                return self.discovery_refuses(journal, refused.code, refused.name.as_ref());
            }
            ToClient::Status(status) => return self.status(journal, status),
            ToClient::NoSuchUser(about) => self.no_such_user(&about.name),
            ToClient::Synced => self.synced(),
            ToClient::Identity(found) => return self.identified(journal, found.key, found.name.as_ref()),
            ToClient::Superseded(newer) => self.superseded(newer.address),
        }
        Ok(())
    }

    fn status(&mut self, journal: &Journal, status: &Status) -> Result<()> {
        if status.name == self.setup.name {
            return Ok(());
        }
        // Also for a user whom this journal does not know but discovery calls connected: it was restored from a backup,
        // and they are still a contact on their side.
        let known = self.acquaint(journal, &status.name, status.key)?;
        if let Some(id) = known.or_else(|| self.roster.named(&status.name)) {
            self.rendezvous.note_spoken(id);
        }
        let Some(id) = known else {
            return Ok(());
        };
        let linked = self.links.of(id).is_some();
        if self.dialer.learn(id, status.address, status.online) && !linked {
            self.dial_soon(id);
        }
        if self.dialer.set_presence(self.fx.now, id, Some(status.online)) && !self.roster.is_blocked(id) {
            self.fx.tell(Notice::Presence { peer: status.name.clone(), state: status.online.into() });
        }
        if self.request(id) == Request::Unconfirmed {
            self.roster.set_request(id, Request::Kept);
        }
        if linked && (status.asks || self.request(id) == Request::Kept) {
            self.report_link(id);
        }
        Ok(())
    }

    /// Discovery says that this is the key of a user who wants a channel: the contact that they are from now on, unless
    /// the key is not the one that is pinned.
    fn acquaint(&mut self, journal: &Journal, name: &Name, key: PublicKey) -> Result<Option<ContactId>> {
        match self.roster.learn(name, key) {
            Learned::Key(id) => return Ok(Some(id)),
            Learned::Ignored => {}
            Learned::Exists(id) => self.withdrawals.note_exists(id),
            Learned::Changed(words) => self.fx.error(Code::KeyChanged, Some(name), words),
            Learned::Stranger => {
                if let Some(id) = self.add_contact(journal, name)? {
                    self.roster.learn(name, key);
                    self.fx.tell(Notice::Request { from: name.clone(), fingerprint: key });
                    return Ok(Some(id));
                }
                let message = format!("{name} asks for you, but there are too many contacts");
                self.fx.error(Code::Refused, Some(name), message);
            }
        }
        Ok(None)
    }

    /// Discovery has said all that it knows: asks for the others.
    fn synced(&mut self) {
        self.dial_given_up();
        let spoken = self.rendezvous.take_spoken();
        let wanted = self.roster.known().filter(|(_, person)| !person.identity.blocked);
        let contacts: Vec<(ContactId, Name)> = wanted.map(|(id, person)| (id, person.name.clone())).collect();
        for (id, name) in contacts {
            if !spoken.contains(&id) {
                self.ask_for(&name);
            }
            if self.links.of(id).is_some() {
                self.report_link(id);
            }
        }
    }

    fn ask_unconfirmed(&mut self) {
        let unconfirmed = self.roster.iter().filter(|(_, it)| it.identity.request == Request::Unconfirmed);
        let names: Vec<Name> = unconfirmed.map(|(_, person)| person.name.clone()).collect();
        names.iter().for_each(|name| self.ask_for(name));
    }

    fn ask_for(&mut self, name: &Name) {
        self.rendezvous.ask(&mut self.fx, ToDiscovery::Request(About { name: name.clone() }));
    }

    /// There is no such user: what was meant for one is given back. A contact whose key is known does exist, whatever
    /// this discovery (which may have lost its database) knows.
    fn no_such_user(&mut self, name: &Name) {
        let Some((id, person)) = self.roster.named(name).and_then(|id| Some((id, self.roster.get(id)?)))
        else {
            return;
        };
        if person.identity.key.is_some() || person.identity.blocked || person.withdrawn {
            return;
        }
        self.delivery.withdraw(id);
        self.roster.withdraw(id);
        self.withdrawals.add(id, self.delivery.delivered(id));
        self.tell_withdrawn(id);
        self.conversations.contacts_changed();
        if self.conversations.current() == Some(id) {
            self.leave_conversation();
        }
    }

    fn tell_withdrawn(&mut self, id: ContactId) {
        if let Some(name) = self.roster.name(id).cloned() {
            let what = match self.delivery.waiting(id) {
                0 => "the request is withdrawn".to_owned(),
                waiting => format!("the request is withdrawn, and so is what waited for {name} ({waiting})"),
            };
            self.refuse(Code::NoSuchUser, Some(&name), format!("there is no user {name}; {what}"));
        }
    }

    /// Gives back what was written to users who do not exist, as far as there is room.
    fn give_back(&mut self, journal: &Journal) -> Result<()> {
        if self.withdrawals.is_empty() || self.fx.output.is_silent() {
            return Ok(());
        }
        for id in self.withdrawals.ids() {
            if let Some(name) = self.roster.name(id) {
                let count = self.withdrawals.give_back(&mut self.fx, journal, id, name)?;
                (0..count).for_each(|_| self.delivery.gave_back(id));
            }
        }
        Ok(())
    }

    /// Removes the users who do not exist, once all that was written to them has been given back.
    fn remove_withdrawn(&mut self, journal: &Journal) -> Result<()> {
        if self.withdrawals.is_empty() {
            return Ok(());
        }
        for id in self.withdrawals.ids() {
            // In silence the exit status says what came of a single text, and the rest is for the next start.
            let name = self.roster.name(id).cloned();
            let one_shot = self.one_shot.as_ref().is_some_and(|it| Some(it.to()) == name.as_ref());
            if self.withdrawals.is_over(id) || (self.fx.output.is_silent() && one_shot) {
                let exists = self.withdrawals.remove(id);
                self.remove_contact(journal, id)?;
                if let Some(name) = name.filter(|_| exists) {
                    // It was said while nothing could come of it.
                    self.ask_for(&name);
                }
            }
        }
        Ok(())
    }

    fn discovery_refuses(&mut self, journal: &Journal, code: RefusedCode, name: Option<&Name>) -> Result<()> {
        if !self.rendezvous.is_registering() {
            self.rendezvous.request_refused(&mut self.fx, code, name);
            return Ok(());
        }
        let taken = self.rendezvous.not_registered(&mut self.fx, &self.setup.name, code);
        self.forget_presence();
        // An account that was never registered has nothing to stay for.
        if let Some(detail) = taken
            && !journal.registered_anywhere()?
        {
            if let Some(contact) = self.one_shot.as_mut().and_then(|it| it.take_back(&detail)) {
                self.remove_contact(journal, contact)?;
            }
            if self.roster.is_empty() {
                self.leave((FAILED, Some(detail)));
            }
        }
        Ok(())
    }

    fn superseded(&mut self, by: SocketAddr) {
        let by = by.ip();
        let message =
            format!("this account was started again at {by}; this client stays out until it is restarted");
        self.fx.error(Code::Superseded, None, message);
        self.rendezvous.superseded(&mut self.fx);
        self.links.ids().into_iter().for_each(|link| self.close_link(link, Some(ByeReason::LOGOUT)));
        self.forget_presence();
    }

    /// Discovery can't say any more who is online.
    fn forget_presence(&mut self) {
        for id in self.dialer.with_presence() {
            self.dialer.set_presence(self.fx.now, id, None);
        }
    }

    /// Something gives hope that the contact can be reached. The side with the lower key dials first.
    fn dial_soon(&mut self, id: ContactId) {
        let key = self.roster.get(id).and_then(|person| person.identity.key);
        self.dialer.dial_soon(self.fx.now, id, key.is_some_and(|key| key < self.setup.key));
    }

    fn dial_given_up(&mut self) {
        for id in self.dialer.given_up() {
            if self.links.of(id).is_none() {
                self.dial_soon(id);
            }
        }
    }

    fn dial_failed(&mut self, id: ContactId, problems: &[(SocketAddr, Problem)]) {
        let impostor = self.dialer.failed(self.fx.now, id, problems);
        if let (Some((address, problem)), Some(name)) = (impostor, self.roster.name(id)) {
            let message = format!("{address} is not {name}: {problem}; nothing was sent");
            self.fx.error(Code::Impostor, Some(name), message);
        }
    }

    /// A peer has proved a key: finds out who it is.
    fn link_proved(&mut self, journal: &Journal, id: ConnectionId, dialled: Option<ContactId>) -> Result<()> {
        let Some((key, remote)) = self.links.get(id).map(|link| (link.key, link.route.remote())) else {
            return Ok(());
        };
        let owner = self.roster.holder(&key);
        if let Some(contact) = dialled {
            self.dialer.answered(self.fx.now, contact, remote);
        }
        if self.rendezvous.is_out() || dialled.is_some_and(|contact| owner != Some(contact)) {
            self.reject_link(id, ByeReason::NOT_ACCEPTED);
            return Ok(());
        }
        if let Some(contact) = owner {
            return self.greet(journal, id, contact);
        }
        let asked = match self.links.unknown(key) {
            Unknown::Asked => true,
            Unknown::Ask => self.rendezvous.ask(&mut self.fx, ToDiscovery::Identify(Identify { key })),
            Unknown::TooMany => false,
        };
        if !asked {
            self.reject_link(id, ByeReason::TRY_LATER);
            let what = format!("{remote} was cut: discovery can't be asked who it is (key {key})");
            self.links.stranger(&mut self.fx, &what);
        }
        Ok(())
    }

    /// Discovery says whose key it is that a peer has proved.
    fn identified(&mut self, journal: &Journal, key: PublicKey, name: Option<&Name>) -> Result<()> {
        for id in self.links.identifying(key) {
            let Some(name) = name.filter(|name| **name != self.setup.name) else {
                let remote = self.links.get(id).map_or_else(String::new, |link| link.route.to_string());
                self.reject_link(id, ByeReason::NOT_ACCEPTED);
                let what = format!("{remote} was cut: no user has registered its key {key}");
                self.links.stranger(&mut self.fx, &what);
                continue;
            };
            match self.acquaint(journal, name, key)? {
                Some(contact) => self.greet(journal, id, contact)?,
                None => self.reject_link(id, ByeReason::NOT_ACCEPTED),
            }
        }
        Ok(())
    }

    /// Says hello to a contact.
    fn greet(&mut self, journal: &Journal, id: ConnectionId, contact: ContactId) -> Result<()> {
        if let Some(person) = self.roster.get(contact).filter(|person| person.identity.blocked) {
            let name = person.name.clone();
            self.reject_link(id, ByeReason::NOT_ACCEPTED);
            self.links.say_blocked(&mut self.fx, contact, &name);
            return Ok(());
        }
        let hello = Hello {
            name: self.setup.name.clone(),
            epoch: self.setup.epoch,
            port: self.setup.listen.port(),
            window: WINDOW,
            cursors: self.delivery.cursors(journal, contact)?,
        };
        match self.links.greet(&mut self.fx, id, contact, hello) {
            Some(early) => self.greeted(journal, id, contact, &early),
            None => Ok(()),
        }
    }

    fn peer_says(
        &mut self,
        journal: &Journal,
        incoming: &mut Incoming<'_>,
        id: ConnectionId,
        said: &Peer,
    ) -> Result<()> {
        match self.links.hear(id, said) {
            Heard::Nothing => {}
            Heard::Message(contact, message) => {
                let arrived = self.fx.now.wall;
                let new = self.delivery.received(journal, incoming, id, contact, message, arrived)?;
                if let (Some(seq), Some(name)) = (new, self.roster.name(contact)) {
                    self.search.said(seq);
                    self.dialer.seen(contact, arrived);
                    self.conversations.received(&mut self.fx, contact, name, seq, message);
                }
            }
            Heard::Acknowledgement(contact, cursor) => {
                let delivered = self.delivery.acknowledged(journal, id, cursor)?;
                self.tell_delivered(contact, delivered);
            }
            Heard::Hello(contact, hello) => return self.greeted(journal, id, contact, hello),
            Heard::Goodbye(reason) => self.goodbye(id, reason),
            Heard::Broken(what) => self.bad_peer(id, what),
        }
        Ok(())
    }

    /// The other side has said hello: the link is up, unless another one is the better.
    fn greeted(
        &mut self,
        journal: &Journal,
        id: ConnectionId,
        contact: ContactId,
        hello: &Hello,
    ) -> Result<()> {
        let (Some(link), Some(person)) = (self.links.get(id), self.roster.get(contact)) else {
            return Ok(());
        };
        // The user may have decided since this side said hello.
        if person.identity.blocked || person.identity.key != Some(link.key) {
            self.reject_link(id, ByeReason::NOT_ACCEPTED);
            return Ok(());
        }
        let name = person.name.clone();
        match self.links.greeted(&mut self.fx, id, contact, &name, hello) {
            Greeting::Broken(what) => self.bad_peer(id, &what),
            Greeting::KeepOlder => self.close_link(id, None),
            Greeting::Up { older, address, window } => {
                older.into_iter().for_each(|older| self.delivery.close(older));
                let delivered = self.delivery.open(journal, id, contact, window, &hello.cursors)?;
                self.tell_delivered(contact, delivered);
                self.dialer.reached(self.fx.now, contact, address);
                self.rendezvous.forgive(&name);
                if older.is_none() {
                    self.fx.tell(Notice::Link { peer: name, state: UpDown::Up });
                }
                self.report_link(contact);
            }
        }
        Ok(())
    }

    fn tell_delivered(&mut self, contact: ContactId, delivered: Vec<Delivered>) {
        if let Some(name) = self.roster.name(contact) {
            for (seq, message) in delivered {
                self.conversations.delivered(&mut self.fx, contact, name, seq, message);
            }
        }
    }

    /// Tells discovery that there is a link to the contact, which settles every request between the two.
    fn report_link(&mut self, id: ContactId) {
        let Some(name) = self.roster.name(id).cloned() else {
            return;
        };
        let told = self.rendezvous.ask(&mut self.fx, ToDiscovery::Linked(About { name }));
        if told && self.request(id) == Request::Kept {
            self.roster.set_request(id, Request::None);
        }
    }

    fn request(&self, id: ContactId) -> Request {
        self.roster.get(id).map(|person| person.identity.request).unwrap_or_default()
    }

    /// The other side closes the link.
    fn goodbye(&mut self, id: ConnectionId, reason: ByeReason) {
        let contact = self.links.contact(id);
        self.close_link(id, None);
        let Some(contact) = contact else {
            return;
        };
        let now = self.fx.now;
        self.dialer.note_goodbye(now, contact, reason);
        match reason {
            // Dialling would only take turns with the newer client of this account, unless discovery can be asked: who
            // has a session with it is the newer.
            ByeReason::SUPERSEDED if !self.rendezvous.is_up() => self.dialer.dial_no_more(contact),
            ByeReason::SUPERSEDED | ByeReason::TRY_LATER => {}
            _ => self.dialer.dial_later(now, contact, true),
        }
    }

    /// The other side breaks the rules: the link is of no use.
    fn bad_peer(&mut self, id: ConnectionId, what: &str) {
        let Some((key, remote)) = self.links.get(id).map(|link| (link.key, link.route.remote())) else {
            return;
        };
        let name = self.roster.holder(&key).and_then(|contact| self.roster.name(contact)).cloned();
        let who = name.as_ref().map_or_else(|| remote.to_string(), ToString::to_string);
        self.close_link(id, Some(ByeReason::NOT_ACCEPTED));
        self.fx.error(Code::BadPeer, name.as_ref(), format!("the link to {who} was cut: {what}"));
    }

    /// Closes a connection that has not come to a link.
    fn reject_link(&mut self, id: ConnectionId, reason: ByeReason) {
        self.links.close(&mut self.fx, id, Some(reason));
    }

    /// Closes a link, says so, and dials again later.
    fn close_link(&mut self, id: ConnectionId, reason: Option<ByeReason>) {
        let Some(closed) = self.links.close(&mut self.fx, id, reason) else {
            return;
        };
        self.delivery.close(id);
        let Some(contact) = closed.contact else {
            return;
        };
        let now = self.fx.now;
        if closed.was_up {
            if let Some(person) = self.roster.get(contact).filter(|person| !person.identity.blocked) {
                self.fx.tell(Notice::Link { peer: person.name.clone(), state: UpDown::Down });
            }
            let silence = i64::try_from(closed.silence.as_millis()).unwrap_or(i64::MAX);
            self.dialer.seen(contact, now.wall.saturating_sub(silence));
            self.dialer.dial_later(now, contact, false);
        } else if closed.dialled && self.links.of(contact).is_none() {
            // A client that has the key and wants no link may be an older one of theirs, at the older address.
            self.dialer.dial_elsewhere(contact);
            self.dialer.dial_later(now, contact, false);
        }
    }

    /// Adds a contact; `None` if there are too many.
    fn add_contact(&mut self, journal: &Journal, name: &Name) -> Result<Option<ContactId>> {
        let row = self.roster.add(journal, name)?;
        Ok(row.map(|row| {
            self.dialer.add(row.id);
            self.delivery.add(row.id);
            self.conversations.add(row.id);
            row.id
        }))
    }

    /// Removes a contact with all that was said.
    fn remove_contact(&mut self, journal: &Journal, id: ContactId) -> Result<()> {
        if let Some(name) = self.roster.remove(journal, id)? {
            self.dialer.remove(id);
            self.delivery.remove(id);
            self.conversations.remove(id, &name);
        }
        Ok(())
    }

    /// A command was not done.
    fn refuse(&mut self, code: Code, peer: Option<&Name>, message: String) {
        self.exit.note_refused();
        if let Some(one_shot) = &mut *self.one_shot {
            one_shot.note_refused(peer, &message);
        }
        self.fx.error(code, peer, message);
    }
}

#[cfg(test)]
mod tests;
