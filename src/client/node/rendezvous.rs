//! The session with discovery.
//!
//! Everything discovery says is a statement of fact, and what this side has told it may have been lost with a session:
//! at each login discovery says what it knows of this account's contacts, and the node asks anew for the others. So both
//! sides agree after every login, whichever of them has lost what.
//!
//! Discovery may be at several addresses, any of which will do. Where a session is lost or refused, the others are tried at
//! once; once all of them have led to nothing, which ends a round, they are tried again later. In which order, the network's
//! threads find out, for they look up the names.
//!
//! - `keys`: which key it must prove.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::super::event::{Action, ConnectionId, Missed, Problem, Reached};
use super::super::notice::{Code, DiscoveryLine, Notice, UpDown};
use super::effects::Effects;
use crate::protocol::rendezvous::{RefusedCode, Register, ToDiscovery};
use crate::protocol::{DEAD_AFTER, Name, PING_AFTER, PublicKey};
use crate::store::journal::ContactId;
use crate::time::{Instant, Now};
pub use keys::Keys;

mod keys;

/// The back-off after a first failure; it doubles with each.
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// The longest back-off. When discovery returns, all its clients are back within twice this.
const LAST_RETRY: Duration = Duration::from_secs(15);
/// The back-off where trying again soon is of no use: the name is taken, the key is another one.
const HOPELESS_RETRY: Duration = Duration::from_secs(60);

/// How many places are named in one line.
const NAMED: usize = 8;
/// A session that lasted so long shows that discovery works there: those that led to nothing before it may do so too now.
/// After a shorter one they stay out of the round, or two that fail at once would take turns without end.
const STEADY: Duration = LAST_RETRY;

/// See the module.
#[derive(Debug, Clone)]
pub struct Rendezvous {
    phase: Phase,
    keys: Keys,
    /// How many times it was dialled.
    dials: u32,
    /// Which one the session is with, or was with last.
    at: String,
    remote: Option<SocketAddr>,
    /// Its other addresses.
    others: Arc<[SocketAddr]>,
    /// Those that have led to nothing in this round: they are not dialled again before its end.
    tried: Vec<SocketAddr>,
    /// What went wrong in this round, by where, so that two rounds in which the same goes wrong read the same.
    troubles: BTreeMap<String, String>,
    /// When the session that there is, or was last, was registered.
    registered_at: Option<Instant>,
    /// Why it has last refused to register this account, since it was registered.
    refusal: Option<RefusedCode>,
    /// How many rounds in a row were in vain.
    failures: u32,
    last_received: Instant,
    last_sent: Instant,
    last_ping: Instant,
    /// Whether the first round has come to an end.
    ended: bool,
    /// What the user was last told.
    told: DiscoveryLine,
    /// The contacts that discovery has spoken of since the login, until it has said all that it knows.
    spoken: Option<BTreeSet<ContactId>>,
    /// When to repeat the requests that discovery has refused for now.
    ask_again: Option<Instant>,
    /// Those for whom a request was refused, which was said.
    refused: BTreeSet<Name>,
    rng: fastrand::Rng,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Until this time.
    Waiting(Instant),
    Dialling,
    /// Asked to be let in.
    Registering(ConnectionId),
    Up(ConnectionId),
    /// Another client has this account now: this one stays out.
    Out,
}

/// What follows from the time.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// The session is over.
    pub lost: bool,
    /// The requests that discovery has not confirmed are to be repeated.
    pub ask_again: bool,
}

impl Rendezvous {
    /// Discovery is dialled at once.
    pub fn new(now: Now, keys: Keys, seed: u64) -> Self {
        Self {
            phase: Phase::Waiting(now.mono),
            keys,
            dials: 0,
            at: String::new(),
            remote: None,
            others: Arc::default(),
            tried: Vec::new(),
            troubles: BTreeMap::new(),
            registered_at: None,
            refusal: None,
            failures: 0,
            last_received: now.mono,
            last_sent: now.mono,
            last_ping: now.mono,
            ended: false,
            told: DiscoveryLine { state: UpDown::Down, detail: "not yet reached".into(), since: None },
            spoken: None,
            ask_again: None,
            refused: BTreeSet::new(),
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// Whether the account has been started somewhere else.
    pub fn is_out(&self) -> bool {
        self.phase == Phase::Out
    }

    pub fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up(_))
    }

