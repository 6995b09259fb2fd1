//! Several discoveries alone, over one ledger: nodes that hang, die and are taken for lost, a database that goes away,
//! does not say what became of a commit, or forgets what it had not acknowledged, and clients that go from one node to
//! another. What a client was told must hold.
//!
//! ```text
//! PEERCHAT_SEED=123 cargo test --test simulation -- --nocapture nodes::replay
//! PEERCHAT_SEEDS=0..100000 cargo test --profile long --test simulation -- --nocapture --ignored nodes::long
//! ```

use std::time::Duration;

use mutation::Mutation;
use world::World;

use super::seeds::{self, Outcome, Simulation};

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

fn run(seed: u64, mutation: Option<Mutation>, verbose: bool) -> Outcome {
    let mut world = World::new(seed, mutation, verbose);
    let problem = seeds::problem(|| world.live());
    Outcome { stats: world.stats.clone(), problem, trace: world.rng.u64(..) }
}

fn simulation<R: Fn(u64) -> Outcome>(run: R) -> Simulation<R> {
    Simulation { name: "nodes::", run }
}

#[test]
fn nodes_agree_and_keep_what_they_said() {
    simulation(|seed| run(seed, None, false)).hold_for(ORDINARY, 0..);
}

#[test]
fn replay() {
    let mutation = seeds::asked(Mutation::ALL.into_iter());
    simulation(|seed| run(seed, mutation, true)).replay();
}

#[test]
fn a_seed_decides_everything() {
    simulation(|seed| run(seed, None, false)).is_decided_by_its_seed();
}

#[test]
#[ignore = "takes as long as one likes"]
fn long() {
    let mutation = seeds::asked(Mutation::ALL.into_iter());
    simulation(|seed| run(seed, mutation, false)).long(|_| true);
}

#[test]
fn every_broken_law_is_noticed() {
    seeds::expect_noticed(Mutation::ALL, MUTANT_SEEDS, |seed, it| run(seed, Some(it), false));
}
