//! Members who lie: with their own keys, which is all they have.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use fastrand::Rng;
use peerchat::client::node::rooms::{Effect, Rooms, State};
use peerchat::protocol::PublicKey;
use peerchat::protocol::room::{
    AboutRoom, Add, Change, Deed, EntryKind, Hash, Mark, Receipt, Remove, RoomKey, RoomSays, Run, hash,
};
use peerchat::store::journal::{Journal, RoomId};

use super::super::snapshot::Snapshot;
use super::mutation::Mutation;
use super::world::{Command, Input, Member, Plan, World};

/// How a member lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lie {
    /// Two machines write with one key in one epoch, and each is linked with other members.
    Equivocate,
    /// An entry is signed a second time, with other words.
    Rewrite,
    /// What others have signed is handed on changed.
    Forge,
    /// What was said long ago is said again.
    Replay,
    /// Nothing that others have written is handed on.
    Withhold,
    /// Much is said.
    Flood,
    /// A clock does not follow from what it names.
    DateBack,
    /// A receipt says to have what is not there.
    Claim,
    /// The owner signs two changes under one number, and tells one to some and the other to others.
    Contradict,
    /// The owner gives the room to two members in the same way.
    GiveTwice,
}

/// What any member can do.
const ALL: [Lie; 8] = [
    Lie::Equivocate,
    Lie::Rewrite,
    Lie::Forge,
    Lie::Replay,
    Lie::Withhold,
    Lie::Flood,
    Lie::DateBack,
    Lie::Claim,
];

/// See the module.
#[derive(Debug, Default, Clone)]
pub struct Liar {
    pub lies: BTreeSet<Lie>,
    /// The other machine of the same account.
    twin: Option<usize>,
    /// The other machine is there.
    born: bool,
    /// Whether members change from one machine to the other.
    wanders: bool,
    /// What it has said.
    said: Vec<AboutRoom>,
    /// It hears of no change that can't stand beside its own.
    deaf: bool,
    /// The next change that it makes is to be told in two ways.
    about_to: bool,
    /// The other change, which its own program has not made.
    twins: Vec<Change>,
}

impl Liar {
    /// One that lies in one way.
    pub fn with(lie: Lie, deaf: bool) -> Self {
        Self { lies: [lie].into(), deaf, ..Self::default() }
    }
}

/// How much of what was said a liar remembers.
const SAID: usize = 200;
/// How long members stay with one of a liar's machines, in milliseconds.
const STAY: u64 = 4_000;

/// Who lies, and how.
pub fn draw(rng: &mut Rng, plan: &mut Plan, mutation: Option<Mutation>) -> BTreeMap<usize, Liar> {
    plan.members = plan.members.max(4);
    let count = if plan.members > 4 { rng.usize(1..=2) } else { 1 };
    let mut liars = BTreeMap::new();
    for _ in 0..count {
        let mut lies: BTreeSet<Lie> = (0..rng.usize(1..=3)).map(|_| ALL[rng.usize(0..ALL.len())]).collect();
        if let Some(lie) = mutation.and_then(Mutation::lie) {
            lies = BTreeSet::from([lie]);
        }
        // The first members are in from the beginning.
        let number = rng.usize(1..=plan.members.div_ceil(2));
        liars.insert(number, Liar { lies, wanders: rng.bool(), ..Liar::default() });
    }
    liars
}

/// Makes a member lie, with another machine if it needs one.
pub fn add(members: &mut Vec<Member>, number: usize, mut liar: Liar) {
    if liar.lies.contains(&Lie::Equivocate) {
        let (name, keypair) = (members[number].name.clone(), members[number].keypair.clone());
        let journal = Rc::new(Journal::in_memory(&name, &keypair).unwrap());
        let twin = members.len();
        liar.twin = Some(twin);
        let other = Liar { twin: Some(number), ..liar.clone() };
        members.push(Member::new(name, keypair, journal));
        members[twin].liar = Some(other);
    }
    members[number].liar = Some(liar);
}

