//! Who is who, and when to dial them.

use std::net::SocketAddr;

use super::super::event::{Action, LinkId, Problem};
use super::super::notice::{Code, ContactLine, Goodbye, MANY_UNREAD, Notice};
use super::Node;
use super::why::Attempt;
use crate::protocol::peer::Cursor;
use crate::protocol::{Name, PublicKey};
use crate::store::Result;
use crate::store::journal::{ContactId, ContactRow, Journal, Request, Seq, Side, Unfiled};
use crate::time::Now;

/// The most contacts that an account may have.
pub const MAX_CONTACTS: usize = 10_000;
/// The most dials under way at once; each has a thread.
const MAX_DIALS: usize = 32;
/// How long the side with the higher key leaves it to the other to dial first, in milliseconds. Saves
/// most of the cases in which both dial and one link is closed again; the others are settled by
/// the links themselves.
const COURTESY: u64 = 700;
/// The back-off after a first failure, in milliseconds; it doubles with each.
const FIRST_RETRY: u64 = 250;
/// The longest back-off to somebody who may well be there: online, or discovery can't tell.
const LAST_RETRY: u64 = 8_000;
/// After how long somebody who closes every connection without a proof is taken for somebody else, in
/// milliseconds. A client that is killed or started does so for a moment.
const SUSPICIOUS: u64 = 5_000;
/// How soon after the last attempt a message to somebody unlinked is reason for another, in milliseconds.
const RETRY_FOR_MESSAGE: u64 = 2_000;
/// The longest back-off to somebody whom discovery calls offline, or who said goodbye.
const LAST_RETRY_OFFLINE: u64 = 30_000;

/// A contact: what is stored of them, and what holds as long as the program runs.
#[derive(Debug)]
pub struct Contact {
    pub row: ContactRow,
    /// The row must be saved with this transaction.
    pub dirty: bool,
    /// What was shown and read must be saved, some time.
    pub dirty_later: bool,
    /// What discovery says, while it can be reached.
    pub presence: Option<bool>,
    /// When it said so first, by the clock on the wall.
    pub presence_since: i64,
    /// The link over which messages go.
    pub link: Option<LinkId>,
    /// Since when there has been one without a gap, by the clock on the wall.
    pub linked_since: i64,
    pub dial: Dial,
    /// How many of ours are not delivered.
    pub waiting: u64,
    /// How far the epoch that they wrote in last is committed.
    pub committed: Option<Committed>,
    /// How many of theirs the user has not looked at, counted up to a bound.
    pub unread: u64,
    /// Where theirs and ours stand that have not been filed.
    pub unfiled: [Option<Unfiled>; 2],
    /// Up to where theirs have been given to the console; beyond, they are in the journal if `unshown`.
    pub handed: Seq,
    pub unshown: bool,
    /// Up to where deliveries have been told; beyond, they are to be told if `unannounced`.
    pub announced: Seq,
    pub unannounced: bool,
    /// What is given back of somebody who does not exist has all been given to the console.
    pub given_back: bool,
    /// The console has written it: they are forgotten.
    pub forget: bool,
    /// Discovery has named them after all, while what was written to them was being given back.
    pub exists: bool,
    /// The last refusal that was said, so that it is not said at every attempt.
    pub refused: Option<Code>,
}

/// How far an epoch of a contact's is committed.
#[derive(Debug)]
pub struct Committed {
    pub cursor: Cursor,
    /// The seq of the last message.
    pub seq: Seq,
    /// It must be saved with this transaction, which adds the messages themselves.
    pub unsaved: bool,
}

/// When to dial a contact.
#[derive(Debug, Default)]
pub struct Dial {
    pub underway: bool,
    failures: u32,
    /// Since when every attempt has ended without a proof by somebody who was there.
    unproved: Option<u64>,
    /// When the last attempt began.
    tried: u64,
    /// Not before this time; `None` for not at all until something happens.
    pub next: Option<u64>,
    /// What came of the last attempt at each address; failures only since the last link.
    pub attempts: Vec<Attempt>,
    /// The last word of their client, until there is a link again.
    pub goodbye: Option<Goodbye>,
    /// Discovery has told an address since the last link: it is tried before the one that worked last.
    /// When the first one leads to nothing, it is the other one's turn.
    told_is_newer: bool,
}

