//! A real discovery, and a raw client for it.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use peerchat::protocol::rendezvous::{
    About, Identify, RefusedCode, Register, Request, Status, Strangers, ToClient, ToDiscovery,
};
use peerchat::protocol::{Name, PublicKey, codec};
use peerchat::transport::noise::{self, Keypair, Opener, Purpose, Sealer};

/// Longer than anything here takes on a machine that is busy with other tests.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// A running discovery, killed when dropped.
pub struct Discovery {
    child: Child,
    pub line: String,
    pub address: SocketAddr,
}

impl Discovery {
    pub fn start(db: &Path) -> Self {
        Self::start_with(db, &[])
    }

    /// On a free port of the loopback interface.
    pub fn start_with(db: &Path, options: &[&str]) -> Self {
        Self::start_at(db, options, "0")
    }

    pub fn start_at(db: &Path, options: &[&str], port: &str) -> Self {
        Self::spawn(command(db).args(options).args(["127.0.0.1", port]))
    }

    pub fn spawn(command: &mut Command) -> Self {
        Self::try_spawn(command).unwrap_or_else(|stderr| panic!("discovery does not start: {stderr}"))
    }

    /// One that may end before it listens: then what it wrote to standard error.
    pub fn try_spawn(command: &mut Command) -> Result<Self, String> {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).unwrap();
            let _ = sender.send(line);
        });
        let line = lines.recv_timeout(DEADLINE).expect("discovery says where it listens");
        let address = line.split("listening on ").nth(1).and_then(|rest| rest.split(',').next());
        let Some(address) = address.and_then(|address| address.parse().ok()) else {
            let mut stderr = String::new();
            child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
            child.wait().unwrap();
            return Err(stderr);
        };
        Ok(Self { child, line, address })
    }

    pub fn pid(&self) -> String {
        self.child.id().to_string()
    }

    pub fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.pid()]).status().unwrap().success());
    }

    /// As `kill -9` does.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// How it ended, within the time given, and what it wrote to standard error.
    pub fn ended(mut self, within: Duration) -> (ExitStatus, String) {
        let status = wait(&mut self.child, within);
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        (status, stderr)
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn wait(child: &mut Child, within: Duration) -> ExitStatus {
    let deadline = Instant::now() + within;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("still running after {within:?}");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

pub fn command(db: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_discovery"));
    command.env_remove("RUST_LOG").arg("--db").arg(db).stdin(Stdio::null());
    command
}

/// Runs a discovery that is expected to end by itself.
pub fn fails(mut command: Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait(&mut child, DEADLINE);
    child.wait_with_output().unwrap()
}

/// A directory of its own, with the database that is to be in it.
pub fn scratch() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let db = directory.path().join("discovery.db");
    (directory, db)
}

pub fn keypair() -> Keypair {
    Keypair::generate().unwrap()
}

pub fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub fn register(text: &str, port: u16) -> ToDiscovery {
    register_at(text, ([127, 0, 0, 1], port).into(), Strangers::Open)
}

pub fn register_at(text: &str, listen: SocketAddr, strangers: Strangers) -> ToDiscovery {
    ToDiscovery::Register(Register::new(name(text), listen, None, strangers))
}

pub fn request(text: &str) -> ToDiscovery {
    ToDiscovery::Request(Request { name: name(text), typed: true })
}

/// What a client asks by itself: it answers, or repeats what it has asked before.
pub fn request_again(text: &str) -> ToDiscovery {
    ToDiscovery::Request(Request { name: name(text), typed: false })
}

pub fn drop_user(text: &str) -> ToDiscovery {
    ToDiscovery::Drop(About { name: name(text) })
}

pub fn identify(key: PublicKey) -> ToDiscovery {
    ToDiscovery::Identify(Identify { key })
}

/// A client that does exactly what it is told.
pub struct Raw {
    pub stream: TcpStream,
    pub discovery: PublicKey,
    opener: Opener,
    pub sealer: Sealer,
    unread: std::collections::VecDeque<ToClient>,
}

impl Raw {
    pub fn connect(to: SocketAddr, own: &Keypair) -> Self {
        Self::try_connect(to, own).unwrap()
    }

    pub fn try_connect(to: SocketAddr, own: &Keypair) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(to)?;
        let session =
            noise::initiate(&stream, Purpose::Rendezvous, own, None, noise::Deadline::of_handshake())?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        stream.set_nodelay(true)?;
        let noise::Session { remote, opener, sealer, .. } = session;
        Ok(Self { stream, discovery: remote, opener, sealer, unread: Default::default() })
    }

    /// Connected and registered, with everything read that comes at first.
    pub fn log_in(to: SocketAddr, own: &Keypair, text: &str, port: u16) -> Self {
        let mut raw = Self::connect(to, own);
        raw.say(&register(text, port));
        assert!(matches!(raw.hear(), Some(ToClient::Registered(_))), "{text}");
        raw
    }

    /// The same, and what is known of contacts.
    pub fn synced(to: SocketAddr, own: &Keypair, text: &str, port: u16) -> (Self, Vec<Status>) {
        let mut raw = Self::log_in(to, own, text, port);
        let contacts = raw.contacts();
        (raw, contacts)
    }

    pub fn contacts(&mut self) -> Vec<Status> {
        let mut contacts = Vec::new();
        loop {
            match self.hear() {
                Some(ToClient::Status(status)) => contacts.push(status),
                Some(ToClient::Synced) => return contacts,
                other => panic!("{other:?} instead of a contact"),
            }
        }
    }

    pub fn say(&mut self, message: &ToDiscovery) {
        self.try_say(message).unwrap();
    }

    pub fn try_say(&mut self, message: &ToDiscovery) -> std::io::Result<()> {
        let mut frame = Vec::new();
        codec::encode(message, &mut frame);
        self.try_frame(&frame)
    }

    /// Sends a sealed frame with anything in it.
    pub fn frame(&mut self, plain: &[u8]) {
        self.try_frame(plain).unwrap();
    }

    fn try_frame(&mut self, plain: &[u8]) -> std::io::Result<()> {
        let mut wire = Vec::new();
        self.sealer.seal(plain, &mut wire).unwrap();
        std::io::Write::write_all(&mut self.stream, &wire)
    }

    /// The next message; `None` when the connection is over.
    pub fn hear(&mut self) -> Option<ToClient> {
        match self.next() {
            Ok(message) => message,
            Err(noise::OpenError::Io(error))
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::ConnectionReset
                        | std::io::ErrorKind::BrokenPipe
                        | std::io::ErrorKind::UnexpectedEof
                ) =>
            {
                None
            }
            Err(error) => panic!("waiting for discovery: {error}"),
        }
    }

    /// The same, and `None` too if nothing comes in time.
    pub fn try_hear(&mut self) -> Option<ToClient> {
        self.next().ok().flatten()
    }

    fn next(&mut self) -> Result<Option<ToClient>, noise::OpenError> {
        loop {
            if let Some(message) = self.unread.pop_front() {
                return Ok(Some(message));
            }
            match self.opener.read(&mut &self.stream, 65_519, 4096)? {
                Some(frame) => self.unread.extend(codec::decode::<ToClient>(frame).unwrap()),
                None => return Ok(None),
            }
        }
    }

    pub fn ask(&mut self, message: &ToDiscovery) -> ToClient {
        self.say(message);
        self.hear().expect("an answer")
    }

    /// Waits for what is said of a user.
    pub fn status(&mut self) -> Status {
        match self.hear() {
            Some(ToClient::Status(status)) => status,
            other => panic!("{other:?} instead of a status"),
        }
    }

    /// Asserts that nothing was sent that is not yet heard.
    pub fn nothing_unheard(&mut self) {
        assert_eq!(self.ask(&ToDiscovery::Ping), ToClient::Pong);
    }

    /// Asserts that discovery ends this connection, whatever it says before.
    pub fn expect_end(mut self) {
        while self.hear().is_some() {}
    }

    pub fn refused(&mut self, message: &ToDiscovery) -> RefusedCode {
        match self.ask(message) {
            ToClient::Refused(refused) => refused.code,
            other => panic!("{other:?} instead of a refusal"),
        }
    }
}
