//! Incremental search in the history.

use super::{Editor, Key, Mode, Outcome, Prompt, View};

#[derive(Debug, PartialEq, Eq)]
pub struct Search {
    wanted: String,
    found: Option<usize>,
    /// The text to come back to.
    before: String,
}

impl Search {
    pub fn new(before: &str) -> Self {
        Self { wanted: String::new(), found: None, before: before.to_owned() }
    }
}

impl<P: Prompt> Editor<P> {
    pub(super) fn search_view(&self, Search { wanted, found, .. }: &Search) -> View<'_> {
        let text = found.and_then(|index| self.history.get(index)).unwrap_or_default();
        let state = if text.is_empty() && !wanted.is_empty() { "no match for" } else { "search" };
        View {
            prompts: vec![format!("{state} '{wanted}': "), format!("'{wanted}': "), "? ".into()],
            text,
            cursor: text.find(wanted).unwrap_or(text.len()),
            below: String::new(),
        }
    }

    pub(super) fn search(&mut self, mut search: Search, key: Key) -> Outcome {
        let Search { wanted, found, .. } = &mut search;
        let newest = self.history.len().saturating_sub(1);
        match key {
            Key::Char(c) => {
                wanted.push(c);
                *found = self.history.search(wanted, found.unwrap_or(newest), true);
            }
            Key::Paste(Some(pasted)) => {
                wanted.extend(pasted.chars().filter(|c| !c.is_control()).take(self.line.limit));
                *found = self.history.search(wanted, newest, true);
            }
            Key::Backspace => {
                wanted.pop();
                *found = self.history.search(wanted, newest, true);
            }
            // The last match stays where there is none beyond it.
            Key::Ctrl('r') => {
                let next = found.and_then(|at| at.checked_sub(1));
                *found = next.and_then(|at| self.history.search(wanted, at, true)).or(*found);
            }
            Key::Ctrl('s') => {
                let next = found.map(|at| at + 1);
                *found = next.and_then(|at| self.history.search(wanted, at, false)).or(*found);
            }
            Key::Ctrl('c' | 'g') => return Outcome::Nothing,
            key => {
                if let Some(found) = *found {
                    self.line.set(self.history.get(found).unwrap_or_default());
                    self.recalled = Some((found, search.before));
                }
                return self.edit(key);
            }
        }
        self.mode = Mode::Search(search);
        Outcome::Nothing
    }
}
