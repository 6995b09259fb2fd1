//! Which kinds reach each other without help: those of which one is public.

use std::time::Instant;

use crate::lab::{Kind, Lab, maps};

const BEHIND: [Kind; 9] = [
    Kind::Preserving,
    Kind::Reset,
    Kind::Random,
    Kind::Cone,
    Kind::Firewall,
    Kind::Six,
    Kind::Double,
    Kind::Mapping,
    Kind::Public,
];

#[test]
fn each_kind_dials_a_public_one_and_again_when_its_router_forgets() {
    let Some(lab) = Lab::new() else { return };
    let public = lab.site(Kind::Public);
    let mut bob = public.client("bob");
    let mut others = Vec::new();
    for (number, kind) in BEHIND.into_iter().filter(|kind| *kind != Kind::Mapping || maps()).enumerate() {
        let site = lab.site(kind);
        let name = format!("alice{number}");
        let mut alice = site.client(&name);
        let asked = Instant::now();
        alice.say("REQUEST bob");
        alice.expect_link("bob");
        bob.expect_link(&name);
        println!("{kind} links after {:?}", asked.elapsed());
        alice.say(&format!("CHAT bob from {kind}"));
        bob.expect_message(&name, &format!("from {kind}"));
        alice.expect_delivered(1);
        others.push((site, alice));
    }
    let forgotten = Instant::now();
    for (site, alice) in &mut others {
        site.forget();
        alice.say("CHAT bob again");
    }
    for (site, alice) in &mut others {
        alice.expect_delivered(1);
        println!("{} delivers {:?} after its router forgot", site.kind(), forgotten.elapsed());
    }
    let again = bob.settle().iter().filter(|event| event["text"] == "again").count();
    assert_eq!(again, others.len());
}

#[test]
fn two_behind_routers_do_not_link_yet() {
    let Some(lab) = Lab::new() else { return };
    let [near, far] = [Kind::Preserving, Kind::Cone].map(|kind| lab.site(kind));
    let mut bob = far.client("bob");
    let mut alice = near.client("alice");
    alice.say("REQUEST bob");
    alice.wait("presence", |event| event["peer"] == "bob");
    // By then it has been dialled.
    loop {
        alice.say("WHY bob");
        if alice.wait("why", |_| true)["addresses"][0]["problem"].is_string() {
            break;
        }
    }
    for client in [&mut alice, &mut bob] {
        assert!(!client.settle().iter().any(|event| event["event"] == "link"), "{:#?}", client.log());
    }
}
