//! S12: what a text costs in a room of fifty, how soon it is on all screens, and what a room costs in which nothing is
//! said.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Room, Screens, cpu, in_turn, index, silence, stream};
use crate::chat::Pair;
use crate::latency::latency;
use crate::measure::{Goal, Row, rounds};
use crate::stream as direct;
use crate::{Options, ms, quantile};

/// How many are in the room.
const MEMBERS: usize = 50;
/// How many texts are written at once, and between two.
const TEXTS: u64 = 10_000;
const DIRECT: u64 = 100_000;
/// How many texts are written one after the other, and between two.
const TURNS: u64 = 50;
const DIRECT_TURNS: u64 = 1000;
/// A room in which all are linked with all, on which two cores are enough.
const FEW: usize = 4;
const FEW_TURNS: u64 = 200;
/// How long silence is listened to.
const SILENT: Duration = Duration::from_secs(40);
/// The goals for times are for a machine that is not saturated: where more of the cores is in use, in per cent, a text waits for
/// cores, and its time says how many there are.
const SATURATED: f64 = 70.0;

/// CPU time of all members for so many texts, with all that is said of them afterwards, and how long that took.
struct Cost {
    cpu: Duration,
    took: Duration,
    texts: u64,
}

impl Cost {
    /// In microseconds, for a text at one of those who get it. What a silent room uses in that time, `idle` in each second,
    /// does not count: much of the time is spent waiting for the last that is said.
    fn each(&self, idle: f64) -> f64 {
        let cpu = self.cpu.as_secs_f64() - idle * self.took.as_secs_f64();
        cpu * 1e6 / (self.texts * (MEMBERS as u64 - 1)) as f64
    }
}

/// What a round has found out.
struct Figures {
    at_once: Cost,
    in_turn: Cost,
    /// In microseconds of CPU time of both clients for a message.
    direct: f64,
    direct_in_turn: f64,
    /// In milliseconds.
    half: f64,
    all: f64,
    few: f64,
    direct_time: f64,
    /// In per cent of the cores.
    busy: f64,
    few_busy: f64,
}

pub fn run(options: &Options) -> Result<Vec<Row>> {
    println!("\n== S12: a room of {MEMBERS}");
    let scratch = options.scratch("fifty")?;
    let start = Instant::now();
    let mut room = Room::gather(&scratch, MEMBERS)?;
    println!("   all have joined and are linked after {}", ms(start.elapsed()));
    let small = options.scratch("few")?;
    let mut few = Room::gather(&small, FEW)?;
    let rounds = rounds(options.keep, |_| round(options, &mut room, &mut few))?;
    let (silence, idle) = silence::listen(&mut room, SILENT)?;
    let row = |what: &str, reached: f64, against: f64, unit: &str, goal| Row {
        id: "S12",
        what: what.into(),
        reached: format!("{reached:.2} {unit}"),
        against: format!("direct {against:.2} {unit}"),
        ratio: reached / against,
        goal,
        disturbed: rounds.disturbed,
    };
    let cost = |what: &str, of: fn(&Figures) -> &Cost, direct: fn(&Figures) -> f64| {
        let what = format!("CPU time of a text at each of {MEMBERS}, {what}");
        row(&what, rounds.median(|it| of(it).each(idle)), rounds.median(direct), "µs", Goal::AtMost(1.5))
    };
    let direct = rounds.median(|it| it.direct_time);
    let time = |what: &str, of: fn(&Figures) -> f64, busy: fn(&Figures) -> f64, goal| {
        let busy = rounds.median(busy);
        let (what, goal) = match busy > SATURATED {
            true => (format!("{what} ({busy:.0} % of the cores: not judged)"), Goal::None),
            false => (what.into(), goal),
        };
        row(&what, rounds.median(of), direct, "ms", goal)
    };
    let mut rows = vec![
        cost("as many as there can be", |it| &it.at_once, |it| it.direct),
        cost("one in flight", |it| &it.in_turn, |it| it.direct_in_turn),
        time("a text on all screens of 4, median", |it| it.few, |it| it.few_busy, Goal::AtMost(3.0)),
        time("a text on half of 50 screens, median", |it| it.half, |it| it.busy, Goal::None),
        time("a text on all of 50 screens, median", |it| it.all, |it| it.busy, Goal::AtMost(3.0)),
    ];
    rows.extend(silence);
    Ok(rows)
}

