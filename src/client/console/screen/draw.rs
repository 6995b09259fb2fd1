//! Draws a frame into cells, and turns what has changed into bytes for the terminal.

use std::io::Write as _;

use ratatui_core::buffer::{Buffer, Cell};
use ratatui_core::layout::Rect;
use ratatui_core::style::{Color, Modifier, Style};
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use super::colours::{Colours, Role};
use super::lines::{Row, Said};
use super::model::{Body, Frame, rule};

/// What keeps a row with something that is written from right to left from being turned around as a whole.
const LEFT_TO_RIGHT: char = '\u{200e}';

/// Draws a frame. Nothing is written outside of its place.
pub fn draw(frame: &Frame, colours: &Colours) -> Buffer {
    let (width, height) = (small(frame.size.0), small(frame.size.1));
    let mut page = Page { buffer: Buffer::empty(Rect::new(0, 0, width, height)), colours };
    let left = if frame.list_width > 0 { small(frame.list_width) + 1 } else { 0 };
    if left > 0 {
        for (y, row) in (0..).zip(&frame.list) {
            page.put(0, y, left - 1, &row.text, colours.of(row.role));
        }
        page.put(0, height.saturating_sub(1), left - 1, &frame.status, colours.of(Role::Status));
        for y in 0..height {
            page.put(left - 1, y, left, "│", colours.of(Role::Border));
        }
    }
    page.put(left, 0, width, &frame.header, colours.of(Role::Header));
    match &frame.body {
        Body::Client(rows) => {
            for (y, (time, row)) in (1..).zip(rows) {
                page.put(left, y, left + 5, time, colours.of(Role::Time));
                let role = if row.starts_with("! ") { Role::Error } else { Role::Notice };
                page.put(left + 6, y, width, row, colours.of(role));
            }
        }
        Body::Conversation(rows) => {
            // A short conversation stands at the bottom, where what is typed is.
            let above = small(frame.height.saturating_sub(rows.len()));
            for (y, row) in (1 + above..).zip(rows) {
                page.row(frame, left, y, row);
            }
        }
    }
    let mut y = 1 + small(frame.height);
    for (row, role) in &frame.below {
        page.put(left, y, width, row, colours.of(*role));
        y += 1;
    }
    for (index, row) in frame.input.iter().enumerate() {
        let (prompt, text) =
            if index == 0 { row.split_at_checked(frame.prompt) } else { None }.unwrap_or(("", row));
        let x = page.put(left, y, width, prompt, colours.of(Role::Prompt));
        page.put(x, y, width, text, Style::new());
        y += 1;
    }
    page.buffer
}

/// Where the cursor is: its column and its row.
pub fn cursor(frame: &Frame) -> (u16, u16) {
    let left = if frame.list_width > 0 { frame.list_width + 1 } else { 0 };
    let y = 1 + frame.height + frame.below.len() + frame.cursor.1;
    let last = |size: usize| size.saturating_sub(1);
    (small((left + frame.cursor.0).min(last(frame.size.0))), small(y.min(last(frame.size.1))))
}

fn small(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

struct Page<'c> {
    buffer: Buffer,
    colours: &'c Colours,
}

impl Page<'_> {
    /// Writes a text between two columns of a row. Returns where it ends.
    fn put(&mut self, mut x: u16, y: u16, end: u16, text: &str, style: Style) -> u16 {
        for grapheme in text.graphemes(true) {
            let cells = small(grapheme.width());
            if cells == 0 {
                // It belongs to what stands before it.
                if let Some(cell) = x.checked_sub(1).and_then(|x| self.buffer.cell_mut((x, y))) {
                    let symbol = format!("{}{grapheme}", cell.symbol());
                    cell.set_symbol(&symbol);
                }
                continue;
            }
            if x + cells > end {
                break;
            }
            if let Some(cell) = self.buffer.cell_mut((x, y)) {
                cell.set_symbol(grapheme).set_style(style);
            }
            for beside in x + 1..x + cells {
                self.buffer.cell_mut((beside, y)).into_iter().for_each(|cell| {
                    cell.reset();
                    cell.set_style(style);
                });
            }
            x += cells;
        }
        x
    }

    fn row(&mut self, frame: &Frame, left: u16, y: u16, row: &Row) {
        let (colours, columns) = (self.colours, frame.columns);
        let width = left + small(columns.width);
        let (name_at, text_at) = (left + small(columns.name), left + small(columns.text));
        match row {
            Row::Date(date) => {
                self.put(left, y, width, &rule(date, columns.width), colours.of(Role::Date));
            }
            Row::New => _ = self.put(left, y, width, &rule("new", columns.width), colours.of(Role::New)),
            Row::Remark(remark) => {
                self.put(name_at, y, width, &format!("└ {remark}"), colours.of(Role::Notice));
            }
            Row::Event { time, text } => {
                let style = colours.of(if text.starts_with("! ") { Role::Error } else { Role::Time });
                if columns.name > 0 {
                    self.put(left, y, name_at, time, colours.of(Role::Time));
                }
                self.put(name_at, y, width, text, style);
            }
            Row::Said(said) => {
                let Said { time, mark, name, text, state, own, mention } = said;
                if columns.name > 0 {
                    self.put(left, y, name_at, time, colours.of(Role::Time));
                    let mark_at = name_at.saturating_sub(1);
                    self.put(mark_at, y, name_at, &mark.to_string(), colours.of(Role::Mention));
                }
                let style = if *own { colours.of(Role::OwnName) } else { colours.name(name) };
                self.put(name_at, y, text_at.saturating_sub(2), name, style);
                let style = match (own, mention) {
                    (true, _) => colours.of(Role::OwnText),
                    (false, true) => colours.of(Role::Mention),
                    (false, false) => colours.of(Role::Text),
                };
                if text.contains(LEFT_TO_RIGHT)
                    && let Some(cell) = self.buffer.cell_mut((text_at.saturating_sub(1), y))
                {
                    cell.set_symbol(&format!(" {LEFT_TO_RIGHT}"));
                }
                self.put(text_at, y, width, text, style);
                let cells = small(state.width());
                self.put(width.saturating_sub(cells), y, width, state, colours.of(Role::State));
            }
        }
    }
}

