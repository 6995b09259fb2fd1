//! What the user types.

use super::super::command::{self, Command, CommandError};
use super::super::notice::{Body, Code, HistoryLine, Notice, OutboxLine, UpDown};
use super::super::verification;
use super::Node;
use super::outbound::AT_HAND;
use crate::protocol::peer::{ByeReason, Cursor, Kind, Message};
use crate::protocol::rendezvous::{About, ToDiscovery};
use crate::protocol::{MAX_TEXT, Name};
use crate::store::Result;
use crate::store::journal::{ContactId, Entry, Journal, Request, Sent, Side};
use crate::time::Now;

/// How many messages `OUTBOX` shows of each contact.
const OUTBOX_EACH: usize = 20;
/// How many messages `OUTBOX` shows in all.
const OUTBOX_ALL: usize = 200;

impl Node {
    pub(super) fn command(&mut self, now: Now, journal: &Journal, command: &Command) -> Result<()> {
        match command {
            Command::Request(name) => self.request(now, journal, name),
            Command::Chat(name, text) => self.chat(now, journal, name, text),
            Command::Converse(name) => self.converse(now, journal, name.as_ref()),
            Command::Line { .. } => match self.meaning(command) {
                // What a line means is never another line.
                Ok(Command::Line { .. }) => Ok(()),
                Ok(meant) => self.command(now, journal, &meant),
                Err(error) => {
                    self.command_error(now, &error);
                    Ok(())
                }
            },
            Command::Logout => {
                self.leave(now, 0, None);
                Ok(())
            }
            Command::Contacts => {
                let known = self.contacts.values().filter(|contact| !contact.row.is_withdrawn());
                let mut contacts: Vec<_> = known.map(|contact| contact.line()).collect();
                contacts.sort_by(|one, other| one.peer.cmp(&other.peer));
                self.tell(now, Notice::Contacts { contacts });
                Ok(())
            }
            Command::Outbox => self.outbox(now, journal),
            Command::History(name, count) => self.history(now, journal, name, *count),
            Command::Search { words, user } => self.search(now, words, user.as_ref()),
            Command::Why(name) => self.with_contact(now, name, |node, id| {
                node.why(now, id);
                Ok(())
            }),
            Command::Verify(name, code) => self.with_contact(now, name, |node, id| {
                node.verify(now, id, code.as_deref());
                Ok(())
            }),
            Command::Trust(name, key) => {
                self.with_contact(now, name, |node, id| node.trust(now, id, key.as_deref()))
            }
            Command::Block(name) => {
                // Also somebody who has not yet asked.
                if !self.by_name.contains_key(name) && *name != self.setup.name {
                    self.add_contact(journal, name)?;
                }
                self.with_contact(now, name, |node, id| {
                    node.set_blocked(now, id, true);
                    Ok(())
                })
            }
            Command::Unblock(name) => self.with_contact(now, name, |node, id| node.unblock(now, journal, id)),
            Command::Help => {
                self.tell(now, Notice::Help { commands: command::usages().collect() });
                Ok(())
            }
            Command::Explain(about) => {
                self.tell(now, Notice::Explanation(*about));
                Ok(())
            }
        }
    }

    pub(super) fn command_error(&mut self, now: Now, error: &CommandError) {
        let code = match error {
            CommandError::TooLong(_) | CommandError::Cut => Code::TooLong,
            _ => Code::BadCommand,
        };
        self.refuse(now, code, None, error.to_string());
    }

    fn with_contact(
        &mut self,
        now: Now,
        name: &Name,
        then: impl FnOnce(&mut Self, ContactId) -> Result<()>,
    ) -> Result<()> {
        match self.known(name) {
            Some(id) => then(self, id),
            None => {
                self.refuse_unknown(now, name);
                Ok(())
            }
        }
    }

    fn request(&mut self, now: Now, journal: &Journal, name: &Name) -> Result<()> {
        if *name == self.setup.name {
            self.refuse(now, Code::BadCommand, Some(name), "that is yourself".into());
            return Ok(());
        }
        if !self.by_name.contains_key(name) && self.add_contact(journal, name)?.is_none() {
            self.refuse(now, Code::Refused, Some(name), "there are too many contacts".into());
            return Ok(());
        }
        let Some(contact) = self.contact_named(name) else {
            return Ok(());
        };
        if contact.row.is_withdrawn() {
            self.refuse(now, Code::NoSuchUser, Some(name), format!("there is no user {name}"));
            return Ok(());
        }
        if contact.row.blocked {
            self.refuse_blocked(now, name);
            return Ok(());
        }
        if contact.link.is_none() && contact.row.request == Request::None {
            contact.row.request = Request::Unconfirmed;
            contact.dirty = true;
        }
        contact.refused = None;
        let (id, linked) = (contact.row.id, contact.link.is_some());
        self.ask_discovery(now, ToDiscovery::Request(About { name: name.clone() }));
        self.dial_soon(now, id);
        self.tell(now, Notice::Requested { peer: name.clone() });
        if linked {
            self.tell(now, Notice::Link { peer: name.clone(), state: UpDown::Up });
        }
        Ok(())
    }

