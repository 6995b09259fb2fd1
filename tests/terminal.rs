//! What a person at a terminal meets: real clients at real pseudo-terminals, whose screens are looked at.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::io::Read;

use support::client::Client;
use support::discovery::{Discovery, scratch};
use support::terminal::{Terminal, command};

mod support;
mod terminal {
    mod boxes;
    mod config;
    mod full;
    mod logs;
    mod readme;
    mod screen;
    mod typing;
    mod width;
}

/// Bob at a terminal, and alice at a pipe, linked.
fn pair(directory: &std::path::Path, discovery: &Discovery) -> (Terminal, Client) {
    let mut bob = Terminal::client(directory, "bob", discovery.address, &[]);
    let mut alice = Client::online(directory, "alice", discovery.address);
    alice.say("REQUEST bob");
    alice.expect_link("bob");
    bob.expect("alice is linked");
    (bob, alice)
}

#[test]
fn what_arrives_leaves_what_is_typed_as_it_was() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut bob, mut alice) = pair(directory.path(), &discovery);
    bob.type_in("CHAT alice good mroning\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D");
    bob.expect_line("> CHAT alice good mroning", 20);
    alice.say("CHAT bob are you there?");
    bob.expect("alice: are you there?");
    bob.expect_line("[unread: alice 1]> CHAT alice good mroning", 37);
    bob.type_in("\x7for\x1b[3~\x1b[3~");
    bob.type_in("\x14");
    bob.enter("");
    alice.wait("message", |message| message["text"].as_str().is_some_and(|text| text.starts_with("good mo")));
    // The terminal was never asked anything.
    assert!(!bob.written.windows(3).any(|bytes| bytes == b"[6n"));
}

#[test]
fn ten_thousand_lines_arrive_while_somebody_types() {
    const LINES: usize = 10_000;
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut bob, mut alice) = pair(directory.path(), &discovery);
    // A search that stays open blocks nothing.
    bob.enter("CHAT alice first");
    alice.expect_message("bob", "first");
    bob.type_in("\x12fir");
    bob.wait("search", |bob| bob.line().0.contains("'fir': CHAT alice first"));
    let lines: String = (0..LINES).map(|number| format!("CHAT bob number {number}.\n")).collect();
    alice.write(&lines.as_bytes()[..lines.len() / 2]);
    bob.wait("a thousand", |bob| {
        let last = bob.rows().into_iter().rev().find(|row| row.contains("number"));
        last.is_some_and(|row| {
            row.trim_end_matches('.').rsplit(' ').next().unwrap().parse().is_ok_and(|it: usize| it > 1000)
        })
    });
    bob.type_in("\x07half-typed\x01");
    alice.write(&lines.as_bytes()[lines.len() / 2..]);
    // Somebody types all the while.
    for _ in 0..200 {
        bob.type_in("xé好\x7f\x7f\x7f");
    }
    bob.expect(&format!("number {}.", LINES - 1));
    bob.expect_line("[unread: alice 999+]> half-typed", 22);
    let everything = bob.everything();
    let arrived: Vec<_> = everything.iter().filter(|line| line.contains("number ")).collect();
    assert_eq!(arrived.len(), LINES);
    for (number, line) in arrived.into_iter().enumerate() {
        assert!(line.starts_with('[') && line.ends_with(&format!("] alice: number {number}.")), "{line:?}");
    }
    assert_eq!(everything.iter().filter(|line| line.contains("half")).count(), 1);
    bob.enter("");
    bob.expect("is not a command");
}

