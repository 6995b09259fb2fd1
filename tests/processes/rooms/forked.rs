//! A member that tells others different things, by raw frames: they find out, agree on what stays, and go on without it.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use peerchat::protocol::peer::{Hello, Peer};
use peerchat::protocol::room::{
    AboutRoom, Add, ChainName, Change, Deed, Entry, EntryKind, Hash, RoomKey, RoomSays, Run, hash,
};

use super::member::{Line, Member, agree, all_linked, in_room};
use crate::support::discovery::{Discovery, scratch};
use crate::support::raw::{Account, RawPeer};

/// A member with keys of its own, which says what a test wants.
struct Mallory {
    account: Account,
    /// Of this start.
    hello: Hello,
    room: RoomKey,
    chain: ChainName,
    /// What its clock begins after.
    clock: u64,
}

/// Changes that the other side has said.
fn changes(said: &Peer) -> Option<(RoomKey, Vec<Change>)> {
    match said {
        Peer::Room(about) => match &about.says {
            RoomSays::Changes(changes) => Some((about.room, changes.clone())),
            _ => None,
        },
        _ => None,
    }
}

impl Mallory {
    /// Invited by the owner.
    fn invited(owner: &mut Member, discovery: SocketAddr) -> (Self, RawPeer) {
        let mut account = Account::new(discovery, "mallory");
        account.request(&owner.name);
        account.settle();
        owner.ask("REQUEST mallory", "requested");
        let hello = account.hello();
        let (mut link, _) = RawPeer::insist(owner.client(), &account.key, &hello);
        owner.is_linked_to("mallory");
        let (room, chain, clock) = Self::is_invited(&account, owner, &mut link, None);
        (Self { account, hello, room, chain, clock }, link)
    }

    /// Waits for an invitation that is not the one before: the room, the chain that it allows, and its clock.
    fn is_invited(
        account: &Account,
        owner: &mut Member,
        link: &mut RawPeer,
        before: Option<Hash>,
    ) -> (RoomKey, ChainName, u64) {
        owner.ask("INVITE #lab mallory", "member");
        let own = account.key.public();
        link.wait("an invitation", |said| {
            let (room, changes) = changes(said)?;
            let mut grants = changes.iter().filter_map(|change| match &change.deed {
                Deed::Add(Add { key, clock, .. }) if *key == own => {
                    Some((hash::change(room, change), *clock))
                }
                _ => None,
            });
            let (grant, clock) = grants.find(|(grant, _)| Some(*grant) != before)?;
            Some((room, ChainName { author: own, grant, epoch: 7 }, clock))
        })
    }

    fn link(&self, member: &mut Member) -> RawPeer {
        let hello = Hello { room: true, ..self.hello.clone() };
        RawPeer::insist(member.client(), &self.account.key, &hello).0
    }

    /// An entry that names no causes, behind the one with this number and hash; signed, and its own hash.
    fn entry(&self, (number, previous): (u64, Hash), kind: EntryKind, body: &str) -> (Peer, (u64, Hash)) {
        let number = number + 1;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let sent = i64::try_from(now.as_millis()).unwrap();
        let clock = self.clock + number;
        let entry = Entry { clock, kind, sent, causes: Vec::new(), body: body.into() };
        let end = hash::entry(self.room, &self.chain, number, previous, &entry.header());
        let signature = self.account.key.sign(&hash::head(end));
        let run = Run { chain: self.chain, first: number, previous, entries: vec![entry], signature };
        let about = AboutRoom { room: self.room, says: RoomSays::Run(run) };
        (Peer::Room(Box::new(about)), (number, end))
    }
}

/// Waits until a run is dealt with, whatever has become of it.
fn is_dealt_with(link: &mut RawPeer) {
    link.wait("an answer to a run", |said| match said {
        Peer::Room(about) => matches!(about.says, RoomSays::Got(_)).then_some(()),
        _ => None,
    });
}

