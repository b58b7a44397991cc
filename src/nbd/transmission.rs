//! The transmission phase: one connection, from the end of its handshake to its last byte.
//!
//! ```text
//!  socket ─► Input ─► parse, validate ─► permits ─► Scheduler
//!                                                       │ events, inline or from any thread
//!  socket ◄─ Output ◄─ Slot: plan, encode ◄── Queue ◄───┘
//! ```
//!
//! A connection is one task on one I/O thread. It parses everything that one receive brought, answers what is
//! ready inline, and sends all of it with one call; what completes while a send is under way goes into the next.
//!
//! Invariants: what is in flight is bounded by [`Permits`], which a request holds until the last byte of its reply
//! is sent; when they are exhausted the socket is not read. A write's payload is either taken or drained, never
//! read as requests.
//!
//! Absent: haggling, TLS, and any decision about what a request may do, which is `proto::validate`'s.
//!
//! [`Permits`]: crate::scheduler::permits::Permits

mod accounting;
mod answer;
mod arena;
mod connection;
mod input;
mod output;
mod queue;
mod sending;
mod slot;
mod stream;
#[cfg(test)]
mod tests;

pub use self::{
    connection::{Connection, End, Limits},
    queue::Queue,
    sending::Transport,
    stream::{Socket, Stream},
};
