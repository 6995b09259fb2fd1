//! What must hold whatever happens, checked at each step.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use peerchat::client::command::Command;
use peerchat::client::event::Input;
use peerchat::client::notice::{Body, Code, ContactLine, ErrorNotice, Notice};
use peerchat::protocol::Name;
use peerchat::protocol::peer::{Cursor, Message, Peer};
use peerchat::protocol::rendezvous::ToClient;
use peerchat::store::journal::{ContactId, ContactRow, Journal, Request, Standing};
use peerchat::time::Now;

use super::client::{Client, has_messages};
use super::reach::Kept;
use super::strangers::Acquaintances;
use super::wire::ConnId;
use super::world::{Pid, World};

/// A message that somebody typed. Its text starts with its place in [`Oracle::written`].
pub struct Written {
    pub from: usize,
    /// `None` for somebody who does not exist.
    pub to: Option<usize>,
    id: Option<Cursor>,
    /// It was said to be in the outbox.
    promised: bool,
    /// Whether the sender's journal, as it is now, holds it.
    in_sender: bool,
    /// Whether the receiver's does.
    in_receiver: bool,
    /// Whether the receiver's ever did.
    was_received: bool,
    /// The receiver's did, and does not any more since it was restored from a backup; or the sender was told that
    /// it would not be sent, and does not know that any more.
    lost: bool,
    /// Whether it was shown by a client whose journal held it, as this one's does now.
    shown: bool,
    was_shown: bool,
    shown_in: u64,
    /// That it was shown is saved: it must not be shown again.
    settled: bool,
    /// There was no such user, and its writer's console has said so.
    given_back: bool,
    /// Its writer's client knows that it was delivered: only its writer has it sent again.
    pub known_delivered: bool,
    /// How often its writer has had it sent again.
    pub resent: u32,
    /// The sender's journal held it when its user forgot the receiver.
    forgotten: bool,
    /// The receiver's journal held it when its user forgot the writer; it may still be on its way to the console.
    dropped: bool,
    /// Its writer was a stranger to the receiver, and has made room for others: what is sent again is new there.
    displaced: bool,
    /// Its writer had forgotten the receiver, with this, and does not know that any more since it was restored from a
    /// backup; the receiver has something later of the same start.
    void: bool,
    /// The one before, to the same receiver and in the same epoch.
    previous: Option<usize>,
}

impl Written {
    /// The receiver has committed it, and forgets its writer.
    pub fn take(&mut self) {
        (self.was_received, self.in_receiver) = (true, true);
    }

    /// All that was said between `client` and `other` is gone at `client`.
    pub fn forget(&mut self, client: usize, other: Option<usize>) {
        if (self.from, self.to) == (client, other) && self.in_sender {
            (self.in_sender, self.forgotten) = (false, true);
        } else if (Some(self.from), self.to) == (other, Some(client)) && self.in_receiver {
            (self.in_receiver, self.dropped) = (false, true);
        }
    }

    /// The receiver has forgotten the writer to make room, and does not know that it ever had this.
    pub fn give_way(&mut self, client: usize, other: Option<usize>) {
        self.displaced |= (Some(self.from), self.to) == (other, Some(client)) && self.was_received;
    }
}

#[derive(Default)]
pub struct Oracle {
    pub written: Vec<Written>,
    ids: HashMap<(usize, u64, u64), usize>,
    pub names: HashMap<Name, usize>,
    /// What each client has written to each other, in order.
    streams: HashMap<(usize, usize), Vec<usize>>,
    /// The last that each client has committed to each other, by epoch.
    latest: HashMap<(usize, Option<usize>, u64), usize>,
    /// Each client's last seq before the transaction.
    seen: Vec<i64>,
    /// What each client, since it started, has shown last of each other.
    last_shown: BTreeMap<(usize, usize), usize>,
    /// How often each client, since it started, has said that a message is delivered.
    told_delivered: HashMap<(usize, usize), u32>,
    /// Bytes of messages not yet acknowledged, by connection and sending side.
    unacknowledged: BTreeMap<(ConnId, usize), VecDeque<(Cursor, usize)>>,
    pub restored: Vec<bool>,
    pub requested: BTreeSet<(usize, Name)>,
    /// Whom discovery has called unknown.
    withdrawn: BTreeSet<(usize, Name)>,
    /// Whether a client's journal holds what is to be given back.
    withdrawing: Vec<bool>,
    pub contacts: Vec<Option<Vec<ContactLine>>>,
    pub met: Acquaintances,
    pub kept: Kept,
    /// Whether the client whose transaction is looked at takes nothing from peers.
    pub takes_nothing: bool,
    /// Of whom a client was told that they have lost messages.
    pub told_lost: BTreeSet<(usize, Name)>,
    /// How often a client was told that its account is somewhere else.
    pub superseded: u64,
    /// In which of its runs a client was last told so.
    pub out: BTreeMap<usize, u64>,

