use super::super::super::event::{OWN as HERE, Prompt};
use super::super::super::notice::Code;
use super::super::output::Output;
use super::super::tests::support::*;
use super::*;
use crate::protocol::peer::Kind;
use crate::undo::Transactional;

mod rooms;

/// The conversation with bob.
const BOBS: ConversationId = ConversationId::User(1);

/// Who writes in rooms: carol, and one who calls himself bob and is not the contact. Of others nothing is told.
fn writer(key: &PublicKey) -> Option<Writer> {
    match *key {
        CAROL => Some(Writer { name: name("carol"), unknown: false }),
        OTHER => Some(Writer { name: name("bob"), unknown: true }),
        _ => None,
    }
}

const CAROL: PublicKey = PublicKey([9; 32]);

/// The conversations of a user with contacts, of which bob has the id 1.
struct World {
    journal: Journal,
    fx: Effects,
    roster: Roster,
    it: Conversations,
}

impl World {
    fn new(contacts: &[&str]) -> Self {
        let mut world = Self::load(journal(contacts));
        world.look();
        world
    }

    fn load(journal: Journal) -> Self {
        let rows = journal.contacts().unwrap();
        let mut it = Conversations::load(&journal, OWN, &rows, journal.last_seq().unwrap()).unwrap();
        it.attach(HERE);
        Self { journal, fx: effects(), roster: Roster::load(&rows), it }
    }

    /// Messages of bob's come in, from the next seq on.
    fn receive(&mut self, count: i64) {
        let last = self.journal.last_seq().unwrap();
        for seq in last + 1..=last + count {
            let message = message(8, seq.unsigned_abs(), "x");
            self.journal.add_received(1, seq, &message, 0).unwrap();
            self.it.received(&mut self.fx, 1, &name("bob"), false, seq, &message);
        }
    }

    /// Tells what there is room for, in a transaction that is committed, and the console writes it: which messages,
    /// those that were there at the start with a minus.
    fn look(&mut self) -> Vec<i64> {
        self.it.catch_up(&mut self.fx, &self.journal, &self.roster, |_| 2, |_, key| writer(key)).unwrap();
        self.fx.commit();
        let told = self.fx.output.take_batch(HERE, self.fx.now).unwrap_or_default();
        for (id, seq) in self.fx.output.written(HERE, self.fx.now) {
            self.it.written(HERE, id, seq);
        }
        self.it.recount(&self.journal, &self.roster).unwrap();
        self.it.save(&self.journal).unwrap();
        self.it.commit();
        let number = |notice| match notice {
            Notice::Message { id, replayed, .. } => {
                Some(id.number.cast_signed() * if replayed { -1 } else { 1 })
            }
            Notice::Delivered { id, .. } => Some(100 + id.number.cast_signed()),
            _ => None,
        };
        told.into_iter().filter_map(|told| number(told.notice)).collect()
    }

    /// Who the user talks to, what is unread, what waits, and how many contacts there are.
    fn prompt(&mut self, waiting: u64) -> Option<String> {
        let Prompt { conversation, unread, waiting, contacts, .. } =
            self.it.prompt(HERE, &self.roster, waiting, None)?.0;
        let conversation = conversation.map_or("none".into(), |name| name.to_string());
        Some(format!(
            "{conversation} {:?} {waiting} {}",
            unread.into_values().collect::<Vec<_>>(),
            contacts.len()
        ))
    }
}

#[test]
fn a_message_is_unread_until_the_user_looks() {
    let mut world = World::new(&["bob"]);
    world.receive(3);
    assert_eq!((world.look(), world.it.unread(BOBS), world.it.handed(HERE, BOBS)), (vec![1, 2, 3], 3, 3));
    // Up to where they were read.
    for (read, unread) in [(2, 1), (1, 1), (99, 0)] {
        world.it.mark_read(BOBS, read);
        world.look();
        assert_eq!(world.it.unread(BOBS), unread);
    }
    // In the conversation a message is read as it is written by the console.
    assert!(world.it.enter(HERE, Some(BOBS)) && !world.it.enter(HERE, Some(BOBS)));
    world.receive(1);
    assert_eq!((world.it.unread(BOBS), world.look(), world.it.unread(BOBS)), (1, vec![4], 0));
    assert!(world.it.enter(HERE, None));
    world.receive(2);
    world.look();
    let mut world = World::load(world.journal);
    assert_eq!((world.it.unread(BOBS), world.it.current(HERE), world.look()), (2, None, vec![]));
    assert_eq!(world.prompt(0).unwrap(), "none [2] 0 1");
    // What was written in between counts with what is unread when the conversation is shown.
    let epoch = world.journal.add_epoch(7, 7).unwrap();
    world.journal.add_sent(1, 7, epoch, Kind::TEXT, 0, b"x").unwrap();
    assert_eq!(world.it.own_among_unread(&world.journal, 1).unwrap(), 1);
    world.receive(MANY_UNREAD.cast_signed());
    assert_eq!(world.it.unread(BOBS), MANY_UNREAD);
    assert_eq!(World::load(world.journal).it.unread(BOBS), MANY_UNREAD);
}

