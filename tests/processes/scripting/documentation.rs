//! `docs/scripting.md` names every event, field, error and command that there is, and no other.

use std::collections::{BTreeMap, BTreeSet};

use peerchat::client::addressee::{Addressee, RoomLabel};
use peerchat::client::command::{Explanation, json};
use peerchat::client::notice::{
    AddressLine, Between, Body, Code, ContactLine, DiscoveryLine, ErrorNotice, FoundIn, FoundLine, Goodbye,
    HeldReason, HistoryLine, MemberLine, MemberState, MemberWhy, Nat, Notice, OnOff, OutboxLine, PastRoom,
    PromptLine, Reachable, Reason, RoomHistoryLine, RoomLine, RoomReason, RoomStanding, RoomState, RoomWhy,
    Told, UpDown, Why, Work,
};
use peerchat::protocol::peer::{Cursor, Via};
use peerchat::protocol::room::RoomKey;
use peerchat::protocol::{Name, PublicKey};
use serde_json::Value;

const DOCUMENT: &str = include_str!("../../../docs/scripting.md");
const NOTICES: &str = include_str!("../../../src/client/notice.rs");
const REASONS: &str = include_str!("../../../src/client/notice/why.rs");
const ROOMS: &str = include_str!("../../../src/client/notice/rooms.rs");

/// The variants of an enum, in small letters with hyphens.
fn variants(source: &str, name: &str) -> BTreeSet<String> {
    let (_, body) = source.split_once(&format!("enum {name} {{\n")).unwrap();
    let (body, _) = body.split_once("\n}").unwrap();
    let word =
        |line: &str| line.strip_prefix("    ").filter(|rest| rest.starts_with(char::is_uppercase)).map(kebab);
    body.lines().filter_map(word).collect()
}

fn kebab(line: &str) -> String {
    let mut kebab = String::new();
    for c in line.chars().take_while(char::is_ascii_alphanumeric) {
        if c.is_uppercase() && !kebab.is_empty() {
            kebab.push('-');
        }
        kebab.push(c.to_ascii_lowercase());
    }
    kebab
}

/// The words in the first column of the tables that begin with this header.
fn first_column(header: &str) -> BTreeSet<String> {
    let (_, table) = DOCUMENT.split_once(header).unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

/// The lines of the document that are JSON objects which begin with this field, by what it says.
fn examples(field: &str) -> BTreeMap<String, Vec<Value>> {
    let start = format!("{{\"{field}\"");
    let mut examples = BTreeMap::<String, Vec<Value>>::new();
    for line in DOCUMENT.lines().filter(|line| line.starts_with(&start)) {
        let object = serde_json::from_str::<Value>(line).expect(line);
        examples.entry(object[field].as_str().unwrap().to_owned()).or_default().push(object);
    }
    examples
}

/// Every field, with those of what is in it.
fn fields(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => object.iter().for_each(|(name, value)| {
            let at = format!("{at}.{name}");
            fields(value, &at, found);
            found.insert(at);
        }),
        Value::Array(items) => items.iter().for_each(|item| fields(item, at, found)),
        _ => {}
    }
}

fn fields_of(value: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    fields(value, "", &mut found);
    // May stand in every answer.
    found.remove(".ref");
    // Stands in every event.
    found.remove(".seq");
    found
}

/// The variants of what is told, in small letters, with the event that each is.
fn events() -> BTreeSet<(String, String)> {
    let (_, body) = NOTICES.split_once("pub enum Notice {\n").unwrap();
    let (body, _) = body.split_once("\n}").unwrap();
    let mut renamed = None;
    let event = |line: &str| {
        let line = line.strip_prefix("    ")?;
        if let Some(name) = line.strip_prefix("#[serde(rename(serialize = \"") {
            renamed = name.split('"').next().map(str::to_owned);
        }
        let variant = Some(line).filter(|line| line.starts_with(char::is_uppercase)).map(kebab)?;
        Some((variant.clone(), renamed.take().unwrap_or(variant)))
    };
    body.lines().filter_map(event).collect()
}

