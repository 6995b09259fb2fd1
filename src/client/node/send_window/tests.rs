use super::super::tests::support::at;
use super::*;
use crate::protocol::peer::{Kind, Message};
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
