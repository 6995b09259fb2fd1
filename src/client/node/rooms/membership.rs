//! Who is in a room: what its changes come to, whatever the order in which they came.
//!
//! Changes name the ones before them, so they form a graph; where an owner was restored from a backup, it has branches.
//! All branches apply, and a removal wins over an addition beside it. What follows depends on the set of changes alone.

use std::collections::{BTreeMap, BTreeSet};

use crate::protocol::room::{ChainName, Change, Deed, Hash, Kept, Past, RoomKey, Settled};
use crate::protocol::{Name, PublicKey};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// What the owner calls the room.
    pub name: Name,
    pub owner: PublicKey,
    /// The changes by which it was owned, how often it had changed hands with each, and the last of them.
    reigns: BTreeMap<Hash, (u32, PublicKey)>,
    pub reign: Hash,
    /// The member who is to own it, and has not yet said yes.
    pub heir: Option<PublicKey>,
    pub topic: String,
    /// By which changes members are in, or were.
    pub grants: BTreeMap<Hash, Grant>,
    /// The same changes, in their order, by the account that they let in.
    grants_by_key: BTreeMap<PublicKey, Vec<Hash>>,
    /// The changes after which no other one comes.
    pub tips: Vec<Hash>,
    /// Why nothing new is taken any more.
    pub frozen: Option<&'static str>,
}

/// By one change a member is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub key: PublicKey,
    pub name: Name,
    /// The owner who has added the member.
    pub by: PublicKey,
    /// What the member does not get.
    pub past: BTreeMap<ChainName, Past>,
    /// The member's clock begins after it.
    pub clock: u64,
    /// What was final then, for one who does not get it.
    pub settled: Option<Settled>,
    /// Up to where the member's chains of each epoch are kept, if the member was removed: the ends that owners have named.
    pub removed: Option<BTreeMap<u64, BTreeSet<(u64, Hash)>>>,
    /// The owners who have removed the member: what they have confirmed is kept, too.
    pub removed_by: BTreeSet<PublicKey>,
}

/// A change among the others.
struct Node<'c> {
    hash: Hash,
    change: &'c Change,
    /// Which ones come before it, a bit for each.
    past: Vec<u64>,
    /// How often the room had changed hands with it, and who owns it then.
    owner: (u32, PublicKey),
    heir: Option<PublicKey>,
}

impl Node<'_> {
    fn follows(&self, other: usize) -> bool {
        self.past.get(other / 64).is_some_and(|bits| bits & (1 << (other % 64)) != 0)
    }
}

