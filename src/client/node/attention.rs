//! What the user looks at: the conversation that they are in, and what they have not read.
//!
//! A message is unread until the user enters its conversation, is in it when it is shown, writes to who
//! wrote it, or looks at the history. How far they have read is kept in the journal, some time later.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::command::{Command, CommandError};
use super::super::did_you_mean::nearest;
use super::super::event::Prompt;
use super::super::notice::{Code, MANY_UNREAD, Notice};
use super::contacts::Contact;
use super::{LAZY_SAVE, Node};
use crate::protocol::Name;
use crate::store::Result;
use crate::store::journal::{ContactId, Journal, Seq};
use crate::time::Now;

/// Among how many contacts it is looked for whom the user may have meant; among more it takes too long.
const MAX_MEANT: usize = 1000;
/// How many entries of a conversation are shown at least when it is entered.
const LAST_LINES: u64 = 10;

/// See the module.
#[derive(Debug, Default)]
pub struct Attention {
    conversation: Option<ContactId>,
    /// The conversation at the last commit.
    kept: Option<ContactId>,
    /// Whose unread messages must be counted again.
    uncounted: Vec<ContactId>,
    /// How many are unread, of whom there are any.
    unread: BTreeMap<Name, u64>,
    /// How many messages wait for whom the conversation is with.
    waiting: u64,
    names: Arc<[Name]>,
    /// Contacts have been added or removed since `names` was made.
    names_changed: bool,
    changed: bool,
}

impl Attention {
    /// Contacts have been added or removed.
    pub fn contacts_changed(&mut self) {
        self.names_changed = true;
    }

    /// Takes back what was entered or left since the last commit.
    pub fn roll_back(&mut self) {
        self.changed |= self.conversation != self.kept;
        self.conversation = self.kept;
        self.uncounted.clear();
    }

    /// Forgets a contact.
    pub fn forget(&mut self, contact: ContactId, name: &Name) {
        if self.conversation == Some(contact) {
            self.conversation = None;
        }
        self.uncounted.retain(|id| *id != contact);
        self.unread.remove(name);
        self.contacts_changed();
    }

    /// All counts are about to be set anew.
    pub fn forget_counts(&mut self) {
        self.unread.clear();
        self.contacts_changed();
    }

    pub fn set_unread(&mut self, name: &Name, count: u64) {
        if count == 0 {
            self.changed |= self.unread.remove(name).is_some();
        } else {
            self.changed |= self.unread.insert(name.clone(), count) != Some(count);
        }
    }
}

impl Node {
    /// Whom plain lines go to.
    pub(super) fn in_conversation(&self) -> Option<&Name> {
        let contact = self.contacts.get(&self.attention.conversation?)?;
        Some(&contact.row.name)
    }

    fn is_in_conversation_with(&self, id: ContactId) -> bool {
        self.attention.conversation == Some(id)
    }

    /// What a line means here and now.
    pub(super) fn meaning(&self, command: &Command) -> Result<Command, CommandError> {
        match (command, self.in_conversation()) {
            (Command::Line { text, .. }, Some(to)) => Ok(Command::Chat(to.clone(), text.clone())),
            (Command::Line { otherwise, .. }, None) => (**otherwise).clone(),
            (command, _) => Ok(command.clone()),
        }
    }

    /// The user enters a conversation, or leaves the one that they are in. Whoever can't enter one is in none: what
    /// is typed next was not meant for anybody else.
    pub(super) fn converse(&mut self, now: Now, journal: &Journal, name: Option<&Name>) -> Result<()> {
        let Some(name) = name else {
            self.enter(None);
            self.tell(now, Notice::Conversation { peer: None, unread: 0, messages: Vec::new() });
            return Ok(());
        };
        let entered = self.known(name).and_then(|id| self.contacts.get(&id));
        match entered {
            Some(contact) if !contact.row.blocked => {
                let (id, unread) = (contact.row.id, contact.unread);
                let count = unread + self.own_among_unread(journal, contact)?;
                let count = count.clamp(LAST_LINES, MANY_UNREAD);
                let messages = self.history_lines(journal, id, u32::try_from(count).unwrap_or(u32::MAX))?;
                self.enter(Some(id));
                self.mark_read(now, id, self.seq);
                self.tell(now, Notice::Conversation { peer: Some(name.clone()), unread, messages });
            }
            refused => {
                let blocked = refused.is_some();
                self.leave_conversation(now);
                if blocked {
                    self.refuse_blocked(now, name);
                } else {
                    self.refuse_unknown(now, name);
                }
            }
        }
        Ok(())
    }

    /// How many of ours stand among and after what is unread of a contact.
    fn own_among_unread(&self, journal: &Journal, contact: &Contact) -> Result<u64> {
        let mut oldest = None;
        if contact.unread > 0 {
            journal.received_after(contact.row.id, contact.row.read, |received| {
                oldest = Some(received.seq);
                false
            })?;
        }
        oldest.map_or(Ok(0), |oldest| journal.count_sent_after(contact.row.id, oldest))
    }

