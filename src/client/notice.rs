//! What the client tells a person or a script, and how it is written.
//!
//! With `--json` each notice is one JSON object; its fields are those of [`Notice`]. Otherwise it is a
//! line or a few of plain text. Either way nothing from outside reaches the terminal as a control sequence.

use std::cell::RefCell;
use std::fmt::Write;
use std::net::SocketAddr;

use serde::{Serialize, Serializer};

use super::command::{Explanation, MAX_REFERENCE, Reference};
use crate::protocol::peer::{Cursor, Kind};
use crate::protocol::{Name, PublicKey};
pub use text::Look;
pub(crate) use text::{is_unsafe, many, safe_text, write_delivered, write_welcome};

mod often;
mod text;
mod why;

pub use why::{AddressLine, DiscoveryLine, Goodbye, Reason, Why};

/// So far unread messages are counted: there may be more where there are this many.
pub const MANY_UNREAD: u64 = 1000;

/// Something to be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Notice {
    /// The client listens and takes commands.
    Ready {
        /// Whose client it is.
        user: Name,
        /// Where it takes links.
        address: SocketAddr,
        /// The account's key.
        fingerprint: PublicKey,
    },
    /// Whether discovery can be reached.
    Discovery {
        /// Whether there is a session.
        state: UpDown,
        /// More about it.
        detail: String,
    },
    /// What discovery says of a contact.
    Presence {
        /// Whom.
        peer: Name,
        /// Whether they have a session with discovery.
        state: OnOff,
    },
    /// Somebody has asked for a channel and is a contact now.
    Request {
        /// Who.
        from: Name,
        /// Their key.
        fingerprint: PublicKey,
    },
    /// A `REQUEST` was taken: it is safe and goes on until there is a link.
    Requested {
        /// For whom.
        peer: Name,
    },
    /// Whether there is a link to a contact.
    Link {
        /// Whom.
        peer: Name,
        /// Whether there is one.
        state: UpDown,
    },
    /// A contact said something.
    Message {
        /// Its name for ever, together with who said it.
        id: Cursor,
        /// Who said it.
        from: Name,
        /// What was said; null if this version can't show it.
        #[serde(serialize_with = "body_json")]
        text: Body,
        /// The sender's clock when it was written.
        #[serde(serialize_with = "time_json")]
        sent: i64,
        /// This machine's clock when it came in.
        #[serde(serialize_with = "time_json")]
        received: i64,
        /// Whether it came in before this start, and may have been shown then.
        replayed: bool,
    },
    /// A message is safely in the outbox.
    Queued {
        /// Its name for ever, together with who says it.
        id: Cursor,
        /// For whom.
        to: Name,
        /// Whether there is a link over which it goes at once.
        linked: bool,
        /// What it says, for people: a script knows.
        #[serde(skip)]
        text: Body,
        /// When it was written.
        #[serde(skip)]
        sent: i64,
    },
    /// A contact has committed a message of ours.
    Delivered {
        /// Which.
        id: Cursor,
        /// Who has it.
        to: Name,
    },
    /// Something was not done, or is not as it should be.
    Error(Trouble),
    /// The answer to `CONTACTS`.
    Contacts {
        /// All of them, by name.
        contacts: Vec<ContactLine>,
    },
    /// The answer to `OUTBOX`.
    Outbox {
        /// How many messages are not yet delivered.
        waiting: u64,
        /// The oldest of them for each contact.
        messages: Vec<OutboxLine>,
    },
    /// The answer to `HISTORY`.
    History {
        /// Whose conversation.
        peer: Name,
        /// Its last entries, oldest first.
        messages: Vec<HistoryLine>,
    },
    /// The answer to `CHAT <user>` and `CHAT` alone: which conversation the user is in.
    Conversation {
        /// Whose; null for none.
        peer: Option<Name>,
        /// How many of theirs were unread, as far as they are counted.
        unread: u64,
        /// The last entries, oldest first.
        messages: Vec<HistoryLine>,
    },
    /// The answer to `TRUST`, `BLOCK` and `UNBLOCK`: what holds now.
    Contact(Box<ContactLine>),
    /// The answer to `HELP`.
    Help {
        /// Usage and meaning of every command.
        commands: Vec<(&'static str, &'static str)>,
    },
    /// The answer to `HELP <command>`.
    Explanation(Explanation),
    /// The answer to `WHY`.
    Why(Box<Why>),
    /// The answer to `SEARCH`.
    Found {
        /// What was looked for.
        words: String,
        /// In whose conversation; null for all.
        peer: Option<Name>,
        /// The latest messages that hold all the words, newest first.
        messages: Vec<FoundLine>,
    },
    /// The answer to `VERIFY`.
    Verification {
        /// With whom.
        peer: Name,
        /// What both see.
        code: String,
        /// Whether the user has compared it.
        verified: bool,
    },
    /// The client ends.
    Bye {
        /// How many messages are not yet delivered, and go out at a later start.
        waiting: u64,
    },
}

