//! A network between two clients that does harm, and a discovery that sends them into it.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use peerchat::protocol::rendezvous::{Asks, Identity, Registered, Status, ToClient, ToDiscovery};
use peerchat::protocol::{MAX_RENDEZVOUS_FRAME, Name, PublicKey, codec};
use peerchat::transport::noise::{self, Keypair, Purpose, Sealer};
use socket2::{Domain, Socket, Type};

/// From where the proxy dials: the other side takes this for the dialler's address, where no program listens. So
/// who is dialled can't dial back around the proxy.
const FROM: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
/// How many bytes the handshake of a link takes, from the dialler and to it: its three messages, and before the first
/// a choice of one version, before the second that version.
const HANDSHAKE: [usize; 2] = {
    let [first, second, third] = Purpose::Peer.lengths();
    [3 + first + third, 1 + second]
};

/// What is done to a frame, or to all of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// Only so many bytes of the next frame pass, then both connections end.
    Cut(usize),
    /// A bit of this byte of the next frame is another one.
    Flip(usize),
    /// The next frame comes twice.
    Duplicate,
    /// The next frame never comes.
    Drop,
    /// The next frame comes after the one that follows it.
    Swap,
    /// No frame comes any more, until told otherwise.
    Swallow,
    /// Every frame comes later by this much, until told otherwise.
    Delay(Duration),
}

/// From the dialler, or to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    There,
    Back,
}

#[derive(Default)]
struct State {
    faults: [Option<Fault>; 2],
    /// How many frames were harmed.
    harmed: usize,
    /// How many connections there were.
    connections: usize,
}

/// Listens for one client in place of another, and passes on what comes: frame by frame, with a thread for each
/// direction, which holds no more than two frames.
#[derive(Clone)]
pub struct Proxy {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Proxy {
    pub fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Self { address: listener.local_addr().unwrap(), state: Arc::default() };
        let accepting = proxy.clone();
        thread::spawn(move || {
            for near in listener.incoming() {
                let _ = accepting.pass(near.unwrap(), to);
            }
        });
        proxy
    }

    fn pass(&self, near: TcpStream, to: SocketAddr) -> io::Result<()> {
        let far = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        far.bind(&SocketAddr::from((FROM, 0)).into())?;
        far.connect(&to.into())?;
        let far = TcpStream::from(far);
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        self.state.lock().unwrap().connections += 1;
        for (way, from, to) in [(Way::There, &near, &far), (Way::Back, &far, &near)] {
            let (proxy, from, to) = (self.clone(), from.try_clone()?, to.try_clone()?);
            thread::spawn(move || {
                let _ = proxy.copy(way, &from, &to);
                let _ = from.shutdown(Shutdown::Both);
                let _ = to.shutdown(Shutdown::Both);
            });
        }
        Ok(())
    }

    fn copy(&self, way: Way, mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
        let mut handshake = [0; HANDSHAKE[Way::There as usize]];
        // Each message as it comes, for the other side waits for it.
        let mut left = HANDSHAKE[way as usize];
        while left > 0 {
            let read = from.read(&mut handshake[..left])?;
            if read == 0 {
                return Ok(());
            }
            to.write_all(&handshake[..read])?;
            left -= read;
        }
        let mut held = Vec::new();
        loop {
            let mut frame = vec![0; 2];
            from.read_exact(&mut frame)?;
            frame.resize(2 + usize::from(u16::from_be_bytes([frame[0], frame[1]])), 0);
            from.read_exact(&mut frame[2..])?;
            let fault = self.fault(way);
            match fault {
                None => {}
                Some(Fault::Cut(at)) => {
                    to.write_all(&frame[..at.min(frame.len() - 1)])?;
                    return Ok(());
                }
                Some(Fault::Flip(at)) => {
                    let at = at.min(frame.len() - 1);
                    frame[at] ^= 1;
                }
                Some(Fault::Duplicate) => frame.extend_from_within(..),
                Some(Fault::Drop | Fault::Swallow) => continue,
                Some(Fault::Swap) => {
                    held = frame;
                    continue;
                }
                Some(Fault::Delay(by)) => thread::sleep(by),
            }
            to.write_all(&frame)?;
            to.write_all(&std::mem::take(&mut held))?;
        }
    }

    fn fault(&self, way: Way) -> Option<Fault> {
        let mut state = self.state.lock().unwrap();
        let fault = state.faults[way as usize]?;
        if !matches!(fault, Fault::Swallow | Fault::Delay(_)) {
            state.faults[way as usize] = None;
        }
        state.harmed += 1;
        Some(fault)
    }

