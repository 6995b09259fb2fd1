//! The discovery server: which users exist, which are online, and which of them ask for others.
//!
//! [`registry`] decides, on top of [`users`], their [`relations`], their [`sessions`] and [`mates`], the names that are
//! [`awaited`], and a [`quota`]; it does no I/O. [`turns`] leads what arrives through it and the ledger, which a discovery has
//! alone or shares with other nodes: then [`presences`] are the sessions at all of them, and [`members`] says which are lost.
//! `keeper` opens the ledger, and `shared` has the threads of one that is shared.
//! [`mod@relay`] joins clients that can't reach each other. [`mod@connections`] are the sockets, `server` is the loop between them. The operator's questions reach the
//! loop through [`admin`], from [`control`] and [`metrics`]; [`operator`] is the side that asks. Here all of it is started.
//!
//! What is bounded, and by what:
//!
//! - connections in all, of one address and before they have registered: [`Caps`];
//! - events that wait for the loop: `QUEUE`, of at most one frame each; readers wait when it is full;
//! - one session's share of the loop: the costs and the burst in [`pace`], so that a flood is read slowly
//!   and its sender waits;
//! - one transaction: the events and actions of one batch, see `server`;
//! - what waits to be sent: the kernel's buffer of the socket; a client that does not read is cut off;
//! - silence: [`DEAD_AFTER`](crate::protocol::DEAD_AFTER), and [`registry::REGISTER_WITHIN`] for a session
//!   that has not registered;
//! - the operator's questions: a few threads, each with one at a time and a deadline, see [`control`], [`metrics`];
//! - connections, unanswered requests and refusals of an account, requests for one: [`registry::MAX_CONTACTS`],
//!   [`registry::MAX_UNANSWERED`], [`registry::MAX_REFUSALS`], [`registry::MAX_REQUESTS_FOR`];
//! - users who wait for the next holder of a name that the operator has released: 4000 for each name;
//! - relayed links in all and of an account, tickets that are out, and how fast bytes are copied: [`relay::rules`];
//! - new names of an address, questions of an account about users who do not exist: [`registry::Limits`].

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context, ensure};
use crossbeam_channel::bounded;
use etcetera::BaseStrategy;

use crate::protocol::DISCOVERY_PORT;
use crate::store::postgres;
use crate::time::Clock;
use crate::transport::{self, Caps};
use crate::{cli, scheduling};
use admin::Admin;
use control::Control;
use keeper::{Identity, Opened};
use registry::{Limit, Limits};
use relay::Relay;
use relay::rules::Bounds;
use server::{About, Server};

pub use operator::{copy, release, status};

pub mod admin;
pub mod awaited;
pub mod connections;
pub mod control;
pub mod deadline_stream;
mod keeper;
pub mod mates;
pub mod members;
pub mod metrics;
pub mod operator;
pub mod pace;
pub mod presences;
pub mod quota;

pub mod registry;
pub mod relations;
pub mod relay;
mod server;
pub mod sessions;
mod shared;
pub mod status;
pub mod turns;
pub mod users;

const DEFAULT_CONNECTIONS: usize = 12_000;
/// The most that can be asked for: with many more threads the kernel's limit on memory maps ends the process.
const MAX_CONNECTIONS: usize = 14_000;
const DEFAULT_PER_ADDRESS: u32 = 256;
const DEFAULT_NEW_NAMES: u32 = 64;
/// More than a person mistypes; a client that asks again for its contacts goes on an hour later.
const DEFAULT_QUESTIONS: u32 = 100;
const DEFAULT_RELAY_LINKS: usize = 2000;
/// In KiB a second: enough for people who type, and for little else.
const DEFAULT_RELAY_RATE: u32 = 64;
/// In KiB a second: a small part of what the network of a usual server carries.
const DEFAULT_RELAY_TOTAL: u32 = 16 * 1024;
/// How many connections may be there that have not registered: a sixth of all, and as many as log in at once.
const HANDSHAKES: usize = 2048;
/// The descriptors kept for everything but connections that are let in: the database, those being refused.
const RESERVED_DESCRIPTORS: u64 = 256;
/// How many frames may wait for the loop.
const QUEUE: usize = 1024;

