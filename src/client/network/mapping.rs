//! Asks this machine's router to let peers in, by mapping one of its ports to the one that the client listens on.
//!
//! [`spawn`] starts a thread for it, once discovery sees this client at an address that is not this machine's own. It asks
//! in three ways, until the router answers one: [`pcp`], [`natpmp`], [`upnp`]. A mapping has a lifetime. It is renewed at
//! half of it, and removed at the end.
//!
//! Only what the default [`gateway`] sends from its own address counts, and only if it answers what was asked. The
//! outer address that it tells is a claim still: discovery passes it on only if it sees this client there, too.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use gateway::Gateway;

pub mod exchange;
pub mod gateway;
pub mod http;
pub mod natpmp;
pub mod pcp;
#[cfg(test)]
mod tests;
pub mod upnp;

/// How long a mapping is asked for, in seconds: what RFC 6886 recommends.
const LIFETIME: u32 = 2 * 60 * 60;
/// However short a router's lifetimes are, it is asked no more often.
const RENEW_AT_MOST: Duration = Duration::from_secs(60);
/// However long a mapping is promised, a router that was started anew has forgotten it.
const RENEW_AT_LEAST: Duration = Duration::from_secs(60 * 60);
/// When a router that has given nothing is asked again.
const TRY_AGAIN: Duration = Duration::from_secs(20 * 60);
const STACK: usize = 256 * 1024;

/// In which way a router was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Pcp,
    NatPmp,
    Upnp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pcp => "PCP",
            Self::NatPmp => "NAT-PMP",
            Self::Upnp => "UPnP",
        })
    }
}

/// What has come of asking. Said at first, and whenever it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// A connection to `outer` reaches this client's listener.
    Mapped { outer: SocketAddr, protocol: Protocol },
    /// There is no mapping, or none any more; why, for people.
    Unmapped(String),
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// The port that this client listens on.
    pub port: u16,
    /// Known to this client and its router only. The same for all that concerns one mapping.
    pub nonce: [u8; 12],
    /// What the router has given before, if it has.
    pub outer: Option<SocketAddrV4>,
}

/// What a router has given.
#[derive(Debug, PartialEq, Eq)]
pub struct Grant {
    pub outer: SocketAddrV4,
    /// In seconds, never 0.
    pub lifetime: u32,
}

/// Why a router has given nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("no answer")]
    Silent,
    #[error("{0}")]
    Refused(String),
    #[error("the router itself has no public address, but {0}")]
    NotPublic(Ipv4Addr),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Refused(error.to_string())
    }
}

/// The thread that keeps a mapping. When this is dropped, it ends, and removes the mapping first if it can.
pub struct Mapper {
    look: Sender<()>,
    ended: Receiver<()>,
    /// Whether there is a mapping to remove.
    held: Arc<AtomicBool>,
}

impl Mapper {
    /// Asks the router anew, for something may have changed: another session with discovery, another network.
    pub fn again(&self) {
        // One that waits already is enough.
        let _ = self.look.try_send(());
    }

    /// Ends it, and waits until the mapping is removed if there is one, but no longer than this.
    pub fn end(self, within: Duration) {
        let Self { look, ended, held } = self;
        drop(look);
        if held.load(Ordering::Relaxed) {
            let _ = ended.recv_timeout(within);
        }
    }
}

/// Keeps a mapping to `port`, at which this client listens for peers. Reports what comes of it, from a thread of its own.
///
/// # Errors
///
/// If there is no thread to be had, or no randomness.
pub fn spawn(port: u16, report: impl Fn(Report) + Send + 'static) -> io::Result<Mapper> {
    spawn_at(port, gateway::find, report)
}

fn spawn_at(
    port: u16,
    gateway: impl Fn() -> Option<Gateway> + Send + 'static,
    report: impl Fn(Report) + Send + 'static,
) -> io::Result<Mapper> {
    let mut nonce = [0; 12];
    getrandom::fill(&mut nonce).map_err(|error| io::Error::other(error.to_string()))?;
    let (look, looks) = bounded(1);
    let (end, ended) = bounded(0);
    let held = Arc::new(AtomicBool::new(false));
    let holds = Arc::clone(&held);
    let run = move || {
        keep(Wanted { port, nonce, outer: None }, &gateway, &looks, &holds, &report);
        drop(end);
    };
    thread::Builder::new().name("mapping".into()).stack_size(STACK).spawn(run)?;
    Ok(Mapper { look, ended, held })
}

