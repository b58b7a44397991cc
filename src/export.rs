//! Exports: named disks, and the registry that finds them.

mod name;
mod registry;
mod snapshots;

use std::{fmt, sync::Arc};

use nbdgate_api::{Backend, BlockSizes, Info};

pub use self::{
    name::{ExportName, InvalidName},
    registry::{Duplicate, Registry},
    snapshots::{Opened, SnapshotOpener, Snapshots},
};
use crate::{
    metrics::ExportMetrics,
    scheduler::{
        Scheduler,
        permits::{Budget, REQUEST_COST},
    },
};

/// Smallest `read_piece` that a backend may declare, in bytes; a read has no more pieces than 16 bits can number.
pub const MIN_READ_PIECE: u32 = 64 << 10;

/// Bytes that one request may hold however small the maximum payload is: those of a read, or of block status
/// descriptors. Transmission asserts that the protocol's limits are no greater.
pub const MIN_LONGEST_REQUEST: u32 = 64 << 10;

/// A disk under a name, shared by every connection that uses it.
pub struct Export {
    name: ExportName,
    description: String,
    scheduler: Arc<Scheduler>,
    backend: Arc<dyn Backend>,
    budget: Budget,
    metrics: ExportMetrics,
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
        assert!(has_legal_sizes(backend.info()), "the sizes of {:?} must not be advertised", backend.info());
        let longest = backend.info().block.maximum_payload.max(MIN_LONGEST_REQUEST);
        let longest = u64::from(longest) + u64::from(REQUEST_COST);
        assert!(longest <= u64::from(budget.limit()), "the budget admits no request of the maximum payload");
        let metrics = ExportMetrics::new(name.as_str());
        let scheduler = Scheduler::new(backend.clone(), read_only, metrics.meters());
        Self { name, description, scheduler, backend, budget, metrics }
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

    /// What is measured of it.
    pub fn metrics(&self) -> &ExportMetrics {
        &self.metrics
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

/// Whether the sizes may be advertised to clients (NBD specification, "Size constraints").
fn has_legal_sizes(info: &Info) -> bool {
    let BlockSizes { minimum, preferred, maximum_payload } = info.block;
    minimum.is_power_of_two()
        && minimum <= 1 << 16
        && preferred.is_power_of_two()
        && preferred >= minimum.max(512)
        && maximum_payload >= preferred
        && info.size.is_multiple_of(u64::from(minimum))
}

#[cfg(test)]
mod tests {
    use nbdgate_api::{Capabilities, Home};

    use super::*;

    #[test]
    fn sizes_that_must_not_be_advertised_are_refused() {
        let legal = |size, minimum, preferred, maximum_payload| {
            let block = BlockSizes { minimum, preferred, maximum_payload };
            let (capabilities, home) = (Capabilities::NONE, Home::Spread);
            let (read_only, rotational, read_piece) = (false, false, 1 << 20);
            has_legal_sizes(&Info { size, block, read_only, rotational, capabilities, read_piece, home })
        };
        assert!(legal(0, 1, 512, 512) && legal(1 << 20, 1 << 16, 1 << 16, u32::MAX) && legal(513, 1, 4096, 1 << 25));
        assert!(!legal(0, 0, 512, 4096), "no minimum block");
        assert!(!legal(0, 3, 512, 4096), "not a power of two");
        assert!(!legal(0, 1 << 17, 1 << 17, 1 << 17), "minimum block over 64 KiB");
        assert!(!legal(0, 1, 256, 4096), "preferred block under 512");
        assert!(!legal(0, 1, 513, 4096), "not a power of two");
        assert!(!legal(0, 4096, 512, 4096), "preferred block under the minimum");
        assert!(!legal(0, 512, 4096, 512), "maximum payload under the preferred block");
        assert!(!legal(513, 512, 512, 512), "size not a multiple of the minimum block");
    }
}
