//! What the laws of rooms promise.

use std::collections::{BTreeMap, BTreeSet};

use peerchat::client::node::rooms::{Spread, State};
use peerchat::protocol::PublicKey;
use peerchat::protocol::peer::Cursor;
use peerchat::protocol::room::{ChainName, Hash};
use peerchat::store::journal::{Journal, RoomId};

use super::world::World;

/// An entry: its author, epoch and number.
pub type Name = (ChainName, u64);

/// What was promised.
pub struct Oracle {
    keys: Vec<PublicKey>,
    /// What each member has said, until its journal was restored.
    said: Vec<BTreeMap<(u64, u64), String>>,
    /// What was final at each member, in its order.
    settled: Vec<Vec<Name>>,
    /// Who has ever had an entry.
    had: BTreeMap<Name, BTreeSet<usize>>,
    seen: Vec<i64>,
    told: Vec<u64>,
}

impl Oracle {
    pub fn new(keys: Vec<PublicKey>) -> Self {
        let count = keys.len();
        Self {
            keys,
            said: vec![BTreeMap::new(); count],
            settled: vec![Vec::new(); count],
            had: BTreeMap::new(),
            seen: vec![0; count],
            told: vec![0; count],
        }
    }

    pub fn said(&mut self, number: usize, _: RoomId, id: Cursor, text: String) {
        self.said[number].insert((id.epoch, id.number), text);
    }

    /// Its journal is an older one: what only it had is gone.
    pub fn restored(&mut self, number: usize) {
        self.said[number].clear();
        self.settled[number].clear();
        self.seen[number] = 0;
    }
}

fn name(row: &rusqlite::Row<'_>) -> rusqlite::Result<Name> {
    let unsigned = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
    let chain = ChainName { author: PublicKey(row.get(0)?), grant: Hash(row.get(1)?), epoch: unsigned(2)? };
    Ok((chain, unsigned(3)?))
}

