//! Which key discovery must prove, wherever it is reached: one for all of its addresses.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::super::event::{Missed, Problem};
use super::super::super::notice::Code;
use super::super::trust;
use crate::protocol::PublicKey;

/// How many places are remembered whose key the user was told of.
const MAX_WARNED: usize = 64;

/// See the module.
#[derive(Debug, Clone)]
pub struct Keys {
    /// Where discovery is: `HOST:PORT` each.
    endpoints: Arc<[String]>,
    /// Once one is pinned.
    expected: Option<PublicKey>,
    /// Whether the user has named it.
    given: bool,
    /// The others that were shown in the last round, in which none was right: `TRUST` would accept them.
    offered: Vec<PublicKey>,
    /// The other key that the user was told of, by where it was shown.
    warned: BTreeMap<String, PublicKey>,
}

impl Keys {
    /// `pinned` is the key that discovery had before, `given` the one that the user says it must have.
    pub fn new(endpoints: Arc<[String]>, pinned: Option<PublicKey>, given: Option<PublicKey>) -> Self {
        let expected = given.or(pinned);
        Self { endpoints, expected, given: given.is_some(), offered: Vec::new(), warned: BTreeMap::new() }
    }

    /// What discovery must prove, if a key is pinned.
    pub fn expected(&self) -> Option<PublicKey> {
        self.expected
    }

    /// Discovery has proved this key there.
    pub fn proved(&mut self, at: &str, key: PublicKey) {
        self.expected = Some(key);
        self.offered.clear();
        self.warned.remove(at);
    }

    /// A round was in vain.
    pub fn offered(&mut self, missed: &[Missed]) {
        self.offered = missed.iter().filter_map(other_key).collect();
    }

    /// Whether the user has accepted, since it was dialled, a key that was refused there.
    pub fn accepts(&self, missed: &[Missed]) -> bool {
        missed.iter().filter_map(other_key).any(|found| self.expected == Some(found))
    }

    /// What the user has not yet been told of other keys.
    pub fn news(&mut self, missed: &[Missed]) -> Vec<String> {
        let mut news = Vec::new();
        for one in missed {
            let Some(found) = other_key(one).filter(|found| self.warned.get(&one.at) != Some(found)) else {
                continue;
            };
            // A name may have other addresses every time. To be told again does no harm.
            if self.warned.len() >= MAX_WARNED {
                self.warned.clear();
            }
            self.warned.insert(one.at.clone(), found);
            news.push(self.in_words(one));
        }
        news
    }

    /// Why discovery was not reached there.
    pub fn in_words(&self, Missed { at, problem }: &Missed) -> String {
        match problem {
            Problem::WrongKey { expected, found: Some(found) } if self.given => {
                format!("discovery at {at} has the key {found}, not the one that was given, {expected}")
            }
            Problem::WrongKey { expected, found: Some(found) } if self.endpoints.len() > 1 => {
                format!(
                    "discovery at {at} has the key {found}, and not {expected}, which it had before or has elsewhere"
                )
            }
            Problem::WrongKey { expected, found: Some(found) } => {
                format!("the key of discovery at {at} was {expected} and is {found} now")
            }
            problem => format!("{at}: {problem}"),
        }
    }

    /// The user accepts a key that discovery was refused for, if the digits name one. Returns that key, which is to be
    /// saved.
    ///
    /// # Errors
    /// Why the key is not accepted.
    pub fn trust(&mut self, digits: Option<&str>) -> Result<PublicKey, (Code, String)> {
        let named = |offered: &PublicKey| trust::names(digits, *offered, None).map(|()| *offered);
        let mut outcomes = self.offered.iter().map(named);
        let first = outcomes.next().ok_or_else(|| {
            let why = format!("discovery at {} has shown no other key", self.endpoints.join(", "));
            (Code::NothingToTrust, why)
        })?;
        let key = first.or_else(|why| outcomes.find_map(Result::ok).ok_or((Code::KeyChanged, why)))?;
        (self.expected, self.given) = (Some(key), false);
        self.offered.clear();
        Ok(key)
    }
}

/// The key that was shown in place of the right one.
fn other_key(missed: &Missed) -> Option<PublicKey> {
    match missed.problem {
        Problem::WrongKey { found, .. } => found,
        _ => None,
    }
}
