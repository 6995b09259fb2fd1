use super::*;

fn buffer(rows: &[&str]) -> Buffer {
    Buffer::with_lines(rows.iter().copied())
}

fn shown(parser: &vt100::Parser) -> Vec<String> {
    parser.screen().rows(0, parser.screen().size().1.get()).map(|row| row.trim_end().to_owned()).collect()
}

fn terminal(width: u16, height: u16) -> vt100::Parser {
    vt100::Parser::new(height.try_into().unwrap(), width.try_into().unwrap(), 0)
}

#[test]
fn only_what_has_changed_is_written() {
    let (mut terminal, mut drawn, mut out) = (terminal(12, 3), Drawn::default(), Vec::new());
    drawn.update(buffer(&["one         ", "two         ", "three       "]), (3, 1), &mut out);
    terminal.process(&out);
    assert_eq!(shown(&terminal), ["one", "two", "three"]);
    assert_eq!(terminal.screen().cursor_position(), (1, 3));
    out.clear();
    drawn.update(buffer(&["one         ", "twx         ", "three       "]), (3, 1), &mut out);
    terminal.process(&out);
    assert_eq!(shown(&terminal), ["one", "twx", "three"]);
    assert!(out.len() < 40, "{}", out.len());
    // What other programs have written is gone once that is known.
    terminal.process(b"\x1b[Hxxxxxxxxxxxx");
    drawn.forget();
    out.clear();
    drawn.update(buffer(&["好 a        ", "            ", "e\u{301}          "]), (0, 0), &mut out);
    terminal.process(&out);
    assert_eq!(shown(&terminal), ["好 a", "", "e\u{301}"]);
}

#[test]
fn looks_are_written_and_taken_back() {
    let mut styled = buffer(&["abc"]);
    styled.set_style(Rect::new(1, 0, 1, 1), Style::new().fg(Color::Red).add_modifier(Modifier::BOLD));
    let (mut terminal, mut out) = (terminal(3, 1), Vec::new());
    Drawn::default().update(styled, (0, 0), &mut out);
    terminal.process(&out);
    let cell = |x| terminal.screen().cell(0, x).unwrap();
    assert_eq!((cell(1).fgcolor(), cell(1).bold()), (vt100::Color::Idx(1), true));
    assert_eq!((cell(2).fgcolor(), cell(2).bold()), (vt100::Color::Default, false));
}
