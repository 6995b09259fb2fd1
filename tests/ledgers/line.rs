//! A line to a server that is cut at the moment that a test wants.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;

const WHOLE: u8 = 0;
/// What is asked next does not arrive.
const ASKING: u8 = 1;
/// What is asked next arrives, and the answer does not.
const ANSWERING: u8 = 2;

#[derive(Clone)]
pub struct Line {
    pub port: u16,
    state: Arc<AtomicU8>,
}

impl Line {
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let line = Self { port: listener.local_addr().unwrap().port(), state: Arc::default() };
        let state = Arc::clone(&line.state);
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let server = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
                pass(client, server, &state);
            }
        });
        line
    }

    /// Once; connections made later are whole.
    pub fn cut_asking(&self) {
        self.state.store(ASKING, Ordering::SeqCst);
    }

    pub fn cut_answering(&self) {
        self.state.store(ANSWERING, Ordering::SeqCst);
    }
}

fn pass(client: TcpStream, server: TcpStream, state: &Arc<AtomicU8>) {
    for stream in [&client, &server] {
        stream.set_nodelay(true).unwrap();
    }
    let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let asked = Arc::clone(state);
    thread::spawn(move || {
        let mut buffer = [0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if asked.compare_exchange(ASKING, WHOLE, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                let _ = from.shutdown(Shutdown::Both);
                break;
            }
            if to.write_all(&buffer[..count]).is_err() {
                return;
            }
        }
        // The server takes what it has got first.
        let _ = to.shutdown(Shutdown::Write);
    });
    let (mut from, mut to) = (server, client);
    let answered = Arc::clone(state);
    thread::spawn(move || {
        let mut buffer = [0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if answered.compare_exchange(ANSWERING, WHOLE, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                let _ = to.shutdown(Shutdown::Both);
            }
            let _ = to.write_all(&buffer[..count]);
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}
