//! The test vectors of `docs/protocol.md`, computed anew.

use std::fmt::Write;
use std::time::{Duration, Instant};

use super::*;
use crate::protocol::VERSION;

const DOCUMENT: &str = include_str!("../../../../docs/protocol.md");

/// The seeds, of the dialler and of the listener: the first bytes that make keys of the right sign.
const SEEDS: [[u8; 32]; 2] = [[0x01; 32], [0x04; 32]];
const EPHEMERALS: [[u8; 32]; 2] = [[0x21; 32], [0x22; 32]];
/// `d`, `z` and `m` of FIPS 203.
const KEM: [[u8; 32]; 3] = [[0x31; 32], [0x32; 32], [0x33; 32]];
/// A Ping between peers.
const PLAIN: &[u8] = &[0x82, 0x03, 0x80];

/// A line, or more of them where it would be too long for the document.
fn row(text: &mut String, name: &str, bytes: &[u8]) {
    write!(text, "{name:23} ").unwrap();
    for (number, line) in bytes.chunks(48).enumerate() {
        if number > 0 {
            write!(text, "{:23} ", "").unwrap();
        }
        line.iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
        text.push('\n');
    }
}

fn keys() -> String {
    let mut text = String::new();
    for (side, seed, ephemeral) in
        [("dialler", SEEDS[0], EPHEMERALS[0]), ("listener", SEEDS[1], EPHEMERALS[1])]
    {
        let keypair = Keypair::from_secret(&seed).unwrap();
        let clamped = curve25519_dalek::scalar::clamp_integer(*keypair.x25519());
        for (what, bytes) in [
            ("seed", seed),
            ("key", keypair.public().0),
            ("X25519 secret", clamped),
            ("X25519 key", keypair.public().x25519().unwrap()),
            ("ephemeral", ephemeral),
        ] {
            row(&mut text, &format!("{side} {what}"), &bytes);
        }
    }
    for (name, bytes) in ["d", "z", "m"].into_iter().zip(KEM) {
        row(&mut text, &format!("ML-KEM {name}"), &bytes);
    }
    text
}

fn handshake(purpose: Purpose) -> String {
    let [dialler, listener] = SEEDS.map(|seed| Keypair::from_secret(&seed).unwrap());
    let (remote, offer) = (Some(listener.public()), Offer::highest(&[VERSION]));
    let random = |parts: &[[u8; 32]]| parts.concat();
    let (dz, m) = (random(&KEM[..2]), random(&KEM[2..]));
    let dz = Zeroizing::new(dz.try_into().unwrap());
    let m = Zeroizing::new(m.try_into().unwrap());
    let (mut initiator, first) =
        Initiator::start_with(purpose, &dialler, remote, &offer, dz, Some(&EPHEMERALS[0])).unwrap();
    let offered = offer.encoded().len();
    let (responder, second) =
        Responder::answer_with(purpose, &listener, &offer, &first[offered..], m, Some(&EPHEMERALS[1]))
            .unwrap();
    let (third, _) = initiator.prove(&second[1..]).unwrap();
    let mut text = String::new();
    row(&mut text, "prologue", &offer.prologue(purpose));
    row(&mut text, "offer", &first[..offered]);
    row(&mut text, "message 1", &first[offered..]);
    row(&mut text, "answer", &second[..1]);
    row(&mut text, "message 2", &second[1..]);
    row(&mut text, "message 3", &third);
    row(&mut text, "handshake hash", initiator.noise.get_handshake_hash());
    let mut session = session(initiator.noise, listener.public(), VERSION).unwrap();
    let other = responder.finish(&third).unwrap();
    assert_eq!(other.remote, dialler.public());
    let mut frame = |after: Duration| {
        let mut wire = Vec::new();
        session.sealer.seal_at(Instant::now() + after, PLAIN, &mut wire).unwrap();
        wire
    };
    row(&mut text, "frame", &frame(Duration::ZERO));
    let frames = frame(Duration::from_secs(3601));
    let (mark, next) = frames.split_at(2 + TAG);
    row(&mut text, "mark", mark);
    row(&mut text, "frame, new key", next);
    text
}

#[test]
fn the_vectors_of_the_document_are_right() {
    let [xx, xk] = [Purpose::Rendezvous, Purpose::Peer].map(handshake);
    for (what, block) in [("keys", keys()), ("XX", xx), ("XK", xk)] {
        assert!(DOCUMENT.contains(&format!("```\n{block}```\n")), "{what} must be:\n{block}");
    }
}
