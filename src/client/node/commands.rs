//! The conductor's other half: what the user types, and how the program ends.

use super::super::command::{self, Command, CommandError, Reference};
use super::super::notice::{
    Body, Code, ErrorNotice, FoundLine, HistoryLine, MANY_UNREAD, Notice, OutboxLine, UpDown,
};
use super::super::verification;
use super::exit::{self, Status};
use super::one_shot::OneShot;
use super::roster::{Distrust, Person};
use super::search::Query;
use super::{FAILED, Node};
use crate::protocol::peer::{ByeReason, Kind};
use crate::protocol::{MAX_TEXT, Name};
use crate::store::Result;
use crate::store::journal::{ContactId, Journal, Request};

/// How many messages `OUTBOX` shows of each contact.
const OUTBOX_EACH: usize = 20;
/// How many messages `OUTBOX` shows in all.
const OUTBOX_ALL: usize = 200;
/// How many messages a search shows.
const FOUND: u32 = 20;
/// How many entries of a conversation are shown at least when it is entered.
const LAST_LINES: u64 = 10;

impl Node {
    pub(super) fn command(&mut self, journal: &Journal, command: &Command) -> Result<()> {
        match command {
            Command::Request(name) => return self.request_user(journal, name),
            Command::Chat(name, text) => return self.chat(journal, name, text),
            Command::Converse(name) => return self.converse(journal, name.as_ref()),
            Command::Line { .. } => match self.meaning(command) {
                // What a line means is never another line.
                Ok(Command::Line { .. }) => {}
                Ok(meant) => return self.command(journal, &meant),
                Err(error) => self.refuse_line(&error),
            },
            Command::Logout => self.leave((0, None)),
            Command::Contacts => {
                let view = self.view();
                let mut contacts: Vec<_> =
                    self.roster.known().filter_map(|(id, _)| view.contact(id)).collect();
                contacts.sort_by(|one, other| one.peer.cmp(&other.peer));
                self.fx.tell(Notice::Contacts { contacts });
            }
            Command::Outbox => return self.outbox(journal),
            Command::History(name, count) => return self.history(journal, name, *count),
            Command::Search { words, user } => self.search_for(words, user.as_ref()),
            Command::Why(name) => {
                let why = self.known(name).and_then(|id| self.view().why(self.fx.now, id));
                why.into_iter().for_each(|why| self.fx.tell(Notice::Why(Box::new(why))));
            }
            Command::Verify(name, code) => self.verify(name, code.as_deref()),
            Command::Trust(name, key) => self.trust(name, key.as_deref()),
            Command::Block(name) => return self.block(journal, name),
            Command::Unblock(name) => return self.unblock(journal, name),
            Command::Help => self.fx.tell(Notice::Help { commands: command::usages().collect() }),
            Command::Explain(about) => self.fx.tell(Notice::Explanation(*about)),
        }
        Ok(())
    }

    /// What a line means here and now.
    pub(super) fn meaning(&self, command: &Command) -> Result<Command, CommandError> {
        let with = self.conversations.current().and_then(|id| self.roster.name(id));
        match (command, with) {
            (Command::Line { text, .. }, Some(to)) => Ok(Command::Chat(to.clone(), text.clone())),
            (Command::Line { otherwise, .. }, None) => (**otherwise).clone(),
            (command, _) => Ok(command.clone()),
        }
    }

    /// A line that is no command was not done.
    pub(super) fn refuse_line(&mut self, error: &CommandError) {
        let code = match error {
            CommandError::TooLong(_) | CommandError::Cut => Code::TooLong,
            _ => Code::BadCommand,
        };
        self.refuse(code, None, error.to_string());
    }

    /// A command could not be saved, and so was not done.
    pub(super) fn refuse_unsaved(&mut self, command: &Command, reference: Option<Reference>) {
        self.exit.note_refused();
        self.fx.output.answer(reference);
        self.fx.tell(Notice::Error(ErrorNotice {
            code: Code::NotSaved,
            message: format!("not saved, and not done: {command}; the disk is full or fails"),
            peer: command.user().cloned(),
            id: None,
            text: command.text().map(str::to_owned),
        }));
        self.fx.output.answer(None);
    }

