use super::super::tests::support::at;
use super::*;
use crate::protocol::peer::{Kind, Message, Part};
use crate::time::Now;
use std::collections::BTreeMap;
use std::convert::Infallible;

fn message(seq: Seq, bytes: usize) -> Sent {
    let number = seq.cast_unsigned();
    let message =
        Message { epoch: 1, number, kind: Kind::TEXT, sent: 0, body: vec![b'x'; bytes], original: None };
    Sent { seq, epoch: 1, message }
}

/// A journal with these messages, of ten bytes each.
fn frame(window: &mut SendWindow, journal: std::ops::RangeInclusive<Seq>) -> Vec<u64> {
    let read = |after: Seq, each: &mut dyn FnMut(Sent) -> bool| {
        journal.into_iter().filter(|seq| *seq > after).map(|seq| message(seq, 10)).all(each);
        Ok::<_, Infallible>(())
    };
    let number = |said| match said {
        Peer::Message(message) => message.number,
        other => panic!("{other:?}"),
    };
    window.next_frame(at(0).mono, read).unwrap().into_iter().map(number).collect()
}

/// A frame of messages of so many bytes, of which there is no end.
fn frame_of(window: &mut SendWindow, now: Now, bytes: usize) {
    let read = |after: Seq, each: &mut dyn FnMut(Sent) -> bool| {
        (after + 1..).map(|seq| message(seq, bytes)).all(each);
        Ok::<_, Infallible>(())
    };
    assert!(!window.next_frame(now.mono, read).unwrap().is_empty());
}

fn caught_up(size: usize) -> SendWindow {
    SendWindow { reading: false, ..SendWindow::new(size, 0) }
}

#[test]
fn what_was_written_is_at_hand_in_order_until_it_is_too_much() {
    let mut window = caught_up(10_000);
    (1..=3).for_each(|seq| window.written(message(seq, 10), 10_000));
    assert_eq!(frame(&mut window, 9..=9), [1, 2, 3]);
    assert_eq!((window.progress.sent, window.fresh_bytes), (3, 0));
    assert!(!window.is_ready());
    // Also where there is next to no text, each takes its place.
    (4..10_000).for_each(|seq| window.written(message(seq, 0), 10_000));
    assert!(window.reading && window.fresh.is_empty());
}

#[test]
fn nothing_is_at_hand_that_does_not_follow() {
    let mut window = SendWindow::new(10_000, 0);
    window.written(message(7, 10), 10_000);
    assert_eq!(frame(&mut window, 5..=7), [5, 6, 7], "what comes before it is in the journal only");
}

#[test]
fn a_window_takes_no_more_than_it_has_and_waits_until_half_is_free() {
    let mut window = SendWindow::new(300, 0);
    assert_eq!(frame(&mut window, 1..=9), [1, 2, 3, 4]);
    assert!(!window.is_ready());
    assert_eq!(window.acknowledge(at(0).mono, 1, 2).map(|it| it.seq), Some(1));
    assert_eq!(window.acknowledge(at(0).mono, 1, 2).map(|it| it.seq), Some(2));
    assert_eq!(window.acknowledge(at(0).mono, 1, 2), None);
    assert!(window.is_ready());
}

#[test]
fn a_window_too_small_for_anything_takes_one_message_at_a_time() {
    let mut window = SendWindow::new(1, 0);
    assert_eq!(frame(&mut window, 1..=9), [1]);
    assert!(!window.is_ready());
    window.acknowledge(at(0).mono, 1, 1);
    assert_eq!(frame(&mut window, 1..=9), [2]);
}

#[test]
fn a_backlog_goes_out_in_few_frames_however_little_each_acknowledgement_frees() {
    let mut window = SendWindow::new(8 << 10, 0);
    let (mut sent, mut frames) = (0, 0);
    for acknowledged in 0..=400 {
        window.acknowledge(at(0).mono, 1, acknowledged);
        while window.is_ready() {
            let frame = frame(&mut window, 1..=400);
            sent += frame.len();
            frames += usize::from(!frame.is_empty());
            assert!(window.progress.used <= window.size);
        }
    }
    assert_eq!((sent, window.progress.used), (400, 0));
    assert!(frames <= 20, "{frames} frames");
}

