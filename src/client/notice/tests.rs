use super::*;
use crate::terminal::is_unsafe;
use proptest::prelude::*;
use serde_json::json;

mod rooms;

pub fn name(name: &str) -> Name {
    name.parse().unwrap()
}

pub fn message(text: &str, replayed: bool) -> Notice {
    Notice::Message {
        id: Cursor { epoch: 0xab, number: 7 },
        from: name("bob"),
        text: Body::Text(text.into()),
        sent: 1_000,
        received: 2_000,
        replayed,
        stranger: false,
        room: None,
        room_id: None,
        unknown: false,
    }
}

/// The same message, said in a room.
pub fn in_room(mut notice: Notice, label: &str) -> Notice {
    if let Notice::Message { room, room_id, .. } = &mut notice {
        (*room, *room_id) = (Some(self::room(label)), Some(RoomKey([0xee; 32])));
    }
    notice
}

pub fn room(label: &str) -> RoomLabel {
    label.parse().unwrap()
}

pub fn queued(number: u64, linked: bool) -> Notice {
    let id = Cursor { epoch: 1, number };
    Notice::Queued {
        id,
        to: name("bob").into(),
        linked,
        text: Body::Text("hi".into()),
        sent: 0,
        alone: false,
    }
}

fn written(write: impl Fn(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn json_has_the_documented_fields() {
    let line = written(|out| Told::from(message("hi", false)).write_json(out));
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        value,
        json!({"event": "message", "id": "00000000000000ab-7", "from": "bob", "text": "hi",
               "sent": "1970-01-01T00:00:01.000Z", "received": "1970-01-01T00:00:02.000Z", "replayed": false,
               "seq": 0})
    );
    let error = ErrorNotice {
        code: Code::NoSuchUser,
        message: "no".into(),
        peer: None,
        room: None,
        room_id: None,
        id: None,
        text: None,
    };
    let line = written(|out| Told::from(Notice::Error(error.clone())).write_json(out));
    assert_eq!(line, "{\"event\":\"error\",\"code\":\"no-such-user\",\"message\":\"no\",\"seq\":0}\n");
    let mut bye = Told::from(Notice::Bye { waiting: 2 });
    assert_eq!(written(|out| bye.write_json(out)), "{\"event\":\"bye\",\"waiting\":2,\"seq\":0}\n");
    for (reference, expected) in
        [(Reference::Number(-7), "-7"), (Reference::Text("a\u{9b}".into()), r#""a\u009b""#)]
    {
        bye.reference = Some(reference);
        let line = written(|out| bye.write_json(out));
        assert_eq!(line, format!("{{\"event\":\"bye\",\"waiting\":2,\"seq\":0,\"ref\":{expected}}}\n"));
    }
}

#[test]
fn any_time_can_be_written() {
    for sent in [i64::MIN, -1, 0, i64::MAX] {
        let mut notice = message("x", false);
        if let Notice::Message { sent: at, .. } = &mut notice {
            *at = sent;
        }
        let line = written(|out| Told::from(notice.clone()).write_json(out));
        assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok());
        assert_eq!(written(|out| notice.write_text(&Look::default(), out)).lines().count(), 1);
    }
}

/// A notice as a person reads it.
fn text_of(notice: &Notice) -> String {
    written(|out| notice.write_text(&Look::default(), out))
}

#[test]
fn what_a_peer_does_not_take_is_told_with_the_bound_and_the_way_out() {
    let held = |reason, waiting| text_of(&Notice::Held { to: name("bob"), reason, waiting });
    for (reason, waiting, parts) in [
        (
            HeldReason::NotAnswered,
            3,
            &["20 messages and 64 KiB", "; 3 messages wait here and go out once bob"][..],
        ),
        (HeldReason::DiskFull, 1, &["bob's disk is nearly full", "; 1 message waits here and goes out once"]),
        (HeldReason::DiskFull, 0, &["and takes nothing more\n"]),
    ] {
        let text = held(reason, waiting);
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    }
    let lost = text_of(&Notice::Lost { peer: name("bob"), messages: 1234 });
    assert!(
        lost.starts_with("! bob's client has lost 1,234 messages that it had") && lost.contains("RESEND bob")
    );
}

#[test]
fn a_stranger_is_told_from_a_contact_and_one_who_looks_alike_is_pointed_out() {
    let request = |stranger, resembles: Option<&str>| {
        let resembles = resembles.map(name);
        let fingerprint = PublicKey([7; 32]);
        text_of(&Notice::Request { from: name("bob1"), fingerprint, stranger, resembles })
    };
    assert!(request(true, None).contains("ACCEPT or FORGET"));
    assert!(request(false, None).contains("is now a contact"));
    assert_eq!(
        request(true, Some("bobl")).lines().last(),
        Some("! look closely: bob1 is not bobl, who is a contact of yours")
    );
}

fn line(received: Option<i64>, delivered: bool) -> HistoryLine {
    HistoryLine {
        seq: 0,
        id: Cursor { epoch: 1, number: 1 },
        from: name("bob"),
        text: Body::Text("hi".into()),
        sent: 0,
        received,
        delivered,
    }
}

#[test]
fn history_tells_both_times_where_they_differ_much_and_what_waits() {
    for (received, delivered, late, waiting) in [
        (Some(1_000), true, false, false),
        (Some(3_600_000), true, true, false),
        (None, false, false, true),
        (None, true, false, false),
    ] {
        let messages = vec![line(received, delivered)];
        let history = Notice::History { peer: name("bob"), messages };
        let text = written(|out| history.write_text(&Look::default(), out));
        assert_eq!((text.contains("written"), text.contains("waiting")), (late, waiting), "{text}");
    }
}

#[test]
fn a_message_has_one_time_wherever_it_is_shown() {
    for arrived in [1_000, 20_000, 3_600_000, -1_000] {
        let mut live = message("hi", false);
        if let Notice::Message { sent, received, .. } = &mut live {
            (*sent, *received) = (0, arrived);
        }
        let shown = text_of(&live);
        let line = line(Some(arrived), true);
        let history = Notice::History { peer: name("bob"), messages: vec![line.clone()] };
        assert_eq!(text_of(&history), shown);
        let found =
            vec![FoundLine { peer: name("bob").into(), room: FoundIn::default(), line: line.clone() }];
        assert_eq!(
            text_of(&Notice::Found {
                words: "hi".into(),
                peer: None,
                room: FoundIn::default(),
                messages: found
            }),
            shown
        );
        let HistoryLine { id, from, text, sent, received, .. } = line;
        let line = RoomHistoryLine {
            seq: 1,
            id,
            from,
            text,
            sent,
            received,
            is_final: true,
            have: 2,
            of: 2,
            unknown: false,
        };
        let (room, past) = (room("#lab"), PastRoom::default());
        let history = Notice::RoomHistory { room, room_id: RoomKey([1; 32]), past, messages: vec![line] };
        assert_eq!(text_of(&history), shown);
    }
}

#[test]
fn what_is_unread_stands_below_a_line_that_says_so() {
    let messages =
        [Some(1), None, Some(2), None, Some(3), None].map(|received| line(received, true)).to_vec();
    for (unread, expected) in [(0, None), (1, Some(4)), (2, Some(2)), (3, Some(0)), (MANY_UNREAD, Some(0))] {
        let peer = Some(name("bob"));
        let entered = Notice::Conversation { peer, unread, messages: messages.clone() };
        let text = written(|out| entered.write_text(&Look::default(), out));
        assert_eq!(text.lines().position(|line| line.ends_with("unread:")), expected, "{text}");
    }
}

#[test]
fn a_second_line_can_not_pass_for_another_sender() {
    let text = written(|out| message("hi\n[12:00] carol: lies\r\n", false).write_text(&Look::default(), out));
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].ends_with("bob: hi"));
    assert_eq!(&lines[1..], ["    [12:00] carol: lies", "    "]);
}

