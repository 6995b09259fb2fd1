//! The services WANIPConnection and WANPPPConnection of UPnP's Internet Gateway Device, versions 1 and 2.
//!
//! A library for this was looked at. It builds a tree of the XML that any machine of the network may send it, so that
//! deeply nested elements overflow the stack and end the program. Here the few elements that matter are searched for.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use super::exchange::is_timeout;
use super::gateway::Gateway;
use super::http::{self, Place};
use super::{Failure, Grant, LIFETIME, Wanted, public};

/// Where devices listen for searches.
const ALL_DEVICES: Ipv4Addr = Ipv4Addr::new(239, 255, 255, 250);
const SERVICES: [&str; 2] =
    ["urn:schemas-upnp-org:service:WANIPConnection:", "urn:schemas-upnp-org:service:WANPPPConnection:"];
/// What is searched for. A device of version 2 answers to version 1, too.
const TARGETS: [&str; 3] = [
    "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
];
/// How often it is searched, and how long answers are waited for each time. A device may take the second that it is told.
const SEARCHES: usize = 2;
const SEARCH: Duration = Duration::from_millis(1500);
/// The longest answer to a search that is read, in bytes.
const LONGEST: usize = 2048;
/// How many outer ports are tried.
const PORTS: u16 = 4;
/// What routers list the mapping as.
const DESCRIPTION: &str = "peerchat";

/// Errors of the actions that mean something else to do.
const ONLY_PERMANENT: u16 = 725;
/// That port, at least, is another machine's, or not to be given.
const TAKEN: [u16; 3] = [606, 718, 729];

/// A service by which a router maps ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Safe in a header and in XML.
    pub kind: String,
    pub control: Place,
}

