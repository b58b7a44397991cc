//! Opening a disk: key, probe, newest manifest, claim, fence, recovery, OPEN.

mod journal;

use std::sync::Arc;

use nbdgate_api::{Error, Kind};
use tokio::time::Instant;

use crate::{
    Capability, Disk, Fencing, Location, OpenOptions,
    attach_profile::AttachProfile,
    directory,
    driver::{Driver, Ownership, Parts, Reading},
    engine::{Engine, Event, Limits, LogStart, Shape, Timer},
    format::{
        BLOCK_SIZE, Epoch, Manifest, Nonce, Seq, VolumeId, Writer,
        manifest::{ClosedLog, FlushMode},
    },
    gc::garbage::Garbage,
    journal::Medium,
    keys::unlock,
    observer::Phase,
    ownership::{
        chain::Chain,
        claim::{Claimant, supported},
        fence::OldLog,
        host::host_name,
        journal::{Given, Verdict},
    },
    probe::{ProbeReport, Probed, Probing},
    recovery::{self, Replay},
    snapshot,
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
    open_for(location, options, false).await
}

/// The same for work on the disk as a whole, which is closed behind it: if it was closed before, it needs no journal.
pub(crate) async fn open_at_rest(location: &Location, options: OpenOptions) -> Result<Disk, Error> {
    Box::pin(open_for(location, options, true)).await
}

async fn open_for(location: &Location, options: OpenOptions, at_rest: bool) -> Result<Disk, Error> {
    let store = Store::of(location, &options.tuning, Arc::clone(&options.observer))?;
    let patience = Patience::asking(options.tuning.open_deadline);
    let volume = directory::find_volume(&store, location, patience).await?;
    if options.snapshot.is_some() && !options.read_only {
        return Err(Error::new(Kind::Invalid, "a snapshot is opened read-only: clone it to write to what it shows"));
    }
    let opening = Opening { store, volume, patience, options, location, at_rest };
    if opening.options.read_only { opening.read_only().await } else { Box::pin(opening.read_write()).await }
}

/// How long reads are answered after a proof of ownership, in milliseconds; a fixed view needs none.
fn lease(manifest: &Manifest, read_only: bool) -> u64 {
    if read_only { 0 } else { u64::from(manifest.options.lease_seconds) * 1000 }
}

struct Opening<'a> {
    store: Arc<Store>,
    volume: VolumeId,
    patience: Patience,
    options: OpenOptions,
    location: &'a Location,
    /// Nobody is served.
    at_rest: bool,
}

/// What an open disk works with.
struct Works {
    engine: Engine,
    garbage: Garbage,
    writer: Writer,
    clock: Instant,
    medium: Option<Arc<dyn Medium>>,
}

