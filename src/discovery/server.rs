//! The loop: it takes what has arrived, decides, saves, and only then acts. So whatever a client is told has been saved,
//! and many changes cost one sync of the disk.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, never, select};

use super::Directory;
use super::admin::Question;
use super::connections::{Connections, Inbound};
use super::control::Control;
use super::operator::log_release;
use super::registry::{Action, Decisions, Event, Registry, Saving, Side};
use super::relay::Relay;
use super::status::{self, Status};
use crate::logging::LogLimit;
use crate::protocol::rendezvous::{Punch, Refused, RefusedCode, TOKEN, Ticket, ToClient, ToDiscovery};
use crate::protocol::{Name, PING_AFTER, PublicKey};
use crate::store;
use crate::time::{Clock, Now};
use crate::transport::{ConnectionId, Opened, Rejected};
use crate::undo::Transactional;

/// How many events one transaction may hold; what arrived together in one frame is not torn apart.
const BATCH: usize = 1024;
/// No further event is decided on in a transaction that has led to this many actions.
const MAX_ACTIONS: usize = 32 * 1024;
/// The loop wakes at least this often.
const IDLE: Duration = Duration::from_secs(60);
/// A loop that was late by this much can't tell which sessions were silent meanwhile.
const LATE: Duration = Duration::from_secs(1);
/// How long every session then has to be heard from again.
const GRACE: Duration = PING_AFTER.saturating_add(Duration::from_secs(1));
/// How long a disk that goes on failing is not mentioned again.
const LOGGED_AGAIN: Duration = Duration::from_secs(60);

pub(super) struct Server {
    clock: Clock,
    registry: Registry,
    /// Removed before the directory is unlocked: the next discovery has one at the same place.
    _control: Option<Control>,
    directory: Directory,
    connections: Connections,
    /// What has arrived and is not yet decided on.
    waiting: VecDeque<Event>,
    /// No session is taken for dead before this.
    grace_until: Instant,
    log_limit: LogLimit,
    about: About,
    /// How many clients were refused something, by the code.
    refusals: HashMap<u16, u64>,
    failed_saves: u64,
}

/// What the operator is told and what decides nothing.
pub(super) struct About {
    pub address: SocketAddr,
    pub database: String,
    pub key: PublicKey,
    pub started: Now,
    pub rejected: Arc<Rejected>,
    pub relay: Option<Relay>,
}

impl Server {
    pub fn new(
        clock: Clock,
        registry: Registry,
        directory: Directory,
        control: Option<Control>,
        about: About,
    ) -> Self {
        Self {
            clock,
            registry,
            _control: control,
            directory,
            connections: Connections::default(),
            waiting: VecDeque::new(),
            grace_until: Instant::now(),
            log_limit: LogLimit::new(LOGGED_AGAIN),
            about,
            refusals: HashMap::new(),
            failed_saves: 0,
        }
    }

    /// Serves until `stopped` says so, or the database turns out to be damaged.
    pub fn serve(
        mut self,
        events: &Receiver<Inbound>,
        questions: &Receiver<Question>,
        stopped: &Receiver<()>,
    ) -> store::Result<()> {
        let nothing = never();
        loop {
            let deadline = self.deadline();
            let more = if self.waiting.is_empty() { events } else { &nothing };
            let mut asked = None;
            select! {
                recv(stopped) -> _ => return Ok(()),
                recv(questions) -> question => asked = question.ok(),
                recv(more) -> event => match event {
                    Ok(event) => self.take(event),
                    Err(_) => return Ok(()),
                },
                default(deadline.saturating_duration_since(Instant::now())) => {}
            }
            let woken = Instant::now();
            self.notice_lateness(deadline, woken);
            while self.waiting.len() < BATCH
                && let Ok(event) = events.try_recv()
            {
                self.take(event);
            }
            let actions = self.decide_and_save(woken)?;
            self.act(actions, woken);
            if let Some(question) = asked {
                self.answer(question, woken)?;
            }
            self.connections.end_leaving(woken);
            self.notice_lateness(woken, Instant::now());
        }
    }

    fn deadline(&self) -> Instant {
        let now = Instant::now();
        if !self.waiting.is_empty() {
            return now;
        }
        let silence = self.registry.deadline().and_then(|at| self.clock.to_std(at));
        let silence = silence.map(|at| at.max(self.grace_until));
        [silence, self.connections.deadline()].into_iter().flatten().fold(now + IDLE, Instant::min)
    }

    /// A loop that should have been here at `due` and comes at `now` may have left a lot unread.
    fn notice_lateness(&mut self, due: Instant, now: Instant) {
        if now.saturating_duration_since(due) > LATE {
            self.grace_until = now + GRACE;
        }
    }

    fn take(&mut self, event: Inbound) {
        match event {
            Inbound::Opened(opened, refunds) => {
                let Opened { id: session, key, route, .. } = *opened;
                // Every session comes over a socket of its own.
                let Some(from) = route.remote() else {
                    return;
                };
                self.connections.opened(*opened, refunds);
                self.waiting.push_back(Event::Opened { session, key, from });
            }
            Inbound::Messages(session, messages) => {
                let messages = messages.into_iter().map(|message| Event::Message { session, message });
                self.waiting.extend(messages);
            }
            Inbound::Alive(session) => self.waiting.push_back(Event::Alive { session }),
            Inbound::Closed(session) => {
                self.connections.closed(session);
                self.waiting.push_back(Event::Closed { session });
            }
        }
    }

