//! What the client itself says: its own conversation, the panel with answers, and the notes that stay until they are dealt with.

use std::collections::VecDeque;
use std::mem::discriminant;

use jiff::civil::Date;

use crate::client::addressee::Addressee;
use crate::client::notice::{Look, Notice};

/// How many notices are kept, and roughly how many bytes of them.
const MAX_ENTRIES: usize = 500;
const MAX_BYTES: usize = 1024 * 1024;
/// How many notes are kept.
const MAX_NOTES: usize = 50;

/// Something that the client has said.
#[derive(Debug, Clone)]
pub struct Said {
    /// In milliseconds since 1970.
    pub at: i64,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Notice(Box<Notice>),
    Line(String),
}

impl Said {
    pub fn notice(at: i64, notice: Notice) -> Self {
        Self { at, what: What::Notice(Box::new(notice)) }
    }

    pub fn line(at: i64, line: impl Into<String>) -> Self {
        Self { at, what: What::Line(line.into()) }
    }

    /// Its rows for a width. Nothing in them does anything to a terminal.
    pub fn rows(&self, width: usize, today: Option<Date>) -> Vec<String> {
        let look = Look { colour: false, today, own: true, width: Some(width) };
        let mut out = Vec::new();
        match &self.what {
            What::Notice(notice) => notice.write_text(&look, &mut out),
            What::Line(line) => crate::client::notice::write_line(line, &look, &mut out),
        }
        String::from_utf8_lossy(&out).lines().map(str::to_owned).collect()
    }

    fn weight(&self) -> usize {
        match &self.what {
            What::Notice(notice) => notice.weight(),
            What::Line(line) => line.len(),
        }
    }
}

/// The client's own conversation.
#[derive(Debug, Default)]
pub struct Log {
    entries: VecDeque<Said>,
    bytes: usize,
    /// How many rows the screen is above the newest.
    up: usize,
    /// Whether there was something that the user has not looked at.
    pub unread: bool,
}

impl Log {
    pub fn add(&mut self, said: Said) {
        self.bytes += said.weight();
        self.entries.push_back(said);
        while self.entries.len() > MAX_ENTRIES || (self.bytes > MAX_BYTES && self.entries.len() > 1) {
            let gone = self.entries.pop_front();
            self.bytes -= gone.map_or(0, |gone| gone.weight());
        }
    }

    pub fn scroll(&mut self, by: isize) {
        self.up = self.up.saturating_add_signed(by.saturating_neg());
    }

    pub fn scroll_to_newest(&mut self) {
        self.up = 0;
    }

    pub fn is_scrolled(&self) -> bool {
        self.up > 0
    }

    /// The rows that are on the screen, each with when it was said if it is the first of something.
    pub fn rows(&mut self, width: usize, height: usize, today: Option<Date>) -> Vec<(Option<i64>, String)> {
        let mut rows: VecDeque<(Option<i64>, String)> = VecDeque::new();
        for said in self.entries.iter().rev() {
            if rows.len() >= height.saturating_add(self.up) {
                break;
            }
            for (index, row) in said.rows(width, today).into_iter().enumerate().rev() {
                rows.push_front(((index == 0).then_some(said.at), row));
            }
        }
        self.up = self.up.min(rows.len().saturating_sub(height));
        let end = rows.len() - self.up;
        rows.into_iter().take(end).skip(end.saturating_sub(height)).collect()
    }
}

/// The answers to what was typed last, above the line that is being typed.
#[derive(Debug, Default)]
pub struct Panel {
    said: Vec<Said>,
    top: usize,
    /// How many of its rows were shown last.
    pub height: usize,
}

impl Panel {
    pub fn add(&mut self, said: Said) {
        self.said.push(said);
    }

    pub fn scroll(&mut self, by: isize) {
        self.top = self.top.saturating_add_signed(by);
    }

    /// The rows that are shown, and how many there are before and after them.
    pub fn rows(&mut self, width: usize, height: usize, today: Option<Date>) -> (Vec<String>, usize, usize) {
        let rows: Vec<String> = self.said.iter().flat_map(|said| said.rows(width, today)).collect();
        self.height = height;
        self.top = self.top.min(rows.len().saturating_sub(height));
        let left = rows.len().saturating_sub(self.top + height);
        (rows.into_iter().skip(self.top).take(height).collect(), self.top, left)
    }
}

