//! What can be typed.

use std::str::FromStr;

use serde::Serialize;

use super::suggest::nearest;
use super::verification;
use crate::protocol::{MAX_TEXT, Name, NameError};

mod help;
pub mod json;

pub(super) use help::first_word;
pub use help::{Explanation, HELP};

/// The longest line that is read, in bytes: the longest text and room for what stands before it.
pub const MAX_LINE: usize = MAX_TEXT + 1024;

/// The longest line that a terminal passes on, in bytes without its end; the rest is thrown away by the system.
pub const MAX_TERMINAL_LINE: usize = 4095;

/// How many entries `HISTORY` shows unless told otherwise.
const HISTORY: u32 = 20;
/// The most entries that `HISTORY` shows at once.
const MAX_HISTORY: u32 = 1000;

/// The most words that are looked for at once.
const MAX_WORDS: usize = 16;
/// The most bytes that they have.
const MAX_SEARCH: usize = 400;

/// A command, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Open a channel to a user.
    Request(Name),
    /// Send a text to a contact.
    Chat(Name, String),
    /// Enter the conversation with a contact, or leave the one that was entered.
    Converse(Option<Name>),
    /// A line that goes to whom the user converses with. Outside a conversation it may be a command all the same.
    Line {
        /// What goes out.
        text: String,
        /// What it means outside a conversation.
        otherwise: Box<Result<Self, CommandError>>,
    },
    /// Leave.
    Logout,
    /// List the contacts.
    Contacts,
    /// List what is not yet delivered.
    Outbox,
    /// Show the last entries of a conversation.
    History(Name, u32),
    /// Look for words in what was said, with everybody or with one contact.
    Search {
        /// All of them must be there; the last may go on.
        words: Vec<String>,
        /// With whom.
        user: Option<Name>,
    },
    /// Say why a contact can't be reached.
    Why(Name),
    /// Show the code to be compared with a contact, or mark them as verified if it is this one.
    Verify(Name, Option<String>),
    /// Accept a contact's new key, which starts with these digits, if they are given.
    Trust(Name, Option<String>),
    /// Have nothing to do with a user.
    Block(Name),
    /// Take that back.
    Unblock(Name),
    /// Say what can be typed.
    Help,
    /// Say more about a command.
    Explain(Explanation),
}

impl Command {
    /// Whether it changes what is kept. A line is only understood by whoever knows of conversations.
    #[must_use]
    pub fn is_written(&self) -> bool {
        !matches!(
            self,
            Self::Converse(_)
                | Self::Line { .. }
                | Self::Logout
                | Self::Contacts
                | Self::Outbox
                | Self::History(..)
                | Self::Search { .. }
                | Self::Why(_)
                | Self::Verify(_, None)
                | Self::Help
                | Self::Explain(_)
        )
    }

    /// The user whom it is about.
    #[must_use]
    pub fn user(&self) -> Option<&Name> {
        match self {
            Self::Request(name)
            | Self::Chat(name, _)
            | Self::History(name, _)
            | Self::Why(name)
            | Self::Verify(name, _)
            | Self::Trust(name, _)
            | Self::Block(name)
            | Self::Unblock(name) => Some(name),
            Self::Converse(name) | Self::Search { user: name, .. } => name.as_ref(),
            Self::Line { .. }
            | Self::Logout
            | Self::Contacts
            | Self::Outbox
            | Self::Help
            | Self::Explain(_) => None,
        }
    }

    /// The text that it sends.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Chat(_, text) | Self::Line { text, .. } => Some(text),
            _ => None,
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Request(_) => "REQUEST",
            Self::Chat(..) | Self::Converse(_) => "CHAT",
            Self::Line { .. } => "a line",
            Self::Logout => "LOGOUT",
            Self::Contacts => "CONTACTS",
            Self::Outbox => "OUTBOX",
            Self::History(..) => "HISTORY",
            Self::Search { .. } => "SEARCH",
            Self::Why(_) => "WHY",
            Self::Verify(..) => "VERIFY",
            Self::Trust(..) => "TRUST",
            Self::Block(_) => "BLOCK",
            Self::Unblock(_) => "UNBLOCK",
            Self::Help | Self::Explain(_) => "HELP",
        }
    }
}

/// The command without the text that it sends.
impl std::fmt::Display for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self, self.user()) {
            (Self::Explain(about), _) => write!(f, "{} {}", self.word(), about.command),
            (_, Some(user)) => write!(f, "{} {user}", self.word()),
            (_, None) => f.write_str(self.word()),
        }
    }
}

/// The most bytes that a script's name for a command may have.
pub const MAX_REFERENCE: usize = 128;