    /// The contact of this name; says so if there is none.
    fn known(&mut self, name: &Name) -> Option<ContactId> {
        let known = self.roster.known_by(name);
        if known.is_none() {
            self.refuse_unknown(name);
        }
        known
    }

    fn refuse_unknown(&mut self, name: &Name) {
        let message = if *name == self.setup.name {
            "that is yourself".into()
        } else {
            let similar = self.roster.similar(name).map_or_else(
                || format!("; REQUEST {name} first"),
                |similar| format!("; did you mean {similar}? If not, REQUEST {name} first"),
            );
            format!("{name} is not a contact{similar}")
        };
        self.refuse(Code::NotAContact, Some(name), message);
    }

    fn refuse_blocked(&mut self, name: &Name) {
        self.refuse(Code::Blocked, Some(name), format!("{name} is blocked; UNBLOCK {name} first"));
    }

    fn request_user(&mut self, journal: &Journal, name: &Name) -> Result<()> {
        if *name == self.setup.name {
            self.refuse(Code::BadCommand, Some(name), "that is yourself".into());
            return Ok(());
        }
        let known = match self.roster.named(name) {
            None => self.add_contact(journal, name)?,
            known => known,
        };
        let Some((id, person)) = known.and_then(|id| Some((id, self.roster.get(id)?))) else {
            self.refuse(Code::Refused, Some(name), "there are too many contacts".into());
            return Ok(());
        };
        if person.withdrawn {
            self.refuse(Code::NoSuchUser, Some(name), format!("there is no user {name}"));
            return Ok(());
        }
        if person.identity.blocked {
            self.refuse_blocked(name);
            return Ok(());
        }
        let linked = self.links.of(id).is_some();
        if !linked && person.identity.request == Request::None {
            self.roster.set_request(id, Request::Unconfirmed);
        }
        self.dialer.forgive(id);
        self.rendezvous.forgive(name);
        self.ask_for(name);
        self.dial_soon(id);
        self.fx.tell(Notice::Requested { peer: name.clone() });
        if linked {
            self.fx.tell(Notice::Link { peer: name.clone(), state: UpDown::Up });
        }
        Ok(())
    }

    fn chat(&mut self, journal: &Journal, name: &Name, text: &str) -> Result<()> {
        if text.len() > MAX_TEXT {
            self.refuse_line(&CommandError::TooLong(Some(text.len())));
            return Ok(());
        }
        match self.known(name) {
            Some(id) => self.write(journal, id, name, Kind::TEXT, text.as_bytes()),
            None => Ok(()),
        }
    }

    /// Puts a message into the outbox.
    fn write(
        &mut self,
        journal: &Journal,
        id: ContactId,
        name: &Name,
        kind: Kind,
        body: &[u8],
    ) -> Result<()> {
        if self.roster.is_blocked(id) {
            self.refuse_blocked(name);
            return Ok(());
        }
        let (link, now) = (self.links.of(id), self.fx.now);
        let message = self.delivery.write(journal, id, link, kind, now.wall, body)?;
        self.search.said(self.delivery.last_seq());
        self.conversations.mark_read(id, self.conversations.handed(id));
        if link.is_none() {
            self.dialer.dial_for_message(now, id);
        }
        let (to, text) = (name.clone(), Body::new(kind, body));
        self.fx.tell(Notice::Queued { id: message, to, linked: link.is_some(), text, sent: now.wall });
        Ok(())
    }

    fn outbox(&mut self, journal: &Journal) -> Result<()> {
        let (mut messages, mut waiting) = (Vec::new(), 0);
        for (id, count) in self.delivery.all_waiting() {
            waiting += count;
            let mut each = OUTBOX_EACH.min(OUTBOX_ALL.saturating_sub(messages.len()));
            let Some(name) = self.roster.name(id).filter(|_| each > 0) else {
                continue;
            };
            journal.sent_after(id, self.delivery.delivered(id), |sent| {
                each -= 1;
                messages.push(OutboxLine {
                    id: sent.message.cursor(),
                    to: name.clone(),
                    text: Body::new(sent.message.kind, &sent.message.body),
                    sent: sent.message.sent,
                });
                each > 0
            })?;
        }
        self.fx.tell(Notice::Outbox { waiting, messages });
        Ok(())
    }

