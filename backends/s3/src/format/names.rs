//! Names of objects (§4.1): built here, parsed here, nowhere else.
//!
//! Numbers are lower-case hex, zero-padded. The two-digit shard is the low byte of the number that follows, so
//! consecutive objects spread over 256 prefixes; readers compute names and never list data prefixes.

use super::ids::{Epoch, ManifestNo, Nonce, Seq, SnapshotId, VolumeId, Writer};
use super::prelude::{Expected, Kind};
use super::{FormatError, FormatErrorKind};
use std::fmt;
use uuid::Uuid;

/// Longest volume name in bytes.
pub const MAX_VOLUME_NAME: usize = 255;

/// A volume's human name: 1 to 255 of `[A-Za-z0-9._-]`, not starting with a dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VolumeName(String);

impl VolumeName {
    /// Accepts a well-formed name; `None` otherwise.
    pub fn parse(name: &str) -> Option<Self> {
        let fits = (1..=MAX_VOLUME_NAME).contains(&name.len()) && !name.starts_with('.');
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        (fits && plain).then(|| Self(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Key of the object that maps the name to a volume: `<root>/volumes/<name>`.
    pub fn key(&self, root: &str) -> String {
        join(root, &format!("volumes/{}", self.0))
    }
}

impl fmt::Display for VolumeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Prefix of all name objects, with the slash: `<root>/volumes/`.
pub fn volume_names_prefix(root: &str) -> String {
    join(root, "volumes/")
}

/// Prefix of all objects of a volume, with the slash: `<root>/v/<uuid>/`.
pub fn volume_prefix(root: &str, volume: VolumeId) -> String {
    join(root, &format!("v/{volume}/"))
}

/// Prefix of the manifest chain, with the slash.
pub fn manifest_prefix(root: &str, volume: VolumeId) -> String {
    volume_prefix(root, volume) + "m/"
}

/// Prefix of the capability probe, with the slash.
pub fn probe_prefix(root: &str, volume: VolumeId) -> String {
    volume_prefix(root, volume) + "probe/"
}

/// Content of a name object: the uuid as text and a newline.
pub fn encode_name_object(volume: VolumeId) -> String {
    format!("{volume}\n")
}

/// Reads a name object.
///
/// # Errors
///
/// `NotOurs` for anything but one hyphenated uuid and a newline.
pub fn parse_name_object(bytes: &[u8]) -> Result<VolumeId, FormatError> {
    std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| text.strip_suffix('\n'))
        .and_then(parse_uuid)
        .map(VolumeId)
        .ok_or_else(|| FormatError::new(FormatErrorKind::NotOurs, "not the name of a volume: no uuid in it"))
}

/// An object of one volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectName {
    /// `desc`
    Descriptor,
    /// `m/<no>`
    Manifest(ManifestNo),
    /// `l/<sh>/<writer>/<seq>`: a log segment, or the fence in its place.
    Log {
        /// Whose log.
        writer: Writer,
        /// The slot.
        seq: Seq,
    },
    /// `g/<sh>/<writer>/<n>`: a segment of moved or imported data.
    Moved {
        /// Who wrote it.
        writer: Writer,
        /// Its number.
        number: u64,
    },
    /// `p/<sh>/<writer>/<n>`: a map pack.
    Pack {
        /// Who wrote it.
        writer: Writer,
        /// Its number.
        number: u64,
    },
    /// `snap/<snapshot>/<n>`: an entry in a snapshot's reference ledger.
    Ledger {
        /// The snapshot.
        snapshot: SnapshotId,
        /// Its number.
        number: u32,
    },
}

impl ObjectName {
    /// The full key: `<root>/v/<volume>/<name>`.
    pub fn key(&self, root: &str, volume: VolumeId) -> String {
        format!("{}{self}", volume_prefix(root, volume))
    }

