//! Probing the stores of one disk, while its manifest is read.

use nbdgate_api::Error;

use super::{Leftovers, Probe, ProbeReport};
use crate::{
    format::VolumeId,
    ownership::claim::Found,
    store::{Patience, Store},
};

/// A clock that is off by more is worth a word: S3 refuses requests at 15 minutes.
const CLOCK_WARNING_MS: u64 = 5 * 60 * 1000;

/// The stores of a disk, to be probed.
#[derive(Debug)]
pub(crate) struct Probing<'a> {
    pub(crate) store: &'a Store,
    pub(crate) volume: VolumeId,
    /// Rounds of racing creates, and racers in each.
    pub(crate) rounds: (u32, u32),
    pub(crate) patience: Patience,
}

/// What was learned at once.
#[derive(Debug)]
pub(crate) struct Probed {
    pub(crate) report: ProbeReport,
    pub(crate) leftovers: Leftovers,
    pub(crate) found: Found,
}

impl Probing<'_> {
    /// Probes after `unlocked` while `look` reads the manifest. That tells whether the log is in a store of its own, which is then
    /// probed too. The observer and the log hear the result.
    pub(crate) async fn probe_and(
        &self,
        unlocked: impl Future<Output = Result<(), Error>>,
        look: impl Future<Output = Result<Found, Error>>,
    ) -> Result<Probed, Error> {
        let data = async {
            unlocked.await?;
            self.at("probe").run().await
        };
        let log = async {
            let found = look.await?;
            Ok::<_, Error>((found, self.log().await?))
        };
        let (data, log) = tokio::join!(data, log);
        let (mut report, mut leftovers) = data?;
        let (found, log) = log?;
        if let Some((other, rest)) = log {
            report = report.and(other);
            leftovers = leftovers.and(rest);
        }
        self.tell(&report);
        Ok(Probed { report, leftovers, found })
    }

    /// Probes the stores of a disk that nobody opens.
    pub(crate) async fn probe(&self) -> Result<ProbeReport, Error> {
        let (mut report, leftovers) = self.at("probe").run().await?;
        leftovers.clean(self.store, self.patience).await;
        if let Some((other, leftovers)) = self.log().await? {
            report = report.and(other);
            leftovers.clean(self.store, self.patience).await;
        }
        self.tell(&report);
        Ok(report)
    }

    async fn log(&self) -> Result<Option<(ProbeReport, Leftovers)>, Error> {
        if !self.store.has_log_store(self.volume) {
            return Ok(None);
        }
        Ok(Some(self.at("l/probe").run().await?))
    }

    fn at(&self, directory: &str) -> Probe<'_> {
        let prefix = format!("v/{}/{directory}", self.volume);
        Probe { store: self.store, prefix, rounds: self.rounds, patience: self.patience }
    }

    fn tell(&self, report: &ProbeReport) {
        let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(
            store = self.store.label(),
            capability = ?report.capability,
            put_ms = millis(report.put),
            get_ms = millis(report.get),
            round_trip_ms = millis(report.round_trip),
            clock_offset_ms = report.clock_offset_ms,
            "store probed"
        );
        if let Some(offset) = report.clock_offset_ms.filter(|offset| offset.unsigned_abs() > CLOCK_WARNING_MS) {
            tracing::warn!(clock_offset_ms = offset, "the clocks of this host and of the store differ");
        }
        self.store.observer().probed(report);
    }
}