/// One of each kind of what is told of rooms, with everything that it can have.
fn room_notices() -> Vec<Notice> {
    let (bob, key): (Name, _) = ("bob".parse().unwrap(), PublicKey([7; 32]));
    let (room, room_id): (RoomLabel, _) = ("#lab".parse().unwrap(), RoomKey([7; 32]));
    let (id, text, now) = (Cursor { epoch: 1, number: 2 }, Body::Text("hi".into()), Some(0));
    let (members, topic, presence) = (vec![bob.clone()], String::new(), Some(OnOff::Online));
    let past = PastRoom { past: Some(room_id), past_room: Some(room.clone()) };
    let line = RoomHistoryLine {
        seq: 1,
        id,
        from: bob.clone(),
        text: text.clone(),
        sent: 0,
        received: now,
        is_final: true,
        have: 1,
        of: 1,
        unknown: true,
    };
    let member = MemberLine {
        user: bob.clone(),
        fingerprint: key,
        owner: false,
        state: MemberState::Joined,
        linked: true,
        presence,
        behind: 0,
        holds_final: false,
        unknown: true,
    };
    let listed = RoomLine {
        room: room.clone(),
        room_id,
        owner: bob.clone(),
        topic: topic.clone(),
        past: past.clone(),
        state: RoomStanding::Joined,
        members: 1,
        linked: 1,
        unread: 1,
        waiting: 1,
    };
    let why = RoomWhy {
        room: room.clone(),
        room_id,
        state: RoomStanding::Joined,
        reason: RoomReason::Linked,
        past: past.clone(),
        past_here: Some(true),
        members: vec![MemberWhy { user: bob.clone(), linked: true, presence, reason: Reason::Linked }],
    };
    vec![
        Notice::Message {
            id,
            from: bob.clone(),
            text: text.clone(),
            sent: 0,
            received: 0,
            replayed: false,
            stranger: false,
            room: Some(room.clone()),
            room_id: Some(room_id),
            unknown: true,
        },
        Notice::Queued {
            id,
            to: room.clone().into(),
            linked: false,
            text: text.clone(),
            sent: 0,
            alone: true,
        },
        Notice::Sent { id, to: room.clone().into(), text: text.clone(), sent: 0, linked: false, alone: true },
        Notice::Spread { id, to: room.clone(), have: 1, of: 1, is_final: true },
        Notice::Invite {
            room: room.clone(),
            room_id,
            from: bob.clone(),
            members,
            topic,
            past: past.clone(),
            stranger: true,
        },
        Notice::Linked { room: room.clone(), room_id, linked: 3, members: 5 },
        Notice::Member {
            room: room.clone(),
            room_id,
            user: bob.clone(),
            state: MemberState::Joined,
            by: Some(bob),
            declined: true,
        },
        Notice::Room {
            room: room.clone(),
            room_id,
            state: RoomState::Founded,
            why: String::new(),
            declined: true,
        },
        Notice::RoomHistory { room: room.clone(), room_id, past, messages: vec![line.clone()] },
        Notice::RoomConversation { peer: room.clone(), room_id, unread: 0, messages: vec![line] },
        Notice::Rooms { rooms: vec![listed] },
        Notice::Members { room, room_id, members: vec![member] },
        Notice::RoomWhy(Box::new(why)),
    ]
}

/// One of each kind of what is told of users, with everything that it can have.
fn notices() -> Vec<Notice> {
    let bob: Name = "bob".parse().unwrap();
    let (id, key) = (Cursor { epoch: 1, number: 2 }, PublicKey([7; 32]));
    let (text, now) = (Body::Text("hi".into()), Some(0));
    let address = "127.0.0.1:1".parse().unwrap();
    let (state, detail) = (UpDown::Up, String::new());
    let contact = ContactLine {
        peer: bob.clone(),
        fingerprint: Some(key),
        offered: Some(key),
        verified: false,
        linked: false,
        linked_since: now,
        route: Some(Via::Direct),
        presence: Some(OnOff::Online),
        presence_since: now,
        last_seen: now,
        requested: false,
        stranger: false,
        blocked: false,
        waiting: 0,
        unread: 0,
        bytes: 0,
        address: Some(address),
    };
    let line = HistoryLine {
        seq: 1,
        id,
        from: bob.clone(),
        text: text.clone(),
        sent: 0,
        received: now,
        delivered: true,
    };
    let why = Why {
        reason: Reason::Linked,
        contact: contact.clone(),
        discovery: DiscoveryLine { state, detail: detail.clone(), since: now },
        nat: Some(Nat { kind: Between::SamePort, observed: address, mapped: None }),
        addresses: vec![AddressLine {
            address: address.into(),
            route: Via::Direct,
            worked: true,
            told: true,
            tried: now,
            problem: None,
        }],
        dialling: false,
        next_dial: now,
        asking: false,
        next_asked: now,
        goodbye: Some(Goodbye { at: 0, reason: "".into() }),
    };
    let within = FoundIn { room: Some("#lab".parse().unwrap()), room_id: Some(RoomKey([7; 32])) };
    let outbox = OutboxLine { id, to: bob.clone().into(), text: text.clone(), sent: 0 };
    let error = ErrorNotice {
        code: Code::Undeliverable,
        message: String::new(),
        peer: Some(bob.clone()),
        room: Some("#lab".parse().unwrap()),
        room_id: Some(RoomKey([7; 32])),
        id: Some(id),
        text: Some(String::new()),
    };
    vec![
        Notice::hello(),
        Notice::Ready { user: bob.clone(), address, fingerprint: key },
        Notice::Discovery { state, detail: detail.clone() },
        Notice::Presence { peer: bob.clone(), state: OnOff::Online },
        Notice::Request { from: bob.clone(), fingerprint: key, stranger: true, resembles: Some(bob.clone()) },
        Notice::Full { from: bob.clone() },
        Notice::Requested { peer: bob.clone() },
        Notice::Reachable(Reachable::Nat { address }),
        Notice::Link { peer: bob.clone(), state, route: Some(Via::Direct), stranger: true },
        Notice::Message {
            id,
            from: bob.clone(),
            text: text.clone(),
            sent: 0,
            received: 0,
            replayed: false,
            stranger: true,
            room: None,
            room_id: None,
            unknown: false,
        },
        Notice::Queued {
            id,
            to: bob.clone().into(),
            linked: true,
            text: text.clone(),
            sent: 0,
            alone: false,
        },
        Notice::Sent { id, to: bob.clone().into(), text, sent: 0, linked: true, alone: false },
        Notice::Read { peer: bob.clone().into(), up_to: 1, unread: 0 },
        Notice::Delivered { id, to: bob.clone() },
        Notice::Held { to: bob.clone(), reason: HeldReason::NotAnswered, waiting: 1 },
        Notice::Lost { peer: bob.clone(), messages: 1 },
        Notice::Resent { peer: bob.clone(), messages: 1 },
        Notice::Forgotten { peer: bob.clone() },
        Notice::Trusted { fingerprint: key },
        Notice::Error(error),
        Notice::Contacts { contacts: vec![contact.clone()] },
        Notice::Contact(Box::new(contact)),
        Notice::Outbox { waiting: 1, messages: vec![outbox] },
        Notice::History { peer: bob.clone(), messages: vec![line.clone()] },
        Notice::Conversation { peer: Some(bob.clone()), unread: 0, messages: vec![line.clone()] },
        Notice::Found {
            words: detail.clone(),
            peer: None,
            room: within.clone(),
            messages: vec![FoundLine { peer: Addressee::User(bob.clone()), room: within, line }],
        },
        Notice::Help { commands: vec![("".into(), "".into())] },
        Notice::Explanation(Explanation::of("OUTBOX").unwrap()),
        Notice::Why(Box::new(why)),
        Notice::Prompt(Box::new(PromptLine {
            conversation: Some(bob.clone().into()),
            waiting: 0,
            unread: [
                (Addressee::User("carol".parse().unwrap()), 2),
                (Addressee::Room("#lab".parse().unwrap()), 1),
            ]
            .into(),
            work: Some(Work::Receiving { from: bob.clone().into(), count: 1, of: Some(2) }),
            contacts: Some(vec![bob.clone()]),
            rooms: Some(Vec::new()),
        })),
        Notice::Verification { peer: bob, code: detail, verified: false },
        Notice::Detached,
        Notice::Lagged,
        Notice::Bye { waiting: 0 },
    ]
}

