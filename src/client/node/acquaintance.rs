//! Who becomes a contact, and how users are met who are none.

use super::super::notice::{Code, Notice, UpDown};
use super::super::resembles::resembles;
use super::intake::Telling;
use super::roster::{Learned, Person};
use super::{Node, boxes};
use crate::protocol::peer::ByeReason;
use crate::protocol::rendezvous::{About, Asks, Status, Strangers as Policy, ToDiscovery};
use crate::protocol::{Name, PublicKey};
use crate::store::Result;
use crate::store::journal::{ContactId, Journal, Request, Standing};

/// How many users are remembered who were forgotten; of more, the earliest may come back by themselves.
pub(super) const MAX_FORGOTTEN: usize = 1000;

/// Adds a user; `None` if there are too many.
pub(super) fn add(
    node: &mut Node,
    journal: &Journal,
    name: &Name,
    standing: Standing,
) -> Result<Option<ContactId>> {
    let row = node.roster.add(journal, name, standing)?;
    Ok(row.map(|row| {
        node.dialer.add(row.id);
        node.delivery.add(row.id);
        node.conversations.add(row.id);
        row.id
    }))
}

/// Adds a member of a room, whose key the room names; `None` if there are too many people.
pub(super) fn add_member(
    node: &mut Node,
    journal: &Journal,
    name: &Name,
    key: PublicKey,
) -> Result<Option<ContactId>> {
    let id = add(node, journal, name, Standing::Member)?;
    id.into_iter().for_each(|id| node.roster.pin(id, key));
    Ok(id)
}

/// Removes a user with all that was said, and with the link.
pub(super) fn remove(node: &mut Node, journal: &Journal, id: ContactId) -> Result<()> {
    if let Some(link) = node.links.of(id) {
        node.close_link(link, Some(ByeReason::NOT_ACCEPTED));
    }
    if let Some(name) = node.roster.remove(journal, id)? {
        node.mates.forget(id);
        node.rendezvous.forgive(&name);
        node.dialer.remove(id);
        node.reach.forget(id);
        node.intake.remove(id);
        node.held.forget(id);
        node.delivery.remove(id);
        node.conversations.remove(id, &name);
    }
    Ok(())
}

/// Discovery says what it knows of a user.
pub(super) fn status(node: &mut Node, journal: &Journal, status: &Status) -> Result<()> {
    let Status { name, key, address, online, asks, connected, also, room } = status;
    if *name == node.setup.name {
        return Ok(());
    }
    let comes = *asks != Asks::No || *connected;
    let known = learn(node, journal, name, *key, comes)?;
    if let Some(id) = known.or_else(|| node.roster.named(name)) {
        node.rendezvous.note_spoken(id);
    }
    let Some(person) = known.and_then(|id| node.roster.get(id)) else {
        return Ok(());
    };
    let (Some(id), identity) = (known, person.identity) else {
        return Ok(());
    };
    match identity.standing {
        Standing::Forgotten
            if *asks == Asks::Typed && !identity.blocked && identity.request == Request::None =>
        {
            come_back(node, journal, id, name)?;
        }
        Standing::Member if comes && !identity.blocked => come_back(node, journal, id, name)?,
        // What is said for the room's sake alone says of nothing that could be ended.
        _ if person.is_refused() && (comes || !room) => drop_pair(node, id, name),
        Standing::Stranger if node.intake.policy() == Policy::All => answer(node, id, name),
        _ => {}
    }
    let Some(person) = node.roster.get(id) else {
        return Ok(());
    };
    let (wanted, before) = (person.is_wanted(), person.identity.request);
    if !wanted && !node.mates.has(id) {
        return Ok(());
    }
    let request = match before {
        _ if !wanted => before,
        _ if *connected => Request::Answered,
        Request::Ended if !comes => Request::Ended,
        // What is said for the room's sake alone confirms no request.
        Request::Unconfirmed if *room && !comes => Request::Unconfirmed,
        _ => Request::Kept,
    };
    if request != before {
        node.roster.set_request(id, request);
    }
    // Which side dials first depends on whether both have asked.
    let linked = node.links.of(id).is_some();
    let hope = node.dialer.learn_also(node.fx.now, id, also)
        | node.dialer.learn(node.fx.now, id, *address, *online == Some(true));
    // A discovery that has just been started knows of none yet. What a link says is more, and its end tells this too.
    let known = *online == Some(false) && linked;
    if node.dialer.set_presence(node.fx.now, id, *online)
        && wanted
        && let Some(online) = (*online).filter(|_| !known)
    {
        node.fx.tell(Notice::Presence { peer: name.clone(), state: online.into() });
    }
    if hope && linked {
        node.reach.moved(node.fx.now, id);
    } else if hope {
        node.dial_soon(id);
    }
    if wanted && *asks != Asks::No && !*connected {
        node.ask_for(name, false);
    }
    node.note_held(id);
    Ok(())
}

