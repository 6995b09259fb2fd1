//! The bytes that a terminal sends, as keys.

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Char(char),
    /// Ctrl and a letter, which is in lower case, or one of `@[\]^_`.
    Ctrl(char),
    /// Alt (or Escape before it) and a character.
    Alt(char),
    Enter,
    AltEnter,
    Tab,
    Backspace,
    AltBackspace,
    Delete,
    Left,
    Right,
    Up,
    Down,
    WordLeft,
    WordRight,
    Home,
    End,
    CtrlHome,
    CtrlEnd,
    AltUp,
    AltDown,
    PageUp,
    PageDown,
    /// One of F1 to F12.
    Function(u8),
    Escape,
    WheelUp,
    WheelDown,
    /// The left button of the mouse, in this column and row; the first are 0.
    Click(u16, u16),
    /// No key: the terminal has got the focus, or lost it.
    Focus(bool),
    /// No key, but the answer to the question in which column the cursor is. The first is 1.
    Column(u16),
    /// No key, but the answer to the question what the terminal is: its kind and its version.
    Kind(u16, u16),
    /// Pasted text, its lines ended by `\n`; `None` if it was longer than the limit.
    Paste(Option<String>),
}

const ESCAPE: u8 = 0x1b;
const DELETE: u8 = 0x7f;
/// The longest sequence that means something.
const MAX_SEQUENCE: usize = 32;
const PASTE_END: &[u8] = b"\x1b[201~";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ground,
    Escape,
    /// After Escape and `[`.
    Csi,
    /// After Escape and `O`: keys in the terminal's other mode.
    Ss3,
    /// Between the two marks around what is pasted.
    Paste,
}

/// Decodes bytes into keys, however they are cut into pieces.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// The bytes so far of a character, a sequence or a paste.
    held: Vec<u8>,
    limit: usize,
    too_long: bool,
}

impl Decoder {
    /// Pastes of more than `limit` bytes are passed on without their text.
    pub fn new(limit: usize) -> Self {
        Self { state: State::Ground, held: Vec::new(), limit, too_long: false }
    }

    /// The keys that `bytes` complete. An Escape at their end may begin what a terminal sends for another key, and
    /// stays undecided.
    pub fn keys(&mut self, bytes: &[u8]) -> Vec<Key> {
        let mut keys = Vec::new();
        for byte in bytes {
            keys.extend(self.byte(*byte));
        }
        keys
    }

    /// Whether the last byte is an Escape, which [`silence`](Self::silence) would make a key.
    pub fn is_undecided(&self) -> bool {
        self.state == State::Escape
    }

    /// Nothing has followed for so long that nothing belongs to what was last decoded.
    pub fn silence(&mut self) -> Option<Key> {
        let undecided = self.is_undecided();
        if undecided {
            self.state = State::Ground;
        }
        undecided.then_some(Key::Escape)
    }

    fn byte(&mut self, byte: u8) -> Option<Key> {
        match self.state {
            State::Ground => self.plain(byte),
            State::Escape => self.escaped(byte),
            State::Csi | State::Ss3 => self.sequence(byte),
            State::Paste => self.pasted(byte),
        }
    }

    fn plain(&mut self, byte: u8) -> Option<Key> {
        if byte == ESCAPE {
            self.held.clear();
            self.state = State::Escape;
            return None;
        }
        let c = self.character(byte)?;
        Some(match c {
            '\r' | '\n' => Key::Enter,
            '\t' => Key::Tab,
            '\u{8}' | '\u{7f}' => Key::Backspace,
            '\0'..='\u{1f}' => Key::Ctrl(char::from(byte | 0x40).to_ascii_lowercase()),
            c => Key::Char(c),
        })
    }

    /// The character that the byte completes. What is not UTF-8 is passed over.
    fn character(&mut self, byte: u8) -> Option<char> {
        // A byte that does not continue a character begins another one.
        if !(0x80..0xc0).contains(&byte) {
            self.held.clear();
        }
        self.held.push(byte);
        let read = std::str::from_utf8(&self.held).map(|text| text.chars().next());
        if !read.is_err_and(|error| error.error_len().is_none()) {
            self.held.clear();
        }
        read.ok().flatten()
    }

    fn escaped(&mut self, byte: u8) -> Option<Key> {
        self.state = State::Ground;
        match byte {
            b'[' => self.state = State::Csi,
            b'O' => self.state = State::Ss3,
            ESCAPE => {
                self.state = State::Escape;
                return Some(Key::Escape);
            }
            b'\r' | b'\n' => return Some(Key::AltEnter),
            0x08 | DELETE => return Some(Key::AltBackspace),
            b' '..DELETE => return Some(Key::Alt(char::from(byte))),
            _ => return self.plain(byte),
        }
        None
    }

