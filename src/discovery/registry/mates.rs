//! Users who say of each other that they share a room.
//!
//! What one side says alone leads to nothing that any user could see, whether or not there is a user with that key.

use std::collections::BTreeSet;

use super::{Saving, Turn};
use crate::accounts::{ALONE, Change};
use crate::discovery::users::UserIndex;
use crate::protocol::PublicKey;
use crate::protocol::rendezvous::{MAX_MATES, Mate, RefusedCode};
use crate::transport::ConnectionId;

impl Turn<'_> {
    /// Whether both say that they share a room.
    pub(super) fn are_mates(&self, one: UserIndex, other: UserIndex) -> bool {
        let key = |user| self.users.get(user).map(|account| account.key);
        let (Some(one_key), Some(other_key)) = (key(one), key(other)) else {
            return false;
        };
        self.mates.names(one, other_key) && self.mates.names(other, one_key)
    }

    pub(super) fn mates_of(&self, user: UserIndex) -> impl Iterator<Item = UserIndex> {
        let named = self.mates.named(user).filter_map(|key| self.users.holder(&key));
        named.filter(move |other| self.are_mates(user, *other))
    }

    /// Another node's user names a key, or names it no more.
    pub(super) fn mate_elsewhere(&mut self, user: UserIndex, key: PublicKey, shares: bool) {
        let other = self.users.holder(&key).filter(|other| *other != user);
        let before = other.is_some_and(|other| self.are_mates(user, other));
        self.mates.keep(user, key, shares);
        if let Some(other) = other.filter(|other| self.are_mates(user, *other) != before) {
            self.tell_each([other], user);
        }
    }

    pub(super) fn mate(&mut self, session: ConnectionId, user: UserIndex, mate: &Mate) {
        let Mate { key, shares } = *mate;
        let other = self.users.holder(&key);
        let before = other.is_some_and(|other| self.are_mates(user, other));
        if shares && !self.mates.names(user, key) && self.mates.named(user).count() >= MAX_MATES {
            return self.refuse(session, RefusedCode::TOO_MANY_REQUESTS, None);
        }
        if self.mates.say(user, key, shares) {
            self.save_mate(user, key, shares);
        }
        let Some(other) = other.filter(|other| *other != user) else {
            return;
        };
        let now = self.are_mates(user, other);
        if now != before
            && let Some(theirs) = self.sessions.of(other)
        {
            self.tell(theirs, other, user);
        }
        if now || before {
            self.tell(session, user, other);
        }
    }

    /// Has it saved, unless a discovery is alone: then there are no others to tell of it.
    pub(super) fn save_mate(&mut self, user: UserIndex, key: PublicKey, shares: bool) {
        if self.presences.own() == ALONE || self.saving == Saving::Unavailable {
            return;
        }
        if let Some(id) = self.users.get(user).map(|account| account.id) {
            self.mates.keep(user, key, shares);
            self.change(Change::SetMate { user: id, key, shares });
        }
    }

    /// Has the ledger say what a session here has said, after a time in which nothing could be saved.
    pub(super) fn announce_mates(&mut self, user: UserIndex) {
        let said: BTreeSet<_> = self.mates.named(user).collect();
        let kept: BTreeSet<_> = self.mates.kept_of(user).collect();
        for key in kept.symmetric_difference(&said) {
            self.save_mate(user, *key, said.contains(key));
        }
    }
}
