mod release;

use std::time::Duration;

use super::*;
use crate::protocol::DEAD_AFTER;
use crate::protocol::rendezvous::Identify;
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
        Self::limited(Limits { new_names: 3, new_names_loopback: None })
    }

    fn limited(limits: Limits) -> Self {
        let directory = Directory::in_memory(&Keypair::generate().unwrap()).unwrap();
        let registry = Registry::new(directory.load().unwrap(), limits);
        let now = Now { mono: Instant::after_start(Duration::from_millis(5)), wall: 1_000_000 };
        Self { directory, registry, limits, now, next: 0 }
    }

    fn restart(&mut self) {
        self.registry = Registry::new(self.directory.load().unwrap(), self.limits);
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
        let restarted = Registry::new(self.directory.load().unwrap(), self.limits);
        let kept = |registry: &Registry| {
            let Figures { users, connections, requests, .. } = registry.figures();
            [users, connections, requests]
        };
        assert_eq!(kept(&self.registry), kept(&restarted));
        saved
    }

    fn opened(&mut self, key: u8, from: &str) -> (ConnectionId, Event) {
        self.next += 1;
        let (session, from) = (self.next, from.parse().unwrap());
        (session, Event::Opened { session, key: PublicKey([key; 32]), from })
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

fn register(name_: &str, port: u16) -> ToDiscovery {
    ToDiscovery::Register(Register {
        name: name(name_),
        listen: ([0, 0, 0, 0], port).into(),
        start: None,
        strangers: crate::protocol::rendezvous::Strangers::All,
    })
}

fn request(text: &str) -> ToDiscovery {
    ToDiscovery::Request(Request { name: name(text), typed: true })
}

fn linked(text: &str) -> ToDiscovery {
    ToDiscovery::Request(Request { name: name(text), typed: false })
}

fn send(session: ConnectionId, message: ToClient) -> Action {
    Action::Send { session, message }
}

fn registered(address: &str) -> ToClient {
    ToClient::Registered(Registered { address: address.parse().unwrap() })
}

fn status(key: u8, text: &str, port: u16, online: bool, asks: bool) -> ToClient {
    status_at(key, text, ([127, 0, 0, 1], port).into(), online, asks)
}

fn status_at(key: u8, text: &str, address: SocketAddr, online: bool, asks: bool) -> ToClient {
    let (name, key, address) = (name(text), PublicKey([key; 32]), Some(address));
    let asks =
        if asks { crate::protocol::rendezvous::Asks::Typed } else { crate::protocol::rendezvous::Asks::No };
    ToClient::Status(Status { name, key, address, online: Some(online), asks, connected: false })
}

fn told(session: ConnectionId, key: u8, text: &str, port: u16, online: bool, asks: bool) -> Action {
    send(session, status(key, text, port, online, asks))
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
    let (one, first) = world.opened(1, "127.0.0.1:1");
    let (other, second) = world.opened(2, "127.0.0.1:2");
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
    assert_eq!(world.say(session, linked("alice")), not_registered(Some("alice")));
    let identify = ToDiscovery::Identify(Identify { key: PublicKey([1; 32]) });
    assert_eq!(world.say(session, identify), not_registered(None));
    assert_eq!(world.say(session, ToDiscovery::Ping), [send(session, ToClient::Pong)]);
}

#[test]
fn a_request_waits_for_a_user_who_is_offline_and_for_a_restart() {
    let mut world = World::new();
    let bob = world.user(2, "bob");
    world.close(bob);
    let alice = world.user(1, "alice");
    assert_eq!(world.say(alice, request("nobody")), [no_such_user(alice, "nobody")]);
    world.assert_refused(alice, request("alice"), RefusedCode::YOURSELF, "alice");
    assert_eq!(world.say(alice, request("bob")), [told(alice, 2, "bob", 1000, false, false)]);
    world.restart();
    let bob = world.open(2);
    let request = status(1, "alice", 1000, false, true);
    assert_eq!(world.say(bob, register("bob", 1001)), welcome(bob, 1001, &[request]));
    let alice = world.open(1);
    let mut expected = welcome(alice, 1000, &[status(2, "bob", 1001, true, false)]);
    expected.push(told(bob, 1, "alice", 1000, true, true));
    assert_eq!(world.say(alice, register("alice", 1000)), expected);
}

#[test]
fn a_request_for_a_user_who_is_online_is_pushed_once() {
    let mut world = World::new();
    let [alice, bob] = world.users(["alice", "bob"]);
    let answer = told(alice, 2, "bob", 1000, true, false);
    assert_eq!(world.say(alice, request("bob")), [told(bob, 1, "alice", 1000, true, true), answer.clone()]);
    assert_eq!(world.say(alice, request("bob")), [answer]);
    assert_eq!(world.count("requests"), 1);
}

#[test]
fn linking_ends_the_requests_in_both_directions() {
    let mut world = World::new();
    let [alice, bob, eve] = world.users(["alice", "bob", "eve"]);
    world.say(alice, request("bob"));
    assert_eq!(world.say(alice, linked("bob")), [], "only the user who was asked can say so");
    assert_eq!((world.count("connections"), world.count("requests")), (0, 1));
    world.say(bob, request("alice"));
    assert_eq!(world.say(eve, linked("bob")), [], "no request");
    assert_eq!(world.say(eve, linked("nobody")), []);
    assert_eq!(world.say(eve, linked("eve")), []);
    assert_eq!((world.count("connections"), world.count("requests")), (0, 2));
    assert_eq!(world.say(bob, linked("alice")), []);
    assert_eq!((world.count("connections"), world.count("requests")), (1, 0));
    assert_eq!(world.say(alice, linked("bob")), []);
    assert_eq!(world.say(alice, request("bob")), [told(alice, 2, "bob", 1000, true, false)]);
    assert_eq!((world.count("connections"), world.count("requests")), (1, 0));
    world.restart();
    let alice = world.open(1);
    assert_eq!(world.say(alice, register("alice", 1000))[1], told(alice, 2, "bob", 1000, false, false));
}

#[test]
fn status_is_pushed_when_it_changes_and_only_then() {
    let mut world = World::new();
    let [alice, bob, eve] = world.users(["alice", "bob", "eve"]);
    world.say(alice, request("bob"));
    world.say(bob, linked("alice"));
    let again = welcome(bob, 1000, &[status(1, "alice", 1000, true, false)]);
    assert_eq!(world.say(bob, register("bob", 1000)), again, "nothing has changed");
    let actions = world.say(bob, register("bob", 2000));
    assert_eq!(actions.last(), Some(&told(alice, 2, "bob", 2000, true, false)), "moved");
    assert_eq!(world.say(bob, ToDiscovery::Logout), [close(bob), told(alice, 2, "bob", 2000, false, false)]);
    assert_eq!(world.close(bob), [], "known already");
    assert_eq!(world.say(bob, ToDiscovery::Ping), [], "too late");
    let bob = world.open(2);
    let actions = world.say(bob, register("bob", 2000));
    assert_eq!(actions.last(), Some(&told(alice, 2, "bob", 2000, true, false)), "back");
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
    let superseded = Registered { address: "192.0.2.7:40000".parse().unwrap() };
    let moved = status_at(2, "bob", address.parse().unwrap(), true, false);
    assert_eq!(
        world.say(newer, register("bob", 1000)),
        [
            send(bob, ToClient::Superseded(superseded)),
            close(bob),
            send(newer, registered(address)),
            told(newer, 1, "alice", 1000, true, true),
            send(newer, ToClient::Synced),
            send(alice, moved.clone()),
        ]
    );
    assert_eq!(world.say(bob, register("bob", 1)), []);
    assert_eq!(world.close(bob), []);
    assert_eq!(world.say(alice, request("bob")), [send(alice, moved)]);
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
    assert_eq!(world.batch(&[]), [close(bob), told(alice, 2, "bob", 1000, false, false)]);
    let seen: i64 =
        world.directory.query_row("SELECT seen FROM users WHERE name = 'bob'", [], |row| row.get(0)).unwrap();
    assert_eq!(seen, world.now.wall);
    while let Some(at) = world.registry.deadline() {
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

#[test]
fn new_names_of_one_network_are_counted() {
    let mut world = World::new();
    let attempt = |world: &mut World, key: u8, from: &str| {
        let (session, opened) = world.opened(key, from);
        world.batch(&[opened, said(session, register(&format!("user{key}"), 1))])
    };
    let admitted = |actions: &[Action]| {
        actions.iter().any(|action| matches!(action, Action::Send { message: ToClient::Registered(_), .. }))
    };
    let addresses = ["[2001:db8::1]:1", "[2001:db8::2]:2", "[2001:db8::3]:3"];
    for (key, from) in (1..).zip(addresses) {
        assert!(admitted(&attempt(&mut world, key, from)));
    }
    let refused = attempt(&mut world, 4, "[2001:db8::4]:4");
    assert!(matches!(&refused[..], [Action::Send { message: ToClient::Refused(Refused { code, .. }), .. }]
        if *code == RefusedCode::TOO_MANY_NAMES));
    assert!(admitted(&attempt(&mut world, 1, addresses[0])), "an old name is no new one");
    assert!(admitted(&attempt(&mut world, 5, "[2001:db8:1::1]:1")), "another network");
    for key in 10..20 {
        assert!(admitted(&attempt(&mut world, key, "127.0.0.1:1")), "this machine is not limited");
    }
    world.later(HOUR);
    assert!(admitted(&attempt(&mut world, 4, "[2001:db8::4]:4")));
}

#[test]
fn this_machine_is_limited_if_wanted() {
    let mut world = World::limited(Limits { new_names: 9, new_names_loopback: Some(1) });
    world.user(1, "alice");
    let session = world.open(2);
    world.assert_refused(session, register("bob", 1), RefusedCode::TOO_MANY_NAMES, "bob");
}

/// Adds users with requests from or for the first one, past the registry, which then starts anew.
fn crowd(world: &mut World, count: usize, relate: impl Fn(UserId, UserId) -> Change) {
    let last = world.directory.load().unwrap().accounts.last().unwrap().id;
    let changes: Vec<_> = (last + 1..)
        .zip(0..count)
        .flat_map(|(id, i)| {
            let mut key = [0xff; 32];
            key[..8].copy_from_slice(&i.to_be_bytes());
            let name = name(&format!("crowd{i}"));
            let account = Account { id, name, key: PublicKey(key), address: "192.0.2.1:1".parse().unwrap() };
            [Change::AddUser { account, now: 0 }, relate(1, id)]
        })
        .collect();
    world.directory.save(&changes).unwrap();
    world.restart();
}

#[test]
fn an_account_has_only_so_many_requests() {
    let mut world = World::new();
    world.user(1, "alice");
    crowd(&mut world, MAX_CONTACTS, |alice, other| match other % 2 {
        0 => Change::AddRequest { asker: alice, target: other, now: 0 },
        _ => Change::AddConnection { one: alice, other, now: 0 },
    });
    world.user(2, "bob");
    let alice = world.open(1);
    let actions = world.say(alice, register("alice", 1000));
    assert_eq!(actions.len(), MAX_CONTACTS + 2);
    world.assert_refused(alice, request("bob"), RefusedCode::TOO_MANY_REQUESTS, "bob");
    let actions = world.say(alice, request("crowd0"));
    assert!(matches!(actions[..], [Action::Send { message: ToClient::Status(_), .. }]));
}

#[test]
fn a_target_has_only_so_many_requests() {
    let mut world = World::new();
    world.user(1, "alice");
    crowd(&mut world, MAX_REQUESTS_FOR, |target, asker| Change::AddRequest { asker, target, now: 0 });
    let bob = world.user(2, "bob");
    world.assert_refused(bob, request("alice"), RefusedCode::TARGET_FULL, "alice");
    let alice = world.user(1, "alice");
    assert_eq!(world.say(alice, linked("crowd0")), []);
    let actions = world.say(bob, request("alice"));
    assert!(matches!(actions[..], [_, Action::Send { message: ToClient::Status(_), .. }]));
}

#[test]
fn an_account_has_only_so_many_connections() {
    let mut world = World::new();
    world.user(1, "alice");
    crowd(&mut world, MAX_CONTACTS, |one, other| Change::AddConnection { one, other, now: 0 });
    let alice = world.user(1, "alice");
    let bob = world.user(2, "bob");
    world.say(bob, request("alice"));
    world.assert_refused(alice, linked("bob"), RefusedCode::TOO_MANY_REQUESTS, "bob");
    assert_eq!(world.count("requests"), 1, "the request stays");
}

#[test]
fn what_can_not_be_saved_is_refused_and_the_rest_goes_on() {
    let mut world = World::new();
    let [alice, bob, carol] = world.users(["alice", "bob", "carol"]);
    world.say(alice, request("bob"));
    world.fail_writes(true);
    let (dave, opened) = world.opened(4, "127.0.0.1:4");
    let not_saved = |session, text| send(session, refused(RefusedCode::NOT_SAVED, text));
    let actions = world.batch(&[
        opened,
        said(dave, register("dave", 1000)),
        said(alice, request("carol")),
        said(bob, linked("alice")),
        said(alice, request("bob")),
        said(bob, register("bob", 2000)),
        Event::Closed { session: carol },
    ]);
    assert_eq!(
        actions,
        [
            not_saved(dave, "dave"),
            not_saved(alice, "carol"),
            not_saved(bob, "alice"),
            told(alice, 2, "bob", 1000, true, false),
            not_saved(bob, "bob"),
            close(carol),
        ]
    );
    let carol = world.user(3, "carol");
    assert_eq!(world.say(alice, request("carol")), [not_saved(alice, "carol")]);
    world.fail_writes(false);
    // The session is still there, and the name still free.
    assert_eq!(world.say(dave, register("dave", 1000)), welcome(dave, 1000, &[]));
    let answer = [told(carol, 1, "alice", 1000, true, true), told(alice, 3, "carol", 1000, true, false)];
    assert_eq!(world.say(alice, request("carol")), answer);
}

/// All that is in memory.
fn in_memory(world: &World) -> Vec<String> {
    let dump = format!("{:#?}", world.registry);
    // Maps come in any order.
    let mut lines: Vec<_> = dump.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn a_batch_that_fails_leaves_no_trace() {
    let mut world = World::limited(Limits { new_names: 1, new_names_loopback: Some(4) });
    let [alice, bob] = world.users(["alice", "bob"]);
    world.say(alice, request("bob"));
    let before = in_memory(&world);
    // The last of many changes is the one that fails.
    let trigger = "CREATE TEMP TRIGGER full BEFORE INSERT ON users WHEN NEW.name = 'eve'
                   BEGIN SELECT RAISE(ABORT, 'disk full'); END";
    world.directory.execute_batch(trigger).unwrap();
    let sessions: Vec<_> = (3..=6).map(|key| world.opened(key, "127.0.0.1:9")).collect();
    let mut events: Vec<_> = sessions.iter().map(|(_, event)| event.clone()).collect();
    let (carol, newer, eve) = (sessions[0].0, world.opened(1, "192.0.2.1:1"), sessions[2].0);
    events.extend([
        said(carol, register("carol", 3)),
        said(carol, request("alice")),
        said(bob, linked("alice")),
        newer.1,
        said(newer.0, register("alice", 7)),
        Event::Closed { session: bob },
        said(eve, register("eve", 3)),
    ]);
    assert!(world.try_batch(&events).is_err());
    assert_eq!((world.count("users"), world.count("requests"), world.count("connections")), (2, 1, 0));
    assert_eq!(in_memory(&world), before);
    let actions = world.batch_unsaved(&events);
    assert!(actions.contains(&send(eve, refused(RefusedCode::NOT_SAVED, "eve"))));
    assert!(actions.contains(&send(newer.0, refused(RefusedCode::NOT_SAVED, "alice"))));
    world.directory.execute_batch("DROP TRIGGER full").unwrap();
    // The quota counts only the users who were let in, and alice's first session still holds.
    for (session, name) in [(eve, "eve"), (carol, "carol")] {
        assert_eq!(world.say(session, register(name, 3))[0], send(session, registered("127.0.0.1:3")));
    }
    let last = sessions[3].0;
    let actions = world.batch(&[sessions[3].1.clone(), said(last, register("dave", 3))]);
    assert_eq!(actions, [send(last, refused(RefusedCode::TOO_MANY_NAMES, "dave"))]);
    assert_eq!(world.say(alice, request("bob")), [told(alice, 2, "bob", 1000, false, false)]);
}

#[test]
fn a_client_that_comes_again_does_not_supersede_itself() {
    let mut world = World::new();
    world.user(1, "alice");
    let of_start = |port| {
        let listen = ([0, 0, 0, 0], port).into();
        ToDiscovery::Register(Register {
            name: name("alice"),
            listen,
            start: Some(7),
            strangers: crate::protocol::rendezvous::Strangers::All,
        })
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
