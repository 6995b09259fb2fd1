//! S3: discovery under 50 connections, each with one request in flight. One thread asks for all of them and waits
//! for whichever is answered, so that the generator costs as little as it can.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use peerchat::discovery::registry::MAX_UNANSWERED;
use peerchat::protocol::PublicKey;
use peerchat::protocol::rendezvous::{About, Identify, Request, ToClient, ToDiscovery};
use peerchat::transport::noise::OpenError;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use crate::bare;
use crate::crowd::{self, Account, Client, accounts, at_once};
use crate::measure::{FIRST, Goal, Rounds, Row, SECOND, pinned, rounds};
use crate::server::{Discovery, cpu};
use crate::{Options, ms, per_second, programs, quantile};

/// How many ask.
pub const ASKING: usize = 50;
/// How long look-ups are counted.
pub const TIME: Duration = Duration::from_secs(3);
/// How often each of them registers: no more than a burst of the sessions' allowance and what comes back meanwhile.
const MOVES: u16 = 400;
/// What a round measures.
const NAMES: [&str; 6] =
    ["look-ups", "registrations", "requests", "bare, no work", "bare, from a map", "bare, durable"];
/// How many users each of the 50 asks for.
pub const WANTED: usize = 1000;

/// A client with one request in flight.
pub trait Asker {
    /// Its connection.
    fn stream(&self) -> &TcpStream;
    /// Asks. `false` if there is nothing left to ask.
    fn ask(&mut self) -> Result<bool>;
    /// Reads what there is, without waiting. Whether that was the answer.
    fn answered(&mut self) -> Result<bool>;
}

/// What came of it.
pub struct Load {
    pub rate: f64,
    times: Vec<Duration>,
    /// The share of its core that the generator used.
    generator: f64,
}

/// What is compared: requests a second, and the server's CPU time for each, in microseconds.
#[derive(Clone, Copy, Default)]
pub struct Figure {
    pub rate: f64,
    pub cpu: f64,
}

impl Load {
    /// How it went, in one line. The server had used so much CPU time before and after.
    pub fn say(mut self, what: &str, before: Duration, after: Duration) -> Figure {
        let [median, p99] = [0.5, 0.99].map(|share| ms(quantile(&mut self.times, share)));
        let cpu = (after - before).as_secs_f64() * 1e6 / self.times.len() as f64;
        println!(
            "   {what}: {}, p50 {median}, p99 {p99}; CPU time of the server {cpu:.1} µs a request; generator busy {:.0} % of its core",
            per_second(self.rate),
            self.generator * 100.0
        );
        Figure { rate: self.rate, cpu }
    }
}

/// Has them ask, each again as soon as it is answered, for so long or until nothing is left to ask.
pub fn load<A: Asker + Send>(askers: &mut [A], time: Duration) -> Result<Load> {
    pinned(SECOND, || {
        let poll = epoll::create(CreateFlags::CLOEXEC)?;
        for (at, asker) in askers.iter().enumerate() {
            asker.stream().set_nonblocking(true)?;
            epoll::add(&poll, asker.stream().as_fd(), EventData::new_u64(at as u64), EventFlags::IN)?;
        }
        let mut times = Vec::new();
        let busy = cpu("self")?;
        let start = Instant::now();
        let mut under_way = 0;
        let mut since = vec![start; askers.len()];
        for asker in askers.iter_mut() {
            under_way += usize::from(asker.ask()?);
        }
        let mut events = Vec::with_capacity(ASKING);
        while under_way > 0 {
            events.clear();
            epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None)?;
            for event in &events {
                let at = usize::try_from(event.data.u64())?;
                let asker = askers.get_mut(at).context("no client asked that")?;
                if !asker.answered()? {
                    continue;
                }
                let now = Instant::now();
                let since = since.get_mut(at).context("no client asked that")?;
                times.push(now - *since);
                *since = now;
                under_way -= 1;
                if now - start < time && asker.ask()? {
                    under_way += 1;
                }
            }
        }
        let took = start.elapsed().as_secs_f64();
        let generator = (cpu("self")? - busy).as_secs_f64() / took;
        Ok(Load { rate: times.len() as f64 / took, times, generator })
    })
}

/// A session with discovery that asks whose a key is, another one each time.
pub struct Looks<'k> {
    client: Client,
    keys: &'k [PublicKey],
    at: usize,
}

impl<'k> Looks<'k> {
    /// As many as there are accounts, all over the keys.
    pub fn all(to: SocketAddr, accounts: &[Arc<Account>], keys: &'k [PublicKey]) -> Result<Vec<Self>> {
        let clients = at_once(accounts, |account| Client::synced(to, account))?;
        let each = keys.len() / clients.len().max(1);
        Ok(clients.into_iter().enumerate().map(|(at, client)| Self { client, keys, at: at * each }).collect())
    }
}

