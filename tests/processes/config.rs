//! The configuration file: what starts with it, what counts before it, and what is said of mistakes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::attached::Attached;
use crate::support::client::{Client, program};
use crate::support::discovery::{DEADLINE, Discovery, scratch, wait};

/// The program, whose usual configuration file is in this directory, and says this.
fn configured(directory: &Path, text: &str) -> Command {
    let place = directory.join("config").join("peerchat");
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join("client.toml"), text).unwrap();
    let mut program = program();
    program.env("XDG_CONFIG_HOME", directory.join("config")).env_remove("XDG_RUNTIME_DIR");
    program.env_remove("RUST_LOG").stdin(Stdio::null());
    program
}

/// The keys that a client needs where a test runs.
fn keys(directory: &Path, discovery: &Discovery) -> String {
    format!(
        "user = 'alice'\nport = 0\ndiscovery-port = {}\ndata-dir = '{}'\nstrangers = 'all'\n",
        discovery.address.port(),
        directory.display()
    )
}

fn said(output: &Output) -> (Option<i32>, String) {
    assert_eq!(output.stdout, b"", "{output:?}");
    (output.status.code(), String::from_utf8(output.stderr.clone()).unwrap())
}

#[test]
fn the_file_starts_a_client_and_the_command_line_counts_before_it() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let keys = keys(directory.path(), &discovery);
    let text = format!("{keys}[account.carol]\nstrangers = 'closed'\nip = '127.0.0.2'\n");
    let client = || configured(directory.path(), &text);

    let mut alice = Client::run("alice", &mut client());
    assert!(alice.address.ip().to_string() == "127.0.0.1" && alice.address.port() != 0);
    alice.expect_registered();
    let mut bob = Client::run("bob", client().arg("bob"));
    let carol = Client::run("carol", client().args(["carol", "0", "127.0.0.3"]));
    assert_eq!(carol.address.ip().to_string(), "127.0.0.3");
    let dave =
        Client::run("carol", client().args(["carol", "--data-dir"]).arg(directory.path().join("other")));
    assert_eq!(dave.address.ip().to_string(), "127.0.0.2");
    // Strangers are answered at once, as the file says.
    bob.say("REQUEST alice");
    bob.expect_link("alice");
    bob.say("CHAT alice hi");
    alice.expect_message("bob", "hi");
    // In JSON there are no aliases, and one text is sent without a word more.
    let output = client().args(["--send", "bob", "so it is"]).output().unwrap();
    assert_eq!(said(&output), (Some(0), String::new()));
    bob.expect_message("alice", "so it is");
}

#[test]
fn aliases_are_commands_in_pipes_and_boxes() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let keys = keys(directory.path(), &discovery);
    let text = format!("{keys}[aliases]\nhi = 'CHAT bob hi, $1. $*'\nw = 'WHY'\nenter = 'CHAT $1'\n");
    let mut bob = Client::online(directory.path(), "bob", discovery.address);
    // Said in a conversation, and run outside one.
    let lines = "REQUEST bob\nhi there is more\nenter bob\nhi you\n/hi again\nCHAT\nw nemo\n";
    let run = |options: &[&str]| {
        let mut client = configured(directory.path(), &text);
        let mut child = client
            .args(["--linger", "forever"])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), lines.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let shown = run(&[]);
    // "hi you" reads as a command, and is refused in a pipe.
    assert!(shown.contains("this line reads as a command"), "{shown}");
    assert!(shown.contains("nemo is not a contact"), "{shown}");
    bob.expect_message("alice", "hi, there. is more");
    bob.expect_message("alice", "hi, again. ");

    // The same in a box, of which the client knows no alias.
    let mut alice = Client::run("alice", &mut configured(directory.path(), &keys));
    alice.expect_link("bob");
    let shown = run(&["--attach"]);
    assert!(shown.contains("this line reads as a command"), "{shown}");
    bob.expect_message("alice", "hi, there. is more");
    bob.expect_message("alice", "hi, again. ");
    alice.say("w bob");
    alice.expect_error("bad-command");
}

