use super::super::prompt::Completion;
use super::*;
use proptest::prelude::*;

/// Completes a few words; a text is one entry unless it begins with a `/`.
#[derive(Default)]
struct Words;

impl Prompt for Words {
    fn forms(&self) -> Vec<String> {
        vec!["> ".into()]
    }

    fn complete(&self, before: &str) -> Completion {
        let start = before.rfind(' ').map_or(0, |at| at + 1);
        let words = ["bob", "bobby", "carol", "chat"].into_iter();
        let candidates = words.filter(|word| word.starts_with(&before[start..])).map(str::to_owned).collect();
        Completion { start, candidates }
    }

    fn hint(&self, text: &str) -> Option<String> {
        (text == "chat ").then(|| "chat <user> <message>".into())
    }

    fn is_one_entry(&self, text: &str) -> bool {
        !text.starts_with('/')
    }

    fn is_doubtful(&self, entry: &str) -> bool {
        entry == "doubtful"
    }

    fn confirmation(&self, text: &str, entries: usize) -> String {
        format!("{} lines as {entries}?", text.lines().count())
    }
}

fn editor() -> Editor<Words> {
    Editor::new(History::open(None), 1000)
}

fn type_in(editor: &mut Editor<Words>, text: &str) {
    for c in text.chars() {
        assert_eq!(editor.key(Key::Char(c)), Outcome::Nothing);
    }
}

fn enter(editor: &mut Editor<Words>, text: &str) -> Outcome {
    type_in(editor, text);
    editor.key(Key::Enter)
}

fn entered(entries: &[&str]) -> Outcome {
    let entries = entries.iter().map(ToString::to_string).collect();
    Outcome::Event(Event::Entered { entries, asked: false })
}

fn confirmed(entries: &[&str]) -> Outcome {
    let entries = entries.iter().map(ToString::to_string).collect();
    Outcome::Event(Event::Entered { entries, asked: true })
}

#[test]
fn earlier_lines_come_back_and_the_half_typed_one_too() {
    let mut editor = editor();
    for line in ["one", "two", "three"] {
        assert_eq!(enter(&mut editor, line), entered(&[line]));
    }
    type_in(&mut editor, "half");
    for (key, expected) in [
        (Key::Up, "three"),
        (Key::Up, "two"),
        (Key::Up, "one"),
        (Key::Up, "one"),
        (Key::Down, "two"),
        (Key::Down, "three"),
        (Key::Down, "half"),
        (Key::Down, "half"),
    ] {
        editor.key(key);
        assert_eq!(editor.view().text, expected);
    }
}

#[test]
fn a_search_finds_goes_on_and_can_be_given_up() {
    let mut editor = editor();
    for line in ["chat bob one", "contacts", "chat bob two"] {
        enter(&mut editor, line);
    }
    type_in(&mut editor, "half");
    editor.key(Key::Left);
    editor.key(Key::Ctrl('r'));
    type_in(&mut editor, "bob");
    assert_eq!(editor.view().text, "chat bob two");
    editor.key(Key::Ctrl('r'));
    assert_eq!((editor.view().text, editor.view().cursor), ("chat bob one", 5));
    editor.key(Key::Ctrl('r'));
    editor.key(Key::Ctrl('s'));
    assert_eq!(editor.view().text, "chat bob two");
    editor.key(Key::Ctrl('g'));
    assert_eq!((editor.view().text, editor.view().cursor), ("half", 3));
    editor.key(Key::Ctrl('r'));
    type_in(&mut editor, "xyz");
    assert!(editor.view().prompts[0].contains("no match for 'xyz'"));
    for _ in 0..3 {
        editor.key(Key::Backspace);
    }
    type_in(&mut editor, "cont");
    assert_eq!(editor.key(Key::Enter), entered(&["contacts"]));
}

#[test]
fn lines_that_were_pasted_are_asked_about() {
    let paste = |text: &str| Key::Paste(Some(text.into()));
    let mut editor = editor();
    editor.key(paste("one line\n"));
    assert_eq!(editor.key(Key::Enter), entered(&["one line"]));
    editor.key(paste("one\ntwo\u{1b}[A\n\n"));
    assert_eq!(editor.view().text, "one\ntwo[A");
    assert_eq!(editor.key(Key::Enter), Outcome::Nothing);
    assert!(editor.view().below.contains("2 lines as 1?"), "{:?}", editor.view());
    assert_eq!(editor.key(Key::Enter), Outcome::Nothing);
    assert_eq!(editor.key(Key::Char('n')), Outcome::Nothing);
    assert_eq!(editor.view().text, "one\ntwo[A");
    editor.key(Key::Enter);
    assert_eq!(editor.key(Key::Char('y')), confirmed(&["one\ntwo[A"]));
    editor.key(paste("/REQUEST bob\n/CONTACTS"));
    editor.key(Key::Enter);
    assert!(editor.view().below.contains("2 lines as 2?"));
    assert_eq!(editor.key(Key::Char('y')), confirmed(&["/REQUEST bob", "/CONTACTS"]));
    // However they come back.
    let ctrl = |keys: &str| keys.chars().map(Key::Ctrl).collect::<Vec<_>>();
    for (away, back) in [
        (ctrl("c"), '_'),
        ([ctrl("uuu"), vec![Key::Char('x')], ctrl("c")].concat(), 'y'),
        ([ctrl("uuu"), vec![Key::Char('x'), Key::Enter]].concat(), 'y'),
    ] {
        editor.key(paste("one\ntwo"));
        for key in &away {
            editor.key(key.clone());
        }
        editor.key(Key::Ctrl(back));
        assert_eq!(editor.view().text, "one\ntwo", "{away:?}");
        assert_eq!(editor.key(Key::Enter), Outcome::Nothing, "{away:?}");
        assert_eq!(editor.key(Key::Char('y')), confirmed(&["one\ntwo"]));
    }
    // A second line that is typed has been seen.
    type_in(&mut editor, "a");
    editor.key(Key::AltEnter);
    assert_eq!(enter(&mut editor, "b"), entered(&["a\nb"]));
    editor.key(Key::Paste(None));
    assert!(editor.view().below.contains("nothing was pasted"));
}

