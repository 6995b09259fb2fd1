//! A member of `#lab` over all its starts: what it was promised, what it was shown, and what was final.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::client::Client;

/// Longer than a room takes to come to rest on a machine that is busy with other tests.
pub const PEACE: Duration = Duration::from_secs(120);
/// How long a member is listened to before the others have their turn.
const TURN: Duration = Duration::from_millis(20);
/// How many events of each member a failure shows.
const SHOWN: usize = 30;

/// Which text it is: who has written it, and the `id`.
pub type Id = (String, String);

/// A line of `HISTORY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub id: Id,
    pub text: String,
    pub have: u64,
    pub of: u64,
    pub is_final: bool,
}

impl Line {
    pub fn from(&self) -> &str {
        &self.id.0
    }

    /// Whether so many members have it, that is all, and it will stand where it stands.
    pub fn is_with_all(&self, members: u64) -> bool {
        self.have == members && self.of == members && self.is_final
    }
}

/// See the module.
pub struct Member {
    pub name: String,
    pub directory: PathBuf,
    discovery: SocketAddr,
    client: Option<Client>,
    /// The texts that are not answered yet.
    unanswered: VecDeque<String>,
    /// What was answered with `queued`, over all starts.
    pub promised: BTreeMap<Id, String>,
    /// What this start was told last of each own text: how many have it, of how many, whether it is final.
    spread: BTreeMap<Id, (u64, u64, bool)>,
    /// The own texts of this start.
    fresh: Vec<Id>,
    /// The texts of others that were shown, in that order.
    pub shown: Vec<(Id, String)>,
    /// The texts that `HISTORY` has called final, in its order.
    settled: Vec<Id>,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

impl Member {
    /// With a directory of its own in `base`, and registered.
    pub fn online(base: &Path, name: &str, discovery: SocketAddr) -> Self {
        let mut member = Self::away(base, name, discovery);
        member.begin();
        member.until("discovery", |event| event["state"] == "up");
        member
    }

    /// One whose client is not started yet.
    pub fn away(base: &Path, name: &str, discovery: SocketAddr) -> Self {
        Self {
            name: name.into(),
            directory: base.join(name),
            discovery,
            client: None,
            unanswered: VecDeque::new(),
            promised: BTreeMap::new(),
            spread: BTreeMap::new(),
            fresh: Vec::new(),
            shown: Vec::new(),
            settled: Vec::new(),
        }
    }

    pub fn begin(&mut self) {
        assert!(self.client.is_none(), "{} runs", self.name);
        self.client = Some(Client::start(&self.directory, &self.name, self.discovery));
    }

    pub fn is_running(&self) -> bool {
        self.client.is_some()
    }

    pub fn client(&mut self) -> &mut Client {
        self.client.as_mut().expect("it runs")
    }

    pub fn say(&mut self, line: &str) {
        self.client().say(line);
    }

    /// Says it in the room; the answer comes later.
    pub fn write(&mut self, text: &str) {
        self.say(&format!("CHAT #lab {text}"));
        self.unanswered.push_back(text.into());
    }

    /// Says it in the room, and waits until it is kept.
    pub fn chat(&mut self, text: &str) -> Id {
        self.write(text);
        let queued = self.until("queued", |_| true);
        (self.name.clone(), text_of(&queued, "id"))
    }

    /// Takes in what it says, until it says nothing for `quiet`.
    pub fn read(&mut self, quiet: Duration) {
        while let Some(event) = self.next(quiet) {
            assert_ne!(event["event"], "error", "{}: {event}", self.name);
        }
    }

