//! The discovery server's command line.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use peerchat::cli;
use peerchat::discovery::{self, Options};
use peerchat::logging;
use peerchat::protocol::Name;
use peerchat::secrecy;

const AFTER: &str = "\
RUST_LOG says how much is logged: error, warn (unless given), info (unless given, with --log-file), debug.

Exit status: 0 all is well; 1 an error, with one line on standard error; 2 wrong usage.";

/// Knows who exists and where, so that peerchat's clients find each other. Holds no message.
#[derive(Parser)]
#[command(name = "discovery", version, after_long_help = AFTER)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Print how a running discovery is doing, and end
    #[arg(long, conflicts_with_all = SERVING)]
    status: bool,
    /// With --status: print one JSON object
    #[arg(long, requires = "status")]
    json: bool,
    /// Take a name from the key that has it, so that another key can register it, and end
    #[arg(long, value_name = "NAME", conflicts_with_all = SERVING, conflicts_with = "status")]
    release: Option<Name>,
    /// Copy all that the database holds to an empty PostgreSQL database that several nodes can share, and end
    #[arg(long, value_name = "URL", conflicts_with_all = SERVING, conflicts_with_all = ["status", "release", "store"])]
    copy_to: Option<String>,
    /// Where logs go, in place of standard error
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,
}

/// What only makes sense for a discovery that is to serve.
const SERVING: [&str; 13] = [
    "advertise",
    "max_connections",
    "max_per_address",
    "max_new_names",
    "max_questions",
    "no_relay",
    "relay_links",
    "relay_rate",
    "relay_total",
    "metrics",
    "metrics_public",
    "ip",
    "port",
];

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { options, status, json, release, copy_to, .. } = arguments;
    match (release, copy_to) {
        _ if status => print(&discovery::status(options, json)?),
        (Some(name), _) => print(&discovery::release(options, &name)?),
        (_, Some(url)) => print(&discovery::copy(options, &url)?),
        (None, None) => discovery::run(options),
    }
}

fn print(answer: &str) -> anyhow::Result<()> {
    std::io::stdout().lock().write_all(answer.as_bytes()).context("can't write the answer")
}

fn main() -> ExitCode {
    let arguments: Arguments = cli::parse();
    let logs = logging::start("warn", arguments.log_file.as_deref(), false);
    cli::exit_code(
        "discovery",
        logs.and_then(|_logs| {
            secrecy::protect();
            run(arguments).map(|()| 0)
        }),
    )
}
