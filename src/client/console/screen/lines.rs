//! Messages as the lines of a conversation, and their rows: the time, the name, the text wrapped under itself, and at the end how
//! far a message of the user's own has come. What others write never stands where times and names do.

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::log::Said as Told;
use crate::client::notice::{Body, HistoryLine, RoomHistoryLine, moment};
use crate::protocol::Name;
use crate::protocol::peer::Cursor;
use crate::store::journal::Seq;
use crate::terminal::{columns, printable, wrap};

/// How much later than written a message must come in for both times to be shown, in milliseconds.
const LATE: u64 = 60_000;
/// How many columns the time takes, and what stands between it, the name and the text.
const TIME: usize = 5;
const GAP: usize = 2;
/// How many columns how far a message has come takes, with a space before it.
const STATE: usize = 8;
/// How many columns a text keeps.
const MIN_TEXT: usize = 8;
/// How many rows of one message are shown at most.
const MAX_ROWS: usize = 2000;

/// How far a message has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is another user's.
    Theirs,
    Waiting,
    Delivered,
    Spread {
        have: u64,
        of: u64,
        is_final: bool,
    },
}

impl State {
    fn mark(self) -> String {
        match self {
            Self::Theirs => String::new(),
            Self::Waiting => "…".into(),
            // Where there is no other member, none has it, and it may wait for no one.
            Self::Spread { of: 1, .. } => "1/1".into(),
            Self::Delivered | Self::Spread { is_final: true, .. } => "✓".into(),
            Self::Spread { have: 0 | 1, .. } => "…".into(),
            Self::Spread { have, of, .. } => format!("{have}/{of}"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub seq: Seq,
    pub id: Cursor,
    pub from: Name,
    pub text: String,
    /// When it came in, or was written by the user, in milliseconds since 1970.
    pub at: i64,
    /// When another user says to have written it, if that was much earlier.
    pub written: Option<i64>,
    pub state: State,
    /// Whether its writer has the name of a contact, and another key.
    pub unknown: bool,
    pub mention: bool,
}

impl Line {
    pub fn is_theirs(&self) -> bool {
        self.state == State::Theirs
    }

    /// Roughly how many bytes it takes in memory.
    pub fn weight(&self) -> usize {
        self.text.len() + size_of::<Self>()
    }

    pub fn theirs(seq: Seq, id: Cursor, from: &Name, text: &Body, (sent, received): (i64, i64)) -> Self {
        Self {
            seq,
            id,
            from: from.clone(),
            text: text.shown().into_owned(),
            at: received,
            written: (received.abs_diff(sent) > LATE).then_some(sent),
            state: State::Theirs,
            unknown: false,
            mention: false,
        }
    }

    pub fn own(seq: Seq, id: Cursor, from: &Name, text: &Body, sent: i64, state: State) -> Self {
        Self { state, written: None, ..Self::theirs(seq, id, from, text, (sent, sent)) }
    }
}

impl From<&HistoryLine> for Line {
    fn from(line: &HistoryLine) -> Self {
        let HistoryLine { seq, id, from, text, sent, received, delivered } = line;
        match received {
            Some(received) => Self::theirs(*seq, *id, from, text, (*sent, *received)),
            None => {
                let state = if *delivered { State::Delivered } else { State::Waiting };
                Self::own(*seq, *id, from, text, *sent, state)
            }
        }
    }
}

impl From<&RoomHistoryLine> for Line {
    fn from(line: &RoomHistoryLine) -> Self {
        let RoomHistoryLine { seq, id, from, text, sent, received, is_final, have, of, unknown } = line;
        match received {
            Some(received) => {
                Self { unknown: *unknown, ..Self::theirs(*seq, *id, from, text, (*sent, *received)) }
            }
            None => {
                let state = State::Spread { have: *have, of: *of, is_final: *is_final };
                Self::own(*seq, *id, from, text, *sent, state)
            }
        }
    }
}

/// A row of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    /// The messages below it are of this day.
    Date(String),
    /// The messages below it are new.
    New,
    Said(Said),
    /// The client's own words about the message above it, which begin where names do.
    Remark(String),
    /// What has happened in a room, which begins where names do; the time is empty below the first row.
    Event {
        time: String,
        text: String,
    },
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// Empty below the first row of a message.
    pub time: String,
    /// Stands between the time and the name: `@` where the user is mentioned, `!` where the name is not what it seems.
    pub mark: char,
    pub name: String,
    pub text: String,
    pub state: String,
    pub own: bool,
    pub mention: bool,
}

/// Where the columns are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Columns {
    pub width: usize,
    /// Where the name begins; 0 where there is no room for times.
    pub name: usize,
    pub text: usize,
}

impl Columns {
    /// For a width, and the longest name.
    pub fn new(width: usize, longest: usize) -> Self {
        let name = if width >= 40 { TIME + GAP } else { 0 };
        let most = (width / 4).max(12).min(width.saturating_sub(name + GAP + MIN_TEXT));
        Self { width, name, text: name + longest.min(most) + GAP }
    }

