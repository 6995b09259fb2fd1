//! The chat box: arguments to [`peerchat::client`].

use std::io::{IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use peerchat::cli;
use peerchat::client::one_shot::OneShot;
use peerchat::client::transfer::Transfer;
use peerchat::client::{self, Config, detach};
use peerchat::logging;
use peerchat::protocol::rendezvous::Strangers;
use peerchat::protocol::{DISCOVERY_PORT, Name, PublicKey};
use peerchat::secrecy;

const AFTER: &str = "\
RUST_LOG says how much is logged: error (unless given), warn, info (unless given, with --log-file), debug.

Exit status: 0 all is well; 1 an error, with one line on standard error; 2 wrong usage. When piped input ends, and with
--send: 0 everything was done and is delivered; 3 something still waits, and goes out at a later start; 1 nothing waits,
but something was refused.";

/// Chat with people directly, peer to peer, encrypted end to end.
///
/// What is written to somebody who is away waits in a local outbox and is delivered when both are online.
#[derive(Parser)]
#[command(name = "client", version, after_long_help = AFTER)]
struct Arguments {
    /// Your name: lower-case letters, digits, '.', '_' and '-'
    user: Name,
    /// The port to take links from peers on; 0 takes a free one
    #[arg(value_parser = cli::port, required_unless_present_any = ["transfer", "attach"])]
    port: Option<u16>,
    /// The address to listen on and give out; 0.0.0.0 or :: gives out the one that discovery sees
    #[arg(default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), value_parser = cli::address)]
    ip: IpAddr,
    /// Where discovery runs, a name or an address
    #[arg(default_value = "127.0.0.1", value_parser = cli::host)]
    dhost: String,
    /// The port on which discovery listens
    #[arg(default_value_t = DISCOVERY_PORT, value_parser = cli::remote_port)]
    dport: u16,
    /// Where your journal is kept [default: peerchat in your data directory]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Open a box on the client that is running; it goes on when you leave
    #[arg(long, conflicts_with_all = ["transfer", "send"])]
    attach: bool,
    /// Start without a terminal, and return once the client is ready; --attach opens a box on it
    #[arg(long, conflicts_with_all = ["transfer", "send", "attach", "json"])]
    detach: bool,
    /// What --detach starts
    #[arg(long, hide = true, conflicts_with_all = ["transfer", "send", "attach", "json", "detach"])]
    detached: bool,
    /// Line by line at a terminal, in place of the whole screen
    #[arg(long)]
    line: bool,
    /// Write one JSON object a line, for scripts
    #[arg(long)]
    json: bool,
    /// How long to wait for deliveries when piped input ends, or with --send
    #[arg(long, value_name = "SECONDS|forever", default_value = "10", value_parser = linger)]
    // By its full name: clap takes an `Option` for an argument that may be missing.
    linger: std::option::Option<Duration>,
    /// The key that discovery must have, in place of the one seen first
    #[arg(long, value_name = "FINGERPRINT")]
    discovery_key: Option<PublicKey>,
    /// Send one text to a user or a '#room', and end once they have it; '-' sends what standard input holds
    #[arg(long, num_args = 2, value_names = ["TO", "TEXT"], allow_hyphen_values = true, conflicts_with = "transfer")]
    send: Option<Vec<String>>,
    /// How users are met whom you have neither asked for nor answered
    #[arg(long, value_enum, default_value_t, value_name = "HOW")]
    strangers: Strangers,
    /// Take nothing from peers while the disk has less than this free [default: 256 MiB, or 5 % of a small one]
    #[arg(long, value_name = "MIB", value_parser = cli::mebibytes)]
    keep_free: Option<u64>,
    /// Ring no bell for a message
    #[arg(long)]
    quiet: bool,
    /// Run this program for each message, with PEERCHAT_FROM and PEERCHAT_TEXT in its environment
    #[arg(long, value_name = "COMMAND")]
    notify: Option<PathBuf>,
    /// Write the whole account to a file that a passphrase protects, to move to another machine
    #[arg(long, value_name = "FILE", group = "transfer")]
    export: Option<PathBuf>,
    /// Take over the account that such a file holds
    #[arg(long, value_name = "FILE", group = "transfer")]
    import: Option<PathBuf>,
    /// Take the passphrase from the first line of a file; else it is asked for
    #[arg(long, value_name = "FILE", requires = "transfer")]
    passphrase_file: Option<PathBuf>,
    /// Where logs go, in place of standard error, which gets them at the end if it is a terminal
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,
}

fn linger(text: &str) -> Result<Option<Duration>, String> {
    if text == "forever" {
        return Ok(None);
    }
    let linger = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    linger.map(Some).ok_or_else(|| "a number of seconds or the word forever is wanted here".into())
}

fn run(mut arguments: Arguments) -> anyhow::Result<u8> {
    let data_dir = arguments.data_dir.take().map_or_else(client::default_data_dir, Ok)?;
    let (user, passphrase_file) = (arguments.user.clone(), arguments.passphrase_file.take());
    let transfer = |file| Transfer { user: user.clone(), data_dir: data_dir.clone(), file, passphrase_file };
    if let Some(file) = arguments.export.take() {
        transfer(file).export()?;
        return Ok(0);
    }
    if let Some(file) = arguments.import.take() {
        let key = transfer(file).import()?;
        let user = arguments.user;
        writeln!(
            std::io::stdout(),
            "{user} is here now, key {key}; do not start {user} again where this came from"
        )?;
        return Ok(0);
    }
    if arguments.detach {
        return Ok(match detach::start()? {
            Ok(address) => {
                writeln!(
                    std::io::stdout(),
                    "{user} is ready at {address}; client {user} --attach opens a box"
                )?;
                0
            }
            Err(status) => status,
        });
    }
    let send = match arguments.send.as_deref() {
        Some([to, text]) => Some(OneShot::new(to, text, std::io::stdin())?),
        _ => None,
    };
    client::run(&Config {
        user: arguments.user,
        listen: SocketAddr::new(arguments.ip, arguments.port.unwrap_or_default()),
        discovery_host: arguments.dhost,
        discovery_port: arguments.dport,
        data_dir,
        json: arguments.json,
        line: arguments.line,
        attach: arguments.attach,
        detached: arguments.detached,
        linger: arguments.linger,
        discovery_key: arguments.discovery_key,
        strangers: arguments.strangers,
        keep_free: arguments.keep_free,
        quiet: arguments.quiet,
        notify: arguments.notify,
        send,
    })
}

fn main() -> ExitCode {
    let arguments: Arguments = cli::parse();
    // People read the console, not a log.
    // It would stand in the line that is being typed.
    let hold = !arguments.json
        && arguments.send.is_none()
        && std::io::stdin().is_terminal()
        && std::io::stdout().is_terminal()
        && std::io::stderr().is_terminal();
    let logs = logging::start("error", arguments.log_file.as_deref(), hold);
    cli::exit_code(
        "client",
        logs.and_then(|_logs| {
            secrecy::protect();
            if arguments.detached {
                detach::leave_terminal().context("the terminal can't be left")?;
            }
            run(arguments)
        }),
    )
}
