//! A room of 20 on one machine.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::member::{Member, agree, agree_on_all, in_room, let_in};
use crate::support::cost::{cpu, memory, threads};
use crate::support::discovery::{Discovery, scratch};

const NAMES: [&str; 20] = [
    "alfa", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett", "kilo",
    "lima", "mike", "november", "oscar", "papa", "quebec", "romeo", "sierra", "tango",
];
const MEMBERS: u64 = NAMES.len() as u64;
/// Up to how many links a member keeps in a room with more members than that.
const LINKS: u64 = 16;
/// How much all write together at most: as much as `HISTORY` shows.
const TEXTS: usize = 900;
/// How long none writes at least after one has.
const PAUSE: Duration = Duration::from_millis(100);
/// How many are away at once at most.
const AWAY: usize = 5;

/// How long they talk.
fn duration() -> Duration {
    let seconds = std::env::var("PEERCHAT_CROWD_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(4))
}

/// With how many members each is linked, but for the owner, whose contacts they all are.
fn links(members: &mut [Member]) -> Vec<u64> {
    members[1..].iter_mut().map(Member::links).collect()
}

fn report(members: &mut [Member], when: &str, since: Instant) {
    let pids: Vec<String> = members.iter_mut().map(|member| member.client().pid()).collect();
    let range = |figures: Vec<u64>| {
        let total: u64 = figures.iter().sum();
        format!("{} to {}, {total} in all", figures.iter().min().unwrap(), figures.iter().max().unwrap())
    };
    let kib = range(pids.iter().map(|pid| memory(pid) / 1024).collect());
    let threads = range(pids.iter().map(|pid| threads(pid)).collect());
    let ms = range(pids.iter().map(|pid| u64::try_from(cpu(pid).as_millis()).unwrap()).collect());
    println!("{when}, {} s: KiB: {kib}; threads: {threads}; ms of CPU: {ms}", since.elapsed().as_secs());
    println!("  links of each but the owner: {:?}", links(members));
}

#[test]
fn twenty_talk_come_and_go() {
    let mut rng = Rng::with_seed(20);
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let start = Instant::now();
    let mut members = in_room(directory.path(), discovery.address, &NAMES);
    report(&mut members, "all are in", start);
    let talk = Instant::now();
    let end = talk + duration();
    let pause = PAUSE.max(duration() / u32::try_from(TEXTS).unwrap());
    let (mut written, mut away, mut returns) = (0, BTreeSet::new(), 0);
    while Instant::now() < end {
        let one = rng.usize(0..members.len());
        if away.contains(&one) {
            if rng.u32(0..4) == 0 {
                members[one].begin();
                away.remove(&one);
                returns += 1;
            }
        } else if rng.u32(0..20) == 0 && away.len() < AWAY {
            if rng.bool() {
                members[one].log_out()
            } else {
                members[one].kill()
            }
            away.insert(one);
        } else if Instant::now() >= talk + pause * u32::try_from(written).unwrap() && written < TEXTS {
            members[one].write(&format!("number {written}"));
            written += 1;
        }
        for member in members.iter_mut().filter(|member| member.is_running()) {
            member.read(Duration::from_millis(1));
        }
    }
    away.iter().for_each(|one| members[*one].begin());
    let peace = Instant::now();
    let last: Vec<_> = members.iter_mut().map(|member| member.chat("at last")).collect();
    members.iter_mut().zip(&last).for_each(|(member, id)| member.is_told_of_all(id, MEMBERS));
    let lines = agree_on_all(&mut members, MEMBERS);
    println!(
        "{} texts of {written} and 20, {returns} returns; settled after {:?}",
        lines.len(),
        peace.elapsed()
    );
    for member in &members {
        for (id, text) in &member.promised {
            let found = lines.iter().filter(|line| line.id == *id && line.text == *text).count();
            assert_eq!(found, 1, "{id:?}");
        }
    }
    // At rest, one text alone.
    let (one, alone) = (&mut members[1], Instant::now());
    let (from, id) = (one.name.clone(), one.chat("hear me"));
    members.iter_mut().filter(|member| member.name != from).for_each(|member| member.sees(&from, "hear me"));
    let seen = alone.elapsed();
    members[1].is_told_of_all(&id, MEMBERS);
    println!("one text at rest is at all after {seen:?}, and its writer is told after {:?}", alone.elapsed());
    // One leaves the room, and is let in again.
    let mut one = members.remove(rng.usize(1..NAMES.len()));
    one.ask("LEAVE #lab", "room");
    members[0].until("member", |event| event["user"] == one.name.as_str() && event["state"] == "left");
    let missed = members[0].chat("one less");
    members[0].is_told_of_all(&missed, MEMBERS - 1);
    let_in(&mut members[0], &mut one);
    let said = one.chat("here again");
    one.is_told_of_all(&said, MEMBERS);
    let lines = agree(&mut members, |line| line.is_final && line.have == line.of);
    let expected = lines.iter().filter(|line| line.id != missed);
    assert!(one.history().iter().map(|line| &line.id).eq(expected.map(|line| &line.id)));
    members.push(one);
    for member in &mut members[1..] {
        member.comes_to("few links", |member| member.links() <= LINKS);
    }
    report(&mut members, "at the end", start);
}
