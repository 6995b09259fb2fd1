//! Who has a foot in the machine: other processes, core files, files that are left.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::client::Client;
use crate::support::discovery::{DEADLINE, Discovery, scratch};

const MARKER: &str = "the-marker-of-what-was-said";
const PASSPHRASE: &str = "seven unlikely walnuts juggle quietly";

/// A journal of some megabytes, and a directory for the export.
fn account(directory: &Path) -> (std::path::PathBuf, std::path::PathBuf) {
    let (here, out) = (directory.join("here"), directory.join("out"));
    fs::create_dir(&out).unwrap();
    // No program answers there, and no other test gets the port.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut alice = Client::start(&here, "alice", silent.local_addr().unwrap());
    alice.say("REQUEST bob");
    for _ in 0..200 {
        alice.say(&format!("CHAT bob {}", format!("{MARKER} ").repeat(1000)));
    }
    for _ in 0..200 {
        alice.wait("queued", |_| true);
    }
    alice.log_out();
    (here, out)
}

fn export(here: &Path, file: &Path, passphrase: &Path) -> Child {
    let mut command = crate::support::client::program();
    command.args(["alice", "--data-dir"]).arg(here).arg("--export").arg(file);
    command.arg("--passphrase-file").arg(passphrase).env_remove("RUST_LOG");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The files that hold something in clear and are not the journal.
fn in_clear(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.metadata().is_ok_and(|it| it.is_dir()) {
            found.extend(in_clear(&entry.path()));
        } else if !name.starts_with("alice.journal") || name.contains(".tmp") || name.contains("copy") {
            let content = fs::read(entry.path()).unwrap_or_default();
            let holds = |what: &[u8]| content.windows(what.len()).any(|it| it == what);
            if content.starts_with(b"SQLite format 3") || holds(MARKER.as_bytes()) {
                found.push(name);
            }
        }
    }
    found
}

#[test]
fn an_export_that_is_killed_leaves_no_plaintext() {
    let (directory, _) = scratch();
    let (here, out) = account(directory.path());
    let word = directory.path().join("passphrase");
    fs::write(&word, PASSPHRASE).unwrap();
    let mut kept: Vec<_> = fs::read_dir(&here).unwrap().map(|it| it.unwrap().file_name()).collect();
    kept.sort();
    for round in 0..12 {
        let file = out.join(format!("{round}.age"));
        let mut child = export(&here, &file, &word);
        let end = Instant::now() + Duration::from_millis(40 * round * round);
        // Looked at all the while, as by a backup that runs, and then as a thief finds it.
        while Instant::now() < end && child.try_wait().unwrap().is_none() {
            assert_eq!(in_clear(directory.path()), Vec::<String>::new(), "round {round}");
        }
        let _ = child.kill();
        child.wait().unwrap();
        assert_eq!(in_clear(directory.path()), Vec::<String>::new(), "round {round}");
        let mut left: Vec<_> = fs::read_dir(&here).unwrap().map(|it| it.unwrap().file_name()).collect();
        left.sort();
        // What belongs to the journal itself.
        let own = |name: &std::ffi::OsString| {
            ["-wal", "-shm", ".lock"].iter().any(|end| name.to_string_lossy().ends_with(end))
        };
        left.retain(|name| !own(name));
        kept.retain(|name| !own(name));
        assert_eq!(left, kept, "round {round}");
    }
}

#[test]
fn a_weak_passphrase_is_refused() {
    let (directory, _) = scratch();
    let (here, out) = account(directory.path());
    for weak in ["x", "abc", "12345678", "password", "aaaaaaaaaaaaaaaaaaaa", "alice"] {
        let word = directory.path().join("passphrase");
        fs::write(&word, weak).unwrap();
        let file = out.join("alice.age");
        let output = export(&here, &file, &word).wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{weak}: {stderr}");
        assert!(stderr.contains("passphrase") && stderr.lines().count() == 1, "{weak}: {stderr}");
        assert!(!file.exists(), "{weak}");
    }
}

/// As another user than root, for root may look at everything.
fn as_nobody(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    // The other user can't read where root's are.
    command
        .env("XDG_CONFIG_HOME", "/nowhere")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(program);
    command
}

fn possible() -> bool {
    let tried = as_nobody(Path::new("true")).stderr(Stdio::null()).status();
    let possible = tried.is_ok_and(|status| status.success());
    if !possible {
        println!("skipped: needs root and setpriv");
    }
    possible
}

/// Who owns what the kernel shows of a process: its own user, or root where it is not for others.
fn owner(pid: &str) -> u32 {
    fs::metadata(format!("/proc/{pid}/mem")).unwrap().uid()
}

