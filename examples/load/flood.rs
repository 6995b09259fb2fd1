//! Far more connections than discovery lets in.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use peerchat::protocol::{Refusal, VERSION};
use peerchat::transport::noise::{Initiator, Keypair, Offer, Purpose};

use crate::crowd::{self, Client, Crowd, Probe, accounts};
use crate::server::{Discovery, Scratch, Watch};
use crate::{quantile, spread};

/// How many connections discovery is told to let in.
const CAP: usize = 1000;
/// How many of them are honest and there before.
const STANDING: usize = 500;
/// How many flood at once, and how many connections each keeps.
const FLOODERS: usize = 64;
const KEPT: usize = 100;
/// How many connections that were cut may not be closed yet.
const OVERLAP: u64 = 64;
/// How long a connection waits for a word.
const WORD: Duration = Duration::from_millis(100);

#[derive(Default)]
struct Seen {
    made: AtomicUsize,
    refused: AtomicUsize,
    /// Closed without a word: more than can be told why.
    dropped: AtomicUsize,
    /// Let in, as far as it seems.
    waiting: AtomicUsize,
}

pub fn run(programs: &Path, count: usize) -> Result<()> {
    println!("\n== {count} connections where {CAP} are let in, {STANDING} of them honest and there before");
    let scratch = Scratch::new("flood")?;
    let mut discovery =
        Discovery::start(programs, &scratch.db(), 0, &["--max-connections", &CAP.to_string()])?;
    let to = discovery.address;
    let accounts = accounts(0, STANDING)?;
    let (probe, others) = accounts.split_first().context("too few")?;
    let crowd = Crowd::new();
    crowd.bring(to, others)?;
    let probe_before = Probe::start(Client::synced(to, probe)?);
    thread::sleep(Duration::from_secs(2));
    println!("   a ping in a standing session before: {}", spread(&mut probe_before.times()?));

    let probing = Probe::start(Client::synced(to, probe)?);
    let watch = Watch::start(&discovery);
    let (start, busy) = (Instant::now(), discovery.cpu()?);
    let seen = Seen::default();
    thread::scope(|scope| {
        let flooders: Vec<_> = (0..FLOODERS)
            .map(|number| {
                scope.spawn({
                    let seen = &seen;
                    move || flood(to, number, count, seen)
                })
            })
            .collect();
        flooders
            .into_iter()
            .try_for_each(|one| one.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?)
    })?;
    let (took, busy) = (start.elapsed().as_secs_f64(), (discovery.cpu()? - busy).as_secs_f64());
    let Seen { made: _, refused, dropped, waiting } = seen;
    let [refused, dropped, waiting] = [refused, dropped, waiting].map(AtomicUsize::into_inner);
    println!(
        "   {count} in {took:.1} s: {refused} told that it is full, {dropped} closed without a word, {waiting} let in, until their deadline"
    );
    let mut times = probing.times()?;
    println!("   a ping in a standing session meanwhile: {}", spread(&mut times));
    let most = watch.most();
    println!(
        "   discovery at most: {} threads, {} descriptors, {} KiB resident; {busy:.1} s of CPU time; {} bytes of log",
        most.threads,
        most.descriptors,
        most.resident,
        discovery.logged()
    );
    discovery.expect_alive()?;
    ensure!(refused > 0, "no client was told that it is full");
    ensure!(most.threads <= CAP as u64 + 16 + OVERLAP, "more threads than connections let in");
    ensure!(
        most.descriptors <= CAP as u64 + 128 + OVERLAP,
        "more descriptors than connections let in, and those being refused"
    );
    ensure!(
        quantile(&mut times, 1.0) < Duration::from_secs(1),
        "a standing session waited for more than a second"
    );

    let start = Instant::now();
    while Client::synced(to, probe).is_err() {
        ensure!(start.elapsed() < Duration::from_secs(10), "no login 10 s after the flood");
        thread::sleep(Duration::from_millis(50));
    }
    println!("   after the flood a client gets in within {:.2} s", start.elapsed().as_secs_f64());
    println!("   {} pings of the standing sessions, each answered; none lost", crowd.finish()?);
    Ok(())
}

/// Makes connections until there have been enough, and holds on to those that are let in.
fn flood(to: SocketAddr, number: usize, count: usize, seen: &Seen) -> Result<()> {
    let from = Ipv4Addr::new(127, 3, 0, u8::try_from(number)?);
    let mut kept: VecDeque<TcpStream> = VecDeque::with_capacity(KEPT);
    // A good first message, of which there need be only one: discovery has to calculate for it each time.
    let offer = Offer::highest(&[VERSION]);
    let (_, hello) = Initiator::start(Purpose::Rendezvous, &Keypair::generate()?, None, &offer)?;
    while seen.made.fetch_add(1, Ordering::Relaxed) < count {
        let mut stream = crowd::dial(to, from)?;
        stream.set_read_timeout(Some(WORD))?;
        let _ = stream.write_all(&hello);
        let mut word = [0];
        match stream.read(&mut word) {
            Ok(1) if word[0] == Refusal::Full as u8 => seen.refused.fetch_add(1, Ordering::Relaxed),
            Ok(1) => hold(&mut kept, stream, &seen.waiting),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                hold(&mut kept, stream, &seen.waiting)
            }
            Ok(_) | Err(_) => seen.dropped.fetch_add(1, Ordering::Relaxed),
        };
    }
    Ok(())
}

fn hold(kept: &mut VecDeque<TcpStream>, stream: TcpStream, waiting: &AtomicUsize) -> usize {
    if kept.len() == KEPT {
        kept.pop_front();
    }
    kept.push_back(stream);
    waiting.fetch_add(1, Ordering::Relaxed)
}