    pub fn name_width(self) -> usize {
        self.text.saturating_sub(self.name + GAP)
    }
}

/// What rows are made with.
#[derive(Debug, Clone)]
pub struct Layout {
    pub columns: Columns,
    pub zone: TimeZone,
    /// What has happened in the room that is open, oldest first.
    pub events: Vec<Event>,
}

/// Something that has happened in a room, and is no message.
#[derive(Debug, Clone)]
pub struct Event {
    /// What was said up to here came before it.
    pub after: Seq,
    pub what: Told,
}

impl Layout {
    pub fn date(&self, at: i64) -> Date {
        moment(at).to_zoned(self.zone.clone()).date()
    }

    fn clock(&self, at: i64) -> String {
        moment(at).to_zoned(self.zone.clone()).strftime("%H:%M").to_string()
    }

    /// A row for the day, where what stands before is of another one.
    pub fn day(&self, at: i64, before: Option<i64>) -> Option<Row> {
        let date = self.date(at);
        let other = before.is_none_or(|before| self.date(before) != date);
        other.then(|| Row::Date(date.strftime("%A, %-d %B %Y").to_string()))
    }

    /// The rows of something that has happened.
    pub fn event(&self, event: &Event) -> Vec<Row> {
        let rows = event.what.rows(self.columns.width.saturating_sub(self.columns.name), None);
        let time = |index| if index == 0 { self.clock(event.what.at) } else { String::new() };
        rows.into_iter().enumerate().map(|(index, text)| Row::Event { time: time(index), text }).collect()
    }

