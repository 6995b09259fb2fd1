//! What is known about a contact: presence, why they can't be reached, whether their key was compared.

use super::super::super::notice::{ContactLine, Look, Reason, Why};
use super::*;

const OTHER: PublicKey = PublicKey([8; 32]);

impl World {
    fn why(&mut self) -> Why {
        self.types("WHY bob");
        match self.notices.last() {
            Some(Notice::Why(why)) => (**why).clone(),
            other => panic!("{other:?}"),
        }
    }

    fn line(&mut self) -> ContactLine {
        self.types("CONTACTS");
        match self.notices.last() {
            Some(Notice::Contacts { contacts }) => contacts[0].clone(),
            other => panic!("{other:?}"),
        }
    }

    fn passes(&mut self, ms: u64) {
        self.wait(ms);
        self.now.wall += i64::try_from(ms).unwrap();
    }

    fn code(&mut self) -> (String, bool) {
        self.types("VERIFY bob");
        match self.notices.last() {
            Some(Notice::Verification { code, verified, .. }) => (code.clone(), *verified),
            other => panic!("{other:?}"),
        }
    }
}

fn offline() -> ToClient {
    ToClient::Status(Status {
        name: name("bob"),
        key: BOB,
        address: Some(address(4000)),
        online: false,
        asks: false,
    })
}

#[test]
fn presence_says_what_is_known_and_since_when() {
    let mut world = World::with_bob();
    let online = world.line();
    assert_eq!((online.presence_since, online.last_seen, online.linked_since), (Some(1_000_000), None, None));
    world.passes(10);
    world.link(1, false, 1, &[]);
    assert_eq!(world.line().linked_since, Some(1_000_010));
    world.passes(10);
    world.step(&[Input::LinkClosed(1)]);
    world.passes(10);
    world.discovery(&[offline()]);
    let gone = world.line();
    assert_eq!((gone.presence_since, gone.last_seen), (Some(1_000_030), Some(1_000_030)));
    world.later(millis(LAZY_SAVE) + 1);
    world.restart(2);
    world.step(&[]);
    let after = world.line();
    assert_eq!((after.presence, after.presence_since, after.last_seen), (None, None, Some(1_000_030)));
}

#[test]
fn a_link_that_died_in_silence_was_seen_when_it_was_last_heard() {
    let mut world = World::linked(1);
    world.step(&[Input::RendezvousClosed(SESSION)]);
    world.passes(millis(DEAD_AFTER) + 5);
    world.step(&[]);
    assert_eq!(world.line().last_seen, Some(1_000_000));
}

#[test]
fn leaving_saves_who_was_there() {
    let mut world = World::linked(1);
    world.passes(7);
    world.types("LOGOUT");
    assert_eq!(world.journal.contacts().unwrap()[0].whereabouts.seen, Some(1_000_007));
}

#[test]
fn why_names_the_one_thing_that_explains_it() {
    let mut world = World::linked(1);
    assert_eq!(world.why().reason, Reason::Linked);
    world.passes(5);
    world.says(1, &[Peer::Bye(Bye { reason: ByeReason::LOGOUT })]);
    let why = world.why();
    assert_eq!(why.goodbye.unwrap().at, 1_000_005);
    world.types("CHAT bob x");
    world.passes(3_000);
    assert_eq!(dials(&world.step(&[])), 1);
    let why = world.why();
    assert!(why.dialling && why.next_dial.is_some());
    assert_eq!((why.reason, why.contact.waiting), (Reason::Dialling, 1));
    let contact = world.bob();
    let refused = Problem::Other("connection refused".into());
    world.step(&[Input::DialFailed { contact, problems: vec![(address(4000), refused.clone())] }]);
    let why = world.why();
    assert_eq!(why.reason, Reason::NoAnswer);
    let [place] = &why.addresses[..] else { panic!("{why:?}") };
    assert_eq!((place.address, place.worked, place.told), (address(4000), true, true));
    assert_eq!((place.tried, place.problem.as_deref()), (Some(1_003_005), Some("connection refused")));
    assert!(!why.dialling && why.next_dial > Some(1_003_005));
    world.discovery(&[offline()]);
    assert_eq!(world.why().reason, Reason::Offline);
    world.step(&[Input::RendezvousClosed(SESSION)]);
    let why = world.why();
    assert_eq!((why.reason, why.discovery.state), (Reason::DiscoveryDown, UpDown::Down));
    let mut text = Vec::new();
    Notice::Why(Box::new(why)).write_text(&Look::default(), &mut text);
    let text = String::from_utf8(text).unwrap();
    let first = "* discovery is not reachable (it closed the connection), and bob does not answer at 127.0.0.1:4000: connection refused\n";
    assert!(text.starts_with(first), "{text}");
    world.types("BLOCK bob");
    let why = world.why();
    assert_eq!((why.reason, why.next_dial), (Reason::Blocked, None));
    world.types("WHY carol");
    assert_eq!(world.errors(), [Code::NotAContact]);
}

