use std::net::SocketAddr;

use super::super::super::notice::{Code, Notice};
use super::super::tests::support::*;
use super::choice::HEARD_WITHIN;
use super::door::STRANGERS_EVERY;
use super::*;
use crate::protocol::peer::MAX_CURSORS;
use crate::protocol::peer::{Bye, Kind};
use crate::time::millis;
use crate::undo::Transactional;

fn from(remote: SocketAddr) -> Route {
    Route::Direct { remote }
}

/// Bob, contact 1, has proved his key and says hello; this side decides.
fn link(links: &mut Links, fx: &mut Effects, id: ConnectionId, dialled: bool, epoch: u64) -> Greeting {
    links.add(fx, id, BOB, dialled, from(address(9)), 1 << 20);
    links.greet(fx, id, 1, hello(0, &[]));
    links.greeted(fx, id, 1, &name("bob"), &hello(epoch, &[]))
}

fn relayed() -> Route {
    Route::Relayed { through: address(1) }
}

#[test]
fn the_side_that_decides_keeps_a_working_link_without_discovery_and_else_the_newer() {
    for case in 0..64_u8 {
        let [old_direct, new_relayed, same, linked, heard, decides] =
            [1, 2, 4, 8, 16, 32].map(|bit| case & bit == 0);
        let keep = [old_direct, new_relayed, same, linked, heard, decides].iter().all(|it| *it);
        let (mut links, mut fx) = (Links::new(PublicKey(if decides { [1; 32] } else { [9; 32] })), effects());
        let up = |links: &mut Links, fx: &mut Effects, id, route, hello: &Hello| {
            links.add(fx, id, BOB, true, route, 1 << 20);
            links.greet(fx, id, 1, super::super::tests::support::hello(0, &[]));
            let greeting = links.greeted(fx, id, 1, &name("bob"), hello);
            if decides { greeting } else { Greeting::Up(links.kept(fx, id, id).unwrap().1) }
        };
        let route = if old_direct { from(address(9)) } else { relayed() };
        up(&mut links, &mut fx, 1, route, &hello(1, &[]));
        fx.take_actions();
        fx.now = at(millis(HEARD_WITHIN) - u64::from(heard));
        let route = if new_relayed { relayed() } else { from(address(9)) };
        let hello = Hello { linked, ..hello(if same { 1 } else { 2 }, &[]) };
        let newer = up(&mut links, &mut fx, 2, route, &hello);
        let actions = fx.take_actions();
        let said = format!("{case:#b}");
        assert_eq!(
            (newer == Greeting::KeepOlder, links.of(1)),
            (keep, Some(if keep { 1 } else { 2 })),
            "{said}"
        );
        // The side that decides leaves it to the other to close the one that was, unless that is another's.
        assert_eq!(closed(&actions, 1), !keep && (!same || !decides), "{said}");
        // Only a client that was replaced by another start is told so.
        let bye = Peer::Bye(Bye { reason: ByeReason::SUPERSEDED });
        assert_eq!(sent(&actions, 1) == [&bye], !same, "{said}");
        assert_eq!(sent(&actions, 2).contains(&&Peer::Keep(2)), decides && !keep, "{said}");
        // The end of the other one is no news; that of the newer ends what it has replaced.
        if !keep {
            assert_eq!(links.close(&mut fx, 2, None).map(|gone| gone.was_up), Some(true));
            assert_eq!(closed(&fx.take_actions(), 1), same && decides, "{said}");
        }
    }
}

#[test]
fn silence_is_broken_and_then_taken_for_death() {
    let (ping, dead) = (millis(PING_AFTER), millis(DEAD_AFTER));
    let (mut links, mut fx) = (Links::new(OWN), effects());
    link(&mut links, &mut fx, 1, false, 1);
    fx.take_actions();
    assert_eq!(links.deadline(), at(ping).mono);
    // When something is received, which links are silent, and how many pings were sent.
    let (none, end) = (vec![], ping + dead);
    for (ms, received, silent, pings) in [
        (ping - 1, false, &none, 0),
        (ping, true, &none, 1),
        (2 * ping, false, &none, 1),
        (3 * ping, false, &none, 1),
        (end - 1, false, &none, 0),
        (end, false, &vec![1], 0),
    ] {
        fx.now = at(ms);
        assert_eq!(&links.tick(&mut fx), silent, "{ms}");
        assert_eq!(sent(&fx.take_actions(), 1), vec![&Peer::Ping; pings], "{ms}");
        received.then(|| links.received(&fx, 1));
    }
    assert_eq!(links.close(&mut fx, 1, None).unwrap().silence, DEAD_AFTER);
    // Who never says hello has less time, whatever they say.
    links.add(&fx, 2, BOB, false, from(address(9)), 0);
    fx.now = at(end + millis(HANDSHAKE_LIMIT));
    links.received(&fx, 2);
    assert_eq!((links.deadline(), links.tick(&mut fx)), (fx.now.mono, vec![2]));
}