/// The lies begin: the other machines are copies.
pub fn begin(world: &mut World) {
    for number in 0..world.plan.members {
        let Some(twin) = world.members[number].liar.as_ref().and_then(|it| it.twin) else {
            continue;
        };
        world.note(|| format!("user{number} lies: {:?}", world.members[number].liar));
        Snapshot::take(&world.members[number].journal).restore(&world.members[twin].journal);
        for one in [number, twin] {
            if let Some(liar) = &mut world.members[one].liar {
                liar.born = true;
            }
        }
        world.start(twin);
        (0..world.members.len()).for_each(|other| world.cut(number, other, 100));
    }
}

/// The epoch in which a liar's machine starts, if it writes what another one writes.
pub fn epoch(world: &World, number: usize) -> Option<u64> {
    let twin = world.members[number].liar.as_ref().filter(|it| it.born).and_then(|it| it.twin)?;
    world.members[twin].rooms.as_ref().map(|_| world.members[twin].epoch)
}

/// Whether a machine is there at all.
pub fn is_there(world: &World, number: usize) -> bool {
    number < world.plan.members || world.members[number].liar.as_ref().is_some_and(|it| it.born)
}

/// Each member is linked with one of the machines of a liar.
pub fn may_be_linked(world: &World, one: usize, other: usize) -> bool {
    let may = |liar: usize, member: usize| {
        let Some((it, twin)) = world.members[liar].liar.as_ref().and_then(|it| Some((it, it.twin?))) else {
            return true;
        };
        if !it.born {
            return liar < world.plan.members;
        }
        let member = member % world.plan.members;
        let turn = if it.wanders { world.now / STAY } else { 0 };
        let first = (member as u64 + turn).is_multiple_of(2);
        twin != member && first == (liar < twin) && !world.is_linked(twin, member)
    };
    world.members[one].keypair.public() != world.members[other].keypair.public()
        && may(one, other)
        && may(other, one)
}

/// The last entry of a run.
pub fn end_of(room: RoomKey, run: &Run) -> Mark {
    let numbered = (run.first..).zip(&run.entries);
    let hash = numbered.fold(run.previous, |last, (number, entry)| {
        hash::entry(room, &run.chain, number, last, &entry.header())
    });
    Mark { chain: run.chain, number: run.first + run.entries.len() as u64 - 1, hash }
}

/// What a liar's machine says becomes what the liar says.
pub fn distort(world: &mut World, number: usize, effects: &mut Vec<Effect>) {
    let Some(mut liar) = world.members[number].liar.take() else {
        return;
    };
    let own = world.members[number].keypair.public();
    if liar.about_to && world.storm {
        contradict(world, number, &mut liar, effects);
    }
    for effect in &mut *effects {
        if let Effect::Say { about, .. } = effect {
            distort_one(world, number, own, &mut liar, about);
        }
    }
    if liar.lies.contains(&Lie::Withhold) {
        let before = effects.len();
        effects.retain(|effect| match effect {
            Effect::Say { about, .. } => {
                !matches!(&about.says, RoomSays::Run(run) if run.chain.author != own)
            }
            _ => true,
        });
        (effects.len()..before).for_each(|_| world.stats.fault("runs withheld"));
    }
    world.members[number].liar = Some(liar);
}

