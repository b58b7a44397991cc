//! The tag list of a manifest: values to bytes and back.

use super::{
    COPIED_TAGS, ClosedLog, FlushMode, Manifest, OPTIONAL_TAGS, OpenLog, Options, Owner, RootLocator, SnapshotEntry,
    State, WrappedKey,
};
use crate::format::fence::MAX_HOST;
use crate::format::frame::{Codec, MAX_FRAME_BLOCKS};
use crate::format::ids::{BLOCK_BYTES, CheckpointNo, Seq, SnapshotId, VolumeId};
use crate::format::names::PackName;
use crate::format::segment::MAX_BLOCKS;
use crate::format::wire::{put_string, put_writer};
use crate::format::{FormatError, FormatErrorKind, Parent, Reader};
use bytes::{BufMut, Bytes};
use uuid::Uuid;

pub(super) const PREV: u16 = 1;
pub(super) const STATE: u16 = 2;
pub(super) const WRITER: u16 = 3;
pub(super) const SIZE: u16 = 4;
const ROOT: u16 = 5;
const SEALED: u16 = 6;
const OPEN: u16 = 7;
const WINDOW: u16 = 8;
const SNAPSHOTS: u16 = 9;
const LINEAGE: u16 = 10;
pub(super) const KEYS: u16 = 11;
const OPTIONS: u16 = 12;
const LOG_ROOT: u16 = 16;

const LEN_ROOT: usize = 16 + 16 + 8 + 12 + 4;
const LEN_CLOSED_LOG: usize = 32;
const LEN_PARENT: usize = 32;
const MIN_SNAPSHOT: usize = 16 + 2 + 8 + LEN_ROOT + 8;
const MIN_KEY: usize = 7;

/// The meta of a manifest.
pub(super) fn encode(manifest: &Manifest) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    put_tag(&mut out, PREV, |out| out.put_slice(&manifest.prev));
    put_tag(&mut out, STATE, |out| out.put_u8(state_byte(manifest.state)));
    put_tag(&mut out, WRITER, |out| put_owner(out, &manifest.owner));
    put_tag(&mut out, SIZE, |out| out.put_u64_le(manifest.blocks));
    if let Some(root) = &manifest.root {
        put_tag(&mut out, ROOT, |out| put_root(out, root));
    }
    put_list(&mut out, SEALED, &manifest.sealed, |out, log| {
        put_writer(out, log.writer);
        out.put_u64_le(log.first.0);
        out.put_u64_le(log.last.0);
    });
    if let Some(open) = &manifest.open {
        put_tag(&mut out, OPEN, |out| {
            put_writer(out, open.writer);
            out.put_u64_le(open.first.0);
        });
    }
    put_tag(&mut out, WINDOW, |out| out.put_u32_le(manifest.window));
    put_list(&mut out, SNAPSHOTS, &manifest.snapshots, |out, snapshot| {
        out.put_slice(snapshot.id.0.as_bytes());
        put_string(out, &snapshot.name);
        out.put_u64_le(snapshot.created_ms);
        put_root(out, &snapshot.root);
        out.put_u64_le(snapshot.blocks);
    });
    put_list(&mut out, LINEAGE, &manifest.lineage, |out, parent| {
        out.put_slice(parent.volume.0.as_bytes());
        out.put_slice(parent.snapshot.0.as_bytes());
    });
    put_list(&mut out, KEYS, &manifest.keys, |out, key| {
        out.put_u32_le(key.key_id);
        out.put_u8(key.method);
        out.put_u16_le(u16::try_from(key.wrapped.len()).expect("wrapped keys are short"));
        out.put_slice(&key.wrapped);
    });
    put_tag(&mut out, OPTIONS, |out| put_options(out, &manifest.options));
    if let Some(root) = &manifest.log_root {
        put_tag(&mut out, LOG_ROOT, |out| put_string(out, root));
    }
    for (tag, value) in &manifest.copied {
        assert!(*tag >= COPIED_TAGS, "only tags that parse() kept are copied");
        put_tag(&mut out, *tag, |out| out.put_slice(value));
    }
    out
}

/// Reads the meta of a manifest.
pub(super) fn parse(meta: &Bytes) -> Result<Manifest, FormatError> {
    let mut found = Found::default();
    let mut fields = Reader::new(meta, "manifest");
    let mut last = 0;
    while fields.remaining() > 0 {
        let tag = fields.u16()?;
        let len = fields.u32()? as usize;
        let value = fields.bytes(len)?;
        if tag <= last {
            return Err(fields.corrupt("has tags out of order"));
        }
        last = tag;
        if tag >= COPIED_TAGS {
            found.copied.push((tag, meta.slice_ref(value)));
        } else if tag < OPTIONAL_TAGS {
            let mut value = Reader::new(value, "manifest");
            found.read(tag, &mut value)?;
            value.end()?;
        }
    }
    found.complete()
}

