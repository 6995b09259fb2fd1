//! The notices that come by the thousand, written as JSON without taking each field through a serializer: a client
//! that streams spent a fifth of its time there. They are what `serde` makes of them, to the byte.

use super::json::time_text;
use super::{Body, Notice};
use crate::protocol::Name;
use crate::protocol::peer::Cursor;

/// Appends the notice if it is one of these.
pub fn write(notice: &Notice, out: &mut Vec<u8>) -> bool {
    match notice {
        Notice::Message { id, from, text: Body::Text(text), sent, received, replayed } => {
            event("message", *id, out);
            name("from", from, out);
            out.extend_from_slice(b",\"text\":");
            string(text, out);
            time(",\"sent\":\"", *sent, out);
            time(",\"received\":\"", *received, out);
            flag(",\"replayed\":", *replayed, out);
        }
        Notice::Queued { id, to, linked, .. } => {
            event("queued", *id, out);
            name("to", to, out);
            flag(",\"linked\":", *linked, out);
        }
        Notice::Delivered { id, to } => {
            event("delivered", *id, out);
            name("to", to, out);
        }
        _ => return false,
    }
    out.push(b'}');
    true
}

fn event(event: &str, id: Cursor, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"event\":\"");
    out.extend_from_slice(event.as_bytes());
    out.extend_from_slice(b"\",\"id\":\"");
    for byte in id.epoch.to_be_bytes() {
        out.extend_from_slice(&[digit(byte >> 4), digit(byte & 0xf)]);
    }
    out.push(b'-');
    let start = out.len();
    let mut number = id.number;
    loop {
        out.push(digit((number % 10) as u8));
        number /= 10;
        if number == 0 {
            break;
        }
    }
    if let Some(digits) = out.get_mut(start..) {
        digits.reverse();
    }
    out.push(b'"');
}

fn digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' + value - 10 }
}

/// Nothing in a name needs to be escaped.
fn name(field: &str, name: &Name, out: &mut Vec<u8>) {
    for part in [",\"", field, "\":\"", name.as_str(), "\""] {
        out.extend_from_slice(part.as_bytes());
    }
}

fn time(field: &str, milliseconds: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(field.as_bytes());
    time_text(milliseconds, |text| out.extend_from_slice(text.as_bytes()));
    out.push(b'"');
}

fn flag(field: &str, value: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(field.as_bytes());
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

fn string(text: &str, out: &mut Vec<u8>) {
    let plain = |byte: &u8| (*byte >= b' ') & (*byte != b'"') & (*byte != b'\\');
    // Without a way out in the middle, for then many bytes are looked at together.
    if text.as_bytes().iter().fold(true, |all, byte| all & plain(byte)) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
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

    fn body() -> impl Strategy<Value = Body> {
        prop_oneof![any::<String>().prop_map(Body::Text), Just(Body::Unknown(Kind(9)))]
    }

    fn moment() -> impl Strategy<Value = i64> {
        prop_oneof![any::<i64>(), 0..5_000_i64, -5_000..5_000_i64, 1_700_000_000_000..1_700_000_003_000_i64]
    }

    fn notices() -> impl Strategy<Value = [Notice; 3]> {
        let id = any::<(u64, u64)>().prop_map(|(epoch, number)| Cursor { epoch, number });
        let name = "[a-z0-9][a-z0-9._-]{0,31}".prop_map(|name| name.parse::<Name>().unwrap());
        (id, name, body(), moment(), moment(), any::<bool>()).prop_map(
            |(id, peer, text, sent, received, flag)| {
                let (from, to) = (peer.clone(), peer.clone());
                [
                    Notice::Delivered { id, to: peer },
                    Notice::Queued { id, to, linked: flag, text: text.clone(), sent },
                    Notice::Message { id, from, text, sent, received, replayed: flag },
                ]
            },
        )
    }

    proptest! {
        #[test]
        fn they_are_what_serde_makes_of_them(notices in prop::collection::vec(notices(), 1..10)) {
            for notice in notices.into_iter().flatten() {
                let mut out = Vec::new();
                if write(&notice, &mut out) {
                    prop_assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(&notice).unwrap());
                } else {
                    let unknown = matches!(notice, Notice::Message { text: Body::Unknown(_), .. });
                    prop_assert!(unknown && out.is_empty());
                }
            }
        }
    }
}
