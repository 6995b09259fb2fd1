//! What is known about a contact, and the one thing that explains why they can't be reached.

use super::super::notice::{
    AddressLine, Body, ContactLine, DiscoveryLine, Goodbye, HistoryLine, OnOff, Reason, Why,
};
use super::conversations::Conversations;
use super::delivery::Delivery;
use super::dialer::{Dialer, Outlook};
use super::links::Links;
use super::rendezvous::Rendezvous;
use super::roster::{Person, Roster};
use crate::protocol::Name;
use crate::protocol::peer::ByeReason;
use crate::store::journal::{ContactId, Entry, Request};
use crate::time::Now;

/// All that the machines know, to be read.
pub struct View<'n> {
    pub roster: &'n Roster,
    pub rendezvous: &'n Rendezvous,
    pub dialer: &'n Dialer,
    pub links: &'n Links,
    pub delivery: &'n Delivery,
    pub conversations: &'n Conversations,
}

impl View<'_> {
    /// A contact in a list.
    pub fn contact(&self, id: ContactId) -> Option<ContactLine> {
        let Person { name, identity, .. } = self.roster.get(id)?;
        let outlook = self.dialer.outlook(id)?;
        let linked_since = self.links.since(id);
        let presence = self.dialer.presence(id);
        let is_there = linked_since.is_some() || presence == Some(true);
        Some(ContactLine {
            peer: name.clone(),
            fingerprint: identity.key,
            offered: identity.offered,
            verified: self.roster.get(id).is_some_and(Person::is_verified),
            linked: linked_since.is_some(),
            linked_since,
            presence: presence.map(Into::into),
            presence_since: self.dialer.presence_since(id),
            last_seen: outlook.whereabouts.seen.filter(|_| !is_there),
            requested: identity.request != Request::None,
            blocked: identity.blocked,
            waiting: self.delivery.waiting(id),
            unread: self.conversations.unread(id),
            address: outlook.addresses.first().copied(),
        })
    }

    /// Why a contact can't be reached, and what has been tried.
    pub fn why(&self, now: Now, id: ContactId) -> Option<Why> {
        let person = self.roster.get(id)?;
        let outlook = self.dialer.outlook(id)?;
        let idle = self.links.of(id).is_some()
            || person.identity.blocked
            || person.identity.key.is_none()
            || outlook.addresses.is_empty()
            || self.rendezvous.is_out();
        let on_the_wall = |at: crate::time::Instant| {
            let wait = i64::try_from(at.since(now.mono).as_millis()).unwrap_or(i64::MAX);
            now.wall.saturating_add(wait)
        };
        Some(Why {
            reason: self.reason(id, person, &outlook),
            contact: self.contact(id)?,
            discovery: DiscoveryLine {
                state: self.rendezvous.state(),
                detail: self.rendezvous.detail().unwrap_or("not yet reached").to_owned(),
                since: self.rendezvous.since(),
            },
            addresses: places(&outlook),
            dialling: outlook.underway,
            next_dial: outlook.next.filter(|_| !idle).map(on_the_wall),
            goodbye: outlook.goodbye.map(|(at, reason)| Goodbye { at, reason: in_words(reason) }),
        })
    }

    fn reason(&self, id: ContactId, person: &Person, outlook: &Outlook<'_>) -> Reason {
        let identity = &person.identity;
        let failed = outlook
            .attempts
            .iter()
            .any(|attempt| attempt.problem.is_some() && outlook.addresses.contains(&attempt.address));
        // A word of theirs holds until an attempt fails.
        let unwanted = outlook.goodbye.is_some_and(|(at, reason)| {
            reason == ByeReason::NOT_ACCEPTED
                && !outlook.attempts.iter().any(|attempt| attempt.problem.is_some() && attempt.at > at)
        });
        if self.links.of(id).is_some() {
            Reason::Linked
        } else if identity.blocked {
            Reason::Blocked
        } else if self.rendezvous.is_out() {
            Reason::Superseded
        } else if identity.offered.is_some() {
            Reason::KeyChanged
        } else if identity.key.is_none() {
            Reason::UnknownKey
        } else if self.dialer.presence(id) == Some(false) {
            Reason::Offline
        } else if unwanted {
            Reason::NotAccepted
        } else if outlook.addresses.is_empty() {
            Reason::NoAddress
        } else if !failed {
            Reason::Dialling
        } else if self.rendezvous.is_up() {
            Reason::NoAnswer
        } else {
            Reason::DiscoveryDown
        }
    }

    /// The same for one message, in a few words.
    pub fn why_not_delivered(&self, id: ContactId) -> String {
        let Some(Person { name, identity, .. }) = self.roster.get(id) else {
            return "there is no such contact".into();
        };
        if identity.offered.is_some() {
            format!("the key of {name} has changed: see TRUST")
        } else if self.links.of(id).is_some() {
            format!("{name} is linked, and has not confirmed it")
        } else if let Some(online) = self.dialer.presence(id) {
            format!("discovery says {name} is {}", OnOff::from(online).word())
        } else if let Some(problem) = self.rendezvous.problem() {
            format!("discovery: {problem}")
        } else {
            format!("{name} could not be reached")
        }
    }

    /// An entry of the conversation with a contact; `own` is this account's name.
    pub fn history_line(&self, own: &Name, id: ContactId, entry: Entry) -> Option<HistoryLine> {
        let delivered = match &entry {
            Entry::Sent(sent) => sent.seq <= self.delivery.delivered(id),
            Entry::Received(_) => true,
        };
        let (from, message, received) = match entry {
            Entry::Sent(sent) => (own, sent.message, None),
            Entry::Received(received) => (self.roster.name(id)?, received.message, Some(received.arrived)),
        };
        Some(HistoryLine {
            id: message.cursor(),
            from: from.clone(),
            text: Body::new(message.kind, &message.body),
            sent: message.sent,
            received,
            delivered,
        })
    }
}

fn in_words(reason: ByeReason) -> &'static str {
    match reason {
        ByeReason::LOGOUT => "its user left",
        ByeReason::SUPERSEDED => "a newer client of this account has connected",
        ByeReason::NOT_ACCEPTED => "it takes no link from this account",
        ByeReason::TRY_LATER => "it can't find out at the moment who this is",
        _ => "for a reason that this version does not know",
    }
}

/// Where a contact may be, those first that would be tried first.
fn places(outlook: &Outlook<'_>) -> Vec<AddressLine> {
    let mut addresses = outlook.addresses.clone();
    let earlier = outlook.attempts.iter().map(|attempt| attempt.address);
    addresses.extend(earlier.filter(|address| !outlook.addresses.contains(address)));
    let line = |address| {
        let attempt = outlook.attempts.iter().find(|attempt| attempt.address == address);
        AddressLine {
            address,
            worked: outlook.whereabouts.reached == Some(address),
            told: outlook.whereabouts.told == Some(address),
            tried: attempt.map(|attempt| attempt.at),
            problem: attempt.and_then(|attempt| attempt.problem.clone()),
        }
    };
    addresses.into_iter().map(line).collect()
}
