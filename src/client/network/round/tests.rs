use std::collections::BTreeSet;

use super::*;
use crate::client::endpoints::Hosts;

fn endpoints(list: &str) -> Arc<[Endpoint]> {
    list.parse::<Hosts>().unwrap().endpoints(80).into()
}

fn remotes(list: &[&str]) -> Vec<SocketAddr> {
    list.iter().map(|remote| remote.parse().unwrap()).collect()
}

fn refused() -> Problem {
    Problem::Other("refused".into())
}

/// A round in which these are the addresses of the endpoints `a`, `b` and so on.
fn round(found: &[&[&str]], seed: u64) -> (Round, Instant) {
    let names: Vec<String> = ('a'..).take(found.len()).map(String::from).collect();
    let now = Instant::now();
    let mut round = Round::new(endpoints(&names.join(",")), Vec::new(), false, seed, now);
    found.iter().enumerate().for_each(|(at, list)| round.found(at, Ok(remotes(list))));
    (round, now)
}

/// Everything that is dialled, each after the one before has failed.
fn order(mut round: Round, now: Instant) -> Vec<SocketAddr> {
    let mut order = Vec::new();
    while let Some(place) = round.next(now) {
        assert_eq!(round.next(now), None, "one at a time, for it may answer soon");
        order.push(place.remote);
        round.failed(now, place, refused());
    }
    assert!(round.is_over());
    order
}

#[test]
fn any_address_may_be_the_first_and_each_is_dialled_once() {
    let found: &[&[&str]] = &[&["10.0.0.1:1", "10.0.0.2:1", "10.0.0.1:1"], &["10.0.0.3:1", "10.0.0.2:1"]];
    let all: BTreeSet<SocketAddr> = found.iter().flat_map(|list| remotes(list)).collect();
    let mut first = BTreeSet::new();
    let mut second = BTreeSet::new();
    for seed in 0..100 {
        let (round, now) = round(found, seed);
        let order = order(round, now);
        assert_eq!(order.len(), 3);
        assert_eq!(order.iter().copied().collect::<BTreeSet<_>>(), all);
        first.insert(order[0]);
        if order[0] == remotes(&["10.0.0.1:1"])[0] {
            second.insert(order[1]);
        }
    }
    assert_eq!((first, second.len()), (all, 2), "the clients of one that is lost spread");
}

#[test]
fn of_one_name_the_family_that_the_system_prefers_comes_first() {
    for seed in 0..50 {
        let (round, now) = round(&[&["[::1]:1", "127.0.0.1:1", "[::2]:1"]], seed);
        let order = order(round, now);
        assert!(order[0].is_ipv6() && order[1].is_ipv6() && order[2].is_ipv4(), "{order:?}");
    }
}

#[test]
fn what_was_tried_a_moment_ago_is_left_out_and_known_all_the_same() {
    let now = Instant::now();
    let tried = remotes(&["10.0.0.1:1"]);
    let mut round = Round::new(endpoints("a"), tried.clone(), false, 1, now);
    round.found(0, Ok(remotes(&["10.0.0.1:1", "10.0.0.2:1"])));
    let place = round.next(now).unwrap();
    assert_eq!(place.remote, remotes(&["10.0.0.2:1"])[0]);
    let reached = round.reached(place);
    assert_eq!((reached.at.as_str(), &*reached.others), ("a[10.0.0.2]:80", &tried[..]));
    let mut round = Round::new(endpoints("10.0.0.1:1"), tried.clone(), false, 1, now);
    round.found(0, Ok(tried));
    assert!(round.next(now).is_none() && round.is_over() && round.missed().is_empty());
}

