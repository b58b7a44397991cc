//! Checkpoints, and the deletion of what they no longer need.

use super::Actor;
use crate::{
    rules::{Bug, MANIFESTS_KEPT},
    state::{Covered, Manifest, Message, Name, Object, State, Step},
};

impl Actor<'_, '_> {
    /// Sends a manifest that covers everything committed. Writer 0 moves the data out of the log with it.
    pub(super) fn checkpoint(&mut self) {
        let (id, no, committed) = (self.id, self.writer.no + 1, self.writer.committed());
        if self.writer.checkpoints == self.rules().checkpoints || committed == 0 {
            return;
        }
        let body = covering(self.state(), self.writer.known(), self.writer.first + committed, id == 0);
        self.may("checkpoints", no, |state| {
            state.network.insert(Message::Manifest { from: id, no, body: body.clone() });
            let writer = state.writer_mut(id);
            writer.checkpoints += 1;
            (writer.step, writer.manifest) = (Step::Checkpoint(no), Some(body));
        });
    }

    pub(super) fn await_checkpoint(&mut self, no: u8) {
        let id = self.id;
        match self.state().manifests.get(&no) {
            Some(found) if found == self.writer.known() => {
                let unlisted = self.rules().has(Bug::NoListAfterCreate);
                let step = if unlisted { self.garbage(no) } else { Step::CheckpointList(no) };
                self.may("sees its checkpoint", no, |state| {
                    let writer = state.writer_mut(id);
                    (writer.no, writer.step) = (no, step);
                });
            }
            Some(_) => self.goes("loses its checkpoint", no, Step::Stopped),
            None => {}
        }
    }

    pub(super) fn list_behind_checkpoint(&mut self, no: u8) {
        let step = if self.is_behind(no) { Step::Stopped } else { self.garbage(no) };
        self.goes("lists behind its checkpoint", no, step);
    }

    /// What nothing refers to any more, as far as this writer knows.
    fn garbage(&self, no: u8) -> Step {
        let fences_too = self.rules().has(Bug::FenceCollected);
        let manifest = self.writer.known();
        let dead = |(name, object): &(&Name, &Object)| {
            let kept = matches!(object, Object::Fence(_)) && !fences_too;
            name.epoch <= manifest.epoch && !kept && !is_live(manifest, **name)
        };
        let log = self.state().log.iter().filter(dead).map(|(name, _)| *name).collect();
        let manifests = self.state().manifests.keys().copied().filter(|old| old + MANIFESTS_KEPT <= no).collect();
        Step::Delete { log, manifests }
    }

    /// Deletes one object: first of the log, then manifests, oldest first.
    pub(super) fn delete(&mut self, log: &[Name], manifests: &[u8]) {
        let id = self.id;
        if let Some((name, rest)) = log.split_first() {
            let step = Step::Delete { log: rest.to_vec(), manifests: manifests.to_vec() };
            self.may("deletes slot", name.slot, |state| {
                state.log.remove(name);
                state.writer_mut(id).step = step;
            });
        } else if let Some((no, rest)) = manifests.split_first() {
            let step = Step::Delete { log: Vec::new(), manifests: rest.to_vec() };
            self.may("deletes manifest", *no, |state| {
                state.manifests.remove(no);
                state.writer_mut(id).step = step;
            });
        } else {
            self.goes("has deleted all up to its number", self.writer.no, Step::Run);
        }
    }
}

/// Whether a manifest needs a slot.
fn is_live(manifest: &Manifest, name: Name) -> bool {
    let in_sealed = manifest
        .sealed
        .iter()
        .any(|sealed| name.epoch == sealed.epoch && (sealed.first..=sealed.last).contains(&name.slot));
    let in_open = name.epoch == manifest.open.epoch && name.slot >= manifest.open.slot;
    let covered =
        |covered: &Covered| !covered.moved && (covered.token.epoch, covered.token.slot) == (name.epoch, name.slot);
    in_sealed || in_open || manifest.covered.iter().any(covered)
}

/// `known` with everything before `end` of the open log under its checkpoint.
fn covering(state: &State, known: &Manifest, end: u8, moves: bool) -> Manifest {
    let mut body = known.clone();
    for covered in &mut body.covered {
        covered.moved |= moves;
    }
    let closed = known.sealed.iter().map(|sealed| (sealed.epoch, sealed.first..sealed.last + 1));
    for (epoch, slots) in closed.chain([(known.open.epoch, known.open.slot..end)]) {
        for slot in slots {
            if let Some(Object::Data(token)) = state.log.get(&Name { epoch, slot }) {
                body.covered.push(Covered { token: *token, moved: moves });
            }
        }
    }
    body.sealed.clear();
    body.open.slot = end;
    body
}
