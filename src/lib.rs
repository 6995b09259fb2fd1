//! Peer-to-peer chat for the terminal: two programs, `discovery` and `client`, of one crate.
//!
//! Both have the same shape. Threads that block on a socket, a line or a signal put what arrives into bounded
//! channels. One loop takes everything that has arrived, lets plain state machines decide, saves, and only then acts: so
//! nothing is promised, shown or acknowledged before it is on the disk, and many small things share one sync. What a
//! failed transaction changed in memory is taken back in one way, [`undo`], and decided once more without a disk.
//!
//! The parts, in reading order; each uses only those before it:
//!
//! | part | what it is for |
//! | --- | --- |
//! | [`time`], [`undo`] | clocks as the deciding code is told them; taking back what could not be saved |
//! | [`protocol`] | every message on the wire, the grammar of names, the limits |
//! | [`transport`] | proven, sealed connections, whatever their route |
//! | [`accounts`] | what discovery keeps, as plain data; [`accounts::ledger`]: what discovery and its database expect of each other |
//! | [`store`] | the databases, in SQLite and PostgreSQL; the only place with SQL |
//! | `terminal` | a terminal for any program: its keys, a line editor, and drawing it line by line or as a whole |
//! | [`logging`], [`cli`], [`scheduling`], [`secrecy`] | logs; command lines; the scheduler's policy; who may read the memory |
//! | [`discovery`] | the rendezvous server: [`discovery::registry`] decides, [`discovery::turns`] says when, a loop saves and acts; alone, or as one of several nodes |
//! | [`client`] | the chat box: [`client::node`] decides, [`client::run`] has the loop, [`client::console`] the front ends, which run here or, over a socket, in other programs; [`client::settings`] reads the configuration file |
//!
//! # Three paths
//!
//! The files that a value goes through, each one further and none twice. Left out is what surrounds every step in the
//! client: `client.rs` begins a transaction and acts after its commit, `client/node.rs`, `client/node/discovery_says.rs`,
//! `client/node/greetings.rs` and `client/node/peers_say.rs` call one machine after another.
//!
//! - **A typed line to the peer's screen.** `client/console/terminal.rs` reads it, `client/command.rs` understands it,
//!   `client/node/commands.rs` carries it out, `client/node/delivery/outgoing.rs` takes it, `client/node/log.rs` gives it
//!   its place, `store/journal/messages.rs` writes it. `client/node/send_window.rs` puts it into a frame, and once the
//!   transaction is committed `transport/writer.rs` seals that. At the peer `transport/connection.rs` opens the frame,
//!   `client/node/links.rs` knows whose it is, `client/node/delivery/incoming.rs` drops what it has already, the log and
//!   the store take the rest, `client/node/conversations.rs` tells it, `client/node/output.rs` holds it until the commit,
//!   and `client/console/output.rs` writes it.
//! - **A request.** `client/node/commands.rs` carries it out, `client/node/acquaintance.rs` has `client/node/roster.rs`
//!   add a contact, `client/node/rendezvous.rs` asks discovery. There `transport/connection.rs` reads it,
//!   `discovery/connections.rs` paces it, `discovery/server.rs` takes it, `discovery/turns.rs` puts it into a turn,
//!   `discovery/registry.rs` decides and yields a change, `discovery/keeper.rs` has that saved, by `store/directory.rs`, or
//!   through `discovery/shared.rs` by `store/postgres.rs`; then `discovery/registry/sharing.rs` applies it at other nodes. The answer pins the key in the client's roster,
//!   `client/node/dialer.rs` says when to dial, `client/network.rs` dials, and `client/node/links.rs` with
//!   `client/node/links/choice.rs` brings the link up.
//! - **An acknowledgement.** `client/node/delivery.rs` says what a transaction commits, `transport/writer.rs` sends it after
//!   the commit. At the sender `client/node/links.rs` knows whose it is, `client/node/delivery/outgoing.rs` takes it,
//!   `client/node/send_window.rs` frees the window, `client/node/conversations.rs` tells that it is delivered, and
//!   `store/journal/contacts.rs` saves how far the contact is.
//!
//! What is said in a room takes another way: `client/node/room_commands.rs` carries the line out,
//! `client/node/rooms/write.rs` writes an entry and signs it, `store/journal/rooms.rs` keeps it, and
//! `client/node/rooms/peers/serving.rs` sends it to those who are linked. At each of them
//! `client/node/rooms/take.rs` takes it once what it names is here, `client/node/rooms_say.rs` has it told, and
//! `client/node/rooms/receipts.rs` says so, which the author counts. `client/node/rooms.rs` has the map of that
//! machine.
//!
//! `CONTRIBUTING.md` lists which files to touch for a command, a message, a room's feature, a database or a route.
#![deny(unsafe_code)]

pub mod accounts;
pub mod cli;
pub mod client;
pub mod discovery;
pub mod logging;
pub mod protocol;
pub mod scheduling;
pub mod secrecy;
pub mod store;
mod terminal;
pub mod time;
pub mod transport;
pub mod undo;
