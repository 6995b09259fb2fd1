//! Notices as plain text, for people.

use std::fmt::Write as _;

use jiff::civil::Date;

use super::{Body, ContactLine, FoundLine, HistoryLine, MANY_UNREAD, Notice, OnOff, UpDown, timestamp};
use crate::protocol::{Name, PublicKey};

/// How much later than written a message must come in for both times to be shown, in milliseconds.
const LATE: u64 = 60_000;
/// How many digits of a key people are shown: nobody finds another key that begins so.
const KEY_DIGITS: usize = 16;

/// How notices are written.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// Whether names, times and marks have colours. They never mean anything by themselves.
    pub colour: bool,
    /// The day whose times are written without a date.
    pub today: Option<Date>,
    /// Whether what the user says is written, as soon as it is safe.
    pub own: bool,
}

/// What colours there are for names: readable on black and on white, and not that of errors.
const NAME_COLOURS: [u8; 9] = [32, 33, 34, 35, 36, 92, 94, 95, 96];

impl Look {
    /// A name, always in the same colour.
    fn name(&self, name: &Name) -> String {
        // FNV-1a, which stays the same for ever.
        let hash = name
            .as_str()
            .bytes()
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        let colour = usize::try_from(hash).unwrap_or_default() % NAME_COLOURS.len();
        self.styled(format_args!("1;{}", NAME_COLOURS.get(colour).unwrap_or(&32)), name)
    }

    fn dim(&self, text: impl std::fmt::Display) -> String {
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

    fn stamp(&self, milliseconds: i64) -> String {
        self.dim(format_args!("[{}]", self.clock(milliseconds)))
    }

    /// The mark at the beginning of a line of the program's own.
    fn marked(&self, line: &str) -> String {
        match line.split_at_checked(1) {
            Some(("*", rest)) => self.dim("*") + rest,
            Some(("!", rest)) => self.styled("1;31", "!") + rest,
            _ => line.to_owned(),
        }
    }
}

/// What is said at the first start of an account, which is kept in that file.
pub fn write_welcome(user: &Name, kept: &std::path::Path, look: &Look, out: &mut Vec<u8>) {
    let lines = [
        format!("* welcome, {user}: this account is new, and kept in {}", plain(&kept.to_string_lossy())),
        "* REQUEST <user> asks for somebody; CHAT <user> <message> writes to them".into(),
        "* CHAT <user>: what you write goes to that user then; CHAT alone: no longer".into(),
        "* HELP lists the rest, Tab completes, LOGOUT leaves".into(),
    ];
    write_lines(&lines, look, out);
}

/// That messages have been delivered.
pub fn write_delivered(to: &Name, count: u64, look: &Look, out: &mut Vec<u8>) {
    let line = match count {
        1 => format!("* {to} has your message"),
        count => format!("* {to} has your {count} messages"),
    };
    write_lines(&[line], look, out);
}

fn write_lines(lines: &[String], look: &Look, out: &mut Vec<u8>) {
    for line in lines {
        out.extend_from_slice(look.marked(line).as_bytes());
        out.push(b'\n');
    }
}

impl Notice {
    /// Appends the notice as plain text, each line ended.
    pub fn write_text(&self, look: &Look, out: &mut Vec<u8>) {
        write_lines(&self.lines(look), look, out);
    }

