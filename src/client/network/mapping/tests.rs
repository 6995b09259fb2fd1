//! Routers that a test plays, on the loopback interface.

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::sync::mpsc;
use std::time::Instant;

use super::*;

/// Longer than anything here takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);
const PORT: u16 = 7000;
const OUTER: [u8; 4] = [192, 0, 2, 7];

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket
}

fn port(socket: &UdpSocket) -> u16 {
    socket.local_addr().unwrap().port()
}

fn at(datagrams: u16, searches: u16) -> Gateway {
    Gateway { ip: Ipv4Addr::LOCALHOST, datagrams, searches }
}

/// A router that plays PCP and NAT-PMP; the sockets with its two ports.
struct Router {
    datagrams: UdpSocket,
    searches: UdpSocket,
}

impl Router {
    fn new() -> Self {
        Self { datagrams: socket(), searches: socket() }
    }

    fn gateway(&self) -> Gateway {
        at(port(&self.datagrams), port(&self.searches))
    }

    fn start(&self) -> (Mapper, mpsc::Receiver<Report>) {
        let gateway = self.gateway();
        start(move || Some(gateway))
    }

    fn hear(&self) -> (Vec<u8>, SocketAddr) {
        hear(&self.datagrams)
    }

    /// Answers what comes next, as this does.
    fn answer(&self, answer: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
        let (question, from) = self.hear();
        self.datagrams.send_to(&answer(&question), from).unwrap();
        question
    }
}

fn hear(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2048];
    let (length, from) = socket.recv_from(&mut buffer).expect("something is asked");
    (buffer[..length].to_vec(), from)
}

fn start(gateway: impl Fn() -> Option<Gateway> + Send + 'static) -> (Mapper, mpsc::Receiver<Report>) {
    let (send, reports) = mpsc::channel();
    (spawn_at(PORT, gateway, move |report| drop(send.send(report))).unwrap(), reports)
}

fn mapped(port: u16, protocol: Protocol) -> Report {
    Report::Mapped { outer: SocketAddr::from((OUTER, port)), protocol }
}

/// The answer of PCP to this question that gives an outer address.
fn pcp_gives(question: &[u8], ip: [u8; 4], port: u16) -> Vec<u8> {
    let mut answer = question.to_vec();
    answer[1] |= 0x80;
    answer[8..24].fill(0);
    answer[42..44].copy_from_slice(&port.to_be_bytes());
    answer[44..].copy_from_slice(&Ipv4Addr::from(ip).to_ipv6_mapped().octets());
    answer
}

#[test]
fn a_mapping_is_made_renewed_and_given_back() {
    let router = Router::new();
    let (mapper, reports) = router.start();
    let first = router.answer(|question| pcp_gives(question, OUTER, 9));
    assert_eq!(reports.recv_timeout(DEADLINE).unwrap(), mapped(9, Protocol::Pcp));
    mapper.again();
    let second = router.answer(|question| pcp_gives(question, OUTER, 9));
    assert_eq!((&first[24..42], 9_u16.to_be_bytes()), (&second[24..42], [second[42], second[43]]));
    // What is as it was is not said again; what is not, is.
    mapper.again();
    router.answer(|question| pcp_gives(question, OUTER, 10));
    assert_eq!(reports.recv_timeout(DEADLINE).unwrap(), mapped(10, Protocol::Pcp));
    let ending = std::thread::spawn(move || mapper.end(DEADLINE));
    let last = router.answer(|question| pcp_gives(question, [0; 4], 0));
    assert_eq!((&last[4..8], &last[24..42]), (&[0; 4][..], &first[24..42]));
    ending.join().unwrap();
}

#[test]
fn a_mapping_that_is_lost_is_told() {
    let router = Router::new();
    let (mapper, reports) = router.start();
    router.answer(|question| pcp_gives(question, OUTER, 9));
    assert_eq!(reports.recv_timeout(DEADLINE).unwrap(), mapped(9, Protocol::Pcp));
    drop(router);
    mapper.again();
    assert!(matches!(reports.recv_timeout(DEADLINE).unwrap(), Report::Unmapped(_)));
}

