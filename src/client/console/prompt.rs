//! The prompt of the chat: the conversation and what is unread, commands and names that Tab completes, and hints.

use std::sync::Arc;

use super::attention::{Rules, Unread};
use crate::client::addressee::Addressee;
use crate::client::command::{self, Aliases, BARE, COMMANDS, Command, CommandError};
use crate::client::event::Prompt;
use crate::client::notice::{Notice, many};
use crate::protocol::Name;
use crate::terminal::{self, Completion};

/// How many senders of unread messages the prompt names.
const SENDERS: usize = 3;

/// What must name its user: a slip would send what was not meant, or remove what can't be had again.
const NAMED: &[&str] = &["CHAT", "FORGET"];

/// What the prompt shows, and what the user's aliases and rules make of it.
#[derive(Debug, Default)]
pub struct Shown {
    prompt: Prompt,
    aliases: Arc<Aliases>,
    unread: Unread,
}

impl Shown {
    pub fn new(aliases: Arc<Aliases>, rules: Arc<Rules>) -> Self {
        Self { prompt: Prompt::default(), aliases, unread: Unread::new(rules) }
    }

    /// Whether the contacts and rooms are those of this prompt.
    pub fn knows_the_same(&self, prompt: &Prompt) -> bool {
        let Prompt { contacts, rooms, .. } = &self.prompt;
        Arc::ptr_eq(contacts, &prompt.contacts) && Arc::ptr_eq(rooms, &prompt.rooms)
    }

    pub fn set(&mut self, prompt: Prompt) {
        self.prompt = prompt;
        self.unread.prompt(&self.prompt);
    }

    /// The user goes there, which the client will say as well.
    pub fn enter(&mut self, conversation: Option<Addressee>) {
        self.prompt.conversation = conversation;
    }

    pub fn aliases(&self) -> &Aliases {
        &self.aliases
    }

    pub fn told(&mut self, notice: &Notice) {
        self.unread.told(notice, &self.prompt);
    }

    /// What stands before a line once it has been entered.
    pub fn plain(&self) -> String {
        let name = self.prompt.conversation.as_ref().map(ToString::to_string).unwrap_or_default();
        format!("{name}> ")
    }

    /// Understands a line. A command after a `/` that names no user or room is about the conversation that it is typed in.
    pub fn parse(&self, line: &str) -> Option<Result<Command, CommandError>> {
        let understood = self.aliases.parse(line)?;
        Some(understood.or_else(|error| self.about_conversation(line).ok_or(error)))
    }

    fn about_conversation(&self, line: &str) -> Option<Command> {
        let conversation = self.prompt.conversation.as_ref()?;
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let spec = command::find(word).filter(|spec| word.starts_with('/') && !NAMED.contains(&spec.name))?;
        let about = if matches!(conversation, Addressee::Room(_)) { "#name" } else { "<user>" };
        let takes = |usage: &str| usage.split(' ').nth(1) == Some(about);
        spec.usages.iter().find(|(usage, _)| takes(usage))?;
        command::parse(&format!("{word} {conversation} {rest}"))?.ok()
    }

