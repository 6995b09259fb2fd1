//! S10: a thousand pairs that discovery relays at once: what each costs, and what others notice of them. And a pair that
//! does nothing but send, beside one on a connection of its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use peerchat::protocol::relay::{JOINED, opening};
use peerchat::protocol::rendezvous::{About, Ticket, ToClient, ToDiscovery};
use peerchat::protocol::{DEAD_AFTER, PublicKey};

use crate::crowd::{self, Account, Client, Crowd, accounts, at_once, dial};
use crate::measure::{FIRST, Goal, Row, SECOND, per_second, pinned, rounds};
use crate::requests::{ASKING, Looks, load};
use crate::server::{Discovery, Usage};
use crate::{Options, ms, programs, quantile};

/// How many pairs there are.
const PAIRS: usize = 1000;
/// Discovery is not to slow what it relays: KiB a second, of each link and of all.
const UNBOUNDED: &str = "10000000";
/// How long look-ups are counted.
const TIME: Duration = Duration::from_secs(3);
/// What each side sends every second: a line, as it is on the wire; and what makes almost the 16 MiB a second that discovery
/// relays unless told otherwise.
const LINE: usize = 150;
const PIECE: usize = 8 * 1024;
/// What is sent once, to see what a link holds that carries long messages.
const LONG: usize = 64 * 1024;
/// How often in a second pairs are looked after.
const TICKS: usize = 100;
/// How much goes over a link that does nothing else.
const BULK: usize = 1 << 30;
const CHUNK: usize = 64 * 1024;
/// How often a frame goes there and back.
const TURNS: usize = 20_000;
const FRAME: usize = 64;

/// Both ends of a link.
type Link = [TcpStream; 2];

/// The sessions of two users, who are connected.
struct Two {
    accounts: [Arc<Account>; 2],
    sessions: Mutex<Option<[Client; 2]>>,
}

impl Two {
    fn log_in(to: SocketAddr, accounts: [Arc<Account>; 2]) -> Result<Self> {
        let [one, other] = accounts.each_ref().map(|account| Client::synced(to, account));
        Ok(Self { accounts, sessions: Mutex::new(Some([one?, other?])) })
    }

    fn sessions(&self) -> Option<[Client; 2]> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Has discovery join them. The sessions go on in the crowd.
    fn join(&self, to: SocketAddr, crowd: &Crowd) -> Result<Link> {
        let [mut one, mut other] = self.sessions().context("joined already")?;
        let [asker, asked] = &self.accounts;
        one.say(&[ToDiscovery::Relay(About { name: asked.name.clone() })])?;
        let shown = [ticket(&mut one)?, ticket(&mut other)?];
        let link = [dial(to, asker.from)?, dial(to, asked.from)?];
        for (mut end, Ticket { ticket, .. }) in link.iter().zip(&shown) {
            end.set_nodelay(true)?;
            end.set_read_timeout(Some(DEAD_AFTER))?;
            end.set_write_timeout(Some(DEAD_AFTER))?;
            end.write_all(&opening(ticket))?;
        }
        for mut end in &link {
            let mut answer = [0];
            end.read_exact(&mut answer)?;
            ensure!(answer == [JOINED], "not joined: {answer:?}");
        }
        crowd.add(one)?;
        crowd.add(other)?;
        Ok(link)
    }
}

fn ticket(client: &mut Client) -> Result<Ticket> {
    loop {
        match client.hear()? {
            ToClient::Relay(ticket) => return Ok(ticket),
            ToClient::Refused(refused) => bail!("{}", refused.code),
            _ => {}
        }
    }
}

/// Has both sides of all links send so many bytes every second, and sees that those of the second before have come, until it
/// is over. How many bytes a second that were.
fn busy(links: &[Link], size: usize, over: &AtomicBool) -> Result<f64> {
    let piece = |round: u64| -> Vec<u8> { (0..size).map(|at| (at as u64 ^ round) as u8).collect() };
    let start = Instant::now();
    let (mut sent, mut heard) = (0_u64, vec![0; size]);
    let mut rounds = 0..;
    while let Some(round) = rounds.next().filter(|_| !over.load(Ordering::Relaxed)) {
        let (before, now) = (piece(u64::wrapping_sub(round, 1)), piece(round));
        for (tick, some) in links.chunks(PAIRS / TICKS).enumerate() {
            for [one, other] in some {
                for (mut from, mut to) in [(one, other), (other, one)] {
                    if round > 0 {
                        to.read_exact(&mut heard)?;
                        ensure!(heard == before, "other bytes than were sent");
                    }
                    from.write_all(&now)?;
                    sent += size as u64;
                }
            }
            let due = Duration::from_secs(round) + Duration::from_secs(1) * (tick as u32 + 1) / TICKS as u32;
            thread::sleep((start + due).saturating_duration_since(Instant::now()));
        }
    }
    let rate = sent as f64 / start.elapsed().as_secs_f64();
    // The last ones, so that nothing is on its way.
    for mut end in links.iter().flatten() {
        end.read_exact(&mut heard)?;
    }
    Ok(rate)
}

