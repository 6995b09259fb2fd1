//! Commands as JSON, as a box says them to the client that it is attached to.

use serde_json::{Map, Value, json};

use super::{Beside, Command, Reference};

impl Command {
    /// What [`json::parse`](super::json::parse) understands as this command with this reference.
    pub fn to_json(&self, reference: Option<&Reference>) -> Value {
        let (word, fields) = self.said();
        let mut object = Map::from_iter([("command".to_owned(), word.into())]);
        if let Value::Object(fields) = fields {
            object.extend(fields);
        }
        object.extend(reference.map(|it| ("ref".to_owned(), json!(it))));
        Value::Object(object)
    }

    /// Its word, and its fields.
    fn said(&self) -> (&'static str, Value) {
        let none = Value::Null;
        match self {
            Self::Request(peer) => ("request", json!({"peer": peer})),
            Self::Chat(to, text) => ("chat", json!({"to": to, "text": text})),
            Self::Converse(peer) => ("converse", json!({"peer": peer})),
            Self::Line { text, instead, meant, .. } => {
                // It has lost a slash when it was typed.
                let slash = if text.starts_with('/') { "/" } else { "" };
                let mut fields = Map::from_iter([("text".to_owned(), format!("{slash}{text}").into())]);
                fields.extend(instead.iter().map(|it| ("instead".to_owned(), json!(it))));
                fields.extend(meant.then(|| ("meant".to_owned(), true.into())));
                ("line", fields.into())
            }
            Self::Logout => ("logout", none),
            Self::Contacts => ("contacts", none),
            Self::Outbox => ("outbox", none),
            Self::History(peer, count) => ("history", json!({"peer": peer, "count": count})),
            Self::Page { peer, count, beside } => {
                let (side, place) = match beside {
                    Beside::Before(before) => ("before", before),
                    Beside::After(after) => ("after", after),
                };
                ("history", json!({"peer": peer, "count": count, side: place}))
            }
            Self::Read(peer, up_to) => ("read", json!({"peer": peer, "up_to": up_to})),
            Self::Prompt => ("prompt", none),
            Self::Quiet => ("quiet", none),
            Self::Reads => ("reads", none),
            Self::Detach => ("detach", none),
            Self::Search { words, within } => ("search", json!({"words": words.join(" "), "peer": within})),
            Self::Why(peer) => ("why", json!({"peer": peer})),
            Self::Verify(peer, code) => ("verify", json!({"peer": peer, "code": code})),
            Self::Trust(peer, key) => ("trust", json!({"peer": peer, "key": key})),
            Self::TrustDiscovery(key) => ("trust", json!({"peer": "discovery", "key": key})),
            Self::Accept(peer) => ("accept", json!({"peer": peer})),
            Self::Forget(peer) => ("forget", json!({"peer": peer})),
            Self::Resend(peer) => ("resend", json!({"peer": peer})),
            Self::Block(peer) => ("block", json!({"peer": peer})),
            Self::Unblock(peer) => ("unblock", json!({"peer": peer})),
            Self::Room(room, past) => ("room", json!({"room": room, "past": past})),
            Self::Invite { room, user, all } => {
                ("invite", json!({"room": room, "peer": user, "history": if *all { "all" } else { "here" }}))
            }
            Self::Join(room) => ("join", json!({"room": room})),
            Self::Leave(room) => ("leave", json!({"room": room})),
            Self::Rooms => ("rooms", none),
            Self::Members(room) => ("members", json!({"room": room})),
            Self::Kick(room, peer) => ("kick", json!({"room": room, "peer": peer})),
            Self::Owner(room, peer) => ("owner", json!({"room": room, "peer": peer})),
            Self::Topic(room, text) => ("topic", json!({"room": room, "text": text})),
            Self::Help => ("help", none),
            Self::Explain(about) => ("help", json!({"about": about.command})),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Aliases, json::parse as parse_json, parse};
    use super::*;

    /// A line that the user was asked about.
    fn meant(line: &str) -> Command {
        match parse(line) {
            Some(Ok(Command::Line { text, otherwise, instead, .. })) => {
                Command::Line { text, otherwise, instead, meant: true }
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_typed_here_is_understood_there() {
        let code = "12345 67890 ".repeat(6);
        for line in [
            "REQUEST bob",
            "CHAT bob two  spaces ",
            "CHAT #lab~2 hi",
            "CHAT bob",
            "CHAT",
            "hello there",
            "  HELP me ",
            "//help",
            "///",
            "chat bob hi",
            "two\nlines",
            "LOGOUT",
            "CONTACTS",
            "OUTBOX",
            "HISTORY bob 5",
            "SEARCH two words @bob",
            "SEARCH #lab words",
            "WHY #lab",
            "VERIFY bob",
            &format!("VERIFY bob {code}"),
            "TRUST bob ab12",
            "TRUST bob",
            "TRUST discovery ab 12",
            "ACCEPT bob",
            "FORGET bob",
            "RESEND bob",
            "BLOCK bob",
            "UNBLOCK bob",
            "ROOM #lab",
            "ROOM #lab #lab~2",
            "INVITE #lab bob",
            "INVITE #lab bob all",
            "JOIN #lab",
            "LEAVE #lab",
            "ROOMS",
            "MEMBERS #lab",
            "KICK #lab bob",
            "OWNER #lab bob",
            "TOPIC #lab what we do ",
            "HELP",
            "HELP CHAT",
            "DETACH",
        ] {
            let command = parse(line).unwrap().unwrap();
            for reference in [None, Some(Reference::Number(7))] {
                let said = command.to_json(reference.as_ref()).to_string();
                assert_eq!(parse_json(&said), (reference, Ok(command.clone())), "{line}: {said}");
            }
        }
        let mut aliases = Aliases::default();
        aliases.add("j", "JOIN #$1").unwrap();
        let bob: crate::protocol::Name = "bob".parse().unwrap();
        for command in [
            Command::Page { peer: bob.clone().into(), count: 3, beside: Beside::Before(9) },
            Command::Page { peer: bob.clone().into(), count: 3, beside: Beside::After(0) },
            Command::Read(bob.into(), 9),
            Command::Prompt,
            Command::Quiet,
            Command::Reads,
            meant("chat carol hi"),
            meant("//help"),
            aliases.parse("j lab").unwrap().unwrap(),
            aliases.parse(" /j").unwrap().unwrap(),
        ] {
            assert_eq!(parse_json(&command.to_json(None).to_string()), (None, Ok(command)));
        }
    }
}
