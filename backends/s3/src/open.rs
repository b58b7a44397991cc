//! Opening a disk: probe, newest manifest, claim, fence, recovery, OPEN.

mod journal;

use std::sync::Arc;

use nbdgate_api::{Error, Kind};
use tokio::time::Instant;

use crate::{
    Capability, Disk, Fencing, Location, OpenOptions, directory,
    driver::{Driver, Ownership, Parts},
    engine::{Engine, Limits, LogStart, Shape},
    format::{
        BLOCK_SIZE, Epoch, Manifest, Nonce, Seq, VolumeId, Writer,
        manifest::{ClosedLog, FlushMode},
    },
    journal::Medium,
    ownership::{
        chain::Chain,
        claim::{Claimant, supported},
        fence::OldLog,
        host::host_name,
        journal::{Given, Verdict},
    },
    probe::probe,
    recovery::{self, Replay},
    store::{Patience, Store},
};

/// The first slot of the first log.
const FIRST_SLOT: Seq = Seq(1);

/// Opens a disk. Must be called inside the runtime that is to serve it, which it keeps a handle of.
///
/// # Errors
/// The disk does not exist, is held by someone else, was not closed cleanly, or is damaged; the store cannot
/// be reached or cannot keep two writers apart. The text names the object and says what to do.
pub async fn open(location: &Location, options: OpenOptions) -> Result<Disk, Error> {
    let store = Store::of(location, &options.tuning, Arc::clone(&options.observer))?;
    let patience = Patience::asking(options.tuning.open_deadline);
    let volume = directory::find(&store, location, patience).await?.volume;
    let opening = Opening { store, volume, patience, options, location };
    if opening.options.read_only { opening.read_only().await } else { opening.read_write().await }
}

struct Opening<'a> {
    store: Arc<Store>,
    volume: VolumeId,
    patience: Patience,
    options: OpenOptions,
    location: &'a Location,
}

impl Opening<'_> {
    async fn read_write(self) -> Result<Disk, Error> {
        let capability = self.check_store().await?;
        let tuning = &self.options.tuning;
        let host = host_name(self.options.host.as_deref());
        let journal = self.find_journal().await?;
        let claimant = Claimant {
            store: &self.store,
            volume: self.volume,
            host: &host,
            on_unclean: self.options.on_unclean,
            steal: self.options.steal,
            journal: Given { journal: journal.as_ref(), abandon: self.options.abandon_journal },
            patience: self.patience,
        };
        let mut claim = claimant.claim().await?;
        let recovered = self.recover(&claim.chain.manifest, &claim.logs).await?;
        let first = claim.next.or(recovered.next).unwrap_or(FIRST_SLOT);
        let (writer, mode) = (claim.writer, claim.chain.manifest.options.flush);
        let start = LogStart { seq: first, wseq: recovered.committed.position().wseq };
        let advisory = capability == Capability::Advisory;
        let shape = self.shape(&claim.chain.manifest, writer, advisory);
        let mut engine = Engine::new(shape, Limits::from(tuning), recovered.committed, start);
        // In another mode a journal is only read: what it holds goes to the bucket first.
        let journal = journal.filter(|_| mode == FlushMode::Journal || claim.verdict == Verdict::Replay);
        let medium = self.publish_open(&mut claim, journal, &mut engine, start).await?;
        if claim.verdict == Verdict::Abandoned {
            tracing::warn!(location = %self.location, "the journal of another gateway was abandoned: the bucket is the truth");
        }
        tracing::info!(location = %self.location, writer = %claim.writer, slot = first.0, "disk opened");
        let manifest = claim.chain.manifest.clone();
        let ownership = Ownership { chain: claim.chain, checkpoints: recovered.checkpoints };
        let disk = self.disk(&manifest, engine, Some(ownership), medium);
        disk.begin(mode == FlushMode::Journal).await?;
        Ok(disk)
    }

    /// A fixed view of the newest state: the log is followed to its end as of now, and not fenced.
    async fn read_only(self) -> Result<Disk, Error> {
        let manifest = Chain::newest(&self.store, self.volume, self.patience).await?.manifest;
        supported(&manifest)?;
        let mut logs = manifest.sealed.clone();
        if let Some(log) = manifest.open {
            let end = OldLog { store: &self.store, volume: self.volume, log, patience: self.patience }.end().await?;
            if end > log.first {
                logs.push(ClosedLog { writer: log.writer, first: log.first, last: Seq(end.0 - 1) });
            }
        }
        let recovered = self.recover(&manifest, &logs).await?;
        let start = LogStart { seq: FIRST_SLOT, wseq: recovered.committed.position().wseq };
        let nobody = Writer { epoch: Epoch(0), nonce: Nonce(0) };
        let shape = self.shape(&manifest, nobody, false);
        if manifest.owner.journal_dirty {
            tracing::warn!(location = %self.location, "a journal may hold writes that this view does not show");
        }
        let engine = Engine::new(shape, Limits::from(&self.options.tuning), recovered.committed, start);
        Ok(self.disk(&manifest, engine, None, None))
    }

    /// What the store can do. Refuses one that does not keep two writers apart, unless it was asked for by name.
    async fn check_store(&self) -> Result<Capability, Error> {
        let directory = format!("v/{}/probe", self.volume);
        let capability = probe(&self.store, &directory, self.options.tuning.probe, self.patience).await?;
        match (capability, self.options.fencing) {
            (Capability::Safe, _) => Ok(capability),
            (Capability::Advisory, Fencing::Advisory) => {
                tracing::warn!(location = %self.location, "the store ignores put-if-absent: two gateways on this disk are not kept apart");
                Ok(capability)
            }
            (Capability::Advisory, Fencing::Require) => Err(Error::new(
                Kind::NotSupported,
                format!(
                    "{} ignores put-if-absent (a bucket with versioning, or a store without it), so two gateways could \
                     write one disk: use another bucket, or `fencing=advisory` if you make sure yourself that only \
                     one gateway opens the disk",
                    self.store.label()
                ),
            )),
        }
    }

    async fn recover(&self, manifest: &Manifest, logs: &[ClosedLog]) -> Result<recovery::Recovered, Error> {
        let replay = Replay { store: &self.store, volume: self.volume, patience: self.patience };
        replay.recover(manifest, logs).await
    }

    fn shape(&self, manifest: &Manifest, writer: Writer, advisory: bool) -> Shape {
        Shape {
            blocks: manifest.blocks,
            read_only: self.options.read_only,
            writer,
            segment_target: u64::from(manifest.options.segment_size).max(BLOCK_SIZE as u64),
            advisory,
            flush: manifest.options.flush,
        }
    }

    fn disk(
        self,
        manifest: &Manifest,
        engine: Engine,
        ownership: Option<Ownership>,
        medium: Option<Arc<dyn Medium>>,
    ) -> Disk {
        let OpenOptions { read_only, tuning, observer, .. } = self.options;
        let close_deadline = tuning.close_deadline;
        let driver = Driver::new(Parts {
            engine,
            store: self.store,
            volume: self.volume,
            options: manifest.options,
            observer,
            ownership,
            medium,
            clock: Instant::now(),
        });
        Disk::new(manifest.blocks, read_only, driver, close_deadline)
    }
}
