//! The chat box: arguments to [`peerchat::client`].

use std::io::{IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use peerchat::cli;
use peerchat::client::command::Aliases;
use peerchat::client::console::Rules;
use peerchat::client::console::screen::Preferences;
use peerchat::client::console::screen::colours::Colours;
use peerchat::client::console::screen::keymap::KeyMap;
use peerchat::client::endpoints::Hosts;
use peerchat::client::one_shot::OneShot;
use peerchat::client::settings::{self, Account, Mode, Settings};
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
/// What is written to a user who is away waits in a local outbox and is delivered when both are online. What is not
/// given here is taken from a configuration file, which --write-config writes.
#[derive(Parser)]
#[command(name = "client", version, after_long_help = AFTER)]
struct Arguments {
    /// Your name: lower-case letters, digits, '.', '_' and '-'
    user: Option<Name>,
    /// The port to take links from peers on; 0 takes a free one
    #[arg(value_parser = cli::port)]
    port: Option<u16>,
    /// The address to listen on and give out; 0.0.0.0 or :: gives out the one that discovery sees [default: 127.0.0.1]
    #[arg(value_parser = cli::address)]
    ip: Option<IpAddr>,
    /// Where discovery runs, a name or an address; where it runs on several machines, some of these with commas between
    /// them, each with a port of its own if need be: a.example.org,192.0.2.7:7667 [default: 127.0.0.1]
    dhost: Option<Hosts>,
    /// The port on which discovery listens, where DHOST names none [default: 7667]
    #[arg(value_parser = cli::remote_port)]
    dport: Option<u16>,
    /// Take what is not given here from this file [default: peerchat/client.toml in your configuration directory]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Write a configuration file that explains every key, unless there is one
    #[arg(long, conflicts_with_all = ["user", "transfer", "send", "attach", "detach", "json"])]
    write_config: bool,
    /// Where your journal is kept [default: peerchat in your data directory]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Open a box on the client that is running; it goes on when you leave
    #[arg(long, conflicts_with_all = ["transfer", "send"])]
    attach: bool,
    /// Start without a terminal, on a free port unless one is given, and return once the client is ready; --attach opens a
    /// box on it
    #[arg(long, conflicts_with_all = ["transfer", "send", "attach", "json"])]
    detach: bool,
    /// What --detach starts
    #[arg(long, hide = true, conflicts_with_all = ["transfer", "send", "attach", "json", "detach"])]
    detached: bool,
    /// Line by line at a terminal, in place of the whole screen; --line=false draws it whatever the configuration says
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    line: Option<bool>,
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
    /// How users are met that you have neither asked for nor answered [default: open]
    #[arg(long, value_enum, value_name = "HOW")]
    strangers: Option<Strangers>,
    /// Take nothing from peers while the disk has less than this free [default: 256 MiB, or 5 % of a small one]
    #[arg(long, value_name = "MIB", value_parser = cli::mebibytes)]
    keep_free: Option<u64>,
    /// Ring no bell for a message; --quiet=false rings it whatever the configuration says
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    quiet: Option<bool>,
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

/// What is to be done: the command line, and what the configuration file says where that says nothing.
struct Task {
    arguments: Arguments,
    user: Name,
    account: Account,
    aliases: Aliases,
    keys: KeyMap,
    colours: Colours,
}

impl Task {
    /// Ends the program if neither says who is to be started, or where.
    fn new(arguments: Arguments, settings: Settings) -> Self {
        let Some(user) = arguments.user.clone().or_else(|| settings.user().cloned()) else {
            let wanted = "no user is given; name one as in client alice 7001, or in a configuration file, which \
                          client --write-config writes";
            cli::lacking::<Arguments>(wanted)
        };
        let account = settings.of(&user).clone();
        let needs_port = !arguments.attach
            && !arguments.detach
            && !arguments.detached
            && arguments.export.is_none()
            && arguments.import.is_none();
        if needs_port && arguments.port.or(account.port).is_none() {
            let wanted = format!(
                "no port is given; name one as in client {user} 7001, or in a configuration file, which client \
                 --write-config writes"
            );
            cli::lacking::<Arguments>(&wanted)
        }
        let Settings { aliases, keys, colours, .. } = settings;
        Self { arguments, user, account, aliases, keys, colours }
    }

    fn run(self) -> anyhow::Result<u8> {
        let Self { arguments, user, account, aliases, keys, colours } = self;
        let data_dir = arguments.data_dir.or(account.data_dir).map_or_else(client::default_data_dir, Ok)?;
        let passphrase_file = arguments.passphrase_file;
        let transfer =
            |file| Transfer { user: user.clone(), data_dir: data_dir.clone(), file, passphrase_file };
        if let Some(file) = arguments.export {
            transfer(file).export()?;
            return Ok(0);
        }
        if let Some(file) = arguments.import {
            let key = transfer(file).import()?;
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
        let hosts = arguments.dhost.or(account.discovery_host).unwrap_or_default();
        let dport = arguments.dport.or(account.discovery_port).unwrap_or(DISCOVERY_PORT);
        let ip = arguments.ip.or(account.ip).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let port = arguments.port.or(account.port).unwrap_or_default();
        let (mute, highlight) = (account.mute.unwrap_or_default(), account.highlight.unwrap_or_default());
        let rules = Arc::new(Rules::new(&user, mute, &highlight));
        let preferences = Preferences { keys, colours, rules };
        client::run(&Config {
            user,
            listen: SocketAddr::new(ip, port),
            discovery: hosts.endpoints(dport).into(),
            data_dir,
            json: arguments.json,
            line: arguments.line.unwrap_or(account.mode == Some(Mode::Line)),
            attach: arguments.attach,
            detached: arguments.detached,
            linger: arguments.linger,
            discovery_key: arguments.discovery_key.or(account.discovery_key),
            strangers: arguments.strangers.or(account.strangers).unwrap_or_default(),
            keep_free: arguments.keep_free.or(account.keep_free),
            quiet: arguments.quiet.or(account.quiet).unwrap_or_default(),
            notify: arguments.notify.clone().or(account.notify),
            notify_in_box: arguments.notify,
            aliases: Arc::new(aliases),
            preferences,
            send,
        })
    }
}

fn main() -> ExitCode {
    let arguments: Arguments = cli::parse();
    if arguments.write_config {
        let written = settings::write(arguments.config.as_deref()).and_then(|path| {
            writeln!(std::io::stdout(), "{} is written; it explains every key", path.display())?;
            Ok(0)
        });
        return cli::exit_code("client", written);
    }
    let settings = match settings::load(arguments.config.as_deref()) {
        Ok(settings) => settings,
        // As wrong as arguments can be.
        Err(error) => return cli::failed("client", &error, 2),
    };
    let task = Task::new(arguments, settings);
    let arguments = &task.arguments;
    // People read the console, not a log.
    // It would stand in the line that is being typed.
    let hold = !arguments.json
        && arguments.send.is_none()
        && std::io::stdin().is_terminal()
        && std::io::stdout().is_terminal()
        && std::io::stderr().is_terminal();
    let log_file = arguments.log_file.as_deref().or(task.account.log_file.as_deref());
    let logs = logging::start("error", log_file, hold);
    cli::exit_code(
        "client",
        logs.and_then(|_logs| {
            secrecy::protect();
            if task.arguments.detached {
                detach::leave_terminal().context("the terminal can't be left")?;
            }
            task.run()
        }),
    )
}
