//! The configuration file: what the user wants where the command line says nothing. Reading it is one function; what it
//! means follows from its text.
//!
//! - `keys`: every key, with what it may be and what it does; `template`: the file that `--write-config` writes.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use etcetera::BaseStrategy;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::addressee::Addressee;
use super::command::Aliases;
use super::console::screen::colours::Colours;
use super::console::screen::keymap::KeyMap;
use super::did_you_mean::nearest;
use super::endpoints::Hosts;
use crate::protocol::rendezvous::Strangers;
use crate::protocol::{Name, PublicKey};
use keys::KEYS;
pub use template::template;

mod keys;
mod template;

const ACCOUNT: &str = "account";
const ALIASES: &str = "aliases";
const COLOURS: &str = "colours";
const KEYS_OF_SCREEN: &str = "keys";
/// What may stand in brackets.
const SECTIONS: [&str; 4] = [ACCOUNT, ALIASES, COLOURS, KEYS_OF_SCREEN];

/// What the file says of an account. `None` for nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    pub user: Option<Name>,
    pub port: Option<u16>,
    pub ip: Option<IpAddr>,
    pub discovery_host: Option<Hosts>,
    pub discovery_port: Option<u16>,
    pub discovery_key: Option<PublicKey>,
    pub data_dir: Option<PathBuf>,
    pub mode: Option<Mode>,
    pub strangers: Option<Strangers>,
    /// In bytes.
    pub keep_free: Option<u64>,
    pub quiet: Option<bool>,
    pub notify: Option<PathBuf>,
    pub log_file: Option<PathBuf>,
    pub mute: Option<Vec<Addressee>>,
    pub highlight: Option<Vec<String>>,
}

/// What is drawn at a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The whole screen, where there is room for it.
    Full,
    Line,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// What holds for every account that has no section.
    general: Account,
    /// What holds for those that have one: theirs, and what is general.
    accounts: BTreeMap<Name, Account>,
    pub aliases: Aliases,
    pub keys: KeyMap,
    pub colours: Colours,
}

/// Where in the file something is wrong, and what.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct Mistake {
    line: usize,
    what: String,
}

impl Settings {
    /// The user who starts where none is named.
    pub fn user(&self) -> Option<&Name> {
        self.general.user.as_ref()
    }

    pub fn of(&self, user: &Name) -> &Account {
        self.accounts.get(user).unwrap_or(&self.general)
    }

