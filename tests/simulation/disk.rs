//! Disks that fail, and at which step a program dies.

use peerchat::store::{self, StoreError};
use rusqlite::{Connection, TransactionState};

/// Between which two steps a program dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    Received,
    HalfHandled,
    Decided,
    Committed,
    HalfActed,
}

/// How a disk fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    Begin,
    /// Nothing can be written.
    ReadOnly,
    Full,
    Commit,
}

#[derive(Default)]
pub struct Disk {
    /// How, and until when; at least once.
    pub failure: Option<(Failure, u64)>,
}

pub struct Broken(Option<Failure>);

impl Disk {
    pub fn take(&mut self, now: u64) -> Broken {
        let failure = self.failure;
        // What begins a transaction touches no disk: that it fails is not for long.
        self.failure = failure.filter(|(failure, until)| *until > now && *failure != Failure::Begin);
        Broken(failure.map(|(failure, _)| failure))
    }
}

impl Broken {
    pub fn before_begin(&self) -> store::Result<()> {
        self.fails(Failure::Begin)
    }

    /// A commit fails only if there is something to write.
    pub fn before_commit(&self, database: &Connection) -> store::Result<()> {
        match database.transaction_state(None::<&str>).unwrap() {
            TransactionState::Write => self.fails(Failure::Commit),
            _ => Ok(()),
        }
    }

    fn fails(&self, at: Failure) -> store::Result<()> {
        if self.0 == Some(at) {
            let source = std::io::Error::other("injected");
            return Err(StoreError::File { path: "journal".into(), source });
        }
        Ok(())
    }

    pub fn arm(&self, database: &Connection) {
        match self.0 {
            Some(Failure::ReadOnly) => database.execute_batch("PRAGMA query_only = ON").unwrap(),
            Some(Failure::Full) => database.execute_batch("PRAGMA max_page_count = 1").unwrap(),
            _ => {}
        }
    }

    pub fn disarm(&self, database: &Connection) {
        match self.0 {
            Some(Failure::ReadOnly) => database.execute_batch("PRAGMA query_only = OFF").unwrap(),
            Some(Failure::Full) => database.execute_batch("PRAGMA max_page_count = 1000000").unwrap(),
            _ => {}
        }
    }
}
