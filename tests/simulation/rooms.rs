//! Rooms alone: some members with their journals, links that break, disks that fail, programs that die and come back with
//! an older journal, owners who invite and remove, and members who lie. What the laws of rooms promise must hold.
//!
//! ```text
//! PEERCHAT_SEED=123 cargo test --test simulation -- --nocapture rooms::replay
//! PEERCHAT_SEEDS=0..100000 cargo test --profile long --test simulation -- --nocapture --ignored rooms::long
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use world::{Stats, World};

mod check;
mod world;

/// How long the ordinary test goes on.
const ORDINARY: Duration = Duration::from_secs(10);

struct Outcome {
    stats: Stats,
    problem: Option<String>,
}

fn run(seed: u64, verbose: bool) -> Outcome {
    let mut world = World::new(seed, verbose);
    let lived = catch_unwind(AssertUnwindSafe(|| world.live()));
    let problem = match lived {
        Ok(lived) => lived.err(),
        Err(_) => Some("a panic".into()),
    };
    Outcome { stats: world.stats.clone(), problem }
}

#[test]
fn all_members_have_the_same() {
    let start = Instant::now();
    let mut seeds = 0;
    for seed in 0.. {
        if let Some(problem) = run(seed, false).problem {
            panic!(
                "seed {seed}: {problem}\nPEERCHAT_SEED={seed} cargo test --test simulation -- --nocapture rooms::replay"
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
    let outcome = run(seed, true);
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
    for seed in from..to {
        let outcome = run(seed, false);
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
