//! Who says alone that a room is shared, by raw messages at the real discovery.

use std::net::SocketAddr;

use crate::support::discovery::*;
use peerchat::protocol::PublicKey;
use peerchat::protocol::rendezvous::{
    About, MAX_MATES, Mate, RefusedCode, Status, Strangers, ToClient, ToDiscovery,
};
use peerchat::transport::noise::Keypair;

fn mate(key: PublicKey, shares: bool) -> ToDiscovery {
    ToDiscovery::Mate(Mate { key, shares })
}

fn at(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// A user who takes no new contacts.
fn closed(discovery: &Discovery, key: &Keypair, name: &str, port: u16) -> Raw {
    let mut raw = Raw::connect(discovery.address, key);
    raw.say(&register_at(name, at(port), Strangers::Closed));
    while !matches!(raw.hear().unwrap(), ToClient::Synced) {}
    raw
}

/// What is said of a mate: online, address, connected, of the room.
fn of(status: &Status) -> (Option<bool>, Option<SocketAddr>, bool, bool) {
    (status.online, status.address, status.connected, status.room)
}

#[test]
fn who_says_alone_that_a_room_is_shared_learns_nothing_of_anybody() {
    let (_directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let keys = [(); 4].map(|()| keypair());
    let [victim_key, mallory_key, absent, friend_key] = keys.each_ref().map(Keypair::public);
    let mut victim = closed(&discovery, &keys[0], "victim", 1);
    let mut mallory = closed(&discovery, &keys[1], "mallory", 2);
    for _ in 0..3 {
        // There is a user with the first key, none with the second, and the third is mallory's own.
        for key in [victim_key, absent, mallory_key] {
            mallory.say(&mate(key, true));
            mallory.nothing_unheard();
        }
        let about = || About { name: name("victim") };
        assert_eq!(mallory.refused(&ToDiscovery::Punch(about())), RefusedCode::NOT_CONNECTED);
        assert_eq!(mallory.refused(&ToDiscovery::Relay(about())), RefusedCode::NOT_CONNECTED);
        victim.nothing_unheard();
        // Neither when the victim goes, comes or moves.
        victim.say(&ToDiscovery::Logout);
        victim.expect_end();
        victim = closed(&discovery, &keys[0], "victim", 3);
        mallory.nothing_unheard();
        mallory.say(&mate(victim_key, false));
        mallory.nothing_unheard();
    }
    // The victim's own mates are told, and mallory is not.
    mallory.say(&mate(victim_key, true));
    let mut friend = closed(&discovery, &keys[3], "friend", 4);
    friend.say(&mate(victim_key, true));
    victim.say(&mate(friend_key, true));
    assert_eq!(of(&friend.status()), (Some(true), Some(at(3)), false, true));
    assert_eq!(of(&victim.status()), (Some(true), Some(at(4)), false, true));
    victim.say(&ToDiscovery::Logout);
    victim.expect_end();
    assert_eq!(of(&friend.status()), (Some(false), Some(at(3)), false, true));
    [&mut friend, &mut mallory].into_iter().for_each(Raw::nothing_unheard);
    let connection = rusqlite::Connection::open(&db).unwrap();
    for table in ["connections", "requests", "refusals"] {
        let sql = format!("SELECT count(*) FROM {table}");
        assert_eq!(connection.query_row(&sql, [], |row| row.get::<_, u32>(0)), Ok(0), "{table}");
    }
}

#[test]
fn a_session_shares_rooms_with_only_so_many() {
    let (_directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut mallory = closed(&discovery, &keypair(), "mallory", 1);
    for _ in 0..MAX_MATES {
        mallory.say(&mate(keypair().public(), true));
    }
    mallory.nothing_unheard();
    let one_more = mate(keypair().public(), true);
    assert_eq!(mallory.refused(&one_more), RefusedCode::TOO_MANY_REQUESTS);
    // They use up nothing of what may be asked.
    assert!(matches!(mallory.ask(&request("nobody-yet")), ToClient::NoSuchUser(_)));
}
