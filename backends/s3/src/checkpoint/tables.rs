//! DIR, SEGTAB, PACKTAB and DEFER blobs: arrays of fixed-size records.
//!
//! ```text
//! DIR      12 bytes x up to 1024: pack u32, off u32, len u32                     pack 0: hole
//! SEGTAB   40 bytes x up to 1024: kind u8 (0 free, 1 log, 2 moved), flags u8, owner u16, epoch u32, number u64,
//!          nonce index u32, lblocks u32, live u32, stored_bytes u32, birth u32, pad u32
//! PACKTAB  32 bytes x up to 1024: used u8, flags u8, owner u16, epoch u32, number u64, nonce index u32, total u32,
//!          live u32, birth u32                                                    chunk c, record i: pack c*1024+i+1
//! DEFER    16 bytes each: what u8 (1 segment, 2 pack), pad[3], handle or pack u32, birth u32, death u32
//! ```
//!
//! Trailing free records of a chunk are left out. Free records are all zeros.

use super::packs::{PackEntry, PackNo};
use super::root::{DIR_ENTRIES, Deferred, DeferredObject, DirEntries, PageLocator};
use crate::format::{CheckpointNo, Epoch, FormatError, FormatErrorKind, Nonce, Reader, SegId, Writer};
use crate::map::segments::{CHUNK_ENTRIES, Chunk};
use crate::map::{SegmentEntry, SegmentKind, SegmentName};
use bytes::BufMut;

const DIR_RECORD: usize = 12;
const SEGMENT_RECORD: usize = 40;
const PACK_RECORD: usize = 32;
const DEFER_RECORD: usize = 16;
/// Packs in a PACKTAB chunk.
pub(super) const PACKTAB_ENTRIES: usize = 1024;

/// The nonce table of a root: append-only, so that indexes stay valid in blobs that are not rewritten.
pub(super) fn nonce_index(nonces: &mut Vec<Nonce>, nonce: Nonce) -> u32 {
    let at = nonces.iter().rposition(|&known| known == nonce).unwrap_or_else(|| {
        nonces.push(nonce);
        nonces.len() - 1
    });
    u32::try_from(at).expect("fewer than 2^32 writers")
}

fn writer(fields: &Reader<'_>, epoch: u32, nonce: u32, nonces: &[Nonce]) -> Result<Writer, FormatError> {
    match nonces.get(nonce as usize) {
        Some(&nonce) => Ok(Writer { epoch: Epoch(epoch), nonce }),
        None => Err(fields.corrupt("has a nonce index out of bounds")),
    }
}

pub(super) fn encode_dir(pages: &DirEntries) -> Vec<u8> {
    let used = pages.iter().rposition(|page| page.pack != PackNo(0)).map_or(0, |last| last + 1);
    let mut out = Vec::with_capacity(used * DIR_RECORD);
    for page in &pages[..used] {
        out.put_u32_le(page.pack.0);
        out.put_u32_le(page.offset);
        out.put_u32_le(page.len);
    }
    out
}

pub(super) fn parse_dir(raw: &[u8]) -> Result<DirEntries, FormatError> {
    let mut fields = Reader::new(raw, "page directory");
    let count = records(&fields, DIR_RECORD, DIR_ENTRIES as usize)?;
    let mut pages = [PageLocator::default(); DIR_ENTRIES as usize];
    for page in &mut pages[..count] {
        *page = PageLocator { pack: PackNo(fields.u32()?), offset: fields.u32()?, len: fields.u32()? };
        let hole = *page == PageLocator::default();
        if !hole && (page.pack == PackNo(0) || page.len == 0) {
            return Err(fields.corrupt("has half a locator"));
        }
    }
    fields.end()?;
    Ok(pages)
}

pub(super) fn encode_segtab(chunk: &Chunk, nonces: &mut Vec<Nonce>) -> Vec<u8> {
    let used = chunk.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    let mut out = Vec::with_capacity(used * SEGMENT_RECORD);
    for slot in &chunk[..used] {
        let Some(entry) = slot else {
            out.put_bytes(0, SEGMENT_RECORD);
            continue;
        };
        out.put_u8(match entry.name.kind {
            SegmentKind::Log => 1,
            SegmentKind::Moved => 2,
        });
        out.put_u8(0);
        out.put_u16_le(entry.name.owner);
        out.put_u32_le(entry.name.writer.epoch.0);
        out.put_u64_le(entry.name.number);
        out.put_u32_le(nonce_index(nonces, entry.name.writer.nonce));
        out.put_u32_le(entry.lblocks);
        out.put_u32_le(entry.live);
        out.put_u32_le(entry.stored_bytes);
        out.put_u32_le(entry.birth.0);
        out.put_u32_le(0);
    }
    out
}

