//! Connections: each way frames arrive in order, late, or from some frame on not at all.

use std::collections::VecDeque;

use minicbor::{Decode, Encode};
use peerchat::client::event::Input;
use peerchat::discovery::registry::Event as Heard;
use peerchat::protocol::peer::{HoldReason, Peer, Via};
use peerchat::protocol::rendezvous::{ToClient, ToDiscovery};
use peerchat::protocol::{MAX_PEER_FRAME, codec};

use super::world::{Event, Pid, World};

pub type ConnId = u64;

/// What a receiver's kernel and reading thread take beyond the sender's buffer, in bytes.
const RECEIVER: usize = 64 * 1024;
/// How many inputs wait for a program before its readers stop reading.
const INBOX: usize = 300;

pub struct Conn {
    pub ends: [End; 2],
    /// `pipes[side]` leads towards `ends[side]`.
    pub pipes: [Pipe; 2],
    /// Between two clients, or with discovery.
    pub peer: bool,
    /// Which way it takes.
    pub via: Via,
    /// The start of discovery that relays it.
    pub relay: Option<u64>,
    /// How many bytes wait for the other side at most.
    pub budget: usize,
    /// Why each of the ends takes no messages, as it has said last.
    pub held: [Option<HoldReason>; 2],
}

/// One program's half.
#[derive(Clone, Copy, Debug)]
pub struct End {
    pub pid: Pid,
    /// Which start of the program.
    pub life: u64,
    /// What the program calls the connection.
    pub id: u64,
    /// Whether it still writes to it.
    pub open: bool,
}

#[derive(Default)]
pub struct Pipe {
    items: VecDeque<(u64, Item)>,
    last: u64,
    /// Nothing more arrives, and nobody is told.
    pub lost: bool,
    bytes: usize,
    latency: u64,
}

enum Item {
    Frame(Vec<u8>),
    End,
}

impl World {
    /// A connection whose two halves are known to be there.
    pub fn connect(&mut self, dialler: End, acceptor: End, peer: bool, budget: usize) -> ConnId {
        let id = self.next_conn;
        self.next_conn += 1;
        let latency = self.latency();
        let pipe = || Pipe { latency, last: self.now, ..Pipe::default() };
        let (ends, pipes) = ([dialler, acceptor], [pipe(), pipe()]);
        self.conns
            .insert(id, Conn { ends, pipes, peer, via: Via::Direct, relay: None, budget, held: [None; 2] });
        id
    }

    fn latency(&mut self) -> u64 {
        match self.rng.u32(0..10) {
            0 => self.rng.u64(0..(self.plan.latency * 10).min(600) + 1),
            _ => self.rng.u64(0..=self.plan.latency),
        }
    }

