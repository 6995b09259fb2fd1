//! Which key does what. What stands here goes before the line editor, whose keys are those of readline.

use std::collections::BTreeMap;

use crate::client::did_you_mean::nearest;
use crate::terminal::Key;

/// What a key does beyond the line that is being typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Open the conversation with this number; 0 is the client's own.
    Conversation(u8),
    NextConversation,
    PreviousConversation,
    /// Open the next conversation in which something is unread, mentions first.
    NextUnread,
    /// Back to the conversation that was open before.
    LastConversation,
    ScrollUp,
    ScrollDown,
    ScrollUpSome,
    ScrollDownSome,
    ScrollToOldest,
    ScrollToNewest,
    ScrollToUnread,
    MarkRead,
    Dismiss,
    Redraw,
    ToggleList,
}

/// The actions and their names, but for the conversations with a number.
const NAMES: [(&str, Action); 15] = [
    ("next-conversation", Action::NextConversation),
    ("previous-conversation", Action::PreviousConversation),
    ("next-unread", Action::NextUnread),
    ("last-conversation", Action::LastConversation),
    ("scroll-up", Action::ScrollUp),
    ("scroll-down", Action::ScrollDown),
    ("scroll-up-some", Action::ScrollUpSome),
    ("scroll-down-some", Action::ScrollDownSome),
    ("scroll-to-oldest", Action::ScrollToOldest),
    ("scroll-to-newest", Action::ScrollToNewest),
    ("scroll-to-unread", Action::ScrollToUnread),
    ("mark-read", Action::MarkRead),
    ("dismiss", Action::Dismiss),
    ("redraw", Action::Redraw),
    ("toggle-list", Action::ToggleList),
];
const CONVERSATION: &str = "conversation-";
/// Gives a key back to the line editor.
const NONE: &str = "none";

const DEFAULTS: [(&str, &str); 17] = [
    ("ctrl+n", "next-conversation"),
    ("ctrl+p", "previous-conversation"),
    ("alt+a", "next-unread"),
    ("alt+o", "last-conversation"),
    ("pageup", "scroll-up"),
    ("pagedown", "scroll-down"),
    ("wheelup", "scroll-up-some"),
    ("wheeldown", "scroll-down-some"),
    ("alt+up", "scroll-up-some"),
    ("alt+down", "scroll-down-some"),
    ("ctrl+home", "scroll-to-oldest"),
    ("ctrl+end", "scroll-to-newest"),
    ("alt+j", "scroll-to-unread"),
    ("alt+r", "mark-read"),
    ("escape", "dismiss"),
    ("ctrl+l", "redraw"),
    ("f2", "toggle-list"),
];

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyMap(BTreeMap<Key, Action>);

impl Default for KeyMap {
    fn default() -> Self {
        let mut map = Self(BTreeMap::new());
        for (chord, action) in DEFAULTS {
            let bound = map.bind(chord, action);
            debug_assert!(bound.is_ok(), "{chord}: {bound:?}");
        }
        for number in 0..=9 {
            map.0.insert(Key::Alt(char::from(b'0' + number)), Action::Conversation(number));
        }
        map
    }
}

impl KeyMap {
    /// Has a key, such as `alt+a`, `ctrl+n`, `f5` or `pageup`, do something. The action `none` leaves it to the line editor.
    ///
    /// # Errors
    /// There is no such key or action, or the key types something; in words for the user, with the nearest known one.
    pub fn bind(&mut self, chord: &str, action: &str) -> Result<(), String> {
        let key = key(chord)?;
        if action == NONE {
            self.0.remove(&key);
            return Ok(());
        }
        self.0.insert(key, named(action)?);
        Ok(())
    }

    /// What a key does; `None` for one that is the line editor's.
    pub fn action(&self, key: &Key) -> Option<Action> {
        self.0.get(key).copied()
    }

    /// What `HELP` says of the keys, an action a line; of those that open a conversation, the first.
    pub fn help(&self) -> impl Iterator<Item = String> {
        let numbered = [0, 1].into_iter().filter_map(|number| {
            Some((*CONVERSATIONS.get(usize::from(number))?, Action::Conversation(number)))
        });
        NAMES.into_iter().chain(numbered).filter_map(|(name, action)| {
            let keys = self.0.iter().filter(|(_, bound)| **bound == action);
            let keys: Vec<_> = keys.filter_map(|(key, _)| chord(key)).collect();
            (!keys.is_empty()).then(|| format!("  {:<24} {}", keys.join(", "), name.replace('-', " ")))
        })
    }

