//! Changes as a registry might yield them: each one can follow the ones before.

use std::net::SocketAddr;

use fastrand::Rng;
use peerchat::accounts::{Account, Change, Node, Presence, Registration, Request, Snapshot, UserId};
use peerchat::protocol::rendezvous::{Strangers, ToClient};
use peerchat::protocol::{Name, PublicKey};
use peerchat::transport::noise::Keypair;

use super::ledger::Rows;

const USERS: u8 = 8;
/// Ids that no real node has.
pub const OTHERS: [i64; 2] = [1 << 40, (1 << 40) + 1];

pub struct Changes {
    rng: Rng,
    rows: Rows,
    keys: Vec<PublicKey>,
    now: i64,
}

impl Changes {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let keys = (0..USERS).map(|_| key(&mut rng)).collect();
        Self { rng, rows: Rows::default(), keys, now: 0 }
    }

    /// What they all come to.
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    pub fn some(&mut self, most: usize) -> Vec<Change> {
        (0..self.rng.usize(1..=most)).map(|_| self.next()).collect()
    }

    fn next(&mut self) -> Change {
        self.now += 1;
        let change = loop {
            if let Some(change) = self.tried() {
                break change;
            }
        };
        self.rows.apply(&change);
        change
    }

    fn tried(&mut self) -> Option<Change> {
        let now = self.now;
        let kept = self.rows.snapshot();
        let kind = self.rng.u32(0..100);
        if kind < 20 {
            return self.new_user(&kept);
        }
        if kind < 25 {
            return Some(self.about_nodes());
        }
        let account = self.one(&kept.accounts)?;
        let user = account.id;
        let other = self.one(&kept.accounts).map(|other| other.id).filter(|other| *other != user);
        Some(match kind {
            25..40 => {
                let registration = self.registration();
                match self.rng.u8(0..3) {
                    0 => Change::Move { user, registration, now },
                    anew => {
                        Change::LogIn { user, registration, presence: self.presence(), anew: anew == 1, now }
                    }
                }
            }
            40..50 => {
                let Presence { node, session, .. } = self.held(&kept, user);
                Change::LogOut { user, node, session, now }
            }
            50..56 => Change::AddConnection { one: user, other: other?, now },
            56..60 => Change::RemoveConnection { one: user, other: other? },
            60..68 => {
                let told = self.rng.bool().then_some(now);
                let request = Request { typed: self.rng.bool(), asked: now, told };
                Change::SetRequest { asker: user, target: other?, request }
            }
            68..71 => Change::RemoveRequest { asker: user, target: other? },
            71..76 => Change::AddRefusal { by: user, of: other?, now },
            76..79 => Change::RemoveRefusal { by: user, of: other? },
            79..95 => {
                let key = *self.rng.choice(&self.keys)?;
                Change::SetMate { user, key, shares: self.rng.u8(0..3) > 0 }
            }
            95..97 => Change::Tell { user, message: ToClient::Pong },
            _ => Change::ReleaseName { account: account.clone(), now },
        })
    }

    fn new_user(&mut self, kept: &Snapshot) -> Option<Change> {
        let [name, key] = [(); 2].map(|()| self.rng.u8(0..USERS));
        let name = self::name(name);
        let key = self.keys[usize::from(key)];
        if kept.accounts.iter().any(|account| account.name == name || account.key == key) {
            return None;
        }
        let account = Account { id: kept.last_id + 1, name, key, registration: self.registration() };
        Some(Change::AddUser { account, presence: self.presence(), now: self.now })
    }

    fn about_nodes(&mut self) -> Change {
        let id = OTHERS[self.rng.usize(0..2)];
        match self.rng.u8(0..4) {
            0 => Change::AddNode { node: node(id) },
            1 => Change::AddNode { node: Node { reads: Change::READ_BY_ALL, ..node(id) } },
            2 => Change::LoseNode { node: id },
            _ => Change::ForgetNode { node: id, now: self.now },
        }
    }

    fn one<'a>(&mut self, accounts: &'a [Account]) -> Option<&'a Account> {
        self.rng.choice(accounts)
    }

    /// The session that the user holds, mostly.
    fn held(&mut self, kept: &Snapshot, user: UserId) -> Presence {
        let held = kept.presences.iter().find(|(holder, _)| *holder == user).map(|(_, held)| held.clone());
        held.filter(|_| self.rng.u8(0..4) > 0).unwrap_or_else(|| self.presence())
    }

    fn registration(&mut self) -> Registration {
        let address = address(&mut self.rng);
        let all = [Strangers::Open, Strangers::Ask, Strangers::All, Strangers::Closed];
        Registration { address, observed: address.ip(), strangers: all[self.rng.usize(0..4)] }
    }

    fn presence(&mut self) -> Presence {
        let node = OTHERS[self.rng.usize(0..2)];
        let session = if self.rng.u8(0..8) == 0 { u64::MAX } else { self.rng.u64(0..4) };
        let start = self.rng.bool().then(|| self.rng.u64(..));
        Presence { start, dial: self.rng.u32(..), ..Presence::new(node, session, address(&mut self.rng)) }
    }
}

fn address(rng: &mut Rng) -> SocketAddr {
    let text = if rng.bool() { "192.0.2.1" } else { "[2001:db8::1]" };
    format!("{text}:{}", rng.u16(1..)).parse().unwrap()
}

fn key(rng: &mut Rng) -> PublicKey {
    loop {
        let seed = std::array::from_fn(|_| rng.u8(..));
        if let Some(keypair) = Keypair::from_secret(&seed) {
            return keypair.public();
        }
    }
}

pub fn name(number: u8) -> Name {
    format!("user{number}").parse().unwrap()
}

pub fn node(id: i64) -> Node {
    let address = "192.0.2.7:4000".parse().unwrap();
    Node { id, name: format!("node {id}"), address, lost: false, reads: Change::READS }
}

/// A new user with that id, and so with a name and a key that no other one of these has.
pub fn added(id: UserId) -> Change {
    let address: SocketAddr = "192.0.2.1:4000".parse().unwrap();
    let registration = Registration { address, observed: address.ip(), strangers: Strangers::Ask };
    let key = key(&mut Rng::with_seed(id.cast_unsigned()));
    let account = Account { id, name: name(id.try_into().unwrap()), key, registration };
    Change::AddUser { account, presence: Presence::new(OTHERS[0], 7, address), now: 5 }
}

/// With everything in the order of its keys, for not every ledger keeps one.
pub fn sorted(mut snapshot: Snapshot) -> Snapshot {
    snapshot.connections.sort_unstable();
    snapshot.requests.sort_by_key(|(asker, target, _)| (*asker, *target));
    snapshot.refusals.sort_unstable();
    snapshot.released.sort();
    snapshot.nodes.sort_by_key(|node| node.id);
    snapshot.presences.sort_by_key(|(user, _)| *user);
    snapshot.mates.sort();
    snapshot
}
