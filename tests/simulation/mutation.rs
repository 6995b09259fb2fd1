//! Rules broken on purpose, at the edge of the deciding code: the simulation must notice each.

use peerchat::client::event::Action;
use peerchat::protocol::peer::Peer;

use super::client::Run;
use super::world::World;

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
}

impl Mutation {
    pub const ALL: [Self; 14] = [
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
    ];
}

impl World {
    /// Acts on what is decided and not committed; the program is then to die.
    pub fn acts_too_early(&mut self, client: usize, run: &mut Run) -> bool {
        let early: fn(&Action) -> bool = match self.mutation {
            Some(Mutation::AckBeforeCommit) => {
                |action| matches!(action, Action::Send(_, said) if matches!(said[..], [Peer::Ack(_)]))
            }
            Some(Mutation::ShowBeforeCommit) => |action| matches!(action, Action::Print(_)),
            _ => return false,
        };
        if !self.storm || self.rng.u32(0..20) > 0 {
            return false;
        }
        let actions: Vec<Action> = run.node.committed().into_iter().filter(early).collect();
        let any = !actions.is_empty();
        for action in actions {
            if let Action::Print(told) = &action {
                let notices: Vec<_> = told.iter().map(|told| told.notice.clone()).collect();
                self.shown(client, &notices);
            } else {
                self.act(client, run, action);
            }
        }
        any
    }

    /// Whether the next commit is not on the disk although it says so; the program is then to die.
    pub fn loses_commit(&mut self) -> bool {
        self.mutation == Some(Mutation::LostCommit) && self.storm && self.rng.u32(0..100) == 0
    }

    /// Changes what goes out.
    pub fn distort(&mut self, _client: usize, messages: &mut [Peer]) {
        match self.mutation {
            Some(Mutation::NewestFirst) if matches!(messages[0], Peer::Message(_)) => messages.reverse(),
            Some(Mutation::AckTooFar) => {
                for said in messages {
                    if let Peer::Ack(cursor) = said {
                        cursor.number += 1;
                    }
                }
            }
            _ => {}
        }
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
        self.clients[client].journal.execute(sql, []).unwrap();
    }
}
