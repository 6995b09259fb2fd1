//! Clients that know several places of discovery: one that is dead, silent, lost or another one's costs them nothing.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::client::{ANSWER_ALL, Client, program};
use crate::support::discovery::{Discovery, command, scratch};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

/// A port at which connections are refused, until this is dropped.
fn dead(at: SocketAddr) -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, None).unwrap();
    socket.bind(&at.into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

fn any_port() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn list(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(",")
}

/// How a client is started that finds discovery at any of `hosts`.
fn knowing(directory: &Path, name: &str, hosts: &str) -> Command {
    let mut command = program();
    command.env_remove("RUST_LOG").env_remove("XDG_RUNTIME_DIR");
    command.arg("--data-dir").arg(directory).args(ANSWER_ALL).args([name, "0", "127.0.0.1", hosts]);
    command
}

fn start(directory: &Path, name: &str, hosts: &str) -> Client {
    Client::run(name, &mut knowing(directory, name, hosts))
}

/// The next that it tells of discovery is that it is there, by this one.
fn expect_up(client: &mut Client, at: SocketAddr) -> Value {
    let told = client.wait_aside("discovery", |_| true);
    let detail = told["detail"].as_str().unwrap();
    assert_eq!(told["state"], "up", "{detail}");
    assert!(detail.ends_with(&format!(", with discovery at {at}")), "{detail}");
    told
}

fn expect_down(client: &mut Client, detail: &str) {
    let told = client.wait("discovery", |_| true);
    assert_eq!((&told["state"], &told["detail"]), (&"down".into(), &detail.into()));
}

/// Another discovery at that place, with what the first one's database holds now.
fn twin(db: &Path, copy: &Path, place: Socket) -> Discovery {
    let port = place.local_addr().unwrap().as_socket().unwrap().port();
    let database = rusqlite::Connection::open(db).unwrap();
    database.execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
    drop(place);
    Discovery::start_at(copy, &[], &port.to_string())
}

#[test]
fn one_that_is_dead_or_silent_is_passed_over_without_a_word() {
    let (directory, db) = scratch();
    let live = Discovery::start(&db);
    let (_socket, dead) = dead(any_port());
    // It takes connections, for the kernel does, and says nothing.
    let silent = TcpListener::bind(any_port()).unwrap();
    let hosts = list(&[dead, silent.local_addr().unwrap(), live.address]);
    // Which one is first is chance.
    for name in ["alice", "bob", "carol", "dave"] {
        let mut client = start(directory.path(), name, &hosts);
        expect_up(&mut client, live.address);
        client.log_out();
    }
}

#[test]
fn nothing_is_waited_for_where_none_is_there_but_the_back_off() {
    let (directory, db) = scratch();
    let ((socket, one), (_socket, other)) = (dead(any_port()), dead(any_port()));
    let mut alice = start(directory.path(), "alice", &list(&[one, other]));
    let told = alice.wait("discovery", |_| true);
    let detail = told["detail"].as_str().unwrap();
    assert_eq!(told["state"], "down");
    for at in [one, other] {
        assert_eq!(detail.matches(&format!("{at}: ")).count(), 1, "{detail}");
    }
    drop(socket);
    let discovery = Discovery::start_at(&db, &[], &one.port().to_string());
    expect_up(&mut alice, discovery.address);
    alice.log_out();
}

/// A client for which `chat.test` has these addresses. `None`, and said so, where it can't have a file of its own.
fn client_with_hosts(directory: &Path, addresses: &[&str], port: u16) -> Option<Client> {
    let file = directory.join("hosts");
    let lines: Vec<String> = addresses.iter().map(|address| format!("{address} chat.test\n")).collect();
    std::fs::write(&file, lines.concat()).unwrap();
    let run = |command: &[&str]| {
        let mut unshare = Command::new("unshare");
        let script = r#"mount --bind "$0" /etc/hosts && exec "$@""#;
        unshare.args(["--mount", "sh", "-c", script]).arg(&file).args(command).stderr(Stdio::null());
        unshare
    };
    if !run(&["true"]).status().is_ok_and(|status| status.success()) {
        println!("skipped: no mount namespaces here; they need root and util-linux");
        return None;
    }
    let client = knowing(directory, "alice", &format!("chat.test:{port}"));
    let mut own = run(&[]);
    own.arg(client.get_program()).args(client.get_args()).env("XDG_CONFIG_HOME", "/nowhere");
    own.env_remove("RUST_LOG").env_remove("XDG_RUNTIME_DIR");
    Some(Client::run("alice", &mut own))
}

#[test]
fn every_address_of_a_name_counts() {
    let (directory, db) = scratch();
    let discovery = Discovery::spawn(command(&db).args(["127.0.0.3", "0"]));
    let port = discovery.address.port();
    let addresses = ["::1", "127.0.0.2", "127.0.0.3"];
    let Some(mut alice) = client_with_hosts(directory.path(), &addresses, port) else { return };
    let told = alice.wait("discovery", |_| true);
    let detail = told["detail"].as_str().unwrap();
    assert_eq!(told["state"], "up", "{detail}");
    assert!(detail.ends_with(&format!(", with discovery at chat.test[127.0.0.3]:{port}")), "{detail}");
    alice.log_out();
}

#[test]
fn when_one_is_killed_the_next_is_there_at_once_and_nothing_is_lost() {
    let (directory, db) = scratch();
    let one = Discovery::start(&db);
    let (place, other) = dead(any_port());
    let hosts = list(&[one.address, other]);
    let mut bob = start(directory.path(), "bob", &hosts);
    expect_up(&mut bob, one.address);
    let mut alice = start(directory.path(), "alice", &hosts);
    expect_up(&mut alice, one.address);
    alice.say("REQUEST bob");
    alice.expect_link("bob");
    bob.expect_link("alice");
    bob.log_out();
    alice.expect_gone("bob");
    alice.say("CHAT bob while you were away");
    // No one of that name is there yet.
    let mut carol = start(directory.path(), "carol", &hosts);
    expect_up(&mut carol, one.address);
    carol.log_out();

    let two = twin(&db, &directory.path().join("copy.db"), place);
    let address = one.address;
    one.kill();
    expect_down(&mut alice, &format!("{address} closed the connection"));
    expect_up(&mut alice, two.address);
    alice.say("REQUEST carol");
    alice.wait("requested", |event| event["peer"] == "carol");

    let mut bob = start(directory.path(), "bob", &hosts);
    expect_up(&mut bob, two.address);
    bob.expect_message("alice", "while you were away");
    alice.expect_delivered(1);
    let mut carol = start(directory.path(), "carol", &hosts);
    expect_up(&mut carol, two.address);
    alice.expect_link("carol");
    alice.say("WHY bob");
    let why = alice.wait("why", |_| true);
    assert!(why["discovery"]["detail"].as_str().unwrap().ends_with(&format!("at {}", two.address)));
    for client in [alice, bob, carol] {
        client.log_out();
    }
}

#[test]
fn another_key_at_the_second_is_refused_while_the_first_is_used() {
    let (directory, db) = scratch();
    let first = Discovery::start(&db);
    let impostor = Discovery::start(&directory.path().join("other.db"));
    // Which key is right, the client knows from the first.
    let mut alice = start(directory.path(), "alice", &first.address.to_string());
    alice.expect_registered();
    alice.log_out();
    let hosts = list(&[first.address, impostor.address]);
    let refused = format!("discovery at {} has the key ", impostor.address);
    // Which one is dialled first is chance: one start in 2^30 fails here.
    let told = (0..30).any(|_| {
        let mut alice = start(directory.path(), "alice", &hosts);
        expect_up(&mut alice, first.address);
        let told = alice.log().iter().find(|event| event["event"] == "error").cloned();
        alice.log_out();
        told.is_some_and(|error| {
            let message = error["message"].as_str().unwrap();
            assert_eq!(error["code"], "key-changed");
            assert!(message.starts_with(&refused), "{message}");
            assert!(message.ends_with(&format!("It is refused, and {} is used", first.address)), "{message}");
            true
        })
    });
    assert!(told, "the other one was never dialled first");

    // Without the first one it stays refused, and the user is told what could be done.
    let mut alice = start(directory.path(), "alice", &hosts);
    expect_up(&mut alice, first.address);
    let (address, port) = (first.address, first.address.port().to_string());
    first.kill();
    expect_down(&mut alice, &format!("{address} closed the connection"));
    let told = alice.wait("discovery", |_| true);
    assert!(told["state"] == "down" && told["detail"].as_str().unwrap().contains(&refused), "{told}");
    let first = Discovery::start_at(&db, &[], &port);
    alice.expect_registered();
    assert_eq!(alice.log().iter().filter(|event| event["code"] == "key-changed").count(), 1);
    drop(first);
}
