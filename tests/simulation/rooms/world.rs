//! Members, the links between them, and what happens to both.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use fastrand::Rng;
use peerchat::client::node::rooms::{Cx, Effect, Refusal, Rooms, State};
use peerchat::protocol::room::{AboutRoom, EntryKind, Found, RoomSays};
use peerchat::protocol::{Name, PublicKey};
use peerchat::store::journal::{Journal, RoomId, Seq};
use peerchat::time::Now;
use peerchat::transport::noise::Keypair;

use super::super::client::keypair;
use super::super::seeds::Stats;
use super::super::snapshot::Snapshot;
use super::super::world::moment;
use super::check::Oracle;
use super::frozen::{self, Freezes, Freezing};
use super::liars::{self, Liar};
use super::mutation::{Broken, Mutation};

/// In milliseconds.
pub const TICK: u64 = 20;
const WINDOW: usize = 64 * 1024;
/// Above so many members not all are linked with all.
pub const ALL_LINKED: usize = 16;

/// Something for a member's loop.
pub enum Input {
    Linked(usize),
    Unlinked(usize),
    Hear(usize, Box<AboutRoom>),
    Do(Command),
    Low(bool),
}

impl Input {
    fn may_remove(&self) -> bool {
        match self {
            Self::Do(Command::Kick(..)) => true,
            Self::Hear(_, about) => matches!(about.says, RoomSays::Changes(_)),
            _ => false,
        }
    }
}

#[derive(Debug, Clone)]
pub enum Command {
    Found,
    Say(RoomId, String),
    Invite(RoomId, usize, bool),
    Kick(RoomId, usize),
    Give(RoomId, usize),
    Topic(RoomId),
    Join(RoomId, u64),
    Leave(RoomId),
}

pub struct Member {
    pub name: Name,
    pub keypair: Keypair,
    pub journal: Rc<Journal>,
    pub rooms: Option<Rooms>,
    pub backups: Vec<Snapshot>,
    pub epoch: u64,
    seq: Seq,
    started: u64,
    pub inbox: VecDeque<(u64, Input)>,
    /// It is away for good.
    pub gone: bool,
    /// How it lies, if it does.
    pub liar: Option<Liar>,
    /// The members that it is to be linked with for the sake of the room.
    mates: BTreeSet<PublicKey>,
    /// Its program knows that the disk is nearly full.
    pub full: bool,
    /// How often its journal was restored from a backup.
    pub restored: u32,
    low: bool,
    /// Does nothing before.
    paused: u64,
}

impl Member {
    pub fn new(name: Name, keypair: Keypair, journal: Rc<Journal>) -> Self {
        Self {
            name,
            keypair,
            journal,
            rooms: None,
            backups: Vec::new(),
            epoch: 0,
            seq: 0,
            started: 0,
            inbox: VecDeque::new(),
            gone: false,
            liar: None,
            mates: BTreeSet::new(),
            full: false,
            restored: 0,
            low: false,
            paused: 0,
        }
    }
}

/// The link between two members, as each sees it.
#[derive(Default)]
struct Link {
    up: [bool; 2],
    /// What is on its way to each.
    queues: [VecDeque<(u64, AboutRoom)>; 2],
    /// Not before this time.
    again: u64,
}

/// What the seed decides.
pub struct Plan {
    pub members: usize,
    pub duration: u64,
    pub fault_gap: u64,
    pub say_gap: u64,
    pub latency: u64,
    pub restores: u32,
    pub changes: u32,
    pub fails: u32,
    pub long: bool,
    /// Who goes away for good in the middle.
    pub gone: Option<usize>,
    /// One member says more than the others may have to keep, to one who alone hears it.
    pub flood: bool,
    /// A member comes back from a backup, owns the room and removes the owner before it.
    pub succession: bool,
    /// The owner comes back from a backup and removes a member before it hears what it has forgotten.
    pub forgets: bool,
    /// How the room may freeze.
    pub freezes: Option<Freezes>,
}

/// What a storm is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    Faults,
    Liars,
    Freezing,
}

