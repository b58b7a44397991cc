//! Where a disk stands: its phase, whether it may answer reads, and what the probe found of its store.

use std::sync::OnceLock;

use metrics::Gauge;
use nbdgate_s3::{Capability, LeaseLevels, Phase, ProbeReport};
use parking_lot::Mutex;

use super::EXPORT;
use crate::metrics::{
    family::Family,
    measures::{Group, Measure},
};

const PHASE: Family = Family::gauge(
    "nbdgate_object_phase",
    &["export", "phase"],
    "boolean",
    "1 for the phase that the disk is in, 0 for the others.",
);
const LEASE_HELD: Family = Family::gauge(
    "nbdgate_object_lease_held",
    EXPORT,
    "boolean",
    "1 while the disk is served and reads are answered, 0 while they wait for a proof of ownership.",
);
const LEASE_WAITING: Family = Family::gauge(
    "nbdgate_object_lease_waiting_reads",
    EXPORT,
    "requests",
    "Reads that wait for a proof of ownership.",
);
const CLOCK_OFFSET: Family = Family::gauge(
    "nbdgate_object_clock_offset_seconds",
    EXPORT,
    "seconds",
    "How far the clock of this host is ahead of the store's, as the probe found; absent if the store told no time.",
);

pub(super) const FAMILIES: &[Family] = &[PHASE, LEASE_HELD, LEASE_WAITING, CLOCK_OFFSET];

/// The probe of the store of a disk.
pub(super) const PROBE: &[Measure<ProbeReport>] = &[
    Measure::gauge(
        "nbdgate_object_probe_safe",
        EXPORT,
        "boolean",
        "1 if the probe found that the store keeps two writers apart, 0 if only the operator does.",
        |report| f64::from(u8::from(report.capability == Capability::Safe)),
    ),
    Measure::gauge(
        "nbdgate_object_probe_round_trip_seconds",
        EXPORT,
        "seconds",
        "The shortest request of the probe.",
        |report| report.round_trip.as_secs_f64(),
    ),
    Measure::gauge(
        "nbdgate_object_probe_put_seconds",
        EXPORT,
        "seconds",
        "A small create of the probe, among others at the same time.",
        |report| report.put.as_secs_f64(),
    ),
    Measure::gauge(
        "nbdgate_object_probe_get_seconds",
        EXPORT,
        "seconds",
        "A small read of the probe, among others at the same time.",
        |report| report.get.as_secs_f64(),
    ),
];

/// The phase of a disk and its lease.
#[derive(Debug)]
pub(super) struct Standing {
    phases: [Gauge; Phase::ALL.len()],
    held: Gauge,
    waiting: Gauge,
    serving: Mutex<Serving>,
}

/// A lease is told when it moves, and is held until then; reads are answered while it is held and the disk is served.
#[derive(Debug)]
struct Serving {
    open: bool,
    held: bool,
}

impl Standing {
    pub(super) fn new(export: &str) -> Self {
        let standing = Self {
            phases: Phase::ALL.map(|phase| PHASE.gauge_of(&[export, phase.as_str()])),
            held: LEASE_HELD.gauge_of(&[export]),
            waiting: LEASE_WAITING.gauge_of(&[export]),
            serving: Mutex::new(Serving { open: false, held: true }),
        };
        standing.phases.iter().for_each(|gauge| gauge.set(0.0));
        standing.tell(&standing.serving.lock());
        standing
    }

    pub(super) fn phase(&self, now: Phase) {
        let mut serving = self.serving.lock();
        for (phase, gauge) in Phase::ALL.into_iter().zip(&self.phases) {
            gauge.set(f64::from(u8::from(phase == now)));
        }
        serving.open = match now {
            Phase::Open | Phase::Stalled | Phase::Draining => true,
            Phase::Claiming
            | Phase::Fencing
            | Phase::Waiting
            | Phase::Recovering
            | Phase::Closed
            | Phase::Fenced
            | Phase::Failed => false,
        };
        self.tell(&serving);
    }

    pub(super) fn lease(&self, levels: LeaseLevels) {
        let mut serving = self.serving.lock();
        serving.held = levels.held;
        self.waiting.set(f64::from(levels.waiting));
        self.tell(&serving);
    }

    /// Under the lock, so that what is told last is what holds.
    fn tell(&self, serving: &Serving) {
        self.held.set(f64::from(u8::from(serving.open && serving.held)));
    }
}

/// What the probe found; nothing is shown before the first.
#[derive(Debug)]
pub(super) struct Probed {
    export: String,
    report: OnceLock<Group<ProbeReport>>,
    clock_offset: OnceLock<Gauge>,
}

impl Probed {
    pub(super) fn new(export: &str) -> Self {
        Self { export: export.to_owned(), report: OnceLock::new(), clock_offset: OnceLock::new() }
    }

    pub(super) fn set(&self, report: &ProbeReport) {
        let export = &[self.export.as_str()];
        self.report.get_or_init(|| Group::new(PROBE, export)).set(report);
        if let Some(millis) = report.clock_offset_ms {
            self.clock_offset.get_or_init(|| CLOCK_OFFSET.gauge_of(export)).set(millis as f64 / 1000.0);
        }
    }
}
