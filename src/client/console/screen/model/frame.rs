//! What the screen shows: its parts as text, and where the cursor is. What was looked at with that is read.

use jiff::civil::Date;
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use super::{Change, Model, Now};
use crate::client::addressee::Addressee;
use crate::client::console::screen::colours::{Colours, Role};
use crate::client::console::screen::lines::{Columns, Layout, Row, cut};
use crate::client::console::screen::list::{About, Entry, Room, User};
use crate::client::notice::{OnOff, RoomStanding, UpDown, many, moment};
use crate::protocol::peer::Via;
use crate::terminal::{columns, shown, wrap};

/// A terminal of fewer columns shows no list.
const WITH_LIST: usize = 60;
/// How many columns the list has.
const LIST: usize = 18;
const WIDE_LIST: usize = 24;
const WIDE: usize = 110;
/// How many rows the line that is being typed has at most, what is asked below it, and the notes.
const MAX_INPUT: usize = 6;
const MAX_HINT: usize = 4;
const MAX_NOTES: usize = 3;
/// How many rows of the conversation stay beside a panel.
const BESIDE_PANEL: usize = 3;

/// A row of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListRow {
    pub text: String,
    pub role: Role,
}

/// What stands in the middle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    Conversation(Vec<Row>),
    /// The client's own words, each with its time.
    Client(Vec<(String, String)>),
}

/// Everything that is on the screen. No row is wider than its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub size: (usize, usize),
    /// How many columns the list has; 0 for none.
    pub list_width: usize,
    pub list: Vec<ListRow>,
    pub status: String,
    pub header: String,
    pub columns: Columns,
    pub body: Body,
    /// How many rows the body has.
    pub height: usize,
    /// The rows below it, in their order.
    pub below: Vec<(String, Role)>,
    pub input: Vec<String>,
    /// How much of the first row stands before what is typed, in bytes.
    pub prompt: usize,
    /// The cursor: its column, and its row among those of the input.
    pub cursor: (usize, usize),
}

/// What stands below the body.
struct Below {
    rows: Vec<(String, Role)>,
    input: Vec<String>,
    prompt: usize,
    cursor: (usize, usize),
}

impl Model {
    /// The screen as it is now. Nothing is to be drawn after that until something has changed.
    pub fn frame(&mut self, now: Now) -> Frame {
        self.change = Change::None;
        let (width, height) = self.size;
        let list_width = self.list_width();
        let today = self.today(now.wall);
        let below = self.below(now);
        let layout = self.layout();
        let rows = height.saturating_sub(1 + below.rows.len() + below.input.len());
        self.height = rows.max(1);
        let body = self.body(&layout, rows, today, now);
        let more = (self.has_unread_above(), self.has_more_below());
        let right = width.saturating_sub(if list_width > 0 { list_width + 1 } else { 0 });
        Frame {
            size: self.size,
            list_width,
            list: self.list_rows(list_width),
            status: cut(&self.status(), list_width),
            header: self.header(right, more, now.wall),
            columns: layout.columns,
            body,
            height: rows,
            below: below.rows,
            input: below.input,
            prompt: below.prompt,
            cursor: below.cursor,
        }
    }

    pub fn colours(&self) -> &Colours {
        &self.preferences.colours
    }

    fn today(&self, wall: i64) -> Date {
        moment(wall).to_zoned(self.zone.clone()).date()
    }

    pub(super) fn list_width(&self) -> usize {
        match self.size.0 {
            _ if self.list_hidden => 0,
            width if width < WITH_LIST => 0,
            width if width < WIDE => LIST,
            _ => WIDE_LIST,
        }
    }

    fn right_width(&self) -> usize {
        let list = self.list_width();
        self.size.0.saturating_sub(if list > 0 { list + 1 } else { 0 })
    }

    pub(super) fn layout(&self) -> Layout {
        let own = self.own.as_ref().map_or(0, |own| own.as_str().len());
        let longest = match &self.open {
            Some(Addressee::User(name)) => own.max(name.as_str().len()),
            Some(who @ Addressee::Room(_)) => {
                let view = self.views.get(who);
                let names =
                    view.into_iter().flat_map(|view| view.lines().map(|line| line.from.as_str().len()));
                own.max(names.max().unwrap_or_default())
            }
            None => own,
        };
        let events = self.open.as_ref().and_then(|who| self.events.get(who));
        let events = events.into_iter().flatten().cloned().collect();
        Layout { columns: Columns::new(self.right_width(), longest), zone: self.zone.clone(), events }
    }