pub struct World {
    pub now: u64,
    pub rng: Rng,
    pub plan: Plan,
    pub members: Vec<Member>,
    links: BTreeMap<(usize, usize), Link>,
    /// Who are linked whatever rooms they are in.
    contacts: BTreeSet<(usize, usize)>,
    /// The pairs between which nothing gets through, until when.
    pub partitions: BTreeMap<(usize, usize), u64>,
    pub mutation: Option<Mutation>,
    pub broken: Broken,
    pub oracle: Oracle,
    pub freezing: Freezing,
    pub stats: Stats,
    pub storm: bool,
    verbose: bool,
    violation: Option<String>,
    says: u64,
}

impl World {
    pub fn new(seed: u64, mutation: Option<Mutation>, about: About, verbose: bool) -> Self {
        let mut rng = Rng::with_seed(seed ^ 0x726f_6f6d);
        let mut plan = Plan {
            members: [3, 3, 4, 5, 6, 8, 12][rng.usize(0..7)],
            duration: [10_000, 20_000, 40_000][rng.usize(0..3)],
            fault_gap: [60, 200, 600, 2_000][rng.usize(0..4)],
            say_gap: [40, 150, 500][rng.usize(0..3)],
            latency: [5, 50, 400][rng.usize(0..3)],
            restores: [0, 0, 30, 60][rng.usize(0..4)],
            changes: [0, 5, 15, 40][rng.usize(0..4)],
            fails: [0, 0, 20][rng.usize(0..3)],
            long: rng.u32(0..5) == 0,
            gone: None,
            flood: false,
            succession: false,
            forgets: false,
            freezes: None,
        };
        // Drawn apart, so that the rest of what a seed means stays.
        let mut apart = Rng::with_seed(seed ^ 0x6c69_6172);
        if apart.u32(0..4) == 0 {
            plan.gone = Some(apart.usize(1..plan.members));
        }
        let mut freezing = Freezing::new(seed);
        if about == About::Freezing {
            freezing.shape(&mut plan);
        }
        if let Some(mutation) = mutation {
            mutation.shape(&mut plan);
        }
        // So many that not all are linked with all.
        let mut large = Rng::with_seed(seed ^ 0x6c61_7267);
        if mutation.is_none() && about == About::Faults && large.u32(0..12) == 0 {
            plan.members = ALL_LINKED + 1 + large.usize(0..6);
        }
        let lying = mutation.map_or(about == About::Liars, Mutation::needs_liars);
        let liars = if lying {
            liars::draw(&mut apart, &mut plan, mutation)
        } else {
            plan.freezes.and_then(|it| freezing.liar(it)).into_iter().collect()
        };

        let member = |number: usize| {
            let keypair = keypair(&mut rng);
            let name: Name = format!("user{number}").parse().unwrap();
            let journal = Rc::new(Journal::in_memory(&name, &keypair).unwrap());
            Member::new(name, keypair, journal)
        };
        let mut members: Vec<Member> = (0..plan.members).map(member).collect();
        let keys = members.iter().map(|member| member.keypair.public()).collect();
        for (number, lies) in liars {
            liars::add(&mut members, number, lies);
        }
        Self {
            now: 0,
            rng,
            oracle: Oracle::new(keys, members.len()),
            plan,
            contacts: (1..members.len()).map(|other| (0, other)).collect(),
            members,
            links: BTreeMap::new(),
            partitions: BTreeMap::new(),
            mutation,
            broken: Broken::default(),
            freezing,
            stats: Stats::default(),
            storm: true,
            verbose,
            violation: None,
            says: 0,
        }
    }

    pub fn note(&self, line: impl FnOnce() -> String) {
        if self.verbose {
            println!("{:>8} {}", self.now, line());
        }
    }

    pub fn fail(&mut self, what: String) {
        self.note(|| format!("VIOLATION {what}"));
        self.violation.get_or_insert(what);
    }

    pub fn number(&self, key: PublicKey) -> usize {
        self.members.iter().position(|member| member.keypair.public() == key).unwrap()
    }

