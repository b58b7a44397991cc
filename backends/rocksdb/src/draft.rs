//! What a batch of mutations makes of each extent that they touch; pure.
//!
//! Mutations are added in the order in which they came. Parts of one extent come together here, whatever number of writes
//! they came in, so each extent is read at most once and written once: this is the write combining.

use std::collections::BTreeMap;

use nbdgate_api::{ByteRange, Payload};

/// What a mutation does to bytes.
#[derive(Debug)]
pub(crate) enum Change {
    /// They become these.
    Write { offset: u64, payload: Payload },
    /// They become zeros.
    Zero {
        range: ByteRange,
        /// Whole extents of zeros stay allocated.
        keep: bool,
    },
}

/// What an extent becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content<'a> {
    /// These bytes, not all of them zeros.
    Bytes(&'a [u8]),
    /// Zeros that take no place.
    Absent,
    /// Zeros that count as allocated.
    Kept,
}

impl Change {
    /// Bytes that it brings.
    pub(crate) fn written(&self) -> u64 {
        match self {
            Self::Write { payload, .. } => payload.len(),
            Self::Zero { .. } => 0,
        }
    }

    pub(crate) fn range(&self) -> ByteRange {
        match self {
            Self::Write { offset, payload } => ByteRange::between(*offset, offset + payload.len()),
            Self::Zero { range, .. } => *range,
        }
    }
}

/// Extents as they will be.
#[derive(Debug)]
pub(crate) struct Draft {
    extent: u64,
    stages: BTreeMap<u64, Stage>,
    /// Parts that joined an extent which another mutation touched.
    combined: u64,
}

#[derive(Debug)]
struct Stage {
    base: Base,
    patches: Vec<Patch>,
}

/// What patches are laid over.
#[derive(Debug)]
enum Base {
    Stored,
    Zeros,
    Kept,
    Whole(Payload),
}

/// A part of an extent, from byte `start` of it on.
#[derive(Debug)]
struct Patch {
    start: usize,
    bytes: Part,
}

#[derive(Debug)]
enum Part {
    Bytes(Payload),
    Zeros { length: usize, keep: bool },
}

impl Draft {
    /// Nothing, with extents of so many bytes.
    pub(crate) fn new(extent: u64) -> Self {
        Self { extent, stages: BTreeMap::new(), combined: 0 }
    }

    /// How many extents there are.
    pub(crate) fn extents(&self) -> usize {
        self.stages.len()
    }

    /// Parts that joined an extent which another mutation touched.
    pub(crate) fn combined(&self) -> u64 {
        self.combined
    }

    /// Adds a mutation after those before.
    pub(crate) fn add(&mut self, change: &Change) {
        let range = change.range();
        for piece in range.pieces(self.extent) {
            let part = match change {
                Change::Write { offset, payload } => {
                    Part::Bytes(payload.slice(piece.offset() - offset, piece.length()))
                }
                Change::Zero { keep, .. } => {
                    Part::Zeros { length: usize::try_from(piece.length()).expect("inside an extent"), keep: *keep }
                }
            };
            self.add_part(piece, part);
        }
    }

    fn add_part(&mut self, piece: ByteRange, part: Part) {
        let index = piece.offset() / self.extent;
        let start = usize::try_from(piece.offset() % self.extent).expect("inside an extent");
        if piece.length() == self.extent {
            let base = match part {
                Part::Bytes(payload) => Base::Whole(payload),
                Part::Zeros { keep: false, .. } => Base::Zeros,
                Part::Zeros { keep: true, .. } => Base::Kept,
            };
            self.combined += u64::from(self.stages.insert(index, Stage { base, patches: Vec::new() }).is_some());
            return;
        }
        self.combined += u64::from(self.stages.contains_key(&index));
        let stage = self.stages.entry(index).or_insert(Stage { base: Base::Stored, patches: Vec::new() });
        stage.patches.push(Patch { start, bytes: part });
    }

    /// The extents whose stored bytes are needed, in ascending order. What is not `present` is zeros.
    pub(crate) fn needs(&mut self, present: impl Fn(u64) -> bool) -> Vec<u64> {
        let mut needed = Vec::new();
        for (index, stage) in &mut self.stages {
            if matches!(stage.base, Base::Stored) {
                if present(*index) {
                    needed.push(*index);
                } else {
                    stage.base = Base::Zeros;
                }
            }
        }
        needed
    }

    /// Tells each extent in ascending order. `stored` lays the stored bytes of an extent that is needed into memory.
    ///
    /// # Errors
    /// That of `stored`.
    pub(crate) fn finish<E>(
        &self,
        mut stored: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
        mut tell: impl FnMut(u64, Content<'_>),
    ) -> Result<(), E> {
        let mut memory = vec![0; usize::try_from(self.extent).expect("an extent fits in memory")];
        for (index, stage) in &self.stages {
            match &stage.base {
                Base::Whole(payload) if stage.patches.is_empty() && payload.slices().len() == 1 => {
                    tell(*index, content(&payload.slices()[0], false));
                    continue;
                }
                Base::Zeros | Base::Kept => memory.fill(0),
                Base::Whole(payload) => payload.copy_to(&mut memory),
                Base::Stored => stored(*index, &mut memory)?,
            }
            let mut keep = matches!(stage.base, Base::Kept);
            for patch in &stage.patches {
                match &patch.bytes {
                    Part::Bytes(payload) => {
                        let length = usize::try_from(payload.len()).expect("inside an extent");
                        payload.copy_to(&mut memory[patch.start..patch.start + length]);
                    }
                    Part::Zeros { length, keep: kept } => {
                        memory[patch.start..patch.start + length].fill(0);
                        keep |= kept;
                    }
                }
            }
            tell(*index, content(&memory, keep));
        }
        Ok(())
    }
}

/// What an extent with these bytes is; zeros stay allocated if they are to be kept.
fn content(bytes: &[u8], keep: bool) -> Content<'_> {
    match (is_zero(bytes), keep) {
        (false, _) => Content::Bytes(bytes),
        (true, false) => Content::Absent,
        (true, true) => Content::Kept,
    }
}

