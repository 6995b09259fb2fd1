//! Where the machines of a node put what is to be done and told.

use super::super::addressee::RoomLabel;
use super::super::event::{Action, ConnectionId};
use super::super::notice::{Code, ErrorNotice, Notice};
use super::output::Output;
use crate::protocol::Name;
use crate::protocol::peer::{Bye, ByeReason, Peer};
use crate::protocol::rendezvous::ToDiscovery;
use crate::protocol::room::RoomKey;
use crate::time::Now;
use crate::undo::Transactional;

/// What one transaction leads to. Nothing of it leaves the node before the commit.
#[derive(Debug)]
pub struct Effects {
    pub now: Now,
    pub output: Output,
    actions: Vec<Action>,
}

impl Effects {
    pub fn new(now: Now, output: Output) -> Self {
        Self { now, output, actions: Vec::new() }
    }

    pub fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    /// Says something to a peer, in one frame.
    pub fn say(&mut self, link: ConnectionId, messages: Vec<Peer>) {
        self.act(Action::Send(link, messages));
    }

    pub fn tell_discovery(&mut self, session: ConnectionId, message: ToDiscovery) {
        self.act(Action::TellDiscovery(session, vec![message]));
    }

    /// Closes a connection, with a last word if there is a reason to give.
    pub fn close(&mut self, link: ConnectionId, reason: Option<ByeReason>) {
        if let Some(reason) = reason {
            self.say(link, vec![Peer::Bye(Bye { reason })]);
        }
        self.act(Action::Close(link));
    }

    /// Tells the user something. What answers a command repeats what a script calls it.
    pub fn tell(&mut self, notice: Notice) {
        self.output.tell(notice);
    }

    pub fn error(&mut self, code: Code, peer: Option<&Name>, message: String) {
        self.tell(Notice::Error(ErrorNotice {
            code,
            message,
            peer: peer.cloned(),
            room: None,
            room_id: None,
            id: None,
            text: None,
        }));
    }

    /// The same about a room, and perhaps a user in it.
    pub fn room_error(
        &mut self,
        code: Code,
        (room, room_id): (&RoomLabel, Option<RoomKey>),
        peer: Option<&Name>,
        message: String,
    ) {
        self.tell(Notice::Error(ErrorNotice {
            code,
            message,
            peer: peer.cloned(),
            room: Some(room.clone()),
            room_id,
            id: None,
            text: None,
        }));
    }

    /// All that is to be done once the transaction is on the disk.
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }
}

impl Transactional for Effects {
    fn commit(&mut self) {
        self.output.commit();
    }

    fn rollback(&mut self) {
        self.actions.clear();
        self.output.rollback();
    }
}
