//! The connections of clients: how they come in, and what the loop sends on them without ever waiting.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::pace::{Pace, Refunds};
use super::registry::Action;
use super::relay::Relay;
use crate::protocol::MAX_RENDEZVOUS_FRAME;
use crate::protocol::rendezvous::{ToClient, ToDiscovery};
use crate::transport::noise::{Keypair, OpenError, Purpose};
use crate::transport::{
    Buffers, Caps, Connection, ConnectionId, Event, Framing, Opened, Permit, ReadError, Rejected, Relaying,
    Route, Transport, Writer,
};

const FRAMING: Framing = Framing { longest: MAX_RENDEZVOUS_FRAME, read_ahead: 512, fill: 16 * 1024 };
/// How long the client of a session that was ended here may take to read its last messages and to close. A connection
/// closed while the other side still sends would be reset, and those messages could be lost.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

pub enum Inbound {
    /// A handshake is done. What a registration did not cost is given back to the refunds.
    Opened(Box<Opened>, Refunds),
    Messages(ConnectionId, Vec<ToDiscovery>),
    /// Something has arrived that is not yet a whole frame.
    Alive(ConnectionId),
    Closed(ConnectionId),
}

/// Lets clients in: their connections prove `keypair`, and report to `events`, or are to be relayed.
pub fn accept(
    listener: TcpListener,
    caps: Caps,
    keypair: Keypair,
    relay: Option<Relay>,
    events: Sender<Inbound>,
) -> io::Result<Arc<Rejected>> {
    let relaying = relay.map(|relay| -> Relaying { Arc::new(move |came| relay.take(came)) });
    let done = move |from: Route, outcome| match outcome {
        Ok(connection) => open(connection, from, events.clone()),
        Err(error) => tracing::debug!(%from, %error, "no handshake"),
    };
    Transport::new(keypair).accept_all(listener, caps, Purpose::Rendezvous, relaying, done)
}

fn open(connection: Connection, from: Route, events: Sender<Inbound>) {
    let refunds = Refunds::default();
    let mut pace = Pace::new(Instant::now());
    connection.open(FRAMING, move |event| {
        let event = match event {
            Event::Opened(opened) => Inbound::Opened(opened, refunds.clone()),
            Event::Messages(session, messages) => {
                thread::sleep(pace.delay(&messages, &refunds, Instant::now()));
                Inbound::Messages(session, messages)
            }
            Event::Alive(session) => Inbound::Alive(session),
            Event::Closed(session, end) => {
                match end {
                    Ok(()) => tracing::debug!(%from, "connection closed"),
                    Err(ReadError::Frame(OpenError::Io(error))) => {
                        tracing::debug!(%from, %error, "connection lost");
                    }
                    Err(error) => tracing::info!(%from, %error, "connection cut"),
                }
                Inbound::Closed(session)
            }
        };
        events.send(event).is_ok()
    });
}

/// The loop's half of every connection.
#[derive(Default)]
pub struct Connections {
    open: HashMap<ConnectionId, Client>,
    /// The sessions that have been told that they are over, the longest first.
    leaving: VecDeque<(Instant, ConnectionId)>,
}

struct Client {
    route: Route,
    writer: Writer,
    refunds: Refunds,
    /// Until it has registered it gives way to others.
    unregistered: Option<Permit>,
}

impl Connections {
    pub fn opened(&mut self, opened: Opened, refunds: Refunds) {
        let Opened { id, route, writer, handshake: unregistered, .. } = opened;
        self.open.insert(id, Client { route, writer, refunds, unregistered });
    }

    /// A registration of this session has led to so many messages.
    pub fn registered(&self, session: ConnectionId, told: usize) {
        if let Some(client) = self.open.get(&session) {
            client.refunds.registered(told);
        }
    }

    pub fn closed(&mut self, session: ConnectionId) {
        self.open.remove(&session);
    }

    /// Does what was decided. Everything for one session goes out at once, in as few frames as possible.
    pub fn act(&mut self, actions: &[Action], now: Instant) {
        let mut batches: HashMap<ConnectionId, (Vec<&ToClient>, bool)> = HashMap::new();
        for action in actions {
            match action {
                Action::Send { session, message } => batches.entry(*session).or_default().0.push(message),
                Action::Close { session } => batches.entry(*session).or_default().1 = true,
                // The server has made messages of them.
                Action::Punch { .. } | Action::Relay { .. } => {}
            }
        }
        let mut buffers = Buffers::default();
        for (session, (messages, last)) in batches {
            // Its connection may be gone, and the registry not know yet.
            let Some(client) = self.open.get_mut(&session) else {
                continue;
            };
            if messages.iter().any(|message| matches!(message, ToClient::Registered(_))) {
                client.unregistered = None;
            }
            if let Err(error) = client.writer.send(messages, &mut buffers) {
                tracing::debug!(from = %client.route, %error, "connection does not take what is sent");
                self.open.remove(&session);
            } else if last {
                client.writer.finish();
                self.leaving.push_back((now + CLOSE_TIMEOUT, session));
            }
        }
    }

    /// When [`Self::end_leaving`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.leaving.front().map(|(at, _)| *at)
    }

    /// Closes the connections that should have been closed from the other side.
    pub fn end_leaving(&mut self, now: Instant) {
        while let Some((_, session)) = self.leaving.front().copied().filter(|(at, _)| *at <= now) {
            self.leaving.pop_front();
            self.open.remove(&session);
        }
    }
}