    /// The rows of a line itself.
    pub fn rows(&self, line: &Line) -> Vec<Row> {
        let Columns { width, text, .. } = self.columns;
        let own = !line.is_theirs();
        let room = width.saturating_sub(text + if own { STATE } else { 0 }).max(2);
        let (mut texts, mut out) = (Vec::new(), Vec::new());
        for part in line.text.split('\n') {
            out.clear();
            wrap(&printable(part.trim_end_matches('\r')), 0, room, &mut out);
            let rows = String::from_utf8_lossy(&out);
            texts.extend(rows.lines().map(str::to_owned));
            if texts.len() >= MAX_ROWS {
                break;
            }
        }
        texts.truncate(MAX_ROWS);
        let mark = if line.unknown {
            '!'
        } else if line.mention {
            '@'
        } else {
            ' '
        };
        let last = texts.len().saturating_sub(1);
        let mut rows: Vec<Row> = texts
            .into_iter()
            .enumerate()
            .map(|(index, text)| {
                let first = index == 0;
                Row::Said(Said {
                    time: if first { self.clock(line.at) } else { String::new() },
                    mark: if first { mark } else { ' ' },
                    name: if first {
                        cut(line.from.as_str(), self.columns.name_width())
                    } else {
                        String::new()
                    },
                    text,
                    state: if index == last { line.state.mark() } else { String::new() },
                    own,
                    mention: line.mention,
                })
            })
            .collect();
        if line.unknown {
            rows.push(Row::Remark(format!("not your contact {}", line.from)));
        }
        if let Some(written) = line.written {
            let date = self.date(written).strftime("%-d %B").to_string();
            rows.push(Row::Remark(format!("written {date}, {}", self.clock(written))));
        }
        rows
    }
}

/// A text in so many columns, its end replaced if it is longer.
pub fn cut(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut short = String::new();
    for c in text.chars() {
        if columns(&short) + columns(c.encode_utf8(&mut [0; 4])) + 1 > width {
            break;
        }
        short.push(c);
    }
    if width > 0 {
        short.push('…');
    }
    short
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::client::notice::tests::name;

    pub fn line(seq: Seq, from: &str, text: &str) -> Line {
        let id = Cursor { epoch: 1, number: seq.unsigned_abs() };
        Line::theirs(seq, id, &name(from), &Body::Text(text.into()), (seq * 1000, seq * 1000))
    }

    pub fn layout(width: usize) -> Layout {
        Layout { columns: Columns::new(width, 5), zone: TimeZone::UTC, events: Vec::new() }
    }

    fn texts(rows: &[Row]) -> Vec<String> {
        let text = |row: &Row| match row {
            Row::Date(date) => date.clone(),
            Row::New => "new".into(),
            Row::Said(it) => format!("{:5}{}{:5}|{}|{}", it.time, it.mark, it.name, it.text, it.state),
            Row::Remark(it) | Row::Event { text: it, .. } => it.clone(),
        };
        rows.iter().map(text).collect()
    }

    #[test]
    fn a_text_is_wrapped_under_itself() {
        let rows = layout(40).rows(&line(60, "carol", "one two three four five six seven"));
        assert_eq!(
            texts(&rows),
            ["00:01 carol|one two three four five|", "           |six seven|"].map(str::to_owned)
        );
        let own = Line { state: State::Waiting, ..line(60, "bob", "one two three four five six seven") };
        assert_eq!(
            texts(&layout(40).rows(&own)),
            ["00:01 bob  |one two three four|", "           |five six seven|…"].map(str::to_owned)
        );
        let lines = layout(40).rows(&line(60, "carol", "one\r\n\n\u{1b}[2Jtwo"));
        assert_eq!(texts(&lines)[1..], ["           ||", "           |\\u{1b}[2Jtwo|"].map(str::to_owned));
    }

    #[test]
    fn what_is_to_be_said_of_a_message_stands_below_it() {
        let odd = Line { unknown: true, written: Some(0), ..line(3600, "bob", "hi") };
        assert_eq!(
            texts(&layout(40).rows(&odd)),
            ["01:00!bob  |hi|", "not your contact bob", "written 1 January, 00:00"].map(str::to_owned)
        );
    }

    #[test]
    fn a_day_is_told_where_it_begins() {
        let day = |at, before| texts(layout(40).day(at, before).as_slice());
        assert_eq!(day(1, None), ["Thursday, 1 January 1970"]);
        assert!(day(2, Some(1)).is_empty());
        assert_eq!(day(90_000_000, Some(1)), ["Friday, 2 January 1970"]);
    }

    #[test]
    fn how_far_a_message_has_come_is_a_mark() {
        let spread = |have, is_final| State::Spread { have, of: 5, is_final }.mark();
        assert_eq!([State::Waiting.mark(), State::Delivered.mark(), State::Theirs.mark()], ["…", "✓", ""]);
        assert_eq!(
            [spread(1, false), spread(3, false), spread(5, false), spread(5, true)],
            ["…", "3/5", "5/5", "✓"]
        );
        let alone = |of, is_final| State::Spread { have: 1, of, is_final }.mark();
        assert_eq!([alone(0, false), alone(1, false), alone(1, true)], ["…", "1/1", "1/1"]);
    }

    #[test]
    fn long_names_leave_room_for_text() {
        assert_eq!(Columns::new(80, 32).name_width(), 20);
        assert_eq!(Columns::new(20, 32), Columns { width: 20, name: 0, text: 12 });
        assert_eq!(cut("alice-with-a-long-name", 8), "alice-w…");
        assert_eq!(cut("alice", 5), "alice");
    }
}
