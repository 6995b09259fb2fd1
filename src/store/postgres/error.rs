//! What can be wrong with a ledger in PostgreSQL.

use std::error::Error;
use std::fmt;

use tokio_postgres::error::SqlState;

/// What is wrong, where, and what the operator can do. The password is not told.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct PostgresError {
    /// As a URL without the password.
    pub place: String,
    pub problem: Problem,
}

#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("this is not understood ({0}); write it as postgres://user@host:port/database")]
    Url(String),
    #[error(
        "sslmode=disable would send the key of discovery and all names in clear to another machine; leave it out, or use a local address"
    )]
    Clear,
    #[error("the certificates of authorities can't be read ({0}); name a file with them by sslrootcert=FILE")]
    Authorities(String),
    #[error("can't connect ({}); check that PostgreSQL runs there, and the name, password and database", Chain(.0))]
    Unreachable(#[source] tokio_postgres::Error),
    #[error("PostgreSQL has not answered in time")]
    Slow,
    #[error("PostgreSQL says: {}", Chain(.0))]
    Failed(#[source] tokio_postgres::Error),
    #[error("this is PostgreSQL {found}; version {least} or later is needed")]
    OldServer { found: String, least: u32 },
    #[error(
        "a standby is connected, and synchronous_standby_names is empty: what was confirmed would be lost if the standby took over; set it, or use --allow-async if that may be"
    )]
    Asynchronous,
    #[error(
        "PostgreSQL sends its log to what may be a standby or a backup, and does not let the role {role} see which: GRANT pg_read_all_stats TO {role}"
    )]
    Hidden { role: String },
    #[error(
        "the schema peerchat can't be made ({}); let the role have it: CREATE SCHEMA peerchat AUTHORIZATION …",
        Chain(.0)
    )]
    NoSchema(#[source] tokio_postgres::Error),
    #[error(
        "the schema peerchat is of a newer version of peerchat (format {found}, for versions that know format {least} or later; this one knows {known}): run a newer version here"
    )]
    NewerSchema { found: i32, least: i32, known: i32 },
    /// It was brought to this version's format before, and then replaced.
    #[error(
        "the schema peerchat is of an older version of peerchat (format {found}, this one uses {known}), from a backup perhaps: start discovery again, which brings it up to date"
    )]
    OlderSchema { found: i32, known: i32 },
    #[error("there are accounts in the schema peerchat already; nothing was copied")]
    NotEmpty,
    #[error("PostgreSQL could not tell whether the commit will last ({0})")]
    Unconfirmed(String),
    /// What was seen is not what is there.
    #[error(
        "turn {0}, which this node has seen, is not there any more: another server took over without it, or this node was away for too long"
    )]
    Broken(i64),
    #[error("the other nodes take this one for lost")]
    Fenced,
    #[error("no turn was taken, or it is over")]
    NoTurn,
    #[error(
        "turn {turn} is not understood ({why}): run the version of peerchat here that the other nodes run"
    )]
    Unknown { turn: i64, why: String },
    #[error("what is in the schema peerchat is damaged ({0}); restore it from a backup")]
    Damaged(String),
    #[error("no random bytes from the system: {0}")]
    Random(#[from] getrandom::Error),
    #[error("no network from the system: {0}")]
    System(#[from] std::io::Error),
}

impl Problem {
    /// Whether nothing that waits or tries again will mend it.
    pub const fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::NewerSchema { .. } | Self::OlderSchema { .. } | Self::Unknown { .. } | Self::Damaged(_)
        )
    }

    /// Whether the schema was replaced under the connection, which then has to be made anew.
    pub fn is_of_another_schema(&self) -> bool {
        let Self::Failed(error) = self else { return false };
        // The last one: a statement that was prepared yields something else now.
        let codes = [SqlState::UNDEFINED_TABLE, SqlState::UNDEFINED_COLUMN, SqlState::FEATURE_NOT_SUPPORTED];
        error.code().is_some_and(|code| codes.contains(code))
    }
}

impl From<tokio_postgres::Error> for Problem {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Failed(error)
    }
}

/// An error and what led to it, in one line: the driver's own text says only that there was an error.
struct Chain<'e>(&'e tokio_postgres::Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(said) = self.0.as_db_error() {
            return write!(f, "{} ({})", said.message(), said.code().code());
        }
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(error) = next {
            write!(f, ": {error}")?;
            next = error.source();
        }
        Ok(())
    }
}
