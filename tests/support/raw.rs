//! Peers and clients of discovery that do exactly what a test tells them: strangers, thieves, contacts.

use std::marker::PhantomData;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use minicbor::{Decode, Encode};
use peerchat::protocol::peer::{Bye, Cursor, Hello, Kind, Message, Peer, Via};
use peerchat::protocol::rendezvous::{Register, Strangers, ToClient, ToDiscovery};
use peerchat::protocol::{Name, PublicKey, codec};
use peerchat::store::journal::Journal;
use peerchat::transport::noise::{self, HandshakeError, Keypair, Purpose, Sealer};
use socket2::{Domain, Socket, Type};

use super::client::Client;
use super::discovery::{self, DEADLINE};

/// Longer than a frame may be, for what is sent to find out.
const LONGEST: usize = 65_519;

/// A proven connection on which `T`s come. All that comes is read at once, so that the other side never waits.
pub struct Wire<T> {
    /// The key that the other side has proved.
    pub remote: PublicKey,
    /// Whether this side has the lower key.
    decides: bool,
    pub stream: TcpStream,
    sealer: Sealer,
    heard: mpsc::Receiver<T>,
    /// All that was taken from `heard`, for the reader of a failure.
    log: Vec<String>,
    _item: PhantomData<T>,
}

/// What a peer says.
pub type RawPeer = Wire<Peer>;

/// What a wire has brought within some time.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard<T> {
    Said(T),
    /// The other side has closed or reset the connection, and everything was heard before.
    Closed,
    Silence,
}

/// Connects from a certain address of the loopback network.
pub fn connect_from(from: Ipv4Addr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.connect_timeout(&to.into(), DEADLINE)?;
    Ok(socket.into())
}

impl<T: for<'b> Decode<'b, ()> + std::fmt::Debug + Send + 'static> Wire<T> {
    fn over(stream: TcpStream, own: &Keypair, session: noise::Session) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        let reading = stream.try_clone().unwrap();
        let noise::Session { remote, mut opener, sealer, .. } = session;
        let (send, heard) = mpsc::channel();
        thread::spawn(move || {
            while let Ok(Some(frame)) = opener.read(&mut &reading, LONGEST, 4096) {
                let Ok(said) = codec::decode::<T>(frame) else { return };
                for message in said {
                    if send.send(message).is_err() {
                        return;
                    }
                }
            }
        });
        let decides = own.public() < remote;
        Self { remote, decides, stream, sealer, heard, log: Vec::new(), _item: PhantomData }
    }

    /// As the side that dials.
    pub fn dial(
        from: Ipv4Addr,
        to: SocketAddr,
        purpose: Purpose,
        own: &Keypair,
        remote: Option<PublicKey>,
    ) -> Result<Self, HandshakeError> {
        let stream = connect_from(from, to).map_err(HandshakeError::Io)?;
        let session = noise::initiate(&stream, purpose, own, remote, noise::Deadline::of_handshake())?;
        Ok(Self::over(stream, own, session))
    }

    /// As the side that was dialled.
    pub fn respond(stream: TcpStream, purpose: Purpose, own: &Keypair) -> Result<Self, HandshakeError> {
        let session = noise::respond(&stream, purpose, own, noise::Deadline::of_handshake())?;
        Ok(Self::over(stream, own, session))
    }

    /// All in one frame.
    pub fn say<S: Encode<()>>(&mut self, messages: &[S]) -> std::io::Result<()> {
        let mut frame = Vec::new();
        messages.iter().for_each(|message| codec::encode(message, &mut frame));
        self.frame(&frame)
    }

    /// A sealed frame with anything in it.
    pub fn frame(&mut self, plain: &[u8]) -> std::io::Result<()> {
        let mut sealed = Vec::new();
        self.sealer.seal(plain, &mut sealed).unwrap();
        std::io::Write::write_all(&mut self.stream, &sealed)
    }

    pub fn hear(&mut self, within: Duration) -> Heard<T> {
        match self.heard.recv_timeout(within) {
            Ok(said) => {
                self.log.push(format!("{said:?}"));
                Heard::Said(said)
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => Heard::Closed,
            Err(mpsc::RecvTimeoutError::Timeout) => Heard::Silence,
        }
    }

    /// The next for which `fits` finds something; what comes before is passed over.
    pub fn wait<R>(&mut self, what: &str, mut fits: impl FnMut(&T) -> Option<R>) -> R {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.hear(deadline.saturating_duration_since(Instant::now())) {
                Heard::Said(said) => {
                    if let Some(found) = fits(&said) {
                        return found;
                    }
                }
                end => panic!("{end:?} instead of {what}, after {:#?}", self.log),
            }
        }
    }

    /// Whether something comes that fits, before the other side closes.
    pub fn wait_or_end(&mut self, mut fits: impl FnMut(&T) -> bool) -> bool {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.hear(deadline.saturating_duration_since(Instant::now())) {
                Heard::Said(said) if fits(&said) => return true,
                Heard::Said(_) => {}
                Heard::Closed => return false,
                Heard::Silence => panic!("neither comes, after {:#?}", self.log),
            }
        }
    }

    /// Everything that has come and is not yet taken.
    pub fn unheard(&mut self) -> Vec<T> {
        self.heard.try_iter().collect()
    }

    /// Everything that comes until the other side closes the connection.
    pub fn until_closed(&mut self) -> Vec<T> {
        let deadline = Instant::now() + DEADLINE;
        let mut said = Vec::new();
        loop {
            match self.hear(deadline.saturating_duration_since(Instant::now())) {
                Heard::Said(message) => said.push(message),
                Heard::Closed => return said,
                Heard::Silence => panic!("never closed, after {:#?}", self.log),
            }
        }
    }

    pub fn close(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// How the other side has met a link.
#[derive(Debug)]
pub enum Met {
    Hello(RawPeer, Hello),
    Bye(Bye),
    /// Closed without a word, or refused in the handshake.
    Closed,
}

impl std::fmt::Debug for RawPeer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a wire with {}", self.remote)
    }
}

