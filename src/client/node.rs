//! Decides everything that the client does, and does none of it.
//!
//! A [`Node`] is told what happened ([`Input`]) and what time it is, reads and writes the journal inside
//! the caller's transaction, and says what is to be done ([`Action`]). The caller acts only after the
//! transaction is on the disk: so nothing is promised, shown or acknowledged before it is kept.
//!
//! - `rendezvous`: the conversation with discovery;
//! - `contacts`: who is who, and when to dial them;
//! - `links`: from a proven key to a link that both sides keep;
//! - `delivery`: messages out and in, with `outbound`: what is on its way over a link;
//! - `output`: what is told, and what nobody has read yet;
//! - `commands`: what the user types;
//! - `attention`: what the user looks at;
//! - `search`: looking for words;
//! - `why`: what is known about reaching somebody;
//! - `errand`: one text, and then the end.

use std::collections::{BTreeMap, HashMap};

use super::command::Reference;
use super::event::{Action, Input, LinkId};
use super::notice::{Code, ErrorNotice, Notice};
use crate::protocol::peer::Peer;
use crate::protocol::rendezvous::ToDiscovery;
use crate::protocol::{Name, PublicKey};
use crate::store::Result;
use crate::store::journal::{ContactId, EpochId, Journal, Seq};
use crate::time::Now;

mod attention;
mod commands;
mod contacts;
mod delivery;
mod errand;
mod links;
mod outbound;
mod output;
mod rendezvous;
mod search;
mod why;

use attention::Attention;
use contacts::Contact;
use errand::Errand;
use links::Link;
pub use output::BATCHES as OUTPUT_BATCHES;
use output::Output;
use rendezvous::Rendezvous;
use search::Index;

/// How long what may be lost without harm (who has been shown what) waits for another reason to
/// write to the disk, in milliseconds.
const LAZY_SAVE: u64 = 500;
/// How long after a failed write the disk is left alone, in milliseconds.
const AFTER_FAILURE: u64 = 2_000;
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
    pub listen: std::net::SocketAddr,
    /// Which discovery: what its key is pinned under.
    pub endpoint: String,
    /// The key that discovery must have, if the user said so.
    pub discovery_key: Option<PublicKey>,
    /// How long to stay after the last line of input, in milliseconds; `None`: until all is delivered.
    pub linger: Option<u64>,
    /// Whether nobody reads: nothing is told then, and no message counts as shown.
    pub silent: bool,
    /// How many messages of the journal make a part of it, in which it is noted where each contact's stand.
    pub part: Seq,
    /// A random number that no start of this client has had.
    pub epoch: u64,
    /// Where the jitter of back-offs comes from.
    pub seed: u64,
}

/// The state of a client, owned by its loop.
pub struct Node {
    setup: Setup,
    contacts: BTreeMap<ContactId, Contact>,
    by_name: HashMap<Name, ContactId>,
    by_key: HashMap<PublicKey, ContactId>,
    links: BTreeMap<LinkId, Link>,
    dialling: usize,
    rendezvous: Rendezvous,
    output: Output,
    attention: Attention,
    index: Index,
    actions: Vec<Action>,
    rng: fastrand::Rng,
    /// The last seq in the journal.
    seq: Seq,
    /// Where each contact's messages stand is filed up to here.
    filed: Seq,
    /// Messages up to here were in the journal at the start.
    start: Seq,
    /// The epoch under which messages are written, with its row once there is one.
    epoch: (u64, Option<EpochId>),
    /// Counts transactions, so that a failed one can tell what it touched.
    batch: u64,
    /// How many of the console's answers have been counted in this transaction.
    answers: usize,
    /// When timers are to be looked at again.
    wake: u64,
    /// When what can wait is saved.
    save_at: Option<u64>,
    leaving: Leaving,
    /// What the program was started for, if it is to end with that.
    errand: Option<Errand>,
    /// What a script calls the command that is being answered.
    answering: Option<Reference>,
    /// How many commands were refused, or taken and given back later.
    refused: u64,
    /// How many were at the last commit.
    refused_before: u64,
    /// When it was last said that a stranger was cut, and how many were, with that one, since.
    strangers: (u64, u64),
}

/// Whether the program is about to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaving {
    No,
    /// When everything is delivered, or at this time.
    Lingering(Option<u64>),
    /// It has ended.
    Left,
}

