//! What is between the clients: networks that can be dialled, opened or neither, and discovery's help with the latter two.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use fastrand::Rng;
use peerchat::client::command::Command;
use peerchat::client::event::{Input, Problem, Punching};
use peerchat::client::notice::{Notice, UpDown};
use peerchat::discovery::registry::{Side, Whereabouts};
use peerchat::discovery::relay::rules::{Bounds, LinkId, Rules, Shown};
use peerchat::protocol::peer::{Peer, Via};
use peerchat::protocol::rendezvous::{Punch, Refused, RefusedCode, TOKEN, Ticket, ToClient};
use peerchat::protocol::{DISCOVERY_PORT, Name, PublicKey, VERSION};
use peerchat::store::journal::ContactId;
use peerchat::time::millis;
use peerchat::transport::Route;

use super::dial::Dialling;
use super::mutation::Mutation;
use super::server::ServerRun;
use super::wire::{ConnId, End};
use super::world::{Event, Pid, World, moment};

/// For how many milliseconds a way is punched.
const PUNCH_FOR: u64 = 3_000;
/// From where discovery sees sessions come.
pub const SESSION_PORT: u16 = 40_000;
/// Within how many milliseconds of peace a better way is found, and how often that is looked at.
const BETTER: u64 = 200_000;
const LOOK: u64 = 3_000;

/// What is between a client and the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// Everyone can dial it.
    #[default]
    Open,
    /// A way in can be punched.
    Nat,
    /// No way leads in but from those who are open.
    Closed,
}

/// A client's thread that punches.
#[derive(Clone, Debug)]
pub struct Puncher {
    client: usize,
    life: u64,
    contact: ContactId,
    key: PublicKey,
    punching: Punching,
}

/// A client's thread that shows discovery its ticket.
#[derive(Clone, Debug)]
pub struct Joiner {
    pub client: usize,
    pub life: u64,
    pub contact: ContactId,
    /// Where it begins.
    pub key: Option<PublicKey>,
    pub through: SocketAddr,
    pub ticket: [u8; TOKEN],
}

/// The relay of discovery. How fast it copies, and how much in all, is not simulated.
pub struct Relay {
    rules: Rules,
    waiting: BTreeMap<LinkId, Joiner>,
}

impl Default for Relay {
    fn default() -> Self {
        let bounds =
            Bounds { links: 1_000_000, per_address: None, per_loopback: None, rate: 1 << 30, total: 1 << 40 };
        Self { rules: Rules::new(bounds), waiting: BTreeMap::new() }
    }
}

/// One side of a connection that comes to be.
pub struct Party {
    pub client: usize,
    pub life: u64,
    /// The contact whose client this side has dialled.
    pub dialled: Option<ContactId>,
    pub route: Route,
}

/// Which of several links is kept, as it was said, and how the links stand.
#[derive(Default)]
pub struct Kept {
    /// What each side that decides, in this start, has said last to each other client: over which connection, and its
    /// number.
    said: BTreeMap<(usize, u64, usize, u64), (ConnId, u64)>,
    /// The number of the decision for each connection.
    decided: BTreeMap<ConnId, u64>,
    /// What each side that does not decide has heard over which connection, and in which of its transactions.
    heard: BTreeMap<ConnId, (u64, u64)>,
    transactions: BTreeMap<usize, u64>,
    /// Whether no link may fall any more.
    steady: bool,
}

impl Network {
    pub fn any(rng: &mut Rng) -> Self {
        [Self::Open, Self::Nat, Self::Closed][rng.usize(0..3)]
    }

    /// Whether two clients can open a way together.
    pub fn meets(self, other: Self) -> bool {
        self == Self::Open || other == Self::Open || (self, other) == (Self::Nat, Self::Nat)
    }
}

/// What the user says of where discovery is.
pub const DISCOVERY: &str = "192.0.2.1:7667";

/// Where discovery is.
pub fn discovery() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], DISCOVERY_PORT))
}

