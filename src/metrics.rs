//! Metrics: through the `metrics` facade, in the text format of Prometheus.
//!
//! Families are declared beside what they measure and listed in docs/METRICS.md, which a test keeps true. Handles are
//! registered once; nothing is looked up on the way of a request. Labels have bounded values: names from the
//! configuration, and closed enums. [`Metrics::install`] comes before the first handle.
//!
//! Absent: any buffer of samples and so any upkeep (see `cells`).

mod cells;
mod endpoint;
mod export;
mod family;
mod heartbeat;
#[cfg(any(feature = "object-log", feature = "rocksdb"))]
mod measures;
#[cfg(feature = "object-log")]
mod object;
mod process;
mod reading;
mod recorder;
#[cfg(feature = "rocksdb")]
mod rocksdb;
mod server;
mod service;
mod vitals;

use std::sync::Arc;

#[cfg(feature = "object-log")]
pub use self::object::ObjectMetrics;
pub use self::{
    endpoint::{Answering, Asked, BindError, Endpoint, Health, Site},
    export::{Chunk, Command, ExportMetrics},
    family::{Family, FamilyKind},
    heartbeat::{Heartbeat, Pulse},
    reading::{Buckets, Of, Reading},
    recorder::Recorder,
    server::{Handshake, ListenerMetrics, OpenConnection, Refused, ServerMetrics},
    service::{MetricsServer, StartError},
    vitals::Vitals,
};

/// All that is measured in this process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    recorder: Recorder,
    process: Arc<process::ProcessMetrics>,
    #[cfg(feature = "object-log")]
    shared: Arc<object::SharedMetrics>,
    #[cfg(feature = "rocksdb")]
    rocksdb: Arc<rocksdb::RocksDbMetrics>,
}

/// Metrics were installed before, by this or by another library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("metrics are installed already in this process")]
pub struct AlreadyInstalled;

impl Metrics {
    /// Makes this the recorder of the process.
    ///
    /// # Errors
    /// There is one already.
    pub fn install() -> Result<Self, AlreadyInstalled> {
        let recorder = Recorder::default();
        metrics::set_global_recorder(recorder.clone()).map_err(|_| AlreadyInstalled)?;
        Ok(Self::new(recorder))
    }

    /// Metrics of their own, that only handles made under [`metrics::with_local_recorder`] reach.
    pub fn detached() -> Self {
        Self::new(Recorder::default())
    }

    fn new(recorder: Recorder) -> Self {
        let process = metrics::with_local_recorder(&recorder, || {
            families().for_each(Family::describe);
            process::ProcessMetrics::new()
        });
        Self {
            recorder,
            process: Arc::new(process),
            #[cfg(feature = "object-log")]
            shared: Arc::default(),
            #[cfg(feature = "rocksdb")]
            rocksdb: Arc::default(),
        }
    }

    /// The recorder, for [`metrics::with_local_recorder`].
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Shows the read cache of the process from now on. It is read at each scrape, and not kept alive.
    #[cfg(feature = "object-log")]
    pub fn watch_cache(&self, cache: &Arc<nbdgate_s3::Cache>) {
        metrics::with_local_recorder(&self.recorder, || self.shared.watch_cache(cache));
    }

    /// Shows the memory that the disks of the process share from now on. It is read at each scrape, and not kept alive.
    #[cfg(feature = "object-log")]
    pub fn watch_memory(&self, memory: &Arc<nbdgate_s3::Memory>) {
        metrics::with_local_recorder(&self.recorder, || self.shared.watch_memory(memory));
    }

    /// Shows the memory that the disks in RocksDB share from now on. It is read at each scrape, and not kept alive.
    #[cfg(feature = "rocksdb")]
    pub fn watch_rocksdb(&self, shared: &Arc<nbdgate_rocksdb::Shared>) {
        metrics::with_local_recorder(&self.recorder, || self.rocksdb.watch_shared(shared));
    }

    /// Shows a disk in RocksDB under the name of its export, until it is closed. It is read at each scrape.
    #[cfg(feature = "rocksdb")]
    pub fn watch_rocksdb_disk(&self, export: &str, watch: nbdgate_rocksdb::Watch) {
        metrics::with_local_recorder(&self.recorder, || self.rocksdb.watch_disk(export, move || watch.levels()));
    }

    /// What stands in a status line, read just now.
    pub fn vitals(&self) -> Vitals {
        Vitals::read(&self.recorder.read())
    }

    /// Everything in the text format of Prometheus; the process and what its disks share are read just now.
    pub fn render(&self) -> String {
        self.update();
        self.recorder.render()
    }

    /// The same as values. Handles that are registered meanwhile wait.
    pub fn read(&self) -> Reading<'_> {
        self.update();
        self.recorder.read()
    }

    fn update(&self) {
        self.process.update();
        #[cfg(feature = "object-log")]
        self.shared.update();
        #[cfg(feature = "rocksdb")]
        self.rocksdb.update(&self.recorder);
    }
}

/// Every family that there is in this build.
pub fn families() -> impl Iterator<Item = &'static Family> {
    let own = [export::FAMILIES, server::FAMILIES, process::FAMILIES].into_iter().flatten();
    #[cfg(feature = "object-log")]
    let own = own.chain(object::families());
    #[cfg(feature = "rocksdb")]
    let own = own.chain(rocksdb::families());
    own
}

#[cfg(test)]
mod tests;