#[test]
fn a_failed_transaction_has_sent_and_acknowledged_nothing() {
    let mut window = SendWindow::new(100_000, 0);
    assert_eq!(frame(&mut window, 1..=3), [1, 2, 3]);
    window.commit();
    let used = window.progress.used;
    window.acknowledge(at(0).mono, 1, 1);
    window.written(message(4, 10), 10_000);
    assert_eq!(frame(&mut window, 1..=4), [4]);
    (2..=4).for_each(|seq| _ = window.acknowledge(at(0).mono, 1, seq));
    window.rollback();
    assert_eq!((window.progress.used, window.unacknowledged.len()), (used, 3));
    assert_eq!(frame(&mut window, 1..=5), [4, 5]);
}

#[test]
fn what_was_not_taken_is_sent_again_once_the_window_is_not_held_any_more() {
    let mut window = SendWindow::new(100_000, 0);
    assert_eq!(frame(&mut window, 1..=5), [1, 2, 3, 4, 5]);
    (1..=2).for_each(|seq| _ = window.acknowledge(at(0).mono, 1, seq));
    window.commit();
    for taken_back in [true, false] {
        window.written(message(6, 10), 10_000);
        window.rewind();
        window.hold(true);
        assert_eq!((window.progress.used, window.is_ready()), (0, false));
        if taken_back {
            window.rollback();
            assert_eq!((window.unacknowledged.len(), window.is_ready()), (3, true));
            assert_eq!(window.acknowledge(at(0).mono, 1, 3).map(|it| it.seq), Some(3));
            window.rollback();
        }
    }
    window.commit();
    window.hold(false);
    assert!(window.is_ready());
    assert_eq!(frame(&mut window, 1..=6), [3, 4, 5, 6]);
    window.rollback();
    assert!(!window.is_ready(), "it is held, as it was");
    assert_eq!((window.progress.sent, window.unacknowledged.len()), (2, 0));
}

#[test]
fn what_was_sent_and_rewound_in_a_failed_transaction_is_as_it_was() {
    let mut window = SendWindow::new(100_000, 7);
    assert_eq!(frame(&mut window, 8..=9), [8, 9]);
    window.commit();
    (10..=11).for_each(|seq| window.written(message(seq, 10), 10_000));
    assert_eq!(frame(&mut window, 8..=11), [10, 11]);
    window.acknowledge(at(0).mono, 1, 8);
    window.rewind();
    assert_eq!(frame(&mut window, 8..=11), [9, 10, 11]);
    window.rollback();
    assert_eq!((window.progress.sent, window.progress.acknowledged), (9, 7));
    assert_eq!(window.unacknowledged.iter().map(|it| it.seq).collect::<Vec<_>>(), [8, 9]);
    window.rewind();
    assert_eq!(frame(&mut window, 8..=11), [8, 9, 10, 11]);
}

/// Two clients on a line that carries so many bytes a second each way, and takes so long besides. Each has `count`
/// messages of `bytes` for the other from `start` on.
struct Line {
    rate: u64,
    delay: Duration,
    ways: [Way; 2],
    /// What arrives, and when: at a side, up to which message.
    arriving: BTreeMap<(Duration, u64), (usize, Arrives)>,
    sent: u64,
}

#[derive(Default)]
struct Way {
    window: SendWindow,
    count: Seq,
    bytes: usize,
    start: Duration,
    /// Until when the line is busy with what was sent.
    busy: Duration,
    /// The longest that something has waited for the line.
    waited: Duration,
    delivered: Seq,
    /// When the last message was.
    done: Duration,
}

enum Arrives {
    Start,
    Frame(Seq),
    Part,
    Acknowledgement(Seq),
    PartAcknowledgement,
}

