//! What the client says, and where it is shown: messages in their conversations, who is there in the list, errors and what waits
//! for an answer in the notes, answers to what was typed in a panel, and everything else in the client's own conversation.

use super::{Asked, Change, Event, MAX_EVENTS, Model, Now, Said};
use crate::client::addressee::Addressee;
use crate::client::command::{Command, Reference};
use crate::client::console::flaps;
use crate::client::console::output::First;
use crate::client::console::screen::lines::{Line, State};
use crate::client::console::screen::list::About;
use crate::client::console::screen::log::Panel;
use crate::client::console::screen::view::View;
use crate::client::event::Input;
use crate::client::notice::{ContactLine, ErrorNotice, Notice, RoomState, Told, UpDown};
use crate::protocol::Name;
use crate::protocol::peer::{Cursor, Via};
use crate::store::journal::Seq;

impl Model {
    /// Takes in what is told.
    pub fn heard(&mut self, batch: Vec<Told>, now: Now) {
        for told in batch {
            self.told(told, now);
        }
        self.refresh(now.mono);
    }

    fn told(&mut self, told: Told, now: Now) {
        let Told { notice, seq, reference } = told;
        let asked = match reference {
            Some(Reference::Number(number)) => self.asked.remove(&number),
            _ => None,
        };
        self.rings |= self.bell.as_mut().is_some_and(|attention| attention.calls(&notice));
        match notice {
            Notice::Hello { .. } => self.begin(),
            Notice::Ready { ref user, .. } => {
                self.own = Some(user.clone());
                let first = std::mem::take(&mut self.first);
                self.greet(&first, user.clone(), notice, now);
            }
            Notice::Discovery { state, ref detail } => {
                self.discovery = Some((state, detail.clone()));
                self.contacts.stale = true;
                self.say(notice, now);
            }
            Notice::Presence { peer, state } => {
                self.list.set_presence(&peer.into(), state);
                self.changed(Change::Arrived);
            }
            Notice::Link { peer, state, route, stranger } => {
                self.list.set_link(&peer.clone().into(), state, route, now.wall);
                self.changed(Change::Arrived);
                if !stranger {
                    self.link(peer, state, route, now);
                }
            }
            Notice::Message { .. } => self.message(&notice, seq, now),
            Notice::Queued { id, to, text, sent, alone, .. }
            | Notice::Sent { id, to, text, sent, alone, .. } => {
                let state = match &to {
                    Addressee::User(_) => State::Waiting,
                    Addressee::Room(_) => State::Spread { have: 1, of: u64::from(alone), is_final: false },
                };
                let Some(own) = self.own.clone() else {
                    return;
                };
                let said_here = asked.is_some();
                self.answered(&to);
                let line = Line::own(seq, id, &own, &text, sent, state);
                if said_here && self.open.as_ref() != Some(&to) {
                    self.flash = format!("sent to {to}");
                }
                if let Some(view) = self.views.get_mut(&to) {
                    view.add(line, true);
                    if said_here {
                        view.wrote();
                    }
                }
                self.changed(if said_here { Change::Pressed } else { Change::Arrived });
            }
            Notice::Delivered { id, to } => {
                self.set_state(&to.into(), id, State::Delivered);
            }
            Notice::Spread { id, to, have, of, is_final } => {
                self.set_state(&to.into(), id, State::Spread { have, of, is_final });
            }
            Notice::History { ref peer, ref messages } if !matches!(asked, Some(Asked::Typed)) => {
                let lines = messages.iter().map(Line::from).collect();
                self.page(&peer.clone().into(), lines, seq);
            }
            Notice::RoomHistory { messages, .. } if matches!(asked, Some(Asked::Mentions(_))) => {
                let mentions = messages.iter().map(Line::from).any(|line| self.marked(line).mention);
                if let Some(Asked::Mentions(who)) = asked
                    && let Some(entry) = self.list.get_mut(&who)
                {
                    entry.mentioned |= mentions && entry.unread > 0;
                    self.changed(Change::Arrived);
                }
            }
            Notice::RoomHistory { ref room, ref messages, .. } if !matches!(asked, Some(Asked::Typed)) => {
                let lines = messages.iter().map(Line::from).map(|line| self.marked(line)).collect();
                self.page(&room.clone().into(), lines, seq);
            }
            Notice::Read { peer, up_to, unread } => {
                if let Some(view) = self.views.get_mut(&peer) {
                    view.set_read(up_to, unread);
                    self.changed(Change::Arrived);
                }
            }
            Notice::Contacts { ref contacts } => {
                self.list.set_contacts(contacts);
                self.changed(Change::Arrived);
                if asked == Some(Asked::Typed) {
                    self.answer(notice, now);
                }
            }
            Notice::Rooms { ref rooms } => {
                self.list.set_rooms(rooms);
                self.changed(Change::Arrived);
                if asked == Some(Asked::Typed) {
                    self.answer(notice, now);
                }
            }
            Notice::Linked { room, linked, members, .. } => {
                self.list.set_linked(&room.into(), linked, members);
                self.changed(Change::Arrived);
            }
            Notice::Error(error) => self.error(error, asked, now),
            // Nothing that this front end asks for.
            Notice::Prompt(_) | Notice::Conversation { .. } | Notice::RoomConversation { .. } => {}
            Notice::Bye { .. } | Notice::Detached => self.ended = Some(notice),
            notice => {
                self.note_change(&notice, now);
                if let Some((room, is_all)) = event_in(&notice) {
                    self.event(&room, &notice, seq, now);
                    if is_all && (asked.is_none() || self.open.as_ref() == Some(&room)) {
                        return self.log.add(Said::notice(now.wall, notice));
                    }
                }
                if asked == Some(Asked::Typed) {
                    self.answer(notice, now);
                } else {
                    self.say(notice, now);
                }
            }
        }
    }

