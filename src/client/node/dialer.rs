//! Where contacts are, and when to dial them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::super::event::{Action, Problem};
use super::effects::Effects;
use crate::protocol::peer::ByeReason;
use crate::protocol::rendezvous::{Candidate, CandidateKind, MAX_CANDIDATES};
use crate::protocol::{Name, PublicKey};
use crate::store::Result;
use crate::store::journal::{ContactId, ContactRow, Journal, Whereabouts};
use crate::time::{Instant, Now};
use crate::transport::Route;
use crate::undo::{Table, Value, transactional};

mod places;

use places::{Places, YOUNG};

/// How long the side with the higher key leaves it to the other to dial first. Saves most of the cases in which both
/// dial and one link is closed again; the others are settled by the links themselves.
const COURTESY: Duration = Duration::from_millis(700);
/// The back-off after a first failure; it doubles with each.
const FIRST_RETRY: Duration = Duration::from_millis(250);
/// The longest back-off to a contact who may well be there: online, or discovery can't tell.
const LAST_RETRY: Duration = Duration::from_secs(8);
/// The longest back-off to a contact who is offline, by discovery's word, or who said goodbye.
const LAST_RETRY_OFFLINE: Duration = Duration::from_secs(30);
/// After how long a program that closes every connection without a proof counts as an impostor. A client that is killed
/// or started closes them for a moment.
const SUSPICIOUS: Duration = Duration::from_secs(5);
/// How soon after the last attempt a message is reason for another.
const RETRY_FOR_MESSAGE: Duration = Duration::from_secs(2);
/// How many addresses that discovery newly tells are believed of one contact, each address and each port, and within which
/// time: on a contact's word alone this client knocks at no more doors.
const NEW_ADDRESSES: usize = 4;
const NEW_ADDRESSES_WITHIN: Duration = Duration::from_secs(3600);
/// The same for what is told besides: a machine has several of those at once.
const NEW_CANDIDATES: usize = 4 * MAX_CANDIDATES;
/// How many routes are remembered on which a contact was looked for.
const MAX_ATTEMPTS: usize = 4;

/// See the module.
#[derive(Debug)]
pub struct Dialer {
    targets: Table<BTreeMap<ContactId, Target>>,
    /// Whose last sighting is to be saved, some time.
    unsaved: Value<BTreeSet<ContactId>>,
    wake: Value<Instant>,
    rng: fastrand::Rng,
}

/// A contact as the dialer sees them.
#[derive(Debug, Clone, Default)]
struct Target {
    whereabouts: Whereabouts,
    /// What discovery says, while it can be reached: whether they are online, and since when on the wall clock.
    presence: Option<(bool, i64)>,
    underway: bool,
    failures: u32,
    /// Since when every attempt has been answered without a proof of the key.
    unproved: Option<Instant>,
    impostor_told: bool,
    /// When the last attempt began.
    tried: Instant,
    /// Not before this time; `None` for not at all until something happens.
    next: Option<Instant>,
    /// What came of the last attempt on each route; failures only since the last link.
    attempts: Vec<Attempt>,
    /// The last word of their client, and when it came on the wall clock, until there is a link again.
    goodbye: Option<(i64, ByeReason)>,
    /// Where else discovery has said that they may be, and when each of the late ones was told first.
    also: Vec<Route>,
    also_news: Vec<(Instant, Route)>,
    /// Discovery has told an address since the last link: it is tried before the one that worked last. When the
    /// first one leads to nothing, it is the other one's turn.
    told_is_newer: bool,
    /// The addresses that were told lately, and when each was the first time.
    news: Vec<(Instant, SocketAddr)>,
    /// One more, which was not believed yet.
    unbelieved: Option<SocketAddr>,
}

/// What came of an attempt to reach a contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    pub route: Route,
    /// On the wall clock.
    pub at: i64,
    pub problem: Option<String>,
}

/// What is known about reaching a contact, to be explained.
pub struct Outlook<'d> {
    pub whereabouts: &'d Whereabouts,
    /// How they may be reached, in the order in which it is tried.
    pub routes: Vec<Route>,
    pub attempts: &'d [Attempt],
    /// The last word of their client, and when it came on the wall clock.
    pub goodbye: Option<(i64, ByeReason)>,
    pub underway: bool,
    /// When they are dialled next, unless something happens.
    pub next: Option<Instant>,
}

impl Target {
    fn routes(&self) -> Vec<Route> {
        let Whereabouts { reached, told, .. } = self.whereabouts;
        let (first, second) = if self.told_is_newer { (told, reached) } else { (reached, told) };
        let dialled = first.into_iter().chain(second.filter(|second| Some(*second) != first));
        // An address may be known for more than that it worked.
        let known = |remote| self.also.iter().find(|route| route.remote() == Some(remote)).copied();
        let mut routes: Vec<Route> =
            dialled.map(|remote| known(remote).unwrap_or_else(|| remote.into())).collect();
        for route in &self.also {
            if !routes.iter().any(|other| other.remote() == route.remote()) {
                routes.push(*route);
            }
        }
        routes
    }

