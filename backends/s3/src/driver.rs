//! Executes what the engine wants: replies at once, builds on the blocking pool, requests as tasks of the
//! service runtime.
//!
//! The engine's lock is held for a step and never across I/O or a reply. Tasks hold the driver, the driver holds
//! its tasks; [`Driver::abandon`] ends them.

mod build;
mod changes;
mod checkpoint;
mod close;
mod collect;
mod collect_all;
mod delete;
mod fetch;
mod journal;
mod lines;
mod look;
mod prove;
mod put;
mod retire;
mod rework;
mod scrub;
mod share;
mod snapshot;
mod sweep;
mod turn;
mod watch;

use std::{
    fmt,
    sync::{Arc, atomic::AtomicU64},
};

use nbdgate_api::{Error, Io, Kind, Op};
use parking_lot::Mutex;
use tokio::{runtime::Handle, sync::Notify, task::JoinSet, time::Instant};

use crate::{
    Cache, GcRules, ReadRules,
    engine::{Effect, Engine, Event, Millis},
    format::{
        Manifest, VolumeId, Writer,
        manifest::{Options, SnapshotEntry},
    },
    gc::garbage::Garbage,
    journal::{Medium, RecordSealing},
    memory::Share,
    observer::{JournalLevels, Levels, Observer, Phase},
    ownership::chain::Chain,
    store::{Store, hedge::Hedges},
    usage::{self, Usage},
};

use self::delete::Bin;
pub(crate) use self::{checkpoint::Checkpoints, delete::snapshots_of};

/// What a driver is made of.
pub(crate) struct Parts {
    pub(crate) engine: Engine,
    pub(crate) store: Arc<Store>,
    pub(crate) volume: VolumeId,
    pub(crate) writer: Writer,
    pub(crate) options: Options,
    /// What was found dead, and the rules for it.
    pub(crate) garbage: Garbage,
    pub(crate) gc: GcRules,
    /// The snapshots that the disk can be compared with.
    pub(crate) snapshots: Vec<SnapshotEntry>,
    pub(crate) observer: Arc<dyn Observer>,
    /// What a read-only disk was opened with, to find its snapshots in.
    pub(crate) manifest: Option<Manifest>,
    /// The right to publish; a read-only disk has none.
    pub(crate) ownership: Option<Ownership>,
    /// What the engine's journal is written to.
    pub(crate) medium: Option<Arc<dyn Medium>>,
    pub(crate) clock: Instant,
    pub(crate) reading: Reading,
}

/// What reads go through.
pub(crate) struct Reading {
    pub(crate) cache: Option<Arc<Cache>>,
    pub(crate) rules: ReadRules,
    pub(crate) share: Option<Arc<Share>>,
}

/// What is needed to publish manifests.
pub(crate) struct Ownership {
    pub(crate) chain: Chain,
    pub(crate) checkpoints: Checkpoints,
}

/// See the [module](self).
pub(crate) struct Driver {
    engine: Mutex<Engine>,
    store: Arc<Store>,
    volume: VolumeId,
    writer: Writer,
    options: Options,
    gc: GcRules,
    bin: Mutex<Bin>,
    /// The number of the next segment of moved data.
    next_moved: AtomicU64,
    observer: Arc<dyn Observer>,
    /// The number of the newest manifest of this writer.
    known: Arc<AtomicU64>,
    ownership: tokio::sync::Mutex<Option<Ownership>>,
    runtime: Handle,
    clock: Instant,
    /// `None` once the disk was abandoned: nothing is begun any more.
    tasks: Mutex<Option<JoinSet<()>>>,
    told: Mutex<Levels>,
    snapshots: Mutex<Vec<SnapshotEntry>>,
    manifest: Option<Manifest>,
    medium: Option<Arc<dyn Medium>>,
    seals: RecordSealing,
    journal_told: Mutex<JournalLevels>,
    drained: Notify,
    cache: Option<Arc<Cache>>,
    rules: ReadRules,
    hedges: Hedges,
    share: Option<Arc<Share>>,
}

