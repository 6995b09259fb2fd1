//! Nodes that die and hang, and a PostgreSQL that goes away, while users come and change things.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use peerchat::protocol::PublicKey;
use peerchat::protocol::rendezvous::Identity;

use super::*;

/// Names that were acknowledged, with their keys.
pub type Acknowledged = Arc<Mutex<Vec<(String, PublicKey)>>>;

/// Users who register at whatever node answers, two keys for each name, and ask there whose a name is that was acknowledged
/// before. They do so until it is ended.
pub struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Acknowledged,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Load {
    pub fn start(nodes: &Nodes, threads: usize) -> Self {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Acknowledged::default());
        let count = Arc::new(AtomicUsize::new(0));
        let threads = (0..threads)
            .map(|first| {
                let (stop, acknowledged, count) =
                    (Arc::clone(&stop), Arc::clone(&acknowledged), Arc::clone(&count));
                let addresses = nodes.addresses.clone();
                thread::spawn(move || {
                    for attempt in first.. {
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        let user = format!("user-{}", count.fetch_add(1, Ordering::Relaxed) / 2);
                        let at = addresses[attempt % addresses.len()];
                        let Some((key, mut raw)) = try_register(at, &user) else { continue };
                        let last = {
                            let mut acknowledged = acknowledged.lock().unwrap();
                            acknowledged.push((user, key));
                            acknowledged.iter().rev().nth(1).cloned()
                        };
                        if let Some((user, key)) = last {
                            expect_known(&mut raw, &user, key);
                        }
                    }
                })
            })
            .collect();
        Self { stop, acknowledged, threads }
    }

    fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// Waits until so many more have been acknowledged.
    pub fn wait_for(&self, more: usize) {
        let wanted = self.count() + more;
        let deadline = Instant::now() + 3 * DEADLINE;
        while self.count() < wanted {
            assert!(Instant::now() < deadline, "{} of {wanted}", self.count());
            thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn end(mut self) -> Vec<(String, PublicKey)> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
        let acknowledged = std::mem::take(&mut *self.acknowledged.lock().unwrap());
        let names: BTreeSet<_> = acknowledged.iter().map(|(user, _)| user).collect();
        assert_eq!(names.len(), acknowledged.len(), "a name has two keys: {acknowledged:?}");
        acknowledged
    }
}

/// Users who stay, and ping as clients do. Whatever happens, none of them is told of anything.
pub struct Staying {
    threads: Vec<(mpsc::Sender<()>, thread::JoinHandle<Raw>)>,
}

impl Staying {
    pub fn start(sessions: impl IntoIterator<Item = Raw>) -> Self {
        let stay = |mut raw: Raw| {
            let (end, ended) = mpsc::channel();
            let thread = thread::spawn(move || {
                while ended.recv_timeout(Duration::from_secs(2)) == Err(mpsc::RecvTimeoutError::Timeout) {
                    raw.nothing_unheard();
                }
                raw.nothing_unheard();
                raw
            });
            (end, thread)
        };
        Self { threads: sessions.into_iter().map(stay).collect() }
    }

    /// All of them, in their order.
    pub fn end<const COUNT: usize>(self) -> [Raw; COUNT] {
        let end = |(end, thread): (_, thread::JoinHandle<Raw>)| {
            drop(end);
            thread.join().unwrap()
        };
        let all: Vec<_> = self.threads.into_iter().map(end).collect();
        all.try_into().unwrap_or_else(|all: Vec<_>| panic!("{} stayed", all.len()))
    }
}

fn try_register(at: SocketAddr, user: &str) -> Option<(PublicKey, Raw)> {
    let own = keypair();
    let mut raw = Raw::try_connect(at, &own).ok()?;
    raw.stream.set_read_timeout(Some(Duration::from_secs(3))).ok()?;
    raw.try_say(&register(user, 1)).ok()?;
    match raw.try_hear()? {
        ToClient::Registered(_) => Some((own.public(), raw)),
        _ => None,
    }
}

/// A node that answers knows the name of a key that any node has acknowledged. It may also say that it can't, or go.
fn expect_known(raw: &mut Raw, user: &str, key: PublicKey) {
    if raw.try_say(&identify(key)).is_err() {
        return;
    }
    while let Some(said) = raw.try_hear() {
        match said {
            ToClient::Synced => {}
            ToClient::Identity(said) => return assert_eq!(said, Identity { key, name: Some(name(user)) }),
            ToClient::Refused(_) => return,
            other => panic!("{other:?} in place of {user}"),
        }
    }
}