    /// Who gets each of these entries, in their order.
    fn said_to<'t>(&self, entries: impl Iterator<Item = &'t str>) -> Vec<Addressee> {
        let (mut to, mut conversation) = (Vec::new(), self.prompt.conversation.clone());
        for entry in entries {
            let command = match self.parse(entry) {
                Some(Ok(Command::Line { otherwise, .. })) => match &conversation {
                    Some(conversation) => Ok(Command::Chat(conversation.clone(), String::new())),
                    None => *otherwise,
                },
                Some(command) => command,
                None => continue,
            };
            match command {
                Ok(Command::Chat(addressee, _)) => to.push(addressee),
                Ok(Command::Converse(other)) => conversation = other,
                _ => {}
            }
        }
        to
    }

    /// Whether a line that begins with this word is a command, and not a message of the conversation.
    fn is_command(&self, word: &str) -> bool {
        let slash = word.starts_with('/') && !word.starts_with("//");
        self.prompt.conversation.is_none() || slash || BARE.contains(&word)
    }

    /// The commands and aliases that begin with the word, in its letter case.
    fn commands(&self, word: &str) -> Vec<String> {
        let (slash, stem) = word.strip_prefix('/').map_or(("", word), |stem| ("/", stem));
        let lower = stem.chars().any(char::is_lowercase) || (!slash.is_empty() && stem.is_empty());
        let name = |name: &str| if lower { name.to_lowercase() } else { name.to_uppercase() };
        let stem = stem.to_uppercase();
        let aliases = self.aliases.iter().map(|(alias, _)| alias);
        let all = COMMANDS.iter().map(|spec| spec.name).chain(aliases).map(str::to_uppercase);
        all.filter(|it| it.starts_with(&stem)).map(|it| format!("{slash}{}", name(&it))).collect()
    }

    /// The usage of a command, until its last argument is begun.
    fn usage(&self, line: &str) -> Option<String> {
        let (word, rest) = line.trim_start().split_once(char::is_whitespace)?;
        if !self.is_command(word) {
            return None;
        }
        if let Some(line) = self.aliases.find(word) {
            return Some(format!("{}: stands for {line}", word.to_lowercase()));
        }
        let spec = command::find(word)?;
        let room = rest.trim_start().starts_with('#');
        let takes_room = |(usage, _): &&(&str, &str)| usage.split(' ').nth(1) == Some("#name");
        let fitting = spec.usages.iter().find(|usage| takes_room(usage) == room);
        let (usage, meaning) = fitting.or(spec.usages.first())?;
        let begun = rest.split_whitespace().count();
        usage.split(' ').nth(begun.saturating_add(1)).map(|_| format!("{usage}: {meaning}"))
    }

    fn users(&self, word: &str) -> Vec<String> {
        beginning(word, &self.prompt.contacts)
    }

    fn rooms(&self, word: &str) -> Vec<String> {
        beginning(word, &self.prompt.rooms)
    }

    /// What a message may name: users, and rooms after their `#`.
    fn names(&self, word: &str) -> Vec<String> {
        if word.starts_with('#') { self.rooms(word) } else { self.users(word) }
    }
}

impl terminal::Prompt for Shown {
    fn forms(&self) -> Vec<String> {
        let (plain, prompt) = (self.plain(), &self.prompt);
        let conversation = prompt.conversation.as_ref().filter(|_| prompt.waiting > 0);
        let waiting = conversation.map(|name| format!("{name} ({} waiting)> ", prompt.waiting));
        let unread: Vec<_> = self.unread.shown(prompt).collect();
        if unread.is_empty() {
            return waiting.into_iter().chain([plain, "> ".into()]).collect();
        }
        let named = unread.iter().take(SENDERS);
        let mut senders: Vec<_> = named.map(|(name, count)| format!("{name} {}", many(*count))).collect();
        if unread.len() > SENDERS {
            senders.push("…".into());
        }
        let all = many(unread.iter().map(|(_, count)| count).sum());
        let space = if prompt.conversation.is_some() { " " } else { "" };
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
            None if self.prompt.conversation.is_none() || word.starts_with('/') => self.commands(word),
            None if is_upper(word) => {
                self.commands(word).into_iter().filter(|name| BARE.contains(&name.as_str())).collect()
            }
            None => self.names(word),
            Some((first, _)) if !self.is_command(first) || self.aliases.find(first).is_some() => {
                self.names(word)
            }
            Some((first, rest)) => {
                let kinds: Vec<_> =
                    command::find(first).into_iter().flat_map(|spec| spec.arguments(rest.len())).collect();
                let of = |kind, candidates: fn(&Self, &str) -> Vec<String>| {
                    if kinds.contains(&kind) { candidates(self, word) } else { Vec::new() }
                };
                [of("user", Self::users), of("#name", Self::rooms), of("command", Self::commands)].concat()
            }
        };
        Completion { start, candidates }
    }

    /// Help for a command that is being typed, or how far long work has come.
    fn hint(&self, line: &str) -> Option<String> {
        self.usage(line).or_else(|| self.prompt.work.as_ref().map(ToString::to_string))
    }

    /// Whether it is one message.
    fn is_one_entry(&self, text: &str) -> bool {
        match self.parse(text) {
            Some(Ok(Command::Chat(..))) => true,
            Some(Ok(Command::Line { otherwise, .. })) => {
                self.prompt.conversation.is_some() || matches!(*otherwise, Ok(Command::Chat(..)))
            }
            _ => false,
        }
    }

    fn is_doubtful(&self, entry: &str) -> bool {
        let is_known = |name: &Name| self.prompt.contacts.binary_search(name).is_ok();
        self.prompt.conversation.is_some()
            && matches!(self.parse(entry), Some(Ok(Command::Line { otherwise, .. }))
                if otherwise.as_ref().as_ref().is_ok_and(|command| command.may_be_meant(is_known)))
    }

    fn confirmation(&self, text: &str, entries: usize) -> String {
        if entries > 1 {
            let mut to = self.said_to(text.lines());
            to.dedup();
            let said = match to.as_slice() {
                [] => String::new(),
                to => {
                    let to: Vec<_> = to.iter().map(ToString::to_string).collect();
                    format!(" What is no command goes to {}.", to.join(", "))
                }
            };
            return format!("run these {entries} lines one after the other?{said} (y/n)");
        }
        let (what, whole) = match text.lines().count() {
            1 => ("this".to_owned(), ""),
            lines => (format!("these {lines} lines"), " as one message"),
        };
        let to = self.said_to([text].into_iter()).pop();
        let to = to.map_or_else(String::new, |to| format!(" to {to}"));
        let doubt =
            if self.is_doubtful(text) { " It reads as a command, which begins with / here." } else { "" };
        format!("send {what}{to}{whole}?{doubt} (y/n)")
    }
}