/// What the terminal shows, as far as it was written.
#[derive(Debug, Default)]
pub struct Drawn(Option<Buffer>);

impl Drawn {
    /// Nothing is known of what the terminal shows.
    pub fn forget(&mut self) {
        self.0 = None;
    }

    /// What makes the terminal show this, with the cursor there.
    pub fn update(&mut self, buffer: Buffer, (x, y): (u16, u16), out: &mut Vec<u8>) {
        let mut pen = Pen::default();
        let before = self.0.take().filter(|before| before.area == buffer.area);
        out.extend_from_slice(b"\x1b[?25l");
        let before = before.unwrap_or_else(|| {
            out.extend_from_slice(b"\x1b[m\x1b[2J");
            Buffer::empty(buffer.area)
        });
        let width = usize::from(buffer.area.width).max(1);
        for ((y, old), new) in (0..).zip(before.content.chunks(width)).zip(buffer.content.chunks(width)) {
            if old == new {
                continue;
            }
            // What a terminal has drawn wider than it was counted is written over.
            let whole = old.iter().chain(new).any(is_doubtful);
            let mut covered = 0;
            for ((x, old), new) in (0..).zip(old).zip(new) {
                if covered > 0 {
                    covered -= 1;
                    continue;
                }
                covered = new.symbol().width().saturating_sub(1);
                if whole || old != new {
                    pen.cell(x, y, new, out);
                }
            }
        }
        if pen.style != Style::default() {
            out.extend_from_slice(b"\x1b[m");
        }
        _ = write!(out, "\x1b[{};{}H\x1b[?25h", y.saturating_add(1), x.saturating_add(1));
        self.0 = Some(buffer);
    }
}

/// Whether terminals do not agree on how wide it is: joined emoji take the cells of one or of all of them.
fn is_doubtful(cell: &Cell) -> bool {
    let symbol = cell.symbol();
    symbol.len() > 1 && (symbol.chars().nth(1).is_some() || symbol.width() > 1)
}

/// Where the terminal writes next, and how.
#[derive(Default)]
struct Pen {
    at: Option<(u16, u16)>,
    style: Style,
}

impl Pen {
    fn cell(&mut self, x: u16, y: u16, cell: &Cell, out: &mut Vec<u8>) {
        if self.at != Some((x, y)) {
            _ = write!(out, "\x1b[{};{}H", y.saturating_add(1), x.saturating_add(1));
        }
        let style =
            Style { fg: set(cell.fg), bg: set(cell.bg), add_modifier: cell.modifier, ..Style::default() };
        if self.style != style {
            self.style = style;
            write_style(style, out);
        }
        out.extend_from_slice(cell.symbol().as_bytes());
        // Terminals do not agree on how wide everything else is.
        let certain = cell.symbol().len() == 1 || matches!(cell.symbol(), "│" | "─");
        self.at = certain.then(|| (x.saturating_add(1), y));
    }
}

fn set(colour: Color) -> Option<Color> {
    (colour != Color::Reset).then_some(colour)
}

fn write_style(style: Style, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\x1b[0");
    for (modifier, code) in [
        (Modifier::BOLD, "1"),
        (Modifier::DIM, "2"),
        (Modifier::ITALIC, "3"),
        (Modifier::UNDERLINED, "4"),
        (Modifier::REVERSED, "7"),
    ] {
        if style.add_modifier.contains(modifier) {
            _ = write!(out, ";{code}");
        }
    }
    style.fg.into_iter().for_each(|colour| write_colour(colour, 30, out));
    style.bg.into_iter().for_each(|colour| write_colour(colour, 40, out));
    out.push(b'm');
}

/// A colour; `base` is 30 for that of what is written, 40 for that behind it.
fn write_colour(colour: Color, base: u8, out: &mut Vec<u8>) {
    let usual = |number: u8| base + number;
    let bright = |number: u8| base + 60 + number;
    let code = match colour {
        Color::Black => usual(0),
        Color::Red => usual(1),
        Color::Green => usual(2),
        Color::Yellow => usual(3),
        Color::Blue => usual(4),
        Color::Magenta => usual(5),
        Color::Cyan => usual(6),
        Color::Gray => usual(7),
        Color::DarkGray => bright(0),
        Color::LightRed => bright(1),
        Color::LightGreen => bright(2),
        Color::LightYellow => bright(3),
        Color::LightBlue => bright(4),
        Color::LightMagenta => bright(5),
        Color::LightCyan => bright(6),
        Color::White => bright(7),
        Color::Reset => usual(9),
        Color::Indexed(index) => {
            _ = write!(out, ";{};5;{index}", usual(8));
            return;
        }
        Color::Rgb(r, g, b) => {
            _ = write!(out, ";{};2;{r};{g};{b}", usual(8));
            return;
        }
    };
    _ = write!(out, ";{code}");
}

#[cfg(test)]
mod tests;
