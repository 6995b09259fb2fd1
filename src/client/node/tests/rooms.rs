//! Rooms of several nodes, whose links stand or fall as the test says.

use std::collections::{BTreeMap, VecDeque};

use super::super::super::event::Space;
use super::super::super::notice::{
    MemberLine, MemberState, RoomHistoryLine, RoomLine, RoomStanding, RoomState, RoomWhy,
};
use super::*;
use crate::store::journal::{Identity, Request, Standing};
use crate::transport::noise::Keypair;

mod chat;
mod members;
mod outbox;
mod past;
mod strangers;

const ALICE: usize = 0;
const BOB: usize = 1;
const CAROL: usize = 2;
const DAVE: usize = 3;
const NAMES: [&str; 4] = ["alice", "bob", "carol", "dave"];

/// Some clients without a discovery.
struct Net {
    now: Now,
    clients: Vec<Client>,
    /// The link of each pair, the lower number first.
    links: BTreeMap<(usize, usize), ConnectionId>,
    last_link: ConnectionId,
    /// What is on its way: over which link, and to which node.
    pipes: VecDeque<(ConnectionId, usize, Vec<Peer>)>,
}

struct Client {
    name: Name,
    keypair: Keypair,
    journal: Journal,
    node: Node,
    notices: Vec<Notice>,
    /// The status with which it has ended.
    exit: Option<(u8, Option<String>)>,
}

fn start(name: &Name, keypair: &Keypair, journal: &Journal, now: Now, epoch: u64) -> Node {
    let setup = Setup { name: name.clone(), keypair: keypair.clone(), ..setup(epoch) };
    Node::new(setup, now, journal).unwrap()
}

impl Net {
    /// So many clients, of which the first knows all others, who know the first.
    fn new(count: usize) -> Self {
        let now = support::at(0);
        let clients = NAMES.iter().take(count).zip(1..).map(|(text, epoch)| {
            let (name, keypair) = (name(text), Keypair::generate().unwrap());
            let journal = Journal::in_memory(&name, &keypair).unwrap();
            let node = start(&name, &keypair, &journal, now, epoch);
            Client { name, keypair, journal, node, notices: Vec::new(), exit: None }
        });
        let clients = clients.collect();
        let (links, pipes) = (BTreeMap::new(), VecDeque::new());
        let net = Self { now, clients, links, last_link: 0, pipes };
        for other in 1..count {
            net.introduce(ALICE, other, Standing::Contact);
            net.introduce(other, ALICE, Standing::Contact);
        }
        net.restarted()
    }

    /// All are linked with the first, and in its room.
    fn in_room(count: usize) -> Self {
        Self::new(count).with_room()
    }

    fn with_room(mut self) -> Self {
        self.types(ALICE, "ROOM #lab");
        for (other, name) in NAMES.iter().enumerate().take(self.clients.len()).skip(1) {
            self.link(ALICE, other);
            self.types(ALICE, &format!("INVITE #lab {name}"));
            self.types(other, "JOIN #lab");
        }
        self.later(3_000);
        self
    }

    /// The same, and all are linked with all.
    fn all_linked(count: usize) -> Self {
        let mut net = Self::in_room(count);
        net.link_members();
        net.later(3_000);
        net.forget();
        net
    }

    /// Those who are no contacts of each other are linked as well.
    fn link_members(&mut self) {
        let count = self.clients.len();
        for one in 1..count {
            (one + 1..count).for_each(|other| self.link(one, other));
        }
    }

    /// `who` has the other one in the journal, from the next start on.
    fn introduce(&self, who: usize, other: usize, standing: Standing) {
        self.introduce_as(who, NAMES[other], self.clients[other].keypair.public(), standing);
    }

    fn introduce_as(&self, who: usize, other: &str, key: PublicKey, standing: Standing) {
        let (journal, name) = (&self.clients[who].journal, name(other));
        let known = journal.contacts().unwrap().into_iter().find(|row| row.name == name);
        let id = known.unwrap_or_else(|| journal.add_contact(&name, standing).unwrap()).id;
        let request = if standing == Standing::Contact { Request::Kept } else { Request::None };
        let identity = Identity { key: Some(key), standing, request, ..Identity::default() };
        journal.save_identity(id, &identity).unwrap();
    }

    fn restarted(mut self) -> Self {
        (0..self.clients.len()).for_each(|who| self.restart(who));
        self
    }

