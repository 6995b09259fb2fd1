use proptest::prelude::*;

use super::*;
use crate::protocol::codec;
use crate::protocol::peer::Peer;
use crate::transport::noise::Keypair;

fn key(number: u8) -> PublicKey {
    keypair(number).public()
}

fn keypair(number: u8) -> Keypair {
    (0..).find_map(|more| Keypair::from_secret(&[number, more].repeat(16).try_into().unwrap())).unwrap()
}

fn chain() -> impl Strategy<Value = ChainName> {
    (0_u8..3, hash(), any::<u64>()).prop_map(|(author, grant, epoch)| ChainName {
        author: key(author),
        grant,
        epoch,
    })
}

fn hash() -> impl Strategy<Value = Hash> {
    any::<[u8; 32]>().prop_map(Hash)
}

fn signature() -> impl Strategy<Value = Signature> {
    any::<[u8; 32]>().prop_map(|half| Signature([half, half].concat().try_into().unwrap()))
}

fn mark() -> impl Strategy<Value = Mark> {
    (chain(), any::<u64>(), hash()).prop_map(|(chain, number, hash)| Mark { chain, number, hash })
}

fn cause() -> impl Strategy<Value = Cause> {
    (mark(), any::<u64>()).prop_map(|(mark, clock)| Cause { mark, clock })
}

