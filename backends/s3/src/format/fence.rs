//! A fence (§4.4): the object a new writer puts into the first empty slot of the old writer's log.
//!
//! Meta: fencing epoch u64, fencing nonce u64, host id (utf-8, to the end). It is never deleted while the volume
//! exists.

use super::error::FormatError;
use super::ids::{Seq, VolumeId, Writer};
use super::names::ObjectName;
use super::object::Head;
use super::prelude::{Kind, Place};
use super::wire::{Reader, put_writer};
use bytes::{BufMut, Bytes};

/// Longest host id in bytes.
pub const MAX_HOST: usize = 255;

/// Who fenced a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The writer that put the fence.
    pub by: Writer,
    /// Its host, for people.
    pub host: String,
}

impl Fence {
    /// The whole object, for slot `seq` of the log of `fenced`.
    pub fn encode(&self, volume: VolumeId, fenced: Writer, seq: Seq) -> Bytes {
        assert!(self.host.len() <= MAX_HOST, "host ids are checked where they are configured");
        let mut meta = Vec::with_capacity(16 + self.host.len());
        put_writer(&mut meta, self.by);
        meta.put_slice(self.host.as_bytes());
        let place = Place { volume, kind: Kind::Fence, epoch: fenced.epoch, number: seq.0 };
        Head::encode(place, &meta, 0).1
    }

    /// Reads the fence found under a log name.
    ///
    /// # Errors
    ///
    /// As [`Head::parse`], naming the object; `WrongPlace` for a segment.
    pub fn parse_object(name: ObjectName, volume: VolumeId, bytes: &Bytes) -> Result<Self, FormatError> {
        Head::parse_whole(&name.expected(volume), bytes)
            .and_then(|head| Self::parse(&head))
            .map_err(|error| error.in_object(name))
    }

    /// Reads a fence from a verified head.
    ///
    /// # Errors
    ///
    /// `WrongPlace` when it is no fence, `Corrupt` otherwise.
    pub fn parse(head: &Head) -> Result<Self, FormatError> {
        if head.prelude.place.kind != Kind::Fence {
            return Err(FormatError::misplaced("is a segment, not a fence"));
        }
        let mut fields = Reader::new(&head.meta, "fence");
        let by = fields.writer()?;
        let host = fields.bytes(fields.remaining())?;
        if host.len() > MAX_HOST {
            return Err(fields.corrupt("has a host id of more than 255 bytes"));
        }
        let host = std::str::from_utf8(host).map_err(|_| fields.corrupt("has a host id that is not utf-8"))?;
        Ok(Self { by, host: host.to_owned() })
    }
}
