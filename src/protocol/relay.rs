//! What a client and discovery say on a connection that discovery is to join with another one.
//!
//! The client sends [`RELAY_BYTE`] and its ticket, and waits. Discovery answers [`JOINED`] once both sides are there, and
//! copies bytes from then on; or it answers a byte of [`Refusal`](super::Refusal) and closes.

use std::time::Duration;

use super::rendezvous::TOKEN;

/// What a connection begins with that is to be relayed. No version has this number.
pub const RELAY_BYTE: u8 = 0xff;

/// What discovery answers once both sides are there.
pub const JOINED: u8 = 0;

/// How long a ticket is good for.
pub const TICKET_LASTS: Duration = Duration::from_secs(10);

/// A relayed link ends if nothing has come over it, in either direction, for this long.
pub const RELAY_IDLE: Duration = Duration::from_secs(60);

/// What a client sends first.
pub fn opening(ticket: &[u8; TOKEN]) -> [u8; 1 + TOKEN] {
    let mut opening = [RELAY_BYTE; 1 + TOKEN];
    opening.iter_mut().skip(1).zip(ticket).for_each(|(to, from)| *to = *from);
    opening
}
