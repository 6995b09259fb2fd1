//! The real discovery: what it promises, over restarts and kills.

use std::fs;
use std::io::Read;
use std::net::{Shutdown, TcpListener};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::discovery::*;
use peerchat::protocol::Refusal;
use peerchat::protocol::rendezvous::{About, Asks, Identity, RefusedCode, Status, ToClient, ToDiscovery};
use peerchat::transport::noise::Keypair;

/// What is told of a user who is a contact, or open and asked for.
fn is(status: &Status, name: &str, port: u16, online: bool) {
    let address = Some(([127, 0, 0, 1], port).into());
    let found = (status.name.as_str(), status.address, status.online, status.asks);
    assert_eq!(found, (name, address, Some(online), Asks::No));
}

/// What is told of a user who asks for the one who is told.
fn asks(status: &Status, name: &str) {
    let found = (status.name.as_str(), status.address, status.online, status.asks);
    assert_eq!(found, (name, None, None, Asks::Typed));
}

#[test]
fn says_where_it_listens_and_who_it_is() {
    let (_directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let raw = Raw::connect(discovery.address, &keypair());
    assert_eq!(
        discovery.line,
        format!(
            "discovery listening on {}, database {}, key {}\n",
            discovery.address,
            db.display(),
            raw.discovery
        )
    );
    let key = raw.discovery;
    discovery.kill();
    let again = Discovery::start(&db);
    assert_eq!(Raw::connect(again.address, &keypair()).discovery, key, "the key stays");
}

#[test]
fn keeps_its_database_in_the_data_directory() {
    let (directory, _) = scratch();
    let mut child = Command::new(env!("CARGO_BIN_EXE_discovery"))
        .args(["127.0.0.1", "0"])
        .env("XDG_DATA_HOME", directory.path())
        .env("HOME", directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 1];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(directory.path().join("peerchat/discovery.db").exists());
}

#[test]
fn a_name_belongs_to_its_first_key() {
    let (_directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (alice, mallory) = (keypair(), keypair());
    let mut first = Raw::log_in(discovery.address, &alice, "alice", 1);
    assert_eq!(first.contacts(), []);
    let mut other = Raw::connect(discovery.address, &mallory);
    assert_eq!(other.refused(&register("alice", 1)), RefusedCode::NAME_TAKEN);
    assert_eq!(first.refused(&register("alicia", 1)), RefusedCode::KEY_IN_USE);
    discovery.kill();
    let discovery = Discovery::start(&db);
    let mut other = Raw::connect(discovery.address, &mallory);
    assert_eq!(other.refused(&register("alice", 1)), RefusedCode::NAME_TAKEN);
    let mut first = Raw::log_in(discovery.address, &alice, "alice", 2);
    first.contacts();
    assert_eq!(
        first.ask(&identify(alice.public())),
        ToClient::Identity(Identity { key: alice.public(), name: Some(name("alice")) })
    );
}

#[test]
fn of_many_who_want_one_name_at_once_one_gets_it() {
    let (_directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut raws: Vec<Raw> = (0..30).map(|_| Raw::connect(discovery.address, &keypair())).collect();
    raws.iter_mut().for_each(|raw| raw.say(&register("alice", 1)));
    let mut winners = 0;
    for raw in &mut raws {
        match raw.hear() {
            Some(ToClient::Registered(_)) => winners += 1,
            Some(ToClient::Refused(refused)) => assert_eq!(refused.code, RefusedCode::NAME_TAKEN),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(winners, 1);
}

#[test]
fn a_request_waits_over_kills_until_it_is_answered() {
    let (_directory, db) = scratch();
    let (alice, bob) = (keypair(), keypair());
    let discovery = Discovery::start(&db);
    let mut a = Raw::synced(discovery.address, &alice, "alice", 1).0;
    assert_eq!(a.ask(&request("bob")), ToClient::NoSuchUser(About { name: name("bob") }));
    drop(Raw::synced(discovery.address, &bob, "bob", 2));
    let ToClient::Status(told) = a.ask(&request("bob")) else { panic!("no status") };
    assert_eq!(told.key, bob.public());
    discovery.kill();

    let discovery = Discovery::start(&db);
    let (mut b, contacts) = Raw::synced(discovery.address, &bob, "bob", 2);
    asks(&contacts[0], "alice");
    let (mut a, contacts) = Raw::synced(discovery.address, &alice, "alice", 1);
    is(&contacts[0], "bob", 2, true);
    b.nothing_unheard();
    b.say(&request_again("alice"));
    is(&b.status(), "alice", 1, true);
    is(&a.status(), "bob", 2, true);
    discovery.kill();

    let discovery = Discovery::start(&db);
    let (_b, contacts) = Raw::synced(discovery.address, &bob, "bob", 2);
    assert_eq!(contacts.len(), 1);
    assert!(contacts[0].connected);
    is(&contacts[0], "alice", 1, false);
}

#[test]
fn status_is_pushed_when_somebody_comes_moves_and_goes() {
    let (_directory, db) = scratch();
    let (alice, bob) = (keypair(), keypair());
    let discovery = Discovery::start(&db);
    let mut a = Raw::synced(discovery.address, &alice, "alice", 1).0;
    let mut b = Raw::synced(discovery.address, &bob, "bob", 2).0;
    assert!(matches!(a.ask(&request("bob")), ToClient::Status(_)));
    asks(&b.status(), "alice");
    b.say(&request_again("alice"));
    is(&b.status(), "alice", 1, true);
    is(&a.status(), "bob", 2, true);
    b.say(&register("bob", 3));
    is(&a.status(), "bob", 3, true);
    drop(b);
    is(&a.status(), "bob", 3, false);
    let mut b = Raw::synced(discovery.address, &bob, "bob", 3).0;
    is(&a.status(), "bob", 3, true);
    b.say(&ToDiscovery::Logout);
    is(&a.status(), "bob", 3, false);
    b.expect_end();
    a.nothing_unheard();
}

#[test]
fn the_newest_session_holds() {
    let (_directory, db) = scratch();
    let (alice, bob) = (keypair(), keypair());
    let discovery = Discovery::start(&db);
    let mut a = Raw::synced(discovery.address, &alice, "alice", 1).0;
    let mut older = Raw::synced(discovery.address, &bob, "bob", 2).0;
    a.ask(&request("bob"));
    older.status();
    let (mut newer, _) = Raw::synced(discovery.address, &bob, "bob", 3);
    is(&a.status(), "bob", 3, true);
    let Some(ToClient::Superseded(by)) = older.hear() else { panic!("the older one is told") };
    assert_eq!(by.address, newer.stream.local_addr().unwrap());
    older.expect_end();
    a.nothing_unheard();
    newer.nothing_unheard();
}

#[test]
fn who_falls_silent_is_offline() {
    let (_directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut a = Raw::synced(discovery.address, &keypair(), "alice", 1).0;
    let mut silent = Raw::synced(discovery.address, &keypair(), "bob", 2).0;
    let unregistered = Raw::connect(discovery.address, &keypair());
    a.ask(&request("bob"));
    silent.status();
    let started = Instant::now();
    a.stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    while started.elapsed() < DEADLINE {
        match a.ask(&ToDiscovery::Ping) {
            ToClient::Pong => std::thread::sleep(Duration::from_millis(200)),
            ToClient::Status(status) => {
                is(&status, "bob", 2, false);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!((11..15).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    silent.expect_end();
    unregistered.expect_end();
}

#[test]
fn what_was_acknowledged_survives_kills_at_any_time() {
    let (_directory, db) = scratch();
    let mut random = fastrand::Rng::with_seed(7);
    // Who was told "registered" or was answered on a request, and which requests.
    let mut users: Vec<(Keypair, String)> = Vec::new();
    let mut requests: Vec<(usize, usize)> = Vec::new();
    for round in 0..400 {
        // On a busy machine few get in before each kill.
        if round >= 40 && users.len() > 40 {
            break;
        }
        let discovery = Discovery::start(&db);
        let address = discovery.address;
        let alive = Duration::from_micros(random.u64(0..40_000));
        let killer = std::thread::spawn(move || {
            std::thread::sleep(alive);
            discovery.kill();
        });
        for number in 0.. {
            let (key, text) = (keypair(), format!("user-{round}-{number}"));
            let Ok(mut raw) = Raw::try_connect(address, &key) else { break };
            if raw.try_say(&register(&text, 1)).is_err() || raw.hear().is_none() {
                break;
            }
            users.push((key, text));
            let target = random.usize(..users.len());
            let own = users.len() - 1;
            if target != own && raw.try_say(&request(&users[target].1)).is_ok() {
                // The first of what is heard is that there are no contacts yet.
                assert!(matches!(raw.hear(), Some(ToClient::Synced) | None));
                if let Some(ToClient::Status(_)) = raw.hear() {
                    requests.push((own, target));
                }
            }
        }
        killer.join().unwrap();
    }
    assert!(users.len() > 40, "too few got in: {}", users.len());

    let discovery = Discovery::start(&db);
    let mut all: Vec<_> =
        users.iter().map(|(key, text)| Raw::synced(discovery.address, key, text, 1)).collect();
    // More from one session would be read slowly.
    for some in users.chunks(50) {
        let mut stranger = Raw::connect(discovery.address, &keypair());
        for (_, text) in some {
            assert_eq!(stranger.refused(&register(text, 1)), RefusedCode::NAME_TAKEN);
        }
    }
    for (asker, target) in &requests {
        let known = |contacts: &[Status], name: &str| contacts.iter().any(|it| it.name.as_str() == name);
        assert!(known(&all[*asker].1, &users[*target].1));
        assert!(known(&all[*target].1, &users[*asker].1));
    }
    all.clear();
    let (status, stderr) = {
        discovery.signal("-TERM");
        discovery.ended(DEADLINE)
    };
    assert!(status.success(), "{stderr}");
    let connection = rusqlite::Connection::open(&db).unwrap();
    let check: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
}

/// A limit on the size of files stands for a disk that is full.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_refuses_changes_and_nothing_else() {
    let (_directory, db) = scratch();
    let mut shell = Command::new("sh");
    let limited = r#"trap '' XFSZ; ulimit -S -f 200; exec "$0" "$@""#;
    shell.args(["-c", limited, env!("CARGO_BIN_EXE_discovery"), "--db"]).arg(&db);
    let discovery = Discovery::spawn(shell.args(["127.0.0.1", "0"]));
    let (alice, bob) = (keypair(), keypair());
    let mut a = Raw::synced(discovery.address, &alice, "alice", 1).0;
    let mut b = Raw::synced(discovery.address, &bob, "bob", 2).0;
    assert!(matches!(a.ask(&request("bob")), ToClient::Status(_)));
    asks(&b.status(), "alice");
    b.say(&request_again("alice"));
    is(&b.status(), "alice", 1, true);
    is(&a.status(), "bob", 2, true);

    let mut saved = 0;
    let full = (3..).find(|port| match a.ask(&register("alice", *port)) {
        ToClient::Refused(refused) => {
            assert_eq!(refused.code, RefusedCode::NOT_SAVED);
            true
        }
        ToClient::Registered(_) => {
            a.contacts();
            is(&b.status(), "alice", *port, true);
            saved = *port;
            false
        }
        other => panic!("{other:?}"),
    });
    let full = full.unwrap();
    // What was refused is cut off the log, which may have made room again: there is to be none.
    let pid = discovery.pid();
    let limit = |bytes: &str| {
        let limit = format!("--fsize={bytes}:unlimited");
        assert!(Command::new("prlimit").args([&limit, "--pid", &pid]).status().unwrap().success());
    };
    limit("0");
    assert_eq!(
        Raw::connect(discovery.address, &keypair()).refused(&register("carol", 1)),
        RefusedCode::NOT_SAVED
    );
    let identity = Identity { key: bob.public(), name: Some(name("bob")) };
    assert_eq!(a.ask(&identify(bob.public())), ToClient::Identity(identity));
    drop(b);
    is(&a.status(), "bob", 2, false);
    let mut b = Raw::log_in(discovery.address, &bob, "bob", 2);
    is(&a.status(), "bob", 2, true);
    is(&b.contacts()[0], "alice", saved, true);

    limit("unlimited");
    assert!(matches!(a.ask(&register("alice", full)), ToClient::Registered(_)));
    is(&b.status(), "alice", full, true);
    discovery.signal("-TERM");
    let (status, stderr) = discovery.ended(DEADLINE);
    assert!(status.success());
    assert!(stderr.contains("can't save") && stderr.lines().count() == 1, "{stderr}");

    let discovery = Discovery::start(&db);
    is(&Raw::synced(discovery.address, &bob, "bob", 2).1[0], "alice", full, false);
    Raw::synced(discovery.address, &keypair(), "carol", 1).0.nothing_unheard();
}

#[test]
fn signals_end_it_quietly() {
    for signal in ["-INT", "-TERM", "-HUP"] {
        let (_directory, db) = scratch();
        let discovery = Discovery::start(&db);
        let (raw, _) = Raw::synced(discovery.address, &keypair(), "alice", 1);
        let _unregistered = Raw::connect(discovery.address, &keypair());
        discovery.signal(signal);
        let (status, stderr) = discovery.ended(Duration::from_secs(2));
        assert_eq!((status.code(), stderr.as_str()), (Some(0), ""), "{signal}");
        raw.expect_end();
    }
}

#[test]
fn a_closed_standard_output_or_error_is_no_trouble() {
    let (_directory, db) = scratch();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut child = command(&db)
        .args(["127.0.0.1", &free.port().to_string()])
        .env("RUST_LOG", "trace")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    let deadline = Instant::now() + DEADLINE;
    let key = keypair();
    let raw = loop {
        match Raw::try_connect(free, &key) {
            Ok(raw) => break raw,
            Err(error) if Instant::now() > deadline => panic!("{error}"),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    drop(raw);
    Raw::synced(free, &key, "alice", 1).0.nothing_unheard();
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(wait(&mut child, Duration::from_secs(2)).code(), Some(0));
}

#[test]
fn what_can_not_work_is_said_before_anything_happens() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);

    let mut second = command(&db);
    second.args(["127.0.0.1", "0"]);
    let other = directory.path().join("other.db");
    let mut same_port = command(&other);
    same_port.args(["127.0.0.1", &discovery.address.port().to_string()]);
    let mut no_directory = command(&db.join("below-a-file.db"));
    no_directory.args(["127.0.0.1", "0"]);
    for (command, expected) in
        [(second, "in use"), (same_port, "can't listen on"), (no_directory, "discovery.db: ")]
    {
        let output = fails(command);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.starts_with("discovery: ") && stderr.contains(expected), "{stderr}");
        assert_eq!((stderr.lines().count(), output.stdout.len()), (1, 0), "{stderr}");
    }
    assert!(!other.exists());
    for arguments in [
        &["not-an-ip"][..],
        &["127.0.0.1", "65536"],
        &["--max-connections", "0"],
        &["--max-connections", "1000000"],
        &["--nonsense"],
        &["127.0.0.1", "1", "2"],
    ] {
        let mut command = command(&other);
        command.args(arguments);
        assert_eq!(fails(command).status.code(), Some(2), "{arguments:?}");
    }
    Raw::synced(discovery.address, &keypair(), "alice", 1).0.nothing_unheard();
}

#[test]
fn a_damaged_or_foreign_database_is_refused_and_left_as_it_was() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    drop(Raw::synced(discovery.address, &keypair(), "alice", 1));
    discovery.signal("-TERM");
    discovery.ended(DEADLINE);
    let whole = fs::read(&db).unwrap();
    let mut garbled = whole.clone();
    garbled[..100].fill(0xa5);
    let foreign = directory.path().join("foreign.db");
    rusqlite::Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let contents = [
        whole[..whole.len() / 2].to_vec(),
        garbled,
        fs::read(foreign).unwrap(),
        b"only text".to_vec(),
        vec![],
    ];
    for content in contents {
        fs::write(&db, &content).unwrap();
        let mut command = command(&db);
        command.args(["127.0.0.1", "0"]);
        let output = fails(command);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("left as it was"), "{stderr}");
        assert_eq!(fs::read(&db).unwrap(), content);
    }
}

#[test]
fn caps_refuse_with_a_reason_and_places_come_back() {
    let (_directory, db) = scratch();
    let full = Discovery::start_with(&db, &["--max-connections", "3"]);
    let mut inside: Vec<Raw> = (0..3).map(|_| Raw::connect(full.address, &keypair())).collect();
    let refusal = |address| {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut said = Vec::new();
        stream.read_to_end(&mut said).unwrap();
        said
    };
    assert_eq!(refusal(full.address), [Refusal::Full as u8]);
    inside.pop().unwrap().stream.shutdown(Shutdown::Both).unwrap();
    let deadline = Instant::now() + DEADLINE;
    while Raw::try_connect(full.address, &keypair()).is_err() {
        assert!(Instant::now() < deadline, "no place comes back");
    }
    inside[0].nothing_unheard();

    let (_directory, db) = scratch();
    let options = ["--max-per-address", "2", "--max-new-names", "1"];
    let narrow = Discovery::start_with(&db, &options);
    let mut one = Raw::connect(narrow.address, &keypair());
    let mut other = Raw::connect(narrow.address, &keypair());
    assert_eq!(refusal(narrow.address), [Refusal::AddressFull as u8]);
    assert!(matches!(one.ask(&register("alice", 1)), ToClient::Registered(_)));
    assert_eq!(other.refused(&register("bob", 1)), RefusedCode::TOO_MANY_NAMES);
}