/// A notice as it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// What is told.
    pub notice: Notice,
    /// The name of the command that it answers, if a script gave it one: the field `ref`.
    pub reference: Option<Reference>,
    /// Whether it says that a command was not done.
    pub refusal: bool,
}

impl From<Notice> for Told {
    fn from(notice: Notice) -> Self {
        Self { notice, reference: None, refusal: false }
    }
}

impl Told {
    /// Appends it as one line of JSON.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let mut written = if often::write(&self.notice, out) {
            Ok(())
        } else {
            serde_json::to_writer(&mut *out, &self.notice)
        };
        if let Some(reference) = &self.reference {
            // Every notice is an object with a field.
            out.pop();
            out.extend_from_slice(b",\"ref\":");
            written = written.and_then(|()| serde_json::to_writer(&mut *out, reference));
            out.push(b'}');
        }
        debug_assert!(written.is_ok(), "a Vec takes everything, and every key is a string");
        escape_json(out, start);
        out.push(b'\n');
    }
}

/// What an error says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// What kind of error, for scripts.
    pub code: Code,
    /// What happened and what to do, for people.
    pub message: String,
    /// The user whom it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<Name>,
    /// The message that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Cursor>,
    /// The text that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// The kinds of errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// Nobody has registered this name.
    NoSuchUser,
    /// A message of ours was taken back, for there is no such user.
    Undeliverable,
    /// The user was never requested.
    NotAContact,
    /// The user is blocked.
    Blocked,
    /// The name belongs to another key.
    NameTaken,
    /// A contact's or discovery's key is not the one that was pinned.
    KeyChanged,
    /// Nothing to trust: no other key was named.
    NothingToTrust,
    /// The user's key is not known yet.
    UnknownKey,
    /// The code that was heard is not the one that is seen.
    WrongCode,
    /// The line is not a command.
    BadCommand,
    /// The text does not fit into one message.
    TooLong,
    /// The disk is full or fails: nothing was kept.
    NotSaved,
    /// Discovery refused.
    Refused,
    /// Somebody unknown connected, and was cut.
    UnknownPeer,
    /// Somebody who is not who was dialled answered, and was cut.
    Impostor,
    /// The account has been started somewhere else.
    Superseded,
    /// A link was cut because the peer broke the rules.
    BadPeer,
    /// Nobody read standard output for too long, and notices other than messages were dropped.
    OutputBehind,
}

/// Whether something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UpDown {
    /// It does.
    Up,
    /// It does not.
    Down,
}

/// Whether somebody is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnOff {
    /// They are.
    Online,
    /// They are not.
    Offline,
}

/// What was said, as far as this version can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Text.
    Text(String),
    /// A kind that only a later version knows.
    Unknown(Kind),
}