    /// Reads the part of a key behind [`volume_prefix`]; `None` for what no writer of this format names so.
    pub fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split('/');
        let parsed = match parts.next()? {
            "desc" => Self::Descriptor,
            "m" => Self::Manifest(ManifestNo(parse_hex(parts.next()?, 16)?)),
            "snap" => Self::Ledger {
                snapshot: SnapshotId(parse_uuid(parts.next()?)?),
                number: u32::try_from(parse_hex(parts.next()?, 8)?).ok()?,
            },
            kind @ ("l" | "g" | "p") => {
                let shard = parse_hex(parts.next()?, 2)?;
                let writer = parse_writer(parts.next()?)?;
                let number = parse_hex(parts.next()?, 16)?;
                if shard != number & 0xff {
                    return None;
                }
                match kind {
                    "l" => Self::Log { writer, seq: Seq(number) },
                    "g" => Self::Moved { writer, number },
                    _ => Self::Pack { writer, number },
                }
            }
            _ => return None,
        };
        parts.next().is_none().then_some(parsed)
    }

    /// What the prelude of the object under this name must say.
    pub fn expected(&self, volume: VolumeId) -> Expected {
        let (kinds, epoch, number): (&'static [Kind], _, _) = match *self {
            Self::Descriptor => (&[Kind::Descriptor], Some(Epoch(0)), 0),
            Self::Manifest(no) => (&[Kind::Manifest], None, no.0),
            Self::Log { writer, seq } => (&[Kind::Log, Kind::Fence], Some(writer.epoch), seq.0),
            Self::Moved { writer, number } => (&[Kind::Moved], Some(writer.epoch), number),
            Self::Pack { writer, number } => (&[Kind::Pack], Some(writer.epoch), number),
            Self::Ledger { number, .. } => (&[Kind::Ledger], Some(Epoch(0)), u64::from(number)),
        };
        Expected { volume, kinds, epoch, number }
    }

    /// The writer in the name, for the kinds that have one.
    pub fn writer(&self) -> Option<Writer> {
        match *self {
            Self::Log { writer, .. } | Self::Moved { writer, .. } | Self::Pack { writer, .. } => Some(writer),
            Self::Descriptor | Self::Manifest(_) | Self::Ledger { .. } => None,
        }
    }
}

/// The name below the volume's prefix.
impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (directory, writer, number) = match *self {
            Self::Descriptor => return f.write_str("desc"),
            Self::Manifest(no) => return write!(f, "m/{:016x}", no.0),
            Self::Ledger { snapshot, number } => return write!(f, "snap/{snapshot}/{number:08x}"),
            Self::Log { writer, seq } => ('l', writer, seq.0),
            Self::Moved { writer, number } => ('g', writer, number),
            Self::Pack { writer, number } => ('p', writer, number),
        };
        write!(f, "{directory}/{:02x}/{writer}/{number:016x}", number & 0xff)
    }
}

/// A map pack, possibly of an ancestor volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PackName {
    /// The volume whose prefix holds it.
    pub volume: VolumeId,
    /// Who wrote it.
    pub writer: Writer,
    /// Its number.
    pub number: u64,
}

impl PackName {
    /// Its name below the volume's prefix.
    pub fn object(&self) -> ObjectName {
        ObjectName::Pack { writer: self.writer, number: self.number }
    }

    /// The full key.
    pub fn key(&self, root: &str) -> String {
        self.object().key(root, self.volume)
    }
}

/// One object of one volume: a disk reads those of its ancestors too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Object {
    /// The volume whose prefix holds it.
    pub volume: VolumeId,
    /// Its name there.
    pub name: ObjectName,
}

impl Object {
    /// Its key in the store.
    pub fn key(&self) -> String {
        self.name.key("", self.volume)
    }
}

fn join(root: &str, rest: &str) -> String {
    if root.is_empty() { rest.to_owned() } else { format!("{root}/{rest}") }
}

