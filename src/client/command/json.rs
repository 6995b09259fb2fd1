//! Commands as JSON objects, one a line: for scripts, whose texts may have several lines, and which want to know
//! which answer belongs to which command.

use std::fmt;

use serde::de::{Deserializer as _, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::arguments::Arguments;
use super::table::{COMMANDS, Command, Parser};
use super::untyped::UNTYPED;
use super::{CommandError, MAX_REFERENCE, Reference, mistake};
use crate::protocol::MAX_TEXT;

/// The longest line that is read, in bytes: the longest text with each byte as an escape of six, and room for
/// what stands around it.
pub const MAX_LINE: usize = 6 * MAX_TEXT + 1024;

/// Understands a line of a script, an object or what a person would type; `None` for one with nothing in it.
pub fn parse_line(line: &str) -> Option<(Option<Reference>, Result<Command, CommandError>)> {
    if line.trim_start().starts_with('{') {
        Some(parse(line))
    } else {
        super::parse(line).map(|command| (None, command))
    }
}

/// Understands one object: what the script calls it, which is known even if the rest is wrong, and the command.
pub fn parse(line: &str) -> (Option<Reference>, Result<Command, CommandError>) {
    let mut json = serde_json::Deserializer::from_str(line);
    let fields = json.deserialize_map(Fields).and_then(|fields| json.end().map(|()| fields));
    let taken = fields.map_err(mistake).and_then(|mut fields| {
        let reference = fields.remove("ref").map_or(Ok(None), reference)?;
        Ok((reference, command(fields)))
    });
    taken.unwrap_or_else(|error| (None, Err(error)))
}

fn reference(value: Value) -> Result<Option<Reference>, CommandError> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) if text.len() <= MAX_REFERENCE => Ok(Some(Reference::Text(text))),
        Value::Number(number) if number.as_i64().is_some() => Ok(number.as_i64().map(Reference::Number)),
        _ => Err(mistake(format_args!(
            "\"ref\" must be a string of at most {MAX_REFERENCE} bytes or an integer of 64 bits"
        ))),
    }
}

fn command(fields: Map<String, Value>) -> Result<Command, CommandError> {
    let mut arguments = Arguments::Json(fields);
    let word = arguments.required("command")?;
    match forms().find(|(name, _)| *name == word) {
        Some((_, parser)) => arguments.parse(parser),
        None => Err(mistake(format_args!("unknown command `{word}`"))),
    }
}

/// What the commands are called.
pub fn words() -> impl Iterator<Item = &'static str> {
    forms().map(|(word, _)| *word)
}

fn forms() -> impl Iterator<Item = &'static (&'static str, Parser)> {
    COMMANDS.iter().flat_map(|spec| spec.forms).chain(UNTYPED)
}

