//! The limits: programs that do nothing but the unavoidable work, each in a process of its own, for what is
//! compared with them are processes too.
//!
//! - `sender` and `receiver`: one SQLite file each; commit, send, commit, acknowledge. Sealed with Noise, for the
//!   stream; in clear, one message in flight, for the round trip.
//! - `server`: a thread for each connection, not encrypted, fixed requests and answers.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use crossbeam_channel::{Sender, bounded};
use peerchat::protocol::MAX_PEER_FRAME;
use peerchat::transport::noise::{self, Keypair, Opener, Purpose, Sealer};
use rusqlite::{Connection, params};

use crate::measure::{self, FIRST, SECOND, pinned};
use crate::quantile;
use crate::server::cpu;

/// How many bytes a message has.
pub const BODY: usize = 100;
/// What a message takes in a frame: its number, then the body.
const MESSAGE: usize = 8 + BODY;
/// How many messages are committed together, and go in one frame.
const GROUP: u64 = 500;
/// How many may be unacknowledged.
const WINDOW: u64 = 10_000;
/// What a request to a server has, and its answer.
pub const REQUEST: usize = 32;
pub const ANSWER: usize = 64;
/// How many requests a server saves in one transaction.
const BATCH: usize = 1024;

/// What came of a pipeline.
pub struct Pipeline {
    pub rate: f64,
    /// From submitting a group to its acknowledgement.
    pub median: Duration,
    pub p99: Duration,
    /// CPU time of either process.
    pub cpu: [Duration; 2],
}

/// The stream: groups, a window, sealed.
pub fn stream(directory: &Path, count: u64) -> Result<Pipeline> {
    pipeline(directory, count, GROUP, WINDOW, true)
}

/// One message in flight, in clear.
pub fn round_trips(directory: &Path, count: u64) -> Result<Pipeline> {
    pipeline(directory, count, 1, 1, false)
}

fn pipeline(directory: &Path, count: u64, group: u64, window: u64, sealed: bool) -> Result<Pipeline> {
    let numbers = [count, group, window, u64::from(sealed)].map(|number| number.to_string());
    let role = |role: &'static str, file: &str| {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(role).arg(directory.join(file)).args(&numbers);
        Ok::<_, anyhow::Error>(command)
    };
    let mut receiver = Role::start(SECOND, role("bare-receiver", "receiver.db")?)?;
    let address = receiver.line()?;
    let mut sender = role("bare-sender", "sender.db")?;
    sender.arg(address);
    let mut sender = Role::start(FIRST, sender)?;
    let words = sender.line()?;
    let numbers: Vec<u64> = words.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [took, median, p99, sender_cpu] = numbers[..] else { bail!("{words:?} from the bare sender") };
    let receiver_cpu = receiver.line()?.parse()?;
    sender.ended()?;
    receiver.ended()?;
    Ok(Pipeline {
        rate: count as f64 / Duration::from_nanos(took).as_secs_f64(),
        median: Duration::from_nanos(median),
        p99: Duration::from_nanos(p99),
        cpu: [sender_cpu, receiver_cpu].map(Duration::from_millis),
    })
}

/// This program in another role, killed when dropped.
pub struct Role {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Role {
    fn start(core: usize, mut command: Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = pinned(core, || Ok(command.spawn()?))?;
        let stdout = BufReader::new(child.stdout.take().context("no pipe")?);
        Ok(Self { child, stdout })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        ensure!(line.ends_with('\n'), "a bare program has ended");
        Ok(line.trim_end().into())
    }

    fn ended(&mut self) -> Result<()> {
        measure::ended(&mut self.child, "a bare program")
    }

