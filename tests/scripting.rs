//! What scripts rely on: commands as JSON with their answers, one-shot sends, the documentation, the example bot.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::process::Command;

use serde_json::{Value, json};
use support::client::{Client, linked_pair};
use support::discovery::{Discovery, scratch};

mod support;

/// Says a command and waits for the answer that repeats its reference.
fn ask(client: &mut Client, mut command: Value, reference: Value) -> Value {
    command["ref"] = reference.clone();
    client.say(&command.to_string());
    loop {
        let answer = client.next_or_end().expect("an answer");
        if answer["ref"] == reference {
            return answer;
        }
    }
}

#[test]
fn commands_are_json_and_their_answers_say_what_they_answer() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut alice, mut bob) = linked_pair(directory.path(), discovery.address);

    let text = "two\nlines, a \u{0}, a \u{9b}31m and \"quotes\"\n";
    let queued = ask(&mut alice, json!({"command": "chat", "to": "bob", "text": text}), json!("7"));
    assert_eq!(queued["event"], "queued");
    let message = bob.expect_message("alice", text);
    assert_eq!(message["id"], queued["id"]);
    let delivered = alice.wait("delivered", |_| true);
    assert_eq!((&delivered["id"], &delivered["ref"]), (&queued["id"], &Value::Null));

    for (number, (command, answer)) in [
        (json!({"command": "request", "peer": "bob"}), "requested"),
        (json!({"command": "contacts"}), "contacts"),
        (json!({"command": "outbox"}), "outbox"),
        (json!({"command": "history", "peer": "bob", "count": 5}), "history"),
        (json!({"command": "block", "peer": "carol"}), "contact"),
        (json!({"command": "unblock", "peer": "carol"}), "contact"),
        (json!({"command": "trust", "peer": "bob"}), "error"),
        (json!({"command": "help"}), "help"),
        (json!({"command": "shout"}), "error"),
        (json!({"command": "chat", "to": "nobody", "text": "x"}), "error"),
        (json!({"command": "chat", "to": "bob", "text": "x", "loud": true}), "error"),
        (json!({"command": "chat", "to": "bob", "text": "x".repeat(40_000)}), "error"),
        (json!({"command": "logout"}), "bye"),
    ]
    .into_iter()
    .enumerate()
    {
        let said = ask(&mut alice, command.clone(), json!(number));
        assert_eq!(said["event"], answer, "{command}");
    }
    assert_eq!(alice.ended().0.code(), Some(0));
}

#[cfg(target_os = "linux")]
#[test]
fn what_could_not_be_saved_says_which_it_was() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut alice = Client::with_limited_files(directory.path(), "alice", discovery.address);
    let limited = Command::new("prlimit").args(["--fsize=4096:unlimited", "--pid", &alice.pid()]).status();
    assert!(limited.unwrap().success());
    let error = ask(&mut alice, json!({"command": "request", "peer": "bob"}), json!("r1"));
    assert_eq!((&error["event"], &error["code"]), (&json!("error"), &json!("not-saved")));
}
