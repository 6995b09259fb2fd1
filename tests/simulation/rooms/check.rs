//! What the laws of rooms promise.

use std::collections::{BTreeMap, BTreeSet};

use peerchat::client::node::rooms::{Chain, Room, Rooms, Spread, State};
use peerchat::protocol::PublicKey;
use peerchat::protocol::peer::Cursor;
use peerchat::protocol::room::{AboutRoom, ChainName, Deed, Hash, Mark, RoomSays};
use peerchat::store::journal::{EntryStanding, Journal, RoomId};

use super::world::World;

/// An entry: its author, epoch and number.
pub type Name = (ChainName, u64);

/// An entry as a journal holds it, with its hash and its place.
pub type Held = (Name, Vec<u8>, i64);

/// What was promised.
pub struct Oracle {
    keys: Vec<PublicKey>,
    /// What each member has said, until its journal was restored.
    pub said: Vec<BTreeMap<(u64, u64), String>>,
    /// What was final at each member, in its order.
    pub settled: Vec<Vec<Name>>,
    /// Who has ever had an entry.
    had: BTreeMap<Name, BTreeSet<usize>>,
    /// Which entries each member has told its user of, since its journal was restored.
    texts: Vec<BTreeSet<(Name, Vec<u8>)>>,
    /// What each has handed on, or has said in receipts to have, and is to be looked for.
    promised: Vec<Vec<Mark>>,
    seen: Vec<i64>,
    told: Vec<u64>,
    /// Who has dropped entries, that may have come again.
    cut: Vec<bool>,
    /// How far owners have had chains, by their receipts that each member has kept.
    confirmed: Vec<BTreeMap<(PublicKey, ChainName), u64>>,
}

impl Oracle {
    /// With so many machines, some of which may have the same key.
    pub fn new(keys: Vec<PublicKey>, count: usize) -> Self {
        Self {
            keys,
            said: vec![BTreeMap::new(); count],
            settled: vec![Vec::new(); count],
            had: BTreeMap::new(),
            texts: vec![BTreeSet::new(); count],
            promised: vec![Vec::new(); count],
            seen: vec![0; count],
            told: vec![0; count],
            cut: vec![false; count],
            confirmed: vec![BTreeMap::new(); count],
        }
    }

    pub fn said(&mut self, number: usize, _: RoomId, id: Cursor, text: String) {
        self.said[number].insert((id.epoch, id.number), text);
    }

    /// Its journal is an older one: what only it had is gone.
    pub fn restored(&mut self, number: usize) {
        self.said[number].clear();
        self.settled[number].clear();
        (self.seen[number], self.told[number]) = (0, u64::MAX);
        self.texts[number].clear();
        self.promised[number].clear();
        self.confirmed[number].clear();
    }

    /// What was cut may come again, if the owner has had it. What is gone of its own, with its removal, does not come
    /// back where that does not count in the end.
    pub fn cut(&mut self, number: usize, journal: &Journal, out: Option<PublicKey>) {
        self.texts[number].clear();
        self.cut[number] = true;
        let Some(own) = out else {
            return;
        };
        let mut is_there = journal
            .prepare_cached(
                "SELECT count(*) FROM room_entry JOIN room_chain ON room_chain.id = chain
                 WHERE author = ?1 AND epoch = ?2 AND room_entry.number = ?3",
            )
            .unwrap();
        self.said[number].retain(|(epoch, number), _| {
            let entry = rusqlite::params![own.0, epoch.cast_signed(), number.cast_signed()];
            is_there.query_row(entry, |row| row.get::<_, i64>(0)).unwrap() > 0
        });
    }
}

fn name(row: &rusqlite::Row<'_>) -> rusqlite::Result<Name> {
    let unsigned = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
    let chain = ChainName { author: PublicKey(row.get(0)?), grant: Hash(row.get(1)?), epoch: unsigned(2)? };
    Ok((chain, unsigned(3)?))
}

