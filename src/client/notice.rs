//! What the client tells the user or a script, and how it is written.
//!
//! With `--json` each notice is one JSON object; its fields are those of [`Notice`]. Otherwise it is a
//! line or a few of plain text. Either way nothing from outside reaches the terminal as a control sequence.
//!
//! - `text`: notices as text; `page`: its lines and rows; `json`: as JSON; `fast_json`: the frequent ones; `decode`: read back;
//!   `time`: their times;
//! - `numbers`: counts and sizes as people read them;
//! - `lists`: the entries of `CONTACTS`, `OUTBOX`, `HISTORY` and `SEARCH`; `why`: the answer to `WHY`;
//! - `rooms`: what is told of rooms; `prompt`: what a prompt shows.

use std::borrow::Cow;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::addressee::{Addressee, RoomLabel};
use super::command::{CommandError, Explanation, MAX_REFERENCE, Reference};
pub use super::node::{Between, Reachable};
use crate::protocol::peer::{Cursor, Kind, Message, Via};
use crate::protocol::room::RoomKey;
use crate::protocol::{Name, PublicKey, VERSION};
use crate::store::journal::Seq;
pub use lists::{ContactLine, FoundIn, FoundLine, HistoryLine, OutboxLine};
pub(crate) use numbers::size;
pub use prompt::{PromptLine, Work};
pub use rooms::{
    MemberLine, MemberState, MemberWhy, PastRoom, RoomHistoryLine, RoomLine, RoomReason, RoomStanding,
    RoomState, RoomWhy,
};
pub use text::Look;
pub(crate) use text::{many, safe_text, write_delivered, write_line, write_spread, write_welcome};
pub use time::timestamp as moment;
pub use why::{AddressLine, DiscoveryLine, Goodbye, Nat, Reason, Why};

mod decode;
mod fast_json;
mod json;
mod lists;
mod numbers;
mod page;
mod prompt;
mod rooms;
mod text;
mod time;
mod why;

/// The version of the JSON: another one has other meanings. Events and fields may be added without.
pub const JSON: u32 = 1;

