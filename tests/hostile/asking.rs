//! What strangers do at the real discovery, by raw messages: crowds that ask, questions, addresses that are others'.

use std::net::{Ipv4Addr, SocketAddr};

use crate::support::discovery::*;
use crate::support::raw::{Wire, registration, session};
use peerchat::protocol::rendezvous::{Asks, RefusedCode, Status, Strangers, ToClient, ToDiscovery};

/// As many as may ask for one user.
const CROWD: u32 = 1000;

/// One who is registered and comes from this address.
fn user(from: Ipv4Addr, to: SocketAddr, name: &str) -> Wire<ToClient> {
    let mut wire = session(from, to, &keypair()).unwrap();
    wire.say(&[registration(name, (from, 1).into(), Strangers::Open)]).unwrap();
    wire.wait("Synced", |said| matches!(said, ToClient::Synced).then_some(()));
    wire
}

fn status(wire: &mut Wire<ToClient>, name: &str) -> Status {
    wire.wait(name, |said| match said {
        ToClient::Status(status) if status.name.as_str() == name => Some(status.clone()),
        _ => None,
    })
}

fn refused(wire: &mut Wire<ToClient>, message: ToDiscovery) -> RefusedCode {
    wire.say(&[message]).unwrap();
    wire.wait("a refusal", |said| match said {
        ToClient::Refused(refused) => Some(refused.code),
        _ => None,
    })
}

/// What has been said to her until now.
fn settled(wire: &mut Wire<ToClient>) -> Vec<ToClient> {
    wire.say(&[ToDiscovery::Ping]).unwrap();
    let mut said = Vec::new();
    wire.wait("Pong", |one| {
        said.push(one.clone());
        matches!(one, ToClient::Pong).then_some(())
    });
    said.pop();
    said
}

