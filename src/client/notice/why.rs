//! Why a contact can't be reached, as far as this client knows.

use std::borrow::Cow;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::page::Page;
use super::text::Look;
use super::{Between, ContactLine, UpDown, time};
use crate::protocol::peer::Via;
use crate::terminal::printable;
use crate::transport::Route;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    pub reason: Reason,
    /// What `CONTACTS` says.
    #[serde(flatten)]
    pub contact: ContactLine,
    pub discovery: DiscoveryLine,
    /// What changes addresses between this machine and discovery, as far as that can be seen; null while it can't.
    pub nat: Option<Nat>,
    pub addresses: Vec<AddressLine>,
    pub dialling: bool,
    /// When the client dials or looks for another way next, unless something happens before.
    #[serde(with = "time")]
    pub next_dial: Option<i64>,
    /// Whether the client is trying discovery, and when it does so next, if it has to before the contact can be found.
    pub asking: bool,
    #[serde(with = "time")]
    pub next_asked: Option<i64>,
    /// Why the peer closed the last link, if it has said so since this client started.
    pub goodbye: Option<Goodbye>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    Linked,
    Blocked,
    /// This account has been started somewhere else.
    Superseded,
    KeyChanged,
    UnknownKey,
    /// The user has not answered: a client dials only contacts.
    Stranger,
    /// The contact has not answered this user's request.
    NotAnswered,
    /// The other side has ended the contact, or has not answered in time.
    Dropped,
    /// The contact is linked, but its disk is nearly full.
    DiskFull,
    /// The contact's client does not accept links from this account.
    NotAccepted,
    Offline,
    NoAddress,
    /// The client is dialling or about to, and nothing is known to be wrong.
    Dialling,
    /// No address answers, and discovery can't be asked.
    DiscoveryDown,
    NoAnswer,
}

