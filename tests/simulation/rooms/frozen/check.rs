//! What must hold in a frozen room.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use peerchat::client::node::rooms::Room;
use peerchat::protocol::PublicKey;
use peerchat::protocol::room::{Deed, Hash};
use peerchat::store::journal::{Journal, RoomId};

use super::super::check::{Held, Name, final_stays, is_before, joined, linked, order};
use super::super::world::World;
use super::judge::{Changes, is_frozen};

fn changes(journal: &Journal, room: RoomId) -> Changes {
    journal.changes(room).unwrap().into_iter().collect()
}

/// The last entry in a journal, but those by which its user has left: who has enough of a frozen room may go.
fn last(journal: &Journal, own: &[u8; 32]) -> i64 {
    let mut last = journal
        .prepare_cached(
            "SELECT coalesce(max(seq), 0) FROM room_entry JOIN room_chain ON room_chain.id = chain
             WHERE kind <> 3 OR author <> ?1",
        )
        .unwrap();
    last.query_row([own], |row| row.get(0)).unwrap()
}

/// What a member's journal ends with, if the changes in it freeze the room.
pub fn since(world: &World, number: usize) -> Option<i64> {
    world.plan.freezes?;
    let member = &world.members[number];
    let room = member.journal.rooms().unwrap().pop()?;
    let own = member.keypair.public().0;
    is_frozen(&changes(&member.journal, room.id)).then(|| last(&member.journal, &own))
}

/// After each transaction of a member, before which [`since`] was so.
pub fn each(world: &mut World, number: usize, before: Option<i64>) {
    let now = since(world, number);
    if let (Some(before), Some(now)) = (before, now)
        && now > before
    {
        world.fail(format!("user{number} has an entry more, at {now}, though the room is frozen"));
    }
    if before.is_some() && now.is_none() {
        world.stats.add("rooms that an accept has thawed for a member");
    }
}

/// A member is told that the room is frozen: an accept may have ended that in the same transaction.
pub fn told(world: &mut World, number: usize, why: &str) {
    let rooms = world.members[number].rooms.as_ref();
    let mut changes =
        rooms.and_then(|it| it.iter().next()).into_iter().flat_map(|(_, it)| it.changes.values());
    let may_have_thawed = changes.any(|it| it.deed == Deed::Accept);
    if world.plan.freezes.is_none() || since(world, number).is_none() && !may_have_thawed {
        world.fail(format!("user{number} takes the room for frozen: {why}"));
    }
    world.stats.add("members told of a frozen room");
}

fn room(world: &World, (number, id): (usize, RoomId)) -> &Room {
    world.members[number].rooms.as_ref().unwrap().get(id).unwrap()
}

/// If the room may be frozen: whether all is in the end as it must be.
pub fn at_the_end(world: &mut World) -> Result<(), String> {
    if world.plan.freezes.is_none() {
        return super::super::check::at_the_end(world, joined(world));
    }
    let all = joined(world);
    linked(world, &all)?;
    for joined in parts(world, all) {
        for (number, id) in &joined {
            let judged = is_frozen(&changes(&world.members[*number].journal, *id));
            if judged != room(world, (*number, *id)).membership.frozen.is_some() {
                let what = if judged { "does not know" } else { "is wrong to say" };
                return Err(format!("user{number} {what} that the room is frozen"));
            }
        }
        if joined.iter().any(|it| room(world, *it).membership.frozen.is_some()) {
            world.stats.add("rooms that are frozen in the end");
            all_know(world, &joined)?;
            reads(world, &joined)?;
        } else {
            world.stats.add("rooms that are not frozen in the end");
            super::super::check::at_the_end(world, joined)?;
        }
    }
    Ok(())
}

/// Members that are linked with each other, also over others, have to agree. An owner that does not want to hear that it owns
/// the room no more may let in members that none but it knows of: what they have is not compared.
fn parts(world: &mut World, joined: Vec<(usize, RoomId)>) -> Vec<Vec<(usize, RoomId)>> {
    if !super::super::liars::is_any_deaf(world) {
        return vec![joined];
    }
    let mut left: BTreeSet<(usize, RoomId)> = joined.iter().copied().collect();
    let mut parts = Vec::new();
    while let Some(first) = left.pop_first() {
        let (mut part, mut next) = (vec![first], VecDeque::from([first]));
        while let Some((one, _)) = next.pop_front() {
            let near: Vec<_> = left.iter().copied().filter(|(it, _)| world.is_linked(one, *it)).collect();
            for other in near {
                left.remove(&other);
                next.push_back(other);
                part.push(other);
            }
        }
        let is_outside = |key: &PublicKey| {
            let number = world.number(*key);
            joined.iter().any(|(it, _)| *it == number) && !part.iter().any(|(it, _)| *it == number)
        };
        if part.iter().any(|it| room(world, *it).joined.iter().any(is_outside)) {
            world.stats.add("members that only a deaf owner knows");
        } else {
            parts.push(part);
        }
    }
    parts
}

