//! What goes wrong, and when it is over.

use peerchat::discovery::turns::Work;

use super::node::Input;
use super::world::{Event, World};

impl World {
    pub fn fault(&mut self) {
        if !self.storm {
            return;
        }
        let gap = self.rng.u64(1..2 * self.plan.fault_gap);
        self.after(gap, Event::Fault);
        let node = self.rng.usize(0..self.nodes.len());
        let Some(life) = self.nodes[node].run.as_ref().map(|run| run.life) else {
            return;
        };
        let away = if self.rng.bool() { self.rng.u64(50..1500) } else { self.rng.u64(1000..15_000) };
        match self.rng.u32(0..100) {
            0..20 => {
                self.stats.fault("node killed");
                self.kill(node);
                self.after(away, Event::Start(node));
            }
            20..45 => {
                self.stats.fault("node stopped for a while");
                self.note(|| format!("node {node} is stopped for {away}"));
                self.nodes[node].paused = self.now + away;
            }
            45..60 => {
                self.stats.fault("ledger out of reach for a node");
                self.note(|| format!("node {node} can't reach the engine for {away}"));
                self.nodes[node].parted = true;
                self.after(away, Event::Reconnect(node));
                if let Some(link) = self.link_of(life) {
                    let linger = if self.rng.bool() { 0 } else { self.rng.u64(0..8000) };
                    self.after(linger, Event::Broken(link));
                }
            }
            60..78 => {
                self.stats.fault("connection to the ledger broken");
                if let Some(link) = self.link_of(life) {
                    self.break_link(link);
                }
            }
            78..90 => {
                let fail_over = self.rng.bool();
                self.engine_fails(fail_over);
            }
            90..94 => {
                self.stats.fault("log cut");
                let turns = self.truth.borrow().turns().len();
                let cut = self.rng.usize(0..=turns);
                self.truth.borrow_mut().cut(cut);
            }
            _ => {
                self.stats.fault("clock changed");
                self.nodes[node].skew += self.rng.i64(-100_000..100_000);
            }
        }
    }

    pub fn operator_releases(&mut self) {
        if !self.storm {
            return;
        }
        let gap = self.rng.u64(1..2 * self.plan.release_gap);
        self.after(gap, Event::Release);
        let client = self.rng.usize(0..self.clients.len());
        let name = self.clients[client].name.clone();
        let node = self.rng.usize(0..self.nodes.len());
        if let Some(run) = self.nodes[node].run.as_mut().filter(|run| run.turns.is_some()) {
            run.releasing.push_back(name.clone());
            let life = run.life;
            self.note(|| format!("the operator wants {name} to be released by node {node}"));
            self.hand(life, Input::Work(Box::new(Work::Release(name))));
        }
    }

    /// Nothing goes wrong any more, and all that is away comes back.
    pub fn calm(&mut self) {
        self.note(|| "the storm is over".into());
        self.storm = false;
        self.engine.is_down = false;
        for node in 0..self.nodes.len() {
            self.nodes[node].parted = false;
            self.nodes[node].paused = self.nodes[node].paused.min(self.now + 1000);
            self.start_node(node);
        }
        for client in 0..self.clients.len() {
            let it = &mut self.clients[client];
            if it.offline_until > self.now {
                it.offline_until = if self.rng.bool() { self.now } else { u64::MAX };
            }
        }
    }
}
