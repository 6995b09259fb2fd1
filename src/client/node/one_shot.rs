//! One text to one user, and then the end: what a script starts the program for that sends something.

use super::exit::{FAILED, STILL_WAITING, Status};
use crate::protocol::Name;
use crate::store::journal::{ContactId, Seq};

/// See the module.
#[derive(Debug, Clone)]
pub struct OneShot {
    to: Name,
    /// Where the text stands, once it is taken.
    place: Option<(ContactId, Seq)>,
    /// Whether the recipient became a contact with it.
    added: bool,
    /// Why it was refused or given back.
    refusal: Option<String>,
}

impl OneShot {
    pub fn new(to: Name, added: bool) -> Self {
        Self { to, place: None, added, refusal: None }
    }

    pub fn to(&self) -> &Name {
        &self.to
    }

    /// The text stands there.
    pub fn taken(&mut self, contact: ContactId, seq: Seq) {
        self.place = Some((contact, seq));
    }

    /// Something about `peer` was refused.
    pub fn note_refused(&mut self, peer: Option<&Name>, why: &str) {
        if peer == Some(&self.to) {
            self.refusal = Some(why.to_owned());
        }
    }

    /// The text is not sent, for this reason. Returns the contact to be removed with it, if they became one only for it.
    pub fn take_back(&mut self, why: &str) -> Option<ContactId> {
        let (contact, _) = self.place.filter(|_| self.added)?;
        self.refusal = Some(why.to_owned());
        Some(contact)
    }

    /// How it stands, as an exit status; `None` while it is under way. `delivered` says up to where a contact has our
    /// messages, `None` if there is no such contact any more. With `over` there is no more time.
    pub fn status(
        &self,
        over: bool,
        delivered: impl FnOnce(ContactId) -> Option<Seq>,
        why_not: impl FnOnce(ContactId) -> String,
    ) -> Option<Status> {
        let failed = || Some((FAILED, self.refusal.clone()));
        let Some((contact, seq)) = self.place else {
            return failed();
        };
        match delivered(contact) {
            None => failed(),
            Some(delivered) if delivered >= seq && self.refusal.is_none() => Some((0, None)),
            Some(_) if over => {
                let (to, why) = (&self.to, why_not(contact));
                let why =
                    format!("{to} doesn't have it yet ({why}); it is kept and goes out at a later start");
                Some((STILL_WAITING, Some(why)))
            }
            Some(_) => None,
        }
    }
}
