//! Times as the calendar has them, and in JSON.

use std::cell::RefCell;
use std::fmt::Write;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serializer, de};

/// A peer may claim any time; what a calendar can't hold becomes its first or last moment.
pub fn timestamp(milliseconds: i64) -> Timestamp {
    let bound = if milliseconds < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(milliseconds).unwrap_or(bound)
}

pub fn serialize<S: Serializer>(
    at: &(impl Into<Option<i64>> + Copy),
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match (*at).into() {
        Some(milliseconds) => json_text(milliseconds, |text| serializer.serialize_str(text)),
        None => serializer.serialize_none(),
    }
}

/// A time that must be there, or one that need not.
pub trait Moment: Sized {
    fn read(at: Option<i64>) -> Option<Self>;
}

impl Moment for i64 {
    fn read(at: Option<i64>) -> Option<Self> {
        at
    }
}

impl Moment for Option<i64> {
    fn read(at: Self) -> Option<Self> {
        Some(at)
    }
}

pub fn deserialize<'de, D: Deserializer<'de>, T: Moment>(deserializer: D) -> Result<T, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    let at = text.map(|text| text.parse::<Timestamp>().map_err(de::Error::custom)).transpose()?;
    T::read(at.map(Timestamp::as_millisecond)).ok_or_else(|| de::Error::custom("a time is missing"))
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
