//! Short lists, which take no bytes where they are empty. A longer one than there may be makes the frame malformed.

use minicbor::Decode;
use minicbor::decode::{Decoder, Error};
use minicbor::encode::{Encoder, Write};

/// The most that any list holds.
pub const MAX_LIST: usize = 8;

/// The list whose items `item` decodes.
fn decode_with<'b, T>(
    d: &mut Decoder<'b>,
    mut item: impl FnMut(&mut Decoder<'b>) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let at = d.position();
    let length = d.array()?.and_then(|length| usize::try_from(length).ok());
    let Some(length) = length.filter(|length| *length <= MAX_LIST) else {
        return Err(Error::message("too long a list").at(at));
    };
    (0..length).map(|_| item(d)).collect()
}

fn encode_head<W: Write>(length: usize, e: &mut Encoder<W>) -> Result<(), minicbor::encode::Error<W::Error>> {
    e.array(length as u64)?.ok()
}

/// Items that are coded by themselves.
pub mod items {
    use super::{Decode, Decoder, Encoder, Error, Write};

    pub fn encode<C, T: minicbor::Encode<C>, W: Write>(
        items: &[T],
        e: &mut Encoder<W>,
        context: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        super::encode_head(items.len(), e)?;
        items.iter().try_for_each(|item| item.encode(e, context))
    }

    pub fn decode<'b, C, T: Decode<'b, C>>(d: &mut Decoder<'b>, context: &mut C) -> Result<Vec<T>, Error> {
        super::decode_with(d, |d| T::decode(d, context))
    }

    pub fn nil<T>() -> Option<Vec<T>> {
        Some(Vec::new())
    }

    pub fn is_nil<T>(items: &[T]) -> bool {
        items.is_empty()
    }
}

/// Socket addresses, see [`address`](super::address).
pub mod addresses {
    use std::net::SocketAddr;

    use super::super::address;
    pub use super::items::{is_nil, nil};
    use super::{Decoder, Encoder, Error, Write};

    pub fn encode<C, W: Write>(
        addresses: &[SocketAddr],
        e: &mut Encoder<W>,
        context: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        super::encode_head(addresses.len(), e)?;
        addresses.iter().try_for_each(|item| address::encode(item, e, context))
    }

    pub fn decode<C>(d: &mut Decoder<'_>, context: &mut C) -> Result<Vec<SocketAddr>, Error> {
        super::decode_with(d, |d| address::decode(d, context))
    }
}

/// Addresses without a port, as 4 bytes (IPv4) or 16 (IPv6).
pub mod hosts {
    use std::net::IpAddr;

    pub use super::items::{is_nil, nil};
    use super::{Decoder, Encoder, Error, Write};

    pub fn encode<C, W: Write>(
        hosts: &[IpAddr],
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        super::encode_head(hosts.len(), e)?;
        for host in hosts {
            match host {
                IpAddr::V4(ip) => e.bytes(&ip.octets())?,
                IpAddr::V6(ip) => e.bytes(&ip.octets())?,
            };
        }
        Ok(())
    }

    pub fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Vec<IpAddr>, Error> {
        super::decode_with(d, |d| {
            let at = d.position();
            let bytes = d.bytes()?;
            let v4 = || <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
            let v6 = || <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from);
            v4().or_else(v6).ok_or_else(|| Error::message("a host has 4 or 16 bytes").at(at))
        })
    }
}
