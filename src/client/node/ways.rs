//! How discovery helps two clients to reach each other: what is asked of it, and what it says.

use std::net::SocketAddr;
use std::time::Duration;

use super::super::event::{Action, Path, Problem, Punching};
use super::super::notice::Notice;
use super::Node;
use super::reach::Help;
use super::roster::Person;
use crate::protocol::Name;
use crate::protocol::peer::Via;
use crate::protocol::rendezvous::{
    About, Punch, RefusedCode, Register, Registered, Strangers as Policy, Ticket, ToDiscovery,
};
use crate::store::journal::{ContactId, Request, Standing};
use crate::transport::Route;

/// What this client says of itself.
pub(super) fn register(node: &Node, path: &Path) -> Register {
    let setup = &node.setup;
    let register = Register::new(setup.name.clone(), setup.listen, Some(setup.epoch), setup.strangers);
    Register {
        port: path.local.port(),
        rtt: u32::try_from(path.rtt.as_millis()).unwrap_or(u32::MAX),
        mapped: node.outside.mapped(),
        local: path.own.clone(),
        dial: node.rendezvous.dial(),
        ..register
    }
}

/// Discovery says where it sees this client.
pub(super) fn registered(node: &mut Node, registered: &Registered) {
    node.outside.observed(registered.observed);
    if node.outside.wants_mapping(node.setup.listen) {
        node.fx.act(Action::MapPort);
    }
    tell_reachable(node, false);
}

/// A router passes on what comes for this client, or does not.
pub(super) fn mapped(node: &mut Node, outer: Option<SocketAddr>) {
    if node.outside.set_mapped(outer)
        && let Some(path) = node.outside.path().cloned()
    {
        let register = register(node, &path);
        node.rendezvous.ask(&mut node.fx, ToDiscovery::Register(register));
    }
    tell_reachable(node, true);
}

fn tell_reachable(node: &mut Node, asked: bool) {
    if let Some(reachable) = node.outside.tell(node.setup.listen, asked) {
        node.fx.tell(Notice::Reachable(reachable));
    }
}

/// The contact, who may be online, is not linked.
pub(super) fn seek(node: &mut Node, id: ContactId) {
    if node.dialer.presence(id) == Some(true) && node.links.of(id).is_none() {
        node.reach.seek(node.fx.now, id);
    }
}

/// Asks discovery for help where it is time.
pub(super) fn tick(node: &mut Node) {
    let Node { fx, roster, rendezvous, dialer, links, reach, mates, .. } = node;
    if fx.now.mono < reach.deadline() {
        return;
    }
    let asked = reach.tick(fx.now, |id| {
        let wanted = mates.has(id) || roster.get(id).is_some_and(Person::is_dialled);
        let relayed = links.via(id).map(|via| via == Via::Relayed);
        let open = relayed.unwrap_or(rendezvous.is_up() && dialer.presence(id) == Some(true));
        wanted && open && !rendezvous.is_out()
    });
    for (id, help) in asked {
        if let Some(name) = roster.name(id).cloned() {
            let about = About { name };
            let asked = match help {
                Help::Punch => ToDiscovery::Punch(about),
                Help::Relay => ToDiscovery::Relay(about),
            };
            rendezvous.ask(fx, asked);
        }
    }
}

