use std::collections::BTreeMap;

use super::*;
use crate::client::console::Rules;
use crate::client::console::screen::draw;
use crate::client::notice::tests::{name, room};
use crate::client::notice::{
    Body as Text, Code, ContactLine, ErrorNotice, HistoryLine, MemberState, PastRoom, RoomHistoryLine,
    RoomLine, RoomStanding, RoomState, Told,
};
use crate::protocol::PublicKey;
use crate::protocol::peer::{Cursor, Via};
use crate::protocol::room::RoomKey;
use crate::terminal::{History, Key};

mod reading;
mod scrolling;
mod talking;

const KEY: RoomKey = RoomKey([7; 32]);

/// A screen, and a client that has said all that it shows.
struct World {
    model: Model,
    said: BTreeMap<Addressee, Vec<HistoryLine>>,
    read: BTreeMap<Addressee, Seq>,
    seq: Seq,
    now: Now,
    /// What was asked of the client, but for what the screen asks by itself.
    commands: Vec<Command>,
    ended: Vec<Input>,
}

fn to(who: &str) -> Addressee {
    who.parse().unwrap()
}

fn contact(peer: &str) -> ContactLine {
    ContactLine {
        peer: name(peer),
        fingerprint: None,
        offered: None,
        verified: true,
        linked: true,
        linked_since: Some(0),
        route: Some(Via::Direct),
        presence: None,
        presence_since: None,
        last_seen: None,
        requested: false,
        stranger: false,
        blocked: false,
        waiting: 0,
        unread: 0,
        bytes: 0,
        address: None,
    }
}

/// What alice may want.
fn wants(mute: &[&str], highlight: &[&str]) -> Preferences {
    let highlight: Vec<_> = highlight.iter().map(|word| (*word).to_owned()).collect();
    let rules = Rules::new(&name("alice"), mute.iter().map(|who| to(who)), &highlight);
    Preferences { rules: Arc::new(rules), ..Preferences::default() }
}

impl World {
    /// With these conversations, each with so many messages of others, all read.
    fn new(said: &[(&str, usize)]) -> Self {
        Self::with(said, wants(&[], &[]), None)
    }

    fn with(said: &[(&str, usize)], preferences: Preferences, last: Option<&str>) -> Self {
        let now = Now { mono: Instant::now(), wall: 0 };
        let first = First::Usual;
        let aliases = Arc::default();
        let last = last.map(to);
        let setup = Setup { preferences, aliases, zone: TimeZone::UTC, first, bell: true, last };
        let model = Model::new(setup, Editor::new(History::open(None), 1000), now);
        let (said_by, read) = (BTreeMap::new(), BTreeMap::new());
        let mut world =
            Self { model, said: said_by, read, seq: 0, now, commands: Vec::new(), ended: Vec::new() };
        for (who, count) in said {
            let lines: Vec<_> =
                (1..=*count).map(|number| world.line(who, &format!("message {number}"))).collect();
            world.read.insert(to(who), world.seq);
            world.said.insert(to(who), lines);
        }
        world.model.resize((80, 12));
        world.start();
        world
    }

    fn start(&mut self) {
        let (user, fingerprint) = (name("alice"), PublicKey([1; 32]));
        let address = "127.0.0.1:1".parse().unwrap();
        self.hears(vec![Notice::hello(), Notice::Ready { user, address, fingerprint }]);
        self.prompt();
    }

    fn line(&mut self, from: &str, text: &str) -> HistoryLine {
        self.seq += 1;
        HistoryLine {
            seq: self.seq,
            id: Cursor { epoch: 1, number: self.seq.unsigned_abs() },
            from: name(from.trim_start_matches('#')),
            text: Text::Text(text.into()),
            sent: 0,
            received: Some(0),
            delivered: true,
        }
    }

    fn unread(&self, who: &Addressee) -> u64 {
        let read = self.read.get(who).copied().unwrap_or_default();
        let theirs = |line: &&HistoryLine| line.received.is_some() && line.seq > read;
        self.said.get(who).map_or(0, |lines| lines.iter().filter(theirs).count() as u64)
    }

    fn prompt(&mut self) {
        let unread = self.said.keys().map(|who| (who.clone(), self.unread(who)));
        let prompt = Prompt {
            contacts: self.said.keys().filter_map(|who| who.user().cloned()).collect(),
            rooms: self.said.keys().filter_map(|who| who.room().cloned()).collect(),
            unread: unread.filter(|(_, count)| *count > 0).collect(),
            ..Prompt::default()
        };
        self.model.prompt(prompt, self.now);
        self.run();
    }

