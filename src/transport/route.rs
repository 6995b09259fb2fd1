//! The ways to another program.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::wire::Wire;

/// How a connection reaches the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Over a TCP connection of its own.
    Direct { remote: SocketAddr },
}

impl Route {
    /// The other side's socket; `None` where this side does not reach it itself.
    pub const fn remote(&self) -> Option<SocketAddr> {
        match self {
            Self::Direct { remote } => Some(*remote),
        }
    }

    pub(super) fn connect(&self, within: Duration) -> io::Result<Arc<dyn Wire>> {
        match self {
            Self::Direct { remote } => Ok(Arc::new(TcpStream::connect_timeout(remote, within)?)),
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct { remote } => remote.fmt(f),
        }
    }
}

impl From<SocketAddr> for Route {
    fn from(remote: SocketAddr) -> Self {
        Self::Direct { remote }
    }
}

/// As people read it.
impl Serialize for Route {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
