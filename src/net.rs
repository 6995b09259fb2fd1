//! Sockets: listening, letting in, and sending without waiting.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::noise;
use crate::protocol::{DEAD_AFTER, Refusal};

/// The listen queue. With the standard library's 128 a crowd that comes back at once waits for seconds.
const BACKLOG: i32 = 4096;
/// What is asked of the kernel for a socket's send buffer, in bytes. It grants what it allows.
const SEND_BUFFER: usize = 1024 * 1024;
/// The stack of a thread that does a handshake, in bytes; it needs 24 KiB of it.
///
/// Smaller than [`READER_STACK`], or the C library gives the used stacks of handshakes to the readers that
/// follow, for whom all that a handshake has touched stays resident: that was 8 KiB a session.
pub const HANDSHAKE_STACK: usize = 128 * 1024;
/// The stack of a thread that reads one socket, in bytes; it needs 12 KiB of it. There may be ten thousand.
pub const READER_STACK: usize = 192 * 1024;
const _: () = assert!(HANDSHAKE_STACK < READER_STACK, "see there");
/// How long to wait when the system has no descriptors or memory for another connection.
const EXHAUSTED: Duration = Duration::from_millis(50);
/// How many refused connections may wait to be told why.
const REFUSALS: usize = 64;
/// How long refusals that follow one are only counted. A flood is not to fill the log, nor to wait for it.
const REFUSED_AGAIN: Duration = Duration::from_secs(10);

/// Listens at `address`; port 0 takes a free one, `::` takes IPv4 too.
///
/// # Errors
/// If the address can't be had.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Prepares a connection and returns how many bytes the kernel takes for it without waiting.
///
/// # Errors
/// If the socket is already gone.
pub fn prepare(stream: &TcpStream) -> io::Result<usize> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(DEAD_AFTER))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(DEAD_AFTER))?;
    socket.send_buffer_size()
}

/// Sends all of `bytes` at once or fails; never waits.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] if the other side does not read and the kernel holds as much as it
/// will; part of `bytes` may have gone then, so the connection is of no more use.
pub fn send_now(stream: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    let sent = loop {
        match SockRef::from(stream).send_with_flags(bytes, flags) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => break other?,
        }
    };
    if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
}

/// Whether this machine, from which a connection with this address was once made, does not have it any more.
pub fn is_lost(own: IpAddr) -> bool {
    // Addresses of one link only can't be told from the address alone.
    let local = matches!(own, IpAddr::V6(ip) if ip.is_unicast_link_local());
    let taken = UdpSocket::bind((own, 0));
    !local && taken.is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable)
}

/// How many connections are let in.
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    /// In all.
    pub total: usize,
    /// From one address (an IPv6 network of 64 bits counts as one), if that is limited.
    pub per_address: Option<usize>,
    /// The same for addresses of this machine itself.
    pub per_loopback: Option<usize>,
    /// That have not yet proved a key. Of more, the oldest of the address with the most is cut.
    pub handshakes: usize,
}

/// A place at the table, given back when dropped.
#[derive(Debug)]
pub struct Place {
    kind: Kind,
    back: Sender<Kind>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Connection(IpAddr),
    Handshake(IpAddr, u64),
}

impl Drop for Place {
    fn drop(&mut self) {
        // There is room for every place there is; only a gate that is gone does not take it.
        let _ = self.back.try_send(self.kind);
    }
}

/// What one address holds.
#[derive(Debug, Default)]
struct Guest {
    connections: usize,
    /// Those that have not yet proved a key, oldest first.
    handshakes: BTreeMap<u64, Weak<TcpStream>>,
}

/// Who is in. Owned by the accepting thread; places come back through a channel, so nothing is locked.
struct Gate {
    caps: Caps,
    guests: HashMap<IpAddr, Guest>,
    total: usize,
    handshakes: usize,
    /// The number of the next handshake.
    next: u64,
    back: Sender<Kind>,
    returned: Receiver<Kind>,
}

impl Gate {
    fn new(caps: Caps) -> Self {
        // Each connection has at most one of either kind.
        let (back, returned) = bounded(2 * caps.total);
        Self { caps, guests: HashMap::new(), total: 0, handshakes: 0, next: 0, back, returned }
    }

    /// A place for the connection and one for its handshake.
    fn admit(&mut self, from: IpAddr, stream: &Arc<TcpStream>) -> Result<(Place, Place), Refusal> {
        while let Ok(kind) = self.returned.try_recv() {
            self.give_back(kind);
        }
        let from = network(from);
        let cap = if from.is_loopback() { self.caps.per_loopback } else { self.caps.per_address };
        let taken = self.guests.get(&from).map_or(0, |guest| guest.connections);
        if cap.is_some_and(|cap| taken >= cap) {
            return Err(Refusal::AddressFull);
        }
        if self.total >= self.caps.total || (self.handshakes >= self.caps.handshakes && !self.make_room(from))
        {
            return Err(Refusal::Full);
        }
        let guest = self.guests.entry(from).or_default();
        guest.connections += 1;
        guest.handshakes.insert(self.next, Arc::downgrade(stream));
        self.total += 1;
        self.handshakes += 1;
        let place = |kind| Place { kind, back: self.back.clone() };
        let places = (place(Kind::Connection(from)), place(Kind::Handshake(from, self.next)));
        self.next += 1;
        Ok(places)
    }

