//! One text, sent through the client that runs: what to say to it, and when the text has arrived.

use crate::client::addressee::Addressee;
use crate::client::command::{Command, Reference};
use crate::client::node::{FAILED, STILL_WAITING};
use crate::client::notice::{Code, ErrorNotice, MemberLine, MemberState, Notice, Told};
use crate::client::one_shot::OneShot;
use crate::protocol::Name;
use crate::protocol::peer::Cursor;

/// See the module. It gets what is told, and says what is to be said next.
#[derive(Debug)]
pub struct Errand {
    own: Name,
    one: OneShot,
    /// What the text is called once it is safe.
    id: Option<Cursor>,
    /// The recipient was no contact, and is asked for.
    requested: bool,
    status: Option<(u8, Option<String>)>,
}

/// What the answers are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    Text = 1,
    Request,
    Members,
    Why,
}

impl About {
    fn reference(self) -> Reference {
        Reference::Number(self as i64)
    }

    fn of(told: &Told) -> Option<Self> {
        let all = [Self::Text, Self::Request, Self::Members, Self::Why];
        let reference = told.reference.as_ref()?;
        all.into_iter().find(|about| about.reference() == *reference)
    }
}

type Said = (Command, Reference);

impl Errand {
    /// `own` is the user's name. Also returns what is said first.
    pub fn new(own: Name, one: OneShot) -> (Self, Said) {
        let it = Self { own, one, id: None, requested: false, status: None };
        let first = it.text();
        (it, first)
    }

    /// What the errand ends with, once it has.
    pub fn status(&self) -> Option<(u8, Option<String>)> {
        self.status.clone()
    }

    fn text(&self) -> Said {
        (Command::Chat(self.one.to.clone(), self.one.text.clone()), About::Text.reference())
    }

    /// Something was told. Returns what is to be said.
    pub fn heard(&mut self, told: &Told) -> Vec<Said> {
        let about = About::of(told);
        match &told.notice {
            Notice::Queued { id, alone, .. } if about == Some(About::Text) => {
                self.id = Some(*id);
                // In a room without others it waits for no one.
                self.status = alone.then_some((0, None));
            }
            Notice::Error(error) => return self.refused(about, error),
            Notice::Delivered { id, .. } | Notice::Spread { id, of: 1, .. } if self.id == Some(*id) => {
                self.status = Some((0, None));
            }
            Notice::Spread { id, to, have: 2.., .. } if self.id == Some(*id) => {
                return vec![(Command::Members(to.clone()), About::Members.reference())];
            }
            Notice::Members { members, .. } if about == Some(About::Members) => self.look_at(members),
            Notice::Why(why) if about == Some(About::Why) => self.waits(why.reason.word()),
            Notice::RoomWhy(why) if about == Some(About::Why) => self.waits(why.reason.word()),
            Notice::Bye { .. } if self.status.is_none() => self.waits("your client ends"),
            _ => {}
        }
        Vec::new()
    }

    fn refused(&mut self, about: Option<About>, error: &ErrorNotice) -> Vec<Said> {
        let to = self.one.to.user();
        match about {
            Some(About::Text) if error.code == Code::NotAContact && !self.requested => {
                if let Some(name) = to.filter(|name| **name != self.own) {
                    self.requested = true;
                    let request = (Command::Request(name.clone()), About::Request.reference());
                    return vec![request, self.text()];
                }
                self.failed(error);
            }
            Some(About::Text | About::Request) => self.failed(error),
            Some(About::Why) => self.waits("it is not known why"),
            _ => {
                let withdrawn = error.code == Code::NoSuchUser && error.peer.as_ref() == to && self.requested;
                if withdrawn || (error.id.is_some() && error.id == self.id) {
                    self.failed(error);
                }
            }
        }
        Vec::new()
    }

    /// A text in a room has arrived once every other member that is linked has it.
    fn look_at(&mut self, members: &[MemberLine]) {
        let linked = |member: &&MemberLine| {
            member.linked && member.state == MemberState::Joined && member.user != self.own
        };
        if members.iter().filter(linked).all(|member| member.behind == 0) {
            self.status = Some((0, None));
        }
    }

    /// There is no more time. Returns what is to be asked, to be able to say why.
    pub fn over(&mut self) -> Option<Said> {
        if self.id.is_none() {
            self.waits("your client has not taken it in time");
            return None;
        }
        Some((Command::Why(self.one.to.clone()), About::Why.reference()))
    }

    fn failed(&mut self, error: &ErrorNotice) {
        self.status.get_or_insert((FAILED, Some(error.message.clone())));
    }

