//! The loop: it takes what has arrived, decides, saves, and only then acts. So whatever a client is told has been saved,
//! and many changes cost one sync of the disk.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, never, select};

use super::admin::{self, Question};
use super::connections::{Connections, Inbound};
use super::control::Control;
use super::keeper::{Identity, Keeper};
use super::operator::log_release;
use super::registry::{Action, Event, Registry, Side};
use super::relay::Relay;
use super::shared::Said;
use super::status::{self, Status};
use super::turns::{Draw, Effects, Order, Released, Report, Turns, Work};
use crate::accounts::Change;
use crate::logging::LogLimit;
use crate::protocol::rendezvous::{RefusedCode, TOKEN, ToClient};
use crate::protocol::{Name, PING_AFTER, PublicKey};
use crate::store;
use crate::time::{Clock, Now};
use crate::transport::{Opened, Rejected};

/// How long the loop waits for nothing but a ledger that is about to answer. To be woken by each request costs more than to
/// answer it, so those that arrive meanwhile are looked at together.
const ANSWERED_WITHIN: Duration = Duration::from_millis(1);
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
    turns: Turns,
    /// Removed before the directory is unlocked: the next discovery has one at the same place.
    _control: Option<Control>,
    keeper: Keeper,
    connections: Connections,
    /// No session is taken for dead before this.
    grace_until: Instant,
    log_limit: LogLimit,
    about: About,
    /// How many clients were refused something, by the code.
    refusals: HashMap<u16, u64>,
    failed_saves: u64,
    /// Why the last one failed.
    failure: String,
    /// The operators who wait for a name to be released.
    releasing: VecDeque<(Name, Sender<admin::Released>)>,
}

/// What the operator is told and what decides nothing.
pub(super) struct About {
    pub address: SocketAddr,
    pub database: String,
    pub key: PublicKey,
    pub started: Now,
    pub rejected: Arc<Rejected>,
    pub relay: Option<Relay>,
    /// Which node this is, where there are others.
    pub node: Option<Identity>,
}

impl Server {
    pub fn new(
        clock: Clock,
        registry: Registry,
        keeper: Keeper,
        control: Option<Control>,
        about: About,
    ) -> Self {
        Self {
            clock,
            turns: Turns::new(registry),
            _control: control,
            keeper,
            connections: Connections::default(),
            grace_until: Instant::now(),
            log_limit: LogLimit::new(LOGGED_AGAIN),
            about,
            refusals: HashMap::new(),
            failed_saves: 0,
            failure: String::new(),
            releasing: VecDeque::new(),
        }
    }

    /// Serves until `stopped` says so, or the database turns out to be damaged.
    pub fn serve(
        mut self,
        events: &Receiver<Inbound>,
        questions: &Receiver<Question>,
        stopped: &Receiver<()>,
    ) -> anyhow::Result<()> {
        let served = self.serve_on(events, questions, stopped);
        self.keeper.close();
        served
    }

    fn serve_on(
        &mut self,
        events: &Receiver<Inbound>,
        questions: &Receiver<Question>,
        stopped: &Receiver<()>,
    ) -> anyhow::Result<()> {
        let (no_events, no_report) = (never(), never());
        let ledger = self.keeper.said();
        self.introduce_itself();
        loop {
            let mut deadline = self.deadline();
            let more = if self.turns.is_ready() || self.turns.is_full() { &no_events } else { events };
            let (mut asked, mut heard) = (None, None);
            if self.turns.awaits_ledger() {
                heard = ledger.recv_timeout(ANSWERED_WITHIN).ok();
            }
            if heard.is_some() {
                deadline = Instant::now();
            }
            let reports = if heard.is_some() { &no_report } else { &ledger };
            select! {
                recv(stopped) -> _ => return Ok(()),
                recv(questions) -> question => asked = question.ok(),
                recv(reports) -> report => heard = report.ok(),
                recv(more) -> event => match event {
                    Ok(event) => self.take(event),
                    Err(_) => return Ok(()),
                },
                default(deadline.saturating_duration_since(Instant::now())) => {}
            }
            let woken = Instant::now();
            self.notice_lateness(deadline, woken);
            while !self.turns.is_full()
                && let Ok(event) = events.try_recv()
            {
                self.take(event);
            }
            if let Some(question) = asked {
                self.asked(question);
            }
            // What has arrived may still get into the turn that the ledger gives.
            self.step(woken)?;
            if let Some(said) = heard {
                self.heard(said, woken)?;
                self.step(woken)?;
            }
            self.connections.end_leaving(woken);
            self.notice_lateness(woken, Instant::now());
        }
    }

    fn step(&mut self, woken: Instant) -> store::Result<()> {
        let mut effects = Effects::default();
        let tick = woken >= self.grace_until;
        self.turns.step(self.clock.now(), tick, &mut self.about, &mut effects);
        self.go_on(effects, woken)
    }