    fn hears(&mut self, notices: Vec<Notice>) {
        let told = notices.into_iter().map(|notice| Told { notice, seq: self.seq, reference: None });
        let told: Vec<_> = told.collect();
        // As over the socket.
        let told = told.iter().map(crate::client::notice::tests::read_back).collect();
        self.model.heard(told, self.now);
        self.run();
    }

    /// Another user says something.
    fn arrives(&mut self, who: &str, text: &str) {
        let from = if who.starts_with('#') { "bob" } else { who };
        let line = self.line(from, text);
        self.said.entry(to(who)).or_default().push(line.clone());
        let HistoryLine { id, from, text, sent, .. } = line;
        let label = to(who).room().cloned();
        self.hears(vec![Notice::Message {
            id,
            from,
            text,
            sent,
            received: 0,
            replayed: false,
            stranger: false,
            room_id: label.is_some().then_some(KEY),
            room: label,
            unknown: false,
        }]);
        self.prompt();
    }

    /// The client does what it is asked for, until nothing more is asked.
    fn run(&mut self) {
        for _ in 0..100 {
            let inputs = self.model.take_outgoing();
            if inputs.is_empty() {
                return;
            }
            for input in inputs {
                self.answer(input);
            }
        }
        panic!("it asks and asks");
    }

    fn answer(&mut self, input: Input) {
        let Input::Command { command, reference } = input else { panic!("{input:?}") };
        let Ok(command) = command else {
            let error = command.unwrap_err();
            let notice = Notice::Error(ErrorNotice::new((&error).into(), error.to_string()));
            return self.tell(notice, reference);
        };
        let notice = match command.clone() {
            Command::Reads => return,
            Command::Contacts => Notice::Contacts {
                contacts: self.said.keys().filter_map(|who| Some(contact(who.user()?.as_str()))).collect(),
            },
            Command::Rooms => Notice::Rooms {
                rooms: self.said.keys().filter_map(|who| Some(room_line(who.room()?.clone()))).collect(),
            },
            Command::Page { peer, count, beside } => self.page(peer, count as usize, beside),
            Command::Read(peer, up_to) => {
                let read = self.read.entry(peer.clone()).or_default();
                *read = up_to.min(self.seq).max(*read);
                let (up_to, unread) = (*read, self.unread(&peer));
                self.tell(Notice::Read { peer, up_to, unread }, reference);
                return self.prompt();
            }
            Command::Chat(to, text) => {
                self.commands.push(command);
                let mut line = self.line("alice", &text);
                (line.received, line.delivered) = (None, false);
                let HistoryLine { id, text, sent, .. } = line.clone();
                self.said.entry(to.clone()).or_default().push(line);
                Notice::Queued { id, to, linked: true, text, sent, alone: false }
            }
            Command::Logout | Command::Detach => {
                self.ended.push(Input::typed(Ok(command)));
                Notice::Bye { waiting: 0 }
            }
            _ => {
                self.commands.push(command);
                Notice::Outbox { waiting: 0, messages: Vec::new() }
            }
        };
        self.tell(notice, reference);
    }

    fn page(&self, peer: Addressee, count: usize, beside: Beside) -> Notice {
        let Some(lines) = self.said.get(&peer) else {
            let message = format!("{peer} is not a contact");
            return Notice::Error(ErrorNotice::new(Code::NotAContact, message));
        };
        let messages: Vec<HistoryLine> = match beside {
            Beside::Before(before) => {
                let all: Vec<_> = lines.iter().filter(|line| line.seq < before).cloned().collect();
                all[all.len().saturating_sub(count)..].to_vec()
            }
            Beside::After(after) => {
                lines.iter().filter(|line| line.seq > after).take(count).cloned().collect()
            }
        };
        match peer {
            Addressee::User(peer) => Notice::History { peer, messages },
            Addressee::Room(room) => {
                let messages = messages.into_iter().map(|line| {
                    let HistoryLine { seq, id, from, text, sent, received, .. } = line;
                    let (is_final, have, of, unknown) = (false, 1, 3, false);
                    RoomHistoryLine { seq, id, from, text, sent, received, is_final, have, of, unknown }
                });
                let (past, messages) = (PastRoom::default(), messages.collect());
                Notice::RoomHistory { room, room_id: KEY, past, messages }
            }
        }
    }

