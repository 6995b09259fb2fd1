//! What others write, on a real screen: never taken for what a third one says.

use std::collections::BTreeSet;

use peerchat::protocol::peer::{Message, Peer};

use super::meeting;
use crate::support::client::Client;
use crate::support::discovery::{Discovery, scratch};
use crate::support::raw::{Account, RawPeer, epoch, text};
use crate::support::terminal::Terminal;

/// alice at a terminal; mallory writes to her, and what the real alice would have written is in it.
fn at_a_terminal() -> (tempfile::TempDir, Discovery, Terminal) {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let options = ["--strangers", "open"];
    let terminal = Terminal::client(directory.path(), "alice", discovery.address, &options);
    (directory, discovery, terminal)
}

/// Where a client listens that says so only to discovery.
fn listening(terminal: &mut Terminal, discovery: &Discovery, name: &str) -> (Account, RawPeer) {
    let mut account = Account::new(discovery.address, name);
    account.request("alice");
    terminal.enter(&format!("REQUEST {name}"));
    let (peer, _) = account.lure.accept(&account.key).greet(account.hello()).hello();
    // It may be on two rows.
    let linked = format!("{name} is linked");
    terminal.wait(&linked, |terminal| {
        let words = terminal.rows().join(" ");
        words.split_whitespace().collect::<Vec<_>>().join(" ").contains(&linked)
    });
    (account, peer)
}

const FORGED: &str = "bob: the new account is DE12 3456";

#[test]
fn a_text_never_stands_where_a_name_stands() {
    for width in [80, 40, 23] {
        let (_directory, discovery, mut alice) = at_a_terminal();
        alice.resize(width, 24);
        let (_mallory, mut peer) = listening(&mut alice, &discovery, "mallory");
        let (_bob, mut honest) = listening(&mut alice, &discovery, "bob");
        honest.say(&[text(epoch(), 1, "honest words")]).unwrap();
        alice.wait("bob's words", |alice| alice.rows().iter().any(|row| row.contains("honest")));
        let before = alice.everything().len();
        let (own, mut number) = (epoch(), 0);
        let mut say = |peer: &mut RawPeer, body: &str| {
            number += 1;
            peer.say(&[text(own, number, body)]).unwrap();
        };
        let fill = usize::from(width);
        for padding in 0..=2 * fill {
            say(&mut peer, &format!("{:padding$}{FORGED}", ""));
        }
        for before in [
            "\n", "\r", "\r\n", "\t", "\u{b}", "\u{c}", "\u{85}", "\u{2028}", "\u{2029}", "\x1b[G",
            "\x1b[1E", "\u{9b}G",
        ] {
            say(&mut peer, &format!("x{before}{FORGED}"));
            say(&mut peer, &format!("x{}{FORGED}", before.repeat(30)));
        }
        // As many columns as a terminal gives them, which is not what their number says.
        for filler in [
            "漢",
            "é",
            "e\u{301}",
            "👩‍👩‍👧",
            "🇩🇪",
            "\u{3164}",
            "\u{2800}",
            "\u{a0}",
            "\u{200b}",
            "\u{3000}",
            "ﷺ",
            "각",
        ] {
            for columns in [fill / 2 - 8, fill - 9, fill - 1, fill, fill * 2 - 9, fill * 2] {
                say(&mut peer, &format!("{}{FORGED}", filler.repeat(columns)));
            }
        }
        say(&mut peer, "ended");
        alice.wait("the end", |alice| alice.rows().iter().any(|row| row.contains("ended")));
        // Where the names of those who speak stand.
        let lines = alice.everything();
        let honest = lines.iter().find(|line| line.contains("honest") && line.contains("bob")).unwrap();
        let column = honest.find("bob").unwrap();
        for line in &lines[before..] {
            let at = line.char_indices().nth(column).map_or("", |(at, _)| &line[at..]);
            assert!(!at.starts_with("bob"), "width {width}: {line:?}");
            assert!(!line.starts_with("bob"), "width {width}: {line:?}");
        }
    }
}

#[test]
fn a_name_alike_is_pointed_out() {
    for (known, alike) in [
        ("bob1", "bobl"),
        ("rn-bank", "m-bank"),
        ("al-ice0", "al-iceo"),
        ("b.ob", "b_ob"),
        ("vvendy", "wendy"),
    ] {
        let (_directory, discovery, mut alice) = at_a_terminal();
        alice.resize(200, 24);
        let (_one, _peer) = listening(&mut alice, &discovery, known);
        let mut other = Account::new(discovery.address, alike);
        other.request("alice");
        let both = |row: &String| row.contains(alike) && row.contains(known);
        alice.wait("the likeness", |alice| alice.rows().iter().any(both));
        drop(other);
        // One that is not alike is not pointed out.
        let mut third = Account::new(discovery.address, "quite-another");
        third.request("alice");
        alice.expect("quite-another");
        let row = alice.rows().into_iter().find(|row| row.contains("quite-another")).unwrap();
        assert!(!row.contains(known), "{row}");
    }
}

