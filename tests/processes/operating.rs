//! What an operator of these programs meets: arguments, pages about them, logs, figures, decisions.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::client::{self, Client};
use crate::support::discovery::{self, DEADLINE, Discovery, Raw, fails, keypair, scratch};
use rusqlite::Connection;

const PROGRAMS: [&str; 2] = [env!("CARGO_BIN_EXE_client"), env!("CARGO_BIN_EXE_discovery")];

fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn wrong_arguments_are_answered_with_what_is_wanted() {
    let [client, discovery] = PROGRAMS;
    for (program, arguments, wanted) in [
        (client, &["bob", "notaport"][..], "a port is a number from 0 to 65535"),
        (client, &["bob", "65536"], "a port is a number from 0 to 65535"),
        (client, &["bob", "0", "localhost"], "an IP address of this machine"),
        (client, &["bob", "0", "::1", ""], "a host's name or IP address"),
        (client, &["bob", "0", "::1", "host", "0"], "a number from 1 to 65535"),
        (client, &["bob", "0", "::1", "one,two:0"], "part 2 of the list, \"two:0\": a port to connect to"),
        (client, &["bob", "0", "::1", "one,"], "part 2 of the list is empty: a host's name"),
        (client, &["Bob", "0"], "names are in lower case"),
        (client, &["bob", "0", "--linger", "long"], "a number of seconds or the word forever"),
        (client, &["bob", "0", "--discovery-key", "ab"], "64 hexadecimal digits"),
        (discovery, &["host"], "an IP address of this machine"),
        (discovery, &["::1", "http"], "a port is a number from 0 to 65535"),
        (discovery, &["--max-connections", "many"], "a whole number from 1 to 14000"),
        (discovery, &["--max-connections", "14001"], "a whole number from 1 to 14000"),
        (discovery, &["--max-per-address", "few"], "a whole number from 0"),
        (discovery, &["--max-new-names", "1.5"], "a whole number from 0"),
    ] {
        let output = run(program, arguments);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr.contains(wanted), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("invalid digit"), "{arguments:?}: {stderr}");
    }
}

