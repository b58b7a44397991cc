//! What is in the store beside what is named: fences, orphans, and traces of manifests that are lost.

use futures_util::{StreamExt, TryStreamExt, stream};
use nbdgate_api::Error;

use super::{
    chain::Chain,
    key,
    pictures::Named,
    report::{Findings, Picture, Problem, ProblemKind, Severity},
};
use crate::{
    format::{Epoch, ObjectName, Seq, Writer, manifest::State},
    inspect::{Inspect, affected::Affected, inventory::Entry, slots::Slot},
};

/// Slots looked at at once.
const PARALLEL: usize = 16;

/// Slots of a writer behind the newest manifest that are told one by one.
const LOST_TOLD: usize = 8;

/// Looks at fences, and counts orphans of earlier epochs.
pub(super) async fn check(
    inspect: &Inspect,
    chain: &Chain,
    named: &Named,
    findings: &mut Findings,
) -> Result<(), Error> {
    fences(inspect, chain, findings).await?;
    let epoch = chain.manifest.as_ref().map(|manifest| manifest.owner.writer.epoch);
    let claimant = chain.manifest.as_ref().filter(|manifest| manifest.state == State::Claim);
    let claimant = claimant.map(|manifest| manifest.owner.writer);
    let mut unnamed = Vec::new();
    let mut later = Vec::new();
    let mut beyond = Vec::new();
    for directory in ["l", "g", "p"] {
        let listing = inspect.inventory(directory).await?;
        findings.report.foreign += listing.foreign.len() as u64;
        for entry in listing.entries {
            if let (ObjectName::Log { writer, seq }, Some((open, end))) = (entry.name, named.open_end)
                && writer == open
                && seq > end
            {
                beyond.push(seq);
            }
            let written = entry.name.writer().map_or(Epoch(0), |writer| writer.epoch);
            // Who only claims has written nothing yet.
            let opened = claimant.is_some() && entry.name.writer() == claimant;
            match epoch {
                Some(epoch) if written > epoch || opened => later.push(entry),
                Some(epoch) if written < epoch && !named.objects.contains(&entry.name) => unnamed.push(entry),
                _ => {}
            }
        }
    }
    for entry in later.iter().take(LOST_TOLD) {
        let detail = "its writer is later than any that the newest manifest knows: manifests are lost".to_owned();
        findings.add(ProblemKind::ManifestsLost, key(inspect.volume, entry.name), detail);
    }
    gap(inspect, chain, named, &beyond, findings).await?;
    orphans(inspect, unnamed, named, findings).await
}

/// Slots behind the end of the open log. A writer never sends slot s + W before s is stored, so what lies that far behind an
/// empty slot proves that it was stored; nearer ones may just have been on their way when the writer died.
async fn gap(
    inspect: &Inspect,
    chain: &Chain,
    named: &Named,
    beyond: &[Seq],
    findings: &mut Findings,
) -> Result<(), Error> {
    let (Some((writer, end)), Some(manifest)) = (named.open_end, &chain.manifest) else { return Ok(()) };
    // A log that is being written has moved on meanwhile.
    if !matches!(inspect.slot(writer, end).await?, Slot::Empty) {
        return Ok(());
    }
    let mut last = None;
    for &seq in beyond {
        if matches!(inspect.slot(writer, seq).await?, Slot::Segment(_) | Slot::Bad(_)) {
            last = last.max(Some(seq));
        }
    }
    let Some(last) = last else { return Ok(()) };
    let lost = last.0 >= end.0 + u64::from(manifest.window.max(1));
    let detail = if lost {
        format!("the slot is empty and slot {} is not: it was stored and is lost", last.0)
    } else {
        format!("the slot is empty and slot {} is not: it was never stored, or it is lost; an open ends here", last.0)
    };
    let affected = if lost { Affected::whole(manifest.blocks) } else { Affected::default() };
    findings.push(Problem {
        kind: ProblemKind::LogGap,
        severity: if lost { Severity::Damaged } else { Severity::Repairable },
        object: key(inspect.volume, ObjectName::Log { writer, seq: end }),
        detail,
        picture: Some(Picture::Head),
        affected,
    });
    Ok(())
}

async fn fences(inspect: &Inspect, chain: &Chain, findings: &mut Findings) -> Result<(), Error> {
    let looks =
        chain.fences.iter().map(|&(writer, seq)| async move { Ok((writer, seq, inspect.slot(writer, seq).await?)) });
    let looks: Vec<(Writer, Seq, Slot)> =
        stream::iter(looks).buffered(PARALLEL).try_collect().await.map_err(|error: Error| error)?;
    for (writer, seq, slot) in looks {
        let object = key(inspect.volume, ObjectName::Log { writer, seq });
        let (kind, detail) = match slot {
            Slot::Fence => continue,
            Slot::Empty => (ProblemKind::FenceMissing, "the fence that ended this log is missing".to_owned()),
            Slot::Segment(_) => (ProblemKind::FenceMissing, "a segment stands where a fence ended this log".to_owned()),
            Slot::Bad(error) => (ProblemKind::FenceDamaged, error.what().to_owned()),
        };
        findings.add(kind, object, detail);
    }
    Ok(())
}

/// Fences are never orphans; only their bytes tell them from segments.
async fn orphans(inspect: &Inspect, unnamed: Vec<Entry>, named: &Named, findings: &mut Findings) -> Result<(), Error> {
    if named.incomplete {
        return Ok(());
    }
    let looks = unnamed.into_iter().map(|entry| async move {
        let fence = match entry.name {
            ObjectName::Log { writer, seq } => inspect.is_fence(writer, seq).await?,
            _ => false,
        };
        Ok::<_, Error>((entry, fence))
    });
    let mut looks = stream::iter(looks).buffer_unordered(PARALLEL);
    while let Some((entry, fence)) = looks.try_next().await? {
        if !fence {
            findings.report.orphans += 1;
            findings.report.orphan_bytes += entry.size;
        }
    }
    Ok(())
}