    /// Discovery says that they are there. Returns whether that is news, and believed.
    fn told(&mut self, now: Now, address: SocketAddr) -> bool {
        self.unbelieved = None;
        if self.whereabouts.told == Some(address) {
            return false;
        }
        self.news.retain(|(at, _)| now.mono < *at + NEW_ADDRESSES_WITHIN);
        let known = |(_, known): &(Instant, SocketAddr)| *known == address;
        if self.whereabouts.reached != Some(address) && !self.news.iter().any(known) {
            if self.news.len() >= NEW_ADDRESSES {
                self.unbelieved = Some(address);
                let problem = format!(
                    "discovery has told {NEW_ADDRESSES} other new ones within an hour; it is tried later"
                );
                self.note_attempt(now, address.into(), Some(problem));
                return false;
            }
            self.news.push((now.mono, address));
        }
        self.whereabouts.told = Some(address);
        self.told_is_newer = true;
        true
    }

    /// Whether there was ever a link, as far as is known.
    fn is_proven(&self) -> bool {
        self.whereabouts.reached.is_some()
    }

    fn is_online(&self) -> bool {
        matches!(self.presence, Some((true, _)))
    }

    fn note_attempt(&mut self, now: Now, route: Route, problem: Option<String>) {
        self.attempts.retain(|attempt| attempt.route != route);
        if self.attempts.len() >= MAX_ATTEMPTS {
            self.attempts.remove(0);
        }
        self.attempts.push(Attempt { route, at: now.wall, problem });
    }
}

