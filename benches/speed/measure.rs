//! What makes two figures comparable: where they were measured, beside what other load, and how often.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// How many rounds count.
const ROUNDS: usize = 3;
/// How many are tried until so many were quiet.
const TRIES: usize = 8;
/// The share of all cores that others may use in a round that counts.
const MOST_OTHERS: f64 = 0.10;
/// The most that a measurement may take: then every program that it started is killed, and it fails.
const LIMIT: Duration = Duration::from_secs(600);
/// What `/proc` counts CPU time in, on every Linux.
const TICKS: f64 = 100.0;
/// How long a program may take to end by itself.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

/// The core of the sender: a client, or the one server that is under load.
pub const FIRST: usize = 0;
/// The core of the receiver, or of the generator that loads a server.
pub const SECOND: usize = 1;

/// Runs `start` on one core (the first, second, ... that this process may use). What it spawns stays there.
pub fn pinned<R: Send>(core: usize, start: impl FnOnce() -> Result<R> + Send) -> Result<R> {
    let allowed = sched_getaffinity(None)?;
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
    let own = *cores.get(core % cores.len().max(1)).context("no core")?;
    thread::scope(|scope| {
        let pin = move || {
            let mut set = CpuSet::new();
            set.set(own);
            sched_setaffinity(None, &set).context("can't choose a core")?;
            start()
        };
        scope.spawn(pin).join().map_err(|_| anyhow::anyhow!("a thread panicked"))?
    })
}

/// The rounds that count.
pub struct Rounds<T> {
    pub kept: Vec<T>,
    /// Others used the cores in at least one of them.
    pub disturbed: bool,
}

/// Repeats a comparison until enough rounds were quiet. With `keep` every round counts; without, they do only
/// if there was no quiet one.
pub fn rounds<T>(keep: bool, mut round: impl FnMut(usize) -> Result<T>) -> Result<Rounds<T>> {
    let (mut quiet, mut loud) = (Vec::new(), Vec::new());
    for number in 0..TRIES {
        let before = Usage::now()?;
        let done = round(number)?;
        let others = Usage::now()?.others_since(&before);
        let is_quiet = others <= MOST_OTHERS;
        println!(
            "   round {}: others used {:.0} % of the cores{}",
            number + 1,
            others * 100.0,
            if is_quiet || keep { "" } else { "; it does not count" }
        );
        if is_quiet {
            quiet.push(done)
        } else {
            loud.push(done)
        }
        if quiet.len() == ROUNDS || (keep && quiet.len() + loud.len() == ROUNDS) {
            break;
        }
    }
    let disturbed = !loud.is_empty() && (keep || quiet.is_empty());
    if disturbed {
        quiet.append(&mut loud);
    }
    Ok(Rounds { kept: quiet, disturbed })
}

impl<T> Rounds<T> {
    /// The middle one of what the rounds say.
    pub fn median(&self, of: impl Fn(&T) -> f64) -> f64 {
        let mut all: Vec<f64> = self.kept.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or_default()
    }
}

/// CPU time so far.
struct Usage {
    at: Instant,
    /// Of all processes.
    all: f64,
    /// Of this process and all that it, and what it has started, has started.
    own: f64,
    cores: f64,
}

impl Usage {
    fn now() -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat")?;
        let cores = stat.lines().filter(|line| line.starts_with("cpu")).count().saturating_sub(1);
        let all: Vec<f64> =
            stat.split_whitespace().skip(1).take(8).filter_map(|field| field.parse().ok()).collect();
        // Not idle, waiting for the disk, or at the service of interrupts, which belong to no process.
        let busy = [0, 1, 2, 7].iter().filter_map(|place| all.get(*place)).sum::<f64>() / TICKS;
        let own = std::process::id().to_string();
        let times = descendants()?.iter().map(|pid| spent(&pid.to_string())).sum::<f64>() + spent(&own);
        Ok(Self { at: Instant::now(), all: busy, own: times, cores: cores as f64 })
    }

    /// The share of the cores that neither this process nor what it started has used since.
    fn others_since(&self, before: &Self) -> f64 {
        let there = self.at.duration_since(before.at).as_secs_f64() * self.cores;
        ((self.all - before.all) - (self.own - before.own)).max(0.0) / there
    }
}

/// CPU seconds of a process and of its children that have ended; none if it has ended itself.
fn spent(pid: &str) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after = stat.rsplit(") ").next().unwrap_or_default();
    after.split(' ').skip(11).take(4).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / TICKS
}

/// The processes that this one has started, and those that they have.
fn descendants() -> Result<Vec<i32>> {
    of(i32::try_from(std::process::id())?)
}

