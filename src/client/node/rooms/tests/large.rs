//! A room in which not all are linked with all, but each with the owner.

use super::restored::copy;
use super::*;

const COUNT: usize = 18;
const AUTHOR: usize = 7;

fn large() -> Net {
    let mut net = Net::new(COUNT);
    for (one, other) in net.links.clone() {
        if !net.room(one).wants_linked().contains(&net.key(other)) {
            net.cut(one, other);
        }
    }
    // Until all that is to be said is said.
    seconds(&mut net, 150);
    net
}

/// So many seconds go by, in which nothing is to happen quickly.
fn seconds(net: &mut Net, count: u64) {
    for _ in 0..count {
        net.ms += 900;
        net.later(100);
    }
}

/// Up to where a member is known to have what the author has written.
fn known(net: &Net, to: usize, of: usize) -> u64 {
    let room = net.room(to);
    let chain = room.chains_of(net.key(AUTHOR)).max_by_key(|chain| chain.row.place).unwrap();
    room.covered(net.key(of), chain)
}

/// Who hears of what the author writes from this one.
fn heirs(net: &mut Net, who: usize) -> Vec<PublicKey> {
    let author = net.key(AUTHOR);
    net.members[who].rooms.rooms.get_mut(&ROOM).unwrap().heirs(author)
}

fn last(net: &Net) -> u64 {
    known(net, AUTHOR, AUTHOR)
}

/// What the author was told last: how many have what it wrote last, and whether that is final.
fn spread(net: &Net) -> (u64, bool) {
    let number = last(net);
    let mut spreads = net.members[AUTHOR].told.iter().filter_map(|effect| match effect {
        Effect::Spread { id, spread, .. } if id.number == number => Some((spread.have, spread.is_final)),
        _ => None,
    });
    spreads.next_back().unwrap()
}

/// Of those who are neither the owner nor the author, those of which this holds.
fn others(holds: impl Fn(usize) -> bool) -> Vec<usize> {
    (1..COUNT).filter(|who| *who != AUTHOR && holds(*who)).collect()
}

#[test]
fn all_want_a_link_with_the_owner_and_few_others() {
    let net = large();
    assert_eq!(net.room(ALICE).wants_linked().len(), COUNT - 1);
    for who in 1..COUNT {
        let wanted = net.room(who).wants_linked();
        assert!(wanted.contains(&net.key(ALICE)) && wanted.len() < COUNT - 1, "{}", wanted.len());
    }
}

#[test]
fn a_receipt_goes_at_once_to_the_owner_and_the_author_and_later_to_all() {
    let mut net = large();
    net.say(AUTHOR, "hello");
    (0..COUNT).for_each(|who| assert!(net.history(who).contains(&"hello".to_owned()), "{who}"));
    let distant = others(|who| !net.is_linked(AUTHOR, who));
    assert!(!distant.is_empty());
    net.later(2_500);
    let number = last(&net);
    for who in 0..COUNT {
        assert_eq!((known(&net, ALICE, who), known(&net, AUTHOR, who)), (number, number), "{who}");
    }
    assert_eq!(spread(&net), (COUNT as u64, true));
    for to in others(|_| true) {
        let told = (0..COUNT).filter(|of| ![to, AUTHOR].contains(of) && known(&net, to, *of) == number);
        assert_eq!(told.count(), 0, "{to}");
    }
    seconds(&mut net, 35);
    for to in 0..COUNT {
        assert!((0..COUNT).all(|of| known(&net, to, of) == number), "{to}");
    }
}

#[test]
fn without_the_owner_the_author_hears_from_those_who_are_linked_and_later_from_all() {
    let mut net = large();
    net.part(ALICE);
    net.say(AUTHOR, "hello");
    net.later(2_500);
    let near = others(|who| net.is_linked(AUTHOR, who)).len() as u64;
    assert_eq!(spread(&net), (near + 1, false));
    seconds(&mut net, 65);
    assert_eq!(spread(&net), (COUNT as u64 - 1, false));
}

