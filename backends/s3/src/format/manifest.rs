//! A manifest (§4.6): who owns a volume, where its newest checkpoint is, which logs are not yet under it.
//!
//! Meta is a list of `tag u16, len u32, value`, tags ascending, each at most once. Object number *n* names the
//! sha-256 of object *n-1*, so the chain cannot be swapped from under a reader.
//!
//! An unknown tag below 0x8000 is refused: it says something that must be understood. One from 0x8000 may be
//! ignored; from 0xc000 it is also copied into the manifests that follow, below that it is dropped
//! (docs/decisions/0003-manifest-tags.md).

mod outline;
mod tags;

use super::error::FormatError;
use super::frame::Codec;
use super::ids::{CheckpointNo, ManifestNo, Nonce, Seq, SnapshotId, VolumeId, Writer};
use super::names::{ObjectName, PackName};
use super::object::Head;
use super::prelude::{Kind, Place};
use super::seal::Seal;
use super::{Parent, Sealing};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use uuid::Uuid;

pub use outline::Outline;

/// First tag that may be ignored by a reader that does not know it.
pub const OPTIONAL_TAGS: u16 = 0x8000;
/// First tag that such a reader also copies into the next manifest.
pub const COPIED_TAGS: u16 = 0xc000;

/// What the writer says about the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A new writer has claimed it and is fencing the old one.
    Claim,
    /// Being written.
    Open,
    /// Cleanly closed: nothing outside the bucket.
    Closed,
    /// Deleted; the objects are going away.
    Deleted,
}

/// Tag 3: the writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its epoch and nonce.
    pub writer: Writer,
    /// Its host, 255 bytes at most.
    pub host: String,
    /// Its journal, if it has one.
    pub journal: Option<Uuid>,
    /// The journal may hold writes that the bucket does not.
    pub journal_dirty: bool,
}

impl Owner {
    /// The same owner, once everything that its journal held is in the bucket.
    #[must_use]
    pub fn without_journal(&self) -> Self {
        Self { journal: None, journal_dirty: false, ..self.clone() }
    }
}

/// Where a ROOT blob lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootLocator {
    /// The pack.
    pub pack: PackName,
    /// Offset within the pack's body.
    pub offset: u32,
    /// Stored length.
    pub len: u32,
    /// crc32c of the stored bytes.
    pub crc: u32,
    /// Its checkpoint.
    pub checkpoint: CheckpointNo,
}

/// Tag 6: a closed log that is not yet under the root. Slots `first..=last` hold segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClosedLog {
    /// Whose log.
    pub writer: Writer,
    /// First slot to replay.
    pub first: Seq,
    /// Last slot.
    pub last: Seq,
}

/// Tag 7: the log being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenLog {
    /// Whose log.
    pub writer: Writer,
    /// First slot that is not under the root.
    pub first: Seq,
}

/// Tag 9: a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotEntry {
    /// Its id.
    pub id: SnapshotId,
    /// Its name.
    pub name: String,
    /// When it was taken; for people only.
    pub created_ms: u64,
    /// Its map.
    pub root: RootLocator,
    /// The volume's size then, in blocks.
    pub blocks: u64,
}

/// Tag 11: a data key, wrapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedKey {
    /// Its id.
    pub key_id: u32,
    /// How it is wrapped.
    pub method: u8,
    /// The wrapped key.
    pub wrapped: Bytes,
}

/// What FLUSH waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushMode {
    /// The local journal.
    Journal,
    /// The bucket.
    Object,
    /// Nothing: FLUSH is an order mark.
    None,
}

/// Tag 12: options that the volume's writers share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Most bytes in a frame: a power of two, 4 to 256 KiB.
    pub frame_max: u32,
    /// How log segments are compressed.
    pub codec: Codec,
    /// Stored bytes at which a segment is cut.
    pub segment_size: u32,
    /// What FLUSH waits for.
    pub flush: FlushMode,
    /// Serving lease; 0 is off.
    pub lease_seconds: u32,
}

