//! The front end that has a whole terminal: a list of conversations, one of them open, and a line that is being typed.
//!
//! - `keymap`, `colours`, `preferences`: what a user may want otherwise.

pub use preferences::Preferences;

pub mod colours;
pub mod keymap;
mod preferences;
