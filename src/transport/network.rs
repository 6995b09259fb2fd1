//! Which addresses belong together, and which network takes most of what is scarce.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The prefixes that are looked at, from the widest: what a provider commonly gives to one customer, down to what one
/// machine has. An IPv6 host commonly has a whole network of 64 bits to itself.
const V4: [u32; WIDTHS] = [24, 32, 32];
const V6: [u32; WIDTHS] = [48, 56, 64];
const WIDTHS: usize = 3;

/// The networks that an address belongs to, from the widest to [`network`].
pub fn networks(address: IpAddr) -> [IpAddr; WIDTHS] {
    match address.to_canonical() {
        IpAddr::V4(ip) => {
            V4.map(|width| Ipv4Addr::from_bits(ip.to_bits() & (u32::MAX << (32 - width))).into())
        }
        // This machine itself, which no other address stands for.
        IpAddr::V6(ip) if ip.is_loopback() => [ip.into(); WIDTHS],
        IpAddr::V6(ip) => {
            V6.map(|width| Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << (128 - width))).into())
        }
    }
}

/// What counts as one address.
pub fn network(address: IpAddr) -> IpAddr {
    let [.., one] = networks(address);
    one
}

/// Which address, as [`network`] has it, is to give way to a newcomer: one of the widest network that has most, in it of
/// the narrower one that has most, and so on. `None` if none of them has more than the newcomer's would have. So what one
/// customer of a provider holds counts together, from however many addresses.
///
/// `counts` are in the order of their addresses, and none is 0.
pub fn greediest(
    counts: impl Iterator<Item = (IpAddr, usize)> + Clone,
    newcomer: Option<IpAddr>,
) -> Option<IpAddr> {
    let at = |address, level: usize| networks(address).get(level).copied();
    let mut newcomer = newcomer;
    let mut chosen = None;
    for level in 0..WIDTHS {
        let within = level.checked_sub(1).zip(chosen);
        let inside =
            |address: IpAddr| within.is_none_or(|(wider, chosen)| at(address, wider) == Some(chosen));
        let own = newcomer.and_then(|newcomer| at(newcomer, level));
        let newcomers = (usize::from(own.is_some()), own.is_some(), own);
        let (mut group, mut most) = ((0, false, None), newcomers);
        for (address, count) in counts.clone().filter(|(address, _)| inside(*address)) {
            let network = at(address, level);
            let is_own = own.is_some() && own == network;
            let before = if group.2 == network { group.0 } else { usize::from(is_own) };
            // Of two that have as much, the newcomer's own: an equal does not give way.
            group = (before + count, is_own, network);
            most = most.max(group);
        }
        newcomer = newcomer.filter(|_| most.1);
        chosen = Some(most.2?);
    }
    chosen.filter(|_| newcomer.is_none())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn gives_way(counts: &[(&str, usize)], newcomer: Option<&str>) -> Option<IpAddr> {
        let counts: BTreeMap<_, _> =
            counts.iter().map(|(address, count)| (network(ip(address)), *count)).collect();
        greediest(counts.iter().map(|(address, count)| (*address, *count)), newcomer.map(ip))
    }

    #[test]
    fn an_address_stands_for_its_networks() {
        assert_eq!(networks(ip("192.0.2.7")), [ip("192.0.2.0"), ip("192.0.2.7"), ip("192.0.2.7")]);
        assert_eq!(networks(ip("::ffff:192.0.2.7")), networks(ip("192.0.2.7")));
        let [widest, middle, one] = ["2001:db8:1::", "2001:db8:1:ff00::", "2001:db8:1:ff02::"].map(ip);
        assert_eq!(networks(ip("2001:db8:1:ff02::3")), [widest, middle, one]);
        assert!(networks(ip("::1")).iter().all(IpAddr::is_loopback));
    }

    #[test]
    fn the_network_that_has_most_gives_way() {
        assert_eq!(gives_way(&[("192.0.2.1", 3), ("198.51.100.1", 2)], None), Some(ip("192.0.2.1")));
        // Many addresses of one provider's customer count together, and of these the one with most.
        let spread = [("192.0.2.1", 1), ("192.0.2.2", 2), ("192.0.2.3", 1), ("198.51.100.1", 3)];
        assert_eq!(gives_way(&spread, None), Some(ip("192.0.2.2")));
        let v6 = [("2001:db8:1::", 1), ("2001:db8:1:100::", 2), ("2001:db8:1:101::", 2), ("192.0.2.1", 4)];
        assert!(gives_way(&v6, None).unwrap().to_string().starts_with("2001:db8:1:10"));
        assert_eq!(gives_way(&[], None), None);
    }

    #[test]
    fn nobody_gives_way_to_an_equal() {
        let counts = [("192.0.2.1", 3), ("192.0.2.2", 1), ("198.51.100.1", 2)];
        assert_eq!(gives_way(&counts, Some("192.0.2.1")), None, "it has most itself");
        assert_eq!(gives_way(&counts, Some("192.0.2.2")), Some(ip("192.0.2.1")));
        assert_eq!(gives_way(&counts, Some("203.0.113.1")), Some(ip("192.0.2.1")));
        assert_eq!(gives_way(&[("192.0.2.1", 2), ("192.0.2.2", 1)], Some("192.0.2.2")), None);
        let equal = [("192.0.2.1", 1), ("198.51.100.1", 1)];
        assert_eq!(gives_way(&equal, Some("192.0.2.1")), None);
        assert_eq!(gives_way(&equal, Some("203.0.113.1")), None);
    }
}
