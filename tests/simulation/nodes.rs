//! Several discoveries alone, over one ledger: nodes that hang, die and are taken for lost, a database that goes away,
//! does not say what became of a commit, or forgets what it had not acknowledged, and clients that go from one node to
//! another. What a client was told must hold.
//!
//! ```text
//! PEERCHAT_SEED=123 cargo test --test simulation -- --nocapture nodes::replay
//! PEERCHAT_SEEDS=0..100000 cargo test --profile long --test simulation -- --nocapture --ignored nodes::long
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use mutation::Mutation;
use world::{Stats, World};

mod check;
mod clerk;
mod client;
mod engine;
mod lookout;
mod mutation;
mod node;
mod oracle;
mod storm;
mod world;

/// How long the ordinary test goes on.
const ORDINARY: Duration = Duration::from_secs(6);

/// Within how many seeds a broken law must be noticed.
const MUTANT_SEEDS: u64 = 60;

struct Outcome {
    stats: Stats,
    problem: Option<String>,
    trace: u64,
}

/// The broken law that is asked for.
fn mutation() -> Option<Mutation> {
    let only = std::env::var("PEERCHAT_MUTATION").ok()?;
    Mutation::ALL.into_iter().find(|it| format!("{it:?}") == only)
}

fn run(seed: u64, mutation: Option<Mutation>, verbose: bool) -> Outcome {
    let mut world = World::new(seed, mutation, verbose);
    let lived = catch_unwind(AssertUnwindSafe(|| world.live()));
    let problem = match lived {
        Ok(lived) => lived.err(),
        Err(_) => Some("a panic".into()),
    };
    Outcome { stats: world.stats.clone(), problem, trace: world.rng.u64(..) }
}

#[test]
fn nodes_agree_and_keep_what_they_said() {
    let start = Instant::now();
    let mut seeds = 0;
    for seed in 0.. {
        if let Some(problem) = run(seed, None, false).problem {
            panic!(
                "seed {seed}: {problem}\nPEERCHAT_SEED={seed} cargo test --test simulation -- --nocapture nodes::replay"
            );
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
    let Some(seed) = super::super::number("PEERCHAT_SEED") else {
        return;
    };
    let outcome = run(seed, mutation(), true);
    println!("{:?}", outcome.stats.0);
    assert_eq!(outcome.problem, None, "seed {seed}");
}

#[test]
fn a_seed_decides_everything() {
    for seed in 0..3 {
        assert_eq!(run(seed, None, false).trace, run(seed, None, false).trace, "seed {seed}");
    }
}

#[test]
#[ignore = "takes as long as one likes"]
fn long() {
    let range = std::env::var("PEERCHAT_SEEDS").unwrap_or_else(|_| "0..1000".into());
    let (from, to) = range.split_once("..").unwrap_or(("0", &range));
    let (from, to): (u64, u64) = (from.parse().unwrap(), to.parse().unwrap());
    let start = Instant::now();
    let (mut all, mut failed) = (Stats::default(), Vec::new());
    for seed in from..to {
        let outcome = run(seed, mutation(), false);
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
    let only = mutation();
    let mut unnoticed = Vec::new();
    for mutation in Mutation::ALL.into_iter().filter(|it| only.is_none_or(|only| only == *it)) {
        let start = Instant::now();
        let found = (0..MUTANT_SEEDS)
            .find_map(|seed| run(seed, Some(mutation), false).problem.map(|what| (seed, what)));
        let took = start.elapsed().as_secs_f64();
        match found {
            Some((seed, what)) => println!("{mutation:?}: seed {seed}, {took:.1} s: {what}"),
            None => unnoticed.push(mutation),
        }
    }
    assert_eq!(unnoticed, []);
}