/// What a script calls one of its commands; every answer to it repeats that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Reference {
    /// A number.
    Number(i64),
    /// At most [`MAX_REFERENCE`] bytes.
    Text(String),
}

/// Why a line is not a command. The words say what to do instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The first word is none of the commands.
    #[error("{0:?} is not a command; {hint}HELP lists them, CHAT <user> enters a conversation, LOGOUT leaves", hint = meant(.0))]
    Unknown(String),
    /// Something is missing or too much.
    #[error("usage: {0}")]
    Usage(&'static str),
    /// What should be a name is none.
    #[error("{0}")]
    Name(#[from] NameError),
    /// The text does not fit into one message.
    #[error("a message has at most {MAX_TEXT} bytes, this one has {}; nothing was sent", match .0 { Some(bytes) => bytes.to_string(), None => "more".into() })]
    TooLong(Option<usize>),
    /// The terminal has cut the line off.
    #[error(
        "the terminal takes at most {MAX_TERMINAL_LINE} bytes a line and has cut this one; nothing was sent (a pipe takes more)"
    )]
    Cut,
    /// The line begins as a JSON object, but is not that of a command.
    #[error("not a command in JSON: {0}; nothing was done")]
    Json(String),
    /// The line is not UTF-8.
    #[error("the line is not UTF-8; nothing was done")]
    NotUtf8,
}

/// What other programs call the commands.
const ELSEWHERE: &[(&[&str], &str)] = &[
    (&["QUIT", "EXIT", "Q", "LOGOFF"], "LOGOUT"),
    (&["MSG", "M", "QUERY", "TELL", "SAY", "TO"], "CHAT"),
    (&["ADD", "INVITE", "CONNECT"], "REQUEST"),
    (&["NAMES", "LIST", "ROSTER", "FRIENDS"], "CONTACTS"),
    (&["IGNORE"], "BLOCK"),
    (&["UNIGNORE"], "UNBLOCK"),
    (&["LASTLOG", "FIND", "GREP"], "SEARCH"),
];

/// The command that somebody may have meant, as a question.
fn meant(word: &str) -> String {
    let word = word.strip_prefix('/').unwrap_or(word).to_ascii_uppercase();
    let commands = HELP.iter().map(|(usage, _)| first_word(usage));
    let elsewhere = ELSEWHERE.iter().find(|(words, _)| words.contains(&word.as_str())).map(|(_, here)| *here);
    elsewhere
        .or_else(|| nearest(&word, commands))
        .map_or_else(String::new, |command| format!("did you mean {command}? "))
}

fn usage(command: &str) -> CommandError {
    let usage = HELP.iter().map(|(usage, _)| *usage).find(|usage| first_word(usage) == command);
    CommandError::Usage(usage.unwrap_or("HELP"))
}

/// Understands one line; `None` for one with nothing in it.
///
/// A command in upper case or after a `/` is one everywhere. Every other line is [`Command::Line`]: in a
/// conversation it is said, as it stands; a `/` after another is said without the first.
#[must_use]
pub fn parse(line: &str) -> Option<Result<Command, CommandError>> {
    let start = line.trim_start();
    let (word, rest) = start.split_once(char::is_whitespace).unwrap_or((start, ""));
    if word.is_empty() {
        return None;
    }
    let command = word.strip_prefix('/').unwrap_or(word).to_ascii_uppercase();
    let understood = arguments(&command, word, rest);
    let certain = match line.strip_prefix('/') {
        Some(more) => !more.starts_with('/'),
        None => line.starts_with(&command) && !matches!(understood, Err(CommandError::Unknown(_))),
    };
    if certain {
        return Some(understood);
    }
    let text = if line.starts_with("//") { line.get(1..).unwrap_or_default() } else { line };
    Some(Ok(Command::Line { text: text.to_owned(), otherwise: Box::new(understood) }))
}

