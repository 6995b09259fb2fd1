//! What goes on beside a node's turns: that others have given some, and which of them are alive.
//!
//! It has a connection of its own, for that of the turns waits for locks and commits.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::future::join3;

use super::error::{PostgresError, Problem};
use super::lease;
use super::link::{Database, Link};
use super::place::Place;
use super::read::{get, node};
use super::setup;
use crate::accounts::{Node, NodeId};

/// On which turns are told, each by the id of the node that gave it.
pub const CHANNEL: &str = "peerchat";

/// How long one look may take.
const LOOK_WITHIN: Duration = Duration::from_secs(5);

/// A beat needs not last: a node is told to be alive while a standby is waited for, too. And it waits for no lock for long.
const SETTINGS: &str = "SET synchronous_commit = off; SET lock_timeout = '1s'; LISTEN peerchat";

pub struct Watch {
    place: Place,
    link: Option<Link>,
}

/// What there is at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// How many turns have been given: the number of the last one.
    pub turns: i64,
    /// In the order of their ids.
    pub nodes: Vec<NodeSeen>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSeen {
    pub id: NodeId,
    pub name: String,
    pub address: SocketAddr,
    pub lost: bool,
    /// Rises as long as the node is alive.
    pub beat: i64,
    /// Whether the connection is there on which it commits. It may come back after it was not.
    pub leased: bool,
}

/// Each call that finds its connection broken fails, within some seconds; the next one connects anew.
impl Watch {
    /// Connects to the ledger at `url`, which has been made.
    pub fn open(url: &str) -> Result<Self, PostgresError> {
        let mut watch = Self { place: Place::parse(url)?, link: None };
        let connected = watch.connect(Instant::now() + LOOK_WITHIN).map(drop);
        connected.map_err(|problem| watch.place.error(problem))?;
        Ok(watch)
    }

    /// Waits until another node than `own` has given a turn, at most for `within`. Returns whether one may have.
    pub fn wait(&mut self, own: NodeId, within: Duration) -> Result<bool, PostgresError> {
        let waited = self.wait_on(own, within);
        waited.map_err(|problem| self.place.error(problem))
    }

    fn wait_on(&mut self, own: NodeId, within: Duration) -> Result<bool, Problem> {
        let end = Instant::now() + within;
        if self.link.is_none() {
            self.connect(Instant::now() + LOOK_WITHIN)?;
            // Without a connection nothing was heard.
            return Ok(true);
        }
        let own = own.to_string();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let said = self.asked(Instant::now() + LOOK_WITHIN, |link| link.listen(left))?;
            if said.iter().any(|node| *node != own) {
                return Ok(true);
            }
            if said.is_empty() {
                return Ok(false);
            }
        }
    }

    /// Says that `own` is alive, and looks at all nodes. To be called each second.
    pub fn look(&mut self, own: NodeId) -> Result<Seen, PostgresError> {
        let deadline = Instant::now() + LOOK_WITHIN;
        let seen =
            self.asked(deadline, |link| link.ask(deadline, async |database| look(database, own).await));
        seen.map_err(|problem| self.place.error(problem))
    }

    /// Ends the connection on which a node commits. Returns whether there was one that could be ended.
    pub fn terminate(&mut self, node: NodeId) -> Result<bool, PostgresError> {
        let deadline = Instant::now() + LOOK_WITHIN;
        let ended = self.asked(deadline, |link| {
            link.ask(deadline, async |database| lease::end_holder(database, node).await)
        });
        ended.map_err(|problem| self.place.error(problem))
    }

    fn asked<T>(
        &mut self,
        deadline: Instant,
        ask: impl FnOnce(&mut Link) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let answer = ask(self.connect(deadline)?);
        self.link.take_if(|link| link.is_broken());
        answer
    }

    fn connect(&mut self, deadline: Instant) -> Result<&mut Link, Problem> {
        let link = match self.link.take() {
            Some(link) => link,
            None => {
                let mut link = Link::open(&self.place, deadline)?;
                link.ask(deadline, async |database| {
                    setup::settle_in(database).await?;
                    Ok(database.batch_execute(SETTINGS).await?)
                })?;
                link
            }
        };
        Ok(self.link.insert(link))
    }
}

async fn look(database: &Database, own: NodeId) -> Result<Seen, Problem> {
    let beat = database.prepared("UPDATE nodes SET beat = beat + 1 WHERE id = $1").await?;
    let turns = database.prepared("SELECT max(n) FROM turns").await?;
    let nodes = format!(
        "WITH held AS MATERIALIZED ({})
         SELECT id, name, address, lost, reads, beat, EXISTS (SELECT FROM held WHERE held.node = nodes.id)
         FROM nodes ORDER BY id",
        lease::HELD
    );
    let (own, class) = ([&own as _], [&lease::class() as _]);
    let (beaten, turns, nodes) =
        join3(database.execute(&beat, &own), database.query_one(&turns, &[]), database.query(&nodes, &class))
            .await;
    beaten?;
    let nodes = nodes?;
    let nodes = nodes.iter().map(|row| {
        let Node { id, name, address, lost, .. } = node(row)?;
        Ok(NodeSeen { id, name, address, lost, beat: get(row, 5)?, leased: get(row, 6)? })
    });
    Ok(Seen { turns: get(&turns?, 0)?, nodes: nodes.collect::<Result<_, Problem>>()? })
}