    /// Cuts the oldest handshake of the address that has the most under way, if those are more than the
    /// newcomer's: so it takes very many addresses to keep others out by saying nothing.
    fn make_room(&mut self, newcomer: IpAddr) -> bool {
        let under_way = |guest: &Guest| guest.handshakes.len();
        let own = self.guests.get(&newcomer).map_or(0, under_way);
        let most = self.guests.values_mut().max_by_key(|guest| under_way(guest));
        let Some(greedy) = most.filter(|guest| under_way(guest) > own) else {
            return false;
        };
        if let Some((_, oldest)) = greedy.handshakes.pop_first() {
            self.handshakes -= 1;
            if let Some(stream) = oldest.upgrade() {
                // Its thread notices, and gives its other place back.
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
        true
    }

    fn give_back(&mut self, kind: Kind) {
        let (Kind::Connection(from) | Kind::Handshake(from, _)) = kind;
        let Some(guest) = self.guests.get_mut(&from) else {
            return;
        };
        match kind {
            // Unless it was cut.
            Kind::Handshake(_, number) => {
                self.handshakes -= usize::from(guest.handshakes.remove(&number).is_some());
            }
            Kind::Connection(_) => {
                guest.connections -= 1;
                self.total -= 1;
            }
        }
        if guest.connections == 0 && guest.handshakes.is_empty() {
            self.guests.remove(&from);
        }
    }
}

/// How much is said about refusals.
#[derive(Default)]
struct Refusals {
    said: Option<Instant>,
    unsaid: u64,
}

impl Refusals {
    /// Whether to say this one: how many were not said since the last that was.
    fn worth_saying(&mut self, now: Instant) -> Option<u64> {
        if self.said.is_some_and(|said| now.saturating_duration_since(said) < REFUSED_AGAIN) {
            self.unsaid += 1;
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

/// How many connections were refused since the start.
#[derive(Debug, Default)]
pub struct Refused {
    full: AtomicU64,
    address_full: AtomicU64,
}

impl Refused {
    fn count(&self, refusal: Refusal) {
        match refusal {
            Refusal::Full => _ = self.full.fetch_add(1, Ordering::Relaxed),
            Refusal::AddressFull => _ = self.address_full.fetch_add(1, Ordering::Relaxed),
            Refusal::Unknown => {}
        }
    }

    /// For want of room.
    pub fn full(&self) -> u64 {
        self.full.load(Ordering::Relaxed)
    }

    /// Because their address had too many.
    pub fn address_full(&self) -> u64 {
        self.address_full.load(Ordering::Relaxed)
    }
}

/// What counts as one address: an IPv6 host commonly has a whole network of 64 bits to itself.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) if !ip.is_loopback() => {
            IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)))
        }
        other => other,
    }
}

