//! What only this client has: `OUTBOX`, the counts and the exit status say the same of it.

use super::*;
use crate::client::event::Problem;

impl Net {
    /// What `OUTBOX` names, with how many there are.
    fn outbox(&mut self, who: usize) -> (u64, Vec<String>) {
        self.answer(who, "OUTBOX", |notice| match notice {
            Notice::Outbox { waiting, messages } => {
                Some((*waiting, messages.iter().map(|line| line.text.shown().into_owned()).collect()))
            }
            _ => None,
        })
    }

    /// With what the program ends that says this, and nothing more; and how much waits then.
    fn piped(&mut self, who: usize, line: &str) -> (Option<u8>, Option<u64>) {
        let missed = Input::RendezvousFailed(support::missed(Problem::Closed));
        self.step(who, &[missed, typed(line), Input::InputEnded]);
        self.deliver();
        self.later(11_000);
        let bye = self.clients[who].notices.iter().rev().find_map(|notice| match notice {
            Notice::Bye { waiting } => Some(*waiting),
            _ => None,
        });
        (self.clients[who].exit.as_ref().map(|(status, _)| *status), bye)
    }

    fn sends(&mut self, who: usize) -> Option<u8> {
        self.step(who, &[Input::Send { to: "#lab".parse().unwrap(), text: "sent".into() }]);
        self.deliver();
        self.later(11_000);
        self.clients[who].exit.as_ref().map(|(status, _)| *status)
    }

    fn is_alone(&self, who: usize) -> Option<bool> {
        self.clients[who].notices.iter().rev().find_map(|notice| match notice {
            Notice::Queued { alone, .. } => Some(*alone),
            _ => None,
        })
    }
}

/// Alice has a room and has said something in it, and then invites bob.
fn invited(line: &str) -> Net {
    let mut net = Net::new(3);
    net.types(ALICE, "ROOM #lab");
    net.types(ALICE, "CHAT #lab before");
    net.later(3_000);
    net.types(ALICE, line);
    net
}

#[test]
fn what_is_said_before_one_who_is_invited_has_joined_waits() {
    for (line, before) in [("INVITE #lab bob", 0), ("INVITE #lab bob all", 1)] {
        let mut net = invited(line);
        net.types(ALICE, "CHAT #lab hello");
        net.later(3_000);
        assert_eq!(net.is_alone(ALICE), Some(false));
        assert_eq!(net.spread(ALICE), None, "no other member has it");
        let expected = ["before", "hello"].map(str::to_owned)[1 - before..].to_vec();
        let waiting = expected.len() as u64;
        // After a restart as well, when all of it is final.
        for _ in 0..2 {
            assert_eq!(net.outbox(ALICE), (waiting, expected.clone()), "{line}");
            assert_eq!(net.room(ALICE).waiting, waiting);
            net.restart(ALICE);
        }
        assert_eq!(net.piped(ALICE, "ROOMS"), (Some(STILL_WAITING), Some(waiting)), "{line}");
        net.restart(ALICE);
        assert_eq!(net.sends(ALICE), Some(STILL_WAITING));
        net.restart(ALICE);
        net.link(ALICE, BOB);
        net.later(3_000);
        assert_eq!(net.outbox(ALICE).0, waiting + 1);
        // That bob has joined is not yet that bob has it.
        net.step(BOB, &[typed("JOIN #lab")]);
        while let Some((link, to, said)) = net.pipes.pop_front().filter(|_| net.room(ALICE).members < 2) {
            net.step(to, &[Input::LinkSays(link, said)]);
        }
        assert_eq!((net.room(ALICE).members, net.room(ALICE).waiting), (2, waiting + 1), "{line}");
        net.cut(ALICE, BOB);
        net.later(3_000);
        assert_eq!(net.outbox(ALICE).0, waiting + 1, "{line}");
        net.link(ALICE, BOB);
        net.later(3_000);
        assert_eq!(net.order(BOB).len() as u64, waiting + 1, "{line}");
        assert_eq!((net.outbox(ALICE).0, net.spread(ALICE)), (0, Some((2, 2, true))), "{line}");
    }
}

#[test]
fn a_program_without_input_ends_well_once_one_who_was_invited_has_it() {
    let mut net = invited("INVITE #lab bob");
    net.link(ALICE, BOB);
    let missed = Input::RendezvousFailed(support::missed(Problem::Closed));
    net.step(ALICE, &[missed, typed("CHAT #lab hello"), Input::InputEnded]);
    net.deliver();
    net.later(3_000);
    assert_eq!(net.clients[ALICE].exit, None);
    net.types(BOB, "JOIN #lab");
    net.later(3_000);
    assert_eq!((net.shown(BOB), net.clients[ALICE].exit.clone()), (vec!["hello"], Some((0, None))));
}

