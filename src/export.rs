//! Exports: named disks, and the registry that finds them.

mod name;
mod registry;

use std::{fmt, sync::Arc};

use nbdgate_api::{Backend, Info};

pub use self::{
    name::{ExportName, InvalidName},
    registry::{Duplicate, Registry},
};

/// A disk under a name, shared by every connection that uses it.
pub struct Export {
    name: ExportName,
    description: String,
    info: Info,
    backend: Arc<dyn Backend>,
}

impl Export {
    /// Puts `backend` under `name`. With `read_only`, clients cannot write even where the backend could.
    pub fn new(name: ExportName, description: String, backend: Arc<dyn Backend>, read_only: bool) -> Self {
        let mut info = backend.info().clone();
        info.read_only |= read_only;
        Self { name, description, info, backend }
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
        &self.info
    }

    /// The storage itself.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }
}

impl fmt::Debug for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Export").field("name", &self.name).field("info", &self.info).finish_non_exhaustive()
    }
}
