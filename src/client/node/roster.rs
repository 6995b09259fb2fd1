//! Who is who: names, the keys they are pinned to, and what the user has decided about them.

use std::collections::{BTreeMap, HashMap};

use crate::protocol::{Name, PublicKey};
use crate::store::Result;
use crate::store::journal::{ContactId, ContactRow, Identity, Journal, Request, Standing};
use crate::undo::{Table, transactional};

use super::super::did_you_mean::nearest;
use super::super::notice::Code;
use super::trust;

/// The most contacts that an account may have.
pub const MAX_CONTACTS: usize = 10_000;
/// Among how many contacts a mistyped name is looked for; among more it takes too long.
const MAX_SIMILAR: usize = 1000;

/// See the module.
#[derive(Debug, Default)]
pub struct Roster {
    people: Table<BTreeMap<ContactId, Person>>,
    by_name: Table<HashMap<Name, ContactId>>,
    by_key: Table<HashMap<PublicKey, ContactId>>,
}

/// A contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    pub name: Name,
    pub identity: Identity,
    /// There is no such user: what was written is being given back, and then the contact is removed.
    pub withdrawn: bool,
}

impl Person {
    /// Whether this user has asked for them or answered them, and wants to hear from them.
    pub fn is_wanted(&self) -> bool {
        self.identity.standing == Standing::Contact && !self.identity.blocked
    }

    /// Whether they are dialled: those alone who are wanted, and have not ended it.
    pub fn is_dialled(&self) -> bool {
        self.is_wanted() && self.identity.request != Request::Ended
    }

    /// Whether this user wants to hear nothing of them.
    pub fn is_refused(&self) -> bool {
        self.identity.standing == Standing::Forgotten || self.identity.blocked
    }

    /// Whether the user is shown them.
    fn is_known(&self) -> bool {
        let hidden = matches!(self.identity.standing, Standing::Forgotten | Standing::Member);
        !self.withdrawn && (!hidden || self.identity.blocked)
    }

    /// Whether the user has compared the key that is pinned.
    pub fn is_verified(&self) -> bool {
        self.identity.key.is_some() && self.identity.verified == self.identity.key
    }
}

/// What follows from discovery's word that a name belongs to a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Learned {
    /// That is the key of this contact from now on.
    Key(ContactId),
    /// The name is unknown here, and so is the key.
    Stranger,
    /// Discovery says that the user exists, while what was written to them is being given back.
    Exists(ContactId),
    /// It is not believed, and that was said before or need not be said.
    Ignored,
    /// It is not believed: the user has to decide. The words say why.
    Changed(String),
}

impl Roster {
    pub fn load(rows: &[ContactRow]) -> Self {
        let (mut people, mut by_name, mut by_key) = (BTreeMap::new(), HashMap::new(), HashMap::new());
        for row in rows {
            by_name.insert(row.name.clone(), row.id);
            by_key.extend(row.identity.key.map(|key| (key, row.id)));
            let person =
                Person { name: row.name.clone(), identity: row.identity, withdrawn: row.is_withdrawn() };
            people.insert(row.id, person);
        }
        Self { people: Table::new(people), by_name: Table::new(by_name), by_key: Table::new(by_key) }
    }

    pub fn get(&self, id: ContactId) -> Option<&Person> {
        self.people.get(&id)
    }

    pub fn name(&self, id: ContactId) -> Option<&Name> {
        self.get(id).map(|person| &person.name)
    }

    /// Whether the user wants nothing from the contact.
    pub fn is_blocked(&self, id: ContactId) -> bool {
        self.get(id).is_some_and(|person| person.identity.blocked)
    }

    pub fn iter(&self) -> impl Iterator<Item = (ContactId, &Person)> {
        self.people.iter().map(|(id, person)| (*id, person))
    }

    /// All but those who turned out not to exist, were forgotten, or only share a room.
    pub fn known(&self) -> impl Iterator<Item = (ContactId, &Person)> {
        self.iter().filter(|(_, person)| person.is_known())
    }

