//! Reading indexes and frames of segments: verified here, asked for once more if they are bad, never believed.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use nbdgate_api::Error;

use super::Driver;
use crate::{
    engine::{Event, FetchJob, Millis},
    format::{FormatError, Frame, Object, SegId, SegmentIndex},
    head::{Bad, Heads},
    observer::Cause,
    store::Patience,
};

pub(super) async fn load_index(driver: Arc<Driver>, segment: SegId, object: Object, deadline: Millis) {
    let patience = Patience::serving(driver.instant(deadline));
    let heads = Heads { store: &driver.store, cause: Cause::Index, patience };
    let sealing = driver.store.sealing();
    let result = heads.read(object, |head| SegmentIndex::parse(object, head, &sealing)).await.map(Arc::new);
    driver.event(Event::Index(segment, result));
}

pub(super) async fn fetch(driver: Arc<Driver>, job: FetchJob) {
    let patience = Patience::serving(driver.instant(job.deadline));
    let whole = get(&driver, &job.index, job.range.clone(), patience).await;
    let mut frames = Vec::with_capacity(job.frames.len());
    for frame in &job.frames {
        let result = match &whole {
            Err(error) => Err(error.duplicate()),
            Ok(bytes) => match cut(&job.index, frame, bytes, job.range.start) {
                Ok(plain) => Ok(plain),
                Err(error) => again(&driver, &job.index, frame, &error, patience).await,
            },
        };
        frames.push((frame.number, result));
    }
    driver.event(Event::Fetched(job.number, frames));
}

/// The frame out of the bytes that begin at `start` of the object.
fn cut(index: &SegmentIndex, frame: &Frame, bytes: &Bytes, start: u64) -> Result<Bytes, FormatError> {
    let at = |offset: u64| usize::try_from(offset - start).unwrap_or(usize::MAX).min(bytes.len());
    let stored = bytes.slice(at(frame.stored.start)..at(frame.stored.end));
    let plain = index.decode_frame(frame, &stored)?;
    // A frame that was stored as it is shares the buffer of its GET; what is kept must not pin all of that.
    Ok(if bytes.len() > 2 * plain.len() { Bytes::copy_from_slice(&plain) } else { plain })
}

async fn again(
    driver: &Driver,
    index: &SegmentIndex,
    frame: &Frame,
    error: &FormatError,
    patience: Patience,
) -> Result<Bytes, Error> {
    tracing::warn!(%error, "a frame failed its check; asking again");
    let bytes = get(driver, index, frame.stored.clone(), patience).await?;
    cut(index, frame, &bytes, frame.stored.start).map_err(|error| Bad::Bytes(error).tell(&driver.store, index.object()))
}

async fn get(driver: &Driver, index: &SegmentIndex, range: Range<u64>, patience: Patience) -> Result<Bytes, Error> {
    let key = index.object().key();
    driver
        .store
        .get(Cause::Data, &key, Some(range), patience)
        .await
        .map_err(|error| Bad::Store(error).tell(&driver.store, index.object()))
}