fn is_upper(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_uppercase())
}

fn beginning(word: &str, all: &[impl ToString]) -> Vec<String> {
    all.iter().map(ToString::to_string).filter(|name| name.starts_with(word)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::notice::Work;
    use crate::terminal::Prompt as _;

    fn prompt(conversation: Option<&str>) -> Shown {
        with_unread(conversation, 0, &[])
    }

    fn with_unread(conversation: Option<&str>, waiting: u64, unread: &[(&str, u64)]) -> Shown {
        let mut aliases = Aliases::default();
        aliases.add("cafe", "CHAT #tea").unwrap();
        aliases.add("w", "WHY").unwrap();
        let mut shown = Shown::new(Arc::new(aliases), Arc::default());
        shown.set(Prompt {
            conversation: conversation.map(|name| name.parse().unwrap()),
            unread: unread.iter().map(|(name, count)| (name.parse().unwrap(), *count)).collect(),
            waiting,
            work: None,
            contacts: ["bea", "bob", "bobby", "carol"].map(|name| name.parse().unwrap()).into(),
            rooms: ["#lab", "#lab~2", "#tea"].map(|room| room.parse().unwrap()).into(),
        });
        shown
    }

    #[test]
    fn commands_and_names() {
        for (line, conversation, start, expected) in [
            ("CHA", None, 0, &["CHAT"][..]),
            ("ca", None, 0, &["cafe"]),
            ("/c", Some("bob"), 0, &["/chat", "/contacts", "/cafe"]),
            ("/cafe ca", Some("bob"), 6, &["carol"]),
            ("w #t", None, 2, &["#tea"]),
            ("w bo", Some("carol"), 2, &["bob", "bobby"]),
            ("cha", None, 0, &["chat"]),
            ("/cha", None, 0, &["/chat"]),
            ("/CHA", Some("bob"), 0, &["/CHAT"]),
            ("CHA", Some("bob"), 0, &["CHAT"]),
            ("CONT", Some("bob"), 0, &[]),
            ("REQUEST c", Some("bob"), 8, &["carol"]),
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
            ("REQUEST ", Some("bob"), true),
            ("w ", None, true),
            ("/w bob", Some("bob"), true),
            ("w ", Some("bob"), false),
            ("HISTORY ", Some("bob"), false),
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
        let forms =
            |conversation, waiting| with_unread(conversation, waiting, &[("carol", 2), ("dave", 1)]).forms();
        assert_eq!(forms(None, 0)[0], "[unread: carol 2, dave 1]> ");
        assert_eq!(forms(Some("bob"), 3)[0], "[unread: carol 2, dave 1] bob (3 waiting)> ");
        assert_eq!(forms(Some("#lab~2"), 0)[0], "[unread: carol 2, dave 1] #lab~2> ");
        let unread = [("#lab", 3), ("carol", 1)];
        assert_eq!(with_unread(None, 0, &unread).forms()[0], "[unread: carol 1, #lab 3]> ");
        assert_eq!(
            forms(Some("bob"), 0),
            ["[unread: carol 2, dave 1] bob> ", "[3 unread] bob> ", "[3]> ", "> "]
        );
    }

    #[test]
    fn long_work_stands_where_help_does_not() {
        let mut shown = prompt(Some("bob"));
        shown.prompt.work = Some(Work::Searching { done: 1, of: 2 });
        for line in ["", "hello", "/contacts"] {
            assert_eq!(shown.hint(line).unwrap(), "searching: 1 of 2 messages indexed", "{line}");
        }
        assert!(shown.hint("/why ").unwrap().starts_with("WHY <user>"));
    }

    #[test]
    fn pasted_lines_are_one_message_or_commands() {
        let prompt = prompt(Some("bob"));
        assert!(prompt.is_one_entry("one\ntwo"));
        assert!(!prompt.is_one_entry("/REQUEST bob\n/CONTACTS"));
        let run = "run these 2 lines one after the other?";
        for (text, entries, question) in [
            ("one\ntwo", 1, "send these 2 lines to bob as one message? (y/n)"),
            ("/REQUEST bob\n/CONTACTS", 2, &format!("{run} (y/n)")),
            // The question about what begins as a command names who gets it.
            ("CHAT carol hi\nthere", 1, "send these 2 lines to carol as one message? (y/n)"),
            ("/CONTACTS\nhi", 2, &format!("{run} What is no command goes to bob. (y/n)")),
            ("CHAT carol\nhi", 2, &format!("{run} What is no command goes to carol. (y/n)")),
            ("CHAT\ncontacts", 2, &format!("{run} (y/n)")),
            ("/cafe one\ntwo", 1, "send these 2 lines to #tea as one message? (y/n)"),
            ("/cafe\nhi", 2, &format!("{run} What is no command goes to #tea. (y/n)")),
            (
                "chat carol hi\nthere",
                1,
                "send these 2 lines to bob as one message? It reads as a command, which begins with / here. (y/n)",
            ),
            ("chat carol hi", 1, "send this to bob? It reads as a command, which begins with / here. (y/n)"),
        ] {
            assert_eq!(prompt.confirmation(text, entries), question, "{text:?}");
        }
        let outside = self::prompt(None);
        assert_eq!(
            outside.confirmation("chat carol hi\nthere", 1),
            "send these 2 lines to carol as one message? (y/n)"
        );
    }

    #[test]
    fn what_reads_as_a_command_is_doubtful_in_a_conversation() {
        for (line, doubtful) in [
            ("chat carol hi", true),
            ("chat calor hi", true),
            (" CHAT carol hi", true),
            ("request dave", true),
            ("TRUST bob 0123456789abcdef", true),
            ("TRUST dave 0123456789abcdef", false),
            ("CONTACTS", true),
            ("logout", true),
            ("forget it", false),
            ("forget carol", true),
            ("WHY are you late?", false),
            ("why not", false),
            ("join #lab", true),
            ("cafe hi", true),
            ("w bob", true),
            ("w dave", false),
            ("/cafe hi", false),
            ("CHAT carol hi", false),
            ("/contacts", false),
            ("//contacts", false),
            ("hello", false),
        ] {
            assert_eq!(prompt(Some("bob")).is_doubtful(line), doubtful, "{line}");
            assert!(!prompt(None).is_doubtful(line), "{line}");
        }
    }
}