    pub fn live(&mut self) -> Result<(), String> {
        (0..self.plan.members).for_each(|number| self.start(number));
        // The disk may fail.
        for attempt in 1..=100 {
            // It may die as well.
            self.start(0);
            let founder = &self.members[0];
            let has_founded = founder.rooms.as_ref().is_some_and(|rooms| rooms.iter().next().is_some());
            let will_found = founder.inbox.iter().any(|(_, it)| matches!(it, Input::Do(Command::Found)));
            if has_founded && attempt > 10 {
                break;
            }
            if founder.rooms.is_some() && !has_founded && !will_found {
                self.members[0].inbox.push_back((0, Input::Do(Command::Found)));
            }
            self.run_until(attempt * 100)?;
        }
        let Some((room, _)) = self.members[0].rooms.as_ref().and_then(|it| it.iter().next()) else {
            return Err("the room is not founded".into());
        };
        let first = self.plan.members.div_ceil(2);
        // A large room is one only while so many are in.
        let all = self.plan.flood || self.plan.members > ALL_LINKED;
        for number in 1..self.plan.members {
            if number <= first || all || self.rng.bool() {
                let all = self.rng.bool();
                self.command(0, Command::Invite(room, number, all));
            }
        }
        self.run_until(2_000)?;
        liars::begin(self);
        if self.plan.flood {
            return super::mutation::flood(self);
        }
        if self.plan.succession {
            return super::mutation::succeed(self);
        }
        if self.plan.forgets {
            return super::mutation::forget(self);
        }
        let (mut fault, mut word) = (self.now, self.now);
        let end = self.now + self.plan.duration;
        while self.now < end {
            if self.now >= fault {
                fault = self.now + self.rng.u64(1..=self.plan.fault_gap);
                self.fault();
            }
            if self.now >= word {
                word = self.now + self.rng.u64(1..=self.plan.say_gap);
                self.type_something();
                liars::lie(self);
            }
            frozen::hand_over(self);
            if self.now > end - self.plan.duration / 3 {
                self.leave_for_good();
            }
            self.run_until(self.now + TICK)?;
        }
        self.peace()
    }

    /// All come back, all links stand, and what was promised must hold.
    pub fn peace(&mut self) -> Result<(), String> {
        self.storm = false;
        self.note(|| "peace".into());
        self.partitions.clear();
        self.leave_for_good();
        for number in 0..self.members.len() {
            self.members[number].paused = 0;
            if self.members[number].gone {
                self.stop(number);
            } else if self.members[number].rooms.is_none() {
                self.start(number);
            }
            if self.members[number].low {
                self.set_low(number, false);
            }
        }
        self.run_until(self.now + 5_000)?;
        // Who is invited joins, so that all are there: also who has forgotten, with its journal, that it did.
        for number in 0..self.members.len() {
            let room = self.members[number].rooms.as_ref().and_then(|it| it.iter().next());
            let Some((id, _)) = room.filter(|(_, room)| room.state(room.own) == Some(State::Invited)) else {
                continue;
            };
            let epoch = self.rng.u64(..);
            self.command(number, Command::Join(id, epoch));
        }
        self.run_until(self.now + 15_000)?;
        liars::end(self)?;
        for _ in 0..self.plan.members {
            if !self.expel() {
                break;
            }
            self.run_until(self.now + 10_000)?;
        }
        // Until all is silent: much may have to be handed on, over slow links.
        self.run_until(self.now + 25_000)?;
        for _ in 0..30 {
            let before = self.says;
            self.run_until(self.now + 20_000)?;
            if self.says == before {
                return frozen::at_the_end(self);
            }
        }
        frozen::at_the_end(self)?;
        Err("a room in which all is said is not silent".into())
    }

    pub fn run_until(&mut self, end: u64) -> Result<(), String> {
        while self.now < end {
            self.now += TICK;
            self.connect();
            self.deliver();
            for number in 0..self.members.len() {
                self.step(number);
                if let Some(violation) = self.violation.take() {
                    return Err(format!("after {} ms: {violation}", self.now));
                }
            }
        }
        Ok(())
    }

    pub fn clock(&self, number: usize) -> Now {
        let wall = 1_700_000_000_000 + i64::try_from(self.now).unwrap();
        Now { mono: moment(self.now - self.members[number].started), wall }
    }