/// All know all changes, so that the room is frozen for all of them.
fn all_know(world: &World, joined: &[(usize, RoomId)]) -> Result<(), String> {
    let of = |it| -> BTreeSet<&Hash> { room(world, it).changes.keys().collect() };
    let known = of(joined[0]);
    for other in joined {
        let theirs = of(*other);
        if theirs != known {
            let [more, less] = [theirs.difference(&known).count(), known.difference(&theirs).count()];
            return Err(format!(
                "in a frozen room user{} knows {more} changes that user{} does not, which knows {less} others",
                other.0, joined[0].0
            ));
        }
    }
    Ok(())
}

/// What was said can be read, each text once, in an order that is that of all.
fn reads(world: &World, joined: &[(usize, RoomId)]) -> Result<(), String> {
    let mut all: Vec<(usize, RoomId, Vec<Held>)> = Vec::new();
    for (number, id) in joined.iter().copied() {
        let (journal, room) = (&world.members[number].journal, room(world, (number, id)));
        let mut held = order(journal, id, i64::MAX);
        let names: BTreeSet<Name> = held.iter().map(|(name, ..)| *name).collect();
        if names.len() != held.len() {
            return Err(format!("user{number} has an entry twice"));
        }
        history(world, number, id, &names)?;
        for (epoch, entry) in world.oracle.said[number].keys() {
            let own =
                names.iter().any(|(chain, it)| (chain.author, chain.epoch, it) == (room.own, *epoch, entry));
            // What was written by an earlier invitation is not compared.
            let is_out = |name| room.is_cut(name, *entry) || room.is_before(name, *entry);
            if !own && room.chain_in(room.own, *epoch).is_some_and(|chain| !is_out(chain.row.name)) {
                return Err(format!("user{number} has said {epoch:016x}-{entry}, which is gone"));
            }
        }
        held.retain(|(name, ..)| !is_before(room, name));
        final_stays(world, number, id, &held)?;
        all.push((number, id, held));
    }
    for (at, one) in all.iter().enumerate() {
        all[at + 1..].iter().try_for_each(|other| same_order(world, one, other))?;
    }
    Ok(())
}

/// What two members both have stands in one order. What one of them has settled and the other has not heard of stands where it
/// did for the other: only what is final for both is compared then.
fn same_order(
    world: &World,
    (one, id, held): &(usize, RoomId, Vec<Held>),
    (other, other_id, theirs): &(usize, RoomId, Vec<Held>),
) -> Result<(), String> {
    let [first, second] = [room(world, (*one, *id)), room(world, (*other, *other_id))];
    let alike = first.row.settlement == second.row.settlement;
    let up_to = if alike { u64::MAX } else { first.settled().min(second.settled()) };
    let final_of = |held: &[Held]| -> BTreeMap<(Name, Vec<u8>), i64> {
        let up_to = i64::try_from(up_to).unwrap_or(i64::MAX);
        held.iter().filter(|it| it.2 <= up_to).map(|it| ((it.0, it.1.clone()), it.2)).collect()
    };
    let [mine, others] = [final_of(held), final_of(theirs)];
    let both = |held: &[Held]| -> Vec<Name> {
        let is_in = |it: &&Held| {
            let name = (it.0, it.1.clone());
            mine.contains_key(&name) && others.contains_key(&name)
        };
        held.iter().filter(is_in).map(|it| it.0).collect()
    };
    if both(held) == both(theirs) {
        Ok(())
    } else {
        Err(format!("user{one} and user{other} have what both have in different orders"))
    }
}

/// `HISTORY` has all texts, in the order of the room.
fn history(world: &World, number: usize, id: RoomId, names: &BTreeSet<Name>) -> Result<(), String> {
    let journal = &world.members[number].journal;
    let mut texts = journal
        .prepare_cached(
            "SELECT author, epoch, room_entry.number FROM room_entry JOIN room_chain ON room_chain.id = chain
             WHERE room_entry.room = ?1 AND kind = 1
             ORDER BY room_entry.place, room_entry.clock, author, epoch, room_entry.number",
        )
        .unwrap();
    let rows = texts.query_map([id], |row| {
        let unsigned = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
        Ok((row.get::<_, [u8; 32]>(0)?, unsigned(1)?, unsigned(2)?))
    });
    let texts: Vec<_> = rows.unwrap().map(Result::unwrap).collect();
    let count = u32::try_from(names.len()).unwrap();
    let read = journal.room_history(id, count).unwrap();
    let read: Vec<_> = read.iter().map(|it| (it.author.0, it.id.epoch, it.id.number)).collect();
    if read == texts { Ok(()) } else { Err(format!("user{number} can't read what was said")) }
}
