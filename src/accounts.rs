//! What discovery keeps, as plain data: what it starts from, and what changes. The [`store`](crate::store) saves it, and
//! [`discovery`](crate::discovery) decides on it; neither needs to know the other for that.
//!
//! Times are milliseconds since 1970.

use std::net::{IpAddr, SocketAddr};

use crate::protocol::rendezvous::Strangers;
use crate::protocol::{Name, PublicKey};

/// What accounts are saved under. A new account has the last one's and 1.
pub type UserId = i64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub id: UserId,
    pub name: Name,
    /// The key that the name is bound to, until the operator releases the name.
    pub key: PublicKey,
    pub registration: Registration,
}

/// What the last registration of an account said, and where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Where the user was last reachable.
    pub address: SocketAddr,
    /// Where discovery saw the client, which may say that it is reachable elsewhere.
    pub observed: IpAddr,
    pub strangers: Strangers,
}

/// That a user has asked for another one, who has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Whether the user asked, and not only the client.
    pub typed: bool,
    pub asked: i64,
    /// When the user who is asked was first told.
    pub told: Option<i64>,
}

/// Everything that is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// In the order of their ids.
    pub accounts: Vec<Account>,
    /// Pairs of users who have both asked.
    pub connections: Vec<(UserId, UserId)>,
    /// The asker and the target of each request that waits for an answer.
    pub requests: Vec<(UserId, UserId, Request)>,
    /// Who has dropped which other user, and when.
    pub refusals: Vec<(UserId, UserId, i64)>,
    /// The released names, each with the last key that it was taken from.
    pub released: Vec<(Name, PublicKey)>,
}

/// One change of what is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Name, key and id are new.
    AddUser {
        account: Account,
        now: i64,
    },
    /// A user logs in, moves or meets strangers otherwise.
    SetRegistration {
        user: UserId,
        registration: Registration,
        now: i64,
    },
    /// A user goes offline.
    SetSeen {
        user: UserId,
        now: i64,
    },
    /// Two users have both asked.
    AddConnection {
        one: UserId,
        other: UserId,
        now: i64,
    },
    RemoveConnection {
        one: UserId,
        other: UserId,
    },
    /// A request is new, or something about it is.
    SetRequest {
        asker: UserId,
        target: UserId,
        request: Request,
    },
    RemoveRequest {
        asker: UserId,
        target: UserId,
    },
    /// A user wants nothing of another one.
    AddRefusal {
        by: UserId,
        of: UserId,
        now: i64,
    },
    RemoveRefusal {
        by: UserId,
        of: UserId,
    },
    /// The account goes, with all that stands between it and others. Its key can't take the name again.
    ReleaseName {
        account: Account,
        now: i64,
    },
}