    fn sequence(&mut self, byte: u8) -> Option<Key> {
        match byte {
            b' '..=b'?' if self.state == State::Csi => {
                // Whatever is longer means nothing here, and is passed over up to its end.
                if self.held.len() < MAX_SEQUENCE {
                    self.held.push(byte);
                }
                None
            }
            b'@'..DELETE => {
                self.state = State::Ground;
                let held = std::mem::take(&mut self.held);
                self.finished(&held, byte)
            }
            _ => {
                self.state = State::Ground;
                self.held.clear();
                self.plain(byte)
            }
        }
    }

    /// What a sequence means: its parameters, and the byte that ends it.
    fn finished(&mut self, parameters: &[u8], end: u8) -> Option<Key> {
        if let Some(parameters) = parameters.strip_prefix(b"<") {
            return mouse(parameters, end);
        }
        let (parameters, secondary) =
            parameters.strip_prefix(b">").map_or((parameters, false), |parameters| (parameters, true));
        let mut numbers = parameters
            .split(|byte| *byte == b';')
            .map(|number| std::str::from_utf8(number).ok().and_then(|number| number.parse::<u16>().ok()));
        let first = numbers.next().flatten();
        // Shift is 1, Alt 2, Ctrl 4, all above 1.
        let second = numbers.next().flatten();
        let by_word = second.is_some_and(|modifiers| modifiers.saturating_sub(1) & 6 != 0);
        match (end, first) {
            (b'c', Some(kind)) if secondary => Some(Key::Kind(kind, second.unwrap_or_default())),
            _ if secondary => None,
            (b'A', _) if second == Some(3) => Some(Key::AltUp),
            (b'B', _) if second == Some(3) => Some(Key::AltDown),
            (b'A', _) => Some(Key::Up),
            (b'B', _) => Some(Key::Down),
            (b'C', _) if by_word => Some(Key::WordRight),
            (b'D', _) if by_word => Some(Key::WordLeft),
            (b'C', _) => Some(Key::Right),
            (b'D', _) => Some(Key::Left),
            (b'H', _) | (b'~', Some(1 | 7)) if by_word => Some(Key::CtrlHome),
            (b'F', _) | (b'~', Some(4 | 8)) if by_word => Some(Key::CtrlEnd),
            (b'H', _) | (b'~', Some(1 | 7)) => Some(Key::Home),
            (b'F', _) | (b'~', Some(4 | 8)) => Some(Key::End),
            (b'~', Some(3)) => Some(Key::Delete),
            (b'~', Some(5)) => Some(Key::PageUp),
            (b'~', Some(6)) => Some(Key::PageDown),
            (b'P'..=b'S', _) if first.is_none_or(|first| first == 1) => Some(Key::Function(end - b'P' + 1)),
            (b'~', Some(number)) if function(number).is_some() => function(number),
            (b'I', None) => Some(Key::Focus(true)),
            (b'O', None) => Some(Key::Focus(false)),
            (b'M', None) => Some(Key::Enter),
            (b'R', Some(_)) => second.map(Key::Column),
            (b'~', Some(200)) => {
                self.state = State::Paste;
                self.too_long = false;
                None
            }
            _ => None,
        }
    }

    fn pasted(&mut self, byte: u8) -> Option<Key> {
        self.held.push(byte);
        if self.held.ends_with(PASTE_END) {
            let end = self.held.len() - PASTE_END.len();
            self.held.truncate(end);
            let text = String::from_utf8_lossy(&std::mem::take(&mut self.held)).replace("\r\n", "\n");
            self.state = State::Ground;
            return Some(Key::Paste((!self.too_long).then(|| text.replace('\r', "\n"))));
        }
        if self.held.len() > self.limit + PASTE_END.len() {
            self.too_long = true;
            // Only what may begin the mark at the end is still of interest.
            let seen = self.held.len() - PASTE_END.len();
            self.held.drain(..seen);
        }
        None
    }
}

/// The function key that a terminal sends as this number.
fn function(number: u16) -> Option<Key> {
    let key = match number {
        11..=15 => number - 10,
        17..=21 => number - 11,
        23..=24 => number - 12,
        _ => return None,
    };
    u8::try_from(key).ok().map(Key::Function)
}

