//! What a user may want otherwise.

use std::sync::Arc;

use super::colours::Colours;
use super::keymap::KeyMap;
use crate::client::console::attention::Rules;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preferences {
    pub keys: KeyMap,
    pub colours: Colours,
    /// What calls for the user, also in the other front ends: what is muted has no colour, and a highlight in a room is a
    /// mention.
    pub rules: Arc<Rules>,
}
