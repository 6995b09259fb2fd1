//! How users meet whom they do not know: what people decide about strangers, and what strangers may cost.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use fastrand::Rng;
use peerchat::client::command::Command;
use peerchat::client::event::Input;
use peerchat::client::notice::{Code, ErrorNotice, HeldReason, Notice};
use peerchat::protocol::Name;
use peerchat::protocol::peer::{HoldReason, Peer, STRANGER_BYTES, STRANGER_MESSAGES};
use peerchat::protocol::rendezvous::{
    Asks, REQUEST_LASTS, Status, Strangers as Policy, ToClient, ToDiscovery,
};
use peerchat::store::journal::{ContactId, ContactRow, Journal, Request, Standing};
use peerchat::time::Now;

use super::client::{keypair, leaves_at_once};
use super::oracle::{Written, number_in};
use super::world::{Event, Pid, World};

/// How many strangers a client may have.
const STRANGERS: usize = 100;
/// Within how many milliseconds somebody decides about a stranger.
const DECISION: u64 = 20_000;
/// Within how many milliseconds a user decides at once.
const AT_ONCE: u64 = 500;
/// What the names of the users that discovery has invented begin with.
const CROWD: &str = "crowd";
/// How many of them there are, and how many come at once at most.
const CROWDS: usize = 250;
const CROWD_AT_ONCE: usize = 120;

/// Who is what to whom, as the users have decided it.
#[derive(Default)]
pub struct Acquaintances {
    /// What each client's journal held of others before the transaction.
    people: BTreeMap<usize, Vec<ContactRow>>,
    /// Whom a client's user has asked for or answered.
    answered: BTreeSet<(usize, Name)>,
    /// Whom a client's user has forgotten, with a mark.
    forgotten: BTreeSet<(usize, Name)>,
    /// The clients whose last transaction has forgotten somebody.
    pub forgot: BTreeSet<usize>,
    /// The users that a client's user has asked for or answered at any time.
    ever_answered: BTreeSet<(usize, Name)>,
    /// What each client, since it started, has said last of what waits for others.
    held: BTreeMap<(usize, Name), (HeldReason, u64)>,
    /// The strangers who have more to say, as each client has told its user since it started.
    full: BTreeSet<(usize, Name)>,
    /// The clients that have said, since they started, that their disk is nearly full.
    low: BTreeSet<usize>,
    /// How each account meets strangers, as discovery has heard since it has last confirmed it, the last at the end.
    policies: BTreeMap<Name, Vec<Policy>>,
}

impl Acquaintances {
    /// A journal is as it was at some time before.
    pub fn restored(&mut self, client: usize, journal: &Journal) {
        let rows = journal.contacts().unwrap();
        self.answered.retain(|(other, _)| *other != client);
        self.forgotten.retain(|(other, _)| *other != client);
        for row in &rows {
            let which = match row.identity.standing {
                Standing::Contact => &mut self.answered,
                Standing::Forgotten => &mut self.forgotten,
                Standing::Stranger | Standing::Member => continue,
            };
            which.insert((client, row.name.clone()));
        }
        self.people.insert(client, rows);
    }

    /// A client starts: it tells everything anew.
    pub fn started(&mut self, client: usize) {
        self.held.retain(|(teller, _), _| *teller != client);
        self.full.retain(|(teller, _)| *teller != client);
        self.low.remove(&client);
    }

    /// A user is told why something waits.
    pub fn told(&mut self, client: usize, notice: &Notice) {
        match notice {
            Notice::Held { to, reason, waiting } => {
                self.held.insert((client, to.clone()), (*reason, *waiting));
            }
            Notice::Full { from } => _ = self.full.insert((client, from.clone())),
            Notice::Error(ErrorNotice { code: Code::DiskFull, .. }) => _ = self.low.insert(client),
            _ => {}
        }
    }

    /// Discovery hears how an account meets strangers.
    pub fn registers(&mut self, said: &ToDiscovery) {
        if let ToDiscovery::Register(register) = said {
            self.policies.entry(register.name.clone()).or_default().push(register.strangers);
        }
    }