#[test]
fn tab_completes_or_shows_what_there_is() {
    let mut editor = editor();
    type_in(&mut editor, "cha");
    editor.key(Key::Tab);
    assert_eq!(editor.view().text, "chat ");
    assert!(editor.view().below.starts_with("chat <user> <message>"));
    type_in(&mut editor, "b");
    editor.key(Key::Tab);
    assert_eq!((editor.view().text, editor.view().below.contains("bobby")), ("chat bob", false));
    editor.key(Key::Tab);
    assert_eq!(editor.view().below, "bob  bobby");
    editor.key(Key::Char('b'));
    editor.key(Key::Tab);
    assert_eq!(editor.view().text, "chat bobby ");
}

#[test]
fn a_doubtful_line_is_asked_about_though_it_was_typed() {
    let mut editor = editor();
    assert_eq!(enter(&mut editor, "doubtful"), Outcome::Nothing);
    assert!(editor.view().below.contains("1 lines as 1?"), "{:?}", editor.view());
    assert_eq!(editor.key(Key::Escape), Outcome::Nothing);
    assert_eq!(editor.view().text, "doubtful");
    editor.key(Key::Enter);
    assert_eq!(editor.key(Key::Char('y')), confirmed(&["doubtful"]));
    // Among others.
    type_in(&mut editor, "/x");
    editor.key(Key::AltEnter);
    assert_eq!(enter(&mut editor, "doubtful"), Outcome::Nothing);
    assert_eq!(editor.key(Key::Char('y')), confirmed(&["/x", "doubtful"]));
    assert_eq!(enter(&mut editor, "clear"), entered(&["clear"]));
}

#[test]
fn ctrl_c_and_ctrl_d() {
    let mut editor = editor();
    type_in(&mut editor, "half");
    assert_eq!(editor.key(Key::Ctrl('d')), Outcome::Nothing);
    assert_eq!(editor.key(Key::Ctrl('c')), Outcome::Nothing);
    assert_eq!(editor.view().text, "");
    assert_eq!(editor.key(Key::Ctrl('d')), Outcome::Event(Event::EndOfInput));
    // It asks once, and anew after any other key.
    for other in [Key::Left, Key::Enter, Key::Ctrl('l'), Key::Escape] {
        assert_eq!(editor.key(Key::Ctrl('c')), Outcome::Nothing);
        assert!(editor.view().below.contains("again to leave"), "{:?}", editor.view());
        editor.key(other);
        assert!(!editor.view().below.contains("again to leave"));
    }
    assert_eq!(editor.key(Key::Ctrl('c')), Outcome::Nothing);
    assert_eq!(editor.key(Key::Ctrl('c')), Outcome::Event(Event::Interrupt));
    // What was asked is not answered by the end of a question or of a search.
    editor.key(Key::Ctrl('r'));
    assert_eq!(editor.key(Key::Ctrl('c')), Outcome::Nothing);
    assert_eq!(editor.key(Key::Ctrl('c')), Outcome::Nothing);
    assert_eq!(editor.key(Key::Ctrl('c')), Outcome::Event(Event::Interrupt));
}

proptest! {
    #[test]
    fn no_keys_bring_it_down(keys in prop::collection::vec(prop_oneof![
        4 => any::<char>().prop_map(Key::Char),
        4 => "[ a-zé好]".prop_map(|c| Key::Char(c.chars().next().unwrap())),
        4 => "[a-z_]".prop_map(|c| Key::Ctrl(c.chars().next().unwrap())),
        2 => "[a-z]".prop_map(|c| Key::Alt(c.chars().next().unwrap())),
        1 => "[a-z\n\t]{0,20}".prop_map(|text| Key::Paste(Some(text))),
        6 => prop::sample::select(vec![Key::Enter, Key::AltEnter, Key::Tab, Key::Backspace,
            Key::AltBackspace, Key::Delete, Key::Left, Key::Right, Key::Up, Key::Down, Key::WordLeft,
            Key::WordRight, Key::Home, Key::End, Key::Escape, Key::Paste(None)]),
    ], 0..60)) {
        let mut editor = editor();
        for key in keys {
            editor.key(key);
            let view = editor.view();
            prop_assert!(view.text.is_char_boundary(view.cursor));
        }
    }
}
