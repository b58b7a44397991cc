//! The newest root that loads, and the log behind it.

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};
use nbdgate_api::Error;

use super::{
    adopt::{Window, adopt},
    report::{RebuildBase, RebuildReport},
    salvage,
    survey::{FoundRoot, Survey, age},
};
use crate::{
    Progress,
    checkpoint::{Position, RootState},
    engine::Committed,
    format::{BlockRange, CheckpointNo, Epoch, RootLocator, Seq, Writer},
    inspect::{
        Inspect,
        affected::Affected,
        slots::Slot,
        sweep::Sweep,
        verify::Verified,
        view::{LiveSegment, View},
    },
    recovery::{fits, install},
};

/// Slots read at once.
const PARALLEL: usize = 64;

/// A state that was put together.
#[derive(Debug)]
pub(super) struct Rebuilt {
    pub(super) report: RebuildReport,
    pub(super) state: Restored,
}

/// See [`Rebuilt`].
#[derive(Debug)]
pub(super) struct Restored {
    pub(super) committed: Committed,
    pub(super) root: RootState,
    pub(super) checkpoint: CheckpointNo,
    pub(super) position: Position,
    /// Logs that may have a live writer, and the first slot of each that must not be written any more.
    pub(super) fence: Vec<(Writer, Seq)>,
}

/// What a state begins with.
struct Base {
    view: View,
    locator: Option<RootLocator>,
    /// Whose logs may follow.
    follow: Follow,
}

/// Which logs lie behind a root.
#[derive(Clone, Debug)]
enum Follow {
    /// Those that its manifest names, and later writers'.
    Named(Vec<Writer>, Epoch),
    /// Its writer's and later writers'.
    From(Epoch),
}

impl Follow {
    fn allows(&self, writer: Writer) -> bool {
        match self {
            Self::Named(writers, epoch) => writer.epoch > *epoch || writers.contains(&writer),
            Self::From(epoch) => writer.epoch >= *epoch,
        }
    }
}

/// Puts the newest state together that can be had.
pub(super) async fn replay(
    inspect: &Inspect,
    survey: &Survey,
    from_log: bool,
    progress: &dyn Progress,
) -> Result<Rebuilt, Error> {
    let mut report = RebuildReport { lost_names: survey.lost_names, ..RebuildReport::default() };
    let mut skipped: Vec<FoundRoot> = Vec::new();
    let base = base(inspect, survey, from_log, &mut skipped).await?;
    let Base { view, locator, follow } = base;
    let View { mut committed, root, .. } = view;
    if let Some(locator) = locator {
        report.base = RebuildBase::Checkpoint { object: locator.pack.key(""), number: locator.checkpoint.0 };
    }
    let mut roll = Roll::new(inspect, survey, &follow, root.position());
    roll.run(&mut committed, &mut report).await?;
    roll.leftovers(&mut report).await?;
    let (mut position, fence) = (roll.position, roll.fences());
    if locator.is_none() && !report.unknown.is_empty() {
        // No checkpoint, and the log alone does not tell everything.
        (committed, position) = salvage::salvage(inspect, survey, &mut report, progress).await?;
    }
    if !from_log {
        for root in &skipped {
            newer_checkpoint(root, survey, position, &mut report);
        }
    }
    report.mutation = position.wseq.0;
    let mut view = View { committed, root, recounts: Vec::new() };
    let mut lost = unreadable(inspect, &view, progress).await?;
    let checkpoint = next_checkpoint(survey);
    if locator.is_some() && !lost.is_empty() {
        let ranges = lost.iter().map(|range| (range.start, range.nblocks)).collect();
        let window = Window {
            mutations: view.root.position().wseq..=position.wseq,
            writers: &|writer| follow.allows(writer),
            birth: checkpoint,
        };
        report.moved_segments = adopt(inspect, survey, &mut view.committed, &ranges, &window).await?;
        if report.moved_segments > 0 {
            lost = unreadable(inspect, &view, progress).await?;
        }
    }
    report.unreadable = Affected::of(lost);
    let View { committed, root, .. } = view;
    notes(survey, &mut report);
    Ok(Rebuilt { report, state: Restored { committed, root, checkpoint, position, fence } })
}

