mod helping;
mod limits;
mod mates;
mod release;
mod requests;
mod saving;
mod sharing;
mod strangers;

use std::time::Duration;

use super::*;
use crate::accounts;
use crate::protocol::DEAD_AFTER;
use crate::protocol::rendezvous::{Asks, Identify, Identity, Status};
use crate::store::Result;
use crate::store::directory::Directory;
use crate::time::{Instant, millis};
use crate::transport::noise::Keypair;
use crate::undo::Transactional;

const HOUR: u64 = 3_600_000;

/// A registry with its directory and a clock that only the test moves.
struct World {
    directory: Directory,
    registry: Registry,
    limits: Limits,
    now: Now,
    next: ConnectionId,
}

impl World {
    fn new() -> Self {
        Self::limited(limits(3, false))
    }

    fn limited(limits: Limits) -> Self {
        let directory = Directory::in_memory(&Keypair::generate().unwrap()).unwrap();
        let registry = Registry::new(ALONE, directory.load().unwrap(), limits);
        let now = Now { mono: Instant::after_start(Duration::from_millis(5)), wall: 1_000_000 };
        Self { directory, registry, limits, now, next: 0 }
    }

    fn restart(&mut self) {
        self.registry = Registry::new(ALONE, self.directory.load().unwrap(), self.limits);
        self.now.mono = Instant::START;
    }

    /// One transaction, as the loop does it.
    fn batch(&mut self, events: &[Event]) -> Vec<Action> {
        self.try_batch(events).unwrap_or_else(|_| self.batch_unsaved(events))
    }

    fn try_batch(&mut self, events: &[Event]) -> Result<Vec<Action>> {
        let decisions = self.decide(events, Saving::Available);
        self.save(&decisions)?;
        Ok(decisions.actions)
    }

    fn batch_unsaved(&mut self, events: &[Event]) -> Vec<Action> {
        let decisions = self.decide(events, Saving::Unavailable);
        assert_eq!(decisions.changes, []);
        self.registry.commit();
        decisions.actions
    }

    fn decide(&mut self, events: &[Event], saving: Saving) -> Decisions {
        let mut decisions = Decisions::default();
        for event in events {
            self.registry.handle(event, self.now, saving, &mut decisions);
        }
        self.registry.tick(self.now, saving, &mut decisions);
        decisions
    }

    fn save(&mut self, decisions: &Decisions) -> Result<()> {
        let saved = self.directory.save(&decisions.changes);
        if saved.is_ok() {
            self.registry.commit()
        } else {
            self.registry.rollback()
        }
        // What is in memory is what a restart would find.
        let restarted = Registry::new(ALONE, self.directory.load().unwrap(), self.limits);
        let kept = |registry: &Registry| {
            let Figures { users, connections, requests, refusals, strangers, .. } = registry.figures();
            ([users, connections, requests, refusals], strangers)
        };
        assert_eq!(kept(&self.registry), kept(&restarted));
        saved
    }

    fn opened(&mut self, key: u8, from: &str) -> (ConnectionId, Event) {
        self.opened_as(PublicKey([key; 32]), from)
    }

    fn opened_as(&mut self, key: PublicKey, from: &str) -> (ConnectionId, Event) {
        self.next += 1;
        let (session, from) = (self.next, from.parse().unwrap());
        (session, Event::Opened { session, key, from })
    }

    fn open(&mut self, key: u8) -> ConnectionId {
        let (session, event) = self.opened(key, "127.0.0.1:50000");
        assert_eq!(self.batch(&[event]), []);
        session
    }

    fn say(&mut self, session: ConnectionId, message: ToDiscovery) -> Vec<Action> {
        self.batch(&[said(session, message)])
    }

    /// A user who is there.
    fn user(&mut self, key: u8, name: &str) -> ConnectionId {
        let session = self.open(key);
        let actions = self.say(session, register(name, 1000));
        assert_eq!(actions.first(), Some(&send(session, registered("127.0.0.1:1000"))), "{name}");
        session
    }

    /// A user who is there, and meets strangers like that.
    fn user_who(&mut self, key: u8, name: &str, strangers: Strangers) -> ConnectionId {
        let session = self.open(key);
        self.say(session, register_as(name, 1000, strangers));
        session
    }