impl Driver {
    /// Must be called inside the runtime that will serve.
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let Parts { mut garbage, gc, .. } = parts;
        garbage.set_delay(u64::try_from(gc.delete_delay.as_millis()).unwrap_or(u64::MAX));
        parts.store.phases().set(Phase::Open);
        let known = parts.ownership.as_ref().map(|ownership| ownership.chain.known()).unwrap_or_default();
        let Reading { cache, rules, share } = parts.reading;
        let seals = RecordSealing::new(parts.store.sealing());
        let driver = Arc::new(Self {
            engine: Mutex::new(parts.engine),
            store: parts.store,
            volume: parts.volume,
            writer: parts.writer,
            options: parts.options,
            gc,
            bin: Mutex::new(Bin::new(garbage)),
            next_moved: AtomicU64::new(1),
            observer: parts.observer,
            known,
            ownership: tokio::sync::Mutex::new(parts.ownership),
            runtime: Handle::current(),
            clock: parts.clock,
            tasks: Mutex::new(Some(JoinSet::new())),
            told: Mutex::default(),
            snapshots: Mutex::new(parts.snapshots),
            manifest: parts.manifest,
            medium: parts.medium,
            seals,
            journal_told: Mutex::default(),
            drained: Notify::new(),
            cache,
            rules,
            hedges: Hedges::new(&rules),
            share,
        });
        share::attend(&driver);
        driver
    }

    /// Verifies all data once per `period`, for as long as the disk is open; never, if that is zero.
    pub(crate) fn scrub_every(self: &Arc<Self>, period: std::time::Duration) {
        if !period.is_zero() {
            self.spawn(scrub::run(Arc::clone(self), period));
        }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Gives the engine an event and executes what follows.
    pub(crate) fn event(self: &Arc<Self>, event: Event) {
        if let Event::Lost(error) = &event {
            let taken = error.kind() == Kind::Shutdown;
            self.store.phases().set(if taken { Phase::Fenced } else { Phase::Failed });
        }
        let mut effects = Vec::new();
        let now = self.now();
        self.engine.lock().step(now, event, &mut effects);
        turn::execute(self, effects);
        if let Some(share) = &self.share {
            share.tell();
        }
    }

    /// Takes a request. A read of what is in memory is answered without an event.
    pub(crate) fn request(self: &Arc<Self>, io: Io) {
        if let Op::Read(range) = io.op {
            let mut effects = Vec::new();
            let found = self.engine.lock().read_at_hand(self.now(), range, &mut effects);
            if let Some(bytes) = found {
                let answer = Effect::Data(io.reply, range.offset(), bytes);
                turn::execute(self, std::iter::once(answer).chain(effects));
                return;
            }
        }
        self.event(Event::Request(io));
    }

    /// Ends all tasks; requests that are inside end with an error. For a disk that is dropped.
    pub(crate) fn abandon(self: &Arc<Self>) {
        let tasks = self.tasks.lock().take();
        drop(tasks);
        self.event(Event::Abandon);
        if let Some(medium) = &self.medium {
            medium.close();
        }
    }

    fn execute(self: &Arc<Self>, effect: Effect) {
        match effect {
            Effect::End(reply, outcome) => reply.end(outcome),
            Effect::Extents(reply, extents) => {
                reply.extents(extents);
                reply.end(Ok(()));
            }
            Effect::Deliver(token, parts) => parts.into_iter().for_each(|part| token.deliver(part)),
            Effect::Levels(levels) => self.tell(levels),
            Effect::Lease(levels) => self.observer.lease(&levels),
            Effect::Prove(writer) => self.spawn(prove::prove(Arc::clone(self), writer)),
            Effect::Journal(order) => journal::execute(self, order),
            Effect::JournalLevels(levels) => self.tell_journal(levels),
            Effect::Drained => self.drained.notify_one(),
            Effect::Timer(timer, millis) => {
                let driver = Arc::clone(self);
                self.spawn(async move {
                    tokio::time::sleep(std::time::Duration::from_millis(millis)).await;
                    driver.event(Event::Tick(timer));
                });
            }
            Effect::Build(job) => self.spawn(build::build(Arc::clone(self), job)),
            Effect::Put(seq, object, built) => self.spawn(put::put(Arc::clone(self), seq, object, built)),
            Effect::Data(reply, offset, bytes) => {
                reply.data(offset, bytes);
                reply.end(Ok(()));
            }
            Effect::LoadBase(bitmap) => self.spawn(changes::load_base(Arc::clone(self), bitmap)),
            Effect::Reads(levels) => self.observer.reads(&levels),
            Effect::LoadIndex(job) => self.spawn(fetch::load_index(Arc::clone(self), job)),
            Effect::Fetch(job) => self.spawn(fetch::fetch(Arc::clone(self), job)),
            Effect::Watch(writer) => self.spawn(watch::watch(Arc::clone(self), writer)),
            Effect::Collect(ask) => self.spawn(collect::run(Arc::clone(self), ask)),
            Effect::Checkpoint => self.spawn(checkpoint::run(Arc::clone(self))),
        }
    }

    fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        let mut panicked = false;
        if let Some(tasks) = self.tasks.lock().as_mut() {
            while let Some(ended) = tasks.try_join_next() {
                panicked |= ended.is_err_and(|error| error.is_panic());
            }
            tasks.spawn_on(task, &self.runtime);
        }
        if panicked {
            // What it was to finish never ends: better no disk than a FLUSH that waits for ever.
            tracing::error!("a task of the object log panicked; the disk is stopped");
            self.event(Event::Lost(Error::new(Kind::Io, "the disk was stopped after an internal failure")));
        }
    }

    /// Milliseconds since the disk was opened.
    fn now(&self) -> Millis {
        u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn instant(&self, at: Millis) -> Instant {
        self.clock + std::time::Duration::from_millis(at)
    }

    fn tell(&self, levels: Levels) {
        let mut told = self.told.lock();
        if *told != levels {
            *told = levels;
            self.observer.levels(&levels);
        }
    }

    fn tell_journal(&self, levels: JournalLevels) {
        let mut told = self.journal_told.lock();
        if *told != levels {
            *told = levels;
            self.observer.journal(&levels);
        }
    }

    /// Flips a bit of a block that waits in memory.
    #[cfg(test)]
    pub(crate) fn damage_pending(&self, lba: crate::format::Lba) {
        self.engine.lock().damage_pending(lba);
    }

    pub(crate) fn usage(&self, cells: u32) -> Usage {
        let mut engine = self.engine.lock();
        let committed = engine.committed();
        let (log_segments, log_bytes) = committed.behind_checkpoint();
        let usage = usage::of_committed(committed, cells);
        drop(engine);
        Usage { log_segments, log_bytes, in_flight: self.told.lock().dirty_bytes, ..usage }
    }

    fn failure(&self) -> Option<Error> {
        self.engine.lock().failure()
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("volume", &self.volume).finish_non_exhaustive()
    }
}
