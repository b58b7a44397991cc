//! The life of an open writer: slots out, slots stored, FLUSHes answered.

use super::Actor;
use crate::{
    rules::{Bug, REPEATS},
    state::{Message, Name, Object, State, Step, Token},
};

impl Actor<'_, '_> {
    pub(super) fn run(&mut self) {
        self.send();
        for index in 0..self.writer.sent() {
            self.follow(index);
        }
        if self.rules().has(Bug::AnswerOutOfOrder) {
            self.answer_each();
        } else {
            self.answer_run();
        }
        self.checkpoint();
    }

    fn token(&self, index: u8) -> Token {
        Token { writer: self.id, epoch: self.writer.epoch, slot: self.writer.first + index }
    }

    fn message(&self, index: u8) -> Message {
        let token = self.token(index);
        let name = Name { epoch: token.epoch, slot: token.slot };
        Message::Log { from: self.id, name, object: Object::Data(token) }
    }

    /// One more slot, if the window allows.
    fn send(&mut self) {
        let (id, sent) = (self.id, self.writer.sent());
        let rules = self.rules();
        if sent < rules.slots && sent - self.writer.committed() < rules.window {
            let message = self.message(sent);
            self.may("sends slot", self.writer.first + sent, |state| {
                state.network.insert(message);
                state.writer_mut(id).stored.push(false);
            });
        }
    }

    /// Looks at a slot that was sent; or a copy of its put is still on its way, or sent again.
    fn follow(&mut self, index: u8) {
        let id = self.id;
        let Token { epoch, slot, .. } = self.token(index);
        let stored = self.writer.stored[usize::from(index)];
        let found = self.state().log.get(&Name { epoch, slot });
        match found {
            Some(Object::Data(token)) if !stored && token.writer == id => {
                self.may("sees slot", slot, |state| {
                    state.writer_mut(id).stored[usize::from(index)] = true;
                });
            }
            Some(_) if !stored => self.goes("finds itself fenced at", slot, Step::Stopped),
            _ => self.repeat(index),
        }
    }

    fn repeat(&mut self, index: u8) {
        let id = self.id;
        let message = self.message(index);
        if self.writer.repeats < REPEATS && !self.state().network.contains(&message) {
            self.may("sends again", self.writer.first + index, |state| {
                state.network.insert(message);
                state.writer_mut(id).repeats += 1;
            });
        }
    }

    /// Answers the FLUSHes that the run without a gap covers.
    fn answer_run(&mut self) {
        let (id, committed) = (self.id, self.writer.committed());
        if committed > self.writer.answered {
            let tokens: Vec<Token> = (0..committed).map(|index| self.token(index)).collect();
            self.may("answers up to", self.writer.first + committed - 1, |state| {
                state.answered.extend(tokens);
                state.writer_mut(id).answered = committed;
            });
        }
    }

    fn answer_each(&mut self) {
        for index in 0..self.writer.sent() {
            let token = self.token(index);
            if self.writer.stored[usize::from(index)] && !self.state().answered.contains(&token) {
                self.may("answers out of order", token.slot, |state: &mut State| {
                    state.answered.insert(token);
                });
            }
        }
    }
}
