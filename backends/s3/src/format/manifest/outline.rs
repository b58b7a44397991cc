//! What a manifest says to whoever has no key: who owns the volume, how large it is, and how its keys are wrapped.
//!
//! In a sealed manifest these tags are the body, in clear and authenticated by the seal of the meta, which holds all
//! others. They stay in clear because they are needed before there is a key (the wrapped keys themselves), or by people
//! who have none: to list disks, to see which host holds one, to delete one whose key is lost.

use super::tags::{self, Found};
use super::{Manifest, Owner, State, WrappedKey};
use crate::format::object::clear_body;
use crate::format::prelude::Prelude;
use crate::format::{FormatError, Head, ManifestNo, ObjectName, Reader, VolumeId};
use bytes::Bytes;
use std::iter::Peekable;

const CLEAR: [u16; 5] = [tags::PREV, tags::STATE, tags::WRITER, tags::SIZE, tags::KEYS];

/// The part of a manifest that is always in clear. Until the manifest has been opened it is not authenticated: good for
/// finding the key and for telling people, not for deciding what to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    /// What the volume is at.
    pub state: State,
    /// Who wrote it.
    pub owner: Owner,
    /// Size of the disk in blocks.
    pub blocks: u64,
    /// Wrapped data keys.
    pub keys: Vec<WrappedKey>,
    /// The rest of it is sealed: so it is exactly if there are keys.
    pub sealed: bool,
}

impl Outline {
    /// Reads it from the whole object, sealed or not.
    ///
    /// # Errors
    ///
    /// As [`Manifest::parse_object`], but no key is needed.
    pub fn parse_object(volume: VolumeId, no: ManifestNo, bytes: &Bytes) -> Result<Self, FormatError> {
        let name = ObjectName::Manifest(no);
        Self::parse(&name, volume, bytes).map_err(|error| error.in_object(name))
    }

    fn parse(name: &ObjectName, volume: VolumeId, bytes: &Bytes) -> Result<Self, FormatError> {
        let expected = name.expected(volume);
        let prelude = Prelude::parse(&expected, bytes)?;
        if !prelude.sealed {
            let manifest = tags::parse(&Head::parse_whole(&expected, bytes)?.meta)?;
            return Ok(Self { sealed: false, ..Self::from(manifest) });
        }
        let mut found = Found::default();
        for field in Fields(&clear_body(&prelude, bytes)?) {
            let Field { tag, value, .. } = field?;
            let mut value = Reader::new(value, "manifest");
            found.read(tag, &mut value)?;
            value.end()?;
        }
        match (found.state, found.owner, found.blocks) {
            (Some(state), Some(owner), Some(blocks)) => {
                Ok(Self { state, owner, blocks, keys: found.keys, sealed: true })
            }
            _ => Err(FormatError::corrupt("manifest lacks a tag that every manifest has in clear")),
        }
    }
}

impl From<Manifest> for Outline {
    fn from(Manifest { state, owner, blocks, keys, .. }: Manifest) -> Self {
        Self { state, owner, blocks, sealed: !keys.is_empty(), keys }
    }
}

/// The tags that stay in clear, and the others.
pub(super) fn split(meta: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut clear, mut secret) = (Vec::new(), Vec::new());
    for field in Fields(meta) {
        let Field { tag, whole, .. } = field.expect("an encoded list of tags can be read");
        if CLEAR.contains(&tag) { &mut clear } else { &mut secret }.extend_from_slice(whole);
    }
    (clear, secret)
}

/// The inverse of [`split`].
pub(super) fn merge(clear: &[u8], secret: &[u8]) -> Result<Bytes, FormatError> {
    let mut out = Vec::with_capacity(clear.len() + secret.len());
    let (mut clear, mut secret) = (Fields(clear).peekable(), Fields(secret).peekable());
    while let Some(from_clear) = next_is_clear(&mut clear, &mut secret) {
        let field = if from_clear { clear.next() } else { secret.next() };
        let Field { tag, whole, .. } = field.expect("it was just seen")?;
        if CLEAR.contains(&tag) != from_clear {
            return Err(FormatError::corrupt(
                "manifest has a tag in clear that must be sealed, or the other way round",
            ));
        }
        out.extend_from_slice(whole);
    }
    Ok(out.into())
}

type List<'a> = Peekable<Fields<'a>>;

/// Whether the lower tag comes from the list in clear; `None` at the end of both.
fn next_is_clear(clear: &mut List<'_>, secret: &mut List<'_>) -> Option<bool> {
    let tag = |field: &Result<Field<'_>, FormatError>| field.as_ref().map_or(0, |field| field.tag);
    match (clear.peek(), secret.peek()) {
        (Some(left), Some(right)) => Some(tag(left) <= tag(right)),
        (left, right) => left.or(right).map(|_| left.is_some()),
    }
}

struct Field<'a> {
    tag: u16,
    value: &'a [u8],
    whole: &'a [u8],
}

/// The tags of a list as they are stored; ends after the first that cannot be read.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = std::mem::take(&mut self.0);
        if rest.is_empty() {
            return None;
        }
        let mut fields = Reader::new(rest, "manifest");
        let mut read = || {
            let (tag, len) = (fields.u16()?, fields.u32()? as usize);
            let value = fields.bytes(len)?;
            let (whole, rest) = rest.split_at(6 + len);
            self.0 = rest;
            Ok(Field { tag, value, whole })
        };
        Some(read())
    }
}
