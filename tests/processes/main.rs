//! The real programs: started, used, killed, cut off and started again, each test in a directory of its own.
//!
//! ```text
//! cargo test --test processes              # all of them
//! cargo test --test processes crash::      # one file
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

#[allow(dead_code, reason = "the suite of ledgers uses the rest")]
#[path = "../support/postgres.rs"]
mod postgres;

mod backup;
mod boxes;
mod chat;
mod config;
mod conversation;
mod crash;
#[cfg(target_os = "linux")]
mod detach;
mod discoveries;
mod discovery;
mod ends;
mod keys;
#[cfg(target_os = "linux")]
mod network;
mod nodes;
mod operating;
mod operator;
mod proxy;
mod removed;
mod rooms;
mod scripting;
mod silent;
mod stalled;
#[cfg(target_os = "linux")]
mod sweep;
mod thin;
mod transfer;