#[test]
fn what_there_is_no_room_for_is_told_later_in_order() {
    let mut world = World::new(&["bob"]);
    let epoch = world.journal.add_epoch(7, 1).unwrap();
    (1..=3).for_each(|seq| world.journal.add_sent(1, seq, epoch, Kind::TEXT, 0, b"x").unwrap());
    let fill = |world: &mut World| {
        world.fx.error(Code::Refused, None, "x".repeat(4 << 20));
    };
    fill(&mut world);
    world.receive(2);
    world.it.delivered(&mut world.fx, 1, &name("bob"), 1, cursor(7, 1));
    assert_eq!((world.look(), world.it.handed(HERE, BOBS)), (vec![], 0));
    // There is room again, but the earlier ones come first; and not all of ours are delivered.
    world.receive(1);
    world.it.delivered(&mut world.fx, 1, &name("bob"), 2, cursor(7, 2));
    assert_eq!(world.look(), [4, 5, 6, 101, 102]);
    world.receive(1);
    world.it.delivered(&mut world.fx, 1, &name("bob"), 3, cursor(7, 3));
    assert_eq!(world.look(), [7, 103]);
    // What was not written before the end is told at the next start, and marked.
    fill(&mut world);
    world.receive(2);
    let mut world = World::load(world.journal);
    assert_eq!((world.look(), world.look()), (vec![-8, -9], vec![]));
    let mut world = World::load(world.journal);
    world.fx.output = Output::new(true);
    world.receive(1);
    assert_eq!(
        (world.look(), world.it.handed(HERE, BOBS), world.it.unread(BOBS)),
        (vec![], 9, 7),
        "the output is not read"
    );
}

#[test]
fn the_prompt_is_told_when_it_changes_and_only_then() {
    let mut world = World::new(&["bob", "carol"]);
    let is = |world: &mut World, waiting, expected| {
        assert_eq!((world.prompt(waiting).as_deref(), world.prompt(waiting)), (Some(expected), None));
    };
    is(&mut world, 0, "none [] 0 2");
    world.receive(2);
    is(&mut world, 0, "none [2] 0 2");
    world.look();
    world.it.enter(HERE, Some(BOBS));
    is(&mut world, 3, "bob [2] 3 2");
    world.it.mark_read(BOBS, 2);
    world.look();
    is(&mut world, 3, "bob [] 3 2");
    is(&mut world, 0, "bob [] 0 2");
    world.roster.withdraw(2);
    world.it.contacts_changed();
    is(&mut world, 0, "bob [] 0 1");
    world.it.remove(1, &name("bob"));
    is(&mut world, 0, "none [] 0 1");
}

#[test]
fn a_failed_transaction_leaves_everything_as_it_was() {
    let mut world = World::new(&["bob"]);
    world.receive(1);
    world.look();
    world.journal.begin().unwrap();
    world.receive(1);
    world.it.enter(HERE, Some(BOBS));
    world.it.mark_read(BOBS, 2);
    world.it.recount(&world.journal, &world.roster).unwrap();
    assert_eq!((world.it.unread(BOBS), world.it.is_behind()), (0, true));
    assert_eq!(world.prompt(0).unwrap(), "bob [] 0 1");
    world.journal.rollback();
    world.it.rollback();
    world.fx.rollback();
    assert_eq!((world.it.unread(BOBS), world.it.current(HERE), world.it.is_behind()), (1, None, false));
    assert_eq!(world.prompt(0).unwrap(), "none [1] 0 1");
    world.receive(1);
    assert_eq!((world.look(), world.it.unread(BOBS)), (vec![2], 2));
}
