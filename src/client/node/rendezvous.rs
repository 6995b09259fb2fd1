//! The conversation with discovery.
//!
//! Everything discovery says is a statement of fact, and what this side has told it may have been lost
//! with a session: at each login discovery says what it knows of this account's contacts, and the
//! node asks anew for those of whom nothing was said. So both sides agree after every login, whichever
//! of them has lost what.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::super::event::{Action, LinkId, Problem};
use super::super::notice::{Code, Notice, UpDown};
use super::contacts::Contact;
use super::{FAILED, Node};
use crate::protocol::peer::ByeReason;
use crate::protocol::rendezvous::{About, RefusedCode, Register, Status, ToClient, ToDiscovery};
use crate::protocol::{DEAD_AFTER, Name, PING_AFTER, PublicKey};
use crate::store::Result;
use crate::store::journal::{ContactId, Journal, Request};
use crate::time::{Now, millis};

/// The back-off after a first failure, in milliseconds; it doubles with each.
const FIRST_RETRY: u64 = 500;
/// The longest back-off, in milliseconds. When discovery returns, all its clients are back within twice this.
const LAST_RETRY: u64 = 15_000;
/// The back-off where trying again soon is of no use: the name is taken, the key is another one.
const HOPELESS_RETRY: u64 = 60_000;

/// How things stand with discovery.
#[derive(Debug)]
pub struct Rendezvous {
    phase: Phase,
    /// The key that it must prove, once one is pinned.
    key: Option<PublicKey>,
    failures: u32,
    heard: u64,
    said: u64,
    pinged: u64,
    /// Whether the first attempt has come to an end.
    tried: bool,
    /// What the user was last told.
    told: Option<(UpDown, String)>,
    /// Since when it is up or down, by the clock on the wall.
    since: i64,
    /// Of whom discovery has spoken since the login.
    spoken: BTreeSet<ContactId>,
    /// When to repeat the requests that discovery has refused for now.
    ask_again: Option<u64>,
    /// The transaction that changed it last.
    pub touched: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Until this time.
    Waiting(u64),
    Dialling,
    /// Asked to be let in.
    Registering(LinkId),
    Up(LinkId),
    /// Another client has this account now: this one stays out.
    Out,
}

impl Rendezvous {
    pub fn new(now: Now, key: Option<PublicKey>) -> Self {
        Self {
            phase: Phase::Waiting(now.mono),
            key,
            failures: 0,
            heard: now.mono,
            said: now.mono,
            pinged: now.mono,
            tried: false,
            told: None,
            since: 0,
            spoken: BTreeSet::new(),
            ask_again: None,
            touched: 0,
        }
    }

    /// Whether the account has been started somewhere else.
    pub fn is_out(&self) -> bool {
        self.phase == Phase::Out
    }

    /// Whether there is a session.
    pub fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up(_))
    }

    /// Whether the first attempt to reach discovery has come to an end, good or bad.
    pub fn tried(&self) -> bool {
        self.tried
    }

    /// Ends the session, if there is one.
    pub fn leave(&mut self) -> Option<LinkId> {
        let session = self.session();
        self.phase = Phase::Out;
        session
    }

    /// Whether it is up, as the user was told.
    pub fn state(&self) -> UpDown {
        self.told.as_ref().map_or(UpDown::Down, |(state, _)| *state)
    }

    /// More about that.
    pub fn detail(&self) -> Option<&str> {
        self.told.as_ref().map(|(_, detail)| detail.as_str())
    }

    /// Since when that is so, by the clock on the wall.
    pub fn since(&self) -> Option<i64> {
        self.told.as_ref().map(|_| self.since)
    }

    /// What keeps it from being reached, as the user was told.
    pub fn problem(&self) -> Option<&str> {
        self.told.as_ref().filter(|(state, _)| *state == UpDown::Down).map(|(_, detail)| detail.as_str())
    }

    /// Takes the pinned key as it is in the journal.
    pub fn set_key(&mut self, key: Option<PublicKey>) {
        self.key = key;
    }

    fn session(&self) -> Option<LinkId> {
        match self.phase {
            Phase::Registering(session) | Phase::Up(session) => Some(session),
            _ => None,
        }
    }
}

impl Node {
    /// Says something to discovery, if it can be reached.
    pub(super) fn ask_discovery(&mut self, now: Now, message: ToDiscovery) -> bool {
        let Phase::Up(session) = self.rendezvous.phase else {
            return false;
        };
        self.rendezvous.said = now.mono;
        self.actions.push(Action::TellDiscovery(session, vec![message]));
        true
    }