impl Node {
    /// A node with what its journal holds, and the first things to be done.
    ///
    /// # Errors
    /// If the journal can't be read.
    pub fn new(setup: Setup, now: Now, journal: &Journal) -> Result<Self> {
        let seq = journal.last_seq()?;
        let key = pinned(&setup, journal)?;
        let mut node = Self {
            contacts: BTreeMap::new(),
            by_name: HashMap::new(),
            by_key: HashMap::new(),
            links: BTreeMap::new(),
            dialling: 0,
            rendezvous: Rendezvous::new(now, key),
            output: Output::new(setup.silent),
            attention: Attention::default(),
            index: Index::default(),
            actions: Vec::new(),
            rng: fastrand::Rng::with_seed(setup.seed),
            seq,
            filed: seq,
            start: seq,
            epoch: (setup.epoch, None),
            batch: 1,
            answers: 0,
            wake: now.mono,
            save_at: None,
            leaving: Leaving::No,
            errand: None,
            answering: None,
            refused: 0,
            refused_before: 0,
            strangers: (0, 0),
            setup,
        };
        node.load_contacts(now, journal)?;
        node.load_index(now, journal)?;
        node.tell(
            now,
            Notice::Ready {
                user: node.setup.name.clone(),
                address: node.setup.listen,
                fingerprint: node.setup.key,
            },
        );
        node.tell_withdrawn_again(now);
        Ok(node)
    }

    /// Takes in what happened. Call [`Self::finish`] after the last input of a transaction.
    ///
    /// # Errors
    /// If the journal fails; then roll back and call [`Self::recover`].
    pub fn handle(&mut self, now: Now, journal: &Journal, input: &Input) -> Result<()> {
        if self.leaving == Leaving::Left && !matches!(input, Input::Printed) {
            return Ok(());
        }
        match input {
            Input::Command { command, reference } => {
                self.answering.clone_from(reference);
                let done = match command {
                    Ok(command) => self.command(now, journal, command),
                    Err(error) => {
                        self.command_error(now, error);
                        Ok(())
                    }
                };
                self.answering = None;
                done
            }
            Input::InputEnded => {
                self.linger(now);
                Ok(())
            }
            Input::Send { to, text } => self.send_one(now, journal, to, text),
            Input::Signal => {
                let (status, why) = self.errand_ends(true).unwrap_or((0, None));
                self.leave(now, status, why);
                Ok(())
            }
            Input::OutputClosed(error) => {
                let (status, why) = match (error, self.waits()) {
                    (Some(error), _) => (FAILED, Some(format!("standard output can't be written: {error}"))),
                    (None, true) => (STILL_WAITING, Some(WAITS.to_owned())),
                    (None, false) => (0, None),
                };
                let (status, why) = self.errand_ends(true).unwrap_or((status, why));
                self.leave(now, status, why);
                Ok(())
            }
            Input::Printed => {
                self.answers += 1;
                self.printed(now);
                Ok(())
            }
            Input::RendezvousUp { session, key } => self.rendezvous_up(now, journal, *session, *key),
            Input::RendezvousFailed(problem) => {
                self.rendezvous_failed(now, problem);
                Ok(())
            }
            Input::RendezvousSays(session, messages) => {
                self.heard_discovery(now, *session);
                messages.iter().try_for_each(|message| self.discovery_says(now, journal, *session, message))
            }
            Input::RendezvousClosed(session) => {
                self.rendezvous_closed(now, *session);
                Ok(())
            }
            Input::LinkUp { link, key, dialled, remote, budget } => {
                let proved = Link::new(now, *key, dialled.is_some(), *remote, *budget);
                self.link_proved(now, journal, *link, *dialled, proved)
            }
            Input::DialFailed { contact, problems } => {
                self.dial_failed(now, *contact, problems);
                Ok(())
            }
            Input::LinkSays(link, messages) => {
                self.heard_peer(now, *link);
                let mut incoming = journal.incoming()?;
                messages.iter().try_for_each(|said| self.peer_says(now, journal, &mut incoming, *link, said))
            }
            Input::LinkClosed(link) => {
                self.link_closed(now, *link);
                Ok(())
            }
        }
    }

    /// Completes a transaction with everything that follows from the inputs taken in. Commit then and
    /// call [`Self::committed`], or [`Self::recover`] if it can't be committed.
    ///
    /// # Errors
    /// If the journal fails; then roll back and call [`Self::recover`].
    pub fn finish(&mut self, now: Now, journal: &Journal) -> Result<()> {
        self.output.look(now);
        if now.mono >= self.wake {
            self.tick(now);
        }
        self.send_messages(now, journal)?;
        self.acknowledge(now);
        self.catch_up(now, journal)?;
        self.recount(journal)?;
        self.follow_index(now, journal)?;
        self.file(journal)?;
        self.leave_when_done(now);
        self.save(now, journal)
    }

