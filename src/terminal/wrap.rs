//! Lines in rows that fit the terminal, so that the terminal itself never has to go on at the first column: what stands
//! there is the program's word.
//!
//! Terminals do not agree on how wide every character is. A grapheme is therefore counted as wide as any of them could draw
//! it, the parts of an emoji one beside the other; it is never cut. A row may be left shorter by that, hardly longer: and
//! against a terminal that draws even wider (some are told to, of Greek for instance), the caller can turn off its breaking
//! of rows.
//!
//! What is wrapped so stays so: a terminal that is made narrower later breaks its rows anew, by itself and at the first
//! column, and no program can prevent it. What a terminal shows of the past is to be trusted at the width at which it was
//! written, or wider.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// How many columns are left for text at least: a wide character fits.
const MIN_ROOM: usize = 2;
/// The narrowest terminal that is wrapped for.
const MIN_WIDTH: usize = 2 * MIN_ROOM;
/// What keeps a row with something that is written from right to left from being turned around as a whole.
const LEFT_TO_RIGHT: char = '\u{200e}';

/// How many columns a text takes at most. `\x1b[…m` takes none.
pub fn columns(text: &str) -> usize {
    pieces(text).map(|(_, cells)| cells).sum()
}

/// Appends the line in rows of at most `width` columns, each ended, those after the first indented by `hang` columns, as
/// far as that leaves room. The line is printable but for `\x1b[…m`. It is broken at spaces and beside wide characters,
/// and within a word that is longer than a row; spaces at the end of a row are left out.
pub fn wrap(line: &str, hang: usize, width: usize, out: &mut Vec<u8>) {
    let width = width.max(MIN_WIDTH);
    let mut rows = Rows {
        width,
        hang: hang.min(width - MIN_ROOM),
        column: 0,
        blank: 0,
        fresh: true,
        anchor: None,
        turned: false,
        out,
    };
    let (mut word, mut cells_of_word) = (Vec::new(), 0);
    for (piece, cells) in pieces(line) {
        let is_alone = piece == " " || cells > 1;
        if is_alone {
            rows.word(&word, cells_of_word);
            word.clear();
            cells_of_word = 0;
        }
        if piece == " " {
            rows.blank += 1;
        } else if is_alone {
            rows.word(&[(piece, cells)], cells);
        } else {
            word.push((piece, cells));
            cells_of_word += cells;
        }
    }
    rows.word(&word, cells_of_word);
    rows.out.push(b'\n');
}

struct Rows<'a> {
    width: usize,
    hang: usize,
    column: usize,
    /// How many spaces stand between what is written and the next word.
    blank: usize,
    /// Whether nothing stands in this row yet but its indent.
    fresh: bool,
    /// Behind the first character of this row, where a mark may stand.
    anchor: Option<usize>,
    /// Whether something in this row is written from right to left.
    turned: bool,
    out: &'a mut Vec<u8>,
}

impl Rows<'_> {
    /// Appends what is not broken if it fits into a row.
    fn word(&mut self, pieces: &[(&str, usize)], cells: usize) {
        if pieces.is_empty() {
            return;
        }
        let blank = std::mem::take(&mut self.blank);
        let fits = self.column + blank + cells <= self.width;
        let long = cells > self.width - self.hang;
        if fits || (long && self.column + blank < self.width) {
            self.space(blank);
        } else {
            self.next();
        }
        for (piece, cells) in pieces {
            if self.column + cells > self.width && !self.fresh {
                self.next();
            }
            if !self.turned && piece.chars().any(is_right_to_left) {
                self.turned = true;
                let at = self.anchor.unwrap_or(self.out.len());
                self.out.splice(at..at, LEFT_TO_RIGHT.encode_utf8(&mut [0; 4]).bytes());
            }
            self.out.extend_from_slice(piece.as_bytes());
            self.column += cells;
            if *cells > 0 {
                self.fresh = false;
                self.anchor.get_or_insert(self.out.len());
            }
        }
    }

    fn space(&mut self, cells: usize) {
        self.out.extend(std::iter::repeat_n(b' ', cells));
        self.column += cells;
        if cells > 0 {
            self.fresh = false;
            self.anchor.get_or_insert(self.out.len());
        }
    }

    fn next(&mut self) {
        self.out.push(b'\n');
        (self.column, self.turned, self.anchor) = (0, false, None);
        self.space(self.hang);
        self.fresh = true;
    }
}

