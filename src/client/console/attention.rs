//! What calls for the user's attention, by a bell or a command, and what is shown as unread where the user types.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use unicode_segmentation::UnicodeSegmentation;

use crate::client::addressee::Addressee;
use crate::client::event::Prompt;
use crate::client::notice::{Body, Notice};
use crate::protocol::Name;

/// What the user wants to be called for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    muted: BTreeSet<Addressee>,
    /// In lower case; a message that holds one as whole words calls.
    highlights: Vec<String>,
    /// The user's own name, which calls in rooms.
    own: String,
}

impl Rules {
    pub fn new(own: &Name, muted: impl IntoIterator<Item = Addressee>, highlights: &[String]) -> Self {
        let highlights = highlights.iter().map(|word| word.to_lowercase()).collect();
        Self { muted: muted.into_iter().collect(), highlights, own: own.to_string() }
    }

    pub fn is_muted(&self, conversation: &Addressee) -> bool {
        self.muted.contains(conversation)
    }

    fn is_highlight(&self, text: &Body, in_room: bool) -> bool {
        matches!(text, Body::Text(text) if self.mentions(text, in_room))
    }

    /// Whether a text holds a word that calls wherever it stands.
    pub fn mentions(&self, text: &str, in_room: bool) -> bool {
        let own = Some(&self.own).filter(|own| in_room && !own.is_empty());
        let mut words = self.highlights.iter().chain(own).peekable();
        if words.peek().is_none() {
            return false;
        }
        let text = text.to_lowercase();
        let boundaries = LazyCell::new(|| -> Vec<usize> {
            text.split_word_bound_indices().map(|(at, _)| at).chain([text.len()]).collect()
        });
        let is_boundary = |at| boundaries.binary_search(&at).is_ok();
        words.any(|word| {
            let mut found = text.match_indices(word.as_str());
            found.any(|(at, word)| is_boundary(at) && is_boundary(at + word.len()))
        })
    }
}

/// Where a message was said.
fn conversation(notice: &Notice) -> Option<Addressee> {
    match notice {
        Notice::Message { room: Some(room), .. } => Some(room.clone().into()),
        Notice::Message { from, .. } => Some(from.clone().into()),
        _ => None,
    }
}

/// Strangers call once between them: they may be many, and each may be new.
#[derive(Debug, Default)]
pub struct Attention {
    rules: Arc<Rules>,
    stranger_called: bool,
}

impl Attention {
    pub fn new(rules: Arc<Rules>) -> Self {
        Self { rules, stranger_called: false }
    }

    /// Whether the notice calls: a message that was not shown before, an invitation, or a first word of strangers. What is
    /// muted calls by a highlight alone.
    pub fn calls(&mut self, notice: &Notice) -> bool {
        match notice {
            Notice::Message { replayed: false, stranger: false, text, room, .. } => {
                let muted = conversation(notice).is_some_and(|it| self.rules.is_muted(&it));
                !muted || self.rules.is_highlight(text, room.is_some())
            }
            Notice::Invite { stranger: false, from, .. } => !self.rules.is_muted(&from.clone().into()),
            Notice::Message { replayed: false, stranger: true, from, .. }
            | Notice::Invite { stranger: true, from, .. }
            | Notice::Request { stranger: true, from, .. } => {
                !self.rules.is_muted(&from.clone().into())
                    && !std::mem::replace(&mut self.stranger_called, true)
            }
            _ => false,
        }
    }
}

/// Which of the unread messages are shown as such: of what is muted only those of a conversation with a highlight.
#[derive(Debug, Default)]
pub struct Unread {
    rules: Arc<Rules>,
    /// The muted conversations in which a highlight is not read yet, and whether it has been counted as unread.
    called: BTreeMap<Addressee, bool>,
}

impl Unread {
    pub fn new(rules: Arc<Rules>) -> Self {
        Self { rules, called: BTreeMap::new() }
    }

    /// Something is told while the prompt is this.
    pub fn told(&mut self, notice: &Notice, prompt: &Prompt) {
        if let Notice::Message { text, room, .. } = notice
            && let Some(conversation) = conversation(notice)
            && self.rules.is_muted(&conversation)
            && prompt.conversation.as_ref() != Some(&conversation)
            && self.rules.is_highlight(text, room.is_some())
        {
            self.called.insert(conversation, false);
        }
    }

    /// The prompt is this from now on.
    pub fn prompt(&mut self, prompt: &Prompt) {
        self.called.retain(|conversation, counted| {
            // The count may come after the message.
            let read = *counted && !prompt.unread.contains_key(conversation);
            *counted |= prompt.unread.contains_key(conversation);
            !read
        });
    }

