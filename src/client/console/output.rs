//! How notices are written: for scripts, for a file, or for a user at a terminal.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use jiff::civil::Date;

use super::attention::{Attention, Rules};
use super::flaps::{Flaps, Said};
use super::spread::Spreads;
use crate::client::addressee::{Addressee, RoomLabel};
use crate::client::command::Aliases;
use crate::client::notice::{
    Look, Notice, Told, UpDown, write_delivered, write_line, write_spread, write_welcome,
};
use crate::protocol::Name;
use crate::terminal::Tty;

const MAX_IN_FLIGHT: usize = 10_000;

/// What the terminal is told around the notices: to break no row by itself, should it draw one wider than was counted.
const WRAP_OFF: &[u8] = b"\x1b[?7l";
const WRAP_ON: &[u8] = b"\x1b[?7h";
/// How many columns a terminal has that does not say.
const USUAL_WIDTH: usize = 80;

/// What a person is told first of all.
#[derive(Debug, Clone, Default)]
pub enum First {
    #[default]
    Usual,
    /// The account has just been made, in this file.
    Made(PathBuf),
    /// The client was running already, and this is a box on it.
    Attached,
}

pub struct Output {
    json: bool,
    pub look: Look,
    /// Whether it is written to a terminal, with rows of its width.
    terminal: bool,
    /// Who rings, if there is a bell.
    bell: Option<Attention>,
    /// What `HELP` tells of besides commands.
    aliases: Arc<Aliases>,
    first: First,
    day: Option<Date>,
    /// The user's messages of this session that went out over a link that is still up, and are not yet delivered.
    in_flight: BTreeMap<Name, BTreeSet<(u64, u64)>>,
    flaps: Flaps,
    spreads: Spreads,
}

/// News that are gathered: who has so many messages of the user's.
#[derive(Default)]
struct Gathered {
    delivered: BTreeMap<Name, u64>,
    spread: BTreeMap<(RoomLabel, u64, u64), u64>,
}

impl Gathered {
    fn write(self, look: &Look, out: &mut Vec<u8>) {
        for (to, count) in self.delivered {
            write_delivered(&to, count, look, out);
        }
        for ((to, have, of), count) in self.spread {
            write_spread(&to, (have, of), count, look, out);
        }
    }
}

impl Output {
    pub fn json() -> Self {
        Self::new(Look::default(), false, None, First::Usual).with_json()
    }

