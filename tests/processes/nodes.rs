//! Several discoveries over one real PostgreSQL.

mod cut_off;
mod failover;
mod faults;
mod line;
mod stopped;
mod watching;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use peerchat::protocol::relay::{JOINED, RELAY_BYTE, opening};
use peerchat::protocol::rendezvous::{
    About, RefusedCode, Register, Status, Strangers, Ticket, ToClient, ToDiscovery,
};
use peerchat::transport::noise::Keypair;
use tempfile::TempDir;

use crate::postgres::{self, Place};
use crate::support::client::Client;
use crate::support::discovery::*;
use faults::{Load, expect_all};
use line::Line;

/// Nodes over one ledger, and where they keep their sockets.
struct Nodes {
    place: Place,
    /// The way of the first node to the ledger, if it has one of its own.
    line: Option<Line>,
    home: TempDir,
    all: Vec<Option<Discovery>>,
    addresses: Vec<SocketAddr>,
}

impl Nodes {
    /// So many of them; `None` where PostgreSQL is not installed.
    fn start(count: usize) -> Option<Self> {
        Some(Self::over(postgres::place()?, count))
    }

    /// The same, and the first one's way to the ledger can be cut.
    fn start_with_line(count: usize) -> Option<Self> {
        let place = postgres::place()?;
        let line = Line::start(place.cluster.port);
        Some(Self::with(place, Some(line), count, &[]))
    }

    fn over(place: Place, count: usize) -> Self {
        Self::with(place, None, count, &[])
    }

    fn with(place: Place, line: Option<Line>, count: usize, options: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut nodes = Self { place, line, home, all: Vec::new(), addresses: Vec::new() };
        for number in 0..count {
            let node = Discovery::spawn(nodes.command(number, 0).args(options));
            nodes.addresses.push(node.address);
            nodes.all.push(Some(node));
        }
        nodes
    }

    fn command(&self, number: usize, port: u16) -> Command {
        let line = self.line.as_ref().filter(|_| number == 0);
        let url = line.map(|line| format!("postgres://peerchat@127.0.0.1:{}/{}", line.port, self.place.name));
        let mut command = self.program_over(url.as_ref().unwrap_or(&self.place.url));
        command.env("RUST_LOG", "info").arg("--log-file").arg(self.log(number));
        command.args(["--node", &format!("node-{number}"), "--metrics", "127.0.0.1:0"]);
        command.args(["127.0.0.1", &port.to_string()]);
        command
    }

    /// Discovery with the nodes' ledger.
    fn program(&self) -> Command {
        self.program_over(&self.place.url)
    }

    fn program_over(&self, url: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_discovery"));
        command.env("XDG_DATA_HOME", self.home.path()).args(["--store", url]);
        command
    }

    fn line(&self) -> &Line {
        self.line.as_ref().expect("the first node has one")
    }

    fn log(&self, number: usize) -> PathBuf {
        self.home.path().join(format!("node-{number}.log"))
    }

    fn node(&self, number: usize) -> &Discovery {
        self.all[number].as_ref().expect("it runs")
    }

    fn at(&self, number: usize) -> SocketAddr {
        self.addresses[number]
    }

    fn kill(&mut self, number: usize) {
        self.all[number].take().expect("it runs").kill();
    }

    fn start_again(&mut self, number: usize) {
        let port = self.addresses[number].port();
        self.all[number] = Some(Discovery::spawn(&mut self.command(number, port)));
    }

