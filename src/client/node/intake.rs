//! What is taken of the messages that peers send: all of a contact's, a little of a stranger's until answered, and none
//! while the disk is nearly full.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::super::event::Space;
use super::roster::Person;
use crate::protocol::peer::{HoldReason, STRANGER_BYTES, STRANGER_MESSAGES};
use crate::protocol::rendezvous::{REQUEST_LASTS, Strangers as Policy};
use crate::store::Result;
use crate::store::journal::{ContactId, ContactRow, Journal, Standing};
use crate::time::{Instant, Now};
use crate::undo::{Table, Value, transactional};

/// How many strangers there may be. With [`STRANGER_BYTES`] for each they take less than 8 MiB of the disk.
pub const STRANGERS: usize = 100;
/// How many links strangers may have at once.
pub const LINKS: usize = 16;
/// How many strangers are told of one by one at once, and how long it takes until one more is. Where they displace one
/// another, nothing else bounds how many lines they take.
const TOLD_AT_ONCE: u32 = 100;
const TOLD_EVERY: Duration = Duration::from_secs(10);
/// How often it is looked whether a stranger's time is over.
pub const EXPIRY_EVERY: Duration = Duration::from_secs(3600);

/// See the module.
#[derive(Debug)]
pub struct Intake {
    policy: Policy,
    space: Value<Space>,
    strangers: Table<BTreeMap<ContactId, Stranger>>,
    /// When to look for strangers whose time is over.
    expiry: Value<Instant>,
    /// How many strangers may still be told of, and since when that is counted.
    telling: Value<(u32, Instant)>,
}

/// How the user is told of a stranger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    Each,
    /// There are more than are told of one by one, which has not yet been said.
    Many,
    Silent,
}

/// What was taken of a stranger, and where they come from.
#[derive(Debug, Clone, Copy, Default)]
struct Stranger {
    messages: u64,
    bytes: u64,
    /// They have had all that they may have, which was said.
    full: bool,
    /// When the user was told of them, on the wall clock.
    told_at: i64,
    /// Where their last link came from, since this start.
    network: Option<IpAddr>,
}

impl Intake {
    pub fn load(journal: &Journal, rows: &[ContactRow], policy: Policy, now: Now) -> Result<Self> {
        let mut strangers = BTreeMap::new();
        // Who is blocked stays so, however long ago they asked.
        let waits = |row: &&ContactRow| row.identity.standing == Standing::Stranger && !row.identity.blocked;
        for row in rows.iter().filter(waits) {
            let (messages, bytes) = journal.received_size(row.id)?;
            let told_at = row.identity.told_at.unwrap_or(now.wall);
            strangers.insert(row.id, Stranger { messages, bytes, told_at, ..Stranger::default() });
        }
        Ok(Self {
            policy,
            space: Value::new(Space::Enough),
            strangers: Table::new(strangers),
            expiry: Value::new(now.mono),
            telling: Value::new((TOLD_AT_ONCE, now.mono)),
        })
    }

    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// Whether anything is taken of what they write to this user. Of others who are linked, for a room's sake, nothing is.
    pub fn hears(&self, person: &Person) -> bool {
        match person.identity.standing {
            _ if person.identity.blocked => false,
            Standing::Contact => true,
            Standing::Stranger => matches!(self.policy, Policy::Open | Policy::All),
            Standing::Forgotten | Standing::Member => false,
        }
    }

    /// The user was told of another stranger, of whom so many messages and bytes are here.
    pub fn add(&mut self, id: ContactId, now: Now, (messages, bytes): (u64, u64)) {
        self.strangers.insert(id, Stranger { messages, bytes, told_at: now.wall, ..Stranger::default() });
    }

    /// They are no stranger any more.
    pub fn remove(&mut self, id: ContactId) {
        self.strangers.remove(&id);
    }

