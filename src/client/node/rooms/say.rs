//! What is said to one member: what there is of a room, and the next entries of a chain.

use super::membership::in_order;
use super::room::{Room, State};
use super::take::weight;
use super::{Cx, Effect};
use crate::protocol::PublicKey;
use crate::protocol::room::{
    AboutRoom, Entry, Hash, Have, MAX_RUN, MAX_RUN_BYTES, Mark, ReceiptName, RoomSays, Run, hash,
};
use crate::store::Result;
use crate::store::journal::ChainId;

/// How many marks or names stand in one message at most.
pub const AT_ONCE: usize = 256;
/// How many bytes of changes stand in one message, unless a single one is longer.
const CHANGES_AT_ONCE: usize = 24 * 1024;

pub fn say(cx: &mut Cx<'_>, to: PublicKey, room: &Room, says: RoomSays) {
    cx.effects.push(Effect::Say { to, about: AboutRoom { room: room.key(), says } });
}

/// The hashes of a run's entries.
pub fn hashes_of(room: &Room, run: &Run) -> Vec<Hash> {
    let mut last = run.previous;
    let numbered = run.entries.iter().enumerate();
    let hashes = numbered.map(|(place, entry)| {
        let number = run.first.wrapping_add(place as u64);
        last = hash::entry(room.key(), &run.chain, number, last, &entry.header());
        last
    });
    hashes.collect()
}

/// The hash and the number of a run's last entry.
pub fn end_of(room: &Room, run: &Run) -> (Hash, u64) {
    let numbered = (run.first..).zip(&run.entries);
    numbered.fold((run.previous, 0), |(last, _), (number, entry)| {
        let hash = hash::entry(room.key(), &run.chain, number, last, &entry.header());
        (hash, number)
    })
}

/// Says all that there is of a room: the changes, the chains, the receipts.
pub fn say_all(cx: &mut Cx<'_>, to: PublicKey, room: &Room) {
    say_tips(cx, to, room);
    say_chains(cx, to, room);
}

/// Says which chains and which receipts there are.
pub fn say_chains(cx: &mut Cx<'_>, to: PublicKey, room: &Room) {
    let heads: Vec<Mark> = room.chains.values().filter_map(super::room::Chain::head).collect();
    let receipts: Vec<ReceiptName> = room.receipts.kept.keys().copied().collect();
    if room.state(room.own) == Some(State::Invited) {
        return;
    }
    for heads in heads.chunks(AT_ONCE) {
        say(
            cx,
            to,
            room,
            RoomSays::Have(Have { heads: heads.to_vec(), joined: room.is_joined(), ..Have::default() }),
        );
    }
    for receipts in receipts.chunks(AT_ONCE) {
        say(
            cx,
            to,
            room,
            RoomSays::Have(Have { receipts: receipts.to_vec(), joined: room.is_joined(), ..Have::default() }),
        );
    }
}

/// Says which changes there are that no other one comes after.
pub fn say_tips(cx: &mut Cx<'_>, to: PublicKey, room: &Room) {
    let tips: Vec<Hash> = room.membership.tips.iter().copied().take(AT_ONCE).collect();
    say(cx, to, room, RoomSays::Have(Have { tips, joined: room.is_joined(), ..Have::default() }));
}

/// Says all changes of a room.
pub fn say_changes(cx: &mut Cx<'_>, to: PublicKey, room: &Room) {
    let (mut some, mut bytes) = (Vec::new(), 0);
    let ordered = in_order(room.key(), &room.changes);
    for change in ordered.iter().filter_map(|hash| room.changes.get(hash)) {
        let mut encoded = Vec::new();
        crate::protocol::codec::encode(change, &mut encoded);
        if !some.is_empty() && bytes + encoded.len() > CHANGES_AT_ONCE {
            say(cx, to, room, RoomSays::Changes(std::mem::take(&mut some)));
            bytes = 0;
        }
        bytes += encoded.len();
        some.push(change.clone());
    }
    say(cx, to, room, RoomSays::Changes(some));
}

/// The next entries of a chain after a number, up to a signed one.
pub fn next_run(cx: &Cx<'_>, room: &Room, id: ChainId, after: u64, up_to: u64) -> Result<Option<Run>> {
    let Some(chain) = room.chains.get(&id) else {
        return Ok(None);
    };
    let mut entries: Vec<(u64, Hash, Entry)> = Vec::new();
    let mut total = 0;
    // A branch is sent from where the one who gets it may have left it: with what it has in common with another.
    let (mut parts, mut start) = (vec![(id, up_to)], id);
    let mut lowest = chain;
    while lowest.row.base >= after
        && let Some((stem, _)) = room.stem(cx.journal, &lowest.row)?
    {
        parts.push((stem.row.id, lowest.row.base));
        (lowest, start) = (stem, stem.row.id);
    }
    for (part, up_to) in parts.iter().rev() {
        let from = entries.last().map_or(after, |(number, ..)| *number);
        cx.journal.entries_after(
            *part,
            from,
            *up_to,
            |id| room.chain_name(id),
            |number, hash, entry| {
                total += weight(&entry);
                let fits = entries.is_empty() || (entries.len() < MAX_RUN && total <= MAX_RUN_BYTES);
                if fits {
                    entries.push((number, hash, entry));
                }
                Ok(fits)
            },
        )?;
    }
    let Some(last) = entries.last().map(|(number, ..)| *number) else {
        return Ok(None);
    };
    // What it has in common with another branch may be more than one run, and is signed there.
    let mut head = None;
    for (part, up_to) in &parts {
        let signed = cx.journal.heads_before(*part, last.min(*up_to), 1)?.pop();
        if let Some(signed) = signed.filter(|signed| *signed > after) {
            head = cx.journal.heads_after(*part, signed - 1, 1)?.pop();
            break;
        }
    }
    let Some((signed, signature)) = head else {
        return Ok(None);
    };
    let previous = match cx.journal.entry_at(start, after)? {
        Some(entry) => entry.hash,
        None if after == chain.row.base => chain.row.base_hash,
        None => Hash::default(),
    };
    let entries = entries.into_iter().filter(|(number, ..)| *number <= signed).map(|(.., entry)| entry);
    Ok(Some(Run { chain: chain.row.name, first: after + 1, previous, entries: entries.collect(), signature }))
}