    /// How often each message was shown.
    pub times: BTreeMap<usize, u32>,
}

impl Oracle {
    pub fn new(clients: &[Client]) -> Self {
        Self {
            names: clients.iter().enumerate().map(|(number, client)| (client.name.clone(), number)).collect(),
            seen: vec![0; clients.len()],
            restored: vec![false; clients.len()],
            withdrawing: vec![false; clients.len()],
            contacts: clients.iter().map(|_| None).collect(),
            ..Self::default()
        }
    }

    /// A text that nobody has written before, of about this length.
    pub fn write(&mut self, from: usize, to: &Name, length: usize) -> String {
        self.written.push(Written {
            from,
            to: self.names.get(to).copied(),
            id: None,
            promised: false,
            in_sender: false,
            in_receiver: false,
            was_received: false,
            lost: false,
            shown: false,
            was_shown: false,
            shown_in: 0,
            settled: false,
            given_back: false,
            known_delivered: false,
            resent: 0,
            forgotten: false,
            dropped: false,
            displaced: false,
            void: false,
            previous: None,
        });
        let number = self.written.len() - 1;
        if let Some(to) = self.names.get(to) {
            self.streams.entry((from, *to)).or_default().push(number);
        }
        format!("{number}:{}", "x".repeat(length))
    }

    pub fn add_twin(&mut self) {
        self.seen.push(0);
        self.restored.push(false);
        self.withdrawing.push(false);
        self.contacts.push(None);
    }

    /// A client starts: it tells everything anew.
    pub fn started(&mut self, client: usize) {
        self.last_shown.retain(|(receiver, _), _| *receiver != client);
        self.told_delivered.retain(|(teller, _), _| *teller != client);
        self.met.started(client);
    }

    /// A client has left in good order: it has saved what it has shown.
    pub fn left(&mut self, client: usize, life: u64) {
        self.written
            .iter_mut()
            .filter(|written| written.to == Some(client) && written.shown && written.shown_in == life)
            .for_each(|written| written.settled = true);
    }

    /// A message has this name. Returns the other message that already has it.
    pub fn name(&mut self, from: usize, id: Cursor, number: usize) -> Option<usize> {
        self.ids.insert((from, id.epoch, id.number), number).filter(|other| *other != number)
    }

    pub fn find(&self, from: usize, id: Cursor) -> Option<usize> {
        self.ids.get(&(from, id.epoch, id.number)).copied()
    }

    /// What a client asked of another one is nothing any more.
    pub fn forget_request(&mut self, client: usize, name: &Name) {
        self.requested.remove(&(client, name.clone()));
        self.withdrawn.insert((client, name.clone()));
    }

    /// A promised message that somebody still holds and that was not shown.
    pub fn first_missing(&self) -> Option<String> {
        let missing = self.written.iter().enumerate().find(|(_, written)| {
            let both_restored = written.to.is_some_and(|to| self.restored[to]) && self.restored[written.from];
            let done = written.shown || written.given_back || written.void;
            written.promised
                && written.to.is_some()
                && !done
                && !(both_restored && written.was_received)
                && !((written.forgotten || written.dropped) && written.was_received && !written.in_receiver)
                && (written.in_sender || written.in_receiver)
        });
        missing.map(|(number, written)| {
            format!(
                "message {number} from user{} to user{} is not shown (received: {})",
                written.from,
                written.to.unwrap_or_default(),
                written.in_receiver
            )
        })
    }

    pub fn count_promised(&self) -> u64 {
        self.written.iter().filter(|written| written.promised).count() as u64
    }
}

pub fn number_in(text: &[u8]) -> Option<usize> {
    std::str::from_utf8(text).ok()?.split_once(':')?.0.parse().ok()
}

impl World {
    /// Whether something is between an account that was started twice and somebody else.
    pub fn concerns_twin(&self, client: usize, other: &Name) -> bool {
        self.is_twin(client) || (self.plan.twin && *other == self.clients[0].name)
    }