    fn chat(&mut self, now: Now, journal: &Journal, name: &Name, text: &str) -> Result<()> {
        if text.len() > MAX_TEXT {
            self.command_error(now, &CommandError::TooLong(Some(text.len())));
            return Ok(());
        }
        self.with_contact(now, name, |node, id| node.write(now, journal, id, Kind::TEXT, text.as_bytes()))
    }

    /// Puts a message into the outbox.
    fn write(&mut self, now: Now, journal: &Journal, id: ContactId, kind: Kind, body: &[u8]) -> Result<()> {
        let Some(contact) = self.contacts.get_mut(&id) else {
            return Ok(());
        };
        let name = contact.row.name.clone();
        if contact.row.blocked {
            self.refuse_blocked(now, &name);
            return Ok(());
        }
        let seq = self.seq + 1;
        let epoch = match self.epoch.1 {
            Some(epoch) => epoch,
            None => *self.epoch.1.insert(journal.add_epoch(self.epoch.0, seq)?),
        };
        journal.add_sent(id, seq, epoch, kind, now.wall, body)?;
        self.seq = seq;
        contact.waiting += 1;
        contact.said(Side::Ours, seq);
        self.index.add(seq);
        let read = contact.handed;
        let most = AT_HAND / self.links.len().max(1);
        let link = contact.link.and_then(|link| self.links.get_mut(&link));
        let linked = link.is_some();
        let cursor = Cursor { epoch: self.epoch.0, number: seq.cast_unsigned() };
        if let Some(link) = link {
            let Cursor { epoch: epoch_value, number } = cursor;
            let message = Message { epoch: epoch_value, number, kind, sent: now.wall, body: body.to_owned() };
            link.outbound.written(Sent { seq, epoch, message }, most);
        }
        self.mark_read(now, id, read);
        self.dial_for_message(now, id);
        let text = Body::new(kind, body);
        self.tell(now, Notice::Queued { id: cursor, to: name, linked, text, sent: now.wall });
        Ok(())
    }

    fn outbox(&mut self, now: Now, journal: &Journal) -> Result<()> {
        let mut messages = Vec::new();
        let mut waiting = 0;
        for contact in self.contacts.values().filter(|contact| contact.waiting > 0) {
            waiting += contact.waiting;
            let mut each = OUTBOX_EACH.min(OUTBOX_ALL.saturating_sub(messages.len()));
            if each == 0 {
                continue;
            }
            journal.sent_after(contact.row.id, contact.row.delivered, |sent| {
                each -= 1;
                messages.push(OutboxLine {
                    id: sent.message.cursor(),
                    to: contact.row.name.clone(),
                    text: Body::new(sent.message.kind, &sent.message.body),
                    sent: sent.message.sent,
                });
                each > 0
            })?;
        }
        self.tell(now, Notice::Outbox { waiting, messages });
        Ok(())
    }

    fn history(&mut self, now: Now, journal: &Journal, name: &Name, count: u32) -> Result<()> {
        self.with_contact(now, name, |node, id| {
            let messages = node.history_lines(journal, id, count)?;
            node.mark_read(now, id, node.seq);
            node.tell(now, Notice::History { peer: name.clone(), messages });
            Ok(())
        })
    }

    /// The last entries of the conversation with a contact.
    pub(super) fn history_lines(
        &self,
        journal: &Journal,
        id: ContactId,
        count: u32,
    ) -> Result<Vec<HistoryLine>> {
        let entries = journal.history(id, count)?;
        Ok(entries.into_iter().filter_map(|entry| self.history_line(id, entry)).collect())
    }

    /// An entry of the conversation with a contact.
    pub(super) fn history_line(&self, id: ContactId, entry: Entry) -> Option<HistoryLine> {
        let contact = self.contacts.get(&id)?;
        Some(match entry {
            Entry::Sent(sent) => HistoryLine {
                id: sent.message.cursor(),
                from: self.setup.name.clone(),
                text: Body::new(sent.message.kind, &sent.message.body),
                sent: sent.message.sent,
                received: None,
                delivered: sent.seq <= contact.row.delivered,
            },
            Entry::Received(received) => HistoryLine {
                id: received.message.cursor(),
                from: contact.row.name.clone(),
                text: Body::new(received.message.kind, &received.message.body),
                sent: received.message.sent,
                received: Some(received.arrived),
                delivered: true,
            },
        })
    }