fn many<T: std::fmt::Debug>(one: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<T>> {
    prop::collection::vec(one, 0..4)
}

fn entry() -> impl Strategy<Value = Entry> {
    let numbers = (any::<u64>(), any::<u16>(), any::<i64>());
    (numbers, many(cause()), many(any::<u8>())).prop_map(|((clock, kind, sent), causes, body)| Entry {
        clock,
        kind: EntryKind(kind),
        sent,
        causes,
        body,
    })
}

fn run() -> impl Strategy<Value = Run> {
    (chain(), any::<u64>(), hash(), many(entry()), signature()).prop_map(
        |(chain, first, previous, entries, signature)| Run { chain, first, previous, entries, signature },
    )
}

fn receipt_name() -> impl Strategy<Value = ReceiptName> {
    (chain(), any::<u64>()).prop_map(|(ChainName { author: member, epoch, .. }, counter)| ReceiptName {
        member,
        epoch,
        counter,
    })
}

fn receipt() -> impl Strategy<Value = Receipt> {
    (receipt_name(), many(mark()), many(hash()), signature(), prop::option::of(mark())).prop_map(
        |(name, covers, tips, signature, settled)| Receipt { name, covers, tips, signature, settled },
    )
}

fn name() -> impl Strategy<Value = Name> {
    "[a-c][0-9]{1,4}".prop_map(|name| name.parse().unwrap())
}

fn deed() -> impl Strategy<Value = Deed> {
    let kept =
        (any::<u64>(), any::<u64>(), hash()).prop_map(|(epoch, number, hash)| Kept { epoch, number, hash });
    let past = (mark(), any::<(u64, bool)>()).prop_map(|(mark, (clock, ended))| Past { mark, clock, ended });
    let settled = (mark(), any::<u64>()).prop_map(|(mark, place)| Settled { mark, place });
    let origin =
        (any::<[u8; 32]>(), many(hash())).prop_map(|(room, ends)| Origin { room: RoomKey(room), ends });
    prop_oneof![
        (any::<[u8; 32]>(), name(), name(), prop::option::of(origin))
            .prop_map(|(nonce, room, owner, past)| Deed::Found(Found { nonce, room, owner, past })),
        (name(), 0_u8..3, many(past), any::<u64>(), prop::option::of(settled)).prop_map(
            |(name, it, past, clock, settled)| Deed::Add(Add { name, key: key(it), past, clock, settled })
        ),
        (0_u8..3, many(kept)).prop_map(|(it, kept)| Deed::Remove(Remove { key: key(it), kept })),
        (0_u8..3).prop_map(|it| Deed::Transfer(key(it))),
        Just(Deed::Accept),
        ".{0,9}".prop_map(Deed::Topic),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    (chain(), any::<u64>(), many(hash()), deed(), signature()).prop_map(
        |(ChainName { author, epoch, .. }, number, after, deed, signature)| Change {
            author,
            epoch,
            number,
            after,
            deed,
            signature,
        },
    )
}

fn stretch() -> impl Strategy<Value = Stretch> {
    (any::<u64>(), hash(), many(entry().prop_map(|it| it.header())), signature())
        .prop_map(|(first, previous, headers, signature)| Stretch { first, previous, headers, signature })
}

fn says() -> impl Strategy<Value = RoomSays> {
    let wanted = (any::<u64>(), mark()).prop_map(|(after, up_to)| Wanted { after, up_to });
    prop_oneof![
        (many(hash()), many(mark()), many(receipt_name()), any::<bool>()).prop_map(
            |(tips, heads, receipts, joined)| RoomSays::Have(Have { tips, heads, receipts, joined })
        ),
        (any::<bool>(), many(wanted), many(receipt_name()))
            .prop_map(|(changes, chains, receipts)| RoomSays::Pull(Pull { changes, chains, receipts })),
        many(change()).prop_map(RoomSays::Changes),
        run().prop_map(RoomSays::Run),
        many(receipt()).prop_map(RoomSays::Receipts),
        any::<u32>().prop_map(RoomSays::Got),
        (chain(), stretch(), prop::option::of(stretch()))
            .prop_map(|(chain, one, other)| RoomSays::Proof(Box::new(Proof { chain, one, other }))),
    ]
}

proptest! {
    #[test]
    fn what_is_said_reads_back(room in any::<[u8; 32]>(), all in many(says())) {
        let said: Vec<_> = all.into_iter()
            .map(|says| Peer::Room(Box::new(AboutRoom { room: RoomKey(room), says })))
            .collect();
        let mut frame = Vec::new();
        said.iter().for_each(|said| codec::encode(said, &mut frame));
        prop_assert_eq!(codec::decode::<Peer>(&frame).unwrap(), said);
    }

    #[test]
    fn another_change_has_another_hash(one in change(), other in change()) {
        let same = Change { signature: one.signature, ..other.clone() } == one;
        prop_assert_eq!(hash::change(RoomKey([1; 32]), &one) == hash::change(RoomKey([1; 32]), &other), same);
    }

    #[test]
    fn another_entry_has_another_hash(one in entry(), other in entry(), number in 1_u64..3, before in 1_u64..3) {
        let chain = ChainName { author: key(1), grant: Hash([4; 32]), epoch: 7 };
        let hash = |entry: &Entry, number| hash::entry(RoomKey([1; 32]), &chain, number, Hash([2; 32]), &entry.header());
        prop_assert_eq!(hash(&one, number) == hash(&other, before), one == other && number == before);
    }
}

#[test]
fn a_founding_names_no_more_ends_than_any_list_holds() {
    let frame = |count| {
        let past = Some(Origin { room: RoomKey([1; 32]), ends: vec![Hash([2; 32]); count] });
        let (room, owner) = ("lab".parse().unwrap(), "alice".parse().unwrap());
        let deed = Deed::Found(Found { nonce: [3; 32], room, owner, past });
        let signature = Signature([0; 64]);
        let change = Change { author: key(1), epoch: 1, number: 1, after: vec![], deed, signature };
        let says = RoomSays::Changes(vec![change]);
        let mut frame = Vec::new();
        codec::encode(&Peer::Room(Box::new(AboutRoom { room: RoomKey([4; 32]), says })), &mut frame);
        frame
    };
    assert!(codec::decode::<Peer>(&frame(lists::MAX_ITEMS)).is_ok());
    assert!(codec::decode::<Peer>(&frame(lists::MAX_ITEMS + 1)).is_err());
}

#[test]
fn only_the_author_s_signature_counts() {
    let room = RoomKey([1; 32]);
    let mut change = Change {
        author: key(1),
        epoch: 1,
        number: 1,
        after: vec![Hash([3; 32])],
        deed: Deed::Topic("x".into()),
        signature: Signature([0; 64]),
    };
    assert!(!change.is_signed(room));
    change.signature = keypair(2).sign(&hash::change(room, &change).0);
    assert!(!change.is_signed(room));
    change.signature = keypair(1).sign(&hash::change(room, &change).0);
    assert!(change.is_signed(room) && !change.is_signed(RoomKey([2; 32])));
    change.number = 2;
    assert!(!change.is_signed(room));
}

#[test]
fn a_clock_follows_from_what_comes_before() {
    let cause = |clock| Cause {
        mark: Mark {
            chain: ChainName { author: key(1), grant: Hash([4; 32]), epoch: 1 },
            number: 1,
            hash: Hash::default(),
        },
        clock,
    };
    assert_eq!(clock_after(0, &[]), Some(1));
    assert_eq!(clock_after(5, &[cause(3), cause(9)]), Some(10));
    assert_eq!(
        [MAX_CLOCK - 1, MAX_CLOCK, u64::MAX].map(|it| clock_after(it, &[])),
        [Some(MAX_CLOCK), None, None]
    );
}
