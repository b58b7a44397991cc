//! The immutable descriptor of a volume (§4.7). Its presence makes the volume exist.
//!
//! Meta: created unix ms u64, block_shift u8, format version u8, cipher suite u8 (0 none, 1 AES-256-GCM), has_parent u8, parent
//! volume uuid, parent snapshot uuid (zeros without a parent), name (u16 length, utf-8).

use super::error::{FormatError, FormatErrorKind};
use super::ids::{BLOCK_SHIFT, Epoch, SnapshotId, VolumeId};
use super::names::{ObjectName, VolumeName};
use super::object::Head;
use super::prelude::{FORMAT_VERSION, Kind, Place};
use super::wire::{Reader, put_string};
use bytes::{BufMut, Bytes};
use uuid::Uuid;

const CIPHER_NONE: u8 = 0;
const CIPHER_AES_256_GCM: u8 = 1;

/// What a clone was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The volume.
    pub volume: VolumeId,
    /// Its snapshot.
    pub snapshot: SnapshotId,
}

/// What never changes about a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Its name when it was created.
    pub name: VolumeName,
    /// When that was; for people only.
    pub created_ms: u64,
    /// What it is a clone of.
    pub parent: Option<Parent>,
    /// Its objects are sealed with AES-256-GCM (cipher suite 1).
    pub sealed: bool,
}

impl Descriptor {
    /// The whole object.
    pub fn encode(&self, volume: VolumeId) -> Bytes {
        let mut meta = Vec::new();
        meta.put_u64_le(self.created_ms);
        meta.put_u8(BLOCK_SHIFT);
        meta.put_u8(FORMAT_VERSION);
        meta.put_u8(if self.sealed { CIPHER_AES_256_GCM } else { CIPHER_NONE });
        meta.put_u8(u8::from(self.parent.is_some()));
        let (volume_of, snapshot) =
            self.parent.map_or((Uuid::nil(), Uuid::nil()), |parent| (parent.volume.0, parent.snapshot.0));
        meta.put_slice(volume_of.as_bytes());
        meta.put_slice(snapshot.as_bytes());
        put_string(&mut meta, self.name.as_str());
        Head::encode(Place { volume, kind: Kind::Descriptor, epoch: Epoch(0), number: 0 }, &meta, 0).1
    }

    /// Reads the descriptor of `volume`.
    ///
    /// # Errors
    ///
    /// As [`Head::parse`], naming the object; `FutureVersion` for another block size, format or cipher
    /// suite.
    pub fn parse_object(volume: VolumeId, bytes: &Bytes) -> Result<Self, FormatError> {
        let name = ObjectName::Descriptor;
        Head::parse_whole(&name.expected(volume), bytes)
            .and_then(|head| Self::parse(&head.meta))
            .map_err(|error| error.in_object(name))
    }

    fn parse(meta: &[u8]) -> Result<Self, FormatError> {
        let mut fields = Reader::new(meta, "descriptor");
        let created_ms = fields.u64()?;
        let (block_shift, version, cipher) = (fields.u8()?, fields.u8()?, fields.u8()?);
        if block_shift != BLOCK_SHIFT || version != FORMAT_VERSION {
            let what = format!("volume of format {version} with blocks of 2^{block_shift} bytes");
            return Err(FormatError::new(FormatErrorKind::FutureVersion, what));
        }
        if cipher > CIPHER_AES_256_GCM {
            let what = format!("volume sealed with cipher suite {cipher}");
            return Err(FormatError::new(FormatErrorKind::FutureVersion, what));
        }
        let has_parent = fields.u8()?;
        let parent = Parent { volume: VolumeId(fields.uuid()?), snapshot: SnapshotId(fields.uuid()?) };
        let parent = match has_parent {
            1 => Some(parent),
            0 if parent.volume.0.is_nil() && parent.snapshot.0.is_nil() => None,
            _ => return Err(fields.corrupt("has a parent field that is neither 0 nor 1")),
        };
        let name = VolumeName::parse(&fields.string()?).ok_or_else(|| fields.corrupt("has an impossible name"))?;
        fields.end()?;
        Ok(Self { name, created_ms, parent, sealed: cipher == CIPHER_AES_256_GCM })
    }
}
