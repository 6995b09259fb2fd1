//! S11 to S13: what rooms cost, beside direct messages in the same round. All members are real clients.

use std::fs;
use std::io::Write;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use peerchat::protocol::{Name, PublicKey};
use peerchat::store::journal::{Journal, Standing};
use serde_json::Value;

use crate::chat::{Lines, Person, kind, number, register, text};
use crate::measure::{FIRST, SECOND, ended, or_kill};
use crate::programs;
use crate::server::{Discovery, Scratch};
use crate::stream::messages;

pub mod catch_up;
pub mod fifty;
pub mod journal;
mod silence;

/// What the room is called.
const ROOM: &str = "#lab";
/// Up to how many members all are linked with all; above, so many links each has.
const LINKS: usize = 16;
/// How often something is asked again that takes its time: in a large room it takes up to a minute until each knows of all,
/// and to ask costs more than that.
const AGAIN: Duration = Duration::from_secs(2);

/// A room whose members run. The first owns it, and is a contact of all others, who know no one else.
pub struct Room {
    pub members: Vec<Person>,
    pub discovery: Discovery,
}

/// What a member is called.
pub fn name(number: usize) -> Result<Name> {
    Ok(if number == 0 { "olivia".to_owned() } else { format!("guest{number}") }.parse()?)
}

/// The core of a member: they take turns.
pub fn core(number: usize) -> usize {
    if number.is_multiple_of(2) { FIRST } else { SECOND }
}

/// Makes the journals of so many, the first a contact of all others, and a discovery that knows them.
fn make(scratch: &Scratch, count: usize) -> Result<()> {
    let names = (0..count).map(name).collect::<Result<Vec<Name>>>()?;
    let open = |name: &Name| Journal::open(&scratch.path().join(format!("{name}.journal")), name);
    let mut keys: Vec<PublicKey> = Vec::new();
    for name in &names {
        keys.push(open(name)?.identity()?.1.public());
    }
    let meets = |journal: &Journal, name: &Name, key: PublicKey| {
        let mut contact = journal.add_contact(name, Standing::Contact)?;
        contact.identity.key = Some(key);
        journal.save_identity(contact.id, &contact.identity)
    };
    let (owner, owners) = (names.first().context("no owner")?, *keys.first().context("no owner")?);
    let of_owner = open(owner)?;
    of_owner.begin()?;
    for (name, key) in names.iter().zip(&keys).skip(1) {
        meets(&of_owner, name, *key)?;
        let own = open(name)?;
        own.begin()?;
        meets(&own, owner, owners)?;
        own.commit()?;
    }
    of_owner.commit()?;
    register(&scratch.db(), &names, &keys)
}

impl Room {
    /// Of so many members, once all have joined and have the links that the room wants.
    pub fn gather(scratch: &Scratch, count: usize) -> Result<Self> {
        make(scratch, count)?;
        let discovery = Discovery::start(programs()?, &scratch.db(), 0, &[])?;
        let mut members = Vec::new();
        for number in 0..count {
            let name = name(number)?;
            members.push(Person::start(core(number), scratch.path(), name.as_str(), discovery.address)?);
        }
        let mut room = Self { members, discovery };
        let (owner, others) = room.members.split_first_mut().context("no owner")?;
        owner.say(&format!("ROOM {ROOM}"))?;
        said(owner, "room")?;
        for (number, other) in (1..).zip(others) {
            let name = name(number)?;
            // Once it is linked it hears of it at once, and else when it is.
            owner.say(&format!("INVITE {ROOM} {name}"))?;
            said(other, "invite")?;
            other.say(&format!("JOIN {ROOM}"))?;
            said(other, "room")?;
            loop {
                let member = said(owner, "member")?;
                if is(&member, "user", name.as_str()) && is(&member, "state", "joined") {
                    break;
                }
            }
        }
        room.wait_until_linked()?;
        room.wait_until_even()?;
        Ok(room)
    }

    /// Waits until each has the links that the room wants.
    pub fn wait_until_linked(&mut self) -> Result<()> {
        let wanted = links(self.members.len());
        for member in &mut self.members {
            loop {
                member.say("ROOMS")?;
                let rooms = said(member, "rooms")?;
                if rooms.pointer("/rooms/0/linked").and_then(Value::as_u64) >= Some(wanted) {
                    break;
                }
                thread::sleep(AGAIN);
            }
        }
        Ok(())
    }

    /// Waits until each knows of all others that they have all.
    pub fn wait_until_even(&mut self) -> Result<()> {
        let count = self.members.len();
        self.members.iter_mut().try_for_each(|member| wait_until_even(member, count))
    }

    /// Waits until all members can find all by its words.
    pub fn index(&mut self) -> Result<()> {
        self.members.iter_mut().try_for_each(index)
    }

    /// CPU time of all members.
    pub fn cpu(&self) -> Result<Duration> {
        self.members.iter().map(cpu).sum()
    }

    /// The last member, who writes, and all others.
    pub fn author(&mut self) -> Result<(&mut Person, &mut [Person])> {
        self.members.split_last_mut().context("no author")
    }

    pub fn leave(self) -> Result<()> {
        self.members.into_iter().try_for_each(leave)
    }
}

/// The next event of that kind. It is no mistake if a link comes before discovery can be asked who that is.
fn said(person: &mut Person, event: &str) -> Result<Value> {
    loop {
        let line = person.lines.next()?;
        if kind(line) == event.as_bytes() {
            return Ok(serde_json::from_slice(line)?);
        }
        let what = String::from_utf8_lossy(line);
        ensure!(kind(line) != b"error" || what.contains("unknown-peer"), "{what}");
    }
}

