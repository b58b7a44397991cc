//! The 64 bytes at the start of every object (§4.2).
//!
//! ```text
//!  0  4 magic "OLV1"      24 8 epoch              48 8 body_len
//!  4  1 kind              32 8 number             56 4 crc32c of the stored meta
//!  5  1 format version    40 4 meta_len, stored   60 4 crc32c of bytes 0..60
//!  6  2 flags             44 4 meta_raw_len
//!  8 16 volume uuid
//! ```
//!
//! Every version keeps magic, version and the prelude's crc where they are, so a later version is recognised as
//! such and not taken for damage.

use super::error::{FormatError, FormatErrorKind};
use super::ids::{Epoch, VolumeId};
use super::wire::Reader;
use bytes::BufMut;

/// Length of a prelude.
pub const PRELUDE_LEN: usize = 64;
/// Length of the seal header that follows the prelude of a sealed object.
pub const SEAL_HEADER_LEN: u64 = 48;
/// Bytes by which sealing lengthens a meta or a frame.
pub const SEAL_TAG_LEN: u32 = 16;
/// The first bytes of every object.
pub const MAGIC: [u8; 4] = *b"OLV1";
/// The version this code writes, and the newest it reads.
pub const FORMAT_VERSION: u8 = 1;
/// Most meta an object may have, uncompressed.
pub const MAX_META_LEN: u32 = 16 << 20;
/// Most body an object may have.
pub const MAX_BODY_LEN: u64 = (1 << 30) - 1;
/// Where a body begins if the object says "aligned".
pub const BODY_ALIGN: u64 = 4096;

const FLAG_SEALED: u16 = 1;
const FLAG_META_COMPRESSED: u16 = 1 << 1;
const FLAG_BODY_ALIGNED: u16 = 1 << 2;
const KNOWN_FLAGS: u16 = FLAG_SEALED | FLAG_META_COMPRESSED | FLAG_BODY_ALIGNED;

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `S`: a log segment.
    Log,
    /// `G`: a segment of moved or imported data.
    Moved,
    /// `F`: a fence in a log slot.
    Fence,
    /// `P`: a map pack.
    Pack,
    /// `M`: a manifest.
    Manifest,
    /// `V`: a volume descriptor.
    Descriptor,
    /// `R`: a ledger entry.
    Ledger,
}

impl Kind {
    const ALL: [Self; 7] =
        [Self::Log, Self::Moved, Self::Fence, Self::Pack, Self::Manifest, Self::Descriptor, Self::Ledger];

    /// The letter on the bucket.
    pub fn letter(self) -> u8 {
        match self {
            Self::Log => b'S',
            Self::Moved => b'G',
            Self::Fence => b'F',
            Self::Pack => b'P',
            Self::Manifest => b'M',
            Self::Descriptor => b'V',
            Self::Ledger => b'R',
        }
    }

    /// Whether such an object is sealed on an encrypted disk. The others are read by whoever has no key yet, or none.
    pub fn is_sealable(self) -> bool {
        matches!(self, Self::Log | Self::Moved | Self::Pack | Self::Manifest)
    }

    fn from_letter(letter: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.letter() == letter)
    }
}

/// Whose object it is and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The volume.
    pub volume: VolumeId,
    /// What it is.
    pub kind: Kind,
    /// Epoch of its writer; 0 for descriptors and ledger entries.
    pub epoch: Epoch,
    /// Slot, number or manifest number; 0 for descriptors.
    pub number: u64,
}

/// What a reader knows about an object before it reads it.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// The volume.
    pub volume: VolumeId,
    /// Any of these.
    pub kinds: &'static [Kind],
    /// The epoch, unless only the object itself tells (manifests).
    pub epoch: Option<Epoch>,
    /// The number.
    pub number: u64,
}

/// A parsed prelude: the lengths are within the limits of this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prelude {
    /// Whose object, and where.
    pub place: Place,
    /// A seal header follows, then a sealed meta.
    pub sealed: bool,
    /// The meta is zstd-compressed.
    pub meta_compressed: bool,
    /// The body begins at a multiple of 4096.
    pub body_aligned: bool,
    /// Stored length of the meta, with its tag if it is sealed.
    pub meta_len: u32,
    /// Its length when uncompressed.
    pub meta_raw_len: u32,
    /// Length of the body.
    pub body_len: u64,
    /// crc32c of the stored meta.
    pub meta_crc: u32,
}

