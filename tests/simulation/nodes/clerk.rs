//! A node's ledger thread. It has one call under way at a time, and reports to the loop in the order in which it hears.
//!
//! What is assumed of the real one:
//!
//! - It does one thing at a time: reports say in their order what is known, and none comes between `Taken` and the end of
//!   that turn.
//! - Each `Give` is answered, with `Saved`, `Refused` or `Unsure`. After the last two, or where a turn can't be taken, comes
//!   `Down`, and then `Up` or `Anew`; a `Give` that comes too late for its turn is answered with `Refused`, and `Down` too.
//! - Each `Read` is answered with a report of that name, of what was read after it was ordered, or with `Down` or `Anew`. It waits
//!   for no turn.
//! - An order says how many reports of `Up` and `Anew` the loop has heard. One that does not know the last of them is dropped, as is one
//!   to `Read` or to `Take` that comes while the ledger is away: the loop is told, and asks again. Else a loop that is late with what it was told has two
//!   turns under way, of which it decides the second one on what is not saved.
//! - Before `Up` the connection has its lease again, so nothing that was given on an earlier one can still be
//!   saved; and if a commit was unsure, all that is in the ledger is confirmed.
//! - A node that finds itself lost in the ledger, on reading as well as in a turn, joins anew as another one. One whose last turn
//!   is missing loads everything anew, as the same one.
//! - The loop tells the ledger who it is after each `Up` and `Anew`, not only at its start.

use std::collections::VecDeque;

use peerchat::discovery::registry::{Limit, Limits, Registry};
use peerchat::discovery::turns::{Order, Report};

use super::engine::{Call, Reply};
use super::mutation::Mutation;
use super::node::Input;
use super::world::{Event, Life, World};

const POLL_EVERY: u64 = 1000;
const TRY_AGAIN: u64 = 250;
/// How long the loop may take to decide in a turn.
const DECIDE_WITHIN: u64 = 5000;

#[derive(Default)]
pub struct Clerk {
    call: Option<(u64, Call)>,
    last_call: u64,
    /// Until when the loop may give, if it may.
    in_turn: Option<u64>,
    is_up: bool,
    is_fenced: bool,
    is_stale: bool,
    /// Whether a commit may still be lost.
    pub is_unsure: bool,
    /// Each with how often the loop had been told by then that it can go on.
    pub orders: VecDeque<(u64, Order)>,
    /// How often the loop was told that it can go on.
    starts: u64,
    woken: bool,
    polled: bool,
}

impl Clerk {
    pub fn waits_for(&self, number: u64) -> bool {
        self.call.as_ref().is_some_and(|(call, _)| *call == number)
    }

    /// No answer to what was asked will come but one under another number.
    pub fn call_again(&mut self) -> Option<(u64, Call)> {
        let (number, call) = self.call.as_mut()?;
        self.last_call += 1;
        *number = self.last_call;
        Some((*number, call.clone()))
    }
}

pub fn limits() -> Limits {
    let limit = Limit { each: 1_000_000, loopback: false };
    Limits { new_names: limit, questions: limit }
}

impl World {
    fn clerk_of(&mut self, life: Life) -> Option<&mut Clerk> {
        self.nodes[life.0].run.as_mut().filter(|run| run.life == life).map(|run| &mut run.clerk)
    }

    pub fn poll(&mut self, life: Life) {
        let Some(clerk) = self.clerk_of(life) else {
            return;
        };
        clerk.polled = true;
        let delay = if clerk.is_up { POLL_EVERY } else { TRY_AGAIN };
        self.after(delay, Event::Poll(life));
        self.clerk(life);
    }

    pub fn wake(&mut self, life: Life) {
        if let Some(clerk) = self.clerk_of(life) {
            clerk.woken = true;
            self.clerk(life);
        }
    }

