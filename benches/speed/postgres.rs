//! A PostgreSQL of the benchmark's own, with its defaults, beside the other databases.

#[path = "../../tests/support/postgres/programs.rs"]
mod programs;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use programs::{handed_over, initdb, programs, unprivileged};

use crate::Options;
use crate::measure::cpu_of_all;
use crate::server::Scratch;

/// How long it may take to accept connections, or to end.
const DEADLINE: Duration = Duration::from_secs(30);
/// It ends with its standard input, so also with a benchmark that is killed.
const RUN: &str = r#"
    "$1/postgres" -D "$2/data" -p "$3" -k "$2" -h 127.0.0.1 >"$2/log" 2>&1 </dev/null &
    read -r _
    kill -QUIT $!
    wait"#;

/// A running server, ended when dropped.
pub struct Cluster {
    child: Child,
    programs: PathBuf,
    port: u16,
    scratch: Scratch,
}

impl Cluster {
    /// `None` where PostgreSQL is not installed.
    pub fn start(options: &Options) -> Result<Option<Self>> {
        let Some(programs) = programs() else {
            return Ok(None);
        };
        let scratch = options.scratch("postgres")?;
        let path = scratch.path();
        if let Some(mut hand_over) = handed_over(path) {
            done(&mut hand_over)?;
        }
        done(&mut initdb(&programs, &path.join("data")))?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut run = unprivileged(Path::new("sh"));
        run.args(["-c", RUN, "sh"]).arg(&programs).arg(path).arg(port.to_string());
        let child = run.stdin(Stdio::piped()).spawn().context("PostgreSQL does not start")?;
        let cluster = Self { child, programs, port, scratch };
        let start = Instant::now();
        while cluster.sql("postgres", "SELECT 1").is_err() {
            let log = || fs::read_to_string(cluster.scratch.path().join("log")).unwrap_or_default();
            ensure!(start.elapsed() < DEADLINE, "PostgreSQL accepts no connection: {}", log());
            thread::sleep(Duration::from_millis(50));
        }
        cluster.sql("postgres", "CREATE ROLE peerchat LOGIN")?;
        Ok(Some(cluster))
    }

    /// Makes a database; the URL of a ledger in it.
    pub fn database(&self, name: &str) -> Result<String> {
        self.sql("postgres", &format!("CREATE DATABASE {name} OWNER peerchat"))?;
        Ok(format!("postgres://peerchat@127.0.0.1:{}/{name}", self.port))
    }

    /// What the superuser is answered.
    pub fn sql(&self, database: &str, sql: &str) -> Result<String> {
        let mut ask = unprivileged(&self.programs.join("psql"));
        ask.args(["-X", "-q", "-t", "-A", "-w", "-U", "postgres", "-h", "127.0.0.1", "-c", sql]);
        Ok(done(ask.args(["-p", &self.port.to_string(), database]))?.trim().into())
    }

    /// CPU time of all its processes.
    pub fn cpu(&self) -> Result<Duration> {
        cpu_of_all(self.child.id())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Runs a program to its end; what it says.
fn done(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().context("it does not run")?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}
