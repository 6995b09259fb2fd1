//! ML-KEM-768 (FIPS 203): what keeps a session secret from who records it today and has a quantum computer one day.

use libcrux_ml_kem::mlkem768::{self, MlKem768Ciphertext, MlKem768PrivateKey, MlKem768PublicKey};
use zeroize::{Zeroize, Zeroizing};

/// The length of an encapsulation key, in bytes.
pub const KEY: usize = 1184;
/// The length of a ciphertext, in bytes.
pub const CIPHERTEXT: usize = 1088;

/// What both sides have in the end.
pub type Shared = Zeroizing<[u8; 32]>;

/// The secret half of a key that serves one handshake. Wiped from memory when dropped.
pub struct Decapsulation(MlKem768PrivateKey);

impl Drop for Decapsulation {
    fn drop(&mut self) {
        self.0[0..].zeroize();
    }
}

impl Decapsulation {
    /// A pair made of 64 random bytes, `d` and `z` of FIPS 203, algorithm 16.
    pub fn generate(random: &[u8; 64]) -> (Self, [u8; KEY]) {
        let (secret, public) = mlkem768::generate_key_pair(*random).into_parts();
        (Self(secret), public.into())
    }

    /// The shared secret of a ciphertext; none of what has another length. A ciphertext that was changed yields a
    /// secret that the other side does not have.
    pub fn decapsulate(&self, ciphertext: &[u8]) -> Option<Shared> {
        let ciphertext = MlKem768Ciphertext::try_from(ciphertext).ok()?;
        Some(Zeroizing::new(mlkem768::decapsulate(&self.0, &ciphertext)))
    }
}

/// Makes a shared secret of 32 random bytes (`m` of FIPS 203), and the ciphertext that tells it to the holder of the
/// key. None if the key fails the checks of section 7.2: its length, and that each of its numbers is below the modulus.
pub fn encapsulate(key: &[u8], random: &[u8; 32]) -> Option<([u8; CIPHERTEXT], Shared)> {
    let key = MlKem768PublicKey::try_from(key).ok().filter(mlkem768::validate_public_key)?;
    let (ciphertext, shared) = mlkem768::encapsulate(&key, *random);
    Some((ciphertext.into(), Zeroizing::new(shared)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_agree_and_only_they() {
        let (secret, key) = Decapsulation::generate(&[1; 64]);
        let (mut ciphertext, shared) = encapsulate(&key, &[2; 32]).unwrap();
        assert_eq!(secret.decapsulate(&ciphertext), Some(shared.clone()));
        ciphertext[7] ^= 1;
        assert_ne!(secret.decapsulate(&ciphertext), Some(shared));
        assert_eq!(secret.decapsulate(&ciphertext[1..]), None);
    }

    #[test]
    fn keys_that_are_none_are_refused() {
        let (_, key) = Decapsulation::generate(&[1; 64]);
        assert!(encapsulate(&key[1..], &[2; 32]).is_none());
        assert!(encapsulate(&[&key[..], &[0]].concat(), &[2; 32]).is_none());
        // Two numbers of 12 bits stand in three bytes; 3,329 is the modulus.
        for (first, refused) in [(3328_u16, false), (3329, true), (4095, true)] {
            let mut key = key;
            let [low, high] = first.to_le_bytes();
            key[300] = low;
            key[301] = key[301] & 0xf0 | high;
            assert_eq!(encapsulate(&key, &[2; 32]).is_none(), refused, "{first}");
        }
    }
}