impl Membership {
    /// What the changes of a room come to, of which each comes after others that are here. `None` if its founding is
    /// not among them, or one of them was not for its author to make.
    pub fn of(room: RoomKey, changes: &BTreeMap<Hash, Change>) -> Option<Self> {
        let founding = changes.get(&Hash(room.0))?;
        let Deed::Found(found) = &founding.deed else {
            return None;
        };
        let nodes = sorted(room, changes)?;
        let together = |one: usize, other: usize| {
            let pair = [(one, other), (other, one)];
            !pair.iter().any(|(one, other)| nodes.get(*one).is_some_and(|it| it.follows(*other)))
        };
        let all = || nodes.iter().enumerate();
        let mut accepts = BTreeMap::<Handover, Vec<usize>>::new();
        for (at, it) in all().filter(|(_, it)| it.change.deed == Deed::Accept) {
            if let Some(from) = former_owner(&nodes, it) {
                accepts.entry(Handover { from, to: it.owner }).or_default().push(at);
            }
        }
        // What an owner says beside the word of the next one, who does not know of it, does not count.
        let ignored: BTreeSet<usize> = all()
            .filter(|(at, it)| {
                let is_beside = |accept: &usize| together(*at, *accept);
                let has_lost = |(handover, accepts): (&Handover, &Vec<usize>)| {
                    handover.from == it.change.author && accepts.iter().all(is_beside)
                };
                it.change.deed != Deed::Accept && accepts.iter().any(has_lost)
            })
            .map(|(at, _)| at)
            .collect();
        let valid: Vec<(usize, &Node<'_>)> = all().filter(|(at, _)| !ignored.contains(at)).collect();

        let mut grants = BTreeMap::new();
        for (at, it) in all() {
            let grant = |key, name: &Name, past: &[Past], clock, settled| Grant {
                settled,
                key,
                name: name.clone(),
                by: it.change.author,
                past: past.iter().map(|past| (past.mark.chain, *past)).collect(),
                clock,
                // One who was added by what does not count has to hear so.
                removed: ignored.contains(&at).then(BTreeMap::new),
                removed_by: BTreeSet::new(),
            };
            match &it.change.deed {
                Deed::Found(found) => {
                    grants.insert(it.hash, grant(it.change.author, &found.owner, &[], 0, None))
                }
                Deed::Add(add) => {
                    grants.insert(it.hash, grant(add.key, &add.name, &add.past, add.clock, add.settled))
                }
                _ => None,
            };
        }
        for (at, it) in &valid {
            if let Deed::Remove(remove) = &it.change.deed {
                // Unless it was added once more after that.
                let later = |hash: &Hash| valid.iter().any(|(_, add)| add.hash == *hash && add.follows(*at));
                for (_, grant) in grants.iter_mut().filter(|(hash, it)| it.key == remove.key && !later(hash))
                {
                    grant.removed_by.insert(it.change.author);
                    let kept = grant.removed.get_or_insert_default();
                    for Kept { epoch, number, hash } in &remove.kept {
                        kept.entry(*epoch).or_default().insert((*number, *hash));
                    }
                }
            }
        }
        let last = valid.iter().max_by_key(|(at, it)| (it.owner.0, *at)).map(|(_, it)| it);
        let owner = last.map_or(founding.author, |it| it.owner.1);
        let reigns: BTreeMap<Hash, (u32, PublicKey)> = nodes
            .iter()
            .filter(|it| matches!(it.change.deed, Deed::Found(_) | Deed::Accept))
            .map(|it| (it.hash, it.owner))
            .collect();
        let is_last =
            |(_, reign): &(&Hash, &(u32, PublicKey))| last.is_some_and(|last| last.owner == **reign);
        let reign = reigns.iter().find(is_last).map_or(Hash(room.0), |(hash, _)| *hash);
        let topic = valid.iter().rev().find_map(|(_, it)| match &it.change.deed {
            Deed::Topic(topic) => Some(topic.clone()),
            _ => None,
        });
        let transfers = valid.iter().filter(|(_, it)| matches!(it.change.deed, Deed::Transfer(_)));
        let heir = transfers.max_by_key(|(at, it)| (it.owner.0, *at)).map(|(_, it)| it);
        let heir = heir.filter(|it| last.is_some_and(|last| last.owner.0 == it.owner.0));
        let mut grants_by_key = BTreeMap::<PublicKey, Vec<Hash>>::new();
        grants.iter().for_each(|(hash, grant)| grants_by_key.entry(grant.key).or_default().push(*hash));
        let before: BTreeSet<&Hash> = changes.values().flat_map(|change| &change.after).collect();
        Some(Self {
            name: found.room.clone(),
            owner,
            reigns,
            reign,
            heir: heir
                .and_then(|it| it.heir)
                .filter(|key| grants.values().any(|it| it.key == *key && it.removed.is_none())),
            topic: topic.unwrap_or_default(),
            grants,
            grants_by_key,
            tips: changes.keys().filter(|hash| !before.contains(hash)).copied().collect(),
            frozen: frozen(&valid, &accepts, together),
        })
    }

    /// The grants by which a member is in, or was.
    pub fn grants_of(&self, key: PublicKey) -> impl Iterator<Item = (&Hash, &Grant)> + Clone {
        let hashes = self.grants_by_key.get(&key).into_iter().flatten();
        hashes.filter_map(|hash| self.grants.get_key_value(hash))
    }

    /// The grants by which a member is in.
    pub fn active(&self, key: PublicKey) -> impl Iterator<Item = (&Hash, &Grant)> + Clone {
        self.grants_of(key).filter(|(_, grant)| grant.removed.is_none())
    }

    /// Whether the account is in: invited, or more than that.
    pub fn is_in(&self, key: PublicKey) -> bool {
        self.active(key).next().is_some()
    }

    /// How often the room had changed hands with the change by which this account owned it.
    pub fn reign(&self, change: Hash, owner: PublicKey) -> Option<u32> {
        self.reigns.get(&change).filter(|(_, key)| *key == owner).map(|(rank, _)| *rank)
    }

    /// How often the room had changed hands when this account owned it last; `None` if it never did.
    pub fn last_rank(&self, owner: PublicKey) -> Option<u32> {
        self.reigns.values().filter(|(_, key)| *key == owner).map(|(rank, _)| *rank).max()
    }

    /// Whether it is or was in.
    pub fn knows(&self, key: PublicKey) -> bool {
        self.grants_by_key.contains_key(&key)
    }

    /// All who are or were in.
    pub fn all(&self) -> BTreeSet<PublicKey> {
        self.grants_by_key.keys().copied().collect()
    }

    /// All who are in, by their keys, with their names.
    pub fn members(&self) -> BTreeMap<PublicKey, &Name> {
        let active = self.grants.values().filter(|grant| grant.removed.is_none());
        active.map(|grant| (grant.key, &grant.name)).collect()
    }

    /// What a member is called, or was.
    pub fn name_of(&self, key: PublicKey) -> Option<&Name> {
        self.active(key).next().or_else(|| self.grants_of(key).next()).map(|(_, grant)| &grant.name)
    }
}

/// The hashes of the changes, each behind all that come before it, so that who gets some of them can take them.
pub fn in_order(room: RoomKey, changes: &BTreeMap<Hash, Change>) -> Vec<Hash> {
    let nodes = sorted(room, changes).unwrap_or_default();
    nodes.into_iter().map(|node| node.hash).collect()
}

/// The changes, each behind all that come before it; `None` if one was not for its author to make.
fn sorted(room: RoomKey, changes: &BTreeMap<Hash, Change>) -> Option<Vec<Node<'_>>> {
    let words = changes.len().div_ceil(64);
    let (mut nodes, mut places) = (Vec::<Node<'_>>::new(), BTreeMap::new());
    let mut left: BTreeMap<&Hash, &Change> = changes.iter().collect();
    let mut ready = BTreeSet::from([Hash(room.0)]);
    let mut children: BTreeMap<Hash, Vec<Hash>> = BTreeMap::new();
    for (hash, change) in changes {
        change.after.iter().for_each(|before| children.entry(*before).or_default().push(*hash));
    }
    while let Some(hash) = ready.pop_first() {
        let Some(change) = left.remove(&hash) else {
            continue;
        };
        let mut past = vec![0_u64; words];
        let (mut owner, mut heir, mut first) = ((0, change.author), None, true);
        for before in &change.after {
            let at: usize = *places.get(before)?;
            let node = nodes.get(at)?;
            past.iter_mut().zip(&node.past).for_each(|(bits, more)| *bits |= more);
            if let Some(bits) = past.get_mut(at / 64) {
                *bits |= 1 << (at % 64);
            }
            // Two who have it by equally many transfers come from branches that freeze the room.
            let rank = |owner: (u32, PublicKey), heir: Option<PublicKey>| (owner.0, heir.is_some());
            if first || rank(node.owner, node.heir) > rank(owner, heir) {
                (owner, heir) = (node.owner, node.heir);
            }
            first = false;
        }
        let mut node = Node { hash, change, past, owner, heir };
        let valid = match &change.deed {
            Deed::Found(_) => hash.0 == room.0 && change.after.is_empty(),
            Deed::Accept => heir == Some(change.author),
            Deed::Remove(remove) => change.author == owner.1 && remove.key != owner.1,
            Deed::Add(_) | Deed::Transfer(_) | Deed::Topic(_) => change.author == owner.1,
        } && (change.after.is_empty() == matches!(change.deed, Deed::Found(_)));
        if !valid {
            return None;
        }
        match &change.deed {
            Deed::Accept => (node.owner, node.heir) = ((owner.0 + 1, change.author), None),
            Deed::Transfer(key) => node.heir = Some(*key).filter(|key| *key != owner.1),
            Deed::Remove(remove) if heir == Some(remove.key) => node.heir = None,
            _ => {}
        }
        places.insert(hash, nodes.len());
        nodes.push(node);
        for child in children.get(&hash).into_iter().flatten() {
            let known = |before: &Hash| places.contains_key(before);
            if left.get(child).is_some_and(|change| change.after.iter().all(known)) {
                ready.insert(*child);
            }
        }
    }
    left.is_empty().then_some(nodes)
}

/// A room that has changed hands: from one owner to the next, with how often it had by then. An heir from a backup may say
/// yes again, which is the same handover.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Handover {
    from: PublicKey,
    to: (u32, PublicKey),
}

