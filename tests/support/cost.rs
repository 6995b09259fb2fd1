//! What an attack costs its victim.

use std::fs;
use std::path::Path;

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
