//! Text from outside, made safe to write to a terminal.
//!
//! What can be seen stays as it is. What can't, or does more than stand there, is written out as `\u{…}`, except where
//! Unicode gives it a meaning that readers need: direction marks, joiners in the scripts and emoji that use them, the
//! tags of flags, variation selectors. The rules are those of Unicode 16 and UTS 51, with ranges of code points in place
//! of tables: a range takes in a few characters more, which harms nothing.

/// How many marks may stand on one character. Vietnamese has two, Hebrew with points and accents five; very many are
/// painted over the lines above and below.
const MAX_MARKS: usize = 8;

/// Whether a character does more to a terminal than stand there, whatever is around it: control characters, ends of
/// lines, and those that change the direction of the text around them.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e001f}')
}

/// Whether a character has no shape of its own (Unicode's `Default_Ignorable_Code_Point`).
pub fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// The text with a tab as a space and everything unsafe or invisible as an escape. Writing the result so again changes
/// nothing.
pub fn printable(text: &str) -> String {
    let mut line = Line { shown: String::with_capacity(text.len()), last: None, marks: 0 };
    if text.bytes().all(|byte| (b' '..0x7f).contains(&byte)) {
        line.shown.push_str(text);
        return line.shown;
    }
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c == FLAG
            && let Some(tags) = tags(rest.as_str())
        {
            line.push(c);
            line.shown.push_str(tags);
            rest = rest.as_str().get(tags.len()..).unwrap_or_default().chars();
            continue;
        }
        let shown = match c {
            '\t' => {
                line.push(' ');
                continue;
            }
            ' '..='~' => true,
            c if is_unsafe(c) => false,
            c if is_invisible(c) => line.needs(c, rest.clone().next()),
            _ => true,
        };
        if shown && line.takes(c) {
            line.push(c);
        } else {
            c.escape_unicode().for_each(|c| line.push(c));
        }
    }
    line.shown
}

/// What is shown so far.
struct Line {
    shown: String,
    /// The last character that is no mark.
    last: Option<char>,
    /// How many marks stand on it.
    marks: usize,
}

impl Line {
    fn push(&mut self, c: char) {
        self.shown.push(c);
        if is_mark(c) {
            self.marks += 1;
        } else {
            (self.last, self.marks) = (Some(c), 0);
        }
    }

    /// Whether one more character fits: a mark needs one to stand on, which has not too many.
    fn takes(&self, c: char) -> bool {
        !is_mark(c) || is_direction(c) || (self.last.is_some() && self.marks < MAX_MARKS)
    }

    /// Whether an invisible character has a meaning here.
    fn needs(&self, c: char, next: Option<char>) -> bool {
        let before = self.shown.chars().next_back();
        let base = self.last.unwrap_or_default();
        match c {
            c if is_direction(c) => {
                let within_a_word =
                    base.is_ascii_alphanumeric() && next.is_some_and(|it| it.is_ascii_alphanumeric());
                self.marks < MAX_MARKS && !within_a_word
            }
            // Between two emoji; in other scripts it changes how the letters before it look.
            '\u{200d}' if is_emoji(base) => next.is_some_and(is_emoji),
            '\u{200c}' | '\u{200d}' => {
                joins(base) && before.is_none_or(|it| !matches!(it, '\u{200c}' | '\u{200d}'))
            }
            // Scripts without spaces break lines there.
            '\u{200b}' => {
                matches!(base, '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{1950}'..='\u{1aaf}')
                    && before != Some(c)
            }
            // Keeps the order of Hebrew marks.
            '\u{34f}' => matches!(before, Some('\u{591}'..='\u{5c7}')),
            '\u{180b}'..='\u{180f}' => matches!(before, Some('\u{1820}'..='\u{18aa}')),
            '\u{fe0e}' | '\u{fe0f}' => {
                before == Some(base) && (is_emoji(base) || matches!(base, '#' | '*' | '0'..='9'))
            }
            '\u{fe00}'..='\u{fe0d}' | '\u{e0100}'..='\u{e01ef}' => before == Some(base) && varies(base),
            _ => false,
        }
    }
}

/// Whether it takes no place of its own.
fn is_mark(c: char) -> bool {
    !c.is_ascii() && unicode_width::UnicodeWidthChar::width(c) == Some(0)
}