#[test]
fn man_pages_and_completions_name_every_option() {
    for (program, name) in PROGRAMS.into_iter().zip(["client", "discovery"]) {
        let help = run(program, &["--help"]);
        let options: Vec<&str> = text(&help.stdout)
            .split(|c: char| c.is_whitespace() || c == ',')
            .filter_map(|word| word.strip_prefix("--"))
            .filter(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
            .collect();
        assert!(options.contains(&"log-file"), "{options:?}");
        for (page, beginning) in [
            ("man", format!(".TH {name} 1")),
            ("bash", format!("_{name}() {{")),
            ("zsh", format!("#compdef {name}")),
            ("fish", format!("complete -c {name} ")),
        ] {
            let output = run(program, &["--generate", page]);
            assert!(output.status.success());
            let page = text(&output.stdout).replace("\\-", "-");
            assert!(options.iter().all(|option| page.contains(option)), "{program}: {page}");
            assert!(page.contains(&beginning), "{page}");
            assert!(!page.contains("--generate"), "it is for packagers only");
        }
    }
}

#[test]
fn logs_go_into_a_private_file_after_what_is_there() {
    let (directory, db) = scratch();
    let log = directory.path().join("log");
    let option = ["--log-file", log.to_str().unwrap()];
    let mut before = String::new();
    for _ in 0..2 {
        let discovery = Discovery::spawn(
            discovery::command(&db).args(option).env("RUST_LOG", "debug").args(["127.0.0.1", "0"]),
        );
        drop(TcpStream::connect(discovery.address).unwrap());
        let (mut raw, _) = Raw::synced(discovery.address, &keypair(), "alice", 1);
        raw.nothing_unheard();
        discovery.signal("-TERM");
        let (status, stderr) = discovery.ended(DEADLINE);
        assert_eq!((status.code(), stderr.as_str()), (Some(0), ""));
        let after = fs::read_to_string(&log).unwrap();
        assert!(after.starts_with(&before) && after[before.len()..].contains("listening"), "{after}");
        before = after;
        fs::remove_file(&db).unwrap();
    }
    assert_eq!(fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_log_that_can_not_be_opened_is_an_error_at_the_start() {
    let (directory, db) = scratch();
    let log = directory.path().join("missing/log");
    let mut discovery = discovery::command(&db);
    discovery.arg("--log-file").arg(&log).args(["127.0.0.1", "0"]);
    let nobody = ([127, 0, 0, 1], 9).into();
    let client = client::command(directory.path(), "bob", 0, nobody, &["--log-file", log.to_str().unwrap()]);
    for command in [discovery, client] {
        let output = fails(command);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains(&format!("can't write logs to {}", log.display())));
        assert!(output.stdout.is_empty());
    }
    assert!(!db.exists(), "nothing was begun");
}

/// Every write to it fails as on a full disk.
const FULL: &str = "/dev/full";

#[test]
fn a_log_on_a_full_disk_stops_nobody() {
    let (directory, db) = scratch();
    let discovery = Discovery::spawn(
        discovery::command(&db).args(["--log-file", FULL, "127.0.0.1", "0"]).env("RUST_LOG", "trace"),
    );
    let start = |name: &str| {
        let mut command =
            client::command(directory.path(), name, 0, discovery.address, &["--log-file", FULL]);
        Client::run(name, command.env("RUST_LOG", "trace"))
    };
    let (mut bob, mut alice) = (start("bob"), start("alice"));
    bob.expect_registered();
    alice.say("REQUEST bob");
    alice.expect_link("bob");
    alice.say("CHAT bob hello");
    bob.expect_message("alice", "hello");
    alice.log_out();
    bob.log_out();
}

#[test]
fn a_log_that_nobody_reads_delays_nobody() {
    let (_directory, db) = scratch();
    // Its standard error is a pipe, of which nothing is read before the end.
    let discovery =
        Discovery::spawn(discovery::command(&db).args(["127.0.0.1", "0"]).env("RUST_LOG", "trace"));
    // Each leaves a line of more than a hundred bytes; a pipe holds 64 KiB.
    for _ in 0..2000 {
        drop(TcpStream::connect(discovery.address).unwrap());
    }
    let mut raw = Raw::log_in(discovery.address, &keypair(), "alice", 1);
    raw.contacts();
    raw.nothing_unheard();
    discovery.signal("-TERM");
    let (status, stderr) = discovery.ended(DEADLINE);
    assert!(status.success());
    let logged = stderr.matches("no handshake").count();
    assert!((100..2000).contains(&logged), "the pipe was full: {logged}");
}

/// A key as it could slip into a log.
fn spellings(secret: &[u8]) -> Vec<String> {
    let hex = |upper: bool| {
        secret.iter().map(|byte| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") }).collect()
    };
    vec![hex(false), hex(true), format!("{secret:?}").trim_matches(['[', ']']).to_owned()]
}

fn secret(database: &Path, table: &str) -> Vec<u8> {
    let database = Connection::open(database).unwrap();
    database.query_row(&format!("SELECT secret FROM {table}"), [], |row| row.get(0)).unwrap()
}

#[test]
fn no_message_and_no_secret_is_logged_at_any_level() {
    const MARKER: &str = "xyzzy-plugh";
    let (directory, db) = scratch();
    let log = |name: &str| directory.path().join(format!("{name}.log"));
    let trace = |command: &mut Command, name: &str| {
        command.env("RUST_LOG", "trace").arg("--log-file").arg(log(name));
    };
    let mut command = discovery::command(&db);
    trace(command.args(["127.0.0.1", "0"]), "discovery");
    let discovery = Discovery::spawn(&mut command);
    let start = |name: &str| {
        let mut command = client::command(directory.path(), name, 0, discovery.address, &[]);
        trace(&mut command, name);
        let mut client = Client::run(name, &mut command);
        client.expect_registered();
        client
    };
    let mut bob = start("bob");
    let mut alice = start("alice");
    alice.say("REQUEST bob");
    alice.expect_link("bob");
    alice.say(&format!("CHAT bob {MARKER} 1"));
    bob.expect_message("alice", &format!("{MARKER} 1"));
    alice.expect_delivered(1);
    // What is refused, mistyped or too long, and what waits.
    for (line, code) in [
        (format!("CHAT nobody {MARKER}"), "not-a-contact"),
        (format!("{MARKER} bob"), "bad-command"),
        (format!("CHAT bob {}", MARKER.repeat(4000)), "too-long"),
        (format!("REQUEST {MARKER}-nobody"), "no-such-user"),
    ] {
        alice.say(&line);
        alice.expect_error(code);
    }
    bob.log_out();
    alice.say(&format!("CHAT bob {MARKER} 2"));
    alice.wait("queued", |_| true);
    bob = start("bob");
    // Bob may have shown it before discovery was up.
    alice.expect_delivered(1);
    bob.say(&format!("CHAT alice {MARKER} 3"));
    alice.expect_message("bob", &format!("{MARKER} 3"));
    alice.log_out();
    bob.log_out();
    discovery.signal("-TERM");
    assert!(discovery.ended(DEADLINE).0.success());

    let mut forbidden = spellings(&secret(&db, "server"));
    for name in ["alice", "bob"] {
        let journal = directory.path().join(format!("{name}.journal"));
        forbidden.extend(spellings(&secret(&journal, "identity")));
    }
    // The name asked for in vain is no secret, but a message that begins like it would be.
    forbidden.extend([format!("{MARKER} "), MARKER.repeat(2)]);
    for name in ["discovery", "alice", "bob"] {
        let log = fs::read_to_string(log(name)).unwrap();
        assert!(!log.is_empty(), "{name} logs nothing, which shows nothing");
        let found = forbidden.iter().find(|spelling| log.contains(*spelling));
        assert_eq!(found, None, "{name}: {log}");
    }
}