    /// Waits until a node has logged one line that says so of this, and sees that there is no other one.
    fn expect_logged_once(&self, number: usize, said: &str, of: &str) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let log = fs::read_to_string(self.log(number)).unwrap();
            match log.lines().filter(|line| line.contains(said) && line.contains(of)).count() {
                1 => return,
                0 if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
                count => panic!("{count} times {said} {of}"),
            }
        }
    }

    fn ask(&self, arguments: &[&str]) -> String {
        let output = self.program().args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

/// What they have logged, for the reader of a failure.
impl Drop for Nodes {
    fn drop(&mut self) {
        if thread::panicking() {
            for number in 0..self.all.len() {
                println!("node {number}:\n{}", fs::read_to_string(self.log(number)).unwrap_or_default());
            }
        }
    }
}

fn dialled(text: &str, start: u64, dial: u32) -> ToDiscovery {
    let listen = ([127, 0, 0, 1], 1).into();
    ToDiscovery::Register(Register {
        dial,
        ..Register::new(name(text), listen, Some(start), Strangers::Open)
    })
}

/// What is said of `user` next that `fits`; other messages are passed over.
fn status_of(raw: &mut Raw, user: &str, fits: impl Fn(&Status) -> bool) -> Status {
    loop {
        match raw.hear().expect("a status") {
            ToClient::Status(status) if status.name == name(user) && fits(&status) => return status,
            _ => {}
        }
    }
}

fn heard<T>(raw: &mut Raw, fits: impl Fn(&ToClient) -> Option<T>) -> T {
    loop {
        if let Some(found) = fits(&raw.hear().expect("more")) {
            return found;
        }
    }
}

/// Waits until `user` is called offline in this session, and sees that no other one is, who stays in `there`.
fn expect_offline_only(raw: &mut Raw, user: &str, there: &mut Raw) {
    // Longer than a client waits for anything: nodes have just started, and then their users have time to come back.
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        // A session of which nothing is heard ends.
        there.say(&ToDiscovery::Ping);
        heard(there, |said| (*said == ToClient::Pong).then_some(()));
        raw.say(&ToDiscovery::Ping);
        loop {
            match raw.hear().expect("the session stands") {
                ToClient::Status(status) if status.online == Some(false) => {
                    return assert_eq!(status.name, name(user));
                }
                ToClient::Pong => break,
                _ => {}
            }
        }
        assert!(Instant::now() < deadline, "{user} is online");
        thread::sleep(Duration::from_millis(100));
    }
}

/// Waits until something is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + 2 * DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn connect(one: (&mut Raw, &str), other: (&mut Raw, &str)) {
    one.0.say(&request(other.1));
    status_of(other.0, one.1, |status| status.asks != peerchat::protocol::rendezvous::Asks::No);
    other.0.say(&request(one.1));
    status_of(other.0, one.1, |status| status.connected);
    status_of(one.0, other.1, |status| status.connected);
}

#[test]
fn of_fifty_keys_that_want_one_name_at_three_nodes_one_gets_it() {
    let Some(nodes) = Nodes::start(3) else { return };
    let load = Load::start(&nodes, 3);
    load.wait_for(5);
    let racers: Vec<_> = (0..50)
        .map(|number| {
            let at = nodes.at(number % 3);
            thread::spawn(move || {
                let own = keypair();
                loop {
                    let mut racer = Raw::connect(at, &own);
                    racer.say(&register("star", 1));
                    match racer.hear() {
                        Some(ToClient::Registered(_)) => return Some(own.public()),
                        Some(ToClient::Refused(refused)) if refused.code == RefusedCode::NAME_TAKEN => {
                            return None;
                        }
                        // On a busy machine a commit may have an unknown outcome.
                        None => {}
                        other => panic!("{other:?}"),
                    }
                }
            })
        })
        .collect();
    let winners: Vec<_> = racers.into_iter().filter_map(|racer| racer.join().unwrap()).collect();
    assert_eq!(winners.len(), 1);
    for number in 0..3 {
        let (mut asker, _) = Raw::synced(nodes.at(number), &keypair(), &format!("asker-{number}"), 1);
        asker.say(&request("star"));
        assert_eq!(status_of(&mut asker, "star", |_| true).key, winners[0], "node {number}");
    }
    load.wait_for(5);
    expect_all(&nodes, &load.end());
}

