//! BLOCK_STATUS from presence, without the database.

use nbdgate_api::{ByteRange, Extent, ExtentKind};

use crate::disk::Core;

/// Extents of one answer at most; a client asks again from where it ends.
const EXTENTS: usize = 16 << 10;

/// What there is of the range, from its start on.
pub(crate) fn extents(core: &Core, range: ByteRange, req_one: bool) -> Vec<Extent> {
    let most = if req_one { 1 } else { EXTENTS };
    let indexes = core.extents_of(range);
    let mut list = Vec::new();
    let mut at = indexes.start;
    while at < indexes.end && list.len() < most {
        let (present, end) = core.presence.run(at, indexes.end);
        let kind = if present { ExtentKind::Data } else { ExtentKind::Hole };
        list.push(Extent { range: core.part(at..end, range), kind });
        at = end;
    }
    list
}
