//! Draws the line that is being typed below all output, and erases it again.
//!
//! Only relative movements are used: asking the terminal where its cursor is takes time, and some terminals do not
//! answer. It is asked only once it is narrower than what is drawn.

use std::io::Write as _;

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use super::printable;

/// The narrowest screen that is drawn for: a wide character fits.
const MIN_WIDTH: usize = 2;
const MAX_BELOW: usize = 4;

#[derive(Debug, PartialEq, Eq)]
pub struct View<'a> {
    /// What stands before the text, from its longest form to its shortest.
    pub prompts: Vec<String>,
    pub text: &'a str,
    /// In bytes.
    pub cursor: usize,
    pub below: String,
}

#[derive(Debug)]
pub struct Screen {
    width: usize,
    height: usize,
    colour: bool,
    /// `None` while nothing is drawn.
    drawn: Option<Drawn>,
    /// Whether the terminal breaks rows anew when it is made narrower, as far as it has shown that.
    breaks: Option<bool>,
    /// The same, as far as it has said what it is.
    likely: bool,
}

/// The kinds of terminals, as they say themselves, that cut rows off: xterm, screen and rxvt.
const CUTTING: [u16; 3] = [41, 83, 82];
/// The same of PuTTY, whose kind is that of many, with its version.
const CUTTING_PUTTY: (u16, u16) = (0, 136);

/// What is known of what is drawn.
#[derive(Debug)]
struct Drawn {
    /// How far each row above the one with the cursor reaches.
    above: Vec<usize>,
    /// Where the cursor was put in its row.
    column: usize,
    /// How many rows the cursor stands below the first one now.
    row: usize,
}

impl Drawn {
    /// The row and column of the cursor in a terminal of this width that has broken rows anew.
    fn broken(&self, width: usize) -> (usize, usize) {
        let above: usize = self.above.iter().map(|columns| columns.div_ceil(width).max(1)).sum();
        (above + self.column / width, self.column % width)
    }

    /// The same in one that leaves the cursor behind a row which is just full.
    fn broken_full(&self, width: usize) -> Option<(usize, usize)> {
        let (row, column) = self.broken(width);
        (column == 0 && self.column > 0).then(|| (row.saturating_sub(1), width - 1))
    }

    /// The same in one that has cut rows off.
    fn cut(&self, width: usize) -> (usize, usize) {
        (self.above.len(), self.column.min(width - 1))
    }
}

struct Rows {
    rows: Vec<String>,
    /// How far each row before the last one reaches.
    columns: Vec<usize>,
    /// How far the last row reaches.
    column: usize,
    width: usize,
}

impl Rows {
    fn new(width: usize) -> Self {
        Self { rows: vec![String::new()], columns: Vec::new(), column: 0, width }
    }

    fn next(&mut self) {
        // Terminals do not agree on whether spaces at the end of a row are something to be broken.
        if let Some(row) = self.rows.last_mut() {
            let kept = row.trim_end_matches(' ').len();
            self.column -= row.len() - kept;
            row.truncate(kept);
        }
        self.rows.push(String::new());
        self.columns.push(std::mem::take(&mut self.column));
    }

    fn push(&mut self, text: &str) {
        for grapheme in text.graphemes(true) {
            if grapheme.ends_with('\n') {
                self.next();
                continue;
            }
            let shown = shown(grapheme);
            let cells = shown.width();
            if self.column + cells > self.width {
                self.next();
            }
            self.column += cells;
            if let Some(row) = self.rows.last_mut() {
                row.push_str(shown);
            }
        }
    }

    /// Where the next character would stand.
    fn end(&mut self) -> (usize, usize) {
        if self.column == self.width {
            self.next();
        }
        (self.rows.len() - 1, self.column)
    }
}

impl Screen {
    pub fn new(colour: bool) -> Self {
        Self { width: 80, height: 24, colour, drawn: None, breaks: None, likely: false }
    }