    /// Whether the first round of trying to reach discovery has come to an end, good or bad.
    pub fn tried(&self) -> bool {
        self.ended
    }

    /// What the user was last told.
    pub fn told(&self) -> &DiscoveryLine {
        &self.told
    }

    pub fn is_session(&self, session: ConnectionId) -> bool {
        self.session() == Some(session)
    }

    fn session(&self) -> Option<ConnectionId> {
        match self.phase {
            Phase::Registering(session) | Phase::Up(session) => Some(session),
            _ => None,
        }
    }

    /// Says something to discovery. Returns whether it can be reached.
    pub fn ask(&mut self, fx: &mut Effects, message: ToDiscovery) -> bool {
        let Phase::Up(session) = self.phase else {
            return false;
        };
        self.last_sent = fx.now.mono;
        fx.tell_discovery(session, message);
        true
    }

    /// How many times discovery was dialled before the last time.
    pub fn dial(&self) -> u32 {
        self.dials.saturating_sub(1)
    }

    /// Whether discovery is at that address by what the user has said.
    pub fn is_at(&self, address: SocketAddr) -> bool {
        self.remote == Some(address) || self.others.contains(&address)
    }

    /// A session stands, with a discovery that has proved `key`. Returns whether it is used.
    pub fn connected(
        &mut self,
        fx: &mut Effects,
        session: ConnectionId,
        key: PublicKey,
        (remote, reached): (SocketAddr, &Reached),
        register: Register,
    ) -> bool {
        if self.phase != Phase::Dialling {
            fx.close(session, None);
            return false;
        }
        self.keys.proved(&reached.at, key);
        for said in self.keys.news(&reached.missed) {
            fx.error(Code::KeyChanged, None, format!("{said}. It is refused, and {} is used", reached.at));
        }
        (self.at, self.remote) = (reached.at.clone(), Some(remote));
        self.others = Arc::clone(&reached.others);
        self.registered_at = None;
        self.phase = Phase::Registering(session);
        let now = fx.now.mono;
        (self.last_received, self.last_sent, self.last_ping) = (now, now, now);
        self.spoken = Some(BTreeSet::new());
        fx.tell_discovery(session, ToDiscovery::Register(register));
        true
    }

    /// A round is over; nothing was missed where nothing was left to be tried.
    pub fn failed(&mut self, fx: &mut Effects, missed: &[Missed]) {
        if self.phase != Phase::Dialling {
            return;
        }
        if self.keys.accepts(missed) {
            self.phase = Phase::Waiting(fx.now.mono);
            return;
        }
        for said in self.keys.news(missed) {
            let advice = "Ask its operator: TRUST discovery and the first 16 digits of the right key accept it (or start once with --discovery-key and that key)";
            fx.error(Code::KeyChanged, None, format!("{said}. It is refused. {advice}"));
        }
        self.keys.offered(missed);
        let is_key = |one: &Missed| matches!(one.problem, Problem::WrongKey { .. });
        let hopeless = self.tried.is_empty() && missed.iter().all(is_key);
        self.troubles.extend(missed.iter().map(|one| (one.at.clone(), self.keys.in_words(one))));
        self.end_round(fx, if hopeless { HOPELESS_RETRY } else { FIRST_RETRY });
    }

    /// The user accepts a key that discovery was refused for, if the digits name it. Returns that key, which is to be
    /// saved; discovery is dialled at once.
    ///
    /// # Errors
    /// Why the key is not accepted.
    pub fn trust(&mut self, now: Now, digits: Option<&str>) -> Result<PublicKey, (Code, String)> {
        let key = self.keys.trust(digits)?;
        self.failures = 0;
        if let Phase::Waiting(until) = &mut self.phase {
            *until = now.mono;
        }
        Ok(key)
    }

    /// A session has ended by itself. Returns whether it was this one.
    pub fn closed(&mut self, fx: &mut Effects, session: ConnectionId) -> bool {
        let ours = self.is_session(session);
        if ours {
            let detail = format!("{} closed the connection", self.it());
            self.next(fx, detail);
        }
        ours
    }

    /// Ends a session that is of no use, whichever discovery it is with.
    pub fn give_up(&mut self, fx: &mut Effects, why: &str) {
        if let Some(session) = self.session() {
            fx.close(session, None);
            self.down(fx, why.into(), FIRST_RETRY);
        }
    }

