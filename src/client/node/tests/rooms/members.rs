//! Who is in a room, and who may do what.

use super::*;

#[test]
fn a_room_is_founded_and_joined() {
    let mut net = Net::new(3);
    net.types(ALICE, "ROOM #lab");
    assert_eq!(net.rooms_told(ALICE), [(RoomState::Founded, "")]);
    net.link(ALICE, BOB);
    net.types(ALICE, "TOPIC #lab what is built");
    net.types(ALICE, "INVITE #lab bob");
    assert_eq!(net.members_told(ALICE), [("bob", MemberState::Invited)]);
    let invite = net.clients[BOB].notices.iter().find_map(|notice| match notice {
        Notice::Invite { from, topic, stranger, .. } => Some((from.to_string(), topic.clone(), *stranger)),
        _ => None,
    });
    assert_eq!(invite, Some(("alice".into(), "what is built".into(), false)));
    let line = net.room(BOB);
    assert_eq!((line.state, line.owner.as_str(), line.members), (RoomStanding::Invited, "alice", 1));
    net.types(BOB, "CHAT #lab too early");
    assert_eq!(net.errors(BOB), [Code::NotAMember]);
    net.types(BOB, "JOIN #lab");
    assert_eq!(net.rooms_told(BOB), [(RoomState::Joined, "")]);
    assert_eq!(net.members_told(ALICE).last(), Some(&("bob", MemberState::Joined)));
    net.types(BOB, "JOIN #lab");
    assert_eq!(net.errors(BOB).last(), Some(&Code::Refused));
    // Who is invited while away hears of it with the next link, from any member.
    net.types(ALICE, "INVITE #lab carol");
    net.link(ALICE, CAROL);
    net.types(CAROL, "JOIN #lab");
    net.later(3_000);
    assert_eq!(net.members_told(BOB), [("carol", MemberState::Invited), ("carol", MemberState::Joined)]);
    // The two are no contacts, and are linked for the room's sake.
    net.link(BOB, CAROL);
    assert!(net.is_linked(BOB, CAROL));
    for who in [ALICE, BOB, CAROL] {
        let line = net.room(who);
        assert_eq!((line.state, line.members, line.linked), (RoomStanding::Joined, 3, 2), "{who}");
    }
}

#[test]
fn what_was_said_before_comes_with_all_alone() {
    for (line, expected) in
        [("INVITE #lab carol all", &["before", "hello", "after"][..]), ("INVITE #lab carol", &["after"])]
    {
        let mut net = Net::new(3);
        net.types(ALICE, "ROOM #lab");
        net.link(ALICE, BOB);
        net.types(ALICE, "INVITE #lab bob");
        net.types(BOB, "JOIN #lab");
        net.types(ALICE, "CHAT #lab before");
        net.types(BOB, "CHAT #lab hello");
        net.later(2_000);
        net.link(ALICE, CAROL);
        net.types(ALICE, line);
        net.types(CAROL, "JOIN #lab");
        net.link(BOB, CAROL);
        net.types(BOB, "CHAT #lab after");
        net.later(3_000);
        assert_eq!((net.shown(CAROL), net.spread(BOB)), (expected.to_vec(), Some((3, 3, true))), "{line}");
        assert_eq!(net.order(CAROL), expected);
        assert_eq!(net.order(ALICE), ["before", "hello", "after"]);
        net.types(CAROL, "CHAT #lab thanks");
        net.later(3_000);
        assert_eq!((net.spread(CAROL), net.room(CAROL).members), (Some((3, 3, true)), 3), "{line}");
    }
}

#[test]
fn who_is_removed_hears_no_more_and_may_come_back() {
    let mut net = Net::all_linked(3);
    net.types(CAROL, "CHAT #lab hello");
    net.types(BOB, "KICK #lab carol");
    assert_eq!(net.errors(BOB), [Code::NotTheOwner]);
    net.types(ALICE, "KICK #lab carol");
    assert_eq!(net.members_told(BOB), [("carol", MemberState::Removed)]);
    assert_eq!(net.rooms_told(CAROL), [(RoomState::Removed, "its owner, alice, has done so")]);
    net.types(CAROL, "CHAT #lab still here");
    assert_eq!(net.errors(CAROL), [Code::NotAMember]);
    net.types(ALICE, "CHAT #lab among us");
    net.later(3_000);
    assert_eq!((net.shown(BOB), net.shown(CAROL)), (vec!["hello", "among us"], vec![]));
    assert_eq!((net.room(CAROL).state, net.room(ALICE).members), (RoomStanding::Removed, 2));
    // Nothing else ties bob and carol.
    assert!(!net.is_linked(BOB, CAROL) && net.is_linked(ALICE, CAROL));
    net.types(ALICE, "KICK #lab carol");
    assert_eq!(net.errors(ALICE), [Code::NotAMember]);
    net.types(ALICE, "INVITE #lab carol");
    net.types(CAROL, "JOIN #lab");
    net.types(CAROL, "CHAT #lab again");
    net.types(ALICE, "CHAT #lab welcome");
    net.later(3_000);
    assert_eq!(net.shown(CAROL), ["welcome"]);
    assert_eq!(net.order(ALICE), ["hello", "among us", "again", "welcome"]);
    assert_eq!(net.order(BOB), net.order(ALICE));
}

