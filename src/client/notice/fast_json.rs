//! The notices that come by the thousand, written as JSON without taking each field through a serializer: a client
//! that streams spent a fifth of its time there. They are what `serde` makes of them, to the byte.

use super::{Body, Notice, time};
use crate::protocol::peer::Cursor;

/// Appends the notice if it is one of these.
pub fn write(notice: &Notice, out: &mut Vec<u8>) -> bool {
    match notice {
        Notice::Message { id, from, text: Body::Text(text), sent, received, replayed, stranger } => {
            event("message", *id, out);
            // Nothing in a name needs to be escaped.
            put(&[r#","from":""#, from.as_str(), r#"","text":"#], out);
            string(text, out);
            for (field, at) in [(r#","sent":""#, sent), (r#","received":""#, received)] {
                time::json_text(*at, |text| put(&[field, text, "\""], out));
            }
            let stranger = if *stranger { r#","stranger":true"# } else { "" };
            put(&[r#","replayed":"#, flag(*replayed), stranger, "}"], out);
        }
        Notice::Queued { id, to, linked, .. } => {
            event("queued", *id, out);
            put(&[r#","to":""#, to.as_str(), r#"","linked":"#, flag(*linked), "}"], out);
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
    for byte in id.epoch.to_be_bytes() {
        out.extend_from_slice(&[digit(byte >> 4), digit(byte & 0xf)]);
    }
    out.push(b'-');
    let (start, mut number) = (out.len(), id.number);
    loop {
        out.push(digit((number % 10) as u8));
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.get_mut(start..).unwrap_or_default().reverse();
    out.push(b'"');
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

    fn body() -> impl Strategy<Value = Body> {
        prop_oneof![any::<String>().prop_map(Body::Text), Just(Body::Unknown(Kind(9), None))]
    }

    fn moment() -> impl Strategy<Value = i64> {
        prop_oneof![any::<i64>(), 0..5_000_i64, -5_000..5_000_i64, 1_700_000_000_000..1_700_000_003_000_i64]
    }

    proptest! {
        #[test]
        fn they_are_what_serde_makes_of_them(peers in prop::collection::vec(
            (any::<(u64, u64)>(), "[a-z0-9][a-z0-9._-]{0,31}", body(), moment(), moment(), any::<[bool; 2]>()), 1..10,
        )) {
            for ((epoch, number), name, text, sent, received, [flag, stranger]) in peers {
                let (id, peer) = (Cursor { epoch, number }, || name.parse().unwrap());
                let unknown = matches!(text, Body::Unknown(..));
                for (notice, fast) in [
                    (Notice::Delivered { id, to: peer() }, true),
                    (Notice::Queued { id, to: peer(), linked: flag, text: text.clone(), sent }, true),
                    (
                        Notice::Message { id, from: peer(), text, sent, received, replayed: flag, stranger },
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
