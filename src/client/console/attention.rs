//! What calls for the user's attention, by a bell or a command.

use crate::client::notice::Notice;

/// Strangers call once between them: they may be many, and each may be new.
#[derive(Debug, Default)]
pub struct Attention {
    stranger_called: bool,
}

impl Attention {
    /// Whether the notice calls: a message that was not shown before, an invitation, or a first word of strangers.
    pub fn calls(&mut self, notice: &Notice) -> bool {
        match notice {
            Notice::Message { replayed: false, stranger: false, .. }
            | Notice::Invite { stranger: false, .. } => true,
            Notice::Message { replayed: false, stranger: true, .. }
            | Notice::Invite { stranger: true, .. }
            | Notice::Request { stranger: true, .. } => !std::mem::replace(&mut self.stranger_called, true),
            _ => false,
        }
    }
}
