//! Conversations in rooms.

use super::*;
use crate::protocol::room::{ChainName, Entry, EntryKind, Hash};
use crate::store::journal::{ChainRow, NewEntry};
use crate::undo::Transactional;

/// The conversation in `#lab`, the only room.
const LAB: ConversationId = ConversationId::Room(1);

/// Whose text it is, and in how many rows it came.
struct Room {
    world: World,
    chains: BTreeMap<PublicKey, ChainRow>,
}

impl Room {
    fn new() -> Self {
        let mut world = World::new(&["bob"]);
        let row = world.journal.add_room(RoomKey([7; 32]), &name("lab")).unwrap();
        world.it.add_room(row.id, RoomLabel { name: row.name, number: row.number }, row.key);
        world.look();
        Self { world, chains: BTreeMap::new() }
    }

    /// The client is started again.
    fn restart(self) -> Self {
        Self { world: World::load(self.world.journal), chains: self.chains }
    }

    /// A text is committed, and told to the machine as the node does.
    fn says(&mut self, author: PublicKey) {
        let World { journal, it, .. } = &mut self.world;
        let chain = self.chains.entry(author).or_insert_with(|| {
            journal
                .add_chain(
                    1,
                    ChainName { author, grant: crate::protocol::room::Hash::default(), epoch: 5 },
                    0,
                )
                .unwrap()
        });
        chain.number += 1;
        let (seq, number) = (journal.last_seq().unwrap() + 1, chain.number);
        let entry =
            Entry { clock: number, kind: EntryKind::TEXT, sent: 0, causes: Vec::new(), body: b"x".to_vec() };
        let hash = Hash([seq as u8; 32]);
        let (place, entry) = (seq.unsigned_abs(), &entry);
        let new =
            NewEntry { seq, room: 1, chain: chain.id, number, place, arrived: 0, hash, entry, causes: &[] };
        journal.add_entry(&new).unwrap();
        if writer(&author).is_some() {
            it.said_in(1, [HERE].into_iter());
        }
    }

    fn unread(&self) -> u64 {
        self.world.it.unread(LAB)
    }

    /// The texts told, each with its writer, `?` if that is not the contact, and whether they were there at the start.
    fn told(&mut self) -> Vec<String> {
        self.world
            .it
            .catch_up(
                &mut self.world.fx,
                &self.world.journal,
                &self.world.roster,
                |_| 0,
                |_, key| writer(key),
            )
            .unwrap();
        self.world.fx.commit();
        let told = self.world.fx.output.take_batch(HERE, self.world.fx.now).unwrap_or_default();
        for (id, seq) in self.world.fx.output.written(HERE, self.world.fx.now) {
            self.world.it.written(HERE, id, seq);
        }
        self.world.it.recount(&self.world.journal, &self.world.roster).unwrap();
        self.world.it.save(&self.world.journal).unwrap();
        self.world.it.commit();
        let word = |notice| match notice {
            Notice::Message { id, from, room, room_id, unknown, replayed, stranger: false, .. } => {
                assert_eq!((room.unwrap().to_string().as_str(), room_id), ("#lab", Some(RoomKey([7; 32]))));
                let marks =
                    [(unknown, "?"), (replayed, " again")].map(|(is, mark)| if is { mark } else { "" });
                Some(format!("{from}{} {}{}", marks[0], id.number, marks[1]))
            }
            _ => None,
        };
        told.into_iter().filter_map(|told| word(told.notice)).collect()
    }
}

#[test]
fn what_is_said_in_a_room_is_unread_until_the_user_looks() {
    let mut room = Room::new();
    room.says(CAROL);
    room.says(OTHER);
    room.says(OWN);
    assert_eq!((room.told(), room.unread()), (vec!["carol 1".into(), "bob? 1".into()], 2));
    assert_eq!(room.world.it.unread(BOBS), 0, "the contact has said nothing");
    let prompt = room.world.it.prompt(HERE, &room.world.roster, 0, None).unwrap().0;
    assert_eq!(prompt.unread, [("#lab".parse().unwrap(), 2)].into());
    assert_eq!((&*prompt.rooms, prompt.conversation), (&["#lab".parse().unwrap()][..], None));
    // In the room it is read as it is written by the console.
    assert!(room.world.it.enter(HERE, Some(LAB)));
    room.says(CAROL);
    assert_eq!((room.unread(), room.told(), room.unread()), (3, vec!["carol 2".into()], 0));
    let prompt = room.world.it.prompt(HERE, &room.world.roster, 4, None).unwrap().0;
    assert_eq!((prompt.conversation, prompt.waiting), (Some("#lab".parse().unwrap()), 4));
    assert!(prompt.unread.is_empty());
    // A restart knows what was read, and tells nothing again.
    assert!(room.world.it.enter(HERE, None));
    room.says(CAROL);
    room.told();
    let mut room = room.restart();
    assert_eq!((room.unread(), room.told(), room.world.it.current(HERE)), (1, vec![], None));
    room.world.it.mark_read(LAB, 99);
    room.told();
    assert_eq!(room.restart().unread(), 0);
}

