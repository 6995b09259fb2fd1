//! Servers with standbys, and commits that wait for them.

use std::path::Path;
use std::process::{Child, Stdio};

use peerchat::accounts::Change;
use peerchat::accounts::ledger::{Given, Ledger, Trouble};
use peerchat::store::postgres::error::Problem;
use peerchat::store::postgres::{Options, Postgres};

use super::changes::{added, node};
use super::server::Cluster;

/// Asks for the log as a standby does, until it is dropped.
struct Receiver(Child);

impl Receiver {
    fn of(cluster: &Cluster, name: &str) -> Self {
        let log = cluster.folder("received");
        let address = format!("host=127.0.0.1 port={} user=postgres application_name={name}", cluster.port);
        let child = Self::command(cluster, &log, &address).spawn().unwrap();
        let admin = cluster.admin("postgres");
        let there = format!("SELECT count(*) FROM pg_stat_replication WHERE application_name = '{name}'");
        while admin.ask(&there).as_deref() != Some("1") {
            std::thread::yield_now();
        }
        Self(child)
    }

    fn command(cluster: &Cluster, log: &Path, address: &str) -> std::process::Command {
        let mut command = cluster.program("pg_receivewal");
        command.arg("-D").arg(log).arg("--synchronous").args(["-d", address]).stderr(Stdio::null());
        command
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_standby_that_is_not_waited_for_is_refused() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let url = cluster.url(&cluster.database());
    drop(Postgres::open(&url, Options::default()).unwrap());
    let receiver = Receiver::of(&cluster, "standby");
    let error = Postgres::open(&url, Options::default()).err().unwrap();
    assert!(matches!(error.problem, Problem::Asynchronous));
    assert!(error.to_string().starts_with(&url) && error.to_string().contains("--allow-async"), "{error}");
    drop(Postgres::open(&url, Options { allow_async: true }).unwrap());
    let admin = cluster.admin("postgres");
    admin.run("ALTER SYSTEM SET synchronous_standby_names = 'standby'");
    admin.run("SELECT pg_reload_conf()");
    let mut waits = loop {
        // The server takes its new settings when it gets round to it.
        if let Ok(it) = Postgres::open(&url, Options::default()) {
            break it;
        }
    };
    drop(receiver);
    waits.load().unwrap();
}

#[test]
fn a_commit_that_no_standby_has_confirmed_is_unsure() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let name = cluster.database();
    let mut ledger = Postgres::open(&cluster.url(&name), Options::default()).unwrap();
    let id = ledger.join().unwrap();
    ledger.load().unwrap();
    ledger.take().unwrap();
    assert!(matches!(ledger.give(&[Change::AddNode { node: node(id) }]), Given::Saved));
    let admin = cluster.admin(&name);
    admin.run("ALTER SYSTEM SET synchronous_standby_names = 'standby'");
    admin.run("SELECT pg_reload_conf()");
    let cancel = || {
        // Waits until there is a commit that waits.
        let sql = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        while admin.ask(sql).is_none() {
            std::thread::yield_now();
        }
    };
    let given = std::thread::scope(|scope| {
        let given = scope.spawn(|| {
            ledger.take().unwrap();
            ledger.give(&[added(1)])
        });
        cancel();
        given.join().unwrap()
    });
    assert!(
        matches!(&given, Given::Unsure(Trouble::Down(error)) if matches!(error.problem, Problem::Unconfirmed(_))),
        "{given:?}"
    );
    // It can be seen, and could be lost. So it does not count before a later commit is confirmed.
    let news = std::thread::scope(|scope| {
        let news = scope.spawn(|| ledger.read());
        cancel();
        news.join().unwrap()
    });
    assert!(matches!(news, Err(Trouble::Down(_))), "{news:?}");
    let receiver = Receiver::of(&cluster, "standby");
    let news = ledger.read().unwrap();
    assert_eq!((news.len(), news[0].node, &news[0].changes[..]), (1, id, &[added(1)][..]));
    ledger.take().unwrap();
    assert!(matches!(ledger.give(&[added(2)]), Given::Saved));
    drop(receiver);
}
