//! S7: one client sends to 200 linked peers at once. The peers are raw: they speak the protocol from this process,
//! keep nothing and show nothing, for 200 real clients would measure themselves.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use peerchat::protocol::peer::{Cursor, Hello, Peer, Via};
use peerchat::protocol::{MAX_PEER_FRAME, Name, PublicKey, codec};
use peerchat::store::journal::{Journal, Standing};
use peerchat::transport::noise::{self, OpenError, Opener, Purpose, Sealer};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use crate::chat::{Lines, Pair, Person, kind, place, register, text};
use crate::crowd::{Account, accounts};
use crate::measure::{FIRST, Goal, Row, SECOND, or_kill, per_second, pinned, rounds};
use crate::server::{Discovery, cpu};
use crate::stream::{COUNT, Stream, stream};
use crate::{Options, programs};

/// How many peers there are.
const PEERS: usize = 200;
/// How many bytes each takes unacknowledged, as a client does.
const WINDOW: u32 = 1024 * 1024;

/// The peer at the other end of a link.
struct Raw {
    stream: TcpStream,
    opener: Opener,
    sealer: Sealer,
    wire: Vec<u8>,
    /// The number of the text that must come next.
    next: u64,
}

impl Raw {
    fn link(person: &Person, key: PublicKey, account: &Account, first: u64) -> Result<Self> {
        let stream = TcpStream::connect(person.address)?;
        stream.set_nodelay(true)?;
        let deadline = noise::Deadline::of_handshake();
        let session = noise::initiate(&stream, Purpose::Peer, &account.keypair, Some(key), deadline)?;
        let noise::Session { opener, sealer, .. } = session;
        let mut raw = Self { stream, opener, sealer, wire: Vec::new(), next: first };
        let name = account.name.clone();
        raw.say(&Peer::Hello(Hello {
            name,
            epoch: first,
            port: 0,
            window: WINDOW,
            cursors: Vec::new(),
            hold: None,
            via: Via::Direct,
            linked: true,
            room: false,
        }))?;
        raw.expect("hello", |said| matches!(said, Peer::Hello(_)))?;
        if account.keypair.public() < key {
            raw.say(&Peer::Keep(1))?;
        } else {
            raw.expect("keep", |said| matches!(said, Peer::Keep(_)))?;
        }
        raw.stream.set_nonblocking(true)?;
        Ok(raw)
    }

    fn expect(&mut self, what: &str, is: impl Fn(&Peer) -> bool) -> Result<()> {
        let frame = self.opener.read(&mut &self.stream, MAX_PEER_FRAME, MAX_PEER_FRAME)?.context("cut")?;
        ensure!(codec::decode(frame)?.first().is_some_and(is), "something else instead of a {what}");
        Ok(())
    }

    fn say(&mut self, message: &Peer) -> Result<()> {
        let mut plain = Vec::new();
        codec::encode(message, &mut plain);
        self.wire.clear();
        self.sealer.seal(&plain, &mut self.wire)?;
        Ok(self.stream.write_all(&self.wire)?)
    }

    /// Takes what has come and acknowledges it; how many messages that were.
    fn take(&mut self) -> Result<u64> {
        let mut last: Option<Cursor> = None;
        let mut count = 0;
        loop {
            let frame = match self.opener.read(&mut &self.stream, MAX_PEER_FRAME, MAX_PEER_FRAME) {
                Ok(frame) => frame.context("the sender has ended a link")?,
                Err(OpenError::Io(error)) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            };
            for message in codec::decode::<Peer>(frame)? {
                match message {
                    Peer::Message(message) => {
                        let number = String::from_utf8_lossy(&message.body);
                        let number = number.split(' ').next().and_then(|number| number.parse().ok());
                        ensure!(number == Some(self.next), "{number:?} instead of {}", self.next);
                        ensure!(
                            last.is_none_or(|last| last.number < message.number),
                            "numbers that do not rise"
                        );
                        self.next += PEERS as u64;
                        last = Some(message.cursor());
                        count += 1;
                    }
                    Peer::Ping => {}
                    other => bail!("{other:?} instead of a message"),
                }
            }
        }
        if let Some(last) = last {
            self.say(&Peer::Ack(last))?;
        }
        Ok(count)
    }
}

/// Takes messages for all of them until there have been so many.
fn take(peers: &mut [Raw], count: u64) -> Result<()> {
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    for (at, peer) in peers.iter().enumerate() {
        epoll::add(&poll, peer.stream.as_fd(), EventData::new_u64(at as u64), EventFlags::IN)?;
    }
    let mut left = count;
    let mut events = Vec::<Event>::with_capacity(PEERS);
    while left > 0 {
        events.clear();
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            let peer = peers.get_mut(usize::try_from(event.data.u64())?).context("no such peer")?;
            left = left.checked_sub(peer.take()?).context("more messages than were sent")?;
        }
    }
    Ok(())
}

