//! What is known of rooms and of what was said in them, to be read.

use super::super::addressee::{Addressee, RoomLabel};
use super::super::notice::{
    Body, HistoryLine, MemberLine, MemberState, MemberWhy, OutboxLine, PastRoom, Reason, RoomHistoryLine,
    RoomLine, RoomReason, RoomStanding, RoomWhy,
};
use super::conversations::Writer;
use super::one_shot::Progress;
use super::rooms::{Room, Rooms, Spread, State};
use super::roster::Roster;
use super::{Node, Setup};
use crate::protocol::peer::Cursor;
use crate::protocol::{Name, PublicKey};
use crate::store::Result;
use crate::store::journal::{ConversationId, Journal, RoomId, Said, Standing};

/// Who has written in a room; `None` for a member that this user has blocked.
pub(super) fn writer(
    setup: &Setup,
    roster: &Roster,
    rooms: &Rooms,
    room: RoomId,
    key: &PublicKey,
) -> Option<Writer> {
    let name = rooms.get(room)?.membership.name_of(*key)?;
    Writer::new((&setup.name, &setup.key()), roster, name, key)
}

/// Texts of a room as they are listed, without those of blocked members.
pub(super) fn lines(node: &Node, id: RoomId, said: Vec<Said>) -> Vec<RoomHistoryLine> {
    said.into_iter().filter_map(|said| line(node, id, &said)).collect()
}

