//! The one grammar of user names.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use minicbor::decode::{self, Decode, Decoder};
use minicbor::encode::{self, Encode, Encoder, Write};

/// A user's name: 1 to [`Name::MAX`] characters, each of `a`–`z`, `0`–`9`, `.`, `_` or `-`, the first a
/// letter or a digit.
///
/// The grammar is narrow on purpose: few names look alike on a terminal, and every name is a safe
/// file name, a safe word of a command and harmless in a log. [`Name::DISCOVERY`] is no user's: commands mean the
/// server by it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

impl Name {
    /// The longest name, in characters (which are bytes).
    pub const MAX: usize = 32;
    /// What commands call the server.
    pub const DISCOVERY: &str = "discovery";

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("a name can't be empty")]
    Empty,
    #[error("a name has at most {max} characters, this one has {0} bytes", max = Name::MAX)]
    TooLong(usize),
    /// Capital letters, which are left out so that no two names differ only in case.
    #[error("names are in lower case: write {0:?}")]
    UpperCase(String),
    /// A character outside the grammar. It is escaped here, so that the error is safe to print.
    #[error("a name can't contain {0:?}: use the letters a to z, digits, '.', '_' and '-'")]
    Character(char),
    #[error("a name starts with a letter or a digit, not with {0:?}")]
    Start(char),
    #[error("{DISCOVERY:?} is the server's name, and no user's", DISCOVERY = Name::DISCOVERY)]
    Reserved,
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let Some(first) = text.chars().next() else {
            return Err(NameError::Empty);
        };
        if text.len() > Self::MAX {
            return Err(NameError::TooLong(text.len()));
        }
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if let Some(wrong) = text.chars().find(|c| !fits(*c)) {
            return Err(NameError::Character(wrong));
        }
        if !first.is_ascii_alphanumeric() {
            return Err(NameError::Start(first));
        }
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(NameError::UpperCase(text.to_ascii_lowercase()));
        }
        if text == Self::DISCOVERY {
            return Err(NameError::Reserved);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl serde::Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<C> Encode<C> for Name {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.str(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Name {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let at = d.position();
        d.str()?.parse().map_err(|_| decode::Error::message("not a user name").at(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn grammar() {
        for good in ["a", "0", "alice", "bob-2", "j.r_r", &"x".repeat(32)] {
            assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
        }
        assert_eq!("".parse::<Name>(), Err(NameError::Empty));
        assert_eq!("x".repeat(33).parse::<Name>(), Err(NameError::TooLong(33)));
        assert_eq!("Alice".parse::<Name>(), Err(NameError::UpperCase("alice".into())));
        for (text, wrong) in [
            ("bob'; DROP TABLE users;--", '\''),
            ("a b", ' '),
            ("a\0b", '\0'),
            ("аlice", 'а'),
            ("a/../b", '/'),
            ("a\u{1b}[2J", '\u{1b}'),
        ] {
            assert_eq!(text.parse::<Name>(), Err(NameError::Character(wrong)));
        }
        assert_eq!("discovery".parse::<Name>(), Err(NameError::Reserved));
        for text in ["-a", ".a", "_a", ".."] {
            assert!(matches!(text.parse::<Name>(), Err(NameError::Start(_))), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_name_is_what_the_grammar_says(text in "\\PC{0,40}|[a-zA-Z0-9._-]{0,40}") {
            let fits = (1..=Name::MAX).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
                && !b"._-".contains(&text.as_bytes()[0]);
            prop_assert_eq!(text.parse::<Name>().is_ok(), fits);
        }

        #[test]
        fn errors_are_safe_to_print(text in any::<String>()) {
            if let Err(error) = text.parse::<Name>() {
                prop_assert!(!error.to_string().chars().any(char::is_control));
            }
        }
    }
}