impl Met {
    #[track_caller]
    pub fn hello(self) -> (RawPeer, Hello) {
        match self {
            Self::Hello(peer, hello) => (peer, hello),
            other => panic!("no hello: {other:?}"),
        }
    }
}

/// An epoch that no other link of this process has.
pub fn epoch() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0xa77a_c000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A hello that claims nothing, from a start of its own.
pub fn hello(name: &str) -> Hello {
    Hello {
        name: discovery::name(name),
        epoch: epoch(),
        port: 1,
        window: 1 << 20,
        cursors: Vec::new(),
        hold: None,
        via: Via::Direct,
        linked: true,
        room: false,
    }
}

/// Written now.
pub fn message(epoch: u64, number: u64, kind: Kind, body: &[u8]) -> Peer {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let sent = i64::try_from(now.as_millis()).unwrap();
    Peer::Message(Message { epoch, number, kind, sent, body: body.to_vec(), original: None })
}

pub fn text(epoch: u64, number: u64, body: &str) -> Peer {
    message(epoch, number, Kind::TEXT, body.as_bytes())
}

pub fn cursor(epoch: u64, number: u64) -> Cursor {
    Cursor { epoch, number }
}

impl RawPeer {
    /// Dials a client, says hello and waits for what it says.
    pub fn link(client: &Client, own: &Keypair, hello: Hello) -> Met {
        Self::link_from(Ipv4Addr::LOCALHOST, client, own, hello)
    }

    pub fn link_from(from: Ipv4Addr, client: &Client, own: &Keypair, hello: Hello) -> Met {
        let key = client.fingerprint.parse().unwrap();
        match Self::dial(from, client.address, Purpose::Peer, own, Some(key)) {
            Ok(peer) => peer.greet(hello),
            Err(_) => Met::Closed,
        }
    }

