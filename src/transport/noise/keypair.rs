//! The secret of an account.

use std::sync::Arc;

use curve25519_dalek::MontgomeryPoint;
use ed25519_dalek::{Signer, SigningKey};
use zeroize::Zeroizing;

use crate::protocol::PublicKey;
use crate::protocol::room::Signature;

/// The key pair of an account, of Ed25519, and what handshakes use of it. Wiped from memory when dropped.
///
/// The secret is the 32-byte seed of RFC 8032. Seeds are drawn until the sign bit of the public key is 0, for
/// [`PublicKey`] must follow from its X25519 form. The secret X25519 key is, as libsodium has it
/// (`crypto_sign_ed25519_sk_to_curve25519`), the first half of the SHA-512 of the seed, which X25519 clamps. That one
/// key may serve both is shown in Thormarker, "On using the same key pair for Ed25519 and an X25519 based KEM"
/// (2021).
#[derive(Clone)]
pub struct Keypair {
    /// In one place, so that moves and clones of the pair leave no copies behind.
    secrets: Arc<Secrets>,
    public: PublicKey,
    /// Its X25519 form: kept, for to derive it takes as long as a tenth of a handshake.
    x25519_public: [u8; 32],
}

#[derive(Default)]
struct Secrets {
    seed: Zeroizing<[u8; 32]>,
    x25519: Zeroizing<[u8; 32]>,
}

impl Keypair {
    pub fn generate() -> Result<Self, getrandom::Error> {
        loop {
            let mut seed = Zeroizing::new([0; 32]);
            getrandom::fill(seed.as_mut())?;
            if let Some(keypair) = Self::from_secret(&seed) {
                return Ok(keypair);
            }
        }
    }

    /// The pair of a seed; none if the sign bit of its public key is 1, as it is of every other seed.
    pub fn from_secret(seed: &[u8; 32]) -> Option<Self> {
        let signing = SigningKey::from_bytes(seed);
        let public = PublicKey(signing.verifying_key().to_bytes());
        let mut secrets = Arc::<Secrets>::default();
        let Secrets { seed: ours, x25519 } = Arc::get_mut(&mut secrets)?;
        ours.copy_from_slice(seed);
        x25519.copy_from_slice(Zeroizing::new(signing.to_scalar_bytes()).as_ref());
        let x25519_public = MontgomeryPoint::mul_base_clamped(**x25519).to_bytes();
        public.is_valid().then_some(Self { secrets, public, x25519_public })
    }

    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// The seed.
    pub fn secret(&self) -> &[u8; 32] {
        &self.secrets.seed
    }

    /// Signs these bytes (Ed25519, RFC 8032).
    pub fn sign(&self, bytes: &[u8]) -> Signature {
        Signature(SigningKey::from_bytes(&self.secrets.seed).sign(bytes).to_bytes())
    }

    pub(super) fn x25519(&self) -> &[u8; 32] {
        &self.secrets.x25519
    }

    pub(super) fn x25519_public(&self) -> &[u8; 32] {
        &self.x25519_public
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_belong_together() {
        for _ in 0..20 {
            let keypair = Keypair::generate().unwrap();
            let x25519 = *keypair.x25519_public();
            assert_eq!(x25519, MontgomeryPoint::mul_base_clamped(*keypair.x25519()).to_bytes());
            assert_eq!(PublicKey::from_x25519(&x25519), Some(keypair.public()));
            assert_eq!(keypair.public().x25519(), Some(x25519));
            assert_eq!(Keypair::from_secret(keypair.secret()).unwrap().public(), keypair.public());
        }
    }

    fn seed(hex: &str) -> [u8; 32] {
        hex.parse::<PublicKey>().unwrap().0
    }

    #[test]
    fn keys_are_those_of_the_rfc_and_seeds_of_the_other_sign_are_none() {
        // RFC 8032, section 7.1, test 1, then the one of SHA(abc), whose public key ends in bf.
        let seed_1 = seed("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
        let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a".parse();
        assert_eq!(Keypair::from_secret(&seed_1).map(|keypair| keypair.public()), public.ok());
        let seed_abc = seed("833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42");
        assert!(Keypair::from_secret(&seed_abc).is_none());
    }

    #[test]
    fn the_x25519_form_is_the_one_of_libsodium() {
        // The vector of libsodium's test of the conversion, test/default/ed25519_convert.
        let signing =
            SigningKey::from_bytes(&seed("421151a459faeade3d247115f94aedae42318124095afabe4d1451a559faedee"));
        let secret = curve25519_dalek::scalar::clamp_integer(signing.to_scalar_bytes());
        assert_eq!(secret, seed("8052030376d47112be7f73ed7a019293dd12ad910b654455798b4667d73de166"));
        let public = signing.verifying_key().to_montgomery().to_bytes();
        assert_eq!(public, seed("f1814f0e8ff1043d8a44d25babff3cedcae6c22c3edaa48f857ae70de2baae50"));
    }
}
