//! What the user types, carried out by the machines of a node.

use super::super::addressee::Addressee;
use super::super::command::{self, Command, CommandError};
use super::super::notice::{Body, Code, HistoryLine, MANY_UNREAD, Notice, OutboxLine, UpDown};
use super::super::verification;
use super::one_shot::{OneShot, Place};
use super::roster::Person;
use super::{Node, acquaintance, boxes, leaving, room_commands, room_view};
use crate::protocol::peer::{ByeReason, Kind};
use crate::protocol::{MAX_TEXT, Name};
use crate::store::Result;
use crate::store::journal::{ContactId, ConversationId, Entry, Identity, Journal, Request, Standing};

pub(super) use lines::{meaning, refuse_line, refuse_unsaved};
pub(super) use searching::{answer_search, refuse_searches};

mod lines;
mod searching;

/// How many messages `OUTBOX` shows of each contact.
const OUTBOX_EACH: usize = 20;
/// How many messages `OUTBOX` shows in all.
const OUTBOX_ALL: usize = 200;
/// How many entries of a conversation are shown at least when it is entered.
const LAST_LINES: u64 = 10;

pub(super) fn carry_out(node: &mut Node, journal: &Journal, command: &Command) -> Result<()> {
    match command {
        Command::Request(name) => return request_user(node, journal, name),
        Command::Chat(to, text) => return chat(node, journal, to, text),
        Command::Converse(None) => {
            let asker = node.fx.output.asker();
            node.conversations.enter(asker, None);
            node.fx.tell(boxes::NO_CONVERSATION);
        }
        Command::Converse(Some(Addressee::User(name))) => return converse(node, journal, name),
        Command::Converse(Some(Addressee::Room(room))) => {
            return room_commands::converse(node, journal, room);
        }
        Command::Line { .. } => match meaning(node, node.fx.output.asker(), command) {
            // What a line means is never another line.
            Ok(Command::Line { .. }) => {}
            Ok(meant) => return carry_out(node, journal, &meant),
            Err(error) => refuse_line(node, &error),
        },
        Command::Logout => leaving::leave(node, (0, None)),
        Command::Contacts => {
            let view = node.view();
            let mut contacts: Vec<_> = node.roster.known().filter_map(|(id, _)| view.contact(id)).collect();
            contacts.sort_by(|one, other| one.peer.cmp(&other.peer));
            node.fx.tell(Notice::Contacts { contacts });
        }
        Command::Outbox => return outbox(node, journal),
        Command::History(Addressee::User(name), count) => return history(node, journal, name, *count),
        Command::History(Addressee::Room(room), count) => {
            return room_commands::history(node, journal, room, *count);
        }
        Command::Page { peer, count, beside } => return boxes::page(node, journal, peer, *count, *beside),
        Command::Read(peer, up_to) => return boxes::read(node, journal, peer, *up_to),
        Command::Prompt => boxes::watch_prompt(node),
        Command::Quiet => {
            let message = "quiet counts as the first line of a box, and only there".into();
            node.refuse(Code::BadCommand, None, message);
        }
        Command::Reads => {
            let asker = node.fx.output.asker();
            node.conversations.reads(asker);
        }
        Command::Detach => boxes::detach(node),
        Command::Search { words, within } => searching::search_for(node, words, within.as_ref()),
        Command::Why(Addressee::Room(room)) => return room_commands::why(node, journal, room),
        Command::Why(Addressee::User(name)) => {
            let why = known(node, name).and_then(|id| node.view().why(node.fx.now, id));
            why.into_iter().for_each(|why| node.fx.tell(Notice::Why(Box::new(why))));
        }
        Command::Verify(name, code) => verify(node, name, code.as_deref()),
        Command::Trust(name, key) => trust(node, name, key.as_deref()),
        Command::TrustDiscovery(digits) => return trust_discovery(node, journal, digits.as_deref()),
        Command::Accept(name) => accept(node, name),
        Command::Forget(name) => return forget(node, journal, name),
        Command::Resend(name) => return resend(node, journal, name),
        Command::Block(name) => return block(node, journal, name),
        Command::Unblock(name) => return unblock(node, journal, name),
        Command::Room(room, past) => return room_commands::make(node, journal, room, past.as_ref()),
        Command::Invite { room, user, all } => {
            return room_commands::invite(node, journal, room, user, *all);
        }
        Command::Join(room) => return room_commands::join(node, journal, room),
        Command::Leave(room) => return room_commands::leave(node, journal, room),
        Command::Rooms => room_commands::list(node),
        Command::Members(room) => room_commands::members(node, room),
        Command::Kick(room, user) => return room_commands::kick(node, journal, room, user),
        Command::Owner(room, user) => return room_commands::transfer(node, journal, room, user),
        Command::Topic(room, text) => return room_commands::set_topic(node, journal, room, text),
        Command::Help => node.fx.tell(Notice::Help {
            commands: command::usages().map(|(usage, meaning)| (usage.into(), meaning.into())).collect(),
        }),
        Command::Explain(about) => node.fx.tell(Notice::Explanation(*about)),
    }
    Ok(())
}