    fn history(&mut self, journal: &Journal, name: &Name, count: u32) -> Result<()> {
        if let Some(id) = self.known(name) {
            let messages = self.history_lines(journal, id, count)?;
            self.conversations.mark_read(id, self.delivery.last_seq());
            self.fx.tell(Notice::History { peer: name.clone(), messages });
        }
        Ok(())
    }

    /// The last entries of the conversation with a contact.
    fn history_lines(&self, journal: &Journal, id: ContactId, count: u32) -> Result<Vec<HistoryLine>> {
        let (view, own) = (self.view(), &self.setup.name);
        let entries = journal.history(id, count)?;
        Ok(entries.into_iter().filter_map(|entry| view.history_line(own, id, entry)).collect())
    }

    /// The user enters a conversation, or leaves the one that they are in. Who can't enter one is in none: what is typed
    /// next was not meant for anyone else.
    fn converse(&mut self, journal: &Journal, name: Option<&Name>) -> Result<()> {
        let Some(name) = name else {
            self.conversations.enter(None);
            self.tell_no_conversation();
            return Ok(());
        };
        let known = self.roster.known_by(name);
        let Some(id) = known.filter(|id| !self.roster.is_blocked(*id)) else {
            self.leave_conversation();
            match known {
                Some(_) => self.refuse_blocked(name),
                None => self.refuse_unknown(name),
            }
            return Ok(());
        };
        let unread = self.conversations.unread(id);
        let count = unread + self.conversations.own_among_unread(journal, id)?;
        let count = u32::try_from(count.clamp(LAST_LINES, MANY_UNREAD)).unwrap_or(u32::MAX);
        let messages = self.history_lines(journal, id, count)?;
        self.conversations.enter(Some(id));
        self.conversations.mark_read(id, self.delivery.last_seq());
        self.fx.tell(Notice::Conversation { peer: Some(name.clone()), unread, messages });
        Ok(())
    }

    /// The user can't go on with the conversation that they are in.
    pub(super) fn leave_conversation(&mut self) {
        if self.conversations.enter(None) {
            // What a command asked for is another matter, and is answered by itself.
            let answering = self.fx.output.answer(None);
            self.tell_no_conversation();
            self.fx.output.answer(answering);
        }
    }

    fn tell_no_conversation(&mut self) {
        self.fx.tell(Notice::Conversation { peer: None, unread: 0, messages: Vec::new() });
    }

    /// Shows the code to be compared with a contact, or takes the one that the user has heard from them.
    fn verify(&mut self, name: &Name, heard: Option<&str>) {
        let Some(id) = self.known(name) else {
            return;
        };
        let Some(key) = self.roster.get(id).and_then(|person| person.identity.key) else {
            let message = format!("discovery has not said yet who {name} is: there is no key to verify");
            self.refuse(Code::UnknownKey, Some(name), message);
            return;
        };
        let code = verification::code(self.setup.key, key);
        let grouped = verification::grouped(&code);
        if let Some(heard) = heard {
            if heard != code {
                let message = format!(
                    "that is not the code for {name}, which is {grouped}; nothing was changed. If {name} sees another one, an attacker may stand between you"
                );
                self.refuse(Code::WrongCode, Some(name), message);
                return;
            }
            self.roster.set_verified(id);
        }
        let verified = self.roster.get(id).is_some_and(Person::is_verified);
        self.fx.tell(Notice::Verification { peer: name.clone(), code: grouped, verified });
    }

