//! Who is linked for the sake of a common room.

use super::super::mates::{self, MATE_LINKS};
use super::*;
use crate::protocol::peer::{Hello, HoldReason};
use crate::protocol::rendezvous::{Asks, Mate, Punch, Ticket};
use crate::store::journal::{Request, Standing};

impl World {
    /// Alice, who meets strangers like that, is a member of a room with bob.
    fn with_mate(policy: Strangers) -> Self {
        let (journal, now) = (support::journal(&[]), support::at(0));
        let node = Node::new(Setup { strangers: policy, ..setup(1) }, now, &journal).unwrap();
        let mut world = Self { now, journal, node, notices: Vec::new() };
        world.step(&[]);
        world.register(SESSION, &[]);
        world.share(&[("bob", BOB)]);
        world
    }

    fn share(&mut self, members: &[(&str, PublicKey)]) -> Vec<Action> {
        mates::set(&mut self.node, members.iter().map(|(who, key)| (name(who), *key)).collect());
        let mut actions = self.step(&[]);
        actions.extend(self.step(&[]));
        actions
    }

    /// Bob's link for the room's sake is up.
    fn room_link(&mut self, link: ConnectionId, epoch: u64) -> Vec<Action> {
        let mut actions = self.step(&[proved(link, BOB, None)]);
        let hello = Hello { room: true, ..support::hello(epoch, &[]) };
        actions.extend(self.says(link, &[Peer::Hello(hello)]));
        actions
    }

    fn standing_of(&self, who: &str) -> Option<Standing> {
        self.node.roster.standing(self.node.roster.named(&name(who))?)
    }

    fn is_linked(&self) -> bool {
        self.node.mates.link(&BOB).is_some()
    }

    fn is_told(&self, what: fn(&Notice) -> bool) -> bool {
        self.notices.iter().any(what)
    }
}

fn of_room(key: PublicKey, asks: Asks) -> ToClient {
    let (name, address) = (name("bob"), Some(address(4000)));
    let (online, connected, also) = (Some(true), false, vec![]);
    ToClient::Status(Status { name, key, address, online, asks, connected, also, room: true })
}

fn tells(actions: &[Action], wanted: &ToDiscovery) -> bool {
    let tells = |action: &Action| matches!(action, Action::TellDiscovery(_, said) if said.contains(wanted));
    actions.iter().any(tells)
}

fn mate(shares: bool) -> ToDiscovery {
    ToDiscovery::Mate(Mate { key: BOB, shares })
}

fn drops(actions: &[Action]) -> bool {
    tells(actions, &ToDiscovery::Drop(About { name: name("bob") }))
}

fn our_hello(actions: &[Action], link: ConnectionId) -> Option<Hello> {
    sent(actions, link).into_iter().find_map(|said| match said {
        Peer::Hello(hello) => Some(hello.clone()),
        _ => None,
    })
}

fn is_link(notice: &Notice) -> bool {
    matches!(notice, Notice::Link { .. })
}

const HELD: Option<HoldReason> = Some(HoldReason::NOT_ANSWERED);