#[test]
fn everything_has_its_turn() {
    let text = |length: usize| Peer::Message(message(1, 1, &"x".repeat(length)));
    let mut unknown = message(1, 1, &"x".repeat(MAX_TEXT + 1));
    unknown.kind = Kind(77);
    let cases = [
        (Peer::Ping, ["Nothing", "Nothing", "Nothing"]),
        (Peer::Bye(Bye { reason: ByeReason::LOGOUT }), ["Goodbye", "Goodbye", "Goodbye"]),
        (Peer::Hello(hello(1, &[])), ["Unknown", "Hello", "Broken"]),
        (text(MAX_TEXT), ["Broken", "Broken", "Message"]),
        (text(MAX_TEXT + 1), ["Broken", "Broken", "Broken"]),
        (Peer::Message(unknown), ["Broken", "Broken", "Message"]),
        (Peer::Ack(cursor(1, 1)), ["Broken", "Broken", "Acknowledgement"]),
    ];
    for (said, expected) in cases {
        let (mut links, mut fx) = (Links::new(OWN), effects());
        link(&mut links, &mut fx, 3, false, 1);
        [1, 2].into_iter().for_each(|id| links.add(&fx, id, BOB, false, from(address(9)), 0));
        links.greet(&mut fx, 2, 1, hello(0, &[]));
        let heard = [1, 2, 3].map(|id| format!("{:?}", links.hear(id, &said)));
        let is_so = heard.iter().zip(expected).all(|(heard, expected)| heard.starts_with(expected));
        assert!(is_so, "{said:?}: {heard:?}");
        if let Peer::Hello(early) = &said {
            assert!(matches!(links.hear(1, &said), Heard::Broken(_)), "one is enough");
            assert_eq!(links.greet(&mut fx, 1, 1, hello(0, &[])).as_ref(), Some(early));
        }
    }
}

#[test]
fn a_hello_says_where_the_client_can_be_dialled_and_what_it_takes() {
    let mapped = "[::ffff:127.0.0.1]:9".parse().unwrap();
    for (dialled, remote, port, window, address, takes) in [
        (true, address(9), 4000, 700, Some(address(9)), 500),
        (false, address(9), 4000, 300, Some(address(4000)), 300),
        (false, mapped, 4000, 0, Some(address(4000)), 0),
        (false, address(9), 0, 500, None, 500),
    ] {
        let (mut links, mut fx) = (Links::new(OWN), effects());
        links.add(&fx, 1, BOB, dialled, from(remote), 1000);
        let hello = Hello { port, window, ..hello(1, &[]) };
        let up = Up { older: None, address, via: Via::Direct, same_way: false, window: takes, holding: None };
        let up = Greeting::Up(up);
        assert_eq!(links.greeted(&mut fx, 1, 1, &name("bob"), &hello), up);
    }
    let (mut links, mut fx) = (Links::new(OWN), effects());
    links.add(&fx, 1, BOB, true, from(address(9)), 1000);
    let long = hello(1, &[cursor(1, 1); MAX_CURSORS as usize + 1]);
    for (name, hello) in [(name("carol"), hello(1, &[])), (name("bob"), long)] {
        assert!(matches!(links.greeted(&mut fx, 1, 1, &name, &hello), Greeting::Broken(_)));
    }
}

#[test]
fn the_owner_of_a_key_is_asked_for_once_and_not_for_everybody() {
    let (mut links, mut fx) = (Links::new(OWN), effects());
    let add = |links: &mut Links, id: u64, key| {
        links.add(&effects(), id, PublicKey([key; 32]), false, from(address(9)), 0);
        links.unknown(id, 2)
    };
    assert_eq!([add(&mut links, 0, 1), add(&mut links, 1, 1)], [Unknown::Ask, Unknown::Asked]);
    assert_eq!(links.identifying(PublicKey([1; 32])), [0, 1]);
    (2..MAX_UNKNOWN as u64 - 1).for_each(|id| _ = add(&mut links, id, 2));
    assert_eq!([add(&mut links, 1000, 3), add(&mut links, 1001, 4)], [Unknown::Ask, Unknown::TooMany]);
    // Who was named, and has not said hello, is asked for again.
    links.close(&mut fx, 1001, None);
    links.named(1000, &name("bob"));
    links.close(&mut fx, 2, None);
    assert_eq!(add(&mut links, 1002, 3), Unknown::Ask);
}

#[test]
fn strangers_and_blocked_contacts_do_not_fill_the_screen() {
    let (mut links, mut fx) = (Links::new(OWN), effects());
    let every = millis(STRANGERS_EVERY);
    for (ms, expected) in [
        (0, Some("a connection from afar")),
        (1, None),
        (every - 1, None),
        (every, Some("a connection from afar (2 more since the last of these)")),
        (2 * every, Some("a connection from afar")),
    ] {
        fx.now = at(ms);
        links.stranger(&mut fx, "afar");
        let said = told(&mut fx).pop().map(|said| match said {
            Notice::Error(error) => error.message,
            other => panic!("{other:?}"),
        });
        assert_eq!(said.as_deref(), expected, "{ms}");
    }
    let mut blocked = |links: &mut Links| {
        links.say_blocked(&mut fx, 1, &name("bob"));
        codes(&told(&mut fx))
    };
    assert_eq!([blocked(&mut links), blocked(&mut links)], [vec![Code::Blocked], vec![]]);
    links.forgive(1);
    assert_eq!(blocked(&mut links), [Code::Blocked]);
}

#[test]
fn a_failed_transaction_has_neither_opened_nor_closed_a_link() {
    let (mut links, mut fx) = (Links::new(OWN), effects());
    link(&mut links, &mut fx, 1, false, 1);
    links.commit();
    link(&mut links, &mut fx, 2, false, 1);
    links.stranger(&mut fx, "afar");
    links.rollback();
    assert_eq!((links.of(1), links.ids()), (Some(1), vec![1]));
    assert_eq!(links.strangers.since, 0);
    links.leave(&mut fx);
    assert_eq!((links.of(1), links.ids()), (None, vec![]));
    links.rollback();
    assert_eq!((links.of(1), links.since(1), links.deadline()), (Some(1), Some(1_000_000), at(4000).mono));
}