impl Contact {
    fn new(row: ContactRow) -> Self {
        Self {
            handed: row.shown,
            announced: row.delivered,
            row,
            dirty: false,
            dirty_later: false,
            presence: None,
            presence_since: 0,
            link: None,
            linked_since: 0,
            dial: Dial::default(),
            waiting: 0,
            unread: 0,
            unfiled: [None, None],
            committed: None,
            unshown: true,
            unannounced: false,
            given_back: false,
            forget: false,
            exists: false,
            refused: None,
        }
    }

    /// Whether something is still to reach this contact, or discovery about them.
    pub fn waits(&self) -> bool {
        self.waiting > 0 || self.row.request == Request::Unconfirmed
    }

    /// Whether something must be saved with this transaction.
    pub fn is_unsaved(&self) -> bool {
        self.dirty || self.committed.as_ref().is_some_and(|committed| committed.unsaved)
    }

    /// Saves how far their messages are committed.
    pub fn save_cursor(&mut self, journal: &Journal) -> Result<()> {
        if let Some(committed) = self.committed.as_mut().filter(|committed| committed.unsaved) {
            journal.set_cursor(self.row.id, committed.cursor, committed.seq)?;
            committed.unsaved = false;
        }
        Ok(())
    }

    /// Saves all that has changed.
    pub fn save(&mut self, journal: &Journal) -> Result<()> {
        self.save_cursor(journal)?;
        if self.dirty || self.dirty_later {
            journal.save_contact(&self.row)?;
            self.dirty = false;
            self.dirty_later = false;
        }
        Ok(())
    }

    /// Whether the user has compared the key that is pinned.
    pub fn is_verified(&self) -> bool {
        self.row.key.is_some() && self.row.verified == self.row.key
    }

    /// Where they may be, in the order in which it is tried.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let (first, second) = if self.dial.told_is_newer {
            (self.row.told, self.row.reached)
        } else {
            (self.row.reached, self.row.told)
        };
        first.into_iter().chain(second.filter(|second| Some(*second) != first)).collect()
    }

    /// Whether that is one of the places where they may be.
    pub fn may_be_at(&self, address: SocketAddr) -> bool {
        [self.row.reached, self.row.told].contains(&Some(address))
    }

    pub(super) fn line(&self) -> ContactLine {
        ContactLine {
            peer: self.row.name.clone(),
            fingerprint: self.row.key,
            offered: self.row.offered,
            verified: self.is_verified(),
            linked: self.link.is_some(),
            linked_since: self.link.map(|_| self.linked_since),
            presence: self.presence.map(Into::into),
            presence_since: self.presence.map(|_| self.presence_since),
            last_seen: self.row.seen.filter(|_| self.link.is_none() && self.presence != Some(true)),
            requested: self.row.request != Request::None,
            blocked: self.row.blocked,
            waiting: self.waiting,
            unread: self.unread,
            address: self.addresses().first().copied(),
        }
    }
}

impl Contact {
    fn unfiled_of(&mut self, side: Side) -> &mut Option<Unfiled> {
        let [theirs, ours] = &mut self.unfiled;
        if side == Side::Ours { ours } else { theirs }
    }

    /// A message was added to the journal.
    pub fn said(&mut self, side: Side, seq: Seq) {
        Unfiled::add(self.unfiled_of(side), seq);
    }
}

impl Node {
    /// Files where the messages of each contact stand, once there are enough for another part of the journal.
    pub(super) fn file(&mut self, journal: &Journal) -> Result<()> {
        if self.seq - self.filed < self.setup.part {
            return Ok(());
        }
        let unfiled = self.contacts.values_mut().flat_map(|contact| {
            let [theirs, ours] = std::mem::take(&mut contact.unfiled);
            let sides = [(Side::Theirs, theirs), (Side::Ours, ours)];
            sides.into_iter().filter_map(|(side, unfiled)| Some((contact.row.id, side, unfiled?)))
        });
        journal.file(unfiled, self.seq)?;
        self.filed = self.seq;
        Ok(())
    }

