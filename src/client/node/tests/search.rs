//! Looking for words.

use super::super::super::command::Reference;
use super::super::super::event;
use super::*;

impl World {
    fn hear_words(&mut self, count: u64) {
        let many: Vec<_> = (1..=count).map(|number| message(8, number, "word")).collect();
        self.says(1, &many);
    }

    /// The last answer to a search, if there is one.
    fn found(&self) -> Option<Vec<String>> {
        let found = self.notices.iter().rev().find_map(|notice| match notice {
            Notice::Found { messages, .. } => Some(messages),
            _ => None,
        });
        let lines = found?.iter().map(|found| match &found.line.text {
            Body::Text(text) => format!("{} {}: {text}", found.peer, found.line.from),
            other => panic!("{other:?}"),
        });
        Some(lines.collect())
    }
}

#[test]
fn what_was_just_said_is_found() {
    let mut world = World::linked(1);
    world.says(1, &[message(8, 1, "the blue boat")]);
    world.step(&[typed("CHAT bob a red boat"), typed("REQUEST carol"), typed("CHAT carol no boats")]);
    world.types("SEARCH boa");
    world.step(&[]);
    world.step(&[]);
    let expected = ["carol alice: no boats", "bob alice: a red boat", "bob bob: the blue boat"];
    assert_eq!(world.found().unwrap(), expected);
    world.types("SEARCH @bob boat blue");
    assert_eq!(world.found().unwrap(), expected[2..]);
    world.types("SEARCH boat @dave");
    assert_eq!(world.errors(), [Code::NotAContact]);
    // Who does not exist is not found.
    world.discovery(&[no_such_user("carol")]);
    world.types("SEARCH boats");
    world.step(&[]);
    assert_eq!(world.found().unwrap(), [""; 0]);
}

#[test]
fn a_search_that_can_not_be_indexed_says_so() {
    let mut world = World::linked(1);
    world.says(1, &[message(8, 1, "one")]);
    world.fail(&[typed("SEARCH one")]);
    assert_eq!(world.errors(), [], "it is still to be looked for");
    world.fail(&[]);
    assert_eq!(world.errors(), [Code::NotSaved]);
    assert!(world.node.search.deadline(|_| false) > world.now.mono, "it is not tried again at once");
    world.link(2, false, 1, &[]);
    world.types("SEARCH one");
    world.step(&[]);
    assert_eq!(world.found().unwrap(), ["bob bob: one"]);
}

#[test]
fn the_end_of_input_waits_for_the_answer() {
    let mut world = World::linked(1);
    world.hear_words(600);
    let mut actions = world.step(&[typed("SEARCH word"), Input::InputEnded]);
    assert_eq!(exit(&actions), None);
    for _ in 0..6 {
        actions.extend(world.step(&[]));
    }
    assert!(exit(&actions).is_some() && world.found().is_some());
}

#[test]
fn every_search_is_answered_however_long_the_answers_are() {
    let mut world = World::linked(1);
    let text = format!("word {}", "x".repeat(MAX_TEXT - 5));
    (1..=20).for_each(|number| _ = world.says(1, &[message(8, number, &text)]));
    world.types("SEARCH word");
    (0..10).for_each(|_| _ = world.step(&[]));
    // One has come too late for the index: the searches wait, and could all be answered at once then.
    world.says(1, &[message(8, 21, "late")]);
    let searches: Vec<_> = (0..64).map(|_| typed("SEARCH word")).collect();
    world.step(&searches);
    let mut told = world.unprinted(&[]);
    assert!(!world.node.fx.output.has_room(event::OWN), "{}", told.len());
    told.extend(world.unprinted(&[]));
    assert!(world.node.deadline() > world.now.mono, "nothing is to be done before something is read");
    let found = |notice: &Notice| matches!(notice, Notice::Found { .. });
    let mut answers = told.iter().filter(|told| found(&told.notice)).count();
    assert!((1..64).contains(&answers), "{answers}");
    // Now it is read.
    (0..2).for_each(|_| world.node.handle(world.now, &world.journal, &Input::Printed).unwrap());
    let before = world.notices.len();
    (0..64).for_each(|_| _ = world.step(&[]));
    answers += world.notices[before..].iter().filter(|notice| found(notice)).count();
    assert_eq!((answers, world.errors()), (64, vec![]));
}

#[test]
fn a_search_that_waits_is_answered_before_the_end() {
    let command = |line: &str, reference| Input::Command {
        command: parse(line).unwrap(),
        reference: Some(Reference::Number(reference)),
    };
    for end in [command("LOGOUT", 3), Input::Signal] {
        let mut world = World::linked(1);
        world.hear_words(2_000);
        world.step(&[command("SEARCH word", 1), command("SEARCH @bob word", 2)]);
        let logout = matches!(end, Input::Command { .. });
        let told = world.unprinted(&[end]).into_iter().map(|Told { notice, reference, .. }| match notice {
            Notice::Error(error) => (Some(error.code), reference),
            Notice::Bye { .. } => (None, reference),
            other => panic!("{other:?}"),
        });
        let told: Vec<_> = told.collect();
        let number = |number| Some(Reference::Number(number));
        let bye = if logout { number(3) } else { None };
        let refused = Some(Code::Refused);
        assert_eq!(told, [(refused, number(1)), (refused, number(2)), (None, bye)]);
    }
    // The same where a transaction fails.
    let mut world = World::linked(1);
    world.hear_words(2_000);
    world.types("SEARCH word");
    world.fail(&[Input::Signal]);
    assert_eq!(world.errors(), [Code::NotSaved]);
    assert!(matches!(world.notices.last(), Some(Notice::Bye { .. })));
}

#[test]
fn who_stays_no_longer_says_what_was_not_looked_for() {
    let mut world = World::linked(1);
    world.node.exit = Value::new(Exit::new(Some(Duration::ZERO)));
    world.hear_words(2_000);
    let actions = world.step(&[typed("SEARCH word"), Input::InputEnded]);
    assert!(matches!(exit(&actions), Some((FAILED, Some(_)))), "{actions:?}");
    assert_eq!(world.errors(), [Code::Refused]);
}