#[test]
fn who_leaves_is_out_and_the_owner_hands_over_first() {
    let mut net = Net::all_linked(3);
    net.types(ALICE, "LEAVE #lab");
    assert_eq!(net.errors(ALICE), [Code::Refused]);
    net.types(CAROL, "LEAVE #lab");
    assert_eq!(net.rooms_told(CAROL), [(RoomState::Left, "")]);
    net.later(2_000);
    assert_eq!(net.members_told(ALICE), [("carol", MemberState::Left)]);
    assert_eq!(net.members_told(BOB), [("carol", MemberState::Left)]);
    assert!(!net.is_linked(BOB, CAROL));
    net.types(CAROL, "CHAT #lab hello");
    assert_eq!(net.errors(CAROL), [Code::NotAMember]);
    net.types(ALICE, "OWNER #lab bob");
    net.later(1_000);
    assert_eq!(net.rooms_told(ALICE).last(), Some(&(RoomState::Owner, "bob")));
    assert_eq!(net.room(ALICE).owner.as_str(), "bob");
    net.types(ALICE, "LEAVE #lab");
    net.later(1_000);
    net.types(BOB, "CHAT #lab alone");
    net.types(BOB, "LEAVE #lab");
    assert_eq!((net.room(ALICE).state, net.room(BOB).state), (RoomStanding::Left, RoomStanding::Left));
}

#[test]
fn a_new_owner_hears_whom_to_wait_for_before_it_removes_the_former_one() {
    let mut net = Net::all_linked(3);
    net.types(ALICE, "OWNER #lab bob");
    net.types(BOB, "KICK #lab alice");
    let Some(Notice::Error(error)) = net.clients[BOB].notices.last() else { panic!() };
    assert_eq!((error.code, error.peer.as_ref().map(Name::as_str)), (Code::NotYet, Some("alice")));
    assert!(error.message.contains("may still come from carol"), "{}", error.message);
    net.later(3_000);
    net.types(BOB, "KICK #lab alice");
    assert_eq!(net.members_told(CAROL).last(), Some(&("alice", MemberState::Removed)));
}

#[test]
fn who_has_joined_before_it_leaves_has_not_declined() {
    let mut net = Net::in_room(2);
    net.types(BOB, "LEAVE #lab");
    net.later(2_000);
    for who in [ALICE, BOB] {
        assert!(!net.has_declined(who), "{who}");
    }
    net.types(BOB, "CHAT #lab hello");
    assert!(net.last_error(BOB).starts_with("you have left #lab"));
}

#[test]
fn what_is_about_the_user_says_so() {
    let mut net = Net::in_room(2);
    for (who, line, message) in [
        (BOB, "JOIN #lab", "you are in #lab already"),
        (
            ALICE,
            "OWNER #lab alice",
            "you own #lab already; OWNER #lab <user> hands it over to another member",
        ),
        (ALICE, "INVITE #lab bob", "bob is in #lab already, or invited; see MEMBERS #lab"),
    ] {
        net.types(who, line);
        assert_eq!(net.last_error(who), message);
    }
    net.types(BOB, "LEAVE #lab");
    net.later(2_000);
    net.types(ALICE, "LEAVE #lab");
    net.types(ALICE, "CHAT #lab hello");
    assert!(net.last_error(ALICE).starts_with("you have left #lab; you own it"), "{}", net.last_error(ALICE));
}

#[test]
fn who_declines_is_not_asked_again() {
    let mut net = Net::new(2);
    net.types(ALICE, "ROOM #lab");
    net.types(ALICE, "INVITE #lab bob");
    net.link(ALICE, BOB);
    net.types(BOB, "LEAVE #lab");
    net.later(2_000);
    assert_eq!(net.members_told(ALICE).last(), Some(&("bob", MemberState::Left)));
    for who in [ALICE, BOB] {
        assert!(net.has_declined(who), "{who}");
    }
    net.types(BOB, "CHAT #lab hello");
    assert!(net.last_error(BOB).starts_with("you have declined the invitation into #lab"));
    net.forget();
    net.restart(BOB);
    net.link(ALICE, BOB);
    net.later(2_000);
    assert!(!net.clients[BOB].notices.iter().any(|notice| matches!(notice, Notice::Invite { .. })));
    assert_eq!(net.room(BOB).state, RoomStanding::Left);
}