    /// Connects two users who are there.
    fn connect(&mut self, one: (ConnectionId, &str), other: (ConnectionId, &str)) {
        self.say(one.0, request(other.1));
        self.say(other.0, request(one.1));
    }

    /// Users who are there, with the keys from 1 on.
    fn users<const N: usize>(&mut self, names: [&str; N]) -> [ConnectionId; N] {
        let mut keys = 1..;
        names.map(|name| self.user(keys.next().unwrap(), name))
    }

    #[track_caller]
    fn assert_refused(&mut self, session: ConnectionId, message: ToDiscovery, code: RefusedCode, text: &str) {
        assert_eq!(self.say(session, message), [send(session, refused(code, text))]);
    }

    fn close(&mut self, session: ConnectionId) -> Vec<Action> {
        self.batch(&[Event::Closed { session }])
    }

    fn later(&mut self, by: u64) {
        self.now.mono = self.now.mono + Duration::from_millis(by);
        self.now.wall += i64::try_from(by).unwrap();
    }

    fn count(&self, table: &str) -> i64 {
        self.directory.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    }

    /// From here on SQLite refuses to write, as it does when the disk is full.
    fn fail_writes(&self, fail: bool) {
        self.directory.pragma_update(None, "query_only", fail).unwrap();
    }
}

