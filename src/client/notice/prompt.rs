//! What a prompt shows, and what it completes.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::numbers::grouped;
use crate::client::addressee::{Addressee, RoomLabel};
use crate::protocol::Name;

/// Long work, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Work {
    /// So many messages of a user or in a room have come in without a pause, of about how many, where that is known.
    Receiving {
        from: Addressee,
        count: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        of: Option<u64>,
    },
    /// A search waits for so many messages to be indexed, and so many are.
    Searching { done: u64, of: u64 },
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Receiving { from, count, of } => {
                let place = if from.room().is_some() { "in" } else { "from" };
                write!(f, "receiving {place} {from}: {}", grouped(*count))?;
                match of.filter(|of| of > count) {
                    Some(of) => write!(f, " of {}", grouped(of)),
                    None => f.write_str(" so far"),
                }
            }
            Self::Searching { done, of } => {
                write!(f, "searching: {} of {} messages indexed", grouped(*done), grouped(*of))
            }
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptLine {
    /// Where plain lines go.
    pub conversation: Option<Addressee>,
    /// How many messages of the conversation wait here.
    pub waiting: u64,
    /// How many messages are unread, of each user and room that has any.
    pub unread: BTreeMap<Addressee, u64>,
    /// Long work that goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub work: Option<Work>,
    /// All contacts, sorted, unless they are the same as before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contacts: Option<Vec<Name>>,
    /// All rooms, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rooms: Option<Vec<RoomLabel>>,
}

impl PromptLine {
    /// Roughly how many bytes it takes in memory.
    pub(super) fn weight(&self) -> usize {
        let names = self.contacts.as_ref().map_or(0, Vec::len) + self.rooms.as_ref().map_or(0, Vec::len);
        (self.unread.len() + names) * size_of::<Addressee>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_told_in_a_few_words() {
        let receiving = |from: &str, of| Work::Receiving { from: from.parse().unwrap(), count: 12_000, of };
        for (work, words) in [
            (receiving("bob", None), "receiving from bob: 12,000 so far"),
            (receiving("#lab", Some(40_000)), "receiving in #lab: 12,000 of 40,000"),
            (receiving("#lab", Some(12_000)), "receiving in #lab: 12,000 so far"),
            (Work::Searching { done: 0, of: 1_000 }, "searching: 0 of 1,000 messages indexed"),
        ] {
            assert_eq!(work.to_string(), words);
        }
    }
}
