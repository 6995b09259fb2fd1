//! How much room a file system has.

use std::io;
use std::path::Path;

use rustix::fs::statvfs;

/// The room of a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// What a user without privileges may still fill.
    pub free: u64,
    pub total: u64,
}

impl Room {
    /// The room of the file system that holds `path`.
    pub fn of(path: &Path) -> io::Result<Self> {
        let it = statvfs(path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(it.f_frsize);
        Ok(Self { free: bytes(it.f_bavail), total: bytes(it.f_blocks) })
    }
}
