//! How many dials are under way at once.

use std::time::Duration;

/// The most dials under way that are [`YOUNG`].
pub const MAX_DIALS: usize = 128;
/// How long a dial holds one of those places. A contact who has not answered by then is far away or silent, and must not
/// keep others from being dialled.
pub const YOUNG: Duration = Duration::from_millis(250);
/// The most dials under way in all; each has a thread, and a socket.
pub const MAX_UNDERWAY: usize = 1024;
/// Which part of the young ones, and of all, may go to contacts that never had a link.
const NEVER_LINKED: (usize, usize) = (MAX_DIALS / 4, MAX_UNDERWAY / 2);

/// The dials under way: young and old ones, of contacts that have had a link, and of the others.
#[derive(Debug, Default)]
pub struct Places {
    young: usize,
    all: usize,
    young_never_linked: usize,
    never_linked: usize,
}

impl Places {
    /// Counts one more, unless it is a young one for which there is no place.
    pub fn take(&mut self, proven: bool, young: bool) -> bool {
        let (most_young, most) = NEVER_LINKED;
        let free = self.young < MAX_DIALS && self.all < MAX_UNDERWAY;
        let may = proven || (self.young_never_linked < most_young && self.never_linked < most);
        if young && !(free && may) {
            return false;
        }
        self.all += 1;
        self.young += usize::from(young);
        self.never_linked += usize::from(!proven);
        self.young_never_linked += usize::from(young && !proven);
        true
    }
}
