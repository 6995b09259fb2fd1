//! What the command lines of both programs have in common: arguments whose errors say what is wanted, and
//! man pages and completions made from the same definitions.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::process::{self, ExitCode};

use clap::error::ErrorKind;
use clap::{Arg, Command, CommandFactory, FromArgMatches, ValueEnum, value_parser};
use clap_complete::Shell;

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Page {
    Man,
    Bash,
    Zsh,
    Fish,
}

const GENERATE: &str = "generate";

/// The program's arguments. Ends the program if they are wrong, if they ask for help, or if they ask for a [`Page`]
/// (`--generate`, for packagers).
pub fn parse<A: CommandFactory + FromArgMatches>() -> A {
    // Exclusive: what is needed otherwise is not needed with it.
    let generate =
        Arg::new(GENERATE).long(GENERATE).hide(true).exclusive(true).value_parser(value_parser!(Page));
    let mut matches = A::command().arg(generate).get_matches();
    if let Some(page) = matches.remove_one::<Page>(GENERATE) {
        let written = write(page, A::command(), &mut io::stdout().lock());
        process::exit(i32::from(written.is_err()));
    }
    A::from_arg_matches_mut(&mut matches).unwrap_or_else(|error| error.format(&mut A::command()).exit())
}

/// Ends the program as one whose arguments lack something.
pub fn lacking<A: CommandFactory>(what: &str) -> ! {
    A::command().error(ErrorKind::MissingRequiredArgument, what).exit()
}

/// The exit status of a program; an error becomes one line on standard error.
pub fn exit_code(program: &str, ended: anyhow::Result<u8>) -> ExitCode {
    ended.map_or_else(|error| failed(program, &error, 1), ExitCode::from)
}

/// This exit status; the error becomes one line on standard error.
pub fn failed(program: &str, error: &anyhow::Error, status: u8) -> ExitCode {
    // Standard error may be closed; the exit status says the same.
    let _ = writeln!(io::stderr(), "{program}: {error:#}");
    status.into()
}

fn write(page: Page, mut command: Command, to: &mut impl Write) -> io::Result<()> {
    let shell = match page {
        Page::Man => return clap_mangen::Man::new(command).render(to),
        Page::Bash => Shell::Bash,
        Page::Zsh => Shell::Zsh,
        Page::Fish => Shell::Fish,
    };
    let name = command.get_name().to_owned();
    // Writes in one piece: what is generated into a stream that fails would panic.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    to.write_all(&script)?;
    to.flush()
}

pub fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| "a port is a number from 0 to 65535; 0 takes a free one".into())
}

pub fn remote_port(text: &str) -> Result<u16, String> {
    let port = text.parse().ok().filter(|port| *port != 0);
    port.ok_or_else(|| "a port to connect to is a number from 1 to 65535".into())
}

pub fn address(text: &str) -> Result<IpAddr, String> {
    text.parse()
        .map_err(|_| "an IP address of this machine is wanted here, such as 127.0.0.1, 0.0.0.0 or ::".into())
}

pub fn endpoint(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "an IP address and a port are wanted here, such as 127.0.0.1:9667 or [::1]:9667".into())
}

pub fn count(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("a whole number from 0 to {} is wanted here", u32::MAX))
}

/// Some KiB a second, at least one.
pub fn rate(text: &str) -> Result<u32, String> {
    let rate = text.parse().ok().filter(|rate| *rate > 0);
    rate.ok_or_else(|| format!("a whole number of KiB a second, from 1 to {}, is wanted here", u32::MAX))
}

/// Some MiB, in bytes.
pub fn mebibytes(text: &str) -> Result<u64, String> {
    let bytes = text.parse().ok().and_then(|count: u64| count.checked_mul(1024 * 1024));
    bytes.ok_or_else(|| "a whole number of MiB is wanted here".into())
}
