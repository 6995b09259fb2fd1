//! Addresses that mean another machine in every network. One that discovery tells is dialled only where it can mean the
//! contact's: or else users could have this client knock at the doors of its own network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use if_addrs::{IfAddr, Interface};

use crate::protocol::rendezvous::MAX_LOCAL;

/// How far an address is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// It belongs to no host, or to all.
    None,
    Loopback,
    /// Within one network.
    Local,
    Global,
}

/// Whether an address that was told may be dialled; if not, why. `on_loopback` says whether the users that discovery knows
/// may be on this machine.
pub fn check(ip: IpAddr, on_loopback: bool) -> Result<(), String> {
    check_in(ip, on_loopback, || if_addrs::get_if_addrs().unwrap_or_default())
}

fn check_in(ip: IpAddr, on_loopback: bool, own: impl FnOnce() -> Vec<Interface>) -> Result<(), String> {
    let ip = ip.to_canonical();
    let why = match scope(ip) {
        Scope::None => "it is not an address of one machine",
        Scope::Loopback if !on_loopback => "it means this machine itself, and discovery is on another one",
        Scope::Local if !own().iter().any(|own| has(&own.addr, ip)) => {
            "it is a private address, and not in a network of this machine"
        }
        _ => return Ok(()),
    };
    Err(format!("not dialled: {why}"))
}

/// The addresses at which a client that listens there can be reached from some networks: private ones of IPv4, and global
/// ones of IPv6, at most half of [`MAX_LOCAL`] of each.
pub fn own(listen: IpAddr) -> Vec<IpAddr> {
    let own: Vec<IpAddr> = if_addrs::get_if_addrs().unwrap_or_default().iter().map(|own| own.ip()).collect();
    let of = |listens: bool, wanted: Scope, v4: bool| {
        let fits = move |ip: &&IpAddr| listens && ip.is_ipv4() == v4 && scope(**ip) == wanted;
        own.iter().filter(fits).take(MAX_LOCAL / 2).copied().collect::<Vec<_>>()
    };
    let every = listen.is_unspecified();
    [of(every, Scope::Local, true), of(every && listen.is_ipv6(), Scope::Global, false)].concat()
}

fn scope(ip: IpAddr) -> Scope {
    match ip {
        IpAddr::V4(ip) if ip.is_loopback() => Scope::Loopback,
        IpAddr::V4(ip) if ip.is_private() || ip.is_link_local() => Scope::Local,
        // All of 0.0.0.0/8 is this host, and what begins with 224 and more is no single one.
        IpAddr::V4(ip) if matches!(ip.octets(), [0 | 224.., ..]) => Scope::None,
        IpAddr::V6(ip) if ip.is_loopback() => Scope::Loopback,
        IpAddr::V6(ip) if ip.is_unique_local() || ip.is_unicast_link_local() => Scope::Local,
        IpAddr::V6(ip) if ip.is_unspecified() || ip.is_multicast() => Scope::None,
        _ => Scope::Global,
    }
}

/// Whether an address is in the network of this interface. One without a network, as a tunnel's, has its own only.
fn has(own: &IfAddr, ip: IpAddr) -> bool {
    match (own, ip) {
        (IfAddr::V4(own), IpAddr::V4(ip)) => {
            let mask = if own.netmask.is_unspecified() { Ipv4Addr::BROADCAST } else { own.netmask };
            own.ip & mask == ip & mask
        }
        (IfAddr::V6(own), IpAddr::V6(ip)) => {
            let all = Ipv6Addr::from_bits(u128::MAX);
            let mask = if own.netmask.is_unspecified() { all } else { own.netmask };
            own.ip & mask == ip & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use if_addrs::{IfOperStatus, Ifv4Addr, Ifv6Addr};

    use super::*;

    fn interface(addr: IfAddr) -> Interface {
        Interface { name: "eth0".into(), addr, index: None, oper_status: IfOperStatus::Up, is_p2p: false }
    }

    fn own() -> Vec<Interface> {
        let v4 = |ip: &str, netmask: &str| {
            let (ip, netmask) = (ip.parse().unwrap(), netmask.parse().unwrap());
            interface(IfAddr::V4(Ifv4Addr { ip, netmask, prefixlen: 0, broadcast: None }))
        };
        let v6 = |ip: &str, netmask: &str| {
            let (ip, netmask) = (ip.parse().unwrap(), netmask.parse().unwrap());
            interface(IfAddr::V6(Ifv6Addr { ip, netmask, prefixlen: 0, broadcast: None }))
        };
        vec![
            v4("127.0.0.1", "255.0.0.0"),
            v4("192.168.7.5", "255.255.255.0"),
            v4("10.9.0.1", "0.0.0.0"),
            v6("fe80::5", "ffff:ffff:ffff:ffff::"),
            v6("fd00:7::5", "ffff:ffff:ffff:ffff::"),
        ]
    }

    #[test]
    fn what_is_told_is_dialled_where_it_can_mean_the_contact_s_machine() {
        for (ip, remote, local) in [
            ("198.51.100.7", true, true),
            ("2001:db8::1", true, true),
            ("127.0.0.1", false, true),
            ("127.9.9.9", false, true),
            ("::1", false, true),
            ("::ffff:127.0.0.1", false, true),
            ("192.168.7.99", true, true),
            ("::ffff:192.168.7.99", true, true),
            ("192.168.8.99", false, false),
            ("10.9.0.1", true, true),
            ("10.9.0.2", false, false),
            ("172.16.0.1", false, false),
            ("169.254.169.254", false, false),
            ("fe80::9", true, true),
            ("fd00:7::9", true, true),
            ("fd00:8::9", false, false),
            ("0.0.0.0", false, false),
            ("0.0.0.1", false, false),
            ("255.255.255.255", false, false),
            ("224.0.0.1", false, false),
            ("::", false, false),
            ("ff02::1", false, false),
        ] {
            for (on_loopback, dialled) in [(false, remote), (true, local)] {
                let checked = check_in(ip.parse().unwrap(), on_loopback, own);
                assert_eq!(checked.is_ok(), dialled, "{ip} {on_loopback}: {checked:?}");
            }
        }
    }

    #[test]
    fn the_interfaces_of_this_machine_are_known() {
        let addresses = if_addrs::get_if_addrs().unwrap();
        assert!(addresses.iter().any(|own| own.ip().is_loopback()));
    }
}
