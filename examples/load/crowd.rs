//! Clients: one at a time, and thousands that idle.

use std::collections::VecDeque;
use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use crossbeam_channel::{Receiver, Sender, unbounded};
use peerchat::accounts::{self, ALONE, Change, Presence, Registration, UserId};
use peerchat::protocol::rendezvous::{Identify, Register, Status, Strangers, ToClient, ToDiscovery};
use peerchat::protocol::{DEAD_AFTER, HANDSHAKE_DEADLINE, Name, PING_AFTER, PublicKey, codec};
use peerchat::store::directory::Directory;
use peerchat::transport::noise::{self, Keypair, OpenError, Opener, Purpose, Sealer};
use socket2::{Domain, Protocol, Socket, Type};

/// How many handshakes are done at once when a crowd is brought up.
const DIALLERS: usize = 128;
/// How many threads keep a crowd alive.
const KEEPERS: usize = 2;
/// How many clients come from one address.
const PER_ADDRESS: usize = 250;
/// A thread here does nothing deep.
const STACK: usize = 256 * 1024;

/// Who a client is.
pub struct Account {
    pub name: Name,
    pub keypair: Keypair,
    /// Where it comes from: another loopback address for every few, so that there are enough ports.
    pub from: Ipv4Addr,
}

/// So many accounts, `first` and the following numbers.
pub fn accounts(first: usize, count: usize) -> Result<Vec<Arc<Account>>> {
    let account = |number: usize| -> Result<Arc<Account>> {
        let block = u16::try_from(number / PER_ADDRESS)?.to_be_bytes();
        let from = Ipv4Addr::new(127, 1, block[0], block[1]);
        Ok(Arc::new(Account { name: format!("user{number}").parse()?, keypair: Keypair::generate()?, from }))
    };
    (first..first + count).map(account).collect()
}

/// Writes a database in which `accounts` exist, and are connected as `pairs` of places in it says.
pub fn write(db: &Path, accounts: &[Arc<Account>], pairs: &[(usize, usize)]) -> Result<()> {
    let id = |place: usize| UserId::try_from(place).map(|place| place + 1);
    let mut changes = Vec::new();
    for (place, account) in accounts.iter().enumerate() {
        changes.push(new_user(id(place)?, &account.name, account.keypair.public()));
    }
    for (one, other) in pairs {
        changes.push(Change::AddConnection { one: id(*one)?, other: id(*other)?, now: 0 });
    }
    Ok(Directory::open(db)?.save(&changes)?)
}

/// A user who has never been online.
pub fn new_user(id: UserId, name: &Name, key: PublicKey) -> Change {
    let address = address(1);
    let registration = Registration { address, observed: address.ip(), strangers: Strangers::All };
    let account = accounts::Account { id, name: name.clone(), key, registration };
    Change::AddUser { account, presence: Presence::new(ALONE, 0, address), now: 0 }
}

