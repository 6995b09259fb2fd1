//! The conductor: what peers say over a link, routed to the machines, and how links begin and end.

use super::super::event::{ConnectionId, Problem, Space};
use super::super::notice::{Code, HeldReason, Notice, UpDown};
use super::delivery::{Delivered, Received};
use super::links::Heard;
use super::{Node, ways};
use crate::protocol::peer::{ByeReason, Hold, HoldReason, Message, Peer};
use crate::store::Result;
use crate::store::journal::{ContactId, ConversationId, Incoming, Journal, Request, Seq, Standing};
use crate::transport::Route;

impl Node {
    /// Something gives hope that the contact can be reached. The side with the lower key dials first.
    pub(super) fn dial_soon(&mut self, id: ContactId) {
        // Who has not answered does not dial, unless the two share a room.
        let yields = self.roster.get(id).is_some_and(|person| {
            (person.identity.request == Request::Answered || self.mates.has(id))
                && person.identity.key.is_some_and(|key| key < self.setup.key())
        });
        self.dialer.dial_soon(self.fx.now, id, yields);
        ways::seek(self, id);
    }

    pub(super) fn dial_given_up(&mut self) {
        for id in self.dialer.given_up() {
            if self.links.of(id).is_none() {
                self.dial_soon(id);
            }
        }
    }

    pub(super) fn dial_failed(&mut self, id: ContactId, problems: &[(Route, Problem)]) {
        let impostor = self.dialer.failed(self.fx.now, id, problems);
        if let (Some((route, problem)), Some(name)) =
            (impostor.filter(|_| self.hears(id)), self.roster.name(id))
        {
            let message = format!("{route} is not {name}: {problem}; nothing was sent");
            self.fx.error(Code::Impostor, Some(name), message);
        }
    }

    pub(super) fn peer_says(
        &mut self,
        journal: &Journal,
        incoming: &mut Incoming<'_>,
        id: ConnectionId,
        said: &Peer,
    ) -> Result<()> {
        match self.links.hear(id, said) {
            Heard::Nothing => {}
            Heard::Message(contact, message) => {
                let arrived = self.fx.now.wall;
                let Self { delivery, intake, .. } = self;
                let take = || intake.take(contact, message.body.len());
                match delivery.received(journal, incoming, id, &message, arrived, take)? {
                    Received::New(seq) => self.tell_message(contact, seq, &message),
                    Received::Dropped => {}
                    Received::Held(hold) => self.hold(id, contact, hold),
                    Received::Broken(what) => self.bad_peer(id, what),
                }
            }
            Heard::Part => self.links.say(&mut self.fx, id, vec![Peer::PartAck]),
            Heard::PartAck => self.delivery.part_acknowledged(self.fx.now.mono, id),
            Heard::Hold(contact, hold) => {
                if let Some(cursor) = hold.cursor {
                    let delivered = self.delivery.acknowledged(self.fx.now.mono, journal, id, cursor)?;
                    self.tell_delivered(contact, delivered);
                }
                if self.delivery.hold(id, hold.reason) {
                    self.links.say(&mut self.fx, id, vec![Peer::Rewound]);
                } else {
                    self.bad_peer(id, "it takes back too often what it takes");
                }
                self.note_held(contact);
            }
            Heard::Resume => {
                if let Some(contact) = self.links.contact(id).filter(|it| !self.roster.is_blocked(*it)) {
                    self.delivery.resume(id);
                    self.note_held(contact);
                }
            }
            Heard::Rewound => self.delivery.rewound(id),
            Heard::Skipped(contact, up_to) => self.delivery.skipped(journal, contact, up_to)?,
            Heard::Acknowledgement(contact, cursor) => {
                let delivered = self.delivery.acknowledged(self.fx.now.mono, journal, id, cursor)?;
                self.tell_delivered(contact, delivered);
            }
            Heard::Unknown(hello, name) => {
                return self.unknown_says_hello(journal, id, hello.room, name.as_ref());
            }
            Heard::Hello(contact, hello) => return self.greeted(journal, id, contact, hello),
            Heard::Keep(contact, decision) => return self.kept(journal, id, contact, decision),
            Heard::Room(about) => return self.room_says(journal, id, about),
            Heard::Goodbye(reason) => self.goodbye(id, reason),
            Heard::Broken(what) => self.bad_peer(id, what),
        }
        Ok(())
    }

    /// A message has come in.
    fn tell_message(&mut self, contact: ContactId, seq: Seq, message: &Message) {
        self.search.said(seq);
        self.progress.received(self.fx.now, ConversationId::User(contact));
        self.dialer.seen(contact, self.fx.now.wall);
        if let Some(person) = self.roster.get(contact) {
            let stranger = person.identity.standing == Standing::Stranger;
            self.conversations.received(&mut self.fx, contact, &person.name, stranger, seq, message);
        }
    }

    /// A message is not taken, which both sides are told.
    fn hold(&mut self, id: ConnectionId, contact: ContactId, hold: Hold) {
        if hold.reason == HoldReason::NOT_ANSWERED {
            self.tell_full(contact);
        }
        self.links.say(&mut self.fx, id, vec![Peer::Hold(hold)]);
    }

    /// Messages of one who was not heard are taken from now on.
    pub(super) fn take_again(&mut self, contact: ContactId) {
        for link in self.delivery.take_again(Some(contact), HoldReason::NOT_ANSWERED) {
            self.links.say(&mut self.fx, link, vec![Peer::Resume]);
        }
    }

