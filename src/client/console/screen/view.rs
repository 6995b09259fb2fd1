//! One conversation: the part of it that is in memory, and which part of that is on the screen.
//!
//! Only some hundred messages are kept. What lies before or after them is asked for when the user comes near.

use std::collections::VecDeque;

use super::lines::{Event, Layout, Line, Row, State};
use crate::client::command::Beside;
use crate::protocol::peer::Cursor;
use crate::store::journal::Seq;

/// How many messages are kept of a conversation, and how many bytes.
const MAX_LINES: usize = 400;
const MAX_BYTES: usize = 2 * 1024 * 1024;
/// How many are asked for at once.
pub const PAGE: u32 = 100;
/// How many rows from the end of what is kept more is asked for.
const NEAR: usize = 60;

/// A place in a conversation: a message, and so many rows below the first of its text; above it if negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub seq: Seq,
    pub row: isize,
}

/// What is drawn between messages.
struct Between<'l> {
    /// Which message is the first of those that are marked as new.
    new: Option<usize>,
    /// What has happened, each with the message that it stands below; `None` above all.
    events: Vec<(Option<usize>, &'l Event)>,
}

/// What is asked for and not yet answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The latest messages.
    Newest,
    Older,
    Newer,
    /// The first messages of all.
    Oldest,
    /// The first that are unread.
    Unread,
}

/// See the module.
#[derive(Debug, Default)]
pub struct View {
    lines: VecDeque<Line>,
    bytes: usize,
    loaded: bool,
    wanted: Option<Wanted>,
    /// What was told up to here is among what was loaded.
    covered: Seq,
    /// Whether nothing is before what is kept, or after it.
    at_start: bool,
    at_end: bool,
    /// Which row is the first on the screen; `None` to show the newest, whatever comes.
    top: Option<Place>,
    /// Whether the first that is unread is to be looked for, once it is known.
    seeks_unread: bool,
    /// How far the user has read, as far as that is known.
    read: Option<Seq>,
    /// Up to where it was said that the user has read, and is not yet confirmed.
    said_read: Option<Seq>,
    /// What others have said after this place is marked as new.
    new_after: Option<Seq>,
    /// Everything up to the newest has been on the screen.
    seen_all: bool,
    /// From which line to which was on the screen last.
    on_screen: (usize, usize),
    /// How often it was opened; who was open longest ago is dropped first.
    pub opened: u64,
}

/// What has happened, with the days; `before` is when what stands above has.
fn happened<'e>(
    layout: &Layout,
    events: impl Iterator<Item = &'e Event>,
    before: &mut Option<i64>,
) -> Vec<Row> {
    let mut rows = Vec::new();
    for event in events {
        rows.extend(layout.day(event.what.at, *before));
        rows.extend(layout.event(event));
        *before = Some(event.what.at);
    }
    rows
}

impl View {
    /// Whether the newest are shown, whatever comes.
    pub fn follows(&self) -> bool {
        self.top.is_none() && self.at_end
    }

    pub fn lines(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter()
    }

    /// The user comes to the conversation, in which so many messages are unread. Says what is to be asked for.
    pub fn open(&mut self, unread: u64) -> Option<(Beside, u32)> {
        self.seeks_unread = unread > 0 && self.top.is_none();
        self.read = None;
        self.said_read = None;
        if self.loaded || self.wanted.is_some() {
            return None;
        }
        self.wanted = Some(Wanted::Newest);
        let count = u32::try_from(unread.saturating_add(20)).unwrap_or(u32::MAX);
        Some((Beside::Before(Seq::MAX), count.clamp(PAGE, 1000)))
    }

    /// The user goes to another one.
    pub fn close(&mut self) {
        self.new_after = None;
        self.seeks_unread = false;
    }

    /// What was told may be incomplete: everything is loaded anew.
    pub fn unload(&mut self) {
        *self = Self { opened: self.opened, new_after: self.new_after, ..Self::default() };
    }

