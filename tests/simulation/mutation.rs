//! Rules broken on purpose, at the edge of the deciding code: the simulation must notice each.

use std::collections::BTreeSet;

use peerchat::client::command::Command;
use peerchat::client::event::{Action, Input, Space};
use peerchat::client::notice::{Notice, Told};
use peerchat::protocol::Name;
use peerchat::protocol::peer::{Message, Peer};
use peerchat::protocol::rendezvous::{Strangers as Policy, TOKEN, ToDiscovery};

use super::client::{Run, has_messages};
use super::wire::{Conn, ConnId};
use super::world::{Event, Pid, World};

/// How many delivered messages go out again where that is the broken rule.
const PAST: usize = 20;

/// Which rule is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// A message is acknowledged before it is committed.
    AckBeforeCommit,
    /// A message is shown before it is committed.
    ShowBeforeCommit,
    /// A message is forgotten once it is sent, not once it is acknowledged.
    ForgetOnSend,
    /// Nobody remembers what was received before a restart.
    NoDedupe,
    /// What waits goes out newest first.
    NewestFirst,
    /// A link that another one replaces stays open.
    KeepBothLinks,
    /// A new start goes on in the epoch of the one before.
    SameEpoch,
    /// An acknowledgement covers more than what was received.
    AckTooFar,
    /// A commit is not on the disk when it says so.
    LostCommit,
    /// More is sent than fits into the connection.
    NoWindow,
    /// Nothing happens by the clock.
    NoTimers,
    /// What discovery says of a key is believed without asking.
    AnyKey,
    /// That something was shown is forgotten.
    ForgetShown,
    /// What a failed transaction decided is not taken back.
    KeepFailed,
    /// What was delivered goes out again by itself to a contact who has lost it.
    SendThePast,
    /// What is sent again looks new to its receiver.
    OriginalIgnored,
    /// A receiver does not hear what it is not sent again by itself.
    SkippedIgnored,
    /// What was on the way while nothing was taken is taken afterwards.
    GapAfterHold,
    /// After what was not taken a sender goes on, and not back.
    NotRewound,
    /// Peers are not told that messages are taken again.
    NoResume,
    /// A user is not told why messages wait.
    HeldInSilence,
    /// A user is not told that a stranger has more to say.
    FullInSilence,
    /// A user is not told that a contact has lost something.
    LossInSilence,
    /// A stranger who is accepted is not answered.
    NoAnswer,
    /// What strangers have said before a restart does not count.
    StrangersUncounted,
    /// A start takes strangers for contacts.
    StrangersTrusted,
    /// A start does not know who was forgotten.
    NoMark,
    /// Too many strangers do not displace one another.
    StrangersUnbounded,
    /// A hello acknowledges more than was received.
    HelloTooFar,
    /// Strangers have a link although their user wants to be asked first.
    OpenToAll,
    /// Discovery tells strangers where a user is who wants to be asked first.
    AddressTold,
    /// Messages are taken although the disk is nearly full.
    NoFloor,
    /// The side that does not decide never hears which link stays.
    KeepUnheard,
    /// The order in which links were kept is not known.
    KeepUnnumbered,
    /// It is taken for the reverse.
    KeepReversed,
    /// The side that decides closes the older link at once.
    ClosedByDecider,
    /// The other side closes the older link before it hears which one stays.
    ClosedAtHello,
    /// A relayed link looks like a direct one.
    RelayedAsDirect,
    /// One of two who are to punch is not told.
    PunchUnanswered,
    /// The tickets of the relay lead to others.
    WrongTickets,
    /// Discovery is not asked to relay.
    RelayUnasked,
    /// None is, where those among routers would show: so it is not the network that breaks the others.
    Nothing,
}

/// What a broken rule remembers.
#[derive(Default)]
pub struct Broken {
    /// Over which connections, and from which side, messages do not get through.
    deaf: BTreeSet<(ConnId, usize)>,
    /// The strangers that a client's user has accepted.
    accepted: BTreeSet<(usize, Name)>,
    /// The second ticket of the last pair.
    pub ticket: [u8; TOKEN],
}

