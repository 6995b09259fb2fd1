//! The passphrase of an exported account: asked for at the terminal, or read from a file. Never an argument, which
//! everybody on the machine can read.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::thread;

use age::secrecy::SecretString;
use anyhow::{Context, bail, ensure};
use crossbeam_channel::{Receiver, bounded, select};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::{Zeroize, Zeroizing};

/// Far longer than anybody types.
const MAX: usize = 1024;
/// How many characters a new passphrase has at least: what NIST SP 800-63B-4 asks of a password that protects alone.
const MIN: usize = 15;
/// How many of its characters must differ, and how many must not follow from the one before.
const MIN_VARIED: usize = 8;
const TERMINAL: &str = "/dev/tty";

/// Gets the passphrase from `file`, else from the terminal; there twice if it is a `new` one. A signal ends it.
pub fn get(file: Option<&Path>, new: bool, signals: &Receiver<()>) -> anyhow::Result<SecretString> {
    let passphrase = match file {
        Some(path) => {
            let what = || format!("can't read the passphrase from {}", path.display());
            line(File::open(path).with_context(what)?).with_context(what)?
        }
        None => ask(new, signals)?,
    };
    ensure!(!passphrase.is_empty(), "the passphrase is empty; nothing was done");
    if new {
        check(&passphrase)?;
    }
    Ok(SecretString::from(passphrase.to_string()))
}

fn ask(new: bool, signals: &Receiver<()>) -> anyhow::Result<Zeroizing<String>> {
    let terminal = OpenOptions::new().read(true).write(true).open(TERMINAL).context(
        "no terminal to ask for a passphrase at; name a file that holds it with --passphrase-file",
    )?;
    let _silence = Silence::of(&terminal).context("can't keep the terminal from showing the passphrase")?;
    let passphrase = prompt(&terminal, "Passphrase: ", signals)?;
    if new {
        check(&passphrase)?;
    }
    if new && *prompt(&terminal, "The same again: ", signals)? != *passphrase {
        bail!("these were two different passphrases; nothing was done");
    }
    Ok(passphrase)
}

/// Refuses what can be guessed offline: the file may fall into any hands, and only the work of each guess slows them.
///
/// No list of words and names is consulted, so what passes is not known to be strong; words drawn at random are.
fn check(passphrase: &str) -> anyhow::Result<()> {
    const ADVICE: &str = "take four or more words drawn at random; nothing was done";
    let count = passphrase.chars().count();
    ensure!(
        count >= MIN,
        "the passphrase can be guessed by trying: it has {count} of at least {MIN} characters; {ADVICE}"
    );
    let different: BTreeSet<char> = passphrase.chars().collect();
    let pairs = passphrase.chars().zip(passphrase.chars().skip(1));
    // Neither the same again nor its neighbour, as in "aaaa" or "4321".
    let surprising = pairs.filter(|(one, next)| u32::from(*one).abs_diff(u32::from(*next)) > 1).count();
    ensure!(
        different.len().min(surprising) >= MIN_VARIED,
        "the passphrase repeats or counts, which is guessed early: {ADVICE}"
    );
    Ok(())
}

/// Asks for a line. Another thread waits for it, so that a signal is noticed meanwhile.
fn prompt(terminal: &File, what: &str, signals: &Receiver<()>) -> anyhow::Result<Zeroizing<String>> {
    let failed = "the terminal can't be used";
    let mut output = terminal;
    output.write_all(what.as_bytes()).context(failed)?;
    let input = terminal.try_clone().context(failed)?;
    let (send, typed) = bounded(1);
    thread::Builder::new()
        .name("passphrase".into())
        .spawn(move || send.send(line(input)))
        .context("no thread to ask for a passphrase")?;
    let answer = select! {
        recv(typed) -> line => line.context(failed)?,
        recv(signals) -> _ => Err(anyhow::anyhow!("interrupted; nothing was done")),
    };
    // The end of the line was not shown either.
    output.write_all(b"\n").context(failed)?;
    answer
}

/// Reads the first line, without its end.
fn line(input: impl Read) -> anyhow::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX + 2));
    // One byte at a time: what follows the line belongs to the next question, and no buffer keeps the passphrase.
    let input = BufReader::with_capacity(1, input);
    input.take(MAX as u64 + 2).read_until(b'\n', &mut bytes)?;
    while bytes.last().is_some_and(|byte| b"\r\n".contains(byte)) {
        bytes.pop();
    }
    ensure!(bytes.len() <= MAX, "a passphrase has at most {MAX} bytes");
    String::from_utf8(std::mem::take(&mut *bytes)).map(Zeroizing::new).map_err(|error| {
        error.into_bytes().zeroize();
        anyhow::anyhow!("a passphrase is text in UTF-8")
    })
}

/// A terminal that does not show what is typed, until this is dropped.
struct Silence<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Silence<'a> {
    fn of(terminal: &'a File) -> rustix::io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut modes = before.clone();
        modes.local_modes -= LocalModes::ECHO | LocalModes::ECHONL;
        tcsetattr(terminal, OptionalActions::Now, &modes)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_guessed_early_is_refused_with_the_reason() {
        for strong in ["correct horse battery staple", "fünfzehn zeichen", "k3!fQ9#zLw2@xR7"] {
            check(strong).unwrap();
        }
        for (weak, why) in [
            ("x", "has 1 of at least 15"),
            ("k3!fQ9#zLw2@xR", "has 14 of"),
            // Characters count, and not bytes.
            ("ffffüüüüüüüü", "has 12 of"),
            ("aaaaaaaaaaaaaaaaaaaa", "repeats or counts"),
            ("abcabcabcabcabcabc", "repeats or counts"),
            ("123456789012345678", "repeats or counts"),
            ("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "repeats or counts"),
        ] {
            let error = check(weak).unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("nothing was done"), "{weak}: {error}");
        }
    }

    #[test]
    fn a_passphrase_is_the_first_line() {
        for (input, expected) in [
            (&b"correct horse\n"[..], Some("correct horse")),
            (b"correct horse", Some("correct horse")),
            (b" spaces count \r\nsecond line\n", Some(" spaces count ")),
            (b"", Some("")),
            (b"\xff\n", None),
            (&[b'x'; MAX + 1], None),
        ] {
            assert_eq!(line(input).ok().as_deref().map(String::as_str), expected);
        }
        assert_eq!(line(&[b'x'; MAX][..]).unwrap().len(), MAX);
    }
}
