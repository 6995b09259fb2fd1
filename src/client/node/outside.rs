//! What this client knows of the network between it and others.

use std::net::SocketAddr;

use super::super::event::Path;
use crate::undo::{Value, transactional};

/// See the module.
#[derive(Debug, Default)]
pub struct Outside {
    /// How discovery is reached, while it is.
    path: Value<Option<Path>>,
    /// From where discovery sees this client come.
    observed: Value<Option<SocketAddr>>,
    mapped: Value<Option<SocketAddr>>,
    /// Whether a router was asked since this session began to pass on what comes for this client.
    asked: Value<bool>,
    /// Whether the user was told how others get here.
    told: Value<bool>,
}

/// What is between this client and discovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Between {
    /// Nothing that changes addresses.
    #[serde(rename = "none")]
    Nothing,
    /// A NAT that leaves the port of a connection as it is.
    SamePort,
    /// A NAT that gives connections other ports.
    OtherPort,
}

/// How others get here from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "how", rename_all = "lowercase")]
pub enum Reachable {
    /// By dialling the address of this machine, if no firewall is between.
    Direct { address: SocketAddr },
    /// By dialling a port that the router passes on.
    Mapped { address: SocketAddr },
    /// Only by a way that both sides open, or through discovery. This machine is seen at that address.
    Nat { address: SocketAddr },
}

impl Outside {
    pub fn connected(&mut self, path: Path) {
        *self.path = Some(path);
        *self.observed = None;
        *self.asked = false;
    }

    pub fn path(&self) -> Option<&Path> {
        self.path.as_ref()
    }

    /// From where discovery sees this client come.
    pub fn seen_at(&self) -> Option<SocketAddr> {
        *self.observed
    }

    pub fn mapped(&self) -> Option<SocketAddr> {
        *self.mapped
    }

    /// Discovery says from where it sees the session come.
    pub fn observed(&mut self, observed: SocketAddr) {
        *self.observed = Some(observed);
    }

    /// Whether a router is to be asked to pass on what comes for this client, which listens there: once in a session.
    pub fn wants_mapping(&mut self, listen: SocketAddr) -> bool {
        let wanted = !*self.asked
            && !listen.ip().is_loopback()
            && self.is_outside()
            && self.between().is_some_and(|between| between != Between::Nothing);
        if wanted {
            *self.asked = true;
        }
        wanted
    }

    /// A router passes on what comes to that address, or none does. Returns whether that is news.
    pub fn set_mapped(&mut self, mapped: Option<SocketAddr>) -> bool {
        let news = *self.mapped != mapped;
        *self.mapped = mapped;
        news
    }

    /// What the user is to be told, once, of how others get here; `asked` is whether a router has answered, or failed to.
    pub fn tell(&mut self, listen: SocketAddr, asked: bool) -> Option<Reachable> {
        let observed = (*self.observed)?;
        let between = self.between()?;
        if *self.told || !self.is_outside() || between != Between::Nothing && !asked {
            return None;
        }
        *self.told = true;
        Some(match (between, *self.mapped) {
            (Between::Nothing, _) => {
                Reachable::Direct { address: SocketAddr::new(observed.ip(), listen.port()) }
            }
            (_, Some(address)) => Reachable::Mapped { address },
            (_, None) => Reachable::Nat { address: observed },
        })
    }

    /// What is between this client and discovery, as far as that can be seen.
    pub fn between(&self) -> Option<Between> {
        let (path, observed) = (self.path.as_ref()?, (*self.observed)?);
        let (local, observed) = (canonical(path.local), canonical(observed));
        Some(if local.ip() == observed.ip() {
            Between::Nothing
        } else if local.port() == observed.port() {
            Between::SamePort
        } else {
            Between::OtherPort
        })
    }

    /// Whether discovery is not on this machine itself.
    fn is_outside(&self) -> bool {
        self.path.as_ref().is_some_and(|path| !path.remote.ip().to_canonical().is_loopback())
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

transactional!(Outside { path, observed, mapped, asked, told });
