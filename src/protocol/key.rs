//! Public keys: who a user is.

use std::fmt;
use std::str::FromStr;

use curve25519_dalek::MontgomeryPoint;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use minicbor::decode::{Decoder, Error};
use minicbor::{Decode, Encode};

/// The key of an account, the only identity that peerchat believes in: a public key of Ed25519 (RFC 8032) whose
/// sign bit is 0.
///
/// A handshake proves its X25519 form, which is the same for a key and its negative. With the sign bit fixed, as in
/// [XEdDSA](https://signal.org/docs/specifications/xeddsa/), one form names the other.
///
/// Its fingerprint is the whole key in 64 hexadecimal digits, so that comparing fingerprints compares keys.
///
/// Any bytes can stand here. Those that can't be an account's key are refused where they come from outside: by
/// handshakes, and when a message is decoded.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode)]
#[cbor(transparent)]
pub struct PublicKey(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 32]);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is 64 hexadecimal digits")]
pub struct NotAFingerprint;

/// 2^255 - 19, the prime of the curve, in little endian.
const PRIME: [u8; 32] = {
    let mut bytes = [0xff; 32];
    [bytes[0], bytes[31]] = [0xed, 0x7f];
    bytes
};

/// The X25519 keys with which every secret key agrees on zero: the points of small order of the curve and of its
/// twist, as <https://cr.yp.to/ecdh.html#validate> lists them.
const SMALL_ORDER: [[u8; 32]; 5] = {
    let (mut one, mut minus_one) = ([0; 32], PRIME);
    one[0] = 1;
    minus_one[0] -= 1;
    [
        [0; 32],
        one,
        minus_one,
        [
            0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a,
            0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
        ],
        [
            0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b,
            0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
        ],
    ]
};

/// Whether it is written in the one way that the field has for each number, which leaves the highest bit 0.
fn is_canonical(bytes: &[u8; 32]) -> bool {
    bytes.iter().rev().lt(PRIME.iter().rev())
}

/// Whether an X25519 key is one that an honest program can have. A handshake with any other proves nothing.
pub fn is_contributory(x25519: &[u8; 32]) -> bool {
    is_canonical(x25519) && !SMALL_ORDER.contains(x25519)
}

impl PublicKey {
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Whether it can be the key of an account. Takes some microseconds.
    pub fn is_valid(&self) -> bool {
        self.point().is_some()
    }

    /// The form that a handshake proves; none of what is no key.
    pub fn x25519(&self) -> Option<[u8; 32]> {
        self.point().map(|point| point.to_montgomery().to_bytes())
    }

    /// The key whose form was proved; none if there is none, so that each form names one key and each key one form.
    pub fn from_x25519(proved: &[u8; 32]) -> Option<Self> {
        if !is_contributory(proved) {
            return None;
        }
        Some(Self(MontgomeryPoint(*proved).to_edwards(0)?.compress().to_bytes()))
    }

    fn point(&self) -> Option<EdwardsPoint> {
        let point = is_canonical(&self.0).then(|| CompressedEdwardsY(self.0).decompress())??;
        (!point.is_small_order()).then_some(point)
    }
}

impl<'b, C> Decode<'b, C> for PublicKey {
    fn decode(d: &mut Decoder<'b>, context: &mut C) -> Result<Self, Error> {
        let at = d.position();
        let key = Self(minicbor::bytes::decode(d, context)?);
        if key.is_valid() { Ok(key) } else { Err(Error::message("no key of an account").at(at)) }
    }
}

/// Decodes a key that counts only where it is one of those known already: that it is one need not be found out again.
pub fn decode_name<C>(d: &mut Decoder<'_>, context: &mut C) -> Result<PublicKey, Error> {
    minicbor::bytes::decode(d, context).map(PublicKey)
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = NotAFingerprint;

    fn from_str(text: &str) -> Result<Self, NotAFingerprint> {
        let digit = |c: char| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let digits: Vec<u8> = text.chars().map(digit).collect::<Option<_>>().ok_or(NotAFingerprint)?;
        let (pairs, []) = digits.as_chunks::<2>() else {
            return Err(NotAFingerprint);
        };
        let bytes: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
        Self::from_slice(&bytes).ok_or(NotAFingerprint)
    }
}