/// A number above all that are seen.
fn next_checkpoint(survey: &Survey) -> CheckpointNo {
    let seen = survey.roots.iter().map(|root| root.locator.checkpoint);
    let named = survey.manifest.iter().filter_map(|manifest| Some(manifest.root?.checkpoint));
    let newest = seen.chain(named).max().unwrap_or_default();
    CheckpointNo(newest.0 + 1)
}

/// The newest root that loads; the empty disk if there is none.
async fn base(inspect: &Inspect, survey: &Survey, from_log: bool, skipped: &mut Vec<FoundRoot>) -> Result<Base, Error> {
    let template = survey.template();
    let mut candidates: Vec<((Epoch, u32, u64), FoundRoot, Follow)> = Vec::new();
    let named = survey.manifest.as_ref().and_then(|manifest| manifest.root);
    for &root in survey.roots.iter().filter(|root| Some(root.locator) != named) {
        candidates.push((age(&root), root, Follow::From(root.locator.pack.writer.epoch)));
    }
    if let (Some(manifest), Some(locator)) = (&survey.manifest, named) {
        let named = manifest.sealed.iter().map(|log| log.writer).chain(manifest.open.map(|log| log.writer));
        let logs = named.chain([manifest.owner.writer]).collect();
        let epoch = manifest.owner.writer.epoch;
        let summary = survey.roots.iter().find(|root| root.locator == locator).and_then(|root| root.summary);
        let age = (epoch, locator.checkpoint.0, locator.pack.number);
        candidates.push((age, FoundRoot { locator, summary }, Follow::Named(logs, epoch)));
    }
    candidates.sort_by_key(|(age, ..)| std::cmp::Reverse(*age));
    if from_log {
        candidates.clear();
    }
    for (_, root, follow) in candidates {
        let blocks = template.blocks.max(root.summary.map_or(0, |summary| summary.blocks));
        match inspect.at_root(&template, Some(root.locator), blocks).await {
            Ok(view) => return Ok(Base { view, locator: Some(root.locator), follow }),
            Err(error) => {
                tracing::warn!(error = error.chain(), "a checkpoint cannot be read; looking for an older one");
                skipped.push(root);
            }
        }
    }
    let known = survey.roots.iter().filter_map(|root| Some(root.summary?.blocks)).max().unwrap_or(0);
    let blocks = template.blocks.max(known).max(salvage::written_blocks(inspect, survey).await?);
    let view = inspect.at_root(&template, None, blocks).await?;
    Ok(Base { view, locator: None, follow: Follow::From(Epoch(0)) })
}

/// A newer checkpoint is no loss if the log reaches as far as it did.
fn newer_checkpoint(root: &FoundRoot, survey: &Survey, position: Position, report: &mut RebuildReport) {
    let object = root.locator.pack.key("");
    let covered = survey
        .manifest
        .as_ref()
        .filter(|manifest| manifest.root == Some(root.locator))
        .and_then(|manifest| manifest.sealed.first().map(|log| log.first).or(manifest.open.map(|log| log.first)));
    let reached = match (root.summary, covered) {
        (Some(summary), _) => position.wseq >= summary.position.wseq,
        (None, Some(first)) => position.seq.0 + 1 >= first.0,
        (None, None) => false,
    };
    if !reached {
        report.unknown.push(format!(
            "the checkpoint {} in {object} cannot be read, and the log does not prove that it reaches as far",
            root.locator.checkpoint.0
        ));
    }
}

/// Follows logs from a position on.
struct Roll<'a> {
    inspect: &'a Inspect,
    survey: &'a Survey,
    follow: &'a Follow,
    position: Position,
    /// The last writer whose segments were applied, and per writer how far.
    current: Option<Writer>,
    applied: BTreeMap<Writer, Seq>,
    base: Position,
}

impl<'a> Roll<'a> {
    fn new(inspect: &'a Inspect, survey: &'a Survey, follow: &'a Follow, position: Position) -> Self {
        Self { inspect, survey, follow, position, current: None, applied: BTreeMap::new(), base: position }
    }

    fn next(&self) -> Seq {
        Seq(self.position.seq.0 + 1)
    }

    async fn run(&mut self, committed: &mut Committed, report: &mut RebuildReport) -> Result<(), Error> {
        loop {
            let next = self.next();
            let epoch = self.current.map_or(Epoch(0), |writer| writer.epoch);
            let writers: Vec<Writer> = self
                .survey
                .logs
                .iter()
                .filter(|&(&writer, slots)| {
                    self.follow.allows(writer) && writer.epoch >= epoch && slots.contains(&next)
                })
                .map(|(&writer, _)| writer)
                .collect();
            for writer in writers {
                self.log(committed, writer, report).await?;
                if self.next() > next {
                    break;
                }
            }
            if self.next() == next {
                return Ok(());
            }
        }
    }