#[test]
fn a_member_is_found_dialled_and_linked_and_the_user_is_not_shown_any_of_it() {
    for policy in [Strangers::Open, Strangers::Ask, Strangers::All, Strangers::Closed] {
        let mut world = World::with_mate(policy);
        assert_eq!((world.standing_of("bob"), world.key()), (Some(Standing::Member), Some(BOB)));
        world.notices.clear();
        let actions = world.discovery(&[of_room(BOB, Asks::No)]);
        assert_eq!(dials(&actions) + dials(&world.step(&[])), 1, "{policy:?}");
        let up = world.step(&[proved(1, BOB, Some(world.bob())), Input::LinkSays(1, vec![hello(1, &[])])]);
        let hello = our_hello(&up, 1).unwrap();
        assert_eq!((hello.room, hello.hold), (true, HELD));
        assert!(world.is_linked());
        let contact = world.bob();
        assert!(world.node.say_to(&BOB, vec![Peer::Ping]) && !world.node.say_to(&OTHER, vec![Peer::Ping]));
        assert_eq!(world.node.mates.linked().collect::<Vec<_>>(), [(BOB, 1)]);
        world.step(&[Input::LinkClosed(1)]);
        assert!(!world.is_linked() && world.node.mates.has(contact));
        world.step(&[Input::DialFailed { contact, problems: vec![] }]);
        // The link, its end and who is there are no news for the user.
        assert_eq!(world.notices, [], "{policy:?}");
        world.types("CONTACTS");
        assert_eq!(world.notices.pop(), Some(Notice::Contacts { contacts: vec![] }));
        for line in ["CHAT bob hi", "CHAT bob", "FORGET bob", "HISTORY bob", "WHY bob", "ACCEPT bob"] {
            world.types(line);
            assert_eq!(world.errors().last(), Some(&Code::NotAContact), "{line}");
        }
    }
}

#[test]
fn discovery_is_told_in_each_session_and_of_no_more_than_has_to_be() {
    let mut world = World::online();
    assert!(tells(&world.share(&[("bob", BOB)]), &mate(true)));
    assert!(!tells(&world.share(&[("bob", BOB), ("carol", OTHER)]), &mate(true)), "said already");
    world.step(&[Input::RendezvousClosed(SESSION)]);
    world.later(2_000);
    let session = SESSION + 1;
    assert!(tells(&world.register(session, &[]), &mate(true)));
    assert!(tells(&world.share(&[]), &mate(false)));
    // Nothing of that is said by a transaction that fails.
    world.journal.begin().unwrap();
    mates::set(&mut world.node, vec![(name("bob"), BOB)]);
    world.node.finish(world.now, &world.journal).unwrap();
    world.journal.rollback();
    let actions = world.node.failed(world.now, &world.journal, &[], 77).unwrap();
    assert!(!tells(&actions, &mate(true)));
    assert_eq!(world.standing_of("bob"), None);
    // Of contacts it tells anyhow.
    let mut world = World::with_bob();
    let connected = status("bob", BOB, 4000, false);
    world.discovery(&[connected]);
    assert!(!tells(&world.share(&[("bob", BOB)]), &mate(true)));
    assert!(tells(&world.discovery(&[ToClient::Dropped(About { name: name("bob") })]), &mate(true)));
}

#[test]
fn what_a_member_writes_directly_is_held_until_they_ask_or_are_asked() {
    // The user asks.
    let mut world = World::with_mate(Strangers::Open);
    assert_eq!(our_hello(&world.room_link(1, 1), 1).unwrap().hold, HELD);
    let actions = world.types("REQUEST bob");
    assert!(sent(&actions, 1).contains(&&Peer::Resume) && world.is_told(is_link));
    assert_eq!(world.standing_of("bob"), Some(Standing::Contact));
    world.says(1, &[message(7, 1, "hi")]);
    assert_eq!(world.shown(), ["hi"]);
    assert_eq!(texts(&world.types("CHAT bob hello"), 1), ["hello"]);
    // The member asks.
    for (policy, standing, resumed) in [
        (Strangers::Open, Standing::Stranger, true),
        (Strangers::Ask, Standing::Stranger, false),
        (Strangers::All, Standing::Contact, true),
        (Strangers::Closed, Standing::Member, false),
    ] {
        let mut world = World::with_mate(policy);
        world.room_link(1, 1);
        let actions = world.discovery(&[of_room(BOB, Asks::Again)]);
        let asks = world.is_told(|it| matches!(it, Notice::Request { .. }));
        assert_eq!(world.standing_of("bob"), Some(standing), "{policy:?}");
        assert_eq!((asks, drops(&actions)), (standing != Standing::Member, standing == Standing::Member));
        assert_eq!(sent(&actions, 1).contains(&&Peer::Resume), resumed, "{policy:?}");
        assert_eq!(world.is_told(is_link), resumed, "{policy:?}");
        assert!(world.is_linked());
        if policy == Strangers::Ask {
            assert!(sent(&world.types("ACCEPT bob"), 1).contains(&&Peer::Resume) && world.is_told(is_link));
        }
    }
    // Who writes all the same breaks the rules; a member can't fill the screen with it.
    let mut world = World::with_mate(Strangers::Open);
    world.room_link(1, 1);
    world.notices.clear();
    assert!(closed(&world.says(1, &[message(7, 1, "hi")]), 1));
    assert_eq!(world.notices, []);
}

