//! Figures for Prometheus: `GET /metrics` over HTTP, and nothing else.
//!
//! A few threads take one connection each at a time, and each connection has a deadline: whoever scrapes slowly, or
//! sends anything at all, takes a thread for that long and nothing from anybody else.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::admin::Admin;
use super::deadline_stream::DeadlineStream;

/// How many connections are served at a time.
const SCRAPERS: usize = 4;
/// How long one connection may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// The longest request, in bytes.
const REQUEST: u64 = 8 * 1024;
/// How long to wait when no connection can be accepted.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// Serves metrics for ever, and says where.
///
/// # Errors
/// If it can't listen, or a thread can't be had.
pub fn serve(address: SocketAddr, admin: &Admin) -> io::Result<SocketAddr> {
    let listener = Arc::new(TcpListener::bind(address)?);
    let address = listener.local_addr()?;
    for _ in 0..SCRAPERS {
        let (listener, admin) = (Arc::clone(&listener), admin.clone());
        thread::Builder::new().name("metrics".into()).spawn(move || {
            loop {
                let served = listener.accept().map(|(stream, from)| (answer(stream, &admin), from));
                match served {
                    Ok((Ok(()), _)) => {}
                    Ok((Err(error), from)) => tracing::debug!(%from, %error, "metrics not delivered"),
                    Err(error) => {
                        tracing::warn!(%error, "could not accept a connection for metrics");
                        thread::sleep(EXHAUSTED);
                    }
                }
            }
        })?;
    }
    Ok(address)
}

fn answer(stream: TcpStream, admin: &Admin) -> io::Result<()> {
    let mut stream = DeadlineStream::new(stream, DEADLINE);
    let head = stream.lines(REQUEST, <[u8]>::is_empty)?;
    let first = head.as_ref().and_then(|head| head.first()).map_or(&[][..], Vec::as_slice);
    stream.finish(respond(first, admin).as_bytes())
}

/// What a request that begins with this line is answered.
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
        _ if !well_formed => {
            ("400 Bad Request", "", "this is not a request that is understood here\n".into())
        }
        (b"GET", b"/metrics") => match admin.status() {
            Ok(status) => ("200 OK", "", status.metrics()),
            Err(busy) => ("503 Service Unavailable", "", format!("{busy}\n")),
        },
        (_, b"/metrics") => ("405 Method Not Allowed", "Allow: GET\r\n", "use GET\n".into()),
        _ => ("404 Not Found", "", "there is only /metrics\n".into()),
    };
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\n\
         Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
         Content-Length: {length}\r\n{more}\
         Connection: close\r\n\r\n{body}"
    )
}