    pub fn cpu(&self) -> Result<Duration> {
        cpu(&self.child.id().to_string())
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A bare server on a core of its own, and where it listens. `what` is `nothing`, `map` or `disk`.
pub fn serve(directory: &Path, what: &str) -> Result<(Role, SocketAddr)> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("bare-server").arg(directory.join("server.db")).arg(what);
    let mut role = Role::start(FIRST, command)?;
    let address = role.line()?.parse()?;
    Ok((role, address))
}

/// Plays the role that the arguments name, if they name one.
pub fn play(arguments: &[String]) -> Option<Result<()>> {
    let (role, arguments) = arguments.split_first()?;
    let (file, arguments) = arguments.split_first()?;
    let file = Path::new(file);
    match role.as_str() {
        "bare-receiver" => Some(receive(file, arguments)),
        "bare-sender" => Some(send(file, arguments)),
        "bare-server" => Some(answer(file, arguments.first()?)),
        _ => None,
    }
}

struct Plan {
    count: u64,
    group: u64,
    window: u64,
    sealed: bool,
}

fn plan(arguments: &[String]) -> Result<Plan> {
    let numbers: Vec<u64> = arguments.iter().take(4).filter_map(|number| number.parse().ok()).collect();
    let [count, group, window, sealed] = numbers[..] else { bail!("what is to be done?") };
    Ok(Plan { count, group, window, sealed: sealed == 1 })
}

fn database(file: &Path) -> Result<Connection> {
    let database = Connection::open(file)?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.pragma_update(None, "synchronous", "FULL")?;
    database.execute_batch(
        "CREATE TABLE message (number INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
         CREATE TABLE cursor (only INTEGER PRIMARY KEY, number INTEGER NOT NULL) STRICT",
    )?;
    Ok(database)
}

/// Saves messages from `first` on and the cursor, in one transaction.
fn save<'m>(
    database: &Connection,
    first: u64,
    bodies: impl Iterator<Item = &'m [u8]>,
    cursor: u64,
) -> Result<()> {
    database.prepare_cached("BEGIN")?.execute([])?;
    let mut insert = database.prepare_cached("INSERT INTO message VALUES (?1, ?2)")?;
    for (number, body) in (first..).zip(bodies) {
        insert.execute(params![number.cast_signed(), body])?;
    }
    database
        .prepare_cached("INSERT OR REPLACE INTO cursor VALUES (1, ?1)")?
        .execute([cursor.cast_signed()])?;
    database.prepare_cached("COMMIT")?.execute([])?;
    Ok(())
}

/// Either end of the pipeline.
struct Wire {
    stream: TcpStream,
    sealed: Option<(Opener, Sealer)>,
    buffer: Vec<u8>,
}

impl Wire {
    fn new(stream: TcpStream, session: Option<noise::Session>) -> Result<Self> {
        stream.set_nodelay(true)?;
        let sealed = session.map(|noise::Session { opener, sealer, .. }| (opener, sealer));
        Ok(Self { stream, sealed, buffer: Vec::new() })
    }

    fn write(&mut self, plain: &[u8]) -> Result<()> {
        let Some((_, sealer)) = &mut self.sealed else {
            return Ok(self.stream.write_all(plain)?);
        };
        self.buffer.clear();
        sealer.seal(plain, &mut self.buffer)?;
        Ok(self.stream.write_all(&self.buffer)?)
    }

