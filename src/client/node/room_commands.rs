//! What the user types about rooms, carried out by the machines of a node.

use std::collections::BTreeSet;

use super::super::addressee::{Addressee, RoomLabel};
use super::super::notice::{Body, Code, MANY_UNREAD, Notice, PastRoom, RoomState};
use super::rooms::{Cx, KEPT_CHANGES, Refusal, Room, Rooms, State};
use super::{Node, boxes, room_view};
use crate::protocol::peer::{Cursor, Kind};
use crate::protocol::room::{EntryKind, Found, Hash, MAX_MEMBERS, MAX_ROOMS, MAX_TOPIC, hash};
use crate::protocol::{Name, PublicKey};
use crate::store::Result;
use crate::store::journal::{ConversationId, Journal, RoomId, Said, Seq, Standing};

/// How many texts of a room are shown at least when it is entered.
const LAST_LINES: u32 = 10;

/// The room that is called that here; says so if there is none.
pub(super) fn known(node: &mut Node, label: &RoomLabel) -> Option<RoomId> {
    let known = node.conversations.room_called(label);
    if known.is_none() {
        refuse_unknown(node, label);
    }
    known
}

fn refuse_unknown(node: &mut Node, label: &RoomLabel) {
    let message = format!("no room is called {label} here; ROOMS lists them");
    node.refuse_room(Code::NoSuchRoom, label, None, message);
}

/// Says why something was not done in a room, or with a member of it.
fn refuse(node: &mut Node, id: RoomId, label: &RoomLabel, user: Option<&Name>, refusal: Refusal) {
    let Some(room) = node.rooms.get(id) else {
        return;
    };
    let owner = room.membership.name_of(room.membership.owner).map_or("its owner", Name::as_str);
    let who = user.unwrap_or(&node.setup.name);
    let is_own = *who == node.setup.name;
    let changes = room.changes.len();
    let (code, message) = match refusal {
        Refusal::NotJoined => (Code::NotAMember, not_joined(room, label, owner)),
        Refusal::NotTheOwner => {
            (Code::NotTheOwner, format!("only {owner}, the owner of {label}, can do that"))
        }
        Refusal::Frozen => {
            let why = room.membership.frozen.unwrap_or("its members contradict each other");
            (Code::RoomFrozen, format!("{label} takes nothing new, for {why}; {}", goes_on(label)))
        }
        Refusal::TooManyRooms => too_many_rooms(),
        Refusal::TooManyMembers => {
            let message = format!("{label} has {MAX_MEMBERS} members, and can't have more; KICK removes one");
            (Code::TooManyMembers, message)
        }
        Refusal::TooManyChanges => {
            let message = format!(
                "{label} was changed {changes} times, and can't be changed any more; {}",
                goes_on(label)
            );
            (Code::Refused, message)
        }
        Refusal::KeptForRemovals => {
            let message = format!(
                "{label} was changed {changes} times: the last {KEPT_CHANGES} changes are kept for KICK and OWNER; {}",
                goes_on(label)
            );
            (Code::Refused, message)
        }
        Refusal::KeptForTransfer => {
            let message = format!(
                "{label} was changed {changes} times: what is left is kept for OWNER; {}",
                goes_on(label)
            );
            (Code::Refused, message)
        }
        Refusal::Full => {
            let message = format!("{label} is full, and takes nothing more from you; {}", goes_on(label));
            (Code::Refused, message)
        }
        Refusal::AlreadyIn if is_own => (Code::Refused, format!("you are in {label} already")),
        Refusal::AlreadyIn => {
            (Code::Refused, format!("{who} is in {label} already, or invited; see MEMBERS {label}"))
        }
        Refusal::NotAMember if is_own && room.membership.owner == room.own => (
            Code::NotAMember,
            format!("you own {label} already; OWNER {label} <user> hands it over to another member"),
        ),
        Refusal::NotAMember => (Code::NotAMember, format!("{who} is not in {label}; see MEMBERS {label}")),
        Refusal::Owner => {
            let message =
                format!("you own {label}: OWNER {label} <user> hands it over, and then you can leave");
            (Code::Refused, message)
        }
        Refusal::NotYet(other) => {
            let other = room.membership.name_of(other).map_or("another member", Name::as_str);
            let message = format!(
                "{who} can't be removed from {label} yet: what was final while {who} owned it may still come from {other}; \
                 try again in a moment, or when {other} is there; if {other} is gone for good, KICK {other} first"
            );
            (Code::NotYet, message)
        }
    };
    node.refuse_room(code, label, user, message);
}