fn arguments(command: &str, word: &str, rest: &str) -> Result<Command, CommandError> {
    if command == "CHAT" {
        // Without looking at all that is said.
        let mut words = rest.split_whitespace();
        return match (words.next(), words.next()) {
            (None, _) => Ok(Command::Converse(None)),
            (Some(name), None) => Ok(Command::Converse(Some(name.parse()?))),
            _ => chat(rest.trim_start()),
        };
    }
    let words: Vec<&str> = rest.split_whitespace().collect();
    let name = || match words.as_slice() {
        [name] => Ok(name.parse()?),
        _ => Err(usage(command)),
    };
    let alone = |this: Command| if words.is_empty() { Ok(this) } else { Err(usage(command)) };
    match command {
        "REQUEST" => name().map(Command::Request),
        "LOGOUT" => alone(Command::Logout),
        "CONTACTS" => alone(Command::Contacts),
        "OUTBOX" => alone(Command::Outbox),
        "HISTORY" => match words.as_slice() {
            [name] => Ok(Command::History(name.parse()?, HISTORY)),
            [name, count] => match u32::from_str(count) {
                Ok(count @ 1..=MAX_HISTORY) => Ok(Command::History(name.parse()?, count)),
                _ => Err(CommandError::Usage("HISTORY <user> [n], n from 1 to 1000")),
            },
            _ => Err(usage(command)),
        },
        "SEARCH" => search(&words),
        "WHY" => name().map(Command::Why),
        "VERIFY" => match words.as_slice() {
            [] => Err(usage(command)),
            [name] => Ok(Command::Verify(name.parse()?, None)),
            [name, digits @ ..] => {
                let code = verification::typed(digits)
                    .ok_or(CommandError::Usage("VERIFY <user> [code], the code as VERIFY <user> shows it"))?;
                Ok(Command::Verify(name.parse()?, Some(code)))
            }
        },
        "TRUST" => match words.as_slice() {
            [name] => Ok(Command::Trust(name.parse()?, None)),
            [name, digits] => Ok(Command::Trust(name.parse()?, Some(digits.to_ascii_lowercase()))),
            _ => Err(usage(command)),
        },
        "BLOCK" => name().map(Command::Block),
        "UNBLOCK" => name().map(Command::Unblock),
        "HELP" => match words.as_slice() {
            [] => Ok(Command::Help),
            [about] => Explanation::of(about).map(Command::Explain).ok_or(usage(command)),
            _ => Err(usage(command)),
        },
        _ => Err(CommandError::Unknown(word.chars().take(Name::MAX).collect())),
    }
}

/// Words, and before or after them perhaps a user with an `@`.
fn search(words: &[&str]) -> Result<Command, CommandError> {
    let user = |word: &&str| word.strip_prefix('@').map(Name::from_str);
    let (user, words) = match words {
        [first, words @ ..] if first.starts_with('@') => (user(first), words),
        [words @ .., last] => {
            (user(last), if last.starts_with('@') { words } else { &[words, &[last]].concat() })
        }
        [] => (None, words),
    };
    let words = search_words(words)?;
    Ok(Command::Search { words, user: user.transpose()? })
}

fn search_words(words: &[&str]) -> Result<Vec<String>, CommandError> {
    if words.is_empty()
        || words.len() > MAX_WORDS
        || words.iter().map(|word| word.len()).sum::<usize>() > MAX_SEARCH
    {
        return Err(CommandError::Usage("SEARCH <words> [@user], at most 16 words of 400 bytes in all"));
    }
    Ok(words.iter().map(|word| (*word).to_owned()).collect())
}