impl Line {
    fn new(rate: u64, delay: u64, ways: [(Seq, usize, u64); 2]) -> Self {
        let way = |(count, bytes, start)| {
            let start = Duration::from_secs(start);
            Way { window: SendWindow::new(1 << 20, 0), count, bytes, start, ..Way::default() }
        };
        let ways = ways.map(way);
        let mut line =
            Self { rate, delay: Duration::from_millis(delay), ways, arriving: BTreeMap::new(), sent: 0 };
        for side in 0..2 {
            line.arriving.insert((line.ways[side].start, side as u64), (side, Arrives::Start));
        }
        line
    }

    /// Puts something on the line, behind what is there.
    fn carry(&mut self, now: Duration, from: usize, bytes: usize, what: Arrives) {
        let way = &mut self.ways[from];
        way.waited = way.waited.max(way.busy.saturating_sub(now));
        way.busy = way.busy.max(now) + Duration::from_micros(bytes as u64 * 1_000_000 / self.rate);
        self.sent += 1;
        self.arriving.insert((way.busy + self.delay, 2 + self.sent), (1 - from, what));
    }

    fn run(mut self) -> [Way; 2] {
        while let Some(((now, _), (side, what))) = self.arriving.pop_first() {
            let moment = Instant::after_start(now);
            match what {
                Arrives::Start => {}
                Arrives::Frame(last) => {
                    let theirs = &mut self.ways[1 - side];
                    (theirs.delivered, theirs.done) = (last, now);
                    self.carry(now, side, 60, Arrives::Acknowledgement(last));
                }
                Arrives::Part => self.carry(now, side, 60, Arrives::PartAcknowledgement),
                Arrives::PartAcknowledgement => self.ways[side].window.acknowledge_part(moment),
                Arrives::Acknowledgement(last) => {
                    while self.ways[side].window.acknowledge(moment, 1, last).is_some() {}
                }
            }
            while now >= self.ways[side].start && self.ways[side].window.is_ready() {
                let Way { window, count, bytes, .. } = &mut self.ways[side];
                let read = |after: Seq, each: &mut dyn FnMut(Sent) -> bool| {
                    (after + 1..=*count).map(|seq| message(seq, *bytes)).all(each);
                    Ok::<_, Infallible>(())
                };
                let frame = window.next_frame(moment, read).unwrap();
                if frame.is_empty() {
                    break;
                }
                window.commit();
                let last = match frame.last() {
                    Some(Peer::Message(_)) => Arrives::Frame(window.progress.sent),
                    _ => Arrives::Part,
                };
                let length = |said: &Peer| match said {
                    Peer::Message(Message { body, .. }) | Peer::Part(Part { body, .. }) => body.len() + 40,
                    other => panic!("{other:?}"),
                };
                let bytes = frame.iter().map(length).sum::<usize>() + 18;
                self.carry(now, side, bytes, last);
            }
        }
        self.ways
    }
}

impl Way {
    /// How much of the line was used for messages, and what they need beyond their bodies, while there were some.
    fn share(&self, rate: u64) -> f64 {
        self.count as f64 * (self.bytes + 40) as f64 / (self.done - self.start).as_secs_f64() / rate as f64
    }
}

/// What is promised of a line is carried.
const PROMISED: f64 = 0.7;
/// The same where the second way is late, and its acknowledgements wait behind what the first sends: it has to win its share.
const LATE: [f64; 2] = [PROMISED, PROMISED / 2.0];
/// How long what is small waits for what was sent before.
const WAITS: Duration = Duration::from_secs(6);

/// As many as keep the line busy for a while.
fn for_long(rate: u64, bytes: usize) -> Seq {
    (100 * rate as usize / bytes).max(10) as Seq
}

