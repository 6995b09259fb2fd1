//! What the tests of the machines and of the whole node share.

use std::net::SocketAddr;
use std::time::Duration;

use super::super::super::event::{self, Action, ConnectionId, Input, Missed, Path, Problem, Reached};
use super::super::super::notice::{Code, Notice};
use super::super::effects::Effects;
use super::super::output::Output;
use crate::protocol::peer::{Cursor, Hello, Kind, Message, Peer, Via};
use crate::protocol::{Name, PublicKey};
use crate::store::journal::{Journal, Standing};
use crate::time::{Instant, Now};
use crate::transport::noise::Keypair;
use crate::undo::Transactional;

/// The key of [`keypair`], lower than the others: this side decides which links stay.
pub const OWN: PublicKey = PublicKey([
    0x05, 0x91, 0xf2, 0xb0, 0x5c, 0x34, 0x87, 0x5c, 0xd8, 0xb7, 0x48, 0xfc, 0x8e, 0x87, 0xf9, 0x07, 0x01,
    0x3b, 0x84, 0x00, 0x42, 0x90, 0x42, 0xe8, 0x06, 0x22, 0x8c, 0x0c, 0x1b, 0xf2, 0xad, 0x23,
]);
pub const BOB: PublicKey = PublicKey([7; 32]);
pub const OTHER: PublicKey = PublicKey([8; 32]);
pub const DISCOVERY: PublicKey = PublicKey([9; 32]);

pub fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// How discovery on this machine is reached.
pub fn path() -> Path {
    Path { local: address(2), remote: address(1), rtt: Duration::ZERO, own: Vec::new() }
}

/// The one discovery has proved its key.
pub fn session_up(session: ConnectionId) -> Input {
    Input::RendezvousUp { session, key: DISCOVERY, path: path(), reached: Reached::default() }
}

/// The one discovery was not reached.
pub fn missed(problem: Problem) -> Vec<Missed> {
    vec![Missed { at: "localhost:7667".into(), problem }]
}

pub fn keypair() -> Keypair {
    let mut seed = [0; 32];
    seed[0] = 160;
    Keypair::from_secret(&seed).unwrap()
}

/// This many milliseconds after the start.
pub fn at(ms: u64) -> Now {
    let wall = 1_000_000 + i64::try_from(ms).unwrap();
    Now { mono: Instant::after_start(Duration::from_millis(ms)), wall }
}

/// The journal of alice, whose contacts have the ids 1, 2 and so on.
pub fn journal(contacts: &[&str]) -> Journal {
    let journal = Journal::in_memory(&name("alice"), &keypair()).unwrap();
    contacts.iter().for_each(|it| _ = journal.add_contact(&name(it), Standing::Contact).unwrap());
    journal
}

pub fn effects() -> Effects {
    Effects::new(at(0), Output::new(false))
}

/// What was told since the last call, which the console writes at once.
pub fn told(fx: &mut Effects) -> Vec<Notice> {
    fx.commit();
    let told = fx.output.take_batch(event::OWN, fx.now).unwrap_or_default();
    fx.output.written(event::OWN, fx.now);
    told.into_iter().map(|told| told.notice).collect()
}

pub fn codes<'n>(notices: impl IntoIterator<Item = &'n Notice>) -> Vec<Code> {
    let code = |notice: &Notice| match notice {
        Notice::Error(error) => Some(error.code),
        _ => None,
    };
    notices.into_iter().filter_map(code).collect()
}

pub fn hello(epoch: u64, cursors: &[Cursor]) -> Hello {
    Hello {
        name: name("bob"),
        epoch,
        port: 4000,
        window: 1 << 20,
        cursors: cursors.to_vec(),
        hold: None,
        via: Via::Direct,
        linked: true,
        room: false,
    }
}

pub fn message(epoch: u64, number: u64, text: &str) -> Message {
    Message { epoch, number, kind: Kind::TEXT, sent: 0, body: text.into(), original: None }
}

pub fn cursor(epoch: u64, number: u64) -> Cursor {
    Cursor { epoch, number }
}

pub fn sent(actions: &[Action], to: ConnectionId) -> Vec<&Peer> {
    let frames = actions.iter().filter_map(|action| match action {
        Action::Send(link, messages) if *link == to => Some(messages),
        _ => None,
    });
    frames.flatten().collect()
}

pub fn closed(actions: &[Action], link: ConnectionId) -> bool {
    actions.iter().any(|action| matches!(action, Action::Close(closed) if *closed == link))
}
