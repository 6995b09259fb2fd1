//! The picture of the full screen in the README, and the same as text: made from a real run, so that both can be made anew.
//!
//! `PEERCHAT_PICTURE=docs/box.svg cargo test --test terminal picture` writes the picture and prints the text.

use std::fmt::Write;

use vt100::{Cell, Color, Screen};

use super::{entry, header, open, said};
use crate::support::client::Client;
use crate::support::discovery::{Discovery, scratch};
use crate::support::terminal::{Terminal, full_screen};

const WIDTH: u16 = 80;
const HEIGHT: u16 = 14;

/// How many pixels a cell takes.
const CELL: (f32, f32) = (9.0, 19.0);
const MARGIN: f32 = 12.0;
const PAPER: &str = "#1d1f21";
const INK: &str = "#d0d0d0";
/// The first sixteen colours of a terminal.
const PALETTE: [&str; 16] = [
    "#1d1f21", "#cc6666", "#8fbf6f", "#e0c06c", "#6fa0d0", "#b294bb", "#7cc0b8", "#c5c8c6", "#7f8487",
    "#e08080", "#a8d688", "#f0d48a", "#8cb8e6", "#cbaad4", "#98d8d0", "#ffffff",
];

#[test]
fn the_readme_shows_the_full_screen() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut alice =
        Terminal::sized(full_screen(directory.path(), "alice", discovery.address, &[]), WIDTH, HEIGHT);
    alice.expect("discovery: up");
    let [mut bob, mut carol, mut dave] = ["bob", "carol", "dave"].map(|name| {
        let mut other = Client::online(directory.path(), name, discovery.address);
        other.say("REQUEST alice");
        other.expect_link("alice");
        alice.wait("a link", |alice| entry(alice, name).contains('●'));
        other
    });
    found_a_room(&mut alice, &mut [&mut bob, &mut carol]);
    dave.say("CHAT alice see you tomorrow");
    open(&mut alice, "dave");
    alice.wait("a word", |alice| said(alice).join("").contains("tomorrow"));
    dave.log_out();
    alice.wait("dave gone", |alice| entry(alice, "dave").contains('○'));
    open(&mut alice, "bob");
    for (own, theirs) in [
        (
            "hello bob, lunch at one?",
            "sure. the usual place? it is a long line, and it is wrapped at words under its own text",
        ),
        ("yes, and bring the printouts", "will do"),
    ] {
        alice.enter(own);
        bob.expect_message("alice", own);
        bob.say(&format!("CHAT alice {theirs}"));
        let last = theirs.split(' ').next_back().unwrap();
        alice.wait(theirs, |alice| said(alice).join("").contains(last));
    }
    for text in ["are you there?", "the build is red", "never mind"] {
        carol.say(&format!("CHAT alice {text}"));
    }
    carol.say("CHAT #team alice, it is green again");
    alice.wait("what is unread", |alice| {
        entry(alice, "carol").ends_with(" 3") && entry(alice, "#team").contains('1')
    });
    alice.wait("all delivered", |alice| said(alice).iter().filter(|row| row.ends_with('✓')).count() == 2);
    alice.type_in("see you at one");
    alice.wait("a line", |alice| alice.rows().last().is_some_and(|row| row.contains("see you at one")));
    let rows = alice.rows();
    if let Some(path) = std::env::var_os("PEERCHAT_PICTURE") {
        std::fs::write(path, svg(alice.screen())).unwrap();
        println!("{}", rows.join("\n"));
    }
    let readme = include_str!("../../../README.md");
    let block =
        readme.split("```text\n").nth(1).and_then(|block| block.split("```").next()).unwrap_or_default();
    let expected: Vec<String> = block.lines().map(comparable).collect();
    let shown: Vec<String> = rows.iter().map(|row| comparable(row)).collect();
    assert_eq!(expected, shown, "shown is\n{}", rows.join("\n"));
    assert!(header(&alice).starts_with("bob"), "{rows:?}");
}

fn found_a_room(alice: &mut Terminal, others: &mut [&mut Client]) {
    alice.enter("/ROOM #team");
    alice.wait("a room", |alice| !entry(alice, "#team").is_empty());
    for (at, other) in others.iter_mut().enumerate() {
        alice.enter(&format!("/INVITE #team {}", ["bob", "carol"][at]));
        other.wait("invite", |_| true);
        other.say("JOIN #team");
        other.wait("room", |it| it["state"] == "joined");
    }
    alice.wait("all three", |alice| entry(alice, "#team").contains("3/3"));
}

