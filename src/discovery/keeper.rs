//! Which ledger a discovery has, alone or with others, and how the loop uses it.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;
use crossbeam_channel::{Receiver, never};

use super::registry::{Limits, Registry};
use super::shared::{Said, Shared, Standing};
use super::turns::{Order, Report};
use crate::accounts::ledger::{Ledger, Trouble};
use crate::accounts::{ALONE, Change, Node};
// The one place that says which databases there are.
use crate::store::directory::Directory;
use crate::store::postgres::watch::Watch;
use crate::store::postgres::{self, Postgres};
use crate::time::Clock;
use crate::transport::noise::Keypair;

pub enum Keeper {
    Alone(Box<Directory>),
    Shared(Shared),
}

/// What a discovery starts with.
pub struct Opened {
    pub keeper: Keeper,
    pub keypair: Keypair,
    pub registry: Registry,
    /// Where it is, for people.
    pub place: String,
}

/// Opens the database that this discovery has for itself.
pub fn open_alone(path: &Path, limits: Limits) -> anyhow::Result<Opened> {
    // Its errors name the file.
    let directory = Directory::open(path)?;
    let keypair = directory.keypair().with_context(|| path.display().to_string())?;
    let snapshot = directory.load().with_context(|| path.display().to_string())?;
    let registry = Registry::new(ALONE, snapshot, limits);
    Ok(Opened {
        keeper: Keeper::Alone(Box::new(directory)),
        keypair,
        registry,
        place: path.display().to_string(),
    })
}

/// Joins the nodes that share the ledger at `url`.
pub fn open_shared(
    url: &str,
    options: postgres::Options,
    limits: Limits,
    clock: Clock,
) -> anyhow::Result<Opened> {
    // Its errors name the place.
    let mut ledger = Postgres::open(url, options)?;
    let keypair = ledger.keypair()?;
    let node = ledger.join().map_err(Trouble::into_error)?;
    let snapshot = ledger.load().map_err(Trouble::into_error)?;
    let registry = Registry::new(node, snapshot, limits);
    let place = ledger.place();
    let watch = Watch::open(url)?;
    let shared =
        Shared::start(ledger, watch, node, limits, clock).context("can't start the threads of the ledger")?;
    Ok(Opened { keeper: Keeper::Shared(shared), keypair, registry, place })
}

impl Keeper {
    /// Returns what the ledger says to an order, if it says it at once. Else [`said`](Self::said) has it later.
    ///
    /// # Errors
    /// The database that is this discovery's own is damaged, or what is in the report [`Report::Refused`] in its place.
    pub fn carry_out(&self, order: Order) -> Result<Option<Report>, crate::store::StoreError> {
        match (self, order) {
            (Self::Alone(directory), Order::Give(changes)) => {
                directory.save(&changes).map(|()| Some(Report::Saved))
            }
            (Self::Alone(_), Order::Read | Order::Take | Order::RollBack) => Ok(None),
            (Self::Shared(shared), order) => {
                shared.order(order);
                Ok(None)
            }
        }
    }

    /// The loop hears this report of a ledger that is shared.
    pub fn note(&self, report: &Report) {
        if let Self::Shared(shared) = self {
            shared.note(report);
        }
    }

    pub fn said(&self) -> Receiver<Said> {
        match self {
            Self::Alone(_) => never(),
            Self::Shared(shared) => shared.said().clone(),
        }
    }

    pub fn standing(&self) -> Option<Standing> {
        match self {
            Self::Alone(_) => None,
            Self::Shared(shared) => Some(shared.standing()),
        }
    }

    /// Has the others told that this node goes.
    pub fn close(self) {
        if let Self::Shared(shared) = self {
            shared.leave();
        }
    }
}

/// The longest name of a node, in bytes.
const MAX_NODE_NAME: usize = 64;

/// Understands what a node is called.
pub fn node_name(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
    let is_name = !text.is_empty() && text.len() <= MAX_NODE_NAME && text.bytes().all(is_plain);
    let wanted = || format!("1 to {MAX_NODE_NAME} letters, digits, '.', '-', '_' and ':' are wanted here");
    if is_name { Ok(text.into()) } else { Err(wanted()) }
}

/// What a node is called that its operator gives no name: the machine's name and the port.
pub fn default_node_name(address: SocketAddr) -> String {
    let uname = rustix::system::uname();
    let machine = uname.nodename().to_str().ok().filter(|name| node_name(name).is_ok());
    let name = format!("{}:{}", machine.unwrap_or("discovery"), address.port());
    node_name(&name).unwrap_or_else(|_| format!("discovery:{}", address.port()))
}

/// Which node this is, before it has joined.
#[derive(Clone, Debug)]
pub struct Identity {
    pub name: String,
    pub address: SocketAddr,
}

impl Identity {
    pub fn node(&self, registry: &Registry) -> Node {
        Node {
            id: registry.node(),
            name: self.name.clone(),
            address: self.address,
            lost: false,
            reads: Change::READS,
        }
    }
}