/// What a pair costs discovery.
fn each(before: &Usage, after: &Usage) -> [f64; 3] {
    let share = |before: u64, after: u64| after.saturating_sub(before) as f64 / PAIRS as f64;
    [
        share(before.resident, after.resident),
        share(before.threads, after.threads),
        share(before.descriptors, after.descriptors),
    ]
}

/// Waits until discovery has no more threads than these: the connections that were closed are over.
fn settle(discovery: &Discovery, threads: u64) -> Result<()> {
    let deadline = Instant::now() + DEAD_AFTER;
    while discovery.usage()?.threads > threads {
        ensure!(Instant::now() < deadline, "threads go on for connections that are closed");
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// What a round comes to.
struct Figures {
    /// Look-ups a second: without links, while all pairs write lines, and while they send as much as discovery relays.
    looked: [f64; 3],
    /// KiB of memory a pair: of links that are only there, that have carried lines, and that have carried long messages.
    resident: [f64; 3],
    threads: f64,
}

fn round(options: &Options) -> Result<Figures> {
    let scratch = options.scratch("relayed")?;
    let all = accounts(0, 2 * PAIRS + ASKING)?;
    let pairs: Vec<(usize, usize)> = (0..PAIRS).map(|at| (2 * at, 2 * at + 1)).collect();
    crowd::write(&scratch.db(), &all, &pairs)?;
    let bounds = ["--relay-total", UNBOUNDED];
    let discovery = pinned(FIRST, || Discovery::start(programs()?, &scratch.db(), 0, &bounds))?;
    let to = discovery.address;
    let (paired, asking) = all.split_at(2 * PAIRS);
    let keys: Vec<PublicKey> = all.iter().map(|account| account.keypair.public()).collect();
    let looks = |what: &str| -> Result<f64> {
        let mut askers = Looks::all(to, asking, &keys)?;
        let before = discovery.cpu()?;
        Ok(load(&mut askers, TIME)?.say(what, before, discovery.cpu()?).rate)
    };

    // What the first look-ups touch is no pair's.
    let resting = discovery.usage()?.threads;
    looks("look-ups, to warm up")?;
    settle(&discovery, resting)?;
    let (twos, _) = paired.as_chunks::<2>();
    let twos = at_once(twos, |two| Two::log_in(to, two.clone()))?;
    let (crowd, before) = (Crowd::new(), discovery.usage()?);
    let links = at_once(&twos, |two| two.join(to, &crowd))?;
    let [idle, threads, descriptors] = each(&before, &discovery.usage()?);
    let loaded = |what: &str, size| -> Result<(f64, f64)> {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let busy = scope.spawn(|| pinned(SECOND, || busy(&links, size, &over)));
            let looked = looks(what);
            over.store(true, Ordering::Relaxed);
            let rate = busy.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
            println!("   meanwhile {:.1} MiB/s were relayed", rate / f64::from(1 << 20));
            let [resident, ..] = each(&before, &discovery.usage()?);
            Ok((looked?, resident))
        })
    };
    let (typing, after_lines) = loaded("look-ups, all pairs write lines", LINE)?;
    let (full, _) = loaded("look-ups, all pairs send pieces", PIECE)?;
    for mut end in links.iter().flatten() {
        end.write_all(&[0; LONG])?;
    }
    for mut end in links.iter().flatten() {
        end.read_exact(&mut [0; LONG])?;
    }
    let [after_long, ..] = each(&before, &discovery.usage()?);
    println!(
        "   a pair: {threads:.2} threads, {descriptors:.2} descriptors, {idle:.1} KiB resident, {after_lines:.1} after lines, \
         {after_long:.1} after long messages"
    );
    drop(links);
    settle(&discovery, before.threads)?;
    let alone = looks("look-ups, no links")?;
    crowd.finish()?;
    Ok(Figures { looked: [alone, typing, full], resident: [idle, after_lines, after_long], threads })
}

/// What one end sends arrives at the other: bytes a second.
fn bulk([mut from, mut to]: Link) -> Result<f64> {
    let start = Instant::now();
    thread::scope(|scope| {
        let sending = scope.spawn(move || {
            pinned(FIRST, || (0..BULK / CHUNK).try_for_each(|_| Ok(from.write_all(&[7; CHUNK])?)))
        });
        pinned(SECOND, || {
            let mut heard = vec![0; CHUNK];
            for _ in 0..BULK / CHUNK {
                to.read_exact(&mut heard)?;
                ensure!(heard.iter().all(|byte| *byte == 7), "other bytes than were sent");
            }
            Ok(())
        })?;
        sending.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?
    })?;
    Ok(BULK as f64 / start.elapsed().as_secs_f64())
}