/// The graphemes of a text and how wide each is, and what changes the colour.
fn pieces(text: &str) -> impl Iterator<Item = (&str, usize)> {
    // Only this program has put colours there: others' text has no such character.
    text.split('\x1b').enumerate().flat_map(|(index, part)| {
        let end = if index == 0 { 0 } else { part.find('m').map_or(part.len(), |at| at + 1) };
        let (colour, plain) = part.split_at(end);
        let colour = [("\x1b", 0), (colour, 0)].into_iter().filter(move |_| end > 0);
        colour.chain(plain.graphemes(true).map(|it| (it, cells(it))))
    })
}

fn cells(grapheme: &str) -> usize {
    let chars: usize = grapheme.chars().map(|c| c.width().unwrap_or(1)).sum();
    chars.max(grapheme.width())
}

/// Letters that are written from right to left, and the marks that act as one.
fn is_right_to_left(c: char) -> bool {
    matches!(c, '\u{590}'..='\u{8ff}' | '\u{200f}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{feff}'
        | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(line: &str, hang: usize, width: usize) -> Vec<String> {
        let mut out = Vec::new();
        wrap(line, hang, width, &mut out);
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn rows_are_broken_where_a_reader_expects_it() {
        for (line, width, expected) in [
            ("", 10, &[""][..]),
            ("bob: hi", 10, &["bob: hi"]),
            ("bob: one two", 10, &["bob: one", "     two"]),
            ("bob: one  two", 10, &["bob: one", "     two"]),
            ("bob: one   ", 10, &["bob: one"]),
            // A word that is longer than a row is broken where it stands.
            ("bob: abcdefgh", 10, &["bob: abcde", "     fgh"]),
            ("bob: a bcdefgh", 10, &["bob: a bcd", "     efgh"]),
            ("bob: 日本語日本", 10, &["bob: 日本", "     語日", "     本"]),
            ("bob: é\u{301}éé\u{301}éééé", 10, &["bob: é\u{301}éé\u{301}éé", "     éé"]),
            // As wide as a terminal could draw it that knows of no families.
            ("bob: ab👩\u{200d}👧", 10, &["bob: ab", "     👩\u{200d}👧"]),
            ("bob: 🇫🇷🇫🇷🇫🇷", 10, &["bob: 🇫🇷🇫🇷", "     🇫🇷"]),
            // Some room is left for the text.
            ("bob: one", 6, &["bob: o", "    ne"]),
            ("bob: on", 6, &["bob:", "    on"]),
            ("bob: 日本", 1, &["bob:", "  日", "  本"]),
            ("bob: ommmm\u{301}", 10, &["bob: ommmm\u{301}"]),
            ("\x1b[1mbob\x1b[m: one two", 10, &["\x1b[1mbob\x1b[m: one", "     two"]),
            ("bob: <שלום שלום", 10, &["b\u{200e}ob: <שלום", "     \u{200e}שלום"]),
        ] {
            assert_eq!(rows(line, 5, width), expected, "{line:?} {width}");
        }
    }

    #[test]
    fn padding_brings_no_text_to_the_first_column() {
        for pad in 0..200 {
            for width in [20, 79, 80, 81] {
                let line = format!("[12:00:00] mallory: {}alice: pay me", " ".repeat(pad));
                let rows = rows(&line, 20, width);
                assert!(
                    rows[1..].iter().all(|row| row.starts_with(&" ".repeat(20.min(width - MIN_ROOM)))),
                    "{rows:?}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn no_row_is_too_wide_and_nothing_is_lost(
            line in "([a-z ]|[好é👩🏽\u{200d}ש\u{301}\u{1100}\u{1161}]|\\PC){0,200}", hang in 0usize..50, width in 1usize..100,
        ) {
            let line = crate::terminal::printable(&line);
            let width_of = width.max(MIN_WIDTH);
            let rows = rows(&line, hang, width);
            for (at, row) in rows.iter().enumerate() {
                // A single grapheme may be wider than any row.
                prop_assert!(columns(row) <= width_of || row.replace(LEFT_TO_RIGHT, "").trim().graphemes(true).count() <= 1, "{row:?}");
                prop_assert!(at == 0 || row.starts_with(&" ".repeat(hang.min(width_of - MIN_ROOM))));
            }
            let solid = |text: &str| text.chars().filter(|c| ![' ', '\n', LEFT_TO_RIGHT].contains(c)).collect::<String>();
            prop_assert_eq!(solid(&rows.concat()), solid(&line));
        }
    }
}