    /// Shows the code to be compared with a contact, or takes the one that the user has heard from them.
    fn verify(&mut self, now: Now, id: ContactId, heard: Option<&str>) {
        let own = self.setup.key;
        let Some(contact) = self.contacts.get_mut(&id) else {
            return;
        };
        let name = contact.row.name.clone();
        let Some(key) = contact.row.key else {
            let message = format!("discovery has not said yet who {name} is: there is no key to verify");
            self.refuse(now, Code::UnknownKey, Some(&name), message);
            return;
        };
        let code = verification::code(own, key);
        if let Some(heard) = heard {
            if heard != code {
                let message = format!(
                    "that is not the code for {name}, which is {}; nothing was changed. If {name} sees another one, somebody may stand between you",
                    verification::grouped(&code)
                );
                self.refuse(now, Code::WrongCode, Some(&name), message);
                return;
            }
            contact.row.verified = Some(key);
            contact.dirty = true;
        }
        let verified = contact.is_verified();
        let code = verification::grouped(&code);
        self.tell(now, Notice::Verification { peer: name, code, verified });
    }

    /// The user accepts a contact's new key, which starts with `digits` if they say so. What the old key's
    /// holder has stays with them: nothing of it is sent again to the new one.
    fn trust(&mut self, now: Now, id: ContactId, digits: Option<&str>) -> Result<()> {
        let Some(contact) = self.contacts.get_mut(&id) else {
            return Ok(());
        };
        let name = contact.row.name.clone();
        let Some(offered) = contact.row.offered else {
            let message = format!("discovery names no other key for {name}; nothing was changed");
            self.refuse(now, Code::NothingToTrust, Some(&name), message);
            return Ok(());
        };
        if !offered.to_string().starts_with(digits.unwrap_or_default()) {
            let message = format!("discovery names the key {offered} for {name}; nothing was changed");
            self.refuse(now, Code::KeyChanged, Some(&name), message);
            return Ok(());
        }
        if self.by_key.contains_key(&offered) {
            let message = format!("the key {offered} belongs to another contact; nothing was changed");
            self.refuse(now, Code::KeyChanged, Some(&name), message);
            return Ok(());
        }
        let old = contact.row.key.replace(offered);
        contact.row.offered = None;
        contact.row.base = contact.row.delivered;
        contact.dirty = true;
        let link = contact.link;
        let line = contact.line();
        if let Some(old) = old {
            self.by_key.remove(&old);
        }
        self.by_key.insert(offered, id);
        if let Some(link) = link {
            self.close_link(now, link, Some(ByeReason::NOT_ACCEPTED));
        }
        self.ask_discovery(now, ToDiscovery::Request(About { name }));
        self.dial_soon(now, id);
        self.tell(now, Notice::Contact(Box::new(line)));
        Ok(())
    }

    fn set_blocked(&mut self, now: Now, id: ContactId, blocked: bool) {
        let Some(contact) = self.contacts.get_mut(&id) else {
            return;
        };
        contact.row.blocked = blocked;
        contact.dirty = true;
        contact.refused = None;
        let line = contact.line();
        if let (true, Some(link)) = (blocked, contact.link) {
            self.close_link(now, link, Some(ByeReason::NOT_ACCEPTED));
        }
        self.tell(now, Notice::Contact(Box::new(line)));
    }

    fn unblock(&mut self, now: Now, journal: &Journal, id: ContactId) -> Result<()> {
        self.set_blocked(now, id, false);
        let Some(contact) = self.contacts.get(&id) else {
            return Ok(());
        };
        if contact.row.key.is_none() && contact.row.request == Request::None {
            // Blocked beforehand, and never more than a name.
            return self.remove_contact(journal, id);
        }
        // Nobody has asked about them while they were blocked.
        let name = contact.row.name.clone();
        self.ask_discovery(now, ToDiscovery::Request(About { name }));
        self.dial_soon(now, id);
        Ok(())
    }

    /// A contact who is not about to be forgotten.
    pub(super) fn known(&self, name: &Name) -> Option<ContactId> {
        let id = self.by_name.get(name)?;
        self.contacts.get(id).filter(|contact| !contact.row.is_withdrawn()).map(|contact| contact.row.id)
    }
}
