//! The same account on two machines: the newest start holds the session, and the other stays out.
//!
//! Two journals that go on from one copy have no history in common. What such an account writes and
//! receives is judged only once there is peace; everybody else as always.

use std::collections::BTreeSet;
use std::rc::Rc;

use peerchat::store::journal::Journal;

use super::client::Client;
use super::snapshot::Snapshot;
use super::wire::ConnId;
use super::world::{Event, Pid, World};

impl World {
    /// Copies the first client to a new machine and starts it there.
    pub fn fork(&mut self) {
        let number = self.clients.len();
        let mut twin = Client::new(number, &mut self.rng);
        let original = &self.clients[0];
        let copy = Journal::in_memory(&original.name, &original.keypair).unwrap();
        Snapshot::take(&original.journal).restore(&copy);
        twin.name = original.name.clone();
        twin.keypair = copy.identity().unwrap().1;
        twin.journal = Rc::new(copy);
        self.clients.push(twin);
        self.oracle.add_twin();
        self.stats.add("account started twice");
        self.schedule(self.now, Event::Start(Pid::Client(number)));
        self.schedule(self.now + 1, Event::Type(number));
    }

    /// Whether this client's account runs on two machines.
    pub fn is_twin(&self, client: usize) -> bool {
        self.plan.twin && (client == 0 || self.clients[client].name == self.clients[0].name)
    }

    /// Whether a client has a session with discovery.
    pub fn has_session(&self, client: usize) -> bool {
        self.session(client).is_some()
    }

    /// A client's session with discovery.
    pub fn session(&self, client: usize) -> Option<ConnId> {
        let life = self.clients[client].life;
        let mut open = self.conns.iter().filter(|(_, conn)| {
            let [end, discovery] = conn.ends;
            !conn.peer && end.pid == Pid::Client(client) && end.life == life && end.open && discovery.open
        });
        open.next().map(|(id, _)| *id)
    }

    /// What is wrong with an account that was started twice.
    pub fn twin_unrest(&self) -> Option<String> {
        if !self.plan.twin {
            return None;
        }
        let twins: Vec<usize> = (0..self.clients.len()).filter(|client| self.is_twin(*client)).collect();
        let inside: BTreeSet<usize> =
            twins.iter().copied().filter(|client| self.has_session(*client)).collect();
        if inside.len() != 1 {
            return Some(format!("{inside:?} of {twins:?} are in"));
        }
        let told = |client: &usize| self.oracle.out.get(client) == Some(&self.clients[*client].life);
        if let Some(client) = twins.iter().find(|client| !inside.contains(client) && !told(client)) {
            return Some(format!("user{client} does not know that it is out"));
        }
        let links = self.open_links();
        let outside = twins.iter().find(|client| {
            !inside.contains(client) && links.keys().any(|(one, two)| one == *client || two == *client)
        });
        if let Some(client) = outside {
            return Some(format!("user{client} is out and has links"));
        }
        let starts: u64 = twins.iter().map(|client| self.clients[*client].life).sum();
        let superseded = self.oracle.superseded;
        (superseded >= starts).then(|| format!("superseded {superseded} times in {starts} starts"))
    }
}
