//! How a node looks at the others, beside its ledger thread.

use peerchat::accounts::Change;
use peerchat::discovery::members::{Seen, Verdict};
use peerchat::discovery::turns::Work;

use super::mutation::Mutation;
use super::node::Input;
use super::world::{Event, Life, World};

pub const LOOK_EVERY: u64 = 1000;

impl World {
    /// Looks at the other nodes, and says that this one is alive.
    pub fn look(&mut self, life: Life) {
        if let Some(resumes) = self.paused(life) {
            return self.schedule(resumes, Event::Look(life));
        }
        let node = &self.nodes[life.0];
        let unreachable = node.parted || self.engine.is_down;
        let Some((id, now)) =
            node.run.as_ref().filter(|run| run.life == life).map(|run| (run.id, self.clock(run)))
        else {
            return;
        };
        self.after(if unreachable { 250 } else { LOOK_EVERY }, Event::Look(life));
        if unreachable || id == 0 {
            if let Some(run) = &mut self.nodes[life.0].run {
                run.is_connected = false;
            }
            return;
        }
        self.beat(id);
        let rows: Vec<_> = self.truth.borrow().rows().nodes.values().cloned().collect();
        let others = rows.iter().filter(|node| node.id != id).map(|node| {
            let (leased, beat) = self.lease(node.id);
            Seen { node: node.id, lost: node.lost, beat, leased }
        });
        let others: Vec<_> = others.collect();
        let Some(run) = &mut self.nodes[life.0].run else {
            return;
        };
        if !std::mem::replace(&mut run.is_connected, true) {
            run.members.connected(now.mono);
        }
        for verdict in run.members.look(&others, now) {
            match verdict {
                Verdict::Change(change) => {
                    let lost = match change {
                        Change::LoseNode { node } if self.is(Mutation::ForgottenAtOnce) => Some(node),
                        _ => None,
                    };
                    self.note(|| format!("node {} wants {change:?}", life.0));
                    self.hand(life, Input::Work(Box::new(Work::Nodes(change))));
                    if let Some(node) = lost {
                        let forget = Change::ForgetNode { node, now: now.wall };
                        self.hand(life, Input::Work(Box::new(Work::Nodes(forget))));
                    }
                }
                Verdict::End(node) => {
                    self.stats.add("hanging node ended");
                    if let Some(link) = self.link_with_lease(node).filter(|link| !self.is_committing(*link)) {
                        self.break_link(link);
                    }
                }
            }
        }
    }
}
