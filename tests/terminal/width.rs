//! A terminal that is made narrower and wider.

use crate::pair;
use crate::support::discovery::{Discovery, scratch};
use crate::support::terminal::Terminal;

#[test]
fn narrowing_and_widening_leaves_no_ghost_and_erases_no_line() {
    let (directory, db) = scratch();
    let discovery = Discovery::start(&db);
    let (mut bob, mut alice) = pair(directory.path(), &discovery);
    bob.enter("LOGOUT");
    bob.expect_end(0);
    let short = "/chat alice one two three four five six seven eight";
    // It has two rows before the terminal is made narrower.
    let long = "/chat alice one two three four five six seven eight nine ten eleven twelve thirteen";
    let cases = [
        (true, true, short),
        (true, true, long),
        (false, true, short),
        (false, true, long),
        (false, false, short),
    ];
    for (reflows, answers, text) in cases {
        let mut bob = Terminal::client(directory.path(), "bob", discovery.address, &[]);
        (bob.reflows, bob.answers) = (reflows, answers);
        alice.expect_link("bob");
        bob.resize(80, 60);
        alice.say("CHAT bob hi");
        let last = "alice: hi";
        bob.expect(last);
        bob.type_in(text);
        let mut typed = text.rsplit(' ').next().unwrap().to_owned();
        bob.wait("the line", |bob| bob.line().0.ends_with(&typed) && bob.is_drawn());
        for width in [60, 57, 40, 70, 35, 34, 45, 100, 50, 30, 80, 79, 40, 20, 80] {
            let before = bob.written.len();
            bob.resize(width, 60);
            bob.wait("another width", |bob| bob.written.len() > before && bob.is_drawn());
            bob.type_in("x");
            typed.push('x');
            bob.wait("what is typed", |bob| {
                let rows = bob.rows();
                let from = rows.iter().rposition(|row| row.contains("> /chat")).unwrap_or_default();
                rows[from..].join("").ends_with(&typed) && bob.is_drawn()
            });
            let rows = bob.rows();
            let ghosts = rows.iter().filter(|row| row.contains("> /chat")).count();
            assert_eq!(ghosts, 1, "{width} {reflows}\n{}", rows.join("\n"));
            let above = rows.iter().rposition(|row| row.contains("> /chat")).unwrap() - 1;
            assert!(rows[above].ends_with(last), "{width} {reflows}\n{}", rows.join("\n"));
        }
        bob.enter("\x03LOGOUT");
        bob.expect_end(0);
    }
}