/// What a journal holds of a room in the room's order.
pub fn order(journal: &Journal, room: RoomId, up_to: i64) -> Vec<(Name, Vec<u8>, i64)> {
    let mut statement = journal
        .prepare_cached(
            "SELECT author, granted, epoch, room_entry.number, room_entry.hash, room_entry.place
             FROM room_entry JOIN room_chain ON room_chain.id = chain
             WHERE room_entry.room = ?1 AND room_entry.place <= ?2
             ORDER BY room_entry.place, room_entry.clock, author, epoch, room_entry.number, room_entry.hash",
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
                 FROM room_entry JOIN room_chain ON room_chain.id = chain WHERE room_entry.room = ?1 ORDER BY room_entry.place LIMIT 2000",
            )
            .unwrap();
        let mut rows = statement.query([room]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let author = self.number(PublicKey(row.get(0).unwrap()));
            let numbers: Vec<i64> = (2..7).map(|column| row.get(column).unwrap()).collect();
            let causes: Option<String> = row.get(7).unwrap();
            let (body, chain): (String, i64) = (row.get(8).unwrap(), row.get(9).unwrap());
            let epoch = row.get::<_, i64>(1).unwrap();
            self.note(|| format!("  user{number} holds user{author} {epoch:016x} (chain {chain}) number, clock, place, kind, seq {numbers:?} after {causes:?} {body}"));
        }
    }
}

/// Its program starts: what it committed a moment before it died is had, and places in the journal behind the last one are
/// given out anew.
pub fn started(world: &mut World, number: usize, last: i64) {
    let who = world.number(world.members[number].keypair.public());
    for (name, _) in new_entries(world, number) {
        world.oracle.had.entry(name).or_default().insert(who);
    }
    world.oracle.seen[number] = last;
}

