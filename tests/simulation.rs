//! A whole network in one thread, from one seed: a discovery and some clients, a clock of their own, links
//! that break, disks that fail, programs that die at any step. What was promised must hold.
//!
//! ```text
//! cargo test --test simulation                                             # a bounded number of seeds
//! PEERCHAT_SEED=123 cargo test --test simulation -- --nocapture replay     # one of them, with all that happens
//! PEERCHAT_SEEDS=0..1000000 cargo test --profile long --test simulation -- --nocapture --ignored long
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "support/ledger.rs"]
mod ledger;

mod simulation {
    pub mod client;
    pub mod dial;
    pub mod disk;
    mod lessons;
    pub mod mutation;
    mod nodes;
    pub mod oracle;
    pub mod past;
    pub mod peace;
    pub mod reach;
    mod rooms;
    pub mod server;
    pub mod snapshot;
    pub mod storm;
    pub mod strangers;
    pub mod twin;
    pub mod typing;
    pub mod wire;
    pub mod world;
}

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use simulation::mutation::Mutation;
use simulation::world::{Stats, World};

/// How long the ordinary test goes on.
const ORDINARY: Duration = Duration::from_secs(15);

/// Within how many seeds a broken rule must be noticed.
const MUTANT_SEEDS: u64 = 40;

/// How many seeds of the networks in which these are looked for break nothing by themselves.
const CONTROL_SEEDS: u64 = 6;

/// How many broken rules are looked for at once.
const MUTANT_THREADS: usize = 2;

/// Seeds that have found something. They show it only as long as the simulation draws the same from them;
/// `simulation::lessons` has the same things for good.
const FOUND: [u64; 8] = [4, 12, 30, 40, 85, 1894, 4354, 5205];

/// What came of a seed.
struct Outcome {
    stats: Stats,
    problem: Option<String>,
    trace: u64,
}

fn run(seed: u64, mutation: Option<Mutation>, verbose: bool, hashing: bool) -> Outcome {
    let mut world = World::new(seed, mutation);
    (world.verbose, world.hashing) = (verbose, hashing);
    let lived = catch_unwind(AssertUnwindSafe(|| world.live()));
    let problem = match lived {
        Ok(lived) => lived.err(),
        Err(_) => Some("a panic".into()),
    };
    world.count_the_rest();
    Outcome { trace: world.fingerprint(), stats: world.stats.clone(), problem }
}

fn replay_command(seed: u64) -> String {
    format!("PEERCHAT_SEED={seed} cargo test --test simulation -- --nocapture replay")
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn nothing_is_lost_doubled_or_reordered() {
    let start = Instant::now();
    let mut seeds = 0;
    for seed in FOUND.into_iter().chain(0..) {
        let outcome = run(seed, None, false, false);
        if let Some(problem) = outcome.problem {
            panic!("seed {seed}: {problem}\nto see all of it: {}", replay_command(seed));
        }
        seeds += 1;
        if start.elapsed() >= ORDINARY {
            break;
        }
    }
    println!("{seeds} seeds");
}

#[test]
fn replay() {
    let Some(seed) = number("PEERCHAT_SEED") else {
        return;
    };
    let only = std::env::var("PEERCHAT_MUTATION").ok();
    let mutation = only.and_then(|only| {
        Mutation::ALL.into_iter().chain([Mutation::Nothing]).find(|it| format!("{it:?}") == only)
    });
    let outcome = run(seed, mutation, true, true);
    println!("{:?}", outcome.stats.0);
    assert_eq!(outcome.problem, None, "seed {seed}");
}

#[test]
fn a_seed_decides_everything() {
    for seed in 0..3 {
        assert_eq!(run(seed, None, false, true).trace, run(seed, None, false, true).trace, "seed {seed}");
    }
}

/// Each broken rule is noticed, and soon. How many seeds it took is printed.
#[test]
fn every_broken_rule_is_noticed() {
    let only = std::env::var("PEERCHAT_MUTATION").ok();
    let wanted = |mutation: &Mutation| only.as_ref().is_none_or(|only| format!("{mutation:?}") == *only);
    let mutations = Mutex::new(Mutation::ALL.into_iter().filter(wanted));
    let next = || mutations.lock().unwrap().next();
    let unnoticed = Mutex::new(Vec::new());
    let work = || {
        while let Some(mutation) = next() {
            let start = Instant::now();
            let found = (0..MUTANT_SEEDS)
                .find_map(|seed| run(seed, Some(mutation), false, false).problem.map(|what| (seed, what)));
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

/// Where rules about routers are broken, it is the broken rule that is noticed.
#[test]
fn routers_alone_break_nothing() {
    for seed in 0..CONTROL_SEEDS {
        assert_eq!(run(seed, Some(Mutation::Nothing), false, false).problem, None, "seed {seed}");
    }
}

#[test]
#[ignore = "takes as long as one likes"]
fn long() {
    let range = std::env::var("PEERCHAT_SEEDS").unwrap_or_else(|_| "0..1000".into());
    let (from, to) = range.split_once("..").unwrap_or(("0", &range));
    let (from, to): (u64, u64) = (from.parse().unwrap(), to.parse().unwrap());
    // Networks among routers alone.
    let mutation = std::env::var_os("PEERCHAT_ROUTERS").map(|_| Mutation::Nothing);
    let start = Instant::now();
    let mut all = Stats::default();
    let mut failed = Vec::new();
    for seed in from..to {
        let outcome = run(seed, mutation, false, false);
        outcome.stats.0.iter().for_each(|(what, count)| *all.0.entry(what).or_default() += count);
        if let Some(problem) = outcome.problem {
            println!("seed {seed}: {problem}\n    {}", replay_command(seed));
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
