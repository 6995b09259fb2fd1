//! The arguments of a command, typed or in JSON: one parser reads both.
//!
//! Typed arguments are read in order, those in JSON by the names of their fields. Nothing is guessed: an argument
//! that is missing, of another type or left over is an error.

use std::str::FromStr;

use serde_json::{Map, Value};

use super::{CommandError, mistake};
use crate::client::addressee::{Addressee, RoomLabel};
use crate::protocol::Name;
use crate::store::journal::Seq;

type Result<T> = std::result::Result<T, CommandError>;

/// The arguments that no parser has read yet.
pub enum Arguments<'a> {
    Typed { usage: &'static str, rest: &'a str },
    Json(Map<String, Value>),
}

impl Arguments<'_> {
    /// What the parser makes of all of them.
    pub fn parse<T>(mut self, parser: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let parsed = parser(&mut self)?;
        match self {
            Self::Typed { usage, rest } if !rest.trim_start().is_empty() => Err(CommandError::Usage(usage)),
            Self::Typed { .. } => Ok(parsed),
            Self::Json(fields) => match fields.keys().next() {
                Some(field) => Err(mistake(format_args!("unknown field `{field}`"))),
                None => Ok(parsed),
            },
        }
    }

    pub fn user(&mut self, field: &str) -> Result<Name> {
        self.parsed(field)
    }

    pub fn room(&mut self, field: &str) -> Result<RoomLabel> {
        self.parsed(field)
    }

    /// A user or a room.
    pub fn recipient(&mut self, field: &str) -> Result<Addressee> {
        self.parsed(field)
    }

    fn parsed<T: FromStr>(&mut self, field: &str) -> Result<T>
    where
        CommandError: From<T::Err>,
    {
        match self.word(field)? {
            Some(word) => Ok(word.parse()?),
            None => Err(self.missing(field)),
        }
    }

    /// A user or a room, which a script may also give as `room`.
    pub fn addressee(&mut self, field: &str) -> Result<Addressee> {
        let addressee = self.optional_addressee(field)?;
        addressee.ok_or_else(|| self.missing(field))
    }

    pub fn optional_addressee(&mut self, field: &str) -> Result<Option<Addressee>> {
        if let Some(word) = self.word(field)? {
            return Ok(Some(word.parse()?));
        }
        let room = if self.is_typed() { None } else { self.word("room")? };
        Ok(room.map(|room| room.parse().map(Addressee::Room)).transpose()?)
    }

    /// A user that is typed with an `@`, or a room, before or after all that is left.
    pub fn mentioned(&mut self, field: &str) -> Result<Option<Addressee>> {
        let Self::Typed { rest, .. } = self else {
            return self.optional_addressee(field);
        };
        let text = rest.trim();
        let (first, after) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let (before, last) = text.rsplit_once(char::is_whitespace).unwrap_or(("", text));
        for (word, others) in [(first, after), (last, before)] {
            let mentioned = match word.strip_prefix('@') {
                Some(user) => Addressee::User(user.parse()?),
                None if word.starts_with('#') => Addressee::Room(word.parse()?),
                None => continue,
            };
            *rest = others;
            return Ok(Some(mentioned));
        }
        Ok(None)
    }

    /// A number from 1 to `most`.
    pub fn number(&mut self, field: &'static str, most: u32) -> Result<Option<u32>> {
        let number = match self {
            Self::Typed { .. } => self.word(field)?.map(|word| word.parse().ok()),
            Self::Json(fields) => take(fields, field).map(|value| value.as_u64()?.try_into().ok()),
        };
        match number {
            None => Ok(None),
            Some(Some(number)) if (1..=most).contains(&number) => Ok(Some(number)),
            Some(_) => Err(self.invalid(field, format!("a number from 1 to {most}"))),
        }
    }

    /// A place in the journal, which is not typed.
    pub fn place(&mut self, field: &'static str) -> Result<Option<Seq>> {
        let Self::Json(fields) = self else {
            return Ok(None);
        };
        match take(fields, field).map(|value| value.as_i64().filter(|place| *place >= 0)) {
            None => Ok(None),
            Some(Some(place)) => Ok(Some(place)),
            Some(None) => Err(self.invalid(field, "the seq of a message".into())),
        }
    }

    /// What a script says is so; not so unless it does.
    pub fn flag(&mut self, field: &'static str) -> Result<bool> {
        let Self::Json(fields) = self else {
            return Ok(false);
        };
        match take(fields, field) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(self.invalid(field, "true or false".into())),
        }
    }

    pub fn word(&mut self, field: &str) -> Result<Option<String>> {
        let Self::Typed { rest, .. } = self else {
            return self.rest(field);
        };
        let start = rest.trim_start();
        let (word, after) = start.split_once(char::is_whitespace).unwrap_or((start, ""));
        *rest = after;
        Ok(Some(word).filter(|word| !word.is_empty()).map(str::to_owned))
    }

    /// A text that is not blank: all that is left.
    pub fn text(&mut self, field: &str) -> Result<String> {
        let text = self.required(field)?;
        if text.trim_start().is_empty() {
            Err(mistake(format_args!("\"{field}\" is empty")))
        } else {
            Ok(text)
        }
    }

    pub fn required(&mut self, field: &str) -> Result<String> {
        self.rest(field)?.ok_or_else(|| self.missing(field))
    }

    /// All that is left, to the letter, if it is not blank.
    pub fn rest(&mut self, field: &str) -> Result<Option<String>> {
        match self {
            Self::Typed { rest, .. } => {
                let rest = std::mem::take(rest);
                Ok(Some(rest).filter(|rest| !rest.trim_start().is_empty()).map(str::to_owned))
            }
            Self::Json(fields) => match take(fields, field) {
                None => Ok(None),
                Some(Value::String(text)) => Ok(Some(text)),
                Some(_) => Err(mistake(format_args!("wrong type of `{field}`, expected a string"))),
            },
        }
    }

    pub fn is_typed(&self) -> bool {
        matches!(self, Self::Typed { .. })
    }

    /// The error that an argument is missing.
    pub fn missing(&self, field: &str) -> CommandError {
        match self {
            Self::Typed { usage, .. } => CommandError::Usage(usage),
            Self::Json(_) => mistake(format_args!("missing field `{field}`")),
        }
    }

    /// The error that an argument is not what it must be.
    pub fn invalid(&self, field: &'static str, must_be: String) -> CommandError {
        match self {
            Self::Typed { usage, .. } => CommandError::Invalid { usage, argument: field, must_be },
            Self::Json(_) => mistake(format_args!("\"{field}\" must be {must_be}")),
        }
    }
}

/// Takes a field away; `null` stands for one that is not there.
fn take(fields: &mut Map<String, Value>, field: &str) -> Option<Value> {
    fields.remove(field).filter(|value| !value.is_null())
}