#[test]
fn what_is_muted_runs_no_command_and_a_box_runs_none_twice() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (script, told) = (directory.path().join("note"), directory.path().join("told"));
    fs::write(&script, format!("#!/bin/sh\necho \"$PEERCHAT_FROM: $PEERCHAT_TEXT\" >> {}\n", told.display()))
        .unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let text = format!(
        "{}notify = '{}'\nmute = ['bob']\nhighlight = ['Deploy']\n",
        keys(directory.path(), &discovery),
        script.display()
    );
    let mut alice = Client::run("alice", &mut configured(directory.path(), &text));
    let _box = Attached::to(directory.path(), "alice");
    let mut second = Client::run("alice", configured(directory.path(), &text).arg("--attach"));
    let mut bob = Client::online(directory.path(), "bob", discovery.address);
    let mut carol = Client::online(directory.path(), "carol", discovery.address);
    for other in [&mut bob, &mut carol] {
        other.say("REQUEST alice");
        other.expect_link("alice");
    }
    for text in ["one", "we deploy", "two"] {
        bob.say(&format!("CHAT alice {text}"));
        alice.expect_message("bob", text);
        second.expect_message("bob", text);
    }
    carol.say("CHAT alice three");
    alice.expect_message("carol", "three");
    second.expect_message("carol", "three");
    let deadline = std::time::Instant::now() + DEADLINE;
    let written = || fs::read_to_string(&told).unwrap_or_default();
    while written().lines().count() < 2 {
        assert!(std::time::Instant::now() < deadline, "{}", written());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    // Whatever still runs is over with the clients.
    second.log_out();
    let mut lines: Vec<_> = written().lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["bob: we deploy", "carol: three"]);
}

#[test]
fn mistakes_are_named_with_their_line_and_do_nothing() {
    let (directory, _) = scratch();
    let file = directory.path().join("config/peerchat/client.toml");
    let file = file.to_str().unwrap();
    let run = |text: &str, arguments: &[&str]| {
        said(&configured(directory.path(), text).args(arguments).output().unwrap())
    };
    for (text, what) in [
        ("port = 1\nnotfy = 'x'", "line 2: there is no key \"notfy\"; did you mean \"notify\"?"),
        ("quiet = 1", "line 1: quiet: true or false is wanted here"),
        ("[aliases]\n\nwhy = 'CHAT bob'", "line 3: [aliases]: \"why\" can't be an alias: WHY is a command"),
    ] {
        let expected = format!("client: {file}, {what}\n");
        assert_eq!(run(text, &["alice", "0"]), (Some(2), expected));
    }
    let (status, error) = run("port = [\n", &["alice", "0"]);
    assert_eq!(status, Some(2));
    assert!(error.starts_with(&format!("client: {file}, line ")) && error.lines().count() == 1, "{error}");
    // What is missing, and where to say it.
    for (text, missing) in [("port = 0", "no user is given"), ("user = 'alice'", "no port is given")] {
        let (status, error) = run(text, &[]);
        assert_eq!(status, Some(2));
        assert!(error.contains(missing) && error.contains("--write-config"), "{error}");
    }
    // One that is named must be there, and one that can't be read is not passed over.
    for named in ["/nowhere/x.toml", directory.path().to_str().unwrap()] {
        let (status, error) = run("", &["--config", named, "alice", "0"]);
        assert_eq!(status, Some(2));
        let told = format!("client: can't read the configuration {named}: ");
        assert!(error.starts_with(&told) && error.lines().count() == 1, "{error}");
    }
    assert!(!directory.path().join("alice.journal").exists());
}

#[test]
fn a_file_is_written_for_the_user_to_fill_in() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let client = || {
        let mut program = program();
        program.env("XDG_CONFIG_HOME", directory.path().join("new")).stdin(Stdio::null());
        program
    };
    let file = directory.path().join("new/peerchat/client.toml");
    let output = client().arg("--write-config").output().unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("{} is written; it explains every key\n", file.display())
    );
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let written = fs::read_to_string(&file).unwrap();
    let filled = written
        .replace("#user = \"alice\"", "user = \"alice\"")
        .replace("#port = 7001", "port = 0")
        .replace("#discovery-port = 7667", &format!("discovery-port = {}", discovery.address.port()))
        .replace("#data-dir = \"~/.local/share/peerchat\"", &format!("data-dir = {:?}", directory.path()));
    fs::write(&file, &filled).unwrap();
    let mut alice = Client::run("alice", &mut client());
    alice.expect_registered();
    // It is never written over.
    let output = client().arg("--write-config").output().unwrap();
    assert_eq!(
        said(&output),
        (Some(1), format!("client: {} is there already and was left as it is\n", file.display()))
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), filled);
    let other = directory.path().join("other.toml");
    let output = client().arg("--write-config").arg("--config").arg(&other).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(fs::read_to_string(&other).unwrap(), written);
}

#[test]
fn a_client_without_a_terminal_needs_no_port() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let text = keys(directory.path(), &discovery).replace("port = 0\n", "");
    let output = configured(directory.path(), &text).arg("--detach").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let mut attached = Attached::to(directory.path(), "alice");
    let mut logout = configured(directory.path(), &text);
    let mut child = logout.arg("--attach").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"LOGOUT\n").unwrap();
    wait(&mut child, DEADLINE);
    attached.wait("bye", |_| true);
}
