//! S11: a member that was away gets everything from another one that wrote none of it.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{Room, core, cpu, leave, name, stream};
use crate::chat::{Lines, Pair, Person, TEXT, number};
use crate::measure::{Goal, Row, per_second, rounds};
use crate::stream::{self as direct, COUNT};
use crate::{Options, ms};

/// How many entries there are.
const ENTRIES: u64 = 100_000;

struct Figures {
    /// So many a second.
    rate: f64,
    /// S1 of the same round.
    direct: f64,
    /// CPU time an entry, of the busier member.
    busiest: f64,
    direct_busiest: f64,
    /// Bytes of a journal for each entry, beyond its text.
    stored: f64,
}

pub fn run(options: &Options) -> Result<Vec<Row>> {
    let count = options.scaled(ENTRIES);
    println!("\n== S11: {count} entries of a room, from a member that wrote none of them");
    let rounds = rounds(options.keep, |round| {
        // Neither is always the one that comes first.
        if round % 2 == 0 {
            let rooms = catch_up(options, count)?;
            figures(rooms, one_to_one(options)?, count)
        } else {
            let direct = one_to_one(options)?;
            figures(catch_up(options, count)?, direct, count)
        }
    })?;
    let rate = Row {
        id: "S11",
        what: "entries of a room, from one who wrote none".into(),
        reached: per_second(rounds.median(|it| it.rate)),
        against: format!("direct (S1) {}", per_second(rounds.median(|it| it.direct))),
        ratio: rounds.median(|it| it.rate / it.direct),
        goal: Goal::AtLeast(0.5),
        disturbed: rounds.disturbed,
    };
    let busiest = Row::cpu(
        "S11",
        "an entry",
        rounds.median(|it| it.busiest),
        "direct",
        rounds.median(|it| it.direct_busiest),
        rounds.disturbed,
    );
    let stored = super::journal::row("one writes", rounds.median(|it| it.stored), false);
    Ok(vec![rate, busiest, Row { id: "S11", ..stored }])
}

fn one_to_one(options: &Options) -> Result<direct::Stream> {
    let scratch = options.scratch("stream")?;
    let mut pair = Pair::fresh(&scratch)?;
    let stream = direct::stream(&mut pair, options.scaled(COUNT))?;
    pair.leave()?;
    stream.say("direct");
    Ok(stream)
}

/// How it went.
struct CaughtUp {
    took: Duration,
    /// CPU time of the one who gives, and of the one who takes.
    cpu: [Duration; 2],
    stored: f64,
}

fn figures(CaughtUp { took, cpu, stored }: CaughtUp, direct: direct::Stream, count: u64) -> Result<Figures> {
    let [gives, takes] = cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / count as f64);
    Ok(Figures {
        rate: count as f64 / took.as_secs_f64(),
        direct: direct.rate(),
        busiest: gives.max(takes),
        direct_busiest: direct.busiest(),
        stored,
    })
}

fn catch_up(options: &Options, count: u64) -> Result<CaughtUp> {
    let scratch = options.scratch("catch-up")?;
    let mut room = Room::gather(&scratch, 3)?;
    // The author is on the first core, who gives on the second, and who takes on the first once the author has ended.
    leave(room.members.pop().context("no third member")?)?;
    let mut gives = room.members.pop().context("no second member")?;
    let mut author = room.members.pop().context("no author")?;
    let before = [cpu(&author)?, cpu(&gives)?];
    let took = stream(&mut author, std::slice::from_mut(&mut gives), count)?;
    let [wrote, got] = [cpu(&author)? - before[0], cpu(&gives)? - before[1]].map(|cpu| each(cpu, count));
    println!(
        "   written to one member: {}; CPU time an entry: author {wrote:.1} µs, member {got:.1} µs",
        per_second(count as f64 / took.as_secs_f64())
    );
    super::wait_until_has_all(&mut author, name(1)?.as_str())?;
    leave(author)?;

    let before = cpu(&gives)?;
    let start = Instant::now();
    let mut takes = Person::start(core(2), scratch.path(), name(2)?.as_str(), room.discovery.address)?;
    let first = take(&mut takes.lines, 0..1)?;
    let last = take(&mut takes.lines, 1..count)?;
    let took = last - first;
    let spent = [cpu(&gives)? - before, cpu(&takes)?];
    let [gave, took_in] = spent.map(|cpu| each(cpu, count));
    println!(
        "   from one who wrote none: {}, the first {} after the start; CPU time an entry: gives {gave:.1} µs, takes \
         {took_in:.1} µs",
        per_second(count as f64 / took.as_secs_f64()),
        ms(first - start)
    );
    leave(takes)?;
    leave(gives)?;
    let journal = scratch.path().join(format!("{}.journal", name(2)?));
    let stored = fs::metadata(journal)?.len() as f64 / count as f64 - TEXT as f64;
    Ok(CaughtUp { took, cpu: spent, stored })
}

fn each(cpu: Duration, count: u64) -> f64 {
    cpu.as_secs_f64() * 1e6 / count as f64
}

/// These are shown, once and in order; when the last was.
fn take(lines: &mut Lines, numbers: std::ops::Range<u64>) -> Result<Instant> {
    for expected in numbers {
        let line = lines.wait("message")?;
        let what = String::from_utf8_lossy(line);
        anyhow::ensure!(number(line) == Some(expected), "not {expected}: {what}");
    }
    Ok(Instant::now())
}