// The arguments are part of the command line that `bin/discovery.rs` describes.
#[derive(clap::Args)]
pub struct Options {
    /// The database [default: discovery.db in peerchat's data directory]
    #[arg(long, value_name = "FILE")]
    pub db: Option<PathBuf>,
    /// Share a PostgreSQL database with other nodes, in place of --db: postgres://user@host/database
    #[arg(long, value_name = "URL", conflicts_with = "db")]
    pub store: Option<String>,
    /// With --store: use a PostgreSQL whose standbys may lack what was confirmed
    #[arg(long)]
    pub allow_async: bool,
    /// With --store: what this node is called [default: the machine's name and the port]
    #[arg(long, value_name = "NAME", value_parser = keeper::node_name)]
    pub node: Option<String>,
    /// With --store: where clients of other nodes reach this one [default: where it listens]
    #[arg(long, value_name = "IP:PORT", value_parser = cli::endpoint, requires = "store")]
    advertise: Option<SocketAddr>,
    /// How many connections to let in
    #[arg(long, value_name = "N", default_value_t = DEFAULT_CONNECTIONS, value_parser = connections)]
    max_connections: usize,
    /// How many connections one address may hold [default: 256, and no limit for this machine itself]
    #[arg(long, value_name = "N", value_parser = cli::count)]
    max_per_address: Option<u32>,
    /// How many new names one address may register in an hour [default: 64, and no limit for this machine
    /// itself]
    #[arg(long, value_name = "N", value_parser = cli::count)]
    max_new_names: Option<u32>,
    /// How many questions about users who do not exist one account may ask in an hour, and one address four
    /// times as many [default: 100, and no limit for the addresses of this machine itself]
    #[arg(long, value_name = "N", value_parser = cli::count)]
    max_questions: Option<u32>,
    /// Join no clients that can't reach each other directly
    #[arg(long, conflicts_with_all = ["relay_links", "relay_rate", "relay_total"])]
    no_relay: bool,
    /// How many links to relay at once; each takes two of the connections
    #[arg(long, value_name = "N", default_value_t = DEFAULT_RELAY_LINKS, value_parser = relay_links)]
    relay_links: usize,
    /// How many KiB a second to relay in each direction of a link, once the account that sends has sent a MiB over
    /// relayed links within the hour
    #[arg(long, value_name = "KIB", default_value_t = DEFAULT_RELAY_RATE, value_parser = cli::rate)]
    relay_rate: u32,
    /// How many KiB a second to relay in all
    #[arg(long, value_name = "KIB", default_value_t = DEFAULT_RELAY_TOTAL, value_parser = cli::rate)]
    relay_total: u32,
    /// Serve figures for Prometheus there, at /metrics
    #[arg(long, value_name = "IP:PORT", value_parser = cli::endpoint)]
    metrics: Option<SocketAddr>,
    /// Let the address of --metrics be one that other machines reach
    #[arg(long, requires = "metrics")]
    metrics_public: bool,
    /// The address to listen on
    #[arg(default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), value_parser = cli::address)]
    ip: IpAddr,
    /// The port to listen on; 0 takes a free one
    #[arg(default_value_t = DISCOVERY_PORT, value_parser = cli::port)]
    port: u16,
}

fn relay_links(text: &str) -> Result<usize, String> {
    let most = MAX_CONNECTIONS / 2;
    let count = text.parse().ok().filter(|count| (1..=most).contains(count));
    count.ok_or_else(|| format!("a whole number from 1 to {most} is wanted here; --no-relay relays nothing"))
}

fn connections(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=MAX_CONNECTIONS).contains(count));
    count.ok_or_else(|| format!("a whole number from 1 to {MAX_CONNECTIONS} is wanted here"))
}

