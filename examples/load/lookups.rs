//! Look-ups, as many as there can be: from clients that wait for each answer, and beside one that does not.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use peerchat::protocol::PublicKey;
use peerchat::protocol::codec;
use peerchat::protocol::rendezvous::{Identify, ToDiscovery};

use crate::crowd::{Account, Client, accounts, at_once, write};
use crate::server::{Discovery, Scratch};
use crate::{quantile, spread};

/// How many ask, each with one request under way.
const ASKING: usize = 50;
/// How many of them go on beside the flood.
const BESIDE: usize = 4;

pub fn run(programs: &Path, seconds: usize) -> Result<()> {
    println!("\n== look-ups");
    let scratch = Scratch::new("lookups")?;
    let accounts = accounts(0, ASKING + 1)?;
    write(&scratch.db(), &accounts, &[])?;
    let mut discovery = Discovery::start(programs, &scratch.db(), 0, &[])?;
    let to = discovery.address;
    let (flooder, askers) = accounts.split_last().context("too few")?;
    let time = Duration::from_secs(seconds as u64);
    let keys: Vec<PublicKey> = accounts.iter().map(|account| account.keypair.public()).collect();

    let one = askers.get(..1).context("too few")?;
    report("1 client, one request under way", &discovery, one, &keys, time)?;
    report(&format!("{ASKING} clients, one request under way each"), &discovery, askers, &keys, time)?;
    let few = askers.get(..BESIDE).context("too few")?;
    let mut alone = report(&format!("{BESIDE} clients"), &discovery, few, &keys, time)?;

    let over = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicU64::new(0));
    let key = keys.first().copied().context("too few")?;
    let flooding = flood(Client::synced(to, flooder)?, key, &over, &answered);
    let mut beside = report(
        &format!("{BESIDE} clients beside one that asks without waiting"),
        &discovery,
        few,
        &keys,
        time,
    )?;
    over.store(true, Ordering::Relaxed);
    let took = flooding.join().map_err(|_| anyhow::anyhow!("the flooder panicked"))??;
    println!(
        "   the one that does not wait was answered {:.0}/s",
        answered.load(Ordering::Relaxed) as f64 / took.as_secs_f64()
    );
    discovery.expect_alive()?;
    let most = quantile(&mut alone, 0.99) * 10 + Duration::from_millis(50);
    ensure!(quantile(&mut beside, 0.99) < most, "one session that floods delays the others");
    Ok(())
}

/// Has `askers` ask for so long, and says how it went.
fn report(
    what: &str,
    discovery: &Discovery,
    askers: &[Arc<Account>],
    keys: &[PublicKey],
    time: Duration,
) -> Result<Vec<Duration>> {
    let clients = at_once(askers, |account| Client::synced(discovery.address, account))?;
    let (busy, start) = (discovery.cpu()?, Instant::now());
    let mut times = Vec::new();
    thread::scope(|scope| {
        let asking: Vec<_> =
            clients.into_iter().map(|client| scope.spawn(move || ask(client, keys, start + time))).collect();
        for asked in asking {
            times.extend(asked.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??);
        }
        Ok::<_, anyhow::Error>(())
    })?;
    let took = start.elapsed().as_secs_f64();
    let (busy, count) = ((discovery.cpu()? - busy).as_secs_f64(), times.len() as f64);
    println!(
        "   {what}: {:.0}/s, {}; {:.0} % of one core",
        count / took,
        spread(&mut times),
        busy / took * 100.0
    );
    Ok(times)
}

fn ask(mut client: Client, keys: &[PublicKey], until: Instant) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    while Instant::now() < until {
        for key in keys {
            times.push(client.identify(*key)?);
        }
    }
    Ok(times)
}

/// Asks as fast as discovery takes it, in frames as long as there may be, until it is over.
fn flood(
    client: Client,
    key: PublicKey,
    over: &Arc<AtomicBool>,
    answered: &Arc<AtomicU64>,
) -> thread::JoinHandle<Result<Duration>> {
    let (over, answered) = (Arc::clone(over), Arc::clone(answered));
    let start = Instant::now();
    let (stream, mut opener, mut sealer) = client.split();
    let mut frame = Vec::new();
    (0..48).for_each(|_| codec::encode(&ToDiscovery::Identify(Identify { key }), &mut frame));
    thread::spawn(move || {
        thread::scope(|scope| {
            let writing = scope.spawn(|| {
                let mut wire = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    wire.clear();
                    sealer.seal(&frame, &mut wire)?;
                    if std::io::Write::write_all(&mut &stream, &wire).is_err() {
                        break;
                    }
                }
                Ok::<_, anyhow::Error>(stream.shutdown(std::net::Shutdown::Both)?)
            });
            while let Ok(Some(frame)) = opener.read(&mut &stream, 65_519, 64 * 1024) {
                let answers = codec::decode::<peerchat::protocol::rendezvous::ToClient>(frame)?.len();
                answered.fetch_add(answers as u64, Ordering::Relaxed);
            }
            writing.join().map_err(|_| anyhow::anyhow!("the flooder panicked"))??;
            Ok(start.elapsed())
        })
    })
}
