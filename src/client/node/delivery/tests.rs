use super::super::tests::support::*;
use super::outgoing::{MAX_HOLDS, Opened};
use super::*;
use crate::protocol::peer::{Hello, Hold, Kind, Message};

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
        let hello = hello(1, cursors);
        let opened = self.it.open(&self.journal, link, 1, 1 << 20, &hello, None).unwrap();
        opened.delivered.into_iter().map(|(seq, _)| seq).collect()
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
            let take = || Ok(());
            let received = self.it.received(&self.journal, &mut incoming, link, &message, 0, take);
            matches!(received, Ok(Received::New(_)))
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
        (vec![], vec![], 3),
        (vec![cursor(7, 1)], vec![], 3),
        (vec![cursor(7, 99)], vec![2], 2),
        // What was written since and never sent can't be there.
        (vec![cursor(8, 3), cursor(7, 1)], vec![2], 2),
        (vec![cursor(8, 99)], vec![2], 2),
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

/// Messages that come in, each with what became of it.
fn receive_from(world: &mut World, link: ConnectionId, messages: &[Message]) -> Vec<Received> {
    let mut incoming = world.journal.incoming().unwrap();
    let each =
        |message| world.it.received(&world.journal, &mut incoming, link, message, 0, || Ok(())).unwrap();
    messages.iter().map(each).collect()
}

#[test]
fn what_was_delivered_is_sent_again_only_when_its_writer_says_so() {
    let mut world = World::new();
    world.open(1, &[]);
    world.write(Some(1), 4);
    world.out(1);
    world.acknowledged(1, cursor(7, 3));
    world.out(1);
    for (link, cursors, lost) in [
        (2, vec![], Some(3)),
        // The same again is no news.
        (3, vec![], None),
        (4, vec![cursor(7, 1)], None),
    ] {
        let hello = hello(100 + link, &cursors);
        let opened = world.it.open(&world.journal, link, 1, 1 << 20, &hello, None).unwrap();
        assert_eq!(opened, Opened { lost, skipped: Some(cursor(7, 3)), delivered: Vec::new() });
        assert_eq!(world.out(link), [cursor(7, 4)], "only what was not delivered");
    }
    world.restart(8);
    world.open(5, &[cursor(7, 3)]);
    world.journal.begin().unwrap();
    assert_eq!(world.it.resend(&world.journal, 1).unwrap(), 3);
    world.journal.rollback();
    world.it.rollback();
    assert_eq!(world.it.waiting(1), 1);
    world.it.renew_epoch(9);
    world.open(5, &[cursor(7, 3)]);
    assert_eq!((world.it.resend(&world.journal, 1).unwrap(), world.it.waiting(1)), (3, 4));
    let frames = world.it.frames(at(0).mono, &world.journal).unwrap();
    let said = frames.into_iter().flat_map(|(_, said)| said);
    let originals: Vec<_> =
        said.filter_map(|said| if let Peer::Message(it) = said { Some(it.original) } else { None }).collect();
    assert_eq!(originals, [None, Some(cursor(7, 1)), Some(cursor(7, 2)), Some(cursor(7, 3))]);
    assert_eq!(world.journal.history(1, 100).unwrap().len(), 4, "each stands once in the conversation");
    assert_eq!(world.it.resend(&world.journal, 1).unwrap(), 0, "once");
}

/// Both sides have dialled at once, and messages went over the other link since this hello was said.
#[test]
fn a_hello_that_was_overtaken_by_an_acknowledgement_tells_of_no_loss() {
    let mut world = World::new();
    world.open(1, &[]);
    world.write(Some(1), 2);
    world.out(1);
    world.acknowledged(1, cursor(7, 2));
    let mut lost =
        |link, start| world.it.open(&world.journal, link, 1, 1 << 20, &hello(start, &[]), None).unwrap().lost;
    assert_eq!([lost(2, 1), lost(3, 2)], [None, Some(2)]);
}

