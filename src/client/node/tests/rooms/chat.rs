//! What is said, and which members it reaches.

use super::*;
use crate::client::command::Beside;
use crate::client::notice::RoomReason;

#[test]
fn what_is_said_reaches_all_and_stands_in_one_order() {
    let mut net = Net::all_linked(3);
    net.types(ALICE, "CHAT #lab one");
    net.types(BOB, "CHAT #lab two");
    net.types(CAROL, "CHAT #lab three");
    assert_eq!(net.shown(ALICE), ["two", "three"]);
    assert_eq!((net.shown(BOB), net.shown(CAROL)), (vec!["one", "three"], vec!["one", "two"]));
    net.later(3_000);
    for who in [ALICE, BOB, CAROL] {
        assert_eq!(net.order(who), ["one", "two", "three"]);
        assert!(net.history(who).iter().all(|line| line.is_final && (line.have, line.of) == (3, 3)));
        assert_eq!(net.spread(who), Some((3, 3, true)));
        assert!(net.members(who).iter().all(|line| line.behind == 0 && !line.holds_final && line.linked));
        assert_eq!(net.why(who).reason, RoomReason::Linked);
    }
}

#[test]
fn a_room_is_read_page_by_page_in_the_one_order() {
    let mut net = Net::all_linked(3);
    for number in 0..7 {
        net.types(number % 3, &format!("CHAT #lab {number}"));
    }
    net.later(3_000);
    let order = net.order(ALICE);
    assert_eq!(order.len(), 7);
    net.types(BOB, "CHAT #lab unread");
    net.history(ALICE);
    net.types(CAROL, "CHAT #lab this, too");
    net.later(3_000);
    let order = [order, vec!["unread".into(), "this, too".into()]].concat();
    let (mut before, mut pages) = (i64::MAX, Vec::new());
    let unread = net.room(ALICE).unread;
    loop {
        let page = Command::Page { peer: "#lab".parse().unwrap(), count: 3, beside: Beside::Before(before) };
        net.step(ALICE, &[Input::typed(Ok(page))]);
        let notices = net.clients[ALICE].notices.iter().rev();
        let page = notices.filter_map(|notice| match notice {
            Notice::RoomHistory { messages, .. } => Some(messages.clone()),
            _ => None,
        });
        let page = page.into_iter().next().unwrap();
        let Some(first) = page.first() else {
            break;
        };
        before = first.seq;
        pages.insert(0, page.into_iter().map(|line| line.text.shown().into_owned()).collect::<Vec<_>>());
    }
    assert_eq!((pages.concat(), pages.len()), (order, 3));
    assert_eq!((net.room(ALICE).unread, unread), (1, 1), "nothing is read by that");
}

#[test]
fn what_is_unread_in_a_room_is_read_by_what_shows_all_of_it() {
    let mut net = Net::all_linked(3);
    (1..=3).for_each(|number| net.types(BOB, &format!("CHAT #lab {number}")));
    assert_eq!(net.room(ALICE).unread, 3);
    net.types(ALICE, "HISTORY #lab 2");
    assert_eq!(net.room(ALICE).unread, 3);
    net.types(ALICE, "HISTORY #lab 3");
    assert_eq!(net.room(ALICE).unread, 0);
    net.types(BOB, "CHAT #lab 4");
    net.later(3_000);
    net.restart(ALICE);
    net.types(ALICE, "CHAT #lab hi");
    assert_eq!(net.room(ALICE).unread, 1, "an earlier session has shown it");
    net.types(BOB, "CHAT #lab 5");
    net.types(ALICE, "CHAT #lab");
    net.types(ALICE, "CHAT");
    net.types(CAROL, "CHAT #lab 6");
    net.types(ALICE, "CHAT #lab hi");
    assert_eq!(net.room(ALICE).unread, 0);
}

