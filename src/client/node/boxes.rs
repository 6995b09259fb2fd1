//! Front ends come and go; what they ask for that people do not type.

use super::super::addressee::Addressee;
use super::super::command::{Beside, Command, CommandError};
use super::super::event::{BoxId, OWN, Prompt, WITNESS};
use super::super::notice::{Code, Notice, PromptLine, Told};
use super::conversations::ReadUpTo;
use super::output::Asked;
use super::{Node, commands, leaving, room_commands};
use crate::store::Result;
use crate::store::journal::{ContactId, ConversationId, Journal, Seq};

/// A front end is in none.
pub(super) const NO_CONVERSATION: Notice =
    Notice::Conversation { peer: None, unread: 0, messages: Vec::new() };

/// What a box is to be given.
#[derive(Debug)]
pub enum ForBox {
    /// A batch to write, which is answered with [`Input::Written`](super::Input::Written).
    Print(Vec<Told>),
    /// It is too far behind: what it has not taken is dropped, and it is told so as the last thing.
    Cut,
}

/// A box has come: it is told who this is, and unless it is quiet what none has shown yet.
pub(super) fn attached(node: &mut Node, front_end: BoxId, quiet: bool) {
    node.fx.output.attach(front_end, quiet);
    if !quiet {
        node.conversations.attach(front_end);
    }
    greet(node, front_end);
    let told = node.rendezvous.told();
    let (state, detail) = (told.state, told.detail.clone());
    node.fx.output.tell_one(front_end, Notice::Discovery { state, detail });
}

/// The first lines of a front end.
pub(super) fn greet(node: &mut Node, front_end: BoxId) {
    node.fx.output.tell_one(front_end, Notice::hello());
    let (user, address, fingerprint) = (node.setup.name.clone(), node.setup.listen, node.setup.key());
    node.fx.output.tell_one(front_end, Notice::Ready { user, address, fingerprint });
}

pub(super) fn detached(node: &mut Node, front_end: BoxId) {
    node.fx.output.detach(front_end);
    node.conversations.detach(front_end);
    // A copy is made of what is changed.
    if node.search.is_waiting() {
        node.search.detach(front_end);
    }
}

/// A box asks to be let go. The program's own front end is no box, and goes only with the program.
pub(super) fn detach(node: &mut Node) {
    if node.fx.output.asker() == OWN {
        leaving::leave(node, (0, None));
    } else {
        node.fx.tell(Notice::Detached);
    }
}

/// What the prompt of a front end shows, and whether its names have changed, if anything has.
pub(super) fn prompt(node: &mut Node, front_end: BoxId) -> Option<(Prompt, bool)> {
    let waiting = match node.conversations.current(front_end) {
        Some(ConversationId::User(id)) if node.links.of(id).is_none() => node.delivery.waiting(id),
        Some(ConversationId::Room(id)) => node.noted.waiting(id),
        _ => 0,
    };
    node.conversations.prompt(front_end, &node.roster, waiting, node.progress.of(front_end))
}

fn prompt_notice((prompt, names): (Prompt, bool)) -> Notice {
    let Prompt { conversation, unread, waiting, work, contacts, rooms } = prompt;
    Notice::Prompt(Box::new(PromptLine {
        conversation,
        waiting,
        unread,
        work,
        contacts: names.then(|| contacts.to_vec()),
        rooms: names.then(|| rooms.to_vec()),
    }))
}

/// A front end has a prompt from now on, and is told all of it.
pub(super) fn watch_prompt(node: &mut Node) {
    let asker = node.fx.output.asker();
    node.conversations.watch_prompt(asker);
    let prompt = prompt(node, asker);
    prompt.into_iter().for_each(|prompt| node.fx.tell(prompt_notice(prompt)));
}

/// What boxes are to be given now that the transaction is on the disk.
pub(super) fn take(node: &mut Node) -> Vec<(BoxId, ForBox)> {
    let (now, mut given) = (node.fx.now, Vec::new());
    let ids: Vec<BoxId> = node.fx.output.ids().filter(|id| *id != OWN).collect();
    if ids.is_empty() {
        return given;
    }
    given.extend(node.fx.output.take_cut().into_iter().map(|front_end| (front_end, ForBox::Cut)));
    let prompts: Vec<BoxId> = node.conversations.with_prompts().filter(|id| *id != OWN).collect();
    for front_end in prompts {
        // Until it has taken more, the latest is all that it needs.
        if node.fx.output.takes_prompt(front_end)
            && let Some(prompt) = prompt(node, front_end)
        {
            node.fx.output.tell_committed(front_end, prompt_notice(prompt));
        }
    }
    for front_end in ids {
        let batch = node.fx.output.take_batch(front_end, now);
        given.extend(batch.map(|batch| (front_end, ForBox::Print(batch))));
    }
    given
}

