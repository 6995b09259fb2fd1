//! S15: several nodes over one PostgreSQL.
//!
//! Its server floats, as do the nodes; only what is compared with SQLite is on the first core, as the discovery with
//! SQLite is. All of them and the generator share what cores there are, so in machines of their own nodes do better.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use peerchat::protocol::PublicKey;
use peerchat::protocol::rendezvous::{Request, ToClient, ToDiscovery};

use crate::crowd::{self, Account, Client, accounts, at_once};
use crate::measure::{FIRST, Goal, Row, pinned, rounds};
use crate::postgres::Cluster;
use crate::requests::{ASKING, Asker, Figure, Looks, Measured, Registers, TIME, WANTED, hear, load};
use crate::server::{Discovery, Scratch};
use crate::{Options, programs};

mod killed;
mod pushed;
mod turns;

/// How many contacts those have who ask for them.
const CONTACTS: usize = 100;
/// How many nodes there are where there are several.
pub const NODES: usize = 3;
/// What a round measures.
const NAMES: [&str; 10] = [
    "SQLite, contacts",
    "SQLite, look-ups of keys",
    "SQLite, registrations of 50",
    "one node, contacts",
    "one node, look-ups of keys",
    "one node, registrations of 50",
    "one node that floats, registrations of 50",
    "one node that floats, registrations of 150",
    "three nodes, registrations of 50 each",
    "three nodes, registrations of 50 in all",
];

/// A session that asks for one contact after the other: nothing changes, and each answer is known.
struct Contacts<'c> {
    client: Client,
    contacts: &'c [Arc<Account>],
    at: usize,
}

impl Asker for Contacts<'_> {
    fn stream(&self) -> &TcpStream {
        &self.client.stream
    }

    fn ask(&mut self) -> Result<bool> {
        self.at = (self.at + 1) % self.contacts.len();
        let contact = self.contacts.get(self.at).context("no contact")?;
        self.client.say(&[ToDiscovery::Request(Request { name: contact.name.clone(), typed: false })])?;
        Ok(true)
    }

    fn answered(&mut self) -> Result<bool> {
        match hear(&mut self.client)? {
            Some(ToClient::Status(status)) => {
                let asked = self.contacts.get(self.at).is_some_and(|contact| contact.name == status.name);
                ensure!(asked && status.connected, "the answer to another question");
                Ok(true)
            }
            Some(other) => bail!("{other:?} instead of a status"),
            None => Ok(false),
        }
    }
}

/// Nodes over a database of their own.
pub struct Nodes {
    all: Vec<Discovery>,
    /// Where the nodes are.
    pub at: Vec<SocketAddr>,
    /// The nodes' sockets are there.
    _scratch: Scratch,
}

impl Nodes {
    /// So many, over a new database in which these accounts are, connected as these pairs of places.
    pub fn start(
        options: &Options,
        cluster: &Cluster,
        count: usize,
        database: &str,
        accounts: &[Arc<Account>],
        pairs: &[(usize, usize)],
    ) -> Result<Self> {
        let scratch = options.scratch(database)?;
        let url = cluster.database(database)?;
        crowd::write(&scratch.db(), accounts, pairs)?;
        let copied = program()?.arg("--db").arg(scratch.db()).args(["--copy-to", &url]).output()?;
        ensure!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
        let start = |number: usize| node(scratch.path(), &url, number);
        let all: Vec<Discovery> = (0..count).map(start).collect::<Result<_>>()?;
        let at = all.iter().map(|node| node.address).collect();
        Ok(Self { all, at, _scratch: scratch })
    }

    /// Kills the last one, as `kill -9` does.
    pub fn kill_last(&mut self) -> Result<()> {
        self.all.pop().map_or(Ok(()), Discovery::kill)
    }

    /// CPU time of all of them and of the server.
    pub fn cpu(&self, cluster: &Cluster) -> Result<Duration> {
        self.all.iter().map(Discovery::cpu).sum::<Result<Duration>>().map(|own| Ok(own + cluster.cpu()?))?
    }
}

fn program() -> Result<Command> {
    Ok(Command::new(programs()?.join("discovery")))
}

fn node(home: &Path, url: &str, number: usize) -> Result<Discovery> {
    let mut command = program()?;
    command.env("XDG_DATA_HOME", home).args(["--store", url, "--node", &format!("node-{number}")]);
    command.args(["127.0.0.1", "0"]);
    Discovery::spawn(command)
}

pub fn run(options: &Options) -> Result<Vec<Row>> {
    println!("\n== S15: nodes over one PostgreSQL");
    let Some(cluster) = Cluster::start(options)? else {
        println!("   skipped: PostgreSQL is not installed here");
        return Ok(Vec::new());
    };
    let (rates, turns) = (rates(options, &cluster)?, turns::run(options, &cluster)?);
    Ok([rates, turns, pushed::run(options, &cluster)?, killed::run(options, &cluster)?].concat())
}