    pub fn is_empty(&self) -> bool {
        self.people.is_empty()
    }

    pub fn standing(&self, id: ContactId) -> Option<Standing> {
        self.get(id).map(|person| person.identity.standing)
    }

    /// The one of this name, also one who turned out not to exist or was forgotten.
    pub fn named(&self, name: &Name) -> Option<ContactId> {
        self.by_name.get(name).copied()
    }

    /// The one of this name whom the user is shown.
    pub fn known_by(&self, name: &Name) -> Option<ContactId> {
        self.named(name).filter(|id| self.get(*id).is_some_and(Person::is_known))
    }

    /// The contact whose key is pinned to this one.
    pub fn holder(&self, key: &PublicKey) -> Option<ContactId> {
        self.by_key.get(key).copied()
    }

    /// The contact whose name is most like this one, if it is much like it and there are not too many.
    pub fn similar(&self, name: &Name) -> Option<&str> {
        let few = self.people.len() <= MAX_SIMILAR;
        nearest(name.as_str(), self.known().filter(|_| few).map(|(_, person)| person.name.as_str()))
    }

    /// Adds a user; `None` if there are too many.
    pub fn add(&mut self, journal: &Journal, name: &Name, standing: Standing) -> Result<Option<ContactRow>> {
        if self.people.len() >= MAX_CONTACTS {
            return Ok(None);
        }
        let row = journal.add_contact(name, standing)?;
        self.by_name.insert(name.clone(), row.id);
        let person = Person { name: name.clone(), identity: row.identity, withdrawn: false };
        self.people.insert(row.id, person);
        Ok(Some(row))
    }

    /// Removes a contact with all that was said.
    pub fn remove(&mut self, journal: &Journal, id: ContactId) -> Result<Option<Name>> {
        let Some(person) = self.people.remove(&id) else {
            return Ok(None);
        };
        self.by_name.remove(&person.name);
        if let Some(key) = person.identity.key {
            self.by_key.remove(&key);
        }
        journal.remove_contact(id)?;
        Ok(Some(person.name))
    }

    /// The members for which a room has another key, or another name, than discovery says now.
    pub fn misnamed(&self, name: &Name, key: &PublicKey) -> Vec<ContactId> {
        let named = self.named(name).filter(|id| self.holder(key) != Some(*id));
        let holder = self.holder(key).filter(|id| self.named(name) != Some(*id));
        let only_member = |id: &ContactId| {
            self.get(*id).is_some_and(|it| it.identity.standing == Standing::Member && !it.identity.blocked)
        };
        named.into_iter().chain(holder).filter(only_member).collect()
    }

    /// Whether this transaction has changed anything about anybody.
    pub fn is_touched(&self) -> bool {
        self.people.touched().next().is_some()
    }

    /// Discovery says that `name` belongs to `key`.
    pub fn learn(&mut self, name: &Name, key: PublicKey) -> Learned {
        let holder = self.holder(&key);
        let Some(id) = self.named(name) else {
            if holder.is_some() {
                tracing::warn!(%name, %key, "discovery names a second user for a contact's key");
                return Learned::Ignored;
            }
            return Learned::Stranger;
        };
        let Some(person) = self.people.get(&id) else {
            return Learned::Ignored;
        };
        match person.identity.key {
            Some(pinned) if pinned == key => {
                // It was another one for a while, but nothing has come of that.
                if person.identity.offered.is_some() {
                    self.change(id, |identity| identity.offered = None);
                }
                Learned::Key(id)
            }
            None if person.withdrawn => Learned::Exists(id),
            None if holder.is_none() => {
                self.pin(id, key);
                Learned::Key(id)
            }
            _ if matches!(person.identity.standing, Standing::Forgotten | Standing::Member) => {
                Learned::Ignored
            }
            _ if person.identity.offered == Some(key) => Learned::Ignored,
            pinned => {
                let verified = person.is_verified();
                self.change(id, |identity| identity.offered = Some(key));
                let held = match pinned {
                    Some(pinned) if verified => format!(
                        "WARNING: you have VERIFIED {name}, and another person may be posing as {name} now. Their key was {pinned}"
                    ),
                    Some(pinned) => format!("the key of {name} was {pinned}"),
                    None => format!("the key that discovery names for {name} belongs to another contact"),
                };
                Learned::Changed(format!(
                    "{held}; discovery now says {key}. Nothing is sent under it. Ask {name} in another way: TRUST {name} and the digits that {name} tells you accept it"
                ))
            }
        }
    }