/// Left-to-right, right-to-left and Arabic letter mark: each is as a letter that can't be seen, and what it does ends
/// with its line.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{61c}')
}

fn is_emoji(c: char) -> bool {
    matches!(c, '\u{a9}' | '\u{ae}' | '\u{203c}' | '\u{2049}' | '\u{2122}' | '\u{2139}' | '\u{2190}'..='\u{2bff}' | '\u{3030}'
        | '\u{303d}' | '\u{3297}' | '\u{3299}' | '\u{1f000}'..='\u{1faff}')
}

/// Whether joiners change how the letters of its script look: Arabic, Syriac, N'Ko, Mongolian, and the scripts of India
/// and around.
fn joins(c: char) -> bool {
    matches!(c, '\u{620}'..='\u{74f}' | '\u{750}'..='\u{7ff}' | '\u{840}'..='\u{8ff}' | '\u{900}'..='\u{dff}'
        | '\u{f00}'..='\u{109f}' | '\u{1700}'..='\u{18af}' | '\u{1a20}'..='\u{1bff}' | '\u{a800}'..='\u{abff}'
        | '\u{fb50}'..='\u{fdff}' | '\u{fe70}'..='\u{fefe}' | '\u{10a00}'..='\u{10fff}' | '\u{11000}'..='\u{11fff}'
        | '\u{1e900}'..='\u{1e95f}')
}

/// Whether there are variants of it: ideographs, mathematical signs, and letters of Myanmar and Phags-pa.
fn varies(c: char) -> bool {
    matches!(c, '\u{2205}'..='\u{2aff}' | '\u{3000}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{ff01}'..='\u{ff9f}'
        | '\u{1000}'..='\u{109f}' | '\u{a840}'..='\u{a87f}' | '\u{aa60}'..='\u{aa7f}' | '\u{20000}'..='\u{3ffff}')
}

/// What the flags of England, Scotland and the like begin with.
const FLAG: char = '\u{1f3f4}';
const END_OF_TAGS: char = '\u{e007f}';
/// A country and a part of it, as in `gbeng`.
const TAGS: std::ops::RangeInclusive<usize> = 4..=6;

