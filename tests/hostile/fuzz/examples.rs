//! Good inputs for each target, of which bad ones are made.

use std::net::SocketAddr;

use minicbor::Encode;
use peerchat::protocol::codec;
use peerchat::protocol::peer::{
    Bye, ByeReason, Cursor, Hello, Hold, HoldReason, Kind, MAX_CURSORS, Message, Part, Peer, Via,
};
use peerchat::protocol::rendezvous::{
    About, Asks, Candidate, CandidateKind, Identify, Identity, MAX_LOCAL, Mate, Punch, Refused, RefusedCode,
    Register, Registered, Request, Status, Strangers, TOKEN, Ticket, ToClient, ToDiscovery,
};
use peerchat::protocol::room::{
    AboutRoom, Add, Cause, ChainName, Change, Deed, Entry, EntryKind, Found, Hash, Have, Kept, Mark, Origin,
    Past, Proof, Pull, Receipt, ReceiptName, Remove, RoomKey, RoomSays, Run, Settled, Signature, Stretch,
    Wanted,
};
use peerchat::protocol::{Name, PublicKey, VERSION};

use super::item::Item;

pub struct Example {
    /// What stands before it in an input: numbers that say what is done with it.
    pub head: Vec<u8>,
    pub body: Vec<u8>,
    /// The same as the body, of what is CBOR.
    pub item: Option<Item>,
}

pub fn examples(target: &str) -> Vec<Example> {
    match target {
        "peer_frame" => encoded(&peer(), &[&[]]),
        "to_discovery_frame" => encoded(&to_discovery(), &[&[]]),
        "to_client_frame" => encoded(&to_client(), &[&[]]),
        // From a contact or a stranger, before and after a hello; then from discovery.
        "node" => {
            let mut examples = encoded(&peer(), &[&[0], &[4], &[2], &[6], &[22], &[8], &[14]]);
            examples.extend(encoded(&to_client(), &[&[1], &[3], &[9]]));
            examples
        }
        // Each role, with messages of the right length.
        "handshake" => (0..8)
            .flat_map(|role| [1232, 1184, 1136].map(|length| plain(&[role], &vec![9; length])))
            .collect(),
        "offer" => vec![plain(&[], &[3, 2, 2, 3]), plain(&[], &[2, 1, 2]), plain(&[], &[3, 4, 1, 2, 3, 9])],
        "kem" => {
            vec![plain(&[0, 1], &[9; 48]), plain(&[4, 100], &[0x00, 0x0d, 0xd0]), plain(&[], &[7; 1088])]
        }
        "changed_handshake" => {
            let heads = (0..8).flat_map(|which| (0..4).map(move |how| [which, how, 0, 40]));
            heads
                .flat_map(|head| [plain(&head, &[1]), plain(&head, &[VERSION, 3]), plain(&head, &[0])])
                .collect()
        }
        "sealed_frames" => (0..8).map(|how| plain(&[how, 0, 90, 5], &[1, 2, 0, 200, 0, 0, 5, 7])).collect(),
        "name" => texts(&["alice", "x.y_z-0", "a", "\u{9b}31m", "0123456789012345678901234567890a"]),
        "command_line" => texts(&[
            "REQUEST bob",
            "/chat bob hello\r",
            "CHAT bob hello",
            "HISTORY bob 20",
            "ACCEPT bob",
            "FORGET bob",
            "RESEND bob",
            "BLOCK bob",
            "UNBLOCK bob",
            "TRUST bob 0123456789abcdef",
            "TRUST discovery 0123456789abcdef",
            "VERIFY bob 12345 67890",
            "SEARCH bob said",
            "CONTACTS",
            "OUTBOX",
            "HELP chat",
            "logout ",
        ]),
        "json_command" => texts(&[
            r#"{"command":"chat","to":"bob","text":"two\nlines\u009b","ref":"7"}"#,
            r#"{"command":"history","peer":"bob","count":5,"ref":-7}"#,
            r#"{"command":"accept","peer":"bob"}"#,
            r#"{"command":"forget","peer":"bob"}"#,
            r#"{"command":"resend","peer":"bob"}"#,
            r#"{"command":"trust","peer":"bob","fingerprint":"0123456789abcdef"}"#,
            r#"{"command":"request","peer":"bob"}"#,
        ]),
        "notice" => [
            &b"hi bob\n\x1b]0;x\x07"[..],
            "\u{202e}\u{1f3f4}\u{e0067}\u{200d}\u{5d0}\u{5b0}".as_bytes(),
            b"a\n\nb",
        ]
        .map(|text| plain(&[0, 0, 0, 0, 1, 0x8b, 0, 0, 0, 0], text))
        .into(),
        "mapping" => mapping(),
        _ => Vec::new(),
    }
}

