//! The bytes of a WRITE: an ordered list of reference-counted slices, moved, and copied by none but [`Payload::detach`].

use bytes::Bytes;
use smallvec::SmallVec;

/// Slices in order. Most payloads are one slice, which costs no allocation.
#[derive(Clone, Debug, Default)]
pub struct Payload {
    slices: SmallVec<[Bytes; 1]>,
    length: u64,
    /// The slices are parts of something much larger.
    lent: bool,
}

impl Payload {
    /// A payload that keeps a much larger buffer alive. A backend has it for the time of `submit` (B11).
    pub fn lent(slice: Bytes) -> Self {
        Self { lent: true, ..slice.into() }
    }

    /// Makes the bytes its own, if they are only lent.
    pub fn detach(&mut self) {
        if std::mem::take(&mut self.lent) {
            self.slices.iter_mut().for_each(|slice| *slice = Bytes::copy_from_slice(slice));
        }
    }

    /// Appends a slice; an empty one is dropped.
    pub fn push(&mut self, slice: Bytes) {
        if !slice.is_empty() {
            self.length += slice.len() as u64;
            self.slices.push(slice);
        }
    }

    /// Total bytes.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The slices in order; none is empty.
    pub fn slices(&self) -> &[Bytes] {
        &self.slices
    }

    /// Takes `length` bytes from offset `start` on, sharing the memory. Panics past the end: a caller's bug.
    #[must_use]
    pub fn slice(&self, start: u64, length: u64) -> Self {
        assert!(start + length <= self.length, "slice {start}+{length} of a payload of {}", self.length);
        let mut part = Self { lent: self.lent, ..Self::default() };
        let (mut skip, mut want) = (start, length);
        for slice in &self.slices {
            if want == 0 {
                break;
            }
            let here = slice.len() as u64;
            if skip >= here {
                skip -= here;
                continue;
            }
            let take = want.min(here - skip);
            // Both are below a slice's length, which is a usize.
            #[expect(clippy::cast_possible_truncation, reason = "bounded by slice.len()")]
            part.push(slice.slice(skip as usize..(skip + take) as usize));
            (skip, want) = (0, want - take);
        }
        part
    }

    /// One contiguous buffer: the only slice itself, or a copy of several.
    pub fn into_contiguous(self) -> Bytes {
        if self.slices.len() == 1 {
            return self.slices.into_iter().next().expect("length was checked to be one");
        }
        self.slices.concat().into()
    }

    /// Copies into `target`, which has exactly the payload's length.
    pub fn copy_to(&self, target: &mut [u8]) {
        assert_eq!(target.len() as u64, self.length, "target and payload differ in length");
        let mut rest = target;
        for slice in &self.slices {
            let (head, tail) = rest.split_at_mut(slice.len());
            head.copy_from_slice(slice);
            rest = tail;
        }
    }
}

impl From<Bytes> for Payload {
    fn from(slice: Bytes) -> Self {
        let mut payload = Self::default();
        payload.push(slice);
        payload
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}