/// The contact of this name; says so if there is none.
pub(super) fn known(node: &mut Node, name: &Name) -> Option<ContactId> {
    let known = node.roster.known_by(name);
    if known.is_none() {
        refuse_unknown(node, name);
    }
    known
}

fn refuse_unknown(node: &mut Node, name: &Name) {
    let message = if *name == node.setup.name {
        "that is yourself".into()
    } else {
        let similar = node.roster.similar(name).map_or_else(
            || format!("; REQUEST {name} first"),
            |similar| format!("; did you mean {similar}? If not, REQUEST {name} first"),
        );
        format!("{name} is not a contact{similar}")
    };
    node.refuse(Code::NotAContact, Some(name), message);
}

fn refuse_blocked(node: &mut Node, name: &Name) {
    node.refuse(Code::Blocked, Some(name), format!("{name} is blocked; UNBLOCK {name} first"));
}

fn request_user(node: &mut Node, journal: &Journal, name: &Name) -> Result<()> {
    if *name == node.setup.name {
        node.refuse(Code::BadCommand, Some(name), "that is yourself".into());
        return Ok(());
    }
    let known = match node.roster.named(name) {
        None => acquaintance::add(node, journal, name, Standing::Contact)?,
        known => known,
    };
    let Some((id, person)) = known.and_then(|id| Some((id, node.roster.get(id)?))) else {
        node.refuse(Code::Refused, Some(name), "there are too many contacts".into());
        return Ok(());
    };
    if person.withdrawn {
        node.refuse(Code::NoSuchUser, Some(name), format!("there is no user {name}"));
        return Ok(());
    }
    let identity = person.identity;
    if identity.blocked {
        acquaintance::unblock(node, id);
    }
    let linked = node.links.of(id).is_some() && node.hears(id);
    if identity.standing != Standing::Contact || identity.request != Request::Answered {
        acquaintance::answer(node, id, name);
        node.conversations.contacts_changed();
    } else {
        node.ask_for(name, true);
        node.dial_soon(id);
    }
    node.dialer.forgive(id);
    node.rendezvous.forgive(name);
    node.fx.tell(Notice::Requested { peer: name.clone() });
    if linked {
        node.fx.tell(Notice::Link {
            peer: name.clone(),
            state: UpDown::Up,
            route: node.links.via(id),
            stranger: false,
        });
    }
    Ok(())
}

fn chat(node: &mut Node, journal: &Journal, to: &Addressee, text: &str) -> Result<()> {
    if text.len() > MAX_TEXT {
        refuse_line(node, &CommandError::TooLong(Some(text.len())));
        return Ok(());
    }
    match to {
        Addressee::Room(room) => room_commands::chat(node, journal, room, text),
        Addressee::User(name) => match known(node, name) {
            Some(id) => write(node, journal, id, name, Kind::TEXT, text.as_bytes()),
            None => Ok(()),
        },
    }
}

/// Puts a message into the outbox.
fn write(
    node: &mut Node,
    journal: &Journal,
    id: ContactId,
    name: &Name,
    kind: Kind,
    body: &[u8],
) -> Result<()> {
    if node.roster.is_blocked(id) {
        refuse_blocked(node, name);
        return Ok(());
    }
    // The first word to a stranger answers them.
    if node.roster.standing(id) == Some(Standing::Stranger) {
        acquaintance::answer(node, id, name);
    }
    let (link, now) = (node.links.of(id), node.fx.now);
    let message = node.delivery.write(journal, id, link, kind, now.wall, body)?;
    node.search.said(node.delivery.last_seq());
    node.note_place();
    node.has_written(ConversationId::User(id));
    if link.is_none() {
        node.dialer.dial_for_message(now, id);
    }
    let (to, text) = (Addressee::User(name.clone()), Body::new(kind, body));
    let linked = link.is_some();
    node.fx.tell(Notice::Queued { id: message, to, linked, text, sent: now.wall, alone: false });
    node.note_held(id);
    Ok(())
}

fn outbox(node: &mut Node, journal: &Journal) -> Result<()> {
    let (mut messages, mut waiting) = (Vec::new(), 0);
    for (id, count) in node.delivery.all_waiting() {
        waiting += count;
        let mut each = OUTBOX_EACH.min(OUTBOX_ALL.saturating_sub(messages.len()));
        let Some(name) = node.roster.name(id).filter(|_| each > 0) else {
            continue;
        };
        journal.sent_after(id, node.delivery.delivered(id), |sent| {
            each -= 1;
            messages.push(OutboxLine {
                id: sent.message.cursor(),
                to: Addressee::User(name.clone()),
                text: Body::new(sent.message.kind, &sent.message.body),
                sent: sent.message.sent,
            });
            each > 0
        })?;
    }
    let room = OUTBOX_ALL.saturating_sub(messages.len());
    messages.extend(room_view::outbox(node, journal, OUTBOX_EACH, room)?);
    waiting += node.noted.all_waiting();
    node.fx.tell(Notice::Outbox { waiting, messages });
    Ok(())
}

