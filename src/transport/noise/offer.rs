//! Which version of the protocol a connection speaks: what the dialler says in clear, before the handshake.
//!
//! The handshake's prologue holds all of it, so that no one between the two can change it: neither strip a version from
//! the list nor choose a lower one.

use std::io::{self, Read};

use super::{HandshakeError, Purpose};

/// The most versions that a dialler may name.
pub const MAX_VERSIONS: usize = 8;

/// The version that a dialler has chosen, and those that it speaks, rising.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    chosen: u8,
    spoken: Vec<u8>,
}

impl Offer {
    /// Chooses the highest of the versions that are spoken here, which rise.
    pub fn highest(spoken: &[u8]) -> Self {
        Self { chosen: spoken.last().copied().unwrap_or_default(), spoken: spoken.into() }
    }

    pub fn chosen(&self) -> u8 {
        self.chosen
    }

    /// As it stands on the wire: the choice, how many versions follow, the versions.
    pub fn encoded(&self) -> Vec<u8> {
        let count = u8::try_from(self.spoken.len()).unwrap_or_default();
        [&[self.chosen, count], self.spoken.as_slice()].concat()
    }

    /// Reads what a dialler offers. `spoken` are the versions spoken here, which rise.
    ///
    /// A choice that is not spoken here is an error before anything else is read, for what follows may be another
    /// protocol. So is a choice below one that both speak: an attacker has made it.
    pub fn read(stream: &mut impl Read, spoken: &[u8]) -> Result<Self, HandshakeError> {
        let chosen = byte(stream)?;
        if !spoken.contains(&chosen) {
            return Err(HandshakeError::Version { theirs: chosen });
        }
        let mut theirs = vec![0; usize::from(byte(stream)?)];
        if theirs.len() > MAX_VERSIONS {
            return Err(HandshakeError::Malformed("list of versions"));
        }
        stream.read_exact(&mut theirs)?;
        if !theirs.is_sorted_by(|one, next| one < next) || !theirs.contains(&chosen) {
            return Err(HandshakeError::Malformed("list of versions"));
        }
        if theirs.iter().any(|version| *version > chosen && spoken.contains(version)) {
            return Err(HandshakeError::Downgrade);
        }
        Ok(Self { chosen, spoken: theirs })
    }

    /// Takes the listener's answer: the version chosen, or an error.
    pub(super) fn answered(&self, answer: u8) -> Result<(), HandshakeError> {
        match answer {
            answer if answer == self.chosen => Ok(()),
            // The listener speaks it, and would have been asked for it: the list that it got was another one.
            higher if higher > self.chosen && self.spoken.contains(&higher) => Err(HandshakeError::Downgrade),
            other => Err(HandshakeError::of_byte(other)),
        }
    }

    /// What the handshake binds in: the purpose, so that its session can't be passed off as another, and the offer.
    pub(super) fn prologue(&self, purpose: Purpose) -> Vec<u8> {
        [purpose.label(), &self.encoded()].concat()
    }
}

pub(super) fn byte(stream: &mut impl Read) -> io::Result<u8> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    let [byte] = byte;
    Ok(byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_reads_back_and_a_wrong_one_is_refused() {
        let offer = Offer::highest(&[2, 3]);
        assert_eq!(offer.encoded(), [3, 2, 2, 3]);
        assert_eq!(Offer::read(&mut &offer.encoded()[..], &[3]).unwrap(), offer);
        let eight: Vec<u8> = (1..=8).collect();
        assert!(Offer::read(&mut &Offer::highest(&eight).encoded()[..], &[8]).is_ok());
        for malformed in
            [&[2, 0][..], &[2, 1, 3], &[2, 2, 2, 2], &[2, 2, 3, 2], &[2, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9]]
        {
            let outcome = Offer::read(&mut &*malformed, &[2]);
            assert!(matches!(outcome, Err(HandshakeError::Malformed(_))), "{malformed:?}");
        }
        assert!(matches!(
            Offer::read(&mut &[1, 1, 1][..], &[2, 3]),
            Err(HandshakeError::Version { theirs: 1 })
        ));
        assert!(matches!(Offer::read(&mut &[2, 2, 2][..], &[2]), Err(HandshakeError::Closed)));
    }

    #[test]
    fn a_lower_version_than_both_speak_is_refused() {
        let chosen = |chosen| [chosen, 2, 2, 3];
        assert!(matches!(Offer::read(&mut &chosen(2)[..], &[2, 3]), Err(HandshakeError::Downgrade)));
        assert!(Offer::read(&mut &chosen(2)[..], &[2]).is_ok(), "3 is not spoken here");
        assert!(Offer::read(&mut &chosen(3)[..], &[2, 3]).is_ok());
        assert!(matches!(Offer::highest(&[2, 3]).answered(2), Err(HandshakeError::Version { theirs: 2 })));
        let lower = Offer { chosen: 2, spoken: vec![2, 3] };
        assert!(matches!(lower.answered(3), Err(HandshakeError::Downgrade)));
        assert!(lower.answered(2).is_ok());
    }
}
