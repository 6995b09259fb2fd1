//! Threads that dial, and what they meet.

use std::collections::VecDeque;
use std::net::SocketAddr;

use peerchat::client::event::{Input, Problem};
use peerchat::protocol::{PublicKey, VERSION};
use peerchat::store::journal::ContactId;
use peerchat::transport::Route;

use super::mutation::Mutation;
use super::wire::End;
use super::world::{Event, Pid, World};

/// A thread that dials.
#[derive(Clone)]
pub struct Dialling {
    pub client: usize,
    pub life: u64,
    pub contact: ContactId,
    pub key: PublicKey,
    pub routes: VecDeque<Route>,
    pub problems: Vec<(Route, Problem)>,
}

impl World {
    /// A dialling thread tries its next address.
    pub fn dial(&mut self, mut dialling: Box<Dialling>) {
        let own = Pid::Client(dialling.client);
        let end = End { pid: own, life: dialling.life, id: 0, open: true };
        let Some(route) = dialling.routes.front().copied() else {
            let Dialling { contact, problems, .. } = *dialling;
            return self.post(end, Input::DialFailed { contact, problems });
        };
        let delay = self.rng.u64(1..=self.plan.dial_latency);
        let target = self.clients.iter().position(|client| {
            client.run.as_ref().is_some_and(|run| run.exit.is_none()) && Route::from(client.address) == route
        });
        let wait = match target {
            Some(target) if self.parted(own, Pid::Client(target)) => Err((5000, "timeout")),
            None => Err((delay, "refused")),
            Some(target) => Ok(target),
        };
        match wait {
            Ok(target) => {
                let life = self.clients[target].life;
                self.schedule(self.now + delay, Event::Shake(dialling, target, life));
            }
            Err((wait, why)) => {
                dialling.fails(Problem::Other(why.into()));
                self.schedule(self.now + wait, Event::Dial(dialling));
            }
        }
    }

    /// The other side answers a dialling thread.
    pub fn shake(&mut self, mut dialling: Box<Dialling>, target: usize, life: u64) {
        let own = Pid::Client(dialling.client);
        let there = self.clients[target].run.as_ref().is_some_and(|run| run.life == life)
            && !self.parted(own, Pid::Client(target));
        let right = self.clients[target].keypair.public() == dialling.key;
        if !there || !right {
            dialling.fails(match there {
                false => Problem::Other("broken".into()),
                true => Problem::WrongKey { expected: dialling.key, found: None },
            });
            return self.dial(dialling);
        }
        let Some(run) = self.clients[dialling.client].run.as_mut().filter(|run| run.life == dialling.life)
        else {
            return;
        };
        let id = run.next_link;
        run.next_link += 1;
        let dialler = End { pid: own, life: dialling.life, id, open: true };
        let Some(run) = &mut self.clients[target].run else {
            return;
        };
        let id = run.next_link;
        run.next_link += 1;
        let acceptor = End { pid: Pid::Client(target), life, id, open: true };
        let budget = self.budget();
        let conn = self.connect(dialler, acceptor, true, budget);
        let half = self.fault_happens(self.plan.half_shake);
        let remote = SocketAddr::new(self.clients[dialling.client].address.ip(), 40_000);
        let ups = [
            (dialler, dialling.key, Some(dialling.contact), dialling.routes[0]),
            (acceptor, self.clients[dialling.client].keypair.public(), None, remote.into()),
        ];
        for (side, (end, key, dialled, route)) in ups.into_iter().enumerate() {
            if let Pid::Client(number) = end.pid
                && let Some(run) = &mut self.clients[number].run
            {
                run.links.insert(end.id, (conn, side));
            }
            if half && side == 1 {
                self.stats.add("handshake half done");
                self.close(conn, 1);
                continue;
            }
            let at = self.now + self.rng.u64(0..=self.plan.latency);
            self.not_before(conn, side, at);
            let budget = if self.mutation == Some(Mutation::NoWindow) { 1 << 30 } else { budget };
            let up = Input::LinkUp { link: end.id, key, version: VERSION, dialled, route, budget };
            self.schedule(at, Event::Up(end, up));
        }
    }
}

impl Dialling {
    fn fails(&mut self, problem: Problem) {
        if let Some(route) = self.routes.pop_front() {
            self.problems.push((route, problem));
        }
    }
}
