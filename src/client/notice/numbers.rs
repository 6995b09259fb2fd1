//! Numbers as people read them.

const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];

/// In groups of three digits: `1,234`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// So many messages.
pub fn messages(count: u64) -> String {
    if count == 1 { "1 message".into() } else { format!("{} messages", grouped(count)) }
}

/// A number of bytes, rounded: `312 bytes`, `1.5 KiB`, `64 KiB`, `2 GiB`.
pub fn size(bytes: u64) -> String {
    if bytes < 1024 {
        return if bytes == 1 { "1 byte".into() } else { format!("{bytes} bytes") };
    }
    // In tenths of a unit, so that nothing depends on how fractions are rounded.
    let (mut tenths, mut unit) = (bytes.saturating_mul(10) / 1024, 0);
    while tenths >= 10 * 1024 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    let unit = UNITS.get(unit).unwrap_or(&"");
    if tenths < 100 && !tenths.is_multiple_of(10) {
        format!("{}.{} {unit}", tenths / 10, tenths % 10)
    } else {
        format!("{} {unit}", tenths / 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_short_and_plain() {
        for (number, expected) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), expected);
        }
        for (bytes, expected) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (1023, "1023 bytes"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (64 * 1024, "64 KiB"),
            (1024 * 1024 - 1, "1023 KiB"),
            (3 << 19, "1.5 MiB"),
            (1 << 31, "2 GiB"),
            (u64::MAX, "1677721 TiB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }
}
