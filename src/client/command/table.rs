//! The one table of commands. A command is added here: a variant of [`Command`] and a row of [`COMMANDS`].

use super::arguments::Arguments;
use super::explanation::Explanation;
use super::{CommandError, MAX_TEXT};
use crate::client::addressee::{Addressee, RoomLabel};
use crate::client::verification;
use crate::protocol::Name;
use crate::store::journal::Seq;

const DEFAULT_HISTORY: u32 = 20;
const MAX_HISTORY: u32 = 1000;
const MAX_WORDS: usize = 16;
/// In bytes, all words of a `SEARCH` together.
const MAX_SEARCH: usize = 400;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Request(Name),
    Chat(Addressee, String),
    /// Enter the conversation with a contact or a room, or leave it.
    Converse(Option<Addressee>),
    /// A message for the current conversation. Outside a conversation the line may be a command all the same.
    Line {
        text: String,
        otherwise: Box<Result<Self, CommandError>>,
        /// The line that was understood there, unless it is this one: what an alias stands for.
        instead: Option<String>,
        /// Whether the user was asked, and wants it said although it may read as a command.
        meant: bool,
    },
    Logout,
    Contacts,
    Outbox,
    /// Show so many of the last messages with a contact, or in a room.
    History(Addressee, u32),
    /// Show so many of the messages beside a place in the journal, and mark nothing as read.
    Page {
        peer: Addressee,
        count: u32,
        beside: Beside,
    },
    /// Mark as read what others said up to a place in the journal.
    Read(Addressee, Seq),
    /// Tell what a prompt shows, now and whenever it has changed.
    Prompt,
    /// In this box messages count as read by [`Command::Read`] alone.
    Reads,
    /// Show no messages in this box. It counts as the first line of a box only.
    Quiet,
    /// End this box; the client goes on, if it runs without a terminal.
    Detach,
    /// Find the messages of all conversations, or of one, that contain all the words; the last may be the beginning of
    /// a word.
    Search {
        words: Vec<String>,
        within: Option<Addressee>,
    },
    Why(Addressee),
    /// Show the code to compare with a contact, or mark the contact as verified if it is this one.
    Verify(Name, Option<String>),
    /// Accept a contact's new key, whose first digits or whose code of `VERIFY` these are, without spaces and in lower
    /// case.
    Trust(Name, Option<String>),
    /// Accept discovery's new key, whose first digits these are.
    TrustDiscovery(Option<String>),
    /// Answer a stranger, who is a contact then.
    Accept(Name),
    /// Remove a user, with all that was said.
    Forget(Name),
    /// Send a contact again what their client has lost.
    Resend(Name),
    Block(Name),
    Unblock(Name),
    /// Found a room, perhaps one that goes on from another one.
    Room(RoomLabel, Option<RoomLabel>),
    /// Invite a contact into a room. With `all` they are given what was said before, too.
    Invite {
        room: RoomLabel,
        user: Name,
        all: bool,
    },
    /// Accept an invitation.
    Join(RoomLabel),
    /// Leave a room, or decline an invitation.
    Leave(RoomLabel),
    Rooms,
    Members(RoomLabel),
    /// Remove a member from a room.
    Kick(RoomLabel, Name),
    /// Hand a room over to a member.
    Owner(RoomLabel, Name),
    /// Say what a room is about.
    Topic(RoomLabel, String),
    Help,
    Explain(Explanation),
}

/// On which side of a place in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// The last of those that stand before it.
    Before(Seq),
    /// The first of those that stand after it.
    After(Seq),
}

pub struct Spec {
    /// In upper case, as it is typed.
    pub name: &'static str,
    /// What other programs call it, for hints: they are not commands here.
    pub(super) aliases: &'static [&'static str],
    /// Each usage and its meaning, which fit into 80 columns together. Tab completes `user`, `#name` and `command`.
    pub usages: &'static [(&'static str, &'static str)],
    /// What `HELP <command>` adds, in lines for 80 columns.
    pub(super) more: &'static str,
    /// What the command is called in JSON, and how it is made of its arguments. A typed line is the first that fits.
    pub(super) forms: &'static [(&'static str, Parser)],
    /// Whether the command changes the journal.
    pub(super) writes: fn(&Command) -> bool,
}

