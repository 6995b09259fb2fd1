//! The fuzz targets on the stable toolchain, for a few seconds, with inputs from a seed. `fuzz/Cargo.toml` says how
//! to run them for longer, and better.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use fastrand::Rng;
use peerchat::protocol::codec;
use peerchat::protocol::peer::{Bye, ByeReason, Cursor, Hello, Kind, Message, Peer, Via};
use peerchat::protocol::rendezvous::{
    About, Asks, Candidate, CandidateKind, Identify, Identity, Punch, Refused, RefusedCode, Register,
    Registered, Request, Status, Strangers, Ticket, ToClient, ToDiscovery,
};
use peerchat::protocol::{Name, PublicKey};

#[path = "../../fuzz/targets.rs"]
mod targets;

/// How long each target runs. `PEERCHAT_FUZZ_SECONDS` changes it.
const EACH: Duration = Duration::from_millis(1400);

/// Good inputs, of which bad ones are made.
fn examples() -> Vec<Vec<u8>> {
    let name = || "alice".parse::<Name>().unwrap();
    // The one of RFC 8032's first test: what is no point of the curve is not decoded.
    let key: PublicKey = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a".parse().unwrap();
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    let (v4, v6) = (address("192.0.2.7:4000"), address("[2001:db8::1]:65535"));
    let also = vec![
        Candidate { address: v4, kind: CandidateKind::Lan },
        Candidate { address: v6, kind: CandidateKind::Global },
    ];
    let cursor = Cursor { epoch: 0x1122_3344_5566_7788, number: 42 };
    let cursors = vec![cursor; 3];
    let hello = Hello {
        name: name(),
        epoch: u64::MAX,
        port: 4000,
        window: 1 << 20,
        cursors,
        hold: None,
        via: Via::Relayed,
        linked: false,
    };
    let body = "hi bob\n\u{1b}]0;x\u{7}\u{202e}".into();
    let Cursor { epoch, number } = cursor;
    let message = Message { epoch, number, kind: Kind::TEXT, sent: 1_700_000_000_000, body, original: None };
    let (address, online, asks) = (Some(v6), Some(true), Asks::No);
    let status = Status { name: name(), key, address, online, asks, connected: true, also };
    let mut examples = Vec::new();
    let mut add = |encode: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = Vec::new();
        encode(&mut frame);
        examples.push(frame);
    };
    for said in [
        Peer::Hello(hello),
        Peer::Keep,
        Peer::Message(message),
        Peer::Ack(cursor),
        Peer::Ping,
        Peer::Bye(Bye { reason: ByeReason::LOGOUT }),
    ] {
        add(&|frame| codec::encode(&said, frame));
    }
    for said in [
        ToDiscovery::Register(Register {
            port: 4001,
            rtt: 30,
            mapped: Some(v4),
            local: vec![v4.ip(), v6.ip()],
            ..Register::new(name(), v4, Some(7), Strangers::All)
        }),
        ToDiscovery::Punch(About { name: name() }),
        ToDiscovery::Relay(About { name: name() }),
        ToDiscovery::Request(Request { name: name(), typed: true }),
        ToDiscovery::Identify(Identify { key }),
        ToDiscovery::Logout,
    ] {
        add(&|frame| codec::encode(&said, frame));
    }
    for said in [
        ToClient::Registered(Registered { address: v4, observed: v6 }),
        ToClient::Punch(Punch { name: name(), token: [7; 16], wait: 30, addresses: vec![v4, v6] }),
        ToClient::Relay(Ticket { name: name(), ticket: [8; 16], dials: true }),
        ToClient::Refused(Refused { code: RefusedCode::NOT_SAVED, name: Some(name()) }),
        ToClient::Status(status),
        ToClient::Identity(Identity { key, name: None }),
        ToClient::Synced,
    ] {
        add(&|frame| codec::encode(&said, frame));
    }
    examples.extend(
        ["REQUEST bob", "/chat bob hello\r", "HISTORY bob 20", "alice", "x.y_z-0", "\u{9b}31m", "logout "]
            .map(|line| line.as_bytes().to_vec()),
    );
    examples.extend(
        [
            r#"{"command":"chat","to":"bob","text":"two\nlines\u009b","ref":"7"}"#,
            r#"{"command":"history","peer":"bob","count":5,"ref":-7}"#,
        ]
        .map(|line| line.as_bytes().to_vec()),
    );
    examples.push([&[0, 1][..], &[9; 48]].concat());
    // Roles of a handshake in which what stands before a message is right, an offer, frames with marks.
    examples.push([&[4][..], &[9; 1232], &[7; 64]].concat());
    examples.push([&[7][..], &[9; 1184]].concat());
    examples.push(vec![3, 2, 2, 3]);
    examples.push(vec![80, 0, 1, 2, 0, 200, 0, 0, 5]);
    examples.push(vec![4, 100, 0x00, 0x0d, 0xd0]);
    // A router's answers: PCP, NAT-PMP, UPnP.
    let outer = [&[0; 10][..], &[0xff, 0xff, 192, 0, 2, 7]].concat();
    let header = [&[2, 0x81, 0, 0, 0, 0, 14, 16, 0, 0, 0, 1][..], &[0; 12]].concat();
    examples.push([&header, &b"abcdefghijkl\x06\0\0\0\x1b\x58\x04\xd2"[..], &outer].concat());
    examples.push(b"\0\x82\0\0\0\0\0\x01\x1b\x58\x04\xd2\0\0\x0e\x10".to_vec());
    examples.push(b"\0\x80\0\0\0\0\0\x01\xc0\0\x02\x07".to_vec());
    examples.extend(
        [
            "HTTP/1.1 200 OK\r\nLOCATION: http://192.168.1.1:5000/root.xml\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            "<service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType><controlURL>",
            "/ctl</controlURL></service><URLBase>http://192.168.1.1:80/</URLBase>",
        ]
        .map(|text| text.as_bytes().to_vec()),
    );
    examples
}

