//! The front end that draws the whole terminal.

use std::path::Path;

use crate::support::client::Client;
use crate::support::discovery::Discovery;
use crate::support::terminal::{Terminal, full_screen};

mod boxes;
mod ends;
mod keys;
mod picture;
mod scrollback;
mod size;
mod slow;
mod text;
mod typing;

/// What stands between the list of conversations and the one that is open.
const BORDER: char = '│';

/// A client or a box of that name, with 100 columns and 30 rows; it is registered.
fn start(directory: &Path, name: &str, discovery: &Discovery) -> Terminal {
    let mut terminal = Terminal::sized(full_screen(directory, name, discovery.address, &[]), 100, 30);
    terminal.expect("discovery: up");
    terminal
}

/// Bob, and others at pipes who are linked with him.
fn among<const N: usize>(
    directory: &Path,
    discovery: &Discovery,
    others: [&str; N],
) -> (Terminal, [Client; N]) {
    let mut bob = start(directory, "bob", discovery);
    let others = others.map(|name| {
        let mut other = Client::online(directory, name, discovery.address);
        other.say("REQUEST bob");
        other.expect_link("bob");
        bob.wait("a link", |bob| entry(bob, name).contains('●'));
        other
    });
    (bob, others)
}

/// The left and the right part of each row. Where there is no list the left is empty.
fn parts(terminal: &Terminal) -> Vec<(String, String)> {
    let split = |row: String| match row.split_once(BORDER) {
        Some((left, right)) => (left.trim_end().to_owned(), right.to_owned()),
        None => (String::new(), row),
    };
    terminal.rows().into_iter().map(split).collect()
}

/// The row of the list with this conversation, from its name on.
fn entry(terminal: &Terminal, name: &str) -> String {
    let names = |row: &String| row.split_whitespace().nth(1) == Some(name);
    let row = parts(terminal).into_iter().map(|(left, _)| left).find(names).unwrap_or_default();
    row.find(name).map_or_else(String::new, |at| row[at..].to_owned())
}

/// What is open, as its header says it.
fn header(terminal: &Terminal) -> String {
    parts(terminal).into_iter().next().unwrap_or_default().1
}

/// The rows of what is open that show what was said, between the header and what is being typed.
fn said(terminal: &Terminal) -> Vec<String> {
    let rows = parts(terminal).into_iter().map(|(_, right)| right).skip(1);
    rows.take_while(|row| !row.starts_with('>')).filter(|row| !row.is_empty()).collect()
}

/// Whether nothing of what is being drawn is still to come: at last the cursor is shown, and the bell may ring.
fn is_drawn(terminal: &Terminal) -> bool {
    let written = terminal.written.strip_suffix(b"\x07").unwrap_or(&terminal.written);
    written.ends_with(b"\x1b[?25h")
}

/// Opens a conversation.
fn open(terminal: &mut Terminal, name: &str) {
    terminal.enter(&format!("CHAT {name}"));
    terminal.wait(name, |terminal| header(terminal).starts_with(name));
}

/// Waits until this is typed and not yet entered, with the cursor at its end.
fn expect_typed(terminal: &mut Terminal, text: &str) {
    let line = format!("> {text}");
    terminal.wait(&line, |terminal| {
        let (row, column) = terminal.line();
        let typed = row.split_once(BORDER).map_or(&*row, |(_, right)| right);
        let at = row.chars().take_while(|c| *c != BORDER).count();
        let left = if row.contains(BORDER) { at + 1 } else { 0 };
        typed == line.trim_end() && usize::from(column) == left + line.chars().count()
    });
}