    /// The first line of a client, also of one that is found again: what was told before may not be all.
    fn begin(&mut self) {
        self.asked.clear();
        self.views.values_mut().for_each(View::unload);
        (self.contacts.stale, self.rooms.stale) = (true, true);
        self.outgoing.push(Input::typed(Ok(Command::Reads)));
        self.reload();
    }

    fn greet(&mut self, first: &First, user: Name, ready: Notice, now: Now) {
        match first {
            First::Usual => self.say(ready, now),
            First::Made(path) => {
                let path = crate::terminal::printable(&path.to_string_lossy());
                for line in [
                    format!("* welcome, {user}: this is a new account, kept in {path}"),
                    "* REQUEST <user> asks a user to connect; CHAT <user> opens the conversation".into(),
                    "* Alt+1 to Alt+9 and Ctrl+N open conversations, Alt+A the next with something unread"
                        .into(),
                    "* HELP lists all commands, Tab completes, LOGOUT leaves".into(),
                ] {
                    self.log.add(Said::line(now.wall, line));
                }
            }
            First::Attached => {
                let line = format!(
                    "* attached to the client of {user}: Ctrl+D leaves this box, LOGOUT ends the client"
                );
                self.log.add(Said::line(now.wall, line));
            }
        }
        self.changed(Change::Arrived);
    }

    fn link(&mut self, peer: Name, state: UpDown, route: Option<Via>, now: Now) {
        match self.flaps.changed(now.mono, &peer, state) {
            flaps::Said::Change => {
                self.log.add(Said::notice(now.wall, Notice::Link { peer, state, route, stranger: false }));
            }
            flaps::Said::Flaps => {
                let line =
                    format!("* the link to {peer} comes and goes; you are told once it stays as it is");
                self.log.add(Said::line(now.wall, line));
            }
            flaps::Said::Nothing => {}
        }
    }

    /// What others say.
    fn message(&mut self, notice: &Notice, seq: Seq, now: Now) {
        let Notice::Message { id, from, text, sent, received, room, unknown, .. } = notice else {
            return;
        };
        let who = room.clone().map_or_else(|| Addressee::User(from.clone()), Addressee::Room);
        let mut line = Line::theirs(seq, *id, from, text, (*sent, *received));
        line.unknown = *unknown;
        if room.is_some() {
            line = self.marked(line);
        }
        if line.mention
            && let Some(entry) = self.list.get_mut(&who)
        {
            entry.mentioned = true;
        }
        let is_open = self.open.as_ref() == Some(&who);
        let seen = is_open && self.is_there(now.mono);
        if let Some(view) = self.views.get_mut(&who) {
            view.add(line, seen);
        }
        self.changed(Change::Arrived);
    }

    /// A line of a room, marked if it mentions the user.
    fn marked(&self, line: Line) -> Line {
        let mention = line.is_theirs() && self.preferences.rules.mentions(&line.text, true);
        Line { mention, ..line }
    }

    fn set_state(&mut self, who: &Addressee, id: Cursor, state: State) {
        if self.views.get_mut(who).is_some_and(|view| view.set_state(id, state)) {
            self.changed(Change::Arrived);
        }
    }

    fn page(&mut self, who: &Addressee, lines: Vec<Line>, covered: Seq) {
        if let Some(view) = self.views.get_mut(who) {
            view.loaded(lines, covered);
            self.changed(Change::Pressed);
        }
    }

    fn error(&mut self, error: ErrorNotice, asked: Option<Asked>, now: Now) {
        match &asked {
            Some(Asked::Page(who)) => {
                let known = self.list.get(who).is_some();
                self.views.get_mut(who).into_iter().for_each(View::refused);
                if !known {
                    // What is typed next was not meant for anyone else.
                    self.views.remove(who);
                    if self.open.as_ref() == Some(who) {
                        self.show(None);
                    }
                    self.answer(Notice::Error(error), now);
                }
                return;
            }
            // The page that was asked for with it says the same.
            Some(Asked::Read(_) | Asked::Mentions(_) | Asked::Contacts | Asked::Rooms) => return,
            Some(Asked::Typed | Asked::Chat(_)) => return self.answer(Notice::Error(error), now),
            None => {}
        }
        let about = error.peer.clone().map(Addressee::User).or(error.room.clone().map(Addressee::Room));
        if error.id.is_some()
            && let Some(view) = about.as_ref().and_then(|who| self.views.get_mut(who))
        {
            // A message was given back.
            view.unload();
            self.reload();
        }
        let notice = Notice::Error(error);
        self.notes.add(None, Said::notice(now.wall, notice.clone()));
        self.say(notice, now);
    }

