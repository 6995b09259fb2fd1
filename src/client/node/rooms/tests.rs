//! The machine by itself: some members with their journals, among them one who lies.

use std::collections::BTreeSet;

use super::*;
use crate::protocol::room::{Cause, Entry, Have, Mark, Run, Signature, clock_after};
use crate::store::journal::EntryStanding;
use crate::time::Instant;
use std::time::Duration;

mod asked;
mod bounds;
mod confirmed;
mod former;
mod frozen;
mod handed;
mod large;
mod liars;
mod origin;
mod restored;

const ALICE: usize = 0;
const BOB: usize = 1;
const CAROL: usize = 2;
const MALLORY: usize = 3;
const ROOM: RoomId = 1;

struct Member {
    keypair: Keypair,
    journal: Journal,
    rooms: Rooms,
    epoch: u64,
    seq: Seq,
    /// What it was told, without what it says.
    told: Vec<Effect>,
    /// How many runs it has heard.
    runs: usize,
    /// What it has said to those with whom it has no link any more.
    unsaid: Vec<RoomSays>,
}

/// Members who are linked as the test says. The last of them may lie: what it says is said by the test.
struct Net {
    ms: u64,
    members: Vec<Member>,
    links: BTreeSet<(usize, usize)>,
}

impl Net {
    /// Alice founds a room, and so many others join.
    fn new(count: usize) -> Self {
        let member = |epoch: usize| {
            let keypair = Keypair::generate().unwrap();
            let journal = Journal::in_memory(&"member".parse().unwrap(), &keypair).unwrap();
            let epoch = epoch as u64;
            let (told, unsaid) = (Vec::new(), Vec::new());
            Member { keypair, journal, rooms: Rooms::default(), epoch, seq: 0, told, runs: 0, unsaid }
        };
        let members = (1..=count).map(member).collect();
        let mut net = Self { ms: 0, members, links: BTreeSet::new() };
        (0..count).flat_map(|one| (0..one).map(move |other| (one, other))).for_each(|(a, b)| net.link(a, b));
        let [room, owner] = [1, 2].map(|it| format!("name{it}").parse().unwrap());
        let founding = Found { nonce: [7; 32], room, owner, past: None };
        net.act(ALICE, |rooms, cx| rooms.found(cx, founding).unwrap().unwrap());
        for other in 1..count {
            net.invite(other);
        }
        net.later(3_000);
        net
    }

    fn invite(&mut self, other: usize) {
        self.invite_only(other, true);
        self.join(other);
    }

    /// With `all`, what was said before is for the one who is invited, too.
    fn invite_only(&mut self, other: usize, all: bool) {
        let (name, key) = (format!("member{other}").parse().unwrap(), self.key(other));
        self.act(ALICE, |rooms, cx| rooms.invite(cx, ROOM, &name, key, all).unwrap().unwrap());
    }

    fn kick(&mut self, other: usize) {
        let key = self.key(other);
        self.act(ALICE, |rooms, cx| rooms.kick(cx, ROOM, key).unwrap().unwrap());
    }

    fn join(&mut self, other: usize) {
        let epoch = 100 + self.ms;
        self.act(other, |rooms, cx| rooms.join(cx, ROOM, epoch).unwrap().unwrap());
    }

    /// A member that is linked with no one is invited to what is said from now on, and declines.
    fn decline(&mut self, who: usize) {
        self.invite_only(who, false);
        self.link(ALICE, who);
        let says = RoomSays::Have(Have { joined: true, ..Have::default() });
        let about = AboutRoom { room: self.room(ALICE).key(), says };
        self.hear(who, ALICE, &about);
        self.act(who, |rooms, cx| rooms.leave(cx, ROOM).unwrap().unwrap());
        self.later(3_000);
    }

    /// The same, and then it joins for all.
    fn decline_and_join(&mut self, who: usize) {
        self.decline(who);
        self.invite(who);
        self.later(10_000);
    }