impl Dialer {
    pub fn load(now: Now, rows: &[ContactRow], seed: u64) -> Self {
        let target =
            |row: &ContactRow| (row.id, Target { whereabouts: row.whereabouts, ..Target::default() });
        Self {
            targets: Table::new(rows.iter().map(target).collect()),
            unsaved: Value::default(),
            wake: Value::new(now.mono),
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    pub fn add(&mut self, id: ContactId) {
        self.targets.insert(id, Target::default());
    }

    pub fn remove(&mut self, id: ContactId) {
        self.targets.remove(&id);
        self.unsaved.remove(&id);
    }

    /// Whether discovery calls the contact online; `None` while it does not say.
    pub fn presence(&self, id: ContactId) -> Option<bool> {
        self.targets.get(&id)?.presence.map(|(online, _)| online)
    }

    /// Since when discovery says so, on the wall clock.
    pub fn presence_since(&self, id: ContactId) -> Option<i64> {
        self.targets.get(&id)?.presence.map(|(_, since)| since)
    }

    pub fn outlook(&self, id: ContactId) -> Option<Outlook<'_>> {
        let target = self.targets.get(&id)?;
        Some(Outlook {
            whereabouts: &target.whereabouts,
            routes: target.routes(),
            attempts: &target.attempts,
            goodbye: target.goodbye,
            underway: target.underway,
            next: target.next,
        })
    }

    /// There is hope that the contact can be reached: dials at once, or with `yielding` when the other side has had its
    /// turn.
    pub fn dial_soon(&mut self, now: Now, id: ContactId, yielding: bool) {
        if let Some(target) = self.targets.get_mut(&id) {
            let at = now.mono + if yielding { COURTESY } else { Duration::ZERO };
            target.failures = 0;
            target.next = Some(at);
            self.wake_at(at);
        }
    }

    /// There is a message for the contact, who is not linked: dials now, unless that was tried a moment ago.
    pub fn dial_for_message(&mut self, now: Now, id: ContactId) {
        if let Some(target) = self.targets.get_mut(&id)
            && let Some(next) = &mut target.next
        {
            let at = (*next).min(now.mono.max(target.tried + RETRY_FOR_MESSAGE));
            *next = at;
            self.wake_at(at);
        }
    }

    /// The contact could not be reached, or is gone: dials again later, and ever later. With `hopeless` at the
    /// latest time there is.
    pub fn dial_later(&mut self, now: Now, id: ContactId, hopeless: bool) {
        if let Some(target) = self.targets.get_mut(&id) {
            if let Some(address) = target.unbelieved {
                target.told(now, address);
            }
            let offline = matches!(target.presence, Some((false, _))) || hopeless;
            let most = if offline { LAST_RETRY_OFFLINE } else { LAST_RETRY };
            let least = if hopeless { most } else { FIRST_RETRY };
            let wait = least.saturating_mul(1 << target.failures.min(16)).min(most);
            target.failures += 1;
            // Half of it is chance, so that a crowd does not come back in step.
            let half = u64::try_from(wait.as_millis() / 2).unwrap_or(u64::MAX);
            let at = now.mono + wait / 2 + Duration::from_millis(self.rng.u64(0..=half));
            target.next = Some(at);
            self.wake_at(at);
        }
    }

    /// Does not dial the contact until something happens.
    pub fn dial_no_more(&mut self, id: ContactId) {
        self.targets.change(&id, |target| target.next = None);
    }

    /// The address dialled answered, but no link came up: next time the other address is tried first.
    pub fn dial_elsewhere(&mut self, id: ContactId) {
        self.targets.change(&id, |target| target.told_is_newer = !target.told_is_newer);
    }

    /// Those who are not dialled until something happens.
    pub fn given_up(&self) -> Vec<ContactId> {
        self.targets.iter().filter(|(_, target)| target.next.is_none()).map(|(id, _)| *id).collect()
    }

    /// A way that this side has taken has led to a connection.
    pub fn answered(&mut self, now: Now, id: ContactId, route: Route) {
        self.targets.change(&id, |target| target.note_attempt(now, route, None));
        if matches!(route, Route::Direct { .. } | Route::Mapped { .. }) {
            self.dialled(now, id);
            self.dial_later(now, id, true);
        }
    }

    /// What came of other ways than a dial.
    pub fn note(&mut self, now: Now, id: ContactId, problems: &[(Route, Problem)]) {
        self.targets.change(&id, |target| {
            for (route, problem) in problems {
                target.note_attempt(now, *route, Some(problem.to_string()));
            }
        });
    }

    /// A dial has failed. Returns the route on which an impostor answers, with the reason, if that is news.
    pub fn failed(
        &mut self,
        now: Now,
        id: ContactId,
        problems: &[(Route, Problem)],
    ) -> Option<(Route, Problem)> {
        self.dialled(now, id);
        let target = self.targets.get_mut(&id)?;
        for (route, problem) in problems {
            target.note_attempt(now, *route, Some(problem.to_string()));
        }
        let closed = problems.iter().find(|(_, problem)| *problem == Problem::Closed);
        target.unproved = closed.map(|_| target.unproved.unwrap_or(now.mono));
        let impostor = problems.iter().find(|(_, problem)| matches!(problem, Problem::WrongKey { .. }));
        let suspect = closed.filter(|_| target.unproved.is_some_and(|since| now.mono >= since + SUSPICIOUS));
        let found = impostor.or(suspect).filter(|_| !target.impostor_told);
        target.impostor_told |= found.is_some();
        self.dial_later(now, id, false);
        found.cloned()
    }

    /// A dial is over. Another one may have waited for its place.
    pub fn dialled(&mut self, now: Now, id: ContactId) {
        self.targets.change(&id, |target| target.underway = false);
        self.wake_at(now.mono);
    }

    /// The user asks for the contact again: what was said about them before may be said again.
    pub fn forgive(&mut self, id: ContactId) {
        self.targets.change(&id, |target| target.impostor_told = false);
    }

    /// A link is up, with a client that can be dialled at this address: what is known about reaching it starts anew.
    pub fn reached(&mut self, now: Now, id: ContactId, address: Option<SocketAddr>) {
        if let Some(target) = self.targets.get_mut(&id) {
            target.failures = 0;
            target.unproved = None;
            target.impostor_told = false;
            target.told_is_newer = false;
            target.attempts.retain(|attempt| attempt.problem.is_none());
            target.goodbye = None;
            target.whereabouts.reached = address.or(target.whereabouts.reached);
        }
        self.seen(id, now.wall);
    }

    pub fn note_goodbye(&mut self, now: Now, id: ContactId, reason: ByeReason) {
        self.targets.change(&id, |target| target.goodbye = Some((now.wall, reason)));
    }

    /// The contact is known to have been there at this time, on the wall clock.
    pub fn seen(&mut self, id: ContactId, at: i64) {
        if self.targets.get(&id).is_none_or(|target| target.whereabouts.seen == Some(at)) {
            return;
        }
        if let Some(target) = self.targets.get_mut(&id) {
            target.whereabouts.seen = Some(at);
            self.unsaved.insert(id);
        }
    }

    /// Discovery says where the contact is and whether they are online. Returns whether that gives hope to reach them.
    pub fn learn(&mut self, now: Now, id: ContactId, address: Option<SocketAddr>, online: bool) -> bool {
        let Some(target) = self.targets.get_mut(&id) else {
            return false;
        };
        let moved = address.is_some_and(|address| target.told(now, address));
        moved || (online && !target.is_online())
    }

    /// Discovery says where else the contact may be. Returns whether there is a new address among these.
    pub fn learn_also(&mut self, now: Now, id: ContactId, also: &[Candidate]) -> bool {
        let Some(target) = self.targets.get_mut(&id) else {
            return false;
        };
        let route = |candidate: &Candidate| match candidate.kind {
            CandidateKind::Mapped => Route::Mapped { remote: candidate.address },
            CandidateKind::Lan | CandidateKind::Global => Route::from(candidate.address),
        };
        let mut also: Vec<Route> = also.iter().take(MAX_CANDIDATES).map(route).collect();
        target.also_news.retain(|(at, _)| now.mono < *at + NEW_ADDRESSES_WITHIN);
        also.retain(|route| {
            let known = target.also_news.iter().any(|(_, known)| known == route);
            let believed = known || target.also_news.len() < NEW_CANDIDATES;
            target.also_news.extend((believed && !known).then_some((now.mono, *route)));
            believed
        });
        let news = also.iter().any(|route| !target.also.contains(route));
        target.also = also;
        news
    }

    /// Discovery says whether the contact is online, or can't be asked any more. Returns whether that is news.
    pub fn set_presence(&mut self, now: Now, id: ContactId, online: Option<bool>) -> bool {
        let before = self.presence(id);
        if before == online {
            return false;
        }
        self.targets.change(&id, |target| target.presence = online.map(|online| (online, now.wall)));
        if before == Some(true) || online == Some(true) {
            self.seen(id, now.wall);
        }
        true
    }

    /// The contacts whose presence is known.
    pub fn with_presence(&self) -> Vec<ContactId> {
        self.targets.iter().filter(|(_, target)| target.presence.is_some()).map(|(id, _)| *id).collect()
    }

    /// When [`Self::tick`] is due.
    pub fn deadline(&self) -> Instant {
        *self.wake
    }

    /// Dials the contacts whose time it is, as far as `wanted` has their name and key.
    pub fn tick<'r>(
        &mut self,
        fx: &mut Effects,
        wanted: impl Fn(ContactId) -> Option<(&'r Name, PublicKey)>,
    ) {
        let now = fx.now.mono;
        if now < *self.wake {
            return;
        }
        let mut wake = Instant::NEVER;
        let (mut due, mut places, mut grown) = (Vec::new(), Places::default(), Instant::NEVER);
        for (id, target) in self.targets.iter() {
            match target.next {
                _ if target.underway => {
                    let until = target.tried + YOUNG;
                    places.take(target.is_proven(), now < until);
                    grown = grown.min(if now < until { until } else { Instant::NEVER });
                }
                Some(next) if next > now => wake = wake.min(next),
                // Those who are online first, then those of whom there is news, then those who have waited longest: a
                // crowd that does not answer must not keep the places. At the start none was tried.
                Some(next) => {
                    let (waiting, seen) = (target.failures > 0, Reverse(target.whereabouts.seen));
                    due.push(((!target.is_online(), waiting, target.tried, seen, Reverse(next)), *id));
                }
                None => {}
            }
        }
        due.sort_unstable();
        for (_, id) in due {
            let Some((name, key)) = wanted(id) else {
                continue;
            };
            let Some(target) = self.targets.get(&id).filter(|target| !target.routes().is_empty()) else {
                continue;
            };
            if !places.take(target.is_proven(), true) {
                wake = wake.min(grown);
                continue;
            }
            grown = grown.min(now + YOUNG);
            if let Some(target) = self.targets.get_mut(&id) {
                target.underway = true;
                target.tried = now;
                let (routes, worked) = (target.routes(), target.whereabouts.reached);
                fx.act(Action::Dial { contact: id, name: name.clone(), key, routes, worked });
            }
        }
        *self.wake = wake;
    }

    /// The machine must be looked at again at this time.
    fn wake_at(&mut self, at: Instant) {
        if at < *self.wake {
            *self.wake = at;
        }
    }

    /// Saves the addresses that this transaction has changed. Returns whether there were any.
    pub fn save(&self, journal: &Journal) -> Result<bool> {
        let mut any = false;
        let places = |target: &Target| (target.whereabouts.reached, target.whereabouts.told);
        for (id, before, now) in self.targets.touched() {
            if let Some(now) = now
                && before.map_or((None, None), places) != places(now)
            {
                journal.save_whereabouts(*id, &now.whereabouts)?;
                any = true;
            }
        }
        Ok(any)
    }

    /// Whether [`Self::save_sightings`] has something to do, some time.
    pub fn is_behind(&self) -> bool {
        !self.unsaved.is_empty()
    }

    /// Saves when contacts were last known to be there.
    pub fn save_sightings(&mut self, journal: &Journal) -> Result<()> {
        if self.unsaved.is_empty() {
            return Ok(());
        }
        for id in std::mem::take(&mut *self.unsaved) {
            let target = self.targets.get(&id);
            target.map_or(Ok(()), |target| journal.save_whereabouts(id, &target.whereabouts))?;
        }
        Ok(())
    }
}

transactional!(Dialer { targets, unsaved, wake });

#[cfg(test)]
mod tests;
