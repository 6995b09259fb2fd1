//! Metrics for Prometheus: `GET /metrics` over HTTP, and nothing else.
//!
//! A few threads serve one connection each at a time, and each connection has a deadline: a slow or hostile client
//! occupies a thread for that long, and nothing else.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use socket2::Socket;

use super::admin::Admin;
use super::deadline_stream::DeadlineStream;

const THREADS: usize = 4;
const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_REQUEST: u64 = 8 * 1024;

/// Serves metrics until the program ends. Returns the address.
pub fn serve(address: SocketAddr, admin: &Admin) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address)?;
    let address = listener.local_addr()?;
    let listener = Socket::from(listener);
    for _ in 0..THREADS {
        let admin = admin.clone();
        let answer = move |stream| answer(stream, &admin);
        DeadlineStream::serve("metrics", listener.try_clone()?, TIMEOUT, answer)?;
    }
    Ok(address)
}

fn answer(mut stream: DeadlineStream, admin: &Admin) -> io::Result<()> {
    let head = stream.lines(MAX_REQUEST, <[u8]>::is_empty)?;
    let first = head.as_ref().and_then(|head| head.first()).map_or(&[][..], Vec::as_slice);
    stream.finish(respond(first, admin).as_bytes())
}

/// The answer to a request that begins with this line.
fn respond(line: &[u8], admin: &Admin) -> String {
    let mut words = line.split(|byte| *byte == b' ');
    let mut word = || words.next().unwrap_or_default();
    let (method, target, version) = (word(), word(), word());
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    let well_formed = !method.is_empty()
        && method.iter().all(u8::is_ascii_uppercase)
        && path.starts_with(b"/")
        && matches!(version, b"HTTP/1.0" | b"HTTP/1.1")
        && words.next().is_none();
    let (status, more, body) = match (method, path) {
        _ if !well_formed => ("400 Bad Request", "", "malformed request\n".into()),
        (b"GET", b"/metrics") => match admin.status() {
            Ok(status) => ("200 OK", "", status.metrics()),
            Err(busy) => ("503 Service Unavailable", "", format!("{busy}\n")),
        },
        (_, b"/metrics") => ("405 Method Not Allowed", "Allow: GET\r\n", "use GET\n".into()),
        _ => ("404 Not Found", "", "not found; the metrics are at /metrics\n".into()),
    };
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\n\
         Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
         Content-Length: {length}\r\n{more}\
         Connection: close\r\n\r\n{body}"
    )
}