#[test]
fn a_line_is_used_and_what_is_sent_over_it_hardly_waits() {
    for (rate, delay) in [(1_000, 50), (1_000, 1_000), (4_000, 100), (20_000, 300), (1_000_000, 40)] {
        for bytes in [32_000, 1_000, 100] {
            let [there, back] = Line::new(rate, delay, [(for_long(rate, bytes), bytes, 0), (0, 0, 0)]).run();
            let (share, waited) = (there.share(rate), there.waited.max(back.waited));
            assert!(share > PROMISED && waited < WAITS, "{rate} B/s, {bytes} bytes: {share}, {waited:?}");
        }
    }
}

#[test]
fn long_messages_one_way_leave_the_other_its_share() {
    for (rate, delay) in [(1_000, 50), (4_000, 100), (20_000, 300)] {
        let ways = [(for_long(rate, 32_000) * 2, 32_000, 0), (for_long(rate, 100), 100, 10)];
        for (way, least) in Line::new(rate, delay, ways).run().iter().zip(LATE) {
            let (share, waited) = (way.share(rate), way.waited);
            assert!(share > least && waited < WAITS, "{rate} B/s, {} bytes: {share}, {waited:?}", way.bytes);
        }
    }
}

#[test]
fn both_ways_of_a_line_are_used_at_once() {
    for (rate, delay) in [(1_000, 50), (4_000, 100), (20_000, 300), (1_000_000, 40)] {
        for bytes in [32_000, 1_000, 100] {
            let count = for_long(rate, bytes);
            let ways = Line::new(rate, delay, [(2 * count, bytes, 0), (count, bytes, 10)]).run();
            for (way, least) in ways.iter().zip(LATE) {
                let (share, waited) = (way.share(rate), way.waited);
                assert!(share > least, "{rate} B/s, {bytes} bytes: {share}");
                assert!(waited < WAITS, "{rate} B/s, {bytes} bytes: {waited:?}");
            }
        }
    }
}

#[test]
fn a_fast_line_is_at_full_speed_after_some_round_trips() {
    let mut window = SendWindow::new(1 << 20, 0);
    let mut rounds = 0;
    while window.progress.limit < 1 << 20 {
        while window.is_ready() {
            frame_of(&mut window, at(rounds * 50), 1_000);
        }
        let last = window.progress.sent;
        rounds += 1;
        while window.acknowledge(at(rounds * 50).mono, 1, last).is_some() {}
    }
    assert!(rounds <= 8, "{rounds}");
}

#[test]
fn a_line_that_is_hardly_used_does_not_show_what_it_carries() {
    let mut window = caught_up(1 << 20);
    for seq in 1..=100 {
        window.written(message(seq, 10), 10_000);
        assert_eq!(frame(&mut window, 9..=9).len(), 1);
        window.acknowledge(at(0).mono, 1, seq);
    }
    assert_eq!(window.progress.limit, LEAST_IN_FLIGHT);
}

#[test]
fn a_failed_transaction_has_measured_nothing() {
    let mut window = SendWindow::new(1 << 20, 0);
    while window.is_ready() {
        frame_of(&mut window, at(0), 1_000);
    }
    window.commit();
    let (sent, limit, left) = (window.progress.sent, window.progress.limit, window.unacknowledged.len());
    for _ in 0..2 {
        while window.acknowledge(at(10).mono, 1, sent).is_some() {}
        assert!(window.progress.limit > limit && window.progress.probe.is_none());
        window.rollback();
        assert_eq!((window.progress.limit, window.progress.probe.map(|it| it.left)), (limit, Some(left)));
    }
}

/// What goes over the line of these messages, from a window that is new or has read them.
fn said(window: &mut SendWindow, journal: &[Sent]) -> Vec<Peer> {
    let read = |after: Seq, each: &mut dyn FnMut(Sent) -> bool| {
        journal.iter().filter(|sent| sent.seq > after).cloned().all(each);
        Ok::<_, Infallible>(())
    };
    window.next_frame(at(0).mono, read).unwrap()
}