impl Body {
    /// The body of a message. Bytes that are not UTF-8 become U+FFFD.
    #[must_use]
    pub fn new(kind: Kind, body: &[u8]) -> Self {
        match kind {
            // What is not UTF-8 is rare, and looking for it piece by piece takes long.
            Kind::TEXT => Self::Text(match std::str::from_utf8(body) {
                Ok(text) => text.to_owned(),
                Err(_) => String::from_utf8_lossy(body).into_owned(),
            }),
            other => Self::Unknown(other),
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Unknown(Kind(kind)) => format!("(a message of kind {kind}, which this version can't show)"),
        }
    }
}

/// A contact in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ContactLine {
    /// Who.
    pub peer: Name,
    /// The pinned key, once it is known.
    pub fingerprint: Option<PublicKey>,
    /// Another key that discovery names, and that `TRUST` would accept.
    pub offered: Option<PublicKey>,
    /// Whether the user has compared the pinned key with them.
    pub verified: bool,
    /// Whether there is a link.
    pub linked: bool,
    /// Since when; null if there is none.
    #[serde(serialize_with = "time_option_json")]
    pub linked_since: Option<i64>,
    /// What discovery says, while it can be reached.
    pub presence: Option<OnOff>,
    /// When discovery said so first; null while it can't be reached.
    #[serde(serialize_with = "time_option_json")]
    pub presence_since: Option<i64>,
    /// Until when they were known to be there: linked, or online as discovery said. Null if they are there, and if
    /// nobody knows.
    #[serde(serialize_with = "time_option_json")]
    pub last_seen: Option<i64>,
    /// Whether our request has not led to a link yet.
    pub requested: bool,
    /// Whether the user wants nothing from them.
    pub blocked: bool,
    /// How many of our messages are not yet delivered.
    pub waiting: u64,
    /// How many of theirs nobody has looked at, counted up to [`MANY_UNREAD`].
    pub unread: u64,
    /// Where they were last known to be.
    pub address: Option<SocketAddr>,
}

/// A message in the outbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutboxLine {
    /// Which.
    pub id: Cursor,
    /// For whom.
    pub to: Name,
    /// What it says.
    #[serde(serialize_with = "body_json")]
    pub text: Body,
    /// When it was written.
    #[serde(serialize_with = "time_json")]
    pub sent: i64,
}

/// An entry of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HistoryLine {
    /// Which message.
    pub id: Cursor,
    /// Who said it.
    pub from: Name,
    /// What was said.
    #[serde(serialize_with = "body_json")]
    pub text: Body,
    /// When it was written, by the writer's clock.
    #[serde(serialize_with = "time_json")]
    pub sent: i64,
    /// When it came in; null for our own.
    #[serde(serialize_with = "time_option_json")]
    pub received: Option<i64>,
    /// Whether the other side has it.
    pub delivered: bool,
}

/// A message that was looked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FoundLine {
    /// In whose conversation.
    pub peer: Name,
    /// What was said.
    #[serde(flatten)]
    pub line: HistoryLine,
}

fn body_json<S: Serializer>(body: &Body, serializer: S) -> Result<S::Ok, S::Error> {
    match body {
        Body::Text(text) => serializer.serialize_str(text),
        Body::Unknown(_) => serializer.serialize_none(),
    }
}

fn time_json<S: Serializer>(milliseconds: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    time_text(*milliseconds, |text| serializer.serialize_str(text))
}

/// Hands over a time as JSON has it: in UTC, with milliseconds.
fn time_text<T>(milliseconds: i64, take: impl FnOnce(&str) -> T) -> T {
    // Many messages are of one second, and its day and hour are what takes long to find.
    thread_local!(static LAST: RefCell<(i64, String)> = const { RefCell::new((i64::MIN, String::new())) });
    LAST.with_borrow_mut(|(second, text)| {
        let moment = timestamp(milliseconds);
        if *second == milliseconds.div_euclid(1000) {
            text.truncate(text.len().saturating_sub("000Z".len()));
            let _ = write!(text, "{:03}Z", milliseconds.rem_euclid(1000));
        } else {
            *text = format!("{moment:.3}");
            // Beyond the calendar all times have one text.
            let exact = moment.as_millisecond() == milliseconds;
            *second = if exact { milliseconds.div_euclid(1000) } else { i64::MIN };
        }
        take(text)
    })
}

