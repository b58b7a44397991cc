//! The key of one object: seals its pieces in order, opens them in any.

use super::SealHeader;
use crate::format::error::FormatError;
use crate::format::frame::Codec;
use crate::format::ids::Nonce;
use crate::format::prelude::{Place, SEAL_TAG_LEN};
use bytes::Bytes;
use ring::aead::{self, Aad, LessSafeKey, NONCE_LEN};
use std::fmt;
use std::mem::size_of;
use std::sync::Arc;

/// Bytes that sealing adds to a piece.
pub const TAG_LEN: usize = SEAL_TAG_LEN as usize;
/// The meta's number; pieces of the body count from 0 and stay far below.
const META_NUMBER: u64 = u64::MAX;
/// Volume, kind, epoch, nonce of the writer, number.
const PLACE_LEN: usize = 16 + 1 + 8 + 8 + 8;
/// The place, the number of the piece, and how it is to be read.
const PIECE_AAD_LEN: usize = PLACE_LEN + 8 + 1 + 4;

/// How a piece of a body is to be read: part of what authenticates it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PieceKind {
    /// Codec of a frame, type of a blob.
    pub tag: u8,
    /// Blocks of a frame, id of a blob.
    pub value: u32,
}

impl PieceKind {
    /// A frame of a segment.
    pub fn frame(codec: Codec, nblocks: u32) -> Self {
        Self { tag: codec.to_byte(), value: nblocks }
    }
}

/// The key of one object at its place. It opens; only a [`Sealer`] seals.
pub struct ObjectKey {
    header: SealHeader,
    key: LessSafeKey,
    place: [u8; PLACE_LEN],
}

impl ObjectKey {
    pub(super) fn new(header: SealHeader, key: LessSafeKey, place: Place, nonce: Nonce) -> Self {
        let mut bytes = [0; PLACE_LEN];
        bytes[..16].copy_from_slice(place.volume.0.as_bytes());
        bytes[16] = place.kind.letter();
        bytes[17..25].copy_from_slice(&u64::from(place.epoch.0).to_le_bytes());
        bytes[25..33].copy_from_slice(&nonce.0.to_le_bytes());
        bytes[33..].copy_from_slice(&place.number.to_le_bytes());
        Self { header, key, place: bytes }
    }

    /// The header that leads to this key.
    pub fn header(&self) -> &SealHeader {
        &self.header
    }

    /// Memory it takes, in bytes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
    }

    /// Opens piece `number` of the body; `None` if it is not what was sealed there.
    pub fn open_piece(&self, number: u64, kind: PieceKind, sealed: &[u8]) -> Option<Bytes> {
        let mut plain = sealed.to_vec();
        let len =
            self.key.open_in_place(nonce(number), Aad::from(self.piece_aad(number, kind)), &mut plain).ok()?.len();
        plain.truncate(len);
        Some(plain.into())
    }

    /// Opens the meta. `clear` is everything in front of it that counts, and what else was authenticated.
    pub(crate) fn open_meta(&self, clear: &[&[u8]], sealed: &[u8]) -> Result<Bytes, FormatError> {
        let mut plain = sealed.to_vec();
        let opened = self.key.open_in_place(nonce(META_NUMBER), Aad::from(self.meta_aad(clear)), &mut plain);
        let Ok(opened) = opened else { return Err(FormatError::corrupt("meta is not what was sealed here")) };
        let len = opened.len();
        plain.truncate(len);
        Ok(plain.into())
    }

    fn piece_aad(&self, number: u64, kind: PieceKind) -> [u8; PIECE_AAD_LEN] {
        let mut aad = [0; PIECE_AAD_LEN];
        aad[..PLACE_LEN].copy_from_slice(&self.place);
        aad[PLACE_LEN..PLACE_LEN + 8].copy_from_slice(&number.to_le_bytes());
        aad[PLACE_LEN + 8] = kind.tag;
        aad[PLACE_LEN + 9..].copy_from_slice(&kind.value.to_le_bytes());
        aad
    }

    fn meta_aad(&self, clear: &[&[u8]]) -> Vec<u8> {
        let mut aad = self.place.to_vec();
        aad.extend_from_slice(&META_NUMBER.to_le_bytes());
        for part in clear {
            aad.extend_from_slice(part);
        }
        aad
    }
}

/// Who the key belongs to, not what it is.
impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectKey").field("key_id", &self.header.key_id).finish_non_exhaustive()
    }
}

/// Seals one object: the pieces of its body in order, then its meta, once each.
#[derive(Debug)]
pub struct Sealer {
    key: ObjectKey,
    next: u64,
}

impl Sealer {
    pub(super) fn new(key: ObjectKey) -> Self {
        Self { key, next: 0 }
    }

    /// The header to store behind the prelude.
    pub fn header(&self) -> &SealHeader {
        &self.key.header
    }

    /// Seals `piece[from..]` in place as the next piece of the body, and appends its tag.
    pub fn seal_piece(&mut self, kind: PieceKind, piece: &mut Vec<u8>, from: usize) {
        let number = self.next;
        self.next += 1;
        assert!(number < META_NUMBER, "a body has fewer pieces than numbers");
        let aad = Aad::from(self.key.piece_aad(number, kind));
        let tag = self.key.key.seal_in_place_separate_tag(nonce(number), aad, &mut piece[from..]);
        piece.extend_from_slice(tag.expect("a piece is far below the limit of the cipher").as_ref());
    }

    /// Seals the meta, last of all, and appends its tag; what is left can only open.
    pub(crate) fn seal_meta(self, clear: &[&[u8]], meta: &mut Vec<u8>) -> Arc<ObjectKey> {
        let aad = Aad::from(self.key.meta_aad(clear));
        let sealed = self.key.key.seal_in_place_append_tag(nonce(META_NUMBER), aad, meta);
        sealed.expect("meta is far below the limit of the cipher");
        Arc::new(self.key)
    }
}

/// The number, little-endian, and zeros.
fn nonce(number: u64) -> aead::Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    aead::Nonce::assume_unique_for_key(bytes)
}
