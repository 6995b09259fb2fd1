//! What keys do to the line that is being typed. Does no input or output.

use rustyline::line_buffer::{LineBuffer, WordAction};
use rustyline::{At, Movement, Word};

use super::history::History;
use super::keys::Key;
use super::line::{BLANK_BACK, Line, WORD_BACK, WORD_FORWARD};
use super::prompt::Prompt;
use super::screen::View;
use search::Search;

mod search;

const MAX_CANDIDATES: usize = 60;

#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// These entries are complete, in order. With `asked` the user was asked whether they are meant.
    Entered { entries: Vec<String>, asked: bool },
    /// Ctrl+C on an empty line, twice.
    Interrupt,
    /// Ctrl+D on an empty line.
    EndOfInput,
}

/// What a key leads to beyond a changed line.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Nothing,
    Event(Event),
    Suspend,
    Clear,
}

pub struct Editor<P> {
    line: Line,
    history: History,
    mode: Mode,
    pub prompt: P,
    /// Which line of the history is shown, and the text that it replaced.
    recalled: Option<(usize, String)>,
    /// Whether lines that were pasted may be in the text.
    pasted: bool,
    /// Whether the last key was Ctrl+C on an empty line: who gives up a line often presses it once too often.
    leaving: bool,
    /// What is shown below until the next key.
    below: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Mode {
    Edit,
    Search(Search),
    /// Asking whether these entries are meant.
    Confirm(Vec<String>),
}

impl<P: Prompt> Editor<P> {
    /// A line has up to `limit` bytes.
    pub fn new(history: History, limit: usize) -> Self {
        Self {
            line: Line::new(limit),
            history,
            mode: Mode::Edit,
            prompt: P::default(),
            recalled: None,
            pasted: false,
            leaving: false,
            below: String::new(),
        }
    }

    pub fn view(&self) -> View<'_> {
        let (text, cursor) = (self.line.text(), self.line.cursor());
        let below = match &self.mode {
            Mode::Search(search) => return self.search_view(search),
            Mode::Confirm(entries) => self.prompt.confirmation(text, entries.len()),
            Mode::Edit if self.below.is_empty() => self.prompt.hint(text).unwrap_or_default(),
            Mode::Edit => self.below.clone(),
        };
        View { prompts: self.prompt.forms(), text, cursor, below }
    }

    /// Whether it asks something, or searches: keys answer that.
    pub fn is_asking(&self) -> bool {
        self.mode != Mode::Edit
    }

    /// Whether the cursor stands behind the text.
    pub fn is_at_end(&self) -> bool {
        self.line.cursor() == self.line.text().len()
    }

    /// Puts another text in the place of what is being typed, which it returns.
    pub fn exchange(&mut self, text: &str) -> String {
        self.mode = Mode::Edit;
        self.below.clear();
        let before = self.line.take();
        self.abandon();
        self.line.set(text);
        self.pasted = text.contains('\n');
        before
    }

    pub fn key(&mut self, key: Key) -> Outcome {
        self.below.clear();
        let leaving = std::mem::take(&mut self.leaving);
        match key {
            Key::Ctrl('z') => return Outcome::Suspend,
            Key::Ctrl('l') => return Outcome::Clear,
            _ => {}
        }
        match std::mem::replace(&mut self.mode, Mode::Edit) {
            Mode::Edit if key == Key::Ctrl('c') && self.line.text().is_empty() => self.leave(leaving),
            Mode::Edit => self.edit(key),
            Mode::Search(search) => self.search(search, key),
            Mode::Confirm(entries) => self.confirm(entries, &key),
        }
    }

