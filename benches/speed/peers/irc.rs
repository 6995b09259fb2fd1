//! ngircd: lines from one user to another. Nothing is stored, and no reply says that a line has arrived.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Result, ensure};

use super::{Server, configure};
use crate::Options;
use crate::chat::text;
use crate::measure::{SECOND, or_kill, per_second, pinned};

/// How many lines may be on their way; with more, it cuts who reads them.
const WINDOWS: [u64; 2] = [300, 1000];
/// How many are sent in each.
const COUNT: u64 = 200_000;

/// Lines a second, with the window that suits it best.
pub fn best(options: &Options, program: &Path) -> Result<f64> {
    let mut best: f64 = 0.0;
    for window in WINDOWS {
        let rate = measure(options, program, window)?;
        println!("   ngircd, {window} on their way: {}", per_second(rate));
        best = best.max(rate);
    }
    Ok(best)
}

fn measure(options: &Options, program: &Path, window: u64) -> Result<f64> {
    let scratch = options.scratch("ngircd")?;
    let server = Server::start(program, scratch.path(), |port| {
        let settings = format!(
            "[Global]\nName = irc.test\nListen = 127.0.0.1\nPorts = {port}\nServerUID = root\nServerGID = root\n\
             [Limits]\nMaxConnectionsIP = 0\nMaxPenaltyTime = 0\nPingTimeout = 300\n\
             [Options]\nDNS = no\nIdent = no\nPAM = no\n"
        );
        let file = configure(scratch.path(), &settings).unwrap_or_default();
        vec!["-n".into(), "-f".into(), file]
    })?;
    let mut receiver = BufReader::with_capacity(256 * 1024, log_in(&server, "bob")?);
    let mut sender = log_in(&server, "alice")?;
    let shown = AtomicU64::new(0);
    let start = Instant::now();
    thread::scope(|scope| {
        let sending = scope.spawn(|| or_kill(|| pinned(SECOND, || send(&mut sender, &shown, window))));
        let taking = scope.spawn(|| or_kill(|| pinned(SECOND, || take(&mut receiver, &shown))));
        for done in [taking.join(), sending.join()] {
            done.map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        }
        Ok::<_, anyhow::Error>(())
    })?;
    Ok(COUNT as f64 / start.elapsed().as_secs_f64())
}

fn log_in(server: &Server, name: &str) -> Result<TcpStream> {
    let mut stream = server.connect()?;
    stream.write_all(format!("NICK {name}\r\nUSER {name} 0 * :{name}\r\n").as_bytes())?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    // The end of the message of the day, or that there is none: nothing follows.
    while !(line.contains(" 376 ") || line.contains(" 422 ")) {
        line.clear();
        ensure!(reader.read_line(&mut line)? > 0, "ngircd lets no client in");
    }
    Ok(stream)
}

fn send(stream: &mut TcpStream, shown: &AtomicU64, window: u64) -> Result<()> {
    let mut sent = 0;
    let mut lines = String::new();
    while sent < COUNT {
        let room = (shown.load(Ordering::Relaxed) + window).min(COUNT);
        if room == sent {
            thread::yield_now();
            continue;
        }
        lines.clear();
        (sent..room).for_each(|number| lines.push_str(&format!("PRIVMSG bob :{}\r\n", text(number))));
        stream.write_all(lines.as_bytes())?;
        sent = room;
    }
    Ok(())
}

fn take(stream: &mut BufReader<TcpStream>, shown: &AtomicU64) -> Result<()> {
    let mut line = Vec::new();
    for expected in 0..COUNT {
        line.clear();
        stream.read_until(b'\n', &mut line)?;
        let said = String::from_utf8_lossy(&line);
        let number = said.split(" :").nth(1).and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
        if number != Some(expected) {
            // Nothing waits for more.
            shown.store(COUNT, Ordering::Relaxed);
            anyhow::bail!("{said:?} instead of {expected}");
        }
        shown.store(expected + 1, Ordering::Relaxed);
    }
    Ok(())
}