fn distort_one(world: &mut World, number: usize, own: PublicKey, liar: &mut Liar, about: &mut AboutRoom) {
    let keypair = world.members[number].keypair.clone();
    let room = about.room;
    if liar.lies.contains(&Lie::Claim)
        && let RoomSays::Receipts(receipts) = &mut about.says
    {
        for receipt in receipts.iter_mut().filter(|it| it.name.member == own) {
            if world.rng.u32(0..3) == 0 {
                claim(&mut world.rng, receipt);
                receipt.signature = keypair.sign(&hash::receipt(room, receipt).0);
                world.stats.fault("false claims");
            }
        }
    }
    if !world.storm {
        return;
    }
    if liar.lies.contains(&Lie::Forge) && world.rng.u32(0..30) == 0 {
        match &mut about.says {
            RoomSays::Run(run) => {
                let entry = world.rng.usize(0..run.entries.len());
                match world.rng.u32(0..4) {
                    0 => run.entries[entry].body.push(7),
                    1 => run.entries[entry].clock += 1,
                    2 => run.first += 1,
                    _ => run.chain.epoch ^= 1,
                }
                world.stats.fault("forged runs");
            }
            RoomSays::Receipts(receipts) => {
                if let Some(receipt) = receipts.first_mut() {
                    receipt.name.counter += 1;
                    world.stats.fault("forged receipts");
                }
            }
            RoomSays::Changes(changes) => {
                if let Some(change) = changes.first_mut() {
                    change.number += 1;
                    world.stats.fault("forged changes");
                }
            }
            _ => {}
        }
    }
    if let RoomSays::Run(run) = &mut about.says
        && run.chain.author == own
        && world.rng.u32(0..10) == 0
    {
        let Some(last) = run.entries.last_mut() else {
            return;
        };
        if liar.lies.contains(&Lie::DateBack) && last.clock > 2 {
            last.clock = world.rng.u64(1..last.clock);
            run.signature = keypair.sign(&hash::head(end_of(room, run).hash));
            world.stats.fault("entries dated back");
        } else if liar.lies.contains(&Lie::Rewrite) && last.kind == EntryKind::TEXT {
            last.body.extend(b" not");
            run.signature = keypair.sign(&hash::head(end_of(room, run).hash));
            world.stats.fault("entries written twice");
        }
    }
    liar.said.push(about.clone());
    if liar.said.len() > SAID {
        let _ = liar.said.remove(world.rng.usize(0..SAID));
    }
}

/// A change that the owner has just made is another one for some of those who are told of it.
fn contradict(world: &mut World, number: usize, liar: &mut Liar, effects: &mut [Effect]) {
    let keypair = world.members[number].keypair.clone();
    let Some((key, change)) = effects.iter().find_map(|effect| match effect {
        Effect::Say { about: AboutRoom { room, says: RoomSays::Changes(changes) }, .. } => match &changes[..]
        {
            [change] if change.author == keypair.public() => Some((*room, change.clone())),
            _ => None,
        },
        _ => None,
    }) else {
        return;
    };
    let Some(mut twin) = other_change(world, number, liar, &change) else {
        return;
    };
    twin.signature = keypair.sign(&hash::change(key, &twin).0);
    let said = RoomSays::Changes(vec![change]);
    let mut is_first = true;
    for effect in effects {
        if let Effect::Say { about, .. } = effect
            && about.room == key
            && about.says == said
            && (std::mem::take(&mut is_first) || world.rng.bool())
        {
            about.says = RoomSays::Changes(vec![twin.clone()]);
        }
    }
    world.note(|| format!("user{number} signs, beside {said:?}, {twin:?}"));
    world.stats.fault("contradictions of owners");
    liar.about_to = false;
    liar.twins.push(twin);
}

/// A change that can't stand beside this one.
fn other_change(world: &mut World, number: usize, liar: &Liar, change: &Change) -> Option<Change> {
    let World { rng, members, plan, .. } = world;
    let (_, room) = members[number].rooms.as_ref()?.iter().next()?;
    let key = |it: usize| members[it].keypair.public();
    let others: Vec<PublicKey> = (0..plan.members).filter(|it| *it != number).map(key).collect();
    let other = others[rng.usize(0..others.len())];
    let is_joined = room.state(other) == Some(State::Joined);
    let deed = match &change.deed {
        Deed::Transfer(heir) if liar.lies.contains(&Lie::GiveTwice) => {
            let heir = (is_joined && other != *heir).then_some(Deed::Transfer(other))?;
            // As one that comes back from a backup.
            return Some(Change { epoch: change.epoch ^ 1, number: 1, deed: heir, ..change.clone() });
        }
        _ if liar.lies.contains(&Lie::GiveTwice) => return None,
        _ => match rng.u32(0..6) {
            0 if room.membership.is_in(other) => {
                Deed::Remove(Remove { key: other, kept: room.kept_of(other) })
            }
            1 if is_joined => Deed::Transfer(other),
            2 if !room.membership.is_in(other) => {
                let name = members.iter().find(|it| it.keypair.public() == other)?.name.clone();
                let clock = room.last_place();
                Deed::Add(Add { name, key: other, past: Vec::new(), clock, settled: None })
            }
            _ => Deed::Topic(format!("not {}", rng.u64(..))),
        },
    };
    (deed != change.deed).then(|| Change { deed, ..change.clone() })
}