#[test]
fn one_that_does_not_answer_delays_the_others_by_a_moment_only() {
    let (mut round, now) = round(&[&["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"]], 1);
    let silent = round.next(now).unwrap();
    assert_eq!((round.next(now), round.wait(now)), (None, PATIENCE));
    let refuses = round.next(now + PATIENCE).unwrap();
    let soon = now + PATIENCE + Duration::from_millis(1);
    assert!(round.next(soon).is_none());
    // The next one's turn is when one has failed, whichever it is.
    round.failed(soon, refuses, refused());
    let last = round.next(soon).unwrap();
    assert!(round.next(soon).is_none() && !round.is_over());
    // What is late may still be the one.
    let reached = round.reached(silent);
    assert_eq!(reached.others.len(), 2);
    assert_eq!(reached.missed, [Missed { at: format!("a[{}]:80", refuses.remote.ip()), problem: refused() }]);
    assert_ne!(last, silent);
}

#[test]
fn a_name_that_is_looked_up_for_long_delays_the_others_by_a_moment_only() {
    let now = Instant::now();
    let mut round = Round::new(endpoints("a,b,c"), Vec::new(), false, 1, now);
    round.found(0, Ok(remotes(&["10.0.0.1:1"])));
    round.found(1, Err(io::Error::other("no such name")));
    assert_eq!((round.next(now), round.wait(now)), (None, NAMES_FOR));
    let place = round.next(now + NAMES_FOR).unwrap();
    round.failed(now + NAMES_FOR, place, refused());
    assert!(!round.is_over());
    // Its addresses are dialled once they are known.
    round.found(2, Ok(remotes(&["10.0.0.1:1", "10.0.0.3:1"])));
    let place = round.next(now + NAMES_FOR).unwrap();
    assert_eq!(place.remote, remotes(&["10.0.0.3:1"])[0]);
    round.failed(now + NAMES_FOR, place, refused());
    assert!(round.is_over());
    let missed = round.missed();
    let at: Vec<&str> = missed.iter().map(|missed| missed.at.as_str()).collect();
    assert_eq!(at, ["b:80", "a[10.0.0.1]:80", "c[10.0.0.3]:80"]);
    assert_eq!(missed[0].problem.to_string(), "no such name");
}

#[test]
fn a_round_ends_although_a_name_is_not_found() {
    let now = Instant::now();
    let mut round = Round::new(endpoints("a"), Vec::new(), false, 1, now);
    assert!(round.next(now).is_none() && !round.is_over());
    assert_eq!(round.wait(now), NAMES_AT_MOST);
    assert!(round.next(now + NAMES_AT_MOST).is_none() && round.is_over());
    // What comes later changes nothing.
    round.found(0, Ok(remotes(&["10.0.0.1:1"])));
    assert!(round.is_over() && round.missed().len() == 1);
}

#[test]
fn a_name_without_an_address_that_can_be_used_is_told() {
    for (ipv4_only, addresses, why) in [
        (
            true,
            &["[::1]:1"][..],
            Some("it is on IPv6 and this client listens on IPv4 only; start it with :: as IP"),
        ),
        (true, &["[::1]:1", "10.0.0.1:1"], None),
        (false, &["[::1]:1"], None),
        (false, &[], Some("it has no address")),
    ] {
        let now = Instant::now();
        let mut round = Round::new(endpoints("a"), Vec::new(), ipv4_only, 1, now);
        round.found(0, Ok(remotes(addresses)));
        assert_eq!(round.next(now).is_some(), why.is_none());
        let missed: Vec<String> = round.missed().iter().map(|missed| missed.problem.to_string()).collect();
        assert_eq!(missed.first().map(String::as_str), why);
    }
}

#[test]
fn a_name_has_no_more_addresses_than_a_round_takes() {
    let now = Instant::now();
    let mut round = Round::new(endpoints("a"), Vec::new(), false, 1, now);
    let many = (1..).take(2 * MAX_PLACES).map(|port| SocketAddr::from(([10, 0, 0, 1], port)));
    round.found(0, Ok(many.collect()));
    assert_eq!(order(round, now).len(), MAX_PLACES);
}
