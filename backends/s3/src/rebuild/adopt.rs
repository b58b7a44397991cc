//! Moved segments in the place of segments that garbage collection deleted after the checkpoint that is the base.
//!
//! A moved segment shows its blocks as they were after the mutation that it names. A block that the state still takes from
//! the base was not written since; so whatever mutation from the base's on to the last one a moved segment names, it holds
//! that block as it is.

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt, stream};
use nbdgate_api::Error;

use super::{salvage, survey::Survey};
use crate::{
    engine::Committed,
    format::{CheckpointNo, Lba, SegmentAddress, Writer, Wseq},
    inspect::Inspect,
    map::{Run, SegmentEntry, SegmentKind, SegmentName},
};

/// Heads read at once.
const PARALLEL: usize = 16;

/// What may be adopted.
pub(super) struct Window<'a> {
    /// From the base's last mutation to the state's.
    pub(super) mutations: std::ops::RangeInclusive<Wseq>,
    /// Those who wrote behind the base.
    pub(super) writers: &'a (dyn Fn(Writer) -> bool + Sync),
    pub(super) birth: CheckpointNo,
}

/// Blocks of the disk that were lost with the segments of the base, by their first block.
pub(super) type Lost = BTreeMap<Lba, u64>;

/// Maps lost blocks to moved segments that hold them; returns how many segments were used.
pub(super) async fn adopt(
    inspect: &Inspect,
    survey: &Survey,
    committed: &mut Committed,
    lost: &Lost,
    window: &Window<'_>,
) -> Result<u64, Error> {
    let names =
        survey.moved.iter().map(|&(writer, number)| SegmentName { kind: SegmentKind::Moved, owner: 0, writer, number });
    let names = names.filter(|name| (window.writers)(name.writer) && committed.segments.find(name).is_none());
    let names: Vec<SegmentName> = names.collect();
    let reads =
        stream::iter(names).map(|name| async move { Ok::<_, Error>((name, salvage::read(inspect, name).await?)) });
    let mut reads = reads.buffered(PARALLEL);
    let mut lost = lost.clone();
    let mut used = 0;
    while let Some((name, segment)) = reads.try_next().await? {
        let Some((head, meta)) = segment else { continue };
        // Imported data names no mutation.
        if meta.last_wseq == Wseq(0) || !window.mutations.contains(&meta.last_wseq) {
            continue;
        }
        let mut parts = Vec::new();
        for run in meta.layout() {
            take(&mut lost, run.lba, u64::from(run.nblocks), |lba, nblocks| {
                let skip = u32::try_from(lba.0 - run.lba.0).expect("within a run");
                parts.push((lba, run.lblk + skip, u32::try_from(nblocks).expect("within a run")));
            });
        }
        if parts.is_empty() {
            continue;
        }
        used += 1;
        let stored_bytes = u32::try_from(head.prelude.object_len()).unwrap_or(u32::MAX);
        let entry = SegmentEntry { name, lblocks: meta.lblocks(), live: 0, stored_bytes, birth: window.birth };
        let Committed { map, segments, .. } = committed;
        let segment = segments.insert(entry);
        for (lba, lblk, nblocks) in parts {
            map.update(Run { lba, address: SegmentAddress { segment, lblk }, nblocks }, |old| {
                segments.sub_live(old.address.segment, old.nblocks);
            });
            segments.add_live(segment, nblocks);
        }
    }
    Ok(used)
}

/// Takes what is lost of a range out, part by part.
fn take(lost: &mut Lost, start: Lba, nblocks: u64, mut part: impl FnMut(Lba, u64)) {
    let end = start.plus(nblocks);
    let before = lost.range(..start).next_back().map(|(&lba, &count)| (lba, count));
    let first = before.filter(|&(lba, count)| lba.plus(count) > start).map_or(start, |(lba, _)| lba);
    let touched: Vec<(Lba, u64)> = lost.range(first..end).map(|(&lba, &count)| (lba, count)).collect();
    for (lba, count) in touched {
        lost.remove(&lba);
        let (from, to) = (lba.max(start), lba.plus(count).min(end));
        part(from, to.0 - from.0);
        if lba < from {
            lost.insert(lba, from.0 - lba.0);
        }
        if lba.plus(count) > to {
            lost.insert(to, lba.plus(count).0 - to.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_taken_once() {
        let mut lost: Lost = [(Lba(10), 10), (Lba(30), 5)].into();
        let mut parts = Vec::new();
        take(&mut lost, Lba(12), 20, |lba, nblocks| parts.push((lba.0, nblocks)));
        assert_eq!(parts, [(12, 8), (30, 2)]);
        assert_eq!(lost, [(Lba(10), 2), (Lba(32), 3)].into());
        take(&mut lost, Lba(12), 20, |_, _| panic!("nothing is left there"));
    }
}
