//! The way of one node to PostgreSQL, which can be cut.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

#[derive(Clone, Copy, PartialEq)]
enum Is {
    Whole,
    Cut,
    Silent,
}

struct State {
    is: Is,
    /// Both ends of all connections that there were since it was last cut.
    ends: Vec<TcpStream>,
}

struct Way {
    state: Mutex<State>,
    changed: Condvar,
}

/// Listens in place of a server on this machine, and carries bytes both ways.
pub struct Line {
    pub port: u16,
    way: Arc<Way>,
}

impl Line {
    pub fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Mutex::new(State { is: Is::Whole, ends: Vec::new() });
        let line = Self { port, way: Arc::new(Way { state, changed: Condvar::new() }) };
        let way = Arc::clone(&line.way);
        thread::spawn(move || {
            for near in listener.incoming() {
                let (near, way) = (near.unwrap(), Arc::clone(&way));
                thread::spawn(move || way.connect(near, to));
            }
        });
        line
    }

    /// Both sides are told that their connections are over, and so are those of new ones.
    pub fn cut(&self) {
        let mut state = self.set(Is::Cut);
        for end in state.ends.drain(..) {
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    /// Nothing comes through any more, and neither side is told of it.
    pub fn silence(&self) {
        drop(self.set(Is::Silent));
    }

    /// What was held up in silence goes on.
    pub fn heal(&self) {
        drop(self.set(Is::Whole));
    }

    fn set(&self, is: Is) -> MutexGuard<'_, State> {
        let mut state = self.way.state.lock().unwrap();
        state.is = is;
        self.way.changed.notify_all();
        state
    }
}

impl Way {
    /// Waits as long as the line is silent.
    fn passed(&self) -> MutexGuard<'_, State> {
        let state = self.state.lock().unwrap();
        self.changed.wait_while(state, |state| state.is == Is::Silent).unwrap()
    }

    fn connect(self: Arc<Self>, near: TcpStream, to: u16) -> io::Result<()> {
        let mut state = self.passed();
        if state.is == Is::Cut {
            return Ok(());
        }
        let far = TcpStream::connect(("127.0.0.1", to))?;
        for end in [&near, &far] {
            end.set_nodelay(true)?;
            state.ends.push(end.try_clone()?);
        }
        drop(state);
        for (from, to) in [(near.try_clone()?, far.try_clone()?), (far, near)] {
            let way = Arc::clone(&self);
            thread::spawn(move || {
                let _ = way.carry(&from, &to);
                let _ = from.shutdown(Shutdown::Both);
                let _ = to.shutdown(Shutdown::Both);
            });
        }
        Ok(())
    }

    fn carry(&self, mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
        let mut bytes = [0; 16 * 1024];
        loop {
            let read = from.read(&mut bytes)?;
            drop(self.passed());
            if read == 0 {
                return Ok(());
            }
            to.write_all(&bytes[..read])?;
        }
    }
}
