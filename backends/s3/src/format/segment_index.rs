//! What a reader keeps of a segment in memory: 8 bytes per frame to find it, 8 to check it.

use super::FormatError;
use super::frame::{Codec, Frame};
use super::names::Object;
use super::object::Head;
use super::seal::{ObjectKey, Sealing};
use super::segment::SegmentMeta;
use bytes::Bytes;
use std::mem::size_of;
use std::sync::Arc;

/// Two bits on top of the end offset hold the codec; bodies stay below 1 GiB (`MAX_BODY_LEN`).
const CODEC_SHIFT: u32 = 30;
const OFFSET_MASK: u32 = (1 << CODEC_SHIFT) - 1;

#[derive(Clone, Copy, Debug)]
struct Place {
    end_offset_and_codec: u32,
    end_lblk: u32,
}

#[derive(Clone, Copy, Debug)]
struct Check {
    stored_crc: u32,
    plain_crc: u32,
}

/// The frames of one segment.
#[derive(Clone, Debug)]
pub struct SegmentIndex {
    object: Object,
    body_offset: u64,
    /// What opens the frames, if they are sealed.
    key: Option<Arc<ObjectKey>>,
    places: Box<[Place]>,
    checks: Box<[Check]>,
}

impl SegmentIndex {
    /// The index of the segment `object`, from its validated meta.
    pub fn new(object: Object, head: &Head, meta: &SegmentMeta) -> Self {
        Self::from_parts(object, head.prelude.body_offset(), head.key.clone(), meta)
    }

    pub(crate) fn from_parts(
        object: Object,
        body_offset: u64,
        key: Option<Arc<ObjectKey>>,
        meta: &SegmentMeta,
    ) -> Self {
        let places = meta.frames(body_offset).map(|(_, frame)| {
            let end = u32::try_from(frame.stored.end - body_offset).expect("bodies stay below 1 GiB");
            assert!(end <= OFFSET_MASK, "bodies stay below 1 GiB");
            let codec = u32::from(frame.codec.to_byte());
            Place { end_offset_and_codec: end | codec << CODEC_SHIFT, end_lblk: frame.lblk + frame.nblocks }
        });
        let checks =
            meta.data.iter().map(|record| Check { stored_crc: record.stored_crc, plain_crc: record.plain_crc });
        Self { object, body_offset, key, places: places.collect(), checks: checks.collect() }
    }

    /// Parses the head of the segment `object`; `bytes` as for [`Head::open`].
    ///
    /// # Errors
    ///
    /// As [`SegmentMeta::parse_object`].
    pub fn parse(object: Object, bytes: &Bytes, sealing: &Sealing) -> Result<Self, FormatError> {
        let (head, meta) = SegmentMeta::parse_object(object.name, object.volume, bytes, sealing)?;
        Ok(Self::new(object, &head, &meta))
    }

    /// Which object it is the index of.
    pub fn object(&self) -> Object {
        self.object
    }

    /// Blocks in the segment.
    pub fn lblocks(&self) -> u32 {
        self.places.last().map_or(0, |place| place.end_lblk)
    }

    /// Length of the object in bytes.
    pub fn object_len(&self) -> u64 {
        self.body_offset + self.places.last().map_or(0, |place| u64::from(place.end_offset_and_codec & OFFSET_MASK))
    }

    /// Number of frames.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether it holds no data.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Memory it takes, in bytes.
    pub fn bytes(&self) -> usize {
        let key = self.key.as_ref().map_or(0, |key| key.bytes());
        size_of::<Self>() + key + self.places.len() * (size_of::<Place>() + size_of::<Check>())
    }

    /// The frames that hold `nblocks` blocks from `lblk`, in order.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the range is not in the segment: the map and the segment disagree.
    pub fn locate(&self, lblk: u32, nblocks: u32) -> Result<impl Iterator<Item = Frame> + '_, FormatError> {
        let end = u64::from(lblk) + u64::from(nblocks);
        if end > u64::from(self.lblocks()) {
            let what = format!("has {} blocks, the map asks for {lblk}..{end}", self.lblocks());
            return Err(FormatError::corrupt(what).in_object(self.object.name));
        }
        let first = self.places.partition_point(|place| place.end_lblk <= lblk);
        let wanted = if nblocks == 0 { self.places.len() } else { first };
        Ok((wanted..self.places.len()).map(|at| self.frame(at)).take_while(move |f| u64::from(f.lblk) < end))
    }

    /// Verifies, opens and decompresses one frame of this segment.
    ///
    /// # Errors
    ///
    /// As [`Frame::decode`] and [`Frame::open`], naming the object as well.
    pub fn decode_frame(&self, frame: &Frame, stored: &Bytes) -> Result<Bytes, FormatError> {
        let decoded = match &self.key {
            Some(key) => frame.open(stored, key),
            None => frame.decode(stored),
        };
        decoded.map_err(|error| error.in_object(self.object.name))
    }

    fn frame(&self, at: usize) -> Frame {
        let before = at.checked_sub(1).map(|at| self.places[at]);
        let start = before.map_or(0, |place| place.end_offset_and_codec & OFFSET_MASK);
        let lblk = before.map_or(0, |place| place.end_lblk);
        let place = self.places[at];
        let end = place.end_offset_and_codec & OFFSET_MASK;
        let codec = (place.end_offset_and_codec >> CODEC_SHIFT) as u8;
        Frame {
            number: u32::try_from(at).expect("a meta of 16 MiB has fewer records"),
            stored: self.body_offset + u64::from(start)..self.body_offset + u64::from(end),
            lblk,
            nblocks: place.end_lblk - lblk,
            codec: Codec::from_byte(codec).expect("two bits hold what new() put there"),
            stored_crc: self.checks[at].stored_crc,
            plain_crc: self.checks[at].plain_crc,
        }
    }
}