impl Opening<'_> {
    async fn read_write(self) -> Result<Disk, Error> {
        self.store.phases().set(Phase::Claiming);
        let host = host_name(self.options.host.as_deref());
        // The manifest of an encrypted disk is read with its key; a journal is found by the manifest.
        let first = self.options.key.is_some() || self.options.journal.is_some();
        if first {
            self.unlock().await?;
        }
        let journal = self.find_journal().await?;
        let claimant = Claimant {
            store: &self.store,
            volume: self.volume,
            host: &host,
            on_unclean: self.options.on_unclean,
            steal: self.options.steal,
            journal: Given { journal: journal.as_ref(), abandon: self.options.abandon_journal, at_rest: self.at_rest },
            patience: self.patience,
        };
        // What does not build on one another is asked at once: a takeover is a chain of round trips.
        let unlocked = async { if first { Ok(()) } else { self.unlock().await } };
        let probing = self.probing();
        let Probed { report, leftovers, found } = Box::pin(probing.probe_and(unlocked, claimant.look())).await?;
        let capability = self.judge(&report)?;
        let (claim, ()) = tokio::join!(claimant.claim(found), leftovers.clean(&self.store, self.patience));
        let mut claim = claim?;
        self.store.phases().set(Phase::Recovering);
        let recovered = self.recover(&claim.chain.manifest, &claim.logs).await?;
        let first = claim.next.or(recovered.next).unwrap_or(FIRST_SLOT);
        claim.outlast_lease(&self.store).await;
        // Publishing is the first proof of ownership, so the lease counts from here.
        let clock = Instant::now();
        let (writer, mode) = (claim.writer, claim.chain.manifest.options.flush);
        let start = LogStart { seq: first, wseq: recovered.committed.position().wseq };
        let advisory = capability == Capability::Advisory;
        let shape = self.shape(&claim.chain.manifest, writer, advisory);
        let mut engine = Engine::new(shape, self.limits(), recovered.committed, start);
        // In another mode a journal is only read: what it holds goes to the bucket first.
        let journal = journal.filter(|_| mode == FlushMode::Journal || claim.verdict == Verdict::Replay);
        let medium = self.publish_open(&mut claim, journal, &mut engine, start).await?;
        if claim.verdict == Verdict::Abandoned {
            tracing::warn!(location = %self.location, "the journal of another gateway was abandoned: the bucket is the truth");
        }
        tracing::info!(location = %self.location, writer = %claim.writer, slot = first.0, "disk opened");
        let manifest = claim.chain.manifest.clone();
        let ownership = Ownership { chain: claim.chain, checkpoints: recovered.checkpoints };
        let works = Works { engine, garbage: recovered.garbage, writer, clock, medium };
        let disk = self.disk(&manifest, works, Some(ownership));
        disk.begin(mode == FlushMode::Journal).await?;
        disk.begin_upkeep();
        Ok(disk)
    }

    /// A fixed view of the newest state: the log is followed to its end as of now, and not fenced.
    async fn read_only(self) -> Result<Disk, Error> {
        self.unlock().await?;
        self.store.phases().set(Phase::Recovering);
        let manifest = Chain::newest(&self.store, self.volume, self.patience).await?.manifest;
        supported(&manifest)?;
        let manifest = match &self.options.snapshot {
            Some(name) => snapshot::as_of(&manifest, name)?,
            None => manifest,
        };
        let mut logs = manifest.sealed.clone();
        if let Some(log) = manifest.open {
            let old = OldLog { store: &self.store, volume: self.volume, log, patience: self.patience };
            let end = old.end(manifest.window).await?;
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
        let engine = Engine::new(shape, self.limits(), recovered.committed, start);
        let works = Works { engine, garbage: recovered.garbage, writer: nobody, clock: Instant::now(), medium: None };
        Ok(self.disk(&manifest, works, None))
    }

    /// Opens the keys of the disk. Comes before everything that writes: a wrong key, or one too many, changes nothing.
    async fn unlock(&self) -> Result<(), Error> {
        let volume = self.volume;
        let descriptor = directory::descriptor(&self.store, self.location, volume, self.patience).await?;
        let found = directory::Found { volume, descriptor };
        unlock(&self.store, &found, self.options.key.as_ref(), self.location, self.patience).await
    }

    fn probing(&self) -> Probing<'_> {
        let rounds = self.options.tuning.probe;
        Probing { store: &self.store, volume: self.volume, rounds, patience: self.patience }
    }

    /// What the store can do. Refuses one that does not keep two writers apart, unless it was asked for by name.
    fn judge(&self, report: &ProbeReport) -> Result<Capability, Error> {
        let capability = report.capability;
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
                     write one disk: use another bucket, or `fencing=advisory` (`--fencing advisory` of `disk` \
                     commands) if you make sure yourself that only one gateway opens the disk",
                    self.store.label()
                ),
            )),
        }
    }

    async fn recover(&self, manifest: &Manifest, logs: &[ClosedLog]) -> Result<recovery::Recovered, Error> {
        let replay = Replay { store: &self.store, volume: self.volume, patience: self.patience };
        replay.recover(manifest, logs).await
    }

    fn limits(&self) -> Limits {
        let limits = Limits::from(&self.options.tuning);
        if self.options.cache.is_some() { limits.with_cache() } else { limits }
    }

    fn shape(&self, manifest: &Manifest, writer: Writer, advisory: bool) -> Shape {
        Shape {
            blocks: manifest.blocks,
            read_only: self.options.read_only,
            writer,
            segment_target: u64::from(manifest.options.segment_size).max(BLOCK_SIZE as u64),
            advisory,
            lease: lease(manifest, self.options.read_only),
            flush: manifest.options.flush,
        }
    }

    fn disk(self, manifest: &Manifest, works: Works, ownership: Option<Ownership>) -> Disk {
        let OpenOptions { read_only, tuning, observer, cache, memory, .. } = self.options;
        let share = memory.map(|memory| Arc::new(memory.join()));
        let (close_deadline, leased) = (tuning.close_deadline, lease(manifest, read_only) > 0);
        let driver = Driver::new(Parts {
            writer: works.writer,
            garbage: works.garbage,
            gc: tuning.gc,
            engine: works.engine.equipped(AttachProfile::of(manifest), share.clone()),
            store: self.store,
            volume: self.volume,
            options: manifest.options,
            snapshots: manifest.snapshots.clone(),
            manifest: ownership.is_none().then(|| manifest.clone()),
            observer,
            ownership,
            medium: works.medium,
            clock: works.clock,
            reading: Reading { cache, rules: tuning.reads, share },
        });
        driver.scrub_every(tuning.scrub);
        if leased {
            // Nothing else happens on a disk that nobody uses.
            driver.event(Event::Tick(Timer::Lease));
        }
        Disk::new(manifest.blocks, read_only, driver, close_deadline)
    }
}