/// Runs discovery until a signal ends it, or its database turns out to be damaged.
pub fn run(options: Options) -> anyhow::Result<()> {
    let Options {
        db,
        store,
        allow_async,
        node,
        advertise,
        max_connections,
        max_per_address,
        max_new_names,
        max_questions,
        no_relay,
        relay_links,
        relay_rate,
        relay_total,
        metrics,
        metrics_public,
        ip,
        port,
    } = options;
    if let Some(metrics) = metrics {
        ensure!(
            metrics.ip().is_loopback() || metrics_public,
            "metrics on {metrics} could be read from other machines; use an address such as 127.0.0.1, or add \
             --metrics-public if they are meant to be"
        );
    }
    ensure!(
        store.is_none() || advertise.is_some() || !ip.is_unspecified(),
        "a node that listens on {ip} has to say where clients of other nodes reach it; use --advertise IP:PORT"
    );
    scheduling::batch();
    let (stop, stopped) = bounded(1);
    // A second signal finds the first one still there.
    ctrlc::set_handler(move || _ = stop.try_send(())).context("can't wait for signals")?;

    let address = SocketAddr::new(ip, port);
    let listener = transport::listen(address).with_context(|| format!("can't listen on {address}"))?;
    let address = listener.local_addr().context("can't listen")?;
    let limit =
        |given: Option<u32>, default| Limit { each: given.unwrap_or(default), loopback: given.is_some() };
    let limits = Limits {
        new_names: limit(max_new_names, DEFAULT_NEW_NAMES),
        questions: limit(max_questions, DEFAULT_QUESTIONS),
    };
    let clock = Clock::start();
    let identity = store.is_some().then(|| Identity {
        name: node.unwrap_or_else(|| keeper::default_node_name(address)),
        address: advertise.unwrap_or(address),
    });
    let path = match &identity {
        None => db.map_or_else(default_database, Ok)?,
        Some(identity) => operator::node_file(&identity.name)?,
    };
    let Opened { keeper, keypair, registry, place: database } = match &store {
        None => keeper::open_alone(&path, limits)?,
        Some(url) => {
            operator::claim(&path)?;
            keeper::open_shared(url, postgres::Options { allow_async }, limits, clock)?
        }
    };
    let fingerprint = keypair.public();

    let (admin, questions) = Admin::open();
    let control = Control::open(&path, admin.clone())
        .inspect_err(|error| tracing::warn!(%error, "no socket for --status and --release"))
        .ok();
    let metrics = metrics
        .map(|wanted| {
            metrics::serve(wanted, &admin).with_context(|| format!("can't serve metrics on {wanted}"))
        })
        .transpose()?
        .map_or_else(String::new, |address| format!(", metrics http://{address}/metrics"));

    let caps = Caps {
        total: affordable(max_connections),
        per_address: Some(max_per_address.unwrap_or(DEFAULT_PER_ADDRESS) as usize),
        per_loopback: max_per_address.map(|most| most as usize),
        handshakes: HANDSHAKES,
    };
    let relay = (!no_relay).then(|| {
        let [rate, total] = [relay_rate, relay_total].map(|kibibytes| u64::from(kibibytes) * 1024);
        let Caps { per_address, per_loopback, .. } = caps;
        Relay::new(clock, Bounds { links: relay_links, per_address, per_loopback, rate, total })
    });
    let (sender, events) = bounded(QUEUE);
    let rejected = connections::accept(listener, caps, keypair, relay.clone(), sender)
        .context("can't start the threads that are needed")?;

    tracing::info!(%address, database, key = %fingerprint, "listening");
    let as_node = identity.as_ref().map_or_else(String::new, |identity| format!(", node {}", identity.name));
    let line =
        format!("discovery listening on {address}, database {database}, key {fingerprint}{as_node}{metrics}");
    // Standard output may be closed, which is no reason not to serve.
    let mut stdout = io::stdout();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    let (key, started, place) = (fingerprint, clock.now(), database.clone());
    let about = About { address, database, key, started, rejected, relay, node: identity };
    let served = Server::new(clock, registry, keeper, control, about).serve(&events, &questions, &stopped);
    // Questions may come until here.
    drop(admin);
    served.with_context(|| format!("{place} can't be used any more"))
}

fn default_database() -> anyhow::Result<PathBuf> {
    let strategy =
        etcetera::choose_base_strategy().context("no home directory for the database; use --db")?;
    Ok(strategy.data_dir().join("peerchat").join("discovery.db"))
}

/// As many connections as wanted, if the system has the descriptors.
fn affordable(wanted: usize) -> usize {
    let limit = match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => limit,
        Err(error) => {
            tracing::warn!(%error, "can't read the limit of open files");
            return wanted;
        }
    };
    let most = usize::try_from(limit.saturating_sub(RESERVED_DESCRIPTORS).max(1)).unwrap_or(usize::MAX);
    if wanted > most {
        tracing::warn!(wanted, most, descriptors = limit, "fewer connections: too few file descriptors");
    }
    wanted.min(most)
}
