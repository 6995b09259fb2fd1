//! What the user may have meant by a mistyped word.

/// The candidate that is most like the word, if one is much like it: a letter in three may differ.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    let most = length.div_ceil(3);
    candidates
        .into_iter()
        .filter(|candidate| candidate.chars().count().abs_diff(length) <= most)
        .map(|candidate| (strsim::osa_distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_much_like_it() {
        let names = ["bob", "bobby", "carol"];
        for (word, expected) in [
            ("bbo", Some("bob")),
            ("bobbi", Some("bobby")),
            ("carl", Some("carol")),
            ("x", None),
            ("dave", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, names), expected, "{word}");
        }
    }
}
