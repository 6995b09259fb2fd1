//! Why somebody can't be reached, as far as this client knows.

use std::net::SocketAddr;

use serde::Serialize;

use super::text::{Look, plain};
use super::{ContactLine, UpDown, time_json, time_option_json};

/// All that is known about reaching a contact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Why {
    /// In a word.
    pub reason: Reason,
    /// What `CONTACTS` says of them.
    #[serde(flatten)]
    pub contact: ContactLine,
    /// Whether discovery can be reached.
    pub discovery: DiscoveryLine,
    /// Where they may be, and what came of looking there.
    pub addresses: Vec<AddressLine>,
    /// Whether they are being dialled.
    pub dialling: bool,
    /// When they are dialled next, unless something happens before.
    #[serde(serialize_with = "time_option_json")]
    pub next_dial: Option<i64>,
    /// Why their client closed the last link, if it has said so since this one started.
    pub goodbye: Option<Goodbye>,
}

/// Why somebody is not linked, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// They are.
    Linked,
    /// The user has blocked them.
    Blocked,
    /// This account has been started somewhere else.
    Superseded,
    /// Discovery names another key than the one that is pinned.
    KeyChanged,
    /// Discovery has not yet said who they are.
    UnknownKey,
    /// Their client does not take links from this account.
    NotAccepted,
    /// Discovery says that they are offline.
    Offline,
    /// Nobody knows where they are.
    NoAddress,
    /// They are about to be reached, as far as anybody can tell.
    Dialling,
    /// Nobody answers, and discovery can't be asked.
    DiscoveryDown,
    /// Discovery says that they are online, but nobody answers.
    NoAnswer,
}

/// How things stand with discovery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiscoveryLine {
    /// Whether there is a session.
    pub state: UpDown,
    /// More about it.
    pub detail: String,
    /// Since when; null while it is tried for the first time.
    #[serde(serialize_with = "time_option_json")]
    pub since: Option<i64>,
}

/// A place where somebody may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AddressLine {
    /// Where.
    pub address: SocketAddr,
    /// Whether the last link reached them there.
    pub worked: bool,
    /// Whether discovery says that they are there.
    pub told: bool,
    /// When it was tried last, since this client started.
    #[serde(serialize_with = "time_option_json")]
    pub tried: Option<i64>,
    /// What went wrong then; null if they answered.
    pub problem: Option<String>,
}

/// The last word of a peer's client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Goodbye {
    /// When.
    #[serde(serialize_with = "time_json")]
    pub at: i64,
    /// Why.
    pub reason: &'static str,
}

impl Why {
    pub(super) fn lines(&self, look: &Look) -> Vec<String> {
        let who = &self.contact.peer;
        let mut lines = vec![format!("* {}", self.conclusion(look))];
        let DiscoveryLine { state, detail, since } = &self.discovery;
        let since_when =
            |at: Option<i64>| at.map_or_else(String::new, |at| format!(" since {}", look.clock(at)));
        lines.push(format!("  discovery: {}{} ({})", state.word(), since_when(*since), plain(detail)));
        if let Some(presence) = self.contact.presence {
            let since = since_when(self.contact.presence_since);
            lines.push(format!("  discovery says {who} is {}, as told{since}", presence.word()));
        }
        if let Some(seen) = self.contact.last_seen {
            lines.push(format!("  last seen {}", look.clock(seen)));
        }
        for place in &self.addresses {
            let from = match (place.worked, place.told) {
                (true, true) => "the last link's, and discovery's",
                (true, false) => "the last link's",
                (false, true) => "discovery's",
                (false, false) => "an earlier one",
            };
            let came = match (place.tried, &place.problem) {
                (None, _) => "not tried yet".into(),
                (Some(at), None) => format!("answered {}", look.clock(at)),
                (Some(at), Some(problem)) => format!("tried {}: {}", look.clock(at), plain(problem)),
            };
            lines.push(format!("  {} ({from}): {came}", place.address));
        }
        if let Some(goodbye) = &self.goodbye {
            lines.push(format!(
                "  the link was closed by {who}, {}: {}",
                look.clock(goodbye.at),
                goodbye.reason
            ));
        }
        if !self.contact.linked {
            lines.push(match (self.dialling, self.next_dial) {
                (true, _) => "  an attempt is under way".into(),
                (false, Some(at)) => format!("  the next attempt comes at {}", look.clock(at)),
                (false, None) => "  no attempt is planned until something changes".into(),
            });
        }
        if self.contact.requested {
            lines.push(format!("  {who} is asked for, and that stays so until there is a link"));
        }
        if self.contact.waiting > 0 {
            lines.push(format!("  {} not yet delivered, and kept", self.contact.waiting));
        }
        lines
    }

    /// What a person wants to know first.
    fn conclusion(&self, look: &Look) -> String {
        let ContactLine { peer: who, linked_since, last_seen, .. } = &self.contact;
        let detail = plain(&self.discovery.detail);
        let last_seen = last_seen.map_or_else(String::new, |at| format!(", last seen {}", look.clock(at)));
        match self.reason {
            Reason::Linked => match linked_since {
                Some(since) => format!("{who} is linked since {}", look.clock(*since)),
                None => format!("{who} is linked"),
            },
            Reason::Blocked => format!("you have blocked {who}; UNBLOCK {who} takes that back"),
            Reason::Superseded => format!("this client stays out: {detail}"),
            Reason::KeyChanged => {
                format!("discovery names another key for {who}; nothing is sent until you TRUST {who}")
            }
            Reason::UnknownKey if self.discovery.state == UpDown::Down => {
                format!("{who} was never reached, and discovery can't be asked: {detail}")
            }
            Reason::UnknownKey => format!("discovery has not said yet who {who} is"),
            Reason::NotAccepted => format!("the client of {who} answers, but takes no link from you"),
            Reason::Offline => format!("discovery says {who} is offline{last_seen}"),
            Reason::NoAddress => format!("nobody knows where {who} is{last_seen}"),
            Reason::Dialling => format!("{who} is being dialled"),
            Reason::DiscoveryDown => {
                format!("discovery is not reachable ({detail}), and {}", self.silence())
            }
            Reason::NoAnswer => format!("{} (discovery says {who} is there)", self.silence()),
        }
    }

    /// Where nobody answers, of the places where they may still be.
    fn silence(&self) -> String {
        let failed = |place: &AddressLine| {
            place.problem.as_ref().map(|problem| format!("{}: {}", place.address, plain(problem)))
        };
        let places: Vec<_> =
            self.addresses.iter().filter(|place| place.worked || place.told).filter_map(failed).collect();
        if places.is_empty() {
            format!("{} was not reached", self.contact.peer)
        } else {
            format!("{} does not answer at {}", self.contact.peer, places.join(", nor at "))
        }
    }
}