/// Reads an object in which no field stands twice.
struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut fields = Map::new();
        while let Some((name, value)) = access.next_entry::<String, Value>()? {
            if fields.contains_key(&name) {
                return Err(A::Error::custom(format_args!("the field `{name}` is given twice")));
            }
            fields.insert(name, value);
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{MAX_MISTAKE, parse as parse_typed};
    use super::*;
    use crate::client::notice::tests::name;
    use proptest::prelude::*;

    fn said(line: &str) -> Command {
        parse(line).1.unwrap()
    }

    #[test]
    fn every_command_can_be_said() {
        for (line, typed) in [
            (r#"{"command":"request","peer":"bob"}"#, "REQUEST bob"),
            (r#" { "text" : "hi", "to":"bob", "command":"chat" } "#, "CHAT bob hi"),
            (r#"{"command":"converse","peer":"bob"}"#, "CHAT bob"),
            (r#"{"command":"converse"}"#, "CHAT"),
            (r#"{"command":"contacts"}"#, "CONTACTS"),
            (r#"{"command":"outbox"}"#, "OUTBOX"),
            (r#"{"command":"history","peer":"bob"}"#, "HISTORY bob"),
            (r#"{"command":"history","peer":"bob","count":1000}"#, "HISTORY bob 1000"),
            (r#"{"command":"trust","peer":"bob"}"#, "TRUST bob"),
            (r#"{"command":"trust","peer":"bob","key":"AB12"}"#, "TRUST bob ab12"),
            (r#"{"command":"trust","peer":"bob","key":"12345 67890"}"#, "TRUST bob 1234567890"),
            (r#"{"command":"trust","peer":"discovery","key":"ab12"}"#, "TRUST discovery AB 12"),
            (r#"{"command":"accept","peer":"bob"}"#, "ACCEPT bob"),
            (r#"{"command":"forget","peer":"bob"}"#, "FORGET bob"),
            (r#"{"command":"resend","peer":"bob"}"#, "RESEND bob"),
            (r#"{"command":"block","peer":"bob"}"#, "BLOCK bob"),
            (r#"{"command":"unblock","peer":"bob"}"#, "UNBLOCK bob"),
            (r#"{"command":"search","words":"two  words"}"#, "SEARCH two words"),
            (r#"{"command":"search","words":"x","peer":"bob"}"#, "SEARCH x @bob"),
            (r#"{"command":"why","peer":"bob"}"#, "WHY bob"),
            (r#"{"command":"verify","peer":"bob"}"#, "VERIFY bob"),
            (r##"{"command":"chat","to":"#lab","text":"hi"}"##, "CHAT #lab hi"),
            (r##"{"command":"converse","peer":"#lab~2"}"##, "CHAT #lab~2"),
            (r##"{"command":"converse","room":"#lab"}"##, "CHAT #lab"),
            (r##"{"command":"history","room":"#lab","count":5}"##, "HISTORY #lab 5"),
            (r##"{"command":"search","words":"x","peer":"#lab"}"##, "SEARCH x #lab"),
            (r##"{"command":"search","words":"x","room":"#lab"}"##, "SEARCH #lab x"),
            (r##"{"command":"why","room":"#lab"}"##, "WHY #lab"),
            (r##"{"command":"room","room":"#lab"}"##, "ROOM #lab"),
            (r##"{"command":"invite","room":"#lab","peer":"bob"}"##, "INVITE #lab bob"),
            (r##"{"command":"invite","room":"#lab","peer":"bob","history":"here"}"##, "INVITE #lab bob"),
            (r##"{"command":"invite","room":"#lab","peer":"bob","history":"all"}"##, "INVITE #lab bob all"),
            (r##"{"command":"join","room":"#lab~2"}"##, "JOIN #lab~2"),
            (r##"{"command":"leave","room":"#lab"}"##, "LEAVE #lab"),
            (r#"{"command":"rooms"}"#, "ROOMS"),
            (r##"{"command":"members","room":"#lab"}"##, "MEMBERS #lab"),
            (r##"{"command":"kick","room":"#lab","peer":"bob"}"##, "KICK #lab bob"),
            (r##"{"command":"owner","room":"#lab","peer":"bob"}"##, "OWNER #lab bob"),
            (r##"{"command":"topic","room":"#lab","text":"what we do"}"##, "TOPIC #lab what we do"),
            (r#"{"command":"help"}"#, "HELP"),
            (r#"{"command":"help","about":"chat"}"#, "HELP CHAT"),
            (r#"{"command":"logout"}"#, "LOGOUT"),
        ] {
            assert_eq!(said(line), parse_typed(&format!("/{typed}")).unwrap().unwrap(), "{line}");
        }
    }

    #[test]
    fn a_text_may_have_lines_and_whatever_else_there_is() {
        let text = "two\nlines\r\n\ttab, \u{0}, \"quotes\", \u{1f600}\n";
        let line = serde_json::json!({"command": "chat", "to": "bob", "text": text}).to_string();
        assert_eq!(said(&line), Command::Chat(name("bob").into(), text.into()));
        let escaped = r#"{"command":"chat","to":"bob","text":"\ud83d\ude00"}"#;
        assert_eq!(said(escaped), Command::Chat(name("bob").into(), "\u{1f600}".into()));
    }

    #[test]
    fn the_longest_text_fits_into_a_line_however_it_is_written() {
        let line = |count| format!(r#"{{"command":"chat","to":"bob","text":"{}"}}"#, r"\u0001".repeat(count));
        assert!(line(MAX_TEXT).len() <= MAX_LINE);
        assert_eq!(said(&line(MAX_TEXT)), Command::Chat(name("bob").into(), "\u{1}".repeat(MAX_TEXT)));
        assert_eq!(parse(&line(MAX_TEXT + 1)).1, Err(CommandError::TooLong(Some(MAX_TEXT + 1))));
    }

    #[test]
    fn a_reference_is_known_even_if_the_rest_is_wrong() {
        for (line, expected) in [
            (r#"{"command":"help","ref":"7"}"#, Some(Reference::Text("7".into()))),
            (r#"{"ref":-7,"command":"shout"}"#, Some(Reference::Number(-7))),
            (r#"{"ref":"","to":5,"command":"chat"}"#, Some(Reference::Text(String::new()))),
            (r#"{"ref":null,"command":"help"}"#, None),
            (r#"{"command":"help"}"#, None),
        ] {
            assert_eq!(parse(line).0, expected, "{line}");
        }
        let longest = format!(r#"{{"command":"help","ref":"{}"}}"#, "x".repeat(MAX_REFERENCE));
        assert_eq!(parse(&longest), (Some(Reference::Text("x".repeat(MAX_REFERENCE))), Ok(Command::Help)));
    }

    #[test]
    fn nothing_is_guessed() {
        for (line, expected) in [
            (r#"{"command":"help""#, "EOF"),
            (r#"{"command":"help"} HELP"#, "trailing characters"),
            ("{}", "missing field `command`"),
            (r#"{"command":"SHOUT"}"#, "unknown command `SHOUT`"),
            (r#"{"command":["help"]}"#, "expected"),
            (r#"{"command":"help","loud":true}"#, "unknown field `loud`"),
            (r#"{"command":"chat","to":"bob"}"#, "missing field `text`"),
            (r#"{"command":"chat","to":"bob","text":5}"#, "expected a string"),
            (r#"{"command":"chat","to":"bob","text":" \n"}"#, "\"text\" is empty"),
            (r#"{"command":"chat","to":"bob","to":"carol","text":"x"}"#, "`to` is given twice"),
            (r#"{"command":"chat","to":"Bob","text":"x"}"#, "names are in lower case"),
            (r#"{"command":"history","peer":"bob","count":0}"#, "\"count\" must be a number from 1 to 1000"),
            (r#"{"command":"history","peer":"bob","count":"5"}"#, "\"count\" must be a number"),
            (r#"{"command":"history","peer":null}"#, "missing field `peer`"),
            (r##"{"command":"history","peer":"bob","room":"#lab"}"##, "unknown field `room`"),
            (r#"{"command":"history","room":"bob"}"#, "a room is written with a #: #bob"),
            (r##"{"command":"forget","peer":"#lab"}"##, "a room can't be forgotten"),
            (r##"{"command":"request","peer":"#lab"}"##, "a name can't contain '#'"),
            (r#"{"command":"join"}"#, "missing field `room`"),
            (r##"{"command":"room","room":"#lab~2"}"##, "\"room\" must be #name"),
            (r##"{"command":"invite","room":"#lab","peer":"bob","history":true}"##, "expected a string"),
            (r##"{"command":"invite","room":"#lab","peer":"bob","history":"some"}"##, "\"history\" must be"),
            (r##"{"command":"topic","room":"#lab","text":""}"##, "\"text\" is empty"),
            (r#"{"command":"search","words":" "}"#, "\"words\" is empty"),
            (r#"{"command":"verify","peer":"bob","code":""}"#, "\"code\" must be the 60 digits"),
            (r#"{"command":"help","about":"quit"}"#, "did you mean LOGOUT?"),
            (r#"{"command":"help","ref":1.5}"#, "\"ref\" must be"),
            (r#"{"command":"help","ref":9223372036854775808}"#, "\"ref\" must be"),
            (r#"{"command":"help","ref":{"a":1}}"#, "\"ref\" must be"),
        ] {
            let error = parse(line).1.unwrap_err().to_string();
            assert!(error.contains(expected), "{line}: {error}");
        }
        let long = format!(r#"{{"command":"help","ref":"{}"}}"#, "x".repeat(MAX_REFERENCE + 1));
        assert!(matches!(parse(&long), (None, Err(CommandError::Json(_)))));
    }

    #[test]
    fn a_script_may_also_say_what_a_person_types() {
        assert_eq!(parse_line("  "), None);
        assert_eq!(parse_line("/HELP"), Some((None, Ok(Command::Help))));
        assert_eq!(parse_line(r#"{"command":"help"}"#), Some((None, Ok(Command::Help))));
    }

    proptest! {
        #[test]
        fn any_line_is_a_command_or_an_error_that_is_short_and_safe_to_print(
            line in r#"\{("(command|to|text|ref|peer|.{0,3})":("(chat|help|.{0,9})"|[0-9]{1,3}|null),?){0,4}\}?"#
        ) {
            if let Err(error) = parse(&line).1 {
                let error = error.to_string();
                prop_assert!(!error.chars().any(char::is_control));
                prop_assert!(error.chars().count() < MAX_MISTAKE + 100);
            }
        }
    }
}