    pub(super) fn rendezvous_up(
        &mut self,
        now: Now,
        journal: &Journal,
        session: LinkId,
        key: PublicKey,
    ) -> Result<()> {
        if self.rendezvous.phase != Phase::Dialling {
            self.actions.push(Action::Close(session));
            return Ok(());
        }
        journal.pin_rendezvous(&self.setup.endpoint, key)?;
        let rendezvous = &mut self.rendezvous;
        rendezvous.key = Some(key);
        rendezvous.phase = Phase::Registering(session);
        (rendezvous.heard, rendezvous.said, rendezvous.pinged) = (now.mono, now.mono, now.mono);
        rendezvous.touched = self.batch;
        rendezvous.spoken.clear();
        let start = Some(self.setup.epoch);
        let register = Register { name: self.setup.name.clone(), listen: self.setup.listen, start };
        self.actions.push(Action::TellDiscovery(session, vec![ToDiscovery::Register(register)]));
        self.wake_at(now.mono);
        Ok(())
    }

    pub(super) fn rendezvous_failed(&mut self, now: Now, problem: &Problem) {
        if self.rendezvous.phase != Phase::Dialling {
            return;
        }
        if let Problem::WrongKey { expected, found: Some(found) } = problem {
            let endpoint = self.setup.endpoint.clone();
            let said = if self.setup.discovery_key.is_some() {
                format!("discovery at {endpoint} has the key {found}, not the one that was given, {expected}")
            } else {
                format!("the key of discovery at {endpoint} was {expected} and is {found} now")
            };
            if self.rendezvous.told.as_ref().is_none_or(|(_, detail)| *detail != said) {
                let advice = "if its operator confirms it, start once with --discovery-key and that key";
                self.trouble(now, Code::KeyChanged, None, format!("{said}; it is refused; {advice}"));
            }
            self.rendezvous_down(now, said, HOPELESS_RETRY);
        } else {
            self.rendezvous_down(now, problem.to_string(), FIRST_RETRY);
        }
    }

    pub(super) fn rendezvous_closed(&mut self, now: Now, session: LinkId) {
        if self.rendezvous.session() == Some(session) {
            self.rendezvous_down(now, "it closed the connection".into(), FIRST_RETRY);
        }
    }

    /// Ends a session that is of no use.
    pub(super) fn drop_rendezvous(&mut self, now: Now, why: &str) {
        if let Some(session) = self.rendezvous.session() {
            self.actions.push(Action::Close(session));
            self.rendezvous_down(now, why.into(), FIRST_RETRY);
        }
    }

    /// A session came up in a transaction that failed, perhaps before it got that far.
    pub(super) fn rendezvous_unused(&mut self, now: Now, session: LinkId) {
        self.actions.push(Action::Close(session));
        if self.rendezvous.phase == Phase::Dialling {
            self.rendezvous_down(now, super::NOT_SAVED.into(), FIRST_RETRY);
        }
    }

    /// What was said in a session may not have been heard, for the transaction failed: it is said again
    /// in the next one.
    pub(super) fn rendezvous_unheard(&mut self, now: Now, session: LinkId) {
        if self.rendezvous.session() == Some(session) {
            self.drop_rendezvous(now, super::NOT_SAVED);
        }
    }

    fn rendezvous_down(&mut self, now: Now, detail: String, first_retry: u64) {
        let rendezvous = &mut self.rendezvous;
        rendezvous.tried = true;
        let wait = (first_retry << rendezvous.failures.min(16)).min(LAST_RETRY.max(first_retry));
        rendezvous.failures += 1;
        // All of it is chance but a little, so that a crowd does not come back at once.
        let next = now.mono + wait / 8 + self.rng.u64(0..=wait);
        rendezvous.phase = Phase::Waiting(next);
        self.wake_at(next);
        self.tell_rendezvous(now, UpDown::Down, detail);
        // Nobody can say any more who is online.
        let all: Vec<ContactId> = self.contacts.keys().copied().collect();
        all.into_iter().for_each(|contact| self.set_presence(now, contact, None));
    }

    fn tell_rendezvous(&mut self, now: Now, state: UpDown, detail: String) {
        let told = Some((state, detail.clone()));
        if self.rendezvous.told != told {
            if self.rendezvous.told.as_ref().is_none_or(|(before, _)| *before != state) {
                self.rendezvous.since = now.wall;
            }
            self.rendezvous.told = told;
            self.tell(now, Notice::Discovery { state, detail });
        }
    }

    /// Discovery is there, whatever it says.
    pub(super) fn heard_discovery(&mut self, now: Now, session: LinkId) {
        if self.rendezvous.session() == Some(session) {
            self.rendezvous.heard = now.mono;
        }
    }

