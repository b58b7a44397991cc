//! Looking at the manifest chain, to prove that the disk still belongs to its writer (OBJECT-LOG §6.6).

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::Driver;
use crate::{
    engine::Event,
    format::{ManifestNo, Writer},
    ownership::proof::{Proof, Prover},
};

/// A look that takes longer proves too little to wait for; the next one comes soon.
const LONGEST: Duration = Duration::from_secs(5);

pub(super) async fn prove(driver: Arc<Driver>, writer: Writer) {
    // What the look proves held at some time after this.
    let start = driver.now();
    let known = ManifestNo(driver.known.load(Ordering::Acquire));
    let prover = Prover { store: &driver.store, volume: driver.volume, writer, limit: LONGEST };
    let event = match prover.prove(known).await {
        Proof::Holds => Event::Proved(start),
        Proof::Unclear => Event::Unproved,
        Proof::Lost(error) => {
            tracing::error!(error = error.chain(), "the disk is served by another gateway");
            Event::Lost(error)
        }
    };
    driver.event(event);
}