fn rates(options: &Options, cluster: &Cluster) -> Result<Vec<Row>> {
    let all = accounts(0, ASKING + WANTED)?;
    let rounds = rounds(options.keep, |round| {
        let own = alone(options, &all)?;
        let node = one(options, cluster, round, &all)?;
        let together = |count, asking: usize, what: &str| {
            let database = format!("{what}{round}");
            let nodes = Nodes::start(options, cluster, count, &database, &all, &[])?;
            let mut askers = Registers::all(&nodes.at, all.get(..asking).unwrap_or_default())?;
            let before = nodes.cpu(cluster)?;
            let load = load(&mut askers, TIME * 10)?;
            let what = format!("{count} nodes, registrations of {asking} in all");
            Ok::<_, anyhow::Error>(load.say(&what, before, nodes.cpu(cluster)?))
        };
        Ok([
            own[0],
            own[1],
            own[2],
            node[0],
            node[1],
            node[2],
            together(1, ASKING, "one")?,
            together(1, ASKING * NODES, "crowded")?,
            together(NODES, ASKING * NODES, "three")?,
            together(NODES, ASKING, "few")?,
        ])
    })?;
    let rounds = Measured { id: "S15", rounds: &rounds, names: NAMES };
    Ok([
        rounds.rows("look-ups of contacts at a node", 3, 0, Goal::AtLeast(0.9)),
        rounds.rows("look-ups of keys at a node", 4, 1, Goal::AtLeast(0.9)),
        rounds.rows("durable registrations at one node", 5, 2, Goal::AtLeast(0.6)),
        rounds.rows("durable registrations at three nodes, 50 each", 8, 6, Goal::AtLeast(0.9)),
        rounds.rows("the same", 8, 7, Goal::None),
        rounds.rows("durable registrations at three nodes, 50 in all", 9, 6, Goal::None),
    ]
    .concat())
}

/// Those who ask for their contacts are the second 50, and their contacts those who follow.
fn pairs() -> Vec<(usize, usize)> {
    let contacts = move |asker| (2 * ASKING..2 * ASKING + CONTACTS).map(move |contact| (asker, contact));
    (ASKING..2 * ASKING).flat_map(contacts).collect()
}

/// Discovery with a database for itself: look-ups of contacts and of keys, registrations.
fn alone(options: &Options, all: &[Arc<Account>]) -> Result<[Figure; 3]> {
    let scratch = options.scratch("alone")?;
    crowd::write(&scratch.db(), all, &pairs())?;
    let discovery = pinned(FIRST, || Discovery::start(programs()?, &scratch.db(), 0, &[]))?;
    asked("SQLite", discovery.address, all, || discovery.cpu())
}

/// One node, the same.
fn one(options: &Options, cluster: &Cluster, round: usize, all: &[Arc<Account>]) -> Result<[Figure; 3]> {
    let start = || Nodes::start(options, cluster, 1, &format!("single{round}"), all, &pairs());
    let nodes = pinned(FIRST, start)?;
    let at = nodes.at.first().copied();
    at.map_or_else(|| Ok([Figure::default(); 3]), |at| asked("one node", at, all, || nodes.cpu(cluster)))
}

fn asked(
    what: &str,
    to: SocketAddr,
    all: &[Arc<Account>],
    cpu: impl Fn() -> Result<Duration>,
) -> Result<[Figure; 3]> {
    let contacts = all.get(2 * ASKING..2 * ASKING + CONTACTS).unwrap_or_default();
    let mut askers = at_once(all.get(ASKING..2 * ASKING).unwrap_or_default(), |account| {
        Ok(Contacts { client: Client::synced(to, account)?, contacts, at: 0 })
    })?;
    let before = cpu()?;
    let told = load(&mut askers, TIME)?.say(&format!("{what}, contacts"), before, cpu()?);
    drop(askers);
    let keys: Vec<PublicKey> = all.iter().map(|account| account.keypair.public()).collect();
    let asking = all.get(..ASKING).unwrap_or_default();
    let mut askers = Looks::all(to, asking, &keys)?;
    let before = cpu()?;
    let looked = load(&mut askers, TIME)?.say(&format!("{what}, look-ups of keys"), before, cpu()?);
    drop(askers);
    let mut askers = Registers::all(&[to], asking)?;
    let before = cpu()?;
    let registered = load(&mut askers, TIME * 10)?.say(&format!("{what}, registrations"), before, cpu()?);
    Ok([told, looked, registered])
}