#[test]
fn what_can_not_be_done_is_said() {
    let net = Net::new(3);
    net.introduce(ALICE, CAROL, Standing::Stranger);
    let mut net = net.restarted();
    net.types(ALICE, "ROOM #lab");
    net.link(ALICE, BOB);
    for (line, code) in [
        ("INVITE #lab alice", Code::BadCommand),
        ("INVITE #lab dave", Code::NotAContact),
        ("INVITE #lab carol", Code::NotAContact),
        ("INVITE #lob bob", Code::NoSuchRoom),
        ("KICK #lab bob", Code::NotAMember),
        ("KICK #lab alice", Code::Refused),
        ("OWNER #lab bob", Code::NotAMember),
        ("OWNER #lab alice", Code::NotAMember),
    ] {
        net.types(ALICE, line);
        let Some(Notice::Error(error)) = net.clients[ALICE].notices.last() else { panic!("{line}") };
        assert_eq!(error.code, code, "{line}: {error:?}");
        assert!(error.room.is_some() && !error.message.is_empty(), "{error:?}");
        assert_eq!(error.room_id.is_some(), code != Code::NoSuchRoom, "{error:?}");
    }
    net.types(ALICE, &format!("TOPIC #lab {}", "x".repeat(401)));
    net.types(ALICE, "REQUEST dave");
    net.types(ALICE, "INVITE #lab dave");
    net.types(ALICE, "INVITE #lab bob");
    net.types(ALICE, "INVITE #lab bob");
    // To be invited is not to be in.
    net.types(ALICE, "OWNER #lab bob");
    net.types(BOB, "TOPIC #lab mine");
    assert_eq!(
        net.errors(ALICE)[8..],
        [Code::TooLong, Code::UnknownKey, Code::Refused, Code::NotAMember],
        "{:?}",
        net.clients[ALICE].notices
    );
    assert_eq!(net.errors(BOB), [Code::NotTheOwner]);
    net.types(ALICE, "BLOCK bob");
    net.types(ALICE, "KICK #lab bob");
    net.types(ALICE, "INVITE #lab bob");
    assert_eq!(net.errors(ALICE).last(), Some(&Code::Blocked));
    // A room of the same name is another one.
    net.types(ALICE, "ROOM #lab");
    net.types(ALICE, "TOPIC #lab~2 the second");
    assert_eq!(net.rooms_told(ALICE).last(), Some(&(RoomState::Topic, "the second")));
}

#[test]
fn a_restart_finds_the_room_as_it_was() {
    let mut net = Net::all_linked(3);
    net.types(ALICE, "TOPIC #lab what is built");
    net.types(BOB, "CHAT #lab one");
    net.later(3_000);
    (0..3).for_each(|who| net.restart(who));
    for (one, other) in [(ALICE, BOB), (ALICE, CAROL), (BOB, CAROL)] {
        net.link(one, other);
    }
    net.forget();
    net.types(ALICE, "CHAT #lab two");
    net.types(CAROL, "CHAT #lab three");
    net.later(3_000);
    for who in [ALICE, BOB, CAROL] {
        assert_eq!(net.order(who), ["one", "two", "three"]);
        let line = net.room(who);
        assert_eq!((line.topic.as_str(), line.members, line.waiting), ("what is built", 3, 0));
    }
    assert_eq!((net.shown(ALICE), net.spread(ALICE)), (vec!["three"], Some((3, 3, true))));
}

#[test]
fn who_was_restored_gets_back_what_was_lost() {
    // Before the room, before carol was in it, and before she and bob said something.
    for stage in 0..3 {
        let mut net = Net::new(3);
        let mut backups = (0..2).map(|who| net.backup(who)).collect::<Vec<_>>();
        net.types(ALICE, "ROOM #lab");
        net.link(ALICE, BOB);
        net.types(ALICE, "INVITE #lab bob all");
        net.types(BOB, "JOIN #lab");
        net.types(BOB, "CHAT #lab one");
        net.later(3_000);
        if stage == 1 {
            backups = (0..2).map(|who| net.backup(who)).collect();
        }
        net.link(ALICE, CAROL);
        net.types(ALICE, "INVITE #lab carol all");
        net.types(CAROL, "JOIN #lab");
        net.link(BOB, CAROL);
        net.later(3_000);
        if stage == 2 {
            backups = (0..2).map(|who| net.backup(who)).collect();
        }
        net.types(BOB, "CHAT #lab two");
        net.types(ALICE, "CHAT #lab three");
        net.types(CAROL, "CHAT #lab four");
        net.types(ALICE, "TOPIC #lab lost and found");
        net.later(3_000);
        (ALICE..).zip(backups).for_each(|(who, journal)| net.restore(who, journal));
        net.link(ALICE, CAROL);
        net.link(ALICE, BOB);
        net.later(3_000);
        if stage == 0 {
            assert_eq!(net.rooms_told(ALICE), [(RoomState::Joined, "")]);
            net.types(BOB, "JOIN #lab");
        }
        net.later(3_000);
        // What they said themselves is not told as if another had.
        assert!(!net.shown(ALICE).contains(&"three") && !net.shown(BOB).contains(&"two"), "{stage}");
        net.types(ALICE, "CHAT #lab five");
        net.types(BOB, "CHAT #lab six");
        net.later(5_000);
        for who in [ALICE, BOB, CAROL] {
            let mut texts = net.order(who);
            texts.sort_unstable();
            assert_eq!(texts, ["five", "four", "one", "six", "three", "two"], "{stage} {who}");
            assert_eq!(net.order(who), net.order(ALICE), "{stage} {who}");
            let line = net.room(who);
            assert_eq!(
                (line.topic.as_str(), line.members, line.waiting),
                ("lost and found", 3, 0),
                "{stage} {who}"
            );
        }
    }
}