    /// The terminal has this width and height now; zero if unknown. Returns whether it is to be asked in which column its
    /// cursor is: some terminals break what is drawn anew, and nothing may be erased or drawn before
    /// [`settle`](Self::settle) has been told.
    pub fn resize(&mut self, (width, height): (usize, usize)) -> bool {
        self.width = if width == 0 { 80 } else { width.max(MIN_WIDTH) };
        self.height = if height == 0 { 24 } else { height };
        let Some(drawn) = &mut self.drawn else {
            return false;
        };
        drawn.row = drawn.above.len().min(self.height - 1);
        drawn.broken(self.width).0 != drawn.above.len()
    }

    /// Whether it is of use what kind of terminal this is.
    pub fn wants_kind(&self) -> bool {
        self.breaks.is_none() && !self.likely
    }

    pub fn set_kind(&mut self, kind: u16, version: u16) {
        self.likely = !CUTTING.contains(&kind) && (kind, version) != CUTTING_PUTTY;
    }

    /// The cursor is in this column after a change of the width; `None` if the terminal has not said it. If that leaves
    /// the rows open, it counts what the terminal has done before, or is known to do. Of one that says nothing a stale row
    /// may stay, but no line of output is erased.
    pub fn settle(&mut self, column: Option<usize>) {
        let Some(drawn) = &mut self.drawn else {
            return;
        };
        // Behind a full row some say that they are in the last column, and some in one more.
        let column = column.map(|column| column.min(self.width - 1));
        let fits = |place: &(usize, usize)| column.is_none_or(|column| column == place.1);
        let cut = Some(drawn.cut(self.width)).filter(fits);
        let broken =
            [Some(drawn.broken(self.width)), drawn.broken_full(self.width)].into_iter().flatten().find(fits);
        if broken.is_some() != cut.is_some() {
            self.breaks = Some(broken.is_some());
        }
        let breaks = self.breaks.unwrap_or(self.likely);
        let likely = if breaks { broken.or(cut) } else { cut.or(broken) };
        let row = likely.map_or(drawn.above.len(), |place| place.0);
        drawn.row = row.min(self.height - 1);
    }

    pub fn erase(&mut self, out: &mut Vec<u8>) {
        if let Some(drawn) = self.drawn.take() {
            up(out, drawn.row);
            // Some terminals keep the whole screen for their user where all of it is cleared from its first column.
            out.extend_from_slice(b"\r\x1b[C\x1b[J\r\x1b[K");
        }
    }

    pub fn clear(&mut self, out: &mut Vec<u8>) {
        self.drawn = None;
        out.extend_from_slice(b"\x1b[H\x1b[2J");
    }

    /// Draws. Nothing must be drawn already.
    pub fn draw(&mut self, view: &View, out: &mut Vec<u8>) {
        let mut rows = Rows::new(self.width);
        let prompt = self.prompt(view);
        rows.push(prompt);
        let (before, after) = view.text.split_at_checked(view.cursor).unwrap_or((view.text, ""));
        rows.push(before);
        let (cursor_row, cursor_column) = rows.end();
        rows.push(after);
        let mut below = Rows::new(self.width);
        below.push(&view.below);
        let below =
            if view.below.is_empty() { Vec::new() } else { cut(below.rows, MAX_BELOW.min(self.height / 2)) };

        // A text that is higher than the screen is shown around the cursor.
        let most = self.height.saturating_sub(below.len()).max(1);
        let first = cursor_row.saturating_sub(most / 2).min(rows.rows.len().saturating_sub(most));
        let shown: Vec<_> = rows.rows.iter().skip(first).take(most).collect();
        let last = shown.len() + below.len() - 1;
        for (at, row) in shown.into_iter().enumerate() {
            if at > 0 {
                out.extend_from_slice(b"\r\n");
            }
            match row.strip_prefix(prompt).filter(|_| self.colour && at + first == 0) {
                Some(rest) => _ = write!(out, "\x1b[1m{prompt}\x1b[m{rest}"),
                None => out.extend_from_slice(row.as_bytes()),
            }
        }
        for row in below {
            let (dim, plain) = if self.colour { ("\x1b[2m", "\x1b[m") } else { ("", "") };
            _ = write!(out, "\r\n{dim}{row}{plain}");
        }
        let above = rows.columns.get(first..cursor_row).unwrap_or_default().to_vec();
        let cursor_row = cursor_row - first;
        up(out, last - cursor_row);
        out.push(b'\r');
        if cursor_column > 0 {
            _ = write!(out, "\x1b[{cursor_column}C");
        }
        self.drawn = Some(Drawn { above, column: cursor_column, row: cursor_row });
    }

