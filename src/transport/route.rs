//! The ways to another program.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::wire::Wire;

/// How a connection reaches the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Over a TCP connection of its own.
    Direct { remote: SocketAddr },
}

impl Route {
    /// The address from which the other side is seen.
    pub const fn remote(&self) -> SocketAddr {
        let Self::Direct { remote } = self;
        *remote
    }

    pub(super) fn connect(&self, within: Duration) -> io::Result<Arc<dyn Wire>> {
        match self {
            Self::Direct { remote } => Ok(Arc::new(TcpStream::connect_timeout(remote, within)?)),
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.remote().fmt(f)
    }
}