    /// The unread messages that are shown, by conversation.
    pub fn shown<'p>(&self, prompt: &'p Prompt) -> impl Iterator<Item = (&'p Addressee, u64)> {
        let shows = |it: &Addressee| !self.rules.is_muted(it) || self.called.contains_key(it);
        prompt.unread.iter().filter(move |(it, _)| shows(it)).map(|(it, count)| (it, *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::notice::tests::{in_room, message, name};

    fn to(text: &str) -> Addressee {
        text.parse().unwrap()
    }

    fn rules(muted: &[&str], words: &[&str]) -> Arc<Rules> {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        Arc::new(Rules::new(&name("alice"), muted.iter().map(|it| to(it)), &words))
    }

    /// Whether what bob says there calls.
    fn calls(rules: &Arc<Rules>, text: &str, room: Option<&str>) -> bool {
        let said = message(text, false);
        let notice = room.map_or(said.clone(), |room| in_room(said, room));
        Attention::new(Arc::clone(rules)).calls(&notice)
    }

    #[test]
    fn what_is_muted_calls_by_a_highlight_alone() {
        let rules = rules(&["bob", "#lab"], &["Deploy", "c++", "build is red", "東京"]);
        for (text, in_room, direct) in [
            ("hi", false, false),
            ("alice: hi", true, false),
            ("thanks, ALICE!", true, false),
            ("alicent", false, false),
            ("alice.b", false, false),
            ("alice_b", false, false),
            ("deploy now", true, true),
            ("redeploy", false, false),
            ("redeploy and deploy", true, true),
            ("DEPLOYED", false, false),
            ("(deploy)", true, true),
            ("I like C++.", true, true),
            ("the build  is red", false, false),
            ("the build is red again", true, true),
            ("明日は東京に行く", true, true),
            ("", false, false),
        ] {
            assert_eq!(calls(&rules, text, Some("#lab")), in_room, "{text}");
            assert_eq!(calls(&rules, text, None), direct, "{text}");
            assert!(calls(&rules, text, Some("#tea")), "{text}");
        }
    }

    #[test]
    fn a_muted_stranger_does_not_use_up_the_one_call() {
        let said = |from: &str| match message("alice deploy", false) {
            Notice::Message { id, text, sent, received, replayed, room, room_id, unknown, .. } => {
                let from = name(from);
                Notice::Message {
                    id,
                    from,
                    text,
                    sent,
                    received,
                    replayed,
                    room,
                    room_id,
                    unknown,
                    stranger: true,
                }
            }
            other => other,
        };
        let mut attention = Attention::new(rules(&["mallory"], &["deploy"]));
        assert!(!attention.calls(&said("mallory")));
        assert!(attention.calls(&said("carol")));
        assert!(!attention.calls(&said("dave")), "a highlight gives strangers no more than one call");
    }

    fn prompt(conversation: Option<&str>, unread: &[(&str, u64)]) -> Prompt {
        let unread = unread.iter().map(|(who, count)| (to(who), *count)).collect();
        Prompt { conversation: conversation.map(to), unread, ..Prompt::default() }
    }

    fn shown(unread: &Unread, prompt: &Prompt) -> Vec<String> {
        unread.shown(prompt).map(|(who, count)| format!("{who} {count}")).collect()
    }

    #[test]
    fn the_count_of_what_is_muted_is_not_shown_until_a_highlight_comes() {
        let mut unread = Unread::new(rules(&["#lab"], &[]));
        let highlight = in_room(message("alice?", false), "#lab");
        let (none, some) = (prompt(None, &[("bob", 1)]), prompt(None, &[("#lab", 2), ("bob", 1)]));
        unread.told(&in_room(message("hi", false), "#lab"), &none);
        unread.prompt(&some);
        assert_eq!(shown(&unread, &some), ["bob 1"]);
        // The message comes first, and a prompt of before once more.
        for _ in 0..2 {
            unread.told(&highlight, &none);
            unread.prompt(&none);
            unread.prompt(&some);
            assert_eq!(shown(&unread, &some), ["bob 1", "#lab 2"]);
            // It is read.
            unread.prompt(&none);
            unread.prompt(&some);
            assert_eq!(shown(&unread, &some), ["bob 1"]);
        }
        // In the conversation itself it is seen at once.
        unread.told(&highlight, &prompt(Some("#lab"), &[]));
        unread.prompt(&some);
        assert_eq!(shown(&unread, &some), ["bob 1"]);
    }
}