#[test]
fn who_was_away_catches_up_with_any_member() {
    let mut net = Net::all_linked(3);
    (0..2).for_each(|other| net.cut(CAROL, other));
    net.types(ALICE, "CHAT #lab while you were away");
    net.later(2_000);
    let line = net.member(ALICE, CAROL);
    assert_eq!((line.linked, line.behind, line.holds_final), (false, 1, true));
    assert_eq!(net.history(ALICE).last().map(|it| (it.have, it.of, it.is_final)), Some((2, 3, false)));
    net.cut(ALICE, BOB);
    net.link(BOB, CAROL);
    assert_eq!(net.shown(CAROL), ["while you were away"]);
    net.types(CAROL, "CHAT #lab I am back");
    net.later(3_000);
    // The author hears of it only through bob.
    net.link(ALICE, BOB);
    net.later(3_000);
    assert_eq!(net.shown(ALICE), ["I am back"]);
    assert_eq!(net.spread(ALICE), Some((3, 3, true)));
    assert_eq!(net.member(ALICE, CAROL).behind, 0);
}

#[test]
fn what_only_this_member_has_waits() {
    let mut net = Net::in_room(2);
    net.cut(ALICE, BOB);
    net.types(BOB, "CHAT #lab one");
    net.types(BOB, "CHAT #lab two");
    assert_eq!((net.room(BOB).waiting, net.why(BOB).reason), (2, RoomReason::NotLinked));
    let outbox = net.answer(BOB, "OUTBOX", |notice| match notice {
        Notice::Outbox { waiting, messages } => Some((*waiting, messages.len())),
        _ => None,
    });
    assert_eq!(outbox, (2, 2));
    // After a restart as well.
    net.restart(BOB);
    assert_eq!(net.room(BOB).waiting, 2);
    net.link(ALICE, BOB);
    net.later(3_000);
    assert_eq!((net.room(BOB).waiting, net.shown(ALICE)), (0, vec!["one", "two"]));
}

#[test]
fn a_program_without_input_stays_until_another_member_has_it() {
    for linked in [true, false] {
        let mut net = Net::in_room(2);
        let session = Input::RendezvousFailed(support::missed(crate::client::event::Problem::Closed));
        net.step(BOB, &[session]);
        if !linked {
            net.cut(ALICE, BOB);
        }
        net.step(BOB, &[typed("CHAT #lab bye"), Input::InputEnded]);
        assert_eq!(net.clients[BOB].exit, None);
        net.deliver();
        net.later(9_000);
        let status = net.clients[BOB].exit.as_ref().map(|(status, _)| *status);
        assert_eq!(status, linked.then_some(0));
        net.later(2_000);
        assert_eq!(
            net.clients[BOB].exit.as_ref().map(|(status, _)| *status),
            Some(if linked { 0 } else { STILL_WAITING })
        );
    }
}

#[test]
fn one_text_is_sent_once_all_who_are_linked_have_it() {
    let send = || Input::Send { to: "#lab".parse().unwrap(), text: "the build is green".into() };
    let mut net = Net::all_linked(3);
    net.cut(ALICE, CAROL);
    net.step(ALICE, &[send()]);
    net.deliver();
    net.later(3_000);
    assert_eq!(net.clients[ALICE].exit, Some((0, None)));

    let mut net = Net::in_room(2);
    net.cut(ALICE, BOB);
    net.step(ALICE, &[send()]);
    net.later(9_000);
    assert_eq!(net.clients[ALICE].exit, None);
    net.later(2_000);
    let (status, why) = net.clients[ALICE].exit.clone().unwrap();
    assert!(status == STILL_WAITING && why.unwrap().contains("no other member is linked"));

    let mut net = Net::new(1);
    net.step(ALICE, &[send()]);
    let (status, why) = net.clients[ALICE].exit.clone().unwrap();
    assert!(status == FAILED && why.unwrap().contains("no room is called #lab"));
}

#[test]
fn it_is_said_that_no_user_who_is_invited_has_joined() {
    let mut net = Net::new(2);
    net.types(ALICE, "ROOM #lab");
    assert_eq!(net.why(ALICE).reason, RoomReason::Alone);
    net.types(ALICE, "INVITE #lab bob");
    net.link(ALICE, BOB);
    assert_eq!(net.why(ALICE).reason, RoomReason::NotJoined);
    net.step(ALICE, &[Input::Send { to: "#lab".parse().unwrap(), text: "hello".into() }]);
    net.later(11_000);
    let (status, why) = net.clients[ALICE].exit.clone().unwrap();
    assert!(status == STILL_WAITING && why.unwrap().contains(RoomReason::NotJoined.word()));
}

