//! What two users are told who are to be helped to a way to each other.

use std::net::SocketAddr;

use crate::accounts::Change;
use crate::discovery::registry::{Action, Decisions, Side, Whereabouts};
use crate::protocol::rendezvous::{Punch, Refused, RefusedCode, TOKEN, Ticket, ToClient};

/// What can't be decided, but has to be drawn or asked for.
pub trait Draw {
    /// A random token of a punch, or `None` without random bytes.
    fn token(&mut self) -> Option<[u8; TOKEN]>;
    /// The tickets of two who are to be joined through this node; `None` if both have theirs.
    fn tickets(&mut self, sides: &[Side; 2]) -> Result<Option<[[u8; TOKEN]; 2]>, RefusedCode>;
    /// Where clients of other nodes reach this one.
    fn address(&self) -> SocketAddr;
}

impl Decisions {
    /// Draws what the two of each introduction are told that is `wanted`.
    pub(super) fn introduce(&mut self, wanted: impl Fn(&Action) -> bool, draw: &mut impl Draw) {
        let all = std::mem::take(&mut self.actions);
        for action in all {
            if !wanted(&action) {
                self.actions.push(action);
                continue;
            }
            for (told, message) in introduced(action, draw, &mut self.actions) {
                match told {
                    Whereabouts::Here(session) => {
                        self.actions.push(Action::Send { session, message });
                    }
                    Whereabouts::Elsewhere(user) => self.changes.push(Change::Tell { user, message }),
                }
            }
        }
    }
}

/// What the two of an introduction are told. Any other action goes to `others`.
fn introduced(
    action: Action,
    draw: &mut impl Draw,
    others: &mut Vec<Action>,
) -> Vec<(Whereabouts, ToClient)> {
    match action {
        Action::Send { .. } | Action::Close { .. } => {
            others.push(action);
            Vec::new()
        }
        Action::Punch { sides } => {
            let told = |token| sides.map(|(at, punch)| (at, ToClient::Punch(Punch { token, ..punch })));
            draw.token().map(told).into_iter().flatten().collect()
        }
        Action::Relay { sides } => {
            let tickets = draw.tickets(&sides);
            let [asker, other] = sides;
            let told = |Side { at, with: name, .. }, ticket, dials| {
                let elsewhere = matches!(at, Whereabouts::Elsewhere(_));
                let node = elsewhere.then(|| draw.address());
                (at, ToClient::Relay(Ticket { name, ticket, dials, at: node }))
            };
            match tickets {
                Ok(None) => Vec::new(),
                Ok(Some([own, theirs])) => vec![told(asker, own, true), told(other, theirs, false)],
                Err(code) => {
                    let refused = Refused { code, name: Some(asker.with) };
                    vec![(asker.at, ToClient::Refused(refused))]
                }
            }
        }
    }
}