    /// Discovery confirms what it has heard of an account: at least all but the last.
    fn registered(&mut self, name: &Name) {
        if let Some(policies) = self.policies.get_mut(name) {
            policies.drain(..policies.len().saturating_sub(2));
        }
    }
}

/// Whether discovery has invented this user.
pub fn is_invented(name: &Name) -> bool {
    name.as_str().starts_with(CROWD)
}

/// How a client that starts meets strangers, where `others` of a hundred starts do not answer all at once.
pub fn policy(rng: &mut Rng, others: u32, storm: bool) -> Policy {
    if rng.u32(0..100) >= others {
        return Policy::All;
    }
    match rng.u32(0..7) {
        0 if storm => Policy::Closed,
        1..3 => Policy::Ask,
        _ => Policy::Open,
    }
}

impl World {
    /// Who has become a contact, a stranger or forgotten by a transaction, and whether that may be.
    pub fn watch_people(&mut self, client: usize, journal: &Journal, inputs: &[Input], now: Now) {
        let rows = journal.contacts().unwrap();
        let before = self.oracle.met.people.insert(client, rows.clone()).unwrap_or_default();
        self.oracle.met.forgot.remove(&client);
        // Those who were only ever blocked by name leave nothing once they are not any more.
        for old in before.iter().filter(|old| old.identity.standing == Standing::Forgotten) {
            if old.identity.key.is_none() && !rows.iter().any(|row| row.id == old.id) {
                self.oracle.met.forgotten.remove(&(client, old.name.clone()));
            }
        }
        for old in before.iter().filter(|old| old.identity.standing != Standing::Forgotten) {
            let new = rows.iter().find(|row| row.name == old.name);
            let stays = |new: &ContactRow| new.id == old.id && new.identity.standing != Standing::Forgotten;
            if !new.is_some_and(stays) && !self.concerns_twin(client, &old.name) {
                // One who has made room may have come back in the same transaction.
                let gone = new.is_none_or(|new| new.id != old.id);
                let displaced = gone && is_displaced(old, &before, inputs);
                if displaced {
                    self.stats.add("strangers displaced");
                } else {
                    self.check_forgotten(client, old, inputs, now);
                }
                self.forgets(client, &old.name, journal, new, inputs, displaced);
            }
        }
        // What was forgotten and asked for again in one transaction is gone, too.
        for command in typed(inputs) {
            if let Command::Forget(name) = command
                && !self.concerns_twin(client, name)
            {
                // Of one who does not exist there is nothing to forget.
                let new = rows.iter().find(|row| row.name == *name);
                if !new.is_some_and(ContactRow::is_withdrawn) {
                    self.forgets(client, name, journal, new, inputs, false);
                }
            }
        }
        let mut strangers = 0;
        for row in &rows {
            if !self.concerns_twin(client, &row.name) {
                strangers +=
                    usize::from(row.identity.standing == Standing::Stranger && !row.identity.blocked);
                self.watch_person(client, journal, row, inputs);
            }
        }
        if strangers > STRANGERS {
            self.fail(format!("user{client} has {strangers} strangers"));
        }
    }

    fn watch_person(&mut self, client: usize, journal: &Journal, row: &ContactRow, inputs: &[Input]) {
        let pair = (client, row.name.clone());
        let standing = row.identity.standing;
        if standing == Standing::Forgotten {
            return;
        }
        let asks = typed(inputs).any(|command| match command {
            Command::Request(name) | Command::Accept(name) | Command::Unblock(name) => *name == row.name,
            Command::Chat(to, _) => to.user() == Some(&row.name),
            _ => false,
        });
        if self.oracle.met.forgotten.remove(&pair) && !asks && !is_asked(inputs, &row.name) {
            self.fail(format!("{} comes back to user{client} without a request", row.name));
        }
        if standing == Standing::Contact {
            let all = self.clients[client].policy == Policy::All;
            if asks || all {
                self.oracle.met.ever_answered.insert(pair.clone());
                self.oracle.met.answered.insert(pair);
            } else if !self.oracle.met.answered.contains(&pair) {
                self.fail(format!("{} is a contact of user{client}, who has not answered", row.name));
            }
        } else {
            let (messages, bytes) = taken(journal, row.id);
            if messages > STRANGER_MESSAGES || bytes > STRANGER_BYTES {
                self.fail(format!("user{client} keeps {messages} messages of the stranger {}", row.name));
            }
        }
    }

