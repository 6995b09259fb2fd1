//! A ledger in PostgreSQL, which several discoveries share.
//!
//! All nodes keep everything in memory, and change it in turns that stand in the table `turns`, with a lock that is held
//! from before the last turns are read until the commit: numbers follow each other in the order of the commits. What
//! is kept stands in tables as well, written by the same transaction, for nodes that start. `schema.sql` has both.
//!
//! Of a node, its lease and its row in `nodes` say whether it may still change anything: the row is looked at in each turn,
//! and its lease is held by the connection on which it commits. [`watch`] is what goes on beside that.
//!
//! Between a node and the server there may be no pooler that hands one connection to many: locks belong to
//! connections. A commit counts once the disk has it and, where there are standbys that could take over, one of these: a server with
//! standbys for which none is waited is refused.

use std::time::{Duration, Instant};

use futures_util::future::{OptionFuture, join3};

use crate::accounts::ledger::{Given, Ledger, Trouble, Turn};
use crate::accounts::{Change, NodeId, Snapshot};
use crate::transport::noise::Keypair;
use error::{PostgresError, Problem};
use fold::fold;
use link::{Database, Link};
use place::Place;
use read::Mark;
use write::{Failure, Write, encoded, writes};

pub mod copy;
pub mod error;
mod fold;
mod format;
mod lease;
mod link;
mod place;
mod read;
mod setup;
pub mod watch;
mod write;

/// A node gives a turn, or makes the schema, while it holds this lock.
const TURN_LOCK: i64 = i64::from_be_bytes(*b"peerchat");

/// How long a call may take, also one that has to connect first. PostgreSQL itself gives up a lock after 10 s.
const CALL_WITHIN: Duration = Duration::from_secs(15);
/// How much of that connecting may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// To read everything: ten million users take some 20 s.
const LOAD_WITHIN: Duration = Duration::from_secs(300);
/// To bring an older schema up to date.
const MIGRATE_WITHIN: Duration = Duration::from_secs(300);
/// Each so many turns, old ones are removed.
const PRUNED_EVERY: i64 = 64;

const BEGIN: &str = "BEGIN";
const LOCK: &str = "SELECT pg_advisory_xact_lock($1)";
const GIVE: &str = "
    WITH turn AS (
        INSERT INTO turns (n, id, after, node, at, changes) VALUES ($1, $2, $3, $4::bigint, clock_timestamp(), $5))
    SELECT pg_notify('peerchat', $4::bigint::text)";

/// It finds the first one that stays by their numbers, for only those that go stand before it.
const PRUNE: &str = "
    DELETE FROM turns WHERE n < (
        SELECT n FROM turns WHERE at > clock_timestamp() - interval '10 minutes' ORDER BY n LIMIT 1)";

/// See the module.
pub struct Postgres {
    place: Place,
    options: Options,
    /// None until it is connected anew.
    link: Option<Link>,
    node: Option<NodeId>,
    /// Whether the node's row has been there: it is gone for good if it is not there then.
    is_added: bool,
    /// None until everything was loaded.
    last: Option<Mark>,
    /// Whether a commit may still come to its end, or be lost by a standby that takes over.
    is_unsure: bool,
    in_turn: bool,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Whether a server may have standbys for which no commit waits.
    pub allow_async: bool,
}

impl Postgres {
    /// Connects to the ledger at `url`, a connection string of `libpq` in the form of a URL, and makes it there, with a new
    /// key, if there is none.
    pub fn open(url: &str, options: Options) -> Result<Self, PostgresError> {
        let place = Place::parse(url)?;
        let (is_added, is_unsure, in_turn) = (false, false, false);
        let mut postgres =
            Self { place, options, link: None, node: None, is_added, last: None, is_unsure, in_turn };
        postgres.make().map_err(|problem| postgres.place.error(problem))?;
        Ok(postgres)
    }

    fn make(&mut self) -> Result<(), Problem> {
        let deadline = Instant::now() + CALL_WITHIN;
        let mut link = self.reach(deadline)?;
        if link.ask(deadline, async |database| format::make(database).await)? {
            link.ask(Instant::now() + MIGRATE_WITHIN, async |database| format::migrate(database).await)?;
        }
        drop(link);
        self.connect(Instant::now() + CALL_WITHIN).map(drop)
    }

    /// Where it is: a URL without the password.
    pub fn location(&self) -> String {
        self.place.to_string()
    }

    /// Where it is, without the password.
    pub fn place(&self) -> String {
        self.place.to_string()
    }

    /// The key of discovery, which all nodes have.
    pub fn keypair(&mut self) -> Result<Keypair, PostgresError> {
        let deadline = Instant::now() + CALL_WITHIN;
        let read = self.ask(deadline, async |database| setup::keypair(database).await);
        read.map_err(|problem| self.place.error(problem))
    }