/// A router's answers: PCP, NAT-PMP, UPnP.
fn mapping() -> Vec<Example> {
    let outer = [&[0; 10][..], &[0xff, 0xff, 192, 0, 2, 7]].concat();
    let header = [&[2, 0x81, 0, 0, 0, 0, 14, 16, 0, 0, 0, 1][..], &[0; 12]].concat();
    let pcp = [&header, &b"abcdefghijkl\x06\0\0\0\x1b\x58\x04\xd2"[..], &outer].concat();
    let mut examples = vec![
        plain(&[], &pcp),
        plain(&[], b"\0\x82\0\0\0\0\0\x01\x1b\x58\x04\xd2\0\0\x0e\x10"),
        plain(&[], b"\0\x80\0\0\0\0\0\x01\xc0\0\x02\x07"),
    ];
    examples.extend(texts(&[
        "HTTP/1.1 200 OK\r\nLOCATION: http://192.168.1.1:5000/root.xml\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "<service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType><controlURL>",
        "/ctl</controlURL></service><URLBase>http://192.168.1.1:80/</URLBase>",
    ]));
    examples
}

fn plain(head: &[u8], body: &[u8]) -> Example {
    Example { head: head.into(), body: body.into(), item: None }
}

fn texts(texts: &[&str]) -> Vec<Example> {
    texts.iter().map(|text| plain(&[], text.as_bytes())).collect()
}

fn encoded<T: Encode<()>>(messages: &[T], heads: &[&[u8]]) -> Vec<Example> {
    let example = |head: &[u8], message: &T| {
        let mut body = Vec::new();
        codec::encode(message, &mut body);
        let item = Some(Item::read(&mut body.as_slice()));
        Example { head: head.into(), body, item }
    };
    heads.iter().flat_map(|head| messages.iter().map(move |message| example(head, message))).collect()
}

fn name(name: &str) -> Name {
    name.parse().unwrap()
}

/// The one of RFC 8032's first test: what is no point of the curve is not decoded.
fn key() -> PublicKey {
    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a".parse().unwrap()
}

/// Every message between peers.
fn peer() -> Vec<Peer> {
    let cursor = Cursor { epoch: 7, number: 42 };
    let other = Cursor { epoch: 0x1122_3344_5566_7788, number: 1 << 40 };
    let hello = |cursors, hold| {
        let (name, via, linked) = (name("bob"), Via::Relayed, true);
        Peer::Hello(Hello {
            name,
            epoch: 7,
            port: 4000,
            window: 1 << 20,
            cursors,
            hold,
            via,
            linked,
            room: false,
        })
    };
    let message = |number, kind, body: &str, original| {
        Peer::Message(Message {
            epoch: 7,
            number,
            kind,
            sent: 1_700_000_000_000,
            body: body.into(),
            original,
        })
    };
    let part = |message, body: &[u8]| Peer::Part(Part { message, body: body.into() });
    let all = vec![
        hello(vec![cursor, other], None),
        hello(vec![Cursor { epoch: 1, number: 1 }; MAX_CURSORS as usize], Some(HoldReason::DISK_FULL)),
        message(42, Kind::TEXT, "hi alice\n\u{1b}]0;x\u{7}\u{202e}", None),
        message(43, Kind(9), "of another kind", None),
        message(44, Kind::TEXT, "once more", Some(Cursor { epoch: 5, number: 3 })),
        Peer::Ack(Cursor { epoch: 1, number: 1 }),
        Peer::Ack(other),
        Peer::Ping,
        Peer::Bye(Bye { reason: ByeReason::LOGOUT }),
        Peer::Bye(Bye { reason: ByeReason(300) }),
        Peer::Hold(Hold { reason: HoldReason::NOT_ANSWERED, cursor: None }),
        Peer::Hold(Hold { reason: HoldReason::DISK_FULL, cursor: Some(Cursor { epoch: 1, number: 1 }) }),
        Peer::Resume,
        Peer::Rewound,
        Peer::Skipped(cursor),
        part(cursor, b"it begins "),
        part(cursor, &[b'x'; 2000]),
        part(Cursor { epoch: 5, number: 3 }, b"an old one "),
        Peer::PartAck,
        Peer::Keep(1),
        Peer::Keep(u64::MAX),
    ];
    let all = all.into_iter().chain(about_rooms()).collect::<Vec<_>>();
    // A message that is added has to be added here.
    for said in &all {
        match said {
            Peer::Hello(_) | Peer::Message(_) | Peer::Ack(_) | Peer::Ping | Peer::Bye(_) | Peer::Hold(_) => {}
            Peer::Resume | Peer::Rewound | Peer::Skipped(_) | Peer::Part(_) | Peer::PartAck => {}
            Peer::Keep(_) | Peer::Room(_) => {}
        }
    }
    all
}

