//! Notices as JSON, for scripts.

use serde::{Serialize, Serializer};

use super::{Body, Told, fast_json};
use crate::terminal::{is_invisible, is_unsafe};

impl Told {
    /// Appends it as one line of JSON.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let mut written = if fast_json::write(&self.notice, out) {
            Ok(())
        } else {
            serde_json::to_writer(&mut *out, &self.notice)
        };
        // Every notice is an object with a field.
        out.pop();
        out.extend_from_slice(b",\"seq\":");
        fast_json::decimal(self.seq.unsigned_abs(), out);
        if let Some(reference) = &self.reference {
            out.extend_from_slice(b",\"ref\":");
            written = written.and_then(|()| serde_json::to_writer(&mut *out, reference));
        }
        out.push(b'}');
        debug_assert!(written.is_ok(), "a Vec takes everything, and every key is a string");
        escape_json(out, start);
        out.push(b'\n');
    }
}

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Unknown(..) => serializer.serialize_none(),
        }
    }
}

/// JSON leaves DEL, C1 controls and the like as they are; written as escapes they mean the same and do
/// nothing to a terminal. They can only stand inside strings.
fn escape_json(out: &mut Vec<u8>, start: usize) {
    let written = out.get(start..).unwrap_or_default();
    // Without a way out in the middle, for then many bytes are looked at together.
    if written.iter().fold(true, |safe, byte| safe & (b' '..0x7f).contains(byte)) {
        return;
    }
    let json = String::from_utf8_lossy(written).into_owned();
    out.truncate(start);
    for c in json.chars() {
        if is_unsafe(c) || is_invisible(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
            }
        } else {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}