#[test]
fn why_tells_that_somebody_takes_no_link() {
    let mut world = World::with_bob();
    let contact = world.bob();
    let up = Input::LinkUp {
        link: 1,
        key: BOB,
        dialled: Some(contact),
        route: Route::Direct { remote: address(4000) },
        budget: 1 << 20,
    };
    world.step(&[up]);
    world.says(1, &[Peer::Bye(Bye { reason: ByeReason::NOT_ACCEPTED })]);
    assert_eq!(world.why().reason, Reason::NotAccepted);
    world.types("REQUEST carol");
    world.types("WHY carol");
    let Some(Notice::Why(why)) = world.notices.last() else { panic!() };
    assert_eq!(why.reason, Reason::UnknownKey);
    world.discovery(&[status("bob", OTHER, true)]);
    assert_eq!(world.why().reason, Reason::KeyChanged);
}

fn failed(world: &World, port: u16) -> Input {
    let problem = Problem::Other("connection refused".into());
    Input::DialFailed { contact: world.bob(), problems: vec![(address(port), problem)] }
}

#[test]
fn why_speaks_of_nothing_that_was_before_the_last_link() {
    let mut world = World::with_bob();
    world.step(&[failed(&world, 4000)]);
    assert_eq!(world.why().reason, Reason::NoAnswer);
    world.link(1, false, 1, &[]);
    world.step(&[Input::LinkClosed(1)]);
    let why = world.why();
    assert_eq!((why.reason, &why.addresses[0].problem), (Reason::Dialling, &None));
    // Bob blocks, and thinks better of it.
    world.link(2, false, 1, &[]);
    world.says(2, &[Peer::Bye(Bye { reason: ByeReason::NOT_ACCEPTED })]);
    assert_eq!(world.why().reason, Reason::NotAccepted);
    world.link(3, false, 1, &[]);
    world.step(&[Input::LinkClosed(3)]);
    let why = world.why();
    assert_eq!((why.reason, why.goodbye), (Reason::Dialling, None));
}

#[test]
fn why_counts_no_attempt_where_they_are_not_any_more() {
    let mut world = World::with_bob();
    world.step(&[failed(&world, 4000)]);
    let moved =
        Status { name: name("bob"), key: BOB, address: Some(address(4001)), online: true, asks: false };
    world.discovery(&[ToClient::Status(moved)]);
    assert_eq!(world.why().reason, Reason::Dialling);
    world.step(&[failed(&world, 4001)]);
    let why = world.why();
    assert_eq!((why.reason, why.addresses.len()), (Reason::NoAnswer, 2));
    let mut text = Vec::new();
    Notice::Why(Box::new(why)).write_text(&Look::default(), &mut text);
    let text = String::from_utf8(text).unwrap();
    let first =
        "* bob does not answer at 127.0.0.1:4001: connection refused, but discovery says bob is online\n";
    assert!(text.starts_with(first), "{text}");
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
    world.step(&[Input::RendezvousUp { session: SESSION, key: PublicKey([9; 32]) }]);
    world.discovery(&[ToClient::Registered(Registered { address: address(1) }), status("bob", OTHER, true)]);
    let loud = world.notices.iter().any(|notice| {
        matches!(notice, Notice::Error(error) if error.code == Code::KeyChanged && error.message.starts_with("WARNING"))
    });
    assert!(loud, "{:?}", world.notices);
    world.types("TRUST bob");
    assert!(!world.line().verified);
    assert_ne!(world.code().0, code);
    world.types("REQUEST carol");
    world.types("VERIFY carol");
    assert_eq!(world.errors().last(), Some(&Code::UnknownKey));
}