    /// Harms the next frame in this direction, or all from now on.
    pub fn harm(&self, way: Way, fault: Fault) {
        self.state.lock().unwrap().faults[way as usize] = Some(fault);
    }

    pub fn heal(&self) {
        self.state.lock().unwrap().faults = [None; 2];
    }

    pub fn harmed(&self) -> usize {
        self.state.lock().unwrap().harmed
    }

    pub fn connections(&self) -> usize {
        self.state.lock().unwrap().connections
    }
}

/// Stands for discovery, and tells of each user the address that the test wants, or none.
pub struct Rendezvous {
    pub address: SocketAddr,
    told: Arc<Mutex<Told>>,
}

#[derive(Default)]
struct Told {
    addresses: HashMap<Name, SocketAddr>,
    sessions: HashMap<Name, (PublicKey, TcpStream, Sealer)>,
}

impl Told {
    fn status(&self, name: &Name, asks: bool) -> Option<ToClient> {
        let (key, ..) = self.sessions.get(name)?;
        let address = self.addresses.get(name).copied();
        let asks = if asks { Asks::Typed } else { Asks::No };
        let (name, key, connected) = (name.clone(), *key, true);
        Some(ToClient::Status(Status {
            name,
            key,
            address,
            online: Some(true),
            asks,
            connected,
            also: vec![],
            room: false,
        }))
    }

    fn tell(&mut self, name: &Name, messages: &[ToClient]) {
        let Some((_, stream, sealer)) = self.sessions.get_mut(name) else { return };
        let (mut plain, mut wire) = (Vec::new(), Vec::new());
        messages.iter().for_each(|message| codec::encode(message, &mut plain));
        sealer.seal(&plain, &mut wire).unwrap();
        let _ = stream.write_all(&wire);
    }

    fn hear(&mut self, name: &Name, message: ToDiscovery) {
        match message {
            ToDiscovery::Request(about) => {
                if let (Some(theirs), Some(own)) = (self.status(&about.name, false), self.status(name, true))
                {
                    self.tell(name, &[theirs]);
                    self.tell(&about.name, &[own]);
                }
            }
            ToDiscovery::Identify(asked) => {
                let name_of = self.sessions.iter().find(|(_, (key, ..))| *key == asked.key);
                let found = name_of.map(|(name, _)| name.clone());
                self.tell(name, &[ToClient::Identity(Identity { key: asked.key, name: found })]);
            }
            ToDiscovery::Ping => self.tell(name, &[ToClient::Pong]),
            _ => {}
        }
    }
}

impl Rendezvous {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let told = Arc::<Mutex<Told>>::default();
        let (key, all) = (Keypair::generate().unwrap(), Arc::clone(&told));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (key, all) = (key.clone(), Arc::clone(&all));
                thread::spawn(move || Self::serve(&stream.unwrap(), &key, &all));
            }
        });
        Self { address, told }
    }

    fn serve(stream: &TcpStream, key: &Keypair, told: &Mutex<Told>) -> Option<()> {
        let session =
            noise::respond(stream, Purpose::Rendezvous, key, noise::Deadline::of_handshake()).ok()?;
        let mut unused = Some(session.sealer);
        let mut opener = session.opener;
        let mut own: Option<Name> = None;
        loop {
            let frame = opener.read(&mut &*stream, MAX_RENDEZVOUS_FRAME, 4096).ok()??;
            for message in codec::decode::<ToDiscovery>(frame).ok()? {
                let mut told = told.lock().unwrap();
                match (&own, message) {
                    (None, ToDiscovery::Register(register)) => {
                        let sealer = unused.take()?;
                        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);
                        let session = (session.remote, stream.try_clone().ok()?, sealer);
                        told.sessions.insert(register.name.clone(), session);
                        told.tell(
                            &register.name,
                            &[
                                ToClient::Registered(Registered { address, observed: address }),
                                ToClient::Synced,
                            ],
                        );
                        own = Some(register.name);
                    }
                    (Some(name), message) => told.hear(name, message),
                    (None, _) => return None,
                }
            }
        }
    }

    /// From now on a user is said to be there.
    pub fn send_to(&self, name: &str, address: SocketAddr) {
        self.told.lock().unwrap().addresses.insert(name.parse().unwrap(), address);
    }
}