    /// The conversation that is open is loaded if it is not.
    fn reload(&mut self) {
        if let Some(who) = self.open.clone() {
            let page = self.views.get_mut(&who).and_then(|view| view.open(0));
            self.ask_page(&who, page);
            self.ask_read(&who, 0);
        }
    }

    /// Takes in what has become of users and rooms; what waits for the user's answer is noted.
    fn note_change(&mut self, notice: &Notice, now: Now) {
        let mut noted: Option<Addressee> = None;
        match notice {
            Notice::Request { from, stranger, .. } => {
                self.contacts.stale = true;
                noted = stranger.then(|| from.clone().into());
            }
            Notice::Full { from } => noted = Some(from.clone().into()),
            Notice::Held { to, waiting, .. } => noted = (*waiting > 0).then(|| to.clone().into()),
            Notice::Lost { peer, .. } => noted = Some(peer.clone().into()),
            Notice::Invite { room, .. } => {
                self.rooms.stale = true;
                noted = Some(room.clone().into());
            }
            Notice::Contact(line) => {
                self.list.set_contact(line);
                self.settled(line);
            }
            Notice::Requested { .. } | Notice::Verification { .. } => self.contacts.stale = true,
            Notice::Resent { peer, .. } => {
                let who = Addressee::User(peer.clone());
                self.notes.settle(&who);
                self.views.get_mut(&who).into_iter().for_each(View::unload);
                self.reload();
            }
            Notice::Forgotten { peer } => {
                self.notes.settle(&peer.clone().into());
                self.views.remove(&peer.clone().into());
            }
            Notice::Room { room, state, .. } => {
                self.rooms.stale = true;
                if matches!(state, RoomState::Joined | RoomState::Left | RoomState::Removed) {
                    self.notes.settle(&room.clone().into());
                }
                if *state == RoomState::Frozen {
                    noted = Some(room.clone().into());
                }
            }
            Notice::Member { .. } => self.rooms.stale = true,
            _ => {}
        }
        if noted.is_some() {
            self.notes.add(noted, Said::notice(now.wall, notice.clone()));
        }
    }

    fn settled(&mut self, line: &ContactLine) {
        if !line.stranger || line.blocked {
            self.notes.settle(&line.peer.clone().into());
        }
    }

    /// The first word to a stranger answers them.
    fn answered(&mut self, to: &Addressee) {
        let about = self.list.get(to).map(|entry| &entry.about);
        if matches!(about, Some(About::User(user)) if user.stranger) {
            self.contacts.stale = true;
            self.notes.settle(to);
        }
    }

    /// Something has happened in a room.
    fn event(&mut self, room: &Addressee, notice: &Notice, after: Seq, now: Now) {
        let events = self.events.entry(room.clone()).or_default();
        events.push_back(Event { after, what: Said::notice(now.wall, notice.clone()) });
        if events.len() > MAX_EVENTS {
            events.pop_front();
        }
        self.changed(Change::Arrived);
    }

    /// The client says something by itself.
    fn say(&mut self, notice: Notice, now: Now) {
        // How things stand is to be seen elsewhere.
        self.log.unread |= !matches!(
            notice,
            Notice::Ready { .. } | Notice::Discovery { .. } | Notice::Reachable(_) | Notice::Requested { .. }
        );
        self.log.add(Said::notice(now.wall, notice));
        self.changed(Change::Arrived);
    }

    /// The client answers what was typed.
    pub(super) fn answer(&mut self, notice: Notice, now: Now) {
        let aliases = self.editor.prompt.0.aliases();
        let lines = aliases.help().chain(["* keys of the full screen:".to_owned()]);
        let lines = lines.chain(self.preferences.keys.help());
        let lines = lines.filter(|_| matches!(notice, Notice::Help { .. }));
        let more: Vec<_> = lines.map(|line| Said::line(now.wall, line)).collect();
        for said in [Said::notice(now.wall, notice)].into_iter().chain(more) {
            if self.open.is_some() {
                self.panel.get_or_insert_with(Panel::default).add(said.clone());
            }
            self.log.add(said);
        }
        self.log.scroll_to_newest();
        self.changed(Change::Pressed);
    }
}

/// The room in whose conversation this stands, and whether it need not be told elsewhere.
fn event_in(notice: &Notice) -> Option<(Addressee, bool)> {
    match notice {
        Notice::Member { room, .. } => Some((room.clone().into(), true)),
        Notice::Room { room, state, .. } => match state {
            RoomState::Topic | RoomState::Owner => Some((room.clone().into(), true)),
            RoomState::Left | RoomState::Removed | RoomState::Frozen => Some((room.clone().into(), false)),
            RoomState::Founded | RoomState::Joined => None,
        },
        _ => None,
    }
}
