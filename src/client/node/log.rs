//! The order of everything said: which place in the journal each message takes, and in which segment it stands.

use std::collections::BTreeMap;

use crate::protocol::peer::{Cursor, Kind, Message};
use crate::store::Result;
use crate::store::journal::{ContactId, EpochId, Incoming, Journal, Seq, Side, Unsealed};
use crate::undo::{Table, Value, transactional};

/// See the module.
#[derive(Debug)]
pub struct Log {
    ends: Value<Ends>,
    /// Where each contact's messages stand that are in no segment yet: theirs and ours.
    unsealed: Table<BTreeMap<ContactId, [Option<Unsealed>; 2]>>,
    /// How many bytes of bodies there are of each contact in segments.
    sealed_bytes: Table<BTreeMap<ContactId, u64>>,
    /// The epoch under which messages are written, with its row once there is one.
    epoch: Value<(u64, Option<EpochId>)>,
    /// How many messages make a segment.
    segment: Seq,
}

#[derive(Debug, Clone, Copy, Default)]
struct Ends {
    /// The last seq in the journal.
    last: Seq,
    /// Everything up to here is in a segment.
    sealed: Seq,
}

impl Log {
    pub fn load(journal: &Journal, epoch: u64, segment: Seq) -> Result<Self> {
        let ends = Ends { last: journal.last_seq()?, sealed: journal.sealed()? };
        let mut unsealed: BTreeMap<ContactId, [Option<Unsealed>; 2]> = BTreeMap::new();
        for (contact, side, found) in journal.unsealed()? {
            *of_side(unsealed.entry(contact).or_default(), side) = Some(found);
        }
        let sealed_bytes = Table::new(journal.sealed_bytes()?.into_iter().collect());
        let epoch = Value::new((epoch, None));
        Ok(Self { ends: Value::new(ends), unsealed: Table::new(unsealed), sealed_bytes, epoch, segment })
    }

    pub fn last(&self) -> Seq {
        self.ends.last
    }

    /// Messages are written under this epoch from now on.
    pub fn renew_epoch(&mut self, epoch: u64) {
        *self.epoch = (epoch, None);
    }

    /// The epoch under which messages are written.
    pub fn epoch(&self) -> u64 {
        self.epoch.0
    }

    /// Gives out the next seq, for something that is said to no contact.
    pub fn next(&mut self) -> Seq {
        self.ends.last += 1;
        self.ends.last
    }

    /// Adds a message of ours, written at `written` on the wall clock. Returns its epoch's row and its name for ever,
    /// of which the number is its seq.
    pub fn write(
        &mut self,
        journal: &Journal,
        contact: ContactId,
        kind: Kind,
        written: i64,
        body: &[u8],
    ) -> Result<(EpochId, Cursor)> {
        let seq = self.ends.last + 1;
        let epoch = self.epoch_row(journal, seq)?;
        journal.add_sent(contact, seq, epoch, kind, written, body)?;
        self.said(contact, Side::Ours, body.len() as u64);
        Ok((epoch, Cursor { epoch: self.epoch.0, number: seq.cast_unsigned() }))
    }

    /// Adds a message of ours once more, for its contact has lost it.
    pub fn repeat(&mut self, journal: &Journal, contact: ContactId, original: Seq) -> Result<()> {
        let seq = self.ends.last + 1;
        let epoch = self.epoch_row(journal, seq)?;
        let bytes = journal.repeat_sent(seq, epoch, original)?;
        self.said(contact, Side::Ours, bytes);
        Ok(())
    }

    /// The row of the epoch under which the message at `seq` is written.
    fn epoch_row(&mut self, journal: &Journal, seq: Seq) -> Result<EpochId> {
        let (value, row) = *self.epoch;
        if let Some(row) = row {
            return Ok(row);
        }
        let row = journal.add_epoch(value, seq)?;
        *self.epoch = (value, Some(row));
        Ok(row)
    }

    /// Adds a message of theirs, which came in at `arrived` on the wall clock. Returns its seq.
    pub fn receive(
        &mut self,
        incoming: &mut Incoming<'_>,
        contact: ContactId,
        message: &Message,
        arrived: i64,
    ) -> Result<Seq> {
        let seq = self.ends.last + 1;
        let kept = incoming.add(contact, seq, message, arrived)?;
        self.said(contact, Side::Theirs, kept);
        Ok(seq)
    }

    fn said(&mut self, contact: ContactId, side: Side, bytes: u64) {
        let seq = self.next();
        let mut sides = self.unsealed.get(&contact).copied().unwrap_or_default();
        Unsealed::add(of_side(&mut sides, side), seq, bytes);
        self.unsealed.insert(contact, sides);
    }

