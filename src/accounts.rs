//! What discovery keeps, as plain data: what it starts from, and what changes. The [`store`](crate::store) saves it, and
//! [`discovery`](crate::discovery) decides on it; neither needs to know the other for that. [`ledger`] is what the two
//! expect of each other.
//!
//! Times are milliseconds since 1970.

use std::net::{IpAddr, SocketAddr};

use minicbor::{Decode, Decoder, Encode};

use crate::protocol::rendezvous::{Strangers, ToClient};
use crate::protocol::{Name, PublicKey};
use crate::transport::ConnectionId;
use reach::Reach;

pub mod ledger;
pub mod reach;

/// What accounts are saved under. A new account has the last one's and 1.
pub type UserId = i64;

/// One run of one discovery among those that share a ledger: a number of at most 31 bits that no other run has had as long as
/// the ledger remembers. A later one need not be higher. A discovery that is alone with its ledger is [`ALONE`].
pub type NodeId = i64;

pub const ALONE: NodeId = 0;

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Account {
    #[n(0)]
    pub id: UserId,
    #[n(1)]
    pub name: Name,
    /// The key that the name is bound to, until the operator releases the name.
    #[n(2)]
    pub key: PublicKey,
    #[n(3)]
    pub registration: Registration,
}

/// What the last registration of an account said, and where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Registration {
    /// Where the user was last reachable.
    #[n(0)]
    pub address: SocketAddr,
    /// Where discovery saw the client, which may say that it is reachable elsewhere.
    #[n(1)]
    pub observed: IpAddr,
    #[n(2)]
    pub strangers: Strangers,
}

/// The session that a user holds. It is kept only as long as there are other nodes that want to know.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Presence {
    #[n(0)]
    pub node: NodeId,
    /// At that node.
    #[n(1)]
    pub session: ConnectionId,
    /// Which start of a client it says it is of, and how often that one had dialled before.
    #[n(2)]
    pub start: Option<u64>,
    #[n(3)]
    pub dial: u32,
    /// Where the node sees it come from.
    #[n(4)]
    pub from: SocketAddr,
    #[n(5)]
    pub reach: Reach,
}

impl Presence {
    /// In a session of which nothing else is known.
    pub fn new(node: NodeId, session: ConnectionId, from: SocketAddr) -> Self {
        Self { node, session, start: None, dial: 0, from, reach: Reach::default() }
    }
}

/// That a user has asked for another one, who has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Request {
    /// Whether the user asked, and not only the client.
    #[n(0)]
    pub typed: bool,
    #[n(1)]
    pub asked: i64,
    /// When the user who is asked was first told.
    #[n(2)]
    pub told: Option<i64>,
}

/// A discovery among those that share a ledger.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Node {
    #[n(0)]
    pub id: NodeId,
    /// What its operator calls it; the same after a restart.
    #[n(1)]
    pub name: String,
    /// Where clients reach it.
    #[n(2)]
    pub address: SocketAddr,
    /// Whether it is known to be gone. Its users are called offline when [`Change::ForgetNode`] says so.
    #[n(3)]
    pub lost: bool,
    /// The highest number of a kind of [`Change`] that it understands. What a node reads that does not say so is
    /// [`Change::READ_BY_ALL`].
    #[cbor(n(4), decode_with = "decode_reads", nil = "unsaid_reads")]
    pub reads: i32,
}

fn decode_reads<C>(decoder: &mut Decoder<'_>, _: &mut C) -> Result<i32, minicbor::decode::Error> {
    decoder.i32()
}

const fn unsaid_reads() -> Option<i32> {
    Some(Change::READ_BY_ALL)
}

/// Everything that is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// In the order of their ids.
    pub accounts: Vec<Account>,
    /// The highest id that an account has ever had; 0 if it is that of the last one in `accounts`.
    pub last_id: UserId,
    /// Pairs of users who have both asked.
    pub connections: Vec<(UserId, UserId)>,
    /// The asker and the target of each request that waits for an answer.
    pub requests: Vec<(UserId, UserId, Request)>,
    /// Who has dropped which other user, and when.
    pub refusals: Vec<(UserId, UserId, i64)>,
    /// The released names, each with the last key that it was taken from.
    pub released: Vec<(Name, PublicKey)>,
    /// Empty where a discovery is alone with its ledger, as are the next two.
    pub nodes: Vec<Node>,
    pub presences: Vec<(UserId, Presence)>,
    /// The keys of the users that each user says to share a room with.
    pub mates: Vec<(UserId, PublicKey)>,
}

