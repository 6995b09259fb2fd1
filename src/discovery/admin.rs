//! How the operator's questions reach the loop: through one bounded channel, each with a channel of its own for the
//! answer. The side that asks has a deadline, and the loop never waits.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::status::Status;
use crate::protocol::{Name, PublicKey};

const QUESTIONS: usize = 16;
const TIMEOUT: Duration = Duration::from_secs(5);

pub enum Question {
    Status(Sender<Status>),
    Release(Name, Sender<Released>),
}

/// The key that had the name, if one had it, or why it could not be released.
pub type Released = Result<Option<PublicKey>, String>;

#[derive(Clone)]
pub struct Admin(Sender<Question>);

/// The loop did not answer in time.
#[derive(Debug, thiserror::Error)]
#[error("discovery did not answer in time, and may still do what was asked; see its log, or try again")]
pub struct Busy;

impl Admin {
    /// The side that asks, and the channel from which the loop takes the questions.
    pub fn open() -> (Self, Receiver<Question>) {
        let (sender, questions) = bounded(QUESTIONS);
        (Self(sender), questions)
    }

    pub fn status(&self) -> Result<Status, Busy> {
        self.ask(Question::Status)
    }

    /// Where the loop is [`Busy`], it may still release the name.
    pub fn release(&self, name: Name) -> Result<Released, Busy> {
        self.ask(|answer| Question::Release(name, answer))
    }

    fn ask<A>(&self, question: impl FnOnce(Sender<A>) -> Question) -> Result<A, Busy> {
        let deadline = Instant::now() + TIMEOUT;
        let (sender, answer) = bounded(1);
        self.0.send_deadline(question(sender), deadline).map_err(|_| Busy)?;
        answer.recv_deadline(deadline).map_err(|_| Busy)
    }
}
