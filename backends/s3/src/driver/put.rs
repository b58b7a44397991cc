//! Putting segments into their slots.

use std::sync::Arc;

use nbdgate_api::{Error, Kind as ErrorKind};

use super::Driver;
use crate::{
    cache::ObjectKey,
    engine::{Built, Event},
    format::{Fence, Object, Seq},
    observer::Cause,
    store::{Patience, Placed},
};

/// Puts a segment until it is there, however long that takes: acknowledged bytes depend on it.
pub(super) async fn put(driver: Arc<Driver>, seq: Seq, object: Object, built: Arc<Built>) {
    let key = object.key();
    let payload = built.segment.payload.iter().cloned().collect();
    let name = driver.store.name_of(&key);
    let event = match driver.store.place(Cause::Segment, &key, &payload, Patience::endless()).await {
        Ok(Placed::Mine) => {
            // Read after write is local. Its bytes are at hand, and are copied by nobody who waits.
            if let Some(cache) = &driver.cache {
                cache.keep(&driver.runtime, ObjectKey::of(object), 0, built.segment.payload.clone());
            }
            Event::Stored(seq)
        }
        Ok(Placed::Other(found)) => Event::Lost(match Fence::parse_object(object.name, object.volume, &found) {
            Ok(fence) => {
                let text = format!("another gateway took the disk over: {} fenced {name}", fence.host);
                Error::new(ErrorKind::Shutdown, text)
            }
            Err(error) => {
                let text = format!("{name} holds what this gateway did not write; nothing more is written");
                Error::new(ErrorKind::Io, text).with_source(error)
            }
        }),
        Err(error) => Event::Lost(error.tell(&format!("storing {name}"))),
    };
    if let Event::Lost(error) = &event {
        tracing::error!(error = error.chain(), "the disk cannot be written any more");
    }
    driver.event(event);
}
