use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{BoxedCryptoResolver, CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};

use super::*;
use crate::protocol::VERSION;
use crate::protocol::key::tests::weak_points;

const PURPOSES: [Purpose; 2] = [Purpose::Rendezvous, Purpose::Peer];

fn offered() -> Offer {
    Offer::highest(&[VERSION])
}

fn pair() -> [Keypair; 2] {
    [(); 2].map(|()| Keypair::generate().unwrap())
}

/// Of a side that can lie about its public keys: see [`attacker`].
#[derive(Clone, Copy, Default)]
struct Lies {
    fixed: Option<[u8; 32]>,
    ephemeral: Option<[u8; 32]>,
}

/// What stands for a secret key of which another public key is told than the one that belongs to it.
const STATIC: [u8; 32] = [0xa5; 32];
const EPHEMERAL: [u8; 32] = [0x5a; 32];

struct LyingDh {
    honest: Box<dyn Dh>,
    lies: Lies,
    told: Option<[u8; 32]>,
}

impl Dh for LyingDh {
    fn name(&self) -> &'static str {
        self.honest.name()
    }
    fn pub_len(&self) -> usize {
        32
    }
    fn priv_len(&self) -> usize {
        32
    }
    fn set(&mut self, secret: &[u8]) {
        self.honest.set(secret);
        self.told = if secret == STATIC {
            self.lies.fixed
        } else if secret == EPHEMERAL {
            self.lies.ephemeral
        } else {
            None
        };
    }
    fn generate(&mut self, random: &mut dyn Random) -> Result<(), snow::Error> {
        self.honest.generate(random)
    }
    fn pubkey(&self) -> &[u8] {
        self.told.as_ref().map_or(self.honest.pubkey(), |told| told)
    }
    fn privkey(&self) -> &[u8] {
        self.honest.privkey()
    }
    fn dh(&self, other: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        match self.told {
            // With a point of small order both sides agree on zero, without any secret.
            Some(told) if weak_points().contains(&told) => {
                out[..32].fill(0);
                Ok(())
            }
            _ => self.honest.dh(other, out),
        }
    }
}

struct Lying(Lies);

impl CryptoResolver for Lying {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        DefaultResolver.resolve_rng()
    }
    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        let honest = DefaultResolver.resolve_dh(choice)?;
        Some(Box::new(LyingDh { honest, lies: self.0, told: None }))
    }
    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }
    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

/// One side of a handshake that is not bound to this program's checks.
fn attacker(purpose: Purpose, lies: Lies, remote: Option<PublicKey>) -> HandshakeState {
    let resolver: BoxedCryptoResolver = Box::new(Lying(lies));
    let prologue = offered().prologue(purpose);
    let builder = Builder::with_resolver(purpose.pattern().parse().unwrap(), resolver)
        .prologue(&prologue)
        .unwrap()
        .local_private_key(&STATIC)
        .unwrap();
    let builder = if lies.ephemeral.is_some() {
        builder.fixed_ephemeral_key_for_testing_only(&EPHEMERAL)
    } else {
        builder
    };
    match remote {
        Some(key) if purpose == Purpose::Peer => {
            builder.remote_public_key(&key.x25519().unwrap()).unwrap().build_initiator().unwrap()
        }
        Some(_) => builder.build_initiator().unwrap(),
        None => builder.build_responder().unwrap(),
    }
}

/// What a responder comes to when the attacker dials it, who does everything else right.
fn dialled(purpose: Purpose, lies: Lies, spoil: fn(&mut [u8], &mut kem::Shared)) -> Option<HandshakeError> {
    let [own, _] = pair();
    let mut noise = attacker(purpose, lies, Some(own.public()));
    let (secret, mut key) = kem::Decapsulation::generate(&[3; 64]);
    spoil(&mut key, &mut kem::Shared::default());
    let mut first = Vec::new();
    write(&mut noise, &key, &mut first).unwrap();
    assert_eq!(first.len(), purpose.lengths()[0]);
    let (responder, second) = match Responder::answer(purpose, &own, &offered(), &first) {
        Ok(answered) => answered,
        Err(error) => return Some(error),
    };
    let ciphertext = read(&mut noise, &second[1..]).unwrap();
    let mut shared = secret.decapsulate(&ciphertext).unwrap();
    spoil(&mut [0; kem::KEY], &mut shared);
    noise.set_psk(PSK, shared.as_ref()).unwrap();
    let mut third = Vec::new();
    write(&mut noise, &[], &mut third).unwrap();
    responder.finish(&third).err()
}