#[test]
fn the_owner_stands_in_for_one_who_is_away() {
    let mut net = large();
    let parent = (1..COUNT).find(|who| *who != AUTHOR && !heirs(&mut net, *who).is_empty()).unwrap();
    net.part(parent);
    net.say(AUTHOR, "hello");
    let there = (0..COUNT).filter(|who| *who != parent);
    there.for_each(|who| assert!(net.history(who).contains(&"hello".to_owned()), "{who}"));
}

#[test]
fn the_owner_tells_who_lacks_something() {
    let mut net = large();
    let from_owner = heirs(&mut net, ALICE);
    let child = others(|who| !net.is_linked(AUTHOR, who) && !from_owner.contains(&net.key(who)))[0];
    // The one who would have handed it on is there, and its link is not.
    for who in others(|who| net.is_linked(child, who)) {
        net.cut(child, who);
    }
    net.say(AUTHOR, "hello");
    assert!(!net.history(child).contains(&"hello".to_owned()));
    net.later(6_000);
    assert!(net.history(child).contains(&"hello".to_owned()));
    net.later(3_000);
    assert_eq!(spread(&net), (COUNT as u64, true));
}

#[test]
fn the_owner_tells_who_lacks_its_last_settlement() {
    let mut net = large();
    let owner = net.key(ALICE);
    let parents = net.members[ALICE].rooms.rooms.get_mut(&ROOM).unwrap().parents(owner);
    let hears_from_another =
        |who: usize| parents.iter().any(|(key, parent)| *key == net.key(who) && *parent != owner);
    let child = others(hears_from_another)[0];
    // The one who would have handed the settlement on is there, and its link is not.
    for who in (1..COUNT).filter(|who| net.is_linked(child, *who)).collect::<Vec<_>>() {
        net.cut(child, who);
    }
    net.say(AUTHOR, "hello");
    net.later(6_000);
    net.later(3_000);
    assert!(spread(&net).1, "it is final");
    let settled = net.room(ALICE).settled();
    assert!(net.room(child).settled() < settled);
    seconds(&mut net, 40);
    assert_eq!(net.room(child).settled(), settled);
}

#[test]
fn each_hears_of_an_entry_once_also_of_the_owners() {
    let mut net = large();
    let heard = |net: &Net| net.members.iter().map(|member| member.runs).collect::<Vec<_>>();
    let before = heard(&net);
    net.say(AUTHOR, "hello");
    // The author and another one tell the owner.
    assert!(heard(&net)[ALICE] <= before[ALICE] + 2);
    for who in others(|_| true) {
        assert_eq!(heard(&net)[who], before[who] + 1, "{who}");
    }
    net.later(2_500);
    assert_eq!(spread(&net), (COUNT as u64, true));
    for who in others(|_| true) {
        assert_eq!(heard(&net)[who], before[who] + 2, "{who}: the text and the settlement");
    }
}

#[test]
fn what_the_owner_has_lost_with_a_transaction_it_hands_on_later() {
    let mut net = large();
    let distant = others(|who| !net.is_linked(AUTHOR, who))[0];
    net.say(AUTHOR, "hello");
    net.part(distant);
    net.later(1_000);
    let (room, key, number) = (net.room(distant), net.key(distant), last(&net));
    let receipts: Vec<_> = room.receipts.of(key).cloned().collect();
    let receipts = AboutRoom { room: room.key(), says: RoomSays::Receipts(receipts) };
    let backup = copy(&net, ALICE);
    net.hear(ALICE, distant, &receipts);
    assert_eq!((known(&net, ALICE, distant), known(&net, AUTHOR, distant) < number), (number, true));
    // The disk fails.
    let owner = &mut net.members[ALICE];
    owner.journal = backup;
    owner.rooms.reload(&owner.journal, owner.keypair.public()).unwrap();
    net.later(1_000);
    assert!(known(&net, ALICE, distant) < number);
    net.hear(ALICE, distant, &receipts);
    net.later(1_000);
    assert_eq!([ALICE, AUTHOR].map(|who| known(&net, who, distant)), [number; 2]);
}
