//! Peer-to-peer chat for the terminal: two programs, `discovery` and `client`, of one crate.
//!
//! Both have the same shape. Threads that block on a socket, a line or a signal put what arrives into one bounded
//! channel. One loop takes everything that has arrived, lets plain state machines decide, saves, and only then acts: so
//! nothing is promised, shown or acknowledged before it is on the disk, and many small things share one sync. What a
//! failed transaction changed in memory is taken back in one way, [`undo`], and decided once more without a disk.
//!
//! The rooms, in reading order; each uses only those before it:
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`time`], [`undo`] | clocks as the deciding code is told them; taking back what could not be saved |
//! | [`protocol`] | every message on the wire, the grammar of names, the limits |
//! | [`transport`] | proven, sealed connections, whatever their route |
//! | [`accounts`] | what discovery keeps, as plain data |
//! | [`store`] | the databases; the only place with SQL |
//! | `terminal` | a line editor on a terminal, for any program |
//! | [`logging`], [`cli`], [`scheduling`] | logs; command lines; the scheduler's policy |
//! | [`discovery`] | the rendezvous server: [`discovery::registry`] decides, a loop saves and acts |
//! | [`client`] | the chat box: [`client::node`] decides, [`client::run`] has the loop, [`client::console`] the front ends |
//!
//! # Three paths
//!
//! Each step is one file further, and none leads back.
//!
//! - **A typed line to the peer's screen.** `client/console/terminal.rs` reads it, `client/command.rs` understands it,
//!   `client.rs` takes it into a transaction, `client/node/commands.rs` carries it out, `client/node/delivery.rs` adds it to
//!   the journal (`store/journal/messages.rs`) and to a frame, `transport/writer.rs` seals that. At the peer
//!   `transport/connection.rs` reads it, `client.rs` takes it in, `client/node/routes.rs` routes it,
//!   `client/node/delivery.rs` commits it once, `client/node/conversations.rs` tells it, `client/console/output.rs` writes
//!   it.
//! - **A request.** `client/node/commands.rs` makes a contact (`client/node/roster.rs`), `client/node/rendezvous.rs` asks
//!   discovery. There `discovery/connections.rs` reads it, `discovery/server.rs` batches it, `discovery/registry.rs` decides
//!   and yields a change, `store/directory.rs` saves that. The answer comes to `client/node/routes.rs`: the roster pins the
//!   key, `client/node/dialer.rs` dials the address, `client/node/links.rs` brings the link up.
//! - **An acknowledgement.** `client/node/delivery.rs` notes what a transaction commits, `client/node.rs` asks for it in the
//!   same transaction, `client.rs` sends it after the commit. At the sender `client/node/routes.rs` routes it,
//!   `client/node/send_window.rs` frees the window, `client/node/delivery.rs` saves how far the contact is, and
//!   `client/node/conversations.rs` tells that it is delivered.
//!
//! `CONTRIBUTING.md` lists which files to touch for a command, a message, a database or a route.
#![deny(unsafe_code)]

pub mod accounts;
pub mod cli;
pub mod client;
pub mod discovery;
pub mod logging;
pub mod protocol;
pub mod scheduling;
pub mod store;
mod terminal;
pub mod time;
pub mod transport;
pub mod undo;
