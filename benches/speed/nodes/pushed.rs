//! How long after a change at one node another one tells of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use crossbeam_channel::{Sender, unbounded};
use peerchat::protocol::rendezvous::{Status, ToClient, ToDiscovery};

use super::{NODES, Nodes};
use crate::crowd::{self, Account, Client, accounts, at_once};
use crate::measure::{Goal, Row, per_second};
use crate::postgres::Cluster;
use crate::{Options, ms, quantile, spread};

/// How many changes are timed.
const CHANGES: u16 = 500;
/// From one to the next.
const APART: Duration = Duration::from_millis(20);
/// The first port of those that are timed; others register lower ones.
const FIRST_PORT: u16 = 60_000;
/// Who changes all the time meanwhile, and how often in a second all of them together.
const MOVERS: usize = 90;
const MOVES: u32 = 4000;
/// The goals.
const MEDIAN: f64 = 2.0;
const P99: f64 = 20.0;

pub fn run(options: &Options, cluster: &Cluster) -> Result<Vec<Row>> {
    println!("   a change at one node until another one has told of it, {CHANGES} times");
    let all = accounts(0, MOVERS + 2)?;
    let nodes = Nodes::start(options, cluster, NODES, "pushed", &all, &[(0, 1)])?;
    let light = timed(&nodes, &all)?.rows("a change until another node has told of it");
    let over = AtomicBool::new(false);
    let (loaded, rate) = thread::scope(|scope| {
        let moving = scope.spawn(|| moving(&nodes.at, &all, &over));
        let loaded = timed(&nodes, &all);
        over.store(true, Ordering::Relaxed);
        let rate = moving.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?;
        Ok::<_, anyhow::Error>((loaded?, rate?))
    })?;
    println!("   meanwhile {} others changed", per_second(rate));
    let what = format!("the same, {} others meanwhile", per_second(rate));
    Ok([light, loaded.rows(&what)].concat())
}

/// What came of it: since it was asked for, and since it was confirmed.
struct Times {
    asked: Vec<Duration>,
    confirmed: Vec<Duration>,
}

impl Times {
    fn rows(mut self, what: &str) -> Vec<Row> {
        println!("   since it was asked for: {}", spread(&mut self.asked));
        println!("   since it was confirmed: {}", spread(&mut self.confirmed));
        let row = |what: String, time: Duration, most: f64| Row {
            id: "S15",
            what,
            reached: ms(time),
            against: format!("{most} ms"),
            ratio: time.as_secs_f64() * 1000.0 / most,
            goal: Goal::AtMost(1.0),
            disturbed: false,
        };
        let Self { asked, confirmed } = &mut self;
        vec![
            row(format!("{what}, median"), quantile(asked, 0.5), MEDIAN),
            row(format!("{what}, 99 of 100"), quantile(asked, 0.99), P99),
            row(format!("{what}, since confirmed, median"), quantile(confirmed, 0.5), MEDIAN),
            row(format!("{what}, since confirmed, 99 of 100"), quantile(confirmed, 0.99), P99),
        ]
    }
}

/// The first account moves at the first node, and the second one hears of it at the second.
fn timed(nodes: &Nodes, all: &[Arc<Account>]) -> Result<Times> {
    let pair = |place: usize| {
        let (to, account) = nodes.at.get(place).zip(all.get(place)).context("too few")?;
        Ok::<_, anyhow::Error>((Client::synced(*to, account)?, account))
    };
    let ((mut mover, account), (listener, _)) = (pair(0)?, pair(1)?);
    let (told, heard) = unbounded();
    let listening = thread::spawn(move || listen(listener, &told));
    let mut times = Times { asked: Vec::new(), confirmed: Vec::new() };
    for port in FIRST_PORT..FIRST_PORT + CHANGES {
        let asked = Instant::now();
        mover.register(account, port)?;
        while mover.hear()? != ToClient::Synced {}
        let confirmed = Instant::now();
        let (address, at) = heard.recv_timeout(Duration::from_secs(20)).context("not told")?;
        ensure!(address == crowd::address(port), "another address was told");
        times.asked.push(at - asked);
        times.confirmed.push(at.saturating_duration_since(confirmed));
        thread::sleep(APART);
    }
    listening.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
    Ok(times)
}

/// Hears of the first account's addresses, and says when.
fn listen(mut listener: Client, told: &Sender<(SocketAddr, Instant)>) -> Result<()> {
    let mut count = 0;
    while count < CHANGES {
        let ToClient::Status(Status { address: Some(address), .. }) = listener.hear()? else {
            continue;
        };
        if address.port() < FIRST_PORT {
            continue;
        }
        told.send((address, Instant::now())).ok().context("its thread is gone")?;
        count += 1;
        if count.is_multiple_of(50) {
            listener.say(&[ToDiscovery::Ping])?;
        }
    }
    Ok(())
}

/// The others move, at all nodes, as often as they are to; how often in a second that was confirmed.
fn moving(to: &[SocketAddr], all: &[Arc<Account>], over: &AtomicBool) -> Result<f64> {
    let places: Vec<usize> = (2..all.len()).collect();
    let mut movers = at_once(&places, |place| {
        let (to, account) = to.get(place % to.len()).zip(all.get(*place)).context("too few")?;
        let client = Client::synced(*to, account)?;
        client.stream.set_nonblocking(true)?;
        Ok((client, Arc::clone(account)))
    })?;
    let start = Instant::now();
    let (mut asked, mut confirmed) = (0, 0_u32);
    let count = u32::try_from(movers.len())?;
    while !over.load(Ordering::Relaxed) {
        while f64::from(asked) < start.elapsed().as_secs_f64() * f64::from(MOVES) {
            let port = 1000 + u16::try_from((asked / count) % 50_000)?;
            let (mover, account) = movers.get_mut((asked % count) as usize).context("no such place")?;
            mover.register(account, port)?;
            mover.heard(|message| confirmed += u32::from(matches!(message, ToClient::Registered(_))))?;
            asked += 1;
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(f64::from(confirmed) / start.elapsed().as_secs_f64())
}
