//! What is known about reaching somebody, and the one thing that explains it.

use std::net::SocketAddr;

use super::super::notice::{AddressLine, DiscoveryLine, Goodbye, Notice, Reason, Why};
use super::contacts::Contact;
use super::{LAZY_SAVE, Node};
use crate::protocol::peer::ByeReason;
use crate::store::journal::ContactId;
use crate::time::Now;

/// How many addresses are remembered at which a contact was looked for.
const MAX_ATTEMPTS: usize = 4;

/// What came of looking for somebody at an address.
#[derive(Debug)]
pub struct Attempt {
    address: SocketAddr,
    /// By the clock on the wall.
    at: i64,
    pub problem: Option<String>,
}

impl Node {
    pub(super) fn why(&mut self, now: Now, id: ContactId) {
        let Some(contact) = self.contacts.get(&id) else {
            return;
        };
        let dial = &contact.dial;
        let idle = contact.link.is_some()
            || contact.row.blocked
            || contact.row.key.is_none()
            || contact.addresses().is_empty()
            || self.rendezvous.is_out();
        let next_dial = dial
            .next
            .filter(|_| !idle)
            .map(|next| now.wall.saturating_add_unsigned(next.saturating_sub(now.mono)));
        let why = Why {
            reason: self.reason(contact),
            contact: contact.line(),
            discovery: DiscoveryLine {
                state: self.rendezvous.state(),
                detail: self.rendezvous.detail().unwrap_or("not yet reached").to_owned(),
                since: self.rendezvous.since(),
            },
            addresses: places(contact),
            dialling: dial.underway,
            next_dial,
            goodbye: dial.goodbye.clone(),
        };
        self.tell(now, Notice::Why(Box::new(why)));
    }

    fn reason(&self, contact: &Contact) -> Reason {
        let row = &contact.row;
        let failed =
            contact.dial.attempts.iter().any(|it| it.problem.is_some() && contact.may_be_at(it.address));
        // A word of theirs holds until somebody is tried in vain.
        let unwanted = contact.dial.goodbye.as_ref().is_some_and(|goodbye| {
            goodbye.reason == NOT_ACCEPTED
                && !contact.dial.attempts.iter().any(|it| it.problem.is_some() && it.at > goodbye.at)
        });
        if contact.link.is_some() {
            Reason::Linked
        } else if row.blocked {
            Reason::Blocked
        } else if self.rendezvous.is_out() {
            Reason::Superseded
        } else if row.offered.is_some() {
            Reason::KeyChanged
        } else if row.key.is_none() {
            Reason::UnknownKey
        } else if contact.presence == Some(false) {
            Reason::Offline
        } else if unwanted {
            Reason::NotAccepted
        } else if contact.addresses().is_empty() {
            Reason::NoAddress
        } else if !failed {
            Reason::Dialling
        } else if self.rendezvous.is_up() {
            Reason::NoAnswer
        } else {
            Reason::DiscoveryDown
        }
    }

    /// What came of an attempt to reach a contact at an address.
    pub(super) fn note_attempt(
        &mut self,
        now: Now,
        id: ContactId,
        address: SocketAddr,
        problem: Option<String>,
    ) {
        if let Some(contact) = self.contacts.get_mut(&id) {
            let attempts = &mut contact.dial.attempts;
            attempts.retain(|attempt| attempt.address != address);
            if attempts.len() >= MAX_ATTEMPTS {
                attempts.remove(0);
            }
            attempts.push(Attempt { address, at: now.wall, problem });
        }
    }

    /// A contact's client says goodbye.
    pub(super) fn note_goodbye(&mut self, now: Now, id: ContactId, reason: ByeReason) {
        if let Some(contact) = self.contacts.get_mut(&id) {
            let reason = match reason {
                ByeReason::LOGOUT => "its user left",
                ByeReason::SUPERSEDED => "a newer client of this account has connected",
                ByeReason::NOT_ACCEPTED => NOT_ACCEPTED,
                ByeReason::TRY_LATER => "it can't find out at the moment who this is",
                _ => "for a reason that this version does not know",
            };
            contact.dial.goodbye = Some(Goodbye { at: now.wall, reason });
        }
    }

    /// A contact is known to have been there until then.
    pub(super) fn note_seen(&mut self, now: Now, id: ContactId, at: i64) {
        if let Some(contact) = self.contacts.get_mut(&id) {
            contact.row.seen = Some(at);
            contact.dirty_later = true;
            self.save_at.get_or_insert(now.mono + LAZY_SAVE);
        }
    }
}

const NOT_ACCEPTED: &str = "it takes no link from this account";

/// Where a contact may be, those first that would be tried first.
fn places(contact: &Contact) -> Vec<AddressLine> {
    let attempts = &contact.dial.attempts;
    let mut addresses = contact.addresses();
    addresses.extend(attempts.iter().map(|it| it.address).filter(|it| !contact.may_be_at(*it)));
    addresses
        .into_iter()
        .map(|address| {
            let attempt = attempts.iter().find(|attempt| attempt.address == address);
            AddressLine {
                address,
                worked: contact.row.reached == Some(address),
                told: contact.row.told == Some(address),
                tried: attempt.map(|attempt| attempt.at),
                problem: attempt.and_then(|attempt| attempt.problem.clone()),
            }
        })
        .collect()
}