fn round(options: &Options, room: &mut Room, few: &mut Room) -> Result<Figures> {
    let scratch = options.scratch("stream")?;
    let mut pair = Pair::fresh(&scratch)?;
    let (one, at_once) = both(&mut pair, |pair| direct::stream(pair, options.scaled(DIRECT)))?;
    one.say("direct");
    let turns = options.scaled(DIRECT_TURNS);
    let ([direct_time, _], in_turn) = both(&mut pair, |pair| latency(pair, turns))?;
    pair.leave()?;
    let (direct, direct_in_turn) = (micros(at_once, one.count), micros(in_turn, turns));
    println!(
        "   direct, until both have it in their index, CPU time of both a message: {direct:.1} µs; one in flight: {}, \
         {direct_in_turn:.0} µs",
        ms(direct_time)
    );

    let count = options.scaled(TEXTS);
    room.index()?;
    let (before, start) = (room.cpu()?, Instant::now());
    let (author, others) = room.author()?;
    let took = stream(author, others, count)?;
    room.wait_until_even()?;
    room.index()?;
    let at_once = Cost { cpu: room.cpu()? - before, took: start.elapsed(), texts: count };
    println!(
        "   {count} texts to {MEMBERS} at once: on all screens after {}, at rest after {}; with the silence, {:.1} µs of CPU time a \
         text and screen",
        ms(took),
        ms(at_once.took),
        at_once.each(0.0)
    );

    let turns = options.scaled(TURNS);
    let (all, cost, busy) = turn(room, turns)?;
    let [half, last] = [|it: &Screens| it.half, |it: &Screens| it.all].map(|of| median(&all, of));
    println!(
        "   to {MEMBERS}, one in flight: half of the screens {}, all {}; at rest after {}; with the silence, {:.0} µs of CPU time a text \
         and screen, {busy:.0} % of the cores",
        ms(half),
        ms(last),
        ms(cost.took),
        cost.each(0.0)
    );
    let (in_few, few_cost, few_busy) = turn(few, options.scaled(FEW_TURNS))?;
    let few_cost = micros(few_cost.cpu, few_cost.texts * (FEW as u64 - 1));
    let in_few = median(&in_few, |it| it.all);
    println!(
        "   to {FEW}, one in flight: all screens {}; {few_cost:.0} µs of CPU time a text and screen, {few_busy:.0} % of the \
         cores",
        ms(in_few)
    );
    let [half, last, in_few, direct_time] =
        [half, last, in_few, direct_time].map(|time| time.as_secs_f64() * 1000.0);
    Ok(Figures {
        at_once,
        direct,
        in_turn: cost,
        direct_in_turn,
        half,
        all: last,
        busy,
        few: in_few,
        few_busy,
        direct_time,
    })
}

/// Does something with two clients, and until what they have said is in their index, as it gets in that of a room's members.
/// CPU time of both.
fn both<T>(pair: &mut Pair, act: impl FnOnce(&mut Pair) -> Result<T>) -> Result<(T, Duration)> {
    let before = cpu(&pair.sender)? + cpu(&pair.receiver)?;
    let done = act(pair)?;
    index(&mut pair.sender)?;
    index(&mut pair.receiver)?;
    Ok((done, cpu(&pair.sender)? + cpu(&pair.receiver)? - before))
}

/// One text after the other: the times, what they cost, and the share of the cores used.
fn turn(room: &mut Room, turns: u64) -> Result<(Vec<Screens>, Cost, f64)> {
    room.index()?;
    let (before, start) = (room.cpu()?, Instant::now());
    let (author, others) = room.author()?;
    let screens = in_turn(author, others, turns)?;
    let took = start.elapsed();
    let busy = (room.cpu()? - before).as_secs_f64();
    // What is said of it afterwards is a part of what it costs.
    room.wait_until_even()?;
    room.index()?;
    let spent = room.cpu()? - before;
    let cores = std::thread::available_parallelism()?.get();
    let share = busy / took.as_secs_f64() / cores as f64 * 100.0;
    Ok((screens, Cost { cpu: spent, took: start.elapsed(), texts: turns }, share))
}

fn median(all: &[Screens], of: impl Fn(&Screens) -> Duration) -> Duration {
    let mut times: Vec<Duration> = all.iter().map(of).collect();
    quantile(&mut times, 0.5)
}

fn micros(cpu: Duration, of: u64) -> f64 {
    cpu.as_secs_f64() * 1e6 / of as f64
}
