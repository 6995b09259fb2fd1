//! How notices are written: for scripts, for a file, or for a user at a terminal.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal, Write as _};
use std::path::PathBuf;

use jiff::civil::Date;

use crate::client::notice::{Look, Notice, Told, UpDown, write_delivered, write_welcome};
use crate::protocol::Name;

const MAX_IN_FLIGHT: usize = 10_000;

pub struct Output {
    json: bool,
    pub look: Look,
    bell: bool,
    /// The file of an account that has just been made.
    made: Option<PathBuf>,
    day: Option<Date>,
    /// The user's messages of this session that went out over a link that is still up, and are not yet delivered.
    in_flight: BTreeMap<Name, BTreeSet<(u64, u64)>>,
}

impl Output {
    pub fn json() -> Self {
        Self::new(true, Look::default(), false, None)
    }

    /// For people. `own`: their messages are written too, for the terminal does not keep what was typed.
    pub fn text(own: bool, bell: bool, made: Option<PathBuf>) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let variable = |name| std::env::var(name).unwrap_or_default();
        let plain = !variable("NO_COLOR").is_empty() || variable("TERM") == "dumb";
        let today = terminal.then(today);
        Self::new(false, Look { colour: terminal && !plain, today, own }, bell && terminal, made)
    }

    fn new(json: bool, look: Look, bell: bool, made: Option<PathBuf>) -> Self {
        Self { json, day: look.today, look, bell, made, in_flight: BTreeMap::new() }
    }

    pub fn write(&mut self, batch: &[Told], out: &mut Vec<u8>) {
        if self.json {
            batch.iter().for_each(|told| told.write_json(out));
            return;
        }
        self.look.today = self.look.today.map(|_| today());
        self.write_text(batch, out);
        let new = |told: &Told| matches!(told.notice, Notice::Message { replayed: false, .. });
        if self.bell && batch.iter().any(new) {
            out.push(0x07);
        }
    }

    fn write_text(&mut self, batch: &[Told], out: &mut Vec<u8>) {
        let look = &self.look;
        if let Some(today) = look.today.filter(|_| look.today != self.day) {
            _ = writeln!(out, "{}", today.strftime("-- %A, %Y-%m-%d --"));
        }
        self.day = look.today;
        // Deliveries in a row are told together.
        let mut delivered = BTreeMap::<&Name, u64>::new();
        for Told { notice, .. } in batch {
            if let Notice::Delivered { to, id } = notice {
                // What was in flight needs no word.
                let ids = self.in_flight.get_mut(to);
                if !ids.is_some_and(|ids| ids.remove(&(id.epoch, id.number))) {
                    *delivered.entry(to).or_default() += 1;
                }
                continue;
            }
            for (to, count) in std::mem::take(&mut delivered) {
                write_delivered(to, count, look, out);
            }
            if let Notice::Ready { user, .. } = notice
                && let Some(made) = self.made.take()
            {
                write_welcome(user, &made, look, out);
            } else {
                notice.write_text(look, out);
            }
            let room = self.in_flight.values().map(BTreeSet::len).sum::<usize>() < MAX_IN_FLIGHT;
            match notice {
                Notice::Queued { to, id, linked: true, .. } if look.own && room => {
                    self.in_flight.entry(to.clone()).or_default().insert((id.epoch, id.number));
                }
                Notice::Link { peer, state: UpDown::Down } => {
                    match self.in_flight.remove(peer).map_or(0, |ids| ids.len()) {
                        0 => {}
                        1 => _ = writeln!(out, "* your last message waits until there is a link again"),
                        count => {
                            _ = writeln!(out, "* your last {count} messages wait until there is a link again")
                        }
                    }
                }
                _ => {}
            }
        }
        for (to, count) in delivered {
            write_delivered(to, count, look, out);
        }
    }
}

fn today() -> Date {
    jiff::Zoned::now().date()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::notice::tests::{message, name, queued};
    use crate::protocol::peer::Cursor;

    fn delivered(number: u64) -> Notice {
        Notice::Delivered { id: Cursor { epoch: 1, number }, to: name("bob") }
    }

    fn link(state: UpDown) -> Notice {
        Notice::Link { peer: name("bob"), state }
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
        Output::new(false, Look { own: true, ..Look::default() }, true, None)
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
    fn a_bell_rings_once_and_not_for_what_is_shown_again() {
        for (replayed, bells) in [(&[false, false][..], 1), (&[true], 0), (&[], 0)] {
            let messages = replayed.iter().map(|replayed| message("hi", *replayed)).collect();
            let text = written(&mut at_a_terminal(), messages).join("\n");
            assert_eq!(text.matches('\u{7}').count(), bells);
        }
    }

    #[test]
    fn a_new_day_is_announced() {
        let mut output = Output::new(false, Look { today: Some(today()), ..Look::default() }, false, None);
        assert_eq!(written(&mut output, vec![link(UpDown::Up)]).len(), 1);
        output.day = output.day.and_then(|day| day.yesterday().ok());
        assert!(written(&mut output, vec![link(UpDown::Up)])[0].starts_with("-- "));
        assert_eq!(written(&mut output, vec![link(UpDown::Up)]).len(), 1);
    }

    #[test]
    fn the_first_start_takes_four_lines() {
        let mut output = Output::new(false, Look::default(), false, Some("/here/alice.journal".into()));
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