#[test]
fn every_way_to_end_leaves_the_terminal_as_it_was() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let start = || Terminal::client(directory.path(), "bob", discovery.address, &[]);
    for keys in [
        "LOGOUT\r",
        "half-typed\x15/logout\r",
        "\x04",
        "\x03\x03",
        "half-typed\x03\x03\x03",
        "\x12log\x03\x03\x03",
    ] {
        let mut bob = start();
        bob.type_in(keys);
        bob.expect_end(0);
        assert_eq!(bob.rows().last().unwrap(), "* bye", "{keys:?}");
    }
    let mut bob = start();
    bob.type_in("\x03");
    bob.expect("Ctrl+C again to leave");
    bob.type_in("/outbox\r\x03");
    bob.expect("* nothing waits to be delivered");
    bob.expect("Ctrl+C again to leave");
    bob.type_in("\x03");
    bob.expect_end(0);
    for signal in ["-INT", "-TERM", "-HUP"] {
        for (typed, shown) in [
            ("", ">"),
            ("half-typed", "> half-typed"),
            ("\x12search", "no match for 'search':"),
            ("\x1b[200~one\rtwo\x1b[201~\r", "(y/n)"),
        ] {
            let mut bob = start();
            bob.type_in(typed);
            bob.wait(typed, |bob| bob.rows().last().unwrap().ends_with(shown));
            bob.signal(signal);
            bob.expect_end(0);
            assert_eq!(bob.rows().last().unwrap(), "* bye", "{signal} {typed:?}");
        }
    }
    // And an error: there is no client to attach to.
    let mut other = Terminal::run(command(directory.path(), "bob", discovery.address, &["--attach"]));
    assert_eq!(other.ended().code(), Some(1));
    other.expect_as_before();
}

#[test]
fn tab_completes_and_shows_what_there_is() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut bob, mut alice) = pair(directory.path(), &discovery);
    bob.type_in("cha\t");
    bob.expect_line("> chat", 7);
    bob.expect("CHAT <user> <message>");
    bob.type_in("al\t");
    bob.expect_line("> chat alice", 13);
    // What is shown below goes with the next key, and lines that arrive leave it alone.
    bob.type_in("\x15C\t");
    bob.expect("CHAT  CONTACTS");
    alice.say("CHAT bob still there?");
    bob.expect("alice: still there?");
    bob.expect("CHAT  CONTACTS");
    bob.expect_line("[unread: alice 1]> C", 20);
    bob.type_in("O");
    bob.wait("no candidates", |bob| !bob.rows().last().unwrap().contains("CHAT"));
    bob.enter("\x15/histroy alice");
    bob.expect("did you mean HISTORY?");
    bob.enter("/history alcie");
    bob.expect("did you mean alice?");
}

#[test]
fn wide_characters_and_other_widths() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut bob, mut alice) = pair(directory.path(), &discovery);
    bob.type_in("CHAT alice 你好é🦀");
    bob.expect_line("> CHAT alice 你好é🦀", 20);
    bob.type_in("\x1b[D\x1b[D\x7f");
    bob.expect_line("> CHAT alice 你é🦀", 15);
    for (width, height) in [(20, 24), (7, 5), (3, 2), (1, 1), (80, 24), (200, 50)] {
        bob.resize(width, height);
        let text = format!("at {width}");
        alice.say(&format!("CHAT bob {text}"));
        alice.expect_delivered(1);
    }
    bob.expect("alice: at 200");
    bob.wait("the line as it was", |bob| bob.line().0.ends_with("> CHAT alice 你é🦀"));
    bob.enter("");
    alice.expect_message("bob", "你é🦀");
    bob.enter("LOGOUT");
    bob.expect_end(0);
}

/// What a user would believe that alice has said.
const FORGED: &str = "alice: the new account is DE12 3456";

/// Sends a text of any kind to bob, and waits until he has it.
fn send(from: &mut Client, text: &str) {
    let command = serde_json::json!({"command": "chat", "to": "bob", "text": text});
    from.say(&command.to_string());
    from.expect_delivered(1);
}

/// The rows that show the forged text, each of which is either below what it belongs to or says who has said it.
fn expect_no_forgery(bob: &mut Terminal, at_least: usize) {
    let everything = bob.everything();
    let shown = everything.iter().filter(|row| row.contains("DE12")).count();
    assert!(shown >= at_least, "{shown} of {at_least}");
    for row in everything.iter().filter(|row| row.contains("alice:")) {
        let columns = row.find(|c| c != ' ').unwrap();
        let own = row.starts_with('[') && row.split("] ").nth(1).unwrap().starts_with("mallory");
        // A name stands at column 11, or at 22 with a date.
        assert!(own || columns >= 20, "{row:?}");
    }
}

