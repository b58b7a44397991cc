//! Reading indexes and frames of segments: from the read cache or the store, verified here, asked for once more if they
//! are bad, never believed.

use std::sync::Arc;

use bytes::Bytes;
use nbdgate_api::Error;

use super::{
    Driver,
    lines::{Pieces, Wanted},
};
use crate::{
    cache::{LINE, ObjectKey, lines},
    engine::{Event, FetchJob, IndexJob},
    format::{FormatError, Frame, Object, Prelude, SegmentIndex},
    head::{Bad, Heads},
    store::Patience,
};

pub(super) async fn load_index(driver: Arc<Driver>, job: IndexJob) {
    let IndexJob { object, deadline, cause } = job;
    if let Some(index) = cached_index(&driver, object).await {
        driver.event(Event::Index(object, Ok(Arc::new(index))));
        return;
    }
    let patience = Patience::serving(driver.instant(deadline));
    let heads = Heads { store: &driver.store, cause, patience };
    let sealing = driver.store.sealing();
    let parse = |head: &Bytes| Ok((SegmentIndex::parse(object, head, &sealing)?, head.clone()));
    let index = heads.read(object, parse).await.map(|(index, head)| {
        keep_head(&driver, &index, &head);
        index
    });
    driver.event(Event::Index(object, index.map(Arc::new)));
}

/// The index out of the read cache. What is there and does not fit is dropped.
async fn cached_index(driver: &Driver, object: Object) -> Option<SegmentIndex> {
    let cache = driver.cache.as_ref()?;
    let key = ObjectKey::of(object);
    let first = cache.read(&driver.runtime, key, &[0]).await.pop()??;
    let mut reach = 1;
    let parsed = match Prelude::parse(&object.name.expected(object.volume), &first) {
        Err(error) => Err(error),
        Ok(prelude) => {
            let mut head = first.to_vec();
            let more: Vec<u32> = lines(LINE.min(prelude.head_len()), prelude.head_len()).collect();
            reach = more.last().map_or(reach, |last| last + 1);
            for line in cache.read(&driver.runtime, key, &more).await {
                head.extend_from_slice(&line?);
            }
            SegmentIndex::parse(object, &head.into(), &driver.store.sealing())
        }
    };
    match parsed {
        Ok(index) => Some(index),
        Err(error) => {
            tracing::warn!(%error, "the head of a segment in the read cache is bad; asking the store");
            cache.forget(key, 0..reach);
            None
        }
    }
}

/// Keeps the lines of a head that are whole: the object goes on behind it, unless it ends with its body.
fn keep_head(driver: &Driver, index: &SegmentIndex, head: &Bytes) {
    let Some(cache) = &driver.cache else { return };
    let whole = if head.len() as u64 == index.object_len() { head.len() } else { head.len() - head.len() % line_len() };
    if whole > 0 {
        cache.keep(&driver.runtime, ObjectKey::of(index.object()), 0, vec![head.slice(..whole)]);
    }
}

fn line_len() -> usize {
    usize::try_from(LINE).expect("64 KiB")
}

pub(super) async fn fetch(driver: Arc<Driver>, job: FetchJob) {
    let patience = Patience::serving(driver.instant(job.deadline));
    let wanted = Wanted { driver: &driver, job: &job, patience };
    let pieces = wanted.pieces().await;
    let mut frames = Vec::with_capacity(job.frames.len());
    let mut sound = true;
    for frame in &job.frames {
        let result = match pieces.cut(frame.stored.clone()) {
            Err(error) => Err(error),
            Ok(stored) => match decode(&job.index, frame, &stored, &pieces) {
                Ok(plain) => Ok(plain),
                Err(error) => {
                    sound = false;
                    again(&wanted, frame, &error).await
                }
            },
        };
        frames.push((frame.number, result));
    }
    // What came damaged over the wire is not kept, nor what came with it.
    if sound && let Some(cache) = &driver.cache {
        for (first, bytes) in pieces.new_lines() {
            cache.keep(&driver.runtime, ObjectKey::of(job.index.object()), first, vec![bytes]);
        }
    }
    driver.event(Event::Fetched(job.number, frames));
}

fn decode(index: &SegmentIndex, frame: &Frame, stored: &Bytes, pieces: &Pieces) -> Result<Bytes, FormatError> {
    let plain = index.decode_frame(frame, stored)?;
    // A frame that was stored as it is shares the buffer of its GET; what is kept must not pin all of that.
    let pinned = pieces.buffer_len(frame.stored.start);
    Ok(if pinned > 2 * plain.len() { Bytes::copy_from_slice(&plain) } else { plain })
}

/// Asks the store itself once more for a frame that failed its check.
async fn again(wanted: &Wanted<'_>, frame: &Frame, error: &FormatError) -> Result<Bytes, Error> {
    tracing::warn!(%error, "a frame failed its check; asking again");
    let (driver, index) = (wanted.driver, &wanted.job.index);
    if let Some(cache) = &driver.cache {
        cache.forget(ObjectKey::of(index.object()), lines(frame.stored.start, frame.stored.end));
    }
    let bytes = wanted.get(frame.stored.clone()).await?;
    index.decode_frame(frame, &bytes).map_err(|error| Bad::Bytes(error).tell(&driver.store, index.object()))
}
