//! Clients, as far as discovery sees them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use fastrand::Rng;
use peerchat::protocol::rendezvous::{
    About, Asks, Identify, Mate, Refused, RefusedCode, Register, Request, Status, Strangers, ToClient,
    ToDiscovery,
};
use peerchat::protocol::{DEAD_AFTER, Name, PING_AFTER, PublicKey};
use peerchat::time::millis;
use peerchat::transport::ConnectionId;

use super::world::{Asked, Conn, Event, FromClient, FromNode, Plan, Question, World};

/// How long a client waits for its registration.
const PATIENCE: u64 = 10_000;

pub struct Client {
    pub key: PublicKey,
    pub name: Name,
    start: u64,
    dial: u32,
    address: u8,
    port: u16,
    strangers: Strangers,
    pub conn: Option<ConnectionId>,
    pub registered: bool,
    /// Another client has its account.
    pub superseded: bool,
    /// What it was told of others since it has registered.
    pub view: BTreeMap<Name, Status>,
    /// The names that it has dropped.
    dropped: BTreeSet<Name>,
    /// Whom it has dropped since it has registered: nothing is told of what ended by that.
    pub was_dropped: BTreeSet<Name>,
    /// The same, since each registration that has no answer yet.
    registering: VecDeque<BTreeSet<Name>>,
    redo: Vec<Name>,
    /// Whose keys it says it shares a room with.
    pub mates: BTreeSet<PublicKey>,
    heard: u64,
    pub offline_until: u64,
    names: u32,
}

impl Client {
    pub fn all(rng: &mut Rng, plan: &Plan) -> Vec<Self> {
        let names = if plan.contested { plan.clients * 3 / 4 } else { plan.clients };
        let mut all: Vec<_> = (0..plan.clients)
            .map(|number| Self {
                key: PublicKey([number as u8 + 1; 32]),
                name: format!("u{}", number % names).parse().unwrap(),
                start: rng.u64(..),
                dial: 0,
                address: number as u8,
                port: 4000,
                strangers: Strangers::Open,
                conn: None,
                registered: false,
                superseded: false,
                view: BTreeMap::new(),
                dropped: BTreeSet::new(),
                was_dropped: BTreeSet::new(),
                registering: VecDeque::new(),
                redo: Vec::new(),
                mates: BTreeSet::new(),
                heard: 0,
                offline_until: 0,
                names: 0,
            })
            .collect();
        // One account has two clients.
        if rng.bool() {
            let (key, name) = (all[0].key, all[0].name.clone());
            if let Some(last) = all.last_mut() {
                (last.key, last.name) = (key, name);
            }
        }
        all
    }

    pub fn wants_to_be_online(&self, now: u64) -> bool {
        !self.superseded && self.offline_until <= now
    }
}

/// What a message asks that has to be answered.
pub fn question(message: &ToDiscovery) -> Option<Asked> {
    match message {
        ToDiscovery::Register(_) => Some(Asked::Register),
        ToDiscovery::Request(request) => Some(Asked::Ask(request.name.clone())),
        ToDiscovery::Identify(identify) => Some(Asked::Whose(identify.key)),
        ToDiscovery::Ping => Some(Asked::Ping),
        ToDiscovery::Drop(_) | ToDiscovery::Logout | ToDiscovery::Mate(_) => None,
        ToDiscovery::Punch(_) | ToDiscovery::Relay(_) => None,
    }
}

impl World {
    fn say(&mut self, client: usize, message: ToDiscovery) {
        let now = self.now;
        let it = &mut self.clients[client];
        let Some(id) = it.conn else {
            return;
        };
        match &message {
            ToDiscovery::Register(_) => it.registering.push_back(BTreeSet::new()),
            ToDiscovery::Drop(About { name }) => {
                let since = it.registering.iter_mut().chain([&mut it.was_dropped]);
                since.for_each(|dropped| _ = dropped.insert(name.clone()));
            }
            _ => {}
        }
        self.note(|| format!("client {client} says in {id}: {message:?}"));
        if let Some(conn) = self.conns.get_mut(&id)
            && let Some(what) = question(&message)
        {
            conn.questions.push_back(Question { what, at: now, arrived: false });
        }
        self.transmit(id, 0, Event::AtNode(id, FromClient::Says(message)));
    }

