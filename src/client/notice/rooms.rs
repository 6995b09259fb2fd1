//! What is told of rooms: their lists, their messages, and what becomes of them.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::page::Page;
use super::text::{many, short};
use super::{Body, OnOff, Reason, is_false, time};
use crate::client::addressee::RoomLabel;
use crate::protocol::peer::Cursor;
use crate::protocol::room::RoomKey;
use crate::protocol::{Name, PublicKey};
use crate::store::journal::Seq;
use crate::terminal::printable;

/// How many names a line lists.
const NAMED: usize = 10;

/// How a user stands in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberState {
    Invited,
    Joined,
    Left,
    Removed,
    /// Has written two different things under one number, or cheated otherwise: out until invited again.
    Forked,
}

/// What has become of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoomState {
    Founded,
    Joined,
    Left,
    /// The owner has removed this user.
    Removed,
    Frozen,
    Topic,
    Owner,
}

/// How this user stands in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoomStanding {
    Invited,
    Joined,
    Left,
    Removed,
    Frozen,
}

/// From which other room one goes on, by its founder's word; nothing where it does not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastRoom {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub past: Option<RoomKey>,
    /// What that one is called here, if this client keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub past_room: Option<RoomLabel>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomLine {
    pub room: RoomLabel,
    pub room_id: RoomKey,
    pub owner: Name,
    pub topic: String,
    #[serde(flatten)]
    pub past: PastRoom,
    pub state: RoomStanding,
    /// How many are in it, this user included.
    pub members: u64,
    /// With how many of them there is a link.
    pub linked: u64,
    /// Counted up to [`MANY_UNREAD`](super::MANY_UNREAD).
    pub unread: u64,
    /// How many messages of ours only this client has.
    pub waiting: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberLine {
    pub user: Name,
    pub fingerprint: PublicKey,
    pub owner: bool,
    pub state: MemberState,
    pub linked: bool,
    /// What discovery says, while it can be reached and the member is a contact.
    pub presence: Option<OnOff>,
    /// How many entries this client has, and the member, by its own word, has not.
    pub behind: u64,
    /// Whether the order is not final because this member has not confirmed it.
    pub holds_final: bool,
    /// Whether a contact has this name, and another key.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unknown: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomHistoryLine {
    /// Its place in the journal.
    pub seq: Seq,
    pub id: Cursor,
    pub from: Name,
    pub text: Body,
    /// When it was written, by the writer's clock.
    #[serde(with = "time")]
    pub sent: i64,
    /// When it came in; null for our own.
    #[serde(with = "time")]
    pub received: Option<i64>,
    /// Whether nothing will ever sort before it.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// How many members have it, the writer included.
    pub have: u64,
    pub of: u64,
    /// Whether the writer has the name of a contact, and another key.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unknown: bool,
}

/// Why what is said in a room does not reach all members, as far as this client knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomWhy {
    pub room: RoomLabel,
    pub room_id: RoomKey,
    pub state: RoomStanding,
    pub reason: RoomReason,
    #[serde(flatten)]
    pub past: PastRoom,
    /// Whether all is here that the founder has named of that one, if this client keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub past_here: Option<bool>,
    /// The other members.
    pub members: Vec<MemberWhy>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoomReason {
    /// At least one other member is linked: what is said goes out, and each hands it on.
    Linked,
    /// This account has been started somewhere else.
    Superseded,
    /// This user is not in the room.
    NotIn,
    Frozen,
    /// This user is the only member, and no other is invited.
    Alone,
    /// Others are invited, and none of them has joined.
    NotJoined,
    /// There are other members, and a link to none.
    NotLinked,
}

