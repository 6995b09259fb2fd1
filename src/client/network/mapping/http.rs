//! As much of HTTP/1.1 as a router's UPnP needs: one question, one answer, and the connection is closed.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

/// The longest answer that is read, in bytes. Descriptions of routers have some tens of thousands.
pub const LONGEST: usize = 256 * 1024;
/// How long a router may take for one answer.
const WITHIN: Duration = Duration::from_secs(3);
/// The longest path that is asked for, in bytes.
const LONGEST_PATH: usize = 512;

/// What a URL with an IPv4 address names: other URLs a router need not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub at: SocketAddrV4,
    /// Begins with `/`, and has only characters that may stand in a request.
    pub path: String,
}

impl Place {
    /// Reads `http://IP[:PORT][/PATH]`.
    pub fn read(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("http://")?;
        let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let at = match host.parse::<SocketAddrV4>() {
            Ok(at) => at,
            Err(_) => SocketAddrV4::new(host.parse::<Ipv4Addr>().ok()?, 80),
        };
        (at.port() != 0 && is_path(path)).then(|| Self { at, path: path.into() })
    }

    /// What another URL means at this place; relative ones, too.
    pub fn join(&self, url: &str) -> Option<Self> {
        if url.starts_with("http://") {
            return Self::read(url);
        }
        let path = if url.starts_with('/') {
            url.to_owned()
        } else {
            let (folder, _) = self.path.rsplit_once('/').unwrap_or_default();
            format!("{folder}/{url}")
        };
        is_path(&path).then_some(Self { at: self.at, path })
    }
}

fn is_path(path: &str) -> bool {
    path.len() <= LONGEST_PATH && path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The status and the body of an answer.
pub type Answer = (u16, String);

pub fn get(place: &Place) -> io::Result<Answer> {
    ask(place, &format!("GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", place.path, place.at))
}

/// Calls an action of SOAP; `action` must be safe in a header.
pub fn post(place: &Place, action: &str, body: &str) -> io::Result<Answer> {
    let Place { at, path } = place;
    let length = body.len();
    ask(
        place,
        &format!(
            "POST {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\nContent-Type: text/xml; charset=\"utf-8\"\r\n\
             SOAPAction: \"{action}\"\r\nContent-Length: {length}\r\n\r\n{body}"
        ),
    )
}

fn ask(place: &Place, question: &str) -> io::Result<Answer> {
    let until = Instant::now() + WITHIN;
    let left = || match until.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::Error::from(io::ErrorKind::TimedOut)),
        left => Ok(left),
    };
    let mut stream = TcpStream::connect_timeout(&place.at.into(), left()?)?;
    stream.set_write_timeout(Some(left()?))?;
    stream.write_all(question.as_bytes())?;
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        stream.set_read_timeout(Some(left()?))?;
        let length = match stream.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            length => length?,
        };
        bytes.extend_from_slice(buffer.get(..length).unwrap_or_default());
        let invalid = || io::Error::from(io::ErrorKind::InvalidData);
        if bytes.len() > LONGEST {
            return Err(invalid());
        }
        if let Some(answer) = read(&bytes, length == 0) {
            return Ok(answer);
        } else if length == 0 {
            return Err(invalid());
        }
    }
}

/// Reads an answer; `None` if it is none, or not whole yet. `ended` says that no more will come.
pub fn read(bytes: &[u8], ended: bool) -> Option<Answer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let (head, body) = bytes.split_at_checked(end + 4)?;
    let mut lines = std::str::from_utf8(head).ok()?.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (version, status) = (first.next()?, first.next()?);
    let status = status.parse().ok().filter(|_| version.starts_with("HTTP/1."))?;
    let header = |name: &str| headers(lines.clone()).find(|(it, _)| it.eq_ignore_ascii_case(name));
    let body = if header("transfer-encoding").is_some_and(|(_, value)| value.eq_ignore_ascii_case("chunked"))
    {
        dechunked(body)?
    } else if let Some((_, length)) = header("content-length") {
        body.get(..length.parse().ok()?)?.to_vec()
    } else if ended {
        body.to_vec()
    } else {
        return None;
    };
    Some((status, String::from_utf8_lossy(&body).into_owned()))
}

/// The names and values of lines of the form `NAME: VALUE`.
pub fn headers<'a>(lines: impl Iterator<Item = &'a str>) -> impl Iterator<Item = (&'a str, &'a str)> {
    lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name.trim(), value.trim()))
}

fn dechunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let line = std::str::from_utf8(rest.get(..end)?).ok()?;
        let length = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
        if length == 0 {
            return Some(body);
        }
        let begin = end + 2;
        body.extend_from_slice(rest.get(begin..begin.checked_add(length)?)?);
        rest = rest.get(begin.checked_add(length)?..)?.strip_prefix(b"\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Option<(String, String)> {
        Place::read(text).map(|place| (place.at.to_string(), place.path))
    }

    #[test]
    fn urls_of_routers_are_read() {
        let of = |at: &str, path: &str| Some((at.to_owned(), path.to_owned()));
        assert_eq!(place("http://192.168.1.1:5000/root.xml?a=1"), of("192.168.1.1:5000", "/root.xml?a=1"));
        assert_eq!(place("http://192.168.1.1"), of("192.168.1.1:80", "/"));
        for bad in [
            "",
            "https://192.168.1.1/",
            "http://router/",
            "http://u@192.168.1.1/",
            "http://192.168.1.1:0/",
            "http://192.168.1.1/a b",
            "http://192.168.1.1/a\r\nX: y",
            "http://192.168.1.1/\u{e9}",
            "http://[::1]/",
        ] {
            assert_eq!(place(bad), None, "{bad}");
        }
        assert_eq!(place(&format!("http://192.168.1.1/{}", "a".repeat(LONGEST_PATH))), None);
        let base = Place::read("http://192.168.1.1:5000/a/root.xml").unwrap();
        let joined = |url: &str| base.join(url).map(|place| format!("{}{}", place.at, place.path));
        assert_eq!(joined("/ctl").unwrap(), "192.168.1.1:5000/ctl");
        assert_eq!(joined("ctl/ip").unwrap(), "192.168.1.1:5000/a/ctl/ip");
        assert_eq!(joined("http://192.168.1.9:1/x").unwrap(), "192.168.1.9:1/x");
        assert_eq!(joined("a b"), None);
    }

    #[test]
    fn answers_are_read_when_they_are_whole() {
        let text = |bytes: &str, ended| read(bytes.as_bytes(), ended);
        let sized = "HTTP/1.1 200 OK\r\ncontent-LENGTH: 3\r\n\r\nabcd";
        assert_eq!(text(sized, false), Some((200, "abc".into())));
        assert_eq!(text(&sized[..sized.len() - 2], false), None);
        let open = "HTTP/1.0 500 Internal Server Error\r\nServer: x\r\n\r\nab";
        assert_eq!((text(open, false), text(open, true)), (None, Some((500, "ab".into()))));
        let chunked =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        assert_eq!(text(chunked, false), Some((200, "abcde".into())));
        for bad in [
            "",
            "\r\n\r\n",
            "HTTP/1.1\r\n\r\n",
            "ICY 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n",
        ] {
            assert_eq!(text(bad, true), None, "{bad:?}");
        }
    }
}
