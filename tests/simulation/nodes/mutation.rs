//! Laws broken on purpose, at the edge of the deciding code: the simulation must notice each.

use super::world::Plan;

/// Which law is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// What was decided is told before it is saved.
    ActBeforeCommit,
    /// A node decides in its turn without having heard what others did before.
    NoCatchUp,
    /// A node gives although it is another one's turn.
    WithoutLock,
    /// What was refused is forgotten: it is neither taken back nor answered.
    RefusedForgotten,
    /// A commit with an unknown outcome counts as saved.
    UnsureAsSaved,
    /// A commit with an unknown outcome counts as not saved.
    UnsureAsRefused,
    /// A node that was taken for lost goes on.
    LeaseIgnored,
    /// Nodes do not hear of each other's turns.
    NothingHeard,
    /// The users of a lost node are called offline at once.
    ForgottenAtOnce,
    /// Of two sessions of one start, the one that comes later wins.
    DialIgnored,
    /// A node takes its own turns for those of others.
    OwnEcho,
    /// A node says once that it is there, whether or not that was saved.
    IntroducedOnce,
    /// What a failover has dropped stays known.
    LineageIgnored,
    /// A node that is to read what others have done answers from memory.
    NotRead,
}

impl Mutation {
    pub const ALL: [Self; 14] = [
        Self::ActBeforeCommit,
        Self::NoCatchUp,
        Self::WithoutLock,
        Self::RefusedForgotten,
        Self::UnsureAsSaved,
        Self::UnsureAsRefused,
        Self::LeaseIgnored,
        Self::NothingHeard,
        Self::ForgottenAtOnce,
        Self::DialIgnored,
        Self::OwnEcho,
        Self::IntroducedOnce,
        Self::LineageIgnored,
        Self::NotRead,
    ];

    /// Where it shows soon.
    pub fn shape(self, plan: &mut Plan) {
        match self {
            Self::RefusedForgotten => plan.refused = 100,
            Self::UnsureAsSaved | Self::UnsureAsRefused | Self::LineageIgnored => plan.unsure = 150,
            Self::IntroducedOnce => plan.refused = 300,
            Self::DialIgnored => plan.act_gap = 80,
            Self::WithoutLock => (plan.act_gap, plan.latency) = (300, 30),
            Self::NotRead => (plan.act_gap, plan.release_gap, plan.bad_wake) = (300, 1000, 1000),
            _ => {}
        }
    }
}
