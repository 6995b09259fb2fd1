//! The configuration file with every key in it, for `--write-config`.

use super::keys::KEYS;
use crate::client::console::screen::colours::Colours;
use crate::client::console::screen::keymap::KeyMap;

const HEAD: &str = "\
# The configuration of peerchat's client. A line that begins with # says
# nothing: take it away to have something else than the default, which stands
# there if there is one. What the command line says counts before this file.
";

const ALIASES: &str = r##"
# Commands of your own. $1, $2 and so on are the words after the name, $* is
# what follows those; words that have no place stand at the end. In a
# conversation type /j lab, elsewhere j lab will do.
#[aliases]
#j = "JOIN #$1"
#lab = "CHAT #lab"
#ok = "CHAT $1 that is fine with me. $*"
"##;

const KEYMAP: &str = r##"
# Keys of the full screen and what each does there; "none" leaves a key to the
# line that is being typed.
#[keys]
"##;

const COLOURS: &str = r##"
# How what stands on the full screen looks: "bold red on black", "#8040ff",
# "214", "dim", "underline", "reverse", "default"; "by-name" is for names.
#[colours]
"##;

const ACCOUNT: &str = r##"
# For another account of yours, which client work starts: what stands here
# counts in place of what stands above, and may be any key but user.
#[account.work]
#port = 7002
#discovery-host = "chat.example.org"
#mute = []
"##;

/// A file that says nothing: what it could say stands behind a `#`, and words for people behind a `#` and a space.
pub fn template() -> String {
    let keys = KEYS.iter().map(|key| {
        let meaning: String = key.meaning.lines().map(|line| format!("# {line}\n")).collect();
        format!("\n{meaning}#{} = {}\n", key.name, key.example)
    });
    let entry = |(name, value): (&str, &str)| {
        let name = if name.contains('+') { format!("{name:?}") } else { name.to_owned() };
        format!("#{name} = {value:?}\n")
    };
    [HEAD.to_owned()]
        .into_iter()
        .chain(keys)
        .chain([ALIASES, KEYMAP].map(str::to_owned))
        .chain(KeyMap::defaults().map(entry))
        .chain([COLOURS.to_owned()])
        .chain(Colours::defaults().map(entry))
        .chain([ACCOUNT.to_owned()])
        .collect()
}
