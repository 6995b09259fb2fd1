//! How many connections are let in, and of which addresses.

use std::collections::BTreeMap;
use std::net::{IpAddr, Shutdown};
use std::sync::{Arc, Weak};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::network::{greediest, network};
use super::wire::Wire;
use crate::protocol::Refusal;

/// How many connections above the total there may be for a moment: those that were cut, until their threads have ended.
const OVERLAP: usize = 64;

/// How many connections are let in.
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    /// Of more, those that are not established give way.
    pub total: usize,
    /// From one address (an IPv6 network of 64 bits counts as one), if that is limited.
    pub per_address: Option<usize>,
    /// The same for addresses of this machine itself.
    pub per_loopback: Option<usize>,
    /// That are not established: they have not yet proved a key, or not yet registered where that is wanted. Of more,
    /// the oldest of the network with the most is cut.
    pub handshakes: usize,
}

/// Lets one connection, or its handshake, be there; given back when dropped. The second one also stands for a session
/// until its owner drops it.
#[derive(Debug)]
pub struct Permit {
    from: IpAddr,
    /// The number of the handshake, if it is for that.
    handshake: Option<u64>,
    back: Sender<(IpAddr, Option<u64>)>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        // There is room for every permit there is; only an admission that is gone does not take it.
        let _ = self.back.try_send((self.from, self.handshake));
    }
}

#[derive(Default)]
struct Host {
    connections: usize,
    /// Those that are not established, oldest first.
    handshakes: BTreeMap<u64, Weak<dyn Wire>>,
}

/// Counts connections. Owned by the accepting thread; permits come back through a channel, so nothing is locked.
pub struct Admission {
    caps: Caps,
    hosts: BTreeMap<IpAddr, Host>,
    total: usize,
    handshakes: usize,
    next: u64,
    back: Sender<(IpAddr, Option<u64>)>,
    returned: Receiver<(IpAddr, Option<u64>)>,
}

impl Admission {
    pub fn new(caps: Caps) -> Self {
        // Each connection has at most one of either kind.
        let (back, returned) = bounded(2 * (caps.total + OVERLAP));
        Self { caps, hosts: BTreeMap::new(), total: 0, handshakes: 0, next: 0, back, returned }
    }

    /// A permit for the connection and one for its handshake.
    pub fn admit(&mut self, from: IpAddr, wire: &Arc<dyn Wire>) -> Result<[Permit; 2], Refusal> {
        while let Ok((from, handshake)) = self.returned.try_recv() {
            self.give_back(from, handshake);
        }
        let from = network(from);
        let cap = if from.is_loopback() { self.caps.per_loopback } else { self.caps.per_address };
        let held = self.hosts.get(&from).map_or(0, |host| host.connections);
        if cap.is_some_and(|cap| held >= cap) {
            return Err(Refusal::AddressFull);
        }
        let full = self.total >= self.caps.total || self.handshakes >= self.caps.handshakes;
        if full && (self.total >= self.caps.total + OVERLAP || !self.make_room(from)) {
            return Err(Refusal::Full);
        }
        let host = self.hosts.entry(from).or_default();
        host.connections += 1;
        host.handshakes.insert(self.next, Arc::downgrade(wire));
        self.total += 1;
        self.handshakes += 1;
        let handshakes = [None, Some(self.next)];
        self.next += 1;
        Ok(handshakes.map(|handshake| Permit { from, handshake, back: self.back.clone() }))
    }

    /// Cuts the oldest handshake of the network that has the most under way, if those are more than the newcomer's would
    /// be: so it takes very many networks to keep others out by saying nothing.
    fn make_room(&mut self, newcomer: IpAddr) -> bool {
        let counts = self.hosts.iter().map(|(address, host)| (*address, host.handshakes.len()));
        let greedy = greediest(counts.filter(|(_, count)| *count > 0), Some(newcomer));
        let Some(greedy) = greedy.and_then(|address| self.hosts.get_mut(&address)) else {
            return false;
        };
        if let Some((_, oldest)) = greedy.handshakes.pop_first() {
            self.handshakes -= 1;
            if let Some(wire) = oldest.upgrade() {
                // Its thread notices, and gives its other permit back.
                wire.shutdown(Shutdown::Both);
            }
        }
        true
    }

