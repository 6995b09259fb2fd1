//! What keys do to the line that is being typed. Does no input or output.

use rustyline::Movement;
use rustyline::line_buffer::WordAction;

use super::complete::{complete, hint, is_command, is_message};
use super::history::History;
use super::keys::Key;
use super::line::{BLANK_BACK, Line, WORD_BACK, WORD_FORWARD};
use crate::client::command::MAX_LINE;
use crate::client::event::Prompt;
use crate::client::notice::many;

/// How many candidates are shown.
const CANDIDATES: usize = 60;
/// How many senders of unread messages the prompt names.
const SENDERS: usize = 3;

/// What a key leads to beyond a changed line.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Nothing,
    /// These lines are to be done, in order.
    Submit(Vec<String>),
    /// Ctrl+C where there is nothing to give up.
    Interrupt,
    /// Ctrl+D on an empty line.
    End,
    /// Ctrl+Z.
    Suspend,
    /// Ctrl+L.
    Clear,
}

/// What is to be seen.
#[derive(Debug, PartialEq, Eq)]
pub struct View<'a> {
    /// What stands before the text, from its longest form to its shortest.
    pub prompts: Vec<String>,
    pub text: &'a str,
    /// Where the cursor is in the text, in bytes.
    pub cursor: usize,
    /// What stands below.
    pub below: String,
}

/// The line editor.
pub struct Editor {
    line: Line,
    history: History,
    mode: Mode,
    prompt: Prompt,
    /// Which line of the history is shown, and what stood there before.
    recalled: Option<(usize, String)>,
    /// Whether lines that were pasted may be in the text.
    pasted: bool,
    /// What the last key led to say.
    below: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Mode {
    Edit,
    /// Looking for a line that was typed before.
    Search {
        text: String,
        found: Option<usize>,
        /// What stood there before.
        before: String,
    },
    /// Asking whether these lines are meant.
    Ask(Vec<String>),
}

impl Editor {
    pub fn new(history: History) -> Self {
        Self {
            line: Line::new(MAX_LINE),
            history,
            mode: Mode::Edit,
            prompt: Prompt::default(),
            recalled: None,
            pasted: false,
            below: String::new(),
        }
    }

    /// The prompt shows this from now on.
    pub fn set_prompt(&mut self, prompt: Prompt) {
        self.prompt = prompt;
    }

    pub fn view(&self) -> View<'_> {
        let (text, cursor) = (self.line.text(), self.line.cursor());
        match &self.mode {
            Mode::Edit => View { prompts: self.prompts(), text, cursor, below: self.below() },
            Mode::Search { text: wanted, found, .. } => {
                let found = found.and_then(|index| self.history.get(index)).unwrap_or_default();
                let nothing = if found.is_empty() && !wanted.is_empty() { "nothing has " } else { "search " };
                View {
                    prompts: vec![format!("{nothing}'{wanted}': "), format!("'{wanted}': "), "? ".into()],
                    text: found,
                    cursor: found.find(wanted.as_str()).unwrap_or(found.len()),
                    below: String::new(),
                }
            }
            Mode::Ask(lines) => View {
                prompts: self.prompts(),
                text,
                cursor,
                below: match (lines.len(), &self.prompt.conversation) {
                    (1, Some(name)) if !is_command(text, &self.prompt) => {
                        format!("send these {} lines to {name} as one message? (y/n)", text.lines().count())
                    }
                    (1, _) => format!("send these {} lines as one message? (y/n)", text.lines().count()),
                    (count, _) => format!("do these {count} lines one after the other? (y/n)"),
                },
            },
        }
    }

    /// What stands before a line that was typed once it is done.
    pub fn plain_prompt(&self) -> String {
        let name = self.prompt.conversation.as_ref().map(ToString::to_string).unwrap_or_default();
        format!("{name}> ")
    }

    /// Whether the text is one message to somebody.
    pub fn is_message(&self, text: &str) -> bool {
        is_message(text, &self.prompt)
    }

    fn below(&self) -> String {
        if self.below.is_empty() {
            hint(self.line.text(), &self.prompt).unwrap_or_default()
        } else {
            self.below.clone()
        }
    }

