//! What reaches the client's deciding code, and what it wants done.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::addressee::{Addressee, RoomLabel};
use super::command::{Command, CommandError, Reference};
use super::notice::{Told, Work};
use crate::protocol::peer::Peer;
use crate::protocol::rendezvous::{TOKEN, ToClient, ToDiscovery};
use crate::protocol::{Name, PublicKey};
use crate::store::journal::ContactId;
pub use crate::transport::ConnectionId;
use crate::transport::Route;

/// A front end: that on the program's own streams, or a box on its socket.
pub type BoxId = u64;
/// The front end on the program's own streams.
pub const OWN: BoxId = 0;
/// A front end that only looks on: what it is told counts as shown to no user.
pub const WITNESS: BoxId = BoxId::MAX;

/// How many bytes the answers to the commands of one transaction may have, by [`Input::answer`]: nothing is left out
/// of what is told while there is room for that many.
pub const ANSWERS: usize = 1024 * 1024;

#[derive(Debug)]
pub enum Input {
    /// A line was typed or piped in.
    Command {
        command: Result<Command, CommandError>,
        reference: Option<Reference>,
    },
    /// The same in a box.
    Said {
        from: BoxId,
        command: Result<Command, CommandError>,
        reference: Option<Reference>,
    },
    /// A box has come, or has gone. One that is quiet is shown no messages: it says something, and goes.
    Attached(BoxId),
    AttachedQuietly(BoxId),
    Detached(BoxId),
    /// A box has been written the oldest batch of notices that it was given, or some of it.
    Written(BoxId),
    Writing(BoxId),
    /// There will be no more lines.
    InputEnded,
    /// One text is to be sent, and then the program is to end.
    Send {
        to: Addressee,
        text: String,
    },
    /// The system or the user wants the program to end.
    Signal,
    /// The console has written the oldest batch of notices that it was given.
    Printed,
    /// Standard output has been closed, or can't be written for this reason.
    OutputClosed(Option<String>),
    /// How much room the journal's disk has, when that has changed. It starts with enough.
    Disk(Space),

    /// Discovery has proved this key.
    RendezvousUp {
        session: ConnectionId,
        key: PublicKey,
        path: Path,
        reached: Reached,
    },
    /// There is no session with discovery: what went wrong at each of its addresses; none if all of them are known to lead
    /// to nothing now.
    RendezvousFailed(Vec<Missed>),
    /// Discovery says something.
    RendezvousSays(ConnectionId, Vec<ToClient>),
    /// The session with discovery is over.
    RendezvousClosed(ConnectionId),

    /// A peer has proved a key.
    LinkUp {
        link: ConnectionId,
        key: PublicKey,
        /// The version of the protocol that the handshake has settled on.
        version: u8,
        /// The contact that this side has dialled; `None` if the other side did.
        dialled: Option<ContactId>,
        route: Route,
        /// How many bytes the kernel takes for the connection without waiting.
        budget: usize,
    },
    /// What went wrong on each route, in the order tried.
    DialFailed {
        contact: ContactId,
        problems: Vec<(Route, Problem)>,
    },
    /// What went wrong where both sides, or discovery, had a part in reaching a contact.
    NotMet {
        contact: ContactId,
        problems: Vec<(Route, Problem)>,
    },
    /// At which outer address a router passes on what comes for this client; `None` for at none any more.
    Mapped(Option<SocketAddr>),
    /// A peer says something.
    LinkSays(ConnectionId, Vec<Peer>),
    /// A link is over.
    LinkClosed(ConnectionId),

    /// Something has arrived from a peer or discovery that is not yet a whole frame.
    Alive(ConnectionId),
}

impl Input {
    pub fn typed(command: Result<Command, CommandError>) -> Self {
        Self::Command { command, reference: None }
    }

    /// How much work it is, in messages.
    pub fn weight(&self) -> usize {
        match self {
            Self::LinkSays(_, messages) => 1 + messages.len(),
            Self::RendezvousSays(_, messages) => 1 + messages.len(),
            _ => 1,
        }
    }

    /// Whether it is what a peer may fill the disk with.
    pub fn is_from_peers(&self) -> bool {
        matches!(self, Self::LinkUp { .. } | Self::LinkSays(..))
    }

    /// About how many bytes the answer to a command adds to the console's work, as far as it depends on the command;
    /// without a bound where it depends on what is kept. Such a command is the last of its transaction.
    pub fn answer(&self) -> usize {
        let (Self::Command { command: Ok(command), .. } | Self::Said { command: Ok(command), .. }) = self
        else {
            return 0;
        };
        let asks = match command {
            Command::Line { otherwise, .. } => matches!(&**otherwise, Ok(command) if !command.is_written()),
            command => !command.is_written(),
        };
        if asks { usize::MAX } else { command.text().map_or(0, str::len) }
    }
}

