//! What is relayed: which tickets are good, how many links there may be, and how fast each may be. Without I/O, and told
//! the time and what is random.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

use crate::discovery::users::UserIndex;
use crate::protocol::Refusal;
use crate::protocol::relay::TICKET_LASTS;
use crate::protocol::rendezvous::TOKEN;
use crate::time::Instant;
use crate::transport::network;

/// How many relayed links one account may have, and for how many one may hold tickets that it has asked for.
const MAX_PER_ACCOUNT: usize = 64;
/// For how many links tickets may be out, in about 8 MiB.
const MAX_TICKETS: usize = 16 * 1024;
/// What each account may send over relayed links in an hour before they become slow, in bytes.
pub const FREE: u64 = 1024 * 1024;
/// How long that lasts.
const HOUR: Duration = Duration::from_secs(3600);
/// How many accounts are remembered that have sent something. When they are more, all are forgotten.
const MAX_REMEMBERED: usize = 64 * 1024;
/// How long the rate in all may have been unused to be made up for.
const BURST: Duration = Duration::from_secs(1);

pub type Ticket = [u8; TOKEN];
/// Names a relayed link, and the pair of tickets that it comes from.
pub type LinkId = u64;

/// What the operator allows.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Links in all.
    pub links: usize,
    /// For how many links one address may hold tickets that it has asked for, if that is limited.
    pub per_address: Option<usize>,
    /// The same for addresses of this machine itself.
    pub per_loopback: Option<usize>,
    /// Bytes a second in one direction of a link whose sender has used up what is [`FREE`].
    pub rate: u64,
    /// Bytes a second in all.
    pub total: u64,
}

/// An account, and where its session comes from.
pub type Party = (UserIndex, IpAddr);

/// The first of two who have shown their tickets waits for the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    First(LinkId, Instant),
    /// The link has begun.
    Second(LinkId),
    /// There is no room for the link any more, so neither waits.
    NoRoom(LinkId),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Figures {
    /// Links at the moment.
    pub links: u64,
    /// Links since the start.
    pub links_total: u64,
    /// Bytes since the start, of both directions together.
    pub bytes_total: u64,
    #[serde(skip)]
    pub refused_tickets: u64,
    #[serde(skip)]
    pub alone: u64,
    /// Who came when there was no room any more.
    #[serde(skip)]
    pub full: u64,
}

/// Two who have got their tickets.
struct Pair {
    parties: [Party; 2],
    tickets: [Ticket; 2],
    until: Instant,
    /// Whether one of them has shown its ticket.
    waits: bool,
}

struct Link {
    sides: [Sender; 2],
}

struct Sender {
    user: UserIndex,
    /// When it has paid, at the slow rate, for what it has sent.
    paid: Instant,
}

struct Spent {
    since: Instant,
    bytes: u64,
}

pub struct Rules {
    bounds: Bounds,
    next: LinkId,
    pairs: HashMap<LinkId, Pair>,
    /// Each ticket's pair, and which of the two it is for.
    tickets: HashMap<Ticket, LinkId>,
    by_users: HashMap<(UserIndex, UserIndex), LinkId>,
    /// The pairs, also those that are no more, in the order in which their time is over.
    ends: VecDeque<(Instant, LinkId)>,
    /// For how many links accounts and addresses have asked whose tickets are out.
    asked: HashMap<UserIndex, usize>,
    asked_from: HashMap<IpAddr, usize>,
    links: HashMap<LinkId, Link>,
    held: HashMap<UserIndex, usize>,
    spent: HashMap<UserIndex, Spent>,
    /// When all that was sent is paid for at the rate in all.
    paid: Instant,
    figures: Figures,
}

/// There is no room for another relayed link.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

