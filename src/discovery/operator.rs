//! What `discovery --status` and `discovery --release` do, beside a discovery that is running or in place of it.

use std::path::PathBuf;

use anyhow::{Context, anyhow, ensure};

use super::control;
use super::registry::{Decisions, Limits, Registry};
use super::{Directory, default_database};
use crate::accounts::ALONE;
use crate::protocol::{Name, PublicKey};
use crate::store;
use crate::time::Clock;

/// Asks a running discovery for its status: text for people, or one line of JSON.
pub fn status(database: Option<PathBuf>, json: bool) -> anyhow::Result<String> {
    let path = database.map_or_else(default_database, Ok)?;
    let question = if json { "status json" } else { "status" };
    let answer = control::ask(&path, question)?;
    answer.ok_or_else(|| {
        anyhow!("no discovery is running with the database {}; --db names another one", path.display())
    })
}

/// Releases a name: asks the running discovery, or does it in the database if none is running. Returns what was done,
/// for people.
pub fn release(database: Option<PathBuf>, name: &Name) -> anyhow::Result<String> {
    let path = database.map_or_else(default_database, Ok)?;
    if let Some(answer) = control::ask(&path, &format!("release {name}"))? {
        return Ok(answer);
    }
    let exists = path.try_exists().with_context(|| format!("can't use {}", path.display()))?;
    ensure!(exists, "there is no database {}; --db names another one", path.display());
    let directory = Directory::open(&path)?;
    let key = release_stopped(&directory, name)
        .with_context(|| format!("can't release {name} in {}", path.display()))?;
    log_release(name, key);
    control::released(name, key)
}

fn release_stopped(directory: &Directory, name: &Name) -> store::Result<Option<PublicKey>> {
    let mut registry = Registry::new(ALONE, directory.load()?, Limits::default());
    let mut decisions = Decisions::default();
    let key = registry.release(name, Clock::start().now(), &mut decisions);
    directory.save(&decisions.changes)?;
    Ok(key)
}

pub(super) fn log_release(name: &Name, key: Option<PublicKey>) {
    if let Some(key) = key {
        tracing::warn!(%name, %key, "name released");
    }
}
