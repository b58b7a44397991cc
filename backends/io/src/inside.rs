//! Requests inside the gate of a backend: each keeps what it works on, and leaves when it is gone.

use std::{ops::Deref, sync::Arc};

use nbdgate_api::{Error, Reply};

use crate::gate::{Gate, Stripe};

/// What has a gate.
pub trait Gated {
    /// The gate that requests come in by.
    fn gate(&self) -> &Gate;
}

/// A place inside the gate of a `D`.
#[derive(Debug)]
pub struct Ticket<D: Gated> {
    shared: Arc<D>,
    stripe: Stripe,
}

impl<D: Gated> Ticket<D> {
    /// Comes in; `None` if the gate is closed.
    pub fn new(shared: &Arc<D>) -> Option<Self> {
        shared.gate().enter().map(|stripe| Self::of(shared, stripe))
    }

    /// For whoever came in at `stripe`, and does not leave by itself.
    pub fn of(shared: &Arc<D>, stripe: Stripe) -> Self {
        Self { shared: shared.clone(), stripe }
    }

    /// What it works on.
    pub fn shared(&self) -> &Arc<D> {
        &self.shared
    }
}

impl<D: Gated> Deref for Ticket<D> {
    type Target = D;

    fn deref(&self) -> &D {
        &self.shared
    }
}

impl<D: Gated> Drop for Ticket<D> {
    fn drop(&mut self) {
        self.shared.gate().leave(self.stripe);
    }
}

/// A request with its answer; ends with an I/O error if it is dropped. The reply ends before the gate is left.
#[derive(Debug)]
pub struct Pending<D: Gated> {
    /// How to answer.
    pub reply: Reply,
    /// Its place inside.
    pub ticket: Ticket<D>,
}

impl<D: Gated> Pending<D> {
    /// Answers.
    pub fn end(self, outcome: Result<(), Error>) {
        self.reply.end(outcome);
    }
}
