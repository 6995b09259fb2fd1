//! What the client tells the user or a script, and how it is written.
//!
//! With `--json` each notice is one JSON object; its fields are those of [`Notice`]. Otherwise it is a
//! line or a few of plain text. Either way nothing from outside reaches the terminal as a control sequence.
//!
//! - `text`: notices as text; `json`: as JSON; `fast_json`: the frequent ones;
//! - `lists`: the entries of `CONTACTS`, `OUTBOX`, `HISTORY` and `SEARCH`; `why`: the answer to `WHY`.

use std::borrow::Cow;
use std::net::SocketAddr;

use serde::Serialize;

use super::command::{Explanation, MAX_REFERENCE, Reference};
use crate::protocol::peer::{Cursor, Kind};
use crate::protocol::{Name, PublicKey};
pub use lists::{ContactLine, FoundLine, HistoryLine, OutboxLine};
pub use text::Look;
pub(crate) use text::{many, safe_text, write_delivered, write_welcome};
pub use why::{AddressLine, DiscoveryLine, Goodbye, Reason, Why};

mod fast_json;
mod json;
mod lists;
mod text;
mod why;

/// Unread messages are counted up to this many; there may be more.
pub const MANY_UNREAD: u64 = 1000;

/// Something to be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Notice {
    /// The client listens and takes commands.
    Ready { user: Name, address: SocketAddr, fingerprint: PublicKey },
    /// Whether there is a session with discovery.
    Discovery { state: UpDown, detail: String },
    /// What discovery says of a contact.
    Presence { peer: Name, state: OnOff },
    /// A peer has asked for a link and is a contact now.
    Request { from: Name, fingerprint: PublicKey },
    /// A `REQUEST` was taken: it is safe and goes on until there is a link.
    Requested { peer: Name },
    /// Whether there is a link to a contact.
    Link { peer: Name, state: UpDown },
    /// A contact's message.
    Message {
        /// Unique for ever, together with the sender.
        id: Cursor,
        from: Name,
        text: Body,
        /// The sender's clock when it was written.
        #[serde(serialize_with = "json::time")]
        sent: i64,
        /// This machine's clock when it came in.
        #[serde(serialize_with = "json::time")]
        received: i64,
        /// Whether it came in before this start, and may have been shown then.
        replayed: bool,
    },
    /// A message is safely in the outbox.
    Queued {
        /// Unique for ever, together with this user.
        id: Cursor,
        to: Name,
        /// Whether there is a link over which it goes at once.
        linked: bool,
        /// For people: a script knows what it has sent.
        #[serde(skip)]
        text: Body,
        #[serde(skip)]
        sent: i64,
    },
    /// A contact has committed a message of ours.
    Delivered { id: Cursor, to: Name },
    /// Something was not done, or is not as it should be.
    Error(ErrorNotice),
    /// The answer to `CONTACTS`: all of them, by name.
    Contacts { contacts: Vec<ContactLine> },
    /// The answer to `OUTBOX`.
    Outbox {
        /// How many messages are not yet delivered.
        waiting: u64,
        /// The oldest of them for each contact.
        messages: Vec<OutboxLine>,
    },
    /// The answer to `HISTORY`: the last entries, oldest first.
    History { peer: Name, messages: Vec<HistoryLine> },
    /// The answer to `CHAT <user>` and `CHAT` alone: which conversation the user is in.
    Conversation {
        /// Null for none.
        peer: Option<Name>,
        /// How many of the peer's messages were unread, counted up to [`MANY_UNREAD`].
        unread: u64,
        /// The last entries, oldest first.
        messages: Vec<HistoryLine>,
    },
    /// The answer to `TRUST`, `BLOCK` and `UNBLOCK`: what holds now.
    Contact(Box<ContactLine>),
    /// The answer to `HELP`: usage and meaning of every command.
    Help { commands: Vec<(&'static str, &'static str)> },
    /// The answer to `HELP <command>`.
    Explanation(Explanation),
    /// The answer to `WHY`.
    Why(Box<Why>),
    /// The answer to `SEARCH`.
    Found {
        words: String,
        /// In which conversation; null for all.
        peer: Option<Name>,
        /// The latest messages that hold all the words, newest first.
        messages: Vec<FoundLine>,
    },
    /// The answer to `VERIFY`.
    Verification {
        peer: Name,
        /// What both sides see.
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
}

impl From<Notice> for Told {
    fn from(notice: Notice) -> Self {
        Self { notice, reference: None }
    }
}

/// What an error says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErrorNotice {
    /// What kind of error, for scripts.
    pub code: Code,
    /// What happened and what to do, for people.
    pub message: String,
    /// The user concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<Name>,
    /// The message concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Cursor>,
    /// The text concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// The kinds of errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// No user has registered this name.
    NoSuchUser,
    /// A message of ours was given back, for there is no such user.
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
    /// The code that the peer read out is not the one shown here.
    WrongCode,
    /// The line is not a command.
    BadCommand,
    /// The text does not fit into one message.
    TooLong,
    /// The disk is full or fails: nothing was kept.
    NotSaved,
    /// Discovery refused.
    Refused,
    /// An unknown peer connected, and was cut.
    UnknownPeer,
    /// Another peer than the one dialled answered, and was cut.
    Impostor,
    /// The account has been started somewhere else.
    Superseded,
    /// A link was cut because the peer broke the rules.
    BadPeer,
    /// Standard output was not read for too long, and notices other than messages were dropped.
    OutputBehind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UpDown {
    Up,
    Down,
}

/// Whether a user has a session with discovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
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
    /// Text.
    Text(String),
    /// A kind that only a later version knows.
    Unknown(Kind),
}

impl Body {
    /// The body of a message. Bytes that are not UTF-8 become U+FFFD.
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

    fn shown(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => text.into(),
            Self::Unknown(Kind(kind)) => {
                format!("(a message of kind {kind}, which this version can't show)").into()
            }
        }
    }
}

impl Notice {
    /// Whether it is what a command is answered with, rather than something that happens.
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
    pub fn weight(&self) -> usize {
        let line = |text: &Body| text.shown().len() + 100;
        let content = match self {
            Self::Message { text, .. } | Self::Queued { text, .. } => text.shown().len(),
            Self::Error(error) => error.message.len() + error.text.as_ref().map_or(0, String::len),
            Self::Outbox { messages, .. } => messages.iter().map(|entry| line(&entry.text)).sum(),
            Self::History { messages, .. } | Self::Conversation { messages, .. } => {
                messages.iter().map(|entry| line(&entry.text)).sum()
            }
            Self::Found { messages, .. } => messages.iter().map(|found| line(&found.line.text)).sum(),
            Self::Contacts { contacts } => contacts.len() * size_of::<ContactLine>(),
            _ => 0,
        };
        content + size_of::<Told>() + MAX_REFERENCE
    }
}

#[cfg(test)]
mod tests;