pub(super) fn parse_segtab(raw: &[u8], nonces: &[Nonce]) -> Result<Chunk, FormatError> {
    let fields = Reader::new(raw, "segment table");
    let count = records(&fields, SEGMENT_RECORD, CHUNK_ENTRIES as usize)?;
    let mut chunk = Vec::with_capacity(count);
    for record in raw.chunks_exact(SEGMENT_RECORD) {
        let mut fields = Reader::new(record, "segment table");
        let kind = match fields.u8()? {
            0 => {
                fields.reserved(SEGMENT_RECORD - 1)?;
                chunk.push(None);
                continue;
            }
            1 => SegmentKind::Log,
            2 => SegmentKind::Moved,
            kind => return Err(future(format!("segment table has the unknown kind {kind}"))),
        };
        fields.reserved(1)?;
        let owner = fields.u16()?;
        let (epoch, number, nonce) = (fields.u32()?, fields.u64()?, fields.u32()?);
        let name = SegmentName { kind, owner, writer: writer(&fields, epoch, nonce, nonces)?, number };
        let (lblocks, live, stored_bytes) = (fields.u32()?, fields.u32()?, fields.u32()?);
        let birth = CheckpointNo(fields.u32()?);
        fields.reserved(4)?;
        if live > lblocks {
            return Err(fields.corrupt("has a segment with more live blocks than blocks"));
        }
        chunk.push(Some(SegmentEntry { name, lblocks, live, stored_bytes, birth }));
    }
    Ok(chunk)
}

pub(super) fn encode_packtab(chunk: &[Option<PackEntry>], nonces: &mut Vec<Nonce>) -> Vec<u8> {
    let used = chunk.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    let mut out = Vec::with_capacity(used * PACK_RECORD);
    for slot in &chunk[..used] {
        let Some(entry) = slot else {
            out.put_bytes(0, PACK_RECORD);
            continue;
        };
        out.put_u8(1);
        out.put_u8(0);
        out.put_u16_le(entry.owner);
        out.put_u32_le(entry.writer.epoch.0);
        out.put_u64_le(entry.number);
        out.put_u32_le(nonce_index(nonces, entry.writer.nonce));
        out.put_u32_le(entry.total);
        out.put_u32_le(entry.live);
        out.put_u32_le(entry.birth.0);
    }
    out
}

pub(super) fn parse_packtab(raw: &[u8], nonces: &[Nonce]) -> Result<Vec<Option<PackEntry>>, FormatError> {
    let fields = Reader::new(raw, "pack table");
    let count = records(&fields, PACK_RECORD, PACKTAB_ENTRIES)?;
    let mut chunk = Vec::with_capacity(count);
    for record in raw.chunks_exact(PACK_RECORD) {
        let mut fields = Reader::new(record, "pack table");
        match fields.u8()? {
            0 => {
                fields.reserved(PACK_RECORD - 1)?;
                chunk.push(None);
                continue;
            }
            1 => {}
            used => return Err(future(format!("pack table has the unknown mark {used}"))),
        }
        fields.reserved(1)?;
        let owner = fields.u16()?;
        let (epoch, number, nonce) = (fields.u32()?, fields.u64()?, fields.u32()?);
        let writer = writer(&fields, epoch, nonce, nonces)?;
        let (total, live) = (fields.u32()?, fields.u32()?);
        if live > total {
            return Err(fields.corrupt("has a pack with more live bytes than bytes"));
        }
        chunk.push(Some(PackEntry { owner, writer, number, total, live, birth: CheckpointNo(fields.u32()?) }));
    }
    Ok(chunk)
}

pub(super) fn encode_defer(deferred: &[Deferred]) -> Vec<u8> {
    let mut out = Vec::with_capacity(deferred.len() * DEFER_RECORD);
    for entry in deferred {
        let (what, id) = match entry.object {
            DeferredObject::Segment(id) => (1, id.0),
            DeferredObject::Pack(no) => (2, no.0),
        };
        out.put_u8(what);
        out.put_bytes(0, 3);
        out.put_u32_le(id);
        out.put_u32_le(entry.birth.0);
        out.put_u32_le(entry.death.0);
    }
    out
}

pub(super) fn parse_defer(raw: &[u8]) -> Result<Vec<Deferred>, FormatError> {
    let fields = Reader::new(raw, "deferred deletes");
    let count = records(&fields, DEFER_RECORD, raw.len() / DEFER_RECORD)?;
    let mut deferred = Vec::with_capacity(count);
    for record in raw.chunks_exact(DEFER_RECORD) {
        let mut fields = Reader::new(record, "deferred deletes");
        let what = fields.u8()?;
        fields.reserved(3)?;
        let id = fields.u32()?;
        let object = match what {
            1 => DeferredObject::Segment(SegId(id)),
            2 => DeferredObject::Pack(PackNo(id)),
            _ => return Err(future(format!("deferred deletes have the unknown kind {what}"))),
        };
        let (birth, death) = (CheckpointNo(fields.u32()?), CheckpointNo(fields.u32()?));
        deferred.push(Deferred { object, birth, death });
    }
    Ok(deferred)
}

fn records(fields: &Reader<'_>, len: usize, most: usize) -> Result<usize, FormatError> {
    let count = fields.remaining() / len;
    if count > most || !fields.remaining().is_multiple_of(len) {
        return Err(fields.corrupt("has too many records or half a record"));
    }
    Ok(count)
}

fn future(what: String) -> FormatError {
    FormatError::new(FormatErrorKind::FutureVersion, what)
}
