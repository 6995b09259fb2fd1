//! Discovery dies under thousands of clients and returns.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use crate::crowd::{Account, Client, Crowd, accounts, write};
use crate::server::{Discovery, Scratch};
use crate::{ms, quantile, spread};

/// How long discovery is away.
const AWAY: Duration = Duration::from_secs(10);
/// How many dial at once. Enough that hardly a client ever waits for one, as is checked.
const DIALLERS: usize = 256;
/// The stack of each.
const STACK: usize = 256 * 1024;
/// Each client has so many contacts on either side, who are told.
const CONTACTS: usize = 5;
/// The back-off of a client, see `client::node::rendezvous`, in milliseconds.
const FIRST_RETRY: u64 = 500;
const LAST_RETRY: u64 = 15_000;
/// All clients are back by then.
const BACK_WITHIN: Duration = Duration::from_secs(90);

/// What came of it.
#[allow(dead_code, reason = "for the benchmark `speed`")]
pub struct Figures {
    /// CPU time of discovery until the last was back.
    pub busy: Duration,
    /// When the last was back, back-off and all.
    pub last: Duration,
}

pub fn run(programs: &Path, count: usize) -> Result<Figures> {
    println!(
        "\n== discovery is killed under {count} clients with {} contacts each, and returns after {AWAY:?}",
        CONTACTS * 2
    );
    ensure!(count > CONTACTS * 2, "more clients than contacts");
    let scratch = Scratch::new("storm")?;
    let accounts = accounts(0, count)?;
    let ring = |at: usize| (1..=CONTACTS).map(move |next| (at, (at + next) % count));
    write(&scratch.db(), &accounts, &(0..count).flat_map(ring).collect::<Vec<_>>())?;
    let discovery = Discovery::start(programs, &scratch.db(), 0, &[])?;
    let to = discovery.address;
    let crowd = Crowd::new();
    let start = Instant::now();
    crowd.bring(to, &accounts)?;
    println!(
        "   all online after {:.1} s, {:.1} s of discovery's CPU time",
        start.elapsed().as_secs_f64(),
        discovery.cpu()?.as_secs_f64()
    );
    ensure!(crowd.lost() == 0, "{} sessions were lost before", crowd.lost());

    discovery.kill()?;
    crowd.disperse()?;
    let crowd = Arc::new(Crowd::new());
    let Diallers { tries, tried, threads } = diallers(&crowd)?;
    let returning = thread::scope(|scope| {
        let back = scope.spawn(|| come_back(&accounts, &tries, &tried, |_, failures| (to, wait(failures))));
        thread::sleep(AWAY);
        let discovery = Discovery::start(programs, &scratch.db(), to.port(), &[]);
        let since = Instant::now();
        let back = back.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?;
        Ok::<_, anyhow::Error>((discovery?, since, back?))
    });
    let (mut discovery, since, returned) = returning?;
    let mut times: Vec<Duration> =
        returned.back.iter().map(|(_, at)| at.saturating_duration_since(since)).collect();
    let (usage, busy) = (discovery.usage()?, discovery.cpu()?);
    println!(
        "   back: half of them after {:.1} s, 99 of 100 after {:.1} s, the last after {:.1} s",
        quantile(&mut times, 0.5).as_secs_f64(),
        quantile(&mut times, 0.99).as_secs_f64(),
        quantile(&mut times, 1.0).as_secs_f64()
    );
    println!(
        "   {:.1} s of discovery's CPU time until then; {} KiB resident, {} threads",
        busy.as_secs_f64(),
        usage.resident,
        usage.threads
    );
    println!(
        "   {} dials, of which {} failed after it was back",
        returned.dials,
        returned.failures.iter().filter(|at| **at > since).count()
    );
    let mut late = returned.late;
    println!("   from dial to registered: {}", spread(&mut returned.took.clone()));
    println!(
        "   how much later than due the generator dialled: p99 {}, most {}",
        ms(quantile(&mut late, 0.99)),
        ms(quantile(&mut late, 1.0))
    );
    ensure!(quantile(&mut times, 1.0) < BACK_WITHIN, "not all were back within {BACK_WITHIN:?}");
    drop(tries);
    threads.into_iter().try_for_each(|one| one.join().map_err(|_| anyhow::anyhow!("a dialler panicked")))?;
    let crowd = Arc::into_inner(crowd).context("a dialler is left")?;
    // Each has to be heard once more in its session.
    thread::sleep(Duration::from_secs(5));
    discovery.expect_alive()?;
    println!("   {} pings since, each answered; no session lost", crowd.finish()?);
    Ok(Figures { busy, last: quantile(&mut times, 1.0) })
}