impl World {
    /// From where discovery sees a client's session come.
    pub fn seen(&self, client: usize) -> SocketAddr {
        SocketAddr::new(self.clients[client].address.ip(), SESSION_PORT)
    }

    /// The client's own socket of its session.
    pub fn local(&self, client: usize) -> SocketAddr {
        match self.clients[client].network {
            Network::Open => self.seen(client),
            _ => SocketAddr::from(([192, 168, 0, 2], SESSION_PORT)),
        }
    }

    /// What discovery tells both sides of a punch.
    pub fn introduce(&mut self, sides: [(Whereabouts, Punch); 2]) -> Vec<(u64, ToClient)> {
        let mut token = [0; TOKEN];
        self.rng.fill(&mut token);
        let told = sides.into_iter().map(|(at, punch)| (here(at), ToClient::Punch(Punch { token, ..punch })));
        let told: Vec<_> = told.collect();
        self.stats.add("help to punch");
        if self.mutation == Some(Mutation::PunchUnanswered) {
            return told.into_iter().take(1).collect();
        }
        told
    }

    /// What discovery tells two who are to be joined.
    pub fn hand_out(&mut self, run: &mut ServerRun, sides: [Side; 2]) -> Vec<(u64, ToClient)> {
        let mut tickets = [[0; TOKEN]; 2];
        self.rng.fill(tickets.as_flattened_mut());
        let [asker, other] = &sides;
        let now = moment(self.now - run.started);
        let parties = [(asker.user, asker.from), (other.user, other.from)];
        let refused = |code| {
            let refused = Refused { code, name: Some(asker.with.clone()) };
            vec![(here(asker.at), ToClient::Refused(refused))]
        };
        if self.fault_happens(self.plan.no_relay) {
            self.stats.add("relay refused");
            return refused(if self.rng.bool() { RefusedCode::RELAY_OFF } else { RefusedCode::RELAY_FULL });
        }
        match run.relay.rules.ask(parties, tickets, now) {
            Ok(false) => Vec::new(),
            Ok(true) => {
                self.stats.add("tickets of the relay");
                if self.mutation == Some(Mutation::WrongTickets) {
                    std::mem::swap(&mut tickets[1], &mut self.broken.ticket);
                }
                let told = |(side, ticket, dials): (&Side, [u8; TOKEN], bool)| {
                    (
                        here(side.at),
                        ToClient::Relay(Ticket { name: side.with.clone(), ticket, dials, at: None }),
                    )
                };
                [(asker, tickets[0], true), (other, tickets[1], false)].map(told).into()
            }
            Err(_) => refused(RefusedCode::RELAY_FULL),
        }
    }

    /// A client wants to punch.
    pub fn begin_punch(
        &mut self,
        client: usize,
        life: u64,
        contact: ContactId,
        key: PublicKey,
        punching: Punching,
    ) {
        let wait = millis(punching.wait) + self.rng.u64(1..=self.plan.latency + 1);
        let puncher = Puncher { client, life, contact, key, punching };
        self.schedule(self.now + wait, Event::Punch(Box::new(puncher)));
    }

    /// A client's thread begins to punch, and dials meanwhile.
    pub fn punch(&mut self, puncher: Puncher) {
        let Puncher { client, life, contact, key, ref punching } = puncher;
        if self.clients[client].run.as_ref().is_none_or(|run| run.life != life) {
            return;
        }
        let routes = punching.routes.clone().into();
        let dialling = Dialling { client, life, contact, key, routes, problems: vec![], races: true };
        self.schedule(self.now, Event::Dial(Box::new(dialling)));
        let token = punching.token;
        match self.punches.remove(&token) {
            Some(other) if other.client != client => self.meet(puncher, other),
            _ => {
                self.punches.insert(token, puncher);
                let end = self.now + PUNCH_FOR;
                self.schedule(end, Event::PunchOver(token));
            }
        }
    }

