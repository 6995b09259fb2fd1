//! The one table of keys. A key is added here: a field of [`Account`] and a row of [`KEYS`].

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use toml::de::DeValue;

use super::{Account, Mode};
use crate::cli;
use crate::client::addressee::Addressee;
use crate::protocol::rendezvous::Strangers;

pub struct Key {
    /// As its option is called, if it has one.
    pub name: &'static str,
    /// As it stands in the file: the default, or where there is none something that fits.
    pub example: &'static str,
    /// What it does, in lines for 80 columns.
    pub meaning: &'static str,
    /// Takes the value, or says what is wanted. A path may begin with that of the user's home.
    pub(super) take: Take,
}

type Take = fn(&mut Account, &DeValue<'_>, Option<&Path>) -> Result<(), String>;

/// Every key, in the order of the file that is written.
pub static KEYS: &[Key] = &[
    Key {
        name: "user",
        example: r#""alice""#,
        meaning: "Your name. It is the account that client starts where none is named.",
        take: |it, value, _| put(&mut it.user, text(value)?.parse().map_err(say)),
    },
    Key {
        name: "port",
        example: "7001",
        meaning: "The port to take links from peers on; 0 takes a free one.",
        take: |it, value, _| put(&mut it.port, cli::port(number(value))),
    },
    Key {
        name: "ip",
        example: r#""127.0.0.1""#,
        meaning: "The address to listen on and give out; \"0.0.0.0\" or \"::\" gives out the one
that discovery sees.",
        take: |it, value, _| put(&mut it.ip, cli::address(text(value)?)),
    },
    Key {
        name: "discovery-host",
        example: r#""127.0.0.1""#,
        meaning: "Where discovery runs, a name or an address. Where it runs on several machines,
some of these with commas between them, each with a port of its own if need
be: \"a.example.org, b.example.org:7668\". One is used, whichever answers.",
        take: |it, value, _| put(&mut it.discovery_host, text(value)?.parse()),
    },
    Key {
        name: "discovery-port",
        example: "7667",
        meaning: "The port on which discovery listens, where its host names none.",
        take: |it, value, _| put(&mut it.discovery_port, cli::remote_port(number(value))),
    },
    Key {
        name: "discovery-key",
        example: r#""0000000000000000000000000000000000000000000000000000000000000000""#,
        meaning: "The key that discovery must have, in place of the one seen first.",
        take: |it, value, _| put(&mut it.discovery_key, text(value)?.parse().map_err(say)),
    },
    Key {
        name: "data-dir",
        example: r#""~/.local/share/peerchat""#,
        meaning: "Where your journal is kept.",
        take: |it, value, home| put(&mut it.data_dir, path(value, home)),
    },
    Key {
        name: "mode",
        example: r#""full""#,
        meaning: "What is drawn at a terminal: \"full\" is the whole screen, \"line\" is one line\nafter the other.",
        take: |it, value, _| {
            let mode = match text(value)? {
                "full" => Ok(Mode::Full),
                "line" => Ok(Mode::Line),
                _ => Err("\"full\" or \"line\" is wanted here".into()),
            };
            put(&mut it.mode, mode)
        },
    },
    Key {
        name: "strangers",
        example: r#""open""#,
        meaning: "How users are met that you have neither asked for nor answered: \"open\" takes
a few messages from each, \"ask\" only says that they ask, \"all\" answers each
at once, \"closed\" takes no new contacts.",
        take: |it, value, _| {
            let strangers = Strangers::from_str(text(value)?, false);
            put(
                &mut it.strangers,
                strangers.map_err(|_| "\"open\", \"ask\", \"all\" or \"closed\" is wanted here".into()),
            )
        },
    },
    Key {
        name: "keep-free",
        example: "256",
        meaning: "Take nothing from peers while the disk has less than so many MiB free.
Without this line: 256, or 5 % of a small disk.",
        take: |it, value, _| put(&mut it.keep_free, cli::mebibytes(number(value))),
    },
    Key {
        name: "quiet",
        example: "false",
        meaning: "Ring no bell for a message: true or false.",
        take: |it, value, _| {
            put(&mut it.quiet, value.as_bool().ok_or_else(|| "true or false is wanted here".into()))
        },
    },
    Key {
        name: "notify",
        example: r#""~/bin/notify""#,
        meaning: "Run this program for each message, with PEERCHAT_FROM and PEERCHAT_TEXT in
its environment.",
        take: |it, value, home| put(&mut it.notify, program(value, home)),
    },
    Key {
        name: "log-file",
        example: r#""~/.local/state/peerchat.log""#,
        meaning: "Where logs go, in place of standard error.",
        take: |it, value, home| put(&mut it.log_file, path(value, home)),
    },
    Key {
        name: "mute",
        example: r##"["carol", "#lab"]"##,
        meaning: "Contacts and rooms that ring no bell, run no command, and stand in no prompt
as unread.",
        take: |it, value, _| {
            let muted = texts(value)?.into_iter().map(|text| text.parse::<Addressee>().map_err(say));
            put(&mut it.mute, muted.collect())
        },
    },
    Key {
        name: "highlight",
        example: r#"["deploy", "lunch"]"#,
        meaning: "Words that ring the bell and run the command also where it is muted, in
upper or lower case. In rooms your own name is always one.",
        take: |it, value, _| {
            let words: Vec<String> = texts(value)?.into_iter().map(str::to_owned).collect();
            if words.iter().any(|word| word.trim().is_empty()) {
                return Err("a word is empty, which every message holds".into());
            }
            put(&mut it.highlight, Ok(words))
        },
    },
];

fn put<T>(field: &mut Option<T>, value: Result<T, String>) -> Result<(), String> {
    *field = Some(value?);
    Ok(())
}

fn say(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn text<'v>(value: &'v DeValue<'_>) -> Result<&'v str, String> {
    value.as_str().ok_or_else(|| "a text in quotes is wanted here".into())
}

/// The digits of a whole number; nothing of what is none, so that the one who reads them says what is wanted.
fn number<'v>(value: &'v DeValue<'_>) -> &'v str {
    value.as_integer().filter(|it| it.radix() == 10).map_or("", |it| it.as_str())
}

fn texts<'v>(value: &'v DeValue<'_>) -> Result<Vec<&'v str>, String> {
    let wanted = || "texts in brackets are wanted here, such as [\"one\", \"two\"]".to_owned();
    let array = value.as_array().ok_or_else(wanted)?;
    array.iter().map(|it| it.get_ref().as_str().ok_or_else(wanted)).collect()
}

/// One that does not depend on where the client is started.
fn path(value: &DeValue<'_>, home: Option<&Path>) -> Result<PathBuf, String> {
    let text = text(value)?;
    let path = match text.strip_prefix("~/") {
        Some(rest) => home.ok_or("there is no home directory: write the whole path")?.join(rest),
        None => PathBuf::from(text),
    };
    if path.is_absolute() { Ok(path) } else { Err("a path that begins with / or ~/ is wanted here".into()) }
}

/// A path, or the name of a program that is looked for as the shell does.
fn program(value: &DeValue<'_>, home: Option<&Path>) -> Result<PathBuf, String> {
    let name = text(value)?;
    if name.is_empty() || name.contains('/') { path(value, home) } else { Ok(name.into()) }
}