/// Waits until a client can find all by its words. Else it would take them in some seconds later.
pub fn index(person: &mut Person) -> Result<()> {
    person.say("SEARCH nothing")?;
    said(person, "found").map(drop)
}

/// To how many others each is linked at least in a room of so many.
fn links(count: usize) -> u64 {
    if count <= LINKS {
        return count as u64 - 1;
    }
    let distances = (0..LINKS / 2).map(|power| (1 << power) % count);
    let mut places: Vec<usize> = distances.flat_map(|distance| [distance, count - distance]).collect();
    places.retain(|place| *place != 0);
    places.sort_unstable();
    places.dedup();
    places.len() as u64
}

/// Waits until this one knows of all others that they have what it has.
pub fn wait_until_even(person: &mut Person, count: usize) -> Result<()> {
    wait_until(person, |members| members.iter().filter(|it| has_all(it)).count() == count)
}

/// Waits until this one knows that the other has all.
pub fn wait_until_has_all(person: &mut Person, other: &str) -> Result<()> {
    wait_until(person, |members| members.iter().any(|it| is(it, "user", other) && has_all(it)))
}

/// Waits until this holds of the members, as this one knows them.
fn wait_until(person: &mut Person, holds: impl Fn(&[Value]) -> bool) -> Result<()> {
    loop {
        person.say(&format!("MEMBERS {ROOM}"))?;
        let said = said(person, "members")?;
        let members = said.get("members").and_then(Value::as_array).context("no members")?;
        if holds(members) {
            return Ok(());
        }
        thread::sleep(AGAIN);
    }
}

fn is(value: &Value, field: &str, wanted: &str) -> bool {
    value.get(field).and_then(Value::as_str) == Some(wanted)
}

fn has_all(member: &Value) -> bool {
    is(member, "state", "joined") && member.get("behind").and_then(Value::as_u64) == Some(0)
}

/// CPU time of all threads of a client, to the microsecond.
pub fn cpu(person: &Person) -> Result<Duration> {
    let mut all = Duration::ZERO;
    for task in fs::read_dir(format!("/proc/{}/task", person.pid()))? {
        // A thread may have ended meanwhile.
        let spent = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        let spent = spent.split(' ').next().and_then(|spent| spent.parse().ok());
        all += Duration::from_nanos(spent.unwrap_or_default());
    }
    Ok(all)
}

/// Has it end; what it has told and was not read is passed over.
pub fn leave(mut person: Person) -> Result<()> {
    person.say("LOGOUT")?;
    while kind(person.lines.next()?) != b"bye" {}
    ended(person.child(), "a client")
}

/// Has the author write so many texts; each is shown once and in order to all others.
pub fn stream(author: &mut Person, others: &mut [Person], count: u64) -> Result<Duration> {
    let lines: String = (0..count).map(|number| format!("CHAT {ROOM} {}\n", text(number))).collect();
    let stdin = author.stdin.as_mut().context("its input is closed")?;
    let told = &mut author.lines;
    let start = Instant::now();
    thread::scope(|scope| {
        let writing = scope.spawn(move || or_kill(|| Ok(stdin.write_all(lines.as_bytes())?)));
        let queueing = scope.spawn(move || or_kill(|| queued(told, count)));
        let show = |other: &'_ mut Person| or_kill(|| messages(&mut other.lines, count));
        let showing: Vec<_> = others.iter_mut().map(|other| scope.spawn(move || show(other))).collect();
        for done in showing.into_iter().chain([queueing, writing]).map(thread::ScopedJoinHandle::join) {
            done.map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        }
        Ok(start.elapsed())
    })
}

fn queued(lines: &mut Lines, count: u64) -> Result<()> {
    (0..count).try_for_each(|_| lines.wait("queued").map(drop))
}

/// When a text is on half of all screens, and when it is on all.
#[derive(Clone, Copy)]
pub struct Screens {
    pub half: Duration,
    pub all: Duration,
}

/// Has the author write so many texts, each once all others have shown the one before.
pub fn in_turn(author: &mut Person, others: &mut [Person], count: u64) -> Result<Vec<Screens>> {
    let (show, shown) = mpsc::channel::<Instant>();
    let wanted = others.len();
    thread::scope(|scope| {
        let mut showing = Vec::new();
        for other in others {
            let show = show.clone();
            showing.push(scope.spawn(move || {
                or_kill(|| {
                    for expected in 0..count {
                        let line = other.lines.wait("message")?;
                        // It is not what is measured if nothing waits for it any more.
                        let _ = show.send(Instant::now());
                        let what = String::from_utf8_lossy(line);
                        ensure!(number(line) == Some(expected), "not {expected}: {what}");
                    }
                    Ok(())
                })
            }));
        }
        // Once all of them have failed, waiting for them does too.
        drop(show);
        let mut screens = Vec::new();
        for number in 0..count {
            let start = Instant::now();
            author.say(&format!("CHAT {ROOM} {}", text(number)))?;
            let times = (0..wanted).map(|_| shown.recv().map(|at| at - start));
            let mut times = times.collect::<Result<Vec<_>, _>>().context("a member has ended")?;
            times.sort_unstable();
            let at = |place: usize| times.get(place).copied().unwrap_or_default();
            screens.push(Screens { half: at(wanted / 2), all: at(wanted.saturating_sub(1)) });
        }
        for done in showing.into_iter().map(thread::ScopedJoinHandle::join) {
            done.map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        }
        Ok(screens)
    })
}
