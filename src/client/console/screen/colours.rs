//! How what stands on the screen looks. Colours carry no meaning of their own.

use ratatui_core::style::{Color, Modifier, Style};

use crate::client::did_you_mean::nearest;

/// What has a look of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// What others say, and what you say.
    Text,
    OwnText,
    /// Your name before what you say; others' names differ by the name unless they are given one look.
    OwnName,
    Names,
    Time,
    /// How far a message of yours has come.
    State,
    /// The lines between days, and before what is new.
    Date,
    New,
    /// A message, or a conversation, in which you are mentioned.
    Mention,
    Header,
    /// The list of conversations: usual ones, the one that is open, and those with something unread.
    List,
    Current,
    Unread,
    Muted,
    Border,
    /// The client's own words, and its errors.
    Notice,
    Error,
    Status,
    Prompt,
    Hint,
}

const ROLES: [(&str, Role, &str); 20] = [
    ("text", Role::Text, "default"),
    ("own-text", Role::OwnText, "default"),
    ("own-name", Role::OwnName, "bold"),
    ("names", Role::Names, "by-name"),
    ("time", Role::Time, "dim"),
    ("state", Role::State, "dim"),
    ("date", Role::Date, "dim"),
    ("new", Role::New, "yellow"),
    ("mention", Role::Mention, "bold magenta"),
    ("header", Role::Header, "bold"),
    ("list", Role::List, "default"),
    ("current", Role::Current, "reverse"),
    ("unread", Role::Unread, "bold cyan"),
    ("muted", Role::Muted, "dim"),
    ("border", Role::Border, "dim"),
    ("notice", Role::Notice, "default"),
    ("error", Role::Error, "bold red"),
    ("status", Role::Status, "dim"),
    ("prompt", Role::Prompt, "bold"),
    ("hint", Role::Hint, "dim"),
];

/// The look that differs by the name.
const BY_NAME: &str = "by-name";
/// Readable on black and on white, and not that of errors.
const NAME_COLOURS: [Color; 9] = [
    Color::Green,
    Color::Yellow,
    Color::Blue,
    Color::Magenta,
    Color::Cyan,
    Color::LightGreen,
    Color::LightBlue,
    Color::LightMagenta,
    Color::LightCyan,
];

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Colours {
    /// In the order of the roles; `None` where it differs by the name.
    looks: Vec<Option<Style>>,
    plain: bool,
}

impl Default for Colours {
    fn default() -> Self {
        let looks = ROLES.iter().map(|(_, _, look)| look_of(look).unwrap_or_default());
        Self { looks: looks.collect(), plain: false }
    }
}

impl Colours {
    /// Gives a role a look: words such as `bold red on black`, `#8040ff`, `214`, `dim`, `underline`, `reverse` or `default`, and for
    /// `names` also `by-name`.
    ///
    /// # Errors
    /// There is no such role or look; in words for the user, with the nearest known one.
    pub fn set(&mut self, role: &str, look: &str) -> Result<(), String> {
        let Some(index) = ROLES.iter().position(|(name, ..)| *name == role) else {
            let meant = nearest(role, Self::roles());
            let meant = meant.map_or_else(String::new, |meant| format!("; did you mean {meant:?}?"));
            return Err(format!("{role:?} has no colour here{meant}"));
        };
        let look = look_of(look)?;
        if look.is_none() && role != "names" {
            return Err(format!("{BY_NAME:?} is for \"names\" only"));
        }
        self.looks.get_mut(index).into_iter().for_each(|it| *it = look);
        Ok(())
    }

    /// Without any colour, as `NO_COLOR` wants it.
    pub fn without(self) -> Self {
        Self { plain: true, ..self }
    }

    pub fn of(&self, role: Role) -> Style {
        let index = ROLES.iter().position(|(_, it, _)| *it == role);
        let style = index.and_then(|index| self.looks.get(index)).copied().flatten().unwrap_or_default();
        self.allowed(style)
    }

    /// How a user's name looks, always the same.
    pub fn name(&self, name: &str) -> Style {
        let index = ROLES.iter().position(|(_, it, _)| *it == Role::Names);
        if let Some(Some(style)) = index.and_then(|index| self.looks.get(index)) {
            return self.allowed(*style);
        }
        // FNV-1a, which stays the same for ever.
        let hash = name
            .bytes()
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        let at = usize::try_from(hash).unwrap_or_default() % NAME_COLOURS.len();
        let colour = NAME_COLOURS.get(at).copied().unwrap_or(Color::Green);
        self.allowed(Style::new().fg(colour).add_modifier(Modifier::BOLD))
    }

