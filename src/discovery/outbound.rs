//! From the loop to the sockets, without ever waiting for one.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::inbound::Refunds;
use super::registry::Action;
use super::sessions::SessionId;
use crate::net;
use crate::noise::Sealer;
use crate::protocol::codec;
use crate::protocol::rendezvous::ToClient;

/// How much plaintext goes into one frame, in bytes, unless a single message is longer.
const FRAME: usize = 16 * 1024;
/// How long a session that was ended here may take to read its last words and to close. A connection
/// closed while the other side still sends would be reset, and the last words could be lost.
const FAREWELL: Duration = Duration::from_secs(2);

/// The writer's half of every session.
#[derive(Default)]
pub struct Outbound {
    lines: HashMap<SessionId, Line>,
    /// Who has been told that it is over, the longest first.
    leaving: VecDeque<(Instant, SessionId)>,
}

impl Outbound {
    /// A session begins.
    pub fn open(
        &mut self,
        session: SessionId,
        from: SocketAddr,
        stream: Arc<TcpStream>,
        sealer: Sealer,
        refunds: Refunds,
    ) {
        self.lines.insert(session, Line { from, stream, sealer, refunds });
    }

    /// A registration of that session has led to so many messages.
    pub fn registered(&self, session: SessionId, told: usize) {
        if let Some(line) = self.lines.get(&session) {
            line.refunds.registered(told);
        }
    }

    /// Nothing more comes from a session.
    pub fn closed(&mut self, session: SessionId) {
        self.lines.remove(&session);
    }

    /// Does what was decided. Everything for one session goes out at once, in as few frames as possible.
    pub fn act(&mut self, actions: Vec<Action>, now: Instant) {
        let mut posts: HashMap<SessionId, Post> = HashMap::new();
        for action in actions {
            match action {
                Action::Send { session, message } => posts.entry(session).or_default().add(&message),
                Action::Close { session } => posts.entry(session).or_default().last = true,
            }
        }
        for (session, post) in posts {
            self.deliver(session, &post, now);
        }
    }

    fn deliver(&mut self, session: SessionId, post: &Post, now: Instant) {
        // Its connection may be gone, and the registry not know yet.
        let Some(line) = self.lines.get_mut(&session) else {
            return;
        };
        if let Err(error) = line.send(&post.frames) {
            tracing::debug!(from = %line.from, %error, "connection does not take what is sent");
            self.lines.remove(&session);
        } else if post.last {
            // If it fails, the connection is gone already.
            let _ = line.stream.shutdown(Shutdown::Write);
            self.leaving.push_back((now + FAREWELL, session));
        }
    }

    /// When [`Self::part`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.leaving.front().map(|(at, _)| *at)
    }

    /// Closes the connections that should have been closed from the other side.
    pub fn part(&mut self, now: Instant) {
        while let Some((_, session)) = self.leaving.front().copied().filter(|(at, _)| *at <= now) {
            self.leaving.pop_front();
            self.lines.remove(&session);
        }
    }
}

struct Line {
    from: SocketAddr,
    stream: Arc<TcpStream>,
    sealer: Sealer,
    refunds: Refunds,
}

impl Line {
    fn send(&mut self, frames: &[Vec<u8>]) -> io::Result<()> {
        let mut wire = Vec::new();
        for frame in frames {
            self.sealer.seal(frame, &mut wire).map_err(io::Error::other)?;
        }
        if wire.is_empty() { Ok(()) } else { net::send_now(&self.stream, &wire) }
    }
}

impl Drop for Line {
    /// Wakes the thread that reads, which holds the connection too.
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// Everything for one session.
#[derive(Default)]
struct Post {
    frames: Vec<Vec<u8>>,
    last: bool,
}

impl Post {
    fn add(&mut self, message: &ToClient) {
        let mut item = Vec::new();
        codec::encode(message, &mut item);
        match self.frames.last_mut() {
            Some(frame) if frame.len() + item.len() <= FRAME => frame.append(&mut item),
            _ => self.frames.push(item),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::rendezvous::About;

    #[test]
    fn messages_share_frames_that_are_not_too_long() {
        let mut post = Post::default();
        let message = ToClient::NoSuchUser(About { name: "x".repeat(32).parse().unwrap() });
        let count = 1000;
        (0..count).for_each(|_| post.add(&message));
        assert!(post.frames.iter().all(|frame| frame.len() <= FRAME));
        assert!(post.frames.len() <= 4);
        let read: usize =
            post.frames.iter().map(|frame| codec::decode::<ToClient>(frame).unwrap().len()).sum();
        assert_eq!(read, count);
    }
}