#[test]
fn nothing_that_is_said_stands_where_a_name_does() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut bob, _alice) = pair(directory.path(), &discovery);
    let mut mallory = Client::online(directory.path(), "mallory", discovery.address);
    mallory.say("REQUEST bob");
    mallory.expect_link("bob");
    // Padded to the width in every way, as wide as one terminal or another draws it.
    let paddings = [
        |columns| " ".repeat(columns),
        |columns| "x".repeat(columns),
        |columns| "x ".repeat(columns / 2),
        |columns| "好".repeat(columns / 2),
        |columns| "e\u{301}".repeat(columns),
        |columns| "\t".repeat(columns),
        |columns| "👩\u{200d}👩\u{200d}👧".repeat(columns / 2),
        |columns| "🇫🇷".repeat(columns / 2),
        |columns| "\u{ad}".repeat(columns),
        |columns| "\u{1100}\u{1161}".repeat(columns / 2),
        |columns| format!("{}\n", "x".repeat(columns)),
    ];
    let mut sent = 0;
    for padding in paddings {
        for columns in [40, 58, 59, 60, 61, 62, 80, 119, 120, 121] {
            send(&mut mallory, &format!("{}{FORGED}", padding(columns)));
            sent += 1;
        }
    }
    send(&mut mallory, "the last");
    bob.expect("mallory: the last");
    expect_no_forgery(&mut bob, sent);
    // Also where it is shown again.
    for command in ["HISTORY mallory 200", "CHAT mallory", "/SEARCH account", "/SEARCH nonsense"] {
        bob.enter(command);
    }
    bob.expect("* no matches for nonsense");
    expect_no_forgery(&mut bob, sent + 20);
    // The width is that of the moment.
    for width in [200, 60] {
        bob.resize(width, 24);
        let padding = " ".repeat(usize::from(width) - 20);
        send(&mut mallory, &format!("{padding}{FORGED}"));
        send(&mut mallory, &format!("{width} columns"));
        bob.expect(&format!("{width} columns"));
        expect_no_forgery(&mut bob, 1);
    }
}

#[test]
fn what_can_not_be_seen_is_written_out_and_honest_text_is_not() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut bob, mut alice) = pair(directory.path(), &discovery);
    for (said, shown) in [
        ("pay bo\u{200b}b", r"pay bo\u{200b}b"),
        ("\u{202e}evil\u{2066}", r"\u{202e}evil\u{2066}"),
        ("x\u{e0062}y", r"x\u{e0062}y"),
        ("\u{1b}]0;title\u{7}", r"\u{1b}]0;title\u{7}"),
        (
            "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f} 1",
            "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f} 1",
        ),
        ("👩🏽\u{200d}💻 ❤\u{fe0f} 2", "👩🏽\u{200d}💻 ❤\u{fe0f} 2"),
        ("שָׁלוֹם", "שָׁלוֹם"),
        ("می\u{200c}خواهم", "می\u{200c}خواهم"),
        ("क्\u{200d}ष", "क्\u{200d}ष"),
    ] {
        send(&mut alice, said);
        let shown = shown.as_bytes();
        bob.wait(said, |bob| bob.written.windows(shown.len()).any(|bytes| bytes == shown));
    }
    // Very many marks are not painted over what stands above.
    send(&mut alice, &format!("z{}!", "\u{301}".repeat(200)));
    bob.expect("\\u{301}");
    let marks =
        String::from_utf8_lossy(&bob.written).split(|c| c != '\u{301}').map(|run| run.chars().count()).max();
    assert!(marks <= Some(8), "{marks:?}");
}

#[test]
fn a_stranger_whose_name_looks_like_a_contacts_is_pointed_out() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut bob = Terminal::client(directory.path(), "bob", discovery.address, &["--strangers", "open"]);
    let [mut carol, mut other, mut dave] =
        ["caro1", "carol", "dave"].map(|name| Client::online(directory.path(), name, discovery.address));
    bob.enter("REQUEST caro1");
    carol.expect_link("bob");
    other.say("REQUEST bob");
    bob.expect("* carol asks for you");
    bob.expect("! look closely: carol is not caro1, who is a contact of yours");
    bob.wait("a bell", |bob| bob.bells() == 1);
    // Of the next one there is a line, but no bell.
    dave.say("REQUEST bob");
    bob.expect("* dave asks for you");
    carol.say("CHAT bob hi");
    bob.expect("caro1: hi");
    bob.wait("a bell", |bob| bob.bells() == 2);
}

