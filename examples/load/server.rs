//! A discovery to load, and what the system says of it.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use crossbeam_channel::bounded;

/// Far longer than discovery takes to start.
const DEADLINE: Duration = Duration::from_secs(20);
/// What `/proc` counts CPU time in, on every Linux.
const TICKS: u64 = 100;

/// A directory that is gone in the end.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(what: &str) -> Result<Self> {
        Self::within(&std::env::temp_dir(), what)
    }

    pub fn within(directory: &Path, what: &str) -> Result<Self> {
        let path = directory.join(format!("peerchat-load-{what}-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("can't make {}", path.display()))?;
        Ok(Self(path))
    }

    #[allow(dead_code, reason = "for the benchmark `speed`")]
    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn db(&self) -> PathBuf {
        self.0.join("discovery.db")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running discovery, killed when dropped.
pub struct Discovery {
    child: Child,
    pub address: SocketAddr,
    /// How many bytes of log it has written.
    logged: Arc<AtomicU64>,
}

impl Discovery {
    /// On a port of 127.0.0.1; 0 takes a free one.
    pub fn start(programs: &Path, db: &Path, port: u16, options: &[&str]) -> Result<Self> {
        let mut command = Command::new(programs.join("discovery"));
        command.arg("--db").arg(db).args(options).args(["127.0.0.1", &port.to_string()]);
        Self::spawn(command)
    }

    /// Of a command that runs it.
    pub fn spawn(mut command: Command) -> Result<Self> {
        command.env_remove("RUST_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("discovery does not start")?;
        let stdout = child.stdout.take().context("no pipe")?;
        let stderr = child.stderr.take().context("no pipe")?;
        let logged = Arc::new(AtomicU64::new(0));
        // Made before anything below can fail, so that the process ends in any case.
        let mut discovery = Self { child, address: ([0, 0, 0, 0], 0).into(), logged: Arc::clone(&logged) };
        thread::spawn(move || count(stderr, &logged));
        let (sender, lines) = bounded(1);
        thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let line = lines.recv_timeout(DEADLINE).context("discovery says nothing")?;
        let address = line.split("listening on ").nth(1).and_then(|rest| rest.split(',').next());
        discovery.address =
            address.and_then(|address| address.parse().ok()).context("no address in its line")?;
        Ok(discovery)
    }

    pub fn pid(&self) -> String {
        self.child.id().to_string()
    }

    /// As `kill -9` does.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    pub fn cpu(&self) -> Result<Duration> {
        cpu(&self.pid())
    }

    pub fn usage(&self) -> Result<Usage> {
        usage(&self.pid())
    }

    pub fn logged(&self) -> u64 {
        self.logged.load(Ordering::Relaxed)
    }

    /// Fails if it has ended.
    pub fn expect_alive(&mut self) -> Result<()> {
        ensure!(self.child.try_wait()?.is_none(), "discovery has ended");
        Ok(())
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Passes logs on to this process's own standard error, the first of them at least.
fn count(mut from: impl Read, logged: &AtomicU64) {
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if logged.fetch_add(read as u64, Ordering::Relaxed) < 1000 {
            eprint!("{}", String::from_utf8_lossy(buffer.get(..read).unwrap_or_default()));
        }
    }
}

/// What a process holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// KiB.
    pub resident: u64,
    pub threads: u64,
    pub descriptors: u64,
}

impl Usage {
    fn most(self, other: Self) -> Self {
        Self {
            resident: self.resident.max(other.resident),
            threads: self.threads.max(other.threads),
            descriptors: self.descriptors.max(other.descriptors),
        }
    }
}

pub fn usage(pid: &str) -> Result<Usage> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("discovery has ended")?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
    };
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64;
    Ok(Usage { resident: field("VmRSS:"), threads: field("Threads:"), descriptors })
}

/// The CPU time that a process (`self` is this one) has used.
pub fn cpu(pid: &str) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("it has ended")?;
    // After the name, which is in parentheses: user time is the 12th field, system time the 13th.
    let after = stat.rsplit(") ").next().unwrap_or_default();
    let ticks: u64 = after.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 1000 / TICKS))
}

/// What figures from here are to be read with.
pub fn machine() -> Result<String> {
    let load = fs::read_to_string("/proc/loadavg")?;
    let load: Vec<&str> = load.split(' ').take(3).collect();
    let cores = thread::available_parallelism()?;
    let (_, descriptors) = rlimit::Resource::NOFILE.get()?;
    Ok(format!("{cores} cores, load average {} before, {descriptors} descriptors a process", load.join(" ")))
}

/// Looks at a process ten times a second and keeps the most that it held.
pub struct Watch {
    over: Arc<AtomicBool>,
    watching: JoinHandle<Usage>,
}

impl Watch {
    pub fn start(discovery: &Discovery) -> Self {
        let (over, pid) = (Arc::new(AtomicBool::new(false)), discovery.pid());
        let until = Arc::clone(&over);
        let watching = thread::spawn(move || {
            let mut most = Usage::default();
            while !until.load(Ordering::Relaxed) {
                most = most.most(usage(&pid).unwrap_or_default());
                thread::sleep(Duration::from_millis(100));
            }
            most
        });
        Self { over, watching }
    }

    pub fn most(self) -> Usage {
        self.over.store(true, Ordering::Relaxed);
        self.watching.join().unwrap_or_default()
    }
}
