//! Sealing the payload of journal records (§11).
//!
//! The key is HKDF-SHA256(data key, journal uuid, "olv1 journal" | key id | generation), the nonce the record's lsn and the
//! number of the extent in it. A generation begins when a journal is opened, and an lsn is given out once in it; a record
//! that is written again after an error must be the bytes that were sealed once, or have a new lsn.

use bytes::{Bytes, BytesMut};
use ring::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};
use std::fmt;
use uuid::Uuid;

use crate::format::{
    FormatError,
    seal::{DataKey, TAG_LEN, expand},
};

/// What stands for the header in place of the number of an extent.
const HEADER: u32 = u32::MAX;
const JOURNAL_INFO: &[u8] = b"olv1 journal";

/// The key of one generation of one journal. Whoever keeps a journal writes the [`id`](Self::id) of the data key where
/// it can be read back: records outlive a rotation.
pub struct JournalKey {
    key: LessSafeKey,
    id: u32,
    journal: Uuid,
    generation: u64,
}

/// Where an extent stands, and how it is to be read: all of it is authenticated with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordPlace {
    /// The record.
    pub lsn: u64,
    /// The extent in it.
    pub extent: u32,
    /// First block on the disk.
    pub lba: u64,
    /// Number of blocks.
    pub nblocks: u32,
}

impl JournalKey {
    /// Of a generation of a journal, under a data key of the disk.
    pub fn new(data_key: &DataKey, journal: Uuid, generation: u64) -> Self {
        let id = data_key.id();
        let info = [JOURNAL_INFO, &id.to_le_bytes(), &generation.to_le_bytes()];
        let key = expand(data_key.secret(), journal.as_bytes(), &info);
        Self { key, id, journal, generation }
    }

    /// The data key that it comes from.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The stored form of an extent, and the tag that is stored beside it: the payload keeps its length, so that blocks
    /// stay aligned. A place is sealed once.
    pub fn seal_record(&self, place: RecordPlace, payload: &[u8]) -> (Bytes, [u8; TAG_LEN]) {
        self.seal_in_place(place, BytesMut::from(payload))
    }

    /// The same without a copy.
    pub fn seal_in_place(&self, place: RecordPlace, mut sealed: BytesMut) -> (Bytes, [u8; TAG_LEN]) {
        let aad = Aad::from(self.associated(place));
        let tag = self.key.seal_in_place_separate_tag(nonce(place.lsn, place.extent), aad, &mut sealed);
        let tag = tag.expect("a record is far below the limit of the cipher");
        let mut bytes = [0; TAG_LEN];
        bytes.copy_from_slice(tag.as_ref());
        (sealed.freeze(), bytes)
    }

    /// The payload of an extent.
    ///
    /// # Errors
    ///
    /// `Corrupt` when it is not what was sealed at this place of this journal.
    pub fn open_record(&self, place: RecordPlace, sealed: &[u8], tag: [u8; TAG_LEN]) -> Result<Bytes, FormatError> {
        self.open_in_place(place, BytesMut::from(sealed), tag)
    }

    /// The same without a copy.
    ///
    /// # Errors
    ///
    /// As [`open_record`](Self::open_record).
    pub fn open_in_place(
        &self,
        place: RecordPlace,
        mut plain: BytesMut,
        tag: [u8; TAG_LEN],
    ) -> Result<Bytes, FormatError> {
        let aad = Aad::from(self.associated(place));
        let opened =
            self.key.open_in_place_separate_tag(nonce(place.lsn, place.extent), aad, tag.into(), &mut plain, 0..);
        if opened.is_err() {
            let what = format!("extent {} of record {} is not what was sealed here", place.extent, place.lsn);
            return Err(FormatError::corrupt(what));
        }
        Ok(plain.freeze())
    }

    /// The tag of a record's header, which stays in clear. A record has one.
    pub fn vouch(&self, lsn: u64, header: &[u8]) -> [u8; TAG_LEN] {
        let tag = self.key.seal_in_place_separate_tag(nonce(lsn, HEADER), Aad::from(header), &mut []);
        let tag = tag.expect("a header is far below the limit of the cipher");
        let mut bytes = [0; TAG_LEN];
        bytes.copy_from_slice(tag.as_ref());
        bytes
    }

    /// Holds a record's header against its tag.
    ///
    /// # Errors
    ///
    /// `Corrupt` when this key did not vouch for it.
    pub fn authenticate(&self, lsn: u64, header: &[u8], tag: [u8; TAG_LEN]) -> Result<(), FormatError> {
        let opened =
            self.key.open_in_place_separate_tag(nonce(lsn, HEADER), Aad::from(header), tag.into(), &mut [], 0..);
        match opened {
            Ok(_) => Ok(()),
            Err(_) => Err(FormatError::corrupt(format!("the header of record {lsn} is not what was written here"))),
        }
    }

    fn associated(&self, place: RecordPlace) -> Vec<u8> {
        let RecordPlace { lsn, extent, lba, nblocks } = place;
        let mut aad = self.journal.as_bytes().to_vec();
        aad.extend_from_slice(&self.generation.to_le_bytes());
        aad.extend_from_slice(&lsn.to_le_bytes());
        aad.extend_from_slice(&extent.to_le_bytes());
        aad.extend_from_slice(&lba.to_le_bytes());
        aad.extend_from_slice(&nblocks.to_le_bytes());
        aad
    }
}

/// Which journal, not which key.
impl fmt::Debug for JournalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("JournalKey");
        text.field("key_id", &self.id).field("journal", &self.journal).field("generation", &self.generation);
        text.finish_non_exhaustive()
    }
}

fn nonce(lsn: u64, extent: u32) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[..8].copy_from_slice(&lsn.to_le_bytes());
    bytes[8..].copy_from_slice(&extent.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests;
