//! The few values that tell in one line how a gateway does.

use std::collections::HashSet;

use super::Reading;

/// What stands in a status line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vitals {
    /// Open connections, on all listeners.
    pub clients: u64,
    /// The export whose bucket is furthest behind, and by how many whole seconds.
    pub lag: Option<(String, u64)>,
    /// Exports that accept no write any more, for a flush failed.
    pub latched: Vec<String>,
}

/// How far a bucket is behind: of disks without and with a journal.
#[cfg(feature = "object-log")]
const LAGS: [&str; 2] = ["nbdgate_object_commit_lag_seconds", "nbdgate_journal_lag_seconds"];
#[cfg(not(feature = "object-log"))]
const LAGS: [&str; 0] = [];

/// Phases of a disk that nobody serves any more: its numbers stand still, as those of a snapshot whose last client left.
const OVER: [&str; 3] = ["closed", "fenced", "failed"];

impl Vitals {
    /// Reads them, of what is served.
    pub(super) fn read(reading: &Reading<'_>) -> Self {
        let over = over(reading);
        let at_exports = |family| {
            let levels = reading.levels(family).filter_map(|(of, level)| Some((of.get("export")?, level)));
            levels.filter(|(export, _)| !over.contains(export))
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds, small and positive")]
        let lags = LAGS.into_iter().flat_map(at_exports).map(|(export, seconds)| (export, seconds as u64));
        let lag = lags.filter(|(_, seconds)| *seconds > 0).max_by_key(|(_, seconds)| *seconds);
        let latched = at_exports("nbdgate_export_flush_latched").filter(|(_, level)| *level > 0.0);
        Self {
            clients: reading.total("nbdgate_server_connections"),
            lag: lag.map(|(export, seconds)| (export.to_owned(), seconds)),
            latched: latched.map(|(export, _)| export.to_owned()).collect(),
        }
    }
}

/// The exports that are not served any more.
fn over<'a>(reading: &'a Reading<'_>) -> HashSet<&'a str> {
    let phases = cfg!(feature = "object-log").then(|| reading.raised("nbdgate_object_phase")).into_iter().flatten();
    let over = phases.filter(|of| of.get("phase").is_some_and(|phase| OVER.contains(&phase)));
    over.filter_map(|of| of.get("export")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn they_are_those_of_the_metrics() {
        let metrics = Metrics::detached();
        assert_eq!(metrics.vitals(), Vitals::default());
        metrics::with_local_recorder(&metrics.recorder, || {
            metrics::gauge!("nbdgate_server_connections", "listener" => "unix:/x").set(2.0);
            metrics::gauge!("nbdgate_server_connections", "listener" => "tcp:[::1]:1").set(3.0);
            metrics::gauge!("nbdgate_export_flush_latched", "export" => "vm1").set(0.0);
            metrics::gauge!("nbdgate_export_flush_latched", "export" => "vm3").set(1.0);
            for (family, (export, seconds)) in LAGS.into_iter().zip([("vm1", 1.5), ("vm2", 7.9)]) {
                metrics::gauge!(family, "export" => export).set(seconds);
            }
        });
        let lag = cfg!(feature = "object-log").then(|| ("vm2".to_owned(), 7));
        assert_eq!(metrics.vitals(), Vitals { clients: 5, lag, latched: vec!["vm3".to_owned()] });
    }

    #[test]
    #[cfg(feature = "object-log")]
    fn disks_that_are_not_served_any_more_are_left_out() {
        let metrics = Metrics::detached();
        metrics::with_local_recorder(&metrics.recorder, || {
            let phases =
                [("vm1", "open"), ("vm1@monday", "closed"), ("vm2", "fenced"), ("vm3", "failed"), ("vm4", "stalled")];
            for (export, phase) in phases {
                metrics::gauge!("nbdgate_object_phase", "export" => export, "phase" => phase).set(1.0);
                metrics::gauge!("nbdgate_object_phase", "export" => export, "phase" => "draining").set(0.0);
            }
            for (export, seconds) in [("vm1", 2.0), ("vm1@monday", 500.0), ("vm2", 90.0), ("vm4", 7.0)] {
                metrics::gauge!(LAGS[0], "export" => export).set(seconds);
            }
            for export in ["vm1@monday", "vm2", "vm3", "vm4"] {
                metrics::gauge!("nbdgate_export_flush_latched", "export" => export).set(1.0);
            }
        });
        let vitals = metrics.vitals();
        assert_eq!((vitals.lag, vitals.latched), (Some(("vm4".to_owned(), 7)), vec!["vm4".to_owned()]));
    }
}
