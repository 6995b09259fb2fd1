//! A stand-in until the store of rooms lands.

use super::{Journal, Reading, RoomId, Seq};
use crate::protocol::peer::{Cursor, Kind};
use crate::protocol::room::RoomKey;
use crate::protocol::{Name, PublicKey};
use crate::store::Result;

/// A text of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub seq: Seq,
    pub author: PublicKey,
    pub own: bool,
    pub id: Cursor,
    pub kind: Kind,
    pub sent: i64,
    pub arrived: i64,
    pub body: Vec<u8>,
    pub place: u64,
}

/// A room as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomRow {
    pub id: RoomId,
    pub label: (Name, u32),
    pub key: RoomKey,
    pub reading: Reading,
}

impl Journal {
    pub fn said_after(&self, _: RoomId, _: Seq, _: impl FnMut(Said) -> bool) -> Result<()> {
        Ok(())
    }

    pub fn count_said_after(&self, _: RoomId, _: Seq, _: u64) -> Result<u64> {
        Ok(0)
    }

    pub fn last_said(&self, _: RoomId) -> Result<Seq> {
        Ok(0)
    }

    pub fn room_history(&self, _: RoomId, _: u32) -> Result<Vec<Said>> {
        Ok(Vec::new())
    }

    pub fn save_room_reading(&self, _: RoomId, _: &Reading) -> Result<()> {
        Ok(())
    }

    pub fn rooms(&self) -> Result<Vec<RoomRow>> {
        Ok(Vec::new())
    }
}
