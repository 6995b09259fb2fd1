//! What is said in JSON only, by programs that show what others type.

use super::table::{Command, Parser};
use super::{CommandError, parse};

pub static UNTYPED: &[(&str, Parser)] = &[
    ("line", |args| {
        let (line, asked, alias) = (args.text("text")?, args.flag("meant")?, args.word("instead")?);
        // What was typed is one message however many lines it has.
        let mut command = parse(&line).unwrap_or_else(|| Err(CommandError::unknown("")))?;
        if let Command::Line { meant, otherwise, instead, .. } = &mut command {
            *meant = asked;
            match alias.as_deref().map(parse) {
                None => {}
                Some(Some(Ok(Command::Line { .. })) | None) => {
                    return Err(args.invalid("instead", "a command after a /".into()));
                }
                Some(Some(understood)) => {
                    **otherwise = understood;
                    *instead = alias;
                }
            }
        }
        Ok(command)
    }),
    ("prompt", |_| Ok(Command::Prompt)),
    ("quiet", |_| Ok(Command::Quiet)),
    ("reads", |_| Ok(Command::Reads)),
    ("read", |args| {
        let (peer, up_to) = (args.addressee("peer")?, args.place("up_to")?);
        up_to.map(|up_to| Command::Read(peer, up_to)).ok_or_else(|| args.missing("up_to"))
    }),
];
