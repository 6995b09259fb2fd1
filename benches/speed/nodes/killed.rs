//! A node is killed: how long until its users are back at others, and who is called offline although back.

use std::collections::HashSet;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use peerchat::discovery::members::{COME_BACK, SETTLING};
use peerchat::protocol::{Name, PING_AFTER};

use super::{NODES, Nodes};
use crate::crowd::{Account, Crowd, accounts};
use crate::measure::{Goal, Row};
use crate::postgres::Cluster;
use crate::storm::{Diallers, come_back, diallers, wait};
use crate::{Options, ms, quantile, spread};

/// How many users are online at all nodes together.
const USERS: usize = 10_000;
/// Each has so many contacts on either side, who are told.
const CONTACTS: usize = 5;
/// How long the others may take to call the killed one lost and forget it, beyond the time that its users have.
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(40);
const DATABASE: &str = "killed";
/// The goals, in seconds.
const MEDIAN: f64 = 5.0;
const ALL: f64 = 15.0;

pub fn run(options: &Options, cluster: &Cluster) -> Result<Vec<Row>> {
    let count = usize::try_from(options.scaled(USERS as u64))?;
    println!("   {count} users at {NODES} nodes, one of which is killed");
    let all = accounts(0, count)?;
    let ring = |at: usize| (1..=CONTACTS).map(move |next| (at, (at + next) % count));
    let pairs: Vec<_> = (0..count).flat_map(ring).collect();
    let mut nodes = Nodes::start(options, cluster, NODES, DATABASE, &all, &pairs)?;
    let started = Instant::now();
    // Neighbours are at different nodes.
    let at =
        |node: usize| -> Vec<Arc<Account>> { all.iter().skip(node).step_by(NODES).map(Arc::clone).collect() };
    let mut crowds = Vec::new();
    for (node, to) in nodes.at.iter().enumerate() {
        let crowd = Crowd::new();
        crowd.bring(*to, &at(node))?;
        crowds.push(crowd);
    }
    println!("   all online after {:.1} s", started.elapsed().as_secs_f64());
    thread::sleep((SETTLING + PING_AFTER).saturating_sub(started.elapsed()));
    ensure!(crowds.iter().all(|crowd| crowd.lost() == 0), "sessions were lost before");
    ensure!(crowds.iter().all(|crowd| crowd.called_offline().is_empty()), "users were called offline before");

    let gone = at(NODES - 1);
    let back = Arc::new(Crowd::new());
    let Diallers { tries, tried, threads } = diallers(&back)?;
    let others = nodes.at.get(..NODES - 1).unwrap_or_default().to_vec();
    let killed = Instant::now();
    nodes.kill_last()?;
    // As a client does: the others at once, and then later.
    let next = |place: usize, failures: u32| {
        let to = others.get((place + failures as usize) % others.len()).copied();
        let round = failures / (NODES as u32 - 1);
        let is_later = failures.is_multiple_of(NODES as u32 - 1) && round > 0;
        let later = if is_later { wait(round - 1) } else { Duration::ZERO };
        (to.unwrap_or_else(|| ([127, 0, 0, 1], 0).into()), later)
    };
    let mut returned = come_back(&gone, &tries, &tried, next)?;
    let mut times: Vec<Duration> = returned.back.iter().map(|(_, at)| *at - killed).collect();
    let [median, last] = [0.5, 1.0].map(|share| quantile(&mut times, share));
    println!("   back elsewhere: {}", spread(&mut times));
    println!(
        "   {} dials, {} failed; from dial to registered: {}; dialled later than due: p99 {}",
        returned.dials,
        returned.failures.len(),
        spread(&mut returned.took),
        ms(quantile(&mut returned.late, 0.99))
    );
    while cluster.sql(DATABASE, "SELECT count(*) FROM peerchat.nodes")? != (NODES - 1).to_string() {
        ensure!(killed.elapsed() < COME_BACK + FORGOTTEN_WITHIN, "the killed node is not forgotten");
        thread::sleep(Duration::from_millis(100));
    }
    println!("   the others forgot the killed one after {:.1} s", killed.elapsed().as_secs_f64());
    // Each hears in its next ping what it was told.
    thread::sleep(PING_AFTER * 2);
    let in_time: HashSet<&Name> = returned
        .back
        .iter()
        .filter(|(_, at)| *at - killed < COME_BACK)
        .filter_map(|(place, _)| gone.get(*place))
        .map(|account| &account.name)
        .collect();
    drop(tries);
    threads.into_iter().try_for_each(|one| one.join().map_err(|_| anyhow::anyhow!("a dialler panicked")))?;
    crowds.pop();
    crowds.push(Arc::into_inner(back).context("a dialler is left")?);
    let called: Vec<Name> = crowds.iter().flat_map(Crowd::called_offline).collect();
    let wrong: HashSet<&Name> = called.iter().filter(|name| in_time.contains(name)).collect();
    println!("   {} were back in time; of these {} were called offline", in_time.len(), wrong.len());
    for crowd in crowds {
        crowd.finish()?;
    }
    let row = |what: &str, reached: String, against: String, ratio, most| Row {
        id: "S15",
        what: format!("{what}, a node of {NODES} killed under {count}"),
        reached,
        against,
        ratio,
        goal: Goal::AtMost(most),
        disturbed: false,
    };
    let seconds = |time: Duration| format!("{:.2} s", time.as_secs_f64());
    let called_offline = wrong.len();
    Ok(vec![
        row(
            "back elsewhere, median",
            seconds(median),
            format!("{MEDIAN} s"),
            median.as_secs_f64() / MEDIAN,
            1.0,
        ),
        row("back elsewhere, all", seconds(last), format!("{ALL} s"), last.as_secs_f64() / ALL, 1.0),
        row(
            "called offline although back in time",
            called_offline.to_string(),
            in_time.len().to_string(),
            called_offline as f64 / in_time.len().max(1) as f64,
            0.0,
        ),
    ])
}