pub struct Try {
    account: Arc<Account>,
    place: usize,
    to: SocketAddr,
    due: Instant,
}

pub struct Diallers {
    pub tries: Sender<Try>,
    pub tried: Receiver<Tried>,
    pub threads: Vec<JoinHandle<()>>,
}

pub struct Tried {
    place: usize,
    late: Duration,
    took: Duration,
    registered: bool,
}

/// Threads that dial for all clients, and put those that are back into the crowd.
pub fn diallers(crowd: &Arc<Crowd>) -> Result<Diallers> {
    let ((tries, trying), (told, tried)) = (unbounded::<Try>(), unbounded());
    let mut threads = Vec::new();
    for _ in 0..DIALLERS {
        let (trying, told, crowd) = (trying.clone(), told.clone(), Arc::clone(crowd));
        let dial = move || {
            for Try { account, place, to, due } in trying {
                let start = Instant::now();
                let client = Client::log_in(to, &account);
                let took = start.elapsed();
                let registered = client.and_then(|client| crowd.add(client)).is_ok();
                let late = start.saturating_duration_since(due);
                if told.send(Tried { place, late, took, registered }).is_err() {
                    return;
                }
            }
        };
        threads.push(thread::Builder::new().stack_size(STACK).spawn(dial)?);
    }
    Ok(Diallers { tries, tried, threads })
}

#[derive(Default)]
pub struct Returned {
    /// The places of the accounts, and when each was back.
    pub back: Vec<(usize, Instant)>,
    pub failures: Vec<Instant>,
    /// How much later than due each was dialled.
    pub late: Vec<Duration>,
    pub took: Vec<Duration>,
    pub dials: usize,
}

/// Every client has just lost its session, and tries until all are back. `next` says where the one at a place dials
/// after so many failures, and when.
pub fn come_back(
    accounts: &[Arc<Account>],
    tries: &Sender<Try>,
    tried: &Receiver<Tried>,
    mut next: impl FnMut(usize, u32) -> (SocketAddr, Duration),
) -> Result<Returned> {
    let lost = Instant::now();
    let mut failures = vec![0_u32; accounts.len()];
    let mut due: BinaryHeap<Reverse<(Instant, usize, SocketAddr)>> = BinaryHeap::new();
    for place in 0..accounts.len() {
        let (to, wait) = next(place, 0);
        due.push(Reverse((lost + wait, place, to)));
    }
    let mut returned = Returned::default();
    while returned.back.len() < accounts.len() {
        ensure!(
            lost.elapsed() < AWAY + BACK_WITHIN,
            "{} of {} are back",
            returned.back.len(),
            accounts.len()
        );
        let now = Instant::now();
        while let Some(Reverse((at, place, to))) = due.peek().copied().filter(|Reverse((at, ..))| *at <= now)
        {
            due.pop();
            let account = accounts.get(place).context("no such place")?;
            returned.dials += 1;
            tries
                .send(Try { account: Arc::clone(account), place, to, due: at })
                .ok()
                .context("no dialler is left")?;
        }
        let first = due.peek().map_or(now + Duration::from_secs(1), |Reverse((at, ..))| *at);
        match tried.recv_timeout(first.saturating_duration_since(Instant::now())) {
            Ok(Tried { place, late, took, registered }) => {
                let now = Instant::now();
                returned.late.push(late);
                if registered {
                    returned.took.push(took);
                    returned.back.push((place, now));
                } else {
                    returned.failures.push(now);
                    let failures = failures.get_mut(place).context("no such place")?;
                    *failures += 1;
                    let (to, wait) = next(place, *failures);
                    due.push(Reverse((now + wait, place, to)));
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => anyhow::bail!("no dialler is left"),
        }
    }
    Ok(returned)
}

/// The client's own back-off after so many failures before the last one.
pub fn wait(failures: u32) -> Duration {
    let wait = (FIRST_RETRY << failures.min(16)).min(LAST_RETRY);
    Duration::from_millis(wait / 8 + fastrand::u64(0..=wait))
}