/// How to go on from a room that can't.
fn goes_on(label: &RoomLabel) -> String {
    format!("ROOM #new {label} founds one that goes on from it")
}

fn not_joined(room: &Room, label: &RoomLabel, owner: &str) -> String {
    let again = if room.membership.owner == room.own {
        format!("you own it, so no other member can invite you again; {}", goes_on(label))
    } else {
        format!("its owner, {owner}, can invite you again")
    };
    match room.state(room.own) {
        Some(State::Invited) => format!("you are invited into {label}, and not in it; JOIN {label} first"),
        Some(State::Left) if room.has_declined(room.own) => {
            format!("you have declined the invitation into {label}; {again}")
        }
        Some(State::Left) => format!("you have left {label}; {again}"),
        Some(State::Removed) => format!("you were removed from {label}; {again}"),
        Some(State::Forked) => {
            format!("members of {label} have proof that this account told them different things; {again}")
        }
        _ => format!("you are not in {label}; {again}"),
    }
}

/// Has the machine of rooms carry out a command, and says why it does not. Returns whether it does.
fn ask(
    node: &mut Node,
    journal: &Journal,
    (id, label): (RoomId, &RoomLabel),
    user: Option<&Name>,
    work: impl FnOnce(&mut Rooms, &mut Cx<'_>) -> Result<Result<(), Refusal>>,
) -> Result<bool> {
    let done = node.in_rooms(journal, work)?;
    if let Err(refusal) = done {
        refuse(node, id, label, user, refusal);
    }
    Ok(done.is_ok())
}

/// As good as drawn at random: the epoch was, and no two things of one epoch have the same seq.
fn drawn(node: &mut Node) -> Hash {
    let (epoch, seq) = (node.delivery.epoch(), node.delivery.next_seq());
    hash::of_body(&[epoch.to_be_bytes(), seq.to_be_bytes()].concat())
}

/// Founds a room; with `past`, as what that one goes on in.
pub(super) fn make(
    node: &mut Node,
    journal: &Journal,
    label: &RoomLabel,
    past: Option<&RoomLabel>,
) -> Result<()> {
    let past = match past.map(|past| known(node, past)) {
        Some(None) => return Ok(()),
        Some(Some(id)) => node.rooms.get(id).map(Room::as_past),
        None => None,
    };
    let nonce = drawn(node).0;
    let (room, owner) = (label.name.clone(), node.setup.name.clone());
    match node.in_rooms(journal, |rooms, cx| rooms.found(cx, Found { nonce, room, owner, past }))? {
        Ok(id) => {
            node.meet_room(id);
            node.tell_room(id, RoomState::Founded, String::new());
        }
        Err(_) => {
            let (code, message) = too_many_rooms();
            node.refuse_room(code, label, None, message);
        }
    }
    Ok(())
}

fn too_many_rooms() -> (Code, String) {
    let message = format!("you are in {MAX_ROOMS} rooms, invitations included; LEAVE one of them first");
    (Code::TooManyRooms, message)
}

pub(super) fn invite(
    node: &mut Node,
    journal: &Journal,
    label: &RoomLabel,
    user: &Name,
    all: bool,
) -> Result<()> {
    let Some(id) = known(node, label) else {
        return Ok(());
    };
    let person = node.roster.known_by(user).and_then(|id| node.roster.get(id));
    let refusal = match person {
        _ if *user == node.setup.name => Some((Code::BadCommand, "that is yourself".into())),
        None => Some((Code::NotAContact, format!("{user} is not a contact; REQUEST {user} first"))),
        Some(person) if person.identity.blocked => {
            Some((Code::Blocked, format!("{user} is blocked; UNBLOCK {user} first")))
        }
        Some(person) if person.identity.standing != Standing::Contact => {
            Some((Code::NotAContact, format!("{user} is a stranger; ACCEPT {user} first")))
        }
        Some(_) => None,
    };
    let key = person.and_then(|person| person.identity.key);
    if let Some((code, message)) = refusal {
        node.refuse_room(code, label, Some(user), message);
        return Ok(());
    }
    let Some(key) = key else {
        let message = format!("discovery has not said yet who {user} is: try again when it has");
        node.refuse_room(Code::UnknownKey, label, Some(user), message);
        return Ok(());
    };
    ask(node, journal, (id, label), Some(user), |rooms, cx| rooms.invite(cx, id, user, key, all)).map(drop)
}

pub(super) fn join(node: &mut Node, journal: &Journal, label: &RoomLabel) -> Result<()> {
    let Some(id) = known(node, label) else {
        return Ok(());
    };
    let epoch = drawn(node).0.first_chunk().copied().map_or(0, u64::from_be_bytes);
    match node.in_rooms(journal, |rooms, cx| rooms.join(cx, id, epoch))? {
        Ok(()) => {}
        Err(Refusal::NotAMember) => refuse(node, id, label, None, Refusal::NotJoined),
        Err(refusal) => refuse(node, id, label, None, refusal),
    }
    Ok(())
}

pub(super) fn leave(node: &mut Node, journal: &Journal, label: &RoomLabel) -> Result<()> {
    let Some(id) = known(node, label) else {
        return Ok(());
    };
    ask(node, journal, (id, label), None, |rooms, cx| rooms.leave(cx, id)).map(drop)
}

/// The key of a member who is called that; says so if there is none.
fn member(node: &mut Node, (id, label): (RoomId, &RoomLabel), user: &Name) -> Option<PublicKey> {
    let holder = node.roster.known_by(user).and_then(|id| node.roster.get(id)?.identity.key);
    let room = node.rooms.get(id)?;
    let called: Vec<PublicKey> =
        room.membership.members().into_iter().filter(|(_, name)| *name == user).map(|(key, _)| key).collect();
    // Of two who are called that, the one who is no contact is in the way.
    let found = called.iter().find(|key| Some(**key) != holder).or(called.first()).copied();
    if found.is_none() {
        refuse(node, id, label, Some(user), Refusal::NotAMember);
    }
    found
}

pub(super) fn kick(node: &mut Node, journal: &Journal, label: &RoomLabel, user: &Name) -> Result<()> {
    let Some(id) = known(node, label) else {
        return Ok(());
    };
    let Some(key) = member(node, (id, label), user) else {
        return Ok(());
    };
    ask(node, journal, (id, label), Some(user), |rooms, cx| rooms.kick(cx, id, key)).map(drop)
}

pub(super) fn transfer(node: &mut Node, journal: &Journal, label: &RoomLabel, user: &Name) -> Result<()> {
    let Some(id) = known(node, label) else {
        return Ok(());
    };
    let Some(key) = member(node, (id, label), user) else {
        return Ok(());
    };
    if let Some(heir) = node.rooms.get(id).and_then(|room| room.membership.heir) {
        let heir = node.member_name(id, heir).map_or_else(String::new, |name| name.to_string());
        let message = format!("{label} was handed to {heir}, whose client has not confirmed it yet");
        node.refuse_room(Code::Refused, label, Some(user), message);
        return Ok(());
    }
    if ask(node, journal, (id, label), Some(user), |rooms, cx| rooms.give(cx, id, key))? {
        node.tell_room(id, RoomState::Owner, format!("{user}, once their client has confirmed it"));
    }
    Ok(())
}

pub(super) fn set_topic(node: &mut Node, journal: &Journal, label: &RoomLabel, text: &str) -> Result<()> {
    let Some(id) = known(node, label) else {
        return Ok(());
    };
    if text.len() > MAX_TOPIC {
        let message = format!("a topic has at most {MAX_TOPIC} bytes, and this one {}", text.len());
        node.refuse_room(Code::TooLong, label, None, message);
        return Ok(());
    }
    ask(node, journal, (id, label), None, |rooms, cx| rooms.topic(cx, id, text)).map(drop)
}

pub(super) fn chat(node: &mut Node, journal: &Journal, label: &RoomLabel, text: &str) -> Result<()> {
    let Some(id) = known(node, label) else {
        return Ok(());
    };
    let said = node.in_rooms(journal, |rooms, cx| rooms.say(cx, id, EntryKind::TEXT, text.as_bytes()))?;
    let (message, seq) = match said {
        Ok(said) => said,
        Err(refusal) => {
            refuse(node, id, label, None, refusal);
            return Ok(());
        }
    };
    node.search.said(seq);
    node.note_place();
    node.has_written(ConversationId::Room(id));
    let others = node.rooms.get(id).map(Room::others).unwrap_or_default();
    let linked = others.iter().any(|key| node.mates.link(key).is_some());
    let recipients = node.rooms.get(id).map(Room::recipients).unwrap_or_default();
    if !linked {
        for contact in recipients.iter().filter_map(|key| node.roster.holder(key)) {
            node.dialer.dial_for_message(node.fx.now, contact);
        }
    }
    let (to, text) = (Addressee::Room(label.clone()), Body::new(Kind::TEXT, text.as_bytes()));
    let (alone, sent) = (recipients.is_empty(), node.fx.now.wall);
    node.fx.tell(Notice::Queued { id: message, to, linked, text, sent, alone });
    Ok(())
}

/// What this start has written last in a room.
pub(super) fn last_written(node: &Node, label: &RoomLabel) -> Option<(RoomId, Cursor)> {
    let id = node.conversations.room_called(label)?;
    let room = node.rooms.get(id)?;
    let row = &room.chains.get(&room.writing?)?.row;
    Some((id, Cursor { epoch: row.name.epoch, number: row.number }))
}

/// The user enters a room. Who can't enter it is in no conversation, as with users.
pub(super) fn converse(node: &mut Node, journal: &Journal, label: &RoomLabel) -> Result<()> {
    let Some(id) = node.conversations.room_called(label) else {
        boxes::leave_conversation(node, node.fx.output.asker());
        refuse_unknown(node, label);
        return Ok(());
    };
    let conversation = ConversationId::Room(id);
    let unread = node.conversations.unread(conversation);
    let new = node.conversations.unread_in(journal, id, MANY_UNREAD)?;
    let first = new.first().map_or(Seq::MAX, |said| said.seq);
    let mut said = journal.room_history(id, LAST_LINES)?;
    said.retain(|said| said.seq < first);
    said.extend(new);
    let messages = room_view::lines(node, id, said);
    node.conversations.enter(node.fx.output.asker(), Some(conversation));
    node.conversations.mark_read(conversation, node.delivery.last_seq());
    if let Some(room_id) = node.conversations.room(id).map(|room| room.key) {
        node.fx.tell(Notice::RoomConversation { peer: label.clone(), room_id, unread, messages });
    }
    Ok(())
}

pub(super) fn history(node: &mut Node, journal: &Journal, label: &RoomLabel, count: u32) -> Result<()> {
    if let Some(id) = known(node, label) {
        let said = journal.room_history(id, count)?;
        let unread = node.conversations.unread_in(journal, id, MANY_UNREAD)?;
        // In the order that all see, what came last may stand anywhere.
        let shown: BTreeSet<Seq> = said.iter().map(|said| said.seq).collect();
        if unread.iter().all(|said| shown.contains(&said.seq)) {
            node.conversations.mark_read(ConversationId::Room(id), node.delivery.last_seq());
        }
        let is_first = said.len() < usize::try_from(count).unwrap_or(usize::MAX);
        tell_history(node, id, label, said, is_first);
    }
    Ok(())
}

/// Tells what was said in a room, and where it begins from which one it goes on.
pub(super) fn tell_history(node: &mut Node, id: RoomId, label: &RoomLabel, said: Vec<Said>, is_first: bool) {
    let Some(room) = node.rooms.get(id) else {
        return;
    };
    let (room_id, room) = (room.key(), label.clone());
    let past = if is_first { room_view::past(node, id) } else { PastRoom::default() };
    let messages = room_view::lines(node, id, said);
    node.fx.tell(Notice::RoomHistory { room, room_id, past, messages });
}

pub(super) fn list(node: &mut Node) {
    let rooms = room_view::rooms(node);
    node.fx.tell(Notice::Rooms { rooms });
}

pub(super) fn members(node: &mut Node, label: &RoomLabel) {
    if let Some(id) = known(node, label)
        && let Some(room_id) = node.conversations.room(id).map(|room| room.key)
    {
        let members = room_view::members(node, id);
        node.fx.tell(Notice::Members { room: label.clone(), room_id, members });
    }
}

pub(super) fn why(node: &mut Node, journal: &Journal, label: &RoomLabel) -> Result<()> {
    if let Some(id) = known(node, label)
        && let Some(why) = room_view::why(node, journal, id, label)?
    {
        node.fx.tell(Notice::RoomWhy(Box::new(why)));
    }
    Ok(())
}
