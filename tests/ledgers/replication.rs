//! Servers with standbys, and commits that wait for them.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use peerchat::accounts::Change;
use peerchat::accounts::ledger::{Given, Ledger, Trouble};
use peerchat::store::postgres::error::Problem;
use peerchat::store::postgres::{Options, Postgres};

use super::changes::{added, node};
use super::server::Cluster;

/// Asks for the log, until it is dropped.
struct Receiver(Child);

impl Receiver {
    /// As a standby of that name does.
    fn of(cluster: &Cluster, name: &str) -> Self {
        let mut command = Self::command(cluster, "pg_receivewal", name, &format!("application_name={name}"));
        command.arg("--synchronous");
        Self::start(cluster, name, 1, command)
    }

    /// To archive it.
    fn archiver(cluster: &Cluster, options: &[&str]) -> Self {
        let mut command = Self::command(cluster, "pg_receivewal", "archive", "");
        command.args(options);
        Self::start(cluster, "pg_receivewal", 1, command)
    }

    /// With all that there is, and so slowly that it does not come to its end.
    fn backup(cluster: &Cluster) -> Self {
        let mut command = Self::command(cluster, "pg_basebackup", "backup", "");
        command.args(["--wal-method=stream", "--checkpoint=fast", "--max-rate=32k", "--no-sync"]);
        Self::start(cluster, "pg_basebackup", 2, command)
    }

    /// Two that write into one folder fail on what the other one has begun.
    fn command(cluster: &Cluster, program: &str, folder: &str, address: &str) -> Command {
        let address = format!("host=127.0.0.1 port={} user=postgres {address}", cluster.port);
        let mut command = cluster.program(program);
        command.arg("-D").arg(cluster.folder(folder)).args(["-d", &address]).stderr(Stdio::null());
        command
    }

    fn start(cluster: &Cluster, name: &str, connections: u32, mut command: Command) -> Self {
        // One of them starts another process.
        let child = Self(command.process_group(0).spawn().unwrap());
        let admin = cluster.admin("postgres");
        let there = format!("SELECT count(*) FROM pg_stat_replication WHERE application_name = '{name}'");
        let connections = connections.to_string();
        wait_until("it asks", || (admin.ask(&there).as_ref() == Some(&connections)).then_some(()));
        child
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process_group(
            rustix::process::Pid::from_child(&self.0),
            rustix::process::Signal::KILL,
        );
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

fn problem(url: &str) -> Option<Problem> {
    Postgres::open(url, Options::default()).err().map(|error| error.problem)
}

#[test]
fn a_backup_is_no_standby() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let url = cluster.url(&cluster.database());
    let backup = Receiver::backup(&cluster);
    drop(Postgres::open(&url, Options::default()).unwrap());
    drop(backup);
    let admin = cluster.admin("postgres");
    // It has a slot that lasts.
    admin.run("SELECT pg_create_physical_replication_slot('archive')");
    let archiver = Receiver::archiver(&cluster, &["--slot=archive"]);
    let taken = "SELECT active FROM pg_replication_slots WHERE slot_name = 'archive'";
    wait_until("it has its slot", || (admin.ask(taken).as_deref() == Some("t")).then_some(()));
    drop(Postgres::open(&url, Options::default()).unwrap());
    let standby = Receiver::of(&cluster, "standby");
    assert!(matches!(problem(&url), Some(Problem::Asynchronous)));
    drop((standby, archiver));
    // Whose slot it is can't be seen any more.
    let gone = "SELECT count(*) FROM pg_stat_replication";
    wait_until("both are gone", || (admin.ask(gone).as_deref() == Some("0")).then_some(()));
    assert!(matches!(problem(&url), Some(Problem::Asynchronous)));
}

#[test]
fn a_role_that_may_not_see_standbys_is_told() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let url = cluster.url(&cluster.database());
    let admin = cluster.admin("postgres");
    admin.run("REVOKE pg_read_all_stats FROM peerchat");
    drop(Postgres::open(&url, Options::default()).unwrap());
    let _archiver = Receiver::archiver(&cluster, &[]);
    drop(Postgres::open(&url, Options::default()).unwrap());
    let _standby = Receiver::of(&cluster, "standby");
    let error = Postgres::open(&url, Options::default()).err().unwrap();
    assert!(matches!(error.problem, Problem::Hidden { .. }), "{error}");
    assert!(error.to_string().contains("GRANT pg_read_all_stats TO peerchat"), "{error}");
    drop(Postgres::open(&url, Options { allow_async: true }).unwrap());
    admin.run("GRANT pg_read_all_stats TO peerchat");
    assert!(matches!(problem(&url), Some(Problem::Asynchronous)));
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
