//! What several tests need: real programs, driven and watched.

#![allow(dead_code, reason = "each test uses its part")]

pub mod client;
pub mod discovery;
pub mod proxy;
pub mod terminal;
pub mod throttle;
pub mod trace;