fn history(node: &mut Node, journal: &Journal, name: &Name, count: u32) -> Result<()> {
    if let Some(id) = known(node, name) {
        let entries = journal.history(id, count)?;
        let oldest = node.conversations.oldest_unread(journal, id)?;
        if oldest.is_some_and(|oldest| entries.first().is_some_and(|first| first.seq() <= oldest)) {
            node.conversations.mark_read(ConversationId::User(id), node.delivery.last_seq());
        }
        let messages = lines(node, id, entries);
        node.fx.tell(Notice::History { peer: name.clone(), messages });
    }
    Ok(())
}

/// Entries of the conversation with a contact as they are listed.
pub(super) fn lines(node: &Node, id: ContactId, entries: Vec<Entry>) -> Vec<HistoryLine> {
    let (view, own) = (node.view(), &node.setup.name);
    entries.into_iter().filter_map(|entry| view.history_line(own, id, entry)).collect()
}

/// The user enters the conversation with a contact. Who can't enter one is in none: what is typed next was not meant for
/// anyone else.
fn converse(node: &mut Node, journal: &Journal, name: &Name) -> Result<()> {
    let known = node.roster.known_by(name);
    let Some(id) = known.filter(|id| !node.roster.is_blocked(*id)) else {
        boxes::leave_conversation(node, node.fx.output.asker());
        match known {
            Some(_) => refuse_blocked(node, name),
            None => refuse_unknown(node, name),
        }
        return Ok(());
    };
    let conversation = ConversationId::User(id);
    let unread = node.conversations.unread(conversation);
    let count = unread + node.conversations.own_among_unread(journal, id)?;
    let count = u32::try_from(count.clamp(LAST_LINES, MANY_UNREAD)).unwrap_or(u32::MAX);
    let messages = lines(node, id, journal.history(id, count)?);
    node.conversations.enter(node.fx.output.asker(), Some(conversation));
    node.conversations.mark_read(conversation, node.delivery.last_seq());
    node.fx.tell(Notice::Conversation { peer: Some(name.clone()), unread, messages });
    Ok(())
}

/// Shows the code to be compared with a contact, or takes the one that the user has heard from them.
fn verify(node: &mut Node, name: &Name, heard: Option<&str>) {
    let Some(id) = known(node, name) else {
        return;
    };
    let Some(key) = node.roster.get(id).and_then(|person| person.identity.key) else {
        let message = format!("discovery has not said yet who {name} is: there is no key to verify");
        node.refuse(Code::UnknownKey, Some(name), message);
        return;
    };
    let code = verification::code(node.setup.key(), key);
    let grouped = verification::grouped(&code);
    if let Some(heard) = heard {
        if heard != code {
            let message = format!(
                "that is not the code for {name}, which is {grouped}; nothing was changed. If {name} sees another one, an attacker may stand between you"
            );
            node.refuse(Code::WrongCode, Some(name), message);
            return;
        }
        node.roster.set_verified(id);
    }
    let verified = node.roster.get(id).is_some_and(Person::is_verified);
    node.fx.tell(Notice::Verification { peer: name.clone(), code: grouped, verified });
}

/// The user accepts a contact's new key, if the digits name it. What the holder of the old key
/// has stays with them: nothing of it is sent again to the new one.
fn trust(node: &mut Node, name: &Name, digits: Option<&str>) {
    let Some(id) = known(node, name) else {
        return;
    };
    if let Err((code, why)) = node.roster.trust(id, node.setup.key(), digits) {
        node.refuse(code, Some(name), format!("nothing was changed: {why}"));
        return;
    }
    node.delivery.start_anew(id);
    let line = node.view().contact(id);
    if let Some(link) = node.links.of(id) {
        node.close_link(link, Some(ByeReason::NOT_ACCEPTED));
    }
    node.ask_for(name, true);
    node.dial_soon(id);
    line.into_iter().for_each(|line| node.fx.tell(Notice::Contact(Box::new(line))));
}

/// The user answers a stranger.
fn accept(node: &mut Node, name: &Name) {
    let Some(id) = known(node, name) else {
        return;
    };
    if node.roster.is_blocked(id) {
        refuse_blocked(node, name);
        return;
    }
    if node.roster.standing(id) == Some(Standing::Stranger) {
        acquaintance::answer(node, id, name);
    }
    let line = node.view().contact(id);
    line.into_iter().for_each(|line| node.fx.tell(Notice::Contact(Box::new(line))));
}