    /// The transaction is on the disk: now, and not before, this is to be done.
    pub fn committed(&mut self) -> Vec<Action> {
        self.batch += 1;
        self.answers = 0;
        self.refused_before = self.refused;
        self.index.committed();
        self.print();
        let prompt = self.prompt();
        self.actions.extend(prompt.map(Action::Prompt));
        std::mem::take(&mut self.actions)
    }

    /// When [`Self::finish`] must be called, whatever happens, on the clock of [`Now::mono`].
    #[must_use]
    pub fn deadline(&self) -> u64 {
        [self.save_at, self.index.at].into_iter().flatten().fold(self.wake, u64::min)
    }

    /// Whether commands are welcome. While the console can't keep up they wait, unless nobody reads it at all.
    #[must_use]
    pub fn takes_commands(&self, now: Now) -> bool {
        self.output.has_room() || self.output.is_stuck(now)
    }

    /// Takes back everything since the last commit: the disk did not take it. Whatever a failed
    /// transaction touched is read from the journal again; links whose state it changed are closed, for
    /// both sides then find out anew where they are. `inputs` are those of the transaction, `epoch` is a
    /// fresh random number.
    ///
    /// # Errors
    /// If the journal can't even be read.
    pub fn recover(
        &mut self,
        now: Now,
        journal: &Journal,
        inputs: &[Input],
        epoch: u64,
    ) -> Result<Vec<Action>> {
        let decided = std::mem::take(&mut self.actions);
        self.output.roll_back();
        self.attention.roll_back();
        self.refused = self.refused_before;
        if let Some(errand) = &mut self.errand {
            errand.roll_back(self.batch);
        }
        self.seq = journal.last_seq()?;
        // What the console has written it has written, also if the transaction did not get that far.
        let answers = inputs.iter().filter(|input| matches!(input, Input::Printed)).count();
        (self.answers..answers).for_each(|_| self.printed(now));
        self.load_contacts(now, journal)?;
        self.load_index(now, journal)?;
        self.give_up_searches(now);
        for action in decided {
            self.keep_action(now, action);
        }
        self.epoch = (epoch, None);
        self.links.values_mut().for_each(|link| link.outbound.read_again());
        self.rendezvous.set_key(pinned(&self.setup, journal)?);
        let touched: Vec<LinkId> =
            self.links.iter().filter(|(_, link)| link.touched == self.batch).map(|(id, _)| *id).collect();
        for link in touched {
            self.close_link(now, link, None);
        }
        if self.rendezvous.touched == self.batch {
            self.drop_rendezvous(now, NOT_SAVED);
        }
        for input in inputs {
            match input {
                Input::Command { command: Ok(command), reference } => {
                    let command = match self.meaning(command) {
                        Ok(command) if command.is_written() => command,
                        _ => {
                            self.handle(now, journal, input)?;
                            continue;
                        }
                    };
                    self.refused += 1;
                    let error = ErrorNotice {
                        code: Code::NotSaved,
                        message: format!("not saved, and not done: {command}; the disk is full or fails"),
                        peer: command.user().cloned(),
                        id: None,
                        text: command.text().map(str::to_owned),
                    };
                    self.answering.clone_from(reference);
                    self.tell(now, Notice::Error(error));
                    self.answering = None;
                }
                Input::Send { .. } => self.send_failed(now),
                Input::LinkUp { link, dialled, .. } => {
                    if let Some(contact) = dialled {
                        self.dialled(now, *contact);
                    }
                    self.actions.push(Action::Close(*link));
                }
                Input::LinkSays(link, _) => self.close_link(now, *link, None),
                Input::RendezvousUp { session, .. } => self.rendezvous_unused(now, *session),
                Input::RendezvousSays(session, _) => self.rendezvous_unheard(now, *session),
                Input::Printed => {}
                other => self.handle(now, journal, other)?,
            }
        }
        self.save_at = Some(now.mono + AFTER_FAILURE);
        Ok(self.committed())
    }

    /// Does what was decided in a failed transaction if it depends on nothing that was to be saved: it
    /// is noted as done, and nothing would lead to it again.
    fn keep_action(&mut self, now: Now, action: Action) {
        let kept = match &action {
            Action::DialRendezvous(_) | Action::Close(_) => true,
            // Also to somebody added in that transaction, who is no contact any more.
            Action::Dial { contact, .. } => self.contacts.contains_key(contact),
            Action::Send(_, messages) => matches!(messages[..], [Peer::Bye(_)]),
            Action::TellDiscovery(_, messages) => matches!(messages[..], [ToDiscovery::Logout]),
            Action::Exit(..) => {
                self.tell_bye(now);
                true
            }
            Action::Print(_) | Action::Prompt(_) => false,
        };
        if kept {
            self.actions.push(action);
        }
    }