/// How long a frame takes there and back, at the median.
fn turns([one, other]: &Link) -> Result<Duration> {
    let (mut here, mut there) = (one, other);
    let mut times = Vec::with_capacity(TURNS);
    thread::scope(|scope| {
        let answering = scope.spawn(move || {
            pinned(SECOND, || {
                let mut frame = [0; FRAME];
                (0..TURNS).try_for_each(|_| {
                    there.read_exact(&mut frame)?;
                    Ok(there.write_all(&frame)?)
                })
            })
        });
        pinned(FIRST, || {
            for turn in 0..TURNS {
                let (frame, mut heard) = ([turn as u8; FRAME], [0; FRAME]);
                let start = Instant::now();
                here.write_all(&frame)?;
                here.read_exact(&mut heard)?;
                times.push(start.elapsed());
                ensure!(heard == frame, "another frame than was sent");
            }
            Ok(())
        })?;
        answering.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?
    })?;
    Ok(quantile(&mut times, 0.5))
}

/// Bytes a second and the time of a turn, relayed and direct.
fn bare(options: &Options) -> Result<[(f64, Duration); 2]> {
    let scratch = options.scratch("bare-relay")?;
    let both = accounts(0, 2)?;
    crowd::write(&scratch.db(), &both, &[(0, 1)])?;
    let bounds = ["--relay-rate", UNBOUNDED, "--relay-total", UNBOUNDED];
    let discovery = Discovery::start(programs()?, &scratch.db(), 0, &bounds)?;
    let crowd = Crowd::new();
    let two = Two::log_in(discovery.address, both.try_into().ok().context("not two")?)?;
    let relayed = two.join(discovery.address, &crowd)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let dialled = TcpStream::connect(listener.local_addr()?)?;
    let direct = [dialled, listener.accept()?.0];
    direct.iter().try_for_each(|end| end.set_nodelay(true))?;
    let mut done = Vec::new();
    for (what, link) in [("relayed", relayed), ("direct", direct)] {
        let turn = turns(&link)?;
        let rate = bulk(link)?;
        println!("   {what}: {:.0} MB/s, there and back in {} µs", rate / 1e6, turn.as_micros());
        done.push((rate, turn));
    }
    crowd.finish()?;
    done.try_into().ok().context("not two")
}

pub fn run(options: &Options) -> Result<Vec<Row>> {
    println!("\n== S10: {PAIRS} relayed pairs, and look-ups of others over {ASKING} connections");
    let pairs = rounds(options.keep, |_| round(options))?;
    println!("\n== S10: bytes over a relayed connection, and over a direct one");
    let bytes = rounds(options.keep, |_| bare(options))?;
    let looked = |what: &str, of: fn(&[f64; 3]) -> f64| Row {
        id: "S10",
        what: format!("look-ups, {PAIRS} pairs {what}"),
        reached: per_second(pairs.median(|round| of(&round.looked))),
        against: format!("no links {}", per_second(pairs.median(|round| round.looked[0]))),
        ratio: pairs.median(|round| of(&round.looked) / round.looked[0]),
        goal: Goal::AtLeast(0.8),
        disturbed: pairs.disturbed,
    };
    let [idle, lines, long] =
        [0, 1, 2].map(|at| pairs.median(|round| round.resident.get(at).copied().unwrap_or_default()));
    let threads = pairs.median(|round| round.threads);
    let cost = Row {
        id: "S10",
        what: format!(
            "a pair: {idle:.1} KiB, {lines:.1} after lines, {long:.1} after long messages; threads"
        ),
        reached: format!("{threads:.2}"),
        against: "2".into(),
        ratio: threads / 2.0,
        goal: Goal::AtMost(1.0),
        disturbed: pairs.disturbed,
    };
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let rate = Row {
        id: "S10",
        what: "bytes, relayed".into(),
        reached: format!("{:.0} MB/s", bytes.median(|[relayed, _]| relayed.0) / 1e6),
        against: format!("direct {:.0} MB/s", bytes.median(|[_, direct]| direct.0) / 1e6),
        ratio: bytes.median(|[relayed, direct]| relayed.0 / direct.0),
        goal: Goal::AtLeast(0.45),
        disturbed: bytes.disturbed,
    };
    let turn = Row {
        id: "S10",
        what: format!("{FRAME} bytes there and back, relayed"),
        reached: ms(Duration::from_secs_f64(bytes.median(|[relayed, _]| relayed.1.as_secs_f64()))),
        against: format!("direct {:.0} µs", bytes.median(|[_, direct]| micros(direct.1))),
        ratio: bytes.median(|[relayed, direct]| micros(relayed.1) / micros(direct.1)),
        goal: Goal::AtMost(2.5),
        disturbed: bytes.disturbed,
    };
    Ok(vec![looked("write lines", |all| all[1]), looked("send 16 MiB/s", |all| all[2]), cost, rate, turn])
}