    /// The names of all actions.
    pub fn actions() -> impl Iterator<Item = &'static str> {
        let numbered = (0..10).filter_map(|number| CONVERSATIONS.get(number).copied());
        NAMES.iter().map(|(name, _)| *name).chain(numbered).chain([NONE])
    }

    /// The keys as they are by default, and what each does; of those that open a conversation, the first.
    pub fn defaults() -> impl Iterator<Item = (&'static str, &'static str)> {
        DEFAULTS.into_iter().chain([("alt+1", "conversation-1")])
    }
}

const CONVERSATIONS: [&str; 10] = [
    "conversation-0",
    "conversation-1",
    "conversation-2",
    "conversation-3",
    "conversation-4",
    "conversation-5",
    "conversation-6",
    "conversation-7",
    "conversation-8",
    "conversation-9",
];

fn named(name: &str) -> Result<Action, String> {
    let digit = name.strip_prefix(CONVERSATION).and_then(|digit| digit.parse().ok());
    if let Some(number) = digit.filter(|number| *number < 10) {
        return Ok(Action::Conversation(number));
    }
    let known = NAMES.iter().find(|(known, _)| *known == name).map(|(_, action)| *action);
    known.ok_or_else(|| {
        let meant = nearest(name, KeyMap::actions()).unwrap_or("none");
        format!("{name:?} is no action; did you mean {meant:?}?")
    })
}

