//! Aliases: names that the user has for the beginnings of commands. What an alias stands for is a command, and is not
//! looked up once more.

use std::collections::BTreeMap;

use super::table::{COMMANDS, Command, Spec, find};
use super::{CommandError, parse};
use crate::client::did_you_mean::nearest;
use crate::protocol::Name;

/// What each alias stands for, by its name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aliases(BTreeMap<String, String>);

impl Aliases {
    /// Adds one that stands for a command line in which `$1` to `$9` are words typed after it, and `$*` is what follows
    /// those. `$$` is a dollar sign.
    ///
    /// # Errors
    /// The name is that of a command or can't be typed as one, or the line begins with no command. The words say which.
    pub fn add(&mut self, name: &str, line: &str) -> Result<(), String> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
        if name.is_empty() || name.len() > Name::MAX || !name.chars().all(fits) {
            return Err(format!(
                "{name:?} can't be an alias: use up to {} of the letters a to z, digits, '_' and '-'",
                Name::MAX
            ));
        }
        if let Some(command) = find(name) {
            return Err(format!("{name:?} can't be an alias: {} is a command", command.name));
        }
        let line = line.strip_prefix('/').unwrap_or(line);
        if spec(line).is_none() {
            let word = line.split_whitespace().next().unwrap_or_default();
            let meant = nearest(&word.to_ascii_uppercase(), COMMANDS.iter().map(|spec| spec.name));
            let meant = meant.map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
            return Err(format!("an alias stands for a command, and {word:?} is none{meant}"));
        }
        self.0.insert(name.to_owned(), line.to_owned());
        Ok(())
    }

    /// Each name and what it stands for, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, line)| (name.as_str(), line.as_str()))
    }

    /// What `HELP` says of each.
    pub fn help(&self) -> impl Iterator<Item = String> {
        self.iter().map(|(name, line)| format!("{name}: stands for {line}"))
    }

    /// What a word stands for, which may begin with a `/`.
    pub fn find(&self, word: &str) -> Option<&str> {
        let name = word.strip_prefix('/').unwrap_or(word);
        self.0.get(&name.to_ascii_lowercase()).map(String::as_str)
    }

    /// Understands one line as [`parse`] does. An alias is a command where the command that it stands for would be one,
    /// written with a `/` or in lower case.
    pub fn parse(&self, line: &str) -> Option<Result<Command, CommandError>> {
        let start = line.trim_start();
        let (word, rest) = start.split_once(char::is_whitespace).unwrap_or((start, ""));
        let Some(alias) = self.find(word) else {
            return parse(line);
        };
        let instead = format!("/{}", expand(alias, rest));
        let understood = parse(&instead)?;
        if line.starts_with('/') {
            return Some(understood);
        }
        Some(Ok(Command::Line {
            text: line.to_owned(),
            otherwise: Box::new(understood),
            instead: Some(instead),
            meant: false,
        }))
    }
}

/// The command that a line begins with.
fn spec(line: &str) -> Option<&'static Spec> {
    let word = line.split(char::is_whitespace).next()?;
    find(word).filter(|_| !word.starts_with('/'))
}

