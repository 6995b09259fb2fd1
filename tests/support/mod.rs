//! What several tests need: real programs, driven and watched.

#![allow(dead_code, reason = "each test uses its part")]

pub mod attached;
pub mod client;
pub mod cost;
pub mod discovery;
pub mod liar;
pub mod proxy;
pub mod raw;
pub mod terminal;
pub mod throttle;
pub mod trace;