impl RoomReason {
    /// In a few words, where something said there has not arrived.
    pub(in crate::client) fn word(self) -> &'static str {
        match self {
            Self::Linked => "not all members that are linked have confirmed it",
            Self::Superseded => "this client stays offline",
            Self::NotIn => "you are not in it",
            Self::Frozen => "it is frozen",
            Self::Alone => "no other member is in it",
            Self::NotJoined => "no user who is invited has joined yet",
            Self::NotLinked => "no other member is linked",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberWhy {
    pub user: Name,
    pub linked: bool,
    pub presence: Option<OnOff>,
    pub reason: Reason,
}

/// Names with commas, and how many there are beyond some.
pub(super) fn named(names: &[Name]) -> String {
    let (first, rest) = names.split_at_checked(NAMED).unwrap_or((names, &[]));
    let mut list = first.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
    if !rest.is_empty() {
        let _ = write!(list, " and {} more", rest.len());
    }
    list
}

pub(super) fn invite(page: &mut Page, room: &RoomLabel, from: &Name, members: &[Name], topic: &str) {
    let others: Vec<Name> = members.iter().filter(|name| *name != from).cloned().collect();
    let with = if others.is_empty() { String::new() } else { format!(", with {}", named(&others)) };
    page.line(format!("* {from} invites you into {room}{with}: JOIN {room} or LEAVE {room}"));
    if !topic.is_empty() {
        page.said("  topic: ", topic);
    }
}

/// What has become of a member.
pub(super) fn member(room: &RoomLabel, user: &Name, state: MemberState, by: Option<&Name>) -> String {
    match (state, by) {
        (MemberState::Invited, Some(by)) => format!("* {by} has invited {user} into {room}"),
        (MemberState::Invited, None) => format!("* {user} is invited into {room}"),
        (MemberState::Joined, _) => format!("* {user} is in {room} now"),
        (MemberState::Left, _) => format!("* {user} has left {room}"),
        (MemberState::Removed, Some(by)) => format!("* {by} has removed {user} from {room}"),
        (MemberState::Removed, None) => format!("* {user} is removed from {room}"),
        (MemberState::Forked, _) => format!(
            "! {user}'s client has told members of {room} different things, and is out of it until invited again"
        ),
    }
}

/// What has become of a room.
pub(super) fn room(room: &RoomLabel, state: RoomState, why: &str, page: &mut Page) {
    let because = if why.is_empty() { String::new() } else { format!(": {}", printable(why)) };
    page.line(match state {
        RoomState::Founded => {
            format!("* {room} is yours: INVITE {room} <user> invites, CHAT {room} enters it")
        }
        RoomState::Joined => format!("* you are in {room} now; CHAT {room} enters it"),
        RoomState::Left => format!("* you have left {room}"),
        RoomState::Removed => format!("* you are removed from {room}{because}"),
        RoomState::Frozen => {
            format!("! {room} is frozen, and takes nothing new{because}; ROOM #new {room} founds one that goes on from it")
        }
        RoomState::Owner => format!("* the owner of {room} is {}", printable(why)),
        RoomState::Topic => return page.said(&format!("* the topic of {room}: "), why),
    });
}

impl PastRoom {
    /// A line after these words, where there is something to say.
    pub(super) fn write(&self, before: &str, page: &mut Page) {
        match (&self.past_room, self.past) {
            (Some(room), _) => page.line(format!("{before} {room}")),
            (None, Some(_)) => page.line(format!("{before} a room that you do not have")),
            (None, None) => {}
        }
    }
}

impl RoomStanding {
    fn word(self) -> &'static str {
        match self {
            Self::Invited => "you are invited",
            Self::Joined => "",
            Self::Left => "you have left it",
            Self::Removed => "you were removed",
            Self::Frozen => "FROZEN",
        }
    }
}

impl RoomLine {
    pub(super) fn write(&self, page: &mut Page) {
        let mut line = format!("  {:<16} owner {}, ", self.room, self.owner);
        line.push_str(if self.members == 1 { "1 member" } else { "" });
        if self.members != 1 {
            let _ = write!(line, "{} members", self.members);
        }
        let state = self.state.word();
        for (count, word) in [(self.linked, "linked"), (self.waiting, "waiting")] {
            if count > 0 {
                let _ = write!(line, ", {count} {word}");
            }
        }
        if self.unread > 0 {
            let _ = write!(line, ", {} unread", many(self.unread));
        }
        if !state.is_empty() {
            let _ = write!(line, ", {state}");
        }
        page.line(line);
        if !self.topic.is_empty() {
            page.said("    topic: ", &self.topic);
        }
        self.past.write("    goes on from", page);
    }
}

impl MemberLine {
    pub(super) fn line(&self) -> String {
        let mut line = format!("  {:<16} ", self.user);
        line.push_str(match self.state {
            MemberState::Joined if self.linked => "linked",
            MemberState::Joined => "not linked",
            MemberState::Invited => "invited",
            MemberState::Left => "has left",
            MemberState::Removed => "removed",
            MemberState::Forked => "FORKED (out until invited again)",
        });
        // Who is linked is there, whatever discovery knows.
        if let Some(presence) = self.presence.filter(|state| !self.linked || *state == OnOff::Online) {
            let _ = write!(line, ", discovery says {}", presence.word());
        }
        let marks = [(self.owner, ", owner"), (self.unknown, ", not your contact")];
        line.extend(marks.iter().filter(|(holds, _)| *holds).map(|(_, mark)| *mark));
        if self.holds_final {
            let _ = write!(line, ", the final order waits for {}", self.user);
        }
        if self.behind > 0 {
            let _ = write!(line, ", {} behind", self.behind);
        }
        let _ = write!(line, ", key {}", short(&self.fingerprint));
        line
    }
}

impl RoomHistoryLine {
    pub(super) fn write(&self, page: &mut Page) {
        let look = page.look;
        let mut marks = Vec::new();
        marks.extend(self.unknown.then(|| NOT_YOUR_CONTACT.to_owned()));
        marks.extend(self.received.map_or_else(Vec::new, |received| look.late(self.sent, received)));
        let own = self.received.is_none();
        marks.extend((own && self.have < self.of).then(|| format!("{} of {}", self.have, self.of)));
        let stamp = look.placed(self.sent, self.received);
        let before = format!("{stamp} {}{}: ", look.name(&self.from), look.marks(&marks));
        page.body(&before, &self.text);
    }
}

/// The mark of a writer who has the name of a contact, and another key.
pub(super) const NOT_YOUR_CONTACT: &str = "not your contact";

/// Messages in the one order, and from where on it is not final.
pub(super) fn history(room: &RoomLabel, past: &PastRoom, messages: &[RoomHistoryLine], page: &mut Page) {
    if let Some(past) = &past.past_room {
        page.line(format!("* before that: HISTORY {past}"));
    }
    if messages.is_empty() {
        page.line(format!("* nothing is said in {room} yet"));
    }
    let open = messages.iter().position(|line| !line.is_final);
    for (index, line) in messages.iter().enumerate() {
        if Some(index) == open {
            page.line(format!(
                "* not final from here: something may still come in between; see MEMBERS {room}"
            ));
        }
        line.write(page);
    }
}

impl RoomWhy {
    pub(super) fn write(&self, page: &mut Page) {
        let room = &self.room;
        let linked = self.members.iter().filter(|member| member.linked).count();
        page.line(match self.reason {
            RoomReason::Linked => {
                format!(
                    "* {linked} of the {} other members of {room} are linked, and hand on what is said",
                    self.members.len()
                )
            }
            RoomReason::Superseded => {
                "* this client stays offline: the account was started somewhere else".into()
            }
            RoomReason::NotIn if self.state == RoomStanding::Invited => {
                format!("* you are invited into {room}; JOIN {room} accepts")
            }
            RoomReason::NotIn => format!("* {}: you are not in {room}", self.state.word()),
            RoomReason::Frozen => {
                format!("* {room} is frozen: its members contradict each other about who is in")
            }
            RoomReason::Alone => format!("* you are the only member of {room}"),
            RoomReason::NotJoined => {
                format!("* no user who is invited into {room} has joined yet; what you say waits here")
            }
            RoomReason::NotLinked => {
                format!("* no other member of {room} is linked; what you say waits here")
            }
        });
        match (&self.past.past_room, self.past_here) {
            (Some(past), Some(true)) => {
                page.line(format!("* it goes on from {past}, which you have as far as its founder had it"));
            }
            (Some(past), Some(false)) => {
                page.line(format!(
                    "* it goes on from {past}, and you lack part of what its founder says to have had there"
                ));
            }
            _ => self.past.write("* it goes on from", page),
        }
        for MemberWhy { user, linked, presence, reason } in &self.members {
            let presence = presence.filter(|state| !linked || *state == OnOff::Online);
            let presence = presence.map_or_else(String::new, |it| format!(", discovery says {}", it.word()));
            let why = if *linked { "linked" } else { reason.word() };
            page.line(format!("  {user:<16} {why}{presence}"));
        }
    }
}
