//! A ledger that is shared with other nodes, as the loop uses it: a thread carries out its orders, and another one looks
//! after the other nodes. Both report through one channel, and neither makes the loop wait.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, never, select};

use super::members::{Members, Seen, Verdict};
use super::registry::{Limits, Registry};
use super::turns::{Order, Report};
use crate::accounts::ledger::{Given, Ledger, Trouble};
use crate::accounts::{Change, NodeId, Snapshot};
use crate::logging::{LogLimit, ReasonLimit};
use crate::store::postgres::Postgres;
use crate::store::postgres::error::PostgresError;
use crate::store::postgres::watch::{self, Watch};
use crate::time::Clock;

/// How often the ledger is read although nothing was heard of a turn, and the others are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often a ledger that is away is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(250);
/// How long the loop may take to decide in a turn. All other nodes wait for it.
const DECIDE_WITHIN: Duration = Duration::from_secs(5);
/// How long a node that ends may take to say so.
const LEAVE_WITHIN: Duration = Duration::from_secs(3);
/// How long a ledger that goes on failing is not mentioned again.
const LOGGED_AGAIN: Duration = Duration::from_secs(60);
const REPORTS: usize = 16;
/// A turn may end without changes, which is not reported, and the next one be asked for before the thread has noticed. Others
/// may be there from before the ledger was away.
const ORDERS: usize = 16;

/// What the loop is told.
pub enum Said {
    Report(Report),
    /// To be decided in a turn.
    Nodes(Box<Change>),
    /// There is no going on.
    Ended(Box<PostgresError>),
}

/// The side of the loop.
pub struct Shared {
    orders: Sender<(u64, Order)>,
    said: Receiver<Said>,
    /// How often the ledger has come back, as far as the loop has heard: an order from before that does not count any more.
    era: Cell<u64>,
    /// Ends with the thread of the ledger.
    left: Receiver<()>,
    seen: Arc<SeenLast>,
}

/// What was last seen of all nodes, for the operator.
#[derive(Default)]
struct SeenLast {
    own: AtomicI64,
    /// The number of the last turn that this node knows.
    known: AtomicI64,
    /// Whether the last look at them failed.
    is_old: AtomicBool,
    all: Mutex<Option<watch::Seen>>,
}

/// How this node stands among the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub own: NodeId,
    /// How many turns of others it does not know yet, as far as it knows.
    pub lag: u64,
    /// How many turns there have been.
    pub turns: u64,
    /// Whether the other nodes can't be seen now, and this is how they were.
    pub is_old: bool,
    pub nodes: Vec<watch::NodeSeen>,
}

impl Shared {
    /// Begins to share a ledger that has been joined and loaded.
    pub fn start(
        ledger: Postgres,
        watch: Watch,
        node: NodeId,
        limits: Limits,
        clock: Clock,
    ) -> std::io::Result<Self> {
        let (orders, ordered) = bounded(ORDERS);
        let (saying, said) = bounded(REPORTS);
        let (wake, woken) = bounded(1);
        let (leaving, left) = bounded(0);
        let seen = Arc::new(SeenLast { own: node.into(), ..SeenLast::default() });
        let clerk = Clerk {
            ledger,
            limits,
            node,
            is_up: true,
            is_fenced: false,
            is_stale: false,
            era: 0,
            said: saying.clone(),
            seen: Arc::clone(&seen),
            log_limit: ReasonLimit::new(LOGGED_AGAIN),
            is_logged: false,
        };
        let lookout = Lookout {
            watch,
            clock,
            members: Members::default(),
            wake,
            said: saying,
            seen: Arc::clone(&seen),
        };
        thread::Builder::new().name("ledger".into()).spawn(move || {
            clerk.serve(&ordered, &woken);
            drop(leaving);
        })?;
        thread::Builder::new().name("nodes".into()).spawn(move || lookout.serve())?;
        Ok(Self { orders, said, era: Cell::new(0), left, seen })
    }

    pub const fn said(&self) -> &Receiver<Said> {
        &self.said
    }