    pub fn command(&mut self, number: usize, command: Command) {
        self.note(|| format!("user{number} types {command:?}"));
        let now = self.now;
        self.members[number].inbox.push_back((now, Input::Do(command)));
    }

    /// Who is to go away for good does.
    fn leave_for_good(&mut self) {
        let Some(number) = self.plan.gone.filter(|it| !self.members[*it].gone) else {
            return;
        };
        // An owner can't be done without.
        let key = self.members[number].keypair.public();
        let mut rooms = self.members.iter().filter_map(|it| it.rooms.as_ref()).flat_map(Rooms::iter);
        let owns = rooms.any(|(_, room)| room.membership.owner == key || room.membership.heir == Some(key));
        drop(rooms);
        if !owns {
            self.stats.fault("members gone for good");
            self.members[number].gone = true;
            self.stop(number);
        }
    }

    /// The owner removes who is away for good, and who lies. Returns whether there was any: one that owned the room before
    /// may have to wait.
    fn expel(&mut self) -> bool {
        let mut any = false;
        for owner in 0..self.plan.members {
            let key = self.members[owner].keypair.public();
            let room = self.members[owner].rooms.as_ref().and_then(|it| it.iter().next());
            let Some((id, room)) = room.filter(|(_, room)| room.membership_owner() == key) else {
                continue;
            };
            let is_out = |it: &Member| room.state(it.keypair.public()).is_none_or(|it| it == State::Removed);
            let expelled = |(number, it): &(usize, &Member)| {
                *number != owner && (it.gone || it.liar.is_some()) && !is_out(it)
            };
            let expelled = self.members.iter().enumerate().filter(expelled);
            let expelled: Vec<usize> = expelled.map(|(number, _)| number).collect();
            for number in expelled {
                any = true;
                self.command(owner, Command::Kick(id, number));
            }
        }
        any
    }

    pub fn start(&mut self, number: usize) {
        if self.members[number].rooms.is_some() || self.members[number].gone || !liars::is_there(self, number)
        {
            return;
        }
        let epoch = self.rng.u64(..);
        let epoch = liars::epoch(self, number).or_else(|| self.old_epoch(number)).unwrap_or(epoch);
        self.mutate_journal(number);
        let now = self.now;
        let own = self.members[number].keypair.public();
        let member = &mut self.members[number];
        member.epoch = epoch;
        member.started = now;
        member.seq = member.journal.last_seq().unwrap();
        let last = member.seq;
        member.rooms = Some(Rooms::load(&member.journal, own).unwrap());
        member.inbox.clear();
        (member.low, member.full) = (false, false);
        super::check::started(self, number, last);
        self.note(|| format!("user{number} starts in {epoch:016x}"));
    }

    fn stop(&mut self, number: usize) {
        if self.members[number].rooms.take().is_none() {
            return;
        }
        self.note(|| format!("user{number} is gone"));
        self.members[number].inbox.clear();
        for other in 0..self.members.len() {
            self.cut(number, other, 2_000);
        }
    }

    /// Both ends notice, some time.
    pub fn cut(&mut self, one: usize, other: usize, within: u64) {
        let (now, delay) = (self.now, [self.rng.u64(0..=within), self.rng.u64(0..=within)]);
        let again = now + within + self.rng.u64(0..2_000);
        if let Some(link) = self.links.get_mut(&(one.min(other), one.max(other))) {
            let ends = [(one.min(other), one.max(other)), (one.max(other), one.min(other))];
            for (side, (here, there)) in ends.into_iter().enumerate() {
                link.queues[side].clear();
                if std::mem::take(&mut link.up[side]) && self.members[here].rooms.is_some() {
                    self.members[here].inbox.push_back((now + delay[side], Input::Unlinked(there)));
                }
            }
            // Not before both sides have noticed an earlier cut.
            link.again = link.again.max(again);
        }
    }

    fn parted(&self, one: usize, other: usize) -> bool {
        self.partitions.get(&(one.min(other), one.max(other))).is_some_and(|until| *until > self.now)
    }