    /// Reads the contacts from the journal; what is not stored there stays as it is.
    pub(super) fn load_contacts(&mut self, now: Now, journal: &Journal) -> Result<()> {
        let mut known = std::mem::take(&mut self.contacts);
        self.by_name.clear();
        self.by_key.clear();
        self.attention.forget_counts();
        for row in journal.contacts()? {
            let mut contact = match known.remove(&row.id) {
                Some(mut contact) => {
                    // What was written to the output stays written, whether that was saved or not.
                    let shown = contact.row.shown.max(row.shown);
                    // So does what was read, but not what was to be committed and read in one.
                    let read = contact.row.read.min(self.seq).max(row.read);
                    contact.dirty_later = shown > row.shown || read > row.read;
                    let seen = contact.row.seen.or(row.seen);
                    contact.dirty_later |= seen != row.seen;
                    contact.row = ContactRow { shown, read, seen, ..row };
                    contact.handed = self.output.handed(contact.row.id).unwrap_or_default().max(shown);
                    contact.announced = self.output.announced(contact.row.id).unwrap_or(contact.announced);
                    (contact.unshown, contact.unannounced) = (true, true);
                    (contact.dirty, contact.committed) = (false, None);
                    (contact.given_back, contact.forget) = (false, false);
                    contact.unfiled = [None, None];
                    contact
                }
                None => Contact::new(row),
            };
            contact.waiting = journal.count_sent_after(contact.row.id, contact.row.delivered)?;
            contact.unread = journal.count_received_after(contact.row.id, contact.row.read, MANY_UNREAD)?;
            self.attention.set_unread(&contact.row.name, contact.unread);
            self.index(&contact.row);
            self.contacts.insert(contact.row.id, contact);
        }
        self.filed = journal.filed()?;
        for (contact, side, unfiled) in journal.unfiled()? {
            if let Some(contact) = self.contacts.get_mut(&contact) {
                *contact.unfiled_of(side) = Some(unfiled);
            }
        }
        // What is left was added in a transaction that failed.
        for contact in known.into_values() {
            if let Some(link) = contact.link {
                self.close_link(now, link, None);
            }
            self.dialling -= usize::from(contact.dial.underway);
        }
        // Whoever has a time to be dialled keeps it: while the disk fails, each failure would be the next one's cause.
        self.dial_given_up(now);
        Ok(())
    }

    fn index(&mut self, row: &ContactRow) {
        self.by_name.insert(row.name.clone(), row.id);
        if let Some(key) = row.key {
            self.by_key.insert(key, row.id);
        }
    }

    pub(super) fn contact_named(&mut self, name: &Name) -> Option<&mut Contact> {
        self.by_name.get(name).and_then(|id| self.contacts.get_mut(id))
    }

    /// Adds a contact; `None` if there are too many.
    pub(super) fn add_contact(&mut self, journal: &Journal, name: &Name) -> Result<Option<ContactId>> {
        if self.contacts.len() >= MAX_CONTACTS {
            return Ok(None);
        }
        let contact = Contact { dirty: true, unshown: false, ..Contact::new(journal.add_contact(name)?) };
        let id = contact.row.id;
        self.index(&contact.row);
        self.contacts.insert(id, contact);
        self.attention.contacts_changed();
        Ok(Some(id))
    }

    /// Forgets a contact who turned out not to exist, with all that was written to them.
    pub(super) fn remove_contact(&mut self, journal: &Journal, id: ContactId) -> Result<()> {
        if let Some(contact) = self.contacts.remove(&id) {
            self.by_name.remove(&contact.row.name);
            self.attention.forget(id, &contact.row.name);
            if let Some(key) = contact.row.key {
                self.by_key.remove(&key);
            }
            journal.remove_contact(id)?;
        }
        Ok(())
    }

    /// What follows from discovery's word that `name` belongs to `key`: the contact, if that is the key
    /// they are known by from now on.
    pub(super) fn learn_key(&mut self, now: Now, name: &Name, key: PublicKey) -> Option<ContactId> {
        let id = *self.by_name.get(name)?;
        let holder = self.by_key.get(&key).copied();
        let contact = self.contacts.get_mut(&id)?;
        match contact.row.key {
            Some(pinned) if pinned == key => {
                // It was another one for a while, but nothing has come of that.
                contact.dirty |= contact.row.offered.take().is_some();
                Some(id)
            }
            // They have registered a moment too late: first what was written to nobody is given back.
            None if contact.row.is_withdrawn() => {
                contact.exists = true;
                None
            }
            None if holder.is_none() => {
                contact.row.key = Some(key);
                contact.dirty = true;
                self.by_key.insert(key, id);
                Some(id)
            }
            pinned => {
                if contact.row.offered != Some(key) {
                    contact.row.offered = Some(key);
                    contact.dirty = true;
                    let short = key.to_string().get(..16).unwrap_or_default().to_owned();
                    let verified = contact.is_verified();
                    let held = match pinned {
                        Some(pinned) if verified => format!(
                            "WARNING: you have VERIFIED {name}, and somebody else may be posing as {name} now. Their key was {pinned}"
                        ),
                        Some(pinned) => format!("the key of {name} was {pinned}"),
                        None => format!("the key that discovery names for {name} belongs to another contact"),
                    };
                    self.trouble(
                        now,
                        Code::KeyChanged,
                        Some(name),
                        format!("{held}; discovery now says {key}. Nothing is sent under it. Ask {name} in another way; if it is right, TRUST {name} {short}"),
                    );
                }
                None
            }
        }
    }

