//! A CBOR item that can be damaged and stays one: what a decoder sees that bytes changed at random seldom reach.

use fastrand::Rng;

/// Numbers at which something ends.
const EDGES: [u64; 14] = [
    0,
    1,
    23,
    24,
    255,
    256,
    0xffff,
    0x1_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX - 1,
    u64::MAX,
];
/// Lengths at which something ends.
const LENGTHS: [usize; 12] = [0, 1, 5, 6, 7, 18, 31, 32, 33, 64, 300, 5000];

#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The major type of RFC 8949: 0 and 1 are numbers, 2 bytes, 3 text, 4 an array, 5 a map, 7 what is left.
    major: u8,
    /// The number, or which of what is left.
    value: u64,
    bytes: Vec<u8>,
    /// The items of an array; keys and values of a map in turn.
    inside: Vec<Item>,
}

impl Item {
    fn number(value: u64) -> Self {
        Self { major: 0, value, bytes: Vec::new(), inside: Vec::new() }
    }

    /// Reads one that an encoder has written.
    pub fn read(bytes: &mut &[u8]) -> Self {
        let first = take(bytes, 1)[0];
        let value = match first & 31 {
            width @ 24..28 => {
                take(bytes, 1 << (width - 24)).iter().fold(0, |n, byte| n << 8 | u64::from(*byte))
            }
            value => value.into(),
        };
        let mut item = Self { major: first >> 5, ..Self::number(value) };
        let count = usize::try_from(value).unwrap_or_default();
        match item.major {
            2 | 3 => item.bytes = take(bytes, count).to_vec(),
            4 => item.inside = (0..count).map(|_| Self::read(bytes)).collect(),
            5 => item.inside = (0..2 * count).map(|_| Self::read(bytes)).collect(),
            _ => {}
        }
        item
    }

    pub fn write(&self, frame: &mut Vec<u8>) {
        let value = match self.major {
            2 | 3 => self.bytes.len() as u64,
            4 => self.inside.len() as u64,
            5 => self.inside.len() as u64 / 2,
            _ => self.value,
        };
        let (width, length) = match value {
            0..24 => (u8::try_from(value).unwrap_or_default(), 0),
            24..0x100 => (24, 1),
            0x100..0x1_0000 => (25, 2),
            0x1_0000..0x1_0000_0000 => (26, 4),
            _ => (27, 8),
        };
        frame.push(self.major << 5 | width);
        frame.extend_from_slice(&value.to_be_bytes()[8 - length..]);
        frame.extend_from_slice(&self.bytes);
        self.inside.iter().for_each(|item| item.write(frame));
    }

    /// Changes one thing somewhere in it.
    pub fn damage(&mut self, rng: &mut Rng) {
        if rng.u8(0..4) > 0
            && let Some(inner) = rng.choice(&mut self.inside)
        {
            return inner.damage(rng);
        }
        if rng.u8(0..16) == 0 {
            return self.major = rng.u8(0..8);
        }
        match self.major {
            0 | 1 => match rng.u8(0..8) {
                0 => self.major ^= 1,
                1 => self.value = rng.u64(..),
                2 => self.value = self.value.wrapping_add(1),
                3 => self.value = self.value.wrapping_sub(1),
                4 => *self = Self { major: 7, ..Self::number(22) },
                _ => self.value = *rng.choice(&EDGES).unwrap(),
            },
            2 | 3 => match rng.u8(0..3) {
                0 => self.bytes.resize(*rng.choice(&LENGTHS).unwrap(), b'a'),
                _ if self.bytes.is_empty() => self.bytes.push(rng.u8(..)),
                1 => *rng.choice(&mut self.bytes).unwrap() = rng.u8(..),
                _ => self.bytes.truncate(rng.usize(0..self.bytes.len())),
            },
            // Of a map, entries; of an array, items.
            4 | 5 => {
                let step = if self.major == 5 { 2 } else { 1 };
                let at = step * rng.usize(0..=self.inside.len() / step);
                match rng.u8(0..4) {
                    0 => drop(self.inside.drain(at..(at + step).min(self.inside.len()))),
                    1 => drop(self.inside.splice(at..at, vec![Self::number(rng.u64(0..12)); step])),
                    2 => {
                        let twice = self.inside.get(at..at + step).unwrap_or_default().to_vec();
                        self.inside.splice(at..at, twice);
                    }
                    _ if at >= step && at < self.inside.len() => self.inside.swap(at, at - step),
                    _ => {}
                }
            }
            _ => self.value = rng.u64(18..24),
        }
    }
}

/// The next so many bytes.
fn take<'b>(bytes: &mut &'b [u8], count: usize) -> &'b [u8] {
    let (taken, rest) = bytes.split_at(count);
    *bytes = rest;
    taken
}

#[test]
fn an_item_that_was_read_is_written_as_it_was() {
    for example in super::targets::ALL.iter().flat_map(|(name, _)| super::examples(name)) {
        if let Some(item) = example.item {
            let mut written = Vec::new();
            item.write(&mut written);
            assert_eq!(written, example.body);
        }
    }
}