    /// Both sides of a punch are there.
    fn meet(&mut self, one: Puncher, other: Puncher) {
        let networks = [&one, &other].map(|side| self.clients[side.client].network);
        let parted = self.parted(Pid::Client(one.client), Pid::Client(other.client));
        let [seen_one, seen_other] = [&one, &other].map(|side| self.seen(side.client));
        // Each sends to where the other one was when its session began.
        let found = one.punching.remotes.contains(&seen_other) && other.punching.remotes.contains(&seen_one);
        let right = one.key == self.clients[other.client].keypair.public()
            && other.key == self.clients[one.client].keypair.public()
            && one.punching.begins != other.punching.begins;
        let there = self.clients[other.client].run.as_ref().is_some_and(|run| run.life == other.life);
        if parted || !found || !right || !there || !networks[0].meets(networks[1]) {
            for side in [one, other] {
                self.schedule(self.now + PUNCH_FOR, Event::PunchFailed(Box::new(side)));
            }
            return;
        }
        self.stats.add("punched");
        let remotes = [seen_other, seen_one];
        let mut parties = [one, other].into_iter().zip(remotes).map(|(side, remote)| Party {
            client: side.client,
            life: side.life,
            dialled: side.punching.begins.then_some(side.contact),
            route: Route::Punched { remote },
        });
        if let (Some(one), Some(other)) = (parties.next(), parties.next()) {
            let parties = if one.dialled.is_some() { [one, other] } else { [other, one] };
            self.link(parties);
        }
    }

    /// The other side has not come.
    pub fn punch_over(&mut self, token: [u8; TOKEN]) {
        if let Some(puncher) = self.punches.remove(&token) {
            self.punch_failed(&puncher);
        }
    }

    pub fn punch_failed(&mut self, Puncher { client, life, contact, punching, .. }: &Puncher) {
        self.stats.add("punched in vain");
        let route = Route::Punched { remote: punching.session };
        let problems = match self.rng.u32(0..4) {
            0 => Vec::new(),
            _ => vec![(route, Problem::Other("timeout".into()))],
        };
        self.not_met(*client, *life, *contact, problems);
    }

    fn not_met(&mut self, client: usize, life: u64, contact: ContactId, problems: Vec<(Route, Problem)>) {
        let end = End { pid: Pid::Client(client), life, id: 0, open: true };
        self.post(end, Input::NotMet { contact, problems });
    }

    /// A client wants to be joined.
    pub fn begin_join(&mut self, joiner: Joiner) {
        if joiner.through != discovery() {
            self.fail(format!("user{} is joined through {}", joiner.client, joiner.through));
        }
        let delay = self.rng.u64(1..=self.plan.dial_latency);
        self.schedule(self.now + delay, Event::Join(Box::new(joiner)));
    }

    /// A client's thread shows discovery its ticket.
    pub fn join(&mut self, joiner: Joiner) {
        if self.clients[joiner.client].run.as_ref().is_none_or(|run| run.life != joiner.life) {
            return;
        }
        let parted = self.parted(Pid::Client(joiner.client), Pid::Discovery);
        let Some(run) = self.discovery.run.as_mut().filter(|_| !parted) else {
            let wait = if parted { 5_000 } else { 0 };
            return self.join_fails_in(wait, joiner);
        };
        let now = self.now - run.started;
        match run.relay.rules.show(&joiner.ticket, moment(now)) {
            Ok(Shown::First(link, until)) => {
                let until = millis(until.since_start()) + run.started;
                run.relay.waiting.insert(link, joiner);
                self.schedule(until, Event::JoinOver(self.discovery.life, link));
            }
            Ok(Shown::Second(link)) => {
                let first = run.relay.waiting.remove(&link);
                run.relay.rules.ended(link);
                match first {
                    Some(first) => self.joined(first, joiner),
                    None => self.join_fails_in(0, joiner),
                }
            }
            Ok(Shown::NoRoom(_)) | Err(_) => self.join_fails_in(0, joiner),
        }
    }

