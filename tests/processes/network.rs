//! A network that fails, made of namespaces: a silent peer is noticed, a moved one is found, nothing is lost.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::support::client::{ANSWER_ALL, Client};
use crate::support::discovery::{Discovery, scratch};
use peerchat::protocol::DEAD_AFTER;

/// What is promised for noticing that a cable is pulled.
const NOTICED: Duration = Duration::from_secs(15);
/// What is promised for reaching a peer at a new address.
const FOUND: Duration = Duration::from_secs(10);
/// What a busy machine may take on top.
const SLACK: Duration = Duration::from_secs(3);

/// Machines that hang on one switch, which is a machine of its own. Gone when dropped.
struct Network {
    /// Tells these namespaces from all others.
    prefix: String,
    machines: Vec<String>,
}

impl Network {
    /// The switch is at 10.77.0.1, each machine at the address given. `None`, and said so, where there are no
    /// namespaces to be had.
    fn new(machines: &[(&str, &str)]) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mut network =
            Self { prefix: format!("peerchat-{}-{number}-", std::process::id()), machines: Vec::new() };
        if !network.add("switch") {
            println!("skipped: no network namespaces here; they need root and iproute2");
            return None;
        }
        network.ip("switch", "link add br0 type bridge");
        network.ip("switch", "addr add 10.77.0.1/24 dev br0");
        network.ip("switch", "link set br0 up");
        for (machine, address) in machines {
            assert!(network.add(machine));
            let far = network.namespace(machine);
            network.ip("switch", &format!("link add {machine} type veth peer name eth0 netns {far}"));
            network.ip("switch", &format!("link set {machine} master br0 up"));
            network.ip(machine, &format!("addr add {address}/24 dev eth0"));
            network.ip(machine, "link set eth0 up");
            network.ip(machine, "link set lo up");
        }
        Some(network)
    }

    fn namespace(&self, machine: &str) -> String {
        format!("{}{machine}", self.prefix)
    }

    fn add(&mut self, machine: &str) -> bool {
        let namespace = self.namespace(machine);
        let added = Command::new("ip").args(["netns", "add", &namespace]).stderr(Stdio::null()).status();
        let added = added.is_ok_and(|status| status.success());
        if added {
            self.machines.push(namespace);
        }
        added
    }

    /// Runs `ip` at a machine.
    fn ip(&self, machine: &str, arguments: &str) {
        let namespace = self.namespace(machine);
        let output = Command::new("ip").args(["-n", &namespace]).args(arguments.split(' ')).output().unwrap();
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// A program at a machine; it is the process itself that is started.
    fn program(&self, machine: &str, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(machine), program]).env_remove("RUST_LOG");
        command
    }

    fn discovery(&self, db: &Path) -> Discovery {
        let mut command = self.program("switch", env!("CARGO_BIN_EXE_discovery"));
        Discovery::spawn(command.arg("--db").arg(db).args(["10.77.0.1", "0"]).stdin(Stdio::null()))
    }

    /// A client of the machine's name that gives out the address from which discovery sees it.
    fn client(&self, machine: &str, directory: &Path, discovery: SocketAddr) -> Client {
        self.client_at(machine, "0.0.0.0", directory, discovery)
    }

    /// A client of the machine's name that listens at this address, and gives it out.
    fn client_at(&self, machine: &str, ip: &str, directory: &Path, discovery: SocketAddr) -> Client {
        let mut command = self.program(machine, env!("CARGO_BIN_EXE_client"));
        command.env("XDG_CONFIG_HOME", "/nowhere");
        command.args(ANSWER_ALL).arg("--data-dir").arg(directory).args([machine, "7000", ip]);
        command.args([discovery.ip().to_string(), discovery.port().to_string()]);
        let mut client = Client::run(machine, &mut command);
        client.expect_registered();
        client
    }

    fn linked_pair(&self, directory: &Path, discovery: SocketAddr) -> (Client, Client) {
        let mut bob = self.client("bob", directory, discovery);
        let mut alice = self.client("alice", directory, discovery);
        alice.say("REQUEST bob");
        alice.expect_link("bob");
        bob.expect_link("alice");
        (alice, bob)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for namespace in &self.machines {
            let _ = Command::new("ip").args(["netns", "delete", namespace]).status();
        }
    }
}

const PAIR: &[(&str, &str)] = &[("alice", "10.77.0.2"), ("bob", "10.77.0.3")];