/// Some messages of a conversation, on one side of a place; nothing is read by that.
pub(super) fn page(
    node: &mut Node,
    journal: &Journal,
    peer: &Addressee,
    count: u32,
    beside: Beside,
) -> Result<()> {
    match peer {
        Addressee::User(name) => {
            if let Some(id) = commands::known(node, name) {
                let entries = match beside {
                    Beside::Before(before) => journal.history_before(id, count, before)?,
                    Beside::After(after) => journal.history_after(id, count, after)?,
                };
                let messages = commands::lines(node, id, entries);
                node.fx.tell(Notice::History { peer: name.clone(), messages });
            }
        }
        Addressee::Room(label) => {
            if let Some(id) = room_commands::known(node, label) {
                let said = match beside {
                    // Nothing stands there yet: the page is the last one.
                    Beside::Before(before) if before > node.delivery.last_seq() => {
                        journal.room_history(id, count)?
                    }
                    Beside::Before(before) => journal.room_history_before(id, count, before)?,
                    Beside::After(after) => journal.room_history_after(id, count, after)?,
                };
                let is_first = match beside {
                    Beside::Before(_) => said.len() < usize::try_from(count).unwrap_or(usize::MAX),
                    Beside::After(after) => after == 0,
                };
                room_commands::tell_history(node, id, label, said, is_first);
            }
        }
    }
    Ok(())
}

/// The user has read a conversation up to there.
pub(super) fn read(node: &mut Node, journal: &Journal, peer: &Addressee, up_to: Seq) -> Result<()> {
    let known = match peer {
        Addressee::User(name) => commands::known(node, name).map(ConversationId::User),
        Addressee::Room(label) => room_commands::known(node, label).map(ConversationId::Room),
    };
    let Some(id) = known else {
        return Ok(());
    };
    // What was read before is no answer to this.
    let asked = node.fx.output.answer(None);
    tell_read(node, journal)?;
    node.fx.output.answer(asked);
    node.conversations.mark_read(id, up_to);
    node.conversations.recount(journal, &node.roster)?;
    if let Some((up_to, unread)) = node.conversations.read_up_to(id) {
        node.fx.tell(Notice::Read { peer: peer.clone(), up_to, unread });
    }
    Ok(())
}

/// Tells how far conversations are read, where that has changed.
pub(super) fn tell_read(node: &mut Node, journal: &Journal) -> Result<()> {
    for ReadUpTo { who, up_to, unread } in node.conversations.recount(journal, &node.roster)? {
        node.fx.tell(Notice::Read { peer: who, up_to, unread });
    }
    Ok(())
}

/// A front end can't go on with the conversation that it is in. What a command asked for is another matter, and is answered
/// by itself.
pub(super) fn leave_conversation(node: &mut Node, front_end: BoxId) {
    if node.conversations.enter(front_end, None) {
        node.fx.output.tell_one(front_end, NO_CONVERSATION);
    }
}

/// No front end can go on with the conversation with a contact.
pub(super) fn end_conversation(node: &mut Node, id: ContactId) {
    for front_end in node.conversations.in_it(ConversationId::User(id)) {
        leave_conversation(node, front_end);
    }
}

impl Node {
    /// Carries out what was typed or said in a front end.
    pub(super) fn command(
        &mut self,
        journal: &Journal,
        command: &Result<Command, CommandError>,
        asked: Asked,
    ) -> Result<()> {
        self.fx.output.answer(Some(asked));
        let done = match command {
            Ok(command) => commands::carry_out(self, journal, command),
            Err(error) => {
                commands::refuse_line(self, error);
                Ok(())
            }
        };
        self.fx.output.answer(None);
        done
    }

    /// The user has written in a conversation, and so has read what is shown of it there.
    pub(super) fn has_written(&mut self, conversation: ConversationId) {
        let asker = self.fx.output.asker();
        if self.fx.output.readers().any(|id| id == asker) {
            self.conversations.wrote(asker, conversation);
        }
    }

    /// What is told from now on speaks of all that the journal holds.
    pub(super) fn note_place(&mut self) {
        self.fx.output.set_place(self.delivery.last_seq());
    }

    /// A front end has written its oldest batch.
    pub(super) fn written(&mut self, front_end: BoxId) {
        for (conversation, seq) in self.fx.output.written(front_end, self.fx.now) {
            let given_back = match conversation {
                _ if front_end == WITNESS => false,
                ConversationId::User(id) => !self.withdrawals.is_empty() && self.withdrawals.written(id),
                ConversationId::Room(_) => false,
            };
            if !given_back {
                self.conversations.written(front_end, conversation, seq);
            }
        }
        if let Some(dropped) = self.fx.output.take_dropped() {
            let message = format!(
                "the output was not read, and {dropped} notices were dropped (no messages); CONTACTS and OUTBOX say how things are"
            );
            self.fx.error(Code::OutputBehind, None, message);
        }
    }

    /// How this program ends tells of what was said on its own streams.
    pub(super) fn note_refused(&mut self) {
        if self.fx.output.asker() == OWN {
            self.exit.note_refused();
        }
    }
}
