//! Exports: named disks, and the registry that finds them.

mod name;
mod registry;

use std::{fmt, sync::Arc};

use nbdgate_api::{Backend, Info};

pub use self::{
    name::{ExportName, InvalidName},
    registry::{Duplicate, Registry},
};
use crate::scheduler::{Scheduler, permits::Budget};

/// Smallest `read_piece` that a backend may declare, in bytes; a read has no more pieces than 16 bits can number.
pub const MIN_READ_PIECE: u32 = 64 << 10;

/// A disk under a name, shared by every connection that uses it.
pub struct Export {
    name: ExportName,
    description: String,
    scheduler: Arc<Scheduler>,
    backend: Arc<dyn Backend>,
    budget: Budget,
}

impl Export {
    /// Puts `backend` under `name`. With `read_only`, clients cannot write even where the backend could. All its
    /// connections together may have `budget` in flight.
    pub fn new(
        name: ExportName,
        description: String,
        backend: Arc<dyn Backend>,
        read_only: bool,
        budget: Budget,
    ) -> Self {
        assert!(backend.info().read_piece >= MIN_READ_PIECE, "a backend's read_piece is at least {MIN_READ_PIECE}");
        let scheduler = Scheduler::new(backend.clone(), read_only);
        Self { name, description, scheduler, backend, budget }
    }

    /// The name clients ask for; empty for the default export.
    pub fn name(&self) -> &ExportName {
        &self.name
    }

    /// A sentence for people (NBD_INFO_DESCRIPTION); may be empty.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// What clients are told: the backend's word, with the export's own restrictions applied.
    pub fn info(&self) -> &Info {
        self.scheduler.info()
    }

    /// What takes its requests.
    pub fn scheduler(&self) -> &Arc<Scheduler> {
        &self.scheduler
    }

    /// The storage itself, to be closed.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// What its connections may have in flight together.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }
}

impl fmt::Debug for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Export").field("name", &self.name).field("info", self.info()).finish_non_exhaustive()
    }
}
