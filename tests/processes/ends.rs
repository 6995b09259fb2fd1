//! How a client starts and ends: arguments, signals, pipes, files that are not right.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::client::{Client, command, linked_pair};
use crate::support::discovery::{Discovery, scratch, wait};

/// An address where no program listens.
fn nobody() -> std::net::SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn signals_end_it_quietly_and_soon() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    for signal in ["-INT", "-TERM", "-HUP"] {
        let (mut alice, mut bob) = linked_pair(directory.path(), discovery.address);
        let start = Instant::now();
        alice.signal(signal);
        let (status, stderr) = alice.ended();
        assert_eq!((status.code(), stderr.as_str()), (Some(0), ""), "{signal}");
        // Two seconds are promised; a busy machine may take its time on top.
        assert!(start.elapsed() < Duration::from_secs(10));
        assert_eq!(alice.rest().last().unwrap()["event"], "bye");
        bob.expect_gone("alice");
        bob.log_out();
    }
}

#[test]
fn the_end_of_a_pipe_waits_for_deliveries_and_tells_by_its_status() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (alice, mut bob) = linked_pair(directory.path(), discovery.address);
    alice.log_out();
    let run = |options: &[&str], input: &str| {
        let mut child = command(directory.path(), "alice", 0, discovery.address, options).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let lines: String = (0..200).map(|i| format!("CHAT bob {i}\n")).collect();
    assert_eq!(run(&[], &lines).status.code(), Some(0));
    for i in 0..200 {
        bob.expect_message("alice", &i.to_string());
    }
    // A last line without an end counts too.
    assert_eq!(run(&[], "CHAT bob no newline").status.code(), Some(0));
    bob.expect_message("alice", "no newline");
    assert_eq!(run(&[], "").status.code(), Some(0));
    // What was refused is no success.
    for refused in ["CHAT nobody hi", "SHOUT", "REQUEST nobody", "CHAT Bob hi"] {
        let output = run(&[], refused);
        assert_eq!(output.status.code(), Some(1), "{refused}");
        assert_eq!(String::from_utf8(output.stderr).unwrap().lines().count(), 1, "{refused}");
    }

    bob.log_out();
    let output = run(&["--linger", "0.3"], "CHAT bob later");
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(String::from_utf8(output.stderr).unwrap().lines().count(), 1);
    let output = run(&["--linger", "0"], "REQUEST ghost\nCHAT ghost boo\n");
    assert_eq!(output.status.code(), Some(3));

    // Forever: until it is delivered.
    let mut child =
        command(directory.path(), "alice", 0, discovery.address, &["--linger", "forever"]).spawn().unwrap();
    drop(child.stdin.take());
    let mut bob = Client::start(directory.path(), "bob", discovery.address);
    bob.expect_message("alice", "later");
    assert_eq!(wait(&mut child, Duration::from_secs(20)).code(), Some(1), "ghost was given back");
}

#[test]
fn a_closed_output_ends_it_and_loses_no_message() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut alice, bob) = linked_pair(directory.path(), discovery.address);
    bob.log_out();
    let mut child = command(directory.path(), "bob", 0, discovery.address, &["--json"]).spawn().unwrap();
    drop(child.stdout.take());
    alice.say("CHAT bob anybody?");
    assert_eq!(wait(&mut child, Duration::from_secs(20)).code(), Some(0));
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(stderr, "");
    let mut bob = Client::start(directory.path(), "bob", discovery.address);
    bob.expect_message("alice", "anybody?");
}

#[test]
fn an_output_that_nobody_reads_keeps_nobody_from_chatting() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut alice, bob) = linked_pair(directory.path(), discovery.address);
    bob.log_out();
    let mut bob = command(directory.path(), "bob", 0, discovery.address, &["--json"]).spawn().unwrap();
    alice.expect_link("bob");
    // Far more than a pipe and the client's own bound hold, while its output is not read at all.
    let (count, size) = (1500, 8000);
    for i in 0..count {
        alice.say(&format!("CHAT bob {i} {}", "x".repeat(size)));
    }
    alice.expect_delivered(count);
    // Its commands work too.
    writeln!(bob.stdin.as_mut().unwrap(), "CHAT alice I can't see you").unwrap();
    alice.expect_message("bob", "I can't see you");
    // Now it is read, and everything is there, once and in order.
    let stdout = std::io::BufReader::new(bob.stdout.take().unwrap());
    let mut next = 0;
    for line in std::io::BufRead::lines(stdout) {
        let event: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        if event["event"] == "message" {
            assert!(event["text"].as_str().unwrap().starts_with(&format!("{next} ")), "{next}");
            next += 1;
            if next == count {
                break;
            }
        }
    }
    let _ = bob.kill();
    let _ = bob.wait();
}