    /// Something gives hope that the contact can be reached: dials as soon as it is this side's turn.
    pub(super) fn dial_soon(&mut self, now: Now, id: ContactId) {
        let own = self.setup.key;
        if let Some(contact) = self.contacts.get_mut(&id) {
            let courtesy = if contact.row.key.is_some_and(|key| key < own) { COURTESY } else { 0 };
            contact.dial.failures = 0;
            contact.dial.next = Some(now.mono + courtesy);
            self.wake_at(now.mono + courtesy);
        }
    }

    /// There is a message for the contact: dials now, unless that was tried a moment ago.
    pub(super) fn dial_for_message(&mut self, now: Now, id: ContactId) {
        if let Some(contact) = self.contacts.get_mut(&id)
            && contact.link.is_none()
            && let Some(next) = &mut contact.dial.next
        {
            *next = (*next).min(now.mono.max(contact.dial.tried + RETRY_FOR_MESSAGE));
            let next = *next;
            self.wake_at(next);
        }
    }

    /// The contact could not be reached, or is gone: dials again later, and ever later. With `hopeless` at
    /// the latest time there is.
    pub(super) fn dial_later(&mut self, now: Now, id: ContactId, hopeless: bool) {
        if let Some(contact) = self.contacts.get_mut(&id) {
            let offline = contact.presence == Some(false) || hopeless;
            let most = if offline { LAST_RETRY_OFFLINE } else { LAST_RETRY };
            let least = if hopeless { most } else { FIRST_RETRY };
            let wait = (least << contact.dial.failures.min(16)).min(most);
            contact.dial.failures += 1;
            // Half of it is chance, so that a crowd does not come back in step.
            let next = now.mono + wait / 2 + self.rng.u64(0..=wait / 2);
            contact.dial.next = Some(next);
            self.wake_at(next);
        }
    }

    /// The other side says that it has this account's newer client: dialling would only take turns with it.
    /// Only while discovery can't be asked which is the newer: who has a session with it is.
    pub(super) fn dial_no_more(&mut self, id: ContactId) {
        if let Some(contact) = self.contacts.get_mut(&id)
            && !self.rendezvous.is_up()
        {
            contact.dial.next = None;
        }
    }

    /// Somebody answered at the address dialled, but no link came up: next time the other address is tried first.
    pub(super) fn dial_elsewhere(&mut self, id: ContactId) {
        if let Some(contact) = self.contacts.get_mut(&id) {
            contact.dial.told_is_newer = !contact.dial.told_is_newer;
        }
    }

    /// Dials those again whom it was given up to dial.
    pub(super) fn dial_given_up(&mut self, now: Now) {
        let given_up = |contact: &&Contact| contact.dial.next.is_none() && contact.link.is_none();
        let all: Vec<ContactId> =
            self.contacts.values().filter(given_up).map(|contact| contact.row.id).collect();
        all.into_iter().for_each(|contact| self.dial_soon(now, contact));
    }

