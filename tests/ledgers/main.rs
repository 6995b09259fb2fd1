//! What every ledger has to do: one suite, for SQLite, for PostgreSQL, and for the model that the simulation uses; then
//! what only one of them does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

#[path = "../support/ledger.rs"]
mod ledger;
#[allow(dead_code, reason = "the tests of the real programs use the rest")]
#[path = "../support/postgres.rs"]
mod server;

mod alone;
mod changes;
mod copying;
mod engine;
mod formats;
mod lab;
mod line;
mod replication;
mod restored;
mod sealed;
mod suite;
mod watching;
