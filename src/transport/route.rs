//! The ways to another program.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::wire::Wire;
use crate::protocol::peer::Via;

/// How a connection reaches the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Over a TCP connection of its own.
    Direct { remote: SocketAddr },
    /// The same, to a port that the other side's router maps to it.
    Mapped { remote: SocketAddr },
    /// Over a TCP connection that both sides have opened at once.
    Punched { remote: SocketAddr },
    /// Through discovery, which is there.
    Relayed { through: SocketAddr },
}

impl Route {
    /// The other side's socket; `None` where this side does not reach it itself.
    pub const fn remote(&self) -> Option<SocketAddr> {
        match self {
            Self::Direct { remote } | Self::Mapped { remote } | Self::Punched { remote } => Some(*remote),
            Self::Relayed { .. } => None,
        }
    }

    /// What kind it is.
    pub const fn via(&self) -> Via {
        match self {
            Self::Direct { .. } => Via::Direct,
            Self::Mapped { .. } => Via::Mapped,
            Self::Punched { .. } => Via::Punched,
            Self::Relayed { .. } => Via::Relayed,
        }
    }

    pub(super) fn connect(&self, within: Duration) -> io::Result<Arc<dyn Wire>> {
        match self {
            Self::Direct { remote } | Self::Mapped { remote } => {
                Ok(Arc::new(TcpStream::connect_timeout(remote, within)?))
            }
            // These take more than an address.
            Self::Punched { .. } | Self::Relayed { .. } => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct { remote } => remote.fmt(f),
            Self::Mapped { remote } | Self::Punched { remote } => remote.fmt(f),
            Self::Relayed { through } => through.fmt(f),
        }
    }
}

impl From<SocketAddr> for Route {
    fn from(remote: SocketAddr) -> Self {
        Self::Direct { remote }
    }
}

/// Its address.
impl Serialize for Route {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Direct { remote } | Self::Mapped { remote } | Self::Punched { remote } => {
                serializer.collect_str(remote)
            }
            Self::Relayed { through } => serializer.collect_str(through),
        }
    }
}
