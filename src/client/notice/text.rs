//! Notices as plain text, for people.

use std::fmt::Write as _;

use super::{Body, ContactLine, HistoryLine, MANY_UNREAD, Notice, OnOff, UpDown, timestamp};

/// How much later than written a message must come in for both times to be shown, in milliseconds.
const LATE: u64 = 60_000;

impl Notice {
    /// Appends the notice as plain text, each line ended.
    pub fn write_text(&self, out: &mut Vec<u8>) {
        for line in self.lines() {
            out.extend_from_slice(line.as_bytes());
            out.push(b'\n');
        }
    }

    fn lines(&self) -> Vec<String> {
        match self {
            Self::Ready { user, address, fingerprint } => vec![
                format!("* {user} listens on {address}, key {fingerprint}"),
                "* REQUEST <user> opens a channel, CHAT <user> <message> sends, HELP lists the rest".into(),
            ],
            Self::Discovery { state, detail } => {
                vec![format!("* discovery: {} ({})", state.word(), plain(detail))]
            }
            Self::Presence { peer, state } => vec![format!("* discovery says {peer} is {}", state.word())],
            Self::Request { from, fingerprint } => {
                vec![format!(
                    "* {from} has asked for you and is a contact now (key {fingerprint}; BLOCK {from} to refuse)"
                )]
            }
            Self::Requested { peer } => vec![format!("* {peer} is asked for")],
            Self::Link { peer, state: UpDown::Up } => vec![format!("* {peer} is linked")],
            Self::Link { peer, state: UpDown::Down } => vec![format!("* {peer} is not linked any more")],
            Self::Message { from, text, sent, received, replayed, .. } => {
                let late = received.abs_diff(*sent) > LATE;
                let mut stamp = clock(*received);
                if late {
                    let _ = write!(stamp, ", written {}", clock(*sent));
                }
                if *replayed {
                    stamp.push_str(", again");
                }
                body_lines(&format!("[{stamp}] {from}: "), text)
            }
            // Over a link the delivery says it all, a moment later.
            Self::Queued { linked: true, .. } => vec![],
            Self::Queued { id, to, linked: false } => {
                vec![format!("* message {} is kept for {to}, who is not linked", id.number)]
            }
            Self::Delivered { id, to } => vec![format!("* {to} has message {}", id.number)],
            Self::Error(trouble) => vec![format!("! {}", plain(&trouble.message))],
            Self::Contacts { contacts } if contacts.is_empty() => {
                vec!["* no contacts yet; REQUEST <user> makes one".into()]
            }
            Self::Contacts { contacts } => contacts.iter().map(ContactLine::line).collect(),
            Self::Contact(contact) => vec![contact.line()],
            Self::Outbox { waiting: 0, .. } => vec!["* everything is delivered".into()],
            Self::Outbox { waiting, messages } => {
                let mut lines: Vec<_> = messages
                    .iter()
                    .flat_map(|line| {
                        body_lines(&format!("[{}] to {}: ", clock(line.sent), line.to), &line.text)
                    })
                    .collect();
                lines.push(format!("* {waiting} not yet delivered"));
                lines
            }
            Self::History { peer, messages } if messages.is_empty() => {
                vec![format!("* nothing said with {peer} yet")]
            }
            Self::History { messages, .. } => messages.iter().flat_map(HistoryLine::lines).collect(),
            Self::Conversation { peer: None, .. } => {
                vec!["* in no conversation; CHAT <user> enters one".into()]
            }
            Self::Conversation { peer: Some(peer), unread, messages } => {
                let known = messages.len().saturating_sub(usize::try_from(*unread).unwrap_or(usize::MAX));
                let (before, new) = messages.split_at_checked(known).unwrap_or_default();
                let mut lines: Vec<_> = before.iter().flat_map(HistoryLine::lines).collect();
                if *unread > 0 {
                    lines.push(format!("* {} unread:", many(*unread)));
                }
                lines.extend(new.iter().flat_map(HistoryLine::lines));
                lines.push(format!(
                    "* what you write goes to {peer} now; CHAT alone leaves, / starts a command"
                ));
                lines
            }
            Self::Help { commands } => {
                commands.iter().map(|(usage, meaning)| format!("  {usage:<24} {meaning}")).collect()
            }
            Self::Explanation(about) => about
                .usages()
                .map(|(usage, meaning)| format!("  {usage:<24} {meaning}"))
                .chain(about.more.lines().map(|line| format!("  {line}")))
                .collect(),
            Self::Why(why) => why.lines(),
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
    fn lines(&self) -> Vec<String> {
        let state = if self.delivered { "" } else { " (waiting)" };
        body_lines(&format!("[{}] {}{state}: ", clock(self.sent), self.from), &self.text)
    }
}

/// A count of unread messages: beyond the bound it is only known that there are more.
fn many(unread: u64) -> String {
    if unread < MANY_UNREAD { unread.to_string() } else { format!("{}+", MANY_UNREAD - 1) }
}

impl ContactLine {
    fn line(&self) -> String {
        let mut line = format!("  {:<16} ", self.peer);
        match self.linked_since {
            Some(since) => _ = write!(line, "linked since {}", clock(since)),
            None => line.push_str("not linked"),
        }
        if let Some(presence) = self.presence {
            let _ = write!(line, ", discovery says {}", presence.word());
        }
        match self.last_seen {
            // Discovery has told the moment itself.
            Some(seen) if self.presence_since == Some(seen) => _ = write!(line, " since {}", clock(seen)),
            Some(seen) => _ = write!(line, ", last seen {}", clock(seen)),
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
            (Some(key), None) => _ = write!(line, ", key {key}"),
            (Some(key), Some(other)) => {
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

/// Date and time of this machine's zone, to the second.
pub(super) fn clock(milliseconds: i64) -> String {
    timestamp(milliseconds).to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
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
