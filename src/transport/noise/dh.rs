//! X25519 for Noise, with private keys that are wiped from memory: those of `snow` are not.

use curve25519_dalek::MontgomeryPoint;
use curve25519_dalek::traits::IsIdentity;
use snow::Error;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver, RingResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::Keypair;

const LENGTH: usize = 32;

/// X25519 from here, the ciphers of `ring`, which are faster, and what `snow` has itself. It has the key pair of this
/// side's account, whose public key is not to be derived again.
pub(super) struct Resolver(pub Keypair);

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        DefaultResolver.resolve_rng()
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        (*choice == DHChoice::Curve25519).then(|| {
            let own = Some(self.0.clone());
            Box::new(X25519 { own, ..X25519::default() }) as _
        })
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        RingResolver.resolve_cipher(choice)
    }
}

/// A pair of keys. It is written where it stays, in its box.
#[derive(Default, Zeroize, ZeroizeOnDrop)]
struct X25519 {
    private: [u8; LENGTH],
    public: [u8; LENGTH],
    /// The account's, if its public key need not be derived.
    #[zeroize(skip)]
    own: Option<Keypair>,
}

impl X25519 {
    fn derive_public(&mut self) {
        self.public = MontgomeryPoint::mul_base_clamped(self.private).to_bytes();
    }
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        LENGTH
    }

    fn priv_len(&self) -> usize {
        LENGTH
    }

    fn set(&mut self, private: &[u8]) {
        self.private.copy_from_slice(private);
        match &self.own {
            Some(own) if own.x25519() == private => self.public = *own.x25519_public(),
            _ => self.derive_public(),
        }
    }

    fn generate(&mut self, random: &mut dyn Random) -> Result<(), Error> {
        random.try_fill_bytes(&mut self.private)?;
        self.derive_public();
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        &self.private
    }

    /// Refuses the keys with which every private one agrees on zero.
    fn dh(&self, public: &[u8], shared: &mut [u8]) -> Result<(), Error> {
        // Both are longer than a key: `snow` has room for those of other curves.
        let public = public.first_chunk().ok_or(Error::Dh)?;
        let agreed = MontgomeryPoint(*public).mul_clamped(self.private);
        if agreed.is_identity() {
            return Err(Error::Dh);
        }
        *shared.first_chunk_mut().ok_or(Error::Dh)? = agreed.to_bytes();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::key::tests::weak_points;

    const fn is_wiped_when_dropped<T: ZeroizeOnDrop>() {}
    const _: () = is_wiped_when_dropped::<X25519>();

    fn of(private: [u8; LENGTH]) -> X25519 {
        let mut pair = X25519::default();
        pair.set(&private);
        pair
    }

    #[test]
    fn what_is_wiped_is_gone() {
        let mut pair = of([7; LENGTH]);
        assert_eq!(pair.privkey(), [7; LENGTH]);
        pair.zeroize();
        assert_eq!(pair.privkey(), [0; LENGTH]);
    }

    #[test]
    fn a_result_that_every_private_key_has_is_refused() {
        let (one, other) = (of([1; LENGTH]), of([2; LENGTH]));
        // As long as those of `snow`, which are zero behind the key.
        let agree = |own: &X25519, public: &[u8; LENGTH]| {
            let mut shared = [0; 56];
            own.dh(&[&public[..], &[0; 24]].concat(), &mut shared).map(|()| shared)
        };
        let shared = agree(&one, &other.public).unwrap();
        assert_eq!(agree(&other, &one.public).unwrap(), shared);
        assert!(shared[..LENGTH] != [0; LENGTH] && shared[LENGTH..] == [0; 24]);
        for point in weak_points() {
            assert!(matches!(agree(&one, &point), Err(Error::Dh)), "{point:02x?}");
        }
    }
}
