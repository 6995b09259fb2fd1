//! A client that says it is there and does not read what it is sent.

use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use peerchat::protocol::rendezvous::{ToClient, ToDiscovery};
use socket2::SockRef;

use crate::crowd::{self, Client, Probe, accounts, at_once};
use crate::server::{Discovery, Scratch, Watch};
use crate::{quantile, spread};

/// How many contacts the stalled one has, whose every move is pushed to it.
const CONTACTS: usize = 400;
/// How often each may move.
const MOVES: u16 = 200;
/// How much more memory discovery may hold meanwhile, in KiB.
const MORE: u64 = 16 * 1024;

pub fn run(programs: &Path) -> Result<()> {
    println!("\n== a client that does not read, while {CONTACTS} contacts of it move");
    let scratch = Scratch::new("stalled")?;
    // The stalled one, the one who measures, the contacts.
    let accounts = accounts(0, CONTACTS + 2)?;
    let pairs: Vec<_> = (2..accounts.len()).map(|contact| (0, contact)).collect();
    crowd::write(&scratch.db(), &accounts, &pairs)?;
    let mut discovery = Discovery::start(programs, &scratch.db(), 0, &[])?;
    let to = discovery.address;
    let (first, contacts) = accounts.split_at(2);
    let [stalled, measures] = first else { anyhow::bail!("two") };
    let mut clients = at_once(contacts, |account| Ok((Client::synced(to, account)?, account)))?;
    let before = discovery.usage()?;

    let probing = Probe::start(Client::synced(to, measures)?);
    thread::sleep(Duration::from_secs(1));
    println!("   a ping in another session before: {}", spread(&mut probing.times()?));
    let mut stalled = Client::synced(to, stalled)?;
    // The least that there is, so that all waits in discovery's kernel buffer.
    SockRef::from(&stalled.stream).set_recv_buffer_size(1)?;
    let probing = Probe::start(Client::synced(to, measures)?);
    let watch = Watch::start(&discovery);

    let start = Instant::now();
    let mut moves = 0_usize;
    'moving: for port in 0..MOVES {
        // It is not silent, so it is not cut for that.
        if stalled.say(&[ToDiscovery::Ping]).is_err() {
            break;
        }
        for (client, account) in &mut clients {
            client.register(account, 1000 + port)?;
        }
        moves += clients.len();
        for (client, _) in &mut clients {
            if is_told(client)? {
                break 'moving;
            }
        }
    }
    let took = start.elapsed();
    println!(
        "   it was cut after {:.2} s and at most {moves} statuses; its contacts were told that it is offline",
        took.as_secs_f64()
    );
    let mut times = probing.times()?;
    println!("   a ping in another session meanwhile: {}", spread(&mut times));
    let most = watch.most();
    println!(
        "   resident memory of discovery: {} KiB before, {} KiB at most",
        before.resident, most.resident
    );
    ensure!(moves < usize::from(MOVES) * CONTACTS, "it was never cut");
    ensure!(most.resident < before.resident + MORE, "its memory has grown by more than {MORE} KiB");
    ensure!(
        quantile(&mut times, 1.0) < Duration::from_secs(1),
        "another session waited for more than a second"
    );
    expect_end(&stalled.split().0)?;
    discovery.expect_alive()
}

/// Reads the answer to a move: up to [`ToClient::Synced`]. Whether the stalled one is said to be offline.
fn is_told(client: &mut Client) -> Result<bool> {
    let mut offline = false;
    loop {
        match client.hear()? {
            ToClient::Status(status) => offline = status.online == Some(false),
            ToClient::Synced => return Ok(offline),
            _ => {}
        }
    }
}

/// Its connection is really over, once it has read what was under way.
fn expect_end(stream: &TcpStream) -> Result<()> {
    use std::io::Read;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    // What the kernel still holds for it would trickle through the smallest window for a minute.
    SockRef::from(stream).set_recv_buffer_size(4 << 20)?;
    let mut stream = stream;
    let mut rest = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut rest) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error).context("its connection is still open"),
        }
    }
}
