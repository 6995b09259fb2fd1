//! How fast the real programs are, beside programs that do nothing but the unavoidable work.
//!
//! ```text
//! cargo bench --bench speed                  all of S1 to S15
//! cargo bench --bench speed -- s1 s6         only these
//! cargo bench --bench speed -- peers         beside ngircd, mosquitto and Redis, where they are installed
//! cargo bench --bench speed -- s1 --keep     rounds count however busy others are
//! cargo bench --bench speed -- s11 --short   a tenth of the messages of S11 to S14 and of S15's users
//! ```
//!
//! Everything happens on loopback, is bounded and ends by itself. Every message is checked: once, and in order. What
//! is lost or fails ends it with a status that is not 0; a goal that is missed does not. What is measured, and how
//! to read it, stands in `docs/performance.md`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

use figures::{ms, quantile, spread};
use measure::{Goal, Row, per_second};
use server::Scratch;

mod bare;
mod chat;
mod fan;
mod handshakes;
mod latency;
mod measure;
mod nodes;
mod peers;
mod postgres;
mod reach;
mod relayed;
mod requests;
mod rooms;
mod screen;
mod stored;
mod stream;

#[allow(dead_code, reason = "shared with the example `load`, which uses the rest")]
#[path = "../../examples/load/clients.rs"]
mod clients;
#[allow(dead_code, reason = "shared with the example `load`, which uses the rest")]
#[path = "../../examples/load/crowd.rs"]
mod crowd;
#[path = "../../examples/load/figures.rs"]
mod figures;
#[allow(dead_code, reason = "shared with the example `load`, which uses the rest")]
#[path = "../../examples/load/server.rs"]
mod server;
#[allow(dead_code, reason = "shared with the example `load`, which uses the rest")]
#[path = "../../examples/load/storm.rs"]
mod storm;

/// How it is run.
pub struct Options {
    /// Where databases are.
    directory: PathBuf,
    /// Whether rounds count in which others used the cores.
    keep: bool,
    /// Whether a tenth of the messages is enough, where that was thought of.
    short: bool,
}

impl Options {
    /// So many messages, or fewer.
    fn scaled(&self, count: u64) -> u64 {
        if self.short { count / 10 } else { count }
    }

    fn scratch(&self, what: &str) -> Result<Scratch> {
        Scratch::within(&self.directory, what)
    }
}

/// Where the programs under test are.
fn programs() -> Result<&'static Path> {
    ensure!(Path::new(env!("CARGO_BIN_EXE_client")).exists(), "there is no client");
    Path::new(env!("CARGO_BIN_EXE_discovery")).parent().context("not in a directory")
}

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match bare::play(&arguments) {
        Some(played) => played,
        // Whatever else runs all targets (cargo test) wants to know that it builds.
        None if !arguments.iter().any(|argument| argument == "--bench") => {
            println!("cargo bench --bench speed measures");
            Ok(())
        }
        None => {
            arguments.retain(|argument| argument != "--bench");
            run(&arguments)
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            measure::kill_children();
            eprintln!("\nIt failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    ctrlc::set_handler(|| {
        measure::kill_children();
        // What was being measured fails now, and cleans up behind itself.
        std::thread::sleep(std::time::Duration::from_secs(1));
        std::process::exit(130);
    })?;
    rlimit::increase_nofile_limit(u64::MAX).context("can't raise the limit of descriptors")?;
    let has = |option: &str| arguments.iter().any(|argument| argument == option);
    let mut wanted: Vec<&str> = arguments
        .iter()
        .map(String::as_str)
        .filter(|argument| !["--keep", "--short"].contains(argument))
        .collect();
    if wanted.is_empty() || wanted == ["all"] {
        wanted = vec![
            "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "s12", "s13", "s14", "s15",
        ];
    }
    println!("{}", server::machine()?);
    let options = Options { directory: measure::directory()?, keep: has("--keep"), short: has("--short") };
    let mut rows = Vec::new();
    for what in wanted {
        let one = || match what {
            "s1" => stream::run(&options),
            "s2" => latency::run(&options),
            "s3" => requests::run(&options),
            "s4" => online(),
            "s5" => back(),
            "s6" => stored::run(&options),
            "s7" => fan::run(&options),
            "s8" => handshakes::run(&options),
            "s9" => reach::run(&options),
            "s10" => relayed::run(&options),
            "s11" => rooms::catch_up::run(&options),
            "s12" => rooms::fifty::run(&options),
            "s13" => rooms::journal::run(&options),
            "s14" => screen::run(&options),
            "s15" => nodes::run(&options),
            "peers" => peers::run(&options),
            other => anyhow::bail!("there is no {other}; s1 to s15, all or peers"),
        };
        rows.extend(measure::bounded(one).with_context(|| format!("{what} failed"))?);
    }
    measure::print(&rows);
    Ok(())
}

/// S4, which the example `load` measures.
fn online() -> Result<Vec<Row>> {
    let figures = clients::measure(programs()?, 10_000)?;
    let row = |what: &str, reached: String, against: &str, ratio, most| Row {
        id: "S4",
        what: what.into(),
        reached,
        against: against.into(),
        ratio,
        goal: Goal::AtMost(most),
        disturbed: false,
    };
    let share = |time: std::time::Duration, of: f64| time.as_secs_f64() * 1000.0 / of;
    let kib = figures.resident;
    Ok(vec![
        row("10,000 online, resident each", format!("{kib:.1} KiB"), "24 KiB", kib / 24.0, 1.0),
        row("status to 1,000 contacts", ms(figures.push), "100 ms", share(figures.push, 100.0), 1.0),
        row("look-up, 99 of 100", ms(figures.lookup), "10 ms", share(figures.lookup, 10.0), 1.0),
    ])
}

/// S5, which the example `load` measures.
fn back() -> Result<Vec<Row>> {
    let figures = storm::run(programs()?, 5000)?;
    let (busy, last) = (figures.busy.as_secs_f64(), figures.last.as_secs_f64());
    let row = |what: &str, reached: String, against: &str, ratio| Row {
        id: "S5",
        what: what.into(),
        reached,
        against: against.into(),
        ratio,
        goal: Goal::AtMost(1.0),
        disturbed: false,
    };
    Ok(vec![
        row("5,000 back, discovery's work", format!("{busy:.1} s"), "10 s", busy / 10.0),
        row(
            "5,000 back, cores used",
            format!("{:.2}", busy / last),
            &format!("1, in {last:.1} s with back-off"),
            busy / last,
        ),
    ])
}