/// What a client comes to that dials the attacker, who plays discovery.
fn dialling(lies: Lies) -> Option<HandshakeError> {
    let [own, _] = pair();
    let (initiator, first) = Initiator::start(Purpose::Rendezvous, &own, None, &offered()).unwrap();
    let mut noise = attacker(Purpose::Rendezvous, lies, None);
    let key = read(&mut noise, &first[3..]).unwrap();
    let (ciphertext, _) = kem::encapsulate(&key, &[4; 32]).unwrap();
    let mut second = Vec::new();
    write(&mut noise, &ciphertext, &mut second).unwrap();
    initiator.finish(&second).err()
}

#[test]
fn points_that_everybody_can_prove_are_refused_wherever_they_stand() {
    let honest = |_: &mut [u8], _: &mut kem::Shared| {};
    for purpose in PURPOSES {
        assert!(dialled(purpose, Lies::default(), honest).is_none(), "the attacker without a lie gets in");
    }
    assert!(dialling(Lies::default()).is_none());
    for point in weak_points() {
        let fixed = Lies { fixed: Some(point), ..Lies::default() };
        let ephemeral = Lies { ephemeral: Some(point), ..Lies::default() };
        let both = Lies { fixed: Some(point), ephemeral: Some(point) };
        for lies in [fixed, ephemeral, both] {
            for purpose in PURPOSES {
                let outcome = dialled(purpose, lies, honest);
                assert!(matches!(outcome, Some(HandshakeError::InvalidKey)), "{point:02x?} {outcome:?}");
            }
            assert!(matches!(dialling(lies), Some(HandshakeError::InvalidKey)), "{point:02x?}");
        }
        let [own, _] = pair();
        let outcome = Initiator::start(Purpose::Peer, &own, Some(PublicKey(point)), &offered()).err();
        assert!(matches!(outcome, Some(HandshakeError::InvalidKey)), "dialled {point:02x?}");
    }
}

#[test]
fn another_way_to_write_a_key_is_none() {
    let mut unused_bit = curve25519_dalek::MontgomeryPoint::mul_base_clamped(STATIC).to_bytes();
    assert!(PublicKey::from_x25519(&unused_bit).is_some());
    unused_bit[31] |= 0x80;
    // 2 belongs to the twist: no account's key has this form.
    let mut twist = [0; 32];
    twist[0] = 2;
    assert!(is_contributory(&twist) && PublicKey::from_x25519(&twist).is_none());
    for told in [unused_bit, twist] {
        let lies = Lies { fixed: Some(told), ..Lies::default() };
        // The one of the twist fails earlier, for the attacker has no secret of it.
        assert!(dialled(Purpose::Rendezvous, lies, |_, _| {}).is_some());
        assert!(dialling(lies).is_some());
    }
    let lies = Lies { fixed: Some(unused_bit), ..Lies::default() };
    for purpose in PURPOSES {
        assert!(matches!(dialled(purpose, lies, |_, _| {}), Some(HandshakeError::InvalidKey)));
    }
}

#[test]
fn who_does_not_know_the_encapsulated_secret_gets_nowhere() {
    for purpose in PURPOSES {
        let outcome = dialled(purpose, Lies::default(), |_, shared| shared[0] ^= 1);
        assert!(matches!(outcome, Some(HandshakeError::NotProved(_))), "{outcome:?}");
        // A number above the modulus, in a key that is sealed as it should be.
        let outcome = dialled(purpose, Lies::default(), |key, _| key[..2].fill(0xff));
        assert!(matches!(outcome, Some(HandshakeError::Malformed(_))), "{outcome:?}");
    }
}

#[test]
fn no_message_of_a_handshake_can_be_changed_on_the_way() {
    for purpose in PURPOSES {
        let [alice, bob] = pair();
        let (remote, offer) = (Some(bob.public()), offered());
        let begin = || Initiator::start(purpose, &alice, remote, &offer).unwrap();
        let [first, second, third] = purpose.lengths();
        for at in [0, 31, 32, 500, first - 1] {
            let (_, mut said) = begin();
            said[3 + at] ^= 1;
            assert!(Responder::answer(purpose, &bob, &offer, &said[3..]).is_err(), "message 1 at {at}");
        }
        for at in [0, 31, 32, 500, second - 1] {
            let (initiator, said) = begin();
            let (_, mut answer) = Responder::answer(purpose, &bob, &offer, &said[3..]).unwrap();
            answer[1 + at] ^= 1;
            assert!(initiator.finish(&answer[1..]).is_err(), "message 2 at {at}");
        }
        for at in [0, 40, third - 1] {
            let (initiator, said) = begin();
            let (responder, answer) = Responder::answer(purpose, &bob, &offer, &said[3..]).unwrap();
            let (mut last, _) = initiator.finish(&answer[1..]).unwrap();
            assert_eq!((said.len(), answer.len(), last.len()), (3 + first, 1 + second, third));
            last[at] ^= 1;
            assert!(responder.finish(&last).is_err(), "message 3 at {at}");
        }
    }
}
