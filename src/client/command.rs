//! The commands: what can be typed, and its form in JSON.

use serde::{Deserialize, Serialize};

use super::addressee::{Addressee, RoomLabel, RoomLabelError};
use super::did_you_mean::nearest;
use crate::protocol::{MAX_TEXT, Name, NameError};

mod alias;
mod arguments;
mod encode;
mod explanation;
pub mod json;
mod subject;
mod table;
mod untyped;

pub use alias::Aliases;
pub use explanation::Explanation;
pub use table::{Beside, COMMANDS, Command, Spec, find, usages};

/// The longest line that is read, in bytes: the longest text and room for what stands before it.
pub const MAX_LINE: usize = MAX_TEXT + 1024;

/// The longest line that a terminal passes on, in bytes without its end; the system drops the rest.
pub const MAX_TERMINAL_LINE: usize = 4095;

/// The commands that are one everywhere, also without a `/`, if they are whole and in upper case.
pub const BARE: [&str; 3] = ["CHAT", "LOGOUT", "REQUEST"];

/// The most bytes that a script's name for a command may have.
pub const MAX_REFERENCE: usize = 128;

/// The longest description of a mistake, in characters: parts of the line may stand in it.
const MAX_MISTAKE: usize = 200;

/// What a script calls one of its commands; every answer to it repeats that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Reference {
    Number(i64),
    /// At most [`MAX_REFERENCE`] bytes.
    Text(String),
}

/// Why a line is not a command. The words say what to do instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    #[error("{0:?} is not a command; {hint}HELP lists them, CHAT <user> enters a conversation, LOGOUT leaves", hint = did_you_mean(.0))]
    Unknown(String),
    /// An argument is missing or left over.
    #[error("usage: {0}")]
    Usage(&'static str),
    #[error("usage: {usage}; the {argument} must be {must_be}")]
    Invalid { usage: &'static str, argument: &'static str, must_be: String },
    /// A line of the conversation with that user or room, which the user may have meant as a command.
    #[error(
        "this line reads as a command, and was neither run nor sent: put a / before it, or send it with CHAT {0} <message>"
    )]
    Doubtful(Addressee),
    #[error("{0}")]
    Name(#[from] NameError),
    #[error("{0}")]
    Room(#[from] RoomLabelError),
    /// What was said in a room stays, and so does what the room is called.
    #[error("a room can't be forgotten; LEAVE {0} leaves it, and what was said stays on your disk")]
    RoomStays(RoomLabel),
    #[error("a message has at most {MAX_TEXT} bytes, this one has {}; nothing was sent", match .0 { Some(bytes) => bytes.to_string(), None => "more".into() })]
    TooLong(Option<usize>),
    #[error(
        "the terminal takes at most {MAX_TERMINAL_LINE} bytes a line and has cut this one; nothing was sent (a pipe takes more)"
    )]
    Cut,
    /// The line begins as a JSON object, but is not that of a command.
    #[error("not a command in JSON: {0}; nothing was done")]
    Json(String),
    #[error("the line is not UTF-8; nothing was done")]
    NotUtf8,
}

impl CommandError {
    fn unknown(word: &str) -> Self {
        Self::Unknown(word.chars().take(Name::MAX).collect())
    }
}

/// What is wrong with a line in JSON, made safe to show and short.
fn mistake(error: impl std::fmt::Display) -> CommandError {
    let safe = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    CommandError::Json(error.to_string().chars().map(safe).take(MAX_MISTAKE).collect())
}

/// The command that the user may have meant, as a question.
fn did_you_mean(word: &str) -> String {
    let word = word.strip_prefix('/').unwrap_or(word).to_ascii_uppercase();
    let alias = COMMANDS.iter().find(|spec| spec.aliases.contains(&word.as_str())).map(|spec| spec.name);
    alias
        .or_else(|| nearest(&word, COMMANDS.iter().map(|spec| spec.name)))
        .map_or_else(String::new, |command| format!("did you mean {command}? "))
}

/// Understands one line; `None` for one with nothing in it.
///
/// A command after a `/` is one everywhere, and so are those of [`BARE`]. Every other line is [`Command::Line`]: in a
/// conversation it is sent as it stands; a line that starts with `//` is sent without the first `/`.
pub fn parse(line: &str) -> Option<Result<Command, CommandError>> {
    let start = line.trim_start();
    let (word, rest) = start.split_once(char::is_whitespace).unwrap_or((start, ""));
    if word.is_empty() {
        return None;
    }
    let spec = find(word);
    let understood = spec.map_or_else(|| Err(CommandError::unknown(word)), |spec| spec.typed(rest));
    let certain = match line.strip_prefix('/') {
        Some(more) => !more.starts_with('/'),
        None => is_bare(line),
    };
    if certain {
        return Some(understood);
    }
    let text = if line.starts_with("//") { line.get(1..).unwrap_or_default() } else { line };
    let (text, otherwise) = (text.to_owned(), Box::new(understood));
    Some(Ok(Command::Line { text, otherwise, instead: None, meant: false }))
}

