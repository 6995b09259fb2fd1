//! Two clients for each pair of kinds: they link, by the best route that there is, and again after the routers forget.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::{Kind, Lab, Site, maps, twice};
use crate::support::client::{ANSWER_ALL, Client};

/// What is promised for a link where no relay is needed, which half of them keep to even on a busy machine; for any link;
/// for one that is found anew; and for one that need not be relayed any more, where the first attempt leads to it.
const LINKED: Duration = Duration::from_secs(3);
const ANY_LINKED: Duration = Duration::from_secs(8);
const HEALED: Duration = Duration::from_secs(20);
const UPGRADED: Duration = Duration::from_secs(65);
/// What a machine that is busy with all pairs at once may take instead, so many times as long.
const SLACK: u32 = 3;
/// How many pairs are there at once.
const AT_ONCE: usize = 12;
const MESSAGES: usize = 20;

const KINDS: [Kind; 10] = [
    Kind::Public,
    Kind::Preserving,
    Kind::Reset,
    Kind::Random,
    Kind::Cone,
    Kind::Firewall,
    Kind::Six,
    Kind::Double,
    Kind::Only443,
    Kind::Mapping,
];

/// The routes by which these may link.
fn expected(near: Kind, far: Kind) -> &'static [&'static str] {
    use Kind::{Cone, Mapping, Only443, Public, Random, Six};
    match (near, far) {
        (Only443, _) | (_, Only443) => &["relayed"],
        // By whichever of the two is the first to get through.
        (Public, Mapping) | (Mapping, Public) => &["direct", "mapped"],
        (Public, _) | (_, Public) => &["direct"],
        (Mapping, Random | Six) | (Random | Six, Mapping) => &["mapped"],
        // Both are tried at once where the port is told after the first dial has begun.
        (Mapping, _) | (_, Mapping) => &["mapped", "punched"],
        (Six, Six) | (Random | Six, Cone) | (Cone, Random | Six) => &["punched"],
        (Random | Six, _) | (_, Random | Six) => &["relayed"],
        _ => &["punched"],
    }
}

/// How long the lines of these to the public network take. Between two that answer with a reset first packets have to
/// cross on the way: what comes to the other's router before its own has left closes the way again. One is much farther away
/// than the other.
fn delays(near: Kind, far: Kind) -> [Duration; 2] {
    let both = near == Kind::Reset && far == Kind::Reset;
    [1, 40].map(|ms| if both { Duration::from_millis(ms) } else { Duration::ZERO })
}

/// Two kinds, or the one of two neighbours.
type Pair = (Kind, Option<Kind>);

/// Which pairs are tried: all, or those of `PEERCHAT_PAIRS`, for instance `nat-rst/double,nat/nat`.
fn is_chosen(near: Kind, far: Option<Kind>) -> bool {
    let Ok(chosen) = std::env::var("PEERCHAT_PAIRS") else { return true };
    chosen
        .split(',')
        .any(|pair| pair == format!("{near}/{}", far.map_or("lan".into(), |far| far.to_string())))
}

/// What came of a pair.
#[derive(Default)]
struct Outcome {
    linked: Duration,
    route: String,
    healed: Option<Duration>,
    healed_route: String,
}

/// One of the two, and what was said to it so far.
struct Side {
    client: Client,
    name: String,
    said: usize,
    heard: usize,
}

impl Side {
    fn new(client: Client) -> Self {
        Self { name: client.name.clone(), client, said: 0, heard: 0 }
    }

    fn await_event(&mut self, until: Instant, kind: &str, mut fits: impl FnMut(&Value) -> bool) -> Value {
        loop {
            match self.client.next(until.saturating_duration_since(Instant::now())) {
                Some(event) if event["event"] == kind && fits(&event) => return event,
                Some(_) => {}
                None => panic!("{} did not say {kind} in time: {:#?}", self.name, self.client.log()),
            }
        }
    }

    /// The route of the next link that comes up.
    fn link(&mut self, until: Instant) -> String {
        let link = self.await_event(until, "link", |link| link["state"] == "up");
        link["route"].as_str().unwrap_or_default().to_owned()
    }

    fn say(&mut self, to: &str, count: usize) {
        for _ in 0..count {
            let number = self.said;
            self.client.say(&format!("CHAT {to} {number}"));
            self.said += 1;
        }
    }

    /// Waits until it has everything that was said to it, in order.
    fn hear_all(&mut self, said: usize, until: Instant) {
        while self.heard < said {
            let message = self.await_event(until, "message", |_| true);
            assert_eq!(message["text"], self.heard.to_string(), "{:#?}", self.client.log());
            self.heard += 1;
        }
    }

    /// The route by which it is linked now.
    fn route(&mut self) -> String {
        self.client.say("CONTACTS");
        let contacts = self.client.wait("contacts", |_| true);
        contacts["contacts"][0]["route"].as_str().unwrap_or_default().to_owned()
    }

    fn heard_in_all(&mut self) -> usize {
        self.client.settle().iter().filter(|event| event["event"] == "message").count()
    }
}