    fn edit(&mut self, key: Key) -> Outcome {
        let line = &mut self.line;
        let may_restore = matches!(key, Key::Ctrl('y' | '_') | Key::Alt('y'));
        match key {
            Key::Enter => return self.submit(),
            Key::Tab => self.complete(),
            Key::Paste(text) => self.paste(text.as_deref()),
            Key::Up | Key::Ctrl('p') => self.recall(true),
            Key::Down | Key::Ctrl('n') => self.recall(false),
            Key::Ctrl('r' | 's') => self.mode = Mode::Search(Search::new(line.text())),
            Key::Ctrl('c') => self.abandon(),
            Key::Ctrl('d') if line.text().is_empty() => return Outcome::Event(Event::EndOfInput),
            Key::Char(c) => line.type_char(c),
            Key::AltEnter => _ = line.insert("\n"),
            Key::Backspace => line.edit(|line, kills| line.backspace(1, kills)),
            Key::Delete | Key::Ctrl('d') => line.edit(|line, kills| line.delete(1, kills).is_some()),
            Key::Left | Key::Ctrl('b') => line.edit(|line, _| line.move_backward(1)),
            Key::Right | Key::Ctrl('f') => line.edit(|line, _| line.move_forward(1)),
            Key::WordLeft | Key::Alt('b') => line.edit(|line, _| line.move_to_prev_word(Word::Emacs, 1)),
            Key::WordRight | Key::Alt('f') => {
                line.edit(|line, _| line.move_to_next_word(At::AfterEnd, Word::Emacs, 1))
            }
            Key::Home | Key::Ctrl('a') => line.edit(|line, _| line.move_home()),
            Key::End | Key::Ctrl('e') => line.edit(|line, _| line.move_end()),
            Key::Ctrl('k') => line.kill(&Movement::EndOfLine),
            Key::Ctrl('u') => line.kill(&Movement::BeginningOfLine),
            Key::Ctrl('w') => line.kill(&BLANK_BACK),
            Key::AltBackspace => line.kill(&WORD_BACK),
            Key::Alt('d') => line.kill(&WORD_FORWARD),
            Key::Ctrl('y') => line.yank(),
            Key::Alt('y') => line.yank_pop(),
            Key::Ctrl('t') => line.edit(LineBuffer::transpose_chars),
            Key::Alt('u') => line.edit(|line, kills| line.edit_word(WordAction::Uppercase, kills)),
            Key::Alt('l') => line.edit(|line, kills| line.edit_word(WordAction::Lowercase, kills)),
            Key::Alt('c') => line.edit(|line, kills| line.edit_word(WordAction::Capitalize, kills)),
            Key::Ctrl('_') => line.undo(),
            // What is left is of no meaning to a line.
            _ => {}
        }
        self.pasted |= may_restore && self.line.text().contains('\n');
        Outcome::Nothing
    }

    fn leave(&mut self, asked: bool) -> Outcome {
        if asked {
            return Outcome::Event(Event::Interrupt);
        }
        self.leaving = true;
        self.below = "Ctrl+C again to leave".into();
        Outcome::Nothing
    }

    fn abandon(&mut self) {
        self.line.set("");
        self.recalled = None;
        self.pasted = false;
    }

    fn submit(&mut self) -> Outcome {
        let text = self.line.text();
        let mut entries: Vec<String> = text.lines().map(str::to_owned).collect();
        if entries.len() > 1 && self.prompt.is_one_entry(text) {
            entries = vec![text.to_owned()];
        }
        // The user may not have looked at all that was pasted.
        let unseen = self.pasted && text.contains('\n');
        if unseen || entries.iter().any(|entry| self.prompt.is_doubtful(entry)) {
            self.mode = Mode::Confirm(entries);
            return Outcome::Nothing;
        }
        self.entered(entries, false)
    }

    fn entered(&mut self, entries: Vec<String>, asked: bool) -> Outcome {
        let text = self.line.take();
        self.history.add(&text);
        self.recalled = None;
        self.pasted = false;
        Outcome::Event(Event::Entered { entries, asked })
    }

    fn confirm(&mut self, entries: Vec<String>, key: &Key) -> Outcome {
        match key {
            Key::Char('y' | 'Y') => return self.entered(entries, true),
            Key::Char('n' | 'N') | Key::Escape | Key::Ctrl('c' | 'g') => {}
            _ => self.mode = Mode::Confirm(entries),
        }
        Outcome::Nothing
    }

    fn paste(&mut self, text: Option<&str>) {
        // A terminal passes on control characters, but the user does not mean keys by them.
        let text = text.map(|text| {
            text.trim_end_matches('\n').replace(|c: char| c.is_control() && c != '\n' && c != '\t', "")
        });
        let several = text.as_ref().is_some_and(|text| text.contains('\n'));
        if text.is_none_or(|text| !self.line.insert(&text)) {
            self.below = format!("the text does not fit into {} bytes; nothing was pasted", self.line.limit);
        } else {
            self.pasted |= several;
        }
    }

    fn complete(&mut self) {
        let found = self.prompt.complete(self.line.before());
        let common = found.common();
        match found.candidates.as_slice() {
            [] => self.below = "no completions".into(),
            [only] => self.line.complete(found.start, &format!("{only} ")),
            _ if found.start + common.len() > self.line.cursor() => self.line.complete(found.start, common),
            several => {
                self.below =
                    several.iter().take(MAX_CANDIDATES).map(String::as_str).collect::<Vec<_>>().join("  ");
                if several.len() > MAX_CANDIDATES {
                    self.below.push_str(&format!("  and {} more", several.len() - MAX_CANDIDATES));
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
}

#[cfg(test)]
mod tests;
