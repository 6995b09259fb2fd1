//! A discovery that says what a test wants, true or not.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use peerchat::protocol::rendezvous::{Asks, Identity, Registered, Status, ToClient, ToDiscovery};
use peerchat::protocol::{Name, PublicKey};
use peerchat::transport::noise::{Keypair, Purpose};

use super::discovery::{DEADLINE, keypair};
use super::raw::{Heard, Wire};

/// Registers every client under its name, and answers its pings; all else is for the test to say.
pub struct Liar {
    pub address: SocketAddr,
    pub key: Keypair,
    names: Arc<Mutex<HashMap<PublicKey, Name>>>,
    sessions: mpsc::Receiver<Session>,
}

/// What it has with one client that has registered.
pub struct Session {
    pub name: Name,
    /// The client's.
    pub key: PublicKey,
    tell: mpsc::Sender<Vec<ToClient>>,
    asked: mpsc::Receiver<ToDiscovery>,
}

impl Liar {
    pub fn start() -> Self {
        Self::with(keypair())
    }

    pub fn with(key: Keypair) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (send, sessions) = mpsc::channel();
        let (own, names) = (key.clone(), Arc::<Mutex<HashMap<_, _>>>::default());
        let known = Arc::clone(&names);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (own, send, known) = (own.clone(), send.clone(), Arc::clone(&known));
                thread::spawn(move || {
                    if let Ok(wire) = Wire::<ToDiscovery>::respond(stream, Purpose::Rendezvous, &own) {
                        serve(wire, &send, &known);
                    }
                });
            }
        });
        Self { address, key, names, sessions }
    }

    /// The next client that has registered.
    pub fn session(&self) -> Session {
        self.sessions.recv_timeout(DEADLINE).expect("a client registers")
    }

    /// From now on a client that asks whose key this is, is told so.
    pub fn name(&self, key: PublicKey, name: &str) {
        self.names.lock().unwrap().insert(key, name.parse().unwrap());
    }
}

fn serve(
    mut wire: Wire<ToDiscovery>,
    sessions: &mpsc::Sender<Session>,
    names: &Mutex<HashMap<PublicKey, Name>>,
) -> Option<()> {
    let (tell, told) = mpsc::channel::<Vec<ToClient>>();
    let (ask, asked) = mpsc::channel();
    let mut unused = Some((tell, asked));
    loop {
        for messages in told.try_iter() {
            // As many as surely fit into a frame.
            for some in messages.chunks(8) {
                wire.say(some).ok()?;
            }
        }
        match wire.hear(std::time::Duration::from_millis(10)) {
            Heard::Said(ToDiscovery::Register(register)) => {
                let address = wire.stream.peer_addr().ok()?;
                wire.say(&[
                    ToClient::Registered(Registered { address, observed: address }),
                    ToClient::Synced,
                ])
                .ok()?;
                if let Some((tell, asked)) = unused.take() {
                    let _ = sessions.send(Session { name: register.name, key: wire.remote, tell, asked });
                }
            }
            Heard::Said(ToDiscovery::Ping) => wire.say(&[ToClient::Pong]).ok()?,
            Heard::Said(ToDiscovery::Identify(about)) => {
                let name = names.lock().unwrap().get(&about.key).cloned();
                wire.say(&[ToClient::Identity(Identity { key: about.key, name })]).ok()?;
                let _ = ask.send(ToDiscovery::Identify(about));
            }
            Heard::Said(other) => drop(ask.send(other)),
            Heard::Closed => return None,
            Heard::Silence => {}
        }
    }
}

impl Session {
    pub fn tell(&self, messages: Vec<ToClient>) {
        self.tell.send(messages).expect("the client is there");
    }

    /// Waits until the client says something for which `fits` holds.
    pub fn wait(&self, what: &str, mut fits: impl FnMut(&ToDiscovery) -> bool) -> ToDiscovery {
        loop {
            match self.asked.recv_timeout(DEADLINE) {
                Ok(said) if fits(&said) => return said,
                Ok(_) => {}
                Err(why) => panic!("{why}: {what}"),
            }
        }
    }

    /// Everything that the client has said and the test has not heard.
    pub fn unheard(&self) -> Vec<ToDiscovery> {
        self.asked.try_iter().collect()
    }
}

/// What is said of a user who is there and has asked and been asked.
pub fn connected(name: &str, key: PublicKey, address: SocketAddr) -> Status {
    Status {
        name: name.parse().unwrap(),
        key,
        address: Some(address),
        online: Some(true),
        asks: Asks::No,
        connected: true,
        also: Vec::new(),
        room: false,
    }
}

/// What is said of a user who asks, to one who has not.
pub fn asking(name: &str, key: PublicKey, asks: Asks) -> Status {
    Status {
        name: name.parse().unwrap(),
        key,
        address: None,
        online: None,
        asks,
        connected: false,
        also: vec![],
        room: false,
    }
}
