//! The NAT Port Mapping Protocol, RFC 6886, which PCP has followed.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use super::exchange::{Answer, Reader, ask};
use super::gateway::Gateway;
use super::{Failure, Grant, LIFETIME, Wanted, public};

const VERSION: u8 = 0;
const ADDRESS: u8 = 0;
const MAP_TCP: u8 = 2;
const ANSWER: u8 = 0x80;
/// The standard goes on doubling for a minute.
const WAITS: &[Duration] = &[Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1)];
const LAST_WAITS: &[Duration] = &[Duration::from_millis(100), Duration::from_millis(200)];

/// Maps a port, or renews the mapping.
pub fn map(gateway: &Gateway, wanted: &Wanted) -> Result<Grant, Failure> {
    let (socket, _) = gateway.socket(gateway.datagrams)?;
    // First, so that no mapping is made that is of no use.
    let ip = public(ask(&socket, &[VERSION, ADDRESS], WAITS, address)?)?;
    let port = wanted.outer.map_or(wanted.port, |outer| outer.port());
    let request = request(wanted.port, port, LIFETIME);
    let (port, lifetime) = ask(&socket, &request, WAITS, |bytes| mapping(bytes, wanted.port, false))?;
    Ok(Grant { outer: SocketAddrV4::new(ip, port), lifetime })
}

pub fn unmap(gateway: &Gateway, wanted: &Wanted) -> Result<(), Failure> {
    let (socket, _) = gateway.socket(gateway.datagrams)?;
    let request = request(wanted.port, 0, 0);
    ask(&socket, &request, LAST_WAITS, |bytes| mapping(bytes, wanted.port, true)).map(drop)
}

/// With a lifetime of 0 the mapping is removed.
fn request(port: u16, outer: u16, lifetime: u32) -> Vec<u8> {
    let mut request = vec![VERSION, MAP_TCP, 0, 0];
    request.extend(port.to_be_bytes());
    request.extend(outer.to_be_bytes());
    request.extend(lifetime.to_be_bytes());
    request
}

/// Reads a datagram from the router as one that tells its outer address.
pub fn address(datagram: &[u8]) -> Answer<Ipv4Addr> {
    let read = |mut rest: Reader| Some((Ipv4Addr::from(rest.take::<4>()?), rest.0.is_empty()));
    match begin(datagram, ADDRESS) {
        Ok(rest) => match read(rest) {
            Some((ip, true)) => Answer::Granted(ip),
            _ => Answer::Other,
        },
        Err(answer) => answer,
    }
}

/// Reads a datagram from the router as one that maps this port: the outer port and the lifetime. `removed` says that the
/// mapping was to be removed.
pub fn mapping(datagram: &[u8], port: u16, removed: bool) -> Answer<(u16, u32)> {
    let read = |mut rest: Reader| Some((rest.u16()?, rest.u16()?, rest.u32()?)).filter(|_| rest.0.is_empty());
    match begin(datagram, MAP_TCP) {
        Ok(rest) => match read(rest) {
            Some((inner, outer, lifetime)) if inner == port => {
                if removed || (outer != 0 && lifetime != 0) {
                    Answer::Granted((outer, lifetime))
                } else {
                    Answer::Refused("what it gives is no mapping".into())
                }
            }
            _ => Answer::Other,
        },
        Err(answer) => answer,
    }
}

/// What follows the header of an answer to this operation, if it is one, and no refusal.
fn begin<T>(datagram: &[u8], operation: u8) -> Result<Reader<'_>, Answer<T>> {
    let mut rest = Reader(datagram);
    let header = |rest: &mut Reader| {
        let (version, operation, result) = (rest.byte()?, rest.byte()?, rest.u16()?);
        let _epoch = rest.u32()?;
        Some((version, operation, result))
    };
    match header(&mut rest) {
        Some((VERSION, answered, 0)) if answered == operation | ANSWER => Ok(rest),
        Some((VERSION, answered, result)) if answered == operation | ANSWER => {
            Err(Answer::Refused(format!("error {result}")))
        }
        Some((version, answered, _)) if version != VERSION && answered & ANSWER != 0 => {
            Err(Answer::Refused(format!("it speaks version {version}")))
        }
        _ => Err(Answer::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_as_the_standard_has_it() {
        assert_eq!(request(7000, 7001, 7200), [0, 2, 0, 0, 0x1b, 0x58, 0x1b, 0x59, 0, 0, 0x1c, 0x20]);
    }

    #[test]
    fn an_address_is_read() {
        let good = [0, 128, 0, 0, 0, 0, 0, 1, 192, 0, 2, 7];
        assert_eq!(address(&good), Answer::Granted(Ipv4Addr::new(192, 0, 2, 7)));
        assert_eq!(address(&good[..11]), Answer::Other);
        assert_eq!(address(&[&good[..], &[0]].concat()), Answer::Other);
        assert_eq!(address(&[]), Answer::Other);
        let with = |at: usize, byte: u8| {
            let mut bytes = good;
            bytes[at] = byte;
            address(&bytes)
        };
        assert_eq!(with(1, 0), Answer::Other);
        assert_eq!(with(1, 130), Answer::Other);
        assert!(matches!(with(3, 3), Answer::Refused(_)));
        assert!(matches!(with(0, 2), Answer::Refused(_)));
    }

    #[test]
    fn a_mapping_is_read_if_it_is_of_this_port() {
        let good = [0, 130, 0, 0, 0, 0, 0, 1, 0x1b, 0x58, 0x04, 0xd2, 0, 0, 14, 16];
        assert_eq!(mapping(&good, 7000, false), Answer::Granted((1234, 3600)));
        assert_eq!(mapping(&good, 7001, false), Answer::Other);
        assert_eq!(mapping(&good[..15], 7000, false), Answer::Other);
        assert_eq!(mapping(&[&good[..], &[0]].concat(), 7000, false), Answer::Other);
        let with = |at: usize, bytes: &[u8], removed| {
            let mut changed = good;
            changed[at..at + bytes.len()].copy_from_slice(bytes);
            mapping(&changed, 7000, removed)
        };
        assert!(matches!(with(2, &[0, 2], false), Answer::Refused(_)));
        assert!(matches!(with(10, &[0, 0], false), Answer::Refused(_)));
        assert!(matches!(with(12, &[0; 4], false), Answer::Refused(_)));
        assert_eq!(with(10, &[0; 6], true), Answer::Granted((0, 0)));
        assert_eq!(with(1, &[129], false), Answer::Other);
    }
}