/// How this machine reaches discovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// This side's socket of the session.
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// How long a round trip takes.
    pub rtt: Duration,
    /// Other addresses at which this client takes links: private ones of IPv4, and global ones of IPv6.
    pub own: Vec<IpAddr>,
}

/// Where discovery was reached, and where it was not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reached {
    /// Which one it is, for people.
    pub at: String,
    /// Its other addresses.
    pub others: Arc<[SocketAddr]>,
    /// Those that were tried before.
    pub missed: Vec<Missed>,
}

/// One discovery that was not reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missed {
    /// Which one it is, for people.
    pub at: String,
    pub problem: Problem,
}

/// What a way through routers takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Punching {
    /// This side's socket of the session with discovery: its port is where the other side finds the way.
    pub session: SocketAddr,
    pub token: [u8; TOKEN],
    /// Whether this side begins the handshake.
    pub begins: bool,
    /// How long to wait, so that both sides begin at once.
    pub wait: Duration,
    pub remotes: Vec<SocketAddr>,
    /// Where the contact takes links.
    pub routes: Vec<Route>,
}

/// Whether the journal's disk has room for what peers send.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Space {
    #[default]
    Enough,
    /// Less is free than the floor that the user keeps.
    Low,
}

/// Why a connection did not come to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("{}", wrong_key(expected, found.as_ref()))]
    WrongKey { expected: PublicKey, found: Option<PublicKey> },
    /// It was closed before a key was proved. A program that does not hold the key that was dialled does so,
    /// and so does a client that is just being killed.
    #[error("the program that answers there closed the connection without proving the right key")]
    Closed,
    #[error("{0}")]
    Other(String),
}

fn wrong_key(expected: &PublicKey, found: Option<&PublicKey>) -> String {
    let found = found.map(|found| format!("its key is {found}, not {expected}"));
    found.unwrap_or_else(|| "the program that answers there does not hold the right key".into())
}

/// What a person at a terminal sees while they type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prompt {
    /// The contact or room to which plain lines go.
    pub conversation: Option<Addressee>,
    /// Unread messages by sender or room, none that are zero, counted up to [`MANY_UNREAD`](super::notice::MANY_UNREAD).
    pub unread: BTreeMap<Addressee, u64>,
    /// How many messages of the conversation wait here, because there is no link. Of a room: those that no other member has.
    pub waiting: u64,
    /// Long work that goes on.
    pub work: Option<Work>,
    /// Sorted. Shared, for it may be long and seldom changes.
    pub contacts: Arc<[Name]>,
    /// The rooms that are known here. Sorted, and shared.
    pub rooms: Arc<[RoomLabel]>,
}

/// Something to be done, after the transaction in which it was decided has been committed.
#[derive(Debug)]
pub enum Action {
    /// Connect to discovery, at any of its addresses but those tried a moment ago, in an order that follows from the seed.
    DialRendezvous {
        /// What it must prove, if a key is pinned.
        key: Option<PublicKey>,
        tried: Vec<SocketAddr>,
        seed: u64,
    },
    /// Say something to discovery, in one frame.
    TellDiscovery(ConnectionId, Vec<ToDiscovery>),
    /// Connect to a contact, which must prove this key, by the routes in their order. The name is for the log.
    Dial {
        contact: ContactId,
        name: Name,
        key: PublicKey,
        routes: Vec<Route>,
        /// Where there was a link, so that the address may be dialled whatever it is.
        worked: Option<SocketAddr>,
    },
    /// Open a way to a contact, who must prove this key, together with them.
    Punch { contact: ContactId, name: Name, key: PublicKey, punching: Punching },
    /// Be joined with a contact by discovery.
    Relay {
        contact: ContactId,
        name: Name,
        /// Where this side begins, the contact must prove this key.
        key: Option<PublicKey>,
        through: SocketAddr,
        /// Whether only discovery says that it is there, so that not every address may be dialled.
        told: bool,
        ticket: [u8; TOKEN],
    },
    /// Have a router pass on what comes for this client.
    MapPort,
    /// Say something to a peer, in one frame.
    Send(ConnectionId, Vec<Peer>),
    /// Close a connection, to a peer or to discovery.
    Close(ConnectionId),
    /// Give a batch of notices to the console, which answers with [`Input::Printed`].
    Print(Vec<Told>),
    /// What the prompt shows and Tab completes has changed.
    Prompt(Prompt),
    /// End the program with this status, and say why on standard error.
    Exit(u8, Option<String>),
}