impl Asker for Looks<'_> {
    fn stream(&self) -> &TcpStream {
        &self.client.stream
    }

    fn ask(&mut self) -> Result<bool> {
        // A prime: a stride that visits all of them, far from each other.
        self.at = (self.at + 7919) % self.keys.len();
        let key = *self.keys.get(self.at).context("no key")?;
        self.client.say(&[ToDiscovery::Identify(Identify { key })])?;
        Ok(true)
    }

    fn answered(&mut self) -> Result<bool> {
        match hear(&mut self.client)? {
            Some(ToClient::Identity(identity)) => {
                ensure!(self.keys.get(self.at) == Some(&identity.key), "the answer to another question");
                ensure!(identity.name.is_some(), "a user is not found");
                Ok(true)
            }
            Some(other) => bail!("{other:?} instead of an identity"),
            None => Ok(false),
        }
    }
}

/// What has come, if anything has.
pub fn hear(client: &mut Client) -> Result<Option<ToClient>> {
    match client.hear() {
        Ok(message) => Ok(Some(message)),
        Err(error) => match error.downcast_ref::<OpenError>() {
            Some(OpenError::Io(io)) if io.kind() == ErrorKind::WouldBlock => Ok(None),
            _ => Err(error),
        },
    }
}

/// A session that registers a new address each time.
pub struct Registers {
    client: Client,
    account: Arc<Account>,
    port: u16,
}

impl Registers {
    /// One of each account, in turn with one of these.
    pub fn all(to: &[SocketAddr], accounts: &[Arc<Account>]) -> Result<Vec<Self>> {
        let places: Vec<usize> = (0..accounts.len()).collect();
        at_once(&places, |place| {
            let account = Arc::clone(accounts.get(*place).context("no such place")?);
            let to = *to.get(place % to.len().max(1)).context("to which one?")?;
            Ok(Self { client: Client::synced(to, &account)?, account, port: 0 })
        })
    }
}

impl Asker for Registers {
    fn stream(&self) -> &TcpStream {
        &self.client.stream
    }

    fn ask(&mut self) -> Result<bool> {
        self.port += 1;
        if self.port <= MOVES {
            self.client.register(&self.account, 1000 + self.port)?;
        }
        Ok(self.port <= MOVES)
    }

    fn answered(&mut self) -> Result<bool> {
        loop {
            match hear(&mut self.client)? {
                Some(ToClient::Synced) => return Ok(true),
                Some(ToClient::Registered(registered)) => {
                    ensure!(registered.address == crowd::address(1000 + self.port), "another address");
                }
                Some(other) => bail!("{other:?} instead of a registration"),
                None => return Ok(false),
            }
        }
    }
}

/// A session that asks for one user after the other; each request is kept, for they are not there. Once it has as many as
/// an account may, it withdraws an older one with each.
struct Wants<'n> {
    client: Client,
    wanted: &'n [Arc<Account>],
    at: usize,
}

impl Asker for Wants<'_> {
    fn stream(&self) -> &TcpStream {
        &self.client.stream
    }

    fn ask(&mut self) -> Result<bool> {
        let name = |at: usize| self.wanted.get(at).map(|account| account.name.clone());
        let Some(next) = name(self.at) else {
            return Ok(false);
        };
        let oldest = self.at.checked_sub(MAX_UNANSWERED).and_then(name);
        let withdrawn = oldest.map(|name| ToDiscovery::Drop(About { name }));
        let request = ToDiscovery::Request(Request { name: next, typed: true });
        self.client.say(&withdrawn.into_iter().chain([request]).collect::<Vec<_>>())?;
        self.at += 1;
        Ok(true)
    }

    fn answered(&mut self) -> Result<bool> {
        match hear(&mut self.client)? {
            Some(ToClient::Status(_)) => Ok(true),
            Some(other) => bail!("{other:?} instead of a status"),
            None => Ok(false),
        }
    }
}

/// A connection to a bare server.
struct Bare {
    stream: TcpStream,
    number: u64,
    read: usize,
}

impl Asker for Bare {
    fn stream(&self) -> &TcpStream {
        &self.stream
    }

    fn ask(&mut self) -> Result<bool> {
        self.number += 7919;
        self.stream.write_all(&bare::request(self.number))?;
        Ok(true)
    }

