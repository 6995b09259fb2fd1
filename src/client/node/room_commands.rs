//! What the user types about rooms, carried out by the machines of a node.

use super::super::addressee::RoomLabel;
use super::super::notice::{Code, OutboxLine};
use super::conversations::Writer;
use super::one_shot::Progress;
use super::roster::Roster;
use super::{Node, Setup, commands};
use crate::protocol::{Name, PublicKey};
use crate::store::Result;
use crate::store::journal::{Journal, RoomId, Seq};

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

/// What has become of the one text that stands there.
pub(super) fn progress(_: &Node, _: RoomId, _: Seq) -> Progress {
    Progress::Gone
}

pub(super) fn why_not_delivered(_: &Node, _: RoomId) -> String {
    "no other member is linked".into()
}

pub(super) fn found(node: &mut Node, _: &Journal, room: &RoomLabel) -> Result<()> {
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
    node.fx.tell(super::super::notice::Notice::Rooms { rooms: Vec::new() });
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
pub(super) fn converse(node: &mut Node, _: &Journal, room: &RoomLabel) -> Result<()> {
    commands::leave_conversation(node);
    refuse_unknown(node, room);
    Ok(())
}

pub(super) fn history(node: &mut Node, _: &Journal, room: &RoomLabel, _: u32) -> Result<()> {
    refuse_unknown(node, room);
    Ok(())
}

pub(super) fn why(node: &mut Node, room: &RoomLabel) -> Result<()> {
    refuse_unknown(node, room);
    Ok(())
}

/// Adds what only this client has, of each room the oldest `each`, and `most` in all. Returns how many there are.
pub(super) fn outbox(
    _: &Node,
    _: &Journal,
    _each: usize,
    _most: usize,
    _: &mut Vec<OutboxLine>,
) -> Result<u64> {
    Ok(0)
}
