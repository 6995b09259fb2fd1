//! S14: the full screen at a pseudo-terminal, with a long journal: from a key to the changed screen while messages arrive, and what
//! it takes where nothing happens.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use peerchat::store::journal::Journal;
use pty_process::Size;
use pty_process::blocking::{Command, open};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::chat::{Person, kind, make, text};
use crate::measure::{FIRST, Goal, Row, SECOND, pinned, rounds};
use crate::server::{self, Discovery};
use crate::{Options, ms, programs, quantile};

/// How many messages are in each journal.
const MESSAGES: u64 = 1_000_000;
/// How many are put into the index at once.
const SLICE: u32 = 50_000;
/// How many arrive in a second.
const RATE: u32 = 1000;
/// How many keys a round has for each conversation.
const KEYS: u64 = 500;
/// How many are typed before the line is emptied.
const LINE: u64 = 40;
/// The time between two keys, in milliseconds.
const PAUSE: std::ops::Range<u64> = 15..45;
/// How long it is watched doing nothing, and how long before that nothing happens already.
const IDLE: Duration = Duration::from_secs(60);
const SETTLES: Duration = Duration::from_secs(5);
/// How long anything may take to be on the screen.
const DEADLINE: Duration = Duration::from_secs(20);
/// The terminal's columns and rows.
const SIZE: (u16, u16) = (120, 40);
/// Where the line that is typed begins: right of the list and its border, behind the prompt.
const TYPED: u16 = 24 + 1 + 2;

pub fn run(options: &Options) -> Result<Vec<Row>> {
    let messages = options.scaled(MESSAGES);
    println!("\n== S14: the full screen, {messages} messages in both journals, {RATE} a second arriving");
    let full = options.scratch("screen")?;
    make(&full, messages)?;
    index(full.path(), "bob")?;
    let discovery = Discovery::start(programs()?, &full.db(), 0, &[])?;
    let start = Instant::now();
    let mut bob = Screen::start(full.path(), "bob", discovery.address)?;
    bob.expect("discovery: up")?;
    println!("   it is drawn and registered after {}", ms(start.elapsed()));
    let mut alice = Person::start(FIRST, full.path(), "alice", discovery.address)?;
    alice.wait_for_link("direct")?;
    let mut carol = Person::start(FIRST, full.path(), "carol", discovery.address)?;
    carol.say("REQUEST bob")?;
    carol.wait_for_link("direct")?;
    let idle = idle(&mut bob, options)?;

    let mut rows = Vec::new();
    let rounds = rounds(options.keep, |round| {
        let mut elsewhere = bob.while_arriving(&mut alice, options, "carol")?;
        let mut shown = bob.while_arriving(&mut alice, options, "alice")?;
        for (what, times) in [("another conversation", &mut elsewhere), ("the shown one", &mut shown)] {
            println!(
                "   round {}, arriving in {what}: p50 {}, p99 {}, most {}",
                round + 1,
                ms(quantile(times, 0.5)),
                ms(quantile(times, 0.99)),
                ms(quantile(times, 1.0))
            );
        }
        Ok([elsewhere, shown])
    })?;
    for (place, what) in ["another conversation", "the shown one"].into_iter().enumerate() {
        // Of all keys of the rounds that count, for a hundredth of one round are too few.
        let mut times: Vec<Duration> =
            rounds.kept.iter().filter_map(|round| round.get(place)).flatten().copied().collect();
        let [median, p99] = [0.5, 0.99].map(|share| quantile(&mut times, share));
        rows.push(Row {
            id: "S14",
            what: format!("key to screen, {RATE}/s in {what}, median; 99 of 100"),
            reached: format!("{}; {}", ms(median), ms(p99)),
            against: "16 ms".into(),
            ratio: p99.as_secs_f64() * 1000.0 / 16.0,
            goal: Goal::AtMost(1.0),
            disturbed: rounds.disturbed,
        });
    }
    rows.push(idle);
    let resident = server::usage(&bob.pid())?.resident as f64 / 1024.0;
    rows.push(Row {
        id: "S14",
        what: format!("resident with {messages} messages, after all that"),
        reached: format!("{resident:.1} MiB"),
        against: "64 MiB".into(),
        ratio: resident / 64.0,
        goal: Goal::AtMost(1.0),
        disturbed: false,
    });
    bob.press("LOGOUT\r")?;
    crate::measure::ended(&mut bob.child, "the client at the terminal")?;
    Ok(rows)
}

