//! Frames: sealed by one side, opened by the other.
//!
//! Each direction changes its key from time to time, so that who takes the key of a long link from memory can't read
//! what came before. A frame without plaintext is the mark: what follows it, in its direction, is sealed under the key
//! that Noise's `REKEY` makes of the old one.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use snow::TransportState;

use super::TAG;

/// The length of what stands before each frame.
const PREFIX: usize = 2;

/// How long a key seals, and how many frames; whichever comes first. An hour of an idle link is a frame in four seconds,
/// and 2^20 frames are at most 64 GiB.
const SEALS: Lifetime = Lifetime { time: Duration::from_secs(3600), frames: 1 << 20 };
/// The same for what is opened. Twice as much, so that no clock has to be exact.
const OPENS: Lifetime = Lifetime { time: Duration::from_secs(2 * 3600), frames: 1 << 21 };

#[derive(Clone, Copy)]
struct Lifetime {
    time: Duration,
    frames: u32,
}

/// The key of one direction.
struct Key {
    since: Instant,
    /// How many frames it has sealed or opened.
    frames: u32,
}

impl Key {
    fn new(now: Instant) -> Self {
        Self { since: now, frames: 0 }
    }

    /// Seals under the next key from now on.
    fn change(
        &mut self,
        transport: &mut TransportState,
        now: Instant,
        wire: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        if self.frames > 0 {
            append(transport, &[], wire)?;
            transport.rekey_outgoing();
            *self = Self::new(now);
        }
        Ok(())
    }

    fn is_spent(&self, most: Lifetime, now: Instant) -> bool {
        self.frames >= most.frames || now.saturating_duration_since(self.since) >= most.time
    }
}

pub(super) fn halves(transport: TransportState) -> (Opener, Sealer) {
    let transport = Arc::new(Mutex::new(transport));
    let now = Instant::now();
    let opener = Opener {
        transport: Arc::clone(&transport),
        key: Key::new(now),
        buffer: Vec::new(),
        start: 0,
        end: 0,
        plain: Vec::new(),
    };
    (opener, Sealer { transport, key: Key::new(now) })
}

/// The reader's half of a session.
pub struct Opener {
    transport: Arc<Mutex<TransportState>>,
    key: Key,
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
    #[error("the other side has sealed too much with one key")]
    OldKey,
    /// A key that was changed before it had sealed anything.
    #[error("the other side changes its key for nothing")]
    UnusedKey,
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
        // A time before the wait is good enough: silence ends a connection long before a key is old.
        let now = Instant::now();
        loop {
            let Some(length) = self.next(stream, max_plain, read_ahead, now)? else {
                return Ok(None);
            };
            if length > 0 {
                return Ok(self.plain.get(..length));
            }
        }
    }

    /// Reads and opens one frame; the length of its plaintext, which is 0 if the key was changed.
    fn next(
        &mut self,
        stream: &mut impl Read,
        max_plain: usize,
        read_ahead: usize,
        now: Instant,
    ) -> Result<Option<usize>, OpenError> {
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
        let mut transport = lock(&self.transport);
        let opened = transport.read_message(sealed, &mut self.plain).map_err(|_| OpenError::Forged)?;
        if opened > 0 {
            if self.key.is_spent(OPENS, now) {
                return Err(OpenError::OldKey);
            }
            self.key.frames += 1;
        } else {
            if self.key.frames == 0 {
                return Err(OpenError::UnusedKey);
            }
            transport.rekey_incoming();
            self.key = Key::new(now);
        }
        Ok(Some(opened))
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
    key: Key,
}

/// A plaintext that is empty, or longer than [`crate::protocol::MAX_PEER_FRAME`].
#[derive(Debug, thiserror::Error)]
#[error("a frame of {0} bytes can't be sealed")]
pub struct SealError(usize);

impl Sealer {
    /// Appends `plain`, sealed and with its length before it, to `wire`; before it, if it is time, the mark that a new
    /// key seals it.
    pub fn seal(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result<(), SealError> {
        self.seal_at(Instant::now(), plain, wire)
    }

    pub(super) fn seal_at(
        &mut self,
        now: Instant,
        plain: &[u8],
        wire: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        if plain.is_empty() {
            return Err(SealError(0));
        }
        let mut transport = lock(&self.transport);
        if self.key.is_spent(SEALS, now) {
            self.key.change(&mut transport, now, wire)?;
        }
        self.key.frames += 1;
        append(&mut transport, plain, wire)
    }

    /// Appends the mark that a new key seals what follows, before it is time. Nothing happens if this one has sealed
    /// nothing.
    pub fn change_key(&mut self, wire: &mut Vec<u8>) -> Result<(), SealError> {
        self.key.change(&mut lock(&self.transport), Instant::now(), wire)
    }
}

fn append(transport: &mut TransportState, plain: &[u8], wire: &mut Vec<u8>) -> Result<(), SealError> {
    let failed = || SealError(plain.len());
    let length = plain.len() + TAG;
    let prefix = u16::try_from(length).map_err(|_| failed())?.to_be_bytes();
    let start = wire.len();
    wire.extend_from_slice(&prefix);
    wire.resize(start + PREFIX + length, 0);
    let room = wire.get_mut(start + PREFIX..).unwrap_or_default();
    transport.write_message(plain, room).map_err(|_| failed())?;
    Ok(())
}

/// A panic in another thread can't leave the cipher half done in a way that matters: its connection is over.
fn lock(transport: &Mutex<TransportState>) -> std::sync::MutexGuard<'_, TransportState> {
    transport.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::Session;
    use super::super::exchange::tests::sessions;
    use super::*;
    use crate::protocol::MAX_PEER_FRAME;

