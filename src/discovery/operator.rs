//! What discovery does for its operator beside one that is running, or in place of it: `--status`, `--release` and
//! `--copy-to`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};
use etcetera::BaseStrategy;

use super::control;
use super::registry::{Decisions, Limits, Registry};
use super::{Options, default_database};
use crate::accounts::ledger::{Given, Ledger, Trouble};
use crate::protocol::{Name, PublicKey};
use crate::store::directory::Directory;
use crate::store::postgres::{self, Postgres, copy::copy as copy_all};
use crate::time::Clock;
use crate::undo::Transactional;

/// Asks a running discovery for its status: text for people, or one line of JSON.
pub fn status(options: Options, json: bool) -> anyhow::Result<String> {
    let question = if json { "status json" } else { "status" };
    if options.store.is_some() {
        return ask_node(options.node.as_deref(), question);
    }
    let path = options.db.map_or_else(default_database, Ok)?;
    let answer = control::ask(&path, question)?;
    answer.ok_or_else(|| {
        anyhow!("no discovery is running with the database {}; --db names another one", path.display())
    })
}

/// Asks the node of this name, or the only one that runs on this machine.
fn ask_node(name: Option<&str>, question: &str) -> anyhow::Result<String> {
    let nodes = match name {
        Some(name) => vec![node_file(name)?],
        None => all_nodes()?,
    };
    let mut answers = Vec::new();
    for path in nodes {
        answers.extend(control::ask(&path, question)?.map(|answer| (path, answer)));
    }
    let names = answers.iter().filter_map(|(path, _)| path.file_name()?.to_str());
    let names = names.collect::<Vec<_>>().join(", ");
    match (&answers[..], name) {
        ([(_, answer)], _) => Ok(answer.clone()),
        ([], Some(name)) => bail!("no node {name} is running on this machine"),
        ([], None) => bail!("no node is running on this machine"),
        _ => bail!("several nodes are running on this machine; name one with --node: {names}"),
    }
}

/// Releases a name: asks the running discovery, or does it in the database if none is running, or if it is shared.
/// Returns what was done, for people.
pub fn release(options: Options, name: &Name) -> anyhow::Result<String> {
    if let Some(url) = &options.store {
        let mut ledger = Postgres::open(url, postgres::Options { allow_async: options.allow_async })?;
        let key = release_in(&mut ledger, name).with_context(|| format!("can't release {name}"))?;
        log_release(name, key);
        return control::released(name, key);
    }
    let path = options.db.map_or_else(default_database, Ok)?;
    if let Some(answer) = control::ask(&path, &format!("release {name}"))? {
        return Ok(answer);
    }
    let exists = path.try_exists().with_context(|| format!("can't use {}", path.display()))?;
    ensure!(exists, "there is no database {}; --db names another one", path.display());
    let mut directory = Directory::open(&path)?;
    let key = release_in(&mut directory, name)
        .with_context(|| format!("can't release {name} in {}", path.display()))?;
    log_release(name, key);
    control::released(name, key)
}

/// Releases a name in one turn. Nodes that share the ledger hear of it as of any other.
fn release_in<L>(ledger: &mut L, name: &Name) -> anyhow::Result<Option<PublicKey>>
where
    L: Ledger<Error: std::error::Error + Send + Sync + 'static>,
{
    let node = ledger.join().map_err(Trouble::into_error)?;
    let snapshot = ledger.load().map_err(Trouble::into_error)?;
    let mut registry = Registry::new(node, snapshot, Limits::default());
    let now = Clock::start().now();
    for turn in ledger.take().map_err(Trouble::into_error)? {
        registry.apply(&turn.changes, now, &mut Decisions::default());
        registry.commit();
    }
    let mut decisions = Decisions::default();
    let key = registry.release(name, now, &mut decisions);
    match ledger.give(&decisions.changes) {
        Given::Saved => Ok(key),
        Given::Refused(trouble) => Err(trouble.into_error().into()),
        Given::Unsure(trouble) => Err(anyhow!(trouble.into_error())
            .context("it is not known whether that was saved; try again, which says whether it was")),
    }
}

/// Copies all that the database of a discovery holds into an empty ledger that nodes can share. Returns what was done,
/// for people.
pub fn copy(options: Options, url: &str) -> anyhow::Result<String> {
    let path = options.db.map_or_else(default_database, Ok)?;
    let exists = path.try_exists().with_context(|| format!("can't use {}", path.display()))?;
    ensure!(exists, "there is no database {}; --db names another one", path.display());
    let directory = Directory::open(&path)?;
    let mut ledger = Postgres::open(url, postgres::Options { allow_async: options.allow_async })?;
    let accounts = copy_all(&directory, &mut ledger)?;
    Ok(format!(
        "{accounts} accounts and discovery's key are in {} now; do not start discovery with {} again\n",
        ledger.place(),
        path.display()
    ))
}

/// Beside which file the operator's socket of a node is.
pub(super) fn node_file(name: &str) -> anyhow::Result<PathBuf> {
    Ok(nodes()?.join(name))
}

/// Makes sure that no other node of that name runs on this machine.
pub(super) fn claim(node_file: &Path) -> anyhow::Result<()> {
    if let Some(directory) = node_file.parent() {
        fs::create_dir_all(directory).with_context(|| format!("can't make {}", directory.display()))?;
    }
    let name = node_file.file_name().unwrap_or_default().display();
    ensure!(
        control::ask(node_file, "status")?.is_none(),
        "a node {name} is running on this machine; --node gives this one another name"
    );
    Ok(())
}

fn nodes() -> anyhow::Result<PathBuf> {
    let strategy = etcetera::choose_base_strategy().context("no home directory for the node's socket")?;
    Ok(strategy.data_dir().join("peerchat").join("nodes"))
}

fn all_nodes() -> anyhow::Result<Vec<PathBuf>> {
    let nodes = nodes()?;
    let entries = match fs::read_dir(&nodes) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("can't read {}", nodes.display())),
    };
    let mut all: Vec<_> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            path.extension().is_some_and(|it| it == "sock").then(|| path.with_extension(""))
        })
        .collect();
    all.sort();
    Ok(all)
}

pub(super) fn log_release(name: &Name, key: Option<PublicKey>) {
    if let Some(key) = key {
        tracing::warn!(%name, %key, "name released");
    }
}
