//! What keeps the accounts, as discovery sees it: one truth that changes in numbered turns.
//!
//! A discovery that shares its ledger with others loads everything once, and from then on learns of what the others
//! have changed by their turns. What it changes itself it gives in a turn of its own: it [takes](Ledger::take) it, which
//! tells what others have done meanwhile, decides on top of that, and [gives](Ledger::give) its changes. Between the two
//! no other one can give, so turns stand in the order of their commits and without a gap.
//!
//! A [`Turn`] names its predecessor. Where the one that a node has seen last is missing from the ledger (a standby was
//! promoted that lacked it, say) the node has seen what is not true any more, and loads everything anew.

use super::{Change, NodeId, Snapshot};

/// A random name of a turn, by which a node finds out whether one with an unknown outcome was saved.
pub type TurnId = [u8; 16];

/// What one node has changed at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// From 1, without gaps.
    pub number: i64,
    pub id: TurnId,
    pub node: NodeId,
    pub changes: Vec<Change>,
}

/// What has become of changes that were given.
#[derive(Debug)]
pub enum Given<E> {
    /// All of them are in the ledger for good.
    Saved,
    /// None of them is.
    Refused(Trouble<E>),
    /// All or none of them are. A later [`read`](Ledger::read) or [`take`](Ledger::take) finds out: then they come
    /// back as a turn with this node's id.
    Unsure(Trouble<E>),
}

/// Why a ledger does not do what it should.
#[derive(Debug)]
pub enum Trouble<E> {
    /// It can't be reached, is full, or fails. It may work again later.
    Down(E),
    /// The turn that was seen last is not in it any more: everything has to be loaded anew, and what clients were told
    /// may not hold.
    Broken(E),
    /// Others take this node for lost. It may have no sessions any more until it has joined anew.
    Fenced(E),
    /// There is no use in trying again: it is damaged, or a later version has written what this one does not understand.
    Unusable(E),
}

impl<E> Trouble<E> {
    pub const fn error(&self) -> &E {
        match self {
            Self::Down(error) | Self::Broken(error) | Self::Fenced(error) | Self::Unusable(error) => error,
        }
    }

    pub fn into_error(self) -> E {
        match self {
            Self::Down(error) | Self::Broken(error) | Self::Fenced(error) | Self::Unusable(error) => error,
        }
    }
}

/// See the module. All calls block, for a bounded time.
pub trait Ledger {
    type Error;

    /// Begins a run of this node: as another one than any before, also after it was [fenced](Trouble::Fenced).
    fn join(&mut self) -> Result<NodeId, Trouble<Self::Error>>;

    /// Everything that is kept, after the last turn. Later turns are told from there on.
    fn load(&mut self) -> Result<Snapshot, Trouble<Self::Error>>;

    /// Begins a turn. Returns those since the last that was told, also such of this node as were unsure.
    fn take(&mut self) -> Result<Vec<Turn>, Trouble<Self::Error>>;

    /// Ends the turn with these changes. They follow one another: a later one may be about what an earlier one adds.
    /// This node is not told of them again. Without changes the turn leaves no trace.
    fn give(&mut self, changes: &[Change]) -> Given<Self::Error>;

    /// Ends the turn without changes.
    fn roll_back(&mut self);

    /// The number of the last turn that was told or given; 0 before any.
    fn position(&self) -> i64;

    /// Returns the turns since the last that was told, without beginning one: all that were saved before the call. It
    /// waits for no other node's turn, except to find out what became of one that was unsure.
    fn read(&mut self) -> Result<Vec<Turn>, Trouble<Self::Error>>;
}
