//! The real programs behind routers of many kinds, in network namespaces that each test makes and removes.
//!
//! ```text
//! cargo test --test reach -- --nocapture      # with the table of what was reached, how and when
//! ```

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../support/postgres.rs"]
mod postgres;

mod lab;
mod mapped;
mod pairs;
mod strangers;
