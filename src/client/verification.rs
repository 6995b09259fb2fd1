//! The code that two people compare to know that no attacker stands between them.
//!
//! It has two halves, one of each user's key, so that both see the same. A half can be compared alone, and is the same
//! with every contact. To stand between two unnoticed, an attacker must find a key with the half of one of them. Of 30
//! digits (99.7 bits) that takes some 2^99 tries, each of which costs a key and `ROUNDS` rounds of the hash. A pair of
//! keys with equal halves, which the birthday paradox finds sooner, is of no use: the user's own key is not the
//! attacker's to choose.

use blake2::{Blake2s256, Digest};

use crate::protocol::PublicKey;

/// Of a half.
const HALF: usize = 30;
const GROUP: usize = 5;
/// How often the hash is taken, to make a search dear.
const ROUNDS: u32 = 4096;
/// What the hash is for, so that it means nothing elsewhere.
const LABEL: &[u8] = b"peerchat verification code 2";

/// The digits of the code for two keys, in whichever order, without spaces: the half of the lower key comes first.
pub fn code(one: PublicKey, other: PublicKey) -> String {
    half(one.min(other)) + &half(one.max(other))
}

/// The digits for one key.
pub fn half(key: PublicKey) -> String {
    let start = Blake2s256::new().chain_update(LABEL).chain_update(key.0).finalize();
    let hash = (0..ROUNDS)
        .fold(start, |hash, _| Blake2s256::new().chain_update(hash).chain_update(key.0).finalize());
    // A number of 15 digits from each 128 bits: no digit is likelier than another by more than 2^-78.
    let (quarters, _) = hash.as_chunks::<16>();
    let digits = |bytes: &[u8; 16]| u128::from_be_bytes(*bytes) % 10_u128.pow(15);
    quarters.iter().map(|bytes| format!("{:015}", digits(bytes))).collect()
}

/// The same in groups, to be read aloud.
pub fn grouped(code: &str) -> String {
    let digits: Vec<char> = code.chars().collect();
    digits.chunks(GROUP).map(String::from_iter).collect::<Vec<_>>().join(" ")
}

/// The digits of a code as it was typed; `None` if it can't be one.
pub fn typed(text: &str) -> Option<String> {
    let digits: String = text.split_whitespace().collect();
    (digits.len() == 2 * HALF && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(digits)
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
        assert_eq!(code_of.len(), 2 * HALF);
        let mut other = B;
        other.0[31] ^= 1;
        assert_ne!(code_of, code(A, other));
        // It must stay what it is: people of different versions compare it.
        let groups = "16074 34523 19294 02618 56587 57155 76559 24595 58050 96488 61397 94027";
        assert_eq!(grouped(&code_of), groups);
    }

    #[test]
    fn each_half_is_of_one_key_whoever_the_other_is() {
        assert_eq!(code(A, B), half(A) + &half(B));
        assert_eq!(code(PublicKey([0; 32]), A)[HALF..], half(A));
    }

    #[test]
    fn a_code_reads_back_however_it_is_grouped() {
        let code = code(A, B);
        for wrong in [&code[1..], &half(A), "yes", &"x".repeat(2 * HALF)] {
            assert_eq!(typed(wrong), None);
        }
        assert_eq!(typed(&grouped(&code)), Some(code.clone()));
        assert_eq!(typed(&code), Some(code));
    }
}
