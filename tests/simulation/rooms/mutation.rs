//! Laws of rooms broken on purpose, at the edge of the deciding code: the simulation must notice each.

use peerchat::client::node::rooms::{Effect, State};
use peerchat::protocol::room::{
    AboutRoom, Change, Deed, EntryKind, Mark, Receipt, ReceiptName, RoomKey, RoomSays, Run, Signature, hash,
};
use rusqlite::OptionalExtension;

use super::super::snapshot::Snapshot;
use super::frozen::Freezes;
use super::liars::{Lie, end_of};
use super::world::{ALL_LINKED, Command, Input, Plan, World};

/// Which law is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// 1: A text is shown before it is committed.
    ShowBeforeCommit,
    /// 1: What follows from something is said before it is committed.
    SayBeforeCommit,
    /// 1: What was taken before a restart is taken again.
    TakenTwice,
    /// 2: Only the author of an entry is asked for it.
    OnlyTheAuthor,
    /// 3: An entry stands before one of its causes.
    EffectFirst,
    /// 3: An entry stands somewhere else in the order.
    OutOfOrder,
    /// 4: A member's receipt says what another one has, too.
    ForAnother,
    /// 4: The owner of a large room hands on no receipt of another member.
    NotRelayed,
    /// 5: What is here is final at once.
    SettledEarly,
    /// 5: A restored owner settles without having heard which settlements the others know.
    Unasked,
    /// 6: A member does not hear that others are removed.
    RemovalUnheard,
    /// 6: A new owner removes the one before without having heard which settlements the others know.
    RemovedUnasked,
    /// 6: A member that starts has forgotten what the owner has confirmed.
    ConfirmedForgotten,
    /// 6, 11: Entries go to members who were removed.
    RemovedServed,
    /// 7: A restored owner uses the numbers of its changes again.
    ChangeReused,
    /// 7: Of two changes under one number a member takes in the first alone.
    TwinUnheard,
    /// 7: Two changes under one number do not keep members from taking what is new.
    TwinIgnored,
    /// 8: A restored member goes on in the epoch of the start before.
    SameEpoch,
    /// 8: A restored member does not take back what it has written.
    NotTakenBack,
    /// 9: Nothing is said of an author who breaks the rules.
    ProofsUnsaid,
    /// 10: Entries go to those who are only invited.
    InvitedServed,
    /// 11: Members who are no contacts are not linked.
    Unmated,
    /// 12: Of one author more is kept than the others let it.
    Unbounded,
    /// 12: Entries are taken although the disk is nearly full.
    NoFloor,
    /// None is, in the room in which one member says more than the others may have to keep.
    Flood,
    /// None is, where the new owner of a room has lost what the one before has settled.
    Succession,
    /// None is, where the owner has lost what it has confirmed of one whom it removes.
    Forgetting,
    /// None is, where the owner signs two changes under one number.
    Freezing,
    /// None is.
    Nothing,
}

/// What a broken law remembers.
#[derive(Default)]
pub struct Broken {
    counter: u64,
    /// What the owner has asked the others about.
    asked: Option<(RoomKey, Mark)>,
}

/// How many members there are where one says too much: the one who hears it is not half of them.
const FLOODED: usize = 5;
/// How much one member says where it says too much: texts of so many bytes, in all.
const TEXT: usize = 30_000;
const TEXTS: usize = 640;

impl Mutation {
    pub const ALL: [Self; 24] = [
        Self::ShowBeforeCommit,
        Self::SayBeforeCommit,
        Self::TakenTwice,
        Self::OnlyTheAuthor,
        Self::EffectFirst,
        Self::OutOfOrder,
        Self::ForAnother,
        Self::NotRelayed,
        Self::SettledEarly,
        Self::Unasked,
        Self::RemovalUnheard,
        Self::RemovedUnasked,
        Self::ConfirmedForgotten,
        Self::RemovedServed,
        Self::ChangeReused,
        Self::TwinUnheard,
        Self::TwinIgnored,
        Self::SameEpoch,
        Self::NotTakenBack,
        Self::ProofsUnsaid,
        Self::InvitedServed,
        Self::Unmated,
        Self::Unbounded,
        Self::NoFloor,
    ];

