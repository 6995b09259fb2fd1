//! Members who lie, with their own keys.

use super::restored::copy;
use super::*;
use crate::protocol::room::{ChainName, Settlement};

/// Four members; what the last says from now on is said by the test.
fn with_mallory() -> (Net, Pen) {
    let mut net = Net::new(4);
    let pen = Pen::of(&net, MALLORY);
    net.part(MALLORY);
    (net, pen)
}

fn all_have(net: &mut Net, count: usize) {
    net.later(30_000);
    let history = net.history(ALICE);
    assert_eq!(history.len(), count, "{history:?}");
    for who in [BOB, CAROL] {
        assert_eq!(net.history(who), history);
    }
    for who in [ALICE, BOB, CAROL] {
        assert!(net.is_settled(who), "{who}: {}", net.explain(who));
        assert_eq!(net.state(who, MALLORY), Some(State::Forked));
        assert_eq!(net.blamed(who), Vec::<&str>::new());
    }
}

#[test]
fn two_entries_under_one_number_come_to_all_in_one_order() {
    let (mut net, pen) = with_mallory();
    let (mut one, mut other) = (pen.clone(), pen);
    net.cut(BOB, CAROL);
    net.cut(ALICE, BOB);
    net.hear(BOB, MALLORY, &one.write(&["for"]));
    net.hear(CAROL, MALLORY, &other.write(&["against"]));
    net.say(BOB, "so it is");
    net.say(CAROL, "so it is not");
    net.link(ALICE, BOB);
    all_have(&mut net, 4);
    // Two entries with one place stand in the order of their hashes.
    let [one, other] = [&one, &other].map(|pen| standing(&net, ALICE, &pen.last).unwrap());
    assert_eq!(one.place, other.place);
    let first = net.history(ALICE).into_iter().find(|text| text == "for" || text == "against");
    assert_eq!(first.unwrap(), if one.hash < other.hash { "for" } else { "against" });
    let told = |effect: &&Effect| matches!(effect, Effect::Member { state: State::Forked, .. });
    for who in [ALICE, BOB, CAROL] {
        assert_eq!(net.members[who].told.iter().filter(told).count(), 1);
    }
    // What it writes now is not taken from itself.
    let mut again = Pen::of(&net, MALLORY);
    let said = again.write(&["hear me"]);
    net.hear(ALICE, MALLORY, &said);
    net.later(10_000);
    assert!(!net.history(ALICE).contains(&"hear me".to_owned()));
}

