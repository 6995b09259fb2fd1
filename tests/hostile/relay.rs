//! Users who are helped to a way to each other, by the real discovery: through their routers, or through itself.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Instant;

use crate::support::discovery::*;
use crate::support::raw;
use peerchat::protocol::Refusal;
use peerchat::protocol::relay::{JOINED, RELAY_BYTE, opening};
use peerchat::protocol::rendezvous::{
    About, RefusedCode, Register, Strangers, Ticket, ToClient, ToDiscovery,
};
use peerchat::transport::noise::Keypair;

fn relay(with: &str) -> ToDiscovery {
    ToDiscovery::Relay(About { name: name(with) })
}

fn punch(with: &str) -> ToDiscovery {
    ToDiscovery::Punch(About { name: name(with) })
}

impl Raw {
    /// The next message for which `fits` finds something.
    fn wait<R>(&mut self, what: &str, mut fits: impl FnMut(&ToClient) -> Option<R>) -> R {
        loop {
            let said = self.hear().unwrap_or_else(|| panic!("the end instead of {what}"));
            if let Some(found) = fits(&said) {
                return found;
            }
        }
    }

    fn ticket(&mut self) -> Ticket {
        self.wait("a ticket", |said| match said {
            ToClient::Relay(ticket) => Some(ticket.clone()),
            ToClient::Refused(refused) => panic!("{refused:?}"),
            _ => None,
        })
    }

    fn refusal(&mut self) -> RefusedCode {
        self.wait("a refusal", |said| match said {
            ToClient::Refused(refused) => Some(refused.code),
            ToClient::Relay(_) | ToClient::Punch(_) => panic!("{said:?}"),
            _ => None,
        })
    }

    /// Everything up to now is heard.
    fn settle(&mut self) -> Vec<ToClient> {
        self.say(&ToDiscovery::Ping);
        let mut said = Vec::new();
        self.wait("a pong", |it| {
            said.push(it.clone());
            (*it == ToClient::Pong).then_some(())
        });
        said
    }
}

/// Two users who are connected.
fn contacts(discovery: &Discovery, names: [&str; 2]) -> [Raw; 2] {
    let mut both = names.map(|it| Raw::log_in(discovery.address, &keypair(), it, 1));
    for (raw, other) in both.iter_mut().zip([names[1], names[0]]) {
        raw.say(&request(other));
        raw.settle();
    }
    both
}

/// What discovery answers to one who shows this.
fn show(discovery: SocketAddr, shown: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(discovery).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(shown).unwrap();
    stream
}

fn answer(mut stream: &TcpStream) -> u8 {
    let mut byte = [0];
    stream.read_exact(&mut byte).unwrap();
    byte[0]
}

/// What comes until the end, however that comes.
fn rest(mut stream: &TcpStream) -> Vec<u8> {
    let (mut all, mut some) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut some) {
            Ok(0) => return all,
            Ok(count) => all.extend(&some[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("not closed"),
            Err(_) => return all,
        }
    }
}

/// Both get tickets, show them, and are joined.
fn joined(discovery: SocketAddr, alice: &mut Raw, bob: &mut Raw) -> [TcpStream; 2] {
    alice.say(&relay("bob"));
    let (own, theirs) = (alice.ticket(), bob.ticket());
    assert_eq!((own.name.as_str(), own.dials), ("bob", true));
    assert_eq!((theirs.name.as_str(), theirs.dials), ("alice", false));
    assert_ne!(own.ticket, theirs.ticket);
    let both = [theirs, own].map(|it| show(discovery, &opening(&it.ticket)));
    both.iter().for_each(|stream| assert_eq!(answer(stream), JOINED));
    both
}