    /// Links come up where there is none.
    fn connect(&mut self) {
        for one in 0..self.members.len() {
            for other in one + 1..self.members.len() {
                let both = [one, other].iter().all(|it| self.members[*it].rooms.is_some());
                let parted = self.parted(one, other) || !self.may_be_linked(one, other);
                let link = self.links.entry((one, other)).or_default();
                if both && !parted && link.up == [false; 2] && link.again <= self.now {
                    link.up = [true; 2];
                    for (here, there) in [(one, other), (other, one)] {
                        self.members[here].inbox.push_back((self.now, Input::Linked(there)));
                    }
                }
            }
        }
    }

    /// Contacts are linked, and members for the sake of the room. With a liar's other machine is who is not with it.
    fn may_be_linked(&self, one: usize, other: usize) -> bool {
        let [a, b] = [one, other].map(|it| &self.members[it]);
        let both = a.mates.contains(&b.keypair.public()) && b.mates.contains(&a.keypair.public());
        let may = self.contacts.contains(&(one.min(other), one.max(other)));
        (may || both && self.mutation != Some(Mutation::Unmated)) && liars::may_be_linked(self, one, other)
    }

    /// Whether there is a link, or one side has not noticed yet that it is gone.
    pub fn is_linked(&self, one: usize, other: usize) -> bool {
        let link = self.links.get(&(one.min(other), one.max(other)));
        link.is_some_and(|link| link.up != [false; 2] || link.again > self.now)
    }

    fn deliver(&mut self) {
        let now = self.now;
        for ((one, other), link) in &mut self.links {
            for (side, (here, there)) in [(*one, *other), (*other, *one)].into_iter().enumerate() {
                while link.queues[side].front().is_some_and(|(due, _)| *due <= now) {
                    let (_, about) = link.queues[side].pop_front().unwrap();
                    self.members[here].inbox.push_back((now, Input::Hear(there, Box::new(about))));
                }
            }
        }
    }

    /// What a member has said arrives at once.
    fn arrive(&mut self, number: usize) {
        for other in 0..self.members.len() {
            if let Some(link) = self.links.get_mut(&(number.min(other), number.max(other))) {
                let queue = &mut link.queues[usize::from(other > number)];
                let said = queue.drain(..).map(|(_, about)| (self.now, Input::Hear(number, Box::new(about))));
                self.members[other].inbox.extend(said);
            }
        }
    }

    pub fn set_low(&mut self, number: usize, low: bool) {
        let now = self.now;
        self.members[number].low = low;
        self.members[number].inbox.push_back((now, Input::Low(low)));
    }

