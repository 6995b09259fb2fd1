//! Where whoever asks for the operator meets the loop: questions go in through a bounded channel, and each has a
//! channel of its own for the answer. Both sides have a deadline; the loop waits for nobody.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::status::Status;
use crate::protocol::{Name, PublicKey};

/// How many questions may wait for the loop.
const QUESTIONS: usize = 16;
/// How long somebody who asks waits for the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Something for the loop to answer.
pub enum Question {
    /// How do things stand?
    Status(Sender<Status>),
    /// Free this name.
    Release(Name, Sender<Released>),
}

/// Whose the name was: `None` if nobody's. An error says why it could not be freed.
pub type Released = Result<Option<PublicKey>, String>;

/// For those who ask.
#[derive(Clone)]
pub struct Admin(Sender<Question>);

/// The loop did not answer in time.
#[derive(Debug, thiserror::Error)]
#[error("discovery is too busy to answer, and may still do it; look at its log, or try again")]
pub struct Busy;

impl Admin {
    /// A admin, and where the loop finds the questions.
    pub fn open() -> (Self, Receiver<Question>) {
        let (sender, questions) = bounded(QUESTIONS);
        (Self(sender), questions)
    }

    /// How things stand.
    ///
    /// # Errors
    /// If the loop does not answer in time.
    pub fn status(&self) -> Result<Status, Busy> {
        self.ask(Question::Status)
    }

    /// Frees a name.
    ///
    /// # Errors
    /// If the loop does not answer in time. It may do it later.
    pub fn release(&self, name: Name) -> Result<Released, Busy> {
        self.ask(|answer| Question::Release(name, answer))
    }

    fn ask<A>(&self, question: impl FnOnce(Sender<A>) -> Question) -> Result<A, Busy> {
        let deadline = Instant::now() + PATIENCE;
        let (sender, answer) = bounded(1);
        self.0.send_deadline(question(sender), deadline).map_err(|_| Busy)?;
        answer.recv_deadline(deadline).map_err(|_| Busy)
    }
}