impl Reason {
    /// In a few words, after a name.
    pub(in crate::client) fn word(self) -> &'static str {
        match self {
            Self::Linked => "linked",
            Self::Blocked => "you have blocked them",
            Self::Superseded => "this client stays offline",
            Self::KeyChanged => "discovery names another key",
            Self::UnknownKey => "the key is not known yet",
            Self::Stranger => "a stranger, and only contacts are dialled",
            Self::NotAnswered => "has not answered you",
            Self::Dropped => "has ended the contact",
            Self::DiskFull => "the disk is nearly full",
            Self::NotAccepted => "takes no link from you",
            Self::Offline => "offline",
            Self::NoAddress => "no address is known",
            Self::Dialling => "being dialled",
            Self::DiscoveryDown => "discovery is not reachable",
            Self::NoAnswer => "no address answers",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiscoveryLine {
    pub state: UpDown,
    pub detail: String,
    /// Since when; null while it is tried for the first time.
    #[serde(with = "time")]
    pub since: Option<i64>,
}

/// A router that changes addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nat {
    pub kind: Between,
    /// From where discovery sees this machine come.
    pub observed: SocketAddr,
    /// The port of the router that leads to this client, if there is one.
    pub mapped: Option<SocketAddr>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressLine {
    pub address: Route,
    pub route: Via,
    /// Whether the last link was there.
    pub worked: bool,
    /// By discovery.
    pub told: bool,
    /// When it was last tried, since this client started.
    #[serde(with = "time")]
    pub tried: Option<i64>,
    /// Null if the contact answered.
    pub problem: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goodbye {
    #[serde(with = "time")]
    pub at: i64,
    pub reason: Cow<'static, str>,
}

impl Why {
    pub(super) fn write(&self, page: &mut Page) {
        let (who, look) = (&self.contact.peer, page.look);
        page.line(format!("* {}", self.conclusion(look)));
        let DiscoveryLine { state, detail, since } = &self.discovery;
        let since_when =
            |at: Option<i64>| at.map_or_else(String::new, |at| format!(" since {}", look.clock(at)));
        page.line(format!("  discovery: {}{} ({})", state.word(), since_when(*since), printable(detail)));
        if let Some(presence) = self.contact.presence {
            let since = since_when(self.contact.presence_since);
            page.line(format!("  discovery has said{since} that {who} is {}", presence.word()));
        }
        if let Some(seen) = self.contact.last_seen {
            page.line(format!("  last seen {}", look.clock(seen)));
        }
        if let Some(Nat { kind, observed, mapped }) = self.nat {
            page.line(match (kind, mapped) {
                (Between::Nothing, _) => "  no router changes this machine's address".into(),
                (_, Some(mapped)) => format!("  your router passes on what comes to {mapped}"),
                (Between::SamePort, None) => {
                    format!("  you are behind a router, {observed}, that keeps ports")
                }
                (Between::OtherPort, None) => {
                    format!("  you are behind a router, {observed}, that changes ports")
                }
            });
        }
        for place in &self.addresses {
            let from = match (place.worked, place.told) {
                _ if place.route == Via::Punched => "opened from both sides",
                _ if place.route == Via::Relayed => "through discovery",
                _ if place.route == Via::Mapped => "a port of their router",
                (true, true) => "from the last link and from discovery",
                (true, false) => "from the last link",
                (false, true) => "from discovery",
                (false, false) => "an earlier address",
            };
            let came = match (place.tried, &place.problem) {
                (None, _) => "not tried yet".into(),
                (Some(at), None) => format!("answered {}", look.clock(at)),
                (Some(at), Some(problem)) => format!("tried {}: {}", look.clock(at), printable(problem)),
            };
            page.line(format!("  {} ({from}): {came}", place.address));
        }
        if let Some(goodbye) = &self.goodbye {
            page.line(format!("  {who} closed the link, {}: {}", look.clock(goodbye.at), goodbye.reason));
        }
        if !self.contact.linked {
            let asks = match (self.asking, self.next_asked) {
                (true, _) => Some("now".into()),
                (false, at) => at.map(|at| format!("again at {}", look.clock(at))),
            };
            page.line(match (self.dialling, self.next_dial, asks) {
                (true, ..) => "  this client is dialling now".into(),
                (false, Some(at), _) => format!("  this client dials again at {}", look.clock(at)),
                (false, None, Some(when)) => {
                    format!("  this client tries discovery {when}, and then looks for {who}")
                }
                (false, None, None) => "  this client does not dial again until something changes".into(),
            });
        }
        if self.contact.requested {
            page.line(format!("  your request to {who} stays open until there is a link"));
        }
        if self.contact.waiting > 0 {
            page.line(format!("  {} not yet delivered, and kept here", self.contact.waiting));
        }
    }

    /// What the user wants to know first.
    fn conclusion(&self, look: &Look) -> String {
        let ContactLine { peer: who, linked_since, last_seen, .. } = &self.contact;
        let detail = printable(&self.discovery.detail);
        let last_seen = last_seen.map_or_else(String::new, |at| format!(", last seen {}", look.clock(at)));
        match self.reason {
            Reason::Linked => {
                let since = linked_since.map_or_else(String::new, |at| format!(" since {}", look.clock(at)));
                let way = match self.contact.route {
                    Some(Via::Mapped) => ", through a port of a router",
                    Some(Via::Punched) => ", through routers that both sides have opened",
                    Some(Via::Relayed) => ", through discovery, which can't read what it passes on",
                    _ => ", directly",
                };
                format!("{who} has been linked{since}{way}")
            }
            Reason::Blocked => format!("you have blocked {who}; UNBLOCK {who} undoes that"),
            Reason::Superseded => format!("this client stays offline: {detail}"),
            Reason::KeyChanged => {
                format!("discovery names another key for {who}; nothing is sent until you TRUST it")
            }
            Reason::UnknownKey if self.discovery.state == UpDown::Down => {
                format!("{who} was never reached, and discovery is not reachable: {detail}")
            }
            Reason::UnknownKey => format!("discovery has not told the key of {who} yet"),
            Reason::Stranger => {
                format!("{who} is a stranger, and this client dials only contacts; ACCEPT {who} answers")
            }
            Reason::NotAnswered => format!("{who} has not answered your request"),
            Reason::Dropped => {
                format!("{who} has ended the contact, or did not answer in 30 days; REQUEST {who} asks again")
            }
            Reason::DiskFull => format!("{who}'s disk is nearly full, and takes nothing more"),
            Reason::NotAccepted => format!("{who}'s client answers, but does not accept a link from you"),
            Reason::Offline => format!("discovery says {who} is offline{last_seen}"),
            Reason::NoAddress => format!("no address of {who} is known{last_seen}"),
            Reason::Dialling => format!("this client is dialling {who}"),
            Reason::DiscoveryDown => {
                format!("discovery is not reachable ({detail}), and {}", self.silence())
            }
            Reason::NoAnswer => format!("{}, but discovery says {who} is online", self.silence()),
        }
    }

    /// Which of the current addresses do not answer.
    fn silence(&self) -> String {
        let failed = |place: &AddressLine| {
            place.problem.as_ref().map(|problem| format!("{}: {}", place.address, printable(problem)))
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
