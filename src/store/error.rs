//! What can be wrong with a database.

use std::io;
use std::path::PathBuf;

use rusqlite::ErrorCode;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{} is in use by another process; close that one first", .0.display())]
    InUse(PathBuf),
    #[error("{} is there already and was left as it was; move it away first if it is to be replaced", .0.display())]
    Exists(PathBuf),
    #[error("{} is not a peerchat {what} or is damaged ({why}); it was left as it was: restore it from a backup, or move it away to start anew", path.display())]
    Damaged { path: PathBuf, what: &'static str, why: String },
    /// `version` is "an older" or "a newer".
    #[error("{} was written by {version} version of peerchat (format {found}, this one reads {known}); it was left as it was: use it with that version, or move it away to start anew", path.display())]
    OtherVersion { path: PathBuf, version: &'static str, found: i64, known: i64 },
    #[error("{} was written by an older version of peerchat (format {found}, this one reads {known}); it was left as it was: a start of this client converts it", path.display())]
    Unconverted { path: PathBuf, found: i64, known: i64 },
    #[error("{} was removed or replaced while it was open ({why}): put all files of the {what} back, or one backup in place of all of them, and start again", path.display())]
    Lost { path: PathBuf, what: &'static str, why: String },
    #[error("can't use {}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// The disk is full, or fails.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error("no random bytes from the system: {0}")]
    Random(#[from] getrandom::Error),
}

impl StoreError {
    /// Whether the content is wrong or gone, rather than the disk failing or full: nothing that waits or tries again
    /// will mend it.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. } | Self::Lost { .. } => true,
            Self::Sqlite(rusqlite::Error::SqliteFailure(error, _)) => {
                matches!(error.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
            }
            Self::Sqlite(error) => matches!(
                error,
                rusqlite::Error::FromSqlConversionFailure(..)
                    | rusqlite::Error::InvalidColumnType(..)
                    | rusqlite::Error::IntegralValueOutOfRange(..)
            ),
            _ => false,
        }
    }
}

pub type Result<T, E = StoreError> = std::result::Result<T, E>;
