//! Where else a client can be reached than at the address that is given out: as it says, as far as discovery can check
//! that, and as it may be told to contacts. Strangers are told nothing of it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use minicbor::{Decode, Encode};

use crate::protocol::rendezvous::{Candidate, CandidateKind, Register};

/// How many private addresses of IPv4 are passed on of one client.
const MAX_LAN: usize = 4;
/// How many global addresses of IPv6 are passed on of one client.
const MAX_GLOBAL: usize = 4;
/// A client that says it is farther away than this counts as this far: else one would keep the other waiting.
const FARTHEST: Duration = Duration::from_secs(1);
/// How long both sides of a punch wait at least: a client may be busy with its disk when it hears of it, and begins late
/// by what this does not cover.
const READY: Duration = Duration::from_millis(200);

/// What a session has said with its registration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Reach {
    /// The session's own port on the client's machine.
    #[n(0)]
    port: u16,
    #[n(1)]
    round_trip: Duration,
    #[n(2)]
    mapped: Option<SocketAddr>,
    #[n(3)]
    lan: Vec<IpAddr>,
    #[n(4)]
    global: Vec<IpAddr>,
}

impl Reach {
    pub fn of(Register { port, rtt, mapped, local, .. }: &Register) -> Self {
        let some = |wanted: fn(IpAddr) -> bool, most| {
            local.iter().copied().filter(|ip| wanted(*ip)).take(most).collect()
        };
        Self {
            port: *port,
            round_trip: Duration::from_millis((*rtt).into()).min(FARTHEST),
            mapped: mapped.filter(|mapped| mapped.port() != 0),
            lan: some(is_lan, MAX_LAN),
            global: some(is_global, MAX_GLOBAL),
        }
    }

    /// Whether contacts are told something else than of the other one.
    pub fn differs_for_contacts(&self, other: &Self) -> bool {
        (self.mapped, &self.lan, &self.global) != (other.mapped, &other.lan, &other.global)
    }

    /// What a contact is told besides the address given out. Discovery sees the client come from `observed`, and the
    /// contact from `contact`.
    pub fn candidates(&self, given_out: SocketAddr, observed: IpAddr, contact: IpAddr) -> Vec<Candidate> {
        let [observed, contact] = [observed, contact].map(|ip| ip.to_canonical());
        // A router that says anything else has another one before it, or the client lies.
        let mapped = self.mapped.filter(|mapped| mapped.ip().to_canonical() == observed);
        let lan = self.lan.iter().filter(|_| observed == contact);
        let at = |ip: &IpAddr| SocketAddr::new(*ip, given_out.port());
        let candidate = |kind| move |address| Candidate { address, kind };
        let all = mapped
            .into_iter()
            .map(candidate(CandidateKind::Mapped))
            .chain(lan.map(at).map(candidate(CandidateKind::Lan)))
            .chain(self.global.iter().map(at).map(candidate(CandidateKind::Global)));
        // At most 9, of which one is given out already where there are so many.
        all.filter(|candidate| candidate.address != given_out)
            .take(crate::protocol::rendezvous::MAX_CANDIDATES)
            .collect()
    }

    /// Where the other side of a punch sends to: where discovery sees the session, and the same port elsewhere.
    pub fn punched(&self, observed: SocketAddr) -> Vec<SocketAddr> {
        let seen = SocketAddr::new(observed.ip().to_canonical(), observed.port());
        let others = self.global.iter().filter(|_| self.port != 0);
        let others = others.map(|ip| SocketAddr::new(*ip, self.port)).filter(|other| *other != seen);
        [seen].into_iter().chain(others).collect()
    }

    /// How long this side and the other one wait before they begin, after they have heard that they should: so that both
    /// begin at once, although one hears it earlier.
    pub fn waits(&self, other: &Self) -> [Duration; 2] {
        let later = self.round_trip.max(other.round_trip);
        [self.round_trip, other.round_trip].map(|own| READY + (later - own) / 2)
    }
}

fn is_lan(ip: IpAddr) -> bool {
    matches!(ip.to_canonical(), IpAddr::V4(ip) if ip.is_private())
}