#[test]
fn what_happens_at_one_node_is_told_at_the_others() {
    let Some(nodes) = Nodes::start(2) else { return };
    let load = Load::start(&nodes, 3);
    load.wait_for(5);
    let (alice_key, bob_key) = (keypair(), keypair());
    let (mut alice, _) = Raw::synced(nodes.at(0), &alice_key, "alice", 1);
    assert_eq!(alice.ask(&request("bob")), ToClient::NoSuchUser(About { name: name("bob") }));
    let (mut bob, _) = Raw::synced(nodes.at(1), &bob_key, "bob", 2);
    connect((&mut alice, "alice"), (&mut bob, "bob"));
    // Who goes and comes, and moves.
    bob.say(&ToDiscovery::Logout);
    status_of(&mut alice, "bob", |status| status.online == Some(false));
    let (mut bob, contacts) = Raw::synced(nodes.at(1), &bob_key, "bob", 3);
    assert!(contacts.iter().any(|status| status.connected && status.online == Some(true)));
    let status = status_of(&mut alice, "bob", |status| status.online == Some(true));
    assert_eq!(status.address.unwrap().port(), 3);
    alice.say(&drop_user("bob"));
    heard(&mut bob, |said| {
        matches!(said, ToClient::Dropped(about) if about.name == name("alice")).then_some(())
    });
    load.wait_for(5);
    load.end();
    nodes.expect_metric(1, "peerchat_users_online", 2.0);
    let status = nodes.ask(&["--status", "--node", "node-1"]);
    assert!(status.contains("online        2\n") && status.contains("other node    node-0"), "{status}");
}

#[test]
fn of_two_sessions_at_two_nodes_the_later_one_holds() {
    let Some(nodes) = Nodes::start(3) else { return };
    let load = Load::start(&nodes, 3);
    load.wait_for(5);
    let own = keypair();
    let (mut first, _) = Raw::synced(nodes.at(0), &own, "alice", 1);
    let (mut second, _) = Raw::synced(nodes.at(1), &own, "alice", 1);
    assert!(matches!(first.hear(), Some(ToClient::Superseded(_))));
    first.expect_end();
    second.nothing_unheard();
    // A client that has lost its session, and one message of it that comes late.
    let mut newer = Raw::connect(nodes.at(2), &own);
    newer.say(&dialled("alice", 7, 2));
    assert!(matches!(newer.hear(), Some(ToClient::Registered(_))));
    second.expect_end();
    let mut late = Raw::connect(nodes.at(0), &own);
    late.say(&dialled("alice", 7, 1));
    late.expect_end();
    newer.contacts();
    newer.nothing_unheard();
    load.wait_for(5);
    load.end();
}

#[test]
fn users_of_different_nodes_are_helped_to_a_way() {
    let Some(nodes) = Nodes::start(2) else { return };
    let (mut alice, _) = Raw::synced(nodes.at(0), &keypair(), "alice", 1);
    let (mut bob, _) = Raw::synced(nodes.at(1), &keypair(), "bob", 2);
    connect((&mut alice, "alice"), (&mut bob, "bob"));
    alice.say(&ToDiscovery::Punch(About { name: name("bob") }));
    let token = |raw: &mut Raw| {
        heard(raw, |said| match said {
            ToClient::Punch(punch) => Some(punch.token),
            _ => None,
        })
    };
    assert_eq!(token(&mut alice), token(&mut bob));
    bob.say(&ToDiscovery::Relay(About { name: name("alice") }));
    let ticket = |raw: &mut Raw| {
        heard(raw, |said| match said {
            ToClient::Relay(ticket) => Some(ticket.clone()),
            _ => None,
        })
    };
    let tickets: [Ticket; 2] = [ticket(&mut bob), ticket(&mut alice)];
    assert_eq!(tickets.each_ref().map(|ticket| ticket.at), [None, Some(nodes.at(1))]);
    let mut sides = tickets.map(|ticket| {
        let mut stream = TcpStream::connect(ticket.at.unwrap_or(nodes.at(1))).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(&opening(&ticket.ticket)).unwrap();
        stream
    });
    for side in &mut sides {
        let mut joined = [0];
        side.read_exact(&mut joined).unwrap();
        assert_eq!(joined, [JOINED]);
    }
    sides[0].write_all(b"over node-1").unwrap();
    let mut said = [0; 11];
    sides[1].read_exact(&mut said).unwrap();
    assert_eq!(&said, b"over node-1");
    assert_eq!(opening(&[0; 16])[0], RELAY_BYTE);
}

#[test]
fn a_released_name_is_free_at_all_nodes() {
    let Some(nodes) = Nodes::start(2) else { return };
    let (old, new) = (keypair(), keypair());
    let (holder, _) = Raw::synced(nodes.at(0), &old, "alice", 1);
    assert!(nodes.ask(&["--release", "alice"]).contains("alice is free"));
    holder.expect_end();
    for number in 0..2 {
        nodes.expect_logged_once(number, "name released", "name=alice");
    }
    let refused = |at, own: &Keypair| Raw::connect(at, own).refused(&register("alice", 1));
    assert_eq!(refused(nodes.at(1), &old), RefusedCode::RELEASED);
    Raw::synced(nodes.at(1), &new, "alice", 1);
    assert_eq!(refused(nodes.at(0), &keypair()), RefusedCode::NAME_TAKEN);
    let mut gone = nodes.program();
    let output = gone.args(["--release", "zoe"]).output().unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().contains("there is no user zoe"));
}