    pub fn dial(&mut self, client: usize) {
        let it = &self.clients[client];
        if it.conn.is_some() || !it.wants_to_be_online(self.now) {
            return;
        }
        let node = self.rng.usize(0..self.nodes.len());
        let Some(life) = self.nodes[node].run.as_ref().filter(|run| run.turns.is_some()).map(|run| run.life)
        else {
            let again = self.rng.u64(100..800);
            return self.after(again, Event::Dial(client));
        };
        let latency = if self.chance(100) { self.rng.u64(100..3000) } else { self.rng.u64(1..40) };
        let from = SocketAddr::from(([198, 51, 100, self.clients[client].address], self.rng.u16(20_000..)));
        let it = &mut self.clients[client];
        let conn = Conn {
            client,
            node: life,
            key: it.key,
            name: it.name.clone(),
            from,
            start: it.start,
            dial: it.dial,
            open: [true; 2],
            silent: false,
            latency,
            arrives: [0; 2],
            questions: VecDeque::new(),
            told: BTreeMap::new(),
        };
        it.dial += 1;
        it.heard = self.now;
        let id = self.new_conn(conn);
        self.clients[client].conn = Some(id);
        self.clients[client].registering.clear();
        self.note(|| format!("client {client} dials node {node} in {id}"));
        self.transmit(id, 0, Event::AtNode(id, FromClient::Opened));
        self.register(client);
    }

    fn register(&mut self, client: usize) {
        let it = &self.clients[client];
        let Some(conn) = it.conn.and_then(|id| self.conns.get(&id)) else {
            return;
        };
        let listen = SocketAddr::from(([0, 0, 0, 0], it.port));
        let new = Register::new(conn.name.clone(), listen, Some(it.start), it.strangers);
        let register = Register { dial: conn.dial, ..new };
        self.say(client, ToDiscovery::Register(register));
    }

    pub fn at_client(&mut self, id: ConnectionId, what: FromNode) {
        let now = self.now;
        let Some(client) = self.conns.get(&id).filter(|conn| conn.open[0]).map(|conn| conn.client) else {
            return;
        };
        if self.clients[client].conn != Some(id) {
            return;
        }
        self.clients[client].heard = now;
        match what {
            FromNode::Says(message) => self.told(client, message),
            FromNode::Closed => {
                self.client_closes(id, true);
                let delay = self.rng.u64(1..1000);
                self.after(delay, Event::Dial(client));
            }
        }
    }

    fn told(&mut self, client: usize, message: ToClient) {
        let it = &mut self.clients[client];
        match message {
            ToClient::Registered(_) => {
                it.registered = true;
                it.view.clear();
                it.dropped.clear();
                it.was_dropped = it.registering.pop_front().unwrap_or_default();
                it.redo.clear();
                for key in it.mates.clone() {
                    self.say(client, ToDiscovery::Mate(Mate { key, shares: true }));
                }
            }
            ToClient::Status(status) => _ = it.view.insert(status.name.clone(), status),
            ToClient::Dropped(About { name }) => {
                if let Some(status) = it.view.get_mut(&name) {
                    (status.connected, status.asks) = (false, Asks::No);
                }
            }
            ToClient::Refused(Refused { code, name: Some(name) }) => self.refused(client, code, name),
            ToClient::Superseded(_) => it.superseded = true,
            ToClient::Refused(_) | ToClient::NoSuchUser(_) | ToClient::Identity(_) => {}
            ToClient::Synced | ToClient::Pong | ToClient::Punch(_) | ToClient::Relay(_) => {}
        }
    }

    fn refused(&mut self, client: usize, code: RefusedCode, name: Name) {
        let it = &mut self.clients[client];
        if name == it.name {
            match code {
                RefusedCode::NAME_TAKEN | RefusedCode::RELEASED => {
                    it.names += 1;
                    it.name = format!("u{client}x{}", it.names).parse().unwrap();
                }
                RefusedCode::KEY_IN_USE => {
                    let truth = self.truth.borrow();
                    let held = truth.rows().accounts.values().find(|account| account.key == it.key);
                    held.into_iter().for_each(|account| it.name = account.name.clone());
                }
                RefusedCode::NOT_SAVED => {}
                _ => return,
            }
            it.registering.pop_front();
            // It stays as it is where it only wanted to move.
            if (code != RefusedCode::NOT_SAVED || !it.registered)
                && let Some(id) = it.conn
            {
                self.client_closes(id, false);
                let delay = self.rng.u64(100..1000);
                self.after(delay, Event::Dial(client));
            }
        } else if code == RefusedCode::NOT_SAVED && it.dropped.contains(&name) {
            it.redo.push(name);
        }
    }