impl Rules {
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            next: 0,
            pairs: HashMap::new(),
            tickets: HashMap::new(),
            by_users: HashMap::new(),
            ends: VecDeque::new(),
            asked: HashMap::new(),
            asked_from: HashMap::new(),
            links: HashMap::new(),
            held: HashMap::new(),
            spent: HashMap::new(),
            paid: Instant::START,
            figures: Figures::default(),
        }
    }

    pub fn figures(&self) -> Figures {
        Figures { links: self.links.len() as u64, ..self.figures }
    }

    /// The first of two users asks to be joined with the second. Returns whether the tickets are good from now on; if
    /// not, both have some already.
    pub fn ask(&mut self, parties: [Party; 2], tickets: [Ticket; 2], now: Instant) -> Result<bool, Full> {
        self.expire(now);
        let [(asker, from), (other, _)] = parties;
        if self.by_users.contains_key(&ordered(asker, other)) {
            return Ok(false);
        }
        let from = network(from);
        let per_address = if from.is_loopback() { self.bounds.per_loopback } else { self.bounds.per_address };
        let asked_from = self.asked_from.get(&from).copied().unwrap_or_default();
        let asked = self.asked.get(&asker).copied().unwrap_or_default() + self.held_by(asker);
        if !self.has_room([asker, other])
            || self.ends.len() >= MAX_TICKETS
            || asked >= MAX_PER_ACCOUNT
            || per_address.is_some_and(|most| asked_from >= most)
        {
            return Err(Full);
        }
        let link = self.next;
        self.next += 1;
        let until = now + TICKET_LASTS;
        tickets.iter().for_each(|ticket| _ = self.tickets.insert(*ticket, link));
        self.by_users.insert(ordered(asker, other), link);
        *self.asked.entry(asker).or_default() += 1;
        *self.asked_from.entry(from).or_default() += 1;
        self.ends.push_back((until, link));
        self.pairs.insert(link, Pair { parties, tickets, until, waits: false });
        Ok(true)
    }

    /// A ticket is shown. It is good no more after that.
    pub fn show(&mut self, ticket: &Ticket, now: Instant) -> Result<Shown, Refusal> {
        self.expire(now);
        let shown = self.tickets.remove(ticket);
        let Some((link, pair)) = shown.and_then(|link| Some((link, self.pairs.get_mut(&link)?))) else {
            self.figures.refused_tickets += 1;
            return Err(Refusal::Ticket);
        };
        if !pair.waits {
            pair.waits = true;
            return Ok(Shown::First(link, pair.until));
        }
        let users = pair.parties.map(|(user, _)| user);
        self.forget(link);
        if !self.has_room(users) {
            self.figures.full += 1;
            return Ok(Shown::NoRoom(link));
        }
        for user in users {
            *self.held.entry(user).or_default() += 1;
        }
        self.links.insert(link, Link { sides: users.map(|user| Sender { user, paid: now }) });
        self.figures.links_total += 1;
        Ok(Shown::Second(link))
    }

    /// The first one waits no more for the second.
    pub fn leave(&mut self, link: LinkId) {
        self.figures.alone += 1;
        self.forget(link);
    }

    /// A side has sent so many bytes. Returns how long to take no more from it.
    pub fn copied(&mut self, link: LinkId, side: usize, bytes: u64, now: Instant) -> Duration {
        self.figures.bytes_total += bytes;
        let Bounds { rate, total, .. } = self.bounds;
        let takes =
            |bytes: u64, rate: u64| Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / rate.max(1));
        let earliest = Instant::START + now.since(Instant::START + BURST);
        self.paid = self.paid.max(earliest) + takes(bytes, total);
        let pause = self.paid.since(now);
        let Some(sender) = self.links.get_mut(&link).and_then(|link| link.sides.get_mut(side)) else {
            return pause;
        };
        if self.spent.len() >= MAX_REMEMBERED {
            self.spent.clear();
        }
        let spent = self.spent.entry(sender.user).or_insert(Spent { since: now, bytes: 0 });
        if now.since(spent.since) >= HOUR {
            *spent = Spent { since: now, bytes: 0 };
        }
        spent.bytes = spent.bytes.saturating_add(bytes);
        let charged = spent.bytes.saturating_sub(FREE).min(bytes);
        sender.paid = sender.paid.max(now) + takes(charged, rate);
        pause.max(sender.paid.since(now))
    }

    /// A link has ended.
    pub fn ended(&mut self, link: LinkId) {
        for Sender { user, .. } in self.links.remove(&link).into_iter().flat_map(|link| link.sides) {
            give_back(&mut self.held, user);
        }
    }

    fn held_by(&self, user: UserIndex) -> usize {
        self.held.get(&user).copied().unwrap_or_default()
    }

    fn has_room(&self, users: [UserIndex; 2]) -> bool {
        self.links.len() < self.bounds.links && users.iter().all(|user| self.held_by(*user) < MAX_PER_ACCOUNT)
    }

    fn expire(&mut self, now: Instant) {
        while let Some((_, link)) = self.ends.front().copied().filter(|(until, _)| *until <= now) {
            self.ends.pop_front();
            self.forget(link);
        }
    }

    /// Forgets a pair and its tickets, if they are still there.
    fn forget(&mut self, link: LinkId) {
        let Some(Pair { parties: [(asker, from), (other, _)], tickets, .. }) = self.pairs.remove(&link)
        else {
            return;
        };
        tickets.iter().for_each(|ticket| _ = self.tickets.remove(ticket));
        self.by_users.remove(&ordered(asker, other));
        give_back(&mut self.asked, asker);
        give_back(&mut self.asked_from, network(from));
    }
}