/// One change of what is kept.
///
/// Nodes read it out of each other's turns: a kind or a field keeps its number for good. A kind that is newer than
/// [`READ_BY_ALL`](Self::READ_BY_ALL) is written only where all nodes [say](Node::reads) that they read it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Change {
    /// Name, key and id are new. The user is online in that session.
    #[n(0)]
    AddUser {
        #[n(0)]
        account: Account,
        #[n(1)]
        presence: Presence,
        #[n(2)]
        now: i64,
    },
    /// A user logs in, or the session is otherwise than before.
    #[n(1)]
    LogIn {
        #[n(0)]
        user: UserId,
        #[n(1)]
        registration: Registration,
        #[n(2)]
        presence: Presence,
        /// Whether the session is another one than before: what was said of mates is over.
        #[n(3)]
        anew: bool,
        #[n(4)]
        now: i64,
    },
    /// A user goes offline. Says nothing if the user holds another session than this by then.
    #[n(2)]
    LogOut {
        #[n(0)]
        user: UserId,
        #[n(1)]
        node: NodeId,
        #[n(2)]
        session: ConnectionId,
        #[n(3)]
        now: i64,
    },
    /// Two users have both asked.
    #[n(3)]
    AddConnection {
        #[n(0)]
        one: UserId,
        #[n(1)]
        other: UserId,
        #[n(2)]
        now: i64,
    },
    #[n(4)]
    RemoveConnection {
        #[n(0)]
        one: UserId,
        #[n(1)]
        other: UserId,
    },
    /// A request is new, or something about it is.
    #[n(5)]
    SetRequest {
        #[n(0)]
        asker: UserId,
        #[n(1)]
        target: UserId,
        #[n(2)]
        request: Request,
    },
    #[n(6)]
    RemoveRequest {
        #[n(0)]
        asker: UserId,
        #[n(1)]
        target: UserId,
    },
    /// A user wants nothing of another one.
    #[n(7)]
    AddRefusal {
        #[n(0)]
        by: UserId,
        #[n(1)]
        of: UserId,
        #[n(2)]
        now: i64,
    },
    #[n(8)]
    RemoveRefusal {
        #[n(0)]
        by: UserId,
        #[n(1)]
        of: UserId,
    },
    /// The account goes, with all that stands between it and others. Its key can't take the name again.
    #[n(9)]
    ReleaseName {
        #[n(0)]
        account: Account,
        #[n(1)]
        now: i64,
    },
    /// A user says that the user with this key and the first one share a room, or no more. It holds for the session.
    #[n(10)]
    SetMate {
        #[n(0)]
        user: UserId,
        #[n(1)]
        key: PublicKey,
        #[n(2)]
        shares: bool,
    },
    /// The node that holds the user's session is to pass something on.
    #[n(11)]
    Tell {
        #[n(0)]
        user: UserId,
        #[n(1)]
        message: ToClient,
    },
    /// A node has come.
    #[n(12)]
    AddNode {
        #[n(0)]
        node: Node,
    },
    /// A node is gone, and can change nothing any more. Its users have some time to come back elsewhere.
    #[n(13)]
    LoseNode {
        #[n(0)]
        node: NodeId,
    },
    /// Users who still hold sessions at a lost node are offline.
    #[n(14)]
    ForgetNode {
        #[n(0)]
        node: NodeId,
        #[n(1)]
        now: i64,
    },
    /// A user moves or meets strangers otherwise, in the session that was there before.
    #[n(15)]
    Move {
        #[n(0)]
        user: UserId,
        #[n(1)]
        registration: Registration,
        #[n(2)]
        now: i64,
    },
}

impl Change {
    /// The highest number of the kinds above.
    pub const READS: i32 = Self::MOVE;
    /// Of the kinds that there were before nodes said which ones they read.
    pub const READ_BY_ALL: i32 = 14;
    /// The number of [`Change::Move`]. Before there was one, [`Change::LogIn`] said it.
    pub const MOVE: i32 = 15;

    /// Whether a discovery that is alone has to keep it.
    pub const fn is_kept_alone(&self) -> bool {
        match self {
            Self::AddUser { .. } | Self::LogIn { .. } | Self::Move { .. } | Self::LogOut { .. } => true,
            Self::AddConnection { .. } | Self::RemoveConnection { .. } => true,
            Self::SetRequest { .. } | Self::RemoveRequest { .. } => true,
            Self::AddRefusal { .. } | Self::RemoveRefusal { .. } | Self::ReleaseName { .. } => true,
            Self::SetMate { .. } | Self::Tell { .. } => false,
            Self::AddNode { .. } | Self::LoseNode { .. } | Self::ForgetNode { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::codec;

    #[test]
    fn this_version_reads_all_its_kinds() {
        let is_known = |kind: i32| {
            let fields_are_missing = [0x82, kind.try_into().unwrap(), 0x80];
            !minicbor::decode::<Change>(&fields_are_missing).unwrap_err().is_unknown_variant()
        };
        assert!((0..=Change::READS).all(is_known));
        assert!(!is_known(Change::READS + 1));
    }

    #[test]
    fn a_node_that_does_not_say_what_it_reads_reads_what_there_was_before() {
        let address = "192.0.2.1:4000".parse().unwrap();
        let node = Node { id: 7, name: "n".into(), address, lost: false, reads: 99 };
        let mut bytes = Vec::new();
        codec::encode(&node, &mut bytes);
        assert_eq!(minicbor::decode::<Node>(&bytes).unwrap(), node);
        // An array of four in place of five.
        let [first, fields @ .., 0x18, 99] = &bytes[..] else { panic!("{bytes:?}") };
        let older = [&[first - 1], fields].concat();
        assert_eq!(minicbor::decode::<Node>(&older).unwrap(), Node { reads: 14, ..node });
    }
}