    /// It has not arrived.
    pub fn waits(&mut self, why: &str) {
        let to: &Addressee = &self.one.to;
        let kept = if self.id.is_some() {
            "it is kept and goes out as soon as it can"
        } else {
            "it may not be kept"
        };
        let why = format!("{to} doesn't have it yet ({why}); {kept}");
        self.status.get_or_insert((STILL_WAITING, Some(why)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::notice::tests::{name, queued, room};
    use crate::protocol::PublicKey;

    const ID: Cursor = Cursor { epoch: 1, number: 1 };

    fn errand(to: &str) -> Errand {
        Errand::new(name("alice"), OneShot { to: to.parse().unwrap(), text: "hi".into() }).0
    }

    fn answer(about: About, notice: Notice) -> Told {
        Told { reference: Some(about.reference()), ..Told::from(notice) }
    }

    fn error(code: Code, id: Option<Cursor>) -> Notice {
        let peer = Some(name("bob"));
        Notice::Error(ErrorNotice { peer, id, ..ErrorNotice::new(code, "no".into()) })
    }

    fn status(it: &Errand) -> Option<u8> {
        it.status().map(|(status, _)| status)
    }

    #[test]
    fn a_text_to_a_user_has_arrived_once_it_is_delivered() {
        let mut it = errand("bob");
        assert!(it.heard(&answer(About::Text, queued(1, true))).is_empty());
        for (number, expected) in [(2, None), (1, Some(0))] {
            it.heard(&Notice::Delivered { id: Cursor { epoch: 1, number }, to: name("bob") }.into());
            assert_eq!(status(&it), expected);
        }
    }

    #[test]
    fn who_is_no_contact_is_asked_for_once() {
        let mut it = errand("bob");
        let said = it.heard(&answer(About::Text, error(Code::NotAContact, None)));
        let words: Vec<_> = said.iter().map(|(command, _)| command.to_string()).collect();
        assert_eq!(words, ["REQUEST bob", "CHAT bob"]);
        it.heard(&answer(About::Text, queued(1, false)));
        it.heard(&error(Code::NoSuchUser, None).into());
        assert_eq!(status(&it), Some(FAILED));
        for (to, code) in [("alice", Code::NotAContact), ("bob", Code::TooLong), ("#lab", Code::NoSuchRoom)] {
            let mut it = errand(to);
            assert!(it.heard(&answer(About::Text, error(code, None))).is_empty());
            assert_eq!(status(&it), Some(FAILED), "{to}");
        }
        // Of another text, or another user.
        let mut it = errand("bob");
        it.heard(&answer(About::Text, queued(1, false)));
        it.heard(&error(Code::Undeliverable, Some(Cursor { epoch: 1, number: 2 })).into());
        it.heard(&error(Code::NoSuchUser, None).into());
        assert_eq!(status(&it), None);
        it.heard(&error(Code::Undeliverable, Some(ID)).into());
        assert_eq!(status(&it), Some(FAILED));
    }

    #[test]
    fn a_text_in_a_room_has_arrived_once_all_that_are_linked_have_it() {
        let member = |user: &str, linked, behind| MemberLine {
            user: name(user),
            fingerprint: PublicKey([7; 32]),
            owner: false,
            state: MemberState::Joined,
            linked,
            presence: None,
            behind,
            holds_final: false,
            unknown: false,
        };
        let mut it = errand("#lab");
        it.heard(&answer(About::Text, queued(1, true)));
        let spread = |have| Notice::Spread { id: ID, to: room("#lab"), have, of: 4, is_final: false };
        assert!(it.heard(&spread(1).into()).is_empty());
        for (behind, expected) in [(1, None), (0, Some(0))] {
            assert_eq!(it.heard(&spread(2).into()).len(), 1);
            let members =
                vec![member("alice", true, 9), member("bob", true, behind), member("carol", false, 3)];
            let room_id = crate::protocol::room::RoomKey([7; 32]);
            it.heard(&answer(About::Members, Notice::Members { room: room("#lab"), room_id, members }));
            assert_eq!(status(&it), expected);
        }
    }

    #[test]
    fn a_text_in_a_room_without_others_waits_for_no_one() {
        let mut it = errand("#lab");
        let Notice::Queued { id, text, sent, .. } = queued(1, false) else { panic!() };
        let to = room("#lab").into();
        it.heard(&answer(About::Text, Notice::Queued { id, to, linked: false, text, sent, alone: true }));
        assert_eq!(status(&it), Some(0));
        // Or not any more.
        let mut it = errand("#lab");
        it.heard(&answer(About::Text, queued(1, false)));
        let spread = |of| Notice::Spread { id: ID, to: room("#lab"), have: 1, of, is_final: false };
        for (of, expected) in [(2, None), (1, Some(0))] {
            it.heard(&spread(of).into());
            assert_eq!(status(&it), expected);
        }
    }

    #[test]
    fn what_has_not_arrived_in_time_waits_and_says_why() {
        let mut it = errand("bob");
        assert!(it.over().is_none() && status(&it) == Some(STILL_WAITING));
        let mut it = errand("bob");
        it.heard(&answer(About::Text, queued(1, true)));
        assert!(it.over().is_some() && status(&it).is_none());
        it.waits("offline");
        let (status, why) = it.status().unwrap();
        assert!(
            status == STILL_WAITING && why.unwrap().contains("bob doesn't have it yet (offline); it is kept")
        );
    }
}