#[test]
fn every_event_is_documented_with_its_fields() {
    let documented = examples("event");
    let events: BTreeMap<_, _> = events().into_iter().collect();
    assert_eq!(documented.keys().collect::<BTreeSet<_>>(), events.values().collect());
    let (mut variants, mut shown) = (BTreeSet::new(), BTreeMap::<_, BTreeSet<_>>::new());
    for notice in notices().into_iter().chain(room_notices()) {
        let variant = kebab(&format!("{notice:?}"));
        let mut written = Vec::new();
        Told::from(notice).write_json(&mut written);
        let written: Value = serde_json::from_slice(&written).unwrap();
        let event = written["event"].as_str().unwrap();
        assert_eq!(events[&variant], event);
        for field in fields_of(&written) {
            // Names of users and rooms.
            if field.starts_with(".unread.") {
                continue;
            }
            let name = field.rsplit('.').next().unwrap();
            assert!(DOCUMENT.contains(&format!("`{name}`")), "{event}: {field}");
        }
        assert!(DOCUMENT.contains(&format!("\n`{event}`: ")), "{event} has its paragraph");
        shown.entry(event.to_owned()).or_default().insert(fields_of(&written));
        variants.insert(variant);
    }
    assert_eq!(variants, events.into_keys().collect());
    for (event, examples) in documented {
        let examples: BTreeSet<_> = examples.iter().map(fields_of).collect();
        assert_eq!(examples, shown[&event], "{event}");
    }
}

#[test]
fn every_error_and_reason_is_documented() {
    assert_eq!(first_column("| code | meaning |"), variants(NOTICES, "Code"));
    assert_eq!(first_column("| reason | meaning |"), variants(REASONS, "Reason"));
    assert_eq!(first_column("| reason for a room | meaning |"), variants(ROOMS, "RoomReason"));
    for (header, name) in
        [("| state of a member | meaning |", "MemberState"), ("| state of a room | meaning |", "RoomState")]
    {
        assert_eq!(first_column(header), variants(ROOMS, name));
    }
}

#[test]
fn every_command_is_documented_and_its_examples_are_taken() {
    let commands: BTreeSet<_> = json::words().map(str::to_owned).collect();
    assert_eq!(first_column("| command | fields | answer |"), commands);
    assert_eq!(examples("command").into_keys().collect::<BTreeSet<_>>(), commands);
    let lines = DOCUMENT.lines().filter(|line| line.starts_with(r#"{"command""#));
    for line in lines {
        assert!(json::parse(line).1.is_ok(), "{line}: {:?}", json::parse(line).1);
    }
}
