//! How many chains there may be, and what another room goes on from.

use super::super::write;
use super::*;
use crate::protocol::room::{Deed, Found, MAX_HEADS, Origin};
use crate::transport::noise::Keypair;

fn name(author: PublicKey, epoch: usize) -> ChainName {
    ChainName { author, grant: Hash([1; 32]), epoch: epoch as u64 }
}

impl Room {
    /// So many chains of an author are here, of which the journal knows nothing.
    fn fill(&mut self, author: PublicKey, like: &Chain, count: usize) {
        for epoch in 0..count {
            let id = 1_000 + self.chains.len() as ChainId;
            self.names.insert((name(author, epoch), 0), id);
            let row = ChainRow { id, name: name(author, epoch), ..like.row.clone() };
            self.chains.insert(id, Chain { row, ..like.clone() });
        }
    }
}

fn founded() -> (Journal, Room) {
    let keypair = Keypair::generate().unwrap();
    let journal = Journal::in_memory(&"alice".parse().unwrap(), &keypair).unwrap();
    let (name, owner) = ("lab".parse().unwrap(), "alice".parse().unwrap());
    let founding = Found { nonce: [7; 32], room: name, owner, past: None };
    let (mut effects, mut seqs) = (Vec::new(), || 1);
    let now = crate::time::Now { mono: crate::time::Instant::START, wall: 0 };
    let cx = super::super::Cx {
        journal: &journal,
        now,
        keypair: &keypair,
        epoch: 1,
        seqs: &mut seqs,
        effects: &mut effects,
    };
    let (hash, change) = write::signed(&cx, RoomKey([0; 32]), 1, Vec::new(), Deed::Found(founding));
    let changes = BTreeMap::from([(hash, change)]);
    let membership = Membership::of(RoomKey(hash.0), &changes).unwrap();
    let row = journal.add_room(RoomKey(hash.0), &membership.name).unwrap();
    let room = Room::new(keypair.public(), row, changes, membership);
    (journal, room)
}

#[test]
fn no_member_and_no_room_has_more_chains_than_it_may() {
    let (journal, mut room) = founded();
    let [one, other] = [7, 8].map(|byte| PublicKey([byte; 32]));
    let first = room.chain(&journal, name(other, 0), 0).unwrap().unwrap();
    let like = room.chains.get(&first).unwrap().clone();
    room.fill(one, &like, MAX_CHAINS_OF_ONE - 1);
    assert!(room.chain(&journal, name(one, MAX_CHAINS_OF_ONE), 0).unwrap().is_some());
    assert_eq!(room.chain(&journal, name(one, MAX_CHAINS_OF_ONE + 1), 0).unwrap(), None);
    // What is here is found, and others go on.
    assert!(room.chain(&journal, name(one, MAX_CHAINS_OF_ONE), 0).unwrap().is_some());
    assert!(room.chain(&journal, name(other, 1), 0).unwrap().is_some());

    let authors = MAX_CHAINS.div_ceil(MAX_CHAINS_OF_ONE);
    for author in 0..authors {
        let left = MAX_CHAINS - 1 - room.chains.len();
        room.fill(PublicKey([100 + author as u8; 32]), &like, left.min(MAX_CHAINS_OF_ONE));
    }
    assert!(room.chain(&journal, name(other, 2), 0).unwrap().is_some());
    assert_eq!(room.chains.len(), MAX_CHAINS);
    assert_eq!(room.chain(&journal, name(other, 3), 0).unwrap(), None);
}

#[test]
fn of_many_chains_a_room_goes_on_from_those_that_were_written_last() {
    let (journal, mut room) = founded();
    let author = PublicKey([7; 32]);
    let first = room.chain(&journal, name(author, 0), 0).unwrap().unwrap();
    assert_eq!(room.as_past(), Origin { room: room.key(), ends: vec![] });
    let like = room.chains.get(&first).unwrap().clone();
    room.fill(author, &like, MAX_HEADS + 100);
    let hash = |place: usize| {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&place.to_be_bytes());
        Hash(hash)
    };
    for (place, chain) in (1..).zip(room.chains.values_mut().skip(1)) {
        (chain.row.place, chain.signed) = (place as u64, Signed { number: 1, hash: hash(place) });
    }
    let expected: Vec<Hash> = (101..=MAX_HEADS + 100).rev().map(hash).collect();
    assert_eq!(room.as_past().ends, expected);
    assert!(room.has_ends(&journal, &expected).unwrap());
}