#[test]
fn who_comes_for_a_room_that_is_not_known_here_is_put_off_and_no_one_is_told_of_it() {
    let mut world = World::online();
    world.notices.clear();
    let actions = world.room_link(1, 1);
    assert!(closed(&actions, 1));
    assert_eq!(sent(&actions, 1), [&Peer::Bye(Bye { reason: ByeReason::TRY_LATER })]);
    let identity = [ToClient::Identity(Identity { key: BOB, name: Some(name("bob")) })];
    world.discovery(&identity);
    // Also if discovery is faster.
    world.step(&[proved(2, BOB, None)]);
    assert!(!closed(&world.discovery(&identity), 2));
    assert_eq!(world.standing_of("bob"), None);
    let hello = Hello { room: true, ..support::hello(1, &[]) };
    assert!(closed(&world.says(2, &[Peer::Hello(hello)]), 2));
    assert_eq!((world.standing_of("bob"), &world.notices[..]), (None, &[][..]));
    // Without the flag they are met as any.
    for discovery_first in [true, false] {
        let mut world = World::online();
        world.step(&[proved(3, BOB, None)]);
        if discovery_first {
            world.discovery(&identity);
            world.says(3, &[super::hello(1, &[])]);
        } else {
            world.says(3, &[super::hello(1, &[])]);
            world.discovery(&identity);
        }
        assert!(world.is_linked() && world.standing_of("bob").is_some(), "{discovery_first}");
    }
    // Who has become known since the handshake needs no discovery.
    let mut world = World::online();
    world.step(&[proved(1, BOB, None)]);
    world.share(&[("bob", BOB)]);
    let hello = Hello { room: true, ..support::hello(1, &[]) };
    world.says(1, &[Peer::Hello(hello)]);
    assert!(world.is_linked());
}

#[test]
fn a_member_of_no_common_room_any_more_is_gone() {
    let mut world = World::with_mate(Strangers::Open);
    world.room_link(1, 1);
    assert!(closed(&world.share(&[]), 1));
    assert_eq!((world.standing_of("bob"), world.is_linked()), (None, false));
    assert_eq!(world.journal.contacts().unwrap(), []);
    // Who has become something else stays that.
    let mut world = World::with_mate(Strangers::Open);
    world.room_link(1, 1);
    world.types("REQUEST bob");
    assert!(!closed(&world.share(&[]), 1));
    assert_eq!(world.standing_of("bob"), Some(Standing::Contact));
    // A start without rooms.
    let mut world = World::with_mate(Strangers::Open);
    world.restart(2);
    world.step(&[]);
    assert_eq!(world.standing_of("bob"), None);
    // And one with them.
    let mut world = World::with_mate(Strangers::Open);
    let before = world.bob();
    world.restart(2);
    world.share(&[("bob", BOB)]);
    assert_eq!(world.bob(), before);
}

