//! What is told, and to which front ends: all of them, the one that has asked, or all but that one.
//!
//! `stream` is what one of them is told, at its own pace.

use std::collections::{BTreeMap, BTreeSet};

use super::super::command::Reference;
use super::super::event::{BoxId, OWN, WITNESS};
use super::super::notice::{Notice, Told};
use crate::store::journal::{ConversationId, Seq};
use crate::time::{Instant, Now};
use crate::undo::Transactional;
pub use stream::BATCHES;
use stream::{OF_BOX, OF_OWN, Stream};

mod stream;

/// Who has given the command that is being answered, and what they call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub by: BoxId,
    pub reference: Option<Reference>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Output {
    /// Without any nothing is told, and no message counts as shown.
    streams: BTreeMap<BoxId, Stream>,
    /// Those that are shown no messages.
    quiet: BTreeSet<BoxId>,
    answering: Option<Asked>,
    /// The last place in the journal: what is told speaks of no later one.
    place: Seq,
}

impl Output {
    /// With the program's own front end, unless that is `silent`.
    pub fn new(silent: bool) -> Self {
        let own = (!silent).then(|| (OWN, Stream::new(OF_OWN)));
        Self { streams: own.into_iter().collect(), ..Self::default() }
    }

    /// Whether there is no front end with a user.
    pub fn is_silent(&self) -> bool {
        self.readers().all(|id| id == WITNESS)
    }

    /// A box has come. One that is `quiet` is shown no messages.
    pub fn attach(&mut self, id: BoxId, quiet: bool) {
        self.streams.insert(id, Stream::new(OF_BOX));
        if quiet {
            self.quiet.insert(id);
        }
    }

    pub fn detach(&mut self, id: BoxId) {
        self.streams.remove(&id);
        self.quiet.remove(&id);
    }

    /// Whether there is room for another message in a front end.
    pub fn has_room(&self, id: BoxId) -> bool {
        self.streams.get(&id).is_some_and(Stream::has_room)
    }

    /// Whether there is room in all of them.
    pub fn has_room_everywhere(&self) -> bool {
        self.streams.values().all(Stream::has_room)
    }

    /// Whether everything told to the program's own front end is written.
    pub fn is_read(&self) -> bool {
        self.streams.get(&OWN).is_none_or(Stream::is_read)
    }

    /// Whether a front end takes commands. While it can't keep up they wait, unless it is unread.
    pub fn takes_commands(&self, id: BoxId, now: Now) -> bool {
        self.streams.get(&id).is_none_or(|it| it.has_room() || it.is_stuck(now))
    }

    /// When [`Self::tick`] is due.
    pub fn deadline(&self) -> Instant {
        self.streams.values().map(Stream::deadline).fold(Instant::NEVER, Instant::min)
    }

    pub fn tick(&mut self, now: Now) {
        self.streams.values_mut().for_each(|stream| stream.tick(now));
    }

    /// The journal reaches up to there now.
    pub fn set_place(&mut self, place: Seq) {
        self.place = place;
    }

    /// Who has given the command that is being answered.
    pub fn answering(&self) -> Option<&Asked> {
        self.answering.as_ref()
    }

    /// The front end that the command has come from; the program's own for what is no command.
    pub fn asker(&self) -> BoxId {
        self.answering.as_ref().map_or(OWN, |asked| asked.by)
    }

    /// What follows answers that command. Returns what was answered before.
    pub fn answer(&mut self, asked: Option<Asked>) -> Option<Asked> {
        std::mem::replace(&mut self.answering, asked)
    }

    /// Tells who has asked, if it is an answer, and all if it is news.
    pub fn tell(&mut self, notice: Notice) {
        let asked = self.answering.clone().filter(|_| notice.is_answer());
        if let (Some(Asked { by, .. }), Notice::Queued { .. }) = (&asked, &notice) {
            self.tell_others_of(*by, &notice);
        } else if asked.is_none() || notice.is_news() {
            let by = asked.as_ref().map(|asked| asked.by);
            let seq = self.place;
            let others = self.streams.iter_mut().filter(|(id, _)| Some(**id) != by);
            if by.is_some() {
                others.for_each(|(_, it)| {
                    it.tell(Told { notice: notice.clone(), seq, reference: None }, false)
                });
            } else {
                return tell_each(others.map(|(_, stream)| stream), notice, seq, |_| {});
            }
        }
        if let Some(Asked { by, reference }) = asked
            && let Some(stream) = self.streams.get_mut(&by)
        {
            stream.tell(Told { notice, seq: self.place, reference }, true);
        }
    }

    /// The others are told what was said in one.
    fn tell_others_of(&mut self, by: BoxId, queued: &Notice) {
        let Notice::Queued { id, to, linked, text, sent, alone } = queued else {
            return;
        };
        for (_, stream) in self.streams.iter_mut().filter(|(id, _)| **id != by) {
            let (to, text) = (to.clone(), text.clone());
            let notice = Notice::Sent { id: *id, to, text, sent: *sent, linked: *linked, alone: *alone };
            stream.tell(Told { notice, seq: self.place, reference: None }, false);
        }
    }

