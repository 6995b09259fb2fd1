//! What prompts show: each is told when that has changed, and only then.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::super::addressee::RoomLabel;
use super::super::super::event::{BoxId, OWN, Prompt};
use super::super::super::notice::Work;
use super::super::roster::Roster;
use super::Conversations;
use crate::protocol::Name;
use crate::undo::Transactional;

/// See the module.
#[derive(Debug)]
pub struct Prompts {
    names: Arc<[Name]>,
    rooms: Arc<[RoomLabel]>,
    /// Contacts or rooms have been added or removed since `names` and `rooms` were made.
    stale: bool,
    /// The front ends that have a prompt.
    watched: BTreeMap<BoxId, Watched>,
}

#[derive(Debug, Clone)]
struct Watched {
    waiting: u64,
    work: Option<Work>,
    changed: bool,
    /// The names have changed, too.
    names: bool,
}

/// Everything is new.
const NEW: Watched = Watched { waiting: 0, work: None, changed: true, names: true };

impl Default for Prompts {
    /// The program's own front end may have one.
    fn default() -> Self {
        let watched = [(OWN, NEW)].into();
        Self { names: Arc::default(), rooms: Arc::default(), stale: true, watched }
    }
}

impl Prompts {
    /// A front end has a prompt from now on, and is to be told all of it.
    pub fn watch(&mut self, front_end: BoxId) {
        self.watched.insert(front_end, NEW);
    }

    pub fn detach(&mut self, front_end: BoxId) {
        self.watched.remove(&front_end);
    }

    pub fn names_changed(&mut self) {
        self.stale = true;
    }

    pub fn changed(&mut self, front_end: BoxId) {
        self.watched.get_mut(&front_end).into_iter().for_each(|it| it.changed = true);
    }

    pub fn all_changed(&mut self) {
        self.watched.values_mut().for_each(|it| it.changed = true);
    }
}

impl Transactional for Prompts {
    fn commit(&mut self) {}

    /// At worst the same is shown once more.
    fn rollback(&mut self) {
        self.stale = true;
        self.watched.values_mut().for_each(|it| *it = NEW);
    }
}

impl Conversations {
    /// A front end has a prompt from now on.
    pub fn watch_prompt(&mut self, front_end: BoxId) {
        self.prompts.watch(front_end);
    }

    /// The front ends that have a prompt.
    pub fn with_prompts(&self) -> impl Iterator<Item = BoxId> {
        self.prompts.watched.keys().copied()
    }

    /// What the prompt of a front end is to show, and whether its names have changed, if anything has. `waiting` is how many
    /// messages of its conversation wait here, because there is no link; `work` is what goes on.
    pub fn prompt(
        &mut self,
        front_end: BoxId,
        roster: &Roster,
        waiting: u64,
        work: Option<&Work>,
    ) -> Option<(Prompt, bool)> {
        let conversation = self.with(front_end, roster);
        let prompts = &mut self.prompts;
        if std::mem::take(&mut prompts.stale) {
            let mut names: Vec<Name> = roster.known().map(|(_, person)| person.name.clone()).collect();
            names.sort_unstable();
            prompts.names = names.into();
            let mut rooms: Vec<RoomLabel> = self.rooms.values().map(|room| room.label.clone()).collect();
            rooms.sort_unstable();
            prompts.rooms = rooms.into();
            prompts.watched.values_mut().for_each(|it| (it.changed, it.names) = (true, true));
        }
        let watched = prompts.watched.get_mut(&front_end)?;
        watched.changed |= std::mem::replace(&mut watched.waiting, waiting) != waiting;
        watched.changed |= watched.work.as_ref() != work;
        watched.work = work.cloned();
        if !std::mem::take(&mut watched.changed) {
            return None;
        }
        let names = std::mem::take(&mut watched.names);
        let prompt = Prompt {
            conversation,
            waiting,
            work: work.cloned(),
            unread: self.unread.clone(),
            contacts: Arc::clone(&prompts.names),
            rooms: Arc::clone(&prompts.rooms),
        };
        Some((prompt, names))
    }
}