#[test]
fn a_crowd_that_asks_for_one_user_keeps_no_one_out() {
    let (_directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let to = discovery.address;
    let mut victim = user(Ipv4Addr::LOCALHOST, to, "victim");
    let mut crowd = Vec::new();
    let of_crowd = |number: u32| Ipv4Addr::new(127, 0, 1, u8::try_from(number % 100 + 1).unwrap());
    for number in 0..CROWD {
        let name = format!("crowd-{number}");
        let mut one = user(of_crowd(number), to, &name);
        one.say(&[request("victim")]).unwrap();
        status(&mut one, "victim");
        assert_eq!(status(&mut victim, &name).asks, Asks::Typed);
        crowd.push(one);
        // Or those who came first would count as gone.
        if number % 50 == 0 {
            let here = crowd.iter_mut().chain([&mut victim]);
            here.for_each(|one| one.say(&[ToDiscovery::Ping]).unwrap());
        }
    }
    // All of them are there, and yet a new asker of another network gets through.
    let mut honest = user(Ipv4Addr::LOCALHOST, to, "honest");
    let mut friend = user(Ipv4Addr::LOCALHOST, to, "friend");
    honest.say(&[request("victim")]).unwrap();
    status(&mut honest, "victim");
    assert_eq!(status(&mut victim, "honest").asks, Asks::Typed);
    // The victim can ask and answer, and both sides can drop the other.
    victim.say(&[request("friend"), request("honest")]).unwrap();
    assert!(!status(&mut victim, "friend").connected);
    assert!(status(&mut victim, "honest").connected && status(&mut honest, "victim").connected);
    assert_eq!(status(&mut friend, "victim").asks, Asks::Typed);
    let dropped = |said: &ToClient| matches!(said, ToClient::Dropped(_)).then_some(());
    victim.say(&[drop_user("crowd-999"), drop_user("honest")]).unwrap();
    honest.wait("Dropped", dropped);
    let mut last = crowd.pop().unwrap();
    last.wait("Dropped", dropped);
    friend.say(&[drop_user("victim")]).unwrap();
    victim.wait("Dropped", dropped);
    // The clients of those who were dropped ask in vain.
    for one in [&mut last, &mut honest] {
        one.say(&[drop_user("victim"), request_again("victim")]).unwrap();
        one.wait("Dropped", dropped);
    }
    assert_eq!(settled(&mut victim), []);
    drop((crowd, last));
    discovery.kill();

    // After a restart none of them is there, and they give way to whoever comes.
    let discovery = Discovery::start(&db);
    for (number, name) in (0..).zip(["one", "two", "three", "four"]) {
        let mut one = user(of_crowd(number), discovery.address, name);
        one.say(&[request("victim")]).unwrap();
        status(&mut one, "victim");
    }
    let connection = rusqlite::Connection::open(&db).unwrap();
    let asked = "SELECT count(*) FROM requests WHERE target = 1";
    let asked: u32 = connection.query_row(asked, [], |row| row.get(0)).unwrap();
    assert_eq!(asked, CROWD);
}

#[test]
fn names_are_not_found_out_by_many_accounts_of_one_address_either() {
    let (_directory, db) = scratch();
    let discovery = Discovery::start_with(&db, &["--max-questions", "10"]);
    let mut found = [0, 0];
    for number in 0..20 {
        let mut one = user(Ipv4Addr::LOCALHOST, discovery.address, &format!("one-{number}"));
        let questions: Vec<_> = (0..20).map(|name| request(&format!("nobody-{number}-{name}"))).collect();
        one.say(&questions).unwrap();
        for said in settled(&mut one) {
            match said {
                ToClient::NoSuchUser(_) => found[0] += 1,
                ToClient::Refused(refused) => {
                    assert_eq!(refused.code, RefusedCode::TOO_MANY_QUESTIONS);
                    found[1] += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        // Neither is it told that there is one.
        if number > 10 {
            assert_eq!(refused(&mut one, request("one-0")), RefusedCode::TOO_MANY_QUESTIONS);
        }
    }
    // Four times as many from one address as by one account, and the few that come back while this runs.
    assert!((40..50).contains(&found[0]) && found[0] + found[1] == 400, "{found:?}");
    let mut elsewhere = user(Ipv4Addr::new(127, 1, 1, 1), discovery.address, "elsewhere");
    elsewhere.say(&[request("one-0")]).unwrap();
    status(&mut elsewhere, "one-0");
}

#[test]
fn the_presence_of_a_user_who_asks_first_is_told_to_no_stranger() {
    let (_directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let key = keypair();
    let register = |port| register_at("shy", ([127, 0, 0, 1], port).into(), Strangers::Ask);
    let mut shy = Raw::connect(discovery.address, &key);
    shy.say(&register(1));
    let mut stranger = Raw::synced(discovery.address, &keypair(), "stranger", 2).0;
    let ToClient::Status(told) = stranger.ask(&request("shy")) else { panic!("no status") };
    assert_eq!((told.online, told.address, told.connected), (None, None, false));
    // Going, coming and moving is told as little, nor is it told to one who logs in.
    shy.say(&ToDiscovery::Logout);
    shy.expect_end();
    let mut shy = Raw::connect(discovery.address, &key);
    shy.say(&register(3));
    while !matches!(shy.hear().unwrap(), ToClient::Synced) {}
    stranger.nothing_unheard();
    let again = stranger.ask(&request_again("shy"));
    assert_eq!(again, ToClient::Status(told));
    shy.say(&request("stranger"));
    let known = stranger.status();
    assert_eq!((known.online, known.connected), (Some(true), true));
    assert_eq!(known.address, Some(([127, 0, 0, 1], 3).into()));
}

#[test]
fn an_address_that_discovery_has_not_seen_is_told_to_contacts_only() {
    let (_directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let victim: SocketAddr = ([127, 0, 0, 2], 80).into();
    let mut mallory = Raw::connect(discovery.address, &keypair());
    mallory.say(&register_at("mallory", victim, Strangers::Open));
    assert!(matches!(mallory.hear(), Some(ToClient::Registered(registered)) if registered.address == victim));
    mallory.contacts();
    let mut asker = Raw::synced(discovery.address, &keypair(), "asker", 1).0;
    let mut asked = Raw::synced(discovery.address, &keypair(), "asked", 2).0;
    let ToClient::Status(told) = asker.ask(&request("mallory")) else { panic!("no status") };
    assert_eq!((told.online, told.address), (Some(true), None));
    assert_eq!(mallory.status().asks, Asks::Typed);
    mallory.ask(&request("asked"));
    let told = asked.status();
    assert_eq!((told.asks, told.online, told.address), (Asks::Typed, None, None));
    // Moved about, it reaches no one who has not made mallory a contact.
    for port in 1..=20 {
        mallory.say(&register_at("mallory", (victim.ip(), port).into(), Strangers::Open));
        while !matches!(mallory.hear().unwrap(), ToClient::Synced) {}
        assert_eq!(asker.status().address, None);
    }
    asked.nothing_unheard();
    asked.say(&request("mallory"));
    assert_eq!(asked.status().address, Some((victim.ip(), 20).into()));
}
