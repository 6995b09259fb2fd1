//! Connections that another program has a part in making: those that both sides punch, and those that discovery joins.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::noise::HandshakeError;
use super::race::shared;
use super::wire::{Deadline, DeadlineWire, Wire};
use crate::protocol::rendezvous::TOKEN;
use crate::protocol::{HANDSHAKE_DEADLINE, relay};

/// What each side says first on a punched connection, before the token. No version has this number.
pub const PUNCHED: u8 = 0xfe;
/// How often another port is tried if the first one is in use towards the same address.
const PORTS: usize = 3;

/// Connects to discovery from a port that can be shared with what is punched, see [`super::race`]. Returns how long one
/// round trip takes, too.
pub fn session(remote: SocketAddr) -> io::Result<(TcpStream, Duration)> {
    let any = match remote {
        SocketAddr::V4(_) => SocketAddr::from(([0; 4], 0)),
        SocketAddr::V6(_) => SocketAddr::from(([0_u16; 8], 0)),
    };
    let mut outcome = Err(io::ErrorKind::AddrNotAvailable.into());
    for _ in 0..PORTS {
        let socket = shared(any)?;
        let begun = Instant::now();
        outcome =
            socket.connect_timeout(&remote.into(), HANDSHAKE_DEADLINE).map(|()| (socket, begun.elapsed()));
        if !matches!(&outcome, Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable) {
            break;
        }
    }
    outcome.map(|(socket, took)| (socket.into(), took))
}

/// Makes sure that the other side of a punched connection means the same punch.
pub fn know(wire: &dyn Wire, token: &[u8; TOKEN], deadline: Deadline) -> Result<(), HandshakeError> {
    let mut said = [PUNCHED; 1 + TOKEN];
    said.iter_mut().skip(1).zip(token).for_each(|(to, from)| *to = *from);
    let mut wire = DeadlineWire { wire, deadline };
    wire.write_all(&said)?;
    let mut heard = [0; 1 + TOKEN];
    io::Read::read_exact(&mut wire, &mut heard)?;
    if heard == said { Ok(()) } else { Err(HandshakeError::Malformed("token of a punch")) }
}

/// Has discovery join this side with the one that has the other ticket. Takes as long as that one takes to come.
pub fn join(through: SocketAddr, ticket: &[u8; TOKEN]) -> Result<TcpStream, HandshakeError> {
    let stream = TcpStream::connect_timeout(&through, HANDSHAKE_DEADLINE)?;
    let deadline = Deadline::within(relay::TICKET_LASTS + HANDSHAKE_DEADLINE);
    let mut wire = DeadlineWire { wire: &stream, deadline };
    wire.write_all(&relay::opening(ticket))?;
    let mut answer = [0];
    io::Read::read_exact(&mut wire, &mut answer)?;
    match answer {
        [relay::JOINED] => Ok(stream),
        [other] => Err(HandshakeError::of_byte(other)),
    }
}
