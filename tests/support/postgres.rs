//! A PostgreSQL of the tests' own, which ends with the process that started it.

#[path = "postgres/programs.rs"]
mod programs;

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use programs::{handed_over, initdb, programs, unprivileged};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// It runs until its standard input is closed, as that is when the tests end, however they end.
const RUN: &str = r#"
    "$1/pg_ctl" -D "$2/data" -l "$2/log" -w -o "$3" start >/dev/null && echo started
    read -r _
    "$1/pg_ctl" -D "$2/data" -m immediate stop >/dev/null 2>&1
    rm -rf "$2""#;

/// A server, and its superuser.
pub struct Cluster {
    child: Child,
    programs: PathBuf,
    directory: TempDir,
    pub port: u16,
}

/// A database of its own for one test. Its owner may do nothing else.
pub struct Place {
    pub url: String,
    pub name: String,
    pub cluster: &'static Cluster,
}

/// The server that the tests of this process share. Says so if there can be none.
pub fn cluster() -> Option<&'static Cluster> {
    static SHARED: OnceLock<Option<Cluster>> = OnceLock::new();
    SHARED.get_or_init(|| Cluster::start(&[])).as_ref()
}

/// A database on the shared server.
pub fn place() -> Option<Place> {
    cluster().map(Cluster::place)
}

impl Cluster {
    /// A server with these settings.
    pub fn start(settings: &[&str]) -> Option<Self> {
        let Some(programs) = programs() else {
            println!("skipped: PostgreSQL is not installed here");
            return None;
        };
        let directory = directory();
        let made = initdb(&programs, &directory.path().join("data")).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let cluster = Self::run(programs, directory, free_port(), settings);
        cluster.admin("postgres").run("CREATE ROLE peerchat LOGIN; GRANT pg_read_all_stats TO peerchat");
        Some(cluster)
    }

    /// A standby, for which each commit of this server waits from then on.
    pub fn standby(&self, port: u16) -> Self {
        let directory = directory();
        let made = self
            .program("pg_basebackup")
            .arg("-D")
            .arg(directory.path().join("data"))
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "postgres"])
            .args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync"])
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let admin = self.admin("postgres");
        admin.run("ALTER SYSTEM SET synchronous_standby_names = 'standby'");
        admin.run("SELECT pg_reload_conf()");
        let settings = ["cluster_name=standby", "wal_retrieve_retry_interval=100ms"];
        let standby = Self::run(self.programs.clone(), directory, port, &settings);
        let deadline = Instant::now() + Duration::from_secs(60);
        while admin.ask("SELECT sync_state FROM pg_stat_replication").as_deref() != Some("sync") {
            assert!(Instant::now() < deadline, "the standby does not connect");
            thread::sleep(Duration::from_millis(20));
        }
        standby
    }

    fn run(programs: PathBuf, directory: TempDir, port: u16, settings: &[&str]) -> Self {
        let path = directory.path();
        let mut options = format!("-p {port} -k {} -h 127.0.0.1", path.display());
        settings.iter().for_each(|setting| options += &format!(" -c {setting}"));
        let mut child = unprivileged(Path::new("sh"))
            .args(["-c", RUN, "sh"])
            .arg(&programs)
            .arg(path)
            .arg(&options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let log = || std::fs::read_to_string(path.join("log")).unwrap_or_default();
        assert_eq!(line, "started\n", "{}", log());
        Self { child, programs, directory, port }
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// One of PostgreSQL's programs, as the user that the server runs as.
    pub fn program(&self, name: &str) -> Command {
        unprivileged(&self.programs.join(name))
    }

    /// Any other program, as that user.
    pub fn other_program(&self, name: &str) -> Command {
        unprivileged(Path::new(name))
    }

    /// Makes a directory that the server's user may write to.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.directory().join(name);
        let made = self.other_program("mkdir").arg("-p").arg(&path).status();
        assert!(made.unwrap().success());
        path
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://peerchat@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes a database. Returns its name.
    pub fn database(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.admin("postgres").run(&format!("CREATE DATABASE {name} OWNER peerchat"));
        name
    }

    pub fn place(&'static self) -> Place {
        let name = self.database();
        Place { url: self.url(&name), name, cluster: self }
    }

    pub fn admin(&self, database: &str) -> Admin {
        Admin::connect(&format!("postgres://postgres@127.0.0.1:{}/{database}", self.port))
    }

    /// Ends the server and starts it again, as a machine that fails does.
    pub fn restart(&self) {
        let log = self.directory().join("log");
        self.control(|pg_ctl| pg_ctl.args(["-m", "immediate", "-w", "restart"]).arg("-l").arg(log));
    }

    /// Ends the server for good, as a machine that fails does.
    pub fn end(&self) {
        self.control(|pg_ctl| pg_ctl.args(["-m", "immediate", "stop"]));
    }

    /// Makes a standby the server that takes changes.
    pub fn promote(&self) {
        self.control(|pg_ctl| pg_ctl.args(["-w", "promote"]));
    }

    fn control(&self, how: impl FnOnce(&mut Command) -> &mut Command) {
        let mut pg_ctl = self.program("pg_ctl");
        pg_ctl.arg("-D").arg(self.directory().join("data")).stdout(Stdio::null());
        assert!(how(&mut pg_ctl).status().unwrap().success());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

impl Place {
    /// The same by a file, which other networks of this machine reach too.
    pub fn socket_url(&self) -> String {
        let Cluster { directory, port, .. } = self.cluster;
        format!("postgres:///{}?host={}&port={port}&user=peerchat", self.name, directory.path().display())
    }

    pub fn admin(&self) -> Admin {
        self.cluster.admin(&self.name)
    }
}

/// The superuser's connection to a database.
pub struct Admin {
    runtime: Runtime,
    client: Client,
}

impl Admin {
    fn connect(url: &str) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let client = runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
            tokio::spawn(connection);
            client
        });
        Self { runtime, client }
    }

    pub fn run(&self, sql: &str) {
        self.runtime.block_on(self.client.batch_execute(sql)).unwrap_or_else(|error| {
            panic!("{sql}: {error:?}");
        });
    }

    /// The first column of the first row, as text.
    pub fn ask(&self, sql: &str) -> Option<String> {
        let answer = self.runtime.block_on(self.client.simple_query(sql)).unwrap();
        answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(ToOwned::to_owned),
            _ => None,
        })
    }
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// One in which the server's user may do anything.
fn directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    if let Some(mut hand_over) = handed_over(directory.path()) {
        assert!(hand_over.status().unwrap().success());
    }
    directory
}
