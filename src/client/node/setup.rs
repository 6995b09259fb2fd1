//! What a node is from the start.

use std::net::SocketAddr;
use std::time::Duration;

use crate::protocol::rendezvous::Strangers;
use crate::protocol::{Name, PublicKey};
use crate::store::journal::Seq;
use crate::transport::noise::Keypair;

/// See the module.
#[derive(Clone)]
pub struct Setup {
    pub name: Name,
    /// The account's: who it is, and what signs in rooms.
    pub keypair: Keypair,
    /// Where the client takes links: what is given out.
    pub listen: SocketAddr,
    /// Which discovery, `HOST:PORT`: what its key is pinned under.
    pub endpoint: String,
    /// The key that discovery must have, if the user said so.
    pub discovery_key: Option<PublicKey>,
    /// How users are met that this user has neither asked for nor answered.
    pub strangers: Strangers,
    /// How long to stay after the last line of input; `None`: until all is delivered.
    pub linger: Option<Duration>,
    /// Whether the output is never read: nothing is told then, and no message counts as shown.
    pub silent: bool,
    /// How many messages make a segment of the journal.
    pub segment: Seq,
    /// A random number that no start of this client has had.
    pub epoch: u64,
    /// Where the jitter of back-offs comes from.
    pub seed: u64,
}

impl Setup {
    pub fn key(&self) -> PublicKey {
        self.keypair.public()
    }
}