/// Discovery says that this is the key of a user, or of one who has linked. With `comes` the user wants something of this
/// one. Returns who that is from now on, unless the key is not the one that is pinned.
pub(super) fn learn(
    node: &mut Node,
    journal: &Journal,
    name: &Name,
    key: PublicKey,
    comes: bool,
) -> Result<Option<ContactId>> {
    // What a room says of names and keys gives way to what discovery says to users who are more than members of one.
    let stranger = |id| node.roster.standing(id) != Some(Standing::Member);
    if comes || node.roster.named(name).is_some_and(stranger) {
        for id in node.roster.misnamed(name, &key) {
            remove(node, journal, id)?;
        }
    }
    match node.roster.learn(name, key) {
        Learned::Key(id) => return Ok(Some(id)),
        Learned::Ignored => {}
        Learned::Exists(id) => node.withdrawals.note_exists(id),
        Learned::Changed(words) => node.fx.error(Code::KeyChanged, Some(name), words),
        Learned::Stranger if comes => return meet(node, journal, name, key),
        Learned::Stranger => {}
    }
    Ok(None)
}

/// A user asks or links of whom nothing is known here: also one whom discovery calls connected, for a journal restored
/// from a backup looks the same as a discovery that lies.
fn meet(node: &mut Node, journal: &Journal, name: &Name, key: PublicKey) -> Result<Option<ContactId>> {
    let standing = match node.intake.policy() {
        Policy::Closed => {
            node.rendezvous.ask(&mut node.fx, ToDiscovery::Drop(About { name: name.clone() }));
            return Ok(None);
        }
        Policy::All => Standing::Contact,
        Policy::Open | Policy::Ask => Standing::Stranger,
    };
    if standing == Standing::Stranger && !make_room(node, journal)? {
        return Ok(None);
    }
    let Some(id) = add(node, journal, name, standing)? else {
        let message = format!("{name} asks for you, but there are too many contacts");
        node.fx.error(Code::Refused, Some(name), message);
        return Ok(None);
    };
    node.roster.learn(name, key);
    introduce(node, id, name);
    Ok(Some(id))
}

/// Makes room for another stranger. Returns whether there is some.
fn make_room(node: &mut Node, journal: &Journal) -> Result<bool> {
    if !node.intake.is_full() {
        return Ok(true);
    }
    let silent = |id| node.links.of(id).is_none() && !node.conversations.is_with(id);
    let Some(id) = node.intake.gives_way(silent) else {
        return Ok(false);
    };
    remove(node, journal, id)?;
    Ok(true)
}

/// Tells the user of one who asks, and answers if the user wants that of all.
fn introduce(node: &mut Node, id: ContactId, name: &Name) {
    let Some(person) = node.roster.get(id) else {
        return;
    };
    let stranger = person.identity.standing == Standing::Stranger;
    let contacts = node.roster.known().filter(|(_, it)| it.identity.standing == Standing::Contact);
    let resembles = resembles(name, contacts.map(|(_, contact)| &contact.name)).cloned();
    let fingerprint = person.identity.key;
    if stranger {
        node.intake.add(id, node.fx.now, (0, 0));
        node.roster.set_told_at(id, node.fx.now.wall);
    } else {
        node.roster.set_request(id, Request::Kept);
        node.ask_for(name, false);
    }
    let telling = if stranger { node.intake.tell(node.fx.now) } else { Telling::Each };
    match (telling, fingerprint) {
        (Telling::Each, Some(fingerprint)) => {
            node.fx.tell(Notice::Request { from: name.clone(), fingerprint, stranger, resembles });
        }
        (Telling::Many, _) => {
            let message = "very many strangers ask for you, and are not told one by one any more: CONTACTS lists those who are kept";
            node.fx.error(Code::TooMany, None, message.into());
        }
        _ => {}
    }
}

/// One who was forgotten, or was a member of a room and nothing else, asks.
fn come_back(node: &mut Node, journal: &Journal, id: ContactId, name: &Name) -> Result<()> {
    let standing = match node.intake.policy() {
        Policy::Closed => {
            drop_pair(node, id, name);
            return Ok(());
        }
        Policy::All => Standing::Contact,
        Policy::Open | Policy::Ask => Standing::Stranger,
    };
    if standing == Standing::Contact || make_room(node, journal)? {
        node.roster.set_standing(id, standing);
        node.conversations.contacts_changed();
        introduce(node, id, name);
        if node.hears(id) {
            tell_link(node, id, name);
            node.take_again(id);
        }
    }
    Ok(())
}

/// The user is told of a link that was for a room's sake alone.
fn tell_link(node: &mut Node, id: ContactId, name: &Name) {
    if let Some(via) = node.links.via(id) {
        let (peer, stranger) = (name.clone(), node.roster.standing(id) == Some(Standing::Stranger));
        node.fx.tell(Notice::Link { peer, state: UpDown::Up, stranger, route: Some(via) });
    }
}