#[test]
fn branches_that_part_long_ago_come_to_all() {
    let (mut net, mut pen) = with_mallory();
    net.cut(BOB, CAROL);
    let mut said = 0;
    for number in 0..3 {
        let texts: Vec<String> = (0..200).map(|it| format!("{number}-{it}")).collect();
        let run = pen.write(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        [BOB, CAROL].into_iter().for_each(|who| net.hear(who, MALLORY, &run));
        said += 200;
    }
    net.cut(ALICE, BOB);
    let (mut one, mut other) = (pen.clone(), pen);
    for number in 0..3 {
        for (who, pen) in [(BOB, &mut one), (CAROL, &mut other)] {
            let texts: Vec<String> = (0..200).map(|it| format!("{who} {number}-{it}")).collect();
            let run = pen.write(&texts.iter().map(String::as_str).collect::<Vec<_>>());
            net.hear(who, MALLORY, &run);
            said += 200;
        }
    }
    net.link(ALICE, BOB);
    all_have(&mut net, said);
}

#[test]
fn what_was_asked_before_and_comes_late_does_not_make_it_begin_anew() {
    let (mut net, mut pen) = with_mallory();
    let (mut other, first) = (pen.clone(), pen.last.number);
    for run in [pen.write(&["x"; 200]), pen.write(&["x"; 200])] {
        net.hear(ALICE, MALLORY, &run);
    }
    let runs: Vec<AboutRoom> = (0..20).map(|_| other.write(&["y"; 20])).collect();
    net.hear(ALICE, MALLORY, &runs[0]);
    assert_eq!(net.state(ALICE, MALLORY), Some(State::Forked));
    // Bob has the other branch; what he says goes over a link on which nothing arrives at once.
    net.part(BOB);
    let key = net.key(BOB);
    net.act(ALICE, |rooms, cx| rooms.linked(cx, key, 1 << 20).unwrap());
    let have = RoomSays::Have(Have { heads: vec![other.last], joined: true, ..Have::default() });
    let asked = |net: &mut Net| {
        let said = std::mem::take(&mut net.members[ALICE].unsaid).into_iter();
        let pulls = said.filter_map(|says| match says {
            RoomSays::Pull(pull) => Some(pull.chains),
            _ => None,
        });
        pulls.flatten().map(|wanted| wanted.after).collect::<Vec<_>>()
    };
    net.hear(ALICE, BOB, &AboutRoom { room: runs[0].room, says: have });
    assert_eq!(asked(&mut net), [first + 144], "the branches may part there");
    net.hear(ALICE, BOB, &runs[7]);
    assert_eq!(asked(&mut net), [0], "and part earlier");
    // That is on its way, and so is what was asked for first.
    for late in [8, 9, 0, 1] {
        net.hear(ALICE, BOB, &runs[late]);
        assert_eq!(asked(&mut net), [0; 0], "{late}");
    }
    runs[2..8].iter().for_each(|run| net.hear(ALICE, BOB, run));
    assert_eq!(asked(&mut net), [first + 144]);
    runs[7..].iter().for_each(|run| net.hear(ALICE, BOB, run));
    assert_eq!(net.history(ALICE).iter().filter(|text| *text == "y").count(), 400);
}

#[test]
fn a_clock_that_does_not_follow_is_proof() {
    let (mut net, mut pen) = with_mallory();
    net.hear(ALICE, MALLORY, &pen.write(&["one"]));
    pen.clock = 0;
    net.hear(ALICE, MALLORY, &pen.write(&["first of all"]));
    all_have(&mut net, 1);
}

#[test]
fn what_is_proved_by_a_change_that_is_not_here_waits_for_it() {
    let mut net = Net::new(4);
    net.part(CAROL);
    net.kick(MALLORY);
    net.later(1_000);
    net.invite(MALLORY);
    net.later(1_000);
    let mut pen = Pen::of(&net, MALLORY);
    net.part(MALLORY);
    // Its first entry in another epoch does not follow from what it was added with.
    pen.last = Mark { chain: ChainName { epoch: 77, ..pen.last.chain }, number: 0, hash: Hash::default() };
    pen.clock += 100;
    net.hear(ALICE, MALLORY, &pen.write(&["first of all"]));
    assert_eq!(net.state(ALICE, MALLORY), Some(State::Forked));
    let proof = net.members[ALICE].journal.proofs(ROOM).unwrap().remove(0);
    let changes = net.room(ALICE).changes.values().cloned().collect();
    let key = net.key(ALICE);
    net.act(CAROL, |rooms, cx| rooms.linked(cx, key, 1 << 20).unwrap());
    for says in [RoomSays::Proof(Box::new(proof)), RoomSays::Changes(changes)] {
        assert_ne!(net.state(CAROL, MALLORY), Some(State::Forked));
        let about = AboutRoom { room: net.room(CAROL).key(), says };
        net.hear(CAROL, ALICE, &about);
        assert_eq!(net.blamed(CAROL), Vec::<&str>::new());
    }
    assert_eq!(net.state(CAROL, MALLORY), Some(State::Forked));
}

#[test]
fn only_the_owner_s_settlements_count() {
    let (mut net, pen) = with_mallory();
    net.say(BOB, "one");
    net.later(5_000);
    let room = net.room(ALICE);
    let (reign, after, settled) = (Hash(room.key().0), room.row.settlement, room.settled());
    assert!(after.is_some());
    let settlement = |place| {
        let mut body = Vec::new();
        crate::protocol::codec::encode(&Settlement { reign, place, after }, &mut body);
        body
    };
    for place in [settled + 1, settled + 100, u64::MAX] {
        let mut pen = pen.clone();
        // Far enough for its clock not to be what is wrong.
        (0..200).for_each(|_| _ = pen.write(&["x"]));
        let mut pen = Pen { last: Pen::of(&net, MALLORY).last, ..pen };
        pen.clock = Pen::of(&net, MALLORY).clock;
        let run = pen.run(EntryKind::SETTLE, [settlement(place)]);
        let mut alice = copy(&net, ALICE);
        std::mem::swap(&mut alice, &mut net.members[ALICE].journal);
        net.restart(ALICE, None);
        net.hear(ALICE, MALLORY, &run);
        assert!(standing(&net, ALICE, &pen.last).is_some(), "{place}");
        for _ in 0..2 {
            assert_eq!(
                (net.room(ALICE).settled(), net.room(ALICE).row.settlement),
                (settled, after),
                "{place}"
            );
            net.restart(ALICE, None);
        }
        net.restart(ALICE, Some(alice));
    }
}

#[test]
fn who_is_added_again_counts_again_and_is_found_again() {
    let (mut net, pen) = with_mallory();
    let fork = |net: &mut Net, pen: &Pen| {
        let (mut one, mut other) = (pen.clone(), pen.clone());
        net.hear(ALICE, MALLORY, &one.write(&["for"]));
        net.hear(ALICE, MALLORY, &other.write(&["against"]));
    };
    fork(&mut net, &pen);
    all_have(&mut net, 1);
    let key = net.key(MALLORY);
    net.act(ALICE, |rooms, cx| rooms.kick(cx, ROOM, key).unwrap().unwrap());
    (0..3).for_each(|other| net.link(MALLORY, other));
    net.later(3_000);
    net.invite(MALLORY);
    net.later(3_000);
    assert_eq!(net.state(BOB, MALLORY), Some(State::Joined));
    let pen = Pen::of(&net, MALLORY);
    net.part(MALLORY);
    fork(&mut net, &pen);
    all_have(&mut net, 2);
    // Both are known after a restart too.
    let before = net.room(BOB).forked.clone();
    net.restart(BOB, None);
    assert_eq!(net.room(BOB).forked, before);
    assert_eq!(before.get(&key).map(BTreeSet::len), Some(2));
}

#[test]
fn what_was_changed_on_its_way_is_blamed_on_who_brought_it() {
    let (mut net, mut pen) = with_mallory();
    let mut about = pen.write(&["one"]);
    if let RoomSays::Run(run) = &mut about.says {
        run.entries[0].body.push(b'!');
    }
    net.hear(ALICE, BOB, &about);
    assert_eq!(net.blamed(ALICE), ["entries that their author has not signed"]);
    assert_eq!(net.state(ALICE, MALLORY), Some(State::Joined));
}

#[test]
fn an_end_by_the_owner_s_word_is_no_lie_of_who_brings_it() {
    let (mut net, mut pen) = with_mallory();
    let mut about = pen.write(&["one", "two"]);
    net.hear(BOB, MALLORY, &about);
    // Carol does not know yet that mallory was removed, and up to where it is kept.
    if let RoomSays::Run(run) = &mut about.says {
        run.signature = Signature([0; 64]);
    }
    net.hear(CAROL, BOB, &about);
    assert_eq!((net.blamed(CAROL), net.state(CAROL, MALLORY)), (vec![], Some(State::Joined)));
}

#[test]
fn what_is_kept_of_a_removed_liar_is_kept_of_both_branches() {
    let (mut net, pen) = with_mallory();
    let (mut one, mut other) = (pen.clone(), pen);
    net.cut(BOB, CAROL);
    net.cut(ALICE, BOB);
    net.hear(BOB, MALLORY, &one.write(&["for", "for and for"]));
    net.hear(CAROL, MALLORY, &other.write(&["against", "against it", "against it all"]));
    net.link(ALICE, BOB);
    all_have(&mut net, 5);
    let history = net.history(ALICE);
    // More comes to one of them while the owner removes its author.
    net.part(BOB);
    let key = net.key(MALLORY);
    net.act(ALICE, |rooms, cx| rooms.kick(cx, ROOM, key).unwrap().unwrap());
    net.later(2_000);
    [ALICE, CAROL].into_iter().for_each(|other| net.link(BOB, other));
    net.later(30_000);
    for who in [ALICE, BOB, CAROL] {
        assert_eq!(net.history(who), history);
        assert!(net.is_settled(who), "{who}: {}", net.explain(who));
    }
}

#[test]
fn who_shows_a_second_entry_without_knowing_it_is_told() {
    let (mut net, pen) = with_mallory();
    let (mut one, mut other) = (pen.clone(), pen);
    [ALICE, CAROL].into_iter().for_each(|who| net.cut(BOB, who));
    net.hear(BOB, MALLORY, &one.write(&["for"]));
    net.hear(ALICE, MALLORY, &other.write(&["against"]));
    // What Bob does not get by his new invitation he asks for in vain.
    net.kick(BOB);
    net.invite_only(BOB, false);
    net.link(ALICE, BOB);
    net.join(BOB);
    net.later(30_000);
    for who in [ALICE, BOB, CAROL] {
        assert_eq!(net.state(who, MALLORY), Some(State::Forked), "{who}");
        assert!(net.is_settled(who), "{who}: {}", net.explain(who));
    }
    assert_eq!(net.history(BOB), ["for"]);
    assert_eq!(net.members[BOB].rooms.deadline(), Instant::NEVER);
}

#[test]
fn a_branch_goes_on_from_what_an_invitation_leaves_out() {
    let (mut net, pen) = with_mallory();
    let (mut one, mut other) = (pen.clone(), pen);
    net.cut(ALICE, CAROL);
    net.cut(BOB, CAROL);
    let run = one.write(&["for"]);
    [ALICE, BOB].into_iter().for_each(|who| net.hear(who, MALLORY, &run));
    net.hear(CAROL, MALLORY, &other.write(&["against", "against it"]));
    net.part(BOB);
    net.link(ALICE, CAROL);
    net.kick(BOB);
    net.invite_only(BOB, false);
    net.link(ALICE, BOB);
    net.join(BOB);
    net.later(30_000);
    assert_eq!(net.history(BOB), ["for", "against it"]);
    for who in [ALICE, BOB, CAROL] {
        assert!(net.is_settled(who), "{who}: {}", net.explain(who));
    }
}