/// A limit on the size of files stands for a disk that is full.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_costs_no_promise_and_no_message() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let start = |name| Client::with_limited_files(directory.path(), name, discovery.address);
    let (mut alice, mut bob) = (start("alice"), start("bob"));
    alice.say("REQUEST bob");
    alice.expect_link("bob");
    bob.expect_link("alice");
    bob.say("CHAT alice before");
    alice.expect_message("bob", "before");
    bob.expect_delivered(1);
    for victim_is_sender in [true, false] {
        let victim = if victim_is_sender { alice.pid() } else { bob.pid() };
        let limit = |size: &str| {
            let limit = format!("--fsize={size}:unlimited");
            assert!(Command::new("prlimit").args([&limit, "--pid", &victim]).status().unwrap().success());
        };
        limit("4096");
        alice.say("CHAT bob during");
        if victim_is_sender {
            let error = alice.expect_error("not-saved");
            assert_eq!((&error["peer"], &error["text"]), (&"bob".into(), &"during".into()));
            // What needs no disk goes on.
            alice.say("HISTORY bob");
            assert_eq!(alice.wait("history", |_| true)["messages"].as_array().unwrap().len(), 1);
        } else {
            // Nothing is acknowledged that was not kept: the sender keeps it, and tries again.
            alice.wait("queued", |_| true);
            alice.expect_unlink("bob");
            bob.say("CHAT alice not now");
            bob.expect_error("not-saved");
        }
        limit("unlimited");
        alice.say("CHAT bob after");
        if !victim_is_sender {
            bob.expect_message("alice", "during");
        }
        bob.expect_message("alice", "after");
        alice.expect_delivered(if victim_is_sender { 1 } else { 2 });
    }
    bob.say("CHAT alice at last");
    alice.expect_message("bob", "at last");
    assert!(!bob.settle().iter().any(|event| event["replayed"] == true));
}

#[test]
fn mistakes_at_the_start_are_named_before_anything_happens() {
    let (directory, _) = scratch();
    let data = directory.path().join("data");
    let client = || {
        let mut command = crate::support::client::program();
        command.arg("--data-dir").arg(&data).stdin(Stdio::null());
        command
    };
    for arguments in [
        &["alice"][..],
        &[],
        &["Alice", "0"],
        &["al ice", "0"],
        &["../alice", "0"],
        &["alice", "70000"],
        &["alice", "0", "not-an-address"],
        &["alice", "0", "--linger", "never"],
        &["alice", "0", "--discovery-key", "abc"],
        &["alice", "0", "--unknown"],
    ] {
        let output = client().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{arguments:?}");
    }
    let plain = directory.path().join("plain");
    std::fs::write(&plain, "").unwrap();
    for program in ["no-such-program-anywhere", "/no/such/program", plain.to_str().unwrap(), "/"] {
        let output = client().args(["alice", "0", "--notify", program]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{program}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        let named = stderr.contains(&format!("--notify: can't run {program}"));
        assert!(named && stderr.lines().count() == 1, "{stderr}");
    }
    assert!(!data.exists(), "nothing was made");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let output = client().args(["alice", &taken.local_addr().unwrap().port().to_string()]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("can't listen on") && stderr.lines().count() == 1, "{stderr}");
    assert!(!data.exists(), "nothing was made");

    let file = directory.path().join("a-file");
    std::fs::write(&file, "").unwrap();
    let output = command(&file, "alice", 0, nobody(), &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("a-file") && stderr.lines().count() == 1, "{stderr}");
}

#[test]
fn a_damaged_journal_is_refused_and_left_as_it_was() {
    let (directory, _) = scratch();
    drop(Client::start(directory.path(), "alice", nobody()));
    let path = directory.path().join("alice.journal");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for content in [&b""[..], b"not a journal", &[0; 10_000]] {
        for beside in ["alice.journal-wal", "alice.journal-shm"] {
            let _ = std::fs::remove_file(directory.path().join(beside));
        }
        std::fs::write(&path, content).unwrap();
        let output = command(directory.path(), "alice", 0, nobody(), &[]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains("alice.journal") && stderr.lines().count() == 1, "{stderr}");
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
}

#[test]
fn without_json_it_is_plain_text_in_which_nothing_can_act_on_the_terminal() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut alice, bob) = linked_pair(directory.path(), discovery.address);
    bob.log_out();
    let attack = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\u{202e}gnp.exe\u{2066}\r> CHAT alice yes\u{8}\u{7f}";
    alice.say(&format!("CHAT bob {attack}"));
    alice.say("CHAT bob plain");
    for json in [false, true] {
        let options: &[&str] = if json { &["--json"] } else { &[] };
        let mut bob = command(directory.path(), "bob", 0, discovery.address, options).spawn().unwrap();
        if !json {
            alice.expect_delivered(2);
        }
        writeln!(bob.stdin.as_mut().unwrap(), "HISTORY alice\nLOGOUT").unwrap();
        let output = bob.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("plain") && text.contains("gnp.exe"), "{text}");
        let acts = |c: char| {
            (c.is_control() && c != '\n') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        assert!(!text.chars().any(acts), "{text:?}");
        if json {
            let entry = text
                .lines()
                .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
                .find(|event| event["event"] == "history")
                .unwrap();
            assert_eq!(entry["messages"][0]["text"], attack);
        }
    }
}