    /// Looks at everything that happens by the clock, and notes when to look again.
    fn tick(&mut self, now: Now) {
        self.wake = u64::MAX;
        self.tick_rendezvous(now);
        self.tick_links(now);
        self.tick_dials(now);
        if let Leaving::Lingering(Some(until)) = self.leaving {
            self.wake_at(until);
        }
        if let Some(at) = self.output.stuck_at() {
            self.wake_at(at);
        }
    }

    fn wake_at(&mut self, mono: u64) {
        self.wake = self.wake.min(mono);
    }

    /// Saves what has changed about contacts. Nothing is written for what can wait.
    fn save(&mut self, now: Now, journal: &Journal) -> Result<()> {
        let due = self.save_at.is_some_and(|at| now.mono >= at) || self.leaving == Leaving::Left;
        if !due && !self.contacts.values().any(Contact::is_unsaved) {
            return Ok(());
        }
        self.contacts.values_mut().try_for_each(|contact| contact.save(journal))?;
        self.save_at = None;
        Ok(())
    }

    /// Stays until everything is delivered, or as long as it was told.
    fn linger(&mut self, now: Now) {
        self.leaving = Leaving::Lingering(self.setup.linger.map(|linger| now.mono.saturating_add(linger)));
        self.wake = now.mono;
    }

    fn leave_when_done(&mut self, now: Now) {
        let Leaving::Lingering(until) = self.leaving else {
            return;
        };
        // Nothing is delivered to somebody who is blocked, so nobody waits for that.
        let hopeful = self.contacts.values().any(|contact| contact.waits() && !contact.row.blocked);
        // Once the account has been started somewhere else, nothing is delivered from here.
        let over = until.is_some_and(|until| now.mono >= until) || self.rendezvous.is_out();
        if self.errand.is_some() {
            if let Some((status, why)) = self.errand_ends(over) {
                self.leave(now, status, why);
            }
            return;
        }
        let busy = !self.rendezvous.tried() || !self.output.is_read() || self.index.is_waiting();
        if over || (!hopeful && !busy) {
            self.refuse_searches(now);
            let (status, why) = match (self.waits(), self.refused) {
                (true, _) => (STILL_WAITING, Some(WAITS.to_owned())),
                (false, 0) => (0, None),
                (false, refused) => {
                    (FAILED, Some(format!("{refused} not done, see the errors in the output")))
                }
            };
            self.leave(now, status, why);
        }
    }

    /// Whether something is still to reach somebody.
    fn waits(&self) -> bool {
        self.contacts.values().any(Contact::waits)
    }

    /// Says goodbye to everybody.
    fn leave(&mut self, now: Now, status: u8, why: Option<String>) {
        if self.leaving == Leaving::Left {
            return;
        }
        self.leaving = Leaving::Left;
        self.say_goodbye(now);
        self.refuse_searches(now);
        self.tell_bye(now);
        self.actions.push(Action::Exit(status, why));
    }

    fn tell_bye(&mut self, now: Now) {
        let waiting = self.contacts.values().map(|contact| contact.waiting).sum();
        self.tell(now, Notice::Bye { waiting });
    }

    /// A command was not done.
    fn refuse(&mut self, now: Now, code: Code, peer: Option<&Name>, message: String) {
        self.refused += 1;
        if let Some(errand) = &mut self.errand {
            errand.refused(self.batch, peer, &message);
        }
        self.tell(now, error(code, peer, message));
    }

    fn trouble(&mut self, now: Now, code: Code, peer: Option<&Name>, message: String) {
        self.tell(now, error(code, peer, message));
    }
}

fn error(code: Code, peer: Option<&Name>, message: String) -> Notice {
    Notice::Error(ErrorNotice { code, message, peer: peer.cloned(), id: None, text: None })
}

/// The key that discovery must prove: the one that the user names, else the one that was pinned.
fn pinned(setup: &Setup, journal: &Journal) -> Result<Option<PublicKey>> {
    let pinned = || Ok(journal.rendezvous(&setup.endpoint)?.map(|(key, _)| key));
    setup.discovery_key.map_or_else(pinned, |key| Ok(Some(key)))
}

const WAITS: &str = "not everything is delivered; the rest is kept and goes out at a later start";

/// The exit status when something failed for good.
pub const FAILED: u8 = 1;
/// The exit status when something still waits.
pub const STILL_WAITING: u8 = 3;

#[cfg(test)]
mod tests;
