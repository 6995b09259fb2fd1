//! The rules of a node one by one, with a supplied clock. How they hold together is shown by the
//! simulation of whole networks.

use super::super::command::{Command, parse};
use super::super::event::{Action, ConnectionId, Input};
use super::super::notice::{Body, Code, Notice, Told, UpDown};
use super::*;
use crate::protocol::peer::{Bye, ByeReason, Cursor, Hold, Peer};
use crate::protocol::rendezvous::{
    About, Identify, Identity, Registered, Status, Strangers, ToClient, ToDiscovery,
};
use crate::protocol::{DEAD_AFTER, MAX_TEXT, VERSION};
use crate::store::journal::ContactId;
use crate::time::millis;
use crate::transport::Route;
use support::{BOB, OTHER, OWN, address, closed, codes, cursor, name, sent};

mod acquaintance;
mod boxes;
mod conversations;
mod failures;
mod keys;
mod links;
mod mates;
mod one_shot;
mod progress;
mod rooms;
mod search;
mod strangers;
pub(super) mod support;
mod withdrawn;

const SESSION: ConnectionId = 1000;

struct World {
    now: Now,
    journal: Journal,
    node: Node,
    notices: Vec<Notice>,
}

fn setup(epoch: u64) -> Setup {
    Setup {
        name: name("alice"),
        keypair: support::keypair(),
        listen: address(1),
        endpoints: ["localhost:7667".to_owned()].into(),
        discovery_key: None,
        strangers: Strangers::All,
        silent: false,
        segment: 5,
        linger: Some(Duration::from_secs(10)),
        epoch,
        seed: 1,
    }
}

impl World {
    fn new() -> Self {
        let (journal, now) = (support::journal(&[]), support::at(0));
        let node = Node::new(setup(1), now, &journal).unwrap();
        Self { now, journal, node, notices: Vec::new() }
    }

    /// Registered with discovery, which knows no other user.
    fn online() -> Self {
        let mut world = Self::new();
        world.step(&[]);
        world.register(SESSION, &[]);
        world
    }

    /// The same, with bob as a contact.
    fn with_bob() -> Self {
        let mut world = Self::online();
        world.discovery(&[status("bob", BOB, 4000, true)]);
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
        let actions = self.commit(inputs);
        self.read(actions)
    }

    /// The same; nothing that it tells is printed.
    fn commit(&mut self, inputs: &[Input]) -> Vec<Action> {
        self.decide(inputs);
        self.journal.commit().unwrap();
        self.node.committed()
    }

    fn unprinted(&mut self, inputs: &[Input]) -> Vec<Told> {
        let printed = |action| if let Action::Print(told) = action { Some(told) } else { None };
        self.commit(inputs).into_iter().filter_map(printed).flatten().collect()
    }

    /// One transaction that can't be committed.
    fn fail(&mut self, inputs: &[Input]) -> Vec<Action> {
        self.decide(inputs);
        self.journal.rollback();
        let actions = self.node.failed(self.now, &self.journal, inputs, 77).unwrap();
        self.read(actions)
    }

    fn decide(&mut self, inputs: &[Input]) {
        self.journal.begin().unwrap();
        inputs.iter().for_each(|input| self.node.handle(self.now, &self.journal, input).unwrap());
        self.node.finish(self.now, &self.journal).unwrap();
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

    /// A session with discovery comes up, in which it says this.
    fn register(&mut self, session: ConnectionId, said: &[ToClient]) -> Vec<Action> {
        self.step(&[support::session_up(session)]);
        let registered = ToClient::Registered(Registered { address: address(1), observed: address(1) });
        let said = [&[registered, ToClient::Synced], said].concat();
        self.step(&[Input::RendezvousSays(session, said)])
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
        let mut actions = self.step(&[proved(link, BOB, dialled)]);
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
        self.now.wall += i64::try_from(ms).unwrap();
    }

    fn bob(&self) -> ContactId {
        self.node.roster.named(&name("bob")).unwrap()
    }

    fn key(&self) -> Option<PublicKey> {
        self.node.roster.get(self.bob()).unwrap().identity.key
    }

    fn shown(&self) -> Vec<&str> {
        let shown = self.notices.iter().filter_map(|notice| match notice {
            Notice::Message { text: Body::Text(text), .. } => Some(&**text),
            _ => None,
        });
        shown.collect()
    }

    fn errors(&self) -> Vec<Code> {
        codes(&self.notices)
    }
}

fn typed(line: &str) -> Input {
    Input::typed(parse(line).unwrap())
}

fn status(who: &str, key: PublicKey, port: u16, online: bool) -> ToClient {
    let address = Some(address(port));
    let asks =
        if online { crate::protocol::rendezvous::Asks::Typed } else { crate::protocol::rendezvous::Asks::No };
    ToClient::Status(Status {
        name: name(who),
        key,
        address,
        online: Some(online),
        asks,
        connected: !online,
        also: vec![],
        room: false,
    })
}

fn hello(epoch: u64, cursors: &[Cursor]) -> Peer {
    Peer::Hello(support::hello(epoch, cursors))
}

fn message(epoch: u64, number: u64, text: &str) -> Peer {
    Peer::Message(support::message(epoch, number, text))
}

/// A peer proves this key.
fn proved(link: ConnectionId, key: PublicKey, dialled: Option<ContactId>) -> Input {
    let route = Route::Direct { remote: address(4000) };
    Input::LinkUp { link, key, version: VERSION, dialled, route, budget: 1 << 20 }
}

fn says(said: ToClient) -> Input {
    Input::RendezvousSays(SESSION, vec![said])
}

fn no_such_user(who: &str) -> ToClient {
    ToClient::NoSuchUser(About { name: name(who) })
}

fn texts(actions: &[Action], to: ConnectionId) -> Vec<String> {
    let texts = sent(actions, to).into_iter().filter_map(|said| match said {
        Peer::Message(message) => Some(String::from_utf8(message.body.clone()).unwrap()),
        _ => None,
    });
    texts.collect()
}

fn exit(actions: &[Action]) -> Option<(u8, Option<String>)> {
    let exit =
        |action: &_| if let Action::Exit(status, why) = action { Some((*status, why.clone())) } else { None };
    actions.iter().find_map(exit)
}

fn dials(actions: &[Action]) -> usize {
    actions.iter().filter(|action| matches!(action, Action::Dial { .. })).count()
}