    /// The user accepts the key that discovery names, if the digits name it. `own` is this account's key.
    ///
    /// # Errors
    /// Why the key is not accepted.
    pub fn trust(
        &mut self,
        id: ContactId,
        own: PublicKey,
        digits: Option<&str>,
    ) -> Result<(), (Code, String)> {
        let Some(Person { name, identity, .. }) = self.get(id) else {
            return Err((Code::NotAContact, "there is no such contact".into()));
        };
        let Some(offered) = identity.offered else {
            return Err((Code::NothingToTrust, format!("discovery names no other key for {name}")));
        };
        trust::names(digits, offered, Some(own)).map_err(|why| (Code::KeyChanged, why))?;
        if self.holder(&offered).is_some() {
            return Err((Code::KeyChanged, format!("the key {offered} belongs to another contact")));
        }
        self.pin(id, offered);
        self.change(id, |identity| identity.offered = None);
        Ok(())
    }

    /// This is the key of a contact from now on, and it is no other's.
    pub fn pin(&mut self, id: ContactId, key: PublicKey) {
        let old = self.get(id).and_then(|person| person.identity.key);
        if let Some(old) = old {
            self.by_key.remove(&old);
        }
        self.by_key.insert(key, id);
        self.change(id, |identity| identity.key = Some(key));
    }

    /// The user has compared the pinned key with the contact.
    pub fn set_verified(&mut self, id: ContactId) {
        self.change(id, |identity| identity.verified = identity.key);
    }

    pub fn set_blocked(&mut self, id: ContactId, blocked: bool) {
        self.change(id, |identity| identity.blocked = blocked);
    }

    pub fn set_request(&mut self, id: ContactId, request: Request) {
        self.change(id, |identity| identity.request = request);
    }

    pub fn withdraw(&mut self, id: ContactId) {
        if let Some(person) = self.people.get_mut(&id) {
            person.withdrawn = true;
            person.identity.request = Request::None;
        }
    }

    pub fn set_standing(&mut self, id: ContactId, standing: Standing) {
        self.change(id, |identity| identity.standing = standing);
    }

    /// The user has been told of a stranger, at this time on the wall clock.
    pub fn set_told_at(&mut self, id: ContactId, at: i64) {
        self.change(id, |identity| identity.told_at = Some(at));
    }

    /// They use this version of the protocol. Returns whether it is not lower than one that they have used.
    pub fn note_version(&mut self, id: ContactId, version: u8) -> bool {
        let highest = self.get(id).map_or(0, |person| person.identity.version);
        if version > highest {
            self.change(id, |identity| identity.version = version);
        }
        version >= highest
    }

    /// Those who were forgotten and are not blocked, the earliest first.
    pub fn forgotten(&self) -> impl Iterator<Item = ContactId> {
        let forgotten = self.iter().filter(|(_, it)| it.identity.standing == Standing::Forgotten);
        forgotten.filter(|(_, it)| !it.identity.blocked).map(|(id, _)| id)
    }

    fn change(&mut self, id: ContactId, change: impl FnOnce(&mut Identity)) {
        self.people.change(&id, |person| change(&mut person.identity));
    }

