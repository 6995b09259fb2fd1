//! A whole account moves to another machine, in one file that a passphrase protects.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use peerchat::protocol::peer::Kind;
use peerchat::store::journal::{Journal, Standing};

use crate::support::client::{Client, linked_pair};
use crate::support::discovery::{Discovery, scratch};

const PASSPHRASE: &str = "correct horse battery staple";

/// Runs `client <user> --data-dir <directory> <arguments>` without a terminal.
fn client(user: &str, directory: &Path, arguments: &[&str]) -> Output {
    let mut command = crate::support::client::program();
    command.args([user, "--data-dir"]).arg(directory).args(arguments);
    // In a session of its own there is no terminal, wherever the tests run.
    let mut alone = Command::new("setsid");
    alone.arg("-w").arg(command.get_program()).args(command.get_args());
    alone.env("XDG_CONFIG_HOME", "/nowhere").env_remove("RUST_LOG").stdin(Stdio::null()).output().unwrap()
}

fn passphrase(directory: &Path, name: &str, content: &str) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, content).unwrap();
    path
}

fn transfer(user: &str, directory: &Path, way: &str, file: &Path, passphrase: &Path) -> Output {
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    client(user, directory, &[way, &path(file), "--passphrase-file", &path(passphrase)])
}

fn succeeds(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
    text(&output.stdout)
}