    /// For people. `own`: their messages are written too, for the terminal does not keep what was typed. `bell` says what
    /// rings, if anything does.
    pub fn text(own: bool, bell: Option<Arc<Rules>>, aliases: Arc<Aliases>, first: First) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let variable = |name| std::env::var(name).unwrap_or_default();
        let plain = !variable("NO_COLOR").is_empty() || variable("TERM") == "dumb";
        let today = terminal.then(today);
        let look = Look { colour: terminal && !plain, today, own, width: None };
        let bell = bell.filter(|_| terminal).map(Attention::new);
        Self { aliases, ..Self::new(look, terminal, bell, first) }
    }

    fn new(look: Look, terminal: bool, bell: Option<Attention>, first: First) -> Self {
        Self {
            json: false,
            day: look.today,
            look,
            terminal,
            bell,
            aliases: Arc::default(),
            first,
            in_flight: BTreeMap::new(),
            flaps: Flaps::default(),
            spreads: Spreads::default(),
        }
    }

    fn with_json(self) -> Self {
        Self { json: true, ..self }
    }

    pub fn write(&mut self, batch: &[Told], out: &mut Vec<u8>) {
        if self.json {
            batch.iter().for_each(|told| told.write_json(out));
            return;
        }
        self.write_rows(out, |output, out| output.write_text(batch, out));
        if let Some(attention) = &mut self.bell
            && batch.iter().filter(|told| attention.calls(&told.notice)).count() > 0
        {
            out.push(0x07);
        }
    }

    /// When [`Self::tick`] has something to write.
    pub fn deadline(&self) -> Option<Instant> {
        self.flaps.deadline()
    }

    /// Writes what is told by the time.
    pub fn tick(&mut self, out: &mut Vec<u8>) {
        let quiet = self.flaps.quiet(Instant::now());
        self.write_rows(out, |output, out| {
            for (peer, state) in quiet {
                Notice::Link { peer, state, route: None, stranger: false }.write_text(&output.look, out);
            }
        });
    }

    /// Writes for a terminal as it is at this moment, or for a file.
    fn write_rows(&mut self, out: &mut Vec<u8>, write: impl FnOnce(&mut Self, &mut Vec<u8>)) {
        self.look.today = self.look.today.map(|_| today());
        let width = || Some(Tty::size().0).filter(|width| *width > 0).unwrap_or(USUAL_WIDTH);
        self.look.width = self.terminal.then(width);
        // Where the user's own messages are written, the terminal can do more than print.
        let breaks_rows = self.terminal && self.look.own;
        let start = out.len();
        if breaks_rows {
            out.extend_from_slice(WRAP_OFF);
        }
        let nothing = out.len();
        write(self, out);
        if out.len() == nothing {
            out.truncate(start);
        } else if breaks_rows {
            out.extend_from_slice(WRAP_ON);
        }
    }

    fn write_text(&mut self, batch: &[Told], out: &mut Vec<u8>) {
        let look = &self.look;
        if let Some(today) = look.today.filter(|_| look.today != self.day) {
            write_line(&today.strftime("-- %A, %Y-%m-%d --").to_string(), look, out);
        }
        self.day = look.today;
        // Deliveries in a row are told together.
        let (now, mut gathered) = (Instant::now(), Gathered::default());
        for Told { notice, .. } in batch {
            match notice {
                Notice::Delivered { to, id } => {
                    // What was in flight needs no word.
                    let ids = self.in_flight.get_mut(to);
                    if !ids.is_some_and(|ids| ids.remove(&(id.epoch, id.number))) {
                        *gathered.delivered.entry(to.clone()).or_default() += 1;
                    }
                    continue;
                }
                Notice::Spread { id, to, have, of, is_final } => {
                    let is_news = self.spreads.spread(now, (to, *id), *have >= *of, *is_final);
                    if is_news || *of <= 1 {
                        *gathered.spread.entry((to.clone(), *have, *of)).or_default() += 1;
                    }
                    continue;
                }
                _ => std::mem::take(&mut gathered).write(look, out),
            }
            match notice {
                Notice::Ready { user, .. } => match std::mem::take(&mut self.first) {
                    First::Usual => notice.write_text(look, out),
                    First::Made(made) => write_welcome(user, &made, look, out),
                    First::Attached => {
                        let line = format!(
                            "* attached to the client of {user}: Ctrl+D leaves this box, LOGOUT ends the client"
                        );
                        write_line(&line, look, out);
                    }
                },
                Notice::Link { peer, state, stranger: false, .. } => {
                    let said = self.flaps.changed(Instant::now(), peer, *state);
                    match said {
                        Said::Nothing => {}
                        Said::Flaps => {
                            let line = format!(
                                "* the link to {peer} comes and goes; you are told once it stays as it is"
                            );
                            write_line(&line, look, out);
                        }
                        Said::Change => notice.write_text(look, out),
                    }
                    let interrupted = match state {
                        UpDown::Up => 0,
                        UpDown::Down => self.in_flight.remove(peer).map_or(0, |ids| ids.len()),
                    };
                    match interrupted {
                        0 => {}
                        _ if said == Said::Nothing => {}
                        1 => write_line("* your last message waits until there is a link again", look, out),
                        count => {
                            let line =
                                format!("* your last {count} messages wait until there is a link again");
                            write_line(&line, look, out);
                        }
                    }
                }
                Notice::Help { .. } => {
                    notice.write_text(look, out);
                    self.aliases.help().for_each(|line| write_line(&line, look, out));
                }
                _ => notice.write_text(look, out),
            }
            let room = self.in_flight.values().map(BTreeSet::len).sum::<usize>() < MAX_IN_FLIGHT;
            match notice {
                // Of what waits for no one nothing is told before that has changed.
                Notice::Queued { to: Addressee::Room(to), id, linked, alone: false, .. }
                | Notice::Sent { to: Addressee::Room(to), id, linked, alone: false, .. } => {
                    self.spreads.queued(now, (to, *id), *linked);
                }
                Notice::Queued { to: Addressee::User(to), id, linked: true, .. }
                | Notice::Sent { to: Addressee::User(to), id, linked: true, .. }
                    if look.own && room =>
                {
                    self.in_flight.entry(to.clone()).or_default().insert((id.epoch, id.number));
                }
                _ => {}
            }
        }
        gathered.write(look, out);
    }
}

