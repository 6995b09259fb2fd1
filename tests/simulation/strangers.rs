//! How users meet whom they do not know: what people decide about strangers, and what strangers may cost.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use peerchat::client::command::Command;
use peerchat::client::event::Input;
use peerchat::client::notice::Notice;
use peerchat::protocol::Name;
use peerchat::protocol::peer::{Peer, STRANGER_BYTES, STRANGER_MESSAGES};
use peerchat::protocol::rendezvous::{
    Asks, REQUEST_LASTS, Status, Strangers as Policy, ToClient, ToDiscovery,
};
use peerchat::store::journal::{ContactRow, Journal, Standing};
use peerchat::time::Now;

use super::world::{Event, World};

/// How many strangers a client may have.
const STRANGERS: usize = 100;
/// Within how many milliseconds somebody decides about a stranger.
const DECISION: u64 = 20_000;

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
                Standing::Stranger => continue,
            };
            which.insert((client, row.name.clone()));
        }
        self.people.insert(client, rows);
    }
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
        for old in before.iter().filter(|old| old.identity.standing != Standing::Forgotten) {
            let new = rows.iter().find(|row| row.name == old.name);
            let stays = |new: &ContactRow| new.id == old.id && new.identity.standing != Standing::Forgotten;
            if !new.is_some_and(stays) && !self.concerns_twin(client, &old.name) {
                self.check_forgotten(client, old, inputs, now);
                self.forgets(client, &old.name, journal, new, inputs);
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
                    self.forgets(client, name, journal, new, inputs);
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
        let asks = typed(inputs).any(|command| {
            matches!(command, Command::Request(name) | Command::Accept(name) | Command::Chat(name, _)
                              | Command::Unblock(name) if *name == row.name)
        });
        if self.oracle.met.forgotten.remove(&pair) && !asks && !is_asked(inputs, &row.name) {
            self.fail(format!("{} comes back to user{client} without a request", row.name));
        }
        if standing == Standing::Contact {
            let all = self.clients[client].policy == Policy::All;
            if asks || all {
                self.oracle.met.answered.insert(pair);
            } else if !self.oracle.met.answered.contains(&pair) {
                self.fail(format!("{} is a contact of user{client}, who has not answered", row.name));
            }
        } else {
            let (messages, bytes) = journal.received_size(row.id).unwrap();
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
                if let Some(number) = number.filter(|_| committed) {
                    self.oracle.written[number].take();
                }
            }
        }
        for written in &mut self.oracle.written {
            written.forget(client, other);
        }
    }

    /// A contact is dialled.
    pub fn check_dial(&mut self, client: usize, name: &Name) {
        if !self.concerns_twin(client, name) && !self.oracle.met.answered.contains(&(client, name.clone())) {
            self.fail(format!("user{client} dials the stranger {name}"));
        }
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

    /// The console has written that somebody asks. The user decides on it, later.
    pub fn told_of_a_stranger(&mut self, client: usize, notice: &Notice) {
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

/// The commands of a transaction.
fn typed(inputs: &[Input]) -> impl Iterator<Item = &Command> {
    inputs.iter().filter_map(|input| match input {
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
