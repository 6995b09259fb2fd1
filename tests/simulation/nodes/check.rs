//! What may be told, and how everything is in the end.

use std::collections::BTreeSet;

use peerchat::accounts::{NodeId, Snapshot};
use peerchat::discovery::registry::Action;
use peerchat::discovery::turns::Report;
use peerchat::protocol::rendezvous::{About, Asks, Identity, RefusedCode, Status, ToClient};
use peerchat::protocol::{Name, PublicKey};
use peerchat::transport::ConnectionId;

use crate::ledger::Rows;

use super::world::{Asked, Life, World};

/// By what a node came to tell something.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Step,
    Turn,
    Heard,
    Anew,
}

/// How long an answer may take in the end.
const ANSWER_WITHIN: u64 = 5000;

/// To what a node tells something.
struct Listener<'w> {
    node: NodeId,
    key: PublicKey,
    name: &'w Name,
    /// The keys of those who have sessions at the node, and the sessions.
    here: &'w BTreeSet<PublicKey>,
    open: &'w BTreeSet<ConnectionId>,
}

impl Listener<'_> {
    /// Whether it is true by what the ledger holds.
    fn fits(&self, rows: &Rows, message: &ToClient) -> Result<(), String> {
        let own = rows.accounts.values().find(|account| account.key == self.key);
        match message {
            ToClient::Registered(told) => match own {
                Some(own) if own.name == *self.name && own.registration.address == told.address => Ok(()),
                own => Err(format!("the account is {own:?}")),
            },
            ToClient::Status(status) => {
                let them = rows.accounts.values().find(|account| account.name == status.name);
                let them = them.ok_or("there is no such user")?;
                let own = own.ok_or("the one who is told has no account")?;
                self.status_fits(rows, status, own.id, them)
            }
            ToClient::Dropped(About { name }) => {
                let them = rows.accounts.values().find(|account| account.name == *name);
                let pair = own.zip(them).map(|(own, them)| (them.id, own.id));
                pair.filter(|pair| rows.refusals.contains_key(pair)).map(drop).ok_or("nobody refuses".into())
            }
            ToClient::NoSuchUser(About { name }) => {
                let them = rows.accounts.values().find(|account| account.name == *name);
                them.map_or(Ok(()), |them| Err(format!("there is {them:?}")))
            }
            ToClient::Identity(identity) => {
                let them = rows.accounts.values().find(|account| account.key == identity.key);
                let name = them.map(|account| &account.name);
                if name == identity.name.as_ref() { Ok(()) } else { Err(format!("it is {name:?}")) }
            }
            ToClient::Refused(refused) => {
                let by_name =
                    rows.accounts.values().find(|account| Some(&account.name) == refused.name.as_ref());
                let fits = match refused.code {
                    RefusedCode::NAME_TAKEN => by_name.is_some_and(|account| account.key != self.key),
                    RefusedCode::KEY_IN_USE => own.is_some(),
                    RefusedCode::RELEASED => rows.released.get(self.name) == Some(&self.key),
                    _ => true,
                };
                if fits { Ok(()) } else { Err(format!("there are {by_name:?} and {own:?}")) }
            }
            ToClient::Synced | ToClient::Pong | ToClient::Superseded(_) => Ok(()),
            ToClient::Punch(_) | ToClient::Relay(_) => Ok(()),
        }
    }

    fn status_fits(
        &self,
        rows: &Rows,
        status: &Status,
        own: i64,
        them: &peerchat::accounts::Account,
    ) -> Result<(), String> {
        if them.key != status.key {
            return Err(format!("the key is {}", them.key));
        }
        let pair = (own.min(them.id), own.max(them.id));
        if rows.connections.contains(&pair) != status.connected {
            return Err("connected or not".into());
        }
        let asks = rows.requests.contains_key(&(them.id, own));
        if asks != (status.asks != Asks::No) {
            return Err(format!("the request is {asks:?}"));
        }
        if status.address.is_some_and(|told| told != them.registration.address) {
            return Err(format!("the address is {}", them.registration.address));
        }
        let presence = rows.presences.get(&them.id);
        match status.online {
            Some(true) if presence.is_none() && !self.here.contains(&them.key) => Err("offline".into()),
            Some(false) => match presence {
                Some(held) if held.node != self.node || self.open.contains(&held.session) => {
                    Err(format!("online: {held:?}"))
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

impl World {
    /// What a node tells clients must follow from what it knows to be committed.
    pub fn check_told(&mut self, life: Life, actions: &[Action], source: Source) {
        let closed = actions.iter().filter_map(|action| match action {
            Action::Close { session } => Some(*session),
            _ => None,
        });
        let closed: BTreeSet<_> = closed.collect();
        let at_node = self.conns.iter().filter(|(_, conn)| conn.node == life);
        let at_node = at_node.filter(|(id, conn)| conn.open[1] || closed.contains(id));
        let here: BTreeSet<_> = at_node.clone().map(|(_, conn)| conn.key).collect();
        let open: BTreeSet<_> = at_node.map(|(id, _)| *id).filter(|id| !closed.contains(id)).collect();
        for action in actions {
            if let Action::Send { session, message } = action {
                self.check_one(life, *session, message, source, (&here, &open));
            }
        }
    }

    fn check_one(
        &mut self,
        life: Life,
        session: ConnectionId,
        message: &ToClient,
        source: Source,
        (here, open): (&BTreeSet<PublicKey>, &BTreeSet<ConnectionId>),
    ) {
        let (Some(conn), Some(run)) = (self.conns.get(&session), &self.nodes[life.0].run) else {
            return;
        };
        if source != Source::Anew {
            let listener = Listener { node: run.id, key: conn.key, name: &conn.name, here, open };
            if let Err(problem) = listener.fits(&run.shadow, message) {
                // It may have been so between two changes of one turn.
                let mut rows = run.before.clone();
                let mut fits = listener.fits(&rows, message).is_ok() && !run.recent.is_empty();
                for change in &run.recent {
                    rows.apply(change);
                    fits |= listener.fits(&rows, message).is_ok();
                }
                if !fits {
                    self.violated(|| format!("node {} tells {session} {message:?}: {problem}", life.0));
                }
            }
        }
        self.check_answer(session, message, source);
        if let (ToClient::Registered(_), Some(conn)) = (message, self.conns.get(&session)) {
            let (name, key) = (conn.name.clone(), conn.key);
            self.acknowledged(&name, key);
        }
    }

    /// Takes a message for the answer to a question, if it can be one.
    fn check_answer(&mut self, session: ConnectionId, message: &ToClient, source: Source) {
        let Some(conn) = self.conns.get_mut(&session) else {
            return;
        };
        let asks = |name: &Name, what: &Asked| matches!(what, Asked::Ask(it) if it == name);
        let by_turn = source != Source::Heard && source != Source::Anew;
        let answers = |what: &Asked| match message {
            ToClient::Registered(_) => matches!(what, Asked::Register),
            ToClient::Refused(refused) => match &refused.name {
                Some(name) if *name == conn.name => matches!(what, Asked::Register) || asks(name, what),
                Some(name) => by_turn && asks(name, what),
                None => matches!(what, Asked::Whose(_)),
            },
            ToClient::Status(status) => by_turn && asks(&status.name, what),
            ToClient::NoSuchUser(about) | ToClient::Dropped(about) => by_turn && asks(&about.name, what),
            ToClient::Identity(identity) => matches!(what, Asked::Whose(key) if *key == identity.key),
            ToClient::Pong => matches!(what, Asked::Ping),
            ToClient::Superseded(_) | ToClient::Synced | ToClient::Punch(_) | ToClient::Relay(_) => false,
        };
        let at = conn.questions.iter().position(|question| question.arrived && answers(&question.what));
        let asked = at.and_then(|at| conn.questions.remove(at)).map(|question| question.at);
        let is_first = match message {
            ToClient::Status(status) => conn.told.insert(status.name.clone(), status.key).is_none(),
            _ => false,
        };
        let Some(asked) = asked else {
            return;
        };
        let oracle = &self.oracle;
        let problem = match message {
            ToClient::NoSuchUser(About { name }) => {
                let held = oracle.held.get(name).filter(|(_, since)| *since < asked);
                held.map(|(_, since)| format!("{name} is told not to exist, and was acknowledged at {since}"))
            }
            ToClient::Identity(identity) if identity.name.is_none() => {
                let held =
                    oracle.held.iter().find(|(_, (key, since))| *key == identity.key && *since < asked);
                held.map(|(name, _)| format!("the key of {name} is told to be nobody's"))
            }
            ToClient::Identity(Identity { key, name: Some(name) }) => {
                let dead = oracle.dead.get(&(name.clone(), *key)).filter(|at| **at < asked);
                dead.map(|at| format!("{key} is told to be that of {name}, which was released at {at}"))
            }
            ToClient::Status(status) if is_first => {
                let dead = oracle.dead.get(&(status.name.clone(), status.key));
                dead.filter(|at| **at < asked).map(|at| {
                    format!("{} is told with the key that it was released from at {at}", status.name)
                })
            }
            _ => None,
        };
        if let Some(problem) = problem {
            self.violated(|| problem);
        }
    }

    /// What is told to be refused must not be saved.
    pub fn check_refusal(&mut self, life: Life, report: &Report) {
        let Some(run) = self.nodes[life.0].run.as_ref().filter(|_| matches!(report, Report::Refused)) else {
            return;
        };
        let saved = self.truth.borrow().turns().iter().skip(run.known).any(|turn| turn.node == run.id);
        if saved {
            self.violated(|| format!("node {} says of what is saved that it is not", life.0));
        }
    }

    /// What a node has in memory is what the ledger holds, as far as the node was told.
    pub fn check_memory(&mut self, life: Life) {
        let Some(run) = &self.nodes[life.0].run else {
            return;
        };
        let Some(turns) = run.turns.as_ref().filter(|turns| !turns.is_giving()) else {
            return;
        };
        let [memory, ledger] = [turns.registry().snapshot(), run.shadow.snapshot()].map(normal);
        if memory != ledger {
            let problem = difference(&memory, &ledger);
            self.violated(|| format!("node {} does not have what the ledger has: {problem}", life.0));
        }
    }

    /// The storm is over, and everything has come to rest.
    pub fn check_end(&mut self) {
        let ended = self.check_nodes().and_then(|()| self.check_sessions()).and_then(|()| self.check_views());
        if let Err(problem) = ended {
            self.violated(|| format!("in the end {problem}"));
        }
    }

    fn check_nodes(&self) -> Result<(), String> {
        let truth = self.truth.borrow();
        let ledger = normal(truth.rows().snapshot());
        for (number, node) in self.nodes.iter().enumerate() {
            let run = node.run.as_ref().ok_or(format!("node {number} is not there"))?;
            let turns = run.turns.as_ref().ok_or(format!("node {number} has not loaded anything"))?;
            let memory = normal(turns.registry().snapshot());
            if memory != ledger {
                let problem = difference(&memory, &ledger);
                return Err(format!("node {number} does not have what the ledger has: {problem}"));
            }
            if truth.rows().nodes.get(&run.id).is_none_or(|node| node.lost) {
                return Err(format!("node {number} is not among the nodes: {:?}", truth.rows().nodes));
            }
        }
        if truth.rows().nodes.len() != self.nodes.len() {
            return Err(format!("there are more nodes: {:?}", truth.rows().nodes));
        }
        Ok(())
    }

    fn check_sessions(&self) -> Result<(), String> {
        let truth = self.truth.borrow();
        let rows = truth.rows();
        let mut online = BTreeSet::new();
        for (number, client) in self.clients.iter().enumerate() {
            if !client.wants_to_be_online(self.now) {
                continue;
            }
            let id = client.conn.filter(|_| client.registered);
            let id = id.ok_or(format!("client {number} is not registered"))?;
            let conn = self.conns.get(&id).filter(|conn| conn.open == [true; 2] && !conn.silent);
            let conn = conn.ok_or(format!("client {number} has no connection"))?;
            let account = rows.accounts.values().find(|account| account.key == client.key);
            let account = account.ok_or(format!("client {number} has no account"))?;
            let held = rows.presences.get(&account.id);
            let right = held.is_some_and(|held| {
                held.session == id && self.oracle.ids.get(&held.node) == Some(&conn.node.0)
            });
            if !right || account.name != conn.name {
                return Err(format!("client {number} is {account:?} in {id}, and that holds {held:?}"));
            }
            if !online.insert(account.id) {
                return Err(format!("two clients have {}", account.name));
            }
            let question = conn.questions.iter().find(|question| self.now - question.at > ANSWER_WITHIN);
            if let Some(question) = question {
                return Err(format!("client {number} has no answer to what it asked at {}", question.at));
            }
        }
        if let Some((user, held)) = rows.presences.iter().find(|(user, _)| !online.contains(user)) {
            return Err(format!("user {user} is online, and is not there: {held:?}"));
        }
        let ghost = self.conns.iter().find(|(id, conn)| {
            conn.open[1]
                && self.nodes[conn.node.0].is_alive(conn.node)
                && self.clients[conn.client].conn != Some(**id)
        });
        ghost.map_or(Ok(()), |(id, _)| Err(format!("a node holds {id} open, which no client has")))
    }

    fn check_views(&self) -> Result<(), String> {
        let truth = self.truth.borrow();
        let rows = truth.rows();
        for (number, client) in self.clients.iter().enumerate().filter(|(_, client)| client.registered) {
            let Some(own) = rows.accounts.values().find(|account| account.key == client.key) else {
                continue;
            };
            let mates: BTreeSet<_> =
                rows.mates.iter().filter(|(user, _)| *user == own.id).map(|(_, key)| *key).collect();
            if mates != client.mates {
                return Err(format!("client {number} names {:?}, and kept is {mates:?}", client.mates));
            }
            for them in rows.accounts.values().filter(|them| them.id != own.id) {
                let connected = rows.connections.contains(&(own.id.min(them.id), own.id.max(them.id)));
                let room = mates.contains(&them.key) && rows.mates.contains(&(them.id, own.key));
                let asks = rows.requests.contains_key(&(them.id, own.id));
                let asked = rows.requests.contains_key(&(own.id, them.id));
                let told = client.view.get(&them.name);
                let wrong = |what: &str| {
                    let online = rows.presences.contains_key(&them.id);
                    Err(format!("client {number} has wrong {what}: told {told:?}, is {them:?}, {online}"))
                };
                let Some(status) = told else {
                    match (connected, room, asks, asked) {
                        (true, ..) => return wrong("no contact"),
                        (_, true, ..) => return wrong("no mate"),
                        (.., true, _) => return wrong("no request"),
                        (.., true) => return wrong("no target"),
                        _ => continue,
                    }
                };
                if status.key != them.key {
                    return wrong("key");
                }
                let is_dropped = client.was_dropped.contains(&them.name);
                // Of a mate who has gone it is told that the two shared a room.
                let left_room = status.room && !room && status.online == Some(false);
                if status.connected != connected && !is_dropped || status.room != room && !left_room {
                    return wrong("contact");
                }
                if asks != (status.asks != Asks::No) && !is_dropped {
                    return wrong("request");
                }
                if (connected || room)
                    && (status.online != Some(rows.presences.contains_key(&them.id))
                        || status.address != Some(them.registration.address))
                {
                    return wrong("state");
                }
            }
        }
        Ok(())
    }
}

/// In the one form in which the same things are the same.
fn normal(mut snapshot: Snapshot) -> Snapshot {
    snapshot.connections.sort_unstable();
    snapshot
}

/// What only one of the two has.
fn difference(memory: &Snapshot, ledger: &Snapshot) -> String {
    fn part<T: PartialEq + std::fmt::Debug>(what: &str, memory: &[T], ledger: &[T]) -> Option<String> {
        let only = |one: &[T], other: &[T]| {
            let only: Vec<_> =
                one.iter().filter(|it| !other.contains(it)).map(|it| format!("{it:?}")).collect();
            only.join(", ")
        };
        (memory != ledger)
            .then(|| format!("{what}: {} instead of {}", only(memory, ledger), only(ledger, memory)))
    }
    let parts = [
        part("accounts", &memory.accounts, &ledger.accounts),
        part("the last id", &[memory.last_id], &[ledger.last_id]),
        part("connections", &memory.connections, &ledger.connections),
        part("requests", &memory.requests, &ledger.requests),
        part("refusals", &memory.refusals, &ledger.refusals),
        part("released", &memory.released, &ledger.released),
        part("nodes", &memory.nodes, &ledger.nodes),
        part("presences", &memory.presences, &ledger.presences),
        part("mates", &memory.mates, &ledger.mates),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}
