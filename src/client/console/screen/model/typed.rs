//! What keys do, and what becomes of the lines that are entered.

use super::{Asked, Change, Model, Now};
use crate::client::command::{Beside, Command, CommandError};
use crate::client::console::screen::keymap::Action;
use crate::client::event::Input;
use crate::client::notice::{ErrorNotice, Notice};
use crate::store::journal::Seq;
use crate::terminal::{Event, Key, Outcome, Prompt as _};

/// How many rows one turn of the wheel goes.
const SOME: isize = 3;

/// What a key leads to beyond the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    None,
    Suspend,
    /// All is to be drawn anew.
    Redraw,
    /// The user has pressed Ctrl+C twice.
    Interrupt,
}

impl Model {
    pub fn key(&mut self, key: Key, now: Now) -> Effect {
        if let Key::Focus(focus) = key {
            self.focus = Some(focus);
            if !focus {
                self.pressed = None;
            }
            self.changed(Change::Pressed);
            return Effect::None;
        }
        (self.pressed, self.has_pressed) = (Some(now.mono), true);
        self.flash.clear();
        self.changed(Change::Pressed);
        if let Key::Click(column, row) = key {
            self.click(column.into(), row.into());
            return Effect::None;
        }
        // What is asked is answered first.
        let action = self.preferences.keys.action(&key);
        if let Some(action) = action.filter(|action| !(self.editor.is_asking() && is_of_editor(*action)))
            && self.does(action)
        {
            return if action == Action::Redraw { Effect::Redraw } else { Effect::None };
        }
        if key == Key::End && self.editor.is_at_end() && !self.editor.is_asking() {
            self.does(Action::ScrollToNewest);
        }
        match self.editor.key(key) {
            Outcome::Nothing => Effect::None,
            Outcome::Suspend => Effect::Suspend,
            Outcome::Clear => Effect::Redraw,
            Outcome::Event(Event::Interrupt) => Effect::Interrupt,
            Outcome::Event(Event::EndOfInput) => {
                self.outgoing.push(Input::typed(Ok(Command::Detach)));
                Effect::None
            }
            Outcome::Event(Event::Entered { entries, asked }) => {
                self.panel = None;
                entries.into_iter().for_each(|entry| self.entered(&entry, asked, now));
                Effect::None
            }
        }
    }

    /// Whether the action means something now; otherwise the key is the line editor's.
    fn does(&mut self, action: Action) -> bool {
        let entries = self.list.entries().len();
        match action {
            Action::Conversation(number) => {
                let who = self.numbered(number.into());
                who.into_iter().for_each(|who| self.show(who));
            }
            Action::NextConversation => self.show_number((self.number() + 1) % (entries + 1)),
            Action::PreviousConversation => self.show_number((self.number() + entries) % (entries + 1)),
            Action::NextUnread => {
                let after = self.number().checked_sub(1);
                let next = self.list.next_unread(after, |who| self.is_muted(who)).cloned();
                match next {
                    Some(next) if self.open.as_ref() == Some(&next) => self.show_unread(),
                    Some(next) => self.show(Some(next)),
                    None if self.log.unread => self.show(None),
                    None => self.flash = "nothing is unread".into(),
                }
            }
            Action::LastConversation => {
                let before = self.before.clone();
                self.show(before);
            }
            Action::ScrollUp => self.scroll(-self.page_rows()),
            Action::ScrollDown => self.scroll(self.page_rows()),
            Action::ScrollUpSome => self.scroll(-SOME),
            Action::ScrollDownSome => self.scroll(SOME),
            Action::ScrollToOldest | Action::ScrollToNewest => {
                self.scroll_to(action == Action::ScrollToNewest)
            }
            Action::ScrollToUnread => {
                self.show_unread();
            }
            Action::MarkRead => {
                if let Some(who) = self.open.clone() {
                    self.ask_read(&who, Seq::MAX);
                    self.flash = format!("all of {who} is read");
                }
            }
            Action::Dismiss if self.panel.is_some() => self.panel = None,
            Action::Dismiss if !self.notes.is_empty() => self.notes.dismiss(),
            Action::Dismiss => return false,
            Action::Redraw => {}
            Action::ToggleList => self.list_hidden = !self.list_hidden,
        }
        true
    }

    fn show_number(&mut self, number: usize) {
        self.numbered(number).into_iter().for_each(|who| self.show(who));
    }

    /// A page leaves a row of the one before.
    fn page_rows(&self) -> isize {
        let height = self.panel.as_ref().map_or(self.height, |panel| panel.height);
        isize::try_from(height.saturating_sub(1).max(1)).unwrap_or(1)
    }

    fn scroll(&mut self, by: isize) {
        let (layout, height) = (self.layout(), self.height);
        if let Some(panel) = &mut self.panel {
            panel.scroll(by);
        } else if self.open.is_none() {
            self.log.scroll(by);
        } else {
            self.view().into_iter().for_each(|view| view.scroll(&layout, height, by));
        }
    }

    fn show_unread(&mut self) {
        let (layout, height) = (self.layout(), self.height);
        let page = self.view().and_then(|view| view.show_unread(&layout, height));
        if let Some(who) = self.open.clone() {
            self.ask_page(&who, page);
        }
    }

    fn scroll_to(&mut self, newest: bool) {
        let Some(who) = self.open.clone() else {
            return if newest { self.log.scroll_to_newest() } else { self.log.scroll(-100_000) };
        };
        let page = self
            .view()
            .and_then(|view| if newest { view.scroll_to_newest() } else { view.scroll_to_oldest() });
        self.ask_page(&who, page);
    }

    fn click(&mut self, column: usize, row: usize) {
        if column < self.list_width()
            && let Some(number) = self.number_in_row(row)
        {
            self.show_number(number);
        }
    }

    fn entered(&mut self, entry: &str, asked: bool, now: Now) {
        let doubtful = self.editor.prompt.is_doubtful(entry) && !asked;
        let command = match self.editor.prompt.0.parse(entry) {
            None => return,
            Some(Ok(Command::Line { text, otherwise, .. })) => match self.open.clone() {
                // The editor asks first.
                Some(to) if doubtful => Err(CommandError::Doubtful(to)),
                Some(to) => Ok(Command::Chat(to, text)),
                None => *otherwise,
            },
            Some(command) => command,
        };
        match command {
            Ok(Command::Converse(who)) => self.show(who),
            Ok(Command::Chat(to, text)) => self.ask(Command::Chat(to.clone(), text), Asked::Chat(to)),
            // A look at the past reads nothing.
            Ok(Command::History(peer, count)) => {
                let beside = Beside::Before(Seq::MAX);
                self.ask(Command::Page { peer, count, beside }, Asked::Typed);
            }
            Ok(command @ (Command::Logout | Command::Detach)) => {
                self.outgoing.push(Input::typed(Ok(command)));
            }
            Err(error @ CommandError::Doubtful(_)) => {
                let notice = Notice::Error(ErrorNotice::new((&error).into(), error.to_string()));
                self.answer(notice, now);
            }
            command => self.ask_for(command, Asked::Typed),
        }
    }
}

/// Whether a key for this may be an answer to what the line editor asks.
fn is_of_editor(action: Action) -> bool {
    matches!(action, Action::Dismiss | Action::NextConversation | Action::PreviousConversation)
}
