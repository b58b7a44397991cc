//! Byte ranges of packs, joined where they lie close together.

use crate::checkpoint::blob::BlobEntry;
use crate::checkpoint::pack_index::PackIndex;
use crate::format::PackName;
use std::ops::Range;

/// Blobs closer than this are fetched together.
const JOIN_GAP: u64 = 64 << 10;
/// A fetch grows no further than this.
const FETCH_MAX: u64 = 8 << 20;

/// A byte range of a pack to read.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// The pack.
    pub pack: PackName,
    /// The range. It may reach past the end of the object if it starts at 0.
    pub range: Range<u64>,
    pub(super) what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Head,
    Blobs(Vec<BlobEntry>),
}

/// Queues the fetches for some blobs of one pack.
pub(super) fn join(pack: PackName, index: &PackIndex, mut entries: Vec<BlobEntry>, queue: &mut Vec<Fetch>) {
    entries.sort_unstable_by_key(|entry| entry.offset);
    entries.dedup();
    let mut open: Option<(Range<u64>, Vec<BlobEntry>)> = None;
    for entry in entries {
        let range = index.range(&entry);
        match &mut open {
            Some((joined, list)) if range.start - joined.end <= JOIN_GAP && range.end - joined.start <= FETCH_MAX => {
                joined.end = range.end;
                list.push(entry);
            }
            _ => {
                let done = open.replace((range, vec![entry]));
                queue.extend(done.map(|(range, list)| Fetch { pack, range, what: What::Blobs(list) }));
            }
        }
    }
    queue.extend(open.map(|(range, list)| Fetch { pack, range, what: What::Blobs(list) }));
}
