//! The discovery server's command line.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use peerchat::cli;
use peerchat::discovery::{self, DEFAULT_CONNECTIONS, MAX_CONNECTIONS, Options};
use peerchat::logging;
use peerchat::protocol::{DISCOVERY_PORT, Name};

const AFTER: &str = "\
RUST_LOG says how much is logged: error, warn (unless given), info (unless given, with --log-file), debug.

Exit status: 0 all is well; 1 an error, with one line on standard error; 2 wrong usage.";

/// Knows who exists and where, so that peerchat's clients find each other. Holds no message.
#[derive(Parser)]
#[command(name = "discovery", version, after_long_help = AFTER)]
struct Arguments {
    /// The database [default: discovery.db in peerchat's data directory]
    #[arg(long, value_name = "FILE")]
    db: Option<PathBuf>,
    /// How many connections to let in
    #[arg(long, value_name = "N", default_value_t = DEFAULT_CONNECTIONS, value_parser = connections)]
    max_connections: usize,
    /// How many connections one address may hold [default: 256, and no limit for this machine itself]
    #[arg(long, value_name = "N", value_parser = cli::count)]
    max_per_address: Option<u32>,
    /// How many new names one address may register in an hour [default: 64, and no limit for this machine
    /// itself]
    #[arg(long, value_name = "N", value_parser = cli::count)]
    max_new_names: Option<u32>,
    /// Serve figures for Prometheus there, at /metrics
    #[arg(long, value_name = "IP:PORT", value_parser = cli::endpoint)]
    metrics: Option<SocketAddr>,
    /// Let the address of --metrics be one that other machines reach
    #[arg(long, requires = "metrics")]
    metrics_public: bool,
    /// Print how a running discovery is doing, and end
    #[arg(long, conflicts_with_all = SERVING)]
    status: bool,
    /// With --status: print one JSON object
    #[arg(long, requires = "status")]
    json: bool,
    /// Take a name from the key that has it, so that another key can register it, and end
    #[arg(long, value_name = "NAME", conflicts_with_all = SERVING, conflicts_with = "status")]
    release: Option<Name>,
    /// Where logs go, in place of standard error
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,
    /// The address to listen on
    #[arg(default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), value_parser = cli::address)]
    ip: IpAddr,
    /// The port to listen on; 0 takes a free one
    #[arg(default_value_t = DISCOVERY_PORT, value_parser = cli::port)]
    port: u16,
}

/// What only makes sense for a discovery that is to serve.
const SERVING: [&str; 7] =
    ["max_connections", "max_per_address", "max_new_names", "metrics", "metrics_public", "ip", "port"];

fn connections(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=MAX_CONNECTIONS).contains(count));
    count.ok_or_else(|| format!("a whole number from 1 to {MAX_CONNECTIONS} is wanted here"))
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    if arguments.status {
        return print(&discovery::status(arguments.db, arguments.json)?);
    }
    if let Some(name) = &arguments.release {
        return print(&discovery::release(arguments.db, name)?);
    }
    discovery::run(Options {
        address: SocketAddr::new(arguments.ip, arguments.port),
        database: arguments.db,
        max_connections: arguments.max_connections,
        max_per_address: arguments.max_per_address,
        max_new_names: arguments.max_new_names,
        metrics: arguments.metrics,
        metrics_public: arguments.metrics_public,
    })
}

fn print(answer: &str) -> anyhow::Result<()> {
    std::io::stdout().lock().write_all(answer.as_bytes()).context("can't write the answer")
}

fn main() -> ExitCode {
    let arguments: Arguments = cli::parse();
    let logs = logging::start("warn", arguments.log_file.as_deref());
    cli::exit_code("discovery", logs.and_then(|_logs| run(arguments)).map(|()| 0))
}