    /// How many bytes of bodies the journal keeps of what was said with this contact, on both sides.
    pub fn bytes(&self, contact: ContactId) -> u64 {
        let unsealed = self.unsealed.get(&contact).into_iter().flatten().flatten();
        self.sealed_bytes.get(&contact).copied().unwrap_or_default()
            + unsealed.map(|it| it.bytes).sum::<u64>()
    }

    /// Nothing is said with this contact any more.
    pub fn forget(&mut self, contact: ContactId) {
        self.unsealed.remove(&contact);
        self.sealed_bytes.remove(&contact);
    }

    /// Notes where the messages of each contact stand, once there are enough for another segment.
    pub fn seal(&mut self, journal: &Journal) -> Result<()> {
        let Ends { last, sealed } = *self.ends;
        if last - sealed < self.segment {
            return Ok(());
        }
        let unsealed = self.unsealed.iter().flat_map(|(contact, [theirs, ours])| {
            let sides = [(Side::Theirs, *theirs), (Side::Ours, *ours)];
            sides.into_iter().filter_map(|(side, found)| Some((*contact, side, found?)))
        });
        journal.seal(unsealed, last)?;
        let contacts: Vec<ContactId> = self.unsealed.keys().copied().collect();
        for contact in contacts {
            self.sealed_bytes.insert(contact, self.bytes(contact));
            self.unsealed.remove(&contact);
        }
        self.ends.sealed = last;
        Ok(())
    }
}

transactional!(Log { ends, unsealed, sealed_bytes, epoch });

fn of_side([theirs, ours]: &mut [Option<Unsealed>; 2], side: Side) -> &mut Option<Unsealed> {
    if side == Side::Ours { ours } else { theirs }
}

#[cfg(test)]
mod tests {
    use super::super::tests::support::*;
    use super::*;
    use crate::undo::Transactional;

    #[test]
    fn every_message_has_its_place_and_each_start_its_epoch() {
        let journal = journal(&["bob", "carol"]);
        let mut log = Log::load(&journal, 7, 3).unwrap();
        let write = |log: &mut Log| log.write(&journal, 1, Kind::TEXT, 0, b"x").unwrap();
        let receive = |log: &mut Log, contact| {
            log.receive(&mut journal.incoming().unwrap(), contact, &message(9, 1, "x"), 0).unwrap()
        };
        journal.begin().unwrap();
        write(&mut log);
        journal.rollback();
        log.rollback();
        assert_eq!((log.last(), journal.epoch(7).unwrap()), (0, None));
        let (epoch, first) = write(&mut log);
        assert_eq!(journal.epoch(7).unwrap(), Some(epoch));
        assert_eq!((first, receive(&mut log, 2), write(&mut log)), (cursor(7, 1), 2, (epoch, cursor(7, 3))));
        log.commit();
        log.renew_epoch(8);
        let (renewed, fourth) = write(&mut log);
        assert!(renewed > epoch && fourth == cursor(8, 4) && log.last() == 4);
        assert_eq!(Log::load(&journal, 9, 3).unwrap().last(), 4);
    }

    #[test]
    fn a_segment_is_sealed_when_it_is_full_unless_the_transaction_fails() {
        let journal = journal(&["bob", "carol"]);
        let mut log = Log::load(&journal, 7, 3).unwrap();
        let write = |log: &mut Log, contact| {
            log.write(&journal, contact, Kind::TEXT, 0, b"x").unwrap();
            log.seal(&journal).unwrap();
            journal.sealed().unwrap()
        };
        assert_eq!([write(&mut log, 1), write(&mut log, 2)], [0, 0]);
        log.commit();
        journal.begin().unwrap();
        assert_eq!(write(&mut log, 1), 3);
        journal.rollback();
        log.rollback();
        log.renew_epoch(8);
        assert_eq!([write(&mut log, 2), write(&mut log, 2)], [3, 3]);
        log.commit();
        log.forget(1);
        assert_eq!([1, 2].map(|it| journal.count_sent_after(it, 0).unwrap()), [1, 3]);
        // What is in no segment is found again at the next start.
        let mut log = Log::load(&journal, 9, 3).unwrap();
        assert_eq!([1, 2].map(|it| log.bytes(it)), [1, 3]);
        assert_eq!([write(&mut log, 1), write(&mut log, 1)], [3, 6]);
        assert_eq!([1, 2].map(|it| log.bytes(it)), [3, 3]);
        assert_eq!([1, 2].map(|it| journal.count_sent_after(it, 3).unwrap()), [2, 1]);
    }
}
