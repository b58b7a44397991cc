//! Taking a disk: claim, fence, open.

use super::Actor;
use crate::{
    rules::{Bug, REPEATS},
    state::{Message, Name, Object, Sealed, State, Step},
};

impl Actor<'_, '_> {
    /// Reads the newest manifest and sends a claim behind it.
    pub(super) fn claim(&mut self) {
        let id = self.id;
        let (no, newest) = self.state().newest();
        let mut body = newest.clone();
        (body.owner, body.claim, body.epoch) = (id, true, newest.epoch + 1);
        self.may("claims", no + 1, |state| {
            state.network.insert(Message::Manifest { from: id, no: no + 1, body: body.clone() });
            let writer = state.writer_mut(id);
            (writer.step, writer.epoch, writer.no) = (Step::Claim(no + 1), body.epoch, no + 1);
            writer.manifest = Some(body);
        });
    }

    pub(super) fn await_claim(&mut self, no: u8) {
        let id = self.id;
        match self.state().manifests.get(&no) {
            Some(found) if found == self.writer.known() => {
                let step = if self.rules().has(Bug::NoListAfterCreate) {
                    Step::Close(self.writer.known().open)
                } else {
                    Step::ClaimList(no)
                };
                self.goes("sees its claim", no, step);
            }
            Some(_) => self.goes("loses its claim", no, Step::Stopped),
            None if self.writer.repeats < REPEATS => {
                let body = self.writer.known().clone();
                self.may("repeats its claim", no, |state| {
                    state.network.insert(Message::Manifest { from: id, no, body });
                    state.writer_mut(id).repeats += 1;
                });
            }
            None => {}
        }
    }

    pub(super) fn list_behind_claim(&mut self, no: u8) {
        let id = self.id;
        let step = if self.is_behind(no) { Step::Stopped } else { Step::Close(self.writer.known().open) };
        self.may("lists behind its claim", no, |state| {
            let writer = state.writer_mut(id);
            (writer.step, writer.repeats) = (step, 0);
        });
    }

    /// Looks at a slot of the old log.
    pub(super) fn close(&mut self, name: Name) {
        let rules = self.rules();
        match self.state().log.get(&name) {
            Some(Object::Data(_)) => self.goes("finds data", name.slot, Step::Close(name.next())),
            Some(Object::Fence(_)) => self.goes("finds a fence", name.slot, Step::Open(name.slot)),
            None if rules.has(Bug::NoFence) => self.goes("fences nothing", name.slot, Step::Open(name.slot)),
            None if rules.far_fence && !self.writer.far_fenced => {
                let far = self.far(name);
                self.put_fence("sends a far fence", far, Step::FarFence(name));
            }
            None => self.put_fence("sends a fence", name, Step::Fence(name)),
        }
    }

    /// Twice the window ahead, where the old writer stops at the latest.
    fn far(&self, hole: Name) -> Name {
        Name { slot: hole.slot + 2 * self.rules().window, ..hole }
    }

    fn put_fence(&mut self, what: &'static str, name: Name, step: Step) {
        let id = self.id;
        self.may(what, name.slot, |state| {
            state.network.insert(Message::Log { from: id, name, object: Object::Fence(id) });
            state.writer_mut(id).step = step;
        });
    }

    /// Whatever stands there now: the next look is at the hole again.
    pub(super) fn await_far_fence(&mut self, hole: Name) {
        let id = self.id;
        if !self.state().log.contains_key(&self.far(hole)) {
            return;
        }
        let alone = self.rules().has(Bug::FarFenceAlone);
        let step = if alone { Step::Open(hole.slot) } else { Step::Close(hole) };
        self.may("has fenced far ahead of", hole.slot, |state| {
            let writer = state.writer_mut(id);
            (writer.step, writer.far_fenced) = (step, true);
        });
    }

    pub(super) fn await_fence(&mut self, name: Name) {
        match self.state().log.get(&name) {
            Some(Object::Data(_)) => self.goes("is too late to fence", name.slot, Step::Close(name.next())),
            Some(Object::Fence(_)) => self.goes("has fenced", name.slot, Step::Open(name.slot)),
            None => {}
        }
    }

    /// Publishes OPEN: the old log is sealed before `end`, the new one begins there.
    pub(super) fn open(&mut self, end: u8) {
        let (id, no) = (self.id, self.writer.no + 1);
        if let Some(found) = self.state().manifests.get(&no) {
            if found.owner != id || found.claim || found.epoch != self.writer.epoch {
                return self.goes("loses its opening", no, Step::Stopped);
            }
            let unlisted = self.rules().has(Bug::NoListAfterCreate);
            let found = found.clone();
            return self.may("sees its opening", no, |state| {
                let writer = state.writer_mut(id);
                (writer.first, writer.no) = (found.open.slot, no);
                writer.manifest = Some(found);
                writer.step = if unlisted { Step::Run } else { Step::OpenList(no) };
            });
        }
        let sent = |message: &Message| matches!(message, Message::Manifest { from, no: sent, .. } if (*from, *sent) == (id, no));
        if !self.state().network.iter().any(sent) {
            self.may("opens", no, |state| send_open(state, id, no, end));
        }
    }

    pub(super) fn list_behind_open(&mut self, no: u8) {
        let step = if self.is_behind(no) { Step::Stopped } else { Step::Run };
        self.goes("lists behind its opening", no, step);
    }
}

fn send_open(state: &mut State, id: u8, no: u8, end: u8) {
    let mut body = state.writer(id).known().clone();
    body.claim = false;
    let Name { epoch, slot: first } = body.open;
    if end > first {
        body.sealed.push(Sealed { epoch, first, last: end - 1 });
    }
    body.open = Name { epoch: body.epoch, slot: end };
    state.network.insert(Message::Manifest { from: id, no, body });
}
