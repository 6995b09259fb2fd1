//! What a command is about.

use super::table::{Command, find};
use crate::client::addressee::{Addressee, RoomLabel};
use crate::protocol::Name;

impl Command {
    /// Whether it changes the journal. What a [`Command::Line`] does only the client's node knows.
    pub fn is_written(&self) -> bool {
        find(self.name()).is_some_and(|spec| (spec.writes)(self))
    }

    pub fn user(&self) -> Option<&Name> {
        match self {
            Self::Request(name)
            | Self::Verify(name, _)
            | Self::Trust(name, _)
            | Self::Accept(name)
            | Self::Forget(name)
            | Self::Resend(name)
            | Self::Block(name)
            | Self::Unblock(name)
            | Self::Invite { user: name, .. }
            | Self::Kick(_, name)
            | Self::Owner(_, name) => Some(name),
            other => other.addressee()?.user(),
        }
    }

    /// Whether a line of a conversation that reads as this command may be meant as it: what is about a user who is not
    /// known would come to nothing, as "forget it" does. A message for another user is always asked about.
    pub fn may_be_meant(&self, is_known: impl FnOnce(&Name) -> bool) -> bool {
        matches!(self, Self::Chat(..) | Self::Converse(_) | Self::Request(_))
            || self.user().is_none_or(is_known)
    }

    pub fn room(&self) -> Option<&RoomLabel> {
        match self {
            Self::Room(room, _)
            | Self::Invite { room, .. }
            | Self::Join(room)
            | Self::Leave(room)
            | Self::Members(room)
            | Self::Kick(room, _)
            | Self::Owner(room, _)
            | Self::Topic(room, _) => Some(room),
            other => other.addressee()?.room(),
        }
    }

    /// What it is about, where that may be a user or a room.
    fn addressee(&self) -> Option<&Addressee> {
        match self {
            Self::Chat(to, _) | Self::History(to, _) | Self::Why(to) | Self::Read(to, _) => Some(to),
            Self::Page { peer, .. } => Some(peer),
            Self::Converse(to) | Self::Search { within: to, .. } => to.as_ref(),
            _ => None,
        }
    }

    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Chat(_, text) | Self::Topic(_, text) | Self::Line { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The name of its row; a line has none.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Request(_) => "REQUEST",
            Self::Chat(..) | Self::Converse(_) => "CHAT",
            Self::Line { .. } => "a line",
            Self::Logout => "LOGOUT",
            Self::Contacts => "CONTACTS",
            Self::Outbox => "OUTBOX",
            Self::History(..) | Self::Page { .. } => "HISTORY",
            Self::Read(..) => "READ",
            Self::Prompt => "PROMPT",
            Self::Quiet => "QUIET",
            Self::Reads => "READS",
            Self::Detach => "DETACH",
            Self::Search { .. } => "SEARCH",
            Self::Why(_) => "WHY",
            Self::Verify(..) => "VERIFY",
            Self::Trust(..) | Self::TrustDiscovery(_) => "TRUST",
            Self::Accept(_) => "ACCEPT",
            Self::Forget(_) => "FORGET",
            Self::Resend(_) => "RESEND",
            Self::Block(_) => "BLOCK",
            Self::Unblock(_) => "UNBLOCK",
            Self::Room(..) => "ROOM",
            Self::Invite { .. } => "INVITE",
            Self::Join(_) => "JOIN",
            Self::Leave(_) => "LEAVE",
            Self::Rooms => "ROOMS",
            Self::Members(_) => "MEMBERS",
            Self::Kick(..) => "KICK",
            Self::Owner(..) => "OWNER",
            Self::Topic(..) => "TOPIC",
            Self::Help | Self::Explain(_) => "HELP",
        }
    }
}

/// The command without the text that it sends.
impl std::fmt::Display for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())?;
        if let Some(room) = self.room() {
            write!(f, " {room}")?;
        }
        match (self, self.user()) {
            (Self::Explain(about), _) => write!(f, " {}", about.command),
            (Self::Room(_, Some(past)), _) => write!(f, " {past}"),
            (Self::TrustDiscovery(_), _) => write!(f, " {}", Name::DISCOVERY),
            (Self::Search { .. }, Some(user)) => write!(f, " @{user}"),
            (Self::Invite { all: true, .. }, Some(user)) => write!(f, " {user} all"),
            (_, Some(user)) => write!(f, " {user}"),
            (_, None) => Ok(()),
        }
    }
}