/// A user who registers as soon as the node has its ledger again.
fn judge(at: SocketAddr, user: &str) -> Raw {
    let (own, deadline) = (keypair(), Instant::now() + 3 * DEADLINE);
    loop {
        assert!(Instant::now() < deadline, "{user}");
        let mut raw = Raw::connect(at, &own);
        raw.say(&register(user, 1));
        if let Some(ToClient::Registered(_)) = raw.hear() {
            raw.contacts();
            return raw;
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// At each node each of these names is that key's, and no other one's.
pub fn expect_all(nodes: &Nodes, acknowledged: &[(String, PublicKey)]) {
    for number in 0..nodes.all.len() {
        let (mut asker, mut judges) = (judge(nodes.at(number), &format!("judge-{number}")), 1);
        for (user, key) in acknowledged {
            let identity = ToClient::Identity(Identity { key: *key, name: Some(name(user)) });
            loop {
                let said = asker.try_say(&identify(*key)).ok().and_then(|()| asker.try_hear());
                match said {
                    Some(ToClient::Identity(said)) => {
                        assert_eq!(ToClient::Identity(said), identity, "node {number}");
                        break;
                    }
                    // On a busy machine a node may be taken for lost, and joins anew.
                    None | Some(ToClient::Refused(_)) if judges < 10 => {
                        asker = judge(nodes.at(number), &format!("judge-{number}-{judges}"));
                        judges += 1;
                    }
                    other => panic!("{other:?} from node {number}"),
                }
            }
        }
    }
}

#[test]
fn who_comes_back_in_time_is_not_called_offline_and_who_does_not_is() {
    let Some(mut nodes) = Nodes::start(3) else { return };
    let [alice_key, bob_key, carol_key] = [keypair(), keypair(), keypair()];
    let (mut alice, _) = Raw::synced(nodes.at(0), &alice_key, "alice", 1);
    let (mut bob, _) = Raw::synced(nodes.at(1), &bob_key, "bob", 2);
    let (mut carol, _) = Raw::synced(nodes.at(1), &carol_key, "carol", 3);
    connect((&mut alice, "alice"), (&mut bob, "bob"));
    connect((&mut alice, "alice"), (&mut carol, "carol"));
    alice.nothing_unheard();
    nodes.kill(1);
    let (mut bob, _) = Raw::synced(nodes.at(2), &bob_key, "bob", 2);
    expect_offline_only(&mut alice, "carol", &mut bob);
    for said in ["another node is there", "another node is lost", "a lost node is forgotten"] {
        nodes.expect_logged_once(0, said, "node=\"node-1\"");
    }
}

#[test]
fn a_node_that_hangs_keeps_the_others_from_nothing_and_ends_its_sessions() {
    let Some(nodes) = Nodes::start(3) else { return };
    let own = keypair();
    let (there, _) = Raw::synced(nodes.at(2), &own, "alice", 1);
    let load = Load::start(&nodes, 4);
    load.wait_for(10);
    nodes.node(2).signal("-STOP");
    load.wait_for(20);
    nodes.node(2).signal("-CONT");
    load.wait_for(10);
    // It was ended in its silence, or holds its session on.
    drop(there);
    let (mut again, _) = Raw::synced(nodes.at(0), &own, "alice", 1);
    again.nothing_unheard();
    drop(again);
    let acknowledged = load.end();
    expect_all(&nodes, &acknowledged);
}

#[test]
fn a_database_that_starts_again_loses_nothing() {
    let Some(cluster) = postgres::Cluster::start(&[]) else { return };
    let cluster: &'static postgres::Cluster = Box::leak(Box::new(cluster));
    let nodes = Nodes::over(cluster.place(), 2);
    let (alice, _) = Raw::synced(nodes.at(0), &keypair(), "alice", 1);
    let staying = Staying::start([alice]);
    let load = Load::start(&nodes, 4);
    for _ in 0..3 {
        load.wait_for(20);
        cluster.restart();
    }
    load.wait_for(20);
    let acknowledged = load.end();
    let [_alice] = staying.end();
    expect_all(&nodes, &acknowledged);
}

#[test]
fn kills_and_stops_under_load_lose_nothing_that_was_acknowledged() {
    storm(12);
}

/// The figure of the documentation.
#[test]
#[ignore = "takes minutes"]
fn a_hundred_kills_and_stops() {
    storm(100);
}

fn storm(faults: usize) {
    let Some(cluster) = postgres::Cluster::start(&[]) else { return };
    let cluster: &'static postgres::Cluster = Box::leak(Box::new(cluster));
    let mut nodes = Nodes::over(cluster.place(), 3);
    let load = Load::start(&nodes, 6);
    for fault in 0..faults {
        load.wait_for(5);
        let node = fault % 3;
        match fault % 4 {
            0 | 2 => {
                nodes.kill(node);
                nodes.start_again(node);
            }
            1 => {
                nodes.node(node).signal("-STOP");
                load.wait_for(5);
                nodes.node(node).signal("-CONT");
            }
            _ => cluster.restart(),
        }
    }
    load.wait_for(20);
    let acknowledged = load.end();
    println!("{} acknowledged", acknowledged.len());
    expect_all(&nodes, &acknowledged);
}