    /// A member's loop comes round: one transaction.
    fn step(&mut self, number: usize) {
        let (now, clock) = (self.now, self.clock(number));
        let member = &mut self.members[number];
        if member.paused > now {
            return;
        }
        let Some(mut rooms) = member.rooms.take() else {
            return;
        };
        let mut inputs = Vec::new();
        let mut later = VecDeque::new();
        while let Some((due, input)) = member.inbox.pop_front() {
            if due <= now && inputs.len() < 40 {
                inputs.push(input);
            } else {
                later.push_back((due, input));
            }
        }
        member.inbox = later;
        let frees = inputs.iter().any(|input| matches!(input, Input::Low(false)));
        let was_full = member.full && !frees;
        for input in &inputs {
            if let Input::Low(low) = input {
                member.full = *low;
            }
        }
        if inputs.is_empty() && rooms.deadline() > clock.mono {
            member.rooms = Some(rooms);
            return;
        }
        self.mishear(number, &mut inputs);
        liars::mishear(self, number, &mut inputs);
        let frozen = frozen::since(self, number);
        let before = inputs.iter().any(Input::may_remove).then(|| super::check::ends(&rooms));
        let member = &mut self.members[number];
        let journal = Rc::clone(&member.journal);
        let (keypair, epoch, seq) = (member.keypair.clone(), member.epoch, member.seq);
        let (mut next, mut effects) = (seq, Vec::new());
        journal.begin().unwrap();
        let keys: Vec<PublicKey> = self.members.iter().map(|it| it.keypair.public()).collect();
        let names: Vec<Name> = self.members.iter().map(|it| it.name.clone()).collect();
        let mut said = Vec::new();
        {
            let mut seqs = || {
                next += 1;
                next
            };
            let mut cx = Cx {
                journal: &journal,
                now: clock,
                keypair: &keypair,
                epoch,
                seqs: &mut seqs,
                effects: &mut effects,
            };
            for input in &inputs {
                match input {
                    Input::Linked(other) => rooms.linked(&mut cx, keys[*other], WINDOW).unwrap(),
                    Input::Unlinked(other) => rooms.unlinked(keys[*other]),
                    Input::Hear(from, about) => {
                        rooms.hear(&mut cx, keys[*from], about, true).unwrap();
                    }
                    Input::Low(low) => rooms.set_low(*low),
                    Input::Do(command) => {
                        let done = carry_out(&mut rooms, &mut cx, command, &keys, &names);
                        match (command, done) {
                            (Command::Say(room, text), Ok(Some(id))) => said.push((*room, id, text.clone())),
                            (_, Err(Refusal::NotYet(_))) => self.stats.add("removals put off"),
                            _ => {}
                        }
                    }
                }
            }
            rooms.finish(&mut cx).unwrap();
        }
        let storm = self.storm;
        self.members[number].rooms = Some(rooms);
        if self.acts_too_early(number, &effects) {
            journal.rollback();
            self.arrive(number);
            self.kill(number);
            return;
        }
        let Some(mut rooms) = self.members[number].rooms.take() else {
            return;
        };
        // The disk fails.
        if storm && self.plan.fails > 0 && self.rng.u32(0..1_000) < self.plan.fails {
            self.stats.fault("failed transactions");
            journal.rollback();
            rooms.reload(&journal, keypair.public()).unwrap();
            self.note(|| format!("user{number}'s disk fails"));
            let member = &mut self.members[number];
            member.epoch = self.rng.u64(..);
            member.rooms = Some(rooms);
            let mut again = Vec::new();
            for input in inputs {
                match input {
                    // What both sides may not agree on is found out over new links.
                    Input::Hear(from, about) if about.says.must_be_saved() => self.cut(number, from, 0),
                    Input::Linked(other) => self.cut(number, other, 0),
                    // What is decided without the disk.
                    Input::Hear(..) | Input::Unlinked(_) | Input::Low(_) => again.push((now, input)),
                    Input::Do(_) => {}
                }
            }
            // Before what has come since: an old link that is gone must not pass for the new one.
            let inbox = &mut self.members[number].inbox;
            again.into_iter().rev().for_each(|input| inbox.push_front(input));
            return;
        }
        journal.commit().unwrap();
        let member = &mut self.members[number];
        if rooms.take_changed() {
            member.mates = rooms.mates().into_keys().collect();
        }
        member.rooms = Some(rooms);
        member.seq = next;
        for (room, id, text) in said {
            self.oracle.said(number, room, id, text);
        }
        // It dies between the commit and what follows.
        if storm && self.rng.u32(0..2_000) == 0 {
            self.stats.fault("deaths after a commit");
            self.kill(number);
            return;
        }
        // With what was known before: a receipt may have come after the removal.
        before.into_iter().for_each(|before| super::check::removed(self, number, &before));
        self.act(number, effects);
        frozen::each(self, number, frozen);
        super::check::each(self, number, was_full);
    }