    /// Where it shows soon.
    pub fn shape(self, plan: &mut Plan) {
        plan.members = plan.members.clamp(3, 5);
        plan.duration = plan.duration.min(10_000);
        plan.say_gap = plan.say_gap.max(150);
        (plan.changes, plan.restores, plan.fails, plan.long, plan.gone) = (0, 0, 0, false, None);
        match self {
            Self::RemovalUnheard | Self::RemovedServed | Self::InvitedServed => plan.changes = 40,
            Self::ChangeReused => (plan.changes, plan.restores) = (60, 80),
            Self::SameEpoch | Self::NotTakenBack | Self::Unasked => plan.restores = 80,
            Self::OnlyTheAuthor => plan.gone = Some(1),
            Self::Unmated => plan.members = 5,
            Self::NotRelayed => plan.members = ALL_LINKED + 2,
            Self::Unbounded | Self::Flood => (plan.members, plan.flood) = (FLOODED, true),
            Self::RemovedUnasked | Self::Succession => (plan.members, plan.succession) = (3, true),
            Self::ConfirmedForgotten | Self::Forgetting => (plan.members, plan.forgets) = (4, true),
            Self::ProofsUnsaid => plan.members = plan.members.max(4),
            Self::TwinUnheard | Self::TwinIgnored | Self::Freezing => plan.freezes = Some(Freezes::Twins),
            _ => {}
        }
    }

    /// Whether it shows only where a member lies.
    pub fn needs_liars(self) -> bool {
        self == Self::ProofsUnsaid
    }

    /// How its liar lies.
    pub fn lie(self) -> Option<Lie> {
        (self == Self::ProofsUnsaid).then_some(Lie::DateBack)
    }
}

/// Says too much to one member, who alone is linked with the one who does, and in several starts.
pub fn flood(world: &mut World) -> Result<(), String> {
    let room = world.members[0].rooms.as_ref().unwrap().iter().next().unwrap().0;
    world.run_until(world.now + 5_000)?;
    let forever = u64::MAX;
    for (one, other) in [(0, 1), (1, 3), (1, 4), (0, 2), (2, 3), (2, 4)] {
        world.partitions.insert((one, other), forever);
        world.cut(one, other, 100);
    }
    for start in 0..4 {
        for _ in 0..TEXTS / 4 {
            let text = "x".repeat(TEXT);
            world.command(1, Command::Say(room, text));
        }
        world.run_until(world.now + 8_000)?;
        if start < 3 {
            world.kill(1);
            world.start(1);
        }
    }
    super::check::bounds(world, 2, 1)?;
    world.peace()
}

/// A member that has lost the last settlements owns the room, and tries to remove the owner that has made them before it
/// has heard of them.
pub fn succeed(world: &mut World) -> Result<(), String> {
    let (former, heir, other) = (0, 1, 2);
    let room = world.members[former].rooms.as_ref().unwrap().iter().next().unwrap().0;
    world.run_until(world.now + 5_000)?;
    let backup = Snapshot::take(&world.members[heir].journal);
    for _ in 0..60 {
        for member in [former, other] {
            world.command(member, Command::Say(room, "x".repeat(10)));
        }
        world.run_until(world.now + 100)?;
    }
    world.run_until(world.now + 5_000)?;
    for member in [former, other] {
        world.partitions.insert((heir.min(member), heir.max(member)), u64::MAX);
    }
    world.members[heir].backups = vec![backup];
    world.plan.restores = 100;
    world.kill(heir);
    world.start(heir);
    world.plan.restores = 0;
    world.command(former, Command::Give(room, heir));
    world.run_until(world.now + 5_000)?;
    // They may have died.
    [heir, other].into_iter().for_each(|number| world.start(number));
    let (_, known) = world.members[other].rooms.as_ref().unwrap().iter().next().unwrap();
    let (key, changes) = (known.key(), known.changes.values().cloned().collect());
    hears(world, heir, other, AboutRoom { room: key, says: RoomSays::Changes(changes) });
    world.run_until(world.now + 1_000)?;
    world.command(heir, Command::Kick(room, former));
    world.run_until(world.now + 1_000)?;
    if world.mutation == Some(Mutation::RemovedUnasked) {
        world.start(heir);
        let (_, known) = world.members[heir].rooms.as_ref().unwrap().iter().next().unwrap();
        let asked = known.settling.asked().into_iter().collect();
        let receipt = world.receipt(key, other, 1, asked);
        hears(world, heir, other, AboutRoom { room: key, says: RoomSays::Receipts(vec![receipt]) });
    }
    world.command(heir, Command::Kick(room, former));
    world.run_until(world.now + 1_000)?;
    world.peace()
}