    /// The longest form that leaves half of the row, or the shortest.
    fn prompt<'a>(&self, view: &'a View) -> &'a str {
        let fits = |prompt: &&String| prompt.width() <= self.width / 2;
        view.prompts.iter().find(fits).or(view.prompts.last()).map_or("", String::as_str)
    }
}

/// A line that was entered, as it stays above what is typed next.
pub fn echo(prompt: &str, text: &str, out: &mut Vec<u8>) {
    let shown = |grapheme: &str| {
        if grapheme.ends_with('\n') { "\n    ".to_owned() } else { shown(grapheme).to_owned() }
    };
    let text: String = text.graphemes(true).map(shown).collect();
    _ = writeln!(out, "{prompt}{text}");
}

/// A grapheme as it is drawn: one that can't be seen as it is takes a column all the same.
pub fn shown(grapheme: &str) -> &str {
    match grapheme {
        "\t" => " ",
        it if printable(it) == it => it,
        _ => "?",
    }
}

fn up(out: &mut Vec<u8>, rows: usize) {
    if rows > 0 {
        _ = write!(out, "\x1b[{rows}A");
    }
}

/// The first rows, the last of them saying that there are more.
fn cut(mut rows: Vec<String>, most: usize) -> Vec<String> {
    if rows.len() > most {
        rows.truncate(most);
        if let Some(last) = rows.last_mut() {
            "…".clone_into(last);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A terminal of this size with some lines of output, which fit into any.
    fn terminal(width: u16, height: u16, colour: bool) -> (vt100::Parser, Screen) {
        let mut terminal = vt100::Parser::new(height.try_into().unwrap(), width.try_into().unwrap(), 1000);
        terminal.process(b"1\r\n2\r\n");
        let mut screen = Screen::new(colour);
        screen.resize((width.into(), height.into()));
        (terminal, screen)
    }

    fn show(terminal: &mut vt100::Parser, out: &mut Vec<u8>) {
        // As the system's line discipline does it.
        terminal.process(String::from_utf8_lossy(out).replace('\n', "\r\n").as_bytes());
        out.clear();
    }

    fn view(text: &str, cursor: usize) -> View<'_> {
        View { prompts: vec!["bob> ".into(), "> ".into()], text, cursor, below: String::new() }
    }

    fn rows(terminal: &vt100::Parser) -> Vec<String> {
        let rows = terminal.screen().rows(0, terminal.screen().size().1.get());
        let mut rows: Vec<_> = rows.map(|row| row.trim_end().to_owned()).collect();
        while rows.last().is_some_and(String::is_empty) {
            rows.pop();
        }
        rows
    }

    #[test]
    fn wide_characters_and_the_last_column() {
        for (text, cursor, expected, position) in [
            ("", 0, &["bob>"][..], (0, 5)),
            ("hello", 5, &["bob> hello"], (1, 0)),
            ("hello", 2, &["bob> hello"], (0, 7)),
            ("好好好", 9, &["bob> 好好", "好"], (1, 2)),
            ("好好好", 3, &["bob> 好好", "好"], (0, 7)),
            ("e\u{301}x", 3, &["bob> e\u{301}x"], (0, 6)),
            ("a\nb\tc", 1, &["bob> a", "b c"], (0, 6)),
            ("\u{1b}x", 2, &["bob> ?x"], (0, 7)),
        ] {
            let (mut terminal, mut screen) = terminal(10, 6, true);
            let mut out = Vec::new();
            screen.draw(&view(text, cursor), &mut out);
            show(&mut terminal, &mut out);
            assert_eq!(rows(&terminal)[2..], *expected, "{text:?}");
            let (row, column) = position;
            assert_eq!(terminal.screen().cursor_position(), (2 + row, column), "{text:?}");
            screen.erase(&mut out);
            show(&mut terminal, &mut out);
            assert_eq!(rows(&terminal), ["1", "2"]);
        }
    }

    #[test]
    fn a_text_higher_than_the_screen_is_shown_around_the_cursor() {
        let text: String = (0..50).map(|line| format!("line {line}\n")).collect();
        let (mut terminal, mut screen) = terminal(20, 5, false);
        let mut out = Vec::new();
        for line in [0, 25, 49] {
            let cursor = text.find(&format!("line {line}\n")).unwrap();
            screen.erase(&mut out);
            screen.draw(&view(&text, cursor), &mut out);
            show(&mut terminal, &mut out);
            let (row, _) = terminal.screen().cursor_position();
            assert!(rows(&terminal)[usize::from(row)].ends_with(&format!("line {line}")));
        }
    }

    #[test]
    fn a_narrower_terminal_shows_by_its_column_what_it_has_done() {
        let drawn = |screen: &mut Screen, columns: usize| {
            screen.resize((20, 10));
            screen.draw(&view(&"x".repeat(columns - 5), columns - 5), &mut Vec::new());
        };
        // The columns drawn, another width, where the cursor is said to be, and how many rows are erased above it.
        for (columns, width, column, row) in [
            (18, 12, Some(6), 1),
            (18, 12, Some(11), 0),
            (18, 12, None, 0),
            // Just full: the next row, the last column, and the one behind it.
            (18, 9, Some(0), 2),
            (18, 6, Some(5), 2),
            (18, 6, Some(6), 2),
            // What it has done before is likely where the column does not tell.
            (30, 15, Some(10), 2),
        ] {
            let mut screen = Screen::new(false);
            screen.breaks = (row > 0).then_some(true);
            drawn(&mut screen, columns);
            assert!(screen.resize((width, 10)));
            screen.settle(column);
            assert_eq!(screen.drawn.as_ref().unwrap().row, row, "{columns} {width} {column:?}");
        }
        let mut screen = Screen::new(false);
        drawn(&mut screen, 18);
        assert!(!screen.resize((19, 10)) && !screen.resize((100, 10)), "nothing was broken");
    }

    #[test]
    fn the_whole_screen_is_never_cleared_from_its_first_column() {
        let (_, mut screen) = terminal(10, 6, false);
        let mut out = Vec::new();
        screen.draw(&view("hello", 5), &mut out);
        out.clear();
        screen.erase(&mut out);
        assert!(!String::from_utf8(out).unwrap().contains("\r\x1b[J"));
    }

    proptest! {
        /// Whatever is drawn in between, what was printed is all there and nothing else is.
        #[test]
        fn what_is_drawn_goes_without_a_trace(
            (width, height) in (2u16..40, 2u16..12),
            steps in prop::collection::vec(("[a-z 好é\n]{0,60}", any::<prop::sample::Index>(), "[a-z ]{0,80}"), 1..10),
        ) {
            let (mut terminal, mut screen) = terminal(width, height, false);
            let mut out = Vec::new();
            for (text, cursor, below) in &steps {
                let mut cursor = cursor.index(text.len() + 1);
                while !text.is_char_boundary(cursor) {
                    cursor -= 1;
                }
                screen.draw(&View { below: below.clone(), ..view(text, cursor) }, &mut out);
                show(&mut terminal, &mut out);
                screen.erase(&mut out);
                out.extend_from_slice(b"x\n");
                show(&mut terminal, &mut out);
            }
            terminal.screen_mut().set_scrollback(0);
            let mut expected = vec!["1", "2"];
            expected.extend(steps.iter().map(|_| "x"));
            let shown = rows(&terminal);
            prop_assert_eq!(&shown[..], &expected[expected.len() - shown.len()..]);
            prop_assert!(shown.len() >= expected.len().min(usize::from(height) - 1).min(1));
        }
    }
}