#[test]
fn where_no_other_one_is_in_or_invited_nothing_waits() {
    for declined in [false, true] {
        let mut net = Net::new(2);
        net.types(ALICE, "ROOM #lab");
        if declined {
            net.types(ALICE, "INVITE #lab bob");
            net.link(ALICE, BOB);
            net.types(BOB, "LEAVE #lab");
            net.later(3_000);
        }
        net.types(ALICE, "CHAT #lab hello");
        net.later(3_000);
        assert_eq!((net.is_alone(ALICE), net.spread(ALICE)), (Some(true), None));
        assert_eq!((net.outbox(ALICE), net.room(ALICE).waiting), ((0, vec![]), 0));
        assert_eq!(net.piped(ALICE, "CHAT #lab again"), (Some(0), Some(0)));
        net.restart(ALICE);
        assert_eq!(net.sends(ALICE), Some(0));
    }
}

#[test]
fn what_was_said_alone_is_told_of_once_one_who_was_invited_later_has_it() {
    let mut net = invited("INVITE #lab bob all");
    net.link(ALICE, BOB);
    net.types(BOB, "JOIN #lab");
    net.later(3_000);
    assert_eq!((net.order(BOB), net.spread(ALICE)), (vec!["before".to_owned()], Some((2, 2, true))));
}

#[test]
fn what_waits_for_one_who_declines_or_is_removed_waits_for_no_one() {
    for (who, line) in [(BOB, "LEAVE #lab"), (ALICE, "KICK #lab bob")] {
        let mut net = invited("INVITE #lab bob");
        net.types(ALICE, "CHAT #lab hello");
        net.link(ALICE, BOB);
        net.later(3_000);
        assert_eq!((net.outbox(ALICE).0, net.spread(ALICE)), (1, None), "{line}");
        net.types(who, line);
        net.later(3_000);
        let of = |spread: Option<(u64, u64, bool)>| spread.map(|(have, of, _)| (have, of));
        assert_eq!(of(net.spread(ALICE)), Some((1, 1)), "{line}");
        assert_eq!((net.outbox(ALICE), net.room(ALICE).waiting), ((0, vec![]), 0), "{line}");
        let said = net.history(ALICE).last().map(|it| (it.text.shown().into_owned(), it.have, it.of));
        assert_eq!(said, Some(("hello".into(), 1, 1)), "{line}");
        // That is told once.
        net.forget();
        net.restart(ALICE);
        net.later(3_000);
        assert_eq!(net.spread(ALICE), None, "{line}");
        // And is as any other for who is invited later.
        net.types(ALICE, "INVITE #lab carol all");
        net.link(ALICE, CAROL);
        net.types(CAROL, "JOIN #lab");
        net.later(3_000);
        assert_eq!((net.order(CAROL).len(), net.spread(ALICE)), (2, Some((2, 2, true))), "{line}");
    }
}

#[test]
fn a_program_ends_well_once_what_it_sent_waits_for_no_one() {
    for another in [false, true] {
        let mut net = invited("INVITE #lab bob");
        net.link(ALICE, BOB);
        net.step(ALICE, &[Input::Send { to: "#lab".parse().unwrap(), text: "sent".into() }]);
        net.deliver();
        if another {
            // Who does not get it.
            net.types(ALICE, "INVITE #lab carol");
        }
        net.later(3_000);
        assert_eq!(net.clients[ALICE].exit, None);
        net.types(BOB, "LEAVE #lab");
        assert_eq!(net.clients[ALICE].exit, Some((0, None)), "{another}");
    }
}

#[test]
fn what_another_member_had_before_it_left_has_never_waited() {
    let mut net = Net::in_room(2);
    net.types(ALICE, "CHAT #lab hello");
    net.later(3_000);
    assert_eq!(net.spread(ALICE), Some((2, 2, true)));
    net.forget();
    net.types(BOB, "LEAVE #lab");
    net.later(3_000);
    assert_eq!((net.room(ALICE).members, net.spread(ALICE)), (1, None));
}

#[test]
fn what_one_member_does_not_get_and_another_has_not_waits() {
    let mut net = Net::new(3);
    net.types(ALICE, "ROOM #lab");
    net.link(ALICE, BOB);
    net.types(ALICE, "INVITE #lab bob");
    net.types(BOB, "JOIN #lab");
    net.types(ALICE, "CHAT #lab bob has it");
    net.later(3_000);
    net.cut(ALICE, BOB);
    net.types(ALICE, "CHAT #lab for bob alone");
    net.link(ALICE, CAROL);
    net.types(ALICE, "INVITE #lab carol");
    net.types(CAROL, "JOIN #lab");
    net.types(ALICE, "CHAT #lab for both");
    net.later(3_000);
    assert_eq!(net.shown(CAROL), ["for both"]);
    assert_eq!(net.outbox(ALICE), (1, vec!["for bob alone".to_owned()]));
}
