//! Which way is tried to a contact who can't be dialled.
//!
//! A contact who is online and not linked is dialled, by the [dialer](super::dialer). Where that leads to nothing,
//! discovery is asked to help both sides open a way through their routers, and where that leads to nothing either, to
//! relay. While a link is relayed, the other ways are tried anew now and then.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::store::journal::ContactId;
use crate::time::{Instant, Now};
use crate::undo::{Table, Value, transactional};

/// How long a contact is dialled before discovery is asked to help.
const DIAL_ALONE: Duration = Duration::from_secs(1);
/// How long discovery and a punch may take together.
const PUNCH_TAKES: Duration = Duration::from_secs(7);
/// How long discovery, the other side and a handshake through it may take together.
const RELAY_TAKES: Duration = Duration::from_secs(20);
/// How long to rest after all ways have led to nothing; it doubles with each time.
const FIRST_REST: Duration = Duration::from_secs(4);
const LAST_REST: Duration = Duration::from_secs(60);
/// How often a way is punched while a link is relayed: at first, how many times, and then.
const SOON_AGAIN: Duration = Duration::from_secs(60);
const SOON: u32 = 10;
const LATER_AGAIN: Duration = Duration::from_secs(600);
/// How many ways are punched at once, and how long another one waits at least.
const MAX_PUNCHES: usize = 4;
const PUNCH_LATER: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Default)]
pub struct Reach {
    /// The contacts that have to be reached.
    searches: Table<BTreeMap<ContactId, Search>>,
    wake: Value<Option<Instant>>,
}

#[derive(Debug, Clone, Copy)]
struct Search {
    stage: Stage,
    /// Until then, or from then on.
    at: Instant,
    /// How often all ways have led to nothing, or, while the link is relayed, how often it was punched.
    rounds: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The contact is dialled; then discovery is asked for help.
    Dialled,
    Punching,
    Relaying,
    /// All ways have led to nothing; then they are tried anew.
    Resting,
    /// The link is relayed; then another way is tried.
    Relayed,
    /// The link is relayed, and another way is being tried.
    Upgrading,
}

/// What discovery is to be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Help {
    Punch,
    Relay,
}

impl Reach {
    /// The contact is online and not linked.
    pub fn seek(&mut self, now: Now, id: ContactId) {
        if self.searches.get(&id).is_none_or(|it| matches!(it.stage, Stage::Relayed | Stage::Upgrading)) {
            self.set(id, Stage::Dialled, now.mono + DIAL_ALONE, 0);
        }
    }

    /// There is a link.
    pub fn linked(&mut self, now: Now, id: ContactId, relayed: bool) {
        let before = self.searches.get(&id).copied();
        match before.map(|it| it.stage) {
            _ if !relayed => self.forget(id),
            Some(Stage::Relayed | Stage::Upgrading) => {}
            _ => self.set(id, Stage::Relayed, now.mono + SOON_AGAIN, 0),
        }
    }

    /// No way is looked for any more.
    pub fn forget(&mut self, id: ContactId) {
        self.searches.remove(&id);
    }

    /// The addresses of the contact, or of this machine, have changed.
    pub fn moved(&mut self, now: Now, id: ContactId) {
        if let Some(Search { stage: Stage::Relayed | Stage::Resting, .. }) = self.searches.get(&id) {
            self.searches.change(&id, |it| it.at = now.mono);
            self.wake_at(now.mono);
        }
    }

    /// Discovery has both sides do this, whichever of them has asked.
    pub fn helped(&mut self, now: Now, id: ContactId, help: Help) {
        let Some(Search { stage, rounds, .. }) = self.searches.get(&id).copied() else {
            return;
        };
        match (stage, help) {
            (Stage::Relayed | Stage::Upgrading, Help::Punch) => {
                self.set(id, Stage::Upgrading, now.mono + PUNCH_TAKES, rounds);
            }
            (Stage::Relayed | Stage::Upgrading, Help::Relay) => {}
            (_, Help::Punch) => self.set(id, Stage::Punching, now.mono + PUNCH_TAKES, rounds),
            (_, Help::Relay) => self.set(id, Stage::Relaying, now.mono + RELAY_TAKES, rounds),
        }
    }