impl Mutation {
    pub const ALL: [Self; 41] = [
        Self::AckBeforeCommit,
        Self::ShowBeforeCommit,
        Self::ForgetOnSend,
        Self::NoDedupe,
        Self::NewestFirst,
        Self::KeepBothLinks,
        Self::SameEpoch,
        Self::AckTooFar,
        Self::LostCommit,
        Self::NoWindow,
        Self::NoTimers,
        Self::AnyKey,
        Self::ForgetShown,
        Self::KeepFailed,
        Self::SendThePast,
        Self::OriginalIgnored,
        Self::SkippedIgnored,
        Self::GapAfterHold,
        Self::NotRewound,
        Self::NoResume,
        Self::HeldInSilence,
        Self::FullInSilence,
        Self::LossInSilence,
        Self::NoAnswer,
        Self::StrangersUncounted,
        Self::StrangersTrusted,
        Self::NoMark,
        Self::StrangersUnbounded,
        Self::HelloTooFar,
        Self::OpenToAll,
        Self::AddressTold,
        Self::NoFloor,
        Self::KeepUnheard,
        Self::KeepUnnumbered,
        Self::KeepReversed,
        Self::ClosedByDecider,
        Self::ClosedAtHello,
        Self::RelayedAsDirect,
        Self::PunchUnanswered,
        Self::WrongTickets,
        Self::RelayUnasked,
    ];

    /// Whether it shows only where there are routers between clients.
    pub fn needs_routers(self) -> bool {
        matches!(
            self,
            Self::KeepUnheard
                | Self::KeepUnnumbered
                | Self::KeepReversed
                | Self::ClosedByDecider
                | Self::ClosedAtHello
                | Self::RelayedAsDirect
                | Self::PunchUnanswered
                | Self::WrongTickets
                | Self::RelayUnasked
                | Self::Nothing
        )
    }

    /// Whether it shows only where journals are restored from backups.
    pub fn needs_backups(self) -> bool {
        matches!(
            self,
            Self::SameEpoch
                | Self::SendThePast
                | Self::OriginalIgnored
                | Self::SkippedIgnored
                | Self::LossInSilence
        )
    }

    /// Whether it shows only where users meet strangers.
    pub fn needs_strangers(self) -> bool {
        matches!(
            self,
            Self::NotRewound
                | Self::NoResume
                | Self::HeldInSilence
                | Self::FullInSilence
                | Self::NoAnswer
                | Self::StrangersUncounted
                | Self::StrangersTrusted
                | Self::NoMark
                | Self::StrangersUnbounded
                | Self::OpenToAll
                | Self::AddressTold
        )
    }
}

impl World {
    /// Acts on what is decided and not committed; the program is then to die.
    pub fn acts_too_early(&mut self, client: usize, run: &mut Run, inputs: &[Input]) -> bool {
        let early: fn(&Action) -> bool = match self.mutation {
            Some(Mutation::AckBeforeCommit) => {
                |action| matches!(action, Action::Send(_, said) if matches!(said[..], [Peer::Ack(_)]))
            }
            Some(Mutation::ShowBeforeCommit) => |action| matches!(action, Action::Print(_)),
            _ => return false,
        };
        let received = |input: &Input| matches!(input, Input::LinkSays(_, said) if has_messages(said));
        if !self.storm || !inputs.iter().any(received) || self.rng.u32(0..20) > 0 {
            return false;
        }
        for action in run.node.committed().into_iter().filter(early) {
            if let Action::Print(told) = &action {
                let notices: Vec<_> = told.iter().map(|told| told.notice.clone()).collect();
                self.shown(client, &notices);
            } else {
                self.act(client, run, action);
            }
        }
        true
    }

    /// Whether the next commit is not on the disk although it says so; the program is then to die.
    pub fn loses_commit(&mut self) -> bool {
        self.mutation == Some(Mutation::LostCommit) && self.storm && self.rng.u32(0..100) == 0
    }