    fn tell(&mut self, notice: Notice, reference: Option<Reference>) {
        let told = Told { notice, seq: self.seq, reference };
        self.model.heard(vec![told], self.now);
    }

    fn press(&mut self, key: Key) -> Effect {
        let effect = self.model.key(key, self.now);
        self.run();
        effect
    }

    fn types(&mut self, text: &str) {
        text.chars().for_each(|c| _ = self.press(Key::Char(c)));
    }

    fn enters(&mut self, text: &str) {
        self.types(text);
        self.press(Key::Enter);
    }

    fn opens(&mut self, who: &str) {
        self.enters(&format!("CHAT {who}"));
        self.screen();
    }

    fn later(&mut self, seconds: u64) {
        self.now.mono += Duration::from_secs(seconds);
        self.model.tick(self.now);
        self.run();
    }

    /// Draws as often as something changes, and returns what is on the screen then.
    fn screen(&mut self) -> Vec<String> {
        for _ in 0..100 {
            let frame = self.model.frame(self.now);
            self.run();
            if self.model.change() == Change::None {
                return text(&draw::draw(&frame, self.model.colours()));
            }
        }
        panic!("it changes and changes");
    }

    /// The part beside the list, without what is empty.
    fn right(&mut self) -> Vec<String> {
        let rows = self.screen().into_iter();
        let right =
            |row: String| row.split_once('│').map_or(row.clone(), |(_, right)| right.trim_end().to_owned());
        rows.map(right).filter(|row| !row.is_empty()).collect()
    }

    /// The rows of the list.
    fn left(&mut self) -> Vec<String> {
        let rows = self.screen().into_iter();
        let left =
            |row: String| row.split_once('│').map_or(String::new(), |(left, _)| left.trim_end().to_owned());
        rows.map(left).filter(|row| !row.is_empty()).collect()
    }

    fn shows(&mut self, part: &str) -> bool {
        self.screen().iter().any(|row| row.contains(part))
    }
}

fn room_line(room: crate::client::addressee::RoomLabel) -> RoomLine {
    RoomLine {
        room,
        room_id: KEY,
        owner: name("bob"),
        topic: "what is built".into(),
        past: PastRoom::default(),
        state: RoomStanding::Joined,
        members: 5,
        linked: 3,
        unread: 0,
        waiting: 0,
    }
}

fn text(buffer: &ratatui_core::buffer::Buffer) -> Vec<String> {
    let area = buffer.area;
    let row = |y| {
        let mut row = String::new();
        let mut x = 0;
        while x < area.width {
            let symbol = buffer[(x, y)].symbol();
            row.push_str(symbol);
            x += u16::try_from(unicode_width::UnicodeWidthStr::width(symbol).max(1)).unwrap();
        }
        row.trim_end().to_owned()
    };
    (0..area.height).map(row).collect()
}

#[test]
fn the_list_shows_who_is_there_and_what_is_unread() {
    let mut world = World::new(&[("bob", 1), ("carol", 1), ("#lab", 1)]);
    assert_eq!(
        world.left(),
        [">0 client", " 1 bob           ●", " 2 carol         ●", " 3 #lab        4/5", "discovery: …"]
    );
    world.arrives("carol", "one");
    world.arrives("carol", "two");
    world.arrives("#lab", "nothing special");
    world.hears(vec![Notice::Link { peer: name("bob"), state: UpDown::Down, route: None, stranger: false }]);
    world.hears(vec![Notice::Discovery { state: UpDown::Up, detail: String::new() }]);
    assert_eq!(
        world.left()[1..],
        [" 1 bob           ○", " 2 carol       ● 2", " 3 #lab      4/5 1", "discovery: up"]
    );
    world.arrives("#lab", "hi Alice!");
    assert_eq!(world.left()[3], " 3 #lab     4/5 @2");
}

#[test]
fn a_mention_from_before_the_start_is_marked() {
    for (text, expected) in [("hi alice!", "@2"), ("nothing special", " 2")] {
        let mut world = World::new(&[("bob", 1), ("#lab", 30)]);
        world.arrives("#lab", text);
        world.arrives("#lab", "and more");
        let (said, read) = (world.said, world.read);
        let mut world = World::new(&[]);
        (world.said, world.read) = (said, read);
        world.model.prompted = false;
        world.prompt();
        let left = world.left();
        assert!(left[2].contains("#lab") && left[2].ends_with(expected), "{left:#?}");
    }
}