/// Everything that is said of rooms.
fn about_rooms() -> Vec<Peer> {
    let (hash, signature) = (Hash([7; 32]), Signature([8; 64]));
    let chain = ChainName { author: key(), grant: hash, epoch: 9 };
    let mark = Mark { chain, number: 3, hash };
    let cause = Cause { mark, clock: 5 };
    let entry = |clock, kind, body: &[u8]| Entry {
        clock,
        kind,
        sent: -1,
        causes: vec![cause; usize::from(clock > 1)],
        body: body.to_vec(),
    };
    let entries = vec![
        entry(1, EntryKind::JOIN, b""),
        entry(6, EntryKind::TEXT, b"hello"),
        entry(7, EntryKind(99), &[0; 99]),
    ];
    let headers = || entries.iter().map(Entry::header).collect();
    let stretch = || Stretch { first: 1, previous: Hash::default(), headers: headers(), signature };
    let receipt = ReceiptName { member: key(), epoch: 9, counter: 1 };
    let change = |deed| Change { author: key(), epoch: 9, number: 2, after: vec![hash], deed, signature };
    let deeds = [
        Deed::Found(Found {
            nonce: [1; 32],
            room: name("lab"),
            owner: name("alice"),
            past: Some(Origin { room: RoomKey([2; 32]), ends: vec![hash; 2] }),
        }),
        Deed::Add(Add {
            name: name("bob"),
            key: key(),
            past: vec![Past { mark, clock: 5, ended: false }],
            clock: 8,
            settled: Some(Settled { mark, place: 7 }),
        }),
        Deed::Remove(Remove { key: key(), kept: vec![Kept { epoch: 9, number: 3, hash }] }),
        Deed::Transfer(key()),
        Deed::Accept,
        Deed::Topic("a topic".into()),
    ];
    let all = [
        RoomSays::Have(Have { tips: vec![hash], heads: vec![mark], receipts: vec![receipt], joined: true }),
        RoomSays::Pull(Pull {
            changes: true,
            chains: vec![Wanted { after: 1, up_to: mark }],
            receipts: vec![receipt],
        }),
        RoomSays::Changes(deeds.map(change).to_vec()),
        RoomSays::Run(Run {
            chain,
            first: 1,
            previous: Hash::default(),
            entries: entries.clone(),
            signature,
        }),
        RoomSays::Receipts(vec![Receipt {
            name: receipt,
            covers: vec![mark],
            tips: vec![hash],
            signature,
            settled: Some(mark),
        }]),
        RoomSays::Got(1000),
        RoomSays::Proof(Box::new(Proof { chain, one: stretch(), other: Some(stretch()) })),
    ];
    all.map(|says| Peer::Room(Box::new(AboutRoom { room: RoomKey([6; 32]), says }))).into()
}