    /// This way has led to nothing, or discovery does not help.
    pub fn failed(&mut self, now: Now, id: ContactId, help: Help) {
        let concerned = match self.searches.get(&id).map(|it| it.stage) {
            Some(Stage::Punching | Stage::Upgrading) => help == Help::Punch,
            Some(Stage::Relaying) => help == Help::Relay,
            _ => false,
        };
        if concerned {
            self.searches.change(&id, |it| it.at = now.mono);
            self.wake_at(now.mono);
        }
    }

    /// When another way to a contact who is not linked is tried; at once while one is being tried.
    pub fn next(&self, now: Now, id: ContactId) -> Option<Instant> {
        let Search { stage, at, .. } = self.searches.get(&id)?;
        match stage {
            Stage::Punching | Stage::Relaying => Some(now.mono),
            Stage::Dialled | Stage::Resting => Some(*at),
            Stage::Relayed | Stage::Upgrading => None,
        }
    }

    /// When [`Self::tick`] is due.
    pub fn deadline(&self) -> Instant {
        self.wake.unwrap_or(Instant::NEVER)
    }

    /// Goes on to the next way where one has led to nothing. `open` says whether a contact is still looked for. Discovery
    /// alone knows whether both have asked for each other, and helps to punch then only: an answer may be on its way. Returns
    /// what it is to be asked for, and for which contact.
    pub fn tick(&mut self, now: Now, open: impl Fn(ContactId) -> bool) -> Vec<(ContactId, Help)> {
        let mut asked = Vec::new();
        if now.mono < self.deadline() {
            return asked;
        }
        *self.wake = None;
        let punching = |it: &&Search| matches!(it.stage, Stage::Punching | Stage::Upgrading);
        let mut punches = self.searches.values().filter(punching).filter(|it| it.at > now.mono).count();
        let all: Vec<(ContactId, Search)> = self.searches.iter().map(|(id, it)| (*id, *it)).collect();
        for (id, Search { stage, at, rounds }) in all {
            if at > now.mono {
                self.wake_at(at);
                continue;
            }
            if !open(id) {
                self.forget(id);
                continue;
            }
            let begins = matches!(stage, Stage::Dialled | Stage::Resting | Stage::Relayed);
            if begins && punches >= MAX_PUNCHES {
                self.set(id, stage, now.mono + PUNCH_LATER, rounds);
                continue;
            }
            punches += usize::from(begins);
            match stage {
                Stage::Relayed => {
                    asked.push((id, Help::Punch));
                    self.set(id, Stage::Upgrading, now.mono + PUNCH_TAKES, rounds);
                }
                Stage::Upgrading => {
                    let again = if rounds < SOON { SOON_AGAIN } else { LATER_AGAIN };
                    self.set(id, Stage::Relayed, now.mono + again, rounds.saturating_add(1));
                }
                Stage::Dialled | Stage::Resting => {
                    asked.push((id, Help::Punch));
                    self.set(id, Stage::Punching, now.mono + PUNCH_TAKES, rounds);
                }
                Stage::Punching => {
                    asked.push((id, Help::Relay));
                    self.set(id, Stage::Relaying, now.mono + RELAY_TAKES, rounds);
                }
                Stage::Relaying => {
                    let rest = FIRST_REST.saturating_mul(1 << rounds.min(8)).min(LAST_REST);
                    self.set(id, Stage::Resting, now.mono + rest, rounds.saturating_add(1));
                }
            }
        }
        asked
    }

    fn set(&mut self, id: ContactId, stage: Stage, at: Instant, rounds: u32) {
        self.searches.insert(id, Search { stage, at, rounds });
        self.wake_at(at);
    }

    fn wake_at(&mut self, at: Instant) {
        if self.wake.is_none_or(|wake| at < wake) {
            *self.wake = Some(at);
        }
    }
}

transactional!(Reach { searches, wake });

#[cfg(test)]
mod tests;