    /// The program is killed and started again.
    fn restart(&mut self, who: usize) {
        (0..self.clients.len()).for_each(|other| self.cut(who, other));
        let epoch = 100 + self.last_link * 10 + who as u64;
        let Client { name, keypair, journal, .. } = &self.clients[who];
        let node = start(name, keypair, journal, self.now, epoch);
        (self.clients[who].node, self.clients[who].exit) = (node, None);
        self.step(who, &[]);
    }

    /// A copy of what a client has on its disk.
    fn backup(&self, who: usize) -> Journal {
        let Client { name, keypair, journal, .. } = &self.clients[who];
        journal.copied(name, keypair)
    }

    /// The client's journal is an earlier one from now on.
    fn restore(&mut self, who: usize, journal: Journal) {
        self.clients[who].journal = journal;
        self.restart(who);
        self.clients[who].notices.clear();
    }

    /// One transaction.
    fn step(&mut self, who: usize, inputs: &[Input]) {
        self.decide(who, inputs);
        let client = &mut self.clients[who];
        client.journal.commit().unwrap();
        let actions = client.node.committed();
        self.act(who, actions);
    }

    /// One that can't be committed.
    fn fail(&mut self, who: usize, inputs: &[Input]) {
        self.decide(who, inputs);
        let (now, epoch) = (self.now, 1_000 + self.now.wall.unsigned_abs());
        let client = &mut self.clients[who];
        client.journal.rollback();
        let actions = client.node.failed(now, &client.journal, inputs, epoch).unwrap();
        self.act(who, actions);
    }

    fn decide(&mut self, who: usize, inputs: &[Input]) {
        let (now, client) = (self.now, &mut self.clients[who]);
        client.journal.begin().unwrap();
        inputs.iter().for_each(|input| client.node.handle(now, &client.journal, input).unwrap());
        client.node.finish(now, &client.journal).unwrap();
    }

