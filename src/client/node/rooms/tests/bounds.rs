//! How much there may be of everything.

use super::*;
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
    assert_eq!(net.tries(|rooms, cx| rooms.topic(cx, ROOM, "another")), Err(Refusal::Kept));
    assert_eq!(net.tries(|rooms, cx| rooms.invite(cx, ROOM, &name, other, true)), Err(Refusal::Kept));
    assert_eq!(net.tries(|rooms, cx| rooms.kick(cx, ROOM, carol)), Ok(()));
    // An older version may have used them up to here.
    net.change_until(MAX_CHANGES - 2, topic);
    assert_eq!(net.tries(|rooms, cx| rooms.kick(cx, ROOM, mallory)), Err(Refusal::TooMany));
    assert_eq!(net.tries(|rooms, cx| rooms.give(cx, ROOM, bob)), Ok(()));
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