    /// Tells one front end, as no answer.
    pub fn tell_one(&mut self, id: BoxId, notice: Notice) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.tell(Told { notice, seq: self.place, reference: None }, false);
        }
    }

    /// Tells one front end something between two transactions.
    pub fn tell_committed(&mut self, id: BoxId, notice: Notice) {
        let seq = self.place;
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.tell(Told { notice, seq, reference: None }, false);
            stream.commit();
        }
    }

    /// Tells one front end something of a conversation that is noted as shown up to `seq` once it is written.
    pub fn show_one(&mut self, id: BoxId, conversation: ConversationId, seq: Seq, notice: Option<Notice>) {
        if let Some(stream) = self.streams.get_mut(&id) {
            let told = notice.map(|notice| Told { notice, seq, reference: None });
            told.into_iter().for_each(|told| stream.tell(told, false));
            stream.shows(conversation, seq);
        }
    }

    /// Tells something that can be told later to all front ends that are not `behind` and have room. Returns those that have
    /// none.
    pub fn tell_ready(&mut self, notice: Notice, behind: impl Fn(BoxId) -> bool) -> Vec<BoxId> {
        let full = self.streams.iter().filter(|(id, it)| !behind(**id) && !it.has_room());
        let full = full.map(|(id, _)| *id).collect();
        let ready = self.streams.iter_mut().filter(|(id, it)| !behind(**id) && it.has_room());
        tell_each(ready.map(|(_, stream)| stream), notice, self.place, |_| {});
        full
    }

    /// Shows a message that has just come in to all front ends that are not `behind` and have room. Returns those that have
    /// none.
    pub fn show(
        &mut self,
        conversation: ConversationId,
        seq: Seq,
        notice: Notice,
        behind: impl Fn(BoxId) -> bool,
    ) -> Vec<BoxId> {
        let quiet = &self.quiet;
        let reads = |id: &BoxId| !behind(*id) && !quiet.contains(id);
        let full =
            self.streams.iter().filter(|(id, it)| reads(id) && !it.has_room()).map(|(id, _)| *id).collect();
        let streams =
            self.streams.iter_mut().filter(|(id, it)| reads(id) && it.has_room()).map(|(_, stream)| stream);
        tell_each(streams, notice, seq, |stream| stream.shows(conversation, seq));
        full
    }

    /// Something of a conversation counts as shown up to `seq` once it is written, wherever that is.
    pub fn shows_everywhere(&mut self, conversation: ConversationId, seq: Seq) {
        self.streams.values_mut().for_each(|stream| stream.shows(conversation, seq));
    }

    /// The front ends, in their order.
    pub fn ids(&self) -> impl Iterator<Item = BoxId> {
        self.streams.keys().copied()
    }

    /// Those that are shown messages.
    pub fn readers(&self) -> impl Iterator<Item = BoxId> {
        self.ids().filter(|id| !self.quiet.contains(id))
    }

    pub fn writing(&mut self, id: BoxId, now: Now) {
        self.streams.get_mut(&id).into_iter().for_each(|stream| stream.writing(now));
    }

    /// The front end has written its oldest batch: up to where each conversation is shown now.
    pub fn written(&mut self, id: BoxId, now: Now) -> Vec<(ConversationId, Seq)> {
        self.streams.get_mut(&id).map_or_else(Vec::new, |stream| stream.written(now))
    }

    /// How many notices the program's own front end has lost, once there is room to say so.
    pub fn take_dropped(&mut self) -> Option<u64> {
        self.streams.get_mut(&OWN)?.take_dropped()
    }

    /// Whether a changed prompt is worth telling a box now.
    pub fn takes_prompt(&self, id: BoxId) -> bool {
        self.streams.get(&id).is_some_and(Stream::takes_prompt)
    }

    /// What a front end is given now.
    pub fn take_batch(&mut self, id: BoxId, now: Now) -> Option<Vec<Told>> {
        self.streams.get_mut(&id)?.take_batch(now)
    }

    /// Takes away the boxes that are too far behind.
    pub fn take_cut(&mut self) -> Vec<BoxId> {
        self.streams.extract_if(.., |_, stream| stream.is_cut()).map(|(id, _)| id).collect()
    }
}

/// Tells several the same; the last takes the notice itself.
fn tell_each<'s>(
    streams: impl Iterator<Item = &'s mut Stream>,
    notice: Notice,
    seq: Seq,
    mut then: impl FnMut(&mut Stream),
) {
    let mut streams = streams.peekable();
    let mut tell = |stream: &mut Stream, notice| {
        stream.tell(Told { notice, seq, reference: None }, false);
        then(stream);
    };
    while let Some(stream) = streams.next() {
        if streams.peek().is_none() {
            return tell(stream, notice);
        }
        tell(stream, notice.clone());
    }
}

impl Transactional for Output {
    fn commit(&mut self) {
        self.streams.values_mut().for_each(Stream::commit);
    }

    fn rollback(&mut self) {
        self.streams.values_mut().for_each(Stream::rollback);
    }
}
