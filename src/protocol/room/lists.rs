//! Lists of what rooms are made of. A longer one than there may be makes the frame malformed.

use minicbor::decode::{Decoder, Error};
use minicbor::encode::{Encoder, Write};
use minicbor::{Decode, Encode};

/// The most that any list holds, whatever fits into a frame.
pub const MAX_ITEMS: usize = 1024;

fn decode_with<'b, T>(
    d: &mut Decoder<'b>,
    most: usize,
    mut item: impl FnMut(&mut Decoder<'b>) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let at = d.position();
    let length = d.array()?.and_then(|length| usize::try_from(length).ok());
    let Some(length) = length.filter(|length| *length <= most) else {
        return Err(Error::message("too long a list").at(at));
    };
    (0..length).map(|_| item(d)).collect()
}

/// Items that are coded by themselves.
pub mod items {
    use super::{Decode, Decoder, Encode, Encoder, Error, MAX_ITEMS, Write};
    pub use crate::protocol::codec::lists::items::{is_nil, nil};

    pub fn encode<C, T: Encode<C>, W: Write>(
        items: &[T],
        e: &mut Encoder<W>,
        context: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.array(items.len() as u64)?;
        items.iter().try_for_each(|item| item.encode(e, context))
    }

    pub fn decode<'b, C, T: Decode<'b, C>>(d: &mut Decoder<'b>, context: &mut C) -> Result<Vec<T>, Error> {
        super::decode_with(d, MAX_ITEMS, |d| T::decode(d, context))
    }
}

/// A text that is not too long.
pub mod texts {
    use super::super::MAX_TOPIC;
    use super::{Decoder, Encoder, Error, Write};

    pub fn encode<C, W: Write>(
        text: &str,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.str(text)?.ok()
    }

    pub fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<String, Error> {
        let at = d.position();
        let text = d.str()?;
        if text.len() <= MAX_TOPIC {
            Ok(text.to_owned())
        } else {
            Err(Error::message("too long a text").at(at))
        }
    }
}

/// The entries of a run: the names of the chains in their causes, each once, and then the entries, whose causes give a
/// chain by its place in that list.
pub mod entries {
    use std::collections::BTreeMap;

    use super::super::{Cause, ChainName, Entry, EntryKind, MAX_CAUSES, MAX_RUN, Mark};
    use super::{Decode, Decoder, Encode, Encoder, Error, MAX_ITEMS, Write, decode_with};

    pub fn encode<C, W: Write>(
        entries: &[Entry],
        e: &mut Encoder<W>,
        context: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        let mut places = BTreeMap::new();
        let mut chains = Vec::new();
        for cause in entries.iter().flat_map(|entry| &entry.causes) {
            places.entry(cause.mark.chain).or_insert_with(|| {
                chains.push(cause.mark.chain);
                chains.len() as u64 - 1
            });
        }
        e.array(2)?.array(chains.len() as u64)?;
        chains.iter().try_for_each(|chain| chain.encode(e, context))?;
        e.array(entries.len() as u64)?;
        for entry in entries {
            let Entry { clock, kind, sent, causes, body } = entry;
            e.array(5)?.u64(*clock)?.u16(kind.0)?.i64(*sent)?;
            e.array(4 * causes.len() as u64)?;
            for Cause { mark, clock } in causes {
                e.u64(places.get(&mark.chain).copied().unwrap_or_default())?.u64(mark.number)?.u64(*clock)?;
                mark.hash.encode(e, context)?;
            }
            e.bytes(body)?;
        }
        Ok(())
    }

    pub fn decode<C>(d: &mut Decoder<'_>, context: &mut C) -> Result<Vec<Entry>, Error> {
        let at = d.position();
        let wrong = |what| Error::message(what).at(at);
        let array = |d: &mut Decoder<'_>, length| match d.array()? {
            Some(found) if found == length => Ok(()),
            _ => Err(wrong("an array of another length")),
        };
        array(d, 2)?;
        let chains: Vec<ChainName> = decode_with(d, MAX_ITEMS, |d| ChainName::decode(d, context))?;
        decode_with(d, MAX_RUN, |d| {
            array(d, 5)?;
            let (clock, kind, sent) = (d.u64()?, EntryKind(d.u16()?), d.i64()?);
            let count = d.array()?.unwrap_or(u64::MAX);
            if count % 4 != 0 || count / 4 > MAX_CAUSES as u64 {
                return Err(wrong("too many causes"));
            }
            let mut causes = Vec::new();
            for _ in 0..count / 4 {
                let chain = usize::try_from(d.u64()?).ok().and_then(|place| chains.get(place));
                let chain = *chain.ok_or_else(|| wrong("a chain that is not named"))?;
                let (number, clock) = (d.u64()?, d.u64()?);
                let hash = Decode::decode(d, context)?;
                causes.push(Cause { mark: Mark { chain, number, hash }, clock });
            }
            Ok(Entry { clock, kind, sent, causes, body: d.bytes()?.to_vec() })
        })
    }
}