/// Takes in what is said, as the other side does.
fn take(said: Vec<Peer>, bodies: &mut Vec<Vec<u8>>, begun: &mut Vec<u8>) {
    for said in said {
        match said {
            Peer::Part(part) => begun.extend(part.body),
            Peer::Message(message) => bodies.push([std::mem::take(begun), message.body].concat()),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_is_long_for_the_line_goes_in_parts_that_are_acknowledged() {
    for reading in [true, false] {
        let mut messages = [message(1, 100), message(2, 20_000), message(3, 3_100), message(4, 100)];
        messages[1].message.body = (0..20_000).map(|at| at as u8).collect();
        let mut window = SendWindow::new(1 << 20, 0);
        if !reading {
            window = caught_up(1 << 20);
            messages.iter().for_each(|sent| window.written(sent.clone(), 1 << 20));
        }
        let (mut bodies, mut begun, mut parts) = (Vec::new(), Vec::new(), 0);
        while window.is_ready() {
            // What is sent in a transaction that fails has not been sent.
            let failed = said(&mut window, &messages);
            window.rollback();
            let frame = said(&mut window, &messages);
            assert!(failed == frame);
            window.commit();
            // The line is as slow as it can be.
            let part = matches!(frame[..], [Peer::Part(_)]);
            parts += usize::from(part);
            take(frame, &mut bodies, &mut begun);
            window.progress.probe = None;
            if part && !window.is_ready() {
                assert!(window.acknowledge(at(0).mono, 1, 1).is_none_or(|it| it.seq == 1));
                window.acknowledge_part(at(0).mono);
            } else if !window.is_ready() {
                let last = window.progress.sent;
                while window.acknowledge(at(0).mono, 1, last).is_some() {}
            }
            window.commit();
        }
        assert!(bodies.iter().eq(messages.iter().map(|sent| &sent.message.body)));
        assert!((7..=8).contains(&parts), "{parts}");
        let last = window.progress.sent;
        while window.acknowledge(at(0).mono, 1, last).is_some() {}
        assert_eq!((window.progress.in_flight, window.progress.used, last), (0, 0, 4));
    }
}

#[test]
fn what_is_rewound_amid_a_message_begins_with_it_again() {
    let messages = [message(1, 20_000), message(2, 10)];
    let mut window = SendWindow::new(1 << 20, 0);
    for _ in 0..2 {
        while window.is_ready() {
            said(&mut window, &messages);
        }
        assert_eq!(window.unacknowledged.len(), 2);
        window.rewind();
        assert_eq!((window.progress.in_flight, window.unacknowledged.len()), (0, 0));
    }
    while window.is_ready() {
        said(&mut window, &messages);
    }
    // These are of the parts that were rewound.
    (0..4).for_each(|_| window.acknowledge_part(at(0).mono));
    assert_eq!(window.unacknowledged.len(), 2);
    window.acknowledge_part(at(0).mono);
    assert_eq!(window.unacknowledged.len(), 1);
    // Another message may be the next, for one is not to be sent any more.
    let other = [message(2, 10)];
    assert!(matches!(&said(&mut window, &other)[..], [Peer::Message(it)] if it.body.len() == 10));
}

/// A receiver answers a part at once, and a message once it is saved: of both in one frame, the part first.
#[test]
fn a_part_that_is_acknowledged_before_the_message_ahead_of_it_is_not_waited_for() {
    let messages = [message(1, 10), message(2, 20_000)];
    let mut window = SendWindow::new(1 << 20, 0);
    while window.is_ready() {
        said(&mut window, &messages);
    }
    let parts = window.unacknowledged.iter().filter(|it| it.is_part).count();
    assert!(!window.unacknowledged[0].is_part && parts > 0);
    (0..parts).for_each(|_| window.acknowledge_part(at(0).mono));
    window.commit();
    window.acknowledge(at(0).mono, 1, 1);
    window.rollback();
    assert_eq!(window.acknowledge(at(0).mono, 1, 1).map(|it| it.seq), Some(1));
    assert_eq!(window.acknowledge(at(0).mono, 1, 1), None);
    assert_eq!((window.progress.in_flight, window.unacknowledged.len()), (0, 0));
    assert!(window.is_ready(), "the rest goes out");
}
