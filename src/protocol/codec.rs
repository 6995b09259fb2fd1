//! How messages stand in a frame: one CBOR item (RFC 8949) after the other, until the frame ends.
//!
//! Structures are maps with small integers as keys, so that a later version can add a field and an
//! earlier one skips it. What CBOR leaves open and an attacker could use is closed here, before a
//! decoder sees the item: only definite lengths, no tags, keys that are integers in rising order
//! (so none twice), and at most [`MAX_DEPTH`] levels.

use minicbor::{Decode, Decoder, Encode};

pub mod lists;

/// How deep arrays and maps may be nested in one item.
pub const MAX_DEPTH: u32 = 14;

/// How many items a frame may hold. What is decoded takes more memory than what was sent, and many small
/// messages take as much work as large ones.
pub const MAX_ITEMS: usize = 1024;

/// A frame that can't be what an honest sender wrote.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// It is not CBOR, ends too early, or a field is not of its type.
    #[error("malformed message: {0}")]
    Malformed(#[from] minicbor::decode::Error),
    /// It is CBOR, but outside the subset that is used here.
    #[error("malformed message: {0}")]
    Forbidden(&'static str),
}

/// Appends `message` to `frame`.
pub fn encode<T: Encode<()>>(message: &T, frame: &mut Vec<u8>) {
    let written = minicbor::encode(message, frame);
    debug_assert!(written.is_ok(), "a Vec takes everything, and no message has a failure of its own");
}

/// The messages in `frame`, in order. A kind of message that this version does not know is passed
/// over: it was added by a later one.
///
/// # Errors
/// The first item that is malformed; nothing of the frame is to be used then.
pub fn decode<'b, T: Decode<'b, ()>>(frame: &'b [u8]) -> Result<Vec<T>, CodecError> {
    let mut messages = Vec::new();
    let mut rest = frame;
    while !rest.is_empty() {
        if messages.len() >= MAX_ITEMS {
            return Err(CodecError::Forbidden("too many messages in one frame"));
        }
        let length = check(rest, MAX_DEPTH)?;
        let (bytes, behind) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        rest = behind;
        let mut item = Decoder::new(bytes);
        match item.decode() {
            Ok(message) if item.position() == length => messages.push(message),
            Ok(_) => return Err(CodecError::Forbidden("a message shorter than its item")),
            Err(error) if error.is_unknown_variant() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(messages)
}

/// The length of the item that `bytes` begin with, if it is in the subset described above.
///
/// It reads the heads of the items itself: with a general decoder that took longer than decoding.
fn check(bytes: &[u8], depth: u32) -> Result<usize, CodecError> {
    let truncated = || CodecError::Forbidden("cut off");
    let (head, value) = head(bytes)?;
    let deeper = || depth.checked_sub(1).ok_or(CodecError::Forbidden("nested too deeply"));
    let rest = |at: usize| bytes.get(at..).ok_or_else(truncated);
    let mut at = head;
    match bytes.first().map(|first| first >> 5) {
        // Numbers.
        Some(0 | 1) => {}
        // Bytes and text.
        Some(2 | 3) => {
            let length = usize::try_from(value).map_err(|_| truncated())?;
            at = at.checked_add(length).filter(|end| *end <= bytes.len()).ok_or_else(truncated)?;
        }
        // An array.
        Some(4) => {
            let depth = deeper()?;
            for _ in 0..value {
                at += check(rest(at)?, depth)?;
            }
        }
        // A map.
        Some(5) => {
            let depth = deeper()?;
            let mut last = None;
            for _ in 0..value {
                let key = rest(at)?;
                if key.first().is_none_or(|first| first >> 5 != 0) {
                    return Err(CodecError::Forbidden("a map key that is no number"));
                }
                let (length, key) = self::head(key)?;
                if Some(key) <= last {
                    return Err(CodecError::Forbidden("map keys out of order"));
                }
                last = Some(key);
                at += length;
                at += check(rest(at)?, depth)?;
            }
        }
        Some(6) => return Err(CodecError::Forbidden("tag")),
        // False, true, null, floating point numbers.
        _ => {}
    }
    Ok(at)
}

/// The length of an item's head, and the number in it.
fn head(bytes: &[u8]) -> Result<(usize, u64), CodecError> {
    let truncated = || CodecError::Forbidden("cut off");
    let (first, rest) = bytes.split_first().ok_or_else(truncated)?;
    let length = match first & 0x1f {
        value @ 0..24 => return Ok((1, value.into())),
        24 => 1,
        25 => 2,
        26 => 4,
        27 => 8,
        31 => return Err(CodecError::Forbidden("indefinite length")),
        _ => return Err(CodecError::Forbidden("a reserved length")),
    };
    let number = rest.get(..length).ok_or_else(truncated)?;
    Ok((1 + length, number.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))))
}

/// Socket addresses as 6 bytes (IPv4) or 18 (IPv6): the address, then the port, both in network order.
pub mod address {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

    use minicbor::decode::{Decoder, Error};
    use minicbor::encode::{Encoder, Write};

    pub fn encode<C, W: Write>(
        address: &SocketAddr,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        let port = address.port().to_be_bytes();
        match address.ip() {
            IpAddr::V4(ip) => e.bytes(&[&ip.octets()[..], &port].concat())?.ok(),
            IpAddr::V6(ip) => e.bytes(&[&ip.octets()[..], &port].concat())?.ok(),
        }
    }

    pub fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<SocketAddr, Error> {
        let at = d.position();
        let bytes = d.bytes()?;
        let read = || {
            let (ip, port) = bytes.split_last_chunk::<2>()?;
            let ip = match ip.len() {
                4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(ip).ok()?)),
                16 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(ip).ok()?)),
                _ => return None,
            };
            Some(SocketAddr::new(ip, u16::from_be_bytes(*port)))
        };
        read().ok_or_else(|| Error::message("an address has 6 or 18 bytes").at(at))
    }

    /// The same for an address that may be missing.
    pub mod option {
        use super::{Decoder, Encoder, Error, SocketAddr, Write};

        pub fn encode<C, W: Write>(
            address: &Option<SocketAddr>,
            e: &mut Encoder<W>,
            context: &mut C,
        ) -> Result<(), minicbor::encode::Error<W::Error>> {
            match address {
                Some(address) => super::encode(address, e, context),
                None => e.null()?.ok(),
            }
        }

        pub fn decode<C>(d: &mut Decoder<'_>, context: &mut C) -> Result<Option<SocketAddr>, Error> {
            if d.datatype()? == minicbor::data::Type::Null {
                return d.null().map(|()| None);
            }
            super::decode(d, context).map(Some)
        }

        // How the derive macros ask what a missing field stands for, and whether one may be missing.
        pub fn nil() -> Option<Option<SocketAddr>> {
            Some(None)
        }
        pub fn is_nil(address: &Option<SocketAddr>) -> bool {
            address.is_none()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_let_through_is_as_long_as_a_general_decoder_finds(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0_u8..24, 0x40_u8..0x44, 0x80_u8..0x84, 0xa0_u8..0xa3], 0..40)
        ) {
            let mut decoder = Decoder::new(&bytes);
            let skipped = decoder.skip().map(|()| decoder.position());
            match check(&bytes, MAX_DEPTH) {
                // A text that is none is found when it is decoded, if it is of any field that is known.
                Ok(length) => prop_assert!(skipped.map_or(true, |skipped| skipped == length)),
                Err(CodecError::Forbidden("cut off")) => prop_assert!(skipped.is_err()),
                Err(_) => {}
            }
        }
    }
}
