//! The rules of a node one by one, with a supplied clock. How they hold together is shown by the
//! simulation of whole networks.

use std::net::SocketAddr;

use super::super::command::{Command, parse};
use super::super::event::{Action, ConnectionId, Input, Problem};
use super::super::notice::{Code, Notice, Told, UpDown};
use super::*;
use crate::protocol::peer::{Bye, ByeReason, Cursor, Hello, Kind, Message, Peer};
use crate::protocol::rendezvous::{About, Identity, Registered, Status, ToClient, ToDiscovery};
use crate::protocol::{DEAD_AFTER, MAX_TEXT, PING_AFTER};
use crate::time::millis;
use crate::transport::Route;
use crate::transport::noise::Keypair;

mod acquaintance;
mod conversations;
mod delivery;
mod failures;
mod keys;
mod links;
mod one_shot;
mod search;
mod withdrawn;

const OWN: PublicKey = PublicKey([5; 32]);
const BOB: PublicKey = PublicKey([7; 32]);
const SESSION: ConnectionId = 1000;

struct World {
    now: Now,
    journal: Journal,
    node: Node,
    notices: Vec<Notice>,
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn setup(epoch: u64) -> Setup {
    Setup {
        name: name("alice"),
        key: OWN,
        listen: address(1),
        endpoint: "localhost:7667".into(),
        discovery_key: None,
        silent: false,
        segment: 5,
        linger: Some(Duration::from_secs(10)),
        epoch,
        seed: 1,
    }
}

impl World {
    fn new() -> Self {
        let journal = Journal::in_memory(&name("alice"), &Keypair::generate().unwrap()).unwrap();
        let now = Now { mono: Instant::START, wall: 1_000_000 };
        let node = Node::new(setup(1), now, &journal).unwrap();
        Self { now, journal, node, notices: Vec::new() }
    }

    /// Registered with discovery, which knows of nobody.
    fn online() -> Self {
        let mut world = Self::new();
        world.step(&[]);
        world.step(&[Input::RendezvousUp { session: SESSION, key: PublicKey([9; 32]) }]);
        world.discovery(&[ToClient::Registered(Registered { address: address(1) }), ToClient::Synced]);
        world
    }

    /// The same, with bob as a contact.
    fn with_bob() -> Self {
        let mut world = Self::online();
        world.discovery(&[status("bob", BOB, true)]);
        let contact = world.bob();
        world.step(&[Input::DialFailed { contact, problems: Vec::new() }]);
        world
    }

    /// The same, and bob's link is up.
    fn linked(link: ConnectionId) -> Self {
        let mut world = Self::with_bob();
        world.link(link, false, 1, &[]);
        world
    }

    /// One transaction, committed.
    fn step(&mut self, inputs: &[Input]) -> Vec<Action> {
        self.journal.begin().unwrap();
        inputs.iter().for_each(|input| self.node.handle(self.now, &self.journal, input).unwrap());
        self.node.finish(self.now, &self.journal).unwrap();
        self.journal.commit().unwrap();
        let actions = self.node.committed();
        self.read(actions)
    }

    /// One transaction that can't be committed.
    fn fail(&mut self, inputs: &[Input]) -> Vec<Action> {
        self.journal.begin().unwrap();
        inputs.iter().for_each(|input| self.node.handle(self.now, &self.journal, input).unwrap());
        self.node.finish(self.now, &self.journal).unwrap();
        self.journal.rollback();
        let actions = self.node.failed(self.now, &self.journal, inputs, 77).unwrap();
        self.read(actions)
    }

    /// One transaction, committed; nothing that it tells is printed.
    fn unprinted(&mut self, inputs: &[Input]) -> Vec<Told> {
        self.journal.begin().unwrap();
        inputs.iter().for_each(|input| self.node.handle(self.now, &self.journal, input).unwrap());
        self.node.finish(self.now, &self.journal).unwrap();
        self.journal.commit().unwrap();
        let printed = self.node.committed().into_iter().filter_map(|action| match action {
            Action::Print(told) => Some(told),
            _ => None,
        });
        printed.flatten().collect()
    }

