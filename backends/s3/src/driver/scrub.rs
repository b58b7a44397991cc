//! Scrubbing an open disk in the background: every segment once per period, one after the other.
//!
//! The rate follows from what there is to read. Between two segments nothing is held, so garbage collection goes on; a
//! segment that it takes away meanwhile is not damage.

use std::{sync::Arc, time::Duration};

use super::Driver;
use crate::{
    format::{BlockRange, Lba, SegId},
    fsck::Picture,
    inspect::{
        Inspect,
        pace::Pace,
        verify::Verified,
        view::{LiveRun, LiveSegment},
    },
    map::Span,
    observer::ScrubLevels,
    scrub::{Damage, damage},
    store::Patience,
};

/// The shortest time between two looks at a disk without data.
const EMPTY: Duration = Duration::from_mins(1);

/// How long the store is asked for one segment before the next is tried.
const PATIENCE: Duration = Duration::from_mins(10);

/// Blocks of the map looked at under the lock.
const STEP: u64 = 1 << 20;

pub(super) async fn run(driver: Arc<Driver>, period: Duration) {
    let mut levels = ScrubLevels::default();
    loop {
        let segments = live(&driver);
        let total: u64 = segments.iter().map(|segment| segment.1.stored_bytes).sum();
        levels = ScrubLevels { rounds: levels.rounds, total_bytes: total, ..ScrubLevels::default() };
        if total == 0 {
            tokio::time::sleep(period.min(EMPTY).max(Duration::from_secs(1))).await;
            continue;
        }
        for (id, segment) in segments {
            // Each segment has its share of the period, also if it is read in no time.
            let share = period.mul_f64(segment.stored_bytes as f64 / total as f64);
            tokio::time::sleep(share).await;
            for damage in look(&driver, id, &segment).await {
                let (bytes, object) = (damage.affected.bytes, &damage.object);
                tracing::error!(object, bytes, ranges = ?damage.affected.ranges, "scrub: {}", damage.detail);
                levels.damaged_segments += 1;
                levels.damaged_bytes += bytes;
            }
            levels.done_bytes += segment.stored_bytes;
            driver.observer.scrubbed(&levels);
        }
        levels.rounds += 1;
        driver.observer.scrubbed(&levels);
    }
}

/// Verifies one segment; what is wrong, if it still is part of the disk.
async fn look(driver: &Driver, id: SegId, segment: &LiveSegment) -> Vec<Damage> {
    let patience = Patience::asking(PATIENCE);
    let inspect = Inspect { store: Arc::clone(&driver.store), volume: driver.volume, patience };
    let sound = match inspect.verify(segment, true, &Pace::new(None)).await {
        Ok(Verified { findings, .. }) => findings.is_empty(),
        Err(error) => {
            tracing::warn!(error = error.chain(), "scrub: a segment could not be read; going on with the next");
            return Vec::new();
        }
    };
    if sound {
        return Vec::new();
    }
    // Something is bad: now with the blocks of the disk that it takes along.
    let runs = runs(driver, id);
    let segment = LiveSegment { runs, ..segment.clone() };
    let findings = inspect.verify(&segment, true, &Pace::new(None)).await.map(|verified| verified.findings);
    if !is_live(driver, id, &segment) {
        return Vec::new();
    }
    findings.unwrap_or_default().into_iter().map(|finding| damage(&Picture::Head, &segment, finding)).collect()
}

fn live(driver: &Driver) -> Vec<(SegId, LiveSegment)> {
    let mut engine = driver.engine.lock();
    let committed = engine.committed();
    let live = committed.segments.iter().filter(|(_, entry)| entry.live > 0);
    live.map(|(id, entry)| {
        let (object, lblocks) = (committed.object(id), entry.lblocks);
        (id, LiveSegment { object, lblocks, stored_bytes: u64::from(entry.stored_bytes), runs: Vec::new() })
    })
    .collect()
}

fn is_live(driver: &Driver, id: SegId, segment: &LiveSegment) -> bool {
    let mut engine = driver.engine.lock();
    let committed = engine.committed();
    let live = committed.segments.get(id).is_some_and(|entry| entry.live > 0);
    live && committed.object(id) == segment.object
}

/// Where a segment is mapped. The lock is given back in between; what moves meanwhile was not damaged.
fn runs(driver: &Driver, id: SegId) -> Vec<LiveRun> {
    let mut runs = Vec::new();
    let mut at = 0;
    loop {
        let mut engine = driver.engine.lock();
        let map = &engine.committed().map;
        if at >= map.blocks() {
            return runs;
        }
        let step = STEP.min(map.blocks() - at);
        for span in map.lookup(BlockRange::new(Lba(at), step)) {
            if let Span::Run(run) = span
                && run.address.segment == id
            {
                runs.push(LiveRun { lblk: run.address.lblk, nblocks: run.nblocks, lba: run.lba });
            }
        }
        at += step;
    }
}