    /// The loop hears this now.
    pub fn note(&self, report: &Report) {
        if matches!(report, Report::Up(_) | Report::Anew(_)) {
            self.era.set(self.era.get() + 1);
        }
    }

    /// Never waits: there are never more orders than [`ORDERS`].
    pub fn order(&self, order: Order) {
        if self.orders.try_send((self.era.get(), order)).is_err() {
            tracing::error!("the thread of the ledger is gone");
        }
    }

    pub fn standing(&self) -> Standing {
        let SeenLast { own, known, is_old, all } = &*self.seen;
        let all = all.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (turns, nodes) = all.map_or((0, Vec::new()), |seen| (seen.turns, seen.nodes));
        let known = known.load(Ordering::Relaxed);
        let [turns, lag] = [turns.max(known), turns.saturating_sub(known)]
            .map(|count| u64::try_from(count).unwrap_or_default());
        let (own, is_old) = (own.load(Ordering::Relaxed), is_old.load(Ordering::Relaxed));
        Standing { own, lag, turns, is_old, nodes }
    }

    /// Tells the others that this node goes. Its users have time to come back elsewhere.
    pub fn leave(self) {
        let Self { orders, said, left, .. } = self;
        drop((orders, said));
        let _ = left.recv_timeout(LEAVE_WITHIN);
    }
}

/// The thread of the ledger.
struct Clerk<L> {
    ledger: L,
    limits: Limits,
    node: NodeId,
    /// Whether the ledger could be reached when it was last asked for something.
    is_up: bool,
    /// Whether this node has to join anew, and whether it has to load everything anew.
    is_fenced: bool,
    is_stale: bool,
    /// How often the ledger has come back.
    era: u64,
    said: Sender<Said>,
    seen: Arc<SeenLast>,
    log_limit: ReasonLimit,
    /// Whether the log says last that the ledger can't be used.
    is_logged: bool,
}

/// The loop is gone, or can't go on.
struct Over;

impl<L: Ledger<Error = PostgresError>> Clerk<L> {
    fn serve(mut self, orders: &Receiver<(u64, Order)>, woken: &Receiver<()>) {
        while let Ok(()) = self.go_on(orders, woken) {}
        if self.is_up && self.ledger.take().is_ok() {
            // Without it the others find out as well, only later.
            let _ = self.ledger.give(&[Change::LoseNode { node: self.node }]);
        }
    }

    fn go_on(&mut self, orders: &Receiver<(u64, Order)>, woken: &Receiver<()>) -> Result<(), Over> {
        // While it is away, others may have their turns all the time: that must not put off the next attempt.
        let deaf = never();
        let (wait, wakes) = if self.is_up { (LOOK_EVERY, woken) } else { (TRY_AGAIN, &deaf) };
        select! {
            recv(orders) -> order => match order.map_err(|_| Over)? {
                // The loop has been told why not, and asks again.
                (era, _) if era != self.era || !self.is_up => Ok(()),
                (_, Order::Read) => {
                    // What was heard of until now is read as well.
                    let _ = woken.try_recv();
                    self.read(true)
                }
                (_, Order::Take) => self.take(orders, woken),
                // It took too long for its turn.
                (_, Order::Give(_)) => {
                    self.is_up = false;
                    self.say(Report::Refused)
                }
                (_, Order::RollBack) => Ok(()),
            },
            recv(wakes) -> _ => self.read(false),
            default(wait) => self.read(false),
        }
    }