pub(super) type Parser = fn(&mut Arguments<'_>) -> Result<Command, CommandError>;

/// Every command, in the order of `HELP`.
pub static COMMANDS: &[Spec] = &[
    Spec {
        name: "REQUEST",
        aliases: &["ADD", "CONNECT"],
        usages: &[("REQUEST <user>", "connect to a user, now or once you are both online")],
        more: "Discovery passes your request on, and keeps it while the user is away. Once
you are linked, each of you is a contact of the other. If there is no such
user, the request is withdrawn, and unsent messages are given back to you.",
        forms: &[("request", |args| Ok(Command::Request(args.user("peer")?)))],
        writes: |_| true,
    },
    Spec {
        name: "ACCEPT",
        aliases: &["ANSWER"],
        usages: &[("ACCEPT <user>", "answer a user who asks for you: a contact from now on")],
        more: "Until you answer, a user who asks for you is a stranger, from whom only a few
messages are taken. CHAT <user> <message> answers too. FORGET <user> ends it.",
        forms: &[("accept", |args| Ok(Command::Accept(args.user("peer")?)))],
        writes: |_| true,
    },
    Spec {
        name: "CHAT",
        aliases: &["MSG", "M", "QUERY", "TELL", "SAY", "TO"],
        usages: &[
            ("CHAT <user> <message>", "send a message; it waits while the user is away"),
            ("CHAT #name <message>", "say something in a room; CHAT #name enters it"),
            ("CHAT [user]", "enter a conversation; CHAT alone leaves it"),
        ],
        more: "In a conversation, each line you type is a message to that user or room,
unless it starts with / or is REQUEST <user>, CHAT or LOGOUT in upper case.
You are asked about other lines that read as a command. //x sends /x.
A message is safe on your disk before it is reported as sent. It is delivered
once and in order, however long you or the user are away.",
        forms: &[
            ("chat", |args| {
                let (to, text) = (args.recipient("to")?, args.text("text")?);
                if text.len() > MAX_TEXT {
                    return Err(CommandError::TooLong(Some(text.len())));
                }
                Ok(Command::Chat(to, text))
            }),
            ("converse", |args| Ok(Command::Converse(args.optional_addressee("peer")?))),
        ],
        writes: |command| matches!(command, Command::Chat(..)),
    },
    Spec {
        name: "CONTACTS",
        aliases: &["NAMES", "LIST", "ROSTER", "FRIENDS"],
        usages: &[("CONTACTS", "list your contacts and whether they are online")],
        more: "linked: there is a live connection
online: discovery says so
offline: with the time at which the user was last known to be online
unread: messages that you have not seen yet
verified: you have compared a code with the user, see HELP VERIFY",
        forms: &[("contacts", |_| Ok(Command::Contacts))],
        writes: |_| false,
    },
    Spec {
        name: "OUTBOX",
        aliases: &[],
        usages: &[("OUTBOX", "list messages that are not delivered yet")],
        more: "The oldest undelivered messages to each contact, and how many there are. Of a
room: those that no other member has yet, also while none has joined.",
        forms: &[("outbox", |_| Ok(Command::Outbox))],
        writes: |_| false,
    },
    Spec {
        name: "HISTORY",
        aliases: &[],
        usages: &[
            ("HISTORY <user> [n]", "show the last n messages with a user (20 by default)"),
            ("HISTORY #name [n]", "the same of a room, in the order that all members see"),
        ],
        more: "(waiting) marks your messages that the user does not have yet. n is at most
1000. In a room, (3 of 5) says how many members have a message of yours; the
order is final up to a line that says so.",
        forms: &[("history", |args| {
            let (peer, count) = (args.addressee("peer")?, args.number("count", MAX_HISTORY)?);
            let count = count.unwrap_or(DEFAULT_HISTORY);
            let beside = match (args.place("before")?, args.place("after")?) {
                (None, None) => return Ok(Command::History(peer, count)),
                (Some(before), None) => Beside::Before(before),
                (None, Some(after)) => Beside::After(after),
                (Some(_), Some(_)) => return Err(args.invalid("after", "without before".into())),
            };
            Ok(Command::Page { peer, count, beside })
        })],
        writes: |_| false,
    },
    Spec {
        name: "SEARCH",
        aliases: &["LASTLOG", "FIND", "GREP"],
        usages: &[
            ("SEARCH <words> [@user]", "search all conversations, or the one with that user"),
            ("SEARCH <words> [#name]", "search a room"),
        ],
        more: "The latest 20 messages that contain all the words, newest first. The last
word may be the beginning of a longer one. @user or #name may stand before or
after the words.",
        forms: &[("search", |args| {
            let within = args.mentioned("peer")?;
            let words: Vec<String> = args.text("words")?.split_whitespace().map(str::to_owned).collect();
            if words.len() > MAX_WORDS || words.iter().map(String::len).sum::<usize>() > MAX_SEARCH {
                return Err(
                    args.invalid("words", format!("at most {MAX_WORDS}, of {MAX_SEARCH} bytes in all"))
                );
            }
            Ok(Command::Search { words, within })
        })],
        writes: |_| false,
    },
    Spec {
        name: "WHY",
        aliases: &[],
        usages: &[
            ("WHY <user>", "explain why a user can't be reached"),
            ("WHY #name", "explain why members of a room can't be reached"),
        ],
        more: "The reason comes first. Then come what discovery says, the known addresses,
when each was tried and with what result, when the next attempt is due, and
how many messages are waiting. Of a room: how this client stands in it, and
why each other member can't be reached.",
        forms: &[("why", |args| Ok(Command::Why(args.addressee("peer")?)))],
        writes: |_| false,
    },
    Spec {
        name: "VERIFY",
        aliases: &[],
        usages: &[("VERIFY <user> [code]", "compare a code of 60 digits to verify a user's key")],
        more: "You and the user see the same 60 digits, unless a third party intercepts your
connection: 30 for the key of each, the same with every contact. Have the user
read the digits to you, over the telephone or face to face, and type what you
hear: VERIFY <user> <digits>. If the user's key changes, the contact is no
longer verified.",
        forms: &[("verify", |args| {
            let (user, typed) = (args.user("peer")?, args.rest("code")?);
            let code = typed.as_deref().and_then(verification::typed);
            if typed.is_some() && code.is_none() {
                return Err(args.invalid("code", "the 60 digits that VERIFY <user> shows".into()));
            }
            Ok(Command::Verify(user, code))
        })],
        writes: |command| matches!(command, Command::Verify(_, Some(_))),
    },
    Spec {
        name: "TRUST",
        aliases: &[],
        usages: &[
            ("TRUST <user> <digits>", "accept a user's new key"),
            ("TRUST discovery <digits>", "accept the new key of discovery"),
        ],
        more: "When discovery names another key for a contact, nothing is sent to them until
you accept it. First ask them, in some other way, for their key or their code
of VERIFY: the digits are the first 16 or more of the key, or the whole code.
When discovery itself has another key, its operator can tell you which.",
        forms: &[("trust", |args| {
            let (who, typed) = (args.word("peer")?.unwrap_or_default(), args.rest("key")?);
            let digits = typed.map(|typed| typed.split_whitespace().collect::<String>().to_ascii_lowercase());
            if who.is_empty() {
                Err(args.missing("peer"))
            } else if who == Name::DISCOVERY {
                Ok(Command::TrustDiscovery(digits))
            } else {
                Ok(Command::Trust(who.parse()?, digits))
            }
        })],
        writes: |_| true,
    },
    Spec {
        name: "BLOCK",
        aliases: &["IGNORE"],
        usages: &[("BLOCK <user>", "accept nothing more from a user")],
        more: "The user's connections are refused, and their messages stay with them. You can
also block a user who has not contacted you.",
        forms: &[("block", |args| Ok(Command::Block(args.user("peer")?)))],
        writes: |_| true,
    },
    Spec {
        name: "UNBLOCK",
        aliases: &["UNIGNORE"],
        usages: &[("UNBLOCK <user>", "accept a blocked user's messages again")],
        more: "Messages that the user wrote in the meantime arrive now.",
        forms: &[("unblock", |args| Ok(Command::Unblock(args.user("peer")?)))],
        writes: |_| true,
    },
    Spec {
        name: "FORGET",
        aliases: &["REMOVE", "DELETE", "UNFRIEND"],
        usages: &[("FORGET <user>", "remove a user, and all that was said")],
        more: "The user is told that the contact has ended. What you wrote to each other is
removed from your disk, not from theirs. They can ask for you again, as a
stranger; BLOCK <user> refuses that too. Rooms can't be forgotten.",
        forms: &[("forget", |args| match args.recipient("peer")? {
            Addressee::User(name) => Ok(Command::Forget(name)),
            Addressee::Room(room) => Err(CommandError::RoomStays(room)),
        })],
        writes: |_| true,
    },
    Spec {
        name: "RESEND",
        aliases: &[],
        usages: &[("RESEND <user>", "send again what a user's client has lost")],
        more: "When a user's client has lost messages that it had, you are told how many, and
nothing is sent again by itself: another person who has the user's key would
look the same. Ask the user first. What they still have is not shown twice.",
        forms: &[("resend", |args| Ok(Command::Resend(args.user("peer")?)))],
        writes: |_| true,
    },
    Spec {
        name: "ROOM",
        aliases: &["CREATE", "FOUND", "GROUP", "CHANNEL"],
        usages: &[
            ("ROOM #name", "found a room, for up to 200 members"),
            ("ROOM #new #name", "found one that goes on from the room #name"),
        ],
        more: "You own it: INVITE and KICK are yours. The name is yours alone: where others
have another room of that name, theirs is #name~2 to them.
Everything that is said reaches every member, through whichever member has it,
and all see it in one order. What you say in a room is signed: the members can
prove to others that you said it. Members learn each other's addresses.
ROOM #new #name is for a room that is frozen, or has lost its owner: those you
invite see which room came before, and WHY #new whether they have the same of
it as you. None of it is given to them.",
        forms: &[("room", |args| {
            let room = args.room("room")?;
            if room.number != 1 {
                return Err(args.invalid("room", "#name, without a number".into()));
            }
            let past = args.word("past")?.map(|past| past.parse()).transpose()?;
            Ok(Command::Room(room, past))
        })],
        writes: |_| true,
    },
    Spec {
        name: "INVITE",
        aliases: &[],
        usages: &[
            ("INVITE #name <user>", "invite a contact into a room that you own"),
            ("INVITE #name <user> all", "the same, and give them all that was said before"),
        ],
        more: "A member is in the room from their JOIN on. Without \"all\" they get what is
said after the invitation.",
        forms: &[("invite", |args| {
            let (room, user) = (args.room("room")?, args.user("peer")?);
            let all = match (args.word("history")?.as_deref(), args.is_typed()) {
                (None, _) | (Some("here"), false) => false,
                (Some("all"), _) => true,
                (Some(_), true) => return Err(args.invalid("history", "\"all\", or nothing".into())),
                (Some(_), false) => return Err(args.invalid("history", "\"here\" or \"all\"".into())),
            };
            Ok(Command::Invite { room, user, all })
        })],
        writes: |_| true,
    },
    Spec {
        name: "JOIN",
        aliases: &["J", "ENTER"],
        usages: &[("JOIN #name", "accept an invitation into a room")],
        more: "ROOMS lists the rooms that you are invited to. LEAVE #name declines.",
        forms: &[("join", |args| Ok(Command::Join(args.room("room")?)))],
        writes: |_| true,
    },
    Spec {
        name: "LEAVE",
        aliases: &["PART", "DECLINE"],
        usages: &[("LEAVE #name", "leave a room, or decline an invitation")],
        more: "What was said stays on your disk. The owner first hands the room over with
OWNER, unless all others have left it.",
        forms: &[("leave", |args| Ok(Command::Leave(args.room("room")?)))],
        writes: |_| true,
    },
    Spec {
        name: "ROOMS",
        aliases: &["CHANNELS", "GROUPS"],
        usages: &[("ROOMS", "list your rooms, and those that you are invited to")],
        more: "linked: so many other members have a live connection with you
unread: messages that you have not seen yet
waiting: messages of yours that no other member has yet
frozen: members contradict each other about who is in; nothing new is taken",
        forms: &[("rooms", |_| Ok(Command::Rooms))],
        writes: |_| false,
    },
    Spec {
        name: "MEMBERS",
        aliases: &["WHO"],
        usages: &[("MEMBERS #name", "list the members of a room, and how far each is")],
        more: "behind: so many messages the member has not confirmed yet
the final order waits for: the order of the last messages is not final
before the member confirms them, or is removed
not your contact: a contact of yours has this name, and another key",
        forms: &[("members", |args| Ok(Command::Members(args.room("room")?)))],
        writes: |_| false,
    },
    Spec {
        name: "KICK",
        aliases: &["UNINVITE"],
        usages: &[("KICK #name <user>", "remove a member from a room that you own")],
        more: "The member is told, and gets nothing that is said later. What they said before
stays. A former owner can't be removed before the others have said what was
final under them.",
        forms: &[("kick", |args| Ok(Command::Kick(args.room("room")?, args.user("peer")?)))],
        writes: |_| true,
    },
    Spec {
        name: "OWNER",
        aliases: &["HANDOVER"],
        usages: &[("OWNER #name <user>", "hand a room that you own over to a member")],
        more: "It is theirs once their client has confirmed it.",
        forms: &[("owner", |args| Ok(Command::Owner(args.room("room")?, args.user("peer")?)))],
        writes: |_| true,
    },
    Spec {
        name: "TOPIC",
        aliases: &[],
        usages: &[("TOPIC #name <text>", "say what a room that you own is about")],
        more: "Members and those who are invited see it.",
        forms: &[("topic", |args| Ok(Command::Topic(args.room("room")?, args.text("text")?)))],
        writes: |_| true,
    },
    Spec {
        name: "HELP",
        aliases: &[],
        usages: &[("HELP [command]", "show this list, or more about a command")],
        more: "For example, HELP CHAT.",
        forms: &[("help", |args| match args.word("about")? {
            None => Ok(Command::Help),
            Some(word) => {
                Explanation::of(&word).map(Command::Explain).ok_or_else(|| CommandError::unknown(&word))
            }
        })],
        writes: |_| false,
    },
    Spec {
        name: "DETACH",
        aliases: &[],
        usages: &[("DETACH", "leave this box; a detached client runs on")],
        more: "Ctrl+D does the same in a box. A client that was started with --detach runs
on without one, and --attach opens another. A client that was started without
ends with its own terminal, and there this is LOGOUT.",
        forms: &[("detach", |_| Ok(Command::Detach))],
        writes: |_| false,
    },
    Spec {
        name: "LOGOUT",
        aliases: &["QUIT", "EXIT", "Q", "LOGOFF"],
        usages: &[("LOGOUT", "leave; undelivered messages are kept")],
        more: "It ends the client and all its boxes; so do Ctrl+D, and Ctrl+C twice, where
the client was started. Your contacts see that you are gone. Undelivered
messages go out when you start again.",
        forms: &[("logout", |_| Ok(Command::Logout))],
        writes: |_| false,
    },
];

impl Spec {
    /// Understands what is typed after the name.
    pub(super) fn typed(&self, rest: &str) -> Result<Command, CommandError> {
        let usage = self.usages.first().map_or(self.name, |(usage, _)| usage);
        let commands = self.forms.iter().map(|(_, parser)| Arguments::Typed { usage, rest }.parse(parser));
        let mut fitting = commands.filter(|command| !matches!(command, Err(CommandError::Usage(_))));
        fitting.next().unwrap_or(Err(CommandError::Usage(usage)))
    }

    /// What the usages say for the argument after so many others, without its brackets.
    pub fn arguments(&self, before: usize) -> impl Iterator<Item = &'static str> {
        let nth = move |usage: &'static str| usage.split(' ').nth(before.saturating_add(1));
        let arguments = self.usages.iter().filter_map(move |(usage, _)| nth(usage));
        arguments.map(|argument| argument.trim_matches(['<', '>', '[', ']']))
    }
}

