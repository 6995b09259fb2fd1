//! Threads that dial, and what they meet.

use std::collections::VecDeque;
use std::net::SocketAddr;

use peerchat::client::event::{Input, Problem};
use peerchat::protocol::PublicKey;
use peerchat::store::journal::ContactId;
use peerchat::transport::Route;

use super::reach::{Network, Party};
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
    /// Whether it is part of a punch, which is not over when this is.
    pub races: bool,
}

impl World {
    /// A dialling thread tries its next address.
    pub fn dial(&mut self, mut dialling: Box<Dialling>) {
        let own = Pid::Client(dialling.client);
        let end = End { pid: own, life: dialling.life, id: 0, open: true };
        let Some(route) = dialling.routes.front().copied() else {
            let Dialling { contact, problems, races, .. } = *dialling;
            if races {
                return;
            }
            return self.post(end, Input::DialFailed { contact, problems });
        };
        let delay = self.rng.u64(1..=self.plan.dial_latency);
        let target = self.clients.iter().position(|client| {
            client.run.as_ref().is_some_and(|run| run.exit.is_none()) && Route::from(client.address) == route
        });
        let wait = match target {
            Some(target) if self.parted(own, Pid::Client(target)) => Err((5000, "timeout")),
            None => Err((delay, "refused")),
            Some(target) if self.clients[target].network != Network::Open => Err((5000, "timeout")),
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
        let remote = SocketAddr::new(self.clients[dialling.client].address.ip(), 40_000);
        let Dialling { client, contact, .. } = *dialling;
        let dialler =
            Party { client, life: dialling.life, dialled: Some(contact), route: dialling.routes[0] };
        let acceptor = Party { client: target, life, dialled: None, route: remote.into() };
        self.link([dialler, acceptor]);
    }
}

impl Dialling {
    fn fails(&mut self, problem: Problem) {
        if let Some(route) = self.routes.pop_front() {
            self.problems.push((route, problem));
        }
    }
}
