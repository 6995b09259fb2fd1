//! Which members of a room are linked, and which one hands on to which: all compute alike.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::protocol::PublicKey;
use crate::protocol::room::{Hash, RoomKey, hash};

/// Up to how many members all are linked with all. Above, each keeps so many links.
pub const ALL_LINKED: usize = 16;

/// The members in a ring, in the order of a hash.
#[derive(Debug, Default)]
pub struct Ring {
    members: Vec<PublicKey>,
    places: BTreeMap<PublicKey, usize>,
    /// The place of the one that tells each member what an author writes, as far as it was asked for.
    parents: BTreeMap<PublicKey, Vec<Option<u16>>>,
}

impl Ring {
    pub fn new(room: RoomKey, members: impl Iterator<Item = PublicKey>) -> Self {
        let mut ring: Vec<(Hash, PublicKey)> =
            members.map(|key| (hash::of_body(&[room.0, key.0].concat()), key)).collect();
        ring.sort_unstable();
        let members: Vec<PublicKey> = ring.into_iter().map(|(_, key)| key).collect();
        let places = members.iter().enumerate().map(|(place, key)| (*key, place)).collect();
        Self { members, places, parents: BTreeMap::new() }
    }

    /// Whether not all are linked with all.
    pub fn is_large(&self) -> bool {
        self.members.len() > ALL_LINKED
    }

    /// The members that each is linked with: all, as long as they are not too many; else those at distances of powers of
    /// two.
    pub fn neighbours(&self, of: PublicKey) -> BTreeSet<PublicKey> {
        let (count, place) = (self.members.len(), self.places.get(&of));
        if count <= ALL_LINKED {
            return self.members.iter().copied().filter(|key| *key != of).collect();
        }
        let at = place.copied().unwrap_or_default();
        let distances = (0..ALL_LINKED / 2).map(|power| 1_usize << power);
        let both = distances.flat_map(|distance| [at + distance, at + count - distance % count]);
        let keys = both.filter_map(|place| self.members.get(place % count)).copied();
        keys.filter(|key| *key != of).collect()
    }

    /// The members that hear from `own` at once what `author` writes: those that are nearest to the author through it,
    /// so that each hears of an entry once, over the shortest way. Only who `takes_part` hands on.
    pub fn heirs(
        &mut self,
        author: PublicKey,
        own: PublicKey,
        takes_part: impl Fn(PublicKey) -> bool,
    ) -> Vec<PublicKey> {
        if author == own {
            return Vec::new();
        }
        let parents = self.parents(author, takes_part).into_iter();
        parents.filter(|(key, parent)| *parent == own && *key != own).map(|(key, _)| key).collect()
    }

    /// Each member, with the one that tells it at once what `author` writes. None where all are linked with all.
    pub fn parents(
        &mut self,
        author: PublicKey,
        takes_part: impl Fn(PublicKey) -> bool,
    ) -> Vec<(PublicKey, PublicKey)> {
        if !self.is_large() {
            return Vec::new();
        }
        if !self.parents.contains_key(&author) {
            self.parents.insert(author, self.find_parents(author, takes_part));
        }
        let parents = self.parents.get(&author).into_iter().flatten();
        let parent = |place: &Option<u16>| self.members.get(usize::from((*place)?)).copied();
        let pairs = self.members.iter().zip(parents);
        pairs.filter_map(|(key, place)| Some((*key, parent(place)?))).collect()
    }

    fn find_parents(&self, author: PublicKey, takes_part: impl Fn(PublicKey) -> bool) -> Vec<Option<u16>> {
        let (mut parents, mut queue) = (BTreeMap::from([(author, author)]), VecDeque::from([author]));
        while let Some(member) = queue.pop_front() {
            for next in self.neighbours(member) {
                parents.entry(next).or_insert_with(|| {
                    if takes_part(next) {
                        queue.push_back(next);
                    }
                    member
                });
            }
        }
        let place = |key: &PublicKey| u16::try_from(*self.places.get(parents.get(key)?)?).ok();
        self.members.iter().map(|key| place(key).filter(|_| *key != author)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(count: u8) -> Vec<PublicKey> {
        (0..count).map(|number| PublicKey([number; 32])).collect()
    }

    #[test]
    fn in_a_small_room_all_are_linked_and_the_author_tells_all() {
        let keys = keys(16);
        let mut ring = Ring::new(RoomKey([1; 32]), keys.iter().copied());
        assert_eq!(ring.neighbours(keys[3]).len(), 15);
        assert!(ring.heirs(keys[0], keys[3], |_| true).is_empty());
    }

    #[test]
    fn links_are_mutual_and_few() {
        for count in [17, 50, 200] {
            let keys = keys(count);
            let ring = Ring::new(RoomKey([1; 32]), keys.iter().copied());
            for one in &keys {
                let near = ring.neighbours(*one);
                assert!(near.len() <= ALL_LINKED && !near.contains(one));
                assert!(near.iter().all(|other| ring.neighbours(*other).contains(one)));
            }
        }
    }

    #[test]
    fn each_hears_of_what_an_author_writes_from_one_member() {
        for count in [17, 50, 200] {
            let keys = keys(count);
            let author = keys[5];
            // Some are not there to hand on; what they would have handed on comes from others.
            let takes_part = |key: PublicKey| !keys.iter().skip(7).take(3).any(|it| *it == key);
            let mut ring = Ring::new(RoomKey([2; 32]), keys.iter().copied());
            let mut heard = ring.neighbours(author);
            for own in keys.iter().filter(|own| **own != author && takes_part(**own)) {
                let mut ring = Ring::new(RoomKey([2; 32]), keys.iter().copied());
                for heir in ring.heirs(author, *own, takes_part) {
                    assert!(ring.neighbours(*own).contains(&heir));
                    assert!(heard.insert(heir), "heard twice");
                }
            }
            assert_eq!(heard.len(), keys.len() - 1);
            assert!(ring.heirs(author, author, takes_part).is_empty());
        }
    }
}
