//! What the program that reads the lines tells the editor.

/// What stands around the line that is being typed, and what the program knows of it.
pub trait Prompt: Default {
    /// What stands before the line, from its longest form to its shortest.
    fn forms(&self) -> Vec<String>;

    /// What the word before the cursor may become.
    fn complete(&self, before: &str) -> Completion;

    /// Help for what is being typed, shown below it.
    fn hint(&self, text: &str) -> Option<String>;

    /// Whether a text of several lines is one entry; otherwise each line is one.
    fn is_one_entry(&self, text: &str) -> bool;

    /// Whether the user is to be asked about an entry, though it was typed.
    fn is_doubtful(&self, entry: &str) -> bool;

    /// Asks whether the user means a pasted or doubtful text, which makes so many entries: y or n.
    fn confirmation(&self, text: &str, entries: usize) -> String;
}

#[derive(Debug, PartialEq, Eq)]
pub struct Completion {
    /// Where the word begins, in bytes.
    pub start: usize,
    /// Whole words.
    pub candidates: Vec<String>,
}

impl Completion {
    /// What all candidates begin with.
    pub fn common(&self) -> &str {
        let Some(first) = self.candidates.first().map(String::as_str) else {
            return "";
        };
        let shared = |other: &String| {
            let differ = first.char_indices().zip(other.chars()).find(|((_, one), other)| one != other);
            differ.map_or(first.len().min(other.len()), |((at, _), _)| at)
        };
        let end = self.candidates.iter().map(shared).min().unwrap_or_default();
        first.get(..end).unwrap_or_default()
    }
}