    /// Each few seconds.
    pub fn client_ticks(&mut self, client: usize) {
        self.after(millis(PING_AFTER), Event::Tick(client));
        let now = self.now;
        let it = &mut self.clients[client];
        let Some(id) = it.conn else {
            return self.dial(client);
        };
        let patience = if it.registered { millis(DEAD_AFTER) } else { PATIENCE };
        if now - it.heard > patience {
            self.client_closes(id, true);
            return self.dial(client);
        }
        let redo = std::mem::take(&mut it.redo);
        for name in redo {
            if self.clients[client].dropped.contains(&name) {
                self.say(client, ToDiscovery::Drop(About { name }));
            }
        }
        self.say(client, ToDiscovery::Ping);
    }

    fn someone(&mut self, client: usize) -> Name {
        match self.rng.u32(0..8) {
            0 => {
                format!("u{}x{}", self.rng.usize(0..self.clients.len()), self.rng.u32(0..3)).parse().unwrap()
            }
            _ => {
                let near = self.rng.usize(1..=3);
                self.clients[(client + near) % self.clients.len()].name.clone()
            }
        }
    }

    /// Does something.
    pub fn client_acts(&mut self, client: usize) {
        if !self.storm {
            return;
        }
        let gap = self.rng.u64(1..2 * self.plan.act_gap);
        self.after(gap, Event::Act(client));
        let Some(id) = self.clients[client].conn.filter(|_| self.clients[client].registered) else {
            return;
        };
        let name = self.someone(client);
        let about = About { name: name.clone() };
        match self.rng.u32(0..100) {
            0..32 => {
                let typed = self.rng.u32(0..4) > 0;
                self.clients[client].dropped.remove(&name);
                self.say(client, ToDiscovery::Request(Request { name, typed }));
            }
            32..40 => {
                self.clients[client].dropped.insert(name);
                self.say(client, ToDiscovery::Drop(about));
            }
            40..52 => {
                let other = self.rng.usize(0..self.clients.len());
                let key = self.clients[other].key;
                let it = &mut self.clients[client];
                let shares = self.rng.u32(0..4) > 0;
                if shares {
                    _ = it.mates.insert(key)
                } else {
                    _ = it.mates.remove(&key)
                }
                self.say(client, ToDiscovery::Mate(Mate { key, shares }));
            }
            52..58 => self.say(client, ToDiscovery::Punch(about)),
            58..64 => self.say(client, ToDiscovery::Relay(about)),
            64..74 => {
                let other = self.rng.usize(0..self.clients.len());
                let key = self.clients[other].key;
                self.say(client, ToDiscovery::Identify(Identify { key }));
            }
            74..82 => {
                let it = &mut self.clients[client];
                if self.rng.bool() {
                    it.port = self.rng.u16(4000..4100);
                } else {
                    let all = [Strangers::Open, Strangers::Ask, Strangers::All, Strangers::Closed];
                    it.strangers = all[self.rng.usize(0..4)];
                }
                self.register(client);
            }
            82..86 => {
                self.stats.add("logout");
                self.clients[client].offline_until = self.now + self.rng.u64(500..20_000);
                self.say(client, ToDiscovery::Logout);
            }
            86..97 => self.hop(client, id),
            _ => {
                self.stats.fault("client started anew");
                let it = &mut self.clients[client];
                (it.start, it.dial) = (self.rng.u64(..), 0);
                self.hop(client, id);
            }
        }
    }

    /// A connection breaks, and the client comes back at once, or when it notices.
    pub fn hop(&mut self, client: usize, id: ConnectionId) {
        match self.rng.u32(0..4) {
            0 => {
                self.stats.fault("connection broken");
                self.client_closes(id, false);
            }
            1 => {
                self.stats.fault("connection broken in silence");
                self.client_closes(id, true);
                self.conns.get_mut(&id).into_iter().for_each(|conn| conn.silent = true);
            }
            // What was said before still arrives.
            2 => {
                self.stats.fault("connection left open");
                self.client_closes(id, true);
            }
            _ => {
                self.stats.fault("connection broken unnoticed");
                self.conns.get_mut(&id).into_iter().for_each(|conn| conn.silent = true);
                return;
            }
        }
        self.dial(client);
    }
}
