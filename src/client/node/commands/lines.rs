//! What a line means where it is typed, and lines that are not done.

use super::super::super::command::{Command, CommandError};
use super::super::super::event::BoxId;
use super::super::super::notice::{Code, ErrorNotice, Notice};
use super::super::output::Asked;
use super::Node;

/// What a line means in a front end, here and now.
pub(in super::super) fn meaning(
    node: &Node,
    front_end: BoxId,
    command: &Command,
) -> Result<Command, CommandError> {
    let with = node.conversations.with(front_end, &node.roster);
    match (command, with) {
        (Command::Line { text, otherwise, meant, .. }, Some(to)) => match &**otherwise {
            Ok(command) if !meant && command.may_be_meant(|name| node.roster.known_by(name).is_some()) => {
                Err(CommandError::Doubtful(to))
            }
            _ => Ok(Command::Chat(to, text.clone())),
        },
        (Command::Line { otherwise, .. }, None) => (**otherwise).clone(),
        (command, _) => Ok(command.clone()),
    }
}

/// A line that is no command was not done.
pub(in super::super) fn refuse_line(node: &mut Node, error: &CommandError) {
    node.refuse(error.into(), None, error.to_string());
}

/// A command could not be saved, and so was not done.
pub(in super::super) fn refuse_unsaved(node: &mut Node, command: &Command, asked: Asked) {
    node.fx.output.answer(Some(asked));
    node.note_refused();
    node.fx.tell(Notice::Error(ErrorNotice {
        code: Code::NotSaved,
        message: format!("not saved, and not done: {command}; the disk is full or fails"),
        peer: command.user().cloned(),
        room: command.room().cloned(),
        room_id: command.room().and_then(|room| node.conversations.room_key(room)),
        id: None,
        text: command.text().map(str::to_owned),
    }));
    node.fx.output.answer(None);
}
