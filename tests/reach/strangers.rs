//! Strangers of a client that lets them in: joined by the relay, and never dialled.

use crate::lab::{Kind, Lab, PORT, Site};
use crate::support::client::Client;

/// Everything that a client may send packets to without being told by a stranger: discovery, its router, all devices.
const OWN_AFFAIRS: &str = "ip daddr != { 203.0.113.1, 192.168.1.1, 224.0.0.0/4, 127.0.0.0/8 }";

/// A stranger who gives out the address of another machine, which it pretends to have.
fn liar(site: &Site, name: &str, victim: &str) -> Client {
    site.host(0).ip(&format!("addr add {victim}/32 dev lo"));
    site.client_with(0, name, victim, &[])
}

#[test]
fn a_stranger_of_an_open_client_behind_a_nat_is_joined_by_the_relay() {
    let Some(lab) = Lab::new() else { return };
    let victim = lab.site(Kind::Public);
    victim.host(0).count("input", &format!("tcp dport {PORT}"));
    let home = lab.site(Kind::Preserving);
    home.host(0).count("output", OWN_AFFAIRS);
    let mut bob = home.client_at(0, "bob", &["--strangers", "open"]);
    for (number, kind) in
        [Kind::Public, Kind::Preserving, Kind::Random, Kind::Only443].into_iter().enumerate()
    {
        let site = lab.site(kind);
        let name = format!("carol{number}");
        let mut carol = match kind {
            Kind::Preserving => liar(&site, &name, &victim.address()),
            _ => site.client_at(0, &name, &[]),
        };
        carol.say("REQUEST bob");
        let link = carol.wait("link", |link| link["state"] == "up");
        assert_eq!(link["route"], "relayed", "{kind}");
        carol.say("CHAT bob hello");
        bob.expect_message(&name, "hello");
        carol.log_out();
    }
    assert_eq!(home.host(0).counted(), 0, "bob dials no address of a stranger");
    assert_eq!(victim.host(0).counted(), 0);
}
