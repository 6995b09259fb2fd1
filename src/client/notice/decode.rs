//! Notices read back from JSON, as a box on the socket of a client does.
//!
//! What is written and what is read has one definition, that of the types; here is what their derived form leaves open.

use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value};

use super::{Body, Notice, Told};
use crate::client::addressee::{Addressee, RoomLabel};
use crate::client::command::{Explanation, Reference};
use crate::protocol::peer::{Cursor, Kind};
use crate::protocol::room::RoomKey;
use crate::protocol::{Name, PublicKey};
use crate::transport::Route;

/// Of a body that the JSON leaves out, for only a later version can show it, the kind is not told.
const UNTOLD: Kind = Kind(0);

impl Told {
    /// Reads what [`Told::write_json`] has written.
    ///
    /// # Errors
    /// The line is no event, or one of another version.
    pub fn read_json(line: &[u8]) -> serde_json::Result<Self> {
        let mut fields: Map<String, Value> = serde_json::from_slice(line)?;
        let reference: Option<Reference> = fields.remove("ref").map(Reference::deserialize).transpose()?;
        let seq = fields.remove("seq").map(i64::deserialize).transpose()?.unwrap_or_default();
        name_form(&mut fields);
        Ok(Self { notice: Notice::deserialize(Value::Object(fields))?, reference, seq })
    }
}

/// Some events have two forms under one name: that of rooms is named.
fn name_form(fields: &mut Map<String, Value>) {
    let event = fields.get("event").and_then(Value::as_str).unwrap_or_default();
    let of_room = match event {
        "delivered" => fields.contains_key("have").then_some("spread"),
        "history" | "why" => fields.contains_key("room").then_some(event),
        "conversation" => fields.contains_key("room_id").then_some(event),
        _ => None,
    };
    let form = of_room.map(|event| match event {
        "spread" => event.to_owned(),
        event => format!("room-{event}"),
    });
    if let Some(form) = form {
        fields.insert("event".into(), form.into());
    }
}

fn text<'de, D: Deserializer<'de>, T, E: std::fmt::Display>(
    deserializer: D,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).map_err(de::Error::custom)
}

/// What is written as a text is read from one.
macro_rules! from_text {
    ($($type:ty => $parse:expr),+ $(,)?) => {
        $(impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                text(deserializer, $parse)
            }
        })+
    };
}

from_text! {
    Name => Self::from_str,
    PublicKey => Self::from_str,
    RoomLabel => Self::from_str,
    Addressee => Self::from_str,
    RoomKey => |text| PublicKey::from_str(text).map(|key| Self(key.0)),
    Cursor => |text| cursor(text).ok_or("an id is wanted here"),
    // The way stands in a field of its own.
    Route => |text| text.parse().map(|remote| Self::Direct { remote }),
}

fn cursor(text: &str) -> Option<Cursor> {
    let (epoch, number) = text.split_once('-')?;
    Some(Cursor { epoch: u64::from_str_radix(epoch, 16).ok()?, number: number.parse().ok()? })
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        Ok(text.map_or(Self::Unknown(UNTOLD, None), Self::Text))
    }
}

/// A command has one explanation, that of this version.
impl<'de> Deserialize<'de> for Explanation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Named {
            command: String,
        }
        let Named { command } = Named::deserialize(deserializer)?;
        Self::of(&command).ok_or_else(|| de::Error::custom("an unknown command is explained"))
    }
}
