//! Sealing: AES-256-GCM under a key that belongs to one object (§4.2, §10).
//!
//! ```text
//! prelude 64 | seal header 48 | meta + tag 16 | frame 0 + tag 16 | frame 1 + tag 16 | ...
//!              0 4 key id   4 1 algorithm   5 3 zeros   8 32 salt   40 8 zeros
//! ```
//!
//! The object's key is HKDF-SHA256(data key, salt, "olv1 seg" | key id). A salt is 32 fresh random bytes and serves one
//! object: a [`Seal`] can be neither copied nor used twice, and a [`Sealer`] counts its pieces itself. So no two
//! different plaintexts ever meet one key and one nonce, whatever crashes, races and retries come; a retried PUT sends
//! the bytes that were built once.
//!
//! A piece is authenticated together with its place (volume, kind, epoch, nonce of the writer, number of the object,
//! number of the piece) and with how it is to be read. Absent: where keys come from (`keys`).

mod data_keys;
mod object_key;

use super::error::{FormatError, FormatErrorKind};
use super::ids::Nonce;
use super::prelude::{Place, SEAL_HEADER_LEN};
use super::wire::Reader;
use bytes::BufMut;
use ring::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use ring::hkdf;
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

pub use data_keys::{DataKey, DataKeys};
pub use object_key::{ObjectKey, PieceKind, Sealer, TAG_LEN};

/// Bytes of a salt.
pub const SALT_LEN: usize = 32;
const HEADER_LEN: usize = 48;
const _: () = assert!(HEADER_LEN as u64 == SEAL_HEADER_LEN);
const ALG_AES_256_GCM: u8 = 1;
const OBJECT_INFO: &[u8] = b"olv1 seg";

/// What follows the prelude of a sealed object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealHeader {
    /// The data key.
    pub key_id: u32,
    /// The salt of the object's own key.
    pub salt: [u8; SALT_LEN],
}

impl SealHeader {
    /// The 48 bytes.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let mut out = &mut bytes[..];
        out.put_u32_le(self.key_id);
        out.put_u8(ALG_AES_256_GCM);
        out.put_bytes(0, 3);
        out.put_slice(&self.salt);
        bytes
    }

    /// Reads the bytes behind a prelude.
    ///
    /// # Errors
    ///
    /// `Corrupt` when they are cut short, `FutureVersion` for another algorithm.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut fields = Reader::new(bytes, "seal header");
        let key_id = fields.u32()?;
        let alg = fields.u8()?;
        if alg != ALG_AES_256_GCM {
            let what = format!("sealed with algorithm {alg}, which is not known to this version");
            return Err(FormatError::new(FormatErrorKind::FutureVersion, what));
        }
        fields.reserved(3)?;
        let mut salt = [0; SALT_LEN];
        salt.copy_from_slice(fields.bytes(SALT_LEN)?);
        fields.reserved(8)?;
        Ok(Self { key_id, salt })
    }
}

/// The right to seal one object: a fresh salt and the key that comes of it. Not `Clone`: it is used up.
pub struct Seal {
    header: SealHeader,
    key: LessSafeKey,
}

impl Seal {
    /// Ties it to the object that it seals; `nonce` is that of the writer in the object's name, 0 for a manifest.
    pub fn bind(self, place: Place, nonce: Nonce) -> Sealer {
        Sealer::new(ObjectKey::new(self.header, self.key, place, nonce))
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seal").field("key_id", &self.header.key_id).finish_non_exhaustive()
    }
}

/// How the objects of a disk are written and read: in clear, or sealed with its data keys. Cheap to clone.
///
/// The two never mix: with keys, an object that should be sealed and is not is refused, because a store that could
/// slip one in could serve any bytes.
#[derive(Clone, Debug, Default)]
pub struct Sealing(Option<Arc<DataKeys>>);

impl Sealing {
    /// In clear.
    pub const CLEAR: Self = Self(None);

    /// Sealed: new objects with the current key, old ones with the key that they name.
    pub fn with(keys: DataKeys) -> Self {
        Self(Some(Arc::new(keys)))
    }

    /// The keys.
    pub fn keys(&self) -> Option<&DataKeys> {
        self.0.as_deref()
    }

    /// Whether objects are sealed.
    pub fn is_sealed(&self) -> bool {
        self.0.is_some()
    }

    /// A seal for one new object; `None` where objects are in clear.
    pub fn fresh(&self) -> Option<Seal> {
        let keys = self.0.as_deref()?;
        let mut salt = [0; SALT_LEN];
        fill_random(&mut salt);
        Some(keys.current().seal(salt))
    }

    /// The key of the object with this header at this place.
    pub(crate) fn open(&self, header: SealHeader, place: Place, nonce: Nonce) -> Result<ObjectKey, FormatError> {
        let Some(keys) = &self.0 else {
            return Err(FormatError::new(FormatErrorKind::Sealed, "sealed object, and no key was given"));
        };
        let Some(key) = keys.get(header.key_id) else {
            let what = format!("sealed with data key {}, which the disk does not have", header.key_id);
            return Err(FormatError::new(FormatErrorKind::Sealed, what));
        };
        Ok(ObjectKey::new(header, key.derive(&header), place, nonce))
    }
}

impl DataKey {
    /// The right to seal one object under this salt. For vectors; everything else asks [`Sealing::fresh`].
    pub fn seal(&self, salt: [u8; SALT_LEN]) -> Seal {
        let header = SealHeader { key_id: self.id(), salt };
        Seal { key: self.derive(&header), header }
    }

    fn derive(&self, header: &SealHeader) -> LessSafeKey {
        expand(self.secret(), &header.salt, &[OBJECT_INFO, &header.key_id.to_le_bytes()])
    }
}

/// AES-256-GCM under HKDF-SHA256(`secret`, `salt`, `info`).
pub(crate) fn expand(secret: &[u8], salt: &[u8], info: &[&[u8]]) -> LessSafeKey {
    let derived = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    let derived = derived.expand(info, &AES_256_GCM).expect("a key is shorter than HKDF's longest output");
    LessSafeKey::new(UnboundKey::from(derived))
}

/// 32 bytes of HKDF-SHA256.
pub(crate) fn expand_bytes(secret: &[u8], salt: &[u8], info: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut out = Zeroizing::new([0; 32]);
    let derived = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    let derived = derived.expand(info, hkdf::HKDF_SHA256).expect("a key is shorter than HKDF's longest output");
    derived.fill(&mut out[..]).expect("the output has the length that was asked for");
    out
}

/// Random bytes of the operating system, without which nothing can be sealed.
pub(crate) fn fill_random(bytes: &mut [u8]) {
    use ring::rand::{SecureRandom, SystemRandom};
    SystemRandom::new().fill(bytes).expect("the operating system gives random bytes");
}