/// Of the part of IPv6 from which global addresses are given.
fn is_global(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.octets().first().is_some_and(|first| first >> 5 == 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::rendezvous::Strangers;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn reach(mapped: Option<&str>, local: &[&str], rtt: u32) -> Reach {
        let (name, listen) = ("bob".parse().unwrap(), at("0.0.0.0:4000"));
        let local = local.iter().map(|text| ip(text)).collect();
        let mapped = mapped.map(at);
        Reach::of(&Register {
            port: 5000,
            rtt,
            mapped,
            local,
            ..Register::new(name, listen, None, Strangers::Open)
        })
    }

    fn told(reach: &Reach, contact: &str) -> Vec<(String, CandidateKind)> {
        let all = reach.candidates(at("192.0.2.1:4000"), ip("192.0.2.1"), ip(contact));
        all.into_iter().map(|it| (it.address.to_string(), it.kind)).collect()
    }

    #[test]
    fn only_what_can_be_true_and_may_be_known_is_passed_on() {
        use CandidateKind::{Global, Lan, Mapped};
        let it = |text: &str, kind| (text.to_owned(), kind);
        let mapped = reach(Some("192.0.2.1:7000"), &[], 0);
        assert_eq!(told(&mapped, "198.51.100.1"), [it("192.0.2.1:7000", Mapped)]);
        assert_eq!(told(&reach(Some("[::ffff:192.0.2.1]:7000"), &[], 0), "198.51.100.1").len(), 1);
        // Another address than the observed one, no port, the one that is given out anyway.
        for mapped in ["198.51.100.9:7000", "192.0.2.1:0", "10.0.0.1:7000", "192.0.2.1:4000"] {
            assert_eq!(told(&reach(Some(mapped), &[], 0), "198.51.100.1"), [], "{mapped}");
        }
        let local = ["10.0.0.5", "2001:db8::5"];
        let lan = reach(None, &local, 0);
        assert_eq!(told(&lan, "198.51.100.1"), [it("[2001:db8::5]:4000", Global)]);
        let both = [it("10.0.0.5:4000", Lan), it("[2001:db8::5]:4000", Global)];
        assert_eq!(told(&lan, "192.0.2.1"), both);
        assert_eq!(told(&lan, "::ffff:192.0.2.1"), both);
        for other in
            ["127.0.0.1", "0.0.0.0", "8.8.8.8", "169.254.1.1", "::1", "fe80::1", "fd00::1", "ff02::1"]
        {
            assert_eq!(told(&reach(None, &[other], 0), "192.0.2.1"), [], "{other}");
        }
    }

    #[test]
    fn what_is_passed_on_is_bounded() {
        let local: Vec<String> =
            (1..=5).flat_map(|last| [format!("10.0.0.{last}"), format!("2001:db8::{last}")]).collect();
        let local: Vec<&str> = local.iter().map(String::as_str).collect();
        let all = reach(Some("192.0.2.1:7000"), &local, 0);
        assert_eq!(told(&all, "192.0.2.1").len(), 8);
        assert_eq!(all.punched(at("192.0.2.1:40000")).len(), 5);
    }

    #[test]
    fn a_punch_goes_to_the_session_s_own_port() {
        let punched = reach(Some("192.0.2.1:7000"), &["10.0.0.5", "2001:db8::5"], 0);
        let wanted = ["192.0.2.1:40000", "[2001:db8::5]:5000"].map(at);
        assert_eq!(punched.punched(at("[::ffff:192.0.2.1]:40000")), wanted);
        assert_eq!(punched.punched(at("[2001:db8::5]:5000")), [at("[2001:db8::5]:5000")]);
        assert_eq!(Reach::default().punched(at("192.0.2.1:40000")), [at("192.0.2.1:40000")]);
    }

    #[test]
    fn both_begin_at_once_and_neither_waits_long() {
        let waits =
            |one, other| reach(None, &[], one).waits(&reach(None, &[], other)).map(|wait| wait.as_millis());
        assert_eq!(waits(20, 60), [220, 200]);
        assert_eq!(waits(60, 20), [200, 220]);
        assert_eq!(waits(40, 40), [200, 200]);
        assert_eq!(waits(0, u32::MAX), [700, 200]);
    }
}
