//! The Port Control Protocol, RFC 6887: the operation MAP, for TCP over IPv4.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::time::Duration;

use super::exchange::{Answer, Reader, ask};
use super::gateway::Gateway;
use super::{Failure, Grant, LIFETIME, Wanted, public};

const VERSION: u8 = 2;
const MAP: u8 = 1;
const ANSWER: u8 = 0x80;
const TCP: u8 = 6;
/// The header and the operation's part, each way.
const LENGTH: usize = 24 + 36;
const LONGEST: usize = 1100;
/// The first is 3 s in the standard, which is made for larger networks than a home's.
const WAITS: &[Duration] =
    &[Duration::from_millis(250), Duration::from_millis(250), Duration::from_millis(500)];
/// At the end it is asked once more, for the program is about to end.
const LAST_WAITS: &[Duration] = &[Duration::from_millis(100), Duration::from_millis(200)];

/// Maps a port, or renews the mapping.
pub fn map(gateway: &Gateway, wanted: &Wanted) -> Result<Grant, Failure> {
    let (socket, own) = gateway.socket(gateway.datagrams)?;
    let grant = ask(&socket, &request(wanted, own, LIFETIME), WAITS, |bytes| answer(bytes, wanted, false))?;
    if let Err(failure) = public(*grant.outer.ip()) {
        // Of no use to any one: the router need not keep it.
        let _ = unmap(gateway, wanted);
        return Err(failure);
    }
    Ok(grant)
}

pub fn unmap(gateway: &Gateway, wanted: &Wanted) -> Result<(), Failure> {
    let (socket, own) = gateway.socket(gateway.datagrams)?;
    let request = request(&Wanted { outer: None, ..*wanted }, own, 0);
    ask(&socket, &request, LAST_WAITS, |bytes| answer(bytes, wanted, true)).map(drop)
}

