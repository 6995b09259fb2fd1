//! mosquitto with QoS 2, one publisher and one subscriber (MQTT 3.1.1).

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use super::{Server, configure};
use crate::Options;
use crate::chat::text;
use crate::measure::{SECOND, or_kill, per_second, pinned};

/// How many may be unanswered; the best counts.
const WINDOWS: [u64; 3] = [20, 100, 1000];
/// How many messages are sent in each.
const COUNT: u64 = 50_000;
/// The same where each is saved.
const COUNT_SAVED: u64 = 1500;

const PUBLISH: u8 = 0x30;
const PUBREC: u8 = 0x50;
const PUBREL: u8 = 0x60;
const PUBCOMP: u8 = 0x70;

struct Wire {
    stream: TcpStream,
    input: BufReader<TcpStream>,
    output: Vec<u8>,
}

impl Wire {
    fn connect(server: &Server, name: &str) -> Result<Self> {
        let stream = server.connect()?;
        let input = BufReader::with_capacity(256 * 1024, stream.try_clone()?);
        let mut wire = Self { stream, input, output: Vec::new() };
        // Version 4, a clean session, no keep-alive.
        wire.packet(0x10, &[&[0, 4][..], b"MQTT", &[4, 2, 0, 0], &string(name)].concat());
        wire.flush()?;
        let (kind, body) = wire.next()?;
        ensure!(kind == 0x20 && body.get(1) == Some(&0), "mosquitto refuses a connection");
        Ok(wire)
    }

    fn packet(&mut self, kind: u8, body: &[u8]) {
        self.output.push(kind);
        let mut rest = body.len();
        loop {
            let low = u8::try_from(rest % 128).unwrap_or_default();
            rest /= 128;
            self.output.push(if rest > 0 { low | 0x80 } else { low });
            if rest == 0 {
                break;
            }
        }
        self.output.extend_from_slice(body);
    }

    /// Sends what stands ready, unless more has already come that is to be answered first.
    fn flush(&mut self) -> Result<()> {
        if self.input.buffer().is_empty() {
            self.stream.write_all(&self.output)?;
            self.output.clear();
        }
        Ok(())
    }

    fn next(&mut self) -> Result<(u8, Vec<u8>)> {
        let mut byte = [0];
        self.input.read_exact(&mut byte)?;
        let kind = byte[0];
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            self.input.read_exact(&mut byte)?;
            length |= usize::from(byte[0] & 0x7f) << shift;
            shift += 7;
            if byte[0] & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.input.read_exact(&mut body)?;
        Ok((kind, body))
    }
}

fn string(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap_or_default().to_be_bytes();
    [&length[..], text.as_bytes()].concat()
}

/// Messages a second, with the window that suits it best. With `saved` it writes its database to the disk, synced,
/// after every change.
pub fn best(options: &Options, program: &Path, saved: bool) -> Result<f64> {
    let mut best: f64 = 0.0;
    for window in WINDOWS {
        let rate = measure(options, program, window, saved)?;
        let what = if saved { "saved at each change" } else { "in memory" };
        println!("   mosquitto QoS 2, {what}, {window} unanswered: {}", per_second(rate));
        best = best.max(rate);
    }
    Ok(best)
}

fn measure(options: &Options, program: &Path, window: u64, saved: bool) -> Result<f64> {
    let scratch = options.scratch("mosquitto")?;
    let count = if saved { COUNT_SAVED } else { COUNT };
    let server = Server::start(program, scratch.path(), |port| {
        let directory = scratch.path().display();
        let settings = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nuser root\nlog_dest none\nset_tcp_nodelay true\n\
             max_inflight_messages 0\nmax_queued_messages 0\npersistence {saved}\n\
             persistence_location {directory}/\nautosave_on_changes {saved}\nautosave_interval 1\n"
        );
        let file = configure(scratch.path(), &settings).unwrap_or_default();
        vec!["-c".into(), file]
    })?;
    let mut subscriber = Wire::connect(&server, "bob")?;
    subscriber.packet(0x82, &[&[0, 1][..], &string("chat"), &[2]].concat());
    subscriber.flush()?;
    ensure!(subscriber.next()?.0 == 0x90, "no subscription");
    let mut publisher = Wire::connect(&server, "alice")?;
    let start = Instant::now();
    thread::scope(|scope| {
        let taking = scope.spawn(|| or_kill(|| pinned(SECOND, || subscribe(&mut subscriber, count))));
        let sending = scope.spawn(|| or_kill(|| pinned(SECOND, || publish(&mut publisher, count, window))));
        for done in [sending.join(), taking.join()] {
            done.map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        }
        Ok::<_, anyhow::Error>(())
    })?;
    Ok(count as f64 / start.elapsed().as_secs_f64())
}

fn publish(wire: &mut Wire, count: u64, window: u64) -> Result<()> {
    let (mut sent, mut done) = (0, 0);
    while done < count {
        while sent < count && sent - done < window {
            let id = u16::try_from(sent % 65_535)? + 1;
            let body = [&string("chat")[..], &id.to_be_bytes(), text(sent).as_bytes()].concat();
            wire.packet(PUBLISH | 4, &body);
            sent += 1;
        }
        wire.flush()?;
        let (kind, id) = wire.next()?;
        match kind & 0xf0 {
            PUBREC => wire.packet(PUBREL | 2, &id),
            PUBCOMP => done += 1,
            other => bail!("{other:x} from mosquitto"),
        }
    }
    Ok(())
}

fn subscribe(wire: &mut Wire, count: u64) -> Result<()> {
    let (mut shown, mut done) = (0, 0);
    while done < count {
        let (kind, body) = wire.next()?;
        match kind & 0xf0 {
            PUBLISH => {
                // The topic has four letters.
                let (id, text) = body.split_at_checked(8).context("a short message")?;
                let number = String::from_utf8_lossy(text);
                let number = number.split(' ').next().and_then(|number| number.parse::<u64>().ok());
                ensure!(number == Some(shown), "{number:?} instead of {shown}");
                shown += 1;
                wire.packet(PUBREC, id.get(6..).unwrap_or_default());
            }
            PUBREL => {
                wire.packet(PUBCOMP, &body);
                done += 1;
            }
            other => bail!("{other:x} from mosquitto"),
        }
        wire.flush()?;
    }
    // The last answers, whatever comes after.
    Ok(wire.stream.write_all(&wire.output)?)
}
