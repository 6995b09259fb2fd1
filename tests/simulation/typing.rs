//! What people type.

use peerchat::client::command::Command;
use peerchat::client::event::Input;

use super::world::{Event, World};

impl World {
    pub fn command(&mut self, number: usize, command: Command) {
        if matches!(command, Command::Chat(..)) {
            self.stats.add("messages typed");
        }
        let now = self.now;
        let skew = self.clients[number].skew;
        let Some(run) = &mut self.clients[number].run else {
            return;
        };
        run.typed.push_back(Input::typed(Ok(command)));
        let started = run.started;
        let clock = self.clock(started, skew);
        if self.clients[number].run.as_ref().is_some_and(|run| run.node.takes_commands(clock)) {
            self.wake_client(number, now);
        }
    }

    /// Somebody types a line or some.
    pub fn somebody_types(&mut self, number: usize) {
        if !self.storm || self.plan.silent == Some(number) {
            return;
        }
        let gap = self.rng.u64(1..self.plan.type_gap);
        self.schedule(self.now + gap, Event::Type(number));
        if self.clients[number].run.as_ref().is_none_or(|run| run.typed.len() > 500) {
            return;
        }
        let other = self.rng.usize(0..self.clients.len());
        let name = match self.rng.u32(0..30) {
            0 => "ghost".parse().unwrap(),
            _ => self.clients[other].name.clone(),
        };
        if self.rng.u32(0..100) < self.plan.decides {
            return self.types_of_strangers(number, name);
        }
        let row = self.clients[number].journal.contacts().unwrap().into_iter().find(|row| row.name == name);
        let known = row.as_ref().is_some_and(|row| row.identity.key.is_some());
        // Whoever trusts any key that a liar names has what they asked for; this one has asked the other.
        let key =
            self.clients.iter().find(|client| client.name == name).map(|client| client.keypair.public());
        match self.rng.u32(0..200) {
            0..130 if known || self.rng.u32(0..4) == 0 => {
                let lines = if self.rng.u32(0..8) == 0 { self.rng.u32(1..60) } else { 1 };
                for _ in 0..lines {
                    let length = self.rng.usize(0..=self.plan.text);
                    let text = self.oracle.write(number, &name, length);
                    self.command(number, Command::Chat(name.clone().into(), text));
                }
            }
            0..165 => self.command(number, Command::Request(name)),
            165..168 => self.command(number, Command::Block(name)),
            168..176 => self.command(number, Command::Unblock(name)),
            176..178 => {
                self.command(number, Command::Trust(name, key.map(|key| key.to_string())));
            }
            178..182 => self.command(number, Command::Contacts),
            182..186 => self.command(number, Command::Outbox),
            186..190 => self.command(number, Command::History(name.into(), 10)),
            190..192 => self.command(number, Command::Help),
            192..195 => self.command(number, Command::Logout),
            195..197 => {
                if let Some(run) = &mut self.clients[number].run {
                    run.typed.push_back(Input::InputEnded);
                    self.clients[number].input_ended = true;
                    self.wake_client(number, self.now);
                }
            }
            197 => self.interrupt(number, Input::Signal),
            198 => {
                self.command(number, Command::Search { words: vec!["x".into()], within: Some(name.into()) })
            }
            199 => self.command(number, Command::Converse(Some(name.into()))),
            _ => {}
        }
    }

    pub fn interrupt(&mut self, number: usize, input: Input) {
        if let Some(run) = &mut self.clients[number].run {
            run.inbox.push_back(input);
            self.wake_client(number, self.now);
        }
    }
}