/// A request from `own`, this machine's address towards the router. With a lifetime of 0 the mapping is removed.
fn request(wanted: &Wanted, own: Ipv4Addr, lifetime: u32) -> Vec<u8> {
    let outer = wanted.outer.unwrap_or(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
    let mut request = Vec::with_capacity(LENGTH);
    request.extend([VERSION, MAP, 0, 0]);
    request.extend(lifetime.to_be_bytes());
    request.extend(own.to_ipv6_mapped().octets());
    request.extend(wanted.nonce);
    request.extend([TCP, 0, 0, 0]);
    request.extend(wanted.port.to_be_bytes());
    request.extend(outer.port().to_be_bytes());
    request.extend(outer.ip().to_ipv6_mapped().octets());
    request
}

/// Reads a datagram from the router. `removed` says that the mapping was to be removed.
pub fn answer(datagram: &[u8], wanted: &Wanted, removed: bool) -> Answer<Grant> {
    read(datagram, wanted, removed).unwrap_or(Answer::Other)
}

fn read(datagram: &[u8], wanted: &Wanted, removed: bool) -> Option<Answer<Grant>> {
    let mut rest = Reader(datagram);
    let (version, operation) = (rest.byte()?, rest.byte()?);
    // From a router that speaks NAT-PMP only, or a version to come.
    if version != VERSION && operation & ANSWER != 0 {
        return Some(Answer::Refused(format!("it speaks version {version}")));
    }
    let whole = (LENGTH..=LONGEST).contains(&datagram.len()) && datagram.len().is_multiple_of(4);
    if version != VERSION || operation != MAP | ANSWER || !whole {
        return None;
    }
    let (_reserved, result) = (rest.byte()?, rest.byte()?);
    let (lifetime, _epoch, _reserved) = (rest.u32()?, rest.u32()?, rest.take::<12>()?);
    let (nonce, protocol, _reserved) = (rest.take::<12>()?, rest.byte()?, rest.take::<3>()?);
    if (nonce, protocol, rest.u16()?) != (wanted.nonce, TCP, wanted.port) {
        return None;
    }
    let (port, ip) = (rest.u16()?, Ipv6Addr::from(rest.take::<16>()?));
    Some(match (result, ip.to_ipv4_mapped()) {
        (1.., _) => Answer::Refused(format!("error {result}")),
        // What stands there then differs from router to router.
        (0, ip) if removed => {
            let ip = ip.unwrap_or(Ipv4Addr::UNSPECIFIED);
            Answer::Granted(Grant { outer: SocketAddrV4::new(ip, port), lifetime })
        }
        (0, Some(ip)) if port != 0 && lifetime != 0 => {
            Answer::Granted(Grant { outer: SocketAddrV4::new(ip, port), lifetime })
        }
        (0, _) => Answer::Refused("what it gives is no mapping".into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Wanted =
        Wanted { port: 7000, nonce: *b"abcdefghijkl", outer: Some(SocketAddrV4::new(OUTER, 9)) };
    const OUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);

    fn answered(change: impl FnOnce(&mut Vec<u8>)) -> Answer<Grant> {
        let mut bytes = vec![2, 0x81, 0, 0, 0, 0, 14, 16, 0, 0, 0, 1];
        bytes.extend([0; 12]);
        bytes.extend(WANTED.nonce);
        bytes.extend([6, 0, 0, 0, 0x1b, 0x58, 0x04, 0xd2]);
        bytes.extend(OUTER.to_ipv6_mapped().octets());
        change(&mut bytes);
        answer(&bytes, &WANTED, false)
    }

    #[test]
    fn a_request_is_as_the_standard_has_it() {
        let request = request(&WANTED, Ipv4Addr::new(192, 168, 1, 2), 7200);
        let mapped = |ip: [u8; 4]| [&[0; 10][..], &[0xff, 0xff], &ip].concat();
        let expected = [
            &[2, 1, 0, 0, 0, 0, 0x1c, 0x20][..],
            &mapped([192, 168, 1, 2]),
            b"abcdefghijkl",
            &[6, 0, 0, 0, 0x1b, 0x58, 0, 9],
            &mapped([192, 0, 2, 7]),
        ];
        assert_eq!(request, expected.concat());
        assert_eq!(request.len(), LENGTH);
    }

    #[test]
    fn only_an_answer_to_this_request_counts() {
        let granted = Answer::Granted(Grant { outer: SocketAddrV4::new(OUTER, 1234), lifetime: 3600 });
        assert_eq!(answered(|_| {}), granted);
        // Options are passed over, whatever is in them.
        assert_eq!(answered(|bytes| bytes.extend([9; 8])), granted);
        assert_eq!(answered(|bytes| bytes.extend([0; LONGEST - LENGTH])), granted);
        for other in [
            answered(|bytes| bytes.truncate(LENGTH - 4)),
            answered(|bytes| bytes.push(0)),
            answered(|bytes| bytes.extend([0; LONGEST - LENGTH + 4])),
            answered(Vec::clear),
            answered(|bytes| bytes[1] = 1),
            answered(|bytes| bytes[1] = 0x82),
            answered(|bytes| bytes[0] = 9),
            answered(|bytes| bytes[24] ^= 1),
            answered(|bytes| bytes[36] = 17),
            answered(|bytes| bytes[41] ^= 1),
        ] {
            assert!(matches!(other, Answer::Other | Answer::Refused(_)), "{other:?}");
        }
        assert_eq!(answered(|bytes| bytes[24] ^= 1), Answer::Other);
        for refused in [
            answered(|bytes| bytes[3] = 8),
            answered(|bytes| bytes[0] = 0),
            answered(|bytes| bytes[4..8].fill(0)),
            answered(|bytes| bytes[42..44].fill(0)),
            answered(|bytes| bytes[44] = 0x20),
        ] {
            assert!(matches!(refused, Answer::Refused(_)), "{refused:?}");
        }
    }
}
