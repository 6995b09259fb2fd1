//! The line that is being typed: its text and cursor, its kill ring and its undo steps.

use rustyline::line_buffer::{ChangeListener, DeleteListener, Direction, LineBuffer};
use rustyline::{At, Movement, Word};

const MAX_KILLS: usize = 16;
const MAX_UNDO_STEPS: usize = 200;

pub struct Line {
    buffer: LineBuffer,
    /// In bytes.
    pub limit: usize,
    kill_ring: KillRing,
    /// What the line was, the latest last.
    undo: Vec<(String, usize)>,
    last: Last,
}

/// What the last key did: some do more after another of their kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Typed,
    Killed,
    /// Yanked that many bytes of this kill, counted from the latest.
    Yanked(usize, usize),
    Other,
}

/// Keeps what is killed, but not what is merely deleted.
#[derive(Default)]
pub struct KillRing {
    kept: Vec<String>,
    killing: bool,
    /// Whether the next kill belongs to the one before.
    more: bool,
}

impl DeleteListener for KillRing {
    fn start_killing(&mut self) {
        self.killing = true;
    }

    fn delete(&mut self, _: usize, text: &str, direction: Direction) {
        if !self.killing || text.is_empty() {
            return;
        }
        match self.kept.last_mut().filter(|_| self.more) {
            Some(kill) if direction == Direction::Backward => kill.insert_str(0, text),
            Some(kill) => kill.push_str(text),
            None => {
                if self.kept.len() == MAX_KILLS {
                    self.kept.remove(0);
                }
                self.kept.push(text.to_owned());
            }
        }
        self.more = true;
    }

    fn stop_killing(&mut self) {
        self.killing = false;
    }
}

impl ChangeListener for KillRing {
    fn insert_char(&mut self, _: usize, _: char) {}
    fn insert_str(&mut self, _: usize, _: &str) {}
    fn replace(&mut self, _: usize, _: &str, _: &str) {}
}

impl Line {
    /// An empty line that takes up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            buffer: LineBuffer::with_capacity(limit),
            limit,
            kill_ring: KillRing::default(),
            undo: Vec::new(),
            last: Last::Other,
        }
    }

    pub fn text(&self) -> &str {
        self.buffer.as_str()
    }

    /// In bytes.
    pub fn cursor(&self) -> usize {
        self.buffer.pos()
    }

    pub fn before(&self) -> &str {
        self.text().get(..self.cursor()).unwrap_or_default()
    }

    /// Replaces everything; the cursor stands at the end.
    pub fn set(&mut self, text: &str) {
        self.change(Last::Other, |line| {
            let text = text.get(..text.floor_char_boundary(line.limit)).unwrap_or_default();
            line.buffer.update(text, text.len(), &mut line.kill_ring);
        });
    }

    /// Takes the text away, and with it what could be undone.
    pub fn take(&mut self) -> String {
        let text = self.text().to_owned();
        self.set("");
        self.undo.clear();
        text
    }

    /// Whether the text fits; if it does not, nothing happens.
    pub fn insert(&mut self, text: &str) -> bool {
        if self.buffer.len() + text.len() > self.limit {
            return false;
        }
        self.change(Last::Other, |line| _ = line.buffer.yank(text, 1, &mut line.kill_ring));
        true
    }

    pub fn type_char(&mut self, c: char) {
        if self.buffer.len() + c.len_utf8() > self.limit {
            return;
        }
        // Words are undone as a whole.
        let joins = self.last == Last::Typed && !c.is_whitespace();
        let undo = self.undo.len();
        self.change(Last::Typed, |line| _ = line.buffer.insert(c, 1, &mut line.kill_ring));
        if joins {
            self.undo.truncate(undo);
        }
    }

    /// Replaces what stands before the cursor from `start` on.
    pub fn complete(&mut self, start: usize, text: &str) {
        let end = self.cursor();
        if self.buffer.len() + text.len() <= self.limit {
            self.change(Last::Other, |line| line.buffer.replace(start..end, text, &mut line.kill_ring));
        }
    }

    /// Changes the text or moves the cursor.
    pub fn edit(&mut self, edit: impl FnOnce(&mut LineBuffer, &mut KillRing) -> bool) {
        self.change(Last::Other, |line| _ = edit(&mut line.buffer, &mut line.kill_ring));
    }

    pub fn kill(&mut self, movement: &Movement) {
        self.kill_ring.more = self.last == Last::Killed;
        self.change(Last::Killed, |line| _ = line.buffer.kill(movement, &mut line.kill_ring));
    }

    pub fn yank(&mut self) {
        if let Some(kill) = self.kill_ring.kept.last().cloned()
            && self.insert(&kill)
        {
            self.last = Last::Yanked(kill.len(), 0);
        }
    }

    /// Replaces what was just yanked by the kill before it.
    pub fn yank_pop(&mut self) {
        let Last::Yanked(bytes, at) = self.last else {
            return;
        };
        let at = (at + 1) % self.kill_ring.kept.len().max(1);
        let Some(kill) = self.kill_ring.kept.iter().rev().nth(at).cloned() else {
            return;
        };
        self.complete(self.cursor().saturating_sub(bytes), &kill);
        self.last = Last::Yanked(kill.len(), at);
    }

    pub fn undo(&mut self) {
        if let Some((text, cursor)) = self.undo.pop() {
            self.buffer.update(&text, cursor.min(text.len()), &mut self.kill_ring);
        }
        self.last = Last::Other;
    }

    fn change(&mut self, last: Last, change: impl FnOnce(&mut Self)) {
        let before = (self.text().to_owned(), self.cursor());
        change(self);
        self.last = last;
        if before.0 != self.text() {
            if self.undo.len() == MAX_UNDO_STEPS {
                self.undo.remove(0);
            }
            self.undo.push(before);
        }
    }
}

/// One word back, or forward to its end, as readline has them.
pub const WORD_BACK: Movement = Movement::BackwardWord(1, Word::Emacs);
pub const WORD_FORWARD: Movement = Movement::ForwardWord(1, At::AfterEnd, Word::Emacs);
pub const BLANK_BACK: Movement = Movement::BackwardWord(1, Word::Big);

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        let mut line = Line::new(100);
        assert!(line.insert(text));
        line
    }

    #[test]
    fn kills_in_a_row_are_one_and_come_back() {
        let mut line = line("one two three");
        line.kill(&WORD_BACK);
        line.kill(&WORD_BACK);
        assert_eq!(line.text(), "one ");
        line.yank();
        assert_eq!(line.text(), "one two three");
        line.edit(|line, _| line.move_home());
        line.kill(&WORD_FORWARD);
        line.yank();
        line.yank_pop();
        assert_eq!(line.text(), "two three two three");
    }

    #[test]
    fn words_are_undone_as_a_whole() {
        let mut line = line("");
        "hello big world".chars().for_each(|c| line.type_char(c));
        for expected in ["hello big", "hello", "", ""] {
            line.undo();
            assert_eq!(line.text(), expected);
        }
        line.insert("pasted");
        line.kill(&Movement::BeginningOfLine);
        line.undo();
        assert_eq!((line.text(), line.cursor()), ("pasted", 6));
    }

    #[test]
    fn it_keeps_to_its_limit() {
        let mut line = Line::new(10);
        assert!(line.insert("123456789"));
        assert!(!line.insert("xx"));
        line.type_char('é');
        assert_eq!(line.text(), "123456789");
        line.set(&"é".repeat(10));
        assert_eq!(line.text(), "ééééé");
        line.type_char('x');
        assert_eq!(line.text().len(), 10);
    }
}