    /// The next event for which `fits` holds. All that comes before is taken in, and none of it may be an error.
    pub fn until(&mut self, kind: &str, mut fits: impl FnMut(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PEACE;
        loop {
            match self.next(deadline.saturating_duration_since(Instant::now())) {
                Some(event) if event["event"] == kind && fits(&event) => return event,
                Some(event) => assert_ne!(event["event"], "error", "{}: {event}", self.name),
                None => panic!("{} never said {kind}: {}", self.name, self.last_words()),
            }
        }
    }

    /// Waits until it was shown a text of another member, if it was not already.
    pub fn sees(&mut self, from: &str, text: &str) {
        let deadline = Instant::now() + PEACE;
        while !self.shown.iter().any(|(id, shown)| id.0 == from && shown == text) {
            match self.next(deadline.saturating_duration_since(Instant::now())) {
                Some(event) => assert_ne!(event["event"], "error", "{}: {event}", self.name),
                None => panic!("{} never saw {text:?} of {from}: {}", self.name, self.last_words()),
            }
        }
    }

    /// Waits until so many members have an own text of this start, that is all, and its place is final.
    pub fn is_told_of_all(&mut self, id: &Id, members: u64) {
        let deadline = Instant::now() + PEACE;
        while self.spread.get(id) != Some(&(members, members, true)) {
            match self.next(deadline.saturating_duration_since(Instant::now())) {
                Some(event) => assert_ne!(event["event"], "error", "{}: {event}", self.name),
                None => panic!("{id:?} is with {:?}: {}", self.spread.get(id), self.last_words()),
            }
        }
    }

    /// The same of all own texts of this start.
    pub fn is_told_of_all_fresh(&mut self, members: u64) {
        for id in self.fresh.clone() {
            self.is_told_of_all(&id, members);
        }
    }

    /// How many members are said to have an own text of this start.
    pub fn have(&self, id: &Id) -> Option<u64> {
        self.spread.get(id).map(|(have, ..)| *have)
    }

    /// The answer to a command.
    pub fn ask(&mut self, command: &str, answer: &str) -> Value {
        self.say(command);
        self.until(answer, |_| true)
    }

    /// A command is refused with this code.
    pub fn is_refused(&mut self, command: &str, code: &str) {
        self.say(command);
        let deadline = Instant::now() + PEACE;
        loop {
            match self.next(deadline.saturating_duration_since(Instant::now())) {
                Some(event) if event["event"] == "error" => {
                    return assert_eq!(event["code"], code, "{event}");
                }
                Some(_) => {}
                None => panic!("{} never refused {command}: {}", self.name, self.last_words()),
            }
        }
    }

    fn next(&mut self, within: Duration) -> Option<Value> {
        let event = self.client().next(within)?;
        self.note(&event);
        Some(event)
    }

    fn note(&mut self, event: &Value) {
        if event["room"] != "#lab" && event["to"] != "#lab" {
            return;
        }
        match event["event"].as_str().unwrap() {
            "queued" => {
                let id = (self.name.clone(), text_of(event, "id"));
                let text = self.unanswered.pop_front().expect("a text was written");
                self.fresh.push(id.clone());
                assert_eq!(self.promised.insert(id, text), None, "{}: {event} twice", self.name);
            }
            "message" => {
                let id = (text_of(event, "from"), text_of(event, "id"));
                let text = text_of(event, "text");
                if !self.shown.iter().any(|(shown, what)| *shown == id && *what == text) {
                    self.shown.push((id, text));
                } else {
                    // Only what was perhaps not seen before a kill is shown again, and marked.
                    assert_eq!(event["replayed"], true, "{}: {event} twice", self.name);
                }
            }
            "delivered" => {
                let spread =
                    |it: &Value| Some((it["have"].as_u64()?, it["of"].as_u64()?, it["final"].as_bool()?));
                self.spread.insert((self.name.clone(), text_of(event, "id")), spread(event).unwrap());
            }
            "history" => self.check_history(&lines(event)),
            _ => {}
        }
    }

    /// Nothing is there twice. What was final stands where it stood, and nothing has come before it.
    fn check_history(&mut self, lines: &[Line]) {
        let distinct: BTreeSet<_> = places(lines).into_iter().collect();
        assert_eq!(distinct.len(), lines.len(), "{}: some stand there twice: {lines:?}", self.name);
        let settled: Vec<Id> =
            lines.iter().take_while(|line| line.is_final).map(|line| line.id.clone()).collect();
        let start = settled.get(..self.settled.len());
        assert_eq!(start, Some(self.settled.as_slice()), "{}: what was final has moved", self.name);
        self.settled = settled;
    }

    pub fn history(&mut self) -> Vec<Line> {
        lines(&self.ask("HISTORY #lab 1000", "history"))
    }

    /// Waits until something holds that a question can tell.
    pub fn comes_to(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + PEACE;
        while !holds(self) {
            assert!(Instant::now() < deadline, "{} never comes to {what}: {}", self.name, self.last_words());
            self.read(TURN);
        }
    }

    /// With how many members it is linked.
    pub fn links(&mut self) -> u64 {
        self.ask("ROOMS", "rooms")["rooms"][0]["linked"].as_u64().unwrap()
    }

    pub fn is_linked_with(&mut self, others: u64) {
        self.comes_to(&format!("{others} links"), |member| member.links() == others);
    }

    pub fn is_linked_to(&mut self, contact: &str) {
        self.comes_to(contact, |member| {
            let contacts = member.ask("CONTACTS", "contacts");
            let lines = contacts["contacts"].as_array().unwrap();
            lines.iter().any(|line| line["peer"] == contact && line["linked"] == true)
        });
    }

    pub fn state(&mut self) -> String {
        text(&self.ask("ROOMS", "rooms")["rooms"][0]["state"])
    }

    /// What `MEMBERS` says of one; null if nothing.
    pub fn line_of(&mut self, user: &str) -> Value {
        let members = self.ask("MEMBERS #lab", "members");
        let lines = members["members"].as_array().unwrap();
        lines.iter().find(|line| line["user"] == user).cloned().unwrap_or_default()
    }

    /// As `kill -9` does. What it had said by then counts.
    pub fn kill(&mut self) {
        self.client().kill();
        self.end();
    }

    /// As the user does who leaves.
    pub fn log_out(&mut self) {
        self.say("LOGOUT");
        self.until("bye", |_| true);
        let (status, stderr) = self.client().ended();
        assert_eq!((status.code(), stderr.as_str()), (Some(0), ""), "{}", self.name);
        self.end();
    }

    fn end(&mut self) {
        self.read(PEACE);
        self.client = None;
        self.unanswered.clear();
        self.spread.clear();
        self.fresh.clear();
    }

    /// A copy of all that it has on its disk, taken while it does not run.
    pub fn back_up(&self) -> Vec<(PathBuf, Vec<u8>)> {
        assert!(!self.is_running());
        let entries = fs::read_dir(&self.directory).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.is_file()).map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }

