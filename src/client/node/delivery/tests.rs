use super::super::tests::support::*;
use super::*;

struct World {
    journal: Journal,
    it: Delivery,
}

impl World {
    fn new() -> Self {
        let journal = journal(&["bob"]);
        Self { it: Delivery::load(&journal, &journal.contacts().unwrap(), 7, 3).unwrap(), journal }
    }

    fn restart(&mut self, epoch: u64) {
        self.it = Delivery::load(&self.journal, &self.journal.contacts().unwrap(), epoch, 3).unwrap();
    }

    fn write(&mut self, link: Option<ConnectionId>, count: usize) {
        (0..count).for_each(|_| _ = self.it.write(&self.journal, 1, link, Kind::TEXT, 0, b"x").unwrap());
    }

    /// Which of ours they turn out to have.
    fn open(&mut self, link: ConnectionId, cursors: &[Cursor]) -> Vec<Seq> {
        let news = self.it.open(&self.journal, link, 1, 1 << 20, cursors).unwrap();
        news.into_iter().map(|(seq, _)| seq).collect()
    }

    /// What goes out over a link, in a transaction that is committed.
    fn out(&mut self, link: ConnectionId) -> Vec<Cursor> {
        let frames = self.it.frames(at(0).mono, &self.journal).unwrap();
        self.it.seal(&self.journal).unwrap();
        self.it.save(&self.journal).unwrap();
        self.it.commit();
        let said = frames.into_iter().filter(|(id, _)| *id == link).flat_map(|(_, said)| said);
        let cursor = |said| if let Peer::Message(message) = said { Some(message.cursor()) } else { None };
        said.filter_map(cursor).collect()
    }

    fn acknowledged(&mut self, link: ConnectionId, up_to: Cursor) -> Vec<Seq> {
        let news = self.it.acknowledged(at(0).mono, &self.journal, link, up_to).unwrap();
        news.into_iter().map(|(seq, _)| seq).collect()
    }

    /// Which of these messages are new.
    fn receive(&mut self, link: ConnectionId, said: &[(u64, u64)]) -> Vec<(u64, u64)> {
        let mut incoming = self.journal.incoming().unwrap();
        let mut is_new = |(epoch, number): &(u64, u64)| {
            let message = message(*epoch, *number, "x");
            self.it.received(&self.journal, &mut incoming, link, 1, &message, 0).unwrap().is_some()
        };
        said.iter().copied().filter(|it| is_new(it)).collect()
    }
}

#[test]
fn what_is_written_goes_out_in_order_and_is_delivered_when_acknowledged() {
    let mut world = World::new();
    world.open(1, &[]);
    world.write(Some(1), 4);
    assert_eq!(world.out(1), [1, 2, 3, 4].map(|number| cursor(7, number)));
    // An acknowledgement that comes twice, or of another epoch, says nothing.
    for (epoch, number, news, waiting) in [
        (7, 1, vec![1], 3),
        (7, 1, vec![], 3),
        (99, 4, vec![], 3),
        (7, 3, vec![2, 3], 1),
        (7, u64::MAX, vec![4], 0),
    ] {
        assert_eq!(world.acknowledged(1, cursor(epoch, number)), news, "{epoch} {number}");
        assert_eq!((world.it.waiting(1), world.it.all_waiting().count() == 0), (waiting, waiting == 0));
    }
    world.out(1);
    assert!(!world.it.save(&world.journal).unwrap(), "it is saved once");
    world.restart(8);
    assert_eq!((world.it.delivered(1), world.it.waiting(1)), (4, 0));
}

