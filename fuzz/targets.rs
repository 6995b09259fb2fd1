//! What is fuzzed: each function takes any bytes and panics if something does not hold.
//!
//! They stand here once for both that call them: the fuzzer (`fuzz_targets/`) and the short run on the stable
//! toolchain (`tests/hostile/fuzz.rs`).

use std::fmt::Debug;
use std::io::Write;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use minicbor::{Decode, Encode};
use peerchat::client::command::{self, Command, MAX_LINE, MAX_REFERENCE, Reference, json};
use peerchat::client::event::{Action, Input, Path, Reached};
use peerchat::client::network::mapping::exchange::Answer;
use peerchat::client::network::mapping::http::{self, Place};
use peerchat::client::network::mapping::{Grant, Wanted, natpmp, pcp, upnp};
use peerchat::client::node::{Node, Setup};
use peerchat::client::notice::{
    Body, Code, ErrorNotice, HistoryLine, Look, Notice, OutboxLine, Told, UpDown,
};
use peerchat::protocol::peer::{Cursor, Hello, Kind, Peer, Via};
use peerchat::protocol::rendezvous::{Strangers, ToClient, ToDiscovery};
use peerchat::protocol::room::RoomKey;
use peerchat::protocol::{MAX_PEER_FRAME, MAX_TEXT, Name, VERSION, codec};
use peerchat::store::journal::Journal;
use peerchat::store::journal::{Identity, Standing};
use peerchat::time::{Instant, Now};
use peerchat::transport::Route;
use peerchat::transport::noise::{
    self, HandshakeError, Initiator, Keypair, MAX_VERSIONS, Offer, Purpose, Responder, Session,
};

/// A function that takes any bytes.
pub type Target = fn(&[u8]);

/// Every target under its name.
pub const ALL: &[(&str, Target)] = &[
    ("peer_frame", peer_frame),
    ("to_discovery_frame", to_discovery_frame),
    ("to_client_frame", to_client_frame),
    ("handshake", handshake),
    ("offer", offer),
    ("kem", kem),
    ("changed_handshake", changed_handshake),
    ("sealed_frames", sealed_frames),
    ("node", node),
    ("name", name),
    ("command_line", command_line),
    ("json_command", json_command),
    ("notice", notice),
    ("mapping", mapping),
];

/// A frame from a peer.
pub fn peer_frame(data: &[u8]) {
    frame::<Peer>(data);
}

/// A frame from a client, as discovery reads it.
pub fn to_discovery_frame(data: &[u8]) {
    frame::<ToDiscovery>(data);
}

/// A frame from discovery, as a client reads it.
pub fn to_client_frame(data: &[u8]) {
    frame::<ToClient>(data);
}

/// What is taken is understood: written again it reads the same. And it takes no more memory than it came in.
fn frame<T: for<'b> Decode<'b, ()> + Encode<()> + PartialEq + Debug>(data: &[u8]) {
    let Ok(messages) = codec::decode::<T>(data) else {
        return;
    };
    // The shortest message is an array of a number and an empty array.
    assert!(messages.len() <= data.len() / 3);
    let mut again = Vec::new();
    messages.iter().for_each(|message| codec::encode(message, &mut again));
    assert_eq!(codec::decode::<T>(&again).expect("reads what was written"), messages);
}

/// The first bytes of a stranger, in each of the four roles that a program can meet one in: the first byte of the
/// data says which.
pub fn handshake(data: &[u8]) {
    let (own, other) = keys();
    let Some((role, said)) = data.split_first() else {
        return;
    };
    // A pair of sockets in memory; the deadline is far beyond what reading them takes.
    let (near, mut far) = UnixStream::pair().expect("a pair of sockets");
    let near = TcpStream::from(OwnedFd::from(near));
    // What else would have to be guessed before a message is looked at.
    let before: &[u8] = match role & 6 {
        4 => &[VERSION, 1, VERSION],
        6 => &[VERSION],
        _ => &[],
    };
    far.write_all(&[before, said].concat()).expect("the kernel holds a handshake");
    far.shutdown(Shutdown::Write).expect("the pair is open");
    let deadline = noise::Deadline::of_handshake();
    let purpose = if role & 1 == 0 { Purpose::Peer } else { Purpose::Rendezvous };
    let session = if role & 2 == 0 {
        noise::respond(&near, purpose, own, deadline)
    } else {
        noise::initiate(&near, purpose, own, Some(other.public()), deadline)
    };
    match session {
        Ok(_) => panic!("a session with a peer that holds no key"),
        Err(HandshakeError::Version { theirs }) => assert_ne!(theirs, VERSION),
        Err(error) => assert!(!error.to_string().contains(unsafe_to_show)),
    }
}