    /// Connects, without asking anything of the schema.
    fn reach(&self, deadline: Instant) -> Result<Link, Problem> {
        let soon = deadline.min(Instant::now() + CONNECT_WITHIN);
        let mut link = Link::open(&self.place, soon)?;
        let allow_async = self.options.allow_async;
        link.ask(deadline, async |database| {
            setup::settle_in(database).await?;
            if allow_async { Ok(()) } else { setup::check_replication(database).await }
        })?;
        Ok(link)
    }

    /// The connection, which holds the node's lease if the node has joined.
    fn connect(&mut self, deadline: Instant) -> Result<&mut Link, Problem> {
        let there = self.link.take().filter(|link| !link.is_broken());
        let link = if let Some(link) = there {
            link
        } else {
            let mut link = self.reach(deadline)?;
            let node = self.node;
            link.ask(deadline, async |database| {
                format::check(database).await?;
                match node {
                    Some(node) => lease::take(database, node).await,
                    None => Ok(()),
                }
            })?;
            link
        };
        Ok(self.link.insert(link))
    }

    /// Asks, and leaves no transaction behind if that fails.
    fn ask<T>(
        &mut self,
        deadline: Instant,
        question: impl AsyncFnOnce(&Database) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let answer = self.connect(deadline)?.ask(deadline, question);
        if let Err(problem) = &answer {
            self.give_up(problem);
        }
        answer
    }

    /// Ends a transaction, if there is one, after what went wrong in it.
    fn give_up(&mut self, problem: &Problem) {
        if problem.is_of_another_schema() {
            self.link = None;
        }
        self.abandon();
    }

    /// Ends a transaction, if there is one. A connection that can't do that is given up, and the server ends it.
    fn abandon(&mut self) {
        self.in_turn = false;
        let deadline = Instant::now() + CONNECT_WITHIN;
        let rolled_back = |link: &mut Link| {
            link.ask(deadline, async |database| Ok(database.batch_execute("ROLLBACK").await?)).is_ok()
        };
        self.link = self.link.take().filter(|link| !link.is_broken()).and_then(|mut link| {
            let is_of_use = rolled_back(&mut link);
            is_of_use.then_some(link)
        });
    }

    /// After a commit with an unknown outcome: waits until that one is over, and until a commit that follows is where it
    /// can't be lost. What is read from then on holds.
    fn settle(&mut self, deadline: Instant) -> Result<(), Problem> {
        if !self.is_unsure {
            return Ok(());
        }
        self.connect(deadline)?.take_warning();
        let barrier = format!(
            "BEGIN; SELECT pg_advisory_xact_lock({TURN_LOCK}); UPDATE ledger SET format = format; COMMIT"
        );
        self.ask(deadline, async |database| Ok(database.batch_execute(&barrier).await?))?;
        if let Some(warning) = self.link.as_mut().and_then(Link::take_warning) {
            return Err(Problem::Unconfirmed(warning));
        }
        self.is_unsure = false;
        Ok(())
    }

    /// Begins a run as another node than any before. What was loaded still counts.
    fn try_join(&mut self) -> Result<NodeId, Problem> {
        let deadline = Instant::now() + CALL_WITHIN;
        // A new connection takes the lease of this one, once there is one.
        self.node = None;
        let node = self.ask(deadline, async |database| lease::draw(database).await)?;
        self.node = Some(node);
        self.is_added = false;
        Ok(node)
    }

    fn try_load(&mut self) -> Result<Snapshot, Problem> {
        self.settle(Instant::now() + CALL_WITHIN)?;
        let (all, last) = self.ask(Instant::now() + LOAD_WITHIN, async |database| {
            let begin = "
                BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
                SET LOCAL statement_timeout = 0;
                SET LOCAL idle_in_transaction_session_timeout = 0;
                SET LOCAL enable_seqscan = on";
            database.batch_execute(begin).await?;
            let loaded = read::load(database).await?;
            database.batch_execute("COMMIT").await?;
            Ok(loaded)
        })?;
        self.last = Some(last);
        Ok(all)
    }

    /// The turns since the last one. Begins this node's turn before, if that is wanted.
    fn news(&mut self, begins_turn: bool) -> Result<Vec<Turn>, Problem> {
        let deadline = Instant::now() + CALL_WITHIN;
        self.settle(deadline)?;
        let last = self.last.ok_or(Problem::Broken(0))?;
        let (own, is_added) = (self.node.unwrap_or_default(), self.is_added);
        let (turns, last, is_added) = self.ask(deadline, async |database| {
            let (begin, lock) = (database.prepared(BEGIN).await?, database.prepared(LOCK).await?);
            let turns = database.prepared(read::TURNS).await?;
            let (key, place) = ([&TURN_LOCK as _], [&last.number as _, &own as _]);
            let asked = join3(
                OptionFuture::from(begins_turn.then(|| database.execute(&begin, &[]))),
                OptionFuture::from(begins_turn.then(|| database.execute(&lock, &key))),
                database.query(&turns, &place),
            );
            let (begun, locked, turns) = asked.await;
            begun.transpose()?;
            locked.transpose()?;
            let (turns, last, lost) = read::follow(last, &turns?)?;
            let added = |change: &Change| matches!(change, Change::AddNode { node: it } if it.id == own);
            let is_added = is_added || turns.iter().any(|turn| turn.changes.iter().any(added));
            match lost {
                Some(true) => Err(Problem::Fenced),
                None if is_added => Err(Problem::Fenced),
                _ => Ok((turns, last, is_added || lost.is_some())),
            }
        })?;
        (self.last, self.is_added) = (Some(last), is_added);
        Ok(turns)
    }

