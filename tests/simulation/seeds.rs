//! How simulations are run: on some seeds, on one with all that happens, on very many, and with rules that are broken on
//! purpose.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

/// How many broken rules are looked for at once.
const THREADS: usize = 2;
/// How many seeds that find something are enough.
const ENOUGH: usize = 20;

/// What is counted.
#[derive(Default, Clone, Debug)]
pub struct Stats(pub BTreeMap<&'static str, u64>);

impl Stats {
    pub fn add(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    /// Something has gone wrong on purpose.
    pub fn fault(&mut self, what: &'static str) {
        self.add(what);
        self.add("faults");
    }
}

/// What came of a seed.
pub struct Outcome {
    pub stats: Stats,
    pub problem: Option<String>,
    /// The same for the same seed.
    pub trace: u64,
}

/// What was wrong in a life, if anything was.
pub fn problem(live: impl FnOnce() -> Result<(), String>) -> Option<String> {
    match catch_unwind(AssertUnwindSafe(live)) {
        Ok(lived) => lived.err(),
        Err(_) => Some("a panic".into()),
    }
}

/// The broken rule that is asked for, of these.
pub fn asked<M: Debug>(mut all: impl Iterator<Item = M>) -> Option<M> {
    let only = std::env::var("PEERCHAT_MUTATION").ok()?;
    all.find(|it| format!("{it:?}") == only)
}

/// One simulation; `name` is that of its tests.
pub struct Simulation<R> {
    pub name: &'static str,
    pub run: R,
}

impl<R: Fn(u64) -> Outcome> Simulation<R> {
    pub fn hold(&self, seeds: impl Iterator<Item = u64>) {
        let mut count = 0;
        for seed in seeds {
            if let Some(problem) = (self.run)(seed).problem {
                panic!("seed {seed}: {problem}\nto see all of it: {}", self.replay_command(seed));
            }
            count += 1;
        }
        println!("{count} seeds");
    }

    /// As many seeds as fit into this time.
    pub fn hold_for(&self, time: Duration, seeds: impl Iterator<Item = u64>) {
        let start = Instant::now();
        self.hold(seeds.take_while(|_| start.elapsed() < time));
    }

    /// The seed that is asked for.
    pub fn replay(&self) {
        let Some(seed) = std::env::var("PEERCHAT_SEED").ok().and_then(|seed| seed.parse().ok()) else {
            return;
        };
        let outcome = (self.run)(seed);
        println!("{:?}", outcome.stats.0);
        assert_eq!(outcome.problem, None, "seed {seed}");
    }

    /// The seeds that are asked for and wanted.
    pub fn long(&self, wanted: impl Fn(&u64) -> bool) {
        let range = std::env::var("PEERCHAT_SEEDS").unwrap_or_else(|_| "0..1000".into());
        let (from, to) = range.split_once("..").unwrap_or(("0", &range));
        let (from, to): (u64, u64) = (from.parse().unwrap(), to.parse().unwrap());
        let start = Instant::now();
        let (mut all, mut failed) = (Stats::default(), Vec::new());
        for seed in (from..to).filter(wanted) {
            let outcome = (self.run)(seed);
            outcome.stats.0.iter().for_each(|(what, count)| *all.0.entry(what).or_default() += count);
            if let Some(problem) = outcome.problem {
                println!("seed {seed}: {problem}\n    {}", self.replay_command(seed));
                failed.push(seed);
                if failed.len() >= ENOUGH {
                    break;
                }
            }
        }
        println!("seeds {from}..{to} in {:.1} s", start.elapsed().as_secs_f64());
        all.0.iter().for_each(|(what, count)| println!("{count:>12} {what}"));
        assert_eq!(failed, Vec::<u64>::new());
    }

    pub fn is_decided_by_its_seed(&self) {
        for seed in 0..3 {
            assert_eq!((self.run)(seed).trace, (self.run)(seed).trace, "seed {seed}");
        }
    }

    fn replay_command(&self, seed: u64) -> String {
        format!("PEERCHAT_SEED={seed} cargo test --test simulation -- --nocapture {}replay", self.name)
    }
}

/// Each broken rule is noticed within so many seeds. How many it took is printed.
pub fn expect_noticed<M: Copy + Debug + PartialEq + Send>(
    all: impl IntoIterator<Item = M>,
    seeds: u64,
    run: impl Fn(u64, M) -> Outcome + Sync,
) {
    let only = std::env::var("PEERCHAT_MUTATION").ok();
    let wanted = |mutation: &M| only.as_ref().is_none_or(|only| format!("{mutation:?}") == *only);
    let mutations: Vec<M> = all.into_iter().filter(wanted).collect();
    let left = Mutex::new(mutations.into_iter());
    let next = || left.lock().unwrap().next();
    let unnoticed = Mutex::new(Vec::new());
    let work = || {
        while let Some(mutation) = next() {
            let start = Instant::now();
            let found = (0..seeds).find_map(|seed| run(seed, mutation).problem.map(|what| (seed, what)));
            let took = start.elapsed().as_secs_f64();
            match found {
                Some((seed, what)) => println!("{mutation:?}: seed {seed}, {took:.1} s: {what}"),
                None => unnoticed.lock().unwrap().push(mutation),
            }
        }
    };
    thread::scope(|scope| (0..THREADS).for_each(|_| _ = scope.spawn(work)));
    assert_eq!(unnoticed.into_inner().unwrap(), []);
}