    /// What is in the journal before a transaction.
    pub fn oracle_begins(&mut self, client: usize, journal: &Journal) {
        self.oracle.seen[client] = journal.last_seq().unwrap();
    }

    /// What a transaction has put on the disk.
    pub fn oracle_commits(&mut self, client: usize, inputs: &[Input], now: Now) {
        let wrote = inputs.iter().any(|input| {
            matches!(input, Input::Command { command: Ok(Command::Chat(..) | Command::Resend(_)), .. })
        });
        let received =
            inputs.iter().any(|input| matches!(input, Input::LinkSays(_, said) if has_messages(said)));
        let journal = std::rc::Rc::clone(&self.clients[client].journal);
        if wrote || received {
            let seen = self.oracle.seen[client];
            for contact in journal.contacts().unwrap() {
                let mut sent = Vec::new();
                journal.sent_after(contact.id, seen, |row| (sent.push(row.message), true).1).unwrap();
                for message in &sent {
                    match message.original {
                        None => self.wrote(client, &contact.name, message),
                        Some(first) => self.repeated(client, &contact.name, message, first, inputs),
                    }
                }
                let mut received = Vec::new();
                journal.received_after(contact.id, seen, |row| (received.push(row.message), true).1).unwrap();
                if contact.identity.standing == Standing::Forgotten
                    && !received.is_empty()
                    && !self.concerns_twin(client, &contact.name)
                {
                    let name = &contact.name;
                    self.fail(format!("user{client} keeps a message of {name}, who is forgotten"));
                }
                received.iter().for_each(|message| self.received(client, &contact.name, message));
            }
        }
        self.watch_people(client, &journal, inputs, now);
        let unknown: Vec<(usize, Name)> = inputs
            .iter()
            .filter_map(|input| match input {
                Input::RendezvousSays(_, said) => Some(said),
                _ => None,
            })
            .flatten()
            .filter_map(|said| match said {
                ToClient::NoSuchUser(about) => Some((client, about.name.clone())),
                _ => None,
            })
            .collect();
        self.oracle.withdrawing[client] |= !unknown.is_empty();
        if self.oracle.withdrawing[client] {
            self.oracle.withdrawn.extend(unknown);
            self.oracle.withdrawing[client] =
                journal.contacts().unwrap().iter().any(ContactRow::is_withdrawn);
            let known = asked_for(&journal);
            self.oracle.requested.retain(|(asker, name)| *asker != client || known.contains(name));
            let mut kept = HashSet::new();
            for contact in journal.contacts().unwrap() {
                journal
                    .sent_after(contact.id, 0, |row| (kept.extend(number_in(&row.message.body)), true).1)
                    .unwrap();
            }
            let mut forgotten = None;
            for (number, written) in self.oracle.written.iter_mut().enumerate() {
                if written.from == client && written.in_sender && !kept.contains(&number) {
                    written.in_sender = false;
                    forgotten = forgotten.or((!written.given_back).then_some(number));
                }
            }
            if let Some(number) = forgotten {
                self.fail(format!(
                    "user{client} forgets message {number} before it is seen to be given back"
                ));
            }
        }
    }

    fn wrote(&mut self, client: usize, to: &Name, message: &Message) {
        if self.concerns_twin(client, to) {
            return;
        }
        let to = self.oracle.names.get(to).copied();
        let Some(number) = number_in(&message.body) else {
            return self.fail(format!("user{client} holds {message:?}, which nobody wrote"));
        };
        if self.oracle.name(client, message.cursor(), number).is_some() {
            self.fail(format!("user{client} gives two messages the name {}", message.cursor()));
        }
        let stream = (client, to, message.epoch);
        let previous = self.oracle.latest.insert(stream, number);
        let written = &mut self.oracle.written[number];
        written.previous = previous;
        if (written.from, written.to) != (client, to) || written.in_sender {
            self.fail(format!("user{client} keeps message {number} wrongly"));
            return;
        }
        (written.id, written.in_sender) = (Some(message.cursor()), true);
    }