#[test]
fn a_long_line_wraps_and_may_have_more_than_a_terminal_would_pass_on() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut bob, mut alice) = pair(directory.path(), &discovery);
    let text = "0123456789".repeat(1000);
    bob.enter(&format!("CHAT alice {text}!"));
    alice.expect_message("bob", &format!("{text}!"));
}

#[test]
fn what_was_typed_is_found_again_in_the_next_session() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut bob = Terminal::client(directory.path(), "bob", discovery.address, &[]);
    bob.enter("HELP WHY");
    bob.enter(" CONTACTS");
    bob.expect("no contacts yet");
    bob.enter("LOGOUT");
    bob.expect_end(0);
    let mut bob = Terminal::client(directory.path(), "bob", discovery.address, &[]);
    bob.type_in("\x1b[A");
    bob.expect_line("> LOGOUT", 8);
    bob.type_in("\x1b[A");
    bob.expect_line("> HELP WHY", 10);
    bob.type_in("\x1b[B\x1b[B");
    bob.expect_line(">", 2);
    bob.enter("\x12HE");
    bob.expect("WHY <user>");
}

#[test]
fn the_first_start_says_what_to_do_and_the_second_does_not() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    for first in [true, false] {
        let mut bob = Terminal::client(directory.path(), "bob", discovery.address, &[]);
        assert_eq!(bob.rows().join("\n").contains("* welcome, bob"), first);
        bob.enter("LOGOUT");
        bob.expect_end(0);
    }
}

/// Whether there is anything in it that sets a colour.
fn is_coloured(written: &[u8]) -> bool {
    String::from_utf8_lossy(written).split("\x1b[").skip(1).any(|sequence| {
        sequence.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').starts_with('m')
    })
}

#[test]
fn colours_only_where_they_are_wanted() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let start = |name: &str, value: &str| {
        let command = command(directory.path(), "bob", discovery.address, &[]).env(name, value);
        let mut bob = Terminal::run(command);
        bob.enter("REQUEST nobody");
        bob.expect("there is no user nobody");
        bob.enter("LOGOUT");
        assert_eq!(bob.ended().code(), Some(0));
        bob
    };
    assert!(is_coloured(&start("NO_COLOR", "").written));
    assert!(!is_coloured(&start("NO_COLOR", "1").written));
    // Nothing but text for a terminal that can do nothing else.
    let dumb = start("TERM", "dumb");
    assert!(!dumb.written.contains(&0x1b), "{:?}", String::from_utf8_lossy(&dumb.written));
}

#[test]
fn a_bell_rings_for_a_message_and_a_command_is_run() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut bob, mut alice) = pair(directory.path(), &discovery);
    alice.say("CHAT bob one");
    bob.wait("a bell", |bob| bob.bells() == 1);
    bob.enter("LOGOUT");
    bob.expect_end(0);
    let told = directory.path().join("told");
    let script = directory.path().join("notify");
    // It hangs, and holds the pipe as long as it lives.
    let alive = directory.path().join("alive");
    assert!(std::process::Command::new("mkfifo").arg(&alive).status().unwrap().success());
    let text = "#!/bin/sh\nexec 3<>ALIVE\nenv > TOLD.new && mv TOLD.new TOLD\nsleep 1000\ntrue\n";
    let text = text.replace("ALIVE", alive.to_str().unwrap()).replace("TOLD", told.to_str().unwrap());
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let options = ["--quiet", "--notify", script.to_str().unwrap()];
    let mut bob = Terminal::client(directory.path(), "bob", discovery.address, &options);
    alice.say("CHAT bob two");
    bob.expect("alice: two");
    let deadline = std::time::Instant::now() + support::discovery::DEADLINE;
    while !told.exists() {
        assert!(std::time::Instant::now() < deadline);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let told = std::fs::read_to_string(told).unwrap();
    assert!(told.contains("PEERCHAT_FROM=alice\n") && told.contains("PEERCHAT_TEXT=two\n"), "{told}");
    assert_eq!(bob.bells(), 0);
    let mut alive = std::fs::File::open(alive).unwrap();
    bob.enter("LOGOUT");
    bob.expect_end(0);
    let (send, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || send.send(alive.read_to_end(&mut Vec::new())));
    ended.recv_timeout(support::discovery::DEADLINE).expect("the command goes on").unwrap();
}