    /// The second one has not come to discovery in time.
    pub fn join_over(&mut self, life: u64, link: LinkId) {
        let run = self.discovery.run.as_mut().filter(|_| self.discovery.life == life);
        if let Some(run) = run
            && let Some(first) = run.relay.waiting.remove(&link)
        {
            run.relay.rules.leave(link);
            self.join_failed(&first);
        }
    }

    fn join_fails_in(&mut self, wait: u64, joiner: Joiner) {
        self.schedule(self.now + wait, Event::JoinFailed(Box::new(joiner)));
    }

    pub fn join_failed(&mut self, joiner: &Joiner) {
        self.stats.add("not relayed");
        let problems =
            vec![(Route::Relayed { through: joiner.through }, Problem::Other("not relayed".into()))];
        self.not_met(joiner.client, joiner.life, joiner.contact, problems);
    }

    /// Those who wait at a relay that is gone are told.
    pub fn relay_falls(&mut self, relay: Relay) {
        relay.waiting.into_values().for_each(|joiner| self.join_fails_in(0, joiner));
    }

    /// What this start of discovery relays is over.
    pub fn relayed_links_fall(&mut self, life: u64, silent: bool) {
        let relayed: Vec<ConnId> =
            self.conns.iter().filter(|(_, conn)| conn.relay == Some(life)).map(|(id, _)| *id).collect();
        for conn in relayed {
            if silent {
                (0..2).for_each(|side| self.silence(conn, side));
            } else {
                self.cut(conn);
            }
        }
    }

    /// Discovery joins two, who prove their keys.
    fn joined(&mut self, one: Joiner, other: Joiner) {
        let there = |it: &Joiner| self.clients[it.client].run.as_ref().is_some_and(|run| run.life == it.life);
        let (begins, answers) = if one.key.is_some() { (one, other) } else { (other, one) };
        let right = begins.key == Some(self.clients[answers.client].keypair.public())
            && answers.key.is_none()
            && begins.client != answers.client;
        if !(there(&begins) && there(&answers) && right) {
            self.join_fails_in(1, begins);
            return self.join_fails_in(1, answers);
        }
        self.stats.add("relayed");
        let route = match self.mutation {
            Some(Mutation::RelayedAsDirect) => Route::Direct { remote: begins.through },
            _ => Route::Relayed { through: begins.through },
        };
        let party = |it: &Joiner| Party {
            client: it.client,
            life: it.life,
            dialled: it.key.map(|_| it.contact),
            route,
        };
        let conn = self.link([party(&begins), party(&answers)]);
        let life = self.discovery.life;
        if let Some(conn) = conn.and_then(|conn| self.conns.get_mut(&conn)) {
            (conn.via, conn.relay) = (Via::Relayed, Some(life));
        }
    }