fn keys() -> &'static (Keypair, Keypair) {
    static KEYS: OnceLock<(Keypair, Keypair)> = OnceLock::new();
    KEYS.get_or_init(|| {
        let key = || Keypair::generate().expect("the system has random bytes");
        (key(), key())
    })
}

/// What a dialler offers, to a program that speaks two versions.
pub fn offer(data: &[u8]) {
    const SPOKEN: [u8; 2] = [2, 3];
    let mut rest = data;
    match Offer::read(&mut rest, &SPOKEN) {
        Ok(offer) => {
            let read = &data[..data.len() - rest.len()];
            assert_eq!(offer.encoded(), read);
            let (chosen, versions) = (read[0], &read[2..]);
            assert!((1..=MAX_VERSIONS).contains(&versions.len()));
            assert!(versions.contains(&chosen) && SPOKEN.contains(&chosen));
            assert!(chosen == 3 || !versions.contains(&3), "the highest that both speak");
        }
        Err(HandshakeError::Version { theirs }) => assert!(!SPOKEN.contains(&theirs)),
        Err(error) => assert!(!error.to_string().contains(unsafe_to_show)),
    }
}

/// The payloads of the first two messages of a handshake: the first two bytes say where the others stand in a good one.
pub fn kem(data: &[u8]) {
    use noise::kem::{CIPHERTEXT, Decapsulation, KEY, encapsulate};
    static GOOD: OnceLock<(Decapsulation, [u8; KEY])> = OnceLock::new();
    let (secret, good) = GOOD.get_or_init(|| Decapsulation::generate(&[1; 64]));
    let Some((place, bytes)) = data.split_first_chunk::<2>() else {
        return;
    };
    let place = usize::from(u16::from_be_bytes(*place));
    let mut key = good.to_vec();
    key.truncate(place);
    key.extend_from_slice(bytes);
    key.extend_from_slice(good.get(key.len()..).unwrap_or_default());
    // Two numbers of 12 bits in three bytes, then 32 bytes that may be any.
    let numbers = key.get(..KEY - 32).unwrap_or_default().chunks_exact(3);
    let below = |[low, middle, high]: [u8; 3]| {
        let one = u16::from(low) | u16::from(middle & 15) << 8;
        let other = u16::from(middle) >> 4 | u16::from(high) << 4;
        one < 3329 && other < 3329
    };
    let valid = key.len() == KEY && numbers.into_iter().all(|three| below([three[0], three[1], three[2]]));
    let encapsulated = encapsulate(&key, &[2; 32]);
    assert_eq!(encapsulated.is_some(), valid);
    if let Some((mut ciphertext, shared)) = encapsulated {
        assert_eq!(secret.decapsulate(&ciphertext).is_some_and(|it| it == shared), key == good.as_slice());
        let place = place % CIPHERTEXT;
        ciphertext[place..].iter_mut().zip(bytes).for_each(|(byte, other)| *byte ^= other);
        assert!(secret.decapsulate(&ciphertext).is_some());
    }
    assert!(secret.decapsulate(data).is_none() || data.len() == CIPHERTEXT);
}

