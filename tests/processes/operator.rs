//! What the operator of a running discovery asks and decides.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::support::client::{Client, linked_pair};
use crate::support::discovery::{
    DEADLINE, Discovery, Raw, command, drop_user, fails, keypair, register, request, request_again, scratch,
};
use peerchat::protocol::rendezvous::{RefusedCode, ToClient};
use serde_json::Value;

fn ask(db: &Path, question: &[&str]) -> Output {
    let mut command = command(db);
    command.args(question);
    fails(command)
}

fn answer(db: &Path, question: &[&str]) -> String {
    let output = ask(db, question);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{question:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// What it says against a question.
fn error(db: &Path, question: &[&str]) -> String {
    let output = ask(db, question);
    assert_eq!((output.status.code(), output.stdout), (Some(1), vec![]), "{question:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn status(db: &Path) -> Value {
    let line = answer(db, &["--status", "--json"]);
    assert_eq!(line.lines().count(), 1);
    serde_json::from_str(&line).unwrap()
}

fn socket(db: &Path) -> PathBuf {
    db.with_file_name("discovery.db.sock")
}

/// Alice and bob are connected and there, carol asks for alice and was dropped by bob, and a name was refused.
fn busy(to: SocketAddr) -> [Raw; 3] {
    let keys = [(); 4].map(|()| keypair());
    let (mut alice, _) = Raw::synced(to, &keys[0], "alice", 1);
    let (mut bob, _) = Raw::synced(to, &keys[1], "bob", 2);
    let (mut carol, _) = Raw::synced(to, &keys[2], "carol", 3);
    bob.say(&request("alice"));
    bob.status();
    alice.status();
    alice.say(&request_again("bob"));
    assert!(alice.status().connected && bob.status().connected);
    carol.say(&request("bob"));
    carol.status();
    bob.status();
    bob.say(&drop_user("carol"));
    assert!(matches!(carol.hear(), Some(ToClient::Dropped(_))));
    carol.say(&request("alice"));
    carol.status();
    alice.status();
    let mut mallory = Raw::connect(to, &keys[3]);
    assert_eq!(mallory.refused(&register("alice", 4)), RefusedCode::NAME_TAKEN);
    [alice, bob, carol]
}

#[test]
fn status_tells_the_operator_and_nobody_else_how_it_is_doing() {
    let (_directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mode = fs::metadata(socket(&db)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let [mut alice, _bob, carol] = busy(discovery.address);
    drop(carol);
    // Until discovery has noticed that carol and mallory are gone.
    let told = loop {
        let told = status(&db);
        if told["sessions"] == 2 {
            break told;
        }
    };
    for (what, count) in [
        ("users", 3),
        ("online", 2),
        ("connections", 1),
        ("requests", 1),
        ("refusals", 1),
        ("failed_saves", 0),
    ] {
        assert_eq!(told[what], count, "{what}: {told}");
    }
    assert_eq!((&told["refused"]["name-taken"], &told["refused"]["released"]), (&1.into(), &0.into()));
    assert_eq!(told["strangers"], serde_json::json!({"open": 3, "ask": 0, "all": 0, "closed": 0}));
    assert_eq!(told["address"], discovery.address.to_string());
    assert_eq!(told["version"], env!("CARGO_PKG_VERSION"));
    assert!(discovery.line.contains(told["key"].as_str().unwrap()));

    let text = answer(&db, &["--status"]);
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(
        lines.contains(&vec!["users", "3"]) && lines.contains(&vec!["requests", "1", "pending"]),
        "{text}"
    );
    assert!(lines.contains(&vec!["refused", "name-taken", "1"]), "{text}");
    // That carol has gone is nothing to her.
    alice.nothing_unheard();
}

#[test]
fn without_a_running_discovery_there_is_no_status() {
    let (directory, db) = scratch();
    let none = format!("no discovery is running with the database {}", db.display());
    assert!(error(&db, &["--status"]).contains(&none));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "asking leaves nothing");

    let discovery = Discovery::start(&db);
    discovery.signal("-TERM");
    assert!(discovery.ended(DEADLINE).0.success());
    assert!(!socket(&db).exists());
    assert!(error(&db, &["--status"]).contains(&none));

    Discovery::start(&db).kill();
    assert!(fs::metadata(socket(&db)).unwrap().file_type().is_socket(), "it had no time to remove it");
    assert!(error(&db, &["--status"]).contains(&none));
    let _again = Discovery::start(&db);
    assert_eq!(status(&db)["users"], 0);
}

#[test]
fn something_in_the_place_of_the_socket_is_left_there_and_keeps_nobody_from_serving() {
    let (_directory, db) = scratch();
    fs::write(socket(&db), "mine").unwrap();
    let discovery = Discovery::start(&db);
    Raw::synced(discovery.address, &keypair(), "alice", 1);
    discovery.signal("-TERM");
    let (status, stderr) = discovery.ended(DEADLINE);
    assert!(status.success() && stderr.contains("no socket for --status"), "{stderr}");
    assert_eq!(fs::read_to_string(socket(&db)).unwrap(), "mine");
}

#[test]
fn an_operator_who_says_nothing_or_nonsense_delays_nobody_for_long() {
    let (_directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut alice, _) = Raw::synced(discovery.address, &keypair(), "alice", 1);
    for nonsense in
        [&b"\n"[..], b"release\n", b"release Bob\n", b"status xml\n", b"\xff\xfe\n", &[b'x'; 5000], b"stat"]
    {
        let mut stream = UnixStream::connect(socket(&db)).unwrap();
        // It may be refused before all of it is written.
        let _ = stream.write_all(nonsense);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut said = String::new();
        let _ = stream.read_to_string(&mut said);
        assert!(said.is_empty() || said.starts_with("{\"Err\":"), "{said}");
    }
    let _silent = UnixStream::connect(socket(&db)).unwrap();
    alice.nothing_unheard();
    assert_eq!(status(&db)["online"], 1);
}

/// The address of the metrics, from the line that discovery begins with.
pub fn metrics(discovery: &Discovery) -> SocketAddr {
    let rest = discovery.line.split("metrics http://").nth(1).expect("an address for metrics");
    rest.split('/').next().unwrap().parse().unwrap()
}

/// Sends a whole request and reads to the end.
fn http(to: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let _ = stream.write_all(request);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

pub fn scrape(to: SocketAddr) -> BTreeMap<String, f64> {
    let answer = http(to, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("Content-Type: text/plain; version=0.0.4"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
    exposed(body)
}

fn is_metric_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

/// Reads Prometheus' text format as strictly as its description allows.
fn exposed(body: &str) -> BTreeMap<String, f64> {
    assert!(body.ends_with('\n'));
    let (mut samples, mut seen) = (BTreeMap::new(), BTreeSet::new());
    let mut lines = body.lines().peekable();
    while let Some(help) = lines.next() {
        let (name, text) = help.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')).expect(help);
        assert!(is_metric_name(name) && name.starts_with("peerchat_") && !text.is_empty(), "{help}");
        assert!(seen.insert(name), "{name} comes twice");
        let kind =
            lines.next().and_then(|line| line.strip_prefix(&format!("# TYPE {name} ")[..])).expect(name);
        assert!(matches!(kind, "counter" | "gauge"), "{kind}");
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
        let before = samples.len();
        while let Some(sample) = lines.next_if(|line| !line.starts_with('#')) {
            let (series, value) = sample.rsplit_once(' ').unwrap();
            let labels = series.strip_prefix(name).expect(sample);
            if !labels.is_empty() {
                let (label, value) = labels
                    .strip_prefix('{')
                    .and_then(|rest| rest.strip_suffix("\"}"))
                    .unwrap()
                    .split_once("=\"")
                    .unwrap();
                assert!(is_metric_name(label) && !value.contains(['"', '\\', '\n']), "{sample}");
            }
            assert!(
                samples.insert(series.to_owned(), value.parse().expect(sample)).is_none(),
                "{series} comes twice"
            );
        }
        assert!(samples.len() > before, "{name} has no sample");
    }
    samples
}

#[test]
fn metrics_are_what_prometheus_reads() {
    let (_directory, db) = scratch();
    let discovery = Discovery::start_with(&db, &["--metrics", "127.0.0.1:0"]);
    let address = metrics(&discovery);
    let before = scrape(address);
    assert_eq!(
        (before["peerchat_users"], before["peerchat_refusals_total{reason=\"name-taken\"}"]),
        (0.0, 0.0)
    );
    assert!(
        before.contains_key(&format!("peerchat_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")))
    );
    let _sessions = busy(discovery.address);
    let after = scrape(address);
    assert_eq!(after["peerchat_users"], 3.0);
    assert_eq!(after["peerchat_users_online"], 3.0);
    assert_eq!(after["peerchat_connections"], 1.0);
    assert_eq!(after["peerchat_requests_pending"], 1.0);
    assert_eq!(after["peerchat_refusals"], 1.0);
    assert_eq!(after["peerchat_accounts{strangers=\"open\"}"], 3.0);
    assert_eq!(after["peerchat_refusals_total{reason=\"name-taken\"}"], 1.0);
    assert_eq!(after["peerchat_start_time_seconds"], before["peerchat_start_time_seconds"]);
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
}

#[test]
fn who_is_refused_at_the_door_is_counted() {
    let (_directory, db) = scratch();
    let discovery = Discovery::start_with(&db, &["--max-per-address", "1", "--metrics", "127.0.0.1:0"]);
    let _alice = Raw::synced(discovery.address, &keypair(), "alice", 1);
    assert!(Raw::try_connect(discovery.address, &keypair()).is_err());
    assert_eq!(scrape(metrics(&discovery))["peerchat_refusals_total{reason=\"address-full\"}"], 1.0);
    assert_eq!(status(&db)["refused"]["address-full"], 1);
}

#[test]
fn whatever_is_sent_for_metrics_is_answered_or_cut_and_harms_nobody() {
    let (_directory, db) = scratch();
    let discovery = Discovery::start_with(&db, &["--metrics", "127.0.0.1:0"]);
    let address = metrics(&discovery);
    let (mut alice, _) = Raw::synced(discovery.address, &keypair(), "alice", 1);
    for (request, code) in [
        (&b"GET /metrics?x=1 HTTP/1.0\r\n\r\n"[..], "200"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "404"),
        (b"GET /metrics/../etc/passwd HTTP/1.1\r\n\r\n", "404"),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody", "405"),
        (b"HEAD /metrics HTTP/1.1\r\n\r\n", "405"),
        (b"GET http://localhost/metrics HTTP/1.1\r\n\r\n", "400"),
        (b"GET /metrics HTTP/2\r\n\r\n", "400"),
        (b"GET  /metrics HTTP/1.1\r\n\r\n", "400"),
        (b"GET /metrics\r\n\r\n", "400"),
        (b"get /metrics HTTP/1.1\r\n\r\n", "400"),
        (b"\r\n\r\n", "400"),
        (b"GET /metrics HTTP/1.1", "400"),
        (b"", "400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n", "400"),
        (&[0xff; 100_000], "400"),
        (&b"GET /metrics HTTP/1.1\r\nX: ".iter().copied().chain([b'a'; 20_000]).collect::<Vec<_>>(), "400"),
    ] {
        let answer = http(address, request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{:?}: {answer}", request.get(..40));
    }
    // Slower than it may be, and slower than others.
    let silent = TcpStream::connect(address).unwrap();
    let mut halfway = TcpStream::connect(address).unwrap();
    halfway.write_all(b"GET /metrics HT").unwrap();
    let mut unread = TcpStream::connect(address).unwrap();
    unread.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(scrape(address)["peerchat_users_online"], 1.0);
    alice.nothing_unheard();
    for mut stream in [silent, halfway, unread] {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
    }
}

#[test]
fn metrics_are_for_this_machine_unless_told_otherwise() {
    let (_directory, db) = scratch();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:9667"] {
        let said = error(&db, &["--metrics", address, "127.0.0.1", "0"]);
        assert!(said.contains("--metrics-public") && said.contains("127.0.0.1"), "{said}");
        assert!(!db.exists(), "nothing was begun");
    }
    let discovery = Discovery::start_with(&db, &["--metrics", "0.0.0.0:0", "--metrics-public"]);
    let address = SocketAddr::from(([127, 0, 0, 1], metrics(&discovery).port()));
    assert_eq!(scrape(address)["peerchat_users"], 0.0);
    // One that can't be had is an error.
    let taken = error(&db.with_file_name("other.db"), &["--metrics", &address.to_string(), "127.0.0.1", "0"]);
    assert!(taken.contains(&format!("can't serve metrics on {address}")), "{taken}");
}

#[test]
fn the_manual_shows_what_the_operator_is_told() {
    let manual = include_str!("../../docs/operating.md");
    let block = |command: &str| {
        let block = manual.split(&format!("```console\n$ {command}\n")).nth(1).unwrap();
        block.split("```").next().unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let (_directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let key = keypair();
    let (_bob, _) = Raw::synced(discovery.address, &key, "bob", 1);
    let (shown, told) = (block("discovery --status"), answer(&db, &["--status"]));
    let label = |line: &str| line.get(..14).unwrap().to_owned();
    let labels: Vec<_> = told.lines().map(label).collect();
    assert_eq!(shown.iter().map(|line| label(line)).collect::<Vec<_>>(), labels);
    let words = |line: &str| line.replace(|c: char| c.is_ascii_digit(), "");
    for (shown, told) in shown.iter().zip(told.lines()) {
        let varies = ["listening", "database", "key", "running", "refused"];
        assert!(
            varies.iter().any(|label| shown.starts_with(label)) || words(shown) == words(told),
            "{shown}"
        );
    }
    let told = answer(&db, &["--release", "bob"]);
    let key = key.public().to_string();
    assert_eq!(block("discovery --release bob"), [told.trim_end().replace(&key, "9f31…")]);
}

#[test]
fn a_freed_name_goes_to_another_key_and_contacts_are_warned() {
    let (directory, db) = scratch();
    let discovery = Discovery::spawn(command(&db).args(["127.0.0.1", "0"]).env("RUST_LOG", "warn"));
    let (mut alice, mut bob) = linked_pair(directory.path(), discovery.address);
    let said = answer(&db, &["--release", "alice"]);
    assert!(said.contains("alice is free") && said.contains(&alice.fingerprint), "{said}");
    let refused = alice.expect_error("name-taken");
    assert!(refused["message"].as_str().unwrap().contains("operator has taken this name"), "{refused}");
    // Those who know each other's keys go on.
    alice.say("CHAT bob still me");
    bob.expect_message("alice", "still me");

    let other = tempfile::tempdir().unwrap();
    let new = Client::online(other.path(), "alice", discovery.address);
    let warned = bob.expect_error("key-changed");
    assert!(warned["message"].as_str().unwrap().contains(&new.fingerprint), "{warned}");
    bob.say("WHY alice");
    assert_eq!(bob.wait("why", |_| true)["offered"], *new.fingerprint);
    alice.say("CHAT bob and still me");
    bob.expect_message("alice", "and still me");
    bob.say("CHAT alice which one are you");
    alice.expect_message("bob", "which one are you");

    assert!(error(&db, &["--release", "nobody"]).contains("there is no user nobody"));
    discovery.signal("-TERM");
    let (_, stderr) = discovery.ended(DEADLINE);
    assert!(stderr.contains("name released") && stderr.contains(&alice.fingerprint), "{stderr}");
}

#[test]
fn a_name_is_freed_in_the_database_of_a_discovery_that_is_not_running() {
    let (directory, db) = scratch();
    let missing = error(&db, &["--release", "alice"]);
    assert!(missing.contains("there is no database"), "{missing}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "none is made");

    let (first, second) = (keypair(), keypair());
    let discovery = Discovery::start(&db);
    Raw::synced(discovery.address, &first, "alice", 1);
    // One that can't be asked has its database for itself.
    fs::remove_file(socket(&db)).unwrap();
    let locked = error(&db, &["--release", "alice"]);
    assert!(locked.contains("in use by another process"), "{locked}");
    discovery.kill();

    let said = answer(&db, &["--release", "alice"]);
    assert!(said.contains(&first.public().to_string()), "{said}");
    let discovery = Discovery::start(&db);
    let mut back = Raw::connect(discovery.address, &first);
    assert_eq!(back.refused(&register("alice", 1)), RefusedCode::RELEASED);
    Raw::synced(discovery.address, &second, "alice", 1);
    assert_eq!(status(&db)["users"], 1);
}

#[test]
fn a_path_too_long_for_a_socket_costs_only_the_socket() {
    let (directory, _) = scratch();
    let deep = directory.path().join("d".repeat(120));
    fs::create_dir(&deep).unwrap();
    let db = deep.join("discovery.db");
    let discovery = Discovery::start(&db);
    Raw::synced(discovery.address, &keypair(), "alice", 1);
    assert!(error(&db, &["--release", "alice"]).contains("in use by another process"));
    discovery.kill();
    assert!(answer(&db, &["--release", "alice"]).contains("alice is free"));
}
