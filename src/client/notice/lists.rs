//! The entries of lists: contacts, and messages of the outbox, of a conversation and of a search.

use std::fmt::Write as _;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::numbers::size;
use super::page::Page;
use super::text::{Look, many, short};
use super::{Body, OnOff, time};
use crate::client::addressee::{Addressee, RoomLabel};
use crate::protocol::peer::{Cursor, Via};
use crate::protocol::room::RoomKey;
use crate::protocol::{Name, PublicKey};
use crate::store::journal::Seq;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContactLine {
    pub peer: Name,
    /// The pinned key, once it is known.
    pub fingerprint: Option<PublicKey>,
    /// Another key that discovery names, and that `TRUST` would accept.
    pub offered: Option<PublicKey>,
    /// Whether the user has compared the pinned key with the peer.
    pub verified: bool,
    pub linked: bool,
    #[serde(with = "time")]
    pub linked_since: Option<i64>,
    /// Which way the link takes, while there is one.
    pub route: Option<Via>,
    /// What discovery says, while it can be reached.
    pub presence: Option<OnOff>,
    /// When discovery said so first; null while it can't be reached.
    #[serde(with = "time")]
    pub presence_since: Option<i64>,
    /// Until when the peer was known to be there: linked, or online as discovery said. Null if the peer is there, or
    /// was never seen.
    #[serde(with = "time")]
    pub last_seen: Option<i64>,
    /// Whether our request has not led to a link yet.
    pub requested: bool,
    /// Whether the peer asks for this user and has not been answered.
    pub stranger: bool,
    pub blocked: bool,
    pub waiting: u64,
    /// Counted up to [`MANY_UNREAD`](super::MANY_UNREAD).
    pub unread: u64,
    /// How many bytes of the disk all that was said takes.
    pub bytes: u64,
    pub address: Option<SocketAddr>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxLine {
    pub id: Cursor,
    pub to: Addressee,
    pub text: Body,
    #[serde(with = "time")]
    pub sent: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryLine {
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
    pub delivered: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundLine {
    /// The other side of the conversation, or the room.
    pub peer: Addressee,
    #[serde(flatten)]
    pub room: FoundIn,
    #[serde(flatten)]
    pub line: HistoryLine,
}

/// The room in which something was found, as elsewhere; nothing for a conversation with a user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundIn {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomLabel>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_id: Option<RoomKey>,
}

impl ContactLine {
    pub(super) fn line(&self, look: &Look) -> String {
        let mut line = format!("  {:<16} ", self.peer);
        match self.linked_since {
            Some(since) => {
                let way = self.route.filter(|via| *via != Via::Direct);
                let way = way.map_or_else(String::new, |via| format!(" ({via})"));
                _ = write!(line, "linked since {}{way}", look.clock(since));
            }
            None => line.push_str("not linked"),
        }
        // Who is linked is there, whatever discovery knows.
        if let Some(presence) = self.presence.filter(|state| !self.linked || *state == OnOff::Online) {
            let _ = write!(line, ", discovery says {}", presence.word());
        }
        match self.last_seen {
            // Discovery has told the moment itself.
            Some(seen) if self.presence_since == Some(seen) => {
                _ = write!(line, " since {}", look.clock(seen))
            }
            Some(seen) => _ = write!(line, ", last seen {}", look.clock(seen)),
            None => {}
        }
        let marks = [
            (self.stranger, ", asks for you"),
            (self.verified, ", verified"),
            (self.requested, ", requested"),
            (self.blocked, ", blocked"),
        ];
        line.extend(marks.iter().filter(|(holds, _)| *holds).map(|(_, mark)| *mark));
        if self.waiting > 0 {
            let _ = write!(line, ", {} waiting", self.waiting);
        }
        if self.unread > 0 {
            let _ = write!(line, ", {} unread", many(self.unread));
        }
        if self.bytes > 0 {
            let _ = write!(line, ", {} on this disk", size(self.bytes));
        }
        match (self.fingerprint, self.offered) {
            (Some(key), None) => _ = write!(line, ", key {}", short(&key)),
            (Some(key), Some(other)) => {
                let (key, other) = (short(&key), short(&other));
                _ = write!(line, ", KEY CHANGED from {key} to {other} (see HELP TRUST)");
            }
            (None, _) => {}
        }
        line
    }
}

impl OutboxLine {
    pub(super) fn write(&self, page: &mut Page) {
        let look = page.look;
        page.body(&format!("{} to {}: ", look.stamp(self.sent), look.addressee(&self.to)), &self.text);
    }
}

impl FoundLine {
    pub(super) fn write(&self, page: &mut Page) {
        let (Self { peer, line, .. }, look) = (self, page.look);
        let place = match peer {
            Addressee::Room(room) => format!(" in {}", look.room(room)),
            Addressee::User(name) if line.received.is_none() => format!(" to {}", look.name(name)),
            Addressee::User(_) => String::new(),
        };
        let marks = look.marks(&line.late(look));
        page.body(
            &format!("{} {}{place}{marks}: ", look.placed(line.sent, line.received), look.name(&line.from)),
            &line.text,
        );
    }
}

impl HistoryLine {
    pub(super) fn write(&self, page: &mut Page) {
        let look = page.look;
        let mut marks = self.late(look);
        marks.extend((!self.delivered).then(|| "waiting".to_owned()));
        let marks = look.marks(&marks);
        page.body(
            &format!("{} {}{marks}: ", look.placed(self.sent, self.received), look.name(&self.from)),
            &self.text,
        );
    }

    /// When it was written, if that was much earlier.
    fn late(&self, look: &Look) -> Vec<String> {
        self.received.map_or_else(Vec::new, |received| look.late(self.sent, received))
    }
}