    /// Applies the segments of a writer from the next slot on, as far as they continue the state.
    async fn log(
        &mut self,
        committed: &mut Committed,
        writer: Writer,
        report: &mut RebuildReport,
    ) -> Result<(), Error> {
        let first = self.next();
        let slots = self.survey.logs[&writer].range(first..).zip(first.0..);
        let run: Vec<Seq> = slots.take_while(|(seq, expected)| seq.0 == *expected).map(|(&seq, _)| seq).collect();
        let inspect = self.inspect;
        let mut reads =
            stream::iter(run).map(|seq| async move { (seq, inspect.slot(writer, seq).await) }).buffered(PARALLEL);
        let mut prev_crc = None;
        while let Some((seq, slot)) = reads.next().await {
            let Slot::Segment(segment) = slot? else { return Ok(()) };
            let (head, meta) = *segment;
            if let Err(why) = fits(committed, &meta, prev_crc) {
                let object = inspect.log_object(writer, seq).key();
                report.unknown.push(format!("the segment {object} does not continue the log: {why}"));
                return Ok(());
            }
            prev_crc = Some(head.prelude.crc());
            install(committed, writer, seq, &head, &meta);
            report.log_segments += 1;
            self.position = Position { epoch: writer.epoch, seq, wseq: meta.last_wseq };
            self.current = Some(writer);
            self.applied.insert(writer, seq);
        }
        Ok(())
    }

    /// What stands behind the applied part of a log is nothing if a fence comes first, and otherwise not known.
    async fn leftovers(&self, report: &mut RebuildReport) -> Result<(), Error> {
        for (&writer, slots) in self.survey.logs.iter().filter(|(writer, _)| self.follow.allows(**writer)) {
            let from = self.applied.get(&writer).map_or(self.base.seq, |&seq| seq);
            let rest: Vec<Seq> = slots.range(Seq(from.0 + 1)..).copied().collect();
            let Some(&first) = rest.first() else { continue };
            let object = self.inspect.log_object(writer, first).key();
            let what = match self.inspect.slot(writer, first).await? {
                Slot::Fence | Slot::Empty => continue,
                Slot::Segment(_) => "does not continue what was found before it".to_owned(),
                Slot::Bad(error) => format!("is damaged ({})", error.what()),
            };
            report
                .unknown
                .push(format!("the segment {object} {what}; it and {} behind it are left out", rest.len() - 1));
        }
        Ok(())
    }

    /// The logs that may be written still: that of the last writer, and the open one.
    fn fences(&self) -> Vec<(Writer, Seq)> {
        let open = self.survey.manifest.as_ref().and_then(|manifest| manifest.open);
        let newest = self.survey.logs.keys().next_back().copied();
        let mut writers: Vec<Writer> =
            [self.current, open.map(|log| log.writer), newest].into_iter().flatten().collect();
        writers.sort_unstable();
        writers.dedup();
        writers.retain(|&writer| self.follow.allows(writer));
        writers.into_iter().map(|writer| (writer, self.next())).collect()
    }
}

/// Blocks that lie in segments which are not there, or are not what the map takes them for. Their data is not read.
async fn unreadable(inspect: &Inspect, view: &View, progress: &dyn Progress) -> Result<Vec<BlockRange>, Error> {
    let mut blocks = Vec::new();
    let found = |_: &LiveSegment, verified: Verified| {
        blocks.extend(verified.findings.into_iter().flat_map(|finding| finding.blocks));
    };
    Sweep::new(false, None, progress).run(inspect, view, found).await?;
    Ok(blocks)
}

fn notes(survey: &Survey, report: &mut RebuildReport) {
    if survey.manifest.is_none() {
        report
            .left
            .push("no manifest can be read: snapshots and options of the disk are not known any more".to_owned());
    } else if !survey.is_current() {
        report.left.push("newer manifests are lost: snapshots and options of them are not known any more".to_owned());
    }
    if survey.blocks.is_none() && survey.roots.is_empty() {
        report.unknown.push("nothing says how large the disk was: give its size".to_owned());
    }
}