    fn prompts(&self) -> Vec<String> {
        let plain = self.plain_prompt();
        let waiting = match (self.prompt.waiting, &self.prompt.conversation) {
            (1.., Some(name)) => Some(format!("{name} ({} waiting)> ", self.prompt.waiting)),
            _ => None,
        };
        let unread = &self.prompt.unread;
        if unread.is_empty() {
            return waiting.into_iter().chain([plain, "> ".into()]).collect();
        }
        let mut senders: Vec<_> =
            unread.iter().take(SENDERS).map(|(name, count)| format!("{name} {}", many(*count))).collect();
        if unread.len() > SENDERS {
            senders.push("…".into());
        }
        let all = many(unread.values().sum());
        let space = if self.prompt.conversation.is_some() { " " } else { "" };
        let senders = senders.join(", ");
        let long = waiting.map(|waiting| format!("[unread: {senders}] {waiting}"));
        let short = [
            format!("[unread: {senders}]{space}{plain}"),
            format!("[{all} unread]{space}{plain}"),
            format!("[{all}]> "),
            "> ".into(),
        ];
        long.into_iter().chain(short).collect()
    }

    /// Takes a key in.
    pub fn key(&mut self, key: Key) -> Outcome {
        self.below.clear();
        match &self.mode {
            Mode::Edit => self.edit(key),
            Mode::Search { .. } => self.search(key),
            Mode::Ask(_) => self.answer(&key),
        }
    }

    fn edit(&mut self, key: Key) -> Outcome {
        let line = &mut self.line;
        let brings_back = matches!(key, Key::Ctrl('y' | '_') | Key::Alt('y'));
        match key {
            Key::Enter => return self.submit(),
            Key::Tab => self.complete(),
            Key::Paste(text) => self.paste(text.as_deref()),
            Key::Up | Key::Ctrl('p') => self.recall(true),
            Key::Down | Key::Ctrl('n') => self.recall(false),
            Key::Ctrl('r' | 's') => self.start_search(),
            Key::Ctrl('c') if line.is_empty() => return Outcome::Interrupt,
            Key::Ctrl('c') => self.give_up(),
            Key::Ctrl('d') if line.is_empty() => return Outcome::End,
            Key::Ctrl('z') => return Outcome::Suspend,
            Key::Ctrl('l') => return Outcome::Clear,
            Key::Char(c) => line.type_char(c),
            Key::AltEnter => _ = line.insert("\n"),
            Key::Backspace => line.backspace(),
            Key::Delete | Key::Ctrl('d') => line.delete(),
            Key::Left | Key::Ctrl('b') => line.go(&Movement::BackwardChar(1)),
            Key::Right | Key::Ctrl('f') => line.go(&Movement::ForwardChar(1)),
            Key::WordLeft | Key::Alt('b') => line.go(&WORD_BACK),
            Key::WordRight | Key::Alt('f') => line.go(&WORD_FORWARD),
            Key::Home | Key::Ctrl('a') => line.go(&Movement::BeginningOfLine),
            Key::End | Key::Ctrl('e') => line.go(&Movement::EndOfLine),
            Key::Ctrl('k') => line.cut(&Movement::EndOfLine),
            Key::Ctrl('u') => line.cut(&Movement::BeginningOfLine),
            Key::Ctrl('w') => line.cut(&BLANK_BACK),
            Key::AltBackspace => line.cut(&WORD_BACK),
            Key::Alt('d') => line.cut(&WORD_FORWARD),
            Key::Ctrl('y') => line.put_back(),
            Key::Alt('y') => line.put_back_older(),
            Key::Ctrl('t') => line.transpose(),
            Key::Alt('u') => line.change_word(WordAction::Uppercase),
            Key::Alt('l') => line.change_word(WordAction::Lowercase),
            Key::Alt('c') => line.change_word(WordAction::Capitalize),
            Key::Ctrl('_') => line.undo(),
            Key::Escape | Key::Ctrl(_) | Key::Alt(_) => {}
        }
        self.pasted |= brings_back && self.line.text().contains('\n');
        Outcome::Nothing
    }

    fn give_up(&mut self) {
        self.line.set("");
        self.recalled = None;
        self.pasted = false;
    }

    fn submit(&mut self) -> Outcome {
        let text = self.line.text();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if lines.len() > 1 && self.is_message(text) {
            lines = vec![text.to_owned()];
        }
        // What was pasted may be more than its owner has looked at.
        if self.pasted && text.contains('\n') {
            self.mode = Mode::Ask(lines);
            return Outcome::Nothing;
        }
        self.submitted(lines)
    }

    fn submitted(&mut self, lines: Vec<String>) -> Outcome {
        let text = self.line.take();
        self.history.add(&text);
        self.recalled = None;
        self.pasted = false;
        Outcome::Submit(lines)
    }

