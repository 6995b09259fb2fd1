//! What was written to users who do not exist is given back, and only then forgotten.

use super::*;

#[test]
fn somebody_who_registers_a_moment_too_late_is_a_contact_all_the_same() {
    let mut world = World::online();
    world.types("REQUEST bob");
    world.types("CHAT bob hello?");
    // Both in one transaction: there was no such user, and now there is.
    let messages = [no_such_user("bob"), status("bob", BOB, 4000, true)];
    world.discovery(&messages);
    // What was given back is not sent, and discovery is asked for what it has said of bob.
    assert_eq!(world.errors(), [Code::NoSuchUser, Code::Undeliverable]);
    let asked = |action: &Action| matches!(action, Action::TellDiscovery(_, said) if matches!(said[..], [ToDiscovery::Request(_)]));
    assert!(world.step(&[]).iter().any(asked));
    world.discovery(&[status("bob", BOB, 4000, true)]);
    let contact = world.bob();
    world.step(&[Input::DialFailed { contact, problems: vec![] }]);
    assert_eq!(texts(&world.link(1, false, 1, &[]), 1), [""; 0]);
    assert_eq!(world.key(), Some(BOB));
}

#[test]
fn what_was_given_back_to_nobody_s_eyes_is_given_back_again_after_a_kill() {
    let mut world = World::online();
    world.types("REQUEST ghost");
    world.types("CHAT ghost hello?");
    assert!(!world.unprinted(&[says(no_such_user("ghost"))]).is_empty());
    // Killed before the console has written it; and meanwhile the name is taken.
    world.restart(2);
    world.step(&[]);
    assert_eq!(world.errors(), [Code::NoSuchUser, Code::Undeliverable]);
    world.step(&[]);
    assert_eq!(world.journal.contacts().unwrap(), []);
    world.restart(3);
    world.step(&[]);
    assert_eq!(world.errors(), []);
}

#[test]
fn all_that_was_written_to_nobody_is_given_back_before_it_is_forgotten() {
    let mut world = World::online();
    world.types("REQUEST ghost");
    // Far more than the console is given at once: the rest waits in the journal for it to be written.
    let text = "x".repeat(MAX_TEXT);
    (0..400).for_each(|_| _ = world.types(&format!("CHAT ghost {text}")));
    world.fail(&[says(no_such_user("ghost"))]);
    assert_eq!(world.errors(), [], "it is told when it can be saved");
    world.later(2_000);
    world.register(SESSION + 1, &[no_such_user("ghost")]);
    world.types("CHAT ghost more");
    assert!(world.errors().contains(&Code::NotAContact));
    (0..10).for_each(|_| _ = world.step(&[]));
    let given_back = world.errors().iter().filter(|code| **code == Code::Undeliverable).count();
    assert_eq!((world.errors()[0], given_back), (Code::NoSuchUser, 400));
    assert_eq!(world.journal.contacts().unwrap(), []);
}

#[test]
fn who_is_to_be_forgotten_is_forgotten_after_a_failed_transaction_too() {
    let mut world = World::online();
    world.step(&[typed("REQUEST ghost"), typed("CHAT ghost one")]);
    world.commit(&[says(no_such_user("ghost"))]);
    // It was written, and that it is forgotten can't be saved.
    world.fail(&[Input::Printed, Input::Printed, Input::Printed]);
    assert_eq!(world.journal.contacts().unwrap().len(), 1);
    world.step(&[]);
    assert_eq!(world.journal.contacts().unwrap().len(), 1, "the disk is left alone for a while");
    world.later(2_000);
    assert_eq!(world.journal.contacts().unwrap(), []);
}
