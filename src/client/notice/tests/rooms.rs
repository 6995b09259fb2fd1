//! What is told of rooms, as text and as JSON.

use super::*;

const KEY: RoomKey = RoomKey([0xee; 32]);

fn json_of(notice: Notice) -> serde_json::Value {
    let mut json: serde_json::Value =
        serde_json::from_str(&written(|out| Told::from(notice.clone()).write_json(out))).unwrap();
    // Every event has one.
    json.as_object_mut().unwrap().remove("seq");
    json
}

/// The lines of a notice as a person reads them, without times.
fn lines_of(notice: &Notice) -> Vec<String> {
    let without_time = |line: &str| match line.split_once("] ") {
        Some((time, rest)) if time.starts_with('[') => rest.to_owned(),
        _ => line.to_owned(),
    };
    text_of(notice).lines().map(without_time).collect()
}

#[test]
fn a_message_in_a_room_stands_with_its_writer_and_the_room() {
    assert_eq!(lines_of(&in_room(message("hi", false), "#lab")), ["bob in #lab: hi"]);
    let mut notice = in_room(message("hi", true), "#lab~2");
    if let Notice::Message { unknown, .. } = &mut notice {
        *unknown = true;
    }
    assert_eq!(lines_of(&notice), ["bob in #lab~2 (not your contact, again): hi"]);
    assert_eq!(
        json_of(notice),
        json!({"event": "message", "id": "00000000000000ab-7", "from": "bob", "text": "hi",
               "sent": "1970-01-01T00:00:01.000Z", "received": "1970-01-01T00:00:02.000Z", "replayed": true,
               "room": "#lab~2", "room_id": "ee".repeat(32), "unknown": true})
    );
}

#[test]
fn what_the_user_says_in_a_room_is_told_where_it_waits() {
    let said = |linked, alone| match queued(1, linked) {
        Notice::Queued { id, text, sent, .. } => {
            Notice::Queued { id, to: room("#lab").into(), linked, text, sent, alone }
        }
        other => other,
    };
    let queued = |linked| said(linked, false);
    assert_eq!(
        lines_of(&said(false, true)),
        [
            "* you are alone in #lab, and your message waits for no one; INVITE #lab <user> all gives it to a user"
        ]
    );
    assert_eq!(json_of(said(false, true))["alone"], true);
    assert_eq!(lines_of(&queued(true)), [""; 0]);
    assert_eq!(
        lines_of(&queued(false)),
        ["* your message waits until another member has joined #lab and is linked"]
    );
    assert_eq!(
        json_of(queued(false)),
        json!({"event": "queued", "id": "0000000000000001-1", "to": "#lab", "linked": false, "text": "hi",
               "sent": "1970-01-01T00:00:00.000Z"})
    );
    let id = Cursor { epoch: 1, number: 1 };
    assert_eq!(
        json_of(Notice::Spread { id, to: room("#lab"), have: 3, of: 5, is_final: false }),
        json!({"event": "delivered", "id": "0000000000000001-1", "to": "#lab", "have": 3, "of": 5, "final": false})
    );
    let spread =
        |have, count| written(|out| write_spread(&room("#lab"), (have, 5), count, &Look::default(), out));
    assert_eq!(spread(3, 1), "* 3 of 5 in #lab have your message\n");
    assert_eq!(spread(5, 1), "* all 5 in #lab have your message\n");
    assert_eq!(spread(5, 2), "* all 5 in #lab have your 2 messages\n");
}

