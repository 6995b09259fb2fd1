//! What has become of what was said in a box, to be told by its exit status.

use std::collections::BTreeSet;

use crate::client::node::{FAILED, STILL_WAITING};
use crate::client::notice::{Code, ErrorNotice, Notice, Told};

/// See the module.
#[derive(Debug, Default)]
pub struct Account {
    /// The messages that were said here and are not delivered.
    waiting: BTreeSet<(u64, u64)>,
    refused: u64,
    /// There are no more commands, and all have been answered.
    answered: bool,
}

impl Account {
    /// Something was told.
    pub fn heard(&mut self, told: &Told) {
        match &told.notice {
            // What waits for no one does not wait.
            Notice::Queued { alone: true, .. } => {}
            Notice::Queued { id, .. } => _ = self.waiting.insert((id.epoch, id.number)),
            Notice::Delivered { id, .. }
            | Notice::Spread { id, have: 2.., .. }
            | Notice::Spread { id, of: 1, .. } => {
                self.waiting.remove(&(id.epoch, id.number));
            }
            Notice::Error(ErrorNotice { code, id, .. }) => {
                let given_back = id.is_some_and(|id| self.waiting.remove(&(id.epoch, id.number)));
                if given_back || told.reference.is_some() || is_answer(*code) {
                    self.note_refused();
                }
            }
            _ => {}
        }
    }

    pub fn note_refused(&mut self) {
        self.refused += 1;
    }

    /// The last command has been answered.
    pub fn all_answered(&mut self) {
        self.answered = true;
    }

    /// What the box ends with once nothing more is to be said; `None` while it is worth staying. With `over` there is no
    /// more time.
    pub fn status(&self, over: bool) -> Option<(u8, Option<String>)> {
        let done = self.answered && self.waiting.is_empty();
        (done || over).then(|| match (done, self.refused) {
            (false, _) => (
                STILL_WAITING,
                Some("not everything is delivered; the rest is kept and goes out as soon as it can".into()),
            ),
            (true, 0) => (0, None),
            (true, refused) => (FAILED, Some(format!("{refused} not done, see the errors in the output"))),
        })
    }
}

/// Whether errors of this kind answer commands, rather than tell what happens.
fn is_answer(code: Code) -> bool {
    matches!(
        code,
        Code::BadCommand
            | Code::TooLong
            | Code::NotSaved
            | Code::NotAContact
            | Code::Blocked
            | Code::NothingToTrust
            | Code::WrongCode
            | Code::NothingLost
            | Code::NoSuchRoom
            | Code::NotAMember
            | Code::NotTheOwner
            | Code::NotYet
            | Code::RoomFrozen
            | Code::TooManyRooms
            | Code::TooManyMembers
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::notice::tests::{name, queued, room};
    use crate::protocol::peer::Cursor;

    fn error(code: Code, id: Option<Cursor>) -> Notice {
        Notice::Error(ErrorNotice { id, ..ErrorNotice::new(code, "no".into()) })
    }

    #[test]
    fn the_status_says_what_became_of_what_was_said() {
        let id = Cursor { epoch: 1, number: 1 };
        let delivered = || Notice::Delivered { id, to: name("bob") };
        let spread = |have, of| Notice::Spread { id, to: room("#lab"), have, of, is_final: false };
        let said = |alone| match queued(1, false) {
            Notice::Queued { id, to, linked, text, sent, .. } => {
                Notice::Queued { id, to, linked, text, sent, alone }
            }
            other => other,
        };
        for (heard, now, at_the_end) in [
            (vec![], Some(0), 0),
            (vec![queued(1, true)], None, STILL_WAITING),
            (vec![queued(1, true), delivered()], Some(0), 0),
            // Of a room in which no other member is, or is any more.
            (vec![said(true)], Some(0), 0),
            (vec![said(false)], None, STILL_WAITING),
            (vec![said(false), spread(1, 2)], None, STILL_WAITING),
            (vec![said(false), spread(1, 1)], Some(0), 0),
            (vec![said(false), spread(2, 3)], Some(0), 0),
            // Of another box.
            (vec![delivered()], Some(0), 0),
            (vec![error(Code::BadCommand, None)], Some(FAILED), FAILED),
            (vec![error(Code::Superseded, None)], Some(0), 0),
            (vec![queued(1, true), error(Code::Undeliverable, Some(id))], Some(FAILED), FAILED),
        ] {
            let mut it = Account::default();
            heard.into_iter().for_each(|notice| it.heard(&notice.into()));
            assert_eq!(it.status(false), None, "there may be more");
            it.all_answered();
            let status = |over| it.status(over).map(|(status, _)| status);
            assert_eq!((status(false), status(true)), (now, Some(at_the_end)));
        }
    }
}