fn status(db: &Path) -> serde_json::Value {
    let output = command(db).args(["--status", "--json"]).stderr(Stdio::inherit()).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn two_who_are_joined_exchange_bytes_both_ways_and_end_together() {
    let (_directory, db) = scratch();
    let options = ["--relay-rate", "1000000", "--relay-total", "1000000"];
    let discovery = Discovery::start_with(&db, &options);
    let [mut alice, mut bob] = contacts(&discovery, ["alice", "bob"]);
    let [one, other] = joined(discovery.address, &mut alice, &mut bob);
    assert_eq!(status(&db)["relay"]["links"], 1);
    // More than is free, and more than any buffer between them takes.
    let sent = |seed: u8| -> Vec<u8> { (0..6_000_000_u32).map(|at| (at % 251) as u8 ^ seed).collect() };
    thread::scope(|scope| {
        for (from, to, seed) in [(&one, &other, 1), (&other, &one, 2)] {
            let write = move || (&*from).write_all(&sent(seed)).unwrap();
            scope.spawn(write);
            scope.spawn(move || {
                let mut heard = vec![0; 6_000_000];
                (&*to).read_exact(&mut heard).unwrap();
                assert!(heard == sent(seed));
            });
        }
    });
    // The last words of one that closes arrive.
    (&one).write_all(b"bye").unwrap();
    one.shutdown(Shutdown::Both).unwrap();
    assert_eq!(rest(&other), b"bye");
    drop((one, other));
    // It is counted once it is over.
    let again = joined(discovery.address, &mut alice, &mut bob);
    let told = status(&db);
    assert_eq!(told["relay"]["links_total"], 2);
    assert_eq!(told["relay"]["bytes_total"], 12_000_003);
    drop(again);
    let text = command(&db).arg("--status").output().unwrap().stdout;
    assert!(String::from_utf8(text).unwrap().contains("\nrelayed  "));
}

#[test]
fn no_other_ticket_is_taken() {
    let (_directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let at = discovery.address;
    let [mut alice, mut bob] = contacts(&discovery, ["alice", "bob"]);
    assert_eq!(answer(&show(at, &opening(&[7; 16]))), Refusal::Ticket as u8, "made up");
    alice.say(&relay("bob"));
    let (own, theirs) = (alice.ticket().ticket, bob.ticket().ticket);
    // Another ask, from either side, is the same one.
    alice.say(&relay("bob"));
    bob.say(&relay("alice"));
    assert_eq!((alice.settle(), bob.settle()), (vec![ToClient::Pong], vec![ToClient::Pong]));
    // One side is not both: its ticket is used, whichever comes first.
    let twice = [(); 2].map(|()| show(at, &opening(&own)));
    let other = show(at, &opening(&theirs));
    let mut answers = [&twice[0], &twice[1], &other].map(answer);
    answers.sort_unstable();
    assert_eq!(answers, [JOINED, JOINED, Refusal::Ticket as u8]);
    assert_eq!(answer(&show(at, &opening(&theirs))), Refusal::Ticket as u8);
    drop((twice, other));

    // The first of the next pair waits in vain, until the tickets are good no more.
    alice.say(&relay("bob"));
    let (own, theirs) = (alice.ticket().ticket, bob.ticket().ticket);
    assert_eq!(answer(&show(at, &opening(&own))), Refusal::Alone as u8);
    assert_eq!(answer(&show(at, &opening(&theirs))), Refusal::Ticket as u8, "too late");
    let refused = status(&db)["refused"].clone();
    assert_eq!((&refused["relay-ticket"], &refused["relay-alone"]), (&4.into(), &1.into()));
}

#[test]
fn a_first_one_that_is_gone_is_not_joined() {
    let (_directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let [mut alice, mut bob] = contacts(&discovery, ["alice", "bob"]);
    alice.say(&relay("bob"));
    let (own, theirs) = (alice.ticket().ticket, bob.ticket().ticket);
    drop(show(discovery.address, &opening(&own)));
    // Discovery has noticed as soon as it gives out others.
    loop {
        alice.say(&relay("bob"));
        if alice.settle().iter().any(|said| matches!(said, ToClient::Relay(_))) {
            break;
        }
    }
    assert_eq!(answer(&show(discovery.address, &opening(&theirs))), Refusal::Ticket as u8);
}

#[test]
fn who_stalls_keeps_no_other_link() {
    let (_directory, db) = scratch();
    let discovery = Discovery::start_with(&db, &["--relay-rate", "1000000", "--relay-total", "1000000"]);
    let at = discovery.address;
    let [mut alice, mut bob] = contacts(&discovery, ["alice", "bob"]);
    // One never reads, and one sends until nothing more goes.
    let [stalled, flooding] = joined(at, &mut alice, &mut bob);
    flooding.set_nonblocking(true).unwrap();
    let mut pushed = 0;
    let full = loop {
        match (&flooding).write(&[0; 65_536]) {
            Ok(count) => pushed += count,
            Err(error) => break error,
        }
        assert!(pushed < 1 << 30, "there is no bound");
    };
    assert_eq!(full.kind(), std::io::ErrorKind::WouldBlock);
    // Some show a part of a ticket, one shows it all and the other side stays away.
    let mut silent: Vec<_> = (0..20).map(|_| show(at, &[RELAY_BYTE, 1, 2])).collect();
    silent.extend((0..20).map(|_| show(at, &[])));
    let [mut carol, mut dave] = contacts(&discovery, ["carol", "dave"]);
    carol.say(&relay("dave"));
    let (alone, _) = (carol.ticket().ticket, dave.ticket());
    silent.push(show(at, &opening(&alone)));
    // Others are joined meanwhile.
    let [mut erin, mut frank] = contacts(&discovery, ["erin", "frank"]);
    erin.say(&relay("frank"));
    let both = [erin.ticket(), frank.ticket()].map(|it| show(at, &opening(&it.ticket)));
    both.iter().for_each(|stream| assert_eq!(answer(stream), JOINED));
    for (mut from, mut to) in [(&both[0], &both[1]), (&both[1], &both[0])] {
        from.write_all(b"hello").unwrap();
        let mut heard = [0; 5];
        to.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"hello");
    }
    assert_eq!(answer(silent.last().unwrap()), Refusal::Alone as u8);
    silent.pop();
    silent.iter().for_each(|stream| assert_eq!(rest(stream), b"", "it was cut"));
    drop(stalled);
}

#[test]
fn a_flood_of_tickets_is_refused_and_the_others_are_served() {
    let (_directory, db) = scratch();
    let discovery = Discovery::start_with(&db, &["--relay-links", "1"]);
    let at = discovery.address;
    let [mut alice, mut bob] = contacts(&discovery, ["alice", "bob"]);
    let [mut carol, mut dave] = contacts(&discovery, ["carol", "dave"]);
    // Both pairs get their tickets while there is room.
    alice.say(&relay("bob"));
    carol.say(&relay("dave"));
    let tickets = [&mut alice, &mut bob, &mut carol, &mut dave].map(Raw::ticket);
    let [one, other, third, fourth] = tickets.map(|it| opening(&it.ticket));
    let firsts = [one, other].map(|shown| show(at, &shown));
    firsts.iter().for_each(|stream| assert_eq!(answer(stream), JOINED));
    let others = [third, fourth].map(|shown| show(at, &shown));
    others.iter().for_each(|stream| assert_eq!(answer(stream), Refusal::Full as u8));
    carol.say(&relay("dave"));
    assert_eq!(carol.refusal(), RefusedCode::RELAY_FULL);
    let flood: Vec<_> = (0..200).map(|number| show(at, &opening(&[number; 16]))).collect();
    // The link goes on, and so do the sessions.
    (&firsts[0]).write_all(b"x").unwrap();
    assert_eq!(answer(&firsts[1]), b'x');
    bob.settle();
    flood.iter().for_each(|stream| assert_eq!(answer(stream), Refusal::Ticket as u8));
    drop((firsts, flood));
    // There is room again, soon. The tickets may come after the next answer.
    let deadline = Instant::now() + DEADLINE;
    loop {
        carol.say(&relay("dave"));
        let answers = carol.settle();
        if answers.iter().any(|said| matches!(said, ToClient::Relay(_))) {
            break;
        }
        let refused = answers.iter().all(|said| matches!(said, ToClient::Refused(_) | ToClient::Pong));
        assert!(refused && Instant::now() < deadline, "{answers:?}");
    }
    let full = status(&db)["refused"]["relay-full"].as_u64().unwrap();
    assert!(full >= 2, "{full}");
}

fn user(discovery: &Discovery, key: &Keypair, it: &str, strangers: Strangers) -> Raw {
    let mut raw = Raw::connect(discovery.address, key);
    let register = Register::new(name(it), ([127, 0, 0, 1], 1).into(), None, strangers);
    let local = vec!["10.0.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    let mapped = Some(([127, 0, 0, 1], 7).into());
    raw.say(&ToDiscovery::Register(Register { port: 5, mapped, local, ..register }));
    raw.wait("the registration", |said| matches!(said, ToClient::Synced).then_some(()));
    raw
}

#[test]
fn strangers_are_joined_with_those_who_are_open_and_are_told_no_address() {
    let (_directory, db) = scratch();
    let discovery = Discovery::start(&db);
    for (it, strangers, joins) in [
        ("open", Strangers::Open, true),
        ("ask", Strangers::Ask, false),
        ("closed", Strangers::Closed, false),
    ] {
        let mut target = user(&discovery, &keypair(), it, strangers);
        let stranger = format!("stranger-{it}");
        let mut stranger = user(&discovery, &keypair(), &stranger, Strangers::Open);
        // Not without having asked.
        stranger.say(&relay(it));
        assert_eq!(stranger.refusal(), RefusedCode::NOT_CONNECTED);
        stranger.say(&request(it));
        stranger.settle();
        stranger.say(&punch(it));
        assert_eq!(stranger.refusal(), RefusedCode::NOT_CONNECTED, "no punch for strangers");
        stranger.say(&relay(it));
        let mut heard = target.settle();
        if joins {
            let own = stranger.ticket();
            heard.extend(target.settle());
            let theirs = heard.iter().find_map(|said| match said {
                ToClient::Relay(ticket) => Some(ticket.clone()),
                _ => None,
            });
            let both = [own, theirs.unwrap()].map(|it| show(discovery.address, &opening(&it.ticket)));
            both.iter().for_each(|stream| assert_eq!(answer(stream), JOINED));
        } else {
            assert_eq!(stranger.refusal(), RefusedCode::NOT_CONNECTED);
        }
        // Nothing says where the other one else is, to either of them.
        let known = |said: &ToClient| match said {
            ToClient::Status(status) => status.address.is_some() || !status.also.is_empty(),
            ToClient::Punch(_) => true,
            _ => false,
        };
        assert!(!heard.iter().any(known), "{heard:?}");
        stranger.say(&request(it));
        let also = |said: &ToClient| match said {
            ToClient::Status(status) => !status.also.is_empty(),
            ToClient::Punch(_) => true,
            _ => false,
        };
        assert!(!stranger.settle().iter().any(also));
    }
}

#[test]
fn without_a_relay_nothing_is_relayed() {
    let (_directory, db) = scratch();
    let discovery = Discovery::start_with(&db, &["--no-relay"]);
    let [mut alice, mut bob] = contacts(&discovery, ["alice", "bob"]);
    alice.say(&relay("bob"));
    assert_eq!(alice.refusal(), RefusedCode::RELAY_OFF);
    assert_eq!(bob.settle(), [ToClient::Pong]);
    // A connection to relay is no version.
    assert_ne!(answer(&show(discovery.address, &opening(&[1; 16]))), JOINED);
    assert!(status(&db)["relay"].is_null());
}

#[test]
fn both_sides_of_a_punch_hear_of_it_with_each_other_s_address() {
    let (_directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let far = |it: &str, from: Ipv4Addr, rtt| {
        let mut session = raw::session(from, discovery.address, &keypair()).unwrap();
        let observed = session.stream.local_addr().unwrap();
        let register = Register::new(name(it), ([0, 0, 0, 0], 1).into(), None, Strangers::Open);
        let local = vec!["2001:db8::1".parse().unwrap(), "10.0.0.1".parse().unwrap()];
        session.say(&[ToDiscovery::Register(Register { port: 5, rtt, local, ..register })]).unwrap();
        let told = session.wait("the registration", |said| match said {
            ToClient::Registered(registered) => Some(registered.observed),
            _ => None,
        });
        assert_eq!(told, observed);
        (session, observed)
    };
    let (mut alice, from_alice) = far("alice", Ipv4Addr::new(127, 0, 0, 1), 30);
    let (mut bob, from_bob) = far("bob", Ipv4Addr::new(127, 0, 0, 2), 110);
    alice.say(&[request("bob")]).unwrap();
    alice.wait("bob's status", |said| matches!(said, ToClient::Status(_)).then_some(()));
    bob.say(&[request("alice"), punch("alice")]).unwrap();
    let hear = |session: &mut raw::Wire<ToClient>| {
        session.wait("a punch", |said| match said {
            ToClient::Punch(punch) => Some(punch.clone()),
            _ => None,
        })
    };
    let (to_alice, to_bob) = (hear(&mut alice), hear(&mut bob));
    assert_eq!(to_alice.token, to_bob.token);
    assert_ne!(to_alice.token, [0; 16]);
    // Both have some time, and the nearer one waits for the other.
    assert_eq!((to_alice.wait, to_bob.wait), (240, 200));
    let global: SocketAddr = "[2001:db8::1]:5".parse().unwrap();
    assert_eq!((to_alice.name.as_str(), to_alice.addresses), ("bob", vec![from_bob, global]));
    assert_eq!((to_bob.name.as_str(), to_bob.addresses), ("alice", vec![from_alice, global]));
    // Asked again at once it is the same one, and both are still served.
    alice.say(&[punch("bob"), ToDiscovery::Ping]).unwrap();
    alice.wait("a pong", |said| match said {
        ToClient::Pong => Some(()),
        ToClient::Punch(_) => panic!("twice"),
        _ => None,
    });
}

#[test]
fn relayed_links_end_with_discovery() {
    let (_directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let [mut alice, mut bob] = contacts(&discovery, ["alice", "bob"]);
    let both = joined(discovery.address, &mut alice, &mut bob);
    discovery.signal("-TERM");
    both.iter().for_each(|stream| assert_eq!(rest(stream), b""));
    let (ended, stderr) = discovery.ended(DEADLINE);
    assert!(ended.success() && stderr.is_empty(), "{stderr}");
}
