//! One text to one user, and then the end: what the program is started for by a script that sends something.

use super::super::command::Command;
use super::super::notice::OnOff;
use super::{FAILED, Node, STILL_WAITING};
use crate::protocol::Name;
use crate::store::Result;
use crate::store::journal::{ContactId, Journal, Seq};
use crate::time::Now;

/// What the program was started for.
#[derive(Debug)]
pub struct Errand {
    to: Name,
    /// Where the text stands, once it is taken.
    place: Option<(ContactId, Seq)>,
    /// Whether whom it is for became a contact with it.
    added: bool,
    /// Why it was refused or given back, and in which transaction.
    refusal: Option<(u64, String)>,
}

impl Errand {
    /// Whether it is for this user.
    pub fn is_for(&self, name: &Name) -> bool {
        self.to == *name
    }

    /// Something about this user was refused.
    pub fn refused(&mut self, batch: u64, peer: Option<&Name>, why: &str) {
        if peer == Some(&self.to) {
            self.refusal = Some((batch, why.to_owned()));
        }
    }

    /// The transaction `batch` has failed.
    pub fn roll_back(&mut self, batch: u64) {
        self.refusal.take_if(|(of, _)| *of == batch);
    }

    /// What it ends with where nothing of it is kept.
    fn failed(&self) -> (u8, Option<String>) {
        (FAILED, self.refusal.as_ref().map(|(_, why)| why.clone()))
    }
}

impl Node {
    /// Takes the text, after a request for whom it is for if they are not known, and stays until they have it.
    pub(super) fn send_one(&mut self, now: Now, journal: &Journal, to: &Name, text: &str) -> Result<()> {
        self.linger(now);
        let added = self.known(to).is_none();
        self.errand = Some(Errand { to: to.clone(), place: None, added, refusal: None });
        if added {
            self.command(now, journal, &Command::Request(to.clone()))?;
        }
        if self.known(to).is_some() {
            let before = self.seq;
            self.command(now, journal, &Command::Chat(to.clone(), text.to_owned()))?;
            let place = self.known(to).filter(|_| self.seq > before).map(|contact| (contact, self.seq));
            if let Some(errand) = &mut self.errand {
                errand.place = place;
            }
        }
        Ok(())
    }

    /// This account will not be registered: takes the text back, if whom it is for became a contact only with it.
    pub(super) fn take_errand_back(&mut self, journal: &Journal, why: &str) -> Result<()> {
        let batch = self.batch;
        let Some(errand) = self.errand.as_mut().filter(|errand| errand.added) else {
            return Ok(());
        };
        let Some((id, _)) = errand.place else {
            return Ok(());
        };
        errand.refusal = Some((batch, why.to_owned()));
        self.remove_contact(journal, id)
    }

    /// The transaction in which the text was taken has failed.
    pub(super) fn send_failed(&mut self, now: Now) {
        let why = "not saved, and not sent: the disk is full or fails";
        self.errand = None;
        self.leave(now, FAILED, Some(why.into()));
    }

    /// How the errand stands, as an exit status with the reason: `None` while it is under way. With `over` there
    /// is no more time for it.
    pub(super) fn errand_ends(&self, over: bool) -> Option<(u8, Option<String>)> {
        let errand = self.errand.as_ref()?;
        let Some((id, seq)) = errand.place else {
            return Some(errand.failed());
        };
        match self.contacts.get(&id) {
            None => Some(errand.failed()),
            Some(contact) if contact.row.delivered >= seq && errand.refusal.is_none() => Some((0, None)),
            Some(_) if over => {
                let why = self.why_not_delivered(&errand.to);
                let to = &errand.to;
                let why =
                    format!("{to} doesn't have it yet ({why}); it is kept and goes out at a later start");
                Some((STILL_WAITING, Some(why)))
            }
            Some(_) => None,
        }
    }

    fn why_not_delivered(&self, to: &Name) -> String {
        let contact = self.by_name.get(to).and_then(|id| self.contacts.get(id));
        match contact.map(|contact| (contact.row.offered, contact.link, contact.presence)) {
            Some((Some(_), ..)) => format!("the key of {to} has changed: see TRUST"),
            Some((_, Some(_), _)) => format!("{to} is linked, and has not confirmed it"),
            Some((.., Some(online))) => format!("discovery says {to} is {}", OnOff::from(online).word()),
            _ => match self.rendezvous.problem() {
                Some(problem) => format!("discovery: {problem}"),
                None => format!("{to} could not be reached"),
            },
        }
    }
}