#[test]
fn one_who_is_blocked_or_forgotten_is_linked_for_the_room_and_not_heard() {
    for (command, standing) in [("BLOCK bob", Standing::Contact), ("FORGET bob", Standing::Forgotten)] {
        let mut world = World::linked(1);
        world.step(&[Input::LinkClosed(1)]);
        world.types("CHAT bob before");
        world.room_link(2, 1);
        world.types("CHAT bob not sent");
        world.share(&[("bob", BOB)]);
        let actions = world.types(command);
        assert!(drops(&actions) && closed(&actions, 2), "{command}");
        world.notices.clear();
        assert!(!drops(&world.discovery(&[of_room(BOB, Asks::No)])), "that is for the room's sake");
        let actions = world.room_link(3, 2);
        assert_eq!(our_hello(&actions, 3).unwrap().hold, HELD, "{command}");
        assert_eq!((world.standing_of("bob"), world.is_linked()), (Some(standing), true));
        // Not even if the other side wants it.
        let resumed = world.says(3, &[Peer::Resume]);
        assert!(texts(&actions, 3).is_empty() && texts(&resumed, 3).is_empty(), "{command}");
        assert_eq!(world.notices, [], "{command}");
        if command == "BLOCK bob" {
            assert!(closed(&world.types("UNBLOCK bob"), 3));
            let actions = world.link(4, false, 2, &[]);
            assert_eq!((our_hello(&actions, 4).unwrap().hold, texts(&actions, 4).len()), (None, 2));
            world.types(command);
            world.room_link(5, 3);
        }
        assert!(closed(&world.share(&[]), if command == "BLOCK bob" { 5 } else { 3 }));
        assert_eq!(world.standing_of("bob"), Some(standing));
    }
}

#[test]
fn a_member_who_is_blocked_stays_so_without_the_room() {
    let mut world = World::with_mate(Strangers::Open);
    world.types("BLOCK bob");
    assert_eq!(world.errors(), []);
    world.room_link(1, 1);
    assert!(world.is_linked());
    assert!(closed(&world.share(&[]), 1));
    assert_eq!(world.standing_of("bob"), Some(Standing::Forgotten));
    assert!(world.node.roster.is_blocked(world.bob()));
    let mut world = World::with_mate(Strangers::Open);
    world.types("BLOCK bob");
    world.types("UNBLOCK bob");
    world.share(&[]);
    assert_eq!(world.standing_of("bob"), None);
}

#[test]
fn a_link_that_is_coming_up_is_made_anew_if_what_is_taken_over_it_has_changed() {
    let mut world = World::with_bob();
    world.share(&[("bob", BOB)]);
    world.step(&[proved(1, BOB, None)]);
    world.types("BLOCK bob");
    assert!(closed(&world.says(1, &[hello(1, &[])]), 1));
    assert!(!world.is_linked());
}

#[test]
fn another_key_than_the_room_s_is_not_dialled_and_a_room_keeps_no_name_from_its_owner() {
    let mut world = World::with_mate(Strangers::Open);
    world.notices.clear();
    world.discovery(&[of_room(OTHER, Asks::No)]);
    let actions = world.later(3_000);
    let dialled = |action: &Action| matches!(action, Action::Dial { key: OTHER, .. });
    assert!(!actions.iter().any(dialled));
    assert_eq!((world.key(), &world.notices[..]), (Some(BOB), &[][..]), "it is not shouted");
    // The user who has that name at discovery asks.
    world.discovery(&[of_room(OTHER, Asks::Typed)]);
    assert_eq!((world.key(), world.standing_of("bob")), (Some(OTHER), Some(Standing::Stranger)));
    assert_eq!(world.errors(), []);
    world.later(1);
    assert_eq!(world.key(), Some(OTHER), "the room's word stays without effect");
    // A room calls bob's key by another name.
    let mut world = World::online();
    world.share(&[("carol", BOB)]);
    world.discovery(&[of_room(BOB, Asks::Typed)]);
    assert_eq!((world.standing_of("carol"), world.standing_of("bob")), (None, Some(Standing::Contact)));
    assert!(world.node.mates.has(world.bob()), "the key is what counts");
    // A contact whose key discovery has not told yet.
    let mut world = World::online();
    world.share(&[("carol", BOB)]);
    world.types("REQUEST bob");
    world.discovery(&[ToClient::Status(Status { online: None, ..of_nothing() })]);
    assert_eq!((world.key(), world.errors()), (Some(BOB), vec![]));
}

