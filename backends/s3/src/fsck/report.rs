//! What a check found.

use crate::inspect::affected::Affected;

/// Problems told one by one; more are counted.
const PROBLEMS_MAX: usize = 10_000;

/// How bad it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Everything that was looked at is right.
    #[default]
    Clean,
    /// No byte of the disk or of a snapshot is affected; the next open, `rebuild` or garbage collection puts it right.
    Repairable,
    /// Bytes cannot be read, or the disk does not open.
    Damaged,
}

/// Which picture of the disk a problem is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Picture {
    /// The disk itself.
    Head,
    /// A snapshot, by its name.
    Snapshot(String),
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProblemKind {
    /// The object that maps the name to the volume is gone.
    NameMissing,
    /// It holds something else.
    NameDamaged,
    /// The descriptor is gone.
    DescriptorMissing,
    /// The descriptor fails its checks.
    DescriptorDamaged,
    /// A manifest that older and newer ones surround is gone, or all are.
    ManifestMissing,
    /// A manifest fails its checks.
    ManifestDamaged,
    /// A manifest does not name the one before it.
    ManifestChain,
    /// Objects of a later writer than the newest manifest knows: manifests are lost.
    ManifestsLost,
    /// A checkpoint cannot be read.
    CheckpointDamaged,
    /// A segment of a log that is not under the checkpoint is gone.
    LogMissing,
    /// One fails its checks.
    LogDamaged,
    /// One does not continue the one before it.
    LogBroken,
    /// A slot of the open log is empty, and later ones are not: the writer died before it stored the slot, or the slot is lost.
    LogGap,
    /// A log that was taken over has no fence at its end.
    FenceMissing,
    /// A fence fails its checks.
    FenceDamaged,
    /// A segment that the map refers to is gone.
    SegmentMissing,
    /// Its head fails its checks.
    SegmentDamaged,
    /// It does not hold what the map says it does.
    SegmentMismatch,
    /// Frames of it fail their checks.
    FramesDamaged,
    /// A counter of live blocks is not what the map holds.
    LiveCounter,
}

impl ProblemKind {
    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NameMissing => "name-missing",
            Self::NameDamaged => "name-damaged",
            Self::DescriptorMissing => "descriptor-missing",
            Self::DescriptorDamaged => "descriptor-damaged",
            Self::ManifestMissing => "manifest-missing",
            Self::ManifestDamaged => "manifest-damaged",
            Self::ManifestChain => "manifest-chain",
            Self::ManifestsLost => "manifests-lost",
            Self::CheckpointDamaged => "checkpoint-damaged",
            Self::LogMissing => "log-missing",
            Self::LogDamaged => "log-damaged",
            Self::LogBroken => "log-broken",
            Self::LogGap => "log-gap",
            Self::FenceMissing => "fence-missing",
            Self::FenceDamaged => "fence-damaged",
            Self::SegmentMissing => "segment-missing",
            Self::SegmentDamaged => "segment-damaged",
            Self::SegmentMismatch => "segment-mismatch",
            Self::FramesDamaged => "frames-damaged",
            Self::LiveCounter => "live-counter",
        }
    }
}

/// Something wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What.
    pub kind: ProblemKind,
    /// How bad.
    pub severity: Severity,
    /// The object, below the root.
    pub object: String,
    /// What is wrong with it, lower case.
    pub detail: String,
    /// Which picture it was found in; `None` if it is about the disk as a whole.
    pub picture: Option<Picture>,
    /// The bytes of the picture that cannot be read because of it. Empty where none is, and where it stops the disk as a
    /// whole.
    pub affected: Affected,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FsckReport {
    /// Problems, worst first; at most 10,000.
    pub problems: Vec<Problem>,
    /// Problems that are not listed.
    pub unlisted: u64,
    /// The worst of all.
    pub severity: Severity,
    /// The disk was in use and its manifest changed in the last pass: problems may be of that change.
    pub in_use: bool,
    /// Manifests read.
    pub manifests: u64,
    /// Snapshots looked at, beside the head.
    pub snapshots: u64,
    /// Segments behind the checkpoint.
    pub log_segments: u64,
    /// Segments that the map of the head or of a snapshot refers to.
    pub segments: u64,
    /// Frames verified.
    pub frames: u64,
    /// Stored bytes of them.
    pub frame_bytes: u64,
    /// Objects of earlier writers that nothing names.
    pub orphans: u64,
    /// Their bytes.
    pub orphan_bytes: u64,
    /// Keys under the volume that no writer of this format makes.
    pub foreign: u64,
}

impl FsckReport {
    /// 0 clean, 1 repairable, 2 damaged: what a program ends with.
    pub fn exit_code(&self) -> u8 {
        self.severity as u8
    }
}

/// A report in the making.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) report: FsckReport,
}

impl Findings {
    /// Something about the disk as a whole.
    pub(crate) fn add(&mut self, kind: ProblemKind, object: String, detail: String) {
        use ProblemKind as P;
        // What stops an open, against what only looks wrong.
        let severity = match kind {
            P::FenceMissing | P::FenceDamaged | P::ManifestMissing | P::ManifestChain | P::LiveCounter => {
                Severity::Repairable
            }
            _ => Severity::Damaged,
        };
        self.push(Problem { kind, severity, object, detail, picture: None, affected: Affected::default() });
    }

    pub(crate) fn push(&mut self, problem: Problem) {
        let report = &mut self.report;
        report.severity = report.severity.max(problem.severity);
        if report.problems.len() < PROBLEMS_MAX {
            report.problems.push(problem);
        } else {
            report.unlisted += 1;
        }
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.report.severity == Severity::Clean
    }

    pub(crate) fn into_report(mut self, in_use: bool) -> FsckReport {
        self.report.in_use = in_use;
        self.report.problems.sort_by_key(|problem| std::cmp::Reverse(problem.severity));
        self.report
    }
}