impl serde::Serialize for PublicKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
pub mod tests {
    use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
    use curve25519_dalek::scalar::Scalar;

    use super::*;

    #[test]
    fn fingerprints_read_back() {
        let key = PublicKey(std::array::from_fn(|i| i as u8 * 7));
        assert_eq!(key.to_string().parse(), Ok(key));
        assert_eq!(key.to_string().to_uppercase().parse(), Ok(key));
        for bad in ["", "0", "xyz", &"a".repeat(63), &"a".repeat(65), &"a".repeat(66), &"é".repeat(32)] {
            assert_eq!(bad.parse::<PublicKey>(), Err(NotAFingerprint), "{bad}");
        }
    }

    /// Every way to write an X25519 key with which all secret keys agree on zero, also those that are not canonical.
    pub fn weak_points() -> Vec<[u8; 32]> {
        let mut points = SMALL_ORDER.to_vec();
        // 0 and 1 once more, and with the bit that X25519 leaves out.
        for low in [0xed, 0xee] {
            let mut point = PRIME;
            point[0] = low;
            points.push(point);
        }
        for at in 0..points.len() {
            let mut point = points[at];
            point[31] |= 0x80;
            points.push(point);
        }
        points
    }

    #[test]
    fn keys_that_prove_nothing_are_none() {
        for point in weak_points() {
            assert_eq!(MontgomeryPoint(point).mul_clamped([0x77; 32]).to_bytes(), [0; 32]);
            assert!(!is_contributory(&point));
            assert_eq!(PublicKey::from_x25519(&point), None);
        }
        for point in EIGHT_TORSION {
            assert!(!PublicKey(point.compress().to_bytes()).is_valid());
            assert!(!is_contributory(&point.to_montgomery().to_bytes()));
        }
    }

    #[test]
    fn only_a_key_is_decoded() {
        let decoded = |key: PublicKey| minicbor::decode::<PublicKey>(&minicbor::to_vec(key).unwrap());
        let key = PublicKey((ED25519_BASEPOINT_POINT * Scalar::from(2_u64)).compress().to_bytes());
        assert_eq!(decoded(key).ok(), key.is_valid().then_some(key));
        for point in weak_points() {
            assert!(decoded(PublicKey(point)).is_err());
        }
    }

    #[test]
    fn each_form_names_one_key_and_each_key_one_form() {
        let (mut negative, mut twisted) = (0, 0);
        for number in 1..200_u64 {
            let point = ED25519_BASEPOINT_POINT * Scalar::from(number);
            let (key, x25519) = (PublicKey(point.compress().to_bytes()), point.to_montgomery().to_bytes());
            assert!(is_contributory(&x25519));
            let named = PublicKey::from_x25519(&x25519).unwrap();
            assert_eq!(named.x25519(), Some(x25519));
            if key.0[31] & 0x80 == 0 {
                assert_eq!((named, key.is_valid()), (key, true));
            } else {
                negative += 1;
                assert_eq!((key.is_valid(), key.x25519()), (false, None), "of the other sign");
            }
            let mut unused_bit = x25519;
            unused_bit[31] |= 0x80;
            assert_eq!(PublicKey::from_x25519(&unused_bit), None, "not canonical");
            let mut any = [0; 32];
            any[..8].copy_from_slice(&(number + 1).to_le_bytes());
            twisted += usize::from(PublicKey::from_x25519(&any).is_none());
        }
        assert!((50..150).contains(&negative), "{negative}");
        assert!((50..150).contains(&twisted), "half of all numbers belong to the twist: {twisted}");
        // A number that is a key, written above the prime.
        let low = (2..19).find(|low| {
            let mut bytes = [0; 32];
            bytes[0] = *low;
            PublicKey(bytes).is_valid()
        });
        let mut bytes = PRIME;
        bytes[0] = 0xed + low.unwrap();
        assert!(CompressedEdwardsY(bytes).decompress().is_some() && !PublicKey(bytes).is_valid());
    }
}