    /// Decides on what is waiting and saves it. If that fails, decides once more without changes.
    fn decide_and_save(&mut self, woken: Instant) -> store::Result<Vec<Action>> {
        let tick = woken >= self.grace_until;
        let now = self.clock.now();
        let mut decided = self.decide(now, tick, Saving::Available);
        match self.save(&decided.decisions, woken) {
            Ok(()) => {}
            Err(error) if error.is_damage() => return Err(error),
            Err(_) => {
                decided = self.decide(now, tick, Saving::Unavailable);
                self.registry.commit();
            }
        }
        decided.registrations.iter().for_each(|(session, told)| self.connections.registered(*session, *told));
        self.waiting.drain(..decided.events);
        Ok(decided.decisions.actions)
    }

    /// Has the registry decide on what is waiting.
    fn decide(&mut self, now: Now, tick: bool, saving: Saving) -> Decided {
        let mut decided = Decided::default();
        let decisions = &mut decided.decisions;
        for event in &self.waiting {
            let before = decisions.actions.len();
            if before >= MAX_ACTIONS {
                break;
            }
            self.registry.handle(event, now, saving, decisions);
            if let Event::Message { session, message: ToDiscovery::Register(_) } = event {
                decided.registrations.push((*session, decisions.actions.len() - before));
            }
            decided.events += 1;
        }
        if tick && decided.events == self.waiting.len() {
            self.registry.tick(now, saving, decisions);
        }
        decided
    }

    /// Saves what was decided, or takes it back. After damage there is nothing to go on with.
    fn save(&mut self, decisions: &Decisions, now: Instant) -> store::Result<()> {
        let saved = self.directory.save(&decisions.changes);
        match &saved {
            Ok(()) => self.registry.commit(),
            Err(error) if error.is_damage() => {}
            Err(error) => {
                self.registry.rollback();
                self.failed_saves += 1;
                if self.log_limit.admit(now).is_some() {
                    tracing::error!(%error, "can't save: changes are refused until it works again");
                }
            }
        }
        saved
    }

    fn act(&mut self, mut actions: Vec<Action>, now: Instant) {
        let introduced: Vec<_> = actions.iter().flat_map(|action| self.introduce(action)).collect();
        actions.extend(introduced);
        for action in &actions {
            if let Action::Send { message: ToClient::Refused(refused), .. } = action {
                *self.refusals.entry(refused.code.0).or_default() += 1;
            }
        }
        self.connections.act(&actions, now);
    }

    /// What two users are told who are to be helped to a way to each other, with what has to be drawn for that.
    fn introduce(&self, action: &Action) -> Vec<Action> {
        let send = |session, message| Action::Send { session, message };
        match action {
            Action::Send { .. } | Action::Close { .. } => Vec::new(),
            Action::Punch { sides } => {
                let mut token = [0; TOKEN];
                if let Err(error) = getrandom::fill(&mut token) {
                    tracing::error!(%error, "no random bytes for a punch");
                    return Vec::new();
                }
                let told = |(session, punch): &(_, Punch)| {
                    send(*session, ToClient::Punch(Punch { token, ..punch.clone() }))
                };
                sides.iter().map(told).collect()
            }
            Action::Relay { sides } => {
                let asked = self.about.relay.as_ref().map(|relay| relay.ask(sides));
                let [asker, other] = sides;
                let told = |Side { session, with, .. }: &Side, ticket, dials| {
                    send(*session, ToClient::Relay(Ticket { name: with.clone(), ticket, dials, at: None }))
                };
                match asked.unwrap_or(Err(RefusedCode::RELAY_OFF)) {
                    Ok(None) => Vec::new(),
                    Ok(Some([own, theirs])) => vec![told(asker, own, true), told(other, theirs, false)],
                    Err(code) => {
                        let name = Some(asker.with.clone());
                        vec![send(asker.session, ToClient::Refused(Refused { code, name }))]
                    }
                }
            }
        }
    }

    /// Answers the operator, who may have gone meanwhile.
    fn answer(&mut self, question: Question, now: Instant) -> store::Result<()> {
        match question {
            Question::Status(answer) => _ = answer.try_send(self.status()),
            Question::Release(name, answer) => {
                let released = match self.release(&name, now) {
                    Err(error) if error.is_damage() => return Err(error),
                    released => released
                        .map_err(|error| format!("{name} was not released: it can't be saved: {error}")),
                };
                let _ = answer.try_send(released);
            }
        }
        Ok(())
    }

    fn release(&mut self, name: &Name, woken: Instant) -> store::Result<Option<PublicKey>> {
        let mut decisions = Decisions::default();
        let key = self.registry.release(name, self.clock.now(), &mut decisions);
        self.save(&decisions, woken)?;
        log_release(name, key);
        self.act(decisions.actions, woken);
        Ok(key)
    }

    fn status(&self) -> Status {
        let About { address, database, key, started, rejected, relay } = &self.about;
        let relay = relay.as_ref().map(Relay::figures);
        Status {
            version: env!("CARGO_PKG_VERSION"),
            address: *address,
            database: database.clone(),
            key: *key,
            uptime: self.clock.now().mono.since(started.mono).as_secs(),
            started: started.wall.div_euclid(1000),
            figures: self.registry.figures(),
            failed_saves: self.failed_saves,
            relay,
            refused: status::refused(&self.refusals, rejected, relay.unwrap_or_default()),
        }
    }
}

#[derive(Default)]
struct Decided {
    decisions: Decisions,
    /// On how many events.
    events: usize,
    /// Which sessions have registered, and how many messages each registration has led to.
    registrations: Vec<(ConnectionId, usize)>,
}