fn ordered(one: UserIndex, other: UserIndex) -> (UserIndex, UserIndex) {
    (one.min(other), one.max(other))
}

fn give_back<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds =
        Bounds { links: 1000, per_address: Some(100), per_loopback: None, rate: 64 * 1024, total: 1 << 40 };

    fn party(user: usize) -> Party {
        (UserIndex::new(user), "127.0.0.1".parse().unwrap())
    }

    fn ticket(number: u64) -> Ticket {
        let mut ticket = [0; TOKEN];
        ticket[..8].copy_from_slice(&number.to_le_bytes());
        ticket
    }

    fn after(millis: u64) -> Instant {
        Instant::after_start(Duration::from_millis(millis))
    }

    /// Rules with a source of tickets.
    struct World {
        rules: Rules,
        next: u64,
    }

    impl World {
        fn new(bounds: Bounds) -> Self {
            Self { rules: Rules::new(bounds), next: 0 }
        }

        fn ask(&mut self, one: usize, other: usize, now: Instant) -> Option<[Ticket; 2]> {
            self.ask_as([party(one), party(other)], now)
        }

        fn ask_as(&mut self, parties: [Party; 2], now: Instant) -> Option<[Ticket; 2]> {
            let tickets = [ticket(self.next), ticket(self.next + 1)];
            self.next += 2;
            match self.rules.ask(parties, tickets, now) {
                Ok(true) => Some(tickets),
                Ok(false) => panic!("asked already"),
                Err(Full) => None,
            }
        }

        fn link(&mut self, one: usize, other: usize, now: Instant) -> Option<LinkId> {
            let [own, theirs] = self.ask(one, other, now)?;
            assert!(matches!(self.rules.show(&theirs, now), Ok(Shown::First(..))));
            match self.rules.show(&own, now) {
                Ok(Shown::Second(link)) => Some(link),
                other => panic!("{other:?}"),
            }
        }

        fn is_empty(&self) -> bool {
            let Rules { pairs, tickets, by_users, asked, asked_from, links, held, .. } = &self.rules;
            [
                pairs.len(),
                tickets.len(),
                by_users.len(),
                asked.len(),
                asked_from.len(),
                links.len(),
                held.len(),
            ] == [0; 7]
        }
    }

    #[test]
    fn two_who_show_their_tickets_are_joined_and_nothing_is_left_of_them() {
        let mut world = World::new(BOUNDS);
        let now = after(5);
        let [own, theirs] = world.ask(1, 2, now).unwrap();
        // Asked again, from either side, they are the same.
        for parties in [[party(1), party(2)], [party(2), party(1)]] {
            assert_eq!(world.rules.ask(parties, [ticket(90), ticket(91)], after(9_999)), Ok(false));
        }
        let Ok(Shown::First(link, until)) = world.rules.show(&theirs, now) else { panic!() };
        assert_eq!(until, now + TICKET_LASTS);
        assert_eq!(world.rules.show(&theirs, now), Err(Refusal::Ticket), "used");
        assert_eq!(world.rules.show(&own, now), Ok(Shown::Second(link)));
        assert_eq!(world.rules.show(&own, now), Err(Refusal::Ticket));
        let wanted =
            Figures { links: 1, links_total: 1, bytes_total: 0, refused_tickets: 2, alone: 0, full: 0 };
        assert_eq!(world.rules.figures(), wanted);
        // A link that has ended at once is replaced at once.
        world.rules.ended(link);
        assert!(world.is_empty());
        assert!(world.ask(2, 1, now).is_some());
    }

    #[test]
    fn a_ticket_is_good_for_ten_seconds() {
        let mut world = World::new(BOUNDS);
        let [own, theirs] = world.ask(1, 2, after(0)).unwrap();
        assert!(matches!(world.rules.show(&own, after(9_999)), Ok(Shown::First(..))));
        assert_eq!(world.rules.show(&theirs, after(10_000)), Err(Refusal::Ticket));
        assert!(world.is_empty());
        let [own, theirs] = world.ask(1, 2, after(10_000)).unwrap();
        let Ok(Shown::First(link, _)) = world.rules.show(&own, after(10_000)) else { panic!() };
        world.rules.leave(link);
        assert_eq!(world.rules.show(&theirs, after(10_001)), Err(Refusal::Ticket), "the first is gone");
        assert!(world.is_empty());
        assert_eq!(world.rules.figures().alone, 1);
    }

    #[test]
    fn links_are_bounded_in_all_and_of_each_account() {
        let mut world = World::new(Bounds { links: 100, ..BOUNDS });
        let links: Vec<_> = (0..64).map(|other| world.link(0, 100 + other, after(0)).unwrap()).collect();
        assert!(world.ask(0, 500, after(0)).is_none() && world.ask(500, 0, after(0)).is_none());
        // Those who got their tickets while there was room come to none.
        let late: Vec<_> =
            (0..37).map(|other| world.ask(300 + other, 400 + other, after(0)).unwrap()).collect();
        let joined = late.iter().filter(|[own, theirs]| {
            world.rules.show(own, after(0)).unwrap();
            matches!(world.rules.show(theirs, after(0)), Ok(Shown::Second(_)))
        });
        assert_eq!(joined.count(), 36);
        assert_eq!((world.rules.figures().full, world.rules.figures().links), (1, 100));
        assert!(world.ask(600, 601, after(0)).is_none());
        world.rules.ended(links[0]);
        assert!(world.ask(0, 500, after(0)).is_some());
    }

    #[test]
    fn who_only_asks_keeps_no_one_from_being_joined() {
        let mut world = World::new(Bounds { links: 10, per_address: Some(20), ..BOUNDS });
        // An account asks for very many users.
        let asked = (1..200).filter(|other| world.ask(0, *other, after(0)).is_some());
        assert_eq!(asked.count(), MAX_PER_ACCOUNT);
        // Many ask for one.
        let asked = (200..400).filter(|asker| world.ask(*asker, 0, after(0)).is_some());
        assert_eq!(asked.count(), 200);
        assert!(world.link(0, 1000, after(0)).is_none(), "its own questions are used up");
        assert!(world.link(1000, 0, after(0)).is_some());
        // Many accounts of one address.
        let from = |user, ip: &str| (UserIndex::new(user), ip.parse().unwrap());
        let ask = |world: &mut World, user: usize, ip| {
            world.ask_as([from(user, ip), party(user + 1)], after(0)).is_some()
        };
        let asked = (0..100).filter(|number| ask(&mut world, 2000 + 2 * number, "192.0.2.1"));
        assert_eq!(asked.count(), 20);
        assert!(ask(&mut world, 3000, "192.0.2.2"));
        assert!(world.ask(0, 5000, after(10_000)).is_some(), "all of it is over");
    }

    #[test]
    fn the_tickets_that_are_out_are_bounded() {
        let mut world = World::new(BOUNDS);
        let asked = (0..40_000).filter(|user| world.ask(2 * user, 2 * user + 1, after(0)).is_some());
        assert_eq!(asked.count(), MAX_TICKETS);
        assert!(world.ask(1, 2, after(10_000)).is_some());
        assert_eq!((world.rules.pairs.len(), world.rules.ends.len()), (1, 1));
    }

    #[test]
    fn a_link_is_slow_once_its_sender_has_used_up_what_is_free() {
        let mut world = World::new(BOUNDS);
        let link = world.link(1, 2, after(0)).unwrap();
        let copied = |world: &mut World, link, side, bytes, now| {
            world.rules.copied(link, side, bytes, after(now)).as_millis()
        };
        assert_eq!(copied(&mut world, link, 0, FREE, 0), 0);
        assert_eq!(copied(&mut world, link, 0, 32 * 1024, 0), 500);
        assert_eq!(copied(&mut world, link, 0, 64 * 1024, 500), 1000);
        // The other side pays for its own, and so does another link of the one that has paid.
        assert_eq!(copied(&mut world, link, 1, FREE, 0), 0);
        let other = world.link(3, 1, after(0)).unwrap();
        assert_eq!(copied(&mut world, other, 1, 32 * 1024, 0), 500);
        assert_eq!(copied(&mut world, other, 0, 32 * 1024, 0), 0);
        // An hour later there is as much again, and of it only what is too much is paid for.
        assert_eq!(copied(&mut world, link, 0, FREE + 64 * 1024, 3_600_000), 1000);
        assert_eq!(world.rules.figures().bytes_total, 3 * FREE + 7 * 32 * 1024);
    }

    #[test]
    fn all_links_together_have_a_rate_too() {
        let mut world = World::new(Bounds { total: 1_000_000, ..BOUNDS });
        let links = [(1, 2), (3, 4)].map(|(one, other)| world.link(one, other, after(60_000)).unwrap());
        // A second's worth is free after a silence.
        assert_eq!(world.rules.copied(links[0], 0, 500_000, after(60_000)), Duration::ZERO);
        assert_eq!(world.rules.copied(links[1], 0, 500_000, after(60_000)), Duration::ZERO);
        assert_eq!(world.rules.copied(links[1], 1, 100_000, after(60_000)).as_millis(), 100);
        assert_eq!(world.rules.copied(links[0], 0, 100_000, after(60_000)).as_millis(), 200);
        assert_eq!(world.rules.copied(links[0], 0, 1000, after(60_200)).as_millis(), 1);
    }
}
