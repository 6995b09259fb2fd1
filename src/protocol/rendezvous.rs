//! What a client and discovery say to each other, inside their Noise session.
//!
//! A client's first message is [`ToDiscovery::Register`]. Everything discovery answers or pushes is a
//! statement of fact that may arrive at any time: nothing here needs to be matched to a question.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use minicbor::{Decode, Encode};

use super::codec::{address, lists};
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
    /// "Help me and this contact to open a way through our routers": answered to both sides by [`ToClient::Punch`].
    #[n(6)]
    Punch(#[n(0)] About),
    /// "Join me and this user through you": answered to both sides by [`ToClient::Relay`].
    #[n(7)]
    Relay(#[n(0)] About),
    /// "I share a room with the user who has this key", or no more. Where both say so of each other, each is told of the
    /// other as a contact is. One side alone learns nothing by it, not even whether there is such a user.
    #[n(8)]
    Mate(#[n(0)] Mate),
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
    /// The local port of the session's own socket.
    #[n(4)]
    pub port: u16,
    /// How long one round trip to discovery takes, as the client has measured it, in milliseconds.
    #[n(5)]
    pub rtt: u32,
    /// The outer address of a port that the client's router maps to where it takes links.
    #[cbor(n(6), with = "address::option", has_nil)]
    pub mapped: Option<SocketAddr>,
    /// Other addresses of its interfaces, at most [`MAX_LOCAL`]: private ones of IPv4, global ones of IPv6.
    #[cbor(n(7), with = "lists::hosts", has_nil)]
    pub local: Vec<IpAddr>,
    /// How many times this start of the client has dialled discovery before: of two sessions of one start the one with
    /// the higher number is the newer.
    #[cbor(n(8), default)]
    pub dial: u32,
}

impl Register {
    /// Of a client that dials for the first time, and is reached nowhere else as far as it knows.
    pub const fn new(name: Name, listen: SocketAddr, start: Option<u64>, strangers: Strangers) -> Self {
        Self { name, listen, start, strangers, port: 0, rtt: 0, mapped: None, local: Vec::new(), dial: 0 }
    }
}

/// How many addresses of its interfaces a client names at most.
pub const MAX_LOCAL: usize = lists::MAX_LIST;

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
#[cbor(map)]
pub struct Mate {
    #[n(0)]
    pub key: PublicKey,
    /// Whether the two share a room, or do not any more.
    #[n(1)]
    pub shares: bool,
}

/// How many users a session may share rooms with, as far as it says so.
pub const MAX_MATES: usize = 512;

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
    /// Where and when to open a way to a contact, who is told the same.
    #[n(9)]
    Punch(#[n(0)] Punch),
    /// How to be joined with a user through discovery, who is told too.
    #[n(10)]
    Relay(#[n(0)] Ticket),
}

/// How long a request waits for an answer, once the user who was asked has been told of it.
pub const REQUEST_LASTS: std::time::Duration = std::time::Duration::from_secs(30 * 24 * 3600);

impl ToClient {
    /// Whether the client has to save what follows from it.
    pub const fn must_be_saved(&self) -> bool {
        match self {
            Self::Registered(_) | Self::Refused(_) | Self::Status(_) | Self::NoSuchUser(_) => true,
            Self::Synced | Self::Identity(_) | Self::Dropped(_) => true,
            Self::Pong | Self::Superseded(_) | Self::Punch(_) | Self::Relay(_) => false,
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
    /// From where discovery sees that session come: if it is no address of the client's own, a router is between.
    #[cbor(n(1), with = "address")]
    pub observed: SocketAddr,
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
    /// The account has as many requests and connections, or the session as many mates, as it may have.
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
    /// The two were helped only a moment ago.
    pub const TOO_SOON: Self = Self(12);
    /// This discovery relays nothing.
    pub const RELAY_OFF: Self = Self(13);
    /// It relays as much as it may: in all, or for one of the accounts or addresses.
    pub const RELAY_FULL: Self = Self(14);
    /// The other user is offline.
    pub const NOT_ONLINE: Self = Self(15);
    /// The two are not connected.
    pub const NOT_CONNECTED: Self = Self(16);
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
            Self::TOO_SOON => "too soon after the last time; try again in a moment",
            Self::RELAY_OFF => "this discovery relays nothing",
            Self::RELAY_FULL => "discovery relays as much as it may at the moment; try again later",
            Self::NOT_ONLINE => "the user is offline",
            Self::NOT_CONNECTED => "the two of you are not contacts",
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
    /// Where else the user may be reachable, at most [`MAX_CANDIDATES`]; only if the two are connected or mates.
    #[cbor(n(6), with = "lists::items", has_nil)]
    pub also: Vec<Candidate>,
    /// Whether both say that they share a room. It makes no contact of the user, and is no request.
    #[n(7)]
    pub room: bool,
}

/// How many other addresses of a user are told at most.
pub const MAX_CANDIDATES: usize = lists::MAX_LIST;

/// An address at which a user takes links, besides the one that is given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Candidate {
    #[cbor(n(0), with = "address")]
    pub address: SocketAddr,
    #[n(1)]
    pub kind: CandidateKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum CandidateKind {
    /// A port of the user's router, which passes it on.
    #[n(0)]
    Mapped,
    /// A private address, in a network that both users may be in.
    #[n(1)]
    Lan,
    /// A global address of IPv6.
    #[n(2)]
    Global,
}

/// Both sides send out from their session's own port at the same time, so that each router takes what comes from the
/// other side for an answer.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Punch {
    #[n(0)]
    pub name: Name,
    /// The same for both, and for no other pair: by it they know the connection that comes to be.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub token: [u8; TOKEN],
    /// How long to wait before the first try, in milliseconds, so that both try at once although one heard of it
    /// earlier.
    #[n(2)]
    pub wait: u32,
    /// Where to, at most [`MAX_PUNCHED`].
    #[cbor(n(3), with = "lists::addresses", has_nil)]
    pub addresses: Vec<SocketAddr>,
}

/// The length of what is drawn for a punch, and for each side of a relayed link, in bytes.
pub const TOKEN: usize = 16;

/// To how many addresses a punch goes at most.
pub const MAX_PUNCHED: usize = lists::MAX_LIST;

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Ticket {
    /// The user at the other end.
    #[n(0)]
    pub name: Name,
    /// What this side shows to discovery, see [`relay`](super::relay). The other side has one of its own.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub ticket: [u8; TOKEN],
    /// Whether this side begins the handshake between the two, as if it had dialled the other.
    #[n(2)]
    pub dials: bool,
    /// The node of discovery that relays; `None` for the one that the session is with.
    #[cbor(n(3), with = "address::option", has_nil)]
    pub at: Option<SocketAddr>,
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

#[cfg(test)]
mod tests {
    use super::super::codec;
    use super::*;

    fn name() -> Name {
        "bob".parse().unwrap()
    }

    fn register(local: Vec<IpAddr>) -> ToDiscovery {
        let listen = "0.0.0.0:4000".parse().unwrap();
        let mapped = Some("192.0.2.1:4001".parse().unwrap());
        let strangers = Strangers::Ask;
        let register = Register::new(name(), listen, None, strangers);
        ToDiscovery::Register(Register { port: 4002, rtt: 30, mapped, local, dial: 3, ..register })
    }

    #[test]
    fn what_says_how_to_reach_a_user_is_read_as_it_was_written() {
        let local = vec!["10.0.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        let about = || About { name: name() };
        // The one of RFC 8032's first test.
        let key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a".parse().unwrap();
        let to_discovery = [
            register(local),
            register(vec![]),
            ToDiscovery::Punch(about()),
            ToDiscovery::Relay(about()),
            ToDiscovery::Mate(Mate { key, shares: true }),
        ];
        let mut frame = Vec::new();
        to_discovery.iter().for_each(|message| codec::encode(message, &mut frame));
        assert_eq!(codec::decode::<ToDiscovery>(&frame).unwrap(), to_discovery);

        let addresses: Vec<SocketAddr> =
            vec!["192.0.2.1:5000".parse().unwrap(), "[2001:db8::1]:5001".parse().unwrap()];
        let kinds = [CandidateKind::Mapped, CandidateKind::Global, CandidateKind::Lan];
        let also = |count| {
            let all = addresses.iter().zip(kinds);
            all.take(count).map(|(address, kind)| Candidate { address: *address, kind }).collect()
        };
        let status = |also| {
            let (address, online) = (None, Some(true));
            ToClient::Status(Status {
                name: name(),
                key,
                address,
                online,
                asks: Asks::No,
                connected: true,
                also,
                room: true,
            })
        };
        let punch = |addresses| Punch { name: name(), token: [3; TOKEN], wait: 20, addresses };
        let [address, observed] = [addresses[0], addresses[1]];
        let to_client = [
            status(also(2)),
            status(also(0)),
            ToClient::Punch(punch(addresses.clone())),
            ToClient::Punch(punch(vec![])),
            ToClient::Relay(Ticket { name: name(), ticket: [9; TOKEN], dials: true, at: None }),
            ToClient::Relay(Ticket { name: name(), ticket: [9; TOKEN], dials: false, at: Some(observed) }),
            ToClient::Registered(Registered { address, observed }),
            ToClient::Refused(Refused { code: RefusedCode::TOO_SOON, name: Some(name()) }),
        ];
        let mut frame = Vec::new();
        to_client.iter().for_each(|message| codec::encode(message, &mut frame));
        assert_eq!(codec::decode::<ToClient>(&frame).unwrap(), to_client);
    }

    #[test]
    fn no_list_is_longer_than_its_bound() {
        let host = |last: u8| IpAddr::from([10, 0, 0, last]);
        let encoded = |count: usize| {
            let mut frame = Vec::new();
            codec::encode(&register((1..).map(host).take(count).collect()), &mut frame);
            frame
        };
        assert_eq!(codec::decode::<ToDiscovery>(&encoded(MAX_LOCAL)).unwrap().len(), 1);
        assert!(codec::decode::<ToDiscovery>(&encoded(MAX_LOCAL + 1)).is_err());
        let addresses = vec!["192.0.2.1:5000".parse().unwrap(); MAX_PUNCHED + 1];
        let mut frame = Vec::new();
        codec::encode(
            &ToClient::Punch(Punch { name: name(), token: [0; TOKEN], wait: 0, addresses }),
            &mut frame,
        );
        assert!(codec::decode::<ToClient>(&frame).is_err());
    }

    #[test]
    fn the_number_of_a_dial_may_be_missing() {
        let mut frame = Vec::new();
        codec::encode(&register(vec![]), &mut frame);
        assert_eq!(frame.split_off(frame.len() - 2), [8, 3]);
        let fields = frame.iter().position(|byte| byte >> 5 == 5).unwrap();
        frame[fields] -= 1;
        let said = codec::decode::<ToDiscovery>(&frame).unwrap();
        assert!(matches!(said.as_slice(), [ToDiscovery::Register(Register { dial: 0, rtt: 30, .. })]));
    }

    #[test]
    fn a_token_has_its_length() {
        let ticket = Ticket { name: name(), ticket: [9; TOKEN], dials: false, at: None };
        let mut frame = Vec::new();
        codec::encode(&ToClient::Relay(ticket), &mut frame);
        let at = frame.windows(2).position(|two| two == [0x50, 9]).unwrap();
        frame[at] = 0x4f;
        frame.remove(at + 1);
        assert!(codec::decode::<ToClient>(&frame).is_err());
    }
}