/// Keys with a name, and what they are alone, with Ctrl and with Alt.
type Named = (&'static str, Option<Key>, Option<Key>, Option<Key>);
const KEYS: [Named; 17] = [
    ("escape", Some(Key::Escape), None, None),
    ("tab", Some(Key::Tab), None, None),
    ("enter", None, None, Some(Key::AltEnter)),
    ("backspace", Some(Key::Backspace), None, Some(Key::AltBackspace)),
    ("delete", Some(Key::Delete), None, None),
    ("left", Some(Key::Left), Some(Key::WordLeft), Some(Key::WordLeft)),
    ("right", Some(Key::Right), Some(Key::WordRight), Some(Key::WordRight)),
    ("up", Some(Key::Up), None, Some(Key::AltUp)),
    ("down", Some(Key::Down), None, Some(Key::AltDown)),
    ("home", Some(Key::Home), Some(Key::CtrlHome), Some(Key::CtrlHome)),
    ("end", Some(Key::End), Some(Key::CtrlEnd), Some(Key::CtrlEnd)),
    ("pageup", Some(Key::PageUp), None, None),
    ("pagedown", Some(Key::PageDown), None, None),
    ("wheelup", Some(Key::WheelUp), None, None),
    ("wheeldown", Some(Key::WheelDown), None, None),
    ("space", None, None, Some(Key::Alt(' '))),
    ("plus", None, None, Some(Key::Alt('+'))),
];

/// What names a key.
fn chord(key: &Key) -> Option<String> {
    let named = KEYS.iter().find_map(|(name, plain, with_ctrl, with_alt)| {
        let ways = [("", plain), ("ctrl+", with_ctrl), ("alt+", with_alt)];
        let (modifier, _) = ways.into_iter().find(|(_, it)| it.as_ref() == Some(key))?;
        Some(format!("{modifier}{name}"))
    });
    named.or_else(|| match key {
        Key::Ctrl(c) => Some(format!("ctrl+{c}")),
        Key::Alt(c) => Some(format!("alt+{c}")),
        Key::Function(number) => Some(format!("f{number}")),
        _ => None,
    })
}

/// The key that a chord names.
fn key(chord: &str) -> Result<Key, String> {
    let (modifier, name) = match chord.rsplit_once('+') {
        Some((modifier, name)) => (Some(modifier), name),
        None => (None, chord),
    };
    let (ctrl, alt) = match modifier {
        None => (false, false),
        Some("ctrl") => (true, false),
        Some("alt") => (false, true),
        Some(other) => {
            return Err(format!("{other:?} is no modifier; a key has \"ctrl+\" or \"alt+\" before it"));
        }
    };
    let unknown = || {
        let meant = nearest(name, KEYS.iter().map(|(known, ..)| *known));
        let meant = KEYS.iter().find(|(known, ..)| Some(*known) == meant);
        let meant = meant.map(|(known, _, with_ctrl, with_alt)| {
            let modifier = [("ctrl+", ctrl && with_ctrl.is_some()), ("alt+", alt && with_alt.is_some())];
            let modifier =
                modifier.into_iter().find(|(_, holds)| *holds).map_or("", |(modifier, _)| modifier);
            format!("{modifier}{known}")
        });
        let meant = meant.map_or_else(String::new, |meant| format!("; did you mean {meant:?}?"));
        format!("{chord:?} is no key that a terminal tells{meant}")
    };
    if let Some((_, plain, with_ctrl, with_alt)) = KEYS.iter().find(|(known, ..)| *known == name) {
        let key = if ctrl {
            with_ctrl
        } else if alt {
            with_alt
        } else {
            plain
        };
        return key.clone().ok_or_else(unknown);
    }
    let number = name.strip_prefix('f').and_then(|number| number.parse::<u8>().ok());
    if let Some(number) = number.filter(|number| (1..=12).contains(number) && modifier.is_none()) {
        return Ok(Key::Function(number));
    }
    let mut chars = name.chars();
    let (Some(c), None) = (chars.next(), chars.next()) else {
        return Err(unknown());
    };
    match c {
        _ if modifier.is_none() => Err(format!("{chord:?} is typed; put \"alt+\" or \"ctrl+\" before it")),
        'i' | 'j' | 'm' | 'h' if ctrl => {
            Err(format!("{chord:?} is Tab, Enter or Backspace to a terminal; take another key"))
        }
        'c' | 'd' | 'z' if ctrl => Err(format!("{chord:?} leaves or stops the client; take another key")),
        'a'..='z' | '@' | '\\' | ']' | '^' | '_' if ctrl => Ok(Key::Ctrl(c)),
        '!'..='~' if alt => Ok(Key::Alt(c)),
        _ => Err(unknown()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_named_as_they_are_pressed() {
        for (chord, key) in [
            ("alt+1", Key::Alt('1')),
            ("alt+A", Key::Alt('A')),
            ("alt+plus", Key::Alt('+')),
            ("ctrl+n", Key::Ctrl('n')),
            ("ctrl+_", Key::Ctrl('_')),
            ("pageup", Key::PageUp),
            ("f12", Key::Function(12)),
            ("alt+enter", Key::AltEnter),
            ("ctrl+left", Key::WordLeft),
            ("escape", Key::Escape),
        ] {
            assert_eq!(super::key(chord), Ok(key), "{chord}");
        }
        for (chord, part) in [
            ("a", "is typed"),
            ("pgup", "no key"),
            ("pageupp", "did you mean \"pageup\"?"),
            ("ctrl+m", "Enter"),
            ("ctrl+c", "leaves"),
            ("f13", "no key"),
            ("shift+a", "no modifier"),
            ("ctrl+pageup", "no key"),
            ("alt+é", "no key"),
            ("", "no key"),
            ("+", "no modifier"),
        ] {
            let error = super::key(chord).unwrap_err();
            assert!(error.contains(part), "{chord}: {error}");
        }
    }

    #[test]
    fn a_key_gets_another_action_or_none() {
        let mut map = KeyMap::default();
        assert_eq!(map.action(&Key::Alt('7')), Some(Action::Conversation(7)));
        assert_eq!(map.action(&Key::Ctrl('n')), Some(Action::NextConversation));
        assert_eq!(map.action(&Key::Char('a')), None);
        map.bind("ctrl+n", "none").unwrap();
        map.bind("f5", "next-conversation").unwrap();
        map.bind("alt+x", "conversation-3").unwrap();
        assert_eq!(map.action(&Key::Ctrl('n')), None);
        assert_eq!(map.action(&Key::Function(5)), Some(Action::NextConversation));
        assert_eq!(map.action(&Key::Alt('x')), Some(Action::Conversation(3)));
        let error = map.bind("f5", "next-conversatoin").unwrap_err();
        assert!(error.contains("did you mean \"next-conversation\"?"), "{error}");
        assert!(map.bind("f5", "conversation-10").unwrap_err().contains("did you mean"));
    }

    #[test]
    fn all_names_are_understood() {
        for name in KeyMap::actions() {
            KeyMap::default().bind("f1", name).unwrap();
        }
        for (chord, action) in KeyMap::defaults() {
            assert_eq!(
                KeyMap::default().action(&super::key(chord).unwrap()),
                Some(named(action).unwrap()),
                "{chord}"
            );
        }
    }

    #[test]
    fn help_tells_the_keys_as_they_are() {
        let mut map = KeyMap::default();
        map.bind("ctrl+n", "none").unwrap();
        map.bind("f3", "toggle-list").unwrap();
        let help: Vec<_> = map.help().collect();
        let has = |keys: &str, what: &str| help.contains(&format!("  {keys:<24} {what}"));
        assert!(has("alt+a", "next unread") && has("pageup", "scroll up") && has("alt+1", "conversation 1"));
        assert!(has("f2, f3", "toggle list"), "{help:#?}");
        assert!(!help.iter().any(|line| line.contains("ctrl+n")));
        for (chord, _) in KeyMap::defaults() {
            assert_eq!(super::chord(&key(chord).unwrap()).as_deref(), Some(chord));
        }
    }

    #[test]
    fn a_key_that_is_meant_is_named_with_its_modifier() {
        assert!(key("alt+rihgt").unwrap_err().ends_with("did you mean \"alt+right\"?"));
        assert!(key("ctrl+pagup").unwrap_err().ends_with("did you mean \"pageup\"?"));
    }
}
