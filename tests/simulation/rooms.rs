//! Rooms alone: some members with their journals, links that break, disks that fail, programs that die and come back with
//! an older journal, owners who invite and remove, and members who lie. What the laws of rooms promise must hold.
//!
//! ```text
//! PEERCHAT_SEED=123 cargo test --test simulation -- --nocapture rooms::replay
//! PEERCHAT_SEEDS=0..100000 cargo test --profile long --test simulation -- --nocapture --ignored rooms::long
//! PEERCHAT_SEED=123 cargo test --test simulation -- --nocapture rooms::frozen_replay
//! PEERCHAT_SEEDS=0..100000 cargo test --profile long --test simulation -- --nocapture --ignored rooms::frozen_long
//! ```

use mutation::Mutation;
use world::{About, World};

use super::seeds::{self, Outcome, Simulation};

mod check;
mod frozen;
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
        Mutation::Freezing,
        Mutation::Nothing,
    ]))
}

/// How many seeds the ordinary test of rooms that freeze has.
const FREEZING: u64 = 4;

/// Whether members lie.
fn lies(seed: u64) -> bool {
    seed % 4 == 3
}

fn run(seed: u64, mutation: Option<Mutation>, verbose: bool) -> Outcome {
    live(World::new(seed, mutation, if lies(seed) { About::Liars } else { About::Faults }, verbose))
}

/// In a storm in which the room may freeze.
fn run_freezing(seed: u64, mutation: Option<Mutation>, verbose: bool) -> Outcome {
    live(World::new(seed, mutation, About::Freezing, verbose))
}

fn live(mut world: World) -> Outcome {
    let problem = seeds::problem(|| world.live());
    Outcome { stats: world.stats.clone(), problem, trace: world.rng.u64(..) }
}

fn simulation<R: Fn(u64) -> Outcome>(run: R) -> Simulation<R> {
    Simulation { name: "rooms::", run }
}

fn freezing<R: Fn(u64) -> Outcome>(run: R) -> Simulation<R> {
    Simulation { name: "rooms::frozen_", run }
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
fn rooms_freeze() {
    freezing(|seed| run_freezing(seed, None, false)).hold(0..FREEZING);
}

#[test]
fn frozen_replay() {
    let mutation = asked();
    freezing(|seed| run_freezing(seed, mutation, true)).replay();
}

#[test]
fn a_seed_decides_how_a_room_freezes() {
    freezing(|seed| run_freezing(seed, None, false)).is_decided_by_its_seed();
}

#[test]
#[ignore = "takes as long as one likes"]
fn frozen_long() {
    let mutation = asked();
    freezing(|seed| run_freezing(seed, mutation, false)).long(|_| true);
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
fn small_rooms_freeze() {
    simulation(|seed| run(seed, Some(Mutation::Freezing), false)).hold(0..CONTROL_SEEDS);
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