    /// The user accepts a contact's new key, which starts with `digits` if they say so. What the holder of the old key
    /// has stays with them: nothing of it is sent again to the new one.
    fn trust(&mut self, name: &Name, digits: Option<&str>) {
        let Some(id) = self.known(name) else {
            return;
        };
        if let Err(distrust) = self.roster.trust(id, digits) {
            let (code, why) = match distrust {
                Distrust::NotOffered => {
                    (Code::NothingToTrust, format!("discovery names no other key for {name}"))
                }
                Distrust::Other(key) => {
                    (Code::KeyChanged, format!("discovery names the key {key} for {name}"))
                }
                Distrust::Taken(key) => {
                    (Code::KeyChanged, format!("the key {key} belongs to another contact"))
                }
            };
            self.refuse(code, Some(name), format!("{why}; nothing was changed"));
            return;
        }
        self.delivery.start_anew(id);
        let line = self.view().contact(id);
        if let Some(link) = self.links.of(id) {
            self.close_link(link, Some(ByeReason::NOT_ACCEPTED));
        }
        self.ask_for(name);
        self.dial_soon(id);
        line.into_iter().for_each(|line| self.fx.tell(Notice::Contact(Box::new(line))));
    }

    fn block(&mut self, journal: &Journal, name: &Name) -> Result<()> {
        // Also a user who has not yet asked.
        if self.roster.named(name).is_none() && *name != self.setup.name {
            self.add_contact(journal, name)?;
        }
        if let Some(id) = self.known(name) {
            self.set_blocked(id, true);
        }
        Ok(())
    }

    fn set_blocked(&mut self, id: ContactId, blocked: bool) {
        self.roster.set_blocked(id, blocked);
        self.links.forgive(id);
        let line = self.view().contact(id);
        if let Some(link) = self.links.of(id).filter(|_| blocked) {
            self.close_link(link, Some(ByeReason::NOT_ACCEPTED));
        }
        line.into_iter().for_each(|line| self.fx.tell(Notice::Contact(Box::new(line))));
    }

    fn unblock(&mut self, journal: &Journal, name: &Name) -> Result<()> {
        let Some(id) = self.known(name) else {
            return Ok(());
        };
        self.set_blocked(id, false);
        let only_a_name =
            |person: &Person| person.identity.key.is_none() && person.identity.request == Request::None;
        if self.roster.get(id).is_some_and(only_a_name) {
            // Blocked beforehand, and never more than a name.
            return self.remove_contact(journal, id);
        }
        // Discovery was not asked about them while they were blocked.
        self.ask_for(name);
        self.dial_soon(id);
        Ok(())
    }

    fn search_for(&mut self, words: &[String], user: Option<&Name>) {
        let contact = user.map(|name| self.known(name));
        if contact == Some(None) {
            return;
        }
        let reference = self.fx.output.answer(None);
        self.fx.output.answer(reference.clone());
        let up_to = self.delivery.last_seq();
        if !self.search.ask(Query { words: words.to_vec(), contact: contact.flatten(), up_to, reference }) {
            self.refuse(Code::Refused, user, "too many searches at once; try again".into());
        }
    }

    pub(super) fn answer_search(&mut self, journal: &Journal, query: Query) -> Result<()> {
        let Query { words, contact, reference, .. } = query;
        let mut messages = Vec::new();
        for (id, entry) in journal.search(&words, contact, FOUND)? {
            let line = self.view().history_line(&self.setup.name, id, entry);
            if let (Some(peer), Some(line)) = (self.roster.name(id).cloned(), line) {
                messages.push(FoundLine { peer, line });
            }
        }
        let peer = contact.and_then(|id| self.roster.name(id)).cloned();
        let answering = self.fx.output.answer(reference);
        self.fx.tell(Notice::Found { words: words.join(" "), peer, messages });
        self.fx.output.answer(answering);
        Ok(())
    }

    /// The searches that still wait can't be answered.
    pub(super) fn refuse_searches(&mut self, code: Code, why: &str) {
        if !self.search.is_waiting() {
            return;
        }
        let answering = self.fx.output.answer(None);
        for query in self.search.give_up() {
            self.fx.output.answer(query.reference);
            self.refuse(code, None, format!("{why}: there was no search"));
        }
        self.fx.output.answer(answering);
    }