    fn deadline(&self) -> Instant {
        let now = Instant::now();
        if self.turns.is_ready() {
            return now;
        }
        let silence = self.turns.deadline().and_then(|at| self.clock.to_std(at));
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
                self.turns.take(Work::Event(Event::Opened { session, key, from }));
            }
            Inbound::Messages(session, messages) => {
                for message in messages {
                    self.turns.take(Work::Event(Event::Message { session, message }));
                }
            }
            Inbound::Alive(session) => self.turns.take(Work::Event(Event::Alive { session })),
            Inbound::Closed(session) => {
                self.connections.closed(session);
                self.turns.take(Work::Event(Event::Closed { session }));
            }
        }
    }

    /// Has the other nodes told that this one is there.
    fn introduce_itself(&mut self) {
        if let Some(identity) = &self.about.node {
            let node = identity.node(self.turns.registry());
            self.turns.take(Work::Nodes(Change::AddNode { node }));
        }
    }

    fn heard(&mut self, said: Said, woken: Instant) -> anyhow::Result<()> {
        match said {
            Said::Report(report) => {
                self.keeper.note(&report);
                log_releases(&report);
                // What was said before may not have been saved.
                let is_back = matches!(report, Report::Up(_) | Report::Anew(_));
                if matches!(report, Report::Refused | Report::Unsure) {
                    self.failed_saves += 1;
                    "PostgreSQL did not take it; see the log of discovery".clone_into(&mut self.failure);
                }
                let mut effects = Effects::default();
                self.turns.report(report, self.clock.now(), &mut self.about, &mut effects);
                self.go_on(effects, woken)?;
                if is_back {
                    self.introduce_itself();
                }
                Ok(())
            }
            Said::Nodes(change) => {
                self.turns.take(Work::Nodes(*change));
                Ok(())
            }
            Said::Ended(error) => Err((*error).into()),
        }
    }

    /// Carries out what may be done now, until the ledger has to be waited for.
    fn go_on(&mut self, mut effects: Effects, woken: Instant) -> store::Result<()> {
        loop {
            let order = effects.order.take();
            self.act(std::mem::take(&mut effects), woken);
            let Some(report) = order.map(|order| self.carry_out(order, woken)).transpose()?.flatten() else {
                return Ok(());
            };
            self.turns.report(report, self.clock.now(), &mut self.about, &mut effects);
        }
    }

    /// Returns what the ledger says to an order, if it says it at once.
    fn carry_out(&mut self, order: Order, now: Instant) -> store::Result<Option<Report>> {
        match self.keeper.carry_out(order) {
            Ok(report) => Ok(report),
            Err(error) if error.is_damage() => Err(error),
            Err(error) => {
                self.failed_saves += 1;
                if self.log_limit.admit(now).is_some() {
                    tracing::error!(%error, "can't save: changes are refused until it works again");
                }
                self.failure = error.to_string();
                Ok(Some(Report::Refused))
            }
        }
    }

    fn act(&mut self, effects: Effects, now: Instant) {
        let Effects { actions, registrations, released, order: _ } = effects;
        registrations.iter().for_each(|(session, told)| self.connections.registered(*session, *told));
        for action in &actions {
            if let Action::Send { message: ToClient::Refused(refused), .. } = action {
                *self.refusals.entry(refused.code.0).or_default() += 1;
            }
        }
        self.connections.act(&actions, now);
        for released in released {
            self.answer_release(released);
        }
    }

    /// Takes a question of the operator, who may have gone meanwhile.
    fn asked(&mut self, question: Question) {
        match question {
            Question::Status(answer) => _ = answer.try_send(self.status()),
            Question::Release(name, answer) => {
                self.turns.take(Work::Release(name.clone()));
                self.releasing.push_back((name, answer));
            }
        }
    }

    fn answer_release(&mut self, released: Released) {
        let Some((name, answer)) = self.releasing.pop_front() else {
            return;
        };
        let answered = match released {
            Released::Done(key) => {
                log_release(&name, key);
                Ok(key)
            }
            Released::NotSaved => {
                Err(format!("{name} was not released: it can't be saved: {}", self.failure))
            }
            Released::Unsure => Err(format!(
                "it is not known whether {name} was released, for the database went away; try again"
            )),
        };
        let _ = answer.try_send(answered);
    }

    fn status(&self) -> Status {
        let About { address, database, key, started, rejected, relay, node } = &self.about;
        let relay = relay.as_ref().map(Relay::figures);
        let now = self.clock.now().mono;
        let away = self.turns.away_since().map(|away| now.since(away));
        Status {
            version: env!("CARGO_PKG_VERSION"),
            address: *address,
            database: database.clone(),
            key: *key,
            uptime: now.since(started.mono).as_secs(),
            started: started.wall.div_euclid(1000),
            figures: self.turns.registry().figures(),
            failed_saves: self.failed_saves,
            relay,
            node: node
                .as_ref()
                .zip(self.keeper.standing())
                .map(|(node, standing)| status::Standing::new(&node.name, standing, away)),
            refused: status::refused(&self.refusals, rejected, relay.unwrap_or_default()),
        }
    }
}

/// Logs which names were released elsewhere: at another node, or by the operator's command, whose own log is not kept.
fn log_releases(report: &Report) {
    let (Report::Read(turns) | Report::Taken(turns) | Report::Heard(turns) | Report::Up(turns)) = report
    else {
        return;
    };
    for change in turns.iter().flat_map(|turn| &turn.changes) {
        if let Change::ReleaseName { account, .. } = change {
            log_release(&account.name, Some(account.key));
        }
    }
}

impl Draw for About {
    fn token(&mut self) -> Option<[u8; TOKEN]> {
        let mut token = [0; TOKEN];
        match getrandom::fill(&mut token) {
            Ok(()) => Some(token),
            Err(error) => {
                tracing::error!(%error, "no random bytes for a punch");
                None
            }
        }
    }

    fn tickets(&mut self, sides: &[Side; 2]) -> Result<Option<[[u8; TOKEN]; 2]>, RefusedCode> {
        self.relay.as_ref().map_or(Err(RefusedCode::RELAY_OFF), |relay| relay.ask(sides))
    }

    fn address(&self) -> SocketAddr {
        self.node.as_ref().map_or(self.address, |node| node.address)
    }
}
