//! Rooms that can't go on, and others that go on from them.

use super::super::super::super::addressee::RoomLabel;
use super::super::super::super::notice::PastRoom;
use super::*;
use crate::protocol::room::{AboutRoom, Change, Deed, RoomKey, RoomSays, Signature, hash};

/// Alice has let bob and carol into `#lab`. Bob knows carol and dave.
fn in_lab() -> Net {
    let net = Net::new(4);
    for other in [CAROL, DAVE] {
        net.introduce(BOB, other, Standing::Contact);
        net.introduce(other, BOB, Standing::Contact);
    }
    let mut net = net.restarted();
    net.types(ALICE, "ROOM #lab");
    for other in [BOB, CAROL] {
        net.link(ALICE, other);
        net.types(ALICE, &format!("INVITE #lab {}", NAMES[other]));
        net.types(other, "JOIN #lab");
    }
    net.link(BOB, CAROL);
    net.link(BOB, DAVE);
    net.types(CAROL, "CHAT #lab one");
    net.later(3_000);
    net
}

/// The owner signs two changes under one number, and one hears of both.
fn contradict(net: &mut Net, who: usize) {
    let Client { node, .. } = &net.clients[who];
    let room = node.rooms.iter().next().unwrap().1;
    let (key, alice) = (room.key(), &net.clients[ALICE].keypair);
    let topic = |topic: &str| {
        let (author, after) = (alice.public(), room.membership.tips.clone());
        let (deed, signature) = (Deed::Topic(topic.into()), Signature([0; 64]));
        let mut change = Change { author, epoch: 7, number: 1, after, deed, signature };
        change.signature = alice.sign(&hash::change(key, &change).0);
        change
    };
    let says = RoomSays::Changes(vec![topic("for"), topic("against")]);
    let said = Peer::Room(Box::new(AboutRoom { room: key, says }));
    let link = net.links[&(ALICE, who)];
    net.step(who, &[Input::LinkSays(link, vec![said])]);
    net.deliver();
}

/// What one is told of the room that `#next` goes on from: when it is invited, by `ROOMS`, by `HISTORY` and by `WHY`.
fn told(net: &mut Net, who: usize) -> ([PastRoom; 4], Option<bool>) {
    let invited = net.clients[who].notices.iter().find_map(|notice| match notice {
        Notice::Invite { room, past, .. } if room.name.as_str() == "next" => Some(past.clone()),
        _ => None,
    });
    let listed = net.answer(who, "ROOMS", |notice| match notice {
        Notice::Rooms { rooms } => {
            rooms.iter().find(|line| line.room.name.as_str() == "next").map(|line| line.past.clone())
        }
        _ => None,
    });
    let history = net.answer(who, "HISTORY #next", |notice| match notice {
        Notice::RoomHistory { past, .. } => Some(past.clone()),
        _ => None,
    });
    let why = net.answer(who, "WHY #next", |notice| match notice {
        Notice::RoomWhy(why) => Some(RoomWhy::clone(why)),
        _ => None,
    });
    ([invited.unwrap(), listed, history, why.past], why.past_here)
}

fn key_of(net: &Net, who: usize, name: &str) -> RoomKey {
    let found = net.clients[who].node.rooms.iter().find(|(_, room)| room.row.name.as_str() == name);
    found.unwrap().1.key()
}

fn past(room: RoomKey, label: Option<&str>) -> PastRoom {
    PastRoom { past: Some(room), past_room: label.map(|label| label.parse::<RoomLabel>().unwrap()) }
}

#[test]
fn a_frozen_room_goes_on_in_another_one() {
    let mut net = in_lab();
    contradict(&mut net, BOB);
    net.later(1_000);
    for who in [ALICE, BOB, CAROL] {
        assert!(net.rooms_told(who).iter().any(|(state, _)| *state == RoomState::Frozen), "{who}");
    }
    net.types(BOB, "CHAT #lab two");
    assert!(net.last_error(BOB).ends_with("; ROOM #new #lab founds one that goes on from it"));
    let lab = key_of(&net, BOB, "lab");

    net.types(BOB, "ROOM #next #lob");
    assert_eq!(net.errors(BOB).last(), Some(&Code::NoSuchRoom));
    net.types(BOB, "ROOM #next #lab");
    for user in ["carol", "dave"] {
        net.types(BOB, &format!("INVITE #next {user}"));
    }
    net.types(CAROL, "JOIN #next");
    net.types(DAVE, "JOIN #next");
    net.types(CAROL, "CHAT #next two");
    net.later(3_000);
    let here = [0; 4].map(|_| past(lab, Some("#lab")));
    let elsewhere = [0; 4].map(|_| past(lab, None));
    assert_eq!(told(&mut net, CAROL), (here.clone(), Some(true)));
    // Dave was not in it, and gets nothing of it.
    assert_eq!(told(&mut net, DAVE), (elsewhere, None));
    net.types(DAVE, "HISTORY #lab");
    assert_eq!((net.errors(DAVE), net.shown(DAVE)), (vec![Code::NoSuchRoom], vec!["two"]));
    assert_eq!(net.order(CAROL), ["one"]);

    // It is known after a restart, and told only where the history begins.
    net.restart(CAROL);
    assert_eq!(told(&mut net, CAROL), (here, Some(true)));
    net.types(CAROL, "HISTORY #next 1");
    let Some(Notice::RoomHistory { past: untold, .. }) = net.clients[CAROL].notices.last() else { panic!() };
    assert_eq!(*untold, PastRoom::default());
}

#[test]
fn who_lacks_part_of_what_the_founder_had_hears_so() {
    let mut net = in_lab();
    net.cut(BOB, CAROL);
    net.cut(ALICE, BOB);
    net.types(BOB, "CHAT #lab two");
    contradict(&mut net, CAROL);
    net.link(BOB, CAROL);
    net.later(3_000);
    assert_eq!(
        (net.order(BOB), net.order(CAROL)),
        (vec!["one".into(), "two".into()], vec!["one".to_owned()])
    );
    net.types(BOB, "ROOM #next #lab");
    net.types(BOB, "INVITE #next carol");
    net.types(CAROL, "JOIN #next");
    let here = [0; 4].map(|_| past(key_of(&net, BOB, "lab"), Some("#lab")));
    assert_eq!(told(&mut net, CAROL), (here, Some(false)));
}