    fn received(&mut self, client: usize, from: &Name, message: &Message) {
        if self.concerns_twin(client, from) {
            return;
        }
        if self.oracle.takes_nothing {
            self.fail(format!("user{client} keeps a message of {from} though its disk is nearly full"));
        }
        let from = self.oracle.names.get(from).copied();
        let Some(number) = number_in(&message.body).filter(|number| *number < self.oracle.written.len())
        else {
            return self.fail(format!("user{client} received what nobody wrote"));
        };
        let written = &mut self.oracle.written[number];
        let right =
            Some(written.from) == from && written.to == Some(client) && written.id == Some(message.cursor());
        if !right || written.in_receiver {
            let twice = written.in_receiver;
            return self.fail(format!("user{client} commits message {number} wrongly (twice: {twice})"));
        }
        let previous = written.previous.map(|previous| (previous, &self.oracle.written[previous]));
        if let Some((previous, before)) = previous
            && before.in_sender
            && !(before.was_received || before.given_back || before.lost)
            && !self.oracle.withdrawing[before.from]
        {
            return self.fail(format!("user{client} commits message {number}, and not {previous} before it"));
        }
        let written = &mut self.oracle.written[number];
        (written.in_receiver, written.was_received) = (true, true);
        self.note(|| format!("user{client} has committed message {number}"));
    }

    /// What the console has written.
    pub fn shown(&mut self, client: usize, notices: &[Notice]) {
        for notice in notices {
            if let Notice::Message { id, from, text: Body::Text(text), replayed, .. } = notice {
                self.message_shown(client, *id, from, text, *replayed);
            }
            if let Notice::Error(ErrorNotice { code: Code::Undeliverable, id: Some(id), .. }) = notice
                && let Some(number) = self.oracle.find(client, *id)
            {
                self.stats.add("messages given back");
                self.oracle.written[number].given_back = true;
            }
            self.told_of_the_past(client, notice);
            self.told_of_a_stranger(client, notice);
        }
    }

    fn message_shown(&mut self, client: usize, id: Cursor, from: &Name, text: &str, replayed: bool) {
        self.stats.add("messages shown");
        if let Some(number) = number_in(text.as_bytes()) {
            *self.oracle.times.entry(number).or_default() += 1;
        }
        if self.concerns_twin(client, from) {
            return;
        }
        let from = self.oracle.names.get(from).copied();
        let number = number_in(text.as_bytes()).filter(|number| *number < self.oracle.written.len());
        let Some((number, from)) = number.zip(from) else {
            return self.fail(format!("user{client} shows what nobody wrote"));
        };
        let life = self.clients[client].life;
        let before = self.oracle.last_shown.insert((client, from), number);
        let stream = self.oracle.streams.get(&(from, client)).into_iter().flatten();
        let earlier = stream.rev().copied().find(|number| self.oracle.written[*number].shown);
        let written = &mut self.oracle.written[number];
        // What was lost and is sent again comes late. When both sides come back from backups, neither may know what
        // the receiver has lost; what an older backup of the sender then brings again comes late rather than never.
        // So does what it had given back.
        let late = written.displaced || written.lost && (written.resent > 0 || self.oracle.restored[from]);
        let problem = if (written.from, written.to, written.id) != (from, Some(client), Some(id)) {
            "as somebody else's"
        } else if !(written.in_receiver || written.dropped) {
            "before it is committed"
        } else if written.given_back {
            "though it was given back"
        } else if !late && before.is_some_and(|before| before >= number) {
            "after a later one, or twice"
        } else if written.shown
            && !written.displaced
            && (!replayed || written.shown_in == life || written.settled)
        {
            "again"
        } else if !late && !written.shown && earlier.is_some_and(|earlier| earlier > number) {
            "after one that was written later"
        } else {
            (written.shown, written.was_shown, written.shown_in) = (true, true, life);
            return self.note(|| format!("user{client} has shown message {number}, again: {replayed}"));
        };
        self.fail(format!("user{client} shows message {number} {problem} (last {before:?}, {earlier:?})"));
    }