    /// How the user is told of one more.
    pub fn tell(&mut self, now: Now) -> Telling {
        let (left, since) = *self.telling;
        let earned =
            u32::try_from(now.mono.since(since).as_millis() / TOLD_EVERY.as_millis()).unwrap_or(u32::MAX);
        let left = left.saturating_add(earned).min(TOLD_AT_ONCE);
        let since = if earned > 0 { now.mono } else { since };
        *self.telling = (left.saturating_sub(1), since);
        match left {
            0 => Telling::Silent,
            1 => Telling::Many,
            _ => Telling::Each,
        }
    }

    pub fn is_full(&self) -> bool {
        self.strangers.len() >= STRANGERS
    }

    /// A stranger has a link from there.
    pub fn linked(&mut self, id: ContactId, network: Option<IpAddr>) {
        self.strangers.change(&id, |stranger| stranger.network = network.or(stranger.network));
    }

    /// The stranger who gives way to another one: of those who are silent, one of the network that has most; before
    /// others one who has said nothing, then the oldest.
    pub fn gives_way(&self, is_silent: impl Fn(ContactId) -> bool) -> Option<ContactId> {
        let mut from = BTreeMap::<_, usize>::new();
        self.strangers.values().for_each(|it| *from.entry(it.network).or_default() += 1);
        let silent = self.strangers.iter().filter(|(id, _)| is_silent(**id));
        silent
            .min_by_key(|(id, it)| (it.messages > 0, Reverse(from.get(&it.network)), it.told_at, **id))
            .map(|(id, _)| *id)
    }

    /// The room on the disk has changed.
    pub fn set_space(&mut self, space: Space) {
        *self.space = space;
    }

    /// Why nothing is taken of a peer, if that is known before they send something. `hears` is what [`Self::hears`] says.
    pub fn hold(&self, id: ContactId, hears: bool) -> Option<HoldReason> {
        if !hears {
            return Some(HoldReason::NOT_ANSWERED);
        }
        if *self.space == Space::Low {
            return Some(HoldReason::DISK_FULL);
        }
        let full = |it: &Stranger| it.full || it.messages >= STRANGER_MESSAGES || it.bytes >= STRANGER_BYTES;
        self.strangers.get(&id).is_some_and(full).then_some(HoldReason::NOT_ANSWERED)
    }

    /// Counts a message with a body of so many bytes in.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn take(&mut self, id: ContactId, bytes: usize) -> Result<(), HoldReason> {
        if let Some(reason) = self.hold(id, true) {
            return Err(reason);
        }
        let Some(it) = self.strangers.get_mut(&id) else {
            return Ok(());
        };
        let bytes = it.bytes.saturating_add(bytes as u64);
        if bytes > STRANGER_BYTES {
            return Err(HoldReason::NOT_ANSWERED);
        }
        it.messages += 1;
        it.bytes = bytes;
        Ok(())
    }

    /// A stranger has had all that they may have. Returns whether that is news.
    pub fn note_full(&mut self, id: ContactId) -> bool {
        self.strangers.get_mut(&id).is_some_and(|it| !std::mem::replace(&mut it.full, true))
    }

    /// When [`Self::expired`] is to be asked.
    pub fn deadline(&self) -> Instant {
        if self.strangers.is_empty() { Instant::NEVER } else { *self.expiry }
    }

    /// The strangers who were not answered in time.
    pub fn expired(&mut self, now: Now) -> Vec<ContactId> {
        if now.mono < self.deadline() {
            return Vec::new();
        }
        *self.expiry = now.mono + EXPIRY_EVERY;
        let lasts = i64::try_from(REQUEST_LASTS.as_millis()).unwrap_or(i64::MAX);
        let over = |it: &Stranger| now.wall.saturating_sub(it.told_at) >= lasts;
        self.strangers.iter().filter(|(_, it)| over(it)).map(|(id, _)| *id).collect()
    }
}

transactional!(Intake { space, strangers, expiry, telling });

#[cfg(test)]
mod tests {
    use super::super::tests::support::*;
    use super::*;
    use crate::protocol::MAX_TEXT;
    use crate::undo::Transactional;

