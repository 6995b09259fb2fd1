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

#[cfg(test)]
mod tests {
    use super::super::tests::support::name;
    use super::*;

    #[test]
    fn the_status_says_what_came_of_the_text() {
        // Whether it was taken, refused, and up to where it is delivered; then the status, and when there is no time.
        for (taken, refused, delivered, status, at_the_end) in [
            (false, false, None, Some(FAILED), Some(FAILED)),
            (true, false, Some(4), None, Some(STILL_WAITING)),
            (true, false, Some(5), Some(0), Some(0)),
            (true, true, Some(5), None, Some(STILL_WAITING)),
            (true, true, None, Some(FAILED), Some(FAILED)),
        ] {
            let mut it = OneShot::new(name("bob"), true);
            if taken {
                it.taken(1, 5);
            }
            it.note_refused(Some(&name("carol")), "not this one");
            it.note_refused(refused.then_some(it.to().clone()).as_ref(), "no such user");
            for (over, expected) in [(false, status), (true, at_the_end)] {
                let found = it.status(over, |_| delivered, |_| "offline".into());
                assert_eq!(found.as_ref().map(|(status, _)| *status), expected, "{taken} {refused} {over}");
                let why = found.and_then(|(_, why)| why).unwrap_or_default();
                let expected = if expected == Some(STILL_WAITING) { "offline" } else { "no such user" };
                assert!(why.is_empty() || why.contains(expected), "{why}");
            }
        }
    }

    #[test]
    fn a_text_is_taken_back_with_the_contact_who_is_there_only_for_it() {
        for (added, taken, back) in [(true, true, Some(1)), (false, true, None), (true, false, None)] {
            let mut it = OneShot::new(name("bob"), added);
            if taken {
                it.taken(1, 5);
            }
            assert_eq!(it.take_back("taken"), back);
            assert_eq!(it.status(false, |_| None, |_| String::new()).unwrap().1.is_some(), back.is_some());
        }
    }
}