    /// A page has come, which speaks of everything up to `covered`.
    pub fn loaded(&mut self, page: Vec<Line>, covered: Seq) {
        let Some(wanted) = self.wanted.take() else {
            return;
        };
        let few = page.is_empty();
        match wanted {
            Wanted::Newest | Wanted::Oldest | Wanted::Unread => {
                let newest = wanted == Wanted::Newest;
                self.lines = page.into();
                self.bytes = self.lines.iter().map(Line::weight).sum();
                self.at_end = newest || few;
                self.at_start = match wanted {
                    Wanted::Newest => self.lines.len() < PAGE as usize,
                    wanted => wanted == Wanted::Oldest,
                };
                self.covered = self.covered.max(covered);
                self.loaded = true;
                self.top = if newest { None } else { self.first_place() };
            }
            Wanted::Older => {
                self.at_start = few;
                for line in page.into_iter().rev() {
                    self.bytes += line.weight();
                    self.lines.push_front(line);
                }
            }
            Wanted::Newer => {
                let known: Vec<_> = page.into_iter().filter(|line| !self.has(line)).collect();
                self.at_end = few;
                if few {
                    self.covered = self.covered.max(covered);
                }
                for line in known {
                    self.bytes += line.weight();
                    self.lines.push_back(line);
                }
            }
        }
        if wanted != Wanted::Newest {
            self.trim();
        }
    }

    fn first_place(&self) -> Option<Place> {
        self.lines.front().map(|line| Place { seq: line.seq, row: isize::MIN })
    }

    /// What was asked for is not told.
    pub fn refused(&mut self) {
        self.wanted = None;
    }

    fn has(&self, line: &Line) -> bool {
        self.lines.iter().rev().any(|it| it.seq == line.seq)
    }

    /// A message has come in or was said; it is shown if the newest are kept. Returns whether that changes the screen.
    pub fn add(&mut self, line: Line, seen: bool) -> bool {
        let theirs = line.is_theirs();
        if theirs && !(seen && self.seen_all && self.follows()) {
            self.seen_all = false;
        }
        if !self.loaded || !self.at_end || line.seq <= self.covered || self.has(&line) {
            return false;
        }
        if theirs && !seen && self.new_after.is_none() {
            self.new_after = Some(line.seq - 1);
        }
        self.bytes += line.weight();
        self.lines.push_back(line);
        self.trim();
        true
    }

    /// The user has said something: what was new is no more, and the newest are shown.
    pub fn wrote(&mut self) {
        self.new_after = None;
        if self.at_end {
            self.top = None;
        }
    }

    /// A message of the user's has come further.
    pub fn set_state(&mut self, id: Cursor, state: State) -> bool {
        let line = self.lines.iter_mut().rev().find(|line| !line.is_theirs() && line.id == id);
        line.is_some_and(|line| std::mem::replace(&mut line.state, state) != state)
    }

    /// Keeps no more than may be kept: what is far from the screen goes.
    fn trim(&mut self) {
        let too_many = |it: &Self| it.lines.len() > MAX_LINES || (it.bytes > MAX_BYTES && it.lines.len() > 1);
        while too_many(self) {
            let at = self.top.map_or(self.lines.len(), |top| self.index_of(top.seq).unwrap_or(0));
            let gone = if at > self.lines.len() / 2 {
                self.at_start = false;
                self.lines.pop_front()
            } else {
                self.at_end = false;
                self.lines.pop_back()
            };
            self.bytes -= gone.map_or(0, |line| line.weight());
        }
    }

    fn index_of(&self, seq: Seq) -> Option<usize> {
        self.lines.iter().position(|line| line.seq == seq)
    }

    /// Which message is the first of those that are marked as new.
    fn first_new(&self) -> Option<usize> {
        let after = self.new_after?;
        self.lines.iter().position(|line| line.is_theirs() && line.seq > after)
    }

