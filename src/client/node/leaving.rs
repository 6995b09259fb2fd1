//! How the program ends: when there is nothing left to stay for, and with which words.

use super::super::event::Action;
use super::super::notice::{Code, Notice};
use super::exit::{self, FAILED, Status};
use super::one_shot::{Place, Progress};
use super::roster::Person;
use super::{Node, commands, room_view};
use crate::store::journal::{ContactId, Request};

fn one_shot_status(node: &Node, over: bool) -> Option<Status> {
    let progress = |place| match place {
        Place::With(id, _) if node.roster.get(id).is_none() => Progress::Gone,
        Place::With(id, seq) if node.delivery.delivered(id) >= seq => Progress::Arrived,
        Place::With(..) => Progress::UnderWay,
        Place::In(id, text) => room_view::progress(node, id, text),
    };
    let why_not = |place| match place {
        Place::With(id, _) => node.view().why_not_delivered(id),
        Place::In(id, _) => room_view::why_not_delivered(node, id),
    };
    node.one_shot.as_ref()?.status(over, progress, why_not)
}

/// Ends the program with what came of its one text, or else with `status`.
pub(super) fn leave_or(node: &mut Node, status: Status) {
    let status = one_shot_status(node, true).unwrap_or(status);
    leave(node, status);
}

/// Standard output has been closed, or can't be written.
pub(super) fn output_closed(node: &mut Node, error: Option<&String>) {
    leave_or(
        node,
        match error {
            Some(error) => (FAILED, Some(format!("standard output can't be written: {error}"))),
            None if waits(node) => exit::waiting(),
            None => (0, None),
        },
    );
}

/// Whether something is not delivered, to contacts or to discovery.
fn waits(node: &Node) -> bool {
    let unconfirmed = |person: &Person| person.is_wanted() && person.identity.request == Request::Unconfirmed;
    let messages = node.delivery.all_waiting().next().is_some() || node.noted.all_waiting() > 0;
    messages || node.roster.iter().any(|(_, it)| unconfirmed(it))
}

pub(super) fn leave_when_done(node: &mut Node) {
    if !node.exit.is_lingering() {
        return;
    }
    // Once the account has been started somewhere else, nothing is delivered from here.
    let over = node.fx.now.mono >= node.exit.deadline() || node.rendezvous.is_out();
    if node.one_shot.is_some() {
        if let Some(status) = one_shot_status(node, over) {
            leave(node, status);
        }
        return;
    }
    // Nothing is delivered to a contact who is blocked or has ended it, so the program does not wait for that.
    let hopeful = node.roster.iter().any(|(id, person)| {
        let waits = person.identity.request == Request::Unconfirmed || node.delivery.waiting(id) > 0;
        waits && person.is_dialled()
    });
    let busy = !node.rendezvous.tried() || !node.fx.output.is_read() || node.search.is_waiting();
    let hopeful = hopeful || room_view::is_hopeful(node);
    if over || (!hopeful && !busy) {
        refuse_searches_at_end(node);
        let status = node.exit.status(waits(node));
        leave(node, status);
    }
}

fn refuse_searches_at_end(node: &mut Node) {
    commands::refuse_searches(node, Code::Refused, "the client leaves before the index is up to date");
}

/// Says goodbye to discovery and every peer, and ends the program.
pub(super) fn leave(node: &mut Node, status: Status) {
    if !node.exit.leave() {
        return;
    }
    // It is saved with the last transaction when they were there last.
    let is_there = |id: &ContactId| node.links.of(*id).is_some() || node.dialer.presence(*id) == Some(true);
    let there: Vec<ContactId> = node.roster.iter().map(|(id, _)| id).filter(is_there).collect();
    there.into_iter().for_each(|id| node.dialer.seen(id, node.fx.now.wall));
    node.links.ids().into_iter().for_each(|link| node.delivery.close(link));
    node.links.leave(&mut node.fx);
    node.rendezvous.leave(&mut node.fx);
    refuse_searches_at_end(node);
    let waiting: u64 = node.delivery.all_waiting().map(|(_, count)| count).sum();
    node.fx.tell(Notice::Bye { waiting: waiting + node.noted.all_waiting() });
    let (status, why) = status;
    node.fx.act(Action::Exit(status, why));
}
