//! S13: what a journal keeps of a text in a room beyond the text itself, where several talk.

use std::collections::HashSet;
use std::fs;

use anyhow::{Context, Result, ensure};

use super::{ROOM, Room, leave, name};
use crate::Options;
use crate::measure::{Goal, Row};
use crate::server::Scratch;

/// How many talk, in turns that chance decides.
const MEMBERS: usize = 5;
const TEXTS: u64 = 5000;
/// How many different words they use, and how many make a text.
const WORDS: usize = 2000;
const LENGTH: usize = 15;
/// What a text may cost, in bytes.
const MOST: f64 = 250.0;

/// A line of the table; what is talked of in several places.
pub fn row(what: &str, bytes: f64, disturbed: bool) -> Row {
    Row {
        id: "S13",
        what: format!("journal of a room beyond the text, {what}"),
        reached: format!("{bytes:.0} bytes"),
        against: format!("{MOST} bytes"),
        ratio: bytes / MOST,
        goal: Goal::AtMost(1.0),
        disturbed,
    }
}

pub fn run(options: &Options) -> Result<Vec<Row>> {
    let count = options.scaled(TEXTS);
    println!("\n== S13: {MEMBERS} members talk, {count} texts one after the other");
    let scratch = options.scratch("room-journal")?;
    let mut room = Room::gather(&scratch, MEMBERS)?;
    let directory = scratch.path().to_owned();
    let sizes = || (0..MEMBERS).map(|number| size(&directory, number)).collect::<Result<Vec<u64>>>();
    // What they say is the same in every run.
    let mut random = fastrand::Rng::with_seed(1);
    let mut bytes = 0;
    let mut texts = HashSet::new();
    for number in 0..count {
        let text = sentence(&mut random);
        let author = random.usize(..MEMBERS);
        room.members.get_mut(author).context("no author")?.say(&format!("CHAT {ROOM} {text}"))?;
        for (at, member) in room.members.iter_mut().enumerate() {
            let line = member.lines.wait(if at == author { "queued" } else { "message" })?;
            let said: serde_json::Value = serde_json::from_slice(line)?;
            ensure!(
                at == author || said.get("text") == Some(&text.as_str().into()),
                "not text {number}: {said}"
            );
        }
        bytes += text.len();
        texts.insert(text);
    }
    ensure!(texts.len() as u64 == count, "texts that are the same");
    room.wait_until_even()?;
    room.leave()?;
    // A client's last connection has written everything from the log to the file.
    let most = sizes()?.into_iter().max().context("no journal")?;
    let empty = empty(options)?;
    let each = (most.saturating_sub(empty) as f64 - bytes as f64) / count as f64;
    println!("   the largest journal has {most} bytes, {empty} without a text, for {bytes} bytes of texts");
    Ok(vec![row(&format!("{MEMBERS} talk"), each, false)])
}

/// The journal of a member of such a room in which there is no text.
fn empty(options: &Options) -> Result<u64> {
    let scratch: Scratch = options.scratch("room-empty")?;
    Room::gather(&scratch, MEMBERS)?.members.into_iter().try_for_each(leave)?;
    let sizes = (0..MEMBERS).map(|number| size(scratch.path(), number)).collect::<Result<Vec<u64>>>()?;
    sizes.into_iter().min().context("no journal")
}

fn size(directory: &std::path::Path, number: usize) -> Result<u64> {
    let journal = directory.join(format!("{}.journal", name(number)?));
    let log = fs::metadata(directory.join(format!("{}.journal-wal", name(number)?)));
    ensure!(log.map_or(0, |log| log.len()) == 0, "a log is left beside {}", journal.display());
    Ok(fs::metadata(journal)?.len())
}

/// Words as they come in talk: a few of them often.
fn sentence(random: &mut fastrand::Rng) -> String {
    let mut sentence = String::new();
    for _ in 0..LENGTH {
        let at = random.f64();
        let word = (at * at * at * WORDS as f64) as usize;
        if !sentence.is_empty() {
            sentence.push(' ');
        }
        spell(word, &mut sentence);
    }
    sentence
}

/// A word of three to nine letters for each number.
fn spell(word: usize, out: &mut String) {
    let mut left = word + 20;
    while left > 0 {
        let syllable = left % 60;
        left /= 60;
        let letter = |from: &str, at: usize| from.chars().nth(at % from.len()).unwrap_or('a');
        out.push(letter("bdfgklmnprst", syllable / 5));
        out.push(letter("aeiou", syllable));
        out.push(letter("nrstl", left + syllable));
    }
}