    fn give_back(&mut self, from: IpAddr, handshake: Option<u64>) {
        let Some(host) = self.hosts.get_mut(&from) else {
            return;
        };
        if let Some(number) = handshake {
            // Unless it was cut.
            self.handshakes -= usize::from(host.handshakes.remove(&number).is_some());
        } else {
            host.connections -= 1;
            self.total -= 1;
        }
        if host.connections == 0 && host.handshakes.is_empty() {
            self.hosts.remove(&from);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// A connection that stands as long as the listener does.
    fn stream() -> (Arc<TcpStream>, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        (Arc::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap()), listener)
    }

    fn wire(stream: &Arc<TcpStream>) -> Arc<dyn Wire> {
        Arc::<TcpStream>::clone(stream)
    }

    impl Admission {
        fn admit_some(&mut self, from: &str) -> Result<[Permit; 2], Refusal> {
            self.admit(from.parse().unwrap(), &wire(&stream().0))
        }
    }

    fn admission(total: usize, per_address: usize, handshakes: usize) -> Admission {
        Admission::new(Caps { total, per_address: Some(per_address), per_loopback: None, handshakes })
    }

    #[test]
    fn permits_are_bounded_and_come_back() {
        let mut admission = admission(3, 2, 10);
        let [a, b] = ["192.0.2.1", "192.0.2.2"];
        let first = admission.admit_some(a).unwrap();
        let _second = admission.admit_some(a).unwrap();
        assert_eq!(admission.admit_some(a).unwrap_err(), Refusal::AddressFull);
        let _third = admission.admit_some(b).unwrap();
        assert_eq!(admission.admit_some(b).unwrap_err(), Refusal::Full);
        drop(first);
        let _again = admission.admit_some(a).unwrap();
        assert_eq!(admission.admit_some(b).unwrap_err(), Refusal::Full);
    }

    #[test]
    fn handshakes_have_a_bound_of_their_own() {
        let mut admission = admission(10, 10, 1);
        let from = "192.0.2.1";
        let [connection, handshake] = admission.admit_some(from).unwrap();
        assert_eq!(admission.admit_some(from).unwrap_err(), Refusal::Full);
        drop(handshake);
        assert!(admission.admit_some(from).is_ok());
        drop(connection);
    }

    #[test]
    fn the_address_with_most_handshakes_makes_room_for_others() {
        let mut admission = admission(10, 10, 3);
        let [greedy, modest, third] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"];
        let streams = [stream(), stream()];
        let admit = |(stream, _): &_| admission.admit(greedy.parse().unwrap(), &wire(stream)).unwrap();
        let held: Vec<_> = streams.iter().map(admit).collect();
        let [connection, handshake] = admission.admit_some(modest).unwrap();
        // No address has more than the newcomer would: the newcomer is refused.
        assert_eq!(admission.admit_some(greedy).unwrap_err(), Refusal::Full);
        let _third = admission.admit_some(third).unwrap();
        let is_cut = |stream: &TcpStream| stream.peek(&mut [0]).is_ok_and(|read| read == 0);
        streams[1].0.set_nonblocking(true).unwrap();
        assert!(is_cut(&streams[0].0) && !is_cut(&streams[1].0));
        assert_eq!(admission.admit_some(modest).unwrap_err(), Refusal::Full);
        // What was cut gives its permits back without being counted twice.
        drop(held);
        assert_eq!(admission.hosts.len(), 3);
        let _fourth = admission.admit_some(third).unwrap();
        assert_eq!((admission.total, admission.handshakes), (3, 3));
        drop((connection, handshake));
        let _fifth = admission.admit_some(third).unwrap();
        assert_eq!((admission.total, admission.handshakes, admission.hosts.len()), (3, 3, 1));
    }

    #[test]
    fn a_network_with_many_addresses_makes_room_for_others() {
        let mut admission = admission(100, 10, 8);
        let held = [(); 8].map(|()| stream());
        let permits: Vec<_> = (0..)
            .zip(&held)
            .map(|(low, (stream, _))| {
                let from = format!("2001:db8:1:{low:x}::1").parse().unwrap();
                admission.admit(from, &wire(stream)).unwrap()
            })
            .collect();
        // None of these addresses has more than one, but their network has all.
        assert_eq!(admission.admit_some("2001:db8:1:ff::1").unwrap_err(), Refusal::Full);
        let honest =
            [admission.admit_some("192.0.2.1").unwrap(), admission.admit_some("2001:db8:2::1").unwrap()];
        assert_eq!(admission.hosts.values().filter(|host| host.handshakes.is_empty()).count(), 2);
        drop((permits, honest));
    }

    #[test]
    fn who_is_established_stays_and_the_others_give_way_when_it_is_full() {
        let mut admission = admission(4, 10, 10);
        let [greedy, honest] = ["192.0.2.1", "198.51.100.1"];
        let established = admission.admit_some(greedy).unwrap();
        let [_connection, handshake] = established;
        drop(handshake);
        let silent = [(); 3].map(|()| admission.admit_some(greedy).unwrap());
        assert_eq!(admission.admit_some(greedy).unwrap_err(), Refusal::Full);
        let [_one, handshake] = admission.admit_some(honest).unwrap();
        drop(handshake);
        let _other = admission.admit_some(honest).unwrap();
        assert_eq!((admission.total, admission.handshakes), (6, 2));
        // What was cut is gone as soon as its thread has ended.
        drop(silent);
        let _third = admission.admit_some(honest).unwrap();
        assert_eq!((admission.total, admission.handshakes), (4, 2));
        assert_eq!(admission.admit_some(honest).unwrap_err(), Refusal::Full);
    }

    #[test]
    fn loopback_has_its_own_cap_and_networks_count_as_one() {
        let mut admission = admission(100, 1, 100);
        let loopback = [(); 10].map(|()| admission.admit_some("127.0.0.1").unwrap());
        let _one = admission.admit_some("2001:db8::1").unwrap();
        assert_eq!(admission.admit_some("2001:db8::2").unwrap_err(), Refusal::AddressFull);
        assert!(admission.admit_some("2001:db8:0:1::1").is_ok());
        let _four = admission.admit_some("198.51.100.1").unwrap();
        assert_eq!(admission.admit_some("::ffff:198.51.100.1").unwrap_err(), Refusal::AddressFull);
        drop(loopback);
    }
}
