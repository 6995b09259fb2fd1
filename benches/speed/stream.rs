//! S1: as many messages as there can be, from lines at one client's input to lines at the other's output.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::bare;
use crate::chat::{Lines, Pair, kind, number, place, text};
use crate::measure::{Goal, Row, or_kill, per_second, rounds};
use crate::server::cpu;
use crate::{Options, ms};

/// How many messages a round has.
pub const COUNT: u64 = 200_000;

/// What came of a stream.
pub struct Stream {
    pub count: u64,
    pub took: Duration,
    /// CPU time of the sender, of the receiver, and of this process meanwhile.
    pub cpu: [Duration; 3],
}

impl Stream {
    pub fn rate(&self) -> f64 {
        self.count as f64 / self.took.as_secs_f64()
    }

    /// CPU time a message of the client that used more, in microseconds.
    pub fn busiest(&self) -> f64 {
        let [sender, receiver, _] = self.cpu;
        sender.max(receiver).as_secs_f64() * 1e6 / self.count as f64
    }

    /// How it went, in one line.
    pub fn say(&self, what: &str) {
        let each = self.cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / self.count as f64);
        let [sender, receiver, generator] = each;
        let busy = self.cpu[2].as_secs_f64() / self.took.as_secs_f64() * 100.0;
        println!(
            "   {what}: {}; CPU time a message: sender {sender:.1} µs, receiver {receiver:.1} µs, \
             generator {generator:.1} µs (busy {busy:.0} % of a core)",
            per_second(self.rate())
        );
    }
}

/// Has the sender send so many messages to the receiver, and sees that each arrives once, in order, and is
/// said to be delivered.
pub fn stream(pair: &mut Pair, count: u64) -> Result<Stream> {
    let lines: String = (0..count).map(|number| format!("CHAT bob {}\n", text(number))).collect();
    let before = [pair.sender.cpu()?, pair.receiver.cpu()?, cpu("self")?];
    let stdin = pair.sender.stdin.as_mut().context("its input is closed")?;
    let (told, shown) = (&mut pair.sender.lines, &mut pair.receiver.lines);
    let start = Instant::now();
    let took = thread::scope(|scope| {
        let writing = scope.spawn(move || or_kill(|| Ok(stdin.write_all(lines.as_bytes())?)));
        let telling = scope.spawn(move || or_kill(|| delivered(told, count)));
        let showing = scope.spawn(move || or_kill(|| messages(shown, count)));
        let joined = [showing, telling, writing].map(thread::ScopedJoinHandle::join);
        for done in joined {
            done.map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        }
        Ok::<_, anyhow::Error>(start.elapsed())
    })?;
    let after = [pair.sender.cpu()?, pair.receiver.cpu()?, cpu("self")?];
    let [sender, receiver, generator] = after;
    let [a, b, c] = before;
    Ok(Stream { count, took, cpu: [sender - a, receiver - b, generator - c] })
}

/// Each is shown once and in order.
pub fn messages(lines: &mut Lines, count: u64) -> Result<()> {
    for expected in 0..count {
        let line = lines.wait("message")?;
        ensure!(number(line) == Some(expected), "not {expected}: {}", String::from_utf8_lossy(line));
    }
    Ok(())
}

/// Each is queued, then delivered, once and in order.
pub fn delivered(lines: &mut Lines, count: u64) -> Result<()> {
    let (mut queued, mut delivered) = (None, None);
    let mut left = count;
    while left > 0 {
        let line = lines.next()?;
        let last = match kind(line) {
            b"queued" => &mut queued,
            b"delivered" => {
                left -= 1;
                &mut delivered
            }
            b"error" => anyhow::bail!("{}", String::from_utf8_lossy(line)),
            _ => continue,
        };
        let this = place(line);
        let follows = last.is_none_or(|last: u64| this == Some(last + 1));
        ensure!(this.is_some() && follows, "out of order: {}", String::from_utf8_lossy(line));
        *last = this;
    }
    ensure!(queued == delivered, "the last one delivered is not the last one queued");
    Ok(())
}

pub fn run(options: &Options) -> Result<Vec<Row>> {
    println!("\n== S1: a stream of {COUNT} messages");
    let rounds = rounds(options.keep, |round| {
        let real = || {
            let scratch = options.scratch("stream")?;
            let mut pair = Pair::fresh(&scratch)?;
            let stream = stream(&mut pair, COUNT)?;
            pair.leave()?;
            stream.say("clients");
            Ok::<_, anyhow::Error>(stream)
        };
        let bare = || {
            let scratch = options.scratch("bare")?;
            let bare = bare::stream(scratch.path(), 2 * COUNT)?;
            let [sender, receiver] = bare.cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / (2 * COUNT) as f64);
            println!(
                "   bare pipeline: {}; CPU time a message: sender {sender:.1} µs, receiver {receiver:.1} µs; a group of 500 \
                 acknowledged after {}",
                per_second(bare.rate),
                ms(bare.median)
            );
            Ok::<_, anyhow::Error>(bare)
        };
        // Neither is always the one that comes first.
        if round % 2 == 0 {
            let real = real()?;
            Ok((real, bare()?))
        } else {
            let bare = bare()?;
            Ok((real()?, bare))
        }
    })?;
    let bare_cpu = |bare: &bare::Pipeline| {
        let [sender, receiver] = bare.cpu;
        sender.max(receiver).as_secs_f64() * 1e6 / (2 * COUNT) as f64
    };
    let stream = Row {
        id: "S1",
        what: "stream of 100-byte messages".into(),
        reached: per_second(rounds.median(|(real, _)| real.rate())),
        against: format!("bare pipeline {}", per_second(rounds.median(|(_, bare)| bare.rate))),
        ratio: rounds.median(|(real, bare)| real.rate() / bare.rate),
        goal: Goal::AtLeast(0.4),
        disturbed: rounds.disturbed,
    };
    let cpu = Row::cpu(
        "S1",
        "a message",
        rounds.median(|(real, _)| real.busiest()),
        "bare pipeline",
        rounds.median(|(_, bare)| bare_cpu(bare)),
        rounds.disturbed,
    );
    Ok(vec![stream, cpu])
}
