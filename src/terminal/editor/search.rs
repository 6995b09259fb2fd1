//! Incremental search in the history.

use super::{Editor, Key, Mode, Outcome, Prompt, View};

impl<P: Prompt> Editor<P> {
    pub(super) fn search_view(&self, wanted: &str, found: Option<usize>) -> View<'_> {
        let text = found.and_then(|index| self.history.get(index)).unwrap_or_default();
        let state = if text.is_empty() && !wanted.is_empty() { "no match for" } else { "search" };
        View {
            prompts: vec![format!("{state} '{wanted}': "), format!("'{wanted}': "), "? ".into()],
            text,
            cursor: text.find(wanted).unwrap_or(text.len()),
            below: String::new(),
        }
    }

    pub(super) fn start_search(&mut self) {
        self.mode = Mode::Search { text: String::new(), found: None, before: self.line.text().to_owned() };
    }

    pub(super) fn search(&mut self, key: Key) -> Outcome {
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
                text.extend(pasted.chars().filter(|c| !c.is_control()).take(self.line.limit()));
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
