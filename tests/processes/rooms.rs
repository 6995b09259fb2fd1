//! Rooms: what is said reaches all members, also those who were away.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;

use crate::support::client::{Client, command};
use crate::support::discovery::{Discovery, scratch};

/// The first of these owns `#lab`, and has invited the others, who know no one else.
fn in_room(directory: &Path, discovery: SocketAddr, names: &[&str]) -> Vec<Client> {
    let mut clients: Vec<Client> =
        names.iter().map(|name| Client::online(directory, name, discovery)).collect();
    let (owner, others) = clients.split_first_mut().unwrap();
    owner.say("ROOM #lab");
    owner.wait("room", |event| event["state"] == "founded");
    for other in others {
        owner.say(&format!("REQUEST {}", other.name));
        owner.expect_link(&other.name);
        owner.say(&format!("INVITE #lab {}", other.name));
        let invite = other.wait("invite", |_| true);
        assert_eq!((&invite["room"], &invite["from"]), (&"#lab".into(), &owner.name.as_str().into()));
        other.say("JOIN #lab");
        other.wait("room", |event| event["state"] == "joined");
        owner.wait("member", |event| event["user"] == other.name.as_str() && event["state"] == "joined");
    }
    clients
}

/// Waits until as many others are linked in the room as there are.
fn all_linked(client: &mut Client, others: u64) {
    loop {
        client.say("ROOMS");
        let rooms = client.wait("rooms", |_| true);
        if rooms["rooms"][0]["linked"] == others {
            return;
        }
    }
}

fn expect_in_room(client: &mut Client, from: &str, text: &str) {
    let message = client.expect_message(from, text);
    assert_eq!(message["room"], "#lab");
}

fn history(client: &mut Client) -> Vec<(String, String)> {
    client.say("HISTORY #lab");
    let history = client.wait("history", |_| true);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let line = |line: &Value| (text(&line["from"]), text(&line["text"]));
    history["messages"].as_array().unwrap().iter().map(line).collect()
}

#[test]
fn who_was_away_gets_it_from_any_member() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let address = discovery.address;
    let mut clients = in_room(directory.path(), address, &["alice", "bob", "carol"]);
    let mut carol = clients.pop().unwrap();
    let mut bob = clients.pop().unwrap();
    let mut alice = clients.pop().unwrap();
    [&mut alice, &mut bob, &mut carol].into_iter().for_each(|client| all_linked(client, 2));
    alice.say("CHAT #lab one");
    expect_in_room(&mut bob, "alice", "one");
    expect_in_room(&mut carol, "alice", "one");
    carol.say("CHAT #lab two");
    expect_in_room(&mut alice, "carol", "two");
    expect_in_room(&mut bob, "carol", "two");
    alice.wait("delivered", |event| event["have"] == 3 && event["final"] == true);

    carol.kill();
    alice.expect_unlink("carol");
    alice.say("CHAT #lab three");
    expect_in_room(&mut bob, "alice", "three");
    alice.wait("delivered", |event| event["have"] == 2 && event["of"] == 3 && event["final"] == false);
    alice.kill();
    // Carol has never asked for bob, who is no contact of hers.
    let mut carol = Client::online(directory.path(), "carol", address);
    expect_in_room(&mut carol, "alice", "three");
    carol.say("CHAT #lab four");
    expect_in_room(&mut bob, "carol", "four");
    carol.say("CONTACTS");
    let contacts = carol.wait("contacts", |_| true);
    assert_eq!(contacts["contacts"].as_array().map(Vec::len), Some(1));

    let mut alice = Client::online(directory.path(), "alice", address);
    expect_in_room(&mut alice, "carol", "four");
    alice.wait("delivered", |event| event["have"] == 3 && event["final"] == true);
    let expected: Vec<(String, String)> =
        [("alice", "one"), ("carol", "two"), ("alice", "three"), ("carol", "four")]
            .map(|(from, text)| (from.into(), text.into()))
            .into();
    for client in [&mut alice, &mut bob, &mut carol] {
        assert_eq!(history(client), expected, "{}", client.name);
    }
    [alice, bob, carol].into_iter().for_each(Client::log_out);
}

#[test]
fn who_is_removed_is_told_and_gets_nothing_more() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut clients = in_room(directory.path(), discovery.address, &["alice", "bob", "carol"]);
    let mut carol = clients.pop().unwrap();
    let mut bob = clients.pop().unwrap();
    let mut alice = clients.pop().unwrap();
    [&mut alice, &mut bob, &mut carol].into_iter().for_each(|client| all_linked(client, 2));
    alice.say("KICK #lab carol");
    carol.wait("room", |event| event["state"] == "removed");
    bob.wait("member", |event| event["user"] == "carol" && event["state"] == "removed");
    bob.say("CHAT #lab among us");
    expect_in_room(&mut alice, "bob", "among us");
    carol.say("CHAT #lab hello");
    carol.expect_error("not-a-member");
    assert!(history(&mut carol).is_empty());
}

#[test]
fn one_text_is_sent_to_a_room() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut clients = in_room(directory.path(), discovery.address, &["alice", "bob"]);
    let mut bob = clients.pop().unwrap();
    clients.pop().unwrap().log_out();
    let send = |text: &str, linger: &str| {
        let options = ["--linger", linger, "--send", "#lab", text];
        let output = command(directory.path(), "alice", 0, discovery.address, &options).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(send("the build is green", "30"), (Some(0), String::new()));
    expect_in_room(&mut bob, "alice", "the build is green");
    bob.kill();
    let (status, why) = send("the build is red", "1");
    assert!(status == Some(3) && why.contains("#lab doesn't have it yet"), "{why}");
    let mut bob = Client::online(directory.path(), "bob", discovery.address);
    assert_eq!(send("the build is green again", "30"), (Some(0), String::new()));
    expect_in_room(&mut bob, "alice", "the build is red");
    expect_in_room(&mut bob, "alice", "the build is green again");
}
