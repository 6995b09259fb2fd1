//! The loop's half of a connection.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;

use minicbor::Encode;

use super::noise::{SealError, Sealer};
use super::wire::Wire;
use crate::protocol::codec;

/// Room for what is being sent, to be used again for the next connection.
#[derive(Default)]
pub struct Buffers {
    plain: Vec<u8>,
    wire: Vec<u8>,
}

/// Sends on one connection, and closes it when dropped.
pub struct Writer {
    pub(super) wire: Arc<dyn Wire>,
    pub(super) sealer: Sealer,
    /// See [`Framing::fill`](super::Framing::fill).
    pub(super) fill: usize,
}

impl Writer {
    /// Sends messages at once, in as few frames as possible. Where the connection does not take them at once, the other
    /// side does not read, or is not there: the connection is closed, and its reader reports that.
    pub fn send<'m, T: Encode<()> + 'm>(
        &mut self,
        messages: impl IntoIterator<Item = &'m T>,
        Buffers { plain, wire }: &mut Buffers,
    ) -> io::Result<()> {
        wire.clear();
        frames(messages, self.fill, plain, |frame| self.sealer.seal(frame, wire))
            .map_err(io::Error::other)
            .and_then(|()| if wire.is_empty() { Ok(()) } else { self.wire.send_now(wire) })
            .inspect_err(|_| self.close())
    }

    /// See [`Wire::local`].
    pub fn local(&self) -> Option<SocketAddr> {
        self.wire.local()
    }

    /// Closes the connection after what has been sent; its reader reports that.
    pub fn close(&self) {
        self.wire.shutdown(Shutdown::Both);
    }

    /// Tells the other side that nothing more comes. What it still sends is read.
    pub fn finish(&self) {
        self.wire.shutdown(Shutdown::Write);
    }
}

impl Drop for Writer {
    /// Wakes the thread that reads, which holds the connection too.
    fn drop(&mut self) {
        self.close();
    }
}

/// Encodes messages into frames of at most `fill` bytes, unless a single message is longer.
fn frames<'m, T: Encode<()> + 'm>(
    messages: impl IntoIterator<Item = &'m T>,
    fill: usize,
    plain: &mut Vec<u8>,
    mut seal: impl FnMut(&[u8]) -> Result<(), SealError>,
) -> Result<(), SealError> {
    plain.clear();
    for message in messages {
        let before = plain.len();
        codec::encode(message, plain);
        if before > 0 && plain.len() > fill {
            seal(plain.get(..before).unwrap_or_default())?;
            plain.drain(..before);
        }
    }
    if plain.is_empty() { Ok(()) } else { seal(plain) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::rendezvous::{About, ToClient};

    #[test]
    fn messages_share_frames_that_are_not_too_long() {
        let fill = 16 * 1024;
        let message = ToClient::NoSuchUser(About { name: "x".repeat(32).parse().unwrap() });
        let messages = vec![message; 1000];
        let (mut sealed, mut read) = (0, 0);
        frames(&messages, fill, &mut Vec::new(), |frame| {
            assert!(frame.len() <= fill);
            sealed += 1;
            read += codec::decode::<ToClient>(frame).unwrap().len();
            Ok(())
        })
        .unwrap();
        assert!(sealed <= 4);
        assert_eq!(read, messages.len());
    }
}