    /// The one that the session is with, named only if there are others.
    fn it(&self) -> &str {
        if self.others.is_empty() { "it" } else { &self.at }
    }

    /// The session is over: tries the others, if there are any that have not just led to nothing as well.
    fn next(&mut self, fx: &mut Effects, why: String) {
        let now = fx.now.mono;
        if self.registered_at.is_some_and(|since| now >= since + STEADY) {
            self.tried.clear();
            self.troubles.clear();
        }
        self.tried.extend(self.remote);
        self.troubles.insert(self.at.clone(), why.clone());
        if self.others.iter().all(|other| self.tried.contains(other)) {
            return self.end_round(fx, FIRST_RETRY);
        }
        self.phase = Phase::Waiting(now);
        // That there was none before, the user knows; why, the end of the round tells.
        if self.told.state == UpDown::Up {
            self.tell(fx, UpDown::Down, why);
        }
    }

    fn end_round(&mut self, fx: &mut Effects, first_retry: Duration) {
        let mut words: Vec<String> = self.troubles.values().take(NAMED).cloned().collect();
        let more = self.troubles.len().saturating_sub(NAMED);
        words.extend((more > 0).then(|| format!("and {more} more")));
        self.down(fx, words.join("; "), first_retry);
    }

    /// An attempt to reach discovery came to nothing.
    pub fn not_connected(&mut self, fx: &mut Effects, why: &str) {
        if self.phase == Phase::Dialling {
            self.down(fx, why.into(), FIRST_RETRY);
        }
    }