#[test]
fn memory_is_not_for_others() {
    if !possible() {
        return;
    }
    let (directory, _) = scratch();
    let open = |path: &Path| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(path, mode).unwrap();
    };
    open(directory.path());
    // Where the other user may run them.
    let [client, discovery] =
        [env!("CARGO_BIN_EXE_client"), env!("CARGO_BIN_EXE_discovery")].map(|program| {
            let copy = directory.path().join(Path::new(program).file_name().unwrap());
            fs::copy(program, &copy).unwrap();
            copy
        });
    let mut sleeping = as_nobody(Path::new("sleep")).arg("1000").spawn().unwrap();
    let deadline = Instant::now() + DEADLINE;
    while owner(&sleeping.id().to_string()) != 65534 {
        assert!(Instant::now() < deadline, "an ordinary program is its user's");
    }
    let mut command = as_nobody(&discovery);
    command.arg("--db").arg(directory.path().join("discovery.db")).args(["127.0.0.1", "0"]);
    let server = Discovery::spawn(command.stdin(Stdio::null()));
    let mut command = as_nobody(&client);
    command.arg("--data-dir").arg(directory.path().join("alice"));
    command.args(["alice", "0", "127.0.0.1", "127.0.0.1", &server.address.port().to_string()]);
    let alice = Client::run("alice", &mut command);
    for (what, pid) in [("discovery", server.pid()), ("client", alice.pid())] {
        assert_eq!(owner(&pid), 0, "the memory of {what} is open to its user's other programs");
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        println!("{what}: {core}");
    }
    sleeping.kill().unwrap();
    sleeping.wait().unwrap();
}

#[test]
fn a_crash_leaves_no_core_file() {
    let (directory, db) = scratch();
    // However much the user allows.
    let allowed = |program: &Command| {
        let mut shell = Command::new("sh");
        shell.args(["-c", r#"ulimit -c unlimited; exec "$0" "$@""#]).arg(program.get_program());
        shell.args(program.get_args()).current_dir(directory.path()).env_remove("RUST_LOG");
        shell
    };
    let mut sleep = Command::new("sleep");
    let mut sleeping = allowed(sleep.arg("1000")).spawn().unwrap();
    Command::new("kill").args(["-SEGV", &sleeping.id().to_string()]).status().unwrap();
    if !sleeping.wait().unwrap().core_dumped() {
        println!("skipped: no program leaves a core file here");
        return;
    }
    for signal in ["-ABRT", "-ILL"] {
        let mut command = crate::support::discovery::command(&db);
        let discovery = Discovery::spawn(allowed(command.args(["127.0.0.1", "0"])).stdin(Stdio::null()));
        let command = crate::support::client::command(directory.path(), "alice", 0, discovery.address, &[]);
        let mut alice = Client::run("alice", &mut allowed(&command));
        alice.signal(signal);
        discovery.signal(signal);
        for (what, status) in [("client", alice.ended().0), ("discovery", discovery.ended(DEADLINE).0)] {
            assert!(status.signal().is_some() && !status.core_dumped(), "{what} {signal}: {status}");
        }
    }
}

/// How often the bytes stand in what a process may write.
fn copies(pid: &str, wanted: &[u8]) -> usize {
    use std::os::unix::fs::FileExt;
    let memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut found = 0;
    for line in maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|it| it.starts_with("rw"))) {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let (from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        if memory.read_exact_at(&mut bytes, from).is_ok() {
            found += bytes.windows(wanted.len()).filter(|it| *it == wanted).count();
        }
    }
    found
}

#[test]
fn a_secret_stands_in_memory_only_where_it_is_used() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (alice, bob) = crate::support::client::linked_pair(directory.path(), discovery.address);
    let pid = alice.pid();
    // The journal can be read by others of its user, but it is locked: a copy can't.
    let copy = directory.path().join("copy");
    fs::create_dir(&copy).unwrap();
    for file in fs::read_dir(directory.path()).unwrap().flatten() {
        if file.file_name().to_string_lossy().starts_with("alice.journal") {
            fs::copy(file.path(), copy.join(file.file_name())).unwrap();
        }
    }
    let _ = fs::remove_file(copy.join("alice.journal.lock"));
    let secret = *crate::support::raw::stolen(&copy, "alice").secret();
    if fs::File::open(format!("/proc/{pid}/mem")).is_err() {
        println!("skipped: needs root");
        return;
    }
    let found = copies(&pid, &secret);
    println!("{found} copies");
    // That of the key pair, and the page of the journal in SQLite's cache.
    assert!(found <= 2, "{found}");
    drop(bob);
}
