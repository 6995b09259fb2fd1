//! How far long work has come, as prompts show it.

use super::super::super::notice::Work;
use super::*;

/// What the prompts of these actions show of long work.
fn shown(actions: &[Action]) -> Vec<Option<Work>> {
    let shown = actions.iter().filter_map(|action| match action {
        Action::Prompt(prompt) => Some(prompt.work.clone()),
        _ => None,
    });
    shown.collect()
}

/// Bob says so many in each of these steps of a tenth of a second.
fn receive(world: &mut World, steps: u64, each: u64) -> Vec<Option<Work>> {
    let mut all = Vec::new();
    for step in 0..steps {
        world.wait(100);
        let many: Vec<_> = (1..=each).map(|number| message(8, step * each + number, "word")).collect();
        all.extend(shown(&world.says(1, &many)));
    }
    all.dedup();
    all
}

#[test]
fn what_comes_in_by_the_thousand_is_counted_after_a_second_until_it_is_over() {
    let mut world = World::linked(1);
    let mut all = receive(&mut world, 30, 100);
    assert_eq!(all.remove(0), None);
    let counts: Vec<u64> = all
        .into_iter()
        .map(|work| match work {
            Some(Work::Receiving { from, count, of: None }) if from == name("bob").into() => count,
            other => panic!("{other:?}"),
        })
        .collect();
    // Twice a second, and not in the first one.
    assert!(counts.windows(2).all(|pair| pair[0] + 500 == pair[1]), "{counts:?}");
    assert!(counts.len() >= 4 && counts[0] > 1_000 && counts[0] <= 1_600, "{counts:?}");
    let mut last = Vec::new();
    for _ in 0..10 {
        let next = world.node.deadline().since(world.now.mono);
        assert!(next > Duration::ZERO);
        last.extend(shown(&world.later(next.as_millis().try_into().unwrap())));
    }
    assert_eq!(last.last(), Some(&None), "it is over");
}

#[test]
fn a_usual_talk_is_no_long_work() {
    let mut world = World::linked(1);
    assert_eq!(receive(&mut world, 40, 10), [None]);
    // Many at once, and a pause.
    world.wait(5_000);
    let many: Vec<_> = (401..=2_000).map(|number| message(8, number, "word")).collect();
    assert_eq!(shown(&world.says(1, &many)), [None]);
    assert!(shown(&world.later(5_000)).iter().all(Option::is_none));
}

#[test]
fn a_search_tells_how_much_it_waits_for() {
    let mut world = World::linked(1);
    let many: Vec<_> = (1..=2_000).map(|number| message(8, number, "word")).collect();
    world.says(1, &many);
    world.types("SEARCH word");
    let mut all = Vec::new();
    while !world.notices.iter().any(|notice| matches!(notice, Notice::Found { .. })) {
        assert!(all.len() < 100);
        all.extend(shown(&world.later(400)));
    }
    all.extend(shown(&world.later(1_000)));
    assert_eq!(all.pop(), Some(None));
    let done = all.into_iter().map(|work| match work {
        Some(Work::Searching { done, of: 2_000 }) => done,
        other => panic!("{other:?}"),
    });
    let done: Vec<u64> = done.collect();
    assert!(done.len() >= 2 && done.is_sorted_by(|one, next| one < next), "{done:?}");
    assert!(done[0] > 0 && *done.last().unwrap() < 2_000, "{done:?}");
}