/// The user answers a stranger, who is a contact from now on.
pub(super) fn answer(node: &mut Node, id: ContactId, name: &Name) {
    let heard = node.hears(id);
    node.roster.set_standing(id, Standing::Contact);
    node.roster.set_request(id, Request::Unconfirmed);
    node.intake.remove(id);
    if !heard {
        tell_link(node, id, name);
    }
    node.take_again(id);
    node.ask_for(name, true);
    node.dial_soon(id);
}

/// A stranger who was blocked is one as before: what is here of them stays, and counts.
pub(super) fn take_in_again(node: &mut Node, journal: &Journal, id: ContactId) -> Result<()> {
    // There is some: few strangers have a link.
    _ = make_room(node, journal)?;
    node.intake.add(id, node.fx.now, journal.received_size(id)?);
    node.roster.set_told_at(id, node.fx.now.wall);
    node.roster.set_request(id, Request::None);
    Ok(())
}

/// The user wants to hear of a blocked one again. What a link that was for a room's sake holds back goes over a new one.
pub(super) fn unblock(node: &mut Node, id: ContactId) {
    node.roster.set_blocked(id, false);
    node.links.forgive(id);
    if let Some(link) = node.links.of(id) {
        node.close_link(link, Some(ByeReason::TRY_LATER));
    }
}

/// Ends what there is between this user and another one at discovery.
pub(super) fn drop_pair(node: &mut Node, id: ContactId, name: &Name) {
    let told = node.rendezvous.ask(&mut node.fx, ToDiscovery::Drop(About { name: name.clone() }));
    // What could not be said is said after the next login.
    node.roster.set_request(id, if told { Request::None } else { Request::Unconfirmed });
}

/// The user wants to know nothing more of a contact or a stranger: all that was said is removed. Key and cursors stay, so
/// that a client that dials or asks again by itself does not bring them back.
pub(super) fn forget(node: &mut Node, journal: &Journal, id: ContactId, name: &Name) -> Result<()> {
    if let Some(link) = node.links.of(id) {
        node.close_link(link, Some(ByeReason::NOT_ACCEPTED));
    }
    boxes::end_conversation(node, id);
    if node.roster.get(id).is_none_or(|person| person.identity.key.is_none()) {
        node.rendezvous.ask(&mut node.fx, ToDiscovery::Drop(About { name: name.clone() }));
        return remove(node, journal, id);
    }
    journal.remove_said(id)?;
    node.delivery.forget(id);
    node.intake.remove(id);
    node.held.forget(id);
    node.dialer.add(id);
    node.conversations.remove(id, name);
    node.conversations.add(id);
    node.rendezvous.forgive(name);
    node.roster.set_standing(id, Standing::Forgotten);
    node.roster.set_blocked(id, false);
    drop_pair(node, id, name);
    if let Some(key) = node.roster.get(id).and_then(|person| person.identity.key) {
        node.mates.say_again(key);
    }
    let too_many = node.roster.forgotten().count() > MAX_FORGOTTEN;
    let gives_way = |other: &ContactId| too_many && *other != id && !node.mates.has(*other);
    let first = node.roster.forgotten().find(gives_way);
    first.map_or(Ok(()), |first| remove(node, journal, first))
}

/// The other side has ended the pair, or has not answered in time.
pub(super) fn dropped(node: &mut Node, name: &Name) {
    let Some(id) = node.roster.named(name) else {
        return;
    };
    let Some(Person { identity, .. }) = node.roster.get(id).cloned() else {
        return;
    };
    // A request that is not confirmed is later than this.
    let is_news = !matches!(identity.request, Request::Ended | Request::Unconfirmed);
    if identity.standing != Standing::Contact || !is_news {
        return;
    }
    node.roster.set_request(id, Request::Ended);
    node.dialer.set_presence(node.fx.now, id, None);
    identity.key.into_iter().for_each(|key| node.mates.say_again(key));
    if !node.roster.is_blocked(id) {
        let waiting = match node.delivery.waiting(id) {
            0 => String::new(),
            waiting => format!("; {waiting} not delivered stay here"),
        };
        let message = format!(
            "{name} has ended the contact, or did not answer within 30 days{waiting}; REQUEST {name} asks again"
        );
        node.fx.error(Code::Dropped, Some(name), message);
    }
    node.note_held(id);
}

/// The strangers who were not answered in time are forgotten.
pub(super) fn expire(node: &mut Node, journal: &Journal) -> Result<()> {
    for id in node.intake.expired(node.fx.now) {
        if let Some(name) = node.roster.name(id).cloned() {
            forget(node, journal, id, &name)?;
        }
    }
    Ok(())
}
