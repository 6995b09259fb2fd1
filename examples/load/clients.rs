//! Ten thousand clients online.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use peerchat::protocol::rendezvous::ToClient;

use crate::crowd::{self, Client, Crowd, at_once};
use crate::server::{Discovery, Scratch};
use crate::{ms, quantile, spread};

/// How many contacts one user has that a change is pushed to: as many as one may have.
const CONTACTS: usize = 1000;
/// How many look-ups are timed.
const LOOKUPS: usize = 5000;
/// How often a change is pushed.
const PUSHES: u16 = 10;

/// What came of it.
#[allow(dead_code, reason = "for the benchmark `speed`")]
pub struct Figures {
    /// KiB resident in discovery, a client.
    pub resident: f64,
    /// A change of address, until the last contact has it: half of the time, and at most.
    pub push: Duration,
    pub longest_push: Duration,
    /// A look-up, 99 of 100.
    pub lookup: Duration,
}

pub fn run(programs: &Path, count: usize) -> Result<()> {
    let figures = measure(programs, count)?;
    ensure!(figures.resident <= 24.0, "more than 24 KiB a client");
    ensure!(figures.longest_push < Duration::from_secs(1), "a push took more than a second");
    ensure!(figures.lookup < Duration::from_millis(10), "the 99th percentile is above 10 ms");
    Ok(())
}

/// The same, without a judgement; an error only if a client is lost.
pub fn measure(programs: &Path, count: usize) -> Result<Figures> {
    println!("\n== {count} clients online");
    ensure!(count >= 2, "two clients at least");
    let scratch = Scratch::new("clients")?;
    let accounts = crowd::accounts(0, count)?;
    let contacts = CONTACTS.min(count - 2);
    // The first is known to the next thousand; those after them are new to discovery.
    let known = accounts.get(..=contacts).context("too few")?;
    let pairs: Vec<(usize, usize)> = (1..=contacts).map(|contact| (0, contact)).collect();
    crowd::write(&scratch.db(), known, &pairs)?;
    let mut discovery = Discovery::start(programs, &scratch.db(), 0, &[])?;
    let to = discovery.address;
    let empty = discovery.usage()?;

    let start = Instant::now();
    let crowd = Crowd::new();
    let (known, new) = accounts.split_at(contacts + 1);
    crowd.bring(to, new)?;
    // These stay out of the crowd: they have to be heard as soon as something comes.
    let (first, others) = known.split_first().context("too few")?;
    let asks = accounts.last().context("too few")?;
    let here = start.elapsed().as_secs_f64();
    let busy = discovery.cpu()?.as_secs_f64();
    println!("   {} new accounts online after {here:.1} s, {busy:.1} s of discovery's CPU time", new.len());

    let mut first = (Client::synced(to, first)?, first);
    let mut heard = at_once(others, |account| Client::synced(to, account))?;
    let all = discovery.usage()?;
    let each = (all.resident.saturating_sub(empty.resident)) as f64 / count as f64;
    println!(
        "   resident memory: {} KiB empty, {} KiB with all: {each:.1} KiB a client; {} threads, {} descriptors",
        empty.resident, all.resident, all.threads, all.descriptors
    );

    let mut pushes = Vec::new();
    for port in 0..PUSHES {
        let start = Instant::now();
        first.0.register(first.1, 1000 + port)?;
        for client in &mut heard {
            status_of(client, crowd::address(1000 + port))?;
        }
        pushes.push(start.elapsed());
        // No thread pings for them.
        first.0.ping()?;
    }
    println!("   a change of address, until the last of {contacts} contacts has it: {}", spread(&mut pushes));
    for mut client in heard {
        client.ping()?;
        crowd.add(client)?;
    }

    let (before, start) = (discovery.cpu()?, Instant::now());
    thread::sleep(Duration::from_secs(10));
    let share = (discovery.cpu()? - before).as_secs_f64() / start.elapsed().as_secs_f64() * 100.0;
    println!("   while they idle, each with a ping every 4 s: {share:.1} % of one core");

    let (before, start) = (discovery.cpu()?, Instant::now());
    let mut times = Vec::with_capacity(LOOKUPS);
    for at in 0..LOOKUPS {
        let target = accounts.get(at * 7919 % count).unwrap_or(asks);
        times.push(first.0.identify(target.keypair.public())?);
    }
    let (took, busy) = (start.elapsed().as_secs_f64(), (discovery.cpu()? - before).as_secs_f64());
    println!(
        "   look-ups, one after the other: {}; {:.0}/s, {:.0} % of one core",
        spread(&mut times),
        LOOKUPS as f64 / took,
        busy / took * 100.0
    );

    discovery.expect_alive()?;
    let pings = crowd.finish()?;
    println!(
        "   {pings} pings, each answered; no session lost; longest push {}",
        ms(quantile(&mut pushes, 1.0))
    );
    Ok(Figures {
        resident: each,
        push: quantile(&mut pushes, 0.5),
        longest_push: quantile(&mut pushes, 1.0),
        lookup: quantile(&mut times, 0.99),
    })
}

/// Waits until this client has been told that address.
fn status_of(client: &mut Client, address: std::net::SocketAddr) -> Result<()> {
    loop {
        match client.hear()? {
            ToClient::Status(status) if status.address == Some(address) => return Ok(()),
            ToClient::Status(_) | ToClient::Pong => {}
            other => bail!("{other:?} instead of a status"),
        }
    }
}