    fn take(&mut self, orders: &Receiver<(u64, Order)>, woken: &Receiver<()>) -> Result<(), Over> {
        let turns = match self.ledger.take() {
            Ok(turns) => turns,
            Err(trouble) => return self.trouble(trouble),
        };
        // What was heard of until now has just been read, and until the turn ends no other node can give one.
        let _ = woken.try_recv();
        self.note_known();
        self.say(Report::Taken(turns))?;
        let deadline = Instant::now() + DECIDE_WITHIN;
        let changes = loop {
            match orders.recv_deadline(deadline) {
                Ok((era, Order::Give(changes))) if era == self.era => break changes,
                Ok((era, Order::RollBack)) if era == self.era => {
                    self.ledger.roll_back();
                    return Ok(());
                }
                Ok(_) => {}
                Err(end) => {
                    self.ledger.roll_back();
                    return if end == RecvTimeoutError::Timeout { Ok(()) } else { Err(Over) };
                }
            }
        };
        match self.ledger.give(&changes) {
            Given::Saved => {
                self.note_known();
                self.say(Report::Saved)
            }
            Given::Refused(trouble) => {
                self.say(Report::Refused)?;
                self.trouble(trouble)
            }
            Given::Unsure(trouble) => {
                self.say(Report::Unsure)?;
                self.trouble(trouble)
            }
        }
    }

    /// Reads what others have done. The loop is told in any case if it has ordered that.
    fn read(&mut self, is_ordered: bool) -> Result<(), Over> {
        if self.is_stale {
            return self.start_anew();
        }
        match self.ledger.read() {
            Ok(turns) => {
                self.note_known();
                if !self.is_up {
                    (self.is_up, self.era) = (true, self.era + 1);
                    self.log_return();
                    return self.say(Report::Up(turns));
                }
                match turns.is_empty() {
                    _ if is_ordered => self.say(Report::Read(turns)),
                    true => Ok(()),
                    false => self.say(Report::Heard(turns)),
                }
            }
            Err(trouble) => self.trouble(trouble),
        }
    }

    fn trouble(&mut self, trouble: Trouble<PostgresError>) -> Result<(), Over> {
        match trouble {
            Trouble::Down(error) => {
                if self.is_news(&error) {
                    tracing::error!(%error, "changes are refused until the ledger works again");
                }
                self.is_up = false;
                self.say(Report::Down)
            }
            Trouble::Broken(error) => {
                tracing::error!(%error, "all sessions end, and everything is loaded anew");
                self.is_stale = true;
                self.start_anew()
            }
            Trouble::Fenced(error) => {
                tracing::error!(%error, "all sessions end, and this node joins anew");
                (self.is_fenced, self.is_stale) = (true, true);
                self.start_anew()
            }
            Trouble::Unusable(error) => {
                self.said.send(Said::Ended(Box::new(error))).map_err(|_| Over)?;
                Err(Over)
            }
        }
    }

    fn start_anew(&mut self) -> Result<(), Over> {
        match self.try_start_anew() {
            Ok(snapshot) => {
                (self.is_fenced, self.is_stale, self.is_up) = (false, false, true);
                self.era += 1;
                self.seen.own.store(self.node, Ordering::Relaxed);
                self.note_known();
                self.log_return();
                let registry = Registry::new(self.node, snapshot, self.limits);
                self.say(Report::Anew(Box::new(registry)))
            }
            Err(Trouble::Unusable(error)) => self.trouble(Trouble::Unusable(error)),
            Err(trouble) => {
                self.is_up = false;
                if self.is_news(trouble.error()) {
                    tracing::error!(error = %trouble.error(), "can't load what is kept");
                }
                self.say(Report::Down)
            }
        }
    }

    fn try_start_anew(&mut self) -> Result<Snapshot, Trouble<PostgresError>> {
        if self.is_fenced {
            self.node = self.ledger.join()?;
            self.is_fenced = false;
        }
        self.ledger.load()
    }

    /// Whether to log why the ledger can't be used.
    fn is_news(&mut self, error: &PostgresError) -> bool {
        let is_news = self.log_limit.admit(error, Instant::now());
        self.is_logged |= is_news;
        is_news
    }

    /// A full disk can be read: then the ledger comes back again and again, and refuses the next change.
    fn log_return(&mut self) {
        if std::mem::take(&mut self.is_logged) {
            tracing::info!("the ledger can be reached again");
        }
    }

    fn note_known(&self) {
        self.seen.known.store(self.ledger.position(), Ordering::Relaxed);
    }

    fn say(&self, report: Report) -> Result<(), Over> {
        self.said.send(Said::Report(report)).map_err(|_| Over)
    }
}