    pub fn act(&mut self, number: usize, mut effects: Vec<Effect>) {
        self.distort(number, &mut effects);
        liars::distort(self, number, &mut effects);
        let honest = self.members[number].liar.is_none();
        let mut is_frozen = false;
        for effect in effects {
            match effect {
                Effect::Say { to, about } => {
                    self.send(number, to, about);
                }
                Effect::Blame { peer, what } => {
                    let peer = self.number(peer);
                    if honest && self.members[peer].liar.is_none() {
                        self.fail(format!("user{number} blames user{peer}, who is honest: {what}"));
                    }
                    self.stats.add("liars blamed");
                    self.note(|| format!("user{number} blames user{peer}: {what}"));
                }
                Effect::Member { room, user, state: State::Forked, .. } => {
                    let user = self.number(user);
                    if honest && self.members[user].liar.is_none() {
                        self.fail(format!("user{number} finds user{user} forked in room {room}"));
                    }
                    self.stats.add("liars found");
                    self.note(|| format!("user{number} finds user{user} forked"));
                }
                Effect::Frozen { why, .. } => {
                    self.note(|| format!("user{number} finds the room frozen: {why}"));
                    frozen::told(self, number, why);
                    is_frozen = true;
                }
                Effect::Invited { room, .. } => {
                    self.note(|| format!("user{number} is invited to {room}"));
                    let epoch = self.rng.u64(..);
                    self.command(number, Command::Join(room, epoch));
                }
                Effect::Text { room, seq, author } => {
                    let author = self.number(author);
                    super::check::text(self, number, seq);
                    if is_frozen {
                        self.fail(format!("user{number} takes {seq} just after the room has frozen"));
                    }
                    self.note(|| format!("user{number} has {seq} of user{author} in {room}"));
                }
                Effect::Spread { room, id, spread } => {
                    self.note(|| format!("user{number} hears of {id} in {room}: {spread:?}"));
                    super::check::spread(self, number, room, id, spread);
                }
                Effect::Cut { room } => {
                    let rooms = self.members[number].rooms.as_ref();
                    let out = rooms.and_then(|it| it.get(room)).filter(|room| !room.is_joined());
                    self.oracle.cut(number, &self.members[number].journal, out.map(|room| room.own));
                }
                other => self.note(|| format!("user{number}: {other:?}")),
            }
        }
    }

    /// Something goes over a link, if there is one.
    pub fn send(&mut self, number: usize, to: PublicKey, about: AboutRoom) {
        super::check::says(self, number, to, &about);
        let to = self.peer(number, to);
        self.says += 1;
        if self.verbose {
            let line = format!("{:?}", about.says);
            self.note(|| {
                format!("user{number} to user{to}: {}", line.chars().take(3000).collect::<String>())
            });
        }
        let due = self.now + self.rng.u64(0..=self.plan.latency);
        let parted = self.parted(number, to);
        let side = usize::from(to > number);
        if let Some(link) = self.links.get_mut(&(number.min(to), number.max(to)))
            && link.up[1 - side]
            && !parted
        {
            let after = link.queues[side].back().map_or(0, |(due, _)| *due);
            link.queues[side].push_back((due.max(after), about));
        }
    }

    /// The machine of this account with which a member is linked.
    fn peer(&self, number: usize, key: PublicKey) -> usize {
        let mut all = (0..self.members.len()).filter(|it| self.members[*it].keypair.public() == key);
        let linked = |it: &usize| {
            let link = self.links.get(&(number.min(*it), number.max(*it)));
            link.is_some_and(|link| link.up[usize::from(number > *it)])
        };
        all.clone().find(linked).or_else(|| all.next()).unwrap()
    }

    pub fn kill(&mut self, number: usize) {
        self.note(|| format!("user{number} is killed"));
        self.members[number].rooms = None;
        self.members[number].inbox.clear();
        for other in 0..self.members.len() {
            self.cut(number, other, 2_000);
        }
        // Back at once: the journal may be an older one.
        let restored = self.rng.u32(0..100) < self.plan.restores && !self.members[number].backups.is_empty();
        if restored {
            let backup = self.rng.usize(0..self.members[number].backups.len());
            self.stats.fault("restored backups");
            self.note(|| format!("user{number} is restored from backup {backup}"));
            let member = &mut self.members[number];
            member.backups.truncate(backup + 1);
            member.backups[backup].restore(&member.journal);
            member.restored += 1;
            self.oracle.restored(number);
        }
        let pause = self.rng.u64(0..4_000);
        let now = self.now;
        if !self.storm || self.rng.u32(0..4) > 0 {
            self.start(number);
            self.members[number].paused = now + pause;
        }
    }