#[test]
fn who_is_blocked_is_handed_on_and_not_shown() {
    let mut net = Net::all_linked(3);
    net.types(ALICE, "BLOCK carol");
    net.link(ALICE, CAROL);
    assert!(net.is_linked(ALICE, CAROL));
    net.cut(BOB, CAROL);
    net.forget();
    net.types(CAROL, "CHAT #lab psst");
    net.later(2_000);
    assert_eq!((net.shown(ALICE), net.shown(BOB)), (vec![], vec!["psst"]));
    assert_eq!((net.order(ALICE), net.order(BOB)), (vec![], vec!["psst".to_owned()]));
    assert_eq!(net.room(ALICE).unread, 0);
    net.restart(ALICE);
    assert_eq!((net.room(ALICE).unread, net.shown(ALICE)), (0, vec![]));
}

#[test]
fn what_could_not_be_saved_was_not_said() {
    let mut net = Net::all_linked(3);
    net.fail(ALICE, &[typed("CHAT #lab lost")]);
    assert_eq!(net.errors(ALICE), [Code::NotSaved]);
    net.fail(ALICE, &[typed("TOPIC #lab lost")]);
    net.deliver();
    net.types(ALICE, "CHAT #lab kept");
    net.later(5_000);
    for who in [ALICE, BOB, CAROL] {
        assert_eq!(net.order(who), ["kept"]);
    }
    assert_eq!((net.room(BOB).topic.as_str(), net.spread(ALICE)), ("", Some((3, 3, true))));
    assert!(net.rooms_told(BOB).is_empty());
}

#[test]
fn what_could_not_be_taken_comes_again() {
    let mut net = Net::in_room(2);
    net.step(BOB, &[typed("CHAT #lab one")]);
    while let Some((link, to, said)) = net.pipes.pop_front() {
        net.fail(to, &[Input::LinkSays(link, said)]);
    }
    assert!(!net.is_linked(ALICE, BOB) && net.order(ALICE).is_empty());
    net.link(ALICE, BOB);
    net.later(3_000);
    assert_eq!((net.shown(ALICE), net.spread(BOB)), (vec!["one"], Some((2, 2, true))));
}

#[test]
fn a_link_that_came_up_in_vain_is_not_counted_on() {
    let mut net = Net::in_room(2);
    net.cut(ALICE, BOB);
    net.types(BOB, "CHAT #lab one");
    // Alice's disk fails as the link comes up.
    let (link, pair) = (99, (ALICE, BOB));
    net.links.insert(pair, link);
    let keys = [ALICE, BOB].map(|who| net.clients[who].keypair.public());
    net.step(BOB, &[proved(link, keys[ALICE], None)]);
    net.step(ALICE, &[proved(link, keys[BOB], None)]);
    while let Some((link, to, said)) = net.pipes.pop_front() {
        match to {
            ALICE => net.fail(ALICE, &[Input::LinkSays(link, said)]),
            _ => net.step(to, &[Input::LinkSays(link, said)]),
        }
    }
    net.later(3_000);
    net.types(ALICE, "CHAT #lab two");
    net.link(ALICE, BOB);
    net.later(3_000);
    assert_eq!((net.shown(ALICE), net.shown(BOB)), (vec!["one"], vec!["two"]));
    assert_eq!(net.order(ALICE), net.order(BOB));
}

#[test]
fn nothing_is_taken_while_the_disk_is_nearly_full() {
    let mut net = Net::all_linked(3);
    net.step(ALICE, &[Input::Disk(Space::Low)]);
    net.types(BOB, "CHAT #lab one");
    net.later(12_000);
    assert!(net.shown(ALICE).is_empty());
    // What this user says is kept all the same.
    net.types(ALICE, "CHAT #lab two");
    assert_eq!(net.shown(CAROL), ["one", "two"]);
    net.step(ALICE, &[Input::Disk(Space::Enough)]);
    net.deliver();
    net.later(20_000);
    assert_eq!(net.shown(ALICE), ["one"]);
}

#[test]
fn a_silent_room_is_silent() {
    let mut net = Net::all_linked(3);
    net.types(BOB, "CHAT #lab one");
    net.later(20_000);
    for who in [ALICE, BOB, CAROL] {
        let rooms = net.clients[who].node.rooms.deadline();
        assert_eq!(rooms, Instant::NEVER, "{who}");
    }
}