/// Who owned the room before this change.
fn former_owner(nodes: &[Node<'_>], accept: &Node<'_>) -> Option<PublicKey> {
    let past = nodes.iter().enumerate().filter(|(at, _)| accept.follows(*at));
    past.max_by_key(|(at, it)| (it.owner.0, *at)).map(|(_, it)| it.owner.1)
}

/// Why the changes can't all stand.
fn frozen(
    valid: &[(usize, &Node<'_>)],
    accepts: &BTreeMap<Handover, Vec<usize>>,
    together: impl Fn(usize, usize) -> bool,
) -> Option<&'static str> {
    let mut numbers = BTreeSet::new();
    let all_new = valid.iter().all(|(_, it)| {
        let Change { author, epoch, number, .. } = it.change;
        numbers.insert((author, epoch, number))
    });
    if !all_new {
        return Some("its owner has signed two different changes under one number");
    }
    let transfers = valid.iter().filter(|(_, it)| matches!(it.change.deed, Deed::Transfer(_)));
    let transfers: Vec<usize> = transfers.map(|(at, _)| *at).collect();
    let two_transfers = transfers
        .iter()
        .enumerate()
        .any(|(at, one)| transfers.iter().take(at).any(|other| together(*one, *other)));
    let beside =
        |some: &[usize], others: &[usize]| some.iter().all(|one| others.iter().all(|it| together(*one, *it)));
    let two_heirs = accepts
        .values()
        .enumerate()
        .any(|(at, some)| accepts.values().take(at).any(|others| beside(some, others)));
    (two_transfers || two_heirs).then_some("its owner has given it to two members at once")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::room::{Add, Found, Remove, Signature, hash};

    const ROOT: Hash = Hash([0; 32]);

    fn key(number: u8) -> PublicKey {
        PublicKey([number; 32])
    }

    struct Changes {
        room: RoomKey,
        all: BTreeMap<Hash, Change>,
    }

    impl Changes {
        fn new() -> Self {
            let mut changes = Self { room: RoomKey([0; 32]), all: BTreeMap::new() };
            let (room, owner) = ("lab".parse().unwrap(), "owner".parse().unwrap());
            let found = Found { nonce: [7; 32], room, owner, past: None };
            let root = changes.add(1, 1, &[], Deed::Found(found));
            changes.room = RoomKey(root.0);
            changes
        }

        /// By this author in this epoch.
        fn add(&mut self, author: u8, epoch: u64, after: &[Hash], deed: Deed) -> Hash {
            let number =
                1 + self.all.values().filter(|it| (it.author, it.epoch) == (key(author), epoch)).count();
            self.numbered(author, epoch, number as u64, after, deed)
        }

        fn numbered(&mut self, author: u8, epoch: u64, number: u64, after: &[Hash], deed: Deed) -> Hash {
            let after = after.iter().map(|it| if *it == ROOT { Hash(self.room.0) } else { *it }).collect();
            let signature = Signature([0; 64]);
            let change = Change { author: key(author), epoch, number, after, deed, signature };
            let hash = hash::change(self.room, &change);
            self.all.insert(hash, change);
            hash
        }

        fn of(&self) -> Membership {
            Membership::of(self.room, &self.all).unwrap()
        }

        fn members(&self) -> Vec<u8> {
            self.of().members().keys().map(|key| key.0[0]).collect()
        }
    }

    fn add(member: u8) -> Deed {
        let name = format!("user{member}").parse().unwrap();
        Deed::Add(Add { name, key: key(member), past: vec![], clock: 0, settled: None })
    }

    fn remove(member: u8, kept: u64) -> Deed {
        Deed::Remove(Remove { key: key(member), kept: vec![Kept { epoch: 5, number: kept, hash: ROOT }] })
    }

    #[test]
    fn members_are_those_who_were_added_and_not_removed_since() {
        let mut it = Changes::new();
        let one = it.add(1, 1, &[ROOT], add(2));
        let two = it.add(1, 1, &[one], add(3));
        assert_eq!(it.members(), [1, 2, 3]);
        let three = it.add(1, 1, &[two], remove(2, 9));
        assert_eq!(it.members(), [1, 3]);
        assert_eq!(it.of().grants[&one].removed, Some(BTreeMap::from([(5, BTreeSet::from([(9, ROOT)]))])));
        assert_eq!(it.of().grants[&one].removed_by, BTreeSet::from([key(1)]));
        let four = it.add(1, 1, &[three], add(2));
        assert_eq!((it.members(), it.of().tips), (vec![1, 2, 3], vec![four]));
        assert!(it.of().grants[&one].removed.is_some() && it.of().grants[&four].removed.is_none());
    }

    #[test]
    fn both_branches_of_a_restored_owner_apply_and_removals_win() {
        let mut it = Changes::new();
        let one = it.add(1, 1, &[ROOT], add(2));
        let two = it.add(1, 1, &[one], remove(2, 3));
        // Restored to before the removal.
        let again = it.add(1, 2, &[one], add(4));
        let other = it.add(1, 2, &[again], add(2));
        assert_eq!((it.members(), it.of().frozen), (vec![1, 4], None));
        let merged = it.add(1, 2, &[two, other], add(2));
        assert_eq!((it.members(), it.of().tips), (vec![1, 2, 4], vec![merged]));
    }

    #[test]
    fn the_next_owner_counts_once_it_has_said_yes() {
        let mut it = Changes::new();
        let one = it.add(1, 1, &[ROOT], add(2));
        let two = it.add(1, 1, &[one], Deed::Transfer(key(2)));
        assert_eq!((it.of().owner, it.of().heir), (key(1), Some(key(2))));
        let three = it.add(2, 9, &[two], Deed::Accept);
        assert_eq!((it.of().owner, it.of().heir), (key(2), None));
        let reigns = |it: &Changes| {
            [(it.room.0, 1), (three.0, 2), (three.0, 1)]
                .map(|(change, owner)| it.of().reign(Hash(change), key(owner)))
        };
        assert_eq!((it.of().reign, reigns(&it)), (three, [Some(0), Some(1), None]));
        it.add(2, 9, &[three], add(3));
        assert_eq!(it.members(), [1, 2, 3]);
        // The old owner, who knows nothing of it or says so.
        it.add(1, 3, &[two], remove(3, 0));
        it.add(1, 3, &[two], Deed::Topic("mine".into()));
        assert_eq!((it.members(), it.of().topic.as_str(), it.of().frozen), (vec![1, 2, 3], "", None));
        // Nor does another transfer beside it freeze the room, until that one is accepted too.
        it.add(1, 3, &[one], Deed::Transfer(key(4)));
        assert_eq!((it.of().frozen, it.of().owner), (None, key(2)));
    }

    #[test]
    fn what_can_t_all_stand_freezes_the_room() {
        let mut it = Changes::new();
        it.numbered(1, 5, 1, &[ROOT], add(2));
        it.numbered(1, 5, 1, &[ROOT], add(3));
        assert!(it.of().frozen.is_some());
        let mut it = Changes::new();
        let one = it.add(1, 1, &[ROOT], Deed::Transfer(key(2)));
        let other = it.add(1, 2, &[ROOT], Deed::Transfer(key(3)));
        assert!(it.of().frozen.is_some());
        it.add(2, 1, &[one], Deed::Accept);
        assert_eq!(it.of().frozen, None, "the other one does not count any more");
        it.add(3, 1, &[other], Deed::Accept);
        assert!(it.of().frozen.is_some());
    }

    #[test]
    fn an_heir_from_a_backup_may_accept_again() {
        let mut it = Changes::new();
        let given = it.add(1, 1, &[ROOT], Deed::Transfer(key(2)));
        let added = it.add(1, 1, &[given], add(3));
        let accepted = it.add(2, 1, &[added], Deed::Accept);
        let on = it.add(2, 1, &[accepted], Deed::Transfer(key(3)));
        // It has forgotten all but the transfer.
        let again = it.add(2, 2, &[given], Deed::Accept);
        let of = it.of();
        assert_eq!((of.frozen, of.owner, of.heir), (None, key(2), Some(key(3))));
        assert_eq!(it.members(), [1, 3], "what the former owner did before it was accepted counts");
        assert_eq!([accepted, again].map(|it| of.reign(it, key(2))), [Some(1); 2]);
        let last = it.add(3, 1, &[on], Deed::Accept);
        assert_eq!((it.of().owner, it.of().heir, it.of().frozen), (key(3), None, None));
        assert_eq!(it.of().reign(last, key(3)), Some(2));
        // What the former owner does beside both does not.
        it.add(1, 2, &[given], add(4));
        assert_eq!(it.members(), [1, 3]);
    }

    #[test]
    fn only_the_owner_s_changes_are_any() {
        for (author, deed) in [(2, add(3)), (2, Deed::Accept), (1, remove(1, 0)), (1, Deed::Accept)] {
            let mut it = Changes::new();
            let one = it.add(1, 1, &[ROOT], add(2));
            it.add(author, 1, &[one], deed);
            assert_eq!(Membership::of(it.room, &it.all), None);
        }
        let mut it = Changes::new();
        it.add(1, 1, &[Hash([9; 32])], add(2));
        assert_eq!(Membership::of(it.room, &it.all), None, "what comes before it is not known");
    }
}