/// Whether all bytes are zero. Data shows in its first bytes as a rule.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(64).all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0)
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "a disk of eighty bytes")]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    const EXTENT: usize = 16;
    const EXTENTS: usize = 5;

    fn apply(disk: &mut [u8], changes: &[Change]) -> (Vec<u64>, Vec<u64>) {
        let before = disk.to_vec();
        let present = |index: u64| before[index as usize * EXTENT..][..EXTENT].iter().any(|byte| *byte != 0);
        let mut draft = Draft::new(EXTENT as u64);
        for change in changes {
            draft.add(change);
        }
        let needed = draft.needs(present);
        let mut told = Vec::new();
        let stored = |index: u64, memory: &mut [u8]| {
            assert!(needed.contains(&index));
            memory.copy_from_slice(&before[index as usize * EXTENT..][..EXTENT]);
            Ok::<_, Infallible>(())
        };
        let finished = draft.finish(stored, |index, bytes| {
            told.push(index);
            let place = &mut disk[index as usize * EXTENT..][..EXTENT];
            match bytes {
                Content::Bytes(bytes) => {
                    assert!(bytes.iter().any(|byte| *byte != 0), "zeros are told as such");
                    place.copy_from_slice(bytes);
                }
                Content::Absent | Content::Kept => place.fill(0),
            }
        });
        finished.unwrap();
        (needed, told)
    }

    fn change() -> impl Strategy<Value = Change> {
        let size = EXTENT * EXTENTS;
        (0..size, 1..=size, 0..4u8).prop_map(move |(offset, length, kind)| {
            let length = length.min(size - offset);
            let (start, end) = (offset as u64, (offset + length) as u64);
            match kind {
                0 => Change::Zero { range: ByteRange::between(start, end), keep: offset % 2 == 0 },
                1 => Change::Write { offset: start, payload: vec![0; length].into() },
                _ => {
                    let mut payload = Payload::default();
                    let bytes: Vec<_> = (0..length).map(|at| (at + kind as usize) as u8).collect();
                    bytes.chunks(7).for_each(|chunk| payload.push(bytes::Bytes::copy_from_slice(chunk)));
                    Change::Write { offset: start, payload }
                }
            }
        })
    }

    proptest! {
        #[test]
        fn a_draft_does_what_its_mutations_do_one_after_the_other(
            before in prop::collection::vec(prop_oneof![Just(0u8), any::<u8>()], EXTENT * EXTENTS),
            changes in prop::collection::vec(change(), 1..12),
        ) {
            let mut model = before.clone();
            for change in &changes {
                let range = change.range();
                let place = &mut model[range.offset() as usize..range.end() as usize];
                match change {
                    Change::Write { payload, .. } => payload.copy_to(place),
                    Change::Zero { .. } => place.fill(0),
                }
            }
            let mut disk = before;
            let (needed, told) = apply(&mut disk, &changes);
            prop_assert_eq!(disk, model);
            prop_assert!(told.is_sorted_by(|a, b| a < b), "each extent once");
            prop_assert!(needed.iter().all(|index| told.contains(index)));
        }
    }

    #[test]
    fn zeros_are_absent_unless_they_are_to_be_kept() {
        let zero = |start: u64, end: u64, keep| Change::Zero { range: ByteRange::between(start, end), keep };
        let zeros = |offset: u64| Change::Write { offset, payload: vec![0; 4].into() };
        for (changes, expected) in [
            (vec![zero(0, 16, false)], Content::Absent),
            (vec![zero(0, 16, true)], Content::Kept),
            (vec![zero(0, 16, true), zeros(4)], Content::Kept),
            (vec![zero(0, 16, true), zero(0, 16, false)], Content::Absent),
            (vec![zero(0, 4, true)], Content::Kept),
            (vec![zeros(0)], Content::Absent),
        ] {
            let mut draft = Draft::new(EXTENT as u64);
            for change in &changes {
                draft.add(change);
            }
            assert!(draft.needs(|_| false).is_empty());
            let told = draft.finish(|_, _| Err("nothing is stored"), |_, content| assert_eq!(content, expected));
            told.unwrap();
        }
    }

    #[test]
    fn whole_extents_are_not_read_and_parts_of_one_extent_are_told_once() {
        let mut disk = vec![1; EXTENT * EXTENTS];
        let part = |offset: u64, length: usize| Change::Write { offset, payload: vec![2; length].into() };
        let (needed, told) = apply(&mut disk, &[part(0, 16), part(16, 4), part(20, 4), part(24, 8)]);
        assert_eq!((needed, told), (vec![1], vec![0, 1]));
        assert_eq!(disk[..32], [2; 32]);
    }
}