/// Puts all words into the index, as a client would some time after it has started.
fn index(directory: &Path, name: &str) -> Result<()> {
    let journal = Journal::open(&directory.join(format!("{name}.journal")), &name.parse()?)?;
    journal.begin()?;
    while journal.index(SLICE, usize::MAX)?.is_some() {}
    Ok(journal.commit()?)
}

/// What is used of a core where nothing happens.
fn idle(bob: &mut Screen, options: &Options) -> Result<Row> {
    let time = if options.short { IDLE / 6 } else { IDLE };
    bob.rest(SETTLES)?;
    let (before, start, drawn) = (busy(&bob.pid())?, Instant::now(), bob.bytes);
    bob.rest(time)?;
    let share = (busy(&bob.pid())? - before).as_secs_f64() / start.elapsed().as_secs_f64();
    println!(
        "   idle for {} s: {:.3} % of a core, {} bytes drawn",
        time.as_secs(),
        share * 100.0,
        bob.bytes - drawn
    );
    Ok(Row {
        id: "S14",
        what: format!("CPU of an idle one over {} s", time.as_secs()),
        reached: format!("{:.3} %", share * 100.0),
        against: "0.1 % of a core".into(),
        ratio: share * 1000.0,
        goal: Goal::AtMost(1.0),
        disturbed: false,
    })
}

/// The CPU time of all threads, to the nanosecond.
fn busy(pid: &str) -> Result<Duration> {
    let mut all = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let stat = fs::read_to_string(task?.path().join("schedstat"))?;
        all += stat.split(' ').next().and_then(|time| time.parse::<u64>().ok()).context("no time")?;
    }
    Ok(Duration::from_nanos(all))
}

/// A client that draws the whole of its terminal, and what that shows. It is killed when dropped.
struct Screen {
    file: File,
    child: Child,
    parser: vt100::Parser,
    bytes: usize,
    random: fastrand::Rng,
}

impl Screen {
    fn start(directory: &Path, name: &str, discovery: SocketAddr) -> Result<Self> {
        let (width, height) = SIZE;
        let (pty, pts) = open()?;
        pty.resize(Size::new(height, width))?;
        let command = Command::new(programs()?.join("client"))
            .env_remove("RUST_LOG")
            .env_remove("XDG_RUNTIME_DIR")
            .env("TERM", "xterm-256color")
            .args(["--strangers", "all", "--data-dir"])
            .arg(directory)
            .args([name, "0", "127.0.0.1", "127.0.0.1", &discovery.port().to_string()]);
        let child = pinned(SECOND, || Ok(command.spawn(pts)?))?;
        let parser = vt100::Parser::new(height.try_into()?, width.try_into()?, 0);
        let random = fastrand::Rng::with_seed(1);
        Ok(Self { file: File::from(OwnedFd::from(pty)), child, parser, bytes: 0, random })
    }

    fn pid(&self) -> String {
        self.child.id().to_string()
    }

    fn press(&mut self, keys: &str) -> Result<()> {
        Ok(self.file.write_all(keys.as_bytes())?)
    }

    /// Takes what there is. False once it is later than that.
    fn take(&mut self, until: Instant) -> Result<bool> {
        let mut ready = [PollFd::new(&self.file, PollFlags::IN)];
        let left = Timespec::try_from(until.saturating_duration_since(Instant::now()))?;
        if poll(&mut ready, Some(&left))? == 0 {
            return Ok(false);
        }
        let mut piece = [0; 16 * 1024];
        let read = self.file.read(&mut piece).context("the terminal is closed")?;
        self.parser.process(piece.get(..read).unwrap_or_default());
        self.bytes += read;
        Ok(true)
    }

