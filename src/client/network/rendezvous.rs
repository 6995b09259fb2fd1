//! Dialling discovery: threads for the [`Round`], which decides whose turn it is.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::unbounded;

use super::round::{Place, Round};
use super::{Network, is_loopback, scope, spawn};
use crate::client::endpoints::Endpoint;
use crate::client::event::{Input, Missed, Path, Problem, Reached};
use crate::protocol::PublicKey;
use crate::transport::noise::HandshakeError;
use crate::transport::{Connection, Opened};

/// What a thread of a round has to say.
enum Progress {
    Found(usize, io::Result<Vec<SocketAddr>>),
    Dialled(Place, Result<Box<(Connection, Duration)>, HandshakeError>),
}

impl Network {
    /// Dials discovery, which must prove the key that is expected, if one is: all addresses of the endpoints but those
    /// `tried`, in an order that follows from `seed`. Returns what came of it if there is no thread to be had.
    pub fn dial_rendezvous(
        &self,
        endpoints: Arc<[Endpoint]>,
        expected: Option<PublicKey>,
        tried: Vec<SocketAddr>,
        seed: u64,
    ) -> Option<Input> {
        let network = self.clone();
        let at = endpoints.first().map_or_else(String::new, Endpoint::to_string);
        let dialling = move || {
            // A client that listens on every IPv4 address gives out the one that discovery sees, which must be one.
            let ipv4_only = network.listen.ip() == Ipv4Addr::UNSPECIFIED;
            let round = Round::new(Arc::clone(&endpoints), tried, ipv4_only, seed, Instant::now());
            if let Err(missed) = network.reach_rendezvous(&endpoints, expected, round) {
                network.report(Input::RendezvousFailed(missed));
            }
        };
        let missed = |error: io::Error| Missed { at, problem: Problem::Other(error.to_string()) };
        spawn(dialling).err().map(|error| Input::RendezvousFailed(vec![missed(error)]))
    }

    fn reach_rendezvous(
        &self,
        endpoints: &[Endpoint],
        expected: Option<PublicKey>,
        mut round: Round,
    ) -> Result<(), Vec<Missed>> {
        let (sender, progress) = unbounded();
        for (number, endpoint) in endpoints.iter().enumerate() {
            if let Some(address) = endpoint.address() {
                round.found(number, Ok(vec![address]));
                continue;
            }
            let (sender, endpoint) = (sender.clone(), endpoint.clone());
            let look_up = move || {
                let _ = sender.send(Progress::Found(number, endpoint.look_up()));
            };
            if let Err(error) = spawn(look_up) {
                round.found(number, Err(error));
            }
        }
        loop {
            while let Some(place) = round.next(Instant::now()) {
                let (network, sender) = (self.clone(), sender.clone());
                let dial = move || {
                    let dialled = network.transport.dial_discovery(place.remote, expected).map(Box::new);
                    // Who comes second is dropped, and so closed.
                    let _ = sender.send(Progress::Dialled(place, dialled));
                };
                if let Err(error) = spawn(dial) {
                    round.failed(Instant::now(), place, Problem::Other(error.to_string()));
                }
            }
            if round.is_over() {
                return Err(round.missed());
            }
            match progress.recv_timeout(round.wait(Instant::now())) {
                Ok(Progress::Found(endpoint, addresses)) => round.found(endpoint, addresses),
                Ok(Progress::Dialled(place, Ok(dialled))) => {
                    let (connection, rtt) = *dialled;
                    self.open_rendezvous(connection, place.remote, rtt, round.reached(place));
                    return Ok(());
                }
                Ok(Progress::Dialled(place, Err(error))) => {
                    tracing::info!(at = %place.remote, %error, "discovery is not reached there");
                    round.failed(Instant::now(), place, problem(error));
                }
                // It is time for the next one.
                Err(_) => {}
            }
        }
    }

    fn open_rendezvous(&self, connection: Connection, remote: SocketAddr, rtt: Duration, reached: Reached) {
        self.on_loopback.store(is_loopback(remote), Ordering::Relaxed);
        let local = connection.local().unwrap_or(remote);
        let path = Path { local, remote, rtt, own: scope::own(self.listen.ip()) };
        let up = move |opened: &Opened| Input::RendezvousUp {
            session: opened.id,
            key: opened.key,
            path: path.clone(),
            reached: reached.clone(),
        };
        self.open(connection, up, Input::RendezvousSays, Input::RendezvousClosed);
    }
}

fn problem(error: HandshakeError) -> Problem {
    match error {
        HandshakeError::WrongKey { expected, found } => Problem::WrongKey { expected, found: Some(found) },
        error => Problem::Other(error.to_string()),
    }
}
