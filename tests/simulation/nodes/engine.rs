//! The database, as far as it matters here: connections that hold leases, one lock that nodes wait for, commits that take
//! time, and what becomes of all of that when connections break. What stands in it is [`Truth`](crate::ledger::Truth).

use std::collections::{BTreeMap, VecDeque};

use peerchat::accounts::ledger::{Ledger, Trouble, Turn, TurnId};
use peerchat::accounts::{Change, NodeId};

use crate::ledger::{Fate, Model, Rows};

use super::mutation::Mutation;
use super::world::{Event, Life, World};

/// PostgreSQL gives up a lock after this time.
const LOCK_WITHIN: u64 = 10_000;

/// How often in 1000 a standby takes over soon after a commit that was not confirmed.
const FAILS_OVER: u32 = 300;

/// What a node's ledger thread asks for.
#[derive(Debug, Clone)]
pub enum Call {
    Take,
    Read {
        /// Whether the loop waits for it.
        ordered: bool,
    },
    Give(Vec<Change>),
    RollBack,
    /// To load everything, after it has joined as a new node if so.
    Anew {
        join: bool,
    },
}

#[derive(Debug)]
pub enum Reply {
    Turns(Vec<Turn>),
    Saved,
    Refused,
    Unsure,
    /// The node, the number of the last turn, and what the ledger holds then.
    Loaded(NodeId, usize, Rows),
    Down,
    Broken,
    Fenced,
}

/// A connection.
struct Link {
    life: Life,
    /// Whose lease it holds.
    id: NodeId,
}

#[derive(Default)]
pub struct Engine {
    pub is_down: bool,
    links: BTreeMap<u64, Link>,
    link_of: BTreeMap<Life, u64>,
    next_link: u64,
    /// The connection whose turn it is.
    holder: Option<u64>,
    /// Which connections wait for theirs, with the numbers of the calls.
    queue: VecDeque<(u64, u64)>,
    /// What is being committed, with the number of the call.
    pending: BTreeMap<u64, (u64, Vec<Change>)>,
    models: BTreeMap<Life, Model>,
    /// Which turn each node knew when it asked last.
    seen: BTreeMap<Life, (usize, TurnId)>,
    beats: BTreeMap<NodeId, i64>,
    /// So many turns a failover can't drop.
    acked: usize,
}

impl World {
    pub fn add_model(&mut self, life: Life) {
        let mut model = Model::new(&self.truth);
        model.heedless = self.is(Mutation::LeaseIgnored);
        model.lockless = self.is(Mutation::WithoutLock);
        self.engine.models.insert(life, model);
    }

    /// Whether the lease of a node is held, and how often the node has said that it is alive.
    pub fn lease(&self, id: NodeId) -> (bool, i64) {
        let leased = self.engine.links.values().any(|link| link.id == id);
        (leased, self.engine.beats.get(&id).copied().unwrap_or_default())
    }

    pub fn beat(&mut self, id: NodeId) {
        *self.engine.beats.entry(id).or_default() += 1;
    }

    /// A node asks for something: until it has an answer it knows what it knows now.
    pub fn note_seen(&mut self, life: Life) {
        let seen = self.model(life).seen();
        self.engine.seen.insert(life, seen);
    }

    pub fn link_of(&self, life: Life) -> Option<u64> {
        self.engine.link_of.get(&life).copied()
    }

    pub fn link_with_lease(&self, id: NodeId) -> Option<u64> {
        self.engine.links.iter().find(|(_, link)| link.id == id).map(|(number, _)| *number)
    }

    /// Whether this connection waits until its commit is confirmed.
    pub fn is_committing(&self, link: u64) -> bool {
        self.engine.pending.contains_key(&link)
    }

    /// A node that lives no more may have sent something before.
    fn still_waits(&self, life: Life, number: u64) -> bool {
        let run = self.nodes[life.0].run.as_ref().filter(|run| run.life == life);
        run.is_none_or(|run| run.clerk.waits_for(number))
    }

