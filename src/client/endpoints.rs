//! Where discovery is, as the user says it: one place or several, any of which will do.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use crate::cli;

/// The most places that a list may name.
pub const MAX_ENDPOINTS: usize = 64;

const WANTED: &str = "a host's name or IP address is wanted here, with or without a port, such as chat.example.org, \
                      192.0.2.7:7667 or [::1]:7667; commas separate several";

/// Hosts, some of them with a port of their own; never none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts(Vec<(String, Option<u16>)>);

impl Hosts {
    /// Each place once; those that name no port have this one.
    pub fn endpoints(&self, port: u16) -> Vec<Endpoint> {
        let mut endpoints = Vec::new();
        for (host, own) in &self.0 {
            let endpoint = Endpoint { host: host.clone(), port: own.unwrap_or(port) };
            if !endpoints.contains(&endpoint) {
                endpoints.push(endpoint);
            }
        }
        endpoints
    }
}

/// This machine.
impl Default for Hosts {
    fn default() -> Self {
        Self(vec![("127.0.0.1".into(), None)])
    }
}

impl FromStr for Hosts {
    type Err = String;

    /// `host`, `host:port`, `[v6]:port`, or some of these with commas between them.
    ///
    /// # Errors
    /// What is wanted, and, of a list, in place of which part.
    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(',').map(str::trim_ascii).collect();
        if parts.len() > MAX_ENDPOINTS {
            return Err(format!("a list of at most {MAX_ENDPOINTS} hosts is wanted here"));
        }
        let named = |why: String, number: usize, part: &str| match (parts.len(), part) {
            (1, _) => why,
            (_, "") => format!("part {number} of the list is empty: {why}"),
            _ => format!("part {number} of the list, {part:?}: {why}"),
        };
        let hosts =
            parts.iter().zip(1..).map(|(part, number)| host(part).map_err(|why| named(why, number, part)));
        hosts.collect::<Result<_, _>>().map(Self)
    }
}

/// One part of a list.
fn host(part: &str) -> Result<(String, Option<u16>), String> {
    let wanted = || WANTED.to_owned();
    if let Some((inside, rest)) = part.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let port = match rest.strip_prefix(':') {
            Some(port) => Some(cli::remote_port(port)?),
            None if rest.is_empty() => None,
            None => return Err(wanted()),
        };
        return v6(inside).map(|host| (host, port)).ok_or_else(wanted);
    }
    if let Some(host) = v6(part) {
        return Ok((host, None));
    }
    let (name, port) = match part.split_once(':') {
        Some((_, port)) if port.contains(':') => return Err(wanted()),
        Some((name, port)) => (name, Some(cli::remote_port(port)?)),
        None => (part, None),
    };
    let foreign = |c: char| c.is_whitespace() || c.is_control() || "/[]".contains(c);
    if name.is_empty() || name.contains(foreign) {
        return Err(wanted());
    }
    let ip = name.parse().map(|ip: IpAddr| ip.to_string());
    Ok((ip.unwrap_or_else(|_| name.to_owned()), port))
}

/// An IPv6 address in its usual form, which may name the interface that it belongs to: `fe80::1%eth0`.
fn v6(text: &str) -> Option<String> {
    let (ip, zone) = text.split_once('%').map_or((text, None), |(ip, zone)| (ip, Some(zone)));
    let ip = ip.parse::<Ipv6Addr>().ok()?;
    Some(zone.map_or_else(|| ip.to_string(), |zone| format!("{ip}%{zone}")))
}

/// Where one discovery, or several, can be reached: a name or an address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: u16,
}

impl Endpoint {
    /// Its address, where it names one.
    pub fn address(&self) -> Option<SocketAddr> {
        self.host.parse().ok().map(|ip| SocketAddr::new(ip, self.port))
    }

    /// Its addresses, as the system knows them now. May take as long as the system asks for them, which can be half a
    /// minute.
    ///
    /// # Errors
    /// The system can't tell them.
    pub fn look_up(&self) -> io::Result<Vec<SocketAddr>> {
        Ok((&*self.host, self.port).to_socket_addrs()?.collect())
    }

    /// Itself for a person, at one of its addresses: `chat.example.org[192.0.2.7]:7667`.
    pub fn at(&self, remote: SocketAddr) -> String {
        match self.address() {
            Some(_) => self.to_string(),
            None => format!("{}[{}]:{}", self.host, remote.ip(), self.port),
        }
    }
}

/// `host:port` or `[v6]:port`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<String>, String> {
        let hosts: Hosts = text.parse()?;
        Ok(hosts.endpoints(7667).iter().map(Endpoint::to_string).collect())
    }

    #[test]
    fn a_list_names_hosts_with_and_without_ports() {
        for (text, expected) in [
            ("chat.example.org", &["chat.example.org:7667"][..]),
            ("chat.example.org:80", &["chat.example.org:80"]),
            ("192.0.2.7", &["192.0.2.7:7667"]),
            ("192.0.2.7:1", &["192.0.2.7:1"]),
            ("::1", &["[::1]:7667"]),
            ("2001:DB8:0::1", &["[2001:db8::1]:7667"]),
            ("[::1]", &["[::1]:7667"]),
            ("[::1]:65535", &["[::1]:65535"]),
            ("fe80::1%eth0", &["[fe80::1%eth0]:7667"]),
            ("[fe80::1%eth0]:2", &["[fe80::1%eth0]:2"]),
            ("a,b:2, [::1]:3 ,::1", &["a:7667", "b:2", "[::1]:3", "[::1]:7667"]),
            // Each once.
            ("a,b,a:7667,b:1", &["a:7667", "b:7667", "b:1"]),
        ] {
            assert_eq!(read(text).unwrap(), expected, "{text}");
        }
        assert_eq!(Hosts::default(), "127.0.0.1".parse().unwrap());
    }

    #[test]
    fn a_bad_part_is_named_with_what_is_wanted() {
        let host = "a host's name or IP address is wanted here";
        let port = "a port to connect to is a number from 1 to 65535";
        for (text, part, wanted) in [
            ("", "", host),
            ("a b", "", host),
            ("http://a", "", port),
            ("a:b:c", "", host),
            ("a/b", "", host),
            (":1", "", host),
            ("[::1", "", host),
            ("[a]:1", "", host),
            ("[::1]1", "", host),
            ("a:0", "", port),
            ("a:", "", port),
            ("a:65536", "", port),
            ("a,b:0,c", "part 2 of the list, \"b:0\": ", port),
            ("a,b c", "part 2 of the list, \"b c\": ", host),
            ("[::1]:x,b", "part 1 of the list, \"[::1]:x\": ", port),
            ("a,,b", "part 2 of the list is empty: ", host),
            ("a,", "part 2 of the list is empty: ", host),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with(&format!("{part}{wanted}")), "{text}: {error}");
        }
        let many = vec!["a"; MAX_ENDPOINTS + 1].join(",");
        assert_eq!(read(&many), Err("a list of at most 64 hosts is wanted here".into()));
    }

    #[test]
    fn an_endpoint_is_named_with_the_address_that_is_meant() {
        let remote = "192.0.2.7:80".parse().unwrap();
        let named = |text: &str| text.parse::<Hosts>().unwrap().endpoints(80)[0].at(remote);
        assert_eq!(named("chat.example.org"), "chat.example.org[192.0.2.7]:80");
        assert_eq!(named("192.0.2.7"), "192.0.2.7:80");
    }
}
