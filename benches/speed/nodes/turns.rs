//! How many rows a second get into a ledger, by how many change in one turn.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail, ensure};
use peerchat::accounts::ledger::{Given, Ledger, Trouble};
use peerchat::accounts::{Change, Registration, UserId};
use peerchat::protocol::rendezvous::Strangers;
use peerchat::store::directory::Directory;
use peerchat::store::postgres::{self, Postgres};

use super::{NODES, program};
use crate::Options;
use crate::crowd::{self, Account, accounts};
use crate::measure::{Goal, Row, per_second, rounds};
use crate::postgres::Cluster;

/// How many users there are, whose turn to move it is one after the other.
const USERS: usize = 10_000;
/// How many move in one turn.
const BATCHES: [usize; 4] = [1, 20, 100, 500];
/// How long each is measured.
const TIME: Duration = Duration::from_secs(1);

/// Rows a second.
#[derive(Clone, Copy, Default)]
struct Figures {
    sqlite: f64,
    one: f64,
    together: f64,
}

pub fn run(options: &Options, cluster: &Cluster) -> Result<Vec<Row>> {
    println!("   rows a second, {BATCHES:?} in a turn");
    let all = accounts(0, USERS)?;
    let rounds = rounds(options.keep, |round| measured(options, cluster, &all, round))?;
    let row = |what: String, own: (&str, f64), other: (&str, f64), ratio| Row {
        id: "S15",
        what,
        reached: format!("{} {}", own.0, per_second(own.1)),
        against: format!("{} {}", other.0, per_second(other.1)),
        ratio,
        goal: Goal::None,
        disturbed: rounds.disturbed,
    };
    let mut rows = Vec::new();
    for (place, batch) in BATCHES.iter().enumerate() {
        let of = |figure: fn(&Figures) -> f64| {
            rounds.median(|it: &[Figures; BATCHES.len()]| it.get(place).map_or(0.0, figure))
        };
        let (sqlite, one, together) = (of(|it| it.sqlite), of(|it| it.one), of(|it| it.together));
        let name = format!("rows a second, {batch} in a turn");
        rows.push(row(name.clone(), ("one node", one), ("SQLite", sqlite), of(|it| it.one / it.sqlite)));
        let ratio = of(|it| it.together / it.one);
        rows.push(row(name, ("three nodes together", together), ("one node", one), ratio));
    }
    Ok(rows)
}

fn measured(
    options: &Options,
    cluster: &Cluster,
    all: &[Arc<Account>],
    round: usize,
) -> Result<[Figures; BATCHES.len()]> {
    let scratch = options.scratch("turns")?;
    crowd::write(&scratch.db(), all, &[])?;
    let mut nodes = Vec::new();
    let url = cluster.database(&format!("turns{round}"))?;
    let copied = program()?.arg("--db").arg(scratch.db()).args(["--copy-to", &url]).output()?;
    ensure!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    for _ in 0..NODES {
        nodes.push(joined(Postgres::open(&url, postgres::Options::default())?)?);
    }
    let mut sqlite = [joined(opened(&scratch.db())?)?];
    let mut figures = [Figures::default(); BATCHES.len()];
    for (figures, batch) in figures.iter_mut().zip(BATCHES) {
        figures.sqlite = together(&mut sqlite, batch)?;
        figures.one = together(nodes.get_mut(..1).unwrap_or_default(), batch)?;
        figures.together = together(&mut nodes, batch)?;
        let Figures { sqlite, one, together } = *figures;
        let [sqlite, one, together] = [sqlite, one, together].map(per_second);
        println!("   {batch} in a turn: SQLite {sqlite}, one node {one}, three nodes together {together}");
    }
    Ok(figures)
}

fn opened(db: &Path) -> Result<Directory> {
    Ok(Directory::open(db)?)
}

fn joined<L: Ledger>(mut ledger: L) -> Result<L>
where
    L::Error: std::error::Error + Send + Sync + 'static,
{
    ledger.join().map_err(Trouble::into_error)?;
    ledger.load().map_err(Trouble::into_error)?;
    Ok(ledger)
}

/// Has all of them give turns of so many rows for a while. Rows a second of all of them.
fn together<L: Ledger + Send>(ledgers: &mut [L], batch: usize) -> Result<f64>
where
    L::Error: std::error::Error + Send + Sync + 'static,
{
    let (over, start) = (AtomicBool::new(false), Instant::now());
    let rows = thread::scope(|scope| {
        let over = &over;
        let giving: Vec<_> =
            ledgers.iter_mut().map(|ledger| scope.spawn(move || give(ledger, batch, over))).collect();
        thread::sleep(TIME);
        over.store(true, Ordering::Relaxed);
        let rows = giving.into_iter().map(|it| it.join().map_err(|_| anyhow!("a thread panicked"))?);
        rows.sum::<Result<u64>>()
    })?;
    Ok(rows as f64 / start.elapsed().as_secs_f64())
}

/// How many rows it gave until it was over.
fn give<L: Ledger>(ledger: &mut L, batch: usize, over: &AtomicBool) -> Result<u64>
where
    L::Error: std::error::Error + Send + Sync + 'static,
{
    let (mut user, mut rows) = (0, 0);
    while !over.load(Ordering::Relaxed) {
        ledger.take().map_err(Trouble::into_error)?;
        let changes: Vec<_> = (0..batch).map(|_| moved(&mut user)).collect::<Result<_>>()?;
        match ledger.give(&changes) {
            Given::Saved => rows += batch as u64,
            Given::Refused(trouble) | Given::Unsure(trouble) => bail!(trouble.into_error()),
        }
    }
    Ok(rows)
}

/// The next user has another port than the last time.
fn moved(user: &mut usize) -> Result<Change> {
    *user += 1;
    let port = u16::try_from(1 + *user / USERS % 60_000)?;
    let address = crowd::address(port + 1);
    let registration = Registration { address, observed: address.ip(), strangers: Strangers::All };
    Ok(Change::Move { user: UserId::try_from(*user % USERS + 1)?, registration, now: 0 })
}