    /// What a file with this text says. `home` is what `~` stands for.
    pub fn parse(text: &str, home: Option<&Path>) -> Result<Self, Mistake> {
        let mistake = |at: usize, what: String| {
            let before = text.get(..at).unwrap_or(text);
            Mistake { line: before.matches('\n').count() + 1, what }
        };
        let parsed = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            mistake(at, error.message().lines().collect::<Vec<_>>().join(", "))
        })?;
        let table = parsed.get_ref();
        let mut settings = Self::default();
        // Sections of accounts are taken last: they stand on what is general, wherever that is.
        for (key, value) in table {
            let at = key.span().start;
            match (key.get_ref().as_ref(), value.get_ref()) {
                (ACCOUNT, DeValue::Table(_)) => {}
                (section, DeValue::Table(entries)) if SECTIONS.contains(&section) => {
                    for (name, value) in entries {
                        let set = settings.set(section, name.get_ref(), value.get_ref());
                        set.map_err(|what| mistake(name.span().start, format!("[{section}]: {what}")))?;
                    }
                }
                (section, _) if SECTIONS.contains(&section) => {
                    return Err(mistake(at, format!("{section:?} is a section: write [{section}]")));
                }
                (name, value) => {
                    settings.general.take(name, value, home).map_err(|what| mistake(at, what))?;
                }
            }
        }
        let accounts = table.iter().filter(|(key, _)| key.get_ref() == ACCOUNT);
        for (name, section) in accounts.filter_map(|(_, value)| value.get_ref().as_table()).flatten() {
            settings.take_account(name, section, home, &mistake)?;
        }
        Ok(settings)
    }

    /// Takes an entry of a section whose entries have names of the user's choice.
    fn set(&mut self, section: &str, name: &str, value: &DeValue<'_>) -> Result<(), String> {
        let text = value.as_str().ok_or_else(|| format!("{name:?} needs a text in quotes"))?;
        match section {
            ALIASES => self.aliases.add(name, text),
            COLOURS => self.colours.set(name, text),
            _ => self.keys.bind(name, text),
        }
    }

    fn take_account(
        &mut self,
        name: &Spanned<std::borrow::Cow<'_, str>>,
        section: &Spanned<DeValue<'_>>,
        home: Option<&Path>,
        mistake: &impl Fn(usize, String) -> Mistake,
    ) -> Result<(), Mistake> {
        let at = name.span().start;
        let DeValue::Table(section) = section.get_ref() else {
            let what = format!("[{ACCOUNT}.{}] is a section, for the account of that name", name.get_ref());
            return Err(mistake(at, what));
        };
        let user: Name = name.get_ref().parse().map_err(|error| mistake(at, format!("{error}")))?;
        let mut account = self.general.clone();
        for (key, value) in section {
            let at = key.span().start;
            if key.get_ref() == "user" {
                return Err(mistake(at, format!("\"user\" stands above all sections; this one is {user}'s")));
            }
            account.take(key.get_ref(), value.get_ref(), home).map_err(|what| mistake(at, what))?;
        }
        self.accounts.insert(user, account);
        Ok(())
    }
}

impl Account {
    fn take(&mut self, name: &str, value: &DeValue<'_>, home: Option<&Path>) -> Result<(), String> {
        match KEYS.iter().find(|key| key.name == name) {
            Some(key) => (key.take)(self, value, home).map_err(|wanted| format!("{name}: {wanted}")),
            None => {
                let known = KEYS.iter().map(|key| key.name).chain(SECTIONS);
                let meant = nearest(&name.to_lowercase().replace('_', "-"), known);
                let meant = meant.map_or_else(String::new, |meant| format!("; did you mean {meant:?}?"));
                Err(format!("there is no key {name:?}{meant}"))
            }
        }
    }
}

/// Where the file is unless another one is named; `None` without a home directory.
pub fn usual_path() -> Option<PathBuf> {
    let strategy = etcetera::choose_base_strategy().ok()?;
    Some(strategy.config_dir().join("peerchat").join("client.toml"))
}

/// Reads the file that is named, or the usual one, which need not be there.
///
/// # Errors
/// It can't be read, or something in it is wrong: the words name the file, the line and what is wanted.
pub fn load(named: Option<&Path>) -> anyhow::Result<Settings> {
    let Some(path) = named.map(Path::to_owned).or_else(usual_path) else {
        return Ok(Settings::default());
    };
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => {
            return Ok(Settings::default());
        }
        text => text.with_context(|| format!("can't read the configuration {}", path.display()))?,
    };
    let home = etcetera::home_dir().ok();
    Settings::parse(&text, home.as_deref())
        .map_err(|mistake| anyhow::anyhow!("{}, {mistake}", path.display()))
}

/// Writes the file with every key in it, and returns where it is. One that is there is left as it is.
pub fn write(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    let path = named.map(Path::to_owned).or_else(usual_path);
    let path = path.context("no configuration directory; name a file with --config")?;
    let written = || -> io::Result<()> {
        if let Some(directory) = path.parent().filter(|it| !it.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(template().as_bytes())?;
        file.sync_all()
    };
    match written() {
        Ok(()) => Ok(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            bail!("{} is there already and was left as it is", path.display())
        }
        Err(error) => Err(error).with_context(|| format!("can't write {}", path.display())),
    }
}

#[cfg(test)]
mod tests;