/// Unread messages are counted up to this many; there may be more.
pub const MANY_UNREAD: u64 = 1000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Notice {
    /// The first line: which versions of the program, of its JSON and of the protocol speak here.
    Hello { version: Cow<'static, str>, json: u32, protocol: u8 },
    /// The client listens and takes commands.
    Ready { user: Name, address: SocketAddr, fingerprint: PublicKey },
    /// Whether there is a session with discovery.
    Discovery { state: UpDown, detail: String },
    /// What discovery says of a contact.
    Presence { peer: Name, state: OnOff },
    /// A user asks for this one: a stranger until answered, or a contact at once.
    Request {
        from: Name,
        fingerprint: PublicKey,
        /// Whether the user has to answer.
        stranger: bool,
        /// A contact whose name looks much like this one.
        #[serde(skip_serializing_if = "Option::is_none")]
        resembles: Option<Name>,
    },
    /// A stranger has had what a stranger may have until answered; the rest stays with them.
    Full { from: Name },
    /// A `REQUEST` was taken: it is safe and goes on until there is a link.
    Requested { peer: Name },
    /// How others get to this client from outside.
    Reachable(Reachable),
    /// Whether there is a link to a peer; that it is up also when another one has taken its place that goes another way.
    Link {
        peer: Name,
        state: UpDown,
        #[serde(skip_serializing_if = "Option::is_none")]
        route: Option<Via>,
        /// People are not told of strangers' links: strangers may be many, and have a line each already.
        #[serde(default, skip_serializing_if = "is_false")]
        stranger: bool,
    },
    /// A message of a contact, a stranger, or a member of a room.
    Message {
        /// Unique for ever, together with the sender.
        id: Cursor,
        from: Name,
        text: Body,
        /// The sender's clock when it was written.
        #[serde(with = "time")]
        sent: i64,
        /// This machine's clock when it came in.
        #[serde(with = "time")]
        received: i64,
        /// Whether it came in before this start, and may have been shown then.
        replayed: bool,
        /// Whether its sender has not been answered.
        #[serde(default, skip_serializing_if = "is_false")]
        stranger: bool,
        /// The room that it was said in; none of what was said to this user alone.
        #[serde(skip_serializing_if = "Option::is_none")]
        room: Option<RoomLabel>,
        #[serde(skip_serializing_if = "Option::is_none")]
        room_id: Option<RoomKey>,
        /// Whether its writer has the name of a contact, and another key.
        #[serde(default, skip_serializing_if = "is_false")]
        unknown: bool,
    },
    /// A message is safe on the disk.
    Queued {
        /// Unique for ever, together with this user.
        id: Cursor,
        to: Addressee,
        /// Whether there is a link over which it goes at once; to a room: to any member.
        linked: bool,
        text: Body,
        #[serde(with = "time")]
        sent: i64,
        /// Whether no other member is in the room, or invited: it waits for no one.
        #[serde(default, skip_serializing_if = "is_false")]
        alone: bool,
    },
    /// The same, said in another box of this client.
    Sent {
        id: Cursor,
        to: Addressee,
        text: Body,
        #[serde(with = "time")]
        sent: i64,
        linked: bool,
        #[serde(default, skip_serializing_if = "is_false")]
        alone: bool,
    },
    /// A contact has committed a message of ours.
    Delivered { id: Cursor, to: Name },
    /// So many of a room's members, this user among them, have committed a message of ours.
    #[serde(rename(serialize = "delivered", deserialize = "spread"))]
    Spread {
        id: Cursor,
        to: RoomLabel,
        have: u64,
        of: u64,
        /// Whether nothing will ever sort before it.
        #[serde(rename = "final")]
        is_final: bool,
    },
    /// The user is invited into a room.
    Invite {
        room: RoomLabel,
        room_id: RoomKey,
        from: Name,
        /// Who is in it or invited, without this user.
        members: Vec<Name>,
        topic: String,
        #[serde(flatten)]
        past: PastRoom,
        /// Whether the user has not answered who invites.
        #[serde(default, skip_serializing_if = "is_false")]
        stranger: bool,
    },
    /// What has become of a member of a room; also the answer to `INVITE` and `KICK`.
    Member {
        room: RoomLabel,
        room_id: RoomKey,
        user: Name,
        state: MemberState,
        /// Who has done it, unless the member has.
        by: Option<Name>,
        /// Whether it has left without ever having joined by that invitation.
        #[serde(default, skip_serializing_if = "is_false")]
        declined: bool,
    },
    /// With so many of the other members of a room there is a link now. The list of rooms shows it.
    Linked { room: RoomLabel, room_id: RoomKey, linked: u64, members: u64 },
    /// What has become of a room; also the answer to `ROOM`, `JOIN`, `LEAVE`, `OWNER` and `TOPIC`.
    Room {
        room: RoomLabel,
        room_id: RoomKey,
        state: RoomState,
        /// The new topic or owner, or what else is to be said, for people; may be empty.
        why: String,
        /// Whether the user has left without having joined by that invitation.
        #[serde(default, skip_serializing_if = "is_false")]
        declined: bool,
    },
    /// A peer takes no more for now: so many messages wait here until it does.
    Held { to: Name, reason: HeldReason, waiting: u64 },
    /// A peer does not have so many messages that it had: they are not sent again without the user's word.
    Lost { peer: Name, messages: u64 },
    /// The answer to `RESEND`: so many messages are sent again.
    Resent { peer: Name, messages: u64 },
    /// The answer to `FORGET`.
    Forgotten { peer: Name },
    /// The answer to `TRUST discovery`: the key that it must have from now on.
    Trusted { fingerprint: PublicKey },
    /// Something was not done, or is not as it should be.
    Error(ErrorNotice),
    /// Sorted by name.
    Contacts { contacts: Vec<ContactLine> },
    /// How many messages are not yet delivered, and the oldest for each contact.
    Outbox { waiting: u64, messages: Vec<OutboxLine> },
    /// The last entries, oldest first.
    History { peer: Name, messages: Vec<HistoryLine> },
    /// The last messages of a room, in the order that all its members see.
    #[serde(rename(serialize = "history", deserialize = "room-history"))]
    RoomHistory {
        room: RoomLabel,
        room_id: RoomKey,
        /// Where the first of all is among them.
        #[serde(flatten)]
        past: PastRoom,
        messages: Vec<RoomHistoryLine>,
    },
    /// The conversation that the user is in, null for none; how many of the peer's messages were unread, counted up to
    /// [`MANY_UNREAD`]; the last entries, oldest first.
    Conversation { peer: Option<Name>, unread: u64, messages: Vec<HistoryLine> },
    /// The same where it is a room: what is unread stands last, as it came in.
    #[serde(rename(serialize = "conversation", deserialize = "room-conversation"))]
    RoomConversation { peer: RoomLabel, room_id: RoomKey, unread: u64, messages: Vec<RoomHistoryLine> },
    /// The user's rooms, sorted.
    Rooms { rooms: Vec<RoomLine> },
    /// Sorted by name.
    Members { room: RoomLabel, room_id: RoomKey, members: Vec<MemberLine> },
    /// The answer to `ACCEPT`, `TRUST`, `BLOCK` and `UNBLOCK`: what holds now.
    Contact(Box<ContactLine>),
    /// Usage and meaning of every command.
    Help { commands: Vec<(Cow<'static, str>, Cow<'static, str>)> },
    /// The answer to `HELP <command>`.
    Explanation(Explanation),
    /// The answer to `WHY`.
    Why(Box<Why>),
    #[serde(rename(serialize = "why", deserialize = "room-why"))]
    RoomWhy(Box<RoomWhy>),
    /// The latest messages that contain all the words, newest first; `peer` is null for all conversations.
    Found {
        words: String,
        peer: Option<Addressee>,
        /// The same, where it is a room.
        #[serde(flatten)]
        room: FoundIn,
        messages: Vec<FoundLine>,
    },
    /// The code that both sides see, and whether the user has compared it.
    Verification { peer: Name, code: String, verified: bool },
    /// What others said in a conversation is read up to a place in the journal; so many are still unread. Also the answer to
    /// `read`.
    Read { peer: Addressee, up_to: Seq, unread: u64 },
    /// What a prompt shows. Told only where it is asked for, and again when it has changed.
    Prompt(Box<PromptLine>),
    /// The answer to `DETACH`: this box ends, and the client goes on.
    Detached,
    /// This box was too slow, and is cut.
    Lagged,
    /// The client ends; `waiting` messages are not yet delivered, and go out at a later start.
    Bye { waiting: u64 },
}

/// A notice as it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub notice: Notice,
    /// Where a message stands in the journal; of anything else, the last place that it speaks of.
    pub seq: Seq,
    /// The name of the command that it answers, if a script gave it one: the field `ref`.
    pub reference: Option<Reference>,
}