/// Accepts connections for ever. Each that is let in runs `welcome` in a thread of its own, with the
/// place it holds and the one to drop when its handshake is over; the others are told why not, and counted.
///
/// # Errors
/// If a thread that is needed from the start can't be had.
pub fn accept(
    listener: TcpListener,
    caps: Caps,
    welcome: impl Fn(Arc<TcpStream>, SocketAddr, Place, Place) + Clone + Send + 'static,
) -> io::Result<Arc<Refused>> {
    let (refuse, refused) = bounded::<(Arc<TcpStream>, Refusal)>(REFUSALS);
    thread::Builder::new().name("refusals".into()).spawn(move || {
        for (stream, refusal) in refused {
            noise::refuse(&stream, refusal as u8);
        }
    })?;
    let mut gate = Gate::new(caps);
    let mut refusals = Refusals::default();
    let counted = Arc::new(Refused::default());
    let counts = Arc::clone(&counted);
    let accepting = move || {
        loop {
            let (stream, from) = match listener.accept() {
                Ok((stream, from)) => (Arc::new(stream), from),
                Err(error) => {
                    tracing::warn!(%error, "could not accept a connection");
                    thread::sleep(EXHAUSTED);
                    continue;
                }
            };
            let (place, handshake) = match gate.admit(from.ip(), &stream) {
                Ok(places) => places,
                Err(refusal) => {
                    counts.count(refusal);
                    if let Some(unsaid) = refusals.worth_saying(Instant::now()) {
                        tracing::warn!(%from, ?refusal, unsaid, "connection refused");
                    }
                    match refuse.try_send((stream, refusal)) {
                        Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => continue,
                    }
                }
            };
            let welcome = welcome.clone();
            let shaking = thread::Builder::new()
                .name("handshake".into())
                .stack_size(HANDSHAKE_STACK)
                .spawn(move || welcome(stream, from, place, handshake));
            if let Err(error) = shaking {
                tracing::warn!(%error, "no thread for another connection");
            }
        }
    };
    thread::Builder::new().name("accept".into()).spawn(accepting)?;
    Ok(counted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection that stands as long as the listener does.
    fn stream() -> (Arc<TcpStream>, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        (Arc::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap()), listener)
    }

    impl Gate {
        fn admit_some(&mut self, from: IpAddr) -> Result<(Place, Place), Refusal> {
            self.admit(from, &stream().0)
        }
    }

    fn gate(total: usize, per_address: usize, handshakes: usize) -> Gate {
        Gate::new(Caps { total, per_address: Some(per_address), per_loopback: None, handshakes })
    }

    #[test]
    fn places_are_bounded_and_come_back() {
        let mut gate = gate(3, 2, 10);
        let [a, b]: [IpAddr; 2] = ["192.0.2.1", "192.0.2.2"].map(|ip| ip.parse().unwrap());
        let first = gate.admit_some(a).unwrap();
        let _second = gate.admit_some(a).unwrap();
        assert_eq!(gate.admit_some(a).unwrap_err(), Refusal::AddressFull);
        let _third = gate.admit_some(b).unwrap();
        assert_eq!(gate.admit_some(b).unwrap_err(), Refusal::Full);
        drop(first);
        let _again = gate.admit_some(a).unwrap();
        assert_eq!(gate.admit_some(b).unwrap_err(), Refusal::Full);
    }

    #[test]
    fn an_address_is_lost_if_it_is_not_this_machine_s() {
        assert!(!is_lost([127, 0, 0, 1].into()));
        // An address for documentation, which nobody has.
        assert!(is_lost([192, 0, 2, 1].into()));
    }

    #[test]
    fn handshakes_have_a_bound_of_their_own() {
        let mut gate = gate(10, 10, 1);
        let from = [192, 0, 2, 1].into();
        let (place, handshake) = gate.admit_some(from).unwrap();
        assert_eq!(gate.admit_some(from).unwrap_err(), Refusal::Full);
        drop(handshake);
        assert!(gate.admit_some(from).is_ok());
        drop(place);
    }

    #[test]
    fn who_has_most_handshakes_under_way_makes_room_for_others() {
        let mut gate = gate(10, 10, 3);
        let [greedy, modest, third]: [IpAddr; 3] =
            ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|ip| ip.parse().unwrap());
        let streams = [stream(), stream()];
        let held: Vec<_> = streams.iter().map(|(stream, _)| gate.admit(greedy, stream).unwrap()).collect();
        let (connection, handshake) = gate.admit_some(modest).unwrap();
        // Nobody has more than the newcomer would: the newcomer is refused.
        assert_eq!(gate.admit_some(greedy).unwrap_err(), Refusal::Full);
        let _third = gate.admit_some(third).unwrap();
        let is_cut = |stream: &TcpStream| stream.peek(&mut [0]).is_ok_and(|read| read == 0);
        streams[1].0.set_nonblocking(true).unwrap();
        assert!(is_cut(&streams[0].0) && !is_cut(&streams[1].0));
        assert_eq!(gate.admit_some(modest).unwrap_err(), Refusal::Full);
        // What was cut gives its places back without being counted twice.
        drop(held);
        assert_eq!(gate.guests.len(), 3);
        let _fourth = gate.admit_some(third).unwrap();
        assert_eq!((gate.total, gate.handshakes), (3, 3));
        drop((connection, handshake));
        let _fifth = gate.admit_some(third).unwrap();
        assert_eq!((gate.total, gate.handshakes, gate.guests.len()), (3, 3, 1));
    }

    #[test]
    fn a_flood_of_refusals_is_counted_and_said_now_and_then() {
        let (start, mut refusals) = (Instant::now(), Refusals::default());
        assert_eq!(refusals.worth_saying(start), Some(0));
        (0..1000).for_each(|_| assert_eq!(refusals.worth_saying(start), None));
        assert_eq!(refusals.worth_saying(start + REFUSED_AGAIN), Some(1000));
        assert_eq!(refusals.worth_saying(start + REFUSED_AGAIN), None);
    }

    #[test]
    fn loopback_has_its_own_cap_and_networks_count_as_one() {
        let mut gate = gate(100, 1, 100);
        let loopback: Vec<_> = (0..10).map(|_| gate.admit_some([127, 0, 0, 1].into()).unwrap()).collect();
        assert_eq!(loopback.len(), 10);
        let _one = gate.admit_some("2001:db8::1".parse().unwrap()).unwrap();
        assert_eq!(gate.admit_some("2001:db8::2".parse().unwrap()).unwrap_err(), Refusal::AddressFull);
        assert!(gate.admit_some("2001:db8:0:1::1".parse().unwrap()).is_ok());
        let _four = gate.admit_some("198.51.100.1".parse().unwrap()).unwrap();
        assert_eq!(
            gate.admit_some("::ffff:198.51.100.1".parse().unwrap()).unwrap_err(),
            Refusal::AddressFull
        );
    }
}
