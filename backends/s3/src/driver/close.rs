//! Closing a disk: drain, checkpoint, CLOSED.

use std::{sync::Arc, time::Duration};

use nbdgate_api::{Error, Kind};

use super::{Driver, Ownership, checkpoint};
use crate::{
    engine::Event,
    format::{Manifest, manifest::State},
    observer::Phase,
    ownership::chain::NotPublished,
    store::Patience,
};

impl Driver {
    /// Finishes what is inside, publishes CLOSED, and ends all tasks. After `deadline` it gives up; what was
    /// flushed is in the store all the same.
    pub(crate) async fn close(self: Arc<Self>, deadline: Duration) -> Result<(), Error> {
        self.store.phases().set(Phase::Draining);
        self.event(Event::Drain);
        let closed = tokio::time::timeout(deadline, self.finish()).await;
        // Waits for them: a task that ends later would hold on to what the disk gives back.
        let tasks = self.tasks.lock().take();
        if let Some(mut tasks) = tasks {
            tasks.shutdown().await;
        }
        self.abandon();
        self.store.phases().set(Phase::Closed);
        closed.unwrap_or_else(|_| {
            let kept = if self.medium.is_some() {
                "what was answered is in the journal or in the store, and the next open finds it"
            } else {
                "what was flushed is in the store, later writes may be missing"
            };
            let text = format!("the disk was not closed within {} s: {kept}", deadline.as_secs());
            Err(Error::new(Kind::Io, text))
        })
    }

    async fn finish(&self) -> Result<(), Error> {
        self.drained.notified().await;
        if let Some(error) = self.failure() {
            return Err(error);
        }
        let mut ownership = self.ownership.lock().await;
        let Some(ownership) = ownership.as_mut() else { return Ok(()) };
        if let Err(error) = self.spend_journal().await {
            // CLOSED of the same epoch says the same.
            tracing::error!(error = error.chain(), "the journal could not be marked as spent");
        }
        let published = self.publish_closed(ownership).await;
        published.map_err(|error| error.into_error("closing the disk"))
    }

    /// What this attach was read of first goes along with a manifest that is written anyhow.
    pub(super) fn put_attach_profile(&self, manifest: &mut Manifest) {
        let now = self.now();
        if let Some(profile) = self.engine.lock().attach_profile(now) {
            profile.put(manifest);
        }
    }

    async fn publish_closed(&self, ownership: &mut Ownership) -> Result<(), NotPublished> {
        if self.engine.lock().committed().segments_since() > 0 {
            return checkpoint::write(self, ownership, State::Closed, |_| {}).await;
        }
        let manifest = ownership.chain.manifest.clone();
        let owner = manifest.owner.without_journal();
        let mut next = Manifest { state: State::Closed, sealed: Vec::new(), open: None, owner, ..manifest };
        self.put_attach_profile(&mut next);
        ownership.chain.publish(next, Patience::endless()).await
    }
}
