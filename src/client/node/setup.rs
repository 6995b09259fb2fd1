//! What a node is from the start.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::protocol::rendezvous::Strangers;
use crate::protocol::{Name, PublicKey};
use crate::store::Result;
use crate::store::journal::{Journal, Seq};
use crate::transport::noise::Keypair;

/// See the module.
#[derive(Clone)]
pub struct Setup {
    pub name: Name,
    /// The account's: who it is, and what signs in rooms.
    pub keypair: Keypair,
    /// Where the client takes links: what is given out.
    pub listen: SocketAddr,
    /// Where discovery is, `HOST:PORT` each: what its key is pinned under. Never none.
    pub endpoints: Arc<[String]>,
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

    /// The key that discovery had before. It is one, wherever discovery is: where one endpoint is new, the key of the
    /// others counts there too.
    ///
    /// # Errors
    /// The journal can't be read.
    pub(super) fn pinned(&self, journal: &Journal) -> Result<Option<PublicKey>> {
        for endpoint in self.endpoints.iter() {
            if let Some((key, _)) = journal.rendezvous(endpoint)? {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    /// Saves that discovery must have this key.
    ///
    /// # Errors
    /// The journal can't be written.
    pub(super) fn pin(&self, journal: &Journal, key: PublicKey) -> Result<()> {
        self.endpoints.iter().try_for_each(|endpoint| journal.pin_rendezvous(endpoint, key))
    }

    /// Saves that the account is registered.
    ///
    /// # Errors
    /// The journal can't be written.
    pub(super) fn set_registered(&self, journal: &Journal) -> Result<()> {
        self.endpoints.iter().try_for_each(|endpoint| journal.set_registered(endpoint))
    }
}
