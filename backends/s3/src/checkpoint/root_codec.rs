//! The ROOT blob.
//!
//! ```text
//!  0 8 blocks     16 8 seq       32 4 checkpoint    40 8 live blocks
//!  8 8 epoch      24 8 wseq      36 4 reserved      48 8 stored bytes
//! 56   n u32, then n nonces u64
//!      n u32, then n locators of DIR chunks        locator: pack u32, off u32, len u32, crc u32
//!      n u32, then n locators of SEGTAB chunks     pack 0: an empty chunk
//!      n u32, then n locators of PACKTAB chunks    pack 0xffffffff: the pack that holds this ROOT
//!      locator of DEFER                            pack 0: none
//!      pack number of the pack that holds this ROOT u32
//! ```

use super::packs::PackNo;
use super::root::{DIR_ENTRIES, Locator, Position, RootState};
use crate::format::segment::MAX_BLOCKS;
use crate::format::{CheckpointNo, Epoch, FormatError, Nonce, Reader, Seq, Wseq};
use crate::map::PAGE_BLOCKS;
use bytes::BufMut;

/// In PACKTAB locators: this very pack, whatever its number.
pub(super) const SAME_PACK: PackNo = PackNo(u32::MAX);
const LOCATOR_LEN: usize = 16;

/// A ROOT as it is on the bucket: directories are still locators.
#[derive(Debug)]
pub(super) struct RootBlob {
    /// Everything but what the locators point to.
    pub(super) root: RootState,
    /// DIR chunks.
    pub(super) dirs: Vec<Locator>,
    /// PACKTAB chunks.
    pub(super) packtab: Vec<Locator>,
}

pub(super) fn encode(root: &RootState, packtab: &[Locator]) -> Vec<u8> {
    let mut out = Vec::with_capacity(128 + (root.dirs.len() + root.segtab.len() + packtab.len()) * LOCATOR_LEN);
    out.put_u64_le(root.blocks);
    out.put_u64_le(u64::from(root.position.epoch.0));
    out.put_u64_le(root.position.seq.0);
    out.put_u64_le(root.position.wseq.0);
    out.put_u32_le(root.checkpoint.0);
    out.put_u32_le(0);
    out.put_u64_le(root.live_blocks);
    out.put_u64_le(root.stored_bytes);
    put_count(&mut out, root.nonces.len());
    for nonce in &root.nonces {
        out.put_u64_le(nonce.0);
    }
    put_count(&mut out, root.dirs.len());
    for dir in &root.dirs {
        put_locator(&mut out, &dir.locator);
    }
    for list in [&root.segtab[..], packtab] {
        put_count(&mut out, list.len());
        for locator in list {
            put_locator(&mut out, locator);
        }
    }
    put_locator(&mut out, &root.defer);
    out.put_u32_le(root.root_pack.0);
    out
}

pub(super) fn parse(raw: &[u8]) -> Result<RootBlob, FormatError> {
    let mut fields = Reader::new(raw, "root");
    let blocks = fields.u64()?;
    let epoch = fields.u64()?;
    let (seq, wseq) = (Seq(fields.u64()?), Wseq(fields.u64()?));
    let checkpoint = CheckpointNo(fields.u32()?);
    fields.reserved(4)?;
    let (live_blocks, stored_bytes) = (fields.u64()?, fields.u64()?);
    let count = fields.count(8)?;
    let nonces = (0..count).map(|_| fields.u64().map(Nonce)).collect::<Result<_, _>>()?;
    let dirs = read_locators(&mut fields)?;
    let segtab = read_locators(&mut fields)?;
    let packtab = read_locators(&mut fields)?;
    let defer = read_locator(&mut fields)?;
    let root_pack = PackNo(fields.u32()?);
    let chunk_blocks = u64::from(PAGE_BLOCKS) * u64::from(DIR_ENTRIES);
    if blocks > MAX_BLOCKS || dirs.len() as u64 != blocks.div_ceil(chunk_blocks) {
        return Err(fields.corrupt("has a size that its directories do not cover"));
    }
    let Ok(epoch) = u32::try_from(epoch) else { return Err(fields.corrupt("has an epoch of more than 32 bits")) };
    if packtab.iter().any(|locator| locator.pack != SAME_PACK && *locator != Locator::default()) {
        return Err(fields.corrupt("has its pack table in another pack"));
    }
    fields.end()?;
    let position = Position { epoch: Epoch(epoch), seq, wseq };
    let root = RootState {
        checkpoint,
        position,
        blocks,
        nonces,
        segtab,
        defer,
        root_pack,
        live_blocks,
        stored_bytes,
        ..RootState::default()
    };
    Ok(RootBlob { root, dirs, packtab })
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.put_u32_le(u32::try_from(count).expect("tables are bounded"));
}

fn put_locator(out: &mut Vec<u8>, locator: &Locator) {
    out.put_u32_le(locator.pack.0);
    out.put_u32_le(locator.offset);
    out.put_u32_le(locator.len);
    out.put_u32_le(locator.crc);
}

fn read_locators(fields: &mut Reader<'_>) -> Result<Vec<Locator>, FormatError> {
    let count = fields.count(LOCATOR_LEN)?;
    (0..count).map(|_| read_locator(fields)).collect()
}

fn read_locator(fields: &mut Reader<'_>) -> Result<Locator, FormatError> {
    let locator =
        Locator { pack: PackNo(fields.u32()?), offset: fields.u32()?, len: fields.u32()?, crc: fields.u32()? };
    let none = locator == Locator::default();
    if !none && (locator.pack == PackNo(0) || locator.len == 0) {
        return Err(fields.corrupt("has half a locator"));
    }
    Ok(locator)
}
