//! Sockets that send nothing or a byte a second, and an honest client among them.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use peerchat::protocol::{HANDSHAKE_DEADLINE, HANDSHAKE_LIMIT, VERSION};

use crate::crowd::{self, Client, accounts};
use crate::server::{Discovery, Scratch, Watch};
use crate::{quantile, spread};

/// How much later than the deadline a cut may be, on a machine that does other things too.
const SLACK: Duration = Duration::from_secs(2);

/// How many handshakes discovery has under way at once. Of more, the oldest are cut to make room.
const PLACES: usize = 2048;

struct Slow {
    stream: TcpStream,
    since: Instant,
    drips: bool,
    dripped: usize,
}

pub fn run(programs: &Path, count: usize) -> Result<()> {
    println!("\n== {count} sockets that send nothing, or a byte a second");
    let scratch = Scratch::new("slow")?;
    let mut discovery = Discovery::start(programs, &scratch.db(), 0, &[])?;
    let to = discovery.address;
    let honest = accounts(0, 200)?;
    let (before, during) = honest.split_at(20);
    let mut times: Vec<Duration> = before.iter().map(|one| log_in(to, one)).collect::<Result<_>>()?;
    println!("   an honest login before: {}", spread(&mut times));

    let watch = Watch::start(&discovery);
    let mut slow = Vec::with_capacity(count);
    for number in 0..count {
        let from = Ipv4Addr::new(127, 2, 0, u8::try_from(number % 200)?);
        let stream = crowd::dial(to, from)?;
        stream.set_nonblocking(true)?;
        slow.push(Slow { stream, since: Instant::now(), drips: number % 2 == 1, dripped: 0 });
    }
    let cutting = thread::spawn(move || cut(slow));
    let mut times = Vec::new();
    for one in during {
        if cutting.is_finished() {
            break;
        }
        times.push(log_in(to, one)?);
        thread::sleep(Duration::from_millis(40));
    }
    println!("   an honest login among them: {}", spread(&mut times));
    let mut cut = cutting.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
    println!(
        "   the slow ones were cut after {:.2} to {:.2} s",
        quantile(&mut cut, 0.0).as_secs_f64(),
        quantile(&mut cut, 1.0).as_secs_f64()
    );
    let most = watch.most();
    println!(
        "   discovery at most: {} threads, {} descriptors, {} KiB resident",
        most.threads, most.descriptors, most.resident
    );
    ensure!(quantile(&mut times, 1.0) < Duration::from_secs(1), "an honest login took more than a second");
    ensure!(
        count > PLACES || quantile(&mut cut, 0.0) + SLACK / 4 > HANDSHAKE_DEADLINE,
        "cut before the deadline"
    );
    discovery.expect_alive()
}

fn log_in(to: SocketAddr, account: &crowd::Account) -> Result<Duration> {
    let start = Instant::now();
    Client::synced(to, account).context("an honest login")?;
    Ok(start.elapsed())
}

/// Drips until each is cut; how long each lived.
fn cut(mut slow: Vec<Slow>) -> Result<Vec<Duration>> {
    let mut lived = Vec::with_capacity(slow.len());
    while !slow.is_empty() {
        for one in &slow {
            let deadline = if one.drips { HANDSHAKE_LIMIT } else { HANDSHAKE_DEADLINE };
            ensure!(one.since.elapsed() < deadline + SLACK, "one is not cut");
        }
        slow.retain_mut(|one| {
            let gone = one.is_gone();
            if gone {
                lived.push(one.since.elapsed());
            }
            !gone
        });
        thread::sleep(Duration::from_millis(20));
    }
    Ok(lived)
}

impl Slow {
    fn is_gone(&mut self) -> bool {
        if self.drips && self.since.elapsed().as_secs() >= self.dripped as u64 {
            // The first three are a choice of version, the others the beginning of a handshake.
            let next = [VERSION, 1, VERSION].get(self.dripped).copied().unwrap_or_default();
            self.dripped += 1;
            if self.stream.write_all(&[next]).is_err() {
                return true;
            }
        }
        !matches!(self.stream.read(&mut [0; 256]), Err(error) if error.kind() == ErrorKind::WouldBlock)
    }
}
