//! The list of conversations: users and rooms, in an order that stays, and what is to be seen of each without opening it.

use std::collections::{BTreeMap, BTreeSet};

use crate::client::addressee::Addressee;
use crate::client::event::Prompt;
use crate::client::notice::{ContactLine, OnOff, RoomLine, RoomStanding, UpDown};
use crate::protocol::peer::Via;

/// A conversation that may be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub who: Addressee,
    pub about: About,
    /// Counted up to a bound.
    pub unread: u64,
    /// Something that is unread mentions the user.
    pub mentioned: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// Not told yet.
    Unknown,
    User(User),
    Room(Room),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// Since when there is a link, and which way it takes.
    pub linked: Option<(i64, Option<Via>)>,
    pub presence: Option<OnOff>,
    pub verified: bool,
    pub stranger: bool,
    pub blocked: bool,
    pub requested: bool,
    pub key_changed: bool,
    pub last_seen: Option<i64>,
    pub waiting: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    pub members: u64,
    pub linked: u64,
    pub topic: String,
    pub state: RoomStanding,
    pub waiting: u64,
}

impl From<&ContactLine> for User {
    fn from(line: &ContactLine) -> Self {
        Self {
            linked: line.linked_since.map(|since| (since, line.route)),
            presence: line.presence,
            verified: line.verified,
            stranger: line.stranger,
            blocked: line.blocked,
            requested: line.requested,
            key_changed: line.offered.is_some(),
            last_seen: line.last_seen,
            waiting: line.waiting,
        }
    }
}

impl From<&RoomLine> for Room {
    fn from(line: &RoomLine) -> Self {
        let RoomLine { members, linked, topic, state, waiting, .. } = line.clone();
        Self { members, linked, topic, state, waiting }
    }
}

