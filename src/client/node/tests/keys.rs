//! What discovery says of keys.

use super::*;

#[test]
fn another_key_is_refused_until_it_is_trusted() {
    const OTHER: PublicKey = PublicKey([8; 32]);
    let mut world = World::with_bob();
    world.types("CHAT bob secret");
    world.discovery(&[status("bob", OTHER, true), status("bob", OTHER, true)]);
    assert_eq!(world.errors(), [Code::KeyChanged], "said once");
    let up = |link| Input::LinkUp {
        link,
        key: OTHER,
        dialled: None,
        route: Route::Direct { remote: address(6) },
        budget: 1 << 20,
    };
    world.step(&[up(1)]);
    let name_of = |key| ToClient::Identity(Identity { key, name: Some(name("bob")) });
    let actions = world.discovery(&[name_of(OTHER)]);
    assert!(closed(&actions, 1) && texts(&actions, 1).is_empty());
    world.types("TRUST bob");
    let actions = world.step(&[up(2), Input::LinkSays(2, vec![hello(1, &[])])]);
    assert_eq!(texts(&actions, 2), ["secret"]);
    // The old key's holder is a stranger now.
    let old = Input::LinkUp {
        link: 3,
        key: BOB,
        dialled: None,
        route: Route::Direct { remote: address(6) },
        budget: 1 << 20,
    };
    let actions = world.step(&[old]);
    assert!(actions.iter().any(
        |action| matches!(action, Action::TellDiscovery(_, said) if matches!(said[..], [ToDiscovery::Identify(_)]))
    ));
}

#[test]
fn discovery_that_names_one_key_for_two_users_changes_nothing() {
    let mut world = World::with_bob();
    world.discovery(&[status("mallory", BOB, true)]);
    assert_eq!(world.node.roster.named(&name("mallory")), None);
    world.types("REQUEST carol");
    world.discovery(&[status("carol", BOB, false)]);
    assert_eq!(world.errors(), [Code::KeyChanged]);
    world.types("TRUST carol");
    assert_eq!(world.key(), Some(BOB));
    assert_eq!(world.node.roster.holder(&BOB), Some(world.bob()));
}

#[test]
fn who_is_not_in_the_answer_to_a_login_is_requested_again() {
    let mut world = World::with_bob();
    world.step(&[Input::RendezvousClosed(SESSION)]);
    let actions = world.later(2_000);
    assert!(actions.iter().any(|action| matches!(action, Action::DialRendezvous(Some(_)))));
    world.step(&[Input::RendezvousUp { session: SESSION + 1, key: PublicKey([9; 32]) }]);
    let says = |messages: Vec<ToClient>| Input::RendezvousSays(SESSION + 1, messages);
    let registered = ToClient::Registered(Registered { address: address(1) });
    let actions = world.step(&[says(vec![registered, ToClient::Synced])]);
    let asked = ToDiscovery::Request(About { name: name("bob") });
    assert!(
        actions
            .iter()
            .any(|action| matches!(action, Action::TellDiscovery(_, said) if said[..] == [asked.clone()]))
    );
}

#[test]
fn trust_of_a_named_key_takes_no_other() {
    let mut world = World::with_bob();
    world.discovery(&[status("bob", PublicKey([8; 32]), true)]);
    world.types("TRUST bob 0909");
    assert_eq!(world.key(), Some(BOB));
    world.types("TRUST bob 0808");
    assert_eq!(world.key(), Some(PublicKey([8; 32])));
}
