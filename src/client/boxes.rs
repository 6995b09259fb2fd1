//! Boxes: front ends in other programs, which attach over a Unix socket and speak the JSON lines of `docs/scripting.md`.
//!
//! Each has threads of its own, so that none delays the loop or another box: what waits for one is bounded by the node,
//! which cuts a box that takes nothing, and the commands of one wait until what it was told before has found room.
//!
//! - `socket`: where the socket is, and who may connect; `connection`: one box.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, never};

use super::command::Command;
use super::event::{BoxId, Input};
use super::node::ForBox;
use crate::protocol::Name;
use connection::Connection;
pub use socket::connect;
use socket::{Socket, is_own};

mod connection;
mod socket;

/// How many boxes there may be.
const MAX_BOXES: usize = 32;
/// How long nothing is let in after that has failed.
const REST: Duration = Duration::from_millis(100);
/// How many events of boxes may wait for the loop.
const EVENTS: usize = 64;

/// What the threads of the boxes tell the loop.
pub enum Happened {
    Attached(BoxId, UnixStream, Place),
    /// It says nothing at first.
    Waits(BoxId),
    /// The box takes no more until these are taken.
    Said(BoxId, Vec<Input>),
    Written(BoxId),
    Writing(BoxId),
    /// The box says nothing more: it gets what it was told until now.
    Silent(BoxId),
    /// All that it gets is written, or it takes nothing more.
    Gone(BoxId),
}

