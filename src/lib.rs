//! Peer-to-peer chat for the terminal: two programs, `discovery` and `client`, of one crate.
//!
//! Both have the same shape. Threads that block on a socket, a line or a signal put what arrives into one
//! bounded channel. One loop takes everything that has arrived, opens a transaction, lets a plain state
//! machine decide, commits, and only then acts: so nothing is promised, shown or acknowledged before it
//! is on the disk, and many small things share one sync.
//!
//! The rooms, in reading order; each uses only those before it:
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`protocol`] | every message on the wire, the grammar of names, the limits |
//! | [`transport`] | proven, sealed connections, whatever their route |
//! | [`accounts`] | what discovery keeps, as plain data |
//! | [`store`] | the databases; the only place with SQL |
//! | `terminal` | a line editor on a terminal, for any program |
//! | [`time`], [`logging`], [`cli`], [`scheduling`] | clocks as the deciding code is told them; logs; command lines; turns |
//! | [`discovery`] | the rendezvous server; [`discovery::registry`] decides |
//! | [`client`] | the chat box; [`client::node`] decides |
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
