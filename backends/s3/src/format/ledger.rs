//! An entry in the reference ledger of a snapshot (§4.7): which clones hold on to it.
//!
//! Meta: op u8 (1 ADD, 2 DEL, 3 SEAL), 7 bytes of padding, clone uuid (zeros for SEAL), unix ms u64, host (u16 length, utf-8).

use super::error::{FormatError, FormatErrorKind};
use super::fence::MAX_HOST;
use super::ids::{Epoch, SnapshotId, VolumeId};
use super::names::ObjectName;
use super::object::Head;
use super::prelude::{Kind, Place};
use super::wire::{Reader, put_string};
use bytes::{BufMut, Bytes};
use uuid::Uuid;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LedgerOp {
    /// A clone was made.
    Add(VolumeId),
    /// A clone let go.
    Del(VolumeId),
    /// The snapshot is going away: no clone may be added.
    Seal,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerEntry {
    /// What happened.
    pub op: LedgerOp,
    /// Who did it, for people.
    pub host: String,
    /// When; for people only.
    pub unix_ms: u64,
}

impl LedgerEntry {
    /// The whole object, for number `number` in the ledger of any snapshot of `volume`.
    pub fn encode(&self, volume: VolumeId, number: u32) -> Bytes {
        assert!(self.host.len() <= MAX_HOST, "host ids are checked where they are configured");
        let (op, clone) = match self.op {
            LedgerOp::Add(clone) => (1, clone.0),
            LedgerOp::Del(clone) => (2, clone.0),
            LedgerOp::Seal => (3, Uuid::nil()),
        };
        let mut meta = Vec::new();
        meta.put_u8(op);
        meta.put_bytes(0, 7);
        meta.put_slice(clone.as_bytes());
        meta.put_u64_le(self.unix_ms);
        put_string(&mut meta, &self.host);
        let place = Place { volume, kind: Kind::Ledger, epoch: Epoch(0), number: u64::from(number) };
        Head::encode(place, &meta, 0).1
    }

    /// Reads entry `number` of the ledger of `snapshot`.
    ///
    /// # Errors
    ///
    /// As [`Head::parse`], naming the object.
    pub fn parse_object(
        volume: VolumeId,
        snapshot: SnapshotId,
        number: u32,
        bytes: &Bytes,
    ) -> Result<Self, FormatError> {
        let name = ObjectName::Ledger { snapshot, number };
        Head::parse_whole(&name.expected(volume), bytes)
            .and_then(|head| Self::parse(&head.meta))
            .map_err(|error| error.in_object(name))
    }

    fn parse(meta: &[u8]) -> Result<Self, FormatError> {
        let mut fields = Reader::new(meta, "ledger entry");
        let op = fields.u8()?;
        fields.reserved(7)?;
        let clone = VolumeId(fields.uuid()?);
        let op = match op {
            1 => LedgerOp::Add(clone),
            2 => LedgerOp::Del(clone),
            3 if clone.0.is_nil() => LedgerOp::Seal,
            3 => return Err(fields.corrupt("seals with a clone")),
            _ => return Err(FormatError::new(FormatErrorKind::FutureVersion, format!("ledger op {op} is not known"))),
        };
        let unix_ms = fields.u64()?;
        let host = fields.string()?;
        if host.len() > MAX_HOST {
            return Err(fields.corrupt("has a host id of more than 255 bytes"));
        }
        fields.end()?;
        Ok(Self { op, host, unix_ms })
    }
}
