//! The file backend against real files, from every kind of thread.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod contract;
mod faults;
mod holes;
mod model;
mod opening;
mod support;