    /// Two clients, the first of which begins, have proved their keys to each other.
    pub fn link(&mut self, parties: [Party; 2]) -> Option<ConnId> {
        let mut ends = Vec::new();
        for Party { client, life, .. } in &parties {
            let run = self.clients[*client].run.as_mut().filter(|run| run.life == *life)?;
            let id = run.next_link;
            run.next_link += 1;
            ends.push(End { pid: Pid::Client(*client), life: *life, id, open: true });
        }
        let [one, other] = ends[..] else {
            return None;
        };
        let budget = self.budget();
        let conn = self.connect(one, other, true, budget);
        if let Some(conn) = self.conns.get_mut(&conn) {
            conn.via = parties[0].route.via();
        }
        let half = self.fault_happens(self.plan.half_shake);
        let keys = [1, 0].map(|other: usize| self.clients[parties[other].client].keypair.public());
        for (side, Party { client, dialled, route, .. }) in parties.into_iter().enumerate() {
            let end = if side == 0 { one } else { other };
            if let Some(run) = &mut self.clients[client].run {
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
            let up =
                Input::LinkUp { link: end.id, key: keys[side], version: VERSION, dialled, route, budget };
            self.schedule(at, Event::Up(end, up));
        }
        Some(conn)
    }

    /// A client's machine is behind another router from now on. What it has open may go on.
    pub fn change_network(&mut self, client: usize) {
        self.clients[client].network = Network::any(&mut self.rng);
        let network = self.clients[client].network;
        self.note(|| format!("user{client} is behind {network:?}"));
        let kind = self.rng.u32(0..3);
        let own = |end: &End| end.pid == Pid::Client(client);
        let conns: Vec<ConnId> =
            self.conns.iter().filter(|(_, conn)| conn.ends.iter().any(own)).map(|(id, _)| *id).collect();
        for conn in conns {
            match kind {
                0 => self.cut(conn),
                1 => (0..2).for_each(|side| self.silence(conn, side)),
                _ => {}
            }
        }
    }

    /// A contact is dialled: only where its client has been.
    pub fn check_places(&mut self, client: usize, name: &Name, places: &[SocketAddr]) {
        if self.concerns_twin(client, name) {
            return;
        }
        let Some(other) = self.oracle.names.get(name).copied() else {
            return self.fail(format!("user{client} sends something to {name}, who does not exist"));
        };
        let strange = |place: &&SocketAddr| !self.clients[other].places.contains(&place.ip());
        if let Some(place) = places.iter().find(strange) {
            self.fail(format!("user{client} looks for {name} at {place}"));
        }
    }

    /// A client is joined with a user: with a stranger only if that one begins, and its user is open to strangers.
    pub fn check_join(&mut self, client: usize, name: &Name, begins: bool) {
        let open = self.takes_strangers(client) && !begins;
        if !open {
            self.check_dial(client, name);
        }
    }

    /// What goes out to a peer, and whether that link is the one that stays.
    pub fn check_kept(&mut self, client: usize, conn: ConnId, side: usize, messages: &[Peer]) {
        let Some([own, other]) = self.conns.get(&conn).map(|it| [it.ends[side], it.ends[1 - side]]) else {
            return;
        };
        let Pid::Client(number) = other.pid else {
            return;
        };
        let decides = self.clients[client].keypair.public() < self.clients[number].keypair.public();
        let pair = (client, own.life, number, other.life);
        for said in messages {
            match said {
                Peer::Hello(_) | Peer::Bye(_) | Peer::Ping => {}
                Peer::Keep(_) if !decides => self.fail(format!("user{client} decides for user{number}")),
                Peer::Keep(decision) => {
                    self.oracle.kept.decided.insert(conn, *decision);
                    let last = self.oracle.kept.said.insert(pair, (conn, *decision));
                    if last.is_some_and(|(_, last)| last >= *decision) {
                        self.fail(format!("user{client} keeps a link by {decision} after {last:?}"));
                    }
                }
                _ if decides => {
                    if self.oracle.kept.said.get(&pair).is_none_or(|(kept, _)| *kept != conn) {
                        self.fail(format!("user{client} says {said:?} over {conn}, which it does not keep"));
                    }
                }
                _ => {
                    let Some((decision, _)) = self.oracle.kept.heard.get(&conn).copied() else {
                        self.fail(format!("user{client} says {said:?} over {conn} before it is kept"));
                        return;
                    };
                    let ends = |it: ConnId| {
                        self.conns.get(&it).map(|it| it.ends.map(|end| (end.pid, end.life, end.open)))
                    };
                    let mut own_ends = [own, other].map(|end| (end.pid, end.life));
                    own_ends.sort_unstable();
                    let transaction = self.oracle.kept.transactions.get(&client).unwrap_or(&0);
                    let later = self.oracle.kept.heard.iter().find(|(other, (later, heard))| {
                        let same = ends(**other).is_some_and(|ends| {
                            let mut theirs = ends.map(|(pid, life, _)| (pid, life));
                            theirs.sort_unstable();
                            theirs == own_ends && ends.iter().all(|(.., open)| *open)
                        });
                        // What was heard with it may have been heard after this was decided.
                        *later > decision && heard < transaction && same
                    });
                    if let Some((later, _)) = later {
                        let later = *later;
                        self.fail(format!(
                            "user{client} says {said:?} over {conn}, and {later} was kept after it"
                        ));
                    }
                }
            }
        }
    }

    /// A client has been told what is in a frame, and its transaction is committed.
    pub fn note_kept(&mut self, client: usize, inputs: &[Input]) {
        let transaction = self.oracle.kept.transactions.entry(client).or_default();
        *transaction += 1;
        let transaction = *transaction;
        for input in inputs {
            let Input::LinkSays(link, said) = input else {
                continue;
            };
            let keep = said.iter().find_map(|said| match said {
                Peer::Keep(decision) => Some(*decision),
                _ => None,
            });
            let life = self.clients[client].life;
            let of = |end: &End| (end.pid, end.life, end.id) == (Pid::Client(client), life, *link);
            if keep.is_some()
                && let Some(conn) = self
                    .conns
                    .iter()
                    .find(|(_, conn)| conn.peer && conn.ends.iter().any(of))
                    .map(|(id, _)| *id)
            {
                // What was said, and not what this side may have heard instead.
                let said = self.oracle.kept.decided.get(&conn).copied();
                said.or(keep)
                    .into_iter()
                    .for_each(|it| _ = self.oracle.kept.heard.insert(conn, (it, transaction)));
            }
        }
    }

    /// A user is told of a link: once all is well, none falls.
    pub fn check_link_notice(&mut self, client: usize, notice: &Notice) {
        if let Notice::Link { peer, state: UpDown::Down, .. } = notice
            && self.oracle.kept.steady
        {
            self.fail(format!("user{client} loses {peer} in peace"));
        }
    }

    /// In peace all ways are the best there are, after a while, under a stream of messages and without a gap.
    pub fn better_ways(&mut self) -> Result<(), String> {
        if !self.plan.upgrades || self.plan.twin {
            return Ok(());
        }
        self.oracle.kept.steady = true;
        for number in 0..self.clients.len() {
            let better = [Network::Open, Network::Nat][usize::from(self.rng.bool())];
            if self.clients[number].network != Network::Open {
                self.clients[number].network = better;
            }
        }
        let end = self.now + BETTER;
        while let Some((one, other)) = self.relayed_in_vain() {
            if self.now >= end {
                return Err(format!("user{one} and user{other} are still relayed"));
            }
            for (from, to) in [(one, other), (other, one)] {
                let name = self.clients[to].name.clone();
                let text = self.oracle.write(from, &name, 3);
                self.command(from, Command::Chat(name.into(), text));
            }
            self.run_until(self.now + LOOK)?;
            self.stats.add("looks for a better way");
        }
        let end = self.now + LOOK * 10;
        loop {
            self.run_until(self.now + LOOK)?;
            match self.unrest() {
                None => return Ok(()),
                Some(unrest) if self.now >= end => return Err(format!("no peace on better ways: {unrest}")),
                Some(_) => {}
            }
        }
    }

    /// Two who are relayed, and need not be.
    fn relayed_in_vain(&self) -> Option<(usize, usize)> {
        self.conns.values().find_map(|conn| match conn.ends {
            [
                End { pid: Pid::Client(one), open: true, .. },
                End { pid: Pid::Client(other), open: true, .. },
            ] if conn.relay.is_some() => {
                let [network, other_network] = [one, other].map(|it| self.clients[it].network);
                network.meets(other_network).then_some((one, other))
            }
            _ => None,
        })
    }

    /// Which way the only link of two clients takes.
    pub fn way(&self, one: usize, other: usize) -> Option<Via> {
        let mut ways = self.conns.values().filter(|conn| {
            let pids = conn.ends.map(|end| end.pid);
            let open = conn.peer && conn.ends.iter().all(|end| end.open);
            open && pids.contains(&Pid::Client(one)) && pids.contains(&Pid::Client(other))
        });
        ways.next().map(|conn| conn.via)
    }
}

/// The session of a user at the one discovery that there is.
fn here(at: Whereabouts) -> u64 {
    match at {
        Whereabouts::Here(session) => session,
        Whereabouts::Elsewhere(user) => panic!("{user} is at another node"),
    }
}
