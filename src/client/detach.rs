//! A client without a terminal: started by a program that waits until it is ready, or says why it is not.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

/// What is typed, and what the program that is then started is told in its place.
const DETACH: &str = "--detach";
pub const DETACHED: &str = "--detached";
/// What it says once it is ready, before where it listens.
const READY: &str = "ready ";

/// Starts this program again, with the same arguments and without a terminal. Returns where it listens once it takes
/// commands, or with its exit status what it has said of why it does not.
pub fn start() -> anyhow::Result<Result<String, u8>> {
    let program = std::env::current_exe().context("this program can't be found to be started again")?;
    let arguments = std::env::args_os().skip(1).filter(|argument| argument != DETACH);
    let mut child = Command::new(program)
        .args(arguments)
        .arg(DETACHED)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("no other program can be started")?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line)?;
    }
    if let Some(address) = line.strip_prefix(READY) {
        return Ok(Ok(address.trim_end().to_owned()));
    }
    let mut why = Vec::new();
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_end(&mut why)?;
    }
    let status = child.wait()?;
    io::stderr().write_all(&why)?;
    ensure!(status.signal().is_none(), "the client was killed before it was ready");
    Ok(Err(status.code().and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0).unwrap_or(1)))
}

/// Leaves the terminal. For the program that was started.
pub fn leave_terminal() -> io::Result<()> {
    rustix::process::setsid()?;
    Ok(())
}

/// Closes the standard streams, and then tells the program that waits.
pub fn ready(address: std::net::SocketAddr) -> io::Result<()> {
    let mut waiting = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    rustix::stdio::dup2_stdout(&nothing)?;
    rustix::stdio::dup2_stderr(&nothing)?;
    // That program may have been killed, which is no matter of this one.
    let _ = writeln!(waiting, "{READY}{address}");
    Ok(())
}
