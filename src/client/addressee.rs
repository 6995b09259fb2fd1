//! Where something is said: to a user, or in a room.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::protocol::{Name, NameError};

/// What a room is called here: `#name`, or `#name~2` where an earlier one of this account has the name already.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomLabel {
    pub name: Name,
    /// From 1; which of the rooms of that name it is.
    pub number: u32,
}

/// Where something is said. No user's name begins with a `#`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Addressee {
    User(Name),
    Room(RoomLabel),
}

/// Why a text names no room, or no one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoomLabelError {
    #[error("a room is written with a #: #{0}")]
    NoHash(Name),
    #[error("a room is written as #name, or as #name~2 where two have the same name")]
    Form,
    #[error("{0}")]
    Name(#[from] NameError),
}

impl RoomLabel {
    /// The first room of this name.
    pub fn first(name: Name) -> Self {
        Self { name, number: 1 }
    }
}

impl FromStr for RoomLabel {
    type Err = RoomLabelError;

    fn from_str(text: &str) -> Result<Self, RoomLabelError> {
        let Some(label) = text.strip_prefix('#') else {
            return Err(text.parse().map_or(RoomLabelError::Form, RoomLabelError::NoHash));
        };
        let (name, number) = match label.split_once('~') {
            None => (label, 1),
            // Each room has one label: no zeros in front, and no 1.
            Some((name, digits)) => {
                let number = digits.parse().ok().filter(|number: &u32| number.to_string() == digits);
                (name, number.filter(|number| *number > 1).ok_or(RoomLabelError::Form)?)
            }
        };
        Ok(Self { name: name.parse()?, number })
    }
}

impl fmt::Display for RoomLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            1 => f.pad(&format!("#{}", self.name)),
            number => f.pad(&format!("#{}~{number}", self.name)),
        }
    }
}

impl Serialize for RoomLabel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Addressee {
    pub fn user(&self) -> Option<&Name> {
        match self {
            Self::User(name) => Some(name),
            Self::Room(_) => None,
        }
    }

    pub fn room(&self) -> Option<&RoomLabel> {
        match self {
            Self::User(_) => None,
            Self::Room(room) => Some(room),
        }
    }
}

impl FromStr for Addressee {
    type Err = RoomLabelError;

    fn from_str(text: &str) -> Result<Self, RoomLabelError> {
        if text.starts_with('#') { text.parse().map(Self::Room) } else { Ok(Self::User(text.parse()?)) }
    }
}

impl From<Name> for Addressee {
    fn from(name: Name) -> Self {
        Self::User(name)
    }
}

impl From<RoomLabel> for Addressee {
    fn from(room: RoomLabel) -> Self {
        Self::Room(room)
    }
}

impl fmt::Display for Addressee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => name.fmt(f),
            Self::Room(room) => room.fmt(f),
        }
    }
}

impl Serialize for Addressee {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::User(name) => name.serialize(serializer),
            Self::Room(room) => room.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::notice::tests::name;

    fn room(name: &str, number: u32) -> RoomLabel {
        RoomLabel { name: super::tests::name(name), number }
    }

    #[test]
    fn each_room_has_one_label() {
        for (text, label) in
            [("#lab", room("lab", 1)), ("#lab~2", room("lab", 2)), ("#a-b~4294967295", room("a-b", u32::MAX))]
        {
            assert_eq!(text.parse(), Ok(label.clone()));
            assert_eq!(label.to_string(), text);
            assert_eq!(serde_json::to_string(&label).unwrap(), format!("{text:?}"));
        }
        assert_eq!("lab".parse::<RoomLabel>(), Err(RoomLabelError::NoHash(name("lab"))));
        for text in ["#lab~", "#lab~0", "#lab~1", "#lab~02", "#lab~+2", "#lab~4294967296", "", "a b", "~2"] {
            assert_eq!(text.parse::<RoomLabel>(), Err(RoomLabelError::Form), "{text}");
        }
        for text in ["#", "##lab", "#~2", "#Lab", "#discovery", "#lab\u{1b}"] {
            let error = text.parse::<RoomLabel>().unwrap_err();
            assert!(matches!(error, RoomLabelError::Name(_)), "{text}");
            assert!(!error.to_string().chars().any(char::is_control), "{text}");
        }
    }

    #[test]
    fn a_user_is_never_taken_for_a_room() {
        assert_eq!("bob".parse(), Ok(Addressee::User(name("bob"))));
        assert_eq!("#bob".parse(), Ok(Addressee::Room(room("bob", 1))));
        assert_eq!(
            "Bob".parse::<Addressee>().unwrap_err().to_string(),
            "names are in lower case: write \"bob\""
        );
        let mut sorted =
            ["#lab~10", "#lab~9", "zoe", "#lab", "bob"].map(|text| text.parse::<Addressee>().unwrap());
        sorted.sort();
        assert_eq!(sorted.map(|it| it.to_string()), ["bob", "zoe", "#lab", "#lab~9", "#lab~10"]);
    }
}
