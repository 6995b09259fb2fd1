//! What an attack costs its victim.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// How many ticks of `/proc` a second has, on any Linux that this runs on.
const TICKS: u64 = 100;

/// How many bytes the files of a directory take, with those below it.
pub fn disk(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => disk(&entry.path()),
        Ok(metadata) => metadata.len(),
        // A journal's log comes and goes.
        Err(_) => 0,
    };
    entries.map(size).sum()
}

/// How much memory a process has, in bytes.
pub fn memory(pid: &str) -> u64 {
    figure(pid, "VmRSS:") * 1024
}

/// How many threads it has.
pub fn threads(pid: &str) -> u64 {
    figure(pid, "Threads:")
}

fn figure(pid: &str, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// How much time of a processor it has used.
pub fn cpu(pid: &str) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // What stands before is its name, which may hold anything.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = |place: usize| fields.split_whitespace().nth(place).unwrap().parse::<u64>().unwrap();
    Duration::from_millis((ticks(11) + ticks(12)) * 1000 / TICKS)
}
