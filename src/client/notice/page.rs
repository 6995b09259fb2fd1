//! Where notices are written as text: what the program says itself, and what users have said, so that the one never
//! looks like the other.

use super::Body;
use super::text::Look;
use crate::terminal::{columns, printable, wrap};

/// By how many columns the program's own lines are indented where they go on.
const OWN_HANG: usize = 4;
/// Behind which column names begin at the latest: after the time and a date.
const NAMES: usize = 22;
/// How many columns a text keeps in a narrow terminal.
const ROOM: usize = 8;
/// What the further lines of a text begin with where there is no terminal.
const INDENT: &str = "    ";

/// See the module.
pub struct Page<'a> {
    pub look: &'a Look,
    out: &'a mut Vec<u8>,
}

impl<'a> Page<'a> {
    pub fn new(look: &'a Look, out: &'a mut Vec<u8>) -> Self {
        Self { look, out }
    }

    /// A line of the program's own.
    pub fn line(&mut self, line: impl AsRef<str>) {
        let line = self.look.marked(line.as_ref());
        self.put(&line, OWN_HANG);
    }

    /// A line of the program's own whose second part is a column of its own.
    pub fn columns(&mut self, first: &str, second: &str) {
        self.put(&format!("{first}{second}"), self.hang(first));
    }

    /// What a user has said, after what the program says of it. The further lines of the text stand below its first, and at
    /// a terminal so do its rows: none of it stands where a line begins, or where a name does, but for terminals of less
    /// than 20 columns.
    pub fn said(&mut self, before: &str, text: &str) {
        let hang = self.hang(before);
        let indent = self.look.width.map(|_| " ".repeat(hang));
        for (index, line) in text.split('\n').enumerate() {
            let before = if index == 0 { before } else { indent.as_deref().unwrap_or(INDENT) };
            self.put(&format!("{before}{}", printable(line.trim_end_matches('\r'))), hang);
        }
    }

    pub fn body(&mut self, before: &str, body: &Body) {
        self.said(before, &body.shown());
    }

    /// Where rows begin that stand below what comes after `before`: in half of the width, or behind all names.
    fn hang(&self, before: &str) -> usize {
        let width = self.look.width.unwrap_or_default();
        let most = (NAMES + 1).min(width.saturating_sub(ROOM)).max(width / 2);
        columns(before).min(most)
    }

    fn put(&mut self, line: &str, hang: usize) {
        if let Some(width) = self.look.width {
            wrap(line, hang, width, self.out);
        } else {
            self.out.extend_from_slice(line.as_bytes());
            self.out.push(b'\n');
        }
    }
}
