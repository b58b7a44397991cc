//! How many are served at one time: many connections, of which few get answers that take work.
//!
//! A connection has its place from when it is accepted, and gives it back for one of the few once its turn has come: the
//! places for connections are left to those whose head is awaited, to probes, and to those that wait for their turn. Of the
//! last there are so few that places are left for the others.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections at one time that have not come to their turn.
pub(super) const MAX_CONNECTIONS: usize = 256;
/// Answers at one time that take work.
pub(super) const MAX_ANSWERS: usize = 16;
/// Those that wait for their turn at one time; more are sent away.
pub(super) const MAX_WAITING: usize = 64;

/// The places of an endpoint.
#[derive(Debug)]
pub(super) struct Places {
    connections: Arc<Semaphore>,
    turns: Turns,
}

#[derive(Clone, Debug)]
struct Turns {
    waiting: Arc<Semaphore>,
    answers: Arc<Semaphore>,
}

/// The place of a connection, kept until it ends.
#[derive(Debug)]
pub(super) struct Place {
    held: Mutex<OwnedSemaphorePermit>,
    turns: Turns,
}

impl Default for Places {
    fn default() -> Self {
        let of = |count| Arc::new(Semaphore::new(count));
        Self { connections: of(MAX_CONNECTIONS), turns: Turns { waiting: of(MAX_WAITING), answers: of(MAX_ANSWERS) } }
    }
}

impl Places {
    /// A place for one more connection, once there is one.
    pub(super) async fn connection(&self) -> Place {
        Place { held: Mutex::new(taken(&self.connections).await), turns: self.turns.clone() }
    }
}

impl Place {
    /// Waits for the turn to answer, which lasts until the connection ends; false if too many wait.
    pub(super) async fn turn(&self) -> bool {
        let Ok(_waiting) = self.turns.waiting.try_acquire() else { return false };
        let turn = taken(&self.turns.answers).await;
        *self.held.lock() = turn;
        true
    }
}

async fn taken(places: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    Arc::clone(places).acquire_owned().await.expect("the semaphore is never closed")
}