#[test]
fn what_there_was_no_room_for_is_told_after_a_restart_without_our_own() {
    let mut room = Room::new();
    room.world.fx.error(Code::Refused, None, "x".repeat(4 << 20));
    for author in [CAROL, OWN, BOB, OTHER] {
        room.says(author);
    }
    assert_eq!((room.told(), room.world.it.handed(HERE, LAB)), (vec![], 0));
    let mut room = room.restart();
    // Of bob, who is blocked, nothing is told.
    assert_eq!(room.told(), ["carol 1 again", "bob? 1 again"]);
    room.says(CAROL);
    assert_eq!((room.told(), room.told()), (vec!["carol 2".into()], vec![]));
    assert_eq!(room.restart().told(), [""; 0]);
}

#[test]
fn what_is_cut_off_is_not_unread_any_more() {
    let mut room = Room::new();
    (0..3).for_each(|_| room.says(CAROL));
    room.told();
    room.world.journal.cut_chain(room.chains[&CAROL].id, 1).unwrap();
    room.world.it.cut_in(1);
    room.told();
    assert_eq!(room.unread(), 1);
}

#[test]
fn what_is_unread_is_found_with_our_own_among_it() {
    let mut room = Room::new();
    for author in [OWN, CAROL, OWN, CAROL] {
        room.says(author);
    }
    room.told();
    let places = |room: &Room, most| {
        let unread = room.world.it.unread_in(&room.world.journal, 1, most).unwrap();
        unread.iter().map(|said| said.seq).collect::<Vec<_>>()
    };
    assert_eq!((places(&room, 9), places(&room, 2)), (vec![2, 3, 4], vec![2, 3]));
    room.world.it.mark_read(LAB, 2);
    room.told();
    assert_eq!(places(&room, 9), [4]);
    room.world.it.mark_read(LAB, 4);
    room.told();
    assert_eq!(places(&room, 9), [0; 0]);
}

#[test]
fn a_failed_transaction_adds_no_room_and_reads_nothing() {
    let mut room = Room::new();
    room.says(CAROL);
    room.told();
    room.world.it.enter(HERE, Some(LAB));
    room.world.it.mark_read(LAB, 1);
    room.world.it.recount(&room.world.journal, &room.world.roster).unwrap();
    room.world.it.add_room(2, "#lab~2".parse().unwrap(), RoomKey([8; 32]));
    room.world.it.rollback();
    assert_eq!((room.unread(), room.world.it.current(HERE), room.world.it.room(2)), (1, None, None));
}

#[test]
fn a_member_with_the_name_of_another_is_marked() {
    let mut roster = Roster::load(&journal(&["bob", "dave"]).contacts().unwrap());
    roster.learn(&name("bob"), BOB);
    let alice = name("alice");
    let mark = |roster: &Roster, who, key| {
        Writer::new((&alice, &OWN), roster, &name(who), &key).map(|writer| writer.unknown)
    };
    for (who, key, expected) in [
        ("bob", BOB, Some(false)),
        ("bob", OTHER, Some(true)),
        ("carol", OTHER, Some(false)),
        ("alice", OTHER, Some(true)),
        ("alice", OWN, Some(false)),
        // His key is not known yet.
        ("dave", OTHER, Some(true)),
    ] {
        assert_eq!(mark(&roster, who, key), expected, "{who}");
    }
    roster.set_blocked(1, true);
    assert_eq!((mark(&roster, "bob", BOB), mark(&roster, "bob", OTHER)), (None, Some(true)));
}
