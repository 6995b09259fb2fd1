//! How far long work has come: messages that come in by the thousand, and the index that a search waits for. Prompts show
//! it, after a second and not too often.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::event::BoxId;
use super::super::notice::Work;
use super::conversations::Conversations;
use super::rooms::Rooms;
use super::roster::Roster;
use super::search::Search;
use crate::store::journal::ConversationId;
use crate::time::{Instant, Now};

/// How many messages of a conversation are worth a word while they come in.
const MANY: u64 = 500;
/// How long it may take without a word.
const SILENCE: Duration = Duration::from_secs(1);
/// How long nothing must come in for it to be over.
const QUIET: Duration = Duration::from_secs(2);
/// How often it is told anew.
const EVERY: Duration = Duration::from_millis(500);

/// See the module.
#[derive(Debug, Default)]
pub struct Progress {
    arriving: BTreeMap<ConversationId, Arrival>,
    /// A message has come in since it was last told.
    changed: bool,
    told_at: Instant,
    /// What the prompts show: of what comes in all, of a search that of its front end.
    receiving: Option<Work>,
    searching: Option<(BoxId, Work)>,
}

/// Messages of one conversation, without a pause between them.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    begun: Instant,
    last: Instant,
    count: u64,
}

impl Progress {
    /// A message has come in.
    pub fn received(&mut self, now: Now, id: ConversationId) {
        let now = now.mono;
        let new = Arrival { begun: now, last: now, count: 0 };
        let arrival = self.arriving.entry(id).or_insert(new);
        if now.since(arrival.last) >= QUIET {
            *arrival = new;
        }
        (arrival.last, arrival.count) = (now, arrival.count + 1);
        self.changed = true;
    }

    /// Looks how far it is, if it is time.
    pub fn tick(
        &mut self,
        now: Now,
        search: &Search,
        rooms: &Rooms,
        conversations: &Conversations,
        roster: &Roster,
    ) {
        let shown = self.receiving.is_some() || self.searching.is_some();
        let works = self.changed || search.is_waiting() || shown;
        if !works || now.mono.since(self.told_at) < EVERY {
            return;
        }
        (self.told_at, self.changed) = (now.mono, false);
        self.arriving.retain(|_, it| now.mono.since(it.last) < QUIET);
        self.receiving = self.longest().and_then(|(id, count)| match id {
            ConversationId::User(contact) => {
                let from = roster.name(contact)?.clone().into();
                Some(Work::Receiving { from, count, of: None })
            }
            ConversationId::Room(room) => {
                let from = conversations.room(room)?.label.clone().into();
                Some(Work::Receiving { from, count, of: Some(count.saturating_add(rooms.missing(room))) })
            }
        });
        let searching = search.waited(now, SILENCE);
        self.searching = searching.map(|(asker, done, of)| (asker, Work::Searching { done, of }));
    }

    /// The conversation in which most comes in, if that is long work.
    fn longest(&self) -> Option<(ConversationId, u64)> {
        let is_long = |it: &Arrival| it.count >= MANY && it.last.since(it.begun) >= SILENCE;
        let long = self.arriving.iter().filter(|(_, it)| is_long(it));
        long.map(|(id, it)| (*id, it.count)).max_by_key(|(_, count)| *count)
    }

    /// When [`Self::tick`] is due, if nothing else happens.
    pub fn deadline(&self) -> Instant {
        let shown = self.receiving.is_some() || self.searching.is_some();
        if shown { self.told_at + EVERY } else { Instant::NEVER }
    }

    /// What the prompt of a front end shows.
    pub fn of(&self, front_end: BoxId) -> Option<&Work> {
        let searching = self.searching.as_ref().filter(|(asker, _)| *asker == front_end);
        searching.map(|(_, work)| work).or(self.receiving.as_ref())
    }
}
