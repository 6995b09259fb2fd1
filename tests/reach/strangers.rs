//! Strangers of a client that lets them in: joined by the relay, and never dialled.

use std::net::{Ipv4Addr, SocketAddr};

use peerchat::protocol::rendezvous::{About, RefusedCode, Register, Strangers, ToClient, ToDiscovery};

use crate::lab::{DISCOVERY, Kind, Lab, PORT, Site};
use crate::support::client::Client;
use crate::support::{discovery, raw};

/// What the program of [`forges_as_it_is_told`] says that its router maps a port to; nothing is done without it.
const FORGED: &str = "PEERCHAT_TEST_FORGES";

/// Everything that a client may send packets to without being told by a stranger: discovery, its router, all devices.
const OWN_AFFAIRS: &str = "ip daddr != { 203.0.113.1, 192.168.1.1, 224.0.0.0/4, 127.0.0.0/8 }";

/// A stranger who gives out the address of another machine, which it pretends to have.
fn liar(site: &Site, name: &str, victim: &str) -> Client {
    site.host(0).ip(&format!("addr add {victim}/32 dev lo"));
    site.client_with(0, name, victim, &[])
}

/// Run by the other test in a host's namespace, where it is a program of its own: asks for bob, and to be helped to him by
/// a punch and by the relay, after it has named addresses that are not its own.
#[test]
fn forges_as_it_is_told() {
    let Ok(mapped) = std::env::var(FORGED) else { return };
    let mapped: SocketAddr = mapped.parse().unwrap();
    let to: SocketAddr = DISCOVERY.parse().unwrap();
    let mut session = raw::session(Ipv4Addr::UNSPECIFIED, to, &discovery::keypair()).unwrap();
    let name = discovery::name(&format!("forger{}", mapped.port()));
    let register = Register {
        port: PORT,
        mapped: Some(mapped),
        // A machine of bob's own network, and one of the public network's.
        local: ["192.168.1.77", "2001:db8::77"].map(|ip| ip.parse().unwrap()).into(),
        ..Register::new(name, mapped, None, Strangers::All)
    };
    let about = || About { name: discovery::name("bob") };
    let asked = [
        ToDiscovery::Register(register),
        discovery::request("bob"),
        ToDiscovery::Punch(about()),
        ToDiscovery::Relay(about()),
    ];
    session.say(&asked).unwrap();
    let not_connected = |said: &ToClient| match said {
        ToClient::Refused(refused) => Some(refused.code == RefusedCode::NOT_CONNECTED),
        ToClient::Punch(_) => Some(false),
        _ => None,
    };
    assert!(session.wait("no punch", not_connected), "strangers are not punched");
    session.wait("a ticket", |said| matches!(said, ToClient::Relay(_)).then_some(()));
}

/// Has a stranger say so at a site's host, and waits until bob has been told of it.
fn forge(site: &Site, mapped: &str) {
    let program = std::env::current_exe().unwrap();
    let mut command = site.host(0).program(program.to_str().unwrap());
    command.args(["--exact", "strangers::forges_as_it_is_told", "--nocapture"]).env(FORGED, mapped);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_stranger_of_an_open_client_behind_a_nat_is_joined_by_the_relay() {
    let Some(lab) = Lab::new() else { return };
    let victim = lab.site(Kind::Public);
    victim.host(0).count("input", &format!("tcp dport {PORT}"));
    let home = lab.site(Kind::Preserving);
    home.host(0).count("output", OWN_AFFAIRS);
    let mut bob = home.client_at(0, "bob", &["--strangers", "open"]);
    // Of another machine, and of its own, where discovery has it too.
    let forger = lab.site(Kind::Public);
    forge(&forger, &format!("{}:{PORT}", victim.address()));
    forge(&forger, &format!("{}:{}", forger.address(), PORT + 1));
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