fn forget(node: &mut Node, journal: &Journal, name: &Name) -> Result<()> {
    if let Some(id) = known(node, name) {
        acquaintance::forget(node, journal, id, name)?;
        node.fx.tell(Notice::Forgotten { peer: name.clone() });
    }
    Ok(())
}

/// The user accepts discovery's new key, if the digits name it.
fn trust_discovery(node: &mut Node, journal: &Journal, digits: Option<&str>) -> Result<()> {
    match node.rendezvous.trust(node.fx.now, digits) {
        Ok(fingerprint) => {
            node.setup.pin(journal, fingerprint)?;
            node.fx.tell(Notice::Trusted { fingerprint });
        }
        Err((code, why)) => node.refuse(code, None, format!("nothing was changed: {why}")),
    }
    Ok(())
}

/// Sends again what a contact has lost.
fn resend(node: &mut Node, journal: &Journal, name: &Name) -> Result<()> {
    let Some(id) = known(node, name) else {
        return Ok(());
    };
    if node.roster.is_blocked(id) {
        refuse_blocked(node, name);
        return Ok(());
    }
    let messages = node.delivery.resend(journal, id)?;
    if messages == 0 {
        let message = format!("{name} has not lost anything, as far as is known; nothing is sent again");
        node.refuse(Code::NothingLost, Some(name), message);
        return Ok(());
    }
    node.fx.tell(Notice::Resent { peer: name.clone(), messages });
    node.note_held(id);
    Ok(())
}

fn block(node: &mut Node, journal: &Journal, name: &Name) -> Result<()> {
    // Also a user who has not yet asked, or was forgotten.
    if node.roster.named(name).is_none() && *name != node.setup.name {
        acquaintance::add(node, journal, name, Standing::Forgotten)?;
    }
    let named = node.roster.named(name);
    let Some(id) = named.filter(|id| node.roster.get(*id).is_some_and(|person| !person.withdrawn)) else {
        refuse_unknown(node, name);
        return Ok(());
    };
    set_blocked(node, id, true);
    node.intake.remove(id);
    acquaintance::drop_pair(node, id, name);
    Ok(())
}

fn set_blocked(node: &mut Node, id: ContactId, blocked: bool) {
    if blocked {
        node.roster.set_blocked(id, true);
    } else {
        acquaintance::unblock(node, id);
    }
    if let Some(name) = node.roster.name(id) {
        node.rendezvous.forgive(name);
    }
    node.dialer.forgive(id);
    node.links.forgive(id);
    let line = node.view().contact(id);
    if let Some(link) = node.links.of(id).filter(|_| blocked) {
        node.close_link(link, Some(ByeReason::NOT_ACCEPTED));
    }
    line.into_iter().for_each(|line| node.fx.tell(Notice::Contact(Box::new(line))));
}

fn unblock(node: &mut Node, journal: &Journal, name: &Name) -> Result<()> {
    let Some(id) = known(node, name) else {
        return Ok(());
    };
    let Some(Identity { blocked, standing, key, .. }) = node.roster.get(id).map(|person| person.identity)
    else {
        return Ok(());
    };
    set_blocked(node, id, false);
    match standing {
        _ if !blocked => {}
        // Blocking has ended the pair at discovery.
        Standing::Contact => acquaintance::answer(node, id, name),
        Standing::Stranger => return acquaintance::take_in_again(node, journal, id),
        Standing::Forgotten if key.is_none() => return acquaintance::remove(node, journal, id),
        Standing::Forgotten | Standing::Member => {}
    }
    Ok(())
}

/// Takes one text, after a request for its recipient if they are not known, and stays until they have it.
pub(super) fn send_one_shot(node: &mut Node, journal: &Journal, to: &Addressee, text: &str) -> Result<()> {
    node.exit.linger(node.fx.now);
    let unknown = to.user().filter(|name| node.roster.known_by(name).is_none());
    *node.one_shot = Some(OneShot::new(to.clone(), unknown.is_some()));
    if let Some(name) = unknown {
        request_user(node, journal, name)?;
        if node.roster.known_by(name).is_none() {
            return Ok(());
        }
    }
    let before = node.delivery.last_seq();
    chat(node, journal, to, text)?;
    let seq = node.delivery.last_seq();
    let place = match to {
        Addressee::User(name) => node.roster.known_by(name).map(|id| Place::With(id, seq)),
        Addressee::Room(room) => {
            room_commands::last_written(node, room).map(|(id, text)| Place::In(id, text))
        }
    };
    if let (Some(place), Some(one_shot)) = (place, &mut *node.one_shot)
        && seq > before
    {
        one_shot.taken(place);
    }
    Ok(())
}
