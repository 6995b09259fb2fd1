//! What must become of a network that is left in peace.

use peerchat::client::command::Command;
use peerchat::client::event::Input;
use peerchat::protocol::Name;
use peerchat::protocol::rendezvous::Strangers as Policy;
use peerchat::store::journal::{ContactRow, Journal, Request, Standing};

use super::strangers::is_invented;
use super::world::World;

/// Within how many milliseconds of peace everything must be well.
const PEACE: u64 = 180_000;
/// After how many milliseconds everybody has noticed who is not there any more.
const SILENCE: u64 = 13_000;
/// How often that is looked at.
const LOOK: u64 = 1_500;
/// How often something must look wrong in a row where it may be on its way.
const LOOKS: u32 = 4;
/// Within how many milliseconds of peace a new message is shown, whatever else is sent again before it.
const PROMPT: u64 = 30_000;
/// Within how many milliseconds a client answers.
const ANSWER: u64 = 1_000;

impl World {
    pub fn peace(&mut self) -> Result<(), String> {
        let end = self.now + PEACE;
        // A link that is silently dead looks well until then.
        self.run_until(self.now + SILENCE)?;
        self.all_told()?;
        for number in 0..self.clients.len() {
            if self.clients[number].low {
                self.set_low(number, false);
            }
            if self.clients[number].policy == Policy::Closed {
                self.interrupt(number, Input::Signal);
            }
        }
        loop {
            self.run_until(self.now + LOOK)?;
            for number in 0..self.clients.len() {
                self.decide(number);
            }
            match self.unrest() {
                None => return Ok(()),
                Some(unrest) if self.now >= end => return Err(format!("no peace: {unrest}")),
                Some(_) => {}
            }
        }
    }

    /// While nothing changes, those who wait because of a bound know it, and so do those whose bound it is.
    fn all_told(&mut self) -> Result<(), String> {
        let mut untold = self.untold();
        for _ in 0..LOOKS {
            if untold.is_empty() {
                return Ok(());
            }
            self.run_until(self.now + LOOK)?;
            let still = self.untold();
            untold.retain(|what| still.contains(what));
        }
        untold.first().map_or(Ok(()), |what| Err(what.clone()))
    }

    /// In peace nobody leaves open what is theirs to decide.
    fn decide(&mut self, number: usize) {
        if self.clients[number].run.as_ref().is_none_or(|run| !run.typed.is_empty()) {
            return;
        }
        for row in self.clients[number].journal.contacts().unwrap() {
            let command = match row.identity.standing {
                Standing::Forgotten if !row.identity.blocked => continue,
                Standing::Forgotten => Command::Unblock(row.name),
                _ if is_invented(&row.name) => Command::Forget(row.name),
                _ if row.identity.blocked => Command::Unblock(row.name),
                Standing::Stranger => Command::Accept(row.name),
                Standing::Contact if row.identity.request == Request::Ended => Command::Request(row.name),
                Standing::Contact | Standing::Member => continue,
            };
            self.command(number, command);
        }
        self.resend(number);
    }

    /// In peace a new message arrives at once, and everybody's list of contacts says that all is well.
    pub fn new_messages(&mut self) -> Result<(), String> {
        let out: Vec<usize> = (0..self.clients.len())
            .filter(|client| self.is_twin(*client) && !self.has_session(*client))
            .collect();
        let first = self.oracle.written.len();
        for number in (0..self.clients.len()).filter(|number| !out.contains(number)) {
            let names: Vec<Name> =
                contacts(&self.clients[number].journal).into_iter().map(|row| row.name).collect();
            for name in names {
                let text = self.oracle.write(number, &name, 3);
                self.command(number, Command::Chat(name.into(), text));
            }
        }
        let end = self.now + PROMPT;
        loop {
            self.run_until(self.now + LOOK)?;
            match self.unrest() {
                None => break,
                Some(unrest) if self.now >= end => return Err(format!("no prompt delivery: {unrest}")),
                Some(_) => {}
            }
        }
        for number in (first..self.oracle.written.len()).filter(|_| self.plan.twin) {
            let times = self.oracle.times.get(&number).copied().unwrap_or_default();
            if times != 1 {
                return Err(format!("message {number}, written in peace, is shown {times} times"));
            }
        }
        // Of two links that crossed, one may just be giving way to the other.
        loop {
            match self.contacts_say(&out)? {
                None => return Ok(()),
                Some(unrest) if self.now >= end + PROMPT => return Err(unrest),
                Some(_) => self.run_until(self.now + LOOK)?,
            }
        }
    }

    /// What is not well by somebody's own list of contacts. Who is `out` is not asked.
    fn contacts_say(&mut self, out: &[usize]) -> Result<Option<String>, String> {
        for number in 0..self.clients.len() {
            self.oracle.contacts[number] = Some(Vec::new());
            if out.contains(&number) {
                continue;
            }
            self.oracle.contacts[number] = None;
            self.command(number, Command::Contacts);
        }
        self.run_until(self.now + ANSWER)?;
        for (number, lines) in self.oracle.contacts.iter().enumerate() {
            let Some(lines) = lines else {
                return Err(format!("user{number} does not answer"));
            };
            if let Some(line) = lines.iter().find(|line| {
                let way = self.oracle.names.get(&line.peer).and_then(|other| self.way(number, *other));
                let wrong = line.linked && line.route != way && !self.plan.twin;
                wrong
                    || !line.linked
                    || line.requested
                    || line.blocked
                    || line.waiting > 0
                    || line.offered.is_some()
            }) {
                return Ok(Some(format!("user{number} says {line:?}")));
            }
        }
        Ok(None)
    }

    /// What is not yet as it should be.
    pub fn unrest(&self) -> Option<String> {
        let links = self.open_links();
        let mut pairs = 0;
        if let Some(unrest) = self.twin_unrest() {
            return Some(unrest);
        }
        for (number, client) in self.clients.iter().enumerate() {
            if client.run.as_ref().is_none_or(|run| !run.typed.is_empty()) {
                return Some(format!("user{number} is not there, or takes no commands"));
            }
            if self.is_twin(number) && !self.has_session(number) {
                continue;
            }
            let rows = contacts(&client.journal);
            for row in &rows {
                let others = (0..self.clients.len()).filter(|other| self.clients[*other].name == row.name);
                let waiting = client.journal.count_sent_after(row.id, row.outgoing.delivered).unwrap();
                let linked: usize =
                    others.filter_map(|other| links.get(&(number.min(other), number.max(other)))).sum();
                pairs += usize::from(linked > 0);
                let lost = row.outgoing.lost;
                if linked != 1
                    || row.identity.standing != Standing::Contact
                    || waiting > 0
                    || lost.after < lost.to
                    || row.identity.request != Request::Answered
                    || row.identity.key.is_none()
                {
                    return Some(format!("user{number}: {row:?}, {waiting} waiting, {linked} links"));
                }
            }
            if let Some((_, name)) = self
                .oracle
                .requested
                .iter()
                .find(|(asker, name)| *asker == number && !rows.iter().any(|row| row.name == *name))
            {
                return Some(format!("user{number} has forgotten that it asked for {name}"));
            }
        }
        if pairs != 2 * links.len() {
            return Some(format!("{} links for {pairs} contacts", links.len()));
        }
        self.oracle.first_missing()
    }
}

/// The contacts and strangers of a client that were not forgotten.
fn contacts(journal: &Journal) -> Vec<ContactRow> {
    let known = |row: &ContactRow| row.identity.standing != Standing::Forgotten;
    journal.contacts().unwrap().into_iter().filter(known).collect()
}