    const NOTHING: (u64, u64) = (0, 0);

    fn intake() -> Intake {
        let journal = journal(&["bob"]);
        Intake::load(&journal, &journal.contacts().unwrap(), Policy::Open, at(0)).unwrap()
    }

    #[test]
    fn a_stranger_may_have_a_few_messages_and_bytes_and_a_contact_all() {
        let mut it = intake();
        assert!((0..1000).all(|_| it.take(1, MAX_TEXT).is_ok()), "bob is a contact");
        it.add(2, at(0), NOTHING);
        assert!((0..STRANGER_MESSAGES).all(|_| it.take(2, 1).is_ok()));
        assert_eq!(
            (it.take(2, 1), it.hold(2, true)),
            (Err(HoldReason::NOT_ANSWERED), Some(HoldReason::NOT_ANSWERED))
        );
        it.add(3, at(0), NOTHING);
        assert_eq!([MAX_TEXT, MAX_TEXT, 1].map(|bytes| it.take(3, bytes).is_ok()), [true, true, false]);
        it.commit();
        assert!(it.note_full(3) && !it.note_full(3), "it is said once");
        it.remove(3);
        assert_eq!((it.take(3, MAX_TEXT), it.hold(3, true)), (Ok(()), None), "answered");
        it.rollback();
        assert!(it.take(3, 1).is_err());
    }

    #[test]
    fn nothing_is_taken_while_the_disk_is_nearly_full() {
        let mut it = intake();
        it.set_space(Space::Low);
        assert_eq!(
            (it.take(1, 1), it.hold(1, true)),
            (Err(HoldReason::DISK_FULL), Some(HoldReason::DISK_FULL))
        );
        it.set_space(Space::Enough);
        assert_eq!((it.take(1, 1), it.hold(1, true)), (Ok(()), None));
    }

    #[test]
    fn the_silent_of_the_network_that_has_most_give_way_first() {
        let mut it = intake();
        let networks = ["192.0.2.1", "198.51.100.1", "198.51.100.1", "198.51.100.1"];
        for (id, network) in (1..).zip(networks) {
            it.add(id, at(10 - id.unsigned_abs()), NOTHING);
            it.linked(id, Some(network.parse().unwrap()));
        }
        it.take(4, 1).unwrap();
        // Of 2, 3 and 4 the last was told of first, and has said something.
        assert_eq!(it.gives_way(|_| true), Some(3));
        assert_eq!(it.gives_way(|id| id != 3), Some(2));
        assert_eq!(it.gives_way(|id| id == 1 || id == 4), Some(1), "what was said counts more");
        assert_eq!(it.gives_way(|_| false), None);
        (5..=100).for_each(|id| it.add(id, at(0), NOTHING));
        assert!(it.is_full());
    }

    #[test]
    fn strangers_are_told_of_one_by_one_as_long_as_there_are_not_too_many() {
        let mut it = intake();
        let told = |it: &mut Intake, ms| [(); 300].map(|()| it.tell(at(ms)));
        let count = |all: &[Telling], how| all.iter().filter(|it| **it == how).count();
        let first = told(&mut it, 0);
        assert_eq!((count(&first, Telling::Each), count(&first, Telling::Many)), (99, 1));
        assert_eq!(told(&mut it, 10_000)[..2], [Telling::Many, Telling::Silent]);
        assert_eq!(count(&told(&mut it, 60_000), Telling::Each), 4);
    }

    #[test]
    fn a_stranger_s_time_is_over_after_thirty_days() {
        let mut it = intake();
        assert_eq!(it.deadline(), Instant::NEVER);
        it.add(2, at(0), NOTHING);
        assert!(it.expired(at(1)).is_empty());
        let month = 30 * 24 * 3600 * 1000;
        assert_eq!((it.expired(at(month - 1)), it.expired(at(month + 3_600_000))), (vec![], vec![2]));
    }
}