    /// What a client promises, having committed it.
    pub fn check_told(&mut self, client: usize, notices: &[Notice]) {
        for notice in notices {
            self.oracle.met.told(client, notice);
            self.check_link_notice(client, notice);
            match notice {
                Notice::Queued { to, .. } if to.user().is_some_and(|to| self.concerns_twin(client, to)) => {}
                Notice::Delivered { to, .. } if self.concerns_twin(client, to) => {}
                Notice::Queued { id, .. } => match self.oracle.find(client, *id) {
                    Some(number) if self.oracle.written[number].in_sender => {
                        if std::mem::replace(&mut self.oracle.written[number].promised, true) {
                            self.fail(format!("user{client} says twice that {number} is queued"));
                        }
                    }
                    // It may have waited for the console until then.
                    Some(number) if self.oracle.written[number].forgotten => {}
                    // What was written before, in the same transaction, is forgotten with its receiver.
                    _ if self.oracle.met.forgot.contains(&client) => {}
                    _ => self.fail(format!("user{client} promises {id}, which is not in its journal")),
                },
                Notice::Delivered { id, .. } => match self.oracle.find(client, *id) {
                    Some(number) if self.oracle.written[number].was_received => {
                        let written = &mut self.oracle.written[number];
                        written.known_delivered = true;
                        let copies = 1 + written.resent;
                        let told = self.oracle.told_delivered.entry((client, number)).or_default();
                        *told += 1;
                        if *told > copies {
                            self.fail(format!("user{client} says twice that {number} is delivered"));
                        }
                    }
                    Some(number) if self.oracle.written[number].lost && self.oracle.restored[client] => {
                        self.oracle.written[number].void = true;
                    }
                    _ => self.fail(format!("user{client} says that {id} is delivered, and it is not")),
                },
                Notice::Error(error) if error.code == Code::Superseded => {
                    self.oracle.superseded += 1;
                    self.oracle.out.insert(client, self.clients[client].life);
                }
                Notice::Requested { peer } if self.concerns_twin(client, peer) => {}
                Notice::Requested { peer } => {
                    let asked = (client, peer.clone());
                    let kept = self.clients[client].journal.contacts().unwrap();
                    let holds =
                        |row: &ContactRow| row.name == *peer && row.identity.standing != Standing::Forgotten;
                    if kept.iter().any(holds) {
                        self.oracle.requested.insert(asked);
                    } else if !self.oracle.withdrawn.contains(&asked) {
                        self.fail(format!("user{client} has not kept its request for {peer}"));
                    }
                }
                Notice::Contacts { contacts } => self.oracle.contacts[client] = Some(contacts.clone()),
                Notice::Error(error) if error.code == Code::BadPeer => {
                    self.fail(format!("user{client}: {}", error.message));
                }
                _ => {}
            }
        }
    }

    /// What goes out to a peer.
    pub fn check_sent(&mut self, client: usize, conn: ConnId, side: usize, messages: &[Peer]) {
        let Some(there) = self.conns.get(&conn) else {
            return;
        };
        let window = there.budget / 2;
        let Pid::Client(other) = there.ends[1 - side].pid else {
            return;
        };
        if self.is_twin(client) || self.is_twin(other) {
            return;
        }
        for said in messages {
            self.note_hold(conn, side, said);
            match said {
                Peer::Hello(_) => self.check_greeting(client, other),
                Peer::Message(message) => {
                    self.stats.add("messages sent");
                    let name = &self.clients[other].name;
                    let known = self.oracle.find(client, message.cursor());
                    let committed = known.is_some_and(|number| self.oracle.written[number].in_sender);
                    if self.clients[client].pinned(name) != Some(self.clients[other].keypair.public()) {
                        self.fail(format!("user{client} sends a message under a key that is not pinned"));
                    } else if !committed || known.is_some_and(|it| self.oracle.written[it].to != Some(other))
                    {
                        self.fail(format!("user{client} sends {} wrongly", message.cursor()));
                    }
                    self.check_past(client, message, known);
                    let waiting = self.oracle.unacknowledged.entry((conn, side)).or_default();
                    waiting.push_back((message.cursor(), message.body.len()));
                    let bytes: usize = waiting.iter().map(|(_, bytes)| bytes).sum();
                    if bytes > window && waiting.len() > 1 {
                        self.fail(format!("user{client} has {bytes} bytes unacknowledged, of {window}"));
                    }
                }
                Peer::Ack(cursor) => {
                    let number = self.oracle.find(other, *cursor);
                    let holds = |it: &Written| it.in_receiver || it.dropped;
                    if !number.is_some_and(|number| holds(&self.oracle.written[number])) {
                        self.fail(format!("user{client} acknowledges {cursor}, which it has not committed"));
                    }
                    let waiting = self.oracle.unacknowledged.entry((conn, 1 - side)).or_default();
                    if let Some(place) = waiting.iter().position(|(sent, _)| sent == cursor) {
                        waiting.drain(..=place);
                    }
                }
                // What was not taken is not in flight any more.
                Peer::Rewound => _ = self.oracle.unacknowledged.remove(&(conn, side)),
                _ => {}
            }
        }
    }