#[derive(Default)]
pub(super) struct Found {
    prev: Option<[u8; 32]>,
    pub(super) state: Option<State>,
    pub(super) owner: Option<Owner>,
    pub(super) blocks: Option<u64>,
    root: Option<RootLocator>,
    sealed: Vec<ClosedLog>,
    open: Option<OpenLog>,
    window: Option<u32>,
    snapshots: Vec<SnapshotEntry>,
    lineage: Vec<Parent>,
    pub(super) keys: Vec<WrappedKey>,
    options: Option<Options>,
    log_root: Option<String>,
    copied: Vec<(u16, Bytes)>,
}

impl Found {
    pub(super) fn read(&mut self, tag: u16, value: &mut Reader<'_>) -> Result<(), FormatError> {
        match tag {
            PREV => {
                let mut prev = [0; 32];
                prev.copy_from_slice(value.bytes(32)?);
                self.prev = Some(prev);
            }
            STATE => self.state = Some(read_state(value)?),
            WRITER => self.owner = Some(read_owner(value)?),
            SIZE => self.blocks = Some(read_blocks(value)?),
            ROOT => self.root = Some(read_root(value)?),
            SEALED => self.sealed = read_list(value, LEN_CLOSED_LOG, read_closed_log)?,
            OPEN => self.open = Some(OpenLog { writer: value.writer()?, first: Seq(value.u64()?) }),
            WINDOW => self.window = Some(value.u32()?),
            SNAPSHOTS => self.snapshots = read_list(value, MIN_SNAPSHOT, read_snapshot)?,
            LINEAGE => self.lineage = read_list(value, LEN_PARENT, read_parent)?,
            KEYS => self.keys = read_list(value, MIN_KEY, read_key)?,
            OPTIONS => self.options = Some(read_options(value)?),
            LOG_ROOT => self.log_root = Some(value.string()?),
            _ => {
                let what = format!("manifest has the mandatory tag {tag:#x}, unknown to this version");
                return Err(FormatError::new(FormatErrorKind::FutureVersion, what));
            }
        }
        Ok(())
    }

    fn complete(self) -> Result<Manifest, FormatError> {
        let (Some(prev), Some(state), Some(owner), Some(blocks), Some(window), Some(options)) =
            (self.prev, self.state, self.owner, self.blocks, self.window, self.options)
        else {
            return Err(FormatError::corrupt("manifest lacks a tag that every manifest has"));
        };
        Ok(Manifest {
            prev,
            state,
            owner,
            blocks,
            root: self.root,
            sealed: self.sealed,
            open: self.open,
            window,
            snapshots: self.snapshots,
            lineage: self.lineage,
            keys: self.keys,
            options,
            log_root: self.log_root,
            copied: self.copied,
        })
    }
}

fn put_tag(out: &mut Vec<u8>, tag: u16, value: impl FnOnce(&mut Vec<u8>)) {
    out.put_u16_le(tag);
    let len_at = out.len();
    out.put_u32_le(0);
    value(out);
    let len = u32::try_from(out.len() - len_at - 4).expect("manifests are bounded");
    out[len_at..len_at + 4].copy_from_slice(&len.to_le_bytes());
}

/// An empty list has no tag.
fn put_list<T>(out: &mut Vec<u8>, tag: u16, items: &[T], put: impl Fn(&mut Vec<u8>, &T)) {
    if items.is_empty() {
        return;
    }
    put_tag(out, tag, |out| {
        out.put_u32_le(u32::try_from(items.len()).expect("manifests are bounded"));
        for item in items {
            put(out, item);
        }
    });
}