/// The input of this number: the same always and everywhere.
fn input(number: u64, examples: &[Vec<u8>]) -> Vec<u8> {
    let mut rng = Rng::with_seed(number);
    let mut input = Vec::new();
    for _ in 0..rng.usize(0..4) {
        match rng.u8(0..5) {
            0 => input.extend((0..rng.usize(0..64)).map(|_| rng.u8(..))),
            1 => input.extend((0..rng.usize(0..8)).flat_map(|_| rng.char(..).to_string().into_bytes())),
            _ => input.extend(rng.choice(examples).unwrap()),
        }
    }
    for _ in 0..rng.usize(0..4) {
        let at = rng.usize(0..=input.len());
        match rng.u8(0..6) {
            0 => input.truncate(at),
            1 => input.insert(at, rng.u8(..)),
            // What lengths and CBOR's headers are made of.
            2 => input.insert(
                at,
                *rng.choice(&[0, 1, 0x18, 0x1b, 0x5f, 0x80, 0x82, 0x9f, 0xa1, 0xbb, 0xff]).unwrap(),
            ),
            3 => {
                let end = rng.usize(at..=input.len());
                input.extend_from_within(at..end);
            }
            _ => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << rng.u8(0..8);
                }
            }
        }
    }
    input
}

#[test]
fn every_target_takes_any_bytes() {
    let each = std::env::var("PEERCHAT_FUZZ_SECONDS")
        .map_or(EACH, |seconds| Duration::from_secs_f64(seconds.parse().expect("a number of seconds")));
    let examples = examples();
    let mut all = 0;
    for (name, target) in targets::ALL {
        let end = Instant::now() + each;
        let mut number = 0;
        while Instant::now() < end {
            let input = input(number, &examples);
            if catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
                panic!("target {name} fails on input {number}: {input:02x?}");
            }
            number += 1;
        }
        println!("{name}: {number} inputs");
        all += number;
    }
    println!("{all} inputs in all");
}