    fn has_unread_above(&self) -> bool {
        self.open.as_ref().and_then(|who| self.views.get(who)).is_some_and(super::View::has_unread_above)
    }

    fn has_more_below(&self) -> bool {
        match &self.open {
            Some(who) => self.views.get(who).is_some_and(super::View::has_more_below),
            None => self.log.is_scrolled(),
        }
    }

    fn body(&mut self, layout: &Layout, height: usize, today: Date, now: Now) -> Body {
        let there = self.is_there(now.mono);
        let Some(who) = self.open.clone() else {
            let width = layout.columns.width.saturating_sub(6);
            let rows = self.log.rows(width, height, Some(today));
            self.log.unread &= self.log.is_scrolled();
            let clock = |at: Option<i64>| {
                at.map_or_else(String::new, |at| {
                    moment(at).to_zoned(self.zone.clone()).strftime("%H:%M").to_string()
                })
            };
            return Body::Client(rows.into_iter().map(|(at, row)| (clock(at), row)).collect());
        };
        let Some(view) = self.views.get_mut(&who) else {
            return Body::Conversation(Vec::new());
        };
        // What comes right after the start has waited, and was not followed.
        let rushes = self.has_pressed;
        let rows = view.rows(layout, height);
        let read = if there { view.looked_at(rushes) } else { None };
        let page = view.wants();
        self.ask_page(&who, page);
        if let Some(read) = read {
            self.ask_read(&who, read);
        }
        Body::Conversation(rows)
    }

    fn list_rows(&self, width: usize) -> Vec<ListRow> {
        let height = self.size.1.saturating_sub(1);
        if width == 0 || height == 0 {
            return Vec::new();
        }
        let first = self.first_in_list();
        let here = self.number();
        let mut rows: Vec<ListRow> = (first..=self.list.entries().len())
            .take(height)
            .map(|number| self.list_row(number, number == here, width))
            .collect();
        let beyond = self.list.entries().iter().skip(first + height - 1);
        let unread = beyond.filter(|entry| entry.unread > 0).count();
        if unread > 0
            && let Some(last) = rows.last_mut()
        {
            *last = ListRow { text: cut(&format!("   … {unread} more unread"), width), role: Role::Unread };
        }
        rows
    }

    /// The number in the first row of the list: the one that is open is always there.
    fn first_in_list(&self) -> usize {
        let height = self.size.1.saturating_sub(1).max(1);
        (self.number() + 2).saturating_sub(height).min((self.list.entries().len() + 1).saturating_sub(height))
    }

    pub(super) fn number_in_row(&self, row: usize) -> Option<usize> {
        let number = self.first_in_list() + row;
        (row + 1 < self.size.1 && number <= self.list.entries().len()).then_some(number)
    }

    fn list_row(&self, number: usize, is_open: bool, width: usize) -> ListRow {
        let here = if is_open { '>' } else { ' ' };
        let entry = number.checked_sub(1).and_then(|index| self.list.entries().get(index));
        let Some(entry) = entry else {
            let (news, role) =
                if self.log.unread && !is_open { (" *", Role::List) } else { ("", Role::List) };
            let role = if is_open { Role::Current } else { role };
            return ListRow { text: fill(&format!("{here}0 client"), news, width), role };
        };
        let Entry { who, unread, mentioned, .. } = entry;
        let presence = entry.presence();
        let count = match unread {
            0 => String::new(),
            unread => format!(" {}{}", if *mentioned { "@" } else { "" }, many(*unread)),
        };
        let digits = if number < 100 { number.to_string() } else { String::new() };
        let (left, right) = (format!("{here}{digits} {who}"), format!(" {presence}{count}"));
        let role = match () {
            () if is_open => Role::Current,
            () if self.is_muted(who) => Role::Muted,
            () if *mentioned => Role::Mention,
            () if *unread > 0 => Role::Unread,
            () => Role::List,
        };
        ListRow { text: fill(&left, &right, width), role }
    }