/// What a journal holds of a room in the room's order.
fn order(journal: &Journal, room: RoomId, up_to: i64) -> Vec<(Name, Vec<u8>, i64)> {
    let mut statement = journal
        .prepare_cached(
            "SELECT author, granted, epoch, room_entry.number, room_entry.hash, room_entry.place
             FROM room_entry JOIN room_chain ON room_chain.id = chain
             WHERE room_entry.room = ?1 AND room_entry.place <= ?2
             ORDER BY room_entry.place, author, epoch, room_entry.number",
        )
        .unwrap();
    let rows = statement.query_map([room, up_to], |row| {
        let name = name(row)?;
        Ok((name, row.get(4)?, row.get(5)?))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

impl World {
    /// What a member holds of a room, for the trace.
    pub fn dump(&self, number: usize, room: RoomId) {
        let mut statement = self.members[number]
            .journal
            .prepare_cached(
                "SELECT author, epoch, room_entry.number, room_entry.clock, room_entry.place, kind, seq, hex(causes), hex(substr(body, 1, 60)), chain
                 FROM room_entry JOIN room_chain ON room_chain.id = chain WHERE room_entry.room = ?1 ORDER BY room_entry.place LIMIT 60",
            )
            .unwrap();
        let mut rows = statement.query([room]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let author = self.number(PublicKey(row.get(0).unwrap()));
            let numbers: Vec<i64> = (2..7).map(|column| row.get(column).unwrap()).collect();
            let causes: Option<String> = row.get(7).unwrap();
            let causes = causes.unwrap_or_default();
            let causes: Vec<String> = causes
                .as_bytes()
                .chunks(112)
                .map(|it| String::from_utf8_lossy(&it[..32]).into_owned())
                .collect();
            let (body, chain): (String, i64) = (row.get(8).unwrap(), row.get(9).unwrap());
            let epoch = row.get::<_, i64>(1).unwrap();
            self.note(|| format!("  user{number} holds user{author} {epoch:016x} (chain {chain}) number, clock, place, kind, seq {numbers:?} after {causes:?} {body}"));
        }
    }
}

/// After each transaction of a member.
pub fn each(world: &mut World, number: usize) {
    let journal = std::rc::Rc::clone(&world.members[number].journal);
    let Some(rooms) = &world.members[number].rooms else {
        return;
    };
    let Some((room, it)) = rooms.iter().next() else {
        return;
    };
    let settled = it.settled();
    if world.oracle.told[number] != settled {
        world.oracle.told[number] = settled;
        world.note(|| format!("user{number} has settled {settled}"));
    }
    let mut new = journal
        .prepare_cached("SELECT author, granted, epoch, room_entry.number, seq FROM room_entry JOIN room_chain ON room_chain.id = chain WHERE seq > ?1")
        .unwrap();
    let rows = new.query_map([world.oracle.seen[number]], |row| {
        let name = name(row)?;
        Ok((name, row.get::<_, i64>(4)?))
    });
    for (name, seq) in rows.unwrap().map(Result::unwrap).collect::<Vec<_>>() {
        world.oracle.had.entry(name).or_default().insert(number);
        world.oracle.seen[number] = world.oracle.seen[number].max(seq);
    }
    let before = world.oracle.settled[number].len();
    let last = before.checked_sub(1).map(|last| world.oracle.settled[number][last]);
    let _ = last;
    // Looked at now and then, for it reads everything.
    if settled > 0 && world.rng.u32(0..20) == 0 {
        let now: Vec<Name> =
            order(&journal, room, settled.cast_signed()).into_iter().map(|(name, ..)| name).collect();
        check_settled(world, number, now);
    }
}

/// What was final stays where it was.
fn check_settled(world: &mut World, number: usize, now: Vec<Name>) {
    let before = &world.oracle.settled[number];
    let position = before.iter().zip(&now).position(|(before, now)| before != now);
    if let Some(at) = position.or((now.len() < before.len()).then_some(now.len())) {
        let (then, is) = (before.get(at).copied(), now.get(at).copied());
        let name = |it: Option<Name>| {
            it.map(|(chain, entry)| {
                format!("user{} {:016x}-{entry}", world.number(chain.author), chain.epoch)
            })
        };
        let (then, is) = (name(then), name(is));
        world.fail(format!("what was final at user{number} has moved at {at}: {then:?} is {is:?}"));
        return;
    }
    world.oracle.settled[number] = now;
}

/// A member is told how many have a text of its own.
pub fn spread(world: &mut World, number: usize, _: RoomId, id: Cursor, spread: Spread) {
    let own = world.oracle.keys[number];
    let of = |(chain, entry): &Name| (chain.author, chain.epoch, *entry) == (own, id.epoch, id.number);
    let had = world.oracle.had.iter().find(|(name, _)| of(name)).map_or(0, |(_, had)| had.len()) as u64;
    if spread.have > had.max(1) {
        world.fail(format!("user{number} is told that {} have {id}, and {had} had it ever", spread.have));
    }
}

/// All honest members hold the same in the same order.
pub fn at_the_end(world: &mut World) -> Result<(), String> {
    let mut joined = Vec::new();
    for (number, member) in world.members.iter().enumerate() {
        let Some(rooms) = &member.rooms else {
            continue;
        };
        let Some((id, room)) = rooms.iter().next() else {
            continue;
        };
        if room.state(member.keypair.public()) == Some(State::Joined) {
            joined.push((number, id));
        }
    }
    let Some((first, _)) = joined.first().copied() else {
        return Ok(());
    };
    world
        .stats
        .0
        .entry("members at the end")
        .and_modify(|it| *it += joined.len() as u64)
        .or_insert(joined.len() as u64);
    // Who is in is the same for all.
    let state = |number: usize, id: RoomId| {
        let room = world.members[number].rooms.as_ref().unwrap().get(id).unwrap();
        let states: Vec<_> = world.oracle.keys.iter().map(|key| room.state(*key)).collect();
        (states, room.membership_owner())
    };
    let theirs = state(joined[0].0, joined[0].1);
    for (number, id) in &joined {
        if state(*number, *id) != theirs {
            return Err(format!(
                "user{number} has other members than user{first}: {:?} {theirs:?}",
                state(*number, *id)
            ));
        }
    }
    let all: Vec<(usize, Vec<(Name, Vec<u8>, i64)>)> = joined
        .iter()
        .map(|(number, id)| {
            // What it has from before it was added again may stand where it stood then.
            let room = world.members[*number].rooms.as_ref().unwrap().get(*id).unwrap();
            let mut entries = order(&world.members[*number].journal, *id, i64::MAX);
            entries.retain(|(name, ..)| !room.is_before(name.0, name.1));
            (*number, entries)
        })
        .collect();
    // What any of them has, all have, unless it was written before they came.
    let mut union: BTreeMap<Name, (Vec<u8>, i64)> = BTreeMap::new();
    for (number, entries) in &all {
        for (name, hash, place) in entries {
            let known = union.entry(*name).or_insert_with(|| (hash.clone(), *place));
            if known.0 != *hash || known.1 != *place {
                for (number, id) in &joined {
                    world.dump(*number, *id);
                }
                return Err(format!(
                    "user{number} has {} {:016x}-{} at {place}, others at {}",
                    world.number(name.0.author),
                    name.0.epoch,
                    name.1,
                    known.1
                ));
            }
        }
    }
    for (number, entries) in &all {
        let (member, id) = (&world.members[*number], joined.iter().find(|(it, _)| it == number).unwrap().1);
        let room = member.rooms.as_ref().unwrap().get(id).unwrap();
        let has: BTreeSet<Name> = entries.iter().map(|(name, ..)| *name).collect();
        for name in union.keys().filter(|name| !has.contains(name)) {
            if !room.is_before(name.0, name.1) {
                return Err(format!(
                    "user{number} lacks user{} {:016x}-{}: {}",
                    world.number(name.0.author),
                    name.0.epoch,
                    name.1,
                    room.explain()
                ));
            }
        }
        if room.settled() < entries.iter().map(|(.., place)| place.cast_unsigned()).max().unwrap_or_default()
        {
            let who: Vec<_> = joined
                .iter()
                .filter(|(it, _)| room.holds_up(world.oracle.keys[*it]))
                .map(|(it, _)| *it)
                .collect();
            let keys: Vec<String> =
                world.oracle.keys.iter().map(|key| format!("{:.4}", key.to_string())).collect();
            return Err(format!(
                "user{number} does not know that all is final, for {who:?}: {} {keys:?}",
                room.explain()
            ));
        }
    }
    // What was said and not taken back with a backup is there.
    for (number, id) in &joined {
        let room = world.members[*number].rooms.as_ref().unwrap().get(*id).unwrap();
        for (epoch, entry) in world.oracle.said[*number].keys() {
            let own =
                union.keys().any(|(chain, it)| (chain.author, chain.epoch, it) == (room.own, *epoch, entry));
            let cut = room.chain_in(room.own, *epoch).is_none_or(|chain| room.is_cut(chain.row.name, *entry));
            if !own && !cut {
                return Err(format!("user{number} has said {epoch:016x}-{entry}, which is gone"));
            }
        }
    }
    // What was final for a member is so for all.
    for (number, entries) in &all {
        let id = joined.iter().find(|(it, _)| it == number).unwrap().1;
        let room = world.members[*number].rooms.as_ref().unwrap().get(id).unwrap();
        let mut before = world.oracle.settled[*number].clone();
        before.retain(|name| !room.is_before(name.0, name.1));
        let now: Vec<Name> = entries.iter().map(|(name, ..)| *name).collect();
        if now.len() < before.len() || before.iter().zip(&now).any(|(before, now)| before != now) {
            return Err(format!("what was final at user{number} has moved in the end"));
        }
    }
    Ok(())
}
