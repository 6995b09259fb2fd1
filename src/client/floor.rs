//! The floor of free disk: below it nothing is taken from peers, so that none of them fills the disk to the brim.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::event::Space;
use crate::store::space::Room;

/// How often the disk is looked at, at most. At 150 MB a second, faster than any peer has filled one, a sixth of the
/// default floor is written meanwhile.
const LOOK: Duration = Duration::from_millis(250);
/// The default floor is this many bytes, or a twentieth of a file system that is small.
const FLOOR: u64 = 256 * 1024 * 1024;
const SMALL: u64 = 20;
/// There is enough again only with this part of the floor on top, so that a file of a few KiB doesn't change it to and
/// fro.
const HYSTERESIS: u64 = 8;

/// Watches the file system of the journal.
#[derive(Debug)]
pub struct Floor {
    path: PathBuf,
    /// What the user said is to be kept free, in bytes.
    keep: Option<u64>,
    space: Space,
    looked: Option<Instant>,
}

impl Floor {
    /// `path` is anything on that file system.
    pub fn new(path: PathBuf, keep: Option<u64>) -> Self {
        Self { path, keep, space: Space::Enough, looked: None }
    }

    pub fn is_low(&self) -> bool {
        self.space == Space::Low
    }

    /// What has changed since it was last asked, if it is time to look.
    pub fn look(&mut self, now: Instant) -> Option<Space> {
        if self.looked.is_some_and(|looked| now.saturating_duration_since(looked) < LOOK) {
            return None;
        }
        self.looked = Some(now);
        let room = Room::of(&self.path)
            .inspect_err(|error| tracing::warn!(%error, "can't tell how much room the disk has"))
            .ok()?;
        self.judge(room)
    }

    fn judge(&mut self, room: Room) -> Option<Space> {
        let floor = self.keep.unwrap_or_else(|| FLOOR.min(room.total / SMALL));
        let enough = if self.is_low() { floor.saturating_add(floor / HYSTERESIS) } else { floor };
        let space = if room.free < enough { Space::Low } else { Space::Enough };
        if space == self.space {
            return None;
        }
        tracing::warn!(free = room.free, floor, ?space, "the room on the disk");
        self.space = space;
        Some(space)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn below_the_floor_there_is_little_room_until_there_is_clearly_more() {
        for (keep, total, floor) in [
            (None, 1000 * 1024 * MIB, 256 * MIB),
            (None, 1000 * MIB, 50 * MIB),
            (Some(8 * MIB), 1000 * MIB, 8 * MIB),
        ] {
            let mut it = Floor::new(PathBuf::new(), keep);
            let mut free = |free| it.judge(Room { free, total });
            assert_eq!(free(floor), None);
            assert_eq!(free(floor - 1), Some(Space::Low));
            assert_eq!(free(0), None);
            assert_eq!(free(floor + floor / 8 - 1), None);
            assert_eq!(free(floor + floor / 8), Some(Space::Enough));
            assert_eq!(free(floor), None);
        }
        let mut it = Floor::new(PathBuf::new(), Some(0));
        assert_eq!(it.judge(Room { free: 0, total: MIB }), None);
    }

    #[test]
    fn the_disk_is_looked_at_now_and_then() {
        let directory = tempfile::tempdir().unwrap();
        let mut it = Floor::new(directory.path().into(), Some(u64::MAX));
        let start = Instant::now();
        assert_eq!(it.look(start), Some(Space::Low));
        it.keep = Some(0);
        assert_eq!(it.look(start + LOOK / 2), None);
        assert_eq!(it.look(start + LOOK), Some(Space::Enough));
        // What can't be told changes nothing.
        it.path = directory.path().join("nowhere");
        it.keep = Some(u64::MAX);
        assert_eq!(it.look(start + 2 * LOOK), None);
    }
}
