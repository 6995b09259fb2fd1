//! What a client and discovery say to each other, inside their Noise session.
//!
//! A client's first message is [`ToDiscovery::Register`]. Everything discovery answers or pushes is a
//! statement of fact that may arrive at any time: nothing here needs to be matched to a question.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use minicbor::{Decode, Encode};

use super::codec::address;
use super::{Name, PublicKey};

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ToDiscovery {
    /// "I am this user, and I listen there."
    #[n(0)]
    Register(#[n(0)] Register),
    /// "I want a channel to this user." Kept until the two are linked.
    #[n(1)]
    Request(#[n(0)] About),
    /// "I have a channel to this user." From the one who was asked it settles the request: the two are
    /// connected from now on. From the other it says nothing new.
    #[n(2)]
    Linked(#[n(0)] About),
    /// "Whose key is this?"
    #[n(3)]
    Identify(#[n(0)] Identify),
    /// "I am still here"; answered by [`ToClient::Pong`].
    #[n(4)]
    Ping,
    /// "I am going": offline from now on.
    #[n(5)]
    Logout,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Register {
    /// The name wanted; bound to the session's key by the first registration.
    #[n(0)]
    pub name: Name,
    /// Where the client takes links from peers. An unspecified address (`0.0.0.0`, `::`) stands for the
    /// one that discovery sees.
    #[cbor(n(1), with = "address")]
    pub listen: SocketAddr,
    /// A random number drawn at the client's start: tells one that has lost its session, and comes
    /// again, from a second one with the same account.
    #[n(2)]
    pub start: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct About {
    #[n(0)]
    pub name: Name,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Identify {
    #[n(0)]
    pub key: PublicKey,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ToClient {
    /// The registration stands. What discovery knows of this user's contacts follows, then [`Self::Synced`].
    #[n(0)]
    Registered(#[n(0)] Registered),
    #[n(1)]
    Refused(#[n(0)] Refused),
    /// What discovery knows of a user; pushed whenever it changes.
    #[n(2)]
    Status(#[n(0)] Status),
    #[n(3)]
    NoSuchUser(#[n(0)] About),
    /// Every contact that discovery knows of has been told.
    #[n(4)]
    Synced,
    /// The answer to [`ToDiscovery::Identify`].
    #[n(5)]
    Identity(#[n(0)] Identity),
    #[n(6)]
    Pong,
    /// The account has registered from somewhere else: this session is over, and the client is to stay out.
    #[n(7)]
    Superseded(#[n(0)] Registered),
}

impl ToClient {
    /// Whether the client has to save what follows from it.
    pub const fn must_be_saved(&self) -> bool {
        match self {
            Self::Registered(_) | Self::Refused(_) | Self::Status(_) | Self::NoSuchUser(_) => true,
            Self::Synced | Self::Identity(_) => true,
            Self::Pong | Self::Superseded(_) => false,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Registered {
    /// In `Registered` the address under which the account is given out now; in `Superseded` where the newer
    /// session comes from.
    #[cbor(n(0), with = "address")]
    pub address: SocketAddr,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Refused {
    #[n(0)]
    pub code: RefusedCode,
    /// The user that the refused message was about.
    #[n(1)]
    pub name: Option<Name>,
}

/// Why discovery did not do something. A number on the wire, so that a later version can add one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct RefusedCode(#[n(0)] pub u16);

impl RefusedCode {
    pub const NAME_TAKEN: Self = Self(1);
    pub const KEY_IN_USE: Self = Self(2);
    pub const TOO_MANY_NAMES: Self = Self(3);
    /// The account has as many requests and connections as it may have.
    pub const TOO_MANY_REQUESTS: Self = Self(4);
    /// The user asked for has as many pending requests as one may have.
    pub const TARGET_FULL: Self = Self(5);
    /// Discovery could not save it (its disk is full, say). Nothing was changed.
    pub const NOT_SAVED: Self = Self(6);
    /// Something other than a registration came first.
    pub const NOT_REGISTERED: Self = Self(7);
    pub const YOURSELF: Self = Self(8);
    pub const RELEASED: Self = Self(9);
}

impl fmt::Display for RefusedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::NAME_TAKEN => "the name belongs to another key",
            Self::KEY_IN_USE => "this key already has another name",
            Self::TOO_MANY_NAMES => "too many new names from this address; try again in an hour",
            Self::TOO_MANY_REQUESTS => "too many requests and connections for one account",
            Self::TARGET_FULL => "too many people are waiting for this user",
            Self::NOT_SAVED => "discovery can't save anything at the moment; nothing was changed",
            Self::NOT_REGISTERED => "not registered",
            Self::YOURSELF => "that is yourself",
            Self::RELEASED => "discovery's operator has taken this name from your key",
            Self(other) => {
                return write!(f, "refused for a reason this version does not know (code {other})");
            }
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Status {
    #[n(0)]
    pub name: Name,
    #[n(1)]
    pub key: PublicKey,
    #[cbor(n(2), with = "address::option", has_nil)]
    pub address: Option<SocketAddr>,
    #[n(3)]
    pub online: bool,
    /// Whether the user has asked for a channel to the one who is told.
    #[n(4)]
    pub asks: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Identity {
    #[n(0)]
    pub key: PublicKey,
    #[n(1)]
    pub name: Option<Name>,
}

/// The address that a registration stands for, seen from `observed`.
pub fn given_out(listen: SocketAddr, observed: IpAddr) -> SocketAddr {
    let observed = observed.to_canonical();
    if listen.ip().is_unspecified() { SocketAddr::new(observed, listen.port()) } else { listen }
}
