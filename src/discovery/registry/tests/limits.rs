//! What is bounded.

use super::*;
use crate::accounts::Presence;
use crate::protocol::rendezvous::REQUEST_LASTS;

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
    let mut world = World::limited(limits(1, true));
    world.user(1, "alice");
    let session = world.open(2);
    world.assert_refused(session, register("bob", 1), RefusedCode::TOO_MANY_NAMES, "bob");
}

/// Adds users with relations from or for the first one, past the registry, which then starts anew. They come from
/// different networks.
fn crowd(world: &mut World, count: usize, relate: impl Fn(UserId, UserId) -> Change) {
    let last = world.directory.load().unwrap().accounts.last().unwrap().id;
    let changes: Vec<_> = (last + 1..)
        .zip(0..count)
        .flat_map(|(id, i)| {
            let mut key = [0xff; 32];
            key[..8].copy_from_slice(&i.to_be_bytes());
            let [.., high, low] = i.to_be_bytes();
            let (name, key) = (name(&format!("crowd{i}")), PublicKey(key));
            let address = SocketAddr::from(([198, high, low, 1], 1));
            let observed = address.ip();
            let registration = Registration { address, observed, strangers: Strangers::Open };
            let account = Account { id, name, key, registration };
            let presence = Presence::new(ALONE, 0, address);
            [Change::AddUser { account, presence, now: 0 }, relate(1, id)]
        })
        .collect();
    world.directory.save(&changes).unwrap();
    world.restart();
}

fn add_request(asker: UserId, target: UserId) -> Change {
    let request = accounts::Request { typed: true, asked: 0, told: None };
    Change::SetRequest { asker, target, request }
}

fn sees(actions: &[Action]) -> bool {
    matches!(actions.last(), Some(Action::Send { message: ToClient::Status(_), .. }))
}

#[test]
fn an_account_has_only_so_many_unanswered_requests() {
    let mut world = World::new();
    world.user(1, "alice");
    crowd(&mut world, MAX_UNANSWERED, add_request);
    let bob = world.user(2, "bob");
    let alice = world.open(1);
    assert_eq!(world.say(alice, register("alice", 1000)).len(), MAX_UNANSWERED + 2);
    world.assert_refused(alice, request("bob"), RefusedCode::TOO_MANY_REQUESTS, "bob");
    assert!(sees(&world.say(alice, request("crowd0"))), "asked for already");
    // An answer is no request.
    world.say(bob, request("alice"));
    assert!(sees(&world.say(alice, request("bob"))));
    assert_eq!(world.count("connections"), 1);
    let carol = world.user(3, "carol");
    world.say(alice, drop_user("crowd0"));
    assert!(sees(&world.say(alice, request("carol"))), "one less");
    // What others ask does not count.
    assert!(sees(&world.say(carol, request("bob"))));
}

#[test]
fn what_others_ask_never_uses_up_what_a_user_may_ask() {
    let mut world = World::new();
    world.user(1, "alice");
    crowd(&mut world, MAX_REQUESTS_FOR, |alice, other| add_request(other, alice));
    let (bob, alice) = (world.user(2, "bob"), world.user(1, "alice"));
    assert!(sees(&world.say(alice, request("bob"))));
    assert!(sees(&world.say(alice, request("crowd7"))), "nor what a user may answer");
    assert!(sees(&world.say(bob, request("alice"))));
    assert_eq!(world.count("connections"), 2);
}

#[test]
fn an_account_has_only_so_many_connections() {
    let mut world = World::new();
    world.user(1, "alice");
    crowd(&mut world, MAX_CONTACTS, |one, other| Change::AddConnection { one, other, now: 0 });
    let alice = world.user(1, "alice");
    let bob = world.user(2, "bob");
    world.say(bob, request("alice"));
    world.assert_refused(alice, request("bob"), RefusedCode::TOO_MANY_REQUESTS, "bob");
    assert_eq!(world.count("requests"), 1, "the request stays");
    world.say(alice, drop_user("crowd0"));
    assert!(sees(&world.say(alice, request("bob"))));
}

/// Alice, for whom as many others ask as can: `greedy` of them from one network.
fn wanted(greedy: i64) -> World {
    let mut world = World::new();
    world.user(1, "alice");
    crowd(&mut world, MAX_REQUESTS_FOR, |alice, other| add_request(other, alice));
    let sql = "UPDATE users SET observed = '192.0.2.' || (id % 4 + 1) WHERE id BETWEEN 2 AND ?1";
    world.directory.execute(sql, [greedy + 1]).unwrap();
    world.directory.execute("UPDATE requests SET asked = asker", []).unwrap();
    world.restart();
    world
}

