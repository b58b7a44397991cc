//! An explicit-state check of the protocol by which gateways share a disk (docs/OBJECT-LOG-PROTOCOL.md).
//!
//! Writers are small programs ([`Rules`] says how many and how long), the store knows put-if-absent, get, list and
//! delete, and every put is a message that the network applies at any later time: after its sender repeated it, gave up
//! or died. A writer that takes no more steps is a crash; one that goes on is a zombie. Every reachable state is visited,
//! breadth first, so a trace that is found is a shortest one. After each step must hold:
//!
//! 1. Every reference of the newest manifest resolves.
//! 2. What a fresh reader recovers is an extension of what it would have recovered before.
//! 3. Every acknowledged slot is in it.
//!
//! The test of the test are the mutants ([`Bug`]): each is a protocol that somebody might have built, and each is found.
//!
//! Bounded evidence and no proof: there are few slots, few epochs, and no lease, since the lease protects reads only.

mod moves;
mod recovery;
mod rules;
mod search;
mod state;

pub use recovery::Violation;
pub use rules::{Bug, Rules};
pub use search::{Outcome, Verdict, check};