    /// Sends messages in one frame.
    pub fn transmit<T: Encode<()>>(&mut self, id: ConnId, side: usize, messages: &[T]) {
        let mut frame = Vec::new();
        messages.iter().for_each(|message| codec::encode(message, &mut frame));
        if frame.len() > MAX_PEER_FRAME {
            self.fail(format!("a frame of {} bytes", frame.len()));
        }
        let now = self.now;
        let jitter = self.rng.u64(0..3);
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| conn.ends[side].open) else {
            return;
        };
        let pipe = &mut conn.pipes[1 - side];
        pipe.bytes += frame.len();
        if pipe.bytes > conn.budget + RECEIVER {
            self.stats.add("socket full");
            self.close(id, side);
            return;
        }
        if !pipe.lost {
            pipe.last = pipe.last.max(now + pipe.latency + jitter);
            pipe.items.push_back((pipe.last, Item::Frame(frame)));
            let at = pipe.last;
            self.schedule(at, Event::Arrive(id, 1 - side));
        }
    }

    /// A program closes its half: what it has sent still arrives, unless the kernel resets the connection.
    pub fn close(&mut self, id: ConnId, side: usize) {
        let reset = self.storm && self.rng.u32(0..8) == 0;
        let delay = self.rng.u64(0..3);
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| conn.ends[side].open) else {
            return;
        };
        conn.ends[side].open = false;
        let own = conn.ends[side];
        let peer = conn.peer;
        conn.pipes[side].lost = true;
        conn.pipes[side].items.clear();
        if reset {
            self.lose(id, 1 - side);
        }
        self.end(id, 1 - side);
        // Its own reading thread says so, too.
        self.schedule(self.now + delay, Event::Over(own, peer));
        self.tidy(id);
    }

    /// Tells the half at `side` that the connection is over, after all that is on the way.
    pub fn end(&mut self, id: ConnId, side: usize) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        let pipe = &mut conn.pipes[side];
        if !pipe.lost {
            pipe.last = pipe.last.max(now + pipe.latency);
            pipe.items.push_back((pipe.last, Item::End));
            let at = pipe.last;
            self.schedule(at, Event::Arrive(id, side));
        }
    }

    /// Loses what is on the way to `side`, from some frame on.
    pub fn lose(&mut self, id: ConnId, side: usize) {
        let Some(count) = self.conns.get(&id).map(|conn| conn.pipes[side].items.len()) else {
            return;
        };
        let keep = self.rng.usize(0..=count);
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.pipes[side].items.truncate(keep);
        }
    }

    /// Nothing more arrives at `side`, and it is not told.
    pub fn silence(&mut self, id: ConnId, side: usize) {
        self.lose(id, side);
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.pipes[side].lost = true;
        }
    }

    /// Everything on the way to `side`, and what follows, comes later.
    pub fn stall(&mut self, id: ConnId, side: usize, by: u64) {
        let now = self.now;
        let mut times = Vec::new();
        if let Some(conn) = self.conns.get_mut(&id) {
            let pipe = &mut conn.pipes[side];
            pipe.items.iter_mut().for_each(|(at, _)| {
                *at += by;
                times.push(*at);
            });
            pipe.last = pipe.last.max(now) + by;
        }
        times.into_iter().for_each(|at| self.schedule(at, Event::Arrive(id, side)));
    }

    /// Nothing arrives at `side` before `at`.
    pub fn not_before(&mut self, id: ConnId, side: usize, at: u64) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.pipes[side].last = conn.pipes[side].last.max(at);
        }
    }

    /// Whatever was delayed comes now.
    pub fn hurry(&mut self) {
        // Not before both halves are up.
        let soon = self.now + self.plan.latency + 1;
        let mut late = Vec::new();
        for (id, conn) in &mut self.conns {
            for (side, pipe) in conn.pipes.iter_mut().enumerate() {
                pipe.last = pipe.last.min(soon);
                pipe.items.iter_mut().for_each(|(at, _)| *at = (*at).min(soon));
                late.push((*id, side));
            }
        }
        late.into_iter().for_each(|(id, side)| self.schedule(soon, Event::Arrive(id, side)));
    }

    /// Both sides are told that the connection is over, and lose some of what was on the way.
    pub fn cut(&mut self, id: ConnId) {
        for side in 0..2 {
            self.lose(id, side);
            self.end(id, side);
        }
    }

    /// A program is gone. With `silent`, nobody is told: its machine is gone, too.
    pub fn abandon(&mut self, id: ConnId, side: usize, silent: bool) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.ends[side].open = false;
            conn.pipes[side].lost = true;
            conn.pipes[side].items.clear();
            self.lose(id, 1 - side);
            if silent {
                self.silence(id, 1 - side);
            } else {
                self.end(id, 1 - side);
            }
            self.tidy(id);
        }
    }

    fn tidy(&mut self, id: ConnId) {
        let over = self.conns.get(&id).is_some_and(|conn| {
            (0..2).all(|side| {
                !conn.ends[side].open && (conn.pipes[side].lost || conn.pipes[side].items.is_empty())
            })
        });
        if over {
            self.conns.remove(&id);
        }
    }

    /// Hands over what has arrived at `side`.
    pub fn arrive(&mut self, id: ConnId, side: usize) {
        loop {
            let now = self.now;
            let Some(conn) = self.conns.get_mut(&id) else {
                return;
            };
            let (end, peer) = (conn.ends[side], conn.peer);
            if conn.pipes[side].items.front().is_none_or(|(at, _)| *at > now) {
                return;
            }
            if self.waiting_inputs(end) > INBOX {
                self.schedule(now + 20, Event::Arrive(id, side));
                return;
            }
            let Some(conn) = self.conns.get_mut(&id) else {
                return;
            };
            match conn.pipes[side].items.pop_front() {
                Some((_, Item::Frame(frame))) => {
                    conn.pipes[side].bytes -= frame.len();
                    self.deliver((id, side), end, peer, &frame);
                }
                Some((_, Item::End)) => {
                    conn.pipes[side].lost = true;
                    conn.pipes[side].items.clear();
                    if conn.ends[side].open {
                        conn.ends[side].open = false;
                        self.over(end, peer);
                        self.end(id, 1 - side);
                    }
                    self.tidy(id);
                    return;
                }
                None => return,
            }
        }
    }

    fn deliver(&mut self, (id, side): (ConnId, usize), end: End, peer: bool, frame: &[u8]) {
        match (end.pid, peer) {
            (Pid::Discovery, _) => {
                for mut message in decoded::<ToDiscovery>(frame) {
                    self.oracle.met.registers(&message);
                    self.mishear_client(&mut message);
                    self.hear(end, Heard::Message { session: end.id, message });
                }
            }
            (Pid::Client(_), false) => {
                self.post(end, Input::RendezvousSays(end.id, decoded::<ToClient>(frame)));
            }
            (Pid::Client(_), true) => {
                let mut said = decoded::<Peer>(frame);
                self.mishear(id, side, &mut said);
                self.post(end, Input::LinkSays(end.id, said));
            }
        }
    }

    /// The program's reading thread reports the end.
    pub fn over(&mut self, end: End, peer: bool) {
        match (end.pid, peer) {
            (Pid::Discovery, _) => self.hear(end, Heard::Closed { session: end.id }),
            (Pid::Client(_), false) => self.post(end, Input::RendezvousClosed(end.id)),
            (Pid::Client(_), true) => self.post(end, Input::LinkClosed(end.id)),
        }
    }
}

fn decoded<T: for<'b> Decode<'b, ()>>(frame: &[u8]) -> Vec<T> {
    codec::decode(frame).expect("what was encoded decodes")
}