    /// Changes what goes out.
    pub fn distort(&mut self, client: usize, (conn, side): (ConnId, usize), said: &mut Vec<Peer>) {
        match self.mutation {
            Some(Mutation::NewestFirst) if matches!(said.first(), Some(Peer::Message(_))) => said.reverse(),
            Some(Mutation::AckTooFar) => {
                for said in said {
                    if let Peer::Ack(cursor) = said {
                        cursor.number += 1;
                    }
                }
            }
            Some(Mutation::HelloTooFar) => {
                for said in said {
                    if let Peer::Hello(hello) = said {
                        hello.cursors.iter_mut().for_each(|cursor| cursor.number += 1000);
                    }
                }
            }
            Some(Mutation::SendThePast) if said.iter().any(|said| matches!(said, Peer::Skipped(_))) => {
                let past = self.past(client, conn, side);
                said.extend(past.into_iter().map(Peer::Message));
            }
            Some(Mutation::ClosedByDecider) if said.iter().any(|said| matches!(said, Peer::Keep(_))) => {
                self.close_older(conn);
            }
            Some(Mutation::NoResume) => said.retain(|said| !matches!(said, Peer::Resume)),
            // There is room again at once, while more is still on the way.
            Some(Mutation::GapAfterHold) if said.iter().any(|said| matches!(said, Peer::Hold(_))) => {
                self.schedule(self.now + 1, Event::Room(client));
            }
            Some(Mutation::GapAfterHold) if said.contains(&Peer::Resume) => {
                // It goes on as if the other side had answered already.
                if let Some(end) = self.conns.get(&conn).map(|conn| conn.ends[side]) {
                    let answer = Input::LinkSays(end.id, vec![Peer::Rewound]);
                    self.schedule(self.now, Event::Up(end, answer));
                }
            }
            Some(Mutation::NotRewound) if self.broken.deaf.contains(&(conn, side)) => {
                said.retain(|said| !matches!(said, Peer::Message(_) | Peer::Part(_)));
            }
            _ => {}
        }
    }

    /// Changes what comes in from a peer.
    pub fn mishear(&mut self, conn: ConnId, side: usize, said: &mut Vec<Peer>) {
        match self.mutation {
            Some(Mutation::OriginalIgnored) => {
                for said in said {
                    if let Peer::Message(message) = said {
                        message.original = None;
                    }
                }
            }
            Some(Mutation::KeepUnheard) => said.retain(|said| !matches!(said, Peer::Keep(_))),
            Some(Mutation::KeepUnnumbered | Mutation::KeepReversed) => {
                let reversed = self.mutation == Some(Mutation::KeepReversed);
                for said in said {
                    if let Peer::Keep(number) = said {
                        *number = if reversed { u64::MAX - *number } else { 0 };
                    }
                }
            }
            Some(Mutation::ClosedAtHello)
                if said.iter().any(|said| matches!(said, Peer::Hello(_))) && !self.decides(conn, side) =>
            {
                self.close_older(conn);
            }
            Some(Mutation::SkippedIgnored) => said.retain(|said| !matches!(said, Peer::Skipped(_))),
            Some(Mutation::NotRewound) if said.iter().any(|said| matches!(said, Peer::Hold(_))) => {
                said.retain(|said| !matches!(said, Peer::Hold(_)));
                self.broken.deaf.insert((conn, side));
                self.transmit(conn, side, &[Peer::Rewound]);
            }
            Some(Mutation::NotRewound) if said.contains(&Peer::Resume) => {
                self.broken.deaf.remove(&(conn, side));
            }
            _ => {}
        }
    }

    /// Whether the program at this half decides which link stays.
    fn decides(&self, conn: ConnId, side: usize) -> bool {
        let key = |side: usize| match self.conns.get(&conn)?.ends[side].pid {
            Pid::Client(client) => Some(self.clients[client].keypair.public()),
            Pid::Discovery => None,
        };
        key(side) < key(1 - side)
    }

    /// Closes the other connections of the same two programs, from the same side.
    fn close_older(&mut self, conn: ConnId) {
        let pids = |it: &Conn| {
            let mut pids = it.ends.map(|end| (end.pid, end.life));
            pids.sort_unstable();
            pids
        };
        let Some(own) = self.conns.get(&conn).map(pids) else {
            return;
        };
        let older: Vec<ConnId> = self
            .conns
            .range(..conn)
            .filter(|(_, it)| it.peer && pids(it) == own)
            .map(|(id, _)| *id)
            .collect();
        let decider = self.mutation == Some(Mutation::ClosedByDecider);
        for conn in older {
            for side in 0..2 {
                if self.decides(conn, side) == decider {
                    self.close(conn, side);
                }
            }
        }
    }

    /// Changes what discovery hears.
    pub fn mishear_client(&mut self, said: &mut ToDiscovery) {
        if self.mutation == Some(Mutation::AddressTold)
            && let ToDiscovery::Register(register) = said
        {
            register.strangers = Policy::Open;
        }
    }

    /// Changes what a client tells discovery.
    pub fn distort_for_discovery(&mut self, client: usize, said: &mut Vec<ToDiscovery>) {
        if self.mutation == Some(Mutation::RelayUnasked) {
            said.retain(|said| !matches!(said, ToDiscovery::Relay(_)));
        }
        if self.mutation == Some(Mutation::NoAnswer) {
            let accepted = &self.broken.accepted;
            said.retain(|said| match said {
                ToDiscovery::Request(request) => !accepted.contains(&(client, request.name.clone())),
                _ => true,
            });
        }
    }

