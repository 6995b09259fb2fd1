//! A ledger in memory that several nodes share, with the faults of a real one on demand.

#![allow(dead_code, reason = "each test uses its part")]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use peerchat::accounts::ledger::{Given, Ledger, Trouble, Turn, TurnId};
use peerchat::accounts::{Account, Change, Node, NodeId, Presence, Request, Snapshot, UserId};
use peerchat::protocol::{Name, PublicKey};

/// What stands in the ledger, as rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    pub accounts: BTreeMap<UserId, Account>,
    last_id: UserId,
    pub connections: BTreeSet<(UserId, UserId)>,
    pub requests: BTreeMap<(UserId, UserId), Request>,
    pub refusals: BTreeMap<(UserId, UserId), i64>,
    pub released: BTreeMap<Name, PublicKey>,
    pub nodes: BTreeMap<NodeId, Node>,
    pub presences: BTreeMap<UserId, Presence>,
    pub mates: BTreeSet<(UserId, PublicKey)>,
}

/// What is true: all nodes see the same one.
#[derive(Debug, Default)]
pub struct Truth {
    rows: Rows,
    turns: Vec<Turn>,
    /// How many of the first turns are not told any more.
    cut: usize,
    joins: NodeId,
    last_turn: u64,
    /// Whose turn it is.
    holder: Option<NodeId>,
}

/// What becomes of the next changes that are given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fate {
    #[default]
    Saved,
    Refused,
    UnsureAndSaved,
    UnsureAndLost,
}

/// One node's way to the truth.
#[derive(Debug)]
pub struct Model {
    truth: Rc<RefCell<Truth>>,
    node: NodeId,
    /// The number and the id of the last turn that was told.
    seen: (usize, TurnId),
    pub fate: Fate,
    /// Whether the truth can't be reached.
    pub down: bool,
    /// Whether it goes on although it is lost. No real one does.
    pub heedless: bool,
    /// Whether it gives although it is another one's turn. No real one does.
    pub lockless: bool,
}

impl Rows {
    pub fn apply(&mut self, change: &Change) {
        match change.clone() {
            Change::AddUser { account, presence, .. } => {
                self.last_id = account.id;
                self.presences.insert(account.id, presence);
                self.accounts.insert(account.id, account);
            }
            Change::LogIn { user, registration, presence, anew, .. } => {
                if let Some(account) = self.accounts.get_mut(&user) {
                    account.registration = registration;
                    self.presences.insert(user, presence);
                    if anew {
                        self.forget_mates(user);
                    }
                }
            }
            Change::Move { user, registration, .. } => {
                if let Some(account) = self.accounts.get_mut(&user) {
                    account.registration = registration;
                }
            }
            Change::LogOut { user, node, session, .. } => {
                let holds = |it: &Presence| (it.node, it.session) == (node, session);
                if self.presences.get(&user).is_some_and(holds) {
                    self.presences.remove(&user);
                    self.forget_mates(user);
                }
            }
            Change::AddConnection { one, other, .. } => {
                self.connections.insert((one.min(other), one.max(other)));
            }
            Change::RemoveConnection { one, other } => {
                self.connections.remove(&(one.min(other), one.max(other)));
            }
            Change::SetRequest { asker, target, request } => {
                self.requests.insert((asker, target), request);
            }
            Change::RemoveRequest { asker, target } => {
                self.requests.remove(&(asker, target));
            }
            Change::AddRefusal { by, of, now } => {
                self.refusals.insert((by, of), now);
            }
            Change::RemoveRefusal { by, of } => {
                self.refusals.remove(&(by, of));
            }
            Change::ReleaseName { account, .. } => {
                let is_of = |(one, other): (UserId, UserId)| one == account.id || other == account.id;
                self.connections.retain(|pair| !is_of(*pair));
                self.requests.retain(|pair, _| !is_of(*pair));
                self.refusals.retain(|pair, _| !is_of(*pair));
                self.presences.remove(&account.id);
                self.forget_mates(account.id);
                self.accounts.remove(&account.id);
                self.released.insert(account.name, account.key);
            }
            Change::SetMate { user, key, shares: true } => {
                self.mates.insert((user, key));
            }
            Change::SetMate { user, key, shares: false } => {
                self.mates.remove(&(user, key));
            }
            Change::Tell { .. } => {}
            Change::AddNode { node } => {
                self.nodes.insert(node.id, node);
            }
            Change::LoseNode { node } => {
                self.nodes.entry(node).and_modify(|node| node.lost = true);
            }
            Change::ForgetNode { node, .. } => {
                let gone = self.presences.iter().filter(|(_, it)| it.node == node);
                for user in gone.map(|(user, _)| *user).collect::<Vec<_>>() {
                    self.presences.remove(&user);
                    self.forget_mates(user);
                }
                self.nodes.remove(&node);
            }
        }
    }

    fn forget_mates(&mut self, user: UserId) {
        self.mates.retain(|(by, _)| *by != user);
    }

    pub fn snapshot(&self) -> Snapshot {
        let Self { accounts, last_id, connections, requests, refusals, released, nodes, presences, mates } =
            self.clone();
        Snapshot {
            accounts: accounts.into_values().collect(),
            last_id,
            connections: connections.into_iter().collect(),
            requests: requests
                .into_iter()
                .map(|((asker, target), request)| (asker, target, request))
                .collect(),
            refusals: refusals.into_iter().map(|((by, of), since)| (by, of, since)).collect(),
            released: released.into_iter().collect(),
            nodes: nodes.into_values().collect(),
            presences: presences.into_iter().collect(),
            mates: mates.into_iter().collect(),
        }
    }
}