/// The command of this name, in upper or lower case and perhaps after a `/`.
pub fn find(word: &str) -> Option<&'static Spec> {
    let name = word.strip_prefix('/').unwrap_or(word);
    COMMANDS.iter().find(|spec| spec.name.eq_ignore_ascii_case(name))
}

pub fn usages() -> impl Iterator<Item = (&'static str, &'static str)> {
    COMMANDS.iter().flat_map(|spec| spec.usages).copied()
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    #[test]
    fn every_row_holds_together() {
        for spec in COMMANDS {
            let name = spec.name;
            assert!(!spec.usages.is_empty() && !spec.more.is_empty(), "{name}");
            assert!(spec.more.lines().all(|line| line.len() <= 78), "{name}: {}", spec.more);
            for (usage, meaning) in spec.usages {
                assert!(usage.starts_with(name) && usage.len() <= 24 && meaning.len() <= 53, "{usage}");
                let line = usage
                    .replace(" #name", " #lab")
                    .replace(" #new", " #next")
                    .replace(" <text>", " x")
                    .replace(" <user>", " bob")
                    .replace(" <message>", " x")
                    .replace(" [n]", "")
                    .replace(" <words> [@user]", " x")
                    .replace(" <words> [#name]", " x")
                    .replace(" [code]", "")
                    .replace(" [command]", " chat")
                    .replace(" [user]", "")
                    .replace(" <digits>", " ab");
                let command = parse(&format!("/{line}")).unwrap().unwrap();
                assert_eq!(command.name(), name, "{line}");
            }
            assert!(spec.aliases.iter().all(|alias| find(alias).is_none()), "{name}");
            let others = COMMANDS.iter().filter(|other| other.name != name);
            let others: Vec<_> = others.flat_map(|other| other.aliases).collect();
            assert!(spec.aliases.iter().all(|alias| !others.contains(&alias)), "{name}");
        }
    }
}