/// Nothing gets through any more between a member and the others.
fn part(world: &mut World, number: usize) {
    for other in (0..world.plan.members).filter(|other| *other != number) {
        world.partitions.insert((number.min(other), number.max(other)), u64::MAX);
        world.cut(number, other, 100);
    }
}

/// The owner has confirmed what a member has said, and nothing is final, for one is away. It loses that with its journal,
/// and removes the member before it is linked with the one who has it.
pub fn forget(world: &mut World) -> Result<(), String> {
    let (owner, author, other, away) = (0, 1, 2, 3);
    // It may have died.
    world.start(owner);
    let room = world.members[owner].rooms.as_ref().unwrap().iter().next().unwrap().0;
    world.run_until(world.now + 5_000)?;
    part(world, away);
    let backup = Snapshot::take(&world.members[owner].journal);
    for _ in 0..20 {
        // They may have died.
        [owner, author, other].into_iter().for_each(|number| world.start(number));
        world.command(author, Command::Say(room, "x".repeat(10)));
        world.run_until(world.now + 200)?;
    }
    world.run_until(world.now + 10_000)?;
    [owner, author].into_iter().for_each(|number| part(world, number));
    world.members[owner].backups = vec![backup];
    world.plan.restores = 100;
    world.kill(owner);
    world.start(owner);
    world.plan.restores = 0;
    world.run_until(world.now + 5_000)?;
    world.start(owner);
    world.command(owner, Command::Kick(room, author));
    world.kill(other);
    world.start(other);
    world.run_until(world.now + 5_000)?;
    world.partitions.remove(&(owner, other));
    world.run_until(world.now + 5_000)?;
    world.peace()
}

fn hears(world: &mut World, number: usize, from: usize, about: AboutRoom) {
    let now = world.now;
    world.members[number].inbox.push_back((now, Input::Hear(from, Box::new(about))));
}

fn is_removal(change: &Change) -> bool {
    matches!(change.deed, Deed::Remove(_))
}

impl World {
    /// Changes what a member hears.
    pub fn mishear(&mut self, number: usize, inputs: &mut Vec<Input>) {
        let own = self.members[number].keypair.public();
        match self.mutation {
            Some(Mutation::RemovalUnheard) if number == 1 => {
                for input in inputs {
                    if let Input::Hear(_, about) = input
                        && let RoomSays::Changes(changes) = &mut about.says
                    {
                        changes.retain(|change| !is_removal(change));
                    }
                }
            }
            Some(mutation @ (Mutation::TwinUnheard | Mutation::TwinIgnored)) if number == 1 => {
                for input in inputs {
                    if let Input::Hear(_, about) = input
                        && let RoomSays::Changes(changes) = &mut about.says
                    {
                        self.take_twins(number, changes, mutation == Mutation::TwinIgnored);
                    }
                }
            }
            Some(Mutation::NotTakenBack) => inputs.retain(|input| match input {
                Input::Hear(_, about) => {
                    !matches!(&about.says, RoomSays::Run(run) if run.chain.author == own)
                }
                _ => true,
            }),
            Some(Mutation::Unasked) if number == 0 => {
                let Some((room, mark)) = self.broken.asked.take() else {
                    return;
                };
                for member in 1..self.plan.members {
                    let says = RoomSays::Receipts(vec![self.receipt(room, member, 1, vec![mark])]);
                    inputs.push(Input::Hear(member, Box::new(AboutRoom { room, says })));
                }
            }
            Some(Mutation::NoFloor) => inputs.retain(|input| !matches!(input, Input::Low(true))),
            Some(Mutation::Unbounded) if number == 2 && !self.partitions.is_empty() => {
                let mut heard = Vec::new();
                for input in std::mem::take(inputs) {
                    let forged = match &input {
                        Input::Hear(from, about) => match &about.says {
                            RoomSays::Run(run) => {
                                Some((*from, about.room, self.receipts_for(about.room, run)))
                            }
                            _ => None,
                        },
                        _ => None,
                    };
                    heard.push(input);
                    if let Some((from, room, receipts)) = forged {
                        let says = RoomSays::Receipts(receipts);
                        heard.push(Input::Hear(from, Box::new(AboutRoom { room, says })));
                    }
                }
                *inputs = heard;
            }
            _ => {}
        }
    }

