//! What becomes of a transaction that the disk did not take.

use std::time::Duration;

use super::super::command::Command;
use super::super::event::{Action, Input, OWN};
use super::super::notice::Code;
use super::output::Asked;
use super::{FAILED, Node, commands, leaving};
use crate::protocol::PublicKey;
use crate::protocol::peer::Peer;
use crate::protocol::rendezvous::ToClient;
use crate::store::Result;
use crate::store::journal::Journal;
use crate::time::Now;
use crate::undo::Transactional;

/// How long after a failed write the disk is left alone.
const AFTER_FAILURE: Duration = Duration::from_secs(2);
/// Why a session with discovery is given up when a transaction fails.
const NOT_SAVED: &str = "the disk is full or fails";

impl Node {
    /// The disk did not take the transaction: takes back everything since the last commit, and decides on `inputs`, which
    /// were those of the transaction, once more without a disk. What had to be saved is refused; connections over which
    /// something was said that had to be saved are closed, for both sides then find out anew where they are. `epoch` is
    /// a fresh random number.
    ///
    /// # Errors
    /// The journal can't even be read.
    pub fn failed(
        &mut self,
        now: Now,
        journal: &Journal,
        inputs: &[Input],
        epoch: u64,
    ) -> Result<Vec<Action>> {
        let linked: Vec<PublicKey> = self.mates.linked().map(|(key, _)| key).collect();
        self.rollback();
        self.fx.now = now;
        self.delivery.renew_epoch(epoch);
        self.reload_rooms(journal, &linked)?;
        commands::refuse_searches(
            self,
            Code::NotSaved,
            "the disk is full or fails, and so the index can't be updated",
        );
        self.search.postpone(now, AFTER_FAILURE);
        inputs.iter().try_for_each(|input| self.handle_unsaved(now, journal, input))?;
        self.follow_up(now, journal)?;
        leaving::leave_when_done(self);
        self.rests_until = now.mono + AFTER_FAILURE;
        self.mates.renew();
        self.save_at = Some(self.rests_until);
        Ok(self.committed())
    }

    fn command_unsaved(
        &mut self,
        now: Now,
        journal: &Journal,
        input: &Input,
        command: &Command,
        asked: Asked,
    ) -> Result<()> {
        match commands::meaning(self, asked.by, command) {
            Ok(command) if command.is_written() => {
                commands::refuse_unsaved(self, &command, asked);
                Ok(())
            }
            _ => self.handle(now, journal, input),
        }
    }

    /// Decides on an input of a transaction that has failed, with nothing saved.
    fn handle_unsaved(&mut self, now: Now, journal: &Journal, input: &Input) -> Result<()> {
        if self.exit.has_left() {
            return self.handle(now, journal, input);
        }
        match input {
            Input::Command { command: Ok(command), reference } => {
                let asked = Asked { by: OWN, reference: reference.clone() };
                return self.command_unsaved(now, journal, input, command, asked);
            }
            Input::Said { from, command: Ok(command), reference } => {
                let asked = Asked { by: *from, reference: reference.clone() };
                return self.command_unsaved(now, journal, input, command, asked);
            }
            Input::Send { .. } => {
                leaving::leave(
                    self,
                    (FAILED, Some("not saved, and not sent: the disk is full or fails".into())),
                );
            }
            Input::RendezvousUp { session, .. } => {
                self.fx.close(*session, None);
                self.rendezvous.not_connected(&mut self.fx, NOT_SAVED);
            }
            Input::RendezvousSays(session, messages) if messages.iter().any(ToClient::must_be_saved) => {
                let mut others = messages.iter().filter(|said| !said.must_be_saved());
                others.try_for_each(|said| self.discovery_says(journal, *session, said))?;
                if self.rendezvous.is_session(*session) {
                    self.rendezvous.give_up(&mut self.fx, NOT_SAVED);
                    self.forget_presence();
                }
            }
            Input::LinkUp { link, dialled, .. } => {
                self.fx.close(*link, None);
                if let Some(contact) = *dialled {
                    self.dialer.dialled(now, contact);
                    self.dialer.dial_later(now, contact, false);
                }
            }
            Input::LinkSays(link, messages) if messages.iter().any(Peer::must_be_saved) => {
                let goodbye = messages.iter().find(|said| matches!(said, Peer::Bye(_)));
                match goodbye {
                    Some(Peer::Bye(bye)) => self.goodbye(*link, bye.reason),
                    _ => self.close_link(*link, None),
                }
            }
            other => return self.handle(now, journal, other),
        }
        Ok(())
    }
}