#[test]
fn a_router_that_knows_only_the_older_protocol_is_asked_in_it() {
    let router = Router::new();
    let (mapper, reports) = router.start();
    let refused = |_: &[u8]| vec![0, 0x81, 0, 1, 0, 0, 0, 0];
    let address = |question: &[u8]| {
        assert_eq!(question, [0, 0]);
        [&[0, 128, 0, 0, 0, 0, 0, 1], &OUTER[..]].concat()
    };
    let gives = |question: &[u8]| {
        let (lifetime, outer) = (&question[8..], if question[8..] == [0; 4] { [0, 0] } else { [0, 9] });
        [&[0, 130, 0, 0, 0, 0, 0, 1], &question[4..6], &outer, lifetime].concat()
    };
    router.answer(refused);
    router.answer(address);
    router.answer(gives);
    assert_eq!(reports.recv_timeout(DEADLINE).unwrap(), mapped(9, Protocol::NatPmp));
    // It is asked in that at once from now on.
    mapper.again();
    router.answer(address);
    assert_eq!(router.answer(gives)[6..8], [0, 9]);
    let ending = std::thread::spawn(move || mapper.end(DEADLINE));
    assert_eq!(router.answer(gives)[6..], [0; 6]);
    ending.join().unwrap();
}

#[test]
fn an_outer_address_that_is_not_public_is_refused_at_once() {
    for ip in [[10, 0, 0, 1], [100, 64, 0, 1], [192, 168, 3, 4], [172, 31, 0, 1], [0; 4], [127, 0, 0, 1]] {
        let router = Router::new();
        let (mapper, reports) = router.start();
        router.answer(|question| pcp_gives(question, ip, 9));
        // It is told to keep none, and asked in no other way.
        assert_eq!(router.answer(|question| pcp_gives(question, [0; 4], 0))[4..8], [0; 4]);
        let Report::Unmapped(why) = reports.recv_timeout(DEADLINE).unwrap() else { panic!("{ip:?}") };
        assert!(why.contains("no public address"), "{why}");
        mapper.end(DEADLINE);
        router.searches.set_nonblocking(true).unwrap();
        assert!(router.searches.recv_from(&mut [0]).is_err());
    }
    assert!(public(Ipv4Addr::new(100, 128, 0, 1)).is_ok() && public(Ipv4Addr::new(8, 8, 8, 8)).is_ok());
}

#[test]
fn only_the_router_s_answer_to_this_question_counts() {
    let router = Router::new();
    let (_mapper, reports) = router.start();
    let (question, from) = router.hear();
    // From another port of the router, and what answers another question.
    socket().send_to(&pcp_gives(&question, OUTER, 1), from).unwrap();
    for at in [24, 36, 41] {
        let mut other = pcp_gives(&question, OUTER, 2);
        other[at] ^= 1;
        router.datagrams.send_to(&other, from).unwrap();
    }
    for length in [0, 1, 59] {
        router.datagrams.send_to(&pcp_gives(&question, OUTER, 3)[..length], from).unwrap();
    }
    // So it is asked once more.
    let again = router.answer(|question| pcp_gives(question, OUTER, 9));
    assert_eq!(again, question);
    assert_eq!(reports.recv_timeout(DEADLINE).unwrap(), mapped(9, Protocol::Pcp));
}

#[test]
fn where_nothing_answers_there_is_no_mapping() {
    let router = Router::new();
    let (mapper, reports) = router.start();
    let Report::Unmapped(why) = reports.recv_timeout(DEADLINE).unwrap() else { panic!("a mapping") };
    assert_eq!(why, "PCP: no answer; NAT-PMP: no answer; UPnP: no answer");
    mapper.end(DEADLINE);
    let (mapper, reports) = start(|| None);
    assert!(matches!(reports.recv_timeout(DEADLINE).unwrap(), Report::Unmapped(_)));
    mapper.end(DEADLINE);
}

