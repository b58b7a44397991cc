//! The segments of a disk in the object log, by how much of them is in use.

use std::future::Future;

use nbdgate_s3::{Heat, HeatCell};
use serde::Serialize;
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::cost::Stored;
use crate::status::Status;

/// Most cells.
const MAX_CELLS: usize = 1024;

/// Disks looked into at one time: a large one takes some ten megabytes meanwhile.
static LOOKS: Semaphore = Semaphore::const_new(1);

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Segments {
    total: u64,
    shown: Vec<Segment>,
    #[serde(skip)]
    stored: Stored,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Segment {
    /// The key of its object below the root of the store.
    id: String,
    bytes: u64,
    live: f64,
    pinned: bool,
    /// How many neighbours it stands for, if it is not one.
    #[serde(skip_serializing_if = "Option::is_none")]
    joined: Option<u64>,
}

/// Looks into the disk of an export; `None` if it is not in the object log.
pub(super) fn look(status: &Status, export: &str) -> impl Future<Output = Option<Segments>> + Send + 'static + use<> {
    let disk = status.object_disk(export);
    async move {
        let disk = disk?;
        let _turn = LOOKS.acquire().await.ok()?;
        spawn_blocking(move || Some(disk.upgrade()?.heat(MAX_CELLS).into())).await.ok()?
    }
}

impl Segments {
    /// Bytes of all of them.
    pub(super) fn stored(&self) -> Stored {
        self.stored
    }
}

impl From<Heat> for Segments {
    fn from(heat: Heat) -> Self {
        let Heat { segments, stored_bytes, own_bytes, cells } = heat;
        let stored = Stored { own_bytes, shared_bytes: stored_bytes - own_bytes };
        Self { total: segments, shown: cells.into_iter().map(Into::into).collect(), stored }
    }
}

impl From<HeatCell> for Segment {
    fn from(cell: HeatCell) -> Self {
        let HeatCell { key, segments, bytes, live, pinned } = cell;
        Self { id: key, bytes, live, pinned, joined: (segments > 1).then_some(segments) }
    }
}