/// Where a client says that it listens. None does.
pub fn address(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// A client that does exactly what it is told.
pub struct Client {
    pub stream: TcpStream,
    opener: Opener,
    sealer: Sealer,
    unread: VecDeque<ToClient>,
}

impl Client {
    /// Connects and proves a key, within the time that a client gives itself.
    pub fn connect(to: SocketAddr, account: &Account) -> Result<Self> {
        let deadline = noise::Deadline::of_handshake();
        let stream = dial(to, account.from)?;
        let session = noise::initiate(&stream, Purpose::Rendezvous, &account.keypair, None, deadline)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DEAD_AFTER))?;
        stream.set_write_timeout(Some(DEAD_AFTER))?;
        let noise::Session { opener, sealer, .. } = session;
        Ok(Self { stream, opener, sealer, unread: VecDeque::new() })
    }

    /// The same, and registers. What discovery knows of contacts is still to come.
    pub fn log_in(to: SocketAddr, account: &Account) -> Result<Self> {
        let mut client = Self::connect(to, account)?;
        client.register(account, 2)?;
        match client.hear()? {
            ToClient::Registered(_) => Ok(client),
            other => bail!("{other:?} instead of a registration"),
        }
    }

    /// The same, and reads all that discovery knows of contacts.
    pub fn synced(to: SocketAddr, account: &Account) -> Result<Self> {
        let mut client = Self::log_in(to, account)?;
        while client.hear()? != ToClient::Synced {}
        Ok(client)
    }

    pub fn register(&mut self, account: &Account, port: u16) -> Result<()> {
        self.say(&[ToDiscovery::Register(Register::new(
            account.name.clone(),
            address(port),
            None,
            Strangers::All,
        ))])
    }

    /// Says all of it in one frame.
    pub fn say(&mut self, messages: &[ToDiscovery]) -> Result<()> {
        let mut frame = Vec::new();
        messages.iter().for_each(|message| codec::encode(message, &mut frame));
        let mut wire = Vec::new();
        self.sealer.seal(&frame, &mut wire)?;
        Ok(self.stream.write_all(&wire)?)
    }

    /// The next message.
    pub fn hear(&mut self) -> Result<ToClient> {
        loop {
            if let Some(message) = self.unread.pop_front() {
                return Ok(message);
            }
            let frame = self.opener.read(&mut &self.stream, 65_519, 1024)?.context("the session is over")?;
            self.unread.extend(codec::decode::<ToClient>(frame)?);
        }
    }

    /// What has come and is not yet heard, without waiting. For a stream that does not block.
    pub fn heard(&mut self, mut each: impl FnMut(&ToClient)) -> Result<()> {
        self.unread.drain(..).for_each(|message| each(&message));
        loop {
            match self.opener.read(&mut &self.stream, 65_519, 1024) {
                Ok(frame) => {
                    let frame = frame.context("the session is over")?;
                    codec::decode::<ToClient>(frame)?.iter().for_each(&mut each);
                }
                Err(OpenError::Io(error)) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Asks whose key that is, and waits for the answer.
    pub fn identify(&mut self, key: PublicKey) -> Result<Duration> {
        let start = Instant::now();
        self.say(&[ToDiscovery::Identify(Identify { key })])?;
        loop {
            match self.hear()? {
                ToClient::Identity(identity) => {
                    ensure!(identity.key == key, "the answer to another question");
                    return Ok(start.elapsed());
                }
                ToClient::Refused(refused) => bail!("{}", refused.code),
                _ => {}
            }
        }
    }

    /// Pings, and waits for the answer.
    pub fn ping(&mut self) -> Result<Duration> {
        let start = Instant::now();
        self.say(&[ToDiscovery::Ping])?;
        while self.hear()? != ToClient::Pong {}
        Ok(start.elapsed())
    }

    /// The two halves, to read and write at the same time.
    pub fn split(self) -> (TcpStream, Opener, Sealer) {
        (self.stream, self.opener, self.sealer)
    }
}

/// A connection from another address of this machine.
pub fn dial(to: SocketAddr, from: Ipv4Addr) -> Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.connect_timeout(&to.into(), HANDSHAKE_DEADLINE)?;
    Ok(socket.into())
}

/// Does `each` for all of `items`, some at once.
pub fn at_once<'t, T: Sync, R: Send>(
    items: &'t [T],
    each: impl Fn(&'t T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push(each(item)?);
        }
        Ok::<_, anyhow::Error>(done)
    };
    thread::scope(|scope| {
        let start = || thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
        let workers: Vec<_> = (0..DIALLERS.min(items.len())).map(|_| start()).collect::<Result<_, _>>()?;
        let mut done = Vec::with_capacity(items.len());
        for worker in workers {
            done.extend(worker.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??);
        }
        Ok(done)
    })
}

/// Clients that idle: they ping in time, and read what comes when they do.
pub struct Crowd {
    join: Vec<Sender<Client>>,
    next: AtomicUsize,
    over: Arc<AtomicBool>,
    tally: Arc<Tally>,
    keepers: Vec<JoinHandle<Result<()>>>,
}

#[derive(Default)]
struct Tally {
    pings: AtomicU64,
    pongs: AtomicU64,
    lost: AtomicU64,
    /// Who was called offline, each time.
    offline: Mutex<Vec<Name>>,
}

impl Crowd {
    pub fn new() -> Self {
        let (over, tally) = (Arc::new(AtomicBool::new(false)), Arc::new(Tally::default()));
        let (join, keepers) = (0..KEEPERS)
            .map(|_| {
                let (join, joining) = unbounded();
                let (over, tally) = (Arc::clone(&over), Arc::clone(&tally));
                (join, thread::spawn(move || keep(&joining, &over, &tally)))
            })
            .unzip();
        Self { join, next: AtomicUsize::new(0), over, tally, keepers }
    }

