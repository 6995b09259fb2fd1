//! Proven, sealed connections: the one way in which both programs reach others.
//!
//! A connection takes a [`Route`]: it names the other end, and yields a [`Wire`], the bytes both ways. Over the wire
//! goes a handshake, see [`noise`], then frames. What is proven is handed over in one way, [`Connection::open`]: the
//! loop gets a [`Writer`], and a thread that reads reports what arrives as [`Event`]s. Nothing above this module
//! knows what the wire is made of, so another route is a variant of [`Route`] and an implementation of [`Wire`].

mod admission;
mod connection;
mod listener;
mod meet;
mod network;
pub mod noise;
mod race;
mod route;
mod tcp;
mod wire;
mod writer;

pub use admission::{Caps, Permit};
pub use connection::{Connection, ConnectionId, Event, Framing, Opened, ReadError, Role, Transport};
pub use listener::{Rejected, Relaying, ToRelay, refuse};
pub use network::{greediest, network, networks};
pub use race::{Outcome, Race};
pub use route::Route;
pub use tcp::{is_lost, listen};
pub use wire::Wire;
pub use writer::{Buffers, Writer};
