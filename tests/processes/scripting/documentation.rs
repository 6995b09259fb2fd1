//! `docs/scripting.md` names every event, field, error and command that there is, and no other.

use std::collections::{BTreeMap, BTreeSet};

use peerchat::client::command::{Explanation, json};
use peerchat::client::notice::{
    AddressLine, Between, Body, Code, ContactLine, DiscoveryLine, ErrorNotice, FoundLine, Goodbye,
    HeldReason, HistoryLine, Nat, Notice, OnOff, OutboxLine, Reachable, Reason, Told, UpDown, Why,
};
use peerchat::protocol::peer::{Cursor, Via};
use peerchat::protocol::{Name, PublicKey};
use serde_json::Value;

const DOCUMENT: &str = include_str!("../../../docs/scripting.md");
const NOTICES: &str = include_str!("../../../src/client/notice.rs");
const REASONS: &str = include_str!("../../../src/client/notice/why.rs");

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
fn examples(field: &str) -> BTreeMap<String, Value> {
    let start = format!("{{\"{field}\"");
    let objects = DOCUMENT.lines().filter(|line| line.starts_with(&start));
    let objects = objects.map(|line| serde_json::from_str::<Value>(line).expect(line));
    objects.filter_map(|object| Some((object[field].as_str()?.to_owned(), object))).collect()
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
    found
}

/// One of each kind, with everything that it can have.
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
    let line =
        HistoryLine { id, from: bob.clone(), text: text.clone(), sent: 0, received: now, delivered: true };
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
        goodbye: Some(Goodbye { at: 0, reason: "" }),
    };
    let outbox = OutboxLine { id, to: bob.clone(), text: text.clone(), sent: 0 };
    let error = ErrorNotice {
        code: Code::Undeliverable,
        message: String::new(),
        peer: Some(bob.clone()),
        id: Some(id),
        text: Some(String::new()),
    };
    vec![
        Notice::Ready { user: bob.clone(), address, fingerprint: key },
        Notice::Discovery { state, detail: detail.clone() },
        Notice::Presence { peer: bob.clone(), state: OnOff::Online },
        Notice::Request { from: bob.clone(), fingerprint: key, stranger: true, resembles: Some(bob.clone()) },
        Notice::Full { from: bob.clone() },
        Notice::Requested { peer: bob.clone() },
        Notice::Reachable(Reachable::Nat { address }),
        Notice::Link { peer: bob.clone(), state, route: Some(Via::Direct), stranger: false },
        Notice::Message {
            id,
            from: bob.clone(),
            text: text.clone(),
            sent: 0,
            received: 0,
            replayed: false,
            stranger: true,
        },
        Notice::Queued { id, to: bob.clone(), linked: true, text, sent: 0 },
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
            messages: vec![FoundLine { peer: bob.clone(), line }],
        },
        Notice::Help { commands: vec![("", "")] },
        Notice::Explanation(Explanation::of("OUTBOX").unwrap()),
        Notice::Why(Box::new(why)),
        Notice::Verification { peer: bob, code: detail, verified: false },
        Notice::Bye { waiting: 0 },
    ]
}

#[test]
fn every_event_is_documented_with_its_fields() {
    let documented = examples("event");
    assert_eq!(documented.keys().cloned().collect::<BTreeSet<_>>(), variants(NOTICES, "Notice"));
    let mut seen = BTreeSet::new();
    for notice in notices() {
        let mut written = Vec::new();
        Told::from(notice).write_json(&mut written);
        let written: Value = serde_json::from_slice(&written).unwrap();
        let event = written["event"].as_str().unwrap();
        assert_eq!(fields_of(&documented[event]), fields_of(&written), "{event}");
        for field in fields_of(&written) {
            let name = field.rsplit('.').next().unwrap();
            assert!(DOCUMENT.contains(&format!("`{name}`")), "{event}: {field}");
        }
        assert!(DOCUMENT.contains(&format!("\n`{event}`: ")), "{event} has its paragraph");
        seen.insert(event.to_owned());
    }
    assert_eq!(seen, variants(NOTICES, "Notice"));
}

#[test]
fn every_error_and_reason_is_documented() {
    assert_eq!(first_column("| code | meaning |"), variants(NOTICES, "Code"));
    assert_eq!(first_column("| reason | meaning |"), variants(REASONS, "Reason"));
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