/// Whether the line has the form of one of [`BARE`]. What begins as a message for another user is never said to this one.
fn is_bare(line: &str) -> bool {
    let mut words = line.split(char::is_whitespace);
    match words.next() {
        Some("CHAT") => true,
        Some("LOGOUT") => words.all(str::is_empty),
        Some("REQUEST") => words.filter(|word| !word.is_empty()).count() == 1,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::addressee::Addressee;
    use crate::client::notice::tests::name;
    use proptest::prelude::*;

    fn to(text: &str) -> Addressee {
        text.parse().unwrap()
    }

    fn room(text: &str) -> RoomLabel {
        text.parse().unwrap()
    }

    fn search_for(words: &[&str], within: Option<&str>) -> Command {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        Command::Search { words, within: within.map(to) }
    }

    /// What a line means outside a conversation.
    fn understood(line: &str) -> Result<Command, CommandError> {
        match parse(line).unwrap()? {
            Command::Line { otherwise, .. } => *otherwise,
            command => Ok(command),
        }
    }

    #[test]
    fn commands() {
        for (line, expected) in [
            ("REQUEST bob", Command::Request(name("bob"))),
            ("REQUEST   bob ", Command::Request(name("bob"))),
            ("/Request bob", Command::Request(name("bob"))),
            ("CHAT bob hi", Command::Chat(to("bob"), "hi".into())),
            ("/chat bob  two  spaces ", Command::Chat(to("bob"), " two  spaces ".into())),
            ("CHAT bob  ", Command::Converse(Some(to("bob")))),
            ("CHAT", Command::Converse(None)),
            ("LOGOUT", Command::Logout),
            ("/history bob", Command::History(to("bob"), 20)),
            ("HISTORY bob 5", Command::History(to("bob"), 5)),
            ("SEARCH two words", search_for(&["two", "words"], None)),
            ("SEARCH @bob two words", search_for(&["two", "words"], Some("bob"))),
            ("SEARCH two words @bob", search_for(&["two", "words"], Some("bob"))),
            ("SEARCH one me@home two", search_for(&["one", "me@home", "two"], None)),
            ("SEARCH #lab two words", search_for(&["two", "words"], Some("#lab"))),
            ("SEARCH two words #lab~2", search_for(&["two", "words"], Some("#lab~2"))),
            ("SEARCH one a#b two", search_for(&["one", "a#b", "two"], None)),
            ("CHAT #lab hi", Command::Chat(to("#lab"), "hi".into())),
            ("CHAT #lab~2", Command::Converse(Some(to("#lab~2")))),
            ("HISTORY #lab 5", Command::History(to("#lab"), 5)),
            ("WHY #lab", Command::Why(to("#lab"))),
            ("ROOM #lab", Command::Room(room("#lab"), None)),
            ("ROOM #lab2 #lab~2", Command::Room(room("#lab2"), Some(room("#lab~2")))),
            ("INVITE #lab bob", Command::Invite { room: room("#lab"), user: name("bob"), all: false }),
            ("INVITE #lab bob all", Command::Invite { room: room("#lab"), user: name("bob"), all: true }),
            ("/join #lab~2", Command::Join(room("#lab~2"))),
            ("LEAVE #lab", Command::Leave(room("#lab"))),
            ("ROOMS", Command::Rooms),
            ("MEMBERS #lab", Command::Members(room("#lab"))),
            ("KICK #lab bob", Command::Kick(room("#lab"), name("bob"))),
            ("OWNER #lab bob", Command::Owner(room("#lab"), name("bob"))),
            ("TOPIC #lab  what we do ", Command::Topic(room("#lab"), " what we do ".into())),
            ("/unblock bob", Command::Unblock(name("bob"))),
        ] {
            assert_eq!(understood(line), Ok(expected), "{line}");
        }
        assert_eq!(parse(""), None);
        assert_eq!(parse(" \t "), None);
    }

    #[test]
    fn mistakes_say_what_to_do() {
        let mistake = |line| understood(line).unwrap_err().to_string();
        for (line, expected) in [
            ("CHAT Bob hi", "names are in lower case: write \"bob\""),
            ("REQUEST", "usage: REQUEST <user>"),
            ("REQUEST bob carol", "usage: REQUEST <user>"),
            ("LOGOUT now", "usage: LOGOUT"),
            ("HISTORY bob 0", "usage: HISTORY <user> [n]; the count must be a number from 1 to 1000"),
            ("TRUST", "usage: TRUST <user> <digits>"),
            ("REQUEST discovery", "\"discovery\" is the server's name, and no user's"),
            ("SEARCH", "usage: SEARCH <words> [@user]"),
            ("SEARCH @bob", "usage: SEARCH <words> [@user]"),
            (
                "SEARCH 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17",
                "usage: SEARCH <words> [@user]; the words must be at most 16, of 400 bytes in all",
            ),
            ("SEARCH x @Bob", "names are in lower case: write \"bob\""),
            ("SEARCH #lab", "usage: SEARCH <words> [@user]"),
            ("REQUEST #lab", "a name can't contain '#': use the letters a to z, digits, '.', '_' and '-'"),
            ("CHAT #Lab hi", "names are in lower case: write \"lab\""),
            ("JOIN lab", "a room is written with a #: #lab"),
            ("JOIN", "usage: JOIN #name"),
            ("JOIN #lab~1", "a room is written as #name, or as #name~2 where two have the same name"),
            ("ROOM #lab~2", "usage: ROOM #name; the room must be #name, without a number"),
            ("ROOM #lab2 lab", "a room is written with a #: #lab"),
            ("ROOM #lab2 #lab bob", "usage: ROOM #name"),
            ("INVITE bob #lab", "a room is written with a #: #bob"),
            ("INVITE #lab", "usage: INVITE #name <user>"),
            ("INVITE #lab bob now", "usage: INVITE #name <user>; the history must be \"all\", or nothing"),
            (
                "FORGET #lab",
                "a room can't be forgotten; LEAVE #lab leaves it, and what was said stays on your disk",
            ),
            ("KICK #lab #lab", "a name can't contain '#': use the letters a to z, digits, '.', '_' and '-'"),
            ("TOPIC #lab ", "usage: TOPIC #name <text>"),
            ("HELP CHAT LOGOUT", "usage: HELP [command]"),
            (
                "VERIFY bob yes",
                "usage: VERIFY <user> [code]; the code must be the 60 digits that VERIFY <user> shows",
            ),
        ] {
            assert_eq!(mistake(line), expected, "{line}");
        }
        for (line, word, hint) in [
            ("/SHOUT bob", "/SHOUT", ""),
            ("/quit", "/quit", "did you mean LOGOUT? "),
            ("/hisotry bob", "/hisotry", "did you mean HISTORY? "),
            ("HELP me", "me", ""),
        ] {
            let help = "HELP lists them, CHAT <user> enters a conversation, LOGOUT leaves";
            assert_eq!(mistake(line), format!("{word:?} is not a command; {hint}{help}"));
        }
    }

    #[test]
    fn a_line_that_is_no_certain_command_may_be_said() {
        let said = |line: &str| match parse(line) {
            Some(Ok(Command::Line { text, otherwise, instead: None, meant: false })) => (text, *otherwise),
            other => panic!("{line}: {other:?}"),
        };
        for (line, text, otherwise) in [
            ("request bob", "request bob", Some(Command::Request(name("bob")))),
            ("chat bob hi", "chat bob hi", Some(Command::Chat(to("bob"), "hi".into()))),
            ("Help", "Help", Some(Command::Help)),
            ("CONTACTS", "CONTACTS", Some(Command::Contacts)),
            ("Request bob", "Request bob", Some(Command::Request(name("bob")))),
            ("logout", "logout", Some(Command::Logout)),
            ("HELP me", "HELP me", None),
            ("WHY are you late?", "WHY are you late?", None),
            ("REQUEST denied, sorry", "REQUEST denied, sorry", None),
            ("REQUEST", "REQUEST", None),
            ("LOGOUT is not yet what I want", "LOGOUT is not yet what I want", None),
            (" LOGOUT", " LOGOUT", Some(Command::Logout)),
            (" CHAT bob hi", " CHAT bob hi", Some(Command::Chat(to("bob"), "hi".into()))),
            ("CHATTER bob", "CHATTER bob", None),
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
        for line in [
            "/",
            "/usr/bin is full",
            "/HELP me",
            "/chat bob hi",
            "CHAT bob hi",
            "CHAT bob",
            "CHAT",
            "CHAT Bob hi",
            "CHAT #lab hi",
            "REQUEST bob",
            "REQUEST Bob",
            "LOGOUT",
            "LOGOUT ",
        ] {
            assert!(!matches!(parse(line), Some(Ok(Command::Line { .. }))), "{line}");
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