/// A handshake with a network between the two that changes one message or none: the first byte says which, the second
/// how, the next two where, the others to what.
pub fn changed_handshake(data: &[u8]) {
    let Some(([which, how, place @ ..], bytes)) = data.split_first_chunk::<4>() else {
        return;
    };
    let purpose = if which & 1 == 0 { Purpose::Peer } else { Purpose::Rendezvous };
    let place = usize::from(u16::from_be_bytes(*place));
    let mut changed = false;
    let mut pass = |number: u8, message: &mut Vec<u8>| {
        if which >> 1 & 3 == number {
            let before = message.clone();
            change(message, *how, place, bytes);
            changed = *message != before;
        }
        changed
    };
    let (own, other) = keys();
    let (initiator, mut first) =
        Initiator::start(purpose, own, Some(other.public()), &Offer::highest(&[VERSION]))
            .expect("a good key");
    let changed = pass(0, &mut first);
    let mut said = first.as_slice();
    let Ok(offer) = Offer::read(&mut said, &[VERSION]) else {
        return assert!(changed);
    };
    let Ok((responder, mut second)) = Responder::answer(purpose, other, &offer, said) else {
        return assert!(changed);
    };
    let mut answer = second.split_off(1);
    let changed = pass(1, &mut answer);
    let Ok((mut third, mut near)) = initiator.finish(&answer) else {
        return assert!(changed);
    };
    let changed = pass(2, &mut third);
    let Ok(mut far) = responder.finish(&third) else {
        return assert!(changed);
    };
    assert!(!changed, "a handshake that was changed went through");
    assert_eq!((near.remote, far.remote), (other.public(), own.public()));
    let mut wire = Vec::new();
    near.sealer.seal(b"said", &mut wire).expect("it is short");
    assert_eq!(far.opener.read(&mut wire.as_slice(), 16, 16).expect("it is good"), Some(&b"said"[..]));
}

/// What a network can do to bytes that it carries: changes, drops, adds or replaces some.
fn change(message: &mut Vec<u8>, how: u8, place: usize, bytes: &[u8]) {
    let at = place % (message.len() + 1);
    let end = message.len().min(at + bytes.len());
    match how & 3 {
        0 => message[at..].iter_mut().zip(bytes).for_each(|(byte, other)| *byte ^= other),
        1 => drop(message.drain(at..end)),
        2 => drop(message.splice(at..at, bytes.iter().copied())),
        _ => drop(message.splice(at..end, bytes.iter().copied())),
    }
}

/// Frames under keys that change, on a wire that changes some of it or nothing: the first byte says how, the next two
/// where, the fourth to how many bytes, and the others which frames.
pub fn sealed_frames(data: &[u8]) {
    static SESSIONS: Mutex<Option<(Session, Session)>> = Mutex::new(None);
    let Some(([how, place @ .., many], frames)) = data.split_first_chunk::<4>() else {
        return;
    };
    let mut sessions = SESSIONS.lock().unwrap_or_else(PoisonError::into_inner);
    // Those of the last run go on if they still can.
    let (mut near, mut far) = sessions.take().unwrap_or_else(a_session);
    let (mut wire, mut sealed) = (Vec::new(), Vec::new());
    for frame in frames.iter().take(64) {
        if frame & 3 == 0 {
            near.sealer.change_key(&mut wire).expect("a mark can be sealed");
        } else {
            let plain = vec![*frame; usize::from(*frame) * usize::from(*many % 16) + 1];
            near.sealer.seal(&plain, &mut wire).expect("it is short");
            sealed.push(plain);
        }
    }
    let (honest, place) = (wire.clone(), usize::from(u16::from_be_bytes(*place)));
    // A part of it once more, which is how frames are replayed; or any bytes.
    let from = honest.len() * usize::from(how >> 3) / 32;
    let part = honest.get(from..).unwrap_or_default().iter().copied();
    let some: Vec<u8> = if how & 4 == 0 { part.collect() } else { vec![how | 1; usize::from(*many)] };
    change(&mut wire, *how, place, some.get(..usize::from(*many)).unwrap_or(&some));
    let (mut stream, mut opened) = (wire.as_slice(), 0);
    loop {
        match far.opener.read(&mut stream, MAX_PEER_FRAME, 512) {
            Ok(Some(plain)) => {
                assert_eq!(Some(plain), sealed.get(opened).map(Vec::as_slice));
                opened += 1;
            }
            // A wire that ends between two frames.
            Ok(None) if wire != honest => return assert!(opened <= sealed.len()),
            Ok(None) => break assert_eq!(opened, sealed.len()),
            Err(_) => return assert!(wire != honest),
        }
    }
    *sessions = Some((near, far));
}

