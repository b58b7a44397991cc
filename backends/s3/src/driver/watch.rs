//! Reading the manifest again, to see whether the disk still belongs to its writer.

use std::{sync::Arc, time::Duration};

use nbdgate_api::{Error, Kind};
use tokio::time::Instant;

use super::Driver;
use crate::{engine::Event, format::Writer, ownership::chain::Chain, store::Patience};

/// A look that takes longer is given up; the next one comes soon.
const LONGEST: Duration = Duration::from_secs(10);

pub(super) async fn watch(driver: Arc<Driver>, writer: Writer) {
    let patience = Patience::serving(Instant::now() + LONGEST);
    let event = match Chain::newest(&driver.store, driver.volume, patience).await {
        Ok(chain) => {
            let owner = &chain.manifest.owner;
            // Behind ours is nothing but an old list.
            let theirs = owner.writer != writer && owner.writer.epoch >= writer.epoch;
            if theirs { Event::Lost(taken_by(&owner.host)) } else { Event::Watched }
        }
        Err(error) => {
            tracing::warn!(error = error.chain(), "the manifest could not be read again");
            Event::Watched
        }
    };
    if let Event::Lost(error) = &event {
        tracing::error!(error = error.chain(), "the disk cannot be written any more");
    }
    driver.event(event);
}

fn taken_by(host: &str) -> Error {
    let text = format!(
        "another gateway took the disk over: {host} published a newer manifest. The store keeps no two writers apart: \
         what either of them wrote in the last second may be lost"
    );
    Error::new(Kind::Shutdown, text)
}
