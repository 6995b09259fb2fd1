//! Why there is no session.

use std::io;

use crate::protocol::{HANDSHAKE_DEADLINE, PublicKey, Refusal, VERSION};

#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    #[error("no whole answer within {} seconds", HANDSHAKE_DEADLINE.as_secs())]
    Deadline,
    #[error("the other side closed the connection during the handshake")]
    Closed,
    #[error("{}", version(*theirs))]
    Version { theirs: u8 },
    /// Of the versions that both speak, the lower one was chosen.
    #[error("the versions of the protocol that the dialling side offers were changed on the way")]
    Downgrade,
    /// The other side said so in clear.
    #[error("{0}")]
    Refused(Refusal),
    #[error("its key is {found}, not {expected}")]
    WrongKey { expected: PublicKey, found: PublicKey },
    /// One that everybody could prove, or that can't be an account's: no honest program has it.
    #[error("the other side uses a key that proves nothing")]
    InvalidKey,
    /// The other side sent something of the right length that makes no sense.
    #[error("the other side sent a malformed {0}")]
    Malformed(&'static str),
    /// Or it means something else by this connection.
    #[error("the other side could not prove its key")]
    NotProved(snow::Error),
    #[error("no random bytes from the system: {0}")]
    Random(#[from] getrandom::Error),
    #[error(transparent)]
    Io(io::Error),
}

impl HandshakeError {
    /// What a first byte means that is not the version chosen.
    pub(in crate::transport) fn of_byte(theirs: u8) -> Self {
        Refusal::from_byte(theirs).map_or(Self::Version { theirs }, Self::Refused)
    }
}

/// Versions are small numbers. A first byte that is a character comes from another kind of server.
fn version(theirs: u8) -> String {
    if theirs >= b' ' {
        return "the program that answers there does not speak peerchat".into();
    }
    format!("the other side speaks version {theirs} of the protocol, this program version {VERSION}")
}

impl From<snow::Error> for HandshakeError {
    fn from(error: snow::Error) -> Self {
        match error {
            snow::Error::Dh => Self::InvalidKey,
            error => Self::NotProved(error),
        }
    }
}

/// Told apart as far as a user cares.
impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Self::Deadline,
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Io(error),
        }
    }
}