    fn lines(&self, look: &Look) -> Vec<String> {
        match self {
            Self::Ready { user, address, fingerprint } => vec![
                format!("* {user} listens on {address}, key {}", short(fingerprint)),
                "* REQUEST <user> asks for somebody, CHAT <user> <message> sends, HELP lists all".into(),
            ],
            Self::Discovery { state, detail } => {
                vec![format!("* discovery: {} ({})", state.word(), plain(detail))]
            }
            Self::Presence { peer, state } => vec![format!("* discovery says {peer} is {}", state.word())],
            Self::Request { from, fingerprint } => vec![format!(
                "* {from} has asked for you and is a contact now (key {}; BLOCK {from} to refuse)",
                short(fingerprint)
            )],
            Self::Requested { peer } => vec![format!("* {peer} is asked for")],
            Self::Link { peer, state: UpDown::Up } => vec![format!("* {peer} is linked")],
            Self::Link { peer, state: UpDown::Down } => vec![format!("* {peer} is not linked any more")],
            Self::Message { from, text, sent, received, replayed, .. } => {
                let late = received.abs_diff(*sent) > LATE;
                let mut stamp = look.clock(*received);
                if late {
                    let _ = write!(stamp, ", written {}", look.clock(*sent));
                }
                if *replayed {
                    stamp.push_str(", again");
                }
                let stamp = look.dim(format_args!("[{stamp}]"));
                body_lines(&format!("{stamp} {}: ", look.name(from)), text)
            }
            Self::Queued { to, linked, text, sent, .. } if look.own => {
                let state = if *linked { "" } else { " (waiting)" };
                body_lines(&format!("{} to {}{state}: ", look.stamp(*sent), look.name(to)), text)
            }
            // Over a link the delivery says it all, a moment later, and deliveries are told together.
            Self::Queued { linked: true, .. } | Self::Delivered { .. } => vec![],
            Self::Queued { to, .. } => {
                vec![format!("* {to} is not linked; your message waits, and goes out by itself")]
            }
            Self::Error(trouble) => {
                let mut lines = vec![format!("! {}", plain(&trouble.message))];
                if let Some(text) = &trouble.text {
                    lines.extend(
                        text.split('\n').map(|line| format!("    {}", plain(line.trim_end_matches('\r')))),
                    );
                }
                lines
            }
            Self::Contacts { contacts } if contacts.is_empty() => {
                vec!["* no contacts yet; REQUEST <user> makes one".into()]
            }
            Self::Contacts { contacts } => contacts.iter().map(|contact| contact.line(look)).collect(),
            Self::Contact(contact) => vec![contact.line(look)],
            Self::Outbox { waiting: 0, .. } => vec!["* everything is delivered".into()],
            Self::Outbox { waiting, messages } => {
                let mut lines: Vec<_> = messages
                    .iter()
                    .flat_map(|line| {
                        body_lines(
                            &format!("{} to {}: ", look.stamp(line.sent), look.name(&line.to)),
                            &line.text,
                        )
                    })
                    .collect();
                lines.push(format!("* {waiting} not yet delivered"));
                lines
            }
            Self::History { peer, messages } if messages.is_empty() => {
                vec![format!("* nothing said with {peer} yet")]
            }
            Self::History { messages, .. } => messages.iter().flat_map(|line| line.lines(look)).collect(),
            Self::Conversation { peer: None, .. } => {
                vec!["* in no conversation; CHAT <user> enters one".into()]
            }
            Self::Conversation { peer: Some(peer), unread, messages } => {
                let unread_here = usize::try_from(*unread).unwrap_or(usize::MAX);
                let theirs = messages.iter().enumerate().rev().filter(|(_, line)| line.received.is_some());
                let known = theirs.take(unread_here).last().map_or(messages.len(), |(index, _)| index);
                let (before, new) = messages.split_at_checked(known).unwrap_or_default();
                let mut lines: Vec<_> = before.iter().flat_map(|line| line.lines(look)).collect();
                if *unread > 0 {
                    lines.push(format!("* {} unread:", many(*unread)));
                }
                lines.extend(new.iter().flat_map(|line| line.lines(look)));
                lines.push(format!(
                    "* what you write goes to {peer} now; CHAT alone leaves, / starts a command"
                ));
                lines
            }
            Self::Help { commands } => {
                commands.iter().map(|(usage, meaning)| format!("  {usage:<24} {meaning}")).collect()
            }
            Self::Explanation(about) => about
                .usages
                .iter()
                .map(|(usage, meaning)| format!("  {usage:<24} {meaning}"))
                .chain(about.more.lines().map(|line| format!("  {line}")))
                .collect(),
            Self::Why(why) => why.lines(look),
            Self::Found { words, messages, .. } if messages.is_empty() => {
                vec![format!("* nobody has said {}", plain(words))]
            }
            Self::Found { messages, .. } => messages
                .iter()
                .flat_map(|FoundLine { peer, line }| {
                    let to = match line.received {
                        None => format!(" to {}", look.name(peer)),
                        Some(_) => String::new(),
                    };
                    let who = format!("{} {}{to}: ", line.stamp(look), look.name(&line.from));
                    body_lines(&who, &line.text)
                })
                .collect(),
            Self::Verification { peer, code, verified: true } => {
                vec![format!("* {peer} is verified: {code}")]
            }
            Self::Verification { peer, code, verified: false } => vec![
                format!("* you and {peer} see the same digits, unless somebody stands between you:"),
                format!("    {code}"),
                format!("* when {peer} has read them to you: VERIFY {peer} and what you heard"),
            ],
            Self::Bye { waiting: 0 } => vec!["* bye".into()],
            Self::Bye { waiting } => {
                vec![format!("* bye; {waiting} not yet delivered, which go out when you start again")]
            }
        }
    }
}

impl HistoryLine {
    fn lines(&self, look: &Look) -> Vec<String> {
        let state = if self.delivered { "" } else { " (waiting)" };
        body_lines(&format!("{} {}{state}: ", self.stamp(look), look.name(&self.from)), &self.text)
    }