fn a_session() -> (Session, Session) {
    let (dialler, dialled) = keys();
    let offer = Offer::highest(&[VERSION]);
    let (initiator, first) =
        Initiator::start(Purpose::Peer, dialler, Some(dialled.public()), &offer).expect("a good key");
    let (responder, second) =
        Responder::answer(Purpose::Peer, dialled, &offer, &first[3..]).expect("a good message");
    let (third, near) = initiator.finish(&second[1..]).expect("a good message");
    (near, responder.finish(&third).expect("a good message"))
}

/// A peer or discovery says anything to a client that has a contact, `bob`, and messages for him: the first byte says who
/// says it and how they stand, the others are two frames of the same messages. What is told is safe to show, and the
/// journal takes all that is to be kept.
pub fn node(data: &[u8]) {
    thread_local! {
        static JOURNAL: Journal = {
            let name = "alice".parse().expect("a name");
            Journal::in_memory(&name, &keys().0).expect("there is memory")
        };
    }
    let Some((who, frame)) = data.split_first() else {
        return;
    };
    let (link, session) = (1, 2);
    let says = || {
        Some(if who & 1 == 0 {
            Input::LinkSays(link, codec::decode(frame).ok()?)
        } else {
            Input::RendezvousSays(session, codec::decode(frame).ok()?)
        })
    };
    let (Some(once), Some(twice)) = (says(), says()) else {
        return;
    };
    let bob: Name = "bob".parse().expect("a name");
    let key = keys().1.public();
    let standing = if who & 2 == 0 { Standing::Contact } else { Standing::Stranger };
    JOURNAL.with(|journal| {
        journal.begin().expect("there is none yet");
        let contact = journal.add_contact(&bob, standing).expect("it is the first").id;
        let identity = Identity { key: Some(key), standing, ..Identity::default() };
        journal.save_identity(contact, &identity).expect("there is memory");
        let address = SocketAddr::from(([192, 0, 2, 1], 4000));
        let route = Route::Direct { remote: address };
        let dialled = (who & 4 == 0).then_some(contact);
        let chat = || Input::typed(command::parse("CHAT bob hi").expect("a command"));
        let (name, cursors, hold, via, linked) = (bob.clone(), Vec::new(), None, Via::Direct, true);
        let hello =
            Hello { name, epoch: 7, port: 4000, window: 1 << 20, cursors, hold, via, linked, room: false };
        let mut greeting = vec![Peer::Hello(hello)];
        greeting.extend((key < keys().0.public()).then_some(Peer::Keep(1)));
        let path = Path { local: address, remote: address, rtt: Duration::ZERO, own: Vec::new() };
        let inputs = [
            vec![chat()],
            vec![Input::LinkUp { link, key, version: VERSION, dialled, route, budget: 1 << 18 }],
            vec![Input::RendezvousUp { session, key: keys().0.public(), path, reached: Reached::default() }],
            if who & 8 == 0 { vec![Input::LinkSays(link, greeting)] } else { Vec::new() },
            vec![once],
            vec![chat(), twice],
            vec![],
            vec![Input::LinkClosed(link)],
        ];
        let setup = Setup {
            name: "alice".parse().expect("a name"),
            keypair: keys().0.clone(),
            listen: address,
            endpoints: ["localhost:7667".to_owned()].into(),
            discovery_key: None,
            strangers: if who & 16 == 0 { Strangers::Open } else { Strangers::All },
            linger: None,
            silent: false,
            segment: 5,
            epoch: 1,
            seed: 1,
        };
        let mut now = Now { mono: Instant::START, wall: 1_700_000_000_000 };
        let mut node = Node::new(setup, now, journal).expect("the journal is good");
        for inputs in inputs {
            // Each turn is of another second, so that what waits comes due.
            now = Now { mono: now.mono + Duration::from_secs(1), wall: now.wall + 1000 };
            for input in &inputs {
                node.handle(now, journal, input).expect("the journal takes it");
            }
            node.finish(now, journal).expect("the journal takes it");
            for action in node.committed() {
                if let Action::Print(told) = action {
                    told.iter().for_each(|told| drop(written(&told.notice)));
                }
            }
            node.handle(now, journal, &Input::Printed).expect("the journal takes it");
        }
        journal.rollback();
    });
}

