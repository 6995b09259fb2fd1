//! Rooms that freeze: an owner hands the room over and comes back from a backup, or signs what can't all stand. Nothing new
//! is taken from then on, all know so, and what was said can be read.
//!
//! - here: how it comes to that; `judge`: whether changes freeze a room, by the protocol; `check`: what must hold then.

use fastrand::Rng;
use peerchat::client::node::rooms::State;

use super::super::snapshot::Snapshot;
use super::liars::{Liar, Lie};
use super::world::{Command, Plan, World};

pub use check::{at_the_end, each, since, told};

mod check;
mod judge;

/// How a room may freeze.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freezes {
    /// Owners come back from backups, and hand it over.
    Backups,
    /// Its owner signs two changes under one number.
    Twins,
    /// Its owner gives it to two members beside each other.
    Heirs,
}

/// What decides about that, apart from all else in a storm.
pub struct Freezing {
    rng: Rng,
    /// When owners do something next.
    next: u64,
    /// The owner that is to come back from a backup and to give the room away once more, to one of these.
    again: Option<(usize, Snapshot, Vec<usize>)>,
}

impl Freezing {
    pub fn new(seed: u64) -> Self {
        Self { rng: Rng::with_seed(seed ^ 0x6672_6f7a_656e), next: 0, again: None }
    }

    pub fn shape(&mut self, plan: &mut Plan) {
        let all = [Freezes::Backups, Freezes::Backups, Freezes::Twins, Freezes::Twins, Freezes::Heirs];
        plan.freezes = Some(all[self.rng.usize(0..all.len())]);
        plan.changes = plan.changes.max(5);
        if plan.freezes == Some(Freezes::Backups) {
            plan.restores = plan.restores.max(30);
            // That it owns the room may stand in the journal alone of one who is not there.
            plan.gone = None;
        }
    }

    /// The owner that signs what can't all stand.
    pub fn liar(&mut self, freezes: Freezes) -> Option<(usize, Liar)> {
        let lie = match freezes {
            Freezes::Backups => return None,
            Freezes::Twins => Lie::Contradict,
            Freezes::Heirs => Lie::GiveTwice,
        };
        Some((0, Liar::with(lie, self.rng.bool())))
    }
}

/// Owners hand over, and are where they can do harm: away from some members, and back from a backup.
pub fn hand_over(world: &mut World) {
    if world.plan.freezes != Some(Freezes::Backups) || world.now < world.freezing.next {
        return;
    }
    world.freezing.next = world.now + world.freezing.rng.u64(200..2_000);
    if let Some((owner, backup, others)) = world.freezing.again.take() {
        return hand_over_again(world, owner, backup, &others);
    }
    let room = |number: usize| world.members[number].rooms.as_ref().and_then(|it| it.iter().next());
    let owns = |number: &usize| room(*number).is_some_and(|(_, it)| it.membership_owner() == it.own);
    let owners: Vec<usize> = (0..world.plan.members).filter(owns).collect();
    if owners.is_empty() {
        return;
    }
    let owner = owners[world.freezing.rng.usize(0..owners.len())];
    match world.freezing.rng.u32(0..8) {
        0..=1 => {
            let all: Vec<usize> = (0..world.plan.members).collect();
            give_to_one(world, owner, &all);
        }
        2..=4 => {
            let all = (0..world.plan.members).filter(|it| *it != owner);
            let (near, far): (Vec<usize>, Vec<usize>) = all.partition(|_| world.freezing.rng.bool());
            let backup = Snapshot::take(&world.members[owner].journal);
            part(world, owner, &far);
            give_to_one(world, owner, &near);
            world.freezing.again = Some((owner, backup, far));
        }
        5 => {
            let backup = Snapshot::take(&world.members[owner].journal);
            world.members[owner].backups.push(backup);
            world.stats.add("backups");
        }
        6 => {
            let away = (0..world.plan.members).filter(|it| *it != owner);
            let away: Vec<usize> = away.filter(|_| world.freezing.rng.bool()).collect();
            part(world, owner, &away);
        }
        _ => {
            world.stats.fault("kills");
            world.kill(owner);
        }
    }
}

/// It has forgotten that it gave the room away, and does not meet those who know.
fn hand_over_again(world: &mut World, owner: usize, backup: Snapshot, others: &[usize]) {
    let restores = std::mem::replace(&mut world.plan.restores, 100);
    world.members[owner].backups = vec![backup];
    world.kill(owner);
    world.start(owner);
    world.plan.restores = restores;
    let (near, far): (Vec<usize>, Vec<usize>) =
        (0..world.plan.members).filter(|it| *it != owner).partition(|it| others.contains(it));
    for other in &near {
        world.partitions.remove(&(owner.min(*other), owner.max(*other)));
    }
    part(world, owner, &far);
    give_to_one(world, owner, &near);
}

/// Nothing gets through for a while between a member and these.
fn part(world: &mut World, number: usize, others: &[usize]) {
    let until = world.now + world.freezing.rng.u64(500..8_000);
    for other in others {
        world.partitions.insert((number.min(*other), number.max(*other)), until);
        world.cut(number, *other, 1_000);
    }
    world.stats.fault("partitions");
}

/// An owner gives the room to one of these.
fn give_to_one(world: &mut World, owner: usize, to: &[usize]) {
    let Some((id, room)) = world.members[owner].rooms.as_ref().and_then(|it| it.iter().next()) else {
        return;
    };
    let has_joined =
        |other: &usize| room.state(world.members[*other].keypair.public()) == Some(State::Joined);
    let heirs: Vec<usize> = to.iter().copied().filter(|it| *it != owner).filter(has_joined).collect();
    if !heirs.is_empty() {
        let heir = heirs[world.freezing.rng.usize(0..heirs.len())];
        world.command(owner, Command::Give(id, heir));
        world.stats.add("rooms given");
    }
}