/// Every message to discovery.
fn to_discovery() -> Vec<ToDiscovery> {
    let [v4, v6]: [SocketAddr; 2] = ["192.0.2.7:4000", "[2001:db8::1]:65535"].map(|it| it.parse().unwrap());
    let register = |listen, start: Option<u64>, strangers| {
        ToDiscovery::Register(Register {
            port: 4001,
            rtt: 30,
            mapped: start.map(|_| v4),
            local: vec![v4.ip(), v6.ip()],
            dial: 70_000,
            ..Register::new(name("alice"), listen, start, strangers)
        })
    };
    let local = vec![v6.ip(); MAX_LOCAL];
    let many = Register { local, ..Register::new(name("alice"), v4, None, Strangers::Open) };
    let all = vec![
        register(v4, Some(7), Strangers::Open),
        register(v6, None, Strangers::Ask),
        register(v4, Some(u64::MAX), Strangers::All),
        register(v6, Some(0), Strangers::Closed),
        ToDiscovery::Request(Request { name: name("bob"), typed: true }),
        ToDiscovery::Request(Request { name: name("bob"), typed: false }),
        ToDiscovery::Drop(About { name: name("bob") }),
        ToDiscovery::Identify(Identify { key: key() }),
        ToDiscovery::Mate(Mate { key: key(), shares: true }),
        ToDiscovery::Ping,
        ToDiscovery::Logout,
        ToDiscovery::Register(many),
        ToDiscovery::Punch(About { name: name("bob") }),
        ToDiscovery::Relay(About { name: name("bob") }),
    ];
    for said in &all {
        match said {
            ToDiscovery::Register(_) | ToDiscovery::Request(_) | ToDiscovery::Drop(_) => {}
            ToDiscovery::Identify(_) | ToDiscovery::Ping | ToDiscovery::Logout => {}
            ToDiscovery::Punch(_) | ToDiscovery::Relay(_) | ToDiscovery::Mate(_) => {}
        }
    }
    all
}

/// Every message of discovery.
fn to_client() -> Vec<ToClient> {
    let [v4, v6]: [SocketAddr; 2] = ["192.0.2.7:4000", "[2001:db8::1]:65535"].map(|it| it.parse().unwrap());
    let status = |who: &str, address, online, asks, connected| {
        let candidate = |kind| Candidate { address: v4, kind };
        let kinds = [CandidateKind::Mapped, CandidateKind::Lan, CandidateKind::Global];
        let also = if connected { kinds.map(candidate).to_vec() } else { Vec::new() };
        ToClient::Status(Status {
            name: name(who),
            key: key(),
            address,
            online,
            asks,
            connected,
            also,
            room: false,
        })
    };
    let all = vec![
        ToClient::Registered(Registered { address: v4, observed: v6 }),
        ToClient::Refused(Refused { code: RefusedCode::NOT_SAVED, name: Some(name("bob")) }),
        ToClient::Refused(Refused { code: RefusedCode::NAME_TAKEN, name: None }),
        status("bob", Some(v6), Some(true), Asks::No, true),
        status("bob", None, None, Asks::Again, false),
        status("carol", Some(v4), Some(false), Asks::Typed, false),
        ToClient::NoSuchUser(About { name: name("bob") }),
        ToClient::Synced,
        ToClient::Identity(Identity { key: key(), name: None }),
        ToClient::Identity(Identity { key: key(), name: Some(name("bob")) }),
        ToClient::Pong,
        ToClient::Superseded(Registered { address: v6, observed: v4 }),
        ToClient::Dropped(About { name: name("bob") }),
        ToClient::Punch(Punch { name: name("bob"), token: [7; TOKEN], wait: 40, addresses: vec![v4, v6] }),
        ToClient::Relay(Ticket { name: name("bob"), ticket: [7; TOKEN], dials: true, at: None }),
        ToClient::Relay(Ticket { name: name("carol"), ticket: [8; TOKEN], dials: false, at: Some(v6) }),
    ];
    for said in &all {
        match said {
            ToClient::Registered(_)
            | ToClient::Refused(_)
            | ToClient::Status(_)
            | ToClient::NoSuchUser(_) => {}
            ToClient::Synced | ToClient::Identity(_) | ToClient::Pong => {}
            ToClient::Superseded(_) | ToClient::Dropped(_) => {}
            ToClient::Punch(_) | ToClient::Relay(_) => {}
        }
    }
    all
}
