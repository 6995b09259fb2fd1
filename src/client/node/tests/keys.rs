//! What discovery says of keys.

use super::support::DISCOVERY;
use super::*;
use crate::client::event::Problem;
use crate::client::verification;

fn asks(actions: &[Action], question: &ToDiscovery) -> bool {
    let asks =
        |action: &Action| matches!(action, Action::TellDiscovery(_, said) if said[..] == [question.clone()]);
    actions.iter().any(asks)
}

#[test]
fn another_key_is_refused_until_it_is_trusted() {
    let mut world = World::with_bob();
    world.types("CHAT bob secret");
    world.discovery(&[status("bob", OTHER, 4000, true), status("bob", OTHER, 4000, true)]);
    assert_eq!(world.errors(), [Code::KeyChanged], "said once");
    world.step(&[proved(1, OTHER, None), Input::LinkSays(1, vec![hello(1, &[])])]);
    let actions = world.discovery(&[ToClient::Identity(Identity { key: OTHER, name: Some(name("bob")) })]);
    assert!(closed(&actions, 1) && texts(&actions, 1).is_empty());
    for digits in ["", "08", "0"] {
        world.types(&format!("TRUST bob {digits}"));
    }
    assert_eq!((world.errors().len(), world.key()), (4, Some(BOB)), "too few digits");
    world.types(&format!("TRUST bob {OTHER}"));
    let actions = world.step(&[proved(2, OTHER, None), Input::LinkSays(2, vec![hello(1, &[])])]);
    assert_eq!(texts(&actions, 2), ["secret"]);
    // The old key's holder is a stranger now.
    let actions = world.step(&[proved(3, BOB, None), Input::LinkSays(3, vec![hello(1, &[])])]);
    assert!(asks(&actions, &ToDiscovery::Identify(Identify { key: BOB })));
}

#[test]
fn a_key_that_the_user_does_not_mean_or_another_contact_has_is_not_trusted() {
    let mut world = World::with_bob();
    world.types("REQUEST carol");
    world.discovery(&[status("bob", OTHER, 4000, true), status("carol", BOB, 4000, false)]);
    world.types("TRUST bob 0909 0909 0909 0909");
    world.types(&format!("TRUST carol {BOB}"));
    assert_eq!((world.errors(), world.key()), (vec![Code::KeyChanged; 4], Some(BOB)));
    world.types("TRUST bob 0808 0808 0808 0808");
    assert_eq!(world.key(), Some(OTHER));
}

#[test]
fn the_code_that_the_other_sees_names_a_key_too() {
    let mut world = World::with_bob();
    world.discovery(&[status("bob", OTHER, 4000, true)]);
    let code = |key| verification::grouped(&verification::code(OWN, key));
    world.types(&format!("TRUST bob {}", code(BOB)));
    assert_eq!(world.key(), Some(BOB), "that is the code of the old key");
    world.types(&format!("TRUST bob {}", code(OTHER)));
    assert_eq!(world.key(), Some(OTHER));
}

#[test]
fn a_trusted_key_of_discovery_is_kept_and_is_not_trusted_while_the_disk_fails() {
    let mut world = World::with_bob();
    world.step(&[Input::RendezvousClosed(SESSION)]);
    world.later(2_000);
    world.step(&[Input::RendezvousFailed(support::missed(Problem::WrongKey {
        expected: DISCOVERY,
        found: Some(OTHER),
    }))]);
    assert_eq!(world.errors(), [Code::KeyChanged]);
    let line = format!("TRUST discovery {OTHER}");
    world.fail(&[typed(&line)]);
    assert_eq!(world.errors(), [Code::KeyChanged, Code::NotSaved]);
    let actions = world.types(&line);
    assert!(matches!(world.notices.last(), Some(Notice::Trusted { fingerprint: OTHER })));
    let dials = |action: &Action| matches!(action, Action::DialRendezvous { key: Some(OTHER), .. });
    assert!(actions.iter().any(dials));
    world.restart(2);
    assert!(world.step(&[]).iter().any(dials));
}

#[test]
fn who_is_not_in_the_answer_to_a_login_is_requested_again() {
    let mut world = World::with_bob();
    world.step(&[Input::RendezvousClosed(SESSION)]);
    let actions = world.later(2_000);
    assert!(
        actions.iter().any(|action| matches!(action, Action::DialRendezvous { key: Some(DISCOVERY), .. }))
    );
    let actions = world.register(SESSION + 1, &[]);
    assert!(asks(
        &actions,
        &ToDiscovery::Request(crate::protocol::rendezvous::Request { name: name("bob"), typed: false })
    ));
}

#[test]
fn a_user_who_is_unblocked_and_blocked_again_at_once_stays_blocked_after_a_restart() {
    for last in ["BLOCK x", "BLOCK y"] {
        let mut world = World::with_bob();
        world.types("BLOCK x");
        world.step(&[typed("UNBLOCK x"), typed(last)]);
        world.restart(2);
        let id = world.node.roster.named(&name(&last[6..])).unwrap();
        assert!(world.node.roster.is_blocked(id), "{last}");
    }
}
