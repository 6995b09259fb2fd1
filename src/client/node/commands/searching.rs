//! Searches, which wait for the index of words.

use super::super::super::addressee::Addressee;
use super::super::super::notice::{Code, FoundIn, FoundLine, Notice};
use super::super::search::Query;
use super::super::{Node, room_commands, room_view};
use super::known;
use crate::store::Result;
use crate::store::journal::{ConversationId, Found, Journal};

/// How many messages a search shows.
const FOUND: u32 = 20;

pub fn search_for(node: &mut Node, words: &[String], within: Option<&Addressee>) {
    let id = within.map(|peer| match peer {
        Addressee::User(name) => known(node, name).map(ConversationId::User),
        Addressee::Room(room) => room_commands::known(node, room).map(ConversationId::Room),
    });
    if id == Some(None) {
        return;
    }
    let asked = node.fx.output.answering().cloned();
    let up_to = node.delivery.last_seq();
    let (since, from, words) = (node.fx.now.mono, node.search.behind(), words.to_vec());
    if !node.search.ask(Query { words, within: id.flatten(), up_to, since, from, asked }) {
        node.refuse(
            Code::Refused,
            within.and_then(Addressee::user),
            "too many searches at once; try again".into(),
        );
    }
}

pub(in super::super) fn answer_search(node: &mut Node, journal: &Journal, query: Query) -> Result<()> {
    let Query { words, within, asked, .. } = query;
    let mut messages = Vec::new();
    for found in journal.search(&words, within, FOUND)? {
        let (peer, line) = match found {
            Found::With(id, entry) => {
                let name = node.roster.name(id).cloned().map(Addressee::User);
                (name, node.view().history_line(&node.setup.name, id, entry))
            }
            Found::In(id, said) => {
                let room = node.conversations.addressee(&node.roster, ConversationId::Room(id));
                (room, room_view::found_line(node, id, &said))
            }
        };
        messages.extend(peer.zip(line).map(|(peer, line)| {
            let room = found_in(node, Some(&peer));
            FoundLine { peer, room, line }
        }));
    }
    let peer = within.and_then(|id| node.conversations.addressee(&node.roster, id));
    let room = found_in(node, peer.as_ref());
    let answering = node.fx.output.answer(asked);
    node.fx.tell(Notice::Found { words: words.join(" "), peer, room, messages });
    node.fx.output.answer(answering);
    Ok(())
}

fn found_in(node: &Node, peer: Option<&Addressee>) -> FoundIn {
    let room = match peer {
        Some(Addressee::Room(room)) => Some(room),
        _ => None,
    };
    FoundIn { room: room.cloned(), room_id: room.and_then(|room| node.conversations.room_key(room)) }
}

/// The searches that still wait can't be answered.
pub(in super::super) fn refuse_searches(node: &mut Node, code: Code, why: &str) {
    if !node.search.is_waiting() {
        return;
    }
    let answering = node.fx.output.answer(None);
    for query in node.search.give_up() {
        node.fx.output.answer(query.asked);
        node.refuse(code, None, format!("{why}: there was no search"));
    }
    node.fx.output.answer(answering);
}