/// The text is what stands after the name and one space, to the letter.
fn chat(rest: &str) -> Result<Command, CommandError> {
    let (name, text) = rest.split_once(char::is_whitespace).ok_or_else(|| usage("CHAT"))?;
    if text.trim().is_empty() {
        return Err(usage("CHAT"));
    }
    let name = name.parse()?;
    if text.len() > MAX_TEXT {
        return Err(CommandError::TooLong(Some(text.len())));
    }
    Ok(Command::Chat(name, text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(name: &str) -> Name {
        name.parse().unwrap()
    }

    fn search_for(words: &[&str], user: Option<&str>) -> Command {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        Command::Search { words, user: user.map(name) }
    }

    #[test]
    fn commands() {
        for (line, expected) in [
            ("REQUEST bob", Command::Request(name("bob"))),
            ("REQUEST   bob ", Command::Request(name("bob"))),
            ("/Request bob", Command::Request(name("bob"))),
            ("CHAT bob hi", Command::Chat(name("bob"), "hi".into())),
            ("/chat bob  two  spaces ", Command::Chat(name("bob"), " two  spaces ".into())),
            ("CHAT bob  ", Command::Converse(Some(name("bob")))),
            ("CHAT", Command::Converse(None)),
            ("LOGOUT", Command::Logout),
            ("/history bob", Command::History(name("bob"), 20)),
            ("HISTORY bob 5", Command::History(name("bob"), 5)),
            ("SEARCH two words", search_for(&["two", "words"], None)),
            ("SEARCH @bob two words", search_for(&["two", "words"], Some("bob"))),
            ("SEARCH two words @bob", search_for(&["two", "words"], Some("bob"))),
            ("SEARCH one me@home two", search_for(&["one", "me@home", "two"], None)),
            ("/unblock bob", Command::Unblock(name("bob"))),
        ] {
            assert_eq!(parse(line), Some(Ok(expected)), "{line}");
        }
        assert_eq!(parse(""), None);
        assert_eq!(parse(" \t "), None);
    }

    #[test]
    fn mistakes_say_what_to_do() {
        for (line, expected) in [
            ("CHAT Bob hi", "names are in lower case: write \"bob\""),
            ("REQUEST", "usage: REQUEST <user>"),
            ("REQUEST bob carol", "usage: REQUEST <user>"),
            ("LOGOUT now", "usage: LOGOUT"),
            ("HISTORY bob 0", "usage: HISTORY <user> [n], n from 1 to 1000"),
            (
                "/SHOUT bob",
                "\"/SHOUT\" is not a command; HELP lists them, CHAT <user> enters a conversation, LOGOUT leaves",
            ),
            (
                "/quit",
                "\"/quit\" is not a command; did you mean LOGOUT? HELP lists them, CHAT <user> enters a conversation, LOGOUT leaves",
            ),
            (
                "/hisotry bob",
                "\"/hisotry\" is not a command; did you mean HISTORY? HELP lists them, CHAT <user> enters a conversation, LOGOUT leaves",
            ),
            ("REQUEST Bob", "names are in lower case: write \"bob\""),
            ("TRUST", "usage: TRUST <user> [key]"),
            ("SEARCH", "usage: SEARCH <words> [@user], at most 16 words of 400 bytes in all"),
            ("SEARCH @bob", "usage: SEARCH <words> [@user], at most 16 words of 400 bytes in all"),
            ("SEARCH x @Bob", "names are in lower case: write \"bob\""),
            ("HELP me", "usage: HELP [command]"),
            ("VERIFY bob yes", "usage: VERIFY <user> [code], the code as VERIFY <user> shows it"),
        ] {
            assert_eq!(parse(line).unwrap().unwrap_err().to_string(), expected, "{line}");
        }
    }

    #[test]
    fn a_line_that_is_no_certain_command_may_be_said() {
        let said = |line: &str| match parse(line) {
            Some(Ok(Command::Line { text, otherwise })) => (text, *otherwise),
            other => panic!("{line}: {other:?}"),
        };
        for (line, text, otherwise) in [
            ("request bob", "request bob", Some(Command::Request(name("bob")))),
            ("chat bob hi", "chat bob hi", Some(Command::Chat(name("bob"), "hi".into()))),
            ("Help", "Help", Some(Command::Help)),
            // As it stands, also where it starts with a space.
            ("  HELP me ", "  HELP me ", None),
            (" HELP", " HELP", Some(Command::Help)),
            ("LOL that is it", "LOL that is it", None),
            ("//help", "/help", None),
            ("///", "//", None),
        ] {
            let (said, meant) = said(line);
            assert_eq!((said.as_str(), meant.ok()), (text, otherwise), "{line}");
        }
        for line in ["/", "/usr/bin is full", "HELP me", "/chat bob hi", "CHAT bob hi", "LOGOUT"] {
            assert!(!matches!(parse(line), Some(Ok(Command::Line { .. }))), "{line}");
        }
    }

    #[test]
    fn a_text_may_be_as_long_as_a_message_and_no_longer() {
        let text = "x".repeat(MAX_TEXT);
        assert_eq!(parse(&format!("CHAT bob {text}")), Some(Ok(Command::Chat(name("bob"), text.clone()))));
        let error = parse(&format!("CHAT bob {text}y")).unwrap().unwrap_err();
        assert_eq!(error, CommandError::TooLong(Some(MAX_TEXT + 1)));
    }

    #[test]
    fn every_command_is_in_the_help() {
        for (usage, _) in HELP {
            let word = first_word(usage);
            let parsed = parse(
                &usage
                    .replace(" <user>", " bob")
                    .replace(" <message>", " x")
                    .replace(" [n]", "")
                    .replace(" <words> [@user]", " x")
                    .replace(" [code]", "")
                    .replace(" [command]", " chat")
                    .replace(" [user]", "")
                    .replace(" [key]", " ab"),
            );
            assert!(matches!(parsed, Some(Ok(_))), "{word}");
            let more = Explanation::of(word).unwrap();
            assert!(more.usages().count() > 0 && !more.more.is_empty(), "{word}");
        }
    }

    proptest! {
        #[test]
        fn any_line_is_a_command_or_an_error_that_is_safe_to_print(line in any::<String>()) {
            if let Some(Err(error)) = parse(&line) {
                prop_assert!(!error.to_string().chars().any(char::is_control));
            }
        }
    }
}