#[test]
fn a_pulled_cable_is_noticed_and_costs_nothing() {
    let Some(network) = Network::new(PAIR) else { return };
    let (directory, db) = scratch();
    let discovery = network.discovery(&db);
    let (mut alice, mut bob) = network.linked_pair(directory.path(), discovery.address);
    alice.say("CHAT bob before");
    bob.expect_message("alice", "before");
    alice.expect_delivered(1);

    let pulled = Instant::now();
    network.ip("switch", "link set bob down");
    // Written before any client has noticed.
    alice.say("CHAT bob one");
    bob.say("CHAT alice one");
    alice.expect_gone("bob");
    let noticed = pulled.elapsed();
    bob.expect_unlink("alice");
    println!("noticed after {noticed:?} by alice and discovery, {:?} by bob", pulled.elapsed());
    assert!(noticed < NOTICED + SLACK && pulled.elapsed() < NOTICED + SLACK, "{:?}", pulled.elapsed());
    assert!(noticed + Duration::from_secs(1) > DEAD_AFTER, "silence, not a reset");
    alice.say("CHAT bob two");
    bob.say("CHAT alice two");

    let healed = Instant::now();
    network.ip("switch", "link set bob up");
    for text in ["one", "two"] {
        bob.expect_message("alice", text);
        alice.expect_message("bob", text);
    }
    println!("delivered {:?} after it healed", healed.elapsed());
    alice.expect_delivered_in_all(3);
    bob.expect_delivered_in_all(2);
    let shown =
        |client: &mut Client| client.settle().iter().filter(|event| event["event"] == "message").count();
    assert_eq!((shown(&mut alice), shown(&mut bob)), (2, 3));
    alice.log_out();
    bob.log_out();
}

/// For so long after a link came up a second one may count as dialled at the same moment (6.3 of the protocol).
const CROSSING: Duration = Duration::from_secs(10);

/// Bob gets another address, and writes something then, or does not.
fn moves(writes: bool) {
    let Some(network) = Network::new(PAIR) else { return };
    let (directory, db) = scratch();
    let discovery = network.discovery(&db);
    let (mut alice, mut bob) = network.linked_pair(directory.path(), discovery.address);
    alice.say("CHAT bob before");
    bob.expect_message("alice", "before");
    alice.expect_delivered(1);

    // A link that has stood for a while.
    let standing = Instant::now() + CROSSING;
    while alice.next(standing.saturating_duration_since(Instant::now())).is_some() {}
    let moved = Instant::now();
    network.ip("bob", "addr del 10.77.0.3/24 dev eth0");
    network.ip("bob", "addr add 10.77.0.33/24 dev eth0");
    alice.say("CHAT bob one");
    if writes {
        bob.say("CHAT alice one");
    }
    bob.expect_message("alice", "one");
    let found = moved.elapsed();
    println!("reached at the new address after {found:?}");
    if writes {
        alice.wait("message", |message| message["text"] == "one");
    }
    assert!(found < FOUND, "{found:?}");
    // All know the new one now: a client that starts anew finds him there, too.
    alice.log_out();
    let mut alice = network.client("alice", directory.path(), discovery.address);
    alice.say("CHAT bob two");
    bob.expect_message("alice", "two");
    alice.say("CONTACTS");
    let contacts = alice.wait("contacts", |_| true);
    assert_eq!(contacts["contacts"][0]["address"], "10.77.0.33:7000");
    let shown = bob.settle().iter().filter(|event| event["event"] == "message").count();
    assert_eq!(shown, 3);
    alice.log_out();
    bob.log_out();
}

#[test]
fn who_gets_another_address_is_reached_there() {
    moves(false);
}

#[test]
fn who_gets_another_address_reaches_the_others() {
    moves(true);
}

/// Both give out addresses that mean another machine at the other's: neither is dialled, and alice can tell why.
fn are_not_dialled(ips: [&str; 2], why: &str) {
    let Some(network) = Network::new(PAIR) else { return };
    let (directory, db) = scratch();
    let discovery = network.discovery(&db);
    let [mut alice, _bob] = [("alice", ips[0]), ("bob", ips[1])].map(|(machine, ip)| {
        network.ip(machine, &format!("addr add {ip}/32 dev lo"));
        network.client_at(machine, ip, directory.path(), discovery.address)
    });
    alice.say("REQUEST bob");
    let deadline = Instant::now() + FOUND;
    let problem = loop {
        alice.say("WHY bob");
        let answer = alice.wait("why", |_| true);
        assert!(Instant::now() < deadline, "{answer}");
        let address = &answer["addresses"][0];
        if let Some(problem) = address["problem"].as_str() {
            assert_eq!(address["address"], format!("{}:7000", ips[1]));
            break problem.to_owned();
        }
    };
    assert_eq!(problem, format!("not dialled: {why}"));
    assert!(!alice.settle().iter().any(|event| event["event"] == "link"));
}

#[test]
fn nothing_at_this_machine_is_dialled_on_another_s_word() {
    let why = "it means this machine itself, and discovery is on another one";
    are_not_dialled(["127.0.0.2", "127.0.0.3"], why);
}

#[test]
fn nothing_in_another_private_network_is_dialled_on_another_s_word() {
    let why = "it is a private address, and not in a network of this machine";
    are_not_dialled(["10.78.0.2", "10.78.0.3"], why);
}

#[test]
fn a_network_that_is_gone_leaves_nothing_behind() {
    let Some(network) = Network::new(&[]) else { return };
    let namespace = network.namespace("switch");
    drop(network);
    let list = Command::new("ip").args(["netns", "list"]).output().unwrap();
    assert!(!String::from_utf8(list.stdout).unwrap().contains(&namespace));
}
