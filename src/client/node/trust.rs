//! Which new key a user means: what is typed after `TRUST` must name it.

use super::super::verification;
use crate::protocol::PublicKey;

/// How many digits of a fingerprint name a key. That is 64 bits: who wants another key that begins so has to try some
/// 2^64 keys, for this one key alone.
pub const LEAST_DIGITS: usize = 16;

/// Checks that the digits are the first of the new key, or with `own` the whole code of both keys.
///
/// # Errors
/// Why they don't name the key, in words that follow "nothing was changed: ".
pub fn names(digits: Option<&str>, new: PublicKey, own: Option<PublicKey>) -> Result<(), String> {
    let or_the_code = if own.is_some() { ", or the whole code that VERIFY shows them" } else { "" };
    let what = format!("type the first {LEAST_DIGITS} digits of it or more{or_the_code}");
    let Some(digits) = digits else {
        return Err(format!("the new key is {new}; {what}"));
    };
    if let (Some(own), Some(code)) = (own, verification::typed(digits))
        && verification::code(own, new) == code
    {
        return Ok(());
    }
    if digits.len() < LEAST_DIGITS {
        return Err(format!("that is too short to name a key; {what}"));
    }
    if !new.to_string().starts_with(digits) {
        return Err(format!("that is not the new key, which is {new}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: PublicKey = PublicKey([5; 32]);
    const NEW: PublicKey = PublicKey([0xc7; 32]);

    #[test]
    fn a_key_is_named_by_many_digits_or_the_whole_code() {
        let key = NEW.to_string();
        let code = verification::code(OWN, NEW);
        for (digits, own, named) in [
            (None, Some(OWN), false),
            (Some("c"), Some(OWN), false),
            (Some(""), Some(OWN), false),
            (Some(&key[..LEAST_DIGITS - 1]), Some(OWN), false),
            (Some(&key[..LEAST_DIGITS]), Some(OWN), true),
            (Some(&key[..LEAST_DIGITS]), None, true),
            (Some(&*key), None, true),
            (Some(&key[1..]), None, false),
            (Some(&*code), Some(OWN), true),
            (Some(&*code), None, false),
            (Some(&code[1..]), Some(OWN), false),
            (Some(&*verification::code(OWN, OWN)), Some(OWN), false),
        ] {
            assert_eq!(names(digits, NEW, own).is_ok(), named, "{digits:?}");
        }
    }
}
