//! How much there may be of everything.

use super::super::take::MAX_WAITING;
use super::*;
use crate::protocol::MAX_TEXT;
use crate::protocol::room::Change;

impl Net {
    /// The owner makes so many changes at once that there are so many in all.
    fn change_until(&mut self, count: usize, mut deed: impl FnMut(usize) -> Deed) {
        self.act(ALICE, |rooms, cx| {
            let room = rooms.rooms.get_mut(&ROOM).unwrap();
            let own = room.changes.values().filter(|it| it.author == room.own && it.epoch == cx.epoch);
            let first = 1 + own.map(|it| it.number).max().unwrap_or_default();
            let (mut after, mut all) = (room.membership.tips.clone(), Vec::<Change>::new());
            for (number, index) in (first..).zip(room.changes.len()..count) {
                let (hash, change) = write::signed(cx, room.key(), number, after, deed(index));
                after = vec![hash];
                all.push(change);
            }
            let done = room.take_changes(cx, &all).unwrap();
            assert!(matches!(done, write::Changed::New(new) if new.len() == all.len()));
        });
    }

    fn tries(
        &mut self,
        what: impl FnOnce(&mut Rooms, &mut Cx<'_>) -> Result<Result<(), Refusal>>,
    ) -> Result<(), Refusal> {
        self.act(ALICE, |rooms, cx| what(rooms, cx).unwrap())
    }
}

fn topic(index: usize) -> Deed {
    Deed::Topic(index.to_string())
}

#[test]
fn the_last_changes_are_kept_for_removals_and_for_handing_over() {
    let mut net = Net::new(4);
    let [bob, carol, mallory] = [BOB, CAROL, MALLORY].map(|who| net.key(who));
    net.part(ALICE);
    net.change_until(MAX_CHANGES - KEPT_CHANGES - 1, topic);
    assert_eq!(net.tries(|rooms, cx| rooms.topic(cx, ROOM, "the last")), Ok(()));
    let other = Keypair::generate().unwrap().public();
    let name = "dave".parse().unwrap();
    let kept = Err(Refusal::KeptForRemovals);
    assert_eq!(net.tries(|rooms, cx| rooms.topic(cx, ROOM, "another")), kept);
    assert_eq!(net.tries(|rooms, cx| rooms.invite(cx, ROOM, &name, other, true)), kept);
    assert_eq!(net.tries(|rooms, cx| rooms.kick(cx, ROOM, carol)), Ok(()));
    // An older version may have used them up to here.
    net.change_until(MAX_CHANGES - 2, topic);
    let kept = Err(Refusal::KeptForTransfer);
    assert_eq!(net.tries(|rooms, cx| rooms.kick(cx, ROOM, mallory)), kept);
    assert_eq!(net.tries(|rooms, cx| rooms.topic(cx, ROOM, "another")), kept);
    assert_eq!(net.tries(|rooms, cx| rooms.give(cx, ROOM, bob)), Ok(()));
    assert_eq!(net.tries(|rooms, cx| rooms.kick(cx, ROOM, mallory)), Err(Refusal::TooManyChanges));
    net.link(ALICE, BOB);
    net.later(300);
    assert_eq!((net.room(ALICE).changes.len(), net.room(ALICE).membership.owner), (MAX_CHANGES, bob));
    assert_eq!(net.tries(|rooms, cx| rooms.leave(cx, ROOM)), Ok(()));
    // No one takes more.
    let changes = net.room(BOB).changes.len();
    net.act(BOB, |rooms, cx| {
        let room = rooms.rooms.get_mut(&ROOM).unwrap();
        let (_, change) = write::signed(cx, room.key(), 9, room.membership.tips.clone(), topic(0));
        let done = room.take_changes(cx, &[change]).unwrap();
        assert_eq!(done, write::Changed::Broken("more changes of a room than there may be"));
    });
    assert_eq!(net.room(BOB).changes.len(), changes);
}

#[test]
fn a_room_has_as_many_members_as_it_may() {
    let mut net = Net::new(2);
    net.part(ALICE);
    let name: Name = "member".parse().unwrap();
    let key = |index: usize| {
        let mut key = [7; 32];
        key[..8].copy_from_slice(&index.to_be_bytes());
        PublicKey(key)
    };
    // Its founding, and bob.
    let added =
        |index| Deed::Add(Add { name: name.clone(), key: key(index), past: vec![], clock: 0, settled: None });
    net.change_until(MAX_MEMBERS - 1, added);
    assert_eq!(net.tries(|rooms, cx| rooms.invite(cx, ROOM, &name, key(1_000), true)), Ok(()));
    assert_eq!(net.room(ALICE).membership.members().len(), MAX_MEMBERS);
    let refused = net.tries(|rooms, cx| rooms.invite(cx, ROOM, &name, key(2_000), true));
    assert_eq!(refused, Err(Refusal::TooManyMembers));
    assert_eq!(net.tries(|rooms, cx| rooms.kick(cx, ROOM, key(2))), Ok(()));
    assert_eq!(net.tries(|rooms, cx| rooms.invite(cx, ROOM, &name, key(2_000), true)), Ok(()));
}

#[test]
fn an_account_is_in_as_many_rooms_as_it_may() {
    let mut net = Net::new(2);
    let found = |net: &mut Net, who: usize, index: usize| {
        let (room, owner) = ("room".parse().unwrap(), "room".parse().unwrap());
        let founding = Found { nonce: [index as u8; 32], room, owner, past: None };
        net.act(who, |rooms, cx| rooms.found(cx, founding).unwrap())
    };
    net.part(BOB);
    for index in 1..MAX_ROOMS {
        assert!(found(&mut net, BOB, 100 + index).is_ok(), "{index}");
    }
    assert_eq!(found(&mut net, BOB, 0), Err(Refusal::TooManyRooms));
    // Invitations are not heeded, until one room is left.
    let other = found(&mut net, ALICE, 1).unwrap();
    let (name, bob) = ("bob".parse().unwrap(), net.key(BOB));
    net.act(ALICE, |rooms, cx| rooms.invite(cx, other, &name, bob, true).unwrap().unwrap());
    net.link(ALICE, BOB);
    net.later(200);
    assert_eq!(net.members[BOB].rooms.iter().count(), MAX_ROOMS);
    net.act(BOB, |rooms, cx| rooms.leave(cx, ROOM).unwrap().unwrap());
    net.cut(ALICE, BOB);
    net.link(ALICE, BOB);
    net.later(200);
    assert_eq!(net.members[BOB].rooms.iter().count(), MAX_ROOMS + 1);
    assert_eq!(found(&mut net, BOB, 0), Err(Refusal::TooManyRooms));
}

#[test]
fn what_waits_for_its_causes_is_bounded() {
    let mut net = Net::new(3);
    net.part(CAROL);
    let mut lost = Pen::of(&net, CAROL);
    let mut pen = lost.clone();
    lost.last.chain.epoch += 1;
    // What no one has had.
    let cause = Cause { mark: lost.last, clock: 1 };
    let long = vec![b'x'; MAX_TEXT];
    let mut said = 0;
    // Each in a run of its own, as long as one may be.
    while said <= MAX_WAITING {
        let about = pen.run_after(EntryKind::TEXT, [(long.clone(), vec![cause])]);
        let RoomSays::Run(run) = &about.says else { panic!() };
        said += take::run_weight(run);
        net.hear(BOB, CAROL, &about);
        let waits = net.room(BOB).waits(&pen.last);
        assert_eq!(waits, said <= MAX_WAITING, "{said}");
    }
}
