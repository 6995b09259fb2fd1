//! What Tab completes, and what a command still takes.

use crate::client::command::{self, COMMANDS, Command};
use crate::client::event::Prompt;

/// What the word before the cursor may become.
#[derive(Debug, PartialEq, Eq)]
pub struct Completion {
    /// Where the word begins.
    pub start: usize,
    /// What it may be, all of it.
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

/// Whether the line is a command, and not a message to whom the conversation is with.
pub fn is_command(line: &str, prompt: &Prompt) -> bool {
    prompt.conversation.is_none() || !matches!(command::parse(line), Some(Ok(Command::Line { .. })))
}

/// Whether the line, of however many lines, is one message to somebody.
pub fn is_message(line: &str, prompt: &Prompt) -> bool {
    match command::parse(line) {
        Some(Ok(Command::Chat(..))) => true,
        Some(Ok(Command::Line { otherwise, .. })) => {
            prompt.conversation.is_some() || matches!(*otherwise, Ok(Command::Chat(..)))
        }
        _ => false,
    }
}

/// What the word before the cursor may become.
pub fn complete(before: &str, prompt: &Prompt) -> Completion {
    let start = before
        .rfind(char::is_whitespace)
        .map_or(0, |at| at + before.get(at..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8));
    let word = before.get(start..).unwrap_or_default();
    let earlier: Vec<&str> = before.get(..start).unwrap_or_default().split_whitespace().collect();
    let candidates = match earlier.split_first() {
        None if prompt.conversation.is_none() || word.starts_with('/') || is_upper(word) => commands(word),
        None => names(word, prompt),
        Some((first, _)) if !is_command(first, prompt) => names(word, prompt),
        Some((first, rest)) => match command::find(first).and_then(|spec| spec.argument(rest.len())) {
            Some("user") => names(word, prompt),
            Some("command") => commands(word),
            _ => Vec::new(),
        },
    };
    Completion { start, candidates }
}

fn is_upper(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_uppercase())
}

/// The commands that begin so, written as the word is.
fn commands(word: &str) -> Vec<String> {
    let (slash, stem) = word.strip_prefix('/').map_or(("", word), |stem| ("/", stem));
    let lower = stem.chars().any(char::is_lowercase) || (!slash.is_empty() && stem.is_empty());
    let stem = stem.to_uppercase();
    let fits = COMMANDS.iter().map(|spec| spec.name).filter(|name| name.starts_with(&stem));
    fits.map(|name| format!("{slash}{}", if lower { name.to_lowercase() } else { name.to_owned() })).collect()
}

fn names(word: &str, prompt: &Prompt) -> Vec<String> {
    prompt.contacts.iter().map(ToString::to_string).filter(|name| name.starts_with(word)).collect()
}

/// What the command takes that is being typed, until its last argument is begun.
pub fn hint(line: &str, prompt: &Prompt) -> Option<String> {
    let (word, rest) = line.trim_start().split_once(char::is_whitespace)?;
    if !is_command(word, prompt) {
        return None;
    }
    let spec = command::find(word)?;
    let (usage, meaning) = spec.usages.first()?;
    spec.argument(rest.split_whitespace().count()).map(|_| format!("{usage}: {meaning}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(conversation: Option<&str>) -> Prompt {
        Prompt {
            conversation: conversation.map(|name| name.parse().unwrap()),
            contacts: ["bea", "bob", "bobby", "carol"].map(|name| name.parse().unwrap()).into(),
            ..Prompt::default()
        }
    }

    #[test]
    fn commands_and_names() {
        for (line, conversation, start, expected) in [
            ("CHA", None, 0, &["CHAT"][..]),
            ("cha", None, 0, &["chat"]),
            ("/cha", None, 0, &["/chat"]),
            ("/CHA", Some("bob"), 0, &["/CHAT"]),
            ("CHA", Some("bob"), 0, &["CHAT"]),
            ("cha", Some("bob"), 0, &[]),
            ("bo", Some("carol"), 0, &["bob", "bobby"]),
            ("hello ca", Some("bob"), 6, &["carol"]),
            ("CHAT bo", None, 5, &["bob", "bobby"]),
            ("chat ", None, 5, &["bea", "bob", "bobby", "carol"]),
            ("CHAT bob ca", None, 9, &[]),
            ("CONTACTS b", None, 9, &[]),
            ("nothing b", None, 8, &[]),
            ("HISTORY c", None, 8, &["carol"]),
        ] {
            let found = complete(line, &prompt(conversation));
            assert_eq!(
                (found.start, found.candidates),
                (start, expected.iter().map(ToString::to_string).collect()),
                "{line}"
            );
        }
        assert_eq!(complete("chat bo", &prompt(None)).common(), "bob");
        assert_eq!(complete("chat b", &prompt(None)).common(), "b");
        assert_eq!(complete("chat x", &prompt(None)).common(), "");
    }

    #[test]
    fn hints_until_the_last_argument_is_begun() {
        for (line, conversation, shown) in [
            ("CHAT", None, false),
            ("CHAT ", None, true),
            ("chat bob ", None, true),
            ("CHAT bob h", None, false),
            ("chat ", Some("bob"), false),
            ("/chat ", Some("bob"), true),
            ("HISTORY bob", None, true),
            ("CONTACTS ", None, false),
            ("SHOUT ", None, false),
        ] {
            assert_eq!(hint(line, &prompt(conversation)).is_some(), shown, "{line}");
        }
    }
}
