//! TCP sockets: listening, and sending without waiting.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::wire::Wire;
use crate::protocol::DEAD_AFTER;

/// The listen queue. With the standard library's 128 a crowd that comes back at once waits for seconds.
const BACKLOG: i32 = 4096;
/// What is asked of the kernel for a socket's send buffer, in bytes. It grants what it allows.
const SEND_BUFFER: usize = 1024 * 1024;

/// Listens at `address`; port 0 takes a free one, `::` takes IPv4 too.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Whether this machine has lost an address of its own, from which a connection was once made.
pub fn is_lost(own: IpAddr) -> bool {
    // Addresses of one link only can't be told from the address alone.
    let local = matches!(own, IpAddr::V6(ip) if ip.is_unicast_link_local());
    let taken = UdpSocket::bind((own, 0));
    !local && taken.is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable)
}

impl Wire for TcpStream {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Read::read(&mut &*self, buffer)
    }

    fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        Write::write_all(&mut &*self, bytes)
    }

    fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.set_read_timeout(timeout)?;
        self.set_write_timeout(timeout)
    }

    fn prepare(&self) -> io::Result<usize> {
        let socket = SockRef::from(self);
        socket.set_tcp_nodelay(true)?;
        socket.set_send_buffer_size(SEND_BUFFER)?;
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(DEAD_AFTER))?;
        socket.send_buffer_size()
    }

    fn send_now(&self, bytes: &[u8]) -> io::Result<()> {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        let sent = loop {
            match SockRef::from(self).send_with_flags(bytes, flags) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }

    fn shutdown(&self, how: Shutdown) {
        // Not before: the kernel takes a line for dead that is only thin, and the loop knows better.
        #[cfg(target_os = "linux")]
        if how == Shutdown::Both {
            let _ = SockRef::from(self).set_tcp_user_timeout(Some(DEAD_AFTER));
        }
        // Fails only if the connection is gone already.
        let _ = self.shutdown(how);
    }

    fn local(&self) -> Option<SocketAddr> {
        self.local_addr().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_lost_if_it_is_not_this_machine_s() {
        assert!(!is_lost([127, 0, 0, 1].into()));
        // An address for documentation, which no machine has.
        assert!(is_lost([192, 0, 2, 1].into()));
    }
}