impl Truth {
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    pub fn turns(&self) -> &[Turn] {
        &self.turns
    }

    pub fn holder(&self) -> Option<NodeId> {
        self.holder
    }

    /// The node's connection is ended, and its turn with it.
    pub fn end_turn_of(&mut self, node: NodeId) {
        self.holder = self.holder.filter(|holder| *holder != node);
    }

    /// A standby takes over that has only so many of the turns.
    pub fn fail_over(&mut self, kept: usize) {
        self.turns.truncate(kept);
        self.cut = self.cut.min(kept.saturating_sub(1));
        self.rows = Rows::default();
        for change in self.turns.iter().flat_map(|turn| &turn.changes) {
            self.rows.apply(change);
        }
        self.holder = None;
    }

    /// The oldest turns are not told any more.
    pub fn cut(&mut self, turns: usize) {
        self.cut = turns.min(self.turns.len().saturating_sub(1));
    }

    fn save(&mut self, node: NodeId, changes: &[Change]) -> (usize, TurnId) {
        self.last_turn += 1;
        let id = u128::from(self.last_turn).to_be_bytes();
        changes.iter().for_each(|change| self.rows.apply(change));
        let number = self.turns.len() + 1;
        self.turns.push(Turn { number: number as i64, id, node, changes: changes.to_vec() });
        (number, id)
    }
}

impl Model {
    pub fn new(truth: &Rc<RefCell<Truth>>) -> Self {
        let fate = Fate::default();
        let truth = Rc::clone(truth);
        Self { truth, node: 0, seen: (0, [0; 16]), fate, down: false, heedless: false, lockless: false }
    }

    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The number and the id of the last turn that was told.
    pub fn seen(&self) -> (usize, TurnId) {
        self.seen
    }

    /// What was told since then has not arrived.
    pub fn unsee(&mut self, seen: (usize, TurnId)) {
        self.seen = seen;
    }

    /// Whether others have said of this node that it is lost. It is gone for good if it has been there and is no more.
    fn is_fenced(&self) -> bool {
        let truth = self.truth.borrow();
        let added = |change: &Change| matches!(change, Change::AddNode { node } if node.id == self.node);
        let is_added = || truth.turns.iter().rev().any(|turn| turn.changes.iter().any(added));
        !self.heedless && truth.rows.nodes.get(&self.node).map_or_else(is_added, |node| node.lost)
    }

    fn news(&mut self) -> Result<Vec<Turn>, Trouble<String>> {
        if self.is_fenced() {
            return Err(Trouble::Fenced(format!("node {} is lost", self.node)));
        }
        let truth = self.truth.borrow();
        let (number, id) = self.seen;
        let known = number == 0 && truth.cut == 0
            || number > truth.cut && truth.turns.get(number - 1).is_some_and(|turn| turn.id == id);
        if !known {
            return Err(Trouble::Broken(format!("turn {number} is not there any more")));
        }
        let news = truth.turns[number..].to_vec();
        if let Some(last) = news.last() {
            self.seen = (truth.turns.len(), last.id);
        }
        Ok(news)
    }
}

impl Ledger for Model {
    type Error = String;

    fn join(&mut self) -> Result<NodeId, Trouble<String>> {
        if self.down {
            return Err(Trouble::Down("down".into()));
        }
        let mut truth = self.truth.borrow_mut();
        truth.end_turn_of(self.node);
        truth.joins += 1;
        // Another one each time, and not a higher one.
        self.node = (truth.joins * 0x4c95_7f2d) & 0x7fff_ffff;
        Ok(self.node)
    }

    fn load(&mut self) -> Result<Snapshot, Trouble<String>> {
        if self.down {
            return Err(Trouble::Down("down".into()));
        }
        let truth = self.truth.borrow();
        self.seen = (truth.turns.len(), truth.turns.last().map_or([0; 16], |last| last.id));
        Ok(truth.rows.snapshot())
    }

    /// Whose turn it is already must not ask, and others wait until it is over.
    fn take(&mut self) -> Result<Vec<Turn>, Trouble<String>> {
        if self.down {
            return Err(Trouble::Down("down".into()));
        }
        assert!(self.lockless || self.truth.borrow().holder.is_none(), "one turn at a time");
        let news = self.news()?;
        self.truth.borrow_mut().holder = Some(self.node);
        Ok(news)
    }

    fn give(&mut self, changes: &[Change]) -> Given<String> {
        let mut truth = self.truth.borrow_mut();
        assert!(self.lockless || truth.holder == Some(self.node), "only in its own turn");
        truth.end_turn_of(self.node);
        let fate = std::mem::take(&mut self.fate);
        if changes.is_empty() {
            return Given::Saved;
        }
        match fate {
            Fate::Saved => {
                self.seen = truth.save(self.node, changes);
                Given::Saved
            }
            Fate::Refused => Given::Refused(Trouble::Down("full".into())),
            Fate::UnsureAndSaved => {
                truth.save(self.node, changes);
                Given::Unsure(Trouble::Down("cut off".into()))
            }
            Fate::UnsureAndLost => Given::Unsure(Trouble::Down("cut off".into())),
        }
    }

    fn position(&self) -> i64 {
        self.seen.0 as i64
    }

    fn roll_back(&mut self) {
        self.truth.borrow_mut().end_turn_of(self.node);
    }

    fn read(&mut self) -> Result<Vec<Turn>, Trouble<String>> {
        if self.down {
            return Err(Trouble::Down("down".into()));
        }
        self.news()
    }
}