    /// Discovery says something.
    pub(super) fn discovery_says(
        &mut self,
        now: Now,
        journal: &Journal,
        session: LinkId,
        said: &ToClient,
    ) -> Result<()> {
        if self.rendezvous.session() != Some(session) {
            return Ok(());
        }
        if matches!(said, ToClient::Pong) {
            return Ok(());
        }
        self.rendezvous.touched = self.batch;
        match said {
            ToClient::Pong => {}
            ToClient::Registered(registered) => {
                journal.set_registered(&self.setup.endpoint)?;
                self.rendezvous.phase = Phase::Up(session);
                self.rendezvous.failures = 0;
                self.rendezvous.tried = true;
                let detail = format!("registered as {} at {}", self.setup.name, registered.address);
                self.tell_rendezvous(now, UpDown::Up, detail);
            }
            ToClient::Refused(refused) => self.refused(now, journal, refused.code, refused.name.as_ref())?,
            ToClient::Status(status) => self.status(now, journal, status)?,
            ToClient::NoSuchUser(about) => self.no_such_user(now, &about.name),
            ToClient::Synced => self.synced(now),
            ToClient::Identity(identity) => {
                self.identified(now, journal, identity.key, identity.name.as_ref())?;
            }
            ToClient::Superseded(newer) => self.superseded(now, newer.address.ip()),
        }
        Ok(())
    }

    fn status(&mut self, now: Now, journal: &Journal, status: &Status) -> Result<()> {
        if status.name == self.setup.name {
            return Ok(());
        }
        // Also for somebody whom this journal does not know but discovery calls connected: it was
        // restored from a backup, and they are still a contact on their side.
        let Some(id) = self.asked_by(now, journal, &status.name, status.key)? else {
            if let Some(id) = self.by_name.get(&status.name) {
                self.rendezvous.spoken.insert(*id);
            }
            return Ok(());
        };
        self.rendezvous.spoken.insert(id);
        self.learn_status(now, id, status.address, status.online);
        let Some(contact) = self.contacts.get_mut(&id) else {
            return Ok(());
        };
        if contact.row.request == Request::Unconfirmed {
            contact.row.request = Request::Kept;
            contact.dirty = true;
        }
        if contact.link.is_some() && (status.asks || contact.row.request == Request::Kept) {
            self.report_link(now, id);
        }
        Ok(())
    }

    /// Discovery has said all that it knows: asks for the others.
    fn synced(&mut self, now: Now) {
        self.dial_given_up(now);
        let contacts: Vec<(ContactId, Name, bool)> = self
            .contacts
            .values()
            .filter(|contact| !contact.row.blocked && !contact.row.is_withdrawn())
            .map(|contact| (contact.row.id, contact.row.name.clone(), contact.link.is_some()))
            .collect();
        for (id, name, linked) in contacts {
            if !self.rendezvous.spoken.contains(&id) {
                self.ask_discovery(now, ToDiscovery::Request(About { name }));
            }
            if linked {
                self.report_link(now, id);
            }
        }
    }

    /// There is no such user: what was meant for one is given back. A contact whose key is known does
    /// exist, whatever this discovery (which may have lost its database) knows.
    fn no_such_user(&mut self, now: Now, name: &Name) {
        let last = self.seq;
        let Some(contact) = self.contact_named(name).filter(|contact| {
            contact.row.key.is_none() && !contact.row.blocked && !contact.row.is_withdrawn()
        }) else {
            return;
        };
        contact.row.base = last.max(contact.row.delivered + 1);
        contact.row.request = Request::None;
        contact.dirty = true;
        let id = contact.row.id;
        self.tell_withdrawn(now, id);
        self.attention.contacts_changed();
        self.leave_conversation_with(now, id);
    }

    /// Says that there is no such user.
    fn tell_withdrawn(&mut self, now: Now, id: ContactId) {
        let Some(contact) = self.contacts.get(&id) else {
            return;
        };
        let name = contact.row.name.clone();
        let what = match contact.waiting {
            0 => "the request is withdrawn".to_owned(),
            waiting => format!("the request is withdrawn, and so is what waited for {name} ({waiting})"),
        };
        self.refuse(now, Code::NoSuchUser, Some(&name), format!("there is no user {name}; {what}"));
    }

    /// Says again of whom an earlier start may have said it to nobody.
    pub(super) fn tell_withdrawn_again(&mut self, now: Now) {
        let withdrawn = |contact: &&Contact| contact.row.is_withdrawn();
        let all: Vec<ContactId> =
            self.contacts.values().filter(withdrawn).map(|contact| contact.row.id).collect();
        all.into_iter().for_each(|contact| self.tell_withdrawn(now, contact));
    }

