//! Who may invite, and who could be taken for another.

use super::*;

fn invitations(net: &Net, who: usize) -> usize {
    net.clients[who].notices.iter().filter(|notice| matches!(notice, Notice::Invite { .. })).count()
}

#[test]
fn invitations_of_strangers_count_among_their_messages() {
    for (standing, all) in [(Standing::Contact, true), (Standing::Stranger, false)] {
        let net = Net::new(2);
        net.introduce(BOB, ALICE, standing);
        let mut net = net.restarted();
        net.link(ALICE, BOB);
        for number in 0..25 {
            net.types(ALICE, &format!("ROOM #room{number}"));
            net.types(ALICE, &format!("INVITE #room{number} bob"));
        }
        let invited = invitations(&net, BOB);
        assert!(if all { invited == 25 } else { (5..=20).contains(&invited) }, "{invited}");
        let stranger = net.clients[BOB]
            .notices
            .iter()
            .any(|notice| matches!(notice, Notice::Invite { stranger, .. } if *stranger));
        assert_eq!(stranger, !all);
    }
}

#[test]
fn a_member_who_is_nothing_else_may_not_invite() {
    let net = Net::new(3);
    net.introduce(CAROL, BOB, Standing::Contact);
    let mut net = net.restarted().with_room();
    net.link_members();
    assert!(net.is_linked(BOB, CAROL));
    net.types(CAROL, "ROOM #trap");
    net.types(CAROL, "INVITE #trap bob");
    assert_eq!((invitations(&net, BOB), net.errors(CAROL)), (1, vec![]), "that of alice");
}

#[test]
fn who_could_be_taken_for_a_contact_is_pointed_out_once() {
    for (contact, warned) in [("bob", 1), ("b0b", 1), ("rob", 0), ("zed", 0)] {
        let net = Net::new(3);
        // Carol's contact is another one than alice's.
        net.introduce_as(CAROL, contact, support::BOB, Standing::Contact);
        let mut net = net.restarted().with_room();
        net.types(BOB, "CHAT #lab hello");
        net.later(1_000);
        assert_eq!(net.errors(CAROL), vec![Code::Impostor; warned], "{contact}");
        let unknown = net.clients[CAROL].notices.iter().find_map(|notice| match notice {
            Notice::Message { unknown, .. } => Some(*unknown),
            _ => None,
        });
        assert_eq!(unknown, Some(contact == "bob"), "{contact}");
        assert!(net.errors(ALICE).is_empty());
    }
}
