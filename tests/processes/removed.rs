//! Files that are removed or replaced under a running program: nothing is promised that is on no disk any more.

use std::fs;
use std::io::Write;
use std::path::Path;

use peerchat::protocol::rendezvous::ToClient;

use crate::support::client::Client;
use crate::support::discovery::{DEADLINE, Discovery, Raw, keypair, register, scratch};

/// What is done to the database `name` in a directory, from which `backup` was copied while no program had it open.
type Deed = fn(directory: &Path, name: &str, backup: &Path);

fn beside(directory: &Path, name: &str, suffix: &str) -> std::path::PathBuf {
    directory.join(format!("{name}{suffix}"))
}

const DEEDS: [(&str, Deed); 10] = [
    ("the directory is removed", |directory, _, _| fs::remove_dir_all(directory).unwrap()),
    ("the directory is moved away", |directory, _, _| {
        fs::rename(directory, directory.with_extension("away")).unwrap();
    }),
    ("an empty directory takes its place", |directory, _, _| {
        fs::rename(directory, directory.with_extension("away")).unwrap();
        fs::create_dir(directory).unwrap();
    }),
    ("a directory from a backup takes its place", |directory, name, backup| {
        fs::rename(directory, directory.with_extension("away")).unwrap();
        fs::create_dir(directory).unwrap();
        fs::copy(backup, directory.join(name)).unwrap();
    }),
    ("the file is replaced", |directory, name, backup| {
        let copy = directory.join("copy");
        fs::copy(backup, &copy).unwrap();
        fs::rename(copy, directory.join(name)).unwrap();
    }),
    ("the log is removed", |directory, name, _| fs::remove_file(beside(directory, name, "-wal")).unwrap()),
    ("the log is emptied", |directory, name, _| fs::write(beside(directory, name, "-wal"), "").unwrap()),
    ("the file is emptied", |directory, name, _| fs::write(directory.join(name), "").unwrap()),
    ("the lock is removed", |directory, name, _| fs::remove_file(beside(directory, name, ".lock")).unwrap()),
    // As `cp` does: the file stays the same one.
    ("the file is overwritten from a backup", |directory, name, backup| {
        let mut file = fs::OpenOptions::new().write(true).truncate(true).open(directory.join(name)).unwrap();
        file.write_all(&fs::read(backup).unwrap()).unwrap();
    }),
];

/// No program answers there, and no other test gets the port.
fn nobody() -> std::net::TcpListener {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap()
}

/// Contacts enough that the journal has grown by some pages.
fn some_contacts(client: &mut Client, more: &str) {
    for number in 0..100 {
        client.say(&format!("REQUEST {more}{number}"));
        client.wait("requested", |_| true);
    }
}

#[test]
fn a_client_whose_journal_is_gone_promises_nothing_more_and_ends() {
    for (deed, act) in DEEDS {
        let (scratch, _) = scratch();
        let (data, backup) = (scratch.path().join("data"), scratch.path().join("backup"));
        let nobody = nobody();
        let to = nobody.local_addr().unwrap();
        let mut alice = Client::start(&data, "alice", to);
        some_contacts(&mut alice, "a");
        alice.log_out();
        fs::copy(data.join("alice.journal"), &backup).unwrap();
        let mut alice = Client::start(&data, "alice", to);
        some_contacts(&mut alice, "b");
        alice.log_out();

        let mut alice = Client::start(&data, "alice", to);
        alice.say("CHAT a0 kept");
        alice.wait("queued", |_| true);
        act(&data, "alice.journal", &backup);
        alice.say("CHAT a0 lost");
        let said = alice.rest().iter().filter(|event| event["event"] == "queued").count();
        assert_eq!(said, 1, "{deed}: {:#?}", alice.log());
        let (status, stderr) = alice.ended();
        assert_eq!((status.code(), stderr.lines().count()), (Some(1), 1), "{deed}: {stderr}");
        let parts = [
            "client: what was typed last was not kept: ",
            "alice.journal",
            "removed or replaced",
            "start again",
        ];
        assert!(parts.iter().all(|part| stderr.contains(part)), "{deed}: {stderr}");
    }
}

#[test]
fn another_journal_in_its_place_is_left_alone() {
    for notices in [true, false] {
        let (scratch, _) = scratch();
        let data = scratch.path().join("data");
        let nobody = nobody();
        let to = nobody.local_addr().unwrap();
        let mut old = Client::start(&data, "alice", to);
        old.say("REQUEST bob");
        old.wait("requested", |_| true);
        fs::rename(&data, scratch.path().join("away")).unwrap();
        let mut new = Client::start(&data, "alice", to);
        assert_ne!(new.fingerprint, old.fingerprint);
        new.say("REQUEST bob");
        new.say("CHAT bob first");
        new.wait("queued", |_| true);
        if notices {
            old.say("CHAT bob lost");
            assert_eq!(old.ended().0.code(), Some(1));
        } else {
            old.say("LOGOUT");
            old.ended();
        }
        new.say("CHAT bob second");
        new.wait("queued", |_| true);
        new.kill();
        let mut new = Client::start(&data, "alice", to);
        new.say("OUTBOX");
        assert_eq!(new.wait("outbox", |_| true)["waiting"], 2);
    }
}

#[test]
fn a_directory_that_is_moved_away_and_back_is_the_same() {
    let (scratch, _) = scratch();
    let (data, away) = (scratch.path().join("data"), scratch.path().join("away"));
    let nobody = nobody();
    let mut alice = Client::start(&data, "alice", nobody.local_addr().unwrap());
    alice.say("REQUEST bob");
    alice.wait("requested", |_| true);
    // It must not look while the directory is away.
    alice.signal("-STOP");
    fs::rename(&data, &away).unwrap();
    fs::rename(&away, &data).unwrap();
    alice.signal("-CONT");
    alice.say("CHAT bob hello");
    alice.wait("queued", |_| true);
    alice.log_out();
}

#[test]
fn a_discovery_whose_database_is_gone_confirms_nothing_more_and_ends() {
    for (deed, act) in DEEDS {
        let (scratch, _) = scratch();
        let (data, backup) = (scratch.path().join("data"), scratch.path().join("backup"));
        let db = data.join("discovery.db");
        let fill = |discovery: &Discovery, more: &str| {
            for number in 0..20 {
                Raw::log_in(discovery.address, &keypair(), &format!("{more}{number}"), 1);
            }
        };
        let discovery = Discovery::start(&db);
        fill(&discovery, "a");
        discovery.signal("-TERM");
        discovery.ended(DEADLINE);
        fs::copy(&db, &backup).unwrap();
        let discovery = Discovery::start(&db);
        fill(&discovery, "b");
        discovery.signal("-TERM");
        discovery.ended(DEADLINE);

        let discovery = Discovery::start(&db);
        // Stays online: that a user has gone would be saved as well.
        let _kept = Raw::log_in(discovery.address, &keypair(), "kept", 1);
        let mut raw = Raw::connect(discovery.address, &keypair());
        act(&data, "discovery.db", &backup);
        raw.say(&register("lost", 1));
        let heard = raw.hear();
        assert!(!matches!(heard, Some(ToClient::Registered(_))), "{deed}: {heard:?}");
        let (status, stderr) = discovery.ended(DEADLINE);
        assert_eq!((status.code(), stderr.lines().count()), (Some(1), 1), "{deed}: {stderr}");
        assert!(stderr.contains("discovery.db was removed or replaced"), "{deed}: {stderr}");
    }
}
