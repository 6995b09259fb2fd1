//! What is known about a contact, and the one thing that explains why they can't be reached.

use std::net::SocketAddr;

use super::super::notice::{
    AddressLine, Body, ContactLine, Goodbye, HeldReason, HistoryLine, Nat, OnOff, Reason, UpDown, Why,
};
use super::conversations::Conversations;
use super::delivery::Delivery;
use super::dialer::{Dialer, Outlook};
use super::held::Held;
use super::links::Links;
use super::outside::Outside;
use super::reach::Reach;
use super::rendezvous::Rendezvous;
use super::roster::{Person, Roster};
use crate::protocol::Name;
use crate::protocol::peer::ByeReason;
use crate::store::journal::{ContactId, ConversationId, Entry, Request, Standing};
use crate::time::{Instant, Now};
use crate::transport::Route;

/// All that the machines know, to be read.
pub struct View<'n> {
    pub roster: &'n Roster,
    pub rendezvous: &'n Rendezvous,
    pub dialer: &'n Dialer,
    pub reach: &'n Reach,
    pub outside: &'n Outside,
    pub links: &'n Links,
    pub delivery: &'n Delivery,
    pub held: &'n Held,
    pub conversations: &'n Conversations,
}

impl View<'_> {
    /// A contact in a list.
    pub fn contact(&self, id: ContactId) -> Option<ContactLine> {
        let person = self.roster.get(id)?;
        let Person { name, identity, .. } = person;
        let outlook = self.dialer.outlook(id)?;
        // A link with a blocked one is for a room's sake.
        let linked_since = self.links.since(id).filter(|_| !identity.blocked);
        let presence = self.dialer.presence(id);
        let is_there = linked_since.is_some() || presence == Some(true);
        Some(ContactLine {
            peer: name.clone(),
            fingerprint: identity.key,
            offered: identity.offered,
            verified: person.is_verified(),
            linked: linked_since.is_some(),
            linked_since,
            route: self.links.via(id).filter(|_| !identity.blocked),
            presence: presence.map(Into::into),
            presence_since: self.dialer.presence_since(id),
            last_seen: outlook.whereabouts.seen.filter(|_| !is_there),
            requested: matches!(identity.request, Request::Unconfirmed | Request::Kept),
            stranger: identity.standing == Standing::Stranger,
            blocked: identity.blocked,
            waiting: self.delivery.waiting(id),
            unread: self.conversations.unread(ConversationId::User(id)),
            bytes: self.delivery.bytes(id),
            address: outlook.routes.iter().find_map(Route::remote),
        })
    }

    /// Why a contact can't be reached, and what has been tried.
    pub fn why(&self, now: Now, id: ContactId) -> Option<Why> {
        let person = self.roster.get(id)?;
        let outlook = self.dialer.outlook(id)?;
        let sought = self.links.of(id).is_none() && person.is_dialled() && !self.rendezvous.is_out();
        let dial = outlook.next.filter(|_| person.identity.key.is_some() && !outlook.routes.is_empty());
        let help = self.reach.next(now, id).filter(|_| self.dialer.presence(id) == Some(true));
        let next = dial.into_iter().chain(help.filter(|at| *at > now.mono)).min().filter(|_| sought);
        let helped = sought && dial.is_none() && help.is_some_and(|at| at <= now.mono);
        let asked = self.rendezvous.next_try(now).filter(|_| sought);
        let on_the_wall = |at: Instant| {
            let wait = i64::try_from(at.since(now.mono).as_millis()).unwrap_or(i64::MAX);
            now.wall.saturating_add(wait)
        };
        Some(Why {
            reason: self.reason(id, person, &outlook),
            contact: self.contact(id)?,
            discovery: self.rendezvous.told().clone(),
            nat: self.nat(),
            addresses: places(&outlook),
            dialling: outlook.underway || helped,
            next_dial: next.map(on_the_wall),
            asking: asked.is_some_and(|at| at <= now.mono),
            next_asked: asked.filter(|at| *at > now.mono).map(on_the_wall),
            goodbye: outlook.goodbye.map(|(at, reason)| Goodbye { at, reason: in_words(reason).into() }),
        })
    }

    fn nat(&self) -> Option<Nat> {
        let Self { outside, .. } = self;
        Some(Nat { kind: outside.between()?, observed: outside.seen_at()?, mapped: outside.mapped() })
    }

    fn reason(&self, id: ContactId, person: &Person, outlook: &Outlook<'_>) -> Reason {
        let identity = &person.identity;
        let failed = outlook
            .attempts
            .iter()
            .any(|attempt| attempt.problem.is_some() && outlook.routes.contains(&attempt.route));
        // A word of theirs holds until an attempt fails.
        let unwanted = outlook.goodbye.is_some_and(|(at, reason)| {
            reason == ByeReason::NOT_ACCEPTED
                && !outlook.attempts.iter().any(|attempt| attempt.problem.is_some() && attempt.at > at)
        });
        if identity.blocked {
            Reason::Blocked
        } else if self.links.of(id).is_some() {
            match self.held.reason(id) {
                Some(HeldReason::DiskFull) => Reason::DiskFull,
                Some(HeldReason::NotAnswered) => Reason::NotAnswered,
                None => Reason::Linked,
            }
        } else if self.rendezvous.is_out() {
            Reason::Superseded
        } else if identity.standing == Standing::Stranger {
            Reason::Stranger
        } else if identity.request == Request::Ended {
            Reason::Dropped
        } else if identity.offered.is_some() {
            Reason::KeyChanged
        } else if identity.key.is_none() {
            Reason::UnknownKey
        } else if self.dialer.presence(id) == Some(false) {
            Reason::Offline
        } else if self.held.reason(id) == Some(HeldReason::NotAnswered) {
            Reason::NotAnswered
        } else if unwanted {
            Reason::NotAccepted
        } else if outlook.routes.is_empty() {
            Reason::NoAddress
        } else if !failed {
            Reason::Dialling
        } else if self.rendezvous.is_up() {
            Reason::NoAnswer
        } else {
            Reason::DiscoveryDown
        }
    }

    /// The same for one message, in a few words.
    pub fn why_not_delivered(&self, id: ContactId) -> String {
        let Some(Person { name, identity, .. }) = self.roster.get(id) else {
            return "there is no such contact".into();
        };
        let discovery = self.rendezvous.told();
        if identity.offered.is_some() {
            format!("the key of {name} has changed: see TRUST")
        } else if let Some(reason) = self.held.reason(id) {
            match reason {
                HeldReason::NotAnswered => format!("{name} has not answered your request"),
                HeldReason::DiskFull => format!("the disk of {name} is nearly full"),
            }
        } else if identity.request == Request::Ended {
            format!("{name} has ended the contact, or did not answer in time")
        } else if self.links.of(id).is_some() {
            format!("{name} is linked, and has not confirmed it")
        } else if let Some(online) = self.dialer.presence(id) {
            format!("discovery says {name} is {}", OnOff::from(online).word())
        } else if discovery.state == UpDown::Down && discovery.since.is_some() {
            format!("discovery: {}", discovery.detail)
        } else {
            format!("{name} could not be reached")
        }
    }

    /// An entry of the conversation with a contact; `own` is this account's name.
    pub fn history_line(&self, own: &Name, id: ContactId, entry: Entry) -> Option<HistoryLine> {
        let seq = entry.seq();
        let delivered = match &entry {
            Entry::Sent(sent) => sent.seq <= self.delivery.delivered(id),
            Entry::Received(_) => true,
        };
        let text = match &entry {
            Entry::Sent(sent) => Body::new(sent.message.kind, &sent.message.body),
            Entry::Received(received) => Body::of(&received.message, received.dropped),
        };
        let (from, message, received) = match entry {
            Entry::Sent(sent) => (own, sent.message, None),
            Entry::Received(received) => (self.roster.name(id)?, received.message, Some(received.arrived)),
        };
        Some(HistoryLine {
            seq,
            id: message.cursor(),
            from: from.clone(),
            text,
            sent: message.sent,
            received,
            delivered,
        })
    }
}