/// A name, or an error that is safe to show.
pub fn name(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match text.parse::<Name>() {
        Ok(name) => {
            assert_eq!(name.as_str(), text);
            assert!((1..=32).contains(&text.len()));
            let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
            assert!(text.bytes().all(fits) && !text.starts_with(['.', '_', '-']));
        }
        Err(error) => shown_safely(&error.to_string()),
    }
}

/// A typed line.
pub fn command_line(data: &[u8]) {
    let line = String::from_utf8_lossy(data);
    if line.len() > MAX_LINE {
        return;
    }
    match command::parse(&line) {
        None => assert!(line.trim().is_empty()),
        Some(Ok(Command::Line { text, otherwise, instead, meant })) => {
            assert!(!meant && instead.is_none() && line.ends_with(&text) && line.len() <= text.len() + 1);
            match *otherwise {
                Ok(command) => assert!(!matches!(command, Command::Line { .. })),
                Err(error) => shown_safely(&error.to_string()),
            }
        }
        Some(Ok(command)) => {
            if let Command::Chat(_, text) = &command {
                assert!(!text.is_empty() && text.len() <= MAX_TEXT && line.ends_with(text.as_str()));
            }
            let shown = command.to_string();
            assert!(!shown.contains(unsafe_to_show));
            // Its short form means the same, as far as it has no text.
            let again = command::parse(&shown);
            match command {
                Command::Chat(who, _) => assert_eq!(again, Some(Ok(Command::Converse(Some(who))))),
                Command::Search { .. } | Command::Topic(..) => assert!(matches!(again, Some(Err(_)))),
                Command::Trust(who, _) => assert_eq!(again, Some(Ok(Command::Trust(who, None)))),
                Command::TrustDiscovery(_) => assert_eq!(again, Some(Ok(Command::TrustDiscovery(None)))),
                Command::Verify(who, _) => assert_eq!(again, Some(Ok(Command::Verify(who, None)))),
                Command::History(who, _) => {
                    assert!(matches!(again, Some(Ok(Command::History(other, _))) if who == other));
                }
                command => assert_eq!(again, Some(Ok(command))),
            }
        }
        Some(Err(error)) => shown_safely(&error.to_string()),
    }
}

/// A line of a script.
pub fn json_command(data: &[u8]) {
    let line = String::from_utf8_lossy(data);
    if line.len() > json::MAX_LINE {
        return;
    }
    let (reference, command) = json::parse(&line);
    if let Some(Reference::Text(text)) = reference {
        assert!(text.len() <= MAX_REFERENCE);
    }
    match command {
        Ok(Command::Chat(_, text)) => assert!(!text.trim().is_empty() && text.len() <= MAX_TEXT),
        Ok(command) => assert!(!command.to_string().contains(unsafe_to_show)),
        Err(error) => {
            assert!(!error.to_string().contains(char::is_control));
            shown_safely(&error.to_string());
        }
    }
}

/// A body from a peer and texts from elsewhere, as they are shown: the first ten bytes are numbers.
pub fn notice(data: &[u8]) {
    let Some((numbers, said)) = data.split_first_chunk::<10>() else {
        return;
    };
    let [a, b, time @ ..] = *numbers;
    // Text half of the time, for nothing else is shown.
    let kind = if a & 1 == 0 { Kind::TEXT } else { Kind(u16::from_be_bytes([a, b])) };
    let sent = i64::from_be_bytes(time);
    let received = if b & 1 == 0 { 0 } else { sent };
    let id = Cursor { epoch: sent.unsigned_abs(), number: u64::from(b) };
    let peer: Name = "bob".parse().expect("a name");
    let text = Body::new(kind, said);
    let lossy = String::from_utf8_lossy(said);
    let (replayed, stranger, unknown) = (b & 2 == 0, b & 8 == 0, b & 16 == 0);
    let room = (b & 32 == 0).then(|| "#lab".parse().expect("a room"));
    let room_id = room.as_ref().map(|_| RoomKey([b; 32]));
    let message = Notice::Message {
        id,
        from: peer.clone(),
        text: text.clone(),
        sent,
        received,
        replayed,
        stranger,
        room,
        room_id,
        unknown,
    };
    let json = written(&message);
    let expected = matches!(text, Body::Text(_)).then(|| lossy.as_ref());
    assert_eq!(json["text"].as_str(), expected);
    let history = HistoryLine {
        seq: 1,
        id,
        from: peer.clone(),
        text: text.clone(),
        sent,
        received: None,
        delivered: false,
    };
    let json = written(&Notice::History { peer: peer.clone(), messages: vec![history] });
    assert_eq!(json["messages"][0]["text"].as_str(), expected);
    let line = OutboxLine { id, to: peer.clone().into(), text, sent };
    written(&Notice::Outbox { waiting: 1, messages: vec![line] });
    let state = if b & 4 == 0 { UpDown::Up } else { UpDown::Down };
    written(&Notice::Discovery { state, detail: lossy.clone().into_owned() });
    shown_safely(&lossy);
}