    fn act(&mut self, who: usize, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(link, said) => {
                    if let Some(other) = self.other_end(who, link) {
                        self.pipes.push_back((link, other, said));
                    }
                }
                Action::Close(link) => {
                    if let Some(other) = self.other_end(who, link) {
                        self.links.retain(|_, it| *it != link);
                        self.deliver();
                        self.step(other, &[Input::LinkClosed(link)]);
                    }
                }
                Action::Print(told) => {
                    let client = &mut self.clients[who];
                    client.notices.extend(told.into_iter().map(|told| told.notice));
                    client.node.handle(self.now, &client.journal, &Input::Printed).unwrap();
                    client.node.commit();
                }
                Action::Exit(status, why) => self.clients[who].exit = Some((status, why)),
                _ => {}
            }
        }
    }

    fn other_end(&self, who: usize, link: ConnectionId) -> Option<usize> {
        let pair = self.links.iter().find(|(_, it)| **it == link).map(|(pair, _)| *pair);
        pair.map(|(one, other)| if one == who { other } else { one })
    }

    /// Everything that is on its way arrives.
    fn deliver(&mut self) {
        let mut frames = 0;
        while let Some((link, to, said)) = self.pipes.pop_front() {
            frames += 1;
            assert!(frames < 1_000, "they never stop: {said:?}");
            self.step(to, &[Input::LinkSays(link, said)]);
        }
    }

    /// Time goes by, and all that is due happens.
    fn later(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(50) {
            self.now.mono = self.now.mono + Duration::from_millis(50);
            self.now.wall += 50;
            for who in 0..self.clients.len() {
                if self.clients[who].node.deadline() <= self.now.mono && self.clients[who].exit.is_none() {
                    self.step(who, &[]);
                }
            }
            self.deliver();
        }
    }

    /// A link between these two comes up, if both want it.
    fn link(&mut self, one: usize, other: usize) {
        self.last_link += 1;
        let link = self.last_link;
        self.links.insert((one.min(other), one.max(other)), link);
        for (here, there) in [(one, other), (other, one)] {
            let key = self.clients[there].keypair.public();
            self.step(here, &[proved(link, key, None)]);
        }
        self.deliver();
        self.later(100);
    }

    fn cut(&mut self, one: usize, other: usize) {
        if let Some(link) = self.links.remove(&(one.min(other), one.max(other))) {
            self.pipes.retain(|(over, ..)| *over != link);
            [one, other].into_iter().for_each(|who| self.step(who, &[Input::LinkClosed(link)]));
            self.deliver();
        }
    }

    fn is_linked(&self, one: usize, other: usize) -> bool {
        let up = |here: usize, there: usize| {
            let key = self.clients[there].keypair.public();
            self.clients[here].node.mates.link(&key).is_some()
        };
        up(one, other) && up(other, one)
    }

    fn types(&mut self, who: usize, line: &str) {
        self.step(who, &[typed(line)]);
        self.deliver();
    }

    fn forget(&mut self) {
        self.clients.iter_mut().for_each(|client| client.notices.clear());
    }

    /// The texts of others that were shown.
    fn shown(&self, who: usize) -> Vec<&str> {
        let shown = self.clients[who].notices.iter().filter_map(|notice| match notice {
            Notice::Message { text: Body::Text(text), .. } => Some(&**text),
            _ => None,
        });
        shown.collect()
    }

    fn errors(&self, who: usize) -> Vec<Code> {
        codes(&self.clients[who].notices)
    }

    /// What was told of members, without the one who did it.
    fn members_told(&self, who: usize) -> Vec<(&str, MemberState)> {
        let told = self.clients[who].notices.iter().filter_map(|notice| match notice {
            Notice::Member { user, state, .. } => Some((user.as_str(), *state)),
            _ => None,
        });
        told.collect()
    }

    /// Whether the last one who has left, as far as this client was told, has declined.
    fn has_declined(&self, who: usize) -> bool {
        let told = self.clients[who].notices.iter().rev().find_map(|notice| match notice {
            Notice::Member { state: MemberState::Left, declined, .. }
            | Notice::Room { state: RoomState::Left, declined, .. } => Some(*declined),
            _ => None,
        });
        told.unwrap()
    }

    fn last_error(&self, who: usize) -> &str {
        let told = self.clients[who].notices.iter().rev().find_map(|notice| match notice {
            Notice::Error(error) => Some(error.message.as_str()),
            _ => None,
        });
        told.unwrap_or_default()
    }

    fn rooms_told(&self, who: usize) -> Vec<(RoomState, &str)> {
        let told = self.clients[who].notices.iter().filter_map(|notice| match notice {
            Notice::Room { state, why, .. } => Some((*state, why.as_str())),
            _ => None,
        });
        told.collect()
    }

    /// What is told of the last text, and whether nothing can come before it.
    fn spread(&self, who: usize) -> Option<(u64, u64, bool)> {
        self.clients[who].notices.iter().rev().find_map(|notice| match notice {
            Notice::Spread { have, of, is_final, .. } => Some((*have, *of, *is_final)),
            _ => None,
        })
    }

    fn answer<T>(&mut self, who: usize, line: &str, read: impl Fn(&Notice) -> Option<T>) -> T {
        self.types(who, line);
        let notices = &self.clients[who].notices;
        notices.iter().rev().find_map(read).unwrap_or_else(|| panic!("{line}: {notices:?}"))
    }

    fn history(&mut self, who: usize) -> Vec<RoomHistoryLine> {
        self.answer(who, "HISTORY #lab", |notice| match notice {
            Notice::RoomHistory { messages, .. } => Some(messages.clone()),
            _ => None,
        })
    }

    /// The room's texts in its order.
    fn order(&mut self, who: usize) -> Vec<String> {
        self.history(who).into_iter().map(|line| line.text.shown().into_owned()).collect()
    }

    fn members(&mut self, who: usize) -> Vec<MemberLine> {
        self.answer(who, "MEMBERS #lab", |notice| match notice {
            Notice::Members { members, .. } => Some(members.clone()),
            _ => None,
        })
    }

    fn member(&mut self, who: usize, member: usize) -> MemberLine {
        let lines = self.members(who);
        lines.into_iter().find(|line| line.user.as_str() == NAMES[member]).unwrap()
    }

    fn room(&mut self, who: usize) -> RoomLine {
        self.answer(who, "ROOMS", |notice| match notice {
            Notice::Rooms { rooms } => rooms.first().cloned(),
            _ => None,
        })
    }

    fn why(&mut self, who: usize) -> RoomWhy {
        self.answer(who, "WHY #lab", |notice| match notice {
            Notice::RoomWhy(why) => Some(RoomWhy::clone(why)),
            _ => None,
        })
    }
}