    /// Somebody is not known any more: the user must have said so, or their time is over.
    fn check_forgotten(&mut self, client: usize, old: &ContactRow, inputs: &[Input], now: Now) {
        let said = typed(inputs).any(|command| matches!(command, Command::Forget(name) if *name == old.name));
        let lasts = i64::try_from(REQUEST_LASTS.as_millis()).unwrap();
        let over = old.identity.standing == Standing::Stranger
            && !old.identity.blocked
            && old.identity.told_at.is_some_and(|told| now.wall.saturating_sub(told) >= lasts);
        // Who turned out not to exist is another matter.
        if !said && !over && old.identity.key.is_some() {
            self.fail(format!("user{client} forgets {} by itself: {old:?}", old.name));
        }
        self.stats.add(if over && !said { "strangers expired" } else { "users forgotten" });
    }

    /// All that was said between a client and somebody else is gone there.
    fn forgets(
        &mut self,
        client: usize,
        name: &Name,
        journal: &Journal,
        now: Option<&ContactRow>,
        inputs: &[Input],
        displaced: bool,
    ) {
        let other = self.oracle.names.get(name).copied();
        self.note(|| format!("user{client} has forgotten {name}"));
        self.oracle.met.forgot.insert(client);
        self.oracle.met.answered.remove(&(client, name.clone()));
        if now.is_some_and(|row| row.identity.standing == Standing::Forgotten) {
            self.oracle.met.forgotten.insert((client, name.clone()));
        }
        self.oracle.forget_request(client, name);
        self.oracle.told_lost.remove(&(client, name.clone()));
        // What has come in with the same transaction was never seen in the journal.
        for said in inputs.iter().filter_map(|input| match input {
            Input::LinkSays(_, said) => Some(said),
            _ => None,
        }) {
            for message in said.iter().filter_map(|said| match said {
                Peer::Message(message) => Some(message),
                _ => None,
            }) {
                let committed =
                    now.is_some_and(|row| journal.cursor(row.id, message.epoch).unwrap() >= message.number);
                let number = other.and_then(|other| self.oracle.find(other, message.id()));
                if let Some(number) = number.filter(|_| committed || displaced) {
                    self.oracle.written[number].take();
                }
            }
        }
        // What was written after that, in the same transaction, is kept.
        let mut kept = HashSet::new();
        if let Some(row) = now {
            journal.sent_after(row.id, 0, |row| (kept.extend(number_in(&row.message.body)), true).1).unwrap();
            journal
                .received_after(row.id, 0, |row| (kept.extend(number_in(&row.message.body)), true).1)
                .unwrap();
        }
        let gone = |(number, _): &(usize, &mut Written)| !kept.contains(number);
        for (_, written) in self.oracle.written.iter_mut().enumerate().filter(gone) {
            written.forget(client, other);
            if displaced {
                written.give_way(client, other);
            }
        }
    }

    /// A contact is dialled.
    pub fn check_dial(&mut self, client: usize, name: &Name) {
        if !self.concerns_twin(client, name) && !self.oracle.met.answered.contains(&(client, name.clone())) {
            self.fail(format!("user{client} dials the stranger {name}"));
        }
    }

    /// Whether a client takes links of strangers.
    pub fn takes_strangers(&self, client: usize) -> bool {
        matches!(self.clients[client].policy, Policy::Open | Policy::All)
    }

    /// What goes out to discovery.
    pub fn check_told_discovery(&mut self, client: usize, said: &[ToDiscovery]) {
        for said in said {
            if let ToDiscovery::Request(request) = said
                && !self.concerns_twin(client, &request.name)
                && !self.oracle.met.forgot.contains(&client)
                && !self.oracle.met.answered.contains(&(client, request.name.clone()))
                && self.oracle.names.contains_key(&request.name)
            {
                self.fail(format!("user{client} asks for {}, which its user did not", request.name));
            }
        }
    }