fn asks_for_alice(world: &World, name: &str) -> bool {
    let sql = "SELECT count(*) FROM requests JOIN users ON asker = id WHERE name = ?1";
    world.directory.query_row(sql, [name], |row| row.get::<_, i64>(0)).unwrap() == 1
}

#[test]
fn a_new_asker_takes_the_place_of_the_oldest_of_the_network_that_has_most() {
    let mut world = wanted(9);
    let bob = world.user(2, "bob");
    assert!(sees(&world.say(bob, request("alice"))));
    // Of 192.0.2.0/24 there are nine; 192.0.2.3 has three of them, which are the users 2, 6 and 10.
    assert!(!asks_for_alice(&world, "crowd0") && asks_for_alice(&world, "crowd1"));
    assert!(asks_for_alice(&world, "bob"));
    assert_eq!(world.count("requests"), MAX_REQUESTS_FOR as i64);
    // Its own client asks again after its next login, and so it waits again.
    let sql = "SELECT key FROM users WHERE name = 'crowd0'";
    let key = PublicKey(world.directory.query_row(sql, [], |row| row.get(0)).unwrap());
    let (session, opened) = world.opened_as(key, "192.0.2.3:1");
    world.batch(&[opened, said(session, register("crowd0", 1))]);
    assert!(sees(&world.say(session, request_again("alice"))));
    assert!(asks_for_alice(&world, "crowd0"));
}

#[test]
fn who_is_there_gives_way_only_to_a_network_that_has_less() {
    let mut world = wanted(0);
    world.directory.execute("UPDATE users SET observed = '192.0.2.1' WHERE name <> 'alice'", []).unwrap();
    world.restart();
    let sql = "SELECT name, key FROM users WHERE id > 1 ORDER BY id";
    let crowd: Vec<(String, PublicKey)> = {
        let mut users = world.directory.prepare(sql).unwrap();
        users
            .query_map([], |row| Ok((row.get(0)?, PublicKey(row.get(1)?))))
            .unwrap()
            .map(Result::unwrap)
            .collect()
    };
    let events: Vec<_> = crowd
        .iter()
        .flat_map(|(name, key)| {
            let (session, opened) = world.opened_as(*key, "192.0.2.1:1");
            [opened, said(session, register(name, 1))]
        })
        .collect();
    world.batch(&events);
    let (neighbour, opened) = world.opened(2, "192.0.2.1:1");
    world.batch(&[opened, said(neighbour, register("neighbour", 1))]);
    world.assert_refused(neighbour, request("alice"), RefusedCode::TARGET_FULL, "alice");
    let (bob, opened) = world.opened(3, "198.51.100.1:1");
    world.batch(&[opened, said(bob, register("bob", 1))]);
    assert!(sees(&world.say(bob, request("alice"))));
    assert!(!asks_for_alice(&world, "crowd0") && asks_for_alice(&world, "bob"));
}

#[test]
fn an_unanswered_request_ends_thirty_days_after_the_user_was_told() {
    let mut world = World::new();
    let bob = world.user(2, "bob");
    world.close(bob);
    let alice = world.user(1, "alice");
    world.say(alice, request("bob"));
    let day = 24 * HOUR;
    let after = |world: &mut World, days: u64| {
        world.later(days * day);
        world.batch(&[])
    };
    assert_eq!(after(&mut world, 100), [close(alice)], "bob has not been told");
    let bob = world.user(2, "bob");
    world.close(bob);
    assert!(world.registry.deadline() <= Some(world.now.mono + ENDS_EVERY));
    assert_eq!(after(&mut world, 29), []);
    world.restart();
    let alice = world.user(1, "alice");
    assert_eq!(world.say(alice, request("bob")), [send(alice, seen(2, "bob", 1000, false))]);
    world.later(day);
    assert_eq!(REQUEST_LASTS, Duration::from_millis(30 * day));
    let (again, opened) = world.opened(1, "127.0.0.1:1");
    let ended = world.batch(&[opened, said(again, register("alice", 1000))]);
    assert_eq!(ended.last(), Some(&dropped(again, "bob")));
    assert_eq!([world.count("requests"), world.count("refusals")], [0, 1]);
    assert_eq!(world.say(again, request_again("bob")), [dropped(again, "bob")]);
    // Bob may still answer, and alice may ask anew.
    let bob = world.user(2, "bob");
    assert_eq!(world.say(bob, request("alice"))[0], send(again, asking(2, "bob", Asks::Typed)));
    assert_eq!(world.count("refusals"), 0);
}

