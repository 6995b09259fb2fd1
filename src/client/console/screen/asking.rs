//! What the line editor is told: as in the line mode, but for what stands before the line.

use crate::client::console::prompt::Shown;
use crate::terminal::{self, Completion};

/// See the module. Where one is and what is unread stands elsewhere on the screen.
#[derive(Debug, Default)]
pub struct Asking(pub Shown);

impl terminal::Prompt for Asking {
    fn forms(&self) -> Vec<String> {
        vec!["> ".into()]
    }

    fn complete(&self, before: &str) -> Completion {
        self.0.complete(before)
    }

    fn hint(&self, text: &str) -> Option<String> {
        self.0.hint(text)
    }

    fn is_one_entry(&self, text: &str) -> bool {
        self.0.is_one_entry(text)
    }

    fn is_doubtful(&self, entry: &str) -> bool {
        self.0.is_doubtful(entry)
    }

    fn confirmation(&self, text: &str, entries: usize) -> String {
        self.0.confirmation(text, entries)
    }
}
