//! What was written to nobody is given back, and only then forgotten.

use super::*;

impl World {
    /// One transaction, committed, whose notices nobody reads.
    fn unread_step(&mut self, inputs: &[Input]) -> Vec<Action> {
        self.journal.begin().unwrap();
        inputs.iter().for_each(|input| self.node.handle(self.now, &self.journal, input).unwrap());
        self.node.finish(self.now, &self.journal).unwrap();
        self.journal.commit().unwrap();
        self.node.committed()
    }
}

fn unknown(who: &str) -> ToClient {
    ToClient::NoSuchUser(About { name: name(who) })
}

fn says(said: ToClient) -> Input {
    Input::RendezvousSays(SESSION, vec![said])
}

#[test]
fn all_that_was_written_to_nobody_is_given_back_before_it_is_forgotten() {
    let mut world = World::online();
    world.types("REQUEST ghost");
    let text = "x".repeat(MAX_TEXT);
    for _ in 0..400 {
        world.types(&format!("CHAT ghost {text}"));
    }
    let ghost = About { name: name("ghost") };
    // Far more than the console is given at once: the rest waits in the journal for it to be written.
    world.discovery(&[ToClient::NoSuchUser(ghost)]);
    world.types("CHAT ghost more");
    assert!(world.errors().contains(&Code::NotAContact));
    (0..10).for_each(|_| _ = world.step(&[]));
    let given_back = world.errors().iter().filter(|code| **code == Code::Undeliverable).count();
    assert_eq!(given_back, 400);
    assert_eq!(world.journal.contacts().unwrap(), []);
}

#[test]
fn somebody_who_registers_a_moment_too_late_is_a_contact_all_the_same() {
    let mut world = World::online();
    world.types("REQUEST bob");
    world.types("CHAT bob hello?");
    // Both in one transaction: there was no such user, and now there is.
    let messages = [ToClient::NoSuchUser(About { name: name("bob") }), status("bob", BOB, true)];
    world.discovery(&messages);
    // What was given back is not sent, and discovery is asked for what it has said of bob.
    assert_eq!(world.errors(), [Code::NoSuchUser, Code::Undeliverable]);
    let asked = |action: &Action| matches!(action, Action::TellDiscovery(_, said) if matches!(said[..], [ToDiscovery::Request(_)]));
    assert!(world.step(&[]).iter().any(asked));
    world.discovery(&[status("bob", BOB, true)]);
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
    world.journal.begin().unwrap();
    let unknown = Input::RendezvousSays(SESSION, vec![ToClient::NoSuchUser(About { name: name("ghost") })]);
    world.node.handle(world.now, &world.journal, &unknown).unwrap();
    world.node.finish(world.now, &world.journal).unwrap();
    world.journal.commit().unwrap();
    assert!(world.node.committed().iter().any(|action| matches!(action, Action::Print(_))));
    // Killed before the console has written it; and meanwhile somebody has taken the name.
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
fn that_there_is_no_such_user_is_told_after_a_transaction_that_failed() {
    let mut world = World::online();
    world.types("REQUEST ghost");
    let text = "x".repeat(MAX_TEXT);
    // More than is given back in one transaction.
    (0..400).for_each(|_| _ = world.types(&format!("CHAT ghost {text}")));
    let unknown = || ToClient::NoSuchUser(About { name: name("ghost") });
    world.fail(&[Input::RendezvousSays(SESSION, vec![unknown()])]);
    assert_eq!(world.errors(), []);
    world.later(2_000);
    world.step(&[Input::RendezvousUp { session: SESSION + 1, key: PublicKey([9; 32]) }]);
    let registered = ToClient::Registered(Registered { address: address(1) });
    world.step(&[Input::RendezvousSays(SESSION + 1, vec![registered, ToClient::Synced, unknown()])]);
    assert_eq!(world.errors().first(), Some(&Code::NoSuchUser));
    (0..10).for_each(|_| _ = world.step(&[]));
    assert_eq!(world.journal.contacts().unwrap(), []);
}

#[test]
fn who_is_to_be_forgotten_is_forgotten_after_a_failed_transaction_too() {
    let mut world = World::online();
    world.step(&[typed("REQUEST ghost"), typed("CHAT ghost one")]);
    world.unread_step(&[says(unknown("ghost"))]);
    // It was written, and that it is forgotten can't be saved.
    world.fail(&[Input::Printed, Input::Printed, Input::Printed]);
    assert_eq!(world.journal.contacts().unwrap().len(), 1);
    (0..4).for_each(|_| _ = world.step(&[]));
    assert_eq!(world.journal.contacts().unwrap(), []);
}
