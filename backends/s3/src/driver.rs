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
mod prove;
mod put;
mod retire;
mod sweep;
mod rework;
mod snapshot;
mod turn;
mod watch;

use std::{
    fmt,
    sync::{Arc, atomic::AtomicU64},
};

use nbdgate_api::{Error, Kind};
use parking_lot::Mutex;
use tokio::{runtime::Handle, sync::Notify, task::JoinSet, time::Instant};

use crate::{
    GcRules,
    engine::{Effect, Engine, Event, Millis},
    format::{
        Manifest, VolumeId, Writer,
        manifest::{Options, SnapshotEntry},
    },
    gc::garbage::Garbage,
    observer::{Levels, Observer, Phase},
    ownership::chain::Chain,
    store::Store,
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
    pub(crate) clock: Instant,
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
    drained: Notify,
}

impl Driver {
    /// Must be called inside the runtime that will serve.
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let Parts { mut garbage, gc, .. } = parts;
        garbage.set_delay(u64::try_from(gc.delete_delay.as_millis()).unwrap_or(u64::MAX));
        parts.store.phases().set(Phase::Open);
        let known = parts.ownership.as_ref().map(|ownership| ownership.chain.known()).unwrap_or_default();
        Arc::new(Self {
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
            drained: Notify::new(),
        })
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
    }

    /// Ends all tasks; requests that are inside end with an error. For a disk that is dropped.
    pub(crate) fn abandon(self: &Arc<Self>) {
        let tasks = self.tasks.lock().take();
        drop(tasks);
        self.event(Event::Abandon);
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
            Effect::LoadIndex(segment, object, deadline) => {
                self.spawn(fetch::load_index(Arc::clone(self), segment, object, deadline));
            }
            Effect::LoadBase(bitmap) => self.spawn(changes::load_base(Arc::clone(self), bitmap)),
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

    /// Flips a bit of a block that waits in memory.
    #[cfg(test)]
    pub(crate) fn damage_pending(&self, lba: crate::format::Lba) {
        self.engine.lock().damage_pending(lba);
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