    fn enter(&mut self, conversation: Option<ContactId>) {
        self.attention.changed |= self.attention.conversation != conversation;
        self.attention.conversation = conversation;
    }

    fn leave_conversation(&mut self, now: Now) {
        if self.attention.conversation.is_some() {
            self.enter(None);
            // What a command asked for is another matter, and is answered by itself.
            let answering = self.answering.take();
            self.tell(now, Notice::Conversation { peer: None, unread: 0, messages: Vec::new() });
            self.answering = answering;
        }
    }

    /// The contact is about to be forgotten: nobody can talk to them.
    pub(super) fn leave_conversation_with(&mut self, now: Now, id: ContactId) {
        if self.is_in_conversation_with(id) {
            self.leave_conversation(now);
        }
    }

    /// A message has come in that nobody has looked at.
    pub(super) fn count_unread(&mut self, id: ContactId, arrived: i64) {
        if let Some(contact) = self.contacts.get_mut(&id) {
            // Saved when it is noted that the message was shown.
            contact.row.seen = Some(arrived);
            if contact.unread < MANY_UNREAD {
                contact.unread += 1;
                self.attention.set_unread(&contact.row.name, contact.unread);
            }
        }
    }

    /// What stands on the screen has been looked at by whoever is in that conversation.
    pub(super) fn has_seen(&mut self, now: Now, id: ContactId, up_to: Seq) {
        if self.is_in_conversation_with(id) {
            self.mark_read(now, id, up_to);
        }
    }

    /// The user has looked at everything that the contact wrote up to there.
    pub(super) fn mark_read(&mut self, now: Now, id: ContactId, up_to: Seq) {
        let Some(contact) = self.contacts.get_mut(&id) else {
            return;
        };
        if contact.unread > 0 && contact.row.read < up_to {
            contact.row.read = up_to;
            contact.dirty_later = true;
            self.save_at.get_or_insert(now.mono + LAZY_SAVE);
            if !self.attention.uncounted.contains(&id) {
                self.attention.uncounted.push(id);
            }
        }
    }

    /// Counts again what is unread of those of whom something was read.
    pub(super) fn recount(&mut self, journal: &Journal) -> Result<()> {
        for id in std::mem::take(&mut self.attention.uncounted) {
            if let Some(contact) = self.contacts.get_mut(&id) {
                // A seq beyond may be given out again, if what has it is forgotten.
                contact.row.read = contact.row.read.min(journal.last_received(id)?);
                contact.unread = journal.count_received_after(id, contact.row.read, MANY_UNREAD)?;
                self.attention.set_unread(&contact.row.name, contact.unread);
            }
        }
        Ok(())
    }

    /// What the prompt is to show, if that has changed since the last commit, which is now.
    pub(super) fn prompt(&mut self) -> Option<Prompt> {
        self.attention.kept = self.attention.conversation;
        if std::mem::take(&mut self.attention.names_changed) {
            let known = self.contacts.values().filter(|contact| !contact.row.is_withdrawn());
            let mut names: Vec<Name> = known.map(|contact| contact.row.name.clone()).collect();
            names.sort_unstable();
            self.attention.names = names.into();
            self.attention.changed = true;
        }
        let with = self.attention.conversation.and_then(|id| self.contacts.get(&id));
        let waiting = with.filter(|contact| contact.link.is_none()).map_or(0, |contact| contact.waiting);
        self.attention.changed |= self.attention.waiting != waiting;
        self.attention.waiting = waiting;
        std::mem::take(&mut self.attention.changed).then(|| Prompt {
            conversation: self.in_conversation().cloned(),
            waiting,
            unread: self.attention.unread.clone(),
            contacts: Arc::clone(&self.attention.names),
        })
    }

    pub(super) fn refuse_blocked(&mut self, now: Now, name: &Name) {
        self.refuse(now, Code::Blocked, Some(name), format!("{name} is blocked; UNBLOCK {name} first"));
    }

    pub(super) fn refuse_unknown(&mut self, now: Now, name: &Name) {
        let message = if *name == self.setup.name {
            "that is yourself".into()
        } else {
            // Nobody is looked at who is about to be forgotten.
            let few = self.by_name.len() <= MAX_MEANT;
            let known = self.by_name.keys().filter(|other| few && self.known(other).is_some());
            let meant = nearest(name.as_str(), known.map(Name::as_str));
            let meant = meant.map_or_else(
                || format!("; REQUEST {name} first"),
                |meant| format!("; did you mean {meant}? If not, REQUEST {name} first"),
            );
            format!("{name} is not a contact{meant}")
        };
        self.refuse(now, Code::NotAContact, Some(name), message);
    }
}
