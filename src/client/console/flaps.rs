//! Links that come and go: a person is told so once, and how it ended when it is quiet again. It gets the time as an
//! argument.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::client::notice::UpDown;
use crate::protocol::Name;

/// How many changes of a link within [`WINDOW`] are told one by one.
const CHANGES: usize = 3;
const WINDOW: Duration = Duration::from_secs(60);
/// How long a link that came and went must stay as it is to be told again.
const QUIET: Duration = Duration::from_secs(20);

/// The links whose changes are not yet forgotten.
#[derive(Debug, Default)]
pub struct Flaps {
    links: BTreeMap<Name, Link>,
}

#[derive(Debug)]
struct Link {
    /// When it changed, within the window before its last change; the latest last.
    changes: Vec<Instant>,
    state: UpDown,
    /// Whether its changes are not told for now.
    flaps: bool,
}

/// What is told of a change.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    Change,
    /// From now on changes are not told.
    Flaps,
    Nothing,
}

impl Flaps {
    pub fn changed(&mut self, now: Instant, peer: &Name, state: UpDown) -> Said {
        let is_old = |at: &Instant| now.saturating_duration_since(*at) >= WINDOW;
        self.links.retain(|_, link| link.flaps || link.changes.last().is_some_and(|at| !is_old(at)));
        let new = || Link { changes: Vec::new(), state, flaps: false };
        let link = self.links.entry(peer.clone()).or_insert_with(new);
        link.state = state;
        link.changes.retain(|at| !is_old(at));
        if link.flaps {
            link.changes = vec![now];
            return Said::Nothing;
        }
        link.changes.push(now);
        link.flaps = link.changes.len() > CHANGES;
        if link.flaps { Said::Flaps } else { Said::Change }
    }

    /// When [`Self::quiet`] has something to tell.
    pub fn deadline(&self) -> Option<Instant> {
        self.links.values().filter_map(Link::quiet_at).min()
    }

    /// The links that are quiet again, as they are now.
    pub fn quiet(&mut self, now: Instant) -> Vec<(Name, UpDown)> {
        let quiet = |link: &Link| link.quiet_at().is_some_and(|at| now >= at);
        self.links.extract_if(.., |_, link| quiet(link)).map(|(peer, link)| (peer, link.state)).collect()
    }
}

impl Link {
    fn quiet_at(&self) -> Option<Instant> {
        self.changes.last().filter(|_| self.flaps).map(|at| *at + QUIET)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::notice::tests::name;

    #[test]
    fn a_link_that_comes_and_goes_is_told_of_once_and_again_when_it_is_quiet() {
        let (start, bob, carol) = (Instant::now(), name("bob"), name("carol"));
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut flaps = Flaps::default();
        for second in 0..3 {
            assert_eq!(flaps.changed(at(second), &bob, UpDown::Up), Said::Change);
        }
        assert_eq!((flaps.changed(at(3), &bob, UpDown::Down), flaps.deadline()), (Said::Flaps, Some(at(23))));
        for second in 4..100 {
            assert_eq!(flaps.changed(at(second), &bob, UpDown::Up), Said::Nothing);
            assert_eq!(flaps.quiet(at(second)), []);
        }
        // Another one's link is another matter.
        assert_eq!(flaps.changed(at(100), &carol, UpDown::Down), Said::Change);
        assert_eq!(flaps.deadline(), Some(at(119)));
        assert_eq!(flaps.quiet(at(118)), []);
        assert_eq!(flaps.quiet(at(119)), [(bob.clone(), UpDown::Up)]);
        assert_eq!((flaps.deadline(), flaps.quiet(at(200))), (None, vec![]));
        assert_eq!(flaps.changed(at(201), &bob, UpDown::Down), Said::Change);
        assert_eq!(flaps.links.len(), 1, "what is long past is forgotten");
    }

    #[test]
    fn changes_far_from_each_other_are_told() {
        let start = Instant::now();
        let mut flaps = Flaps::default();
        for change in 0..20 {
            let at = start + change * (WINDOW / 3 + Duration::from_secs(1));
            assert_eq!(flaps.changed(at, &name("bob"), UpDown::Up), Said::Change);
        }
    }
}
