//! Keeps what is in this process's memory, its keys among it, from the user's other programs and from the disk.

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// No core file is written from here on, and only root can attach a debugger or read the memory. Called before a key is
/// read. A failure is logged: the program is of use without it.
pub fn protect() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "other programs of this user can read this one's memory");
    }
    let none = Rlimit { current: Some(0), ..getrlimit(Resource::Core) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "a crash may write the memory to a core file");
    }
}