    /// The next frame; in clear it has `length` bytes.
    fn read(&mut self, length: usize) -> Result<&[u8]> {
        let Some((opener, _)) = &mut self.sealed else {
            self.buffer.resize(length, 0);
            self.stream.read_exact(&mut self.buffer)?;
            return Ok(&self.buffer);
        };
        opener.read(&mut &self.stream, MAX_PEER_FRAME, MAX_PEER_FRAME)?.context("the other end has gone")
    }
}

/// The key of the receiver: the sender has to know it beforehand, and no one else has to be kept out.
fn key() -> Result<Keypair> {
    Keypair::from_secret(&[7; 32]).context("a seed of the other sign")
}

fn receive(file: &Path, arguments: &[String]) -> Result<()> {
    let plan = plan(arguments)?;
    let database = database(file)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    let stream = listener.accept()?.0;
    let key = key()?;
    let shake = || noise::respond(&stream, Purpose::Peer, &key, noise::Deadline::of_handshake());
    let session = plan.sealed.then(shake).transpose()?;
    let mut wire = Wire::new(stream, session)?;
    let mut last = 0;
    while last < plan.count {
        let frame = wire.read(MESSAGE)?;
        let bodies = frame.chunks_exact(MESSAGE);
        let numbered = bodies.clone().filter_map(|message| message.split_first_chunk::<8>());
        let first = last + 1;
        for (number, _) in numbered.clone() {
            last += 1;
            ensure!(u64::from_be_bytes(*number) == last, "a message out of order");
        }
        save(&database, first, numbered.map(|(_, body)| body), last)?;
        wire.write(&last.to_be_bytes())?;
    }
    println!("{}", cpu("self")?.as_millis());
    Ok(())
}

fn send(file: &Path, arguments: &[String]) -> Result<()> {
    let plan = plan(arguments)?;
    let database = database(file)?;
    let address: SocketAddr = arguments.last().context("where to?")?.parse()?;
    let stream = TcpStream::connect(address)?;
    let key = key()?;
    let shake = || {
        let deadline = noise::Deadline::of_handshake();
        noise::initiate(&stream, Purpose::Peer, &key, Some(key.public()), deadline)
    };
    let session = plan.sealed.then(shake).transpose()?;
    let mut wire = Wire::new(stream, session)?;
    let body = [b'x'; BODY];
    let mut frame = Vec::new();
    let mut under_way = std::collections::VecDeque::new();
    let mut times = Vec::new();
    let (mut sent, mut acknowledged) = (0, 0);
    let start = Instant::now();
    while acknowledged < plan.count {
        let group = plan.group.min(plan.count - sent);
        if group > 0 && sent + group - acknowledged <= plan.window {
            let submitted = Instant::now();
            save(&database, sent + 1, (0..group).map(|_| &body[..]), acknowledged)?;
            frame.clear();
            for number in sent + 1..=sent + group {
                frame.extend_from_slice(&number.to_be_bytes());
                frame.extend_from_slice(&body);
            }
            wire.write(&frame)?;
            sent += group;
            under_way.push_back((sent, submitted));
            continue;
        }
        acknowledged = u64::from_be_bytes(wire.read(8)?.try_into()?);
        while let Some((_, submitted)) = under_way.pop_front_if(|(last, _)| *last <= acknowledged) {
            times.push(submitted.elapsed());
        }
    }
    let took = start.elapsed();
    let [median, p99] = [0.5, 0.99].map(|share| quantile(&mut times, share).as_nanos());
    println!("{} {median} {p99} {}", took.as_nanos(), cpu("self")?.as_millis());
    Ok(())
}

/// Something to be saved, and who waits for that.
struct Save {
    request: [u8; REQUEST],
    stream: Arc<TcpStream>,
}

fn answer(file: &Path, what: &str) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    let map: HashMap<[u8; REQUEST], [u8; ANSWER]> =
        (0..1000_u64).map(|number| (request(number), [1; ANSWER])).collect();
    let map = Arc::new((what == "map").then_some(map));
    let saves = (what == "disk").then(|| saver(file)).transpose()?;
    loop {
        let stream = Arc::new(listener.accept()?.0);
        stream.set_nodelay(true)?;
        let (map, saves) = (Arc::clone(&map), saves.clone());
        thread::Builder::new().stack_size(64 * 1024).spawn(move || {
            let mut request = [0; REQUEST];
            while (&*stream).read_exact(&mut request).is_ok() {
                if let Some(saves) = &saves {
                    let _ = saves.send(Save { request, stream: Arc::clone(&stream) });
                    continue;
                }
                let found = map.as_ref().as_ref().map_or(Some(&[1; ANSWER]), |map| map.get(&request));
                if found.is_none_or(|answer| (&*stream).write_all(answer).is_err()) {
                    return;
                }
            }
        })?;
    }
}

/// A request of a bare server; there are a thousand different ones.
pub fn request(number: u64) -> [u8; REQUEST] {
    let mut request = [0; REQUEST];
    for (place, byte) in request.iter_mut().zip((number % 1000).to_be_bytes().into_iter().cycle()) {
        *place = byte;
    }
    request
}

/// Saves what has come, all of it in one transaction, and answers then.
fn saver(file: &Path) -> Result<Sender<Save>> {
    let database = Connection::open(file)?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.pragma_update(None, "synchronous", "FULL")?;
    database.execute_batch("CREATE TABLE pair (key BLOB PRIMARY KEY, value BLOB) STRICT, WITHOUT ROWID")?;
    let (send, saves) = bounded::<Save>(BATCH);
    thread::spawn(move || {
        let mut batch = Vec::new();
        while let Ok(save) = saves.recv() {
            batch.push(save);
            batch.extend(saves.try_iter().take(BATCH - 1));
            let save = || {
                database.prepare_cached("BEGIN")?.execute([])?;
                let mut set = database.prepare_cached("INSERT OR REPLACE INTO pair VALUES (?1, ?2)")?;
                for save in &batch {
                    set.execute(params![save.request, [1_u8; ANSWER]])?;
                }
                database.prepare_cached("COMMIT")?.execute([])
            };
            if let Err(error) = save() {
                eprintln!("bare server: {error}");
                return;
            }
            for save in batch.drain(..) {
                let _ = (&*save.stream).write_all(&[1; ANSWER]);
            }
        }
    });
    Ok(send)
}