/// What a router says that is asked for a port: in datagrams, over HTTP, in XML.
pub fn mapping(data: &[u8]) {
    let outer = None;
    let wanted = Wanted { port: 7000, nonce: *b"abcdefghijkl", outer };
    if let Answer::Granted(Grant { outer, lifetime }) = pcp::answer(data, &wanted, false) {
        assert!(data.len() >= 60 && data[24..36] == wanted.nonce);
        assert!(outer.port() != 0 && lifetime != 0);
    }
    if let Answer::Granted((port, lifetime)) = natpmp::mapping(data, wanted.port, false) {
        assert!(data.len() == 16 && port != 0 && lifetime != 0);
    }
    if let Answer::Granted(ip) = natpmp::address(data) {
        assert_eq!(data[8..], ip.octets());
    }
    let router = Ipv4Addr::new(192, 168, 1, 1);
    let safe = |place: &Place| {
        assert_eq!(*place.at.ip(), router);
        assert!(place.path.starts_with('/') && place.path.bytes().all(|byte| byte.is_ascii_graphic()));
    };
    upnp::location(data, router).iter().for_each(safe);
    let described = Place { at: SocketAddrV4::new(router, 5000), path: "/root.xml".into() };
    let description = |text: &str| {
        if let Some(service) = upnp::service(text, &described) {
            safe(&service.control);
            assert!(service.kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":-".contains(&byte)));
        }
    };
    for (_, body) in [false, true].into_iter().filter_map(|ended| http::read(data, ended)) {
        // Bytes that are no text become three each.
        assert!(body.len() <= 3 * data.len());
        description(&body);
    }
    description(&String::from_utf8_lossy(data));
}

fn shown_safely(text: &str) {
    let message = text.to_owned();
    let error = ErrorNotice { text: Some(text.to_owned()), ..ErrorNotice::new(Code::Refused, message) };
    let json = written(&Notice::Error(error));
    assert_eq!(json["text"].as_str(), Some(text));
}

/// Writes a notice both ways: neither does anything to a terminal, the JSON is one line, and no line of a text can
/// pass for one of another user's.
fn written(notice: &Notice) -> serde_json::Value {
    let mut text = Vec::new();
    notice.write_text(&Look::default(), &mut text);
    let text = String::from_utf8(text).expect("text is UTF-8");
    // Some are for scripts alone.
    assert!(text.is_empty() || text.ends_with('\n'));
    assert!(!text.contains(|c| c != '\n' && unsafe_to_show(c)));
    let own = |line: &str| line.starts_with(['*', '!', '[']) || line.starts_with("    ");
    assert!(text.lines().all(own), "{text}");
    // In rows as well: what is no line of the program's own is indented.
    let (look, mut rows) = (Look { width: Some(40), ..Look::default() }, Vec::new());
    notice.write_text(&look, &mut rows);
    let rows = String::from_utf8(rows).expect("rows are UTF-8");
    assert!(rows.lines().all(|row| row.is_empty() || own(row)), "{rows}");
    let mut json = Vec::new();
    Told::from(notice.clone()).write_json(&mut json);
    let json = String::from_utf8(json).expect("JSON is UTF-8");
    let line = json.strip_suffix('\n').expect("a line");
    assert!(!line.contains(unsafe_to_show));
    assert!(Told::read_json(line.as_bytes()).is_ok(), "{line}");
    serde_json::from_str(line).expect("JSON")
}

/// Control characters, and what changes the direction of the text around it. Said again here, so that the program's own
/// list is not its own witness.
fn unsafe_to_show(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
