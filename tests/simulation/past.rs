//! What was delivered is sent again only when its writer says so.

use peerchat::client::command::Command;
use peerchat::client::event::Input;
use peerchat::client::notice::{Code, ErrorNotice, Notice};
use peerchat::protocol::Name;
use peerchat::protocol::peer::{Cursor, Message};
use peerchat::store::journal::Lost;

use super::oracle::number_in;
use super::world::{Event, World};

/// Within how many milliseconds somebody decides to send again what a contact has lost.
const DECISION: u64 = 20_000;

impl World {
    /// The console has written that a contact has lost something. Its user decides on it, later.
    pub fn told_of_the_past(&mut self, client: usize, notice: &Notice) {
        match notice {
            Notice::Lost { peer, .. } => {
                self.stats.add("losses told");
                self.oracle.told_lost.insert((client, peer.clone()));
                if self.rng.u32(0..3) > 0 {
                    let at = self.now + self.rng.u64(0..DECISION);
                    self.schedule(at, Event::Command(client, Command::Resend(peer.clone())));
                }
            }
            // It may have been among what was dropped.
            Notice::Error(ErrorNotice { code: Code::OutputBehind, .. }) => {
                let all = self.oracle.names.keys().map(|name| (client, name.clone()));
                self.oracle.told_lost.extend(all.collect::<Vec<_>>());
            }
            _ => {}
        }
    }

    /// A client holds a message once more, to send it again.
    pub fn repeated(&mut self, client: usize, to: &Name, message: &Message, first: Cursor, inputs: &[Input]) {
        if self.concerns_twin(client, to) {
            return;
        }
        let asked = |input: &Input| matches!(input, Input::Command { command: Ok(Command::Resend(name)), .. } if name == to);
        let number =
            number_in(&message.body).filter(|number| self.oracle.find(client, first) == Some(*number));
        match number {
            Some(number) if inputs.iter().any(asked) => {
                self.stats.add("messages sent again");
                self.oracle.written[number].resent += 1;
                if self.oracle.name(client, message.cursor(), number).is_some() {
                    self.fail(format!("user{client} gives two messages the name {}", message.cursor()));
                }
            }
            _ => self.fail(format!("user{client} is to send {first} again, which it was not told to")),
        }
    }

    /// A message goes out to a peer.
    pub fn check_past(&mut self, client: usize, message: &Message, known: Option<usize>) {
        let delivered = known.is_some_and(|number| self.oracle.written[number].known_delivered);
        if delivered && message.original.is_none() {
            self.fail(format!("user{client} sends {} again, which was delivered", message.cursor()));
        }
    }

    /// In peace everybody who was told of a loss has decided.
    pub fn resend(&mut self, client: usize) {
        for row in self.clients[client].journal.contacts().unwrap() {
            let Lost { after, to } = row.outgoing.lost;
            let told = self.oracle.told_lost.contains(&(client, row.name.clone()));
            if after < to && told && !row.identity.blocked {
                self.command(client, Command::Resend(row.name));
            }
        }
    }
}
