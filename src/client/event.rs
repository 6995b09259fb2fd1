//! What reaches the client's deciding code, and what it wants done.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::command::{Command, CommandError, Reference};
use super::notice::Told;
use crate::protocol::peer::Peer;
use crate::protocol::rendezvous::{ToClient, ToDiscovery};
use crate::protocol::{Name, PublicKey};
use crate::store::journal::ContactId;
pub use crate::transport::ConnectionId;
use crate::transport::Route;

/// How many bytes the answers to the commands of one transaction may have, by [`Input::answer`]: nothing is left out
/// of what is told while there is room for that many.
pub const ANSWERS: usize = 1024 * 1024;

/// Something that happened.
#[derive(Debug)]
pub enum Input {
    /// A line was typed or piped in.
    Command {
        /// What it says.
        command: Result<Command, CommandError>,
        /// What a script calls it, and every answer repeats.
        reference: Option<Reference>,
    },
    /// There will be no more lines.
    InputEnded,
    /// One text is to be sent, and then the program is to end.
    Send {
        /// For whom.
        to: Name,
        /// What it says.
        text: String,
    },
    /// The system or the user wants the program to end.
    Signal,
    /// The console has written the oldest batch of notices that it was given.
    Printed,
    /// Standard output has been closed, or can't be written for this reason.
    OutputClosed(Option<String>),

    /// A session with discovery stands.
    RendezvousUp {
        /// The connection.
        session: ConnectionId,
        /// Discovery's proven key.
        key: PublicKey,
    },
    /// There is no session with discovery.
    RendezvousFailed(Problem),
    /// Discovery says something.
    RendezvousSays(ConnectionId, Vec<ToClient>),
    /// The session with discovery is over.
    RendezvousClosed(ConnectionId),

    /// A peer has proved a key.
    LinkUp {
        /// The connection.
        link: ConnectionId,
        /// The proven key.
        key: PublicKey,
        /// Whom this side has dialled; `None` if the other side did.
        dialled: Option<ContactId>,
        /// How it reaches the other side.
        route: Route,
        /// How many bytes the kernel takes for the connection without waiting.
        budget: usize,
    },
    /// A contact could not be reached.
    DialFailed {
        /// Whom.
        contact: ContactId,
        /// The addresses tried, in order, with what went wrong.
        problems: Vec<(SocketAddr, Problem)>,
    },
    /// A peer says something.
    LinkSays(ConnectionId, Vec<Peer>),
    /// A link is over.
    LinkClosed(ConnectionId),
}

impl Input {
    /// A typed command.
    #[must_use]
    pub fn typed(command: Result<Command, CommandError>) -> Self {
        Self::Command { command, reference: None }
    }

    /// How much work it is, in messages.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Self::LinkSays(_, messages) => 1 + messages.len(),
            Self::RendezvousSays(_, messages) => 1 + messages.len(),
            _ => 1,
        }
    }

    /// About how many bytes the answer to a command adds to the console's work, as far as it depends on the command;
    /// without a bound where it depends on what is kept. Such a command is the last of its transaction.
    #[must_use]
    pub fn answer(&self) -> usize {
        let Self::Command { command: Ok(command), .. } = self else {
            return 0;
        };
        let asks = match command {
            Command::Line { otherwise, .. } => matches!(&**otherwise, Ok(command) if !command.is_written()),
            command => !command.is_written(),
        };
        if asks { usize::MAX } else { command.text().map_or(0, str::len) }
    }
}

/// Why a connection did not come to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The program there does not hold the key that was expected.
    WrongKey {
        /// The key it should have had.
        expected: PublicKey,
        /// The key it has, where that is known.
        found: Option<PublicKey>,
    },
    /// It was closed before a key was proved. A program that does not hold the key that was dialled does so,
    /// and so does a client that is just being killed.
    Closed,
    /// Anything else, in words.
    Other(String),
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::WrongKey { expected, found: Some(found) } => {
                write!(f, "its key is {found}, not {expected}")
            }
            Self::WrongKey { found: None, .. } => {
                f.write_str("the program that answers there does not hold the right key")
            }
            Self::Closed => f.write_str(
                "the program that answers there closed the connection without proving the right key",
            ),
            Self::Other(words) => f.write_str(words),
        }
    }
}

/// What a person at a terminal sees while they type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prompt {
    /// Whom plain lines go to.
    pub conversation: Option<Name>,
    /// How many messages the user has not yet looked at, by who wrote them; none that are zero. They are counted
    /// no further than [`MANY_UNREAD`](super::notice::MANY_UNREAD).
    pub unread: BTreeMap<Name, u64>,
    /// How many messages wait here for whom plain lines go to, because there is no link.
    pub waiting: u64,
    /// Everybody whom the user knows, by name. Shared, for it may be long and seldom changes.
    pub contacts: Arc<[Name]>,
}

/// Something to be done, after the transaction in which it was decided has been committed.
#[derive(Debug)]
pub enum Action {
    /// Connect to discovery, which should hold this key, if one is pinned.
    DialRendezvous(Option<PublicKey>),
    /// Say something to discovery.
    TellDiscovery(ConnectionId, Vec<ToDiscovery>),
    /// Connect to a contact.
    Dial {
        /// Whom.
        contact: ContactId,
        /// Their name, for the log.
        name: Name,
        /// The key that they must prove.
        key: PublicKey,
        /// Where they may be, to be tried in this order.
        addresses: Vec<SocketAddr>,
    },
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