#[test]
fn what_is_sent_again_is_new_where_it_is_missing_and_nowhere_else() {
    let mut world = World::new();
    world.open(1, &[]);
    let repeat = |number, epoch, first| Message {
        original: Some(cursor(epoch, first)),
        ..message(8, number, "again")
    };
    assert_eq!(world.receive(1, &[(8, 1), (8, 2)]), [(8, 1), (8, 2)]);
    // 3 and 5 were here before this journal was restored, and 6 comes next.
    world.it.skipped(&world.journal, 1, cursor(8, 5)).unwrap();
    assert_eq!(world.it.cursors(&world.journal, 1).unwrap(), [cursor(8, 5)]);
    assert_eq!(world.receive(1, &[(8, 5), (8, 6)]), [(8, 6)]);
    let all = [
        repeat(7, 8, 2),
        repeat(8, 8, 3),
        repeat(9, 8, 5),
        repeat(10, 8, 6),
        repeat(11, 6, 1),
        repeat(12, 6, 1),
    ];
    let came = receive_from(&mut world, 1, &all);
    let is_new: Vec<bool> = came.iter().map(|it| matches!(it, Received::New(_))).collect();
    assert_eq!(is_new, [false, true, true, false, true, false], "{came:?}");
    assert_eq!(world.it.acknowledgements(), [(1, cursor(8, 12))]);
    // All of it once more.
    let again: Vec<Message> = all.iter().map(|it| Message { number: it.number + 10, ..it.clone() }).collect();
    let came = receive_from(&mut world, 1, &again);
    assert!(came.iter().all(|it| *it == Received::Dropped), "{came:?}");
    let mut ids = Vec::new();
    let each = |it: crate::store::journal::Received| ids.push(it.message.cursor());
    let mut each = each;
    world
        .journal
        .received_after(1, 0, |it| {
            each(it);
            true
        })
        .unwrap();
    assert_eq!(ids, [cursor(8, 1), cursor(8, 2), cursor(8, 6), cursor(8, 3), cursor(8, 5), cursor(6, 1)]);
    assert!(matches!(receive_from(&mut world, 1, &[repeat(40, 8, 40)])[..], [Received::Broken(_)]));
}

#[test]
fn what_is_not_taken_leaves_no_gap_whatever_is_on_the_way() {
    let mut world = World::new();
    world.open(1, &[]);
    let not_answered = HoldReason::NOT_ANSWERED;
    let take = |world: &mut World, number, taken: bool| {
        let mut incoming = world.journal.incoming().unwrap();
        let message = message(8, number, "x");
        let take = || if taken { Ok(()) } else { Err(not_answered) };
        world.it.received(&world.journal, &mut incoming, 1, &message, 0, take).unwrap()
    };
    assert_eq!(take(&mut world, 1, true), Received::New(1));
    let hold = Hold { reason: not_answered, cursor: Some(cursor(8, 1)) };
    assert_eq!(take(&mut world, 2, false), Received::Held(hold));
    assert_eq!(world.it.acknowledgements(), []);
    // It is taken again before the other side has heard of the hold: 3 was sent after 2 was dropped.
    assert!(world.it.take_again(Some(1), HoldReason::DISK_FULL).is_empty());
    assert_eq!(world.it.take_again(Some(1), not_answered), [1]);
    assert_eq!(take(&mut world, 3, true), Received::Dropped);
    world.it.rewound(1);
    assert_eq!([2, 3].map(|number| take(&mut world, number, true)), [Received::New(2), Received::New(3)]);
    // Held again: who has answered and sends all the same breaks the rules.
    assert!(matches!(take(&mut world, 4, false), Received::Held(_)));
    world.it.rewound(1);
    assert!(matches!(take(&mut world, 5, true), Received::Broken(_)));
}

#[test]
fn what_the_other_side_does_not_take_waits_and_goes_out_once_it_does() {
    let mut world = World::new();
    world.open(1, &[]);
    world.write(Some(1), 4);
    world.out(1);
    assert_eq!(world.acknowledged(1, cursor(7, 1)), [1]);
    assert!(world.it.hold(1, HoldReason::DISK_FULL));
    world.write(Some(1), 1);
    assert_eq!((world.out(1), world.it.held(1)), (vec![], Some(HoldReason::DISK_FULL)));
    world.it.resume(1);
    assert_eq!((world.out(1).len(), world.it.held(1)), (4, None));
    assert!(
        (0..MAX_HOLDS).map(|_| world.it.hold(1, HoldReason::DISK_FULL)).any(|more| !more),
        "not for ever"
    );
    // Also what the other side says in its hello.
    let held = Hello { hold: Some(HoldReason::NOT_ANSWERED), ..hello(1, &[cursor(7, 2)]) };
    world.it.open(&world.journal, 2, 1, 1 << 20, &held, None).unwrap();
    world.it.close(1);
    assert_eq!((world.out(2), world.it.held(1)), (vec![], Some(HoldReason::NOT_ANSWERED)));
    world.it.resume(2);
    assert_eq!(world.out(2), [cursor(7, 3), cursor(7, 4), cursor(7, 5)]);
}
