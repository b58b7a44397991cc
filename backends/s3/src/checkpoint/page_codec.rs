//! A PAGE blob: varint count, then per extent four varints: gap since the previous end, length - 1, segment minus the
//! previous segment (zigzag), lblk minus where the previous extent ended in its segment (zigzag).
//!
//! All "previous" values start at 0. Data written in order costs 4 bytes an extent.

use crate::format::{FormatError, Reader, SegId, put_varint, zigzag};
use crate::map::{Extent, PAGE_BLOCKS, Page};

/// The raw blob; `None` for a hole.
pub(super) fn encode(page: &Page) -> Option<Vec<u8>> {
    let count = page.extents().count();
    if count == 0 {
        return None;
    }
    let mut out = Vec::with_capacity(4 + count * 6);
    put_varint(&mut out, count as u64);
    let mut previous = Extent { start: 0, nblocks: 0, segment: SegId(0), lblk: 0 };
    for extent in page.extents() {
        put_varint(&mut out, u64::from(extent.start - previous.end()));
        put_varint(&mut out, u64::from(extent.nblocks - 1));
        put_varint(&mut out, zigzag::encode(i64::from(extent.segment.0) - i64::from(previous.segment.0)));
        let lblk = i64::from(previous.lblk) + i64::from(previous.nblocks);
        put_varint(&mut out, zigzag::encode(i64::from(extent.lblk) - lblk));
        previous = extent;
    }
    Some(out)
}

/// Reads a raw blob. `fits` says whether `(segment, end lblk)` exists.
pub(super) fn parse(raw: &[u8], blocks: u32, fits: impl Fn(SegId, u32) -> bool) -> Result<Page, FormatError> {
    let mut fields = Reader::new(raw, "page");
    let count = fields.varint()?;
    let count = fields.fits(count, 4)?;
    if count == 0 || count > PAGE_BLOCKS as usize {
        return Err(fields.corrupt("has no or too many extents"));
    }
    let mut extents = Vec::with_capacity(count);
    let mut previous = Extent { start: 0, nblocks: 0, segment: SegId(0), lblk: 0 };
    for _ in 0..count {
        let extent = read_extent(&mut fields, &previous)?;
        let in_page = u64::from(extent.start) + u64::from(extent.nblocks) <= u64::from(blocks);
        let end = extent.lblk.checked_add(extent.nblocks);
        if !in_page || !end.is_some_and(|end| fits(extent.segment, end)) {
            return Err(fields.corrupt("has an extent out of bounds"));
        }
        extents.push(extent);
        previous = extent;
    }
    fields.end()?;
    Ok(Page::from_extents(extents.into_iter()))
}

fn read_extent(fields: &mut Reader<'_>, previous: &Extent) -> Result<Extent, FormatError> {
    let block = |value: u64| u32::try_from(value).ok().filter(|&value| value < PAGE_BLOCKS);
    let gap = block(fields.varint()?);
    let len = block(fields.varint()?);
    let segment = zigzag::decode(fields.varint()?).checked_add(i64::from(previous.segment.0));
    let lblk_from = i64::from(previous.lblk) + i64::from(previous.nblocks);
    let lblk = zigzag::decode(fields.varint()?).checked_add(lblk_from);
    let u32_of = |value: Option<i64>| value.and_then(|value| u32::try_from(value).ok());
    let (Some(gap), Some(len), Some(segment), Some(lblk)) = (gap, len, u32_of(segment), u32_of(lblk)) else {
        return Err(fields.corrupt("has an extent out of bounds"));
    };
    Ok(Extent { start: previous.end() + gap, nblocks: len + 1, segment: SegId(segment), lblk })
}
