//! Which room this one goes on from, by its founder's word, and what of that one is here.

use std::collections::BTreeSet;

use super::Room;
use crate::protocol::room::{Deed, Hash, MAX_HEADS, Origin};
use crate::store::Result;
use crate::store::journal::Journal;

impl Room {
    pub fn origin(&self) -> Option<&Origin> {
        match &self.changes.get(&Hash(self.key().0))?.deed {
            Deed::Found(found) => found.past.as_ref(),
            _ => None,
        }
    }

    /// This room as what another one goes on from: with the ends of all chains, or of those that were written last.
    pub fn as_past(&self) -> Origin {
        let mut ends: Vec<_> =
            self.chains.values().filter_map(|chain| Some((chain.row.place, chain.head()?.hash))).collect();
        ends.sort_by_key(|(place, _)| std::cmp::Reverse(*place));
        Origin { room: self.key(), ends: ends.into_iter().map(|(_, hash)| hash).take(MAX_HEADS).collect() }
    }

    /// Whether this room is here up to all these ends. What was written before this member came counts as here, as far as
    /// it can be known. Looks at each entry of the room at most once.
    pub fn has_ends(&self, journal: &Journal, ends: &[Hash]) -> Result<bool> {
        let mut left: BTreeSet<Hash> = ends.iter().copied().collect();
        for chain in self.chains.values() {
            left.remove(&chain.signed.hash);
            left.remove(&chain.row.base_hash);
        }
        journal.has_hashes(self.row.id, left)
    }
}