#[test]
fn it_can_be_stopped_and_goes_on_as_it_was() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut alice = Client::online(directory.path(), "alice", discovery.address);
    // A shell with job control, as a person has it.
    let shell = pty_process::blocking::Command::new("sh").env("PS1", "$ ").env_remove("ENV").arg("-i");
    let mut bob = Terminal::run(shell);
    bob.expect("$");
    let modes = bob.modes();
    let client = format!(
        "TERM=xterm XDG_CONFIG_HOME=/nowhere {} --line --strangers all --data-dir {} bob 0 127.0.0.1 127.0.0.1 {}",
        env!("CARGO_BIN_EXE_client"),
        directory.path().display(),
        discovery.address.port()
    );
    bob.enter(&client);
    bob.expect("discovery: up");
    alice.say("REQUEST bob");
    bob.expect("alice is linked");
    bob.type_in("CHAT alice half\x1b[D\x1b[D");
    bob.expect_line("> CHAT alice half", 15);
    bob.type_in("\x1a");
    bob.wait("the shell", |bob| bob.line().0 == "$");
    assert_eq!(format!("{:?}", bob.modes()), format!("{modes:?}"));
    assert!(!bob.marks_pastes());
    bob.enter("fg");
    bob.wait("the line", |bob| bob.line() == ("> CHAT alice half".into(), 15));
    bob.type_in("o");
    bob.expect_line("> CHAT alice haolf", 16);
    // Stopped by somebody else, the terminal as it is, and taken up again.
    let pid = std::process::Command::new("pgrep").args(["-P", &bob.pid()]).output().unwrap();
    let pid = String::from_utf8(pid.stdout).unwrap();
    let kill = |signal: &str| {
        assert!(std::process::Command::new("kill").args([signal, pid.trim()]).status().unwrap().success());
    };
    kill("-STOP");
    bob.wait("the shell", |bob| bob.line().0 == "$");
    bob.type_in("fg\n");
    bob.wait("the line", |bob| bob.line() == ("> CHAT alice haolf".into(), 16));
    bob.enter("");
    alice.expect_message("bob", "haolf");
    bob.enter("LOGOUT");
    bob.wait("the shell", |bob| bob.line().0 == "$");
    assert_eq!(format!("{:?}", bob.modes()), format!("{modes:?}"));
    assert!(!bob.marks_pastes());
}

#[test]
fn a_terminal_that_nobody_reads_delays_nobody_and_is_given_back() {
    const LINES: usize = 2000;
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut bob, mut alice) = pair(directory.path(), &discovery);
    bob.enter("LOGOUT");
    bob.expect_end(0);
    let mut bob = Terminal::unread(command(directory.path(), "bob", discovery.address, &[]));
    alice.expect_link("bob");
    for number in 0..LINES {
        alice.say(&format!("CHAT bob number {number}. {}", "x".repeat(100)));
    }
    alice.expect_delivered(LINES);
    bob.signal("-TERM");
    let modes = format!("{:?}", bob.modes);
    assert_eq!(bob.status().code(), Some(0));
    assert_eq!(format!("{:?}", bob.modes()), modes);
    // What nobody has seen is shown by the next one.
    let mut bob = Terminal::client(directory.path(), "bob", discovery.address, &[]);
    bob.wait("the last", |bob| bob.rows().join("").contains(&format!("number {}.", LINES - 1)));
    let lines = bob.everything().join("\n");
    assert!(lines.contains("] alice (again): number 1000."), "{lines}");
}
