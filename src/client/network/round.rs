//! In which order discovery is dialled, where it can be reached at several addresses, and when the next one's turn is.
//!
//! One round goes through every address once, until one has proved the key. Which one is first is chance, so that clients
//! spread, and those of a discovery that is lost spread over all the others.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::endpoints::Endpoint;
use crate::client::event::{Missed, Problem, Reached};

/// How long names are waited for before what is known is dialled without them.
const NAMES_FOR: Duration = Duration::from_secs(1);
/// How long they are waited for when there is nothing else. A system may go on looking for longer.
const NAMES_AT_MOST: Duration = Duration::from_secs(15);
/// How long after one address the next one is dialled, if the first has not answered. On a line of 1 kB/s one handshake
/// takes 2.5 s, so that a shorter time would have many of them choke each other.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many addresses are dialled in one round.
const MAX_PLACES: usize = 256;

/// An address of discovery, and the number of the endpoint that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    endpoint: usize,
    pub remote: SocketAddr,
}

/// See the module.
pub struct Round {
    endpoints: Arc<[Endpoint]>,
    /// What is not dialled: it has led to nothing a moment ago.
    tried: Vec<SocketAddr>,
    ipv4_only: bool,
    rng: fastrand::Rng,
    began: Instant,
    /// Endpoints whose addresses are not known yet.
    unknown: Vec<usize>,
    known: Vec<SocketAddr>,
    /// Places of each endpoint that have no turn yet.
    found: Vec<Vec<Place>>,
    /// Whether the first turns were given.
    ordered: bool,
    queue: VecDeque<Place>,
    dialling: usize,
    /// When the next one's turn is, while others are being dialled.
    turn: Instant,
    missed: Vec<Missed>,
}

impl Round {
    /// A round through all addresses of these endpoints but those `tried`. `ipv4_only` leaves out IPv6. The order follows
    /// from `seed`.
    pub fn new(
        endpoints: Arc<[Endpoint]>,
        tried: Vec<SocketAddr>,
        ipv4_only: bool,
        seed: u64,
        now: Instant,
    ) -> Self {
        Self {
            unknown: (0..endpoints.len()).collect(),
            endpoints,
            tried,
            ipv4_only,
            rng: fastrand::Rng::with_seed(seed),
            began: now,
            known: Vec::new(),
            found: Vec::new(),
            ordered: false,
            queue: VecDeque::new(),
            dialling: 0,
            turn: now,
            missed: Vec::new(),
        }
    }

    /// The addresses of an endpoint, in the order in which the system would have them dialled.
    pub fn found(&mut self, endpoint: usize, addresses: io::Result<Vec<SocketAddr>>) {
        let Some(at) = self.unknown.iter().position(|unknown| *unknown == endpoint) else {
            return;
        };
        self.unknown.swap_remove(at);
        let addresses = match addresses {
            Ok(addresses) => addresses,
            Err(error) => return self.miss(endpoint, error.to_string()),
        };
        let is_there = !addresses.is_empty();
        let fits = |remote: &SocketAddr| remote.is_ipv4() || !self.ipv4_only;
        let mut addresses: Vec<SocketAddr> = addresses.into_iter().filter(fits).collect();
        if addresses.is_empty() {
            let why = if is_there {
                "it is on IPv6 and this client listens on IPv4 only; start it with :: as IP"
            } else {
                "it has no address"
            };
            return self.miss(endpoint, why.into());
        }
        // The system knows by which of the two families this machine gets out, and which one it prefers.
        let preferred = addresses.first().map(SocketAddr::is_ipv4);
        self.rng.shuffle(&mut addresses);
        addresses.sort_by_key(|remote| Some(remote.is_ipv4()) != preferred);
        let mut places = Vec::new();
        for remote in addresses {
            if !self.known.contains(&remote) && self.known.len() < MAX_PLACES {
                self.known.push(remote);
                places.extend((!self.tried.contains(&remote)).then_some(Place { endpoint, remote }));
            }
        }
        self.found.push(places);
    }

    fn miss(&mut self, endpoint: usize, why: String) {
        if let Some(endpoint) = self.endpoints.get(endpoint) {
            self.missed.push(Missed { at: endpoint.to_string(), problem: Problem::Other(why) });
        }
    }

    /// What is to be dialled now, if anything is.
    pub fn next(&mut self, now: Instant) -> Option<Place> {
        if now >= self.began + NAMES_AT_MOST {
            for endpoint in std::mem::take(&mut self.unknown) {
                self.miss(endpoint, "the system does not find its address".into());
            }
        }
        if self.queue.is_empty() && (self.ordered || self.unknown.is_empty() || now >= self.began + NAMES_FOR)
        {
            self.order();
        }
        if self.dialling > 0 && now < self.turn {
            return None;
        }
        let place = self.queue.pop_front()?;
        self.dialling += 1;
        self.turn = now + PATIENCE;
        Some(place)
    }

    /// Gives turns to what was found: every address may be the first, but of one endpoint those of the preferred family
    /// come before the others.
    fn order(&mut self) {
        let mut found: Vec<_> = std::mem::take(&mut self.found).into_iter().map(Vec::into_iter).collect();
        let all = found.iter().enumerate();
        let mut turns: Vec<usize> =
            all.flat_map(|(at, places)| std::iter::repeat_n(at, places.len())).collect();
        self.rng.shuffle(&mut turns);
        self.ordered |= !turns.is_empty();
        self.queue.extend(turns.into_iter().filter_map(|at| found.get_mut(at)?.next()));
    }

    /// A place that was dialled has led to nothing: it is the next one's turn.
    pub fn failed(&mut self, now: Instant, place: Place, problem: Problem) {
        self.dialling = self.dialling.saturating_sub(1);
        self.turn = now;
        self.missed.push(Missed { at: self.name(place), problem });
    }

    fn name(&self, place: Place) -> String {
        self.endpoints.get(place.endpoint).map_or_else(String::new, |endpoint| endpoint.at(place.remote))
    }

    /// Whether nothing more can come of it.
    pub fn is_over(&self) -> bool {
        self.dialling == 0
            && self.queue.is_empty()
            && self.unknown.is_empty()
            && self.found.iter().all(Vec::is_empty)
    }

    /// How long to wait for something to happen before [`Self::next`] is called again.
    pub fn wait(&self, now: Instant) -> Duration {
        let waits = !self.queue.is_empty() || !self.found.iter().all(Vec::is_empty);
        let turn = waits.then_some(self.turn).filter(|_| self.dialling > 0);
        let names = (!self.unknown.is_empty()).then_some(self.began + NAMES_AT_MOST);
        let first = (waits && !self.ordered).then_some(self.began + NAMES_FOR);
        let next = [turn, names, first].into_iter().flatten().min();
        next.map_or(NAMES_AT_MOST, |at| at.saturating_duration_since(now))
    }

    /// What came of it, where this place has proved the key.
    pub fn reached(self, place: Place) -> Reached {
        let at = self.name(place);
        let others = self.known.into_iter().filter(|remote| *remote != place.remote).collect();
        Reached { at, others, missed: self.missed }
    }

    /// What came of it, where none has.
    pub fn missed(self) -> Vec<Missed> {
        self.missed
    }
}

#[cfg(test)]
mod tests;