/// CPU time of a process and of all that it has started.
pub fn cpu_of_all(pid: u32) -> Result<Duration> {
    let pid = i32::try_from(pid)?;
    let all = of(pid)?.iter().map(|pid| spent(&pid.to_string())).sum::<f64>() + spent(&pid.to_string());
    Ok(Duration::from_secs_f64(all))
}

/// What a process has started, and so on.
fn of(root: i32) -> Result<Vec<i32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat.rsplit(") ").next().and_then(|after| after.split(' ').nth(1));
        parents.extend(parent.and_then(|parent| parent.parse::<i32>().ok()).map(|parent| (pid, parent)));
    }
    let mut found = vec![root];
    let mut at = 0;
    while let Some(&next) = found.get(at) {
        found.extend(parents.iter().filter(|(_, parent)| *parent == next).map(|(pid, _)| *pid));
        at += 1;
    }
    found.remove(0);
    Ok(found)
}

/// Kills whatever this process has started: everything that waits for it fails then.
pub fn kill_children() {
    for pid in descendants().unwrap_or_default().into_iter().filter_map(Pid::from_raw) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Runs a measurement, which can't hang: a client or server that says nothing is killed in the end.
pub fn bounded<R>(run: impl FnOnce() -> Result<R>) -> Result<R> {
    let (over, watched) = mpsc::channel::<()>();
    let watch = thread::spawn(move || {
        if watched.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("It takes more than {} s and is ended.", LIMIT.as_secs());
            kill_children();
        }
    });
    let done = run();
    drop(over);
    let _ = watch.join();
    done
}

/// Does one half of an exchange; where it fails, the other half is not left waiting.
pub fn or_kill<R>(run: impl FnOnce() -> Result<R>) -> Result<R> {
    let done = run();
    if done.is_err() {
        kill_children();
    }
    done
}

/// Waits for a program to end by itself, and well.
pub fn ended(child: &mut Child, what: &str) -> Result<()> {
    let deadline = Instant::now() + ENDS_WITHIN;
    loop {
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "{what} ended with {status}");
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{what} does not end");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Where the databases of both sides are: beside what cargo builds. A file system in memory has no syncs, and
/// figures from there mean nothing.
pub fn directory() -> Result<PathBuf> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(directory)?;
    let directory = directory.canonicalize()?;
    let mounts = fs::read_to_string("/proc/mounts")?;
    let mount = mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            Some((fields.next()?, fields.next()?, fields.next()?))
        })
        .filter(|(_, at, _)| directory.starts_with(at))
        .max_by_key(|(_, at, _)| at.len());
    let (device, _, kind) = mount.context("on which file system?")?;
    println!("databases are in {} ({kind} on {device})", directory.display());
    ensure!(
        !matches!(kind, "tmpfs" | "ramfs"),
        "that is in memory; set CARGO_TARGET_DIR to a directory on a disk"
    );
    Ok(directory)
}

/// How a figure is judged.
#[derive(Clone, Copy)]
pub enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// Said for comparison only.
    None,
}

/// A line of the last table.
#[derive(Clone)]
pub struct Row {
    pub id: &'static str,
    pub what: String,
    pub reached: String,
    pub against: String,
    pub ratio: f64,
    pub goal: Goal,
    pub disturbed: bool,
}

impl Row {
    /// CPU time, in microseconds: it says something where others use the cores, too.
    pub fn cpu(id: &'static str, what: &str, own: f64, against: &str, other: f64, disturbed: bool) -> Self {
        Self {
            id,
            what: format!("{what}, CPU time of the busiest"),
            reached: format!("{own:.1} µs"),
            against: format!("{against} {other:.1} µs"),
            ratio: other / own,
            goal: Goal::None,
            disturbed,
        }
    }
}

/// Prints the lines; the shape is that of a table in `docs/performance.md`.
pub fn print(rows: &[Row]) {
    println!(
        "\n| # | what | reached | against | ratio | goal | |\n| --- | --- | --- | --- | --- | --- | --- |"
    );
    for Row { id, what, reached, against, ratio, goal, disturbed } in rows {
        let (goal, holds) = match goal {
            Goal::AtLeast(least) => (format!("≥ {least}"), Some(ratio >= least)),
            Goal::AtMost(most) => (format!("≤ {most}"), Some(ratio <= most)),
            Goal::None => (String::new(), None),
        };
        let holds = holds.map_or("-", |holds| if holds { "ok" } else { "not yet" });
        let note = if *disturbed { " (disturbed)" } else { "" };
        println!("| {id} | {what} | {reached} | {against} | {ratio:.3} | {goal} | {holds}{note} |");
    }
}

/// So many a second, as a person reads it.
pub fn per_second(rate: f64) -> String {
    if rate >= 10_000.0 { format!("{:.1}k/s", rate / 1000.0) } else { format!("{rate:.0}/s") }
}
