//! The screens of the README, as they are shown.

use crate::support::discovery::{Discovery, scratch};
use crate::support::terminal::Terminal;

/// The blocks of the README, and after it of what says more, that show what the programs write.
fn screens() -> Vec<Vec<String>> {
    let files = [include_str!("../../README.md"), include_str!("../../docs/client.md")];
    let blocks = files
        .into_iter()
        .flat_map(|file| file.split("```console\n").skip(1))
        .map(|block| block.split("```").next().unwrap());
    blocks.map(|block| block.lines().map(str::to_owned).collect()).collect()
}

/// What may differ from one run to another is made the same: times, keys, ports, the directory, and the order of what is told
/// by discovery and by links.
fn comparable(lines: &[String], directory: &str) -> Vec<String> {
    let mut same: Vec<String> = Vec::new();
    let mut moved = 0;
    for line in lines {
        let mut line = line.replace(directory, "/home/me/.local/share/peerchat");
        if line.starts_with('[') && line.as_bytes().get(9) == Some(&b']') {
            line.replace_range(1..9, "00:00:00");
        }
        if let Some(at) = line.find("(key ").or(line.find(", key ")) {
            line.truncate(at);
        }
        let address = line.find("127.0.0.1:").filter(|_| !line.contains("listening"));
        if let Some(at) = address {
            let digits = line[at + 10..].chars().take_while(char::is_ascii_digit).count();
            line.replace_range(at + 10..at + 10 + digits, "7001");
        }
        let told = ["is linked", "is no longer linked", "is online", "is offline", "has your message"];
        moved =
            if line.starts_with("* ") && told.iter().any(|end| line.ends_with(end)) { moved + 1 } else { 0 };
        same.push(line);
        let from = same.len() - moved;
        same[from..].sort();
    }
    same
}

/// The lines of a screen from one that is this.
fn from<'l>(lines: &'l [String], first: &str) -> &'l [String] {
    let at = lines.iter().position(|line| line == first);
    &lines[at.unwrap_or_else(|| panic!("no {first:?} in\n{}", lines.join("\n")))..]
}

/// Each line is there, in this order; `…` stands for what is left out, and a shell's lines are none of the client's.
fn expect_in_order(expected: &[String], shown: &[String]) {
    let mut rest = shown.iter();
    for line in expected.iter().filter(|line| *line != "…" && !line.starts_with("$ ")) {
        assert!(rest.any(|shown| shown == line), "{line:?} is not shown there:\n{}", shown.join("\n"));
    }
}

#[test]
fn the_readme_shows_what_is_shown() {
    let (directory, db) = scratch();
    let path = directory.path().to_str().unwrap();
    let discovery = Discovery::start(&db);
    let start = |name| Terminal::client(directory.path(), name, discovery.address, &["--strangers", "open"]);
    let mut bob = start("bob");
    let welcome = comparable(&bob.rows(), path);
    let mut alice = start("alice");
    alice.enter("REQUEST bob");
    alice.expect("bob is linked");
    alice.expect("discovery says bob is online");
    alice.enter("CHAT bob");
    alice.expect_line("bob>", 5);
    alice.enter("hello bob, lunch at one?");
    bob.expect("alice: hello bob, lunch at one?");
    bob.enter("CHAT alice");
    bob.expect_line("alice>", 7);
    bob.enter("sure. the usual place?");
    alice.expect("bob: sure. the usual place?");
    bob.expect("discovery says alice is online");
    alice.enter("yes, and bring the printouts");
    bob.expect("alice: yes, and bring the printouts");
    bob.enter("/logout");
    bob.expect_end(0);
    alice.expect("bob is no longer linked");
    alice.expect("discovery says bob is offline");
    alice.enter("still there?");
    alice.expect("(waiting): still there?");
    let mut again = start("bob");
    again.expect("alice: still there?");
    again.expect_line("[unread: alice 1]>", 19);
    let back = "* bob is linked";
    alice.wait("bob", |alice| alice.rows().iter().filter(|row| *row == back).count() == 2);
    alice.expect("* bob has your message");
    let online = "* discovery says bob is online";
    alice.wait("bob", |alice| alice.rows().iter().filter(|row| *row == online).count() == 2);
    alice.expect_line("bob>", 5);

    let screens: Vec<_> = screens().iter().map(|screen| comparable(screen, path)).collect();
    let [listening, greeting, conversation, answers] = &screens[..] else {
        panic!("the README has other screens: {screens:?}");
    };
    let line = discovery.line.trim_end().replace(&discovery.address.to_string(), "127.0.0.1:7667");
    assert_eq!(listening[1..], comparable(&[line], path));
    expect_in_order(greeting, &welcome);
    let shown = comparable(&alice.everything(), path);
    assert_eq!(from(&shown, "> REQUEST bob"), *conversation);
    let shown: Vec<_> = [bob.everything(), again.everything()].concat();
    expect_in_order(answers, &comparable(&shown, path));
}
