//! Programs under `strace`, which kills them at a certain system call or makes one fail.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

/// Whether programs can be traced here. Says so if not.
pub fn possible() -> bool {
    let tried = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    let possible = tried.is_ok_and(|status| status.success());
    if !possible {
        println!("skipped: there is no strace here, or it is not permitted");
    }
    possible
}

/// `program` under strace, which writes to `log` what it calls, and does to it what `inject` says
/// (in strace's words; it counts the calls of each thread by themselves).
pub fn traced(program: &Command, log: &Path, inject: Option<&str>) -> Command {
    let mut strace = Command::new("strace");
    // With -D the program is the child that is waited for and killed, and strace its own grandchild.
    // It would be faster with --seccomp-bpf, but then it injects no signals.
    strace.args(["-D", "-f", "-qq", "-o"]).arg(log);
    let calls = inject.and_then(|inject| inject.split(':').next()).unwrap_or(CALLS);
    strace.arg("-e").arg(format!("trace={calls}")).args(["-e", "signal=none"]);
    if let Some(inject) = inject {
        strace.arg("-e").arg(format!("inject={inject}"));
    }
    strace.arg(program.get_program()).args(program.get_args()).env_remove("RUST_LOG");
    strace.env("XDG_CONFIG_HOME", "/nowhere");
    strace
}

/// Everything that changes a file, and everything that another process can see.
pub const CALLS: &str = "pwrite64,fdatasync,fsync,ftruncate,unlink,rename,sendto,write";

/// How often each call was made by the thread that made it most.
pub fn counts(log: &Path) -> BTreeMap<String, usize> {
    let mut by_thread = BTreeMap::<_, usize>::new();
    for line in std::fs::read_to_string(log).unwrap().lines() {
        let mut words = line.split_whitespace();
        if let (Some(thread), Some(word)) = (words.next(), words.next())
            && let Some((call, _)) = word.split_once('(')
        {
            *by_thread.entry((thread.to_owned(), call.to_owned())).or_default() += 1;
        }
    }
    let mut counts = BTreeMap::new();
    for ((_, call), count) in by_thread {
        let most = counts.entry(call).or_default();
        *most = count.max(*most);
    }
    counts
}

/// Where to inject: about `most` of the places, evenly, or all of them if `PEERCHAT_SWEEP=all`.
pub fn places(counts: &BTreeMap<String, usize>, most: usize) -> Vec<(String, usize)> {
    let all: Vec<_> =
        counts.iter().flat_map(|(call, count)| (1..=*count).map(|at| (call.clone(), at))).collect();
    let step = if std::env::var_os("PEERCHAT_SWEEP").is_some() { 1 } else { all.len().div_ceil(most).max(1) };
    println!("{} places, every {step}. of them", all.len());
    all.into_iter().step_by(step).collect()
}
