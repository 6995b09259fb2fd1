//! Texts of every kind, which stay in their place.

use super::{BORDER, among, entry, header, is_drawn, open, said};
use crate::support::discovery::{Discovery, scratch};
use crate::support::terminal::Terminal;
use crate::{FORGED, send};

/// The border's column, the time's, the name's and the text's, for names of at most seven letters.
const LEFT: u16 = 18;
const NAME: u16 = LEFT + 1 + 7;
const TEXT: u16 = NAME + 7 + 2;

fn cells(bob: &Terminal, row: u16, columns: std::ops::Range<u16>) -> String {
    columns
        .map(|column| bob.cell(row, column))
        .map(|cell| if cell.is_empty() { " ".into() } else { cell })
        .collect()
}

/// Everything on the screen stands where it is to stand, and the forged text only where texts do.
fn expect_in_place(bob: &Terminal, from: &str) {
    let screen = || bob.rows().join("\n");
    for row in 1..29 {
        assert_eq!(bob.cell(row, LEFT), BORDER.to_string(), "{row}\n{}", screen());
        let left = cells(bob, row, 0..LEFT);
        assert!(!left.contains("DE12") && !left.contains("account"), "{left:?}\n{}", screen());
        let (time, name) = (cells(bob, row, LEFT + 1..NAME), cells(bob, row, NAME..TEXT));
        // Before a text that is written from right to left the client says where it begins.
        let (time, name) = (time.trim(), name.replace('\u{200e}', ""));
        let name = name.trim_end();
        // A rule has a date or says what is new.
        if time.starts_with("──") {
            continue;
        }
        let is_time = time.len() == 5 && time.as_bytes()[2] == b':';
        let is_first = is_time && [from, "bob"].contains(&name);
        let is_other = time.is_empty() && name.is_empty();
        assert!(is_first || is_other, "{time:?} {name:?}\n{}", screen());
    }
}

#[test]
fn nothing_that_is_said_reaches_the_columns_of_time_and_name() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut bob, [_alice, mut mallory]) = among(directory.path(), &discovery, ["alice", "mallory"]);
    open(&mut bob, "mallory");
    let paddings = [
        |columns| " ".repeat(columns),
        |columns| "x".repeat(columns),
        |columns| "x ".repeat(columns / 2),
        |columns| "好".repeat(columns / 2),
        |columns| "e\u{301}".repeat(columns),
        |columns| "\t".repeat(columns),
        |columns| "👩\u{200d}👩\u{200d}👧".repeat(columns / 2),
        |columns| "🇫🇷".repeat(columns / 2),
        |columns| "\u{ad}".repeat(columns),
        |columns| "\u{1100}\u{1161}".repeat(columns / 2),
        |columns| "ש".repeat(columns),
        |columns| format!("{}\n", "x".repeat(columns)),
        |columns| format!("{}\r", "x".repeat(columns)),
        |columns| format!("{}\u{1b}[1;1H\u{8}\u{8}\u{7f}\u{9b}2J", "x".repeat(columns)),
        |columns| format!("{}\u{2028}\u{85}\u{202e}\u{2066}", "x".repeat(columns)),
    ];
    // A terminal that draws some of that wider than it is counted ends its rows there.
    bob.widen_unseen(300);
    for (number, padding) in paddings.iter().enumerate() {
        for columns in [20, 64, 65, 66, 73, 80, 160] {
            send(&mut mallory, &format!("{}{FORGED}", padding(columns)));
        }
        let end = format!("that was {number}.");
        send(&mut mallory, &end);
        bob.wait(&end, |bob| is_drawn(bob) && said(bob).last().is_some_and(|row| row.ends_with(&end)));
        expect_in_place(&bob, "mallory");
    }
    // The same where it is shown again.
    bob.type_in("\x1b[5~\x1b[5~\x0c");
    bob.wait("more below", |bob| is_drawn(bob) && header(bob).ends_with("more below (Ctrl+End)"));
    expect_in_place(&bob, "mallory");
}

#[test]
fn what_is_drawn_wider_than_it_is_counted_leaves_nothing_behind() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut bob, [mut alice]) = among(directory.path(), &discovery, ["alice"]);
    open(&mut bob, "alice");
    bob.widen_unseen(40);
    // This terminal draws each of the three by itself, as many do.
    for number in 0..5 {
        send(&mut alice, &format!("{number} 👩\u{200d}👩\u{200d}👧"));
    }
    bob.wait("the family", |bob| said(bob).iter().any(|row| row.contains("4 👩")));
    for number in 0..40 {
        send(&mut alice, &format!("{number}."));
    }
    bob.wait("the last", |bob| said(bob).last().is_some_and(|row| row.ends_with("39.")));
    let rows = bob.rows().join("\n");
    assert!(!rows.contains('👧') && !rows.contains('👩'), "{rows}");
}

#[test]
fn honest_text_is_shown_as_it_is() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut bob, [mut alice]) = among(directory.path(), &discovery, ["alice"]);
    open(&mut bob, "alice");
    for (text, shown) in [
        ("你好，世界 ok", "你好，世界 ok"),
        ("cafe\u{301} e\u{308}", "cafe\u{301} e\u{308}"),
        ("שָׁלוֹם עולם", "שָׁלוֹם עולם"),
        ("می\u{200c}خواهم", "می\u{200c}خواهم"),
        ("हिन्दी क्\u{200d}ष", "हिन्दी क्\u{200d}ष"),
        ("🏽 ❤\u{fe0f}.", "🏽 ❤\u{fe0f}."),
        ("tab\there", "here"),
        ("\u{1b}[2J\u{202e}evil", r"\u{1b}[2J\u{202e}evil"),
        ("pay bo\u{200b}b", r"pay bo\u{200b}b"),
    ] {
        send(&mut alice, text);
        bob.wait(text, |bob| {
            // Marks of the direction are the client's.
            let row = said(bob).last().cloned().unwrap_or_default().replace('\u{200e}', "");
            row.contains("  alice  ") && row.ends_with(shown)
        });
    }
    // This terminal draws joined emoji one by one, and the rest over them; what it is sent is whole.
    let family = "👩🏽\u{200d}💻 👩\u{200d}👩\u{200d}👧";
    send(&mut alice, family);
    for part in family.split(' ') {
        let sent = |bob: &Terminal| bob.written.windows(part.len()).any(|bytes| bytes == part.as_bytes());
        bob.wait(part, sent);
    }
    // Own words, with the cursor where it belongs.
    bob.type_in("你e\u{301}好\x1b[D");
    bob.wait("the line", |bob| {
        let (row, column) = bob.line();
        row.ends_with("> 你e\u{301}好") && column == LEFT + 1 + 2 + 3
    });
    bob.enter("\x1b[Fשלום");
    alice.expect_message("bob", "你e\u{301}好שלום");
    bob.wait("sent", |bob| said(bob).last().is_some_and(|row| row.ends_with('✓')));
    bob.wait("read", |bob| entry(bob, "alice").ends_with('●'));
}
