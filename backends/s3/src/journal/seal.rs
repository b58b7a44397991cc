//! Which key a record is sealed with, and what a disk refuses: records in clear if it is encrypted, sealed ones if it is not.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use uuid::Uuid;

use super::{Spot, record::Header};
use crate::{
    format::{
        BLOCK_SIZE, FormatError, FormatErrorKind,
        seal::{DataKey, Sealing},
    },
    keys::JournalKey,
};

/// The keys of a disk's journal; none for a disk in clear.
#[derive(Debug)]
pub(crate) struct RecordSealing {
    sealing: Sealing,
    /// The one that was used last.
    derived: Mutex<Option<(Derived, Arc<JournalKey>)>>,
}

/// What a key is derived for: data key, journal, generation.
type Derived = (u32, Uuid, u64);

/// An extent that is about to be read, and what it is opened with.
#[derive(Debug)]
pub(crate) struct SealedExtent {
    header: Header,
    key: Arc<JournalKey>,
    number: u16,
}

impl RecordSealing {
    pub(crate) fn new(sealing: Sealing) -> Self {
        Self { sealing, derived: Mutex::new(None) }
    }

    pub(crate) fn is_sealed(&self) -> bool {
        self.sealing.is_sealed()
    }

    /// What new records of a generation are sealed with.
    pub(crate) fn current(&self, journal: Uuid, generation: u64) -> Option<Arc<JournalKey>> {
        Some(self.derive(self.sealing.keys()?.current(), journal, generation))
    }

    /// What the record with this header, whose bytes are `block`, was sealed with; the header is authentic.
    ///
    /// # Errors
    /// It is in clear although the disk is encrypted, or sealed although it is not, or not with a key of the disk.
    pub(crate) fn of(&self, header: &Header, block: &[u8]) -> Result<Option<Arc<JournalKey>>, FormatError> {
        let refused = |what: String| Err(FormatError::new(FormatErrorKind::Sealed, what));
        match (self.sealing.keys(), header.key_id) {
            (None, None) => Ok(None),
            (None, Some(_)) => refused("is sealed, and the disk is not encrypted".to_owned()),
            (Some(_), None) => refused("is in clear, and the disk is encrypted".to_owned()),
            (Some(keys), Some(id)) => {
                let Some(data_key) = keys.get(id) else {
                    return refused(format!("is sealed with data key {id}, which the disk does not have"));
                };
                let key = self.derive(data_key, header.link.journal, header.link.generation);
                header.authenticate(block, &key)?;
                Ok(Some(key))
            }
        }
    }

    /// What opens the extent at `spot` of an encrypted disk, whose record has the header `block`.
    ///
    /// # Errors
    /// The record is not there any more.
    pub(crate) fn extent(&self, spot: &Spot, block: &[u8]) -> Result<SealedExtent, FormatError> {
        let header = Header::parse(block)?;
        let key = self.of(&header, block)?;
        let (lsn, blocks) = (header.link.lsn, header.data_blocks(spot.number));
        match key {
            Some(key) if lsn == spot.lsn && blocks >= spot.skip + spot.nblocks => {
                Ok(SealedExtent { header, key, number: spot.number })
            }
            _ => Err(FormatError::corrupt(format!("another record than {} is in its place", spot.lsn))),
        }
    }

    fn derive(&self, data_key: &DataKey, journal: Uuid, generation: u64) -> Arc<JournalKey> {
        let wanted = (data_key.id(), journal, generation);
        let mut derived = self.derived.lock();
        match &*derived {
            Some((known, key)) if *known == wanted => Arc::clone(key),
            _ => {
                let key = Arc::new(JournalKey::new(data_key, journal, generation));
                *derived = Some((wanted, Arc::clone(&key)));
                key
            }
        }
    }
}

impl SealedExtent {
    /// Its length in the journal.
    pub(crate) fn len(&self) -> u64 {
        self.header.data_blocks(self.number) * BLOCK_SIZE as u64
    }

    /// The blocks of `spot` out of all stored bytes of the extent.
    ///
    /// # Errors
    /// They are not what was sealed.
    pub(crate) fn open(&self, spot: &Spot, stored: Bytes) -> Result<Bytes, FormatError> {
        if stored.len() as u64 != self.len() {
            return Err(FormatError::corrupt("the journal ends early"));
        }
        let (plain, _) = self.header.open_extent(self.number, stored, Some(&self.key))?;
        let at = |blocks: u64| usize::try_from(blocks).expect("an extent in memory") * BLOCK_SIZE;
        Ok(plain.slice(at(spot.skip)..at(spot.skip + spot.nblocks)))
    }
}