    /// Prints what is to be printed, at once.
    fn read(&mut self, actions: Vec<Action>) -> Vec<Action> {
        let mut rest = Vec::new();
        for action in actions {
            if let Action::Print(notices) = action {
                self.notices.extend(notices.into_iter().map(|told| told.notice));
                self.node.handle(self.now, &self.journal, &Input::Printed).unwrap();
                self.node.commit();
            } else {
                rest.push(action);
            }
        }
        rest
    }

    fn later(&mut self, ms: u64) -> Vec<Action> {
        self.wait(ms);
        self.step(&[])
    }

    fn discovery(&mut self, messages: &[ToClient]) -> Vec<Action> {
        self.step(&[Input::RendezvousSays(SESSION, messages.to_vec())])
    }

    fn types(&mut self, line: &str) -> Vec<Action> {
        self.step(&[typed(line)])
    }

    /// Bob proves his key and says hello.
    fn link(&mut self, link: ConnectionId, dialled: bool, epoch: u64, cursors: &[Cursor]) -> Vec<Action> {
        let dialled = dialled.then(|| self.bob());
        let up = Input::LinkUp {
            link,
            key: BOB,
            dialled,
            route: Route::Direct { remote: address(4000) },
            budget: 1 << 20,
        };
        let mut actions = self.step(&[up]);
        actions.extend(self.says(link, &[hello(epoch, cursors)]));
        actions
    }

    fn says(&mut self, link: ConnectionId, messages: &[Peer]) -> Vec<Action> {
        self.step(&[Input::LinkSays(link, messages.to_vec())])
    }

    /// The program is killed and started again.
    fn restart(&mut self, epoch: u64) {
        self.node = Node::new(setup(epoch), self.now, &self.journal).unwrap();
        self.notices.clear();
    }

    fn wait(&mut self, ms: u64) {
        self.now.mono = self.now.mono + Duration::from_millis(ms);
    }

    fn bob(&self) -> ContactId {
        self.node.roster.named(&name("bob")).unwrap()
    }

    fn key(&self) -> Option<PublicKey> {
        self.node.roster.get(self.bob()).unwrap().identity.key
    }

    fn shown(&self) -> Vec<&str> {
        let text = |notice: &_| match notice {
            Notice::Message { text: super::super::notice::Body::Text(text), .. } => Some(text.clone()),
            _ => None,
        };
        self.notices.iter().filter_map(text).map(|text| &*text.leak()).collect()
    }

    fn errors(&self) -> Vec<Code> {
        let code = |notice: &Notice| match notice {
            Notice::Error(error) => Some(error.code),
            _ => None,
        };
        self.notices.iter().filter_map(code).collect()
    }

    fn delivered(&self) -> usize {
        self.notices.iter().filter(|notice| matches!(notice, Notice::Delivered { .. })).count()
    }
}

fn typed(line: &str) -> Input {
    Input::typed(parse(line).unwrap())
}

fn status(who: &str, key: PublicKey, asks: bool) -> ToClient {
    ToClient::Status(Status { name: name(who), key, address: Some(address(4000)), online: true, asks })
}

fn hello(epoch: u64, cursors: &[Cursor]) -> Peer {
    Peer::Hello(Hello { name: name("bob"), epoch, port: 4000, window: 1 << 20, cursors: cursors.to_vec() })
}

fn message(epoch: u64, number: u64, text: &str) -> Peer {
    Peer::Message(Message { epoch, number, kind: Kind::TEXT, sent: 0, body: text.into() })
}

fn cursor(epoch: u64, number: u64) -> Cursor {
    Cursor { epoch, number }
}

fn sent(actions: &[Action], to: ConnectionId) -> Vec<&Peer> {
    let frames = actions.iter().filter_map(|action| match action {
        Action::Send(link, messages) if *link == to => Some(messages),
        _ => None,
    });
    frames.flatten().collect()
}

fn texts(actions: &[Action], to: ConnectionId) -> Vec<String> {
    let texts = sent(actions, to).into_iter().filter_map(|said| match said {
        Peer::Message(message) => Some(String::from_utf8(message.body.clone()).unwrap()),
        _ => None,
    });
    texts.collect()
}

fn closed(actions: &[Action], link: ConnectionId) -> bool {
    actions.iter().any(|action| matches!(action, Action::Close(closed) if *closed == link))
}

fn dials(actions: &[Action]) -> usize {
    actions.iter().filter(|action| matches!(action, Action::Dial { .. })).count()
}