/// What must not scroll away: errors, and what waits for the user's answer.
#[derive(Debug, Default)]
pub struct Notes(VecDeque<(Option<Addressee>, Said)>);

impl Notes {
    /// What is said again of the same is said once.
    pub fn add(&mut self, about: Option<Addressee>, said: Said) {
        if let (Some(_), What::Notice(new)) = (&about, &said.what) {
            let same = |old: &Said| matches!(&old.what, What::Notice(old) if discriminant(&**old) == discriminant(&**new));
            self.0.retain(|(who, old)| *who != about || !same(old));
        }
        self.0.push_back((about, said));
        if self.0.len() > MAX_NOTES {
            self.0.pop_front();
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The user has looked at them.
    pub fn dismiss(&mut self) {
        self.0.clear();
    }

    /// This is settled.
    pub fn settle(&mut self, about: &Addressee) {
        self.0.retain(|(who, _)| who.as_ref() != Some(about));
    }

    /// The rows of the latest, so many at most; the last one says how many more there are.
    pub fn rows(&self, width: usize, height: usize, today: Option<Date>) -> Vec<String> {
        let (mut rows, mut shown) = (Vec::new(), 0);
        for (_, said) in self.0.iter().rev() {
            let mut more = said.rows(width, today);
            if shown > 0 && rows.len() + more.len() > height {
                break;
            }
            more.truncate(height);
            rows.append(&mut more);
            shown += 1;
        }
        match self.0.len() - shown {
            0 => {}
            more => rows.push(format!("  and {more} more, in the client's own conversation (Alt+0)")),
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::notice::tests::{message, name};

    #[test]
    fn the_log_is_bounded_and_scrolls_no_further_than_it_reaches() {
        let mut log = Log::default();
        for number in 0..2 * MAX_ENTRIES {
            log.add(Said::line(0, format!("line {number}")));
        }
        assert_eq!(log.entries.len(), MAX_ENTRIES);
        let last = |log: &mut Log| log.rows(80, 3, None).last().unwrap().1.clone();
        assert_eq!(last(&mut log), "line 999");
        log.scroll(-10);
        assert_eq!(last(&mut log), "line 989");
        log.scroll(-10_000);
        assert_eq!(log.rows(80, 3, None).first().unwrap().1, "line 500");
        log.scroll(10_000);
        assert_eq!(last(&mut log), "line 999");
    }

    #[test]
    fn a_panel_scrolls_within_its_rows() {
        let mut panel = Panel::default();
        panel.add(Said::line(0, "one"));
        panel.add(Said::line(0, "two"));
        panel.add(Said::line(0, "three"));
        panel.scroll(-5);
        assert_eq!(panel.rows(80, 2, None), (vec!["one".into(), "two".into()], 0, 1));
        panel.scroll(9);
        assert_eq!(panel.rows(80, 2, None), (vec!["two".into(), "three".into()], 1, 0));
    }

    #[test]
    fn notes_stay_until_they_are_settled_and_are_told_once() {
        let bob = || Some(Addressee::User(name("bob")));
        let mut notes = Notes::default();
        let held = |waiting| {
            let reason = crate::client::notice::HeldReason::DiskFull;
            Said::notice(0, Notice::Held { to: name("bob"), reason, waiting })
        };
        notes.add(bob(), held(1));
        notes.add(bob(), held(2));
        notes.add(None, Said::notice(0, message("hi", false)));
        notes.add(None, Said::line(0, "! no"));
        assert_eq!(notes.0.len(), 3);
        assert_eq!(notes.rows(200, 1, None).len(), 2);
        assert!(notes.rows(200, 1, None)[1].contains("2 more"));
        notes.settle(&bob().unwrap());
        assert_eq!(notes.0.len(), 2);
        notes.dismiss();
        assert!(notes.rows(80, 3, None).is_empty());
    }
}
