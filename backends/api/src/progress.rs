//! How far long work on a disk is: import, export, removal, checks.

use std::fmt;

/// Listens to long work. Calls come from any thread and must be cheap.
pub trait Progress: Send + Sync + fmt::Debug {
    /// So many bytes are to be done, as far as is known now; may be told again.
    fn total(&self, bytes: u64) {
        let _ = bytes;
    }

    /// So many bytes more are done.
    fn advance(&self, bytes: u64) {
        let _ = bytes;
    }
}

/// Listens to nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl Progress for NoProgress {}
