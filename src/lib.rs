//! Peer-to-peer chat for the terminal: two programs, `discovery` and `client`, of one crate.
#![forbid(unsafe_code)]
pub mod client;
pub mod discovery;
pub mod logging;
pub mod net;
pub mod noise;
pub mod protocol;
pub mod store;
pub mod time;
