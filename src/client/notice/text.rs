//! Notices as plain text, for people.

use jiff::civil::Date;

use super::numbers::{messages as counted, size};
use super::page::Page;
use super::time::timestamp;
use super::{
    Body, ErrorNotice, HeldReason, HistoryLine, MANY_UNREAD, Notice, OnOff, Reachable, RoomHistoryLine,
    UpDown, rooms,
};
use crate::client::addressee::{Addressee, RoomLabel};
use crate::protocol::peer::{STRANGER_BYTES, STRANGER_MESSAGES, Via};
use crate::protocol::{Name, PublicKey};
use crate::terminal::printable;

/// How much later than written a message must come in for both times to be shown, in milliseconds.
const LATE: u64 = 60_000;
/// How many digits of a key are shown: no attacker finds another key that begins with them.
const KEY_DIGITS: usize = 16;

#[derive(Debug, Clone, Default)]
pub struct Look {
    /// Whether names, times and marks have colours. Colours carry no meaning of their own.
    pub colour: bool,
    /// The day whose times are written without a date.
    pub today: Option<Date>,
    /// Whether the user's own messages are written, as soon as they are safe.
    pub own: bool,
    /// How many columns a row has; `None` where lines are not broken into rows.
    pub width: Option<usize>,
}

/// What colours there are for names: readable on black and on white, and not that of errors.
const NAME_COLOURS: [u8; 9] = [32, 33, 34, 35, 36, 92, 94, 95, 96];

impl Look {
    /// A name, always in the same colour.
    pub(super) fn name(&self, name: &Name) -> String {
        self.coloured(name.as_str())
    }

    pub(super) fn room(&self, room: &RoomLabel) -> String {
        self.coloured(&room.to_string())
    }

    pub(super) fn addressee(&self, to: &Addressee) -> String {
        self.coloured(&to.to_string())
    }

    fn coloured(&self, name: &str) -> String {
        // FNV-1a, which stays the same for ever.
        let hash = name
            .bytes()
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        let colour = usize::try_from(hash).unwrap_or_default() % NAME_COLOURS.len();
        self.styled(format_args!("1;{}", NAME_COLOURS.get(colour).unwrap_or(&32)), name)
    }

    pub(super) fn dim(&self, text: impl std::fmt::Display) -> String {
        self.styled(2, text)
    }

    fn styled(&self, style: impl std::fmt::Display, text: impl std::fmt::Display) -> String {
        if self.colour { format!("\x1b[{style}m{text}\x1b[m") } else { text.to_string() }
    }