#[test]
fn a_disk_that_fails_is_not_tried_again_and_again() {
    let mut world = World::new();
    let [alice, _bob] = world.users(["alice", "bob"]);
    world.say(alice, request("bob"));
    let lasts = millis(REQUEST_LASTS);
    world.later(lasts);
    world.fail_writes(true);
    world.batch(&[]);
    assert_eq!(world.registry.deadline(), Some(world.now.mono + ENDS_EVERY));
    assert_eq!(world.registry.figures().requests, 1);
    world.fail_writes(false);
    world.later(millis(ENDS_EVERY));
    world.batch(&[]);
    assert_eq!([world.count("requests"), world.count("refusals")], [0, 1]);
}

#[test]
fn refusals_are_bounded_and_the_oldest_goes_first() {
    let mut world = World::new();
    world.user(1, "alice");
    crowd(&mut world, MAX_REFUSALS, |alice, other| Change::AddRefusal { by: alice, of: other, now: other });
    let bob = world.user(2, "bob");
    let alice = world.user(1, "alice");
    world.connect((alice, "alice"), (bob, "bob"));
    world.say(alice, drop_user("bob"));
    assert_eq!(world.count("refusals"), MAX_REFUSALS as i64);
    let first = "SELECT count(*) FROM refusals WHERE refused = 2";
    assert_eq!(world.directory.query_row(first, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
    // Those by others are bounded too.
    let mut world = World::new();
    world.user(1, "alice");
    crowd(&mut world, MAX_REFUSALS, |alice, other| Change::AddRefusal { by: other, of: alice, now: other });
    let (bob, alice) = (world.user(2, "bob"), world.user(1, "alice"));
    world.connect((alice, "alice"), (bob, "bob"));
    assert_eq!(world.say(bob, drop_user("alice")), [dropped(alice, "bob")]);
    assert_eq!(world.count("refusals"), MAX_REFUSALS as i64);
    let actions = world.say(alice, register("alice", 1000));
    assert_eq!(actions.len(), MAX_REFUSALS + 2);
}

#[test]
fn questions_about_users_who_do_not_exist_are_bounded() {
    let mut world = World::new();
    let [alice, bob] = world.users(["alice", "bob"]);
    let [strangers_key, bobs_key] = [9, 2].map(|key| PublicKey([key; 32]));
    for _ in 0..5 {
        assert_eq!(world.say(alice, request("nobody")), [no_such_user(alice, "nobody")]);
        world.say(alice, ToDiscovery::Identify(Identify { key: strangers_key }));
    }
    world.assert_refused(alice, request("nobody"), RefusedCode::TOO_MANY_QUESTIONS, "nobody");
    // Or that would be the answer.
    world.assert_refused(alice, request("bob"), RefusedCode::TOO_MANY_QUESTIONS, "bob");
    let unknown = Refused { code: RefusedCode::TOO_MANY_QUESTIONS, name: None };
    let identify = |key| ToDiscovery::Identify(Identify { key });
    assert_eq!(world.say(alice, identify(strangers_key)), [send(alice, ToClient::Refused(unknown))]);
    let identity = Identity { key: bobs_key, name: Some(name("bob")) };
    assert_eq!(world.say(alice, identify(bobs_key)), [send(alice, ToClient::Identity(identity))]);
    // Another account has its own, and who has asked for one can be answered.
    assert_eq!(world.say(bob, request("nobody")), [no_such_user(bob, "nobody")]);
    world.say(bob, request("alice"));
    assert!(sees(&world.say(alice, request("bob"))));
    world.later(HOUR / 5);
    world.batch(&[]);
    let mut alice = world.user(1, "alice");
    assert_eq!(world.say(alice, request("nobody")), [no_such_user(alice, "nobody")]);
    // A request that is answered costs nothing.
    world.later(HOUR);
    world.batch(&[]);
    alice = world.user(1, "alice");
    world.user(3, "carol");
    for _ in 0..20 {
        assert!(sees(&world.say(alice, request("carol"))));
    }
    assert_eq!(world.say(alice, request("nobody")), [no_such_user(alice, "nobody")]);
}

#[test]
fn a_user_can_not_be_asked_and_dropped_without_end() {
    let mut world = World::new();
    let [alice, bob] = world.users(["alice", "bob"]);
    let mut told = 0;
    for _ in 0..50 {
        for message in [request("bob"), drop_user("bob")] {
            let actions = world.say(alice, message);
            told += actions
                .iter()
                .filter(|it| matches!(it, Action::Send { session, .. } if *session == bob))
                .count();
        }
    }
    assert_eq!(told, 2 + 5 * 2);
    world.assert_refused(alice, request("bob"), RefusedCode::TOO_MANY_REQUESTS, "bob");
    // Bob can be asked by others, and can ask.
    world.say(bob, request("alice"));
    assert!(sees(&world.say(alice, request("bob"))));
    assert_eq!(world.count("connections"), 1);
}
