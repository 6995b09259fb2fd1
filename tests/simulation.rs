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
    pub mod seeds;
    pub mod server;
    pub mod snapshot;
    pub mod storm;
    pub mod strangers;
    pub mod twin;
    pub mod typing;
    pub mod wire;
    pub mod world;
}

use std::time::Duration;

use simulation::mutation::Mutation;
use simulation::seeds::{self, Outcome, Simulation};
use simulation::world::World;

/// How long the ordinary test goes on.
const ORDINARY: Duration = Duration::from_secs(15);

/// Within how many seeds a broken rule must be noticed.
const MUTANT_SEEDS: u64 = 40;

/// How many seeds of the networks in which these are looked for break nothing by themselves.
const CONTROL_SEEDS: u64 = 6;

/// Seeds that have found something. They show it only as long as the simulation draws the same from them;
/// `simulation::lessons` has the same things for good.
const FOUND: [u64; 8] = [4, 12, 30, 40, 85, 1894, 4354, 5205];

fn run(seed: u64, mutation: Option<Mutation>, verbose: bool, hashing: bool) -> Outcome {
    let mut world = World::new(seed, mutation);
    (world.verbose, world.hashing) = (verbose, hashing);
    let problem = seeds::problem(|| world.live());
    world.count_the_rest();
    Outcome { trace: world.fingerprint(), stats: world.stats.clone(), problem }
}

fn simulation<R: Fn(u64) -> Outcome>(run: R) -> Simulation<R> {
    Simulation { name: "", run }
}

#[test]
fn nothing_is_lost_doubled_or_reordered() {
    simulation(|seed| run(seed, None, false, false)).hold_for(ORDINARY, FOUND.into_iter().chain(0..));
}

#[test]
fn replay() {
    let mutation = seeds::asked(Mutation::ALL.into_iter().chain([Mutation::Nothing]));
    simulation(|seed| run(seed, mutation, true, true)).replay();
}

#[test]
fn a_seed_decides_everything() {
    simulation(|seed| run(seed, None, false, true)).is_decided_by_its_seed();
}

#[test]
fn every_broken_rule_is_noticed() {
    seeds::expect_noticed(Mutation::ALL, MUTANT_SEEDS, |seed, it| run(seed, Some(it), false, false));
}

/// Where rules about routers are broken, it is the broken rule that is noticed.
#[test]
fn routers_alone_break_nothing() {
    simulation(|seed| run(seed, Some(Mutation::Nothing), false, false)).hold(0..CONTROL_SEEDS);
}

#[test]
#[ignore = "takes as long as one likes"]
fn long() {
    // Networks among routers alone.
    let mutation = std::env::var_os("PEERCHAT_ROUTERS").map(|_| Mutation::Nothing);
    simulation(|seed| run(seed, mutation, false, false)).long(|_| true);
}