    fn answer(&mut self, key: &Key) -> Outcome {
        let Mode::Ask(lines) = &mut self.mode else {
            return Outcome::Nothing;
        };
        let lines = std::mem::take(lines);
        match key {
            Key::Char('y' | 'Y') => {
                self.mode = Mode::Edit;
                self.submitted(lines)
            }
            Key::Char('n' | 'N') | Key::Escape | Key::Ctrl('c' | 'g') => {
                self.mode = Mode::Edit;
                Outcome::Nothing
            }
            other => {
                self.mode = Mode::Ask(lines);
                match other {
                    Key::Ctrl('z') => Outcome::Suspend,
                    Key::Ctrl('l') => Outcome::Clear,
                    _ => Outcome::Nothing,
                }
            }
        }
    }

    fn paste(&mut self, text: Option<&str>) {
        // A terminal passes on whatever was copied, and nobody means keys by it.
        let text = text.map(|text| {
            text.trim_end_matches('\n').replace(|c: char| c.is_control() && c != '\n' && c != '\t', "")
        });
        let several = text.as_ref().is_some_and(|text| text.contains('\n'));
        if text.is_none_or(|text| !self.line.insert(&text)) {
            self.below = format!("that is more than a line takes ({MAX_LINE} bytes); nothing was pasted");
        } else {
            self.pasted |= several;
        }
    }

    fn complete(&mut self) {
        let found = complete(self.line.before(), &self.prompt);
        let common = found.common();
        match found.candidates.as_slice() {
            [] => self.below = "nothing begins so".into(),
            [only] => self.line.complete(found.start, &format!("{only} ")),
            _ if found.start + common.len() > self.line.cursor() => self.line.complete(found.start, common),
            several => {
                self.below =
                    several.iter().take(CANDIDATES).map(String::as_str).collect::<Vec<_>>().join("  ");
                if several.len() > CANDIDATES {
                    self.below.push_str(&format!("  and {} more", several.len() - CANDIDATES));
                }
            }
        }
    }

    fn recall(&mut self, older: bool) {
        let at = self.recalled.as_ref().map_or(self.history.len(), |(at, _)| *at);
        let next = if older { at.checked_sub(1) } else { Some(at + 1) };
        match next {
            Some(next) if next < self.history.len() => {
                let (_, before) = self.recalled.take().unwrap_or_else(|| (0, self.line.text().to_owned()));
                self.line.set(self.history.get(next).unwrap_or_default());
                self.recalled = Some((next, before));
            }
            Some(_) => {
                if let Some((_, before)) = self.recalled.take() {
                    self.line.set(&before);
                }
            }
            None => {}
        }
    }

    fn start_search(&mut self) {
        self.mode = Mode::Search { text: String::new(), found: None, before: self.line.text().to_owned() };
    }

    fn search(&mut self, key: Key) -> Outcome {
        let Mode::Search { text, found, .. } = &mut self.mode else {
            return Outcome::Nothing;
        };
        let newest = self.history.len().saturating_sub(1);
        match key {
            Key::Char(c) => {
                text.push(c);
                *found = self.history.search(text, found.unwrap_or(newest), true);
            }
            Key::Paste(Some(pasted)) => {
                text.extend(pasted.chars().filter(|c| !c.is_control()).take(MAX_LINE));
                *found = self.history.search(text, newest, true);
            }
            Key::Backspace => {
                text.pop();
                *found = self.history.search(text, newest, true);
            }
            // The last match stays where there is none beyond it.
            Key::Ctrl('r') => {
                let next = found.and_then(|at| at.checked_sub(1));
                *found = next.and_then(|at| self.history.search(text, at, true)).or(*found);
            }
            Key::Ctrl('s') => {
                let next = found.map(|at| at + 1);
                *found = next.and_then(|at| self.history.search(text, at, false)).or(*found);
            }
            Key::Ctrl('c' | 'g') => self.end_search(false),
            Key::Ctrl('z') => return Outcome::Suspend,
            Key::Ctrl('l') => return Outcome::Clear,
            Key::Escape => self.end_search(true),
            key => {
                self.end_search(true);
                return self.edit(key);
            }
        }
        Outcome::Nothing
    }