#[test]
fn an_invitation_names_who_is_in_and_what_to_do() {
    let invite = |members: &[&str], topic: &str| Notice::Invite {
        room: room("#lab"),
        room_id: KEY,
        from: name("bob"),
        members: members.iter().map(|it| name(it)).collect(),
        topic: topic.into(),
        past: PastRoom::default(),
        stranger: false,
    };
    assert_eq!(lines_of(&invite(&["bob"], "")), ["* bob invites you into #lab: JOIN #lab or LEAVE #lab"]);
    assert_eq!(
        lines_of(&invite(&["bob", "carol", "dave"], "what is built\n* bye\u{1b}")),
        [
            "* bob invites you into #lab, with carol, dave: JOIN #lab or LEAVE #lab",
            "  topic: what is built",
            "    * bye\\u{1b}"
        ]
    );
    let many: Vec<_> = (0..200).map(|it| format!("m{it}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let line = text_of(&invite(&many, ""));
    assert!(line.contains("m9 and 190 more: JOIN"), "{line}");
    assert_eq!(
        json_of(invite(&["bob"], "x")),
        json!({"event": "invite", "room": "#lab", "room_id": "ee".repeat(32), "from": "bob", "members": ["bob"],
               "topic": "x"})
    );
}

#[test]
fn what_becomes_of_members_and_rooms_is_one_line() {
    let (bob, carol) = (name("bob"), name("carol"));
    for (state, by, text, word) in [
        (MemberState::Invited, Some(&bob), "* bob has invited carol into #lab", "invited"),
        (MemberState::Joined, None, "* carol is in #lab now", "joined"),
        (MemberState::Left, None, "* carol has left #lab", "left"),
        (MemberState::Removed, Some(&bob), "* bob has removed carol from #lab", "removed"),
        (
            MemberState::Forked,
            None,
            "! carol's client has told members of #lab different things, and is out of it until invited again",
            "forked",
        ),
    ] {
        let (user, by_name, declined) = (carol.clone(), by.cloned(), false);
        let notice = Notice::Member { room: room("#lab"), room_id: KEY, user, state, by: by_name, declined };
        assert_eq!(lines_of(&notice), [text]);
        assert_eq!(
            json_of(notice),
            json!({"event": "member", "room": "#lab", "room_id": "ee".repeat(32), "user": "carol", "state": word,
                   "by": by})
        );
    }
    for (state, why, text, word) in [
        (
            RoomState::Founded,
            "",
            "* #lab is yours: INVITE #lab <user> invites, CHAT #lab enters it",
            "founded",
        ),
        (RoomState::Joined, "", "* you are in #lab now; CHAT #lab enters it", "joined"),
        (RoomState::Left, "", "* you have left #lab", "left"),
        (RoomState::Removed, "by bob", "* you are removed from #lab: by bob", "removed"),
        (
            RoomState::Frozen,
            "two owners",
            "! #lab is frozen, and takes nothing new: two owners; ROOM #new #lab founds one that goes on from it",
            "frozen",
        ),
        (RoomState::Topic, "what\u{7} is", "* the topic of #lab: what\\u{7} is", "topic"),
        (RoomState::Owner, "carol", "* the owner of #lab is carol", "owner"),
    ] {
        let notice =
            Notice::Room { room: room("#lab"), room_id: KEY, state, why: why.into(), declined: false };
        assert_eq!(lines_of(&notice), [text]);
        assert_eq!(
            json_of(notice),
            json!({"event": "room", "room": "#lab", "room_id": "ee".repeat(32), "state": word, "why": why})
        );
    }
}

#[test]
fn who_declines_has_not_left() {
    let (room, room_id, declined) = (room("#lab"), KEY, true);
    let member = Notice::Member {
        room: room.clone(),
        room_id,
        user: name("carol"),
        state: MemberState::Left,
        by: None,
        declined,
    };
    let own = Notice::Room { room, room_id, state: RoomState::Left, why: String::new(), declined };
    assert_eq!(lines_of(&member), ["* carol has declined the invitation into #lab"]);
    assert_eq!(lines_of(&own), ["* you have declined the invitation into #lab"]);
    for json in [json_of(member), json_of(own)] {
        assert_eq!((&json["state"], &json["declined"]), (&json!("left"), &json!(true)));
    }
}

pub fn said(received: Option<i64>, is_final: bool, have: u64) -> RoomHistoryLine {
    RoomHistoryLine {
        seq: 0,
        id: Cursor { epoch: 1, number: 1 },
        from: name(if received.is_some() { "bob" } else { "alice" }),
        text: Body::Text("hi".into()),
        sent: 0,
        received,
        is_final,
        have,
        of: 5,
        unknown: false,
    }
}

#[test]
fn the_history_of_a_room_says_who_has_ours_and_from_where_on_it_is_not_final() {
    let history = |messages| Notice::RoomHistory {
        room: room("#lab"),
        room_id: KEY,
        past: PastRoom::default(),
        messages,
    };
    assert_eq!(lines_of(&history(vec![])), ["* nothing is said in #lab yet"]);
    let unknown = RoomHistoryLine { unknown: true, ..said(Some(1), true, 5) };
    let messages = vec![unknown, said(None, true, 5), said(Some(1), false, 2), said(None, false, 3)];
    assert_eq!(
        lines_of(&history(messages)),
        [
            "bob (not your contact): hi",
            "alice: hi",
            "* not final from here: something may still come in between; see MEMBERS #lab",
            "bob: hi",
            "alice (3 of 5): hi"
        ]
    );
    assert_eq!(lines_of(&history(vec![said(Some(1), true, 5)])), ["bob: hi"]);
    assert_eq!(
        json_of(history(vec![said(None, false, 3)])),
        json!({"event": "history", "room": "#lab", "room_id": "ee".repeat(32), "messages": [
            {"seq": 0, "id": "0000000000000001-1", "from": "alice", "text": "hi", "sent": "1970-01-01T00:00:00.000Z",
             "received": null, "final": false, "have": 3, "of": 5}]})
    );
}

#[test]
fn what_is_unread_in_a_room_stands_below_a_line_that_says_so() {
    let messages = vec![said(Some(1), true, 5), said(Some(1), false, 2), said(None, false, 5)];
    let entered = Notice::RoomConversation { peer: room("#lab"), room_id: KEY, unread: 1, messages };
    assert_eq!(
        lines_of(&entered),
        [
            "bob: hi",
            "* 1 unread:",
            "bob: hi",
            "alice: hi",
            "* your lines now go to #lab; CHAT alone leaves, / starts a command"
        ]
    );
    let json = json_of(entered);
    assert_eq!(
        (&json["event"], &json["peer"], &json["unread"]),
        (&json!("conversation"), &json!("#lab"), &json!(1))
    );
}

#[test]
fn lists_of_rooms_and_members_say_what_stands_out() {
    let line = |state, members, unread| RoomLine {
        room: room("#lab"),
        room_id: KEY,
        owner: name("bob"),
        topic: String::new(),
        past: PastRoom::default(),
        state,
        members,
        linked: 0,
        unread,
        waiting: 0,
    };
    assert_eq!(lines_of(&Notice::Rooms { rooms: vec![] }), ["* no rooms yet; ROOM #name founds one"]);
    let busy = RoomLine {
        topic: "what is built".into(),
        linked: 2,
        waiting: 1,
        ..line(RoomStanding::Joined, 5, MANY_UNREAD)
    };
    let rooms = vec![busy, line(RoomStanding::Invited, 1, 0), line(RoomStanding::Frozen, 2, 0)];
    assert_eq!(
        lines_of(&Notice::Rooms { rooms }),
        [
            "  #lab             owner bob, 5 members, 2 linked, 1 waiting, 999+ unread",
            "    topic: what is built",
            "  #lab             owner bob, 1 member, you are invited",
            "  #lab             owner bob, 2 members, FROZEN"
        ]
    );
    let member = |state, linked, owner, behind| MemberLine {
        user: name("carol"),
        fingerprint: PublicKey([0xab; 32]),
        owner,
        state,
        linked,
        presence: None,
        behind,
        holds_final: behind > 0,
        unknown: owner,
    };
    let members = vec![
        member(MemberState::Joined, true, true, 0),
        MemberLine { presence: Some(OnOff::Offline), ..member(MemberState::Joined, false, false, 3) },
        member(MemberState::Forked, false, false, 0),
        // Discovery has just been started again.
        MemberLine { presence: Some(OnOff::Offline), ..member(MemberState::Joined, true, false, 0) },
    ];
    let listed = Notice::Members { room: room("#lab"), room_id: KEY, members };
    assert_eq!(
        lines_of(&listed),
        [
            "  carol            linked, owner, not your contact, key abab abab abab abab",
            "  carol            not linked, discovery says offline, the final order waits for carol, 3 behind, key abab abab abab abab",
            "  carol            FORKED (out until invited again), key abab abab abab abab",
            "  carol            linked, key abab abab abab abab"
        ]
    );
    let json = json_of(listed);
    assert_eq!(json["members"][1]["holds_final"], json!(true));
    assert_eq!((&json["members"][0]["unknown"], json["members"][1].get("unknown")), (&json!(true), None));
}

#[test]
fn why_of_a_room_begins_with_the_reason() {
    let why = |state, reason, linked| {
        let presence = Some(OnOff::Offline);
        let members = vec![
            MemberWhy { user: name("bob"), linked, presence: None, reason: Reason::Linked },
            MemberWhy { user: name("carol"), linked: false, presence, reason: Reason::Offline },
        ];
        Notice::RoomWhy(Box::new(RoomWhy {
            room: room("#lab"),
            room_id: KEY,
            state,
            reason,
            past: PastRoom::default(),
            past_here: None,
            members,
        }))
    };
    assert_eq!(
        lines_of(&why(RoomStanding::Joined, RoomReason::Linked, true)),
        [
            "* 1 of the 2 other members of #lab are linked, and hand on what is said",
            "  bob              linked",
            "  carol            offline, discovery says offline"
        ]
    );
    for (state, reason, first) in [
        (RoomStanding::Invited, RoomReason::NotIn, "* you are invited into #lab; JOIN #lab accepts"),
        (RoomStanding::Removed, RoomReason::NotIn, "* you were removed: you are not in #lab"),
        (
            RoomStanding::Joined,
            RoomReason::NotLinked,
            "* no other member of #lab is linked; what you say waits here",
        ),
        (RoomStanding::Joined, RoomReason::Alone, "* you are the only member of #lab"),
        (
            RoomStanding::Joined,
            RoomReason::NotJoined,
            "* no user who is invited into #lab has joined yet; what you say waits here",
        ),
    ] {
        assert_eq!(lines_of(&why(state, reason, false))[0], first);
    }
    let json = json_of(why(RoomStanding::Frozen, RoomReason::Frozen, false));
    assert_eq!(
        (&json["event"], &json["state"], &json["reason"]),
        (&json!("why"), &json!("frozen"), &json!("frozen"))
    );
}

#[test]
fn a_room_that_goes_on_from_another_one_says_so_wherever_it_is_told_of() {
    let past = |kept: bool| PastRoom { past: Some(KEY), past_room: kept.then(|| room("#old")) };
    let other = RoomKey([0xdd; 32]);
    let told = |past: PastRoom, past_here| {
        let (room, room_id, from, owner) = (room("#lab"), other, name("bob"), name("bob"));
        let line = RoomLine {
            room: room.clone(),
            room_id,
            owner,
            topic: String::new(),
            past: past.clone(),
            state: RoomStanding::Joined,
            members: 2,
            linked: 0,
            unread: 0,
            waiting: 0,
        };
        let why = RoomWhy {
            room: room.clone(),
            room_id,
            state: RoomStanding::Joined,
            reason: RoomReason::Alone,
            past: past.clone(),
            past_here,
            members: vec![],
        };
        [
            Notice::Invite {
                room: room.clone(),
                room_id,
                from,
                members: vec![],
                topic: String::new(),
                past: past.clone(),
                stranger: false,
            },
            Notice::Rooms { rooms: vec![line] },
            Notice::RoomHistory { room, room_id, past, messages: vec![] },
            Notice::RoomWhy(Box::new(why)),
        ]
    };
    let lines = |notices: [Notice; 4]| notices.map(|notice| lines_of(&notice)).concat();
    assert_eq!(
        lines(told(past(true), Some(true))),
        [
            "* bob invites you into #lab: JOIN #lab or LEAVE #lab",
            "  it goes on from #old",
            "  #lab             owner bob, 2 members",
            "    goes on from #old",
            "* before that: HISTORY #old",
            "* nothing is said in #lab yet",
            "* you are the only member of #lab",
            "* it goes on from #old, which you have as far as its founder had it",
        ]
    );
    assert_eq!(
        lines(told(past(false), None)),
        [
            "* bob invites you into #lab: JOIN #lab or LEAVE #lab",
            "  it goes on from a room that you do not have",
            "  #lab             owner bob, 2 members",
            "    goes on from a room that you do not have",
            "* nothing is said in #lab yet",
            "* you are the only member of #lab",
            "* it goes on from a room that you do not have",
        ]
    );
    assert_eq!(
        lines_of(&told(past(true), Some(false))[3])[1],
        "* it goes on from #old, and you lack part of what its founder says to have had there"
    );
    for notice in told(past(true), Some(true)) {
        let json = json_of(notice);
        let told = json.get("rooms").map_or(&json, |rooms| &rooms[0]);
        assert_eq!((&told["past"], &told["past_room"]), (&json!("ee".repeat(32)), &json!("#old")));
        assert_eq!(told.get("past_here").is_some(), json["event"] == "why");
    }
}

#[test]
fn what_is_found_in_a_room_stands_with_it() {
    let within = || FoundIn { room: Some(room("#lab")), room_id: Some(KEY) };
    let found = |received| Notice::Found {
        words: "hi".into(),
        peer: Some(room("#lab").into()),
        room: within(),
        messages: vec![FoundLine { peer: room("#lab").into(), room: within(), line: line(received, true) }],
    };
    assert_eq!(lines_of(&found(Some(1))), ["bob in #lab: hi"]);
    assert_eq!(lines_of(&found(None)), ["bob in #lab: hi"]);
    let json = json_of(found(None));
    for found in [&json, &json["messages"][0]] {
        let name = (&found["peer"], &found["room"], &found["room_id"]);
        assert_eq!(name, (&json!("#lab"), &json!("#lab"), &json!("ee".repeat(32))));
    }
}

#[test]
fn errors_about_a_room_name_it() {
    let error = ErrorNotice {
        code: Code::NotTheOwner,
        message: "no".into(),
        peer: Some(name("bob")),
        room: Some(room("#lab")),
        room_id: Some(KEY),
        id: None,
        text: None,
    };
    assert_eq!(
        json_of(Notice::Error(error)),
        json!({"event": "error", "code": "not-the-owner", "message": "no", "peer": "bob", "room": "#lab",
               "room_id": "ee".repeat(32)})
    );
}

#[test]
fn answers_to_commands_about_rooms_carry_their_reference() {
    let joined = Notice::Room {
        room: room("#lab"),
        room_id: KEY,
        state: RoomState::Joined,
        why: String::new(),
        declined: false,
    };
    assert!(joined.is_answer());
    let id = Cursor { epoch: 1, number: 1 };
    assert!(!Notice::Spread { id, to: room("#lab"), have: 1, of: 2, is_final: false }.is_answer());
}