impl Entry {
    /// What shows whether others are there: a mark of a user, and of a room how many of its members are linked, this user among
    /// them.
    pub fn presence(&self) -> String {
        match &self.about {
            About::Unknown => String::new(),
            About::User(it) if it.blocked => "×".into(),
            About::User(it) if it.stranger => "?".into(),
            About::User(User { linked: Some(_), .. }) => "●".into(),
            About::User(User { presence: Some(OnOff::Online), .. }) => "◐".into(),
            About::User(_) => "○".into(),
            About::Room(it) => match it.state {
                RoomStanding::Joined => format!("{}/{}", it.linked + 1, it.members),
                RoomStanding::Invited => "?".into(),
                RoomStanding::Frozen => "frozen".into(),
                RoomStanding::Left | RoomStanding::Removed => "×".into(),
            },
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct List {
    entries: Vec<Entry>,
}

impl List {
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub fn get(&self, who: &Addressee) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.who == *who)
    }

    pub fn get_mut(&mut self, who: &Addressee) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.who == *who)
    }

    /// The number of a conversation; the first is 1.
    pub fn number(&self, who: &Addressee) -> Option<usize> {
        self.entries.iter().position(|entry| entry.who == *who).map(|index| index + 1)
    }

    /// The conversations and what is unread are these now. New ones stand at the end, so that none gets another number; those that
    /// are gone are returned.
    pub fn update(&mut self, prompt: &Prompt) -> Vec<Addressee> {
        let known = |who: &Addressee| match who {
            Addressee::User(name) => prompt.contacts.binary_search(name).is_ok(),
            Addressee::Room(room) => prompt.rooms.binary_search(room).is_ok(),
        };
        let gone = self.entries.extract_if(.., |entry| !known(&entry.who)).map(|entry| entry.who).collect();
        if self.entries.len() < prompt.contacts.len() + prompt.rooms.len() {
            let here: BTreeSet<_> = self.entries.iter().map(|it| it.who.clone()).collect();
            let users = prompt.contacts.iter().cloned().map(Addressee::User);
            let rooms = prompt.rooms.iter().cloned().map(Addressee::Room);
            let new = users.chain(rooms).filter(|who| !here.contains(who));
            let entry = |who| Entry { who, about: About::Unknown, unread: 0, mentioned: false };
            self.entries.extend(new.map(entry));
        }
        self.set_unread(&prompt.unread);
        gone
    }

    /// How many messages are unread, of each that has any.
    pub fn set_unread(&mut self, unread: &BTreeMap<Addressee, u64>) {
        for entry in &mut self.entries {
            entry.unread =
                if unread.is_empty() { 0 } else { unread.get(&entry.who).copied().unwrap_or_default() };
            entry.mentioned &= entry.unread > 0;
        }
    }

    pub fn set_contacts(&mut self, contacts: &[ContactLine]) {
        for line in contacts {
            self.set_contact(line);
        }
    }

    pub fn set_contact(&mut self, line: &ContactLine) {
        if let Some(entry) = self.get_mut(&Addressee::User(line.peer.clone())) {
            entry.about = About::User(line.into());
        }
    }

    pub fn set_rooms(&mut self, rooms: &[RoomLine]) {
        for line in rooms {
            if let Some(entry) = self.get_mut(&Addressee::Room(line.room.clone())) {
                entry.about = About::Room(line.into());
            }
        }
    }

    pub fn set_linked(&mut self, who: &Addressee, linked: u64, members: u64) {
        if let Some(About::Room(room)) = self.get_mut(who).map(|entry| &mut entry.about) {
            (room.linked, room.members) = (linked, members);
        }
    }

    /// Whether something about a conversation is not told yet.
    pub fn has_unknown(&self) -> bool {
        self.entries.iter().any(|entry| entry.about == About::Unknown)
    }

    pub fn set_presence(&mut self, who: &Addressee, state: OnOff) {
        if let Some(About::User(user)) = self.get_mut(who).map(|entry| &mut entry.about) {
            user.presence = Some(state);
        }
    }

    pub fn set_link(&mut self, who: &Addressee, state: UpDown, route: Option<Via>, now: i64) {
        if let Some(About::User(user)) = self.get_mut(who).map(|entry| &mut entry.about) {
            let since = user.linked.map_or(now, |(since, _)| since);
            user.linked = (state == UpDown::Up).then_some((since, route));
            user.requested &= state == UpDown::Down;
            if state == UpDown::Down {
                user.last_seen = Some(now);
            }
        }
    }

    /// The next conversation after this one in which something is unread: mentions first, muted ones last.
    pub fn next_unread(
        &self,
        after: Option<usize>,
        muted: impl Fn(&Addressee) -> bool,
    ) -> Option<&Addressee> {
        let start = after.map_or(0, |index| index + 1);
        let (before, behind) = self.entries.split_at_checked(start)?;
        let around = || behind.iter().chain(before).filter(|entry| entry.unread > 0);
        let rank = |entry: &&Entry| (!entry.mentioned, muted(&entry.who));
        around().min_by_key(rank).map(|entry| &entry.who)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::notice::tests::name;

    fn prompt(contacts: &[&str], rooms: &[&str], unread: &[(&str, u64)]) -> Prompt {
        Prompt {
            contacts: contacts.iter().map(|it| name(it)).collect(),
            rooms: rooms.iter().map(|it| it.parse().unwrap()).collect(),
            unread: unread.iter().map(|(who, count)| (who.parse().unwrap(), *count)).collect(),
            ..Prompt::default()
        }
    }

    fn names(list: &List) -> Vec<String> {
        list.entries().iter().map(|entry| entry.who.to_string()).collect()
    }

    #[test]
    fn numbers_stay_as_they_are() {
        let mut list = List::default();
        assert!(list.update(&prompt(&["bob", "dave"], &["#lab"], &[])).is_empty());
        assert_eq!(names(&list), ["bob", "dave", "#lab"]);
        list.update(&prompt(&["bob", "carol", "dave"], &["#lab"], &[("bob", 3)]));
        assert_eq!(names(&list), ["bob", "dave", "#lab", "carol"]);
        assert_eq!(list.number(&"#lab".parse().unwrap()), Some(3));
        let gone = list.update(&prompt(&["carol", "dave"], &["#lab"], &[]));
        assert_eq!(
            (gone, names(&list)),
            (vec!["bob".parse().unwrap()], vec!["dave".into(), "#lab".into(), "carol".into()])
        );
    }

    #[test]
    fn what_is_unread_is_found_in_turn_and_mentions_first() {
        let mut list = List::default();
        list.update(&prompt(&["a", "b", "c", "d"], &[], &[("b", 1), ("c", 2), ("d", 1)]));
        let never = |_: &Addressee| false;
        let next = |list: &List, after| list.next_unread(after, never).map(ToString::to_string);
        assert_eq!(next(&list, None).as_deref(), Some("b"));
        assert_eq!(next(&list, Some(1)).as_deref(), Some("c"));
        assert_eq!(next(&list, Some(3)).as_deref(), Some("b"));
        list.get_mut(&"d".parse().unwrap()).unwrap().mentioned = true;
        assert_eq!(next(&list, Some(0)).as_deref(), Some("d"));
        let muted = |who: &Addressee| who.to_string() == "c";
        list.get_mut(&"d".parse().unwrap()).unwrap().mentioned = false;
        assert_eq!(list.next_unread(Some(1), muted).unwrap().to_string(), "d");
        list.update(&prompt(&["a", "b", "c", "d"], &[], &[]));
        assert_eq!(next(&list, None), None);
    }
}
