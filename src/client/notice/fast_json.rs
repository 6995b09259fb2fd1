//! The notices that come by the thousand, written as JSON without taking each field through a serializer: a client
//! that streams spent a fifth of its time there. They are what `serde` makes of them, to the byte.

use super::{Body, Notice, time};
use crate::client::addressee::{Addressee, RoomLabel};
use crate::protocol::peer::Cursor;

/// Appends the notice if it is one of these.
pub fn write(notice: &Notice, out: &mut Vec<u8>) -> bool {
    match notice {
        Notice::Message {
            id,
            from,
            text: Body::Text(text),
            sent,
            received,
            replayed,
            stranger,
            room,
            room_id,
            unknown,
        } => {
            event("message", *id, out);
            // Nothing in a name needs to be escaped.
            put(&[r#","from":""#, from.as_str(), r#"","text":"#], out);
            string(text, out);
            for (field, at) in [(r#","sent":""#, sent), (r#","received":""#, received)] {
                time::json_text(*at, |text| put(&[field, text, "\""], out));
            }
            let stranger = if *stranger { r#","stranger":true"# } else { "" };
            put(&[r#","replayed":"#, flag(*replayed), stranger], out);
            if let Some(room) = room {
                put(&[r#","room":""#], out);
                label(room, out);
                put(&["\""], out);
            }
            if let Some(key) = room_id {
                put(&[r#","room_id":""#], out);
                hex(&key.0, out);
                put(&["\""], out);
            }
            put(&[if *unknown { r#","unknown":true}"# } else { "}" }], out);
        }
        Notice::Queued { id, to, linked, text: Body::Text(text), sent, alone } => {
            event("queued", *id, out);
            put(&[r#","to":""#], out);
            match to {
                Addressee::User(name) => put(&[name.as_str()], out),
                Addressee::Room(room) => label(room, out),
            }
            put(&[r#"","linked":"#, flag(*linked), r#","text":"#], out);
            string(text, out);
            time::json_text(*sent, |at| put(&[r#","sent":""#, at, "\""], out));
            put(&[if *alone { r#","alone":true}"# } else { "}" }], out);
        }
        Notice::Spread { id, to, have, of, is_final } => {
            event("delivered", *id, out);
            put(&[r#","to":""#], out);
            label(to, out);
            put(&[r#"","have":"#], out);
            decimal(*have, out);
            put(&[r#","of":"#], out);
            decimal(*of, out);
            put(&[r#","final":"#, flag(*is_final), "}"], out);
        }
        Notice::Delivered { id, to } => {
            event("delivered", *id, out);
            put(&[r#","to":""#, to.as_str(), r#""}"#], out);
        }
        _ => return false,
    }
    true
}

fn put(parts: &[&str], out: &mut Vec<u8>) {
    parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
}

fn flag(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

fn event(event: &str, id: Cursor, out: &mut Vec<u8>) {
    put(&[r#"{"event":""#, event, r#"","id":""#], out);
    hex(&id.epoch.to_be_bytes(), out);
    out.push(b'-');
    decimal(id.number, out);
    out.push(b'"');
}

fn label(room: &RoomLabel, out: &mut Vec<u8>) {
    put(&["#", room.name.as_str()], out);
    if room.number != 1 {
        out.push(b'~');
        decimal(room.number.into(), out);
    }
}

fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    bytes.iter().for_each(|byte| out.extend_from_slice(&[digit(byte >> 4), digit(byte & 0xf)]));
}

pub fn decimal(mut number: u64, out: &mut Vec<u8>) {
    let start = out.len();
    loop {
        out.push(digit((number % 10) as u8));
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.get_mut(start..).unwrap_or_default().reverse();
}

fn digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' + value - 10 }
}

fn string(text: &str, out: &mut Vec<u8>) {
    let plain = |byte: &u8| (*byte >= b' ') & (*byte != b'"') & (*byte != b'\\');
    // Without a way out in the middle, for then many bytes are looked at together.
    if text.as_bytes().iter().fold(true, |all, byte| all & plain(byte)) {
        put(&["\"", text, "\""], out);
    } else {
        let written = serde_json::to_writer(out, text);
        debug_assert!(written.is_ok(), "a Vec takes everything");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::peer::Kind;
    use crate::protocol::room::RoomKey;

    fn body() -> impl Strategy<Value = Body> {
        prop_oneof![any::<String>().prop_map(Body::Text), Just(Body::Unknown(Kind(9), None))]
    }

    fn moment() -> impl Strategy<Value = i64> {
        prop_oneof![any::<i64>(), 0..5_000_i64, -5_000..5_000_i64, 1_700_000_000_000..1_700_000_003_000_i64]
    }

    proptest! {
        #[test]
        fn they_are_what_serde_makes_of_them(peers in prop::collection::vec(
            (
                any::<(u64, u64)>(), "[a-z0-9][a-z0-9._-]{0,31}", body(), moment(), moment(), any::<[bool; 3]>(),
                1..u32::MAX, any::<[u8; 32]>(),
            ), 1..10,
        )) {
            for ((epoch, number), name, text, sent, received, [flag, stranger, in_room], which, key) in peers {
                let (id, peer) = (Cursor { epoch, number }, || name.parse().unwrap());
                let label = || RoomLabel { name: peer(), number: if flag { 1 } else { which } };
                let to = || if in_room { Addressee::Room(label()) } else { Addressee::User(peer()) };
                let unknown = matches!(text, Body::Unknown(..));
                for (notice, fast) in [
                    (Notice::Delivered { id, to: peer() }, true),
                    (
                        Notice::Queued {
                            id,
                            to: to(),
                            linked: flag,
                            text: text.clone(),
                            sent,
                            alone: stranger,
                        },
                        !unknown,
                    ),
                    (Notice::Spread { id, to: label(), have: number, of: epoch, is_final: flag }, true),
                    (
                        Notice::Message {
                            id,
                            from: peer(),
                            text,
                            sent,
                            received,
                            replayed: flag,
                            stranger,
                            room: in_room.then(label),
                            room_id: in_room.then_some(RoomKey(key)),
                            unknown: flag,
                        },
                        !unknown,
                    ),
                ] {
                    let mut out = Vec::new();
                    prop_assert_eq!(write(&notice, &mut out), fast);
                    let slow = if fast { serde_json::to_string(&notice).unwrap() } else { String::new() };
                    prop_assert_eq!(String::from_utf8(out).unwrap(), slow);
                }
            }
        }
    }
}
