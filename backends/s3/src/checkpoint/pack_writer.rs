//! Collects blobs into pack objects of bounded size.

use super::blob::{BlobEntry, BlobType, compress, encode_entries, piece_kind};
use super::encode::CheckpointSpec;
use super::packs::{PackEntry, PackNo, PackTable};
use super::root::Locator;
use crate::format::seal::{Sealer, TAG_LEN};
use crate::format::{CheckpointNo, Head, Kind, PackName, Place, Sealing, VolumeId, Writer};
use bytes::Bytes;

/// A pack is closed before its body would exceed this, so that a checkpoint is stored in pieces that a slow link can
/// carry. Only PACKTAB and ROOT, which stay together, go over it.
pub(super) const PACK_BODY_MAX: usize = 64 << 20;
/// And before it would hold more blobs than this, so that its meta stays below 2 MiB.
pub(super) const PACK_BLOBS_MAX: usize = 64 << 10;

/// A pack to store, with put-if-absent.
#[derive(Clone, Debug)]
pub struct PackObject {
    /// Its name.
    pub name: PackName,
    /// Its bytes in order.
    pub payload: Vec<Bytes>,
}

struct OpenPack {
    no: PackNo,
    name: PackName,
    sealer: Option<Sealer>,
    entries: Vec<BlobEntry>,
    body: Vec<u8>,
}

/// Writes blobs in order; gives each its locator at once.
pub(super) struct PackWriter {
    volume: VolumeId,
    writer: Writer,
    checkpoint: CheckpointNo,
    next_number: u64,
    sealing: Sealing,
    open: Option<OpenPack>,
    done: Vec<PackObject>,
}

impl PackWriter {
    /// For the packs of one checkpoint.
    pub(super) fn new(spec: &CheckpointSpec) -> Self {
        let CheckpointSpec { volume, writer, checkpoint, first_pack: next_number, .. } = *spec;
        Self { volume, writer, checkpoint, next_number, sealing: spec.sealing.clone(), open: None, done: Vec::new() }
    }

    /// Adds a blob that may outlive its root, and counts it in the pack table.
    pub(super) fn push(&mut self, packs: &mut PackTable, kind: BlobType, id: u32, raw: &[u8]) -> Locator {
        let compressed = compress(raw);
        let stored = compressed.as_deref().unwrap_or(raw);
        let len = stored.len() + if self.sealing.is_sealed() { TAG_LEN } else { 0 };
        let full = |pack: &OpenPack| pack.body.len() + len > PACK_BODY_MAX || pack.entries.len() >= PACK_BLOBS_MAX;
        if self.open.as_ref().is_some_and(full) {
            self.close();
        }
        self.current(packs);
        let locator = self.append(kind, id, raw.len(), stored);
        let entry = packs.get_mut(locator.pack).expect("the open pack is in the table");
        entry.total += locator.len;
        entry.live += locator.len;
        locator
    }

    /// Adds a blob that lives and dies with its root, to the open pack whatever its size.
    pub(super) fn push_mortal(&mut self, kind: BlobType, id: u32, raw: &[u8]) -> Locator {
        let compressed = compress(raw);
        self.append(kind, id, raw.len(), compressed.as_deref().unwrap_or(raw))
    }

    /// The pack that the next blob goes to, if it fits.
    pub(super) fn current(&mut self, packs: &mut PackTable) -> (PackNo, PackName) {
        let pack = self.open.get_or_insert_with(|| {
            let number = self.next_number;
            self.next_number += 1;
            let name = PackName { volume: self.volume, writer: self.writer, number };
            let (owner, total, live, birth) = (0, 0, 0, self.checkpoint);
            let no = packs.add(PackEntry { owner, writer: self.writer, number, total, live, birth });
            let sealer = self.sealing.fresh().map(|seal| seal.bind(place(name), name.writer.nonce));
            OpenPack { no, name, sealer, entries: Vec::new(), body: Vec::new() }
        });
        (pack.no, pack.name)
    }

    fn append(&mut self, kind: BlobType, id: u32, raw_len: usize, stored: &[u8]) -> Locator {
        let pack = self.open.as_mut().expect("current() came first");
        let bounded = "blobs and packs are bounded";
        let start = pack.body.len();
        pack.body.extend_from_slice(stored);
        if let Some(sealer) = &mut pack.sealer {
            sealer.seal_piece(piece_kind(kind, id), &mut pack.body, start);
        }
        let stored = &pack.body[start..];
        let entry = BlobEntry {
            kind,
            id,
            offset: u32::try_from(start).expect(bounded),
            len: u32::try_from(stored.len()).expect(bounded),
            raw_len: u32::try_from(raw_len).expect(bounded),
            crc: crc32c::crc32c(stored),
        };
        pack.entries.push(entry);
        Locator { pack: pack.no, offset: entry.offset, len: entry.len, crc: entry.crc }
    }

    fn close(&mut self) {
        let Some(pack) = self.open.take() else { return };
        let (meta, body_len) = (encode_entries(&pack.entries), pack.body.len() as u64);
        let head = Head::encode_sealed(place(pack.name), &meta, body_len, pack.sealer, &[]);
        self.done.push(PackObject { name: pack.name, payload: vec![head.bytes, pack.body.into()] });
    }

    /// All packs, in the order of their numbers.
    pub(super) fn finish(mut self) -> Vec<PackObject> {
        self.close();
        self.done
    }
}

fn place(name: PackName) -> Place {
    Place { volume: name.volume, kind: Kind::Pack, epoch: name.writer.epoch, number: name.number }
}
