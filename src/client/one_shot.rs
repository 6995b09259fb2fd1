//! `--send`: one text to one user or room, and then the end.

use std::io::Read;

use anyhow::{Context, ensure};

use super::addressee::Addressee;
use super::command::CommandError;
use crate::protocol::{MAX_TEXT, Name};
use crate::store::StoreError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneShot {
    pub to: Addressee,
    pub text: String,
}

impl OneShot {
    /// What was given on the command line: a user or a room, and a text or `-`, which stands for all that `input` holds. The
    /// end of its last line is no part of the text.
    pub fn new(to: &str, text: &str, input: impl Read) -> anyhow::Result<Self> {
        let to = to.parse()?;
        let text = if text == "-" { read(input)? } else { text.to_owned() };
        ensure!(!text.trim().is_empty(), "the text is empty; nothing was sent");
        ensure!(text.len() <= MAX_TEXT, CommandError::TooLong(Some(text.len())));
        Ok(Self { to, text })
    }

    /// An error that says what to do if the user's client is running, and does not take the text.
    pub fn explain(&self, user: &Name, error: StoreError) -> anyhow::Error {
        match error {
            StoreError::InUse(_) => anyhow::anyhow!(
                "another program uses the account of {user}, and takes no text for {}; nothing was sent",
                self.to
            ),
            other => other.into(),
        }
    }
}

fn read(input: impl Read) -> anyhow::Result<String> {
    // Room for the end of the last line, and for a byte too many.
    let most = MAX_TEXT + 3;
    let mut bytes = Vec::new();
    let read = input.take(most as u64).read_to_end(&mut bytes).context("standard input can't be read")?;
    ensure!(read < most, CommandError::TooLong(None));
    let text = String::from_utf8(bytes).ok();
    let mut text = text.context("standard input is not UTF-8; nothing was sent")?;
    let end = if text.ends_with("\r\n") { 2 } else { usize::from(text.ends_with('\n')) };
    text.truncate(text.len() - end);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(input: &[u8]) -> Result<String, String> {
        OneShot::new("bob", "-", input).map(|it| it.text).map_err(|error| error.to_string())
    }

    #[test]
    fn standard_input_is_one_text_without_the_end_of_its_last_line() {
        for (input, expected) in
            [("one\ntwo\n", "one\ntwo"), ("one\r\n", "one"), ("one\n\n", "one\n"), (" one", " one")]
        {
            assert_eq!(text(input.as_bytes()).unwrap(), expected);
        }
        assert_eq!(OneShot::new("bob", "one\n", &b""[..]).unwrap().text, "one\n");
    }

    #[test]
    fn what_is_no_text_is_refused() {
        let longest = "x".repeat(MAX_TEXT);
        assert_eq!(text(format!("{longest}\r\n").as_bytes()).unwrap(), longest);
        for (input, expected) in [
            (&b""[..], "empty"),
            (b" \n\n", "empty"),
            (b"a\xff", "not UTF-8"),
            (format!("{longest}x").as_bytes(), "at most 32768 bytes"),
            (&[0xff; MAX_TEXT + 100], "at most 32768 bytes"),
            ("é".repeat(MAX_TEXT).as_bytes(), "at most 32768 bytes"),
        ] {
            let error = text(input).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        for (to, taken) in [("Bob", false), ("#Lab", false), ("", false), ("bob", true), ("#lab~2", true)] {
            assert_eq!(OneShot::new(to, "x", &b""[..]).is_ok(), taken, "{to}");
        }
        assert!(OneShot::new("bob", &"x".repeat(MAX_TEXT + 1), &b""[..]).is_err());
    }
}