/// Exactly `digits` lower-case hex digits.
fn parse_hex(text: &str, digits: usize) -> Option<u64> {
    let plain = text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if plain { u64::from_str_radix(text, 16).ok() } else { None }
}

/// A uuid in its one written form: hyphenated, lower case.
fn parse_uuid(text: &str) -> Option<Uuid> {
    let uuid = Uuid::try_parse(text).ok()?;
    (uuid.as_hyphenated().to_string() == text).then_some(uuid)
}

fn parse_writer(text: &str) -> Option<Writer> {
    let (epoch, nonce) = text.split_once('-')?;
    let epoch = u32::try_from(parse_hex(epoch, 8)?).ok()?;
    Some(Writer { epoch: Epoch(epoch), nonce: Nonce(parse_hex(nonce, 16)?) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_name() -> impl Strategy<Value = ObjectName> {
        let writer = (any::<u32>(), any::<u64>()).prop_map(|(e, n)| Writer { epoch: Epoch(e), nonce: Nonce(n) });
        prop_oneof![
            Just(ObjectName::Descriptor),
            any::<u64>().prop_map(|no| ObjectName::Manifest(ManifestNo(no))),
            (writer.clone(), any::<u64>()).prop_map(|(writer, n)| ObjectName::Log { writer, seq: Seq(n) }),
            (writer.clone(), any::<u64>()).prop_map(|(writer, number)| ObjectName::Moved { writer, number }),
            (writer, any::<u64>()).prop_map(|(writer, number)| ObjectName::Pack { writer, number }),
            (any::<u128>(), any::<u32>())
                .prop_map(|(id, number)| ObjectName::Ledger { snapshot: SnapshotId(Uuid::from_u128(id)), number }),
        ]
    }

    proptest! {
        #[test]
        fn names_come_back(name in any_name()) {
            prop_assert_eq!(ObjectName::parse(&name.to_string()), Some(name));
        }

        #[test]
        fn what_parses_is_written_the_same(text in "[dlgpm/snap0-9a-f-]{0,60}") {
            if let Some(name) = ObjectName::parse(&text) {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }

    #[test]
    fn names_are_those_of_the_document() {
        let writer = Writer { epoch: Epoch(3), nonce: Nonce(0xabc) };
        let volume = VolumeId(Uuid::from_u128(1));
        let key = ObjectName::Log { writer, seq: Seq(0x1ff) }.key("disks/a", volume);
        let uuid = "00000000-0000-0000-0000-000000000001";
        assert_eq!(key, format!("disks/a/v/{uuid}/l/ff/00000003-0000000000000abc/00000000000001ff"));
        assert_eq!(ObjectName::Descriptor.key("", volume), format!("v/{uuid}/desc"));
        assert_eq!(manifest_prefix("r", volume), format!("r/v/{uuid}/m/"));
    }

    #[test]
    fn a_name_with_another_shard_is_not_ours() {
        let good = "l/ff/00000003-0000000000000abc/00000000000001ff";
        assert!(ObjectName::parse(good).is_some());
        assert!(ObjectName::parse(&good.replace("/ff/", "/fe/")).is_none());
        assert!(ObjectName::parse(&good.to_uppercase()).is_none());
        assert!(ObjectName::parse(&format!("{good}/")).is_none());
    }

    #[test]
    fn volume_names_are_plain() {
        assert!(VolumeName::parse("vm-1.root").is_some());
        for bad in ["", ".", "..", ".x", "a/b", "a b", "\u{e9}", &"x".repeat(256)] {
            assert!(VolumeName::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_name_object_holds_one_uuid() {
        let volume = VolumeId(Uuid::from_u128(7));
        assert_eq!(parse_name_object(encode_name_object(volume).as_bytes()), Ok(volume));
        for bad in [&b""[..], b"hello\n", b"\xff\n", b"00000000-0000-0000-0000-000000000007"] {
            assert_eq!(parse_name_object(bad).unwrap_err().kind(), FormatErrorKind::NotOurs);
        }
    }
}