    fn end_search(&mut self, accept: bool) {
        if let Mode::Search { found, before, .. } = std::mem::replace(&mut self.mode, Mode::Edit)
            && let Some(found) = found.filter(|_| accept)
        {
            self.line.set(self.history.get(found).unwrap_or_default());
            self.recalled = Some((found, before));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn editor(conversation: Option<&str>) -> Editor {
        let mut editor = Editor::new(History::open(None));
        editor.set_prompt(Prompt {
            conversation: conversation.map(|name| name.parse().unwrap()),
            unread: [("carol", 2), ("dave", 1)].map(|(name, count)| (name.parse().unwrap(), count)).into(),
            waiting: 0,
            contacts: ["bob", "bobby", "carol"].map(|name| name.parse().unwrap()).into(),
        });
        editor
    }

    fn type_in(editor: &mut Editor, text: &str) {
        for c in text.chars() {
            assert_eq!(editor.key(Key::Char(c)), Outcome::Nothing);
        }
    }

    fn enter(editor: &mut Editor, text: &str) -> Outcome {
        type_in(editor, text);
        editor.key(Key::Enter)
    }

    fn submitted(lines: &[&str]) -> Outcome {
        Outcome::Submit(lines.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn earlier_lines_come_back_and_the_half_typed_one_too() {
        let mut editor = editor(None);
        for line in ["one", "two", "three"] {
            assert_eq!(enter(&mut editor, line), submitted(&[line]));
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
        let mut editor = editor(None);
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
        assert!(editor.view().prompts[0].contains("nothing has 'xyz'"));
        for _ in 0..3 {
            editor.key(Key::Backspace);
        }
        type_in(&mut editor, "cont");
        assert_eq!(editor.key(Key::Enter), submitted(&["contacts"]));
    }

    #[test]
    fn lines_that_were_pasted_are_asked_about() {
        let paste = |text: &str| Key::Paste(Some(text.into()));
        let mut editor = editor(Some("bob"));
        editor.key(paste("one line\n"));
        assert_eq!(editor.key(Key::Enter), submitted(&["one line"]));
        editor.key(paste("one\ntwo\u{1b}[A\n\n"));
        assert_eq!(editor.view().text, "one\ntwo[A");
        assert_eq!(editor.key(Key::Enter), Outcome::Nothing);
        assert!(editor.view().below.contains("2 lines to bob as one message"), "{:?}", editor.view());
        assert_eq!(editor.key(Key::Enter), Outcome::Nothing);
        assert_eq!(editor.key(Key::Char('n')), Outcome::Nothing);
        assert_eq!(editor.view().text, "one\ntwo[A");
        editor.key(Key::Enter);
        assert_eq!(editor.key(Key::Char('y')), submitted(&["one\ntwo[A"]));
        editor.key(paste("/REQUEST bob\n/CONTACTS"));
        editor.key(Key::Enter);
        assert!(editor.view().below.contains("2 lines one after the other"));
        assert_eq!(editor.key(Key::Char('y')), submitted(&["/REQUEST bob", "/CONTACTS"]));
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
            assert_eq!(editor.key(Key::Char('y')), submitted(&["one\ntwo"]));
        }
        // Whoever types a second line has seen it.
        type_in(&mut editor, "a");
        editor.key(Key::AltEnter);
        assert_eq!(enter(&mut editor, "b"), submitted(&["a\nb"]));
        editor.key(Key::Paste(None));
        assert!(editor.view().below.contains("nothing was pasted"));
    }

    #[test]
    fn tab_completes_or_shows_what_there_is() {
        let mut editor = editor(None);
        type_in(&mut editor, "cha");
        editor.key(Key::Tab);
        assert_eq!(editor.view().text, "chat ");
        assert!(editor.view().below.starts_with("CHAT <user> <message>"));
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
    fn ctrl_c_and_ctrl_d() {
        let mut editor = editor(None);
        type_in(&mut editor, "half");
        assert_eq!(editor.key(Key::Ctrl('d')), Outcome::Nothing);
        assert_eq!(editor.key(Key::Ctrl('c')), Outcome::Nothing);
        assert_eq!(editor.view().text, "");
        assert_eq!(editor.key(Key::Ctrl('c')), Outcome::Interrupt);
        assert_eq!(editor.key(Key::Ctrl('d')), Outcome::End);
    }

    #[test]
    fn the_prompt_shows_the_conversation_and_what_is_unread() {
        assert_eq!(editor(None).view().prompts[0], "[unread: carol 2, dave 1]> ");
        let mut waits = editor(Some("bob"));
        waits.prompt.waiting = 3;
        assert_eq!(waits.view().prompts[0], "[unread: carol 2, dave 1] bob (3 waiting)> ");
        assert_eq!(
            editor(Some("bob")).view().prompts,
            ["[unread: carol 2, dave 1] bob> ", "[3 unread] bob> ", "[3]> ", "> "]
        );
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
            let mut editor = editor(Some("bob"));
            for key in keys {
                editor.key(key);
                let view = editor.view();
                prop_assert!(view.text.is_char_boundary(view.cursor));
            }
        }
    }
}
