//! The router that leads out of this machine's network.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};

/// Where PCP and NAT-PMP are answered.
const DATAGRAMS: u16 = 5351;
/// Where UPnP devices are searched for.
const SEARCHES: u16 = 1900;

/// A router, and the ports at which it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gateway {
    pub ip: Ipv4Addr,
    pub datagrams: u16,
    pub searches: u16,
}

impl Gateway {
    const fn at(ip: Ipv4Addr) -> Self {
        Self { ip, datagrams: DATAGRAMS, searches: SEARCHES }
    }

    /// A socket that hears nothing but what the router sends from this port, and this machine's address towards it.
    pub(super) fn socket(&self, port: u16) -> io::Result<(UdpSocket, Ipv4Addr)> {
        let socket = UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((self.ip, port))?;
        match socket.local_addr()? {
            SocketAddr::V4(own) => Ok((socket, *own.ip())),
            SocketAddr::V6(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

/// This machine's default gateway. Where the system has no list of routes to be read, a guess: the first address of the
/// first private network that this machine is in, as routers for homes are set up. A wrong guess finds no router that
/// answers, or one that has no way to discovery and whose mapping is not passed on.
pub fn find() -> Option<Gateway> {
    let found = match std::fs::read_to_string("/proc/net/route") {
        Ok(routes) => default_route(&routes),
        Err(_) => guess(),
    };
    found.map(Gateway::at)
}

/// The gateway of the default route with the lowest metric, in a list as Linux's `/proc/net/route` has it.
fn default_route(routes: &str) -> Option<Ipv4Addr> {
    const UP_AND_GATEWAY: u16 = 1 | 2;
    let default = |line: &str| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let mut field = || fields.next();
        let (destination, gateway, flags) = (field()?, field()?, field()?);
        let (_references, _use, metric, mask) = (field()?, field()?, field()?, field()?);
        let flags = u16::from_str_radix(flags, 16).ok()?;
        let all = destination == "00000000" && mask == "00000000";
        // In the byte order of the machine, so that the bytes in memory are those of the address.
        let gateway = u32::from_str_radix(gateway, 16).ok()?.to_ne_bytes();
        let metric: u32 = metric.parse().ok()?;
        (all && flags & UP_AND_GATEWAY == UP_AND_GATEWAY).then_some((metric, Ipv4Addr::from(gateway)))
    };
    routes.lines().filter_map(default).min_by_key(|(metric, _)| *metric).map(|(_, gateway)| gateway)
}

fn guess() -> Option<Ipv4Addr> {
    if_addrs::get_if_addrs().ok()?.into_iter().find_map(|interface| match interface.addr {
        if_addrs::IfAddr::V4(own) if own.ip.is_private() => {
            Some(Ipv4Addr::from_bits((own.ip & own.netmask).to_bits() | 1))
        }
        _ => None,
    })
}

/// Whether an address is one of this machine's own, so that no NAT is between it and who sees it there.
pub fn is_own(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    if_addrs::get_if_addrs().unwrap_or_default().iter().any(|own| own.ip() == ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_route_with_the_lowest_metric_is_found() {
        let routes = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0
eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
wlan0\t00000000\t0102A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
tun0\t00000000\t0103A8C0\t0003\t0\t0\t1\t00000080\t0\t0\t0
eth0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
";
        if cfg!(target_endian = "little") {
            assert_eq!(default_route(routes), Some(Ipv4Addr::new(192, 168, 1, 1)));
        }
        for none in ["", "Iface\n", "eth0 0 0", "eth0\t00000000\tx\t0003\t0\t0\t0\t00000000"] {
            assert_eq!(default_route(none), None, "{none}");
        }
    }

    #[test]
    fn this_machine_s_own_addresses_are_known() {
        assert!(is_own(Ipv4Addr::LOCALHOST.into()));
        assert!(is_own("::ffff:127.0.0.1".parse().unwrap()));
        assert!(!is_own(Ipv4Addr::new(192, 0, 2, 1).into()));
    }
}
