//! Bytes that mean harm: against every decoder, and against the real discovery.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod asking;
mod discovery;
mod fuzz;
mod mates;
mod relay;
mod strangers;
