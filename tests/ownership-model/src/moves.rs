//! Everything that can happen next.
//!
//! One file per stage of a writer's life: taking the disk, writing, checkpointing.

mod checkpoint;
mod claim;
mod write;

use std::fmt;

use crate::{
    rules::Rules,
    state::{Message, State, Step, Writer},
};

/// What happened in one step, for traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    /// The writer; `None` for the network.
    pub(crate) writer: Option<u8>,
    pub(crate) what: &'static str,
    /// The manifest or slot.
    pub(crate) at: u8,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.writer {
            Some(writer) => write!(f, "writer {writer} {} {}", self.what, self.at),
            None => write!(f, "the network {} {}", self.what, self.at),
        }
    }
}

/// The states that follow from one.
pub(crate) struct Moves<'a> {
    rules: Rules,
    state: &'a State,
    found: Vec<(Label, State)>,
}

/// One writer's part in them.
struct Actor<'m, 'a> {
    moves: &'m mut Moves<'a>,
    id: u8,
    writer: &'a Writer,
}

/// Every move of every writer and of the network.
pub(crate) fn moves(rules: Rules, state: &State) -> Vec<(Label, State)> {
    let mut moves = Moves { rules, state, found: Vec::new() };
    moves.network();
    for (id, writer) in (0..).zip(&state.writers) {
        Actor { moves: &mut moves, id, writer }.act();
    }
    moves.found
}

impl Moves<'_> {
    /// The network applies any of its messages: each is a put-if-absent.
    fn network(&mut self) {
        for message in &self.state.network {
            let mut next = self.state.clone();
            next.network.remove(message);
            let (what, at) = match message {
                Message::Manifest { no, body, .. } => {
                    next.manifests.entry(*no).or_insert_with(|| body.clone());
                    ("applies manifest", *no)
                }
                Message::Log { name, object, .. } => {
                    next.log.entry(*name).or_insert(*object);
                    ("applies slot", name.slot)
                }
            };
            self.found.push((Label { writer: None, what, at }, next));
        }
    }
}

impl Actor<'_, '_> {
    fn act(&mut self) {
        match &self.writer.step {
            Step::Idle => self.claim(),
            Step::Claim(no) => self.await_claim(*no),
            Step::ClaimList(no) => self.list_behind_claim(*no),
            Step::Close(name) => self.close(*name),
            Step::FarFence(hole) => self.await_far_fence(*hole),
            Step::Fence(name) => self.await_fence(*name),
            Step::Open(end) => self.open(*end),
            Step::OpenList(no) => self.list_behind_open(*no),
            Step::Run => self.run(),
            Step::Checkpoint(no) => self.await_checkpoint(*no),
            Step::CheckpointList(no) => self.list_behind_checkpoint(*no),
            Step::Delete { log, manifests } => self.delete(log, manifests),
            Step::Stopped => {}
        }
    }

    fn rules(&self) -> Rules {
        self.moves.rules
    }

    fn state(&self) -> &State {
        self.moves.state
    }

    /// A state that may follow.
    fn may(&mut self, what: &'static str, at: u8, change: impl FnOnce(&mut State)) {
        let mut next = self.moves.state.clone();
        change(&mut next);
        self.moves.found.push((Label { writer: Some(self.id), what, at }, next));
    }

    /// The writer's next step, with nothing else changed.
    fn goes(&mut self, what: &'static str, at: u8, step: Step) {
        let id = self.id;
        self.may(what, at, |state| state.writer_mut(id).step = step);
    }

    /// Whether there is a manifest behind this one.
    fn is_behind(&self, no: u8) -> bool {
        self.state().newest().0 > no
    }
}
