//! The discovery server's command line.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use peerchat::discovery::{self, DEFAULT_CONNECTIONS, MAX_CONNECTIONS, Options};
use peerchat::protocol::DISCOVERY_PORT;

/// Knows who exists and where, so that peerchat's clients find each other. Holds no message.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The database [default: discovery.db in peerchat's data directory]
    #[arg(long, value_name = "FILE")]
    db: Option<PathBuf>,
    /// How many connections to let in
    #[arg(long, value_name = "N", default_value_t = DEFAULT_CONNECTIONS as u64,
          value_parser = clap::value_parser!(u64).range(1..=MAX_CONNECTIONS as u64))]
    max_connections: u64,
    /// How many connections one address may hold [default: 256, and no limit for this machine itself]
    #[arg(long, value_name = "N")]
    max_per_address: Option<usize>,
    /// How many new names one address may register in an hour [default: 64, and no limit for this machine
    /// itself]
    #[arg(long, value_name = "N")]
    max_new_names: Option<u32>,
    /// The address to listen on
    #[arg(default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    ip: IpAddr,
    /// The port to listen on; 0 takes a free one
    #[arg(default_value_t = DISCOVERY_PORT)]
    port: u16,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    peerchat::logging::start("warn");
    let options = Options {
        address: SocketAddr::new(arguments.ip, arguments.port),
        database: arguments.db,
        max_connections: usize::try_from(arguments.max_connections).unwrap_or(MAX_CONNECTIONS),
        max_per_address: arguments.max_per_address,
        max_new_names: arguments.max_new_names,
    };
    match discovery::run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed; the exit status says the same.
            let _ = writeln!(std::io::stderr(), "discovery: {error:#}");
            ExitCode::FAILURE
        }
    }
}