    /// Takes away the changes that stand under the number of another one which a member has, or hears of before. With
    /// `keeps`, they are in its journal all the same.
    fn take_twins(&self, number: usize, changes: &mut Vec<Change>, keeps: bool) {
        let journal = &self.members[number].journal;
        let Some(room) = journal.rooms().unwrap().pop() else {
            return;
        };
        let stored = journal.changes(room.id).unwrap().into_iter();
        let mut known: Vec<Change> = stored.map(|(_, change)| change).collect();
        let number_of = |it: &Change| (it.author, it.epoch, it.number);
        changes.retain(|change| {
            let is_twin = known.iter().any(|it| number_of(it) == number_of(change) && it != change);
            if !known.contains(change) && (!is_twin || keeps) {
                known.push(change.clone());
                if is_twin {
                    journal.add_change(room.id, hash::change(room.key, change), change).unwrap();
                }
            }
            !is_twin
        });
    }

    /// Receipts of one who is not here for what a run ends with: with it, half of the members have that.
    fn receipts_for(&mut self, room: RoomKey, run: &Run) -> Vec<Receipt> {
        vec![self.receipt(room, 0, 1, vec![end_of(room, run)])]
    }

    /// A receipt that a member has never made, signed with its key.
    fn receipt(&mut self, room: RoomKey, member: usize, epoch: u64, covers: Vec<Mark>) -> Receipt {
        self.broken.counter += 1;
        let keypair = &self.members[member].keypair;
        let name = ReceiptName { member: keypair.public(), epoch, counter: self.broken.counter };
        let mut receipt =
            Receipt { name, covers, tips: Vec::new(), signature: Signature([0; 64]), settled: None };
        receipt.signature = keypair.sign(&hash::receipt(room, &receipt).0);
        receipt
    }

    /// Changes what goes out.
    pub fn distort(&mut self, number: usize, effects: &mut Vec<Effect>) {
        let own = self.members[number].keypair.public();
        match self.mutation {
            Some(Mutation::Unasked) if number == 0 => {
                for effect in &*effects {
                    if let Effect::Say { about, .. } = effect
                        && let RoomSays::Run(run) = &about.says
                        && run.chain.author == own
                        && run.first == 1
                        && run.entries.first().is_some_and(|entry| entry.kind == EntryKind::OPEN)
                    {
                        let open = Run { entries: run.entries.iter().take(1).cloned().collect(), ..run.clone() };
                        self.broken.asked = Some((about.room, end_of(about.room, &open)));
                    }
                }
            }
            Some(Mutation::OnlyTheAuthor) => {
                for effect in effects {
                    if let Effect::Say { to, about } = effect
                        && let RoomSays::Pull(pull) = &mut about.says
                    {
                        pull.chains.retain(|wanted| wanted.up_to.chain.author == *to);
                    }
                }
            }
            Some(Mutation::ForAnother) => {
                let other = (number + 1) % self.plan.members;
                for effect in effects {
                    if let Effect::Say { to, about } = effect
                        && *to != self.members[other].keypair.public()
                        && let RoomSays::Receipts(receipts) = &mut about.says
                    {
                        let ours = receipts.iter().filter(|receipt| receipt.name.member == own);
                        let ours: Vec<Receipt> = ours.cloned().collect();
                        for receipt in ours {
                            let forged =
                                self.receipt(about.room, other, receipt.name.epoch, receipt.covers.clone());
                            receipts.push(forged);
                        }
                    }
                }
            }
            Some(Mutation::NotRelayed) if number == 0 => {
                for effect in effects {
                    if let Effect::Say { about, .. } = effect
                        && let RoomSays::Receipts(receipts) = &mut about.says
                    {
                        receipts.retain(|receipt| receipt.name.member == own);
                    }
                }
            }
            Some(Mutation::ProofsUnsaid) => effects.retain(|effect| {
                !matches!(effect, Effect::Say { about, .. } if matches!(about.says, RoomSays::Proof(_)))
            }),
            Some(mutation @ (Mutation::RemovedServed | Mutation::InvitedServed)) => {
                let wrong =
                    if mutation == Mutation::RemovedServed { State::Removed } else { State::Invited };
                let rooms = self.members[number].rooms.as_ref();
                let Some((_, room)) = rooms.and_then(|it| it.iter().next()) else {
                    return;
                };
                let all = self.members.iter().map(|it| it.keypair.public());
                let served: Vec<_> = all.filter(|key| room.state(*key) == Some(wrong)).collect();
                let mut more = Vec::new();
                for effect in &*effects {
                    if let Effect::Say { about, .. } = effect
                        && matches!(about.says, RoomSays::Run(_))
                    {
                        more.extend(served.iter().map(|to| Effect::Say { to: *to, about: about.clone() }));
                    }
                }
                effects.extend(more);
            }
            _ => {}
        }
    }

