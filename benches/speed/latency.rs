//! S2: one message in flight, from the line written to the line printed at the other.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::bare;
use crate::chat::{Pair, number, text};
use crate::measure::{Goal, Row, rounds};
use crate::stream::delivered;
use crate::{Options, ms, quantile};

/// How many messages a round has.
const COUNT: u64 = 4000;

/// How long so many take, one after the other, at the median, and 99 of 100.
pub fn latency(pair: &mut Pair, count: u64) -> Result<[Duration; 2]> {
    let mut times = Vec::new();
    for expected in 0..count {
        let line = format!("CHAT bob {}", text(expected));
        let start = Instant::now();
        pair.sender.say(&line)?;
        let line = pair.receiver.lines.wait("message")?;
        times.push(start.elapsed());
        ensure!(number(line) == Some(expected), "not {expected}: {}", String::from_utf8_lossy(line));
        // Only then is nothing in flight any more.
        delivered(&mut pair.sender.lines, 1)?;
    }
    Ok([0.5, 0.99].map(|share| quantile(&mut times, share)))
}

pub fn run(options: &Options) -> Result<Vec<Row>> {
    println!("\n== S2: one message in flight, {COUNT} times");
    let rounds = rounds(options.keep, |_| {
        let scratch = options.scratch("latency")?;
        let mut pair = Pair::fresh(&scratch)?;
        let [median, p99] = latency(&mut pair, COUNT)?;
        pair.leave()?;
        println!("   clients, line to line: p50 {}, p99 {}", ms(median), ms(p99));
        let scratch = options.scratch("bare")?;
        let bare = bare::round_trips(scratch.path(), COUNT)?;
        println!("   bare round trip and two commits: p50 {}, p99 {}", ms(bare.median), ms(bare.p99));
        Ok([median, p99, bare.median].map(|time| time.as_secs_f64() * 1000.0))
    })?;
    let bare = rounds.median(|[.., bare]| *bare);
    let row = |what: &str, of: fn(&[f64; 3]) -> f64, most| Row {
        id: "S2",
        what: format!("one message in flight, {what}"),
        reached: format!("{:.2} ms", rounds.median(of)),
        against: format!("bare, median {bare:.2} ms"),
        ratio: rounds.median(|round| of(round) / round[2]),
        goal: Goal::AtMost(most),
        disturbed: rounds.disturbed,
    };
    Ok(vec![row("median", |round| round[0], 1.4), row("99 of 100", |round| round[1], 4.0)])
}
