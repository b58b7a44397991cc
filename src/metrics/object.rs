//! The object log: for each disk its requests to the store, its write and read path, its journal, its standing and its
//! upkeep; for the process the read cache and the memory that all disks share.
//!
//! Series of what a disk may not have - a journal, scrubbing, a probe - come when it is first told.

mod journal;
mod reads;
mod requests;
mod shared;
mod state;
mod upkeep;
mod writes;

use std::{fmt, sync::OnceLock};

use nbdgate_s3::{
    GcLevels, JournalLevels, LeaseLevels, Levels, Observer, Phase, ProbeReport, ReadLevels, Request, ScrubLevels,
    UploadLevels,
};

pub(super) use self::shared::SharedMetrics;
use self::{
    journal::JOURNAL,
    reads::READS,
    requests::Requests,
    shared::{CACHE, MEMORY},
    state::{PROBE, Probed, Standing},
    upkeep::{GARBAGE, SCRUB},
    writes::{BUCKET, WRITES},
};
use super::{
    family::Family,
    measures::{Group, families as of},
};

/// The labels of what a disk has one of.
const EXPORT: &[&str] = &["export"];

/// Every family of the object log.
pub(super) fn families() -> impl Iterator<Item = &'static Family> {
    let single = requests::FAMILIES.iter().chain(state::FAMILIES);
    let paths = of(WRITES).chain(of(BUCKET)).chain(of(READS)).chain(of(JOURNAL)).chain(of(PROBE));
    single.chain(paths).chain(of(GARBAGE)).chain(of(SCRUB)).chain(of(CACHE)).chain(of(MEMORY))
}

/// The handles of one disk in the object log.
pub struct ObjectMetrics {
    export: String,
    requests: Requests,
    standing: Standing,
    probed: Probed,
    writes: Group<Levels>,
    bucket: Group<UploadLevels>,
    reads: Group<ReadLevels>,
    garbage: Group<GcLevels>,
    journal: OnceLock<Group<JournalLevels>>,
    scrub: OnceLock<Group<ScrubLevels>>,
}

impl ObjectMetrics {
    /// Registers the handles. A disk that is opened again under the same name goes on with the same series.
    pub fn new(export: &str) -> Self {
        let name = &[export];
        Self {
            export: export.to_owned(),
            requests: Requests::new(export),
            standing: Standing::new(export),
            probed: Probed::new(export),
            writes: Group::new(WRITES, name),
            bucket: Group::new(BUCKET, name),
            reads: Group::new(READS, name),
            garbage: Group::new(GARBAGE, name),
            journal: OnceLock::new(),
            scrub: OnceLock::new(),
        }
    }
}

impl Observer for ObjectMetrics {
    fn request(&self, request: &Request) {
        self.requests.ended(request);
    }

    fn collected(&self, levels: &GcLevels) {
        self.garbage.set(levels);
    }

    fn phase(&self, phase: Phase) {
        self.standing.phase(phase);
    }

    fn probed(&self, report: &ProbeReport) {
        self.probed.set(report);
    }

    fn uploads(&self, levels: &UploadLevels) {
        self.bucket.set(levels);
    }

    fn lease(&self, levels: &LeaseLevels) {
        self.standing.lease(*levels);
    }

    fn levels(&self, levels: &Levels) {
        self.writes.set(levels);
    }

    fn journal(&self, levels: &JournalLevels) {
        self.journal.get_or_init(|| Group::new(JOURNAL, &[&self.export])).set(levels);
    }

    fn reads(&self, levels: &ReadLevels) {
        self.reads.set(levels);
    }

    fn hedge(&self, won: bool) {
        self.requests.hedged(won);
    }

    fn scrubbed(&self, levels: &ScrubLevels) {
        self.scrub.get_or_init(|| Group::new(SCRUB, &[&self.export])).set(levels);
    }
}

impl fmt::Debug for ObjectMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectMetrics").field("export", &self.export).finish_non_exhaustive()
    }
}

/// Milliseconds, in the base unit.
fn seconds(millis: u64) -> f64 {
    millis as f64 / 1000.0
}

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use self::tests::tell_everything;