/// Puts what was typed after an alias into what it stands for. Words that have no place there stand at the end.
fn expand(alias: &str, typed: &str) -> String {
    let digits =
        || alias.match_indices('$').filter_map(|(at, _)| alias.get(at + 1..)?.chars().next()?.to_digit(10));
    let (mut words, mut rest) = (Vec::new(), typed);
    for _ in 0..digits().max().unwrap_or_default() {
        rest = rest.trim_start();
        let (word, more) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        words.push(word);
        rest = more;
    }
    let (mut line, mut placed) = (String::with_capacity(alias.len() + typed.len()), false);
    let mut characters = alias.chars().peekable();
    while let Some(c) = characters.next() {
        let next = characters.peek().copied().filter(|_| c == '$');
        match next {
            Some('$') => line.push('$'),
            Some('*') => {
                placed = true;
                line.push_str(rest);
            }
            Some(digit @ '1'..='9') => {
                let place = digit.to_digit(10).and_then(|digit| usize::try_from(digit).ok()?.checked_sub(1));
                line.push_str(place.and_then(|place| words.get(place)).unwrap_or(&""));
            }
            _ => {
                line.push(c);
                continue;
            }
        }
        characters.next();
    }
    if !placed && !rest.trim().is_empty() {
        line.push(' ');
        line.push_str(rest);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn aliases() -> Aliases {
        let mut aliases = Aliases::default();
        for (name, line) in [
            ("j", "JOIN #$1"),
            ("w", "/why"),
            ("lab", "CHAT #lab"),
            ("kb", "KICK #lab $1"),
            ("re", "CHAT $1 about $2: $*"),
            ("cost", "CHAT bob it costs $$5, or $x $"),
            ("swap", "CHAT $2 $1"),
        ] {
            aliases.add(name, line).unwrap();
        }
        aliases
    }

    #[test]
    fn an_alias_stands_for_a_command() {
        for (typed, meant) in [
            ("/j lab", "/JOIN #lab"),
            ("/J lab", "/JOIN #lab"),
            ("/w bob", "/WHY bob"),
            ("/lab", "/CHAT #lab"),
            ("/lab two  words", "/CHAT #lab two  words"),
            ("/lab one\ntwo", "/CHAT #lab one\ntwo"),
            ("/kb", "/KICK #lab"),
            ("/re bob lunch  at one?", "/CHAT bob about lunch:  at one?"),
            ("/re bob", "/CHAT bob about : "),
            ("/cost", "/CHAT bob it costs $5, or $x $"),
            ("/swap hi bob", "/CHAT bob hi"),
            ("/swap hi bob and more", "/CHAT bob hi and more"),
            ("/swap $2 bob", "/CHAT bob $2"),
            // What is none is understood as ever.
            ("/CONTACTS", "/CONTACTS"),
            ("//j lab", "//j lab"),
            ("hello", "hello"),
            ("", ""),
        ] {
            assert_eq!(aliases().parse(typed), parse(meant), "{typed}");
        }
    }

    #[test]
    fn without_a_slash_it_is_one_outside_conversations_only() {
        for line in ["j lab", "J lab", " /j lab"] {
            let Some(Ok(Command::Line { text, otherwise, instead, meant: false })) = aliases().parse(line)
            else {
                panic!("{line}");
            };
            assert_eq!((text.as_str(), instead.as_deref()), (line, Some("/JOIN #lab")));
            assert_eq!(Some(*otherwise), parse("/JOIN #lab"));
        }
    }

    #[test]
    fn what_can_be_no_alias_says_why() {
        let mut aliases = aliases();
        for (name, line, why) in [
            ("chat", "WHY bob", "\"chat\" can't be an alias: CHAT is a command"),
            (
                "",
                "WHY bob",
                "\"\" can't be an alias: use up to 32 of the letters a to z, digits, '_' and '-'",
            ),
            (
                "é",
                "WHY bob",
                "\"é\" can't be an alias: use up to 32 of the letters a to z, digits, '_' and '-'",
            ),
            ("x", "CHTA bob", "an alias stands for a command, and \"CHTA\" is none; did you mean CHAT?"),
            ("x", "j lab", "an alias stands for a command, and \"j\" is none"),
            ("x", "//chat bob", "an alias stands for a command, and \"/chat\" is none; did you mean CHAT?"),
            ("x", " chat bob", "an alias stands for a command, and \"chat\" is none; did you mean CHAT?"),
            ("x", "", "an alias stands for a command, and \"\" is none"),
        ] {
            assert_eq!(aliases.add(name, line).unwrap_err(), why);
        }
        assert_eq!(aliases, self::aliases());
    }

    proptest! {
        #[test]
        fn no_word_that_is_typed_is_lost(alias in "([a-z ]|\\$[1-4*$])*", typed in any::<String>()) {
            let line = expand(&alias, &typed);
            for word in typed.split_whitespace() {
                let taken = (1..=4).any(|place| alias.contains(&format!("${place}")));
                prop_assert!(line.contains(word) || taken, "{alias:?} {typed:?} {line:?}");
            }
            let line = expand("CHAT $2 $1", &typed);
            prop_assert!(typed.split_whitespace().all(|word| line.contains(word)), "{typed:?} {line:?}");
        }
    }
}