    fn key(&self, who: usize) -> PublicKey {
        self.members[who].keypair.public()
    }

    fn room(&self, who: usize) -> &Room {
        self.members[who].rooms.get(ROOM).unwrap()
    }

    fn is_linked(&self, one: usize, other: usize) -> bool {
        self.links.contains(&(one.min(other), one.max(other)))
    }

    /// One transaction, and all that follows from it.
    fn act<T>(&mut self, who: usize, act: impl FnOnce(&mut Rooms, &mut Cx<'_>) -> T) -> T {
        let now = Now { mono: Instant::START + Duration::from_millis(self.ms), wall: self.ms.cast_signed() };
        let Member { keypair, journal, rooms, epoch, seq, told, .. } = &mut self.members[who];
        let mut effects = Vec::new();
        let mut seqs = || {
            *seq += 1;
            *seq
        };
        let mut cx = Cx { journal, now, keypair, epoch: *epoch, seqs: &mut seqs, effects: &mut effects };
        let done = act(rooms, &mut cx);
        rooms.finish(&mut cx).unwrap();
        let mut says = Vec::new();
        for effect in effects {
            match effect {
                Effect::Say { to, about } => says.push((to, about)),
                other => told.push(other),
            }
        }
        for (to, about) in says {
            let to = self.members.iter().position(|it| it.keypair.public() == to).unwrap();
            if self.is_linked(who, to) {
                self.hear(to, who, &about);
            } else {
                self.members[who].unsaid.push(about.says);
            }
        }
        done
    }

    fn hear(&mut self, who: usize, from: usize, about: &AboutRoom) {
        let from = self.key(from);
        self.members[who].runs += usize::from(matches!(about.says, RoomSays::Run(_)));
        self.act(who, |rooms, cx| rooms.hear(cx, from, about, true).unwrap());
    }

    fn link(&mut self, one: usize, other: usize) {
        self.links.insert((one.min(other), one.max(other)));
        for (who, other) in [(one, other), (other, one)] {
            let key = self.key(other);
            self.act(who, |rooms, cx| rooms.linked(cx, key, 1 << 20).unwrap());
        }
    }

    fn cut(&mut self, one: usize, other: usize) {
        self.links.remove(&(one.min(other), one.max(other)));
        for (who, other) in [(one, other), (other, one)] {
            let key = self.key(other);
            self.act(who, |rooms, _| rooms.unlinked(key));
        }
    }

    /// Nothing goes between a member and the others.
    fn part(&mut self, who: usize) {
        (0..self.members.len()).filter(|it| *it != who).for_each(|other| self.cut(who, other));
    }

    /// Time goes by, for all.
    fn later(&mut self, ms: u64) {
        let end = self.ms + ms;
        while self.ms < end {
            self.ms += 100;
            (0..self.members.len()).for_each(|who| self.act(who, |_, _| ()));
        }
    }

    fn say(&mut self, who: usize, text: &str) {
        let text = text.as_bytes();
        self.act(who, |rooms, cx| rooms.say(cx, ROOM, EntryKind::TEXT, text).unwrap().unwrap());
    }

    /// What a member has in the room's order.
    fn history(&self, who: usize) -> Vec<String> {
        let said = self.members[who].journal.room_history(ROOM, 10_000).unwrap();
        said.into_iter().map(|it| String::from_utf8(it.body).unwrap()).collect()
    }

    /// Whether all that a member has is final.
    fn is_settled(&self, who: usize) -> bool {
        self.room(who).is_settled(&self.members[who].journal).unwrap()
    }

    fn explain(&self, who: usize) -> String {
        self.room(who).explain(&self.members[who].journal).unwrap()
    }

    fn state(&self, who: usize, of: usize) -> Option<State> {
        self.room(who).state(self.key(of))
    }

    fn blamed(&self, who: usize) -> Vec<&'static str> {
        let blame = |effect: &Effect| match effect {
            Effect::Blame { what, .. } => Some(*what),
            _ => None,
        };
        self.members[who].told.iter().filter_map(blame).collect()
    }