    /// Changes what a user is told.
    pub fn hide(&self, told: &mut Vec<Told>) {
        let hidden: fn(&Notice) -> bool = match self.mutation {
            Some(Mutation::HeldInSilence) => |notice| matches!(notice, Notice::Held { .. }),
            Some(Mutation::FullInSilence) => |notice| matches!(notice, Notice::Full { .. }),
            Some(Mutation::LossInSilence) => |notice| matches!(notice, Notice::Lost { .. }),
            _ => return,
        };
        told.retain(|told| !hidden(&told.notice));
    }

    /// Whether the deciding code of a client is told of something at all.
    pub fn is_told(&self, input: &Input) -> bool {
        !(self.mutation == Some(Mutation::NoFloor) && matches!(input, Input::Disk(Space::Low)))
    }

    /// What a client's user has typed is committed.
    pub fn note_for_mutation(&mut self, client: usize, inputs: &[Input]) {
        if self.mutation == Some(Mutation::NoAnswer) {
            for input in inputs {
                if let Input::Command { command: Ok(Command::Accept(name)), .. } = input {
                    self.broken.accepted.insert((client, name.clone()));
                }
            }
        }
    }

    /// How a client meets strangers, whatever its user has said.
    pub fn real_policy(&self, client: usize) -> Policy {
        match (self.mutation, self.clients[client].policy) {
            (Some(Mutation::OpenToAll), Policy::Ask) => Policy::Open,
            (_, policy) => policy,
        }
    }

    /// What was delivered to the other side, the last of it.
    fn past(&self, client: usize, conn: ConnId, side: usize) -> Vec<Message> {
        let other = match self.conns.get(&conn).map(|conn| conn.ends[1 - side].pid) {
            Some(Pid::Client(other)) => self.clients[other].name.clone(),
            _ => return Vec::new(),
        };
        let journal = &self.clients[client].journal;
        let mut past = Vec::new();
        for row in journal.contacts().unwrap().into_iter().filter(|row| row.name == other) {
            let delivered = |message: Message, seq| (seq <= row.outgoing.delivered).then_some(message);
            journal
                .sent_after(row.id, 0, |sent| (past.extend(delivered(sent.message, sent.seq)), true).1)
                .unwrap();
        }
        past.split_off(past.len().saturating_sub(PAST))
    }

    /// Changes what is kept of what went out.
    pub fn after_sending(&mut self, client: usize, messages: &[Peer]) {
        if self.mutation == Some(Mutation::ForgetOnSend) {
            for said in messages {
                if let Peer::Message(message) = said {
                    self.clients[client]
                        .journal
                        .execute("DELETE FROM sent WHERE seq = ?1", [message.number.cast_signed()])
                        .unwrap();
                }
            }
        }
    }

    /// Changes what a program finds when it starts.
    pub fn mutate_journal(&mut self, client: usize) {
        let sql = match self.mutation {
            Some(Mutation::NoDedupe) => "DELETE FROM cursor",
            Some(Mutation::AnyKey) => {
                "UPDATE contact SET key = offered, offered = NULL WHERE offered IS NOT NULL"
            }
            Some(Mutation::ForgetShown) => "UPDATE contact SET shown = 0",
            _ => return,
        };
        self.clients[client].journal.execute_batch(sql).unwrap();
    }

    /// Lets a program that starts read its journal, which may look otherwise than it is.
    pub fn reads_journal<T>(&self, client: usize, read: impl FnOnce() -> T) -> T {
        let sql = match self.mutation {
            Some(Mutation::StrangersUncounted) => {
                "UPDATE received SET contact = -contact WHERE EXISTS (SELECT 1 FROM contact
                     WHERE contact.id = received.contact AND standing = 1 AND received.seq <= contact.shown)"
            }
            Some(Mutation::NoMark) => "UPDATE contact SET standing = 1 WHERE standing = 2",
            Some(Mutation::StrangersTrusted) => "UPDATE contact SET standing = 0 WHERE standing = 1",
            // Those who are blocked are not counted.
            Some(Mutation::StrangersUnbounded) => {
                "UPDATE contact SET blocked = 1 WHERE standing = 1 AND name GLOB 'crowd*'"
            }
            _ => return read(),
        };
        let journal = &self.clients[client].journal;
        journal.execute_batch(&format!("BEGIN; {sql}")).unwrap();
        let result = read();
        journal.execute_batch("ROLLBACK").unwrap();
        result
    }
}
