//! A line that carries only so many bytes a second, between two clients.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

/// From where it dials, so that the client who is dialled can't dial back around it: no program listens there.
const FROM: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
/// What waits in the kernel before the line, in bytes.
const BUFFER: usize = 4096;
/// How many bytes go over the line at a time.
const STEP: usize = 250;

/// Listens for one client in place of another, and carries bytes both ways.
pub struct Throttle {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Throttle {
    /// A line to `to` that carries `rate` bytes a second each way, whatever the number of its connections.
    pub fn start(to: SocketAddr, rate: u32) -> Self {
        let listener = socket().unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(16).unwrap();
        let listener = TcpListener::from(listener);
        let line = Self { address: listener.local_addr().unwrap(), connections: Arc::default() };
        let connections = Arc::clone(&line.connections);
        thread::spawn(move || {
            for near in listener.incoming() {
                connections.fetch_add(1, Ordering::Relaxed);
                let _ = connect(near.unwrap(), to, rate);
            }
        });
        line
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

fn socket() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_recv_buffer_size(BUFFER)?;
    Ok(socket)
}

fn connect(near: TcpStream, to: SocketAddr, rate: u32) -> io::Result<()> {
    let far = socket()?;
    far.bind(&SocketAddr::from((FROM, 0)).into())?;
    far.connect(&to.into())?;
    let far = TcpStream::from(far);
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    for (from, to) in [(near.try_clone()?, far.try_clone()?), (far, near)] {
        thread::spawn(move || {
            let _ = carry(&from, &to, rate);
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
    Ok(())
}

fn carry(mut from: &TcpStream, mut to: &TcpStream, rate: u32) -> io::Result<()> {
    let mut step = [0; STEP];
    let mut free = Instant::now();
    loop {
        let read = from.read(&mut step)?;
        if read == 0 {
            return Ok(());
        }
        free = free.max(Instant::now()) + Duration::from_secs(1) * u32::try_from(read).unwrap() / rate;
        thread::sleep(free.saturating_duration_since(Instant::now()));
        to.write_all(&step[..read])?;
    }
}