    /// Hello is said to strangers by those alone who are open to them.
    pub fn check_greeting(&mut self, client: usize, other: usize) {
        let name = self.clients[other].name.clone();
        let policy = self.clients[client].policy;
        if matches!(policy, Policy::Ask | Policy::Closed)
            && !self.concerns_twin(client, &name)
            && !self.oracle.met.answered.contains(&(client, name.clone()))
            && !self.oracle.met.forgot.contains(&client)
        {
            self.fail(format!("user{client}, who is open to {policy:?}, links with the stranger {name}"));
        }
    }

    /// What discovery tells a client: where a user is, and whether, only if that one has asked for its user, has
    /// answered, or is open to strangers.
    pub fn check_told_by_discovery(&mut self, client: usize, said: &[ToClient]) {
        for said in said {
            if matches!(said, ToClient::Registered(_)) {
                let name = &self.clients[client].name;
                self.oracle.met.registered(name);
            }
            let ToClient::Status(Status { name, address, online, .. }) = said else {
                continue;
            };
            let Some(other) = self.oracle.names.get(name).copied() else {
                continue;
            };
            let own = self.clients[client].name.clone();
            let open = |policy: &Policy| matches!(policy, Policy::Open | Policy::All);
            let met = &self.oracle.met;
            if (address.is_some() || online.is_some())
                && !self.concerns_twin(client, name)
                && !met.ever_answered.contains(&(other, own))
                && !met.policies.get(name).is_some_and(|policies| policies.iter().any(open))
            {
                self.fail(format!("discovery tells the stranger user{client} where {name} is"));
            }
        }
    }

    /// Discovery invents users who ask for a client. Returns whether it could tell.
    pub fn crowd(&mut self, client: usize) -> bool {
        let meets = matches!(self.clients[client].policy, Policy::Open | Policy::Ask);
        let Some(conn) = self.session(client).filter(|_| meets) else {
            return false;
        };
        let first = self.rng.usize(0..CROWDS);
        let count = self.rng.usize(1..=CROWD_AT_ONCE);
        let invented = |number: usize| {
            ToClient::Status(Status {
                name: format!("{CROWD}{number}").parse().unwrap(),
                key: keypair(&mut Rng::with_seed(1_000_000 + number as u64)).public(),
                address: None,
                online: None,
                asks: Asks::Typed,
                connected: number.is_multiple_of(2),
                also: Vec::new(),
                room: false,
            })
        };
        let crowd: Vec<ToClient> = (first..first + count).map(|number| invented(number % CROWDS)).collect();
        crowd.chunks(50).for_each(|frame| self.transmit(conn, 1, frame));
        true
    }

    /// What both sides should have been told of messages that wait, and have not been.
    pub fn untold(&self) -> Vec<String> {
        let mut untold = Vec::new();
        let linked = self.open_links();
        for (number, client) in self.clients.iter().enumerate() {
            if self.plan.twin || client.run.is_none() || !self.has_session(number) {
                continue;
            }
            for row in client.journal.contacts().unwrap() {
                let waiting = client.journal.count_sent_after(row.id, row.outgoing.delivered).unwrap();
                let Some(other) = self.oracle.names.get(&row.name).copied() else {
                    continue;
                };
                if waiting == 0 || row.identity.blocked || row.is_withdrawn() {
                    continue;
                }
                let told = self.oracle.met.held.get(&(number, row.name.clone())).copied();
                let link = self.conns.iter().find_map(|(id, conn)| {
                    let side = conn.ends.iter().position(|end| end.pid == Pid::Client(other))?;
                    let between = conn.peer && conn.ends[1 - side].pid == Pid::Client(number);
                    (between && conn.ends.iter().all(|end| end.open)).then_some((id, conn.held[side]?))
                });
                let pair = (number.min(other), number.max(other));
                let reason = match link {
                    Some((_, HoldReason::DISK_FULL)) => HeldReason::DiskFull,
                    Some(_) => HeldReason::NotAnswered,
                    None if row.identity.request == Request::Kept
                        && !linked.contains_key(&pair)
                        && self.clients[other].policy == Policy::Ask
                        && self.has_session(other) =>
                    {
                        HeldReason::NotAnswered
                    }
                    None => continue,
                };
                if told != Some((reason, waiting)) {
                    untold.push(format!(
                        "user{number}: {waiting} wait for {} ({reason:?}, {link:?}), told {told:?}",
                        row.name
                    ));
                }
                let pair = (other, client.name.clone());
                match link {
                    Some((id, HoldReason::NOT_ANSWERED)) if !self.oracle.met.full.contains(&pair) => {
                        untold.push(format!("user{other} is not told that {} has more ({id})", client.name));
                    }
                    Some((id, HoldReason::DISK_FULL)) if !self.oracle.met.low.contains(&other) => {
                        untold.push(format!("user{other} is not told that the disk is full ({id})"));
                    }
                    _ => {}
                }
            }
        }
        untold
    }

