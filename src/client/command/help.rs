//! What each command is for, in a line and in a few.

/// Every command: its usage and what it does, short enough for 80 columns together.
pub const HELP: &[(&str, &str)] = &[
    ("REQUEST <user>", "open a channel, now or once both are online"),
    ("CHAT <user> <message>", "send a message; it waits while the user is away"),
    ("CHAT [user]", "enter a conversation, or leave it"),
    ("CONTACTS", "list whom you know and how they are"),
    ("OUTBOX", "list what is not yet delivered"),
    ("HISTORY <user> [n]", "show the last n entries of a conversation (20)"),
    ("SEARCH <words> [@user]", "find what was said, with everybody or with that user"),
    ("WHY <user>", "tell why a user can't be reached"),
    ("VERIFY <user> [code]", "compare keys by a code of 40 digits"),
    ("TRUST <user> [key]", "accept a user's new key (if it starts so)"),
    ("BLOCK <user>", "take nothing more from a user"),
    ("UNBLOCK <user>", "take that back"),
    ("HELP [command]", "show this, or more about a command"),
    ("LOGOUT", "leave; what is not delivered is kept"),
];

/// The command that a usage or a line begins with.
pub fn first_word(text: &str) -> &str {
    text.split(' ').next().unwrap_or_default()
}

/// More about each command, for `HELP <command>`, in lines for 80 columns.
const MORE: &[(&str, &str)] = &[
    (
        "REQUEST",
        "Discovery is asked for the user, and keeps the request while they are
away. Once there is a link, each of you is a contact of the other. If
there is no such user, the request and what waits for it are given back.",
    ),
    (
        "CHAT",
        "In a conversation every line goes to that user, unless it is a command in
upper case or after a /. //x says /x, and a line that starts with a space
is said as it stands. A message is safe on your disk before it is called
sent, and is delivered once, in order, also if you or they are away for
long.",
    ),
    (
        "CONTACTS",
        "Linked: there is a live connection. Online: discovery says so. Offline is
said with the time until which they were known to be there. Unread: what
you have not looked at. Verified: you have compared the code, see VERIFY.",
    ),
    (
        "OUTBOX",
        "The oldest messages for each contact that they do not have yet, and how
many there are in all.",
    ),
    (
        "HISTORY",
        "Your own messages that the other side does not have yet are marked
(waiting). n is at most 1000.",
    ),
    (
        "SEARCH",
        "The latest 20 messages that hold all the words, newest first. The last
word may be the beginning of one. @user may stand before or after the
words.",
    ),
    (
        "WHY",
        "The reason comes first; then what discovery says, the addresses known,
when each was tried and what came of it, when the next attempt comes, and
what waits.",
    ),
    (
        "VERIFY",
        "Both of you see the same 40 digits, unless somebody stands between you.
Let the other read them to you over the telephone or face to face, and
type what you hear: VERIFY <user> <digits>. A new key makes them
unverified again.",
    ),
    (
        "TRUST",
        "When discovery names another key for a contact, nothing is sent to them
until you accept it. Ask them in another way first. With the first digits
of the key nothing else is accepted by mistake.",
    ),
    (
        "BLOCK",
        "Their links are refused and their messages stay with them. Also for
somebody who has not asked yet.",
    ),
    ("UNBLOCK", "What they wrote meanwhile comes now."),
    ("HELP", "HELP CHAT, say."),
    (
        "LOGOUT",
        "So do Ctrl+C and Ctrl+D. Your contacts see that you are gone; what waits goes out when you start again.",
    ),
];

/// A command, its usages and more about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explanation {
    /// The word.
    pub command: &'static str,
    /// What it takes and does, one of them or more.
    pub more: &'static str,
}

impl Explanation {
    /// What is said of a command; `None` if there is no such command.
    #[must_use]
    pub fn of(command: &str) -> Option<Self> {
        let wanted = command.strip_prefix('/').unwrap_or(command);
        MORE.iter()
            .find(|(command, _)| command.eq_ignore_ascii_case(wanted))
            .map(|(command, more)| Self { command, more })
    }

    /// Usage and meaning of each form of the command.
    pub fn usages(self) -> impl Iterator<Item = &'static (&'static str, &'static str)> {
        HELP.iter().filter(move |(usage, _)| first_word(usage) == self.command)
    }
}