/// Times and dates are other ones each time.
fn comparable(row: &str) -> String {
    let digits = row.replace(|c: char| c.is_ascii_digit(), "0");
    let row = digits.trim_end();
    match row.split_once("│── ") {
        Some((left, _)) => format!("{left}│── a day"),
        None => row.to_owned(),
    }
}

/// What a screen shows, as a picture.
fn svg(screen: &Screen) -> String {
    let [rows, columns] = [screen.size().0, screen.size().1].map(std::num::NonZeroU16::get);
    let [width, height] =
        [f32::from(columns) * CELL.0 + 2.0 * MARGIN, f32::from(rows) * CELL.1 + 2.0 * MARGIN];
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\">\n\
         <title>peerchat: the full screen</title>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{PAPER}\"/>\n\
         <g font-family=\"DejaVu Sans Mono, Menlo, Consolas, monospace\" font-size=\"15\" xml:space=\"preserve\">\n"
    );
    for row in 0..rows {
        let mut column = 0;
        while column < columns {
            let Some(cell) = screen.cell(row, column) else { break };
            let style = style(cell);
            let mut text = String::new();
            let start = column;
            while let Some(cell) = screen.cell(row, column).filter(|cell| self::style(cell) == style) {
                if !cell.is_wide_continuation() {
                    text += if cell.has_contents() { cell.contents() } else { " " };
                }
                column += 1;
            }
            run(&mut out, (row, start, column - start), &style, &text);
        }
    }
    let (row, column) = screen.cursor_position();
    let [x, y] = [MARGIN + f32::from(column) * CELL.0, MARGIN + f32::from(row) * CELL.1];
    let _ = writeln!(
        out,
        "<rect x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\" fill=\"{INK}\"/>",
        CELL.0, CELL.1
    );
    out + "</g>\n</svg>\n"
}

#[derive(PartialEq, Eq)]
struct Style {
    ink: Option<String>,
    paper: Option<String>,
    bold: bool,
    dim: bool,
    underlined: bool,
}

fn style(cell: &Cell) -> Style {
    let (mut ink, mut paper) = (colour(cell.fgcolor()), colour(cell.bgcolor()));
    if cell.inverse() {
        (ink, paper) = (Some(paper.unwrap_or(PAPER.into())), Some(ink.unwrap_or(INK.into())));
    }
    Style { ink, paper, bold: cell.bold(), dim: cell.dim(), underlined: cell.underline() }
}

fn colour(colour: Color) -> Option<String> {
    match colour {
        Color::Default => None,
        Color::Rgb(red, green, blue) => Some(format!("#{red:02x}{green:02x}{blue:02x}")),
        Color::Idx(index @ 0..16) => Some(PALETTE[usize::from(index)].into()),
        Color::Idx(index @ 16..232) => {
            let level = |step: u8| if step == 0 { 0 } else { 55 + 40 * step };
            let at = index - 16;
            Some(format!("#{:02x}{:02x}{:02x}", level(at / 36), level(at / 6 % 6), level(at % 6)))
        }
        Color::Idx(index) => {
            let grey = 8 + 10 * (index - 232);
            Some(format!("#{grey:02x}{grey:02x}{grey:02x}"))
        }
    }
}

/// Some cells of one row that look the same.
fn run(out: &mut String, (row, column, count): (u16, u16, u16), style: &Style, text: &str) {
    let [x, y] = [MARGIN + f32::from(column) * CELL.0, MARGIN + f32::from(row) * CELL.1];
    let width = f32::from(count) * CELL.0;
    if let Some(paper) = &style.paper {
        let _ = writeln!(
            out,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{}\" fill=\"{paper}\"/>",
            CELL.1
        );
    }
    if text.trim().is_empty() {
        return;
    }
    let ink = style.ink.as_deref().unwrap_or(INK);
    let mut more = String::new();
    for (is, attribute) in [
        (style.bold, " font-weight=\"bold\""),
        (style.dim, " opacity=\"0.6\""),
        (style.underlined, " text-decoration=\"underline\""),
    ] {
        more += if is { attribute } else { "" };
    }
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let base = y + 0.76 * CELL.1;
    let _ = writeln!(
        out,
        "<text x=\"{x}\" y=\"{base}\" textLength=\"{width}\" fill=\"{ink}\"{more}>{text}</text>"
    );
}