fn read_list<T>(
    value: &mut Reader<'_>,
    item_min: usize,
    read: impl Fn(&mut Reader<'_>) -> Result<T, FormatError>,
) -> Result<Vec<T>, FormatError> {
    let count = value.count(item_min)?;
    if count == 0 {
        return Err(value.corrupt("has a list of nothing"));
    }
    (0..count).map(|_| read(value)).collect()
}

fn state_byte(state: State) -> u8 {
    match state {
        State::Claim => 1,
        State::Open => 2,
        State::Closed => 3,
        State::Deleted => 4,
    }
}

fn read_state(value: &mut Reader<'_>) -> Result<State, FormatError> {
    let byte = value.u8()?;
    let known = [State::Claim, State::Open, State::Closed, State::Deleted];
    known.into_iter().find(|&state| state_byte(state) == byte).ok_or_else(|| value.corrupt("has an unknown state"))
}

fn put_owner(out: &mut Vec<u8>, owner: &Owner) {
    assert!(owner.host.len() <= MAX_HOST, "host ids are checked where they are configured");
    put_writer(out, owner.writer);
    put_string(out, &owner.host);
    out.put_slice(owner.journal.unwrap_or(Uuid::nil()).as_bytes());
    out.put_u8(u8::from(owner.journal_dirty));
}

fn read_owner(value: &mut Reader<'_>) -> Result<Owner, FormatError> {
    let writer = value.writer()?;
    let host = value.string()?;
    if host.len() > MAX_HOST {
        return Err(value.corrupt("has a host id of more than 255 bytes"));
    }
    let journal = value.uuid()?;
    let dirty = value.u8()?;
    if dirty > 1 {
        return Err(value.corrupt("has a journal mark that is neither 0 nor 1"));
    }
    let journal = (!journal.is_nil()).then_some(journal);
    Ok(Owner { writer, host, journal, journal_dirty: dirty == 1 })
}

fn read_blocks(value: &mut Reader<'_>) -> Result<u64, FormatError> {
    let blocks = value.u64()?;
    if blocks <= MAX_BLOCKS { Ok(blocks) } else { Err(value.corrupt("has a size out of bounds")) }
}

fn put_root(out: &mut Vec<u8>, root: &RootLocator) {
    out.put_slice(root.pack.volume.0.as_bytes());
    put_writer(out, root.pack.writer);
    out.put_u64_le(root.pack.number);
    out.put_u32_le(root.offset);
    out.put_u32_le(root.len);
    out.put_u32_le(root.crc);
    out.put_u32_le(root.checkpoint.0);
}

fn read_root(value: &mut Reader<'_>) -> Result<RootLocator, FormatError> {
    let volume = VolumeId(value.uuid()?);
    let pack = PackName { volume, writer: value.writer()?, number: value.u64()? };
    let (offset, len, crc) = (value.u32()?, value.u32()?, value.u32()?);
    Ok(RootLocator { pack, offset, len, crc, checkpoint: CheckpointNo(value.u32()?) })
}

fn read_closed_log(value: &mut Reader<'_>) -> Result<ClosedLog, FormatError> {
    let log = ClosedLog { writer: value.writer()?, first: Seq(value.u64()?), last: Seq(value.u64()?) };
    if log.first <= log.last { Ok(log) } else { Err(value.corrupt("has a closed log that ends before it begins")) }
}

fn read_snapshot(value: &mut Reader<'_>) -> Result<SnapshotEntry, FormatError> {
    Ok(SnapshotEntry {
        id: SnapshotId(value.uuid()?),
        name: value.string()?,
        created_ms: value.u64()?,
        root: read_root(value)?,
        blocks: read_blocks(value)?,
    })
}

fn read_parent(value: &mut Reader<'_>) -> Result<Parent, FormatError> {
    Ok(Parent { volume: VolumeId(value.uuid()?), snapshot: SnapshotId(value.uuid()?) })
}

fn read_key(value: &mut Reader<'_>) -> Result<WrappedKey, FormatError> {
    let (key_id, method, len) = (value.u32()?, value.u8()?, value.u16()?);
    Ok(WrappedKey { key_id, method, wrapped: Bytes::copy_from_slice(value.bytes(usize::from(len))?) })
}

fn put_options(out: &mut Vec<u8>, options: &Options) {
    out.put_u32_le(options.frame_max);
    out.put_u8(options.codec.to_byte());
    out.put_u32_le(options.segment_size);
    out.put_u8(flush_byte(options.flush));
    out.put_u32_le(options.lease_seconds);
}

fn flush_byte(flush: FlushMode) -> u8 {
    match flush {
        FlushMode::Journal => 1,
        FlushMode::Object => 2,
        FlushMode::None => 3,
    }
}

fn read_options(value: &mut Reader<'_>) -> Result<Options, FormatError> {
    let frame_max = value.u32()?;
    let blocks = frame_max / BLOCK_BYTES;
    if !frame_max.is_power_of_two() || !(1..=MAX_FRAME_BLOCKS).contains(&blocks) {
        return Err(value.corrupt("has a frame size out of bounds"));
    }
    let codec = Codec::from_byte(value.u8()?).ok_or_else(|| value.corrupt("has an unknown codec"))?;
    let segment_size = value.u32()?;
    let flush = value.u8()?;
    let known = [FlushMode::Journal, FlushMode::Object, FlushMode::None];
    let flush = known.into_iter().find(|&mode| flush_byte(mode) == flush);
    let flush = flush.ok_or_else(|| value.corrupt("has an unknown flush mode"))?;
    Ok(Options { frame_max, codec, segment_size, flush, lease_seconds: value.u32()? })
}