    /// Saves what this transaction has changed. Returns whether that was anything.
    pub fn save(&self, journal: &Journal) -> Result<bool> {
        let mut any = false;
        for (id, before, now) in self.people.touched() {
            if let Some(Person { identity, .. }) = now
                && before.map(|before| &before.identity) != Some(identity)
            {
                journal.save_identity(*id, identity)?;
                any = true;
            }
        }
        Ok(any)
    }
}

transactional!(Roster { people, by_name, by_key });

#[cfg(test)]
mod tests {
    use super::*;
    use crate::undo::Transactional;

    const KEY: PublicKey = PublicKey([1; 32]);
    const OTHER: PublicKey = PublicKey([2; 32]);
    const OWN: PublicKey = PublicKey([5; 32]);

    fn name(name: &str) -> Name {
        name.parse().unwrap()
    }

    fn roster(names: &[&str]) -> Roster {
        let row = |(index, it): (usize, &&str)| {
            ContactRow::new(index as ContactId + 1, name(it), Standing::Contact)
        };
        Roster::load(&names.iter().enumerate().map(row).collect::<Vec<_>>())
    }

    fn refused(roster: &mut Roster, id: ContactId, digits: Option<&str>) -> Option<Code> {
        roster.trust(id, OWN, digits).err().map(|(code, _)| code)
    }

    #[test]
    fn the_first_key_is_pinned_and_another_one_is_the_users_decision() {
        let mut roster = roster(&["bob"]);
        assert_eq!(roster.learn(&name("bob"), KEY), Learned::Key(1));
        assert!(matches!(roster.learn(&name("bob"), OTHER), Learned::Changed(_)));
        assert_eq!(roster.learn(&name("bob"), OTHER), Learned::Ignored, "it is said once");
        assert_eq!(roster.holder(&KEY), Some(1));
        let digits = |digit: &str| digit.repeat(8);
        for wrong in [None, Some("02"), Some(&*digits("03"))] {
            assert_eq!(refused(&mut roster, 1, wrong), Some(Code::KeyChanged));
        }
        assert_eq!(roster.trust(1, OWN, Some(&digits("02"))), Ok(()));
        assert_eq!((roster.holder(&KEY), roster.holder(&OTHER)), (None, Some(1)));
        assert_eq!(refused(&mut roster, 1, None), Some(Code::NothingToTrust));
    }

    #[test]
    fn a_key_belongs_to_one_contact() {
        let mut roster = roster(&["bob", "carol"]);
        roster.learn(&name("bob"), KEY);
        assert!(matches!(roster.learn(&name("carol"), KEY), Learned::Changed(_)));
        let digits = KEY.to_string();
        let refused = refused(&mut roster, 2, Some(&digits));
        assert_eq!((refused, roster.holder(&KEY)), (Some(Code::KeyChanged), Some(1)));
        assert_eq!(roster.learn(&name("dave"), KEY), Learned::Ignored);
        assert_eq!(roster.learn(&name("dave"), OTHER), Learned::Stranger);
    }

    #[test]
    fn a_failed_transaction_pins_nothing() {
        let mut roster = roster(&["bob"]);
        roster.learn(&name("bob"), KEY);
        roster.rollback();
        assert_eq!((roster.holder(&KEY), roster.get(1).unwrap().identity.key), (None, None));
    }

    #[test]
    fn who_does_not_exist_is_not_known() {
        let mut roster = roster(&["bob"]);
        assert_eq!(roster.similar(&name("bab")), Some("bob"));
        let many: Vec<_> = (0..=MAX_SIMILAR).map(|number| format!("bob{number}")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert_eq!(super::tests::roster(&many).similar(&name("bob")), None, "it takes too long");
        roster.withdraw(1);
        assert_eq!((roster.named(&name("bob")), roster.known_by(&name("bob"))), (Some(1), None));
        assert_eq!(roster.similar(&name("bab")), None);
        assert_eq!(roster.learn(&name("bob"), KEY), Learned::Exists(1));
    }
}