impl From<Notice> for Told {
    fn from(notice: Notice) -> Self {
        Self { notice, seq: 0, reference: None }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorNotice {
    /// What kind of error, for scripts.
    pub code: Code,
    /// What happened and what to do, for people.
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomLabel>,
    /// None of a room that is not known here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_id: Option<RoomKey>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Cursor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl ErrorNotice {
    /// Something about nothing in particular.
    pub fn new(code: Code, message: String) -> Self {
        Self { code, message, peer: None, room: None, room_id: None, id: None, text: None }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    NoSuchUser,
    /// A message of ours was given back, for there is no such user.
    Undeliverable,
    NotAContact,
    Blocked,
    /// The name belongs to another key.
    NameTaken,
    /// A contact's or discovery's key is not the one that was pinned.
    KeyChanged,
    /// Nothing to trust: no other key was named.
    NothingToTrust,
    UnknownKey,
    /// The code that the peer read out is not the one shown here.
    WrongCode,
    BadCommand,
    /// The text does not fit into one message.
    TooLong,
    /// The disk is full or fails: nothing was kept.
    NotSaved,
    /// The disk is nearly full: nothing is taken from peers.
    DiskFull,
    /// The other side has ended the contact, or has not answered in time.
    Dropped,
    /// More strangers ask than are told of one by one.
    TooMany,
    /// `RESEND` of a contact who has lost nothing.
    NothingLost,
    /// By discovery.
    Refused,
    /// An unknown peer connected, and was cut.
    UnknownPeer,
    /// Another peer than the one dialled answered, and was cut; or a member of a room could be taken for a contact.
    Impostor,
    /// The account has been started somewhere else.
    Superseded,
    /// A link was cut because the peer broke the rules.
    BadPeer,
    /// No room is called that here.
    NoSuchRoom,
    /// This user, or the one named, is not in the room.
    NotAMember,
    /// Only the owner of the room can do that.
    NotTheOwner,
    /// A former owner of the room can't be removed before what it has settled is here.
    NotYet,
    /// Its members contradict each other about who is in, and nothing new is taken.
    RoomFrozen,
    TooManyRooms,
    TooManyMembers,
    /// A member has written two different things under one number, and is out of the room.
    Forked,
    /// Standard output was not read for too long, and notices other than messages were dropped.
    OutputBehind,
}

impl From<&CommandError> for Code {
    fn from(error: &CommandError) -> Self {
        match error {
            CommandError::TooLong(_) | CommandError::Cut => Self::TooLong,
            _ => Self::BadCommand,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UpDown {
    Up,
    Down,
}

/// Why a peer takes no messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeldReason {
    /// Its user has not answered this one, and has taken what may come from a stranger.
    NotAnswered,
    /// Its disk is nearly full.
    DiskFull,
}

/// Whether a user has a session with discovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnOff {
    Online,
    Offline,
}

impl From<bool> for OnOff {
    fn from(online: bool) -> Self {
        if online { Self::Online } else { Self::Offline }
    }
}

/// What a message says; null in JSON if this version can't show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    Text(String),
    /// A kind that only a later version knows; and how many bytes it had, if they were not kept.
    Unknown(Kind, Option<u64>),
}

impl Body {
    /// Bytes that are not UTF-8 become U+FFFD.
    pub fn new(kind: Kind, body: &[u8]) -> Self {
        match kind {
            // What is not UTF-8 is rare, and looking for it piece by piece takes long.
            Kind::TEXT => Self::Text(match std::str::from_utf8(body) {
                Ok(text) => text.to_owned(),
                Err(_) => String::from_utf8_lossy(body).into_owned(),
            }),
            other => Self::Unknown(other, None),
        }
    }

    /// What a message says of whose body so many bytes were not kept.
    pub fn of(message: &Message, dropped: Option<u64>) -> Self {
        match dropped {
            None => Self::new(message.kind, &message.body),
            dropped => Self::Unknown(message.kind, dropped),
        }
    }

    /// What people read.
    pub fn shown(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => text.into(),
            Self::Unknown(Kind(0), _) => "(a message that this version can't show)".into(),
            Self::Unknown(Kind(kind), None) => {
                format!("(a message of kind {kind}, which this version can't show)").into()
            }
            Self::Unknown(Kind(kind), Some(bytes)) => format!(
                "(a message of kind {kind}, {} bytes, which this version can't show and did not keep)",
                text::grouped(*bytes)
            )
            .into(),
        }
    }
}

impl Notice {
    /// Whether it answers a command, rather than telling what happens.
    pub fn is_answer(&self) -> bool {
        !matches!(
            self,
            Self::Ready { .. }
                | Self::Discovery { .. }
                | Self::Presence { .. }
                | Self::Request { .. }
                | Self::Full { .. }
                | Self::Held { .. }
                | Self::Lost { .. }
                | Self::Link { .. }
                | Self::Message { .. }
                | Self::Delivered { .. }
                | Self::Spread { .. }
                | Self::Invite { .. }
                | Self::Linked { .. }
                | Self::Hello { .. }
                | Self::Sent { .. }
                | Self::Lagged
        )
    }

    /// Whether it tells of a change that concerns every box, also where it answers a command of one.
    pub fn is_news(&self) -> bool {
        !self.is_answer()
            || matches!(
                self,
                Self::Requested { .. }
                    | Self::Resent { .. }
                    | Self::Forgotten { .. }
                    | Self::Trusted { .. }
                    | Self::Contact(_)
                    | Self::Room { .. }
                    | Self::Member { .. }
                    | Self::Read { .. }
                    | Self::Bye { .. }
            )
    }

    /// The first line.
    pub fn hello() -> Self {
        Self::Hello { version: env!("CARGO_PKG_VERSION").into(), json: JSON, protocol: VERSION }
    }

    /// Roughly how many bytes it takes in memory.
    pub fn weight(&self) -> usize {
        let line = |text: &Body| text.shown().len() + 100;
        let content = match self {
            Self::Message { text, .. } | Self::Queued { text, .. } | Self::Sent { text, .. } => {
                text.shown().len()
            }
            Self::Error(error) => error.message.len() + error.text.as_ref().map_or(0, String::len),
            Self::Outbox { messages, .. } => messages.iter().map(|entry| line(&entry.text)).sum(),
            Self::History { messages, .. } | Self::Conversation { messages, .. } => {
                messages.iter().map(|entry| line(&entry.text)).sum()
            }
            Self::RoomHistory { messages, .. } | Self::RoomConversation { messages, .. } => {
                messages.iter().map(|entry| line(&entry.text)).sum()
            }
            Self::Invite { members, topic, .. } => members.len() * size_of::<Name>() + topic.len(),
            Self::Room { why, .. } => why.len(),
            Self::Rooms { rooms } => rooms.iter().map(|room| size_of::<RoomLine>() + room.topic.len()).sum(),
            Self::Members { members, .. } => members.len() * size_of::<MemberLine>(),
            Self::RoomWhy(why) => why.members.len() * size_of::<MemberWhy>(),
            Self::Found { messages, .. } => messages.iter().map(|found| line(&found.line.text)).sum(),
            Self::Contacts { contacts } => contacts.len() * size_of::<ContactLine>(),
            Self::Prompt(prompt) => prompt.weight(),
            _ => 0,
        };
        content + size_of::<Told>() + MAX_REFERENCE
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
pub(super) mod tests;