    fn try_give(&mut self, changes: &[Change]) -> Result<(), Failure> {
        let last = self.last.filter(|_| std::mem::take(&mut self.in_turn));
        let last = last.ok_or(Failure::Refused(Problem::NoTurn))?;
        let Some(node) = self.node else {
            return Err(Failure::Refused(Problem::NoTurn));
        };
        if changes.is_empty() {
            self.abandon();
            return Ok(());
        }
        let turn = Mark { number: last.number + 1, id: setup::random().map_err(Failure::Refused)? };
        let mut writes = writes(&fold(changes));
        let ids = [turn.id, last.id].map(|id| id.to_vec());
        let [id, after] = ids;
        writes.push(Write::new(
            GIVE,
            [
                Box::new(turn.number),
                Box::new(id),
                Box::new(after),
                Box::new(node),
                Box::new(encoded(&changes)),
            ],
        ));
        if turn.number % PRUNED_EVERY == 0 {
            writes.push(Write::new(PRUNE, []));
        }
        self.commit(writes)?;
        self.last = Some(turn);
        self.is_added |=
            changes.iter().any(|change| matches!(change, Change::AddNode { node: it } if it.id == node));
        Ok(())
    }

    /// Ends the transaction in which these are to be written.
    fn commit(&mut self, writes: Vec<Write<'_>>) -> Result<(), Failure> {
        // A turn that was begun on a connection that is gone is gone with it.
        let link = self.link.as_mut().filter(|link| !link.is_broken());
        let link = link.ok_or(Failure::Refused(Problem::NoTurn))?;
        link.take_warning();
        let deadline = Instant::now() + CALL_WITHIN;
        let committed = link.ask(deadline, async |database| Ok(write::commit(database, writes).await));
        match committed.unwrap_or_else(|problem| Err(Failure::Unsure(problem))) {
            Ok(()) => match link.take_warning() {
                Some(warning) => Err(self.unsure(Problem::Unconfirmed(warning))),
                None => Ok(()),
            },
            Err(Failure::Refused(problem)) => {
                self.give_up(&problem);
                Err(Failure::Refused(problem))
            }
            Err(Failure::Unsure(problem)) => Err(self.unsure(problem)),
        }
    }

    fn unsure(&mut self, problem: Problem) -> Failure {
        self.is_unsure = true;
        self.abandon();
        Failure::Unsure(problem)
    }

    fn trouble(&self, problem: Problem) -> Trouble<PostgresError> {
        let kind = match &problem {
            Problem::Broken(_) => Trouble::Broken,
            Problem::Fenced => Trouble::Fenced,
            problem if problem.is_damage() => Trouble::Unusable,
            _ => Trouble::Down,
        };
        kind(self.place.error(problem))
    }
}

impl Ledger for Postgres {
    type Error = PostgresError;

    fn join(&mut self) -> Result<NodeId, Trouble<PostgresError>> {
        self.try_join().map_err(|problem| self.trouble(problem))
    }

    fn load(&mut self) -> Result<Snapshot, Trouble<PostgresError>> {
        self.try_load().map_err(|problem| self.trouble(problem))
    }

    fn take(&mut self) -> Result<Vec<Turn>, Trouble<PostgresError>> {
        let news = self.news(true);
        self.in_turn = news.is_ok();
        news.map_err(|problem| self.trouble(problem))
    }

    fn give(&mut self, changes: &[Change]) -> Given<PostgresError> {
        match self.try_give(changes) {
            Ok(()) => Given::Saved,
            Err(Failure::Refused(problem)) => Given::Refused(self.trouble(problem)),
            Err(Failure::Unsure(problem)) => Given::Unsure(self.trouble(problem)),
        }
    }

    fn position(&self) -> i64 {
        self.last.map_or(0, |last| last.number)
    }

    fn roll_back(&mut self) {
        if self.in_turn {
            self.abandon();
        }
    }

    fn read(&mut self) -> Result<Vec<Turn>, Trouble<PostgresError>> {
        let news = self.news(false);
        news.map_err(|problem| self.trouble(problem))
    }
}