    pub fn called(&mut self, life: Life, number: u64, call: Call) {
        let is_alive = self.nodes[life.0].is_alive(life);
        if !matches!(call, Call::RollBack) && !self.still_waits(life, number) {
            return;
        }
        if self.engine.is_down || self.nodes[life.0].parted {
            self.engine.link_of.remove(&life);
            let delay = self.rng.u64(1..2000);
            let reply = if matches!(call, Call::Give(_)) { Reply::Unsure } else { Reply::Down };
            return self.after(delay, Event::Replied(life, number, Box::new(reply)));
        }
        let link = match (&call, self.link_of(life)) {
            (_, Some(link)) => link,
            (Call::Give(_), None) => return self.reply(life, number, Reply::Refused),
            (Call::RollBack, None) => return,
            (Call::Take | Call::Read { .. } | Call::Anew { .. }, None) if is_alive => self.connect(life),
            (Call::Take | Call::Read { .. } | Call::Anew { .. }, None) => return,
        };
        match call {
            Call::Take if self.is(Mutation::WithoutLock) => {
                let reply = self.news(life, Model::take);
                self.reply(life, number, reply);
            }
            Call::Take => {
                self.engine.queue.push_back((link, number));
                self.after(LOCK_WITHIN, Event::LockTimeout(link, number));
                self.grant();
            }
            Call::Read { .. } => {
                let reply = self.news(life, Model::read);
                self.reply(life, number, reply);
            }
            Call::Give(changes) => self.give(life, link, number, changes),
            Call::RollBack => {
                self.model(life).roll_back();
                self.release(link);
            }
            Call::Anew { join } => {
                if join {
                    self.model(life).join().unwrap();
                }
                let id = self.model(life).node();
                if let Some(link) = self.engine.links.get_mut(&link) {
                    link.id = id;
                }
                self.model(life).load().unwrap();
                let (known, rows) = {
                    let truth = self.truth.borrow();
                    (truth.turns().len(), truth.rows().clone())
                };
                self.reply(life, number, Reply::Loaded(id, known, rows));
            }
        }
    }

    fn model(&mut self, life: Life) -> &mut Model {
        self.engine.models.get_mut(&life).unwrap()
    }

    fn news(&mut self, life: Life, ask: impl Fn(&mut Model) -> Result<Vec<Turn>, Trouble<String>>) -> Reply {
        let mut news = ask(self.model(life));
        if matches!(news, Err(Trouble::Broken(_))) && self.is(Mutation::LineageIgnored) {
            self.model(life).load().unwrap();
            news = ask(self.model(life));
        }
        match news {
            Ok(turns) => Reply::Turns(turns),
            Err(Trouble::Broken(_)) => Reply::Broken,
            Err(Trouble::Fenced(_)) => Reply::Fenced,
            Err(Trouble::Down(_) | Trouble::Unusable(_)) => Reply::Down,
        }
    }

    fn reply(&mut self, life: Life, number: u64, reply: Reply) {
        let delay = self.rng.u64(1..=self.plan.latency);
        self.after(delay, Event::Replied(life, number, Box::new(reply)));
    }

    /// A node connects. It takes its lease from an earlier connection, which is over from then on, and has everything
    /// confirmed if it does not know what became of a commit.
    fn connect(&mut self, life: Life) -> u64 {
        let id = self.model(life).node();
        while let Some(earlier) = self.link_with_lease(id).filter(|_| id != 0) {
            self.break_link(earlier);
        }
        let number = self.engine.next_link;
        self.engine.next_link += 1;
        self.engine.links.insert(number, Link { life, id });
        self.engine.link_of.insert(life, number);
        if let Some(run) = &mut self.nodes[life.0].run
            && std::mem::take(&mut run.clerk.is_unsure)
        {
            self.engine.acked = self.truth.borrow().turns().len();
        }
        number
    }

    /// The next one that waits for its turn has it.
    fn grant(&mut self) {
        while self.engine.holder.is_none()
            && let Some((link, number)) = self.engine.queue.pop_front()
        {
            let Some(life) = self.engine.links.get(&link).map(|link| link.life) else {
                continue;
            };
            let reply = self.news(life, Model::take);
            if matches!(reply, Reply::Turns(_)) {
                self.engine.holder = Some(link);
            }
            self.reply(life, number, reply);
        }
    }

    fn release(&mut self, link: u64) {
        if self.engine.holder == Some(link) {
            self.engine.holder = None;
            self.grant();
        }
    }

    fn give(&mut self, life: Life, link: u64, number: u64, changes: Vec<Change>) {
        if self.engine.holder != Some(link) && !self.is(Mutation::WithoutLock) {
            return self.reply(life, number, Reply::Refused);
        }
        if self.chance(self.plan.refused) {
            self.stats.fault("commit refused");
            self.model(life).fate = Fate::Refused;
            let _ = self.model(life).give(&changes);
            self.release(link);
            return self.reply(life, number, Reply::Refused);
        }
        self.engine.pending.insert(link, (number, changes));
        let delay = self.rng.u64(1..=self.plan.latency);
        if self.chance(self.plan.unsure) {
            let early = self.rng.u64(0..delay);
            self.after(early, Event::Broken(link));
        }
        self.after(delay, Event::Committed(link));
    }

    /// A commit is confirmed.
    pub fn committed(&mut self, link: u64) {
        let (Some(life), Some((number, changes))) =
            (self.engine.links.get(&link).map(|link| link.life), self.engine.pending.remove(&link))
        else {
            return;
        };
        let id = self.model(life).node();
        self.before_commit(id, &changes);
        let is_unsure = self.chance(self.plan.unsure);
        self.model(life).fate = if is_unsure { Fate::UnsureAndSaved } else { Fate::Saved };
        let _ = self.model(life).give(&changes);
        self.engine.acked = self.truth.borrow().turns().len();
        self.note(|| format!("node {} ({id}) turn {}: {changes:?}", life.0, self.engine.acked));
        self.release(link);
        self.notify(life.0);
        if is_unsure {
            self.stats.fault("commit unsure, but saved");
            self.break_link(link);
        } else {
            self.reply(life, number, Reply::Saved);
        }
    }