/// Both say some messages, and have all that was said until then.
fn exchange(near: &mut Side, far: &mut Side, until: Instant) {
    near.say(&far.name, MESSAGES);
    far.say(&near.name, MESSAGES);
    far.hear_all(near.said, until);
    near.hear_all(far.said, until);
}

/// From two clients that know nothing of each other to two that have lost nothing.
fn meet(near: Client, far: Client, sites: &[&Site], promised: &[&str]) -> Outcome {
    let (mut near, mut far) = (Side::new(near), Side::new(far));
    let limit = SLACK * ANY_LINKED;
    let asked = Instant::now();
    near.client.say(&format!("REQUEST {}", far.name));
    let route = near.link(asked + limit);
    far.link(asked + limit);
    let mut outcome = Outcome { linked: asked.elapsed(), route, ..Outcome::default() };
    assert!(promised.contains(&outcome.route.as_str()), "{} in place of {promised:?}", outcome.route);
    exchange(&mut near, &mut far, asked + limit + HEALED);
    if sites.iter().any(|site| !site.routers().is_empty()) {
        let forgotten = Instant::now();
        sites.iter().for_each(|site| site.forget());
        exchange(&mut near, &mut far, forgotten + SLACK * HEALED);
        outcome.healed = Some(forgotten.elapsed());
        outcome.healed_route = near.route();
        // It may be relayed at first, until the other way is open again; and a mapped port where there was a link is dialled
        // before discovery has said what it is.
        let healed = outcome.healed_route.as_str();
        let known = healed == "relayed" || healed == "direct" && promised.contains(&"mapped");
        assert!(known || promised.contains(&healed), "{healed} in place of {promised:?}");
    }
    for side in [&mut near, &mut far] {
        let heard = side.heard;
        assert_eq!(side.heard_in_all(), heard, "each once: {:#?}", side.client.log());
    }
    near.client.log_out();
    far.client.log_out();
    outcome
}

/// The client of a site, once it has done what it can to be reached.
fn ready(site: &Site, host: usize, name: &str) -> Client {
    let mut client = site.client_at(host, name, &ANSWER_ALL);
    if site.kind() == Kind::Mapping {
        client.wait("reachable", |reachable| reachable["how"] == "mapped");
    }
    client
}

fn pair(lab: &Lab, number: usize, (near, far): (Kind, Kind), delays: [Duration; 2]) -> Outcome {
    let [near_delay, far_delay] = delays;
    let sites = [(near, near_delay), (far, far_delay)].map(|(kind, delay)| lab.distant_site(kind, delay));
    // One that has a mapped port is the far one, and discovery has long heard of it when the near one asks.
    let bob = ready(&sites[1], 0, &format!("bob{number}"));
    let alice = ready(&sites[0], 0, &format!("alice{number}"));
    meet(alice, bob, &[&sites[0], &sites[1]], expected(near, far))
}

/// Two hosts of one network.
fn neighbours(lab: &Lab, number: usize, kind: Kind) -> Outcome {
    let mut site = lab.site(kind);
    site.add_host();
    let [alice, bob] = [0, 1].map(|host| ready(&site, host, &format!("{}{number}", ["alice", "bob"][host])));
    meet(alice, bob, &[&site], &["direct"])
}

/// A host at one node, and one at the other.
fn across_nodes(lab: &Lab, number: usize, kind: Kind, route: &str) {
    let mut sites = [kind, kind].map(|kind| lab.site(kind));
    sites[1].use_other_node();
    let bob = ready(&sites[1], 0, &format!("bob{number}"));
    let alice = ready(&sites[0], 0, &format!("alice{number}"));
    // Links heal as those of one node do.
    meet(alice, bob, &[], &[route]);
}

/// A line of the table.
fn row((near, far): Pair, outcome: Option<&Outcome>) -> String {
    let far = far.map_or("lan".to_owned(), |far| far.to_string());
    let Some(Outcome { linked, route, healed, healed_route }) = outcome else {
        return format!("{near:10} {far:10} FAILED");
    };
    let healed = healed.map_or("-".to_owned(), |healed| format!("{:.2} s", healed.as_secs_f64()));
    let linked = format!("{:.2} s", linked.as_secs_f64());
    format!("{near:10} {far:10} {linked:>8} {route:8} {healed:>8} {healed_route:8}")
}

fn attempt(lab: &Lab, number: usize, (near, far): Pair) -> Option<Outcome> {
    let attempt = || match far {
        Some(far) => pair(lab, number, (near, far), delays(near, far)),
        None => neighbours(lab, number, near),
    };
    catch_unwind(AssertUnwindSafe(attempt)).ok()
}

