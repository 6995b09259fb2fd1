//! Whether the changes of a room freeze it, as `docs/protocol.md`, 8.4, has it: not by the client's own code.

use std::collections::{BTreeMap, BTreeSet};

use peerchat::protocol::PublicKey;
use peerchat::protocol::room::{Change, Deed, Hash};

pub type Changes = BTreeMap<Hash, Change>;

/// What comes before each change.
fn pasts(changes: &Changes) -> BTreeMap<Hash, BTreeSet<Hash>> {
    let mut pasts: BTreeMap<Hash, BTreeSet<Hash>> = BTreeMap::new();
    while pasts.len() < changes.len() {
        let before = pasts.len();
        for (hash, change) in changes {
            if !pasts.contains_key(hash) && change.after.iter().all(|it| pasts.contains_key(it)) {
                let all = change.after.iter().flat_map(|it| pasts[it].iter().chain([it])).copied().collect();
                pasts.insert(*hash, all);
            }
        }
        assert!(pasts.len() > before, "a change without those before it");
    }
    pasts
}

/// How often the room had changed hands with this accept.
fn rank(pasts: &BTreeMap<Hash, BTreeSet<Hash>>, changes: &Changes, accept: &Hash) -> usize {
    let before = pasts[accept].iter().filter(|it| changes[*it].deed == Deed::Accept);
    before.map(|it| rank(pasts, changes, it)).max().map_or(1, |most| most + 1)
}

/// Whether two changes that count can't both stand.
pub fn is_frozen(changes: &Changes) -> bool {
    let pasts = pasts(changes);
    let beside =
        |one: &Hash, other: &Hash| one != other && !pasts[one].contains(other) && !pasts[other].contains(one);
    let is_accept = |hash: &&Hash| changes[*hash].deed == Deed::Accept;
    let accepts: Vec<&Hash> = changes.keys().filter(is_accept).collect();
    // Who owned the room before, and has lost it by this.
    let former = |accept: &Hash| -> PublicKey {
        let last = pasts[accept].iter().filter(is_accept).max_by_key(|it| rank(&pasts, changes, it));
        let founding = || changes.values().find(|it| it.after.is_empty()).unwrap().author;
        last.map_or_else(founding, |it| changes[it].author)
    };
    // An heir that has forgotten that it has accepted may do so again.
    let handover = |accept: &Hash| (former(accept), rank(&pasts, changes, accept), changes[accept].author);
    let counts = |(hash, change): &(&Hash, &Change)| {
        let lost = |accept: &&Hash| {
            let mut alike = accepts.iter().filter(|it| handover(it) == handover(accept));
            former(accept) == change.author && alike.all(|it| beside(it, hash))
        };
        change.deed == Deed::Accept || !accepts.iter().any(lost)
    };
    let counting: Vec<(&Hash, &Change)> = changes.iter().filter(counts).collect();
    counting.iter().enumerate().any(|(at, (hash, one))| {
        counting[at + 1..].iter().any(|(other_hash, other)| {
            let twins = (one.author, one.epoch, one.number) == (other.author, other.epoch, other.number);
            let alike = match (&one.deed, &other.deed) {
                (Deed::Transfer(_), Deed::Transfer(_)) => true,
                (Deed::Accept, Deed::Accept) => {
                    let mut ones = accepts.iter().filter(|it| handover(it) == handover(hash));
                    let others = || accepts.iter().filter(|it| handover(it) == handover(other_hash));
                    handover(hash) != handover(other_hash)
                        && ones.all(|one| others().all(|other| beside(one, other)))
                }
                _ => false,
            };
            twins || alike && beside(hash, other_hash)
        })
    })
}