    fn allowed(&self, style: Style) -> Style {
        if self.plain { Style { fg: None, bg: None, ..style } } else { style }
    }

    /// The names of all roles.
    pub fn roles() -> impl Iterator<Item = &'static str> {
        ROLES.iter().map(|(name, ..)| *name)
    }

    /// The roles and how each looks by default.
    pub fn defaults() -> impl Iterator<Item = (&'static str, &'static str)> {
        ROLES.iter().map(|(name, _, look)| (*name, *look))
    }
}

const COLOURS: [&str; 17] = [
    "default",
    "black",
    "red",
    "green",
    "yellow",
    "blue",
    "magenta",
    "cyan",
    "white",
    "gray",
    "light-red",
    "light-green",
    "light-yellow",
    "light-blue",
    "light-magenta",
    "light-cyan",
    "dark-gray",
];
const MODIFIERS: [(&str, Modifier); 5] = [
    ("bold", Modifier::BOLD),
    ("dim", Modifier::DIM),
    ("italic", Modifier::ITALIC),
    ("underline", Modifier::UNDERLINED),
    ("reverse", Modifier::REVERSED),
];

/// What the words mean; `None` for `by-name`.
fn look_of(words: &str) -> Result<Option<Style>, String> {
    if words == BY_NAME {
        return Ok(None);
    }
    let (mut style, mut behind, mut any) = (Style::new(), false, false);
    for word in words.split_whitespace() {
        any = true;
        if let Some((_, modifier)) = MODIFIERS.iter().find(|(name, _)| *name == word) {
            style = style.add_modifier(*modifier);
        } else if word == "on" {
            behind = true;
        } else {
            let colour = colour(word)?;
            style = if std::mem::take(&mut behind) { style.bg(colour) } else { style.fg(colour) };
        }
    }
    if any && !behind { Ok(Some(style)) } else { Err(format!("{words:?} names no colour")) }
}

fn colour(word: &str) -> Result<Color, String> {
    if word == "default" {
        return Ok(Color::Reset);
    }
    let is_code = word.starts_with('#') || word.bytes().all(|byte| byte.is_ascii_digit());
    let known = (is_code || COLOURS.contains(&word)).then(|| word.parse().ok()).flatten();
    known.ok_or_else(|| {
        let names = COLOURS.into_iter().chain(MODIFIERS.iter().map(|(name, _)| *name));
        let meant =
            nearest(word, names).map_or_else(String::new, |meant| format!("; did you mean {meant:?}?"));
        format!("{word:?} is no colour{meant}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_has_its_place_and_every_default_is_a_look() {
        for (index, (name, role, look)) in ROLES.iter().enumerate() {
            assert_eq!(*role as usize, index, "{name}");
            Colours::default().set(name, look).unwrap();
        }
        for name in COLOURS {
            look_of(name).unwrap();
        }
    }

    #[test]
    fn looks_are_words() {
        let mut colours = Colours::default();
        colours.set("time", "bold light-red on #102030").unwrap();
        let style = Style::new().fg(Color::LightRed).bg(Color::Rgb(16, 32, 48)).add_modifier(Modifier::BOLD);
        assert_eq!(colours.of(Role::Time), style);
        colours.set("time", "214").unwrap();
        assert_eq!(colours.of(Role::Time), Style::new().fg(Color::Indexed(214)));
        assert_ne!(colours.name("alice"), colours.name("carol"));
        colours.set("names", "cyan").unwrap();
        assert_eq!(colours.name("alice"), colours.name("carol"));
        for (role, look, part) in [
            ("tiem", "red", "did you mean \"time\"?"),
            ("time", "rde", "did you mean \"red\"?"),
            ("time", "", "names no colour"),
            ("time", "red on", "names no colour"),
            ("time", "by-name", "for \"names\" only"),
            ("time", "300", "is no colour"),
            ("time", "#12", "is no colour"),
        ] {
            let error = colours.set(role, look).unwrap_err();
            assert!(error.contains(part), "{role} {look}: {error}");
        }
    }

    #[test]
    fn without_colours_only_the_rest_of_a_look_stays() {
        let mut colours = Colours::default().without();
        colours.set("error", "bold red on blue").unwrap();
        assert_eq!(colours.of(Role::Error), Style::new().add_modifier(Modifier::BOLD));
        assert_eq!(colours.name("bob"), Style::new().add_modifier(Modifier::BOLD));
    }
}
