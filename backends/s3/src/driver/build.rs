//! Compressing and sealing batches into segments.

use std::sync::Arc;

use nbdgate_api::{Error, Kind};

use super::Driver;
use crate::{
    admin::unix_ms,
    engine::{BuildJob, Built, Event, log_segment},
    format::BLOCK_SHIFT,
    segment_builder::{self, SegmentSpec},
};

/// Batches below this are compressed where they are: handing them over takes longer.
const INLINE: u64 = 128 << 10;

pub(super) async fn build(driver: Arc<Driver>, job: BuildJob) {
    let spec = SegmentSpec {
        volume: driver.volume,
        name: log_segment(job.writer, job.seq),
        first_wseq: job.batch.first,
        last_wseq: job.batch.last,
        prev_prelude_crc: job.prev_crc,
        unix_ms: unix_ms(),
        frame_blocks: driver.options.frame_max >> BLOCK_SHIFT,
        codec: driver.options.codec,
    };
    let seal = driver.store.sealing().fresh();
    let small = job.batch.data() < INLINE;
    let extents = driver.extents(&job).await;
    let work = move || {
        let segment = segment_builder::build(&spec, seal, &extents);
        for lba in &segment.damaged {
            tracing::error!(block = lba.0, "a block was damaged in memory before it was stored; reads of it will fail");
        }
        let index = Arc::new(segment.index.clone());
        Built { seq: job.seq, segment, index }
    };
    let built = if small {
        work()
    } else {
        match driver.runtime.spawn_blocking(work).await {
            Ok(built) => built,
            Err(error) => {
                let error = Error::new(Kind::Io, "building a segment failed").with_source(error);
                driver.event(Event::Lost(error));
                return;
            }
        }
    };
    driver.event(Event::Built(Box::new(built)));
}