    /// Goes on unless something is under way.
    pub fn clerk(&mut self, life: Life) {
        if let Some(resumes) = self.paused(life) {
            return self.schedule(resumes, Event::Clerk(life));
        }
        let (now, deaf, blind) = (self.now, self.is(Mutation::NothingHeard), self.is(Mutation::NotRead));
        let Some(clerk) = self.clerk_of(life).filter(|clerk| clerk.call.is_none()) else {
            return;
        };
        let starts = clerk.starts;
        clerk.orders.retain(|(heard, _)| *heard == starts);
        let order = clerk.orders.pop_front().map(|(_, order)| order);
        let mut reports = Vec::new();
        let call = match (clerk.in_turn, order) {
            (Some(until), None) => {
                if now >= until {
                    clerk.in_turn = None;
                    self.fire(life, Call::RollBack);
                }
                return;
            }
            (Some(_), Some(Order::Give(changes))) => Some(Call::Give(changes)),
            (Some(_), Some(Order::Read | Order::Take | Order::RollBack)) => {
                clerk.in_turn = None;
                self.fire(life, Call::RollBack);
                return self.clerk(life);
            }
            (None, Some(Order::Read)) if blind => {
                reports.push(Report::Read(Vec::new()));
                None
            }
            (None, Some(Order::Read)) => {
                clerk.woken = false;
                clerk.is_up.then_some(Call::Read { ordered: true })
            }
            (None, Some(Order::Take)) => clerk.is_up.then_some(Call::Take),
            (None, Some(Order::Give(_))) => {
                clerk.is_up = false;
                reports.extend([Report::Refused, Report::Down]);
                None
            }
            (None, Some(Order::RollBack)) => None,
            (None, None) if clerk.polled || clerk.woken && clerk.is_up => {
                (clerk.polled, clerk.woken) = (false, false);
                let read = Call::Read { ordered: false };
                let read = if clerk.is_stale { Call::Anew { join: clerk.is_fenced } } else { read };
                Some(read).filter(|_| !deaf || clerk.is_stale || !clerk.is_up)
            }
            (None, None) => return,
        };
        reports.into_iter().for_each(|report| self.report_to(life, report));
        match call {
            Some(call) => self.call(life, call),
            None => self.clerk(life),
        }
    }

    pub fn call(&mut self, life: Life, call: Call) {
        let delay = self.rng.u64(1..=self.plan.latency);
        self.note_seen(life);
        if let Some(clerk) = self.clerk_of(life) {
            clerk.last_call += 1;
            let number = clerk.last_call;
            clerk.call = Some((number, call.clone()));
            self.after(delay, Event::Called(life, number, call));
        }
    }

    /// Asks for something to which nothing is said.
    fn fire(&mut self, life: Life, call: Call) {
        self.after(1, Event::Called(life, 0, call));
    }

    pub fn replied(&mut self, life: Life, number: u64, reply: Reply) {
        if let Some(resumes) = self.paused(life) {
            return self.schedule(resumes, Event::Replied(life, number, Box::new(reply)));
        }
        let now = self.now;
        let Some(clerk) = self.clerk_of(life).filter(|clerk| clerk.waits_for(number)) else {
            return;
        };
        let Some((_, call)) = clerk.call.take() else {
            return;
        };
        match (call, reply) {
            (Call::Take, Reply::Turns(turns)) => {
                clerk.in_turn = Some(now + DECIDE_WITHIN);
                self.after(DECIDE_WITHIN, Event::Clerk(life));
                self.report_to(life, Report::Taken(turns));
            }
            (Call::Give(_), Reply::Saved) => {
                clerk.in_turn = None;
                self.report_to(life, Report::Saved);
            }
            (Call::Give(_), Reply::Refused) => {
                clerk.in_turn = None;
                self.report_to(life, Report::Refused);
                self.trouble(life, Reply::Down);
            }
            (Call::Give(_), _) => {
                clerk.in_turn = None;
                clerk.is_unsure = true;
                self.report_to(life, Report::Unsure);
                self.trouble(life, Reply::Down);
            }
            (Call::Read { ordered }, Reply::Turns(turns)) => {
                if std::mem::replace(&mut clerk.is_up, true) {
                    if ordered {
                        self.report_to(life, Report::Read(turns));
                    } else if !turns.is_empty() {
                        self.report_to(life, Report::Heard(turns));
                    }
                } else {
                    clerk.starts += 1;
                    self.report_to(life, Report::Up(turns));
                }
            }
            (Call::Anew { .. }, Reply::Loaded(id, known, rows)) => {
                (clerk.is_fenced, clerk.is_stale, clerk.is_up) = (false, false, true);
                clerk.starts += 1;
                let registry = Registry::new(id, rows.snapshot(), limits());
                self.hand(life, Input::Anew(id, known, Box::new((registry, rows))));
            }
            (_, reply) => self.trouble(life, reply),
        }
        self.clerk(life);
    }

    fn trouble(&mut self, life: Life, reply: Reply) {
        let Some(clerk) = self.clerk_of(life) else {
            return;
        };
        match reply {
            Reply::Fenced => {
                (clerk.is_fenced, clerk.is_stale) = (true, true);
                self.stats.add("node fenced");
                self.call(life, Call::Anew { join: true });
            }
            Reply::Broken => {
                clerk.is_stale = true;
                self.stats.add("lineage broken");
                self.call(life, Call::Anew { join: false });
            }
            _ => {
                clerk.is_up = false;
                self.report_to(life, Report::Down);
            }
        }
    }

    fn report_to(&mut self, life: Life, report: Report) {
        self.hand(life, Input::Report(report));
    }

    /// Begins the life of a node.
    pub fn join(&mut self, life: Life) {
        if let Some(clerk) = self.clerk_of(life) {
            (clerk.is_fenced, clerk.is_stale) = (true, true);
            self.call(life, Call::Anew { join: true });
        }
    }
}
