//! The manifest chain: every member that is kept, its hash, and what it says of fences.

use futures_util::{StreamExt, stream};
use nbdgate_api::{Error, Kind};

use super::{
    key,
    report::{Findings, Problem, ProblemKind, Severity},
};
use crate::{
    format::{FormatError, Manifest, ManifestNo, ObjectName, Seq, Writer, manifest::State},
    inspect::{Inspect, affected::Affected, manifests::Member},
};

/// Manifests read at once.
const PARALLEL: usize = 16;

/// The newest so many are never deleted (OBJECT-LOG §6.2).
const KEPT: u64 = 16;

/// What the chain says.
#[derive(Debug, Default)]
pub(super) struct Chain {
    /// The newest number.
    pub(super) newest: u64,
    /// The newest manifest, if it is sound.
    pub(super) manifest: Option<Manifest>,
    /// Slots that must hold a fence: the ends of logs that were taken over.
    pub(super) fences: Vec<(Writer, Seq)>,
}

/// The number of the newest manifest now; 0 if there is none.
pub(super) async fn newest(inspect: &Inspect) -> Result<u64, Error> {
    Ok(numbers(inspect).await?.last().copied().unwrap_or(0))
}

async fn numbers(inspect: &Inspect) -> Result<Vec<u64>, Error> {
    let listing = inspect.inventory("m").await?;
    let number = |name| if let ObjectName::Manifest(no) = name { Some(no.0) } else { None };
    Ok(listing.entries.iter().filter_map(|entry| number(entry.name)).collect())
}

/// Reads the chain from its oldest member on.
pub(super) async fn check(inspect: &Inspect, findings: &mut Findings) -> Result<Chain, Error> {
    let numbers = numbers(inspect).await?;
    let (Some(&first), Some(&newest)) = (numbers.first(), numbers.last()) else {
        let folder = format!("v/{}/m", inspect.volume);
        findings.add(ProblemKind::ManifestsLost, folder, "there is no manifest".to_owned());
        return Ok(Chain::default());
    };
    for no in missing(&numbers, newest) {
        let name = key(inspect.volume, ObjectName::Manifest(ManifestNo(no)));
        findings.add(ProblemKind::ManifestMissing, name, "the object is missing".to_owned());
    }
    let reads = stream::iter(first..=newest).map(|no| async move { (no, inspect.manifest(ManifestNo(no)).await) });
    let mut reads = reads.buffered(PARALLEL);
    let mut chain = Chain { newest, ..Chain::default() };
    let mut before: Option<([u8; 32], Option<Box<Manifest>>)> = None;
    while let Some((no, manifest)) = reads.next().await {
        findings.report.manifests += 1;
        let name = key(inspect.volume, ObjectName::Manifest(ManifestNo(no)));
        let (manifest, hash) = match manifest? {
            Member::Sound(manifest, hash) => (manifest, hash),
            Member::Damaged(error, hash) => {
                findings.push(damaged(name, &error, no == newest));
                before = Some((hash, None));
                continue;
            }
            Member::Missing => {
                before = None;
                continue;
            }
        };
        if let Some((expected, previous)) = &before {
            if manifest.prev != *expected && no > oldest_kept(newest) {
                let detail = format!("it does not follow manifest {}", no - 1);
                findings.add(ProblemKind::ManifestChain, name, detail);
            }
            chain.fences.extend(previous.as_ref().and_then(|previous| fence(previous, &manifest)));
        } else if no == 1 && manifest.prev != [0; 32] {
            findings.add(ProblemKind::ManifestChain, name, "it is the first and names one before it".to_owned());
        }
        if no == newest {
            refuse_deleted(&manifest)?;
            chain.manifest = Some((*manifest).clone());
        }
        before = Some((hash, Some(manifest)));
    }
    Ok(chain)
}

fn refuse_deleted(manifest: &Manifest) -> Result<(), Error> {
    if manifest.state == State::Deleted {
        return Err(Error::new(Kind::Invalid, "the disk was deleted"));
    }
    Ok(())
}

/// The oldest manifest that cannot have been deleted. A number below it may be there all the same, or again, put by a sleeper
/// that did not know (OBJECT-LOG §6.6), so what stands there follows nothing and leaves gaps.
fn oldest_kept(newest: u64) -> u64 {
    newest.saturating_sub(KEPT - 1).max(1)
}

/// The numbers that should be there and are not.
fn missing(numbers: &[u64], newest: u64) -> impl Iterator<Item = u64> {
    (oldest_kept(newest)..=newest).filter(|no| numbers.binary_search(no).is_err())
}

fn damaged(object: String, error: &FormatError, newest: bool) -> Problem {
    // An old one is history; the newest is the disk.
    let severity = if newest { Severity::Damaged } else { Severity::Repairable };
    let kind = ProblemKind::ManifestDamaged;
    Problem { kind, severity, object, detail: error.what().to_owned(), picture: None, affected: Affected::default() }
}

/// Where a takeover between two manifests must have left a fence: the claimant of an open log goes on in the slot in which
/// that log ended.
fn fence(before: &Manifest, after: &Manifest) -> Option<(Writer, Seq)> {
    let taken = before.state == State::Claim && after.state == State::Open;
    let (old, new) = (before.open?, after.open?);
    (taken && old.writer != new.writer).then_some((old.writer, new.first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_have_been_deleted_is_missing() {
        let from = |numbers: &[u64], newest| missing(numbers, newest).collect::<Vec<_>>();
        let kept: Vec<u64> = (16..=31).collect();
        assert_eq!(from(&kept, 31), [0; 0]);
        assert_eq!(from(&[&[14], &kept[..]].concat(), 31), [0; 0], "14 was taken again by a sleeper");
        assert_eq!(from(&[&kept[..4], &kept[5..]].concat(), 31), [20]);
        assert_eq!(from(&kept[1..], 31), [16]);
        assert_eq!(from(&[1, 3], 3), [2], "nothing is deleted below seventeen");
    }
}
