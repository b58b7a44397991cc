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
mod object;
mod process;
mod recorder;
mod server;
mod service;

use std::sync::Arc;

#[cfg(feature = "object-log")]
pub use self::object::ObjectMetrics;
pub use self::{
    endpoint::{BindError, Endpoint, Health},
    export::{Chunk, Command, ExportMetrics},
    family::{Family, FamilyKind},
    recorder::Recorder,
    server::{Handshake, ListenerMetrics, OpenConnection, Refused, ServerMetrics},
    service::{MetricsServer, StartError},
};

/// All that is measured in this process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    recorder: Recorder,
    process: Arc<process::ProcessMetrics>,
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
        Self { recorder, process: Arc::new(process) }
    }

    /// The recorder, for [`metrics::with_local_recorder`].
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Everything in the text format of Prometheus, the process read just now.
    pub fn render(&self) -> String {
        self.process.update();
        self.recorder.render()
    }
}

/// Every family that there is.
pub fn families() -> impl Iterator<Item = &'static Family> {
    [export::FAMILIES, object::FAMILIES, server::FAMILIES, process::FAMILIES].into_iter().flatten()
}

#[cfg(test)]
mod tests;
