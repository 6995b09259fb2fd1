//! The same work done by others, where they are installed: each as fast as its settings make it, over loopback, the
//! server on one core and its clients on the other.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::chat::Pair;
use crate::measure::{FIRST, Goal, Rounds, Row, per_second, pinned, rounds};
use crate::server::cpu;
use crate::stream::{COUNT, stream};
use crate::{Options, requests};
use requests::Measured;

mod irc;
mod mqtt;
mod redis;

/// How to have them all.
const INSTALL: &str = "on Debian: apt-get install --no-install-recommends ngircd mosquitto redis-server";
/// How long a server may take to listen.
const DEADLINE: Duration = Duration::from_secs(10);

/// Another project's server, killed when dropped.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts it on the first core, at a free port, which `arguments` is told.
    fn start(program: &Path, directory: &Path, arguments: impl FnOnce(u16) -> Vec<String>) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new(program);
        command.args(arguments(port)).current_dir(directory);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = pinned(FIRST, || Ok(command.spawn()?))?;
        let mut server = Self { child, address: ([127, 0, 0, 1], port).into() };
        let start = Instant::now();
        while TcpStream::connect(server.address).is_err() {
            ensure!(server.child.try_wait()?.is_none(), "{} ended at once", program.display());
            ensure!(start.elapsed() < DEADLINE, "{} does not listen", program.display());
            thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    fn connect(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn cpu(&self) -> Result<Duration> {
        cpu(&self.child.id().to_string())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a program is, if it is installed. Servers are often where ordinary users do not look.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    let found = directories.map(|directory| directory.join(program)).find(|path| path.is_file());
    if found.is_none() {
        println!("   {program} is not installed; {INSTALL}");
    }
    found
}

/// Writes a server's settings.
fn configure(directory: &Path, settings: &str) -> Result<String> {
    let file = directory.join("settings.conf");
    fs::write(&file, settings)?;
    Ok(file.to_str().context("a directory whose name is not UTF-8")?.into())
}

pub fn run(options: &Options) -> Result<Vec<Row>> {
    println!("\n== messages, beside mosquitto and ngircd");
    let [mosquitto, ngircd, redis] = ["mosquitto", "ngircd", "redis-server"].map(find);
    let mut rows = Vec::new();
    if mosquitto.is_some() || ngircd.is_some() {
        let rounds = rounds(options.keep, |_| {
            let scratch = options.scratch("stream")?;
            let mut pair = Pair::fresh(&scratch)?;
            let own = stream(&mut pair, COUNT)?;
            pair.leave()?;
            own.say("clients");
            let memory =
                mosquitto.as_deref().map(|program| mqtt::best(options, program, false)).transpose()?;
            let synced =
                mosquitto.as_deref().map(|program| mqtt::best(options, program, true)).transpose()?;
            let plain = ngircd.as_deref().map(|program| irc::best(options, program)).transpose()?;
            Ok([Some(own.rate()), memory, synced, plain])
        })?;
        rows.extend(against(&rounds, 1, "mosquitto QoS 2, in memory", Goal::AtLeast(6.0)));
        rows.extend(against(&rounds, 2, "mosquitto QoS 2, saved at each change", Goal::AtLeast(100.0)));
        rows.extend(against(&rounds, 3, "ngircd", Goal::None));
    }
    if let Some(redis) = redis {
        println!("\n== requests, beside Redis");
        let rounds = rounds(options.keep, |_| {
            let [looked, registered, kept] = requests::discovery(options)?;
            let get = redis::load(options, &redis, false)?;
            let set = redis::load(options, &redis, true)?;
            Ok([looked, registered, kept, get, set])
        })?;
        let names = ["look-ups", "registrations", "requests", "Redis GET", "Redis durable SET"];
        let measured = Measured { id: "S3", rounds: &rounds, names };
        rows.extend(measured.rows("look-ups", 0, 3, Goal::AtLeast(0.5)));
        rows.extend(measured.rows("durable registrations", 1, 4, Goal::AtLeast(0.6)));
        rows.extend(measured.rows("durable requests", 2, 4, Goal::None));
    }
    Ok(rows)
}

/// Our stream against what is at that place, if it was measured.
fn against(rounds: &Rounds<[Option<f64>; 4]>, place: usize, name: &str, goal: Goal) -> Option<Row> {
    let at = |round: &[Option<f64>; 4], place: usize| round.get(place).copied().flatten().unwrap_or_default();
    let measured = rounds.kept.iter().all(|round| at(round, place) > 0.0);
    measured.then(|| Row {
        id: "S1",
        what: "stream of messages".into(),
        reached: per_second(rounds.median(|round| at(round, 0))),
        against: format!("{name} {}", per_second(rounds.median(|round| at(round, place)))),
        ratio: rounds.median(|round| at(round, 0) / at(round, place)),
        goal,
        disturbed: rounds.disturbed,
    })
}