/// Waits until one of them hands on the proof against this chain, in which two entries have this number.
fn is_proved(link: &mut RawPeer, chain: ChainName, number: u64) {
    link.wait("a proof", |said| match said {
        Peer::Room(about) => match &about.says {
            RoomSays::Proof(it) => {
                let firsts = [Some(&it.one), it.other.as_ref()].map(|stretch| stretch.map(|it| it.first));
                (it.chain == chain && firsts == [Some(number); 2]).then_some(())
            }
            _ => None,
        },
        _ => None,
    });
}

fn is_forked(member: &mut Member) {
    member.until("member", |event| event["user"] == "mallory" && event["state"] == "forked");
}

/// Of the honest members all is final, and with all of them; of the other it stays where it is.
fn is_settled(line: &Line) -> bool {
    line.is_final && (line.from() == "mallory" || line.is_with_all(3))
}

#[test]
fn who_tells_members_different_things_is_out() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut members = in_room(directory.path(), discovery.address, &["alice", "bob", "carol"]);
    all_linked(&mut members);
    let [alice, bob, carol] = &mut members[..] else { unreachable!() };
    let (mut mallory, mut to_alice) = Mallory::invited(alice, discovery.address);
    let (join, joined) = mallory.entry((0, Hash::default()), EntryKind::JOIN, "");
    to_alice.say(&[join]).unwrap();
    for member in [&mut *alice, &mut *bob, &mut *carol] {
        member.until("member", |event| event["user"] == "mallory" && event["state"] == "joined");
    }
    let mut to_bob = mallory.link(bob);
    let mut to_carol = mallory.link(carol);
    let (one, after_one) = mallory.entry(joined, EntryKind::TEXT, "I vote for it");
    let (other, after_other) = mallory.entry(joined, EntryKind::TEXT, "I vote against it");
    to_bob.say(&[one]).unwrap();
    to_carol.say(&[other]).unwrap();
    for member in [&mut *alice, &mut *bob, &mut *carol] {
        is_forked(member);
        assert_eq!(member.line_of("mallory")["state"], "forked");
    }
    // It is shown what they have found.
    is_proved(&mut to_alice, mallory.chain, 2);

    // The room goes on, and counts those who are honest. Nothing later of either tale is taken.
    let said = bob.chat("what was that?");
    bob.is_told_of_all(&said, 3);
    let before = agree(&mut members, is_settled);
    let tales = before.iter().filter(|line| line.from() == "mallory").count();
    assert!((1..=2).contains(&tales), "{before:?}");
    for (member, after) in [(1, after_one), (2, after_other), (0, after_one)] {
        let mut link = mallory.link(&mut members[member]);
        link.say(&[mallory.entry(after, EntryKind::TEXT, "and more").0]).unwrap();
        is_dealt_with(&mut link);
    }
    let said = members[2].chat("on we go");
    members[2].is_told_of_all(&said, 3);
    let after = agree(&mut members, is_settled);
    assert_eq!(after.len(), before.len() + 1, "{after:?}");
    assert_eq!(after.last().unwrap().text, "on we go");
    for member in &mut members {
        assert_eq!(member.state(), "joined");
        member.kill();
        member.begin();
    }
    // It stays so for those who start again, and where it is invited anew it is in again.
    all_linked(&mut members);
    assert_eq!(agree(&mut members, is_settled), after);
    let mut link = mallory.link(&mut members[0]);
    let (_, chain, clock) =
        Mallory::is_invited(&mallory.account, &mut members[0], &mut link, Some(mallory.chain.grant));
    (mallory.chain, mallory.clock) = (chain, clock);
    link.say(&[mallory.entry((0, Hash::default()), EntryKind::JOIN, "").0]).unwrap();
    for member in &mut members {
        member.until("member", |event| event["user"] == "mallory" && event["state"] == "joined");
        assert_eq!(member.line_of("mallory")["state"], "joined");
    }
    let said = members[1].chat("behave");
    members[1]
        .until("delivered", |event| event["id"] == said.1.as_str() && event["have"] == 3 && event["of"] == 4);
}