    /// The program of a member ends, and another one goes on, perhaps with an older journal.
    fn restart(&mut self, who: usize, journal: Option<Journal>) {
        let others: Vec<usize> = (0..self.members.len()).filter(|it| self.is_linked(who, *it)).collect();
        self.part(who);
        let own = self.key(who);
        let member = &mut self.members[who];
        if let Some(journal) = journal {
            member.journal = journal;
        }
        member.rooms = Rooms::load(&member.journal, own).unwrap();
        member.seq = member.journal.last_seq().unwrap();
        member.epoch += 1_000;
        others.into_iter().for_each(|other| self.link(who, other));
    }
}

/// A chain that its author writes by hand.
#[derive(Clone)]
struct Pen {
    room: RoomKey,
    keypair: Keypair,
    last: Mark,
    clock: u64,
}

impl Pen {
    /// Goes on with what a member has written last, who is not to write itself any more.
    fn of(net: &Net, who: usize) -> Self {
        let room = net.room(who);
        let row = room.chains_of(room.own).map(|it| &it.row).max_by_key(|row| row.place).unwrap();
        Self {
            room: room.key(),
            keypair: net.members[who].keypair.clone(),
            last: row.mark(),
            clock: row.clock,
        }
    }

    /// A run of texts.
    fn write(&mut self, texts: &[&str]) -> AboutRoom {
        self.run(EntryKind::TEXT, texts.iter().map(|text| text.as_bytes().to_vec()))
    }

    /// A run of entries of one kind.
    fn run(&mut self, kind: EntryKind, bodies: impl IntoIterator<Item = Vec<u8>>) -> AboutRoom {
        self.run_after(kind, bodies.into_iter().map(|body| (body, vec![])))
    }

    /// A run of entries of one kind, each with its causes.
    fn run_after(
        &mut self,
        kind: EntryKind,
        bodies: impl IntoIterator<Item = (Vec<u8>, Vec<Cause>)>,
    ) -> AboutRoom {
        let (first, previous) = (self.last.number + 1, self.last.hash);
        let mut entries = Vec::new();
        for (body, causes) in bodies {
            self.clock = clock_after(self.clock, &causes).unwrap();
            let entry = Entry { clock: self.clock, kind, sent: 0, causes, body };
            self.last.number += 1;
            let Mark { chain, number, hash } = self.last;
            self.last.hash = hash::entry(self.room, &chain, number, hash, &entry.header());
            entries.push(entry);
        }
        let signature = self.keypair.sign(&hash::head(self.last.hash));
        let run = Run { chain: self.last.chain, first, previous, entries, signature };
        AboutRoom { room: self.room, says: RoomSays::Run(run) }
    }
}

fn standing(net: &Net, who: usize, mark: &Mark) -> Option<EntryStanding> {
    let chain = net.room(who).find(&net.members[who].journal, mark).unwrap()?;
    net.members[who].journal.entry_at(chain.row.id, mark.number).unwrap()
}

#[test]
fn it_is_known_how_much_others_have_that_is_not_here() {
    let mut net = Net::new(3);
    net.say(CAROL, "one");
    assert_eq!(net.members[BOB].rooms.missing(ROOM), 0);
    let mut pen = Pen::of(&net, CAROL);
    let run = pen.write(&["two", "three", "four"]);
    // Alice has them as well: they are missing once.
    let have = RoomSays::Have(Have { heads: vec![pen.last], ..Have::default() });
    let about = AboutRoom { room: run.room, says: have };
    for from in [ALICE, CAROL] {
        net.hear(BOB, from, &about);
    }
    assert_eq!(net.members[BOB].rooms.missing(ROOM), 3);
    net.hear(BOB, ALICE, &run);
    assert_eq!(net.members[BOB].rooms.missing(ROOM), 0);
}
