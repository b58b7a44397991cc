//! The rebuilt state against the disk as it opens, where it does.

use nbdgate_api::Error;

use super::survey::Survey;
use crate::{
    engine::Committed,
    format::{BlockRange, Lba, Object},
    inspect::{Inspect, affected::Affected, view::View},
    map::{SegmentKind, Span},
};

/// The head of a disk whose newest manifest, checkpoint and logs are sound.
pub(super) async fn healthy(inspect: &Inspect, survey: &Survey) -> Result<Option<View>, Error> {
    let Some(manifest) = survey.manifest.as_ref().filter(|_| survey.is_current()) else { return Ok(None) };
    let Ok(mut view) = inspect.at_root(manifest, manifest.root, manifest.blocks).await else { return Ok(None) };
    let (_, broken) = inspect.follow(&mut view.committed, manifest).await?;
    Ok(broken.is_none().then_some(view))
}

/// Where a block of the disk lies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Hole,
    Log(Object, u32),
    /// Copies of the same data may lie in several.
    Moved,
}

/// Where two states refer to other blocks. Moved data is taken for what it is a copy of.
pub(super) fn differences(head: &View, rebuilt: &Committed) -> Affected {
    let blocks = head.committed.map.blocks().max(rebuilt.map.blocks());
    let mut differ = Vec::new();
    let mut at = 0;
    while at < blocks {
        let ((ours, our_end), (theirs, their_end)) = (place(rebuilt, at), place(&head.committed, at));
        let end = our_end.min(their_end).min(blocks);
        let moved = |place| place == Place::Moved;
        let same = ours == theirs || moved(ours) && theirs != Place::Hole || moved(theirs) && ours != Place::Hole;
        if !same {
            differ.push(BlockRange::new(Lba(at), end - at));
        }
        at = end;
    }
    Affected::of(differ)
}

/// Where the block at `at` lies, and up to where that goes on.
fn place(committed: &Committed, at: u64) -> (Place, u64) {
    let blocks = committed.map.blocks();
    if at >= blocks {
        return (Place::Hole, u64::MAX);
    }
    match committed.map.lookup(BlockRange::new(Lba(at), blocks - at)).next() {
        None => (Place::Hole, blocks),
        Some(Span::Hole(range)) => (Place::Hole, range.end().0),
        Some(Span::Run(run)) => {
            let entry = committed.segments.get(run.address.segment);
            let log = entry.is_some_and(|entry| entry.name.kind == SegmentKind::Log);
            let place =
                if log { Place::Log(committed.object(run.address.segment), run.address.lblk) } else { Place::Moved };
            (place, run.range().end().0)
        }
    }
}