/// Answers one question of HTTP, which is returned, with what is made of it.
fn serve(listener: &TcpListener, answer: impl Fn(&str) -> String) -> String {
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let (mut question, deadline) = (Vec::new(), Instant::now() + DEADLINE);
    loop {
        let mut buffer = [0; 4096];
        let length = stream.read(&mut buffer).unwrap();
        question.extend(&buffer[..length]);
        let text = String::from_utf8_lossy(&question);
        if text.starts_with("GET ") && text.ends_with("\r\n\r\n") || text.ends_with("</s:Envelope>\r\n") {
            break;
        }
        assert!(length > 0 && Instant::now() < deadline, "{text}");
    }
    let question = String::from_utf8(question).unwrap();
    // One that is not welcome is not read to its end.
    let _ = stream.write_all(answer(&question).as_bytes());
    question
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

const DESCRIPTION: &str = "\
<?xml version=\"1.0\"?><root><device><serviceList><service>
<serviceType>urn:schemas-upnp-org:service:WANIPConnection:2</serviceType><controlURL>/ctl</controlURL>
</service></serviceList></device></root>";

#[test]
fn a_router_that_knows_only_upnp_is_asked_in_it() {
    let searches = socket();
    let gateway = at(1, port(&searches));
    let (mapper, reports) = start(move || Some(gateway));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (search, from) = hear(&searches);
    assert!(search.starts_with(b"M-SEARCH * HTTP/1.1\r\n"));
    let found = |ip: &str| {
        let port = listener.local_addr().unwrap().port();
        format!("HTTP/1.1 200 OK\r\nLOCATION: http://{ip}:{port}/root.xml\r\n\r\n")
    };
    // From another machine, about another one, and then as it should be.
    let other = UdpSocket::bind(("127.0.0.2", 0)).unwrap();
    other.send_to(found("127.0.0.2").as_bytes(), from).unwrap();
    other.send_to(found("127.0.0.1").replace("root", "no").as_bytes(), from).unwrap();
    searches.send_to(found("127.0.0.3").as_bytes(), from).unwrap();
    searches.send_to(found("127.0.0.1").as_bytes(), from).unwrap();
    let asked = serve(&listener, |_| ok(DESCRIPTION));
    assert!(asked.starts_with("GET /root.xml HTTP/1.1\r\n"), "{asked}");
    let asked =
        serve(&listener, |_| ok("<s:Body><NewExternalIPAddress>192.0.2.7</NewExternalIPAddress></s:Body>"));
    assert!(asked.contains("WANIPConnection:2#GetExternalIPAddress\"\r\n"), "{asked}");
    // The port is taken, then only lasting mappings are given.
    let error = |code: u16| {
        format!(
            "HTTP/1.1 500 X\r\nConnection: close\r\n\r\n<UPnPError><errorCode>{code}</errorCode></UPnPError>"
        )
    };
    let asked = serve(&listener, |_| error(718));
    assert!(asked.contains("<NewExternalPort>7000<"), "{asked}");
    assert!(asked.contains("<NewInternalClient>127.0.0.1<"), "{asked}");
    let asked = serve(&listener, |_| error(725));
    assert!(!asked.contains("<NewExternalPort>7000<") && asked.contains("Duration>7200<"), "{asked}");
    let asked = serve(&listener, |_| ok(""));
    assert!(asked.contains("Duration>0<"), "{asked}");
    let outer = asked.split("<NewExternalPort>").nth(1).unwrap().split('<').next().unwrap().parse().unwrap();
    assert_eq!(reports.recv_timeout(DEADLINE).unwrap(), mapped(outer, Protocol::Upnp));
    let ending = std::thread::spawn(move || mapper.end(DEADLINE));
    let asked = serve(&listener, |_| ok(""));
    assert!(asked.contains("#DeletePortMapping\"") && asked.contains(&format!(">{outer}<")), "{asked}");
    ending.join().unwrap();
}

#[test]
fn a_hostile_description_brings_nothing_down() {
    let deep = "<a>".repeat(http::LONGEST / 4) + &"</a>".repeat(10);
    let long = "<".repeat(2 * http::LONGEST);
    let endless = "HTTP/1.1 200 OK\r\n\r\n".to_owned() + &long;
    for hostile in [ok(&deep), endless, String::new(), "\r\n\r\n".into(), ok(""), ok("<service><serviceType")]
    {
        let searches = socket();
        let gateway = at(1, port(&searches));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let place = format!("http://{}/", listener.local_addr().unwrap());
        let (_mapper, reports) = start(move || Some(gateway));
        let (_, from) = hear(&searches);
        let found = format!("HTTP/1.1 200 OK\r\nLOCATION: {place}\r\n\r\n");
        searches.send_to(found.as_bytes(), from).unwrap();
        serve(&listener, |_| hostile.clone());
        assert!(matches!(reports.recv_timeout(DEADLINE).unwrap(), Report::Unmapped(_)));
    }
}