fn in_words(reason: ByeReason) -> &'static str {
    match reason {
        ByeReason::LOGOUT => "its user left",
        ByeReason::SUPERSEDED => "a newer client of this account has connected",
        ByeReason::NOT_ACCEPTED => "it takes no link from this account",
        ByeReason::TRY_LATER => "it can't find out at the moment who this is",
        _ => "for a reason that this version does not know",
    }
}

/// Where a contact may be, those first that would be tried first.
fn places(outlook: &Outlook<'_>) -> Vec<AddressLine> {
    let mut routes = outlook.routes.clone();
    let earlier = outlook.attempts.iter().map(|attempt| attempt.route);
    routes.extend(earlier.filter(|route| !outlook.routes.contains(route)));
    let is = |route: Route, address: Option<SocketAddr>| address.is_some() && route.remote() == address;
    let line = |route| {
        let attempt = outlook.attempts.iter().find(|attempt| attempt.route == route);
        AddressLine {
            address: route,
            route: route.via(),
            worked: is(route, outlook.whereabouts.reached),
            told: is(route, outlook.whereabouts.told),
            tried: attempt.map(|attempt| attempt.at),
            problem: attempt.and_then(|attempt| attempt.problem.clone()),
        }
    };
    routes.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::event::{Problem, Reached};
    use super::super::super::notice::{Look, Notice};
    use super::super::effects::Effects;
    use super::super::rendezvous::Keys;
    use super::super::tests::support::*;
    use super::*;
    use crate::protocol::peer::Via;
    use crate::protocol::{PublicKey, rendezvous::Register};
    use crate::transport::Route;

    struct Machines {
        fx: Effects,
        roster: Roster,
        rendezvous: Rendezvous,
        dialer: Dialer,
        reach: Reach,
        outside: Outside,
        links: Links,
        delivery: Delivery,
        held: Held,
        conversations: Conversations,
    }

    impl Machines {
        /// Nothing is known of bob, but discovery can be asked.
        fn new() -> Self {
            let journal = journal(&["bob"]);
            let rows = journal.contacts().unwrap();
            let keys = Keys::new(["host:1".to_owned()].into(), None, None);
            let (mut fx, mut rendezvous) = (effects(), Rendezvous::new(at(0), keys, 1));
            rendezvous.tick(&mut fx);
            let register =
                Register::new(name("alice"), address(1), None, crate::protocol::rendezvous::Strangers::All);
            rendezvous.connected(&mut fx, 1, OTHER, (address(1), &Reached::default()), register);
            rendezvous.registered(&mut fx, "registered".into());
            Self {
                fx,
                roster: Roster::load(&rows),
                rendezvous,
                dialer: Dialer::load(at(0), &rows, 1),
                reach: Reach::default(),
                outside: Outside::default(),
                links: Links::new(OWN),
                delivery: Delivery::load(&journal, &rows, 7, 5).unwrap(),
                held: Held::new(),
                conversations: Conversations::load(&journal, OWN, &rows, 0).unwrap(),
            }
        }

        /// Discovery says who and where bob is.
        fn status(&mut self, key: PublicKey, port: u16, online: bool) {
            self.roster.learn(&name("bob"), key);
            self.dialer.learn(self.fx.now, 1, Some(address(port)), online);
            self.dialer.set_presence(self.fx.now, 1, Some(online));
        }

        fn fails(&mut self, ms: u64, port: u16) {
            self.fx.now = at(ms);
            self.dialer.failed(at(ms), 1, &[(address(port).into(), Problem::Other("refused".into()))]);
        }

        fn down(&mut self) {
            self.rendezvous.give_up(&mut self.fx, "it closed the connection");
            self.dialer.set_presence(self.fx.now, 1, None);
        }

        fn link(&mut self) {
            self.links.add(&self.fx, 1, BOB, false, Route::Direct { remote: address(4000) }, 0);
            self.links.greet(&mut self.fx, 1, 1, hello(1, &[]));
            self.links.greeted(&mut self.fx, 1, 1, &name("bob"), &hello(1, &[]));
        }

        fn view(&self) -> View<'_> {
            let Self {
                roster, rendezvous, dialer, reach, outside, links, delivery, held, conversations, ..
            } = self;
            View { roster, rendezvous, dialer, reach, outside, links, delivery, held, conversations }
        }

        fn why(&self) -> Why {
            self.view().why(self.fx.now, 1).unwrap()
        }

        fn says(&self) -> (Reason, String) {
            (self.why().reason, self.view().why_not_delivered(1))
        }
    }

    fn text(why: Why) -> String {
        let mut text = Vec::new();
        Notice::Why(Box::new(why)).write_text(&Look::default(), &mut text);
        String::from_utf8(text).unwrap().lines().next().unwrap().to_owned()
    }

    #[test]
    fn why_names_the_one_thing_that_explains_it() {
        let said = |reason, words: &str| (reason, words.to_owned());
        let (online, changed) = ("discovery says bob is online", "the key of bob has changed: see TRUST");
        let mut it = Machines::new();
        assert_eq!(it.view().why_not_delivered(2), "there is no such contact");
        assert_eq!(it.says(), said(Reason::UnknownKey, "bob could not be reached"));
        it.roster.learn(&name("bob"), BOB);
        assert_eq!(it.says(), said(Reason::NoAddress, "bob could not be reached"));
        it.status(BOB, 4000, true);
        assert_eq!(it.says(), said(Reason::Dialling, online));
        it.fails(1, 4000);
        assert_eq!(it.says(), said(Reason::NoAnswer, online));
        it.status(BOB, 4001, true);
        assert_eq!(it.says(), said(Reason::Dialling, online), "no attempt counts where he is not any more");
        it.dialer.note_goodbye(at(2), 1, ByeReason::NOT_ACCEPTED);
        assert_eq!(it.says(), said(Reason::NotAccepted, online));
        it.fails(3, 4001);
        assert_eq!(it.says(), said(Reason::NoAnswer, online), "a word of his holds until an attempt fails");
        it.status(BOB, 4001, false);
        assert_eq!(it.says(), said(Reason::Offline, "discovery says bob is offline"));
        it.down();
        assert_eq!(it.says(), said(Reason::DiscoveryDown, "discovery: it closed the connection"));
        it.roster.learn(&name("bob"), OTHER);
        assert_eq!(it.says(), said(Reason::KeyChanged, changed));
        it.rendezvous.superseded(&mut it.fx);
        assert_eq!(it.says(), said(Reason::Superseded, changed));
        it.roster.set_blocked(1, true);
        assert_eq!(it.says(), said(Reason::Blocked, changed));
        it.link();
        assert_eq!(it.says(), said(Reason::Blocked, changed), "the link is for a room's sake");
        it.roster.set_blocked(1, false);
        assert_eq!(it.says(), said(Reason::Linked, changed));
        it.roster.learn(&name("bob"), BOB);
        assert_eq!(it.says(), said(Reason::Linked, "bob is linked, and has not confirmed it"));
    }

    #[test]
    fn why_says_what_was_tried() {
        let mut it = Machines::new();
        it.status(BOB, 4000, true);
        it.dialer.reached(it.fx.now, 1, Some(address(4000)));
        it.fails(1, 4000);
        it.dialer.note_goodbye(it.fx.now, 1, ByeReason::LOGOUT);
        let why = it.why();
        let problem = Some("refused".to_owned());
        let line = AddressLine {
            address: address(4000).into(),
            route: Via::Direct,
            worked: true,
            told: true,
            tried: Some(1_000_001),
            problem,
        };
        assert_eq!((&why.addresses[..], why.dialling), (&[line][..], false));
        assert!(why.next_dial > Some(1_000_001));
        assert_eq!(why.goodbye, Some(Goodbye { at: 1_000_001, reason: "its user left".into() }));
        assert_eq!(
            text(why),
            "* bob does not answer at 127.0.0.1:4000: refused, but discovery says bob is online"
        );
        it.status(BOB, 4001, true);
        it.fails(2, 4001);
        let ports: Vec<_> =
            it.why().addresses.iter().map(|place| place.address.remote().unwrap().port()).collect();
        assert_eq!(ports, [4001, 4000]);
        it.down();
        assert!(
            text(it.why())
                .starts_with("* discovery is not reachable (it closed the connection), and bob does not")
        );
        it.roster.set_blocked(1, true);
        assert_eq!(it.why().next_dial, None);
    }

    #[test]
    fn a_contact_is_there_or_was_there_last() {
        let mut it = Machines::new();
        it.status(BOB, 4000, true);
        let is = |it: &Machines| {
            it.view().contact(1).map(|it| (it.linked_since, it.presence_since, it.last_seen)).unwrap()
        };
        assert_eq!(is(&it), (None, Some(1_000_000), None));
        it.fx.now = at(1);
        it.status(BOB, 4000, false);
        it.link();
        assert_eq!(is(&it), (Some(1_000_001), Some(1_000_001), None));
        it.links.close(&mut it.fx, 1, None);
        assert_eq!(is(&it), (None, Some(1_000_001), Some(1_000_001)));
    }
}