    /// Dials a client until it lets this key in: one that comes too often has to wait.
    pub fn insist(client: &Client, own: &Keypair, hello: &Hello) -> (Self, Hello) {
        let deadline = Instant::now() + 3 * DEADLINE;
        loop {
            match Self::link(client, own, hello.clone()) {
                Met::Hello(peer, theirs) => return (peer, theirs),
                other => assert!(Instant::now() < deadline, "never let in: {other:?}"),
            }
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Says hello and waits for what the other side says, until the link is up.
    pub fn greet(mut self, hello: Hello) -> Met {
        let _ = self.say(&[Peer::Hello(hello)]);
        let mut theirs = None;
        loop {
            match (self.hear(DEADLINE), theirs.take()) {
                (Heard::Said(Peer::Hello(hello)), None) if self.decides => {
                    let _ = self.say(&[Peer::Keep(1)]);
                    return Met::Hello(self, hello);
                }
                (Heard::Said(Peer::Hello(hello)), None) => theirs = Some(hello),
                (Heard::Said(Peer::Keep(_)), Some(hello)) if !self.decides => return Met::Hello(self, hello),
                (Heard::Said(Peer::Bye(bye)), _) => return Met::Bye(bye),
                (Heard::Closed, _) => return Met::Closed,
                other => panic!("{other:?} instead of a hello"),
            }
        }
    }

    /// The next message.
    pub fn message(&mut self) -> Message {
        self.wait("a message", |said| match said {
            Peer::Message(message) => Some(message.clone()),
            _ => None,
        })
    }

    /// Every message up to the one with this text; what else comes is in between.
    pub fn up_to(&mut self, text: &str) -> Vec<Peer> {
        let mut all = Vec::new();
        self.wait(text, |said| {
            all.push(said.clone());
            matches!(said, Peer::Message(message) if message.body == text.as_bytes()).then_some(())
        });
        all
    }
}

/// The texts among what a peer has said.
pub fn texts(said: &[Peer]) -> Vec<String> {
    let text = |said: &Peer| match said {
        Peer::Message(message) => Some(String::from_utf8_lossy(&message.body).into_owned()),
        _ => None,
    };
    said.iter().filter_map(text).collect()
}

/// The secret key of an account whose client is not running, as a thief with its disk has it.
pub fn stolen(directory: &Path, name: &str) -> Keypair {
    let journal = Journal::open(&directory.join(format!("{name}.journal")), &name.parse().unwrap()).unwrap();
    journal.identity().unwrap().1
}

/// A port at which no one answers, and which counts who dials it.
pub struct Lure {
    pub address: SocketAddr,
    dials: Arc<AtomicUsize>,
    came: mpsc::Receiver<TcpStream>,
}

impl Lure {
    pub fn at(ip: Ipv4Addr) -> Self {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let dials = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&dials);
        let (send, came) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                counted.fetch_add(1, Ordering::SeqCst);
                if send.send(stream).is_err() {
                    return;
                }
            }
        });
        Self { address, dials, came }
    }

    /// At this machine's usual address.
    pub fn here() -> Self {
        Self::at(Ipv4Addr::LOCALHOST)
    }

    pub fn dials(&self) -> usize {
        self.dials.load(Ordering::SeqCst)
    }

    /// The next connection.
    pub fn dialled(&self) -> TcpStream {
        self.came.recv_timeout(DEADLINE).expect("a dial")
    }

    /// The next dialler, after a handshake as the owner of this key.
    pub fn accept(&self, own: &Keypair) -> RawPeer {
        RawPeer::respond(self.dialled(), Purpose::Peer, own).unwrap()
    }
}

/// A user of discovery who is what a test makes of them.
pub struct Account {
    pub name: String,
    pub key: Keypair,
    pub session: Wire<ToClient>,
    pub lure: Lure,
}

impl Account {
    /// Registered, and dialled at a lure.
    pub fn new(discovery: SocketAddr, name: &str) -> Self {
        Self::with(discovery, name, discovery::keypair(), Ipv4Addr::LOCALHOST, Lure::here(), Strangers::Open)
    }

    /// Registered from a certain address.
    pub fn from(discovery: SocketAddr, name: &str, ip: Ipv4Addr) -> Self {
        Self::with(discovery, name, discovery::keypair(), ip, Lure::at(ip), Strangers::Open)
    }

    /// Registered as said; what discovery tells after that stays unheard.
    pub fn with(
        discovery: SocketAddr,
        name: &str,
        key: Keypair,
        from: Ipv4Addr,
        lure: Lure,
        strangers: Strangers,
    ) -> Self {
        let mut session = session(from, discovery, &key).unwrap();
        session.say(&[registration(name, lure.address, strangers)]).unwrap();
        session.wait("the registration", |said| matches!(said, ToClient::Registered(_)).then_some(()));
        Self { name: name.into(), key, session, lure }
    }

    /// Asks for a user, as a person does.
    pub fn request(&mut self, name: &str) {
        self.session.say(&[discovery::request(name)]).unwrap();
    }

    /// Waits until discovery has taken everything that was said.
    pub fn settle(&mut self) -> Vec<ToClient> {
        self.session.say(&[ToDiscovery::Ping]).unwrap();
        let mut said = Vec::new();
        self.session.wait("a pong", |it| {
            said.push(it.clone());
            matches!(it, ToClient::Pong).then_some(())
        });
        said
    }

    /// Dials a client as this user.
    pub fn link(&self, client: &Client) -> Met {
        RawPeer::link(client, &self.key, self.hello())
    }

    pub fn hello(&self) -> Hello {
        Hello { port: self.lure.address.port(), ..hello(&self.name) }
    }
}

/// A session with discovery that has said nothing yet.
pub fn session(from: Ipv4Addr, to: SocketAddr, own: &Keypair) -> Result<Wire<ToClient>, HandshakeError> {
    Wire::dial(from, to, Purpose::Rendezvous, own, None)
}

pub fn registration(name: &str, listen: SocketAddr, strangers: Strangers) -> ToDiscovery {
    let name: Name = name.parse().unwrap();
    ToDiscovery::Register(Register::new(name, listen, None, strangers))
}
