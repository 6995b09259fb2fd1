//! Servers with standbys, and commits that wait for them.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

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
        wait_until("it asks", || (admin.ask(&there).as_deref() == Some("1")).then_some(()));
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

fn wait_until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::yield_now();
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
    // The server takes its new settings when it gets round to it.
    let mut waits = wait_until("it waits", || Postgres::open(&url, Options::default()).ok());
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
    let waiting = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    // The server takes its new settings when it gets round to it; until then commits wait for nothing.
    let mut number = 0;
    let given = wait_until("a commit waits", || {
        number += 1;
        ledger.take().unwrap();
        let given = std::thread::scope(|scope| {
            let given = scope.spawn(|| ledger.give(&[added(number)]));
            while admin.ask(waiting).is_none() && !given.is_finished() {
                std::thread::yield_now();
            }
            given.join().unwrap()
        });
        (!matches!(given, Given::Saved)).then_some(given)
    });
    assert!(
        matches!(&given, Given::Unsure(Trouble::Down(error)) if matches!(error.problem, Problem::Unconfirmed(_))),
        "{given:?}"
    );
    // It can be seen, and could be lost. So it does not count before a later commit is confirmed.
    let news = std::thread::scope(|scope| {
        let news = scope.spawn(|| ledger.read());
        wait_until("the next commit waits", || admin.ask(waiting));
        news.join().unwrap()
    });
    assert!(matches!(news, Err(Trouble::Down(_))), "{news:?}");
    let receiver = Receiver::of(&cluster, "standby");
    let news = ledger.read().unwrap();
    assert_eq!((news.len(), news[0].node, &news[0].changes[..]), (1, id, &[added(number)][..]));
    ledger.take().unwrap();
    assert!(matches!(ledger.give(&[added(number + 1)]), Given::Saved));
    drop(receiver);
}