    /// Acts on what is decided and not committed. Returns whether the program is now to die and to lose it.
    pub fn acts_too_early(&mut self, number: usize, effects: &[Effect]) -> bool {
        let early: fn(&Effect) -> bool = match self.mutation {
            Some(Mutation::ShowBeforeCommit) => |effect| matches!(effect, Effect::Text { .. }),
            Some(Mutation::SayBeforeCommit) => |effect| matches!(effect, Effect::Say { .. }),
            _ => return false,
        };
        if !self.storm || !effects.iter().any(early) || self.rng.u32(0..20) > 0 {
            return false;
        }
        self.act(number, effects.iter().filter(|it| early(it)).cloned().collect());
        true
    }

    /// The epoch of the start before, where that is the broken law.
    pub fn old_epoch(&self, number: usize) -> Option<u64> {
        let wanted = match self.mutation {
            Some(Mutation::ChangeReused) => number == 0,
            Some(Mutation::SameEpoch) => number != 0,
            _ => false,
        };
        (wanted && self.members[number].epoch != 0).then_some(self.members[number].epoch)
    }

    /// Changes what a program finds when it starts.
    pub fn mutate_journal(&mut self, number: usize) {
        let journal = std::rc::Rc::clone(&self.members[number].journal);
        let own = self.members[number].keypair.public();
        let sql = match self.mutation {
            Some(Mutation::SettledEarly) => {
                "UPDATE room SET final = (SELECT coalesce(max(place), 0) FROM room_entry)".to_owned()
            }
            Some(Mutation::ConfirmedForgotten) if number != 0 => {
                let owner = self.members[0].keypair.public();
                journal.execute("DELETE FROM room_receipt WHERE member = ?1", [owner.0]).unwrap();
                return;
            }
            Some(Mutation::OutOfOrder) if number == 1 => "UPDATE room_entry SET place = place + 100 WHERE
                 place > (SELECT final FROM room) AND kind = 1 AND seq % 2 = 0"
                .to_owned(),
            Some(Mutation::EffectFirst) => {
                let Some(room) = journal.rooms().unwrap().pop() else {
                    return;
                };
                let entries = super::check::standings(&journal, room.id);
                let pairs = entries.iter().zip(entries.iter().skip(1));
                let mut of_one_chain = pairs.filter(|(cause, it)| (cause.0, cause.1 + 1) == (it.0, it.1));
                let Some((cause, it)) = of_one_chain.next_back() else {
                    return;
                };
                let (seq, cause) = (it.2.seq, cause.2.seq);
                format!(
                    "UPDATE room_entry SET seq = -1 WHERE seq = {seq};
                     UPDATE room_entry SET seq = {seq} WHERE seq = {cause};
                     UPDATE room_entry SET seq = {cause} WHERE seq = -1"
                )
            }
            Some(Mutation::TakenTwice) => {
                // The last text of another member, and that it was here.
                let last = journal
                    .query_row(
                        "SELECT chain, room_entry.number FROM room_entry JOIN room_chain ON room_chain.id = chain
                         WHERE author <> ?1 AND kind = 1 AND room_entry.number = room_chain.number
                             AND room_entry.number > 1 ORDER BY seq DESC LIMIT 1",
                        [own.0],
                        |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)),
                    )
                    .optional()
                    .unwrap();
                let Some((chain, last)) = last else {
                    return;
                };
                let before = last - 1;
                format!(
                    "DELETE FROM room_entry WHERE chain = {chain} AND number = {last};
                     DELETE FROM room_head WHERE chain = {chain} AND number = {last};
                     UPDATE room_chain SET (number, hash, clock, place) = (SELECT number, hash, clock, place
                         FROM room_entry WHERE chain = {chain} AND number = {before}) WHERE id = {chain} AND EXISTS
                         (SELECT 1 FROM room_entry WHERE chain = {chain} AND number = {before})"
                )
            }
            _ => return,
        };
        journal.execute_batch(&sql).unwrap();
    }
}
