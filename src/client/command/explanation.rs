//! What `HELP <command>` says.

use serde::Serialize;

use super::table::find;

/// A command, its usages and more about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Explanation {
    pub command: &'static str,
    pub usages: &'static [(&'static str, &'static str)],
    pub more: &'static str,
}

impl Explanation {
    pub fn of(command: &str) -> Option<Self> {
        find(command).map(|spec| Self { command: spec.name, usages: spec.usages, more: spec.more })
    }
}
