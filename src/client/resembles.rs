//! Names that a person could take for another: what they look like, and how little they differ.

use crate::protocol::Name;

/// How long the longer of two names is at least for one letter more, less or exchanged to be overlooked.
const LONG_ENOUGH: usize = 4;

/// A known name that a person could take for `name`: first one that looks the same, then one that differs in a letter.
/// Takes one walk over each known name.
pub fn resembles<'a>(name: &Name, known: impl IntoIterator<Item = &'a Name>) -> Option<&'a Name> {
    let shape = shape(name);
    let mut near = None;
    for other in known.into_iter().filter(|other| *other != name) {
        if self::shape(other) == shape {
            return Some(other);
        }
        if near.is_none() && differ_in_one(name.as_str().as_bytes(), other.as_str().as_bytes()) {
            near = Some(other);
        }
    }
    near
}

/// What is left of a name if characters that look alike count as one, and separators not at all.
fn shape(name: &Name) -> Vec<u8> {
    let mut shape = Vec::with_capacity(Name::MAX);
    for byte in name.as_str().bytes() {
        let looks_like = match byte {
            b'.' | b'_' | b'-' => continue,
            b'1' | b'i' => b'l',
            b'0' => b'o',
            b'5' => b's',
            b'2' => b'z',
            b'8' => b'b',
            b'9' | b'q' => b'g',
            other => other,
        };
        let pair = match (shape.last(), looks_like) {
            (Some(b'r'), b'n') => b'm',
            (Some(b'v'), b'v') => b'w',
            (Some(b'c'), b'l') => b'd',
            _ => {
                shape.push(looks_like);
                continue;
            }
        };
        shape.pop();
        shape.push(pair);
    }
    shape
}

/// Whether one letter was left out, exchanged or put in, or two neighbours have changed places. Another digit in the place
/// of a digit is seen: names that are numbered differ by it.
fn differ_in_one(one: &[u8], other: &[u8]) -> bool {
    let (short, long) = if one.len() <= other.len() { (one, other) } else { (other, one) };
    if long.len() < LONG_ENOUGH || long.len() - short.len() > 1 {
        return false;
    }
    let same = short.iter().zip(long).take_while(|(one, other)| one == other).count();
    let (short, long) = (short.get(same..).unwrap_or_default(), long.get(same..).unwrap_or_default());
    match (short, long) {
        ([a, rest_of_short @ ..], [b, rest_of_long @ ..]) if short.len() == long.len() => {
            let exchanged = rest_of_short == rest_of_long && !(a.is_ascii_digit() && b.is_ascii_digit());
            let swapped = match (rest_of_short, rest_of_long) {
                ([c, short @ ..], [d, long @ ..]) => (a, c) == (d, b) && short == long,
                _ => false,
            };
            exchanged || swapped
        }
        (_, [_, rest_of_long @ ..]) => short == rest_of_long,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::client::notice::tests::name;

    fn alike(one: &str, other: &str) -> bool {
        let (one, other) = (name(one), name(other));
        let found = resembles(&one, [&other]).is_some();
        assert_eq!(resembles(&other, [&one]).is_some(), found, "{one} {other}");
        found
    }

    #[test]
    fn names_that_can_be_taken_for_each_other() {
        for (one, other) in [
            ("bob1", "bobl"),
            ("bobi", "bobl"),
            ("b0b", "bob"),
            ("8ob", "bob"),
            ("mallory", "ma11ory"),
            ("carol", "caro1"),
            ("arne", "ame"),
            ("wolf", "vvolf"),
            ("dave", "clave"),
            ("zoe5", "2oes"),
            ("j.smith", "jsmith"),
            ("j-smith", "j.smith"),
            ("j__smith", "j_smith"),
            ("bob", "bob_"),
            ("bob", "bob1"),
            ("alice", "alicee"),
            ("alice", "alce"),
            ("alice", "alcie"),
            ("alice", "elice"),
            ("mary", "marv"),
        ] {
            assert!(alike(one, other), "{one} {other}");
        }
    }

    #[test]
    fn names_that_are_told_apart() {
        for (one, other) in [
            ("bob", "rob"),
            ("al", "ale"),
            ("alice", "alina"),
            ("alice", "carol"),
            ("user12", "user13"),
            ("bot1", "bot7"),
            ("x", "y"),
            ("anna", "hannah"),
            ("bob", "bobby"),
            ("bob", "bob"),
        ] {
            assert!(!alike(one, other), "{one} {other}");
        }
    }

    #[test]
    fn one_that_looks_the_same_comes_first() {
        let known = ["boba", "carol", "bobl"].map(name);
        assert_eq!(resembles(&name("bob1"), &known), Some(&known[2]));
        assert_eq!(resembles(&name("bobx"), &known), Some(&known[0]));
        assert_eq!(resembles(&name("dave"), &known), None);
    }

    proptest! {
        #[test]
        fn one_letter_is_what_the_distance_says(one in "[ab]{0,6}", other in "[ab]{0,6}") {
            let distance = strsim::osa_distance(&one, &other);
            let long = one.len().max(other.len()) >= LONG_ENOUGH;
            prop_assert_eq!(differ_in_one(one.as_bytes(), other.as_bytes()), distance == 1 && long);
        }
    }
}