fn fails(output: &Output, parts: &[&str]) {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!((output.status.code(), stderr.lines().count()), (Some(1), 1), "{stderr}");
    assert!(parts.iter().all(|part| stderr.contains(part)), "{parts:?}: {stderr}");
    assert!(output.stdout.is_empty());
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn an_account_moves_with_all_that_it_has_while_its_client_runs() {
    let (directory, db) = scratch();
    let (here, there, out) =
        (directory.path().join("here"), directory.path().join("there"), directory.path());
    let discovery = Discovery::start(&db);
    let (mut alice, mut bob) = linked_pair(&here, discovery.address);
    alice.say("CHAT bob before");
    bob.expect_message("alice", "before");
    alice.expect_delivered(1);
    bob.log_out();
    alice.expect_gone("bob");
    alice.say("CHAT bob waits");
    alice.wait("queued", |_| true);

    let file = out.join("alice.age");
    let word = passphrase(out, "passphrase", &format!("{PASSPHRASE}\n"));
    assert_eq!(succeeds(&transfer("alice", &here, "--export", &file, &word)), "");
    assert_eq!(mode(&file), 0o600);
    assert!(fs::read(&file).unwrap().starts_with(b"age-encryption.org/v1\n-> scrypt "));
    assert!(!names(&here).iter().any(|name| name.ends_with(".copy")));
    // It goes on, and is not told from before.
    alice.say("CHAT bob after");
    alice.wait("queued", |_| true);
    let fingerprint = alice.fingerprint.clone();
    alice.kill();

    let said = succeeds(&transfer("alice", &there, "--import", &file, &word));
    assert!(said.contains(&fingerprint) && said.lines().count() == 1, "{said}");
    assert_eq!(names(&there), ["alice.journal", "alice.journal.lock"]);
    assert_eq!(mode(&there.join("alice.journal")), 0o600);

    let mut bob = Client::online(&here, "bob", discovery.address);
    let mut alice = Client::online(&there, "alice", discovery.address);
    assert_eq!(alice.fingerprint, fingerprint);
    bob.expect_message("alice", "waits");
    alice.expect_delivered(1);
    alice.say("CHAT bob from the new machine");
    bob.expect_message("alice", "from the new machine");
    alice.expect_delivered(1);
    alice.say("HISTORY bob");
    let history = alice.wait("history", |_| true);
    let texts: Vec<_> =
        history["messages"].as_array().unwrap().iter().map(|line| line["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["before", "waits", "from the new machine"]);
}

#[test]
fn what_can_not_be_exported_or_imported_changes_nothing() {
    let (directory, _) = scratch();
    let (here, there, out) =
        (directory.path().join("here"), directory.path().join("there"), directory.path());
    // No program answers there, and no other test gets the port.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    Client::start(&here, "alice", nobody.local_addr().unwrap()).log_out();
    let word = passphrase(out, "passphrase", PASSPHRASE);
    let (file, taken) = (out.join("alice.age"), passphrase(out, "taken", "mine"));

    fails(&transfer("carol", &here, "--export", &file, &word), &["no account of carol", "carol.journal"]);
    fails(&transfer("alice", &here, "--export", &taken, &word), &["taken", "already"]);
    assert_eq!(fs::read_to_string(&taken).unwrap(), "mine");
    fails(&transfer("alice", &here, "--export", &out.join("no/such/file"), &word), &["no/such"]);
    fails(&transfer("alice", &here, "--export", &file, &passphrase(out, "empty", "\n")), &["empty"]);
    for (weak, why) in [("x", "at least 15"), ("123456789012345678", "repeats or counts")] {
        fails(&transfer("alice", &here, "--export", &file, &passphrase(out, "weak", weak)), &[why]);
    }
    fails(&transfer("alice", &here, "--export", &file, &out.join("nowhere")), &["nowhere"]);
    let no_terminal = client("alice", &here, &["--export", file.to_str().unwrap()]);
    fails(&no_terminal, &["no terminal", "--passphrase-file"]);
    assert!(!file.exists());
    let wrong_use = client("alice", &here, &["--export", "a", "--import", "b"]);
    assert_eq!(wrong_use.status.code(), Some(2));
    assert_eq!(client("alice", &here, &["--passphrase-file", "a"]).status.code(), Some(2));

    succeeds(&transfer("alice", &here, "--export", &file, &word));
    let whole = fs::read(&file).unwrap();
    let damaged = out.join("damaged.age");
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for (content, parts) in [
        (&whole[..whole.len() / 2], &["cut short or damaged"][..]),
        // At the end of a whole chunk.
        (&whole[..whole.len() - (whole.len() - 184) % (65536 + 16)], &["damaged"]),
        (&flipped, &["cut short or damaged"]),
        (&whole[..100], &["no age file"]),
        (b"", &["no age file"]),
        (b"SQLite format 3\0", &["no age file"]),
    ] {
        fs::write(&damaged, content).unwrap();
        fails(&transfer("alice", &there, "--import", &damaged, &word), parts);
    }
    fails(
        &transfer("alice", &there, "--import", &file, &passphrase(out, "wrong", "wrong")),
        &["passphrase", "wrong"],
    );
    fails(&transfer("bob", &there, "--import", &file, &word), &["alice.age", "belongs to alice"]);
    fails(&transfer("alice", &there, "--import", &out.join("missing"), &word), &["missing"]);
    assert!(!names(&there).iter().any(|name| !name.ends_with(".lock")), "{:?}", names(&there));

    let before = fs::read(here.join("alice.journal")).unwrap();
    fails(&transfer("alice", &here, "--import", &file, &word), &["alice.journal", "already"]);
    assert_eq!(fs::read(here.join("alice.journal")).unwrap(), before);
}

/// A journal with a lot of this text in it.
fn long_journal(directory: &Path, text: &str) {
    let journal = Journal::open(&directory.join("alice.journal"), &"alice".parse().unwrap()).unwrap();
    let bob = journal.add_contact(&"bob".parse().unwrap(), Standing::Contact).unwrap().id;
    journal.begin().unwrap();
    let epoch = journal.add_epoch(7, 1).unwrap();
    for seq in 1..1000 {
        journal
            .add_sent(bob, seq, epoch, Kind::TEXT, 0, text.repeat(10_000 / text.len()).as_bytes())
            .unwrap();
    }
    journal.commit().unwrap();
}

fn holds(file: &Path, text: &str) -> bool {
    let content = fs::read(file).unwrap();
    content.windows(text.len()).any(|bytes| bytes == text.as_bytes())
}

#[test]
fn an_export_that_is_killed_leaves_nothing_that_can_be_read() {
    use crate::support::trace;
    if !trace::possible() {
        return;
    }
    let (directory, _) = scratch();
    let (here, temporary) = (directory.path().join("here"), directory.path().join("temporary"));
    let text = "plain for all to see, ";
    long_journal(&here, text);
    assert!(holds(&here.join("alice.journal"), text));
    let word = passphrase(directory.path(), "passphrase", PASSPHRASE);
    fs::create_dir(&temporary).unwrap();
    let (file, log) = (here.join("alice.age"), directory.path().join("calls"));
    let export = |inject: Option<&str>| {
        let mut client = crate::support::client::program();
        client.args(["alice", "--data-dir"]).arg(&here).arg("--export").arg(&file);
        client.arg("--passphrase-file").arg(&word);
        let mut traced = trace::traced(&client, &log, inject);
        // Where SQLite and others put what they keep for a moment.
        traced.env("TMPDIR", &temporary).env("SQLITE_TMPDIR", &temporary);
        traced.stdin(Stdio::null()).output().unwrap()
    };
    succeeds(&export(None));
    fs::remove_file(&file).unwrap();
    let mut calls = trace::counts(&log);
    calls.retain(|call, _| ["pwrite64", "write", "unlink"].contains(&call.as_str()));
    for (call, at) in trace::places(&calls, 8) {
        export(Some(&format!("{call}:signal=KILL:when={at}")));
        for directory in [&here, &temporary] {
            let own = ["", "-wal", "-shm"].map(|suffix| format!("alice.journal{suffix}"));
            for name in names(directory).into_iter().filter(|name| !own.contains(name)) {
                assert!(!holds(&directory.join(&name), text), "{call} {at}: {name}");
            }
        }
        let _ = fs::remove_file(&file);
    }
}

/// `age` asks at the terminal only; `script` is one.
fn at_a_terminal(command: &str, typed: &str) -> Option<Output> {
    let missing = |program: &str| Command::new(program).arg("--version").output().is_err();
    if missing("age") || missing("script") {
        eprintln!("skipped: needs age and script");
        return None;
    }
    let mut child = Command::new("script")
        .args(["-qec", command, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    Some(child.wait_with_output().unwrap())
}

#[test]
fn the_usual_tool_opens_what_is_exported_and_what_it_seals_is_imported() {
    let (directory, _) = scratch();
    let (here, there, out) =
        (directory.path().join("here"), directory.path().join("there"), directory.path());
    // No program answers there, and no other test gets the port.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let alice = Client::start(&here, "alice", nobody.local_addr().unwrap());
    let fingerprint = alice.fingerprint.clone();
    alice.log_out();
    let word = passphrase(out, "passphrase", PASSPHRASE);
    let path = |name: &str| out.join(name).display().to_string();
    succeeds(&transfer("alice", &here, "--export", &out.join("ours.age"), &word));

    let open = format!("age -d -o {} {}", path("plain"), path("ours.age"));
    let Some(opened) = at_a_terminal(&open, &format!("{PASSPHRASE}\n")) else {
        return;
    };
    assert!(opened.status.success(), "{opened:?}");
    assert!(fs::read(path("plain")).unwrap().starts_with(b"SQLite format 3\0"));

    let seal = format!("age -p -o {} {}", path("theirs.age"), path("plain"));
    let sealed = at_a_terminal(&seal, &format!("{PASSPHRASE}\n{PASSPHRASE}\n")).unwrap();
    assert!(sealed.status.success(), "{sealed:?}");
    let said = succeeds(&transfer("alice", &there, "--import", &out.join("theirs.age"), &word));
    assert!(said.contains(&fingerprint), "{said}");
}

#[test]
fn a_person_is_asked_twice_and_sees_nothing_of_what_they_type() {
    let (directory, _) = scratch();
    let (here, there, out) =
        (directory.path().join("here"), directory.path().join("there"), directory.path());
    // No program answers there, and no other test gets the port.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    Client::start(&here, "alice", nobody.local_addr().unwrap()).log_out();
    let run = |data: &Path, way: &str, name: &str, typed: &str| {
        let client = env!("CARGO_BIN_EXE_client");
        let (data, file) = (data.display(), out.join(name).display().to_string());
        at_a_terminal(&format!("{client} alice --data-dir {data} {way} {file}"), typed)
    };
    let Some(different) = run(&here, "--export", "a.age", &format!("{PASSPHRASE}\nother\n")) else {
        return;
    };
    assert_eq!(different.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&different.stdout).contains("two different passphrases"));
    // A weak one is not asked for again.
    let weak = run(&here, "--export", "a.age", "x\n").unwrap();
    assert_eq!(weak.status.code(), Some(1));
    let said = String::from_utf8_lossy(&weak.stdout);
    assert!(
        said.contains("it has 1 of at least 15 characters") && !said.contains("The same again"),
        "{said}"
    );
    let exported = run(&here, "--export", "b.age", &format!("{PASSPHRASE}\n{PASSPHRASE}\n")).unwrap();
    assert!(exported.status.success(), "{exported:?}");
    let imported = run(&there, "--import", "b.age", &format!("{PASSPHRASE}\n")).unwrap();
    assert!(imported.status.success(), "{imported:?}");
    assert!(there.join("alice.journal").exists() && !out.join("a.age").exists());
}