    /// Time in this machine's zone, to the second, and the date unless it is today.
    pub(super) fn clock(&self, milliseconds: i64) -> String {
        let time = timestamp(milliseconds).to_zoned(jiff::tz::TimeZone::system());
        let format = if self.today == Some(time.date()) { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
        time.strftime(format).to_string()
    }

    pub(super) fn stamp(&self, milliseconds: i64) -> String {
        self.dim(format_args!("[{}]", self.clock(milliseconds)))
    }

    /// The time of a message, wherever it is shown: when it came in, by this machine's clock, or when the user wrote it. No
    /// sender's clock has a say in it.
    pub(super) fn placed(&self, sent: i64, received: Option<i64>) -> String {
        self.stamp(received.unwrap_or(sent))
    }

    /// When a message was written, if it came in much later. It stands after the name, for it is the sender's word: no
    /// sender moves the column in which names stand.
    pub(super) fn late(&self, sent: i64, received: i64) -> Vec<String> {
        let late = received.abs_diff(sent) > LATE;
        late.then(|| format!("written {}", self.clock(sent))).into_iter().collect()
    }

    /// What is to be said of a message, after the name.
    pub(super) fn marks(&self, marks: &[String]) -> String {
        if marks.is_empty() { String::new() } else { self.dim(format_args!(" ({})", marks.join(", "))) }
    }

    /// A line of the program's own, with its mark in colour.
    pub(super) fn marked(&self, line: &str) -> String {
        match line.split_at_checked(1) {
            Some(("*", rest)) => self.dim("*") + rest,
            Some(("!", rest)) => self.styled("1;31", "!") + rest,
            _ => line.to_owned(),
        }
    }
}

/// Greets the user of a new account, and says which file keeps it.
pub fn write_welcome(user: &Name, kept: &std::path::Path, look: &Look, out: &mut Vec<u8>) {
    let mut page = Page::new(look, out);
    page.line(format!(
        "* welcome, {user}: this is a new account, kept in {}",
        printable(&kept.to_string_lossy())
    ));
    page.line("* REQUEST <user> asks a user to connect; CHAT <user> <message> sends a message");
    page.line("* CHAT <user> enters a conversation: your lines go to that user; CHAT alone leaves it");
    page.line("* HELP lists all commands, Tab completes, LOGOUT leaves");
}

/// A line of the program's own that is no notice.
pub fn write_line(line: &str, look: &Look, out: &mut Vec<u8>) {
    Page::new(look, out).line(line);
}

pub fn write_delivered(to: &Name, count: u64, look: &Look, out: &mut Vec<u8>) {
    Page::new(look, out).line(match count {
        1 => format!("* {to} has your message"),
        count => format!("* {to} has your {count} messages"),
    });
}

/// So many of the members of a room have so many messages of ours.
pub fn write_spread(to: &RoomLabel, (have, of): (u64, u64), count: u64, look: &Look, out: &mut Vec<u8>) {
    let yours = if count == 1 { "your message".to_owned() } else { format!("your {count} messages") };
    let them = if count == 1 { "it" } else { "them" };
    Page::new(look, out).line(match have {
        _ if of <= 1 => format!(
            "* no other member is to get {yours} in {to} any more; INVITE {to} <user> all gives {them} to a user"
        ),
        have if have >= of => format!("* all {of} in {to} have {yours}"),
        have => format!("* {have} of {of} in {to} have {yours}"),
    });
}

/// The last messages of a conversation, with a line above those that are unread: so many of what others have written.
fn write_entered<T>(
    page: &mut Page,
    messages: &[T],
    unread: u64,
    is_theirs: impl Fn(&T) -> bool,
    write: impl Fn(&T, &mut Page),
) {
    let unread_here = usize::try_from(unread).unwrap_or(usize::MAX);
    let theirs = messages.iter().enumerate().rev().filter(|(_, line)| is_theirs(line));
    let known = theirs.take(unread_here).last().map_or(messages.len(), |(index, _)| index);
    let (before, new) = messages.split_at_checked(known).unwrap_or_default();
    before.iter().for_each(|line| write(line, page));
    if unread > 0 {
        page.line(format!("* {} unread:", many(unread)));
    }
    new.iter().for_each(|line| write(line, page));
}

impl Notice {
    /// Appends the notice as plain text, each line ended.
    pub fn write_text(&self, look: &Look, out: &mut Vec<u8>) {
        let page = &mut Page::new(look, out);
        match self {
            Self::Ready { user, address, fingerprint } => {
                page.line(format!("* {user} listens on {address}, key {}", short(fingerprint)));
                page.line("* REQUEST <user> asks a user to connect, CHAT <user> <message> sends, HELP lists all");
            }
            Self::Discovery { state, detail } => {
                page.line(format!("* discovery: {} ({})", state.word(), printable(detail)));
            }
            Self::Presence { peer, state } => page.line(format!("* discovery says {peer} is {}", state.word())),
            Self::Request { from, fingerprint, stranger, resembles } => {
                let key = short(fingerprint);
                page.line(if *stranger {
                    // It is short, for there may be many.
                    format!("* {from} asks for you: ACCEPT or FORGET (key {key})")
                } else {
                    format!("* {from} sent you a request and is now a contact (key {key}; BLOCK {from} to refuse)")
                });
                if let Some(known) = resembles {
                    page.line(format!("! look closely: {from} is not {known}, who is a contact of yours"));
                }
            }
            Self::Full { from } => page.line(format!(
                "* {from} has more to say than is taken from a stranger: ACCEPT {from} takes it, FORGET {from} ends it"
            )),
            Self::Held { to, reason, waiting } => page.line(held(to, *reason, *waiting)),
            Self::Lost { peer, messages } => {
                page.line(format!(
                    "! {peer}'s client has lost {} that it had; nothing is sent again",
                    counted(*messages)
                ));
                page.line(format!(
                    "  That happens when a backup is restored, and looks the same when another person has {peer}'s key."
                ));
                page.line(format!("  Ask {peer} in another way; RESEND {peer} sends the lost messages again."));
            }
            Self::Resent { peer, messages } => {
                page.line(format!("* {peer} is sent again what was lost: {}", counted(*messages)));
            }
            Self::Forgotten { peer } => page.line(format!("* {peer} is forgotten, with all that was said")),
            Self::Trusted { fingerprint } => {
                page.line(format!("* discovery must have the key {} from now on", short(fingerprint)));
            }
            Self::Requested { peer } => page.line(format!("* request sent to {peer}")),
            Self::Reachable(Reachable::Direct { address }) => page.line(format!(
                "* others can dial you at {address}, unless a firewall is between"
            )),
            Self::Reachable(Reachable::Mapped { address }) => page.line(format!(
                "* your router passes on what comes to {address}: others can dial you there"
            )),
            Self::Reachable(Reachable::Nat { address }) => page.line(format!(
                "* a router at {} lets nothing in by itself: links go through it when both sides open them, or through discovery",
                address.ip()
            )),
            Self::Link { stranger: true, .. } => {}
            Self::Link { peer, state: UpDown::Up, route, .. } => {
                let way = route.filter(|via| *via != Via::Direct).map(|via| format!(" ({via})"));
                page.line(format!("* {peer} is linked{}", way.unwrap_or_default()));
            }
            Self::Link { peer, state: UpDown::Down, .. } => page.line(format!("* {peer} is no longer linked")),
            Self::Message { from, text, sent, received, replayed, room, unknown, .. } => {
                let mut marks: Vec<String> = unknown.then(|| rooms::NOT_YOUR_CONTACT.to_owned()).into_iter().collect();
                marks.extend(look.late(*sent, *received));
                marks.extend(replayed.then(|| "again".to_owned()));
                // After the name, which no room moves out of its column.
                let room = room.as_ref().map_or_else(String::new, |room| format!(" in {}", look.room(room)));
                let (stamp, marks) = (look.placed(*sent, Some(*received)), look.marks(&marks));
                page.body(&format!("{stamp} {}{room}{marks}: ", look.name(from)), text);
            }
            Self::Queued { to, linked, text, sent, alone, .. } if look.own => {
                said(page, to, [*linked, *alone], text, *sent);
            }
            Self::Sent { to, linked, text, sent, alone, .. } => said(page, to, [*linked, *alone], text, *sent),
            // Over a link the delivery says it all, a moment later, and deliveries are told together.
            Self::Queued { linked: true, .. } | Self::Delivered { .. } | Self::Spread { .. } => {}
            Self::Queued { to: Addressee::Room(room), alone: true, .. } => page.line(format!(
                "* you are alone in {room}, and your message waits for no one; INVITE {room} <user> all gives it to a user"
            )),
            Self::Queued { to: Addressee::Room(room), .. } => {
                page.line(format!("* your message waits until another member has joined {room} and is linked"));
            }
            Self::Queued { to, .. } => {
                page.line(format!("* {to} is not linked; your message waits until there is a link"));
            }
            Self::Invite { room, from, members, topic, past, .. } => {
                rooms::invite(page, room, from, members, topic);
                past.write("  it goes on from", page);
            }
            Self::Member { room, user, declined: true, .. } => {
                page.line(format!("* {user} has declined the invitation into {room}"));
            }
            Self::Member { room, user, state, by, .. } => {
                page.line(rooms::member(room, user, *state, by.as_ref()));
            }
            Self::Room { room, declined: true, .. } => {
                page.line(format!("* you have declined the invitation into {room}"));
            }
            Self::Room { room, state, why, .. } => rooms::room(room, *state, why, page),
            Self::Error(ErrorNotice { message, text, .. }) => {
                page.line(format!("! {}", printable(message)));
                text.iter().for_each(|text| page.said("    ", text));
            }
            Self::Contacts { contacts } if contacts.is_empty() => {
                page.line("* no contacts yet; REQUEST <user> adds one");
            }
            Self::Contacts { contacts } => contacts.iter().for_each(|contact| page.line(contact.line(look))),
            Self::Contact(contact) => page.line(contact.line(look)),
            Self::Outbox { waiting: 0, .. } => page.line("* nothing waits to be delivered"),
            Self::Outbox { waiting, messages } => {
                messages.iter().for_each(|line| line.write(page));
                page.line(format!("* {waiting} not yet delivered"));
            }
            Self::History { peer, messages } if messages.is_empty() => {
                page.line(format!("* no messages with {peer} yet"));
            }
            Self::History { messages, .. } => messages.iter().for_each(|line| line.write(page)),
            Self::RoomHistory { room, past, messages, .. } => rooms::history(room, past, messages, page),
            Self::Conversation { peer: None, .. } => {
                page.line("* you are in no conversation; CHAT <user> or CHAT #name enters one");
            }
            Self::Conversation { peer: Some(peer), unread, messages } => {
                let is_theirs = |line: &HistoryLine| line.received.is_some();
                write_entered(page, messages, *unread, is_theirs, HistoryLine::write);
                page.line(format!("* your lines now go to {peer}; CHAT alone leaves, / starts a command"));
            }
            Self::RoomConversation { peer: room, unread, messages, .. } => {
                let is_theirs = |line: &RoomHistoryLine| line.received.is_some();
                write_entered(page, messages, *unread, is_theirs, RoomHistoryLine::write);
                page.line(format!("* your lines now go to {room}; CHAT alone leaves, / starts a command"));
            }
            Self::Rooms { rooms } if rooms.is_empty() => {
                page.line("* no rooms yet; ROOM #name founds one");
            }
            Self::Rooms { rooms } => rooms.iter().for_each(|room| room.write(page)),
            Self::Members { members, .. } => members.iter().for_each(|member| page.line(member.line())),
            Self::Help { commands } => {
                commands.iter().for_each(|(usage, meaning)| write_usage((usage, meaning), page));
            }
            Self::Explanation(about) => {
                about.usages.iter().for_each(|usage| write_usage(*usage, page));
                about.more.lines().for_each(|line| page.line(format!("  {line}")));
            }
            Self::Why(why) => why.write(page),
            Self::RoomWhy(why) => why.write(page),
            Self::Found { words, messages, .. } if messages.is_empty() => {
                page.line(format!("* no matches for {}", printable(words)));
            }
            Self::Found { messages, .. } => messages.iter().for_each(|found| found.write(page)),
            Self::Verification { peer, code, verified: true } => {
                page.line(format!("* {peer} is verified: {code}"));
            }
            Self::Verification { peer, code, verified: false } => {
                page.line(format!("* {peer} sees the same digits, unless an attacker stands between you:"));
                page.line(format!("    {code}"));
                page.line(format!("* ask {peer} to read them to you, then type VERIFY {peer} and what you heard"));
            }
            Self::Hello { .. } | Self::Read { .. } | Self::Prompt(_) | Self::Linked { .. } => {}
            Self::Detached => page.line("* detached; the client goes on"),
            Self::Lagged => page.line("! this box was too slow, and missed some of what happened"),
            Self::Bye { waiting: 0 } => page.line("* bye"),
            Self::Bye { waiting } => {
                page.line(format!("* bye; {waiting} not yet delivered: sent when you start again"));
            }
        }
    }
}

/// What the user has said.
fn said(page: &mut Page, to: &Addressee, [linked, alone]: [bool; 2], text: &Body, sent: i64) {
    let state = match (linked, alone) {
        (true, _) => "",
        (false, false) => " (waiting)",
        (false, true) => " (no one else is in it)",
    };
    let look = page.look;
    page.body(&format!("{} to {}{state}: ", look.stamp(sent), look.addressee(to)), text);
}

/// What a peer does not take, and when it will.
fn held(to: &Name, reason: HeldReason, waiting: u64) -> String {
    let (why, until) = match reason {
        HeldReason::NotAnswered => (
            format!(
                "{to} has not answered you yet, and until then takes {STRANGER_MESSAGES} messages and {} at most, or none",
                size(STRANGER_BYTES)
            ),
            format!("once {to} answers"),
        ),
        HeldReason::DiskFull => {
            (format!("{to}'s disk is nearly full, and takes nothing more"), "once there is room".to_owned())
        }
    };
    match waiting {
        0 => format!("* {why}"),
        1 => format!("* {why}; 1 message waits here and goes out {until}"),
        _ => format!("* {why}; {} wait here and go out {until}", counted(waiting)),
    }
}

fn write_usage((usage, meaning): (&str, &str), page: &mut Page) {
    page.columns(&format!("  {usage:<24} "), meaning);
}

/// A number with commas between the thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let before = |index: usize| index > 0 && (digits.len() - index).is_multiple_of(3);
    digits
        .char_indices()
        .flat_map(|(index, digit)| before(index).then_some(',').into_iter().chain([digit]))
        .collect()
}

/// A count of unread messages: beyond the bound it is only known that there are more.
pub fn many(unread: u64) -> String {
    if unread < MANY_UNREAD { unread.to_string() } else { format!("{}+", MANY_UNREAD - 1) }
}

impl UpDown {
    pub(super) fn word(self) -> &'static str {
        if self == Self::Up { "up" } else { "down" }
    }
}

impl OnOff {
    pub(in crate::client) fn word(self) -> &'static str {
        if self == Self::Online { "online" } else { "offline" }
    }
}

pub(super) fn short(key: &PublicKey) -> String {
    let digits: Vec<char> = key.to_string().chars().take(KEY_DIGITS).collect();
    digits.chunks(4).map(|group| group.iter().collect::<String>()).collect::<Vec<_>>().join(" ")
}

/// A message with its lines kept and everything unsafe as an escape.
pub fn safe_text(body: &Body) -> String {
    body.shown().split('\n').map(printable).collect::<Vec<_>>().join("\n")
}