    /// Takes one text, after a request for its recipient if they are not known, and stays until they have it.
    pub(super) fn send_one_shot(&mut self, journal: &Journal, to: &Name, text: &str) -> Result<()> {
        self.exit.linger(self.fx.now);
        let added = self.roster.known_by(to).is_none();
        *self.one_shot = Some(OneShot::new(to.clone(), added));
        if added {
            self.request_user(journal, to)?;
        }
        if self.roster.known_by(to).is_none() {
            return Ok(());
        }
        let before = self.delivery.last_seq();
        self.chat(journal, to, text)?;
        let seq = self.delivery.last_seq();
        if let (Some(id), Some(one_shot)) = (self.roster.known_by(to), &mut *self.one_shot)
            && seq > before
        {
            one_shot.taken(id, seq);
        }
        Ok(())
    }

    fn one_shot_status(&self, over: bool) -> Option<Status> {
        let delivered = |id| self.roster.get(id).map(|_| self.delivery.delivered(id));
        self.one_shot.as_ref()?.status(over, delivered, |id| self.view().why_not_delivered(id))
    }

    /// Ends the program with what came of its one text, or else with `status`.
    pub(super) fn leave_or(&mut self, status: Status) {
        let status = self.one_shot_status(true).unwrap_or(status);
        self.leave(status);
    }

    /// Standard output has been closed, or can't be written.
    pub(super) fn output_closed(&mut self, error: Option<&String>) {
        self.leave_or(match error {
            Some(error) => (FAILED, Some(format!("standard output can't be written: {error}"))),
            None if self.waits() => exit::waiting(),
            None => (0, None),
        });
    }

    /// Whether something is not delivered, to contacts or to discovery.
    fn waits(&self) -> bool {
        let unconfirmed = |person: &Person| person.identity.request == Request::Unconfirmed;
        self.delivery.all_waiting().next().is_some() || self.roster.iter().any(|(_, it)| unconfirmed(it))
    }

    pub(super) fn leave_when_done(&mut self) {
        if !self.exit.is_lingering() {
            return;
        }
        // Once the account has been started somewhere else, nothing is delivered from here.
        let over = self.fx.now.mono >= self.exit.deadline() || self.rendezvous.is_out();
        if self.one_shot.is_some() {
            if let Some(status) = self.one_shot_status(over) {
                self.leave(status);
            }
            return;
        }
        // Nothing is delivered to a contact who is blocked, so the program does not wait for that.
        let hopeful = self.roster.iter().any(|(id, person)| {
            let waits = person.identity.request == Request::Unconfirmed || self.delivery.waiting(id) > 0;
            waits && !person.identity.blocked
        });
        let busy = !self.rendezvous.tried() || !self.fx.output.is_read() || self.search.is_waiting();
        if over || (!hopeful && !busy) {
            self.refuse_searches_at_end();
            let status = self.exit.status(self.waits());
            self.leave(status);
        }
    }

    fn refuse_searches_at_end(&mut self) {
        self.refuse_searches(Code::Refused, "the client leaves before the index is up to date");
    }

    /// Says goodbye to discovery and every peer, and ends the program.
    pub(super) fn leave(&mut self, status: Status) {
        if !self.exit.leave() {
            return;
        }
        // It is saved with the last transaction when they were there last.
        let is_there =
            |id: &ContactId| self.links.of(*id).is_some() || self.dialer.presence(*id) == Some(true);
        let there: Vec<ContactId> = self.roster.iter().map(|(id, _)| id).filter(is_there).collect();
        there.into_iter().for_each(|id| self.dialer.seen(id, self.fx.now.wall));
        self.links.ids().into_iter().for_each(|link| self.delivery.close(link));
        self.links.leave(&mut self.fx);
        self.rendezvous.leave(&mut self.fx);
        self.refuse_searches_at_end();
        let waiting = self.delivery.all_waiting().map(|(_, count)| count).sum();
        self.fx.tell(Notice::Bye { waiting });
        let (status, why) = status;
        self.fx.act(super::Action::Exit(status, why));
    }
}
