//! What the user types about rooms, carried out by the machines of a node.

use super::super::addressee::RoomLabel;
use super::super::notice::{Body, Code, HistoryLine, MANY_UNREAD, Notice, OutboxLine, RoomHistoryLine};
use super::conversations::Writer;
use super::one_shot::Progress;
use super::roster::Roster;
use super::{Node, Setup, commands};
use crate::protocol::{Name, PublicKey};
use crate::store::Result;
use crate::store::journal::{ConversationId, Journal, RoomId, Said, Seq};

/// How many texts of a room are shown at least when it is entered.
const LAST_LINES: u32 = 10;

/// The room that is called that here; says so if there is none.
pub(super) fn known(node: &mut Node, room: &RoomLabel) -> Option<RoomId> {
    let known = node.conversations.room_called(room);
    if known.is_none() {
        refuse_unknown(node, room);
    }
    known
}

fn refuse_unknown(node: &mut Node, room: &RoomLabel) {
    node.refuse_room(
        Code::NoSuchRoom,
        room,
        None,
        format!("no room is called {room} here; ROOMS lists them"),
    );
}

/// Who has written in a room; `None` for a member of whom this user wants to hear nothing.
pub(super) fn writer(_: &Setup, _: &Roster, _: RoomId, _: &PublicKey) -> Option<Writer> {
    None
}

/// How many of our messages in a room only this client has.
pub(super) fn waiting(_: &Node, _: RoomId) -> u64 {
    0
}

/// The same in all rooms together.
pub(super) fn all_waiting(_: &Node) -> u64 {
    0
}

/// Whether it makes sense to stay for what waits in rooms: some other member may be reached.
pub(super) fn is_hopeful(_: &Node) -> bool {
    false
}

/// What has become of the one text that stands there.
pub(super) fn progress(_: &Node, _: RoomId, _: Seq) -> Progress {
    Progress::Gone
}

pub(super) fn why_not_delivered(_: &Node, _: RoomId) -> String {
    "no other member is linked".into()
}

pub(super) fn make(node: &mut Node, _: &Journal, room: &RoomLabel) -> Result<()> {
    refuse_unknown(node, room);
    Ok(())
}

pub(super) fn invite(node: &mut Node, _: &Journal, room: &RoomLabel, _: &Name, _all: bool) -> Result<()> {
    refuse_unknown(node, room);
    Ok(())
}

pub(super) fn join(node: &mut Node, _: &Journal, room: &RoomLabel) -> Result<()> {
    refuse_unknown(node, room);
    Ok(())
}

pub(super) fn leave(node: &mut Node, _: &Journal, room: &RoomLabel) -> Result<()> {
    refuse_unknown(node, room);
    Ok(())
}

pub(super) fn list(node: &mut Node, _: &Journal) -> Result<()> {
    node.fx.tell(Notice::Rooms { rooms: Vec::new() });
    Ok(())
}

pub(super) fn members(node: &mut Node, _: &Journal, room: &RoomLabel) -> Result<()> {
    refuse_unknown(node, room);
    Ok(())
}

pub(super) fn kick(node: &mut Node, _: &Journal, room: &RoomLabel, _: &Name) -> Result<()> {
    refuse_unknown(node, room);
    Ok(())
}

pub(super) fn transfer(node: &mut Node, _: &Journal, room: &RoomLabel, _: &Name) -> Result<()> {
    refuse_unknown(node, room);
    Ok(())
}

pub(super) fn set_topic(node: &mut Node, _: &Journal, room: &RoomLabel, _: &str) -> Result<()> {
    refuse_unknown(node, room);
    Ok(())
}

pub(super) fn chat(node: &mut Node, _: &Journal, room: &RoomLabel, _: &str) -> Result<()> {
    refuse_unknown(node, room);
    Ok(())
}

/// The user enters a room. Who can't enter it is in no conversation, as with users.
pub(super) fn converse(node: &mut Node, journal: &Journal, label: &RoomLabel) -> Result<()> {
    let Some(id) = node.conversations.room_called(label) else {
        commands::leave_conversation(node);
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
    let messages = lines(node, id, said);
    node.conversations.enter(Some(conversation));
    node.conversations.mark_read(conversation, node.delivery.last_seq());
    if let Some(room_id) = node.conversations.room(id).map(|room| room.key) {
        node.fx.tell(Notice::RoomConversation { peer: label.clone(), room_id, unread, messages });
    }
    Ok(())
}

pub(super) fn history(node: &mut Node, journal: &Journal, label: &RoomLabel, count: u32) -> Result<()> {
    if let Some(id) = known(node, label) {
        let messages = lines(node, id, journal.room_history(id, count)?);
        node.conversations.mark_read(ConversationId::Room(id), node.delivery.last_seq());
        if let Some(room_id) = node.conversations.room(id).map(|room| room.key) {
            node.fx.tell(Notice::RoomHistory { room: label.clone(), room_id, messages });
        }
    }
    Ok(())
}

/// Texts of a room as they are listed, without those of whom this user wants to hear nothing.
fn lines(node: &Node, id: RoomId, said: Vec<Said>) -> Vec<RoomHistoryLine> {
    said.into_iter().filter_map(|said| line(node, id, &said)).collect()
}

fn line(node: &Node, id: RoomId, said: &Said) -> Option<RoomHistoryLine> {
    let own = said.author == node.setup.key();
    let Writer { name, unknown } = if own {
        Writer { name: node.setup.name.clone(), unknown: false }
    } else {
        writer(&node.setup, &node.roster, id, &said.author)?
    };
    let Reach { have, of, is_final } = reach(node, id, said);
    Some(RoomHistoryLine {
        id: said.id,
        from: name,
        text: Body::new(said.kind, &said.body),
        sent: said.sent,
        received: (!own).then_some(said.arrived),
        is_final,
        have,
        of,
        unknown,
    })
}

/// A text of a room that was found; it counts as delivered once another member has it.
pub(super) fn found_line(node: &Node, id: RoomId, said: &Said) -> Option<HistoryLine> {
    let RoomHistoryLine { id, from, text, sent, received, have, .. } = line(node, id, said)?;
    Some(HistoryLine { id, from, text, sent, received, delivered: received.is_some() || have > 1 })
}

/// How far a text has come in a room.
struct Reach {
    /// How many members have it, its author included.
    have: u64,
    of: u64,
    /// Whether nothing will ever sort before it.
    is_final: bool,
}

fn reach(_: &Node, _: RoomId, _: &Said) -> Reach {
    Reach { have: 1, of: 1, is_final: false }
}

pub(super) fn why(node: &mut Node, room: &RoomLabel) -> Result<()> {
    refuse_unknown(node, room);
    Ok(())
}

/// What only this client has, of each room the oldest `each`, and `most` in all.
pub(super) fn outbox(_: &Node, _: &Journal, _each: usize, _most: usize) -> Result<Vec<OutboxLine>> {
    Ok(Vec::new())
}
