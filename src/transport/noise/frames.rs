//! Frames: sealed by one side, opened by the other.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use snow::TransportState;

use super::TAG;

/// The length of what stands before each frame.
const PREFIX: usize = 2;

pub(super) fn halves(transport: TransportState) -> (Opener, Sealer) {
    let transport = Arc::new(Mutex::new(transport));
    let opener =
        Opener { transport: Arc::clone(&transport), buffer: Vec::new(), start: 0, end: 0, plain: Vec::new() };
    (opener, Sealer { transport })
}

/// The reader's half of a session.
pub struct Opener {
    transport: Arc<Mutex<TransportState>>,
    /// What has been read and not yet opened stands at `start..end`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    plain: Vec<u8>,
}

/// A frame that can't be opened: the connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Shorter than a tag, or longer than allowed.
    #[error("a frame of {0} bytes, which is not allowed here")]
    Length(usize),
    /// The frame was changed, replayed or out of order.
    #[error("a frame that was not sealed by the other side")]
    Forged,
}

impl Opener {
    /// Reads one frame of at most `max_plain` bytes and opens it, taking up to `read_ahead` bytes from
    /// the stream at a time. `Ok(None)` is an end between two frames.
    pub fn read(
        &mut self,
        stream: &mut impl Read,
        max_plain: usize,
        read_ahead: usize,
    ) -> Result<Option<&[u8]>, OpenError> {
        if !self.fill(stream, PREFIX, read_ahead)? {
            return Ok(None);
        }
        let unread = self.buffer.get(self.start..self.end).unwrap_or_default();
        let Some(prefix) = unread.first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes(*prefix));
        if !(TAG..=max_plain + TAG).contains(&length) {
            return Err(OpenError::Length(length));
        }
        if !self.fill(stream, PREFIX + length, read_ahead)? {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let sealed = self.start + PREFIX..self.start + PREFIX + length;
        self.start = sealed.end;
        self.plain.resize(length, 0);
        let sealed = self.buffer.get(sealed).unwrap_or_default();
        let opened =
            lock(&self.transport).read_message(sealed, &mut self.plain).map_err(|_| OpenError::Forged)?;
        Ok(self.plain.get(..opened))
    }

    /// Reads until `needed` bytes are there. `false` if the stream ended before the first of them.
    fn fill(&mut self, stream: &mut impl Read, needed: usize, read_ahead: usize) -> io::Result<bool> {
        if self.end - self.start >= needed {
            return Ok(true);
        }
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.buffer.len() < needed.max(read_ahead) {
            self.buffer.resize(needed.max(read_ahead), 0);
        }
        while self.end < needed {
            match stream.read(self.buffer.get_mut(self.end..).unwrap_or_default()) {
                Ok(0) if self.end == 0 => return Ok(false),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// The writer's half of a session.
pub struct Sealer {
    transport: Arc<Mutex<TransportState>>,
}

/// A plaintext that is longer than [`crate::protocol::MAX_PEER_FRAME`].
#[derive(Debug, thiserror::Error)]
#[error("a frame of {0} bytes can't be sealed")]
pub struct SealError(usize);

impl Sealer {
    /// Appends `plain`, sealed and with its length before it, to `wire`.
    pub fn seal(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result<(), SealError> {
        let failed = || SealError(plain.len());
        let length = plain.len() + TAG;
        let prefix = u16::try_from(length).map_err(|_| failed())?.to_be_bytes();
        let start = wire.len();
        wire.extend_from_slice(&prefix);
        wire.resize(start + PREFIX + length, 0);
        let room = wire.get_mut(start + PREFIX..).unwrap_or_default();
        lock(&self.transport).write_message(plain, room).map_err(|_| failed())?;
        Ok(())
    }
}

/// A panic in another thread can't leave the cipher half done in a way that matters: its connection is over.
fn lock(transport: &Mutex<TransportState>) -> std::sync::MutexGuard<'_, TransportState> {
    transport.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::Session;
    use super::super::handshake::tests::sessions;
    use super::*;
    use crate::protocol::MAX_PEER_FRAME;

    #[test]
    fn frames_arrive_whole_however_they_are_cut() {
        let (mut a, mut b) = sessions();
        let frames: Vec<Vec<u8>> =
            [0, 1, 100, MAX_PEER_FRAME].iter().map(|len| vec![*len as u8; *len]).collect();
        let mut wire = Vec::new();
        frames.iter().for_each(|frame| a.sealer.seal(frame, &mut wire).unwrap());
        assert!(a.sealer.seal(&vec![0; MAX_PEER_FRAME + 1], &mut wire.clone()).is_err());

        struct Dripping<'a>(&'a [u8], usize);
        impl Read for Dripping<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.1 = self.1 % 7 + 1;
                let room = buffer.len().min(self.1);
                self.0.read(&mut buffer[..room])
            }
        }
        let mut dripping = Dripping(&wire, 0);
        for frame in &frames {
            assert_eq!(b.opener.read(&mut dripping, MAX_PEER_FRAME, 512).unwrap().unwrap(), frame);
        }
        assert!(b.opener.read(&mut dripping, MAX_PEER_FRAME, 512).unwrap().is_none());
    }

    #[test]
    fn what_was_tampered_with_does_not_open() {
        let sealed = |session: &mut Session, texts: &[&[u8]]| {
            let seal = |text: &&[u8]| {
                let mut wire = Vec::new();
                session.sealer.seal(text, &mut wire).unwrap();
                wire
            };
            texts.iter().map(seal).collect::<Vec<_>>()
        };
        let opens = |session: &mut Session, wire: &[u8]| {
            session.opener.read(&mut &*wire, 100, 16).map(|plain| plain.map(<[u8]>::to_vec))
        };

        let (mut a, mut b) = sessions();
        let one = sealed(&mut a, &[b"one"]).remove(0);
        assert_eq!(opens(&mut b, &one).unwrap().unwrap(), b"one");
        assert!(matches!(opens(&mut b, &one), Err(OpenError::Forged)), "replayed");

        let (mut a, mut b) = sessions();
        let both = sealed(&mut a, &[b"one", b"two"]);
        assert!(matches!(opens(&mut b, &both[1]), Err(OpenError::Forged)), "reordered");

        let (mut a, mut b) = sessions();
        let mut changed = sealed(&mut a, &[b"one"]).remove(0);
        changed[5] ^= 1;
        assert!(matches!(opens(&mut b, &changed), Err(OpenError::Forged)), "changed");

        let (mut a, mut b) = sessions();
        let cut = sealed(&mut a, &[b"one"]).remove(0);
        assert!(matches!(opens(&mut b, &cut[..cut.len() - 1]), Err(OpenError::Io(_))), "cut");
        let (_, mut b) = sessions();
        assert!(matches!(opens(&mut b, &[0xff, 0xff, 0]), Err(OpenError::Length(0xffff))), "huge");
        assert!(matches!(opens(&mut b, &[0, 3, 1, 2, 3]), Err(OpenError::Length(_))), "too short");
    }
}