    fn answered(&mut self) -> Result<bool> {
        match self.stream.read(&mut [0; bare::ANSWER]) {
            Ok(0) => bail!("a bare server has ended"),
            Ok(read) => self.read += read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        let whole = self.read == bare::ANSWER;
        if whole {
            self.read = 0;
        }
        Ok(whole)
    }
}

/// How a bare server does.
fn bare(options: &Options, what: &str) -> Result<Figure> {
    let scratch = options.scratch("bare")?;
    let (role, to) = bare::serve(scratch.path(), what)?;
    let mut askers = Vec::new();
    for number in 0..ASKING as u64 {
        let stream = TcpStream::connect(to)?;
        stream.set_nodelay(true)?;
        askers.push(Bare { stream, number, read: 0 });
    }
    let before = role.cpu()?;
    let load = load(&mut askers, TIME)?;
    let after = role.cpu()?;
    Ok(load.say(&format!("bare server, {what}"), before, after))
}

/// How discovery does: look-ups, registrations, requests kept.
pub fn discovery(options: &Options) -> Result<[Figure; 3]> {
    let scratch = options.scratch("requests")?;
    let all = accounts(0, ASKING + WANTED)?;
    let (asking, wanted) = all.split_at(ASKING);
    crowd::write(&scratch.db(), &all, &[])?;
    let discovery = pinned(FIRST, || Discovery::start(programs()?, &scratch.db(), 0, &[]))?;
    let to = discovery.address;

    let keys: Vec<PublicKey> = all.iter().map(|account| account.keypair.public()).collect();
    let mut askers = Looks::all(to, asking, &keys)?;
    let before = discovery.cpu()?;
    let looked = load(&mut askers, TIME)?;
    let looked = looked.say("look-ups", before, discovery.cpu()?);
    drop(askers);

    let mut askers = Registers::all(&[to], asking)?;
    let before = discovery.cpu()?;
    let registered = load(&mut askers, TIME * 10)?;
    let registered = registered.say("registrations", before, discovery.cpu()?);
    drop(askers);

    let mut askers: Vec<Wants> =
        at_once(asking, |account| Ok(Wants { client: Client::synced(to, account)?, wanted, at: 0 }))?;
    let before = discovery.cpu()?;
    let kept = load(&mut askers, TIME * 10)?;
    let kept = kept.say("requests kept", before, discovery.cpu()?);
    Ok([looked, registered, kept])
}

pub fn run(options: &Options) -> Result<Vec<Row>> {
    println!("\n== S3: {ASKING} connections to discovery, one request in flight each");
    let rounds = rounds(options.keep, |_| {
        let [looked, registered, kept] = discovery(options)?;
        let [nothing, map, disk] = ["nothing", "map", "disk"].map(|what| bare(options, what));
        Ok([looked, registered, kept, nothing?, map?, disk?])
    })?;
    let rounds = Measured { id: "S3", rounds: &rounds, names: NAMES };
    // The goals are against Redis, see `peers`. Here they are what those are of the bare server: for look-ups where the
    // goals were set, for registrations in the runs of `docs/performance.md`.
    Ok([
        rounds.rows("look-ups", 0, 4, Goal::AtLeast(0.72)),
        rounds.rows("look-ups", 0, 3, Goal::None),
        rounds.rows("durable registrations", 1, 5, Goal::AtLeast(0.53)),
        rounds.rows("durable requests", 2, 5, Goal::None),
    ]
    .concat())
}

/// Rounds of figures that have names.
pub struct Measured<'r, const N: usize> {
    pub id: &'static str,
    pub rounds: &'r Rounds<[Figure; N]>,
    pub names: [&'static str; N],
}

impl<const N: usize> Measured<'_, N> {
    /// One of them against another: how many a second, and what each costs.
    pub fn rows(&self, what: &str, own: usize, other: usize, goal: Goal) -> Vec<Row> {
        let of = |place: usize, figure: fn(&Figure) -> f64| {
            self.rounds.median(|round| round.get(place).map_or(0.0, figure))
        };
        let share = |round: &[Figure; N]| {
            round.get(own).zip(round.get(other)).map_or(0.0, |(own, other)| own.rate / other.rate)
        };
        let name = self.names.get(other).copied().unwrap_or_default();
        let rate: fn(&Figure) -> f64 = |figure| figure.rate;
        let cpu: fn(&Figure) -> f64 = |figure| figure.cpu;
        let disturbed = self.rounds.disturbed;
        let row = Row {
            id: self.id,
            what: what.into(),
            reached: per_second(of(own, rate)),
            against: format!("{name} {}", per_second(of(other, rate))),
            ratio: self.rounds.median(share),
            goal,
            disturbed,
        };
        vec![row, Row::cpu(self.id, what, of(own, cpu), name, of(other, cpu), disturbed)]
    }
}