    fn status(&self) -> String {
        match &self.discovery {
            None => "discovery: …".into(),
            Some((UpDown::Up, _)) => "discovery: up".into(),
            Some((UpDown::Down, _)) => "discovery: down".into(),
        }
    }

    /// What is open, and whether others are there; at its end what the list would show, where there is none.
    fn header(&self, width: usize, (above, below): (bool, bool), wall: i64) -> String {
        let left = match &self.open {
            None => {
                let own = self.own.as_ref().map_or_else(String::new, |own| format!("{own} · "));
                let detail = self.discovery.as_ref().map(|(_, detail)| crate::terminal::printable(detail));
                format!("{own}{}{}", self.status(), detail.map_or_else(String::new, |it| format!(" ({it})")))
            }
            Some(who) => {
                let about = self.list.get(who).map_or(&About::Unknown, |entry| &entry.about);
                match about {
                    About::Unknown => who.to_string(),
                    About::User(user) => format!("{who} · {}", self.user(user, wall)),
                    About::Room(room) => format!("{who} · {}", self.room(room)),
                }
            }
        };
        let mut right = if above { " ↑ unread (Alt+J)".to_owned() } else { String::new() };
        right.push_str(if below { " ↓ more below (Ctrl+End)" } else { "" });
        if self.list_width() == 0 {
            if self.discovery.as_ref().is_none_or(|(state, _)| *state == UpDown::Down) {
                right.push_str(&format!(" {}", self.status()));
            }
            let unread = |entry: &&Entry| entry.unread > 0 && Some(&entry.who) != self.open.as_ref();
            let count = self.list.entries().iter().filter(unread).count();
            for entry in self.list.entries().iter().filter(unread).take(2) {
                let mention = if entry.mentioned { "@" } else { "" };
                right.push_str(&format!(" [{} {mention}{}]", entry.who, many(entry.unread)));
            }
            if count > 2 {
                right.push_str(&format!(" [{} more]", count - 2));
            }
        }
        fill(&left, &right, width)
    }

    fn clock(&self, at: i64, wall: i64) -> String {
        let time = moment(at).to_zoned(self.zone.clone());
        let format = if time.date() == self.today(wall) { "%H:%M" } else { "%-d %B %H:%M" };
        time.strftime(format).to_string()
    }

    fn user(&self, user: &User, wall: i64) -> String {
        let mut words = Vec::new();
        match user.linked {
            Some((since, route)) => {
                let way = route.unwrap_or(Via::Direct);
                words.push(format!("linked ({way}) since {}", self.clock(since, wall)));
            }
            None if user.blocked => words.push("blocked".into()),
            None => {
                let there = match user.presence {
                    Some(OnOff::Online) => "online, not linked",
                    Some(OnOff::Offline) => "offline",
                    None => "not linked",
                };
                let seen = user.last_seen.map(|seen| format!(", last seen {}", self.clock(seen, wall)));
                words.push(format!("{there}{}", seen.unwrap_or_default()));
            }
        }
        let marks = [
            (user.stranger, "asks for you"),
            (user.requested && user.linked.is_none(), "requested"),
            (user.key_changed, "KEY CHANGED"),
            (user.verified, "verified"),
        ];
        words.extend(marks.iter().filter(|(holds, _)| *holds).map(|(_, mark)| (*mark).to_owned()));
        words.join(" · ")
    }

    fn room(&self, room: &Room) -> String {
        let mut words = vec![match room.state {
            RoomStanding::Joined => format!("{} of {} linked", room.linked + 1, room.members),
            RoomStanding::Invited => "you are invited".into(),
            RoomStanding::Left => "you have left it".into(),
            RoomStanding::Removed => "you were removed".into(),
            RoomStanding::Frozen => "frozen".into(),
        }];
        if !room.topic.is_empty() {
            words.push(crate::terminal::printable(&room.topic));
        }
        words.join(" · ")
    }