    /// That copy takes the place of what it has on its disk now. It has not seen then what came since.
    pub fn restore(&mut self, backup: &[(PathBuf, Vec<u8>)]) {
        assert!(!self.is_running());
        fs::remove_dir_all(&self.directory).unwrap();
        fs::create_dir(&self.directory).unwrap();
        backup.iter().for_each(|(path, content)| fs::write(path, content).unwrap());
        self.shown.clear();
        self.settled.clear();
    }

    fn last_words(&self) -> String {
        let Some(client) = &self.client else {
            return "it does not run".into();
        };
        let answers = ["history", "members", "rooms", "contacts"];
        let told =
            client.log().iter().filter(|event| !answers.iter().any(|answer| event["event"] == *answer));
        let told: Vec<String> = told.map(|event| format!("\n  {event}")).collect();
        told.get(told.len().saturating_sub(SHOWN)..).unwrap().concat()
    }
}

fn text_of(event: &Value, field: &str) -> String {
    text(&event[field])
}

fn lines(history: &Value) -> Vec<Line> {
    let line = |line: &Value| Line {
        id: (text_of(line, "from"), text_of(line, "id")),
        text: text_of(line, "text"),
        have: line["have"].as_u64().unwrap(),
        of: line["of"].as_u64().unwrap(),
        is_final: line["final"].as_bool().unwrap(),
    };
    history["messages"].as_array().unwrap().iter().map(line).collect()
}

/// The first of these owns `#lab`, has invited the others, who know no one else, and all are linked.
pub fn in_room(base: &Path, discovery: SocketAddr, names: &[&str]) -> Vec<Member> {
    let mut members: Vec<Member> = names.iter().map(|name| Member::away(base, name, discovery)).collect();
    members.iter_mut().for_each(Member::begin);
    for member in &mut members {
        member.until("discovery", |event| event["state"] == "up");
    }
    let (owner, others) = members.split_first_mut().unwrap();
    owner.ask("ROOM #lab", "room");
    for other in others {
        meet(owner, other);
        let_in(owner, other);
    }
    members
}

/// The owner asks for one, and they are linked.
pub fn meet(owner: &mut Member, other: &mut Member) {
    owner.say(&format!("REQUEST {}", other.name));
    owner.until("link", |event| event["peer"] == other.name.as_str() && event["state"] == "up");
    other.until("link", |event| event["peer"] == owner.name.as_str() && event["state"] == "up");
}

/// The owner invites one, who gets what is said from then on, and joins.
pub fn let_in(owner: &mut Member, other: &mut Member) {
    join(owner, other, "");
}

/// The same, and who is invited gets all that was said before.
pub fn let_in_to_all(owner: &mut Member, other: &mut Member) {
    join(owner, other, " all");
}

fn join(owner: &mut Member, other: &mut Member, all: &str) {
    owner.say(&format!("INVITE #lab {}{all}", other.name));
    other.until("invite", |event| event["room"] == "#lab");
    other.ask("JOIN #lab", "room");
    owner.until("member", |event| event["user"] == other.name.as_str() && event["state"] == "joined");
}

/// Waits until all these have the same texts in the same order, and `fits` holds of each line. Returns them.
pub fn agree(members: &mut [Member], mut fits: impl FnMut(&Line) -> bool) -> Vec<Line> {
    let deadline = Instant::now() + PEACE;
    loop {
        members.iter_mut().for_each(|member| member.read(TURN));
        let histories: Vec<Vec<Line>> = members.iter_mut().map(Member::history).collect();
        let first = histories.first().unwrap();
        let same = |history: &Vec<Line>| places(history) == places(first);
        if histories.iter().all(same) && histories.iter().flatten().all(&mut fits) {
            return first.clone();
        }
        if Instant::now() > deadline {
            panic!("no agreement: {}", explain(members, &histories, fits));
        }
    }
}

/// The same, all of it final and with all of so many members.
pub fn agree_on_all(members: &mut [Member], count: u64) -> Vec<Line> {
    agree(members, |line| line.is_with_all(count))
}

/// Waits until each is linked with all the others.
pub fn all_linked(members: &mut [Member]) {
    let others = members.len() as u64 - 1;
    members.iter_mut().for_each(|member| member.is_linked_with(others));
}

fn places(history: &[Line]) -> Vec<(&Id, &str)> {
    history.iter().map(|line| (&line.id, line.text.as_str())).collect()
}

fn explain(members: &mut [Member], histories: &[Vec<Line>], mut fits: impl FnMut(&Line) -> bool) -> String {
    let mut out = String::new();
    let longest = histories.iter().max_by_key(|history| history.len()).unwrap();
    for (member, history) in members.iter_mut().zip(histories) {
        let (here, all) = (places(history), places(longest));
        let differs = here.iter().zip(&all).position(|(one, other)| one != other);
        let missing: Vec<_> = all.iter().filter(|place| !here.contains(place)).collect();
        let unfit: Vec<_> = history.iter().filter(|line| !fits(line)).take(5).collect();
        let (said, rooms) = (member.ask("MEMBERS #lab", "members"), member.ask("ROOMS", "rooms"));
        let (name, last) = (&member.name, member.last_words());
        out += &format!(
            "\n{name}: {} lines; differs at {differs:?}; lacks {} ({:?}); not as it should be: {unfit:?}\n  {said}\n  {rooms}{last}",
            history.len(),
            missing.len(),
            missing.iter().take(3).collect::<Vec<_>>(),
        );
    }
    out
}