/// What a liar does not want to hear.
pub fn mishear(world: &World, number: usize, inputs: &mut Vec<Input>) {
    let liar = world.members[number].liar.as_ref();
    let Some(liar) = liar.filter(|it| it.deaf && !it.twins.is_empty()) else {
        return;
    };
    inputs.retain(|input| match input {
        Input::Hear(_, about) => !matches!(&about.says, RoomSays::Changes(changes)
            if changes.iter().any(|it| liar.twins.contains(it))),
        _ => true,
    });
}

/// Makes a receipt say too much.
fn claim(rng: &mut Rng, receipt: &mut Receipt) {
    let Some(mark) = receipt.covers.first_mut() else {
        return;
    };
    match rng.u32(0..3) {
        0 => mark.number += rng.u64(1..5),
        1 => mark.hash = Hash([rng.u8(..); 32]),
        _ => mark.chain.epoch = rng.u64(..),
    }
}

/// What liars do by themselves.
pub fn lie(world: &mut World) {
    for number in 0..world.members.len() {
        let Some(liar) = world.members[number].liar.clone() else {
            continue;
        };
        let Some(room) = world.members[number].rooms.as_ref().and_then(|it| it.iter().next()) else {
            continue;
        };
        let id = room.0;
        if liar.lies.contains(&Lie::Replay) && world.rng.u32(0..3) == 0 && !liar.said.is_empty() {
            let about = liar.said[world.rng.usize(0..liar.said.len())].clone();
            let to = world.rng.usize(0..world.plan.members);
            let to = world.members[to].keypair.public();
            world.stats.fault("replays");
            world.send(number, to, about);
        }
        if liar.lies.contains(&Lie::Flood) && world.rng.u32(0..10) == 0 {
            world.stats.fault("floods");
            for _ in 0..world.rng.usize(1..60) {
                let text = "flood".repeat(world.rng.usize(1..400));
                world.command(number, Command::Say(id, text));
            }
        }
        if (liar.lies.contains(&Lie::Contradict) || liar.lies.contains(&Lie::GiveTwice))
            && liar.twins.is_empty()
            && world.rng.u32(0..8) == 0
        {
            begin_to_contradict(world, number, id);
        }
        if liar.lies.contains(&Lie::Equivocate) && world.rng.u32(0..3) == 0 {
            let text = format!("{number} says {}", world.rng.u64(..));
            world.command(number, Command::Say(id, text));
            world.stats.fault("words of two machines");
        }
    }
}

/// The owner makes a change, to be told in two ways.
fn begin_to_contradict(world: &mut World, number: usize, id: RoomId) {
    let other = world.rng.usize(1..world.plan.members);
    let gives = world.members[number].liar.as_ref().is_some_and(|it| it.lies.contains(&Lie::GiveTwice));
    let command = match world.rng.u32(0..5) {
        _ if gives => Command::Give(id, other),
        0 => Command::Give(id, other),
        1 => Command::Kick(id, other),
        2 => Command::Invite(id, other, world.rng.bool()),
        _ => Command::Topic(id),
    };
    world.command(number, command);
    if let Some(liar) = &mut world.members[number].liar {
        liar.about_to = true;
    }
}

/// Before liars are removed: who was found is found by all, and who has two entries under one number is.
pub fn end(world: &mut World) -> Result<(), String> {
    if world.members.iter().all(|it| it.liar.is_none()) {
        return Ok(());
    }
    world.run_until(world.now + 20_000)?;
    super::check::forks(world)
}

/// Whether an owner does not hear of what can't stand beside its own changes.
pub fn is_any_deaf(world: &World) -> bool {
    world.members.iter().any(|it| it.liar.as_ref().is_some_and(|it| it.deaf))
}

/// The honest members.
pub fn honest(world: &World) -> impl Iterator<Item = usize> {
    (0..world.plan.members).filter(|it| world.members[*it].liar.is_none() && !world.members[*it].gone)
}

/// Whether the rooms of a member are to be looked at.
pub fn rooms(world: &World, number: usize) -> Option<&Rooms> {
    let member = &world.members[number];
    member.rooms.as_ref().filter(|_| member.liar.is_none() && !member.gone)
}