#[test]
fn what_is_invisible_is_written_out() {
    let (_directory, discovery, mut alice) = at_a_terminal();
    let (_mallory, mut peer) = listening(&mut alice, &discovery, "mallory");
    let invisible = [
        '\u{ad}',
        '\u{34f}',
        '\u{115f}',
        '\u{1160}',
        '\u{17b4}',
        '\u{180b}',
        '\u{180e}',
        '\u{200b}',
        '\u{202a}',
        '\u{202d}',
        '\u{202e}',
        '\u{2060}',
        '\u{2061}',
        '\u{2064}',
        '\u{206a}',
        '\u{3164}',
        '\u{feff}',
        '\u{ffa0}',
        '\u{1bca0}',
        '\u{1d173}',
        '\u{e0001}',
        '\u{e0041}',
        '\u{e007f}',
        '\u{e0100}',
        '\u{e01ef}',
        '\u{fff9}',
    ];
    let own = epoch();
    for (number, c) in invisible.iter().enumerate() {
        peer.say(&[text(own, number as u64 + 1, &format!("pay{c}pal {number}"))]).unwrap();
    }
    peer.say(&[text(own, 1000, "the end of it")]).unwrap();
    alice.expect("the end of it");
    let written = String::from_utf8_lossy(&alice.written).into_owned();
    let raw: BTreeSet<_> =
        invisible.iter().filter(|c| written.contains(**c)).map(|c| c.escape_unicode().to_string()).collect();
    assert!(raw.is_empty(), "{raw:?} went to the terminal as they were");
    assert!(!written.contains("paypal"), "one of them is not to be seen");
    // What people write is left as it is.
    let flag = "\u{1f3f4}\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}";
    for (number, honest) in [flag, "👩\u{200d}👩\u{200d}👧", "❤\u{fe0f}", "שָׁלוֹם", "नमस्ते"].iter().enumerate()
    {
        peer.say(&[text(own, 2000 + number as u64, &format!("<{honest}>"))]).unwrap();
        // A mark may stand before it that keeps it from turning its row around.
        alice.wait(honest, |alice| {
            String::from_utf8_lossy(&alice.written).replace('\u{200e}', "").contains(&format!("<{honest}>"))
        });
    }
    // Tags without a flag, and a flag whose tags are never ended.
    peer.say(&[text(own, 3000, "\u{1f3f4}\u{e0067}\u{e0062}pay"), text(own, 3001, "last of all")]).unwrap();
    alice.expect("last of all");
    assert!(!String::from_utf8_lossy(&alice.written).contains("\u{e0062}pay"));
}

/// The first of many strangers rings, and each has one line.
#[test]
fn many_strangers_ring_once_and_have_a_line_each() {
    let (_directory, discovery, mut alice) = at_a_terminal();
    let strangers: Vec<_> = (0..30)
        .map(|number| {
            let mut one = Account::new(discovery.address, &format!("stranger-{number:02}"));
            one.request("alice");
            one.settle();
            one
        })
        .collect();
    alice.expect("stranger-29");
    let lines = alice.everything();
    for one in &strangers {
        let asks = format!("* {} asks for you", one.name);
        let told = lines.iter().filter(|line| line.starts_with(&asks)).count();
        assert_eq!(told, 1, "{}: {lines:#?}", one.name);
    }
    assert!(alice.bells() <= 1, "{} bells", alice.bells());
}

/// A clock that says anything moves no column and harms nothing.
#[test]
fn any_time_can_be_shown() {
    let (_directory, discovery, mut alice) = at_a_terminal();
    let (_mallory, mut peer) = listening(&mut alice, &discovery, "mallory");
    let own = epoch();
    let times = [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX / 1000, i64::MAX - 1, i64::MAX];
    for (number, sent) in times.into_iter().enumerate() {
        let Peer::Message(message) = text(own, number as u64 + 1, &format!("text-{number}")) else { return };
        peer.say(&[Peer::Message(Message { sent, ..message })]).unwrap();
    }
    alice.expect("text-7");
    let lines = alice.everything();
    for number in 0..times.len() {
        let line = lines.iter().find(|line| line.contains(&format!("text-{number}"))).unwrap();
        assert_eq!(line.find("mallory"), Some("[00:00:00] ".len()), "{line}");
    }
}

/// As a pipe, where a script may split lines: one message is one line.
#[test]
fn one_message_is_one_line_in_a_pipe() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let mut alice: Client = meeting("all", directory.path(), "alice", discovery.address);
    let mut mallory = Account::new(discovery.address, "mallory");
    mallory.request("alice");
    alice.say("REQUEST mallory");
    let (mut peer, _) = mallory.lure.accept(&mallory.key).greet(mallory.hello()).hello();
    let body =
        format!("x\n{{\"event\":\"message\",\"from\":\"bob\",\"text\":\"forged\"}}\u{2028}\u{85}\r{FORGED}");
    peer.say(&[text(epoch(), 1, &body)]).unwrap();
    let message = alice.wait("message", |_| true);
    assert_eq!((&message["from"], &message["text"]), (&"mallory".into(), &body.into()));
    assert!(!alice.settle().iter().any(|event| event["from"] == "bob"));
}
