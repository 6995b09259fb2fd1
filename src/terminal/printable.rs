//! Text from outside, made safe to write to a terminal.

/// Whether a character could do more to a terminal than stand there: control characters, and those
/// that change the direction of the text around them, hide, or end a line.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// The text with a tab as a space and everything unsafe as an escape.
pub fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => printable.push(' '),
            c if is_unsafe(c) => printable.extend(c.escape_unicode()),
            c => printable.push(c),
        }
    }
    printable
}
