//! What is known about a contact: presence, why they can't be reached, whether their key was compared.

use super::super::super::event::Problem;
use super::super::super::notice::{ContactLine, Look, Reason};
use super::*;

impl World {
    fn line(&mut self) -> ContactLine {
        self.types("CONTACTS");
        match self.notices.last() {
            Some(Notice::Contacts { contacts }) => contacts[0].clone(),
            other => panic!("{other:?}"),
        }
    }

    fn code(&mut self) -> (String, bool) {
        self.types("VERIFY bob");
        match self.notices.last() {
            Some(Notice::Verification { code, verified, .. }) => (code.clone(), *verified),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_link_that_died_in_silence_was_seen_when_it_was_last_heard() {
    let mut world = World::linked(1);
    world.step(&[Input::RendezvousClosed(SESSION)]);
    world.later(millis(DEAD_AFTER) + 5);
    // That is saved, some time later.
    world.later(millis(LAZY_SAVE) + 1);
    world.restart(2);
    let line = world.line();
    assert_eq!((line.presence, line.linked, line.last_seen), (None, false, Some(1_000_000)));
}

#[test]
fn leaving_saves_who_was_there() {
    let mut world = World::linked(1);
    world.wait(7);
    world.types("LOGOUT");
    assert_eq!(world.journal.contacts().unwrap()[0].whereabouts.seen, Some(1_000_007));
}

#[test]
fn a_contact_is_verified_by_the_code_and_by_no_other() {
    let mut world = World::with_bob();
    let (code, verified) = world.code();
    assert!(!verified);
    let wrong: String = code.chars().rev().collect();
    world.types(&format!("VERIFY bob {wrong}"));
    assert_eq!(world.errors(), [Code::WrongCode]);
    assert!(!world.line().verified);
    // It can't be saved, and so it is not so.
    world.fail(&[typed(&format!("VERIFY bob {code}"))]);
    assert!(!world.line().verified);
    world.types(&format!("VERIFY bob {code}"));
    assert!(world.line().verified);
    world.restart(2);
    assert!(world.line().verified);
    // Another key is not the one that was compared; what was known is said louder.
    world.step(&[]);
    world.register(SESSION, &[status("bob", OTHER, 4000, true)]);
    let loud = world.notices.iter().any(|notice| {
        matches!(notice, Notice::Error(error) if error.code == Code::KeyChanged && error.message.starts_with("WARNING"))
    });
    assert!(loud, "{:?}", world.notices);
    world.types(&format!("TRUST bob {OTHER}"));
    assert!(!world.line().verified);
    assert_ne!(world.code().0, code);
    world.types("REQUEST carol");
    world.types("VERIFY carol");
    assert_eq!(world.errors().last(), Some(&Code::UnknownKey));
}

#[test]
fn one_who_asks_and_looks_like_a_contact_is_pointed_out() {
    let mut world = World::with_bob();
    world.discovery(&[status("b0b", OTHER, 4000, true), status("carol", PublicKey([9; 32]), 4000, true)]);
    let resembles: Vec<_> = world
        .notices
        .iter()
        .filter_map(|notice| match notice {
            Notice::Request { from, resembles, .. } => {
                Some((from.as_str(), resembles.as_ref().map(Name::as_str)))
            }
            _ => None,
        })
        .collect();
    assert_eq!(resembles[resembles.len() - 2..], [("b0b", Some("bob")), ("carol", None)]);
}

#[test]
fn who_is_linked_is_called_offline_only_once_the_link_is_gone() {
    let mut world = World::linked(1);
    let told = |world: &mut World| -> Vec<_> {
        let presence = |notice| match notice {
            Notice::Presence { state, .. } => Some(state.word()),
            Notice::Link { state, .. } => Some(if state == UpDown::Up { "up" } else { "down" }),
            _ => None,
        };
        std::mem::take(&mut world.notices).into_iter().filter_map(presence).collect()
    };
    told(&mut world);
    // Discovery has been started again, and bob has not yet registered with it.
    world.step(&[Input::RendezvousClosed(SESSION)]);
    world.later(3_000);
    world.register(SESSION + 1, &[status("bob", BOB, 4000, false)]);
    assert_eq!(told(&mut world), [""; 0]);
    let mut text = Vec::new();
    Notice::Contacts { contacts: vec![world.line()] }.write_text(&Look::default(), &mut text);
    assert!(!String::from_utf8(text).unwrap().contains("offline"));
    world.step(&[Input::RendezvousSays(SESSION + 1, vec![status("bob", BOB, 4000, true)])]);
    assert_eq!(told(&mut world), ["online"]);
    world.step(&[Input::RendezvousSays(SESSION + 1, vec![status("bob", BOB, 4000, false)])]);
    assert_eq!(told(&mut world), [""; 0]);
    world.step(&[Input::LinkClosed(1)]);
    assert_eq!(told(&mut world), ["down", "offline"]);
    world.step(&[Input::RendezvousSays(SESSION + 1, vec![status("bob", BOB, 4000, true)])]);
    assert_eq!(told(&mut world), ["online"]);
}

#[test]
fn why_tells_what_is_planned_where_no_dial_is() {
    let why = |world: &mut World| {
        world.types("WHY bob");
        let Some(notice @ Notice::Why(why)) = world.notices.last() else { panic!() };
        let mut text = Vec::new();
        notice.write_text(&Look::default(), &mut text);
        let text = String::from_utf8(text).unwrap();
        let plan = text.lines().find(|line| line.starts_with("  this client")).unwrap().to_owned();
        (why.dialling, why.next_dial, plan)
    };
    // A newer client of bob's has taken the link over, and only discovery can say where it is.
    let mut world = World::linked(1);
    world.step(&[Input::RendezvousClosed(SESSION)]);
    world.says(1, &[Peer::Bye(Bye { reason: ByeReason::SUPERSEDED })]);
    let (dialling, next, plan) = why(&mut world);
    assert_eq!((dialling, next), (false, None));
    assert!(plan.contains("tries discovery again at") && plan.ends_with("and then looks for bob"), "{plan}");
    world.later(60_000);
    assert!(why(&mut world).2.contains("tries discovery now, and then looks for bob"));
    world.register(SESSION + 1, &[]);
    assert!(why(&mut world).0, "he is dialled");
    // No address is known, and discovery is asked to help.
    let mut world = World::online();
    let nowhere = |online| match status("bob", BOB, 4000, online) {
        ToClient::Status(status) => ToClient::Status(Status { address: None, ..status }),
        other => other,
    };
    world.discovery(&[nowhere(true)]);
    let (dialling, next, plan) = why(&mut world);
    assert!(!dialling && next > Some(world.now.wall) && plan.contains("dials again at"), "{plan}");
    world.later(5_000);
    assert!(why(&mut world).0, "discovery has both sides open a way");
}

#[test]
fn why_says_how_things_are_at_the_moment() {
    let mut world = World::linked(1);
    let why = |world: &mut World| {
        world.types("WHY bob");
        match world.notices.last() {
            Some(Notice::Why(why)) => (why.reason, why.contact.waiting, why.dialling),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(why(&mut world), (Reason::Linked, 0, false));
    world.says(1, &[Peer::Bye(Bye { reason: ByeReason::LOGOUT })]);
    assert_eq!(dials(&world.later(3_000)), 0, "he left, so there is no hurry");
    assert_eq!(dials(&world.types("CHAT bob x")), 1);
    assert_eq!(why(&mut world), (Reason::Dialling, 1, true));
    let problems = vec![(address(4000).into(), Problem::Other("refused".into()))];
    world.step(&[Input::DialFailed { contact: world.bob(), problems }]);
    assert_eq!(why(&mut world), (Reason::NoAnswer, 1, false));
    world.types("WHY carol");
    assert_eq!(world.errors(), [Code::NotAContact]);
}
