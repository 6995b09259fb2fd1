//! What a prompt shows, and what it completes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::client::addressee::{Addressee, RoomLabel};
use crate::protocol::Name;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptLine {
    /// Where plain lines go.
    pub conversation: Option<Addressee>,
    /// How many messages of the conversation wait here.
    pub waiting: u64,
    /// How many messages are unread, of each user and room that has any.
    pub unread: BTreeMap<Addressee, u64>,
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