#[test]
fn their_cursors_say_from_where_to_send_under_the_old_names() {
    let all = [cursor(7, 1), cursor(7, 2), cursor(8, 3), cursor(8, 4)];
    // What they have, what is news of that when one was acknowledged, and how many go out again.
    for (cursors, news, again) in [
        (vec![], vec![], 4),
        (vec![cursor(7, 1)], vec![], 3),
        (vec![cursor(7, 99)], vec![2], 2),
        (vec![cursor(8, 3), cursor(7, 1)], vec![2, 3], 1),
        (vec![cursor(8, 99)], vec![2, 3, 4], 0),
        (vec![cursor(99, 1)], vec![], 3),
    ] {
        let mut world = World::new();
        world.open(1, &[]);
        world.write(None, 2);
        world.out(1);
        world.acknowledged(1, cursor(7, 1));
        world.out(1);
        world.restart(8);
        world.write(None, 2);
        assert_eq!((world.open(2, &cursors), world.out(2)), (news.clone(), all[4 - again..].to_vec()));
        // What was delivered once is no news when it was sent again.
        assert_eq!(world.acknowledged(2, cursor(8, 4)).len(), 3 - news.len(), "{cursors:?}");
        assert_eq!(world.it.waiting(1), 0);
    }
}

#[test]
fn a_message_is_new_once_and_acknowledged_each_time() {
    let mut world = World::new();
    world.open(1, &[]);
    for (said, new, number) in [
        (vec![(8, 1), (8, 4), (8, 4)], vec![(8, 1), (8, 4)], 4),
        (vec![(8, 1)], vec![], 1),
        // Another epoch counts for itself, and the first is not forgotten.
        (vec![(9, 1), (8, 4), (8, 5)], vec![(9, 1), (8, 5)], 5),
    ] {
        assert_eq!(world.receive(1, &said), new);
        assert_eq!(world.it.acknowledgements(), [(1, cursor(8, number))]);
        world.out(1);
    }
    // The message and the end of its link in one transaction: nothing is left to acknowledge.
    assert_eq!(world.receive(1, &[(8, 6)]), [(8, 6)]);
    world.it.close(1);
    assert_eq!((world.it.acknowledgements(), world.out(1)), (vec![], vec![]));
    world.restart(10);
    world.open(2, &[]);
    assert_eq!(world.receive(2, &[(8, 6), (8, 7)]), [(8, 7)]);
    assert_eq!(world.receive(1, &[(8, 8)]), [], "that link is over");
    // A hello in the same transaction speaks of it, too.
    assert_eq!(world.it.cursors(&world.journal, 1).unwrap(), [cursor(9, 1), cursor(8, 7)]);
}

#[test]
fn a_failed_transaction_has_said_and_heard_nothing() {
    let mut world = World::new();
    world.open(1, &[]);
    world.write(Some(1), 1);
    world.receive(1, &[(8, 1)]);
    world.it.acknowledgements();
    assert_eq!(world.out(1), [cursor(7, 1)]);
    world.journal.begin().unwrap();
    world.write(Some(1), 3);
    assert_eq!(world.receive(1, &[(8, 2), (9, 1)]), [(8, 2), (9, 1)]);
    world.acknowledged(1, cursor(7, 1));
    assert_eq!(world.it.frames(at(0).mono, &world.journal).unwrap().len(), 1);
    world.it.close(1);
    world.open(2, &[]);
    world.it.withdraw(1);
    assert!(world.it.save(&world.journal).unwrap());
    world.journal.rollback();
    world.it.rollback();
    assert_eq!((world.it.last_seq(), world.it.waiting(1)), (2, 1));
    assert_eq!(world.it.acknowledgements(), []);
    world.it.renew_epoch(77);
    world.write(Some(1), 1);
    assert_eq!(world.out(1), [cursor(77, 3)], "the first is still under way");
    assert_eq!((world.receive(1, &[(8, 2)]), world.receive(2, &[(8, 3)])), (vec![(8, 2)], vec![]));
}

#[test]
fn what_is_not_to_be_sent_is_not_sent() {
    let mut world = World::new();
    world.write(None, 2);
    world.it.withdraw(1);
    world.it.gave_back(1, 1);
    world.out(1);
    assert!(world.journal.contacts().unwrap()[0].is_withdrawn() && world.it.waiting(1) == 1);
    world.open(1, &[]);
    assert_eq!(world.out(1), []);
    // The holder of a new key gets nothing that the old one had.
    world.write(Some(1), 2);
    world.out(1);
    world.acknowledged(1, cursor(7, 3));
    world.it.start_anew(1);
    world.open(2, &[]);
    assert_eq!(world.out(2), [cursor(7, 4)]);
    world.it.remove(1);
    assert_eq!(world.it.waiting(1), 0);
}
