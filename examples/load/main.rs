//! Puts the real discovery server under load, on loopback and from this one process, and measures.
//!
//! ```text
//! cargo run --release --example load -- clients [N=10000]    N clients online: memory, look-ups, pushes
//! cargo run --release --example load -- storm [N=5000]       N clients lose discovery and come back
//! cargo run --release --example load -- slow [N=1000]        N sockets that say nothing, or a byte a second
//! cargo run --release --example load -- flood [N=20000]      N connections, far above the cap
//! cargo run --release --example load -- stalled              a client that does not read what it is sent
//! cargo run --release --example load -- lookups [SECONDS=5]  50 clients that ask, then a 51st that floods
//! cargo run --release --example load -- all                  each of them
//! ```
//!
//! Each takes about a minute at most and ends by itself, with an error and a status that is not 0 if anything
//! does not hold. What has to hold is written where it is checked; figures that depend on the machine are
//! printed and only checked against bounds that are generous.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

mod clients;
mod crowd;
mod figures;
mod flood;
mod lookups;
mod server;
mod slow;
mod stalled;
mod storm;

use figures::{ms, quantile, spread};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nIt does not hold: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().context("what? clients, storm, slow, flood, stalled, lookups or all")?;
    let number = arguments.next().map(|number| number.parse::<usize>()).transpose();
    let number = number.context("the second argument is a number")?;
    ensure!(arguments.next().is_none(), "one number at most");
    rlimit::increase_nofile_limit(u64::MAX).context("can't raise the limit of descriptors")?;
    let programs = build()?;
    let programs = programs.as_path();
    println!("{}", server::machine()?);
    match what.as_str() {
        "clients" => timed(|| clients::run(programs, number.unwrap_or(10_000))),
        "storm" => timed(|| storm::run(programs, number.unwrap_or(5000)).map(drop)),
        "slow" => timed(|| slow::run(programs, number.unwrap_or(1000))),
        "flood" => timed(|| flood::run(programs, number.unwrap_or(20_000))),
        "stalled" => timed(|| stalled::run(programs)),
        "lookups" => timed(|| lookups::run(programs, number.unwrap_or(5))),
        "all" => {
            timed(|| clients::run(programs, 10_000))?;
            timed(|| storm::run(programs, 5000).map(drop))?;
            timed(|| slow::run(programs, 1000))?;
            timed(|| flood::run(programs, 20_000))?;
            timed(|| stalled::run(programs))?;
            timed(|| lookups::run(programs, 5))
        }
        other => bail!("there is no {other}"),
    }
}

/// Runs one of them and says how busy this process was: a generator without time to spare measures itself.
fn timed(run: impl FnOnce() -> Result<()>) -> Result<()> {
    let (start, busy) = (Instant::now(), server::cpu("self")?);
    run()?;
    let (took, busy) = (start.elapsed().as_secs_f64(), server::cpu("self")?.saturating_sub(busy));
    println!("   held, in {took:.1} s; this load generator used {:.1} s of CPU time", busy.as_secs_f64());
    Ok(())
}

/// Builds discovery the way this was built, and says where it is.
fn build() -> Result<PathBuf> {
    let own = std::env::current_exe().context("where is this program?")?;
    let directory = own.parent().and_then(Path::parent).context("not in a target directory")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--bin", "discovery"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    ensure!(build.status().context("cargo does not run")?.success(), "discovery can't be built");
    Ok(directory.to_owned())
}