    /// The user is told, once in each start, that no more is taken of a stranger.
    pub(super) fn tell_full(&mut self, contact: ContactId) {
        if self.intake.note_full(contact)
            && let Some(from) = self.roster.name(contact).cloned()
        {
            self.fx.tell(Notice::Full { from });
        }
    }

    /// Finds out whether messages for the contact wait because of a bound of the other side, and tells it.
    pub(super) fn note_held(&mut self, id: ContactId) {
        let Some(person) = self.roster.get(id) else {
            return;
        };
        let unanswered = person.identity.request == Request::Kept
            && self.rendezvous.is_up()
            && self.links.of(id).is_none()
            && self.dialer.presence(id).is_none();
        let reason = match self.delivery.held(id) {
            Some(HoldReason::NOT_ANSWERED) => Some(HeldReason::NotAnswered),
            Some(HoldReason::DISK_FULL) => Some(HeldReason::DiskFull),
            _ => unanswered.then_some(HeldReason::NotAnswered),
        };
        let reason = reason.filter(|_| !person.is_refused());
        self.held.note(&mut self.fx, id, &person.name, reason, self.delivery.waiting(id));
    }

    pub(super) fn tell_delivered(&mut self, contact: ContactId, delivered: Vec<Delivered>) {
        if let Some(name) = self.roster.name(contact).filter(|_| !delivered.is_empty()) {
            for (seq, message) in delivered {
                self.conversations.delivered(&mut self.fx, contact, name, seq, message);
            }
            if !self.held.is_empty() {
                self.note_held(contact);
            }
        }
    }

    /// The other side closes the link.
    pub(super) fn goodbye(&mut self, id: ConnectionId, reason: ByeReason) {
        let contact = self.links.contact(id);
        self.close_link(id, None);
        let Some(contact) = contact else {
            return;
        };
        let now = self.fx.now;
        self.dialer.note_goodbye(now, contact, reason);
        match reason {
            // Dialling would only take turns with the newer client of this account, unless discovery can be asked: who
            // has a session with it is the newer.
            ByeReason::SUPERSEDED if !self.rendezvous.is_up() => self.dialer.dial_no_more(contact),
            ByeReason::SUPERSEDED | ByeReason::TRY_LATER => {}
            _ => self.dialer.dial_later(now, contact, true),
        }
    }

    /// The other side breaks the rules: the link is of no use.
    pub(super) fn bad_peer(&mut self, id: ConnectionId, what: &str) {
        let Some((key, route)) = self.links.get(id).map(|link| (link.key, link.route)) else {
            return;
        };
        let contact = self.roster.holder(&key);
        let name = contact.and_then(|contact| self.roster.name(contact)).cloned();
        let who = name.as_ref().map_or_else(|| route.to_string(), ToString::to_string);
        self.close_link(id, Some(ByeReason::NOT_ACCEPTED));
        if contact.is_some_and(|contact| !self.hears(contact)) {
            tracing::info!(%who, what, "a link for a room's sake was cut");
            return;
        }
        self.fx.error(Code::BadPeer, name.as_ref(), format!("the link to {who} was cut: {what}"));
    }

    /// Closes a connection that has not come to a link.
    pub(super) fn reject_link(&mut self, id: ConnectionId, reason: ByeReason) {
        self.links.close(&mut self.fx, id, Some(reason));
    }

    /// Closes a link, says so, and dials again later.
    pub(super) fn close_link(&mut self, id: ConnectionId, reason: Option<ByeReason>) {
        let key = self.links.get(id).map(|link| link.key);
        let Some(closed) = self.links.close(&mut self.fx, id, reason) else {
            return;
        };
        self.delivery.close(id);
        let Some(contact) = closed.contact else {
            return;
        };
        let now = self.fx.now;
        if closed.was_up {
            if let Some(key) = key {
                self.mates.down(key, id);
                self.rooms.unlinked(key);
                self.tell_linked(&key);
            }
            if let Some(person) = self.roster.get(contact).filter(|person| self.intake.hears(person)) {
                let stranger = person.identity.standing == Standing::Stranger;
                self.fx.tell(Notice::Link {
                    peer: person.name.clone(),
                    state: UpDown::Down,
                    stranger,
                    route: None,
                });
                // It was not told while there was a link.
                if person.is_wanted() && self.dialer.presence(contact) == Some(false) {
                    self.fx.tell(Notice::Presence { peer: person.name.clone(), state: false.into() });
                }
            }
            if !self.held.is_empty() {
                self.note_held(contact);
            }
            let silence = i64::try_from(closed.silence.as_millis()).unwrap_or(i64::MAX);
            self.dialer.seen(contact, now.wall.saturating_sub(silence));
            self.dialer.dial_later(now, contact, false);
            ways::seek(self, contact);
        } else if closed.dialled && self.links.of(contact).is_none() {
            // A client that has the key and wants no link may be an older one of theirs, at the older address.
            self.dialer.dial_elsewhere(contact);
            self.dialer.dial_later(now, contact, false);
        }
    }

    /// The room on the journal's disk has changed.
    pub(super) fn disk(&mut self, space: Space) {
        self.intake.set_space(space);
        self.set_rooms_low(space == Space::Low);
        match space {
            Space::Low => {
                let message = "the disk is nearly full: nothing more is taken from peers, who are told so. Your own messages are still kept. Make room, or start with a smaller --keep-free";
                self.fx.error(Code::DiskFull, None, message.into());
            }
            Space::Enough => {
                for link in self.delivery.take_again(None, HoldReason::DISK_FULL) {
                    self.links.say(&mut self.fx, link, vec![Peer::Resume]);
                }
            }
        }
    }
}