    /// Shows what comes for so long.
    fn rest(&mut self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        while self.take(until)? {}
        Ok(())
    }

    fn wait(&mut self, what: &str, fits: impl Fn(&vt100::Screen) -> bool) -> Result<()> {
        let until = Instant::now() + DEADLINE;
        while !fits(self.parser.screen()) {
            ensure!(self.take(until)?, "{what} is not shown:\n{}", self.parser.screen().contents());
        }
        Ok(())
    }

    fn expect(&mut self, text: &str) -> Result<()> {
        self.wait(text, |screen| screen.contents().contains(text))
    }

    /// Types in the conversation with `open` while alice writes. How long each key takes to be seen.
    fn while_arriving(&mut self, alice: &mut Person, options: &Options, open: &str) -> Result<Vec<Duration>> {
        self.press(&format!("CHAT {open}\r\x1b[1;5F"))?;
        self.expect(&format!("│{open} · linked"))?;
        let keys = if options.short { KEYS / 5 } else { KEYS };
        let mut stdin = alice.stdin.take().context("its input is closed")?;
        let (stop, stopped) = crossbeam_channel::bounded::<()>(0);
        let lines = &mut alice.lines;
        let (times, stdin) = thread::scope(|scope| {
            let written = scope.spawn(move || {
                let (start, mut count) = (Instant::now(), 0);
                while let Err(crossbeam_channel::TryRecvError::Empty) = stopped.try_recv() {
                    stdin.write_all(format!("CHAT bob {}\n", text(count)).as_bytes())?;
                    count += 1;
                    let due = start + Duration::from_secs(count) / RATE;
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                }
                let took = start.elapsed();
                // What is delivered once this is answered ends it.
                stdin.write_all(b"HELP\n")?;
                Ok::<_, anyhow::Error>((stdin, count, took))
            });
            let read = scope.spawn(move || {
                let (mut queued, mut delivered, mut due) = (0_u64, 0_u64, None);
                while due != Some(delivered) {
                    match kind(lines.next()?) {
                        b"queued" => queued += 1,
                        b"delivered" => delivered += 1,
                        b"help" => due = Some(queued),
                        _ => {}
                    }
                }
                Ok::<_, anyhow::Error>(())
            });
            let times = self.keys(keys);
            drop(stop);
            let joined = |_| anyhow::anyhow!("a thread panicked");
            let (stdin, count, took) = written.join().map_err(joined)??;
            self.rest(Duration::from_millis(100))?;
            read.join().map_err(joined)??;
            let rate = count as f64 / took.as_secs_f64();
            ensure!(rate > f64::from(RATE) * 0.9, "only {rate:.0} messages a second were written");
            Ok::<_, anyhow::Error>((times?, stdin))
        })?;
        alice.stdin = Some(stdin);
        Ok(times)
    }

    fn keys(&mut self, count: u64) -> Result<Vec<Duration>> {
        // What is arriving is on its way by then.
        self.rest(Duration::from_secs(1))?;
        let mut times = Vec::new();
        let row = SIZE.1 - 1;
        let shows = |screen: &vt100::Screen, at: u16, what: &str| {
            screen.cell(row, TYPED + at).is_some_and(|cell| cell.contents().trim() == what)
        };
        for number in 0..count {
            let at = u16::try_from(number % LINE)?;
            if at == 0 {
                self.press("\x15")?;
                self.wait("an empty line", |screen| shows(screen, 0, ""))?;
            }
            let pause = Duration::from_millis(self.random.u64(PAUSE));
            self.rest(pause)?;
            let start = Instant::now();
            self.press("x")?;
            self.wait("a key", |screen| shows(screen, at, "x"))?;
            times.push(start.elapsed());
        }
        self.press("\x15")?;
        self.wait("an empty line", |screen| shows(screen, 0, ""))?;
        Ok(times)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
