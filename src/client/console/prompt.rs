//! The prompt of the chat: the conversation and what is unread, commands and names that Tab completes, and hints.

use crate::client::command::{self, COMMANDS, Command};
use crate::client::event::Prompt;
use crate::client::notice::many;
use crate::terminal::{self, Completion};

/// How many senders of unread messages the prompt names.
const SENDERS: usize = 3;

impl terminal::Prompt for Prompt {
    fn forms(&self) -> Vec<String> {
        let plain = plain_prompt(self);
        let conversation = self.conversation.as_ref().filter(|_| self.waiting > 0);
        let waiting = conversation.map(|name| format!("{name} ({} waiting)> ", self.waiting));
        if self.unread.is_empty() {
            return waiting.into_iter().chain([plain, "> ".into()]).collect();
        }
        let named = self.unread.iter().take(SENDERS);
        let mut senders: Vec<_> = named.map(|(name, count)| format!("{name} {}", many(*count))).collect();
        if self.unread.len() > SENDERS {
            senders.push("…".into());
        }
        let all = many(self.unread.values().sum());
        let space = if self.conversation.is_some() { " " } else { "" };
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

    fn complete(&self, before: &str) -> Completion {
        let blank = before.char_indices().rfind(|(_, c)| c.is_whitespace());
        let start = blank.map_or(0, |(at, blank)| at + blank.len_utf8());
        let (earlier, word) = before.split_at_checked(start).unwrap_or_default();
        let earlier: Vec<&str> = earlier.split_whitespace().collect();
        let candidates = match earlier.split_first() {
            None if self.conversation.is_none() || word.starts_with('/') || is_upper(word) => commands(word),
            None => names(word, self),
            Some((first, _)) if !is_command(first, self) => names(word, self),
            Some((first, rest)) => {
                let kinds: Vec<_> =
                    command::find(first).into_iter().flat_map(|spec| spec.arguments(rest.len())).collect();
                let of = |kind, candidates: fn(&str, &Self) -> Vec<String>| {
                    if kinds.contains(&kind) { candidates(word, self) } else { Vec::new() }
                };
                [of("user", users), of("#name", rooms), of("command", |word, _| commands(word))].concat()
            }
        };
        Completion { start, candidates }
    }

    /// The usage of a command, until its last argument is begun.
    fn hint(&self, line: &str) -> Option<String> {
        let (word, rest) = line.trim_start().split_once(char::is_whitespace)?;
        if !is_command(word, self) {
            return None;
        }
        let spec = command::find(word)?;
        let room = rest.trim_start().starts_with('#');
        let takes_room = |(usage, _): &&(&str, &str)| usage.split(' ').nth(1) == Some("#name");
        let fitting = spec.usages.iter().find(|usage| takes_room(usage) == room);
        let (usage, meaning) = fitting.or(spec.usages.first())?;
        let begun = rest.split_whitespace().count();
        usage.split(' ').nth(begun.saturating_add(1)).map(|_| format!("{usage}: {meaning}"))
    }

    /// Whether it is one message.
    fn is_one_entry(&self, text: &str) -> bool {
        match command::parse(text) {
            Some(Ok(Command::Chat(..))) => true,
            Some(Ok(Command::Line { otherwise, .. })) => {
                self.conversation.is_some() || matches!(*otherwise, Ok(Command::Chat(..)))
            }
            _ => false,
        }
    }

    fn confirmation(&self, text: &str, entries: usize) -> String {
        let lines = text.lines().count();
        match &self.conversation {
            _ if entries > 1 => format!("run these {entries} lines one after the other? (y/n)"),
            Some(name) if !is_command(text, self) => {
                format!("send these {lines} lines to {name} as one message? (y/n)")
            }
            _ => format!("send these {lines} lines as one message? (y/n)"),
        }
    }
}

/// What stands before a line once it has been entered.
pub fn plain_prompt(prompt: &Prompt) -> String {
    let name = prompt.conversation.as_ref().map(ToString::to_string).unwrap_or_default();
    format!("{name}> ")
}

/// Whether the line is a command, and not a message of the conversation.
fn is_command(line: &str, prompt: &Prompt) -> bool {
    prompt.conversation.is_none() || !matches!(command::parse(line), Some(Ok(Command::Line { .. })))
}

fn is_upper(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_uppercase())
}

/// The commands that begin with the word, in its letter case.
fn commands(word: &str) -> Vec<String> {
    let (slash, stem) = word.strip_prefix('/').map_or(("", word), |stem| ("/", stem));
    let lower = stem.chars().any(char::is_lowercase) || (!slash.is_empty() && stem.is_empty());
    let stem = stem.to_uppercase();
    let fits = COMMANDS.iter().map(|spec| spec.name).filter(|name| name.starts_with(&stem));
    fits.map(|name| format!("{slash}{}", if lower { name.to_lowercase() } else { name.to_owned() })).collect()
}