/// One of [`MAX_BOXES`], until it is dropped.
pub struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(taken: &Arc<AtomicUsize>) -> Option<Self> {
        let place = Self(Arc::clone(taken));
        (taken.fetch_add(1, Ordering::Relaxed) < MAX_BOXES).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where boxes come in.
struct Door {
    listener: UnixListener,
    taken: Arc<AtomicUsize>,
    ids: Arc<AtomicU64>,
    events: Sender<Happened>,
}

impl Door {
    fn run(self) {
        for stream in self.listener.incoming() {
            let stream = match stream {
                Ok(stream) if is_own(&stream) => stream,
                Ok(_) => {
                    tracing::warn!("a program of another user has come to the socket and is refused");
                    continue;
                }
                Err(error) => {
                    tracing::warn!(%error, "no box can attach");
                    // Descriptors may be short for a while.
                    thread::sleep(REST);
                    continue;
                }
            };
            let Some(place) = Place::take(&self.taken) else {
                tracing::warn!("there are {MAX_BOXES} boxes, and another one is refused");
                continue;
            };
            let id = self.ids.fetch_add(1, Ordering::Relaxed);
            if self.events.send(Happened::Attached(id, stream, place)).is_err() {
                return;
            }
        }
    }
}

struct Attached {
    connection: Connection,
    /// Whether the node knows of it. Its first line says how it is to be told of.
    known: bool,
    /// Commands that were said and are not yet taken in.
    said: VecDeque<Input>,
}

impl Attached {
    /// Lets the box say more, once all that it has said is taken in.
    fn grant(&self) {
        if self.said.is_empty() {
            let _ = self.connection.grants.try_send(());
        }
    }
}

pub struct Boxes {
    pub events: Receiver<Happened>,
    send: Sender<Happened>,
    attached: BTreeMap<BoxId, Attached>,
    /// Those that are gone or cut, until their threads have ended.
    places: BTreeMap<BoxId, Place>,
    /// A sender for each thread that writes; the receiver is disconnected once all have ended.
    done: (Option<Sender<()>>, Receiver<()>),
    sockets: Vec<Socket>,
}

impl Boxes {
    /// None, and none can come.
    pub fn none() -> Self {
        let (send, _) = bounded(0);
        let done = bounded(0);
        let done = (Some(done.0), done.1);
        Self {
            events: never(),
            send,
            attached: BTreeMap::new(),
            places: BTreeMap::new(),
            done,
            sockets: Vec::new(),
        }
    }

    /// Lets boxes come, of the user who holds the lock of this journal. `lasting` if they are to find this client after the
    /// user's session is over.
    pub fn listen(user: &Name, journal: &Path, lasting: bool) -> io::Result<Self> {
        let sockets = Socket::make(user, journal, lasting)?;
        let (send, events) = bounded(EVENTS);
        let (taken, ids) = (Arc::default(), Arc::new(AtomicU64::new(1)));
        for socket in &sockets {
            let door = Door {
                listener: socket.listener.try_clone()?,
                taken: Arc::clone(&taken),
                ids: Arc::clone(&ids),
                events: send.clone(),
            };
            thread::Builder::new().name("boxes".into()).spawn(move || door.run())?;
        }
        Ok(Self { events, send, sockets, ..Self::none() })
    }

    /// Takes in what happened; returns what the node is to be told.
    pub fn take(&mut self, happened: Happened) -> Option<Input> {
        match happened {
            Happened::Attached(id, stream, place) => {
                let done = self.done.0.clone()?;
                match Connection::start(id, stream, self.send.clone(), done) {
                    Ok(connection) => {
                        let it = Attached { connection, known: false, said: VecDeque::new() };
                        self.attached.insert(id, it);
                        self.places.insert(id, place);
                    }
                    Err(error) => tracing::warn!(%error, "no thread for a box"),
                }
                None
            }
            Happened::Waits(id) => {
                let it = self.attached.get_mut(&id)?;
                it.known = true;
                Some(Input::Attached(id))
            }
            Happened::Said(id, inputs) => {
                let it = self.attached.get_mut(&id)?;
                it.said.extend(inputs);
                if std::mem::replace(&mut it.known, true) {
                    return None;
                }
                let quiet = |it: &mut Input| matches!(it, Input::Said { command: Ok(Command::Quiet), .. });
                if it.said.pop_front_if(quiet).is_none() {
                    return Some(Input::Attached(id));
                }
                it.grant();
                Some(Input::AttachedQuietly(id))
            }
            Happened::Written(id) => self.knows(id).then_some(Input::Written(id)),
            Happened::Writing(id) => self.knows(id).then_some(Input::Writing(id)),
            Happened::Silent(id) => {
                if let Some(it) = self.attached.get_mut(&id) {
                    it.connection.batches = bounded(0).0;
                }
                None
            }
            Happened::Gone(id) => {
                self.places.remove(&id);
                self.attached.remove(&id).filter(|it| it.known).map(|_| Input::Detached(id))
            }
        }
    }

    fn knows(&self, id: BoxId) -> bool {
        self.attached.get(&id).is_some_and(|it| it.known)
    }

    /// Whether a box that is `welcome` has commands that are not yet taken in.
    pub fn has_commands(&self, welcome: impl Fn(BoxId) -> bool) -> bool {
        self.attached.iter().any(|(id, it)| !it.said.is_empty() && welcome(*id))
    }

    /// The next command of a box that is `welcome`.
    pub fn next_command(&mut self, welcome: impl Fn(BoxId) -> bool) -> Option<Input> {
        let (_, it) = self.attached.iter_mut().find(|(id, it)| !it.said.is_empty() && welcome(**id))?;
        let input = it.said.pop_front();
        it.grant();
        input
    }

    /// Gives boxes what the node has for them; returns what the node is to be told of that.
    pub fn give(&mut self, id: BoxId, what: ForBox) -> Option<Input> {
        match what {
            ForBox::Print(batch) => {
                // One that has gone says so by itself.
                if let Some(it) = self.attached.get(&id) {
                    let _ = it.connection.batches.send(batch);
                }
                None
            }
            ForBox::Cut => {
                tracing::info!(id, "a box took nothing for too long and is cut");
                let it = self.attached.remove(&id)?;
                it.connection.cut();
                Some(Input::Detached(id))
            }
        }
    }

    /// No box can come, and no batch will follow. The receiver is disconnected once all are written.
    pub fn finish(&mut self) -> Receiver<()> {
        self.sockets.clear();
        self.done.0 = None;
        for it in self.attached.values_mut() {
            it.connection.batches = bounded(0).0;
        }
        self.done.1.clone()
    }
}