/// Each is said to be delivered once.
fn delivered(lines: &mut Lines, count: u64) -> Result<()> {
    let mut seen = std::collections::HashSet::new();
    while seen.len() as u64 != count {
        let line = lines.next()?;
        ensure!(kind(line) != b"error", "{}", String::from_utf8_lossy(line));
        if kind(line) == b"delivered" {
            let place = place(line).context("without an id")?;
            ensure!(seen.insert(place), "delivered twice: {}", String::from_utf8_lossy(line));
        }
    }
    Ok(())
}

/// Sends so many messages to all of them in turn. With `stalled`, one of them does not read, and only what goes to
/// the others counts.
fn fan(options: &Options, count: u64, stalled: bool) -> Result<Stream> {
    let scratch = options.scratch("fan")?;
    let name: Name = "alice".parse()?;
    let accounts = accounts(0, PEERS)?;
    let journal = Journal::open(&scratch.path().join("alice.journal"), &name)?;
    let key = journal.identity()?.1.public();
    journal.begin()?;
    for account in &accounts {
        let mut contact = journal.add_contact(&account.name, Standing::Contact)?;
        contact.identity.key = Some(account.keypair.public());
        journal.save_identity(contact.id, &contact.identity)?;
    }
    journal.commit()?;
    drop(journal);
    let names: Vec<Name> =
        std::iter::once(name).chain(accounts.iter().map(|account| account.name.clone())).collect();
    let keys: Vec<PublicKey> =
        std::iter::once(key).chain(accounts.iter().map(|account| account.keypair.public())).collect();
    register(&scratch.db(), &names, &keys)?;
    let discovery = Discovery::start(programs()?, &scratch.db(), 0, &[])?;
    let mut sender = Person::start(FIRST, scratch.path(), "alice", discovery.address)?;
    let link = |(first, account): (usize, &Arc<Account>)| Raw::link(&sender, key, account, first as u64);
    let mut peers = accounts.iter().enumerate().map(link).collect::<Result<Vec<_>>>()?;
    for _ in &accounts {
        sender.wait_for_link("direct")?;
    }
    // It stays connected, and takes nothing.
    let silent = if stalled { peers.pop() } else { None };
    let counted = count / PEERS as u64 * peers.len() as u64;

    let line = |number: u64| format!("CHAT user{} {}\n", number % PEERS as u64, text(number));
    let lines: String = (0..count).map(line).collect();
    let before = [sender.cpu()?, cpu("self")?];
    let stdin = sender.stdin.as_mut().context("its input is closed")?;
    let told = &mut sender.lines;
    let start = Instant::now();
    let took = thread::scope(|scope| {
        let writing = scope.spawn(move || or_kill(|| Ok(stdin.write_all(lines.as_bytes())?)));
        let telling = scope.spawn(move || or_kill(|| delivered(told, counted)));
        let peers = &mut peers;
        let taking = scope.spawn(move || or_kill(|| pinned(SECOND, || take(peers, counted))));
        for done in [taking, telling, writing].map(thread::ScopedJoinHandle::join) {
            done.map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        }
        Ok::<_, anyhow::Error>(start.elapsed())
    })?;
    let [busy, generator] = [sender.cpu()? - before[0], cpu("self")? - before[1]];
    if silent.is_none() {
        sender.leave()?;
    }
    Ok(Stream { count: counted, took, cpu: [busy, Duration::ZERO, generator] })
}

pub fn run(options: &Options) -> Result<Vec<Row>> {
    println!("\n== S7: {COUNT} messages to {PEERS} peers");
    let rounds = rounds(options.keep, |_| {
        let scratch = options.scratch("stream")?;
        let mut pair = Pair::fresh(&scratch)?;
        let one = stream(&mut pair, COUNT)?;
        pair.leave()?;
        one.say("to one client");
        let all = fan(options, COUNT, false)?;
        all.say("to all");
        let others = fan(options, COUNT, true)?;
        others.say("to all but one that is stalled");
        Ok([all.rate(), one.rate(), others.rate(), all.busiest(), one.busiest()])
    })?;
    let one = per_second(rounds.median(|round| round[1]));
    let all = rounds.median(|round| round[0]);
    let cpu = |place: usize| rounds.median(|round| round.get(place).copied().unwrap_or_default());
    Ok(vec![
        Row::cpu("S7", "a message to one of 200", cpu(3), "to one client", cpu(4), rounds.disturbed),
        Row {
            id: "S7",
            what: "to 200 peers at once".into(),
            reached: per_second(all),
            against: format!("to one (S1) {one}"),
            ratio: rounds.median(|round| round[0] / round[1]),
            goal: Goal::AtLeast(0.7),
            disturbed: rounds.disturbed,
        },
        Row {
            id: "S7",
            what: "the others, one of the 200 stalled".into(),
            reached: per_second(rounds.median(|round| round[2])),
            against: format!("none stalled {}", per_second(all)),
            ratio: rounds.median(|round| round[2] / round[0]),
            goal: Goal::AtLeast(0.95),
            disturbed: rounds.disturbed,
        },
    ])
}