    fn between<'l>(&self, layout: &'l Layout) -> Between<'l> {
        let place = |event: &Event| self.lines.iter().rposition(|line| line.seq <= event.after);
        let events = layout.events.iter().map(|event| (place(event), event));
        // What has happened before what is kept is not known to stand there.
        let events = events.filter(|(place, _)| place.is_some() || self.at_start).collect();
        Between { new: self.first_new(), events }
    }

    /// All rows of a line, and how many of them stand above its text.
    fn block(&self, layout: &Layout, index: usize, between: &Between<'_>) -> (Vec<Row>, usize) {
        let Some(line) = self.lines.get(index) else {
            return (Vec::new(), 0);
        };
        let at = |place| between.events.iter().filter(move |(at, _)| *at == place).map(|(_, event)| *event);
        // When what stands above has happened.
        let mut before = index.checked_sub(1).and_then(|index| {
            at(Some(index))
                .next_back()
                .map(|event| event.what.at)
                .or(self.lines.get(index).map(|line| line.at))
        });
        let mut rows = Vec::new();
        if index == 0 {
            rows.extend(happened(layout, at(None), &mut before));
        }
        rows.extend(layout.day(line.at, before));
        rows.extend((between.new == Some(index)).then_some(Row::New));
        let above = rows.len();
        rows.extend(layout.rows(line));
        rows.extend(happened(layout, at(Some(index)), &mut Some(line.at)));
        (rows, above)
    }

    /// The rows that are on the screen, at most `height`.
    pub fn rows(&mut self, layout: &Layout, height: usize) -> Vec<Row> {
        self.seek_unread(layout, height);
        let between = self.between(layout);
        if let Some(top) = self.top {
            let (rows, last) = self.rows_from(layout, top, &between, height);
            if rows.len() >= height || !self.at_end {
                self.on_screen = (self.index_of(top.seq).unwrap_or(0), last);
                return rows;
            }
            self.top = None;
        }
        let (mut rows, mut index) = (Vec::new(), self.lines.len());
        while rows.len() < height && index > 0 {
            index -= 1;
            let (mut block, _) = self.block(layout, index, &between);
            block.append(&mut rows);
            rows = block;
        }
        if self.lines.is_empty() {
            rows.extend(happened(layout, between.events.iter().map(|(_, event)| *event), &mut None));
        }
        rows.drain(..rows.len().saturating_sub(height));
        self.on_screen = (index, self.lines.len().saturating_sub(1));
        rows
    }

    fn rows_from(
        &self,
        layout: &Layout,
        top: Place,
        between: &Between<'_>,
        height: usize,
    ) -> (Vec<Row>, usize) {
        let first = self.index_of(top.seq).unwrap_or(0);
        let (mut rows, mut last) = (Vec::new(), first);
        for index in first..self.lines.len() {
            if rows.len() >= height {
                break;
            }
            let (block, above) = self.block(layout, index, between);
            let skip =
                if index == first { row_in(top.row, above).min(block.len().saturating_sub(1)) } else { 0 };
            rows.extend(block.into_iter().skip(skip));
            last = index;
        }
        rows.truncate(height);
        (rows, last)
    }

    /// Once it is known what is unread, the screen begins with the first of that, if not all of it fits.
    fn seek_unread(&mut self, layout: &Layout, height: usize) {
        let Some(read) = self.read.filter(|_| self.seeks_unread && self.loaded) else {
            return;
        };
        self.seeks_unread = false;
        self.new_after = Some(read);
        self.show_new(layout, height);
    }

    /// Shows the first that is unread, or else the first that is marked as new. Says what is to be asked for if it is not kept.
    pub fn show_unread(&mut self, layout: &Layout, height: usize) -> Option<(Beside, u32)> {
        if self.wanted.is_none() && self.first_unread().is_some_and(|(_, known)| !known) {
            self.wanted = Some(Wanted::Unread);
            self.new_after = self.read;
            return self.read.map(|read| (Beside::After(read), PAGE));
        }
        self.show_new(layout, height);
        None
    }

    fn show_new(&mut self, layout: &Layout, height: usize) {
        if let Some(first) = self.first_new()
            && let Some(line) = self.lines.get(first)
        {
            let top = Place { seq: line.seq, row: isize::MIN };
            let (rows, _) = self.rows_from(layout, top, &self.between(layout), height + 1);
            self.top = (rows.len() > height || !self.at_end).then_some(top);
            self.trim();
        }
    }

    /// Moves the screen by so many rows; up if negative.
    pub fn scroll(&mut self, layout: &Layout, height: usize, by: isize) {
        if self.lines.is_empty() || by == 0 {
            return;
        }
        let between = self.between(layout);
        let (mut index, mut row) = self.top_row(layout, height, &between);
        let mut left = by.unsigned_abs();
        while left > 0 {
            if by < 0 {
                let step = row.min(left);
                (row, left) = (row - step, left - step);
                if left == 0 {
                    break;
                }
                let Some(before) = index.checked_sub(1) else {
                    break;
                };
                index = before;
                row = self.block(layout, index, &between).0.len();
            } else {
                let rows = self.block(layout, index, &between).0.len();
                let step = rows.saturating_sub(row + 1).min(left);
                (row, left) = (row + step, left - step);
                if left == 0 || index + 1 >= self.lines.len() {
                    break;
                }
                (index, row, left) = (index + 1, 0, left - 1);
            }
        }
        let above = self.block(layout, index, &between).1;
        self.top = self.lines.get(index).map(|line| Place {
            seq: line.seq,
            row: isize::try_from(row).unwrap_or(0) - isize::try_from(above).unwrap_or(0),
        });
        // Down there what comes is shown by itself.
        if by > 0 && self.at_end {
            self.rows(layout, height + 1);
        }
    }

    /// The first row on the screen: of which line, and which of its rows.
    fn top_row(&self, layout: &Layout, height: usize, between: &Between<'_>) -> (usize, usize) {
        if let Some(top) = self.top {
            let index = self.index_of(top.seq).unwrap_or(0);
            let (block, above) = self.block(layout, index, between);
            return (index, row_in(top.row, above).min(block.len().saturating_sub(1)));
        }
        let (mut rows, mut index) = (0, self.lines.len());
        while rows < height && index > 0 {
            index -= 1;
            rows += self.block(layout, index, between).0.len();
        }
        (index, rows.saturating_sub(height))
    }

    pub fn scroll_to_newest(&mut self) -> Option<(Beside, u32)> {
        self.top = None;
        // The user wants no other place, once this is loaded.
        self.seeks_unread = false;
        if self.at_end || self.wanted.is_some() {
            return None;
        }
        self.wanted = Some(Wanted::Newest);
        Some((Beside::Before(Seq::MAX), PAGE))
    }

    pub fn scroll_to_oldest(&mut self) -> Option<(Beside, u32)> {
        self.top = self.first_place();
        if self.at_start || self.wanted.is_some() {
            return None;
        }
        self.wanted = Some(Wanted::Oldest);
        Some((Beside::After(0), PAGE))
    }

    /// What is to be asked for, because the screen comes near to the end of what is kept.
    pub fn wants(&mut self) -> Option<(Beside, u32)> {
        if !self.loaded || self.wanted.is_some() {
            return None;
        }
        let (first, last) = self.on_screen;
        let (wanted, beside) = if first < NEAR && !self.at_start {
            (Wanted::Older, Beside::Before(self.lines.front()?.seq))
        } else if last + NEAR > self.lines.len() && !self.at_end {
            (Wanted::Newer, Beside::After(self.lines.back()?.seq))
        } else {
            return None;
        };
        self.wanted = Some(wanted);
        Some((beside, PAGE))
    }

    /// How far the user has read, and how many are unread.
    pub fn set_read(&mut self, up_to: Seq, unread: u64) {
        self.read = Some(up_to);
        if self.said_read.is_some_and(|said| said <= up_to) || unread == 0 {
            self.said_read = None;
        }
    }

    /// Up to where the user has read now that what is on the screen was looked at: as far as all before it was. `None` if that is
    /// no news, or is being told. With `rushes` also what has passed through the screen was looked at.
    pub fn looked_at(&mut self, rushes: bool) -> Option<Seq> {
        let read = self.read.filter(|_| self.loaded && self.said_read.is_none())?;
        let (first, last) = self.on_screen;
        let is_unread = |line: &Line| line.is_theirs() && line.seq > read;
        let Some((unread, known)) = self.first_unread() else {
            self.seen_all |= self.at_end;
            return None;
        };
        let through = rushes && self.seen_all && self.follows();
        if !(through || known && (first..=last).contains(&unread)) {
            if unread < first {
                self.seen_all = false;
                self.new_after = Some(read);
            }
            return None;
        }
        let first = if through { 0 } else { first };
        let below =
            self.lines.iter().skip(last + 1).filter(|line| is_unread(line)).map(|line| line.seq).min();
        let on_screen = self.lines.iter().take(last + 1).skip(first).filter(|line| is_unread(line));
        let up_to =
            on_screen.map(|line| line.seq).filter(|seq| below.is_none_or(|below| *seq < below)).max()?;
        self.seen_all = below.is_none() && self.at_end;
        self.said_read = Some(up_to);
        Some(up_to)
    }

    /// The first that is unread of what is kept, and whether none before what is kept is.
    fn first_unread(&self) -> Option<(usize, bool)> {
        let read = self.read.filter(|_| self.loaded && self.said_read.is_none())?;
        let unread = self.lines.iter().position(|line| line.is_theirs() && line.seq > read)?;
        let known = self.at_start || self.lines.iter().take(unread).any(|line| line.seq <= read);
        Some((unread, known))
    }

    /// Whether something unread is above the screen.
    pub fn has_unread_above(&self) -> bool {
        self.first_unread().is_some_and(|(unread, known)| !known || unread < self.on_screen.0)
    }

    /// Whether there is more below the screen.
    pub fn has_more_below(&self) -> bool {
        self.loaded && (!self.at_end || self.on_screen.1 + 1 < self.lines.len() || self.top.is_some())
    }
}

/// Which row of a block a place is in.
fn row_in(row: isize, above: usize) -> usize {
    let above = isize::try_from(above).unwrap_or(0);
    usize::try_from(row.saturating_add(above)).unwrap_or(0)
}