#[test]
fn the_header_tells_of_the_other_side() {
    let mut world = World::new(&[("bob", 1), ("#lab", 1)]);
    world.opens("bob");
    assert_eq!(world.right()[0], "bob · linked (direct) since 00:00 · verified");
    world.opens("#lab");
    assert_eq!(world.right()[0], "#lab · 4 of 5 linked · what is built");
    world.enters("CHAT");
    assert!(world.right()[0].starts_with("alice · discovery"));
    world.model.resize((50, 12));
    world.arrives("bob", "hi");
    let header = world.screen()[0].clone();
    assert!(header.ends_with("[bob 1]") && !header.contains('│'), "{header}");
}

#[test]
fn keys_go_from_one_conversation_to_another() {
    let mut world = World::new(&[("bob", 1), ("carol", 1), ("dave", 1), ("#lab", 1)]);
    let open = |world: &World| world.model.open.as_ref().map(ToString::to_string).unwrap_or_default();
    for (key, expected) in [
        (Key::Alt('2'), "carol"),
        (Key::Ctrl('n'), "dave"),
        (Key::Ctrl('n'), "#lab"),
        (Key::Ctrl('n'), ""),
        (Key::Ctrl('p'), "#lab"),
        (Key::Alt('0'), ""),
        (Key::Alt('9'), ""),
        (Key::Alt('o'), "#lab"),
        (Key::Click(3, 1), "bob"),
        (Key::Click(30, 2), "bob"),
        (Key::Click(3, 9), "bob"),
    ] {
        world.press(key.clone());
        world.screen();
        assert_eq!(open(&world), expected, "{key:?}");
    }
    world.arrives("#lab", "one");
    world.arrives("carol", "two");
    world.arrives("#lab", "alice: three");
    for expected in ["#lab", "carol", "carol"] {
        world.press(Key::Alt('a'));
        world.screen();
        assert_eq!(open(&world), expected);
    }
    assert!(world.shows("nothing is unread"));
}

#[test]
fn what_is_typed_stays_with_its_conversation() {
    let mut world = World::new(&[("bob", 1), ("carol", 1)]);
    world.opens("bob");
    world.types("half of it");
    world.press(Key::Alt('2'));
    assert!(!world.shows("half of it"));
    world.types("other");
    world.press(Key::Alt('1'));
    assert!(world.shows("> half of it") && !world.shows("other"));
    // What is asked about one is not answered for another.
    world.press(Key::Ctrl('u'));
    world.types("chat carol hi");
    world.press(Key::Enter);
    assert!(world.shows("send this to bob?"));
    world.press(Key::Alt('2'));
    world.types("y");
    world.press(Key::Enter);
    assert_eq!(world.commands, [Command::Chat(to("carol"), "othery".into())]);
}

#[test]
fn the_last_conversation_is_open_again() {
    let mut world = World::with(&[("bob", 1)], Preferences::default(), Some("bob"));
    assert_eq!(world.model.take_last(), Some(Some(to("bob"))));
    assert!(world.shows("message 1"));
    world.enters("CHAT");
    assert_eq!((world.model.take_last(), world.model.take_last()), (Some(None), None));
    let mut gone = World::with(&[("bob", 1)], Preferences::default(), Some("carol"));
    assert!(gone.left()[0].starts_with(">0"));
}

#[test]
fn everything_is_loaded_anew_where_a_client_is_found_again() {
    let mut world = World::new(&[("bob", 2)]);
    world.opens("bob");
    world.types("half");
    let lost = world.line("bob", "what was not told");
    world.said.get_mut(&to("bob")).unwrap().push(lost);
    assert!(!world.shows("what was not told"));
    world.start();
    assert!(world.shows("what was not told") && world.shows("> half"));
}

#[test]
fn however_small_a_terminal_is_something_is_drawn() {
    let mut world = World::new(&[("bob", 30), ("#lab", 1)]);
    world.opens("bob");
    world.types("a long line that is being typed, longer than small terminals are");
    world.enters("/nothing");
    for width in [1, 2, 3, 7, 20, 39, 59, 60, 200] {
        for height in [1, 2, 3, 5, 12, 60] {
            world.model.resize((width, height));
            let frame = world.model.frame(world.now);
            world.run();
            let (x, y) = draw::cursor(&frame);
            assert!(usize::from(x) < width && usize::from(y) < height, "{width}x{height}: {x} {y}");
            assert_eq!(draw::draw(&frame, world.model.colours()).area.width, u16::try_from(width).unwrap());
        }
    }
}
