//! `kill -9` of members while all of them write: what was promised is at all of them, once, in the same order.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::member::{Member, agree_on_all, in_room};
use crate::support::discovery::{Discovery, scratch};

const STRIKES: u32 = 40;
/// How much all write together at most: as much as `HISTORY` shows.
const TEXTS: usize = 900;

/// What a member has been shown of each other one came in the order in which it was written.
fn check_shown(member: &Member) {
    let mut last = BTreeMap::new();
    for ((from, _), text) in &member.shown {
        let number: usize = text.parse().unwrap();
        let before = last.insert(from, number);
        assert!(before < Some(number), "{} saw {number} of {from} after {before:?}", member.name);
    }
}

#[test]
fn kills_under_load_lose_nothing_and_double_nothing() {
    let seed = std::env::var("PEERCHAT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(13);
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut members =
        in_room(directory.path(), discovery.address, &["alice", "bob", "carol", "dave", "erin"]);
    let count = members.len();
    let mut written = 0;
    // After which strike each comes back that is away.
    let mut back = vec![0; count];
    for strike in 0..STRIKES {
        for member in members.iter_mut().filter(|member| member.is_running()) {
            for _ in 0..rng.usize(1..10) {
                if written < TEXTS {
                    member.write(&written.to_string());
                    written += 1;
                }
            }
        }
        // Some moment in the middle of it, different each time.
        let moment = Instant::now() + Duration::from_micros(rng.u64(0..60_000));
        while Instant::now() < moment {
            for member in members.iter_mut().filter(|member| member.is_running()) {
                member.read(Duration::from_micros(200));
            }
        }
        let victim = rng.usize(0..count);
        if members[victim].is_running() {
            members[victim].kill();
            back[victim] = strike + rng.u32(0..4);
        }
        for (member, back) in members.iter_mut().zip(&back) {
            if !member.is_running() && *back <= strike {
                member.begin();
            }
        }
        let witness = rng.usize(0..count);
        if members[witness].is_running() {
            members[witness].history();
        }
    }
    for member in members.iter_mut().filter(|member| !member.is_running()) {
        member.begin();
    }
    for member in &mut members {
        member.write(&written.to_string());
        written += 1;
    }
    let lines = agree_on_all(&mut members, count as u64);
    let texts: BTreeMap<_, _> = lines.iter().map(|line| (&line.id, &line.text)).collect();
    let promised: usize = members.iter().map(|member| member.promised.len()).sum();
    for member in &mut members {
        for (id, text) in &member.promised {
            assert_eq!(texts.get(id), Some(&text), "{id:?}");
        }
        let own = member.name.clone();
        for line in lines.iter().filter(|line| line.from() != own) {
            member.sees(line.from(), &line.text);
        }
        member.is_told_of_all_fresh(count as u64);
        check_shown(member);
        assert_eq!(member.state(), "joined");
        assert!(!member.promised.is_empty());
    }
    println!("{} texts, of which {promised} were answered", lines.len());
}