/// Maps a port, or renews the mapping.
pub fn map(gateway: &Gateway, wanted: &Wanted) -> Result<(Grant, Service), Failure> {
    let (_, own) = gateway.socket(gateway.searches)?;
    let described = search(gateway, own)?;
    let (status, text) = http::get(&described)?;
    let service = service(&text, &described).filter(|_| status == 200);
    let service = service.ok_or_else(|| Failure::Refused("it has no service that maps ports".into()))?;
    let answered = call(&service, "GetExternalIPAddress", "")?;
    let ip = element(&answered, "NewExternalIPAddress").and_then(|ip| ip.trim().parse().ok());
    let ip = public(ip.ok_or_else(|| Failure::Refused("it tells no outer address".into()))?)?;
    let first = wanted.outer.map_or(wanted.port, |outer| outer.port());
    let mut failure = Failure::Silent;
    // Others that are unlikely to be taken, and the same ones for the same client.
    let others = (1..PORTS).map(|at| 20_000 + (wanted.port.wrapping_mul(at) ^ seed(wanted)) % 40_000);
    for port in std::iter::once(first).chain(others) {
        match add(&service, wanted.port, own, port) {
            Ok(()) => {
                let outer = SocketAddrV4::new(ip, port);
                return Ok((Grant { outer, lifetime: LIFETIME }, service));
            }
            Err(Error::Code(code)) if TAKEN.contains(&code) => {
                failure = Failure::Refused(format!("error {code}"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(failure)
}

/// Removes the mapping of an outer port.
pub fn unmap(service: &Service, outer: u16) -> Result<(), Failure> {
    let arguments = format!(
        "<NewRemoteHost></NewRemoteHost><NewExternalPort>{outer}</NewExternalPort><NewProtocol>TCP</NewProtocol>"
    );
    Ok(call(service, "DeletePortMapping", &arguments).map(drop)?)
}

fn seed(wanted: &Wanted) -> u16 {
    let [a, b, ..] = wanted.nonce;
    u16::from_be_bytes([a, b])
}

/// Why an action was not done.
#[derive(Debug)]
enum Error {
    Io(io::Error),
    /// The router's own number.
    Code(u16),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Io(error) => error.into(),
            Error::Code(code) => Self::Refused(format!("error {code}")),
        }
    }
}

fn add(service: &Service, port: u16, own: Ipv4Addr, outer: u16) -> Result<(), Error> {
    let with = |lifetime: u32| {
        format!(
            "<NewRemoteHost></NewRemoteHost><NewExternalPort>{outer}</NewExternalPort><NewProtocol>TCP</NewProtocol>\
             <NewInternalPort>{port}</NewInternalPort><NewInternalClient>{own}</NewInternalClient>\
             <NewEnabled>1</NewEnabled><NewPortMappingDescription>{DESCRIPTION}</NewPortMappingDescription>\
             <NewLeaseDuration>{lifetime}</NewLeaseDuration>"
        )
    };
    let done = call(service, "AddPortMapping", &with(LIFETIME));
    let done = match done {
        // It stays until it is removed, which is done at the end, or until the router is started anew.
        Err(Error::Code(ONLY_PERMANENT)) => call(service, "AddPortMapping", &with(0)),
        done => done,
    };
    done.map(drop)
}

fn call(service: &Service, action: &str, arguments: &str) -> Result<String, Error> {
    let Service { kind, control } = service;
    let body = format!(
        "<?xml version=\"1.0\"?>\r\n\
         <s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\"><s:Body>\
         <u:{action} xmlns:u=\"{kind}\">{arguments}</u:{action}></s:Body></s:Envelope>\r\n"
    );
    match http::post(control, &format!("{kind}#{action}"), &body)? {
        (200, text) => Ok(text),
        (status, text) => {
            let code = element(&text, "errorCode").and_then(|code| code.trim().parse().ok());
            Err(Error::Code(code.unwrap_or(status)))
        }
    }
}

/// Asks the router itself, and all devices, for some hear only the latter. Answers of others than the router do not count.
fn search(gateway: &Gateway, own: Ipv4Addr) -> Result<Place, Failure> {
    // From this address, so that it goes out into the router's network.
    let socket = UdpSocket::bind(SocketAddrV4::new(own, 0))?;
    let mut buffer = [0; LONGEST];
    for _ in 0..SEARCHES {
        for (ip, target) in [gateway.ip, ALL_DEVICES].into_iter().flat_map(|ip| TARGETS.map(|it| (ip, it))) {
            let question = format!(
                "M-SEARCH * HTTP/1.1\r\nHOST: {ip}:{}\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: {target}\r\n\r\n",
                gateway.searches
            );
            // There may be no way to all; the router answers by itself then.
            let _ = socket.send_to(question.as_bytes(), (ip, gateway.searches));
        }
        let until = Instant::now() + SEARCH;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            socket.set_read_timeout(Some(left))?;
            match socket.recv_from(&mut buffer) {
                Ok((length, SocketAddr::V4(from))) if *from.ip() == gateway.ip => {
                    let datagram = buffer.get(..length).unwrap_or_default();
                    if let Some(place) = location(datagram, gateway.ip) {
                        return Ok(place);
                    }
                }
                Err(error) if is_timeout(&error) => break,
                // Another device's, or that the router has nothing at that port.
                Ok(_) | Err(_) => {}
            }
        }
    }
    Err(Failure::Silent)
}

/// Where a device that answers to a search describes itself, if that is at `ip`.
pub fn location(datagram: &[u8], ip: Ipv4Addr) -> Option<Place> {
    let text = std::str::from_utf8(datagram).ok()?;
    let mut lines = text.split("\r\n");
    let mut first = lines.next()?.split(' ');
    (first.next()?.starts_with("HTTP/1.") && first.next()? == "200").then_some(())?;
    let (_, location) = http::headers(lines).find(|(name, _)| name.eq_ignore_ascii_case("location"))?;
    Place::read(location).filter(|place| *place.at.ip() == ip)
}

/// The first service in a device's description that maps ports, if it is called where the description came from.
pub fn service(description: &str, described: &Place) -> Option<Service> {
    let ours = |place: &Place| place.at.ip() == described.at.ip();
    let base = element(description, "URLBase").and_then(|url| Place::read(url.trim())).filter(ours);
    let base = base.as_ref().unwrap_or(described);
    let services = description.split("<service>").skip(1);
    SERVICES.iter().find_map(|prefix| {
        services.clone().find_map(|service| {
            let service = service.split("</service>").next()?;
            let kind = element(service, "serviceType")?.trim();
            let version = kind.strip_prefix(prefix)?;
            // It is given back in a header and in XML.
            (matches!(version.len(), 1..=2) && version.bytes().all(|byte| byte.is_ascii_digit()))
                .then_some(())?;
            let control = element(service, "controlURL")?.trim().replace("&amp;", "&");
            let control = base.join(&control).filter(ours)?;
            Some(Service { kind: kind.into(), control })
        })
    })
}

/// The text of the first element of this name, which must not be nested in itself.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = xml;
    loop {
        let at = rest.find(&format!("<{name}"))?;
        rest = rest.get(at + 1 + name.len()..)?;
        // Or else it is the beginning of a longer name.
        if rest.starts_with(['>', ' ', '\t', '\r', '\n']) {
            let (_, inside) = rest.split_once('>')?;
            return inside.split_once(&format!("</{name}>")).map(|(text, _)| text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);

    fn described() -> Place {
        Place::read("http://192.168.1.1:5000/root.xml").unwrap()
    }

    fn description(kind: &str, control: &str) -> String {
        format!(
            "<root><device><serviceList><service><serviceType>urn:schemas-upnp-org:service:Layer3Forwarding:1\
             </serviceType><controlURL>/no</controlURL></service>\n<service>\n <serviceType>{kind}</serviceType>\
             <SCPDURL>/x</SCPDURL><controlURL>{control}</controlURL></service></serviceList></device></root>"
        )
    }

    const WAN: &str = "urn:schemas-upnp-org:service:WANIPConnection:1";

    #[test]
    fn a_router_that_answers_is_found_where_it_says() {
        let answer =
            |location: &str| format!("HTTP/1.1 200 OK\r\nST: x\r\nlocation: {location}\r\nEXT:\r\n\r\n");
        let found = |text: &str| location(text.as_bytes(), ROUTER);
        assert_eq!(found(&answer("http://192.168.1.1:5000/root.xml")), Some(described()));
        assert_eq!(found(&answer("http://192.168.1.2:5000/root.xml")), None);
        assert_eq!(found(&answer("http://192.168.1.1:5000/ro ot.xml")), None);
        assert_eq!(found("NOTIFY * HTTP/1.1\r\nLOCATION: http://192.168.1.1/\r\n\r\n"), None);
        assert_eq!(found(""), None);
    }

    #[test]
    fn a_service_is_found_that_is_the_router_s_own() {
        let found = |kind: &str, control: &str| {
            let service = service(&description(kind, control), &described())?;
            assert_eq!(service.kind, kind);
            Some(format!("{}{}", service.control.at, service.control.path))
        };
        assert_eq!(found(WAN, "/ctl?a&amp;b").unwrap(), "192.168.1.1:5000/ctl?a&b");
        assert_eq!(found(WAN, "ctl").unwrap(), "192.168.1.1:5000/ctl");
        assert_eq!(found(WAN, "http://192.168.1.1:80/ctl").unwrap(), "192.168.1.1:80/ctl");
        let ppp = "urn:schemas-upnp-org:service:WANPPPConnection:12";
        assert!(found(ppp, "/ctl").is_some());
        for (kind, control) in [
            (WAN, "http://192.168.1.2/ctl"),
            (WAN, "http://example.com/ctl"),
            (WAN, "/c\r\nX: y"),
            ("urn:schemas-upnp-org:service:WANIPConnection:1\"\r\nX: y", "/ctl"),
            ("urn:schemas-upnp-org:service:WANIPConnection:", "/ctl"),
            ("urn:schemas-upnp-org:service:WANIPConnection:1<", "/ctl"),
            ("urn:schemas-upnp-org:service:WANIPv6FirewallControl:1", "/ctl"),
        ] {
            assert_eq!(found(kind, control), None, "{kind} {control}");
        }
        let with_base = |base: &str| {
            let text = format!("<URLBase>{base}</URLBase>{}", description(WAN, "ctl"));
            service(&text, &described()).unwrap().control.at.to_string()
        };
        assert_eq!(with_base("http://192.168.1.1:8080/"), "192.168.1.1:8080");
        assert_eq!(with_base("http://192.168.1.2:8080/"), "192.168.1.1:5000");
        assert_eq!(service(&"<service>".repeat(100_000), &described()), None);
    }

    #[test]
    fn an_element_is_found_with_its_attributes() {
        assert_eq!(element("<ab>1</ab><a x='y'> 2 </a>", "a"), Some(" 2 "));
        assert_eq!(element("<a", "a"), None);
        assert_eq!(element("<a>", "a"), None);
        assert_eq!(element("<a", "b"), None);
        assert_eq!(element("<u:a>1</u:a>", "a"), None);
    }
}