    fn fault(&mut self) {
        let count = self.members.len();
        let [one, other] = [self.rng.usize(0..count), self.rng.usize(0..count)];
        match self.rng.u32(0..12) {
            0..=2 if one != other => {
                self.stats.fault("links cut");
                self.cut(one, other, 1_000);
            }
            3 if one != other => {
                self.stats.fault("partitions");
                let until = self.now + self.rng.u64(100..10_000);
                self.partitions.insert((one.min(other), one.max(other)), until);
                self.cut(one, other, 3_000);
            }
            4 => {
                self.stats.fault("partitions");
                let until = self.now + self.rng.u64(100..10_000);
                for member in (0..count).filter(|member| *member != one) {
                    self.partitions.insert((one.min(member), one.max(member)), until);
                    self.cut(one, member, 3_000);
                }
            }
            5 | 6 if self.members[one].rooms.is_some() => {
                self.stats.fault("kills");
                self.kill(one);
            }
            7 if self.members[one].rooms.is_none() => self.start(one),
            8 => {
                let backup = Snapshot::take(&self.members[one].journal);
                self.members[one].backups.push(backup);
                self.stats.add("backups");
            }
            9 => {
                self.stats.fault("full disks");
                let low = !self.members[one].low;
                if self.members[one].rooms.is_some() {
                    self.set_low(one, low);
                }
            }
            10 => {
                self.stats.fault("pauses");
                self.members[one].paused = self.now + self.rng.u64(10..5_000);
            }
            _ => {}
        }
    }

    fn type_something(&mut self) {
        let number = self.rng.usize(0..self.members.len());
        let Some(rooms) = &self.members[number].rooms else {
            return;
        };
        let all: Vec<(RoomId, bool)> = rooms
            .iter()
            .map(|(id, room)| (id, room.membership_owner() == self.members[number].keypair.public()))
            .collect();
        if all.is_empty() {
            return;
        }
        let (room, owner) = all[self.rng.usize(0..all.len())];
        let other = self.rng.usize(0..self.plan.members);
        if self.rng.u32(0..100) < self.plan.changes {
            let command = match self.rng.u32(0..10) {
                0..=1 if owner => Command::Kick(room, other),
                2..=5 if owner => {
                    self.contacts.insert((number.min(other), number.max(other)));
                    Command::Invite(room, other, self.rng.bool())
                }
                6 if owner
                    && self.rng.u32(0..4) == 0
                    && (self.plan.restores == 0 || self.plan.freezes.is_some())
                    && self.members[other].liar.is_none() =>
                {
                    Command::Give(room, other)
                }
                7 if owner => Command::Topic(room),
                8 if !owner && self.rng.u32(0..3) == 0 => Command::Leave(room),
                _ => Command::Join(room, self.rng.u64(..)),
            };
            return self.command(number, command);
        }
        let count = if self.plan.long && self.rng.u32(0..20) == 0 { self.rng.usize(1..300) } else { 1 };
        for _ in 0..count {
            let length =
                if self.plan.long && self.rng.u32(0..10) == 0 { self.rng.usize(1..30_000) } else { 1 };
            let text = format!("{}{}", self.rng.u64(..), "x".repeat(length));
            self.command(number, Command::Say(room, text));
        }
    }
}

/// Returns the name of what was said.
fn carry_out(
    rooms: &mut Rooms,
    cx: &mut Cx<'_>,
    command: &Command,
    keys: &[PublicKey],
    names: &[Name],
) -> Result<Option<peerchat::protocol::peer::Cursor>, Refusal> {
    let done = match command {
        Command::Found => {
            let own = keys.iter().position(|key| *key == cx.keypair.public()).unwrap();
            let (room, owner) = ("lab".parse().unwrap(), names[own].clone());
            rooms.found(cx, Found { nonce: [7; 32], room, owner, past: None }).unwrap().map(|_| ())
        }
        Command::Say(room, text) => {
            let said = rooms.say(cx, *room, EntryKind::TEXT, text.as_bytes()).unwrap();
            return said.map(|(id, _)| Some(id));
        }
        Command::Invite(room, other, all) => {
            rooms.invite(cx, *room, &names[*other], keys[*other], *all).unwrap()
        }
        Command::Kick(room, other) => rooms.kick(cx, *room, keys[*other]).unwrap(),
        Command::Give(room, other) => rooms.give(cx, *room, keys[*other]).unwrap(),
        Command::Topic(room) => rooms.topic(cx, *room, "a topic").unwrap(),
        Command::Join(room, epoch) => rooms.join(cx, *room, *epoch).unwrap(),
        Command::Leave(room) => rooms.leave(cx, *room).unwrap(),
    };
    done.map(|()| None)
}