    /// The console has written that a stranger asks, or has more to say. The user decides on it, later.
    pub fn told_of_a_stranger(&mut self, client: usize, notice: &Notice) {
        if let Notice::Full { from } = notice
            && self.rng.bool()
        {
            let within = if self.rng.bool() { AT_ONCE } else { DECISION };
            let at = self.now + self.rng.u64(0..within);
            return self.schedule(at, Event::Command(client, Command::Accept(from.clone())));
        }
        let Notice::Request { from, stranger: true, .. } = notice else {
            return;
        };
        self.stats.add("strangers told");
        let name = from.clone();
        let command = match self.rng.u32(0..16) {
            0..7 => Command::Accept(name),
            7 => Command::Forget(name),
            8 => Command::Block(name),
            _ => return,
        };
        let at = self.now + self.rng.u64(0..DECISION);
        self.schedule(at, Event::Command(client, command));
    }

    /// Somebody types what they have decided on. In peace nobody is turned away.
    pub fn decided(&mut self, client: usize, command: Command) {
        if self.storm || !matches!(command, Command::Forget(_) | Command::Block(_)) {
            self.command(client, command);
        }
    }

    /// What people type where not everybody answers all at once.
    pub fn types_of_strangers(&mut self, number: usize, name: Name) {
        let command = match self.rng.u32(0..20) {
            0..9 => Command::Accept(name),
            9..14 => Command::Forget(name),
            14..16 => Command::Resend(name),
            16..18 => Command::Block(name),
            _ => Command::Unblock(name),
        };
        self.command(number, command);
    }
}

/// How many messages of a contact the journal has, and how many bytes of them.
fn taken(journal: &Journal, contact: ContactId) -> (u64, u64) {
    let sql = "SELECT count(*), coalesce(sum(length(body)), 0) FROM received WHERE contact = ?1";
    let read = |row: &rusqlite::Row<'_>| <(i64, i64)>::try_from(row);
    let (messages, bytes) = journal.prepare_cached(sql).unwrap().query_row([contact], read).unwrap();
    (messages.unsigned_abs(), bytes.unsigned_abs())
}

/// Whether a stranger may have made room for another one: there were too many in between.
fn is_displaced(old: &ContactRow, before: &[ContactRow], inputs: &[Input]) -> bool {
    let counts = |row: &&ContactRow| row.identity.standing == Standing::Stranger && !row.identity.blocked;
    let mut strangers: BTreeSet<&Name> = before.iter().filter(counts).map(|row| &row.name).collect();
    for input in inputs {
        if let Input::RendezvousSays(_, said) = input {
            strangers.extend(said.iter().filter_map(|said| match said {
                ToClient::Status(status) => Some(&status.name),
                ToClient::Identity(identity) => identity.name.as_ref(),
                _ => None,
            }));
        }
    }
    counts(&old) && strangers.len() > STRANGERS
}

/// The commands of a transaction.
fn typed(inputs: &[Input]) -> impl Iterator<Item = &Command> {
    // A program that leaves does no more.
    inputs.iter().take_while(|input| !leaves_at_once(input)).filter_map(|input| match input {
        Input::Command { command: Ok(command), .. } => Some(command),
        _ => None,
    })
}

/// Whether discovery says in a transaction that a user of this name has typed a request.
fn is_asked(inputs: &[Input], by: &Name) -> bool {
    inputs.iter().any(|input| match input {
        Input::RendezvousSays(_, said) => said.iter().any(|said| match said {
            ToClient::Status(Status { name, asks: Asks::Typed, .. }) => name == by,
            _ => false,
        }),
        _ => false,
    })
}