impl Default for Options {
    fn default() -> Self {
        let (frame_max, segment_size) = (16 << 10, 8 << 20);
        Self { frame_max, codec: Codec::Lz4, segment_size, flush: FlushMode::Object, lease_seconds: 10 }
    }
}

/// One manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// sha-256 of the manifest before; zeros for number 1.
    pub prev: [u8; 32],
    /// What the volume is at.
    pub state: State,
    /// Who wrote this.
    pub owner: Owner,
    /// Size of the disk in blocks.
    pub blocks: u64,
    /// Newest checkpoint; none in a volume that never had one.
    pub root: Option<RootLocator>,
    /// Closed logs that are not yet under the root, oldest first.
    pub sealed: Vec<ClosedLog>,
    /// The log being written, or last written.
    pub open: Option<OpenLog>,
    /// Most uploads in flight of that log's writer.
    pub window: u32,
    /// Snapshots.
    pub snapshots: Vec<SnapshotEntry>,
    /// Ancestors; `owner` n in segment and pack tables is entry n-1.
    pub lineage: Vec<Parent>,
    /// Wrapped data keys.
    pub keys: Vec<WrappedKey>,
    /// Shared options.
    pub options: Options,
    /// The root that holds log segments and fences, if it is not the root of the disk.
    pub log_root: Option<String>,
    /// Tags from 0xc000 that this version does not know, copied as they are.
    pub copied: Vec<(u16, Bytes)>,
}

impl Manifest {
    /// What stands where a volume was begun and will never be: DELETED, and nothing else.
    pub fn tombstone() -> Self {
        Self {
            prev: [0; 32],
            state: State::Deleted,
            owner: Owner { writer: Writer::default(), host: String::new(), journal: None, journal_dirty: false },
            blocks: 0,
            root: None,
            sealed: Vec::new(),
            open: None,
            window: 1,
            snapshots: Vec::new(),
            lineage: Vec::new(),
            keys: Vec::new(),
            options: Options::default(),
            log_root: None,
            copied: Vec::new(),
        }
    }

    /// The whole object with number `no`. Sealed, its body is what stays in clear: tags 1 to 4 and 11.
    pub fn encode(&self, volume: VolumeId, no: ManifestNo, seal: Option<Seal>) -> Bytes {
        let place = Place { volume, kind: Kind::Manifest, epoch: self.owner.writer.epoch, number: no.0 };
        let meta = tags::encode(self);
        let Some(seal) = seal else { return Head::encode(place, &meta, 0).1 };
        let (clear, secret) = outline::split(&meta);
        let sealer = seal.bind(place, Nonce(0));
        let head = Head::encode_sealed(place, &secret, clear.len() as u64, Some(sealer), &clear);
        [&head.bytes[..], &clear].concat().into()
    }

    /// Reads manifest `no` of `volume`.
    ///
    /// # Errors
    ///
    /// As [`Head::open`], naming the object; `FutureVersion` for an unknown mandatory tag.
    pub fn parse_object(
        volume: VolumeId,
        no: ManifestNo,
        bytes: &Bytes,
        sealing: &Sealing,
    ) -> Result<Self, FormatError> {
        let name = ObjectName::Manifest(no);
        Head::open_whole(name, volume, bytes, sealing)
            .and_then(|(head, clear)| {
                let meta = if head.key.is_some() { outline::merge(&clear, &head.meta)? } else { head.meta };
                let manifest = tags::parse(&meta)?;
                if manifest.owner.writer.epoch == head.prelude.place.epoch {
                    Ok(manifest)
                } else {
                    Err(FormatError::misplaced("manifest of another epoch than its prelude says"))
                }
            })
            .map_err(|error| error.in_object(name))
    }

    /// sha-256 of a whole manifest object: the `prev` of the next.
    pub fn hash(object: &[u8]) -> [u8; 32] {
        Sha256::digest(object).into()
    }

    /// The volume that `owner` means in segment and pack tables; `own` is the manifest's volume.
    pub fn owner_volume(&self, own: VolumeId, owner: u16) -> Option<VolumeId> {
        match owner.checked_sub(1) {
            None => Some(own),
            Some(n) => self.lineage.get(usize::from(n)).map(|parent| parent.volume),
        }
    }
}