    fn down(&mut self, fx: &mut Effects, detail: String, first_retry: Duration) {
        self.ended = true;
        self.tried.clear();
        self.troubles.clear();
        let most = LAST_RETRY.max(first_retry);
        let wait = first_retry.saturating_mul(1 << self.failures.min(16)).min(most);
        self.failures += 1;
        // All of it is chance but a little, so that a crowd does not come back at once.
        let chance = self.rng.u64(0..=u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        self.phase = Phase::Waiting(fx.now.mono + wait / 8 + Duration::from_millis(chance));
        self.tell(fx, UpDown::Down, detail);
    }

    fn tell(&mut self, fx: &mut Effects, state: UpDown, detail: String) {
        let same = self.told.state == state;
        if same && self.told.detail == detail {
            return;
        }
        let since = self.told.since.filter(|_| same).or(Some(fx.now.wall));
        self.told = DiscoveryLine { state, detail: detail.clone(), since };
        fx.tell(Notice::Discovery { state, detail });
    }

    pub fn received(&mut self, now: Now) {
        self.last_received = now.mono;
    }

    pub fn registered(&mut self, fx: &mut Effects, mut detail: String) {
        if let Some(session) = self.session() {
            self.phase = Phase::Up(session);
            self.failures = 0;
            self.refusal = None;
            self.ended = true;
            self.registered_at.get_or_insert(fx.now.mono);
            if !self.others.is_empty() {
                detail = format!("{detail}, with discovery at {}", self.at);
            }
            self.tell(fx, UpDown::Up, detail);
        }
    }

    /// Whether discovery has not yet answered the registration.
    pub fn is_registering(&self) -> bool {
        matches!(self.phase, Phase::Registering(_))
    }

    /// Discovery does not register `user`. Returns why, in words, if the name will not become free soon.
    pub fn not_registered(&mut self, fx: &mut Effects, user: &Name, code: RefusedCode) -> Option<String> {
        let session = self.session()?;
        fx.close(session, None);
        let taken = matches!(code, RefusedCode::NAME_TAKEN | RefusedCode::KEY_IN_USE | RefusedCode::RELEASED);
        let kind = if taken { Code::NameTaken } else { Code::Refused };
        let advice = if taken { "; choose another name, or use the journal that holds its key" } else { "" };
        let with = if taken || self.others.is_empty() { String::new() } else { format!(" with {}", self.at) };
        let detail = format!("{user} can't be registered{with}: {code}{advice}");
        if self.refusal.replace(code) != Some(code) {
            fx.error(kind, Some(user), detail.clone());
        }
        // The others have the same names.
        if taken {
            self.down(fx, detail.clone(), HOPELESS_RETRY);
        } else {
            self.next(fx, detail.clone());
        }
        taken.then_some(detail)
    }

    /// Discovery has refused a request, which stays and is repeated later. Of a contact that is said once.
    pub fn request_refused(
        &mut self,
        fx: &mut Effects,
        code: RefusedCode,
        name: Option<&Name>,
        contact: bool,
    ) {
        if name.is_none() && code == RefusedCode::TOO_MANY_QUESTIONS {
            // The keys that it was asked about are those of strangers, who could fill the screen with it and put off for
            // ever what the user has asked for. Their links end by themselves.
            tracing::info!("discovery answers no more questions about unknown keys for now");
            return;
        }
        self.ask_again = Some(fx.now.mono + HOPELESS_RETRY);
        if name.is_none_or(|name| !contact || self.refused.insert(name.clone())) {
            let about = name.map_or_else(String::new, |name| format!(" the request for {name}"));
            let message = format!("discovery refused{about}: {code}; the client tries again later");
            fx.error(Code::Refused, name, message);
        }
    }

    /// The user asks again, or there is a link: a refusal is news again.
    pub fn forgive(&mut self, name: &Name) {
        if !self.refused.is_empty() {
            self.refused.remove(name);
        }
    }

    pub fn note_spoken(&mut self, id: ContactId) {
        if let Some(spoken) = &mut self.spoken {
            spoken.insert(id);
        }
    }

    /// Discovery has said all that it knows. Returns the contacts that it has spoken of since the login.
    pub fn take_spoken(&mut self) -> BTreeSet<ContactId> {
        self.spoken.take().unwrap_or_default()
    }

    /// Another client of this account has connected: this one stays out.
    pub fn superseded(&mut self, fx: &mut Effects) {
        if let Some(session) = self.session() {
            fx.close(session, None);
        }
        self.phase = Phase::Out;
        self.tell(fx, UpDown::Down, "superseded by a newer client".into());
    }

    /// Says goodbye and ends the session for good.
    pub fn leave(&mut self, fx: &mut Effects) {
        if let Some(session) = self.session() {
            fx.tell_discovery(session, ToDiscovery::Logout);
            fx.close(session, None);
        }
        self.phase = Phase::Out;
    }

    /// When discovery is tried again, while there is no session: at once if it is being tried.
    pub fn next_try(&self, now: Now) -> Option<Instant> {
        match self.phase {
            Phase::Waiting(until) => Some(until),
            Phase::Dialling | Phase::Registering(_) => Some(now.mono),
            Phase::Up(_) | Phase::Out => None,
        }
    }

    /// When [`Self::tick`] is due.
    pub fn deadline(&self) -> Instant {
        match self.phase {
            Phase::Waiting(until) => until,
            Phase::Registering(_) | Phase::Up(_) => {
                let again = self.ask_again.unwrap_or(Instant::NEVER);
                (self.last_received + DEAD_AFTER).min(self.ping_due()).min(again)
            }
            Phase::Dialling | Phase::Out => Instant::NEVER,
        }
    }

    /// Not everything is answered: a ping is also how this side hears something.
    fn ping_due(&self) -> Instant {
        match self.phase {
            Phase::Up(_) => self.last_ping.max(self.last_sent.min(self.last_received)) + PING_AFTER,
            _ => Instant::NEVER,
        }
    }

    /// Dials discovery, pings it, and gives up a session in which nothing is received.
    pub fn tick(&mut self, fx: &mut Effects) -> Due {
        let now = fx.now.mono;
        if now < self.deadline() {
            return Due::default();
        }
        if matches!(self.phase, Phase::Waiting(_)) {
            self.phase = Phase::Dialling;
            self.dials = self.dials.saturating_add(1);
            let (key, tried, seed) = (self.keys.expected(), self.tried.clone(), self.rng.u64(..));
            fx.act(Action::DialRendezvous { key, tried, seed });
            return Due::default();
        }
        if now >= self.last_received + DEAD_AFTER {
            if let Some(session) = self.session() {
                fx.close(session, None);
                let detail = format!("nothing received from {} for too long", self.it());
                self.next(fx, detail);
            }
            return Due { lost: true, ask_again: false };
        }
        if now >= self.ping_due() {
            self.last_ping = now;
            self.ask(fx, ToDiscovery::Ping);
        }
        Due { lost: false, ask_again: self.ask_again.take_if(|at| now >= *at).is_some() }
    }
}

#[cfg(test)]
mod tests;