fn said(session: ConnectionId, message: ToDiscovery) -> Event {
    Event::Message { session, message }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// Limits on new names, and five questions.
fn limits(each: u32, loopback: bool) -> Limits {
    Limits { new_names: Limit { each, loopback }, questions: Limit { each: 5, loopback: false } }
}

fn register(name: &str, port: u16) -> ToDiscovery {
    register_as(name, port, Strangers::Open)
}

fn register_as(text: &str, port: u16, strangers: Strangers) -> ToDiscovery {
    let listen = ([0, 0, 0, 0], port).into();
    ToDiscovery::Register(Register::new(name(text), listen, None, strangers))
}

fn request(text: &str) -> ToDiscovery {
    ToDiscovery::Request(Request { name: name(text), typed: true })
}

/// What a client asks by itself after a login.
fn request_again(text: &str) -> ToDiscovery {
    ToDiscovery::Request(Request { name: name(text), typed: false })
}

fn drop_user(text: &str) -> ToDiscovery {
    ToDiscovery::Drop(About { name: name(text) })
}

fn send(session: ConnectionId, message: ToClient) -> Action {
    Action::Send { session, message }
}

fn registered(address: &str) -> ToClient {
    registered_from(address, "127.0.0.1:50000")
}

fn registered_from(address: &str, observed: &str) -> ToClient {
    let [address, observed] = [address, observed].map(|text| text.parse().unwrap());
    ToClient::Registered(Registered { address, observed })
}

/// What one is told of a user with whom one is connected.
fn contact(key: u8, text: &str, port: u16, online: bool) -> ToClient {
    ToClient::Status(Status { connected: true, ..presence(key, text, port, online) })
}

/// What one is told of a user for whom one has asked, who is open to strangers.
fn seen(key: u8, text: &str, port: u16, online: bool) -> ToClient {
    ToClient::Status(presence(key, text, port, online))
}

/// What one is told of a user who asks for one.
fn asking(key: u8, text: &str, asks: Asks) -> ToClient {
    ToClient::Status(Status { asks, ..named(key, text) })
}

/// What one is told of a user for whom one has asked, who is not open to strangers.
fn exists(key: u8, text: &str) -> ToClient {
    ToClient::Status(named(key, text))
}

fn presence(key: u8, text: &str, port: u16, online: bool) -> Status {
    Status { address: Some(([127, 0, 0, 1], port).into()), online: Some(online), ..named(key, text) }
}

fn named(key: u8, text: &str) -> Status {
    let (name, key) = (name(text), PublicKey([key; 32]));
    Status {
        name,
        key,
        address: None,
        online: None,
        asks: Asks::No,
        connected: false,
        also: vec![],
        room: false,
    }
}

fn dropped(session: ConnectionId, by: &str) -> Action {
    send(session, ToClient::Dropped(About { name: name(by) }))
}

fn close(session: ConnectionId) -> Action {
    Action::Close { session }
}

fn no_such_user(session: ConnectionId, text: &str) -> Action {
    send(session, ToClient::NoSuchUser(About { name: name(text) }))
}

/// What a session is told that has registered.
fn welcome(session: ConnectionId, port: u16, related: &[ToClient]) -> Vec<Action> {
    let registered = registered(&format!("127.0.0.1:{port}"));
    [&[registered], related, &[ToClient::Synced]]
        .concat()
        .into_iter()
        .map(|told| send(session, told))
        .collect()
}

fn refused(code: RefusedCode, text: &str) -> ToClient {
    ToClient::Refused(Refused { code, name: Some(name(text)) })
}

#[test]
fn a_name_is_bound_to_the_first_key_for_good() {
    let mut world = World::new();
    let alice = world.open(1);
    assert_eq!(world.say(alice, register("alice", 1000)), welcome(alice, 1000, &[]));
    let mallory = world.open(2);
    let taken = refused(RefusedCode::NAME_TAKEN, "alice");
    assert_eq!(world.say(mallory, register("alice", 1)), [send(mallory, taken.clone())]);
    let second = world.open(1);
    world.assert_refused(second, register("alicia", 1), RefusedCode::KEY_IN_USE, "alicia");
    world.restart();
    let mallory = world.open(2);
    assert_eq!(world.say(mallory, register("alice", 1)), [send(mallory, taken)]);
    world.user(1, "alice");
    assert_eq!(world.count("users"), 1);
}

#[test]
fn of_two_clients_that_want_a_name_at_once_one_gets_it() {
    let mut world = World::new();
    let (one, first) = world.opened(1, "127.0.0.1:50000");
    let (other, second) = world.opened(2, "127.0.0.1:50000");
    let want = |session| said(session, register("alice", 1000));
    let actions = world.batch(&[first, second, want(other), want(one)]);
    let refusal = send(one, refused(RefusedCode::NAME_TAKEN, "alice"));
    assert_eq!(actions, [welcome(other, 1000, &[]), vec![refusal]].concat());
}

#[test]
fn nothing_but_a_registration_comes_first() {
    let mut world = World::new();
    world.user(1, "alice");
    let session = world.open(2);
    let not_registered = |about: Option<&str>| {
        let refused = Refused { code: RefusedCode::NOT_REGISTERED, name: about.map(name) };
        [send(session, ToClient::Refused(refused))]
    };
    assert_eq!(world.say(session, request("alice")), not_registered(Some("alice")));
    assert_eq!(world.say(session, drop_user("alice")), not_registered(Some("alice")));
    let identify = ToDiscovery::Identify(Identify { key: PublicKey([1; 32]) });
    assert_eq!(world.say(session, identify), not_registered(None));
    assert_eq!(world.say(session, ToDiscovery::Ping), [send(session, ToClient::Pong)]);
}

#[test]
fn status_is_pushed_when_it_changes_and_only_then() {
    let mut world = World::new();
    let [alice, bob, eve] = world.users(["alice", "bob", "eve"]);
    world.connect((alice, "alice"), (bob, "bob"));
    let again = welcome(bob, 1000, &[contact(1, "alice", 1000, true)]);
    assert_eq!(world.say(bob, register("bob", 1000)), again, "nothing has changed");
    let told = |port, online| send(alice, contact(2, "bob", port, online));
    let actions = world.say(bob, register("bob", 2000));
    assert_eq!(actions.last(), Some(&told(2000, true)), "moved");
    assert_eq!(world.say(bob, ToDiscovery::Logout), [close(bob), told(2000, false)]);
    assert_eq!(world.close(bob), [], "known already");
    assert_eq!(world.say(bob, ToDiscovery::Ping), [], "too late");
    let bob = world.open(2);
    let actions = world.say(bob, register("bob", 2000));
    assert_eq!(actions.last(), Some(&told(2000, true)), "back");
    assert_eq!(world.close(eve), [close(eve)], "knows no other user");
}

#[test]
fn the_newest_session_holds_and_the_older_never_ends_it() {
    let mut world = World::new();
    let [alice, bob] = world.users(["alice", "bob"]);
    world.say(alice, request("bob"));
    let (newer, opened) = world.opened(2, "192.0.2.7:40000");
    world.batch(&[opened]);
    let address = "192.0.2.7:1000";
    let from = "192.0.2.7:40000";
    let superseded = Registered { address: from.parse().unwrap(), observed: from.parse().unwrap() };
    let moved = Status { address: Some(address.parse().unwrap()), ..presence(2, "bob", 1000, true) };
    let moved = ToClient::Status(moved);
    assert_eq!(
        world.say(newer, register("bob", 1000)),
        [
            send(bob, ToClient::Superseded(superseded)),
            close(bob),
            send(newer, registered_from(address, from)),
            send(newer, asking(1, "alice", Asks::Typed)),
            send(newer, ToClient::Synced),
            send(alice, moved.clone()),
        ]
    );
    assert_eq!(world.say(bob, register("bob", 1)), []);
    assert_eq!(world.close(bob), []);
    assert_eq!(world.say(alice, request("bob")), [send(alice, moved)]);
}

#[test]
fn a_client_that_comes_again_does_not_supersede_itself() {
    let mut world = World::new();
    world.user(1, "alice");
    let of_start = |port| {
        let listen = ([0, 0, 0, 0], port).into();
        ToDiscovery::Register(Register::new(name("alice"), listen, Some(7), Strangers::Open))
    };
    let [lost, current] = [(); 2].map(|()| world.open(1));
    let superseded = |actions: &[Action]| {
        actions.iter().any(|action| matches!(action, Action::Send { message: ToClient::Superseded(_), .. }))
    };
    let actions = world.say(current, of_start(1000));
    assert!(superseded(&actions), "that was another start");
    // What it said in a session that it has given up since arrives at last.
    assert_eq!(world.say(lost, of_start(2000)), [close(lost)]);
    assert_eq!(world.say(current, ToDiscovery::Ping), [send(current, ToClient::Pong)]);
    // The same from another start of the client, which was killed since.
    let [killed, current] = [(); 2].map(|()| world.open(1));
    world.say(current, of_start(1000));
    let actions = world.say(killed, register("alice", 3000));
    assert!(superseded(&actions) && actions.contains(&close(killed)), "{actions:?}");
    assert_eq!(world.say(current, ToDiscovery::Ping), [send(current, ToClient::Pong)]);
    // It comes again before discovery knows that the other session is lost.
    let again = world.open(1);
    let actions = world.say(again, of_start(1000));
    assert!(!superseded(&actions) && actions.contains(&close(current)), "{actions:?}");
}

#[test]
fn identify_names_the_holder_of_a_key() {
    let mut world = World::new();
    let alice = world.user(1, "alice");
    world.user(2, "bob");
    for (key, holder) in [(1, Some("alice")), (2, Some("bob")), (3, None)] {
        let key = PublicKey([key; 32]);
        let identity = ToClient::Identity(Identity { key, name: holder.map(name) });
        assert_eq!(world.say(alice, ToDiscovery::Identify(Identify { key })), [send(alice, identity)]);
    }
}

#[test]
fn silence_ends_a_session() {
    let mut world = World::new();
    let [alice, bob] = world.users(["alice", "bob"]);
    world.say(alice, request("bob"));
    let dead = millis(DEAD_AFTER);
    world.later(dead - 1);
    assert_eq!(world.say(alice, ToDiscovery::Ping), [send(alice, ToClient::Pong)]);
    assert!(world.registry.deadline().unwrap() <= world.now.mono + Duration::from_millis(1));
    world.later(1);
    assert_eq!(world.batch(&[]), [close(bob), send(alice, seen(2, "bob", 1000, false))]);
    let seen: i64 =
        world.directory.query_row("SELECT seen FROM users WHERE name = 'bob'", [], |row| row.get(0)).unwrap();
    assert_eq!(seen, world.now.wall);
    while world.registry.figures().sessions > 0 {
        let at = world.registry.deadline().unwrap();
        let left = at.since(world.now.mono);
        assert!(!left.is_zero(), "the clock must get on");
        world.later(millis(left));
        world.batch(&[]);
    }
    let ended = millis(world.now.mono.since_start());
    assert_eq!(ended, 5 + dead - 1 + dead, "alice spoke once more, and then no more");
}

#[test]
fn a_session_that_does_not_register_is_ended() {
    let mut world = World::new();
    let session = world.open(1);
    world.later(millis(REGISTER_WITHIN) - 1);
    world.say(session, ToDiscovery::Ping);
    world.later(1);
    assert_eq!(world.batch(&[]), [close(session)]);
}