/// What a box reads of what a client has written.
pub fn read_back(told: &Told) -> Told {
    Told::read_json(written(|out| told.write_json(out)).trim_end().as_bytes()).unwrap()
}

#[test]
fn what_is_written_as_json_is_read_back() {
    let told = |notice, reference| Told { notice, seq: 77, reference };
    let (peer, key) = (name("bob"), PublicKey([7; 32]));
    let id = Cursor { epoch: u64::MAX, number: 9 };
    let address = "[::1]:7".parse().unwrap();
    let contact = ContactLine {
        peer: peer.clone(),
        fingerprint: Some(key),
        offered: None,
        verified: true,
        linked: true,
        linked_since: Some(1_700_000_000_123),
        route: Some(Via::Relayed),
        presence: Some(OnOff::Online),
        presence_since: None,
        last_seen: Some(-5),
        requested: false,
        stranger: false,
        blocked: false,
        waiting: 3,
        unread: 4,
        bytes: 5,
        address: Some(address),
    };
    let why = Why {
        reason: Reason::NoAnswer,
        contact: contact.clone(),
        discovery: DiscoveryLine { state: UpDown::Up, detail: "x".into(), since: None },
        nat: Some(Nat { kind: Between::Nothing, observed: address, mapped: None }),
        addresses: vec![],
        dialling: true,
        next_dial: None,
        asking: true,
        next_asked: Some(7),
        goodbye: Some(Goodbye { at: 5, reason: "its user left".into() }),
    };
    let error = ErrorNotice {
        code: Code::NoSuchRoom,
        message: "no \u{1b}".into(),
        peer: None,
        room: Some(room("#lab~2")),
        room_id: Some(RoomKey([7; 32])),
        id: Some(id),
        text: Some("two\nlines".into()),
    };
    let within = FoundIn { room: Some(room("#lab")), room_id: Some(RoomKey([7; 32])) };
    let found = FoundLine { peer: room("#lab").into(), room: within.clone(), line: line(None, false) };
    for notice in [
        Notice::hello(),
        Notice::Ready { user: peer.clone(), address, fingerprint: key },
        Notice::Reachable(Reachable::Nat { address }),
        Notice::Link { peer: peer.clone(), state: UpDown::Up, route: Some(Via::Punched), stranger: true },
        message("a\u{9b}b", true),
        in_room(message("hi", false), "#lab"),
        queued(1, false),
        Notice::Sent {
            id,
            to: room("#lab").into(),
            text: Body::Text("hi".into()),
            sent: 7,
            linked: true,
            alone: false,
        },
        Notice::Delivered { id, to: peer.clone() },
        Notice::Spread { id, to: room("#lab"), have: 1, of: 2, is_final: true },
        Notice::Held { to: peer.clone(), reason: HeldReason::DiskFull, waiting: 1 },
        Notice::Error(error),
        Notice::Contacts { contacts: vec![contact.clone()] },
        Notice::Contact(Box::new(contact)),
        Notice::Outbox { waiting: 0, messages: vec![] },
        Notice::History { peer: peer.clone(), messages: vec![line(Some(7), true)] },
        Notice::RoomHistory {
            room: room("#lab"),
            room_id: RoomKey([7; 32]),
            past: PastRoom { past: Some(RoomKey([8; 32])), past_room: Some(room("#old")) },
            messages: vec![],
        },
        Notice::Conversation { peer: None, unread: 0, messages: vec![] },
        Notice::Conversation { peer: Some(peer.clone()), unread: 1, messages: vec![line(None, true)] },
        Notice::RoomConversation {
            peer: room("#lab"),
            room_id: RoomKey([7; 32]),
            unread: 1,
            messages: vec![rooms::said(Some(1), false, 2)],
        },
        Notice::Found {
            words: "a b".into(),
            peer: Some(room("#lab").into()),
            room: within,
            messages: vec![found],
        },
        Notice::Help { commands: vec![("HELP".into(), "helps".into())] },
        Notice::Explanation(Explanation::of("CHAT").unwrap()),
        Notice::Why(Box::new(why)),
        Notice::Read { peer: room("#lab").into(), up_to: 9, unread: 1 },
        Notice::Prompt(Box::new(PromptLine {
            conversation: Some(peer.clone().into()),
            waiting: 1,
            unread: [(peer.clone().into(), 2), (room("#lab").into(), 3)].into(),
            work: Some(Work::Receiving { from: peer.clone().into(), count: 5, of: None }),
            contacts: Some(vec![peer.clone()]),
            rooms: None,
        })),
        Notice::Detached,
        Notice::Lagged,
        Notice::Bye { waiting: 2 },
    ] {
        for reference in [None, Some(Reference::Number(-7)), Some(Reference::Text("a".into()))] {
            let told = told(notice.clone(), reference);
            assert_eq!(read_back(&told), told);
        }
    }
    let unknown = Notice::Delivered { id, to: peer };
    let line = written(|out| Told::from(unknown.clone()).write_json(out));
    assert!(Told::read_json(line.replace("delivered", "later-version").as_bytes()).is_err());
}

proptest! {
    #[test]
    fn nothing_unsafe_is_ever_written(text in any::<String>()) {
        let text = format!("{text}\u{1b}]0;title\u{7}\u{9b}31m\u{7f}\u{202e}\u{2066}\r");
        for notice in [message(&text, false), Notice::Discovery { state: UpDown::Down, detail: text.clone() }] {
            let shown = written(|out| notice.write_text(&Look::default(), out));
            prop_assert!(!shown.chars().any(|c| c != '\n' && is_unsafe(c)));
            let json = written(|out| Told::from(notice.clone()).write_json(out));
            prop_assert!(!json.trim_end_matches('\n').chars().any(is_unsafe));
        }
        let json = written(|out| Told::from(message(&text, false)).write_json(out));
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(value["text"].as_str().unwrap(), text);
    }
}
