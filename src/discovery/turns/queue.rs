//! What waits for the ledger, and of which sessions: what a session says is decided on after what it has said before.

use std::collections::{HashSet, VecDeque};

use super::Work;
use crate::transport::ConnectionId;

#[derive(Debug, Default)]
pub(super) struct Queue {
    works: VecDeque<Work>,
    sessions: HashSet<ConnectionId>,
}

impl Queue {
    pub fn push(&mut self, work: Work) {
        self.sessions.extend(work.session());
        self.works.push_back(work);
    }

    /// Whether something of this session waits here.
    pub fn holds(&self, session: ConnectionId) -> bool {
        self.sessions.contains(&session)
    }

    pub fn len(&self) -> usize {
        self.works.len()
    }

    pub fn is_empty(&self) -> bool {
        self.works.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Work> {
        self.works.iter()
    }

    /// Takes all that waits, in the order in which it came.
    pub fn take(&mut self) -> VecDeque<Work> {
        self.sessions.clear();
        std::mem::take(&mut self.works)
    }

    /// The first ones wait no more.
    pub fn drop_first(&mut self, count: usize) {
        self.works.drain(..count.min(self.works.len()));
        self.sessions.clear();
        self.sessions.extend(self.works.iter().filter_map(Work::session));
    }
}
