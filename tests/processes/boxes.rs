//! Boxes on the socket of a running client.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::attached::{Attached, socket};
use crate::support::client::{Client, command, linked_pair};
use crate::support::discovery::{DEADLINE, Discovery, scratch};

#[test]
fn two_boxes_see_what_arrives_and_what_the_other_says() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut alice, mut bob) = linked_pair(directory.path(), discovery.address);
    let mode = std::fs::metadata(socket(directory.path(), "alice")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let [mut one, mut two] = [(); 2].map(|()| Attached::to(directory.path(), "alice"));

    bob.say("CHAT alice hi");
    let told = [&mut one, &mut two].map(|it| it.wait("message", |_| true));
    assert_eq!(told[0], told[1]);
    assert_eq!((&told[0]["text"], &told[0]["seq"]), (&"hi".into(), &1.into()));

    one.say(r#"{"command": "chat", "to": "bob", "text": "hello", "ref": 1}"#);
    bob.expect_message("alice", "hello");
    let queued = one.wait("queued", |_| true);
    let sent = two.wait("sent", |_| true);
    assert_eq!(alice.wait("sent", |_| true)["id"], queued["id"]);
    assert_eq!((&queued["ref"], &queued["text"], &queued["id"]), (&1.into(), &"hello".into(), &sent["id"]));
    assert_eq!((&sent["text"], &sent["to"], &sent["seq"]), (&"hello".into(), &"bob".into(), &2.into()));
    for it in [&mut one, &mut two] {
        it.wait("delivered", |delivered| delivered["id"] == sent["id"]);
    }
    alice.say("CHAT bob from the first terminal");
    for it in [&mut one, &mut two] {
        it.wait("sent", |sent| sent["text"] == "from the first terminal");
    }

    // What is read in one is read in all; a page reads nothing.
    two.say(r#"{"command": "history", "peer": "bob", "before": 2, "ref": "page"}"#);
    let page = two.wait("history", |_| true);
    assert_eq!((page["messages"].as_array().unwrap().len(), &page["seq"]), (1, &3.into()));
    one.say(r#"{"command": "read", "peer": "bob", "up_to": 1}"#);
    for it in [&mut one, &mut two] {
        it.wait("read", |read| read["up_to"] == 1 && read["unread"] == 0);
    }
    one.say(r#"{"command": "detach"}"#);
    assert_eq!(one.rest().last().unwrap()["event"], "detached");

    // Logging out in a box ends the client, and with it all boxes.
    two.say("LOGOUT");
    assert_eq!(two.rest().last().unwrap()["event"], "bye");
    assert_eq!(alice.ended().0.code(), Some(0));
    assert!(!socket(directory.path(), "alice").exists());
}

#[test]
fn a_box_that_is_killed_takes_nothing_with_it() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut alice, mut bob) = linked_pair(directory.path(), discovery.address);
    let mut stays = Attached::to(directory.path(), "alice");
    for round in 0..50 {
        let mut killed = Attached::to(directory.path(), "alice");
        killed.say("CHAT bob");
        bob.say(&format!("CHAT alice {round}"));
        if round % 2 == 0 {
            killed.wait("message", |_| true);
        }
        drop(killed);
        stays.wait("message", |message| message["text"].as_str() == Some(&*round.to_string()));
        alice.expect_message("bob", &round.to_string());
    }
    alice.log_out();
}

#[test]
fn a_box_that_reads_nothing_is_cut_and_delays_no_other() {
    const COUNT: usize = 400;
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let log = directory.path().join("log");
    let mut bob = Client::online(directory.path(), "bob", discovery.address);
    let options = ["--log-file", log.to_str().unwrap()];
    let mut alice = Client::start_with(directory.path(), "alice", 0, discovery.address, &options);
    alice.say("REQUEST bob");
    alice.expect_link("bob");
    let stuck = UnixStream::connect(socket(directory.path(), "alice")).unwrap();
    let mut reads = Attached::to(directory.path(), "alice");
    let text = "x".repeat(8000);
    (0..COUNT).for_each(|number| bob.say(&format!("CHAT alice {number} {text}")));
    let mut number = 0;
    while number < COUNT {
        let message = reads.wait("message", |_| true);
        assert!(message["text"].as_str().unwrap().starts_with(&format!("{number} ")));
        number += 1;
    }
    bob.expect_delivered(COUNT);
    (0..COUNT).for_each(|_| _ = alice.wait("message", |_| true));
    // Other news are told meanwhile, to the others.
    reads.say("CHAT bob still here");
    bob.expect_message("alice", "still here");
    // It is cut before it has read anything: it sees the end of what was on its way, and then that.
    let deadline = Instant::now() + DEADLINE;
    while !std::fs::read_to_string(&log).unwrap().contains("is cut") {
        assert!(Instant::now() < deadline, "it is not cut");
        let _ = reads.next(Duration::from_millis(50));
    }
    let lines: Vec<String> = BufReader::new(stuck).lines().map_while(Result::ok).collect();
    assert!(lines[0].starts_with(r#"{"event":"hello""#));
    assert_eq!(lines.last().unwrap(), r#"{"event":"lagged","seq":0}"#, "{} lines", lines.len());
    assert!(lines.len() < COUNT / 2 && lines.iter().all(|line| line.ends_with('}')));
    // It attaches again.
    Attached::to(directory.path(), "alice");
    alice.log_out();
}

#[test]
fn a_client_whose_own_output_is_not_read_delays_no_box() {
    const COUNT: usize = 1000;
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut bob = Client::online(directory.path(), "bob", discovery.address);
    Client::online(directory.path(), "alice", discovery.address).log_out();
    // Nothing is ever read of what it writes.
    let mut alice = command(directory.path(), "alice", 0, discovery.address, &["--json"]).spawn().unwrap();
    bob.say("REQUEST alice");
    bob.wait("requested", |_| true);
    bob.expect_link("alice");
    let mut reads = Attached::to(directory.path(), "alice");
    let text = "x".repeat(16 * 1024);
    (0..COUNT).for_each(|number| bob.say(&format!("CHAT alice {number} {text}")));
    for number in 0..COUNT {
        let message = reads.wait("message", |_| true);
        assert!(message["text"].as_str().unwrap().starts_with(&format!("{number} ")));
    }
    reads.say("CHAT bob I have seen all");
    bob.expect_message("alice", "I have seen all");
    alice.kill().unwrap();
    alice.wait().unwrap();
}

/// A box in a program of its own, that writes JSON.
fn attached(directory: &Path, name: &str) -> Client {
    let mut command = crate::support::client::program();
    command.env_remove("XDG_RUNTIME_DIR").arg("--data-dir").arg(directory).args([name, "--attach"]);
    Client::run(name, &mut command)
}

#[test]
fn a_second_start_attaches_with_or_without_json() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut alice, mut bob) = linked_pair(directory.path(), discovery.address);
    // On the same port, as by a user who has forgotten about the first.
    let port = alice.address.port();
    let mut second = Client::start_with(directory.path(), "alice", port, discovery.address, &[]);
    let mut third = attached(directory.path(), "alice");
    assert_eq!(second.fingerprint, alice.fingerprint);
    second.say(r#"{"command": "chat", "to": "bob", "text": "two\nlines", "ref": "r"}"#);
    bob.expect_message("alice", "two\nlines");
    assert_eq!(second.wait("queued", |_| true)["ref"], "r");
    assert_eq!(third.wait("sent", |_| true)["text"], "two\nlines");
    alice.wait("sent", |_| true);
    for wrong in ["SHOUT", "{\"command\": 7}"] {
        second.say(wrong);
        second.expect_error("bad-command");
    }
    bob.say("CHAT alice hi");
    for it in [&mut alice, &mut second, &mut third] {
        it.expect_message("bob", "hi");
    }

    // A pipe of lines ends once what it has said is delivered.
    let lines = |input: &str| {
        let mut child = command(directory.path(), "alice", 0, discovery.address, &[]).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let (status, text) = lines("CHAT bob from a pipe\nHISTORY bob 1\n");
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("attached to the client of alice") && text.contains(": from a pipe"), "{text}");
    bob.expect_message("alice", "from a pipe");
    assert_eq!(lines("SHOUT").0, 1);
    bob.log_out();
    alice.expect_unlink("bob");
    let mut child =
        command(directory.path(), "alice", 0, discovery.address, &["--linger", "0.3"]).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"CHAT bob later").unwrap();
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(3));

    // A box that leaves leaves the client alone, and the other way round it does not.
    second.signal("-TERM");
    assert_eq!(second.ended().0.code(), Some(0));
    third.say("HELP");
    third.wait("help", |_| true);
    alice.log_out();
    assert_eq!(
        (third.rest().last().unwrap()["event"].clone(), third.ended().0.code()),
        ("bye".into(), Some(0))
    );
}

#[test]
fn without_a_client_attaching_is_an_error_also_where_one_was_killed() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let attach = || {
        let mut command = crate::support::client::program();
        command.env_remove("XDG_RUNTIME_DIR").arg("--data-dir").arg(directory.path());
        let output = command.args(["alice", "--attach"]).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (status, stderr) = attach();
    assert!(status == 1 && stderr.contains("no account alice") && stderr.lines().count() == 1, "{stderr}");
    let mut alice = Client::online(directory.path(), "alice", discovery.address);
    let mut third = attached(directory.path(), "alice");
    alice.kill();
    let (status, stderr) = third.ended();
    assert!(status.code() == Some(1) && stderr.contains("ended without a word"), "{stderr}");
    assert!(socket(directory.path(), "alice").exists(), "it is stale");
    let (status, stderr) = attach();
    assert!(status == 1 && stderr.contains("no client of alice is running"), "{stderr}");
    let alice = Client::online(directory.path(), "alice", discovery.address);
    attached(directory.path(), "alice").wait("discovery", |event| event["state"] == "up");
    alice.log_out();
}

#[test]
fn a_client_in_a_runtime_directory_is_found_from_elsewhere() {
    let (directory, _) = scratch();
    let runtime = directory.path().join("runtime");
    std::fs::create_dir(&runtime).unwrap();
    std::fs::set_permissions(&runtime, std::fs::Permissions::from_mode(0o700)).unwrap();
    let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    let start = |options: &[&str]| {
        let mut command = command(directory.path(), "alice", 0, nowhere, options);
        command.env("XDG_RUNTIME_DIR", &runtime);
        command
    };
    let alice = Client::run("alice", &mut start(&[]));
    let made: Vec<_> =
        std::fs::read_dir(runtime.join("peerchat")).unwrap().map(|it| it.unwrap().path()).collect();
    assert!(made.len() == 1 && !socket(directory.path(), "alice").exists(), "{made:?}");
    let mut second = Client::run("alice", &mut start(&["--attach"]));
    second.say("DETACH");
    assert_eq!(second.ended().0.code(), Some(0));
    alice.log_out();
    assert!(!made[0].exists());
}

/// The file keeps other users out, and if it does not, the kernel says who they are.
#[cfg(target_os = "linux")]
#[test]
fn another_user_is_refused() {
    const OTHER: [&str; 3] = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let (directory, _) = scratch();
    let program = directory.path().join("client");
    std::fs::copy(env!("CARGO_BIN_EXE_client"), &program).unwrap();
    let open = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    open(directory.path(), 0o755);
    let other = |arguments: &[&str]| {
        Command::new("setpriv").env("XDG_CONFIG_HOME", "/nowhere").args(OTHER).args(arguments).output()
    };
    if !other(&["true"]).is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: only root can be another user");
        return;
    }
    let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    let log = directory.path().join("log");
    let alice =
        Client::start_with(directory.path(), "alice", 0, nowhere, &["--log-file", log.to_str().unwrap()]);
    let attach = || {
        let data = directory.path().to_str().unwrap();
        let output = other(&[program.to_str().unwrap(), "--data-dir", data, "alice", "--attach"]).unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let refused = |(status, stderr): &(Option<i32>, String)| {
        *status == Some(1) && stderr.contains("no client of alice")
    };
    let by_its_mode = attach();
    assert!(refused(&by_its_mode), "{by_its_mode:?}");
    open(&socket(directory.path(), "alice"), 0o666);
    let by_the_kernel = attach();
    assert!(refused(&by_the_kernel), "{by_the_kernel:?}");
    // Also without the check on the other side.
    let python = "import socket, sys; it = socket.socket(socket.AF_UNIX); it.connect(sys.argv[1]); print(len(it.recv(100)))";
    let path = socket(directory.path(), "alice");
    if let Ok(output) = other(&["python3", "-c", python, path.to_str().unwrap()])
        && output.status.success()
    {
        assert_eq!(output.stdout, b"0\n");
        assert!(std::fs::read_to_string(&log).unwrap().contains("another user"));
    }
    alice.log_out();
}
