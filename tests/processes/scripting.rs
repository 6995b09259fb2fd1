//! What scripts rely on: commands as JSON with their answers, one-shot sends, the documentation, the example bot.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::support::client::{Client, command, linked_pair};
use crate::support::discovery::{Discovery, scratch};
use serde_json::{Value, json};

mod bot;
mod documentation;

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

#[test]
fn each_command_is_answered_however_long_the_answers_are() {
    let (directory, _) = scratch();
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let mut alice = Client::start(directory.path(), "alice", nowhere);
    alice.say("REQUEST bob");
    let long = format!("CHAT bob {}", "x".repeat(32 * 1024));
    (0..30).for_each(|_| alice.say(&long));
    // Together more than may wait to be written.
    let history = |number| json!({"command": "history", "peer": "bob", "count": 1000, "ref": number});
    let commands: Vec<_> = (0..16).map(|number| history(number).to_string()).collect();
    alice.say(&commands.join("\n"));
    for number in 0..16 {
        let answer = loop {
            let event = alice.next_or_end().expect("an answer");
            assert_ne!(event["code"], "output-behind");
            if event["event"] == "history" {
                break event;
            }
        };
        assert_eq!((&answer["ref"], answer["messages"].as_array().unwrap().len()), (&json!(number), 30));
    }
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

/// `client alice 0 --send …`, run to its end: its exit status, standard output and standard error.
fn send(directory: &Path, discovery: SocketAddr, options: &[&str], input: &[u8]) -> (i32, String, String) {
    let mut child = command(directory, "alice", 0, discovery, options).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn one_text_is_sent_and_its_exit_status_tells_what_became_of_it() {
    let (directory, db) = scratch();
    let directory = directory.path();
    let discovery = Discovery::start(&db);
    let at = discovery.address;
    let silent = |status| (status, String::new(), String::new());
    let one_line = |stderr: &str, parts: &[&str]| {
        assert!(stderr.lines().count() == 1 && parts.iter().all(|part| stderr.contains(part)), "{stderr}");
    };
    let mut bob = Client::online(directory, "bob", at);

    // Neither user has requested the other before: the one-shot does it.
    assert_eq!(send(directory, at, &["--send", "bob", "the build is green"], b""), silent(0));
    bob.expect_message("alice", "the build is green");
    assert_eq!(send(directory, at, &["--send", "bob", "-"], b"two\nlines\n"), silent(0));
    bob.expect_message("alice", "two\nlines");
    assert_eq!(send(directory, at, &["--send", "bob", "--json"], b""), silent(0));
    bob.expect_message("alice", "--json");

    // What waits for another user does not count.
    let (status, stdout, stderr) = send(directory, at, &["--linger", "0.3", "--send", "ghost", "boo"], b"");
    assert_eq!((status, stdout.as_str()), (1, ""), "{stderr}");
    one_line(&stderr, &["no user ghost"]);
    let carol = Client::online(directory, "carol", at);
    carol.log_out();
    let (status, _, stderr) = send(directory, at, &["--linger", "0.5", "--send", "carol", "later"], b"");
    assert_eq!(status, 3);
    one_line(&stderr, &["carol", "offline", "kept"]);
    assert_eq!(send(directory, at, &["--send", "bob", "still fine"], b""), silent(0));
    bob.expect_message("alice", "still fine");

    for (options, input, expected) in [
        (&["--send", "bob", "-"][..], &[b'x'; 40_000][..], "at most 32768 bytes"),
        (&["--send", "bob", "-"], b"\n", "empty"),
        (&["--send", "Bob", "x"], b"", "names are in lower case"),
        (&["--send", "alice", "x"], b"", "yourself"),
    ] {
        let (status, stdout, stderr) = send(directory, at, options, input);
        assert_eq!((status, stdout.as_str()), (1, ""), "{stderr}");
        one_line(&stderr, &[expected]);
    }

    // With JSON everything is said that a client says.
    let (status, stdout, _) = send(directory, at, &["--json", "--send", "bob", "hello"], b"");
    assert_eq!(status, 0);
    let events: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let id = |kind: &str| events.iter().find(|event| event["event"] == kind).unwrap()["id"].clone();
    assert_eq!(id("queued"), id("delivered"));
    assert_eq!(events.last().unwrap()["event"], "bye");
    bob.expect_message("alice", "hello");

    // While her client runs, that one says it.
    let mut alice = Client::online(directory, "alice", at);
    assert_eq!(send(directory, at, &["--send", "bob", "through the other"], b""), silent(0));
    bob.expect_message("alice", "through the other");
    assert_eq!(alice.wait("sent", |_| true)["text"], "through the other");
    let (status, stdout, stderr) = send(directory, at, &["--send", "ghost", "boo"], b"");
    assert_eq!((status, stdout.as_str()), (1, ""), "{stderr}");
    one_line(&stderr, &["no user ghost"]);
    let (status, _, stderr) = send(directory, at, &["--send", "alice", "x"], b"");
    assert_eq!(status, 1);
    one_line(&stderr, &["yourself"]);
    let (status, _, stderr) = send(directory, at, &["--linger", "0.3", "--send", "carol", "again"], b"");
    assert_eq!(status, 3);
    one_line(&stderr, &["carol", "offline", "kept"]);
    let (status, stdout, _) = send(directory, at, &["--json", "--send", "bob", "and with JSON"], b"");
    assert_eq!((status, stdout.lines().next().unwrap().contains("hello")), (0, true));
    bob.expect_message("alice", "and with JSON");

    // What waited goes out with the next client; nothing that was refused does.
    let mut carol = Client::online(directory, "carol", at);
    carol.expect_message("alice", "later");
    carol.expect_message("alice", "again");
    alice.wait("delivered", |delivered| delivered["to"] == "carol");
    alice.wait("delivered", |delivered| delivered["to"] == "carol");
    assert_eq!(ask(&mut alice, json!({"command": "outbox"}), json!(1))["waiting"], 0);
    assert_eq!(
        ask(&mut alice, json!({"command": "contacts"}), json!(2))["contacts"].as_array().unwrap().len(),
        2
    );
    alice.say("HISTORY bob");
    let history = alice.wait("history", |_| true);
    assert_eq!(history["messages"].as_array().unwrap().len(), 7);
}

#[test]
fn what_comes_in_during_a_one_shot_is_shown_at_the_next_start() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (alice, mut bob) = linked_pair(directory.path(), discovery.address);
    Client::online(directory.path(), "carol", discovery.address).log_out();
    alice.log_out();
    bob.expect_gone("alice");
    for i in 0..3 {
        bob.say(&format!("CHAT alice {i}"));
    }
    let options = ["--linger", "forever", "--send", "carol", "hello"];
    let mut one = command(directory.path(), "alice", 0, discovery.address, &options).spawn().unwrap();
    bob.expect_delivered(3);
    one.kill().unwrap();
    assert!(one.wait_with_output().unwrap().stdout.is_empty());
    let mut alice = Client::start(directory.path(), "alice", discovery.address);
    for i in 0..3 {
        alice.expect_message("bob", &i.to_string());
    }
}

#[test]
fn a_one_shot_that_is_interrupted_says_that_the_text_waits() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (alice, bob) = linked_pair(directory.path(), discovery.address);
    bob.log_out();
    alice.log_out();
    let options = ["--linger", "forever", "--send", "bob", "hello"];
    let mut alice =
        Client::spawn("alice", &mut command(directory.path(), "alice", 0, discovery.address, &options));
    alice.wait("queued", |_| true);
    alice.signal("-TERM");
    let (status, stderr) = alice.ended();
    assert_eq!((status.code(), stderr.lines().count()), (Some(3), 1), "{stderr}");
}
