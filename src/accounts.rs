//! What discovery keeps, as plain data: what it starts from, and what changes. The [`store`](crate::store) saves it, and
//! [`discovery`](crate::discovery) decides on it; neither needs to know the other for that.
//!
//! Times are milliseconds since 1970.

use std::net::SocketAddr;

use crate::protocol::{Name, PublicKey};

/// What accounts are saved under. A new account has the last one's and 1.
pub type UserId = i64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub id: UserId,
    pub name: Name,
    /// The key that the name is bound to, until the operator releases the name.
    pub key: PublicKey,
    /// Where the user was last reachable.
    pub address: SocketAddr,
}

/// Everything that is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// In the order of their ids.
    pub accounts: Vec<Account>,
    /// Pairs of users who have been linked.
    pub connections: Vec<(UserId, UserId)>,
    /// Pending requests: the asker and the target.
    pub requests: Vec<(UserId, UserId)>,
    /// The released names, each with the last key that it was taken from.
    pub released: Vec<(Name, PublicKey)>,
}

/// One change of what is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Name, key and id are new.
    AddUser { account: Account, now: i64 },
    /// A user logs in or moves.
    SetAddress { user: UserId, address: SocketAddr, now: i64 },
    /// A user goes offline.
    SetSeen { user: UserId, now: i64 },
    /// Two users have been linked.
    AddConnection { one: UserId, other: UserId, now: i64 },
    /// A user asks for another one.
    AddRequest { asker: UserId, target: UserId, now: i64 },
    /// A request is settled.
    RemoveRequest { asker: UserId, target: UserId },
    /// The account goes, with its requests and connections. Its key can't take the name again.
    ReleaseName { account: Account, now: i64 },
}