/// A mapping that is there, and by which router.
struct Lease {
    gateway: Gateway,
    grant: Grant,
    held: Held,
}

/// What it takes to remove a mapping.
enum Held {
    Pcp,
    NatPmp,
    Upnp(upnp::Service),
}

impl Held {
    fn protocol(&self) -> Protocol {
        match self {
            Self::Pcp => Protocol::Pcp,
            Self::NatPmp => Protocol::NatPmp,
            Self::Upnp(_) => Protocol::Upnp,
        }
    }
}

fn keep(
    mut wanted: Wanted,
    gateway: &dyn Fn() -> Option<Gateway>,
    looks: &Receiver<()>,
    held: &AtomicBool,
    report: &dyn Fn(Report),
) {
    let (mut lease, mut said) = (None::<Lease>, None);
    loop {
        let asked = gateway().ok_or_else(|| "this machine has no default gateway".to_owned());
        let before = lease.as_ref().map(|lease| lease.held.protocol());
        let answer = asked.and_then(|gateway| map(gateway, &wanted, before));
        let now = match &answer {
            Ok(Lease { grant, held, .. }) => {
                Report::Mapped { outer: grant.outer.into(), protocol: held.protocol() }
            }
            Err(why) => Report::Unmapped(why.clone()),
        };
        lease = answer.ok();
        held.store(lease.is_some(), Ordering::Relaxed);
        wanted.outer = lease.as_ref().map(|lease| lease.grant.outer);
        if said.as_ref() != Some(&now) {
            tracing::info!(?now, "the router was asked for a port");
            report(now.clone());
            said = Some(now);
        }
        let wait = lease.as_ref().map_or(TRY_AGAIN, |lease| renew_after(lease.grant.lifetime));
        match looks.recv_timeout(wait) {
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    if let Some(Lease { gateway, grant, held }) = lease {
        let removed = match held {
            Held::Pcp => pcp::unmap(&gateway, &wanted),
            Held::NatPmp => natpmp::unmap(&gateway, &wanted),
            Held::Upnp(service) => upnp::unmap(&service, grant.outer.port()),
        };
        tracing::info!(outer = %grant.outer, ?removed, "the mapping is given back");
    }
}

fn renew_after(lifetime: u32) -> Duration {
    (Duration::from_secs(lifetime.into()) / 2).clamp(RENEW_AT_MOST, RENEW_AT_LEAST)
}

/// Asks in the way that worked `before`, then in all others.
fn map(gateway: Gateway, wanted: &Wanted, before: Option<Protocol>) -> Result<Lease, String> {
    let others =
        [Protocol::Pcp, Protocol::NatPmp, Protocol::Upnp].into_iter().filter(|it| Some(*it) != before);
    let mut problems = Vec::new();
    for protocol in before.into_iter().chain(others) {
        let granted = match protocol {
            Protocol::Pcp => pcp::map(&gateway, wanted).map(|grant| (grant, Held::Pcp)),
            Protocol::NatPmp => natpmp::map(&gateway, wanted).map(|grant| (grant, Held::NatPmp)),
            Protocol::Upnp => {
                upnp::map(&gateway, wanted).map(|(grant, service)| (grant, Held::Upnp(service)))
            }
        };
        match granted {
            Ok((grant, held)) => return Ok(Lease { gateway, grant, held }),
            // It would say the same in any other way.
            Err(failure @ Failure::NotPublic(_)) => return Err(failure.to_string()),
            Err(failure) => problems.push(format!("{protocol}: {failure}")),
        }
    }
    Err(problems.join("; "))
}

/// The outer address, if machines elsewhere may reach this one there.
fn public(ip: Ipv4Addr) -> Result<Ipv4Addr, Failure> {
    let inner = match ip.octets() {
        [0 | 10 | 127 | 224.., ..] | [169, 254, ..] | [192, 168, ..] => true,
        // One provider's customers, one organisation, the assignments of protocols, measurements.
        [100, 64..=127, ..] | [172, 16..=31, ..] | [192, 0, 0, _] | [198, 18..=19, ..] => true,
        // Those for documentation pass: no router has one, but those of tests do.
        _ => false,
    };
    if inner { Err(Failure::NotPublic(ip)) } else { Ok(ip) }
}
