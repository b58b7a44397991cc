//! What a fresh reader recovers, and what must hold of it.

use crate::state::{Name, Object, State, Token};

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The newest manifest refers to what is not there.
    Dangling(String),
    /// Something that could be recovered no longer can.
    Shrunk {
        /// The log before the step.
        before: Vec<Token>,
        /// The log after it.
        after: Vec<Token>,
    },
    /// A FLUSH was answered and its data is not recovered.
    Lost(Token),
}

/// The log that the newest manifest and the slots behind it give.
pub(crate) fn recover(state: &State) -> Result<Vec<Token>, Violation> {
    let (_, manifest) = state.newest();
    let mut found = Vec::new();
    for covered in &manifest.covered {
        let token = covered.token;
        let name = Name { epoch: token.epoch, slot: token.slot };
        if !covered.moved && state.log.get(&name) != Some(&Object::Data(token)) {
            return Err(Violation::Dangling(format!("the slot {name:?} under the checkpoint")));
        }
        found.push(token);
    }
    for sealed in &manifest.sealed {
        for slot in sealed.first..=sealed.last {
            let name = Name { epoch: sealed.epoch, slot };
            let Some(Object::Data(token)) = state.log.get(&name) else {
                return Err(Violation::Dangling(format!("the slot {name:?} of a closed log")));
            };
            found.push(*token);
        }
    }
    let mut name = manifest.open;
    while let Some(Object::Data(token)) = state.log.get(&name) {
        found.push(*token);
        name = name.next();
    }
    Ok(found)
}

/// Holds a state against the log of the state before it.
pub(crate) fn judge(before: &[Token], state: &State) -> Result<Vec<Token>, Violation> {
    let after = recover(state)?;
    if !after.starts_with(before) {
        return Err(Violation::Shrunk { before: before.to_vec(), after });
    }
    match state.answered.iter().find(|token| !after.contains(token)) {
        Some(lost) => Err(Violation::Lost(*lost)),
        None => Ok(after),
    }
}