    pub fn add(&self, client: Client) -> Result<()> {
        let keeper = self.next.fetch_add(1, Ordering::Relaxed) % KEEPERS;
        client.stream.set_nonblocking(true)?;
        self.join.get(keeper).context("no keeper")?.send(client).ok().context("its thread is gone")
    }

    /// Brings all of them online.
    pub fn bring(&self, to: SocketAddr, accounts: &[Arc<Account>]) -> Result<()> {
        at_once(accounts, |account| self.add(Client::synced(to, account)?)).map(drop)
    }

    /// How many sessions have been lost so far.
    pub fn lost(&self) -> u64 {
        self.tally.lost.load(Ordering::Relaxed)
    }

    /// Who was called offline so far, as often as that was heard.
    #[allow(dead_code, reason = "for the benchmark `speed`")]
    pub fn called_offline(&self) -> Vec<Name> {
        self.tally.offline.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends all sessions, if each is well and every ping was answered; how many pings that were.
    pub fn finish(self) -> Result<u64> {
        let tally = Arc::clone(&self.tally);
        self.disperse()?;
        let [pings, pongs, lost] =
            [&tally.pings, &tally.pongs, &tally.lost].map(|count| count.load(Ordering::Relaxed));
        ensure!(lost == 0, "{lost} sessions were lost");
        ensure!(pings == pongs, "{pongs} answers to {pings} pings");
        Ok(pings)
    }

    /// Ends all sessions.
    pub fn disperse(self) -> Result<()> {
        self.over.store(true, Ordering::Relaxed);
        drop(self.join);
        for keeper in self.keepers {
            keeper.join().map_err(|_| anyhow::anyhow!("a keeper panicked"))??;
        }
        Ok(())
    }
}

/// Keeps clients alive until it is over, then hears the last answers of each.
fn keep(joining: &Receiver<Client>, over: &AtomicBool, tally: &Tally) -> Result<()> {
    let mut clients: VecDeque<(Instant, Client)> = VecDeque::new();
    let count = |message: &ToClient| match message {
        ToClient::Pong => _ = tally.pongs.fetch_add(1, Ordering::Relaxed),
        ToClient::Status(Status { name, online: Some(false), .. }) => {
            tally.offline.lock().unwrap_or_else(PoisonError::into_inner).push(name.clone());
        }
        _ => {}
    };
    while !over.load(Ordering::Relaxed) {
        let now = Instant::now();
        clients.extend(joining.try_iter().map(|client| (now + PING_AFTER, client)));
        while let Some((_, mut client)) = clients.pop_front_if(|(due, _)| *due <= now) {
            match client.heard(count).and_then(|()| client.say(&[ToDiscovery::Ping])) {
                Ok(()) => {
                    tally.pings.fetch_add(1, Ordering::Relaxed);
                    clients.push_back((now + PING_AFTER, client));
                }
                Err(_) => _ = tally.lost.fetch_add(1, Ordering::Relaxed),
            }
        }
        thread::sleep(Duration::from_millis(2));
    }
    thread::sleep(Duration::from_secs(1));
    for (_, mut client) in clients {
        if client.heard(count).is_err() {
            tally.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// A client that pings every few milliseconds, and how long each answer took.
pub struct Probe {
    over: Arc<AtomicBool>,
    probing: JoinHandle<Result<Vec<Duration>>>,
}

impl Probe {
    pub fn start(mut client: Client) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&over);
        let probing = thread::spawn(move || {
            let mut times = Vec::new();
            while !until.load(Ordering::Relaxed) {
                times.push(client.ping()?);
                thread::sleep(Duration::from_millis(5));
            }
            Ok(times)
        });
        Self { over, probing }
    }

    /// The times, if the session is still well.
    pub fn times(self) -> Result<Vec<Duration>> {
        self.over.store(true, Ordering::Relaxed);
        let times = self.probing.join().map_err(|_| anyhow::anyhow!("the probe panicked"))?;
        times.context("the session that is measured with")
    }
}