impl Prelude {
    /// The 64 bytes.
    pub fn encode(&self) -> [u8; PRELUDE_LEN] {
        let mut flags = 0;
        if self.sealed {
            flags |= FLAG_SEALED;
        }
        if self.meta_compressed {
            flags |= FLAG_META_COMPRESSED;
        }
        if self.body_aligned {
            flags |= FLAG_BODY_ALIGNED;
        }
        let mut bytes = [0; PRELUDE_LEN];
        let mut out = &mut bytes[..];
        out.put_slice(&MAGIC);
        out.put_u8(self.place.kind.letter());
        out.put_u8(FORMAT_VERSION);
        out.put_u16_le(flags);
        out.put_slice(self.place.volume.0.as_bytes());
        out.put_u64_le(u64::from(self.place.epoch.0));
        out.put_u64_le(self.place.number);
        out.put_u32_le(self.meta_len);
        out.put_u32_le(self.meta_raw_len);
        out.put_u64_le(self.body_len);
        out.put_u32_le(self.meta_crc);
        let crc = crc32c::crc32c(&bytes[..PRELUDE_LEN - 4]);
        bytes[PRELUDE_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// crc32c of bytes 0..60: what the next log segment names as its predecessor.
    pub fn crc(&self) -> u32 {
        let bytes = self.encode();
        crc32c::crc32c(&bytes[..PRELUDE_LEN - 4])
    }

    /// Reads and verifies the start of an object; `bytes` may be longer than the prelude.
    ///
    /// # Errors
    ///
    /// All kinds of [`FormatErrorKind`] but `Sealed`: a prelude is in clear, sealed or not.
    pub fn parse(expected: &Expected, bytes: &[u8]) -> Result<Self, FormatError> {
        let prelude = Self::read(bytes)?;
        prelude.check_place(expected)?;
        prelude.check_lengths()?;
        Ok(prelude)
    }

    /// What the start of an object says of itself; its place and lengths are not checked.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, FormatError> {
        if !bytes.starts_with(&MAGIC) {
            return Err(FormatError::new(FormatErrorKind::NotOurs, "not an object of this log: no magic"));
        }
        let Some(bytes) = bytes.get(..PRELUDE_LEN) else {
            return Err(FormatError::corrupt("prelude is cut short"));
        };
        let mut crc = [0; 4];
        crc.copy_from_slice(&bytes[PRELUDE_LEN - 4..]);
        if crc32c::crc32c(&bytes[..PRELUDE_LEN - 4]) != u32::from_le_bytes(crc) {
            return Err(FormatError::corrupt("prelude crc does not match"));
        }
        let mut fields = Reader::new(&bytes[4..PRELUDE_LEN - 4], "prelude");
        let letter = fields.u8()?;
        let version = fields.u8()?;
        let flags = fields.u16()?;
        if version != FORMAT_VERSION || flags & !KNOWN_FLAGS != 0 {
            return Err(FormatError::new(
                FormatErrorKind::FutureVersion,
                format!("format version {version} with flags {flags:#x} is not known to this version"),
            ));
        }
        let Some(kind) = Kind::from_letter(letter) else {
            return Err(FormatError::new(FormatErrorKind::FutureVersion, format!("object kind {letter:#x} unknown")));
        };
        let volume = VolumeId(fields.uuid()?);
        let epoch = u32::try_from(fields.u64()?).map_err(|_| FormatError::corrupt("epoch exceeds 32 bits"))?;
        let prelude = Self {
            place: Place { volume, kind, epoch: Epoch(epoch), number: fields.u64()? },
            sealed: flags & FLAG_SEALED != 0,
            meta_compressed: flags & FLAG_META_COMPRESSED != 0,
            body_aligned: flags & FLAG_BODY_ALIGNED != 0,
            meta_len: fields.u32()?,
            meta_raw_len: fields.u32()?,
            body_len: fields.u64()?,
            meta_crc: fields.u32()?,
        };
        Ok(prelude)
    }

    /// The stored meta, if all of it is within these first bytes of the object.
    pub(crate) fn meta_within<'a>(&self, object: &'a [u8]) -> Option<&'a [u8]> {
        let at = |offset: u64| usize::try_from(offset).ok();
        object.get(at(self.meta_offset())?..at(self.head_len())?)
    }

    fn check_place(&self, expected: &Expected) -> Result<(), FormatError> {
        let Place { volume, kind, epoch, number } = self.place;
        if volume != expected.volume {
            return Err(FormatError::misplaced(format!("belongs to volume {volume}")));
        }
        if !expected.kinds.contains(&kind) {
            return Err(FormatError::misplaced(format!("is of kind {kind:?}")));
        }
        if expected.epoch.is_some_and(|expected| expected != epoch) || number != expected.number {
            return Err(FormatError::misplaced(format!("says epoch {:#x}, number {number:#x}", epoch.0)));
        }
        Ok(())
    }

    fn check_lengths(&self) -> Result<(), FormatError> {
        let unsealed_len = if self.sealed { self.meta_len.checked_sub(SEAL_TAG_LEN) } else { Some(self.meta_len) };
        let right = |len| if self.meta_compressed { len <= self.meta_raw_len } else { len == self.meta_raw_len };
        if self.meta_raw_len > MAX_META_LEN || !unsealed_len.is_some_and(right) {
            return Err(FormatError::corrupt("meta length out of bounds"));
        }
        if self.body_len > MAX_BODY_LEN {
            return Err(FormatError::corrupt("body length out of bounds"));
        }
        Ok(())
    }

    /// Where the meta begins.
    pub fn meta_offset(&self) -> u64 {
        PRELUDE_LEN as u64 + if self.sealed { SEAL_HEADER_LEN } else { 0 }
    }

    /// Bytes to read from the start of the object to have its whole meta.
    pub fn head_len(&self) -> u64 {
        self.meta_offset() + u64::from(self.meta_len)
    }

    /// Where the body begins.
    pub fn body_offset(&self) -> u64 {
        if self.body_aligned { self.head_len().next_multiple_of(BODY_ALIGN) } else { self.head_len() }
    }

    /// Length of the whole object.
    pub fn object_len(&self) -> u64 {
        self.body_offset() + self.body_len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn prelude() -> Prelude {
        Prelude {
            place: Place { volume: VolumeId(Uuid::from_u128(5)), kind: Kind::Log, epoch: Epoch(2), number: 9 },
            sealed: false,
            meta_compressed: false,
            body_aligned: false,
            meta_len: 48,
            meta_raw_len: 48,
            body_len: 4096,
            meta_crc: 77,
        }
    }

    fn expected() -> Expected {
        Expected { volume: prelude().place.volume, kinds: &[Kind::Log], epoch: Some(Epoch(2)), number: 9 }
    }

    fn resum(mut bytes: [u8; PRELUDE_LEN]) -> [u8; PRELUDE_LEN] {
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn kind_of(bytes: &[u8]) -> FormatErrorKind {
        Prelude::parse(&expected(), bytes).unwrap_err().kind()
    }

    #[test]
    fn a_prelude_comes_back() {
        assert_eq!(Prelude::parse(&expected(), &prelude().encode()), Ok(prelude()));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = prelude().encode();
        for bit in 0..good.len() * 8 {
            let mut bytes = good;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Prelude::parse(&expected(), &bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn every_refusal_has_its_kind() {
        let good = prelude().encode();
        assert_eq!(kind_of(b""), FormatErrorKind::NotOurs);
        assert_eq!(kind_of(b"<?xml version=\"1.0\"?>"), FormatErrorKind::NotOurs);
        assert_eq!(kind_of(&good[..63]), FormatErrorKind::Corrupt);
        let set = |at: usize, value: u8| {
            let mut bytes = good;
            bytes[at] = value;
            kind_of(&resum(bytes))
        };
        assert_eq!(set(5, 2), FormatErrorKind::FutureVersion);
        assert_eq!(set(6, 8), FormatErrorKind::FutureVersion);
        assert_eq!(set(4, b'?'), FormatErrorKind::FutureVersion);
        // A sealed meta is longer by its tag.
        assert_eq!(set(6, 1), FormatErrorKind::Corrupt);
        assert_eq!(set(4, b'G'), FormatErrorKind::WrongPlace);
        assert_eq!(set(8, 1), FormatErrorKind::WrongPlace);
        assert_eq!(set(24, 3), FormatErrorKind::WrongPlace);
        assert_eq!(set(32, 8), FormatErrorKind::WrongPlace);
        assert_eq!(set(43, 0x80), FormatErrorKind::Corrupt);
        assert_eq!(set(47, 0x80), FormatErrorKind::Corrupt);
        assert_eq!(set(55, 0x80), FormatErrorKind::Corrupt);
        assert_eq!(set(28, 1), FormatErrorKind::Corrupt);
    }

    #[test]
    fn a_sealed_prelude_counts_header_and_tag() {
        let sealed = Prelude { sealed: true, meta_len: 64, ..prelude() };
        assert_eq!(Prelude::parse(&expected(), &sealed.encode()), Ok(sealed));
        assert_eq!((sealed.meta_offset(), sealed.body_offset(), sealed.object_len()), (112, 176, 4272));
    }

    #[test]
    fn an_aligned_body_begins_at_a_page() {
        let aligned = Prelude { body_aligned: true, ..prelude() };
        assert_eq!((prelude().body_offset(), prelude().object_len()), (112, 4208));
        assert_eq!((aligned.body_offset(), aligned.object_len()), (4096, 8192));
    }

    proptest! {
        #[test]
        fn random_fields_never_panic(mut bytes in proptest::array::uniform32(any::<u8>()).prop_map(|half| {
            let mut bytes = [0; PRELUDE_LEN];
            bytes[..32].copy_from_slice(&half);
            bytes[32..].copy_from_slice(&half);
            bytes
        })) {
            bytes[..4].copy_from_slice(&MAGIC);
            prop_assert!(Prelude::parse(&expected(), &resum(bytes)).is_err());
        }
    }
}
