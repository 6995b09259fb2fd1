//! Rooms: what is said reaches all members, also those who were away.
//!
//! ```text
//! cargo test --test processes rooms::
//! PEERCHAT_SEED=7 cargo test --test processes rooms::struck        # other kills at other moments
//! PEERCHAT_CROWD_SECONDS=180 cargo test --test processes rooms::crowd -- --nocapture
//! ```

use serde_json::{Value, json};

use crate::support::client::command;
use crate::support::discovery::{Discovery, scratch};
use member::{Member, agree_on_all, all_linked, in_room};

#[cfg(target_os = "linux")]
mod crowd;
mod forked;
mod gone;
mod member;
mod removed;
mod restored;
mod returned;
mod struck;

#[test]
fn who_was_away_gets_it_from_any_member() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut members = in_room(directory.path(), discovery.address, &["alice", "bob", "carol"]);
    all_linked(&mut members);
    let [alice, bob, carol] = &mut members[..] else { unreachable!() };
    alice.chat("one");
    bob.sees("alice", "one");
    carol.sees("alice", "one");
    let two = carol.chat("two");
    alice.sees("carol", "two");
    bob.sees("carol", "two");
    carol.is_told_of_all(&two, 3);

    carol.kill();
    alice.until("link", |event| event["peer"] == "carol" && event["state"] == "down");
    let three = alice.chat("three");
    bob.sees("alice", "three");
    alice.until("delivered", |event| event["have"] == 2 && event["of"] == 3 && event["final"] == false);
    assert_eq!(alice.have(&three), Some(2));
    alice.kill();
    // Carol has never asked for bob, who is no contact of hers.
    carol.begin();
    carol.sees("alice", "three");
    carol.chat("four");
    bob.sees("carol", "four");
    let contacts = carol.ask("CONTACTS", "contacts");
    assert_eq!(contacts["contacts"].as_array().map(Vec::len), Some(1));

    alice.begin();
    alice.sees("carol", "four");
    alice.is_told_of_all(&three, 3);
    let texts = agree_on_all(&mut members, 3);
    let texts: Vec<(&str, &str)> = texts.iter().map(|line| (line.from(), line.text.as_str())).collect();
    assert_eq!(texts, [("alice", "one"), ("carol", "two"), ("alice", "three"), ("carol", "four")]);
    members.iter_mut().for_each(Member::log_out);
}

#[test]
fn a_room_goes_on_in_another_one() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut members = in_room(directory.path(), discovery.address, &["alice", "bob"]);
    let [alice, bob] = &mut members[..] else { unreachable!() };
    let one = alice.chat("one");
    bob.sees("alice", "one");
    alice.is_told_of_all(&one, 2);
    let lab = alice.ask("ROOMS", "rooms")["rooms"][0]["room_id"].clone();

    // Any member may found the next one, as where the owner is gone for good.
    bob.say("ROOM #lab2 #lab");
    bob.until("room", |event| event["room"] == "#lab2" && event["state"] == "founded");
    bob.say("INVITE #lab2 alice");
    let goes_on = |event: &Value| event["past"] == lab && event["past_room"] == "#lab";
    alice.until("invite", |event| event["room"] == "#lab2" && goes_on(event));
    alice.say("JOIN #lab2");
    alice.until("room", |event| event["room"] == "#lab2" && event["state"] == "joined");
    let history = alice.ask("HISTORY #lab2", "history");
    assert!(goes_on(&history) && history["messages"] == json!([]), "{history}");
    alice.comes_to("all that bob had", |alice| {
        let why = alice.ask("WHY #lab2", "why");
        goes_on(&why) && why["past_here"] == true
    });
    members.iter_mut().for_each(Member::log_out);
}

#[test]
fn one_text_is_sent_to_a_room() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut members = in_room(directory.path(), discovery.address, &["alice", "bob"]);
    let [alice, bob] = &mut members[..] else { unreachable!() };
    alice.log_out();
    let directory = alice.directory.clone();
    let send = |text: &str, linger: &str| {
        let options = ["--linger", linger, "--send", "#lab", text];
        let output = command(&directory, "alice", 0, discovery.address, &options).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(send("the build is green", "30"), (Some(0), String::new()));
    bob.sees("alice", "the build is green");
    bob.kill();
    let (status, why) = send("the build is red", "1");
    assert!(status == Some(3) && why.contains("#lab doesn't have it yet"), "{why}");
    bob.begin();
    assert_eq!(send("the build is green again", "30"), (Some(0), String::new()));
    bob.sees("alice", "the build is red");
    bob.sees("alice", "the build is green again");
    // While her client runs it goes through that one.
    alice.begin();
    alice.is_linked_to("bob");
    assert_eq!(send("through the other", "30"), (Some(0), String::new()));
    bob.sees("alice", "through the other");
    bob.kill();
    alice.comes_to("no link", |alice| alice.links() == 0);
    let (status, why) = send("too late", "1");
    assert!(status == Some(3) && why.contains("no other member is linked"), "{why}");
}