/// The thread that looks after the other nodes.
struct Lookout {
    watch: Watch,
    clock: Clock,
    members: Members,
    wake: Sender<()>,
    said: Sender<Said>,
    seen: Arc<SeenLast>,
}

impl Lookout {
    fn serve(mut self) {
        let mut log_limit = LogLimit::new(LOGGED_AGAIN);
        let mut is_connected = false;
        let mut next = Instant::now();
        loop {
            let own = self.seen.own.load(Ordering::Relaxed);
            let looked =
                self.watch.wait(own, next.saturating_duration_since(Instant::now())).and_then(|heard| {
                    if heard {
                        let _ = self.wake.try_send(());
                    }
                    let due = Instant::now() >= next;
                    due.then(|| self.watch.look(own)).transpose()
                });
            match looked {
                Ok(None) => {}
                Ok(Some(seen)) => {
                    next = Instant::now() + LOOK_EVERY;
                    if !is_connected {
                        self.members.connected(self.clock.now().mono);
                        is_connected = true;
                    }
                    if self.judge(own, seen).is_err() {
                        return;
                    }
                }
                Err(error) => {
                    is_connected = false;
                    self.seen.is_old.store(true, Ordering::Relaxed);
                    if log_limit.admit(Instant::now()).is_some() {
                        tracing::warn!(%error, "can't see the other nodes");
                    }
                    next = Instant::now();
                    thread::sleep(TRY_AGAIN);
                }
            }
        }
    }

    fn judge(&mut self, own: NodeId, seen: watch::Seen) -> Result<(), Over> {
        let others = seen.nodes.iter().filter(|node| node.id != own);
        let others = others.map(|&watch::NodeSeen { id: node, lost, beat, leased, .. }| Seen {
            node,
            lost,
            beat,
            leased,
        });
        let verdicts = self.members.look(&others.collect::<Vec<_>>(), self.clock.now());
        let nodes = seen.nodes.clone();
        let before = self.seen.all.lock().unwrap_or_else(PoisonError::into_inner).replace(seen);
        self.seen.is_old.store(false, Ordering::Relaxed);
        log_news(&before.map_or_else(Vec::new, |before| before.nodes), &nodes, own);
        for verdict in verdicts {
            match verdict {
                Verdict::Change(change) => self.said.send(Said::Nodes(change)).map_err(|_| Over)?,
                Verdict::End(run) => {
                    let node = nodes.iter().find(|node| node.id == run).map(|node| &*node.name);
                    match self.watch.terminate(run) {
                        Ok(true) => {
                            tracing::warn!(node, run, "it hangs: its connection to the ledger was ended")
                        }
                        Ok(false) => {}
                        Err(error) => {
                            tracing::warn!(%error, node, run, "it hangs, and its connection can't be ended");
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// Logs which other nodes have come, are lost, and are forgotten since the last look.
fn log_news(before: &[watch::NodeSeen], now: &[watch::NodeSeen], own: NodeId) {
    let find = |nodes: &[watch::NodeSeen], run| nodes.iter().find(|node| node.id == run).cloned();
    // An earlier run of this node is none of the others either.
    let this = find(now, own).map(|node| (node.name, node.address));
    let is_other = |node: &&watch::NodeSeen| this.as_ref() != Some(&(node.name.clone(), node.address));
    let now_others = now.iter().filter(is_other);
    for watch::NodeSeen { id: run, name: node, address, lost, .. } in now_others {
        match (find(before, *run), lost) {
            (None, false) => tracing::info!(node, run, %address, "another node is there"),
            (Some(it), true) if it.lost => {}
            (_, true) => tracing::warn!(
                node,
                run,
                "another node is lost, or has ended; its users can come back elsewhere"
            ),
            (Some(_), false) => {}
        }
    }
    for watch::NodeSeen { id: run, name: node, .. } in before.iter().filter(is_other) {
        if find(now, *run).is_none() {
            tracing::info!(
                node,
                run,
                "a lost node is forgotten; those of its users who are not back are offline"
            );
        }
    }
}

#[cfg(test)]
mod tests;