fn today() -> Date {
    jiff::Zoned::now().date()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::notice::PastRoom;
    use crate::client::notice::tests::{in_room, message, name, queued, room};
    use crate::protocol::peer::Cursor;
    use crate::protocol::room::RoomKey;

    fn delivered(number: u64) -> Notice {
        Notice::Delivered { id: Cursor { epoch: 1, number }, to: name("bob") }
    }

    fn link(state: UpDown) -> Notice {
        Notice::Link { peer: name("bob"), state, route: None, stranger: false }
    }

    fn written(output: &mut Output, notices: Vec<Notice>) -> Vec<String> {
        let mut out = Vec::new();
        let batch: Vec<Told> = notices.into_iter().map(Told::from).collect();
        output.write(&batch, &mut out);
        let without_time = |line: &str| match line.split_once("] ") {
            Some((time, rest)) if time.starts_with('[') => rest.to_owned(),
            _ => line.to_owned(),
        };
        String::from_utf8(out).unwrap().lines().map(without_time).collect()
    }

    fn at_a_terminal() -> Output {
        let bell = Some(Attention::default());
        Output::new(Look { own: true, ..Look::default() }, false, bell, First::Usual)
    }

    #[test]
    fn own_messages_are_shown_once_and_what_waits_is_told() {
        let mut output = at_a_terminal();
        assert_eq!(written(&mut output, vec![queued(1, true), delivered(1)]), ["to bob: hi"]);
        assert_eq!(written(&mut output, vec![queued(2, true), queued(3, true)]).len(), 2);
        assert_eq!(
            written(&mut output, vec![delivered(2), link(UpDown::Down), queued(4, false)]),
            [
                "* bob is no longer linked",
                "* your last message waits until there is a link again",
                "to bob (waiting): hi"
            ]
        );
        assert_eq!(
            written(&mut output, vec![link(UpDown::Up), delivered(3), delivered(4)]),
            ["* bob is linked", "* bob has your 2 messages"]
        );
        assert!(output.in_flight.values().all(BTreeSet::is_empty));
        // Those of earlier sessions too.
        assert_eq!(written(&mut output, vec![delivered(0)]), ["* bob has your message"]);
    }

    #[test]
    fn what_a_room_has_is_told_where_that_is_news_and_together() {
        let said_to = |number, linked, alone| match queued(number, linked) {
            Notice::Queued { id, text, sent, .. } => {
                Notice::Queued { id, to: room("#lab").into(), linked, text, sent, alone }
            }
            other => other,
        };
        let said = |number, linked| said_to(number, linked, false);
        let spread = |number, have| {
            let id = Cursor { epoch: 1, number };
            Notice::Spread { id, to: room("#lab"), have, of: 5, is_final: have == 5 }
        };
        let mut output = at_a_terminal();
        assert_eq!(written(&mut output, vec![said(1, true), spread(1, 3), spread(1, 5)]), ["to #lab: hi"]);
        assert_eq!(
            written(&mut output, vec![said(2, false), said(3, false), spread(2, 3), spread(3, 3)]),
            ["to #lab (waiting): hi", "to #lab (waiting): hi", "* 3 of 5 in #lab have your 2 messages"]
        );
        assert_eq!(
            written(&mut output, vec![spread(2, 4), spread(2, 5), spread(3, 4), delivered(9)]),
            ["* bob has your message", "* all 5 in #lab have your message"]
        );
        // Alone, one is not all.
        let alone = |number| {
            let id = Cursor { epoch: 1, number };
            Notice::Spread { id, to: room("#lab"), have: 1, of: 1, is_final: true }
        };
        assert_eq!(
            written(&mut output, vec![said_to(4, false, true)]),
            ["to #lab (no one else is in it): hi"]
        );
        assert_eq!(
            written(&mut output, vec![said(5, false), said(6, true), alone(5), alone(6)])[2..],
            [
                "* no other member is to get your 2 messages in #lab any more; INVITE #lab <user> all gives them to a user"
            ]
        );
        let mut in_a_pipe = Output::new(Look::default(), false, None, First::Usual);
        assert_eq!(
            written(&mut in_a_pipe, vec![said(2, false)]),
            ["* your message waits until another member has joined #lab and is linked"]
        );
    }

    #[test]
    fn a_bell_rings_once_and_not_for_what_is_shown_again() {
        for (replayed, bells) in [(&[false, false][..], 1), (&[true], 0), (&[], 0)] {
            let messages = replayed.iter().map(|replayed| message("hi", *replayed)).collect();
            let text = written(&mut at_a_terminal(), messages).join("\n");
            assert_eq!(text.matches('\u{7}').count(), bells);
        }
    }

    #[test]
    fn strangers_ring_once_between_them() {
        let request = |stranger, from| Notice::Request {
            from: name(from),
            fingerprint: crate::protocol::PublicKey([7; 32]),
            stranger,
            resembles: None,
        };
        let said = |stranger| match message("hi", false) {
            Notice::Message { id, from, text, sent, received, replayed, room, room_id, unknown, .. } => {
                Notice::Message { id, from, text, sent, received, replayed, stranger, room, room_id, unknown }
            }
            other => other,
        };
        let invite = |stranger| Notice::Invite {
            room: room("#lab"),
            room_id: RoomKey([7; 32]),
            from: name("carol"),
            members: Vec::new(),
            topic: String::new(),
            past: PastRoom::default(),
            stranger,
        };
        let mut output = at_a_terminal();
        for (notice, bells) in [
            (request(false, "dave"), 0),
            (request(true, "carol"), 1),
            (said(true), 0),
            (invite(true), 0),
            (invite(false), 1),
            (in_room(said(false), "#lab"), 1),
            (request(true, "mallory"), 0),
            (said(false), 1),
        ] {
            let text = written(&mut output, vec![notice]).join("\n");
            assert_eq!(text.matches('\u{7}').count(), bells, "{text}");
        }
    }

    #[test]
    fn a_link_that_comes_and_goes_fills_no_screen() {
        let mut output = at_a_terminal();
        let lines: usize = (0..1000)
            .map(|number| if number % 2 == 0 { UpDown::Up } else { UpDown::Down })
            .map(|state| written(&mut output, vec![queued(1, true), link(state)]).len() - 1)
            .sum();
        // Each of the first four may tell of the message, too.
        assert!(lines <= 8, "{lines}");
        assert!(output.deadline().is_some());
    }

    #[test]
    fn a_new_day_is_announced() {
        let mut output =
            Output::new(Look { today: Some(today()), ..Look::default() }, false, None, First::Usual);
        assert_eq!(written(&mut output, vec![link(UpDown::Up)]).len(), 1);
        output.day = output.day.and_then(|day| day.yesterday().ok());
        assert!(written(&mut output, vec![link(UpDown::Up)])[0].starts_with("-- "));
        assert_eq!(written(&mut output, vec![link(UpDown::Up)]).len(), 1);
    }

    #[test]
    fn the_first_start_takes_four_lines() {
        let mut output = Output::new(Look::default(), false, None, First::Made("/here/alice.journal".into()));
        let ready = || Notice::Ready {
            user: name("alice"),
            address: "127.0.0.1:1".parse().unwrap(),
            fingerprint: crate::transport::noise::Keypair::generate().unwrap().public(),
        };
        let lines = written(&mut output, vec![ready()]);
        assert_eq!(lines.len(), 4);
        assert!(lines[0].contains("/here/alice.journal"));
        assert!(written(&mut output, vec![ready()])[0].starts_with("* alice listens"));
    }
}