/// The entries that a journal has got since it was looked at last, with their places in the journal.
fn new_entries(world: &World, number: usize) -> Vec<(Name, i64)> {
    let journal = &world.members[number].journal;
    let mut new = journal
        .prepare_cached("SELECT author, granted, epoch, room_entry.number, seq FROM room_entry JOIN room_chain ON room_chain.id = chain WHERE seq > ?1")
        .unwrap();
    let rows = new.query_map([world.oracle.seen[number]], |row| {
        let name = name(row)?;
        Ok((name, row.get::<_, i64>(4)?))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

/// Where the chains end that a member has, but branches of those who break the rules.
pub fn ends(rooms: &Rooms) -> Vec<Mark> {
    let rooms = rooms.iter().flat_map(|(_, room)| room.chains.values());
    rooms.filter(|chain| chain.row.branch == 0).map(|chain| chain.row.mark()).collect()
}

/// A removal cuts nothing that its owner has confirmed by a receipt that is known here, whatever it has forgotten since.
pub fn removed(world: &mut World, number: usize, before: &[Mark]) {
    let rooms = world.members[number].rooms.as_ref();
    let Some((_, room)) = rooms.and_then(|it| it.iter().next()) else {
        return;
    };
    // Which removals count is not as simple where the room has changed hands.
    let has_one_owner = room.changes.values().all(|change| change.deed != Deed::Accept);
    let lies = |key| world.members[world.number(key)].liar.is_some();
    if !has_one_owner || world.members[number].liar.is_some() || lies(room.membership_owner()) {
        return;
    }
    let is_removed = |key| {
        let mut removals = room.changes.values().filter_map(|change| match &change.deed {
            Deed::Remove(remove) => Some(remove.key),
            _ => None,
        });
        removals.any(|removed| removed == key)
    };
    let mut wrong = None;
    for mark in before.iter().filter(|mark| is_removed(mark.chain.author) && !lies(mark.chain.author)) {
        let now = room.branches(mark.chain).next().map_or(0, |chain| chain.row.number);
        let confirmed = world.oracle.confirmed[number].get(&(room.membership_owner(), mark.chain));
        let kept = confirmed.copied().unwrap_or_default().min(mark.number);
        if now < kept {
            let author = world.number(mark.chain.author);
            wrong = Some(format!(
                "user{number} has dropped user{author} {:016x}-{kept}, which the owner has confirmed: {now} is left",
                mark.chain.epoch
            ));
        }
    }
    wrong.into_iter().for_each(|what| world.fail(what));
}

/// What a member knows the owner to have confirmed.
fn note_confirmed(world: &mut World, number: usize) {
    let World { members, oracle, .. } = world;
    let Some((_, room)) = members[number].rooms.as_ref().and_then(|it| it.iter().next()) else {
        return;
    };
    let owner = room.membership_owner();
    for mark in room.receipts.of(owner).flat_map(|receipt| &receipt.covers) {
        let known = oracle.confirmed[number].entry((owner, mark.chain)).or_default();
        *known = (*known).max(mark.number);
    }
}

/// After each transaction of a member.
pub fn each(world: &mut World, number: usize, was_full: bool) {
    let journal = std::rc::Rc::clone(&world.members[number].journal);
    let Some(rooms) = &world.members[number].rooms else {
        return;
    };
    let Some((room, it)) = rooms.iter().next() else {
        return;
    };
    let settled = it.settled();
    // Who was in before has what it got then.
    let was_in = it.membership.grants.values().any(|grant| grant.key == it.own && grant.removed.is_some());
    let invited = it.state(it.own) == Some(State::Invited) && !was_in;
    let own = it.own;
    // What the owner says to be final all have, as far as it knows of them.
    let epoch = it.epoch.unwrap_or(world.members[number].epoch);
    let says_so = it.row.settlement.is_some_and(|mark| (mark.chain.author, mark.chain.epoch) == (own, epoch));
    let honest = world.members[number].liar.is_none();
    let who = world.number(own);
    if !it.is_joined() {
        // What it wrote itself may be dropped by its removal.
        world.oracle.settled[number].clear();
    }
    let before = std::mem::replace(&mut world.oracle.told[number], settled);
    if before != settled {
        world.note(|| format!("user{number} has settled {settled}"));
    }
    for (name, seq) in new_entries(world, number) {
        world.oracle.had.entry(name).or_default().insert(who);
        world.oracle.seen[number] = world.oracle.seen[number].max(seq);
        if was_full && name.0.author != own && honest {
            world.fail(format!("user{number} has taken an entry although its disk is nearly full"));
        }
    }
    if !honest {
        return;
    }
    check_promised(world, number, who);
    note_confirmed(world, number);
    if invited {
        check_invited(world, number, own);
    }
    if settled > before && says_so {
        check_final(world, number, before, settled);
    }
    // Looked at now and then, for it reads everything.
    if settled > 0 && world.rng.u32(0..20) == 0 {
        let now: Vec<Name> =
            order(&journal, room, settled.cast_signed()).into_iter().map(|(name, ..)| name).collect();
        check_settled(world, number, now);
        if let Err(what) = causal(world, number) {
            world.fail(what);
        }
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

/// Final is what all have who are in, by their own word.
fn check_final(world: &mut World, number: usize, before: u64, settled: u64) {
    let journal = std::rc::Rc::clone(&world.members[number].journal);
    let mut new = journal
        .prepare_cached(
            "SELECT author, granted, epoch, room_entry.number FROM room_entry JOIN room_chain ON room_chain.id = chain
             WHERE room_entry.place > ?1 AND room_entry.place <= ?2 AND kind <> 5",
        )
        .unwrap();
    let new = new.query_map([before.cast_signed(), settled.cast_signed()], name);
    let Some((_, it)) = world.members[number].rooms.as_ref().and_then(|it| it.iter().next()) else {
        return;
    };
    for (chain, entry) in new.unwrap().map(Result::unwrap) {
        let had = world.oracle.had.get(&(chain, entry));
        let lacks = |member: &&PublicKey| {
            let number = world.number(**member);
            world.members[number].liar.is_none()
                && it.past_of(**member, chain) < entry
                && had.is_none_or(|had| !had.contains(&number))
        };
        if let Some(lacks) = it.joined.iter().find(lacks) {
            let (author, lacks) = (world.number(chain.author), world.number(*lacks));
            world.fail(format!(
                "user{number} takes user{author} {:016x}-{entry} for final, which user{lacks} has never had",
                chain.epoch
            ));
            return;
        }
    }
}

/// What a member has said to have is committed.
fn check_promised(world: &mut World, number: usize, who: usize) {
    for mark in std::mem::take(&mut world.oracle.promised[number]) {
        let had = world.oracle.had.get(&(mark.chain, mark.number));
        let rooms = world.members[number].rooms.as_ref();
        let before = rooms
            .and_then(|it| it.iter().next())
            .is_some_and(|(_, it)| it.is_before(mark.chain, mark.number));
        if !before && had.is_none_or(|had| !had.contains(&who)) {
            let author = world.number(mark.chain.author);
            world.fail(format!(
                "user{number} has handed on, or said to have, {} of user{author}, and had it not",
                mark.number
            ));
        }
    }
}

/// Who is invited has not joined, and has nothing.
fn check_invited(world: &mut World, number: usize, own: PublicKey) {
    let journal = &world.members[number].journal;
    let count = |sql, key: PublicKey| {
        journal.prepare_cached(sql).unwrap().query_row([key.0], |row| row.get::<_, i64>(0)).unwrap()
    };
    let own_chains = count("SELECT count(*) FROM room_chain WHERE author = ?1 AND number > 0", own);
    let others = count(
        "SELECT count(*) FROM room_entry JOIN room_chain ON room_chain.id = chain WHERE author <> ?1",
        own,
    );
    if own_chains == 0 && others > 0 {
        world.fail(format!("user{number} is invited and has {others} entries"));
    }
}

/// The entries of a room, chain by chain.
pub fn standings(journal: &Journal, room: RoomId) -> Vec<(i64, u64, EntryStanding)> {
    let mut statement = journal
        .prepare_cached("SELECT chain, number FROM room_entry WHERE room = ?1 ORDER BY chain, number")
        .unwrap();
    let rows = statement.query_map([room], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)));
    let names = rows.unwrap().map(|it| it.map(|(chain, number)| (chain, number.cast_unsigned())).unwrap());
    names.map(|(chain, number)| (chain, number, journal.entry_at(chain, number).unwrap().unwrap())).collect()
}

/// What comes before an entry has come in before it.
fn causal(world: &World, number: usize) -> Result<(), String> {
    let rooms = world.members[number].rooms.as_ref();
    let Some((room, it)) = rooms.and_then(|it| it.iter().next()).filter(|_| !world.oracle.cut[number]) else {
        return Ok(());
    };
    // What a removal has cut, as far as it was known, may be kept after all.
    let counts = |chain: &ChainName| it.limit(*chain) == u64::MAX;
    let journal = &world.members[number].journal;
    let entries = standings(journal, room);
    let seq_at: BTreeMap<_, _> = entries.iter().map(|(chain, at, it)| ((*chain, *at), it.seq)).collect();
    let of = |(chain, at, entry): &(i64, u64, EntryStanding)| {
        (Mark { chain: it.chain_name(*chain).unwrap(), number: *at, hash: entry.hash }, entry.seq)
    };
    let seqs: BTreeMap<Mark, i64> = entries.iter().map(of).collect();
    for id in it.chains.keys() {
        let mut wrong = None;
        let each = |at, _, entry: peerchat::protocol::room::Entry| {
            let seq = seq_at[&(*id, at)];
            let late = |before: Option<&i64>| before.is_some_and(|before| *before > seq);
            let causes = entry.causes.iter().filter(|cause| counts(&cause.mark.chain));
            let is_late = causes.clone().any(|cause| late(seqs.get(&cause.mark)));
            if is_late || late(seq_at.get(&(*id, at - 1))) {
                wrong = Some(format!("user{number} has {at} of chain {id} before its causes"));
            }
            Ok(wrong.is_none())
        };
        journal.entries_after(*id, 0, u64::MAX, |id| it.chain_name(id), each).unwrap();
        wrong.map_or(Ok(()), Err)?;
    }
    Ok(())
}

/// Each text is told of once, when it is committed.
pub fn text(world: &mut World, number: usize, seq: i64) {
    if world.members[number].liar.is_some() {
        return;
    }
    let journal = std::rc::Rc::clone(&world.members[number].journal);
    let mut statement = journal
        .prepare_cached(
            "SELECT author, granted, epoch, room_entry.number, room_entry.hash
             FROM room_entry JOIN room_chain ON room_chain.id = chain WHERE seq = ?1",
        )
        .unwrap();
    let found = statement.query_row([seq], |row| Ok((name(row)?, row.get(4)?))).ok();
    match found {
        None => world.fail(format!("user{number} is told of a text that is not there")),
        Some(text) => {
            if !world.oracle.texts[number].insert(text) {
                world.fail(format!("user{number} is told twice of the text at {seq}"));
            }
        }
    }
}

/// Entries go to those alone who have joined.
pub fn says(world: &mut World, number: usize, to: PublicKey, about: &AboutRoom) {
    let rooms = world.members[number].rooms.as_ref();
    let Some((_, room)) = rooms.and_then(|it| it.iter().next()) else {
        return;
    };
    if world.members[number].liar.is_some() {
        return;
    }
    if let RoomSays::Receipts(receipts) = &about.says {
        let own = receipts.iter().filter(|it| it.name.member == room.own).flat_map(|it| &it.covers);
        let own: Vec<Mark> = own.copied().collect();
        return world.oracle.promised[number].extend(own);
    }
    let RoomSays::Run(run) = &about.says else {
        return;
    };
    let last = run.first + run.entries.len() as u64 - 1;
    let mark = Mark { chain: run.chain, number: last, hash: Hash::default() };
    world.oracle.promised[number].push(mark);
    let state = room.state(to);
    let to = world.number(to);
    // Who is invited may have joined, which is not known here yet; or had joined by another invitation, of whose end
    // nothing is known here yet.
    let theirs = world.members[to].rooms.as_ref().and_then(|it| it.by_key(about.room));
    let had_joined = |room: &Room| room.chains_of(room.own).next().is_some();
    let is_in = theirs.is_none_or(|room| room.state(room.own) != Some(State::Invited) || had_joined(room))
        || world.members[to].liar.is_some();
    // Who has left, or is invited again, gets back what it has lost of its own.
    let own = matches!(state, Some(State::Left | State::Invited))
        && world.members[to].keypair.public() == run.chain.author;
    let may = own || state == Some(State::Joined) || state == Some(State::Invited) && is_in;
    if !may {
        world.fail(format!("user{number} hands entries on to user{to}, who is {state:?}"));
    }
}

/// How much of one author a member has that half of the members have not.
pub fn bounds(world: &World, number: usize, author: usize) -> Result<(), String> {
    let key = world.members[author].keypair.public();
    let bytes = |member: usize| -> i64 {
        let mut sum = world.members[member]
            .journal
            .prepare_cached(
                "SELECT coalesce(sum(length(body)), 0) FROM room_entry JOIN room_chain ON room_chain.id = chain
                 WHERE author = ?1",
            )
            .unwrap();
        sum.query_row([key.0], |row| row.get(0)).unwrap()
    };
    let others = (0..world.plan.members).filter(|it| ![number, author].contains(it));
    let least = others.map(bytes).min().unwrap_or_default();
    let (has, most) = (bytes(number) - least, 17 << 20);
    world.note(|| format!("user{number} has {has} bytes more of user{author} than others"));
    match has {
        has if has > most => {
            Err(format!("user{number} has {has} bytes of user{author} that half of the members lack"))
        }
        has if has < 15 << 20 => Err(format!("user{number} has only {has} bytes of user{author}")),
        _ => Ok(()),
    }
}

/// Who is found to break the rules is found by all; and who has signed two entries under one number is found.
pub fn forks(world: &World) -> Result<(), String> {
    let mut hashes: BTreeMap<Name, BTreeMap<Vec<u8>, usize>> = BTreeMap::new();
    let mut rooms = Vec::new();
    for number in super::liars::honest(world) {
        let Some((id, room)) = super::liars::rooms(world, number).and_then(|it| it.iter().next()) else {
            continue;
        };
        if room.state(room.own) != Some(State::Joined) {
            continue;
        }
        let held = order(&world.members[number].journal, id, i64::MAX).into_iter();
        // What it does not get it can't compare with what it has had.
        for (name, hash, _) in held.filter(|(name, ..)| !room.is_before(name.0, name.1)) {
            hashes.entry(name).or_default().insert(hash, number);
        }
        rooms.push((number, room));
    }
    let told = |chain: ChainName, number: u64| {
        format!("user{} {:016x}-{number}", world.number(chain.author), chain.epoch)
    };
    for ((chain, number), hashes) in hashes.iter().filter(|(_, hashes)| hashes.len() > 1) {
        if let Some((who, _)) = rooms.iter().find(|(_, room)| !room.is_forked(*chain)) {
            let what = told(*chain, *number);
            return Err(format!(
                "user{who} does not know that {what} was written twice: {:?}",
                hashes.values()
            ));
        }
    }
    for (found, room) in &rooms {
        for (author, grants) in &room.forked {
            for (who, other) in &rooms {
                if other.forked.get(author) != Some(grants) {
                    let author = world.number(*author);
                    return Err(format!("user{found} has found user{author} forked, and user{who} has not"));
                }
            }
        }
    }
    Ok(())
}

/// A member is told how many have a text of its own.
pub fn spread(world: &mut World, number: usize, _: RoomId, id: Cursor, spread: Spread) {
    if world.plan.flood || world.members[number].liar.is_some() {
        return;
    }
    let own = world.oracle.keys[number];
    let of = |(chain, entry): &Name| (chain.author, chain.epoch, *entry) == (own, id.epoch, id.number);
    let had = world.oracle.had.iter().find(|(name, _)| of(name)).map_or(0, |(_, had)| had.len()) as u64;
    // Who lies may say to have what it has not.
    let liars = world.members.iter().take(world.plan.members).filter(|it| it.liar.is_some()).count() as u64;
    if world.members[number].liar.is_none() && spread.have > had.max(1) + liars {
        world.fail(format!("user{number} is told that {} have {id}, and {had} had it ever", spread.have));
    }
}

/// What each member waits for, for a reader of a seed.
fn explained(world: &World, joined: &[(usize, RoomId)]) -> String {
    let each = joined.iter().map(|(number, id)| {
        let room = world.members[*number].rooms.as_ref().unwrap().get(*id).unwrap();
        format!("user{number}: {}", room.explain(&world.members[*number].journal).unwrap())
    });
    each.collect()
}

/// Whether a member lacks an entry of a chain that no other has, though one has what comes after it.
fn all_have_lost(world: &World, joined: &[(usize, RoomId)]) -> bool {
    let room = |number: usize, id| world.members[number].rooms.as_ref().unwrap().get(id).unwrap();
    let rooms: Vec<_> = joined.iter().map(|(number, id)| (*number, room(*number, *id))).collect();
    let holds = |name: ChainName, number: u64| {
        rooms.iter().any(|(who, room)| {
            let journal = &world.members[*who].journal;
            room.branches(name).any(|it| journal.entry_at(it.row.id, number).unwrap().is_some())
        })
    };
    rooms.iter().flat_map(|(_, room)| room.chains.values()).any(|chain| {
        let name = chain.row.name;
        let last = |it: &Room| it.branches(name).map(|chain| chain.row.number).max().unwrap_or_default();
        let gap = |it: &Room| {
            let next = last(it) + 1;
            next <= chain.row.number
                && !it.is_before(name, next)
                && !it.is_cut(name, next)
                && !holds(name, next)
        };
        rooms.iter().any(|(_, it)| gap(it))
    })
}

/// A member of which another one does not know that it has all of one of its own chains.
fn uncounted(room: &Room) -> Option<(PublicKey, ChainName)> {
    let pairs = room.chains_of(room.own).flat_map(|chain| room.joined.iter().map(move |it| (*it, chain)));
    let mut unknown = pairs.filter(|(member, chain)| room.covered(*member, chain) < chain.said());
    unknown.next().map(|(member, chain)| (member, chain.row.name))
}

/// Whether a member does not get an entry: for it was written before the member came; of an author who has written
/// several branches only one of them is named then.
pub fn is_before(room: &Room, (chain, number): &Name) -> bool {
    let branched = room.is_forked(*chain) && room.past_in(room.own, *chain).is_some();
    branched || room.is_before(*chain, *number)
}

/// The honest members that are in, by their own word.
pub fn joined(world: &World) -> Vec<(usize, RoomId)> {
    let mut joined = Vec::new();
    for (number, member) in world.members.iter().enumerate() {
        let Some(rooms) = super::liars::rooms(world, number) else {
            continue;
        };
        let Some((id, room)) = rooms.iter().next() else {
            continue;
        };
        if room.state(member.keypair.public()) == Some(State::Joined) {
            joined.push((number, id));
        }
    }
    joined
}

/// Members are linked for the sake of the room, where both know that the other one is in.
pub fn linked(world: &World, joined: &[(usize, RoomId)]) -> Result<(), String> {
    let near = |(number, id): &(usize, RoomId)| {
        let room = world.members[*number].rooms.as_ref().unwrap().get(*id).unwrap();
        room.ring.neighbours(room.own)
    };
    let near: Vec<BTreeSet<PublicKey>> = joined.iter().map(near).collect();
    for (at, (one, _)) in joined.iter().enumerate() {
        for (other_at, (other, _)) in joined.iter().enumerate().skip(at + 1) {
            let [mine, theirs] = [*one, *other].map(|it| world.members[it].keypair.public());
            let both = near[at].contains(&theirs) && near[other_at].contains(&mine);
            if both && !world.is_linked(*one, *other) {
                return Err(format!("user{one} is not linked with user{other}"));
            }
        }
    }
    Ok(())
}

/// All honest members hold the same in the same order.
pub fn at_the_end(world: &mut World, joined: Vec<(usize, RoomId)>) -> Result<(), String> {
    for (number, member) in world.members.iter().enumerate() {
        if let Some((_, room)) = member.rooms.as_ref().and_then(|it| it.iter().next()) {
            world.note(|| {
                let own: Vec<_> =
                    room.chains_of(room.own).map(|it| (it.row.name, it.row.number, it.row.ended)).collect();
                format!("user{number} is {:?}, {own:?}, waits {}", room.state(room.own), room.waiting.len())
            });
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
    linked(world, &joined)?;
    // What all have lost who had it, with their journals, can't be handed on, nor what comes after it.
    if world.plan.restores > 0 && all_have_lost(world, &joined) {
        world.stats.add("rooms with entries that all have lost");
        return Ok(());
    }
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
                "user{number} has other members than user{first}: {:?} {theirs:?} {}",
                state(*number, *id),
                explained(world, &joined)
            ));
        }
    }
    let all: Vec<(usize, Vec<Held>)> = joined
        .iter()
        .map(|(number, id)| {
            // What it has from before it was added again may stand where it stood then.
            let room = world.members[*number].rooms.as_ref().unwrap().get(*id).unwrap();
            let mut entries = order(&world.members[*number].journal, *id, i64::MAX);
            // What an author has lost with its journal, and no other member has up to its signature, is not compared.
            let is_lost = |name: &Name| world.plan.restores > 0 && !room.is_signed(name.0, name.1);
            entries.retain(|(name, ..)| !is_before(room, name) && !is_lost(name));
            (*number, entries)
        })
        .collect();
    // A settlement that all have lost with their journals, but for one who came after it and knows its name.
    let holds = |number: usize, id: RoomId, mark: &Mark| {
        let room = world.members[number].rooms.as_ref().unwrap().get(id).unwrap();
        room.branches(mark.chain)
            .any(|it| world.members[number].journal.entry_at(it.row.id, mark.number).unwrap().is_some())
    };
    let lost_settlement = world.plan.restores > 0
        && joined.iter().any(|(number, id)| {
            let settlement = world.members[*number].rooms.as_ref().unwrap().get(*id).unwrap().row.settlement;
            settlement.is_some_and(|mark| !joined.iter().any(|(number, id)| holds(*number, *id, &mark)))
        });
    // What any of them has, all have, unless it was written before they came.
    let mut union: BTreeMap<(Name, Vec<u8>), i64> = BTreeMap::new();
    for (number, entries) in &all {
        for (name, hash, place) in entries {
            let known = *union.entry((*name, hash.clone())).or_insert(*place);
            if known != *place && !lost_settlement {
                for (number, id) in &joined {
                    world.dump(*number, *id);
                }
                return Err(format!(
                    "user{number} has {} {:016x}-{} at {place}, others at {}: {}",
                    world.number(name.0.author),
                    name.0.epoch,
                    name.1,
                    known,
                    explained(world, &joined)
                ));
            }
        }
    }
    for (number, entries) in &all {
        let (member, id) = (&world.members[*number], joined.iter().find(|(it, _)| it == number).unwrap().1);
        let room = member.rooms.as_ref().unwrap().get(id).unwrap();
        let has: BTreeSet<(Name, &Vec<u8>)> = entries.iter().map(|(name, hash, _)| (*name, hash)).collect();
        for (name, _) in union.keys().filter(|(name, hash)| !has.contains(&(*name, hash))) {
            if !is_before(room, name) {
                return Err(format!(
                    "user{number} lacks user{} {:016x}-{}: {}",
                    world.number(name.0.author),
                    name.0.epoch,
                    name.1,
                    explained(world, &joined)
                ));
            }
        }
    }
    // Two who come back from backups may both have lost what one of them had said to have.
    let is_lost =
        |mark: &Mark| !union.keys().any(|((chain, at), _)| (*chain, *at) == (mark.chain, mark.number));
    let waits_for_lost = |room: &Room| {
        let ahead = room.joined.iter().flat_map(|member| room.ahead_of_us(*member));
        // A receipt waits for what its member has written.
        let waited_for = room.deferred.values().flat_map(|receipt| {
            receipt.covers.iter().filter(|mark| mark.chain.author == receipt.name.member)
        });
        world.plan.restores > 0 && ahead.chain(waited_for).any(is_lost)
    };
    let owner_waits = joined.iter().any(|(number, id)| {
        let room = world.members[*number].rooms.as_ref().unwrap().get(*id).unwrap();
        room.membership_owner() == room.own && waits_for_lost(room)
    });
    for (number, _) in &all {
        let id = joined.iter().find(|(it, _)| it == number).unwrap().1;
        let room = world.members[*number].rooms.as_ref().unwrap().get(id).unwrap();
        if owner_waits || waits_for_lost(room) || lost_settlement {
            continue;
        }
        let journal = &world.members[*number].journal;
        // What was not final when the owner came, and the owner does not get, no settlement comes after.
        let not_the_owners = |chain: &Chain| {
            let owner =
                joined.iter().find(|(it, _)| world.oracle.keys.get(*it) == Some(&room.membership_owner()));
            let owner = owner.and_then(|(it, id)| world.members[*it].rooms.as_ref().unwrap().get(*id));
            owner.is_some_and(|it| it.is_before(chain.row.name, chain.said()))
                || is_before(room, &(chain.row.name, chain.said()))
        };
        let open = room.chains.values().filter(|chain| chain.row.place > room.settled());
        let only_that = open.clone().any(not_the_owners)
            && open.clone().all(|it| {
                not_the_owners(it)
                    || journal
                        .entry_at(it.row.id, it.said())
                        .unwrap()
                        .is_none_or(|it| it.place <= room.settled())
            });
        if only_that {
            world.stats.add("members with entries that their owner does not get");
        } else if !room.is_settled(journal).unwrap() {
            let who: Vec<_> = joined
                .iter()
                .filter(|(it, _)| room.holds_up(world.oracle.keys[*it]))
                .map(|(it, _)| *it)
                .collect();
            let keys: Vec<String> =
                world.oracle.keys.iter().map(|key| format!("{:.4}", key.to_string())).collect();
            return Err(format!(
                "user{number} does not know that all is final, for {who:?}: {} {keys:?}",
                explained(world, &joined)
            ));
        } else if let Some((member, chain)) = uncounted(room) {
            return Err(format!(
                "user{number} does not know that user{} has all of its {:016x}: {}",
                world.number(member),
                chain.epoch,
                explained(world, &joined)
            ));
        }
    }
    for (number, _) in &joined {
        causal(world, *number)?;
    }
    // What was said and not taken back with a backup is there.
    for (number, id) in &joined {
        let room = world.members[*number].rooms.as_ref().unwrap().get(*id).unwrap();
        for (epoch, entry) in world.oracle.said[*number].keys() {
            let own = union
                .keys()
                .any(|((chain, it), _)| (chain.author, chain.epoch, it) == (room.own, *epoch, entry));
            // What was written by an earlier invitation is not compared.
            let is_out = |name| room.is_cut(name, *entry) || room.is_before(name, *entry);
            let cut = room.chain_in(room.own, *epoch).is_none_or(|chain| is_out(chain.row.name));
            if !own && !cut {
                return Err(format!("user{number} has said {epoch:016x}-{entry}, which is gone"));
            }
        }
    }
    // What was final for a member is so for all.
    for (number, entries) in &all {
        let id = joined.iter().find(|(it, _)| it == number).unwrap().1;
        final_stays(world, *number, id, entries)?;
    }
    Ok(())
}

/// What was final at a member still stands there.
pub fn final_stays(world: &World, number: usize, id: RoomId, entries: &[Held]) -> Result<(), String> {
    let room = world.members[number].rooms.as_ref().unwrap().get(id).unwrap();
    let mut before = world.oracle.settled[number].clone();
    before.retain(|name| !is_before(room, name));
    let now: Vec<Name> = entries.iter().map(|(name, ..)| *name).collect();
    if now.len() < before.len() || before.iter().zip(&now).any(|(before, now)| before != now) {
        return Err(format!("what was final at user{number} has moved in the end"));
    }
    Ok(())
}
