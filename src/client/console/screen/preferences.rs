//! What a user may want otherwise.

use std::collections::BTreeSet;

use super::colours::Colours;
use super::keymap::KeyMap;
use crate::client::addressee::Addressee;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preferences {
    pub keys: KeyMap,
    pub colours: Colours,
    /// Words that count as a mention wherever they stand in a room, in upper or lower case. One's own name does so anyway.
    pub highlight: Vec<String>,
    /// The conversations that ring no bell, and whose unread messages have no colour.
    pub mute: BTreeSet<Addressee>,
}
