//! One text to one user or room, and then the end: what a script starts the program for that sends something.

use super::super::addressee::Addressee;
use super::exit::{FAILED, STILL_WAITING, Status};
use crate::protocol::peer::Cursor;
use crate::store::journal::{ContactId, RoomId, Seq};

/// See the module.
#[derive(Debug, Clone)]
pub struct OneShot {
    to: Addressee,
    /// Where the text stands, once it is taken.
    place: Option<Place>,
    /// Whether the recipient became a contact with it.
    added: bool,
    /// Why it was refused or given back.
    refusal: Option<String>,
}

/// Where a text stands that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Among what was written to a contact.
    With(ContactId, Seq),
    /// In a room, by its name for ever.
    In(RoomId, Cursor),
}

/// What has become of a text that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// There is no such contact or room any more.
    Gone,
    UnderWay,
    /// The contact has it; of a room: every member that is linked, and at least one.
    Arrived,
}

impl OneShot {
    pub fn new(to: Addressee, added: bool) -> Self {
        Self { to, place: None, added, refusal: None }
    }

    pub fn to(&self) -> &Addressee {
        &self.to
    }

    /// The text stands there.
    pub fn taken(&mut self, place: Place) {
        self.place = Some(place);
    }

    /// Something about `to` was refused.
    pub fn note_refused(&mut self, to: Option<&Addressee>, why: &str) {
        if to == Some(&self.to) {
            self.refusal = Some(why.to_owned());
        }
    }

    /// The text is not sent, for this reason. Returns the contact to be removed with it, if they became one only for it.
    pub fn take_back(&mut self, why: &str) -> Option<ContactId> {
        let Some(Place::With(contact, _)) = self.place.filter(|_| self.added) else {
            return None;
        };
        self.refusal = Some(why.to_owned());
        Some(contact)
    }

    /// How it stands, as an exit status; `None` while it is under way. With `over` there is no more time.
    pub fn status(
        &self,
        over: bool,
        progress: impl FnOnce(Place) -> Progress,
        why_not: impl FnOnce(Place) -> String,
    ) -> Option<Status> {
        let failed = || Some((FAILED, self.refusal.clone()));
        let Some(place) = self.place else {
            return failed();
        };
        match progress(place) {
            Progress::Gone => failed(),
            Progress::Arrived if self.refusal.is_none() => Some((0, None)),
            _ if over => {
                let (to, why) = (&self.to, why_not(place));
                let why =
                    format!("{to} doesn't have it yet ({why}); it is kept and goes out at a later start");
                Some((STILL_WAITING, Some(why)))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::support::name;
    use super::*;

    #[test]
    fn the_status_says_what_came_of_the_text() {
        // Whether it was taken, refused, and what has become of it; then the status, and when there is no time.
        for (taken, refused, progress, status, at_the_end) in [
            (false, false, Progress::Gone, Some(FAILED), Some(FAILED)),
            (true, false, Progress::UnderWay, None, Some(STILL_WAITING)),
            (true, false, Progress::Arrived, Some(0), Some(0)),
            (true, true, Progress::Arrived, None, Some(STILL_WAITING)),
            (true, true, Progress::Gone, Some(FAILED), Some(FAILED)),
        ] {
            let mut it = OneShot::new("#lab".parse().unwrap(), false);
            if taken {
                it.taken(Place::In(1, Cursor { epoch: 7, number: 5 }));
            }
            it.note_refused(Some(&name("lab").into()), "not this one");
            it.note_refused(refused.then_some(it.to().clone()).as_ref(), "no such user");
            for (over, expected) in [(false, status), (true, at_the_end)] {
                let found = it.status(over, |_| progress, |_| "offline".into());
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
            let mut it = OneShot::new(name("bob").into(), added);
            if taken {
                it.taken(Place::With(1, 5));
            }
            assert_eq!(it.take_back("taken"), back);
            let status = it.status(false, |_| Progress::Gone, |_| String::new());
            assert_eq!(status.unwrap().1.is_some(), back.is_some());
        }
    }
}