    pub(super) fn dial_failed(&mut self, now: Now, id: ContactId, problems: &[(SocketAddr, Problem)]) {
        self.dialled(now, id);
        for (address, problem) in problems {
            self.note_attempt(now, id, *address, Some(problem.to_string()));
        }
        let Some(contact) = self.contacts.get_mut(&id) else {
            return;
        };
        let closed = problems.iter().find(|(_, problem)| *problem == Problem::Closed);
        contact.dial.unproved = closed.map(|_| contact.dial.unproved.unwrap_or(now.mono));
        let impostor = problems.iter().find(|(_, problem)| matches!(problem, Problem::WrongKey { .. }));
        let suspect =
            closed.filter(|_| contact.dial.unproved.is_some_and(|since| now.mono >= since + SUSPICIOUS));
        if let Some((address, problem)) = impostor.or(suspect)
            && contact.refused != Some(Code::Impostor)
        {
            contact.refused = Some(Code::Impostor);
            let name = contact.row.name.clone();
            let message = format!("{address} is not {name}: {problem}; nothing was sent");
            self.trouble(now, Code::Impostor, Some(&name), message);
        }
        self.dial_later(now, id, false);
    }

    /// A dial is over. Another one may have waited for its place.
    pub(super) fn dialled(&mut self, now: Now, id: ContactId) {
        if let Some(contact) = self.contacts.get_mut(&id)
            && std::mem::take(&mut contact.dial.underway)
        {
            self.dialling = self.dialling.saturating_sub(1);
        }
        self.wake_at(now.mono);
    }

    /// A link is up: what is known about reaching them starts anew.
    pub(super) fn reached(&mut self, id: ContactId, address: Option<SocketAddr>) {
        if let Some(contact) = self.contacts.get_mut(&id) {
            contact.dial.failures = 0;
            contact.dial.unproved = None;
            contact.dial.told_is_newer = false;
            contact.dial.attempts.retain(|attempt| attempt.problem.is_none());
            contact.dial.goodbye = None;
            contact.refused = None;
            if address.is_some() && contact.row.reached != address {
                contact.row.reached = address;
                contact.dirty = true;
            }
        }
    }

    /// Dials whom it is time to dial.
    pub(super) fn tick_dials(&mut self, now: Now) {
        if self.rendezvous.is_out() || self.leaving == super::Leaving::Left {
            return;
        }
        let mut wake = u64::MAX;
        let mut due = Vec::new();
        for (id, contact) in &self.contacts {
            let wanted = contact.link.is_none() && !contact.dial.underway && !contact.row.blocked;
            let (Some(key), Some(next), true) = (contact.row.key, contact.dial.next, wanted) else {
                continue;
            };
            if next > now.mono {
                wake = wake.min(next);
            } else {
                due.push((contact.presence != Some(true), next, *id, key));
            }
        }
        // Whoever is there first, then whoever has waited longest: a crowd that does not answer must not
        // keep the places.
        due.sort_unstable_by_key(|(absent, next, id, _)| (*absent, *next, *id));
        for (.., id, key) in due {
            let Some(contact) = self.contacts.get_mut(&id).filter(|_| self.dialling < MAX_DIALS) else {
                break;
            };
            let addresses = contact.addresses();
            if addresses.is_empty() {
                continue;
            }
            contact.dial.underway = true;
            contact.dial.tried = now.mono;
            self.dialling += 1;
            self.actions.push(Action::Dial { contact: id, name: contact.row.name.clone(), key, addresses });
        }
        self.wake_at(wake);
    }

    /// Discovery says where a contact is and whether they are online.
    pub(super) fn learn_status(
        &mut self,
        now: Now,
        id: ContactId,
        address: Option<SocketAddr>,
        online: bool,
    ) {
        let Some(contact) = self.contacts.get_mut(&id) else {
            return;
        };
        let moved = address.is_some() && address != contact.row.told;
        if moved {
            contact.row.told = address;
            contact.dirty = true;
            contact.dial.told_is_newer = true;
        }
        let came = online && contact.presence != Some(true);
        if (came || moved) && contact.link.is_none() {
            self.dial_soon(now, id);
        }
        self.set_presence(now, id, Some(online));
    }

    pub(super) fn set_presence(&mut self, now: Now, id: ContactId, presence: Option<bool>) {
        let Some(contact) = self.contacts.get_mut(&id) else {
            return;
        };
        if contact.presence != presence {
            let was_online = contact.presence == Some(true);
            contact.presence = presence;
            contact.presence_since = now.wall;
            if was_online || presence == Some(true) {
                self.note_seen(now, id, now.wall);
            }
            let Some(contact) = self.contacts.get_mut(&id) else {
                return;
            };
            if let (Some(online), false) = (presence, contact.row.blocked) {
                let peer = contact.row.name.clone();
                self.tell(now, Notice::Presence { peer, state: online.into() });
            }
        }
    }
}