    fn refused(&mut self, now: Now, journal: &Journal, code: RefusedCode, name: Option<&Name>) -> Result<()> {
        let Phase::Registering(session) = self.rendezvous.phase else {
            self.request_refused(now, code, name);
            return Ok(());
        };
        self.actions.push(Action::Close(session));
        let taken = matches!(code, RefusedCode::NAME_TAKEN | RefusedCode::KEY_IN_USE | RefusedCode::RELEASED);
        let (kind, retry) =
            if taken { (Code::NameTaken, HOPELESS_RETRY) } else { (Code::Refused, FIRST_RETRY) };
        let advice = if taken { "; choose another name, or use the journal that holds its key" } else { "" };
        let detail = format!("{} can't be registered: {code}{advice}", self.setup.name);
        if self.rendezvous.told.as_ref().is_none_or(|(_, told)| *told != detail) {
            let own = self.setup.name.clone();
            self.trouble(now, kind, Some(&own), detail.clone());
        }
        self.rendezvous_down(now, detail.clone(), retry);
        // Somebody who was never registered has nothing to stay for.
        if taken && !journal.registered_anywhere()? {
            self.take_errand_back(journal, &detail)?;
            if self.contacts.is_empty() {
                self.leave(now, FAILED, Some(detail));
            }
        }
        Ok(())
    }

    /// The request stays, and is repeated later; it is said once.
    fn request_refused(&mut self, now: Now, code: RefusedCode, name: Option<&Name>) {
        self.rendezvous.ask_again = Some(now.mono + HOPELESS_RETRY);
        self.wake_at(now.mono + HOPELESS_RETRY);
        let said = name
            .and_then(|name| self.contact_named(name))
            .is_some_and(|contact| contact.refused.replace(Code::Refused) == Some(Code::Refused));
        if !said {
            let whom = name.map_or_else(String::new, |name| format!(" the request for {name}"));
            self.trouble(
                now,
                Code::Refused,
                name,
                format!("discovery refused{whom}: {code}; it is tried again later"),
            );
        }
    }

    fn ask_again(&mut self, now: Now) {
        let unconfirmed: Vec<Name> = self
            .contacts
            .values()
            .filter(|contact| contact.row.request == Request::Unconfirmed)
            .map(|contact| contact.row.name.clone())
            .collect();
        for name in unconfirmed {
            self.ask_discovery(now, ToDiscovery::Request(About { name }));
        }
    }

    fn superseded(&mut self, now: Now, address: IpAddr) {
        let session = self.rendezvous.leave();
        let detail = format!(
            "this account was started again at {address}; this client stays out until it is restarted"
        );
        self.trouble(now, Code::Superseded, None, detail.clone());
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        links.into_iter().for_each(|link| self.close_link(now, link, Some(ByeReason::LOGOUT)));
        self.actions.extend(session.map(Action::Close));
        self.tell_rendezvous(now, UpDown::Down, "superseded by a newer client".into());
        let all: Vec<ContactId> = self.contacts.keys().copied().collect();
        all.into_iter().for_each(|contact| self.set_presence(now, contact, None));
    }

    /// Dials discovery, pings it, and gives up a session in which nothing is heard.
    pub(super) fn tick_rendezvous(&mut self, now: Now) {
        match self.rendezvous.phase {
            Phase::Waiting(until) if now.mono >= until => {
                self.rendezvous.phase = Phase::Dialling;
                self.actions.push(Action::DialRendezvous(self.rendezvous.key));
            }
            Phase::Waiting(until) => self.wake_at(until),
            Phase::Registering(_) | Phase::Up(_) => {
                let dead = self.rendezvous.heard + millis(DEAD_AFTER);
                if now.mono >= dead {
                    self.drop_rendezvous(now, "nothing heard from it for too long");
                    return;
                }
                // Not everything is answered: a ping is also how this side hears something.
                let due = |this: &Rendezvous| this.pinged.max(this.said.min(this.heard)) + millis(PING_AFTER);
                if now.mono >= due(&self.rendezvous) {
                    self.rendezvous.pinged = now.mono;
                    self.ask_discovery(now, ToDiscovery::Ping);
                }
                match self.rendezvous.ask_again {
                    Some(at) if now.mono >= at => {
                        self.rendezvous.ask_again = None;
                        self.ask_again(now);
                    }
                    Some(at) => self.wake_at(at),
                    None => {}
                }
                self.wake_at(dead.min(due(&self.rendezvous)));
            }
            Phase::Dialling | Phase::Out => {}
        }
    }
}
