//! What is missing for all to be final, for a reader of a seed of the simulation.

use std::fmt::Write;

use super::room::Room;
use crate::protocol::PublicKey;
use crate::protocol::room::Mark;
use crate::store::Result;
use crate::store::journal::Journal;

impl Room {
    /// What this member waits for.
    pub fn explain(&self, journal: &Journal) -> Result<String> {
        let mut out = String::new();
        let short = |key: PublicKey| format!("{:.4}", key.to_string());
        let _ = write!(out, "[settled {} by {:?}] ", self.row.settled, self.row.settlement);
        let unsettled = || self.chains.values().filter(|chain| chain.row.place > self.row.settled);
        for member in &self.joined {
            for chain in unsettled().filter(|chain| self.covered(*member, chain) < chain.said()) {
                let (name, has) = (chain.row.name, self.covered(*member, chain));
                let (said, place) = (chain.said(), chain.row.place);
                let (who, author) = (short(*member), short(name.author));
                let _ =
                    write!(out, "[{who} has {has} of {said} of {author} {:016x} at {place}] ", name.epoch);
            }
            for Mark { chain: name, number, .. } in self.ahead_of_us(*member) {
                let (who, author) = (short(*member), short(name.author));
                let _ = write!(out, "[{who} claims {number} of {author} {:016x}] ", name.epoch);
            }
        }
        for chain in unsettled() {
            let (name, said, place) = (chain.row.name, chain.said(), chain.row.place);
            let (author, settled) = (short(name.author), chain.row.settled);
            let _ = write!(out, "[{settled} of {said} of {author} {:016x} settled, at {place}] ", name.epoch);
        }
        for it in &self.waiting {
            let _ = write!(out, "[waits {it:.0?}] ");
        }
        if self.membership.owner == self.own {
            for member in self.others() {
                let answered = self.settling.asked().map(|asked| self.has_answered(journal, member, &asked));
                let answered = answered.transpose()?;
                let _ = write!(out, "[{} answered {answered:?}] ", short(member));
            }
            let _ = write!(out, "all know all {}", self.all_know_all());
        }
        Ok(out)
    }
}