    /// Whether a side of a connection takes messages.
    fn note_hold(&mut self, conn: ConnId, side: usize, said: &Peer) {
        let held = match said {
            Peer::Hello(hello) => hello.hold,
            Peer::Hold(hold) => Some(hold.reason),
            Peer::Resume => None,
            _ => return,
        };
        if let Some(conn) = self.conns.get_mut(&conn) {
            conn.held[side] = held;
        }
    }

    /// A program that leaves with 0 after the end of its input leaves nothing behind.
    pub fn check_exit(&mut self, client: usize, status: u8) {
        let left = |written: &&Written| {
            written.from == client && written.promised && written.in_sender && !written.was_received
        };
        if status == 0
            && !self.plan.twin
            && self.clients[client].input_ended
            && self.oracle.written.iter().any(|it| left(&it))
        {
            self.fail(format!("user{client} leaves with status 0, and something is not delivered"));
        }
    }

    /// A journal is as it was at some time before.
    pub fn oracle_restores(&mut self, client: usize) {
        let journal = std::rc::Rc::clone(&self.clients[client].journal);
        let (mut sent, mut received, mut delivered) = (HashSet::new(), HashSet::new(), HashSet::new());
        let contacts = journal.contacts().unwrap();
        let names: Vec<Name> = self.clients.iter().map(|client| client.name.clone()).collect();
        for contact in &contacts {
            journal
                .sent_after(contact.id, 0, |row| {
                    let number = number_in(&row.message.body);
                    sent.extend(number);
                    delivered.extend(number.filter(|_| row.seq <= contact.outgoing.delivered));
                    true
                })
                .unwrap();
            journal
                .received_after(contact.id, 0, |row| (received.extend(number_in(&row.message.body)), true).1)
                .unwrap();
        }
        self.oracle.restored[client] = true;
        self.oracle.met.restored(client, &journal);
        // To be looked at with the next transaction.
        self.oracle.withdrawing[client] = true;
        let known = asked_for(&journal);
        self.oracle.requested.retain(|(asker, name)| *asker != client || known.contains(name));
        for (number, written) in self.oracle.written.iter_mut().enumerate() {
            if written.from == client {
                written.in_sender = sent.contains(&number);
                written.known_delivered = delivered.contains(&number);
                // It was given back, and is written again as it were.
                written.lost |= (written.given_back || written.forgotten) && written.in_sender;
                written.given_back &= !written.in_sender;
                written.forgotten &= !written.in_sender;
            }
            if written.to == Some(client) {
                // What was forgotten before that time is so now, and is not taken again.
                let seen = |id: Cursor| {
                    let contact = contacts.iter().find(|row| row.name == names[written.from]);
                    contact.is_some_and(|row| {
                        journal.cursor(row.id, id.epoch).unwrap() >= id.number
                            && !is_missing(&journal, row.id, id)
                    })
                };
                let held = written.in_receiver || written.dropped;
                if written.dropped && !received.contains(&number) && written.id.is_some_and(seen) {
                    continue;
                }
                written.lost |= held && !received.contains(&number);
                if held {
                    written.dropped = false;
                }
                written.in_receiver = received.contains(&number);
                written.settled = false;
                written.shown = written.in_receiver && written.was_shown;
            }
        }
    }
}

/// Whether a journal knows that it has lost a message of a contact, and takes it when it is sent again.
fn is_missing(journal: &Journal, contact: ContactId, id: Cursor) -> bool {
    let sql = "SELECT EXISTS (SELECT 1 FROM missing WHERE contact = ?1 AND epoch = ?2 AND after < ?3 AND up_to >= ?3)";
    let place = [contact, id.epoch.cast_signed(), id.number.cast_signed()];
    journal.prepare_cached(sql).unwrap().query_row(place, |row| row.get(0)).unwrap()
}

/// Whose contact this account is or wants to be: not somebody who was only ever blocked by name.
fn asked_for(journal: &Journal) -> Vec<Name> {
    let asked = |row: &ContactRow| {
        row.identity.standing != Standing::Forgotten
            && (row.identity.key.is_some() || row.identity.request != Request::None)
    };
    journal.contacts().unwrap().into_iter().filter(asked).map(|row| row.name).collect()
}