/// What a mouse does: a button, and where.
fn mouse(parameters: &[u8], end: u8) -> Option<Key> {
    let mut numbers =
        std::str::from_utf8(parameters).ok()?.split(';').map(|number| number.parse::<u16>().ok());
    let (button, column, row) = (numbers.next()??, numbers.next()??, numbers.next()??);
    match (button, end) {
        (64, b'M') => Some(Key::WheelUp),
        (65, b'M') => Some(Key::WheelDown),
        (0, b'M') => Some(Key::Click(column.checked_sub(1)?, row.checked_sub(1)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        Decoder::new(100).keys(bytes)
    }

    #[test]
    fn keys_as_terminals_send_them() {
        for (bytes, key) in [
            (&b"a"[..], Key::Char('a')),
            ("é".as_bytes(), Key::Char('é')),
            ("好".as_bytes(), Key::Char('好')),
            ("🦀".as_bytes(), Key::Char('🦀')),
            (b"\r", Key::Enter),
            (b"\n", Key::Enter),
            (b"\t", Key::Tab),
            (b"\x01", Key::Ctrl('a')),
            (b"\x12", Key::Ctrl('r')),
            (b"\x1f", Key::Ctrl('_')),
            (b"\x7f", Key::Backspace),
            (b"\x1bb", Key::Alt('b')),
            (b"\x1bP", Key::Alt('P')),
            (b"\x1b\r", Key::AltEnter),
            (b"\x1b\x7f", Key::AltBackspace),
            (b"\x1b[A", Key::Up),
            (b"\x1bOA", Key::Up),
            (b"\x1b[D", Key::Left),
            (b"\x1b[1;5D", Key::WordLeft),
            (b"\x1b[1;3C", Key::WordRight),
            (b"\x1b[1;2C", Key::Right),
            (b"\x1b[H", Key::Home),
            (b"\x1bOF", Key::End),
            (b"\x1b[4~", Key::End),
            (b"\x1b[3~", Key::Delete),
            (b"\x1b[1;5F", Key::CtrlEnd),
            (b"\x1b[1;3A", Key::AltUp),
            (b"\x1b[5~", Key::PageUp),
            (b"\x1b[6~", Key::PageDown),
            (b"\x1bOQ", Key::Function(2)),
            (b"\x1b[15~", Key::Function(5)),
            (b"\x1b[24~", Key::Function(12)),
            (b"\x1b[<64;3;4M", Key::WheelUp),
            (b"\x1b[<65;3;4M", Key::WheelDown),
            (b"\x1b[<0;3;4M", Key::Click(2, 3)),
            (b"\x1b[I", Key::Focus(true)),
            (b"\x1b[O", Key::Focus(false)),
            (b"\x1b[24;80R", Key::Column(80)),
            (b"\x1b[>41;390;0c", Key::Kind(41, 390)),
            (b"\x1b[200~one\rtwo\r\nthree\nfour\x1b[201~", Key::Paste(Some("one\ntwo\nthree\nfour".into()))),
            (b"\x1b[200~\x1b[A\x03\x1b[201~", Key::Paste(Some("\x1b[A\x03".into()))),
        ] {
            assert_eq!(keys(bytes), [key], "{bytes:?}");
        }
    }

    #[test]
    fn an_escape_is_a_key_once_nothing_has_followed_it() {
        let mut decoder = Decoder::new(100);
        assert!(decoder.keys(b"\x1b").is_empty() && decoder.is_undecided());
        assert!(decoder.keys(b"[200~one\rtwo\x1b").is_empty() && !decoder.is_undecided());
        assert_eq!(decoder.keys(b"[201~"), [Key::Paste(Some("one\ntwo".into()))]);
        assert_eq!(decoder.silence(), None);
        assert_eq!(decoder.keys(b"a\x1b"), [Key::Char('a')]);
        assert_eq!(decoder.silence(), Some(Key::Escape));
        assert_eq!(decoder.keys(b"[D"), [Key::Char('['), Key::Char('D')]);
    }

    #[test]
    fn what_means_nothing_is_passed_over() {
        assert_eq!(keys(b"a\x1b[24;80yb"), [Key::Char('a'), Key::Char('b')]);
        assert_eq!(keys(b"\x1b[<0;3;4mb"), [Key::Char('b')]);
        assert_eq!(keys(b"\x1b[>1Ab\x1b[?62;c"), [Key::Char('b')]);
        assert_eq!(keys(b"\xff\xc3b\xe5\xa5"), [Key::Char('b')]);
        let mut long = vec![b'1'; 10_000];
        long.splice(0..0, *b"\x1b[");
        long.extend(b"~x");
        assert_eq!(keys(&long), [Key::Char('x')]);
    }

    #[test]
    fn a_paste_keeps_to_its_limit_of_memory() {
        let mut decoder = Decoder::new(10);
        assert!(decoder.keys(b"\x1b[200~").is_empty());
        for _ in 0..1000 {
            assert!(decoder.keys(b"0123456789").is_empty());
            assert!(decoder.held.len() < 100);
        }
        assert_eq!(decoder.keys(b"\x1b[201~a"), [Key::Paste(None), Key::Char('a')]);
        assert_eq!(decoder.keys(b"\x1b[200~b\x1b[201~"), [Key::Paste(Some("b".into()))]);
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_bytes_are_cut(
            pieces in prop::collection::vec(prop_oneof![
                any::<u8>().prop_map(|byte| vec![byte]),
                "[a-zé好]{1,5}".prop_map(String::into_bytes),
                Just(b"\x1b[A".to_vec()), Just(b"\x1b[200~".to_vec()), Just(b"\x1b[201~".to_vec()),
            ], 0..30),
            cut in any::<prop::sample::Index>(),
        ) {
            let bytes = pieces.concat();
            let cut = cut.index(bytes.len() + 1);
            let (one, other) = bytes.split_at(cut);
            let mut decoder = Decoder::new(100);
            let mut together = decoder.keys(one);
            together.extend(decoder.keys(other));
            prop_assert_eq!(together, keys(&bytes));
        }
    }
}
