//! The code that two people compare to know that no attacker stands between them.
//!
//! It is made of both public keys, so that both see the same. To stand between them unnoticed, an attacker must find
//! two keys, one to show to each, whose codes are equal. Of 40 digits (133 bits) that takes about 2^66 tries by the
//! birthday paradox, each of which costs a key and `ROUNDS` rounds of the hash: some 2^78 hashes, offline and before
//! the two have compared.

use blake2::{Blake2s256, Digest};

use crate::protocol::PublicKey;

const DIGITS: usize = 40;
const GROUP: usize = 5;
/// How often the hash is taken, to make a search dear.
const ROUNDS: u32 = 4096;
/// What the hash is for, so that it means nothing elsewhere.
const LABEL: &[u8] = b"peerchat verification code 1";

/// The digits of the code for two keys, in whichever order, without spaces.
pub fn code(one: PublicKey, other: PublicKey) -> String {
    let (first, second) = if one <= other { (one, other) } else { (other, one) };
    let keys = [first.0, second.0].concat();
    let start = Blake2s256::new().chain_update(LABEL).chain_update(&keys).finalize();
    let hash = (0..ROUNDS)
        .fold(start, |hash, _| Blake2s256::new().chain_update(hash).chain_update(&keys).finalize());
    // A number of 20 digits from each 128 bits: no digit is likelier than another by more than 2^-61.
    let (halves, _) = hash.as_chunks::<16>();
    let half = |bytes: &[u8; 16]| u128::from_be_bytes(*bytes) % 10_u128.pow(20);
    halves.iter().map(|bytes| format!("{:020}", half(bytes))).collect::<String>()
}

/// The same in groups, to be read aloud.
pub fn grouped(code: &str) -> String {
    let digits: Vec<char> = code.chars().collect();
    digits.chunks(GROUP).map(String::from_iter).collect::<Vec<_>>().join(" ")
}

/// The digits of a code as it was typed; `None` if it can't be one.
pub fn typed(text: &str) -> Option<String> {
    let digits: String = text.split_whitespace().collect();
    (digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PublicKey = PublicKey([1; 32]);
    const B: PublicKey = PublicKey([2; 32]);

    #[test]
    fn both_see_the_same_and_everybody_else_something_else() {
        let code_of = code(A, B);
        assert_eq!(code_of, code(B, A));
        assert_eq!(code_of.len(), DIGITS);
        let mut other = B;
        other.0[31] ^= 1;
        assert_ne!(code_of, code(A, other));
        assert_ne!(code_of, code(A, A));
        // It must stay what it is: people of different versions compare it.
        assert_eq!(grouped(&code_of), "78820 33479 88720 58058 31981 48112 16626 49627");
    }

    #[test]
    fn a_code_reads_back_however_it_is_grouped() {
        let code = code(A, B);
        for wrong in [&code[1..], "yes", &"x".repeat(DIGITS)] {
            assert_eq!(typed(wrong), None);
        }
        assert_eq!(typed(&grouped(&code)), Some(code.clone()));
        assert_eq!(typed(&code), Some(code));
    }
}