/// The tags with which the text begins, up to their end, if they are those of a flag.
fn tags(text: &str) -> Option<&str> {
    let is_tag = |c: &char| matches!(c, '\u{e0030}'..='\u{e0039}' | '\u{e0061}'..='\u{e007a}');
    let tags: usize = text.chars().take_while(is_tag).count();
    let bytes = (tags + 1) * END_OF_TAGS.len_utf8();
    text.get(..bytes).filter(|text| TAGS.contains(&tags) && text.ends_with(END_OF_TAGS))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn honest_text_in_any_script_stays_as_it_is() {
        for text in [
            "plain, café, naïve, Tiếng Việt",
            // Decomposed, too.
            "e\u{301} Tie\u{302}\u{301}ng",
            "Ελληνικά, Кириллица, Հայերեն, ქართული",
            "שָׁלוֹם עֲלֵיכֶם",
            "בְּרֵאשִׁ֖ית בָּרָ֣א אֱלֹהִ֑ים",
            "السَّلَامُ عَلَيْكُمْ",
            "می\u{200c}خواهم نامه\u{200c}ای",
            "۱۴۴۷ ه\u{200d}",
            "abc \u{200f}שלום\u{200e}, (שלום)\u{200e} \u{61c}12-3",
            "नमस्ते, क्\u{200d}ष, क्\u{200c}ष",
            "ശ്രീ, ന്\u{200d}",
            "ලංකා ශ්\u{200d}රී",
            "বাংলা র\u{200d}\u{9cd}যা",
            "สวัสดี ភាសា\u{200b}ខ្មែរ မြန်မာ",
            "བོད་སྐད་",
            "日本語 葛\u{e0100}城市 中文 한국어",
            "ᠮᠣᠩᠭᠣᠯ\u{180e}ᠠ",
            "👨\u{200d}👩\u{200d}👧\u{200d}👦 👩🏽\u{200d}💻 🏳\u{fe0f}\u{200d}🌈 ❤\u{fe0f}\u{200d}🔥 1\u{fe0f}\u{20e3} ☎\u{fe0e}",
            "🇫🇷 🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f} 🏴\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
        ] {
            assert_eq!(printable(text), text);
        }
    }

    #[test]
    fn what_can_not_be_seen_is_written_out() {
        for (text, expected) in [
            ("a\tb\0\u{1b}[2J\r\n", r"a b\u{0}\u{1b}[2J\u{d}\u{a}"),
            // Invisible where it has no meaning.
            ("bo\u{200b}b", r"bo\u{200b}b"),
            ("bo\u{200e}b\u{61c}\u{200f}y", "bo\\u{200e}b\u{61c}\\u{200f}y"),
            ("bo\u{200d}b\u{200c}", r"bo\u{200d}b\u{200c}"),
            ("a\u{ad}b\u{2060}c\u{feff}d\u{3164}e\u{115f}", r"a\u{ad}b\u{2060}c\u{feff}d\u{3164}e\u{115f}"),
            ("a\u{fe0f}b\u{e0100}👍\u{200d}", r"a\u{fe0f}b\u{e0100}👍\u{200d}"),
            ("می\u{200c}\u{200c}خ", r"می‌\u{200c}خ"),
            // Whatever turns text around beyond what can be seen.
            ("a\u{202e}b\u{202c}\u{2066}c\u{2069}", r"a\u{202e}b\u{202c}\u{2066}c\u{2069}"),
            // Hidden text in tags.
            ("x\u{e0067}\u{e007f}", r"x\u{e0067}\u{e007f}"),
            ("🏴\u{e0067}\u{e0062}", r"🏴\u{e0067}\u{e0062}"),
            ("🏴\u{e007f}", r"🏴\u{e007f}"),
            // A mark without a letter would stand on what the program wrote.
            ("\u{301}x", r"\u{301}x"),
        ] {
            assert_eq!(printable(text), expected, "{text:?}");
        }
        let zalgo = format!("e{}x", "\u{301}".repeat(100));
        let shown = printable(&zalgo);
        assert!(shown.starts_with(&format!("e{}\\u{{301}}", "\u{301}".repeat(MAX_MARKS))), "{shown}");
        let run = |text: &str| text.split(|c| !is_mark(c)).map(|run| run.chars().count()).max();
        for mark in ['\u{301}', '\u{20dd}', '\u{200f}', '\u{200e}'] {
            assert!(run(&printable(&format!("x{}", String::from(mark).repeat(50)))) <= Some(MAX_MARKS));
        }
    }

    fn texts() -> impl Strategy<Value = String> {
        let odd = prop::sample::select(vec![
            'a',
            ' ',
            '\t',
            '\n',
            '\u{1b}',
            '\u{301}',
            '\u{5b8}',
            'ש',
            'م',
            'क',
            '\u{94d}',
            '葛',
            '👩',
            '🏽',
            '🏴',
            '\u{e0067}',
            '\u{e0062}',
            '\u{e0065}',
            '\u{e006e}',
            '\u{e007f}',
            '\u{e0100}',
            '\u{fe0f}',
            '\u{200b}',
            '\u{200c}',
            '\u{200d}',
            '\u{200e}',
            '\u{200f}',
            '\u{202e}',
            '\u{2066}',
            '\u{34f}',
            '\u{61c}',
            '\u{180b}',
            '1',
            'ក',
        ]);
        let c = prop_oneof![4 => odd, 1 => any::<char>()];
        prop::collection::vec(c, 0..40).prop_map(|chars| chars.into_iter().collect())
    }

    proptest! {
        #[test]
        fn whatever_is_shown_is_safe_and_stays_so(text in texts()) {
            let shown = printable(&text);
            prop_assert!(!shown.chars().any(is_unsafe), "{shown:?}");
            prop_assert_eq!(printable(&shown), &*shown);
            // Nothing is lost.
            let mut rest = &*shown;
            for c in text.chars() {
                let c = if c == '\t' { ' ' } else { c };
                let escape = c.escape_unicode().to_string();
                rest = rest.strip_prefix(c).or_else(|| rest.strip_prefix(&*escape)).unwrap();
            }
            prop_assert_eq!(rest, "");
        }
    }
}