    /// The panel, the notes, what is asked, and the line that is being typed.
    fn below(&mut self, now: Now) -> Below {
        let (width, height) = (self.right_width(), self.size.1);
        let today = Some(self.today(now.wall));
        let (input, prompt, cursor) = self.input(width);
        let hint = self.hint(width);
        let mut left = height.saturating_sub(1 + input.len() + hint.len());
        let notes = self.notes.rows(width, MAX_NOTES.min(left / 2), today);
        left = left.saturating_sub(notes.len());
        let mut rows = Vec::new();
        if let Some(panel) = &mut self.panel {
            let most = left.saturating_sub(1 + BESIDE_PANEL).max(1);
            let (lines, above, beyond) = panel.rows(width, most, today);
            let more = match (above, beyond) {
                (0, 0) => String::new(),
                (above, 0) => format!(" · {above} rows above: PageUp"),
                (_, beyond) => format!(" · {beyond} rows below: PageDown"),
            };
            rows.push((rule(&format!("answer · Esc closes it{more}"), width), Role::Border));
            rows.extend(lines.into_iter().map(|line| {
                let role = if line.starts_with("! ") { Role::Error } else { Role::Notice };
                (line, role)
            }));
        }
        if !notes.is_empty() {
            rows.push((rule("Esc dismisses", width), Role::Border));
            rows.extend(notes.into_iter().map(|line| {
                let role = if line.starts_with("! ") { Role::Error } else { Role::Notice };
                (line, role)
            }));
        }
        rows.extend(hint.into_iter().map(|line| (line, Role::Hint)));
        let most = height.saturating_sub(1 + input.len());
        let surplus = rows.len().saturating_sub(most);
        rows.drain(..surplus);
        Below { rows, input, prompt, cursor }
    }

    /// Help for what is being typed, or what is asked.
    fn hint(&self, width: usize) -> Vec<String> {
        let view = self.editor.view();
        let text = if view.below.is_empty() { &self.flash } else { &view.below };
        if text.is_empty() {
            return Vec::new();
        }
        let mut out = Vec::new();
        for line in text.lines() {
            let line: String = line.graphemes(true).map(shown).collect();
            wrap(&line, 2, width, &mut out);
        }
        let mut rows: Vec<String> = String::from_utf8_lossy(&out).lines().map(str::to_owned).collect();
        if rows.len() > MAX_HINT {
            rows.truncate(MAX_HINT);
            rows.last_mut().into_iter().for_each(|last| "…".clone_into(last));
        }
        rows
    }

    /// The line that is being typed in rows, how many bytes of the first stand before it, and where the cursor is.
    fn input(&self, width: usize) -> (Vec<String>, usize, (usize, usize)) {
        let view = self.editor.view();
        let fits = |prompt: &&String| columns(prompt) <= width / 2;
        let prompt = view.prompts.iter().find(fits).or(view.prompts.last()).cloned().unwrap_or_default();
        let prompt: String = prompt.graphemes(true).map(shown).collect();
        let indent = if prompt == "> " { 2.min(width.saturating_sub(2)) } else { 0 };
        let mut rows = vec![prompt.clone()];
        let mut column = prompt.width();
        let mut cursor = None;
        for (at, grapheme) in view.text.grapheme_indices(true) {
            let end = grapheme.ends_with('\n');
            let symbol = if end { "" } else { shown(grapheme) };
            let cells = symbol.width();
            if column + cells >= width.max(4) {
                rows.push(" ".repeat(indent));
                column = indent;
            }
            if at >= view.cursor && cursor.is_none() {
                cursor = Some((column, rows.len() - 1));
            }
            rows.last_mut().into_iter().for_each(|row| row.push_str(symbol));
            column += cells;
            if end {
                rows.push(" ".repeat(indent));
                column = indent;
            }
        }
        let (column, row) = cursor.unwrap_or((column, rows.len() - 1));
        let most = MAX_INPUT.min((self.size.1 / 3).max(1));
        let first = (row + 1).saturating_sub(most).min(rows.len().saturating_sub(most));
        let shown: Vec<String> = rows.into_iter().skip(first).take(most).collect();
        (shown, if first == 0 { prompt.len() } else { 0 }, (column, row - first))
    }
}

/// What stands left and what stands right in so many columns; the left is cut.
fn fill(left: &str, right: &str, width: usize) -> String {
    let right = cut(right, width);
    let left = cut(left, width - columns(&right).min(width));
    let space = width.saturating_sub(columns(&left) + columns(&right));
    format!("{left}{}{right}", " ".repeat(space))
}

/// A line across, with a word in it.
pub fn rule(word: &str, width: usize) -> String {
    let start = cut(&format!("── {word} "), width);
    let rest = width.saturating_sub(columns(&start));
    format!("{start}{}", "─".repeat(rest))
}