fn users(word: &str, prompt: &Prompt) -> Vec<String> {
    beginning(word, &prompt.contacts)
}

fn rooms(word: &str, prompt: &Prompt) -> Vec<String> {
    beginning(word, &prompt.rooms)
}

/// What a message may name: users, and rooms after their `#`.
fn names(word: &str, prompt: &Prompt) -> Vec<String> {
    if word.starts_with('#') { rooms(word, prompt) } else { users(word, prompt) }
}

fn beginning(word: &str, all: &[impl ToString]) -> Vec<String> {
    all.iter().map(ToString::to_string).filter(|name| name.starts_with(word)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::Prompt as _;

    fn prompt(conversation: Option<&str>) -> Prompt {
        Prompt {
            conversation: conversation.map(|name| name.parse().unwrap()),
            contacts: ["bea", "bob", "bobby", "carol"].map(|name| name.parse().unwrap()).into(),
            rooms: ["#lab", "#lab~2", "#tea"].map(|room| room.parse().unwrap()).into(),
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
            ("chat ", None, 5, &["bea", "bob", "bobby", "carol", "#lab", "#lab~2", "#tea"]),
            ("CHAT #l", None, 5, &["#lab", "#lab~2"]),
            ("CHAT #lab ca", None, 10, &[]),
            ("HISTORY #", None, 8, &["#lab", "#lab~2", "#tea"]),
            ("WHY #t", None, 4, &["#tea"]),
            ("JOIN ", None, 5, &["#lab", "#lab~2", "#tea"]),
            ("JOIN b", None, 5, &[]),
            ("REQUEST #", None, 8, &[]),
            ("INVITE b", None, 7, &[]),
            ("INVITE #t", None, 7, &["#tea"]),
            ("INVITE #tea bo", None, 12, &["bob", "bobby"]),
            ("SEARCH x #t", None, 9, &["#tea"]),
            ("TOPIC #tea b", None, 11, &[]),
            ("see #t", Some("bob"), 4, &["#tea"]),
            ("#", Some("#lab"), 0, &["#lab", "#lab~2", "#tea"]),
            ("CHAT bob ca", None, 9, &[]),
            ("CONTACTS b", None, 9, &[]),
            ("nothing b", None, 8, &[]),
            ("HISTORY c", None, 8, &["carol"]),
        ] {
            let found = prompt(conversation).complete(line);
            let candidates = expected.iter().map(ToString::to_string).collect();
            assert_eq!(found, Completion { start, candidates }, "{line}");
        }
        for (line, common) in [("chat bo", "bob"), ("chat b", "b"), ("chat x", "")] {
            assert_eq!(prompt(None).complete(line).common(), common);
        }
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
            ("INVITE #lab ", None, true),
            ("INVITE #lab b", None, false),
            ("TOPIC #lab x", None, false),
        ] {
            assert_eq!(prompt(conversation).hint(line).is_some(), shown, "{line}");
        }
        for (line, usage) in
            [("CHAT ", "CHAT <user> "), ("CHAT #", "CHAT #name "), ("HISTORY #lab ", "HISTORY #name ")]
        {
            assert!(prompt(None).hint(line).unwrap().starts_with(usage), "{line}");
        }
    }

    #[test]
    fn the_prompt_shows_the_conversation_and_what_is_unread() {
        let forms = |conversation, waiting| {
            let unread =
                [("carol", 2), ("dave", 1)].map(|(name, count)| (name.parse().unwrap(), count)).into();
            Prompt { unread, waiting, ..prompt(conversation) }.forms()
        };
        assert_eq!(forms(None, 0)[0], "[unread: carol 2, dave 1]> ");
        assert_eq!(forms(Some("bob"), 3)[0], "[unread: carol 2, dave 1] bob (3 waiting)> ");
        assert_eq!(forms(Some("#lab~2"), 0)[0], "[unread: carol 2, dave 1] #lab~2> ");
        let unread = [("#lab", 3), ("carol", 1)].map(|(from, count)| (from.parse().unwrap(), count)).into();
        assert_eq!(Prompt { unread, ..prompt(None) }.forms()[0], "[unread: carol 1, #lab 3]> ");
        assert_eq!(
            forms(Some("bob"), 0),
            ["[unread: carol 2, dave 1] bob> ", "[3 unread] bob> ", "[3]> ", "> "]
        );
    }

    #[test]
    fn pasted_lines_are_one_message_or_commands() {
        let prompt = prompt(Some("bob"));
        assert!(prompt.is_one_entry("one\ntwo"));
        assert!(prompt.confirmation("one\ntwo", 1).contains("2 lines to bob as one message"));
        assert!(!prompt.is_one_entry("/REQUEST bob\n/CONTACTS"));
        assert!(prompt.confirmation("/REQUEST bob\n/CONTACTS", 2).contains("2 lines one after the other"));
    }
}