    /// When it was said, and when it was written if that was much earlier.
    fn stamp(&self, look: &Look) -> String {
        match self.received {
            Some(received) if received.abs_diff(self.sent) > LATE => {
                look.dim(format_args!("[{}, written {}]", look.clock(received), look.clock(self.sent)))
            }
            _ => look.stamp(self.sent),
        }
    }
}

/// A count of unread messages: beyond the bound it is only known that there are more.
pub fn many(unread: u64) -> String {
    if unread < MANY_UNREAD { unread.to_string() } else { format!("{}+", MANY_UNREAD - 1) }
}

impl ContactLine {
    fn line(&self, look: &Look) -> String {
        let mut line = format!("  {:<16} ", self.peer);
        match self.linked_since {
            Some(since) => _ = write!(line, "linked since {}", look.clock(since)),
            None => line.push_str("not linked"),
        }
        if let Some(presence) = self.presence {
            let _ = write!(line, ", discovery says {}", presence.word());
        }
        match self.last_seen {
            // Discovery has told the moment itself.
            Some(seen) if self.presence_since == Some(seen) => {
                _ = write!(line, " since {}", look.clock(seen))
            }
            Some(seen) => _ = write!(line, ", last seen {}", look.clock(seen)),
            None => {}
        }
        if self.verified {
            line.push_str(", verified");
        }
        if self.requested {
            line.push_str(", asked for");
        }
        if self.blocked {
            line.push_str(", blocked");
        }
        if self.waiting > 0 {
            let _ = write!(line, ", {} waiting", self.waiting);
        }
        if self.unread > 0 {
            let _ = write!(line, ", {} unread", many(self.unread));
        }
        match (self.fingerprint, self.offered) {
            (Some(key), None) => _ = write!(line, ", key {}", short(&key)),
            (Some(key), Some(other)) => {
                let (key, other) = (short(&key), short(&other));
                _ = write!(line, ", KEY CHANGED from {key} to {other} (TRUST {} accepts it)", self.peer);
            }
            (None, _) => {}
        }
        line
    }
}

impl UpDown {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

impl OnOff {
    /// As it is said.
    pub(in crate::client) fn word(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
        }
    }
}

/// As much of a key as people compare, in groups.
fn short(key: &PublicKey) -> String {
    let digits: Vec<char> = key.to_string().chars().take(KEY_DIGITS).collect();
    digits.chunks(4).map(|group| group.iter().collect::<String>()).collect::<Vec<_>>().join(" ")
}

/// A text may have several lines: those after the first are indented, so that none can pass for a
/// line of the program's own or of somebody else's.
fn body_lines(prefix: &str, body: &Body) -> Vec<String> {
    let text = body.shown();
    let mut lines = text.split('\n');
    let first = format!("{prefix}{}", plain(lines.next().unwrap_or_default().trim_end_matches('\r')));
    std::iter::once(first)
        .chain(lines.map(|line| format!("    {}", plain(line.trim_end_matches('\r')))))
        .collect()
}

/// Whether a character could do more to a terminal than stand there: control characters, and those
/// that change the direction of the text around them, hide, or end a line.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// What was said, its lines kept and everything unsafe written out.
pub fn safe_text(body: &Body) -> String {
    body.shown().split('\n').map(plain).collect::<Vec<_>>().join("\n")
}

/// The text with everything unsafe written out.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => plain.push(' '),
            c if is_unsafe(c) => plain.extend(c.escape_unicode()),
            c => plain.push(c),
        }
    }
    plain
}
