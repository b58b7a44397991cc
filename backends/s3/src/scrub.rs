//! Reading and verifying all data of a disk, at a bounded rate.
//!
//! A frame that fails its check is asked for once more. What is bad then stays as it is and needs no mark: frames are
//! immutable and carry their checks, so every read of it fails (EIO) and none returns other bytes, until the blocks are
//! written again (docs/decisions/0011-checks-and-transfers.md).

use nbdgate_api::Error;

use crate::{
    Location, OpenOptions, Progress,
    fsck::Picture,
    inspect::{
        Inspect, store_for,
        sweep::Sweep,
        verify::{Finding, Verified},
        view::{LiveSegment, View},
    },
    keys::unlock::find_unlocked,
    observer::Cause,
    ownership::{chain::Chain, claim::supported},
    store::Patience,
};

pub use crate::inspect::affected::Affected;

/// How a disk is scrubbed.
#[derive(Clone, Copy, Debug, Default)]
pub struct ScrubOptions {
    /// The most bytes per second read from the store; `None` for as fast as it goes.
    pub bytes_per_second: Option<u64>,
}

/// Data that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment, below the store's root.
    pub object: String,
    /// What is wrong with it.
    pub detail: String,
    /// Where it was found: the disk, or a snapshot.
    pub picture: Picture,
    /// The bytes of the picture that cannot be read; empty if only blocks are bad that nothing refers to.
    pub affected: Affected,
}

/// What a scrub found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// Segments verified.
    pub segments: u64,
    /// Frames in them.
    pub frames: u64,
    /// Stored bytes of the frames.
    pub bytes: u64,
    /// Live counters that are not what the map holds; the next open corrects them.
    pub miscounted: u64,
    /// What is bad.
    pub damage: Vec<Damage>,
}

impl ScrubReport {
    /// Whether every byte of the disk and of its snapshots can be read.
    pub fn is_sound(&self) -> bool {
        self.damage.iter().all(|damage| damage.affected.bytes == 0)
    }
}

/// Verifies all data of a disk and of its snapshots; claims nothing.
///
/// # Errors
/// There is no such disk, its manifest, checkpoint or log is damaged (`fsck` tells), or the store does not answer.
pub async fn scrub(
    location: &Location,
    scrub: &ScrubOptions,
    progress: &dyn Progress,
    options: &OpenOptions,
) -> Result<ScrubReport, Error> {
    let store = store_for(location, options, Cause::Scrub)?;
    let patience = Patience::asking(options.tuning.open_deadline);
    let volume = find_unlocked(&store, location, options, patience).await?.volume;
    let manifest = Chain::newest(&store, volume, patience).await?.manifest;
    supported(&manifest)?;
    let inspect = Inspect { store, volume, patience };
    let mut report = ScrubReport::default();
    let mut sweep = Sweep::new(true, scrub.bytes_per_second, progress);
    let (view, _) = inspect.head(&manifest).await?;
    one(&inspect, Picture::Head, &view, &mut sweep, &mut report).await?;
    drop(view);
    for snapshot in &manifest.snapshots {
        let view = inspect.at_root(&manifest, Some(snapshot.root), snapshot.blocks).await?;
        one(&inspect, Picture::Snapshot(snapshot.name.clone()), &view, &mut sweep, &mut report).await?;
    }
    Ok(report)
}

async fn one(
    inspect: &Inspect,
    picture: Picture,
    view: &View,
    sweep: &mut Sweep<'_>,
    report: &mut ScrubReport,
) -> Result<(), Error> {
    report.miscounted += view.recounts.len() as u64;
    let found = |segment: &LiveSegment, verified: Verified| {
        report.segments += 1;
        report.frames += verified.frames;
        report.bytes += verified.bytes;
        report.damage.extend(verified.findings.into_iter().map(|finding| damage(&picture, segment, finding)));
    };
    sweep.run(inspect, view, found).await
}

pub(crate) fn damage(picture: &Picture, segment: &LiveSegment, finding: Finding) -> Damage {
    Damage {
        object: segment.object.key(),
        detail: finding.detail,
        picture: picture.clone(),
        affected: Affected::of(finding.blocks),
    }
}
