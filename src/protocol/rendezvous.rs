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
    /// "I want a channel to this user", or, where that user has asked, "I take it". When both have said so the two are
    /// connected.
    #[n(1)]
    Request(#[n(0)] Request),
    /// "I have nothing to do with this user any more": ends the connection and both requests.
    #[n(2)]
    Drop(#[n(0)] About),
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
    #[n(3)]
    pub strangers: Strangers,
}

/// How an account meets users whom it has neither asked for nor answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode, clap::ValueEnum)]
#[cbor(index_only)]
pub enum Strangers {
    /// Take a few messages from each, until answered
    #[n(0)]
    #[default]
    Open,
    /// Only say that they ask, until answered
    #[n(1)]
    Ask,
    /// Answer each at once
    #[n(2)]
    All,
    /// Take no new contacts
    #[n(3)]
    Closed,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Request {
    #[n(0)]
    pub name: Name,
    /// Whether the user asks, and not only the client, which repeats requests after a login. Without it, a request that
    /// the other side has dropped stays dropped.
    #[n(1)]
    pub typed: bool,
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
    /// The user has dropped the one who is told, or has not answered within [`REQUEST_LASTS`]. Nothing becomes of it
    /// unless a user asks again.
    #[n(8)]
    Dropped(#[n(0)] About),
}

/// How long a request waits for an answer, once the user who was asked has been told of it.
pub const REQUEST_LASTS: std::time::Duration = std::time::Duration::from_secs(30 * 24 * 3600);

impl ToClient {
    /// Whether the client has to save what follows from it.
    pub const fn must_be_saved(&self) -> bool {
        match self {
            Self::Registered(_) | Self::Refused(_) | Self::Status(_) | Self::NoSuchUser(_) => true,
            Self::Synced | Self::Identity(_) | Self::Dropped(_) => true,
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
    /// The user asked for takes no new contacts.
    pub const CLOSED: Self = Self(10);
    /// The account has asked about too many users who do not exist.
    pub const TOO_MANY_QUESTIONS: Self = Self(11);
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
            Self::CLOSED => "the user takes no new contacts",
            Self::TOO_MANY_QUESTIONS => "too many questions about users who do not exist; try again later",
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
    /// Where the user was last reachable, if the one who is told may know.
    #[cbor(n(2), with = "address::option", has_nil)]
    pub address: Option<SocketAddr>,
    /// `None` where the one who is told may not know.
    #[n(3)]
    pub online: Option<bool>,
    /// Whether the user has asked for a channel to the one who is told, and has not been answered.
    #[n(4)]
    pub asks: Asks,
    /// Whether both have asked.
    #[n(5)]
    pub connected: bool,
}

/// Whether a user asks for a channel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Asks {
    #[n(0)]
    #[default]
    No,
    /// Only the client repeats an earlier request.
    #[n(1)]
    Again,
    #[n(2)]
    Typed,
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