/// Discovery says where and when to open a way to a contact.
pub(super) fn punch(node: &mut Node, punch: &Punch) {
    let (Some(id), Some(path)) = (node.roster.named(&punch.name), node.outside.path()) else {
        return;
    };
    let session = path.local;
    // Both have asked for each other or share a room, or else it is not for strangers to have this client send anything
    // anywhere.
    let known = |person: &&Person| {
        person.is_dialled() && person.identity.request == Request::Answered || node.mates.has(id)
    };
    let Some(key) = node.roster.get(id).filter(known).and_then(|person| person.identity.key) else {
        return;
    };
    if node.rendezvous.is_out() || node.links.via(id).is_some_and(|via| via != Via::Relayed) {
        return;
    }
    seek(node, id);
    node.reach.helped(node.fx.now, id, Help::Punch);
    let routes = node.dialer.outlook(id).map(|outlook| outlook.routes).unwrap_or_default();
    // Where discovery sees the contact's session, and what is dialled too: so the bound on new addresses holds for both.
    let known =
        |remote: &SocketAddr| routes.iter().filter_map(Route::remote).any(|it| it.ip() == remote.ip());
    let (seen, others) =
        punch.addresses.split_first().map_or((None, [].as_slice()), |(seen, others)| (Some(seen), others));
    let remotes = seen.into_iter().chain(others.iter().filter(|remote| known(remote))).copied().collect();
    let punching = Punching {
        session,
        token: punch.token,
        begins: node.setup.key() < key,
        wait: Duration::from_millis(punch.wait.into()),
        remotes,
        routes,
    };
    node.fx.act(Action::Punch { contact: id, name: punch.name.clone(), key, punching });
}

/// Discovery joins this client with a user.
pub(super) fn relay(node: &mut Node, ticket: &Ticket) {
    let Ticket { name, ticket, dials, at } = ticket;
    let (Some(id), Some(path)) = (node.roster.named(name), node.outside.path()) else {
        return;
    };
    let through = at.unwrap_or(path.remote);
    let told = !node.rendezvous.is_at(through);
    let Some(person) = node.roster.get(id) else {
        return;
    };
    let welcome = match person.identity.standing {
        _ if node.mates.has(id) => true,
        _ if person.is_refused() => false,
        Standing::Contact => person.is_dialled(),
        Standing::Stranger => !dials && matches!(node.intake.policy(), Policy::Open | Policy::All),
        Standing::Forgotten | Standing::Member => false,
    };
    let key = person.identity.key.filter(|_| *dials);
    if !welcome || *dials && key.is_none() || node.rendezvous.is_out() || node.links.of(id).is_some() {
        return;
    }
    seek(node, id);
    node.reach.helped(node.fx.now, id, Help::Relay);
    let (name, ticket) = (name.clone(), *ticket);
    node.fx.act(Action::Relay { contact: id, name, key, through, told, ticket });
}

/// Discovery does not help to reach a user. Returns whether that is what it refuses.
pub(super) fn refused(node: &mut Node, code: RefusedCode, name: Option<&Name>) -> bool {
    let helps: &[Help] = match code {
        RefusedCode::TOO_SOON => &[Help::Punch],
        RefusedCode::RELAY_OFF | RefusedCode::RELAY_FULL => &[Help::Relay],
        RefusedCode::NOT_ONLINE | RefusedCode::NOT_CONNECTED => &[Help::Punch, Help::Relay],
        _ => return false,
    };
    if let Some(id) = name.and_then(|name| node.roster.named(name)) {
        if matches!(code, RefusedCode::RELAY_OFF | RefusedCode::RELAY_FULL)
            && let Some(path) = node.outside.path()
        {
            let route = Route::Relayed { through: path.remote };
            node.dialer.note(node.fx.now, id, &[(route, Problem::Other(code.to_string()))]);
        }
        helps.iter().for_each(|help| node.reach.failed(node.fx.now, id, *help));
    }
    true
}

/// A way in which both sides, or discovery, have a part has led to nothing.
pub(super) fn not_met(node: &mut Node, id: ContactId, problems: &[(Route, Problem)]) {
    let now = node.fx.now;
    node.dialer.note(now, id, problems);
    let relayed = problems.iter().any(|(route, _)| route.via() == Via::Relayed);
    let punched = problems.iter().any(|(route, _)| route.via() != Via::Relayed);
    if relayed || problems.is_empty() {
        node.reach.failed(now, id, Help::Relay);
    }
    if punched || problems.is_empty() {
        node.reach.failed(now, id, Help::Punch);
    }
}
