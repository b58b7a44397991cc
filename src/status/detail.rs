//! /status/export.json: one export, looked into.
//!
//! Each part is found out by itself, at most once in [`MAX_AGE`], and shared by all who ask; what is late is `null` this time
//! and may be there the next. Invariants: of each part of an export at most one search is under way, however many viewers
//! there are and however long it takes; of exports, at most [`MAX_LOOKS`] are remembered.

mod allocation;
mod cost;
mod part;
#[cfg(feature = "object-log")]
mod segments;
#[cfg(not(feature = "object-log"))]
#[path = "detail/no_segments.rs"]
mod segments;
mod snapshots;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::body::Bytes;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::Semaphore;

use self::{
    allocation::Allocation,
    cost::Cost,
    part::Part,
    segments::Segments,
    snapshots::{Known, Snapshot, Snapshots},
};
use super::{Shown, Status, clients::now_unix_seconds};
use crate::{export::ExportName, metrics::Metrics};

/// How old what is told may be.
const MAX_AGE: Duration = Duration::from_secs(10);
/// How long is waited for a part.
const PATIENCE: Duration = Duration::from_secs(3);
/// Exports remembered at one time.
pub(super) const MAX_LOOKS: usize = 64;
/// Viewers that wait at one time: fewer than the endpoint answers at one time, or a scrape would wait behind them.
pub(super) const MAX_WAITING: usize = 8;

/// What was found out of exports.
#[derive(Debug)]
pub(super) struct Details {
    looks: Mutex<HashMap<ExportName, Arc<Look>>>,
    waiting: Semaphore,
    patience: Duration,
}

/// Why an export is not told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// There is none of that name.
    Unknown,
    /// Too many ask, or too much is under way.
    Busy,
}

/// One export.
#[derive(Debug, Default)]
struct Look {
    /// The lock is held while parts are found out, so that others wait for what comes of it.
    told: tokio::sync::Mutex<Option<(Instant, Bytes)>>,
    allocation: Part<Allocation>,
    segments: Part<Segments>,
    snapshots: Part<Snapshots>,
    known_snapshots: Known,
}

#[derive(Debug, Serialize)]
struct Detail<'a> {
    name: &'a str,
    taken_unix_seconds: f64,
    allocation: Option<&'a Allocation>,
    segments: Option<&'a Segments>,
    /// The newest of so many.
    snapshots: Option<&'a [Snapshot]>,
    snapshots_total: Option<usize>,
    cost: Option<Cost>,
}

impl Default for Details {
    fn default() -> Self {
        Self { looks: Mutex::default(), waiting: Semaphore::new(MAX_WAITING), patience: PATIENCE }
    }
}

#[cfg(test)]
impl Details {
    pub(super) fn patient_for(patience: Duration) -> Self {
        Self { patience, ..Self::default() }
    }

    /// As if it were told long ago.
    pub(super) fn forget_what_was_told(&self) {
        self.looks.lock().values().for_each(|look| *look.told.try_lock().expect("nobody asks") = None);
    }
}

impl Details {
    /// The export of that name as JSON.
    pub(super) async fn get(&self, status: &Status, metrics: &Metrics, name: &str) -> Result<Bytes, Refused> {
        let shown = status.shown(name).ok_or(Refused::Unknown)?;
        let export = shown.export.upgrade().ok_or(Refused::Unknown)?.name().clone();
        let _place = self.waiting.try_acquire().map_err(|_| Refused::Busy)?;
        let look = self.look(&export).ok_or(Refused::Busy)?;
        let mut told = look.told.lock().await;
        match &*told {
            Some((at, body)) if at.elapsed() < MAX_AGE => Ok(body.clone()),
            _ => {
                let body = look.find(status, (shown, &export), metrics, self.patience).await;
                *told = Some((Instant::now(), body.clone()));
                Ok(body)
            }
        }
    }

    /// What is remembered of an export. For a new one, the oldest that nobody needs goes.
    fn look(&self, export: &ExportName) -> Option<Arc<Look>> {
        let mut looks = self.looks.lock();
        if let Some(look) = looks.get(export) {
            return Some(look.clone());
        }
        if looks.len() >= MAX_LOOKS {
            let idle = looks.iter().filter(|(_, look)| Arc::strong_count(look) == 1 && !look.is_busy());
            let age = |look: &Look| look.told.try_lock().ok().and_then(|told| told.as_ref().map(|(at, _)| *at));
            let oldest = idle.min_by_key(|(_, look)| age(look)).map(|(name, _)| name.clone())?;
            looks.remove(&oldest);
        }
        let look = Arc::new(Look::default());
        looks.insert(export.clone(), look.clone());
        Some(look)
    }
}

impl Look {
    async fn find(
        &self,
        status: &Status,
        (shown, export): (&Shown, &ExportName),
        metrics: &Metrics,
        patience: Duration,
    ) -> Bytes {
        let name = export.as_str();
        let allocation = self.allocation.get(patience, allocation::walk(shown.export.clone()));
        let snapshots = self.snapshots.get(patience, snapshots::list(status, shown, export, &self.known_snapshots));
        let segments = self.segments.get(patience, segments::look(status, name));
        let (allocation, snapshots, segments) = tokio::join!(allocation, snapshots, segments);
        let segments = segments.as_deref();
        let detail = Detail {
            name,
            taken_unix_seconds: now_unix_seconds(),
            allocation: allocation.as_deref(),
            segments,
            snapshots: snapshots.as_deref().map(|snapshots| snapshots.newest.as_slice()),
            snapshots_total: snapshots.as_deref().map(|snapshots| snapshots.total),
            cost: segments.and_then(|segments| Cost::of(shown, name, segments.stored(), metrics)),
        };
        Bytes::from(serde_json::to_vec(&detail).expect("numbers and text become JSON"))
    }

    /// Whether something is still being found out.
    fn is_busy(&self) -> bool {
        self.allocation.is_busy() || self.segments.is_busy() || self.snapshots.is_busy()
    }
}