#[test]
fn new_names_of_an_address_count_at_all_nodes() {
    let Some(place) = postgres::place() else { return };
    let nodes = Nodes::with(place, None, 2, &["--max-new-names", "3"]);
    for (number, user) in ["one", "two", "three"].into_iter().enumerate() {
        Raw::log_in(nodes.at(number % 2), &keypair(), user, 1);
    }
    for number in 0..2 {
        let code = Raw::connect(nodes.at(number), &keypair()).refused(&register("four", 1));
        assert_eq!(code, RefusedCode::TOO_MANY_NAMES, "node {number}");
    }
}

#[test]
fn a_node_that_listens_everywhere_says_where_it_is_reached() {
    let Some(nodes) = Nodes::start(1) else { return };
    let output = nodes.program().args(["0.0.0.0", "0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("use --advertise IP:PORT"));
    let mut advertised = nodes.program();
    advertised.args(["--advertise", "127.0.0.1:9", "--node", "everywhere", "0.0.0.0", "0"]);
    let _everywhere = Discovery::spawn(&mut advertised);
    // The others are looked at each second.
    let deadline = Instant::now() + DEADLINE;
    while !nodes.ask(&["--status", "--node", "node-0"]).contains("at 127.0.0.1:9: up") {
        assert!(Instant::now() < deadline);
    }
}

#[test]
fn one_discovery_becomes_several() {
    let Some(place) = postgres::place() else { return };
    let (directory, db) = scratch();
    let (alice_key, bob_key) = (keypair(), keypair());
    let alone = Discovery::start(&db);
    let (mut alice, _) = Raw::synced(alone.address, &alice_key, "alice", 1);
    let (mut bob, _) = Raw::synced(alone.address, &bob_key, "bob", 2);
    connect((&mut alice, "alice"), (&mut bob, "bob"));
    let key = alice.discovery;
    let copy = || {
        let mut command = command(&db);
        command.env("XDG_DATA_HOME", directory.path()).args(["--copy-to", &place.url]).output().unwrap()
    };
    let running = copy();
    assert!(String::from_utf8(running.stderr).unwrap().contains("in use"), "it runs");
    alone.kill();
    assert!(copy().status.success());
    assert!(!copy().status.success(), "there is something already");
    let nodes = Nodes::over(place, 2);
    let (again, contacts) = Raw::synced(nodes.at(1), &alice_key, "alice", 1);
    assert_eq!(again.discovery, key);
    assert!(contacts.iter().any(|status| status.name == name("bob") && status.connected));
}

#[test]
fn chats_go_on_between_clients_of_different_nodes() {
    let Some(mut nodes) = Nodes::start(2) else { return };
    let directory = tempfile::tempdir().unwrap();
    let list = format!("{},{}", nodes.at(0), nodes.at(1));
    let client = |user: &str| {
        let mut command = crate::support::client::program();
        command.args([user, "0", "127.0.0.1", &list, "--data-dir"]).arg(directory.path());
        Client::run(user, &mut command)
    };
    let (mut alice, mut bob) = (client("alice"), client("bob"));
    for client in [&mut alice, &mut bob] {
        client.expect_registered();
    }
    alice.say("REQUEST bob");
    bob.wait("request", |_| true);
    bob.say("REQUEST alice");
    alice.expect_link("bob");
    alice.say("CHAT bob one");
    bob.expect_message("alice", "one");
    // Wherever the two are, one node is enough.
    nodes.kill(0);
    bob.say("CHAT alice two");
    alice.expect_message("bob", "two");
    let (mut carol, deadline) = (client("carol"), Instant::now() + DEADLINE);
    carol.expect_registered();
    carol.say("REQUEST alice");
    alice.wait("request", |event| event["from"] == "carol");
    assert!(Instant::now() < deadline + Duration::from_secs(40));
}
