//! The past opens to no key alone (law 9), and counts as delivered to no one who has not had it.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use peerchat::protocol::peer::{Hello, Message, Peer};

use super::{meeting, numbered, said, shown};
use crate::support::client::{Client, linked_pair};
use crate::support::discovery::{Discovery, scratch};
use crate::support::raw::{Account, RawPeer, cursor, hello, stolen, texts};

const OLD: usize = 30;

/// Says these texts and waits until they are delivered; their ids.
fn deliver(client: &mut Client, to: &str, texts: &[String]) -> Vec<String> {
    texts.iter().for_each(|text| client.say(&format!("CHAT {to} {text}")));
    let id = |event: &serde_json::Value| event["id"].as_str().unwrap().to_owned();
    texts.iter().map(|_| id(&client.wait("delivered", |event| event["to"] == to))).collect()
}

/// Says these texts, which stay; their ids.
fn queue(client: &mut Client, to: &str, texts: &[String]) -> Vec<String> {
    let queue = |text: &String| {
        client.say(&format!("CHAT {to} {text}"));
        client.wait("queued", |_| true)["id"].as_str().unwrap().to_owned()
    };
    texts.iter().map(queue).collect()
}

/// alice and bob, who has had old texts of hers and has logged out. The ids of those.
fn past(directory: &Path, discovery: SocketAddr) -> (Client, Vec<String>) {
    let (mut alice, bob) = linked_pair(directory, discovery);
    let ids = deliver(&mut alice, "bob", &numbered("old", 0..OLD));
    bob.log_out();
    alice.expect_gone("bob");
    (alice, ids)
}

/// What goes out again under a new identity.
fn originals(said: &[Peer]) -> Vec<String> {
    let original = |it: &Peer| match it {
        Peer::Message(Message { original: Some(original), .. }) => Some(original.to_string()),
        _ => None,
    };
    said.iter().filter_map(original).collect()
}