    #[test]
    fn frames_arrive_whole_however_they_are_cut() {
        let (mut a, mut b) = sessions();
        let frames: Vec<Vec<u8>> =
            [1, 2, 100, MAX_PEER_FRAME].iter().map(|len| vec![*len as u8; *len]).collect();
        let mut wire = Vec::new();
        frames.iter().for_each(|frame| a.sealer.seal(frame, &mut wire).unwrap());
        assert!(a.sealer.seal(&vec![0; MAX_PEER_FRAME + 1], &mut wire.clone()).is_err());
        assert!(a.sealer.seal(&[], &mut wire.clone()).is_err(), "that would be a mark");

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

    /// What was sealed at this moment.
    fn sealed(session: &mut Session, now: Instant, text: &[u8]) -> Vec<u8> {
        let mut wire = Vec::new();
        session.sealer.seal_at(now, text, &mut wire).unwrap();
        wire
    }

    /// The lengths of the plaintexts of frames that are read at this moment; 0 is a mark.
    fn opened(session: &mut Session, now: Instant, mut wire: &[u8]) -> Result<Vec<usize>, OpenError> {
        let mut lengths = Vec::new();
        while let Some(length) = session.opener.next(&mut wire, 100, 16, now)? {
            lengths.push(length);
        }
        Ok(lengths)
    }

    fn mark(session: &mut Session) -> Vec<u8> {
        let mut wire = Vec::new();
        append(&mut lock(&session.sealer.transport), &[], &mut wire).unwrap();
        lock(&session.sealer.transport).rekey_outgoing();
        wire
    }

    #[test]
    fn a_key_is_changed_every_hour_in_each_direction_for_itself() {
        let (mut a, mut b) = sessions();
        let start = Instant::now();
        let almost = start + SEALS.time - Duration::from_secs(60);
        let wire = sealed(&mut a, almost, b"one");
        assert_eq!(opened(&mut b, almost, &wire).unwrap(), [3]);
        for hour in 1..5 {
            let now = start + hour * (SEALS.time + Duration::from_secs(1));
            let wire = sealed(&mut a, now, b"two");
            assert_eq!(opened(&mut b, now, &wire).unwrap(), [0, 3], "hour {hour}");
            assert_eq!(a.opener.key.frames, 0);
        }
        // The other direction has its first key still, and now a second.
        let now = start + SEALS.time + Duration::from_secs(1);
        for lengths in [&[3][..], &[0, 3], &[3]] {
            let wire = sealed(&mut b, now, b"own");
            assert_eq!(opened(&mut a, now, &wire).unwrap(), lengths);
        }
        // What a reader gets of it is the text alone.
        let late = start + 6 * SEALS.time;
        let wire = sealed(&mut a, late, b"six");
        assert_eq!(wire.len(), 2 * (PREFIX + TAG) + 3);
        assert_eq!(b.opener.read(&mut &wire[..], 100, 16).unwrap().unwrap(), b"six");
    }

    #[test]
    fn a_key_is_changed_after_so_many_frames() {
        let (mut a, mut b) = sessions();
        let now = Instant::now();
        (a.sealer.key.frames, b.opener.key.frames) = (SEALS.frames - 1, SEALS.frames - 1);
        for lengths in [&[1][..], &[0, 1], &[1]] {
            let wire = sealed(&mut a, now, b"x");
            assert_eq!(opened(&mut b, now, &wire).unwrap(), lengths);
        }
        assert_eq!((a.sealer.key.frames, b.opener.key.frames), (2, 2));
    }

    #[test]
    fn who_does_not_change_the_key_is_cut() {
        let (mut a, mut b) = sessions();
        let now = Instant::now();
        b.opener.key.frames = OPENS.frames - 1;
        let wire = sealed(&mut a, now, b"last");
        assert_eq!(opened(&mut b, now, &wire).unwrap(), [4]);
        let wire = sealed(&mut a, now, b"one more");
        assert!(matches!(opened(&mut b, now, &wire), Err(OpenError::OldKey)));

        let (mut a, mut b) = sessions();
        let wire = sealed(&mut a, now, b"in time");
        assert_eq!(opened(&mut b, now + OPENS.time - Duration::from_secs(60), &wire).unwrap(), [7]);
        let wire = sealed(&mut a, now, b"late");
        assert!(matches!(
            opened(&mut b, now + OPENS.time + Duration::from_secs(60), &wire),
            Err(OpenError::OldKey)
        ));
    }

    #[test]
    fn a_key_that_sealed_nothing_is_not_changed() {
        let now = Instant::now();
        let (mut a, mut b) = sessions();
        let wire = mark(&mut a);
        assert!(matches!(opened(&mut b, now, &wire), Err(OpenError::UnusedKey)));
        let (mut a, mut b) = sessions();
        let wire =
            [sealed(&mut a, now, b"x"), mark(&mut a), sealed(&mut a, now, b"y"), mark(&mut a)].concat();
        assert_eq!(opened(&mut b, now, &wire).unwrap(), [1, 0, 1, 0]);
        let wire = mark(&mut a);
        assert!(matches!(opened(&mut b, now, &wire), Err(OpenError::UnusedKey)), "two in a row");
    }

    #[test]
    fn what_follows_a_mark_opens_under_the_new_key_only() {
        let now = Instant::now();
        let (mut a, mut b) = sessions();
        let (first, _mark, second) = (sealed(&mut a, now, b"x"), mark(&mut a), sealed(&mut a, now, b"y"));
        opened(&mut b, now, &first).unwrap();
        // The mark was taken out on the way: the counter does not fit either, so it is told.
        lock(&b.opener.transport).set_receiving_nonce(2);
        assert!(matches!(opened(&mut b, now, &second), Err(OpenError::Forged)));
    }
}
