//! The head and the snapshots: checkpoint, logs, and every segment that the map refers to.

use std::collections::HashSet;

use nbdgate_api::Error;

use super::{
    FsckOptions,
    report::{Findings, Picture, Problem, ProblemKind, Severity},
};
use crate::{
    Progress,
    format::{Manifest, ObjectName, PackName, RootLocator, Seq, Writer},
    inspect::{
        Inspect,
        affected::Affected,
        follow::{Break, Tail},
        sweep::Sweep,
        verify::{Damage, Finding, Verified},
        view::{LiveSegment, View},
    },
    store::StoreError,
};

/// What is named by anything: all else is an orphan.
#[derive(Debug, Default)]
pub(super) struct Named {
    /// Objects of this volume.
    pub(super) objects: HashSet<ObjectName>,
    /// A picture could not be read: what it names is not known, so nothing can be called an orphan.
    pub(super) incomplete: bool,
    /// Where the open log ends.
    pub(super) open_end: Option<(Writer, Seq)>,
}

/// One picture to look at.
struct Look<'a> {
    picture: Picture,
    root: Option<RootLocator>,
    blocks: u64,
    /// For the head: with the logs behind its checkpoint.
    head: bool,
    inspect: &'a Inspect,
    manifest: &'a Manifest,
}

/// Looks at all pictures of a manifest.
pub(super) async fn check(
    inspect: &Inspect,
    manifest: &Manifest,
    fsck: FsckOptions,
    progress: &dyn Progress,
    findings: &mut Findings,
) -> Result<Named, Error> {
    let mut named = Named::default();
    let mut sweep = Sweep::new(fsck.data, None, progress);
    let head =
        Look { picture: Picture::Head, root: manifest.root, blocks: manifest.blocks, head: true, inspect, manifest };
    let snapshots = manifest.snapshots.iter().map(|snapshot| Look {
        picture: Picture::Snapshot(snapshot.name.clone()),
        root: Some(snapshot.root),
        blocks: snapshot.blocks,
        head: false,
        inspect,
        manifest,
    });
    findings.report.snapshots = manifest.snapshots.len() as u64;
    for look in std::iter::once(head).chain(snapshots) {
        look.run(&mut sweep, findings, &mut named).await?;
    }
    Ok(named)
}

impl Look<'_> {
    async fn run(&self, sweep: &mut Sweep<'_>, findings: &mut Findings, named: &mut Named) -> Result<(), Error> {
        let mut view = match self.inspect.at_root(self.manifest, self.root, self.blocks).await {
            Ok(view) => view,
            Err(error) if is_damage(&error) => {
                named.incomplete = true;
                let object = self.root.map_or_else(String::new, |root| root.pack.key(""));
                findings.push(self.problem(
                    ProblemKind::CheckpointDamaged,
                    object,
                    error.chain(),
                    Affected::whole(self.blocks),
                ));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.counters(&view, findings);
        self.tables(&view, named);
        if self.head {
            self.logs(&mut view, findings, named).await?;
        }
        self.segments(&view, sweep, findings).await
    }

    fn counters(&self, view: &View, findings: &mut Findings) {
        for recount in &view.recounts {
            let object = view.committed.object(recount.segment).key();
            let detail = format!("the table says {} live blocks, the map {}", recount.recorded, recount.counted);
            let severity = Severity::Repairable;
            let problem = self.problem(ProblemKind::LiveCounter, object, detail, Affected::default());
            findings.push(Problem { severity, ..problem });
        }
    }

    /// Everything in the segment and pack tables is named, dead or alive.
    fn tables(&self, view: &View, named: &mut Named) {
        let volume = self.inspect.volume;
        for (id, entry) in view.committed.segments.iter() {
            if view.committed.object(id).volume == volume {
                named.objects.insert(entry.name.object());
            }
        }
        for (_, entry) in view.root.packs() {
            let own = self.manifest.owner_volume(volume, entry.owner) == Some(volume);
            if own {
                let pack = PackName { volume, writer: entry.writer, number: entry.number };
                named.objects.insert(pack.object());
            }
        }
    }

    async fn logs(&self, view: &mut View, findings: &mut Findings, named: &mut Named) -> Result<(), Error> {
        for log in &self.manifest.sealed {
            for seq in log.first.0..=log.last.0 {
                named.objects.insert(ObjectName::Log { writer: log.writer, seq: Seq(seq) });
            }
        }
        let (tail, broken): (Tail, _) = self.inspect.follow(&mut view.committed, self.manifest).await?;
        findings.report.log_segments = tail.segments;
        named.open_end = self.manifest.open.and_then(|log| Some((log.writer, tail.end?)));
        let Some(broken) = broken else { return Ok(()) };
        let (kind, object, detail) = match broken {
            Break::Missing(object) => (ProblemKind::LogMissing, object, "the object is missing".to_owned()),
            Break::Unreadable(object, error) => (ProblemKind::LogDamaged, object, error.what().to_owned()),
            Break::Misfit(object, why) => (ProblemKind::LogBroken, object, why),
        };
        // What it and its successors would have changed is not known: any block may be one of them.
        findings.push(self.problem(kind, object.key(), detail, Affected::whole(self.blocks)));
        Ok(())
    }

    async fn segments(&self, view: &View, sweep: &mut Sweep<'_>, findings: &mut Findings) -> Result<(), Error> {
        let found = |segment: &LiveSegment, verified: Verified| {
            findings.report.segments += 1;
            findings.report.frames += verified.frames;
            findings.report.frame_bytes += verified.bytes;
            for finding in verified.findings {
                findings.push(self.found(segment, finding));
            }
        };
        sweep.run(self.inspect, view, found).await
    }

    fn found(&self, segment: &LiveSegment, finding: Finding) -> Problem {
        let kind = match finding.damage {
            Damage::Missing => ProblemKind::SegmentMissing,
            Damage::Unreadable => ProblemKind::SegmentDamaged,
            Damage::Mismatch => ProblemKind::SegmentMismatch,
            Damage::Frames => ProblemKind::FramesDamaged,
        };
        let affected = Affected::of(finding.blocks);
        // A bad frame that nothing refers to any more hurts nobody.
        let severity = if affected.bytes == 0 { Severity::Repairable } else { Severity::Damaged };
        Problem { severity, ..self.problem(kind, segment.object.key(), finding.detail, affected) }
    }

    fn problem(&self, kind: ProblemKind, object: String, detail: String, affected: Affected) -> Problem {
        let picture = Some(self.picture.clone());
        Problem { kind, severity: Severity::Damaged, object, detail, picture, affected }
    }
}

/// A checkpoint that is damaged, against a store that does not answer: the latter has its reason from the store.
fn is_damage(error: &Error) -> bool {
    let source = std::error::Error::source(error);
    source.and_then(|source| source.downcast_ref::<StoreError>()).is_none()
}