#[test]
fn a_stolen_key_opens_nothing_of_the_past() {
    let (directory, db) = scratch();
    let directory = directory.path();
    let discovery = Discovery::start(&db);
    let (mut alice, old) = past(directory, discovery.address);
    queue(&mut alice, "bob", &numbered("new", 0..3));

    let thief = stolen(directory, "bob");
    let (mut peer, theirs) = RawPeer::link(&alice, &thief, hello("bob")).hello();
    assert!(theirs.cursors.is_empty(), "bob has written nothing");
    let lost = alice.wait("lost", |event| event["peer"] == "bob");
    assert_eq!(lost["messages"], OLD);
    alice.say("CHAT bob last");
    let heard = peer.up_to("last");
    assert_eq!(texts(&heard), [numbered("new", 0..3), vec!["last".into()]].concat());
    // The thief is told up to where nothing is sent, before what is.
    let skipped: Vec<_> = heard.iter().filter(|it| matches!(it, Peer::Skipped(_))).collect();
    let first = heard.iter().position(|it| matches!(it, Peer::Message(_)));
    assert!(
        matches!(heard[..first.unwrap()].iter().rfind(|it| matches!(it, Peer::Skipped(_))),
        Some(Peer::Skipped(up_to)) if up_to.to_string() == *old.last().unwrap()),
        "{heard:#?}"
    );
    assert_eq!(skipped.len(), 1, "{heard:#?}");

    // However often the thief comes, the user is asked once, and the thief gets nothing more.
    for _ in 0..10 {
        let (mut peer, _) = RawPeer::insist(&alice, &thief, &hello("bob"));
        assert!(!texts(&peer.up_to("last")).iter().any(|text| text.starts_with("old")));
    }
    assert_eq!(said(&mut alice, "lost"), 1, "{:#?}", alice.log());
    // Nor after a restart of hers.
    alice.log_out();
    let mut alice = Client::online(directory, "alice", discovery.address);
    let (mut peer, _) = RawPeer::link(&alice, &thief, hello("bob")).hello();
    assert!(!texts(&peer.up_to("last")).iter().any(|text| text.starts_with("old")));

    // Only she decides.
    alice.say(r#"{"command": "resend", "peer": "bob"}"#);
    alice.say("CHAT bob after");
    let heard = peer.up_to("after");
    assert_eq!(originals(&heard), old, "{heard:#?}");
    assert_eq!(texts(&heard)[..OLD], numbered("old", 0..OLD));
}

#[test]
fn who_has_all_is_shown_nothing_twice_after_a_resend() {
    let (directory, db) = scratch();
    let directory = directory.path();
    let discovery = Discovery::start(&db);
    let (mut alice, _) = past(directory, discovery.address);
    let thief = stolen(directory, "bob");
    let (peer, _) = RawPeer::link(&alice, &thief, hello("bob")).hello();
    alice.wait("lost", |event| event["peer"] == "bob");
    peer.close();
    alice.expect_unlink("bob");

    // Twice, with the one who has all coming between.
    alice.say("RESEND bob");
    let mut bob = Client::online(directory, "bob", discovery.address);
    alice.say("CHAT bob one");
    bob.wait("message", |event| event["text"] == "one");
    alice.say("RESEND bob");
    alice.say("CHAT bob two");
    bob.wait("message", |event| event["text"] == "two");
    let of_alice: Vec<_> = shown(&mut bob, "alice");
    let fresh: Vec<_> = of_alice.iter().filter(|text| !text.starts_with("old")).collect();
    assert_eq!(fresh, ["one", "two"], "{of_alice:?}");
    bob.say("HISTORY alice 1000");
    let history = bob.wait("history", |_| true);
    assert_eq!(history["messages"].as_array().unwrap().len(), OLD + 2, "{history:#}");
    // What is acknowledged again is not told as delivered again and again.
    bob.log_out();
    let delivered = said(&mut alice, "delivered");
    assert!(delivered <= OLD + 2 + 2 * OLD, "{delivered}");
}

#[test]
fn a_restored_backup_gets_each_once_with_its_old_identity() {
    let (directory, db) = scratch();
    let directory = directory.path();
    let discovery = Discovery::start(&db);
    let (mut alice, bob) = linked_pair(directory, discovery.address);
    deliver(&mut alice, "bob", &numbered("old", 0..10));
    bob.log_out();
    alice.expect_gone("bob");
    let journal = directory.join("bob.journal");
    let backup = fs::read(&journal).unwrap();
    let mut bob = Client::online(directory, "bob", discovery.address);
    alice.expect_link("bob");
    let ids = deliver(&mut alice, "bob", &numbered("old", 10..30));
    bob.say("HISTORY alice 20");
    let history = bob.wait("history", |_| true)["messages"].as_array().unwrap().clone();
    bob.log_out();
    alice.expect_gone("bob");
    for file in fs::read_dir(directory).unwrap().flatten() {
        if file.file_name().to_string_lossy().starts_with("bob.journal-") {
            fs::remove_file(file.path()).unwrap();
        }
    }
    fs::write(&journal, backup).unwrap();

    let mut bob = Client::online(directory, "bob", discovery.address);
    let lost = alice.wait("lost", |event| event["peer"] == "bob");
    assert_eq!(lost["messages"], 20);
    alice.say("CHAT bob between");
    bob.wait("message", |event| event["text"] == "between");
    alice.say("RESEND bob");
    bob.wait("message", |event| event["text"] == "old 29");
    let again: Vec<_> = bob
        .settle()
        .iter()
        .filter(|it| it["event"] == "message" && it["replayed"] == false && it["text"] != "between")
        .cloned()
        .collect();
    assert_eq!(again.len(), 20, "{again:#?}");
    for (number, (message, before)) in again.iter().zip(&history).enumerate() {
        assert_eq!(message["text"], format!("old {}", number + 10));
        assert_eq!(message["id"], ids[number]);
        assert_eq!((&message["id"], &message["sent"]), (&before["id"], &before["sent"]));
    }
    // It is known as had: neither a second order nor a new start brings it again.
    alice.say("RESEND bob");
    alice.say("CHAT bob end");
    bob.wait("message", |event| event["text"] == "end");
    assert_eq!(shown(&mut bob, "alice").iter().filter(|text| *text == "old 29").count(), 1);
}

/// The thief acknowledges what waits for bob. When he comes himself, his client shows that he has it not, and alice can
/// send it to him.
#[test]
fn what_a_thief_has_acknowledged_is_not_lost_to_its_owner() {
    let (directory, db) = scratch();
    let directory = directory.path();
    let discovery = Discovery::start(&db);
    let (mut alice, _) = past(directory, discovery.address);
    queue(&mut alice, "bob", &numbered("new", 0..3));
    let thief = stolen(directory, "bob");
    let (mut peer, _) = RawPeer::link(&alice, &thief, hello("bob")).hello();
    let last = loop {
        let message = peer.message();
        if message.body == b"new 2" {
            break message.cursor();
        }
    };
    peer.say(&[Peer::Ack(last)]).unwrap();
    alice.expect_delivered(3);
    peer.close();

    let mut bob = Client::online(directory, "bob", discovery.address);
    // She was told when the thief said that he lacks all, and is not asked a second time for three more.
    alice.expect_link("bob");
    alice.say("RESEND bob");
    bob.wait("message", |event| event["text"] == "new 2");
    let fresh: Vec<_> = shown(&mut bob, "alice").into_iter().filter(|text| text.starts_with("new")).collect();
    assert_eq!(fresh, numbered("new", 0..3));
}

/// Each time the thief claims to have a little less, so that each time there is news.
#[test]
fn a_thief_can_t_fill_the_screen_with_losses() {
    let (directory, db) = scratch();
    let directory = directory.path();
    let discovery = Discovery::start(&db);
    let (mut alice, old) = past(directory, discovery.address);
    let thief = stolen(directory, "bob");
    let (epoch, _) = old[0].split_once('-').unwrap();
    let epoch = u64::from_str_radix(epoch, 16).unwrap();
    for number in (0..OLD as u64).rev() {
        let cursors = vec![cursor(epoch, number)];
        RawPeer::insist(&alice, &thief, &Hello { cursors, ..hello("bob") }).0.close();
    }
    let lost = said(&mut alice, "lost");
    assert!((1..10).contains(&lost), "{lost} lines");
}

#[test]
fn what_was_not_sent_is_not_delivered() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut alice = meeting("open", directory.path(), "alice", discovery.address);
    let mut mallory = Account::new(discovery.address, "mallory");
    mallory.request("alice");
    alice.say("REQUEST mallory");
    let peer = mallory.lure.accept(&mallory.key);
    let (peer, theirs) = peer.greet(mallory.hello()).hello();
    let epoch = theirs.epoch;
    alice.expect_link("mallory");
    peer.close();
    alice.expect_unlink("mallory");
    let ids = queue(&mut alice, "mallory", &numbered("text", 0..6));

    // What was sent so far, by its place.
    let mut sent = 0;
    let delivered = |alice: &mut Client, sent: usize| {
        let told = |it: &&serde_json::Value| it["event"] == "delivered";
        let told: Vec<_> = alice.settle().iter().filter(told).map(|it| it["id"].clone()).collect();
        assert!(told.len() <= sent, "{told:?} of {ids:?}, {sent} were sent");
    };
    let narrow = |cursors| Hello { cursors, window: 0, ..mallory.hello() };
    for number in [u64::MAX, i64::MAX as u64, 1 << 40] {
        // alice dials as well; that link is never answered.
        let (mut peer, _) = RawPeer::insist(&alice, &mallory.key, &narrow(vec![cursor(epoch, number)]));
        delivered(&mut alice, sent);
        let first = String::from_utf8(peer.message().body).unwrap();
        assert!([sent - sent.min(1), sent].iter().any(|at| first == format!("text {at}")), "{first}");
        sent = sent.max(first[5..].parse::<usize>().unwrap() + 1);
        delivered(&mut alice, sent);
        peer.close();
    }
    // The window holds one, and the acknowledgement of all is one of what was sent.
    let (mut peer, _) = RawPeer::insist(&alice, &mallory.key, &narrow(Vec::new()));
    for _ in 0..2 {
        let text = String::from_utf8(peer.message().body).unwrap();
        sent = sent.max(text[5..].parse::<usize>().unwrap() + 1);
        delivered(&mut alice, sent);
        peer.say(&[Peer::Ack(cursor(epoch, u64::MAX))]).unwrap();
    }
    peer.close();
    // All the rest still comes.
    let (mut peer, _) = RawPeer::insist(&alice, &mallory.key, &mallory.hello());
    let heard = peer.up_to("text 5");
    delivered(&mut alice, 5);
    let Some(Peer::Message(last)) = heard.last() else { panic!("{heard:?}") };
    peer.say(&[Peer::Ack(last.cursor())]).unwrap();
    while said(&mut alice, "delivered") < 6 {
        alice.wait("delivered", |_| true);
    }
}
