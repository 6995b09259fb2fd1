//! Times as the calendar has them, and in JSON.

use std::cell::RefCell;
use std::fmt::Write;

use jiff::Timestamp;
use serde::Serializer;

/// A peer may claim any time; what a calendar can't hold becomes its first or last moment.
pub fn timestamp(milliseconds: i64) -> Timestamp {
    let bound = if milliseconds < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(milliseconds).unwrap_or(bound)
}

pub fn json<S: Serializer>(at: &(impl Into<Option<i64>> + Copy), serializer: S) -> Result<S::Ok, S::Error> {
    match (*at).into() {
        Some(milliseconds) => json_text(milliseconds, |text| serializer.serialize_str(text)),
        None => serializer.serialize_none(),
    }
}

/// Hands over a time as JSON has it: in UTC, with milliseconds.
pub fn json_text<T>(milliseconds: i64, take: impl FnOnce(&str) -> T) -> T {
    // Many messages are of one second, and its day and hour are what takes long to find.
    thread_local!(static LAST: RefCell<(i64, String)> = const { RefCell::new((i64::MIN, String::new())) });
    LAST.with_borrow_mut(|(second, text)| {
        let moment = timestamp(milliseconds);
        if *second == milliseconds.div_euclid(1000) {
            text.truncate(text.len().saturating_sub("000Z".len()));
            let _ = write!(text, "{:03}Z", milliseconds.rem_euclid(1000));
        } else {
            *text = format!("{moment:.3}");
            // Beyond the calendar all times have one text.
            let exact = moment.as_millisecond() == milliseconds;
            *second = if exact { milliseconds.div_euclid(1000) } else { i64::MIN };
        }
        take(text)
    })
}
