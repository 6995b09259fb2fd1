//! S8: how many handshakes a core does, of both sides together, beside those of Noise without ML-KEM.
//!
//! Both are done in memory, in turns within one run, so that whatever slows the machine slows both. What counts is CPU time,
//! in which others who use the core do not show.

use std::time::Duration;

use anyhow::{Context, Result};
use peerchat::protocol::VERSION;
use peerchat::transport::noise::{Initiator, Keypair, Offer, Purpose, Responder};
use rustix::time::{ClockId, clock_gettime};
use snow::{Builder, HandshakeState};

use super::Options;
use super::measure::{self, FIRST, Goal, Row, per_second, pinned};

/// How many of one sort are done before it is the other's turn.
const TURN: u32 = 50;
/// How many turns each has in a round.
const TURNS: u32 = 20;

/// The keys of the classical side: the X25519 secrets, and the public key of the one who is dialled.
struct Classical {
    secrets: [Vec<u8>; 2],
    dialled: Vec<u8>,
}

pub fn run(options: &Options) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (purpose, pattern, name) in [
        (Purpose::Rendezvous, "Noise_XX_25519_ChaChaPoly_BLAKE2s", "XX"),
        (Purpose::Peer, "Noise_XK_25519_ChaChaPoly_BLAKE2s", "XK"),
    ] {
        println!("\n== S8: handshakes, {name}psk3 with ML-KEM-768 beside {name} without");
        let done = measure::rounds(options.keep, |_| pinned(FIRST, || round(purpose, pattern)))?;
        let rate = |time: Duration| f64::from(TURN * TURNS) / time.as_secs_f64();
        let hybrid = done.median(|[hybrid, _]| rate(*hybrid));
        let classical = done.median(|[_, classical]| rate(*classical));
        rows.push(Row {
            id: "S8",
            what: format!("{name} handshakes, both sides, CPU time of one core"),
            reached: per_second(hybrid),
            against: format!("classical {}", per_second(classical)),
            ratio: done.median(|[hybrid, classical]| classical.as_secs_f64() / hybrid.as_secs_f64()),
            goal: Goal::AtLeast(0.8),
            disturbed: done.disturbed,
        });
    }
    Ok(rows)
}

/// The time that all turns took, of the hybrid handshakes and of the classical ones.
fn round(purpose: Purpose, pattern: &str) -> Result<[Duration; 2]> {
    let keys = [Keypair::generate()?, Keypair::generate()?];
    let builder = Builder::new(pattern.parse()?);
    let [one, other] = [builder.generate_keypair()?, builder.generate_keypair()?];
    let old = Classical { secrets: [one.private, other.private], dialled: other.public };
    let mut times = [Duration::ZERO; 2];
    for turn in 0..=TURNS {
        let start = spent()?;
        for _ in 0..TURN {
            hybrid(purpose, &keys)?;
        }
        let between = spent()?;
        for _ in 0..TURN {
            classical(purpose, pattern, &old)?;
        }
        // The first turn warms the caches up.
        if turn > 0 {
            times[0] += between - start;
            times[1] += spent()? - between;
        }
    }
    Ok(times)
}

/// The CPU time of this thread.
fn spent() -> Result<Duration> {
    Ok(clock_gettime(ClockId::ThreadCPUTime).try_into()?)
}

fn hybrid(purpose: Purpose, [dialler, dialled]: &[Keypair; 2]) -> Result<()> {
    // Discovery's key is pinned, too, but for the first time.
    let remote = Some(dialled.public());
    let offer = Offer::highest(&[VERSION]);
    let (initiator, first) = Initiator::start(purpose, dialler, remote, &offer)?;
    let mut said = first.as_slice();
    let offer = Offer::read(&mut said, &[VERSION])?;
    let (responder, second) = Responder::answer(purpose, dialled, &offer, said)?;
    let (third, _session) = initiator.finish(second.get(1..).context("no answer")?)?;
    responder.finish(&third)?;
    Ok(())
}

fn classical(purpose: Purpose, pattern: &str, keys: &Classical) -> Result<()> {
    let builder = |secret| -> Result<Builder<'_>> {
        Ok(Builder::new(pattern.parse()?).local_private_key(secret)?.prologue(b"peerchat/1")?)
    };
    let [dialler, dialled] = &keys.secrets;
    let mut initiator = builder(dialler)?;
    if purpose == Purpose::Peer {
        initiator = initiator.remote_public_key(&keys.dialled)?;
    }
    let (mut initiator, mut responder) = (initiator.build_initiator()?, builder(dialled)?.build_responder()?);
    pass(&mut initiator, &mut responder)?;
    pass(&mut responder, &mut initiator)?;
    pass(&mut initiator, &mut responder)?;
    initiator.into_transport_mode()?;
    responder.into_transport_mode()?;
    Ok(())
}

fn pass(from: &mut HandshakeState, to: &mut HandshakeState) -> Result<()> {
    let (mut message, mut payload) = ([0; 128], [0; 128]);
    let length = from.write_message(&[], &mut message)?;
    to.read_message(message.get(..length).context("too long")?, &mut payload)?;
    Ok(())
}