fn of_nothing() -> Status {
    let (address, online, asks) = (None, None, Asks::No);
    Status { name: name("bob"), key: BOB, address, online, asks, connected: false, also: vec![], room: false }
}

#[test]
fn what_is_said_for_the_room_s_sake_confirms_no_request() {
    let mut world = World::online();
    world.share(&[("bob", BOB)]);
    world.types("REQUEST bob");
    let request = |world: &World| world.node.roster.get(world.bob()).unwrap().identity.request;
    world.discovery(&[of_room(BOB, Asks::No)]);
    assert_eq!(request(&world), Request::Unconfirmed);
    world.discovery(&[ToClient::Status(of_nothing())]);
    assert_eq!(request(&world), Request::Kept);
    world.discovery(&[of_room(BOB, Asks::Typed)]);
    assert_eq!(request(&world), Request::Kept);
}

#[test]
fn a_member_is_punched_and_relayed() {
    let mut world = World::with_mate(Strangers::Closed);
    world.discovery(&[of_room(BOB, Asks::No)]);
    let about = About { name: name("bob") };
    assert!(tells(&world.later(1_000), &ToDiscovery::Punch(about)));
    let punch = Punch { name: name("bob"), token: [1; 16], wait: 0, addresses: vec![address(5000)] };
    let actions = world.discovery(&[ToClient::Punch(punch.clone())]);
    assert!(actions.iter().any(|action| matches!(action, Action::Punch { key: BOB, .. })), "{actions:?}");
    // The node that the session is with, or another one, which only discovery says is one.
    for (dials, at, expected) in
        [(true, None, (address(1), false)), (false, Some(address(9)), (address(9), true))]
    {
        let ticket = Ticket { name: name("bob"), ticket: [2; 16], dials, at };
        let actions = world.discovery(&[ToClient::Relay(ticket)]);
        let relays = actions.iter().filter_map(|action| match action {
            Action::Relay { key, through, told, .. } => Some((*key, (*through, *told))),
            _ => None,
        });
        assert_eq!(relays.collect::<Vec<_>>(), [(dials.then_some(BOB), expected)]);
    }
    world.share(&[]);
    let actions = world.discovery(&[ToClient::Punch(punch)]);
    assert!(!actions.iter().any(|action| matches!(action, Action::Punch { .. })));
}

#[test]
fn links_for_the_sake_of_rooms_are_bounded_and_the_first_come_first() {
    let mut world = World::with_bob();
    let member = |number: usize| {
        let mut key = [9; 32];
        key[..8].copy_from_slice(&number.to_be_bytes());
        (name(&format!("member{number}")), PublicKey(key))
    };
    let mut members: Vec<_> = (0..2 * MATE_LINKS).map(member).collect();
    members.push((name("bob"), BOB));
    members.insert(0, (name("alice"), OWN));
    mates::set(&mut world.node, members);
    world.step(&[]);
    let rows = world.journal.contacts().unwrap();
    assert_eq!(rows.iter().filter(|row| row.identity.standing == Standing::Member).count(), MATE_LINKS);
    assert!(world.standing_of("member0").is_some() && world.node.mates.has(world.bob()));
    assert_eq!(world.standing_of("alice"), None, "this is no link with oneself");
}

#[test]
fn what_is_said_of_rooms_has_a_share_of_each_link() {
    for (budget, share) in [(0, 0), (400_000, 100_000), (16 << 20, 256 << 10)] {
        let mut world = World::with_mate(Strangers::Open);
        let route = Route::Direct { remote: address(4000) };
        world.step(&[Input::LinkUp { link: 1, key: BOB, version: VERSION, dialled: None, route, budget }]);
        assert_eq!(world.node.links.room_share(1), share);
    }
}
