//! What was written to users who turned out not to exist: it is given back, and then they are removed.

use std::collections::BTreeMap;

use super::super::notice::{Body, Code, ErrorNotice, Notice};
use super::effects::Effects;
use crate::protocol::Name;
use crate::store::Result;
use crate::store::journal::{ContactId, ConversationId, Journal, Seq};

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Withdrawals(BTreeMap<ContactId, Withdrawal>);

#[derive(Debug, Clone)]
struct Withdrawal {
    /// Up to where messages have been given back.
    given_back: Seq,
    stage: Stage,
    /// Discovery has named the user after all.
    exists: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Telling,
    /// All has been given to the console.
    Told,
    /// The console has written it.
    Written,
}

impl Withdrawals {
    /// Nothing that was written to the contact after `delivered` is sent any more.
    pub fn add(&mut self, id: ContactId, delivered: Seq) {
        self.0.insert(id, Withdrawal { given_back: delivered, stage: Stage::Telling, exists: false });
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn ids(&self) -> Vec<ContactId> {
        self.0.keys().copied().collect()
    }

    pub fn note_exists(&mut self, id: ContactId) {
        self.0.entry(id).and_modify(|it| it.exists = true);
    }

    /// The console has written all that was given back. `false` if this is no withdrawal.
    pub fn written(&mut self, id: ContactId) -> bool {
        let Some(it) = self.0.get_mut(&id) else {
            return false;
        };
        if it.stage == Stage::Told {
            it.stage = Stage::Written;
        }
        true
    }

    /// Whether the contact can be removed: all has been given back.
    pub fn is_over(&self, id: ContactId) -> bool {
        self.0.get(&id).is_some_and(|it| it.stage == Stage::Written)
    }

    /// Forgets the contact. Returns whether discovery has named the user meanwhile.
    pub fn remove(&mut self, id: ContactId) -> bool {
        self.0.remove(&id).is_some_and(|it| it.exists)
    }

    /// Gives back what was written, as far as there is room. Returns how many messages.
    pub fn give_back(
        &mut self,
        fx: &mut Effects,
        journal: &Journal,
        id: ContactId,
        name: &Name,
    ) -> Result<u64> {
        let Some(it) = self.0.get_mut(&id).filter(|it| it.stage == Stage::Telling) else {
            return Ok(0);
        };
        let (mut all, mut count) = (true, 0);
        journal.sent_after(id, it.given_back, |sent| {
            all = fx.output.has_room_everywhere();
            if all {
                it.given_back = sent.seq;
                count += 1;
                fx.tell(Notice::Error(ErrorNotice {
                    code: Code::Undeliverable,
                    message: format!("not sent to {name}: there is no such user"),
                    peer: Some(name.clone()),
                    room: None,
                    room_id: None,
                    id: Some(sent.message.cursor()),
                    text: Some(Body::new(sent.message.kind, &sent.message.body).shown().into_owned()),
                }));
            }
            all
        })?;
        if all {
            it.stage = Stage::Told;
            fx.output.shows_everywhere(ConversationId::User(id), it.given_back);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::event::OWN;
    use super::super::tests::support::*;
    use super::*;
    use crate::protocol::MAX_TEXT;
    use crate::protocol::peer::Kind;
    use crate::undo::Transactional;

    #[test]
    fn all_is_given_back_as_there_is_room_and_then_the_contact_can_go() {
        let (journal, mut fx, ghost) = (journal(&["ghost"]), effects(), name("ghost"));
        let epoch = journal.add_epoch(1, 1).unwrap();
        let text = "x".repeat(MAX_TEXT);
        (1..=200).for_each(|seq| journal.add_sent(1, seq, epoch, Kind::TEXT, 0, text.as_bytes()).unwrap());
        let mut it = Withdrawals::default();
        assert!(it.is_empty() && !it.written(1));
        it.add(1, 50);
        let mut rounds = Vec::new();
        while rounds.iter().sum::<u64>() < 150 {
            rounds.push(it.give_back(&mut fx, &journal, 1, &ghost).unwrap());
            assert_eq!(it.give_back(&mut fx, &journal, 1, &ghost).unwrap(), 0, "there is no room");
            // Not all is told, so what is written is not the last.
            assert!(it.written(1) && !it.is_over(1) || rounds.len() > 1);
            assert_eq!(codes(&told(&mut fx)).len() as u64, rounds[rounds.len() - 1]);
        }
        assert_eq!(rounds.len(), 2, "{rounds:?}");
        assert!(it.written(1) && it.is_over(1) && !it.remove(1) && it.is_empty());
    }

    #[test]
    fn who_exists_after_all_is_remembered_to_the_end() {
        let (journal, mut fx) = (journal(&["bob"]), effects());
        let mut it = Withdrawals::default();
        it.add(1, 0);
        it.note_exists(1);
        assert_eq!((it.give_back(&mut fx, &journal, 1, &name("bob")).unwrap(), it.is_over(1)), (0, false));
        fx.commit();
        fx.output.take_batch(OWN, fx.now);
        assert_eq!(
            fx.output.written(OWN, fx.now),
            [(ConversationId::User(1), 0)],
            "also of nothing it is known when it is written"
        );
        assert!(it.written(1) && it.is_over(1) && it.remove(1));
    }
}
