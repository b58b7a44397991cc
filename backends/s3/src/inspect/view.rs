//! One picture of a disk: its head, or a snapshot.

use std::collections::HashMap;

use nbdgate_api::{Error, Kind};

use super::{
    Inspect,
    follow::{Break, Tail},
};
use crate::{
    checkpoint::{Loaded, Recount, RootState},
    engine::Committed,
    format::{BlockRange, CheckpointNo, Lba, Manifest, Object, RootLocator, SegId, Wseq},
    map::{PagedMap, SegmentTable, Span},
};

/// Live blocks of the segments that are looked at together: bounds what their runs take in memory to 24 bytes each.
const BATCH_BLOCKS: u64 = 4 << 20;

/// Segments looked at together.
const BATCH_SEGMENTS: usize = 4096;

/// Blocks of the disk that lie in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LiveRun {
    /// First block in the segment.
    pub(crate) lblk: u32,
    pub(crate) nblocks: u32,
    /// First block on the disk.
    pub(crate) lba: Lba,
}

impl LiveRun {
    pub(crate) fn range(&self) -> BlockRange {
        BlockRange::new(self.lba, u64::from(self.nblocks))
    }

    /// The blocks of the disk in it that lie in blocks `lblk..end` of the segment.
    pub(crate) fn within(&self, lblk: u32, end: u32) -> Option<BlockRange> {
        let (from, to) = (self.lblk.max(lblk), (self.lblk + self.nblocks).min(end));
        (from < to).then(|| BlockRange::new(self.lba.plus(u64::from(from - self.lblk)), u64::from(to - from)))
    }
}

/// A segment that a view refers to.
#[derive(Clone, Debug)]
pub(crate) struct LiveSegment {
    pub(crate) object: Object,
    /// Blocks in it, by the table.
    pub(crate) lblocks: u32,
    pub(crate) stored_bytes: u64,
    /// Where it is mapped.
    pub(crate) runs: Vec<LiveRun>,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) committed: Committed,
    pub(crate) root: RootState,
    /// Live counters of the checkpoint that were wrong.
    pub(crate) recounts: Vec<Recount>,
}

impl Inspect {
    /// What a root shows; without one, an empty disk.
    ///
    /// # Errors
    /// The checkpoint is damaged, or the store does not answer.
    pub(crate) async fn at_root(
        &self,
        manifest: &Manifest,
        root: Option<RootLocator>,
        blocks: u64,
    ) -> Result<View, Error> {
        let replay = self.replay();
        let volumes = replay.volumes(manifest);
        let Some(locator) = root else {
            let (map, segments) = (PagedMap::new(blocks), SegmentTable::new());
            let committed = Committed::new(volumes, map, segments, CheckpointNo(0), Wseq(0));
            return Ok(View { committed, root: RootState::empty(), recounts: Vec::new() });
        };
        let Loaded { root, mut map, segments, recounts } = replay.checkpoint(manifest, locator).await?;
        if map.blocks() < blocks {
            map.grow(blocks);
        }
        let committed = Committed::new(volumes, map, segments, root.checkpoint(), root.position().wseq);
        Ok(View { committed, root, recounts })
    }
}

impl Inspect {
    /// The disk as it is now: the newest checkpoint and the logs behind it.
    ///
    /// # Errors
    /// The checkpoint or a log is damaged; the text names the object. Or the store does not answer.
    pub(crate) async fn head(&self, manifest: &Manifest) -> Result<(View, Tail), Error> {
        let mut view = self.at_root(manifest, manifest.root, manifest.blocks).await?;
        let (tail, broken) = self.follow(&mut view.committed, manifest).await?;
        let Some(broken) = broken else { return Ok((view, tail)) };
        let (object, why) = match broken {
            Break::Missing(object) => (object, "it is missing".to_owned()),
            Break::Unreadable(object, error) => (object, error.what().to_owned()),
            Break::Misfit(object, why) => (object, why),
        };
        let text = format!("the log is broken at {}: {why}; `fsck` tells more", self.store.name_of(&object.key()));
        Err(Error::new(Kind::Io, text))
    }
}

impl View {
    /// The segments it refers to, in groups whose runs fit memory.
    pub(crate) fn batches(&self) -> Vec<Vec<SegId>> {
        let mut batches: Vec<Vec<SegId>> = Vec::new();
        let mut blocks = 0;
        for (id, entry) in self.committed.segments.iter().filter(|(_, entry)| entry.live > 0) {
            blocks += u64::from(entry.live);
            match batches.last_mut() {
                Some(batch) if blocks <= BATCH_BLOCKS && batch.len() < BATCH_SEGMENTS => batch.push(id),
                _ => {
                    blocks = u64::from(entry.live);
                    batches.push(vec![id]);
                }
            }
        }
        batches
    }

    /// The segments of a batch, with where they are mapped.
    pub(crate) fn segments(&self, batch: &[SegId]) -> Vec<LiveSegment> {
        let mut runs: HashMap<SegId, Vec<LiveRun>> = batch.iter().map(|&id| (id, Vec::new())).collect();
        let map = &self.committed.map;
        for span in map.lookup(BlockRange::new(Lba(0), map.blocks())) {
            let Span::Run(run) = span else { continue };
            if let Some(list) = runs.get_mut(&run.address.segment) {
                list.push(LiveRun { lblk: run.address.lblk, nblocks: run.nblocks, lba: run.lba });
            }
        }
        let segment = |&id: &SegId| {
            let entry = self.committed.segments.get(id).expect("batches hold segments of the table");
            LiveSegment {
                object: self.committed.object(id),
                lblocks: entry.lblocks,
                stored_bytes: u64::from(entry.stored_bytes),
                runs: runs.remove(&id).unwrap_or_default(),
            }
        };
        batch.iter().map(segment).collect()
    }

    /// Stored bytes of the segments it refers to.
    pub(crate) fn live_stored_bytes(&self) -> u64 {
        let live = self.committed.segments.iter().filter(|(_, entry)| entry.live > 0);
        live.map(|(_, entry)| u64::from(entry.stored_bytes)).sum()
    }
}