#[test]
fn each_pair_of_kinds_links_and_heals() {
    let Some(lab) = Lab::new() else { return };
    // No client chooses where it connects to.
    lab.core().count("output", "tcp flags & (syn | ack) == syn");
    let maps = maps();
    let kinds: Vec<_> = KINDS.into_iter().filter(|kind| maps || *kind != Kind::Mapping).collect();
    let mut work: Vec<Pair> = Vec::new();
    for (index, near) in kinds.iter().enumerate() {
        work.extend(kinds[index..].iter().map(|far| (*near, Some(*far))));
    }
    work.extend([Kind::Preserving, Kind::Random].map(|kind| (kind, None)));
    work.retain(|(near, far)| is_chosen(*near, *far));
    work.retain(|(near, far)| {
        far.is_none_or(|far| delays(*near, far) == [Duration::ZERO; 2] || lab.delays())
    });
    let next = AtomicUsize::new(0);
    let outcomes: Vec<_> = work.iter().map(|_| OnceLock::new()).collect();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(pair) = work.get(number) else { return };
                    assert!(outcomes[number].set(attempt(&lab, number, *pair)).is_ok());
                }
            });
        }
    });
    println!("{:10} {:10} {:>8} {:8} {:>8} {:8}", "near", "far", "linked", "by", "healed", "by");
    let (mut failed, mut without_relay) = (0, Vec::new());
    for (number, (pair, outcome)) in work.iter().zip(outcomes).enumerate() {
        let outcome = outcome.into_inner().flatten();
        // A punch hangs on moments that a machine may miss which is busy with all pairs: such a one has it to itself now.
        let again = outcome.is_none();
        let outcome = outcome.or_else(|| attempt(&lab, work.len() + number, *pair));
        failed += usize::from(outcome.is_none());
        let direct = outcome.as_ref().filter(|outcome| outcome.route != "relayed");
        without_relay.extend(direct.map(|outcome| outcome.linked));
        println!("{}{}", row(*pair, outcome.as_ref()), if again { " tried again" } else { "" });
    }
    assert_eq!(failed, 0, "of {} pairs", work.len());
    without_relay.sort();
    let middle = without_relay.get(without_relay.len() / 2);
    assert!(middle.is_none_or(|middle| *middle < SLACK * LINKED), "links take long: {without_relay:?}");
    assert_eq!(lab.core().counted(), 0, "discovery connects to no one");
}

/// Other two sites and users in each attempt.
fn upgrade(lab: &Lab, number: usize) {
    // The near router remembers first packets that were not answered. If the far one's came before a new one has left, all
    // others would be held up there, until the attempt after the next.
    let [near, far] = [10, 20].map(Duration::from_millis);
    let near = lab.distant_site(Kind::Preserving, near);
    let mut far = lab.distant_site(Kind::Only443, far);
    let [mut alice, mut bob] = [(&near, "alice"), (&far, "bob")]
        .map(|(site, name)| Side::new(site.client(&format!("{name}{number}"))));
    alice.client.say(&format!("REQUEST {}", bob.name));
    let until = Instant::now() + SLACK * ANY_LINKED;
    assert_eq!((alice.link(until), bob.link(until)), ("relayed".into(), "relayed".into()));
    far.rules(Kind::Preserving);
    let changed = Instant::now();
    while alice.route() != "punched" {
        assert!(changed.elapsed() < SLACK * UPGRADED, "relayed still, after {} messages", alice.said);
        exchange(&mut alice, &mut bob, Instant::now() + SLACK * HEALED);
    }
    println!("direct after {:?} and {} messages", changed.elapsed(), alice.said + bob.said);
    exchange(&mut alice, &mut bob, Instant::now() + SLACK * HEALED);
    let until = Instant::now() + SLACK * HEALED;
    while bob.route() != "punched" {
        assert!(Instant::now() < until, "it is not one link");
        exchange(&mut alice, &mut bob, until);
    }
    for side in [&mut alice, &mut bob] {
        let heard = side.heard;
        assert_eq!(side.heard_in_all(), heard);
    }
}

#[test]
fn a_relayed_link_becomes_direct_when_it_can_under_a_stream_of_messages() {
    let Some(lab) = Lab::new() else { return };
    if lab.delays() {
        let mut number = 0..;
        twice(|| upgrade(&lab, number.next().unwrap()));
    }
}

/// A round trip between the two takes longer than it takes until a punch that was refused is tried again.
#[test]
fn a_way_is_punched_however_far_it_is() {
    let Some(lab) = Lab::new() else { return };
    if lab.delays() {
        let mut number = 0..;
        twice(|| {
            let number = number.next().unwrap();
            let delays = [150; 2].map(Duration::from_millis);
            pair(&lab, number, (Kind::Preserving, Kind::Preserving), delays)
        });
    }
}

#[test]
fn users_of_different_nodes_link_by_a_punch_and_by_a_relay() {
    let Some(lab) = Lab::with_two_nodes() else { return };
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for (kind, route) in [(Kind::Preserving, "punched"), (Kind::Random, "relayed")] {
            let (lab, next) = (&lab, &next);
            scope.spawn(move || {
                twice(|| across_nodes(lab, next.fetch_add(1, Ordering::Relaxed), kind, route))
            });
        }
    });
}