#[allow(clippy::ref_option, reason = "the signature that serde calls")]
fn time_option_json<S: Serializer>(milliseconds: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
    match milliseconds {
        Some(milliseconds) => time_json(milliseconds, serializer),
        None => serializer.serialize_none(),
    }
}

/// A peer may claim any time; what a calendar can't hold becomes its first or last moment.
fn timestamp(milliseconds: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_millisecond(milliseconds).unwrap_or(if milliseconds < 0 {
        jiff::Timestamp::MIN
    } else {
        jiff::Timestamp::MAX
    })
}

impl Notice {
    /// Whether the notice tells of something that was saved, and is untrue if it was not.
    #[must_use]
    pub fn is_saved(&self) -> bool {
        match self {
            Self::Request { .. }
            | Self::Requested { .. }
            | Self::Message { .. }
            | Self::Queued { .. }
            | Self::Delivered { .. }
            | Self::Contacts { .. }
            | Self::Contact(_)
            | Self::Outbox { .. }
            | Self::History { .. }
            | Self::Conversation { .. }
            | Self::Help { .. }
            | Self::Explanation(_)
            | Self::Why(_)
            | Self::Found { .. }
            | Self::Verification { .. }
            | Self::Bye { .. } => true,
            // Answers to commands, which are answered anew, and what waits to be withdrawn.
            Self::Error(trouble) => matches!(
                trouble.code,
                Code::NoSuchUser
                    | Code::Undeliverable
                    | Code::NotAContact
                    | Code::NothingToTrust
                    | Code::BadCommand
                    | Code::TooLong
                    | Code::NotSaved
                    | Code::KeyChanged
                    | Code::UnknownKey
                    | Code::WrongCode
            ),
            Self::Ready { .. } | Self::Discovery { .. } | Self::Presence { .. } | Self::Link { .. } => false,
        }
    }

    /// Whether it is what a command is answered with, rather than something that happens.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        !matches!(
            self,
            Self::Ready { .. }
                | Self::Discovery { .. }
                | Self::Presence { .. }
                | Self::Request { .. }
                | Self::Link { .. }
                | Self::Message { .. }
                | Self::Delivered { .. }
        )
    }

    /// Roughly how many bytes the notice takes in memory.
    #[must_use]
    pub fn weight(&self) -> usize {
        let content = match self {
            Self::Message { text: Body::Text(text), .. } | Self::Queued { text: Body::Text(text), .. } => {
                text.len()
            }
            Self::Error(trouble) => trouble.message.len() + trouble.text.as_ref().map_or(0, String::len),
            Self::Outbox { messages, .. } => messages.iter().map(|line| line.text.shown().len() + 100).sum(),
            Self::History { messages, .. } | Self::Conversation { messages, .. } => {
                messages.iter().map(|line| line.text.shown().len() + 100).sum()
            }
            Self::Found { messages, .. } => {
                messages.iter().map(|found| found.line.text.shown().len() + 100).sum()
            }
            Self::Contacts { contacts } => contacts.len() * size_of::<ContactLine>(),
            _ => 0,
        };
        content + size_of::<Told>() + MAX_REFERENCE
    }
}

impl From<bool> for OnOff {
    fn from(online: bool) -> Self {
        if online { Self::Online } else { Self::Offline }
    }
}

/// JSON leaves DEL, C1 controls and the like as they are; written as escapes they mean the same and do
/// nothing to a terminal. They can only stand inside strings.
fn escape_json(out: &mut Vec<u8>, start: usize) {
    let written = out.get(start..).unwrap_or_default();
    // Without a way out in the middle, for then many bytes are looked at together.
    if written.iter().fold(true, |safe, byte| safe & (b' '..0x7f).contains(byte)) {
        return;
    }
    let json = String::from_utf8_lossy(written).into_owned();
    out.truncate(start);
    for c in json.chars() {
        if is_unsafe(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
            }
        } else {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}

#[cfg(test)]
mod tests;