    fn notify(&mut self, by: usize) {
        for node in (0..self.nodes.len()).filter(|node| *node != by) {
            let Some(life) = self.nodes[node].run.as_ref().map(|run| run.life) else {
                continue;
            };
            let soon = self.rng.u64(1..=self.plan.latency);
            if !self.chance(self.plan.bad_wake) {
                self.after(soon, Event::Wake(life));
                continue;
            }
            match self.rng.u32(0..3) {
                0 => self.stats.fault("wake-up lost"),
                1 => {
                    self.stats.fault("wake-up late");
                    let late = self.rng.u64(100..3000);
                    self.after(late, Event::Wake(life));
                }
                _ => {
                    self.stats.fault("wake-up doubled");
                    self.after(soon, Event::Wake(life));
                    self.after(soon + 1, Event::Wake(life));
                }
            }
        }
    }

    pub fn lock_timeout(&mut self, link: u64, number: u64) {
        let waits = self.engine.queue.iter().any(|it| *it == (link, number));
        self.engine.queue.retain(|it| *it != (link, number));
        if let Some(life) = self.engine.links.get(&link).map(|link| link.life).filter(|_| waits) {
            self.stats.add("waited too long for a turn");
            self.reply(life, number, Reply::Down);
        }
    }

    /// A connection is over: with its lease and its turn. What was being committed is saved or not, and the node does not
    /// know which.
    pub fn break_link(&mut self, number: u64) {
        let Some(Link { life, .. }) = self.engine.links.remove(&number) else {
            return;
        };
        let was_known = self.engine.link_of.get(&life) == Some(&number);
        self.engine.link_of.retain(|_, link| *link != number);
        if let Some((_, changes)) = self.engine.pending.remove(&number) {
            let saved = self.rng.bool();
            self.stats.fault(if saved { "commit unsure, but saved" } else { "commit unsure, and lost" });
            let id = self.model(life).node();
            if saved {
                self.before_commit(id, &changes);
                self.note(|| format!("node {} ({id}) saves without knowing: {changes:?}", life.0));
            }
            self.model(life).fate = if saved { Fate::UnsureAndSaved } else { Fate::UnsureAndLost };
            let _ = self.model(life).give(&changes);
            if saved {
                self.notify(life.0);
                if self.chance(FAILS_OVER) {
                    let soon = self.rng.u64(1..300);
                    self.after(soon, Event::EngineFails(true));
                }
            }
        }
        if self.engine.holder == Some(number) {
            self.model(life).roll_back();
        }
        self.release(number);
        let delay = if self.rng.bool() { self.rng.u64(1..20) } else { self.rng.u64(1..3000) };
        if let Some(run) = self.nodes[life.0].run.as_mut().filter(|run| run.life == life && was_known)
            && let Some((number, call)) = run.clerk.call_again()
        {
            let reply = if matches!(call, Call::Give(_)) { Reply::Unsure } else { Reply::Down };
            // An answer that was on its way does not arrive.
            if let Some(seen) = self.engine.seen.get(&life).copied() {
                self.model(life).unsee(seen);
            }
            self.after(delay, Event::Replied(life, number, Box::new(reply)));
        }
    }

    /// Nothing reaches the engine for a while. If a standby takes over, what no node was told to be saved may be gone.
    pub fn engine_fails(&mut self, fail_over: bool) {
        if self.engine.is_down || !self.storm {
            return;
        }
        self.note(|| format!("the engine fails, failover: {fail_over}"));
        self.stats.fault(if fail_over { "failover" } else { "ledger away for all" });
        let away = if self.rng.bool() { self.rng.u64(50..1500) } else { self.rng.u64(1000..15_000) };
        self.after(away, Event::EngineUp);
        let links: Vec<u64> = self.engine.links.keys().copied().collect();
        self.engine.is_down = true;
        self.engine.queue.clear();
        links.into_iter().for_each(|link| self.break_link(link));
        if fail_over {
            let turns = self.truth.borrow().turns().len();
            let kept = self.rng.usize(self.engine.acked..=turns);
            if kept < turns {
                self.stats.fault("turn dropped by a failover");
            }
            self.note(|| format!("failover: {kept} of {turns} turns are kept"));
            self.truth.borrow_mut().fail_over(kept);
            self.engine.acked = kept;
            self.after_failover();
        }
    }

    pub fn engine_up(&mut self) {
        self.engine.is_down = false;
    }
}
