//! Who is told of the next holder of a name that was released: kept in memory.

use std::collections::{BTreeMap, BTreeSet};

use super::users::UserIndex;
use crate::protocol::Name;
use crate::undo::{Table, transactional};

/// How many users wait for one name.
const MAX_WAITING: usize = 4000;

/// See the module. The holder learns nothing of it. Without it, who has the old key pinned would hear of another one only at
/// the next login.
#[derive(Debug, Default)]
pub struct Awaited {
    names: Table<BTreeMap<Name, BTreeSet<UserIndex>>>,
}

impl Awaited {
    /// Only the operator makes names that can be waited for.
    pub fn wait(&mut self, name: &Name, user: UserIndex) {
        if self.names.get(name).is_none() {
            self.names.insert(name.clone(), BTreeSet::new());
        }
        self.names.change(name, |waiting| {
            if waiting.len() < MAX_WAITING {
                waiting.insert(user);
            }
        });
    }

    /// The name has a holder again. Returns who waits.
    pub fn take(&mut self, name: &Name) -> BTreeSet<UserIndex> {
        self.names.remove(name).unwrap_or_default()
    }
}

transactional!(Awaited { names });