fn line(node: &Node, id: RoomId, said: &Said) -> Option<RoomHistoryLine> {
    let own = said.author == node.setup.key();
    let Writer { name, unknown } = if own {
        Writer { name: node.setup.name.clone(), unknown: false }
    } else {
        writer(&node.setup, &node.roster, &node.rooms, id, &said.author)?
    };
    let Spread { have, of, is_final } = spread(node.rooms.get(id)?, said);
    Some(RoomHistoryLine {
        seq: said.seq,
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

/// How far a text has come.
fn spread(room: &Room, said: &Said) -> Spread {
    let Cursor { epoch, number } = said.id;
    let chain = room.chains_of(said.author).find(|it| it.row.name.epoch == epoch && it.row.number >= number);
    let is_final = said.place <= room.settled();
    chain.map(|chain| room.counted(chain).spread(number, is_final)).unwrap_or_default()
}

/// A text of a room that was found; it counts as delivered once another member has it.
pub(super) fn found_line(node: &Node, id: RoomId, said: &Said) -> Option<HistoryLine> {
    let RoomHistoryLine { seq, id, from, text, sent, received, have, .. } = line(node, id, said)?;
    Some(HistoryLine { seq, id, from, text, sent, received, delivered: received.is_some() || have > 1 })
}

/// What only this client has, of each room the oldest `each`, and `most` in all.
pub(super) fn outbox(node: &Node, journal: &Journal, each: usize, most: usize) -> Result<Vec<OutboxLine>> {
    let mut lines = Vec::new();
    for (id, room) in node.rooms.iter() {
        let Some(label) = node.label(id) else {
            continue;
        };
        let before = lines.len();
        for (chain, after, up_to) in room.ours_alone() {
            let left = (before + each).min(most).saturating_sub(lines.len());
            let texts = journal.texts(chain, after, up_to, u32::try_from(left).unwrap_or(u32::MAX))?;
            lines.extend(texts.into_iter().map(|said| OutboxLine {
                id: said.id,
                to: Addressee::Room(label.clone()),
                text: Body::new(said.kind, &said.body),
                sent: said.sent,
            }));
        }
    }
    Ok(lines)
}

/// Whether it makes sense to stay for what waits in rooms: some other member may be reached.
pub(super) fn is_hopeful(node: &Node) -> bool {
    let may_come = |key: &PublicKey| {
        let holder = node.roster.holder(key).and_then(|id| Some((id, node.roster.get(id)?)));
        node.mates.link(key).is_some()
            || holder.is_some_and(|(id, person)| person.is_dialled() || node.mates.has(id))
    };
    node.rooms.iter().any(|(_, room)| !room.ours_alone().is_empty() && room.recipients().iter().any(may_come))
}

/// What has become of the one text that was said there under that name.
pub(super) fn progress(node: &Node, id: RoomId, text: Cursor) -> Progress {
    let Some(room) = node.rooms.get(id).filter(|room| room.is_open()) else {
        return Progress::Gone;
    };
    let Some(chain) = room.chain_in(room.own, text.epoch) else {
        return Progress::Gone;
    };
    let gets = |key: &PublicKey| room.past_of(*key, chain.row.name) < text.number;
    if !room.recipients().iter().any(gets) {
        // It is for no one else.
        return Progress::Arrived;
    }
    let others: Vec<PublicKey> = room.others().into_iter().filter(gets).collect();
    let has = |key: &PublicKey| room.covered(*key, chain) >= text.number;
    let mut linked = others.iter().filter(|key| node.mates.link(key).is_some());
    if others.iter().any(has) && linked.all(has) { Progress::Arrived } else { Progress::UnderWay }
}

pub(super) fn why_not_delivered(node: &Node, id: RoomId) -> String {
    node.rooms.get(id).map_or_else(String::new, |room| reason(node, room).word().into())
}

fn standing(room: &Room) -> RoomStanding {
    match room.state(room.own) {
        Some(State::Joined) if room.membership.frozen.is_some() => RoomStanding::Frozen,
        Some(State::Joined) => RoomStanding::Joined,
        Some(State::Invited) => RoomStanding::Invited,
        Some(State::Left) => RoomStanding::Left,
        Some(State::Removed | State::Forked) | None => RoomStanding::Removed,
    }
}

/// From which room this one goes on, by its founder's word.
pub(super) fn past(node: &Node, id: RoomId) -> PastRoom {
    let past = node.rooms.get(id).and_then(Room::origin).map(|origin| origin.room);
    let kept = past.and_then(|past| node.rooms.by_key(past));
    PastRoom { past, past_room: kept.and_then(|room| node.label(room.row.id)) }
}

/// The user's rooms, sorted.
pub(super) fn rooms(node: &Node) -> Vec<RoomLine> {
    let line = |(id, room): (RoomId, &Room)| {
        let membership = &room.membership;
        let linked = room.others().iter().filter(|key| node.mates.link(key).is_some()).count();
        Some(RoomLine {
            room: node.label(id)?,
            room_id: room.key(),
            owner: membership.name_of(membership.owner)?.clone(),
            topic: membership.topic.clone(),
            past: past(node, id),
            state: standing(room),
            members: room.joined.len() as u64,
            linked: linked as u64,
            unread: node.conversations.unread(ConversationId::Room(id)),
            waiting: node.noted.waiting(id),
        })
    };
    let mut lines: Vec<RoomLine> = node.rooms.iter().filter_map(line).collect();
    lines.sort_by(|one, other| one.room.cmp(&other.room));
    lines
}

/// The members of a room, sorted by name.
pub(super) fn members(node: &Node, id: RoomId) -> Vec<MemberLine> {
    let Some(room) = node.rooms.get(id) else {
        return Vec::new();
    };
    let own = node.setup.key();
    let line = |(key, name): (PublicKey, &Name)| {
        let state = room.state(key)?;
        let joined = state == State::Joined;
        let writer = Writer::new((&node.setup.name, &own), &node.roster, name, &key);
        Some(MemberLine {
            user: name.clone(),
            fingerprint: key,
            owner: key == room.membership.owner,
            state: MemberState::from(state),
            linked: key == own || node.mates.link(&key).is_some(),
            presence: node.roster.holder(&key).and_then(|id| node.dialer.presence(id)).map(Into::into),
            behind: if joined { room.behind(key) } else { 0 },
            holds_final: joined && key != own && room.holds_up(key),
            unknown: writer.is_some_and(|writer| writer.unknown),
        })
    };
    let mut lines: Vec<MemberLine> = room.membership.members().into_iter().filter_map(line).collect();
    lines.sort_by(|one, other| (&one.user, one.fingerprint).cmp(&(&other.user, other.fingerprint)));
    lines
}

/// Why what is said in a room does not reach all.
pub(super) fn why(node: &Node, journal: &Journal, id: RoomId, label: &RoomLabel) -> Result<Option<RoomWhy>> {
    let Some(room) = node.rooms.get(id) else {
        return Ok(None);
    };
    let kept = room.origin().and_then(|origin| Some((origin, node.rooms.by_key(origin.room)?)));
    let past_here = kept.map(|(origin, past)| past.has_ends(journal, &origin.ends)).transpose()?;
    let members = room.others().into_iter().filter_map(|key| member_why(node, room, key)).collect();
    let (state, reason) = (standing(room), reason(node, room));
    let (room, room_id, past) = (label.clone(), room.key(), past(node, id));
    Ok(Some(RoomWhy { room, room_id, state, reason, past, past_here, members }))
}

fn reason(node: &Node, room: &Room) -> RoomReason {
    let others = room.others();
    match standing(room) {
        RoomStanding::Frozen => RoomReason::Frozen,
        RoomStanding::Invited | RoomStanding::Left | RoomStanding::Removed => RoomReason::NotIn,
        RoomStanding::Joined if node.rendezvous.is_out() => RoomReason::Superseded,
        RoomStanding::Joined if room.recipients().is_empty() => RoomReason::Alone,
        RoomStanding::Joined if others.is_empty() => RoomReason::NotJoined,
        RoomStanding::Joined if others.iter().any(|key| node.mates.link(key).is_some()) => RoomReason::Linked,
        RoomStanding::Joined => RoomReason::NotLinked,
    }
}

fn member_why(node: &Node, room: &Room, key: PublicKey) -> Option<MemberWhy> {
    let holder = node.roster.holder(&key);
    let presence = holder.and_then(|id| node.dialer.presence(id));
    let linked = node.mates.link(&key).is_some();
    let for_the_room = holder.is_some_and(|id| node.mates.has(id));
    let contact = holder.filter(|id| {
        !for_the_room || node.roster.standing(*id) == Some(Standing::Contact) && !node.roster.is_blocked(*id)
    });
    let why = contact.and_then(|id| node.view().why(node.fx.now, id)).map(|why| why.reason);
    let reason = match why {
        _ if linked => Reason::Linked,
        Some(why) => why,
        None if presence == Some(false) => Reason::Offline,
        None if for_the_room => Reason::Dialling,
        None => Reason::NoAddress,
    };
    let user = room.membership.name_of(key)?.clone();
    Some(MemberWhy { user, linked, presence: presence.map(Into::into), reason })
}
