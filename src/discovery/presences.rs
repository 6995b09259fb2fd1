//! Which user is online in which session of which node, and which nodes there are: as the ledger says.

use std::collections::{BTreeMap, HashMap};

use super::users::UserIndex;
use crate::accounts::{Node, NodeId, Presence};
use crate::transport::ConnectionId;
use crate::undo::{Table, transactional};

#[derive(Debug)]
pub struct Presences {
    /// The node that all of this is in.
    own: NodeId,
    held: Table<HashMap<UserIndex, Presence>>,
    nodes: Table<BTreeMap<NodeId, Node>>,
}

impl Presences {
    pub fn new(
        own: NodeId,
        held: impl Iterator<Item = (UserIndex, Presence)>,
        nodes: impl IntoIterator<Item = Node>,
    ) -> Self {
        let nodes = nodes.into_iter().map(|node| (node.id, node)).collect();
        Self { own, held: Table::new(held.collect()), nodes: Table::new(nodes) }
    }

    pub const fn own(&self) -> NodeId {
        self.own
    }

    pub fn of(&self, user: UserIndex) -> Option<&Presence> {
        self.held.get(&user)
    }

    /// All who are online.
    pub fn all(&self) -> impl Iterator<Item = (UserIndex, &Presence)> {
        self.held.iter().map(|(user, presence)| (*user, presence))
    }

    /// The session that the user holds at another node.
    pub fn elsewhere(&self, user: UserIndex) -> Option<&Presence> {
        self.of(user).filter(|presence| presence.node != self.own)
    }

    /// How many users are online at other nodes.
    pub fn count_elsewhere(&self) -> usize {
        self.held.values().filter(|presence| presence.node != self.own).count()
    }

    pub fn set(&mut self, user: UserIndex, presence: Presence) {
        self.held.insert(user, presence);
    }

    /// Returns whether the user held that session.
    pub fn end(&mut self, user: UserIndex, node: NodeId, session: ConnectionId) -> bool {
        let held = self.of(user).is_some_and(|it| (it.node, it.session) == (node, session));
        if held {
            self.held.remove(&user);
        }
        held
    }

    /// The account is gone.
    pub fn remove(&mut self, user: UserIndex) {
        self.held.remove(&user);
    }

    /// The users who hold sessions at a node, and these.
    pub fn at(&self, node: NodeId) -> Vec<(UserIndex, ConnectionId)> {
        let there = self.held.iter().filter(|(_, presence)| presence.node == node);
        let mut there: Vec<_> = there.map(|(user, presence)| (*user, presence.session)).collect();
        there.sort_unstable();
        there
    }

    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(&id)
    }

    /// Whether each node, also one that is lost and may not have noticed, reads changes of this kind.
    pub fn all_read(&self, kind: i32) -> bool {
        self.nodes.values().all(|node| node.reads >= kind)
    }

    pub fn add_node(&mut self, node: Node) {
        self.nodes.insert(node.id, node);
    }

    pub fn lose_node(&mut self, id: NodeId) {
        self.nodes.change(&id, |node| node.lost = true);
    }

    pub fn forget_node(&mut self, id: NodeId) {
        self.nodes.remove(&id);
    }
}

transactional!(Presences { held, nodes });
