//! What goes over the links of a room in which nothing is said, by the kernel's count for each connection.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use peerchat::protocol::codec;
use peerchat::protocol::peer::Peer;

use super::Room;
use crate::measure::{Goal, Row};

/// When a link on which nothing was sent sends a ping.
const PING: Duration = Duration::from_secs(4);
/// What sealing adds to a frame: its length, and the tag.
const SEALED: usize = 2 + 16;
/// How long what was said last may be talked of.
const SETTLES: Duration = Duration::from_secs(90);

/// What one side of a link has sent.
#[derive(Clone, Copy, Default)]
struct Sent {
    bytes: u64,
    segments: u64,
}

/// Listens for so long. Returns also how many seconds of CPU time all members together use in a second.
pub fn listen(room: &mut Room, time: Duration) -> Result<(Option<Row>, f64)> {
    room.wait_until_even()?;
    thread::sleep(SETTLES);
    let before = sent(room);
    let cpu = room.cpu()?;
    thread::sleep(time);
    let cpu = room.cpu()? - cpu;
    let idle = cpu.as_secs_f64() / time.as_secs_f64();
    let Ok(before) = before else {
        println!("   silence is left out: it needs ss, of iproute2");
        return Ok((None, idle));
    };
    let after = sent(room)?;
    ensure!(before.keys().eq(after.keys()), "links have come or gone");
    let mut all = Sent::default();
    for (after, before) in after.values().zip(before.values()) {
        all.bytes += after.bytes - before.bytes;
        all.segments += after.segments - before.segments;
    }
    let mut ping = Vec::new();
    codec::encode(&Peer::Ping, &mut ping);
    let ping = (ping.len() + SEALED) as f64;
    // Each side sends one whenever it has sent nothing for so long.
    let due = after.len() as f64 * (time.as_secs_f64() / PING.as_secs_f64());
    println!(
        "   silent for {} s: {} sides of links sent {} segments, {} bytes; pings alone are {due:.0}, {ping} bytes each; {:.2} ms of \
         CPU time a member and second",
        time.as_secs(),
        after.len(),
        all.segments,
        all.bytes,
        cpu.as_secs_f64() * 1e3 / time.as_secs_f64() / room.members.len() as f64
    );
    let row = Row {
        id: "S12",
        what: "a silent room, bytes on its links".into(),
        reached: format!("{} bytes", all.bytes),
        against: format!("pings {:.0} bytes", due * ping),
        ratio: all.bytes as f64 / (due * ping),
        // A ping that was due just before this began, or before it ended, makes a little more or less of it.
        goal: Goal::AtMost(1.05),
        disturbed: false,
    };
    Ok((Some(row), idle))
}

/// What each side of each link between members has sent, by its ports.
fn sent(room: &Room) -> Result<BTreeMap<(u16, u16), Sent>> {
    let output = Command::new("ss").args(["-tinHO", "state", "established"]).output()?;
    ensure!(output.status.success(), "ss: {}", String::from_utf8_lossy(&output.stderr));
    let listening: BTreeSet<u16> = room.members.iter().map(|member| member.address.port()).collect();
    let mut sent = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let mut words = line.split_whitespace().skip(2);
        let mut port = || words.next()?.rsplit(':').next()?.parse::<u16>().ok();
        let (own, other) = (port().context("no port")?, port().context("no port")?);
        if !listening.contains(&own) && !listening.contains(&other) {
            continue;
        }
        let count = |name: &str| {
            let word = line.split_whitespace().find_map(|word| word.strip_prefix(name));
            word.and_then(|count| count.parse().ok()).unwrap_or_default()
        };
        sent.insert((own, other), Sent { bytes: count("bytes_sent:"), segments: count("data_segs_out:") });
    }
    ensure!(!sent.is_empty(), "ss sees no links");
    Ok(sent)
}
